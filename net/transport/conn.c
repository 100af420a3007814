/*
 * A connection above its transport.
 *
 *     OPENING --opened--> OPEN --close/fail--> CLOSING --gone--> (on_closed, freed)
 *        \______________close/fail/timeout______/
 *
 * Outgoing: writes append to `out` and queue one flush task; the flush runs at the end of the turn,
 * offers everything to the kernel in one call, and hands what the kernel did not take to the
 * transport as `in_flight`. While that is under way `out` gathers; fwi_conn_written flushes again.
 * Messages stand in `out` with their length in front, each whole in its chunk.
 *
 * Ends: fw_conn_shutdown sends ours when all is written (ending, shutting, shut); the peer's sets
 * `ended`. When both are there, the connection closes by itself.
 */
#include "transport/transport.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_DIAL_TIMEOUT_MS  5000
#define DEFAULT_HIGH_WATER_BYTES (1024 * 1024)
#define FLUSH_BUFS               64 /* chunks offered in one call */

static unsigned gather(const fwi_out_queue *queue, uv_buf_t *bufs, unsigned max)
{
    unsigned count = 0;
    for (fwi_chunk *chunk = queue->head; chunk && count < max; chunk = chunk->next)
        bufs[count++] = uv_buf_init((char *)fwi_chunk_bytes(chunk), chunk->end - chunk->start);
    return count;
}

static void check_drained(fw_conn *conn)
{
    if (!conn->congested || fw_conn_queued_bytes(conn) > conn->high_water_bytes / 2)
        return;
    conn->congested = false;
    if (conn->state == FWI_CONN_OPEN && conn->events->on_drain)
        conn->events->on_drain(conn, conn->arg);
}

/* Hands the rest to the transport, which keeps it until it is sent. */
static int write_rest(fw_conn *conn)
{
    uv_buf_t few[FLUSH_BUFS], *bufs = few;
    unsigned chunks = 0;
    for (fwi_chunk *chunk = conn->out.head; chunk; chunk = chunk->next)
        chunks++;
    if (chunks > FLUSH_BUFS && !(bufs = malloc(chunks * sizeof *bufs)))
        return UV_ENOMEM;
    int err = conn->ops->write(conn, bufs, gather(&conn->out, bufs, chunks));
    if (bufs != few)
        free(bufs);
    if (err)
        return err;
    conn->in_flight.head = conn->out.head;
    conn->in_flight.bytes = conn->out.bytes;
    conn->out = (fwi_out_queue){.bytes = 0};
    conn->writing = true;
    return FW_OK;
}

/* The transport has taken bytes at once. */
static void consume(fw_conn *conn, size_t len)
{
    fwi_out_queue_consume(&conn->out, fwi_loop_chunks(conn->loop), len);
    conn->taken += len;
}

static void clear_in_flight(fw_conn *conn)
{
    fwi_out_queue queue = {.head = conn->in_flight.head, .bytes = conn->in_flight.bytes};
    fwi_out_queue_clear(&queue, fwi_loop_chunks(conn->loop));
    conn->in_flight.head = NULL;
    conn->in_flight.bytes = 0;
}

static int flush_stream(fw_conn *conn)
{
    while (conn->out.bytes && !conn->writing && !conn->blocked) {
        uv_buf_t bufs[FLUSH_BUFS];
        unsigned count = gather(&conn->out, bufs, FLUSH_BUFS);
        size_t offered = 0;
        for (unsigned i = 0; i < count; i++)
            offered += bufs[i].len;
        int n = conn->ops->try_write(conn, bufs, count);
        if (n > 0)
            consume(conn, (size_t)n);
        else if (n != UV_EAGAIN)
            return n;
        if (n != UV_EAGAIN && (size_t)n == offered)
            continue;
        if (conn->ops->write)
            return write_rest(conn);
        conn->blocked = true;
    }
    return FW_OK;
}

static int flush_messages(fw_conn *conn)
{
    while (conn->out.bytes && !conn->blocked) {
        const uint8_t *message = fwi_chunk_bytes(conn->out.head);
        uint32_t len;
        memcpy(&len, message, sizeof len);
        int err = conn->ops->send(conn, message + sizeof len, len);
        if (err == UV_EAGAIN)
            conn->blocked = true;
        else if (err)
            return err;
        else
            consume(conn, sizeof len + len);
    }
    return FW_OK;
}

static int flush(fw_conn *conn)
{
    int err = conn->messages ? flush_messages(conn) : flush_stream(conn);
    if (err || !conn->ending || conn->shutting || conn->out.bytes || conn->writing)
        return err;
    conn->shutting = true;
    return conn->ops->shutdown(conn);
}

/* It is not known what has left of what was offered: nothing may follow it. */
static void fail_writing(fw_conn *conn, int error)
{
    conn->blocked = true;
    conn->shutting = true;
    fw_conn_close(conn, error);
}

static void on_flush(fwi_task *task, void *arg)
{
    (void)task;
    fw_conn *conn = arg;
    if (conn->state != FWI_CONN_OPEN)
        return;
    int err = flush(conn);
    if (err)
        fail_writing(conn, err);
    else
        fwi_conn_sent(conn);
}

static void on_dial_timeout(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_conn_close(arg, FW_EDEADLINE);
}

static void end_dial_timer(fw_conn *conn)
{
    if (conn->dialled)
        fwi_loop_timer_stop(conn->loop, &conn->dialled->timer);
}

static const fw_conn_events no_events;

static void conn_setup(fw_conn *conn, fw_loop *loop, size_t high_water_bytes, bool messages,
                       size_t max_message_bytes)
{
    conn->loop = loop;
    if (!high_water_bytes)
        high_water_bytes = DEFAULT_HIGH_WATER_BYTES;
    conn->high_water_bytes =
        high_water_bytes < UINT32_MAX ? (uint32_t)high_water_bytes : UINT32_MAX;
    conn->events = &no_events;
    conn->messages = messages;
    if (!conn->max_message_bytes || max_message_bytes < conn->max_message_bytes)
        conn->max_message_bytes = (uint32_t)max_message_bytes;
    conn->flush = (fwi_task){.fn = on_flush, .arg = conn};
}

int fwi_conn_dial_url(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                      fw_conn **ret_conn)
{
    const fwi_transport *transport = fwi_transport_find(url->scheme);
    if (!transport)
        return FW_ESCHEME;
    fw_conn_options filled = *options;
    int err = fwi_transport_check_repeats(url);
    if (!err)
        err = fwi_transport_mode(transport, options->tls, options->messages,
                                 options->max_message_bytes, &filled.messages,
                                 &filled.max_message_bytes);
    if (err)
        return err;
    if (!filled.dial_timeout_ms)
        filled.dial_timeout_ms = DEFAULT_DIAL_TIMEOUT_MS;
    fw_conn *conn = NULL;
    fwi_conn_dialled *dialled = malloc(sizeof *dialled);
    err = dialled ? transport->dial(loop, url, &filled, &conn) : UV_ENOMEM;
    if (err) {
        free(dialled);
        return err;
    }
    conn_setup(conn, loop, filled.high_water_bytes, filled.messages, filled.max_message_bytes);
    *dialled =
        (fwi_conn_dialled){.timer = {.fn = on_dial_timeout, .arg = conn}, .events = filled.events};
    conn->dialled = dialled;
    conn->events = &dialled->events;
    conn->arg = filled.arg;
    /* A transport reports an early failure in a later turn, so the timer is set in time. */
    fwi_loop_timer_start(loop, &dialled->timer, filled.dial_timeout_ms);
    *ret_conn = conn;
    return FW_OK;
}

int fw_conn_dial(fw_loop *loop, const char *text, const fw_conn_options *options,
                 fw_conn **ret_conn)
{
    fw_url url;
    int err = fw_url_init(&url, text);
    if (err)
        return err;
    err = fwi_conn_dial_url(loop, &url, options, ret_conn);
    fw_url_fini(&url);
    return err;
}

static void start_reading(fw_conn *conn)
{
    if (!fwi_conn_wants_data(conn) || conn->ended)
        return;
    int err = conn->ops->read_start(conn);
    if (err)
        fw_conn_close(conn, err);
}

void fwi_conn_opened(fw_conn *conn)
{
    if (conn->state != FWI_CONN_OPENING)
        return;
    end_dial_timer(conn);
    conn->state = FWI_CONN_OPEN;
    start_reading(conn);
    if (conn->out.bytes || conn->ending)
        fwi_loop_defer(conn->loop, &conn->flush);
    if (conn->state == FWI_CONN_OPEN && conn->events->on_open)
        conn->events->on_open(conn, conn->arg);
}

void fwi_listener_accepted(fw_listener *listener, fw_conn *conn)
{
    const fw_listener_options *options = &listener->options;
    conn_setup(conn, listener->loop, options->high_water_bytes, options->messages,
               options->max_message_bytes);
    conn->state = FWI_CONN_OPEN;
    if (listener->closing) {
        fw_conn_close(conn, FW_ECANCELED);
        return;
    }
    options->on_accept(listener, conn, options->arg);
    start_reading(conn);
}

void fwi_conn_received(fw_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->state == FWI_CONN_OPEN && conn->events->on_data)
        conn->events->on_data(conn, data, len, conn->arg);
}

void fwi_conn_written(fw_conn *conn, int status)
{
    conn->writing = false;
    if (!status) { /* else it counts as lost */
        conn->taken += conn->in_flight.bytes;
        clear_in_flight(conn);
    }
    if (conn->state != FWI_CONN_OPEN)
        return;
    if (!status)
        status = flush(conn);
    if (status)
        fail_writing(conn, status);
    else
        fwi_conn_sent(conn);
}

void fwi_conn_sent(fw_conn *conn)
{
    if (conn->state == FWI_CONN_OPEN && conn->events->on_sent)
        conn->events->on_sent(conn, conn->arg);
    check_drained(conn); /* also of what a lower connection had */
}

void fwi_conn_writable(fw_conn *conn)
{
    conn->blocked = false;
    if (conn->state == FWI_CONN_OPEN)
        on_flush(&conn->flush, conn);
}

void fwi_conn_shut(fw_conn *conn, int status)
{
    if (conn->state != FWI_CONN_OPEN)
        return;
    conn->shut = true;
    if (status) {
        fw_conn_close(conn, status);
        return;
    }
    if (conn->events->on_shutdown)
        conn->events->on_shutdown(conn, conn->arg);
    if (conn->ended)
        fw_conn_close(conn, UV_EOF);
}

void fwi_conn_ended(fw_conn *conn)
{
    if (conn->state != FWI_CONN_OPEN || conn->ended)
        return;
    conn->ended = true;
    if (conn->shut || !conn->events->on_end)
        fw_conn_close(conn, UV_EOF);
    else
        conn->events->on_end(conn, conn->arg);
}

static fwi_conn_texts *get_texts(fw_conn *conn)
{
    if (!conn->texts)
        conn->texts = calloc(1, sizeof *conn->texts);
    return conn->texts;
}

void fwi_conn_explain(fw_conn *conn, const char *text)
{
    fwi_conn_texts *texts = *text ? get_texts(conn) : NULL;
    if (texts && !texts->errmsg)
        texts->errmsg = strdup(text);
}

int fwi_conn_set_peer(fw_conn *conn, const char *url)
{
    fwi_conn_texts *texts = get_texts(conn);
    if (texts && !texts->peer)
        texts->peer = strdup(url);
    return texts && texts->peer ? FW_OK : UV_ENOMEM;
}

void fwi_conn_failed(fw_conn *conn, int error)
{
    fw_conn_close(conn, error);
}

void fwi_conn_gone(fw_conn *conn)
{
    if (conn->events && conn->events->on_closed) /* none: it was never accepted */
        conn->events->on_closed(conn, conn->reason, conn->arg);
    fwi_out_queue_clear(&conn->out, fwi_loop_chunks(conn->loop));
    clear_in_flight(conn);
    if (conn->texts) {
        free(conn->texts->peer);
        free(conn->texts->errmsg);
    }
    free(conn->texts);
    free(conn->dialled);
    free(conn);
}

/* Something was appended to the queue. */
static void want_flush(fw_conn *conn)
{
    if (!conn->writing && !conn->blocked && conn->state == FWI_CONN_OPEN)
        fwi_loop_defer(conn->loop, &conn->flush);
    if (fw_conn_queued_bytes(conn) > conn->high_water_bytes)
        conn->congested = true;
}

uint8_t *fw_conn_reserve(fw_conn *conn, size_t len)
{
    if (conn->state == FWI_CONN_CLOSING || conn->ending)
        return NULL;
    uint32_t message_len = (uint32_t)len;
    size_t head = conn->messages ? sizeof message_len : 0;
    if (conn->messages && len > conn->max_message_bytes)
        return NULL;
    uint8_t *room = fwi_out_queue_reserve(&conn->out, fwi_loop_chunks(conn->loop), head + len);
    if (!room)
        return NULL;
    memcpy(room, &message_len, head);
    want_flush(conn);
    return room + head;
}

int fw_conn_write_buf(fw_conn *conn, fw_buf *buf)
{
    fw_slice bytes = fw_buf_bytes(buf);
    /* A message stands in one piece with its length. */
    if (conn->messages || bytes.len <= fwi_out_queue_room(&conn->out, FWI_SHARE_LEAST_BYTES))
        return fw_conn_write(conn, bytes.data, bytes.len);
    if (conn->state == FWI_CONN_CLOSING || conn->ending)
        return FW_ECLOSED;
    int err = fwi_out_queue_share(&conn->out, buf);
    if (!err)
        want_flush(conn);
    return err;
}

int fw_conn_write(fw_conn *conn, const void *data, size_t len)
{
    if (conn->state == FWI_CONN_CLOSING || conn->ending)
        return FW_ECLOSED;
    if (conn->messages && len > conn->max_message_bytes)
        return FW_EFRAMESIZE;
    if (!len && !conn->messages)
        return FW_OK;
    uint8_t *room = fw_conn_reserve(conn, len);
    if (!room)
        return UV_ENOMEM;
    if (len)
        memcpy(room, data, len);
    return FW_OK;
}

int fw_conn_shutdown(fw_conn *conn)
{
    if (conn->state == FWI_CONN_CLOSING || conn->ending)
        return FW_ECLOSED;
    if (!conn->ops->shutdown)
        return FW_EUNSUPPORTED;
    conn->ending = true;
    if (conn->state == FWI_CONN_OPEN)
        fwi_loop_defer(conn->loop, &conn->flush);
    return FW_OK;
}

size_t fw_conn_queued_bytes(const fw_conn *conn)
{
    size_t below = conn->ops->queued_bytes ? conn->ops->queued_bytes(conn) : 0;
    return conn->out.bytes + conn->in_flight.bytes + below;
}

bool fw_conn_congested(const fw_conn *conn)
{
    return conn->congested;
}

void fw_conn_read_stop(fw_conn *conn)
{
    if (conn->read_stopped)
        return;
    conn->read_stopped = true;
    if (conn->state == FWI_CONN_OPEN)
        conn->ops->read_stop(conn);
}

void fw_conn_read_start(fw_conn *conn)
{
    if (!conn->read_stopped)
        return;
    conn->read_stopped = false;
    start_reading(conn);
}

void fw_conn_close(fw_conn *conn, int reason)
{
    if (conn->state == FWI_CONN_CLOSING)
        return;
    bool was_open = conn->state == FWI_CONN_OPEN;
    conn->state = FWI_CONN_CLOSING;
    conn->reason = reason;
    if (was_open && !conn->writing)
        (void)flush(conn); /* a last try, of which nothing is told; the rest is dropped */
    end_dial_timer(conn);
    fwi_loop_defer_cancel(conn->loop, &conn->flush);
    conn->ops->close(conn);
}

void fw_conn_set_events(fw_conn *conn, const fw_conn_events *events, void *arg)
{
    conn->events = events;
    conn->arg = arg;
}

const char *fw_conn_peer(fw_conn *conn)
{
    bool is_known = conn->texts && conn->texts->peer;
    if (!is_known && conn->state == FWI_CONN_OPEN && get_texts(conn)) {
        char text[300] = "";
        conn->ops->peer(conn, text, sizeof text);
        conn->texts->peer = strdup(text);
    }
    return conn->texts && conn->texts->peer ? conn->texts->peer : "";
}

bool fw_conn_has_messages(const fw_conn *conn)
{
    return conn->messages;
}

const char *fw_conn_errmsg(const fw_conn *conn)
{
    return conn->texts && conn->texts->errmsg ? conn->texts->errmsg : "";
}

fw_loop *fw_conn_loop(const fw_conn *conn)
{
    return conn->loop;
}
