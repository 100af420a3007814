/*
 * Leases.
 *
 *     GRANTING -> HELD -> LOST          revoke: (after the grant) REVOKING -> gone
 *
 * A held lease is renewed a third of its time after the last renewal that the store confirmed, a
 * little earlier by chance, so that clients which started together do not stay together; but at
 * moments that all leases of a client have in common, so that many are renewed in one go. The clock
 * of the lease starts when that renewal was sent, not when its answer came.
 *
 *     0          1/3 of the time          2/3                       the end
 *     confirmed  asked on the stream      no answer: a silent       lost
 *                (keep_alive.c)           stream is given up, and
 *                                         a request of its own asks, too
 *
 * The request (request.c) is for the case that a stream cannot be had at all, or is kept back by
 * something between us and the server, and goes through every endpoint. Lost is a lease when etcd
 * says so, or when its time has passed on our own clock (which runs on while the process is
 * stopped); that is the first thing to be looked at whenever the timer fires.
 */
#include "streams.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "base/random.h"

#define DETAIL_BYTES 400
#define JITTER       30 /* parts of the time by one of which a renewal comes earlier */
#define MOMENTS      60 /* in the time, at which renewals are asked */

enum state { GRANTING, HELD, LOST, REVOKING };

struct lease {
    fwi_etcd_client *client;
    fw_kv_lease *front;
    enum state state;
    bool revoke_wanted;
    uint64_t revoke_deadline_ms;
    int64_t id;
    uint32_t ttl_ms;
    uint64_t confirmed_ms;      /* when the last confirmed renewal was sent */
    fwi_etcd_request *request;  /* grant, revocation, or the renewal that is a request */
    fwi_etcd_renewal renewal;   /* while HELD */
    fwi_timer timer;            /* HELD: the next thing to do, at the latest the end */
    char failure[DETAIL_BYTES]; /* why the last renewal that was a request failed */
};

static uint32_t ms_of(int64_t ttl_s)
{
    return ttl_s > UINT32_MAX / 1000 ? UINT32_MAX : (uint32_t)ttl_s * 1000;
}

static void gone(struct lease *lease)
{
    fw_kv_lease *front = lease->front;
    fwi_loop_timer_stop(lease->client->loop, &lease->timer);
    free(lease);
    front->driver_data = NULL;
    fwi_kv_lease_gone(front);
}

static int ask(struct lease *lease, fwi_etcd_method method, const ProtobufCMessage *message,
               uint64_t deadline_ms, fwi_etcd_answer_fn fn)
{
    fwi_etcd_request_options options = {.method = method,
                                        .message = message,
                                        .deadline_ms = deadline_ms,
                                        .repeatable = true,
                                        .fn = fn,
                                        .arg = lease};
    return fwi_etcd_request_start(lease->client, &options, &lease->request);
}

/* ---- the end ---- */

static void on_revoked(const fwi_etcd_answer *answer, void *arg)
{
    (void)answer; /* gone already, or it will run out */
    struct lease *lease = arg;
    lease->request = NULL;
    gone(lease);
}

static void begin_revoke(struct lease *lease)
{
    lease->state = REVOKING;
    Epb__LeaseRequest request = EPB__LEASE_REQUEST__INIT;
    request.id = lease->id;
    if (ask(lease, FWI_ETCD_REVOKE, &request.base, lease->revoke_deadline_ms, on_revoked))
        gone(lease);
}

/* It is held no longer. */
static void stop_renewing(struct lease *lease)
{
    fwi_loop_timer_stop(lease->client->loop, &lease->timer);
    if (lease->state == HELD)
        fwi_etcd_renewal_fini(lease->client, &lease->renewal);
    if (lease->request)
        fwi_etcd_request_drop(lease->request);
    lease->request = NULL;
}

static void lose(struct lease *lease, int reason, const char *detail)
{
    stop_renewing(lease);
    lease->state = LOST;
    fwi_kv_lease_lost(lease->front, reason, detail);
}

/* ---- renewals ---- */

/* True if the lease's time has passed on our clock; it is lost then. */
static bool is_over(struct lease *lease)
{
    if (fw_loop_now_ms(lease->client->loop) - lease->confirmed_ms < lease->ttl_ms)
        return false;
    const char *failure = lease->failure;
    if (!*failure)
        failure = fwi_etcd_renewal_failure(lease->client);
    char detail[DETAIL_BYTES + 64];
    (void)snprintf(detail, sizeof detail, "not renewed within %u ms%s%s", (unsigned)lease->ttl_ms,
                   *failure ? ": " : "", failure);
    lose(lease, FW_ELEASE, detail);
    return true;
}

static void set_timer(struct lease *lease, uint64_t at_ms)
{
    uint64_t now = fw_loop_now_ms(lease->client->loop);
    uint64_t end = lease->confirmed_ms + lease->ttl_ms;
    if (at_ms > end)
        at_ms = end;
    fwi_loop_timer_start(lease->client->loop, &lease->timer, at_ms > now ? at_ms - now : 0);
}

/* The store has confirmed a renewal that was sent then. */
static void confirm(struct lease *lease, int64_t ttl_s, uint64_t asked_ms)
{
    fwi_etcd_renewal_withdraw(&lease->renewal);
    if (lease->request)
        fwi_etcd_request_drop(lease->request);
    lease->request = NULL;
    if (ttl_s <= 0) {
        lose(lease, FW_ELEASE, "expired or revoked");
        return;
    }
    lease->confirmed_ms = asked_ms;
    lease->ttl_ms = ms_of(ttl_s);
    lease->failure[0] = 0;
    /* The answer may have waited for us while this process was stopped. */
    if (is_over(lease))
        return;
    uint64_t due = asked_ms + lease->ttl_ms / 3 - fwi_random_below(lease->ttl_ms / JITTER);
    set_timer(lease, due - due % (lease->ttl_ms / MOMENTS));
}

static void on_renewed(fwi_etcd_renewal *renewal, int64_t ttl_s, void *arg)
{
    confirm(arg, ttl_s, renewal->asked_ms);
}

static void on_requested(const fwi_etcd_answer *answer, void *arg)
{
    struct lease *lease = arg;
    lease->request = NULL;
    Epb__LeaseKeepAliveReply *reply = NULL;
    if (!answer->status)
        reply =
            epb__lease_keep_alive_reply__unpack(NULL, answer->message.len, answer->message.data);
    bool is_ours = reply && reply->id == lease->id;
    int64_t ttl_s = reply ? reply->ttl : 0;
    epb__lease_keep_alive_reply__free_unpacked(reply, NULL);
    const char *detail = answer->detail[0] ? answer->detail : fw_strerror(answer->status);
    if (!answer->status)
        detail = "malformed reply";
    if (is_ours)
        confirm(lease, ttl_s, answer->asked_ms);
    else if (answer->status == FW_ELEASE)
        lose(lease, FW_ELEASE, detail);
    else
        (void)snprintf(lease->failure, sizeof lease->failure, "%s", detail);
}

/* Renews without the stream; it may go on trying to the end. */
static void request_renewal(struct lease *lease)
{
    Epb__LeaseRequest request = EPB__LEASE_REQUEST__INIT;
    request.id = lease->id;
    if (ask(lease, FWI_ETCD_KEEP_ALIVE, &request.base, lease->confirmed_ms + lease->ttl_ms,
            on_requested))
        lease->request = NULL; /* the stream may still do it */
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct lease *lease = arg;
    if (is_over(lease))
        return;
    uint64_t limit_ms = lease->ttl_ms / 3;
    if (!lease->renewal.is_asked) {
        fwi_etcd_renewal_ask(lease->client, &lease->renewal);
        set_timer(lease, fw_loop_now_ms(lease->client->loop) + limit_ms);
        return;
    }
    fwi_etcd_renewal_overdue(lease->client, limit_ms);
    if (!lease->request)
        request_renewal(lease);
    set_timer(lease, UINT64_MAX);
}

/* ---- the grant ---- */

static void on_granted(const fwi_etcd_answer *answer, void *arg)
{
    struct lease *lease = arg;
    lease->request = NULL;
    int status = answer->status;
    const char *detail = answer->detail;
    if (!status) {
        Epb__LeaseGrantReply *reply =
            epb__lease_grant_reply__unpack(NULL, answer->message.len, answer->message.data);
        if (reply && reply->id && reply->ttl > 0) {
            lease->id = reply->id;
            lease->ttl_ms = ms_of(reply->ttl);
        } else {
            status = FW_ESTORE;
            detail = "malformed reply";
        }
        epb__lease_grant_reply__free_unpacked(reply, NULL);
    }
    lease->state = status ? LOST : HELD;
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
    fwi_etcd_renewal_init(lease->client, &lease->renewal, lease->id, on_renewed, lease);
    confirm(lease, lease->ttl_ms / 1000, answer->asked_ms);
}

/* ---- from the front ---- */

void fwi_etcd_lease_grant(void *store, fw_kv_lease *front)
{
    fwi_etcd_client *client = store;
    struct lease *lease = calloc(1, sizeof *lease);
    front->driver_data = lease;
    if (!lease) {
        fwi_kv_lease_granted(front, UV_ENOMEM, NULL, 0, 0);
        return;
    }
    *lease = (struct lease){.client = client,
                            .front = front,
                            .state = GRANTING,
                            .timer = {.fn = on_timer, .arg = lease}};
    Epb__LeaseGrantRequest grant = EPB__LEASE_GRANT_REQUEST__INIT;
    grant.ttl = fwi_etcd_ttl_s(front->ttl_ms);
    int err = ask(lease, FWI_ETCD_GRANT, &grant.base,
                  fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv), on_granted);
    if (err) {
        lease->state = LOST;
        lease->request = NULL;
        fwi_kv_lease_granted(front, err, NULL, 0, 0);
    }
}

void fwi_etcd_lease_revoke(void *store, fw_kv_lease *front)
{
    fwi_etcd_client *client = store;
    struct lease *lease = front->driver_data;
    if (!lease) {
        fwi_kv_lease_gone(front);
        return;
    }
    lease->revoke_deadline_ms = fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv);
    lease->revoke_wanted = true;
    if (lease->state == GRANTING)
        return; /* on_granted goes on */
    stop_renewing(lease);
    if (lease->id)
        begin_revoke(lease);
    else
        gone(lease);
}
