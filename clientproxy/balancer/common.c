#include "balancer/common.h"

#include <fairway/error.h>

#include "ewma.h"

/* With most endpoints usable one of so many draws finds one. */
#define DRAWS 16
/* Cost of an endpoint nobody knows that is busy already: it waits for what its first call shows. */
#define UNKNOWN_BUSY_MS 1e6

int fwi_balancer_list_update(void *arg, const fw_balancer_endpoint *endpoints, size_t count)
{
    fwi_balancer_list *list = arg;
    list->endpoints = endpoints;
    list->count = count;
    return FW_OK;
}

int fwi_balancer_next_usable(const fwi_balancer_list *list, size_t from)
{
    for (size_t i = 0, at = from; i < list->count; i++, at++) {
        if (at >= list->count)
            at = 0;
        if (list->endpoints[at].usable)
            return (int)at;
    }
    return -1;
}

int fwi_balancer_rehash(const fwi_balancer_list *list, uint64_t hash)
{
    if (!list->count)
        return -1;
    size_t at = 0;
    for (int i = 0; i < DRAWS; i++) {
        hash = fwi_hash_mix(hash);
        at = (size_t)(((hash >> 32) * list->count) >> 32);
        if (list->endpoints[at].usable)
            return (int)at;
    }
    return fwi_balancer_next_usable(list, at);
}

int fwi_balancer_random(const fwi_balancer_list *list)
{
    return fwi_balancer_rehash(list, fwi_random_u64());
}

double fwi_balancer_cost(const fw_balancer_endpoint *endpoint, uint64_t now_ms)
{
    double latency = endpoint->latency_ms;
    if (latency <= 0) {
        if (!endpoint->in_flight)
            return 0; /* somebody must be first */
        latency = UNKNOWN_BUSY_MS;
    } else
        latency = fwi_ewma_at(latency, endpoint->latency_at_ms, now_ms, endpoint->latency_tau_ms);
    return latency * (double)(endpoint->in_flight + 1) / fwi_balancer_weight(endpoint);
}

int fwi_balancer_best_of_two(const fwi_balancer_list *list, uint64_t now_ms)
{
    if (!list->count)
        return -1;
    uint32_t count = (uint32_t)list->count;
    uint64_t random = fwi_random_u64();
    size_t a = (size_t)(((random >> 32) * count) >> 32);
    /* The second among the others, so that the two are never one. */
    size_t b = count > 1 ? a + 1 + (size_t)(((uint32_t)random * (uint64_t)(count - 1)) >> 32) : a;
    b = b >= count ? b - count : b;
    const fw_balancer_endpoint *first = &list->endpoints[a], *second = &list->endpoints[b];
    if (!first->usable || !second->usable) {
        if (first->usable != second->usable && count == 2)
            return (int)(first->usable ? a : b);
        int one = fwi_balancer_random(list), other = fwi_balancer_random(list);
        if (one < 0)
            return -1;
        a = (size_t)one, b = (size_t)other;
        first = &list->endpoints[a], second = &list->endpoints[b];
    }
    return (int)(fwi_balancer_cost(second, now_ms) < fwi_balancer_cost(first, now_ms) ? b : a);
}
