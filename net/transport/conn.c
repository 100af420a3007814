/*
 * A connection above its transport.
 *
 *     OPENING --opened--> OPEN --close/fail--> CLOSING --gone--> (on_closed, freed)
 *        \______________close/fail/timeout______/
 *
 * Outgoing: writes append to `out` and queue one flush task; the flush runs at the end of the turn,
 * offers everything to the kernel in one call, and hands what the kernel did not take to the
 * transport as `in_flight`. While that is under way `out` gathers; fwi_conn_written flushes again.
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
        bufs[count++] = uv_buf_init((char *)chunk->data + chunk->start, chunk->end - chunk->start);
    return count;
}

static void check_drained(fw_conn *conn)
{
    if (!conn->congested || fw_conn_queued_bytes(conn) > conn->high_water_bytes / 2)
        return;
    conn->congested = false;
    if (conn->state == FWI_CONN_OPEN && conn->events.on_drain)
        conn->events.on_drain(conn, conn->arg);
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
    unsigned count = gather(&conn->out, bufs, chunks);
    conn->in_flight = conn->out;
    conn->out = (fwi_out_queue){.bytes = 0};
    conn->writing = true;
    int err = conn->ops->write(conn, bufs, count);
    if (err)
        conn->writing = false;
    if (bufs != few)
        free(bufs);
    return err;
}

static int flush(fw_conn *conn)
{
    while (conn->out.bytes && !conn->writing) {
        uv_buf_t bufs[FLUSH_BUFS];
        unsigned count = gather(&conn->out, bufs, FLUSH_BUFS);
        size_t offered = 0;
        for (unsigned i = 0; i < count; i++)
            offered += bufs[i].len;
        int n = conn->ops->try_write(conn, bufs, count);
        if (n > 0)
            fwi_out_queue_consume(&conn->out, fwi_loop_chunks(conn->loop), (size_t)n);
        else if (n != UV_EAGAIN)
            return n;
        if (n == UV_EAGAIN || (size_t)n < offered)
            return write_rest(conn);
    }
    return FW_OK;
}

static void on_flush(fwi_task *task, void *arg)
{
    (void)task;
    fw_conn *conn = arg;
    if (conn->state != FWI_CONN_OPEN)
        return;
    int err = flush(conn);
    if (err)
        fw_conn_close(conn, err);
    else
        check_drained(conn);
}

static void on_dial_timeout(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_conn_close(arg, FW_EDEADLINE);
}

static void end_dial_timer(fw_conn *conn)
{
    if (!conn->dial_timer)
        return;
    fwi_loop_timer_stop(conn->loop, conn->dial_timer);
    free(conn->dial_timer);
    conn->dial_timer = NULL;
}

static void conn_setup(fw_conn *conn, fw_loop *loop, size_t high_water_bytes)
{
    conn->loop = loop;
    conn->high_water_bytes = high_water_bytes ? high_water_bytes : DEFAULT_HIGH_WATER_BYTES;
    conn->flush = (fwi_task){.fn = on_flush, .arg = conn};
}

int fw_conn_dial(fw_loop *loop, const char *text, const fw_conn_options *options,
                 fw_conn **ret_conn)
{
    fw_url url;
    int err = fw_url_init(&url, text);
    if (err)
        return err;
    const fwi_transport *transport = fwi_transport_find(url.scheme);
    fw_conn *conn = NULL;
    fwi_timer *timer = malloc(sizeof *timer);
    err = !timer ? UV_ENOMEM : transport ? transport->dial(loop, &url, &conn) : FW_ESCHEME;
    fw_url_fini(&url);
    if (err) {
        free(timer);
        return err;
    }
    conn_setup(conn, loop, options->high_water_bytes);
    conn->events = options->events;
    conn->arg = options->arg;
    /* A transport reports an early failure in a later turn, so the timer is set in time. */
    *timer = (fwi_timer){.fn = on_dial_timeout, .arg = conn};
    conn->dial_timer = timer;
    fwi_loop_timer_start(
        loop, timer, options->dial_timeout_ms ? options->dial_timeout_ms : DEFAULT_DIAL_TIMEOUT_MS);
    *ret_conn = conn;
    return FW_OK;
}

static void start_reading(fw_conn *conn)
{
    if (conn->state != FWI_CONN_OPEN || conn->read_stopped)
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
    if (conn->out.bytes)
        fwi_loop_defer(conn->loop, &conn->flush);
    if (conn->state == FWI_CONN_OPEN && conn->events.on_open)
        conn->events.on_open(conn, conn->arg);
}

void fwi_listener_accepted(fw_listener *listener, fw_conn *conn)
{
    conn_setup(conn, listener->loop, listener->options.high_water_bytes);
    conn->state = FWI_CONN_OPEN;
    if (listener->closing) {
        fw_conn_close(conn, FW_ECANCELED);
        return;
    }
    listener->options.on_accept(listener, conn, listener->options.arg);
    start_reading(conn);
}

void fwi_conn_received(fw_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->state == FWI_CONN_OPEN && conn->events.on_data)
        conn->events.on_data(conn, data, len, conn->arg);
}

void fwi_conn_written(fw_conn *conn, int status)
{
    conn->writing = false;
    fwi_out_queue_clear(&conn->in_flight, fwi_loop_chunks(conn->loop));
    if (conn->state != FWI_CONN_OPEN)
        return;
    if (!status)
        status = flush(conn);
    if (status)
        fw_conn_close(conn, status);
    else
        check_drained(conn);
}

void fwi_conn_failed(fw_conn *conn, int error)
{
    fw_conn_close(conn, error);
}

void fwi_conn_gone(fw_conn *conn)
{
    fwi_out_queue_clear(&conn->out, fwi_loop_chunks(conn->loop));
    fwi_out_queue_clear(&conn->in_flight, fwi_loop_chunks(conn->loop));
    if (conn->events.on_closed)
        conn->events.on_closed(conn, conn->reason, conn->arg);
    free(conn->peer_text);
    free(conn);
}

uint8_t *fw_conn_reserve(fw_conn *conn, size_t len)
{
    if (conn->state == FWI_CONN_CLOSING)
        return NULL;
    uint8_t *room = fwi_out_queue_reserve(&conn->out, fwi_loop_chunks(conn->loop), len);
    if (!room)
        return NULL;
    if (!conn->writing && conn->state == FWI_CONN_OPEN)
        fwi_loop_defer(conn->loop, &conn->flush);
    if (conn->out.bytes > conn->high_water_bytes)
        conn->congested = true;
    return room;
}

int fw_conn_write(fw_conn *conn, const void *data, size_t len)
{
    if (conn->state == FWI_CONN_CLOSING)
        return FW_ECLOSED;
    if (!len)
        return FW_OK;
    uint8_t *room = fw_conn_reserve(conn, len);
    if (!room)
        return UV_ENOMEM;
    memcpy(room, data, len);
    return FW_OK;
}

size_t fw_conn_queued_bytes(const fw_conn *conn)
{
    return conn->out.bytes + conn->in_flight.bytes;
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
    if (conn->state == FWI_CONN_OPEN && !conn->writing)
        (void)flush(conn); /* a last try; the rest is dropped */
    conn->state = FWI_CONN_CLOSING;
    conn->reason = reason;
    end_dial_timer(conn);
    fwi_loop_defer_cancel(conn->loop, &conn->flush);
    conn->ops->close(conn);
}

void fw_conn_set_events(fw_conn *conn, const fw_conn_events *events, void *arg)
{
    conn->events = *events;
    conn->arg = arg;
}

const char *fw_conn_peer(fw_conn *conn)
{
    if (!conn->peer_text && conn->state == FWI_CONN_OPEN) {
        char text[300] = "";
        conn->ops->peer(conn, text, sizeof text);
        conn->peer_text = strdup(text);
    }
    return conn->peer_text ? conn->peer_text : "";
}

fw_loop *fw_conn_loop(const fw_conn *conn)
{
    return conn->loop;
}
