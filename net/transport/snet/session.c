/*
 *     OPEN:  attached --link lost--> waiting --attach--> attached ...
 *                  \--attach (the old link is dropped)--/   \--wait_timeout_ms--> closed (loss)
 *
 * Outgoing bytes are enciphered and put into the ring when they are given to a link, and only then:
 * while there is no link, or it is congested, they stay in the queue of the core, whose pressure
 * the user sees. So what is in the ring and not with the peer is at most what the link has in hand:
 * its queue and the kernel's buffer, both kept below the size of the ring.
 *
 * The session is freed after all its links are gone.
 */
#include "transport/snet/session.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "transport/uv_stream.h"

#define MOST_PIECE_BYTES   4096 /* enciphered at a time */
#define MOST_LINK_BYTES    (64 * 1024)
#define LEAST_LINK_BYTES   1024
#define UNLIMITED_BYTES    (8 * 1024 * 1024) /* such a ring holds all that the kernel may */

#define DRAIN_BYTES        (32 * 1024)
#define MOST_DRAINED_BYTES (8 * 1024 * 1024) /* more than the kernel keeps of a connection */

static fwi_snet_session *session_of(const fw_conn *conn)
{
    return fwi_container_of(conn, fwi_snet_session, base);
}

/* ---- how much may be under way ---- */

size_t fwi_snet_link_high_water(uint32_t buffer_bytes, size_t high_water_bytes)
{
    size_t bytes = buffer_bytes / 8;
    if (bytes > MOST_LINK_BYTES)
        bytes = MOST_LINK_BYTES;
    if (bytes < LEAST_LINK_BYTES)
        bytes = LEAST_LINK_BYTES;
    return high_water_bytes && high_water_bytes < bytes ? high_water_bytes : bytes;
}

void fwi_snet_link_limit(fw_conn *link, uint32_t buffer_bytes)
{
    if (buffer_bytes >= UNLIMITED_BYTES)
        return;
    /* Linux doubles it, and may go beyond it by one write, which is as much as is queued. Without
     * the limit, a broken link could take megabytes with it. A failure leaves the default. */
    int bytes = (int)(buffer_bytes / 4);
    (void)uv_send_buffer_size(&fwi_container_of(link, fwi_stream_conn, base)->uv.handle, &bytes);
}

/* ---- bytes up ---- */

static void deliver_later(fwi_snet_session *session)
{
    fwi_loop_defer(session->base.loop, &session->deliver);
}

static void on_deliver(fwi_task *task, void *arg)
{
    (void)task;
    fwi_snet_session *session = arg;
    if (!session->held || !fwi_conn_wants_data(&session->base))
        return;
    uint8_t *held = session->held;
    size_t len = session->held_len;
    session->held = NULL;
    session->held_len = 0;
    fwi_conn_received(&session->base, held, len);
    free(held);
    if (session->link && fwi_conn_wants_data(&session->base))
        fw_conn_read_start(session->link);
}

static void hold(fwi_snet_session *session, const uint8_t *data, size_t len)
{
    uint8_t *held = realloc(session->held, session->held_len + len);
    if (!held) {
        fwi_conn_failed(&session->base, UV_ENOMEM);
        return;
    }
    memcpy(held + session->held_len, data, len);
    session->held = held;
    session->held_len += len;
    fw_conn_read_stop(session->link);
    deliver_later(session);
}

/* How many of the next bytes have come over the link before. */
static size_t count_skipped(fwi_snet_session *session, size_t len)
{
    size_t skipped = session->skip < len ? (size_t)session->skip : len;
    session->skip -= skipped;
    return skipped;
}

void fwi_snet_session_input(fwi_snet_session *session, const uint8_t *data, size_t len)
{
    size_t skipped = count_skipped(session, len);
    if (skipped == len || session->base.state == FWI_CONN_CLOSING)
        return;
    /* Links are read into the loop's buffer, which is free to be written to until we return. */
    uint8_t *scratch = fwi_loop_scratch(session->base.loop);
    assert(data >= scratch && data + len <= scratch + FWI_SCRATCH_BYTES);
    uint8_t *bytes = scratch + (data - scratch) + skipped;
    len -= skipped;
    fwi_snet_stream_receive(&session->stream, bytes, len);
    if (!session->held && fwi_conn_wants_data(&session->base))
        fwi_conn_received(&session->base, bytes, len);
    else
        hold(session, bytes, len);
}

void fwi_snet_session_drain(fwi_snet_session *session)
{
    uint8_t bytes[DRAIN_BYTES];
    uv_os_fd_t fd;
    fw_conn *link = session->link;
    if (!link || link->state != FWI_CONN_OPEN ||
        uv_fileno(&fwi_container_of(link, fwi_stream_conn, base)->uv.handle, &fd))
        return;
    while (session->held_len < MOST_DRAINED_BYTES && session->base.state == FWI_CONN_OPEN) {
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n <= 0)
            return; /* an end or an error is there for the link to see, too */
        size_t len = (size_t)n, skipped = count_skipped(session, len);
        fwi_snet_stream_receive(&session->stream, bytes + skipped, len - skipped);
        if (skipped < len)
            hold(session, bytes + skipped, len - skipped);
    }
}

static int read_start(fw_conn *base)
{
    fwi_snet_session *session = session_of(base);
    if (session->held)
        deliver_later(session);
    else if (session->link)
        fw_conn_read_start(session->link);
    return FW_OK;
}

static void read_stop(fw_conn *base)
{
    fwi_snet_session *session = session_of(base);
    if (session->link)
        fw_conn_read_stop(session->link);
}

/* ---- bytes down ---- */

static bool has_room(const fwi_snet_session *session)
{
    const fw_conn *link = session->link;
    return link && link->state == FWI_CONN_OPEN && !fw_conn_congested(link);
}

/* Gives the link as much as it has room for; returns how much, or an error. */
static ssize_t push(fwi_snet_session *session, const uint8_t *data, size_t len)
{
    size_t done = 0, most = session->stream.ring_max_bytes / 16 + 1;
    if (most > MOST_PIECE_BYTES)
        most = MOST_PIECE_BYTES;
    while (done < len && has_room(session)) {
        uint8_t wire[MOST_PIECE_BYTES];
        size_t piece = len - done < most ? len - done : most;
        int err = fwi_snet_stream_send(&session->stream, data + done, piece, wire);
        if (err)
            return done ? (ssize_t)done : err;
        done += piece;
        /* A link that cannot take it is lost, and so it is sent again over the next. */
        if (fw_conn_write(session->link, wire, piece))
            fw_conn_close(session->link, UV_ENOMEM);
    }
    return (ssize_t)done;
}

static int try_write(fw_conn *base, const uv_buf_t *bufs, unsigned count)
{
    fwi_snet_session *session = session_of(base);
    size_t done = 0;
    for (unsigned i = 0; i < count; i++) {
        ssize_t n = push(session, (const uint8_t *)bufs[i].base, bufs[i].len);
        if (n < 0)
            return done ? (int)done : (int)n;
        done += (size_t)n;
        if ((size_t)n < bufs[i].len)
            break;
    }
    return done ? (int)done : UV_EAGAIN;
}

static size_t queued_bytes(const fw_conn *base)
{
    const fwi_snet_session *session = session_of(base);
    return session->link ? fw_conn_queued_bytes(session->link) : session->lost_bytes;
}

/* ---- the link ---- */

static void end_wait(fwi_snet_session *session)
{
    if (!session->wait)
        return;
    fwi_loop_timer_stop(session->base.loop, session->wait);
    free(session->wait);
    session->wait = NULL;
}

static void on_wait(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_snet_session *session = arg;
    fwi_conn_explain(&session->base, "the link was lost, and no other came in time");
    fwi_conn_failed(&session->base, session->loss);
}

static int begin_wait(fwi_snet_session *session)
{
    session->wait = malloc(sizeof *session->wait);
    if (!session->wait)
        return UV_ENOMEM;
    *session->wait = (fwi_timer){.fn = on_wait, .arg = session};
    fwi_loop_timer_start(session->base.loop, session->wait, session->wait_timeout_ms);
    return session->side->lost(session);
}

static void on_link_data(fw_conn *link, const uint8_t *data, size_t len, void *arg)
{
    (void)link;
    fwi_snet_session_input(arg, data, len);
}

static void on_link_sent(fw_conn *link, void *arg)
{
    (void)link;
    fwi_snet_session *session = arg;
    fwi_conn_sent(&session->base);
}

static void on_link_drain(fw_conn *link, void *arg)
{
    (void)link;
    fwi_snet_session *session = arg;
    fwi_conn_writable(&session->base);
}

static void finish_if_gone(fwi_snet_session *session)
{
    if (session->base.state == FWI_CONN_CLOSING && !session->closing)
        fwi_loop_defer(session->base.loop, &session->gone);
}

static void on_link_closed(fw_conn *link, int reason, void *arg)
{
    (void)link;
    fwi_snet_session *session = arg;
    session->link = NULL;
    session->loss = reason;
    int err = begin_wait(session);
    if (err)
        fwi_conn_failed(&session->base, err);
}

static const fw_conn_events link_events = {.on_data = on_link_data,
                                           .on_drain = on_link_drain,
                                           .on_sent = on_link_sent,
                                           .on_closed = on_link_closed};

static void on_dropped(fw_conn *link, int reason, void *arg)
{
    (void)link;
    (void)reason;
    fwi_snet_session *session = arg;
    session->closing--;
    finish_if_gone(session);
}

void fwi_snet_session_drop(fwi_snet_session *session, fw_conn *link, int reason)
{
    static const fw_conn_events dropped_events = {.on_closed = on_dropped};
    session->closing++;
    fw_conn_set_events(link, &dropped_events, session);
    fw_conn_close(link, reason);
}

void fwi_snet_session_attach(fwi_snet_session *session, fw_conn *link, uint64_t peer_read,
                             uint64_t skip)
{
    if (session->link)
        fwi_snet_session_drop(session, session->link, FW_ECANCELED);
    end_wait(session);
    session->link = link;
    session->skip = skip;
    fw_conn_set_events(link, &link_events, session);
    fwi_snet_span spans[2];
    fwi_snet_stream_replay(&session->stream, peer_read, spans);
    int err = FW_OK;
    for (int i = 0; i < 2 && !err; i++)
        err = fw_conn_write(link, spans[i].data, spans[i].len);
    session->side->resumed(session);
    if (err) { /* without what was to be sent again it is of no use */
        fw_conn_close(link, err);
        return;
    }
    if (session->base.read_stopped || session->held)
        fw_conn_read_stop(link);
    fwi_conn_writable(&session->base);
}

/* ---- life ---- */

static void close_session(fw_conn *base)
{
    fwi_snet_session *session = session_of(base);
    end_wait(session);
    fwi_loop_defer_cancel(base->loop, &session->deliver);
    fw_conn *link = session->link;
    session->link = NULL;
    if (link) {
        fwi_snet_session_drop(session, link, base->reason);
        session->lost_bytes = fw_conn_queued_bytes(link);
    }
    session->side->leave(session);
    finish_if_gone(session);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fwi_snet_session *session = arg;
    session->side->fini(session);
    fwi_snet_stream_fini(&session->stream);
    free(session->held);
    fwi_conn_gone(&session->base);
}

static void peer(fw_conn *base, char *ret_text, size_t size)
{
    fwi_snet_session *session = session_of(base);
    const char *colon = session->link ? strchr(fw_conn_peer(session->link), ':') : NULL;
    if (colon)
        snprintf(ret_text, size, "snet%s", colon);
}

void fwi_snet_session_setup(fwi_snet_session *session, fw_loop *loop, const fwi_snet_side *side,
                            uint32_t wait_timeout_ms)
{
    static const fwi_conn_ops ops = {
        .try_write = try_write,
        .read_start = read_start,
        .read_stop = read_stop,
        .close = close_session,
        .peer = peer,
        .queued_bytes = queued_bytes,
    };
    session->base.loop = loop;
    session->base.ops = &ops;
    session->side = side;
    session->wait_timeout_ms = wait_timeout_ms;
    session->deliver = (fwi_task){.fn = on_deliver, .arg = session};
    session->gone = (fwi_task){.fn = on_gone, .arg = session};
}
