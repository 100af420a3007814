/* One store through both drivers of etcd. */
#include "ehttpt.h"

static fwt_etcd etcd; /* one for the whole program; each test has a prefix of its own */

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

START_TEST(what_one_driver_writes_the_other_watches)
{
    fw_kv *kvs[2] = {etcdt_open_at("etcd+http", etcd.port, "/shared", 5000),
                     etcdt_open_at("etcd", etcd.port, "/shared", 5000)};
    storet_watcher watchers[2];
    for (int i = 0; i < 2; i++) {
        storet_watch(&watchers[i], kvs[i], "", true);
        storet_expect(&watchers[i], "| ");
    }
    for (int i = 0; i < 2; i++) {
        fw_kv *here = kvs[i], *there = kvs[1 - i];
        const char *key = i ? "x/grpc" : "x/http";
        const storet_answer *answer = storet_atomic_put(here, key, "1", 0, NULL);
        FWT_OK(answer->status);
        int64_t revision = answer->revision;
        answer = storet_get(there, key);
        ck_assert_int_eq(answer->pair_revision, revision);
        FWT_ERR(storet_atomic_put(there, key, "2", 0, NULL)->status, FW_EEXISTS);
        FWT_OK(storet_atomic_put(there, key, "2", revision, NULL)->status);
        FWT_ERR(storet_atomic_delete(here, key, revision)->status, FW_EMODIFIED);
        storet_lease lease;
        storet_lease_new(&lease, here, 5000);
        fw_kv_put_options options = {.lease = lease.lease};
        FWT_OK(storet_put_with(here, key, "3", &options)->status);
        ck_assert_int_eq(storet_get(there, key)->lease, fw_kv_lease_id(lease.lease));
        storet_lease_close(&lease);
        FWT_ERR(storet_get(there, key)->status, FW_ENOTFOUND);
    }
    FWT_OK(storet_put(kvs[0], "end", "")->status);
    for (int i = 0; i < 2; i++) {
        storet_expect(&watchers[i], "+end= ");
        ck_assert_str_eq(watchers[i].record,
                         "| +x/http=1 +x/http=2 +x/http=3 -x/http +x/grpc=1 +x/grpc=2 +x/grpc=3 "
                         "-x/grpc +end= ");
    }
    for (int i = 0; i < 2; i++) {
        storet_close(kvs[i], 2000);
        storet_watcher_fini(&watchers[i]);
    }
}
END_TEST

START_TEST(both_list_the_same_and_leave_out_what_is_no_key_of_ours)
{
    etcdt_ctl(etcd.port, "put", "/odd/a/b", "1", NULL);
    etcdt_ctl(etcd.port, "put", "/odd/a//b", "2", NULL);
    etcdt_ctl(etcd.port, "put", "/odd/a/", "3", NULL);
    etcdt_ctl(etcd.port, "put", "/odd/ab", "4", NULL);
    fw_kv *kvs[2] = {etcdt_open_at("etcd+http", etcd.port, "/odd", 5000),
                     etcdt_open_at("etcd", etcd.port, "/odd", 5000)};
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(storet_list(kvs[i], "")->text, "a/b=1;ab=4;");
        ck_assert_str_eq(storet_list(kvs[i], "a")->text, "a/b=1;");
        storet_watcher watcher;
        storet_watch(&watcher, kvs[i], "a", true);
        storet_expect(&watcher, "+a/b=1 | ");
        storet_close(kvs[i], 2000);
        storet_watcher_fini(&watcher);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd by two drivers");
    TCase *tcase = fwt_tcase(suite, "share", 60);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, what_one_driver_writes_the_other_watches);
    tcase_add_test(tcase, both_list_the_same_and_leave_out_what_is_no_key_of_ours);
    return fwt_main(suite);
}
