/* Operations across everything that can happen to the server and to the way there. */
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

START_TEST(a_store_that_is_not_there_is_unreachable_within_the_timeout)
{
    fwt_redis_kill(&redis);
    fw_kv *kv = redist_open(redis.port, "/0/p", 1000);
    uint64_t start_ms = storet_now_ms();
    const storet_answer *answer = storet_put(kv, "a", "1");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_ptr_nonnull(strstr(answer->detail, "refused"));
    FWT_ERR(storet_get(kv, "a")->status, FW_EUNREACHABLE);
    ck_assert_uint_lt(storet_now_ms() - start_ms, 6000);
    /* What is asked before the server comes is done when it does. */
    storet_answer put = {.text = NULL};
    fw_kv *patient = redist_open(redis.port, "/0/p", 15000);
    FWT_OK(fw_kv_put(patient, "a", storet_text("late"), NULL, storet_on_done, &put));
    fwt_run_for(300);
    fwt_redis_restart(&redis);
    storet_await(&put);
    FWT_OK(put.status);
    free(put.text);
    ck_assert_str_eq(storet_get(kv, "a")->text, "a=late;");
    storet_close(kv, 2000);
    storet_close(patient, 2000);
}
END_TEST

START_TEST(a_name_that_does_not_resolve_is_unreachable)
{
    fw_kv *kv = NULL;
    fw_kv_options options = {.timeout_ms = 1000};
    FWT_OK(fw_kv_open(fwt_loop, "redis://no-such-host.invalid/0", &options, &kv));
    const storet_answer *answer = storet_get(kv, "a");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    storet_close(kv, 20000);
    char url[64];
    snprintf(url, sizeof url, "redis://localhost:%d", redis.port);
    FWT_OK(fw_kv_open(fwt_loop, url, NULL, &kv));
    FWT_OK(storet_put(kv, "a", "1")->status);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_write_whose_answer_is_lost_is_unknown_and_a_read_is_repeated)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 10000);
    FWT_OK(storet_put(kv, "a", "1")->status);
    storet_answer put = {.text = NULL}, get = {.text = NULL}, list = {.text = NULL};
    fwt_proc_signal(redis.proc, SIGSTOP);
    FWT_OK(fw_kv_put(kv, "a", storet_text("2"), NULL, storet_on_done, &put));
    FWT_OK(fw_kv_get(kv, "b", storet_on_done, &get));
    FWT_OK(fw_kv_list(kv, "", storet_on_done, &list));
    fwt_run_for(100);
    ck_assert(!put.done && !get.done);
    fwt_redis_kill(&redis);
    storet_await(&put);
    FWT_ERR(put.status, FW_EUNKNOWN);
    fwt_redis_restart(&redis);
    storet_await(&get);
    storet_await(&list);
    FWT_ERR(get.status, FW_ENOTFOUND);
    FWT_OK(list.status);
    ck_assert_str_eq(list.text, "a=1;"); /* it was not done, in truth */
    free(put.text);
    free(get.text);
    free(list.text);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(an_answer_swallowed_on_the_way_is_unknown_once)
{
    fwt_proxy *proxy = fwt_proxy_start(redis.port);
    fw_kv *kv = redist_open(fwt_proxy_port(proxy), "/0/p", 3000);
    FWT_OK(storet_put(kv, "a", "1")->status);
    storet_answer put = {.text = NULL};
    fwt_proxy_swallow(proxy, 3);
    FWT_OK(fw_kv_atomic_put(kv, "b", storet_text("1"), 0, NULL, storet_on_done, &put));
    storet_await(&put);
    FWT_ERR(put.status, FW_EUNKNOWN);
    free(put.text);
    fwt_proxy_pass(proxy);
    ck_assert_str_eq(storet_get(kv, "b")->text, "b=1;"); /* it was done, in truth */
    storet_close(kv, 2000);
    fwt_proxy_end(proxy);
}
END_TEST

START_TEST(a_server_that_hangs_delays_nobody_beyond_the_timeout)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 1500);
    FWT_OK(storet_put(kv, "a", "1")->status);
    fwt_proc_signal(redis.proc, SIGSTOP);
    uint64_t start_ms = storet_now_ms();
    FWT_ERR(storet_put(kv, "a", "2")->status, FW_EUNKNOWN);
    int status = storet_get(kv, "a")->status;
    ck_assert(status == FW_EDEADLINE || status == FW_EUNREACHABLE);
    ck_assert_uint_lt(storet_now_ms() - start_ms, 6000);
    fwt_proc_signal(redis.proc, SIGCONT);
    storet_answer get = {.text = NULL};
    while (!get.text || strcmp(get.text, "a=2;")) { /* the hung write was done at last */
        get.done = false;
        FWT_OK(fw_kv_get(kv, "a", storet_on_done, &get));
        storet_await(&get);
    }
    free(get.text);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_flushed_script_is_loaded_again)
{
    enum { COUNT = 200 };
    fw_kv *kv = redist_open(redis.port, "/0/p", 5000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    for (int round = 0; round < 5; round++) {
        static storet_answer answers[COUNT];
        memset(answers, 0, sizeof answers);
        redist_cli(redis.port, "SCRIPT", "FLUSH", NULL);
        for (size_t i = 0; i < COUNT; i++) {
            if (i % 2)
                FWT_OK(fw_kv_put(kv, "a", storet_text("1"), NULL, storet_on_done, &answers[i]));
            else
                FWT_OK(fw_kv_list(kv, "", storet_on_done, &answers[i]));
        }
        for (size_t i = 0; i < COUNT; i++) {
            storet_await(&answers[i]);
            FWT_OK(answers[i].status);
            free(answers[i].text);
        }
    }
    FWT_OK(storet_put(kv, "end", "1")->status);
    storet_expect(&watcher, "+end=1 ");
    ck_assert_uint_eq(watcher.puts, 5 * COUNT / 2 + 1);
    ck_assert_uint_eq(watcher.stales, 0);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_replica_takes_no_writes_until_it_is_promoted)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 4000);
    FWT_OK(storet_put(kv, "a", "1")->status);
    redist_cli(redis.port, "REPLICAOF", "127.0.0.1", "1", NULL);
    const storet_answer *answer = storet_put(kv, "a", "2");
    FWT_ERR(answer->status, FW_EUNREACHABLE); /* it was refused, so nothing was done */
    ck_assert_ptr_nonnull(strstr(answer->detail, "READONLY"));
    ck_assert_str_eq(storet_get(kv, "a")->text, "a=1;");
    redist_cli(redis.port, "REPLICAOF", "NO", "ONE", NULL);
    storet_answer put = {.status = FW_EUNREACHABLE};
    FWT_OK(fw_kv_put(kv, "a", storet_text("3"), NULL, storet_on_done, &put));
    storet_await(&put);
    FWT_OK(put.status);
    free(put.text);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_node_of_a_cluster_serves_a_store)
{
    fwt_redis node;
    char bus_port[16];
    snprintf(bus_port, sizeof bus_port, "%d", fwt_free_port());
    const char *const options[] = {"--cluster-enabled", "yes", "--cluster-port", bus_port, NULL};
    fwt_redis_start(&node, options);
    fw_kv *kv = redist_open(node.port, "/0/p/}{q", 15000);
    storet_answer put = {.text = NULL};
    FWT_OK(fw_kv_put(kv, "a", storet_text("1"), NULL, storet_on_done, &put));
    fwt_run_for(200);
    ck_assert(!put.done); /* CLUSTERDOWN: nobody has the slots */
    redist_cli(node.port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383", NULL);
    storet_await(&put);
    FWT_OK(put.status);
    free(put.text);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "+a=1 | ");
    FWT_OK(
        storet_put_bytes(kv, "b", storet_text("1"), &(fw_kv_put_options){.ttl_ms = 1000})->status);
    storet_expect(&watcher, "+b=1 -b ");
    ck_assert_uint_eq(storet_delete_tree(kv, "")->count, 1);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_redis_kill(&node);
}
END_TEST

START_TEST(the_largest_values_come_and_go_whole)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 15000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "big", false);
    storet_expect(&watcher, "| ");
    size_t len = (size_t)16 * 1024 * 1024;
    char *value = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        value[i] = (char)('a' + i % 23);
    value[len] = 0;
    FWT_OK(storet_put_bytes(kv, "big", (fw_slice){value, len}, NULL)->status);
    storet_expect(&watcher, "+big= ");
    ck_assert_str_eq(watcher.last_value, value);
    const storet_answer *answer = storet_get(kv, "big");
    FWT_OK(answer->status);
    ck_assert_uint_eq(strlen(answer->text), len + 5);
    ck_assert(!strncmp(answer->text + 4, value, len));
    FWT_ERR(fw_kv_put(kv, "big", (fw_slice){value, len + 1}, NULL, storet_on_done, NULL),
            FW_EVALUESIZE);
    free(value);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

/* Everything that can be under way. */
static void start_everything(fw_kv *kv, storet_answer *answers, size_t count,
                             storet_watcher *watchers)
{
    for (size_t i = 0; i < count; i++) {
        int err = i % 3 == 0
                      ? fw_kv_put(kv, "k", storet_text("1"), NULL, storet_on_done, &answers[i])
                  : i % 3 == 1 ? fw_kv_get(kv, "k", storet_on_done, &answers[i])
                               : fw_kv_list(kv, "", storet_on_done, &answers[i]);
        FWT_OK(err);
    }
    storet_watch(&watchers[0], kv, "", true);
    storet_watch(&watchers[1], kv, "k", false);
}

START_TEST(it_closes_with_everything_in_flight)
{
    enum { COUNT = 60, MOMENTS = 6 };
    for (int moment = 0; moment < MOMENTS; moment++) {
        static storet_answer answers[COUNT];
        memset(answers, 0, sizeof answers);
        storet_watcher watchers[2];
        fw_kv *kv = redist_open(redis.port, "/0/p", 1000);
        storet_lease lease;
        storet_lease_new(&lease, kv, 5000);
        FWT_OK(lease.status);
        if (moment == 4)
            fwt_proc_signal(redis.proc, SIGSTOP);
        if (moment == 5)
            fwt_redis_kill(&redis);
        start_everything(kv, answers, COUNT, watchers);
        if (moment)
            fwt_run_for((unsigned)(moment - 1) * 3);
        storet_close(kv, 4000);
        for (size_t i = 0; i < COUNT; i++) {
            ck_assert(answers[i].done);
            free(answers[i].text);
        }
        storet_watcher_fini(&watchers[0]);
        storet_watcher_fini(&watchers[1]);
        if (moment == 4)
            fwt_proc_signal(redis.proc, SIGCONT);
    }
    fwt_redis_restart(&redis);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis failure");
    TCase *tcase = fwt_tcase(suite, "failure", 90);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, a_store_that_is_not_there_is_unreachable_within_the_timeout);
    tcase_add_test(tcase, a_name_that_does_not_resolve_is_unreachable);
    tcase_add_test(tcase, a_write_whose_answer_is_lost_is_unknown_and_a_read_is_repeated);
    tcase_add_test(tcase, an_answer_swallowed_on_the_way_is_unknown_once);
    tcase_add_test(tcase, a_server_that_hangs_delays_nobody_beyond_the_timeout);
    tcase_add_test(tcase, a_flushed_script_is_loaded_again);
    tcase_add_test(tcase, a_replica_takes_no_writes_until_it_is_promoted);
    tcase_add_test(tcase, a_node_of_a_cluster_serves_a_store);
    tcase_add_test(tcase, the_largest_values_come_and_go_whole);
    tcase_add_test(tcase, it_closes_with_everything_in_flight);
    return fwt_main(suite);
}
