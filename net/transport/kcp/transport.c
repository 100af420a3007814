/* kcp://host:port: dialling and listening. README.md has the parameters. */
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "transport/kcp/session.h"

/* ---- dialling ---- */

static uint32_t random_conv(void)
{
    uint32_t conv = 0;
    while (!conv)
        if (fwi_random_secret(&conv, sizeof conv)) /* a guess must not hit it */
            conv = (uint32_t)fwi_random_u64();
    return conv;
}

/* Plain KCP has no handshake: a connection is open when it has a socket. */
static void on_settle(fwi_task *task, void *arg)
{
    (void)task;
    fwi_kcp_conn *conn = arg;
    fwi_kcp_hub *hub = conn->hub;
    if (conn->early_error) {
        fwi_kcp_conn_break(conn, conn->early_error);
        return;
    }
    fwi_udp_port_read(hub->port, true);
    if (hub->options.secure) {
        fwi_kcp_conn_touch(conn);
        return;
    }
    fwi_kcp_conn_start(conn, hub->options.conv ? hub->options.conv : random_conv());
    conn->is_known = true;
    fwi_conn_opened(&conn->base);
}

static void connect_to(fwi_kcp_conn *conn, const fwi_udp_address *address)
{
    conn->address = *address;
    conn->early_error = fwi_kcp_hub_open(conn->hub, address, true);
    fwi_loop_defer(conn->base.loop, &conn->settle);
}

static void on_resolved(int status, const fwi_udp_address *address, void *arg)
{
    fwi_kcp_conn *conn = arg;
    conn->lookup = NULL;
    if (status)
        fwi_kcp_conn_break(conn, status);
    else
        connect_to(conn, address);
}

static int conn_new(fw_loop *loop, const fwi_kcp_options *options, bool messages,
                    fwi_kcp_conn **ret_conn)
{
    fwi_kcp_hub *hub;
    int err = fwi_kcp_hub_new(loop, options, &hub);
    if (err)
        return err;
    fwi_kcp_conn *conn = fwi_kcp_conn_new(hub, messages);
    if (!conn) {
        fwi_kcp_hub_free(hub);
        return UV_ENOMEM;
    }
    hub->dialled = conn;
    if (options->secure)
        err = fwi_kcps_client_init(&conn->guarded->client, &hub->options.secrets);
    if (err) {
        fwi_kcp_conn_discard(conn);
        fwi_kcp_hub_free(hub);
        return err;
    }
    *ret_conn = conn;
    return FW_OK;
}

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *conn_options,
                fw_conn **ret_conn)
{
    fwi_kcp_options options;
    fwi_kcp_conn *conn;
    fwi_udp_address address;
    int err = fwi_udp_url_check_dial(url);
    if (!err)
        err = fwi_kcp_options_read(url, false, conn_options->messages, &options);
    if (err)
        return err;
    err = conn_new(loop, &options, conn_options->messages, &conn);
    fwi_kcps_wipe(&options.secrets, sizeof options.secrets);
    if (err)
        return err;
    conn->settle.fn = on_settle;
    if (fwi_udp_address_parse(&url->hosts[0], &address)) {
        connect_to(conn, &address);
    } else {
        conn->early_error = fwi_udp_lookup_start(fw_loop_uv(loop), &url->hosts[0], on_resolved,
                                                 conn, &conn->lookup);
        if (conn->early_error)
            fwi_loop_defer(loop, &conn->settle);
    }
    *ret_conn = &conn->base;
    return FW_OK;
}

/* ---- listening ---- */

static void on_listener_gone(fwi_task *task, void *arg)
{
    (void)task;
    fwi_kcp_listener *listener = arg;
    fw_loop *loop = listener->base.loop;
    fwi_listener_gone(&listener->base);
    fwi_loop_release(loop);
}

static void close_listener(fw_listener *base)
{
    fwi_kcp_listener *listener = fwi_container_of(base, fwi_kcp_listener, base);
    fwi_kcp_hub *hub = listener->hub;
    hub->listener = NULL;
    fwi_kcp_hub_close_strangers(hub);
    fwi_udp_port_release(hub->port, &listener->gone);
}

static const fwi_listener_ops listener_ops = {.close = close_listener};

static int open_hub(fw_loop *loop, const fwi_kcp_options *options, fwi_udp_address *address,
                    char *ret_text, size_t size, fwi_kcp_hub **ret_hub)
{
    fwi_kcp_hub *hub;
    int err = fwi_kcp_hub_new(loop, options, &hub);
    if (err)
        return err;
    if (options->secure)
        err = fwi_kcps_server_init(&hub->server, &hub->options.secrets);
    if (!err)
        err = fwi_kcp_hub_open(hub, address, false);
    if (err) {
        fwi_kcp_hub_free(hub);
        return err;
    }
    if (!fwi_udp_port_local(hub->port, address))
        fwi_udp_address_text(address, options->secure ? "kcps" : "kcp", ret_text, size);
    *ret_hub = hub;
    return FW_OK;
}

static int listen_kcp(fw_loop *loop, const fw_url *url, const fw_listener_options *listener_options,
                      fw_listener **ret_listener)
{
    fwi_udp_address address;
    fwi_kcp_options options;
    int err = fwi_udp_address_local(url, &address);
    if (!err)
        err = fwi_kcp_options_read(url, true, listener_options->messages, &options);
    if (err)
        return err;
    enum { URL_BYTES = 80 };
    fwi_kcp_listener *listener = calloc(1, sizeof *listener);
    char *text = calloc(1, URL_BYTES);
    err = listener && text ? open_hub(loop, &options, &address, text, URL_BYTES, &listener->hub)
                           : UV_ENOMEM;
    fwi_kcps_wipe(&options.secrets, sizeof options.secrets);
    if (err) {
        free(text);
        free(listener);
        return err;
    }
    listener->base.loop = loop;
    listener->base.ops = &listener_ops;
    listener->base.url = text;
    listener->gone = (fwi_task){.fn = on_listener_gone, .arg = listener};
    listener->hub->listener = listener;
    fwi_loop_hold(loop);
    fwi_udp_port_read(listener->hub->port, true);
    *ret_listener = &listener->base;
    return FW_OK;
}

const fwi_transport fwi_transport_kcp = {
    .scheme = "kcp",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_MESSAGES | FW_TRANSPORT_RELIABLE,
    .dial = dial,
    .listen = listen_kcp,
};

/* kcp with secure=1, under a name that tells what it is able to do. */
const fwi_transport fwi_transport_kcps = {
    .scheme = "kcps",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_MESSAGES | FW_TRANSPORT_RELIABLE |
                 FW_TRANSPORT_HALF_CLOSE | FW_TRANSPORT_SECURE,
    .dial = dial,
    .listen = listen_kcp,
};
