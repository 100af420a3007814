/*
 * An environment of LMDB as this process has it open: once, shared by all handles on all loops,
 * with one worker thread that does every write. Any thread may call these unless they say
 * otherwise.
 */
#ifndef FWI_LMDB_ENV_H
#define FWI_LMDB_ENV_H

#include "lmdb/schema.h"

#include <pthread.h>

typedef struct fwi_lmdb_env fwi_lmdb_env;

/* Who uses an environment: one for each handle, in its memory. */
typedef struct fwi_lmdb_client {
    fw_loop *loop;
    fwi_task kick; /* runs on the loop when there is something to look at */
    fwi_task
        gone; /* runs on the loop when the environment that the client released last is closed */
    fwi_lmdb_env *closing; /* guarded by the registry's mutex: gone is still to come */

    /* Guarded by the environment's mutex. */
    fwi_list node;
    bool kicked;    /* the kick is on its way */
    size_t watches; /* kicked at every change if not 0 */
    size_t in_hand; /* requests that are queued or being worked on */
    fwi_list done;  /* requests that were answered */
} fwi_lmdb_client;

typedef enum fwi_lmdb_phase {
    FWI_LMDB_OPENING,
    FWI_LMDB_READY,
    FWI_LMDB_FAILED /* tried again from time to time */
} fwi_lmdb_phase;

typedef struct fwi_lmdb_env_options {
    unsigned sync_flags; /* MDB_NOSYNC, MDB_NOMETASYNC */
    size_t map_bytes;    /* to begin with */
} fwi_lmdb_env_options;

/* Makes the directory and starts opening. FW_EOPTION if it is open with another sync; libuv's
 * errors. */
FW_MUST_CHECK int fwi_lmdb_env_acquire(const char *directory, const fwi_lmdb_env_options *options,
                                       fwi_lmdb_env **ret_env);
/* Returns true if that was all. False: nobody else uses it, the environment closes, client->gone
 * comes when it is closed. */
bool fwi_lmdb_env_release(fwi_lmdb_env *env, fwi_lmdb_client *client);
/* Does not wait for `gone` any longer. False if it is on its way already. */
bool fwi_lmdb_env_abandon(fwi_lmdb_client *client);

void fwi_lmdb_env_join(fwi_lmdb_env *env, fwi_lmdb_client *client);
/* No kick is started after this; returns true if one is on its way. */
bool fwi_lmdb_env_leave(fwi_lmdb_env *env, fwi_lmdb_client *client);
void fwi_lmdb_env_kick(fwi_lmdb_env *env, fwi_lmdb_client *client);
void fwi_lmdb_env_set_watches(fwi_lmdb_env *env, fwi_lmdb_client *client, size_t watches);
/* Hands a request over; it comes back in client->done. */
void fwi_lmdb_env_submit(fwi_lmdb_env *env, fwi_lmdb_request *request);
/* In the kick: takes what is done, and says how the environment is (detail is static). */
fwi_lmdb_phase fwi_lmdb_env_collect(fwi_lmdb_env *env, fwi_lmdb_client *client, fwi_list *ret_done,
                                    int *ret_status, const char **ret_detail);
/* Takes back what is not begun; returns how many requests are being worked on. */
size_t fwi_lmdb_env_cancel(fwi_lmdb_env *env, fwi_lmdb_client *client, fwi_list *ret_queued);
/* Forgets the client in all its requests: they end without an answer. The operations that they were
 * for go to ret_ops (fwi_kv_op.node). */
void fwi_lmdb_env_detach(fwi_lmdb_env *env, fwi_lmdb_client *client, fwi_list *ret_ops);

/* A short reading, once the environment is READY. *reader is the caller's, NULL at first, kept
 * between readings, ended with read_fini. If begin succeeds (0), end must follow soon, in the same
 * thread. */
int fwi_lmdb_env_read_begin(fwi_lmdb_env *env, MDB_txn **reader);
void fwi_lmdb_env_read_end(fwi_lmdb_env *env, MDB_txn *reader);
void fwi_lmdb_env_read_fini(fwi_lmdb_env *env, MDB_txn *reader);
const fwi_lmdb_schema *fwi_lmdb_env_schema(const fwi_lmdb_env *env);

/* What an error of LMDB means for the caller; *ret_detail is static. */
int fwi_lmdb_status(int rc, const char **ret_detail);

#endif
