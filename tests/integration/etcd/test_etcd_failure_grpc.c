/* A server that hangs, over gRPC: a connection that is there proves nothing. */
#include "etcdt.h"

#include <signal.h>

START_TEST(a_server_that_hangs_makes_a_write_unknown)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 1000);
    FWT_OK(storet_put(kv, "k", "v")->status);
    fwt_proc_signal(etcd.proc, SIGSTOP);
    uint64_t start = storet_now_ms();
    const storet_answer *answer = storet_get(kv, "k");
    FWT_ERR(answer->status, FW_EDEADLINE);
    char endpoint[40];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d: ", etcd.port);
    ck_assert_ptr_nonnull(strstr(answer->detail, endpoint));
    FWT_ERR(storet_put(kv, "k", "w")->status, FW_EUNKNOWN);
    FWT_ERR(storet_atomic_put(kv, "l", "w", 0, NULL)->status, FW_EUNKNOWN);
    ck_assert_uint_lt(storet_now_ms() - start, 12000);
    fwt_proc_signal(etcd.proc, SIGCONT);
    start = storet_now_ms();
    while (storet_get(kv, "k")->status)
        ck_assert_uint_lt(storet_now_ms() - start, 10000);
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&etcd);
}
END_TEST

void etcdt_add_more(TCase *tcase)
{
    tcase_add_test(tcase, a_server_that_hangs_makes_a_write_unknown);
}
