/*
 * Retry budget (Finagle): retries and hedges may be a share of all calls of the last ten seconds,
 * and a few more so that a quiet client may retry, too. When everything fails they stop, and do not
 * multiply the load. Pure: time is a parameter.
 */
#ifndef FWI_RETRY_BUDGET_H
#define FWI_RETRY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define FWI_RETRY_BUDGET_SECONDS 10

typedef struct fwi_retry_budget {
    uint32_t percent, per_second;
    uint64_t second;                         /* of the newest slot */
    int64_t slots[FWI_RETRY_BUDGET_SECONDS]; /* hundredths of a retry, earned less spent */
    int64_t balance;
} fwi_retry_budget;

void fwi_retry_budget_init(fwi_retry_budget *budget, uint32_t percent, uint32_t per_second);
/* A call was made. */
void fwi_retry_budget_deposit(fwi_retry_budget *budget, uint64_t now_ms);
/* Takes one retry; false: there is none left. */
bool fwi_retry_budget_withdraw(fwi_retry_budget *budget, uint64_t now_ms);

#endif
