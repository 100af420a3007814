/* Watches across everything that can happen to the server. */
#include "ehttpt.h"

#include <signal.h>

START_TEST(a_watch_goes_on_where_it_was_when_the_server_comes_back)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int port = etcd.port, other = fwt_free_port();
    fw_kv *kv = ehttpt_open(port, "/p", 2000);
    FWT_OK(etcdt_put(kv, "a", "0")->status);
    etcdt_watcher watcher;
    etcdt_watch(&watcher, kv, "", true);
    etcdt_expect(&watcher, "| ");
    FWT_OK(etcdt_put(kv, "a", "1")->status);
    etcdt_expect(&watcher, "+a=1 ");
    for (int round = 0; round < 2; round++) {
        ehttpt_restart_at(&etcd, other);
        etcdt_ctl(other, "put", "/p/b", "1", NULL);
        etcdt_ctl(other, "put", "/p/b", "2", NULL);
        etcdt_ctl(other, "put", "/q/x", "1", NULL);
        etcdt_ctl(other, "del", "/p/a", NULL);
        etcdt_ctl(other, "put", "/p/a", "2", NULL);
        ehttpt_restart_at(&etcd, port);
        etcdt_ctl(port, "put", "/p/c", round ? "end" : "half", NULL);
        etcdt_expect(&watcher, round ? "+c=end " : "+c=half ");
    }
    char *data = etcdt_data(&watcher);
    ck_assert_str_eq(data, "+a=0 | +a=1 +b=1 +b=2 -a +a=2 +c=half +b=1 +b=2 -a +a=2 +c=end ");
    ck_assert_uint_ge(watcher.stales, 2);
    ck_assert_uint_eq(watcher.lives, watcher.stales);
    free(data);
    etcdt_close(kv, 2000);
    etcdt_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(compaction_while_away_is_a_resync_of_the_difference)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int port = etcd.port, other = fwt_free_port();
    fw_kv *kv = ehttpt_open(port, "/p", 2000);
    FWT_OK(etcdt_put(kv, "kept", "1")->status);
    FWT_OK(etcdt_put(kv, "gone", "1")->status);
    FWT_OK(etcdt_put(kv, "new", "1")->status);
    etcdt_watcher watcher;
    etcdt_watch(&watcher, kv, "", true);
    etcdt_expect(&watcher, "| ");
    size_t before = watcher.len;
    ehttpt_restart_at(&etcd, other);
    etcdt_ctl(other, "del", "/p/gone", NULL);
    etcdt_ctl(other, "put", "/p/new", "2", NULL);
    etcdt_ctl(other, "put", "/p/new", "3", NULL);
    etcdt_ctl(other, "put", "/p/more", "1", NULL);
    ehttpt_compact(other);
    ehttpt_restart_at(&etcd, port);
    etcdt_expect(&watcher, "resync ");
    etcdt_expect(&watcher, "live ");
    char *data = etcdt_data(&watcher);
    ck_assert_str_eq(data + before, "resync +more=1 +new=3 -gone | ");
    free(data);
    FWT_OK(etcdt_put(kv, "after", "1")->status);
    etcdt_expect(&watcher, "+after=1 ");
    etcdt_close(kv, 2000);
    etcdt_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* The server has lost its data: our revision lies in its future, where nothing would ever happen.
 */
START_TEST(a_store_that_lost_its_data_is_listed_again)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = ehttpt_open(etcd.port, "/p", 2000);
    for (int i = 0; i < 20; i++)
        FWT_OK(etcdt_put(kv, "a", "1")->status);
    etcdt_watcher watcher;
    etcdt_watch(&watcher, kv, "", true);
    etcdt_expect(&watcher, "| ");
    fwt_etcd_kill(&etcd);
    snprintf(etcd.data_dir, sizeof etcd.data_dir, "%s/etcd", fwt_tmpdir());
    fwt_etcd_restart(&etcd);
    etcdt_ctl(etcd.port, "put", "/p/b", "1", NULL);
    etcdt_expect(&watcher, "+b=1 ");
    etcdt_expect(&watcher, "-a ");
    etcdt_expect(&watcher, "live ");
    ck_assert_ptr_nonnull(strstr(watcher.record, "resync "));
    etcdt_close(kv, 2000);
    etcdt_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* Writes big values while the watch is away, and lets it come back to them. */
static void come_back_to(etcdt_watcher *watcher, size_t count)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int port = etcd.port, other = fwt_free_port();
    fw_kv *kv = ehttpt_open(port, "/p", 20000);
    etcdt_watch(watcher, kv, "", true);
    etcdt_expect(watcher, "| ");
    ehttpt_restart_at(&etcd, other);
    fw_kv *aside = ehttpt_open(other, "/p", 20000);
    char *value = malloc(1400001), key[20];
    memset(value, 'v', 1400000);
    value[1400000] = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%zu", i % 8);
        FWT_OK(etcdt_put(aside, key, value)->status);
    }
    FWT_OK(etcdt_put(aside, "end", "1")->status);
    free(value);
    etcdt_close(aside, 2000);
    ehttpt_restart_at(&etcd, port);
    etcdt_expect(watcher, "+end=1 ");
    etcdt_expect(watcher, "live ");
    etcdt_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}

START_TEST(a_backlog_of_megabytes_comes_change_by_change)
{
    etcdt_watcher watcher;
    come_back_to(&watcher, 9);
    char *data = etcdt_data(&watcher);
    ck_assert_str_eq(data, "| +k0= +k1= +k2= +k3= +k4= +k5= +k6= +k7= +k0= +end=1 ");
    free(data);
    etcdt_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_message_over_the_bound_becomes_a_resync)
{
    etcdt_watcher watcher;
    come_back_to(&watcher, 44); /* 82 MB in one message */
    char *data = etcdt_data(&watcher);
    ck_assert_str_eq(data, "| resync +end=1 +k0= +k1= +k2= +k3= +k4= +k5= +k6= +k7= | ");
    free(data);
    etcdt_watcher_fini(&watcher);
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
    etcdt_watcher watchers[3];
    for (int i = 0; i < 3; i++) {
        etcdt_watch(&watchers[i], kv, "", true);
        etcdt_expect(&watchers[i], "| ");
    }
    for (size_t round = 1; round <= 2; round++) {
        size_t used = fwt_proxy_connections(proxies[0]) ? 0 : 1;
        fwt_proxy_freeze(proxies[used], FWT_PROXY_BOTH);
        for (int i = 0; i < 3; i++) {
            fwt_run_count(&watchers[i].stales, round, 12000);
            fwt_run_count(&watchers[i].lives, round, 5000);
        }
        FWT_OK(etcdt_put(kv, round == 1 ? "a" : "b", "1")->status);
        for (int i = 0; i < 3; i++)
            etcdt_expect(&watchers[i], round == 1 ? "+a=1 " : "+b=1 ");
        fwt_proxy_cut(proxies[used], true);
        fwt_proxy_pass(proxies[used]);
    }
    /* Not by a false alarm: nothing happens for longer than a question and its answer take. */
    size_t before = watchers[0].len;
    fwt_run_for(9000);
    ck_assert_uint_eq(watchers[0].len, before);
    etcdt_close(kv, 2000);
    for (int i = 0; i < 3; i++)
        etcdt_watcher_fini(&watchers[i]);
    fwt_proxy_end(proxies[0]);
    fwt_proxy_end(proxies[1]);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_stopped_server_makes_its_watch_stale_until_it_goes_on)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = ehttpt_open(etcd.port, "/p", 2000);
    etcdt_watcher watcher;
    etcdt_watch(&watcher, kv, "", true);
    etcdt_expect(&watcher, "| ");
    fwt_proc_signal(etcd.proc, SIGSTOP);
    etcdt_expect(&watcher, "stale ");
    ck_assert_ptr_nonnull(strstr(watcher.detail, "127.0.0.1:"));
    fwt_proc_signal(etcd.proc, SIGCONT);
    etcdt_expect(&watcher, "live ");
    FWT_OK(etcdt_put(kv, "k", "v")->status);
    etcdt_expect(&watcher, "+k=v ");
    ck_assert_str_eq(watcher.record, "| stale live +k=v ");
    etcdt_close(kv, 2000);
    etcdt_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(connections_that_are_cut_while_writing_lose_and_double_nothing)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = ehttpt_open(fwt_proxy_port(proxy), "/p", 5000),
          *writer = ehttpt_open(etcd.port, "/p", 5000);
    etcdt_watcher watcher;
    etcdt_watch(&watcher, kv, "", true);
    etcdt_expect(&watcher, "| ");
    char value[20];
    for (int i = 0; i < 400; i++) {
        snprintf(value, sizeof value, "%d", i);
        FWT_OK(etcdt_put(writer, "k", value)->status);
        if (i % 50 == 20)
            fwt_proxy_cut(proxy, i % 100 == 20);
    }
    FWT_OK(etcdt_put(writer, "end", "1")->status);
    etcdt_expect(&watcher, "+end=1 ");
    char *data = etcdt_data(&watcher), *at = data, wanted[30];
    for (int i = 0; i < 400; i++) {
        snprintf(wanted, sizeof wanted, "%s+k=%d ", i ? "" : "| ", i);
        ck_assert_msg(!strncmp(at, wanted, strlen(wanted)), "wanted %s at %.40s", wanted, at);
        at += strlen(wanted);
    }
    ck_assert_str_eq(at, "+end=1 ");
    free(data);
    ck_assert_uint_gt(watcher.stales, 0);
    etcdt_close(kv, 2000);
    etcdt_close(writer, 2000);
    etcdt_watcher_fini(&watcher);
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
    fw_kv *kv = ehttpt_open(etcd.port, "/p", 10000);
    static etcdt_watcher watchers[WATCHES];
    char key[20];
    for (int i = 0; i < WATCHES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        etcdt_watch(&watchers[i], kv, key, false);
    }
    for (int i = 0; i < WATCHES; i++)
        etcdt_expect(&watchers[i], "| ");
    for (int i = 0; i < WATCHES; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FWT_OK(etcdt_put(kv, key, "v")->status);
    }
    for (int i = 0; i < WATCHES; i++) {
        snprintf(key, sizeof key, "| +k%d=v ", i);
        etcdt_expect(&watchers[i], key);
    }
    etcdt_close(kv, 3000);
    for (int i = 0; i < WATCHES; i++)
        etcdt_watcher_fini(&watchers[i]);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- closing inside the callback ---- */

struct closer {
    fw_kv_event_type at;
    bool closing, closed;
};

static void on_closed(void *arg)
{
    ((struct closer *)arg)->closed = true;
}

static void close_inside(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    struct closer *closer = arg;
    ck_assert(!closer->closing);
    for (size_t i = 0; i < count; i++)
        if (events[i].type == closer->at)
            closer->closing = true;
    if (closer->closing)
        fw_kv_watch_close(watch, on_closed, closer);
}

START_TEST(a_watch_may_be_closed_inside_every_kind_of_event)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = ehttpt_open(etcd.port, "/p", 2000);
    fw_kv_watch *watch;
    struct closer snapshot = {.at = FW_KV_END_OF_SNAPSHOT}, put = {.at = FW_KV_PUT},
                  stale = {.at = FW_KV_STALE}, live = {.at = FW_KV_LIVE};
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &snapshot, &watch));
    fwt_run_until(&snapshot.closed, 5000);
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &put, &watch));
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &stale, &watch));
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &live, &watch));
    fwt_run_for(300);
    FWT_OK(etcdt_put(kv, "k", "v")->status);
    fwt_run_until(&put.closed, 5000);
    fwt_etcd_kill(&etcd);
    fwt_run_until(&stale.closed, 5000);
    fwt_etcd_restart(&etcd);
    fwt_run_until(&live.closed, 10000);
    etcdt_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http watches");
    TCase *tcase = fwt_tcase(suite, "watch", 120);
    tcase_add_test(tcase, a_watch_goes_on_where_it_was_when_the_server_comes_back);
    tcase_add_test(tcase, compaction_while_away_is_a_resync_of_the_difference);
    tcase_add_test(tcase, a_store_that_lost_its_data_is_listed_again);
    tcase_add_test(tcase, a_backlog_of_megabytes_comes_change_by_change);
    tcase_add_test(tcase, a_message_over_the_bound_becomes_a_resync);
    tcase_add_test(tcase, a_server_that_hangs_is_noticed_on_an_idle_watch);
    tcase_add_test(tcase, a_stopped_server_makes_its_watch_stale_until_it_goes_on);
    tcase_add_test(tcase, connections_that_are_cut_while_writing_lose_and_double_nothing);
    tcase_add_test(tcase, many_watches_do_not_keep_calls_from_their_connections);
    tcase_add_test(tcase, a_watch_may_be_closed_inside_every_kind_of_event);
    return fwt_main(suite);
}
