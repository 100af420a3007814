/*
 * Leases: their time. How they are renewed is the driver's (fwi_ec_renewer).
 *
 *     GRANTING -> HELD -> LOST          revoke: (after the grant) REVOKING -> gone
 *
 * The clock of a held lease starts when the last renewal that the store confirmed was sent, not
 * when its answer came. Lost is a lease when etcd says so, or when its time has passed on our own
 * clock (which runs on while the process is stopped); that is the first thing to be looked at
 * whenever the timer fires.
 */
#include "etcd_core.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static const char *const malformed = "malformed reply";

static const fwi_ec_renewer *renewer_of(const fwi_ec_lease *lease)
{
    return &lease->store->transport->renewer;
}

static uint32_t ms_of(int64_t ttl_s)
{
    return ttl_s > UINT32_MAX / 1000 ? UINT32_MAX : (uint32_t)ttl_s * 1000;
}

static void drop_request(fwi_ec_lease *lease)
{
    if (lease->request)
        lease->store->transport->drop(lease->request);
    lease->request = NULL;
}

static int ask(fwi_ec_lease *lease, fwi_ec_question question, uint64_t deadline_ms,
               fwi_ec_answer_fn fn)
{
    question.deadline_ms = deadline_ms;
    question.repeatable = true;
    question.urgent = true;
    question.fn = fn;
    question.arg = lease;
    int err = lease->store->transport->ask(lease->store, &question, &lease->request);
    if (err)
        lease->request = NULL;
    return err;
}

/* ---- the end ---- */

static void gone(fwi_ec_lease *lease)
{
    fw_kv_lease *front = lease->front;
    fwi_loop_timer_stop(lease->store->loop, &lease->timer);
    free(lease);
    front->driver_data = NULL;
    fwi_kv_lease_gone(front);
}

static void on_revoked(const fwi_ec_answer *answer, void *arg)
{
    (void)answer; /* gone already, or it will run out */
    fwi_ec_lease *lease = arg;
    lease->request = NULL;
    gone(lease);
}

static void begin_revoke(fwi_ec_lease *lease)
{
    fwi_ec_question question = {.method = FWI_EC_REVOKE, .lease = lease->id};
    lease->state = FWI_EC_REVOKING;
    if (ask(lease, question, lease->revoke_deadline_ms, on_revoked))
        gone(lease);
}

/* It is held no longer. */
static void stop_renewing(fwi_ec_lease *lease)
{
    fwi_loop_timer_stop(lease->store->loop, &lease->timer);
    if (lease->state == FWI_EC_HELD && renewer_of(lease)->end)
        renewer_of(lease)->end(lease);
    drop_request(lease);
}

static void lose(fwi_ec_lease *lease, const char *detail)
{
    stop_renewing(lease);
    lease->state = FWI_EC_LOST;
    fwi_kv_lease_lost(lease->front, FW_ELEASE, detail);
}

/* ---- renewals ---- */

/* True if the lease's time has passed on our clock; it is lost then. */
static bool is_over(fwi_ec_lease *lease)
{
    const fwi_ec_renewer *renewer = renewer_of(lease);
    if (fw_loop_now_ms(lease->store->loop) - lease->confirmed_ms < lease->ttl_ms)
        return false;
    const char *failure = lease->failure;
    if (!*failure && renewer->trouble)
        failure = renewer->trouble(lease);
    char detail[FWI_EC_DETAIL_BYTES + 64];
    (void)snprintf(detail, sizeof detail, "not renewed within %u ms%s%s", (unsigned)lease->ttl_ms,
                   *failure ? ": " : "", failure);
    lose(lease, detail);
    return true;
}

void fwi_ec_lease_set_timer(fwi_ec_lease *lease, uint64_t at_ms)
{
    uint64_t now = fw_loop_now_ms(lease->store->loop);
    uint64_t end = lease->confirmed_ms + lease->ttl_ms;
    if (at_ms > end)
        at_ms = end;
    fwi_loop_timer_start(lease->store->loop, &lease->timer, at_ms > now ? at_ms - now : 0);
}

void fwi_ec_lease_confirm(fwi_ec_lease *lease, int64_t ttl_s, uint64_t asked_ms)
{
    drop_request(lease);
    if (ttl_s <= 0) {
        lose(lease, "expired or revoked");
        return;
    }
    lease->confirmed_ms = asked_ms;
    lease->ttl_ms = ms_of(ttl_s);
    lease->failure[0] = 0;
    uint64_t due_ms = renewer_of(lease)->confirmed(lease);
    /* The answer may have waited for us while this process was stopped. */
    if (!is_over(lease))
        fwi_ec_lease_set_timer(lease, due_ms);
}

static void request_failed(fwi_ec_lease *lease, const char *why)
{
    uint32_t retry_ms = renewer_of(lease)->retry_ms;
    (void)snprintf(lease->failure, sizeof lease->failure, "%s", why);
    if (retry_ms && !is_over(lease))
        fwi_ec_lease_set_timer(lease, fw_loop_now_ms(lease->store->loop) + retry_ms);
}

static void on_renewed(const fwi_ec_answer *answer, void *arg)
{
    fwi_ec_lease *lease = arg;
    lease->request = NULL;
    const char *detail = answer->detail[0] ? answer->detail : fw_strerror(answer->status);
    int64_t id, ttl_s;
    if (answer->status == FW_ELEASE)
        lose(lease, detail);
    else if (answer->status)
        request_failed(lease, detail);
    else if (!lease->store->transport->read_lease(answer->reply, &id, &ttl_s) || id != lease->id)
        request_failed(lease, malformed);
    else
        fwi_ec_lease_confirm(lease, ttl_s, answer->asked_ms);
}

int fwi_ec_lease_request(fwi_ec_lease *lease, uint64_t deadline_ms)
{
    fwi_ec_question question = {.method = FWI_EC_KEEP_ALIVE, .lease = lease->id};
    return lease->request ? FW_OK : ask(lease, question, deadline_ms, on_renewed);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_ec_lease *lease = arg;
    if (!is_over(lease))
        renewer_of(lease)->due(lease);
}

/* ---- the grant ---- */

static void on_granted(const fwi_ec_answer *answer, void *arg)
{
    fwi_ec_lease *lease = arg;
    lease->request = NULL;
    int status = answer->status;
    const char *detail = answer->detail;
    int64_t ttl_s = 0;
    if (!status && (!lease->store->transport->read_lease(answer->reply, &lease->id, &ttl_s) ||
                    ttl_s <= 0 || !lease->id)) {
        lease->id = 0;
        status = FW_ESTORE;
        detail = malformed;
    }
    lease->ttl_ms = ms_of(ttl_s);
    lease->state = status ? FWI_EC_LOST : FWI_EC_HELD;
    if (lease->revoke_wanted) {
        if (status)
            gone(lease);
        else
            begin_revoke(lease);
        return;
    }
    fwi_kv_lease_granted(lease->front, status, detail, lease->id, lease->ttl_ms);
    if (status)
        return;
    if (renewer_of(lease)->begin)
        renewer_of(lease)->begin(lease);
    fwi_ec_lease_confirm(lease, ttl_s, answer->asked_ms);
}

/* ---- from the front ---- */

void fwi_ec_lease_grant(void *store, fw_kv_lease *front)
{
    fwi_ec_store *core = store;
    fwi_ec_lease *lease = calloc(1, core->transport->renewer.lease_bytes);
    front->driver_data = lease;
    if (!lease) {
        fwi_kv_lease_granted(front, UV_ENOMEM, NULL, 0, 0);
        return;
    }
    lease->store = core;
    lease->front = front;
    lease->state = FWI_EC_GRANTING;
    lease->timer = (fwi_timer){.fn = on_timer, .arg = lease};
    fwi_ec_question question = {.method = FWI_EC_GRANT, .ttl_s = fwi_ec_ttl_s(front->ttl_ms)};
    int err =
        ask(lease, question, fw_loop_now_ms(core->loop) + fwi_kv_timeout_ms(core->kv), on_granted);
    if (err) {
        lease->state = FWI_EC_LOST;
        fwi_kv_lease_granted(front, err, NULL, 0, 0);
    }
}

void fwi_ec_lease_revoke(void *store, fw_kv_lease *front)
{
    fwi_ec_store *core = store;
    fwi_ec_lease *lease = front->driver_data;
    if (!lease) {
        fwi_kv_lease_gone(front);
        return;
    }
    lease->revoke_deadline_ms = fw_loop_now_ms(core->loop) + fwi_kv_timeout_ms(core->kv);
    lease->revoke_wanted = true;
    if (lease->state == FWI_EC_GRANTING)
        return; /* on_granted goes on */
    stop_renewing(lease);
    if (lease->id)
        begin_revoke(lease);
    else
        gone(lease);
}
