/* Three members: what becomes of writes when one of them is killed, hangs, or is not there. */
#include "etcdt.h"

#include <signal.h>

#define WRITES    600
#define IN_FLIGHT 32

/* The URL with all members. */
static const char *url_of(const fwt_etcd_cluster *cluster, const char *path)
{
    static char url[300];
    fwt_etcd_cluster_url(cluster, path, url, sizeof url);
    return url;
}

/* One write: key i with value i, made only if the key is not there. */
static struct write {
    bool done;
    int status;
    char detail[300];
    int64_t revision;
} writes[WRITES];
static size_t begun, ended;

static void on_written(const fw_kv_result *result, void *arg)
{
    struct write *write = arg;
    ck_assert(!write->done);
    write->done = true;
    write->status = result->status;
    write->revision = result->revision;
    snprintf(write->detail, sizeof write->detail, "%s", result->detail);
    ended++;
}

static void write_next(fw_kv *kv)
{
    char key[20];
    snprintf(key, sizeof key, "k%04zu", begun);
    FWT_OK(fw_kv_atomic_put(kv, key, storet_text(key), 0, NULL, on_written, &writes[begun]));
    begun++;
}

/* Writes all, with so many in flight, and does something to the cluster in the middle. */
static void write_all(fw_kv *kv, void (*disturb)(fwt_etcd_cluster *), fwt_etcd_cluster *cluster)
{
    uint64_t deadline_ms = storet_now_ms() + 60000;
    begun = ended = 0;
    memset(writes, 0, sizeof writes);
    while (ended < WRITES) {
        while (begun < WRITES && begun - ended < IN_FLIGHT) {
            if (begun == WRITES / 2)
                disturb(cluster);
            write_next(kv);
        }
        fwt_run_for(1);
        ck_assert_uint_lt(storet_now_ms(), deadline_ms);
    }
}

/* What is OK is there as it was acknowledged, what is unknown may be, the rest is not; and a watch
 * saw each key once. Returns how many were acknowledged. */
static size_t check_writes(fw_kv *kv, storet_watcher *watcher)
{
    size_t acknowledged = 0, there = 0;
    for (size_t i = 0; i < WRITES; i++) {
        char key[20];
        snprintf(key, sizeof key, "k%04zu", i);
        const storet_answer *answer = storet_get(kv, key);
        ck_assert(answer->status == FW_OK || answer->status == FW_ENOTFOUND);
        bool is_there = answer->status == FW_OK;
        there += is_there;
        switch (writes[i].status) {
        case FW_OK:
            ck_assert_msg(is_there, "%s was acknowledged and is gone", key);
            ck_assert_int_eq(answer->pair_revision, writes[i].revision);
            acknowledged++;
            break;
        case FW_EUNKNOWN:
            break;
        default:
            ck_assert_msg(writes[i].status == FW_EUNREACHABLE && !is_there, "%s: %s: %s", key,
                          fw_error_name(writes[i].status), writes[i].detail);
        }
    }
    fwt_run_count(&watcher->puts, there, STORET_WAIT_MS);
    fwt_run_for(100);
    ck_assert_uint_eq(watcher->puts, there);
    ck_assert_uint_eq(watcher->fatals, 0);
    return acknowledged;
}

static void run(fwt_etcd_cluster *cluster, void (*disturb)(fwt_etcd_cluster *), size_t least)
{
    fw_kv *kv = etcdt_open_url(url_of(cluster, "/p"), 4000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    write_all(kv, disturb, cluster);
    size_t acknowledged = check_writes(kv, &watcher);
    ck_assert_msg(acknowledged >= least, "%zu were acknowledged", acknowledged);
    storet_close(kv, STORET_WAIT_MS);
    storet_watcher_fini(&watcher);
}

static void kill_leader(fwt_etcd_cluster *cluster)
{
    fwt_etcd_kill(&cluster->members[fwt_etcd_cluster_leader(cluster)]);
}

START_TEST(a_killed_leader_loses_and_doubles_nothing)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    run(&cluster, kill_leader, WRITES - 2 * IN_FLIGHT);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

static void stop_leader(fwt_etcd_cluster *cluster)
{
    fwt_proc_signal(cluster->members[fwt_etcd_cluster_leader(cluster)].proc, SIGSTOP);
}

START_TEST(a_stopped_leader_loses_and_doubles_nothing)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    run(&cluster, stop_leader, WRITES - 4 * IN_FLIGHT);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

START_TEST(a_member_that_is_down_at_the_start_is_passed_over)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    /* Not the leader: while another is elected, a write may end with FW_EUNKNOWN. */
    fwt_etcd *down = &cluster.members[(fwt_etcd_cluster_leader(&cluster) + 1) % 3];
    fwt_etcd_kill(down);
    for (int i = 0; i < 6; i++) { /* which is tried first is left to chance */
        fw_kv *kv = etcdt_open_url(url_of(&cluster, "/p"), 5000);
        uint64_t start_ms = storet_now_ms();
        FWT_OK(storet_put(kv, "k", "v")->status);
        FWT_OK(storet_get(kv, "k")->status);
        ck_assert_uint_lt(storet_now_ms() - start_ms, 15000);
        storet_close(kv, STORET_WAIT_MS);
    }
    fwt_etcd_restart(down);
    fw_kv *kv = etcdt_open(down->port, "/p", 5000);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=v;");
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

/* Two of three are gone: no write is acknowledged, and all are answered in time. */
START_TEST(without_a_majority_nothing_is_acknowledged)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    fw_kv *kv = etcdt_open_url(url_of(&cluster, "/p"), 3000);
    FWT_OK(storet_put(kv, "k", "before")->status);
    fwt_etcd_kill(&cluster.members[0]);
    fwt_etcd_kill(&cluster.members[2]);
    int status = storet_put(kv, "k", "during")->status;
    ck_assert_msg(status == FW_EUNKNOWN || status == FW_EUNREACHABLE, "%s", fw_error_name(status));
    status = storet_get(kv, "k")->status;
    ck_assert_msg(status == FW_EDEADLINE || status == FW_EUNREACHABLE, "%s", fw_error_name(status));
    fwt_etcd_restart(&cluster.members[0]);
    uint64_t start_ms = storet_now_ms();
    while (storet_put(kv, "k", "after")->status)
        ck_assert_uint_lt(storet_now_ms() - start_ms, STORET_WAIT_MS);
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_cluster_end(&cluster);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd cluster");
    TCase *tcase = fwt_tcase(suite, "cluster", 120);
    tcase_add_test(tcase, a_killed_leader_loses_and_doubles_nothing);
    tcase_add_test(tcase, a_stopped_leader_loses_and_doubles_nothing);
    tcase_add_test(tcase, a_member_that_is_down_at_the_start_is_passed_over);
    tcase_add_test(tcase, without_a_majority_nothing_is_acknowledged);
    return fwt_main(suite);
}
