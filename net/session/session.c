#include "session/session.h"

#include "session/framer.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fw_session {
    fw_conn *conn;
    fwi_framer framer;
    uint64_t id;
    bool open, closed;
    fw_session_events events;
    void *arg;
    void (*on_gone)(fw_session *session, void *owner);
    void *owner;
};

static _Atomic uint64_t last_session_id;

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    session->open = true;
    if (session->events.on_open)
        session->events.on_open(session, session->arg);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    fwi_framer_push(&session->framer, data, len);
    fw_slice frame;
    int rc;
    while (!session->closed && (rc = fwi_framer_next(&session->framer, &frame)) != 0) {
        if (rc < 0) {
            fw_session_close(session, rc);
            return;
        }
        size_t header = session->framer.framing.length_bytes;
        if (session->events.on_frame)
            session->events.on_frame(session, (const uint8_t *)frame.data + header,
                                     frame.len - header, session->arg);
    }
}

static void on_drain(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    if (session->events.on_drain)
        session->events.on_drain(session, session->arg);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    fw_session *session = arg;
    session->closed = true;
    if (session->events.on_closed)
        session->events.on_closed(session, reason, session->arg);
    if (session->on_gone)
        session->on_gone(session, session->owner);
    fwi_framer_fini(&session->framer);
    free(session);
}

static const fw_conn_events conn_events = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_closed = on_closed};

static int session_create(const fw_framing *framing, fw_session **ret_session)
{
    fw_session *session = calloc(1, sizeof *session);
    if (!session)
        return UV_ENOMEM;
    int err = fwi_framer_init(&session->framer, framing);
    if (err) {
        free(session);
        return err;
    }
    session->id = atomic_fetch_add(&last_session_id, 1) + 1;
    *ret_session = session;
    return FW_OK;
}

int fw_session_dial(fw_loop *loop, const char *url, const fw_session_options *options,
                    fw_session **ret_session)
{
    fw_session *session;
    int err = session_create(&options->framing, &session);
    if (err)
        return err;
    fw_conn_options conn_options = {.dial_timeout_ms = options->dial_timeout_ms,
                                    .high_water_bytes = options->max_queue_bytes
                                                            ? options->max_queue_bytes
                                                            : FWI_SESSION_QUEUE_BYTES,
                                    .events = conn_events,
                                    .arg = session};
    err = fw_conn_dial(loop, url, &conn_options, &session->conn);
    if (err) {
        free(session);
        return err;
    }
    session->events = options->events;
    session->arg = options->arg;
    *ret_session = session;
    return FW_OK;
}

int fwi_session_accept(fw_conn *conn, const fw_framing *framing, fw_session **ret_session)
{
    fw_session *session;
    int err = session_create(framing, &session);
    if (err)
        return err;
    session->conn = conn;
    session->open = true;
    fw_conn_set_events(conn, &conn_events, session);
    *ret_session = session;
    return FW_OK;
}

int fwi_session_reserve(fw_session *session, size_t len, uint8_t **ret_payload)
{
    const fw_framing *framing = &session->framer.framing;
    if (session->closed)
        return FW_ECLOSED;
    if (len > framing->max_frame_bytes ||
        (framing->length_bytes < 4 && len >> (8 * framing->length_bytes)))
        return FW_EFRAMESIZE;
    if (fw_conn_congested(session->conn))
        return FW_ELIMIT;
    uint8_t *room = fw_conn_reserve(session->conn, framing->length_bytes + len);
    if (!room)
        return UV_ENOMEM;
    fwi_framing_put_header(framing, room, len);
    *ret_payload = room + framing->length_bytes;
    return FW_OK;
}

int fw_session_send(fw_session *session, const void *data, size_t len)
{
    uint8_t *payload;
    int err = fwi_session_reserve(session, len, &payload);
    if (!err && len)
        memcpy(payload, data, len);
    return err;
}

void fw_session_close(fw_session *session, int reason)
{
    if (session->closed)
        return;
    session->closed = true;
    fw_conn_close(session->conn, reason);
}

void fw_session_set_events(fw_session *session, const fw_session_events *events, void *arg)
{
    session->events = *events;
    session->arg = arg;
}

void fwi_session_set_owner(fw_session *session, void (*on_gone)(fw_session *session, void *owner),
                           void *owner)
{
    session->on_gone = on_gone;
    session->owner = owner;
}

uint64_t fw_session_id(const fw_session *session)
{
    return session->id;
}

const char *fw_session_peer(fw_session *session)
{
    return fw_conn_peer(session->conn);
}

fw_loop *fw_session_loop(const fw_session *session)
{
    return fw_conn_loop(session->conn);
}
