/*
 * Hierarchical timer wheel: O(1) arm and disarm, five wheels of 64 slots with ticks of 1 ms, 64 ms,
 * ..., so up to 12 days ahead (a longer timer waits in the last wheel and is placed again). No
 * clock of its own: the owner says what time it is. (G. Varghese, T. Lauck, "Hashed and
 * Hierarchical Timing Wheels", SOSP 1987; the bitmap of non-empty slots replaces the tick-by-tick
 * walk.)
 */
#ifndef FWI_TIMER_WHEEL_H
#define FWI_TIMER_WHEEL_H

#include <fairway/base.h>

#include "base/list.h"

#define FWI_WHEEL_LEVELS 5
#define FWI_WHEEL_SLOTS  64

typedef struct fwi_timer fwi_timer;
typedef void (*fwi_timer_fn)(fwi_timer *timer, void *arg);

/* In the memory of its owner. Zero-initialised is "not armed". */
struct fwi_timer {
    fwi_list node; /* next == NULL: not armed */
    uint64_t due_ms;
    fwi_timer_fn fn;
    void *arg;
    uint8_t level, slot; /* level FWI_WHEEL_LEVELS: taken out, about to fire */
};

typedef struct fwi_wheel {
    uint64_t now_ms;
    size_t armed;
    uint64_t occupied[FWI_WHEEL_LEVELS];
    fwi_list slots[FWI_WHEEL_LEVELS][FWI_WHEEL_SLOTS];
    fwi_list expired;
} fwi_wheel;

FWI_API void fwi_wheel_init(fwi_wheel *wheel, uint64_t now_ms);
/* Arms (or re-arms) a timer; it fires at due_ms, at the earliest one millisecond after the wheel's
 * now. */
FWI_API void fwi_wheel_arm(fwi_wheel *wheel, fwi_timer *timer, uint64_t due_ms);
/* Nothing happens if it is not armed. */
FWI_API void fwi_wheel_disarm(fwi_wheel *wheel, fwi_timer *timer);
/* Moves time forward and runs what is due; a callback may arm and disarm any timer. */
FWI_API void fwi_wheel_advance(fwi_wheel *wheel, uint64_t now_ms);
/* Time of the next work, UINT64_MAX if nothing is armed. May be earlier than the first timer. */
FWI_API uint64_t fwi_wheel_next_ms(const fwi_wheel *wheel);

static inline bool fwi_timer_armed(const fwi_timer *timer)
{
    return timer->node.next != NULL;
}

#endif
