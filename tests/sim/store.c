/* The simulated store: what a real one does, in one place and without time of its own. */
#include "sim_impl.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_OF "services" /* what the histories are of */

struct lease {
    fwi_list node;
    sim_world *world;
    int64_t id;
    uint32_t ttl_ms;
    uint64_t expires_ms;
};

static char *copy_text(const char *text)
{
    return strcpy(sim_alloc(strlen(text) + 1), text);
}

static fw_slice copy_bytes(fw_slice from)
{
    void *copy = sim_alloc(from.len + 1);
    if (from.len)
        memcpy(copy, from.data, from.len);
    return (fw_slice){copy, from.len};
}

void sim_change_free(sim_change *change)
{
    free(change->key);
    free((void *)change->value.data);
    free(change);
}

static sim_change *change_new(const char *key, fw_slice value, int64_t revision, int64_t lease,
                              bool is_delete)
{
    sim_change *change = sim_alloc(sizeof *change);
    change->key = copy_text(key);
    change->value = copy_bytes(value);
    change->revision = revision;
    change->lease = lease;
    change->is_delete = is_delete;
    return change;
}

static sim_change *copy_change(const sim_change *from)
{
    return change_new(from->key, from->value, from->revision, from->lease, from->is_delete);
}

static void clear(fwi_list *list)
{
    for (fwi_list *node; (node = fwi_list_pop(list));)
        sim_change_free(fwi_container_of(node, sim_change, node));
}

/* ---- pairs and the log ---- */

static sim_change *find(sim_world *world, const char *key)
{
    fwi_list_for_each (node, &world->pairs) {
        sim_change *pair = fwi_container_of(node, sim_change, node);
        if (!strcmp(pair->key, key))
            return pair;
    }
    return NULL;
}

static void trim(sim_world *world, size_t keep)
{
    while (world->log_count > keep) {
        sim_change_free(fwi_container_of(fwi_list_pop(&world->log), sim_change, node));
        world->log_count--;
    }
}

static void log_change(sim_world *world, const sim_change *pair, bool is_delete)
{
    sim_change *change =
        change_new(pair->key, pair->value, world->revision, pair->lease, is_delete);
    fwi_list_push_back(&world->log, &change->node);
    world->log_count++;
    trim(world, world->log_keep);
    if (fwi_kv_key_below(pair->key, strlen(pair->key), HISTORY_OF, strlen(HISTORY_OF)))
        history_add(&world->history, pair->key, pair->value, world->revision, is_delete);
    uint64_t hash = 1469598103934665603u;
    for (const char *p = pair->key; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    sim_note(world, hash ^ (uint64_t)world->revision ^ is_delete);
}

static void tell(sim_world *world)
{
    fwi_list_for_each_safe (node, &world->subscriptions) {
        sim_subscription *subscription = fwi_container_of(node, sim_subscription, node);
        subscription->on_change(subscription);
    }
}

static void put(sim_world *world, const char *key, fw_slice value, int64_t lease)
{
    sim_change *pair = find(world, key);
    if (pair) {
        fwi_list_remove(&pair->node);
        sim_change_free(pair);
    }
    pair = change_new(key, value, ++world->revision, lease, false);
    pair->at_ms = world->now_ms;
    fwi_list *after = &world->pairs;
    fwi_list_for_each (node, &world->pairs) {
        if (strcmp(fwi_container_of(node, sim_change, node)->key, key) > 0)
            break;
        after = node;
    }
    fwi_list_push_back(after->next, &pair->node);
    log_change(world, pair, false);
    tell(world);
}

/* Deletes in one revision what the predicate wants; how many. */
static size_t delete_if(sim_world *world, bool (*wanted)(const sim_change *pair, const void *arg),
                        const void *arg)
{
    size_t count = 0;
    fwi_list_for_each_safe (node, &world->pairs) {
        sim_change *pair = fwi_container_of(node, sim_change, node);
        if (!wanted(pair, arg))
            continue;
        if (!count++)
            world->revision++;
        fwi_list_remove(node);
        log_change(world, pair, true);
        sim_change_free(pair);
    }
    if (count)
        tell(world);
    return count;
}

static bool is_key(const sim_change *pair, const void *arg)
{
    return !strcmp(pair->key, arg);
}

static bool is_below(const sim_change *pair, const void *arg)
{
    const char *prefix = arg;
    return fwi_kv_key_below(pair->key, strlen(pair->key), prefix, strlen(prefix));
}

static bool is_leased(const sim_change *pair, const void *arg)
{
    return pair->lease == *(const int64_t *)arg;
}

/* ---- leases ---- */

static struct lease *find_lease(sim_world *world, int64_t id)
{
    fwi_list_for_each (node, &world->leases) {
        struct lease *lease = fwi_container_of(node, struct lease, node);
        if (lease->id == id)
            return lease;
    }
    return NULL;
}

static void lease_end(struct lease *lease)
{
    fwi_list_remove(&lease->node);
    delete_if(lease->world, is_leased, &lease->id);
    free(lease);
}

/* What the alarm clock of a lease is about; the lease may be gone by then. */
struct alarm {
    sim_world *world;
    int64_t lease;
};

static void on_alarm(void *arg)
{
    struct alarm *alarm = arg;
    sim_world *world = alarm->world;
    struct lease *lease = find_lease(world, alarm->lease);
    if (lease && !world->is_down && lease->expires_ms <= world->now_ms) {
        lease_end(lease);
        lease = NULL;
    }
    if (!lease) {
        free(alarm);
        return;
    }
    uint64_t wait =
        lease->expires_ms > world->now_ms ? lease->expires_ms - world->now_ms : lease->ttl_ms;
    sim_after(world, wait, on_alarm, alarm);
}

static int64_t lease_new(sim_world *world, uint32_t ttl_ms)
{
    if (world->last_lease < FWI_KV_LEAST_LEASE)
        world->last_lease = FWI_KV_LEAST_LEASE;
    struct lease *lease = sim_alloc(sizeof *lease);
    lease->world = world;
    lease->id = ++world->last_lease;
    lease->ttl_ms = ttl_ms;
    lease->expires_ms = world->now_ms + ttl_ms;
    fwi_list_push_back(&world->leases, &lease->node);
    struct alarm *alarm = sim_alloc(sizeof *alarm);
    *alarm = (struct alarm){world, lease->id};
    sim_after(world, ttl_ms, on_alarm, alarm);
    return lease->id;
}

/* ---- requests ---- */

static void add_pair(sim_request *request, const sim_change *pair)
{
    if (fwi_kv_pairs_add(&request->pairs, pair->key, strlen(pair->key), pair->value, pair->revision,
                         pair->lease))
        abort();
}

static int check_previous(const sim_request *request, const sim_change *pair)
{
    if (!request->previous)
        return pair ? FW_EEXISTS : FW_OK;
    if (!pair)
        return FW_ENOTFOUND;
    return pair->revision == request->previous ? FW_OK : FW_EMODIFIED;
}

static int execute_put(sim_world *world, sim_request *request)
{
    int64_t lease = request->lease;
    if (lease && !find_lease(world, lease))
        return FW_ELEASE;
    if (request->ttl_ms)
        lease = lease_new(world, request->ttl_ms);
    put(world, request->key, request->value, lease);
    return FW_OK;
}

static int execute_op(sim_world *world, sim_request *request)
{
    sim_change *pair = find(world, request->key);
    int status = FW_OK;
    switch (request->type) {
    case FWI_KV_PUT:
        return execute_put(world, request);
    case FWI_KV_ATOMIC_PUT:
        status = check_previous(request, pair);
        return status ? status : execute_put(world, request);
    case FWI_KV_GET:
        if (pair)
            add_pair(request, pair);
        return pair ? FW_OK : FW_ENOTFOUND;
    case FWI_KV_EXISTS:
        request->count = pair != NULL;
        return FW_OK;
    case FWI_KV_DELETE:
        return delete_if(world, is_key, request->key) ? FW_OK : FW_ENOTFOUND;
    case FWI_KV_ATOMIC_DELETE:
        status = !pair ? FW_ENOTFOUND : check_previous(request, pair);
        if (!status)
            delete_if(world, is_key, request->key);
        return status;
    case FWI_KV_LIST:
        fwi_list_for_each (node, &world->pairs) {
            sim_change *each = fwi_container_of(node, sim_change, node);
            if (is_below(each, request->key))
                add_pair(request, each);
        }
        return FW_OK;
    case FWI_KV_DELETE_TREE:
        request->count = delete_if(world, is_below, request->key);
        return FW_OK;
    case FWI_KV_TXN:
    case FWI_KV_ENQUEUE:
        break;
    }
    return FW_EUNSUPPORTED;
}

void sim_store_execute(sim_world *world, sim_request *request)
{
    struct lease *lease = request->kind == SIM_OP ? NULL : find_lease(world, request->lease);
    request->status = FW_OK;
    switch (request->kind) {
    case SIM_OP:
        request->status = execute_op(world, request);
        break;
    case SIM_GRANT:
        request->lease = lease_new(world, request->ttl_ms);
        break;
    case SIM_RENEW:
        request->status = lease ? FW_OK : FW_ELEASE;
        if (lease)
            lease->expires_ms = world->now_ms + lease->ttl_ms;
        break;
    case SIM_REVOKE:
        if (lease)
            lease_end(lease);
        break;
    }
    request->revision = world->revision;
}

bool sim_store_read(sim_world *world, const fw_kv_watch *watch, int64_t after, uint32_t incarnation,
                    fwi_list *changes)
{
    int64_t oldest = world->log_count
                         ? fwi_container_of(world->log.next, sim_change, node)->revision
                         : world->revision + 1;
    bool is_list = !after || incarnation != world->incarnation || after + 1 < oldest;
    fwi_list_for_each (node, is_list ? &world->pairs : &world->log) {
        sim_change *change = fwi_container_of(node, sim_change, node);
        if ((is_list || change->revision > after) && fwi_kv_watch_matches(watch, change->key)) {
            sim_change *copy = copy_change(change);
            fwi_list_push_back(changes, &copy->node);
        }
    }
    return is_list;
}

/* ---- what others do ---- */

static void break_streams(sim_world *world)
{
    fwi_list_for_each_safe (node, &world->subscriptions) {
        sim_subscription *subscription = fwi_container_of(node, sim_subscription, node);
        subscription->on_break(subscription);
    }
}

void sim_store_set_down(sim_world *world, bool is_down)
{
    bool returns = world->is_down && !is_down;
    world->is_down = is_down;
    if (is_down)
        break_streams(world);
    if (!returns)
        return;
    fwi_list_for_each (node, &world->leases) {
        struct lease *lease = fwi_container_of(node, struct lease, node);
        lease->expires_ms = world->now_ms + lease->ttl_ms;
    }
}

void sim_store_wipe(sim_world *world)
{
    break_streams(world);
    clear(&world->pairs);
    clear(&world->log);
    world->log_count = 0;
    for (fwi_list *node; (node = fwi_list_pop(&world->leases));)
        free(fwi_container_of(node, struct lease, node));
    world->revision = 1;
    world->incarnation++;
    history_wipe(&world->history);
    sim_note(world, 3);
}

void sim_store_delete(sim_world *world, const char *key)
{
    delete_if(world, is_key, key);
}

void sim_store_put(sim_world *world, const char *key, const char *value)
{
    put(world, key, (fw_slice){value, strlen(value)}, 0);
}

void sim_store_revoke_any(sim_world *world)
{
    size_t count = 0;
    fwi_list_for_each (node, &world->leases)
        count++;
    if (!count)
        return;
    size_t chosen = sim_random(world, (uint32_t)count);
    fwi_list_for_each_safe (node, &world->leases)
        if (!chosen--) {
            lease_end(fwi_container_of(node, struct lease, node));
            return;
        }
}

void sim_store_compact(sim_world *world)
{
    trim(world, 0);
}

bool sim_store_find(sim_world *world, const char *key, fw_kv_pair *ret_pair, uint64_t *ret_at_ms)
{
    const sim_change *pair = find(world, key);
    if (!pair)
        return false;
    *ret_pair = (fw_kv_pair){
        .key = pair->key, .value = pair->value, .revision = pair->revision, .lease = pair->lease};
    *ret_at_ms = pair->at_ms;
    return true;
}

void sim_store_each(sim_world *world, void (*fn)(const char *key, fw_slice value, void *arg),
                    void *arg)
{
    fwi_list_for_each (node, &world->pairs) {
        const sim_change *pair = fwi_container_of(node, sim_change, node);
        fn(pair->key, pair->value, arg);
    }
}

void sim_store_init(sim_world *world)
{
    fwi_list_init(&world->pairs);
    fwi_list_init(&world->log);
    fwi_list_init(&world->leases);
    fwi_list_init(&world->subscriptions);
    history_init(&world->history);
    world->revision = 1;
}

void sim_store_fini(sim_world *world)
{
    history_fini(&world->history);
    clear(&world->pairs);
    clear(&world->log);
    for (fwi_list *node; (node = fwi_list_pop(&world->leases));)
        free(fwi_container_of(node, struct lease, node));
}
