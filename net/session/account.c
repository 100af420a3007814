/*
 * What a session sends, and the account of it.
 *
 * The account counts the bytes given to the connection (appended). What of them is not in the
 * connection's queue any more has been handed to the kernel, so a frame has left as soon as
 *
 *     appended - fw_conn_queued_bytes(conn) >= its end
 *
 * which is looked at whenever the connection says that it has sent. A session opens
 * an account with the first thing that needs one; the others pay nothing.
 */
#include "session/session.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- completions ---- */

static void on_timeout(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_completion_end(arg, FW_EDEADLINE);
}

fwi_completion *fwi_completion_new(fw_session *session, uint32_t timeout_ms,
                                   fw_session_sent_fn sent, void *arg)
{
    fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
    fwi_completion *completion = extra ? malloc(sizeof *completion) : NULL;
    if (!completion)
        return NULL;
    *completion = (fwi_completion){.session = session, .sent = sent, .arg = arg};
    fwi_list_init(&completion->node);
    completion->timer = (fwi_timer){.fn = on_timeout, .arg = completion};
    if (timeout_ms)
        fwi_loop_timer_start(extra->loop, &completion->timer, timeout_ms);
    return completion;
}

static void completion_free(fwi_completion *completion)
{
    fwi_list_remove(&completion->node);
    fwi_loop_timer_stop(completion->session->extra->loop, &completion->timer);
    if (completion->kept)
        fwi_redial_forget(completion->kept);
    free(completion);
}

void fwi_completion_end(fwi_completion *completion, int status)
{
    fw_session *session = completion->session;
    fw_session_sent_fn sent = completion->sent;
    void *arg = completion->arg;
    completion_free(completion);
    sent(session, status, arg);
}

void fwi_completion_refuse(fwi_completion *completion, int status)
{
    fwi_session_extra *extra = completion->session->extra;
    fwi_loop_timer_stop(extra->loop, &completion->timer);
    completion->status = status;
    fwi_list_push_back(&extra->refused, &completion->node);
    fwi_loop_defer(extra->loop, &extra->report);
}

/* ---- the account ---- */

static uint64_t handed_over(const fw_session *session)
{
    /* A transport that sends again (snet) may have more in its queue than it was given. */
    uint64_t appended = session->extra->appended, queued = fw_conn_queued_bytes(session->conn);
    return queued < appended ? appended - queued : 0;
}

#define FIRST_FRAMES 16

/* Drops from the ring what has left. */
static void count_frames(fwi_session_extra *extra, uint64_t handed)
{
    while (extra->frames && extra->frame_ends[extra->first_frame] <= handed) {
        extra->first_frame = (extra->first_frame + 1) % extra->frame_capacity;
        extra->frames--;
    }
}

/* Makes the ring larger if it is full. */
static int grow_frames(fwi_session_extra *extra)
{
    if (extra->frames < extra->frame_capacity)
        return FW_OK;
    uint32_t capacity = extra->frame_capacity ? 2 * extra->frame_capacity : FIRST_FRAMES;
    uint64_t *ends = malloc(capacity * sizeof *ends);
    if (!ends)
        return UV_ENOMEM;
    for (uint32_t i = 0; i < extra->frames; i++)
        ends[i] = extra->frame_ends[(extra->first_frame + i) % extra->frame_capacity];
    free(extra->frame_ends);
    extra->frame_ends = ends;
    extra->frame_capacity = capacity;
    extra->first_frame = 0;
    return FW_OK;
}

static void end_all(fwi_list *list, int status)
{
    while (!fwi_list_empty(list))
        fwi_completion_end(fwi_container_of(list->next, fwi_completion, node), status);
}

/* Callbacks may close the session, but what is closed is freed in a later turn. */
static void tell_handed(fwi_session_extra *extra, uint64_t handed)
{
    while (!fwi_list_empty(&extra->waiting)) {
        fwi_completion *first = fwi_container_of(extra->waiting.next, fwi_completion, node);
        if (first->end > handed)
            return;
        fwi_completion_end(first, FW_OK);
    }
}

void fwi_account_sent(fw_session *session)
{
    fwi_session_extra *extra = session->extra;
    uint64_t handed = handed_over(session);
    if (handed > extra->progress) {
        extra->progress = handed;
        extra->progress_ms = fw_loop_now_ms(extra->loop);
    }
    count_frames(extra, handed);
    tell_handed(extra, handed);
    if (session->finishing)
        fwi_watch_finished(session);
    if (extra->was_limited && !fw_conn_congested(session->conn))
        fwi_account_drained(session);
}

void fwi_account_drained(fw_session *session)
{
    fwi_session_extra *extra = session->extra;
    if (session->state != FWI_SESSION_OPEN)
        return;
    if (extra && extra->frames > session->rules->queue_frames / 2)
        return; /* not yet */
    if (extra)
        extra->was_limited = false;
    if (session->events->on_drain)
        session->events->on_drain(session, session->arg);
}

void fwi_account_lost(fw_session *session)
{
    fwi_session_extra *extra = session->extra;
    if (!extra)
        return;
    tell_handed(extra, handed_over(session));
    end_all(&extra->waiting, FW_ECLOSED);
    extra->appended = extra->progress = 0;
    extra->frames = extra->first_frame = 0;
}

void fwi_account_fini(fwi_session_extra *extra)
{
    end_all(&extra->waiting, FW_ECLOSED);
    if (extra->redial)
        end_all(fwi_redial_completions(extra->redial), FW_ECLOSED);
    for (fwi_list *node; (node = extra->refused.next) != &extra->refused;) {
        fwi_completion *completion = fwi_container_of(node, fwi_completion, node);
        fwi_completion_end(completion, completion->status);
    }
    free(extra->frame_ends);
    extra->frame_ends = NULL;
    extra->frames = extra->frame_capacity = 0;
}

void fwi_account_enter(fw_session *session, size_t before, fwi_completion *completion)
{
    fwi_session_extra *extra = session->extra;
    if (!extra)
        return;
    extra->appended += fw_conn_queued_bytes(session->conn) - before;
    extra->sent_ms = fw_loop_now_ms(extra->loop);
    if (!before)
        extra->progress_ms = extra->sent_ms; /* nothing waited before it */
    /* Without room (frames that were kept, and no memory) it is not counted. */
    if (session->rules->queue_frames && !grow_frames(extra))
        extra->frame_ends[(extra->first_frame + extra->frames++) % extra->frame_capacity] =
            extra->appended;
    if (completion) {
        completion->end = extra->appended;
        fwi_list_push_back(&extra->waiting, &completion->node);
    }
}

/* ---- sending ---- */

static int check_frames(fw_session *session, uint32_t limit)
{
    fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
    if (!extra)
        return UV_ENOMEM;
    if (extra->frames >= limit)
        count_frames(extra, handed_over(session));
    if (extra->frames < limit)
        return grow_frames(extra);
    extra->was_limited = true;
    return FW_ELIMIT;
}

static bool is_kept(const fw_session *session)
{
    return session->state != FWI_SESSION_OPEN && session->extra && session->extra->redial;
}

int fwi_session_writable(fw_session *session)
{
    if (!fw_session_is_open(session))
        return FW_ECLOSED;
    if (is_kept(session))
        return fwi_redial_writable(session);
    if (fw_conn_congested(session->conn))
        return FW_ELIMIT;
    return session->rules->queue_frames ? check_frames(session, session->rules->queue_frames)
                                        : FW_OK;
}

int fwi_frame_make(const fwi_session_rules *rules, fw_slice data, fwi_frame *ret_frame)
{
    if (data.len > rules->framing.max_frame_bytes)
        return FW_EFRAMESIZE;
    fwi_packed packed = {.head_len = 0, .body = data};
    if (rules->compressor) {
        int err =
            fwi_compress(rules->compressor, &rules->compression, data.data, data.len, &packed);
        if (err)
            return err;
    }
    int header_len = fwi_framing_write_header(&rules->framing, ret_frame->head,
                                              packed.head_len + (uint64_t)packed.body.len);
    if (header_len < 0)
        return header_len;
    memcpy(ret_frame->head + header_len, packed.head, packed.head_len);
    ret_frame->head_len = (size_t)header_len + packed.head_len;
    ret_frame->body = packed.body;
    return FW_OK;
}

void fwi_frame_copy(const fwi_frame *frame, uint8_t *out)
{
    memcpy(out, frame->head, frame->head_len);
    if (frame->body.len)
        memcpy(out + frame->head_len, frame->body.data, frame->body.len);
}

/* Room for a whole frame, wherever it goes. */
static int frame_room(fw_session *session, size_t len, fwi_completion *completion,
                      uint8_t **ret_room)
{
    if (is_kept(session))
        return fwi_redial_keep(session, len, completion, ret_room);
    size_t before = fw_conn_queued_bytes(session->conn);
    *ret_room = fw_conn_reserve(session->conn, len);
    if (!*ret_room)
        return UV_ENOMEM;
    fwi_account_enter(session, before, completion);
    return FW_OK;
}

static int send_frame(fw_session *session, fw_slice data, fwi_completion *completion)
{
    fwi_frame frame;
    uint8_t *room;
    int err = fwi_frame_make(session->rules, data, &frame);
    if (!err)
        err = frame_room(session, frame.head_len + frame.body.len, completion, &room);
    if (!err)
        fwi_frame_copy(&frame, room);
    return err;
}

int fw_session_send(fw_session *session, const void *data, size_t len)
{
    int err = fwi_session_writable(session);
    return err ? err : send_frame(session, (fw_slice){data, len}, NULL);
}

int fw_session_send_async(fw_session *session, const void *data, size_t len, uint32_t timeout_ms,
                          fw_session_sent_fn sent, void *arg)
{
    int err = fwi_session_writable(session);
    if (err)
        return err;
    fwi_completion *completion = fwi_completion_new(session, timeout_ms, sent, arg);
    if (!completion)
        return UV_ENOMEM;
    err = send_frame(session, (fw_slice){data, len}, completion);
    if (err)
        completion_free(completion);
    return err;
}

int fwi_session_send_buf(fw_session *session, fw_buf *frame, fwi_completion *completion)
{
    int err = fwi_session_writable(session);
    if (err)
        return err;
    fw_slice bytes = fw_buf_bytes(frame);
    if (is_kept(session)) {
        uint8_t *room;
        err = fwi_redial_keep(session, bytes.len, completion, &room);
        if (!err)
            memcpy(room, bytes.data, bytes.len);
        return err;
    }
    size_t before = fw_conn_queued_bytes(session->conn);
    err = fw_conn_write_buf(session->conn, frame);
    if (!err)
        fwi_account_enter(session, before, completion);
    return err;
}

size_t fw_session_queued_bytes(const fw_session *session)
{
    const fwi_redial *redial = session->extra ? session->extra->redial : NULL;
    return (session->conn ? fw_conn_queued_bytes(session->conn) : 0) +
           (redial ? fwi_redial_kept_bytes(redial) : 0);
}
