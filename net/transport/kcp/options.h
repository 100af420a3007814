/* The parameters of kcp URLs; README.md says what they mean. */
#ifndef FWI_KCP_OPTIONS_H
#define FWI_KCP_OPTIONS_H

#include <fairway/url.h>

#include "transport/kcp/kcp.h"
#include "transport/kcp/secure.h"

typedef struct fwi_kcp_options {
    fwi_kcp_config engine; /* mtu: what is left for it of a datagram */
    uint32_t datagram_bytes;
    uint32_t idle_ms;
    bool ack_at_once;
    uint32_t conv;                      /* dial: 0: a random one */
    uint32_t sessions, half_open, rate; /* listen */
    bool secure;
    fwi_kcps_secrets secrets;
} fwi_kcp_options;

/* FW_EOPTION, or the error of reading a file of keys. */
int fwi_kcp_options_read(const fw_url *url, bool listens, bool messages,
                         fwi_kcp_options *ret_options);

#endif
