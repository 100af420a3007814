/*
 * One connection.
 *
 *   OPENING --start--> OPEN --close--> lingering --all acknowledged, or LINGER_MS--> leaving -->
 * gone
 *                        \_________________break (peer dead, idle, protocol)_________/
 *
 * Whatever happens to a session in a turn only touches it; at the end of the turn fwi_kcp_conn_run
 * sends what is due, once, and asks the engine when it wants to be looked after again. An idle
 * session has no flush, and one timer (idle).
 */
#include "transport/kcp/session.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_MS     3000
#define DELIVER_BYTES (64 * 1024) /* of a stream, given at once */
#define CLOSE_COPIES  2           /* a word that nobody acknowledges */

static fwi_kcp_conn *kcp_of(fw_conn *conn)
{
    return fwi_container_of(conn, fwi_kcp_conn, base);
}

static uint32_t clock_of(const fwi_kcp_conn *conn)
{
    return (uint32_t)fw_loop_now_ms(conn->base.loop);
}

/* ---- datagrams out ---- */

void fwi_kcp_conn_emit(fwi_kcp_conn *conn, uint8_t kind, const uint8_t *data, size_t len)
{
    fwi_udp_port *port = conn->hub->port;
    size_t extra = conn->guarded ? FWI_KCPS_OVERHEAD_BYTES : 0;
    uint8_t *room = fwi_udp_port_reserve(port, &conn->address, len + extra);
    if (!room)
        return; /* as if it were lost: KCP sends it again */
    if (conn->guarded)
        len = fwi_kcps_seal(&conn->guarded->keys, kind, data, len, room);
    else
        memcpy(room, data, len);
    if (len)
        fwi_udp_port_commit(port, len);
}

static void on_output(const uint8_t *data, size_t len, void *arg)
{
    fwi_kcp_conn_emit(arg, FWI_KCPS_KCP, data, len);
}

/* ---- bytes in ---- */

void fwi_kcp_conn_input(fwi_kcp_conn *conn, const uint8_t *data, size_t len)
{
    /* What is malformed or forged is dropped, like what is lost. */
    if (!fwi_kcp_input(&conn->engine, clock_of(conn), data, len))
        conn->heard_ms = fw_loop_now_ms(conn->base.loop);
    if (conn->is_half_open && !conn->guarded &&
        (conn->engine.echoed || (conn->engine.rcv_nxt && conn->born_ms != conn->heard_ms)))
        fwi_kcp_hub_confirm(conn->hub, conn);
    fwi_kcp_conn_touch(conn);
}

/* One message, or as many bytes of the stream as fit. Returns what fwi_kcp_recv does. */
static int receive(fwi_kcp_conn *conn, uint8_t *buffer)
{
    int len = fwi_kcp_recv(&conn->engine, buffer, FWI_SCRATCH_BYTES, false);
    if (conn->base.messages || len <= 0)
        return len;
    for (int more; len < DELIVER_BYTES; len += more) {
        more = fwi_kcp_next_size(&conn->engine);
        if (more <= 0) /* an empty one is the end */
            break;
        more = fwi_kcp_recv(&conn->engine, buffer + len, FWI_SCRATCH_BYTES - (size_t)len, false);
        if (more < 0)
            break;
    }
    return len;
}

static void deliver_end(fwi_kcp_conn *conn)
{
    conn->ended = true;
    fwi_conn_ended(&conn->base);
}

void fwi_kcp_conn_deliver(fwi_kcp_conn *conn)
{
    fw_conn *base = &conn->base;
    uint8_t *buffer = fwi_loop_scratch(base->loop);
    while (fwi_conn_wants_data(base) && conn->is_known) {
        int len = receive(conn, buffer);
        if (len == UV_EAGAIN)
            break;
        if (len < 0 || (base->messages && (size_t)len > base->max_message_bytes))
            fwi_kcp_conn_break(conn, FW_EFRAMESIZE);
        else if (len || base->messages)
            fwi_conn_received(base, buffer, (size_t)len);
        else if (conn->guarded && !conn->ended)
            deliver_end(conn);
    }
    if (!fwi_conn_wants_data(base))
        return;
    if (fwi_kcp_is_stuck(&conn->engine))
        fwi_kcp_conn_break(conn, FW_EFRAMESIZE);
    else if (conn->peer_closed)
        fwi_kcp_conn_break(conn, UV_EOF);
}

/* ---- the turn ---- */

void fwi_kcp_conn_touch(fwi_kcp_conn *conn)
{
    if (conn->leaving || conn->node.next != &conn->node)
        return;
    fwi_list_push_back(&conn->hub->touched, &conn->node);
    fwi_loop_defer(conn->hub->loop, &conn->hub->turn);
}

static void finish(fwi_kcp_conn *conn);

/* A peer that was not heard for a while is asked for its window, which every KCP answers; one that
 * does not answer is gone. After a pause of this program (its answers wait to be read) it is asked
 * as well, before it is given up. Returns ms until the next such time. */
static uint64_t watch_peer(fwi_kcp_conn *conn, uint64_t now_ms)
{
    uint64_t idle_ms = conn->hub->options.idle_ms;
    if (!idle_ms)
        return UINT64_MAX;
    /* The dialling end asks first, which also keeps a NAT's way open. */
    uint64_t every = conn->hub->dialled ? idle_ms / 3 : idle_ms * 2 / 3;
    bool asked = conn->asked_ms > conn->heard_ms;
    uint64_t over = conn->heard_ms + idle_ms;
    if (asked && over < conn->asked_ms + idle_ms / 3)
        over = conn->asked_ms + idle_ms / 3;
    if (asked && now_ms >= over) {
        fwi_kcp_conn_break(conn, FW_EIDLE);
        return UINT64_MAX;
    }
    uint64_t last = asked ? conn->asked_ms : conn->heard_ms;
    if (now_ms >= last + every && (!asked || now_ms < conn->heard_ms + idle_ms)) {
        if (conn->guarded && conn->hub->dialled && asked)
            fwi_kcp_guarded_roam(conn); /* the last question had no answer */
        conn->asked_ms = last = now_ms;
        fwi_kcp_ask(&conn->engine);
        asked = true;
        over = conn->heard_ms + idle_ms;
        if (over < now_ms + idle_ms / 3)
            over = now_ms + idle_ms / 3;
    }
    uint64_t next = asked && over < last + every ? over : last + every;
    return next > now_ms ? next - now_ms : 1;
}

static bool has_room(const fwi_kcp_conn *conn)
{
    return conn->engine.snd_queue_len < conn->engine.config.send_queue_max;
}

static void send_due(fwi_kcp_conn *conn)
{
    fwi_kcp *engine = &conn->engine;
    uint32_t now = clock_of(conn);
    bool acks = engine->ack_count && conn->hub->options.ack_at_once;
    if (conn->wrote || acks)
        fwi_kcp_flush(engine, now);
    else if (!fwi_kcp_wait_ms(engine, now))
        fwi_kcp_update(engine, now);
    conn->wrote = false;
}

static void set_timer(fwi_kcp_conn *conn, uint64_t other_ms)
{
    uint64_t wait = UINT64_MAX;
    if (conn->engine.updated) {
        uint32_t engine_ms = fwi_kcp_wait_ms(&conn->engine, clock_of(conn));
        wait = engine_ms == UINT32_MAX ? UINT64_MAX : engine_ms;
    }
    if (other_ms < wait)
        wait = other_ms;
    if (wait == UINT64_MAX)
        fwi_loop_timer_stop(conn->base.loop, &conn->timer);
    else
        fwi_loop_timer_start(conn->base.loop, &conn->timer, wait ? wait : 1);
}

void fwi_kcp_conn_run(fwi_kcp_conn *conn)
{
    uint64_t now_ms = fw_loop_now_ms(conn->base.loop), other;
    other = conn->guarded ? fwi_kcp_guarded_retry(conn, now_ms) : UINT64_MAX;
    if (conn->leaving)
        return;
    if (!conn->guarded || conn->guarded->has_keys) {
        uint64_t watch = watch_peer(conn, now_ms);
        other = watch < other ? watch : other;
        if (conn->guarded && !conn->leaving) {
            watch = fwi_kcp_guarded_watch_way(conn, now_ms);
            other = watch < other ? watch : other;
        }
        if (conn->leaving)
            return;
        send_due(conn);
        if (conn->base.blocked && has_room(conn))
            fwi_conn_writable(&conn->base); /* what it writes has its turn next */
        if (conn->leaving)
            return;
    }
    if (conn->engine.dead) {
        fwi_kcp_conn_break(conn, UV_ETIMEDOUT);
        return;
    }
    if (conn->lingering) {
        if (!fwi_kcp_unsent(&conn->engine) || now_ms >= conn->linger_until) {
            finish(conn);
            return;
        }
        uint64_t left = conn->linger_until - now_ms;
        other = left < other ? left : other;
    }
    set_timer(conn, other);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_kcp_conn_touch(arg);
}

/* ---- operations ---- */

/* Segment by segment: filled up in stream mode, else each a message of its own, as kcp-go cuts what
 * is written. */
static int try_write(fw_conn *base, const uv_buf_t *bufs, unsigned count)
{
    fwi_kcp_conn *conn = kcp_of(base);
    int total = 0, n = 0;
    for (unsigned i = 0; i < count && n >= 0; i++) {
        const uint8_t *data = (const uint8_t *)bufs[i].base;
        for (size_t at = 0, part; at < bufs[i].len; at += (size_t)n, total += n) {
            part = bufs[i].len - at < conn->engine.mss ? bufs[i].len - at : conn->engine.mss;
            n = fwi_kcp_send(&conn->engine, data + at, part);
            if (n < 0)
                break;
        }
    }
    if (!total && n < 0)
        return n;
    conn->wrote = true;
    fwi_kcp_conn_touch(conn);
    return total;
}

static int send_message(fw_conn *base, const uint8_t *data, size_t len)
{
    fwi_kcp_conn *conn = kcp_of(base);
    int n = fwi_kcp_send(&conn->engine, data, len);
    if (n < 0)
        return n;
    conn->wrote = true;
    fwi_kcp_conn_touch(conn);
    return FW_OK;
}

/* An empty segment is the end: a stream has none otherwise. */
static int shutdown_guarded(fw_conn *base)
{
    fwi_kcp_conn *conn = kcp_of(base);
    int err = fwi_kcp_send_empty(&conn->engine);
    if (err)
        return err;
    conn->wrote = true;
    fwi_kcp_conn_touch(conn);
    fwi_conn_shut(base, FW_OK);
    return FW_OK;
}

static int read_start(fw_conn *base)
{
    fwi_kcp_conn_touch(kcp_of(base));
    return FW_OK;
}

static void read_stop(fw_conn *base)
{
    (void)base; /* the engine's window closes */
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fwi_kcp_conn *conn = arg;
    fw_loop *loop = conn->base.loop;
    fwi_kcp_fini(&conn->engine);
    fwi_conn_gone(&conn->base);
    fwi_loop_release(loop);
}

/* The last of a session: nothing finds it any more. */
static void finish(fwi_kcp_conn *conn)
{
    fwi_kcp_hub *hub = conn->hub;
    fw_loop *loop = conn->base.loop;
    conn->leaving = true;
    bool can_say = conn->guarded && conn->guarded->has_keys && hub->port && !conn->peer_closed;
    for (int i = 0; can_say && i < CLOSE_COPIES; i++)
        fwi_kcp_conn_emit(conn, FWI_KCPS_CLOSE, NULL, 0);
    fwi_loop_timer_stop(loop, &conn->timer);
    fwi_loop_defer_cancel(loop, &conn->settle);
    if (conn->lookup)
        fwi_udp_lookup_abandon(conn->lookup);
    fwi_kcp_hub_remove(hub, conn);
    fwi_kcp_guarded_fini(conn);
    conn->settle.fn = on_gone;
    conn->hub = NULL;
    if (hub->port) {
        fwi_udp_port_release(hub->port, &conn->settle);
    } else {
        fwi_kcp_hub_free(hub);
        fwi_loop_defer(loop, &conn->settle);
    }
}

static void close_kcp(fw_conn *base)
{
    fwi_kcp_conn *conn = kcp_of(base);
    if (conn->guarded && !conn->guarded->has_keys && base->reason == FW_EDEADLINE)
        fwi_conn_explain(base, "the handshake had no answer: nobody is there, or psk or server_key "
                               "are not the server's");
    bool can_send = conn->hub->port && (!conn->guarded || conn->guarded->has_keys);
    if (can_send && !conn->broken) {
        fwi_kcp_flush(&conn->engine, clock_of(conn)); /* the last acks, too */
        if (fwi_kcp_unsent(&conn->engine)) {
            conn->lingering = true;
            conn->linger_until = fw_loop_now_ms(base->loop) + LINGER_MS;
            fwi_kcp_conn_touch(conn);
            return;
        }
    }
    finish(conn);
}

void fwi_kcp_conn_break(fwi_kcp_conn *conn, int error)
{
    conn->broken = true;
    if (conn->lingering)
        finish(conn);
    else
        fwi_conn_failed(&conn->base, error);
}

static void peer(fw_conn *base, char *ret_text, size_t size)
{
    fwi_kcp_conn *conn = kcp_of(base);
    fwi_udp_address_text(&conn->address, conn->guarded ? "kcps" : "kcp", ret_text, size);
}

const fwi_conn_ops fwi_kcp_ops = {
    .try_write = try_write,
    .send = send_message,
    .read_start = read_start,
    .read_stop = read_stop,
    .close = close_kcp,
    .peer = peer,
};

const fwi_conn_ops fwi_kcp_guarded_ops = {
    .try_write = try_write,
    .shutdown = shutdown_guarded,
    .read_start = read_start,
    .read_stop = read_stop,
    .close = close_kcp,
    .peer = peer,
};

/* ---- its life ---- */

fwi_kcp_conn *fwi_kcp_conn_new(fwi_kcp_hub *hub, bool messages)
{
    fwi_kcp_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    const fwi_kcp_config *engine = &hub->options.engine;
    uint32_t fragments = engine->receive_window < FWI_KCP_FRAGMENTS_MAX ? engine->receive_window
                                                                        : FWI_KCP_FRAGMENTS_MAX;
    conn->base.loop = hub->loop;
    conn->base.ops = hub->options.secure && !messages ? &fwi_kcp_guarded_ops : &fwi_kcp_ops;
    conn->base.messages = messages;
    conn->base.max_message_bytes = fragments * (engine->mtu - FWI_KCP_HEADER_BYTES);
    conn->hub = hub;
    conn->timer = (fwi_timer){.fn = on_timer, .arg = conn};
    conn->settle = (fwi_task){.arg = conn};
    fwi_list_init(&conn->node);
    fwi_list_init(&conn->half_node);
    fwi_kcp_init(&conn->engine, 0, engine, on_output, conn);
    if (hub->options.secure && fwi_kcp_guard_new(conn)) {
        free(conn);
        return NULL;
    }
    fwi_loop_hold(hub->loop);
    return conn;
}

void fwi_kcp_conn_discard(fwi_kcp_conn *conn)
{
    fw_loop *loop = conn->base.loop;
    fwi_loop_timer_stop(loop, &conn->timer);
    fwi_kcp_guarded_fini(conn);
    fwi_kcp_fini(&conn->engine);
    free(conn);
    fwi_loop_release(loop);
}

void fwi_kcp_conn_start(fwi_kcp_conn *conn, uint32_t conv)
{
    conn->engine.conv = conv;
    conn->heard_ms = conn->born_ms = fw_loop_now_ms(conn->base.loop);
    fwi_kcp_update(&conn->engine, clock_of(conn));
    fwi_kcp_conn_touch(conn);
}
