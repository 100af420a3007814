/* What the three files of the suite of locks share. */
#ifndef KVT_SUITE_LOCK_H
#define KVT_SUITE_LOCK_H

#include "kvt.h"

extern const fw_kv_lock_options kvt_lock_no_wait;

/* What is in the store below a key, side keys of locks as well, cannot be listed; but a lock that
 * is free can be had without waiting. */
void kvt_lock_assert_free(fw_kv *kv, const char *key);
/* Waits until the lock has its place in the queue: that is where its comparison points to then. */
void kvt_lock_let_it_queue(fw_kv *kv, kvt_lock *lock);

/* suite_lock_end.c, suite_lock_use.c */
void kvt_add_lock_ends(const kvt_group *group);
void kvt_add_lock_uses(const kvt_group *group);

#endif
