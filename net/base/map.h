/*
 * Hash map from byte strings to pointers: open addressing with linear probing and backward-shift
 * deletion. Keys are copied. Iterate with fwi_map_next; do not add or remove while iterating.
 *
 * Values may also be the map's own: all of one size, each in one piece of memory with its key. Such
 * a map is filled with fwi_map_add alone.
 */
#ifndef FWI_MAP_H
#define FWI_MAP_H

#include <fairway/base.h>

typedef struct fwi_map_entry {
    uint32_t hash;
    uint32_t key_len;
    uint8_t *key; /* NULL: free */
    void *value;
} fwi_map_entry;

typedef struct fwi_map {
    fwi_map_entry *entries;
    size_t capacity; /* a power of two */
    size_t count;
    size_t value_bytes; /* of values that are the map's own, a multiple of 8; 0: pointers */
} fwi_map;

/* Zero-initialised, but for value_bytes, is an empty map. */
FWI_API void fwi_map_fini(fwi_map *map);
FWI_API void *fwi_map_get(const fwi_map *map, const void *key, size_t key_len);
/* Has what a look for this key touches fetched into the cache: first its entry, and when that has
 * come, its key and its value. Nothing is waited for. */
FWI_API void fwi_map_prefetch(const fwi_map *map, const void *key, size_t key_len, bool is_first);
/* Adds or replaces; *ret_old (optional) is the value before, or NULL. UV_ENOMEM; UV_E2BIG: the key
 * has 4 GiB or more. */
FWI_API FW_MUST_CHECK int fwi_map_put(fwi_map *map, const void *key, size_t key_len, void *value,
                                      void **ret_old);
/* Adds a key that is not there. *ret_value is its value, not initialised, which stays where it is
 * until fwi_map_drop. Errors as of fwi_map_put. */
FWI_API FW_MUST_CHECK int fwi_map_add(fwi_map *map, const void *key, size_t key_len,
                                      void **ret_value);
/* Takes out a key whose value is the map's own, and frees both. False: there is none. */
FWI_API bool fwi_map_drop(fwi_map *map, const void *key, size_t key_len);
/* Takes out and returns the value, or NULL. */
FWI_API void *fwi_map_remove(fwi_map *map, const void *key, size_t key_len);
/* The entry after *position (start with 0), or NULL at the end. */
FWI_API fwi_map_entry *fwi_map_next(const fwi_map *map, size_t *position);

#endif
