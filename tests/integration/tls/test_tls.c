/* TLS connections on real sockets: refusals, reloads, and peers that behave badly. */
#include "tlst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static tlst_server server;
static tlst_end client;

static const char *ca(void)
{
    return tlst_file("ca.pem");
}

START_TEST(bytes_go_both_ways)
{
    tlst_serve(&server, "&alpn=x,y");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&alpn=y,z&min=1.3", server.port, ca());
    tlst_say(&client, "before it is open");
    tlst_expect(&client, "before it is open");
    ck_assert_uint_eq(client.opened, 1);
    ck_assert_str_eq(client.info.version, "TLSv1.3");
    ck_assert_str_eq(client.info.alpn, "y");
    ck_assert_str_eq(client.info.peer_subject, "CN=server");
    ck_assert(client.info.peer_verified && !client.info.resumed);
    ck_assert_str_eq(server.ends[0].info.alpn, "y");
    char peer[64];
    snprintf(peer, sizeof peer, "tls://127.0.0.1:%d", server.port);
    ck_assert_str_eq(fw_conn_peer(client.conn), peer);
    ck_assert(!strncmp(fw_conn_peer(server.ends[0].conn), "tls://127.0.0.1:", 16));
    FWT_OK(fw_conn_shutdown(client.conn)); /* the server answers with its own end */
    tlst_expect_closed(&client, UV_EOF, "");
    ck_assert_uint_eq(client.shut, 1);
    tlst_expect_closed(&server.ends[0], UV_EOF, "");
    ck_assert_uint_eq(server.ends[0].ended, 1);
    tlst_stop(&server);
}
END_TEST

START_TEST(dials_with_the_same_parameters_resume)
{
    tlst_serve(&server, "");
    for (int i = 0; i < 6; i++) {
        /* the file by another of its names is another configuration */
        tlst_dial(&client, NULL, "tls://127.0.0.1:%d?%s=%s&min=%s", server.port,
                  i % 2 ? "cacert" : "ca", ca(), i < 4 ? "1.2" : "1.3");
        tlst_say(&client, "x");
        tlst_expect(&client, "x");
        ck_assert_int_eq(fw_tls_resumed(client.conn), i % 4 != 0);
        ck_assert_int_eq(client.info.resumed, i % 4 != 0);
        tlst_close(&client);
    }
    tlst_stop(&server);
}
END_TEST

START_TEST(failed_handshakes_say_why)
{
    tlst_serve(&server, "");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", server.port, tlst_file("other-ca.pem"));
    tlst_expect_closed(&client, FW_ETLS, "unable to get local issuer certificate");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&server_name=elsewhere.example", server.port,
              ca());
    tlst_expect_closed(&client, FW_ETLS, "hostname mismatch");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d", server.port); /* the system's authorities */
    tlst_expect_closed(&client, FW_ETLS, "the peer's certificate: ");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?verify=0", server.port);
    tlst_say(&client, "any will do");
    tlst_expect(&client, "any will do");
    ck_assert(!client.info.peer_verified);
    tlst_close(&client);
    tlst_stop(&server);
    ck_assert_uint_eq(server.accepted, 1); /* nobody heard of the others */
}
END_TEST

START_TEST(addresses_of_ipv6_are_verified)
{
    char dir[300], bare[200];
    snprintf(dir, sizeof dir, "%s", tlst_file(""));
    fwt_certificate(dir, "six", "ca", "IP:::1", 30);
    fw_listener *probe;
    if (fw_listener_new(fwt_loop, "tcp://[::1]:0", &(fw_listener_options){.arg = NULL}, &probe))
        return; /* a machine without IPv6 */
    fw_listener_close(probe);
    for (int i = 0; i < 2; i++) {
        tlst_listen(&server, NULL, "tls://[::1]:0?cert=%s&key=%s",
                    tlst_file(i ? "server.pem" : "six.pem"),
                    tlst_file(i ? "server.key" : "six.key"));
        snprintf(bare, sizeof bare, "%s", fw_listener_url(server.listener));
        tlst_dial(&client, NULL, "%s?ca=%s", bare, ca());
        if (i) {
            tlst_expect_closed(&client, FW_ETLS, "IP address mismatch");
        } else {
            tlst_say(&client, "six");
            tlst_expect(&client, "six");
            ck_assert_str_eq(fw_conn_peer(client.conn), bare);
            tlst_close(&client);
        }
        tlst_stop(&server);
    }
}
END_TEST

START_TEST(an_expired_certificate_is_refused)
{
    char dir[300];
    snprintf(dir, sizeof dir, "%s", tlst_file(""));
    fwt_certificate(dir, "expired", "ca", "IP:127.0.0.1", 0);
    fwt_run_for(2100);
    tlst_listen(&server, NULL, "tls://127.0.0.1:0?cert=%s&key=%s", tlst_file("expired.pem"),
                tlst_file("expired.key"));
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", server.port, ca());
    tlst_expect_closed(&client, FW_ETLS, "certificate has expired");
    tlst_stop(&server);
}
END_TEST

START_TEST(a_server_may_want_certificates)
{
    char more[400];
    snprintf(more, sizeof more, "&ca=%s", ca());
    tlst_serve(&server, more);
    /* TLS 1.3: a client is done before the server has looked at its certificate */
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", server.port, ca());
    tlst_expect_closed(&client, FW_ETLS, "the peer's alert: certificate required");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&cert=%s&key=%s", server.port, ca(),
              tlst_file("stranger.pem"), tlst_file("stranger.key"));
    tlst_expect_closed(&client, FW_ETLS, "the peer's alert: unknown ca");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&cert=%s&key=%s", server.port, ca(),
              tlst_file("client.pem"), tlst_file("client.key"));
    tlst_say(&client, "it is me");
    tlst_expect(&client, "it is me");
    ck_assert_str_eq(server.ends[0].info.peer_subject, "CN=client");
    ck_assert(server.ends[0].info.peer_verified);
    tlst_close(&client);
    tlst_stop(&server);
    snprintf(more, sizeof more, "&ca=%s&client=request", ca());
    tlst_serve(&server, more);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", server.port, ca());
    tlst_say(&client, "nobody");
    tlst_expect(&client, "nobody");
    tlst_close(&client);
    tlst_stop(&server);
}
END_TEST

static void expect_no_dial(const char *url, fw_tls *tls, int error)
{
    fw_conn *conn;
    fw_conn_options options = {.tls = tls};
    FWT_ERR(fw_conn_dial(fwt_loop, url, &options, &conn), error);
}

static void expect_no_listener(const char *url, fw_tls *tls, int error)
{
    fw_listener *listener;
    fw_listener_options options = {.tls = tls};
    FWT_ERR(fw_listener_new(fwt_loop, url, &options, &listener), error);
}

START_TEST(parameters_that_cannot_be_are_refused)
{
    fw_tls *of_client, *of_server;
    FWT_OK(fw_tls_new(&(fw_tls_options){.cacert = ca()}, &of_client));
    FWT_OK(fw_tls_new(&(fw_tls_options){.server = true,
                                        .cert = tlst_file("server.pem"),
                                        .key = tlst_file("server.key")},
                      &of_server));
    expect_no_dial("tls://127.0.0.1:1?caa=x", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1?client=require", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1?verify=yes", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1?verify=0&verify=1", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1?min=1.1", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1?ca=", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1?ca=/nowhere.pem", NULL, UV_ENOENT);
    expect_no_dial("tls://127.0.0.1:1?cert=/nowhere.pem", NULL, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1/path", NULL, FW_EURL);
    expect_no_dial("tls://127.0.0.1", NULL, FW_EURL);
    expect_no_dial("tls:/path", NULL, FW_EURL);
    expect_no_dial("tls://127.0.0.1:1?verify=0", of_client, FW_EOPTION);
    expect_no_dial("tls://127.0.0.1:1", of_server, FW_EOPTION);
    /* Who gives TLS's options does not want to speak without. */
    expect_no_dial("tcp://127.0.0.1:1", of_client, FW_EOPTION);
    expect_no_listener("tcp://127.0.0.1:0", of_server, FW_EOPTION);
    expect_no_listener("tls://127.0.0.1:0", NULL, FW_EOPTION);
    expect_no_listener("tls://127.0.0.1:0?verify=1", NULL, FW_EOPTION);
    expect_no_listener("tls://127.0.0.1:0?server_name=x", NULL, FW_EOPTION);
    expect_no_listener("tls://127.0.0.1:0?xx=x", of_server, FW_EOPTION);
    expect_no_listener("tls://127.0.0.1:0?min=1.3", of_server, FW_EOPTION);
    expect_no_listener("tls://127.0.0.1:0", of_client, FW_EOPTION);
    expect_no_listener("tls://no.address:0", of_server, FW_EURL);
    fw_tls_release(of_client);
    fw_tls_release(of_server);
}
END_TEST

START_TEST(an_object_serves_many)
{
    fw_tls *of_client, *of_server;
    FWT_OK(fw_tls_new(&(fw_tls_options){.cacert = ca()}, &of_client));
    FWT_OK(fw_tls_new(&(fw_tls_options){.server = true,
                                        .cert = tlst_file("server.pem"),
                                        .key = tlst_file("server.key")},
                      &of_server));
    fw_listener_options listener_options = {.tls = of_server};
    fw_conn_options conn_options = {.tls = of_client};
    tlst_listen(&server, &listener_options, "tls://127.0.0.1:0");
    fw_tls_release(of_server); /* the listener has its own reference */
    for (int i = 0; i < 3; i++) {
        tlst_dial(&client, &conn_options, "tls://127.0.0.1:%d", server.port);
        if (i == 2)
            fw_tls_release(of_client);
        tlst_say(&client, "x");
        tlst_expect(&client, "x");
        ck_assert_int_eq(client.info.resumed, i > 0);
        tlst_close(&client);
    }
    FWT_OK(fw_tls_new(&(fw_tls_options){.cacert = ca()}, &of_client));
    conn_options.tls = of_client;
    tlst_dial(&client, &conn_options, "tls://127.0.0.1:%d?server_name=other.example", server.port);
    tlst_expect_closed(&client, FW_ETLS, "hostname mismatch");
    fw_tls_release(of_client);
    tlst_stop(&server);
}
END_TEST

#define TALKERS 50
static tlst_end talkers[TALKERS];

/* Everybody says a number, and hears it. */
static void talk(size_t round)
{
    char word[16];
    snprintf(word, sizeof word, "%05zu", round);
    for (size_t i = 0; i < TALKERS; i++)
        tlst_say(&talkers[i], word);
    for (size_t i = 0; i < TALKERS; i++) {
        fwt_run_count(&talkers[i].len, (round + 1) * 5, TLST_WAIT_MS);
        ck_assert_str_eq(talkers[i].text + round * 5, word);
    }
}

START_TEST(certificates_and_authorities_are_renewed_while_connections_talk)
{
    tlst_copy("server.pem", "now.pem");
    tlst_copy("server.key", "now.key");
    tlst_copy("ca.pem", "now-ca.pem");
    tlst_listen(&server, NULL, "tls://127.0.0.1:0?cert=%s&key=%s&ca=%s", tlst_file("now.pem"),
                tlst_file("now.key"), tlst_file("now-ca.pem"));
    for (size_t i = 0; i < TALKERS; i++)
        tlst_dial(&talkers[i], NULL, "tls://127.0.0.1:%d?ca=%s&cert=%s&key=%s", server.port, ca(),
                  tlst_file("client.pem"), tlst_file("client.key"));
    talk(0);
    tlst_copy("elsewhere.pem", "now.pem");
    tlst_copy("elsewhere.key", "now.key");
    talk(1);
    fwt_run_for(1100); /* how often it is looked at the files */
    talk(2);
    /* by address it is not the one any more */
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&cert=%s&key=%s", server.port, ca(),
              tlst_file("stranger.pem"), tlst_file("stranger.key"));
    tlst_expect_closed(&client, FW_ETLS, "IP address mismatch");
    talk(3);
    tlst_copy("other-ca.pem", "now-ca.pem");
    fwt_run_for(1100);
    talk(4);
    tlst_dial(&client, NULL,
              "tls://127.0.0.1:%d?ca=%s&server_name=elsewhere.example&cert=%s&key=%s", server.port,
              ca(), tlst_file("stranger.pem"), tlst_file("stranger.key"));
    tlst_say(&client, "now it is me");
    tlst_expect(&client, "now it is me");
    tlst_close(&client);
    tlst_dial(&client, NULL,
              "tls://127.0.0.1:%d?ca=%s&server_name=elsewhere.example&cert=%s&key=%s", server.port,
              ca(), tlst_file("client.pem"), tlst_file("client.key"));
    tlst_expect_closed(&client, FW_ETLS, "unknown ca");
    talk(5);
    for (size_t i = 0; i < TALKERS; i++) {
        ck_assert_uint_eq(talkers[i].closed, 0);
        tlst_close(&talkers[i]);
    }
    tlst_stop(&server);
}
END_TEST

/* A plain connection to the server that says something. */
static void dial_plain(tlst_end *end, const char *text)
{
    tlst_dial(end, NULL, "tcp://127.0.0.1:%d", server.port);
    tlst_say(end, text);
}

static void expect_alive(void)
{
    size_t before = server.accepted;
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", server.port, ca());
    tlst_say(&client, "still there");
    tlst_expect(&client, "still there");
    ck_assert_uint_eq(server.accepted, before + 1);
    tlst_close(&client);
}

START_TEST(what_is_not_tls_is_closed)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-x\r\n",
                                        "\x16\x03\x01\xff\xff garbage", "\x16\x03\x01", ""};
    tlst_end others[5];
    tlst_serve(&server, "");
    for (size_t i = 0; i < 5; i++)
        dial_plain(&others[i], words[i]);
    for (size_t i = 0; i < 3; i++)
        fwt_run_count(&others[i].closed, 1, TLST_WAIT_MS);
    expect_alive();
    ck_assert_uint_eq(server.accepted, 1);
    ck_assert_uint_eq(others[3].closed + others[4].closed, 0); /* they may still say the rest */
    fw_listener_close(server.listener);                        /* does not wait for them */
    tlst_expect_closed(&others[3], UV_EOF, "");
    tlst_expect_closed(&others[4], UV_EOF, "");
    tlst_stop(&server);
}
END_TEST

START_TEST(a_handshake_has_a_deadline)
{
    fw_listener_options options = {.handshake_timeout_ms = 300};
    tlst_end slow, silent;
    tlst_listen(&server, &options, "tls://127.0.0.1:0?cert=%s&key=%s", tlst_file("server.pem"),
                tlst_file("server.key"));
    dial_plain(&slow, "\x16");
    dial_plain(&silent, "");
    static const char hello[] = "\x03\x01\x02"; /* and so on, a byte at a time */
    for (size_t i = 0; !slow.closed && i < 400; i++) {
        if (slow.conn && fw_conn_write(slow.conn, i < 3 ? hello + i : "\x01", 1))
            break; /* it is closing */
        fwt_run_for(50);
    }
    fwt_run_count(&slow.closed, 1, TLST_WAIT_MS);
    fwt_run_count(&silent.closed, 1, TLST_WAIT_MS);
    ck_assert_uint_eq(server.accepted, 0);
    tlst_stop(&server);
    /* and one that dials has its own */
    fw_conn_options dial = {.dial_timeout_ms = 300};
    tlst_listen(&server, NULL, "tcp://127.0.0.1:0");
    tlst_dial(&client, &dial, "tls://127.0.0.1:%d?verify=0", server.port);
    fwt_run_count(&server.accepted, 1, TLST_WAIT_MS);
    server.ends[0].echo = false;
    tlst_expect_closed(&client, FW_EDEADLINE, "");
    tlst_stop(&server);
}
END_TEST

START_TEST(a_cut_is_no_end)
{
    tlst_serve(&server, "");
    fwt_proxy *proxy = fwt_proxy_start(server.port);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", fwt_proxy_port(proxy), ca());
    tlst_say(&client, "x");
    tlst_expect(&client, "x");
    fwt_proxy_cut(proxy, false); /* an orderly end of tcp on both sides, none of TLS */
    tlst_expect_closed(&client, FW_EPROTOCOL, "no close_notify");
    tlst_expect_closed(&server.ends[0], FW_EPROTOCOL, "no close_notify");
    fwt_proxy_end(proxy);
    tlst_stop(&server);
}
END_TEST

START_TEST(a_peer_that_is_no_tls_server_is_left)
{
    tlst_listen(&server, NULL, "tcp://127.0.0.1:0"); /* echoes the hello */
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?verify=0", server.port);
    tlst_expect_closed(&client, FW_EPROTOCOL, "");
    ck_assert_str_ne(client.errmsg, "");
    ck_assert_uint_eq(client.opened, 0);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?verify=0", server.port);
    fwt_run_count(&server.accepted, 2, TLST_WAIT_MS);
    server.ends[1].echo = false;
    FWT_OK(fw_conn_shutdown(server.ends[1].conn));
    tlst_expect_closed(&client, UV_EOF, "during the handshake");
    tlst_stop(&server);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?verify=0", fwt_free_port());
    tlst_expect_closed(&client, UV_ECONNREFUSED, "");
}
END_TEST

START_TEST(much_data_passes_a_reader_who_pauses)
{
    enum { BYTES = 8 << 20, PIECE = 100000 };
    tlst_serve(&server, "");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", server.port, ca());
    char *piece = malloc(PIECE);
    memset(piece, 'a', PIECE);
    fwt_run_count(&client.opened, 1, TLST_WAIT_MS);
    size_t sent = 0, turns = 0;
    while (client.len < BYTES) {
        if (sent < BYTES && !fw_conn_congested(client.conn)) {
            size_t n = BYTES - sent < PIECE ? BYTES - sent : PIECE;
            FWT_OK(fw_conn_write(client.conn, piece, n));
            sent += n;
        }
        if (turns % 40 == 10)
            fw_conn_read_stop(client.conn);
        if (turns % 40 == 30)
            fw_conn_read_start(client.conn);
        ck_assert_uint_lt(turns++, 20000);
        fwt_run_for(1);
    }
    ck_assert_uint_eq(client.len, BYTES);
    free(piece);
    tlst_close(&client);
    tlst_stop(&server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("TLS");
    TCase *tcase = fwt_tcase(suite, "tls", 120);
    tcase_add_unchecked_fixture(tcase, tlst_make_certificates, tlst_forget_certificates);
    tcase_add_test(tcase, bytes_go_both_ways);
    tcase_add_test(tcase, dials_with_the_same_parameters_resume);
    tcase_add_test(tcase, failed_handshakes_say_why);
    tcase_add_test(tcase, addresses_of_ipv6_are_verified);
    tcase_add_test(tcase, an_expired_certificate_is_refused);
    tcase_add_test(tcase, a_server_may_want_certificates);
    tcase_add_test(tcase, parameters_that_cannot_be_are_refused);
    tcase_add_test(tcase, an_object_serves_many);
    tcase_add_test(tcase, certificates_and_authorities_are_renewed_while_connections_talk);
    tcase_add_test(tcase, what_is_not_tls_is_closed);
    tcase_add_test(tcase, a_handshake_has_a_deadline);
    tcase_add_test(tcase, a_cut_is_no_end);
    tcase_add_test(tcase, a_peer_that_is_no_tls_server_is_left);
    tcase_add_test(tcase, much_data_passes_a_reader_who_pauses);
    return fwt_main(suite);
}
