/*
 * The server's side. An accepted tcp connection shakes hands (struct greeting); then it is the
 * first link of a new session, or another link of one that is there. Sessions live in a table that
 * outlasts the listener as long as one of them is there; without the listener none can get another
 * link, so each ends with the link that it has.
 */
#include "transport/snet/snet.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/random.h"
#include "transport/snet/session.h"

typedef struct session_table {
    fwi_snet_params params;
    size_t references; /* sessions, and the listener */
    bool open;         /* while links may come */
    fwi_map by_id;
    fwi_list waiting; /* sessions without a link, the longest first */
    size_t waiting_count;
} session_table;

typedef struct server_session {
    fwi_snet_session session;
    session_table *table;
    fwi_list node; /* in table->waiting */
    bool listed;   /* in table->by_id */
    bool waiting;
} server_session;

typedef struct snet_listener {
    fw_listener base;
    session_table *table;
    fw_listener *lower; /* NULL when it is gone */
    fwi_list greetings;
    size_t greeting_count, max_greetings;
    uint32_t handshake_timeout_ms;
    fwi_snet_server_config config;
} snet_listener;

typedef struct greeting {
    fwi_list node; /* in the listener */
    snet_listener *listener;
    fw_conn *link;
    fwi_timer deadline;
    fwi_snet_server handshake;
} greeting;

static server_session *server_of(const fwi_snet_session *session)
{
    return fwi_container_of(session, server_session, session);
}

/* ---- the table ---- */

static void table_release(session_table *self)
{
    if (--self->references)
        return;
    fwi_map_fini(&self->by_id);
    free(self);
}

static server_session *table_find(const session_table *self, uint64_t id)
{
    return fwi_map_get(&self->by_id, &id, sizeof id);
}

static const fwi_snet_stream *find_stream(uint64_t id, void *arg)
{
    const server_session *found = table_find(arg, id);
    return found ? &found->session.stream : NULL;
}

static const fwi_snet_stream *settle_stream(uint64_t id, void *arg)
{
    server_session *found = table_find(arg, id);
    if (found)
        fwi_snet_session_drain(&found->session);
    return found && found->listed ? &found->session.stream : NULL;
}

static void stop_waiting(server_session *self)
{
    if (!self->waiting)
        return;
    self->waiting = false;
    fwi_list_remove(&self->node);
    self->table->waiting_count--;
}

static int lost(fwi_snet_session *session)
{
    server_session *self = server_of(session);
    session_table *table = self->table;
    if (!table->open)
        return session->loss;
    self->waiting = true;
    fwi_list_push_back(&table->waiting, &self->node);
    if (++table->waiting_count <= table->params.max_waiting)
        return FW_OK;
    server_session *oldest = fwi_container_of(table->waiting.next, server_session, node);
    fwi_conn_explain(&oldest->session.base, "too many sessions wait for another link");
    fwi_conn_failed(&oldest->session.base, FW_ELIMIT);
    return FW_OK;
}

static void resumed(fwi_snet_session *session)
{
    stop_waiting(server_of(session));
}

static void leave(fwi_snet_session *session)
{
    server_session *self = server_of(session);
    stop_waiting(self);
    if (self->listed)
        fwi_map_remove(&self->table->by_id, &session->stream.id, sizeof session->stream.id);
    self->listed = false;
}

static void fini(fwi_snet_session *session)
{
    table_release(server_of(session)->table);
}

static int session_new(snet_listener *listener, const fwi_snet_server *handshake,
                       server_session **ret_session)
{
    static const fwi_snet_side side = {
        .lost = lost, .resumed = resumed, .leave = leave, .fini = fini};
    session_table *table = listener->table;
    const fwi_snet_params *params = &table->params;
    if (table->by_id.count >= params->max_sessions)
        return FW_ELIMIT;
    server_session *self = calloc(1, sizeof *self);
    if (!self)
        return UV_ENOMEM;
    fwi_snet_session *session = &self->session;
    fwi_snet_session_setup(session, listener->base.loop, &side, params->wait_timeout_ms);
    fwi_list_init(&self->node);
    self->table = table;
    uint64_t id = handshake->id;
    int err = fwi_snet_stream_init(&session->stream, id, handshake->secret, true, params->encrypt,
                                   params->buffer_bytes);
    if (!err)
        err = fwi_map_put(&table->by_id, &id, sizeof id, self, NULL);
    if (err) {
        fwi_snet_stream_fini(&session->stream);
        free(self);
        return err;
    }
    self->listed = true;
    session->ready = true;
    table->references++;
    *ret_session = self;
    return FW_OK;
}

/* ---- greetings ---- */

static void finish_listener_if_empty(snet_listener *listener)
{
    if (listener->lower || listener->greeting_count || !listener->base.closing)
        return;
    table_release(listener->table);
    fwi_listener_gone(&listener->base);
}

/* Its link is gone, or somebody else's. */
static void greeting_free(greeting *self)
{
    snet_listener *listener = self->listener;
    fwi_loop_timer_stop(listener->base.loop, &self->deadline);
    fwi_list_remove(&self->node);
    listener->greeting_count--;
    fwi_snet_cleanse(&self->handshake, sizeof self->handshake);
    free(self);
}

static void on_greeting_closed(fw_conn *link, int reason, void *arg)
{
    (void)link;
    (void)reason;
    greeting *self = arg;
    snet_listener *listener = self->listener;
    greeting_free(self);
    finish_listener_if_empty(listener);
}

static void refuse(fw_conn *link, int reason)
{
    const char *why = reason == FW_EREFUSED ? "no such session, or it cannot go on from there"
                                            : fw_strerror(reason);
    fwi_log(FW_LOG_INFO, "snet", "handshake failed", FWI_TEXT("peer", fw_conn_peer(link)),
            FWI_TEXT("why", why));
    fw_conn_close(link, reason);
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    greeting *self = arg;
    refuse(self->link, FW_EDEADLINE);
}

/* The link becomes a session's: of a new one, which is handed to the user, or of an old one. */
static int hand_over(greeting *self, fwi_snet_verdict verdict, server_session **ret_session)
{
    snet_listener *listener = self->listener;
    server_session *session = NULL;
    uint64_t peer_read = 0, skip = 0;
    if (verdict == FWI_SNET_NEW) {
        int err = session_new(listener, &self->handshake, &session);
        if (err)
            return err;
    } else {
        session = table_find(listener->table, self->handshake.id);
        peer_read = self->handshake.peer_read;
        skip = session->session.stream.read - self->handshake.told_read;
    }
    fw_conn *link = self->link;
    greeting_free(self);
    fwi_snet_session_attach(&session->session, link, peer_read, skip);
    if (verdict == FWI_SNET_NEW)
        fwi_listener_accepted(&listener->base, &session->session.base);
    *ret_session = session;
    return FW_OK;
}

static void on_greeting_data(fw_conn *link, const uint8_t *data, size_t len, void *arg)
{
    greeting *self = arg;
    int result = FWI_SNET_MORE;
    while (len && result == FWI_SNET_MORE) {
        fwi_snet_bytes out;
        size_t used;
        result = fwi_snet_server_input(&self->handshake, data, len, &used, &out);
        data += used;
        len -= used;
        if (out.len && fw_conn_write(link, out.data, out.len) && result >= 0)
            result = UV_ENOMEM;
    }
    if (result == FWI_SNET_MORE)
        return;
    server_session *session;
    if (result > 0)
        result = hand_over(self, (fwi_snet_verdict)result, &session);
    if (result)
        refuse(link, result);
    else if (len && session->session.link == link)
        fwi_snet_session_input(&session->session, data, len);
}

static void on_accept(fw_listener *lower, fw_conn *link, void *arg)
{
    static const fw_conn_events events = {.on_data = on_greeting_data,
                                          .on_closed = on_greeting_closed};
    (void)lower;
    snet_listener *listener = arg;
    greeting *self =
        listener->greeting_count < listener->max_greetings ? calloc(1, sizeof *self) : NULL;
    if (!self) {
        fw_conn_close(link, FW_ELIMIT);
        return;
    }
    self->listener = listener;
    self->link = link;
    self->deadline = (fwi_timer){.fn = on_deadline, .arg = self};
    fwi_snet_server_init(&self->handshake, &listener->config);
    fwi_list_push_back(&listener->greetings, &self->node);
    listener->greeting_count++;
    fw_conn_set_events(link, &events, self);
    fwi_snet_link_limit(link, listener->table->params.buffer_bytes);
    fwi_loop_timer_start(listener->base.loop, &self->deadline, listener->handshake_timeout_ms);
}

/* ---- the listener ---- */

static void on_lower_closed(fw_listener *lower, void *arg)
{
    (void)lower;
    snet_listener *listener = arg;
    listener->lower = NULL;
    finish_listener_if_empty(listener);
}

static void close_listener(fw_listener *base)
{
    snet_listener *listener = fwi_container_of(base, snet_listener, base);
    session_table *table = listener->table;
    table->open = false;
    fwi_list_for_each (node, &listener->greetings)
        fw_conn_close(fwi_container_of(node, greeting, node)->link, FW_ECANCELED);
    fwi_list_for_each_safe (node, &table->waiting) {
        fwi_snet_session *session = &fwi_container_of(node, server_session, node)->session;
        fwi_conn_failed(&session->base, session->loss);
    }
    fw_listener_close(listener->lower);
}

static int listen_below(snet_listener *listener, const fw_url *url,
                        const fw_listener_options *options)
{
    const fwi_snet_params *params = &listener->table->params;
    const char *proxy = fw_url_get(url, "proxy");
    fw_url_param proxy_param = {.name = (char *)"proxy", .value = (char *)proxy};
    fw_url lower = *url;
    lower.scheme = (char *)"tcp";
    lower.params = &proxy_param;
    lower.param_count = proxy != NULL;
    fw_listener_options lower_options = {.backlog = options->backlog,
                                         .handshake_timeout_ms = listener->handshake_timeout_ms,
                                         .max_handshakes = options->max_handshakes,
                                         .high_water_bytes = fwi_snet_link_high_water(
                                             params->buffer_bytes, options->high_water_bytes),
                                         .on_accept = on_accept,
                                         .on_closed = on_lower_closed,
                                         .arg = listener};
    int err = fwi_listener_new_url(listener->base.loop, &lower, &lower_options, &listener->lower);
    if (err)
        return err;
    const char *address = strchr(fw_listener_url(listener->lower), ':');
    size_t size = strlen("snet") + strlen(address) + 1;
    listener->base.url = malloc(size);
    if (!listener->base.url) {
        listener->lower->options.on_closed = NULL;
        fw_listener_close(listener->lower);
        return UV_ENOMEM;
    }
    snprintf(listener->base.url, size, "snet%s", address);
    return FW_OK;
}

int fwi_snet_listen(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                    fw_listener **ret_listener)
{
    static const fwi_listener_ops ops = {.close = close_listener};
    fwi_snet_params params;
    int err = fwi_snet_params_parse(url, true, &params);
    if (err)
        return err;
    snet_listener *listener = calloc(1, sizeof *listener);
    session_table *table = calloc(1, sizeof *table);
    if (!listener || !table) {
        free(listener);
        free(table);
        return UV_ENOMEM;
    }
    *table = (session_table){.params = params, .references = 1, .open = true};
    fwi_list_init(&table->waiting);
    listener->base.loop = loop;
    listener->base.ops = &ops;
    listener->table = table;
    fwi_list_init(&listener->greetings);
    listener->handshake_timeout_ms =
        params.handshake_timeout_ms ? params.handshake_timeout_ms : options->handshake_timeout_ms;
    listener->max_greetings = options->max_handshakes;
    listener->config = (fwi_snet_server_config){.flavour = params.flavour,
                                                .random = fwi_random_secret,
                                                .find = find_stream,
                                                .settle = settle_stream,
                                                .arg = table};
    err = listen_below(listener, url, options);
    if (err) {
        table_release(table);
        free(listener);
        return err;
    }
    *ret_listener = &listener->base;
    return FW_OK;
}
