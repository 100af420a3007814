/*
 * Circuit breaker of one endpoint (M. Nygard, "Release It!", 2007), with the times of Envoy's
 * outlier detection: each time it opens again soon it stays open longer. Pure: time is a parameter.
 *
 *     CLOSED --failures in a row, or told to--> OPEN --its time is over--> HALF_OPEN
 *        ^_________________ a call succeeds ______________________________|   | one fails: OPEN
 *
 * Half open it lets one call at a time through.
 */
#ifndef FWI_BREAKER_H
#define FWI_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fwi_breaker_state {
    FWI_BREAKER_CLOSED,
    FWI_BREAKER_OPEN,
    FWI_BREAKER_HALF_OPEN
} fwi_breaker_state;

typedef struct fwi_breaker {
    fwi_breaker_state state;
    uint32_t failures;            /* in a row */
    uint32_t times;               /* opened, not long ago */
    uint64_t until_ms;            /* OPEN */
    uint32_t requests, successes; /* of this interval, for fwi_outlier */
} fwi_breaker;

typedef enum fwi_breaker_change {
    FWI_BREAKER_NONE,
    FWI_BREAKER_SHOULD_OPEN, /* the owner decides (others must be left) and calls fwi_breaker_open
                              */
    FWI_BREAKER_HAS_CLOSED
} fwi_breaker_change;

/* A call ended. limit: failures in a row that are too many. */
fwi_breaker_change fwi_breaker_result(fwi_breaker *breaker, bool success, uint32_t limit);
/* Returns for how long. */
uint32_t fwi_breaker_open(fwi_breaker *breaker, uint32_t base_ms, uint32_t max_ms, uint64_t now_ms);
/* Its time is over. */
void fwi_breaker_half_open(fwi_breaker *breaker);
bool fwi_breaker_allows(const fwi_breaker *breaker, size_t in_flight);

#endif
