/*
 * The renewals of all leases of a client, on one stream.
 *
 *     no stream --------- ask ---------> stream --- its end, or it is silent ---> no stream
 *     (pause, or waiting for a token)                         (what was not answered is asked
 * again)
 *
 * Renewals are sent in the order they are asked for, one message at a time, and matched by the id
 * of the lease: one lease has one renewal under way, and a stream that was given up says nothing
 * any more, so an answer belongs to the time when its renewal was last sent. etcd answers in order;
 * where it does not, the list of those under way is searched.
 *
 * Failover. The first stream after one that worked is opened at once, on the next endpoint; when
 * every endpoint has failed, there is a pause. A member that hangs, or that is cut off from its
 * cluster, answers nothing: so the leases, who know how long they can wait, say when it was too
 * long. If the stream has answered anything meanwhile it is slow, not silent, and stays.
 *
 * The stream is opened when there is something to send, and ends with the last lease.
 */
#include "streams.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACKOFF_MS     50
#define MAX_BACKOFF_MS 500

struct fwi_etcd_keep_alive {
    size_t renewals;
    fwi_etcd_call *stream;  /* NULL: none */
    size_t endpoint;        /* of the stream */
    unsigned generation;    /* of its token */
    uint64_t heard_ms;      /* when it was opened, or last answered */
    size_t attempts;        /* streams since the last answer */
    fwi_list to_send, sent; /* fwi_etcd_renewal.node, in order */
    fw_backoff backoff;
    fwi_timer pause; /* before the next stream */
    fwi_etcd_auth_wait auth_wait;
    char failure[FWI_ETCD_DETAIL_BYTES]; /* since the last answer; "" if none */
};

static void pump(fwi_etcd_client *client);

/* What was not answered is to be sent again, before what was not sent. */
static void take_back(fwi_etcd_keep_alive *keep)
{
    fwi_list all;
    fwi_list_init(&all);
    fwi_list_splice(&all, &keep->sent);
    fwi_list_splice(&all, &keep->to_send);
    fwi_list_splice(&keep->to_send, &all);
}

/* The stream is over: the next one, now or after a pause. */
static void go_on(fwi_etcd_client *client, const char *text)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    fwi_etcd_describe(client, keep->endpoint, text, keep->failure, sizeof keep->failure);
    fwi_etcd_endpoint_failed(client, keep->endpoint);
    take_back(keep);
    if (keep->attempts && keep->attempts % client->endpoint_count == 0)
        fwi_loop_timer_start(client->core.loop, &keep->pause, fw_backoff_next_ms(&keep->backoff));
    else
        pump(client);
}

static void give_up(fwi_etcd_client *client, const char *text)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    fwi_etcd_call_drop(keep->stream);
    keep->stream = NULL;
    go_on(client, text);
}

static fwi_etcd_renewal *find_sent(fwi_etcd_keep_alive *keep, int64_t id)
{
    fwi_list_for_each (node, &keep->sent) {
        fwi_etcd_renewal *renewal = fwi_container_of(node, fwi_etcd_renewal, node);
        if (renewal->id == id)
            return renewal;
    }
    return NULL; /* it was withdrawn */
}

static void on_message(fwi_etcd_call *call, fw_slice message, void *arg)
{
    (void)call;
    fwi_etcd_client *client = arg;
    fwi_etcd_keep_alive *keep = client->keep_alive;
    int64_t id, ttl_s;
    if (!fwi_etcd_read_lease(message, &id, &ttl_s)) {
        give_up(client, "malformed reply");
        return;
    }
    fwi_etcd_renewal *renewal = find_sent(keep, id);
    fwi_etcd_endpoint_served(client, keep->endpoint);
    fw_backoff_reset(&keep->backoff);
    keep->heard_ms = fw_loop_now_ms(client->core.loop);
    keep->attempts = 0;
    keep->failure[0] = 0;
    if (!renewal)
        return;
    fwi_etcd_renewal_withdraw(renewal);
    renewal->fn(renewal, ttl_s > 0 ? ttl_s : 0, renewal->arg);
}

static void on_sent(fwi_etcd_call *call, void *arg)
{
    (void)call;
    pump(arg);
}

static void on_end(fwi_etcd_call *call, const fwi_etcd_end *end, void *arg)
{
    (void)call;
    fwi_etcd_client *client = arg;
    fwi_etcd_keep_alive *keep = client->keep_alive;
    keep->stream = NULL;
    if (fwi_etcd_is_auth_refusal(client, end->code, end->text)) {
        take_back(keep);
        fwi_etcd_auth_renew(client, keep->generation, &keep->auth_wait);
        return;
    }
    go_on(client, end->text[0] ? end->text : "the server ended the stream");
}

static grpc_slice pack_next(fwi_etcd_client *client)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    fwi_etcd_renewal *renewal =
        fwi_container_of(fwi_list_pop(&keep->to_send), fwi_etcd_renewal, node);
    fwi_list_push_back(&keep->sent, &renewal->node);
    renewal->asked_ms = fw_loop_now_ms(client->core.loop);
    Epb__LeaseRequest request = EPB__LEASE_REQUEST__INIT;
    request.id = renewal->id;
    return fwi_etcd_pack(&request.base);
}

static void open_stream(fwi_etcd_client *client)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    if (!fwi_etcd_auth_ready(client)) {
        fwi_etcd_auth_renew(client, 0, &keep->auth_wait);
        return;
    }
    fwi_etcd_call_handler handler = {
        .on_message = on_message, .on_sent = on_sent, .on_end = on_end, .arg = client};
    keep->endpoint = client->current;
    keep->generation = fwi_etcd_auth_generation(client);
    keep->heard_ms = fw_loop_now_ms(client->core.loop);
    keep->attempts++;
    if (!fwi_etcd_client_check(client)) {
        grpc_slice message = pack_next(client);
        keep->stream = fwi_etcd_call_start(client, keep->endpoint, FWI_ETCD_KEEP_ALIVE, message, 0,
                                           false, &handler);
        grpc_slice_unref(message);
    }
    if (keep->stream)
        return;
    take_back(keep);
    fwi_loop_timer_start(client->core.loop, &keep->pause, fw_backoff_next_ms(&keep->backoff));
}

static bool is_waiting(const fwi_etcd_keep_alive *keep)
{
    const fwi_list *node = &keep->auth_wait.node;
    return fwi_timer_armed(&keep->pause) || (node->next && node->next != node);
}

static void pump(fwi_etcd_client *client)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    if (fwi_list_empty(&keep->to_send)) {
        return;
    } else if (keep->stream) {
        if (fwi_etcd_call_is_sending(keep->stream))
            return;
        grpc_slice message = pack_next(client);
        fwi_etcd_call_send(keep->stream, message);
        grpc_slice_unref(message);
    } else if (!is_waiting(keep)) {
        open_stream(client);
    }
}

static void on_pause_over(fwi_timer *timer, void *arg)
{
    (void)timer;
    pump(arg);
}

/* Without a token the leases' own clock decides; until then it is tried again. */
static void on_token(fwi_etcd_auth_wait *wait, int status, const char *detail, void *arg)
{
    (void)wait;
    fwi_etcd_client *client = arg;
    fwi_etcd_keep_alive *keep = client->keep_alive;
    if (status)
        (void)snprintf(keep->failure, sizeof keep->failure, "%s",
                       *detail ? detail : fw_strerror(status));
    fwi_loop_timer_start(client->core.loop, &keep->pause, fw_backoff_next_ms(&keep->backoff));
}

int fwi_etcd_keep_alive_init(fwi_etcd_client *client)
{
    fwi_etcd_keep_alive *keep = calloc(1, sizeof *keep);
    if (!keep)
        return UV_ENOMEM;
    keep->pause = (fwi_timer){.fn = on_pause_over, .arg = client};
    keep->auth_wait = (fwi_etcd_auth_wait){.fn = on_token, .arg = client};
    fwi_list_init(&keep->to_send);
    fwi_list_init(&keep->sent);
    fw_backoff_init(&keep->backoff, BACKOFF_MS, MAX_BACKOFF_MS);
    client->keep_alive = keep;
    return FW_OK;
}

void fwi_etcd_keep_alive_fini(fwi_etcd_client *client)
{
    free(client->keep_alive);
}

/* ---- renewals ---- */

void fwi_etcd_renewal_init(fwi_etcd_client *client, fwi_etcd_renewal *renewal, int64_t id,
                           void (*fn)(fwi_etcd_renewal *renewal, int64_t ttl_s, void *arg),
                           void *arg)
{
    *renewal = (fwi_etcd_renewal){.id = id, .fn = fn, .arg = arg};
    fwi_list_init(&renewal->node);
    client->keep_alive->renewals++;
}

void fwi_etcd_renewal_fini(fwi_etcd_client *client, fwi_etcd_renewal *renewal)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    fwi_etcd_renewal_withdraw(renewal);
    if (--keep->renewals)
        return;
    fwi_loop_timer_stop(client->core.loop, &keep->pause);
    fwi_etcd_auth_wait_cancel(&keep->auth_wait);
    if (keep->stream)
        fwi_etcd_call_drop(keep->stream);
    keep->stream = NULL;
}

void fwi_etcd_renewal_ask(fwi_etcd_client *client, fwi_etcd_renewal *renewal)
{
    if (renewal->is_asked)
        return;
    renewal->is_asked = true;
    fwi_list_push_back(&client->keep_alive->to_send, &renewal->node);
    pump(client);
}

void fwi_etcd_renewal_withdraw(fwi_etcd_renewal *renewal)
{
    renewal->is_asked = false;
    fwi_list_remove(&renewal->node);
}

void fwi_etcd_renewal_overdue(fwi_etcd_client *client, uint64_t limit_ms)
{
    fwi_etcd_keep_alive *keep = client->keep_alive;
    if (keep->stream && fw_loop_now_ms(client->core.loop) - keep->heard_ms >= limit_ms)
        give_up(client, "no answer in time");
}

const char *fwi_etcd_renewal_failure(const fwi_etcd_client *client)
{
    return client->keep_alive->failure;
}
