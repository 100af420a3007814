/*
 * ws://host[:port][/path] on tcp, and wss:// on tls: the engine between the lower connection and
 * its user. See config.h for the parameters of the URL.
 *
 * Closing: our Close leaves, then the connection lingers until the peer's has come, then the lower
 * one is shut down and lingers for its end; over.c bounds both together. Who is cut off without a
 * Close, or does not answer a ping, is not waited for.
 */
#include "transport/ws/ws.h"
#include "transport/over.h"
#include "transport/ws/engine.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARTS     64
#define PONG_BELOW    4096 /* bytes below, beyond which a pong waits for the peer to read */
#define PONG_RETRY_MS 50
#define WS_PORT       80
#define WSS_PORT      443

typedef struct ws_conn {
    fwi_over_conn over;
    fwi_ws ws;
    fwi_task more; /* goes on after a pause with what the engine holds */
    struct ws_timer *timer;
    bool cut;  /* the lower peer ended without a Close */
    bool text; /* what is being handed out came as text */
} ws_conn;

/* For pings, and while a pong waits. */
typedef struct ws_timer {
    fwi_timer timer;
    uint64_t ping_due_ms; /* UINT64_MAX: never */
    bool pinged;          /* and not answered yet */
} ws_timer;

typedef struct ws_listener {
    fwi_over_listener over;
    fwi_ws_config *config;
} ws_listener;

static ws_conn *ws_of(const fwi_over_conn *over)
{
    return fwi_container_of(over, ws_conn, over);
}

/* ---- the timer ---- */
static void stop_timer(ws_conn *conn)
{
    if (!conn->timer)
        return;
    fwi_loop_timer_stop(conn->over.base.loop, &conn->timer->timer);
    free(conn->timer);
    conn->timer = NULL;
}

static void arm(ws_conn *conn)
{
    uint64_t now_ms = fw_loop_now_ms(conn->over.base.loop), due_ms = conn->timer->ping_due_ms;
    if (conn->ws.pong && due_ms > now_ms + PONG_RETRY_MS)
        due_ms = now_ms + PONG_RETRY_MS;
    fwi_loop_timer_start(conn->over.base.loop, &conn->timer->timer,
                         due_ms > now_ms ? due_ms - now_ms : 1);
}

/* Who does not read is sent no ping, and who is not read need not have answered. */
static int ping(ws_conn *conn, uint64_t now_ms)
{
    bool was_pinged = conn->timer->pinged;
    conn->timer->ping_due_ms = now_ms + conn->ws.config->ping_ms;
    conn->timer->pinged = false;
    if (fwi_over_congested(&conn->over) || !fwi_conn_wants_data(&conn->over.base))
        return FW_OK;
    if (was_pinged) {
        fwi_conn_explain(&conn->over.base, "no pong came");
        return FW_EIDLE;
    }
    conn->timer->pinged = true;
    return fwi_ws_ping(&conn->ws);
}

static bool is_blocked(const ws_conn *conn)
{
    return !conn->over.lower || fw_conn_queued_bytes(conn->over.lower) > PONG_BELOW;
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    ws_conn *conn = arg;
    uint64_t now_ms = fw_loop_now_ms(conn->over.base.loop);
    int err = fwi_ws_set_blocked(&conn->ws, is_blocked(conn));
    if (!err && now_ms >= conn->timer->ping_due_ms)
        err = ping(conn, now_ms);
    if (err)
        fwi_conn_failed(&conn->over.base, err);
    else if (conn->ws.pong || conn->ws.config->ping_ms)
        arm(conn);
    else
        stop_timer(conn);
}

/* For the next ping, and for a pong if one waits. */
static int start_timer(ws_conn *conn)
{
    if (conn->timer)
        return FW_OK;
    conn->timer = malloc(sizeof *conn->timer);
    if (!conn->timer)
        return UV_ENOMEM;
    uint32_t ping_ms = conn->ws.config->ping_ms;
    *conn->timer = (ws_timer){
        .timer = {.fn = on_timer, .arg = conn},
        .ping_due_ms = ping_ms ? fw_loop_now_ms(conn->over.base.loop) + ping_ms : UINT64_MAX};
    arm(conn);
    return FW_OK;
}

/* ---- between the engine and the user ---- */
static int on_write(void *arg, const uint8_t *data, size_t len)
{
    ws_conn *conn = arg;
    return conn->over.lower ? fw_conn_write(conn->over.lower, data, len) : FW_ECLOSED;
}

/* Both have said Close: now the lower connection ends, the same way. */
static bool end_below(ws_conn *conn)
{
    return !fw_conn_shutdown(conn->over.lower);
}

static void on_peer_close(ws_conn *conn, const fwi_ws_event *event)
{
    if (conn->over.lingers) {
        if (!end_below(conn))
            fwi_over_release(&conn->over);
        return;
    }
    char text[160];
    if (event->code == FWI_WS_NO_CODE)
        snprintf(text, sizeof text, "closed by the peer");
    else
        snprintf(text, sizeof text, "closed by the peer with code %u %.*s", event->code,
                 (int)event->len, (const char *)event->data);
    fwi_conn_explain(&conn->over.base, text);
    (void)fwi_ws_close(&conn->ws, event->code); /* an error shows below */
    fwi_conn_failed(&conn->over.base, fwi_ws_reason_of(event->code));
}

static int on_event(ws_conn *conn, const fwi_ws_event *event)
{
    switch (event->kind) {
    case FWI_WS_OPENED:
        fwi_over_opened(&conn->over);
        if (conn->ws.config->ping_ms && conn->over.base.state == FWI_CONN_OPEN)
            return start_timer(conn);
        break;
    case FWI_WS_DATA:
        conn->text = event->text;
        fwi_conn_received(&conn->over.base, event->data, event->len);
        break;
    case FWI_WS_PONGED:
        if (conn->timer)
            conn->timer->pinged = false;
        break;
    case FWI_WS_CLOSED:
        on_peer_close(conn, event);
        break;
    }
    return FW_OK;
}

static bool wants_events(const ws_conn *conn)
{
    const fw_conn *base = &conn->over.base;
    return base->state == FWI_CONN_CLOSING ? conn->over.lingers
                                           : base->state == FWI_CONN_OPENING || !base->read_stopped;
}

/* 0: more bytes are needed; 1: not now; or an error. */
static int pump(ws_conn *conn)
{
    fwi_ws_event event;
    int rc = 1;
    (void)fwi_ws_set_blocked(&conn->ws, is_blocked(conn));
    while (wants_events(conn) && (rc = fwi_ws_next(&conn->ws, &event)) > 0) {
        int err = on_event(conn, &event);
        if (err)
            return err;
    }
    if (rc < 0 && conn->ws.detail)
        fwi_conn_explain(&conn->over.base, conn->ws.detail);
    if (conn->ws.pong && conn->over.base.state == FWI_CONN_OPEN && start_timer(conn))
        return UV_ENOMEM;
    return rc;
}

static void on_more(fwi_task *task, void *arg)
{
    (void)task;
    ws_conn *conn = arg;
    int rc = pump(conn);
    if (rc < 0)
        fwi_conn_failed(&conn->over.base, rc);
    else if (!rc && fwi_conn_wants_data(&conn->over.base))
        fwi_over_read_start(&conn->over.base);
}

/* What the engine holds comes before what over.c holds, and both before what the kernel does. */
static int read_start(fw_conn *base)
{
    ws_conn *conn = ws_of(fwi_container_of(base, fwi_over_conn, base));
    if (!fwi_ws_has_more(&conn->ws))
        return fwi_over_read_start(base);
    fwi_loop_defer(base->loop, &conn->more);
    return FW_OK;
}

static int send_message(fw_conn *base, const uint8_t *data, size_t len)
{
    ws_conn *conn = ws_of(fwi_container_of(base, fwi_over_conn, base));
    fw_slice part = {data, len};
    return fwi_over_congested(&conn->over) ? UV_EAGAIN : fwi_ws_send(&conn->ws, &part, 1);
}

/* ---- the layer ---- */
static void setup(ws_conn *conn, fwi_ws_config *config)
{
    fwi_ws_init(&conn->ws, config, on_write, conn);
    conn->more = (fwi_task){.fn = on_more, .arg = conn};
}

static int start(fwi_over_conn *over)
{
    ws_conn *conn = ws_of(over);
    if (over->listener)
        setup(conn, fwi_container_of(over->listener, ws_listener, over)->config);
    return fwi_ws_start(&conn->ws);
}

static ssize_t input(fwi_over_conn *over, const uint8_t *data, size_t len)
{
    ws_conn *conn = ws_of(over);
    fwi_ws_push(&conn->ws, data, len);
    int rc = pump(conn);
    size_t left = conn->ws.input_len;
    fwi_ws_push(&conn->ws, NULL, 0);
    return rc < 0 ? rc : (ssize_t)(len - left);
}

/* What a turn has written is one message, unless it is more than a message may be. */
static int output(fwi_over_conn *over, const uv_buf_t *bufs, unsigned count)
{
    ws_conn *conn = ws_of(over);
    size_t most = conn->ws.config->max_message_bytes, len = 0, part_count = 0;
    fw_slice parts[MAX_PARTS];
    int err = FW_OK;
    for (unsigned i = 0; i < count && !err; i++)
        for (size_t at = 0; at < bufs[i].len && !err;) {
            size_t n = bufs[i].len - at < most - len ? bufs[i].len - at : most - len;
            parts[part_count++] = (fw_slice){bufs[i].base + at, n};
            at += n;
            len += n;
            if (len == most || part_count == MAX_PARTS) {
                err = fwi_ws_send(&conn->ws, parts, part_count);
                part_count = len = 0;
            }
        }
    return err || !part_count ? err : fwi_ws_send(&conn->ws, parts, part_count);
}

static int lower_ended(fwi_over_conn *over)
{
    ws_of(over)->cut = true;
    fwi_conn_explain(&over->base, "the connection was cut off (no Close)");
    return UV_ECONNRESET;
}

static bool end(fwi_over_conn *over, int reason)
{
    ws_conn *conn = ws_of(over);
    stop_timer(conn);
    if (conn->ws.state == FWI_WS_SHAKING)
        return false;
    int err = fwi_ws_close(&conn->ws, fwi_ws_code_of(reason));
    if (err || conn->cut || reason == FW_EIDLE)
        return false;
    if (conn->ws.state == FWI_WS_OVER)
        return end_below(conn);
    if (fwi_ws_has_more(&conn->ws))
        fwi_loop_defer(over->base.loop, &conn->more); /* the peer's Close may have come */
    return true;
}

static void fini(fwi_over_conn *over)
{
    ws_conn *conn = ws_of(over);
    stop_timer(conn);
    fwi_loop_defer_cancel(over->base.loop, &conn->more);
    fwi_ws_fini(&conn->ws);
}

static void listener_fini(fwi_over_listener *over)
{
    fwi_ws_config_release(fwi_container_of(over, ws_listener, over)->config);
}

#define LAYER(name)                                                                                \
    {                                                                                              \
        .scheme = (name), .conn_bytes = sizeof(ws_conn), .listener_bytes = sizeof(ws_listener),    \
        .ops = {.try_write = fwi_over_try_write,                                                   \
                .send = send_message,                                                              \
                .read_start = read_start,                                                          \
                .read_stop = fwi_over_read_stop,                                                   \
                .close = fwi_over_close,                                                           \
                .peer = fwi_over_peer,                                                             \
                .queued_bytes = fwi_over_queued_bytes},                                            \
        .start = start, .input = input, .output = output, .lower_ended = lower_ended, .end = end,  \
        .fini = fini, .listener_fini = listener_fini                                               \
    }

static const fwi_layer ws_layer = LAYER("ws"), wss_layer = LAYER("wss");

/* ---- dialling and listening ---- */
static int prepare(const fwi_layer *layer, const fw_url *url, bool server, bool messages,
                   size_t max_message_bytes, fwi_ws_config **ret_config)
{
    fwi_ws_mode mode = {.server = server,
                        .secure = layer == &wss_layer,
                        .messages = messages,
                        .max_message_bytes = (uint32_t)max_message_bytes};
    return fwi_ws_config_new(url, &mode, ret_config);
}

static int prepare_conn(fwi_over_conn *over, const fw_url *url, const fw_conn_options *options)
{
    fwi_ws_config *config;
    int err =
        prepare(over->layer, url, false, options->messages, options->max_message_bytes, &config);
    if (err)
        return err;
    setup(ws_of(over), config);
    fwi_ws_config_release(config);
    return FW_OK;
}

static int prepare_listener(fwi_over_listener *over, const fw_url *url,
                            const fw_listener_options *options)
{
    return prepare(over->layer, url, true, options->messages, options->max_message_bytes,
                   &fwi_container_of(over, ws_listener, over)->config);
}

static fwi_over_request request_of(const fw_url *url)
{
    bool secure = !strcmp(url->scheme, "wss");
    return (fwi_over_request){.layer = secure ? &wss_layer : &ws_layer,
                              .lower_scheme = secure ? "tls" : "tcp",
                              .own = fwi_ws_params,
                              .prepare_conn = prepare_conn,
                              .prepare_listener = prepare_listener,
                              .url_path = url->path};
}

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                fw_conn **ret_conn)
{
    fwi_over_request request = request_of(url);
    if (url->host_count != 1)
        return FW_EURL;
    fw_url_host host = url->hosts[0];
    if (!host.port)
        host.port = request.layer == &wss_layer ? WSS_PORT : WS_PORT;
    fw_url with_port = *url;
    with_port.hosts = &host;
    return fwi_over_dial(loop, &with_port, options, &request, ret_conn);
}

static int listen_ws(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                     fw_listener **ret_listener)
{
    fwi_over_request request = request_of(url);
    return fwi_over_listen(loop, url, options, &request, ret_listener);
}

const fwi_transport fwi_transport_ws = {
    .scheme = "ws",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_MESSAGES | FW_TRANSPORT_RELIABLE,
    .dial = dial,
    .listen = listen_ws,
};

const fwi_transport fwi_transport_wss = {
    .scheme = "wss",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_MESSAGES | FW_TRANSPORT_RELIABLE |
                 FW_TRANSPORT_SECURE | FW_TRANSPORT_TLS,
    .dial = dial,
    .listen = listen_ws,
};

bool fwi_ws_is_text(const fw_conn *conn)
{
    return ws_of(fwi_container_of(conn, fwi_over_conn, base))->text;
}
