/* Our keys and etcd's: the layout is that of the driver over gRPC (see kvstore/etcd/README.md). */
#include "etcd_http.h"

#include <stdlib.h>
#include <string.h>

bool fwi_eh_keys_init(fwi_eh_keys *ret_keys, const fwi_eh_client *client, const char *key,
                      bool tree)
{
    size_t key_len = strlen(key);
    size_t len = client->prefix_len + 1 + key_len + (tree && key_len ? 1 : 0);
    char *bytes = malloc(2 * len);
    if (!bytes)
        return false;
    memcpy(bytes, client->prefix, client->prefix_len);
    bytes[client->prefix_len] = '/';
    memcpy(bytes + client->prefix_len + 1, key, key_len);
    *ret_keys = (fwi_eh_keys){.key = {bytes, len}};
    if (tree) {
        /* All that begins with "prefix/" lies in [ "prefix/", "prefix0" ): '0' follows '/'. */
        bytes[len - 1] = '/';
        memcpy(bytes + len, bytes, len);
        bytes[2 * len - 1] = '/' + 1;
        ret_keys->end = (fw_slice){bytes + len, len};
    }
    return true;
}

void fwi_eh_keys_fini(fwi_eh_keys *keys)
{
    free((void *)keys->key.data);
    *keys = (fwi_eh_keys){.key = {NULL, 0}};
}

bool fwi_eh_key_strip(const fwi_eh_client *client, fw_slice full, fw_slice *ret_key)
{
    size_t skip = client->prefix_len + 1;
    if (full.len <= skip || full.len - skip > FW_KV_MAX_KEY_BYTES)
        return false;
    const char *key = (const char *)full.data + skip;
    size_t len = full.len - skip;
    if (key[0] == '/' || key[len - 1] == '/' || memchr(key, 0, len) || memmem(key, len, "//", 2))
        return false;
    *ret_key = (fw_slice){key, len};
    return true;
}
