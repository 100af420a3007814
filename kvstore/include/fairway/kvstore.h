/*
 * The key-value store: one contract, several drivers, chosen by URL. What every driver promises
 * (order, atomicity, watches, leases) stands in kvstore/README.md as numbered rules.
 *
 *     mem:NAME                     this process only, shared by all who open the same name
 *     lmdb:/dir                    embedded and durable, shared by all processes of a machine
 *     etcd://host:port[,...]/prefix   etcd v3 over gRPC; etcds:// with TLS
 *     etcd+http://host:port[,...]/prefix   etcd v3 over its JSON gateway; etcd+https:// with TLS
 *     redis://[user@]host:port[/db[/prefix]]   Redis
 *     zk://host:port[,...]/prefix     ZooKeeper
 *
 * Credentials never stand in a URL: they come from fw_kv_options, from the environment
 * (FAIRWAY_STORE_USER, _PASSWORD, _PASSWORD_FILE, _CACERT, _CERT, _KEY), or from files that the
 * URL's query names: ?user=NAME&password_file=PATH&cacert=PATH&cert=PATH&key=PATH. The query wins
 * over the options, these over the environment.
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
typedef struct fw_kv_lock fw_kv_lock;

/* What a driver can do beyond the operations below, for fw_kv_capabilities. */
typedef enum fw_kv_capability {
    FW_KV_CAN_SHARE_PROCESSES = 1 << 0, /* other processes see the same store */
    FW_KV_CAN_SHARE_MACHINES = 1 << 1,  /* other machines do */
    FW_KV_CAN_PERSIST = 1 << 2,         /* it outlives its last user */
    FW_KV_CAN_TXN = 1 << 3,             /* fw_kv_txn */
    /* Watches deliver every change. Without it, of several changes of one key in quick succession a
     * watch may deliver the last one only; order, completeness of the final state and everything
     * else holds. */
    FW_KV_CAN_SEE_EVERY_CHANGE = 1 << 4,
    FW_KV_CAN_RESUME = 1 << 5 /* after a loss of contact a watch goes on without a RESYNC */
} fw_kv_capability;

/* All may be zero; strings are copied. */
typedef struct fw_kv_options {
    uint32_t timeout_ms; /* of one operation; 0: 5000 */
    const char *user, *password;
    /* PEM files: who may have signed the server's certificate (NULL: the system's), and our own
     * certificate with its key. */
    const char *cacert, *cert, *key;
    /* If not NULL: fw_kv_open writes here, in words, why it failed. */
    char *detail;
    size_t detail_size;
} fw_kv_options;

/* Opens a store. Connecting goes on in the background: an operation on a store that is not there
 * answers FW_EUNREACHABLE within its timeout, a watch says FW_KV_STALE.
 * FW_EURL, FW_ESCHEME, FW_EOPTION (unknown query parameter, or a credential that this store cannot
 * use), FW_EMODULE, UV_ENOMEM, FW_ETLS (a certificate or key that cannot be used), and the system's
 * error if a file that was named cannot be read or, for lmdb, its directory cannot be made. */
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
    const fw_kv_pair *pairs; /* get: the pair; list: all, sorted by key; txn: see there */
    size_t count;            /* of pairs; exists: 0 or 1; delete_tree: pairs deleted */
    bool succeeded;          /* txn: the comparisons held */
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
 *   FW_EAUTH      user or password are wrong, or missing; nothing was done
 *   FW_ETLS       the server's certificate does not verify, or it refused ours; nothing was done
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
 * "" lists all. Nothing there: FW_OK with count 0. The side keys of locks are left out. */
FW_API FW_MUST_CHECK int fw_kv_list(fw_kv *kv, const char *prefix, fw_kv_done_fn done, void *arg);
/* Deletes, in one revision, what fw_kv_list would list, and the side keys of locks there (their
 * holders learn that they have lost them). Nothing there: FW_OK with count 0. */
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
 * Transactions: if all comparisons hold, `then` is done, else `otherwise`; all of it in one
 * revision, or nothing. Where the store has them (FW_KV_CAN_TXN).
 */
#define FW_KV_TXN_MAX 64 /* comparisons, and operations of a branch */

typedef enum fw_kv_relation {
    FW_KV_EQUAL,
    FW_KV_NOT_EQUAL,
    FW_KV_LESS,
    FW_KV_GREATER
} fw_kv_relation;

/* Compares what the store has (on the left) with what is given. */
typedef struct fw_kv_compare {
    const char *key;
    bool by_value; /* compares values, byte by byte; false for a key that is missing */
    fw_kv_relation relation;
    int64_t revision; /* else compares revisions; that of a missing key is 0 */
    fw_slice value;
} fw_kv_compare;

typedef enum fw_kv_txn_op_type {
    FW_KV_TXN_PUT,
    FW_KV_TXN_GET,
    FW_KV_TXN_DELETE /* of a missing key: nothing */
} fw_kv_txn_op_type;

typedef struct fw_kv_txn_op {
    fw_kv_txn_op_type type;
    const char *key;
    fw_slice value;     /* put */
    fw_kv_lease *lease; /* put; NULL: none */
} fw_kv_txn_op;

typedef struct fw_kv_txn {
    const fw_kv_compare *compares;
    size_t compare_count;
    const fw_kv_txn_op *then;
    size_t then_count;
    const fw_kv_txn_op *otherwise;
    size_t otherwise_count;
} fw_kv_txn;

/* The result has `succeeded`, and a pair for each GET of the branch that was done, in their order;
 * one of a missing key has revision 0. FW_EUNSUPPORTED: the store has none; as the status: none
 * with puts under several leases (ZooKeeper). FW_ELIMIT: over FW_KV_TXN_MAX. FW_EOPTION: a branch
 * puts or deletes a key twice. A GET sees what was there before the transaction. */
FW_API FW_MUST_CHECK int fw_kv_do_txn(fw_kv *kv, const fw_kv_txn *txn, fw_kv_done_fn done,
                                      void *arg);

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

/*
 * Locks. One holder at a time, in the order of asking, for as long as a lease of the lock's own is
 * kept alive.
 *
 * No lock of any store excludes a holder that was asleep when its lease ended. So every lock has a
 * fencing token, which grows from holder to holder: have what you protect refuse a smaller token
 * than it has seen, or write to the store in a transaction with fw_kv_lock_compare.
 *
 * In the store: KEY holds `value` while somebody holds the lock, and KEY/<lease in hex> is each
 * contender's place in the queue (etcd: the layout of Go's concurrency.Mutex, and of locks that
 * consist of KEY alone; ZooKeeper: sequential nodes). Nothing else may live at KEY or below.
 */
typedef struct fw_kv_lock_options {
    uint32_t ttl_ms;  /* 0: 15000; 1000 at least. How long the lock outlives a holder that died */
    uint32_t wait_ms; /* FW_EDEADLINE if it was not acquired by then; 0: no limit */
    bool no_wait;     /* FW_ELOCKED if somebody else has it */
    fw_slice value;   /* who has it, for others to read; copied */
    /* Exactly once: acquired (FW_OK), or why not (FW_ECANCELED: closed before). */
    void (*on_acquired)(fw_kv_lock *lock, int status, const char *detail, void *arg);
    /* At most once, after it was acquired: it is no longer ours, or may soon be somebody else's.
     * Comes by our own clock before the store can give it to another. */
    void (*on_lost)(fw_kv_lock *lock, int reason, const char *detail, void *arg);
    void *arg;
} fw_kv_lock_options;

/* Asks for the lock. FW_EKEY (the key of a lock has at most 440 bytes), FW_EVALUESIZE, FW_EOPTION,
 * FW_ECLOSED, UV_ENOMEM. To be closed in every case, also when it was not acquired or is lost. */
FW_API FW_MUST_CHECK int fw_kv_lock_new(fw_kv *kv, const char *key,
                                        const fw_kv_lock_options *options, fw_kv_lock **ret_lock);
/* The fencing token; 0 until acquired. */
FW_API int64_t fw_kv_lock_token(const fw_kv_lock *lock);
/* A comparison that holds exactly as long as the lock is ours. Its key is the lock's. */
FW_API fw_kv_compare fw_kv_lock_compare(const fw_kv_lock *lock);
/* Releases the lock, or gives up waiting for it; when the store has confirmed it, or cannot be
 * reached within the operation timeout (the lock then ends with its time), on_closed (may be NULL)
 * runs and the lock is freed. Idempotent. */
FW_API void fw_kv_lock_close(fw_kv_lock *lock, fw_kv_closed_fn on_closed, void *arg);

FW_END_DECLS

#endif
