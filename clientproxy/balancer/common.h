/* What several balancers share. */
#ifndef FWI_BALANCER_COMMON_H
#define FWI_BALANCER_COMMON_H

#include <fairway/balancer.h>

#include "base/random.h"
#include "hash.h"

typedef struct fwi_balancer_list {
    const fw_balancer_endpoint *endpoints;
    size_t count;
} fwi_balancer_list;

/* For balancers whose state begins with the list and needs nothing else. */
int fwi_balancer_list_update(void *list, const fw_balancer_endpoint *endpoints, size_t count);

/* A usable endpoint, or -1: all equally likely as long as most are usable. */
int fwi_balancer_random(const fwi_balancer_list *list);
/* The first usable one from a place on, or -1. */
int fwi_balancer_next_usable(const fwi_balancer_list *list, size_t from);
/* The same usable endpoint for the same hash and list: it is as good as random over hashes. -1. */
int fwi_balancer_rehash(const fwi_balancer_list *list, uint64_t hash);
/* The better of two random usable ones, or -1. */
int fwi_balancer_best_of_two(const fwi_balancer_list *list, uint64_t now_ms);

/* How long a call is expected to take on an endpoint, for comparing. */
double fwi_balancer_cost(const fw_balancer_endpoint *endpoint, uint64_t now_ms);

static inline double fwi_balancer_weight(const fw_balancer_endpoint *endpoint)
{
    return endpoint->weight > 0 ? endpoint->weight : 1;
}

/* The same on every client: the list's order is not. */
static inline uint64_t fwi_balancer_id_hash(const fw_balancer_endpoint *endpoint)
{
    const char *id = endpoint->instance->id;
    return fwi_hash_bytes(id, strlen(id));
}

static inline uint64_t fwi_balancer_key(const fw_balancer_call *call)
{
    return call->has_key ? fwi_hash_mix(call->key) : fwi_random_u64();
}

#endif
