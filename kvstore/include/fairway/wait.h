/*
 * The store for programs that wait: every call returns when it is done. No loop, no callbacks.
 *
 * The calling thread does the work itself: with etcd over gRPC it sleeps in gRPC's own queue, so a
 * call costs no hand-off between threads. Only leases and locks, which have to be kept alive while
 * the program does something else, have a thread of their own, started with the first of them.
 *
 * A handle belongs to one thread at a time; open one for each thread.
 */
#ifndef FAIRWAY_WAIT_H
#define FAIRWAY_WAIT_H

#include <fairway/kvstore.h>

FW_BEGIN_DECLS

typedef struct fw_wait_kv fw_wait_kv;
typedef struct fw_wait_watch fw_wait_watch;
typedef struct fw_wait_lease fw_wait_lease;
typedef struct fw_wait_lock fw_wait_lock;

/* As fw_kv_open. */
FW_API FW_MUST_CHECK int fw_wait_kv_open(const char *url, const fw_kv_options *options,
                                         fw_wait_kv **ret_kv);
/* Closes what is still open on it, waits for that, and frees it. */
FW_API void fw_wait_kv_close(fw_wait_kv *kv);

typedef struct fw_wait_put_options {
    fw_wait_lease *lease; /* the pair goes with this lease; NULL: none */
    uint32_t ttl_ms;      /* without a lease: the pair is deleted after this time; 0: never */
} fw_wait_put_options;

/* The operations of <fairway/kvstore.h>; a mistake in the arguments is a status, too. The result is
 * never NULL and lent until the next call with this handle. */
FW_API const fw_kv_result *fw_wait_kv_put(fw_wait_kv *kv, const char *key, fw_slice value,
                                          const fw_wait_put_options *options);
FW_API const fw_kv_result *fw_wait_kv_get(fw_wait_kv *kv, const char *key);
FW_API const fw_kv_result *fw_wait_kv_exists(fw_wait_kv *kv, const char *key);
FW_API const fw_kv_result *fw_wait_kv_delete(fw_wait_kv *kv, const char *key);
FW_API const fw_kv_result *fw_wait_kv_list(fw_wait_kv *kv, const char *prefix);
FW_API const fw_kv_result *fw_wait_kv_delete_tree(fw_wait_kv *kv, const char *prefix);
FW_API const fw_kv_result *fw_wait_kv_atomic_put(fw_wait_kv *kv, const char *key, fw_slice value,
                                                 int64_t previous,
                                                 const fw_wait_put_options *options);
FW_API const fw_kv_result *fw_wait_kv_atomic_delete(fw_wait_kv *kv, const char *key,
                                                    int64_t previous);
/* The leases of its puts must be NULL: FW_EOPTION. */
FW_API const fw_kv_result *fw_wait_kv_txn(fw_wait_kv *kv, const fw_kv_txn *txn);

/* The asynchronous store underneath, to have many operations in flight: submit to it, then wait for
 * a flag that a callback sets. Callbacks run inside the calls of this header. */
FW_API fw_kv *fw_wait_kv_async(fw_wait_kv *kv);
/* Works until *done. FW_EDEADLINE after timeout_ms (0: no limit). */
FW_API int fw_wait_kv_until(fw_wait_kv *kv, const bool *done, uint32_t timeout_ms);

/* Watches. FW_EKEY, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_wait_watch_key(fw_wait_kv *kv, const char *key,
                                           fw_wait_watch **ret_watch);
FW_API FW_MUST_CHECK int fw_wait_watch_tree(fw_wait_kv *kv, const char *prefix,
                                            fw_wait_watch **ret_watch);
/* The next event, lent until the next call with this watch; NULL after timeout_ms (0: does not
 * wait; UINT32_MAX: no limit). Between the calls nothing is read, so a slow reader slows the store
 * down instead of filling memory. */
FW_API const fw_kv_event *fw_wait_watch_next(fw_wait_watch *watch, uint32_t timeout_ms);
FW_API void fw_wait_watch_close(fw_wait_watch *watch);

/* Leases and locks; their functions may be called by any thread, but the last one, close, by one
 * alone and before fw_wait_kv_close. */
/* Waits for the grant. The errors of fw_kv_lease_new and of the grant. */
FW_API FW_MUST_CHECK int fw_wait_lease_new(fw_wait_kv *kv, uint32_t ttl_ms,
                                           fw_wait_lease **ret_lease);
/* FW_OK while it is held, else why it was lost. */
FW_API int fw_wait_lease_state(fw_wait_lease *lease);
/* Revokes and frees it. */
FW_API void fw_wait_lease_close(fw_wait_lease *lease);

/* Waits for the lock, as long as the options say (their callbacks and arg are not used; options may
 * be NULL). The errors of fw_kv_lock_new and of on_acquired. */
FW_API FW_MUST_CHECK int fw_wait_lock_new(fw_wait_kv *kv, const char *key,
                                          const fw_kv_lock_options *options,
                                          fw_wait_lock **ret_lock);
FW_API int64_t fw_wait_lock_token(fw_wait_lock *lock);
/* FW_OK while it is held, else why it was lost. */
FW_API int fw_wait_lock_state(fw_wait_lock *lock);
/* As fw_kv_lock_compare; its key is the lock's. */
FW_API fw_kv_compare fw_wait_lock_compare(fw_wait_lock *lock);
/* Releases and frees it. */
FW_API void fw_wait_lock_close(fw_wait_lock *lock);

FW_END_DECLS

#endif
