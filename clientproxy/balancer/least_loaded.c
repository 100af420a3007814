/*
 * Least loaded: the fewest calls in flight for the weight. Of up to eight endpoints all are looked
 * at; of more, a random sample of four: to look at all costs more than it gains, and many clients
 * that all see the same one idle would all call it (M. Mitzenmacher, "The Power of Two Choices in
 * Randomized Load Balancing", 1996).
 */
#include "balancer/common.h"

#include <stdlib.h>

#define LOOK_AT_ALL 8
#define SAMPLE      4

static void *create(void)
{
    return calloc(1, sizeof(fwi_balancer_list));
}

static bool is_less_loaded(const fw_balancer_endpoint *a, const fw_balancer_endpoint *b)
{
    return (double)(a->in_flight + 1) * fwi_balancer_weight(b) <
           (double)(b->in_flight + 1) * fwi_balancer_weight(a);
}

static int pick(void *arg, const fw_balancer_call *call)
{
    (void)call;
    const fwi_balancer_list *list = arg;
    const fw_balancer_endpoint *best = NULL;
    if (list->count > LOOK_AT_ALL) {
        uint64_t random = fwi_random_u64();
        for (int i = 0; i < SAMPLE; i++) {
            int at = fwi_balancer_rehash(list, random + (uint64_t)i);
            if (at < 0)
                return -1;
            if (!best || is_less_loaded(&list->endpoints[at], best))
                best = &list->endpoints[at];
        }
        return (int)(best - list->endpoints);
    }
    /* From a random place on, so that ties go to all in turn. */
    size_t at = list->count ? fwi_random_below((uint32_t)list->count) : 0;
    for (size_t i = 0; i < list->count; i++, at = at + 1 < list->count ? at + 1 : 0)
        if (list->endpoints[at].usable && (!best || is_less_loaded(&list->endpoints[at], best)))
            best = &list->endpoints[at];
    return best ? (int)(best - list->endpoints) : -1;
}

const fw_balancer fw_balancer_least_loaded = {
    .name = "least_loaded",
    .create = create,
    .update = fwi_balancer_list_update,
    .pick = pick,
    .destroy = free,
};
