/* A cluster of three members: its leader dies, members hang, the majority is gone. */
#include "ehttpt.h"

#include <signal.h>

static fw_kv *open_all(const fwt_etcd_cluster *cluster, unsigned timeout_ms)
{
    char url[200];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/p",
             cluster->members[0].port, cluster->members[1].port, cluster->members[2].port);
    return etcdt_open_url(url, timeout_ms);
}

#define WRITES 600

START_TEST(no_acknowledged_write_is_lost_or_doubled_when_the_leader_dies)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    fw_kv *kv = open_all(&cluster, 8000), *other = open_all(&cluster, 8000);
    storet_watcher watcher;
    storet_watch(&watcher, other, "", true);
    storet_expect(&watcher, "| ");
    static storet_answer answers[WRITES];
    char key[20];
    size_t leader = fwt_etcd_cluster_leader(&cluster);
    for (int i = 0; i < WRITES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FWT_OK(fw_kv_put(kv, key, storet_text("v"), NULL, storet_on_done, &answers[i]));
        if (i % 20 == 19)
            fwt_run_for(5);
        if (i == WRITES / 3)
            fwt_etcd_kill(&cluster.members[leader]);
    }
    for (int i = 0; i < WRITES; i++)
        storet_await(&answers[i]);
    FWT_OK(storet_put(kv, "last", "v")->status);
    storet_expect(&watcher, "+last=v ");
    size_t there = 0, done = 0;
    for (int i = 0; i < WRITES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        size_t count = storet_count(kv, key);
        there += count;
        if (!answers[i].status) {
            ck_assert_uint_eq(count, 1);
            done++;
        } else if (answers[i].status == FW_EUNREACHABLE) {
            ck_assert_uint_eq(count, 0);
        } else {
            FWT_ERR(answers[i].status, FW_EUNKNOWN);
        }
        free(answers[i].text);
    }
    ck_assert_uint_gt(done, WRITES / 2);
    ck_assert_uint_eq(watcher.puts, there + 1); /* each once */
    storet_close(kv, 3000);
    storet_close(other, 3000);
    storet_watcher_fini(&watcher);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

START_TEST(a_member_without_a_majority_makes_its_watch_stale)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    fw_kv *kv = etcdt_open(cluster.members[0].port, "/p", 2000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    fwt_proc_signal(cluster.members[1].proc, SIGSTOP);
    fwt_proc_signal(cluster.members[2].proc, SIGSTOP);
    storet_expect(&watcher, "stale ");
    ck_assert_msg(strstr(watcher.detail, "no leader"), "detail: %s", watcher.detail);
    const storet_answer *answer = storet_put(kv, "k", "no");
    ck_assert_msg(answer->status == FW_EUNREACHABLE || answer->status == FW_EUNKNOWN, "%s: %s",
                  fw_error_name(answer->status), answer->detail);
    fwt_proc_signal(cluster.members[1].proc, SIGCONT);
    fwt_proc_signal(cluster.members[2].proc, SIGCONT);
    storet_expect(&watcher, "live ");
    uint64_t deadline = storet_now_ms() + 10000;
    while (storet_put(kv, "k", "yes")->status)
        ck_assert_uint_lt(storet_now_ms(), deadline);
    storet_expect(&watcher, "+k=yes ");
    storet_close(kv, 3000);
    storet_watcher_fini(&watcher);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

START_TEST(a_member_that_hangs_costs_a_moment_and_no_lease)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    fw_kv *kv = open_all(&cluster, 6000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    storet_lease lease;
    storet_lease_new(&lease, kv, 6000);
    FWT_OK(lease.status);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(storet_put_with(kv, "held", "v", &options)->status);
    char key[20], wanted[30];
    for (int i = 0; i < 3; i++) {
        fwt_proc_signal(cluster.members[i].proc, SIGSTOP);
        FWT_OK(storet_exists(kv, "held")->status);
        snprintf(key, sizeof key, "k%d", i);
        uint64_t deadline = storet_now_ms() + 15000;
        while (storet_put(kv, key, "v")->status)
            ck_assert_uint_lt(storet_now_ms(), deadline);
        snprintf(wanted, sizeof wanted, "+%s=v ", key);
        storet_expect(&watcher, wanted);
        fwt_proc_signal(cluster.members[i].proc, SIGCONT);
        fwt_run_for(1500);
    }
    ck_assert_msg(!lease.lost, "%s", lease.detail);
    ck_assert_uint_eq(storet_exists(kv, "held")->count, 1);
    ck_assert_uint_eq(watcher.fatals, 0);
    storet_lease_close(&lease);
    storet_close(kv, 7000);
    storet_watcher_fini(&watcher);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http cluster");
    TCase *tcase = fwt_tcase(suite, "cluster", 120);
    tcase_add_test(tcase, no_acknowledged_write_is_lost_or_doubled_when_the_leader_dies);
    tcase_add_test(tcase, a_member_without_a_majority_makes_its_watch_stale);
    tcase_add_test(tcase, a_member_that_hangs_costs_a_moment_and_no_lease);
    return fwt_main(suite);
}
