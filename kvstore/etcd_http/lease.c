/*
 * Leases.
 *
 *     GRANTING -> HELD -> LOST          revoke: (after the grant) REVOKING -> gone
 *
 * A held lease is renewed a third of its time after the last renewal that the store confirmed; the
 * clock of the lease starts when that renewal was sent, not when its answer came. Each renewal is
 * one POST, with the deadline of a third of the time, and moves to another endpoint by itself; so a
 * member that says nothing costs a third of the time, not the lease. Lost is a lease when etcd says
 * so, or when its time has passed on our own clock (which runs on while the process is stopped).
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY_MS     100
#define DETAIL_BYTES 400

enum state { GRANTING, HELD, LOST, REVOKING };

struct lease {
    fwi_eh_client *client;
    fw_kv_lease *front;
    enum state state;
    bool revoke_wanted;
    uint64_t revoke_deadline_ms;
    int64_t id;
    uint32_t ttl_ms;
    uint64_t confirmed_ms; /* when the last confirmed renewal was sent */
    fwi_eh_request *request;
    fwi_timer timer;            /* HELD: the next renewal, or the end */
    char failure[DETAIL_BYTES]; /* why the last renewal failed */
};

/* ---- the messages ---- */

void fwi_eh_grant_write(uint32_t ttl_ms, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{\"TTL\":");
    fwi_eh_text_add_int64(text, ((int64_t)ttl_ms + 999) / 1000);
    fwi_eh_text_add(text, "}");
}

void fwi_eh_lease_id_write(int64_t id, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{\"ID\":");
    fwi_eh_text_add_int64(text, id);
    fwi_eh_text_add(text, "}");
}

/* The id and the time in a reply; no time is how etcd says that there is no such lease. */
static bool read_lease(const cJSON *reply, int64_t *ret_id, uint32_t *ret_ttl_ms)
{
    int64_t ttl_s;
    if (!fwi_eh_json_int64(reply, "ID", ret_id) || !fwi_eh_json_int64(reply, "TTL", &ttl_s))
        return false;
    *ret_ttl_ms = ttl_s <= 0 ? 0 : ttl_s > UINT32_MAX / 1000 ? UINT32_MAX : (uint32_t)ttl_s * 1000;
    return *ret_id != 0;
}

bool fwi_eh_grant_read(const cJSON *reply, int64_t *ret_id, uint32_t *ret_ttl_ms)
{
    return read_lease(reply, ret_id, ret_ttl_ms) && *ret_ttl_ms;
}

/* ---- the end ---- */

static void gone(struct lease *lease)
{
    fw_kv_lease *front = lease->front;
    fwi_loop_timer_stop(lease->client->loop, &lease->timer);
    free(lease);
    front->driver_data = NULL;
    fwi_kv_lease_gone(front);
}

static int ask(struct lease *lease, const char *path, fwi_eh_text *body, uint64_t deadline_ms,
               fwi_eh_answer_fn fn)
{
    fwi_eh_request_options options = {.path = path,
                                      .body = body,
                                      .deadline_ms = deadline_ms,
                                      .repeatable = true,
                                      .urgent = true,
                                      .fn = fn,
                                      .arg = lease};
    return fwi_eh_request_start(lease->client, &options, &lease->request);
}

static void on_revoked(const fwi_eh_answer *answer, void *arg)
{
    (void)answer; /* gone already, or it will run out */
    struct lease *lease = arg;
    lease->request = NULL;
    gone(lease);
}

static void begin_revoke(struct lease *lease)
{
    fwi_eh_text text = {.data = NULL};
    lease->state = REVOKING;
    fwi_eh_lease_id_write(lease->id, &text);
    if (ask(lease, "/v3/lease/revoke", &text, lease->revoke_deadline_ms, on_revoked))
        gone(lease);
}

static void lose(struct lease *lease, int reason, const char *detail)
{
    lease->state = LOST;
    fwi_loop_timer_stop(lease->client->loop, &lease->timer);
    if (lease->request)
        fwi_eh_request_drop(lease->request);
    lease->request = NULL;
    fwi_kv_lease_lost(lease->front, reason, detail);
}

/* ---- renewals ---- */

/* True if the lease's time has passed on our clock; it is lost then. */
static bool is_over(struct lease *lease)
{
    if (fw_loop_now_ms(lease->client->loop) - lease->confirmed_ms < lease->ttl_ms)
        return false;
    char detail[DETAIL_BYTES + 64];
    (void)snprintf(detail, sizeof detail, "not renewed within %u ms%s%s", (unsigned)lease->ttl_ms,
                   lease->failure[0] ? ": " : "", lease->failure);
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

static void renewal_failed(struct lease *lease, const char *why)
{
    (void)snprintf(lease->failure, sizeof lease->failure, "%s", why);
    if (!is_over(lease))
        set_timer(lease, fw_loop_now_ms(lease->client->loop) + RETRY_MS);
}

static void on_renewed(const fwi_eh_answer *answer, void *arg)
{
    struct lease *lease = arg;
    lease->request = NULL;
    int64_t id;
    uint32_t ttl_ms;
    if (answer->status == FW_ELEASE) {
        lose(lease, FW_ELEASE, answer->detail);
    } else if (answer->status) {
        renewal_failed(lease, answer->detail[0] ? answer->detail : fw_strerror(answer->status));
    } else if (!read_lease(answer->json, &id, &ttl_ms) || id != lease->id) {
        renewal_failed(lease, "malformed reply");
    } else if (!ttl_ms) {
        lose(lease, FW_ELEASE, "expired or revoked");
    } else {
        lease->confirmed_ms = answer->asked_ms;
        lease->ttl_ms = ttl_ms;
        lease->failure[0] = 0;
        /* The answer may have waited for us while this process was stopped. */
        if (!is_over(lease))
            set_timer(lease, lease->confirmed_ms + lease->ttl_ms / 3);
    }
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct lease *lease = arg;
    if (is_over(lease))
        return;
    uint64_t now = fw_loop_now_ms(lease->client->loop);
    if (!lease->request) {
        fwi_eh_text text = {.data = NULL};
        fwi_eh_lease_id_write(lease->id, &text);
        if (ask(lease, "/v3/lease/keepalive", &text, now + lease->ttl_ms / 3, on_renewed)) {
            lease->request = NULL;
            set_timer(lease, now + RETRY_MS);
            return;
        }
    }
    set_timer(lease, UINT64_MAX);
}

/* ---- the grant ---- */

static void on_granted(const fwi_eh_answer *answer, void *arg)
{
    struct lease *lease = arg;
    lease->request = NULL;
    int status = answer->status;
    const char *detail = answer->detail;
    if (!status && !fwi_eh_grant_read(answer->json, &lease->id, &lease->ttl_ms)) {
        lease->id = 0;
        status = FW_ESTORE;
        detail = "malformed reply";
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
    lease->confirmed_ms = answer->asked_ms;
    set_timer(lease, lease->confirmed_ms + lease->ttl_ms / 3);
}

/* ---- from the front ---- */

void fwi_eh_lease_grant(void *store, fw_kv_lease *front)
{
    fwi_eh_client *client = store;
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
    fwi_eh_text text = {.data = NULL};
    fwi_eh_grant_write(front->ttl_ms, &text);
    int err = ask(lease, "/v3/lease/grant", &text,
                  fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv), on_granted);
    if (err) {
        lease->state = LOST;
        lease->request = NULL;
        fwi_kv_lease_granted(front, err, NULL, 0, 0);
    }
}

void fwi_eh_lease_revoke(void *store, fw_kv_lease *front)
{
    fwi_eh_client *client = store;
    struct lease *lease = front->driver_data;
    if (!lease) {
        fwi_kv_lease_gone(front);
        return;
    }
    lease->revoke_deadline_ms = fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv);
    lease->revoke_wanted = true;
    if (lease->state == GRANTING)
        return; /* on_granted goes on */
    fwi_loop_timer_stop(client->loop, &lease->timer);
    if (lease->request)
        fwi_eh_request_drop(lease->request);
    lease->request = NULL;
    if (lease->id)
        begin_revoke(lease);
    else
        gone(lease);
}
