#include "driver.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

int fwi_kv_key_normalise(const char *key, bool allow_empty, char **ret_key)
{
    size_t len = strlen(key);
    char *out = malloc(len + 1);
    if (!out)
        return UV_ENOMEM;
    size_t n = 0;
    for (const char *p = key; *p; p++)
        if (*p != '/' || (n && out[n - 1] != '/'))
            out[n++] = *p;
    if (n && out[n - 1] == '/')
        n--;
    out[n] = 0;
    if (n > FW_KV_MAX_KEY_BYTES || (!n && !allow_empty)) {
        free(out);
        return FW_EKEY;
    }
    *ret_key = out;
    return FW_OK;
}

bool fwi_kv_key_below(const char *key, size_t key_len, const char *prefix, size_t prefix_len)
{
    if (!prefix_len)
        return true;
    return key_len > prefix_len && key[prefix_len] == '/' && !memcmp(key, prefix, prefix_len);
}

bool fwi_kv_is_side_key(const char *key, size_t key_len, int64_t lease)
{
    if (lease < FWI_KV_LEAST_LEASE)
        return false;
    const char *slash = memrchr(key, '/', key_len);
    if (!slash)
        return false;
    char hex[17];
    size_t hex_len = (size_t)snprintf(hex, sizeof hex, "%llx", (unsigned long long)lease);
    const char *name = slash + 1;
    size_t name_len = key_len - (size_t)(name - key);
    if (name_len < hex_len || memcmp(name, hex, hex_len))
        return false;
    static const char mark[] = "__lock__";
    size_t rest = name_len - hex_len;
    return !rest || (rest >= sizeof mark - 1 && !memcmp(name + hex_len, mark, sizeof mark - 1));
}
