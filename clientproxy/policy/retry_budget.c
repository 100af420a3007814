#include "policy/retry_budget.h"

#include <string.h>

#define RETRY 100

void fwi_retry_budget_init(fwi_retry_budget *budget, uint32_t percent, uint32_t per_second)
{
    *budget = (fwi_retry_budget){.percent = percent, .per_second = per_second};
}

/* Forgets what is older than the window. */
static int64_t *slot_of(fwi_retry_budget *budget, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    if (second > budget->second + FWI_RETRY_BUDGET_SECONDS) {
        memset(budget->slots, 0, sizeof budget->slots);
        budget->balance = 0;
        budget->second = second;
    }
    while (budget->second < second) {
        int64_t *oldest = &budget->slots[++budget->second % FWI_RETRY_BUDGET_SECONDS];
        budget->balance -= *oldest;
        *oldest = 0;
    }
    return &budget->slots[budget->second % FWI_RETRY_BUDGET_SECONDS];
}

void fwi_retry_budget_deposit(fwi_retry_budget *budget, uint64_t now_ms)
{
    *slot_of(budget, now_ms) += budget->percent;
    budget->balance += budget->percent;
}

bool fwi_retry_budget_withdraw(fwi_retry_budget *budget, uint64_t now_ms)
{
    int64_t *slot = slot_of(budget, now_ms);
    int64_t reserve = (int64_t)budget->per_second * FWI_RETRY_BUDGET_SECONDS * RETRY;
    if (budget->balance + reserve < RETRY)
        return false;
    *slot -= RETRY;
    budget->balance -= RETRY;
    return true;
}
