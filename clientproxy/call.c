#include "call.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "hash.h"

static const fw_slice nothing = {"", 0};

/* ---- attempts ---- */

/* instance may be NULL. */
static const fw_instance *hold(const fw_instance *instance)
{
    return instance ? fw_instance_acquire(instance) : NULL;
}

static void leave_endpoint(fwi_attempt *attempt)
{
    fwi_endpoint *endpoint = attempt->endpoint;
    if (!endpoint)
        return;
    attempt->endpoint = NULL;
    attempt->sent = false;
    fw_instance_release(attempt->instance);
    attempt->instance = NULL;
    fwi_members_end(&attempt->call->proxy->members, endpoint);
}

static void join_endpoint(fwi_attempt *attempt, fwi_endpoint *endpoint)
{
    attempt->endpoint = endpoint;
    attempt->instance = fw_instance_acquire(endpoint->instance);
    fwi_members_begin(&attempt->call->proxy->members, endpoint);
}

static void stop_waiting(fwi_call *call)
{
    if (!fwi_list_empty(&call->node)) {
        fwi_list_remove(&call->node);
        call->proxy->waiting_count--;
    }
    fwi_loop_timer_stop(call->proxy->loop, &call->timer);
}

static void call_free(fwi_call *call)
{
    free(call->copy);
    fw_instance_release(call->avoid);
    fwi_list_push_back(&call->proxy->free_calls, &call->node);
}

/* Ends a call: out of everything, then its callback. An attempt that is under way is canceled, and
 * frees the call when that has been reported. */
static void call_end(fwi_call *call, const fw_rpc_result *result, const fw_instance *instance)
{
    fw_proxy_done_fn done = call->done;
    void *arg = call->arg;
    hold(instance);
    stop_waiting(call);
    call->ended = true;
    call->proxy->call_count--;
    for (int i = 0; i < 2; i++) {
        fwi_attempt *attempt = &call->attempts[i];
        if (attempt->endpoint && !attempt->sent)
            leave_endpoint(attempt);
        else if (attempt->endpoint && attempt->endpoint->rpc)
            fw_rpc_cancel(attempt->endpoint->rpc, attempt->id);
    }
    if (!call->sent)
        call_free(call);
    if (done)
        done(result, instance, arg);
    fw_instance_release(instance);
}

static void call_end_with(fwi_call *call, int status)
{
    fw_rpc_result result = {.status = status, .body = nothing, .text = ""};
    const fw_instance *instance = hold(call->attempts[0].instance);
    call_end(call, &result, instance);
    fw_instance_release(instance);
}

static void on_report(fwi_task *task, void *arg)
{
    (void)task;
    fwi_call *call = arg;
    call->sent = 0;
    call->attempts[0].sent = false;
    call_end_with(call, FW_OK);
}

/* ---- answers ---- */

/* What an application answers is no fault of the endpoint, nor is a method that it has not. */
static bool is_fault(const fw_rpc_result *result)
{
    if (result->status == FW_EREMOTE)
        return !result->logic && result->code != FW_RPC_CODE_NO_METHOD;
    return result->status != FW_OK && result->status != FW_ECANCELED;
}

/* How long it took is told to whoever learns from it. */
static void learn(const fwi_attempt *attempt, const fw_rpc_result *result)
{
    fw_proxy *proxy = attempt->call->proxy;
    fwi_endpoint *endpoint = attempt->endpoint;
    double took_ms = (double)(uv_hrtime() - attempt->sent_ns) / 1e6;
    uint64_t now = fw_loop_now_ms(proxy->loop);
    bool fault = is_fault(result), timed_out = result->status == FW_EDEADLINE;
    /* A fault that came quickly does not make an endpoint fast, nor does being canceled; but a call
     * that waited in vain shows how slow it is. */
    bool is_sample = !fault && result->status != FW_ECANCELED;
    if (is_sample || took_ms > endpoint->latency.value)
        fwi_ewma_add(&endpoint->latency, took_ms, now, 0);
    if (is_sample)
        fwi_hedge_sample(&proxy->hedge, took_ms);
    if (is_sample || timed_out)
        fwi_limit_sample(&proxy->limit, took_ms, timed_out, proxy->call_count);
    if (result->status != FW_ECANCELED)
        fwi_proxy_judge(proxy, endpoint, !fault, result->status);
}

static int dispatch(fwi_call *call, const fw_rpc_message *message);

/* Sends an idempotent call again that was lost. False: it has ended. */
static bool try_again(fwi_call *call, const fw_rpc_result *result, const fw_instance *instance)
{
    fw_proxy *proxy = call->proxy;
    uint64_t now = fw_loop_now_ms(proxy->loop);
    if (!call->idempotent || !is_fault(result) || result->status == FW_EDEADLINE ||
        proxy->closing || call->retries >= proxy->options.max_retries || now >= call->deadline_ms ||
        !fwi_retry_budget_withdraw(&proxy->budget, now))
        return false;
    call->retries++;
    call->dispatches = 0;
    call->hedged = false;
    fw_instance_release(call->avoid);
    call->avoid = hold(instance);
    return dispatch(call, &call->message) == FW_OK;
}

static void on_rpc_done(const fw_rpc_result *result, void *arg)
{
    fwi_attempt *attempt = arg;
    fwi_call *call = attempt->call;
    learn(attempt, result);
    const fw_instance *instance = hold(attempt->instance);
    leave_endpoint(attempt);
    call->sent--;
    if (call->ended) {
        if (!call->sent)
            call_free(call);
    } else if (call->sent && is_fault(result)) {
        /* The other one may still bring an answer. */
    } else {
        fwi_loop_timer_stop(call->proxy->loop, &call->timer);
        if (call->sent || !try_again(call, result, instance))
            call_end(call, result, instance);
    }
    fw_instance_release(instance);
}

/* ---- sending ---- */

static int send_rpc(fwi_attempt *attempt, const fw_rpc_message *message)
{
    fwi_call *call = attempt->call;
    fw_rpc_message sent = *message;
    uint64_t now = fw_loop_now_ms(call->proxy->loop);
    sent.timeout_ms = call->deadline_ms > now ? (uint32_t)(call->deadline_ms - now) : 1;
    attempt->sent_ns = uv_hrtime();
    return fw_rpc_call(attempt->endpoint->rpc, &sent, on_rpc_done, attempt, &attempt->id);
}

static uint32_t hedge_delay_ms(const fw_proxy *proxy)
{
    uint32_t delay = proxy->options.hedge_after_ms;
    return delay == FW_PROXY_HEDGE_AUTO ? fwi_hedge_after_ms(&proxy->hedge) : delay;
}

/* Sends the call on its endpoint's open connection. On an error it is where it was. */
static int send_call(fwi_call *call, const fw_rpc_message *message)
{
    fw_proxy *proxy = call->proxy;
    fwi_attempt *attempt = &call->attempts[0];
    fwi_loop_timer_stop(proxy->loop, &call->timer); /* from here on the connection keeps time */
    int err =
        call->oneway ? fw_rpc_notify(attempt->endpoint->rpc, message) : send_rpc(attempt, message);
    if (err)
        return err;
    attempt->sent = true;
    call->sent++;
    uint32_t delay = call->idempotent ? hedge_delay_ms(proxy) : 0;
    if (call->oneway)
        fwi_loop_defer(proxy->loop, &call->report);
    else if (delay && fw_loop_now_ms(proxy->loop) + delay < call->deadline_ms)
        fwi_loop_timer_start(proxy->loop, &call->timer, delay);
    return FW_OK;
}

/* A second copy to another endpoint. It is never worth waiting for a connection; there will be one
 * for the next call. */
static void hedge(fwi_call *call)
{
    fw_proxy *proxy = call->proxy;
    fwi_attempt *attempt = &call->attempts[1];
    if (call->hedged || attempt->endpoint || proxy->closing)
        return;
    fw_balancer_call wanted = {.has_key = call->has_key, .key = call->key};
    fwi_endpoint *endpoint = fwi_members_pick(&proxy->members, &wanted, call->attempts[0].endpoint);
    if (!endpoint || endpoint == call->attempts[0].endpoint)
        return;
    if (endpoint->state == FWI_ENDPOINT_IDLE && fwi_endpoint_connect(endpoint))
        return;
    if (endpoint->state != FWI_ENDPOINT_READY ||
        !fwi_retry_budget_withdraw(&proxy->budget, fw_loop_now_ms(proxy->loop)))
        return;
    call->hedged = true;
    join_endpoint(attempt, endpoint);
    if (send_rpc(attempt, &call->message)) {
        leave_endpoint(attempt);
        return;
    }
    attempt->sent = true;
    call->sent++;
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_call *call = arg;
    if (call->sent)
        hedge(call);
    else
        call_end_with(call, call->last_error ? call->last_error : FW_EDEADLINE);
}

/* ---- waiting ---- */

/* Gives a call memory of its own for its message. */
static int copy_message(fwi_call *call, const fw_rpc_message *message)
{
    if (call->copy)
        return FW_OK;
    size_t method = message->method ? strlen(message->method) + 1 : 0;
    size_t size = message->metadata_count * sizeof *message->metadata + method + message->body.len;
    for (size_t i = 0; i < message->metadata_count; i++)
        size += message->metadata[i].name.len + message->metadata[i].value.len;
    fw_rpc_field *fields = call->copy = malloc(size ? size : 1);
    if (!fields)
        return UV_ENOMEM;
    char *room = (char *)(fields + message->metadata_count);
    call->message = *message;
    call->message.metadata = fields;
    for (size_t i = 0; i < message->metadata_count; i++) {
        const fw_rpc_field *from = &message->metadata[i];
        fields[i].name = (fw_slice){memcpy(room, from->name.data, from->name.len), from->name.len};
        room += from->name.len;
        fields[i].value =
            (fw_slice){memcpy(room, from->value.data, from->value.len), from->value.len};
        room += from->value.len;
    }
    if (method)
        call->message.method = memcpy(room, message->method, method);
    room += method;
    if (message->body.len)
        call->message.body.data = memcpy(room, message->body.data, message->body.len);
    return FW_OK;
}

static int wait_in(fwi_call *call, fwi_list *list, const fw_rpc_message *message)
{
    fw_proxy *proxy = call->proxy;
    if (proxy->waiting_count >= proxy->options.max_waiting)
        return FW_ELIMIT;
    int err = copy_message(call, message);
    if (err)
        return err;
    uint64_t now = fw_loop_now_ms(proxy->loop);
    if (!fwi_timer_armed(&call->timer))
        fwi_loop_timer_start(proxy->loop, &call->timer,
                             call->deadline_ms > now ? call->deadline_ms - now : 0);
    fwi_list_push_back(list, &call->node);
    proxy->waiting_count++;
    return FW_OK;
}

static fwi_endpoint *choose(fwi_call *call)
{
    fwi_members *members = &call->proxy->members;
    fw_balancer_call wanted = {.has_key = call->has_key, .key = call->key};
    return fwi_members_pick(members, &wanted,
                            call->avoid ? fwi_members_find(members, call->avoid->id) : NULL);
}

/* Sends the call, or lets it wait where it must. An error means that it has ended nowhere: the
 * caller reports it. */
static int dispatch(fwi_call *call, const fw_rpc_message *message)
{
    fw_proxy *proxy = call->proxy;
    fwi_attempt *attempt = &call->attempts[0];
    if (!proxy->has_list) {
        call->last_error = proxy->stale_reason;
        return wait_in(call, &proxy->waiting, message);
    }
    int err = call->last_error ? call->last_error : FW_ENOINSTANCE;
    for (; call->dispatches <= proxy->members.count; call->dispatches++) {
        fwi_endpoint *endpoint = choose(call);
        if (!endpoint)
            break;
        if (endpoint->state == FWI_ENDPOINT_IDLE && (err = fwi_endpoint_connect(endpoint)))
            continue; /* an address that makes no sense */
        join_endpoint(attempt, endpoint);
        if (endpoint->state == FWI_ENDPOINT_READY) {
            err = send_call(call, message);
            if (!err)
                return FW_OK;
            leave_endpoint(attempt);
            if (err != FW_ECLOSED)
                return err;
            /* Its connection is about to report its end: another one, and that costs no attempt. */
            endpoint->state = FWI_ENDPOINT_BACKOFF;
            fwi_members_refresh(&proxy->members, endpoint);
            call->dispatches--;
            continue;
        }
        call->dispatches++;
        err = wait_in(call, &endpoint->waiters, message);
        if (err)
            leave_endpoint(attempt);
        return err;
    }
    return err;
}

static void dispatch_again(fwi_call *call)
{
    leave_endpoint(&call->attempts[0]);
    int err = dispatch(call, &call->message);
    if (err)
        call_end_with(call, err);
}

static void send_waiting(fwi_call *call)
{
    fwi_loop_timer_stop(call->proxy->loop, &call->timer);
    int err = call->attempts[0].endpoint->state == FWI_ENDPOINT_READY
                  ? send_call(call, &call->message)
                  : FW_ELOST;
    if (err)
        call_end_with(call, err);
}

static void cancel(fwi_call *call)
{
    call_end_with(call, FW_ECANCELED);
}

static void for_all(fw_proxy *proxy, fwi_list *list, void (*act)(fwi_call *call))
{
    fwi_list now;
    fwi_list_init(&now);
    fwi_list_splice(&now, list);
    for (fwi_list *node; (node = fwi_list_pop(&now));) {
        proxy->waiting_count--;
        act(fwi_container_of(node, fwi_call, node));
    }
}

void fwi_calls_cancel(fw_proxy *proxy, fwi_list *list)
{
    for_all(proxy, list, cancel);
}

void fwi_calls_dispatch(fw_proxy *proxy, fwi_list *list)
{
    for_all(proxy, list, proxy->closing ? cancel : dispatch_again);
}

void fwi_calls_send(fw_proxy *proxy, fwi_list *list)
{
    for_all(proxy, list, send_waiting);
}

void fwi_calls_note_error(fwi_list *list, int error)
{
    fwi_list_for_each (node, list)
        fwi_container_of(node, fwi_call, node)->last_error = error;
}

void fwi_calls_fini(fw_proxy *proxy)
{
    for (fwi_list *node; (node = fwi_list_pop(&proxy->free_calls));)
        free(fwi_container_of(node, fwi_call, node));
}

int fwi_call_new(fw_proxy *proxy, const fw_rpc_message *message,
                 const fw_proxy_call_options *options, bool oneway, fw_proxy_done_fn done,
                 void *arg)
{
    if (proxy->closing)
        return FW_ECLOSED;
    if (!fwi_limit_allows(&proxy->limit, proxy->call_count))
        return FW_ELIMIT;
    fwi_list *node = fwi_list_pop(&proxy->free_calls);
    fwi_call *call = node ? fwi_container_of(node, fwi_call, node) : malloc(sizeof *call);
    if (!call)
        return UV_ENOMEM;
    uint32_t timeout = message->timeout_ms ? message->timeout_ms : proxy->options.call_timeout_ms;
    uint64_t now = fw_loop_now_ms(proxy->loop);
    *call = (fwi_call){.proxy = proxy,
                       .done = done,
                       .arg = arg,
                       .oneway = oneway,
                       .idempotent = options && options->idempotent,
                       .has_key = options && options->key.len,
                       .deadline_ms = now + timeout};
    if (call->has_key)
        call->key = fwi_hash_bytes(options->key.data, options->key.len);
    fwi_list_init(&call->node);
    call->attempts[0].call = call->attempts[1].call = call;
    call->timer = (fwi_timer){.fn = on_timer, .arg = call};
    call->report = (fwi_task){.fn = on_report, .arg = call};
    int err = call->idempotent ? copy_message(call, message) : FW_OK;
    if (!err)
        err = dispatch(call, message);
    if (err) {
        call_free(call);
        return err;
    }
    proxy->call_count++;
    fwi_retry_budget_deposit(&proxy->budget, now);
    return FW_OK;
}
