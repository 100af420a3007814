/* What the module exports. */
#include "etcd.h"

/* etcd takes requests up to 1.5 MiB; the rest is for the key and the message around the value. */
#define MAX_VALUE_BYTES (1536u * 1024 - 4096)

#define DRIVER(scheme_name, what_it_takes)                                                         \
    {                                                                                              \
        .scheme = (scheme_name),                                                                   \
        .capabilities = FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES | FW_KV_CAN_PERSIST | \
                        FW_KV_CAN_TXN | FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME,             \
        .takes = (what_it_takes), .max_value_bytes = MAX_VALUE_BYTES, .open = fwi_etcd_open,       \
        .close = fwi_etcd_close, .submit = fwi_ec_submit, .watch_start = fwi_etcd_watch_start,     \
        .watch_stop = fwi_etcd_watch_stop, .lease_grant = fwi_ec_lease_grant,                      \
        .lease_revoke = fwi_ec_lease_revoke, .wait = fwi_etcd_wait,                                \
    }

static const fwi_kv_driver plain = DRIVER("etcd", FWI_KV_TAKES_USER);
static const fwi_kv_driver tls = DRIVER(FWI_ETCD_TLS_SCHEME, FWI_KV_TAKES_USER | FWI_KV_TAKES_TLS);

extern FW_API fwi_kv_module fwi_kv_module_drivers;
fwi_kv_module fwi_kv_module_drivers = {&plain, &tls, NULL};
