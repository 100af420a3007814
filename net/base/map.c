#include "base/map.h"

#include "base/random.h"

#include <fairway/error.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define FIRST_CAPACITY 16

static uint64_t hash_seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    hash_seed = fwi_random_u64();
}

/* FNV-1a over a random start with a final mix (splitmix64's): a peer cannot aim at one chain. */
static uint32_t hash_bytes(const void *data, size_t len)
{
    pthread_once(&seed_once, make_seed);
    const uint8_t *p = data;
    uint64_t h = hash_seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(h ^ (h >> 31));
}

/* A key stands behind its value, if that is the map's own. */
static void free_key(const fwi_map *map, uint8_t *key)
{
    free(key ? key - map->value_bytes : NULL);
}

void fwi_map_fini(fwi_map *map)
{
    for (size_t i = 0; i < map->capacity; i++)
        free_key(map, map->entries[i].key);
    free(map->entries);
    *map = (fwi_map){.value_bytes = map->value_bytes};
}

/* The entry of the key, or the free one where it would go. The map is not full. */
static fwi_map_entry *locate(const fwi_map *map, uint32_t hash, const void *key, size_t key_len)
{
    size_t mask = map->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        fwi_map_entry *entry = &map->entries[i];
        if (!entry->key ||
            (entry->hash == hash && entry->key_len == key_len && !memcmp(entry->key, key, key_len)))
            return entry;
    }
}

static int grow(fwi_map *map)
{
    fwi_map bigger = {.capacity = map->capacity ? map->capacity * 2 : FIRST_CAPACITY};
    bigger.entries = calloc(bigger.capacity, sizeof *bigger.entries);
    if (!bigger.entries)
        return UV_ENOMEM;
    for (size_t i = 0; i < map->capacity; i++) {
        const fwi_map_entry *entry = &map->entries[i];
        if (entry->key)
            *locate(&bigger, entry->hash, entry->key, entry->key_len) = *entry;
    }
    free(map->entries);
    map->entries = bigger.entries;
    map->capacity = bigger.capacity;
    return FW_OK;
}

/* The key's entry, which is added, with value NULL, if it is not there. */
static int ensure(fwi_map *map, const void *key, size_t key_len, fwi_map_entry **ret_entry)
{
    if (key_len > UINT32_MAX)
        return UV_E2BIG;
    if ((map->count + 1) * 5 > map->capacity * 4) {
        int err = grow(map);
        if (err)
            return err;
    }
    uint32_t hash = hash_bytes(key, key_len);
    fwi_map_entry *entry = locate(map, hash, key, key_len);
    *ret_entry = entry;
    if (entry->key)
        return FW_OK;
    size_t size = map->value_bytes + key_len;
    uint8_t *block = malloc(size ? size : 1);
    if (!block)
        return UV_ENOMEM;
    uint8_t *copy = block + map->value_bytes;
    if (key_len)
        memcpy(copy, key, key_len);
    *entry = (fwi_map_entry){.hash = hash, .key_len = (uint32_t)key_len, .key = copy};
    map->count++;
    return FW_OK;
}

int fwi_map_put(fwi_map *map, const void *key, size_t key_len, void *value, void **ret_old)
{
    fwi_map_entry *entry;
    int err = ensure(map, key, key_len, &entry);
    if (err)
        return err;
    if (ret_old)
        *ret_old = entry->value;
    entry->value = value;
    return FW_OK;
}

int fwi_map_add(fwi_map *map, const void *key, size_t key_len, void **ret_value)
{
    fwi_map_entry *entry;
    int err = ensure(map, key, key_len, &entry);
    if (err)
        return err;
    entry->value = entry->key - map->value_bytes;
    *ret_value = entry->value;
    return FW_OK;
}

/* Takes an entry out. */
static void take_out(fwi_map *map, fwi_map_entry *entry)
{
    free_key(map, entry->key);
    map->count--;
    /* Close the gap: move back every follower that the gap cut off from its home. */
    size_t mask = map->capacity - 1, gap = (size_t)(entry - map->entries);
    for (size_t i = (gap + 1) & mask; map->entries[i].key; i = (i + 1) & mask) {
        size_t home = map->entries[i].hash & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            map->entries[gap] = map->entries[i];
            gap = i;
        }
    }
    map->entries[gap] = (fwi_map_entry){.key = NULL};
}

/* The key's entry, or NULL. */
static fwi_map_entry *find(const fwi_map *map, const void *key, size_t key_len)
{
    if (!map->count)
        return NULL;
    fwi_map_entry *entry = locate(map, hash_bytes(key, key_len), key, key_len);
    return entry->key ? entry : NULL;
}

void *fwi_map_get(const fwi_map *map, const void *key, size_t key_len)
{
    const fwi_map_entry *entry = find(map, key, key_len);
    return entry ? entry->value : NULL;
}

void *fwi_map_remove(fwi_map *map, const void *key, size_t key_len)
{
    fwi_map_entry *entry = find(map, key, key_len);
    void *value = entry ? entry->value : NULL;
    if (entry)
        take_out(map, entry);
    return value;
}

bool fwi_map_drop(fwi_map *map, const void *key, size_t key_len)
{
    fwi_map_entry *entry = find(map, key, key_len);
    if (entry)
        take_out(map, entry);
    return entry != NULL;
}

fwi_map_entry *fwi_map_next(const fwi_map *map, size_t *position)
{
    while (*position < map->capacity) {
        fwi_map_entry *entry = &map->entries[(*position)++];
        if (entry->key)
            return entry;
    }
    return NULL;
}
