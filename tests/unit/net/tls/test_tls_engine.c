/* Two engines that talk through buffers: handshakes, refusals and ends. */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(handshakes_and_records_survive_any_segmentation)
{
    static const size_t pieces[] = {1, 7, 1000, SIZE_MAX};
    for (int version = FW_TLS_1_2; version <= FW_TLS_1_3; version++) {
        fw_tls_options c = pair_usual_client(), s = pair_usual_server();
        s.min_version = (fw_tls_version)version;
        pair_make(&c, &s);
        if (version == FW_TLS_1_2)
            SSL_CTX_set_max_proto_version(client.tls->context, TLS1_2_VERSION);
        for (size_t i = 0; i < 4; i++) {
            pair_begin("127.0.0.1", NULL);
            pair_talk(pieces[i]);
            pair_expect_open();
            pair_say(&client, &server, 5, pieces[i]);
            pair_say(&server, &client, 40000, pieces[i]);
            pair_say(&client, &server, FWI_TLS_RECORD_BYTES, pieces[i]);
            fw_tls_info info;
            fwi_tls_engine_info(&client.engine, &info);
            ck_assert_str_eq(info.version, version == FW_TLS_1_2 ? "TLSv1.2" : "TLSv1.3");
            ck_assert(info.peer_verified);
            ck_assert_str_eq(info.peer_subject, "CN=server");
            ck_assert_str_eq(info.alpn, "");
            ck_assert_str_ne(info.cipher, "");
            fwi_tls_engine_info(&server.engine, &info);
            ck_assert(!info.peer_verified);
            ck_assert_str_eq(info.peer_subject, "");
        }
    }
}
END_TEST

START_TEST(names_and_addresses_are_verified)
{
    static const struct {
        const char *host, *server_name, *text; /* text: of the failure */
    } cases[] = {
        {"127.0.0.1", NULL, NULL},
        {"localhost", NULL, NULL},
        {"www.example.com", NULL, NULL},
        {"10.0.0.1", "localhost", NULL},
        {"127.0.0.2", NULL, "IP address mismatch"},
        {"example.com", NULL, "hostname mismatch"},
        {"a.b.example.com", NULL, "hostname mismatch"},
        {"server", NULL, "hostname mismatch"}, /* the subject's name is none */
        {"localhost", "elsewhere", "hostname mismatch"},
    };
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pair_begin(cases[i].host, cases[i].server_name);
        pair_talk(SIZE_MAX);
        if (cases[i].text) {
            pair_expect_failure(&client, FW_ETLS, cases[i].text);
            pair_expect_failure(&server, FW_ETLS, "bad certificate");
            ck_assert_uint_eq(client.opened, 0);
        } else {
            pair_expect_open();
        }
    }
    c.server_name = "localhost"; /* of all connections */
    pair_make(&c, &s);
    pair_begin("10.1.2.3", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_open();
    c = (fw_tls_options){.skip_verify = true};
    pair_make(&c, &s);
    pair_begin("elsewhere", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_open();
    fw_tls_info info;
    fwi_tls_engine_info(&client.engine, &info);
    ck_assert(!info.peer_verified);
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    pair_end one = {.error = 0};
    FWT_ERR(fwi_tls_engine_init(&one.engine, client.tls, long_name, 1, NULL, pair_now_ms,
                                &pair_sink, &one),
            FW_EOPTION);
}
END_TEST

START_TEST(a_server_that_we_do_not_trust_is_refused)
{
    fw_tls_options c = {.cacert = pair_file("other-ca.pem")}, s = pair_usual_server();
    pair_make(&c, &s);
    pair_begin("127.0.0.1", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_failure(&client, FW_ETLS, "unable to get local issuer certificate");
    pair_expect_failure(&server, FW_ETLS, "the peer's alert: unknown ca");
    c = (fw_tls_options){.cacert = NULL}; /* the system's */
    pair_make(&c, &s);
    pair_begin("127.0.0.1", NULL);
    pair_talk(SIZE_MAX);
    ck_assert_int_eq(client.error, FW_ETLS);
}
END_TEST

START_TEST(clients_may_have_to_show_a_certificate)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    s.cacert = pair_file("ca.pem");
    pair_make(&c, &s);
    pair_begin("127.0.0.1", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_failure(&server, FW_ETLS, "the peer has no certificate");
    pair_expect_failure(&client, FW_ETLS, "certificate required");
    c.cert = pair_file("stranger.pem");
    c.key = pair_file("stranger.key");
    pair_make(&c, &s);
    pair_begin("127.0.0.1", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_failure(&server, FW_ETLS, "the peer's certificate: ");
    pair_expect_failure(&client, FW_ETLS, "unknown ca");
    s.clients = FW_TLS_CLIENTS_REQUEST; /* still not a bad one */
    pair_make(&c, &s);
    pair_begin("127.0.0.1", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_failure(&server, FW_ETLS, "the peer's certificate: ");
    c.cert = pair_file("client.pem");
    c.key = pair_file("client.key");
    for (int round = 0; round < 2; round++) {
        s.clients = round ? FW_TLS_CLIENTS_REQUEST : FW_TLS_CLIENTS_REQUIRE;
        pair_make(&c, &s);
        for (int again = 0; again < 2; again++) { /* the second one resumes */
            pair_begin("127.0.0.1", NULL);
            pair_talk(SIZE_MAX);
            pair_expect_open();
            fw_tls_info info;
            fwi_tls_engine_info(&server.engine, &info);
            ck_assert(info.peer_verified);
            ck_assert_str_eq(info.peer_subject, "CN=client");
            ck_assert_int_eq(info.resumed, again);
        }
    }
    c = pair_usual_client();
    pair_make(&c, &s); /* asked for, and not there */
    pair_begin("127.0.0.1", NULL);
    pair_talk(SIZE_MAX);
    pair_expect_open();
}
END_TEST

START_TEST(protocols_are_agreed_on)
{
    static const struct {
        const char *client, *server, *agreed; /* NULL: refused */
    } cases[] = {
        {"a,b", "b,c", "b"}, {"a,b", "b,a", "b"}, {"h2", "h2", "h2"}, {NULL, "a", ""},
        {"a", NULL, ""},     {"a", "b", NULL},    {"aa", "a", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fw_tls_options c = pair_usual_client(), s = pair_usual_server();
        c.alpn = cases[i].client;
        s.alpn = cases[i].server;
        pair_make(&c, &s);
        pair_begin("localhost", NULL);
        pair_talk(SIZE_MAX);
        if (!cases[i].agreed) {
            pair_expect_failure(&client, FW_EPROTOCOL, "no application protocol");
            ck_assert_int_eq(server.error, FW_EPROTOCOL);
            continue;
        }
        pair_expect_open();
        fw_tls_info info;
        fwi_tls_engine_info(&client.engine, &info);
        ck_assert_str_eq(info.alpn, cases[i].agreed);
        fwi_tls_engine_info(&server.engine, &info);
        ck_assert_str_eq(info.alpn, cases[i].agreed);
    }
}
END_TEST

START_TEST(keys_are_updated)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    pair_begin("localhost", NULL);
    pair_talk(SIZE_MAX);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(SSL_key_update(client.engine.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        pair_say(&client, &server, 20000, 1000);
        pair_say(&server, &client, 20000, 1000);
    }
    /* A peer that asks for more and more, and does not read the answers, is left. */
    pair_most_wire = 10000;
    for (int i = 0; i < 1000 && !server.error; i++) {
        ck_assert_int_eq(SSL_key_update(client.engine.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"x", 1));
        (void)pair_carry(&client, &server, SIZE_MAX);
    }
    pair_most_wire = SIZE_MAX;
    ck_assert_int_eq(server.error, FW_ELIMIT);
}
END_TEST

START_TEST(ends_are_told_from_cuts)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    pair_begin("localhost", NULL);
    pair_talk(SIZE_MAX);
    FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"last", 4));
    FWT_OK(fwi_tls_engine_end(&client.engine));
    FWT_OK(fwi_tls_engine_end(&client.engine)); /* nothing more */
    FWT_ERR(fwi_tls_engine_output(&client.engine, (const uint8_t *)"x", 1), FW_ECLOSED);
    pair_talk(SIZE_MAX);
    ck_assert_uint_eq(server.ended, 1);
    fwt_assert_bytes(server.plain, server.plain_len, "last", 4, "before the end");
    FWT_OK(fwi_tls_engine_wire_ended(&server.engine));
    pair_say(&server, &client, 50000, 100); /* the other side is still open */
    FWT_OK(fwi_tls_engine_end(&server.engine));
    pair_talk(SIZE_MAX);
    ck_assert_uint_eq(client.ended, 1);
    FWT_OK(fwi_tls_engine_wire_ended(&client.engine));

    pair_begin("localhost", NULL);
    FWT_ERR(fwi_tls_engine_wire_ended(&server.engine), FW_EPROTOCOL);
    pair_talk(SIZE_MAX);
    FWT_ERR(fwi_tls_engine_wire_ended(&client.engine), FW_EPROTOCOL);
    ck_assert(strstr(client.engine.errmsg, "close_notify") != NULL);
}
END_TEST

START_TEST(input_stops_where_it_is_not_wanted)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    pair_begin("localhost", NULL);
    pair_talk(SIZE_MAX);
    for (int i = 0; i < 10; i++)
        FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"record", 6));
    server.wanted = 3;
    (void)pair_carry(&client, &server, SIZE_MAX);
    ck_assert_uint_eq(server.records, 3);
    ck_assert_uint_gt(client.wire_len, 0); /* the rest was not taken */
    server.wanted = SIZE_MAX;
    (void)pair_carry(&client, &server, SIZE_MAX);
    ck_assert_uint_eq(server.records, 10);
    ck_assert_uint_eq(client.wire_len, 0);
    server.wanted = 0; /* not before the handshake is over, either */
    pair_begin("localhost", NULL);
    server.wanted = 0;
    pair_talk(SIZE_MAX);
    pair_expect_open();
}
END_TEST

static void expect_refused(const uint8_t *data, size_t len, const char *text)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    for (size_t piece = 1; piece <= len; piece += len - 1) {
        pair_begin("localhost", NULL);
        client.wire_len = 0;
        (void)pair_send(&client, data, len);
        (void)pair_carry(&client, &server, piece);
        pair_expect_failure(&server, FW_EPROTOCOL, text);
        ck_assert_int_eq((int)fwi_tls_engine_input(&server.engine, (const uint8_t *)"more", 4),
                         FW_EPROTOCOL);
    }
}

START_TEST(what_is_no_handshake_is_refused)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    expect_refused((const uint8_t *)http, sizeof http - 1, "http request");
    expect_refused((const uint8_t *)"\x80\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff", 12, "");
    uint8_t noise[400];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i * 37 + 11);
    expect_refused(noise, sizeof noise, "");
    /* a client hears something else than TLS */
    pair_begin("localhost", NULL);
    (void)pair_send(&server, (const uint8_t *)"SSH-2.0-OpenSSH_9\r\n", 19);
    (void)pair_carry(&server, &client, SIZE_MAX);
    pair_expect_failure(&client, FW_EPROTOCOL, "wrong version number");
    /* TLS 1.1 is over */
    pair_begin("localhost", NULL);
    SSL_set_min_proto_version(client.engine.ssl, TLS1_VERSION);
    static const uint8_t hello_1_0[] = "\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01"
                                       "01234567890123456789012345678901"
                                       "\x00\x00\x04\xc0\x13\xc0\x14\x01\x00";
    client.wire_len = 0;
    (void)pair_send(&client, hello_1_0, sizeof hello_1_0 - 1);
    (void)pair_carry(&client, &server, SIZE_MAX);
    pair_expect_failure(&server, FW_EPROTOCOL, "unsupported protocol");
}
END_TEST

START_TEST(a_broken_record_ends_it)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    pair_begin("localhost", NULL);
    pair_talk(SIZE_MAX);
    FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"record", 6));
    client.wire[client.wire_len - 1] ^= 1;
    pair_talk(SIZE_MAX);
    pair_expect_failure(&server, FW_EPROTOCOL, "bad record mac");
    pair_expect_failure(&client, FW_EPROTOCOL, "bad record mac"); /* by the alert */
    FWT_ERR(fwi_tls_engine_output(&client.engine, (const uint8_t *)"x", 1), FW_ECLOSED);
    FWT_OK(fwi_tls_engine_end(&client.engine)); /* there is nothing to pair_end */
}
END_TEST

START_TEST(an_endless_handshake_is_cut_off)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    pair_begin("localhost", NULL);
    client.wire_len = 0;
    /* fragments of a ClientHello that never becomes whole; empty records; warnings */
    uint8_t record[5 + 16384] = {0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff};
    for (int i = 0; i < 40; i++)
        (void)pair_send(&client, record, sizeof record);
    (void)pair_carry(&client, &server, SIZE_MAX);
    ck_assert_int_eq(server.error, FW_EPROTOCOL);
    pair_begin("localhost", NULL);
    client.wire_len = 0;
    static const uint8_t warning[] = {0x15, 3, 1, 0, 2, 1, 90};
    for (int i = 0; i < 20000; i++)
        (void)pair_send(&client, warning, sizeof warning);
    (void)pair_carry(&client, &server, SIZE_MAX);
    ck_assert_int_eq(server.error, FW_EPROTOCOL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("TLS engine");
    TCase *tcase = fwt_tcase(suite, "engine", 120);
    tcase_add_unchecked_fixture(tcase, pair_make_certificates, pair_forget_certificates);
    tcase_add_checked_fixture(tcase, NULL, pair_release);
    tcase_add_test(tcase, handshakes_and_records_survive_any_segmentation);
    tcase_add_test(tcase, names_and_addresses_are_verified);
    tcase_add_test(tcase, a_server_that_we_do_not_trust_is_refused);
    tcase_add_test(tcase, clients_may_have_to_show_a_certificate);
    tcase_add_test(tcase, protocols_are_agreed_on);
    tcase_add_test(tcase, keys_are_updated);
    tcase_add_test(tcase, ends_are_told_from_cuts);
    tcase_add_test(tcase, input_stops_where_it_is_not_wanted);
    tcase_add_test(tcase, what_is_no_handshake_is_refused);
    tcase_add_test(tcase, a_broken_record_ends_it);
    tcase_add_test(tcase, an_endless_handshake_is_cut_off);
    return fwt_main(suite);
}
