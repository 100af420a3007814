/*
 * The store behind mem: - a map, a revision, the log of its last changes, and leases, under one
 * mutex. Functions that end in _locked want it held.
 */
#ifndef FWI_MEM_STORE_H
#define FWI_MEM_STORE_H

#include "driver.h"

#include <pthread.h>

#define FWI_MEM_LOG_ENTRIES 10000

struct fwi_mem_entry {
    int64_t revision, lease;
    fw_slice value;
};

struct fwi_mem_change {
    int64_t revision, lease;
    bool is_delete;
    char *key;
    fw_slice value;
};

struct fwi_mem_lease {
    fwi_list node;
    int64_t id;
    uint32_t ttl_ms;
    uint64_t expires_ms; /* on uv_hrtime's clock, common to all loops */
};

struct fwi_mem_store {
    fwi_list node; /* in stores */
    char *name;
    size_t references; /* guarded by stores_mutex */

    pthread_mutex_t mutex; /* guards what follows */
    int64_t revision, last_lease;
    fwi_map entries; /* key -> struct fwi_mem_entry */
    struct fwi_mem_change log[FWI_MEM_LOG_ENTRIES];
    size_t log_start, log_count;
    fwi_list leases;
    fwi_list handles;
};

struct fwi_mem_handle {
    fwi_list node; /* in store->handles */
    fw_kv *kv;
    fw_loop *loop;
    struct fwi_mem_store *store;
    fwi_list watches; /* fw_kv_watch.node */
    fwi_list leases;  /* fw_kv_lease.node; the granted ones, to be renewed */
    fwi_timer timer;
    fwi_task kick;
    bool kicked; /* guarded by store->mutex: the kick task is on its way */
    bool closing;
};

/* The store of a name, made if need be; NULL: no memory. Any thread. */
struct fwi_mem_store *fwi_mem_store_acquire(const char *name);
void fwi_mem_store_release(struct fwi_mem_store *store);

/* One clock for all loops. */
uint64_t fwi_mem_clock_ms(void);
/* Does an operation; its status. */
int fwi_mem_run_locked(struct fwi_mem_store *store, fwi_kv_op *op);
/* Deletes what belongs to leases whose time is over. */
void fwi_mem_expire_locked(struct fwi_mem_store *store);
struct fwi_mem_lease *fwi_mem_lease_find_locked(struct fwi_mem_store *store, int64_t id);
struct fwi_mem_lease *fwi_mem_lease_add_locked(struct fwi_mem_store *store, uint32_t ttl_ms);
/* Deletes its keys, in one revision, and frees it. */
void fwi_mem_lease_end_locked(struct fwi_mem_store *store, struct fwi_mem_lease *lease);
/* Gives a watch what it has not seen; takes the mutex itself. */
void fwi_mem_catch_up(struct fwi_mem_store *store, fw_kv_watch *watch);

#endif
