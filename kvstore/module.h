/*
 * Modules: parts with heavy dependencies, `fairway/<name>.so` beside this library, loaded when they
 * are first used and kept. FAIRWAY_MODULE_DIR names another directory (ignored in set-uid
 * programs).
 */
#ifndef FWI_MODULE_H
#define FWI_MODULE_H

#include <fairway/base.h>

/* Loads a module's file ("kv_etcd.so") and finds what it exports under a name. Loading it again is
 * cheap. FW_EMODULE; the log says why. Any thread. */
FWI_API FW_MUST_CHECK int fwi_module_load(const char *file, const char *symbol, void **ret_symbol);

#endif
