/*
 * The watcher: the store's events become instances, added, changed, removed. `instances` is the
 * list as it was told; a snapshot holds on to a version of it.
 *
 * With a file, the list begins as it was saved. `unconfirmed` is what of it the store has not
 * spoken of yet; when the store's first list is complete, that is gone.
 */
#include <fairway/discovery.h>

#include "base/log.h"
#include "base/loop.h"
#include "faults.h"
#include "instance_set.h"
#include "keys.h"
#include "list_file.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_SAVE_MS 5000

struct counted_snapshot {
    atomic_uint references;
    fw_snapshot snapshot;
    fwi_set_node *instances;
};

struct fw_watcher {
    fw_kv *kv;
    fw_kv_watch *watch;
    fw_watcher_options options;
    fwi_set_node *instances, *unconfirmed;
    struct counted_snapshot *snapshot; /* of the present state, or NULL */
    fwi_list_file *file;               /* or NULL */
    int64_t saved_ms;                  /* of the list that was restored, or 0 */
    size_t open_parts;                 /* the watch and the file, while closing */
    int64_t revision;
    bool synced, stale, ended, closing;
    uint64_t stale_since_ms;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

/* ---- snapshots ---- */

static struct counted_snapshot *counted(const fw_snapshot *snapshot)
{
    return fwi_container_of(snapshot, struct counted_snapshot, snapshot);
}

void fw_snapshot_release(const fw_snapshot *snapshot)
{
    if (!snapshot)
        return;
    struct counted_snapshot *held = counted(snapshot);
    if (atomic_fetch_sub_explicit(&held->references, 1, memory_order_acq_rel) != 1)
        return;
    fwi_set_release(held->instances);
    free(held);
}

const fw_instance *fw_snapshot_at(const fw_snapshot *snapshot, size_t index)
{
    return fwi_set_at(counted(snapshot)->instances, index);
}

const fw_instance *fw_snapshot_find(const fw_snapshot *snapshot, const char *service,
                                    const char *id)
{
    return fwi_set_find(counted(snapshot)->instances, service, id);
}

size_t fw_snapshot_service(const fw_snapshot *snapshot, const char *service, size_t *ret_first)
{
    const fwi_set_node *instances = counted(snapshot)->instances;
    static const char last[] = "\x7f"; /* stands behind every id: none has such a character */
    size_t first = fwi_set_rank(instances, service, "");
    if (ret_first)
        *ret_first = first;
    return fwi_set_rank(instances, service, last) - first;
}

/* The list, or what is known of it, has changed. */
static void forget_snapshot(fw_watcher *watcher)
{
    if (watcher->snapshot)
        fw_snapshot_release(&watcher->snapshot->snapshot);
    watcher->snapshot = NULL;
}

int fw_watcher_snapshot(fw_watcher *watcher, const fw_snapshot **ret_snapshot)
{
    if (!watcher->snapshot) {
        struct counted_snapshot *made = malloc(sizeof *made);
        if (!made)
            return UV_ENOMEM;
        atomic_init(&made->references, 1);
        made->instances = fwi_set_acquire(watcher->instances);
        made->snapshot = (fw_snapshot){.count = fwi_set_count(watcher->instances),
                                       .revision = watcher->revision,
                                       .synced = watcher->synced,
                                       .restored = !watcher->synced && watcher->saved_ms,
                                       .saved_ms = watcher->synced ? 0 : watcher->saved_ms,
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
    if (!watcher->closing && !watcher->ended)
        watcher->options.on_event(watcher, &event, watcher->options.arg);
}

/* A list with a hole would be a lie: it ends. */
static void fail(fw_watcher *watcher, int reason)
{
    emit(watcher, FW_WATCHER_FATAL, NULL, 0, reason, "");
    watcher->ended = true;
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

static void touch_file(fw_watcher *watcher)
{
    if (watcher->file && watcher->synced)
        fwi_list_file_touch(watcher->file);
}

/* The store has spoken of an instance; true if that was not known yet. */
static bool confirm(fw_watcher *watcher, const fw_instance *instance)
{
    const fw_instance *old = NULL;
    if (fwi_set_remove(&watcher->unconfirmed, instance->service, instance->id, &old))
        fail(watcher, UV_ENOMEM);
    fw_instance_release(old);
    return old != NULL;
}

static bool is_same(const fw_instance *a, const fw_instance *b)
{
    char *left = NULL, *right = NULL;
    bool same =
        !fw_instance_encode(a, &left) && !fw_instance_encode(b, &right) && !strcmp(left, right);
    free(left);
    free(right);
    return same;
}

static void pass_over(const char *key, int reason)
{
    fwi_log(FW_LOG_WARN, "watcher", "node passed over", FWI_TEXT("key", key),
            FWI_TEXT("reason", fw_strerror(reason)));
}

static void remove_instance(fw_watcher *watcher, const char *service, const char *id,
                            int64_t revision)
{
    const fw_instance *instance;
    forget_snapshot(watcher);
    if (fwi_set_remove(&watcher->instances, service, id, &instance)) {
        fail(watcher, UV_ENOMEM);
        return;
    }
    if (!instance)
        return;
    touch_file(watcher);
    emit(watcher, FW_WATCHER_REMOVED, instance, revision, FW_OK, "");
    fw_instance_release(instance);
}

static void on_delete(fw_watcher *watcher, const fw_kv_pair *pair)
{
    char service[FWI_MAX_NAME_BYTES + 1], id[FWI_MAX_NAME_BYTES + 1];
    if (split_key(pair->key, service, id) && !FWI_FAULT(FWI_IGNORE_REMOVALS))
        remove_instance(watcher, service, id, pair->revision);
}

static void on_put(fw_watcher *watcher, const fw_kv_pair *pair)
{
    char service[FWI_MAX_NAME_BYTES + 1], id[FWI_MAX_NAME_BYTES + 1];
    if (!split_key(pair->key, service, id)) {
        pass_over(pair->key, FW_EINSTANCE);
        return;
    }
    const fw_instance *instance, *old;
    int err = fw_instance_decode(service, id, pair->value, &instance);
    if (err) {
        pass_over(pair->key, err);
        /* What the node said before no longer holds. */
        remove_instance(watcher, service, id, pair->revision);
        return;
    }
    forget_snapshot(watcher);
    if (fwi_set_put(&watcher->instances, instance, &old)) {
        fw_instance_release(instance);
        fail(watcher, UV_ENOMEM);
        return;
    }
    touch_file(watcher);
    bool is_confirmed = old && confirm(watcher, instance) && is_same(old, instance);
    if (!is_confirmed)
        emit(watcher, old ? FW_WATCHER_CHANGED : FW_WATCHER_ADDED, instance, pair->revision, FW_OK,
             "");
    fw_instance_release(old);
}

/* The store's list is complete: what of the saved one it does not have is gone. */
static void drop_unconfirmed(fw_watcher *watcher, int64_t revision)
{
    while (watcher->unconfirmed && !watcher->closing && !watcher->ended) {
        const fw_instance *gone = fwi_set_at(watcher->unconfirmed, 0);
        const fw_instance *instance = fw_instance_acquire(gone);
        if (confirm(watcher, instance))
            remove_instance(watcher, instance->service, instance->id, revision);
        fw_instance_release(instance);
    }
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
    for (size_t i = 0; i < count && !watcher->closing && !watcher->ended; i++) {
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
            drop_unconfirmed(watcher, event->pair.revision);
            watcher->synced = true;
            forget_snapshot(watcher);
            touch_file(watcher);
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

static void on_file_read(const fwi_saved_list *list, int error, void *arg)
{
    fw_watcher *watcher = arg;
    if (error && error != UV_ENOENT)
        fwi_log(FW_LOG_WARN, "watcher", "saved list not used",
                FWI_TEXT("path", watcher->options.saved_list),
                FWI_TEXT("reason", fw_strerror(error)));
    /* Once the store has spoken, older news is of no use. */
    if (error || watcher->synced || watcher->instances || watcher->closing)
        return;
    watcher->instances = fwi_set_acquire(list->instances);
    watcher->unconfirmed = fwi_set_acquire(list->instances);
    watcher->saved_ms = list->saved_ms;
    watcher->revision = list->revision;
    forget_snapshot(watcher);
    for (size_t i = 0; i < fwi_set_count(list->instances) && !watcher->closing; i++)
        emit(watcher, FW_WATCHER_ADDED, fwi_set_at(list->instances, i), list->revision, FW_OK, "");
    emit(watcher, FW_WATCHER_RESTORED, NULL, list->revision, FW_OK, "");
}

static void on_file_write(fwi_saved_list *ret_list, void *arg)
{
    fw_watcher *watcher = arg;
    uv_timeval64_t now;
    *ret_list = (fwi_saved_list){.instances = fwi_set_acquire(watcher->instances),
                                 .revision = watcher->revision};
    if (!uv_gettimeofday(&now))
        ret_list->saved_ms = now.tv_sec * 1000 + now.tv_usec / 1000;
}

static int open_file(fw_watcher *watcher)
{
    if (!watcher->options.saved_list)
        return FW_OK;
    fwi_list_file_options options = {.path = watcher->options.saved_list,
                                     .save_after_ms = watcher->options.save_after_ms
                                                          ? watcher->options.save_after_ms
                                                          : DEFAULT_SAVE_MS,
                                     .on_read = on_file_read,
                                     .on_write = on_file_write,
                                     .arg = watcher};
    return fwi_list_file_new(fw_kv_loop(watcher->kv), &options, &watcher->file);
}

static void watcher_free(fw_watcher *watcher)
{
    forget_snapshot(watcher);
    fwi_set_release(watcher->instances);
    fwi_set_release(watcher->unconfirmed);
    free((void *)watcher->options.saved_list);
    free(watcher);
}

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
    int err = FW_OK;
    if (options->saved_list && !(watcher->options.saved_list = strdup(options->saved_list)))
        err = UV_ENOMEM;
    if (!err)
        err = fw_kv_watch_tree(kv, prefix, on_kv_events, watcher, &watcher->watch);
    if (err) {
        watcher_free(watcher);
        return err;
    }
    err = open_file(watcher);
    if (err) {
        /* Without its file it lives on: the store is what counts. */
        fwi_log(FW_LOG_WARN, "watcher", "saved list not used",
                FWI_TEXT("path", watcher->options.saved_list),
                FWI_TEXT("reason", fw_strerror(err)));
    }
    *ret_watcher = watcher;
    return FW_OK;
}

static void on_part_closed(void *arg)
{
    fw_watcher *watcher = arg;
    if (--watcher->open_parts)
        return;
    if (watcher->on_closed)
        watcher->on_closed(watcher->closed_arg);
    watcher_free(watcher);
}

void fw_watcher_close(fw_watcher *watcher, fw_kv_closed_fn on_closed, void *arg)
{
    if (watcher->closing)
        return;
    watcher->closing = true;
    watcher->on_closed = on_closed;
    watcher->closed_arg = arg;
    watcher->open_parts = watcher->file ? 2 : 1;
    if (watcher->file)
        fwi_list_file_close(watcher->file, on_part_closed, watcher);
    fw_kv_watch_close(watcher->watch, on_part_closed, watcher);
}
