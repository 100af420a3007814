#include "policy/hedge.h"

#include <math.h>

#define FIRST_MS   (1.0 / 64) /* everything below is in the first bucket */
#define PER_OCTAVE 4
#define ENOUGH     100
#define HALVE_AT   10000
#define PERCENTILE 0.95

void fwi_hedge_sample(fwi_hedge *hedge, double latency_ms)
{
    double place = latency_ms > FIRST_MS ? PER_OCTAVE * log2(latency_ms / FIRST_MS) : 0;
    hedge->buckets[place < FWI_HEDGE_BUCKETS - 1 ? (int)place : FWI_HEDGE_BUCKETS - 1]++;
    if (++hedge->count < HALVE_AT)
        return;
    hedge->count = 0;
    for (int i = 0; i < FWI_HEDGE_BUCKETS; i++)
        hedge->count += hedge->buckets[i] /= 2;
}

uint32_t fwi_hedge_after_ms(const fwi_hedge *hedge)
{
    if (hedge->count < ENOUGH)
        return 0;
    uint32_t sum = 0;
    int at = 0;
    while (at < FWI_HEDGE_BUCKETS - 1 &&
           (sum += hedge->buckets[at]) < (uint32_t)(PERCENTILE * hedge->count))
        at++;
    return (uint32_t)ceil(FIRST_MS * exp2((at + 1.0) / PER_OCTAVE));
}
