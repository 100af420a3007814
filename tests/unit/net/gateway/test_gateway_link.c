/* The endpoint library against a scripted gateway: what the link does when answers are late,
 * missing or wrong. */
#include "station.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static station client;
static watched one, two;

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
    Suite *suite = suite_create("gateway link");
    TCase *tcase = tcase_create("with a scripted gateway");
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
