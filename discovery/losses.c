#include "losses.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW_MS 30000

struct losses {
    uint64_t last_ms;
    size_t count; /* none more than WINDOW_MS after the one before it */
};

void fwi_losses_add(fwi_losses *all, const char *service, uint64_t now_ms)
{
    size_t len = strlen(service);
    struct losses *losses = fwi_map_get(&all->by_service, service, len);
    if (!losses) {
        losses = calloc(1, sizeof *losses);
        if (!losses || fwi_map_put(&all->by_service, service, len, losses, NULL)) {
            free(losses);
            return;
        }
    }
    if (now_ms - losses->last_ms > WINDOW_MS)
        losses->count = 0;
    losses->last_ms = now_ms;
    losses->count++;
}

/* True if the service has no other one that may be used. */
static bool is_last(const fwi_set_node *instances, const fw_instance *lost)
{
    const fw_instance *other;
    for (size_t i = fwi_set_rank(instances, lost->service, "");
         (other = fwi_set_at(instances, i)) && !strcmp(other->service, lost->service); i++)
        if (other->state == FW_INSTANCE_ONLINE && strcmp(other->id, lost->id) != 0)
            return false;
    return true;
}

bool fwi_losses_suspect(const fwi_losses *all, const fwi_set_node *instances,
                        const fw_instance *lost, fw_hold_reason *ret_reason)
{
    const struct losses *losses =
        fwi_map_get(&all->by_service, lost->service, strlen(lost->service));
    bool is_many = losses && losses->count > 1;
    if (lost->state == FW_INSTANCE_OFFLINE)
        return false;
    *ret_reason = is_many ? FW_HOLD_MANY : FW_HOLD_LAST;
    return is_many || is_last(instances, lost);
}

void fwi_losses_fini(fwi_losses *all)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&all->by_service, &position));)
        free(entry->value);
    fwi_map_fini(&all->by_service);
}
