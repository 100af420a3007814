/*
 * Exponential backoff with full jitter: the n-th wait is uniform in [0, min(max, base * 2^n)], but
 * at least a tenth of that bound so that a hot loop cannot occur. (Full jitter: M. Brooker,
 * "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.)
 */
#ifndef FAIRWAY_BACKOFF_H
#define FAIRWAY_BACKOFF_H

#include <fairway/base.h>

FW_BEGIN_DECLS

typedef struct fw_backoff {
    uint32_t base_ms;
    uint32_t max_ms;
    uint32_t attempts; /* failures since the last reset */
} fw_backoff;

FW_API void fw_backoff_init(fw_backoff *backoff, uint32_t base_ms, uint32_t max_ms);
/* The wait before the next attempt, in milliseconds. */
FW_API uint32_t fw_backoff_next_ms(fw_backoff *backoff);
/* To be called after a success. */
FW_API void fw_backoff_reset(fw_backoff *backoff);

FW_END_DECLS

#endif
