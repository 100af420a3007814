/*
 * The event loop. One thread, one loop; every object is made on a loop and belongs to it: its
 * functions are called, and its callbacks run, on the loop's thread. What may be called from
 * elsewhere says "any thread".
 *
 * The asynchronous contract, everywhere in fairway: a function that takes a completion callback and
 * returns non-zero never runs it; if it returns zero, the callback runs exactly once, on the loop,
 * and never before the function has returned.
 */
#ifndef FAIRWAY_LOOP_H
#define FAIRWAY_LOOP_H

#include <fairway/base.h>

FW_BEGIN_DECLS

struct uv_loop_s;
typedef struct fw_loop fw_loop;
typedef void (*fw_loop_post_fn)(fw_loop *loop, void *arg);

/* Makes a loop with its own uv_loop_t. The thread that first runs it is its thread. */
FW_API FW_MUST_CHECK int fw_loop_new(fw_loop **ret_loop);

/* Runs until fw_loop_stop, or until nothing lives on the loop any more. Returns 0. May be called
 * again. */
FW_API int fw_loop_run(fw_loop *loop);

/* Makes fw_loop_run return after the current turn. Any thread. */
FW_API void fw_loop_stop(fw_loop *loop);

/* Ends the loop and frees it; runs what was posted and not yet run. UV_EBUSY, and nothing is
 * changed, while an object still lives on it: close that first, and run the loop until its
 * on_closed has run. */
FW_API int fw_loop_close(fw_loop *loop);

/* Runs fn(loop, arg) on the loop's thread, in the order of posting. Posts made in one turn cost one
 * wake-up. Any thread. UV_ENOMEM. */
FW_API int fw_loop_post(fw_loop *loop, fw_loop_post_fn fn, void *arg);

/* The loop's clock in milliseconds: monotonic, read once a turn. */
FW_API uint64_t fw_loop_now_ms(const fw_loop *loop);

/* The libuv loop underneath, for programs that add handles of their own. */
FW_API struct uv_loop_s *fw_loop_uv(fw_loop *loop);

FW_END_DECLS

#endif
