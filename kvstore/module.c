#include "module.h"

#include "base/log.h"

#include <dlfcn.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATH_BYTES 4096

static int module_path(const char *file, char *ret_path, size_t size)
{
    const char *directory = secure_getenv("FAIRWAY_MODULE_DIR");
    int n = -1;
    Dl_info info;
    if (directory) {
        n = snprintf(ret_path, size, "%s/%s", directory, file);
    } else if (dladdr((void *)fwi_module_load, &info) && info.dli_fname) {
        const char *slash = strrchr(info.dli_fname, '/');
        int length = slash ? (int)(slash - info.dli_fname) : 1;
        n = snprintf(ret_path, size, "%.*s/fairway/%s", length, slash ? info.dli_fname : ".", file);
    }
    return n > 0 && (size_t)n < size ? FW_OK : FW_EMODULE;
}

int fwi_module_load(const char *file, const char *symbol, void **ret_symbol)
{
    char path[MAX_PATH_BYTES];
    int err = module_path(file, path, sizeof path);
    if (err)
        return err;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *found = handle ? dlsym(handle, symbol) : NULL;
    if (!found) {
        fwi_log(FW_LOG_ERROR, "module", "cannot be loaded", FWI_TEXT("reason", dlerror()));
        if (handle)
            dlclose(handle);
        return FW_EMODULE;
    }
    *ret_symbol = found;
    return FW_OK;
}
