/*
 * Maglev: a table in which endpoints take places in turn, each by an order of its own; a key is one
 * look at the table. Shares are more even than on a ring, and a change of the list moves few keys
 * of the others (D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
 * NSDI 2016, section 3.4). Weights as Envoy has them: an endpoint takes its turn in a round only
 * when its weight has earned one.
 *
 * The table is made of the list alone, not of who is usable: a key whose endpoint is out goes to
 * one by a hash of its own, and comes back. Who is out for good leaves the list.
 */
#include "balancer/common.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

/* Primes, a hundred places an endpoint at least; the first serves up to 655. */
static const uint32_t sizes[] = {65537, 131071, 524287, 2097143, 8388593};

#define MOST_OVER_MEAN 16

struct maglev {
    fwi_balancer_list list;
    uint32_t *table;
    uint32_t size;
};

struct member {
    uint64_t id;
    uint32_t index, next, skip;
    double weight, earned;
};

static void *create(void)
{
    return calloc(1, sizeof(struct maglev));
}

static int compare(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : 0;
}

/* The time that this takes grows with the greatest weight over the mean, so that has a bound. */
static double limit_weights(struct member *members, size_t count)
{
    double most = 0, sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += members[i].weight;
        most = members[i].weight > most ? members[i].weight : most;
    }
    double limit = MOST_OVER_MEAN * sum / (double)count;
    for (size_t i = 0; i < count; i++)
        members[i].weight = members[i].weight > limit ? limit : members[i].weight;
    return most > limit ? limit : most;
}

static void fill(uint32_t *table, uint32_t size, struct member *members, size_t count)
{
    double most = limit_weights(members, count);
    for (uint32_t i = 0; i < size; i++)
        table[i] = UINT32_MAX;
    for (uint32_t filled = 0;;) {
        for (size_t i = 0; i < count; i++) {
            struct member *member = &members[i];
            member->earned += member->weight;
            if (member->earned < most)
                continue;
            member->earned -= most;
            while (table[member->next] != UINT32_MAX) {
                member->next += member->skip;
                member->next -= member->next >= size ? size : 0;
            }
            table[member->next] = member->index;
            if (++filled == size)
                return;
        }
    }
}

static int update(void *arg, const fw_balancer_endpoint *endpoints, size_t count)
{
    struct maglev *maglev = arg;
    if (!count)
        return fwi_balancer_list_update(&maglev->list, endpoints, count);
    size_t which = 0;
    while (which + 1 < sizeof sizes / sizeof *sizes && sizes[which] / 100 < count)
        which++;
    uint32_t size = sizes[which];
    struct member *members = malloc(count * sizeof *members);
    uint32_t *table = maglev->size == size ? maglev->table : malloc(size * sizeof *table);
    if (!members || !table) {
        free(members);
        if (table != maglev->table)
            free(table);
        return UV_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t id = fwi_balancer_id_hash(&endpoints[i]);
        uint32_t weight = endpoints[i].instance->weight;
        members[i] = (struct member){.id = id,
                                     .index = (uint32_t)i,
                                     .next = (uint32_t)(fwi_hash_mix(id ^ 1) % size),
                                     .skip = (uint32_t)(fwi_hash_mix(id ^ 2) % (size - 1)) + 1,
                                     .weight = weight ? weight : 1};
    }
    qsort(members, count, sizeof *members, compare); /* all clients shall agree */
    fill(table, size, members, count);
    free(members);
    if (table != maglev->table)
        free(maglev->table);
    maglev->table = table;
    maglev->size = size;
    return fwi_balancer_list_update(&maglev->list, endpoints, count);
}

static int pick(void *arg, const fw_balancer_call *call)
{
    const struct maglev *maglev = arg;
    if (!maglev->list.count)
        return -1;
    uint64_t key = fwi_balancer_key(call);
    uint32_t index = maglev->table[((key >> 32) * maglev->size) >> 32];
    if (maglev->list.endpoints[index].usable)
        return (int)index;
    return fwi_balancer_rehash(&maglev->list, key);
}

static void destroy(void *arg)
{
    struct maglev *maglev = arg;
    free(maglev->table);
    free(maglev);
}

const fw_balancer fw_balancer_maglev = {
    .name = "maglev",
    .create = create,
    .update = update,
    .pick = pick,
    .destroy = destroy,
};
