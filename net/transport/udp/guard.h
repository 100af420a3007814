/*
 * Who may open a session on a UDP port: so many new ones a second from one host, with a burst of as
 * many as BURST_S seconds allow. Memory is fixed whatever the number of hosts: their buckets are
 * chosen by a keyed hash, and two hosts that fall into one share it.
 */
#ifndef FWI_UDP_GUARD_H
#define FWI_UDP_GUARD_H

#include "transport/udp/address.h"

#define FWI_UDP_GUARD_BUCKETS 1024

typedef struct fwi_udp_bucket {
    uint32_t used; /* in thousandths of a session, as of at_ms */
    uint32_t at_ms;
} fwi_udp_bucket;

typedef struct fwi_udp_guard {
    uint32_t rate; /* new sessions a second; 0: any number */
    uint64_t key;
    fwi_udp_bucket *buckets; /* NULL until somebody came */
} fwi_udp_guard;

void fwi_udp_guard_init(fwi_udp_guard *guard, uint32_t rate);
void fwi_udp_guard_fini(fwi_udp_guard *guard);
/* Counts one attempt of a host (the port does not matter). */
bool fwi_udp_guard_admit(fwi_udp_guard *guard, const fwi_udp_address *from, uint64_t now_ms);

/* A number in a URL's query: its value, or standing if it is absent. FW_EOPTION if it is not a
 * number within the range. */
int fwi_udp_param(const fw_url *url, const char *name, uint32_t least, uint32_t most,
                  uint32_t standing, uint32_t *ret_value);

#endif
