/* Stores with users: tokens that end, passwords that are wrong, rights that are missing. */
#include "ehttpt.h"

static void start_with_users(fwt_etcd *etcd, const char *token_ttl)
{
    setenv("ETCD_AUTH_TOKEN_TTL", token_ttl, 1);
    fwt_etcd_start(etcd);
    unsetenv("ETCD_AUTH_TOKEN_TTL");
    ehttpt_enable_users(etcd->port);
}

START_TEST(a_user_works_and_a_wrong_password_does_not)
{
    fwt_etcd etcd;
    start_with_users(&etcd, "300");
    fw_kv *kv = ehttpt_open_as(etcd.port, "user", "word", 3000);
    FWT_OK(storet_put(kv, "k", "v")->status);
    ck_assert_str_eq(storet_list(kv, "")->text, "k=v;");
    storet_close(kv, 2000);
    static const char *const wrong[][2] = {{"user", "wr\"ong\\\n"}, {"nobody", "xyzzy"}};
    for (size_t i = 0; i < 2; i++) {
        kv = ehttpt_open_as(etcd.port, wrong[i][0], wrong[i][1], 3000);
        uint64_t start = storet_now_ms();
        for (int round = 0; round < 3; round++) {
            const storet_answer *answer = storet_put(kv, "k", "w");
            FWT_ERR(answer->status, FW_EAUTH);
            ck_assert_msg(strstr(answer->detail, "authentication failed"), "detail: %s",
                          answer->detail);
            ck_assert_ptr_null(strstr(answer->detail, wrong[i][1]));
        }
        FWT_ERR(storet_list(kv, "")->status, FW_EAUTH);
        ck_assert_uint_lt(storet_now_ms() - start, 3000); /* at once, not at the deadline */
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        storet_expect(&watcher, "fatal ");
        ck_assert_str_eq(watcher.record, "fatal ");
        ck_assert_int_eq(watcher.reason, FW_EAUTH);
        storet_lease lease;
        storet_lease_new(&lease, kv, 2000);
        FWT_ERR(lease.status, FW_EAUTH);
        storet_lease_close(&lease);
        storet_close(kv, 2000);
        storet_watcher_fini(&watcher);
    }
    kv = etcdt_open(etcd.port, "/p", 3000);
    FWT_ERR(storet_put(kv, "k", "w")->status, FW_EAUTH);
    FWT_ERR(storet_get(kv, "k")->status, FW_EAUTH);
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(what_a_user_may_not_do_is_denied_for_good)
{
    fwt_etcd etcd;
    start_with_users(&etcd, "300");
    char url[100];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d/secret", etcd.port);
    fw_kv_options options = {.timeout_ms = 3000, .user = "user", .password = "word"};
    fw_kv *kv;
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    const storet_answer *answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EDENIED);
    ck_assert_msg(strstr(answer->detail, "permission denied"), "detail: %s", answer->detail);
    FWT_ERR(storet_get(kv, "k")->status, FW_EDENIED);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "fatal ");
    ck_assert_int_eq(watcher.reason, FW_EDENIED);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* The right to read is taken away between the list and the stream's reopening. */
START_TEST(a_watch_that_loses_its_right_ends)
{
    fwt_etcd etcd;
    start_with_users(&etcd, "300");
    fw_kv *kv = ehttpt_open_as(etcd.port, "user", "word", 3000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    etcdt_ctl(etcd.port, "role", "revoke-permission", "reader", "/p/", "--prefix=true",
              "--user=root:secret", NULL);
    fwt_etcd_kill(&etcd);
    storet_expect(&watcher, "stale ");
    fwt_etcd_restart(&etcd);
    storet_expect(&watcher, "fatal ");
    ck_assert_int_eq(watcher.reason, FW_EDENIED);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

#define CALLERS 40

/* All of them find the token gone at the same time; each is done once. */
static void write_all(fw_kv *kv, const char *value)
{
    static storet_answer answers[CALLERS];
    char key[20];
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < CALLERS; i++) {
        snprintf(key, sizeof key, "c%d", i);
        FWT_OK(fw_kv_put(kv, key, storet_text(value), NULL, storet_on_done, &answers[i]));
    }
    for (int i = 0; i < CALLERS; i++) {
        storet_await(&answers[i]);
        ck_assert_msg(!answers[i].status, "%s: %s", fw_error_name(answers[i].status),
                      answers[i].detail);
        free(answers[i].text);
    }
}

START_TEST(an_expired_token_is_renewed_and_nothing_is_lost)
{
    fwt_etcd etcd;
    start_with_users(&etcd, "3");
    fw_kv *kv = ehttpt_open_as(etcd.port, "user", "word", 5000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    write_all(kv, "1");
    fwt_run_count(&watcher.puts, CALLERS, 5000);
    for (int round = 0; round < 2; round++) {
        fwt_run_for(5000); /* the token is forgotten when it was not used for so long */
        write_all(kv, round ? "3" : "2");
        fwt_run_count(&watcher.puts, (size_t)(round + 2) * CALLERS, 5000);
    }
    /* A list, which is several requests, and a transaction. */
    fwt_run_for(5000);
    ck_assert_uint_eq(storet_list(kv, "")->count, CALLERS);
    fwt_run_for(5000);
    FWT_ERR(storet_atomic_put(kv, "c0", "4", 0, NULL)->status, FW_EEXISTS);
    ck_assert_uint_eq(watcher.puts, 3 * CALLERS);
    ck_assert_uint_eq(watcher.fatals, 0);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_server_that_starts_anew_has_forgotten_the_token)
{
    fwt_etcd etcd;
    start_with_users(&etcd, "300");
    fw_kv *kv = ehttpt_open_as(etcd.port, "user", "word", 5000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    storet_lease lease;
    storet_lease_new(&lease, kv, 6000);
    FWT_OK(lease.status);
    write_all(kv, "1");
    fwt_etcd_kill(&etcd);
    storet_expect(&watcher, "stale ");
    fwt_etcd_restart(&etcd);
    write_all(kv, "2");
    storet_expect(&watcher, "live ");
    fwt_run_count(&watcher.puts, 2 * CALLERS, 10000);
    fwt_run_for(7000);
    ck_assert(!lease.lost);
    ck_assert_uint_eq(watcher.puts, 2 * CALLERS);
    storet_lease_close(&lease);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(users_are_switched_on_and_off_under_way)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = ehttpt_open_as(etcd.port, "user", "word", 5000);
    FWT_OK(storet_put(kv, "k", "1")->status); /* a name is not needed yet */
    ehttpt_enable_users(etcd.port);
    FWT_OK(storet_put(kv, "k", "2")->status);
    etcdt_ctl(etcd.port, "auth", "disable", "--user=root:secret", NULL);
    FWT_OK(storet_put(kv, "k", "3")->status);
    etcdt_ctl(etcd.port, "auth", "enable", NULL);
    FWT_OK(storet_put(kv, "k", "4")->status);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=4;");
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(half_a_name_is_refused_at_open)
{
    fw_kv *kv;
    fw_kv_options options = {.user = "user"};
    FWT_ERR(fw_kv_open(fwt_loop, "etcd+http://127.0.0.1:1/p", &options, &kv), FW_EOPTION);
    options = (fw_kv_options){.password = "word"};
    FWT_ERR(fw_kv_open(fwt_loop, "etcd+http://127.0.0.1:1/p", &options, &kv), FW_EOPTION);
}
END_TEST

START_TEST(nobody_to_authenticate_with_is_unreachable)
{
    fw_kv *kv = ehttpt_open_as(fwt_free_port(), "user", "word", 1000);
    uint64_t start = storet_now_ms();
    const storet_answer *answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_msg(strstr(answer->detail, "refused"), "detail: %s", answer->detail);
    ck_assert_uint_lt(storet_now_ms() - start, 1250);
    storet_close(kv, 2000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http users");
    TCase *tcase = fwt_tcase(suite, "users", 90);
    tcase_add_test(tcase, a_user_works_and_a_wrong_password_does_not);
    tcase_add_test(tcase, what_a_user_may_not_do_is_denied_for_good);
    tcase_add_test(tcase, a_watch_that_loses_its_right_ends);
    tcase_add_test(tcase, an_expired_token_is_renewed_and_nothing_is_lost);
    tcase_add_test(tcase, a_server_that_starts_anew_has_forgotten_the_token);
    tcase_add_test(tcase, users_are_switched_on_and_off_under_way);
    tcase_add_test(tcase, half_a_name_is_refused_at_open);
    tcase_add_test(tcase, nobody_to_authenticate_with_is_unreachable);
    return fwt_main(suite);
}
