/* A health check over TCP (or whatever the instance's transport is): the plain probe. */
#include "health_driver.h"
#include "health_shared.h"

#include <fairway/error.h>

static int start(void *arg, const fwi_health_question *question, void **ret_probe)
{
    fwi_health_shared *shared = arg;
    fwi_probe *probe;
    int err = fwi_prober_connect.start(shared->loop, question->instance, question->timeout_ms,
                                       question->fn, question->arg, &probe);
    if (err)
        return err;
    fwi_probe_on_gone(probe, fwi_health_shared_leave, shared);
    shared->probes++;
    *ret_probe = probe;
    return FW_OK;
}

static void cancel(void *probe)
{
    fwi_prober_connect.cancel(probe);
}

const fwi_health_driver fwi_health_tcp = {.open = fwi_health_shared_open,
                                          .close = fwi_health_shared_close,
                                          .start = start,
                                          .cancel = cancel};
