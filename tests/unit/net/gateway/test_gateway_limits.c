/* The gateway's doors, its limits beyond the original's, draining, and what it tells of itself. */
#include "stage.h"

#include "gateway/sources.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

START_TEST(addresses_are_counted_apart)
{
    static const struct {
        const char *url;
        bool has_address;
    } cases[] = {
        {"tcp://10.0.0.1:4000", true},
        {"wss://10.0.0.2:4000", true},
        {"tcp://[2001:db8:0:1::1]:80", true},
        {"tcp://[2001:db8:0:2::1]:80", true},
        {"unix:", false},
        {"mem:x", false},
        {"", false},
        {"tcp://nonsense", false},
    };
    fwi_gw_sources sources;
    bool counted;
    fwi_gw_sources_init(&sources);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 3; k++) {
            bool over = cases[i].has_address && k == 2;
            ck_assert_int_eq(fwi_gw_sources_add(&sources, cases[i].url, 2, &counted),
                             over ? FW_ELIMIT : FW_OK);
            ck_assert_int_eq(counted, cases[i].has_address && !over);
        }
    /* The same address: another port, another way to write it, another one of the same /64. */
    static const char *const same[] = {"tcp://10.0.0.1:1", "tcp://[::ffff:10.0.0.2]:1",
                                       "snet://[2001:db8:0:1:ffff::9]:1"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        FWT_ERR(fwi_gw_sources_add(&sources, same[i], 2, &counted), FW_ELIMIT);
    ck_assert_uint_eq(sources.counts.count, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 3; k++) /* once too often: nothing happens */
            fwi_gw_sources_remove(&sources, cases[i].url);
    ck_assert_uint_eq(sources.counts.count, 0);
    fwi_gw_sources_fini(&sources);
}
END_TEST

START_TEST(one_address_has_its_limit)
{
    raw_peer clients[3] = {0}, servers[2] = {0};
    options.max_clients_per_address = 2;
    options.max_servers_per_address = 1;
    start();
    add_client(&clients[0]);
    add_client(&clients[1]);
    raw_peer_dial(&clients[2], fw_gateway_client_url(gateway));
    raw_peer_expect_closed(&clients[2]);
    add_server(&servers[0], SERVER_ID);
    raw_peer_dial(&servers[1], fw_gateway_server_url(gateway));
    raw_peer_expect_closed(&servers[1]);
    stats_wait(gateway, refused_addresses, 2);
    stats_wait(gateway, refused_connections, 2);
    /* Who leaves makes room. */
    raw_peer_end(&clients[0]);
    raw_peer_end(&clients[2]);
    stats_wait(gateway, clients, 1);
    add_client(&clients[0]);
    raw_peer_end(&servers[0]);
    raw_peer_end(&servers[1]);
    stats_wait(gateway, servers, 0);
    add_server(&servers[1], SERVER_ID);
    for (int i = 0; i < 2; i++) {
        raw_peer_end(&clients[i]);
        raw_peer_end(&servers[i]);
    }
}
END_TEST

START_TEST(hasty_dials_are_refused)
{
    enum { PER_S = 5 };
    raw_peer client = {0}, other = {0}, server = {0};
    options.client_dials_per_s = PER_S;
    options.client_max_conn = 0;
    start();
    add_server(&server, SERVER_ID);
    add_client(&client);
    add_client(&other);
    for (uint32_t i = 0; i < PER_S * 4; i++)
        raw_peer_command(&client, FWI_GW_DIAL, 0, SERVER_ID);
    for (uint32_t i = 0; i < PER_S; i++) {
        raw_peer_expect_command(&client, FWI_GW_ACCEPT, i + 1, SERVER_ID);
        raw_peer_expect_command(&server, FWI_GW_CONNECT, i + 1, 1);
    }
    fw_gateway_stats stats;
    do { /* all answered, in so many seconds that maybe some more went through */
        fwt_run_for(5);
        fw_gateway_stats_get(gateway, &stats);
    } while (stats.refused_dials + stats.vconns < PER_S * 4);
    ck_assert_uint_eq(stats.refused_dials, stats.hasty_dials);
    ck_assert_uint_gt(stats.hasty_dials, 0);
    /* Others, and servers, are not concerned. */
    raw_peer_command(&other, FWI_GW_DIAL, 0, SERVER_ID);
    raw_peer_expect_command(&other, FWI_GW_ACCEPT, (uint32_t)stats.vconns_total + 1, SERVER_ID);
    for (int i = 0; i < PER_S * 4; i++)
        raw_peer_command(&server, FWI_GW_DIAL, 0, 2);
    stats_wait(gateway, vconns, stats.vconns + 1 + PER_S * 4);
    /* And time heals it: a dial goes through again. */
    uint64_t opened = stats.vconns + 1 + PER_S * 4;
    for (int i = 0; i < 200 && stats.vconns <= opened; i++) {
        fwt_run_for(100);
        raw_peer_command(&client, FWI_GW_DIAL, 0, SERVER_ID);
        fw_gateway_stats_get(gateway, &stats);
    }
    ck_assert_uint_gt(stats.vconns, opened);
    raw_peer_end(&client);
    raw_peer_end(&other);
    raw_peer_end(&server);
}
END_TEST

/* ---- doors ---- */

START_TEST(there_may_be_many_doors)
{
    char unix_url[300];
    snprintf(unix_url, sizeof unix_url, "unix:%s/clients", fwt_tmpdir());
    const char *const urls[] = {unix_url, "tcp://127.0.0.1:0?reuse_port=1", "mem:gateway",
                                "snet://127.0.0.1:0"};
    enum { DOORS = sizeof urls / sizeof *urls };
    raw_peer clients[DOORS + 1] = {0}, servers[2] = {0};
    start();
    for (int i = 0; i < DOORS; i++)
        FWT_OK(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, urls[i]));
    FWT_OK(fw_gateway_listen(gateway, FW_GATEWAY_SERVERS, "snet://127.0.0.1:0?encrypt=1"));
    ck_assert_ptr_null(fw_gateway_url(gateway, FW_GATEWAY_CLIENTS, DOORS + 1));
    ck_assert_ptr_null(fw_gateway_url(gateway, FW_GATEWAY_SERVERS, 2));
    add_server(&servers[0], SERVER_ID);
    char url[200];
    snprintf(url, sizeof url, "%s?encrypt=1", fw_gateway_url(gateway, FW_GATEWAY_SERVERS, 1));
    raw_peer_dial(&servers[1], url);
    raw_peer_authenticate(&servers[1], KEY, SERVER_ID + 1);
    for (uint32_t i = 0; i <= DOORS; i++) {
        uint32_t which = i % 2, id = i + 1;
        raw_peer_dial(&clients[i], fw_gateway_url(gateway, FW_GATEWAY_CLIENTS, i));
        stats_wait(gateway, clients, i + 1);
        join(&clients[i], i + 1, &servers[which], SERVER_ID + which, id);
        raw_peer_message(&clients[i], id, "through", 7);
        raw_peer_expect_message(&servers[which], id, "through", 7);
        raw_peer_message(&servers[which], id, "back", 4);
        raw_peer_expect_message(&clients[i], id, "back", 4);
    }
    for (int i = 0; i <= DOORS; i++)
        raw_peer_end(&clients[i]);
    raw_peer_end(&servers[0]);
    raw_peer_end(&servers[1]);
}
END_TEST

/* Nobody enciphers in memory that others look at. */
START_TEST(one_buffer_goes_to_two_enciphered_peers)
{
    enum { BYTES = 20000 };
    raw_peer clients[2] = {0}, server = {0};
    start();
    FWT_OK(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, "snet://127.0.0.1:0?encrypt=1"));
    add_server(&server, SERVER_ID);
    char url[200];
    snprintf(url, sizeof url, "%s?encrypt=1", fw_gateway_url(gateway, FW_GATEWAY_CLIENTS, 1));
    for (uint32_t i = 0; i < 2; i++) {
        raw_peer_dial(&clients[i], url);
        stats_wait(gateway, clients, i + 1);
        join(&clients[i], i + 1, &server, SERVER_ID, i + 1);
    }
    /* The same message on both ways, and the same buffer in both queues. */
    uint8_t *room, message[BYTES];
    fw_buf *buf;
    memset(message, 'm', sizeof message);
    FWT_OK(fw_buf_create(4 + BYTES, &buf, &room));
    fwi_put_u32le(room, FWI_GW_ID_BYTES + BYTES - 4);
    fwi_put_u32le(room + 4, 1);
    memcpy(room + 8, message, BYTES - 4);
    for (int i = 0; i < 2; i++) {
        raw_peer_message(&server, (uint32_t)i + 1, message, BYTES);
        raw_peer_expect_message(&clients[i], (uint32_t)i + 1, message, BYTES);
    }
    FWT_OK(fw_conn_write_buf(clients[0].conn, buf));
    raw_peer_expect_message(&server, 1, message, BYTES - 4);
    FWT_OK(fw_conn_write_buf(clients[0].conn, buf));
    raw_peer_expect_message(&server, 1, message, BYTES - 4);
    ck_assert_int_eq(memcmp((const uint8_t *)fw_buf_bytes(buf).data + 8, message, BYTES - 4), 0);
    fw_buf_release(buf);
    raw_peer_end(&clients[0]);
    raw_peer_end(&clients[1]);
    raw_peer_end(&server);
}
END_TEST

START_TEST(a_door_that_cannot_be_changes_nothing)
{
    start();
    FWT_ERR(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, fw_gateway_client_url(gateway)),
            UV_EADDRINUSE);
    FWT_ERR(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, "udp://127.0.0.1:0"), FW_EOPTION);
    FWT_ERR(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, "tcp://127.0.0.1:0?nonsense=1"),
            FW_EOPTION);
    FWT_ERR(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, "nonsense://127.0.0.1:0"), FW_ESCHEME);
    ck_assert_ptr_null(fw_gateway_url(gateway, FW_GATEWAY_CLIENTS, 1));
    raw_peer client = {0};
    add_client(&client);
    raw_peer_end(&client);
}
END_TEST

/* ---- draining ---- */

static int drained;

static void on_drained(void *arg)
{
    (void)arg;
    drained++;
}

START_TEST(a_drain_waits_for_virtual_connections)
{
    raw_peer client = {0}, server = {0}, late = {0};
    char url[100];
    start();
    drained = 0;
    snprintf(url, sizeof url, "%s", fw_gateway_client_url(gateway));
    add_server(&server, SERVER_ID);
    add_client(&client);
    join(&client, 1, &server, SERVER_ID, 1);
    fw_gateway_drain(gateway, on_drained, NULL);
    fw_gateway_drain(gateway, NULL, NULL);
    FWT_ERR(fw_gateway_listen(gateway, FW_GATEWAY_CLIENTS, "tcp://127.0.0.1:0"), FW_ECLOSED);
    raw_peer_command(&client, FWI_GW_DIAL, 0, SERVER_ID);
    raw_peer_expect_command(&client, FWI_GW_REFUSE, 0, SERVER_ID);
    raw_peer_dial(&late, url);
    fwt_run_until(&late.closed, PEER_WAIT_MS);
    ck_assert_int_eq(late.reason, UV_ECONNREFUSED);
    raw_peer_message(&client, 1, "last words", 10);
    raw_peer_expect_message(&server, 1, "last words", 10);
    ck_assert_int_eq(drained, 0);
    raw_peer_command(&client, FWI_GW_CLOSE, 1, 0);
    raw_peer_expect_command(&server, FWI_GW_CLOSE, 1, 0);
    for (int i = 0; i < 1000 && !drained; i++)
        fwt_run_for(5);
    fwt_run_for(10);
    ck_assert_int_eq(drained, 1);
    raw_peer_expect_command(&client, FWI_GW_CLOSE, 1, 0);
    raw_peer_end(&client);
    raw_peer_end(&server);
    raw_peer_end(&late);
}
END_TEST

START_TEST(a_close_ends_a_drain)
{
    raw_peer client = {0}, server = {0};
    start();
    drained = 0;
    if (_i) {
        add_server(&server, SERVER_ID);
        add_client(&client);
        join(&client, 1, &server, SERVER_ID, 1);
    }
    fw_gateway_drain(gateway, on_drained, NULL);
    ck_assert_int_eq(drained, 0); /* never inside the call, though there is nothing to wait for */
    fw_gateway_close(gateway, on_gateway_closed, NULL);
    fwt_run_until(&gateway_closed, PEER_WAIT_MS);
    gateway = NULL;
    ck_assert_int_eq(drained, 0);
    raw_peer_end(&client);
    raw_peer_end(&server);
}
END_TEST

/* ---- what is seen ---- */

static fw_gateway_peer seen[4];
static size_t seen_count;

static void see(const fw_gateway_peer *peer, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(seen_count, 4);
    ck_assert_int_eq(strncmp(peer->url, "tcp://127.0.0.1:", 16), 0);
    seen[seen_count++] = *peer;
}

START_TEST(peers_can_be_looked_at)
{
    raw_peer client = {0}, server = {0}, unknown = {0};
    start();
    seen_count = 0;
    add_client(&client);
    add_server(&server, SERVER_ID);
    join(&client, 1, &server, SERVER_ID, 1);
    raw_peer_dial(&unknown, fw_gateway_server_url(gateway));
    raw_peer_take(&unknown, FWI_GW_CHALLENGE_BYTES);
    fw_gateway_each_peer(gateway, see, NULL);
    ck_assert_uint_eq(seen_count, 3);
    ck_assert(seen[0].side == FW_GATEWAY_CLIENTS && seen[0].authenticated && seen[0].id == 1);
    ck_assert(seen[1].side == FW_GATEWAY_SERVERS && seen[1].authenticated);
    ck_assert(seen[1].id == SERVER_ID && seen[1].vconns == 1 && !seen[1].queued_bytes);
    ck_assert(seen[2].side == FW_GATEWAY_SERVERS && !seen[2].authenticated);
    raw_peer_end(&client);
    raw_peer_end(&server);
    raw_peer_end(&unknown);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("gateway limits");
    TCase *tcase = tcase_create("limits");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, stage_setup, stage_teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, addresses_are_counted_apart);
    tcase_add_test(tcase, one_address_has_its_limit);
    tcase_add_test(tcase, hasty_dials_are_refused);
    tcase_add_test(tcase, there_may_be_many_doors);
    tcase_add_test(tcase, one_buffer_goes_to_two_enciphered_peers);
    tcase_add_test(tcase, a_door_that_cannot_be_changes_nothing);
    tcase_add_test(tcase, a_drain_waits_for_virtual_connections);
    tcase_add_loop_test(tcase, a_close_ends_a_drain, 0, 2);
    tcase_add_test(tcase, peers_can_be_looked_at);
    return fwt_main(suite);
}
