#include "driver.h"

#include <fairway/error.h>
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

int fwi_kv_check_params(const fw_url *url, const char *const *names)
{
    for (size_t i = 0; i < url->param_count; i++) {
        const char *const *name = names;
        while (*name && strcmp(*name, url->params[i].name))
            name++;
        if (!*name)
            return FW_EOPTION;
    }
    return FW_OK;
}
