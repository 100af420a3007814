/* Two engines that talk through buffers: handshakes, refusals, sessions and ends. */
#include "fwt.h"
#include "transport/tls/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *dir;

static const char *file(const char *name)
{
    static char paths[32][300];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void make_certificates(void)
{
    dir = strdup(fwt_tmpdir());
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "other-ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1,DNS:localhost,DNS:*.example.com", 30);
    fwt_certificate(dir, "client", "ca", "DNS:client", 30);
    fwt_certificate(dir, "stranger", "other-ca", "DNS:client", 30);
}

static void forget_certificates(void)
{
    free((void *)dir);
}

/* ---- an end ---- */

typedef struct end {
    fwi_tls_engine engine;
    fw_tls *tls;
    uint8_t *wire; /* what was sent and not yet given to the other */
    size_t wire_len, wire_size;
    uint8_t *plain; /* what has come */
    size_t plain_len, plain_size, records;
    size_t opened, ended, wanted; /* records that it still wants */
    int error;
} end;

static end client, server;
static uint64_t now_ms = 100000;

static void append(uint8_t **to, size_t *len, size_t *size, const uint8_t *data, size_t n)
{
    if (*len + n > *size)
        *to = realloc(*to, *size = (*len + n) * 2);
    memcpy(*to + *len, data, n);
    *len += n;
}

static size_t most_wire = SIZE_MAX;

static int on_send(void *arg, const uint8_t *data, size_t len)
{
    end *one = arg;
    if (one->wire_len > most_wire)
        return FW_ELIMIT;
    append(&one->wire, &one->wire_len, &one->wire_size, data, len);
    return FW_OK;
}

static void on_open(void *arg)
{
    ((end *)arg)->opened++;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    end *one = arg;
    ck_assert_uint_le(len, FWI_TLS_RECORD_BYTES);
    append(&one->plain, &one->plain_len, &one->plain_size, data, len);
    one->records++;
    one->wanted--;
}

static void on_end(void *arg)
{
    ((end *)arg)->ended++;
}

static bool wants_data(void *arg)
{
    return ((end *)arg)->wanted > 0;
}

static const fwi_tls_sink sink = {on_send, on_open, on_data, on_end, wants_data};

static void fini(end *one)
{
    fwi_tls_engine_fini(&one->engine);
    free(one->wire);
    free(one->plain);
    fw_tls *tls = one->tls;
    *one = (end){.tls = tls};
}

static void release(void)
{
    fini(&client);
    fini(&server);
    fw_tls_release(client.tls);
    fw_tls_release(server.tls);
    client.tls = server.tls = NULL;
}

/* Gives what `from` has sent to `to`, in pieces; as much of it as is taken. */
static bool carry(end *from, end *to, size_t piece)
{
    size_t at = 0;
    while (at < from->wire_len && !to->error) {
        size_t n = from->wire_len - at < piece ? from->wire_len - at : piece;
        uint8_t *copy = malloc(n); /* so that reading beyond it is seen */
        memcpy(copy, from->wire + at, n);
        ssize_t took = fwi_tls_engine_input(&to->engine, copy, n);
        free(copy);
        if (took < 0) {
            to->error = (int)took;
            break;
        }
        at += (size_t)took;
        if ((size_t)took < n)
            break;
    }
    if (to->error)
        at = from->wire_len;
    memmove(from->wire, from->wire + at, from->wire_len - at);
    from->wire_len -= at;
    return at > 0;
}

static void talk(size_t piece)
{
    for (bool going = true; going;) {
        bool there = carry(&client, &server, piece);
        bool back = carry(&server, &client, piece);
        going = there || back;
    }
}

static void begin(const char *host, const char *server_name)
{
    fini(&client);
    fini(&server);
    client.wanted = server.wanted = SIZE_MAX;
    FWT_OK(fwi_tls_engine_init(&client.engine, client.tls, host, 443, server_name, now_ms, &sink,
                               &client));
    FWT_OK(fwi_tls_engine_init(&server.engine, server.tls, NULL, 0, NULL, now_ms, &sink, &server));
    FWT_OK(fwi_tls_engine_start(&client.engine));
}

static void make(const fw_tls_options *client_options, const fw_tls_options *server_options)
{
    release();
    FWT_OK(fw_tls_new(client_options, &client.tls));
    FWT_OK(fw_tls_new(server_options, &server.tls));
}

static fw_tls_options usual_client(void)
{
    return (fw_tls_options){.cacert = file("ca.pem")};
}

static fw_tls_options usual_server(void)
{
    return (fw_tls_options){.server = true, .cert = file("server.pem"), .key = file("server.key")};
}

static void expect_open(void)
{
    ck_assert_msg(!client.error && !server.error, "client: %s (%s), server: %s (%s)",
                  fw_strerror(client.error), client.engine.errmsg, fw_strerror(server.error),
                  server.engine.errmsg);
    ck_assert_uint_eq(client.opened, 1);
    ck_assert_uint_eq(server.opened, 1);
}

static void say(end *from, end *to, size_t len, size_t piece)
{
    uint8_t *text = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = (uint8_t)(i * 7 + len);
    to->plain_len = 0;
    FWT_OK(fwi_tls_engine_output(&from->engine, text, len));
    talk(piece);
    fwt_assert_bytes(to->plain, to->plain_len, text, len, "plaintext");
    free(text);
}

/* The failed one says this, and fails so; FW_OK: that end does not fail. */
static void expect_failure(const end *one, int error, const char *text)
{
    FWT_ERR(one->error, error);
    ck_assert_msg(one->engine.errmsg && strstr(one->engine.errmsg, text), "wanted \"%s\": %s", text,
                  one->engine.errmsg);
}

/* ---- tests ---- */

START_TEST(handshakes_and_records_survive_any_segmentation)
{
    static const size_t pieces[] = {1, 7, 1000, SIZE_MAX};
    for (int version = FW_TLS_1_2; version <= FW_TLS_1_3; version++) {
        fw_tls_options c = usual_client(), s = usual_server();
        s.min_version = (fw_tls_version)version;
        make(&c, &s);
        if (version == FW_TLS_1_2)
            SSL_CTX_set_max_proto_version(client.tls->context, TLS1_2_VERSION);
        for (size_t i = 0; i < 4; i++) {
            begin("127.0.0.1", NULL);
            talk(pieces[i]);
            expect_open();
            say(&client, &server, 5, pieces[i]);
            say(&server, &client, 40000, pieces[i]);
            say(&client, &server, FWI_TLS_RECORD_BYTES, pieces[i]);
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
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(cases[i].host, cases[i].server_name);
        talk(SIZE_MAX);
        if (cases[i].text) {
            expect_failure(&client, FW_ETLS, cases[i].text);
            expect_failure(&server, FW_ETLS, "bad certificate");
            ck_assert_uint_eq(client.opened, 0);
        } else {
            expect_open();
        }
    }
    c.server_name = "localhost"; /* of all connections */
    make(&c, &s);
    begin("10.1.2.3", NULL);
    talk(SIZE_MAX);
    expect_open();
    c = (fw_tls_options){.skip_verify = true};
    make(&c, &s);
    begin("elsewhere", NULL);
    talk(SIZE_MAX);
    expect_open();
    fw_tls_info info;
    fwi_tls_engine_info(&client.engine, &info);
    ck_assert(!info.peer_verified);
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    end one = {.error = 0};
    FWT_ERR(fwi_tls_engine_init(&one.engine, client.tls, long_name, 1, NULL, now_ms, &sink, &one),
            FW_EOPTION);
}
END_TEST

START_TEST(a_server_that_we_do_not_trust_is_refused)
{
    fw_tls_options c = {.cacert = file("other-ca.pem")}, s = usual_server();
    make(&c, &s);
    begin("127.0.0.1", NULL);
    talk(SIZE_MAX);
    expect_failure(&client, FW_ETLS, "unable to get local issuer certificate");
    expect_failure(&server, FW_ETLS, "the peer's alert: unknown ca");
    c = (fw_tls_options){.cacert = NULL}; /* the system's */
    make(&c, &s);
    begin("127.0.0.1", NULL);
    talk(SIZE_MAX);
    ck_assert_int_eq(client.error, FW_ETLS);
}
END_TEST

START_TEST(clients_may_have_to_show_a_certificate)
{
    fw_tls_options c = usual_client(), s = usual_server();
    s.cacert = file("ca.pem");
    make(&c, &s);
    begin("127.0.0.1", NULL);
    talk(SIZE_MAX);
    expect_failure(&server, FW_ETLS, "the peer has no certificate");
    expect_failure(&client, FW_ETLS, "certificate required");
    c.cert = file("stranger.pem");
    c.key = file("stranger.key");
    make(&c, &s);
    begin("127.0.0.1", NULL);
    talk(SIZE_MAX);
    expect_failure(&server, FW_ETLS, "the peer's certificate: ");
    expect_failure(&client, FW_ETLS, "unknown ca");
    s.clients = FW_TLS_CLIENTS_REQUEST; /* still not a bad one */
    make(&c, &s);
    begin("127.0.0.1", NULL);
    talk(SIZE_MAX);
    expect_failure(&server, FW_ETLS, "the peer's certificate: ");
    c.cert = file("client.pem");
    c.key = file("client.key");
    for (int round = 0; round < 2; round++) {
        s.clients = round ? FW_TLS_CLIENTS_REQUEST : FW_TLS_CLIENTS_REQUIRE;
        make(&c, &s);
        for (int again = 0; again < 2; again++) { /* the second one resumes */
            begin("127.0.0.1", NULL);
            talk(SIZE_MAX);
            expect_open();
            fw_tls_info info;
            fwi_tls_engine_info(&server.engine, &info);
            ck_assert(info.peer_verified);
            ck_assert_str_eq(info.peer_subject, "CN=client");
            ck_assert_int_eq(info.resumed, again);
        }
    }
    c = usual_client();
    make(&c, &s); /* asked for, and not there */
    begin("127.0.0.1", NULL);
    talk(SIZE_MAX);
    expect_open();
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
        fw_tls_options c = usual_client(), s = usual_server();
        c.alpn = cases[i].client;
        s.alpn = cases[i].server;
        make(&c, &s);
        begin("localhost", NULL);
        talk(SIZE_MAX);
        if (!cases[i].agreed) {
            expect_failure(&client, FW_EPROTOCOL, "no application protocol");
            ck_assert_int_eq(server.error, FW_EPROTOCOL);
            continue;
        }
        expect_open();
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
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    begin("localhost", NULL);
    talk(SIZE_MAX);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(SSL_key_update(client.engine.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        say(&client, &server, 20000, 1000);
        say(&server, &client, 20000, 1000);
    }
    /* A peer that asks for more and more, and does not read the answers, is left. */
    most_wire = 10000;
    for (int i = 0; i < 1000 && !server.error; i++) {
        ck_assert_int_eq(SSL_key_update(client.engine.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"x", 1));
        (void)carry(&client, &server, SIZE_MAX);
    }
    most_wire = SIZE_MAX;
    ck_assert_int_eq(server.error, FW_ELIMIT);
}
END_TEST

static bool resumes(const char *host, int port)
{
    fini(&client);
    fini(&server);
    client.wanted = server.wanted = SIZE_MAX;
    FWT_OK(
        fwi_tls_engine_init(&client.engine, client.tls, host, port, NULL, now_ms, &sink, &client));
    FWT_OK(fwi_tls_engine_init(&server.engine, server.tls, NULL, 0, NULL, now_ms, &sink, &server));
    FWT_OK(fwi_tls_engine_start(&client.engine));
    talk(SIZE_MAX);
    expect_open();
    fw_tls_info at_client, at_server;
    fwi_tls_engine_info(&client.engine, &at_client);
    fwi_tls_engine_info(&server.engine, &at_server);
    ck_assert_int_eq(at_client.resumed, at_server.resumed);
    if (at_client.resumed)
        ck_assert(at_client.peer_verified);
    return at_client.resumed;
}

START_TEST(sessions_go_on)
{
    for (int version = FW_TLS_1_2; version <= FW_TLS_1_3; version++) {
        fw_tls_options c = usual_client(), s = usual_server();
        make(&c, &s);
        if (version == FW_TLS_1_2)
            SSL_CTX_set_max_proto_version(client.tls->context, TLS1_2_VERSION);
        ck_assert(!resumes("localhost", 1));
        for (int i = 0; i < 5; i++)
            ck_assert(resumes("localhost", 1));
        ck_assert(!resumes("localhost", 2)); /* each port is a peer of its own */
        ck_assert(!resumes("127.0.0.1", 1));
        ck_assert(resumes("127.0.0.1", 1));
        for (int port = 1; port <= 300; port++)
            (void)resumes("localhost", port);
        ck_assert_uint_eq(client.tls->sessions.count, 256);
        ck_assert(resumes("localhost", 300));
    }
}
END_TEST

START_TEST(a_reload_forgets_sessions)
{
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    ck_assert(!resumes("localhost", 1));
    FWT_OK(fw_tls_reload(server.tls, NULL, 0));
    ck_assert(!resumes("localhost", 1));
    ck_assert(resumes("localhost", 1));
    FWT_OK(fw_tls_reload(client.tls, NULL, 0));
    ck_assert(!resumes("localhost", 1));
    /* one that was made by a connection older than the reload is not kept, either */
    begin("localhost", NULL);
    FWT_OK(fw_tls_reload(client.tls, NULL, 0));
    talk(SIZE_MAX);
    expect_open();
    ck_assert_uint_eq(client.tls->sessions.count, 0);
    say(&client, &server, 100, SIZE_MAX);
}
END_TEST

START_TEST(ends_are_told_from_cuts)
{
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    begin("localhost", NULL);
    talk(SIZE_MAX);
    FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"last", 4));
    FWT_OK(fwi_tls_engine_end(&client.engine));
    FWT_OK(fwi_tls_engine_end(&client.engine)); /* nothing more */
    FWT_ERR(fwi_tls_engine_output(&client.engine, (const uint8_t *)"x", 1), FW_ECLOSED);
    talk(SIZE_MAX);
    ck_assert_uint_eq(server.ended, 1);
    fwt_assert_bytes(server.plain, server.plain_len, "last", 4, "before the end");
    FWT_OK(fwi_tls_engine_wire_ended(&server.engine));
    say(&server, &client, 50000, 100); /* the other side is still open */
    FWT_OK(fwi_tls_engine_end(&server.engine));
    talk(SIZE_MAX);
    ck_assert_uint_eq(client.ended, 1);
    FWT_OK(fwi_tls_engine_wire_ended(&client.engine));

    begin("localhost", NULL);
    FWT_ERR(fwi_tls_engine_wire_ended(&server.engine), FW_EPROTOCOL);
    talk(SIZE_MAX);
    FWT_ERR(fwi_tls_engine_wire_ended(&client.engine), FW_EPROTOCOL);
    ck_assert(strstr(client.engine.errmsg, "close_notify") != NULL);
}
END_TEST

START_TEST(input_stops_where_it_is_not_wanted)
{
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    begin("localhost", NULL);
    talk(SIZE_MAX);
    for (int i = 0; i < 10; i++)
        FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"record", 6));
    server.wanted = 3;
    (void)carry(&client, &server, SIZE_MAX);
    ck_assert_uint_eq(server.records, 3);
    ck_assert_uint_gt(client.wire_len, 0); /* the rest was not taken */
    server.wanted = SIZE_MAX;
    (void)carry(&client, &server, SIZE_MAX);
    ck_assert_uint_eq(server.records, 10);
    ck_assert_uint_eq(client.wire_len, 0);
    server.wanted = 0; /* not before the handshake is over, either */
    begin("localhost", NULL);
    server.wanted = 0;
    talk(SIZE_MAX);
    expect_open();
}
END_TEST

static void expect_refused(const uint8_t *data, size_t len, const char *text)
{
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    for (size_t piece = 1; piece <= len; piece += len - 1) {
        begin("localhost", NULL);
        client.wire_len = 0;
        (void)on_send(&client, data, len);
        (void)carry(&client, &server, piece);
        expect_failure(&server, FW_EPROTOCOL, text);
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
    begin("localhost", NULL);
    (void)on_send(&server, (const uint8_t *)"SSH-2.0-OpenSSH_9\r\n", 19);
    (void)carry(&server, &client, SIZE_MAX);
    expect_failure(&client, FW_EPROTOCOL, "wrong version number");
    /* TLS 1.1 is over */
    begin("localhost", NULL);
    SSL_set_min_proto_version(client.engine.ssl, TLS1_VERSION);
    static const uint8_t hello_1_0[] = "\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01"
                                       "01234567890123456789012345678901"
                                       "\x00\x00\x04\xc0\x13\xc0\x14\x01\x00";
    client.wire_len = 0;
    (void)on_send(&client, hello_1_0, sizeof hello_1_0 - 1);
    (void)carry(&client, &server, SIZE_MAX);
    expect_failure(&server, FW_EPROTOCOL, "unsupported protocol");
}
END_TEST

START_TEST(a_broken_record_ends_it)
{
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    begin("localhost", NULL);
    talk(SIZE_MAX);
    FWT_OK(fwi_tls_engine_output(&client.engine, (const uint8_t *)"record", 6));
    client.wire[client.wire_len - 1] ^= 1;
    talk(SIZE_MAX);
    expect_failure(&server, FW_EPROTOCOL, "bad record mac");
    expect_failure(&client, FW_EPROTOCOL, "bad record mac"); /* by the alert */
    FWT_ERR(fwi_tls_engine_output(&client.engine, (const uint8_t *)"x", 1), FW_ECLOSED);
    FWT_OK(fwi_tls_engine_end(&client.engine)); /* there is nothing to end */
}
END_TEST

START_TEST(an_endless_handshake_is_cut_off)
{
    fw_tls_options c = usual_client(), s = usual_server();
    make(&c, &s);
    begin("localhost", NULL);
    client.wire_len = 0;
    /* fragments of a ClientHello that never becomes whole; empty records; warnings */
    uint8_t record[5 + 16384] = {0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff};
    for (int i = 0; i < 40; i++)
        (void)on_send(&client, record, sizeof record);
    (void)carry(&client, &server, SIZE_MAX);
    ck_assert_int_eq(server.error, FW_EPROTOCOL);
    begin("localhost", NULL);
    client.wire_len = 0;
    static const uint8_t warning[] = {0x15, 3, 1, 0, 2, 1, 90};
    for (int i = 0; i < 20000; i++)
        (void)on_send(&client, warning, sizeof warning);
    (void)carry(&client, &server, SIZE_MAX);
    ck_assert_int_eq(server.error, FW_EPROTOCOL);
}
END_TEST

static void copy(const char *from, const char *to)
{
    char *text = fwt_read_file(file(from)), fresh[320];
    snprintf(fresh, sizeof fresh, "%s.new", file(to));
    FILE *out = fopen(fresh, "we");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
    free(text);
    ck_assert_int_eq(rename(fresh, file(to)), 0);
}

START_TEST(changed_files_are_read_once_a_second)
{
    fwt_certificate(dir, "next", "ca", "DNS:localhost", 30);
    copy("server.pem", "now.pem");
    copy("server.key", "now.key");
    fw_tls_options c = usual_client(),
                   s = {.server = true, .cert = file("now.pem"), .key = file("now.key")};
    make(&c, &s);
    fw_tls_info info;
    static const struct {
        const char *copy, *to, *subject;
        unsigned after_ms;
    } steps[] = {
        {NULL, NULL, "CN=server", 1000},
        {"next.pem", "now.pem", "CN=server", 0}, /* not looked at yet */
        {NULL, NULL, "CN=server", 1000},         /* it does not go with the key, yet */
        {"next.key", "now.key", "CN=server", 999},
        {NULL, NULL, "CN=next", 1},
        {"ca.pem", "now.key", "CN=next", 1000}, /* no key at all */
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        now_ms += steps[i].after_ms;
        if (steps[i].copy)
            copy(steps[i].copy, steps[i].to);
        begin("localhost", NULL);
        talk(SIZE_MAX);
        expect_open();
        fwi_tls_engine_info(&client.engine, &info);
        ck_assert_msg(!strcmp(info.peer_subject, steps[i].subject), "step %zu: %s", i,
                      info.peer_subject);
    }
    char detail[200] = "";
    FWT_ERR(fw_tls_reload(server.tls, detail, sizeof detail), FW_ETLS);
    ck_assert(strstr(detail, "now.key: there is no key") != NULL);
    begin("localhost", NULL); /* and it goes on with what it had */
    talk(SIZE_MAX);
    expect_open();
}
END_TEST

START_TEST(a_new_authority_counts_from_then_on)
{
    copy("ca.pem", "now-ca.pem");
    fw_tls_options c = usual_client(), s = usual_server();
    c.cert = file("client.pem");
    c.key = file("client.key");
    s.cacert = file("now-ca.pem");
    make(&c, &s);
    ck_assert(!resumes("localhost", 1));
    ck_assert(resumes("localhost", 1));
    copy("other-ca.pem", "now-ca.pem");
    now_ms += 1000;
    begin("localhost", NULL); /* with a session of before */
    talk(SIZE_MAX);
    expect_failure(&server, FW_ETLS, "the peer's certificate: ");
}
END_TEST

static void write_text(const char *name, const char *text)
{
    FILE *out = fopen(file(name), "we");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

static void expect_no_tls(fw_tls_options options, int error, const char *text)
{
    char detail[400] = "";
    fw_tls *tls;
    options.detail = detail;
    options.detail_size = sizeof detail;
    FWT_ERR(fw_tls_new(&options, &tls), error);
    ck_assert_msg(strstr(detail, text) != NULL, "wanted \"%s\" in \"%s\"", text, detail);
}

START_TEST(options_that_cannot_be_used_are_refused)
{
    const char *cert = file("server.pem"), *key = file("server.key"), *ca = file("ca.pem");
    write_text("garbage.pem", "no certificate\n");
    write_text("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    expect_no_tls((fw_tls_options){.server = true}, FW_EOPTION, "needs a cert");
    expect_no_tls((fw_tls_options){.cert = cert}, FW_EOPTION, "go together");
    expect_no_tls((fw_tls_options){.skip_verify = true, .cacert = ca}, FW_EOPTION, "no use");
    expect_no_tls((fw_tls_options){.clients = FW_TLS_CLIENTS_REQUIRE}, FW_EOPTION, "servers");
    expect_no_tls((fw_tls_options){.min_version = (fw_tls_version)11}, FW_EOPTION, "1.2");
    expect_no_tls((fw_tls_options){.server = true, .cert = cert, .key = key, .skip_verify = true},
                  FW_EOPTION, "for clients");
    expect_no_tls(
        (fw_tls_options){
            .server = true, .cert = cert, .key = key, .clients = FW_TLS_CLIENTS_REQUEST},
        FW_EOPTION, "without a cacert");
    static const char *const bad_alpn[] = {"", ",", "a,", ",a", "a,,b"};
    for (size_t i = 0; i < 5; i++)
        expect_no_tls((fw_tls_options){.alpn = bad_alpn[i]}, FW_EOPTION, "alpn");
    expect_no_tls((fw_tls_options){.cacert = file("nowhere.pem")}, UV_ENOENT, "nowhere.pem");
    expect_no_tls((fw_tls_options){.cacert = file("garbage.pem")}, FW_ETLS, "garbage.pem");
    expect_no_tls((fw_tls_options){.cacert = file("broken.pem")}, FW_ETLS, "broken.pem");
    expect_no_tls((fw_tls_options){.cert = cert, .key = file("client.key")}, FW_ETLS,
                  "not that of the certificate");
    expect_no_tls((fw_tls_options){.cert = cert, .key = cert}, FW_ETLS, "there is no key");
    expect_no_tls((fw_tls_options){.cert = key, .key = key}, FW_ETLS, "there is no certificate");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("TLS engine");
    TCase *tcase = fwt_tcase(suite, "engine", 120);
    tcase_add_unchecked_fixture(tcase, make_certificates, forget_certificates);
    tcase_add_checked_fixture(tcase, NULL, release);
    tcase_add_test(tcase, handshakes_and_records_survive_any_segmentation);
    tcase_add_test(tcase, names_and_addresses_are_verified);
    tcase_add_test(tcase, a_server_that_we_do_not_trust_is_refused);
    tcase_add_test(tcase, clients_may_have_to_show_a_certificate);
    tcase_add_test(tcase, protocols_are_agreed_on);
    tcase_add_test(tcase, keys_are_updated);
    tcase_add_test(tcase, sessions_go_on);
    tcase_add_test(tcase, a_reload_forgets_sessions);
    tcase_add_test(tcase, ends_are_told_from_cuts);
    tcase_add_test(tcase, input_stops_where_it_is_not_wanted);
    tcase_add_test(tcase, what_is_no_handshake_is_refused);
    tcase_add_test(tcase, a_broken_record_ends_it);
    tcase_add_test(tcase, an_endless_handshake_is_cut_off);
    tcase_add_test(tcase, changed_files_are_read_once_a_second);
    tcase_add_test(tcase, a_new_authority_counts_from_then_on);
    tcase_add_test(tcase, options_that_cannot_be_used_are_refused);
    return fwt_main(suite);
}
