#include "ends.h"

#include <string.h>

static void on_open(fw_session *session, void *arg)
{
    (void)session;
    ((end *)arg)->opened++;
}

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    end *own = arg;
    own->frames++;
    own->bytes += len;
    own->last_len = len < sizeof own->last ? len : sizeof own->last;
    if (len)
        memcpy(own->last, data, own->last_len);
    if (own->echo)
        FWT_OK(fw_session_send(session, data, len));
    if (own->then)
        own->then(own);
}

static void on_drain(fw_session *session, void *arg)
{
    (void)session;
    ((end *)arg)->drained++;
}

static void on_lost(fw_session *session, int reason, void *arg)
{
    (void)session;
    end *own = arg;
    own->lost++;
    own->lost_reason = reason;
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    end *own = arg;
    own->closed++;
    own->reason = reason;
    if (own->session == session)
        own->session = NULL;
}

const fw_session_events end_events = {.on_open = on_open,
                                      .on_frame = on_frame,
                                      .on_drain = on_drain,
                                      .on_lost = on_lost,
                                      .on_closed = on_closed};

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    (void)server;
    ends_server *ends = arg;
    ends->accepted++;
    ends->at_server.session = session;
    fw_session_set_events(session, &end_events, &ends->at_server);
}

static void on_server_closed(fw_server *server, void *arg)
{
    (void)server;
    ((ends_server *)arg)->gone++;
}

void ends_listen(ends_server *ends, const char *url, fw_server_options options)
{
    options.on_session = on_session;
    options.on_closed = on_server_closed;
    options.arg = ends;
    FWT_OK(fw_server_new(fwt_loop, url, &options, &ends->server));
}

void end_dial(end *own, const char *url, fw_session_options options)
{
    options.events = end_events;
    options.arg = own;
    FWT_OK(fw_session_dial(fwt_loop, url, &options, &own->session));
}

void end_close(end *own)
{
    size_t wanted = own->closed + 1;
    if (!own->session)
        return;
    fw_session_close(own->session, FW_ECANCELED);
    fwt_run_count(&own->closed, wanted, ENDS_WAIT_MS);
}

void ends_close(ends_server *ends)
{
    size_t wanted = ends->gone + 1;
    fw_server_close(ends->server);
    fwt_run_count(&ends->gone, wanted, ENDS_WAIT_MS);
}
