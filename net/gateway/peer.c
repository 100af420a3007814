/*
 * One physical connection of the gateway.
 *
 *     client:  accepted -------------------------------> registered --> ended --> gone
 *     server:  accepted --> handshake --right answer--> registered --> ended --> gone
 *                               \______wrong, late______________________/
 *
 * ended is set, and the connection is closing, when we want it away; a connection that goes by
 * itself (EOF, errors) goes straight to gone. gone is on_conn_closed: there the id is given back,
 * the virtual connections are closed, the reason is logged, and the peer is freed.
 */
#include "gateway/engine.h"

#include <fairway/error.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/random.h"

static const char *side_name(int side)
{
    return side == FWI_GW_CLIENT ? "client" : "server";
}

void fwi_gw_peer_end(fwi_gw_peer *peer, int reason)
{
    if (peer->ended)
        return;
    peer->ended = true;
    fwi_list_remove(&peer->node);
    fwi_list_push_back(&peer->gateway->leaving, &peer->node);
    fw_conn_close(peer->conn, reason);
}

void fwi_gw_peer_command(fwi_gw_peer *peer, fwi_gw_type type, uint32_t conn_id, uint32_t remote_id)
{
    if (peer->ended)
        return;
    size_t len = fwi_gw_command_bytes(type);
    if (fw_conn_queued_bytes(peer->conn) + len >
        peer->gateway->queue_bytes[peer->side] + FWI_GW_COMMAND_RESERVE_BYTES) {
        fwi_gw_peer_end(peer, FW_ESLOW);
        return;
    }
    uint8_t *room = fw_conn_reserve(peer->conn, len);
    if (room)
        fwi_gw_command_encode(
            &(fwi_gw_command){.type = type, .conn_id = conn_id, .remote_id = remote_id}, room);
    else
        fwi_gw_peer_end(peer, UV_ENOMEM);
}

/* ---- ids ---- */

static int register_client(fwi_gw_peer *peer)
{
    uint64_t id;
    int err = fwi_id_table_add(&peer->gateway->clients, peer, &id);
    if (err)
        return err;
    peer->id = (uint32_t)id;
    peer->registered = true;
    peer->gateway->stats.clients++;
    peer->gateway->stats.clients_total++;
    return FW_OK;
}

/* The newest connection has the id; who had it before goes on, and gets it back if this one goes.
 */
static int register_server(fwi_gw_peer *peer, uint32_t id)
{
    fw_gateway *gateway = peer->gateway;
    fwi_gw_peer *before = fwi_id_map_get(&gateway->servers, id);
    int err = fwi_id_map_put(&gateway->servers, id, peer);
    if (err)
        return err;
    peer->id = id;
    peer->registered = true;
    peer->server->shadowed = before;
    if (before) {
        before->server->shadow = peer;
        fwi_log(FW_LOG_WARN, "gateway", "server id taken over", FWI_NUMBER("id", id),
                FWI_TEXT("from", fw_conn_peer(before->conn)),
                FWI_TEXT("by", fw_conn_peer(peer->conn)));
    }
    gateway->stats.servers++;
    gateway->stats.servers_total++;
    return FW_OK;
}

static void unregister(fwi_gw_peer *peer)
{
    fw_gateway *gateway = peer->gateway;
    fwi_gw_server *server = peer->server;
    if (server && server->handshake)
        gateway->stats.unauthenticated_servers--;
    if (!peer->registered)
        return;
    peer->registered = false;
    if (peer->side == FWI_GW_CLIENT) {
        fwi_id_table_remove(&gateway->clients, peer->id);
        gateway->stats.clients--;
        return;
    }
    gateway->stats.servers--;
    if (server->shadowed)
        server->shadowed->server->shadow = server->shadow;
    if (server->shadow)
        server->shadow->server->shadowed = server->shadowed;
    else if (!server->shadowed || fwi_id_map_put(&gateway->servers, peer->id, server->shadowed))
        fwi_id_map_remove(&gateway->servers, peer->id); /* replacing never fails */
}

/* ---- time ---- */

static void set_timer(fwi_gw_queue *queue)
{
    if (!queue->timeout_ms || fwi_list_empty(&queue->peers))
        return;
    const fwi_gw_peer *first = fwi_container_of(queue->peers.next, fwi_gw_peer, node);
    uint64_t silent = fw_loop_now_ms(queue->gateway->loop) - first->heard_ms;
    fwi_loop_timer_start(queue->gateway->loop, &queue->timer,
                         silent < queue->timeout_ms ? queue->timeout_ms - silent : 1);
}

/* Frames only move their peer to the end of its queue; here it is seen who is really late, and when
 * to look again. */
static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_gw_queue *queue = arg;
    uint64_t now = fw_loop_now_ms(queue->gateway->loop);
    while (!fwi_list_empty(&queue->peers)) {
        fwi_gw_peer *peer = fwi_container_of(queue->peers.next, fwi_gw_peer, node);
        if (now - peer->heard_ms < queue->timeout_ms)
            break;
        if (queue->reason == FW_EIDLE)
            queue->gateway->stats.idle_closed++;
        else
            queue->gateway->stats.handshake_timeouts++;
        fwi_gw_peer_end(peer, queue->reason);
    }
    set_timer(queue);
}

static void heard(fwi_gw_peer *peer, fwi_gw_queue *queue)
{
    peer->heard_ms = fw_loop_now_ms(peer->gateway->loop);
    fwi_list_remove(&peer->node);
    fwi_list_push_back(&queue->peers, &peer->node);
    if (!fwi_timer_armed(&queue->timer))
        set_timer(queue);
}

void fwi_gw_queues_init(fw_gateway *gateway)
{
    const fw_gateway_options *options = &gateway->options;
    const uint32_t timeouts[FWI_GW_QUEUES] = {
        [FWI_GW_CLIENT] = options->client_idle_timeout_ms,
        [FWI_GW_SERVER] = options->server_idle_timeout_ms,
        [FWI_GW_UNAUTHENTICATED] = options->handshake_timeout_ms,
    };
    for (int i = 0; i < FWI_GW_QUEUES; i++) {
        fwi_gw_queue *queue = &gateway->queues[i];
        queue->gateway = gateway;
        queue->timeout_ms = timeouts[i];
        queue->reason = i == FWI_GW_UNAUTHENTICATED ? FW_EDEADLINE : FW_EIDLE;
        queue->timer = (fwi_timer){.fn = on_timer, .arg = queue};
        fwi_list_init(&queue->peers);
    }
    fwi_list_init(&gateway->leaving);
}

void fwi_gw_queues_end(fw_gateway *gateway)
{
    for (int i = 0; i < FWI_GW_QUEUES; i++) {
        fwi_gw_queue *queue = &gateway->queues[i];
        while (!fwi_list_empty(&queue->peers))
            fwi_gw_peer_end(fwi_container_of(queue->peers.next, fwi_gw_peer, node), FW_ECANCELED);
        fwi_loop_timer_stop(gateway->loop, &queue->timer);
    }
}

/* ---- authentication of servers ---- */

static int begin_handshake(fwi_gw_peer *peer)
{
    fwi_gw_handshake *handshake = calloc(1, sizeof *handshake);
    peer->server = calloc(1, sizeof *peer->server);
    int err = handshake && peer->server ? FW_OK : UV_ENOMEM;
    if (!err)
        err = fwi_random_secret(handshake->challenge, sizeof handshake->challenge);
    if (!err)
        err = fw_conn_write(peer->conn, handshake->challenge, sizeof handshake->challenge);
    if (err) {
        free(handshake);
        return err;
    }
    peer->server->handshake = handshake;
    peer->gateway->stats.unauthenticated_servers++;
    heard(peer, &peer->gateway->queues[FWI_GW_UNAUTHENTICATED]);
    return FW_OK;
}

/* Compares with the answers that either key would give, as far as there are keys. */
static int check_digest(const fw_gateway *gateway, const fwi_gw_handshake *handshake, uint32_t id)
{
    uint8_t wanted[FWI_GW_DIGEST_BYTES];
    bool is_right = false;
    int err = FW_OK;
    if (gateway->auth_key) {
        err = fwi_gw_digest(handshake->challenge, gateway->auth_key, wanted);
        is_right = !err && !CRYPTO_memcmp(wanted, handshake->answer, sizeof wanted);
    }
    if (!err && gateway->hmac_key) {
        err = fwi_gw_hmac(handshake->challenge, gateway->hmac_key, id, wanted);
        is_right |= !err && !CRYPTO_memcmp(wanted, handshake->answer, sizeof wanted);
    }
    return err ? err : is_right ? FW_OK : FW_EAUTH;
}

static int check_answer(fwi_gw_peer *peer)
{
    fw_gateway *gateway = peer->gateway;
    const fwi_gw_handshake *handshake = peer->server->handshake;
    uint32_t id = fwi_get_u32le(handshake->answer + FWI_GW_DIGEST_BYTES);
    int err = check_digest(gateway, handshake, id);
    gateway->stats.auth_failures += err == FW_EAUTH;
    if (err)
        return err;
    if (gateway->stats.servers >= gateway->options.max_servers) {
        gateway->stats.refused_connections++;
        return FW_ELIMIT;
    }
    return register_server(peer, id);
}

/* Takes the answer, or what has come of it, from the front of the bytes; returns how much that was.
 */
static size_t take_answer(fwi_gw_peer *peer, const uint8_t *data, size_t len)
{
    fwi_gw_handshake *handshake = peer->server->handshake;
    size_t n = FWI_GW_ANSWER_BYTES - handshake->answer_len;
    if (n > len)
        n = len;
    memcpy(handshake->answer + handshake->answer_len, data, n);
    handshake->answer_len += n;
    if (handshake->answer_len < FWI_GW_ANSWER_BYTES)
        return n;
    int err = check_answer(peer);
    if (err) {
        fwi_gw_peer_end(peer, err);
        return n;
    }
    free(handshake);
    peer->server->handshake = NULL;
    peer->gateway->stats.unauthenticated_servers--;
    heard(peer, &peer->gateway->queues[FWI_GW_SERVER]);
    fwi_log(FW_LOG_INFO, "gateway", "server registered", FWI_TEXT("peer", fw_conn_peer(peer->conn)),
            FWI_NUMBER("id", peer->id));
    return n;
}

/* ---- the connection's events ---- */

/* A read that ends within a frame: the rest is kept with the peer, and the gateway's framer is free
 * for the next peer's read. */
static int keep_partial(fwi_gw_peer *peer)
{
    fw_gateway *gateway = peer->gateway;
    peer->partial = malloc(sizeof *peer->partial);
    if (!peer->partial) {
        fwi_framer_fini(&gateway->framer);
        return UV_ENOMEM;
    }
    *peer->partial = gateway->framer;
    return fwi_gw_framer_init(&gateway->framer, gateway->options.max_packet_bytes);
}

static void drop_partial(fwi_gw_peer *peer)
{
    if (peer->partial)
        fwi_framer_fini(peer->partial);
    free(peer->partial);
    peer->partial = NULL;
}

static void take_frames(fwi_gw_peer *peer, const uint8_t *data, size_t len)
{
    fw_gateway *gateway = peer->gateway;
    fwi_framer *framer = peer->partial ? peer->partial : &gateway->framer;
    fwi_framer_push(framer, data, len);
    fw_slice frame;
    int rc = 0;
    bool any = false;
    while (!peer->ended && (rc = fwi_framer_next(framer, &frame)) > 0) {
        any = true;
        fwi_gw_switch_frame(peer, frame.data, frame.len);
    }
    if (peer->ended)
        return;
    if (!rc && framer == &gateway->framer && !fwi_framer_is_empty(framer))
        rc = keep_partial(peer);
    else if (framer != &gateway->framer && fwi_framer_is_empty(framer))
        drop_partial(peer);
    if (rc < 0)
        fwi_gw_peer_end(peer, rc);
    else if (any)
        heard(peer, &gateway->queues[peer->side]);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    fwi_gw_peer *peer = arg;
    if (peer->server && peer->server->handshake) {
        size_t n = take_answer(peer, data, len);
        data += n;
        len -= n;
        if (peer->server->handshake || !len)
            return;
    }
    take_frames(peer, data, len);
}

/* A peer that hangs up is everyday life, one that we throw out is not. */
static void log_end(const fwi_gw_peer *peer, int reason)
{
    bool everyday = reason == UV_EOF || reason == UV_ECONNRESET || reason == FW_ECANCELED;
    fwi_log(everyday ? (peer->side == FWI_GW_CLIENT ? FW_LOG_DEBUG : FW_LOG_INFO) : FW_LOG_WARN,
            "gateway", "connection closed", FWI_TEXT("peer", fw_conn_peer(peer->conn)),
            FWI_TEXT("side", side_name(peer->side)), FWI_NUMBER("id", peer->id),
            FWI_TEXT("reason", fw_strerror(reason)), FWI_NUMBER("vconns", peer->vconn_count));
}

static void on_conn_closed(fw_conn *conn, int reason, void *arg)
{
    fwi_gw_peer *peer = arg;
    fw_gateway *gateway = peer->gateway;
    peer->ended = true;
    if (reason == FW_EPROTOCOL || reason == FW_EFRAMESIZE)
        gateway->stats.protocol_errors++;
    if (reason == FW_ESLOW)
        gateway->stats.slow_closed++;
    log_end(peer, reason);
    unregister(peer);
    if (peer->counted)
        fwi_gw_sources_remove(&gateway->sources[peer->side], fw_conn_peer(conn));
    fwi_gw_switch_forget(peer);
    fwi_list_remove(&peer->node);
    gateway->peer_count--;
    drop_partial(peer);
    if (peer->server)
        free(peer->server->handshake);
    free(peer->server);
    free(peer);
    fwi_gateway_finish_if_empty(gateway);
}

static const fw_conn_events conn_events = {.on_data = on_data, .on_closed = on_conn_closed};

/* Whether there is room for one more. *ret_counted: it was counted for its address. */
static int admit(fw_gateway *gateway, fw_conn *conn, fwi_gw_side side, bool *ret_counted)
{
    const fw_gateway_options *options = &gateway->options;
    bool full = side == FWI_GW_CLIENT ? gateway->stats.clients >= options->max_clients
                                      : gateway->stats.unauthenticated_servers >=
                                            options->max_unauthenticated_servers;
    size_t most =
        side == FWI_GW_CLIENT ? options->max_clients_per_address : options->max_servers_per_address;
    *ret_counted = false;
    if (full)
        return FW_ELIMIT;
    if (gateway->draining || gateway->closing)
        return FW_ECANCELED;
    if (!most)
        return FW_OK;
    int err = fwi_gw_sources_add(&gateway->sources[side], fw_conn_peer(conn), most, ret_counted);
    if (err == FW_ELIMIT)
        gateway->stats.refused_addresses++;
    return err;
}

static void refuse(fw_gateway *gateway, fw_conn *conn, fwi_gw_side side, int reason)
{
    gateway->stats.refused_connections++;
    fwi_log(FW_LOG_WARN, "gateway", "connection refused", FWI_TEXT("peer", fw_conn_peer(conn)),
            FWI_TEXT("side", side_name(side)), FWI_TEXT("reason", fw_strerror(reason)));
    fw_conn_close(conn, reason);
}

void fwi_gw_peer_accept(fw_gateway *gateway, fw_conn *conn, fwi_gw_side side)
{
    bool counted;
    int err = admit(gateway, conn, side, &counted);
    fwi_gw_peer *peer = err ? NULL : calloc(1, sizeof *peer);
    if (!peer) {
        if (counted)
            fwi_gw_sources_remove(&gateway->sources[side], fw_conn_peer(conn));
        refuse(gateway, conn, side, err ? err : UV_ENOMEM);
        return;
    }
    if (fwi_log_enabled(FW_LOG_WARN))
        (void)fw_conn_peer(
            conn); /* once it is reset or closed, the system has forgotten the address */
    peer->gateway = gateway;
    peer->conn = conn;
    peer->side = (uint8_t)side;
    peer->counted = counted;
    fwi_list_init(&peer->vconns);
    fwi_list_init(&peer->node);
    gateway->peer_count++;
    fw_conn_set_events(conn, &conn_events, peer);
    err = side == FWI_GW_CLIENT ? register_client(peer) : begin_handshake(peer);
    if (err)
        fwi_gw_peer_end(peer, err);
    else if (side == FWI_GW_CLIENT)
        heard(peer, &gateway->queues[FWI_GW_CLIENT]);
}
