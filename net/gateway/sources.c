#include "gateway/sources.h"

#include <arpa/inet.h>
#include <fairway/error.h>
#include <string.h>

#define MAX_KEY_BYTES 8 /* a /64; four bytes of IPv4 cannot be mistaken for it */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* The address in "tcp://1.2.3.4:5" or "wss://[::1]:5"; how many bytes, 0 if there is none. */
static size_t key_of(const char *peer_url, uint8_t ret_key[MAX_KEY_BYTES])
{
    char host[64];
    uint8_t bytes[16];
    const char *at = strstr(peer_url, "://");
    if (!at)
        return 0;
    at += 3;
    bool six = *at == '[';
    at += six;
    size_t len = strcspn(at, six ? "]%" : ":/");
    if (len >= sizeof host)
        return 0;
    memcpy(host, at, len);
    host[len] = 0;
    if (inet_pton(six ? AF_INET6 : AF_INET, host, bytes) != 1)
        return 0;
    const uint8_t *from = bytes;
    size_t size = six ? MAX_KEY_BYTES : 4;
    if (six && !memcmp(bytes, mapped, sizeof mapped)) {
        from += sizeof mapped;
        size = 4;
    }
    memcpy(ret_key, from, size);
    return size;
}

void fwi_gw_sources_init(fwi_gw_sources *sources)
{
    sources->counts = (fwi_map){.value_bytes = sizeof(uint64_t)};
}

void fwi_gw_sources_fini(fwi_gw_sources *sources)
{
    fwi_map_fini(&sources->counts);
}

int fwi_gw_sources_add(fwi_gw_sources *sources, const char *peer_url, size_t most,
                       bool *ret_counted)
{
    uint8_t key[MAX_KEY_BYTES];
    size_t len = key_of(peer_url, key);
    *ret_counted = false;
    if (!len)
        return FW_OK;
    uint64_t *count = fwi_map_get(&sources->counts, key, len);
    if (count && *count >= most)
        return FW_ELIMIT;
    if (!count) {
        void *value;
        int err = fwi_map_add(&sources->counts, key, len, &value);
        if (err)
            return err;
        count = value;
        *count = 0;
    }
    ++*count;
    *ret_counted = true;
    return FW_OK;
}

void fwi_gw_sources_remove(fwi_gw_sources *sources, const char *peer_url)
{
    uint8_t key[MAX_KEY_BYTES];
    size_t len = key_of(peer_url, key);
    uint64_t *count = len ? fwi_map_get(&sources->counts, key, len) : NULL;
    if (count && !--*count)
        fwi_map_drop(&sources->counts, key, len);
}
