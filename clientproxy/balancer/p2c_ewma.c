/*
 * Power of two choices over peak EWMA (Finagle, Linkerd): of two random endpoints the one whose
 * latency times its calls in flight is less. It needs no help to leave a slow endpoint alone, and
 * clients that see the same do not all do the same.
 */
#include "balancer/common.h"

#include <stdlib.h>

static void *create(void)
{
    return calloc(1, sizeof(fwi_balancer_list));
}

static int pick(void *arg, const fw_balancer_call *call)
{
    return fwi_balancer_best_of_two(arg, call->now_ms);
}

const fw_balancer fw_balancer_p2c_ewma = {
    .name = "p2c_ewma",
    .create = create,
    .update = fwi_balancer_list_update,
    .pick = pick,
    .destroy = free,
};
