#include "etcd.h"

#include <stdlib.h>
#include <string.h>

bool fwi_etcd_keys_init(fwi_etcd_keys *ret_keys, const fwi_etcd_client *client, const char *key,
                        bool tree)
{
    size_t key_len = strlen(key);
    size_t len = client->prefix_len + 1 + key_len + (tree && key_len ? 1 : 0);
    uint8_t *bytes = malloc(2 * len);
    if (!bytes)
        return false;
    memcpy(bytes, client->prefix, client->prefix_len);
    bytes[client->prefix_len] = '/';
    memcpy(bytes + client->prefix_len + 1, key, key_len);
    *ret_keys = (fwi_etcd_keys){.key = {len, bytes}};
    if (tree) {
        /* All that begins with "prefix/" lies in [ "prefix/", "prefix0" ): '0' follows '/'. */
        bytes[len - 1] = '/';
        memcpy(bytes + len, bytes, len);
        bytes[2 * len - 1] = '/' + 1;
        ret_keys->end = (ProtobufCBinaryData){len, bytes + len};
    }
    return true;
}

void fwi_etcd_keys_fini(fwi_etcd_keys *keys)
{
    free(keys->key.data);
    *keys = (fwi_etcd_keys){.key = {0, NULL}};
}

bool fwi_etcd_key_strip(const fwi_etcd_client *client, fw_slice full, fw_slice *ret_key)
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
