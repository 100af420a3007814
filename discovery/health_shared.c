#include "health_shared.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

int fwi_health_shared_open(fw_loop *loop, void **ret_shared)
{
    fwi_health_shared *shared = calloc(1, sizeof *shared);
    if (!shared)
        return UV_ENOMEM;
    shared->loop = loop;
    *ret_shared = shared;
    return FW_OK;
}

static void end_if_empty(fwi_health_shared *shared)
{
    if (!shared->on_closed || shared->probes)
        return;
    shared->on_closed(shared->arg);
    free(shared);
}

void fwi_health_shared_close(void *arg, void (*on_closed)(void *arg), void *closed_arg)
{
    fwi_health_shared *shared = arg;
    shared->on_closed = on_closed;
    shared->arg = closed_arg;
    end_if_empty(shared);
}

void fwi_health_shared_leave(void *arg)
{
    fwi_health_shared *shared = arg;
    shared->probes--;
    end_if_empty(shared);
}
