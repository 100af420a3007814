#include "rpc/engine.h"

#include "base/log.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_CONNECTIONS 100000

struct fw_rpc_server {
    fw_listener *listener; /* NULL: it is gone */
    char *url;
    fw_rpc_server_options options;
    fwi_rpc_protocols protocols;
    fwi_rpc_acceptor acceptor;
    fwi_list connections;
    size_t count;
    bool closing;
};

static void finish_if_empty(fw_rpc_server *server)
{
    if (!server->closing || server->listener || server->count)
        return;
    if (server->options.on_closed)
        server->options.on_closed(server, server->options.arg);
    free(server->url);
    free(server);
}

static void on_ready(fw_rpc *rpc, void *owner)
{
    fw_rpc_server *server = owner;
    if (server->options.on_connection)
        server->options.on_connection(server, rpc, server->options.arg);
}

static void on_gone(fw_rpc *rpc, void *owner)
{
    fw_rpc_server *server = owner;
    fwi_list_remove(&rpc->node);
    server->count--;
    finish_if_empty(server);
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    fw_rpc_server *server = arg;
    fw_rpc *rpc;
    int err = FW_ELIMIT;
    if (server->count < server->options.max_connections)
        err = fwi_rpc_accept(conn, &server->acceptor, &rpc);
    if (err) {
        fwi_log(FW_LOG_WARN, "rpc", "connection refused", FWI_TEXT("peer", fw_conn_peer(conn)),
                FWI_TEXT("reason", fw_strerror(err)));
        fw_conn_close(conn, err);
        return;
    }
    fwi_list_push_back(&server->connections, &rpc->node);
    server->count++;
    fwi_rpc_begin(rpc);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    fw_rpc_server *server = arg;
    server->listener = NULL;
    finish_if_empty(server);
}

int fw_rpc_server_new(fw_loop *loop, const char *url, const fw_rpc_server_options *options,
                      fw_rpc_server **ret_server)
{
    fw_rpc_server *server = calloc(1, sizeof *server);
    if (!server)
        return UV_ENOMEM;
    server->options = *options;
    if (!server->options.max_connections)
        server->options.max_connections = DEFAULT_MAX_CONNECTIONS;
    server->acceptor = (fwi_rpc_acceptor){.options = &server->options.connection,
                                          .protocols = &server->protocols,
                                          .on_ready = on_ready,
                                          .on_gone = on_gone,
                                          .owner = server};
    fwi_list_init(&server->connections);
    int err = fwi_rpc_options_fill(&server->options.connection);
    if (!err)
        err = fwi_rpc_protocols_parse(&server->protocols, options->connection.protocol);
    fw_listener_options listener_options = {
        .high_water_bytes = server->options.connection.max_queue_bytes,
        .messages = fwi_rpc_wants_messages(url),
        .max_message_bytes = fwi_rpc_message_bytes(&server->options.connection),
        .on_accept = on_accept,
        .on_closed = on_listener_closed,
        .arg = server};
    if (!err)
        err = fw_listener_new(loop, url, &listener_options, &server->listener);
    if (err) {
        free(server);
        return err;
    }
    server->url = strdup(fw_listener_url(server->listener));
    if (!server->url) { /* it goes when its listener has closed; the caller is told here */
        server->options.on_closed = NULL;
        fw_rpc_server_close(server);
        return UV_ENOMEM;
    }
    *ret_server = server;
    return FW_OK;
}

const char *fw_rpc_server_url(const fw_rpc_server *server)
{
    return server->url;
}

void fw_rpc_server_close(fw_rpc_server *server)
{
    if (server->closing)
        return;
    server->closing = true;
    fwi_list_for_each (node, &server->connections)
        fw_rpc_close(fwi_container_of(node, fw_rpc, node));
    fw_listener_close(server->listener);
}
