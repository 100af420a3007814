/* A watcher's list at one moment, counted. */
#ifndef FWI_SNAPSHOT_H
#define FWI_SNAPSHOT_H

#include "instance_set.h"

/* Makes a snapshot with one reference, of what `about` says (but for its count) and a version of
 * the list. UV_ENOMEM. */
FW_MUST_CHECK int fwi_snapshot_new(const fw_snapshot *about, fwi_set_node *instances,
                                   const fw_snapshot **ret_snapshot);
const fw_snapshot *fwi_snapshot_acquire(const fw_snapshot *snapshot);

#endif
