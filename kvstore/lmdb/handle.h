/* A handle: one fw_kv on an environment. All on its loop. lmdb.c has operations, watches and life,
 * lease.c the leases. */
#ifndef FWI_LMDB_HANDLE_H
#define FWI_LMDB_HANDLE_H

#include "lmdb/env.h"

typedef struct fwi_lmdb_handle {
    fw_kv *kv;
    fw_loop *loop;
    fwi_lmdb_env *env;
    fwi_lmdb_client client;
    MDB_txn *reader;

    fwi_lmdb_phase phase; /* as of the last kick */
    int status;
    const char *detail;

    fwi_list waiting; /* fwi_kv_op.node: reads that wait for the environment */
    bool refreshing;  /* the worker was asked to look at the map's size */
    fwi_list watches; /* fw_kv_watch.node */
    size_t watch_count;
    fwi_timer retry_timer; /* looks again after a reading failed */
    fwi_list leases;       /* struct held, see lease.c */
    fwi_timer lease_timer;

    bool closing, left, released;
    fwi_timer close_timer; /* ends the wait for a worker that does not come back */
} fwi_lmdb_handle;

/* Makes a request of this handle; NULL without memory. */
fwi_lmdb_request *fwi_lmdb_handle_request(fwi_lmdb_handle *handle, fwi_lmdb_kind kind, void *owner);

void fwi_lmdb_lease_grant(void *store, fw_kv_lease *lease);
void fwi_lmdb_lease_revoke(void *store, fw_kv_lease *lease);
/* The answer to a request of a lease; status is the request's or FW_ECANCELED. */
void fwi_lmdb_lease_answered(fwi_lmdb_handle *handle, fwi_lmdb_request *request, int status);
/* Frees what is left of leases whose requests will never be answered. */
void fwi_lmdb_lease_drop_all(fwi_lmdb_handle *handle);
void fwi_lmdb_lease_on_timer(fwi_timer *timer, void *handle);

#endif
