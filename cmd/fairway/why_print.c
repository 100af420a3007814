/* What `fairway why` tells: for people, and as one JSON object. */
#include "why.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const event_names[] = {
    [FW_WATCHER_ADDED] = "added",       [FW_WATCHER_CHANGED] = "changed",
    [FW_WATCHER_REMOVED] = "removed",   [FW_WATCHER_RESTORED] = "restored",
    [FW_WATCHER_SYNCED] = "synced",     [FW_WATCHER_HELD] = "held",
    [FW_WATCHER_RELISTED] = "relisted", [FW_WATCHER_STALE] = "stale",
    [FW_WATCHER_LIVE] = "live",         [FW_WATCHER_FATAL] = "fatal",
};

static const char *const sources[] = {
    [FW_LIST_NONE] = "none", [FW_LIST_DISK] = "disk", [FW_LIST_STORE] = "store"};

static const char *hold_reason(fw_hold_reason reason)
{
    return reason == FW_HOLD_LAST ? "the last of its service"
                                  : "one of several that were lost at once";
}

static bool is_ours(const struct why *why, const fw_instance *instance)
{
    return !instance || !strcmp(instance->service, why->service);
}

/* ---- text ---- */

static void print_head(const struct why *why)
{
    const fw_snapshot *snapshot = why->snapshot;
    char age[32], stale[32];
    size_t count = fw_snapshot_service(snapshot, why->service, NULL);
    uint64_t age_ms = fw_watcher_age_ms(why->watcher);
    printf("%s: %zu instances\n", why->service, count);
    printf("  source    %s%s%s\n", sources[snapshot->source],
           snapshot->source == FW_LIST_DISK ? ": " : "",
           snapshot->source == FW_LIST_DISK ? why->saved_list : "");
    printf("  age       %s\n",
           age_ms ? cli_duration_text(age_ms, age, sizeof age) : "0: the store is heard");
    printf("  revision  %lld\n", (long long)snapshot->revision);
    if (snapshot->stale)
        printf("  stale     since %s: %s%s%s\n",
               cli_duration_text(why->now_ms - snapshot->stale_since_ms, stale, sizeof stale),
               fw_strerror(snapshot->stale_reason), *why->stale_detail ? ": " : "",
               why->stale_detail);
    if (why->status)
        printf("  asked     not everything could be asked: %s%s%s\n", fw_strerror(why->status),
               *why->detail ? ": " : "", why->detail);
}

static void describe_drain(const struct why_drain *drain, char *ret_text, size_t size)
{
    char ago[32] = "";
    int64_t age_ms = cli_unix_ms() - drain->at_ms;
    if (drain->at_ms && age_ms >= 0)
        cli_duration_text((uint64_t)age_ms, ago, sizeof ago);
    snprintf(ret_text, size, "(to be drained%s%s%s%s%s)", *ago ? ", asked " : "", ago,
             *ago ? " ago" : "", *drain->by ? " by " : "", drain->by);
}

static void print_instance(const struct why *why, const fw_instance *instance)
{
    char note[700] = "", since[32];
    fw_watcher_held held;
    const struct why_drain *drain = why_find_drain(why, instance->id);
    if (why_find_held(why, instance, &held))
        snprintf(note, sizeof note,
                 "(held for %s: lost at revision %lld, %s; has answered %u probes)",
                 cli_duration_text(why->now_ms - held.since_ms, since, sizeof since),
                 (long long)held.revision, hold_reason(held.reason), held.answers);
    else if (drain)
        describe_drain(drain, note, sizeof note);
    else if (instance->state == FW_INSTANCE_OFFLINE)
        snprintf(note, sizeof note, "(it has marked itself)");
    cli_print_instance("  ", instance, note);
}

static void print_change(const fw_watcher_change *change, void *arg)
{
    const struct why *why = arg;
    if (!is_ours(why, change->instance))
        return;
    char at[32] = "";
    time_t s = (time_t)(change->unix_ms / 1000);
    struct tm parts;
    if (gmtime_r(&s, &parts))
        strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &parts);
    printf("  %s.%03dZ  %s", at, (int)(change->unix_ms % 1000), event_names[change->type]);
    if (change->instance)
        printf(" %s", change->instance->id);
    if (change->revision)
        printf("  revision %lld", (long long)change->revision);
    printf("%s%s\n", change->reason ? ": " : "", change->reason ? fw_strerror(change->reason) : "");
}

static void print_consumer(const struct why_consumer *consumer)
{
    printf("  %-24s %s, has seen revision %lld\n", consumer->name,
           strcmp(consumer->service, "*") != 0 ? "of this service" : "of all services",
           (long long)consumer->revision);
    const cJSON *at;
    cJSON_ArrayForEach(at, consumer->ejected)
        printf("    has ejected %s: %s\n",
               cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(at, "id")),
               cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(at, "reason")));
}

void why_print_text(const struct why *why)
{
    size_t first, count = fw_snapshot_service(why->snapshot, why->service, &first);
    print_head(why);
    if (count)
        printf("instances\n");
    for (size_t i = first; i < first + count; i++)
        print_instance(why, fw_snapshot_at(why->snapshot, i));
    if (why->unreadable_count)
        printf("cannot be read\n");
    for (size_t i = 0; i < why->unreadable_count; i++)
        printf("  %s: %s\n", why->unreadable[i].key, fw_strerror(why->unreadable[i].error));
    printf("consumers%s\n", why->consumer_count ? "" : ": none is announced");
    for (size_t i = 0; i < why->consumer_count; i++)
        print_consumer(&why->consumers[i]);
    printf("changes\n");
    fw_watcher_each_change(why->watcher, print_change, (void *)why);
    fflush(stdout);
}

/* ---- JSON ---- */

static cJSON *instance_json(const struct why *why, const fw_instance *instance)
{
    cJSON *json = cli_json_instance(instance);
    const struct why_drain *drain = why_find_drain(why, instance->id);
    fw_watcher_held held;
    if (drain)
        cJSON_AddItemToObject(json, "drain",
                              drain->value ? cJSON_Duplicate(drain->value, true)
                                           : cJSON_CreateObject());
    if (!why_find_held(why, instance, &held))
        return json;
    cJSON *object = cJSON_AddObjectToObject(json, "held");
    cli_json_add_int64(object, "revision", held.revision);
    cJSON_AddNumberToObject(object, "for_ms", (double)(why->now_ms - held.since_ms));
    cJSON_AddNumberToObject(object, "answers", held.answers);
    cJSON_AddStringToObject(object, "reason", held.reason == FW_HOLD_LAST ? "last" : "many");
    return json;
}

/* The list of changes, and whose they are. */
struct changes {
    const struct why *why;
    cJSON *array;
};

static void add_change(const fw_watcher_change *change, void *arg)
{
    struct changes *changes = arg;
    if (!is_ours(changes->why, change->instance))
        return;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "event", event_names[change->type]);
    if (change->instance)
        cJSON_AddStringToObject(json, "id", change->instance->id);
    if (change->revision)
        cli_json_add_int64(json, "revision", change->revision);
    if (change->reason)
        cJSON_AddStringToObject(json, "reason", fw_strerror(change->reason));
    cli_json_add_int64(json, "unix_ms", change->unix_ms);
    cJSON_AddItemToArray(changes->array, json);
}

static void add_store(const struct why *why, cJSON *json)
{
    cJSON *unreadable = cJSON_AddArrayToObject(json, "unreadable");
    for (size_t i = 0; i < why->unreadable_count; i++) {
        cJSON *node = cJSON_CreateObject();
        cJSON_AddStringToObject(node, "key", why->unreadable[i].key);
        cJSON_AddStringToObject(node, "reason", fw_strerror(why->unreadable[i].error));
        cJSON_AddItemToArray(unreadable, node);
    }
    cJSON *consumers = cJSON_AddArrayToObject(json, "consumers");
    for (size_t i = 0; i < why->consumer_count; i++) {
        cJSON *consumer = cJSON_CreateObject();
        cJSON_AddStringToObject(consumer, "service", why->consumers[i].service);
        cJSON_AddStringToObject(consumer, "name", why->consumers[i].name);
        cli_json_add_int64(consumer, "revision", why->consumers[i].revision);
        cJSON_AddItemToObject(consumer, "ejected",
                              cJSON_Duplicate(why->consumers[i].ejected, true));
        cJSON_AddItemToArray(consumers, consumer);
    }
}

void why_print_json(const struct why *why)
{
    const fw_snapshot *snapshot = why->snapshot;
    size_t first, count = fw_snapshot_service(snapshot, why->service, &first);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "service", why->service);
    cJSON_AddStringToObject(json, "source", sources[snapshot->source]);
    cJSON_AddNumberToObject(json, "age_ms", (double)fw_watcher_age_ms(why->watcher));
    cli_json_add_int64(json, "revision", snapshot->revision);
    if (snapshot->source == FW_LIST_DISK)
        cli_json_add_int64(json, "saved_ms", snapshot->saved_ms);
    cJSON_AddBoolToObject(json, "stale", snapshot->stale);
    if (snapshot->stale) {
        cJSON_AddStringToObject(json, "stale_reason", fw_strerror(snapshot->stale_reason));
        cJSON_AddStringToObject(json, "stale_detail", why->stale_detail);
    }
    if (why->status)
        cJSON_AddStringToObject(json, "not_asked", fw_strerror(why->status));
    cJSON *instances = cJSON_AddArrayToObject(json, "instances");
    for (size_t i = first; i < first + count; i++)
        cJSON_AddItemToArray(instances, instance_json(why, fw_snapshot_at(snapshot, i)));
    add_store(why, json);
    struct changes changes = {why, cJSON_AddArrayToObject(json, "changes")};
    fw_watcher_each_change(why->watcher, add_change, &changes);
    cli_print_json(json);
}
