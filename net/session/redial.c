/*
 * Dialling, and coming back after a connection was lost.
 *
 * What is sent while there is no connection is kept here and goes out when there is one, after what
 * on_open sends (a greeting comes first). What a connection had taken is gone with it: whether it
 * arrived is not known, and sending it twice would be worse than not at all.
 */
#include "session/session.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_BASE_MS 100
#define DEFAULT_MAX_MS  5000
/* A connection that ended earlier was no success: the waits go on growing. */
#define SETTLED_MS 1000

struct fwi_kept {
    fwi_list node;
    fwi_completion *completion; /* NULL: none, or ended */
    size_t len;
    uint8_t frame[];
};

struct fwi_redial {
    char *url;
    fw_conn_options conn;
    fw_session_reconnect options;
    fw_backoff backoff;
    fwi_timer timer;
    uint64_t opened_ms; /* 0: the last attempt failed */
    fwi_list kept;
    size_t kept_bytes;
    uint32_t kept_frames;
    fwi_list completions;
};

fwi_list *fwi_redial_completions(fwi_redial *redial)
{
    return &redial->completions;
}

size_t fwi_redial_kept_bytes(const fwi_redial *redial)
{
    return redial->kept_bytes;
}

void fwi_redial_forget(struct fwi_kept *kept)
{
    kept->completion = NULL;
}

void fwi_redial_free(fwi_session_extra *extra)
{
    fwi_redial *redial = extra->redial;
    if (!redial)
        return;
    fwi_loop_timer_stop(extra->loop, &redial->timer);
    for (fwi_list *node; (node = fwi_list_pop(&redial->kept));)
        free(fwi_container_of(node, struct fwi_kept, node));
    free(redial->url);
    free(redial);
    extra->redial = NULL;
}

/* ---- coming back ---- */

static void on_wait_over(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_session *session = arg;
    fwi_session_extra *extra = session->extra;
    if (session->state != FWI_SESSION_DOWN)
        return;
    session->state = FWI_SESSION_OPENING;
    int err = fw_conn_dial(extra->loop, extra->redial->url, &extra->redial->conn, &session->conn);
    if (err && !fwi_redial_lost(session, err))
        fwi_session_end(session, err);
}

bool fwi_redial_lost(fw_session *session, int reason)
{
    fwi_session_extra *extra = session->extra;
    fwi_redial *redial = extra ? extra->redial : NULL;
    if (!redial || session->finishing)
        return false;
    if (redial->opened_ms && fw_loop_now_ms(extra->loop) - redial->opened_ms >= SETTLED_MS)
        fw_backoff_reset(&redial->backoff);
    redial->opened_ms = 0;
    if (redial->options.max_attempts && redial->backoff.attempts >= redial->options.max_attempts)
        return false;
    session->conn = NULL;
    session->state = FWI_SESSION_DOWN;
    fwi_watch_stop(extra);
    fwi_loop_timer_start(extra->loop, &redial->timer, fw_backoff_next_ms(&redial->backoff));
    if (session->events->on_lost)
        session->events->on_lost(session, reason, session->arg);
    return true;
}

static void send_kept(fw_session *session, struct fwi_kept *kept)
{
    fwi_completion *completion = kept->completion;
    size_t before = fw_conn_queued_bytes(session->conn);
    uint8_t *room = fw_conn_reserve(session->conn, kept->len);
    if (!room) {
        fwi_session_fail(session, UV_ENOMEM);
        return;
    }
    memcpy(room, kept->frame, kept->len);
    fwi_redial *redial = session->extra->redial;
    redial->kept_bytes -= kept->len;
    redial->kept_frames--;
    fwi_list_remove(&kept->node);
    if (completion) {
        completion->kept = NULL;
        fwi_list_remove(&completion->node);
    }
    fwi_account_enter(session, before, completion);
    free(kept);
}

void fwi_redial_opened(fw_session *session)
{
    fwi_redial *redial = session->extra ? session->extra->redial : NULL;
    if (!redial)
        return;
    redial->opened_ms = fw_loop_now_ms(session->extra->loop);
    while (session->state == FWI_SESSION_OPEN && !fwi_list_empty(&redial->kept))
        send_kept(session, fwi_container_of(redial->kept.next, struct fwi_kept, node));
}

/* ---- what is kept ---- */

int fwi_redial_writable(const fw_session *session)
{
    fwi_redial *redial = session->extra->redial;
    const fwi_session_rules *rules = session->rules;
    if (redial->options.refuse_while_down)
        return FW_ECLOSED;
    if (redial->kept_bytes <= rules->queue_bytes &&
        (!rules->queue_frames || redial->kept_frames < rules->queue_frames))
        return FW_OK;
    session->extra->was_limited = true;
    return FW_ELIMIT;
}

int fwi_redial_keep(fw_session *session, size_t len, fwi_completion *completion, uint8_t **ret_room)
{
    fwi_redial *redial = session->extra->redial;
    struct fwi_kept *kept = malloc(sizeof *kept + len);
    if (!kept)
        return UV_ENOMEM;
    kept->completion = completion;
    kept->len = len;
    fwi_list_push_back(&redial->kept, &kept->node);
    redial->kept_bytes += len;
    redial->kept_frames++;
    if (completion) {
        completion->kept = kept;
        fwi_list_push_back(&redial->completions, &completion->node);
    }
    *ret_room = kept->frame;
    return FW_OK;
}

/* ---- dialling ---- */

static int redial_create(fw_session *session, fw_loop *loop, const char *url,
                         const fw_session_options *options, const fw_conn_options *conn)
{
    fwi_session_extra *extra = fwi_session_extra_get(session, loop);
    fwi_redial *redial = extra ? calloc(1, sizeof *redial) : NULL;
    if (!redial)
        return UV_ENOMEM;
    extra->redial = redial;
    redial->options = options->reconnect;
    redial->conn = *conn;
    redial->timer = (fwi_timer){.fn = on_wait_over, .arg = session};
    fw_backoff_init(&redial->backoff,
                    options->reconnect.base_ms ? options->reconnect.base_ms : DEFAULT_BASE_MS,
                    options->reconnect.max_ms ? options->reconnect.max_ms : DEFAULT_MAX_MS);
    fwi_list_init(&redial->kept);
    fwi_list_init(&redial->completions);
    redial->url = strdup(url);
    return redial->url ? FW_OK : UV_ENOMEM;
}

static int begin(fw_session *session, fw_loop *loop, const char *url,
                 const fw_session_options *options)
{
    const fw_session_timeouts *timeouts = &options->timeouts;
    fw_conn_options conn = {.dial_timeout_ms = options->dial_timeout_ms,
                            .high_water_bytes = session->rules->queue_bytes,
                            .messages = session->rules->framing.messages,
                            .max_message_bytes = fwi_session_message_bytes(session->rules),
                            .tls = options->tls,
                            .events = fwi_session_conn_events,
                            .arg = session};
    if ((timeouts->read_ms || timeouts->idle_ms || timeouts->write_ms) &&
        !fwi_session_extra_get(session, loop))
        return UV_ENOMEM;
    int err =
        options->reconnect.enabled ? redial_create(session, loop, url, options, &conn) : FW_OK;
    return err ? err : fw_conn_dial(loop, url, &conn, &session->conn);
}

int fw_session_dial(fw_loop *loop, const char *url, const fw_session_options *options,
                    fw_session **ret_session)
{
    fwi_session_rules *rules;
    fw_session *session;
    int err = fwi_session_rules_create(loop, &options->framing, &options->compression, &rules);
    if (err)
        return err;
    rules->events = options->events;
    rules->timeouts = options->timeouts;
    rules->queue_frames = options->max_queue_frames;
    if (options->max_queue_bytes)
        rules->queue_bytes = options->max_queue_bytes;
    err = fwi_session_create(rules, &session);
    fwi_session_rules_release(rules);
    if (err)
        return err;
    session->arg = options->arg;
    err = begin(session, loop, url, options);
    if (err)
        fwi_session_free(session);
    else
        *ret_session = session;
    return err;
}
