#include "changes.h"

#include "faults.h"

#include <uv.h>

int64_t fwi_unix_ms(void)
{
    uv_timeval64_t now;
    return uv_gettimeofday(&now) ? 0 : now.tv_sec * 1000 + now.tv_usec / 1000 + FWI_SKEW_MS;
}

void fwi_changes_add(fwi_changes *changes, const fw_watcher_event *event, uint64_t now_ms)
{
    fw_watcher_change *change = &changes->ring[changes->count++ % FW_WATCHER_CHANGES];
    fw_instance_release(change->instance);
    *change = (fw_watcher_change){.type = event->type,
                                  .instance =
                                      event->instance ? fw_instance_acquire(event->instance) : NULL,
                                  .revision = event->revision,
                                  .reason = event->reason,
                                  .at_ms = now_ms,
                                  .unix_ms = fwi_unix_ms()};
}

void fwi_changes_each(const fwi_changes *changes, fw_watcher_change_fn fn, void *arg)
{
    size_t first = changes->count > FW_WATCHER_CHANGES ? changes->count - FW_WATCHER_CHANGES : 0;
    for (size_t i = first; i < changes->count; i++)
        fn(&changes->ring[i % FW_WATCHER_CHANGES], arg);
}

void fwi_changes_fini(fwi_changes *changes)
{
    for (size_t i = 0; i < FW_WATCHER_CHANGES; i++)
        fw_instance_release(changes->ring[i].instance);
}
