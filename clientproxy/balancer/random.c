/* Random: no state to share, no step to walk in; the yardstick for the others. */
#include "balancer/common.h"

#include <stdlib.h>

static void *create(void)
{
    return calloc(1, sizeof(fwi_balancer_list));
}

static int pick(void *arg, const fw_balancer_call *call)
{
    (void)call;
    return fwi_balancer_random(arg);
}

const fw_balancer fw_balancer_random = {
    .name = "random",
    .create = create,
    .update = fwi_balancer_list_update,
    .pick = pick,
    .destroy = free,
};
