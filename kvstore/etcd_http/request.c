/*
 * A unary call, with failover, until its deadline.
 *
 *     attempt -> (token) -> (probe) -> call -> done
 *        ^                              |
 *        `--- backoff, or at once <-----'
 *
 * An attempt goes to the client's current endpoint. What becomes of it:
 *
 *     answered                              done (an error of etcd's is an answer, too)
 *     refused for the token                 again, once, with a new token: nothing was done
 *     not sent, or refused by a member      again, on the next endpoint
 *         without a leader
 *     lost (sent, no answer), repeatable    again, on the next endpoint
 *     lost, not repeatable                  FW_EUNKNOWN
 *     a certificate is not accepted         FW_ETLS
 *
 * A request that is not repeatable goes to an endpoint only that has answered since it last failed;
 * another one is asked for its status before (the probe), which may be lost without harm.
 *
 * When every endpoint has had its chance, the next round begins after a backoff; when there is no
 * time for it, the last failure is the answer. While there are endpoints that were not tried, an
 * attempt gets a share of the time only, so that a member which hangs does not use all of it; but a
 * write that has been sent is waited for to the end.
 */
#include "etcd_http.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MS       50
#define MAX_BACKOFF_MS   500
#define LEAST_ATTEMPT_MS 100

struct fwi_eh_request {
    fwi_list node; /* in client->requests */
    fwi_eh_client *client;
    fwi_eh_request_options options;
    fwi_eh_text body;
    fwi_eh_call *call;          /* the attempt, or its probe, if one is under way */
    fwi_eh_token_waiter waiter; /* in a list: a token is waited for */
    bool probing, token_renewed;
    unsigned generation; /* of the token of the attempt */
    size_t endpoint, attempts;
    uint64_t asked_ms;
    fw_backoff backoff;
    fwi_timer timer; /* the end of the attempt's share, or of the backoff */
    int status;      /* of the last failure */
    char detail[FWI_EH_DETAIL_BYTES];
};

void fwi_eh_describe(const fwi_eh_client *client, size_t endpoint, const char *text,
                     char *ret_detail, size_t size)
{
    (void)snprintf(ret_detail, size, "%s: %s", client->endpoints[endpoint].name, text);
}

const char *fwi_eh_request_trouble(const fwi_eh_request *request)
{
    return request->detail;
}

/* ---- the end ---- */

static void quiesce(fwi_eh_request *request)
{
    fwi_loop_timer_stop(request->client->core.loop, &request->timer);
    fwi_list_remove(&request->waiter.node);
    if (request->call)
        fwi_eh_call_drop(request->call);
    request->call = NULL;
}

static void request_free(fwi_eh_request *request)
{
    quiesce(request);
    fwi_list_remove(&request->node);
    if (request->options.is_secret && request->body.data)
        explicit_bzero(request->body.data, request->body.capacity);
    fwi_eh_text_fini(&request->body);
    free(request);
}

static void finish_with(fwi_eh_request *request, fwi_ec_answer *answer)
{
    /* All is let go before: the callback may end the client's requests. */
    fwi_ec_answer_fn fn = request->options.fn;
    void *arg = request->options.arg;
    answer->asked_ms = request->asked_ms;
    quiesce(request);
    fwi_list_remove(&request->node);
    fn(answer, arg);
    request_free(request);
}

static void finish(fwi_eh_request *request, int status, const char *detail)
{
    finish_with(request, &(fwi_ec_answer){.status = status, .detail = detail});
}

static void finish_failed(fwi_eh_request *request)
{
    finish(request, request->status ? request->status : FW_EUNREACHABLE, request->detail);
}

/* ---- failures ---- */

static uint64_t time_left(const fwi_eh_request *request)
{
    uint64_t now = fw_loop_now_ms(request->client->core.loop);
    return request->options.deadline_ms > now ? request->options.deadline_ms - now : 0;
}

static void attempt_or_finish(fwi_eh_request *request);

/* After an attempt failed: the next endpoint at once, or the next round later. */
static void go_on(fwi_eh_request *request)
{
    fwi_eh_client *client = request->client;
    if (request->attempts % client->endpoint_count) {
        attempt_or_finish(request);
        return;
    }
    uint64_t delay_ms = fw_backoff_next_ms(&request->backoff);
    if (request->options.impatient || delay_ms >= time_left(request))
        finish_failed(request);
    else
        fwi_loop_timer_start(client->core.loop, &request->timer, delay_ms);
}

/* The attempt is over, without an answer. */
static void fail_attempt(fwi_eh_request *request, bool sent, bool timed_out, const char *text)
{
    fwi_eh_client *client = request->client;
    fwi_loop_timer_stop(client->core.loop, &request->timer);
    fwi_eh_endpoint_failed(client, request->endpoint);
    /* "No answer" says less than why the attempt before it failed. */
    if (!timed_out || !request->detail[0])
        fwi_eh_describe(client, request->endpoint, text, request->detail, sizeof request->detail);
    if (sent && !request->options.repeatable) {
        request->status = FW_EUNKNOWN;
        finish_failed(request);
        return;
    }
    if (!timed_out || !request->status)
        request->status = timed_out && request->options.repeatable ? FW_EDEADLINE : FW_EUNREACHABLE;
    go_on(request);
}

/* True if a member has refused without doing anything, and another one may not. */
static bool is_refusal(int code, const char *text)
{
    return fwi_ec_has_no_leader(code, text) ||
           (code == FWI_EC_RESOURCE_EXHAUSTED && strstr(text, "too many requests"));
}

static void finish_undone(fwi_eh_request *request, int status, const char *text)
{
    fwi_eh_describe(request->client, request->endpoint, text, request->detail,
                    sizeof request->detail);
    request->status = status;
    finish_failed(request);
}

/* ---- attempts ---- */

static void on_answered(fwi_eh_request *request, const fwi_eh_end *end)
{
    fwi_eh_client *client = request->client;
    if (fwi_eh_is_auth_refusal(end->code, end->text) && !request->options.is_secret) {
        if (!client->auth.user || request->token_renewed) {
            finish(request, FW_EAUTH, end->text);
            return;
        }
        request->token_renewed = true;
        request->attempts--; /* it was not the endpoint's fault */
        fwi_eh_auth_refused(client, request->generation);
        attempt_or_finish(request);
        return;
    }
    if (is_refusal(end->code, end->text) || fwi_ec_is_lost(end->code)) {
        fail_attempt(request, !is_refusal(end->code, end->text), false, end->text);
        return;
    }
    fwi_eh_reply reply = {.code = end->code, .json = end->json, .bytes = end->bytes};
    finish_with(request, &(fwi_ec_answer){.status = fwi_ec_status(end->code, end->text),
                                          .detail = end->text,
                                          .reply = &reply});
}

static void on_end(fwi_eh_call *call, const fwi_eh_end *end, void *arg)
{
    (void)call;
    fwi_eh_request *request = arg;
    request->call = NULL;
    switch (end->outcome) {
    case FWI_EH_ANSWERED:
        on_answered(request, end);
        break;
    case FWI_EH_NOT_SENT:
    case FWI_EH_LOST:
        fail_attempt(request, end->outcome == FWI_EH_LOST, false, end->text);
        break;
    case FWI_EH_NO_TLS:
        finish_undone(request, FW_ETLS, end->text);
        break;
    case FWI_EH_TOO_LONG:
        finish_undone(request, request->options.repeatable ? FW_ELIMIT : FW_EUNKNOWN, end->text);
        break;
    }
}

static bool send_body(fwi_eh_request *request)
{
    fwi_eh_client *client = request->client;
    fwi_eh_call_handler handler = {.on_end = on_end, .arg = request};
    fwi_eh_headers *headers =
        request->options.is_secret ? client->auth.plain : fwi_eh_auth_headers(client);
    fwi_eh_call_options options = {.endpoint = request->endpoint,
                                   .path = request->options.path,
                                   .body = {request->body.data, request->body.len},
                                   .headers = headers ? headers : client->auth.plain,
                                   .once = !request->options.repeatable,
                                   .urgent = request->options.urgent};
    request->probing = false;
    request->asked_ms = fw_loop_now_ms(client->core.loop);
    request->generation = client->auth.generation;
    request->call = fwi_eh_call_start(client, &options, &handler);
    return request->call != NULL;
}

static void on_probed(fwi_eh_call *call, const fwi_eh_end *end, void *arg)
{
    (void)call;
    fwi_eh_request *request = arg;
    request->call = NULL;
    switch (end->outcome) {
    case FWI_EH_ANSWERED:
    case FWI_EH_TOO_LONG:
        if (!send_body(request))
            finish(request, UV_ENOMEM, "");
        break;
    case FWI_EH_NOT_SENT:
    case FWI_EH_LOST:
        fail_attempt(request, false, false, end->text);
        break;
    case FWI_EH_NO_TLS:
        finish_undone(request, FW_ETLS, end->text);
        break;
    }
}

static void on_token(int status, const char *detail, void *arg)
{
    fwi_eh_request *request = arg;
    if (!status) {
        attempt_or_finish(request);
        return;
    }
    /* Nothing of this request was sent. */
    bool nobody = status == FW_EDEADLINE && !request->options.repeatable;
    finish(request, nobody ? FW_EUNREACHABLE : status, detail);
}

/* False: no memory. */
static bool attempt(fwi_eh_request *request, uint64_t left)
{
    fwi_eh_client *client = request->client;
    if (!request->options.is_secret && !fwi_eh_auth_headers(client)) {
        fwi_loop_timer_start(client->core.loop, &request->timer, left);
        fwi_eh_auth_wait(client, &request->waiter);
        return true;
    }
    request->endpoint = client->current;
    request->attempts++;
    size_t count = client->endpoint_count;
    size_t untried = (count - request->attempts % count) % count;
    uint64_t share = left / (untried + 1);
    if (untried && share < LEAST_ATTEMPT_MS)
        share = LEAST_ATTEMPT_MS;
    fwi_loop_timer_start(client->core.loop, &request->timer, share < left ? share : left);
    if (request->options.repeatable || client->endpoints[request->endpoint].answers)
        return send_body(request);
    fwi_eh_call_handler handler = {.on_end = on_probed, .arg = request};
    request->probing = true;
    request->call = fwi_eh_health_ask(client, request->endpoint, &handler);
    return request->call != NULL;
}

static void attempt_or_finish(fwi_eh_request *request)
{
    uint64_t left = time_left(request);
    if (!left)
        finish_failed(request);
    else if (!attempt(request, left))
        finish(request, UV_ENOMEM, "");
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_eh_request *request = arg;
    if (!fwi_list_empty(&request->waiter.node)) {
        const char *trouble = fwi_eh_auth_trouble(request->client);
        (void)snprintf(request->detail, sizeof request->detail, "%s",
                       trouble[0] ? trouble : "no answer to the authentication in time");
        finish_failed(request);
        return;
    }
    if (!request->call) {
        attempt_or_finish(request);
        return;
    }
    bool sent = !request->probing && fwi_eh_call_was_sent(request->call);
    uint64_t left = time_left(request);
    if (left && sent && !request->options.repeatable) {
        fwi_loop_timer_start(request->client->core.loop, &request->timer, left);
        return;
    }
    fwi_eh_call_drop(request->call);
    request->call = NULL;
    fail_attempt(request, sent, true, "no answer in time");
}

int fwi_eh_request_start(fwi_eh_client *client, const fwi_eh_request_options *options,
                         fwi_eh_request **ret_request)
{
    fwi_eh_text body = *options->body;
    *options->body = (fwi_eh_text){.data = NULL};
    int err = client->closing ? FW_ECANCELED : body.failed ? UV_ENOMEM : FW_OK;
    fwi_eh_request *request = err ? NULL : calloc(1, sizeof *request);
    if (!request) {
        fwi_eh_text_fini(&body);
        return err ? err : UV_ENOMEM;
    }
    *request = (fwi_eh_request){.client = client,
                                .options = *options,
                                .body = body,
                                .waiter = {.fn = on_token, .arg = request},
                                .timer = {.fn = on_timer, .arg = request}};
    request->options.body = NULL; /* it was only lent */
    fwi_list_init(&request->waiter.node);
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

void fwi_eh_request_drop(fwi_eh_request *request)
{
    request_free(request);
}

void fwi_eh_requests_end(fwi_eh_client *client)
{
    while (!fwi_list_empty(&client->requests))
        finish(fwi_container_of(client->requests.next, fwi_eh_request, node), FW_ECANCELED, "");
}
