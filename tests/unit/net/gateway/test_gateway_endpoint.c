/* The endpoint library with our gateway. */
#include "station.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

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

/* Which keys gateway and server have, and whether the server gets in. */
static const struct {
    const char *gateway_auth, *gateway_hmac, *auth, *hmac;
    bool is_let_in;
} keys[] = {
    {NULL, "strong", NULL, "strong", true},   {NULL, "strong", NULL, "wrong", false},
    {NULL, "strong", "strong", NULL, false},  {NULL, "strong", NULL, NULL, false},
    {"weak", "strong", NULL, "strong", true}, {"weak", "strong", "weak", NULL, true},
    {"weak", "strong", NULL, "weak", false},  {"weak", NULL, NULL, "weak", false},
    {NULL, NULL, NULL, NULL, true},           {NULL, NULL, NULL, "strong", false},
};

START_TEST(the_stronger_answer_has_a_key_of_its_own)
{
    static station one_server;
    fw_gateway *own;
    fw_gateway_options gateway_options;
    fw_gateway_options_init(&gateway_options);
    gateway_options.client_url = gateway_options.server_url = "tcp://127.0.0.1:0";
    gateway_options.auth_key = keys[_i].gateway_auth;
    gateway_options.hmac_key = keys[_i].gateway_hmac;
    FWT_OK(fw_gateway_new(fwt_loop, &gateway_options, &own));
    fw_endpoint_options options = station_options(&one_server, FW_ENDPOINT_SERVER);
    options.auth_key = keys[_i].auth;
    options.hmac_key = keys[_i].hmac;
    options.reconnect = false;
    FWT_OK(fw_endpoint_dial(fwt_loop, fw_gateway_server_url(own), &options, &one_server.endpoint));
    fwt_run_count(keys[_i].is_let_in ? &one_server.ready : &one_server.lost, 1, PEER_WAIT_MS);
    if (!keys[_i].is_let_in)
        FWT_ERR(one_server.reason, FW_EAUTH);
    fw_gateway_close(own, NULL, NULL);
    station_end(&one_server);
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
    tcase_add_loop_test(tcase, the_stronger_answer_has_a_key_of_its_own, 0,
                        (int)(sizeof keys / sizeof *keys));
    tcase_add_test(tcase, bad_options_are_refused);
    tcase_add_loop_test(tcase, an_endpoint_may_be_closed_in_any_event, 0, PLACES);
    return fwt_main(suite);
}
