/*
 * The registrar: desired state, reconciled for ever.
 *
 *     GRANT --granted--> PUT all --each read back--> REGISTERED
 *       ^                  |                           | lease lost, key gone
 *       |___ backoff ______|___________________________|
 *
 * A round is one lease. Answers of the store carry their round's number; those of an older round
 * are dropped. Within a round every instance goes put -> get (the read-back): what counts is what
 * the store shows, so an answer that was lost on its way does not matter. A watch on each own key
 * sees when somebody deletes it; it is put again.
 */
#include <fairway/discovery.h>

#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "faults.h"
#include "keys.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_TTL_MS  10000
#define BACKOFF_BASE_MS 200
#define BACKOFF_MAX_MS  5000
#define LEAVE_RETRY_MS  500

struct entry {
    fwi_list node;
    fw_registrar *registrar;
    const fw_instance *instance;
    char *key, *json;
    fw_kv_watch *watch;
    int64_t revision; /* of the last read-back; what the watch says of older ones does not count */
    bool present;     /* the watch has seen the key since the last read-back */
    bool registered;  /* in this round, read back */
    bool busy;        /* a put or its read-back is under way */
    bool dirty;       /* changed or deleted meanwhile: once more */
    bool leaving;     /* not wanted any more: deleted, then forgotten */
    fwi_timer again;  /* while leaving: the next try to delete it */
    size_t requests;  /* of this entry, under way */
};

struct fw_registrar {
    fw_kv *kv;
    fw_loop *loop;
    fw_registrar_options options;
    fwi_list entries, leaving;
    fw_kv_lease *lease; /* of this round */
    bool granted;
    uint32_t round;
    size_t pending; /* store operations and closings whose callback has not come */
    fw_backoff backoff;
    fwi_timer retry;
    fwi_task begin;
    fw_registrar_status status;
    char detail[256];
    uint64_t retry_at_ms;
    bool closing;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

/* A store operation under way: which entry, which round. */
struct request {
    struct entry *entry;
    uint32_t round;
};

static void begin_round(fw_registrar *registrar);
static void put_entry(struct entry *entry);

static void set_status(fw_registrar *registrar, fw_registrar_state state, int reason,
                       const char *detail)
{
    fw_registrar_status *status = &registrar->status;
    bool changed = status->state != state || status->reason != reason;
    if (status->state != state)
        status->since_ms = fw_loop_now_ms(registrar->loop);
    status->state = state;
    status->reason = reason;
    snprintf(registrar->detail, sizeof registrar->detail, "%s", detail);
    if (!changed || registrar->closing)
        return;
    fwi_log(state == FW_REGISTRAR_LOST ? FW_LOG_WARN : FW_LOG_INFO, "registrar",
            state == FW_REGISTRAR_LOST ? "registration lost" : "registered",
            FWI_TEXT("reason", reason ? fw_strerror(reason) : ""), FWI_TEXT("detail", detail));
    if (registrar->options.on_status) {
        fw_registrar_status lent;
        fw_registrar_get_status(registrar, &lent);
        registrar->options.on_status(registrar, &lent, registrar->options.arg);
    }
}

void fw_registrar_get_status(const fw_registrar *registrar, fw_registrar_status *ret_status)
{
    *ret_status = registrar->status;
    ret_status->detail = registrar->detail;
    uint64_t now = fw_loop_now_ms(registrar->loop);
    ret_status->next_try_ms = registrar->status.state == FW_REGISTRAR_LOST &&
                                      fwi_timer_armed(&registrar->retry) &&
                                      registrar->retry_at_ms > now
                                  ? (uint32_t)(registrar->retry_at_ms - now)
                                  : 0;
}

/* ---- the end ---- */

static void entry_free(struct entry *entry)
{
    fwi_loop_timer_stop(entry->registrar->loop, &entry->again);
    fwi_list_remove(&entry->node);
    fw_instance_release(entry->instance);
    free(entry->key);
    free(entry->json);
    free(entry);
}

static void finish_if_done(fw_registrar *registrar)
{
    if (!registrar->closing || registrar->pending)
        return;
    fwi_list_splice(&registrar->entries, &registrar->leaving);
    while (!fwi_list_empty(&registrar->entries))
        entry_free(fwi_container_of(registrar->entries.next, struct entry, node));
    if (registrar->on_closed)
        registrar->on_closed(registrar->closed_arg);
    free(registrar);
}

static void on_part_closed(void *arg)
{
    fw_registrar *registrar = arg;
    registrar->pending--;
    finish_if_done(registrar);
}

static void drop_lease(fw_registrar *registrar)
{
    if (!registrar->lease)
        return;
    registrar->pending++;
    fw_kv_lease_close(registrar->lease, on_part_closed, registrar);
    registrar->lease = NULL;
    registrar->granted = false;
}

void fw_registrar_close(fw_registrar *registrar, fw_kv_closed_fn on_closed, void *arg)
{
    if (registrar->closing)
        return;
    registrar->closing = true;
    registrar->on_closed = on_closed;
    registrar->closed_arg = arg;
    registrar->round++;
    fwi_loop_timer_stop(registrar->loop, &registrar->retry);
    drop_lease(registrar);
    fwi_list_for_each (node, &registrar->entries) {
        struct entry *entry = fwi_container_of(node, struct entry, node);
        if (entry->watch) {
            registrar->pending++;
            fw_kv_watch_close(entry->watch, on_part_closed, registrar);
        }
    }
    /* One more reference for this call itself, given back in a later turn. */
    registrar->pending++;
    fwi_loop_defer(registrar->loop, &registrar->begin);
}

/* ---- a round ---- */

/* Ends the round, to begin another after a wait. */
static void fail_round(fw_registrar *registrar, int reason, const char *detail)
{
    if (registrar->closing)
        return;
    registrar->round++;
    drop_lease(registrar);
    fwi_list_for_each (node, &registrar->entries) {
        struct entry *entry = fwi_container_of(node, struct entry, node);
        entry->registered = entry->busy = entry->dirty = false;
    }
    uint32_t wait = fw_backoff_next_ms(&registrar->backoff);
    registrar->retry_at_ms = fw_loop_now_ms(registrar->loop) + wait;
    fwi_loop_timer_start(registrar->loop, &registrar->retry, wait);
    set_status(registrar, FW_REGISTRAR_LOST, reason, detail);
}

static void check_registered(fw_registrar *registrar)
{
    if (!registrar->granted)
        return;
    fwi_list_for_each (node, &registrar->entries)
        if (!fwi_container_of(node, struct entry, node)->registered)
            return;
    fw_backoff_reset(&registrar->backoff);
    set_status(registrar, FW_REGISTRAR_REGISTERED, FW_OK, "");
}

/* Counts a store operation in; *ret_entry is its entry if it is of this round, else NULL. */
static struct request *request_new(struct entry *entry)
{
    struct request *request = malloc(sizeof *request);
    if (request) {
        *request = (struct request){entry, entry->registrar->round};
        entry->registrar->pending++;
        entry->requests++;
    }
    return request;
}

static void go_on_leaving(struct entry *entry, bool current);

/* Counts an answer out; its entry, or NULL if it belongs to a round that has ended. */
static struct entry *request_end(struct request *request)
{
    struct entry *entry = request->entry;
    fw_registrar *registrar = entry->registrar;
    bool current = !registrar->closing && request->round == registrar->round;
    free(request);
    registrar->pending--;
    entry->requests--;
    if (registrar->closing)
        finish_if_done(registrar);
    else if (entry->leaving)
        go_on_leaving(entry, current);
    else if (current)
        return entry;
    return NULL;
}

/* The store shows something else than what was put: the key is gone, or somebody else's. */
static void on_watch(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    struct entry *entry = arg;
    bool gone = false, foreign = false;
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        if (event->type == FW_KV_RESYNC)
            entry->revision = 0; /* it may be another store, which counts anew */
        bool is_old = event->pair.revision < entry->revision;
        if (event->type == FW_KV_PUT) {
            entry->present = true;
            foreign = !is_old && entry->registrar->granted &&
                      event->pair.lease != fw_kv_lease_id(entry->registrar->lease);
            gone = false;
        } else if (event->type == FW_KV_DELETE) {
            entry->present = false;
            gone = !is_old;
        } else if (event->type == FW_KV_END_OF_SNAPSHOT) {
            gone = gone || (!entry->present && !is_old);
        }
    }
    if (!entry->registrar->granted || entry->leaving || !(gone || foreign))
        return;
    if (entry->busy)
        entry->dirty = true;
    else if (foreign)
        fail_round(entry->registrar, FW_EMODIFIED, "somebody else has written the key");
    else
        put_entry(entry);
}

static void on_read_back(const fw_kv_result *result, void *arg)
{
    struct entry *entry = request_end(arg);
    if (!entry)
        return;
    fw_registrar *registrar = entry->registrar;
    entry->busy = false;
    bool ours = !result->status && result->pairs->lease == fw_kv_lease_id(registrar->lease) &&
                result->pairs->value.len == strlen(entry->json) &&
                !memcmp(result->pairs->value.data, entry->json, result->pairs->value.len);
    if (result->status && result->status != FW_ENOTFOUND) {
        fail_round(registrar, result->status, result->detail);
    } else if (!ours && !entry->dirty) {
        fail_round(registrar, FW_EMODIFIED, "the store shows something else than was put");
    } else if (entry->dirty) {
        put_entry(entry);
    } else {
        entry->registered = true;
        entry->revision = result->pairs->revision;
        if (!entry->watch && !FWI_FAULT(FWI_SKIP_OWN_WATCH) &&
            fw_kv_watch_key(registrar->kv, entry->key, on_watch, entry, &entry->watch))
            entry->watch = NULL; /* without memory for it: the lease still holds */
        check_registered(registrar);
    }
}

static void on_put(const fw_kv_result *result, void *arg)
{
    struct entry *entry = request_end(arg);
    if (!entry)
        return;
    fw_registrar *registrar = entry->registrar;
    if (result->status && result->status != FW_EUNKNOWN) {
        fail_round(registrar, result->status, result->detail);
        return;
    }
    if (FWI_FAULT(FWI_SKIP_READ_BACK)) {
        entry->busy = false;
        entry->registered = true;
        check_registered(registrar);
        return;
    }
    struct request *request = request_new(entry);
    int err = request ? fw_kv_get(registrar->kv, entry->key, on_read_back, request) : UV_ENOMEM;
    if (!err)
        return;
    if (request)
        (void)request_end(request);
    fail_round(registrar, err, "");
}

static void put_entry(struct entry *entry)
{
    fw_registrar *registrar = entry->registrar;
    entry->busy = true;
    entry->dirty = entry->registered = false;
    entry->revision = 0; /* until the read-back everything counts: better a put too many */
    fw_kv_put_options options = {.lease = registrar->lease};
    struct request *request = request_new(entry);
    int err =
        request ? fw_kv_put(registrar->kv, entry->key, (fw_slice){entry->json, strlen(entry->json)},
                            &options, on_put, request)
                : UV_ENOMEM;
    if (!err)
        return;
    if (request)
        (void)request_end(request);
    fail_round(registrar, err, "");
}

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    fw_registrar *registrar = arg;
    if (status) {
        fail_round(registrar, status, detail);
        return;
    }
    registrar->granted = true;
    uint32_t round = registrar->round;
    fwi_list_for_each (node, &registrar->entries) {
        put_entry(fwi_container_of(node, struct entry, node));
        if (registrar->round != round)
            return; /* failed at once */
    }
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    fail_round(arg, reason, detail);
}

static void begin_round(fw_registrar *registrar)
{
    if (registrar->lease || fwi_list_empty(&registrar->entries))
        return;
    fw_kv_lease_options options = {.ttl_ms = registrar->options.ttl_ms,
                                   .on_granted = on_granted,
                                   .on_lost = on_lost,
                                   .arg = registrar};
    int err = fw_kv_lease_new(registrar->kv, &options, &registrar->lease);
    if (err)
        fail_round(registrar, err, "");
}

static void on_begin(fwi_task *task, void *arg)
{
    (void)task;
    fw_registrar *registrar = arg;
    if (registrar->closing)
        on_part_closed(registrar);
    else
        begin_round(registrar);
}

static void on_retry(fwi_timer *timer, void *arg)
{
    (void)timer;
    if (!FWI_FAULT(FWI_SKIP_REGRANT))
        begin_round(arg);
}

static struct entry *find_entry(fw_registrar *registrar, const char *service, const char *id)
{
    fwi_list_for_each (node, &registrar->entries) {
        struct entry *entry = fwi_container_of(node, struct entry, node);
        if (!strcmp(entry->instance->service, service) && !strcmp(entry->instance->id, id))
            return entry;
    }
    return NULL;
}

/* ---- leaving ---- */

static void on_left(const fw_kv_result *result, void *arg)
{
    struct request *request = arg;
    struct entry *entry = request->entry;
    /* What the store refuses goes with the lease. */
    bool is_lost = result->status == FW_EUNKNOWN || result->status == FW_EUNREACHABLE;
    entry->busy = false;
    if (is_lost && !entry->registrar->closing)
        fwi_loop_timer_start(entry->registrar->loop, &entry->again, LEAVE_RETRY_MS);
    (void)request_end(request);
}

static void on_leave_again(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct entry *entry = arg;
    entry->busy = true;
    go_on_leaving(entry, true);
}

/* After an answer, or at the beginning. A put that is under way ends first, else it could come
 * after the deletion. What an ended round had put goes with its lease. */
static void go_on_leaving(struct entry *entry, bool current)
{
    fw_registrar *registrar = entry->registrar;
    if (entry->requests)
        return;
    if (current && registrar->granted && entry->busy) {
        struct request *request = request_new(entry);
        if (request && !fw_kv_delete(registrar->kv, entry->key, on_left, request))
            return;
        if (request) {
            entry->requests--;
            registrar->pending--;
            free(request);
        }
    }
    if (!entry->watch && !fwi_timer_armed(&entry->again))
        entry_free(entry);
}

static void on_leaving_watch_closed(void *arg)
{
    struct entry *entry = arg;
    fw_registrar *registrar = entry->registrar;
    entry->watch = NULL;
    registrar->pending--;
    if (registrar->closing)
        finish_if_done(registrar);
    else
        go_on_leaving(entry, false);
}

int fw_registrar_remove(fw_registrar *registrar, const char *service, const char *id)
{
    if (registrar->closing)
        return FW_ECLOSED;
    struct entry *entry = find_entry(registrar, service, id);
    if (!entry)
        return FW_ENOTFOUND;
    entry->leaving = true;
    entry->busy = true; /* there may be something to delete */
    fwi_list_remove(&entry->node);
    fwi_list_push_back(&registrar->leaving, &entry->node);
    if (entry->watch) {
        registrar->pending++;
        fw_kv_watch_close(entry->watch, on_leaving_watch_closed, entry);
    }
    go_on_leaving(entry, true);
    if (fwi_list_empty(&registrar->entries))
        set_status(registrar, FW_REGISTRAR_PENDING, FW_OK, "");
    else
        check_registered(registrar);
    return FW_OK;
}

/* ---- making ---- */

int fw_registrar_new(fw_kv *kv, const fw_registrar_options *options, fw_registrar **ret_registrar)
{
    fw_registrar *registrar = calloc(1, sizeof *registrar);
    if (!registrar)
        return UV_ENOMEM;
    if (options)
        registrar->options = *options;
    if (!registrar->options.ttl_ms)
        registrar->options.ttl_ms = DEFAULT_TTL_MS;
    if (registrar->options.ttl_ms < 1000) {
        free(registrar);
        return FW_EOPTION;
    }
    registrar->kv = kv;
    registrar->loop = fw_kv_loop(kv);
    fwi_list_init(&registrar->entries);
    fwi_list_init(&registrar->leaving);
    /* A store that is back shall not wait for us longer than half a lease. */
    uint32_t most = registrar->options.ttl_ms / 2;
    fw_backoff_init(&registrar->backoff, BACKOFF_BASE_MS,
                    most < BACKOFF_MAX_MS ? most : BACKOFF_MAX_MS);
    registrar->retry = (fwi_timer){.fn = on_retry, .arg = registrar};
    registrar->begin = (fwi_task){.fn = on_begin, .arg = registrar};
    registrar->status.since_ms = fw_loop_now_ms(registrar->loop);
    *ret_registrar = registrar;
    return FW_OK;
}

static struct entry *entry_new(fw_registrar *registrar, const fw_instance *instance)
{
    struct entry *entry = calloc(1, sizeof *entry);
    size_t size = sizeof FWI_SERVICES_PREFIX + strlen(instance->service) + strlen(instance->id) + 2;
    if (!entry || !(entry->key = malloc(size))) {
        free(entry);
        return NULL;
    }
    snprintf(entry->key, size, FWI_SERVICES_PREFIX "/%s/%s", instance->service, instance->id);
    entry->registrar = registrar;
    entry->again = (fwi_timer){.fn = on_leave_again, .arg = entry};
    fwi_list_push_back(&registrar->entries, &entry->node);
    return entry;
}

int fw_registrar_set(fw_registrar *registrar, const fw_instance *from)
{
    if (registrar->closing)
        return FW_ECLOSED;
    const fw_instance *instance;
    int err = fw_instance_create(from, &instance);
    if (err)
        return err;
    char *json;
    err = fw_instance_encode(instance, &json);
    if (err) {
        fw_instance_release(instance);
        return err;
    }
    struct entry *entry = find_entry(registrar, instance->service, instance->id);
    if (!entry && !(entry = entry_new(registrar, instance))) {
        free(json);
        fw_instance_release(instance);
        return UV_ENOMEM;
    }
    free(entry->json);
    fw_instance_release(entry->instance);
    entry->json = json;
    entry->instance = instance;
    if (!registrar->granted) {
        if (!registrar->lease && !fwi_timer_armed(&registrar->retry))
            fwi_loop_defer(registrar->loop, &registrar->begin);
    } else if (entry->busy) {
        entry->dirty = true;
    } else {
        put_entry(entry);
    }
    return FW_OK;
}
