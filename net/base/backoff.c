#include <fairway/backoff.h>

#include "base/random.h"

void fw_backoff_init(fw_backoff *backoff, uint32_t base_ms, uint32_t max_ms)
{
    *backoff = (fw_backoff){.base_ms = base_ms, .max_ms = max_ms};
}

uint32_t fw_backoff_next_ms(fw_backoff *backoff)
{
    uint64_t bound = (uint64_t)backoff->base_ms
                     << (backoff->attempts < 20 ? backoff->attempts : 20);
    if (bound > backoff->max_ms)
        bound = backoff->max_ms;
    backoff->attempts++;
    uint32_t least = (uint32_t)bound / 10 + 1;
    return least + fwi_random_below((uint32_t)bound + 1 - (uint32_t)bound / 10);
}

void fw_backoff_reset(fw_backoff *backoff)
{
    backoff->attempts = 0;
}
