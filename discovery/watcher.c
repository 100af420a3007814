/*
 * The watcher: the store's events become instances, added, changed, removed. `instances` is the
 * list as it was told; a snapshot is made of it when somebody asks and kept until the next change.
 */
#include <fairway/discovery.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/map.h"
#include "keys.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct counted_snapshot {
    atomic_uint references;
    fw_snapshot snapshot;
    const fw_instance *instances[];
};

struct fw_watcher {
    fw_kv *kv;
    fw_kv_watch *watch;
    fw_watcher_options options;
    fwi_map instances;                 /* key in the store -> const fw_instance */
    struct counted_snapshot *snapshot; /* of the present state, or NULL */
    int64_t revision;
    bool synced, stale, closing;
    uint64_t stale_since_ms;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

/* ---- snapshots ---- */

void fw_snapshot_release(const fw_snapshot *snapshot)
{
    if (!snapshot)
        return;
    struct counted_snapshot *counted =
        fwi_container_of(snapshot, struct counted_snapshot, snapshot);
    if (atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < snapshot->count; i++)
        fw_instance_release(counted->instances[i]);
    free(counted);
}

static void forget_snapshot(fw_watcher *watcher)
{
    if (watcher->snapshot)
        fw_snapshot_release(&watcher->snapshot->snapshot);
    watcher->snapshot = NULL;
}

static int by_service_and_id(const void *a, const void *b)
{
    const fw_instance *left = *(const fw_instance *const *)a,
                      *right = *(const fw_instance *const *)b;
    int order = strcmp(left->service, right->service);
    return order ? order : strcmp(left->id, right->id);
}

int fw_watcher_snapshot(fw_watcher *watcher, const fw_snapshot **ret_snapshot)
{
    if (!watcher->snapshot) {
        size_t count = watcher->instances.count;
        struct counted_snapshot *made = malloc(sizeof *made + count * sizeof(const fw_instance *));
        if (!made)
            return UV_ENOMEM;
        atomic_init(&made->references, 1);
        size_t position = 0, n = 0;
        for (fwi_map_entry *entry; (entry = fwi_map_next(&watcher->instances, &position));)
            made->instances[n++] = fw_instance_acquire(entry->value);
        if (n)
            qsort(made->instances, n, sizeof *made->instances, by_service_and_id);
        made->snapshot = (fw_snapshot){.instances = made->instances,
                                       .count = n,
                                       .revision = watcher->revision,
                                       .synced = watcher->synced,
                                       .stale = watcher->stale,
                                       .stale_since_ms = watcher->stale_since_ms};
        watcher->snapshot = made;
    }
    atomic_fetch_add_explicit(&watcher->snapshot->references, 1, memory_order_relaxed);
    *ret_snapshot = &watcher->snapshot->snapshot;
    return FW_OK;
}

/* ---- events ---- */

static void emit(fw_watcher *watcher, fw_watcher_event_type type, const fw_instance *instance,
                 int64_t revision, int reason, const char *detail)
{
    fw_watcher_event event = {.type = type,
                              .instance = instance,
                              .revision = revision,
                              .reason = reason,
                              .detail = detail ? detail : ""};
    if (!watcher->closing)
        watcher->options.on_event(watcher, &event, watcher->options.arg);
}

/* Splits services/<service>/<id>; false if the key is not of that form. */
static bool split_key(const char *key, char *ret_service, char *ret_id)
{
    static const char prefix[] = FWI_SERVICES_PREFIX "/";
    if (strncmp(key, prefix, sizeof prefix - 1))
        return false;
    const char *service = key + sizeof prefix - 1, *slash = strchr(service, '/');
    if (!slash || slash - service > FWI_MAX_NAME_BYTES || strlen(slash + 1) > FWI_MAX_NAME_BYTES)
        return false;
    snprintf(ret_service, FWI_MAX_NAME_BYTES + 1, "%.*s", (int)(slash - service), service);
    snprintf(ret_id, FWI_MAX_NAME_BYTES + 1, "%s", slash + 1);
    return fwi_name_valid(ret_service) && fwi_name_valid(ret_id);
}

static void on_delete(fw_watcher *watcher, const fw_kv_pair *pair)
{
    const fw_instance *instance = fwi_map_remove(&watcher->instances, pair->key, strlen(pair->key));
    if (!instance)
        return;
    forget_snapshot(watcher);
    emit(watcher, FW_WATCHER_REMOVED, instance, pair->revision, FW_OK, "");
    fw_instance_release(instance);
}

static void on_put(fw_watcher *watcher, const fw_kv_pair *pair)
{
    char service[FWI_MAX_NAME_BYTES + 1], id[FWI_MAX_NAME_BYTES + 1];
    const fw_instance *instance;
    int err = split_key(pair->key, service, id)
                  ? fw_instance_decode(service, id, pair->value, &instance)
                  : FW_EINSTANCE;
    void *old = NULL;
    if (!err) {
        err =
            fwi_map_put(&watcher->instances, pair->key, strlen(pair->key), (void *)instance, &old);
        if (err)
            fw_instance_release(instance);
    }
    if (err) {
        fwi_log(FW_LOG_WARN, "watcher", "node passed over", FWI_TEXT("key", pair->key),
                FWI_TEXT("reason", fw_strerror(err)));
        on_delete(watcher, pair); /* what it said before no longer holds */
        return;
    }
    forget_snapshot(watcher);
    emit(watcher, old ? FW_WATCHER_CHANGED : FW_WATCHER_ADDED, instance, pair->revision, FW_OK, "");
    fw_instance_release(old);
}

static void on_stale(fw_watcher *watcher, const fw_kv_event *event)
{
    watcher->stale = true;
    watcher->stale_since_ms = fw_loop_now_ms(fw_kv_loop(watcher->kv));
    forget_snapshot(watcher);
    emit(watcher, FW_WATCHER_STALE, NULL, 0, event->reason, event->detail);
}

static void on_kv_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    fw_watcher *watcher = arg;
    for (size_t i = 0; i < count && !watcher->closing; i++) {
        const fw_kv_event *event = &events[i];
        if (event->pair.revision > watcher->revision)
            watcher->revision = event->pair.revision;
        switch (event->type) {
        case FW_KV_PUT:
            on_put(watcher, &event->pair);
            break;
        case FW_KV_DELETE:
            on_delete(watcher, &event->pair);
            break;
        case FW_KV_END_OF_SNAPSHOT:
            watcher->synced = true;
            forget_snapshot(watcher);
            emit(watcher, FW_WATCHER_SYNCED, NULL, event->pair.revision, FW_OK, "");
            break;
        case FW_KV_STALE:
            on_stale(watcher, event);
            break;
        case FW_KV_LIVE:
            watcher->stale = false;
            forget_snapshot(watcher);
            emit(watcher, FW_WATCHER_LIVE, NULL, event->pair.revision, FW_OK, "");
            break;
        case FW_KV_RESYNC:
            break; /* the differences follow */
        case FW_KV_FATAL:
            emit(watcher, FW_WATCHER_FATAL, NULL, 0, event->reason, event->detail);
            break;
        }
    }
}

/* ---- life ---- */

int fw_watcher_new(fw_kv *kv, const char *service, const fw_watcher_options *options,
                   fw_watcher **ret_watcher)
{
    if (service && !fwi_name_valid(service))
        return FW_ESERVICE;
    fw_watcher *watcher = calloc(1, sizeof *watcher);
    if (!watcher)
        return UV_ENOMEM;
    watcher->kv = kv;
    watcher->options = *options;
    char prefix[sizeof FWI_SERVICES_PREFIX + FWI_MAX_NAME_BYTES + 2];
    snprintf(prefix, sizeof prefix, FWI_SERVICES_PREFIX "%s%s", service ? "/" : "",
             service ? service : "");
    int err = fw_kv_watch_tree(kv, prefix, on_kv_events, watcher, &watcher->watch);
    if (err) {
        free(watcher);
        return err;
    }
    *ret_watcher = watcher;
    return FW_OK;
}

static void on_watch_closed(void *arg)
{
    fw_watcher *watcher = arg;
    if (watcher->on_closed)
        watcher->on_closed(watcher->closed_arg);
    forget_snapshot(watcher);
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&watcher->instances, &position));)
        fw_instance_release(entry->value);
    fwi_map_fini(&watcher->instances);
    free(watcher);
}

void fw_watcher_close(fw_watcher *watcher, fw_kv_closed_fn on_closed, void *arg)
{
    if (watcher->closing)
        return;
    watcher->closing = true;
    watcher->on_closed = on_closed;
    watcher->closed_arg = arg;
    fw_kv_watch_close(watcher->watch, on_watch_closed, watcher);
}
