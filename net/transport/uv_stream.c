#include "transport/uv_stream.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPT_AGAIN_MS 100 /* after a lack of memory */

static fwi_stream_conn *stream_of(fw_conn *conn)
{
    return fwi_container_of(conn, fwi_stream_conn, base);
}

struct dialled_conn {
    fwi_stream_conn conn;
    fwi_stream_dial dial;
};

fwi_stream_dial *fwi_stream_dial_of(fwi_stream_conn *conn)
{
    return &fwi_container_of(conn, struct dialled_conn, conn)->dial;
}

static void on_report(fwi_task *task, void *arg)
{
    (void)task;
    fwi_stream_conn *conn = arg;
    fwi_conn_failed(&conn->base, fwi_stream_dial_of(conn)->early_error);
}

int fwi_stream_conn_new(fw_loop *loop, const fwi_conn_ops *ops, size_t handle_bytes, bool dialled,
                        fwi_stream_conn **ret_conn)
{
    fwi_stream_conn *conn = calloc(1, dialled ? sizeof(struct dialled_conn)
                                              : offsetof(fwi_stream_conn, uv) + handle_bytes);
    if (!conn)
        return UV_ENOMEM;
    conn->base.loop = loop;
    conn->base.ops = ops;
    if (dialled) {
        fwi_stream_dial *dial = fwi_stream_dial_of(conn);
        dial->connect.data = conn;
        dial->report = (fwi_task){.fn = on_report, .arg = conn};
    }
    *ret_conn = conn;
    return FW_OK;
}

void fwi_stream_on_connect(uv_connect_t *request, int status)
{
    fwi_stream_conn *conn = request->data;
    if (status == UV_ECANCELED)
        return; /* closed meanwhile */
    if (status)
        fwi_conn_failed(&conn->base, status);
    else
        fwi_conn_opened(&conn->base);
}

void fwi_stream_fail_later(fwi_stream_conn *conn, int error)
{
    fwi_stream_dial *dial = fwi_stream_dial_of(conn);
    dial->early_error = error;
    fwi_loop_defer(conn->base.loop, &dial->report);
}

int fwi_stream_try_write(fw_conn *conn, const uv_buf_t *bufs, unsigned count)
{
    return uv_try_write(&stream_of(conn)->uv.stream, bufs, count);
}

static void on_write(uv_write_t *request, int status)
{
    fwi_stream_conn *conn = request->data;
    free(request);
    fwi_conn_written(&conn->base, status);
}

int fwi_stream_write(fw_conn *conn, const uv_buf_t *bufs, unsigned count)
{
    fwi_stream_conn *stream = stream_of(conn);
    uv_write_t *request = malloc(sizeof *request);
    if (!request)
        return UV_ENOMEM;
    request->data = stream;
    int err = uv_write(request, &stream->uv.stream, bufs, count, on_write);
    if (err)
        free(request);
    return err;
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    fwi_stream_conn *conn = request->data;
    free(request);
    fwi_conn_shut(&conn->base, status);
}

int fwi_stream_shutdown(fw_conn *conn)
{
    fwi_stream_conn *stream = stream_of(conn);
    uv_shutdown_t *request = malloc(sizeof *request);
    if (!request)
        return UV_ENOMEM;
    request->data = stream;
    int err = uv_shutdown(request, &stream->uv.stream, on_shutdown);
    if (err)
        free(request);
    return err;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    fwi_stream_conn *conn = fwi_container_of(handle, fwi_stream_conn, uv);
    *buf = uv_buf_init((char *)fwi_loop_scratch(conn->base.loop), FWI_SCRATCH_BYTES);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    fwi_stream_conn *conn = fwi_container_of(handle, fwi_stream_conn, uv);
    if (n > 0)
        fwi_conn_received(&conn->base, (const uint8_t *)buf->base, (size_t)n);
    else if (n == UV_EOF)
        fwi_conn_ended(&conn->base);
    else if (n < 0)
        fwi_conn_failed(&conn->base, (int)n);
}

int fwi_stream_read_start(fw_conn *conn)
{
    int err = uv_read_start(&stream_of(conn)->uv.stream, on_alloc, on_read);
    return err == UV_EALREADY ? FW_OK : err;
}

void fwi_stream_read_stop(fw_conn *conn)
{
    uv_read_stop(&stream_of(conn)->uv.stream);
}

static void on_conn_closed(uv_handle_t *handle)
{
    fwi_stream_conn *conn = fwi_container_of(handle, fwi_stream_conn, uv);
    fwi_conn_gone(&conn->base);
}

void fwi_stream_close(fw_conn *conn)
{
    fwi_stream_conn *stream = stream_of(conn);
    fwi_stream_dial *dial = conn->dialled ? fwi_stream_dial_of(stream) : NULL;
    if (dial)
        fwi_loop_defer_cancel(conn->loop, &dial->report);
    if (dial && dial->resolve) {
        dial->resolve->data = NULL; /* the look-up goes on without us */
        uv_cancel((uv_req_t *)dial->resolve);
        dial->resolve = NULL;
    }
    uv_close(&stream->uv.handle, on_conn_closed);
}

/* libuv listens no more until somebody accepts what has come. */
static void accept_one(fwi_stream_listener *listener)
{
    fwi_stream_conn *conn;
    if (listener->conn_new(listener->base.loop, false, &conn)) {
        fwi_loop_timer_start(listener->base.loop, &listener->again, ACCEPT_AGAIN_MS);
        return;
    }
    int err = uv_accept(&listener->uv.stream, &conn->uv.stream);
    if (!err && listener->on_socket)
        listener->on_socket(conn);
    if (err)
        fw_conn_close(&conn->base, err); /* nobody knows it yet, so nobody is told */
    else if (listener->proxy)
        fwi_proxy_accept(listener, conn);
    else
        fwi_listener_accepted(&listener->base, &conn->base);
}

static void on_again(fwi_timer *timer, void *arg)
{
    (void)timer;
    accept_one(arg);
}

static void on_connection(uv_stream_t *handle, int status)
{
    if (!status) /* else out of descriptors, or the peer has left: libuv tries again */
        accept_one(fwi_container_of(handle, fwi_stream_listener, uv));
}

int fwi_stream_listen(fwi_stream_listener *listener, int backlog)
{
    fwi_list_init(&listener->waiting);
    listener->again = (fwi_timer){.fn = on_again, .arg = listener};
    return uv_listen(&listener->uv.stream, backlog, on_connection);
}

static void on_listener_closed(uv_handle_t *handle)
{
    fwi_stream_listener *listener = fwi_container_of(handle, fwi_stream_listener, uv);
    fwi_listener_gone(&listener->base);
}

static void listener_close(fw_listener *base)
{
    fwi_stream_listener *listener = fwi_container_of(base, fwi_stream_listener, base);
    fwi_loop_timer_stop(base->loop, &listener->again);
    fwi_proxy_accept_cancel(listener);
    uv_close(&listener->uv.handle, on_listener_closed);
}

const fwi_listener_ops fwi_stream_listener_ops = {.close = listener_close};
