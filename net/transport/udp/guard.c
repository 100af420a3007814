#include "transport/udp/guard.h"

#include <errno.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

#define BURST_S 2

void fwi_udp_guard_init(fwi_udp_guard *guard, uint32_t rate)
{
    *guard = (fwi_udp_guard){.rate = rate, .key = fwi_random_u64()};
}

void fwi_udp_guard_fini(fwi_udp_guard *guard)
{
    free(guard->buckets);
    guard->buckets = NULL;
}

static size_t bucket_of(const fwi_udp_guard *guard, const fwi_udp_address *from)
{
    uint8_t key[FWI_UDP_KEY_BYTES];
    uint64_t halves[2];
    fwi_udp_address_key(from, key);
    memcpy(halves, key, sizeof halves); /* without the port */
    uint64_t hash = guard->key;
    for (int i = 0; i < 2; i++) {
        hash = (hash ^ halves[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return (hash * (guard->key | 1)) >> 54;
}

bool fwi_udp_guard_admit(fwi_udp_guard *guard, const fwi_udp_address *from, uint64_t now_ms)
{
    if (!guard->rate)
        return true;
    if (!guard->buckets)
        guard->buckets = calloc(FWI_UDP_GUARD_BUCKETS, sizeof *guard->buckets);
    if (!guard->buckets)
        return false;
    /* One session costs 1000, and a millisecond gives `rate` back. */
    fwi_udp_bucket *bucket = &guard->buckets[bucket_of(guard, from)];
    uint64_t passed = (uint64_t)((uint32_t)now_ms - bucket->at_ms) * guard->rate;
    uint64_t used = bucket->used > passed ? bucket->used - passed : 0;
    if (used + 1000 > (uint64_t)guard->rate * 1000 * BURST_S)
        return false;
    bucket->used = (uint32_t)used + 1000;
    bucket->at_ms = (uint32_t)now_ms;
    return true;
}

int fwi_udp_param(const fw_url *url, const char *name, uint32_t least, uint32_t most,
                  uint32_t standing, uint32_t *ret_value)
{
    const char *text = fw_url_get(url, name);
    *ret_value = standing;
    if (!text)
        return FW_OK;
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < least || value > most)
        return FW_EOPTION;
    *ret_value = (uint32_t)value;
    return FW_OK;
}
