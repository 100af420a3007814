/* The environment itself, for env.c (life, clients, reading) and worker.c (the thread). */
#ifndef FWI_LMDB_ENV_IMPL_H
#define FWI_LMDB_ENV_IMPL_H

#include "lmdb/bell.h"
#include "lmdb/env.h"

#include <sys/types.h>

struct fwi_lmdb_env {
    /* Guarded by the registry's mutex. */
    fwi_list node;
    size_t references;
    fwi_lmdb_client *closer; /* who waits for the end */

    /* Set once. */
    dev_t device;
    ino_t inode;
    char *directory;
    fwi_lmdb_env_options options;
    int wake; /* eventfd */

    /* Written by the worker before it says READY. */
    MDB_env *mdb;
    fwi_lmdb_schema schema;
    pthread_rwlock_t map_lock; /* held for reading by readers, for writing while the map moves */

    pthread_mutex_t mutex; /* guards what follows */
    fwi_list queue;        /* requests that wait */
    fwi_list working;      /* requests that the worker has taken */
    fwi_list clients;
    fwi_lmdb_phase phase;
    int status; /* why it failed */
    const char *detail;

    /* The worker's own. */
    fwi_lmdb_bell bell;
    MDB_txn *reader;
    size_t seen_txn;
    uint64_t next_expiry_ms; /* on the clock of leases */
    uint64_t retry_ms;       /* nothing is tried again before this; on the clock of leases */
    uint64_t check_ms;       /* dead readers are looked for after this */
};

/* The thread: ends when nobody uses the environment any more, and frees it. */
void *fwi_lmdb_worker(void *arg);
/* If nobody uses the environment: takes it out of the registry, closes and frees it, and returns
 * true. */
bool fwi_lmdb_env_try_end(fwi_lmdb_env *env);
/* With the environment's mutex held. */
void fwi_lmdb_env_kick_locked(fwi_lmdb_client *client);

#endif
