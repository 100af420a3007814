/*
 * Threads for work that would block a loop: databases, files, long computations. The work runs in a
 * thread of the pool, its end is told on the loop that gave it.
 */
#ifndef FAIRWAY_POOL_H
#define FAIRWAY_POOL_H

#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_pool fw_pool;

typedef struct fw_pool_options {
    uint32_t threads;    /* 0: as many as there are processors; at most 1024 */
    uint32_t max_queued; /* work that waits for a thread; beyond it fw_pool_submit answers FW_ELIMIT
                          * at once; 0: 65,536 */
} fw_pool_options;

typedef struct fw_pool_work {
    /* Runs in a thread of the pool; what it works on is its own until done. It must not call
     * anything of the loop but what says "any thread". Required. */
    void (*run)(void *arg);
    /* On the loop that was given, once: FW_OK after run, or FW_ECANCELED if the pool was closed
     * before its turn, and run never runs. May submit, and close the pool. NULL: nobody wants to
     * know. */
    void (*done)(int status, void *arg);
    void *arg; /* given to both */
    /* All work of one key runs in the order of its submission, never two at a time, and is done in
     * that order on each loop: the work of one session, by its id. Work of other keys, and work
     * without one, runs beside it. */
    bool is_ordered;
    uint64_t key; /* if is_ordered */
} fw_pool_work;

/* Starts the threads. The pool belongs to the loop, which stays alive until it is closed. options
 * may be NULL. FW_EOPTION: too many threads; UV_ENOMEM, UV_EAGAIN (the system gives no thread). */
FW_API FW_MUST_CHECK int fw_pool_new(fw_loop *loop, const fw_pool_options *options,
                                     fw_pool **ret_pool);

/* Queues work. loop: where done runs, and on whose thread this is called; it may be another than
 * the pool's, as long as that has not begun to close the pool, and stays alive until done has run.
 * Work without order is begun in the order of submission. FW_ELIMIT: max_queued wait; FW_ECLOSED,
 * UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_pool_submit(fw_pool *pool, fw_loop *loop, const fw_pool_work *work);

/* Work that waits for a thread now. Any thread. */
FW_API size_t fw_pool_queued(fw_pool *pool);

/* Ends the pool: what waits is done with FW_ECANCELED, what runs is waited for; then on_closed (may
 * be NULL), last, on the pool's loop, and the pool is freed with it. Idempotent: the first call's
 * on_closed is the one. On the pool's loop, also in done; not in run. */
FW_API void fw_pool_close(fw_pool *pool, void (*on_closed)(void *arg), void *arg);

FW_END_DECLS

#endif
