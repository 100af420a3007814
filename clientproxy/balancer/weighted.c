/*
 * Smooth weighted round robin: an endpoint of weight w has w turns of a round, spread evenly over
 * it. nginx's way of it (every pick adds each weight to each endpoint) looks at all endpoints for
 * each pick; this gives as smooth an order by earliest deadline first, as Envoy does (and stride
 * scheduling: C. Waldspurger, W. Weihl, 1995): the next turn of an endpoint is 1/w after its last.
 *
 * Turns stand in a wheel of slots, one slot for as long as one pick takes of a round, so a pick is
 * a look at one or two slots and not a walk down a heap. A turn that is more than the wheel's
 * circumference away is passed by until its time has come; there are more slots than turns, so that
 * is less than one a pick.
 *
 * The first turns are at places of their own (multiples of the golden ratio, from a random one),
 * else all endpoints of a small weight would follow one another, and clients that start together
 * would walk in step. A weight that changes counts from the next turn on.
 */
#include "balancer/common.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define GOLDEN_RATIO 0.61803398874989485
#define NONE         UINT32_MAX
#define TRIES        64 /* turns of endpoints that are not usable */
#define SLOTS        8  /* that may be empty, for each endpoint: weights may have become small */

struct turn {
    double at;     /* in slots, since the update */
    uint32_t next; /* in its slot */
};

struct slot {
    uint32_t first, last;
};

struct weighted {
    fwi_balancer_list list;
    struct turn *turns; /* of each endpoint */
    struct slot *slots;
    uint64_t mask, now;
    double total; /* of the weights: slots of a round */
};

static void *create(void)
{
    return calloc(1, sizeof(struct weighted));
}

static void put(struct weighted *state, uint32_t index)
{
    struct turn *turn = &state->turns[index];
    struct slot *slot = &state->slots[(uint64_t)turn->at & state->mask];
    turn->next = NONE;
    if (slot->first == NONE)
        slot->first = index;
    else
        state->turns[slot->last].next = index;
    slot->last = index;
}

/* Takes out the next turn of the slot whose time has come, or NONE. */
static uint32_t take(struct weighted *state)
{
    struct slot *slot = &state->slots[state->now & state->mask];
    double end = (double)(state->now + 1);
    uint32_t before = NONE;
    for (uint32_t at = slot->first; at != NONE; before = at, at = state->turns[at].next) {
        if (state->turns[at].at >= end)
            continue;
        if (before == NONE)
            slot->first = state->turns[at].next;
        else
            state->turns[before].next = state->turns[at].next;
        if (slot->last == at)
            slot->last = before;
        return at;
    }
    return NONE;
}

static int update(void *arg, const fw_balancer_endpoint *endpoints, size_t count)
{
    struct weighted *state = arg;
    size_t size = 2;
    while (size < count * 2)
        size *= 2;
    struct turn *turns = malloc((count ? count : 1) * sizeof *turns);
    struct slot *slots = malloc(size * sizeof *slots);
    if (!turns || !slots) {
        free(turns);
        free(slots);
        return UV_ENOMEM;
    }
    free(state->turns);
    free(state->slots);
    state->turns = turns;
    state->slots = slots;
    state->mask = size - 1;
    state->now = 0;
    state->total = 0;
    for (size_t i = 0; i < size; i++)
        slots[i] = (struct slot){NONE, NONE};
    for (size_t i = 0; i < count; i++)
        state->total += fwi_balancer_weight(&endpoints[i]);
    double phase = (double)fwi_random_below(1u << 20) / (1u << 20);
    for (size_t i = 0; i < count; i++) {
        phase += GOLDEN_RATIO;
        phase -= phase >= 1;
        turns[i].at = phase * state->total / fwi_balancer_weight(&endpoints[i]);
        put(state, (uint32_t)i);
    }
    return fwi_balancer_list_update(&state->list, endpoints, count);
}

static int pick(void *arg, const fw_balancer_call *call)
{
    (void)call;
    struct weighted *state = arg;
    size_t empty = 0;
    for (int i = 0; i < TRIES && empty < SLOTS * state->list.count;) {
        uint32_t index = take(state);
        if (index == NONE) {
            state->now++;
            empty++;
            continue;
        }
        const fw_balancer_endpoint *endpoint = &state->list.endpoints[index];
        state->turns[index].at += state->total / fwi_balancer_weight(endpoint);
        put(state, index);
        if (endpoint->usable)
            return (int)index;
        i++; /* it loses its turn */
    }
    return fwi_balancer_random(&state->list); /* hardly anybody is left: no time for fairness */
}

static void destroy(void *arg)
{
    struct weighted *state = arg;
    free(state->turns);
    free(state->slots);
    free(state);
}

const fw_balancer fw_balancer_weighted = {
    .name = "weighted",
    .create = create,
    .update = update,
    .pick = pick,
    .destroy = destroy,
};
