/* The gateway against peers that behave badly. */
#include "stage.h"

#include <fairway/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char *const malformed[] = {
    "00000000", /* lengths that do not even cover the id */
    "03000000aabbcc",
    "ffffffff",           /* and far too long ones */
    "01000800",           /* 524289 */
    "0400000000000000",   /* a command without a type */
    "050000000000000006", /* unknown */
    "0500000000000000ff",
    "080000000000000000010203", /* Dial, Close: too short */
    "080000000000000004010203",
    "0d00000000000000010100000007000000", /* Accept, Connect, Refuse: only the gateway says that */
    "0d00000000000000020100000007000000",
    "09000000000000000307000000",
};

START_TEST(malformed_input_costs_the_offender_only)
{
    bool from_server = _i % 2;
    raw_peer client = {0}, server = {0}, other_client = {0}, other_server = {0};
    start();
    add_client(&client);
    add_client(&other_client);
    add_server(&server, SERVER_ID);
    add_server(&other_server, SERVER_ID + 1);
    join(&client, 1, &server, SERVER_ID, 1);
    join(&other_client, 2, &other_server, SERVER_ID + 1, 2);
    raw_peer *bad = from_server ? &server : &client, *victim = from_server ? &client : &server;
    raw_peer_send_hex(bad, malformed[_i / 2]);
    raw_peer_expect_closed(bad);
    raw_peer_expect_command(victim, FWI_GW_CLOSE, 1, 0);
    stats_wait(gateway, protocol_errors, 1);
    raw_peer_message(&other_client, 2, "still", 5);
    raw_peer_expect_message(&other_server, 2, "still", 5);
    raw_peer_expect_quiet(victim);
    raw_peer_end(&client);
    raw_peer_end(&server);
    raw_peer_end(&other_client);
    raw_peer_end(&other_server);
    stats_wait(gateway, vconns, 0);
}
END_TEST

START_TEST(half_a_frame_and_silence_end_with_the_idle_timeout)
{
    raw_peer client = {0}, server = {0}, half_server = {0};
    options.client_idle_timeout_ms = options.server_idle_timeout_ms = 150;
    options.handshake_timeout_ms = 150;
    start();
    raw_peer_dial(&half_server, fw_gateway_server_url(gateway));
    raw_peer_take(&half_server, FWI_GW_CHALLENGE_BYTES);
    raw_peer_send(&half_server, "half of an", 10);
    add_server(&server, SERVER_ID);
    raw_peer_send_hex(&server, "0900000000");
    add_client(&client);
    raw_peer_send_hex(&client, "09");
    for (int i = 0; i < 3; i++) {
        /* Bytes that do not make a frame are no sign of life. */
        fwt_run_for(30);
        raw_peer_send_hex(&client, "00");
    }
    raw_peer_expect_closed(&client);
    raw_peer_expect_closed(&server);
    raw_peer_expect_closed(&half_server);
    stats_wait(gateway, idle_closed, 2);
    stats_wait(gateway, handshake_timeouts, 1);
    raw_peer_end(&client);
    raw_peer_end(&server);
    raw_peer_end(&half_server);
}
END_TEST

START_TEST(a_dial_flood_is_answered_in_order)
{
    enum { DIALS = 20000 };
    raw_peer client = {0}, server = {0};
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    for (int i = 0; i < DIALS; i++)
        raw_peer_command(&client, FWI_GW_DIAL, 0, i % 2 ? SERVER_ID : 4242);
    for (uint32_t i = 0, opened = 0; i < DIALS; i++) {
        if (i % 2 && opened < 16)
            raw_peer_expect_command(&client, FWI_GW_ACCEPT, ++opened, SERVER_ID);
        else
            raw_peer_expect_command(&client, FWI_GW_REFUSE, 0, i % 2 ? SERVER_ID : 4242);
    }
    stats_wait(gateway, vconns, 16);
    raw_peer_end(&client);
    stats_wait(gateway, vconns, 0);
    raw_peer_end(&server);
}
END_TEST

START_TEST(a_flooder_that_reads_no_answers_is_closed)
{
    raw_peer client = {0};
    options.client_queue_bytes = 1; /* raised to one frame */
    options.max_packet_bytes = 64;
    start();
    add_client(&client);
    fw_conn_read_stop(client.conn);
    for (int i = 0; i < 2000 && !client.closed; i++) {
        for (int k = 0; k < 1000 && client.conn; k++)
            raw_peer_command(&client, FWI_GW_DIAL, 0, 4242);
        fwt_run_for(1);
    }
    stats_wait(gateway, slow_closed, 1);
    stats_wait(gateway, clients, 0);
    raw_peer_end(&client);
}
END_TEST

START_TEST(foreign_virtual_connections_are_out_of_reach)
{
    raw_peer client = {0}, server = {0}, thief = {0}, liar = {0};
    start();
    add_server(&server, SERVER_ID);
    add_server(&thief, SERVER_ID + 1);
    add_server(&liar, SERVER_ID + 2);
    add_client(&client);
    join(&client, 1, &server, SERVER_ID, 1);
    raw_peer_command(&thief, FWI_GW_CLOSE, 1, 0);
    stats_wait(gateway, foreign_closes, 1);
    raw_peer_message(&liar, 1, "forged", 6);
    raw_peer_expect_closed(&liar);
    raw_peer_message(&client, 1, "fine", 4);
    raw_peer_expect_message(&server, 1, "fine", 4);
    raw_peer_expect_quiet(&client);
    raw_peer_expect_quiet(&thief);
    raw_peer_end(&client);
    raw_peer_end(&server);
    raw_peer_end(&thief);
    raw_peer_end(&liar);
}
END_TEST

START_TEST(limits_hold_for_every_kind_of_connection)
{
    raw_peer clients[3] = {0}, silent[3] = {0}, servers[2] = {0};
    options.max_clients = 2;
    options.max_unauthenticated_servers = 2;
    options.max_servers = 1;
    start();
    add_client(&clients[0]);
    add_client(&clients[1]);
    raw_peer_dial(&clients[2], fw_gateway_client_url(gateway));
    raw_peer_expect_closed(&clients[2]);
    add_server(&servers[0], SERVER_ID);
    raw_peer_dial(&servers[1], fw_gateway_server_url(gateway));
    uint8_t answer[FWI_GW_ANSWER_BYTES] = {0};
    FWT_OK(fwi_gw_digest(raw_peer_take(&servers[1], FWI_GW_CHALLENGE_BYTES), KEY, answer));
    raw_peer_send(&servers[1], answer, sizeof answer);
    raw_peer_expect_closed(&servers[1]);
    for (int i = 0; i < 3; i++) {
        raw_peer_dial(&silent[i], fw_gateway_server_url(gateway));
        if (i < 2)
            raw_peer_take(&silent[i], FWI_GW_CHALLENGE_BYTES);
    }
    raw_peer_expect_closed(&silent[2]);
    stats_wait(gateway, refused_connections, 3);
    for (int i = 0; i < 3; i++) {
        raw_peer_end(&clients[i]);
        raw_peer_end(&silent[i]);
    }
    raw_peer_end(&servers[0]);
    raw_peer_end(&servers[1]);
    stats_wait(gateway, clients, 0);
    stats_wait(gateway, servers, 0);
    stats_wait(gateway, unauthenticated_servers, 0);
}
END_TEST

START_TEST(a_wrong_key_is_refused_and_counted)
{
    raw_peer server = {0};
    start();
    raw_peer_dial(&server, fw_gateway_server_url(gateway));
    uint8_t answer[FWI_GW_ANSWER_BYTES] = {0};
    FWT_OK(fwi_gw_digest(raw_peer_take(&server, FWI_GW_CHALLENGE_BYTES), "other", answer));
    raw_peer_send(&server, answer, sizeof answer);
    raw_peer_expect_closed(&server);
    stats_wait(gateway, auth_failures, 1);
    raw_peer_end(&server);
}
END_TEST

static size_t entries;
static char logged[3][100]; /* peer, side, reason of the last entry */

static void on_log(fw_log_level level, const char *component, const char *message,
                   const fw_log_field *fields, void *arg)
{
    (void)arg;
    ck_assert_int_eq(level, FW_LOG_WARN);
    ck_assert_str_eq(component, "gateway");
    ck_assert_str_eq(message, "connection closed");
    static const char *const keys[] = {"peer", "side", "reason"};
    for (; fields->key; fields++)
        for (int i = 0; i < 3; i++)
            if (!strcmp(fields->key, keys[i]))
                snprintf(logged[i], sizeof logged[i], "%s", fields->text);
    entries++;
}

START_TEST(who_is_thrown_out_is_logged_once_with_address_and_reason)
{
    raw_peer client = {0};
    fw_log_set(FW_LOG_WARN, on_log, NULL);
    start();
    add_client(&client);
    raw_peer_send_hex(&client, "0400000000000000");
    raw_peer_expect_closed(&client);
    stats_wait(gateway, clients, 0);
    ck_assert_uint_eq(entries, 1);
    ck_assert_int_eq(strncmp(logged[0], "tcp://127.0.0.1:", 16), 0);
    ck_assert_str_eq(logged[1], "client");
    ck_assert_str_eq(logged[2], fw_strerror(FW_EPROTOCOL));
    fw_log_set(FW_LOG_OFF, NULL, NULL);
    raw_peer_end(&client);
}
END_TEST

/* Unlike raw_peer_send, does not mind if the gateway has just thrown the peer out. */
static void try_send(raw_peer *peer, const void *data, size_t len)
{
    if (peer->conn)
        (void)!fw_conn_write(peer->conn, data, len);
}

static void try_command(raw_peer *peer, fwi_gw_type type, uint32_t conn_id, uint32_t remote_id)
{
    uint8_t frame[FWI_GW_MAX_COMMAND_BYTES];
    fwi_gw_command_encode(
        &(fwi_gw_command){.type = type, .conn_id = conn_id, .remote_id = remote_id}, frame);
    try_send(peer, frame, fwi_gw_command_bytes(type));
}

static void random_frame(raw_peer *peer)
{
    uint8_t noise[40];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rand();
    uint32_t id = (uint32_t)rand() % 40;
    switch (rand() % 40) {
    case 0:
        try_send(peer, noise, (size_t)(rand() % (int)sizeof noise));
        break;
    case 1:
        fw_conn_close(peer->conn, FW_ECANCELED);
        break;
    case 2 ... 9:
        try_command(peer, FWI_GW_CLOSE, id, 0);
        break;
    case 10 ... 24:
        try_command(peer, FWI_GW_DIAL, 0, id % 8);
        break;
    case 25:
        try_command(peer, (fwi_gw_type)(rand() % 6), id, id);
        break;
    default:
        fwi_gw_put_header(noise, id, sizeof noise - FWI_GW_HEADER_BYTES);
        try_send(peer, noise, sizeof noise);
    }
}

START_TEST(a_random_crowd_leaves_nothing_behind)
{
    enum { CROWD = 12, TURNS = 1500 };
    raw_peer crowd[CROWD] = {0};
    srand((unsigned)_i + 1);
    options.client_max_conn = 4;
    start();
    for (int turn = 0; turn < TURNS; turn++) {
        int i = rand() % CROWD;
        if (!crowd[i].conn) {
            raw_peer_end(&crowd[i]);
            if (i % 2)
                add_server(&crowd[i], (uint32_t)i % 4);
            else
                raw_peer_dial(&crowd[i], fw_gateway_client_url(gateway));
        }
        for (int k = rand() % 8; k > 0 && crowd[i].conn && !crowd[i].closed; k--)
            random_frame(&crowd[i]);
        if (rand() % 4 == 0)
            uv_run(fw_loop_uv(fwt_loop), UV_RUN_NOWAIT);
    }
    for (int i = 0; i < CROWD; i++)
        raw_peer_end(&crowd[i]);
    stats_wait(gateway, clients, 0);
    stats_wait(gateway, servers, 0);
    stats_wait(gateway, unauthenticated_servers, 0);
    stats_wait(gateway, vconns, 0);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("gateway, hostile peers");
    TCase *tcase = tcase_create("hostile");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, stage_setup, stage_teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, malformed_input_costs_the_offender_only, 0,
                        2 * sizeof malformed / sizeof *malformed);
    tcase_add_test(tcase, half_a_frame_and_silence_end_with_the_idle_timeout);
    tcase_add_test(tcase, a_dial_flood_is_answered_in_order);
    tcase_add_test(tcase, a_flooder_that_reads_no_answers_is_closed);
    tcase_add_test(tcase, foreign_virtual_connections_are_out_of_reach);
    tcase_add_test(tcase, limits_hold_for_every_kind_of_connection);
    tcase_add_test(tcase, a_wrong_key_is_refused_and_counted);
    tcase_add_test(tcase, who_is_thrown_out_is_logged_once_with_address_and_reason);
    tcase_add_loop_test(tcase, a_random_crowd_leaves_nothing_behind, 0, 8);
    return fwt_main(suite);
}
