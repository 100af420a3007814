/* Our keys and etcd's: the layout is in kvstore/etcd/README.md. */
#include "etcd_core.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* The path as what stands before every key: "" or "/demo". */
static int prefix_of(const fw_url *url, char **ret_prefix)
{
    char *path;
    int err = fwi_kv_key_normalise(url->path, true, &path);
    if (err)
        return err == FW_EKEY ? FW_EURL : err;
    size_t len = strlen(path);
    char *prefix = malloc(len + 2);
    if (prefix) {
        prefix[0] = len ? '/' : 0;
        memcpy(prefix + (len ? 1 : 0), path, len + 1);
    }
    free(path);
    *ret_prefix = prefix;
    return prefix ? FW_OK : UV_ENOMEM;
}

int fwi_ec_store_init(fwi_ec_store *ret_store, const fwi_ec_transport *transport, fw_kv *kv,
                      const fw_url *url)
{
    *ret_store = (fwi_ec_store){.transport = transport, .kv = kv, .loop = fw_kv_loop(kv)};
    int err = prefix_of(url, &ret_store->prefix);
    if (!err)
        ret_store->prefix_len = strlen(ret_store->prefix);
    return err;
}

void fwi_ec_store_fini(fwi_ec_store *store)
{
    free(store->prefix);
}

bool fwi_ec_keys_init(fwi_ec_keys *ret_keys, const fwi_ec_store *store, const char *key, bool tree)
{
    size_t key_len = strlen(key);
    size_t len = store->prefix_len + 1 + key_len + (tree && key_len ? 1 : 0);
    char *bytes = malloc(2 * len);
    if (!bytes)
        return false;
    memcpy(bytes, store->prefix, store->prefix_len);
    bytes[store->prefix_len] = '/';
    memcpy(bytes + store->prefix_len + 1, key, key_len);
    *ret_keys = (fwi_ec_keys){.key = {bytes, len}};
    if (tree) {
        /* All that begins with "prefix/" lies in [ "prefix/", "prefix0" ): '0' follows '/'. */
        bytes[len - 1] = '/';
        memcpy(bytes + len, bytes, len);
        bytes[2 * len - 1] = '/' + 1;
        ret_keys->end = (fw_slice){bytes + len, len};
    }
    return true;
}

void fwi_ec_keys_fini(fwi_ec_keys *keys)
{
    free((void *)keys->key.data);
    *keys = (fwi_ec_keys){.key = {NULL, 0}};
}

bool fwi_ec_key_strip(const fwi_ec_store *store, fw_slice full, fw_slice *ret_key)
{
    size_t skip = store->prefix_len + 1;
    if (full.len <= skip || full.len - skip > FW_KV_MAX_KEY_BYTES)
        return false;
    const char *key = (const char *)full.data + skip;
    size_t len = full.len - skip;
    if (key[0] == '/' || key[len - 1] == '/' || memchr(key, 0, len) || memmem(key, len, "//", 2))
        return false;
    *ret_key = (fw_slice){key, len};
    return true;
}
