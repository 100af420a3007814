/*
 * What a watcher holds: instances that the store has lost together with many others, or as the last
 * of their service, and that may be alive all the same. Each is probed; one that does not answer is
 * let go at once, one that answers is held and probed again until it stops answering, or until the
 * store has it back. Time alone lets nothing go, and no share of the list does.
 */
#ifndef FWI_HOLDS_H
#define FWI_HOLDS_H

#include "probe.h"

#include "base/list.h"
#include "base/loop.h"
#include "base/map.h"

typedef struct fwi_holds fwi_holds;

typedef struct fwi_holds_options {
    const fwi_prober *prober;
    /* It has answered for the first time. */
    void (*on_held)(const fw_instance *instance, int64_t revision, void *arg);
    /* It does not answer (reason), and is held no longer. */
    void (*on_let_go)(const fw_instance *instance, int64_t revision, int reason, void *arg);
    void *arg;
} fwi_holds_options;

FW_MUST_CHECK int fwi_holds_create(fw_loop *loop, const fwi_holds_options *options,
                                   fwi_holds **ret_holds);
/* Forgets everything; nothing is called any more. */
void fwi_holds_destroy(fwi_holds *holds);

/* Holds an instance that the store lost at a revision; its reference stays the caller's. An address
 * that cannot be probed is let go in a later turn. UV_ENOMEM. */
FW_MUST_CHECK int fwi_holds_add(fwi_holds *holds, const fw_instance *instance, int64_t revision,
                                fw_hold_reason reason);
/* The store has it back. True if it was held; *ret_answered tells whether that was said. */
bool fwi_holds_drop(fwi_holds *holds, const char *service, const char *id, bool *ret_answered);
size_t fwi_holds_count(const fwi_holds *holds);
void fwi_holds_each(const fwi_holds *holds, fw_watcher_held_fn fn, void *arg);

#endif
