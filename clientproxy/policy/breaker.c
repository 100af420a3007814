#include "policy/breaker.h"

#define MOST_DOUBLINGS 20

fwi_breaker_change fwi_breaker_result(fwi_breaker *breaker, bool success, uint32_t limit)
{
    breaker->requests++;
    breaker->successes += success;
    if (breaker->state == FWI_BREAKER_OPEN)
        return FWI_BREAKER_NONE; /* of a call that was on its way */
    if (success) {
        breaker->failures = 0;
        if (breaker->state == FWI_BREAKER_CLOSED)
            return FWI_BREAKER_NONE;
        breaker->state = FWI_BREAKER_CLOSED;
        return FWI_BREAKER_HAS_CLOSED;
    }
    breaker->failures++;
    if (breaker->state == FWI_BREAKER_HALF_OPEN || breaker->failures >= limit)
        return FWI_BREAKER_SHOULD_OPEN;
    return FWI_BREAKER_NONE;
}

uint32_t fwi_breaker_open(fwi_breaker *breaker, uint32_t base_ms, uint32_t max_ms, uint64_t now_ms)
{
    /* As long without trouble as it was open last, or more: what was is forgotten. */
    if (breaker->times && breaker->state == FWI_BREAKER_CLOSED &&
        now_ms - breaker->until_ms >= (uint64_t)base_ms << breaker->times)
        breaker->times = 0;
    uint64_t time = (uint64_t)base_ms << breaker->times;
    breaker->times += breaker->times < MOST_DOUBLINGS;
    time = time > max_ms ? max_ms : time;
    breaker->state = FWI_BREAKER_OPEN;
    breaker->failures = 0;
    breaker->until_ms = now_ms + time;
    return (uint32_t)time;
}

void fwi_breaker_half_open(fwi_breaker *breaker)
{
    breaker->state = FWI_BREAKER_HALF_OPEN;
}

bool fwi_breaker_allows(const fwi_breaker *breaker, size_t in_flight)
{
    return breaker->state == FWI_BREAKER_CLOSED ||
           (breaker->state == FWI_BREAKER_HALF_OPEN && !in_flight);
}
