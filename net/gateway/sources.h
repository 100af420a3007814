/*
 * How many connections stand from each address. What counts as one address: an IPv4 address, or
 * the first 64 bits of an IPv6 one, since whoever has any has all of these. The address is the one
 * that the peer's URL tells, so with ?proxy=1 it is that of the client, not the proxy's.
 */
#ifndef FWI_GATEWAY_SOURCES_H
#define FWI_GATEWAY_SOURCES_H

#include "base/map.h"

typedef struct fwi_gw_sources {
    fwi_map counts; /* of uint64_t, by address */
} fwi_gw_sources;

FWI_API void fwi_gw_sources_init(fwi_gw_sources *sources);
FWI_API void fwi_gw_sources_fini(fwi_gw_sources *sources);
/* Counts one more, unless there are already `most`. *ret_counted: it was counted, and is to be
 * given back; not those that have no address (unix:, mem:). FW_ELIMIT, UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_gw_sources_add(fwi_gw_sources *sources, const char *peer_url,
                                             size_t most, bool *ret_counted);
/* Gives back one that was counted. */
FWI_API void fwi_gw_sources_remove(fwi_gw_sources *sources, const char *peer_url);

#endif
