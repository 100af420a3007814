/* Users: tokens that are got, renewed and refused. */
#include "etcdt.h"

#include <fairway/wait.h>

#define PASSWORD "secret"
#define MANY     200

static fwt_etcd etcd;

/* One for all tests: passwords are slow to set up. Its tokens live for two seconds. */
static void start_etcd(void)
{
    setenv("ETCD_AUTH_TOKEN_TTL", "2", 1);
    fwt_etcd_start(&etcd);
    unsetenv("ETCD_AUTH_TOKEN_TTL");
    etcdt_ctl(etcd.port, "role", "add", "half", NULL);
    etcdt_ctl(etcd.port, "role", "grant-permission", "half", "--prefix=true", "readwrite", "/mine/",
              NULL);
    etcdt_ctl(etcd.port, "user", "add", "other:" PASSWORD, NULL);
    etcdt_ctl(etcd.port, "user", "grant-role", "other", "half", NULL);
    fwt_etcd_enable_users(&etcd, PASSWORD);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

static fw_kv *open_as(const char *user, const char *password, const char *path, unsigned timeout_ms)
{
    char url[200];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d%s", etcd.port, path);
    return etcdt_open_with(
        url, &(fw_kv_options){.user = user, .password = password, .timeout_ms = timeout_ms});
}

/* How many times users have authenticated, by the server's own count. */
static unsigned long authentications(void)
{
    return fwt_etcd_calls(etcd.port, "Authenticate");
}

START_TEST(a_user_with_the_right_password_is_served)
{
    fw_kv *kv = open_as("root", PASSWORD, "/p", 0);
    FWT_OK(storet_put(kv, "k", "v")->status);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=v;");
    ck_assert_uint_eq(storet_list(kv, "")->count, 1);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "+k=v | ");
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    FWT_OK(lease.status);
    storet_lease_close(&lease);
    storet_close(kv, STORET_WAIT_MS);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_wrong_password_is_said_at_once)
{
    static const char *const users[][2] = {{"root", "wrong"}, {"nobody", PASSWORD}, {"root", NULL}};
    for (size_t i = 0; i < 3; i++) {
        fw_kv *kv = open_as(users[i][0], users[i][1], "/p", 15000);
        unsigned long before = authentications();
        uint64_t start_ms = storet_now_ms();
        const storet_answer *answer = storet_put(kv, "k", "w");
        FWT_ERR(answer->status, FW_EAUTH);
        ck_assert_msg(strstr(answer->detail, "authentication failed") != NULL, "%s",
                      answer->detail);
        FWT_ERR(storet_list(kv, "")->status, FW_EAUTH);
        ck_assert_uint_lt(storet_now_ms() - start_ms, 20000);
        ck_assert_uint_eq(authentications() - before, 2); /* one for each, no loop */
        storet_close(kv, STORET_WAIT_MS);
    }
    fw_kv *kv = etcdt_open(etcd.port, "/p", 0);
    const storet_answer *answer = storet_get(kv, "k");
    FWT_ERR(answer->status, FW_EAUTH);
    ck_assert_msg(strstr(answer->detail, "user name is empty") != NULL, "%s", answer->detail);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(what_a_user_may_not_do_is_denied)
{
    fw_kv *kv = open_as("other", PASSWORD, "/theirs", 15000);
    unsigned long before = authentications();
    FWT_ERR(storet_get(kv, "k")->status, FW_EDENIED);
    FWT_ERR(storet_put(kv, "k", "v")->status, FW_EDENIED);
    FWT_ERR(storet_delete_tree(kv, "")->status, FW_EDENIED);
    ck_assert_uint_le(authentications() - before, 1);
    storet_close(kv, STORET_WAIT_MS);
    kv = open_as("other", PASSWORD, "/mine", 0);
    FWT_OK(storet_put(kv, "k", "v")->status);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

/* All calls that find the token gone are made again; one authentication serves all of them. */
START_TEST(a_token_is_renewed_once_for_all)
{
    fw_kv *kv = open_as("root", PASSWORD, "/many", 20000);
    static storet_answer answers[MANY];
    char key[20];
    FWT_OK(storet_put(kv, "first", "v")->status);
    for (int round = 0; round < 2; round++) {
        unsigned long before = authentications();
        fwt_run_for(3300); /* the server forgets tokens once a second */
        for (int i = 0; i < MANY; i++) {
            snprintf(key, sizeof key, "k%d", i);
            answers[i] = (storet_answer){.done = false};
            FWT_OK(fw_kv_put(kv, key, storet_text("v"), NULL, storet_on_done, &answers[i]));
        }
        for (int i = 0; i < MANY; i++) {
            storet_await(&answers[i]);
            ck_assert_msg(!answers[i].status, "%s: %s", fw_error_name(answers[i].status),
                          answers[i].detail);
            free(answers[i].text);
        }
        ck_assert_uint_eq(authentications() - before, 1);
    }
    ck_assert_uint_eq(storet_list(kv, "")->count, MANY + 1);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

/* The changed users make every token old, for writes that are under way, too. */
START_TEST(changes_of_the_users_disturb_nobody)
{
    fw_kv *kv = open_as("root", PASSWORD, "/busy", 20000);
    static storet_answer answers[MANY];
    char key[20];
    FWT_OK(storet_put(kv, "first", "v")->status);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        answers[i] = (storet_answer){.done = false};
        FWT_OK(fw_kv_atomic_put(kv, key, storet_text("v"), 0, NULL, storet_on_done, &answers[i]));
        if (i % 50 == 25)
            etcdt_ctl(etcd.port, "--user", "root:" PASSWORD, "role", "grant-permission", "half",
                      "read", key, NULL);
        fwt_run_for(1);
    }
    for (int i = 0; i < MANY; i++) {
        storet_await(&answers[i]);
        ck_assert_msg(!answers[i].status, "%s: %s", fw_error_name(answers[i].status),
                      answers[i].detail);
        free(answers[i].text);
    }
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(a_restarted_server_gives_a_new_token)
{
    fw_kv *kv = open_as("root", PASSWORD, "/restart", 15000);
    FWT_OK(storet_put(kv, "k", "1")->status);
    fwt_etcd_kill(&etcd);
    setenv("ETCD_AUTH_TOKEN_TTL", "2", 1);
    fwt_etcd_restart(&etcd);
    unsetenv("ETCD_AUTH_TOKEN_TTL");
    uint64_t start_ms = storet_now_ms();
    while (storet_put(kv, "k", "2")->status)
        ck_assert_uint_lt(storet_now_ms() - start_ms, 15000);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(a_store_without_users_takes_any)
{
    fwt_etcd open_to_all;
    char url[100];
    fwt_etcd_start(&open_to_all);
    snprintf(url, sizeof url, "etcd://root@127.0.0.1:%d/p", open_to_all.port);
    fw_kv *kv = etcdt_open_with(url, &(fw_kv_options){.password = PASSWORD});
    FWT_OK(storet_put(kv, "k", "1")->status);
    fwt_etcd_enable_users(&open_to_all, PASSWORD); /* from now on a token is needed */
    FWT_OK(storet_put(kv, "k", "2")->status);
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&open_to_all);
}
END_TEST

START_TEST(closing_ends_an_authentication)
{
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    char url[100];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/p", fwt_proxy_port(proxy));
    fw_kv *kv = etcdt_open_with(
        url, &(fw_kv_options){.user = "root", .password = PASSWORD, .timeout_ms = 1500});
    storet_answer put = {.done = false};
    FWT_OK(fw_kv_put(kv, "k", storet_text("v"), NULL, storet_on_done, &put));
    fwt_run_for(100);
    storet_close(kv, 1000);
    FWT_ERR(put.status, FW_ECANCELED);
    free(put.text);
    /* And when nobody closes it ends in time. */
    kv = etcdt_open_with(
        url, &(fw_kv_options){.user = "root", .password = PASSWORD, .timeout_ms = 1500});
    const storet_answer *answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EUNREACHABLE); /* it was never sent */
    storet_close(kv, STORET_WAIT_MS);
    fwt_proxy_end(proxy);
}
END_TEST

START_TEST(a_waiting_program_may_have_a_user)
{
    char url[200];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/wait", etcd.port);
    fw_wait_kv *kv;
    FWT_OK(fw_wait_kv_open(url, &(fw_kv_options){.user = "root", .password = PASSWORD}, &kv));
    FWT_OK(fw_wait_kv_put(kv, "k", storet_text("v"), NULL)->status);
    fwt_run_for(3300);
    FWT_OK(fw_wait_kv_put(kv, "k", storet_text("w"), NULL)->status);
    fw_wait_kv_close(kv);
}
END_TEST

START_TEST(a_password_needs_a_user)
{
    fw_kv *kv;
    FWT_ERR(fw_kv_open(fwt_loop, "etcd://127.0.0.1:1/p", &(fw_kv_options){.password = "x"}, &kv),
            FW_EOPTION);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd users");
    TCase *tcase = fwt_tcase(suite, "auth", 120);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, a_user_with_the_right_password_is_served);
    tcase_add_test(tcase, a_wrong_password_is_said_at_once);
    tcase_add_test(tcase, what_a_user_may_not_do_is_denied);
    tcase_add_test(tcase, a_token_is_renewed_once_for_all);
    tcase_add_test(tcase, changes_of_the_users_disturb_nobody);
    tcase_add_test(tcase, a_store_without_users_takes_any);
    tcase_add_test(tcase, closing_ends_an_authentication);
    tcase_add_test(tcase, a_waiting_program_may_have_a_user);
    tcase_add_test(tcase, a_password_needs_a_user);
    tcase_add_test(tcase, a_restarted_server_gives_a_new_token);
    return fwt_main(suite);
}
