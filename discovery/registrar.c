/*
 * The registrar: what an application wants registered, and what others ask of it, as keys that a
 * keeper keeps.
 *
 * An instance has two keys in the store: its own, and that of a request to drain it, which somebody
 * else writes. The request's key is watched, each by itself: a store with many registrars tells of
 * a request only the one whom it concerns. The instance is put when it is known whether there is a
 * request, and after a loss of contact when that is known again: it may have been drained, and gone
 * with its lease, meanwhile. While there is one it is put as offline; what the application is told
 * (`told`) follows when that was read back. An instance that leaves is deleted first, its request
 * then: who asked knows by the order that it was not taken back.
 */
#include <fairway/discovery.h>

#include "base/list.h"
#include "base/log.h"
#include "faults.h"
#include "keeper.h"
#include "keys.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct entry {
    fwi_list node;
    fw_registrar *registrar;
    const fw_instance *wanted;   /* as the application has set it */
    const fw_instance *instance; /* as it is put; NULL: not yet */
    fwi_kept *kept;              /* NULL: it has left */
    fw_kv_watch *watch;          /* of the request */
    bool known;                  /* whether there is one */
    bool stale;                  /* whether there is still one is not known */
    bool asked, told;
    bool leaving;
    size_t open_parts; /* while leaving: kept, watch, and the deletion of the request */
    char request_key[sizeof FWI_DRAINS_PREFIX + 2 * FWI_MAX_NAME_BYTES + 2];
};

struct fw_registrar {
    fw_kv *kv;
    fw_registrar_options options;
    fwi_keeper *keeper; /* NULL: it has been closed */
    fwi_list entries, leaving;
    size_t open_parts; /* the keeper, watches, and deletions of requests */
    bool closing;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

void fw_registrar_get_status(const fw_registrar *registrar, fw_registrar_status *ret_status)
{
    if (registrar->keeper)
        fwi_keeper_get_status(registrar->keeper, ret_status);
    else
        *ret_status = (fw_registrar_status){.reason = FW_ECLOSED, .detail = ""};
}

static void on_status(const fw_registrar_status *status, void *arg)
{
    fw_registrar *registrar = arg;
    if (registrar->options.on_status && !registrar->closing)
        registrar->options.on_status(registrar, status, registrar->options.arg);
}

/* ---- the end ---- */

static void entry_free(struct entry *entry)
{
    fwi_list_remove(&entry->node);
    fw_instance_release(entry->wanted);
    fw_instance_release(entry->instance);
    free(entry);
}

static void end_part(fw_registrar *registrar)
{
    if (--registrar->open_parts || !registrar->closing)
        return;
    fwi_list_splice(&registrar->entries, &registrar->leaving);
    while (!fwi_list_empty(&registrar->entries))
        entry_free(fwi_container_of(registrar->entries.next, struct entry, node));
    if (registrar->on_closed)
        registrar->on_closed(registrar->closed_arg);
    free(registrar);
}

/* A part of an entry is over; one that is leaving goes with the last. */
static void end_entry_part(struct entry *entry)
{
    fw_registrar *registrar = entry->registrar;
    if (!--entry->open_parts && entry->leaving)
        entry_free(entry);
    end_part(registrar);
}

static void on_request_deleted(const fw_kv_result *result, void *arg)
{
    struct entry *entry = arg;
    if (result->status && result->status != FW_ENOTFOUND)
        fwi_log(FW_LOG_WARN, "registrar", "request to drain not deleted",
                FWI_TEXT("key", entry->request_key),
                FWI_TEXT("reason", fw_strerror(result->status)));
    end_entry_part(entry);
}

static void begin_part(struct entry *entry)
{
    entry->open_parts++;
    entry->registrar->open_parts++;
}

/* The instance has left: nobody needs its request any more. */
static void delete_request(struct entry *entry)
{
    if (!entry->asked)
        return;
    entry->asked = false;
    if (!fw_kv_delete(entry->registrar->kv, entry->request_key, on_request_deleted, entry))
        begin_part(entry);
}

static void on_removed(void *user, void *arg)
{
    (void)arg;
    struct entry *entry = user;
    entry->kept = NULL;
    delete_request(entry);
    end_entry_part(entry);
}

static void on_watch_closed(void *arg)
{
    struct entry *entry = arg;
    entry->watch = NULL;
    end_entry_part(entry);
}

static void close_watch(struct entry *entry)
{
    begin_part(entry);
    fw_kv_watch_close(entry->watch, on_watch_closed, entry);
}

static void on_keeper_closed(void *arg)
{
    fw_registrar *registrar = arg;
    registrar->keeper = NULL;
    fwi_list_for_each (node, &registrar->entries)
        delete_request(fwi_container_of(node, struct entry, node));
    fwi_list_for_each_safe (node, &registrar->leaving) {
        struct entry *entry = fwi_container_of(node, struct entry, node);
        if (entry->kept)
            on_removed(entry, registrar);
    }
    end_part(registrar);
}

void fw_registrar_close(fw_registrar *registrar, fw_kv_closed_fn on_closed, void *arg)
{
    if (registrar->closing)
        return;
    registrar->closing = true;
    registrar->on_closed = on_closed;
    registrar->closed_arg = arg;
    fwi_list_for_each (node, &registrar->entries)
        close_watch(fwi_container_of(node, struct entry, node));
    registrar->open_parts++;
    fwi_keeper_close(registrar->keeper, on_keeper_closed, registrar);
}

/* ---- instances ---- */

/* Puts the instance as it shall be now. */
static int apply(struct entry *entry)
{
    const fw_instance *instance;
    int err = FW_OK;
    if (entry->asked && entry->wanted->state == FW_INSTANCE_ONLINE) {
        fw_instance offline = *entry->wanted;
        offline.state = FW_INSTANCE_OFFLINE;
        err = fw_instance_create(&offline, &instance);
    } else {
        instance = fw_instance_acquire(entry->wanted);
    }
    char *json;
    if (err)
        return err;
    err = fw_instance_encode(instance, &json);
    if (err) {
        fw_instance_release(instance);
        return err;
    }
    fw_instance_release(entry->instance);
    entry->instance = instance;
    fwi_kept_set(entry->kept, json);
    return FW_OK;
}

static void on_kept(void *user, int64_t revision, void *arg)
{
    (void)revision;
    fw_registrar *registrar = arg;
    struct entry *entry = user;
    if (entry->told == entry->asked)
        return;
    entry->told = entry->asked;
    fwi_log(FW_LOG_INFO, "registrar", entry->told ? "drained" : "no longer drained",
            FWI_TEXT("service", entry->wanted->service), FWI_TEXT("id", entry->wanted->id));
    if (registrar->options.on_drain)
        registrar->options.on_drain(registrar, entry->instance, entry->told,
                                    registrar->options.arg);
}

static void on_request(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    struct entry *entry = arg;
    bool known = entry->known, asked = entry->asked, stale = entry->stale;
    for (size_t i = 0; i < count; i++) {
        switch (events[i].type) {
        case FW_KV_PUT:
            asked = true;
            break;
        case FW_KV_DELETE:
            asked = false;
            break;
        case FW_KV_END_OF_SNAPSHOT:
            known = true;
            stale = false;
            break;
        case FW_KV_LIVE:
            stale = false;
            break;
        case FW_KV_STALE:
        case FW_KV_FATAL:
            stale = events[i].type == FW_KV_STALE && events[i].reason != FW_EDENIED;
            if (stale)
                break; /* the request is known when the store is back */
            fwi_log(FW_LOG_WARN, "registrar", "requests to drain are not followed",
                    FWI_TEXT("key", entry->request_key),
                    FWI_TEXT("reason", fw_strerror(events[i].reason)),
                    FWI_TEXT("detail", events[i].detail));
            known = true;
            break;
        default:
            break;
        }
    }
    bool is_news = known != entry->known || asked != entry->asked;
    bool was_stale = entry->stale;
    entry->known = known;
    entry->asked = asked;
    entry->stale = stale;
    int err = is_news && known ? apply(entry) : FW_OK;
    if (stale != was_stale && !FWI_FAULT(FWI_PUT_BEFORE_KNOWN))
        fwi_kept_withhold(entry->kept, stale);
    if (err)
        fwi_log(FW_LOG_ERROR, "registrar", "request to drain not followed",
                FWI_TEXT("key", entry->request_key), FWI_TEXT("reason", fw_strerror(err)));
}

static struct entry *find_entry(fw_registrar *registrar, const char *service, const char *id)
{
    fwi_list_for_each (node, &registrar->entries) {
        struct entry *entry = fwi_container_of(node, struct entry, node);
        if (!strcmp(entry->wanted->service, service) && !strcmp(entry->wanted->id, id))
            return entry;
    }
    return NULL;
}

/* The instance's reference is taken over if it succeeds. */
static int entry_new(fw_registrar *registrar, const fw_instance *instance)
{
    char key[sizeof FWI_SERVICES_PREFIX + 2 * FWI_MAX_NAME_BYTES + 2];
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return UV_ENOMEM;
    entry->registrar = registrar;
    snprintf(entry->request_key, sizeof entry->request_key, FWI_DRAINS_PREFIX "/%s/%s",
             instance->service, instance->id);
    int err = fw_kv_watch_key(registrar->kv, entry->request_key, on_request, entry, &entry->watch);
    if (err) {
        free(entry);
        return err;
    }
    snprintf(key, sizeof key, FWI_SERVICES_PREFIX "/%s/%s", instance->service, instance->id);
    entry->wanted = instance;
    err = fwi_kept_new(registrar->keeper, key, entry, &entry->kept);
    if (err) {
        entry->wanted = NULL;
        entry->leaving = true;
        fwi_list_push_back(&registrar->leaving, &entry->node);
        close_watch(entry);
        return err;
    }
    fwi_list_push_back(&registrar->entries, &entry->node);
    return FWI_FAULT(FWI_PUT_BEFORE_KNOWN) ? apply(entry) : FW_OK;
}

int fw_registrar_set(fw_registrar *registrar, const fw_instance *from)
{
    if (registrar->closing)
        return FW_ECLOSED;
    const fw_instance *instance;
    int err = fw_instance_create(from, &instance);
    if (err)
        return err;
    struct entry *entry = find_entry(registrar, instance->service, instance->id);
    if (!entry) {
        err = entry_new(registrar, instance);
        if (err)
            fw_instance_release(instance);
        return err;
    }
    const fw_instance *before = entry->wanted;
    entry->wanted = instance;
    err = entry->known ? apply(entry) : FW_OK;
    if (err)
        entry->wanted = before;
    fw_instance_release(err ? instance : before);
    return err;
}

int fw_registrar_remove(fw_registrar *registrar, const char *service, const char *id)
{
    if (registrar->closing)
        return FW_ECLOSED;
    struct entry *entry = find_entry(registrar, service, id);
    if (!entry)
        return FW_ENOTFOUND;
    entry->leaving = true;
    fwi_list_remove(&entry->node);
    fwi_list_push_back(&registrar->leaving, &entry->node);
    close_watch(entry);
    begin_part(entry);
    fwi_kept_remove(entry->kept);
    return FW_OK;
}

void fw_registrar_each(const fw_registrar *registrar, fw_registrar_entry_fn fn, void *arg)
{
    fwi_list_for_each (node, &registrar->entries) {
        const struct entry *entry = fwi_container_of(node, struct entry, node);
        int64_t revision = fwi_kept_revision(entry->kept);
        fw_registrar_entry one = {.instance = entry->instance ? entry->instance : entry->wanted,
                                  .registered = revision != 0,
                                  .draining = entry->asked,
                                  .revision = revision};
        fn(&one, arg);
    }
}

/* ---- making ---- */

int fw_registrar_new(fw_kv *kv, const fw_registrar_options *options, fw_registrar **ret_registrar)
{
    fw_registrar *registrar = calloc(1, sizeof *registrar);
    if (!registrar)
        return UV_ENOMEM;
    if (options)
        registrar->options = *options;
    registrar->kv = kv;
    fwi_list_init(&registrar->entries);
    fwi_list_init(&registrar->leaving);
    fwi_keeper_options keeper = {.component = "registrar",
                                 .ttl_ms = registrar->options.ttl_ms,
                                 .spread_ms = registrar->options.spread_ms,
                                 .on_status = on_status,
                                 .on_kept = on_kept,
                                 .on_removed = on_removed,
                                 .arg = registrar};
    int err = fwi_keeper_new(kv, &keeper, &registrar->keeper);
    if (err) {
        free(registrar);
        return err;
    }
    *ret_registrar = registrar;
    return FW_OK;
}
