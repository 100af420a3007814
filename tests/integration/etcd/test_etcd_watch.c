/* Watches across breaks. For both drivers of etcd; more of the one over the JSON gateway is in
 * etcd_http/test_etcd_http_watch.c. */
#include "etcdt.h"

START_TEST(a_key_and_a_tree_are_watched_apart)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 0);
    FWT_OK(storet_put(kv, "a/b", "1")->status);
    FWT_OK(storet_put(kv, "a/b/c", "1")->status);
    FWT_OK(storet_put(kv, "a/bc", "1")->status);
    storet_watcher tree, key;
    storet_watch(&tree, kv, "a/b", true);
    storet_watch(&key, kv, "a/b", false);
    storet_expect(&tree, "| ");
    storet_expect(&key, "| ");
    FWT_OK(storet_put(kv, "a/b", "2")->status);
    FWT_OK(storet_put(kv, "a/b/c", "2")->status);
    FWT_OK(storet_put(kv, "a/bc/d", "2")->status);
    FWT_OK(storet_delete_tree(kv, "a/b")->status);
    FWT_OK(storet_delete(kv, "a/b")->status);
    FWT_OK(storet_put(kv, "a/b/end", "")->status);
    FWT_OK(storet_put(kv, "a/b", "")->status);
    storet_expect(&tree, "end= ");
    storet_expect(&key, "+a/b= ");
    ck_assert_str_eq(tree.record, "+a/b/c=1 | +a/b/c=2 -a/b/c +a/b/end= ");
    ck_assert_str_eq(key.record, "+a/b=1 | +a/b=2 -a/b +a/b= ");
    storet_close(kv, 2000);
    storet_watcher_fini(&tree);
    storet_watcher_fini(&key);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_watch_goes_on_where_it_was_when_the_server_comes_back)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int port = etcd.port, other = fwt_free_port();
    fw_kv *kv = etcdt_open(port, "/p", 2000);
    FWT_OK(storet_put(kv, "a", "0")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    FWT_OK(storet_put(kv, "a", "1")->status);
    storet_expect(&watcher, "+a=1 ");
    for (int round = 0; round < 2; round++) {
        etcdt_restart_at(&etcd, other);
        etcdt_ctl(other, "put", "/p/b", "1", NULL);
        etcdt_ctl(other, "put", "/p/b", "2", NULL);
        etcdt_ctl(other, "put", "/q/x", "1", NULL);
        etcdt_ctl(other, "del", "/p/a", NULL);
        etcdt_ctl(other, "put", "/p/a", "2", NULL);
        etcdt_restart_at(&etcd, port);
        etcdt_ctl(port, "put", "/p/c", round ? "end" : "half", NULL);
        storet_expect(&watcher, round ? "+c=end " : "+c=half ");
    }
    char *data = storet_data(&watcher);
    ck_assert_str_eq(data, "+a=0 | +a=1 +b=1 +b=2 -a +a=2 +c=half +b=1 +b=2 -a +a=2 +c=end ");
    ck_assert_uint_ge(watcher.stales, 2);
    ck_assert_uint_eq(watcher.lives, watcher.stales);
    free(data);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(compaction_while_away_is_a_resync_of_the_difference)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int port = etcd.port, other = fwt_free_port();
    fw_kv *kv = etcdt_open(port, "/p", 2000);
    FWT_OK(storet_put(kv, "kept", "1")->status);
    FWT_OK(storet_put(kv, "gone", "1")->status);
    FWT_OK(storet_put(kv, "new", "1")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    size_t before = watcher.len;
    etcdt_restart_at(&etcd, other);
    etcdt_ctl(other, "del", "/p/gone", NULL);
    etcdt_ctl(other, "put", "/p/new", "2", NULL);
    etcdt_ctl(other, "put", "/p/new", "3", NULL);
    etcdt_ctl(other, "put", "/p/more", "1", NULL);
    etcdt_compact(other);
    etcdt_restart_at(&etcd, port);
    storet_expect(&watcher, "resync ");
    storet_expect(&watcher, "live ");
    char *data = storet_data(&watcher);
    ck_assert_str_eq(data + before, "resync +more=1 +new=3 -gone | ");
    free(data);
    FWT_OK(storet_put(kv, "after", "1")->status);
    storet_expect(&watcher, "+after=1 ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* The server has lost its data: our revision lies in its future, where nothing would ever happen.
 */
START_TEST(a_store_that_lost_its_data_is_listed_again)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 2000);
    for (int i = 0; i < 20; i++)
        FWT_OK(storet_put(kv, "a", "1")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    fwt_etcd_kill(&etcd);
    snprintf(etcd.data_dir, sizeof etcd.data_dir, "%s/etcd", fwt_tmpdir());
    fwt_etcd_restart(&etcd);
    etcdt_ctl(etcd.port, "put", "/p/b", "1", NULL);
    storet_expect(&watcher, "+b=1 ");
    storet_expect(&watcher, "-a ");
    storet_expect(&watcher, "live ");
    ck_assert_ptr_nonnull(strstr(watcher.record, "resync "));
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&etcd);
}
END_TEST

void etcdt_come_back_to(storet_watcher *watcher, size_t count)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int port = etcd.port, other = fwt_free_port();
    fw_kv *kv = etcdt_open(port, "/p", 20000);
    storet_watch(watcher, kv, "", true);
    storet_expect(watcher, "| ");
    etcdt_restart_at(&etcd, other);
    fw_kv *aside = etcdt_open(other, "/p", 20000);
    char *value = malloc(1400001), key[20];
    memset(value, 'v', 1400000);
    value[1400000] = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%zu", i % 8);
        FWT_OK(storet_put(aside, key, value)->status);
    }
    FWT_OK(storet_put(aside, "end", "1")->status);
    free(value);
    storet_close(aside, 2000);
    etcdt_restart_at(&etcd, port);
    storet_expect(watcher, "+end=1 ");
    storet_expect(watcher, "live ");
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}

START_TEST(a_backlog_of_megabytes_comes_change_by_change)
{
    storet_watcher watcher;
    etcdt_come_back_to(&watcher, 9);
    char *data = storet_data(&watcher);
    ck_assert_str_eq(data, "| +k0= +k1= +k2= +k3= +k4= +k5= +k6= +k7= +k0= +end=1 ");
    free(data);
    storet_watcher_fini(&watcher);
}
END_TEST

#define WRITES 2000

START_TEST(watches_opened_while_a_writer_runs_see_every_key_once)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 20000), *writer = etcdt_open(etcd.port, "/p", 20000);
    static storet_answer answers[WRITES];
    static storet_watcher watchers[4];
    char key[20];
    for (size_t i = 0; i < WRITES; i++) {
        snprintf(key, sizeof key, "k%zu", i);
        FWT_OK(fw_kv_put(writer, key, storet_text("v"), NULL, storet_on_done, &answers[i]));
        if (i % 500 == 250)
            storet_watch(&watchers[i / 500], kv, "", true);
        if (i % 20 == 19)
            fwt_run_for(2);
    }
    for (size_t i = 0; i < WRITES; i++) {
        storet_await(&answers[i]);
        FWT_OK(answers[i].status);
        free(answers[i].text);
    }
    for (size_t w = 0; w < 4; w++) {
        fwt_run_count(&watchers[w].puts, WRITES, 20000);
        fwt_run_count(&watchers[w].snapshots, 1, 20000);
    }
    fwt_run_for(200);
    for (size_t w = 0; w < 4; w++) {
        ck_assert_uint_eq(watchers[w].puts, WRITES);
        ck_assert_uint_eq(watchers[w].snapshots, 1);
        ck_assert_uint_eq(watchers[w].stales, 0);
    }
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    for (size_t w = 0; w < 4; w++)
        storet_watcher_fini(&watchers[w]);
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
    fw_kv *kv = etcdt_open(etcd.port, "/p", 2000);
    fw_kv_watch *watch;
    struct closer snapshot = {.at = FW_KV_END_OF_SNAPSHOT}, put = {.at = FW_KV_PUT},
                  stale = {.at = FW_KV_STALE}, live = {.at = FW_KV_LIVE};
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &snapshot, &watch));
    fwt_run_until(&snapshot.closed, 5000);
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &put, &watch));
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &stale, &watch));
    FWT_OK(fw_kv_watch_tree(kv, "", close_inside, &live, &watch));
    fwt_run_for(300);
    FWT_OK(storet_put(kv, "k", "v")->status);
    fwt_run_until(&put.closed, 5000);
    fwt_etcd_kill(&etcd);
    fwt_run_until(&stale.closed, 5000);
    fwt_etcd_restart(&etcd);
    fwt_run_until(&live.closed, 10000);
    storet_close(kv, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create(ETCDT_SCHEME " watches");
    TCase *tcase = fwt_tcase(suite, "watch", 120);
    tcase_add_test(tcase, a_key_and_a_tree_are_watched_apart);
    tcase_add_test(tcase, a_watch_goes_on_where_it_was_when_the_server_comes_back);
    tcase_add_test(tcase, compaction_while_away_is_a_resync_of_the_difference);
    tcase_add_test(tcase, a_store_that_lost_its_data_is_listed_again);
    tcase_add_test(tcase, a_backlog_of_megabytes_comes_change_by_change);
    tcase_add_test(tcase, watches_opened_while_a_writer_runs_see_every_key_once);
    tcase_add_test(tcase, a_watch_may_be_closed_inside_every_kind_of_event);
#ifdef ETCDT_MORE
    etcdt_add_more(tcase);
#endif
    return fwt_main(suite);
}
