/*
 * Drivers by scheme. mem and lmdb are linked in; a driver with heavy dependencies is a module of
 * its own, `kv_<name>.so`, loaded when its scheme is first used: see module.h.
 */
#include "driver.h"
#include "module.h"

#include <fairway/error.h>
#include <pthread.h>
#include <string.h>

#define MAX_ADDED 4

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

static int load(struct module *module)
{
    void *symbol;
    int err = fwi_module_load(module->file, "fwi_kv_module_drivers", &symbol);
    if (err)
        return err;
    for (const fwi_kv_driver *const *drivers = symbol; *drivers; drivers++)
        if (!strcmp((*drivers)->scheme, module->scheme)) {
            module->driver = *drivers;
            return FW_OK;
        }
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
