/*
 * The leases of a handle.
 *
 *     GRANTING --granted--> HELD --renewal refused, or time has passed--> LOST
 *         |                   |                                             |
 *         +------- revoke: REVOKING (told the store) -------- OVER <--------+
 *
 * The front's lease may go before the store has answered (its timeout); what remains here then is
 * OVER, and freed when its last request is back. A grant that arrives for a lease that is OVER is
 * given back to the store.
 *
 * One timer for all: each lease has the time of its next step.
 */
#include "lmdb/handle.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

enum state { GRANTING, HELD, LOST, REVOKING, OVER };

struct held {
    fwi_list node;
    fw_kv_lease *lease; /* NULL when OVER */
    enum state state;
    int64_t id;
    uint32_t ttl_ms;
    size_t requests;     /* not yet answered */
    uint64_t sent_ms;    /* when the last confirmed grant or renewal was sent */
    uint64_t asked_ms;   /* when the renewal under way was sent, 0: none is */
    uint64_t retry_ms;   /* no renewal is sent before this: the last one failed */
    uint64_t give_up_ms; /* GRANTING, REVOKING: when the front is told that nothing came */
};

static void set_timer(fwi_lmdb_handle *handle);

/* When something has to be done for it; UINT64_MAX: nothing. */
static uint64_t next_step(const struct held *held)
{
    uint64_t renewal_ms = held->sent_ms + held->ttl_ms / 3, end_ms = held->sent_ms + held->ttl_ms;
    switch (held->state) {
    case GRANTING:
    case REVOKING:
        return held->give_up_ms;
    case HELD:
        renewal_ms = renewal_ms > held->retry_ms ? renewal_ms : held->retry_ms;
        return held->asked_ms || renewal_ms > end_ms ? end_ms : renewal_ms;
    default:
        return UINT64_MAX;
    }
}

static bool ask(fwi_lmdb_handle *handle, struct held *held, fwi_lmdb_kind kind)
{
    fwi_lmdb_request *request = fwi_lmdb_handle_request(handle, kind, held);
    if (!request)
        return false;
    request->lease = held->id;
    request->ttl_ms = held->ttl_ms;
    held->requests++;
    fwi_lmdb_env_submit(handle->env, request);
    return true;
}

static void free_if_done(struct held *held)
{
    if (held->state != OVER || held->requests)
        return;
    fwi_list_remove(&held->node);
    free(held);
}

/* Lets go of the front's lease. */
static void end(struct held *held)
{
    fw_kv_lease *lease = held->lease;
    held->state = OVER;
    held->lease = NULL;
    lease->driver_data = NULL;
    fwi_kv_lease_gone(lease);
    free_if_done(held);
}

static void lose(struct held *held, const char *detail)
{
    held->state = LOST;
    fwi_kv_lease_lost(held->lease, FW_ELEASE, detail);
}

void fwi_lmdb_lease_grant(void *store, fw_kv_lease *lease)
{
    fwi_lmdb_handle *handle = store;
    struct held *held = calloc(1, sizeof *held);
    if (!held) {
        fwi_kv_lease_granted(lease, UV_ENOMEM, NULL, 0, 0);
        return;
    }
    uint64_t now = fwi_lmdb_clock_ms();
    *held = (struct held){.lease = lease,
                          .state = GRANTING,
                          .ttl_ms = lease->ttl_ms,
                          .sent_ms = now,
                          .give_up_ms = now + fwi_kv_timeout_ms(handle->kv)};
    if (!ask(handle, held, FWI_LMDB_GRANT)) {
        free(held);
        fwi_kv_lease_granted(lease, UV_ENOMEM, NULL, 0, 0);
        return;
    }
    lease->driver_data = held;
    fwi_list_push_back(&handle->leases, &held->node);
    set_timer(handle);
}

void fwi_lmdb_lease_revoke(void *store, fw_kv_lease *lease)
{
    fwi_lmdb_handle *handle = store;
    struct held *held = lease->driver_data;
    if (!held) {
        fwi_kv_lease_gone(lease);
        return;
    }
    if (held->state == LOST || (held->state == HELD && !ask(handle, held, FWI_LMDB_REVOKE))) {
        end(held);
        return;
    }
    /* From GRANTING: it is revoked when it has been granted. */
    held->state = REVOKING;
    held->give_up_ms = fwi_lmdb_clock_ms() + fwi_kv_timeout_ms(handle->kv);
    set_timer(handle);
}

static void answer_grant(fwi_lmdb_handle *handle, struct held *held, fwi_lmdb_request *request,
                         int status)
{
    if (!status)
        held->id = request->lease;
    if (held->state == GRANTING) {
        held->state = status ? LOST : HELD;
        fwi_kv_lease_granted(held->lease, status, request->detail, held->id, held->ttl_ms);
        return;
    }
    /* Nobody wants it any more. */
    bool asked = !status && ask(handle, held, FWI_LMDB_REVOKE);
    if (held->state == REVOKING && !asked)
        end(held);
    else
        free_if_done(held);
}

static void answer_renewal(struct held *held, int status)
{
    uint64_t asked_ms = held->asked_ms;
    held->asked_ms = 0;
    if (held->state == HELD && status == FW_ELEASE)
        lose(held, "expired");
    else if (held->state == HELD && !status)
        held->sent_ms = asked_ms;
    else if (held->state == HELD)
        held->retry_ms = fwi_lmdb_clock_ms() + held->ttl_ms / 10;
    else
        free_if_done(held);
}

void fwi_lmdb_lease_answered(fwi_lmdb_handle *handle, fwi_lmdb_request *request, int status)
{
    struct held *held = request->owner;
    held->requests--;
    if (request->kind == FWI_LMDB_GRANT)
        answer_grant(handle, held, request, status);
    else if (request->kind == FWI_LMDB_RENEW)
        answer_renewal(held, status);
    else if (held->state == REVOKING)
        end(held);
    else
        free_if_done(held);
    set_timer(handle);
}

/* Does what is due for one lease. */
static void step(fwi_lmdb_handle *handle, struct held *held, uint64_t now)
{
    switch (held->state) {
    case GRANTING:
        held->state = LOST;
        fwi_kv_lease_granted(held->lease, FW_EUNREACHABLE, "the store did not answer in time", 0,
                             0);
        break;
    case REVOKING:
        end(held);
        break;
    case HELD:
        /* First the clock: after a suspension the time may have passed unseen. */
        if (now >= held->sent_ms + held->ttl_ms)
            lose(held, "not renewed in time");
        else if (ask(handle, held, FWI_LMDB_RENEW))
            held->asked_ms = now;
        else
            held->retry_ms = now + held->ttl_ms / 10;
        break;
    default:
        break;
    }
}

void fwi_lmdb_lease_on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_lmdb_handle *handle = arg;
    uint64_t now = fwi_lmdb_clock_ms();
    fwi_list_for_each_safe (node, &handle->leases) {
        struct held *held = fwi_container_of(node, struct held, node);
        if (next_step(held) <= now)
            step(handle, held, now);
    }
    set_timer(handle);
}

static void set_timer(fwi_lmdb_handle *handle)
{
    uint64_t next = UINT64_MAX, now = fwi_lmdb_clock_ms();
    fwi_list_for_each (node, &handle->leases) {
        uint64_t at = next_step(fwi_container_of(node, struct held, node));
        next = at < next ? at : next;
    }
    fwi_loop_timer_stop(handle->loop, &handle->lease_timer);
    if (next != UINT64_MAX)
        fwi_loop_timer_start(handle->loop, &handle->lease_timer, next > now ? next - now : 0);
}

void fwi_lmdb_lease_drop_all(fwi_lmdb_handle *handle)
{
    for (fwi_list *node; (node = fwi_list_pop(&handle->leases));)
        free(fwi_container_of(node, struct held, node));
}
