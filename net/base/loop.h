/*
 * The loop's inner side: timers, deferred tasks, the shared read buffer, and holding the loop alive
 * for work that goes on in another thread.
 */
#ifndef FWI_LOOP_H
#define FWI_LOOP_H

#include <fairway/loop.h>

#include "base/list.h"
#include "base/out_queue.h"
#include "base/timer_wheel.h"

#define FWI_SCRATCH_BYTES (256 * 1024)

/* Work to be done once, later in this turn or at the start of the next. In the memory of its owner;
 * zero-initialised is "not queued". */
typedef struct fwi_task fwi_task;
typedef void (*fwi_task_fn)(fwi_task *task, void *arg);
struct fwi_task {
    fwi_list node; /* next == NULL: not queued */
    fwi_task_fn fn;
    void *arg;
};

/* Queues a task to run at the end of this turn of the loop (nothing if it is queued already). */
FWI_API void fwi_loop_defer(fw_loop *loop, fwi_task *task);
FWI_API void fwi_loop_defer_cancel(fw_loop *loop, fwi_task *task);

/* Like fw_loop_post with memory of the caller, so it cannot fail. The task must not be queued
 * already; it may be freed in its callback. Any thread. */
FWI_API void fwi_loop_post_task(fw_loop *loop, fwi_task *task);

/* Timers. A timer keeps the loop alive while it is armed. Delays in ms from the loop's now. */
FWI_API void fwi_loop_timer_start(fw_loop *loop, fwi_timer *timer, uint64_t delay_ms);
FWI_API void fwi_loop_timer_stop(fw_loop *loop, fwi_timer *timer);

/* While held, fw_loop_run does not return for lack of work and fw_loop_close answers UV_EBUSY. */
FWI_API void fwi_loop_hold(fw_loop *loop);
FWI_API void fwi_loop_release(fw_loop *loop);

/* For programs that wait elsewhere than in fw_loop_run: one turn of the loop, which sleeps for its
 * next event if block is true and nothing was due. */
FWI_API void fwi_loop_step(fw_loop *loop, bool block);
/* The same programs, before they start timers: the clock has stood still since the last turn. */
FWI_API void fwi_loop_update_now(fw_loop *loop);
/* How long the loop may sleep now, in ms: 0 if there is work, at most most_ms. */
FWI_API uint32_t fwi_loop_idle_ms(fw_loop *loop, uint32_t most_ms);

/* A loop on a virtual clock, for simulations: it is never run; its owner says what time it is, and
 * whatever was posted, deferred or due by then runs, in an order that depends on nothing else.
 * Nothing of libuv's happens on it. It is closed with fw_loop_close. */
FWI_API FW_MUST_CHECK int fwi_loop_new_virtual(fw_loop **ret_loop, uint64_t now_ms);
FWI_API void fwi_loop_set_time(fw_loop *loop, uint64_t now_ms);
/* When the loop next has something to do; UINT64_MAX: never. */
FWI_API uint64_t fwi_loop_next_ms(fw_loop *loop);

/* The read buffer that all connections of the loop share: its content is gone after the callback.
 */
FWI_API uint8_t *fwi_loop_scratch(fw_loop *loop);
FWI_API fwi_chunk_pool *fwi_loop_chunks(fw_loop *loop);
/* Where codec/compress.c keeps what the loop's sessions share; NULL at first. */
FWI_API void **fwi_loop_compressor(fw_loop *loop);

/* True on the loop's thread, and before the loop first ran. For assertions. */
FWI_API bool fwi_loop_is_current(const fw_loop *loop);

#endif
