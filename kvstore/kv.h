/* The store object, shared by the files of the front. */
#ifndef FWI_KV_H
#define FWI_KV_H

#include "driver.h"

struct fw_kv {
    fw_loop *loop;
    const fwi_kv_driver *driver;
    void *store;
    char *url;
    uint32_t timeout_ms;
    char *detail; /* the user's, while opening */
    size_t detail_size;
    bool driven;
    fwi_list ops;     /* fwi_kv_op.pending */
    fwi_list watches; /* fw_kv_watch.all */
    fwi_list leases;  /* fw_kv_lease.all */
    fwi_list locks;   /* fw_kv_lock.all */
    size_t ops_count; /* with the driver, abandoned ones included */
    bool closing, driver_closing, driver_closed;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
    fwi_task gone;
    fwi_kv_op *answering; /* whose callback runs */
};

/* Goes on with closing when an operation, watch or lease is gone. */
void fwi_kv_continue_close(fw_kv *kv);
/* For the front's own callers: an operation made of a request. Key and value are copied; the txn is
 * taken over, unless an error is returned. */
int fwi_kv_submit(fw_kv *kv, fwi_kv_op_type type, const char *key, const fwi_kv_op *request,
                  fw_kv_done_fn done, void *arg);
int fwi_kv_watch_new(fw_kv *kv, const char *key, bool tree, bool with_side_keys,
                     fw_kv_watch_fn on_events, void *arg, fw_kv_watch **ret_watch);
/* Inside a done callback: takes the memory of the result's pairs over, so that they outlive it. */
void fwi_kv_take_pairs(fw_kv *kv, fwi_kv_pairs *ret_pairs);

/* access.c: also refuses what the driver does not know. */
int fwi_kv_access_init(fw_kv *kv, const fw_url *url, const fw_kv_options *options,
                       fwi_kv_access *ret_access);
void fwi_kv_access_fini(fwi_kv_access *access);
/* lock.c: closes what is open. */
void fwi_kv_locks_close(fw_kv *kv);

#endif
