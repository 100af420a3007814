/* Servers that are not there, die, or hang. For both drivers of etcd; what they do not have in
 * common is in test_etcd_failure_grpc.c and etcd_http/test_etcd_http_failure.c. */
#include "etcdt.h"

#include <signal.h>

START_TEST(a_store_that_comes_later_is_found)
{
    fwt_etcd etcd = {.port = fwt_free_port(), .peer_port = fwt_free_port()};
    snprintf(etcd.data_dir, sizeof etcd.data_dir, "%s/etcd", fwt_tmpdir());
    fw_kv *kv = etcdt_open(etcd.port, "/p", 1500);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    uint64_t start = storet_now_ms();
    const storet_answer *answer = storet_get(kv, "k");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_uint_lt(storet_now_ms() - start, 10000);
    char endpoint[40];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d: ", etcd.port);
    ck_assert_msg(strstr(answer->detail, endpoint) && strstr(answer->detail, "onnection refused"),
                  "detail: %s", answer->detail);
    answer = storet_put(kv, "k", "v");
    FWT_ERR(answer->status, FW_EUNREACHABLE);
    ck_assert_ptr_nonnull(strstr(answer->detail, endpoint));
    fw_kv_put_options options = {.ttl_ms = 1000};
    FWT_ERR(storet_put_with(kv, "k", "v", &options)->status, FW_EUNREACHABLE);
    ck_assert_str_eq(watcher.record, "stale ");
    ck_assert_int_eq(watcher.reason, FW_EUNREACHABLE);
    ck_assert_ptr_nonnull(strstr(watcher.detail, endpoint));
    fwt_etcd_restart(&etcd);
    storet_expect(&watcher, "| live ");
    ck_assert_str_eq(watcher.record, "stale | live ");
    FWT_OK(storet_put(kv, "k", "v")->status);
    storet_expect(&watcher, "+k=v ");
    storet_close(kv, STORET_WAIT_MS);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(an_endpoint_that_is_down_is_passed_over)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    char url[200];
    for (int i = 0; i < 6; i++) {
        /* Which is tried first is left to chance. */
        snprintf(url, sizeof url, ETCDT_SCHEME "://127.0.0.1:%d,127.0.0.1:%d/p", fwt_free_port(),
                 etcd.port);
        fw_kv *kv = etcdt_open_url(url, 3000);
        FWT_OK(storet_put(kv, "k", "v")->status);
        FWT_OK(storet_get(kv, "k")->status);
        storet_watcher watcher;
        storet_watch(&watcher, kv, "k", false);
        storet_expect(&watcher, "+k=v | ");
        ck_assert_uint_eq(watcher.stales, 0);
        storet_close(kv, STORET_WAIT_MS);
        storet_watcher_fini(&watcher);
    }
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(an_endpoint_that_hangs_is_passed_over_also_by_writes)
{
    fwt_etcd hung, good;
    fwt_etcd_start(&hung);
    fwt_etcd_start(&good);
    fwt_proc_signal(hung.proc, SIGSTOP);
    char url[200];
    snprintf(url, sizeof url, ETCDT_SCHEME "://127.0.0.1:%d,127.0.0.1:%d/p", hung.port, good.port);
    for (int i = 0; i < 4; i++) {
        fw_kv *kv = etcdt_open_url(url, 3000);
        FWT_OK(storet_put(kv, "k", "v")->status);
        FWT_OK(storet_get(kv, "k")->status);
        storet_close(kv, STORET_WAIT_MS);
    }
    fwt_etcd_kill(&hung);
    fwt_etcd_kill(&good);
}
END_TEST

START_TEST(everything_in_flight_ends_when_the_store_is_closed)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 1000);
    FWT_OK(storet_put(kv, "k", "v")->status);
    storet_watcher tree, key;
    storet_watch(&tree, kv, "", true);
    storet_watch(&key, kv, "k", false);
    storet_expect(&tree, "+k=v | ");
    storet_lease lease;
    storet_lease_new(&lease, kv, 5000);
    FWT_OK(lease.status);
    fwt_proc_signal(etcd.proc, SIGSTOP);
    enum { COUNT = 205 };
    static storet_answer all[COUNT];
    FWT_OK(fw_kv_put(kv, "k", storet_text("w"), NULL, storet_on_done, &all[0]));
    FWT_OK(fw_kv_get(kv, "k", storet_on_done, &all[1]));
    FWT_OK(fw_kv_list(kv, "", storet_on_done, &all[2]));
    FWT_OK(fw_kv_atomic_delete(kv, "k", 7, storet_on_done, &all[3]));
    fw_kv_put_options options = {.ttl_ms = 1000};
    FWT_OK(fw_kv_put(kv, "t", storet_text("w"), &options, storet_on_done, &all[4]));
    for (int i = 5; i < COUNT; i++) /* more than connections */
        FWT_OK(fw_kv_get(kv, "k", storet_on_done, &all[i]));
    fwt_run_for(50);
    storet_close(kv, STORET_WAIT_MS);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(all[i].done);
        FWT_ERR(all[i].status, FW_ECANCELED);
        free(all[i].text);
    }
    storet_watcher_fini(&tree);
    storet_watcher_fini(&key);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_store_may_be_closed_at_any_moment)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int ports[] = {etcd.port, fwt_free_port()};
    for (int i = 0; i < 20; i++) {
        fw_kv *kv = etcdt_open(ports[i % 2], "/p", 2000);
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        storet_answer answer = {.done = false};
        FWT_OK(fw_kv_put(kv, "k", storet_text("v"), NULL, storet_on_done, &answer));
        fwt_run_for((unsigned)i);
        storet_close(kv, STORET_WAIT_MS);
        ck_assert(answer.done);
        free(answer.text);
        storet_watcher_fini(&watcher);
    }
    fwt_etcd_kill(&etcd);
}
END_TEST

#define WRITES 300

/* The words of the answers are true: what is OK is there, what is unreachable was not done. */
START_TEST(a_server_killed_while_writing_and_watching_is_told_truly)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 2000);
    FWT_OK(storet_put(kv, "first", "v")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    static storet_answer answers[WRITES];
    char key[20];
    for (int i = 0; i < WRITES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FWT_OK(fw_kv_put(kv, key, storet_text("v"), NULL, storet_on_done, &answers[i]));
        if (i == WRITES / 2) {
            while (!answers[10].done)
                fwt_run_for(1);
            fwt_etcd_kill(&etcd);
        }
    }
    for (int i = 0; i < WRITES; i++)
        storet_await(&answers[i]);
    fwt_etcd_restart(&etcd);
    size_t kinds[2] = {0}, present = 0;
    for (int i = 0; i < WRITES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        int status = answers[i].status;
        size_t there = storet_count(kv, key);
        present += there;
        if (status == FW_OK)
            ck_assert_uint_eq(there, 1);
        else if (status == FW_EUNREACHABLE)
            ck_assert_uint_eq(there, 0);
        else
            FWT_ERR(status, FW_EUNKNOWN);
        kinds[status ? 1 : 0]++;
        free(answers[i].text);
    }
    ck_assert_uint_gt(kinds[0], 0);
    ck_assert_uint_gt(kinds[1], 0);
    /* Each once: what was written is seen, across the restart. */
    FWT_OK(storet_put(kv, "last", "v")->status);
    storet_expect(&watcher, "+last=v ");
    ck_assert_uint_eq(watcher.puts, present + 2);
    storet_close(kv, STORET_WAIT_MS);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create(ETCDT_SCHEME " failures");
    TCase *tcase = fwt_tcase(suite, "failures", 120);
    tcase_add_test(tcase, a_store_that_comes_later_is_found);
    tcase_add_test(tcase, an_endpoint_that_is_down_is_passed_over);
    tcase_add_test(tcase, an_endpoint_that_hangs_is_passed_over_also_by_writes);
    tcase_add_test(tcase, everything_in_flight_ends_when_the_store_is_closed);
    tcase_add_test(tcase, a_store_may_be_closed_at_any_moment);
    tcase_add_test(tcase, a_server_killed_while_writing_and_watching_is_told_truly);
#ifdef ETCDT_MORE
    etcdt_add_more(tcase);
#endif
    return fwt_main(suite);
}
