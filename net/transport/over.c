#include "transport/over.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BELOW_BYTES (64 * 1024) /* beyond it, bytes wait above the layer */
#define LINGER_MS        5000

static fwi_over_conn *over_of(const fw_conn *conn)
{
    return fwi_container_of(conn, fwi_over_conn, base);
}

/* ---- the one timer ---- */

static void stop_timer(fwi_over_conn *conn)
{
    if (!conn->timer)
        return;
    fwi_loop_timer_stop(conn->base.loop, conn->timer);
    free(conn->timer);
    conn->timer = NULL;
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_over_conn *conn = arg;
    if (conn->lingers)
        fwi_over_release(conn);
    else
        fwi_conn_failed(&conn->base, FW_EDEADLINE);
}

static int start_timer(fwi_over_conn *conn, uint32_t delay_ms)
{
    stop_timer(conn);
    conn->timer = malloc(sizeof *conn->timer);
    if (!conn->timer)
        return UV_ENOMEM;
    *conn->timer = (fwi_timer){.fn = on_timer, .arg = conn};
    fwi_loop_timer_start(conn->base.loop, conn->timer, delay_ms);
    return FW_OK;
}

/* ---- bytes from below ---- */

/* True while the user has stopped reading, so that nothing may be given to the layer. */
static bool is_paused(const fwi_over_conn *conn)
{
    return conn->base.state == FWI_CONN_OPEN && conn->base.read_stopped;
}

static int hold(fwi_over_conn *conn, const uint8_t *data, size_t len)
{
    uint8_t *held = realloc(conn->held, conn->held_len + len);
    if (!held)
        return UV_ENOMEM;
    memcpy(held + conn->held_len, data, len);
    conn->held = held;
    conn->held_len += len;
    return FW_OK;
}

static void on_lower_data(fw_conn *lower, const uint8_t *data, size_t len, void *arg)
{
    (void)lower;
    fwi_over_conn *conn = arg;
    ssize_t took = 0;
    if (!conn->held && !is_paused(conn))
        took = conn->layer->input(conn, data, len);
    if (took >= 0 && (size_t)took < len && conn->base.state != FWI_CONN_CLOSING)
        took = hold(conn, data + took, len - (size_t)took);
    if (took < 0)
        fwi_conn_failed(&conn->base, (int)took);
}

/* Gives what was held. What is not taken stays where it is. */
static void feed_held(fwi_over_conn *conn)
{
    uint8_t *held = conn->held; /* while the layer has it, nobody else frees it */
    size_t at = conn->held_at, len = conn->held_len;
    conn->held = NULL;
    conn->held_at = conn->held_len = 0;
    ssize_t took = conn->layer->input(conn, held + at, len - at);
    if (took < 0)
        fwi_conn_failed(&conn->base, (int)took);
    if (took < 0 || conn->base.state == FWI_CONN_CLOSING || (size_t)took == len - at) {
        free(held);
        return;
    }
    conn->held = held;
    conn->held_at = at + (size_t)took;
    conn->held_len = len;
}

static void on_feed(fwi_task *task, void *arg)
{
    (void)task;
    fwi_over_conn *conn = arg;
    if (!conn->lower || is_paused(conn) || conn->base.state == FWI_CONN_CLOSING)
        return;
    if (conn->held)
        feed_held(conn);
    if (!conn->held && !is_paused(conn) && conn->base.state == FWI_CONN_OPEN)
        fw_conn_read_start(conn->lower);
}

int fwi_over_read_start(fw_conn *base)
{
    fwi_over_conn *conn = over_of(base);
    if (conn->held)
        fwi_loop_defer(base->loop, &conn->feed);
    else if (conn->lower)
        fw_conn_read_start(conn->lower);
    return FW_OK;
}

void fwi_over_read_stop(fw_conn *base)
{
    fwi_over_conn *conn = over_of(base);
    if (conn->lower)
        fw_conn_read_stop(conn->lower);
}

/* ---- bytes to below ---- */

/* False when there is no lower one any more; its on_closed has told why, or will. */
static bool lower_is_usable(const fwi_over_conn *conn)
{
    return conn->lower && conn->lower->state != FWI_CONN_CLOSING;
}

bool fwi_over_congested(const fwi_over_conn *conn)
{
    return !lower_is_usable(conn) || fw_conn_congested(conn->lower);
}

#define PIECE_BUFS 32

/* The next of the buffers from *at on, the first one less *skip bytes: at most MOST_BELOW_BYTES. */
static unsigned next_piece(const uv_buf_t *bufs, unsigned count, unsigned *at, size_t *skip,
                           uv_buf_t ret_piece[PIECE_BUFS], size_t *ret_len)
{
    unsigned n = 0;
    *ret_len = 0;
    while (*at < count && n < PIECE_BUFS && *ret_len < MOST_BELOW_BYTES) {
        size_t room = MOST_BELOW_BYTES - *ret_len, rest = bufs[*at].len - *skip;
        size_t len = rest < room ? rest : room;
        ret_piece[n++] = uv_buf_init(bufs[*at].base + *skip, (unsigned)len);
        *ret_len += len;
        *skip += len;
        if (len == rest) {
            ++*at;
            *skip = 0;
        }
    }
    return n;
}

/* Never much more than the lower queue is to hold: the rest waits above, where its owner sees it.
 */
int fwi_over_try_write(fw_conn *base, const uv_buf_t *bufs, unsigned count)
{
    fwi_over_conn *conn = over_of(base);
    uv_buf_t piece[PIECE_BUFS];
    size_t taken = 0, skip = 0, len;
    unsigned at = 0, n;
    while (!fwi_over_congested(conn) && (n = next_piece(bufs, count, &at, &skip, piece, &len))) {
        int err = conn->layer->output(conn, piece, n);
        if (err)
            return err;
        taken += len;
    }
    return taken ? (int)taken : UV_EAGAIN;
}

int fwi_over_shutdown(fw_conn *base)
{
    fwi_over_conn *conn = over_of(base);
    if (!lower_is_usable(conn))
        return FW_OK;
    int err = conn->layer->shutdown(conn);
    return err ? err : fw_conn_shutdown(conn->lower);
}

/* Of what the layer has taken: what is not yet known to be with the kernel. */
size_t fwi_over_queued_bytes(const fw_conn *base)
{
    const fwi_over_conn *conn = over_of(base);
    return (size_t)(base->taken - conn->left);
}

/* A layer makes bytes more, or (packing) fewer, so lengths tell nothing. But all that was taken
 * until some moment has left when all that had been given to the lower connection by then has. Such
 * a moment is marked, and when it is reached, the next one. */
static void look_at_mark(fwi_over_conn *conn)
{
    const fw_conn *lower = conn->lower;
    if (fwi_conn_left(lower) < conn->mark_lower)
        return;
    conn->left = conn->mark;
    conn->mark = conn->base.taken;
    conn->mark_lower = fwi_conn_given(lower);
    if (fwi_conn_left(lower) >= conn->mark_lower)
        conn->left = conn->mark;
}

static void on_lower_sent(fw_conn *lower, void *arg)
{
    (void)lower;
    fwi_over_conn *conn = arg;
    look_at_mark(conn);
    fwi_conn_sent(&conn->base);
}

static void on_lower_drain(fw_conn *lower, void *arg)
{
    (void)lower;
    fwi_over_conn *conn = arg;
    fwi_conn_writable(&conn->base);
}

static void on_lower_shutdown(fw_conn *lower, void *arg)
{
    (void)lower;
    fwi_over_conn *conn = arg;
    fwi_conn_shut(&conn->base, FW_OK);
}

/* ---- life ---- */

static void leave_listener(fwi_over_conn *conn)
{
    fwi_over_listener *listener = conn->listener;
    if (!listener)
        return;
    conn->listener = NULL;
    fwi_list_remove(&conn->node);
    listener->handshake_count--;
}

static void finish_listener_if_empty(fwi_over_listener *listener)
{
    if (listener->lower || listener->handshake_count || !listener->base.closing)
        return;
    if (listener->layer->listener_fini)
        listener->layer->listener_fini(listener);
    fwi_listener_gone(&listener->base);
}

void fwi_over_opened(fwi_over_conn *conn)
{
    if (conn->base.state != FWI_CONN_OPENING)
        return;
    stop_timer(conn);
    fwi_over_listener *listener = conn->listener;
    if (listener) {
        leave_listener(conn);
        fwi_listener_accepted(&listener->base, &conn->base);
    } else {
        fwi_conn_opened(&conn->base);
    }
    if (is_paused(conn) && conn->lower)
        fw_conn_read_stop(conn->lower); /* the user said so while it was opening */
}

static void on_lower_open(fw_conn *lower, void *arg)
{
    (void)lower;
    fwi_over_conn *conn = arg;
    int err = conn->layer->start(conn);
    if (err)
        fwi_conn_failed(&conn->base, err);
}

static void on_lower_ended(fw_conn *lower, void *arg)
{
    (void)lower;
    fwi_over_conn *conn = arg;
    if (conn->lingers) {
        fwi_over_release(conn);
        return;
    }
    if (conn->base.state == FWI_CONN_OPENING)
        fwi_conn_explain(&conn->base, "the connection ended during the handshake");
    int reason = conn->layer->lower_ended && conn->base.state == FWI_CONN_OPEN
                     ? conn->layer->lower_ended(conn)
                     : UV_EOF;
    if (reason)
        fwi_conn_failed(&conn->base, reason);
    else
        fwi_conn_ended(&conn->base);
}

static void on_lower_closed(fw_conn *lower, int reason, void *arg)
{
    fwi_over_conn *conn = arg;
    fwi_over_listener *listener = conn->listener;
    fwi_conn_explain(&conn->base, fw_conn_errmsg(lower));
    look_at_mark(conn);
    conn->lower = NULL;
    fwi_conn_failed(&conn->base, reason);
    stop_timer(conn);
    fwi_loop_defer_cancel(conn->base.loop, &conn->feed);
    leave_listener(conn);
    conn->layer->fini(conn);
    free(conn->held);
    fwi_conn_gone(&conn->base);
    if (listener)
        finish_listener_if_empty(listener);
}

static const fw_conn_events lower_events = {.on_open = on_lower_open,
                                            .on_data = on_lower_data,
                                            .on_drain = on_lower_drain,
                                            .on_sent = on_lower_sent,
                                            .on_end = on_lower_ended,
                                            .on_shutdown = on_lower_shutdown,
                                            .on_closed = on_lower_closed};

void fwi_over_release(fwi_over_conn *conn)
{
    conn->lingers = false;
    stop_timer(conn);
    if (conn->lower)
        fw_conn_close(conn->lower, conn->base.reason);
}

void fwi_over_close(fw_conn *base)
{
    fwi_over_conn *conn = over_of(base);
    stop_timer(conn);
    if (!conn->lower)
        return; /* that is why it closes */
    if (conn->layer->end && conn->layer->end(conn, base->reason) && !start_timer(conn, LINGER_MS)) {
        conn->lingers = true;
        free(conn->held); /* what the user has not taken is not the layer's to see */
        conn->held = NULL;
        conn->held_at = conn->held_len = 0;
        fw_conn_read_start(conn->lower);
        return;
    }
    fw_conn_close(conn->lower, base->reason);
}

void fwi_over_peer(fw_conn *base, char *ret_text, size_t size)
{
    fwi_over_conn *conn = over_of(base);
    const char *colon = conn->lower ? strchr(fw_conn_peer(conn->lower), ':') : NULL;
    if (colon)
        snprintf(ret_text, size, "%s%s", conn->layer->scheme, colon);
}

/* Not more than the upper queue may hold, or the lower one would not tell when that has drained. */
static size_t most_below(size_t high_water_bytes)
{
    return high_water_bytes && high_water_bytes < MOST_BELOW_BYTES ? high_water_bytes
                                                                   : MOST_BELOW_BYTES;
}

static int over_new(fw_loop *loop, const fwi_layer *layer, fwi_over_conn **ret_conn)
{
    fwi_over_conn *conn = calloc(1, layer->conn_bytes);
    if (!conn)
        return UV_ENOMEM;
    conn->base.loop = loop;
    conn->base.ops = &layer->ops;
    conn->layer = layer;
    conn->feed = (fwi_task){.fn = on_feed, .arg = conn};
    *ret_conn = conn;
    return FW_OK;
}

/* The lower URL, in the memory of the layer's: its host, and the parameters that the layer does not
 * know. Only params is to be freed. */
static int lower_url(const fw_url *url, const char *scheme, const char *const *own, fw_url *ret_url)
{
    *ret_url = *url;
    ret_url->scheme = (char *)scheme;
    ret_url->path = (char *)"";
    ret_url->param_count = 0;
    ret_url->params = calloc(url->param_count + 1, sizeof *ret_url->params);
    if (!ret_url->params)
        return UV_ENOMEM;
    for (size_t i = 0; i < url->param_count; i++) {
        const char *const *name = own;
        while (*name && strcmp(*name, url->params[i].name))
            name++;
        if (!*name)
            ret_url->params[ret_url->param_count++] = url->params[i];
    }
    return FW_OK;
}

/* TLS is spoken by the lower connection, if it is able to. */
static fw_tls *lower_tls(const fwi_over_request *request, fw_tls *tls)
{
    return fw_transport_can(request->lower_scheme) & FW_TRANSPORT_TLS ? tls : NULL;
}

int fwi_over_dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                  const fwi_over_request *request, fw_conn **ret_conn)
{
    fwi_over_conn *conn;
    int err = over_new(loop, request->layer, &conn);
    if (err)
        return err;
    fw_url lower;
    err = lower_url(url, request->lower_scheme, request->own, &lower);
    if (err) {
        free(conn);
        return err;
    }
    err = request->prepare_conn(conn, url, options);
    if (!err) {
        fw_conn_options lower_options = {.dial_timeout_ms = options->dial_timeout_ms,
                                         .high_water_bytes = most_below(options->high_water_bytes),
                                         .tls = lower_tls(request, options->tls),
                                         .events = lower_events,
                                         .arg = conn};
        err = fwi_conn_dial_url(loop, &lower, &lower_options, &conn->lower);
        if (err)
            request->layer->fini(conn);
    }
    free(lower.params);
    if (err)
        free(conn);
    else
        *ret_conn = &conn->base;
    return err;
}

/* ---- listening ---- */

static void on_accept(fw_listener *lower_listener, fw_conn *lower, void *arg)
{
    (void)lower_listener;
    fwi_over_listener *listener = arg;
    const fw_listener_options *options = &listener->base.options;
    fwi_over_conn *conn;
    int err = listener->handshake_count < options->max_handshakes
                  ? over_new(listener->base.loop, listener->layer, &conn)
                  : FW_ELIMIT;
    if (err) {
        fw_conn_close(lower, err);
        return;
    }
    conn->lower = lower;
    conn->listener = listener;
    conn->base.max_message_bytes = (uint32_t)options->max_message_bytes;
    conn->base.messages = options->messages;
    fwi_list_push_back(&listener->handshakes, &conn->node);
    listener->handshake_count++;
    fw_conn_set_events(lower, &lower_events, conn);
    err = start_timer(conn, options->handshake_timeout_ms);
    if (!err)
        err = conn->layer->start(conn);
    if (err)
        fwi_conn_failed(&conn->base, err);
}

static void on_listener_closed(fw_listener *lower, void *arg)
{
    (void)lower;
    fwi_over_listener *listener = arg;
    listener->lower = NULL;
    finish_listener_if_empty(listener);
}

static void close_listener(fw_listener *base)
{
    fwi_over_listener *listener = fwi_container_of(base, fwi_over_listener, base);
    fwi_list_for_each (node, &listener->handshakes)
        fw_conn_close(&fwi_container_of(node, fwi_over_conn, node)->base, FW_ECANCELED);
    fw_listener_close(listener->lower);
}

static const fwi_listener_ops listener_ops = {.close = close_listener};

static char *listener_text(const fwi_over_request *request, fw_listener *lower)
{
    const char *address = strchr(fw_listener_url(lower), ':');
    const char *path = request->url_path ? request->url_path : "";
    size_t size = strlen(request->layer->scheme) + strlen(address) + strlen(path) + 1;
    char *text = malloc(size);
    if (text)
        snprintf(text, size, "%s%s%s", request->layer->scheme, address, path);
    return text;
}

/* The lower listener is no longer ours to hear of. */
static void abandon(fwi_over_listener *listener)
{
    listener->lower->options.on_closed = NULL;
    fw_listener_close(listener->lower);
}

int fwi_over_listen(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                    const fwi_over_request *request, fw_listener **ret_listener)
{
    fwi_over_listener *listener = calloc(1, request->layer->listener_bytes);
    if (!listener)
        return UV_ENOMEM;
    listener->base.loop = loop;
    listener->base.ops = &listener_ops;
    listener->layer = request->layer;
    fwi_list_init(&listener->handshakes);
    fw_url lower;
    int err = lower_url(url, request->lower_scheme, request->own, &lower);
    if (!err) {
        err = request->prepare_listener(listener, url, options);
        fw_listener_options lower_options = {.backlog = options->backlog,
                                             .high_water_bytes =
                                                 most_below(options->high_water_bytes),
                                             .tls = lower_tls(request, options->tls),
                                             .handshake_timeout_ms = options->handshake_timeout_ms,
                                             .max_handshakes = options->max_handshakes,
                                             .on_accept = on_accept,
                                             .on_closed = on_listener_closed,
                                             .arg = listener};
        if (!err) {
            err = fwi_listener_new_url(loop, &lower, &lower_options, &listener->lower);
            if (!err && !(listener->base.url = listener_text(request, listener->lower))) {
                abandon(listener);
                err = UV_ENOMEM;
            }
            if (err && request->layer->listener_fini)
                request->layer->listener_fini(listener);
        }
        free(lower.params);
    }
    if (err) {
        free(listener);
        return err;
    }
    *ret_listener = &listener->base;
    return FW_OK;
}
