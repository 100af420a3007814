/* The store object, shared by the files of the front. */
#ifndef FWI_KV_H
#define FWI_KV_H

#include "driver.h"

struct fw_kv {
    fw_loop *loop;
    const fwi_kv_driver *driver;
    void *store;
    char *url;
    fw_kv_options options;
    fwi_list ops;     /* fwi_kv_op.pending */
    fwi_list watches; /* fw_kv_watch.all */
    fwi_list leases;  /* fw_kv_lease.all */
    size_t ops_count; /* with the driver, abandoned ones included */
    bool closing, driver_closing, driver_closed;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
    fwi_task gone;
};

/* Goes on with closing when an operation, watch or lease is gone. */
void fwi_kv_continue_close(fw_kv *kv);

#endif
