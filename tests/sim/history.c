#include "history.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t hash, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static uint64_t key_of(const char *key)
{
    return mix(1469598103934665603u, key, strlen(key));
}

uint64_t history_pair(const char *key, fw_slice value)
{
    return mix(key_of(key), value.data, value.len);
}

/* Puts (pair 0: takes out) in a state and what it is made of. */
static void apply(fwi_map *pairs, uint64_t *state, const char *key, uint64_t pair)
{
    size_t len = strlen(key);
    uint64_t *known = fwi_map_get(pairs, key, len);
    *state += pair - (known ? *known : 0);
    if (!pair) {
        (void)fwi_map_drop(pairs, key, len);
        return;
    }
    void *room = known;
    if (!room && fwi_map_add(pairs, key, len, &room))
        abort(); /* a test without memory has nothing to say */
    *(uint64_t *)room = pair;
}

/* ---- the store's ---- */

void history_init(history *store)
{
    *store = (struct history){.pairs = {.value_bytes = sizeof(uint64_t)}};
}

void history_fini(history *store)
{
    fwi_map_fini(&store->pairs);
    free(store->entries);
}

void history_wipe(history *store)
{
    fwi_map_fini(&store->pairs);
    store->state = 0;
    store->incarnation++;
}

void history_add(history *store, const char *key, fw_slice value, int64_t revision, bool is_delete)
{
    if (store->count == store->capacity) {
        store->capacity = store->capacity ? store->capacity * 2 : 64;
        store->entries = realloc(store->entries, store->capacity * sizeof(history_entry));
        if (!store->entries)
            abort();
    }
    uint64_t pair = is_delete ? 0 : history_pair(key, value);
    apply(&store->pairs, &store->state, key, pair);
    store->entries[store->count++] = (history_entry){.incarnation = store->incarnation,
                                                     .revision = revision,
                                                     .is_delete = is_delete,
                                                     .key = key_of(key),
                                                     .pair = pair,
                                                     .state = store->state};
}

/* The first entry that comes after a revision of an incarnation. */
static size_t entry_after(const history *store, uint32_t incarnation, int64_t revision)
{
    size_t i = 0;
    while (i < store->count && (store->entries[i].incarnation < incarnation ||
                                (store->entries[i].incarnation == incarnation &&
                                 store->entries[i].revision <= revision)))
        i++;
    return i;
}

/* Was this an incarnation's state at a revision? */
static bool had(const history *store, uint32_t incarnation, int64_t revision, uint64_t state)
{
    size_t entry = entry_after(store, incarnation, revision);
    const history_entry *last = entry ? &store->entries[entry - 1] : NULL;
    return state == (last && last->incarnation == incarnation ? last->state : 0);
}

bool history_had(const history *store, uint64_t state, int64_t revision, uint32_t *incarnation)
{
    for (uint32_t i = *incarnation; i <= store->incarnation; i++)
        if (had(store, i, revision, state)) {
            *incarnation = i;
            return true;
        }
    return false;
}

/* ---- those who are told ---- */

void listener_init(listener *told)
{
    *told = (struct listener){.in_list = true, .pairs = {.value_bytes = sizeof(uint64_t)}};
}

void listener_fini(listener *told)
{
    fwi_map_fini(&told->pairs);
}

static bool hears_change(listener *told, const history *store, const fw_kv_event *event)
{
    const fw_kv_pair *pair = &event->pair;
    uint64_t hash = event->type == FW_KV_DELETE ? 0 : history_pair(pair->key, pair->value);
    apply(&told->pairs, &told->state, pair->key, hash);
    if (told->in_list)
        return true; /* it is looked at as a whole */
    if (told->next >= store->count)
        return false;
    const history_entry *entry = &store->entries[told->next++];
    return entry->incarnation == told->incarnation && entry->revision == pair->revision &&
           entry->key == key_of(pair->key) && entry->pair == hash;
}

/* A list says nothing of the incarnation it is from. It is the last that it can be: a stream breaks
 * when the store is wiped. */
static bool hears_end_of_list(listener *told, const history *store, int64_t revision)
{
    for (uint32_t i = store->incarnation + 1; i-- > told->incarnation;) {
        if (!had(store, i, revision, told->state))
            continue;
        size_t next = entry_after(store, i, revision);
        bool is_back = i == told->incarnation && next < told->next;
        told->incarnation = i;
        told->next = next;
        return !is_back;
    }
    return false;
}

bool listener_hears(listener *told, const history *store, const fw_kv_event *event)
{
    switch (event->type) {
    case FW_KV_PUT:
    case FW_KV_DELETE:
        return hears_change(told, store, event);
    case FW_KV_RESYNC:
        told->in_list = true;
        return true;
    case FW_KV_END_OF_SNAPSHOT:
        told->in_list = false;
        return hears_end_of_list(told, store, event->pair.revision);
    default:
        return true;
    }
}
