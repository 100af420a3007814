#include "losses.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW_MS 30000

struct losses {
    uint64_t since_ms;
    size_t count;
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
    if (now_ms - losses->since_ms > WINDOW_MS)
        *losses = (struct losses){.since_ms = now_ms};
    losses->count++;
}

size_t fwi_losses_count(const fwi_losses *all, const char *service)
{
    const struct losses *losses = fwi_map_get(&all->by_service, service, strlen(service));
    return losses ? losses->count : 0;
}

void fwi_losses_fini(fwi_losses *all)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&all->by_service, &position));)
        free(entry->value);
    fwi_map_fini(&all->by_service);
}
