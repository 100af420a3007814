/* Leases: kept, lost, revoked. */
#include "ehttpt.h"

#include <signal.h>

static fwt_etcd etcd; /* one for the whole program; each test has a prefix of its own */

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

START_TEST(leases_are_kept_beyond_their_time_also_beside_much_work)
{
    enum { LEASES = 20 };
    fw_kv *kv = ehttpt_open(etcd.port, "/kept", 20000);
    static etcdt_lease leases[LEASES];
    for (int i = 0; i < LEASES; i++) {
        etcdt_lease_new(&leases[i], kv, 2000);
        FWT_OK(leases[i].status);
    }
    fw_kv_put_options options = {.lease = leases[0].lease};
    FWT_OK(etcdt_put_with(kv, "k", "v", &options)->status);
    uint64_t end = etcdt_now_ms() + (uint64_t)fw_kv_lease_ttl_ms(leases[0].lease) * 3;
    static etcdt_answer answers[400];
    while (etcdt_now_ms() < end) {
        memset(answers, 0, sizeof answers);
        for (int i = 0; i < 400; i++)
            FWT_OK(fw_kv_get(kv, "k", etcdt_on_done, &answers[i]));
        for (int i = 0; i < 400; i++) {
            etcdt_await(&answers[i]);
            FWT_OK(answers[i].status);
            free(answers[i].text);
        }
    }
    for (int i = 0; i < LEASES; i++)
        ck_assert(!leases[i].lost);
    uint64_t start = etcdt_now_ms();
    for (int i = 0; i < LEASES; i++)
        etcdt_lease_close(&leases[i]);
    ck_assert_uint_eq(etcdt_exists(kv, "k")->count, 0);
    ck_assert_uint_lt(etcdt_now_ms() - start, 1500);
    etcdt_close(kv, 2000);
}
END_TEST

START_TEST(a_lease_revoked_by_others_is_lost)
{
    fw_kv *kv = ehttpt_open(etcd.port, "/revoked", 0);
    etcdt_lease lease;
    etcdt_lease_new(&lease, kv, 3000);
    char id[32];
    snprintf(id, sizeof id, "%llx", (long long)fw_kv_lease_id(lease.lease));
    etcdt_ctl(etcd.port, "lease", "revoke", id, NULL);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_ERR(etcdt_put_with(kv, "k", "v", &options)->status, FW_ELEASE);
    ck_assert_uint_eq(etcdt_exists(kv, "k")->count, 0);
    fwt_run_until(&lease.lost, 3000);
    FWT_ERR(lease.reason, FW_ELEASE);
    etcdt_lease_close(&lease);
    etcdt_close(kv, 2000);
}
END_TEST

START_TEST(a_lease_is_lost_by_our_own_clock_when_the_server_hangs)
{
    fwt_etcd own;
    fwt_etcd_start(&own);
    fw_kv *kv = ehttpt_open(own.port, "/hangs", 1000);
    etcdt_lease lease;
    etcdt_lease_new(&lease, kv, 2000);
    FWT_OK(lease.status);
    uint32_t ttl_ms = fw_kv_lease_ttl_ms(lease.lease);
    fwt_proc_signal(own.proc, SIGSTOP);
    uint64_t start = etcdt_now_ms();
    fwt_run_until(&lease.lost, ttl_ms + 500);
    ck_assert_uint_ge(etcdt_now_ms() - start, ttl_ms / 2);
    FWT_ERR(lease.reason, FW_ELEASE);
    ck_assert_ptr_nonnull(strstr(lease.detail, "127.0.0.1"));
    start = etcdt_now_ms();
    etcdt_lease_close(&lease);
    ck_assert_uint_lt(etcdt_now_ms() - start, 1500);
    etcdt_close(kv, 2000);
    fwt_etcd_kill(&own);
}
END_TEST

START_TEST(a_lease_outlives_a_restart_of_the_server)
{
    fwt_etcd own;
    fwt_etcd_start(&own);
    fw_kv *kv = ehttpt_open(own.port, "/restart", 2000);
    etcdt_lease lease;
    etcdt_lease_new(&lease, kv, 8000);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(etcdt_put_with(kv, "k", "v", &options)->status);
    fwt_etcd_kill(&own);
    fwt_run_for(500);
    fwt_etcd_restart(&own);
    fwt_run_for(9000);
    ck_assert(!lease.lost);
    ck_assert_uint_eq(etcdt_exists(kv, "k")->count, 1);
    etcdt_lease_close(&lease);
    etcdt_close(kv, 2000);
    fwt_etcd_kill(&own);
}
END_TEST

START_TEST(a_lease_moves_to_another_endpoint_in_time)
{
    fwt_proxy *first = fwt_proxy_start(etcd.port), *second = fwt_proxy_start(etcd.port);
    char url[200];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d,127.0.0.1:%d/moves", fwt_proxy_port(first),
             fwt_proxy_port(second));
    fw_kv *kv = etcdt_open_url(url, 5000);
    etcdt_lease lease;
    etcdt_lease_new(&lease, kv, 3000);
    for (int round = 0; round < 4; round++) {
        /* Takes connections and requests, and says nothing. */
        fwt_proxy_freeze(round % 2 ? first : second, 0);
        fwt_proxy_freeze(round % 2 ? second : first, FWT_PROXY_BOTH);
        fwt_run_for(3000);
        ck_assert_msg(!lease.lost, "round %d: %s", round, lease.detail);
    }
    fwt_proxy_pass(first);
    fwt_proxy_pass(second);
    etcdt_lease_close(&lease);
    etcdt_close(kv, 2000);
    fwt_proxy_end(first);
    fwt_proxy_end(second);
}
END_TEST

START_TEST(a_lease_that_nobody_grants_is_told)
{
    fw_kv *kv = ehttpt_open(fwt_free_port(), "/none", 800);
    etcdt_lease lease;
    etcdt_lease_new(&lease, kv, 2000);
    FWT_ERR(lease.status, FW_EUNREACHABLE);
    ck_assert_ptr_nonnull(strstr(lease.detail, "127.0.0.1:"));
    etcdt_lease_close(&lease);
    etcdt_close(kv, 2000);
}
END_TEST

static void never_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    (void)status;
    (void)detail;
    (void)arg;
    ck_abort_msg("a closed lease was reported");
}

START_TEST(a_lease_closed_before_it_is_granted_leaves_none)
{
    fwt_etcd own;
    fwt_etcd_start(&own);
    fw_kv *kv = ehttpt_open(own.port, "/early", 0);
    fw_kv_lease_options options = {.ttl_ms = 30000, .on_granted = never_granted};
    etcdt_lease lease = {.lease = NULL};
    FWT_OK(fw_kv_lease_new(kv, &options, &lease.lease));
    etcdt_lease_close(&lease);
    ck_assert(strstr(etcdt_ctl(own.port, "lease", "list", NULL), "found 0 leases"));
    etcdt_close(kv, 2000);
    fwt_etcd_kill(&own);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http leases");
    TCase *tcase = fwt_tcase(suite, "lease", 120);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, leases_are_kept_beyond_their_time_also_beside_much_work);
    tcase_add_test(tcase, a_lease_revoked_by_others_is_lost);
    tcase_add_test(tcase, a_lease_is_lost_by_our_own_clock_when_the_server_hangs);
    tcase_add_test(tcase, a_lease_outlives_a_restart_of_the_server);
    tcase_add_test(tcase, a_lease_moves_to_another_endpoint_in_time);
    tcase_add_test(tcase, a_lease_that_nobody_grants_is_told);
    tcase_add_test(tcase, a_lease_closed_before_it_is_granted_leaves_none);
    return fwt_main(suite);
}
