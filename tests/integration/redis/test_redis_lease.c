/* Leases across what can happen to the server and to their owner. */
#include "redist.h"

#include <signal.h>

static fwt_redis redis;

static void start(void)
{
    fwt_redis_start(&redis, NULL);
}

static void stop(void)
{
    fwt_redis_kill(&redis);
}

static void put_under(fw_kv *kv, const char *key, storet_lease *lease)
{
    fw_kv_put_options options = {.lease = lease->lease};
    FWT_OK(storet_put_bytes(kv, key, storet_text("v"), &options)->status);
}

START_TEST(a_lease_outlives_a_restart_of_the_server)
{
    fw_kv *kv = redist_open(redis.port, "/0/restart", 3000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 6000);
    put_under(kv, "k", &lease);
    fwt_redis_kill(&redis);
    fwt_redis_restart(&redis);
    fwt_run_for(7000); /* longer than its time: it was renewed */
    ck_assert(!lease.lost);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=v;");
    storet_lease_close(&lease);
    FWT_ERR(storet_get(kv, "k")->status, FW_ENOTFOUND);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_lease_is_lost_while_the_server_hangs)
{
    fw_kv *kv = redist_open(redis.port, "/0/hang", 2000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    put_under(kv, "k", &lease);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "+k=v | ");
    fwt_proc_signal(redis.proc, SIGSTOP);
    fwt_run_until(&lease.lost, STORET_WAIT_MS);
    FWT_ERR(lease.reason, FW_ELEASE);
    storet_expect(&watcher, "stale ");
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_ERR(fw_kv_put(kv, "k", storet_text("w"), &options, storet_on_done, NULL), FW_ELEASE);
    fwt_proc_signal(redis.proc, SIGCONT);
    storet_expect(&watcher, "-k ");
    storet_expect(&watcher, "live ");
    ck_assert_uint_eq(watcher.resyncs, 0);
    storet_lease_close(&lease);
    storet_close(kv, 3000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(an_owner_that_is_cut_off_loses_its_lease_before_the_others_see_it_go)
{
    fwt_proxy *proxy = fwt_proxy_start(redis.port);
    fw_kv *owner = redist_open(fwt_proxy_port(proxy), "/0/cut", 1000);
    fw_kv *other = redist_open(redis.port, "/0/cut", 3000);
    storet_lease lease;
    storet_lease_new(&lease, owner, 2000);
    put_under(owner, "k", &lease);
    storet_watcher watcher;
    storet_watch(&watcher, other, "", true);
    storet_expect(&watcher, "+k=v | ");
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    fwt_run_until(&lease.lost, STORET_WAIT_MS);
    ck_assert_uint_eq(watcher.deletes, 0);
    storet_expect(&watcher, "-k ");
    fwt_proxy_pass(proxy);
    storet_close(owner, 5000);
    storet_close(other, 2000);
    fwt_proxy_end(proxy);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_lease_outlives_a_connection_that_died_silently)
{
    enum { BIG = 4000, ENOUGH = 2000 };
    fwt_proxy *proxy = fwt_proxy_start(redis.port);
    fw_kv *kv = redist_open(fwt_proxy_port(proxy), "/0/silent", 1000);
    char big[BIG];
    memset(big, 'x', sizeof big);
    FWT_OK(storet_put_bytes(kv, "big", (fw_slice){big, sizeof big}, NULL)->status);
    storet_lease lease;
    storet_lease_new(&lease, kv, 6000);
    put_under(kv, "k", &lease);
    /* This uses up what the connection may still say; a new one may say enough for a lease. */
    fwt_proxy_swallow(proxy, ENOUGH);
    ck_assert_int_ne(storet_get(kv, "big")->status, FW_OK);
    fwt_run_for(8000);
    ck_assert(!lease.lost);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=v;");
    storet_lease_close(&lease);
    storet_close(kv, 3000);
    fwt_proxy_end(proxy);
}
END_TEST

START_TEST(reads_do_not_put_off_an_expiry)
{
    /* An owner that is gone; the only other one reads and watches. */
    fw_kv *kv = redist_open(redis.port, "/0/reads", 3000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    fw_kv_put_options options = {.ttl_ms = 1000};
    FWT_OK(storet_put_bytes(kv, "goes", storet_text("1"), &options)->status);
    storet_expect(&watcher, "+goes=1 ");
    uint64_t start_ms = storet_now_ms();
    while (!watcher.deletes) {
        ck_assert_uint_lt(storet_now_ms() - start_ms, STORET_WAIT_MS);
        (void)storet_get(kv, "goes");
    }
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(what_expired_while_nobody_was_there_is_gone_for_all)
{
    fw_kv *kv = redist_open(redis.port, "/0/nobody", 3000);
    fw_kv_put_options options = {.ttl_ms = 1000};
    FWT_OK(storet_put_bytes(kv, "goes", storet_text("1"), &options)->status);
    FWT_OK(storet_put_bytes(kv, "stays", storet_text("1"), NULL)->status);
    storet_close(kv, 2000);
    fwt_run_for(1500);
    kv = redist_open(redis.port, "/0/nobody", 3000);
    ck_assert_str_eq(storet_list(kv, "")->text, "stays=1;"); /* a read does not delete */
    FWT_ERR(storet_delete(kv, "goes")->status, FW_ENOTFOUND);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(pairs_that_are_put_anew_leave_no_lease_behind)
{
    fw_kv *kv = redist_open(redis.port, "/0/garbage", 3000);
    fw_kv_put_options options = {.ttl_ms = 3600000};
    for (int i = 0; i < 100; i++)
        FWT_OK(storet_put_bytes(kv, "k", storet_text("1"), &options)->status);
    ck_assert_str_eq(redist_cli(redis.port, "ZCARD", "{fairway/garbage}:leases", NULL), "1\n");
    FWT_OK(storet_delete(kv, "k")->status);
    ck_assert_str_eq(redist_cli(redis.port, "ZCARD", "{fairway/garbage}:leases", NULL), "0\n");
    ck_assert_str_eq(redist_cli(redis.port, "ZCARD", "{fairway/garbage}:held", NULL), "0\n");
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_full_memory_ends_no_lease_and_lets_delete)
{
    fw_kv *kv = redist_open(redis.port, "/0/full", 3000);
    storet_lease lease, another;
    storet_lease_new(&lease, kv, 1500);
    put_under(kv, "k", &lease);
    redist_cli(redis.port, "CONFIG", "SET", "maxmemory", "1000", NULL);
    const storet_answer *answer = storet_put(kv, "more", "1");
    FWT_ERR(answer->status, FW_ENOSPACE);
    ck_assert_ptr_nonnull(strstr(answer->detail, "OOM"));
    storet_lease_new(&another, kv, 5000);
    FWT_ERR(another.status, FW_ENOSPACE);
    fwt_run_for(3000);
    ck_assert(!lease.lost);
    ck_assert_str_eq(storet_list(kv, "")->text, "k=v;");
    FWT_OK(storet_delete(kv, "k")->status);
    redist_cli(redis.port, "CONFIG", "SET", "maxmemory", "0", NULL);
    FWT_OK(storet_put(kv, "more", "1")->status);
    storet_close(kv, 2000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis lease");
    TCase *tcase = fwt_tcase(suite, "lease", 60);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, a_lease_outlives_a_restart_of_the_server);
    tcase_add_test(tcase, a_lease_is_lost_while_the_server_hangs);
    tcase_add_test(tcase, an_owner_that_is_cut_off_loses_its_lease_before_the_others_see_it_go);
    tcase_add_test(tcase, a_lease_outlives_a_connection_that_died_silently);
    tcase_add_test(tcase, reads_do_not_put_off_an_expiry);
    tcase_add_test(tcase, what_expired_while_nobody_was_there_is_gone_for_all);
    tcase_add_test(tcase, pairs_that_are_put_anew_leave_no_lease_behind);
    tcase_add_test(tcase, a_full_memory_ends_no_lease_and_lets_delete);
    return fwt_main(suite);
}
