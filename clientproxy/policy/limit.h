/*
 * Adaptive concurrency: how many calls may be in flight, found from how latency answers to more of
 * them (Netflix concurrency-limits, Gradient2: the limit shrinks as the present latency grows over
 * the long-term one, and grows by a small queue otherwise). A deadline counts as congestion, as in
 * AIMD. Pure.
 */
#ifndef FWI_LIMIT_H
#define FWI_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fwi_limit {
    double limit, most;
    double long_ms, short_ms; /* latency over the long and the short term; 0: nothing known */
    bool is_adaptive;
} fwi_limit;

/* most: 0: no limit, or 1000 if it is adaptive. */
void fwi_limit_init(fwi_limit *limit, uint32_t most, bool is_adaptive);
bool fwi_limit_allows(const fwi_limit *limit, size_t in_flight);
/* A call ended; in_flight: how many there were with it. */
void fwi_limit_sample(fwi_limit *limit, double latency_ms, bool timed_out, size_t in_flight);

#endif
