/* The gateway in ordinary and in slow company. */
#include "stage.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

START_TEST(any_frame_keeps_a_peer_alive_and_being_sent_to_does_not)
{
    raw_peer client = {0}, server = {0};
    options.client_idle_timeout_ms = 200;
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    join(&client, 1, &server, SERVER_ID, 1);
    for (int i = 0; i < 10; i++) {
        raw_peer_message(&client, 1, "", 0);
        raw_peer_expect_message(&server, 1, "", 0);
        fwt_run_for(40);
    }
    uint64_t silent_since = uv_hrtime();
    while (!client.closed) {
        raw_peer_message(&server, 1, "x", 1);
        fwt_run_for(20);
        ck_assert_uint_lt(uv_hrtime() - silent_since, UINT64_C(3000000000));
    }
    ck_assert_uint_ge(uv_hrtime() - silent_since, UINT64_C(150000000));
    raw_peer_end(&client);
    raw_peer_end(&server);
}
END_TEST

START_TEST(an_idle_timeout_may_be_long_or_none)
{
    raw_peer client = {0}, server = {0};
    options.client_idle_timeout_ms = _i ? UINT32_MAX : 0;
    options.server_idle_timeout_ms = _i ? 30 * 60 * 1000 : 0;
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    fwt_run_for(300);
    join(&client, 1, &server, SERVER_ID, 1);
    raw_peer_end(&client);
    raw_peer_end(&server);
}
END_TEST

static void send_bytewise(raw_peer *peer, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        raw_peer_send(peer, bytes + i, 1);
        fwt_run_for(1);
    }
}

START_TEST(input_may_come_byte_by_byte)
{
    raw_peer client = {0}, server = {0};
    uint8_t bytes[64];
    start();
    raw_peer_dial(&server, fw_gateway_server_url(gateway));
    FWT_OK(fwi_gw_digest(raw_peer_take(&server, FWI_GW_CHALLENGE_BYTES), KEY, bytes));
    fwi_put_u32le(bytes + FWI_GW_DIGEST_BYTES, SERVER_ID);
    fwi_gw_command_encode(&(fwi_gw_command){.type = FWI_GW_PING}, bytes + FWI_GW_ANSWER_BYTES);
    send_bytewise(&server, bytes, FWI_GW_ANSWER_BYTES + 9);
    raw_peer_expect_command(&server, FWI_GW_PING, 0, 0);
    add_client(&client);
    fwi_gw_command_encode(&(fwi_gw_command){.type = FWI_GW_DIAL, .remote_id = SERVER_ID}, bytes);
    fwi_gw_put_header(bytes + 13, 1, 5);
    memcpy(bytes + 21, "hello", 5);
    send_bytewise(&client, bytes, 26);
    raw_peer_expect_command(&client, FWI_GW_ACCEPT, 1, SERVER_ID);
    raw_peer_expect_command(&server, FWI_GW_CONNECT, 1, 1);
    raw_peer_expect_message(&server, 1, "hello", 5);
    raw_peer_end(&client);
    raw_peer_end(&server);
}
END_TEST

START_TEST(a_slow_consumer_loses_one_virtual_connection)
{
    enum { FRAME = 65536, FRAMES = 400 };
    static uint8_t payload[FRAME];
    raw_peer slow = {0}, quick = {0}, server = {0};
    options.client_queue_bytes = 1024 * 1024;
    start();
    add_server(&server, SERVER_ID);
    add_client(&slow);
    add_client(&quick);
    join(&slow, 1, &server, SERVER_ID, 1);
    join(&slow, 1, &server, SERVER_ID, 2);
    join(&quick, 2, &server, SERVER_ID, 3);
    fw_conn_read_stop(slow.conn);
    int sent = 0;
    for (fw_gateway_stats stats = {0}; !stats.slow_vconns; sent++) {
        ck_assert_int_lt(sent, FRAMES);
        memset(payload, sent, FRAME);
        raw_peer_message(&server, 1, payload, FRAME);
        raw_peer_message(&server, 3, payload, FRAME);
        raw_peer_expect_message(&quick, 3, payload, FRAME);
        fw_gateway_stats_get(gateway, &stats);
    }
    raw_peer_expect_command(&server, FWI_GW_CLOSE, 1, 0);
    /* What was accepted before is delivered when it reads again, and the link still works. */
    fw_conn_read_start(slow.conn);
    for (int i = 0; i < sent - 1; i++) {
        memset(payload, i, FRAME);
        raw_peer_expect_message(&slow, 1, payload, FRAME);
    }
    raw_peer_expect_command(&slow, FWI_GW_CLOSE, 1, 0);
    raw_peer_message(&server, 2, "the other", 9);
    raw_peer_expect_message(&slow, 2, "the other", 9);
    raw_peer_message(&quick, 3, "third", 5);
    raw_peer_expect_message(&server, 3, "third", 5);
    stats_wait(gateway, slow_vconns, 1);
    stats_wait(gateway, slow_closed, 0);
    raw_peer_end(&slow);
    raw_peer_end(&quick);
    raw_peer_end(&server);
}
END_TEST

START_TEST(a_server_id_goes_back_to_who_still_has_it)
{
    raw_peer servers[3] = {0}, client = {0};
    options.client_max_conn = 0;
    start();
    add_client(&client);
    for (int i = 0; i < 3; i++)
        add_server(&servers[i], SERVER_ID);
    join(&client, 1, &servers[2], SERVER_ID, 1);
    raw_peer_end(&servers[1]); /* the one between leaves */
    stats_wait(gateway, servers, 2);
    join(&client, 1, &servers[2], SERVER_ID, 2);
    raw_peer_end(&servers[2]);
    raw_peer_expect_command(&client, FWI_GW_CLOSE, 1, 0);
    raw_peer_expect_command(&client, FWI_GW_CLOSE, 2, 0);
    join(&client, 1, &servers[0], SERVER_ID, 3);
    add_server(&servers[1], SERVER_ID);
    raw_peer_end(&servers[0]); /* the older leaves: nothing changes */
    raw_peer_expect_command(&client, FWI_GW_CLOSE, 3, 0);
    join(&client, 1, &servers[1], SERVER_ID, 4);
    raw_peer_end(&servers[1]);
    raw_peer_expect_command(&client, FWI_GW_CLOSE, 4, 0);
    raw_peer_command(&client, FWI_GW_DIAL, 0, SERVER_ID);
    raw_peer_expect_command(&client, FWI_GW_REFUSE, 0, SERVER_ID);
    raw_peer_end(&client);
}
END_TEST

START_TEST(a_dial_to_who_is_leaving_costs_nothing)
{
    raw_peer client = {0}, server = {0}, other = {0};
    options.client_max_conn = 1;
    start();
    add_server(&other, SERVER_ID + 1);
    add_client(&client);
    for (int i = 0; i < 20; i++) {
        /* Thrown out and dialled in the same turn, in either order. */
        server = (raw_peer){0};
        add_server(&server, SERVER_ID);
        raw_peer_send_hex(&server, "00000000");
        raw_peer_command(&client, FWI_GW_DIAL, 0, SERVER_ID);
        fwt_run_until(&server.closed, PEER_WAIT_MS);
        raw_peer_end(&server);
        stats_wait(gateway, servers, 1);
        stats_wait(gateway, vconns, 0);
    }
    /* The one virtual connection that it may have can still be had. */
    fw_gateway_stats stats;
    fw_gateway_stats_get(gateway, &stats);
    raw_peer_command(&client, FWI_GW_DIAL, 0, SERVER_ID + 1);
    stats_wait(gateway, vconns_total, stats.vconns_total + 1);
    stats_wait(gateway, vconns, 1);
    raw_peer_end(&client);
    raw_peer_end(&other);
}
END_TEST

START_TEST(accept_is_never_overtaken_by_the_clients_reply)
{
    raw_peer client = {0}, server = {0};
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    for (uint32_t id = 1; id <= 200; id++) {
        raw_peer_command(&server, FWI_GW_DIAL, 0, 1);
        raw_peer_expect_command(&client, FWI_GW_CONNECT, id, SERVER_ID);
        raw_peer_message(&client, id, "quick", 5);
        raw_peer_expect_command(&server, FWI_GW_ACCEPT, id, 1);
        raw_peer_expect_message(&server, id, "quick", 5);
    }
    raw_peer_end(&client);
    raw_peer_end(&server);
}
END_TEST

START_TEST(closing_takes_everybody_along)
{
    raw_peer client = {0}, server = {0}, silent = {0};
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    join(&client, 1, &server, SERVER_ID, 1);
    raw_peer_dial(&silent, fw_gateway_server_url(gateway));
    raw_peer_take(&silent, FWI_GW_CHALLENGE_BYTES);
    fw_gateway_close(gateway, on_gateway_closed, NULL);
    fw_gateway_close(gateway, NULL, NULL);
    ck_assert(!gateway_closed);
    fwt_run_until(&gateway_closed, PEER_WAIT_MS);
    gateway = NULL;
    fwt_run_until(&client.closed, PEER_WAIT_MS);
    fwt_run_until(&server.closed, PEER_WAIT_MS);
    raw_peer_expect_closed(&silent);
    raw_peer_end(&client);
    raw_peer_end(&server);
    raw_peer_end(&silent);
}
END_TEST

START_TEST(what_cannot_listen_leaves_nothing_behind)
{
    fw_gateway *second = NULL;
    start();
    options.client_url = fw_gateway_client_url(gateway);
    FWT_ERR(fw_gateway_new(fwt_loop, &options, &second), UV_EADDRINUSE);
    options.client_url = NULL;
    FWT_ERR(fw_gateway_new(fwt_loop, &options, &second), FW_EOPTION);
    options.client_url = "nonsense://x";
    FWT_ERR(fw_gateway_new(fwt_loop, &options, &second), FW_ESCHEME);
    options.max_packet_bytes = 3;
    FWT_ERR(fw_gateway_new(fwt_loop, &options, &second), FW_EOPTION);
    fwt_run_for(20);
}
END_TEST

START_TEST(unix_sockets_serve_as_well)
{
    char urls[2][300];
    raw_peer client = {0}, server = {0};
    const char *dir = fwt_tmpdir();
    snprintf(urls[0], sizeof urls[0], "unix:%s/c", dir);
    snprintf(urls[1], sizeof urls[1], "unix:%s/s", dir);
    options.client_url = urls[0];
    options.server_url = urls[1];
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    join(&client, 1, &server, SERVER_ID, 1);
    raw_peer_message(&client, 1, "hello", 5);
    raw_peer_expect_message(&server, 1, "hello", 5);
    raw_peer_end(&client);
    raw_peer_end(&server);
}
END_TEST

START_TEST(what_came_before_a_half_close_is_delivered)
{
    raw_peer server = {0};
    start();
    add_server(&server, SERVER_ID);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)atoi(strrchr(fw_gateway_client_url(gateway), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    uint8_t bytes[13 + 12];
    fwi_gw_command_encode(&(fwi_gw_command){.type = FWI_GW_DIAL, .remote_id = SERVER_ID}, bytes);
    fwi_gw_put_header(bytes + 13, 1, 4);
    memcpy(bytes + 21, "last", 4);
    ck_assert_int_eq(write(fd, bytes, sizeof bytes), sizeof bytes);
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    raw_peer_expect_command(&server, FWI_GW_CONNECT, 1, 1);
    raw_peer_expect_message(&server, 1, "last", 4);
    raw_peer_expect_command(&server, FWI_GW_CLOSE, 1, 0);
    stats_wait(gateway, clients, 0);
    close(fd);
    raw_peer_end(&server);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("gateway engine");
    TCase *tcase = tcase_create("engine");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, stage_setup, stage_teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, any_frame_keeps_a_peer_alive_and_being_sent_to_does_not);
    tcase_add_loop_test(tcase, an_idle_timeout_may_be_long_or_none, 0, 2);
    tcase_add_test(tcase, input_may_come_byte_by_byte);
    tcase_add_test(tcase, a_slow_consumer_loses_one_virtual_connection);
    tcase_add_test(tcase, a_server_id_goes_back_to_who_still_has_it);
    tcase_add_test(tcase, a_dial_to_who_is_leaving_costs_nothing);
    tcase_add_test(tcase, accept_is_never_overtaken_by_the_clients_reply);
    tcase_add_test(tcase, closing_takes_everybody_along);
    tcase_add_test(tcase, what_cannot_listen_leaves_nothing_behind);
    tcase_add_test(tcase, unix_sockets_serve_as_well);
    tcase_add_test(tcase, what_came_before_a_half_close_is_delivered);
    return fwt_main(suite);
}
