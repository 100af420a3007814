/*
 * The watcher: the store's events become instances, added, changed, removed. `instances` is the
 * list as it was told; a snapshot holds on to a version of it.
 *
 * An instance that the store has lost is removed, or handed to the holds, which decide later; as
 * long as they have it, it is in `instances`. What counts as many at once is counted for each
 * service, a whole batch before its first deletion is looked at.
 *
 * With a file, the list begins as it was saved, and the store is asked for its own only then: a
 * store that was emptied meanwhile must not be believed at once. `unconfirmed` is what of it the
 * store has not spoken of yet; when the store's first list is complete, that is lost.
 *
 * A watcher that is announced stands in the store before it asks for the list. So whoever drains an
 * instance and does not find it among the consumers knows that its list will have the mark.
 */
#include <fairway/discovery.h>

#include "base/log.h"
#include "base/loop.h"
#include "changes.h"
#include "consumer.h"
#include "faults.h"
#include "filter.h"
#include "holds.h"
#include "instance_set.h"
#include "keys.h"
#include "list_file.h"
#include "losses.h"
#include "snapshot.h"
#include "watcher.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_SAVE_MS 5000

struct fw_watcher {
    fw_kv *kv;
    fw_kv_watch *watch;     /* NULL: waits for the consumer */
    fwi_consumer *consumer; /* NULL: not announced */
    char prefix[sizeof FWI_SERVICES_PREFIX + FWI_MAX_NAME_BYTES + 2];
    fw_watcher_options options;
    fwi_set_node *instances, *unconfirmed;
    const fw_snapshot *snapshot; /* of the present state, or NULL */
    fwi_holds *holds;
    fwi_losses losses;
    fwi_list_file *file; /* or NULL */
    int64_t saved_ms;    /* of the list that was restored, or 0 */
    size_t open_parts;   /* the watch, the consumer and the file */
    int64_t revision;
    bool awaits_file, awaits_consumer; /* before the store is asked for the list */
    bool synced, resyncing, stale, ended, closing;
    bool has_news; /* the consumer has not told yet that something is offline, or gone */
    uint64_t stale_since_ms;
    int stale_reason;
    fwi_changes changes;
    fwi_task end;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

/* ---- snapshots ---- */

/* The list, or what is known of it, has changed. */
static void forget_snapshot(fw_watcher *watcher)
{
    fw_snapshot_release(watcher->snapshot);
    watcher->snapshot = NULL;
}

static fw_list_source source_of(const fw_watcher *watcher)
{
    if (watcher->synced)
        return FW_LIST_STORE;
    return watcher->saved_ms ? FW_LIST_DISK : FW_LIST_NONE;
}

int fw_watcher_snapshot(fw_watcher *watcher, const fw_snapshot **ret_snapshot)
{
    fw_list_source source = source_of(watcher);
    fw_snapshot about = {.revision = watcher->revision,
                         .synced = watcher->synced,
                         .restored = source == FW_LIST_DISK,
                         .saved_ms = source == FW_LIST_DISK ? watcher->saved_ms : 0,
                         .held = watcher->holds ? fwi_holds_count(watcher->holds) : 0,
                         .stale = watcher->stale,
                         .stale_since_ms = watcher->stale_since_ms,
                         .stale_reason = watcher->stale_reason,
                         .source = source};
    int err = watcher->snapshot ? FW_OK
                                : fwi_snapshot_new(&about, watcher->instances, &watcher->snapshot);
    if (!err)
        *ret_snapshot = fwi_snapshot_acquire(watcher->snapshot);
    return err;
}

uint64_t fw_watcher_age_ms(const fw_watcher *watcher)
{
    int64_t age_ms = fwi_unix_ms() - watcher->saved_ms;
    switch (source_of(watcher)) {
    case FW_LIST_STORE:
        return watcher->stale ? fw_loop_now_ms(fw_kv_loop(watcher->kv)) - watcher->stale_since_ms
                              : 0;
    case FW_LIST_DISK:
        return age_ms > 0 ? (uint64_t)age_ms : 0;
    default:
        return UINT64_MAX;
    }
}

void fw_watcher_each_change(const fw_watcher *watcher, fw_watcher_change_fn fn, void *arg)
{
    fwi_changes_each(&watcher->changes, fn, arg);
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
    if (watcher->closing || watcher->ended)
        return;
    fwi_changes_add(&watcher->changes, &event, fw_loop_now_ms(fw_kv_loop(watcher->kv)));
    watcher->options.on_event(watcher, &event, watcher->options.arg);
}

static void on_part_closed(void *arg);

static void set_stale(fw_watcher *watcher, int reason)
{
    watcher->stale = true;
    watcher->stale_reason = reason;
    watcher->stale_since_ms = fw_loop_now_ms(fw_kv_loop(watcher->kv));
    forget_snapshot(watcher);
}

static void withdraw(fw_watcher *watcher)
{
    if (watcher->consumer)
        fwi_consumer_close(watcher->consumer, on_part_closed, watcher);
    watcher->consumer = NULL;
}

/* The list follows the store no longer. Nobody shall wait for us to see something. */
static void fail(fw_watcher *watcher, int reason, const char *detail)
{
    set_stale(watcher, reason);
    withdraw(watcher);
    emit(watcher, FW_WATCHER_FATAL, NULL, 0, reason, detail);
    watcher->ended = true;
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
        fail(watcher, UV_ENOMEM, "");
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

/* Takes an instance out of the list. */
static void remove_instance(fw_watcher *watcher, const char *service, const char *id,
                            int64_t revision)
{
    const fw_instance *instance;
    forget_snapshot(watcher);
    if (fwi_set_remove(&watcher->instances, service, id, &instance)) {
        fail(watcher, UV_ENOMEM, "");
        return;
    }
    if (!instance)
        return;
    touch_file(watcher);
    emit(watcher, FW_WATCHER_REMOVED, instance, revision, FW_OK, "");
    fw_instance_release(instance);
}

/* ---- what the store has lost ---- */

static void on_held(const fw_instance *instance, int64_t revision, void *arg)
{
    fw_watcher *watcher = arg;
    forget_snapshot(watcher);
    fwi_log(FW_LOG_WARN, "watcher", "held: the store has lost it, but it answers",
            FWI_TEXT("service", instance->service), FWI_TEXT("id", instance->id));
    emit(watcher, FW_WATCHER_HELD, instance, revision, FW_OK, "");
}

static void on_let_go(const fw_instance *instance, int64_t revision, int reason, void *arg)
{
    fw_watcher *watcher = arg;
    fwi_log(FW_LOG_INFO, "watcher", "gone: the store has lost it, and it does not answer",
            FWI_TEXT("service", instance->service), FWI_TEXT("id", instance->id),
            FWI_TEXT("reason", fw_strerror(reason)));
    remove_instance(watcher, instance->service, instance->id, revision);
}

/* Counts a loss that is about to be looked at. */
static void count_loss(fw_watcher *watcher, const char *service)
{
    uint64_t now_ms = FWI_FAULT(FWI_COUNT_BY_WALL_CLOCK) ? (uint64_t)fwi_unix_ms()
                                                         : fw_loop_now_ms(fw_kv_loop(watcher->kv));
    fwi_losses_add(&watcher->losses, service, now_ms);
}

/* The store no longer has an instance. */
static void lose_instance(fw_watcher *watcher, const char *service, const char *id,
                          int64_t revision)
{
    const fw_instance *instance = fwi_set_find(watcher->instances, service, id);
    if (!instance)
        return;
    fw_hold_reason reason;
    bool may_hold = !watcher->options.no_hold && !FWI_FAULT(FWI_SKIP_HOLD);
    if (may_hold && fwi_losses_suspect(&watcher->losses, watcher->instances, instance, &reason) &&
        !fwi_holds_add(watcher->holds, instance, revision, reason))
        forget_snapshot(watcher);
    else
        remove_instance(watcher, service, id, revision);
}

void fw_watcher_each_held(const fw_watcher *watcher, fw_watcher_held_fn fn, void *arg)
{
    if (watcher->holds)
        fwi_holds_each(watcher->holds, fn, arg);
}

static void on_delete(fw_watcher *watcher, const fw_kv_pair *pair)
{
    watcher->has_news = true;
    char service[FWI_MAX_NAME_BYTES + 1], id[FWI_MAX_NAME_BYTES + 1];
    if (fwi_node_key_split(pair->key, service, id) && !FWI_FAULT(FWI_IGNORE_REMOVALS))
        lose_instance(watcher, service, id, pair->revision);
}

static void on_put(fw_watcher *watcher, const fw_kv_pair *pair)
{
    char service[FWI_MAX_NAME_BYTES + 1], id[FWI_MAX_NAME_BYTES + 1];
    if (!fwi_node_key_split(pair->key, service, id)) {
        pass_over(pair->key, FW_EINSTANCE);
        return;
    }
    const fw_instance *instance, *old;
    fwi_set_prefetch(watcher->instances, service, id); /* it comes while we decode */
    int err = fw_instance_decode(service, id, pair->value, &instance);
    if (err || instance->state == FW_INSTANCE_OFFLINE)
        watcher->has_news = true;
    if (err) {
        pass_over(pair->key, err);
        /* What the node said before no longer holds. */
        remove_instance(watcher, service, id, pair->revision);
        return;
    }
    if (watcher->options.filter && !fw_instance_matches(instance, watcher->options.filter)) {
        (void)confirm(watcher, instance);
        fw_instance_release(instance);
        remove_instance(watcher, service, id, pair->revision);
        return;
    }
    if (FWI_FAULT(FWI_IGNORE_CHANGES) && fwi_set_find(watcher->instances, service, id)) {
        fw_instance_release(instance);
        return;
    }
    forget_snapshot(watcher);
    if (fwi_set_put(&watcher->instances, instance, &old)) {
        fw_instance_release(instance);
        fail(watcher, UV_ENOMEM, "");
        return;
    }
    touch_file(watcher);
    /* Known from disk, or held: if it is as it was, that is no news of the instance. */
    bool was_held, had_answered;
    was_held = fwi_holds_drop(watcher->holds, service, id, &had_answered);
    bool was_saved = old && confirm(watcher, instance);
    if (!old || !(was_saved || was_held) || !is_same(old, instance))
        emit(watcher, old ? FW_WATCHER_CHANGED : FW_WATCHER_ADDED, instance, pair->revision, FW_OK,
             "");
    else if (had_answered)
        emit(watcher, FW_WATCHER_RELISTED, instance, pair->revision, FW_OK, "");
    fw_instance_release(old);
}

/* The store's list is complete: what of the saved one it does not have is gone. */
static void drop_unconfirmed(fw_watcher *watcher, int64_t revision)
{
    for (size_t i = 0; i < fwi_set_count(watcher->unconfirmed); i++)
        count_loss(watcher, fwi_set_at(watcher->unconfirmed, i)->service);
    while (watcher->unconfirmed && !watcher->closing && !watcher->ended) {
        const fw_instance *gone = fwi_set_at(watcher->unconfirmed, 0);
        const fw_instance *instance = fw_instance_acquire(gone);
        if (confirm(watcher, instance))
            lose_instance(watcher, instance->service, instance->id, revision);
        fw_instance_release(instance);
    }
}

static void on_list_end(fw_watcher *watcher, int64_t revision)
{
    watcher->revision = revision; /* also if it is less: the store may be another */
    drop_unconfirmed(watcher, revision);
    watcher->synced = true;
    watcher->resyncing = false;
    watcher->has_news = true;
    forget_snapshot(watcher);
    touch_file(watcher);
    emit(watcher, FW_WATCHER_SYNCED, NULL, revision, FW_OK, "");
}

/* What the application has been told; it is the consumer that asks. */
static int64_t seen(void *arg)
{
    fw_watcher *watcher = arg;
    return watcher->synced && !watcher->resyncing && !watcher->stale ? watcher->revision : 0;
}

static void tell_consumer(fw_watcher *watcher)
{
    if (!watcher->consumer || !seen(watcher))
        return; /* news is kept for later */
    if (watcher->has_news)
        fwi_consumer_saw(watcher->consumer);
    else
        fwi_consumer_look(watcher->consumer);
    watcher->has_news = false;
}

static void count_losses(fw_watcher *watcher, const fw_kv_event *events, size_t count)
{
    char service[FWI_MAX_NAME_BYTES + 1], id[FWI_MAX_NAME_BYTES + 1];
    for (size_t i = 0; i < count; i++)
        if (events[i].type == FW_KV_DELETE && fwi_node_key_split(events[i].pair.key, service, id))
            count_loss(watcher, service);
}

static void on_kv_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    fw_watcher *watcher = arg;
    count_losses(watcher, events, count);
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
            on_list_end(watcher, event->pair.revision);
            break;
        case FW_KV_STALE:
            set_stale(watcher, event->reason);
            emit(watcher, FW_WATCHER_STALE, NULL, 0, event->reason, event->detail);
            break;
        case FW_KV_LIVE:
            watcher->stale = false;
            forget_snapshot(watcher);
            emit(watcher, FW_WATCHER_LIVE, NULL, event->pair.revision, FW_OK, "");
            break;
        case FW_KV_RESYNC:
            watcher->resyncing = true; /* the differences follow */
            break;
        case FW_KV_FATAL:
            fail(watcher, event->reason, event->detail);
            break;
        }
    }
    tell_consumer(watcher);
}

/* ---- life ---- */

static bool emit_added(const fw_instance *instance, void *arg)
{
    fw_watcher *watcher = arg;
    emit(watcher, FW_WATCHER_ADDED, instance, watcher->revision, FW_OK, "");
    return !watcher->closing;
}

static int start_watch(fw_watcher *watcher)
{
    if (watcher->awaits_file || watcher->awaits_consumer)
        return FW_OK;
    int err =
        fw_kv_watch_tree(watcher->kv, watcher->prefix, on_kv_events, watcher, &watcher->watch);
    watcher->open_parts += !err;
    return err;
}

static void start_watch_later(fw_watcher *watcher)
{
    int err = watcher->closing ? FW_OK : start_watch(watcher);
    if (err)
        fail(watcher, err, "");
}

static void restore(fw_watcher *watcher, const fwi_saved_list *list)
{
    watcher->instances = fwi_set_acquire(list->instances);
    watcher->unconfirmed = fwi_set_acquire(list->instances);
    watcher->saved_ms = list->saved_ms;
    watcher->revision = list->revision;
    forget_snapshot(watcher);
    fwi_set_each(list->instances, emit_added, watcher);
    emit(watcher, FW_WATCHER_RESTORED, NULL, list->revision, FW_OK, "");
}

static void on_file_read(const fwi_saved_list *list, int error, void *arg)
{
    fw_watcher *watcher = arg;
    watcher->awaits_file = false;
    if (!error)
        restore(watcher, list);
    else if (error != UV_ENOENT)
        fwi_log(FW_LOG_WARN, "watcher", "saved list not used",
                FWI_TEXT("path", watcher->options.saved_list),
                FWI_TEXT("reason", fw_strerror(error)));
    start_watch_later(watcher);
}

static void on_file_write(fwi_saved_list *ret_list, void *arg)
{
    fw_watcher *watcher = arg;
    *ret_list = (fwi_saved_list){.instances = fwi_set_acquire(watcher->instances),
                                 .revision = watcher->revision,
                                 .saved_ms = fwi_unix_ms()};
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
    int err = fwi_list_file_new(fw_kv_loop(watcher->kv), &options, &watcher->file);
    watcher->open_parts += !err;
    watcher->awaits_file = !err;
    return err;
}

static void on_consumer_ready(void *arg)
{
    fw_watcher *watcher = arg;
    watcher->awaits_consumer = false;
    start_watch_later(watcher);
}

static int announce(fw_watcher *watcher, const char *service)
{
    fwi_consumer_options options = {.service = service,
                                    .name = watcher->options.consumer,
                                    .ttl_ms = watcher->options.consumer_ttl_ms,
                                    .seen = seen,
                                    .on_ready = on_consumer_ready,
                                    .arg = watcher};
    int err = fwi_consumer_new(watcher->kv, &options, &watcher->consumer);
    watcher->options.consumer = NULL; /* only lent */
    watcher->open_parts += !err;
    watcher->awaits_consumer = !err;
    return err;
}

int fw_watcher_set_ejected(fw_watcher *watcher, const fw_ejected *ejected, size_t count)
{
    return watcher->consumer ? fwi_consumer_set_ejected(watcher->consumer, ejected, count) : FW_OK;
}

static void watcher_free(fw_watcher *watcher)
{
    fwi_holds_destroy(watcher->holds);
    fwi_losses_fini(&watcher->losses);
    forget_snapshot(watcher);
    fwi_changes_fini(&watcher->changes);
    fwi_set_release(watcher->instances);
    fwi_set_release(watcher->unconfirmed);
    free((void *)watcher->options.saved_list);
    free((void *)watcher->options.filter);
    free(watcher);
}

int fwi_watcher_new(fw_kv *kv, const char *service, const fw_watcher_options *options,
                    const fwi_prober *prober, fw_watcher **ret_watcher)
{
    if (service && !fwi_name_valid(service))
        return FW_ESERVICE;
    fw_watcher *watcher = calloc(1, sizeof *watcher);
    if (!watcher)
        return UV_ENOMEM;
    watcher->kv = kv;
    watcher->options = *options;
    snprintf(watcher->prefix, sizeof watcher->prefix, FWI_SERVICES_PREFIX "%s%s",
             service ? "/" : "", service ? service : "");
    fwi_holds_options holds = {
        .prober = prober, .on_held = on_held, .on_let_go = on_let_go, .arg = watcher};
    int err = fwi_holds_create(fw_kv_loop(kv), &holds, &watcher->holds);
    watcher->options.saved_list = NULL;
    watcher->options.filter = NULL;
    if (!err && options->filter && !(watcher->options.filter = fwi_filter_copy(options->filter)))
        err = UV_ENOMEM;
    if (!err && options->saved_list && !(watcher->options.saved_list = strdup(options->saved_list)))
        err = UV_ENOMEM;
    if (!err && watcher->options.consumer)
        err = announce(watcher, service);
    if (err) {
        watcher_free(watcher);
        return err;
    }
    err = open_file(watcher);
    if (err) /* without its file it lives on: the store is what counts */
        fwi_log(FW_LOG_WARN, "watcher", "saved list not used",
                FWI_TEXT("path", watcher->options.saved_list),
                FWI_TEXT("reason", fw_strerror(err)));
    err = start_watch(watcher);
    if (err)
        watcher_free(watcher);
    else
        *ret_watcher = watcher;
    return err;
}

int fw_watcher_new(fw_kv *kv, const char *service, const fw_watcher_options *options,
                   fw_watcher **ret_watcher)
{
    return fwi_watcher_new(kv, service, options, &fwi_prober_connect, ret_watcher);
}

static void on_part_closed(void *arg)
{
    fw_watcher *watcher = arg;
    if (--watcher->open_parts || !watcher->closing)
        return;
    if (watcher->on_closed)
        watcher->on_closed(watcher->closed_arg);
    watcher_free(watcher);
}

static void on_end(fwi_task *task, void *arg)
{
    (void)task;
    on_part_closed(arg);
}

void fw_watcher_close(fw_watcher *watcher, fw_kv_closed_fn on_closed, void *arg)
{
    if (watcher->closing)
        return;
    watcher->closing = true;
    fwi_holds_destroy(watcher->holds);
    watcher->holds = NULL;
    watcher->on_closed = on_closed;
    watcher->closed_arg = arg;
    watcher->open_parts++; /* this call itself */
    watcher->end = (fwi_task){.fn = on_end, .arg = watcher};
    fwi_loop_defer(fw_kv_loop(watcher->kv), &watcher->end);
    withdraw(watcher);
    if (watcher->file)
        fwi_list_file_close(watcher->file, on_part_closed, watcher);
    if (watcher->watch)
        fw_kv_watch_close(watcher->watch, on_part_closed, watcher);
}
