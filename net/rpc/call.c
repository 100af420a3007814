/*
 * Calls and pings.
 *
 * A call stands in an id table under its sequence, which counts from 1, and in a list in the order
 * of sending. It leaves both before its callback runs, so nothing that the callback does can end it
 * twice. Ended records go to a free list. A sequence that is in use when the numbers have come
 * round is skipped; when all are in use, the next call is refused.
 *
 * What the interceptors remember of a call stands after its record.
 */
#include "rpc/engine.h"

#include "base/log.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct call {
    fwi_list node; /* in rpc->calls or, canceled, in rpc->canceled */
    fw_rpc *rpc;
    fwi_id_table *table;
    uint64_t sequence;
    uint64_t handle; /* what the caller knows it by */
    uint32_t number;
    fw_rpc_done_fn done;
    void *arg;
    fwi_timer timer;
    void *states[]; /* of rpc->options.interceptors */
};

static const fw_slice nothing = {"", 0};

static struct call *call_new(fw_rpc *rpc)
{
    fwi_list *node = fwi_list_pop(&rpc->free_calls);
    if (node)
        return fwi_container_of(node, struct call, node);
    return malloc(sizeof(struct call) + rpc->options.interceptor_count * sizeof(void *));
}

/* ---- interceptors ---- */

/* Tells the first count of them, the last one first. */
static void leave(fw_rpc *rpc, void **states, size_t count, const fw_rpc_result *result)
{
    while (count--) {
        const fw_rpc_interceptor *interceptor = &rpc->options.interceptors[count];
        if (interceptor->after)
            interceptor->after(rpc, result, states[count], interceptor->arg);
    }
}

static void leave_with(fw_rpc *rpc, void **states, size_t count, int status)
{
    fw_rpc_result result = {.status = status, .body = nothing, .text = ""};
    leave(rpc, states, count, &result);
}

static int enter(fw_rpc *rpc, fw_rpc_message *message, void **states)
{
    for (size_t i = 0; i < rpc->options.interceptor_count; i++) {
        const fw_rpc_interceptor *interceptor = &rpc->options.interceptors[i];
        states[i] = NULL;
        int err = interceptor->before
                      ? interceptor->before(rpc, message, &states[i], interceptor->arg)
                      : FW_OK;
        if (err) {
            leave_with(rpc, states, i, err);
            return err;
        }
    }
    return FW_OK;
}

/* ---- ends ---- */

/* Takes the call out of everything and runs its callback. */
static void call_end(struct call *call, const fw_rpc_result *result)
{
    fw_rpc *rpc = call->rpc;
    fw_rpc_done_fn done = call->done;
    void *arg = call->arg;
    if (fwi_id_table_find(call->table, call->sequence) == call) /* a canceled one has left it */
        fwi_id_table_remove(call->table, call->sequence);
    fwi_loop_timer_stop(rpc->loop, &call->timer);
    fwi_list_remove(&call->node);
    if (rpc->options.interceptor_count && call->table == &rpc->table)
        leave(rpc, call->states, rpc->options.interceptor_count, result);
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

static void on_report_canceled(fwi_task *task, void *arg)
{
    (void)task;
    fw_rpc *rpc = arg;
    while (!fwi_list_empty(&rpc->canceled))
        call_end_with(fwi_container_of(rpc->canceled.next, struct call, node), FW_ECANCELED);
}

void fwi_rpc_take_answer(fw_rpc *rpc, const fwi_rpc_packet *packet, int err)
{
    bool is_pong = packet->kind == FWI_RPC_KIND_PONG;
    struct call *call = fwi_id_table_find(is_pong ? &rpc->pings : &rpc->table, packet->sequence);
    if (!call)
        return; /* ended by its deadline, or canceled, or never made */
    if (rpc->protocol->abilities & FWI_RPC_ANSWERS_NAME_NUMBER && !is_pong &&
        call->number != packet->number)
        return; /* of another call, whose sequence has come again */
    fw_rpc_result result = {.status = err,
                            .body = packet->body,
                            .text = "",
                            .metadata = packet->metadata,
                            .metadata_count = packet->metadata_count};
    fwi_rpc_error error;
    if (err) {
        result = (fw_rpc_result){.status = err, .body = nothing, .text = ""};
    } else if (packet->is_error) {
        result.status = rpc->protocol->get_error(packet, &error);
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

/* ---- beginnings ---- */

/* The packet of a message, with its deadline if that is to be told. */
struct outgoing {
    fwi_rpc_packet packet;
    char digits[12];
    fw_rpc_field metadata[FWI_RPC_MAX_METADATA];
};

static void set_packet(fwi_rpc_packet *packet, const fw_rpc_message *message, fwi_rpc_kind kind,
                       uint64_t sequence)
{
    const char *method = message->method ? message->method : "";
    *packet = (fwi_rpc_packet){.kind = kind,
                               .sequence = sequence,
                               .method = {method, strlen(method)},
                               .number = message->number,
                               .body = message->body,
                               .metadata = message->metadata,
                               .metadata_count = message->metadata_count};
}

static int check_message(const fw_rpc *rpc, const fw_rpc_message *message)
{
    if (rpc->closing || !rpc->protocol)
        return FW_ECLOSED;
    bool named = message->method && *message->method;
    unsigned abilities = rpc->protocol->abilities;
    bool is_known = (named && abilities & FWI_RPC_CAN_NAMES) ||
                    (message->number && abilities & FWI_RPC_CAN_NUMBERS);
    if (!is_known || message->metadata_count > FWI_RPC_MAX_METADATA ||
        (message->metadata_count && !(abilities & FWI_RPC_CAN_METADATA)))
        return FW_EOPTION;
    return FW_OK;
}

/* Sends a request; the deadline goes with it if this end was asked to tell it. */
static int send_request(fw_rpc *rpc, const fw_rpc_message *message, uint64_t sequence,
                        uint32_t timeout_ms)
{
    struct outgoing out;
    set_packet(&out.packet, message, FWI_RPC_KIND_REQUEST, sequence);
    if (rpc->options.tell_deadlines && rpc->protocol->abilities & FWI_RPC_CAN_METADATA) {
        size_t count = message->metadata_count;
        if (count == FWI_RPC_MAX_METADATA)
            return FW_EOPTION;
        if (count)
            memcpy(out.metadata, message->metadata, count * sizeof *out.metadata);
        int n = snprintf(out.digits, sizeof out.digits, "%u", (unsigned)timeout_ms);
        out.metadata[count] = (fw_rpc_field){
            {FW_RPC_TIMEOUT_FIELD, sizeof FW_RPC_TIMEOUT_FIELD - 1}, {out.digits, (size_t)n}};
        out.packet.metadata = out.metadata;
        out.packet.metadata_count = count + 1;
    }
    return fwi_rpc_send(rpc, &out.packet);
}

/* A record under the next sequence of a table. FW_ELIMIT, UV_ENOMEM. */
static int call_begin(fw_rpc *rpc, fwi_id_table *table, fw_rpc_done_fn done, void *arg,
                      struct call **ret_call)
{
    if (table->count >= rpc->options.max_in_flight)
        return FW_ELIMIT;
    struct call *call = call_new(rpc);
    if (!call)
        return UV_ENOMEM;
    *call = (struct call){.rpc = rpc, .table = table, .done = done, .arg = arg};
    int err = fwi_id_table_add(table, call, &call->sequence);
    if (err)
        fwi_list_push_back(&rpc->free_calls, &call->node);
    else
        *ret_call = call;
    return err;
}

static void call_drop(struct call *call)
{
    fwi_id_table_remove(call->table, call->sequence);
    fwi_list_push_back(&call->rpc->free_calls, &call->node);
}

static void call_wait(struct call *call, uint32_t timeout_ms)
{
    fw_rpc *rpc = call->rpc;
    call->timer = (fwi_timer){.fn = on_call_timeout, .arg = call};
    fwi_loop_timer_start(rpc->loop, &call->timer, timeout_ms);
    fwi_list_push_back(&rpc->calls, &call->node);
}

/* Where sequences come round soon, a call's number for its caller has more digits. */
static uint64_t handle_of(fw_rpc *rpc, uint64_t sequence)
{
    return rpc->protocol->max_sequence > UINT16_MAX ? sequence
                                                    : ++rpc->last_handle << 16 | sequence;
}

static uint64_t sequence_of(const fw_rpc *rpc, uint64_t handle)
{
    return rpc->protocol->max_sequence > UINT16_MAX ? handle : handle & UINT16_MAX;
}

int fw_rpc_call(fw_rpc *rpc, const fw_rpc_message *message, fw_rpc_done_fn done, void *arg,
                uint64_t *ret_call)
{
    struct call *call;
    int err = check_message(rpc, message);
    if (!err)
        err = call_begin(rpc, &rpc->table, done, arg, &call);
    if (err)
        return err;
    fw_rpc_message changed;
    if (rpc->options.interceptor_count) {
        changed = *message;
        message = &changed;
        err = enter(rpc, &changed, call->states);
        if (!err)
            err = check_message(rpc, &changed);
        if (err) {
            call_drop(call);
            return err;
        }
    }
    call->number = message->number;
    uint32_t timeout = message->timeout_ms ? message->timeout_ms : rpc->options.call_timeout_ms;
    err = send_request(rpc, message, call->sequence, timeout);
    if (err) {
        leave_with(rpc, call->states, rpc->options.interceptor_count, err);
        call_drop(call);
        return err;
    }
    call_wait(call, timeout);
    call->handle = handle_of(rpc, call->sequence);
    if (ret_call)
        *ret_call = call->handle;
    return FW_OK;
}

/* A notification spends a sequence number, too, unless it has none; nothing is remembered under it.
 * There are fewer calls than sequences, so one is free. */
static uint64_t oneway_sequence(const fw_rpc *rpc)
{
    uint64_t sequence = rpc->table.last_id;
    if (rpc->protocol->abilities & FWI_RPC_ONEWAY_IS_UNNUMBERED)
        return 0;
    do
        sequence = sequence >= rpc->table.max_id ? 1 : sequence + 1;
    while (fwi_id_table_find(&rpc->table, sequence));
    return sequence;
}

int fw_rpc_notify(fw_rpc *rpc, const fw_rpc_message *message)
{
    int err = check_message(rpc, message);
    size_t count = rpc->options.interceptor_count;
    void *states[FW_RPC_MAX_INTERCEPTORS];
    fw_rpc_message changed = *message;
    if (!err && count)
        err = enter(rpc, &changed, states);
    if (err)
        return err;
    fwi_rpc_packet packet;
    uint64_t sequence = oneway_sequence(rpc);
    set_packet(&packet, &changed, FWI_RPC_KIND_ONEWAY, sequence);
    err = check_message(rpc, &changed);
    if (!err)
        err = fwi_rpc_send(rpc, &packet);
    if (!err && sequence)
        rpc->table.last_id = sequence;
    leave_with(rpc, states, count, err);
    return err;
}

int fw_rpc_ping(fw_rpc *rpc, fw_slice payload, uint32_t timeout_ms, fw_rpc_done_fn done, void *arg)
{
    if (rpc->closing || !rpc->protocol)
        return FW_ECLOSED;
    if (!(rpc->protocol->abilities & FWI_RPC_CAN_PING)) {
        fw_rpc_message message = {
            .method = FWI_RPC_PING, .body = payload, .timeout_ms = timeout_ms};
        return fw_rpc_call(rpc, &message, done, arg, NULL);
    }
    struct call *call;
    int err = call_begin(rpc, &rpc->pings, done, arg, &call);
    if (err)
        return err;
    fwi_rpc_packet packet = {
        .kind = FWI_RPC_KIND_PING, .sequence = call->sequence, .method = nothing, .body = payload};
    err = fwi_rpc_send(rpc, &packet);
    if (err)
        call_drop(call);
    else
        call_wait(call, timeout_ms ? timeout_ms : rpc->options.call_timeout_ms);
    return err;
}

int fw_rpc_cancel(fw_rpc *rpc, uint64_t handle)
{
    /* Out of the table at once, so that an answer that comes meanwhile finds nobody. */
    struct call *call = fwi_id_table_find(&rpc->table, sequence_of(rpc, handle));
    if (!call || call->handle != handle)
        return FW_ENOTFOUND;
    fwi_id_table_remove(&rpc->table, call->sequence);
    fwi_loop_timer_stop(rpc->loop, &call->timer);
    fwi_list_remove(&call->node);
    fwi_list_push_back(&rpc->canceled, &call->node);
    fwi_loop_defer(rpc->loop, &rpc->report_canceled);
    fwi_rpc_packet packet = {.kind = FWI_RPC_KIND_CANCEL,
                             .sequence = call->sequence,
                             .method = nothing,
                             .body = nothing};
    /* For the other end it is a help, no more: it need not arrive. */
    if (rpc->protocol->abilities & FWI_RPC_CAN_CANCEL && fwi_rpc_send(rpc, &packet))
        fwi_log(FW_LOG_DEBUG, "rpc", "cancellation not sent", FWI_TEXT("peer", fw_rpc_peer(rpc)));
    return FW_OK;
}

/* ---- the connection's calls ---- */

void fwi_rpc_calls_init(fw_rpc *rpc)
{
    rpc->report_canceled = (fwi_task){.fn = on_report_canceled, .arg = rpc};
    fwi_id_table_init(&rpc->table, UINT64_MAX);
    fwi_id_table_init(&rpc->pings, UINT64_MAX);
    fwi_list_init(&rpc->calls);
    fwi_list_init(&rpc->canceled);
    fwi_list_init(&rpc->free_calls);
}

void fwi_rpc_calls_end(fw_rpc *rpc, int status)
{
    while (!fwi_list_empty(&rpc->calls))
        call_end_with(fwi_container_of(rpc->calls.next, struct call, node), status);
    on_report_canceled(NULL, rpc); /* after the calls: their callbacks may have canceled others */
    fwi_loop_defer_cancel(rpc->loop, &rpc->report_canceled);
}

void fwi_rpc_calls_fini(fw_rpc *rpc)
{
    for (fwi_list *node; (node = fwi_list_pop(&rpc->free_calls));)
        free(fwi_container_of(node, struct call, node));
    fwi_id_table_fini(&rpc->table);
    fwi_id_table_fini(&rpc->pings);
}
