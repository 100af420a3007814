/* The blocking facade: operations and watches. The calling thread turns a private loop, or sleeps
 * in the store's driver where that can wake it (fwi_kv_driver.wait). */
#include "wait.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LONGEST_SLEEP_MS 60000

struct fw_wait_watch {
    fw_wait_kv *kv;
    fwi_list node;
    fw_kv_watch *watch;
    fwi_kv_pairs pairs; /* of the events */
    fw_kv_event *events;
    size_t count, capacity, next;
    bool has_events;
    fw_kv_event lent; /* other calls on the handle may move `events` */
    fw_kv_event fatal;
};

/* ---- turning the loop ---- */

/* One turn; sleeps for at most most_ms if there is nothing to do. */
static void turn(fw_wait_kv *kv, uint32_t most_ms)
{
    const fwi_kv_driver *driver = kv->kv->driver;
    if (driver->wait && !kv->kv->driver_closed) {
        driver->wait(kv->kv->store, fwi_loop_idle_ms(kv->loop, most_ms));
        fwi_loop_step(kv->loop, false);
    } else {
        fwi_loop_step(kv->loop, most_ms != 0);
    }
}

static void on_limit(fwi_timer *timer, void *arg)
{
    (void)timer;
    *(bool *)arg = true;
}

int fw_wait_kv_until(fw_wait_kv *kv, const bool *done, uint32_t timeout_ms)
{
    bool late = false;
    fwi_timer limit = {.fn = on_limit, .arg = &late};
    fwi_loop_update_now(kv->loop);
    if (timeout_ms)
        fwi_loop_timer_start(kv->loop, &limit, timeout_ms);
    while (!*done && !late)
        turn(kv, LONGEST_SLEEP_MS);
    if (timeout_ms)
        fwi_loop_timer_stop(kv->loop, &limit);
    return *done ? FW_OK : FW_EDEADLINE;
}

/* ---- life ---- */

static int copy_text(const char *text, const char **ret_copy)
{
    *ret_copy = text ? strdup(text) : NULL;
    return text && !*ret_copy ? UV_ENOMEM : FW_OK;
}

static int copy_options(const fw_kv_options *from, fw_kv_options *to)
{
    *to = (fw_kv_options){.timeout_ms = 0};
    if (!from)
        return FW_OK;
    to->timeout_ms = from->timeout_ms;
    int err = copy_text(from->user, &to->user);
    if (!err)
        err = copy_text(from->password, &to->password);
    if (!err)
        err = copy_text(from->cacert, &to->cacert);
    if (!err)
        err = copy_text(from->cert, &to->cert);
    if (!err)
        err = copy_text(from->key, &to->key);
    return err;
}

static void kv_free(fw_wait_kv *kv)
{
    fw_loop_close(kv->loop);
    fwi_kv_pairs_fini(&kv->pairs);
    free(kv->url);
    free((void *)kv->options.user);
    free((void *)kv->options.password);
    free((void *)kv->options.cacert);
    free((void *)kv->options.cert);
    free((void *)kv->options.key);
    free(kv);
}

int fw_wait_kv_open(const char *url, const fw_kv_options *options, fw_wait_kv **ret_kv)
{
    fw_wait_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return UV_ENOMEM;
    fwi_list_init(&kv->watches);
    int err = copy_options(options, &kv->options);
    if (!err && !(kv->url = strdup(url)))
        err = UV_ENOMEM;
    if (!err)
        err = fw_loop_new(&kv->loop);
    if (!err)
        err = fwi_kv_open(kv->loop, url, options, true, &kv->kv);
    if (err) {
        kv_free(kv);
        return err;
    }
    *ret_kv = kv;
    return FW_OK;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void fw_wait_kv_close(fw_wait_kv *kv)
{
    while (!fwi_list_empty(&kv->watches))
        fw_wait_watch_close(fwi_container_of(kv->watches.next, fw_wait_watch, node));
    fwi_wait_keeper_end(kv->keeper);
    bool closed = false;
    fw_kv_close(kv->kv, set_flag, &closed);
    fw_wait_kv_until(kv, &closed, 0);
    kv->kv = NULL;
    kv_free(kv);
}

fw_kv *fw_wait_kv_async(fw_wait_kv *kv)
{
    return kv->kv;
}

/* ---- operations ---- */

static void reset(fw_wait_kv *kv)
{
    fwi_kv_pairs_fini(&kv->pairs);
    *kv->detail = 0;
    kv->result = (fw_kv_result){.detail = kv->detail};
    kv->done = false;
}

static void on_done(const fw_kv_result *result, void *arg)
{
    fw_wait_kv *kv = arg;
    kv->result = *result;
    snprintf(kv->detail, sizeof kv->detail, "%s", result->detail);
    kv->result.detail = kv->detail;
    fwi_kv_take_pairs(kv->kv, &kv->pairs);
    if (result->pairs)
        kv->result.pairs = kv->pairs.items;
    kv->done = true;
}

/* Waits for an operation that was submitted with the error err. */
static const fw_kv_result *finish(fw_wait_kv *kv, int err)
{
    if (err)
        kv->result.status = err;
    else
        fw_wait_kv_until(kv, &kv->done, 0);
    return &kv->result;
}

static const fw_kv_result *put(fw_wait_kv *kv, const char *key, fw_slice value, bool atomic,
                               int64_t previous, const fw_wait_put_options *options)
{
    reset(kv);
    if (options && options->lease) {
        fwi_wait_keeper_put(kv, key, value, previous, atomic, options->lease);
        return &kv->result;
    }
    fw_kv_put_options put = {.ttl_ms = options ? options->ttl_ms : 0};
    return finish(kv, atomic ? fw_kv_atomic_put(kv->kv, key, value, previous, &put, on_done, kv)
                             : fw_kv_put(kv->kv, key, value, &put, on_done, kv));
}

const fw_kv_result *fw_wait_kv_put(fw_wait_kv *kv, const char *key, fw_slice value,
                                   const fw_wait_put_options *options)
{
    return put(kv, key, value, false, 0, options);
}

const fw_kv_result *fw_wait_kv_atomic_put(fw_wait_kv *kv, const char *key, fw_slice value,
                                          int64_t previous, const fw_wait_put_options *options)
{
    return put(kv, key, value, true, previous, options);
}

const fw_kv_result *fw_wait_kv_get(fw_wait_kv *kv, const char *key)
{
    reset(kv);
    return finish(kv, fw_kv_get(kv->kv, key, on_done, kv));
}

const fw_kv_result *fw_wait_kv_exists(fw_wait_kv *kv, const char *key)
{
    reset(kv);
    return finish(kv, fw_kv_exists(kv->kv, key, on_done, kv));
}

const fw_kv_result *fw_wait_kv_delete(fw_wait_kv *kv, const char *key)
{
    reset(kv);
    return finish(kv, fw_kv_delete(kv->kv, key, on_done, kv));
}

const fw_kv_result *fw_wait_kv_list(fw_wait_kv *kv, const char *prefix)
{
    reset(kv);
    return finish(kv, fw_kv_list(kv->kv, prefix, on_done, kv));
}

const fw_kv_result *fw_wait_kv_delete_tree(fw_wait_kv *kv, const char *prefix)
{
    reset(kv);
    return finish(kv, fw_kv_delete_tree(kv->kv, prefix, on_done, kv));
}

const fw_kv_result *fw_wait_kv_atomic_delete(fw_wait_kv *kv, const char *key, int64_t previous)
{
    reset(kv);
    return finish(kv, fw_kv_atomic_delete(kv->kv, key, previous, on_done, kv));
}

static bool has_lease(const fw_kv_txn_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ops[i].lease)
            return true;
    return false;
}

const fw_kv_result *fw_wait_kv_txn(fw_wait_kv *kv, const fw_kv_txn *txn)
{
    reset(kv);
    if (has_lease(txn->then, txn->then_count) || has_lease(txn->otherwise, txn->otherwise_count))
        return finish(kv, FW_EOPTION);
    return finish(kv, fw_kv_do_txn(kv->kv, txn, on_done, kv));
}

/* ---- watches ---- */

static bool keep_event(fw_wait_watch *watch, const fw_kv_event *event)
{
    if (watch->count == watch->capacity) {
        size_t capacity = watch->capacity ? watch->capacity * 2 : 16;
        fw_kv_event *events = realloc(watch->events, capacity * sizeof *events);
        if (!events)
            return false;
        watch->events = events;
        watch->capacity = capacity;
    }
    fw_kv_event *copy = &watch->events[watch->count];
    *copy = *event;
    if (event->type == FW_KV_PUT || event->type == FW_KV_DELETE) {
        const fw_kv_pair *pair = &event->pair;
        if (fwi_kv_pairs_add(&watch->pairs, pair->key, strlen(pair->key), pair->value,
                             pair->revision, pair->lease))
            return false;
        copy->pair = watch->pairs.items[watch->pairs.count - 1];
    }
    if (*event->detail) { /* kept as a key, each its own */
        if (fwi_kv_pairs_add(&watch->pairs, event->detail, strlen(event->detail),
                             (fw_slice){NULL, 0}, 0, 0))
            return false;
        copy->detail = watch->pairs.items[watch->pairs.count - 1].key;
    } else {
        copy->detail = "";
    }
    watch->count++;
    return true;
}

static void on_events(fw_kv_watch *kv_watch, const fw_kv_event *events, size_t count, void *arg)
{
    fw_wait_watch *watch = arg;
    watch->has_events = true;
    for (size_t i = 0; i < count; i++) {
        if (keep_event(watch, &events[i]))
            continue;
        /* A gap would break the promise. */
        watch->fatal = (fw_kv_event){
            .type = FW_KV_FATAL, .pair = {.key = ""}, .reason = UV_ENOMEM, .detail = ""};
        watch->watch = NULL;
        fw_kv_watch_close(kv_watch, NULL, NULL);
        return;
    }
}

static int watch_new(fw_wait_kv *kv, const char *key, bool tree, fw_wait_watch **ret_watch)
{
    fw_wait_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return UV_ENOMEM;
    fwi_loop_update_now(kv->loop);
    int err = tree ? fw_kv_watch_tree(kv->kv, key, on_events, watch, &watch->watch)
                   : fw_kv_watch_key(kv->kv, key, on_events, watch, &watch->watch);
    if (err) {
        free(watch);
        return err;
    }
    watch->kv = kv;
    fwi_list_push_back(&kv->watches, &watch->node);
    *ret_watch = watch;
    return FW_OK;
}

int fw_wait_watch_key(fw_wait_kv *kv, const char *key, fw_wait_watch **ret_watch)
{
    return watch_new(kv, key, false, ret_watch);
}

int fw_wait_watch_tree(fw_wait_kv *kv, const char *prefix, fw_wait_watch **ret_watch)
{
    return watch_new(kv, prefix, true, ret_watch);
}

static const fw_kv_event *take_event(fw_wait_watch *watch)
{
    if (watch->next < watch->count) {
        watch->lent = watch->events[watch->next++];
        return &watch->lent;
    }
    return watch->fatal.type == FW_KV_FATAL ? &watch->fatal : NULL;
}

const fw_kv_event *fw_wait_watch_next(fw_wait_watch *watch, uint32_t timeout_ms)
{
    if (watch->next == watch->count) { /* what was lent is no longer */
        fwi_kv_pairs_fini(&watch->pairs);
        watch->count = watch->next = 0;
        watch->has_events = watch->fatal.type == FW_KV_FATAL;
        if (!timeout_ms)
            turn(watch->kv, 0);
        else
            fw_wait_kv_until(watch->kv, &watch->has_events,
                             timeout_ms == UINT32_MAX ? 0 : timeout_ms);
    }
    return take_event(watch);
}

void fw_wait_watch_close(fw_wait_watch *watch)
{
    bool closed = false;
    if (watch->watch) {
        fw_kv_watch_close(watch->watch, set_flag, &closed);
        fw_wait_kv_until(watch->kv, &closed, 0);
    }
    fwi_list_remove(&watch->node);
    fwi_kv_pairs_fini(&watch->pairs);
    free(watch->events);
    free(watch);
}
