/* A watcher that starts from its saved list: with a store that says what the test wants, when it
 * wants. */
#include "driver.h"
#include "fwt.h"

#include <fairway/discovery.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the store ---- */

static fw_kv *kv;
static fw_kv_watch *kv_watch;
static size_t asked; /* for the list */

static int open_quiet(fw_kv *opened, const fw_url *url, const fwi_kv_access *access,
                      void **ret_store)
{
    (void)url;
    (void)access;
    *ret_store = opened;
    return 0;
}

static void close_quiet(void *store)
{
    fwi_kv_closed(store);
}

static void watch_start(void *store, fw_kv_watch *watch)
{
    (void)store;
    kv_watch = watch;
    asked++;
}

static void watch_stop(void *store, fw_kv_watch *watch)
{
    (void)store;
    kv_watch = NULL;
    fwi_kv_watch_stopped(watch);
}

static const fwi_kv_driver quiet = {.scheme = "quiet",
                                    .open = open_quiet,
                                    .close = close_quiet,
                                    .watch_start = watch_start,
                                    .watch_stop = watch_stop};

static void put_in_list(const char *id, const char *json, int64_t revision)
{
    char key[64];
    int len = snprintf(key, sizeof key, "services/echo/%s", id);
    fwi_kv_watch_list_pair(kv_watch, key, (size_t)len, (fw_slice){json, strlen(json)}, revision, 0);
}

/* ---- the watcher ---- */

static fw_watcher *watcher;
static char seen[1024], path[512];
static size_t closed, removed;

static void on_event(fw_watcher *from, const fw_watcher_event *event, void *arg)
{
    (void)from;
    (void)arg;
    static const char *const marks[] = {
        [FW_WATCHER_ADDED] = "+",    [FW_WATCHER_CHANGED] = "~", [FW_WATCHER_REMOVED] = "-",
        [FW_WATCHER_RESTORED] = "R", [FW_WATCHER_SYNCED] = "S",  [FW_WATCHER_STALE] = "?",
        [FW_WATCHER_LIVE] = "!",     [FW_WATCHER_FATAL] = "x"};
    size_t len = strlen(seen);
    snprintf(seen + len, sizeof seen - len, "%s%s ", marks[event->type],
             event->instance ? event->instance->id : "");
    removed += event->type == FW_WATCHER_REMOVED;
}

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void start(void)
{
    *seen = 0;
    FWT_OK(fw_kv_open(fwt_loop, "quiet:", NULL, &kv));
    fw_watcher_options options = {.on_event = on_event, .saved_list = path};
    FWT_OK(fw_watcher_new(kv, NULL, &options, &watcher));
    ck_assert_uint_eq(fw_watcher_age_ms(watcher), UINT64_MAX);
    ck_assert_ptr_null(kv_watch); /* the file comes first */
}

static void start_and_wait(void)
{
    asked = 0;
    start();
    fwt_run_count(&asked, 1, 5000);
}

static void stop(void)
{
    closed = 0;
    fw_watcher_close(watcher, on_closed, NULL);
    fwt_run_count(&closed, 1, 5000);
    fw_kv_close(kv, on_closed, NULL);
    fwt_run_count(&closed, 2, 5000);
}

static void set_up(void)
{
    FWT_OK(fwi_kv_driver_add(&quiet));
    snprintf(path, sizeof path, "%s/list", fwt_tmpdir());
}

/* Leaves a file with a, b and c. */
static void save_three(void)
{
    start_and_wait();
    fwi_kv_watch_list_begin(kv_watch);
    put_in_list("a", "{\"addr\":\"127.0.0.1:1\"}", 3);
    put_in_list("b", "{\"addr\":\"127.0.0.1:2\"}", 4);
    put_in_list("c", "{\"addr\":\"127.0.0.1:3\"}", 5);
    ck_assert(fwi_kv_watch_list_end(kv_watch, 5));
    ck_assert_str_eq(seen, "+a +b +c S ");
    stop();
}

START_TEST(a_list_is_restored_and_then_made_right)
{
    set_up();
    save_three();
    start_and_wait();
    ck_assert_str_eq(seen, "+a +b +c R ");
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_uint_eq(snapshot->count, 3);
    ck_assert(snapshot->restored && !snapshot->synced && snapshot->saved_ms > 0);
    ck_assert_int_eq(snapshot->source, FW_LIST_DISK);
    ck_assert_uint_lt(fw_watcher_age_ms(watcher), 3600 * 1000);
    ck_assert_int_eq(snapshot->revision, 5);
    ck_assert_str_eq(fw_snapshot_find(snapshot, "echo", "b")->addr, "127.0.0.1:2");
    fw_snapshot_release(snapshot);

    /* The store comes: a is as it was, b has changed, c is gone, d is new. */
    *seen = 0;
    fwi_kv_watch_list_begin(kv_watch);
    put_in_list("a", "{\"addr\":\"127.0.0.1:1\"}", 13);
    put_in_list("b", "{\"addr\":\"127.0.0.1:9\"}", 14);
    put_in_list("d", "{\"addr\":\"127.0.0.1:4\"}", 15);
    ck_assert(fwi_kv_watch_list_end(kv_watch, 15));
    ck_assert_str_eq(seen, "~b +d -c S ");
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_uint_eq(snapshot->count, 3);
    ck_assert(!snapshot->restored && snapshot->synced && !snapshot->saved_ms);
    ck_assert_int_eq(snapshot->source, FW_LIST_STORE);
    fw_snapshot_release(snapshot);
    stop();
}
END_TEST

static void see_change(const fw_watcher_change *change, void *arg)
{
    if (change->type == FW_WATCHER_STALE || change->type == FW_WATCHER_FATAL)
        ck_assert_int_eq(change->reason,
                         change->type == FW_WATCHER_STALE ? FW_EUNREACHABLE : FW_EDENIED);
    *(fw_watcher_event_type *)arg = change->type;
}

START_TEST(a_list_ages_while_the_store_is_away)
{
    set_up();
    start_and_wait();
    fwi_kv_watch_list_begin(kv_watch);
    ck_assert(fwi_kv_watch_list_end(kv_watch, 1));
    ck_assert_uint_eq(fw_watcher_age_ms(watcher), 0);
    ck_assert(fwi_kv_watch_stale(kv_watch, FW_EUNREACHABLE, ""));
    for (int turns = 0; !fw_watcher_age_ms(watcher) && turns < 1000; turns++)
        fwt_run_for(5);
    ck_assert_uint_gt(fw_watcher_age_ms(watcher), 0);
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert(snapshot->stale && snapshot->source == FW_LIST_STORE);
    ck_assert_int_eq(snapshot->stale_reason, FW_EUNREACHABLE);
    fw_snapshot_release(snapshot);
    ck_assert(fwi_kv_watch_live(kv_watch));
    ck_assert_uint_eq(fw_watcher_age_ms(watcher), 0);

    /* Of what it is told no longer it says so, too. */
    fw_watcher_event_type last = FW_WATCHER_ADDED;
    (void)fwi_kv_watch_fatal(kv_watch, FW_EDENIED, "");
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_int_eq(snapshot->stale_reason, FW_EDENIED);
    fw_snapshot_release(snapshot);
    fw_watcher_each_change(watcher, see_change, &last);
    ck_assert_int_eq(last, FW_WATCHER_FATAL);
    stop();
}
END_TEST

/* The store was emptied while nobody watched: that is believed of those that do not answer. */
START_TEST(an_emptied_store_is_not_believed_at_once)
{
    set_up();
    save_three();
    start_and_wait();
    *seen = 0;
    fwi_kv_watch_list_begin(kv_watch);
    ck_assert(fwi_kv_watch_list_end(kv_watch, 1));
    ck_assert_str_eq(seen, "S ");
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_uint_eq(snapshot->count, 3);
    fw_snapshot_release(snapshot);
    removed = 0;
    fwt_run_count(&removed, 3, 10000);
    stop();
}
END_TEST

START_TEST(a_watcher_is_closed_before_its_file_is_read)
{
    set_up();
    save_three();
    asked = 0;
    start();
    stop();
    ck_assert_uint_eq(asked, 0);
    ck_assert_str_eq(seen, "");
}
END_TEST

START_TEST(a_broken_file_is_not_used_and_replaced)
{
    set_up();
    save_three();
    FILE *file = fopen(path, "r+");
    ck_assert_ptr_nonnull(file);
    fseek(file, 40, SEEK_SET);
    fputc('!', file);
    fclose(file);
    start_and_wait();
    stop();
    ck_assert_str_eq(seen, "");
    save_three();
    start_and_wait();
    ck_assert_str_eq(seen, "+a +b +c R ");
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("restored list");
    TCase *tcase = fwt_tcase(suite, "restored", 60);
    tcase_add_test(tcase, a_list_is_restored_and_then_made_right);
    tcase_add_test(tcase, a_list_ages_while_the_store_is_away);
    tcase_add_test(tcase, an_emptied_store_is_not_believed_at_once);
    tcase_add_test(tcase, a_watcher_is_closed_before_its_file_is_read);
    tcase_add_test(tcase, a_broken_file_is_not_used_and_replaced);
    return fwt_main(suite);
}
