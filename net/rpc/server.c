#include "rpc/engine.h"

#include "base/log.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

struct fw_rpc_server {
    fw_server *server;
    fw_rpc_server_options options;
};

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    (void)server;
    fw_rpc_server *rpc_server = arg;
    fw_rpc *rpc;
    int err = fwi_rpc_accept(session, &rpc_server->options.connection, &rpc);
    if (err) {
        fw_session_close(session, err);
        return;
    }
    if (rpc_server->options.on_connection)
        rpc_server->options.on_connection(rpc_server, rpc, rpc_server->options.arg);
}

static void on_closed(fw_server *server, void *arg)
{
    (void)server;
    fw_rpc_server *rpc_server = arg;
    if (rpc_server->options.on_closed)
        rpc_server->options.on_closed(rpc_server, rpc_server->options.arg);
    free(rpc_server);
}

int fw_rpc_server_new(fw_loop *loop, const char *url, const fw_rpc_server_options *options,
                      fw_rpc_server **ret_server)
{
    fw_rpc_server *server = calloc(1, sizeof *server);
    if (!server)
        return UV_ENOMEM;
    server->options = *options;
    fw_server_options server_options = {
        .framing = {.max_frame_bytes = options->connection.max_frame_bytes},
        .max_sessions = options->max_connections,
        .max_queue_bytes = options->connection.max_queue_bytes,
        .on_session = on_session,
        .on_closed = on_closed,
        .arg = server};
    int err = fw_server_new(loop, url, &server_options, &server->server);
    if (err)
        free(server);
    else
        *ret_server = server;
    return err;
}

const char *fw_rpc_server_url(const fw_rpc_server *server)
{
    return fw_server_url(server->server);
}

void fw_rpc_server_close(fw_rpc_server *server)
{
    fw_server_close(server->server);
}
