/*
 * The client's side: it makes the first link, and another one when that is lost.
 *
 *     dial -> (tcp opens) -> handshake -> attached --lost--> retry -> (tcp opens) -> resume -> ...
 *                                                     ^------- after a jittered pause --------/
 */
#include "transport/snet/snet.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "transport/snet/session.h"

#define DEFAULT_HANDSHAKE_TIMEOUT_MS 10000
#define RETRY_FIRST_MS               100

typedef struct dialer {
    fwi_snet_session session;
    fwi_snet_params params;
    char *host;
    int port;
    size_t high_water_bytes;
    fw_conn *trying; /* the link that is being made, or NULL */
    fwi_snet_client handshake;
    fwi_timer timer; /* the deadline of the attempt, or the pause before the next one */
    fw_backoff backoff;
} dialer;

static dialer *dialer_of(fwi_snet_session *session)
{
    return fwi_container_of(session, dialer, session);
}

static void pause_and_retry(dialer *self);

static void on_open(fw_conn *link, void *arg)
{
    dialer *self = arg;
    fwi_snet_session *session = &self->session;
    fwi_snet_bytes out;
    int err = session->ready ? fwi_snet_client_resume(&self->handshake, self->params.flavour,
                                                      &session->stream, &out)
                             : fwi_snet_client_start(&self->handshake, self->params.flavour,
                                                     fwi_random_secret, &out);
    if (!err)
        err = fw_conn_write(link, out.data, out.len);
    if (err)
        fw_conn_close(link, err);
    else
        fwi_snet_link_limit(link, self->params.buffer_bytes);
}

/* The attempt has failed for good, or only this one. */
static void refused(dialer *self, int err)
{
    fw_conn *base = &self->session.base;
    if (err == UV_ENOMEM) {
        fw_conn_close(self->trying, err);
        return;
    }
    if (err == FW_EREFUSED) { /* it has closed it, as far as one can know */
        fwi_conn_explain(base, "the server does not resume the session");
        err = UV_EOF;
    } else if (err == FW_ELIMIT) {
        fwi_conn_explain(base, "the server lacks more than can be sent again");
    }
    fwi_conn_failed(base, err);
}

static int make_stream(dialer *self)
{
    fwi_snet_session *session = &self->session;
    int err = fwi_snet_stream_init(&session->stream, self->handshake.id, self->handshake.secret,
                                   false, self->params.encrypt, self->params.buffer_bytes);
    session->ready = !err;
    return err;
}

/* The handshake is over: the link is the session's. */
static void succeed(dialer *self)
{
    fwi_snet_session *session = &self->session;
    bool is_new = !session->ready;
    int err = is_new ? make_stream(self) : FW_OK;
    uint64_t peer_read = is_new ? 0 : self->handshake.peer_read;
    fwi_snet_cleanse(&self->handshake, sizeof self->handshake);
    if (err) {
        fwi_conn_failed(&session->base, err);
        return;
    }
    fw_conn *link = self->trying;
    self->trying = NULL;
    fwi_snet_session_attach(session, link, peer_read, 0);
    if (is_new)
        fwi_conn_opened(&session->base);
}

static void on_data(fw_conn *link, const uint8_t *data, size_t len, void *arg)
{
    dialer *self = arg;
    fwi_snet_bytes out;
    size_t used;
    int err = fwi_snet_client_input(&self->handshake, data, len, &used, &out);
    if (!err && out.len)
        err = fw_conn_write(link, out.data, out.len);
    if (err) {
        refused(self, err);
        return;
    }
    if (!self->handshake.done)
        return;
    succeed(self);
    if (used < len && self->session.link == link)
        fwi_snet_session_input(&self->session, data + used, len - used);
}

static void on_closed(fw_conn *link, int reason, void *arg)
{
    dialer *self = arg;
    fwi_conn_explain(&self->session.base, fw_conn_errmsg(link));
    self->trying = NULL;
    if (self->session.ready)
        pause_and_retry(self);
    else
        fwi_conn_failed(&self->session.base, reason);
}

static const fw_conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_closed = on_closed};

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    dialer *self = arg;
    fw_conn_close(self->trying, FW_EDEADLINE);
}

static int try_link(dialer *self)
{
    fw_conn_options options = {.dial_timeout_ms = self->params.handshake_timeout_ms,
                               .high_water_bytes = fwi_snet_link_high_water(
                                   self->params.buffer_bytes, self->high_water_bytes),
                               .events = events,
                               .arg = self};
    fw_url_host host = {.name = self->host, .port = self->port};
    fw_url url = {.scheme = (char *)"tcp", .hosts = &host, .host_count = 1, .path = (char *)""};
    int err = fwi_conn_dial_url(self->session.base.loop, &url, &options, &self->trying);
    if (err)
        return err;
    self->timer = (fwi_timer){.fn = on_deadline, .arg = self};
    fwi_loop_timer_start(self->session.base.loop, &self->timer, self->params.handshake_timeout_ms);
    return FW_OK;
}

static void on_retry(fwi_timer *timer, void *arg)
{
    (void)timer;
    dialer *self = arg;
    if (try_link(self))
        pause_and_retry(self);
}

static void pause_and_retry(dialer *self)
{
    fw_loop *loop = self->session.base.loop;
    fwi_loop_timer_stop(loop, &self->timer);
    self->timer = (fwi_timer){.fn = on_retry, .arg = self};
    fwi_loop_timer_start(loop, &self->timer, fw_backoff_next_ms(&self->backoff));
}

/* ---- the session's other half ---- */

static int lost(fwi_snet_session *session)
{
    pause_and_retry(dialer_of(session));
    return FW_OK;
}

static void resumed(fwi_snet_session *session)
{
    dialer *self = dialer_of(session);
    fwi_loop_timer_stop(session->base.loop, &self->timer);
    fw_backoff_reset(&self->backoff);
}

static void leave(fwi_snet_session *session)
{
    dialer *self = dialer_of(session);
    fwi_loop_timer_stop(session->base.loop, &self->timer);
    if (self->trying)
        fwi_snet_session_drop(session, self->trying, session->base.reason);
    self->trying = NULL;
}

static void fini(fwi_snet_session *session)
{
    dialer *self = dialer_of(session);
    fwi_snet_cleanse(&self->handshake, sizeof self->handshake);
    free(self->host);
}

int fwi_snet_dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                  fw_conn **ret_conn)
{
    static const fwi_snet_side side = {
        .lost = lost, .resumed = resumed, .leave = leave, .fini = fini};
    if (url->host_count != 1 || *url->path)
        return FW_EURL;
    fwi_snet_params params;
    int err = fwi_snet_params_parse(url, false, &params);
    if (err)
        return err;
    if (!params.handshake_timeout_ms)
        params.handshake_timeout_ms = DEFAULT_HANDSHAKE_TIMEOUT_MS;
    dialer *self = calloc(1, sizeof *self);
    if (!self)
        return UV_ENOMEM;
    fwi_snet_session_setup(&self->session, loop, &side, params.wait_timeout_ms);
    self->params = params;
    self->high_water_bytes = options->high_water_bytes;
    self->port = url->hosts[0].port;
    self->host = strdup(url->hosts[0].name);
    fw_backoff_init(&self->backoff,
                    params.retry_max_ms < RETRY_FIRST_MS ? params.retry_max_ms : RETRY_FIRST_MS,
                    params.retry_max_ms);
    err = self->host ? try_link(self) : UV_ENOMEM;
    if (err) {
        free(self->host);
        free(self);
        return err;
    }
    *ret_conn = &self->session.base;
    return FW_OK;
}
