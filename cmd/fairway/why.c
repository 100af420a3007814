#include "why.h"

#include <stdlib.h>
#include <string.h>

void why_note_answer(struct why *why, int status, const char *detail)
{
    if (!status || why->status)
        return;
    why->status = status;
    snprintf(why->detail, sizeof why->detail, "%s", detail ? detail : "");
}

/* What stands behind services/NAME/ or drains/NAME/. */
static const char *id_of(const char *key)
{
    const char *slash = strchr(key, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    return slash ? slash + 1 : "";
}

void why_take_nodes(struct why *why, const fw_kv_result *result)
{
    why->unreadable = calloc(result->count + 1, sizeof *why->unreadable);
    for (size_t i = 0; why->unreadable && i < result->count; i++) {
        const fw_kv_pair *pair = &result->pairs[i];
        const fw_instance *instance;
        int err = fw_instance_decode(why->service, id_of(pair->key), pair->value, &instance);
        if (!err) {
            fw_instance_release(instance);
            continue;
        }
        char *key = strdup(pair->key);
        if (key)
            why->unreadable[why->unreadable_count++] = (struct why_unreadable){key, err};
    }
}

void why_take_drains(struct why *why, const fw_kv_result *result)
{
    why->drains = calloc(result->count + 1, sizeof *why->drains);
    for (size_t i = 0; why->drains && i < result->count; i++) {
        const fw_kv_pair *pair = &result->pairs[i];
        struct why_drain *drain = &why->drains[why->drain_count];
        drain->id = strdup(id_of(pair->key));
        drain->value = cJSON_ParseWithLength(pair->value.data, pair->value.len);
        const char *by = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(drain->value, "by"));
        double at_ms =
            cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(drain->value, "at_ms"));
        snprintf(drain->by, sizeof drain->by, "%s", by ? by : "");
        drain->at_ms = at_ms > 0 && at_ms < 1e15 ? (int64_t)at_ms : 0;
        why->drain_count += drain->id != NULL;
    }
}

const struct why_drain *why_find_drain(const struct why *why, const char *id)
{
    for (size_t i = 0; i < why->drain_count; i++)
        if (!strcmp(why->drains[i].id, id))
            return &why->drains[i];
    return NULL;
}

/* Looks for an instance among those that are held. */
struct search {
    const fw_instance *instance;
    fw_watcher_held *ret_held;
    bool found;
};

static void on_held(const fw_watcher_held *held, void *arg)
{
    struct search *search = arg;
    if (strcmp(held->instance->service, search->instance->service) != 0 ||
        strcmp(held->instance->id, search->instance->id) != 0)
        return;
    search->found = true;
    *search->ret_held = *held;
}

bool why_find_held(const struct why *why, const fw_instance *instance, fw_watcher_held *ret_held)
{
    struct search search = {.instance = instance, .ret_held = ret_held};
    if (why->snapshot->held)
        fw_watcher_each_held(why->watcher, on_held, &search);
    return search.found;
}

void why_fini(struct why *why)
{
    for (size_t i = 0; i < why->unreadable_count; i++)
        free(why->unreadable[i].key);
    for (size_t i = 0; i < why->drain_count; i++) {
        free(why->drains[i].id);
        cJSON_Delete(why->drains[i].value);
    }
    for (size_t i = 0; i < why->consumer_count; i++)
        cJSON_Delete(why->consumers[i].ejected);
    free(why->unreadable);
    free(why->drains);
    free(why->consumers);
}
