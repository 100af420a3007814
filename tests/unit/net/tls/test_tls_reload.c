/* Sessions that go on, and files that change. */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(sessions_go_on)
{
    for (int version = FW_TLS_1_2; version <= FW_TLS_1_3; version++) {
        fw_tls_options c = pair_usual_client(), s = pair_usual_server();
        pair_make(&c, &s);
        if (version == FW_TLS_1_2)
            SSL_CTX_set_max_proto_version(client.tls->context, TLS1_2_VERSION);
        ck_assert(!pair_resumes("localhost", 1));
        for (int i = 0; i < 5; i++)
            ck_assert(pair_resumes("localhost", 1));
        ck_assert(!pair_resumes("localhost", 2)); /* each port is a peer of its own */
        ck_assert(!pair_resumes("127.0.0.1", 1));
        ck_assert(pair_resumes("127.0.0.1", 1));
        for (int port = 1; port <= 300; port++)
            (void)pair_resumes("localhost", port);
        ck_assert_uint_eq(client.tls->sessions.count, 256);
        ck_assert(pair_resumes("localhost", 300));
    }
}
END_TEST

START_TEST(a_reload_forgets_sessions)
{
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    pair_make(&c, &s);
    ck_assert(!pair_resumes("localhost", 1));
    FWT_OK(fw_tls_reload(server.tls, NULL, 0));
    ck_assert(!pair_resumes("localhost", 1));
    ck_assert(pair_resumes("localhost", 1));
    FWT_OK(fw_tls_reload(client.tls, NULL, 0));
    ck_assert(!pair_resumes("localhost", 1));
    /* one that was made by a connection older than the reload is not kept, either */
    pair_begin("localhost", NULL);
    FWT_OK(fw_tls_reload(client.tls, NULL, 0));
    pair_talk(SIZE_MAX);
    pair_expect_open();
    ck_assert_uint_eq(client.tls->sessions.count, 0);
    pair_say(&client, &server, 100, SIZE_MAX);
}
END_TEST

static void copy(const char *from, const char *to)
{
    char *text = fwt_read_file(pair_file(from)), fresh[320];
    snprintf(fresh, sizeof fresh, "%s.new", pair_file(to));
    FILE *out = fopen(fresh, "we");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
    free(text);
    ck_assert_int_eq(rename(fresh, pair_file(to)), 0);
}

START_TEST(changed_files_are_read_once_a_second)
{
    fwt_certificate(pair_dir, "next", "ca", "DNS:localhost", 30);
    copy("server.pem", "now.pem");
    copy("server.key", "now.key");
    fw_tls_options c = pair_usual_client(),
                   s = {.server = true, .cert = pair_file("now.pem"), .key = pair_file("now.key")};
    pair_make(&c, &s);
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
        pair_now_ms += steps[i].after_ms;
        if (steps[i].copy)
            copy(steps[i].copy, steps[i].to);
        pair_begin("localhost", NULL);
        pair_talk(SIZE_MAX);
        pair_expect_open();
        fwi_tls_engine_info(&client.engine, &info);
        ck_assert_msg(!strcmp(info.peer_subject, steps[i].subject), "step %zu: %s", i,
                      info.peer_subject);
    }
    char detail[200] = "";
    FWT_ERR(fw_tls_reload(server.tls, detail, sizeof detail), FW_ETLS);
    ck_assert(strstr(detail, "now.key: there is no key") != NULL);
    pair_begin("localhost", NULL); /* and it goes on with what it had */
    pair_talk(SIZE_MAX);
    pair_expect_open();
}
END_TEST

START_TEST(a_new_authority_counts_from_then_on)
{
    copy("ca.pem", "now-ca.pem");
    fw_tls_options c = pair_usual_client(), s = pair_usual_server();
    c.cert = pair_file("client.pem");
    c.key = pair_file("client.key");
    s.cacert = pair_file("now-ca.pem");
    pair_make(&c, &s);
    ck_assert(!pair_resumes("localhost", 1));
    ck_assert(pair_resumes("localhost", 1));
    copy("other-ca.pem", "now-ca.pem");
    pair_now_ms += 1000;
    pair_begin("localhost", NULL); /* with a session of before */
    pair_talk(SIZE_MAX);
    pair_expect_failure(&server, FW_ETLS, "the peer's certificate: ");
}
END_TEST

static void write_text(const char *name, const char *text)
{
    FILE *out = fopen(pair_file(name), "we");
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
    const char *cert = pair_file("server.pem"), *key = pair_file("server.key"),
               *ca = pair_file("ca.pem");
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
    expect_no_tls((fw_tls_options){.cacert = pair_file("nowhere.pem")}, UV_ENOENT, "nowhere.pem");
    expect_no_tls((fw_tls_options){.cacert = pair_file("garbage.pem")}, FW_ETLS, "garbage.pem");
    expect_no_tls((fw_tls_options){.cacert = pair_file("broken.pem")}, FW_ETLS, "broken.pem");
    expect_no_tls((fw_tls_options){.cert = cert, .key = pair_file("client.key")}, FW_ETLS,
                  "not that of the certificate");
    expect_no_tls((fw_tls_options){.cert = cert, .key = cert}, FW_ETLS, "there is no key");
    expect_no_tls((fw_tls_options){.cert = key, .key = key}, FW_ETLS, "there is no certificate");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("TLS reload");
    TCase *tcase = fwt_tcase(suite, "reload", 120);
    tcase_add_unchecked_fixture(tcase, pair_make_certificates, pair_forget_certificates);
    tcase_add_checked_fixture(tcase, NULL, pair_release);
    tcase_add_test(tcase, sessions_go_on);
    tcase_add_test(tcase, a_reload_forgets_sessions);
    tcase_add_test(tcase, changed_files_are_read_once_a_second);
    tcase_add_test(tcase, a_new_authority_counts_from_then_on);
    tcase_add_test(tcase, options_that_cannot_be_used_are_refused);
    return fwt_main(suite);
}
