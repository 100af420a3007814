/*
 * tcp://host:port. TCP_NODELAY is on (frames are gathered before they are written), keepalive
 * probes after 60 s. A name is resolved without blocking the loop, and its first address is used.
 * An empty host or `*` listens everywhere. Listening: ?reuse_port=1 shares the port with other
 * listeners that say so (the kernel spreads connections over them); ?proxy=1, see proxy_accept.c.
 */
#include "transport/uv_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPALIVE_SECONDS 60

static void peer(fw_conn *conn, char *ret_text, size_t size);

static const fwi_conn_ops tcp_ops = {
    .try_write = fwi_stream_try_write,
    .write = fwi_stream_write,
    .shutdown = fwi_stream_shutdown,
    .read_start = fwi_stream_read_start,
    .read_stop = fwi_stream_read_stop,
    .close = fwi_stream_close,
    .peer = peer,
};

static void format_address(const struct sockaddr_storage *address, char *ret_text, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        uv_ip6_name(in6, ip, sizeof ip);
        snprintf(ret_text, size, "tcp://[%s]:%d", ip, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
        uv_ip4_name(in4, ip, sizeof ip);
        snprintf(ret_text, size, "tcp://%s:%d", ip, ntohs(in4->sin_port));
    }
}

static void peer(fw_conn *conn, char *ret_text, size_t size)
{
    struct sockaddr_storage address;
    int len = sizeof address;
    fwi_stream_conn *stream = fwi_container_of(conn, fwi_stream_conn, base);
    if (!uv_tcp_getpeername(&stream->uv.tcp, (struct sockaddr *)&address, &len))
        format_address(&address, ret_text, size);
}

static int conn_new(fw_loop *loop, bool dialled, fwi_stream_conn **ret_conn)
{
    fwi_stream_conn *conn;
    int err = fwi_stream_conn_new(loop, &tcp_ops, sizeof conn->uv.tcp, dialled, &conn);
    if (err)
        return err;
    err = uv_tcp_init(fw_loop_uv(loop), &conn->uv.tcp);
    if (err) {
        free(conn);
        return err;
    }
    uv_tcp_nodelay(&conn->uv.tcp, 1);
    uv_tcp_keepalive(&conn->uv.tcp, 1, KEEPALIVE_SECONDS);
    *ret_conn = conn;
    return FW_OK;
}

/* An address as the resolver gives it, without the resolver. */
static bool parse_ip(const char *name, int port, struct sockaddr_storage *ret_address)
{
    return !uv_ip4_addr(name, port, (struct sockaddr_in *)ret_address) ||
           !uv_ip6_addr(name, port, (struct sockaddr_in6 *)ret_address);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    fwi_stream_conn *conn = request->data;
    free(request);
    if (conn) {
        fwi_stream_dial_of(conn)->resolve = NULL;
        if (!status)
            status = uv_tcp_connect(&fwi_stream_dial_of(conn)->connect, &conn->uv.tcp,
                                    found->ai_addr, fwi_stream_on_connect);
        if (status)
            fwi_conn_failed(&conn->base, status);
    }
    uv_freeaddrinfo(found);
}

static int resolve(fwi_stream_conn *conn, const char *name, int port)
{
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    uv_getaddrinfo_t *request = calloc(1, sizeof *request);
    if (!request)
        return UV_ENOMEM;
    request->data = conn;
    int err =
        uv_getaddrinfo(fw_loop_uv(conn->base.loop), request, on_resolved, name, service, &hints);
    if (err)
        free(request);
    else
        fwi_stream_dial_of(conn)->resolve = request;
    return err;
}

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                fw_conn **ret_conn)
{
    (void)options;
    if (url->host_count != 1 || !url->hosts[0].port || !*url->hosts[0].name || *url->path)
        return FW_EURL;
    int err = fwi_transport_check_params(url, (const char *const[]){NULL});
    if (err)
        return err;
    fwi_stream_conn *conn;
    err = conn_new(loop, true, &conn);
    if (err)
        return err;
    const fw_url_host *host = &url->hosts[0];
    struct sockaddr_storage address;
    if (parse_ip(host->name, host->port, &address))
        err = uv_tcp_connect(&fwi_stream_dial_of(conn)->connect, &conn->uv.tcp,
                             (struct sockaddr *)&address, fwi_stream_on_connect);
    else
        err = resolve(conn, host->name, host->port);
    if (err)
        fwi_stream_fail_later(conn, err);
    *ret_conn = &conn->base;
    return FW_OK;
}

/* libuv has no word for it, so the socket is made here. */
static int open_shared(uv_tcp_t *tcp, int family)
{
    int on = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err =
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) ? -errno : uv_tcp_open(tcp, fd);
    if (err)
        close(fd);
    return err;
}

static int bind_and_listen(fwi_stream_listener *listener, const fw_url_host *host, bool reuse_port,
                           int backlog)
{
    struct sockaddr_storage address;
    bool any = !*host->name || !strcmp(host->name, "*");
    const char *name = any                                ? "0.0.0.0"
                       : !strcmp(host->name, "localhost") ? "127.0.0.1"
                                                          : host->name;
    if (!parse_ip(name, host->port, &address))
        return FW_EURL; /* one listens on an address, not on a name */
    int err = reuse_port ? open_shared(&listener->uv.tcp, address.ss_family) : FW_OK;
    if (!err)
        err = uv_tcp_bind(&listener->uv.tcp, (struct sockaddr *)&address, 0);
    if (!err)
        err = fwi_stream_listen(listener, backlog);
    int len = sizeof address;
    if (!err)
        err = uv_tcp_getsockname(&listener->uv.tcp, (struct sockaddr *)&address, &len);
    if (err)
        return err;
    char text[80];
    format_address(&address, text, sizeof text);
    listener->base.url = strdup(text);
    return listener->base.url ? FW_OK : UV_ENOMEM;
}

static void free_failed(uv_handle_t *handle)
{
    free(fwi_container_of(handle, fwi_stream_listener, uv));
}

static int listen_tcp(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                      fw_listener **ret_listener)
{
    if (url->host_count != 1 || *url->path)
        return FW_EURL;
    bool reuse_port, proxy;
    int err = fwi_transport_check_params(url, (const char *const[]){"proxy", "reuse_port", NULL});
    if (!err)
        err = fwi_transport_flag(url, "proxy", &proxy);
    if (!err)
        err = fwi_transport_flag(url, "reuse_port", &reuse_port);
    if (err)
        return err;
    fwi_stream_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return UV_ENOMEM;
    listener->base.loop = loop;
    listener->base.ops = &fwi_stream_listener_ops;
    listener->conn_new = conn_new;
    listener->proxy = proxy;
    err = uv_tcp_init(fw_loop_uv(loop), &listener->uv.tcp);
    if (err) {
        free(listener);
        return err;
    }
    err = bind_and_listen(listener, &url->hosts[0], reuse_port, options->backlog);
    if (err) {
        uv_close(&listener->uv.handle, free_failed);
        return err;
    }
    *ret_listener = &listener->base;
    return FW_OK;
}

const fwi_transport fwi_transport_tcp = {
    .scheme = "tcp",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_RELIABLE | FW_TRANSPORT_HALF_CLOSE,
    .dial = dial,
    .listen = listen_tcp,
};
