/*
 * A unary call, with failover, until its deadline.
 *
 * An attempt goes to the client's current endpoint. What becomes of it:
 *
 *     answered                              done (an error of etcd's is an answer, too)
 *     not sent, or refused by a member      again, on the next endpoint
 *         without a leader
 *     lost (sent, no answer), repeatable    again, on the next endpoint
 *     lost, not repeatable                  FW_EUNKNOWN
 *
 *     certificates that are not accepted,  FW_ETLS
 *         by any endpoint
 *     refused because of the token          again, with a new token; then FW_EAUTH
 *
 * When every endpoint has had its chance, the next round begins after a backoff; when there is no
 * time for it, the last failure is the answer. While there are endpoints that were not tried, an
 * attempt gets a share of the time only, so that a member which hangs does not use all of it; but a
 * write that has been sent is waited for to the end.
 */
#include "etcd.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACKOFF_MS       50
#define MAX_BACKOFF_MS   500
#define LEAST_ATTEMPT_MS 100
#define DETAIL_BYTES     320
/* Another member may not know yet the token that one has just given. */
#define MAX_REFUSALS 3

struct fwi_etcd_request {
    fwi_list node; /* in client->requests */
    fwi_etcd_client *client;
    fwi_etcd_request_options options;
    grpc_slice message;
    fwi_etcd_call *call; /* the attempt, if one is under way */
    size_t endpoint, attempts;
    fwi_etcd_auth_wait auth_wait;
    unsigned generation; /* of the attempt's token */
    unsigned refusals;   /* of tokens */
    size_t tls_failures; /* in a row */
    uint64_t asked_ms;
    fw_backoff backoff;
    fwi_timer timer; /* the end of the attempt's share, of the backoff, or of waiting for a token */
    int status;      /* of the last failure */
    char detail[DETAIL_BYTES];
};

static void request_free(fwi_etcd_request *request)
{
    fwi_list_remove(&request->node);
    fwi_loop_timer_stop(request->client->core.loop, &request->timer);
    fwi_etcd_auth_wait_cancel(&request->auth_wait);
    if (request->call)
        fwi_etcd_call_drop(request->call);
    grpc_slice_unref(request->message);
    free(request);
}

/* end NULL: there was no reply. */
static void finish(fwi_etcd_request *request, int status, const char *detail,
                   const fwi_etcd_end *end)
{
    fwi_etcd_reply reply;
    fwi_ec_answer answer = {.status = status, .detail = detail, .asked_ms = request->asked_ms};
    if (end) {
        reply = (fwi_etcd_reply){.message = end->message, .slice = end->slice};
        answer.reply = &reply;
    }
    fwi_ec_answer_fn fn = request->options.fn;
    void *arg = request->options.arg;
    /* Off the list first: the callback may end the client's requests. */
    fwi_list_remove(&request->node);
    fwi_loop_timer_stop(request->client->core.loop, &request->timer);
    fn(&answer, arg);
    request_free(request);
}

static void finish_failed(fwi_etcd_request *request, int status)
{
    finish(request, status, request->detail, NULL);
}

static uint64_t time_left(const fwi_etcd_request *request)
{
    uint64_t now = fw_loop_now_ms(request->client->core.loop);
    return request->options.deadline_ms > now ? request->options.deadline_ms - now : 0;
}

static void attempt_or_finish(fwi_etcd_request *request);

/* Every endpoint has failed: again later, or never. */
static void pause_or_finish(fwi_etcd_request *request)
{
    uint64_t wait = fw_backoff_next_ms(&request->backoff);
    if (wait >= time_left(request) || request->options.impatient)
        finish_failed(request, request->status);
    else
        fwi_loop_timer_start(request->client->core.loop, &request->timer, wait);
}

/* After a failure that leaves the request undone: the next endpoint, later, or never. */
static void go_on(fwi_etcd_request *request)
{
    if (request->attempts % request->client->endpoint_count == 0)
        pause_or_finish(request);
    else
        attempt_or_finish(request);
}

static void set_failure(fwi_etcd_request *request, int status, const char *detail)
{
    request->status = status;
    (void)snprintf(request->detail, sizeof request->detail, "%s", detail);
}

static void on_token(fwi_etcd_auth_wait *wait, int status, const char *detail, void *arg)
{
    (void)wait;
    fwi_etcd_request *request = arg;
    fwi_loop_timer_stop(request->client->core.loop, &request->timer);
    if (status)
        set_failure(request, status, detail);
    if (status == FW_EUNREACHABLE || status == FW_EDEADLINE)
        pause_or_finish(request);
    else if (status)
        finish_failed(request, status);
    else if (request->refusals > 1)
        pause_or_finish(request);
    else {
        set_failure(request, FW_OK, "");
        attempt_or_finish(request);
    }
}

/* Goes on when there is a token that is newer than this. */
static void wait_for_token(fwi_etcd_request *request, unsigned generation)
{
    if (!request->status)
        set_failure(request, FW_EUNREACHABLE, "authentication: no answer in time");
    fwi_loop_timer_start(request->client->core.loop, &request->timer, time_left(request));
    fwi_etcd_auth_renew(request->client, generation, &request->auth_wait);
}

static bool needs_token(const fwi_etcd_request *request)
{
    return request->options.method != FWI_ETCD_AUTHENTICATE;
}

static void on_end(fwi_etcd_call *call, const fwi_etcd_end *end, void *arg)
{
    (void)call;
    fwi_etcd_request *request = arg;
    fwi_etcd_client *client = request->client;
    request->call = NULL;
    fwi_loop_timer_stop(client->core.loop, &request->timer);
    if (needs_token(request) && fwi_etcd_is_auth_refusal(client, end->code, end->text)) {
        set_failure(request, FW_EAUTH, end->text);
        if (++request->refusals > MAX_REFUSALS)
            finish_failed(request, FW_EAUTH);
        else
            wait_for_token(request, request->generation);
        return;
    }
    bool refused = fwi_ec_has_no_leader((int)end->code, end->text);
    if (end->was_sent && !fwi_ec_is_lost((int)end->code) && !refused) {
        fwi_etcd_endpoint_served(client, request->endpoint);
        finish(request, fwi_ec_status((int)end->code, end->text), end->text, end);
        return;
    }
    fwi_etcd_endpoint_failed(client, request->endpoint);
    bool timed_out =
        end->code == GRPC_STATUS_DEADLINE_EXCEEDED || end->code == GRPC_STATUS_CANCELLED;
    /* "No answer" says less than why the attempt before it failed. */
    if (!timed_out || !request->detail[0])
        fwi_etcd_describe(client, request->endpoint, timed_out ? "no answer in time" : end->text,
                          request->detail, sizeof request->detail);
    if (end->was_sent && !refused && !request->options.repeatable) {
        finish_failed(request, FW_EUNKNOWN);
        return;
    }
    int status = FW_EUNREACHABLE;
    if (timed_out)
        status = end->was_sent ? FW_EDEADLINE : FW_EUNREACHABLE;
    else if (!refused)
        status = fwi_etcd_endpoint_status(client, request->endpoint, end->text);
    if (!timed_out || !request->status)
        request->status = status;
    /* Certificates do not get better while we wait. */
    request->tls_failures = status == FW_ETLS ? request->tls_failures + 1 : 0;
    if (request->tls_failures == client->endpoint_count)
        finish_failed(request, FW_ETLS);
    else
        go_on(request);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_etcd_request *request = arg;
    if (!request->call)
        attempt_or_finish(request);
    else if (request->options.repeatable || !fwi_etcd_call_was_sent(request->call))
        fwi_etcd_call_cancel(request->call);
}

/* False: no memory. */
static bool attempt(fwi_etcd_request *request, uint64_t left)
{
    fwi_etcd_client *client = request->client;
    fwi_etcd_call_handler handler = {.on_end = on_end, .arg = request};
    if (needs_token(request) && !fwi_etcd_auth_ready(client)) {
        wait_for_token(request, 0);
        return true;
    }
    request->endpoint = client->current;
    request->generation = fwi_etcd_auth_generation(client);
    request->asked_ms = fw_loop_now_ms(client->core.loop);
    request->attempts++;
    request->call =
        fwi_etcd_call_start(client, request->endpoint, request->options.method, request->message,
                            left, !request->options.repeatable, &handler);
    if (!request->call)
        return false;
    size_t count = client->endpoint_count;
    size_t untried = (count - request->attempts % count) % count;
    uint64_t share = left / (untried + 1);
    if (untried)
        fwi_loop_timer_start(client->core.loop, &request->timer,
                             share > LEAST_ATTEMPT_MS ? share : LEAST_ATTEMPT_MS);
    return true;
}

static void attempt_or_finish(fwi_etcd_request *request)
{
    uint64_t left = time_left(request);
    fwi_etcd_auth_wait_cancel(&request->auth_wait);
    if (!left)
        finish_failed(request, request->status ? request->status : FW_EUNREACHABLE);
    else if (!attempt(request, left))
        finish(request, UV_ENOMEM, "", NULL);
}

int fwi_etcd_request_start(fwi_etcd_client *client, const fwi_etcd_request_options *options,
                           fwi_etcd_request **ret_request)
{
    int err = fwi_etcd_client_check(client);
    if (err)
        return err;
    fwi_etcd_request *request = calloc(1, sizeof *request);
    if (!request)
        return UV_ENOMEM;
    *request = (fwi_etcd_request){.client = client,
                                  .options = *options,
                                  .message = fwi_etcd_pack(options->message),
                                  .auth_wait = {.fn = on_token, .arg = request},
                                  .timer = {.fn = on_timer, .arg = request}};
    request->options.message = NULL; /* it was only lent */
    fw_backoff_init(&request->backoff, BACKOFF_MS, MAX_BACKOFF_MS);
    fwi_list_push_back(&client->requests, &request->node);
    uint64_t left = time_left(request);
    if (!left) {
        /* Too late; but no answer comes inside this call. */
        fwi_loop_timer_start(client->core.loop, &request->timer, 0);
    } else if (!attempt(request, left)) {
        request_free(request);
        return UV_ENOMEM;
    }
    *ret_request = request;
    return FW_OK;
}

void fwi_etcd_request_drop(fwi_etcd_request *request)
{
    request_free(request);
}

void fwi_etcd_requests_end(fwi_etcd_client *client)
{
    while (!fwi_list_empty(&client->requests))
        finish(fwi_container_of(client->requests.next, fwi_etcd_request, node), FW_ECANCELED, "",
               NULL);
}
