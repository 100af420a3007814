/*
 * What a session does by the clock: its heartbeat, its timeouts and the deadline of finishing. One
 * timer serves them all. It is set for the earliest of them; what comes meanwhile only moves a
 * time stamp, and the timer finds out when it fires that it came too early.
 */
#include "session/session.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"

#define DEFAULT_FINISH_MS 5000
#define NEVER             UINT64_MAX

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t write_due(const fw_session *session, uint64_t now)
{
    const fwi_session_extra *extra = session->extra;
    uint64_t since = fw_conn_queued_bytes(session->conn) ? extra->progress_ms : now;
    return since + extra->timeouts.write_ms;
}

/* The earliest deadline; *ret_reason is what happens then. */
static uint64_t next_end(const fw_session *session, uint64_t now, int *ret_reason)
{
    const fwi_session_extra *extra = session->extra;
    const fw_session_timeouts *timeouts = &extra->timeouts;
    uint64_t due = extra->finish_ms ? extra->finish_ms : NEVER;
    *ret_reason = FW_EDEADLINE;
    if (session->state != FWI_SESSION_OPEN)
        return due;
    uint64_t idle = NEVER;
    if (timeouts->read_ms)
        idle = extra->received_ms + timeouts->read_ms;
    if (timeouts->idle_ms)
        idle = sooner(idle, later(extra->received_ms, extra->sent_ms) + timeouts->idle_ms);
    if (idle < due) {
        due = idle;
        *ret_reason = FW_EIDLE;
    }
    uint64_t write = timeouts->write_ms ? write_due(session, now) : NEVER;
    if (write < due) {
        due = write;
        *ret_reason = FW_ESLOW;
    }
    return due;
}

/* False: the session was ended by it. */
static bool beat(fw_session *session, fwi_heartbeat *heartbeat, uint64_t now)
{
    if (heartbeat->misses && heartbeat->missed >= heartbeat->misses) {
        fwi_session_fail(session, FW_EIDLE);
        return false;
    }
    heartbeat->missed++;
    heartbeat->next_ms += heartbeat->interval_ms;
    if (heartbeat->next_ms <= now) /* the loop was held up: beats are not made up for */
        heartbeat->next_ms = now + heartbeat->interval_ms;
    int err = fw_session_send(session, heartbeat->data, heartbeat->len);
    if (err)
        fwi_log(FW_LOG_DEBUG, "session", "heartbeat left out",
                FWI_TEXT("peer", fw_session_peer(session)), FWI_TEXT("reason", fw_strerror(err)));
    return true;
}

static void arm(fw_session *session, uint64_t now)
{
    fwi_session_extra *extra = session->extra;
    int reason;
    uint64_t due = next_end(session, now, &reason);
    if (extra->heartbeat && session->state == FWI_SESSION_OPEN && !session->finishing)
        due = sooner(due, extra->heartbeat->next_ms);
    if (due == NEVER)
        fwi_loop_timer_stop(extra->loop, &extra->timer);
    else
        fwi_loop_timer_start(extra->loop, &extra->timer, due > now ? due - now : 0);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_session *session = arg;
    fwi_session_extra *extra = session->extra;
    uint64_t now = fw_loop_now_ms(extra->loop);
    int reason;
    if (next_end(session, now, &reason) <= now) {
        if (session->finishing)
            fw_session_close(session, reason);
        else
            fwi_session_fail(session, reason);
        return;
    }
    bool is_due = extra->heartbeat && session->state == FWI_SESSION_OPEN && !session->finishing &&
                  extra->heartbeat->next_ms <= now;
    if (!is_due || beat(session, extra->heartbeat, now))
        arm(session, now);
}

void fwi_watch_start(fw_session *session)
{
    fwi_session_extra *extra = session->extra;
    if (!extra)
        return;
    uint64_t now = fw_loop_now_ms(extra->loop);
    extra->timer.fn = on_timer;
    extra->timer.arg = session;
    extra->received_ms = extra->sent_ms = extra->progress_ms = now;
    if (extra->heartbeat) {
        extra->heartbeat->missed = 0;
        extra->heartbeat->next_ms = now + extra->heartbeat->interval_ms;
    }
    arm(session, now);
}

void fwi_watch_stop(fwi_session_extra *extra)
{
    fwi_loop_timer_stop(extra->loop, &extra->timer);
}

int fw_session_set_timeouts(fw_session *session, const fw_session_timeouts *timeouts)
{
    if (session->state == FWI_SESSION_CLOSING)
        return FW_ECLOSED;
    fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
    if (!extra)
        return UV_ENOMEM;
    uint64_t now = fw_loop_now_ms(extra->loop);
    extra->timeouts = *timeouts;
    extra->received_ms = extra->sent_ms = extra->progress_ms = now;
    extra->timer.fn = on_timer;
    extra->timer.arg = session;
    arm(session, now);
    return FW_OK;
}

int fw_session_set_heartbeat(fw_session *session, uint32_t interval_ms, const void *data,
                             size_t len, uint32_t misses)
{
    if (session->state == FWI_SESSION_CLOSING)
        return FW_ECLOSED;
    if (len > session->rules->framing.max_frame_bytes)
        return FW_EFRAMESIZE;
    fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
    fwi_heartbeat *heartbeat = extra && interval_ms ? malloc(sizeof *heartbeat + len) : NULL;
    if (!extra || (interval_ms && !heartbeat))
        return UV_ENOMEM;
    fwi_heartbeat *old = extra->heartbeat;
    uint64_t now = fw_loop_now_ms(extra->loop);
    if (heartbeat) {
        bool goes_on = old && old->interval_ms == interval_ms;
        *heartbeat = (fwi_heartbeat){.interval_ms = interval_ms,
                                     .misses = misses,
                                     .next_ms = goes_on ? old->next_ms : now + interval_ms,
                                     .missed = goes_on ? old->missed : 0,
                                     .len = len};
        if (len)
            memcpy(heartbeat->data, data, len);
    }
    extra->heartbeat = heartbeat;
    extra->timer.fn = on_timer;
    extra->timer.arg = session;
    arm(session, now);
    free(old);
    return FW_OK;
}

/* ---- finishing ---- */

void fwi_watch_finished(fw_session *session)
{
    if (session->state == FWI_SESSION_OPEN && !fw_session_queued_bytes(session))
        fw_session_close(session, FW_ECANCELED);
}

void fw_session_finish(fw_session *session, uint32_t deadline_ms)
{
    if (!fw_session_is_open(session))
        return;
    fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
    if (!extra) {
        fw_session_close(session, UV_ENOMEM);
        return;
    }
    session->finishing = true;
    uint64_t now = fw_loop_now_ms(extra->loop);
    extra->finish_ms = now + (deadline_ms ? deadline_ms : DEFAULT_FINISH_MS);
    extra->timer.fn = on_timer;
    extra->timer.arg = session;
    arm(session, now);
    fwi_watch_finished(session);
}
