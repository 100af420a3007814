/* Watches across everything that can happen to the server and to the way there. */
#include "redist.h"

#include <signal.h>

static fwt_redis redis;

static void start(void)
{
    fwt_redis_start(&redis, NULL);
}

static void stop(void)
{
    fwt_redis_kill(&redis);
}

/* So that a write is not sent to the server that was there. */
static void expect_stales(const storet_watcher *watcher, size_t count)
{
    while (watcher->stales < count)
        fwt_run_for(1);
}

/* Many puts without waiting for each. */
static void put_many(fw_kv *kv, const char *key, fw_slice value, size_t count)
{
    storet_answer *answers = calloc(count, sizeof *answers);
    for (size_t i = 0; i < count; i++)
        FWT_OK(fw_kv_put(kv, key, value, NULL, storet_on_done, &answers[i]));
    for (size_t i = 0; i < count; i++) {
        storet_await(&answers[i]);
        FWT_OK(answers[i].status);
        free(answers[i].text);
    }
    free(answers);
}

START_TEST(a_killed_server_is_resumed_without_a_resync)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 3000);
    FWT_OK(storet_put(kv, "a", "0")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "+a=0 | ");
    for (int i = 1; i <= 3; i++) {
        char value[16], wanted[32];
        fwt_redis_kill(&redis);
        expect_stales(&watcher, (size_t)i);
        fwt_redis_restart(&redis);
        snprintf(value, sizeof value, "%d", i);
        snprintf(wanted, sizeof wanted, "+a=%d ", i);
        FWT_OK(storet_put(kv, "a", value)->status);
        storet_expect(&watcher, wanted);
    }
    char *data = storet_data(&watcher);
    ck_assert_str_eq(data, "+a=0 | +a=1 +a=2 +a=3 ");
    ck_assert_uint_ge(watcher.stales, 3);
    free(data);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(what_happened_while_it_was_cut_off_comes_in_order)
{
    fwt_proxy *proxy = fwt_proxy_start(redis.port);
    fw_kv *far = redist_open(fwt_proxy_port(proxy), "/0/p", 3000);
    fw_kv *near = redist_open(redis.port, "/0/p", 3000);
    storet_watcher tree, key;
    storet_watch(&tree, far, "t", true);
    storet_watch(&key, far, "t/a", false);
    storet_expect(&tree, "| ");
    storet_expect(&key, "| ");
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, true);
    storet_expect(&tree, "stale ");
    storet_expect(&key, "stale ");
    FWT_OK(storet_put(near, "t/a", "1")->status);
    FWT_OK(storet_put(near, "other", "1")->status);
    FWT_OK(storet_put(near, "t/b", "1")->status);
    FWT_OK(storet_delete(near, "t/a")->status);
    FWT_OK(storet_put(near, "t/a", "2")->status);
    fwt_proxy_pass(proxy);
    storet_expect(&tree, "live ");
    storet_expect(&key, "live ");
    FWT_OK(storet_put(near, "t/a", "3")->status);
    storet_expect(&tree, "+t/a=3 ");
    storet_expect(&key, "+t/a=3 ");
    char *data = storet_data(&tree);
    ck_assert_str_eq(data, "| +t/a=1 +t/b=1 -t/a +t/a=2 +t/a=3 ");
    free(data);
    data = storet_data(&key);
    ck_assert_str_eq(data, "| +t/a=1 -t/a +t/a=2 +t/a=3 ");
    free(data);
    storet_close(far, 2000);
    storet_close(near, 2000);
    storet_watcher_fini(&tree);
    storet_watcher_fini(&key);
    fwt_proxy_end(proxy);
}
END_TEST

START_TEST(a_server_that_hangs_is_noticed_and_resumed)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 3000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    fwt_proc_signal(redis.proc, SIGSTOP);
    storet_expect(&watcher, "stale ");
    FWT_ERR(watcher.reason, FW_EUNREACHABLE);
    fwt_proc_signal(redis.proc, SIGCONT);
    storet_expect(&watcher, "live ");
    FWT_OK(storet_put(kv, "a", "1")->status);
    storet_expect(&watcher, "+a=1 ");
    ck_assert_str_eq(watcher.record, "| stale live +a=1 ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_wiped_store_is_resynced_and_its_revisions_go_on)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 3000);
    FWT_OK(storet_put(kv, "a", "1")->status);
    FWT_OK(storet_put(kv, "b", "1")->status);
    int64_t before = storet_put(kv, "b", "2")->revision;
    storet_watcher watcher, late;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    redist_cli(redis.port, "FLUSHALL", NULL);
    storet_expect(&watcher, "resync ");
    storet_expect(&watcher, "-b "); /* in whatever order */
    ck_assert_int_gt(watcher.last_revision, before);
    int64_t deleted = watcher.last_revision;
    /* Wiped and written anew before anybody looks. */
    FWT_OK(storet_put(kv, "c", "1")->status);
    storet_expect(&watcher, "+c=1 ");
    ck_assert_int_gt(watcher.last_revision, deleted);
    redist_cli(redis.port, "FLUSHALL", NULL);
    int64_t after = storet_put(kv, "d", "1")->revision;
    ck_assert_int_gt(after, watcher.last_revision);
    storet_expect(&watcher, "-c ");
    storet_expect(&watcher, "+d=1 ");
    storet_watch(&late, kv, "", true);
    storet_expect(&late, "+d=1 | ");
    FWT_OK(storet_put(kv, "e", "1")->status);
    storet_expect(&watcher, "+e=1 ");
    storet_expect(&late, "+e=1 ");
    ck_assert_uint_eq(watcher.resyncs, 2);
    ck_assert_str_eq(late.record, "+d=1 | +e=1 ");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    storet_watcher_fini(&late);
}
END_TEST

START_TEST(a_store_that_went_back_and_on_is_not_mistaken_for_the_old_one)
{
    /* What was written after the copy is lost, as in a failover, and other things are written
     * instead. */
    fw_kv *kv = redist_open(redis.port, "/0/p", 3000);
    FWT_OK(storet_put(kv, "kept", "1")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    char copy[300], command[900];
    snprintf(copy, sizeof copy, "%s.copy", redis.data_dir);
    fwt_redis_kill(&redis);
    snprintf(command, sizeof command, "cp -r %s %s", redis.data_dir, copy);
    const char *save[] = {"sh", "-c", command, NULL};
    ck_assert_int_eq(fwt_run(save, NULL, NULL, NULL, STORET_WAIT_MS), 0);
    expect_stales(&watcher, 1);
    fwt_redis_restart(&redis);
    FWT_OK(storet_put(kv, "lost", "1")->status);
    storet_expect(&watcher, "+lost=1 ");
    fwt_redis_kill(&redis);
    snprintf(command, sizeof command, "rm -r %s && mv %s %s", redis.data_dir, copy, redis.data_dir);
    const char *restore[] = {"sh", "-c", command, NULL};
    ck_assert_int_eq(fwt_run(restore, NULL, NULL, NULL, STORET_WAIT_MS), 0);
    expect_stales(&watcher, 2);
    fwt_redis_restart(&redis);
    FWT_OK(storet_put(kv, "instead", "1")->status);
    storet_expect(&watcher, "resync ");
    storet_expect(&watcher, "-lost ");
    storet_expect(&watcher, "+instead=1 ");
    ck_assert_str_eq(storet_list(kv, "")->text, "instead=1;kept=1;");
    ck_assert_ptr_null(strstr(watcher.record, "-kept "));
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_watch_behind_the_log_is_resynced)
{
    /* First too many changes, then too many bytes. */
    static const struct {
        size_t count, bytes;
    } floods[] = {{17000, 1}, {72, 1024 * 1024}};
    fwt_proxy *proxy = fwt_proxy_start(redis.port);
    fw_kv *far = redist_open(fwt_proxy_port(proxy), "/0/p", 3000);
    fw_kv *near = redist_open(redis.port, "/0/p", 15000);
    FWT_OK(storet_put(near, "kept", "1")->status);
    storet_watcher watcher;
    storet_watch(&watcher, far, "", true);
    storet_expect(&watcher, "| ");
    char *value = calloc(1, 1024 * 1024);
    for (size_t i = 0; i < 2; i++) {
        FWT_OK(storet_put(near, "gone", "1")->status);
        storet_expect(&watcher, "+gone=1 ");
        fwt_proxy_refuse(proxy);
        fwt_proxy_cut(proxy, false);
        storet_expect(&watcher, "stale ");
        FWT_OK(storet_delete(near, "gone")->status);
        put_many(near, "flood", (fw_slice){value, floods[i].bytes}, floods[i].count);
        size_t len = strtoul(redist_cli(redis.port, "XLEN", "{fairway/p}:log", NULL), NULL, 10);
        ck_assert_uint_le(len, 16384);
        ck_assert_uint_ge(len, 14);
        fwt_proxy_pass(proxy);
        storet_expect(&watcher, "resync ");
        FWT_OK(storet_put(near, "end", "1")->status);
        storet_expect(&watcher, "+end=1 ");
        ck_assert_uint_eq(watcher.resyncs, 1);
        ck_assert_ptr_nonnull(strstr(watcher.record, "-gone "));
        ck_assert_ptr_null(strstr(watcher.record, "-kept "));
        ck_assert_uint_eq(watcher.puts, 4 + i); /* in the second, the first one's flood is there */
        fw_kv_watch_close(watcher.watch, NULL, NULL);
        fwt_run_for(20);
        storet_watcher_fini(&watcher);
        FWT_OK(storet_delete(near, "end")->status);
        storet_watch(&watcher, far, "", true);
        storet_expect(&watcher, "| ");
    }
    free(value);
    storet_close(far, 2000);
    storet_close(near, 2000);
    storet_watcher_fini(&watcher);
    fwt_proxy_end(proxy);
}
END_TEST

START_TEST(a_revision_larger_than_the_log_is_resynced)
{
    enum { KEYS = 17000 };
    fw_kv *kv = redist_open(redis.port, "/0/p", 15000);
    storet_answer *answers = calloc(KEYS, sizeof *answers);
    for (size_t i = 0; i < KEYS; i++) {
        char key[32];
        snprintf(key, sizeof key, "k/%05zu", i);
        FWT_OK(fw_kv_put(kv, key, storet_text("0"), NULL, storet_on_done, &answers[i]));
    }
    for (size_t i = 0; i < KEYS; i++) {
        storet_await(&answers[i]);
        FWT_OK(answers[i].status);
        free(answers[i].text);
    }
    free(answers);
    FWT_OK(storet_put(kv, "kept", "1")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    const storet_answer *answer = storet_delete_tree(kv, "k");
    FWT_OK(answer->status);
    ck_assert_uint_eq(answer->count, KEYS);
    storet_expect(&watcher, "resync ");
    FWT_OK(storet_put(kv, "end", "1")->status);
    storet_expect(&watcher, "+end=1 ");
    ck_assert_uint_eq(watcher.deletes, KEYS);
    ck_assert_uint_eq(watcher.puts, KEYS + 2);
    ck_assert_uint_eq(watcher.resyncs, 1);
    ck_assert_str_eq(storet_list(kv, "")->text, "end=1;kept=1;");
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

/* A writer that goes on whatever becomes of its puts. */
struct hammer {
    fw_kv *kv;
    size_t asked, answered, acknowledged, unknown, other, wanted;
};

static void hammer(struct hammer *hammer);

static void on_hammered(const fw_kv_result *result, void *arg)
{
    struct hammer *own = arg;
    own->answered++;
    if (!result->status)
        own->acknowledged++;
    else if (result->status == FW_EUNKNOWN)
        own->unknown++;
    else
        own->other++;
    hammer(own);
}

static void hammer(struct hammer *own)
{
    while (own->asked < own->wanted && own->asked - own->answered < 8) {
        char key[16], value[16];
        snprintf(key, sizeof key, "k/%zu", own->asked % 50);
        snprintf(value, sizeof value, "%zu", own->asked++);
        FWT_OK(fw_kv_put(own->kv, key, storet_text(value), NULL, on_hammered, own));
    }
}

START_TEST(killed_connections_leave_no_gap)
{
    enum { PUTS = 4000 };
    fw_kv *kv = redist_open(redis.port, "/0/p", 5000),
          *calm = redist_open(redis.port, "/0/p", 5000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "k", true);
    storet_expect(&watcher, "| ");
    struct hammer own = {.kv = kv, .wanted = PUTS};
    hammer(&own);
    while (own.answered < PUTS) {
        redist_cli(redis.port, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
        fwt_run_for(30);
    }
    ck_assert_uint_eq(own.other, 0);
    FWT_OK(storet_put(calm, "k/end", "1")->status);
    storet_expect(&watcher, "+k/end=1 ");
    ck_assert_uint_eq(watcher.resyncs, 0);
    ck_assert_uint_ge(watcher.stales, 1);
    /* Every acknowledged put came, each once; of the unknown ones those that were done. */
    ck_assert_uint_ge(watcher.puts, own.acknowledged + 1);
    ck_assert_uint_le(watcher.puts, own.acknowledged + own.unknown + 1);
    size_t logged = strtoul(redist_cli(redis.port, "XLEN", "{fairway/p}:log", NULL), NULL, 10);
    ck_assert_uint_eq(watcher.puts, logged);
    storet_close(kv, 2000);
    storet_close(calm, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_lost_bell_is_made_up_for_within_seconds)
{
    fw_kv *kv = redist_open(redis.port, "/0/p", 3000);
    FWT_OK(storet_put(kv, "a", "1")->status);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    /* A bell that nobody hears: it stands later than anything that will be written. */
    redist_cli(redis.port, "XADD", "{fairway/p}:bell", "8000000000000000-0", "r", "1", NULL);
    redist_cli(redis.port, "DEL", "{fairway/p}:bell", NULL);
    FWT_OK(storet_put(kv, "a", "2")->status);
    redist_cli(redis.port, "DEL", "{fairway/p}:bell", NULL);
    storet_expect(&watcher, "+a=2 ");
    ck_assert_uint_eq(watcher.stales, 0);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

START_TEST(a_snapshot_of_many_pages_fits_what_follows)
{
    enum { KEYS = 5000, PUTS = 3000 };
    fw_kv *kv = redist_open(redis.port, "/0/p", 15000);
    fw_kv *writer = redist_open(redis.port, "/0/p", 15000);
    static storet_answer answers[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        char key[32];
        snprintf(key, sizeof key, "k/%04zu", i);
        FWT_OK(fw_kv_put(kv, key, storet_text("0"), NULL, storet_on_done, &answers[i]));
    }
    for (size_t i = 0; i < KEYS; i++) {
        storet_await(&answers[i]);
        FWT_OK(answers[i].status);
        free(answers[i].text);
    }
    /* While it is listed, somebody writes and deletes all over it. */
    struct hammer own = {.kv = writer, .wanted = PUTS};
    hammer(&own);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "k", true);
    storet_answer tree = {.text = NULL}, list = {.text = NULL};
    FWT_OK(fw_kv_list(kv, "k", storet_on_done, &list));
    FWT_OK(fw_kv_delete_tree(writer, "k/0001", storet_on_done, &tree));
    fwt_run_count(&own.answered, PUTS, STORET_WAIT_MS);
    storet_await(&list);
    storet_await(&tree);
    FWT_OK(list.status);
    ck_assert_uint_ge(list.count, KEYS);
    ck_assert_uint_le(list.count, KEYS + 50);
    free(list.text);
    free(tree.text);
    FWT_OK(storet_put(kv, "k/zz", "end")->status);
    storet_expect(&watcher, "+k/zz=end ");
    ck_assert_uint_eq(own.acknowledged, PUTS);
    ck_assert_uint_eq(watcher.resyncs, 0);
    /* The last that it heard of each key is what is there. */
    const storet_answer *state = storet_list(kv, "k");
    ck_assert_uint_eq(state->count, KEYS + 50 + 1);
    for (char *pair = strtok(state->text, ";"); pair; pair = strtok(NULL, ";")) {
        char text[64];
        snprintf(text, sizeof text, "+%.*s=", (int)strcspn(pair, "="), pair);
        const char *latest = NULL;
        for (const char *at = watcher.record; (at = strstr(at, text)); at++)
            latest = at;
        ck_assert_msg(latest && !strncmp(latest + 1, pair, strlen(pair)) &&
                          latest[1 + strlen(pair)] == ' ',
                      "%s", pair);
    }
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    storet_watcher_fini(&watcher);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis watch");
    TCase *tcase = fwt_tcase(suite, "watch", 120);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, a_killed_server_is_resumed_without_a_resync);
    tcase_add_test(tcase, what_happened_while_it_was_cut_off_comes_in_order);
    tcase_add_test(tcase, a_server_that_hangs_is_noticed_and_resumed);
    tcase_add_test(tcase, a_wiped_store_is_resynced_and_its_revisions_go_on);
    tcase_add_test(tcase, a_store_that_went_back_and_on_is_not_mistaken_for_the_old_one);
    tcase_add_test(tcase, a_watch_behind_the_log_is_resynced);
    tcase_add_test(tcase, a_revision_larger_than_the_log_is_resynced);
    tcase_add_test(tcase, killed_connections_leave_no_gap);
    tcase_add_test(tcase, a_lost_bell_is_made_up_for_within_seconds);
    tcase_add_test(tcase, a_snapshot_of_many_pages_fits_what_follows);
    return fwt_main(suite);
}
