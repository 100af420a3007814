/*
 * States of a session:
 *
 *     OPENING --open--> OPEN --close--> CLOSING --conn gone--> (on_closed, freed)
 *        |                |  ^
 *        |    (one that reconnects)
 *        |              fail \------------- OPENING
 *        |                v                    ^
 *        \--fail--> BREAKING --conn gone--> DOWN, after a wait
 *
 * A close in any state leads to CLOSING; in DOWN, where no connection's end can be waited for, the
 * end comes from a task.
 */
#include "session/session.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static _Atomic uint64_t last_session_id;

/* ---- rules ---- */

int fwi_session_rules_create(fw_loop *loop, const fw_framing *framing,
                             const fw_compression *compression, fwi_session_rules **ret_rules)
{
    fwi_session_rules *rules = calloc(1, sizeof *rules);
    if (!rules)
        return UV_ENOMEM;
    rules->references = 1;
    rules->framing = *framing;
    rules->queue_bytes = FWI_SESSION_QUEUE_BYTES;
    int err = fwi_framing_check(&rules->framing);
    if (!err)
        err = fw_compression_check(compression);
    if (!err && compression->method) {
        rules->compression = *compression;
        rules->compression.method = strdup(compression->method);
        err = rules->compression.method ? fwi_compressor_acquire(loop, &rules->compressor)
                                        : UV_ENOMEM;
    }
    if (err)
        fwi_session_rules_release(rules);
    else
        *ret_rules = rules;
    return err;
}

void fwi_session_rules_release(fwi_session_rules *rules)
{
    if (--rules->references)
        return;
    fwi_compressor_release(rules->compressor);
    free((char *)rules->compression.method);
    free(rules);
}

/* ---- memory ---- */

int fwi_session_create(fwi_session_rules *rules, fw_session **ret_session)
{
    fw_session *session = calloc(1, sizeof *session);
    if (!session)
        return UV_ENOMEM;
    rules->references++;
    session->rules = rules;
    session->events = &rules->events;
    uint64_t id = atomic_fetch_add(&last_session_id, 1) + 1;
    session->id_low = (uint32_t)id;
    session->id_high = (uint16_t)(id >> 32);
    fwi_list_init(&session->node);
    *ret_session = session;
    return FW_OK;
}

void fwi_session_free(fw_session *session)
{
    fwi_session_extra *extra = session->extra;
    if (session->partial)
        fwi_framer_fini(session->partial);
    free(session->partial);
    if (extra) {
        fwi_account_fini(extra);
        fwi_redial_free(extra);
        fwi_watch_stop(extra);
        fwi_loop_defer_cancel(extra->loop, &extra->report);
        free(extra->heartbeat);
        if (extra->destroy)
            extra->destroy(extra->data);
        free(extra);
    }
    fwi_session_rules_release(session->rules);
    free(session);
}

/* Tells frames that were not queued, and ends a session that was closed while it was down. */
static void on_report(fwi_task *task, void *arg)
{
    (void)task;
    fw_session *session = arg;
    for (fwi_list *node; (node = session->extra->refused.next) != &session->extra->refused;) {
        fwi_completion *completion = fwi_container_of(node, fwi_completion, node);
        fwi_completion_end(completion, completion->status);
    }
    if (session->state == FWI_SESSION_CLOSING && !session->conn)
        fwi_session_end(session, session->extra->reason);
}

fwi_session_extra *fwi_session_extra_get(fw_session *session, fw_loop *loop)
{
    if (session->extra)
        return session->extra;
    fwi_session_extra *extra = calloc(1, sizeof *extra);
    if (!extra)
        return NULL;
    extra->session = session;
    extra->loop = loop;
    extra->appended = session->conn ? fw_conn_queued_bytes(session->conn) : 0;
    extra->timeouts = session->rules->timeouts;
    fwi_list_init(&extra->waiting);
    fwi_list_init(&extra->refused);
    fwi_list_init(&extra->memberships);
    extra->report = (fwi_task){.fn = on_report, .arg = session};
    session->extra = extra;
    return extra;
}

/* ---- receiving ---- */

static void give(fw_session *session, fw_slice payload)
{
    if (session->events->on_frame)
        session->events->on_frame(session, payload.data, payload.len, session->arg);
}

static void deliver(fw_session *session, const uint8_t *data, size_t len)
{
    const fwi_session_rules *rules = session->rules;
    fw_slice payload = {data, len};
    if (!rules->compressor) {
        give(session, payload);
        return;
    }
    int err =
        fwi_decompress(rules->compressor, data, len, rules->framing.max_frame_bytes, &payload);
    if (!err && len && !*data) {
        give(session, payload); /* it lies in the frame */
        return;
    }
    /* The compressor's memory serves the next frame, which may be the answer to this one. */
    void *copy = err ? NULL : malloc(payload.len ? payload.len : 1);
    if (!copy) {
        fwi_session_fail(session, err ? err : UV_ENOMEM);
        return;
    }
    memcpy(copy, payload.data, payload.len);
    give(session, (fw_slice){copy, payload.len});
    free(copy);
}

static void take_frames(fw_session *session, fwi_framer *framer)
{
    fw_slice frame;
    int rc;
    while (session->state == FWI_SESSION_OPEN && (rc = fwi_framer_next(framer, &frame)) != 0) {
        if (rc < 0) {
            fwi_session_fail(session, rc);
            return;
        }
        deliver(session, (const uint8_t *)frame.data + framer->header_bytes,
                frame.len - framer->header_bytes);
    }
}

static void drop_partial(fw_session *session)
{
    if (session->partial)
        fwi_framer_fini(session->partial);
    free(session->partial);
    session->partial = NULL;
}

/* Frames are told apart by a framer that stands on the stack, unless one has come in part. */
static void on_bytes(fw_session *session, const uint8_t *data, size_t len)
{
    fwi_framer own, *framer = session->partial;
    if (!framer) {
        int err = fwi_framer_init(&own, &session->rules->framing);
        if (err) { /* it was checked */
            fwi_session_fail(session, err);
            return;
        }
        framer = &own;
    }
    fwi_framer_push(framer, data, len);
    take_frames(session, framer);
    bool keeps = session->state == FWI_SESSION_OPEN && !fwi_framer_is_empty(framer);
    if (framer != &own) {
        if (!keeps)
            drop_partial(session);
        return;
    }
    if (!keeps) {
        fwi_framer_fini(&own);
        return;
    }
    session->partial = malloc(sizeof *session->partial);
    if (session->partial) {
        *session->partial = own;
    } else {
        fwi_framer_fini(&own);
        fwi_session_fail(session, UV_ENOMEM);
    }
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    if (session->state != FWI_SESSION_OPEN)
        return;
    if (session->extra) {
        session->extra->received_ms = fw_loop_now_ms(session->extra->loop);
        if (session->extra->heartbeat)
            session->extra->heartbeat->missed = 0;
    }
    if (!session->rules->framing.messages)
        on_bytes(session, data, len);
    else if (len > session->rules->framing.max_frame_bytes)
        fwi_session_fail(session, FW_EFRAMESIZE);
    else
        deliver(session, data, len);
}

/* ---- the connection ---- */

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    session->state = FWI_SESSION_OPEN;
    if (session->paused) /* by what was said to the connection before this one */
        fw_conn_read_stop(session->conn);
    fwi_watch_start(session);
    if (session->events->on_open)
        session->events->on_open(session, session->arg);
    if (session->state == FWI_SESSION_OPEN)
        fwi_redial_opened(session);
    if (session->finishing)
        fwi_watch_finished(session);
}

static void on_drain(fw_conn *conn, void *arg)
{
    (void)conn;
    fwi_account_drained(arg);
}

static void on_sent(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    if (session->extra)
        fwi_account_sent(session);
}

static void on_conn_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    fwi_account_lost(session);
    drop_partial(session);
    /* One that comes back may have been closed after its connection had begun to. */
    bool is_closing = session->state == FWI_SESSION_CLOSING;
    if (is_closing && session->extra && session->extra->redial)
        reason = session->extra->reason;
    if (is_closing || !fwi_redial_lost(session, reason))
        fwi_session_end(session, reason);
}

const fw_conn_events fwi_session_conn_events = {.on_open = on_open,
                                                .on_data = on_data,
                                                .on_drain = on_drain,
                                                .on_sent = on_sent,
                                                .on_closed = on_conn_closed};

int fwi_session_accept(fw_conn *conn, fwi_session_rules *rules, fw_session **ret_session)
{
    fw_session *session;
    int err = fwi_session_create(rules, &session);
    if (err)
        return err;
    session->conn = conn;
    session->state = FWI_SESSION_OPEN;
    const fw_session_timeouts *timeouts = &rules->timeouts;
    if ((timeouts->read_ms || timeouts->idle_ms || timeouts->write_ms) &&
        !fwi_session_extra_get(session, fw_conn_loop(conn))) {
        fwi_session_free(session);
        return UV_ENOMEM;
    }
    fw_conn_set_events(conn, &fwi_session_conn_events, session);
    fwi_watch_start(session);
    *ret_session = session;
    return FW_OK;
}

void fwi_session_end(fw_session *session, int reason)
{
    session->state = FWI_SESSION_CLOSING;
    fwi_memberships_end(session);
    if (session->extra)
        fwi_account_fini(session->extra);
    if (session->events->on_closed)
        session->events->on_closed(session, reason, session->arg);
    if (session->rules->on_gone)
        session->rules->on_gone(session, session->rules->owner);
    fwi_session_free(session);
}

void fwi_session_fail(fw_session *session, int reason)
{
    if (!session->extra || !session->extra->redial) {
        fw_session_close(session, reason);
    } else if (session->state == FWI_SESSION_OPEN) {
        session->state = FWI_SESSION_BREAKING;
        fw_conn_close(session->conn, reason);
    }
}

void fw_session_close(fw_session *session, int reason)
{
    if (session->state == FWI_SESSION_CLOSING)
        return;
    session->state = FWI_SESSION_CLOSING;
    fwi_memberships_end(session);
    if (session->extra) {
        session->extra->reason = reason;
        fwi_watch_stop(session->extra);
    }
    if (session->conn)
        fw_conn_close(session->conn, reason);
    else
        fwi_loop_defer(session->extra->loop, &session->extra->report);
}

/* ---- what is asked of it ---- */

void fw_session_set_events(fw_session *session, const fw_session_events *events, void *arg)
{
    session->events = events;
    session->arg = arg;
}

int fw_session_set_data(fw_session *session, void *data, void (*destroy)(void *data))
{
    fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
    if (!extra)
        return UV_ENOMEM;
    void *old = extra->data;
    void (*destroy_old)(void *) = extra->destroy;
    extra->data = data;
    extra->destroy = destroy;
    if (destroy_old)
        destroy_old(old);
    return FW_OK;
}

void *fw_session_get_data(const fw_session *session)
{
    return session->extra ? session->extra->data : NULL;
}

void fw_session_read_stop(fw_session *session)
{
    session->paused = true;
    if (session->conn)
        fw_conn_read_stop(session->conn);
}

void fw_session_read_start(fw_session *session)
{
    session->paused = false;
    if (session->conn)
        fw_conn_read_start(session->conn);
}

uint64_t fw_session_id(const fw_session *session)
{
    return (uint64_t)session->id_high << 32 | session->id_low;
}

const char *fw_session_peer(fw_session *session)
{
    return session->conn ? fw_conn_peer(session->conn) : "";
}

fw_loop *fw_session_loop(const fw_session *session)
{
    return session->conn ? fw_conn_loop(session->conn) : session->extra->loop;
}

bool fw_session_is_open(const fw_session *session)
{
    return session->state != FWI_SESSION_CLOSING && !session->finishing;
}
