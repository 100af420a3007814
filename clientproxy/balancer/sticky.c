/*
 * Sticky: session affinity as HTTP balancers have it by a cookie (HAProxy's stick tables), with the
 * table on the caller's side. A new key goes where it is quiet, by power of two choices, and stays
 * there: unlike with hashing no key moves when endpoints join. It moves when its endpoint is not
 * usable, and stays with the new one.
 *
 * The table is of one size, in sets of four; in a full set the one used longest ago is forgotten.
 * Endpoints are remembered by their ids, so a change of the list costs nothing of what is known.
 */
#include "balancer/common.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define SET  4
#define SETS 4096

struct entry {
    uint64_t key; /* 0: free */
    uint64_t id;  /* hash of the endpoint's */
};

struct place {
    uint64_t id;
    uint32_t index; /* UINT32_MAX: free */
};

struct sticky {
    fwi_balancer_list list;
    uint64_t *ids;        /* of each endpoint */
    struct place *places; /* ids to endpoints, open addressing */
    size_t mask;
    struct entry sets[SETS][SET]; /* last used first */
};

static void *create(void)
{
    return calloc(1, sizeof(struct sticky));
}

static int update(void *arg, const fw_balancer_endpoint *endpoints, size_t count)
{
    struct sticky *sticky = arg;
    size_t size = 2;
    while (size < count * 2)
        size *= 2;
    uint64_t *ids = malloc((count ? count : 1) * sizeof *ids);
    struct place *places = malloc(size * sizeof *places);
    if (!ids || !places) {
        free(ids);
        free(places);
        return UV_ENOMEM;
    }
    for (size_t i = 0; i < size; i++)
        places[i].index = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        ids[i] = fwi_balancer_id_hash(&endpoints[i]);
        size_t at = ids[i] & (size - 1);
        while (places[at].index != UINT32_MAX)
            at = (at + 1) & (size - 1);
        places[at] = (struct place){ids[i], (uint32_t)i};
    }
    free(sticky->ids);
    free(sticky->places);
    sticky->ids = ids;
    sticky->places = places;
    sticky->mask = size - 1;
    return fwi_balancer_list_update(&sticky->list, endpoints, count);
}

static int find(const struct sticky *sticky, uint64_t id)
{
    for (size_t at = id & sticky->mask; sticky->places[at].index != UINT32_MAX;
         at = (at + 1) & sticky->mask)
        if (sticky->places[at].id == id)
            return (int)sticky->places[at].index;
    return -1;
}

static int pick(void *arg, const fw_balancer_call *call)
{
    struct sticky *sticky = arg;
    if (!sticky->list.count)
        return -1;
    if (!call->has_key)
        return fwi_balancer_best_of_two(&sticky->list, call->now_ms);
    uint64_t key = fwi_hash_mix(call->key);
    struct entry *set = sticky->sets[(key >> 32) % SETS];
    key = key ? key : 1;
    size_t at = 0;
    while (at < SET - 1 && set[at].key != key)
        at++;
    struct entry found = set[at].key == key ? set[at] : (struct entry){.key = key};
    int index = found.id ? find(sticky, found.id) : -1;
    if (index < 0 || !sticky->list.endpoints[index].usable) {
        index = fwi_balancer_best_of_two(&sticky->list, call->now_ms);
        if (index < 0)
            return -1;
        found.id = sticky->ids[index];
    }
    memmove(set + 1, set, at * sizeof *set);
    set[0] = found;
    return index;
}

static void destroy(void *arg)
{
    struct sticky *sticky = arg;
    free(sticky->ids);
    free(sticky->places);
    free(sticky);
}

const fw_balancer fw_balancer_sticky = {
    .name = "sticky",
    .create = create,
    .update = update,
    .pick = pick,
    .destroy = destroy,
};
