#include "station.h"

#include <string.h>
#include <uv.h>

static void on_open(fw_vconn *vconn, int status, void *arg)
{
    watched *w = arg;
    ck_assert_ptr_eq(vconn, w->vconn);
    ck_assert_uint_eq(w->opens++ + w->closes, 0);
    w->status = status;
}

static void on_message(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg)
{
    watched *w = arg;
    ck_assert_ptr_eq(vconn, w->vconn);
    ck_assert_uint_eq(w->closes, 0);
    memcpy(w->last, data, len);
    w->last_len = len;
    w->messages++;
}

static void on_vconn_closed(fw_vconn *vconn, int reason, void *arg)
{
    watched *w = arg;
    ck_assert_ptr_eq(vconn, w->vconn);
    w->vconn = NULL;
    w->reason = reason;
    w->closes++;
}

const fw_vconn_events watch_events = {on_open, on_message, on_vconn_closed};

static void on_echo(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg)
{
    station *s = arg;
    s->echoed++;
    FWT_OK(fw_vconn_send(vconn, data, len));
}

static void on_echo_closed(fw_vconn *vconn, int reason, void *arg)
{
    station *s = arg;
    s->ended++;
    s->last_end = reason;
    if (s->last == vconn)
        s->last = NULL;
}

static const fw_vconn_events echo_events = {NULL, on_echo, on_echo_closed};

static void on_ready(fw_endpoint *endpoint, void *arg)
{
    ck_assert(fw_endpoint_is_ready(endpoint));
    ((station *)arg)->ready++;
}

static void on_lost(fw_endpoint *endpoint, int reason, uint32_t retry_ms, void *arg)
{
    station *s = arg;
    ck_assert(!fw_endpoint_is_ready(endpoint));
    s->lost++;
    s->reason = reason;
    s->retry_ms = retry_ms;
}

static void on_connect(fw_endpoint *endpoint, fw_vconn *vconn, void *arg)
{
    (void)endpoint;
    station *s = arg;
    s->connects++;
    s->last = vconn;
    fw_vconn_set_events(vconn, &echo_events, s);
}

static void on_drain(fw_endpoint *endpoint, void *arg)
{
    (void)endpoint;
    ((station *)arg)->drains++;
}

void set_flag(void *arg)
{
    ck_assert(!*(bool *)arg);
    *(bool *)arg = true;
}

fw_endpoint_options station_options(station *s, fw_endpoint_role role)
{
    fw_endpoint_options options;
    fw_endpoint_options_init(&options, role);
    options.server_id = SERVER_ID;
    options.auth_key = KEY;
    options.reconnect_base_ms = 20;
    options.reconnect_max_ms = 50;
    options.events = (fw_endpoint_events){on_ready, on_lost, on_connect, on_drain};
    options.arg = s;
    return options;
}

void station_end(station *s)
{
    fw_endpoint_close(s->endpoint, set_flag, &s->closed);
    fw_endpoint_close(s->endpoint, NULL, NULL);
    ck_assert(!s->closed);
    fwt_run_until(&s->closed, PEER_WAIT_MS);
}

void dial(station *from, uint32_t remote_id, watched *w)
{
    FWT_OK(fw_vconn_dial(from->endpoint, remote_id, 0, &watch_events, w, &w->vconn));
    ck_assert_uint_eq(w->opens, 0);
}
