/* Leases beside much work, and at endpoints that fall silent; beside etcd/test_etcd_lease.c. */
#include "ehttpt.h"

START_TEST(leases_are_kept_beyond_their_time_also_beside_much_work)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    enum { LEASES = 20 };
    fw_kv *kv = etcdt_open(etcd.port, "/kept", 20000);
    static storet_lease leases[LEASES];
    for (int i = 0; i < LEASES; i++) {
        storet_lease_new(&leases[i], kv, 2000);
        FWT_OK(leases[i].status);
    }
    fw_kv_put_options options = {.lease = leases[0].lease};
    FWT_OK(storet_put_with(kv, "k", "v", &options)->status);
    uint64_t end = storet_now_ms() + (uint64_t)fw_kv_lease_ttl_ms(leases[0].lease) * 3;
    static storet_answer answers[400];
    while (storet_now_ms() < end) {
        memset(answers, 0, sizeof answers);
        for (int i = 0; i < 400; i++)
            FWT_OK(fw_kv_get(kv, "k", storet_on_done, &answers[i]));
        for (int i = 0; i < 400; i++) {
            storet_await(&answers[i]);
            FWT_OK(answers[i].status);
            free(answers[i].text);
        }
    }
    for (int i = 0; i < LEASES; i++)
        ck_assert(!leases[i].lost);
    uint64_t start = storet_now_ms();
    for (int i = 0; i < LEASES; i++)
        storet_lease_close(&leases[i]);
    ck_assert_uint_eq(storet_exists(kv, "k")->count, 0);
    ck_assert_uint_lt(storet_now_ms() - start, 1500);
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_lease_moves_to_another_endpoint_in_time)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *first = fwt_proxy_start(etcd.port), *second = fwt_proxy_start(etcd.port);
    char url[200];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d,127.0.0.1:%d/moves", fwt_proxy_port(first),
             fwt_proxy_port(second));
    fw_kv *kv = etcdt_open_url(url, 5000);
    storet_lease lease;
    storet_lease_new(&lease, kv, 3000);
    for (int round = 0; round < 4; round++) {
        /* Takes connections and requests, and says nothing. */
        fwt_proxy_freeze(round % 2 ? first : second, 0);
        fwt_proxy_freeze(round % 2 ? second : first, FWT_PROXY_BOTH);
        fwt_run_for(3000);
        ck_assert_msg(!lease.lost, "round %d: %s", round, lease.detail);
    }
    fwt_proxy_pass(first);
    fwt_proxy_pass(second);
    storet_lease_close(&lease);
    storet_close(kv, 2000);
    fwt_proxy_end(first);
    fwt_proxy_end(second);
    fwt_etcd_kill(&etcd);
}
END_TEST

void etcdt_add_more(TCase *tcase)
{
    tcase_add_test(tcase, leases_are_kept_beyond_their_time_also_beside_much_work);
    tcase_add_test(tcase, a_lease_moves_to_another_endpoint_in_time);
}
