/*
 * From 32-bit ids that others choose to objects: open addressing, the id itself is the hash (ids
 * come from counters or are assigned by hand), linear probing, backward-shift deletion. Any id is a
 * legal key, 0 too.
 */
#ifndef FWI_GATEWAY_ID_MAP_H
#define FWI_GATEWAY_ID_MAP_H

#include <fairway/base.h>

typedef struct fwi_id_map_entry {
    uint32_t id;
    void *object; /* NULL: free */
} fwi_id_map_entry;

typedef struct fwi_id_map {
    fwi_id_map_entry *entries;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t count;
    uint32_t shift; /* 32 - log2(capacity) */
} fwi_id_map;

static inline uint32_t fwi_id_map_home(const fwi_id_map *map, uint32_t id)
{
    return id * UINT32_C(2654435769) >> map->shift;
}

/* Zero-initialised is an empty map. */
FWI_API void fwi_id_map_fini(fwi_id_map *map);
/* Adds or replaces. UV_ENOMEM, only when it adds. */
FWI_API FW_MUST_CHECK int fwi_id_map_put(fwi_id_map *map, uint32_t id, void *object);
/* Takes the object out and returns it, or NULL. */
FWI_API void *fwi_id_map_remove(fwi_id_map *map, uint32_t id);

static inline void *fwi_id_map_get(const fwi_id_map *map, uint32_t id)
{
    if (!map->count)
        return NULL;
    for (uint32_t at = fwi_id_map_home(map, id);; at = (at + 1) & (map->capacity - 1)) {
        const fwi_id_map_entry *entry = &map->entries[at];
        if (!entry->object || entry->id == id)
            return entry->object;
    }
}

#endif
