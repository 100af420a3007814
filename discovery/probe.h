/*
 * A probe: does somebody answer at an instance's address? A connection is opened and closed. This
 * is what the watcher asks before it believes that many instances are gone at once, and the
 * simplest of the health checks.
 */
#ifndef FWI_PROBE_H
#define FWI_PROBE_H

#include <fairway/discovery.h>

typedef struct fwi_probe fwi_probe;
/* result: FW_OK, somebody answered; UV_ECONNREFUSED or UV_ENOENT, there is nobody; any other error:
 * it cannot be told. On the loop, once, after the start has returned. */
typedef void (*fwi_probe_fn)(int result, void *arg);

/* How to probe; simulations bring their own. */
typedef struct fwi_prober {
    /* FW_EURL, FW_ESCHEME: no address of ours; UV_ENOMEM. */
    int (*start)(fw_loop *loop, const fw_instance *instance, uint32_t timeout_ms, fwi_probe_fn fn,
                 void *arg, fwi_probe **ret_probe);
    /* fn does not run any more. */
    void (*cancel)(fwi_probe *probe);
} fwi_prober;

/* Connects, with every transport that fairway has. */
extern const fwi_prober fwi_prober_connect;

/* Has on_gone(arg) run when nothing of the probe lives any more: right after fn, or some time after
 * it was canceled. */
void fwi_probe_on_gone(fwi_probe *probe, void (*on_gone)(void *arg), void *arg);

#endif
