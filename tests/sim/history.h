/*
 * What a store went through, and whether what somebody was told of it is a beginning of that:
 * every change in its order, none left out, none that never was; and after a list, what the store
 * had at the list's revision.
 *
 * States are compared by a sum of hashes of all keys with their values.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "base/map.h"

#include <fairway/kvstore.h>

typedef struct history_entry {
    uint32_t incarnation; /* of the store; grows when it is wiped */
    int64_t revision;
    bool is_delete;
    uint64_t key, pair; /* hashes of the key, and of it with its value */
    uint64_t state;     /* of the store after it */
} history_entry;

typedef struct history {
    history_entry *entries;
    size_t count, capacity;
    uint32_t incarnation;
    uint64_t state;
    fwi_map pairs; /* key -> hash of the pair, its own */
} history;

void history_init(history *store);
void history_fini(history *store);
/* Another store stands in its place, empty, and counts from the beginning. */
void history_wipe(history *store);
void history_add(history *store, const char *key, fw_slice value, int64_t revision, bool is_delete);

/* Of a state: what this pair adds. */
uint64_t history_pair(const char *key, fw_slice value);
/* Did the store, at this revision, have this state? Not before *incarnation, which becomes that of
 * the store that had. */
bool history_had(const history *store, uint64_t state, int64_t revision, uint32_t *incarnation);

/* One who is told, by a watch. */
typedef struct listener {
    bool in_list;
    uint32_t incarnation;
    size_t next;    /* entry that it has to be told next */
    uint64_t state; /* as it was told */
    fwi_map pairs;  /* as of the history */
} listener;

void listener_init(listener *told);
void listener_fini(listener *told);
/* False: this cannot be what it has to be told. */
bool listener_hears(listener *told, const history *store, const fw_kv_event *event);

#endif
