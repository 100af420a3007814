/* Accepting behind a proxy (?proxy=1), and on a port that several listeners share. */
#include "fwt.h"
#include "transport/proxy_header.h"
#include "transport/tls/engine.h"

#include <fairway/tls.h>
#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define WAIT_MS 20000
#define HEADER  "PROXY TCP4 10.1.2.3 10.0.0.1 4321 80\r\n"
#define SOURCE  "tcp://10.1.2.3:4321"

static struct {
    fw_listener *listener;
    fw_conn *conn; /* the last one */
    size_t accepted, closed, len, conns_closed;
    char peer[200], text[4096];
    int reason;
    bool stop_reading;
} server;

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    (void)arg;
    ck_assert_uint_lt(server.len + len, sizeof server.text);
    memcpy(server.text + server.len, data, len);
    server.len += len;
}

static void on_conn_closed(fw_conn *conn, int reason, void *arg)
{
    (void)arg;
    if (conn == server.conn)
        server.conn = NULL;
    server.conns_closed++;
    server.reason = reason;
}

static const fw_conn_events server_events = {.on_data = on_data, .on_closed = on_conn_closed};

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    server.accepted++;
    server.conn = conn;
    snprintf(server.peer, sizeof server.peer, "%s", fw_conn_peer(conn));
    fw_conn_set_events(conn, &server_events, NULL);
    if (server.stop_reading)
        fw_conn_read_stop(conn);
}

static void on_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    (void)arg;
    server.closed++;
}

static void listen_at(const char *url, uint32_t handshake_timeout_ms)
{
    fw_listener_options options = {.on_accept = on_accept,
                                   .on_closed = on_closed,
                                   .handshake_timeout_ms = handshake_timeout_ms};
    memset(&server, 0, sizeof server);
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &server.listener));
}

static void stop(void)
{
    fw_listener_close(server.listener);
    fwt_run_count(&server.closed, 1, WAIT_MS);
    if (server.conn)
        fw_conn_close(server.conn, FW_ECANCELED);
    fwt_run_count(&server.conns_closed, server.accepted, WAIT_MS);
}

/* ---- who dials ---- */

typedef struct peer {
    fw_conn *conn;
    size_t closed, opened;
    int reason;
    void (*on_data)(struct peer *peer, const uint8_t *data, size_t len);
    fwi_tls_engine engine;
    char heard[100];
    size_t heard_len;
} peer;

static void on_peer_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((peer *)arg)->opened++;
}

static void on_peer_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    peer *one = arg;
    if (one->on_data)
        one->on_data(one, data, len);
}

static void on_peer_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    peer *one = arg;
    one->closed++;
    one->reason = reason;
    one->conn = NULL;
}

static void dial(peer *one, const char *url)
{
    fw_conn_options options = {
        .dial_timeout_ms = WAIT_MS,
        .arg = one,
        .events = {.on_open = on_peer_open, .on_data = on_peer_data, .on_closed = on_peer_closed}};
    *one = (peer){.conn = NULL};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &one->conn));
}

static void say(peer *one, const void *data, size_t len)
{
    FWT_OK(fw_conn_write(one->conn, data, len));
}

static void end_peer(peer *one)
{
    if (one->conn)
        fw_conn_close(one->conn, FW_ECANCELED);
    fwt_run_count(&one->closed, 1, WAIT_MS);
}

/* ---- behind a proxy ---- */

static void write_v2(const char *path, uint8_t *ret_bytes, size_t *ret_len)
{
    fwi_proxy_addresses addresses = {.source = {.ss_family = AF_UNIX},
                                     .destination = {.ss_family = AF_UNIX}};
    strcpy(((struct sockaddr_un *)&addresses.source)->sun_path, path);
    FWT_OK(fwi_proxy_header_write(2, &addresses, ret_bytes, ret_len));
}

/* The header in pieces of this size; then words. */
static void expect_peer(const char *url, const void *header, size_t len, size_t piece,
                        const char *source)
{
    peer client;
    size_t accepted = server.accepted;
    dial(&client, url);
    for (size_t at = 0; at < len; at += piece) {
        say(&client, (const uint8_t *)header + at, len - at < piece ? len - at : piece);
        if (piece < len)
            fwt_run_for(1);
    }
    say(&client, "behind it", 9);
    server.len = 0;
    fwt_run_count(&server.accepted, accepted + 1, WAIT_MS);
    if (server.stop_reading) {
        fwt_run_for(20);
        ck_assert_uint_eq(server.len, 0);
        fw_conn_read_start(server.conn);
    }
    fwt_run_count(&server.len, 9, WAIT_MS);
    fwt_assert_bytes(server.text, server.len, "behind it", 9, "what is behind the header");
    ck_assert_str_eq(fw_conn_peer(server.conn), server.peer);
    if (source)
        ck_assert_str_eq(server.peer, source);
    else
        ck_assert(!strncmp(server.peer, url, strcspn(url, ":") + 1)); /* its own */
    end_peer(&client);
    fwt_run_count(&server.conns_closed, server.accepted, WAIT_MS);
}

static void expect_all(const char *url)
{
    uint8_t v2[FWI_PROXY_WRITE_BYTES];
    size_t len;
    write_v2("/run/x", v2, &len);
    for (int stopped = 0; stopped < 2; stopped++) {
        server.stop_reading = stopped;
        expect_peer(url, HEADER, sizeof HEADER - 1, SIZE_MAX / 2, SOURCE);
        expect_peer(url, HEADER, sizeof HEADER - 1, 7, SOURCE);
        expect_peer(url, v2, len, SIZE_MAX / 2, "unix:/run/x");
        expect_peer(url, v2, len, 13, "unix:/run/x");
        expect_peer(url, "PROXY UNKNOWN\r\n", 15, SIZE_MAX / 2, NULL);
    }
}

START_TEST(the_address_that_was_told_is_the_peers)
{
    listen_at("tcp://127.0.0.1:0?proxy=1", 0);
    expect_all(fw_listener_url(server.listener));
    stop();
    char url[300];
    snprintf(url, sizeof url, "unix:%s/socket?proxy=1", fwt_tmpdir());
    listen_at(url, 0);
    expect_all(fw_listener_url(server.listener));
    stop();
}
END_TEST

START_TEST(without_a_header_it_ends)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n", "PROXY TCP9 1 2 3 4\r\n",
                                        "\r\n\r\n\0\r\nQUIT\n\x31"};
    static const size_t lens[] = {18, 20, 13};
    listen_at("tcp://127.0.0.1:0?proxy=1", 0);
    for (size_t i = 0; i < 3; i++) {
        peer client;
        dial(&client, fw_listener_url(server.listener));
        say(&client, words[i], lens[i]);
        fwt_run_count(&client.closed, 1, WAIT_MS);
    }
    peer leaves, stays;
    dial(&leaves, fw_listener_url(server.listener));
    say(&leaves, "PROXY TCP4", 10);
    dial(&stays, fw_listener_url(server.listener));
    say(&stays, "PROXY TCP4", 10);
    fwt_run_count(&leaves.opened, 1, WAIT_MS);
    end_peer(&leaves);
    expect_peer(fw_listener_url(server.listener), HEADER, sizeof HEADER - 1, 100, SOURCE);
    ck_assert_uint_eq(server.accepted, 1);
    ck_assert_uint_eq(stays.closed, 0);
    stop(); /* does not wait for it */
    fwt_run_count(&stays.closed, 1, WAIT_MS);
}
END_TEST

START_TEST(a_header_has_a_deadline)
{
    peer silent, slow;
    listen_at("tcp://127.0.0.1:0?proxy=1", 200);
    dial(&silent, fw_listener_url(server.listener));
    dial(&slow, fw_listener_url(server.listener));
    for (int i = 0; !slow.closed && i < 400; i++) {
        if (slow.conn && fw_conn_write(slow.conn, &HEADER[i % 11], 1))
            break;
        fwt_run_for(50);
    }
    fwt_run_count(&slow.closed, 1, WAIT_MS);
    fwt_run_count(&silent.closed, 1, WAIT_MS);
    ck_assert_uint_eq(server.accepted, 0);
    stop();
}
END_TEST

/* ---- TLS behind a proxy: the header is before the handshake ---- */

static int tls_send(void *arg, const uint8_t *data, size_t len)
{
    return fw_conn_write(((peer *)arg)->conn, data, len);
}

static void tls_nothing(void *arg)
{
    (void)arg;
}

static void tls_on_open(void *arg)
{
    peer *one = arg;
    FWT_OK(fwi_tls_engine_output(&one->engine, (const uint8_t *)"sealed", 6));
}

static void tls_on_data(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
}

static bool tls_wants_data(void *arg)
{
    (void)arg;
    return true;
}

static const fwi_tls_sink tls_sink = {tls_send, tls_on_open, tls_on_data, tls_nothing,
                                      tls_wants_data};

static void tls_input(peer *one, const uint8_t *data, size_t len)
{
    ck_assert_int_eq((int)fwi_tls_engine_input(&one->engine, data, len), (int)len);
}

START_TEST(tls_begins_behind_the_header)
{
    char dir[200], url[800], plain[100];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
    snprintf(url, sizeof url, "tls://127.0.0.1:0?proxy=1&cert=%s/server.pem&key=%s/server.key", dir,
             dir);
    listen_at(url, 0);
    fw_tls *tls;
    FWT_OK(fw_tls_new(&(fw_tls_options){.skip_verify = true}, &tls));
    snprintf(plain, sizeof plain, "tcp%s", strchr(fw_listener_url(server.listener), ':'));
    peer client;
    dial(&client, plain);
    client.on_data = tls_input;
    FWT_OK(fwi_tls_engine_init(&client.engine, tls, "127.0.0.1", 1, NULL, 1, &tls_sink, &client));
    say(&client, HEADER, sizeof HEADER - 1);
    FWT_OK(fwi_tls_engine_start(&client.engine));
    fwt_run_count(&server.len, 6, WAIT_MS);
    fwt_assert_bytes(server.text, server.len, "sealed", 6, "plaintext");
    ck_assert_str_eq(server.peer, "tls://10.1.2.3:4321");
    end_peer(&client);
    fwi_tls_engine_fini(&client.engine);
    fw_tls_release(tls);
    stop();
}
END_TEST

/* What stands on tcp leaves the parameters to it. */
START_TEST(layers_listen_behind_a_proxy_too)
{
    static const char upgrade[] = HEADER "GET / HTTP/1.1\r\n"
                                         "Host: x\r\n"
                                         "Upgrade: websocket\r\n"
                                         "Connection: Upgrade\r\n"
                                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                         "Sec-WebSocket-Version: 13\r\n\r\n";
    if (!fw_transport_can("ws"))
        return;
    char plain[100];
    listen_at("ws://127.0.0.1:0/?proxy=1&reuse_port=1", 0);
    const char *port = strrchr(fw_listener_url(server.listener), ':');
    snprintf(plain, sizeof plain, "tcp://127.0.0.1:%d", atoi(port + 1));
    peer client;
    dial(&client, plain);
    say(&client, upgrade, sizeof upgrade - 1);
    fwt_run_count(&server.accepted, 1, WAIT_MS);
    ck_assert_str_eq(server.peer, "ws://10.1.2.3:4321");
    end_peer(&client);
    stop();
}
END_TEST

static void expect_option_error(const char *url)
{
    fw_listener_options options = {.on_accept = on_accept};
    fw_listener *listener;
    FWT_ERR(fw_listener_new(fwt_loop, url, &options, &listener), FW_EOPTION);
}

START_TEST(flags_are_0_or_1)
{
    expect_option_error("tcp://127.0.0.1:0?proxy=yes");
    expect_option_error("tcp://127.0.0.1:0?reuse_port=");
    expect_option_error("unix:/tmp/x?proxy=2");
    expect_option_error("unix:/tmp/x?reuse_port=1");
    expect_option_error("tcp://127.0.0.1:0?proxy=1&proxy=0"); /* or one would be ignored */
    expect_option_error("udp://127.0.0.1:0?idle=1&rate=1&idle=2");
    expect_option_error("snet://127.0.0.1:0?encrypt=1&encrypt=0");
    fw_conn_options options = {.arg = NULL};
    fw_conn *conn;
    FWT_ERR(fw_conn_dial(fwt_loop, "tcp://127.0.0.1:1?proxy=1", &options, &conn), FW_EOPTION);
    listen_at("tcp://127.0.0.1:0?proxy=0&reuse_port=0", 0);
    expect_peer(fw_listener_url(server.listener), "", 0, 1, NULL);
    stop();
}
END_TEST

/* ---- a port for several ---- */

static size_t counts[2], listeners_closed;

static void on_counted(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    ++*(size_t *)arg;
    fw_conn_close(conn, FW_ECANCELED);
}

static void on_counter_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    (void)arg;
    listeners_closed++;
}

START_TEST(two_listeners_share_a_port)
{
    fw_listener *listeners[2], *third;
    char url[100];
    snprintf(url, sizeof url, "tcp://127.0.0.1:0?reuse_port=1");
    for (int i = 0; i < 2; i++) {
        fw_listener_options options = {
            .on_accept = on_counted, .on_closed = on_counter_closed, .arg = &counts[i]};
        FWT_OK(fw_listener_new(fwt_loop, url, &options, &listeners[i]));
        snprintf(url, sizeof url, "%s?reuse_port=1", fw_listener_url(listeners[i]));
    }
    ck_assert_str_eq(fw_listener_url(listeners[0]), fw_listener_url(listeners[1]));
    fw_listener_options options = {.on_accept = on_counted, .arg = &counts[0]};
    FWT_ERR(fw_listener_new(fwt_loop, fw_listener_url(listeners[0]), &options, &third),
            UV_EADDRINUSE);
    /* The kernel chooses by a hash of the addresses: each gets some of many. */
    size_t dialled = 0;
    for (; dialled < 400 && (!counts[0] || !counts[1]); dialled++) {
        peer client;
        dial(&client, fw_listener_url(listeners[0]));
        fwt_run_count(&client.closed, 1, WAIT_MS);
    }
    ck_assert_uint_gt(counts[0], 0);
    ck_assert_uint_gt(counts[1], 0);
    ck_assert_uint_eq(counts[0] + counts[1], dialled);
    fw_listener_close(listeners[0]);
    fw_listener_close(listeners[1]);
    fwt_run_count(&listeners_closed, 2, WAIT_MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("accepting");
    TCase *tcase = fwt_tcase(suite, "accept", 60);
    tcase_add_test(tcase, the_address_that_was_told_is_the_peers);
    tcase_add_test(tcase, without_a_header_it_ends);
    tcase_add_test(tcase, a_header_has_a_deadline);
    tcase_add_test(tcase, tls_begins_behind_the_header);
    tcase_add_test(tcase, layers_listen_behind_a_proxy_too);
    tcase_add_test(tcase, flags_are_0_or_1);
    tcase_add_test(tcase, two_listeners_share_a_port);
    return fwt_main(suite);
}
