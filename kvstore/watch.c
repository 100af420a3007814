/*
 * The front of watches: what was delivered, and so what is to be delivered.
 *
 * `known` holds the revision of every key that the watcher believes to exist. A list of the whole
 * state (the first, or after history was lost) is compared with it, so that only differences are
 * delivered, deletions included. Events gather in a batch and are delivered by list_end and commit;
 * the keys and values of a batch live in `batch`. What a driver reports goes into the batch and
 * into `known` at once, so nothing may be taken out of a batch again: a list that breaks off and
 * begins anew adds what is different, and stale, live and fatal are delivered past the batch, which
 * may hold half a revision.
 */
#include "kv.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define KEEP_EVENTS 64 /* most that there is room for between batches */

struct known {
    int64_t revision;
    uint64_t content; /* a hash: another store may give another pair the same revision */
    uint32_t epoch;   /* of the last list that had it */
};

bool fwi_kv_watch_matches(const fw_kv_watch *watch, const char *key)
{
    if (watch->tree)
        return fwi_kv_key_below(key, strlen(key), watch->key, strlen(watch->key));
    return !strcmp(key, watch->key);
}

/* Trees leave out the side keys of locks; their deletion is that of a key nobody heard of. */
static bool is_wanted(const fw_kv_watch *watch, const char *key, size_t key_len, int64_t lease)
{
    return !watch->tree || watch->with_side_keys || !fwi_kv_is_side_key(key, key_len, lease);
}

/* Adds an event to the batch. key NULL: one without a pair. */
static void push_event(fw_kv_watch *watch, fw_kv_event_type type, const char *key, size_t key_len,
                       fw_slice value, int64_t revision, int64_t lease)
{
    if (watch->event_count == watch->event_capacity) {
        size_t capacity = watch->event_capacity ? watch->event_capacity * 2 : 4;
        fw_kv_event *events = realloc(watch->events, capacity * sizeof *events);
        if (!events) {
            watch->out_of_memory = true;
            return;
        }
        watch->events = events;
        watch->event_capacity = capacity;
    }
    fw_kv_event *event = &watch->events[watch->event_count];
    *event = (fw_kv_event){.type = type, .pair = {.key = "", .revision = revision}, .detail = ""};
    if (key) {
        if (fwi_kv_pairs_add(&watch->batch, key, key_len, value, revision, lease)) {
            watch->out_of_memory = true;
            return;
        }
        event->pair = watch->batch.items[watch->batch.count - 1];
    }
    watch->event_count++;
}

static void push_plain(fw_kv_watch *watch, fw_kv_event_type type, int64_t revision, int reason,
                       const char *detail)
{
    push_event(watch, type, NULL, 0, (fw_slice){NULL, 0}, revision, 0);
    if (watch->event_count) {
        fw_kv_event *event = &watch->events[watch->event_count - 1];
        event->reason = reason;
        event->detail = detail ? detail : "";
    }
}

/* Eight bytes at a time, each multiplied and folded: nobody attacks it, it only has to differ. */
static uint64_t content_of(fw_slice value, int64_t lease)
{
    static const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t hash = ((uint64_t)lease ^ value.len) * odd;
    const uint8_t *p = value.data;
    for (size_t left = value.len; left;) {
        uint64_t word = 0;
        size_t n = left < sizeof word ? left : sizeof word;
        memcpy(&word, p, n);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
        p += n;
        left -= n;
    }
    return hash;
}

/* Marks a key as existing. Returns false if it is known as it is already. */
static bool learn(fw_kv_watch *watch, const char *key, size_t key_len, fw_slice value,
                  int64_t revision, int64_t lease)
{
    uint64_t content = content_of(value, lease);
    struct known *known = fwi_map_get(&watch->known, key, key_len);
    if (known) {
        bool is_new = known->revision != revision || known->content != content;
        known->revision = revision;
        known->content = content;
        known->epoch = watch->epoch;
        return is_new;
    }
    void *room;
    if (fwi_map_add(&watch->known, key, key_len, &room)) {
        watch->out_of_memory = true;
        return false;
    }
    known = room;
    *known = (struct known){.revision = revision, .content = content, .epoch = watch->epoch};
    return true;
}

/* Memory is far: what is known of a key whose put is alone in its batch is fetched while that is
 * delivered, and until the next report, and only then learnt. Whatever else looks at `known` calls
 * this before. */
static void finish_learning(fw_kv_watch *watch)
{
    const fwi_kv_pairs *from = watch->to_learn ? &watch->batch : &watch->learning;
    if (from->count) {
        const fw_kv_pair *pair = &from->items[0];
        (void)learn(watch, pair->key, strlen(pair->key), pair->value, pair->revision, pair->lease);
    }
    watch->to_learn = false;
    fwi_kv_pairs_fini(&watch->learning);
}

/* Gives the batch back; a put that is to be learnt goes on to be fetched. */
static void end_batch(fw_kv_watch *watch)
{
    if (watch->to_learn) {
        const char *key = watch->batch.items[0].key;
        fwi_map_prefetch(&watch->known, key, strlen(key), false);
        watch->learning = watch->batch;
        watch->batch = (fwi_kv_pairs){.count = 0};
        watch->to_learn = false;
    }
    fwi_kv_pairs_fini(&watch->batch);
    watch->event_count = 0;
    if (watch->event_capacity > KEEP_EVENTS) { /* a list's */
        free(watch->events);
        watch->events = NULL;
        watch->event_capacity = 0;
    }
}

/* Delivers the batch. False if the watch was closed meanwhile, or ended for lack of memory. */
static bool deliver(fw_kv_watch *watch)
{
    if (watch->closing || watch->ended)
        return false;
    if (watch->out_of_memory) {
        /* A gap would break the promise: end the watch, with an event that needs no memory. */
        fw_kv_event fatal = {
            .type = FW_KV_FATAL, .pair = {.key = ""}, .reason = UV_ENOMEM, .detail = ""};
        watch->ended = true;
        watch->on_events(watch, &fatal, 1, watch->arg);
    } else if (watch->event_count) {
        watch->on_events(watch, watch->events, watch->event_count, watch->arg);
    }
    end_batch(watch);
    return !watch->closing && !watch->ended;
}

void fwi_kv_watch_list_begin(fw_kv_watch *watch)
{
    finish_learning(watch);
    watch->epoch++;
    if (watch->revision && !watch->listing)
        push_plain(watch, FW_KV_RESYNC, 0, FW_ECOMPACTED, "");
    watch->listing = true;
}

void fwi_kv_watch_list_pair(fw_kv_watch *watch, const char *key, size_t key_len, fw_slice value,
                            int64_t revision, int64_t lease)
{
    if (is_wanted(watch, key, key_len, lease) && learn(watch, key, key_len, value, revision, lease))
        push_event(watch, FW_KV_PUT, key, key_len, value, revision, lease);
}

bool fwi_kv_watch_list_end(fw_kv_watch *watch, int64_t revision)
{
    /* What the list no longer has was deleted. */
    fwi_map gone = {.count = 0};
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&watch->known, &position));)
        if (((struct known *)entry->value)->epoch != watch->epoch &&
            fwi_map_put(&gone, entry->key, entry->key_len, NULL, NULL))
            watch->out_of_memory = true;
    position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&gone, &position));) {
        (void)fwi_map_drop(&watch->known, entry->key, entry->key_len);
        push_event(watch, FW_KV_DELETE, (const char *)entry->key, entry->key_len,
                   (fw_slice){NULL, 0}, revision, 0);
    }
    fwi_map_fini(&gone);
    push_plain(watch, FW_KV_END_OF_SNAPSHOT, revision, FW_OK, "");
    if (watch->stale)
        push_plain(watch, FW_KV_LIVE, revision, FW_OK, "");
    watch->stale = watch->listing = false;
    watch->revision = revision;
    return deliver(watch);
}

void fwi_kv_watch_put(fw_kv_watch *watch, const char *key, size_t key_len, fw_slice value,
                      int64_t revision, int64_t lease)
{
    if (revision <= watch->revision || !is_wanted(watch, key, key_len, lease))
        return;
    finish_learning(watch);
    if (!watch->event_count) { /* so it cannot be one that was reported already */
        fwi_map_prefetch(&watch->known, key, key_len, true);
        push_event(watch, FW_KV_PUT, key, key_len, value, revision, lease);
        watch->to_learn = watch->event_count > 0;
    } else if (learn(watch, key, key_len, value, revision, lease)) {
        push_event(watch, FW_KV_PUT, key, key_len, value, revision, lease);
    }
}

void fwi_kv_watch_delete(fw_kv_watch *watch, const char *key, size_t key_len, int64_t revision)
{
    if (revision <= watch->revision)
        return;
    finish_learning(watch);
    if (!fwi_map_drop(&watch->known, key, key_len))
        return; /* put and deleted between two looks: the watcher never heard of it */
    push_event(watch, FW_KV_DELETE, key, key_len, (fw_slice){NULL, 0}, revision, 0);
}

bool fwi_kv_watch_commit(fw_kv_watch *watch, int64_t revision)
{
    if (revision > watch->revision)
        watch->revision = revision;
    return deliver(watch);
}

/* Delivers one event without a pair; the batch stays as it is. */
static bool deliver_plain(fw_kv_watch *watch, fw_kv_event_type type, int reason, const char *detail)
{
    if (watch->closing || watch->ended)
        return false;
    fw_kv_event event = {.type = type,
                         .pair = {.key = "", .revision = type == FW_KV_LIVE ? watch->revision : 0},
                         .reason = reason,
                         .detail = detail ? detail : ""};
    watch->ended = type == FW_KV_FATAL;
    watch->on_events(watch, &event, 1, watch->arg);
    return !watch->closing && !watch->ended;
}

bool fwi_kv_watch_stale(fw_kv_watch *watch, int reason, const char *detail)
{
    if (watch->stale)
        return !watch->closing;
    watch->stale = true;
    return deliver_plain(watch, FW_KV_STALE, reason, detail);
}

bool fwi_kv_watch_live(fw_kv_watch *watch)
{
    if (!watch->stale)
        return !watch->closing;
    watch->stale = false;
    return deliver_plain(watch, FW_KV_LIVE, FW_OK, NULL);
}

bool fwi_kv_watch_fatal(fw_kv_watch *watch, int reason, const char *detail)
{
    return deliver_plain(watch, FW_KV_FATAL, reason, detail);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fw_kv_watch *watch = arg;
    fw_kv *kv = watch->kv;
    fwi_list_remove(&watch->all);
    if (watch->on_closed)
        watch->on_closed(watch->closed_arg);
    fwi_map_fini(&watch->known);
    fwi_kv_pairs_fini(&watch->batch);
    fwi_kv_pairs_fini(&watch->learning);
    free(watch->events);
    free(watch->key);
    free(watch);
    fwi_kv_continue_close(kv);
}

void fwi_kv_watch_stopped(fw_kv_watch *watch)
{
    assert(watch->closing && !watch->stopped);
    watch->stopped = true;
    watch->gone = (fwi_task){.fn = on_gone, .arg = watch};
    fwi_loop_defer(watch->kv->loop, &watch->gone);
}

int fwi_kv_watch_new(fw_kv *kv, const char *key, bool tree, bool with_side_keys,
                     fw_kv_watch_fn on_events, void *arg, fw_kv_watch **ret_watch)
{
    assert(fwi_loop_is_current(kv->loop));
    if (kv->closing)
        return FW_ECLOSED;
    fw_kv_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return UV_ENOMEM;
    int err = fwi_kv_key_normalise(key, tree, &watch->key);
    if (err) {
        free(watch);
        return err;
    }
    watch->kv = kv;
    watch->known.value_bytes = sizeof(struct known);
    watch->tree = tree;
    watch->with_side_keys = with_side_keys;
    watch->on_events = on_events;
    watch->arg = arg;
    fwi_list_init(&watch->node);
    fwi_list_push_back(&kv->watches, &watch->all);
    kv->driver->watch_start(kv->store, watch);
    *ret_watch = watch;
    return FW_OK;
}

int fw_kv_watch_key(fw_kv *kv, const char *key, fw_kv_watch_fn on_events, void *arg,
                    fw_kv_watch **ret_watch)
{
    return fwi_kv_watch_new(kv, key, false, false, on_events, arg, ret_watch);
}

int fw_kv_watch_tree(fw_kv *kv, const char *prefix, fw_kv_watch_fn on_events, void *arg,
                     fw_kv_watch **ret_watch)
{
    return fwi_kv_watch_new(kv, prefix, true, false, on_events, arg, ret_watch);
}

void fw_kv_watch_close(fw_kv_watch *watch, fw_kv_closed_fn on_closed, void *arg)
{
    if (watch->closing)
        return;
    watch->closing = true;
    watch->on_closed = on_closed;
    watch->closed_arg = arg;
    watch->kv->driver->watch_stop(watch->kv->store, watch);
}
