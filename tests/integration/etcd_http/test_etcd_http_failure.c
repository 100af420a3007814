/* Answers that are lost, names that are slow; beside etcd/test_etcd_failure.c. */
#include "ehttpt.h"

#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>

START_TEST(a_server_that_hangs_is_told_apart_from_one_that_may_have_done_it)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 1000);
    FWT_OK(storet_put(kv, "k", "v")->status);
    fwt_proc_signal(etcd.proc, SIGSTOP);
    uint64_t start = storet_now_ms();
    FWT_ERR(storet_put(kv, "k", "w")->status, FW_EUNKNOWN);     /* it was sent */
    FWT_ERR(storet_put(kv, "k", "x")->status, FW_EUNREACHABLE); /* nobody answers: it was not */
    const storet_answer *answer = storet_get(kv, "k");
    FWT_ERR(answer->status, FW_EDEADLINE);
    char endpoint[40];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d: ", etcd.port);
    ck_assert_ptr_nonnull(strstr(answer->detail, endpoint));
    ck_assert_uint_lt(storet_now_ms() - start, 3750);
    fwt_proc_signal(etcd.proc, SIGCONT);
    start = storet_now_ms();
    while (storet_get(kv, "k")->status)
        ck_assert_uint_lt(storet_now_ms() - start, 10000);
    ck_assert_str_ne(storet_get(kv, "k")->text, "k=x;");
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* The server does it, and its answer is lost with the connection: curl would make the request again
 * on a new one, since the old one was kept from an earlier request. */
START_TEST(a_write_whose_answer_is_lost_is_done_once_and_unknown)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 3000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    for (int round = 0; round < 2; round++) {
        const char *key = round ? "b" : "a";
        FWT_OK(storet_put(kv, key, "1")->status);
        fwt_proxy_swallow(proxy, 0);
        storet_answer answer = {.done = false};
        FWT_OK(fw_kv_put(kv, key, storet_text("2"), NULL, storet_on_done, &answer));
        char full[20];
        snprintf(full, sizeof full, "/p/%s", key);
        while (!strstr(etcdt_ctl(etcd.port, "get", full, NULL), "\n2\n"))
            fwt_run_for(10);
        fwt_proxy_cut(proxy, round == 0);
        fwt_proxy_pass(proxy);
        storet_await(&answer);
        FWT_ERR(answer.status, FW_EUNKNOWN);
        free(answer.text);
        const char *fields = etcdt_ctl(etcd.port, "get", full, "-w", "fields", NULL);
        ck_assert_msg(strstr(fields, "\"Version\" : 2\n"), "%s", fields);
    }
    /* A read is made again. */
    fwt_proxy_cut(proxy, true);
    FWT_OK(storet_get(kv, "a")->status);
    FWT_OK(storet_put(kv, "end", "1")->status);
    storet_expect(&watcher, "+end=1 ");
    char *data = storet_data(&watcher);
    ck_assert_str_eq(data, "| +a=1 +a=2 +b=1 +b=2 +end=1 ");
    free(data);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- names ---- */

/* Takes the place of the system's resolver in this program: one name takes long. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_list)
{
    typedef int (*resolver)(const char *, const char *, const struct addrinfo *,
                            struct addrinfo **);
    if (node && !strcmp(node, "slow.example"))
        poll(NULL, 0, 4000);
    resolver real = (resolver)dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node && !strcmp(node, "slow.example") ? "127.0.0.1" : node, service, hints,
                ret_list);
}

START_TEST(a_slow_name_blocks_neither_the_loop_nor_closing)
{
    fw_kv *kv = etcdt_open_url("etcd+http://slow.example:1/p", 1000);
    uint64_t start = storet_now_ms(), before = start, longest = 0;
    storet_answer answer = {.done = false};
    FWT_OK(fw_kv_put(kv, "k", storet_text("v"), NULL, storet_on_done, &answer));
    while (!answer.done) {
        fwt_run_for(1);
        uint64_t now = storet_now_ms();
        longest = now - before > longest ? now - before : longest;
        before = now;
    }
    FWT_ERR(answer.status, FW_EUNREACHABLE);
    free(answer.text);
    ck_assert_uint_lt(longest, 700);
    ck_assert_uint_lt(storet_now_ms() - start, 2000);
    storet_close(kv, 1500);
    ck_assert_uint_lt(storet_now_ms() - start, 3500);
    poll(NULL, 0, 4000); /* the look-ups end by themselves: nothing may be left of them */
}
END_TEST

void etcdt_add_more(TCase *tcase)
{
    tcase_add_test(tcase, a_server_that_hangs_is_told_apart_from_one_that_may_have_done_it);
    tcase_add_test(tcase, a_write_whose_answer_is_lost_is_done_once_and_unknown);
    tcase_add_test(tcase, a_slow_name_blocks_neither_the_loop_nor_closing);
}
