/*
 * Between the store's front (kvstore.c, watch.c, lease.c) and its drivers.
 *
 * The front normalises keys, copies arguments, bounds every operation by its deadline, runs all
 * user callbacks and frees. A driver does the work. All driver functions are called on the kv's
 * loop; what a driver calls back says on which thread it may.
 */
#ifndef FWI_KV_DRIVER_H
#define FWI_KV_DRIVER_H

#include <fairway/kvstore.h>
#include <fairway/url.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/map.h"

/* ---- pairs: a growing array whose keys and values live in the list's own memory ---- */

typedef struct fwi_kv_block {
    struct fwi_kv_block *next;
    size_t used, capacity;
    uint8_t data[];
} fwi_kv_block;

/* Somebody else's memory that pairs point into; given back with them. */
typedef struct fwi_kv_keep {
    struct fwi_kv_keep *next;
    void (*release)(struct fwi_kv_keep *keep); /* frees it, too */
} fwi_kv_keep;

typedef struct fwi_kv_pairs {
    fw_kv_pair *items;
    size_t count, capacity;
    fwi_kv_block *blocks;
    fwi_kv_keep *keeps;
} fwi_kv_pairs;

/* Zero-initialised is empty. Any thread (one at a time). */
FWI_API FW_MUST_CHECK int fwi_kv_pairs_add(fwi_kv_pairs *pairs, const char *key, size_t key_len,
                                           fw_slice value, int64_t revision, int64_t lease);
/* Copies the key alone: the value lies in memory that was handed to fwi_kv_pairs_keep. */
FWI_API FW_MUST_CHECK int fwi_kv_pairs_add_view(fwi_kv_pairs *pairs, const char *key,
                                                size_t key_len, fw_slice value, int64_t revision,
                                                int64_t lease);
FWI_API void fwi_kv_pairs_keep(fwi_kv_pairs *pairs, fwi_kv_keep *keep);
FWI_API void fwi_kv_pairs_fini(fwi_kv_pairs *pairs);

/* ---- operations ---- */

typedef enum fwi_kv_op_type {
    FWI_KV_PUT,
    FWI_KV_GET,
    FWI_KV_EXISTS,
    FWI_KV_DELETE,
    FWI_KV_LIST,
    FWI_KV_DELETE_TREE,
    FWI_KV_ATOMIC_PUT,
    FWI_KV_ATOMIC_DELETE,
    FWI_KV_TXN,    /* drivers with FW_KV_CAN_TXN */
    FWI_KV_ENQUEUE /* drivers with has_queue */
} fwi_kv_op_type;

/* A transaction, checked and copied: keys are normalised, leases are ids. */
typedef struct fwi_kv_txn_op {
    fw_kv_txn_op_type type;
    char *key;
    fw_slice value;
    int64_t lease; /* 0: none */
} fwi_kv_txn_op;

typedef struct fwi_kv_branch {
    fwi_kv_txn_op *ops;
    size_t count;
} fwi_kv_branch;

typedef struct fwi_kv_txn {
    fw_kv_compare *compares; /* with keys and values of our own */
    size_t compare_count;
    fwi_kv_branch then, otherwise;
} fwi_kv_txn;

/* A driver that takes op->txn over frees it so. Any thread. NULL: nothing. */
FWI_API void fwi_kv_txn_free(fwi_kv_txn *txn);
/* True if a comparison holds for a key that has this revision (0: missing) and value. */
FWI_API bool fwi_kv_compare_holds(const fw_kv_compare *compare, int64_t revision, fw_slice value);

typedef struct fwi_kv_op {
    /* The request; the driver reads it. */
    fw_kv *kv;
    fwi_kv_op_type type;
    bool is_write;  /* it may change something */
    char *key;      /* normalised; "" for a tree means everything */
    fw_slice value; /* owned by the operation */
    int64_t previous;
    int64_t lease; /* id, 0: none */
    uint32_t ttl_ms;
    fwi_kv_txn *txn;
    uint64_t deadline_ms; /* on the loop's clock */

    /* The answer; the driver fills it before fwi_kv_op_finish. */
    int64_t revision;
    size_t count;       /* exists, delete_tree */
    bool succeeded;     /* txn */
    fwi_kv_pairs pairs; /* get, list; txn: one for each GET; enqueue: the key that was made */

    /* For the driver's own use while it has the operation. */
    fwi_list node;
    void *driver_data;

    /* The front's. */
    bool with_side_keys; /* list: those of locks, too */
    int status;
    char *detail;
    fw_kv_done_fn done; /* NULL: the deadline came first, nobody waits any more */
    void *arg;
    fwi_list pending;
    fwi_timer timer;
    fwi_task finish;
} fwi_kv_op;

static inline bool fwi_kv_op_is_write(const fwi_kv_op *op)
{
    return op->is_write;
}

/* Ends an operation; the driver must not touch it any more. detail (may be NULL) is copied. Any
 * thread. */
FWI_API void fwi_kv_op_finish(fwi_kv_op *op, int status, const char *detail);

/* ---- watches ---- */

struct fw_kv_watch {
    /* The driver reads these. */
    fw_kv *kv;
    char *key; /* normalised */
    bool tree;
    int64_t revision; /* everything up to here was delivered; 0: nothing yet */

    /* For the driver's own use. */
    fwi_list node;
    void *driver_data;

    /* The front's: see watch.c. */
    fw_kv_watch_fn on_events;
    void *arg;
    fwi_list all;
    fwi_map known; /* key -> struct known */
    uint32_t epoch;
    fwi_kv_pairs batch;
    fw_kv_event *events;
    size_t event_count, event_capacity;
    bool stale, ended, out_of_memory, listing;
    bool to_learn;         /* the batch is one put, of which `known` has not heard */
    fwi_kv_pairs learning; /* such a put that was delivered, or none */
    bool with_side_keys;   /* those of locks are delivered, too */
    bool closing, stopped;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
    fwi_task gone;
};

/* True if a normalised key is what the watch is about. */
FWI_API bool fwi_kv_watch_matches(const fw_kv_watch *watch, const char *key);

/* What a driver reports of a watch, on the loop, from start until watch_stop was called. After each
 * of these that delivers, the watch may have been stopped from inside: they return false then, and
 * the driver must not touch the watch any more.
 *
 * A list of the whole state: begin, pair..., end (delivers). If it is not the first, the front
 * delivers RESYNC and only what differs from what it delivered before. A list that breaks off is
 * begun again with begin. */
FWI_API void fwi_kv_watch_list_begin(fw_kv_watch *watch);
FWI_API void fwi_kv_watch_list_pair(fw_kv_watch *watch, const char *key, size_t key_len,
                                    fw_slice value, int64_t revision, int64_t lease);
FWI_API bool fwi_kv_watch_list_end(fw_kv_watch *watch, int64_t revision);
/* Changes: put and delete..., then commit (delivers). Changes up to watch->revision are dropped, so
 * a source may repeat itself. */
FWI_API void fwi_kv_watch_put(fw_kv_watch *watch, const char *key, size_t key_len, fw_slice value,
                              int64_t revision, int64_t lease);
FWI_API void fwi_kv_watch_delete(fw_kv_watch *watch, const char *key, size_t key_len,
                                 int64_t revision);
FWI_API bool fwi_kv_watch_commit(fw_kv_watch *watch, int64_t revision);
/* Contact lost and found. Repeated calls deliver nothing. */
FWI_API bool fwi_kv_watch_stale(fw_kv_watch *watch, int reason, const char *detail);
FWI_API bool fwi_kv_watch_live(fw_kv_watch *watch);
/* Delivers FATAL, ever the last event. The driver still gets watch_stop. */
FWI_API bool fwi_kv_watch_fatal(fw_kv_watch *watch, int reason, const char *detail);
/* The driver has let go of the watch, after watch_stop; may be called from inside it. */
FWI_API void fwi_kv_watch_stopped(fw_kv_watch *watch);

/* ---- leases ---- */

struct fw_kv_lease {
    fw_kv *kv;
    uint32_t ttl_ms; /* asked for, then granted */
    int64_t id;
    /* For the driver's own use. */
    fwi_list node;
    void *driver_data;
    /* The front's. */
    fw_kv_lease_options options;
    fwi_list all;
    bool answered, lost, closing;
    int status;
    char *detail;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
    fwi_task report, gone;
};

/* The grant's outcome: exactly once per lease_grant unless lease_revoke came first. On the loop. */
FWI_API void fwi_kv_lease_granted(fw_kv_lease *lease, int status, const char *detail, int64_t id,
                                  uint32_t ttl_ms);
FWI_API void fwi_kv_lease_lost(fw_kv_lease *lease, int reason, const char *detail);
/* The driver has let go of the lease, after lease_revoke; may be called from inside it. */
FWI_API void fwi_kv_lease_gone(fw_kv_lease *lease);

/* ---- drivers ---- */

/* What a driver takes of credentials; the URL's query may name them then. */
typedef enum fwi_kv_takes {
    FWI_KV_TAKES_USER = 1 << 0, /* user, password */
    FWI_KV_TAKES_TLS = 1 << 1   /* cacert, cert, key */
} fwi_kv_takes;

/* Credentials, from whichever place had them. NULL where there are none. */
typedef struct fwi_kv_access {
    char *user, *password;
    char *cacert, *cert, *key; /* names of files; that they can be read was checked */
} fwi_kv_access;

typedef struct fwi_kv_driver {
    const char *scheme;
    unsigned capabilities;
    unsigned takes; /* fwi_kv_takes */
    const char *const
        *params; /* of the URL's query, besides credentials; NULL-terminated, or NULL */
    size_t max_value_bytes;
    /* It does FWI_KV_ENQUEUE: makes, below the operation's key and under its lease, a key that
     * stands behind all that are there, with the side key's name (see fwi_kv_is_side_key).
     * Otherwise the front does it with FWI_KV_ATOMIC_PUT. */
    bool has_queue;
    /* Opens; returns at once (connecting goes on in the background). What it is given is lent. An
     * error may be explained with fwi_kv_open_failed. */
    int (*open)(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store);
    /* Ends operations in hand with FW_ECANCELED and lets go of everything; all watches and leases
     * have been stopped before. fwi_kv_closed follows, in this call or later. */
    void (*close)(void *store);
    /* Takes an operation; fwi_kv_op_finish follows. */
    void (*submit)(void *store, fwi_kv_op *op);
    void (*watch_start)(void *store, fw_kv_watch *watch);
    void (*watch_stop)(void *store, fw_kv_watch *watch);  /* fwi_kv_watch_stopped follows */
    void (*lease_grant)(void *store, fw_kv_lease *lease); /* and keep it alive */
    /* Called whatever became of the grant. fwi_kv_lease_gone follows within the timeout. */
    void (*lease_revoke)(void *store, fw_kv_lease *lease);
    /* For stores that are driven by the thread that waits (fwi_kv_is_driven): sleeps until the
     * store has something to tell, at most timeout_ms (0: does not sleep), and tells it. NULL: the
     * loop alone brings everything. */
    void (*wait)(void *store, uint32_t timeout_ms);
} fwi_kv_driver;

FWI_API void fwi_kv_closed(fw_kv *kv);
FWI_API uint32_t fwi_kv_timeout_ms(const fw_kv *kv);
/* Writes why open fails, for fw_kv_options.detail; returns error. */
FWI_API int fwi_kv_open_failed(fw_kv *kv, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* True if a thread of the user drives this store by `wait`, so that it needs none of its own. */
FWI_API bool fwi_kv_is_driven(const fw_kv *kv);
/* fw_kv_open for a store that is driven. */
FW_MUST_CHECK int fwi_kv_open(fw_loop *loop, const char *url, const fw_kv_options *options,
                              bool driven, fw_kv **ret_kv);

/* The parameter of the URL's query that is neither among names (NULL-terminated, or NULL) nor a
 * credential that is taken (fwi_kv_takes); NULL: all are known. */
FWI_API const char *fwi_kv_unknown_param(const fw_url *url, const char *const *names,
                                         unsigned takes);
/* Normalises a key or prefix into a new string. FW_EKEY (too long; empty unless allow_empty),
 * UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_kv_key_normalise(const char *key, bool allow_empty, char **ret_key);
/* True if the key lies below the prefix ("" holds all); neither is normalised here. */
FWI_API bool fwi_kv_key_below(const char *key, size_t key_len, const char *prefix,
                              size_t prefix_len);

/* Lease ids are at least so large, so that their hex is no name that somebody would choose. */
#define FWI_KV_LEAST_LEASE (INT64_C(1) << 40)

/* True for a contender's place in the queue of a lock: the last part of the key is the hex of the
 * pair's own lease, alone or before "__lock__...". */
FWI_API bool fwi_kv_is_side_key(const char *key, size_t key_len, int64_t lease);

/* Makes a driver known, for tests that bring their own; before any thread opens a store. */
FWI_API FW_MUST_CHECK int fwi_kv_driver_add(const fwi_kv_driver *driver);
/* Finds the driver of a scheme, loading its module if need be. FW_ESCHEME, FW_EMODULE. */
int fwi_kv_driver_find(const char *scheme, const fwi_kv_driver **ret_driver);
/* What a module exports under the name "fwi_kv_module_drivers": a NULL-terminated array. */
typedef const fwi_kv_driver *const fwi_kv_module[];

extern const fwi_kv_driver fwi_kv_driver_mem;
extern const fwi_kv_driver fwi_kv_driver_lmdb;

#endif
