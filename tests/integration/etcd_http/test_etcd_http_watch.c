/* Watches with streams of their own: bounds, silence, many; beside etcd/test_etcd_watch.c. */
#include "ehttpt.h"

#include <signal.h>

START_TEST(a_message_over_the_bound_becomes_a_resync)
{
    storet_watcher watcher;
    etcdt_come_back_to(&watcher, 44); /* 82 MB in one message */
    char *data = storet_data(&watcher);
    ck_assert_str_eq(data, "| resync +end=1 +k0= +k1= +k2= +k3= +k4= +k5= +k6= +k7= | ");
    free(data);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_server_that_hangs_is_noticed_on_an_idle_watch)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    /* Without progress reports, which would be a sign of life. */
    fwt_proxy *proxies[2] = {fwt_proxy_start(etcd.port), fwt_proxy_start(etcd.port)};
    char url[200];
    snprintf(url, sizeof url, "etcd+http://127.0.0.1:%d,127.0.0.1:%d/p", fwt_proxy_port(proxies[0]),
             fwt_proxy_port(proxies[1]));
    fw_kv *kv = etcdt_open_url(url, 2000);
    storet_watcher watchers[3];
    for (int i = 0; i < 3; i++) {
        storet_watch(&watchers[i], kv, "", true);
        storet_expect(&watchers[i], "| ");
    }
    for (size_t round = 1; round <= 2; round++) {
        size_t used = fwt_proxy_connections(proxies[0]) ? 0 : 1;
        fwt_proxy_freeze(proxies[used], FWT_PROXY_BOTH);
        for (int i = 0; i < 3; i++) {
            fwt_run_count(&watchers[i].stales, round, 12000);
            fwt_run_count(&watchers[i].lives, round, 5000);
        }
        FWT_OK(storet_put(kv, round == 1 ? "a" : "b", "1")->status);
        for (int i = 0; i < 3; i++)
            storet_expect(&watchers[i], round == 1 ? "+a=1 " : "+b=1 ");
        fwt_proxy_cut(proxies[used], true);
        fwt_proxy_pass(proxies[used]);
    }
    /* Not by a false alarm: nothing happens for longer than a question and its answer take. */
    size_t before = watchers[0].len;
    fwt_run_for(9000);
    ck_assert_uint_eq(watchers[0].len, before);
    storet_close(kv, 2000);
    for (int i = 0; i < 3; i++)
        storet_watcher_fini(&watchers[i]);
    fwt_proxy_end(proxies[0]);
    fwt_proxy_end(proxies[1]);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_stopped_server_makes_its_watch_stale_until_it_goes_on)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 2000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    fwt_proc_signal(etcd.proc, SIGSTOP);
    storet_expect(&watcher, "stale ");
    ck_assert_ptr_nonnull(strstr(watcher.detail, "127.0.0.1:"));
    fwt_proc_signal(etcd.proc, SIGCONT);
    storet_expect(&watcher, "live ");
    FWT_OK(storet_put(kv, "k", "v")->status);
    storet_expect(&watcher, "+k=v ");
    ck_assert_str_eq(watcher.record, "| stale live +k=v ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(connections_that_are_cut_while_writing_lose_and_double_nothing)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 5000),
          *writer = etcdt_open(etcd.port, "/p", 5000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    char value[20];
    for (int i = 0; i < 400; i++) {
        snprintf(value, sizeof value, "%d", i);
        FWT_OK(storet_put(writer, "k", value)->status);
        if (i % 50 == 20)
            fwt_proxy_cut(proxy, i % 100 == 20);
    }
    FWT_OK(storet_put(writer, "end", "1")->status);
    storet_expect(&watcher, "+end=1 ");
    char *data = storet_data(&watcher), *at = data, wanted[30];
    for (int i = 0; i < 400; i++) {
        snprintf(wanted, sizeof wanted, "%s+k=%d ", i ? "" : "| ", i);
        ck_assert_msg(!strncmp(at, wanted, strlen(wanted)), "wanted %s at %.40s", wanted, at);
        at += strlen(wanted);
    }
    ck_assert_str_eq(at, "+end=1 ");
    free(data);
    ck_assert_uint_gt(watcher.stales, 0);
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    storet_watcher_fini(&watcher);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* More watches than calls share connections. */
START_TEST(many_watches_do_not_keep_calls_from_their_connections)
{
    enum { WATCHES = 150 };
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 10000);
    static storet_watcher watchers[WATCHES];
    char key[20];
    for (int i = 0; i < WATCHES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        storet_watch(&watchers[i], kv, key, false);
    }
    for (int i = 0; i < WATCHES; i++)
        storet_expect(&watchers[i], "| ");
    for (int i = 0; i < WATCHES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FWT_OK(storet_put(kv, key, "v")->status);
    }
    for (int i = 0; i < WATCHES; i++) {
        snprintf(key, sizeof key, "| +k%d=v ", i);
        storet_expect(&watchers[i], key);
    }
    storet_close(kv, 3000);
    for (int i = 0; i < WATCHES; i++)
        storet_watcher_fini(&watchers[i]);
    fwt_etcd_kill(&etcd);
}
END_TEST

void etcdt_add_more(TCase *tcase)
{
    tcase_add_test(tcase, a_message_over_the_bound_becomes_a_resync);
    tcase_add_test(tcase, a_server_that_hangs_is_noticed_on_an_idle_watch);
    tcase_add_test(tcase, a_stopped_server_makes_its_watch_stale_until_it_goes_on);
    tcase_add_test(tcase, connections_that_are_cut_while_writing_lose_and_double_nothing);
    tcase_add_test(tcase, many_watches_do_not_keep_calls_from_their_connections);
}
