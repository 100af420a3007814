/*
 * ?proxy=1: who connects is a proxy, and says first for whom, with a header of the PROXY protocol.
 * Without one the connection ends. Only then the listener hears of it, and fw_conn_peer tells the
 * address that the header has told. (Let nobody but the proxies reach such a listener: anybody else
 * could name any address.)
 *
 * Never more is read than the header still has, so that what is behind it stays in the socket for
 * the connection's owner: 15 or 16 bytes first, then the rest of version 2, or the line of version
 * 1 in steps.
 */
#include "transport/proxy_header.h"
#include "transport/uv_stream.h"

#include <fairway/error.h>
#include <stdlib.h>

#include "base/log.h"

/* Hangs on the connection's handle, until its header is there. */
typedef struct waiting {
    fwi_stream_conn *conn;
    fwi_stream_listener *listener;
    fwi_list node; /* in the listener */
    fwi_timer deadline;
    fwi_proxy_parser parser;
} waiting;

static void forget(waiting *one)
{
    fwi_loop_timer_stop(one->conn->base.loop, &one->deadline);
    fwi_list_remove(&one->node);
    one->listener->waiting_count--;
    free(one);
}

/* Nobody knows the connection yet, so nobody is told. */
static void drop(waiting *one, int reason)
{
    fw_conn *conn = &one->conn->base;
    fwi_log(FW_LOG_INFO, "transport", "no header of the PROXY protocol",
            FWI_TEXT("url", fw_listener_url(&one->listener->base)),
            FWI_TEXT("why", fw_strerror(reason)));
    forget(one);
    fw_conn_close(conn, reason);
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    drop(arg, FW_EDEADLINE);
}

static void finish(waiting *one)
{
    fwi_stream_conn *conn = one->conn;
    fwi_stream_listener *listener = one->listener;
    fwi_proxy_addresses addresses;
    int err = fwi_proxy_parser_addresses(&one->parser, &addresses);
    if (err) {
        drop(one, err);
        return;
    }
    if (addresses.source.ss_family != AF_UNSPEC) {
        char text[200];
        fwi_proxy_source_url(&addresses, text, sizeof text);
        err = fwi_conn_set_peer(&conn->base, text);
        if (err) { /* else the peer would be taken for the proxy */
            drop(one, err);
            return;
        }
    }
    uv_read_stop(&conn->uv.stream);
    forget(one);
    fwi_listener_accepted(&listener->base, &conn->base);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    const waiting *one = handle->data;
    size_t wanted = fwi_proxy_parser_wanted(&one->parser);
    *buf = uv_buf_init((char *)fwi_loop_scratch(one->conn->base.loop), (unsigned)wanted);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    waiting *one = handle->data;
    size_t taken;
    if (n < 0) {
        drop(one, (int)n);
        return;
    }
    int err = fwi_proxy_parser_input(&one->parser, (const uint8_t *)buf->base, (size_t)n, &taken);
    if (err)
        drop(one, err);
    else if (!fwi_proxy_parser_wanted(&one->parser))
        finish(one);
}

void fwi_proxy_accept(fwi_stream_listener *listener, fwi_stream_conn *conn)
{
    const fw_listener_options *options = &listener->base.options;
    fw_loop *loop = listener->base.loop;
    waiting *one = listener->waiting_count < options->max_handshakes ? malloc(sizeof *one) : NULL;
    if (!one) {
        fw_conn_close(&conn->base, FW_ELIMIT);
        return;
    }
    one->conn = conn;
    one->listener = listener;
    one->deadline = (fwi_timer){.fn = on_deadline, .arg = one};
    fwi_proxy_parser_init(&one->parser);
    fwi_list_push_back(&listener->waiting, &one->node);
    listener->waiting_count++;
    fwi_loop_timer_start(loop, &one->deadline, options->handshake_timeout_ms);
    conn->uv.handle.data = one;
    int err = uv_read_start(&conn->uv.stream, on_alloc, on_read);
    if (err)
        drop(one, err);
}

void fwi_proxy_accept_cancel(fwi_stream_listener *listener)
{
    fwi_list_for_each_safe (node, &listener->waiting)
        drop(fwi_container_of(node, waiting, node), FW_ECANCELED);
}
