/* How many instances each service has lost lately, and whether that is to be believed: the leases
 * of those that have lost the store, and work on, end one after the other. */
#ifndef FWI_LOSSES_H
#define FWI_LOSSES_H

#include "instance_set.h"

#include "base/map.h"

/* Zero-initialised is empty. */
typedef struct fwi_losses {
    fwi_map by_service;
} fwi_losses;

/* Counts one that happened now. Without memory it counts as a single one. */
void fwi_losses_add(fwi_losses *losses, const char *service, uint64_t now_ms);
/* True if an instance that was counted shall be asked whether it is there before it goes: its
 * service has lost another within half a minute, or, of those in the list, has no other that is
 * online. Never one that is offline. */
bool fwi_losses_suspect(const fwi_losses *losses, const fwi_set_node *instances,
                        const fw_instance *lost, fw_hold_reason *ret_reason);
void fwi_losses_fini(fwi_losses *losses);

#endif
