/* TLS: certificates that are accepted and that are not, on both sides. */
#include "ehttpt.h"

static void start(void)
{
    ehttpt_make_certificates();
}

static void tls_url(char *url, size_t size, const char *host, int port)
{
    snprintf(url, size, "etcd+https://%s:%d/p", host, port);
}

static fw_kv *open_tls(const char *host, int port, const char *ca, const char *own)
{
    char url[200], name[100], key[100];
    tls_url(url, sizeof url, host, port);
    snprintf(name, sizeof name, "%s.pem", own ? own : "");
    snprintf(key, sizeof key, "%s.key", own ? own : "");
    fw_kv_options options = {.timeout_ms = 15000,
                             .cacert = ca ? ehttpt_file(ca) : NULL,
                             .cert = own ? ehttpt_file(name) : NULL,
                             .key = own ? ehttpt_file(key) : NULL};
    fw_kv *kv = NULL;
    fwt_run_for(1);
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    return kv;
}

/* Every kind of operation ends at once, with the reason. */
static void expect_refused(fw_kv *kv, const char *reason)
{
    uint64_t start = storet_now_ms();
    const storet_answer *answers[3];
    for (int i = 0; i < 3; i++) {
        answers[i] = i == 0   ? storet_put(kv, "k", "v")
                     : i == 1 ? storet_get(kv, "k")
                              : storet_list(kv, "");
        FWT_ERR(answers[i]->status, FW_ETLS);
        ck_assert_msg(strstr(answers[i]->detail, reason) && strstr(answers[i]->detail, ": "),
                      "detail: %s", answers[i]->detail);
    }
    ck_assert_uint_lt(storet_now_ms() - start, 12000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    FWT_ERR(lease.status, FW_ETLS);
    storet_lease_close(&lease);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "stale ");
    ck_assert_int_eq(watcher.reason, FW_ETLS);
    ck_assert_msg(strstr(watcher.detail, reason), "detail: %s", watcher.detail);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}

START_TEST(a_store_behind_tls_works_whole)
{
    fwt_etcd etcd;
    ehttpt_start_tls(&etcd, "server", false);
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (size_t i = 0; i < 2; i++) {
        fw_kv *kv = open_tls(hosts[i], etcd.port, "ca.pem", NULL);
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        storet_expect(&watcher, "| ");
        storet_lease lease;
        storet_lease_new(&lease, kv, 5000);
        FWT_OK(lease.status);
        fw_kv_put_options options = {.lease = lease.lease};
        FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
        storet_expect(&watcher, "+k=v ");
        ck_assert_str_eq(storet_list(kv, "")->text, "k=v;");
        storet_lease_close(&lease);
        storet_expect(&watcher, "-k ");
        storet_close(kv, 2000);
        storet_watcher_fini(&watcher);
    }
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_certificate_that_does_not_verify_ends_operations_at_once)
{
    fwt_etcd etcd, elsewhere;
    ehttpt_start_tls(&etcd, "server", false);
    ehttpt_start_tls(&elsewhere, "elsewhere", false);
    expect_refused(open_tls("127.0.0.1", etcd.port, "other.pem", NULL), "certificate");
    expect_refused(open_tls("127.0.0.1", etcd.port, NULL, NULL), "certificate"); /* the system's */
    expect_refused(open_tls("127.0.0.1", elsewhere.port, "ca.pem", NULL), "127.0.0.1");
    fwt_etcd_kill(&etcd);
    fwt_etcd_kill(&elsewhere);
}
END_TEST

START_TEST(the_server_may_want_our_certificate)
{
    fwt_etcd etcd;
    ehttpt_start_tls(&etcd, "server", true);
    fw_kv *kv = open_tls("127.0.0.1", etcd.port, "ca.pem", "client");
    FWT_OK(storet_put(kv, "k", "v")->status);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=v;");
    storet_close(kv, 2000);
    static const char *const bad[] = {NULL, "stranger"};
    for (size_t i = 0; i < 2; i++) {
        kv = open_tls("127.0.0.1", etcd.port, "ca.pem", bad[i]);
        const storet_answer *answer = storet_put(kv, "k", "w");
        ck_assert_msg(strstr(answer->detail, "certificate") || strstr(answer->detail, "unknown ca"),
                      "detail: %s", answer->detail);
        FWT_ERR(answer->status, FW_ETLS);
        storet_close(kv, 2000);
    }
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(tls_and_no_tls_do_not_understand_each_other)
{
    fwt_etcd tls, plain;
    ehttpt_start_tls(&tls, "server", false);
    fwt_etcd_start(&plain);
    fw_kv *kv = open_tls("127.0.0.1", plain.port, "ca.pem", NULL);
    const storet_answer *answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_msg(strstr(answer->detail, "does it speak TLS"), "detail: %s", answer->detail);
    storet_close(kv, 2000);
    kv = etcdt_open(tls.port, "/p", 1500);
    answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_msg(strstr(answer->detail, "does it want TLS"), "detail: %s", answer->detail);
    storet_close(kv, 2000);
    fwt_etcd_kill(&tls);
    fwt_etcd_kill(&plain);
}
END_TEST

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(ehttpt_file(name), "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void expect_open_fails(const char *scheme, const fw_kv_options *given, int wanted,
                              const char *reason)
{
    char url[100], detail[300] = "";
    snprintf(url, sizeof url, "%s://127.0.0.1:1/p", scheme);
    fw_kv_options options = *given;
    options.detail = detail;
    options.detail_size = sizeof detail;
    fw_kv *kv;
    FWT_ERR(fw_kv_open(fwt_loop, url, &options, &kv), wanted);
    ck_assert_msg(strstr(detail, reason), "detail: %s", detail);
}

START_TEST(files_that_cannot_be_used_are_refused_at_open)
{
    write_file("garbage.pem", "no certificate\n");
    const char *argv[] = {"openssl",  "pkey",        "-in",  ehttpt_file("client.key"), "-aes128",
                          "-passout", "pass:secret", "-out", ehttpt_file("locked.key"), NULL};
    ck_assert_int_eq(fwt_run(argv, NULL, NULL, NULL, 5000), 0);
    const char *client = ehttpt_file("client.pem"), *client_key = ehttpt_file("client.key"),
               *garbage = ehttpt_file("garbage.pem"), *server_key = ehttpt_file("server.key"),
               *locked = ehttpt_file("locked.key");
    const char *tls = "etcd+https";
    expect_open_fails(tls, &(fw_kv_options){.cacert = garbage}, FW_ETLS, "no certificate");
    expect_open_fails(tls, &(fw_kv_options){.cert = garbage, .key = client_key}, FW_ETLS,
                      "no certificate");
    expect_open_fails(tls, &(fw_kv_options){.cert = client, .key = garbage}, FW_ETLS, "no key");
    expect_open_fails(tls, &(fw_kv_options){.cert = client, .key = locked}, FW_ETLS, "passphrase");
    expect_open_fails(tls, &(fw_kv_options){.cert = client, .key = server_key}, FW_ETLS,
                      "not that of the certificate");
    expect_open_fails(tls, &(fw_kv_options){.cert = client}, FW_ETLS, "go together");
    expect_open_fails(tls, &(fw_kv_options){.cacert = "/nowhere.pem"}, UV_ENOENT, "/nowhere.pem");
    expect_open_fails("etcd+http", &(fw_kv_options){.cacert = client}, FW_EOPTION, "certificates");
}
END_TEST

START_TEST(users_and_tls_go_together)
{
    fwt_etcd etcd;
    ehttpt_start_tls(&etcd, "server", false);
    char ca[500], endpoint[80], url[700];
    snprintf(endpoint, sizeof endpoint, "--endpoints=https://127.0.0.1:%d", etcd.port);
    snprintf(ca, sizeof ca, "--cacert=%s", ehttpt_file("ca.pem"));
    etcdt_ctl(etcd.port, "user", "add", "root:secret", endpoint, ca, NULL);
    etcdt_ctl(etcd.port, "user", "grant-role", "root", "root", endpoint, ca, NULL);
    etcdt_ctl(etcd.port, "auth", "enable", endpoint, ca, NULL);
    snprintf(url, sizeof url, "etcd+https://127.0.0.1:%d/p?cacert=%s&user=root", etcd.port,
             ehttpt_file("ca.pem"));
    fw_kv_options options = {.timeout_ms = 5000, .password = "secret"};
    fw_kv *kv;
    fwt_run_for(1);
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    FWT_OK(storet_put(kv, "k", "v")->status);
    storet_expect(&watcher, "+k=v ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http tls");
    TCase *tcase = fwt_tcase(suite, "tls", 60);
    tcase_add_unchecked_fixture(tcase, start, NULL);
    tcase_add_test(tcase, a_store_behind_tls_works_whole);
    tcase_add_test(tcase, a_certificate_that_does_not_verify_ends_operations_at_once);
    tcase_add_test(tcase, the_server_may_want_our_certificate);
    tcase_add_test(tcase, tls_and_no_tls_do_not_understand_each_other);
    tcase_add_test(tcase, files_that_cannot_be_used_are_refused_at_open);
    tcase_add_test(tcase, users_and_tls_go_together);
    return fwt_main(suite);
}
