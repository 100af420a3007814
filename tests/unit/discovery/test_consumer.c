/* Watchers that are announced, and what a watcher tells of its list. */
#include "fwt.h"

#include <fairway/discovery.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 15000
#ifndef STORES /* mem, and lmdb if it is built */
#define STORES 1
#endif

static fw_kv *kv, *other;
static fw_watcher *watcher;
static size_t closed, done, synced, added, listed, found;
static int64_t last_revision, told_revision;
static char last_name[140];

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_event(fw_watcher *from, const fw_watcher_event *event, void *arg)
{
    (void)from;
    (void)arg;
    synced += event->type == FW_WATCHER_SYNCED;
    added += event->type == FW_WATCHER_ADDED;
    told_revision = event->revision;
}

static void setup(int store)
{
    char url[300];
    snprintf(url, sizeof url, store ? "lmdb:%s/consumer" : "mem:consumer", fwt_tmpdir());
    FWT_OK(fw_kv_open(fwt_loop, url, NULL, &kv));
    FWT_OK(fw_kv_open(fwt_loop, url, NULL, &other));
}

static void close_watcher(void)
{
    size_t before = closed;
    fw_watcher_close(watcher, on_closed, NULL);
    fwt_run_count(&closed, before + 1, TIMEOUT_MS);
    watcher = NULL;
}

static void teardown(void)
{
    if (watcher)
        close_watcher();
    size_t before = closed;
    fw_kv_close(kv, on_closed, NULL);
    fw_kv_close(other, on_closed, NULL);
    fwt_run_count(&closed, before + 2, TIMEOUT_MS);
}

static void watch(const char *service, const char *consumer)
{
    size_t before = synced;
    fw_watcher_options options = {.consumer = consumer, .no_hold = true, .on_event = on_event};
    FWT_OK(fw_watcher_new(kv, service, &options, &watcher));
    ck_assert_uint_eq(fw_watcher_age_ms(watcher), UINT64_MAX);
    fwt_run_count(&synced, before + 1, TIMEOUT_MS);
}

static void on_done(const fw_kv_result *result, void *arg)
{
    (void)arg;
    FWT_OK(result->status);
    done++;
}

static void put(const char *key, const char *text)
{
    size_t before = done;
    FWT_OK(fw_kv_put(other, key, (fw_slice){text, strlen(text)}, NULL, on_done, NULL));
    fwt_run_count(&done, before + 1, TIMEOUT_MS);
}

static void delete (const char *key)
{
    size_t before = done;
    FWT_OK(fw_kv_delete(other, key, on_done, NULL));
    fwt_run_count(&done, before + 1, TIMEOUT_MS);
}

static void on_list(int status, const char *detail, const fw_consumer *consumers, size_t count,
                    void *arg)
{
    (void)detail;
    (void)arg;
    FWT_OK(status);
    listed++;
    found = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(last_name, sizeof last_name, "%s/%s", consumers[i].service, consumers[i].name);
        last_revision = consumers[i].revision;
    }
}

static void list(void)
{
    size_t before = listed;
    FWT_OK(fw_consumers_list(other, "echo", on_list, NULL));
    fwt_run_count(&listed, before + 1, TIMEOUT_MS);
}

/* Until the consumer has told this revision or more. */
static void wait_for_revision(int64_t revision)
{
    uint64_t end = fw_loop_now_ms(fwt_loop) + TIMEOUT_MS;
    do
        list();
    while ((found != 1 || last_revision < revision) && fw_loop_now_ms(fwt_loop) < end);
    ck_assert_int_ge(last_revision, revision);
}

START_TEST(a_consumer_tells_what_it_has_seen)
{
    setup(_i);
    put("services/echo/a", "{}");
    watch("echo", "me");
    wait_for_revision(told_revision);
    ck_assert_str_eq(last_name, "echo/me");
    int64_t first = last_revision;
    put("services/echo/b", "{}"); /* nobody waits for that */
    put("services/echo/a", "{\"state\":1}");
    fwt_run_count(&added, 2, TIMEOUT_MS);
    wait_for_revision(first + 2);
    delete ("services/echo/a");
    wait_for_revision(last_revision + 1);
    close_watcher();
    list();
    ck_assert_uint_eq(found, 0);
    teardown();
}
END_TEST

START_TEST(a_consumer_that_was_deleted_comes_back)
{
    setup(_i);
    watch(NULL, "me");
    for (int i = 0; i < 3; i++) {
        put("services/echo/a", "{\"state\":1}");
        wait_for_revision(told_revision);
        ck_assert_str_eq(last_name, "*/me");
        delete ("consumers/*/me");
        wait_for_revision(told_revision);
    }
    teardown();
}
END_TEST

START_TEST(names_are_made_up_or_refused)
{
    setup(_i);
    fw_watcher *none;
    fw_watcher_options options = {.consumer = "a b", .on_event = on_event};
    FWT_ERR(fw_watcher_new(kv, "echo", &options, &none), FW_EOPTION);
    options = (fw_watcher_options){.consumer = "a", .consumer_ttl_ms = 5, .on_event = on_event};
    FWT_ERR(fw_watcher_new(kv, "echo", &options, &none), FW_EOPTION);
    FWT_ERR(fw_consumers_list(kv, "*", on_list, NULL), FW_ESERVICE);
    watch("echo", "");
    list();
    ck_assert_uint_eq(found, 1);
    ck_assert_uint_gt(strlen(last_name), strlen("echo/"));
    teardown();
}
END_TEST

START_TEST(a_watcher_may_be_closed_before_it_is_announced)
{
    setup(_i);
    fw_watcher_options options = {.consumer = "me", .on_event = on_event};
    FWT_OK(fw_watcher_new(kv, "echo", &options, &watcher));
    close_watcher();
    list();
    ck_assert_uint_eq(found, 0);
    teardown();
}
END_TEST

struct history {
    size_t count;
    int64_t last_revision;
    uint64_t last_ms;
};

static void see_change(const fw_watcher_change *change, void *arg)
{
    struct history *history = arg;
    history->count++;
    ck_assert_int_eq(change->type, FW_WATCHER_CHANGED);
    ck_assert_str_eq(change->instance->id, "a");
    ck_assert_int_gt(change->revision, history->last_revision);
    ck_assert_uint_ge(change->at_ms, history->last_ms);
    ck_assert_int_gt(change->unix_ms, 1500000000000);
    history->last_revision = change->revision;
    history->last_ms = change->at_ms;
}

static void count_change(const fw_watcher_change *change, void *arg)
{
    ck_assert(change->type == FW_WATCHER_ADDED || change->type == FW_WATCHER_SYNCED);
    ck_assert((change->instance != NULL) == (change->type == FW_WATCHER_ADDED));
    ++*(size_t *)arg;
}

START_TEST(the_last_changes_are_remembered)
{
    setup(_i);
    put("services/echo/a", "{\"weight\":1000}");
    watch("echo", NULL);
    size_t count = 0;
    fw_watcher_each_change(watcher, count_change, &count);
    ck_assert_uint_eq(count, 2);
    for (int i = 0; i < FW_WATCHER_CHANGES + 10; i++) {
        char text[40];
        int64_t before = told_revision;
        snprintf(text, sizeof text, "{\"weight\":%d}", i + 2);
        put("services/echo/a", text);
        for (int turns = 0; told_revision == before && turns < TIMEOUT_MS / 10; turns++)
            fwt_run_for(10);
    }
    struct history history = {0};
    fw_watcher_each_change(watcher, see_change, &history);
    ck_assert_uint_eq(history.count, FW_WATCHER_CHANGES);
    ck_assert_int_eq(history.last_revision, told_revision);
    teardown();
}
END_TEST

START_TEST(a_list_says_where_it_comes_from)
{
    setup(_i);
    put("services/echo/a", "{}");
    fw_watcher_options options = {.on_event = on_event};
    FWT_OK(fw_watcher_new(kv, "echo", &options, &watcher));
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_int_eq(snapshot->source, FW_LIST_NONE);
    fw_snapshot_release(snapshot);
    fwt_run_count(&synced, 1, TIMEOUT_MS);
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_int_eq(snapshot->source, FW_LIST_STORE);
    ck_assert_uint_eq(fw_watcher_age_ms(watcher), 0);
    fw_snapshot_release(snapshot);
    close_watcher();
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("consumer");
    TCase *tcase = fwt_tcase(suite, "consumer", 60);
    tcase_add_loop_test(tcase, a_consumer_tells_what_it_has_seen, 0, STORES);
    tcase_add_loop_test(tcase, a_consumer_that_was_deleted_comes_back, 0, STORES);
    tcase_add_loop_test(tcase, names_are_made_up_or_refused, 0, STORES);
    tcase_add_loop_test(tcase, a_watcher_may_be_closed_before_it_is_announced, 0, STORES);
    tcase_add_loop_test(tcase, the_last_changes_are_remembered, 0, STORES);
    tcase_add_loop_test(tcase, a_list_says_where_it_comes_from, 0, STORES);
    return fwt_main(suite);
}
