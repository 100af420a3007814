/*
 * Requests of the peer, and their answers.
 *
 * A request lives on the stack of the read; fw_rpc_request_keep makes a copy on the heap, listed
 * with its connection, so that a connection that ends can cut the tie. A kept request holds the
 * loop, so that an answer posted by another thread always finds it.
 *
 * A request is canceled when the caller says that it does not wait any more, when its deadline has
 * come, or when its connection is gone. It must be answered all the same, which ends it; nothing is
 * sent then.
 */
#include "rpc/request.h"

#include "base/log.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- what is asked of it ---- */

fw_slice fw_rpc_request_method(const fw_rpc_request *request)
{
    return request->packet.method;
}

uint32_t fw_rpc_request_number(const fw_rpc_request *request)
{
    return request->packet.number;
}

fw_slice fw_rpc_request_body(const fw_rpc_request *request)
{
    return request->packet.body;
}

fw_slice fw_rpc_request_metadata(const fw_rpc_request *request, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < request->packet.metadata_count; i++) {
        const fw_rpc_field *field = &request->packet.metadata[i];
        if (fwi_slice_is(field->name, name, len))
            return field->value;
    }
    return (fw_slice){NULL, 0};
}

bool fw_rpc_request_is_oneway(const fw_rpc_request *request)
{
    return request->packet.kind == FWI_RPC_KIND_ONEWAY;
}

fw_rpc *fw_rpc_request_peer(const fw_rpc_request *request)
{
    return request->rpc;
}

uint64_t fw_rpc_request_remaining_ms(const fw_rpc_request *request)
{
    uint64_t now = fw_loop_now_ms(request->loop);
    if (!request->deadline_ms)
        return UINT64_MAX;
    return request->deadline_ms > now ? request->deadline_ms - now : 0;
}

bool fw_rpc_request_is_canceled(const fw_rpc_request *request)
{
    return __atomic_load_n(&request->canceled, __ATOMIC_ACQUIRE);
}

/* ---- cancellation ---- */

static void cancel(fw_rpc_request *request)
{
    if (request->canceled)
        return;
    __atomic_store_n(&request->canceled, true, __ATOMIC_RELEASE);
    fwi_loop_timer_stop(request->loop, &request->timer);
    if (request->on_cancel)
        request->on_cancel(request, request->cancel_arg); /* may answer and so free it */
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    cancel(arg);
}

int fw_rpc_request_on_cancel(fw_rpc_request *request, fw_rpc_cancel_fn fn, void *arg)
{
    if (!request->kept)
        return UV_EINVAL;
    request->on_cancel = fn;
    request->cancel_arg = arg;
    return FW_OK;
}

static bool is_cancelable(const fw_rpc_request *request)
{
    return request->rpc->protocol->abilities & FWI_RPC_CAN_CANCEL &&
           request->packet.kind == FWI_RPC_KIND_REQUEST;
}

void fwi_rpc_take_cancel(fw_rpc *rpc, uint64_t sequence)
{
    fw_rpc_request *request = fwi_map_get(&rpc->kept_by_sequence, &sequence, sizeof sequence);
    if (request)
        cancel(request);
}

/* ---- keeping ---- */

static fw_slice copy_slice(uint8_t **room, fw_slice from)
{
    fw_slice to = {*room, from.len};
    if (from.len)
        memcpy(*room, from.data, from.len);
    *room += from.len;
    return to;
}

static fw_rpc_request *copy_request(const fw_rpc_request *request)
{
    const fwi_rpc_packet *from = &request->packet;
    size_t size = sizeof *request + from->metadata_count * sizeof(fw_rpc_field) + from->method.len +
                  from->body.len;
    for (size_t i = 0; i < from->metadata_count; i++)
        size += from->metadata[i].name.len + from->metadata[i].value.len;
    fw_rpc_request *copy = malloc(size);
    if (!copy)
        return NULL;
    *copy = *request;
    fw_rpc_field *metadata = (fw_rpc_field *)(copy + 1);
    uint8_t *room = (uint8_t *)(metadata + from->metadata_count);
    for (size_t i = 0; i < from->metadata_count; i++) {
        metadata[i].name = copy_slice(&room, from->metadata[i].name);
        metadata[i].value = copy_slice(&room, from->metadata[i].value);
    }
    copy->packet.metadata = metadata;
    copy->packet.method = copy_slice(&room, from->method);
    copy->packet.body = copy_slice(&room, from->body);
    return copy;
}

fw_rpc_request *fw_rpc_request_keep(fw_rpc_request *request)
{
    if (request->kept)
        return request;
    fw_rpc *rpc = request->rpc;
    fw_rpc_request *copy = copy_request(request);
    const uint64_t sequence = request->packet.sequence;
    /* Of a peer that uses a sequence twice, the request before cannot be canceled any more. */
    if (!copy || (is_cancelable(request) &&
                  fwi_map_put(&rpc->kept_by_sequence, &sequence, sizeof sequence, copy, NULL))) {
        free(copy);
        return NULL;
    }
    copy->kept = true;
    copy->timer = (fwi_timer){.fn = on_deadline, .arg = copy};
    if (copy->deadline_ms)
        fwi_loop_timer_start(rpc->loop, &copy->timer, fw_rpc_request_remaining_ms(copy));
    fwi_list_push_back(&rpc->kept, &copy->node);
    rpc->kept_count++;
    fwi_loop_hold(rpc->loop);
    request->copy = copy;
    return copy;
}

static void untie(fw_rpc_request *request)
{
    fw_rpc *rpc = request->rpc;
    const uint64_t sequence = request->packet.sequence;
    fwi_list_remove(&request->node);
    rpc->kept_count--;
    if (fwi_map_get(&rpc->kept_by_sequence, &sequence, sizeof sequence) == request)
        fwi_map_remove(&rpc->kept_by_sequence, &sequence, sizeof sequence);
    request->rpc = NULL;
}

/* Marks a request as answered; a kept one is freed. */
static void request_end(fw_rpc_request *request)
{
    request->answered = true;
    if (!request->kept)
        return;
    if (request->rpc)
        untie(request);
    fwi_loop_timer_stop(request->loop, &request->timer);
    fwi_loop_release(request->loop);
    free(request);
}

void fwi_rpc_requests_end(fw_rpc *rpc)
{
    while (!fwi_list_empty(&rpc->kept)) {
        fw_rpc_request *request = fwi_container_of(rpc->kept.next, fw_rpc_request, node);
        untie(request);
        cancel(request);
    }
}

/* ---- answers ---- */

/* The request's packet turned around; its metadata is not copied. */
static fwi_rpc_packet answer_to(const fwi_rpc_packet *request)
{
    fwi_rpc_packet answer = *request;
    answer.kind = FWI_RPC_KIND_RESPONSE;
    answer.metadata = NULL;
    answer.metadata_count = 0;
    return answer;
}

static int send_error(fw_rpc *rpc, const fwi_rpc_packet *request, int64_t code, bool logic,
                      const char *text)
{
    fwi_rpc_error error;
    error.code = code;
    error.logic = logic;
    fwi_rpc_error_set_text(&error, text, strlen(text));
    fwi_rpc_packet answer = answer_to(request);
    answer.is_error = true;
    void *memory = NULL;
    int err = rpc->protocol->put_error(&answer, &error, rpc->options.error_format, &memory);
    if (!err)
        err = fwi_rpc_send(rpc, &answer);
    free(memory);
    return err;
}

/* Whether an answer can be sent: FW_ECLOSED, FW_ECANCELED (nobody waits for it). */
static int check_answer(const fw_rpc_request *request)
{
    if (!request->rpc || request->rpc->closing)
        return FW_ECLOSED;
    return request->canceled ? FW_ECANCELED : FW_OK;
}

int fw_rpc_reply(fw_rpc_request *request, fw_slice body)
{
    int err = FW_OK;
    if (!fw_rpc_request_is_oneway(request) && !(err = check_answer(request))) {
        fwi_rpc_packet answer = answer_to(&request->packet);
        answer.body = body;
        err = fwi_rpc_send(request->rpc, &answer);
        if (err == FW_EFRAMESIZE || err == FW_ELIMIT)
            (void)send_error(request->rpc, &request->packet, FW_RPC_CODE_INTERNAL, false,
                             fw_strerror(err));
    }
    request_end(request);
    return err;
}

int fw_rpc_fail(fw_rpc_request *request, int64_t code, const char *text)
{
    int err = FW_OK;
    if (!fw_rpc_request_is_oneway(request) && !(err = check_answer(request)))
        err = send_error(request->rpc, &request->packet, code, true, text);
    request_end(request);
    return err;
}

void fwi_rpc_refuse(fw_rpc *rpc, const fwi_rpc_packet *packet, int64_t code, const char *text)
{
    fwi_log(FW_LOG_DEBUG, "rpc", "request refused", FWI_TEXT("peer", fw_rpc_peer(rpc)),
            FWI_TEXT("reason", text), FWI_NUMBER("number", packet->number));
    if (packet->kind == FWI_RPC_KIND_REQUEST)
        (void)send_error(rpc, packet, code, false, text);
}

/* ---- answers of other threads ---- */

struct posted {
    fwi_task task;
    fw_rpc_request *request;
    bool is_error;
    int64_t code;
    size_t len;
    char bytes[];
};

static void on_posted(fwi_task *task, void *arg)
{
    (void)task;
    struct posted *posted = arg;
    if (posted->is_error)
        (void)fw_rpc_fail(posted->request, posted->code, posted->bytes);
    else
        (void)fw_rpc_reply(posted->request, (fw_slice){posted->bytes, posted->len});
    free(posted);
}

static int post(fw_rpc_request *request, bool is_error, int64_t code, fw_slice bytes)
{
    if (!request->kept)
        return UV_EINVAL;
    struct posted *posted = malloc(sizeof *posted + bytes.len + 1);
    if (!posted)
        return UV_ENOMEM;
    *posted = (struct posted){.task = {.fn = on_posted, .arg = posted},
                              .request = request,
                              .is_error = is_error,
                              .code = code,
                              .len = bytes.len};
    if (bytes.len)
        memcpy(posted->bytes, bytes.data, bytes.len);
    posted->bytes[bytes.len] = 0;
    fwi_loop_post_task(request->loop, &posted->task);
    return FW_OK;
}

int fw_rpc_post_reply(fw_rpc_request *request, fw_slice body)
{
    return post(request, false, 0, body);
}

int fw_rpc_post_fail(fw_rpc_request *request, int64_t code, const char *text)
{
    return post(request, true, code, (fw_slice){text, strlen(text)});
}

/* ---- serving ---- */

void fw_rpc_request_next(fw_rpc_request *request)
{
    if (fw_rpc_request_is_canceled(request)) {
        request_end(request);
        return;
    }
    const fwi_rpc_step *step = fwi_rpc_router_step(request->route, request->step);
    if (step) {
        request->step++;
        step->fn(request, step->arg);
    } else {
        request->route->handler(request, request->route->arg);
    }
}

/* The deadline that the caller has told; false if it is over. */
static bool take_deadline(fw_rpc_request *request)
{
    fw_rpc *rpc = request->rpc;
    fw_slice value = fw_rpc_request_metadata(request, FW_RPC_TIMEOUT_FIELD);
    const char *digits = value.data;
    uint64_t timeout = 0;
    if (!value.len || value.len > 10)
        return true; /* what is no time is none of ours */
    for (size_t i = 0; i < value.len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return true;
        timeout = timeout * 10 + (uint64_t)(digits[i] - '0');
    }
    /* It may have lain behind slow handlers of the same turn, whose clock stands still. */
    request->deadline_ms = rpc->turn_ms + timeout;
    fwi_loop_update_now(rpc->loop);
    return fw_rpc_request_remaining_ms(request) > 0;
}

/* Names that the engine answers itself, unless the router has them; the steps come before, too. */
static void on_reserved(fw_rpc_request *request, void *arg)
{
    (void)arg;
    if (fwi_slice_is(request->packet.method, FWI_RPC_PING, sizeof FWI_RPC_PING - 1))
        (void)fw_rpc_reply(request, request->packet.body);
    else
        fwi_rpc_topics_serve(request);
}

void fwi_rpc_requests_init(fw_rpc *rpc)
{
    fwi_list_init(&rpc->kept);
    rpc->reserved = (fwi_rpc_route){.router = rpc->options.router, .handler = on_reserved};
}

static const fwi_rpc_route *find_reserved(const fw_rpc *rpc, fw_slice method)
{
    bool is_ping = fwi_slice_is(method, FWI_RPC_PING, sizeof FWI_RPC_PING - 1);
    bool is_topic = rpc->options.topics &&
                    (fwi_slice_is(method, FWI_RPC_SUBSCRIBE, sizeof FWI_RPC_SUBSCRIBE - 1) ||
                     fwi_slice_is(method, FWI_RPC_UNSUBSCRIBE, sizeof FWI_RPC_UNSUBSCRIBE - 1));
    return is_ping || is_topic ? &rpc->reserved : NULL;
}

void fwi_rpc_serve(fw_rpc *rpc, const fwi_rpc_packet *packet)
{
    fw_rpc_request request = {.rpc = rpc, .loop = rpc->loop, .packet = *packet};
    if (packet->metadata_count && !take_deadline(&request)) {
        fwi_rpc_refuse(rpc, packet, FW_RPC_CODE_TIMEOUT, "the request came after its deadline");
        return;
    }
    request.route = fwi_rpc_router_find(rpc->options.router, packet->number, packet->method);
    if (!request.route)
        request.route = find_reserved(rpc, packet->method);
    if (!request.route) {
        if (!fwi_rpc_take_topic(rpc, packet))
            fwi_rpc_refuse(rpc, packet, FW_RPC_CODE_NO_METHOD, "no such method");
        return;
    }
    if (rpc->kept_count >= rpc->options.max_requests) {
        fwi_rpc_refuse(rpc, packet, FW_RPC_CODE_BUSY, "too many requests in work");
        return;
    }
    fw_rpc_request_next(&request);
    if (!request.answered && !request.copy && packet->kind == FWI_RPC_KIND_REQUEST)
        (void)send_error(rpc, packet, FW_RPC_CODE_INTERNAL, false, "the handler gave no answer");
}
