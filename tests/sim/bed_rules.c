/* What must hold in the bed, but for drains; see bed.c. */
#include "bed_impl.h"

#include "fwt.h"
#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
    const char *id;
    bool is_there;
    size_t count;
    const fw_snapshot *snapshot;
    bool differs;
};

static void look_for(const char *key, fw_slice value, void *arg)
{
    struct search *search = arg;
    const char *id = strrchr(key, '/') + 1;
    if (strncmp(key, FWI_SERVICES_PREFIX "/", strlen(FWI_SERVICES_PREFIX) + 1))
        return;
    search->count++;
    /* Not what a fault wrote over it, whoever has marked that since. */
    bool is_ours = strncmp(value.data, FOREIGN_BEGIN, strlen(FOREIGN_BEGIN)) != 0;
    if (search->id && !strcmp(id, search->id))
        search->is_there = is_ours;
    if (search->snapshot && is_ours && !fw_snapshot_find(search->snapshot, SERVICE, id))
        search->differs = true;
}

static bool is_listed(const char *id)
{
    struct search search = {.id = id};
    sim_store_each(bed.world, look_for, &search);
    return search.is_there;
}

/* True if there is one that may be picked. */
static bool is_usable(const fw_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        if (fw_snapshot_at(snapshot, i)->state == FW_INSTANCE_ONLINE)
            return true;
    return false;
}

static void check_not_empty(struct consumer *consumer)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    bool is_empty = !is_usable(snapshot);
    for (size_t i = 0; i < PROVIDERS; i++) {
        const char *id = bed.providers[i].id;
        const fw_instance *instance = fw_snapshot_find(snapshot, SERVICE, id);
        if (instance)
            consumer->knew[i] = instance->state == FW_INSTANCE_ONLINE;
        else if (consumer->knew[i] && is_empty)
            bed_violated("empty", id);
    }
    fw_snapshot_release(snapshot);
}

void bed_forget_removed(struct consumer *consumer, const fw_instance *instance)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    bool will_do = instance->state == FW_INSTANCE_OFFLINE || is_usable(snapshot);
    for (size_t i = 0; will_do && i < PROVIDERS; i++)
        if (!strcmp(bed.providers[i].id, instance->id))
            consumer->knew[i] = false;
    fw_snapshot_release(snapshot);
}

static uint64_t state_of(const fw_instance *instance)
{
    char key[40], *json;
    snprintf(key, sizeof key, "services/%s/%s", instance->service, instance->id);
    FWT_OK(fw_instance_encode(instance, &json));
    uint64_t state = history_pair(key, (fw_slice){json, strlen(json)});
    free(json);
    return state;
}

static void leave_out(const fw_watcher_held *held, void *arg)
{
    *(uint64_t *)arg -= state_of(held->instance);
}

static void check_history(struct consumer *consumer)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    bool is_known = snapshot == consumer->snapshot;
    fw_snapshot_release(consumer->snapshot);
    consumer->snapshot = snapshot;
    if (is_known || !snapshot->synced)
        return;
    uint64_t state = 0;
    for (size_t i = 0; i < snapshot->count; i++)
        state += state_of(fw_snapshot_at(snapshot, i));
    fw_watcher_each_held(consumer->watcher, leave_out, &state);
    if (!history_had(&bed.world->history, state, snapshot->revision, &consumer->incarnation))
        bed_violated("history", "a list");
}

static void check_consumer(struct consumer *consumer)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    struct search search = {.snapshot = snapshot};
    sim_store_each(bed.world, look_for, &search);
    if (search.differs || search.count != snapshot->count || !snapshot->synced || snapshot->stale ||
        consumer->is_fatal)
        bed_violated("told", "a consumer");
    fw_snapshot_release(snapshot);
}

void bed_check(void)
{
    bool is_quiet = true;
    for (size_t i = 0; i < PROVIDERS; i++) {
        struct provider *provider = &bed.providers[i];
        bool settled =
            bed_is_settled(provider->troubled_ms, provider->is_faulty || provider->has_left);
        is_quiet &= settled;
        if (settled && !is_listed(provider->id))
            bed_violated("listed", provider->id);
    }
    for (size_t i = 0; i < bed.dead_count; i++)
        if (bed_is_settled(bed.dead[i].died_ms + TTL_MS, false) && is_listed(bed.dead[i].id))
            bed_violated("unlisted", bed.dead[i].id);
    for (size_t i = 0; i < CONSUMERS; i++) {
        check_not_empty(&bed.consumers[i]);
        check_history(&bed.consumers[i]);
    }
    /* A provider's own news takes time to travel: consumers are looked at when all is quiet. */
    bool all_quiet = is_quiet;
    for (size_t i = 0; i < CONSUMERS; i++) {
        bool settled = bed_is_settled(bed.consumers[i].troubled_ms, bed.consumers[i].is_faulty);
        all_quiet &= settled;
        if (is_quiet && settled)
            check_consumer(&bed.consumers[i]);
    }
    if (all_quiet)
        bed_drains_check_quiet();
}
