/*
 * Leases.
 *
 *     GRANTING --granted--> HELD --refused, or time has passed--> LOST
 *         |                  |                                     |
 *         +--revoke----------+--> REVOKING --told, or too late--> gone
 *
 * A lease is renewed at a third of its time, counted from when the last renewal that the server
 * confirmed was sent, on a clock that goes on while the machine is suspended. Before each step
 * comes a look at that clock. A renewal that is not answered within a third of the time puts the
 * connection under suspicion: short leases must outlive a dead connection to a server that is well.
 */
#include "redis.h"

#include <fairway/error.h>
#include <stdio.h>
#include <string.h>

enum state { GRANTING, HELD, LOST, REVOKING };

struct held {
    fwi_redis_client *client;
    fw_kv_lease *front;
    enum state state;
    bool revoke_wanted; /* GRANTING */
    uint32_t ttl_ms;
    int64_t id;
    uint64_t asked_ms;           /* when the renewal was asked for, on the loop's clock */
    uint64_t confirmed_ms;       /* when what was confirmed last was sent */
    uint64_t revoke_deadline_ms; /* on the loop's clock */
    fwi_redis_request *request;  /* under way */
    fwi_timer timer;
    char failure[FWI_REDIS_TEXT_BYTES]; /* why the last renewal was not confirmed */
};

static void gone(struct held *held)
{
    fw_kv_lease *front = held->front;
    fwi_loop_timer_stop(held->client->loop, &held->timer);
    free(held);
    fwi_kv_lease_gone(front);
}

static void lose(struct held *held, const char *detail)
{
    held->state = LOST;
    fwi_loop_timer_stop(held->client->loop, &held->timer);
    if (held->request)
        fwi_redis_forget(held->request);
    held->request = NULL;
    fwi_kv_lease_lost(held->front, FW_ELEASE, detail);
}

/* Sets the timer to a time of the lease's clock. */
static void set_timer(struct held *held, uint64_t at_ms)
{
    uint64_t now = fwi_redis_clock_ms(), end = held->confirmed_ms + held->ttl_ms;
    at_ms = at_ms < end ? at_ms : end;
    fwi_loop_timer_start(held->client->loop, &held->timer, at_ms > now ? at_ms - now : 0);
}

static int ask(struct held *held, fwi_redis_args *args, uint64_t deadline_ms,
               fwi_redis_answered_fn on_answered)
{
    int err = fwi_redis_ask(&held->client->ops, FWI_REDIS_REPEAT, deadline_ms, args, on_answered,
                            held, &held->request);
    if (err)
        held->request = NULL;
    return err;
}

/* ---- revoking ---- */

static void on_revoked(const fwi_redis_reply *reply, void *arg)
{
    (void)reply; /* if it did not arrive, the lease expires */
    struct held *held = arg;
    held->request = NULL;
    gone(held);
}

static void begin_revoke(struct held *held)
{
    held->state = REVOKING;
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_script(&args, held->client, "revoke");
    fwi_redis_args_number(&args, held->id);
    if (ask(held, &args, held->revoke_deadline_ms, on_revoked))
        gone(held);
}

/* ---- keeping alive ---- */

static void on_renewed(const fwi_redis_reply *reply, void *arg)
{
    struct held *held = arg;
    held->request = NULL;
    if (reply->status == FW_ELEASE) {
        lose(held, "expired");
    } else if (reply->status) {
        (void)snprintf(held->failure, sizeof held->failure, "not renewed: %s", reply->detail);
        set_timer(held, fwi_redis_clock_ms() + held->ttl_ms / 10);
        if (reply->status == FW_EDEADLINE)
            fwi_redis_link_suspect(&held->client->ops, held->asked_ms);
    } else {
        held->confirmed_ms = reply->sent_ms;
        held->failure[0] = 0;
        set_timer(held, held->confirmed_ms + held->ttl_ms / 3);
    }
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct held *held = arg;
    uint64_t now = fwi_redis_clock_ms(), end = held->confirmed_ms + held->ttl_ms;
    if (now >= end) {
        lose(held, held->failure[0] ? held->failure : "not renewed in time");
        return;
    }
    if (!held->request) {
        fwi_redis_args args = {.count = 0};
        fwi_redis_args_script(&args, held->client, "renew");
        fwi_redis_args_number(&args, held->id);
        fwi_redis_args_number(&args, held->ttl_ms);
        held->asked_ms = fw_loop_now_ms(held->client->loop);
        if (ask(held, &args, held->asked_ms + held->ttl_ms / 3, on_renewed)) {
            set_timer(held, now + held->ttl_ms / 10);
            return;
        }
    }
    set_timer(held, end);
}

/* ---- the grant ---- */

static void on_granted(const fwi_redis_reply *reply, void *arg)
{
    struct held *held = arg;
    held->request = NULL;
    int status = reply->status;
    const char *detail = reply->detail;
    if (!status && (!fwi_redis_integer_at(reply->reply, FWI_REDIS_HEAD, &held->id) ||
                    held->id < FWI_KV_LEAST_LEASE)) {
        status = FW_ESTORE;
        detail = "malformed reply";
    }
    held->state = status ? LOST : HELD;
    if (held->revoke_wanted) {
        if (status)
            gone(held);
        else
            begin_revoke(held);
        return;
    }
    fwi_kv_lease_granted(held->front, status, detail, held->id, held->ttl_ms);
    if (status)
        return;
    held->confirmed_ms = reply->sent_ms;
    set_timer(held, held->confirmed_ms + held->ttl_ms / 3);
}

/* ---- from the front ---- */

void fwi_redis_lease_grant(void *store, fw_kv_lease *front)
{
    fwi_redis_client *client = store;
    struct held *held = calloc(1, sizeof *held);
    front->driver_data = held;
    if (!held) {
        fwi_kv_lease_granted(front, UV_ENOMEM, NULL, 0, 0);
        return;
    }
    held->client = client;
    held->front = front;
    held->ttl_ms = front->ttl_ms;
    held->timer = (fwi_timer){.fn = on_timer, .arg = held};
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_script(&args, client, "grant");
    fwi_redis_args_number(&args, held->ttl_ms);
    int err =
        ask(held, &args, fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv), on_granted);
    if (err) {
        held->state = LOST;
        fwi_kv_lease_granted(front, err, NULL, 0, 0);
    }
}

void fwi_redis_lease_revoke(void *store, fw_kv_lease *front)
{
    fwi_redis_client *client = store;
    struct held *held = front->driver_data;
    if (!held) {
        fwi_kv_lease_gone(front);
        return;
    }
    held->revoke_deadline_ms = fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv);
    held->revoke_wanted = true;
    if (held->state == GRANTING)
        return; /* on_granted goes on */
    fwi_loop_timer_stop(client->loop, &held->timer);
    if (held->request)
        fwi_redis_forget(held->request);
    held->request = NULL;
    if (held->state == HELD)
        begin_revoke(held);
    else
        gone(held);
}
