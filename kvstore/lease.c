/* The front of leases: exactly one answer to a grant, at most one loss after it, one on_closed. */
#include "kv.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LEAST_TTL_MS 1000

/* Outcomes are reported in a later turn, so that a driver may call from inside lease_grant. */
static void on_report(fwi_task *task, void *arg)
{
    (void)task;
    fw_kv_lease *lease = arg;
    if (lease->closing)
        return;
    const char *detail = lease->detail ? lease->detail : "";
    if (!lease->answered) {
        lease->answered = true;
        lease->options.on_granted(lease, lease->id ? FW_OK : lease->status, detail,
                                  lease->options.arg);
    }
    if (lease->lost && !lease->closing && lease->options.on_lost)
        lease->options.on_lost(lease, lease->status, detail, lease->options.arg);
}

static void set_outcome(fw_kv_lease *lease, int status, const char *detail)
{
    lease->status = status;
    free(lease->detail);
    lease->detail = detail && *detail ? strdup(detail) : NULL;
    fwi_loop_defer(lease->kv->loop, &lease->report);
}

void fwi_kv_lease_granted(fw_kv_lease *lease, int status, const char *detail, int64_t id,
                          uint32_t ttl_ms)
{
    assert(!lease->answered && !lease->id);
    if (!status) {
        lease->id = id;
        lease->ttl_ms = ttl_ms;
    }
    set_outcome(lease, status, detail);
}

void fwi_kv_lease_lost(fw_kv_lease *lease, int reason, const char *detail)
{
    if (lease->lost)
        return;
    lease->lost = true;
    set_outcome(lease, reason, detail);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fw_kv_lease *lease = arg;
    fw_kv *kv = lease->kv;
    fwi_loop_defer_cancel(kv->loop, &lease->report);
    fwi_list_remove(&lease->all);
    if (lease->on_closed)
        lease->on_closed(lease->closed_arg);
    free(lease->detail);
    free(lease);
    fwi_kv_continue_close(kv);
}

void fwi_kv_lease_gone(fw_kv_lease *lease)
{
    assert(lease->closing);
    lease->gone = (fwi_task){.fn = on_gone, .arg = lease};
    fwi_loop_defer(lease->kv->loop, &lease->gone);
}

int fw_kv_lease_new(fw_kv *kv, const fw_kv_lease_options *options, fw_kv_lease **ret_lease)
{
    assert(fwi_loop_is_current(kv->loop));
    if (kv->closing)
        return FW_ECLOSED;
    if (options->ttl_ms < LEAST_TTL_MS || !options->on_granted)
        return FW_EOPTION;
    fw_kv_lease *lease = calloc(1, sizeof *lease);
    if (!lease)
        return UV_ENOMEM;
    lease->kv = kv;
    lease->options = *options;
    lease->ttl_ms = options->ttl_ms;
    lease->report = (fwi_task){.fn = on_report, .arg = lease};
    fwi_list_init(&lease->node);
    fwi_list_push_back(&kv->leases, &lease->all);
    kv->driver->lease_grant(kv->store, lease);
    *ret_lease = lease;
    return FW_OK;
}

int64_t fw_kv_lease_id(const fw_kv_lease *lease)
{
    return lease->answered ? lease->id : 0;
}

uint32_t fw_kv_lease_ttl_ms(const fw_kv_lease *lease)
{
    return lease->ttl_ms;
}

void fw_kv_lease_close(fw_kv_lease *lease, fw_kv_closed_fn on_closed, void *arg)
{
    if (lease->closing)
        return;
    lease->closing = true;
    lease->on_closed = on_closed;
    lease->closed_arg = arg;
    lease->kv->driver->lease_revoke(lease->kv->store, lease);
}
