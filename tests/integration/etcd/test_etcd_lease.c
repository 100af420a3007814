/* Leases: kept, lost, revoked. For both drivers of etcd; more of the one over the JSON gateway is
 * in etcd_http/test_etcd_http_lease.c. */
#include "etcdt.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static fwt_etcd etcd; /* one for the whole program; each test has a prefix of its own */

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

START_TEST(a_lease_keeps_its_keys_and_takes_them_along)
{
    fw_kv *kv = etcdt_open(etcd.port, "/kept", 0);
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    FWT_OK(lease.status);
    ck_assert_int_ne(fw_kv_lease_id(lease.lease), 0);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
    ck_assert_int_eq(storet_get(kv, "k")->lease, fw_kv_lease_id(lease.lease));
    fwt_run_for(fw_kv_lease_ttl_ms(lease.lease) * 3);
    ck_assert(!lease.lost);
    ck_assert_uint_eq(storet_exists(kv, "k")->count, 1);
    /* Its keys go with it, at once. */
    uint64_t start = storet_now_ms();
    storet_lease_close(&lease);
    ck_assert_uint_eq(storet_exists(kv, "k")->count, 0);
    ck_assert_uint_lt(storet_now_ms() - start, 2500);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(closing_the_store_ends_its_leases)
{
    fw_kv *kv = etcdt_open(etcd.port, "/closed", 0);
    storet_lease lease;
    storet_lease_new(&lease, kv, 30000);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
    storet_close(kv, 2000);
    ck_assert_str_eq(etcdt_ctl(etcd.port, "get", "/closed/k", NULL), "");
}
END_TEST

START_TEST(a_lease_revoked_by_others_is_lost)
{
    fw_kv *kv = etcdt_open(etcd.port, "/revoked", 0);
    storet_lease lease;
    storet_lease_new(&lease, kv, 3000);
    char id[32];
    snprintf(id, sizeof id, "%llx", (long long)fw_kv_lease_id(lease.lease));
    etcdt_ctl(etcd.port, "lease", "revoke", id, NULL);
    fw_kv_put_options options = {.lease = lease.lease};
    storet_answer answer = {.done = false};
    FWT_OK(fw_kv_put(kv, "k", storet_text("v"), &options, storet_on_done, &answer));
    storet_await(&answer);
    FWT_ERR(answer.status, FW_ELEASE);
    free(answer.text);
    ck_assert_uint_eq(storet_exists(kv, "k")->count, 0);
    fwt_run_until(&lease.lost, 3000);
    FWT_ERR(lease.reason, FW_ELEASE);
    FWT_ERR(fw_kv_put(kv, "k", storet_text("v"), &options, storet_on_done, &answer), FW_ELEASE);
    storet_lease_close(&lease);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_lease_is_lost_by_our_own_clock_when_the_server_hangs)
{
    fwt_etcd own;
    fwt_etcd_start(&own);
    fw_kv *kv = etcdt_open(own.port, "/hangs", 1000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    FWT_OK(lease.status);
    uint32_t ttl_ms = fw_kv_lease_ttl_ms(lease.lease);
    fwt_proc_signal(own.proc, SIGSTOP);
    uint64_t start = storet_now_ms();
    fwt_run_until(&lease.lost, ttl_ms + 500);
    ck_assert_uint_ge(storet_now_ms() - start, ttl_ms / 2);
    FWT_ERR(lease.reason, FW_ELEASE);
    ck_assert_ptr_nonnull(strstr(lease.detail, "127.0.0.1"));
    start = storet_now_ms();
    storet_lease_close(&lease);
    ck_assert_uint_lt(storet_now_ms() - start, 10000);
    storet_close(kv, 2000);
    fwt_etcd_kill(&own);
}
END_TEST

START_TEST(a_lease_outlives_a_restart_of_the_server)
{
    fwt_etcd own;
    fwt_etcd_start(&own);
    fw_kv *kv = etcdt_open(own.port, "/restart", 2000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 8000);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
    fwt_etcd_kill(&own);
    fwt_run_for(500);
    fwt_etcd_restart(&own);
    fwt_run_for(9000);
    ck_assert(!lease.lost);
    ck_assert_uint_eq(storet_exists(kv, "k")->count, 1);
    storet_lease_close(&lease);
    storet_close(kv, 2000);
    fwt_etcd_kill(&own);
}
END_TEST

START_TEST(a_lease_that_nobody_grants_is_told)
{
    fw_kv *kv = etcdt_open(fwt_free_port(), "/none", 800);
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    FWT_ERR(lease.status, FW_EUNREACHABLE);
    ck_assert_ptr_nonnull(strstr(lease.detail, "127.0.0.1:"));
    storet_lease_close(&lease);
    storet_close(kv, 2000);
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
    fw_kv *kv = etcdt_open(own.port, "/early", 0);
    fw_kv_lease_options options = {.ttl_ms = 30000, .on_granted = never_granted};
    storet_lease lease = {.lease = NULL};
    FWT_OK(fw_kv_lease_new(kv, &options, &lease.lease));
    storet_lease_close(&lease);
    ck_assert(strstr(etcdt_ctl(own.port, "lease", "list", NULL), "found 0 leases"));
    storet_close(kv, 2000);
    fwt_etcd_kill(&own);
}
END_TEST

/* Holds a key under a lease until it is killed. In a process of its own, where the driver was not
 * used yet. */
static void hold_key(int port, int ready)
{
    fwt_loop_setup(); /* a loop does not survive a fork */
    fw_kv *kv = etcdt_open(port, "/killed", 0);
    storet_lease lease;
    storet_lease_new(&lease, kv, 2000);
    fw_kv_put_options options = {.lease = lease.lease};
    FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
    if (write(ready, "", 1) != 1)
        _exit(1);
    for (;;)
        fwt_run_for(1000);
}

START_TEST(the_keys_of_a_killed_holder_go)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (!pid)
        hold_key(etcd.port, fds[1]);
    char byte;
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    fw_kv *kv = etcdt_open(etcd.port, "/killed", 0);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "+k=v | ");
    fwt_run_for(4000); /* twice its time */
    ck_assert_uint_eq(watcher.deletes, 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    storet_expect(&watcher, "-k ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create(ETCDT_SCHEME " leases");
    TCase *tcase = fwt_tcase(suite, "lease", 120);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, a_lease_keeps_its_keys_and_takes_them_along);
    tcase_add_test(tcase, closing_the_store_ends_its_leases);
    tcase_add_test(tcase, a_lease_revoked_by_others_is_lost);
    tcase_add_test(tcase, a_lease_is_lost_by_our_own_clock_when_the_server_hangs);
    tcase_add_test(tcase, a_lease_outlives_a_restart_of_the_server);
    tcase_add_test(tcase, a_lease_that_nobody_grants_is_told);
    tcase_add_test(tcase, a_lease_closed_before_it_is_granted_leaves_none);
    tcase_add_test(tcase, the_keys_of_a_killed_holder_go);
#ifdef ETCDT_MORE
    etcdt_add_more(tcase);
#endif
    return fwt_main(suite);
}
