#include "members.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/random.h"
#include "hash.h"
#include "policy/outlier.h"
#include "policy/share.h"
#include "policy/subset.h"

#define DEFAULT_PANIC_PERCENT 50

int fwi_members_init(fwi_members *members, fw_loop *loop, const fw_proxy_options *options,
                     fwi_task *panic_changed)
{
    *members = (fwi_members){
        .balancer = options->balancer ? options->balancer : &fw_balancer_p2c_ewma,
        .subset_size = options->subset_size,
        .subset_client = options->subset_client ? options->subset_client - 1
                                                : (uint32_t)(fwi_random_u64() >> 32),
        .slow_start_ms = options->slow_start_ms,
        .panic_percent = options->panic_percent ? options->panic_percent : DEFAULT_PANIC_PERCENT,
        .loop = loop,
        .panic_changed = panic_changed};
    bool has_zone = options->zone && *options->zone;
    members->zone = has_zone ? strdup(options->zone) : NULL;
    members->groups[0].state = members->balancer->create();
    members->groups[1].state = members->balancer->create();
    if ((!has_zone || members->zone) && members->groups[0].state && members->groups[1].state)
        return FW_OK;
    fwi_members_fini(members);
    return UV_ENOMEM;
}

void fwi_members_fini(fwi_members *members)
{
    for (int i = 0; i < 2; i++)
        if (members->groups[i].state)
            members->balancer->destroy(members->groups[i].state);
    free((char *)members->zone);
    fwi_map_fini(&members->by_id);
    free(members->all);
    free(members->order);
    free(members->views);
}

int fwi_members_add(fwi_members *members, fwi_endpoint *endpoint)
{
    if (members->count == members->capacity) {
        size_t capacity = members->capacity ? members->capacity * 2 : 8;
        fwi_endpoint **all = realloc(members->all, capacity * sizeof *all);
        if (!all)
            return UV_ENOMEM;
        members->all = all;
        members->capacity = capacity;
    }
    const char *id = endpoint->instance->id;
    int err = fwi_map_put(&members->by_id, id, strlen(id), endpoint, NULL);
    if (err)
        return err;
    endpoint->slot = members->count;
    members->all[members->count++] = endpoint;
    members->has_changed = true;
    return FW_OK;
}

void fwi_members_remove(fwi_members *members, fwi_endpoint *endpoint)
{
    const char *id = endpoint->instance->id;
    fwi_map_remove(&members->by_id, id, strlen(id));
    fwi_endpoint *last = members->all[--members->count];
    members->all[endpoint->slot] = last;
    last->slot = endpoint->slot;
    endpoint->index = SIZE_MAX;
    members->has_changed = true;
}

fwi_endpoint *fwi_members_find(const fwi_members *members, const char *id)
{
    return fwi_map_get(&members->by_id, id, strlen(id));
}

void fwi_members_changed(fwi_members *members)
{
    members->has_changed = true;
}

/* ---- what balancers see ---- */

static void set_view(fwi_members *members, fwi_endpoint *endpoint)
{
    double part = endpoint->warm_since_ms
                      ? fwi_slow_start_part(endpoint->warm_since_ms, fw_loop_now_ms(members->loop),
                                            members->slow_start_ms)
                      : 1;
    uint32_t weight = endpoint->instance->weight ? endpoint->instance->weight : 1;
    members->views[endpoint->index] =
        (fw_balancer_endpoint){.instance = endpoint->instance,
                               .usable = fwi_endpoint_usable(endpoint, members->is_panic),
                               .in_flight = endpoint->in_flight,
                               .weight = weight * part,
                               .latency_ms = endpoint->latency.value,
                               .latency_at_ms = endpoint->latency.at_ms};
}

static size_t view_count(const fwi_members *members)
{
    return members->groups[0].count + members->groups[1].count;
}

/* Ejected ones count as usable again while too few are well. */
static void look_for_panic(fwi_members *members)
{
    size_t well = members->groups[0].well + members->groups[1].well;
    bool is_panic = fwi_outlier_is_panic(well, view_count(members), members->panic_percent);
    if (is_panic == members->is_panic)
        return;
    members->is_panic = is_panic;
    for (size_t i = 0; i < view_count(members); i++)
        set_view(members, members->order[i]);
    fwi_loop_defer(members->loop, members->panic_changed);
}

void fwi_members_refresh(fwi_members *members, fwi_endpoint *endpoint)
{
    if (endpoint->index == SIZE_MAX || members->has_changed)
        return;
    bool is_well = fwi_endpoint_is_well(endpoint);
    set_view(members, endpoint);
    if (is_well == endpoint->is_well)
        return;
    fwi_group *group = &members->groups[endpoint->index >= members->groups[0].count];
    endpoint->is_well = is_well;
    group->well += is_well ? 1 : (size_t)-1;
    look_for_panic(members);
}

static bool is_local(const fwi_members *members, const fwi_endpoint *endpoint)
{
    return !members->zone || !strcmp(members->zone, endpoint->instance->zone);
}

/* The group's part of order, from its first on. */
static void choose_group(fwi_members *members, fwi_subset_member *candidates, int which)
{
    fwi_group *group = &members->groups[which];
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        fwi_endpoint *endpoint = members->all[i];
        if (endpoint->instance->state == FW_INSTANCE_ONLINE &&
            is_local(members, endpoint) == (which == 0))
            candidates[count++] = (fwi_subset_member){.endpoint = endpoint};
    }
    if (members->subset_size)
        for (size_t i = 0; i < count; i++) {
            const char *id = ((fwi_endpoint *)candidates[i].endpoint)->instance->id;
            candidates[i].id = fwi_hash_bytes(id, strlen(id));
        }
    group->count =
        fwi_subset_choose(candidates, count, members->subset_size, members->subset_client);
    group->well = 0;
    for (size_t i = 0; i < group->count; i++) {
        fwi_endpoint *endpoint = candidates[i].endpoint;
        endpoint->index = group->first + i;
        endpoint->is_well = fwi_endpoint_is_well(endpoint);
        group->well += endpoint->is_well;
        members->order[endpoint->index] = endpoint;
    }
}

static int reserve_views(fwi_members *members)
{
    if (members->count <= members->view_capacity)
        return FW_OK;
    fwi_endpoint **order = realloc(members->order, members->capacity * sizeof *order);
    if (!order)
        return UV_ENOMEM;
    members->order = order;
    fw_balancer_endpoint *views = realloc(members->views, members->capacity * sizeof *views);
    if (!views)
        return UV_ENOMEM;
    members->views = views;
    members->view_capacity = members->capacity;
    return FW_OK;
}

/* Makes the groups and gives them to the balancers. UV_ENOMEM: it is tried again. */
static int apply_changes(fwi_members *members)
{
    if (!members->has_changed)
        return FW_OK;
    fwi_subset_member *candidates = malloc((members->count + 1) * sizeof *candidates);
    int err = candidates ? reserve_views(members) : UV_ENOMEM;
    if (err) {
        free(candidates);
        return err;
    }
    for (size_t i = 0; i < members->count; i++)
        members->all[i]->index = SIZE_MAX;
    fwi_group *local = &members->groups[0], *others = &members->groups[1];
    choose_group(members, candidates, 0);
    others->first = local->count;
    choose_group(members, candidates, 1);
    free(candidates);
    for (size_t i = 0; i < view_count(members); i++)
        set_view(members, members->order[i]);
    look_for_panic(members);
    for (int i = 0; i < 2 && !err; i++) {
        const fwi_group *group = &members->groups[i];
        /* Without views there is nothing to point at. */
        const fw_balancer_endpoint *views = members->views ? members->views + group->first : NULL;
        err = members->balancer->update(group->state, views, group->count);
    }
    members->has_changed = err != FW_OK;
    return err;
}

/* ---- calls ---- */

void fwi_members_begin(fwi_members *members, fwi_endpoint *endpoint)
{
    members->in_flight++;
    fwi_endpoint_begin(endpoint);
    fwi_members_refresh(members, endpoint);
}

void fwi_members_end(fwi_members *members, fwi_endpoint *endpoint)
{
    members->in_flight--;
    fwi_endpoint_end(endpoint);
    fwi_members_refresh(members, endpoint);
}

bool fwi_members_may_eject(const fwi_members *members)
{
    return fwi_outlier_may_eject(members->groups[0].well + members->groups[1].well,
                                 view_count(members));
}

/* Small is good. One that can be connected to comes before one that cannot. */
static size_t badness(const fwi_endpoint *endpoint, const fwi_endpoint *avoid)
{
    return (endpoint == avoid) * 8u + (endpoint->state == FWI_ENDPOINT_BACKOFF) * 4u +
           endpoint->unhealthy * 2u + (endpoint->breaker.state != FWI_BREAKER_CLOSED);
}

static bool is_less_bad(const fwi_endpoint *a, const fwi_endpoint *b, const fwi_endpoint *avoid)
{
    size_t of_a = badness(a, avoid), of_b = badness(b, avoid);
    if (of_a != of_b)
        return of_a < of_b;
    if (a->backoff.attempts != b->backoff.attempts)
        return a->backoff.attempts < b->backoff.attempts;
    return a->in_flight < b->in_flight;
}

static fwi_endpoint *pick_least_bad(const fwi_members *members, const fwi_endpoint *avoid)
{
    fwi_endpoint *best = NULL;
    for (size_t i = 0; i < members->count; i++) {
        fwi_endpoint *endpoint = members->all[i];
        if (endpoint->instance->state == FW_INSTANCE_ONLINE &&
            (!best || is_less_bad(endpoint, best, avoid)))
            best = endpoint;
    }
    return best;
}

/* Calls of one key go to the same zone. */
static int first_group(const fwi_members *members, const fw_balancer_call *call)
{
    const fwi_group *local = &members->groups[0], *others = &members->groups[1];
    double share = fwi_zone_share(local->well, local->count, others->well);
    if (share >= 1)
        return 0;
    uint64_t draw = call->has_key ? fwi_hash_mix(call->key) : fwi_random_u64();
    return (double)(draw >> 11) * 0x1p-53 >= share;
}

static fwi_endpoint *pick_in(fwi_members *members, const fwi_group *group,
                             const fw_balancer_call *call)
{
    int at = group->count ? members->balancer->pick(group->state, call) : -1;
    if (at < 0 || (size_t)at >= group->count)
        return NULL;
    return members->order[group->first + (size_t)at];
}

fwi_endpoint *fwi_members_pick(fwi_members *members, fw_balancer_call *call,
                               const fwi_endpoint *avoid)
{
    if (apply_changes(members))
        return pick_least_bad(members, avoid);
    call->now_ms = fw_loop_now_ms(members->loop);
    call->in_flight = members->in_flight;
    fw_balancer_endpoint *avoided =
        avoid && avoid->index != SIZE_MAX ? &members->views[avoid->index] : NULL;
    bool was_usable = avoided && avoided->usable;
    if (avoided)
        avoided->usable = false;
    int which = first_group(members, call);
    fwi_endpoint *picked = pick_in(members, &members->groups[which], call);
    if (!picked)
        picked = pick_in(members, &members->groups[!which], call);
    if (avoided)
        avoided->usable = was_usable;
    return picked ? picked : pick_least_bad(members, avoid);
}
