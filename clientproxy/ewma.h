/*
 * Peak EWMA: how slow an endpoint is. A sample above the average replaces it at once, one below
 * moves it by how long ago the last one was; without samples it fades, so that one bad moment does
 * not keep an endpoint out for ever. (Finagle's and Linkerd's load metric: "Beyond round robin:
 * load balancing for latency", Buoyant, 2016.) Pure: time is a parameter.
 */
#ifndef FWI_EWMA_H
#define FWI_EWMA_H

#include <stdint.h>

#define FWI_EWMA_TAU_MS 10000

typedef struct fwi_ewma {
    double value; /* 0: nothing known */
    uint64_t at_ms;
} fwi_ewma;

/* About e^-x for x >= 0: falling from 1 to 0, off by at most 0.03. It is on the path of a pick. */
static inline double fwi_ewma_fade(double x)
{
    return 1 / (1 + x * (1 + x / 2 * (1 + x / 3)));
}

static inline double fwi_ewma_at(double value, uint64_t at_ms, uint64_t now_ms, uint32_t tau_ms)
{
    if (now_ms <= at_ms)
        return value;
    return value * fwi_ewma_fade((double)(now_ms - at_ms) / (tau_ms ? tau_ms : FWI_EWMA_TAU_MS));
}

static inline void fwi_ewma_add(fwi_ewma *ewma, double sample, uint64_t now_ms, uint32_t tau_ms)
{
    double elapsed = now_ms > ewma->at_ms ? (double)(now_ms - ewma->at_ms) : 0;
    /* Samples of one millisecond count as a hundredth of it each: they are not nothing. */
    double keep =
        fwi_ewma_fade((elapsed < 0.01 ? 0.01 : elapsed) / (tau_ms ? tau_ms : FWI_EWMA_TAU_MS));
    if (ewma->value <= 0 || sample > ewma->value)
        ewma->value = sample;
    else
        ewma->value = ewma->value * keep + sample * (1 - keep);
    ewma->at_ms = now_ms;
}

#endif
