/*
 * One gRPC call.
 *
 * A unary call is one batch; but one that asks for proof, on a channel without a connection, is
 * two: the headers alone, and all the rest. If the first of these fails, the headers were never
 * written to a connection, so the request may be made elsewhere; gRPC gives no other proof of it (a
 * batch with the message may fail after its bytes have left, and what grpc_call_get_peer says
 * depends on gRPC's version). It costs a write more, a fifth of the whole call. Where there is a
 * connection the headers are written at once and would prove nothing, so there it is one batch; if
 * the connection happens to break in that moment, the call counts as sent. The tag of the headers
 * is quiet: it does not wake the loop by itself.
 *
 * A stream is a batch for the status, one for each message in, and one for each message out, of
 * which there is one at a time: whoever has more to say waits for on_sent. `headers` is the tag of
 * these; the first carries the headers, too.
 *
 * RECV_INITIAL_METADATA is never left out: without it RECV_MESSAGE does not complete, whatever
 * deadline the call has.
 */
#include "etcd.h"
#include "message.h"

#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>

#define MAX_OPS 6

struct fwi_etcd_call {
    fwi_etcd_client *client;
    fwi_etcd_call_handler handler;
    grpc_call *grpc;
    fwi_etcd_tag headers, reply, status;
    unsigned in_flight;
    bool with_proof, dropped;
    bool sending; /* a message of a stream is on its way out */
    grpc_slice token;
    grpc_metadata sent[2]; /* hasleader, token */
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice text;
    grpc_byte_buffer *message;
};

grpc_slice fwi_etcd_pack(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    WRITES_UNSEEN_BEGIN();
    grpc_slice slice = grpc_slice_malloc(len);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    WRITES_UNSEEN_END();
    return slice;
}

static void drop_message(fwi_etcd_call *call)
{
    if (call->message)
        grpc_byte_buffer_destroy(call->message);
    call->message = NULL;
}

/* Frees what gRPC's threads have allocated. A function of its own because tests/support/tsan.supp
 * names it: ThreadSanitizer sees neither how the memory came to us nor, often, who allocated it. */
static __attribute__((noinline)) void free_what_grpc_made(fwi_etcd_call *call)
{
    drop_message(call);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->text);
    grpc_slice_unref(call->token);
    grpc_call_unref(call->grpc);
}

static void end_call(fwi_etcd_call *call)
{
    fwi_etcd_client *client = call->client;
    if (!call->dropped) {
        char *text = grpc_slice_to_c_string(call->text);
        grpc_slice message = fwi_grpc_message_read(call->message);
        fwi_etcd_end end = {.code = call->code,
                            .text = text,
                            .was_sent = call->handler.on_message || call->headers.ok,
                            .message = {GRPC_SLICE_START_PTR(message), GRPC_SLICE_LENGTH(message)},
                            .slice = &message};
        call->dropped = true;
        call->handler.on_end(call, &end, call->handler.arg);
        grpc_slice_unref(message);
        gpr_free(text);
    }
    free_what_grpc_made(call);
    free(call);
    fwi_etcd_client_call_ended(client);
}

static void on_tag(fwi_etcd_tag *tag, void *arg)
{
    fwi_etcd_call *call = arg;
    if (--call->in_flight == 0)
        end_call(call);
    else if (tag == &call->reply)
        fwi_etcd_tag_hurry(&call->client->queue, &call->headers);
}

static bool start(fwi_etcd_call *call, fwi_etcd_tag *tag, const grpc_op *ops, size_t count)
{
    if (!fwi_etcd_tag_start(tag, call->grpc, ops, count))
        return false;
    call->in_flight++;
    return true;
}

static void on_stream_message(fwi_etcd_tag *tag, void *arg)
{
    fwi_etcd_call *call = arg;
    call->in_flight--;
    bool has_message = tag->ok && call->message;
    if (has_message && !call->dropped) {
        grpc_slice message = fwi_grpc_message_read(call->message);
        fw_slice bytes = {GRPC_SLICE_START_PTR(message), GRPC_SLICE_LENGTH(message)};
        call->handler.on_message(call, bytes, call->handler.arg);
        grpc_slice_unref(message);
    }
    drop_message(call);
    /* An empty message is the server's end of the stream; the status says why. */
    if (has_message && !call->dropped) {
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->message};
        if (!start(call, &call->reply, &op, 1))
            grpc_call_cancel(call->grpc, NULL);
    }
    if (!call->in_flight)
        end_call(call);
}

static void on_stream_sent(fwi_etcd_tag *tag, void *arg)
{
    fwi_etcd_call *call = arg;
    call->in_flight--;
    if (tag->ok) { /* else the stream has ended, and the status is on its way */
        call->sending = false;
        if (!call->dropped && call->handler.on_sent)
            call->handler.on_sent(call, call->handler.arg);
    }
    if (!call->in_flight)
        end_call(call);
}

static grpc_op recv_status_op(fwi_etcd_call *call)
{
    return (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                     .data.recv_status_on_client = {.trailing_metadata = &call->trailing,
                                                    .status = &call->code,
                                                    .status_details = &call->text}};
}

/* etcd refuses at once, instead of waiting for nothing, when its member has no leader. */
static grpc_op send_headers_op(fwi_etcd_call *call)
{
    size_t count = 0;
    call->sent[count++] = (grpc_metadata){.key = grpc_slice_from_static_string("hasleader"),
                                          .value = grpc_slice_from_static_string("true")};
    if (GRPC_SLICE_LENGTH(call->token))
        call->sent[count++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("token"), .value = call->token};
    return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA,
                     .data.send_initial_metadata = {.count = count, .metadata = call->sent}};
}

/* What every call does: the request out, headers and a message in. */
static size_t exchange_ops(fwi_etcd_call *call, grpc_byte_buffer *request, grpc_op *ops)
{
    ops[0] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = request};
    ops[1] = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA,
                       .data.recv_initial_metadata.recv_initial_metadata = &call->initial};
    ops[2] =
        (grpc_op){.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->message};
    return 3;
}

static bool start_unary(fwi_etcd_call *call, grpc_byte_buffer *request)
{
    grpc_op ops[MAX_OPS] = {send_headers_op(call)};
    call->headers.quiet = true;
    call->headers.ok = true; /* the worse, where no proof is asked for */
    if (call->with_proof && !start(call, &call->headers, ops, 1))
        return false;
    size_t count = exchange_ops(call, request, ops);
    if (!call->with_proof)
        ops[count++] = send_headers_op(call);
    ops[count++] = (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    ops[count++] = recv_status_op(call);
    return start(call, &call->reply, ops, count);
}

static bool start_stream(fwi_etcd_call *call, grpc_byte_buffer *request)
{
    grpc_op ops[MAX_OPS] = {recv_status_op(call)};
    if (!start(call, &call->status, ops, 1))
        return false;
    (void)exchange_ops(call, request, ops);
    if (!start(call, &call->reply, &ops[1], 2))
        return false;
    ops[1] = send_headers_op(call);
    call->sending = true;
    return start(call, &call->headers, ops, 2);
}

bool fwi_etcd_call_is_sending(const fwi_etcd_call *call)
{
    return call->sending;
}

void fwi_etcd_call_send(fwi_etcd_call *call, grpc_slice message)
{
    assert(!call->sending && !call->dropped);
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&message, 1);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = bytes};
    call->sending = true;
    if (!start(call, &call->headers, &op, 1))
        grpc_call_cancel(call->grpc, NULL); /* on_end follows */
    grpc_byte_buffer_destroy(bytes);
}

fwi_etcd_call *fwi_etcd_call_start(fwi_etcd_client *client, size_t endpoint, fwi_etcd_method method,
                                   grpc_slice message, uint64_t timeout_ms, bool with_proof,
                                   const fwi_etcd_call_handler *handler)
{
    fwi_etcd_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    bool is_stream = handler->on_message != NULL;
    *call = (fwi_etcd_call){.client = client,
                            .handler = *handler,
                            .headers = {.fn = is_stream ? on_stream_sent : on_tag, .arg = call},
                            .reply = {.fn = is_stream ? on_stream_message : on_tag, .arg = call},
                            .status = {.fn = on_tag, .arg = call},
                            .code = GRPC_STATUS_INTERNAL,
                            /* A token that is over would make it refuse to give a new one. */
                            .token = method == FWI_ETCD_AUTHENTICATE
                                         ? grpc_empty_slice()
                                         : grpc_slice_ref(client->auth.token),
                            .text = grpc_empty_slice()};
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout_ms)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_millis((int64_t)timeout_ms, GPR_TIMESPAN));
    const fwi_etcd_endpoint *at = &client->endpoints[endpoint];
    call->with_proof =
        with_proof && grpc_channel_check_connectivity_state(at->channel, 0) != GRPC_CHANNEL_READY;
    call->grpc = grpc_channel_create_registered_call(at->channel, NULL, 0, client->queue.grpc,
                                                     at->methods[method], deadline, NULL);
    client->calls++;
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&message, 1);
    bool started = is_stream ? start_stream(call, request) : start_unary(call, request);
    grpc_byte_buffer_destroy(request);
    if (started)
        return call;
    /* gRPC refused a batch, which it does for wrong use only. */
    call->dropped = true;
    grpc_call_cancel(call->grpc, NULL);
    if (!call->in_flight)
        end_call(call);
    else
        fwi_etcd_tag_hurry(&client->queue, &call->headers);
    return NULL;
}

void fwi_etcd_call_cancel(fwi_etcd_call *call)
{
    grpc_call_cancel(call->grpc, NULL);
}

void fwi_etcd_call_drop(fwi_etcd_call *call)
{
    if (call->dropped)
        return;
    call->dropped = true;
    grpc_call_cancel(call->grpc, NULL);
}

bool fwi_etcd_call_was_sent(fwi_etcd_call *call)
{
    return !call->with_proof || fwi_etcd_tag_succeeded(&call->client->queue, &call->headers);
}
