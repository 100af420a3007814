/*
 * A listener and its sessions. Closing: the listener stops, the sessions end, and when the last of
 * them and the listener are gone, on_closed runs.
 */
#include "base/list.h"
#include "base/log.h"
#include "session/framer.h"
#include "session/session.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_SESSIONS 100000

struct fw_server {
    fw_loop *loop;
    fw_listener *listener;
    char *url;
    fw_server_options options;
    fwi_list sessions; /* of struct member */
    size_t count;
    bool closing, listener_gone;
};

struct member {
    fwi_list node;
    fw_server *server;
    fw_session *session;
};

static void finish_if_empty(fw_server *server)
{
    if (!server->listener_gone || server->count)
        return;
    if (server->options.on_closed)
        server->options.on_closed(server, server->options.arg);
    free(server->url);
    free(server);
}

static void on_session_gone(fw_session *session, void *owner)
{
    (void)session;
    struct member *member = owner;
    fw_server *server = member->server;
    fwi_list_remove(&member->node);
    server->count--;
    free(member);
    finish_if_empty(server);
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    fw_server *server = arg;
    struct member *member = NULL;
    int err = FW_ELIMIT;
    if (server->count >= server->options.max_sessions)
        goto refuse;
    err = UV_ENOMEM;
    member = malloc(sizeof *member);
    if (!member)
        goto refuse;
    err = fwi_session_accept(conn, &server->options.framing, &member->session);
    if (err)
        goto refuse;
    member->server = server;
    fwi_list_push_back(&server->sessions, &member->node);
    server->count++;
    fwi_session_set_owner(member->session, on_session_gone, member);
    server->options.on_session(server, member->session, server->options.arg);
    return;
refuse:
    fwi_log(FW_LOG_WARN, "server", "session refused", FWI_TEXT("peer", fw_conn_peer(conn)),
            FWI_TEXT("reason", fw_strerror(err)));
    free(member);
    fw_conn_close(conn, err);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    fw_server *server = arg;
    server->listener_gone = true;
    finish_if_empty(server);
}

int fw_server_new(fw_loop *loop, const char *url, const fw_server_options *options,
                  fw_server **ret_server)
{
    fwi_framer probe; /* a bad framing shall fail here, not at the first session */
    int err = fwi_framer_init(&probe, &options->framing);
    if (err)
        return err;
    fw_server *server = calloc(1, sizeof *server);
    if (!server)
        return UV_ENOMEM;
    server->loop = loop;
    server->options = *options;
    if (!server->options.max_sessions)
        server->options.max_sessions = DEFAULT_MAX_SESSIONS;
    if (!server->options.max_queue_bytes)
        server->options.max_queue_bytes = FWI_SESSION_QUEUE_BYTES;
    fwi_list_init(&server->sessions);
    fw_listener_options listener_options = {.high_water_bytes = server->options.max_queue_bytes,
                                            .on_accept = on_accept,
                                            .on_closed = on_listener_closed,
                                            .arg = server};
    err = fw_listener_new(loop, url, &listener_options, &server->listener);
    if (err) {
        free(server);
        return err;
    }
    server->url = strdup(fw_listener_url(server->listener));
    if (!server->url) {
        server->options.on_closed = NULL; /* the caller is told by the return value */
        fw_server_close(server);
        return UV_ENOMEM;
    }
    *ret_server = server;
    return FW_OK;
}

const char *fw_server_url(const fw_server *server)
{
    return server->url;
}

size_t fw_server_session_count(const fw_server *server)
{
    return server->count;
}

void fw_server_close(fw_server *server)
{
    if (server->closing)
        return;
    server->closing = true;
    fwi_list_for_each (node, &server->sessions)
        fw_session_close(fwi_container_of(node, struct member, node)->session, FW_ECANCELED);
    fw_listener_close(server->listener);
}
