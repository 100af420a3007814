/* A watcher's last events. */
#ifndef FWI_CHANGES_H
#define FWI_CHANGES_H

#include <fairway/discovery.h>

/* Zero-initialised is empty. */
typedef struct fwi_changes {
    fw_watcher_change ring[FW_WATCHER_CHANGES];
    size_t count; /* ever */
} fwi_changes;

/* Adds an event that is told now; its instance is acquired. */
void fwi_changes_add(fwi_changes *changes, const fw_watcher_event *event, uint64_t now_ms);
void fwi_changes_each(const fwi_changes *changes, fw_watcher_change_fn fn, void *arg);
void fwi_changes_fini(fwi_changes *changes);

/* Unix time; 0: unknown. */
int64_t fwi_unix_ms(void);

#endif
