/*
 * What is in an LMDB environment of ours, and what one operation does to it. Transactions come from
 * the caller; no threads, no waiting here.
 *
 *     state       "s" -> struct fwi_lmdb_state
 *     pairs       key -> revision, lease, value
 *     log         revision, index -> what changed: the last revisions, each whole
 *     leases      id -> time of expiry, time granted, boot
 *     expiry      time of expiry, id -> nothing: the same, in the order of time
 *     lease_keys  id, key -> nothing: the pairs of a lease
 *
 * Functions return 0 or LMDB's error (a code of LMDB's, or an errno) when the transaction cannot go
 * on; how an operation ended by itself (FW_EEXISTS, ...) is in the request.
 */
#ifndef FWI_LMDB_SCHEMA_H
#define FWI_LMDB_SCHEMA_H

#include "driver.h"

#include <lmdb.h>

#define FWI_LMDB_MAX_VALUE_BYTES (16u * 1024 * 1024)
/* The change log holds at most so much when a transaction ends (it is cut to seven eighths of it).
 */
#define FWI_LMDB_LOG_ENTRIES 16384
#define FWI_LMDB_LOG_BYTES   (64u * 1024 * 1024)

struct fwi_lmdb_state {
    uint64_t format;
    int64_t revision, last_lease;
    uint64_t log_entries, log_bytes;
};

typedef struct fwi_lmdb_schema {
    MDB_dbi state, pairs, log, leases, expiry, lease_keys;
    uint8_t boot[16];
} fwi_lmdb_schema;

typedef enum fwi_lmdb_kind {
    FWI_LMDB_OP, /* of the type op_type */
    FWI_LMDB_GRANT,
    FWI_LMDB_RENEW,
    FWI_LMDB_REVOKE,
    FWI_LMDB_REFRESH /* look whether the map has grown */
} fwi_lmdb_kind;

struct fwi_lmdb_client;

/* One thing for the worker to do. Owns its key, value and txn, so that whoever asked can go away.
 */
typedef struct fwi_lmdb_request {
    fwi_list node;
    struct fwi_lmdb_client *client; /* NULL: nobody waits for the answer */
    fwi_lmdb_kind kind;
    fwi_kv_op_type op_type;
    char *key;
    fw_slice value;
    fwi_kv_txn *txn;
    int64_t previous, lease;
    uint32_t ttl_ms;
    uint64_t deadline_ms; /* on uv_hrtime's clock; not done after it */
    void *owner;          /* the client's: the operation or the lease */

    int status;
    const char *detail; /* static */
    int64_t revision;
    size_t count;
    bool succeeded;
    fwi_kv_pairs pairs; /* what a txn read */
} fwi_lmdb_request;

void fwi_lmdb_request_free(fwi_lmdb_request *request);

/* Milliseconds since boot, suspension included: the clock of leases, one for the machine. */
uint64_t fwi_lmdb_clock_ms(void);

/* Opens the tables, makes them if need be, and ends the leases of an earlier boot. */
int fwi_lmdb_schema_open(fwi_lmdb_schema *schema, MDB_txn *txn);

/* ---- writing: begin, any number of executes, end (or the transaction is aborted) ---- */

typedef struct fwi_lmdb_write {
    const fwi_lmdb_schema *schema;
    MDB_txn *txn;
    struct fwi_lmdb_state state;
    uint64_t now_ms;
    uint32_t log_index; /* within the revision */
    bool dirty;         /* something was written */
    bool audible;       /* others should look */
} fwi_lmdb_write;

/* Begins, and ends the leases whose time has come. */
int fwi_lmdb_write_begin(fwi_lmdb_write *write, const fwi_lmdb_schema *schema, MDB_txn *txn);
int fwi_lmdb_write_execute(fwi_lmdb_write *write, fwi_lmdb_request *request);
int fwi_lmdb_write_end(fwi_lmdb_write *write);

/* ---- reading ---- */

int fwi_lmdb_read_state(const fwi_lmdb_schema *schema, MDB_txn *txn,
                        struct fwi_lmdb_state *ret_state);
/* Fills the answer of get, exists, list. Pairs of expired leases are not there. */
int fwi_lmdb_read_op(const fwi_lmdb_schema *schema, MDB_txn *txn, fwi_kv_op *op, int *ret_status);
/* Lists into a watch what it is about (pairs only; the caller begins and ends the list). */
int fwi_lmdb_read_snapshot(const fwi_lmdb_schema *schema, MDB_txn *txn, fw_kv_watch *watch);
/* Gives a watch the changes after its revision, at most about one batch of whole revisions;
 * *ret_revision is the last that was looked at. *ret_has_history is false if the log does not reach
 * back so far: nothing was given then. */
int fwi_lmdb_read_changes(const fwi_lmdb_schema *schema, MDB_txn *txn, fw_kv_watch *watch,
                          bool *ret_has_history, int64_t *ret_revision);
/* When the next lease expires, UINT64_MAX if none does. */
int fwi_lmdb_read_next_expiry(const fwi_lmdb_schema *schema, MDB_txn *txn, uint64_t *ret_ms);

#endif
