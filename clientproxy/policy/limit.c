#include "policy/limit.h"

#define DEFAULT_MOST 1000
#define FIRST        50
#define LEAST        8
#define QUEUE        4
#define TOLERANCE    1.5   /* latency may be so much over the long-term one */
#define SMOOTHING    0.2   /* of the limit */
#define LONG_TERM    0.003 /* of a sample: about the last 600 */
#define SHORT_TERM   0.05  /* one slow call says little */
#define DECREASE     0.9

void fwi_limit_init(fwi_limit *limit, uint32_t most, bool is_adaptive)
{
    *limit = (fwi_limit){.most = most, .is_adaptive = is_adaptive};
    if (!most && is_adaptive)
        limit->most = DEFAULT_MOST;
    limit->limit = is_adaptive && limit->most > FIRST ? FIRST : limit->most;
}

bool fwi_limit_allows(const fwi_limit *limit, size_t in_flight)
{
    return limit->most <= 0 || (double)in_flight < limit->limit;
}

static void set(fwi_limit *limit, double wanted)
{
    double least = limit->most < LEAST ? limit->most : LEAST;
    limit->limit = wanted < least ? least : wanted > limit->most ? limit->most : wanted;
}

void fwi_limit_sample(fwi_limit *limit, double latency_ms, bool timed_out, size_t in_flight)
{
    if (!limit->is_adaptive)
        return;
    if (timed_out) {
        set(limit, limit->limit * DECREASE);
        return;
    }
    if (limit->long_ms <= 0)
        limit->long_ms = limit->short_ms = latency_ms;
    limit->short_ms += SHORT_TERM * (latency_ms - limit->short_ms);
    bool is_reached = (double)in_flight >= limit->limit / 2;
    /* What is measured at the limit has queued, and must not soon be taken for normal. */
    bool is_high = is_reached && limit->short_ms > limit->long_ms;
    limit->long_ms += (is_high ? LONG_TERM / 10 : LONG_TERM) * (limit->short_ms - limit->long_ms);
    if (limit->long_ms > 2 * limit->short_ms) /* the bad times are over: forget them sooner */
        limit->long_ms *= 0.95;
    if (!is_reached)
        return; /* the limit was not what it depended on */
    double gradient = limit->short_ms > 0 ? TOLERANCE * limit->long_ms / limit->short_ms : 1;
    gradient = gradient < 0.5 ? 0.5 : gradient > 1 ? 1 : gradient;
    double wanted = limit->limit * gradient + QUEUE;
    set(limit, limit->limit * (1 - SMOOTHING) + wanted * SMOOTHING);
}
