/*
 * When to hedge: a second copy of a call is worth sending once it has taken longer than most do
 * (J. Dean, L. Barroso, "The Tail at Scale", 2013: after the 95th percentile). Latencies are
 * counted in buckets of a quarter of an octave; old ones fade. Pure.
 */
#ifndef FWI_HEDGE_H
#define FWI_HEDGE_H

#include <stdint.h>

#define FWI_HEDGE_BUCKETS 96

typedef struct fwi_hedge {
    uint32_t buckets[FWI_HEDGE_BUCKETS];
    uint32_t count;
} fwi_hedge; /* zero-initialised knows nothing */

void fwi_hedge_sample(fwi_hedge *hedge, double latency_ms);
/* The 95th percentile in ms, rounded up; 0: too little is known. */
uint32_t fwi_hedge_after_ms(const fwi_hedge *hedge);

#endif
