/*
 * unix:/path. A path whose socket nobody listens on any more (its process was killed) is taken
 * over; one that answers, or is no socket, gives UV_EADDRINUSE. libuv removes the socket when the
 * listener closes.
 * Listening: ?proxy=1, see proxy_accept.c.
 */
#include "transport/uv_stream.h"

#include <errno.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_BUFFER_BYTES (512 * 1024)

static void peer(fw_conn *conn, char *ret_text, size_t size)
{
    fwi_stream_conn *stream = fwi_container_of(conn, fwi_stream_conn, base);
    char path[sizeof(struct sockaddr_un)];
    size_t len = sizeof path - 1;
    if (uv_pipe_getpeername(&stream->uv.pipe, path, &len))
        len = 0;
    snprintf(ret_text, size, "unix:%.*s", (int)len, path);
}

static const fwi_conn_ops unix_ops = {
    .try_write = fwi_stream_try_write,
    .write = fwi_stream_write,
    .shutdown = fwi_stream_shutdown,
    .read_start = fwi_stream_read_start,
    .read_stop = fwi_stream_read_stop,
    .close = fwi_stream_close,
    .peer = peer,
};

static int conn_new(fw_loop *loop, bool dialled, fwi_stream_conn **ret_conn)
{
    fwi_stream_conn *conn;
    int err = fwi_stream_conn_new(loop, &unix_ops, sizeof conn->uv.pipe, dialled, &conn);
    if (err)
        return err;
    err = uv_pipe_init(fw_loop_uv(loop), &conn->uv.pipe, 0);
    if (err) {
        free(conn);
        return err;
    }
    *ret_conn = conn;
    return FW_OK;
}

/* The kernel's standard is less than what a busy pipeline has under way, and then each write waits
 * for the reader. (Of tcp it lets the buffer grow by itself.) Empty buffers cost nothing. */
static void widen(fwi_stream_conn *conn)
{
    int bytes = SEND_BUFFER_BYTES;
    (void)uv_send_buffer_size(&conn->uv.handle, &bytes); /* as much as the system allows */
}

static int check_url(const fw_url *url)
{
    struct sockaddr_un address;
    if (url->host_count || !*url->path || strlen(url->path) >= sizeof address.sun_path)
        return FW_EURL;
    return FW_OK;
}

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                fw_conn **ret_conn)
{
    (void)options;
    int err = check_url(url);
    if (!err)
        err = fwi_transport_check_params(url, (const char *const[]){NULL});
    if (err)
        return err;
    fwi_stream_conn *conn;
    err = conn_new(loop, true, &conn);
    if (err)
        return err;
    uv_pipe_connect(&fwi_stream_dial_of(conn)->connect, &conn->uv.pipe, url->path,
                    fwi_stream_on_connect);
    widen(conn);
    *ret_conn = &conn->base;
    return FW_OK;
}

/* Connecting to a unix socket never waits for the peer, so this does not block the loop. */
static bool is_stale(const char *path)
{
    struct stat info;
    if (lstat(path, &info) || !S_ISSOCK(info.st_mode))
        return false; /* a file would refuse a connection, too */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (struct sockaddr *)&address, sizeof address) && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int bind_and_listen(fwi_stream_listener *listener, const char *path, int backlog)
{
    int err = uv_pipe_bind(&listener->uv.pipe, path);
    if (err == UV_EADDRINUSE && is_stale(path) && !unlink(path))
        err = uv_pipe_bind(&listener->uv.pipe, path);
    if (err)
        return err;
    size_t size = strlen(path) + sizeof "unix:";
    listener->base.url = malloc(size);
    if (!listener->base.url)
        return UV_ENOMEM;
    snprintf(listener->base.url, size, "unix:%s", path);
    return fwi_stream_listen(listener, backlog);
}

static void free_failed(uv_handle_t *handle)
{
    fwi_stream_listener *listener = fwi_container_of(handle, fwi_stream_listener, uv);
    free(listener->base.url);
    free(listener);
}

static int listen_unix(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                       fw_listener **ret_listener)
{
    bool proxy;
    int err = check_url(url);
    if (!err)
        err = fwi_transport_check_params(url, (const char *const[]){"proxy", NULL});
    if (!err)
        err = fwi_transport_flag(url, "proxy", &proxy);
    if (err)
        return err;
    fwi_stream_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return UV_ENOMEM;
    listener->base.loop = loop;
    listener->base.ops = &fwi_stream_listener_ops;
    listener->conn_new = conn_new;
    listener->on_socket = widen;
    listener->proxy = proxy;
    err = uv_pipe_init(fw_loop_uv(loop), &listener->uv.pipe, 0);
    if (err) {
        free(listener);
        return err;
    }
    err = bind_and_listen(listener, url->path, options->backlog);
    if (err) {
        uv_close(&listener->uv.handle, free_failed);
        return err;
    }
    *ret_listener = &listener->base;
    return FW_OK;
}

const fwi_transport fwi_transport_unix = {
    .scheme = "unix",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_RELIABLE | FW_TRANSPORT_HALF_CLOSE,
    .dial = dial,
    .listen = listen_unix,
};
