/*
 * The key-value store: one contract, several drivers, chosen by URL. What every driver promises
 * (order, atomicity, watches, leases) stands in kvstore/README.md as numbered rules.
 *
 *     mem:NAME                     this process only, shared by all who open the same name
 *     lmdb:/dir                    embedded and durable, shared by all processes of a machine
 *     etcd://host:port[,...]/prefix   etcd v3 (a module, loaded when first used)
 *
 * Keys are paths: "a/b/c". Leading, trailing and repeated slashes do not count, so "/a//b/" is
 * "a/b"; keys come back in that form, without the URL's prefix. A key has at most
 * FW_KV_MAX_KEY_BYTES bytes.
 */
#ifndef FAIRWAY_KVSTORE_H
#define FAIRWAY_KVSTORE_H

#include <fairway/loop.h>

FW_BEGIN_DECLS

#define FW_KV_MAX_KEY_BYTES 480

typedef struct fw_kv fw_kv;
typedef struct fw_kv_watch fw_kv_watch;
typedef struct fw_kv_lease fw_kv_lease;

/* What a driver can do beyond the operations below, for fw_kv_capabilities. */
typedef enum fw_kv_capability {
    FW_KV_CAN_SHARE_PROCESSES = 1 << 0, /* other processes see the same store */
    FW_KV_CAN_SHARE_MACHINES = 1 << 1,  /* other machines do */
    FW_KV_CAN_PERSIST = 1 << 2          /* it outlives its last user */
} fw_kv_capability;

typedef struct fw_kv_options {
    uint32_t timeout_ms; /* of one operation; 0: 5000 */
} fw_kv_options;

/* Opens a store. Connecting goes on in the background: an operation on a store that is not there
 * answers FW_EUNREACHABLE within its timeout, a watch says FW_KV_STALE.
 * FW_EURL, FW_ESCHEME, FW_EOPTION (unknown query parameter), FW_EMODULE, UV_ENOMEM, and for lmdb
 * the system's error if its directory cannot be made. */
FW_API FW_MUST_CHECK int fw_kv_open(fw_loop *loop, const char *url, const fw_kv_options *options,
                                    fw_kv **ret_kv);
typedef void (*fw_kv_closed_fn)(void *arg);
/* Ends what is pending with FW_ECANCELED, closes watches and leases that are still open (their
 * owners must not use them any more; the leases are revoked), then calls on_closed (may be NULL)
 * and frees the store. Idempotent. */
FW_API void fw_kv_close(fw_kv *kv, fw_kv_closed_fn on_closed, void *arg);
FW_API unsigned fw_kv_capabilities(const fw_kv *kv);
/* The URL that was opened. */
FW_API const char *fw_kv_url(const fw_kv *kv);
FW_API fw_loop *fw_kv_loop(const fw_kv *kv);

typedef struct fw_kv_pair {
    const char *key;
    fw_slice value;
    int64_t revision; /* of the last modification; grows within the store, never 0 */
    int64_t lease;    /* 0: none */
} fw_kv_pair;

/* Outcome of an operation, lent to the callback. */
typedef struct fw_kv_result {
    int status;              /* FW_OK, or what went wrong */
    const char *detail;      /* the store's own words for it; "" if none */
    int64_t revision;        /* store's revision at the operation; after a write the pair's */
    const fw_kv_pair *pairs; /* get: the pair; list: all, sorted by key */
    size_t count;            /* of pairs; exists: 0 or 1; delete_tree: pairs deleted */
} fw_kv_result;

typedef void (*fw_kv_done_fn)(const fw_kv_result *result, void *arg);

typedef struct fw_kv_put_options {
    fw_kv_lease *lease; /* the pair goes with this lease; NULL: none */
    uint32_t ttl_ms;    /* without a lease: the pair is deleted after this time; 0: never */
} fw_kv_put_options;

/*
 * The operations. All copy their arguments, and answer through done under the asynchronous contract
 * (see <fairway/loop.h>). They return FW_EKEY, FW_EVALUESIZE, FW_ECLOSED or UV_ENOMEM; every other
 * error comes as the result's status:
 *   FW_EUNREACHABLE, FW_EDEADLINE  not done (reads)
 *   FW_EUNKNOWN   a write whose answer was lost: it may have happened; never retried for you
 *   FW_ECANCELED  the store was closed
 *   FW_ESTORE, FW_ENOSPACE, FW_EDENIED  the store said no; see detail
 */
/* Sets the value. options may be NULL. FW_ELEASE: the lease is gone, nothing was written; returned
 * at once if that is known here already, else the status. The same holds for fw_kv_atomic_put. */
FW_API FW_MUST_CHECK int fw_kv_put(fw_kv *kv, const char *key, fw_slice value,
                                   const fw_kv_put_options *options, fw_kv_done_fn done, void *arg);
/* FW_ENOTFOUND. */
FW_API FW_MUST_CHECK int fw_kv_get(fw_kv *kv, const char *key, fw_kv_done_fn done, void *arg);
/* Status FW_OK and count 0 or 1. */
FW_API FW_MUST_CHECK int fw_kv_exists(fw_kv *kv, const char *key, fw_kv_done_fn done, void *arg);
/* FW_ENOTFOUND. */
FW_API FW_MUST_CHECK int fw_kv_delete(fw_kv *kv, const char *key, fw_kv_done_fn done, void *arg);
/* Everything below a prefix, at any depth; not the prefix itself, and "a/b" never matches "a/bc".
 * "" lists all. Nothing there: FW_OK with count 0. */
FW_API FW_MUST_CHECK int fw_kv_list(fw_kv *kv, const char *prefix, fw_kv_done_fn done, void *arg);
/* Deletes, in one revision, what fw_kv_list would list. Nothing there: FW_OK with count 0. */
FW_API FW_MUST_CHECK int fw_kv_delete_tree(fw_kv *kv, const char *prefix, fw_kv_done_fn done,
                                           void *arg);
/* Writes only if the pair's revision is still `previous`; 0: only if there is no such key.
 * FW_EEXISTS (previous is 0), FW_EMODIFIED, FW_ENOTFOUND. options may be NULL. */
FW_API FW_MUST_CHECK int fw_kv_atomic_put(fw_kv *kv, const char *key, fw_slice value,
                                          int64_t previous, const fw_kv_put_options *options,
                                          fw_kv_done_fn done, void *arg);
/* Deletes only if the pair's revision is still `previous`. FW_EMODIFIED, FW_ENOTFOUND. */
FW_API FW_MUST_CHECK int fw_kv_atomic_delete(fw_kv *kv, const char *key, int64_t previous,
                                             fw_kv_done_fn done, void *arg);

/*
 * Watches. First the current state as PUTs and one END_OF_SNAPSHOT; then every change, in the order
 * of revisions, each once, without a gap, across reconnects. When the store no longer has the
 * history since the last event: RESYNC, then the difference as PUTs and DELETEs, then
 * END_OF_SNAPSHOT. A watch never ends by itself but with FATAL.
 */
typedef enum fw_kv_event_type {
    FW_KV_PUT,
    FW_KV_DELETE,          /* pair has key and the revision of the deletion, no value */
    FW_KV_END_OF_SNAPSHOT, /* pair.revision: of the whole state */
    FW_KV_RESYNC,
    FW_KV_STALE, /* contact with the store is lost (reason, detail); what was delivered may be old
                  */
    FW_KV_LIVE,  /* contact is back; nothing was missed */
    FW_KV_FATAL  /* the watch cannot go on (reason, detail); the last event */
} fw_kv_event_type;

typedef struct fw_kv_event {
    fw_kv_event_type type;
    fw_kv_pair pair;
    int reason;
    const char *detail;
} fw_kv_event;

/* Events come in batches; the changes of one revision (one transaction) are never split. Lent until
 * the return. The watch may be closed inside. */
typedef void (*fw_kv_watch_fn)(fw_kv_watch *watch, const fw_kv_event *events, size_t count,
                               void *arg);

/* Watches one key. FW_EKEY, FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_kv_watch_key(fw_kv *kv, const char *key, fw_kv_watch_fn on_events,
                                         void *arg, fw_kv_watch **ret_watch);
/* Watches what fw_kv_list would list. */
FW_API FW_MUST_CHECK int fw_kv_watch_tree(fw_kv *kv, const char *prefix, fw_kv_watch_fn on_events,
                                          void *arg, fw_kv_watch **ret_watch);
/* No event comes after this call; on_closed (may be NULL) comes in a later turn, then the watch is
 * freed. Idempotent. */
FW_API void fw_kv_watch_close(fw_kv_watch *watch, fw_kv_closed_fn on_closed, void *arg);

/*
 * Leases. A lease is granted for a time and kept alive at a third of it until it is closed; pairs
 * put under it are deleted when it ends. It is lost when the store says so, or when by our own
 * clock the time has passed since the last renewal that the store confirmed (counted from when it
 * was sent).
 */
typedef struct fw_kv_lease_options {
    uint32_t ttl_ms; /* 1000 at least; the store may round it up */
    /* Exactly once: granted (FW_OK), or not (the reason). */
    void (*on_granted)(fw_kv_lease *lease, int status, const char *detail, void *arg);
    /* At most once, after a grant: the lease is gone, and its pairs are or will be. */
    void (*on_lost)(fw_kv_lease *lease, int reason, const char *detail, void *arg);
    void *arg;
} fw_kv_lease_options;

/* Asks for a lease. FW_EOPTION, FW_ECLOSED, UV_ENOMEM. To be closed in every case, also when it was
 * not granted or is lost. */
FW_API FW_MUST_CHECK int fw_kv_lease_new(fw_kv *kv, const fw_kv_lease_options *options,
                                         fw_kv_lease **ret_lease);
FW_API int64_t fw_kv_lease_id(const fw_kv_lease *lease);      /* 0 until granted */
FW_API uint32_t fw_kv_lease_ttl_ms(const fw_kv_lease *lease); /* as granted */
/* Revokes the lease, so its pairs go at once; if the store cannot be reached within the operation
 * timeout, they go when the lease expires. Then on_closed (may be NULL); then the lease is freed.
 * Idempotent. */
FW_API void fw_kv_lease_close(fw_kv_lease *lease, fw_kv_closed_fn on_closed, void *arg);

FW_END_DECLS

#endif
