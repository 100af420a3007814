#include "base/map.h"

#include "base/random.h"

#include <fairway/error.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define FIRST_CAPACITY 16

static uint64_t hash_seeds[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seeds(void)
{
    hash_seeds[0] = fwi_random_u64();
    hash_seeds[1] = fwi_random_u64() | 1;
}

/* A product of 128 bits, folded. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    uint64_t low_a = a & UINT32_MAX, high_a = a >> 32, low_b = b & UINT32_MAX, high_b = b >> 32;
    uint64_t low = low_a * low_b, middle = high_a * low_b + (low >> 32);
    uint64_t other = low_a * high_b + (middle & UINT32_MAX);
    uint64_t high = high_a * high_b + (middle >> 32) + (other >> 32);
    return high ^ (other << 32 | (low & UINT32_MAX));
}

/* Eight bytes at a time, multiplied by what is random: a peer cannot aim at one chain. */
static uint32_t hash_bytes(const void *data, size_t len)
{
    pthread_once(&seed_once, make_seeds);
    const uint8_t *p = data;
    uint64_t hash = hash_seeds[0] ^ len;
    for (size_t left = len; left;) {
        uint64_t word = 0;
        size_t n = left < sizeof word ? left : sizeof word;
        memcpy(&word, p, n);
        hash = fold(hash ^ word, hash_seeds[1]);
        p += n;
        left -= n;
    }
    hash = fold(hash ^ hash_seeds[0], 0x9e3779b97f4a7c15u);
    return (uint32_t)(hash ^ hash >> 32);
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

void fwi_map_prefetch(const fwi_map *map, const void *key, size_t key_len, bool is_first)
{
    if (!map->count)
        return;
    uint32_t hash = hash_bytes(key, key_len);
    size_t mask = map->capacity - 1;
    if (is_first) {
        __builtin_prefetch(&map->entries[hash & mask], 1);
        return;
    }
    for (size_t i = hash & mask; map->entries[i].key; i = (i + 1) & mask)
        if (map->entries[i].hash == hash) {
            __builtin_prefetch(map->entries[i].key - map->value_bytes, 1);
            __builtin_prefetch(map->entries[i].key + key_len, 1);
            return;
        }
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
