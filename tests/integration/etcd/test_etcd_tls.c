/* TLS: what is accepted, and what is said about what is not. */
#include "etcdt.h"

#include <sys/stat.h>
#include <time.h>

static const char *dir; /* of the certificates */

/* DIR/NAME, in one of a few static buffers. */
static const char *file(const char *name)
{
    static char paths[8][300];
    static size_t next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void make_certificates(void)
{
    dir = strdup(fwt_tmpdir());
    fwt_certificate(dir, "ca", NULL, NULL, 2);
    fwt_certificate(dir, "other", NULL, NULL, 2);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1,DNS:localhost", 2);
    fwt_certificate(dir, "elsewhere", "ca", "DNS:elsewhere.example", 2);
    fwt_certificate(dir, "client", "ca", "DNS:client", 2);
    fwt_certificate(dir, "stranger", "other", "DNS:client", 2);
}

static void forget_certificates(void)
{
    free((void *)dir);
}

static void start(fwt_etcd *etcd, const char *name, bool wants_certificate)
{
    char cert[40], key[40];
    snprintf(cert, sizeof cert, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    fwt_etcd_start_tls(etcd, file(cert), file(key), wants_certificate ? file("ca.pem") : NULL);
}

static const char *url_of(const char *scheme, const char *host, int port)
{
    static char url[200];
    snprintf(url, sizeof url, "%s://%s:%d/p", scheme, host, port);
    return url;
}

/* A store with these certificates refuses with FW_ETLS and this text, at once. */
static void expect_refusal(int port, const fw_kv_options *options, const char *text)
{
    fw_kv_options own = *options;
    own.timeout_ms = 15000;
    fw_kv *kv = etcdt_open_with(url_of("etcds", "127.0.0.1", port), &own);
    uint64_t start_ms = storet_now_ms();
    char endpoint[40];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d: ", port);
    for (int i = 0; i < 2; i++) {
        const storet_answer *answer = i ? storet_get(kv, "k") : storet_put(kv, "k", "v");
        ck_assert_msg(answer->status == FW_ETLS, "%s: %s", fw_error_name(answer->status),
                      answer->detail);
        ck_assert_msg(strstr(answer->detail, text) && strstr(answer->detail, endpoint),
                      "wanted \"%s\" in \"%s\"", text, answer->detail);
    }
    ck_assert_uint_lt(storet_now_ms() - start_ms, 20000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "stale ");
    ck_assert_int_eq(watcher.reason, FW_ETLS);
    ck_assert_msg(strstr(watcher.detail, text), "wanted \"%s\" in \"%s\"", text, watcher.detail);
    storet_close(kv, STORET_WAIT_MS);
    storet_watcher_fini(&watcher);
}

START_TEST(a_server_that_we_trust_serves)
{
    fwt_etcd etcd;
    start(&etcd, "server", false);
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (int i = 0; i < 2; i++) {
        fw_kv *kv = etcdt_open_with(url_of("etcds", hosts[i], etcd.port),
                                    &(fw_kv_options){.cacert = file("ca.pem")});
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        FWT_OK(storet_put(kv, "k", i ? "2" : "1")->status);
        storet_expect(&watcher, i ? "+k=2 " : "+k=1 ");
        ck_assert_uint_eq(watcher.stales, 0);
        storet_close(kv, STORET_WAIT_MS);
        storet_watcher_fini(&watcher);
    }
    char url[400];
    snprintf(url, sizeof url, "%s?cacert=%s", url_of("etcds", "127.0.0.1", etcd.port),
             file("ca.pem"));
    fw_kv *kv = etcdt_open_url(url, 0);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=2;");
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_server_that_we_do_not_trust_is_refused_at_once)
{
    fwt_etcd etcd;
    start(&etcd, "server", false);
    expect_refusal(etcd.port, &(fw_kv_options){.cacert = file("other.pem")}, "other.pem");
    expect_refusal(etcd.port, &(fw_kv_options){.cacert = NULL}, "certificate verify failed");
    fwt_etcd_kill(&etcd);
    start(&etcd, "elsewhere", false);
    expect_refusal(etcd.port, &(fw_kv_options){.cacert = file("ca.pem")},
                   "127.0.0.1 is not in peer certificate");
    fwt_etcd_kill(&etcd);
    fwt_certificate(dir, "expired", "ca", "IP:127.0.0.1", 0);
    time_t over = time(NULL) + 1;
    start(&etcd, "expired", false);
    while (time(NULL) <= over)
        fwt_run_for(50);
    expect_refusal(etcd.port, &(fw_kv_options){.cacert = file("ca.pem")}, "not valid now");
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_server_may_want_our_certificate)
{
    fwt_etcd etcd;
    start(&etcd, "server", true);
    fw_kv_options options = {.cacert = file("ca.pem")};
    expect_refusal(etcd.port, &options, "wants a certificate");
    options.cert = file("stranger.pem");
    options.key = file("stranger.key");
    expect_refusal(etcd.port, &options, "wants a certificate");
    options.cert = file("client.pem");
    options.key = file("client.key");
    fw_kv *kv = etcdt_open_with(url_of("etcds", "127.0.0.1", etcd.port), &options);
    FWT_OK(storet_put(kv, "k", "v")->status);
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(tls_and_no_tls_do_not_mix)
{
    fwt_etcd with, without;
    start(&with, "server", false);
    fwt_etcd_start(&without);
    expect_refusal(without.port, &(fw_kv_options){.cacert = file("ca.pem")}, "speaks no TLS");
    fw_kv *kv = etcdt_open(with.port, "/p", 1000);
    const storet_answer *answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_msg(strstr(answer->detail, "etcds://") != NULL, "%s", answer->detail);
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&with);
    fwt_etcd_kill(&without);
}
END_TEST

/* Each endpoint is checked under its own name, and one that is refused does not stop the others. */
START_TEST(each_endpoint_has_its_own_certificate)
{
    fwt_etcd good, bad;
    start(&good, "server", false);
    start(&bad, "elsewhere", false);
    char url[200];
    snprintf(url, sizeof url, "etcds://127.0.0.1:%d,127.0.0.1:%d,localhost:%d/p", bad.port,
             bad.port, good.port);
    for (int i = 0; i < 4; i++) { /* which is tried first is left to chance */
        fw_kv *kv = etcdt_open_with(url, &(fw_kv_options){.cacert = file("ca.pem")});
        FWT_OK(storet_put(kv, "k", "v")->status);
        storet_close(kv, STORET_WAIT_MS);
    }
    fwt_etcd_kill(&good);
    fwt_etcd_kill(&bad);
}
END_TEST

static void copy(const char *from, const char *to)
{
    char *text = fwt_read_file(file(from));
    FILE *out = fopen(file(to), "we");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
    free(text);
}

START_TEST(renewed_files_are_picked_up)
{
    fwt_etcd etcd;
    start(&etcd, "server", true);
    copy("other.pem", "now-ca.pem");
    copy("stranger.pem", "now.pem");
    copy("stranger.key", "now.key");
    fw_kv_options options = {.cacert = file("now-ca.pem"),
                             .cert = file("now.pem"),
                             .key = file("now.key"),
                             .timeout_ms = 3000};
    fw_kv *kv = etcdt_open_with(url_of("etcds", "127.0.0.1", etcd.port), &options);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    FWT_ERR(storet_get(kv, "k")->status, FW_ETLS);
    copy("ca.pem", "now-ca.pem");
    copy("client.pem", "now.pem"); /* it does not go with the key, yet */
    fwt_run_for(1200);
    FWT_ERR(storet_get(kv, "k")->status, FW_ETLS);
    copy("client.key", "now.key");
    uint64_t start_ms = storet_now_ms();
    while (storet_put(kv, "k", "v")->status)
        ck_assert_uint_lt(storet_now_ms() - start_ms, 20000);
    storet_expect(&watcher, "live ");
    storet_close(kv, STORET_WAIT_MS);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

static void write_text(const char *name, const char *text)
{
    FILE *out = fopen(file(name), "we");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

/* Opening with these options fails so, and says this. */
static void expect_no_open(fw_kv_options options, int status, const char *text)
{
    char detail[400] = "";
    fw_kv *kv;
    options.detail = detail;
    options.detail_size = sizeof detail;
    FWT_ERR(fw_kv_open(fwt_loop, "etcds://127.0.0.1:1/p", &options, &kv), status);
    ck_assert_msg(strstr(detail, text) != NULL, "wanted \"%s\" in \"%s\"", text, detail);
}

START_TEST(files_that_cannot_be_used_are_refused_by_open)
{
    write_text("empty.pem", "");
    write_text("garbage.pem", "no certificate\n");
    write_text("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    expect_no_open((fw_kv_options){.cacert = file("nowhere.pem")}, UV_ENOENT, "nowhere.pem");
    expect_no_open((fw_kv_options){.cacert = dir}, UV_EISDIR, dir);
    expect_no_open((fw_kv_options){.cacert = file("empty.pem")}, FW_ETLS, "empty");
    expect_no_open((fw_kv_options){.cacert = file("garbage.pem")}, FW_ETLS,
                   "garbage.pem: there is no certificate");
    expect_no_open((fw_kv_options){.cacert = file("broken.pem")}, FW_ETLS, "broken.pem");
    expect_no_open((fw_kv_options){.cert = file("client.pem")}, FW_ETLS, "go together");
    expect_no_open((fw_kv_options){.cert = file("client.pem"), .key = file("server.key")}, FW_ETLS,
                   "not that of the certificate");
    expect_no_open((fw_kv_options){.cert = file("client.pem"), .key = file("client.pem")}, FW_ETLS,
                   "there is no key");
    fw_kv *kv;
    char detail[200] = "";
    fw_kv_options options = {
        .cacert = file("ca.pem"), .detail = detail, .detail_size = sizeof detail};
    FWT_ERR(fw_kv_open(fwt_loop, "etcd://127.0.0.1:1/p", &options, &kv), FW_EOPTION);
    ck_assert_str_ne(detail, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd over TLS");
    TCase *tcase = fwt_tcase(suite, "tls", 120);
    tcase_add_unchecked_fixture(tcase, make_certificates, forget_certificates);
    tcase_add_test(tcase, a_server_that_we_trust_serves);
    tcase_add_test(tcase, a_server_that_we_do_not_trust_is_refused_at_once);
    tcase_add_test(tcase, a_server_may_want_our_certificate);
    tcase_add_test(tcase, tls_and_no_tls_do_not_mix);
    tcase_add_test(tcase, each_endpoint_has_its_own_certificate);
    tcase_add_test(tcase, renewed_files_are_picked_up);
    tcase_add_test(tcase, files_that_cannot_be_used_are_refused_by_open);
    return fwt_main(suite);
}
