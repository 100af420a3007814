/* The endpoint library, against our gateway and against a scripted one. */
#include "raw_peer.h"

#include <fairway/vconn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SERVER_ID 7
#define KEY       "secret"

/* ---- what the tests keep of the events ---- */

typedef struct watched {
    fw_vconn *vconn; /* NULL: gone */
    size_t opens, closes, messages;
    int status, reason;
    uint8_t last[600000];
    size_t last_len;
} watched;

typedef struct station {
    fw_endpoint *endpoint;
    bool closed;
    size_t ready, lost, connects, drains, echoed, ended;
    int reason;
    uint32_t retry_ms;
    fw_vconn *last; /* that came in */
    int last_end;   /* reason of the last of those that ended */
} station;

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

static const fw_vconn_events watch_events = {on_open, on_message, on_vconn_closed};

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

static void set_flag(void *arg)
{
    ck_assert(!*(bool *)arg);
    *(bool *)arg = true;
}

static fw_endpoint_options station_options(station *s, fw_endpoint_role role)
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

static void station_end(station *s)
{
    fw_endpoint_close(s->endpoint, set_flag, &s->closed);
    fw_endpoint_close(s->endpoint, NULL, NULL);
    ck_assert(!s->closed);
    fwt_run_until(&s->closed, PEER_WAIT_MS);
}

/* ---- our gateway, a server that echoes, and a client ---- */

static fw_gateway *gateway;
static bool gateway_closed;
static char client_url[100], server_url[100];
static station server, client;

static void start_gateway(uint32_t client_max_conn)
{
    fw_gateway_options options;
    fw_gateway_options_init(&options);
    options.client_url = *client_url ? client_url : "tcp://127.0.0.1:0";
    options.server_url = *server_url ? server_url : "tcp://127.0.0.1:0";
    options.auth_key = KEY;
    options.client_max_conn = client_max_conn;
    gateway_closed = false;
    FWT_OK(fw_gateway_new(fwt_loop, &options, &gateway));
    snprintf(client_url, sizeof client_url, "%s", fw_gateway_client_url(gateway));
    snprintf(server_url, sizeof server_url, "%s", fw_gateway_server_url(gateway));
}

static void stop_gateway(void)
{
    fw_gateway_close(gateway, set_flag, &gateway_closed);
    fwt_run_until(&gateway_closed, PEER_WAIT_MS);
    gateway = NULL;
}

static void setup(void)
{
    fwt_loop_setup();
    start_gateway(0);
    fw_endpoint_options options = station_options(&server, FW_ENDPOINT_SERVER);
    FWT_OK(fw_endpoint_dial(fwt_loop, server_url, &options, &server.endpoint));
    options = station_options(&client, FW_ENDPOINT_CLIENT);
    options.reconnect = true;
    FWT_OK(fw_endpoint_dial(fwt_loop, client_url, &options, &client.endpoint));
    fwt_run_count(&server.ready, 1, PEER_WAIT_MS);
    fwt_run_count(&client.ready, 1, PEER_WAIT_MS);
}

static void teardown(void)
{
    if (!client.closed)
        station_end(&client);
    if (!server.closed)
        station_end(&server);
    if (gateway)
        stop_gateway();
    fwt_loop_teardown();
}

static void dial(station *from, uint32_t remote_id, watched *w)
{
    FWT_OK(fw_vconn_dial(from->endpoint, remote_id, 0, &watch_events, w, &w->vconn));
    ck_assert_uint_eq(w->opens, 0);
}

static void dial_open(watched *w)
{
    dial(&client, SERVER_ID, w);
    fwt_run_count(&w->opens, 1, PEER_WAIT_MS);
    FWT_OK(w->status);
}

static void expect_echo(watched *w, const void *data, size_t len)
{
    FWT_OK(fw_vconn_send(w->vconn, data, len));
    fwt_run_count(&w->messages, w->messages + 1, PEER_WAIT_MS);
    fwt_assert_bytes(w->last, w->last_len, data, len, "echo");
}

static watched one, two;

START_TEST(messages_go_there_and_back_until_the_dialler_closes)
{
    dial_open(&one);
    ck_assert_uint_eq(fw_vconn_remote_id(one.vconn), SERVER_ID);
    ck_assert_ptr_eq(fw_vconn_endpoint(one.vconn), client.endpoint);
    expect_echo(&one, "hello", 5);
    expect_echo(&one, "", 0);
    fw_vconn_close(one.vconn, FW_EAUTH);
    fw_vconn_close(one.vconn, FW_OK);
    FWT_ERR(fw_vconn_send(one.vconn, "x", 1), FW_ECLOSED);
    ck_assert_uint_eq(one.closes, 0);
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.reason, FW_EAUTH);
    fwt_run_count(&server.ended, 1, PEER_WAIT_MS);
    FWT_ERR(server.last_end, UV_EOF);
    ck_assert_uint_eq(fw_endpoint_vconn_count(client.endpoint), 0);
    ck_assert_uint_eq(fw_endpoint_vconn_count(server.endpoint), 0);
}
END_TEST

START_TEST(the_dialled_side_may_close)
{
    dial_open(&one);
    fwt_run_count(&server.connects, 1, PEER_WAIT_MS);
    FWT_OK(fw_vconn_send(server.last, "last words", 10));
    fw_vconn_close(server.last, FW_OK);
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.reason, UV_EOF);
    fwt_assert_bytes(one.last, one.last_len, "last words", 10, "message");
    FWT_OK(server.last_end);
}
END_TEST

START_TEST(an_unknown_id_is_refused)
{
    dial(&client, 4242, &one);
    FWT_ERR(fw_vconn_send(one.vconn, "x", 1), UV_ENOTCONN);
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    ck_assert_uint_eq(one.opens, 1);
    FWT_ERR(one.status, FW_EREFUSED);
    FWT_ERR(one.reason, FW_EREFUSED);
}
END_TEST

START_TEST(a_server_dials_a_client)
{
    dial(&server, 1, &one); /* the gateway's first client */
    fwt_run_count(&one.opens, 1, PEER_WAIT_MS);
    FWT_OK(one.status);
    ck_assert_uint_eq(client.connects, 1);
    ck_assert_uint_eq(fw_vconn_remote_id(client.last), SERVER_ID);
    expect_echo(&one, "to the client", 13);
}
END_TEST

START_TEST(many_pipelined_dials_end_right)
{
    enum { COUNT = 400 };
    watched **many = calloc(COUNT, sizeof *many);
    for (int i = 0; i < COUNT; i++) {
        many[i] = calloc(1, sizeof **many);
        dial(&client, i % 3 ? SERVER_ID : (uint32_t)(1000 + i % 5), many[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        fwt_run_count(&many[i]->opens, 1, PEER_WAIT_MS);
        FWT_ERR(many[i]->status, i % 3 ? FW_OK : FW_EREFUSED);
        if (i % 3 == 0)
            continue;
        char text[20];
        int len = snprintf(text, sizeof text, "number %d", i);
        expect_echo(many[i], text, (size_t)len);
    }
    for (int i = 0; i < COUNT; i++)
        if (many[i]->vconn && i % 2)
            fw_vconn_close(many[i]->vconn, FW_OK);
    station_end(&client);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(many[i]->closes, 1);
        free(many[i]);
    }
    free(many);
    fwt_run_count(&server.ended, server.connects, PEER_WAIT_MS);
}
END_TEST

START_TEST(messages_up_to_the_limit_pass)
{
    enum { MOST = 524288 - 4 };
    uint8_t *big = malloc(MOST + 1);
    for (int i = 0; i <= MOST; i++)
        big[i] = (uint8_t)(i * 31);
    dial_open(&one);
    FWT_ERR(fw_vconn_send(one.vconn, big, MOST + 1), FW_EFRAMESIZE);
    expect_echo(&one, big, MOST);
    free(big);
}
END_TEST

START_TEST(when_the_server_goes_its_virtual_connections_end)
{
    dial_open(&one);
    dial_open(&two);
    station_end(&server);
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    fwt_run_count(&two.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.reason, UV_EOF);
    ck_assert_uint_eq(server.ended, 2);
    FWT_ERR(server.last_end, FW_ECANCELED);
    ck_assert_uint_eq(client.lost, 0);
}
END_TEST

START_TEST(both_come_back_after_the_gateway_did)
{
    dial_open(&one);
    stop_gateway();
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.reason, FW_ELOST);
    fwt_run_count(&client.lost, 1, PEER_WAIT_MS);
    fwt_run_count(&server.lost, 2, PEER_WAIT_MS); /* and an attempt in vain */
    ck_assert_uint_le(server.retry_ms, 100);
    dial(&client, SERVER_ID, &two); /* waits for the link */
    size_t ready = server.ready;
    start_gateway(0);
    fwt_run_count(&server.ready, ready + 1, PEER_WAIT_MS);
    fwt_run_count(&client.ready, 2, PEER_WAIT_MS);
    fwt_run_count(&two.opens, 1, PEER_WAIT_MS);
    if (two.status == FW_EREFUSED) { /* the client was quicker than the server */
        fwt_run_count(&two.closes, 1, PEER_WAIT_MS);
        memset(&two, 0, sizeof two);
        dial_open(&two);
    }
    expect_echo(&two, "again", 5);
}
END_TEST

START_TEST(a_dial_that_waits_for_the_link_has_its_deadline)
{
    stop_gateway();
    fwt_run_count(&client.lost, 1, PEER_WAIT_MS);
    FWT_OK(fw_vconn_dial(client.endpoint, SERVER_ID, 50, &watch_events, &one, &one.vconn));
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.status, FW_EDEADLINE);
}
END_TEST

START_TEST(a_wrong_key_is_told)
{
    static station stranger;
    fw_endpoint_options options = station_options(&stranger, FW_ENDPOINT_SERVER);
    options.auth_key = "wrong";
    options.reconnect = _i;
    FWT_OK(fw_endpoint_dial(fwt_loop, server_url, &options, &stranger.endpoint));
    fwt_run_count(&stranger.lost, _i ? 3 : 1, PEER_WAIT_MS);
    FWT_ERR(stranger.reason, FW_EAUTH);
    ck_assert_uint_eq(stranger.ready, 0);
    ck_assert(_i ? stranger.retry_ms < UINT32_MAX : stranger.retry_ms == UINT32_MAX);
    if (!_i)
        FWT_ERR(fw_vconn_dial(stranger.endpoint, 1, 0, &watch_events, &one, &one.vconn),
                FW_ECLOSED);
    station_end(&stranger);
}
END_TEST

START_TEST(bad_options_are_refused)
{
    fw_endpoint *endpoint;
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    FWT_ERR(fw_endpoint_dial(fwt_loop, "nonsense://x", &options, &endpoint), FW_ESCHEME);
    options.max_packet_bytes = 3;
    FWT_ERR(fw_endpoint_dial(fwt_loop, client_url, &options, &endpoint), FW_EOPTION);
    options.role = (fw_endpoint_role)5;
    FWT_ERR(fw_endpoint_dial(fwt_loop, client_url, &options, &endpoint), FW_EOPTION);
}
END_TEST

/* ---- closing the endpoint inside each of its events ---- */

enum { IN_READY, IN_LOST, IN_CONNECT, IN_OPEN, IN_MESSAGE, IN_CLOSED, PLACES };

static struct suicide {
    int place;
    fw_endpoint *endpoint;
    bool closed, dialled;
} suicide;

static void die_at(int place)
{
    if (suicide.place == place)
        fw_endpoint_close(suicide.endpoint, set_flag, &suicide.closed);
}

static void dying_open(fw_vconn *vconn, int status, void *arg)
{
    (void)arg;
    if (!status)
        FWT_OK(fw_vconn_send(vconn, "x", 1));
    die_at(IN_OPEN);
}

static void dying_message(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    (void)arg;
    die_at(IN_MESSAGE);
    fw_vconn_close(vconn, FW_OK);
}

static void dying_closed(fw_vconn *vconn, int reason, void *arg)
{
    (void)vconn;
    (void)reason;
    (void)arg;
    die_at(IN_CLOSED);
}

static const fw_vconn_events dying_vconn = {dying_open, dying_message, dying_closed};

static void dying_ready(fw_endpoint *endpoint, void *arg)
{
    (void)arg;
    die_at(IN_READY);
    fw_vconn *vconn;
    if (suicide.place == IN_CONNECT)
        FWT_OK(fw_vconn_dial(client.endpoint, 99, 0, &watch_events, &one, &one.vconn));
    else if (suicide.place != IN_READY)
        FWT_OK(fw_vconn_dial(endpoint, 1, 0, &dying_vconn, NULL, &vconn));
    if (suicide.place == IN_LOST)
        fw_gateway_close(gateway, set_flag, &gateway_closed);
}

static void dying_lost(fw_endpoint *endpoint, int reason, uint32_t retry_ms, void *arg)
{
    (void)endpoint;
    (void)reason;
    (void)retry_ms;
    (void)arg;
    die_at(IN_LOST);
}

static void dying_connect(fw_endpoint *endpoint, fw_vconn *vconn, void *arg)
{
    (void)endpoint;
    (void)arg;
    fw_vconn_set_events(vconn, &dying_vconn, NULL);
    die_at(IN_CONNECT);
}

START_TEST(an_endpoint_may_be_closed_in_any_event)
{
    suicide.place = _i;
    fw_endpoint_options options = station_options(NULL, FW_ENDPOINT_SERVER);
    options.server_id = 99;
    options.events = (fw_endpoint_events){dying_ready, dying_lost, dying_connect, NULL};
    FWT_OK(fw_endpoint_dial(fwt_loop, server_url, &options, &suicide.endpoint));
    fwt_run_until(&suicide.closed, PEER_WAIT_MS);
    if (_i == IN_LOST) {
        fwt_run_until(&gateway_closed, PEER_WAIT_MS);
        gateway = NULL;
    }
}
END_TEST

/* ---- a gateway that does what the test says ---- */

static fw_listener *listener;
static raw_peer scripted;
static size_t accepted, listener_closed;

static void on_accept(fw_listener *from, fw_conn *conn, void *arg)
{
    (void)from;
    (void)arg;
    if (accepted++ == 0)
        raw_peer_take_over(&scripted, conn);
    else
        fw_conn_close(conn, FW_ECANCELED);
}

static void on_listener_closed(fw_listener *from, void *arg)
{
    (void)from;
    (void)arg;
    listener_closed++;
}

static void setup_scripted(void)
{
    fwt_loop_setup();
    fw_listener_options options = {.on_accept = on_accept, .on_closed = on_listener_closed};
    FWT_OK(fw_listener_new(fwt_loop, "tcp://127.0.0.1:0", &options, &listener));
}

static void teardown_scripted(void)
{
    if (!client.closed)
        station_end(&client);
    if (accepted)
        raw_peer_end(&scripted);
    fw_listener_close(listener);
    fwt_run_count(&listener_closed, 1, PEER_WAIT_MS);
    fwt_loop_teardown();
}

/* A client endpoint on the scripted gateway, with its first ping answered. */
static void attach(fw_endpoint_options *options)
{
    FWT_OK(fw_endpoint_dial(fwt_loop, fw_listener_url(listener), options, &client.endpoint));
    fwt_run_count(&accepted, 1, PEER_WAIT_MS);
    raw_peer_expect_command(&scripted, FWI_GW_PING, 0, 0);
    raw_peer_command(&scripted, FWI_GW_PING, 0, 0);
    fwt_run_count(&client.ready, 1, PEER_WAIT_MS);
}

START_TEST(late_answers_do_not_go_to_the_wrong_dial)
{
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    attach(&options);
    FWT_OK(fw_vconn_dial(client.endpoint, 5, 30, &watch_events, &one, &one.vconn));
    raw_peer_expect_command(&scripted, FWI_GW_DIAL, 0, 5);
    if (_i)
        fw_vconn_close(one.vconn, FW_OK); /* given up by us, or by the clock */
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.status, _i ? FW_ECANCELED : FW_EDEADLINE);
    dial(&client, 5, &two);
    raw_peer_expect_command(&scripted, FWI_GW_DIAL, 0, 5);
    raw_peer_command(&scripted, FWI_GW_ACCEPT, 11, 5);
    raw_peer_expect_command(&scripted, FWI_GW_CLOSE, 11, 0);
    ck_assert_uint_eq(two.opens, 0);
    raw_peer_command(&scripted, FWI_GW_ACCEPT, 12, 5);
    fwt_run_count(&two.opens, 1, PEER_WAIT_MS);
    FWT_OK(two.status);
    raw_peer_message(&scripted, 11, "stale", 5); /* was under way */
    raw_peer_message(&scripted, 12, "fresh", 5);
    fwt_run_count(&two.messages, 1, PEER_WAIT_MS);
    fwt_assert_bytes(two.last, two.last_len, "fresh", 5, "message");
}
END_TEST

START_TEST(answers_are_matched_for_each_id_apart)
{
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    attach(&options);
    dial(&client, 5, &one);
    dial(&client, 6, &two);
    raw_peer_expect_command(&scripted, FWI_GW_DIAL, 0, 5);
    raw_peer_expect_command(&scripted, FWI_GW_DIAL, 0, 6);
    raw_peer_command(&scripted, FWI_GW_REFUSE, 0, 6);
    uint8_t accept[FWI_GW_MAX_COMMAND_BYTES];
    fwi_gw_command_encode(&(fwi_gw_command){FWI_GW_ACCEPT, 3, 5}, accept);
    for (size_t i = 0; i < sizeof accept; i++) { /* byte by byte */
        raw_peer_send(&scripted, accept + i, 1);
        fwt_run_for(1);
    }
    fwt_run_count(&one.opens, 1, PEER_WAIT_MS);
    FWT_OK(one.status);
    fwt_run_count(&two.closes, 1, PEER_WAIT_MS);
    FWT_ERR(two.status, FW_EREFUSED);
}
END_TEST

START_TEST(a_silent_gateway_is_given_up)
{
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    options.ping_interval_ms = 50;
    options.ping_timeout_ms = 60;
    if (_i) {
        attach(&options); /* the first ping is answered, later ones are not */
        raw_peer_expect_command(&scripted, FWI_GW_PING, 0, 0);
    } else {
        FWT_OK(fw_endpoint_dial(fwt_loop, fw_listener_url(listener), &options, &client.endpoint));
    }
    fwt_run_count(&client.lost, 1, PEER_WAIT_MS);
    FWT_ERR(client.reason, FW_EDEADLINE);
    ck_assert_uint_eq(client.ready, (size_t)_i);
    ck_assert(client.retry_ms == UINT32_MAX);
}
END_TEST

START_TEST(pings_keep_coming_while_they_are_answered)
{
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    options.ping_interval_ms = 20;
    attach(&options);
    for (int i = 0; i < 5; i++) {
        raw_peer_expect_command(&scripted, FWI_GW_PING, 0, 0);
        raw_peer_command(&scripted, FWI_GW_PING, 0, 0);
    }
    ck_assert_uint_eq(client.ready, 1);
    ck_assert_uint_eq(client.lost, 0);
}
END_TEST

START_TEST(a_server_without_a_challenge_gives_up)
{
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_SERVER);
    options.reconnect = false;
    options.dial_timeout_ms = 60;
    FWT_OK(fw_endpoint_dial(fwt_loop, fw_listener_url(listener), &options, &client.endpoint));
    fwt_run_count(&client.lost, 1, PEER_WAIT_MS);
    FWT_ERR(client.reason, FW_EDEADLINE);
}
END_TEST

static const char *const nonsense[] = {
    "03000000000000",                     /* too short for an id */
    "ffffffff",                           /* too long */
    "0400000000000000",                   /* no type */
    "0500000000000000ff",                 /* unknown type */
    "09000000000000000005000000",         /* Dial */
    "0d00000000000000010300000005000000", /* Accept, Refuse of what was never dialled */
    "09000000000000000305000000",
    "0d00000000000000020000000005000000", /* Connect with id 0 */
};

START_TEST(a_gateway_that_talks_nonsense_is_left)
{
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    attach(&options);
    raw_peer_send_hex(&scripted, nonsense[_i]);
    fwt_run_count(&client.lost, 1, PEER_WAIT_MS);
    ck_assert(client.reason == FW_EPROTOCOL || client.reason == FW_EFRAMESIZE);
}
END_TEST

START_TEST(a_full_queue_is_told_and_so_is_its_end)
{
    static uint8_t payload[65536];
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    options.max_queue_bytes = 256 * 1024;
    attach(&options);
    dial(&client, 5, &one);
    raw_peer_expect_command(&scripted, FWI_GW_DIAL, 0, 5);
    raw_peer_command(&scripted, FWI_GW_ACCEPT, 1, 5);
    fwt_run_count(&one.opens, 1, PEER_WAIT_MS);
    fw_conn_read_stop(scripted.conn);
    size_t sent = 0;
    int err;
    while (!(err = fw_vconn_send(one.vconn, payload, sizeof payload))) {
        ck_assert_uint_lt(++sent, 1000);
        fwt_run_for(1);
    }
    FWT_ERR(err, FW_ELIMIT);
    fw_conn_read_start(scripted.conn);
    fwt_run_count(&client.drains, 1, PEER_WAIT_MS);
    FWT_OK(fw_vconn_send(one.vconn, "more", 4));
    raw_peer_take(&scripted, sent * (sizeof payload + FWI_GW_HEADER_BYTES));
    raw_peer_expect_message(&scripted, 1, "more", 4);
}
END_TEST

START_TEST(nobody_home_is_told)
{
    char url[100];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", fwt_free_port());
    fw_endpoint_options options = station_options(&client, FW_ENDPOINT_CLIENT);
    FWT_OK(fw_endpoint_dial(fwt_loop, url, &options, &client.endpoint));
    dial(&client, 5, &one);
    fwt_run_count(&one.closes, 1, PEER_WAIT_MS);
    FWT_ERR(one.status, FW_ELOST);
    FWT_ERR(client.reason, UV_ECONNREFUSED);
    ck_assert_uint_eq(client.lost, 1);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("gateway endpoint");
    TCase *tcase = tcase_create("with a gateway");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, messages_go_there_and_back_until_the_dialler_closes);
    tcase_add_test(tcase, the_dialled_side_may_close);
    tcase_add_test(tcase, an_unknown_id_is_refused);
    tcase_add_test(tcase, a_server_dials_a_client);
    tcase_add_test(tcase, many_pipelined_dials_end_right);
    tcase_add_test(tcase, messages_up_to_the_limit_pass);
    tcase_add_test(tcase, when_the_server_goes_its_virtual_connections_end);
    tcase_add_test(tcase, both_come_back_after_the_gateway_did);
    tcase_add_test(tcase, a_dial_that_waits_for_the_link_has_its_deadline);
    tcase_add_loop_test(tcase, a_wrong_key_is_told, 0, 2);
    tcase_add_test(tcase, bad_options_are_refused);
    tcase_add_loop_test(tcase, an_endpoint_may_be_closed_in_any_event, 0, PLACES);

    tcase = tcase_create("with a scripted gateway");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup_scripted, teardown_scripted);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, late_answers_do_not_go_to_the_wrong_dial, 0, 2);
    tcase_add_test(tcase, answers_are_matched_for_each_id_apart);
    tcase_add_loop_test(tcase, a_silent_gateway_is_given_up, 0, 2);
    tcase_add_test(tcase, pings_keep_coming_while_they_are_answered);
    tcase_add_test(tcase, a_server_without_a_challenge_gives_up);
    tcase_add_loop_test(tcase, a_gateway_that_talks_nonsense_is_left, 0,
                        sizeof nonsense / sizeof *nonsense);
    tcase_add_test(tcase, a_full_queue_is_told_and_so_is_its_end);
    tcase_add_test(tcase, nobody_home_is_told);
    return fwt_main(suite);
}
