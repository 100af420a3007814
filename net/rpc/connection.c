/*
 * An end of a connection: it tells frames apart, has the protocol read them, and gives them to the
 * calls or the requests.
 *
 * A listener with several protocols learns from a peer's first bytes which one it speaks; until
 * then nothing can be sent, and nobody is told of the connection.
 *
 * A frame that is whole but cannot be read ends the call that it answers, or is answered with an
 * error, if it can be told which; the connection goes on. Otherwise the peer speaks something else,
 * and the connection closes.
 */
#include "rpc/engine.h"

#include "base/log.h"
#include "transport/transport.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_CALL_TIMEOUT_MS 5000
#define DEFAULT_MAX_IN_FLIGHT   65536
#define DEFAULT_MAX_REQUESTS    65536
#define DEFAULT_MAX_QUEUE_BYTES ((size_t)16 * 1024 * 1024)
#define FIRST_TIMEOUT_MS        10000

int fwi_rpc_options_fill(fw_rpc_options *options)
{
    if (!options->call_timeout_ms)
        options->call_timeout_ms = DEFAULT_CALL_TIMEOUT_MS;
    if (!options->max_in_flight)
        options->max_in_flight = DEFAULT_MAX_IN_FLIGHT;
    if (!options->max_requests)
        options->max_requests = DEFAULT_MAX_REQUESTS;
    if (!options->max_frame_bytes)
        options->max_frame_bytes = FWI_RPC_DEFAULT_FRAME;
    if (!options->max_queue_bytes)
        options->max_queue_bytes = DEFAULT_MAX_QUEUE_BYTES;
    bool fits = options->max_frame_bytes <= INT32_MAX - FWI_RPC_MAX_HEAD_BYTES &&
                options->interceptor_count <= FW_RPC_MAX_INTERCEPTORS;
    return fits ? FW_OK : FW_EOPTION;
}

bool fwi_rpc_wants_messages(const char *url)
{
    char scheme[16] = "";
    size_t len = strcspn(url, ":");
    if (len < sizeof scheme)
        memcpy(scheme, url, len);
    unsigned can = fw_transport_can(scheme);
    bool is_ws = !strcmp(scheme, "ws") || !strcmp(scheme, "wss");
    return (can & FW_TRANSPORT_MESSAGES) && (is_ws || !(can & FW_TRANSPORT_STREAM));
}

/* ---- sending ---- */

int fwi_rpc_send(fw_rpc *rpc, const fwi_rpc_packet *packet)
{
    const fwi_rpc_protocol *protocol = rpc->protocol;
    if (rpc->conn->state == FWI_CONN_CLOSING || !protocol)
        return FW_ECLOSED;
    if (fw_conn_congested(rpc->conn))
        return FW_ELIMIT;
    size_t size;
    int err = protocol->size(packet, rpc->messages, rpc->options.max_frame_bytes, &size);
    if (err)
        return err;
    uint8_t *room = fw_conn_reserve(rpc->conn, size);
    if (!room) /* the transport may allow messages that are shorter than our limit */
        return rpc->messages ? FW_EFRAMESIZE : UV_ENOMEM;
    protocol->encode(packet, rpc->messages, room, size);
    return FW_OK;
}

void fwi_rpc_fail(fw_rpc *rpc, int reason)
{
    fwi_log(FW_LOG_WARN, "rpc", "connection closed", FWI_TEXT("peer", fw_conn_peer(rpc->conn)),
            FWI_TEXT("reason", fw_strerror(reason)));
    fw_conn_close(rpc->conn, reason);
}

/* ---- receiving ---- */

/* A frame that cannot be read. */
static void take_damaged(fw_rpc *rpc, const fwi_rpc_packet *packet, int err)
{
    switch (packet->kind) {
    case FWI_RPC_KIND_RESPONSE:
        fwi_rpc_take_answer(rpc, packet, err);
        break;
    case FWI_RPC_KIND_REQUEST:
        fwi_rpc_refuse(rpc, packet, FW_RPC_CODE_MALFORMED, "malformed packet");
        break;
    case FWI_RPC_KIND_IGNORED:
        fwi_rpc_fail(rpc, err);
        break;
    default:
        fwi_log(FW_LOG_DEBUG, "rpc", "malformed packet", FWI_TEXT("peer", fw_rpc_peer(rpc)));
    }
}

static void take_frame(fw_rpc *rpc, const uint8_t *data, size_t len)
{
    fwi_rpc_packet packet;
    fw_rpc_field metadata[FWI_RPC_MAX_METADATA];
    int err = rpc->protocol->decode(&packet, metadata, data, len, rpc->messages);
    if (err) {
        take_damaged(rpc, &packet, err);
        return;
    }
    switch (packet.kind) {
    case FWI_RPC_KIND_RESPONSE:
    case FWI_RPC_KIND_PONG:
        fwi_rpc_take_answer(rpc, &packet, FW_OK);
        break;
    case FWI_RPC_KIND_REQUEST:
    case FWI_RPC_KIND_ONEWAY:
        fwi_rpc_serve(rpc, &packet);
        break;
    case FWI_RPC_KIND_PING:
        packet.kind = FWI_RPC_KIND_PONG;
        if (fwi_rpc_send(rpc, &packet))
            fwi_log(FW_LOG_DEBUG, "rpc", "ping not answered", FWI_TEXT("peer", fw_rpc_peer(rpc)));
        break;
    case FWI_RPC_KIND_CANCEL:
        fwi_rpc_take_cancel(rpc, packet.sequence);
        break;
    case FWI_RPC_KIND_IGNORED:
        break;
    }
}

static bool is_open(const fw_rpc *rpc)
{
    return rpc->conn->state == FWI_CONN_OPEN;
}

static void take_bytes(fw_rpc *rpc, const uint8_t *data, size_t len)
{
    fw_slice frame;
    int rc;
    fwi_framer_push(&rpc->framer, data, len);
    while (is_open(rpc) && (rc = fwi_framer_next(&rpc->framer, &frame)) != 0) {
        if (rc < 0) {
            fwi_rpc_fail(rpc, rc);
            return;
        }
        take_frame(rpc, frame.data, frame.len);
    }
}

static void set_protocol(fw_rpc *rpc, const fwi_rpc_protocol *protocol)
{
    rpc->protocol = protocol;
    rpc->framer = (fwi_framer){.framing = protocol->framing};
    rpc->framer.framing.max_frame_bytes = rpc->options.max_frame_bytes;
    rpc->table.max_id = protocol->max_sequence;
    rpc->pings.max_id = protocol->max_ping;
    fwi_loop_timer_stop(rpc->loop, &rpc->first_timer);
    if (rpc->acceptor)
        rpc->acceptor->on_ready(rpc, rpc->acceptor->owner);
}

/* Looks at the first bytes, of which it takes *ret_taken; true if the protocol is known now. */
static bool recognise(fw_rpc *rpc, const uint8_t *data, size_t len, size_t *ret_taken)
{
    const fwi_rpc_protocol *protocol;
    const fwi_rpc_protocols *protocols = rpc->acceptor->protocols;
    uint32_t limit = rpc->options.max_frame_bytes;
    int rc = 0;
    *ret_taken = 0;
    if (rpc->messages)
        rc = fwi_rpc_protocols_recognise(protocols, data, len, true, limit, &protocol);
    while (!rc && *ret_taken < len && rpc->first_len < sizeof rpc->first) {
        rpc->first[rpc->first_len++] = data[(*ret_taken)++];
        rc = fwi_rpc_protocols_recognise(protocols, rpc->first, rpc->first_len, false, limit,
                                         &protocol);
    }
    if (!rc && rpc->first_len == sizeof rpc->first)
        rc = FW_EPROTOCOL;
    if (rc < 0)
        fwi_rpc_fail(rpc, rc);
    if (rc > 0)
        set_protocol(rpc, protocol);
    return rc > 0;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    fw_rpc *rpc = arg;
    rpc->turn_ms = fw_loop_now_ms(rpc->loop);
    if (!rpc->protocol) {
        size_t taken;
        if (!recognise(rpc, data, len, &taken))
            return;
        if (rpc->first_len)
            take_bytes(rpc, rpc->first, rpc->first_len);
        data += taken;
        len -= taken;
    }
    if (!rpc->messages)
        take_bytes(rpc, data, len);
    else if (is_open(rpc))
        take_frame(rpc, data, len);
}

static void on_first_timeout(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_rpc_fail(arg, FW_EDEADLINE);
}

/* ---- life ---- */

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_rpc *rpc = arg;
    rpc->open = true;
    if (rpc->options.on_open)
        rpc->options.on_open(rpc, rpc->options.arg);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    fw_rpc *rpc = arg;
    int status = rpc->closing ? FW_ECANCELED : rpc->open ? FW_ELOST : reason;
    rpc->closing = true;
    fwi_loop_timer_stop(rpc->loop, &rpc->first_timer);
    fwi_rpc_topics_leave(rpc);
    fwi_rpc_calls_end(rpc, status);
    fwi_rpc_requests_end(rpc);
    bool is_known = rpc->protocol != NULL; /* else nobody was told of it */
    if (rpc->options.on_closed && is_known)
        rpc->options.on_closed(rpc, reason, rpc->options.arg);
    if (rpc->acceptor)
        rpc->acceptor->on_gone(rpc, rpc->acceptor->owner);
    fwi_rpc_subscriptions_fini(rpc);
    fwi_rpc_calls_fini(rpc);
    fwi_map_fini(&rpc->kept_by_sequence);
    fwi_framer_fini(&rpc->framer);
    free(rpc);
}

static const fw_conn_events conn_events = {
    .on_open = on_open, .on_data = on_data, .on_closed = on_closed};

static fw_rpc *rpc_create(fw_loop *loop, const fw_rpc_options *options)
{
    fw_rpc *rpc = calloc(1, sizeof *rpc);
    if (!rpc)
        return NULL;
    rpc->loop = loop;
    rpc->options = *options;
    rpc->first_timer = (fwi_timer){.fn = on_first_timeout, .arg = rpc};
    fwi_list_init(&rpc->node);
    fwi_list_init(&rpc->memberships);
    fwi_rpc_calls_init(rpc);
    fwi_rpc_requests_init(rpc);
    return rpc;
}

int fwi_rpc_accept(fw_conn *conn, const fwi_rpc_acceptor *acceptor, fw_rpc **ret_rpc)
{
    fw_rpc *rpc = rpc_create(fw_conn_loop(conn), acceptor->options);
    if (!rpc)
        return UV_ENOMEM;
    rpc->conn = conn;
    rpc->acceptor = acceptor;
    rpc->open = true;
    rpc->messages = fw_conn_has_messages(conn);
    fw_conn_set_events(conn, &conn_events, rpc);
    *ret_rpc = rpc;
    return FW_OK;
}

void fwi_rpc_begin(fw_rpc *rpc)
{
    const fwi_rpc_protocols *protocols = rpc->acceptor->protocols;
    if (protocols->count == 1)
        set_protocol(rpc, protocols->list[0]);
    else
        fwi_loop_timer_start(rpc->loop, &rpc->first_timer, FIRST_TIMEOUT_MS);
}

int fw_rpc_dial(fw_loop *loop, const char *url, const fw_rpc_options *options, fw_rpc **ret_rpc)
{
    fwi_rpc_protocols protocols;
    fw_rpc_options filled = *options;
    int err = fwi_rpc_options_fill(&filled);
    if (!err)
        err = fwi_rpc_protocols_parse(&protocols, options->protocol);
    if (!err && protocols.count > 1)
        err = FW_EOPTION; /* the one who dials speaks first, so it must know */
    fw_rpc *rpc = err ? NULL : rpc_create(loop, &filled);
    if (!rpc)
        return err ? err : UV_ENOMEM;
    set_protocol(rpc, protocols.list[0]);
    rpc->messages = fwi_rpc_wants_messages(url);
    fw_conn_options conn_options = {.dial_timeout_ms = filled.dial_timeout_ms,
                                    .high_water_bytes = filled.max_queue_bytes,
                                    .messages = rpc->messages,
                                    .max_message_bytes = fwi_rpc_message_bytes(&filled),
                                    .events = conn_events,
                                    .arg = rpc};
    err = fw_conn_dial(loop, url, &conn_options, &rpc->conn);
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
    fw_conn_close(rpc->conn, FW_ECANCELED);
}

const char *fw_rpc_peer(fw_rpc *rpc)
{
    return fw_conn_peer(rpc->conn);
}

const char *fw_rpc_protocol_name(const fw_rpc *rpc)
{
    return rpc->protocol->name;
}

size_t fw_rpc_in_flight(const fw_rpc *rpc)
{
    return rpc->table.count + rpc->pings.count;
}
