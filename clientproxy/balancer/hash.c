/*
 * Consistent hashing with bounded loads: endpoints stand at many places of a ring of hashes, a key
 * belongs to the next one clockwise. One that has more than a quarter over its share of all calls
 * in flight passes calls on, so that a hot key cannot overload one (V. Mirrokni, M. Thorup,
 * M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016). When an endpoint leaves, only
 * its keys move.
 *
 * The ring is cut into slices, and a key belongs to the first point in its slice or after it: one
 * look-up, where a binary search would miss the cache at every step. Where two points share a slice
 * the second only takes over when the first is out, as on a ring with so many places.
 */
#include "balancer/common.h"

#include <fairway/error.h>
#include <math.h>
#include <stdlib.h>
#include <uv.h>

#define POINTS      64 /* of an endpoint of the usual weight */
#define MOST_POINTS (16 * POINTS)
#define OVER_SHARE  1.25
#define STEPS       256

struct point {
    uint32_t hash;
    uint32_t index;
};

struct ring {
    fwi_balancer_list list;
    double over_share; /* of all calls, for one of weight 1 */
    uint32_t *owners;  /* of the points, clockwise */
    uint32_t *first;   /* of each slice of the ring: the first point in it or after it */
    size_t count;
    unsigned shift; /* of a hash, to its slice */
};

static void *create(void)
{
    return calloc(1, sizeof(struct ring));
}

/* All clients must agree, so two at one place stand in the order of their ids. */
static bool stands_before(const struct point *a, const struct point *b,
                          const fw_balancer_endpoint *endpoints)
{
    if (a->hash != b->hash)
        return a->hash < b->hash;
    return fwi_balancer_id_hash(&endpoints[a->index]) < fwi_balancer_id_hash(&endpoints[b->index]);
}

/* A power of two near the mean weight: places of an endpoint then hardly ever depend on the
 * others. */
static double usual_weight(const fw_balancer_endpoint *endpoints, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += endpoints[i].instance->weight ? endpoints[i].instance->weight : 1;
    return exp2(floor(log2(sum / (double)count)));
}

static size_t points_of(const fw_balancer_endpoint *endpoint, double usual)
{
    double points = POINTS * (endpoint->instance->weight ? endpoint->instance->weight : 1) / usual;
    return points < 1 ? 1 : points > MOST_POINTS ? MOST_POINTS : (size_t)points;
}

/* Sorts the points: each is put in its slice, and in its place among the few that are there. */
static void sort(struct point *points, uint32_t *first, unsigned shift, size_t total,
                 const struct point *unsorted, const fw_balancer_endpoint *endpoints)
{
    size_t slices = (size_t)1 << (32 - shift);
    memset(first, 0, slices * sizeof *first);
    for (size_t i = 0; i < total; i++)
        first[unsorted[i].hash >> shift]++;
    uint32_t sum = 0;
    for (size_t slice = 0; slice < slices; slice++)
        first[slice] = sum += first[slice]; /* the end of it, for now */
    for (size_t i = total; i-- > 0;)
        points[--first[unsorted[i].hash >> shift]] = unsorted[i];
    for (size_t i = 1; i < total; i++) {
        struct point moved = points[i];
        size_t at = i;
        for (; at && stands_before(&moved, &points[at - 1], endpoints); at--)
            points[at] = points[at - 1];
        points[at] = moved;
    }
}

static int fill(uint32_t *owners, uint32_t *first, unsigned shift, size_t total,
                const fw_balancer_endpoint *endpoints, size_t count)
{
    struct point *unsorted = malloc(2 * total * sizeof *unsorted);
    if (!unsorted)
        return UV_ENOMEM;
    struct point *points = unsorted + total;
    double usual = usual_weight(endpoints, count);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = fwi_balancer_id_hash(&endpoints[i]);
        size_t of_this = points_of(&endpoints[i], usual);
        for (size_t p = 0; p < of_this; p++)
            unsorted[at++] = (struct point){(uint32_t)(fwi_hash_mix(id + p) >> 32), (uint32_t)i};
    }
    sort(points, first, shift, total, unsorted, endpoints);
    for (size_t i = 0; i < total; i++)
        owners[i] = points[i].index;
    free(unsorted);
    return FW_OK;
}

static int update(void *arg, const fw_balancer_endpoint *endpoints, size_t count)
{
    struct ring *ring = arg;
    size_t total = 0;
    unsigned shift = 31;
    double weights = 0, usual = count ? usual_weight(endpoints, count) : 1;
    for (size_t i = 0; i < count; i++) {
        total += points_of(&endpoints[i], usual);
        weights += fwi_balancer_weight(&endpoints[i]);
    }
    while ((size_t)1 << (32 - shift) < total && shift)
        shift--;
    uint32_t *owners = malloc((total ? total : 1) * sizeof *owners);
    uint32_t *first = malloc(((size_t)1 << (32 - shift)) * sizeof *first);
    int err = owners && first ? FW_OK : UV_ENOMEM;
    if (!err && count)
        err = fill(owners, first, shift, total, endpoints, count);
    if (err) {
        free(owners);
        free(first);
        return err;
    }
    free(ring->owners);
    free(ring->first);
    *ring = (struct ring){.owners = owners,
                          .first = first,
                          .count = total,
                          .shift = shift,
                          .over_share = count ? OVER_SHARE / weights : 0};
    return fwi_balancer_list_update(&ring->list, endpoints, count);
}

static int pick(void *arg, const fw_balancer_call *call)
{
    const struct ring *ring = arg;
    if (!ring->count)
        return -1;
    uint64_t key = fwi_balancer_key(call);
    size_t at = ring->first[(uint32_t)(key >> 32) >> ring->shift];
    double bound = ring->over_share * (double)(call->in_flight + 1);
    int full = -1;
    for (size_t i = 0; i < STEPS && i < ring->count; i++, at++) {
        if (at >= ring->count)
            at = 0;
        uint32_t index = ring->owners[at];
        const fw_balancer_endpoint *endpoint = &ring->list.endpoints[index];
        if (!endpoint->usable)
            continue;
        /* So everybody may have one, as in the paper, where the bound is rounded up. */
        if ((double)endpoint->in_flight < bound * fwi_balancer_weight(endpoint))
            return (int)index;
        if (full < 0)
            full = (int)index;
    }
    return full >= 0 ? full : fwi_balancer_rehash(&ring->list, key);
}

static void destroy(void *arg)
{
    struct ring *ring = arg;
    free(ring->owners);
    free(ring->first);
    free(ring);
}

const fw_balancer fw_balancer_hash = {
    .name = "hash",
    .create = create,
    .update = update,
    .pick = pick,
    .destroy = destroy,
};
