/* Drains, from the request to the leaving, on each store: a program for each of the drivers of
 * conformance/kv. */
#include "kvt.h"

#include <fairway/discovery.h>
#include <uv.h>

#define TIMEOUT_MS 15000

static fw_kv *kv, *other, *third; /* handles of one store: the registrar's, the watchers', ours */
static fw_registrar *registrar;
static fw_watcher *watchers[2];
static size_t watcher_count;
static fw_drain *drain;

static size_t closed, done, registered, synced, told_offline, removed, drained, resumed_count;
static size_t finished, phases[4];
static int final_status;
static char final_detail[400];
static fw_drain_progress last;
static bool leave_when_drained, close_when_marked;
static char value[200];
static size_t value_count;
static int64_t value_revision;

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_status(fw_registrar *from, const fw_registrar_status *status, void *arg)
{
    (void)from;
    (void)arg;
    registered += status->state == FW_REGISTRAR_REGISTERED;
}

static void on_drain(fw_registrar *from, const fw_instance *instance, bool is_draining, void *arg)
{
    (void)arg;
    ck_assert_str_eq(instance->id, "a");
    ck_assert_int_eq(instance->state, is_draining ? FW_INSTANCE_OFFLINE : FW_INSTANCE_ONLINE);
    drained += is_draining;
    resumed_count += !is_draining;
    if (is_draining && leave_when_drained)
        FWT_OK(fw_registrar_remove(from, "echo", "a"));
}

static void on_event(fw_watcher *from, const fw_watcher_event *event, void *arg)
{
    (void)from;
    (void)arg;
    synced += event->type == FW_WATCHER_SYNCED;
    removed += event->type == FW_WATCHER_REMOVED;
    told_offline += (event->type == FW_WATCHER_CHANGED || event->type == FW_WATCHER_ADDED) &&
                    event->instance->state == FW_INSTANCE_OFFLINE;
}

static void setup(void)
{
    char url[300];
    kvt_this_driver.fresh_url(url, sizeof url);
    FWT_OK(fw_kv_open(fwt_loop, url, NULL, &kv));
    FWT_OK(fw_kv_open(fwt_loop, url, NULL, &other));
    FWT_OK(fw_kv_open(fwt_loop, url, NULL, &third));
    fw_registrar_options options = {.ttl_ms = 2000, .on_status = on_status, .on_drain = on_drain};
    FWT_OK(fw_registrar_new(kv, &options, &registrar));
}

static void close_part(void **part, void (*close)(void *part))
{
    size_t before = closed;
    if (*part) {
        close(*part);
        fwt_run_count(&closed, before + 1, TIMEOUT_MS);
    }
    *part = NULL;
}

static void close_drain_now(void *part)
{
    fw_drain_close(part, on_closed, NULL);
}

static void close_registrar_now(void *part)
{
    fw_registrar_close(part, on_closed, NULL);
}

static void close_watcher_now(void *part)
{
    fw_watcher_close(part, on_closed, NULL);
}

static void teardown(void)
{
    close_part((void **)&drain, close_drain_now);
    close_part((void **)&registrar, close_registrar_now);
    for (size_t i = 0; i < watcher_count; i++)
        close_part((void **)&watchers[i], close_watcher_now);
    size_t before = closed;
    fw_kv_close(kv, on_closed, NULL);
    fw_kv_close(other, on_closed, NULL);
    fw_kv_close(third, on_closed, NULL);
    fwt_run_count(&closed, before + 3, TIMEOUT_MS);
}

static void set_instance(const char *id)
{
    size_t before = registered;
    fw_instance instance = {.service = "echo", .id = id, .net = "tcp", .addr = "127.0.0.1:1"};
    FWT_OK(fw_registrar_set(registrar, &instance));
    fwt_run_count(&registered, before + 1, TIMEOUT_MS);
}

static void watch(const char *service, const char *consumer, const fw_instance_filter *filter)
{
    fw_watcher_options options = {.consumer = consumer,
                                  .consumer_ttl_ms = 2000,
                                  .filter = filter,
                                  .no_hold = true,
                                  .on_event = on_event};
    size_t before = synced;
    FWT_OK(fw_watcher_new(other, service, &options, &watchers[watcher_count++]));
    fwt_run_count(&synced, before + 1, TIMEOUT_MS);
}

static void on_phase(fw_drain *from, const fw_drain_progress *progress, void *arg)
{
    (void)arg;
    ck_assert_int_ge(progress->phase, last.phase);
    phases[progress->phase]++;
    last = *progress;
    if (progress->phase == FW_DRAIN_MARKED && close_when_marked)
        fw_drain_close(from, on_closed, NULL);
}

static void on_drain_done(fw_drain *from, int status, const char *detail, void *arg)
{
    (void)from;
    (void)arg;
    finished++;
    final_status = status;
    snprintf(final_detail, sizeof final_detail, "%s", detail);
}

static void start_drain(fw_drain_options options)
{
    options.on_phase = on_phase;
    options.on_done = on_drain_done;
    memset(phases, 0, sizeof phases);
    memset(&last, 0, sizeof last);
    finished = 0;
    FWT_OK(fw_drain_new(third, "echo", "a", &options, &drain));
    ck_assert_uint_eq(finished, 0);
}

static void expect_done(int status)
{
    fwt_run_count(&finished, 1, TIMEOUT_MS);
    ck_assert_msg(final_status == status, "%s: %s", fw_strerror(final_status), final_detail);
}

static void on_done(const fw_kv_result *result, void *arg)
{
    (void)arg;
    FWT_OK(result->status);
    done++;
}

static void put(const char *key, const char *text, const fw_kv_put_options *options)
{
    size_t before = done;
    FWT_OK(fw_kv_put(third, key, (fw_slice){text, strlen(text)}, options, on_done, NULL));
    fwt_run_count(&done, before + 1, TIMEOUT_MS);
}

static void delete (const char *key)
{
    size_t before = done;
    FWT_OK(fw_kv_delete(third, key, on_done, NULL));
    fwt_run_count(&done, before + 1, TIMEOUT_MS);
}

static void on_value(const fw_kv_result *result, void *arg)
{
    (void)arg;
    *value = 0;
    value_revision = 0;
    if (!result->status) {
        snprintf(value, sizeof value, "%.*s", (int)result->pairs->value.len,
                 (const char *)result->pairs->value.data);
        value_revision = result->pairs->revision;
    }
    value_count++;
}

/* What the store has in `value`, "" if there is no such key. */
static const char *get(const char *key)
{
    size_t before = value_count;
    FWT_OK(fw_kv_get(third, key, on_value, NULL));
    fwt_run_count(&value_count, before + 1, TIMEOUT_MS);
    return value;
}

static void on_resumed(int status, const char *detail, void *arg)
{
    (void)detail;
    (void)arg;
    final_status = status;
    finished++;
}

static int resume(void)
{
    finished = 0;
    FWT_OK(fw_drain_resume(third, "echo", "a", on_resumed, NULL));
    fwt_run_count(&finished, 1, TIMEOUT_MS);
    return final_status;
}

/* ---- the whole way ---- */

START_TEST(a_drain_goes_through_its_phases)
{
    setup();
    set_instance("a");
    watch("echo", "one", NULL);
    watch(NULL, "all", NULL);
    leave_when_drained = true;
    start_drain((fw_drain_options){.wait_left = true});
    expect_done(FW_OK);
    ck_assert_uint_eq(drained, 1);
    ck_assert_uint_eq(phases[FW_DRAIN_ASKED], 1);
    ck_assert_uint_eq(phases[FW_DRAIN_SEEN], 1);
    ck_assert_uint_eq(phases[FW_DRAIN_LEFT], 1);
    ck_assert(!last.by_us);
    ck_assert_uint_eq(last.consumers, 2);
    /* SEEN means that both applications were told. */
    ck_assert_uint_eq(told_offline + removed >= 2, 1);
    close_part((void **)&registrar, close_registrar_now);
    ck_assert_str_eq(get("drains/echo/a"), "");
    teardown();
}
END_TEST

START_TEST(everybody_has_seen_it_when_it_is_done)
{
    setup();
    set_instance("a");
    watch("echo", "one", NULL);
    watch(NULL, "", NULL);
    start_drain((fw_drain_options){.by = "a \"test\""});
    expect_done(FW_OK);
    ck_assert_uint_eq(told_offline, 2);
    ck_assert_uint_ge(phases[FW_DRAIN_MARKED], 1);
    ck_assert_ptr_nonnull(strstr(get("drains/echo/a"), "\"by\":\"a \\\"test\\\"\""));
    /* It stays offline until somebody takes it back; the application is told. */
    fwt_run_count(&drained, 1, TIMEOUT_MS);
    FWT_OK(resume());
    fwt_run_count(&resumed_count, 1, TIMEOUT_MS);
    ck_assert_str_eq(get("services/echo/a"),
                     "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\",\"bn\":\"\"}");
    FWT_ERR(resume(), FW_ENOTFOUND);
    teardown();
}
END_TEST

START_TEST(a_consumer_that_wants_only_what_is_online_is_asked_too)
{
    setup();
    set_instance("a");
    fw_instance_filter filter = {.online_only = true};
    watch("echo", "one", &filter);
    start_drain((fw_drain_options){0});
    expect_done(FW_OK);
    ck_assert_uint_eq(removed, 1);
    teardown();
}
END_TEST

START_TEST(nobody_watches_and_it_is_done)
{
    setup();
    set_instance("a");
    start_drain((fw_drain_options){0});
    expect_done(FW_OK);
    ck_assert_uint_eq(last.consumers, 0);
    teardown();
}
END_TEST

/* ---- who has not seen it ---- */

static void see_slow(const fw_consumer *consumer, void *arg)
{
    ck_assert_str_eq(consumer->service, "echo");
    ck_assert_str_eq(consumer->name, "slow");
    ++*(size_t *)arg;
}

START_TEST(a_drain_waits_for_who_has_not_seen_it)
{
    setup();
    set_instance("a");
    watch("echo", "one", NULL);
    put("consumers/echo/slow", "{\"revision\":1}", NULL);
    put("consumers/web/other", "{\"revision\":1}", NULL); /* does not count */
    start_drain((fw_drain_options){.deadline_ms = 700});
    expect_done(FW_EDEADLINE);
    ck_assert_str_eq(final_detail, "1 of 2 consumers have not seen it: slow");
    size_t seen = 0;
    fw_drain_each_awaited(drain, see_slow, &seen);
    ck_assert_uint_eq(seen, 1);
    ck_assert_uint_eq(phases[FW_DRAIN_SEEN], 0);
    close_part((void **)&drain, close_drain_now);

    /* Asked again; it says what it has seen, too little at first. */
    start_drain((fw_drain_options){0});
    fwt_run_count(&phases[FW_DRAIN_MARKED], 1, TIMEOUT_MS);
    get("services/echo/a");
    char text[60];
    snprintf(text, sizeof text, "{\"revision\":%lld}", (long long)value_revision - 1);
    put("consumers/echo/slow", text, NULL);
    ck_assert_uint_eq(finished, 0);
    snprintf(text, sizeof text, "{\"revision\":%lld}", (long long)value_revision);
    put("consumers/echo/slow", text, NULL);
    expect_done(FW_OK);
    teardown();
}
END_TEST

START_TEST(a_consumer_whose_time_is_over_is_not_waited_for)
{
    setup();
    set_instance("a");
    put("consumers/*/dead", "{\"revision\":0}", &(fw_kv_put_options){.ttl_ms = 1000});
    start_drain((fw_drain_options){0});
    fwt_run_count(&phases[FW_DRAIN_MARKED], 1, TIMEOUT_MS);
    ck_assert_uint_eq(last.awaited, 1);
    expect_done(FW_OK);
    teardown();
}
END_TEST

START_TEST(an_instance_that_is_taken_back_ends_the_drain)
{
    setup();
    set_instance("a");
    put("consumers/echo/slow", "nonsense", NULL);
    start_drain((fw_drain_options){0});
    fwt_run_count(&phases[FW_DRAIN_MARKED], 1, TIMEOUT_MS);
    fwt_run_count(&drained, 1, TIMEOUT_MS); /* what is taken back before that is not told */
    FWT_OK(fw_drain_resume(third, "echo", "a", on_resumed, NULL));
    fwt_run_count(&finished, 2, TIMEOUT_MS);
    fwt_run_count(&resumed_count, 1, TIMEOUT_MS);
    ck_assert(final_status == FW_EMODIFIED || final_status == FW_OK); /* in either order */
    ck_assert_str_eq(final_detail, "it is online again");
    teardown();
}
END_TEST

/* ---- requests ---- */

START_TEST(a_request_that_was_there_before_counts)
{
    setup();
    put("drains/echo/a", "{\"by\":\"me\"}", NULL);
    watch("echo", NULL, NULL);
    set_instance("a");
    fwt_run_count(&drained, 1, TIMEOUT_MS);
    fwt_run_count(&told_offline, 1, TIMEOUT_MS);
    ck_assert_ptr_nonnull(strstr(get("services/echo/a"), "\"state\":1"));
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watchers[0], &snapshot));
    ck_assert_int_eq(fw_snapshot_at(snapshot, 0)->state, FW_INSTANCE_OFFLINE);
    fw_snapshot_release(snapshot);
    /* What the application sets stays offline, too. */
    fw_instance changed = {
        .service = "echo", .id = "a", .net = "tcp", .addr = "127.0.0.1:1", .weight = 7};
    FWT_OK(fw_registrar_set(registrar, &changed));
    fwt_run_count(&told_offline, 2, TIMEOUT_MS);
    FWT_OK(resume());
    fwt_run_count(&resumed_count, 1, TIMEOUT_MS);
    ck_assert_uint_eq(drained, 1);
    ck_assert_ptr_nonnull(strstr(get("services/echo/a"), "\"weight\":7"));
    ck_assert_ptr_null(strstr(value, "state"));
    teardown();
}
END_TEST

static void see_entry(const fw_registrar_entry *entry, void *arg)
{
    ck_assert(entry->registered && entry->revision > 0);
    ck_assert_int_eq(entry->draining, !strcmp(entry->instance->id, "a"));
    ++*(size_t *)arg;
}

START_TEST(a_registrar_that_closes_takes_the_requests_along)
{
    setup();
    set_instance("b");
    put("drains/echo/a", "{}", NULL);
    set_instance("a");
    fwt_run_count(&drained, 1, TIMEOUT_MS);
    size_t seen = 0;
    fw_registrar_each(registrar, see_entry, &seen);
    ck_assert_uint_eq(seen, 2);
    close_part((void **)&registrar, close_registrar_now);
    ck_assert_str_eq(get("services/echo/a"), "");
    ck_assert_str_eq(get("drains/echo/a"), "");
    teardown();
}
END_TEST

START_TEST(an_instance_may_be_removed_while_its_registrar_closes)
{
    setup();
    put("drains/echo/a", "{}", NULL);
    set_instance("a");
    fwt_run_count(&drained, 1, TIMEOUT_MS);
    FWT_OK(fw_registrar_remove(registrar, "echo", "a"));
    close_part((void **)&registrar, close_registrar_now);
    ck_assert_str_eq(get("services/echo/a"), "");
    ck_assert_str_eq(get("drains/echo/a"), "");
    teardown();
}
END_TEST

/* ---- nodes of others ---- */

START_TEST(a_node_that_nobody_keeps_is_marked_by_the_drain)
{
    setup();
    put("services/echo/a", "{\"net\":\"tcp\",\"addr\":\"x:1\",\"bn\":\"rr\",\"own\":[1]}", NULL);
    watch("echo", "one", NULL);
    start_drain((fw_drain_options){.mark_ms = 100});
    expect_done(FW_OK);
    ck_assert(last.by_us);
    ck_assert_uint_eq(told_offline, 1);
    ck_assert_str_eq(get("services/echo/a"),
                     "{\"net\":\"tcp\",\"addr\":\"x:1\",\"bn\":\"rr\",\"own\":[1],\"state\":1}");
    FWT_OK(resume());
    ck_assert_str_eq(get("services/echo/a"),
                     "{\"net\":\"tcp\",\"addr\":\"x:1\",\"bn\":\"rr\",\"own\":[1],\"state\":0}");
    ck_assert_str_eq(get("drains/echo/a"), "");
    teardown();
}
END_TEST

START_TEST(a_node_that_somebody_keeps_is_left_to_him)
{
    setup();
    put("services/echo/a", "{\"net\":\"tcp\",\"addr\":\"x:1\"}",
        &(fw_kv_put_options){.ttl_ms = 60000});
    start_drain((fw_drain_options){.mark_ms = 100});
    expect_done(FW_EDEADLINE);
    ck_assert_str_eq(final_detail, "its registrar has not marked it offline");
    ck_assert_str_eq(get("services/echo/a"), "{\"net\":\"tcp\",\"addr\":\"x:1\"}");
    delete ("services/echo/a");
    teardown();
}
END_TEST

START_TEST(an_instance_that_leaves_at_once_has_left)
{
    setup();
    put("services/echo/a", "{\"net\":\"tcp\",\"addr\":\"x:1\"}", NULL);
    watch("echo", "one", NULL);
    start_drain((fw_drain_options){.wait_left = true});
    fwt_run_count(&phases[FW_DRAIN_ASKED], 1, TIMEOUT_MS);
    delete ("services/echo/a");
    expect_done(FW_OK);
    ck_assert_uint_eq(phases[FW_DRAIN_LEFT], 1);
    ck_assert_uint_eq(removed, 1);
    teardown();
}
END_TEST

/* ---- refusals, and the end ---- */

START_TEST(what_is_not_there_or_not_readable_is_said)
{
    setup();
    start_drain((fw_drain_options){0});
    expect_done(FW_ENOTFOUND);
    ck_assert_str_eq(get("drains/echo/a"), "");
    close_part((void **)&drain, close_drain_now);
    put("services/echo/a", "[]", NULL);
    start_drain((fw_drain_options){0});
    expect_done(FW_EINSTANCE);
    fw_drain *none;
    fw_drain_options options = {.on_done = on_drain_done};
    FWT_ERR(fw_drain_new(third, "a/b", "a", &options, &none), FW_ESERVICE);
    FWT_ERR(fw_drain_new(third, "a", "*", &options, &none), FW_EINSTANCE);
    options.on_done = NULL;
    FWT_ERR(fw_drain_new(third, "a", "a", &options, &none), FW_EOPTION);
    FWT_ERR(fw_drain_resume(third, "", "a", on_resumed, NULL), FW_ESERVICE);
    FWT_ERR(fw_drain_resume(third, "a", "", on_resumed, NULL), FW_EINSTANCE);
    teardown();
}
END_TEST

START_TEST(a_drain_may_be_closed_at_any_time)
{
    setup();
    set_instance("a");
    start_drain((fw_drain_options){0});
    close_part((void **)&drain, close_drain_now);
    ck_assert_uint_eq(finished, 1);
    ck_assert_int_eq(final_status, FW_ECANCELED);
    close_when_marked = true;
    start_drain((fw_drain_options){0});
    size_t before = closed;
    fwt_run_count(&closed, before + 1, TIMEOUT_MS);
    drain = NULL;
    ck_assert_uint_eq(finished, 1);
    ck_assert_int_eq(final_status, FW_ECANCELED);
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("drain");
    TCase *tcase = fwt_tcase(suite, kvt_this_driver.name, 60);
    if (kvt_this_driver.start)
        tcase_add_unchecked_fixture(tcase, kvt_this_driver.start, kvt_this_driver.stop);
    tcase_add_test(tcase, a_drain_goes_through_its_phases);
    tcase_add_test(tcase, everybody_has_seen_it_when_it_is_done);
    tcase_add_test(tcase, a_consumer_that_wants_only_what_is_online_is_asked_too);
    tcase_add_test(tcase, nobody_watches_and_it_is_done);
    tcase_add_test(tcase, a_drain_waits_for_who_has_not_seen_it);
    tcase_add_test(tcase, a_consumer_whose_time_is_over_is_not_waited_for);
    tcase_add_test(tcase, an_instance_that_is_taken_back_ends_the_drain);
    tcase_add_test(tcase, a_request_that_was_there_before_counts);
    tcase_add_test(tcase, a_registrar_that_closes_takes_the_requests_along);
    tcase_add_test(tcase, an_instance_may_be_removed_while_its_registrar_closes);
    tcase_add_test(tcase, a_node_that_nobody_keeps_is_marked_by_the_drain);
    tcase_add_test(tcase, a_node_that_somebody_keeps_is_left_to_him);
    tcase_add_test(tcase, an_instance_that_leaves_at_once_has_left);
    tcase_add_test(tcase, what_is_not_there_or_not_readable_is_said);
    tcase_add_test(tcase, a_drain_may_be_closed_at_any_time);
    return fwt_main(suite);
}
