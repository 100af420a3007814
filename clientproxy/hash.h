/* Hashes that are the same in every process: keys of calls, places of instances. */
#ifndef FWI_CLIENTPROXY_HASH_H
#define FWI_CLIENTPROXY_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finalizer of splitmix64 (S. Vigna): every bit of the input moves every bit of the output. */
static inline uint64_t fwi_hash_mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* FNV-1a (Fowler, Noll, Vo), mixed: alone its high bits are poor on short names. */
static inline uint64_t fwi_hash_bytes(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return fwi_hash_mix(hash);
}

#endif
