/*
 * Listeners and their sessions. Closing: the listeners stop, the sessions end, and when the last of
 * all is gone, on_closed runs. Finishing is the same, but for the sessions, which have until a
 * deadline.
 */
#include "base/log.h"
#include "session/broadcast.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_SESSIONS 100000
#define DEFAULT_FINISH_MS    5000

struct fw_server {
    fw_loop *loop;
    fw_server_options options;
    fwi_session_rules *rules;
    fwi_list listeners; /* of struct entrance, the first one first */
    size_t listening;
    fwi_list sessions;
    size_t count;
    bool ending, closing; /* no new sessions; those that are there are closed, too */
    fwi_timer deadline;
    uint64_t second; /* in which so many connections came */
    uint32_t accepted;
};

struct entrance {
    fwi_list node;
    fw_server *server;
    fw_listener *listener; /* NULL: it is gone */
    char *url;
};

static void entrance_free(struct entrance *entrance)
{
    fwi_list_remove(&entrance->node);
    free(entrance->url);
    free(entrance);
}

static void server_free(fw_server *server)
{
    while (!fwi_list_empty(&server->listeners))
        entrance_free(fwi_container_of(server->listeners.next, struct entrance, node));
    fwi_loop_timer_stop(server->loop, &server->deadline);
    fwi_session_rules_release(server->rules);
    free(server);
}

static void finish_if_empty(fw_server *server)
{
    if (!server->ending || server->listening || server->count)
        return;
    if (server->options.on_closed)
        server->options.on_closed(server, server->options.arg);
    server_free(server);
}

/* ---- accepting ---- */

static void on_session_gone(fw_session *session, void *owner)
{
    fw_server *server = owner;
    fwi_list_remove(&session->node);
    server->count--;
    finish_if_empty(server);
}

static bool too_fast(fw_server *server)
{
    uint32_t most = server->options.max_accepts_per_second;
    uint64_t second = fw_loop_now_ms(server->loop) / 1000;
    if (!most)
        return false;
    if (second != server->second) {
        server->second = second;
        server->accepted = 0;
    }
    return server->accepted >= most || (server->accepted++, false);
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    fw_server *server = ((struct entrance *)arg)->server;
    fw_session *session = NULL;
    int err = FW_ELIMIT;
    if (server->count < server->options.max_sessions && !too_fast(server))
        err = fwi_session_accept(conn, server->rules, &session);
    if (err) {
        fwi_log(FW_LOG_WARN, "server", "session refused", FWI_TEXT("peer", fw_conn_peer(conn)),
                FWI_TEXT("reason", fw_strerror(err)));
        fw_conn_close(conn, err);
        return;
    }
    fwi_list_push_back(&server->sessions, &session->node);
    server->count++;
    if (server->options.on_session)
        server->options.on_session(server, session, server->options.arg);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    struct entrance *entrance = arg;
    fw_server *server = entrance->server;
    entrance->listener = NULL;
    server->listening--;
    finish_if_empty(server);
}

/* ---- life ---- */

static bool speaks_tls(const char *url)
{
    char scheme[16] = "";
    (void)sscanf(url, "%15[^:]", scheme);
    return fw_transport_can(scheme) & FW_TRANSPORT_TLS;
}

int fw_server_listen(fw_server *server, const char *url, const char **ret_url)
{
    if (server->ending)
        return FW_ECLOSED;
    struct entrance *entrance = calloc(1, sizeof *entrance);
    if (!entrance)
        return UV_ENOMEM;
    entrance->server = server;
    fw_listener_options options = {.high_water_bytes = server->rules->queue_bytes,
                                   .messages = server->rules->framing.messages,
                                   .max_message_bytes = fwi_session_message_bytes(server->rules),
                                   .tls = speaks_tls(url) ? server->options.tls : NULL,
                                   .on_accept = on_accept,
                                   .on_closed = on_listener_closed,
                                   .arg = entrance};
    int err = fw_listener_new(server->loop, url, &options, &entrance->listener);
    if (err) {
        free(entrance);
        return err;
    }
    fwi_list_push_back(&server->listeners, &entrance->node);
    server->listening++;
    entrance->url = strdup(fw_listener_url(entrance->listener));
    if (!entrance->url) { /* it stays in the list until it has closed */
        fw_listener_close(entrance->listener);
        return UV_ENOMEM;
    }
    if (ret_url)
        *ret_url = entrance->url;
    return FW_OK;
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_server *server = arg;
    server->closing = true;
    fwi_list_for_each (node, &server->sessions)
        fw_session_close(fwi_container_of(node, fw_session, node), FW_EDEADLINE);
}

int fw_server_new(fw_loop *loop, const char *url, const fw_server_options *options,
                  fw_server **ret_server)
{
    fw_server *server = calloc(1, sizeof *server);
    if (!server)
        return UV_ENOMEM;
    server->loop = loop;
    server->options = *options;
    if (!server->options.max_sessions)
        server->options.max_sessions = DEFAULT_MAX_SESSIONS;
    server->deadline = (fwi_timer){.fn = on_deadline, .arg = server};
    fwi_list_init(&server->listeners);
    fwi_list_init(&server->sessions);
    int err =
        fwi_session_rules_create(loop, &options->framing, &options->compression, &server->rules);
    if (err) {
        free(server);
        return err;
    }
    fwi_session_rules *rules = server->rules;
    rules->timeouts = options->timeouts;
    rules->queue_frames = options->max_queue_frames;
    if (options->max_queue_bytes)
        rules->queue_bytes = options->max_queue_bytes;
    rules->on_gone = on_session_gone;
    rules->owner = server;
    err = fw_server_listen(server, url, NULL);
    if (!err) {
        *ret_server = server;
        return FW_OK;
    }
    if (server->listening) {              /* its listener is closing */
        server->options.on_closed = NULL; /* the caller is told by the return value */
        fw_server_close(server);
    } else {
        server_free(server);
    }
    return err;
}

const char *fw_server_url(const fw_server *server)
{
    return fwi_container_of(server->listeners.next, struct entrance, node)->url;
}

size_t fw_server_session_count(const fw_server *server)
{
    return server->count;
}

static void stop_listening(fw_server *server)
{
    server->ending = true;
    fwi_list_for_each (node, &server->listeners) {
        struct entrance *entrance = fwi_container_of(node, struct entrance, node);
        if (entrance->listener)
            fw_listener_close(entrance->listener);
    }
}

void fw_server_finish(fw_server *server, uint32_t deadline_ms)
{
    if (server->ending)
        return;
    fwi_loop_timer_start(server->loop, &server->deadline,
                         deadline_ms ? deadline_ms : DEFAULT_FINISH_MS);
    stop_listening(server);
}

void fw_server_close(fw_server *server)
{
    if (server->closing)
        return;
    server->closing = true;
    fwi_loop_timer_stop(server->loop, &server->deadline);
    fwi_list_for_each (node, &server->sessions)
        fw_session_close(fwi_container_of(node, fw_session, node), FW_ECANCELED);
    stop_listening(server);
}

/* ---- all sessions ---- */

void fw_server_each(fw_server *server, void (*fn)(fw_session *session, void *arg), void *arg)
{
    /* A session that is closed stays in the list until a later turn. */
    fwi_list_for_each (node, &server->sessions) {
        fw_session *session = fwi_container_of(node, fw_session, node);
        if (fw_session_is_open(session))
            fn(session, arg);
    }
}

int fw_server_broadcast(fw_server *server, const fw_broadcast *broadcast, size_t *ret_count)
{
    if (server->closing)
        return FW_ECLOSED;
    fwi_cast cast;
    fwi_cast_init(&cast, broadcast);
    int err = fwi_cast_prepare(&cast, server->rules);
    for (fwi_list *node = server->sessions.next; !err && node != &server->sessions;
         node = node->next)
        fwi_cast_to(&cast, fwi_container_of(node, fw_session, node));
    fwi_cast_fini(&cast);
    if (ret_count)
        *ret_count = cast.count;
    return err;
}
