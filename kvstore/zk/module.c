/* What the module exports. */
#include "store.h"

/* What the server takes is a setting of it (jute.maxbuffer): see README.md. */
#define MAX_VALUE_BYTES (16u * 1024 * 1024)

static const char *const params[] = {"jute_maxbuffer", NULL};

static const fwi_kv_driver driver = {
    .scheme = "zk",
    .capabilities = FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES | FW_KV_CAN_PERSIST |
                    FW_KV_CAN_TXN | FW_KV_CAN_RESUME,
    .takes = FWI_KV_TAKES_USER,
    .params = params,
    .max_value_bytes = MAX_VALUE_BYTES,
    .has_queue = true,
    .open = fwi_zk_open,
    .close = fwi_zk_close,
    .submit = fwi_zk_submit,
    .watch_start = fwi_zk_watch_start,
    .watch_stop = fwi_zk_watch_stop,
    .lease_grant = fwi_zk_lease_grant,
    .lease_revoke = fwi_zk_lease_revoke,
};

extern FW_API fwi_kv_module fwi_kv_module_drivers;
fwi_kv_module fwi_kv_module_drivers = {&driver, NULL};
