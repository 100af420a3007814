/* Many leases, whose renewals share one stream. */
#include "etcdt.h"

#include <signal.h>

#define MANY           300
#define LEASE_STREAMS  "grpc_server_started_total{grpc_method=\"LeaseKeepAlive\""
#define LEASE_MESSAGES "grpc_server_msg_received_total{grpc_method=\"LeaseKeepAlive\""

static struct held {
    fw_kv_lease *lease;
    bool closed;
} held[MANY];
static size_t granted, lost, closed;

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    (void)arg;
    ck_assert_msg(!status, "%s: %s", fw_error_name(status), detail);
    granted++;
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    (void)arg;
    (void)reason;
    (void)detail;
    lost++;
}

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void grant_many(fw_kv *kv, size_t count, unsigned ttl_ms)
{
    granted = lost = closed = 0;
    fw_kv_lease_options options = {.ttl_ms = ttl_ms, .on_granted = on_granted, .on_lost = on_lost};
    for (size_t i = 0; i < count; i++)
        FWT_OK(fw_kv_lease_new(kv, &options, &held[i].lease));
    fwt_run_count(&granted, count, STORET_WAIT_MS);
}

START_TEST(hundreds_are_kept_on_one_stream)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 10000);
    grant_many(kv, MANY, 3000);
    uint32_t ttl_ms = fw_kv_lease_ttl_ms(held[0].lease);
    fwt_run_for(5 * ttl_ms / 2);
    ck_assert_uint_eq(lost, 0);
    ck_assert_uint_eq(fwt_etcd_metric(etcd.port, LEASE_STREAMS), 1);
    /* Three times in its time, at most a tenth earlier. */
    unsigned long messages = fwt_etcd_metric(etcd.port, LEASE_MESSAGES);
    ck_assert_uint_ge(messages, MANY * 5);
    ck_assert_uint_le(messages, MANY * 9);
    for (size_t i = 0; i < MANY; i++)
        fw_kv_lease_close(held[i].lease, on_closed, NULL);
    fwt_run_count(&closed, MANY, STORET_WAIT_MS);
    ck_assert(strstr(etcdt_ctl(etcd.port, "lease", "list", NULL), "found 0 leases"));
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(all_survive_a_cut_and_a_restart)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 10000);
    grant_many(kv, MANY, 12000); /* much more than a restart takes */
    fwt_run_for(4200);           /* into the renewals */
    fwt_proxy_cut(proxy, true);
    fwt_run_for(500);
    fwt_etcd_kill(&etcd);
    fwt_etcd_restart(&etcd);
    fwt_run_for(12500);
    ck_assert_uint_eq(lost, 0);
    /* Those that the server ends are told apart from those that it keeps. */
    char id[32];
    snprintf(id, sizeof id, "%llx", (long long)fw_kv_lease_id(held[17].lease));
    etcdt_ctl(etcd.port, "lease", "revoke", id, NULL);
    fwt_run_count(&lost, 1, STORET_WAIT_MS);
    fwt_run_for(500);
    ck_assert_uint_eq(lost, 1);
    storet_close(kv, 5000);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* The server answers nothing for longer than a renewal may take, but not for the whole time. */
START_TEST(silence_that_ends_in_time_costs_nothing)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 3000);
    grant_many(kv, 50, 6000);
    fwt_run_for(1000);
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
    fwt_run_for(4000);
    fwt_proxy_pass(proxy);
    fwt_run_for(6500);
    ck_assert_uint_eq(lost, 0);
    /* And silence that does not end costs all of them, by our own clock. */
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    fwt_run_count(&lost, 50, 12000);
    fwt_proxy_pass(proxy);
    storet_close(kv, 5000);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- a cluster ---- */

/* The member that carries the renewals: the one whose count of them has grown. */
static size_t carrier(const fwt_etcd_cluster *cluster, const unsigned long *before)
{
    uint64_t deadline = storet_now_ms() + STORET_WAIT_MS;
    while (storet_now_ms() < deadline) {
        for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
            if (fwt_etcd_metric(cluster->members[i].port, LEASE_MESSAGES) > before[i])
                return i;
        fwt_run_for(50);
    }
    ck_abort_msg("no member has renewed anything");
}

/* A lease, a key under it and a watch of it survive what is done to the member of the stream. */
static void survive(int signal)
{
    fwt_etcd_cluster cluster;
    fwt_etcd_cluster_start(&cluster);
    char url[300];
    unsigned long before[FWT_ETCD_MEMBERS] = {0};
    fwt_etcd_cluster_url(&cluster, "/p", url, sizeof url);
    fw_kv *kv = etcdt_open_url(url, 5000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 6000);
    FWT_OK(lease.status);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "+k=v | ");
    size_t victim = carrier(&cluster, before);
    fwt_proc_signal(cluster.members[victim].proc, signal);
    fwt_run_for(fw_kv_lease_ttl_ms(lease.lease) * 3 / 2);
    ck_assert_msg(!lease.lost, "%s", lease.detail);
    ck_assert_uint_eq(storet_exists(kv, "k")->count, 1);
    FWT_OK(storet_put(kv, "end", "v")->status);
    storet_expect(&watcher, "+end=v ");
    ck_assert_uint_eq(watcher.deletes, 0);
    if (signal == SIGSTOP)
        fwt_proc_signal(cluster.members[victim].proc, SIGCONT);
    storet_lease_close(&lease);
    storet_expect(&watcher, "-k ");
    storet_close(kv, 3000);
    storet_watcher_fini(&watcher);
    fwt_etcd_cluster_end(&cluster);
}

START_TEST(a_lease_outlives_the_member_that_renews_it)
{
    survive(SIGKILL);
}
END_TEST

START_TEST(a_lease_outlives_a_member_that_hangs)
{
    survive(SIGSTOP);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("many etcd leases");
    TCase *tcase = fwt_tcase(suite, "many", 120);
    tcase_add_test(tcase, hundreds_are_kept_on_one_stream);
    tcase_add_test(tcase, all_survive_a_cut_and_a_restart);
    tcase_add_test(tcase, silence_that_ends_in_time_costs_nothing);
    tcase_add_test(tcase, a_lease_outlives_the_member_that_renews_it);
    tcase_add_test(tcase, a_lease_outlives_a_member_that_hangs);
    return fwt_main(suite);
}
