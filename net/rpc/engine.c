/*
 * The call engine: one object a connection, the same at both ends.
 *
 * Vocabulary: a call is ours and waits for an answer; a request is the peer's and waits for ours.
 *
 * Calls stand in an id table under their sequence, which counts from 1 as walle's does, and in a
 * list in the order of sending. A call leaves both before its callback runs, so nothing that the
 * callback does can end it twice. Ended call records go to a free list.
 *
 * A request lives on the stack of the read; fw_rpc_request_keep makes a copy on the heap, listed
 * with its connection, so that a connection that ends can cut the tie.
 */
#include "rpc/engine.h"

#include "base/id_table.h"
#include "base/log.h"
#include "base/loop.h"
#include "rpc/router.h"
#include "rpc/walle/packet.h"
#include "session/session.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_CALL_TIMEOUT_MS 5000
#define DEFAULT_MAX_IN_FLIGHT   65536

struct call {
    fwi_list node; /* in rpc->calls or, canceled, in rpc->canceled */
    fw_rpc *rpc;
    uint64_t sequence;
    fw_rpc_done_fn done;
    void *arg;
    fwi_timer timer;
};

struct fw_rpc {
    fw_session *session;
    fw_loop *loop;
    fw_rpc_options options;
    fwi_id_table table;
    fwi_list calls;
    fwi_list canceled;
    fwi_list free_calls;
    fwi_list kept; /* fw_rpc_request.node */
    fwi_task report_canceled;
    bool open, closing;
};

struct fw_rpc_request {
    fwi_list node; /* kept: in rpc->kept */
    fw_rpc *rpc;   /* NULL: the connection is gone */
    fwi_walle_packet packet;
    bool answered, kept;
    fw_rpc_request *copy; /* of a request on the stack: what keep made */
};

static const fw_slice nothing = {"", 0};

/* ---- calls ---- */

static struct call *call_new(fw_rpc *rpc)
{
    fwi_list *node = fwi_list_pop(&rpc->free_calls);
    return node ? fwi_container_of(node, struct call, node) : malloc(sizeof(struct call));
}

/* Takes the call out of everything and runs its callback. */
static void call_end(struct call *call, const fw_rpc_result *result)
{
    fw_rpc *rpc = call->rpc;
    fw_rpc_done_fn done = call->done;
    void *arg = call->arg;
    fwi_id_table_remove(&rpc->table, call->sequence);
    fwi_loop_timer_stop(rpc->loop, &call->timer);
    fwi_list_remove(&call->node);
    fwi_list_push_back(&rpc->free_calls, &call->node);
    done(result, arg);
}

static void call_end_with(struct call *call, int status)
{
    fw_rpc_result result = {.status = status, .body = nothing, .text = ""};
    call_end(call, &result);
}

static void on_call_timeout(fwi_timer *timer, void *arg)
{
    (void)timer;
    call_end_with(arg, FW_EDEADLINE);
}

static int send_packet(fw_rpc *rpc, const fwi_walle_packet *packet)
{
    uint8_t *payload;
    int err = fwi_session_reserve(rpc->session, fwi_walle_size(packet), &payload);
    if (!err)
        fwi_walle_encode(packet, payload);
    return err;
}

static int check_message(const fw_rpc *rpc, const fw_rpc_message *message)
{
    if (rpc->closing)
        return FW_ECLOSED;
    bool named = message->method && *message->method;
    if ((!named && !message->number) || message->metadata_count > FWI_WALLE_MAX_METADATA)
        return FW_EOPTION;
    return FW_OK;
}

static fwi_walle_packet packet_of(const fw_rpc_message *message, int32_t cmd, uint64_t sequence)
{
    const char *method = message->method ? message->method : "";
    return (fwi_walle_packet){.cmd = cmd,
                              .sequence = sequence,
                              .method = {method, strlen(method)},
                              .number = message->number,
                              .body = message->body,
                              .metadata = message->metadata,
                              .metadata_count = message->metadata_count};
}

int fw_rpc_call(fw_rpc *rpc, const fw_rpc_message *message, fw_rpc_done_fn done, void *arg,
                uint64_t *ret_call)
{
    int err = check_message(rpc, message);
    if (err)
        return err;
    if (rpc->table.count >= rpc->options.max_in_flight)
        return FW_ELIMIT;
    struct call *call = call_new(rpc);
    if (!call)
        return UV_ENOMEM;
    *call = (struct call){.rpc = rpc, .done = done, .arg = arg};
    err = fwi_id_table_add(&rpc->table, call, &call->sequence);
    if (err)
        goto fail;
    fwi_walle_packet packet = packet_of(message, FWI_WALLE_REQUEST, call->sequence);
    err = send_packet(rpc, &packet);
    if (err) {
        fwi_id_table_remove(&rpc->table, call->sequence);
        goto fail;
    }
    call->timer = (fwi_timer){.fn = on_call_timeout, .arg = call};
    fwi_loop_timer_start(rpc->loop, &call->timer,
                         message->timeout_ms ? message->timeout_ms : rpc->options.call_timeout_ms);
    fwi_list_push_back(&rpc->calls, &call->node);
    if (ret_call)
        *ret_call = call->sequence;
    return FW_OK;
fail:
    fwi_list_push_back(&rpc->free_calls, &call->node);
    return err;
}

int fw_rpc_notify(fw_rpc *rpc, const fw_rpc_message *message)
{
    int err = check_message(rpc, message);
    if (err)
        return err;
    /* walle's notifications spend a sequence number, too; nothing is remembered under it. */
    fwi_walle_packet packet = packet_of(message, FWI_WALLE_ONEWAY, rpc->table.last_id + 1);
    err = send_packet(rpc, &packet);
    if (!err)
        rpc->table.last_id++;
    return err;
}

static void on_report_canceled(fwi_task *task, void *arg)
{
    (void)task;
    fw_rpc *rpc = arg;
    while (!fwi_list_empty(&rpc->canceled))
        call_end_with(fwi_container_of(rpc->canceled.next, struct call, node), FW_ECANCELED);
}

int fw_rpc_cancel(fw_rpc *rpc, uint64_t sequence)
{
    /* Out of the table at once, so that an answer that comes meanwhile finds nobody. */
    struct call *call = fwi_id_table_remove(&rpc->table, sequence);
    if (!call)
        return FW_ENOTFOUND;
    fwi_loop_timer_stop(rpc->loop, &call->timer);
    fwi_list_remove(&call->node);
    fwi_list_push_back(&rpc->canceled, &call->node);
    fwi_loop_defer(rpc->loop, &rpc->report_canceled);
    return FW_OK;
}

/* ---- requests ---- */

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
        if (field->name.len == len && !memcmp(field->name.data, name, len))
            return field->value;
    }
    return (fw_slice){NULL, 0};
}

bool fw_rpc_request_is_oneway(const fw_rpc_request *request)
{
    return request->packet.cmd == FWI_WALLE_ONEWAY;
}

fw_rpc *fw_rpc_request_peer(const fw_rpc_request *request)
{
    return request->rpc;
}

static fw_slice copy_slice(uint8_t **room, fw_slice from)
{
    fw_slice to = {*room, from.len};
    if (from.len)
        memcpy(*room, from.data, from.len);
    *room += from.len;
    return to;
}

fw_rpc_request *fw_rpc_request_keep(fw_rpc_request *request)
{
    if (request->kept)
        return request;
    const fwi_walle_packet *from = &request->packet;
    size_t size = sizeof *request + from->metadata_count * sizeof(fw_rpc_field) + from->method.len +
                  from->body.len;
    for (size_t i = 0; i < from->metadata_count; i++)
        size += from->metadata[i].name.len + from->metadata[i].value.len;
    fw_rpc_request *copy = malloc(size);
    if (!copy)
        return NULL;
    *copy = *request;
    copy->kept = true;
    fw_rpc_field *metadata = (fw_rpc_field *)(copy + 1);
    uint8_t *room = (uint8_t *)(metadata + from->metadata_count);
    for (size_t i = 0; i < from->metadata_count; i++) {
        metadata[i].name = copy_slice(&room, from->metadata[i].name);
        metadata[i].value = copy_slice(&room, from->metadata[i].value);
    }
    copy->packet.metadata = metadata;
    copy->packet.method = copy_slice(&room, from->method);
    copy->packet.body = copy_slice(&room, from->body);
    fwi_list_push_back(&request->rpc->kept, &copy->node);
    request->copy = copy;
    return copy;
}

/* Sends an answer: the request's packet turned around, its metadata not copied (as walle). */
static int send_answer(fw_rpc_request *request, uint32_t more_flags, fw_slice body)
{
    if (!request->rpc || request->rpc->closing)
        return FW_ECLOSED;
    fwi_walle_packet answer = request->packet;
    answer.cmd = FWI_WALLE_RESPONSE;
    answer.flag |= more_flags;
    answer.metadata_count = 0;
    answer.body = body;
    return send_packet(request->rpc, &answer);
}

static int send_error(fw_rpc_request *request, int64_t code, bool logic, const char *text)
{
    fwi_walle_error error = {.code = code, .logic = logic};
    snprintf(error.text, sizeof error.text, "%s", text);
    fw_slice body;
    fw_rpc_error_format format =
        request->rpc ? request->rpc->options.error_format : FW_RPC_ERRORS_JSON;
    int err = fwi_walle_error_encode(&error, format, &body);
    if (err)
        return err;
    err = send_answer(request, FWI_WALLE_FLAG_EXCEPTION, body);
    free((void *)body.data);
    return err;
}

/* Marks a request as answered; a kept one is freed. */
static void request_end(fw_rpc_request *request)
{
    request->answered = true;
    if (!request->kept)
        return;
    fwi_list_remove(&request->node);
    free(request);
}

int fw_rpc_reply(fw_rpc_request *request, fw_slice body)
{
    int err = FW_OK;
    if (!fw_rpc_request_is_oneway(request)) {
        err = send_answer(request, 0, body);
        if (err == FW_EFRAMESIZE || err == FW_ELIMIT)
            (void)send_error(request, FW_RPC_CODE_INTERNAL, false, fw_strerror(err));
    }
    request_end(request);
    return err;
}

int fw_rpc_fail(fw_rpc_request *request, int64_t code, const char *text)
{
    int err = FW_OK;
    if (!fw_rpc_request_is_oneway(request))
        err = send_error(request, code, true, text);
    request_end(request);
    return err;
}

static void serve(fw_rpc *rpc, const fwi_walle_packet *packet)
{
    fw_rpc_request request = {.rpc = rpc, .packet = *packet};
    const fwi_rpc_route *route =
        fwi_rpc_router_find(rpc->options.router, packet->number, packet->method);
    bool oneway = packet->cmd == FWI_WALLE_ONEWAY;
    if (!route) {
        fwi_log(FW_LOG_DEBUG, "rpc", "no such method", FWI_TEXT("peer", fw_rpc_peer(rpc)),
                FWI_NUMBER("number", packet->number));
        if (!oneway)
            (void)send_error(&request, FW_RPC_CODE_NO_METHOD, false, "no such method");
        return;
    }
    route->handler(&request, route->arg);
    if (!request.answered && !request.copy && !oneway)
        (void)send_error(&request, FW_RPC_CODE_INTERNAL, false, "the handler gave no answer");
}

/* ---- the connection ---- */

static void take_answer(fw_rpc *rpc, const fwi_walle_packet *packet)
{
    struct call *call = fwi_id_table_find(&rpc->table, packet->sequence);
    if (!call)
        return; /* ended by its deadline, or canceled */
    fw_rpc_result result = {.body = packet->body,
                            .text = "",
                            .metadata = packet->metadata,
                            .metadata_count = packet->metadata_count};
    fwi_walle_error error;
    if (packet->flag & FWI_WALLE_FLAG_EXCEPTION) {
        result.status = fwi_walle_error_decode(&error, packet->body);
        if (!result.status) {
            result.status = FW_EREMOTE;
            result.code = error.code;
            result.logic = error.logic;
            result.text = error.text;
        }
        result.body = nothing;
    }
    call_end(call, &result);
}

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    fw_rpc *rpc = arg;
    fwi_walle_packet packet;
    fw_rpc_field metadata[FWI_WALLE_MAX_METADATA];
    int err = fwi_walle_decode(&packet, metadata, data, len);
    if (err) {
        fwi_log(FW_LOG_WARN, "rpc", "connection closed", FWI_TEXT("peer", fw_session_peer(session)),
                FWI_TEXT("reason", fw_strerror(err)));
        fw_session_close(session, err);
    } else if (packet.cmd == FWI_WALLE_RESPONSE) {
        take_answer(rpc, &packet);
    } else {
        serve(rpc, &packet); /* every other command is a request, as with walle */
    }
}

static void on_open(fw_session *session, void *arg)
{
    (void)session;
    fw_rpc *rpc = arg;
    rpc->open = true;
    if (rpc->options.on_open)
        rpc->options.on_open(rpc, rpc->options.arg);
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    fw_rpc *rpc = arg;
    int status = rpc->closing ? FW_ECANCELED : rpc->open ? FW_ELOST : reason;
    rpc->closing = true;
    while (!fwi_list_empty(&rpc->calls))
        call_end_with(fwi_container_of(rpc->calls.next, struct call, node), status);
    on_report_canceled(NULL, rpc); /* after the calls: their callbacks may have canceled others */
    fwi_loop_defer_cancel(rpc->loop, &rpc->report_canceled);
    for (fwi_list *node; (node = fwi_list_pop(&rpc->kept));)
        fwi_container_of(node, fw_rpc_request, node)->rpc = NULL;
    if (rpc->options.on_closed)
        rpc->options.on_closed(rpc, reason, rpc->options.arg);
    for (fwi_list *node; (node = fwi_list_pop(&rpc->free_calls));)
        free(fwi_container_of(node, struct call, node));
    fwi_id_table_fini(&rpc->table);
    free(rpc);
}

static const fw_session_events session_events = {
    .on_open = on_open, .on_frame = on_frame, .on_closed = on_closed};

static fw_rpc *rpc_create(fw_loop *loop, const fw_rpc_options *options)
{
    fw_rpc *rpc = calloc(1, sizeof *rpc);
    if (!rpc)
        return NULL;
    rpc->loop = loop;
    rpc->options = *options;
    if (!rpc->options.call_timeout_ms)
        rpc->options.call_timeout_ms = DEFAULT_CALL_TIMEOUT_MS;
    if (!rpc->options.max_in_flight)
        rpc->options.max_in_flight = DEFAULT_MAX_IN_FLIGHT;
    rpc->report_canceled = (fwi_task){.fn = on_report_canceled, .arg = rpc};
    fwi_id_table_init(&rpc->table, UINT64_MAX);
    fwi_list_init(&rpc->calls);
    fwi_list_init(&rpc->canceled);
    fwi_list_init(&rpc->free_calls);
    fwi_list_init(&rpc->kept);
    return rpc;
}

int fwi_rpc_accept(fw_session *session, const fw_rpc_options *options, fw_rpc **ret_rpc)
{
    fw_rpc *rpc = rpc_create(fw_session_loop(session), options);
    if (!rpc)
        return UV_ENOMEM;
    rpc->session = session;
    rpc->open = true;
    fw_session_set_events(session, &session_events, rpc);
    *ret_rpc = rpc;
    return FW_OK;
}

int fw_rpc_dial(fw_loop *loop, const char *url, const fw_rpc_options *options, fw_rpc **ret_rpc)
{
    fw_rpc *rpc = rpc_create(loop, options);
    if (!rpc)
        return UV_ENOMEM;
    fw_session_options session_options = {.framing = {.max_frame_bytes = options->max_frame_bytes},
                                          .dial_timeout_ms = options->dial_timeout_ms,
                                          .max_queue_bytes = options->max_queue_bytes,
                                          .events = session_events,
                                          .arg = rpc};
    int err = fw_session_dial(loop, url, &session_options, &rpc->session);
    if (err)
        free(rpc);
    else
        *ret_rpc = rpc;
    return err;
}

void fw_rpc_close(fw_rpc *rpc)
{
    if (rpc->closing)
        return;
    rpc->closing = true;
    fw_session_close(rpc->session, FW_ECANCELED);
}

const char *fw_rpc_peer(fw_rpc *rpc)
{
    return fw_session_peer(rpc->session);
}

size_t fw_rpc_in_flight(const fw_rpc *rpc)
{
    return rpc->table.count;
}
