/* Users, passwords, permissions, databases, URLs. */
#include "redist.h"

static fwt_redis redis;

static void start(void)
{
    static const char *const options[] = {"--requirepass", "right", NULL};
    fwt_redis_start(&redis, options);
}

static void stop(void)
{
    fwt_redis_kill(&redis);
}

/* As one who may do everything. */
static fw_kv *open_with(const char *user, const char *password)
{
    return redist_open_as(
        redis.port, "/0/p",
        &(fw_kv_options){.timeout_ms = 10000, .user = user, .password = password});
}

START_TEST(the_right_password_is_taken)
{
    fw_kv *kv = open_with(NULL, "right");
    FWT_OK(storet_put(kv, "a", "1")->status);
    ck_assert_str_eq(storet_get(kv, "a")->text, "a=1;");
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_wrong_password_is_told_at_once)
{
    static const char *const wrong[] = {"wr0ng-secret", NULL};
    for (size_t i = 0; i < 2; i++) {
        fw_kv *kv = open_with(NULL, wrong[i]);
        uint64_t start_ms = storet_now_ms();
        FWT_ERR(storet_put(kv, "a", "1")->status, FW_EAUTH);
        const storet_answer *answer = storet_get(kv, "a");
        FWT_ERR(answer->status, FW_EAUTH);
        ck_assert_uint_lt(storet_now_ms() - start_ms, 8000); /* before the deadline */
        ck_assert(*answer->detail);
        ck_assert_ptr_null(strstr(answer->detail, "secret"));
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        storet_expect(&watcher, "stale ");
        FWT_ERR(watcher.reason, FW_EAUTH);
        storet_lease lease;
        storet_lease_new(&lease, kv, 5000);
        FWT_ERR(lease.status, FW_EAUTH);
        storet_close(kv, 2000);
        storet_watcher_fini(&watcher);
    }
}
END_TEST

START_TEST(a_user_that_appears_later_is_let_in)
{
    fw_kv *kv = open_with("late", "pw");
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "stale ");
    redist_cli(redis.port, "-a", "right", "--no-auth-warning", "ACL", "SETUSER", "late", "on",
               ">pw", "~*", "&*", "+@all", NULL);
    storet_expect(&watcher, "live ");
    FWT_OK(storet_put(kv, "late", "1")->status);
    storet_expect(&watcher, "+late=1 ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(what_a_user_may_not_is_denied)
{
    redist_cli(redis.port, "-a", "right", "--no-auth-warning", "ACL", "SETUSER", "other", "on",
               ">pw", "~elsewhere*", "+@all", NULL);
    fw_kv *kv = open_with("other", "pw");
    FWT_ERR(storet_put(kv, "a", "1")->status, FW_EDENIED);
    FWT_ERR(storet_get(kv, "a")->status, FW_EDENIED);
    FWT_ERR(storet_list(kv, "a")->status, FW_EDENIED);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "stale ");
    FWT_ERR(watcher.reason, FW_EDENIED);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    redist_cli(redis.port, "-a", "right", "--no-auth-warning", "ACL", "SETUSER", "reader", "on",
               ">pw", "~*", "+@read", "+evalsha", "+script|load", "+time", NULL);
    kv = open_with("reader", "pw");
    FWT_ERR(storet_put(kv, "a", "1")->status, FW_EDENIED);
    FWT_OK(storet_list(kv, "")->status);
    storet_close(kv, 2000);
    redist_cli(redis.port, "-a", "right", "--no-auth-warning", "ACL", "SETUSER", "nothing", "on",
               ">pw", "~*", "+get", NULL);
    kv = open_with("nothing", "pw");
    FWT_ERR(storet_put(kv, "a", "1")->status, FW_EDENIED);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(the_least_permissions_suffice)
{
    redist_cli(redis.port, "-a", "right", "--no-auth-warning", "ACL", "SETUSER", "least", "on",
               ">pw", "~{fairway/p}:*", "+select", "+@scripting", "+time", "+@hash", "+@sortedset",
               "+@stream", "+exists", "+del", NULL);
    fw_kv *kv =
        redist_open_as(redis.port, "/2/p", &(fw_kv_options){.user = "least", .password = "pw"});
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    FWT_OK(storet_put(kv, "x/a", "1")->status);
    storet_expect(&watcher, "+x/a=1 ");
    storet_lease lease;
    storet_lease_new(&lease, kv, 5000);
    FWT_OK(lease.status);
    FWT_OK(storet_put_bytes(kv, "x/b", storet_text("1"), &(fw_kv_put_options){lease.lease, 0})
               ->status);
    storet_lease_close(&lease);
    ck_assert_str_eq(storet_list(kv, "x")->text, "x/a=1;");
    ck_assert_uint_eq(storet_delete_tree(kv, "x")->count, 1);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(databases_and_prefixes_are_stores_of_their_own)
{
    static const char *const paths[] = {"", "/1", "/1/a", "/1/a/b", "/2//a/", "/1/{x}"};
    enum { COUNT = sizeof paths / sizeof *paths };
    fw_kv *stores[COUNT];
    const fw_kv_options options = {.password = "right"};
    for (size_t i = 0; i < COUNT; i++) {
        char value[8];
        snprintf(value, sizeof value, "%zu", i);
        stores[i] = redist_open_as(redis.port, paths[i], &options);
        FWT_OK(storet_put(stores[i], "k", value)->status);
    }
    for (size_t i = 0; i < COUNT; i++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "k=%zu;", i);
        ck_assert_str_eq(storet_list(stores[i], "")->text, wanted);
        storet_close(stores[i], 2000);
    }
    fw_kv *same = redist_open_as(redis.port, "/2/a", &options);
    ck_assert_str_eq(storet_get(same, "k")->text, "k=4;");
    storet_close(same, 2000);
    fw_kv *none = redist_open_as(redis.port, "/999", &options);
    const storet_answer *answer = storet_get(none, "k");
    FWT_ERR(answer->status, FW_ESTORE);
    ck_assert_ptr_nonnull(strstr(answer->detail, "out of range"));
    storet_close(none, 2000);
}
END_TEST

START_TEST(bad_urls_are_refused_with_a_reason)
{
    static const struct {
        const char *url;
        int error;
    } bad[] = {{"redis:", FW_EURL},
               {"redis:///0", FW_EURL},
               {"redis://h/x", FW_EURL},
               {"redis://h/0x", FW_EURL},
               {"redis://h/99999999999", FW_EURL},
               {"redis://a:1,b:2/0", FW_EURL},
               {"redis://h/0?db=1", FW_EOPTION},
               {"redis://h/0?cacert=/dev/null", FW_EOPTION},
               {"rediss://h/0", FW_ESCHEME}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char detail[200] = "";
        fw_kv *kv;
        fw_kv_options options = {.detail = detail, .detail_size = sizeof detail};
        FWT_ERR(fw_kv_open(fwt_loop, bad[i].url, &options, &kv), bad[i].error);
        ck_assert_msg(*detail, "%s", bad[i].url);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis access");
    TCase *tcase = fwt_tcase(suite, "access", 60);
    tcase_add_unchecked_fixture(tcase, start, stop);
    tcase_add_test(tcase, the_right_password_is_taken);
    tcase_add_test(tcase, a_wrong_password_is_told_at_once);
    tcase_add_test(tcase, a_user_that_appears_later_is_let_in);
    tcase_add_test(tcase, what_a_user_may_not_is_denied);
    tcase_add_test(tcase, the_least_permissions_suffice);
    tcase_add_test(tcase, databases_and_prefixes_are_stores_of_their_own);
    tcase_add_test(tcase, bad_urls_are_refused_with_a_reason);
    return fwt_main(suite);
}
