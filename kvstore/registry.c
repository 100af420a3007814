/*
 * Drivers by scheme. mem and lmdb are linked in; a driver with heavy dependencies is a module of
 * its own, `fairway/kv_<name>.so` beside this library, loaded when its scheme is first used and
 * kept. FAIRWAY_MODULE_DIR names another directory (ignored in set-uid programs).
 */
#include "driver.h"

#include "base/log.h"

#include <dlfcn.h>
#include <fairway/error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATH_BYTES 4096

#define MAX_ADDED      4

static const fwi_kv_driver *added[MAX_ADDED];

static const fwi_kv_driver *const builtin[] = {
    &fwi_kv_driver_mem,
#ifdef FWI_KV_LMDB
    &fwi_kv_driver_lmdb,
#endif
};

static struct module {
    const char *scheme;
    const char *file;
    const fwi_kv_driver *driver; /* once loaded */
} modules[] = {
    {.scheme = "etcd", .file = "kv_etcd.so"},
    {.scheme = "etcds", .file = "kv_etcd.so"},
    {.scheme = "etcd+http", .file = "kv_etcd_http.so"},
    {.scheme = "etcd+https", .file = "kv_etcd_http.so"},
    {.scheme = "redis", .file = "kv_redis.so"},
    {.scheme = "zk", .file = "kv_zk.so"},
};
static pthread_mutex_t modules_mutex = PTHREAD_MUTEX_INITIALIZER;

static int module_path(const char *file, char *ret_path, size_t size)
{
    const char *directory = secure_getenv("FAIRWAY_MODULE_DIR");
    int n = -1;
    Dl_info info;
    if (directory) {
        n = snprintf(ret_path, size, "%s/%s", directory, file);
    } else if (dladdr((void *)fw_kv_open, &info) && info.dli_fname) {
        const char *slash = strrchr(info.dli_fname, '/');
        int length = slash ? (int)(slash - info.dli_fname) : 1;
        n = snprintf(ret_path, size, "%.*s/fairway/%s", length, slash ? info.dli_fname : ".", file);
    }
    return n > 0 && (size_t)n < size ? FW_OK : FW_EMODULE;
}

static int load(struct module *module)
{
    char path[MAX_PATH_BYTES];
    int err = module_path(module->file, path, sizeof path);
    if (err)
        return err;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fwi_log(FW_LOG_ERROR, "kvstore", "driver module cannot be loaded",
                FWI_TEXT("reason", dlerror()));
        return FW_EMODULE;
    }
    const fwi_kv_driver *const *drivers = dlsym(handle, "fwi_kv_module_drivers");
    for (; drivers && *drivers; drivers++)
        if (!strcmp((*drivers)->scheme, module->scheme)) {
            module->driver = *drivers;
            return FW_OK;
        }
    dlclose(handle);
    return FW_EMODULE;
}

int fwi_kv_driver_add(const fwi_kv_driver *driver)
{
    for (size_t i = 0; i < MAX_ADDED; i++)
        if (!added[i] || added[i] == driver) {
            added[i] = driver;
            return FW_OK;
        }
    return FW_ELIMIT;
}

int fwi_kv_driver_find(const char *scheme, const fwi_kv_driver **ret_driver)
{
    for (size_t i = 0; i < MAX_ADDED && added[i]; i++)
        if (!strcmp(added[i]->scheme, scheme)) {
            *ret_driver = added[i];
            return FW_OK;
        }
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++)
        if (!strcmp(builtin[i]->scheme, scheme)) {
            *ret_driver = builtin[i];
            return FW_OK;
        }
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        if (strcmp(modules[i].scheme, scheme))
            continue;
        pthread_mutex_lock(&modules_mutex);
        int err = modules[i].driver ? FW_OK : load(&modules[i]);
        pthread_mutex_unlock(&modules_mutex);
        *ret_driver = modules[i].driver;
        return err;
    }
    return FW_ESCHEME;
}
