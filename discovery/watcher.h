/* The watcher's inner side. */
#ifndef FWI_WATCHER_H
#define FWI_WATCHER_H

#include "probe.h"

/* fw_watcher_new with another way to probe. */
FWI_API FW_MUST_CHECK int fwi_watcher_new(fw_kv *kv, const char *service,
                                          const fw_watcher_options *options,
                                          const fwi_prober *prober, fw_watcher **ret_watcher);

#endif
