/* Which share of calls stays in the caller's zone, and how a new endpoint warms up. Pure. */
#ifndef FWI_SHARE_H
#define FWI_SHARE_H

#include <stddef.h>
#include <stdint.h>

/* Zone preference with spill-over: everything stays in the zone until fewer than 100/1.4 percent of
 * its endpoints are well (Envoy's overprovisioning factor); then as much leaves as they would be
 * overloaded by. 0 to 1. */
static inline double fwi_zone_share(size_t local_well, size_t local, size_t others_well)
{
    if (!others_well)
        return 1;
    if (!local_well)
        return 0;
    double share = 1.4 * (double)local_well / (double)local;
    return share < 1 ? share : 1;
}

/* Slow start (Envoy): the part of its weight that an endpoint has since it came, rising with time;
 * a tenth at least, else it would never get warm. */
static inline double fwi_slow_start_part(uint64_t since_ms, uint64_t now_ms, uint32_t window_ms)
{
    if (!window_ms || now_ms >= since_ms + window_ms)
        return 1;
    double part = now_ms > since_ms ? (double)(now_ms - since_ms) / window_ms : 0;
    return part < 0.1 ? 0.1 : part;
}

#endif
