#include "snapshot.h"

#include "base/list.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

struct counted_snapshot {
    atomic_uint references;
    fw_snapshot snapshot;
    fwi_set_node *instances;
};

static struct counted_snapshot *counted(const fw_snapshot *snapshot)
{
    return fwi_container_of(snapshot, struct counted_snapshot, snapshot);
}

int fwi_snapshot_new(const fw_snapshot *about, fwi_set_node *instances,
                     const fw_snapshot **ret_snapshot)
{
    struct counted_snapshot *made = malloc(sizeof *made);
    if (!made)
        return UV_ENOMEM;
    atomic_init(&made->references, 1);
    made->snapshot = *about;
    made->snapshot.count = fwi_set_count(instances);
    made->instances = fwi_set_acquire(instances);
    *ret_snapshot = &made->snapshot;
    return FW_OK;
}

const fw_snapshot *fwi_snapshot_acquire(const fw_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&counted(snapshot)->references, 1, memory_order_relaxed);
    return snapshot;
}

void fw_snapshot_release(const fw_snapshot *snapshot)
{
    if (!snapshot)
        return;
    struct counted_snapshot *held = counted(snapshot);
    if (atomic_fetch_sub_explicit(&held->references, 1, memory_order_acq_rel) != 1)
        return;
    fwi_set_release(held->instances);
    free(held);
}

const fw_instance *fw_snapshot_at(const fw_snapshot *snapshot, size_t index)
{
    return fwi_set_at(counted(snapshot)->instances, index);
}

const fw_instance *fw_snapshot_find(const fw_snapshot *snapshot, const char *service,
                                    const char *id)
{
    return fwi_set_find(counted(snapshot)->instances, service, id);
}

size_t fw_snapshot_service(const fw_snapshot *snapshot, const char *service, size_t *ret_first)
{
    static const char last[] = "\x7f"; /* stands behind every id: none has such a character */
    const fwi_set_node *instances = counted(snapshot)->instances;
    size_t first = fwi_set_rank(instances, service, "");
    if (ret_first)
        *ret_first = first;
    return fwi_set_rank(instances, service, last) - first;
}
