/*
 * Round robin: every endpoint has its turn; the turn of one that is not usable goes to a random
 * usable one, so that its neighbour does not carry double.
 */
#include <fairway/balancer.h>

#include "base/random.h"

#include <stdlib.h>

struct round_robin {
    const fw_balancer_endpoint *endpoints;
    size_t count;
    size_t next;
    bool started;
};

static void *create(void)
{
    return calloc(1, sizeof(struct round_robin));
}

static void update(void *arg, const fw_balancer_endpoint *endpoints, size_t count)
{
    struct round_robin *state = arg;
    state->endpoints = endpoints;
    state->count = count;
}

static size_t next_usable(const struct round_robin *state, size_t from)
{
    for (size_t i = 0; i < state->count; i++) {
        size_t at = (from + i) % state->count;
        if (state->endpoints[at].usable)
            return at;
    }
    return state->count;
}

static int pick(void *arg)
{
    struct round_robin *state = arg;
    if (!state->count)
        return -1;
    /* Clients that start together must not walk in step, nor all call the same one: begin anywhere.
     */
    if (!state->started)
        state->next = fwi_random_below((uint32_t)state->count);
    state->started = true;
    size_t from = state->next % state->count;
    state->next = from + 1;
    if (state->endpoints[from].usable)
        return (int)from;
    /* The turn of one that is out goes to any of the others, not always to its neighbour. */
    size_t found = next_usable(state, fwi_random_below((uint32_t)state->count));
    return found == state->count ? -1 : (int)found;
}

static void destroy(void *arg)
{
    free(arg);
}

const fw_balancer fw_balancer_round_robin = {
    .name = "round_robin",
    .create = create,
    .update = update,
    .pick = pick,
    .destroy = destroy,
};
