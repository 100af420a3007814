#include "gateway/id_map.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define FIRST_CAPACITY 8
#define FIRST_SHIFT    29

void fwi_id_map_fini(fwi_id_map *map)
{
    free(map->entries);
    *map = (fwi_id_map){.count = 0};
}

/* The entry of the id, or the free one where it belongs. */
static fwi_id_map_entry *place_of(const fwi_id_map *map, uint32_t id)
{
    uint32_t at = fwi_id_map_home(map, id);
    while (map->entries[at].object && map->entries[at].id != id)
        at = (at + 1) & (map->capacity - 1);
    return &map->entries[at];
}

static int grow(fwi_id_map *map)
{
    if (map->capacity > UINT32_MAX / 2)
        return FW_ELIMIT;
    fwi_id_map bigger = {.capacity = map->capacity ? map->capacity * 2 : FIRST_CAPACITY,
                         .count = map->count,
                         .shift = map->capacity ? map->shift - 1 : FIRST_SHIFT};
    bigger.entries = calloc(bigger.capacity, sizeof *bigger.entries);
    if (!bigger.entries)
        return UV_ENOMEM;
    for (uint32_t i = 0; i < map->capacity; i++)
        if (map->entries[i].object)
            *place_of(&bigger, map->entries[i].id) = map->entries[i];
    free(map->entries);
    *map = bigger;
    return FW_OK;
}

int fwi_id_map_put(fwi_id_map *map, uint32_t id, void *object)
{
    /* Half full at most: one entry at least is free, so a search ends. Replacing cannot fail. */
    if (map->count >= map->capacity / 2 && !fwi_id_map_get(map, id)) {
        int err = grow(map);
        if (err)
            return err;
    }
    fwi_id_map_entry *entry = place_of(map, id);
    map->count += !entry->object;
    *entry = (fwi_id_map_entry){.id = id, .object = object};
    return FW_OK;
}

void *fwi_id_map_remove(fwi_id_map *map, uint32_t id)
{
    if (!map->count)
        return NULL;
    fwi_id_map_entry *hole = place_of(map, id);
    void *object = hole->object;
    if (!object)
        return NULL;
    map->count--;
    uint32_t mask = map->capacity - 1, at = (uint32_t)(hole - map->entries);
    for (uint32_t next = (at + 1) & mask; map->entries[next].object; next = (next + 1) & mask) {
        /* An entry may fill the hole unless its home lies between the two. */
        uint32_t home = fwi_id_map_home(map, map->entries[next].id);
        if (((next - home) & mask) >= ((next - at) & mask)) {
            map->entries[at] = map->entries[next];
            at = next;
        }
    }
    map->entries[at].object = NULL;
    return object;
}
