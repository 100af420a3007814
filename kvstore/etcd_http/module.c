/* What the module exports. */
#include "etcd_http.h"

/* The server's own limit is 1.5 MiB unless it was told otherwise; it says so if a value is over it.
 */
#define MAX_VALUE_BYTES ((size_t)16 << 20)

#define DRIVER(name, credentials)                                                                  \
    {                                                                                              \
        .scheme = (name),                                                                          \
        .capabilities = FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES | FW_KV_CAN_PERSIST | \
                        FW_KV_CAN_TXN | FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME,             \
        .takes = (credentials), .max_value_bytes = MAX_VALUE_BYTES, .open = fwi_eh_open,           \
        .close = fwi_eh_close, .submit = fwi_ec_submit, .watch_start = fwi_eh_watch_start,         \
        .watch_stop = fwi_eh_watch_stop, .lease_grant = fwi_ec_lease_grant,                        \
        .lease_revoke = fwi_ec_lease_revoke                                                        \
    }

static const fwi_kv_driver plain = DRIVER("etcd+http", FWI_KV_TAKES_USER);
static const fwi_kv_driver tls = DRIVER("etcd+https", FWI_KV_TAKES_USER | FWI_KV_TAKES_TLS);

extern FW_API fwi_kv_module fwi_kv_module_drivers;
fwi_kv_module fwi_kv_module_drivers = {&plain, &tls, NULL};
