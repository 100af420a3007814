/*
 * Round robin: every endpoint has its turn; the turn of one that is not usable goes to a random
 * usable one, so that its neighbour does not carry double.
 */
#include "balancer/common.h"

#include <stdlib.h>

struct round_robin {
    fwi_balancer_list list;
    size_t next;
    bool started;
};

static void *create(void)
{
    return calloc(1, sizeof(struct round_robin));
}

static int pick(void *arg, const fw_balancer_call *call)
{
    (void)call;
    struct round_robin *state = arg;
    size_t count = state->list.count;
    if (!count)
        return -1;
    /* Clients that start together must not walk in step, nor all call the same one: begin anywhere.
     */
    if (!state->started)
        state->next = fwi_random_below((uint32_t)count);
    state->started = true;
    size_t from = state->next < count ? state->next : 0;
    state->next = from + 1;
    if (state->list.endpoints[from].usable)
        return (int)from;
    /* The turn of one that is out goes to any of the others, not always to its neighbour. */
    return fwi_balancer_random(&state->list);
}

const fw_balancer fw_balancer_round_robin = {
    .name = "round_robin",
    .create = create,
    .update = fwi_balancer_list_update,
    .pick = pick,
    .destroy = free,
};
