/* How many instances each service has lost lately: the leases of those that have lost the store,
 * and work on, end one after the other. */
#ifndef FWI_LOSSES_H
#define FWI_LOSSES_H

#include "base/map.h"

/* Zero-initialised is empty. */
typedef struct fwi_losses {
    fwi_map by_service;
} fwi_losses;

/* Counts one that happened now. Without memory it counts as a single one. */
void fwi_losses_add(fwi_losses *losses, const char *service, uint64_t now_ms);
/* Those of the half minute that began with the first of them. */
size_t fwi_losses_count(const fwi_losses *losses, const char *service);
void fwi_losses_fini(fwi_losses *losses);

#endif
