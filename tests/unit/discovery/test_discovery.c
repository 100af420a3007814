/* Registrar and watcher on the reference store. */
#include "fwt.h"

#include <fairway/discovery.h>
#include <fairway/transport.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static fw_kv *kv, *other; /* two handles of one store */
static fw_registrar *registrar;
static fw_watcher *watcher;
static size_t closed, done, synced, added, changed, removed, registered, lost;
static char last_id[64], last_addr[64];
static size_t held, relisted;
static bool no_hold;
static const fw_instance_filter *filter;

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_done(const fw_kv_result *result, void *arg)
{
    FWT_OK(result->status);
    done++;
    (void)arg;
}

static void on_event(fw_watcher *from, const fw_watcher_event *event, void *arg)
{
    (void)from;
    (void)arg;
    if (event->instance) {
        snprintf(last_id, sizeof last_id, "%s", event->instance->id);
        snprintf(last_addr, sizeof last_addr, "%s", event->instance->addr);
    }
    switch (event->type) {
    case FW_WATCHER_ADDED:
        added++;
        break;
    case FW_WATCHER_CHANGED:
        changed++;
        break;
    case FW_WATCHER_REMOVED:
        removed++;
        break;
    case FW_WATCHER_SYNCED:
        synced++;
        break;
    case FW_WATCHER_HELD:
        held++;
        break;
    case FW_WATCHER_RELISTED:
        relisted++;
        break;
    default:
        ck_abort_msg("event %d", event->type);
    }
}

static void on_status(fw_registrar *from, const fw_registrar_status *status, void *arg)
{
    (void)from;
    (void)arg;
    if (status->state == FW_REGISTRAR_REGISTERED)
        registered++;
    else
        lost++;
}

static void setup(void)
{
    FWT_OK(fw_kv_open(fwt_loop, "mem:discovery", NULL, &kv));
    FWT_OK(fw_kv_open(fwt_loop, "mem:discovery", NULL, &other));
    fw_registrar_options options = {.ttl_ms = 1000, .on_status = on_status};
    FWT_OK(fw_registrar_new(kv, &options, &registrar));
}

static void watch(const char *service)
{
    fw_watcher_options options = {.on_event = on_event, .no_hold = no_hold, .filter = filter};
    FWT_OK(fw_watcher_new(other, service, &options, &watcher));
    fwt_run_count(&synced, 1, 5000);
}

static void teardown(void)
{
    size_t wanted = 2;
    if (registrar)
        fw_registrar_close(registrar, on_closed, NULL), wanted++;
    if (watcher)
        fw_watcher_close(watcher, on_closed, NULL), wanted++;
    fwt_run_count(&closed, wanted - 2, 5000);
    fw_kv_close(kv, on_closed, NULL);
    fw_kv_close(other, on_closed, NULL);
    fwt_run_count(&closed, wanted, 5000);
}

static fw_instance instance_of(const char *id, const char *addr)
{
    return (fw_instance){.service = "echo", .id = id, .net = "tcp", .addr = addr};
}

START_TEST(an_instance_comes_changes_and_goes)
{
    setup();
    watch("echo");
    fw_instance a = instance_of("a", "127.0.0.1:1"), b = instance_of("b", "127.0.0.1:2");
    FWT_OK(fw_registrar_set(registrar, &a));
    FWT_OK(fw_registrar_set(registrar, &b));
    fwt_run_count(&registered, 1, 5000);
    fwt_run_count(&added, 2, 5000);
    a.addr = "127.0.0.1:3";
    FWT_OK(fw_registrar_set(registrar, &a));
    fwt_run_count(&changed, 1, 5000);
    ck_assert_str_eq(last_id, "a");
    ck_assert_str_eq(last_addr, "127.0.0.1:3");
    fw_registrar_close(registrar, on_closed, NULL);
    registrar = NULL;
    fwt_run_count(&removed, 2, 5000);
    ck_assert_uint_eq(lost, 0);
    fwt_run_count(&closed, 1, 5000);
    closed = 0;
    teardown();
}
END_TEST

START_TEST(it_stays_for_longer_than_its_lease)
{
    setup();
    watch(NULL);
    fw_instance a = instance_of("a", "127.0.0.1:1");
    FWT_OK(fw_registrar_set(registrar, &a));
    fwt_run_count(&added, 1, 5000);
    fwt_run_for(2500);
    ck_assert_uint_eq(removed, 0);
    teardown();
}
END_TEST

START_TEST(a_deleted_key_is_put_again)
{
    setup();
    no_hold = true;
    watch("echo");
    fw_instance a = instance_of("a", "127.0.0.1:1");
    FWT_OK(fw_registrar_set(registrar, &a));
    fwt_run_count(&registered, 1, 5000);
    fwt_run_count(&added, 1, 5000);
    for (size_t i = 1; i <= 3; i++) {
        FWT_OK(fw_kv_delete(other, "services/echo/a", on_done, NULL));
        fwt_run_count(&removed, i, 5000);
        fwt_run_count(&added, i + 1, 5000);
    }
    teardown();
}
END_TEST

static void put_node(const char *key, const char *json)
{
    size_t before = done;
    FWT_OK(fw_kv_put(kv, key, (fw_slice){json, strlen(json)}, NULL, on_done, NULL));
    fwt_run_count(&done, before + 1, 5000);
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    fw_conn_close(conn, 0);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    ++*(size_t *)arg;
}

static void see_held(const fw_watcher_held *one, void *arg)
{
    ck_assert_str_eq(one->instance->id, "alive");
    ck_assert_uint_ge(one->answers, 1);
    ck_assert_int_eq(one->reason, FW_HOLD_MANY);
    ++*(size_t *)arg;
}

START_TEST(what_the_store_lost_is_held_while_it_answers)
{
    setup();
    size_t listeners_closed = 0, seen = 0;
    fw_listener *listener;
    fw_listener_options options = {
        .on_accept = on_accept, .on_closed = on_listener_closed, .arg = &listeners_closed};
    FWT_OK(fw_listener_new(fwt_loop, "tcp://127.0.0.1:0", &options, &listener));
    char alive[100];
    snprintf(alive, sizeof alive, "{\"net\":\"tcp\",\"addr\":\"%s\"}",
             fw_listener_url(listener) + strlen("tcp://"));
    const char *dead = "{\"net\":\"unix\",\"addr\":\"/nobody/listens\"}";
    put_node("services/echo/alive", alive);
    put_node("services/echo/dead", dead);
    put_node("services/echo/draining", "{\"net\":\"unix\",\"addr\":\"/x\",\"state\":1}");
    watch("echo");
    ck_assert_uint_eq(added, 3);

    /* All gone at once: only what answers stays, and is told once. */
    size_t before = done;
    FWT_OK(fw_kv_delete_tree(kv, "services", on_done, NULL));
    fwt_run_count(&done, before + 1, 5000);
    fwt_run_count(&removed, 2, 5000);
    fwt_run_count(&held, 1, 5000);
    fwt_run_for(700);
    ck_assert_uint_eq(held, 1);
    fw_watcher_each_held(watcher, see_held, &seen);
    ck_assert_uint_eq(seen, 1);
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_uint_eq(snapshot->count, 1);
    ck_assert_uint_eq(snapshot->held, 1);
    fw_snapshot_release(snapshot);

    /* It is back: no news but that. */
    put_node("services/echo/alive", alive);
    fwt_run_count(&relisted, 1, 5000);
    ck_assert_uint_eq(added, 3);
    ck_assert_uint_eq(changed, 0);

    /* And when it ends, it goes. */
    fw_listener_close(listener);
    fwt_run_count(&listeners_closed, 1, 5000);
    FWT_OK(fw_kv_delete(kv, "services/echo/alive", on_done, NULL));
    fwt_run_count(&removed, 3, 5000);
    teardown();
}
END_TEST

START_TEST(one_of_many_goes_at_once)
{
    setup();
    const char *dead = "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\"}";
    put_node("services/echo/a", dead);
    put_node("services/echo/b", dead);
    watch("echo");
    FWT_OK(fw_kv_delete(kv, "services/echo/a", on_done, NULL));
    fwt_run_count(&removed, 1, 5000);
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_uint_eq(snapshot->count, 1);
    ck_assert_uint_eq(snapshot->held, 0);
    fw_snapshot_release(snapshot);
    teardown();
}
END_TEST

START_TEST(one_instance_may_leave_and_come_back)
{
    setup();
    no_hold = true;
    watch("echo");
    fw_instance a = instance_of("a", "127.0.0.1:1"), b = instance_of("b", "127.0.0.1:2");
    FWT_OK(fw_registrar_set(registrar, &a));
    FWT_OK(fw_registrar_set(registrar, &b));
    FWT_ERR(fw_registrar_remove(registrar, "echo", "c"), FW_ENOTFOUND);
    fwt_run_count(&added, 2, 5000);
    FWT_OK(fw_registrar_remove(registrar, "echo", "a"));
    FWT_ERR(fw_registrar_remove(registrar, "echo", "a"), FW_ENOTFOUND);
    fwt_run_count(&removed, 1, 5000);
    ck_assert_str_eq(last_id, "a");
    FWT_OK(fw_registrar_set(registrar, &a));
    fwt_run_count(&added, 3, 5000);
    /* At once after it was asked for, while the put is under way. */
    a.addr = "127.0.0.1:7";
    FWT_OK(fw_registrar_set(registrar, &a));
    FWT_OK(fw_registrar_remove(registrar, "echo", "a"));
    fwt_run_count(&removed, 2, 5000);
    fwt_run_for(300);
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(watcher, &snapshot));
    ck_assert_uint_eq(snapshot->count, 1);
    ck_assert_str_eq(fw_snapshot_at(snapshot, 0)->id, "b");
    fw_snapshot_release(snapshot);
    FWT_OK(fw_registrar_remove(registrar, "echo", "b"));
    fwt_run_count(&removed, 3, 5000);
    teardown();
}
END_TEST

START_TEST(a_filter_chooses_and_follows)
{
    setup();
    const char *const services[] = {"echo", "web*"};
    const fw_instance_field metadata[] = {{"rack", "7"}, {"tag", NULL}};
    const fw_instance_filter chosen = {.services = services,
                                       .service_count = 2,
                                       .zone = "eu",
                                       .metadata = metadata,
                                       .metadata_count = 2,
                                       .online_only = true};
    filter = &chosen;
#define NODE(more)                                                                                 \
    "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\",\"md\":{\"rack\":\"7\",\"tag\":\"x\"}" more "}"
    const char *good = NODE(",\"zone\":\"eu\"");
    put_node("services/echo/a", good);
    put_node("services/web-1/b", good);
    put_node("services/other/c", good);
    put_node("services/echo/d", NODE(",\"zone\":\"us\""));
    put_node("services/echo/e", NODE(",\"zone\":\"eu\",\"state\":1"));
    put_node("services/echo/f", "{\"zone\":\"eu\",\"md\":{\"rack\":\"7\"}}");
    watch(NULL);
    ck_assert_uint_eq(added, 2);
    put_node("services/echo/d", good); /* begins to match */
    fwt_run_count(&added, 3, 5000);
    ck_assert_str_eq(last_id, "d");
    put_node("services/echo/a", NODE(",\"zone\":\"eu\",\"state\":1")); /* ceases to */
    fwt_run_count(&removed, 1, 5000);
    ck_assert_str_eq(last_id, "a");
    put_node("services/echo/a", NODE(",\"zone\":\"us\"")); /* no news */
    put_node("services/web-1/b", NODE(",\"zone\":\"eu\",\"weight\":3"));
    fwt_run_count(&changed, 1, 5000);
    ck_assert_uint_eq(removed, 1);
    ck_assert_uint_eq(added, 3);
#undef NODE
    teardown();
}
END_TEST

START_TEST(bad_instances_are_refused)
{
    setup();
    fw_instance bad = instance_of("a b", "127.0.0.1:1");
    FWT_ERR(fw_registrar_set(registrar, &bad), FW_EINSTANCE);
    bad.service = "x y";
    FWT_ERR(fw_registrar_set(registrar, &bad), FW_ESERVICE);
    fw_registrar *other_registrar;
    fw_registrar_options options = {.ttl_ms = 10};
    FWT_ERR(fw_registrar_new(kv, &options, &other_registrar), FW_EOPTION);
    fw_watcher *bad_watcher;
    fw_watcher_options watcher_options = {.on_event = on_event};
    FWT_ERR(fw_watcher_new(kv, "a/b", &watcher_options, &bad_watcher), FW_ESERVICE);
    teardown();
}
END_TEST

START_TEST(unreadable_nodes_are_passed_over)
{
    setup();
    FWT_OK(fw_kv_put(kv, "services/echo/bad", (fw_slice){"[]", 2}, NULL, on_done, NULL));
    FWT_OK(fw_kv_put(kv, "services/echo/a/b", (fw_slice){"{}", 2}, NULL, on_done, NULL));
    FWT_OK(fw_kv_put(kv, "services/echo/good", (fw_slice){"{}", 2}, NULL, on_done, NULL));
    fwt_run_count(&done, 3, 5000);
    watch("echo");
    ck_assert_uint_eq(added, 1);
    ck_assert_str_eq(last_id, "good");
    FWT_OK(fw_kv_put(kv, "services/echo/good", (fw_slice){"nonsense", 8}, NULL, on_done, NULL));
    fwt_run_count(&removed, 1, 5000); /* what it said before no longer holds */
    FWT_OK(fw_kv_put(kv, "services/echo/good", (fw_slice){"{}", 2}, NULL, on_done, NULL));
    fwt_run_count(&added, 2, 5000);
    teardown();
}
END_TEST

static void *read_snapshot(void *arg)
{
    const fw_snapshot *snapshot = arg;
    size_t length = 0;
    for (size_t i = 0; i < snapshot->count; i++)
        length += strlen(fw_snapshot_at(snapshot, i)->id);
    fw_snapshot_release(snapshot);
    return (void *)(uintptr_t)length;
}

START_TEST(a_snapshot_is_immutable_and_read_on_any_thread)
{
    setup();
    fw_instance a = instance_of("aa", "127.0.0.1:1"), b = instance_of("b", "127.0.0.1:2");
    b.service = "alpha";
    FWT_OK(fw_registrar_set(registrar, &a));
    FWT_OK(fw_registrar_set(registrar, &b));
    fwt_run_count(&registered, 1, 5000);
    watch(NULL);
    const fw_snapshot *first, *again;
    FWT_OK(fw_watcher_snapshot(watcher, &first));
    FWT_OK(fw_watcher_snapshot(watcher, &again));
    ck_assert_ptr_eq(first, again);
    ck_assert_uint_eq(first->count, 2);
    ck_assert_str_eq(fw_snapshot_at(first, 0)->service, "alpha");
    ck_assert(first->synced && !first->stale);
    size_t at;
    ck_assert_uint_eq(fw_snapshot_service(first, "alpha", &at), 1);
    ck_assert_uint_eq(at, 0);
    ck_assert_uint_eq(fw_snapshot_service(first, "no", NULL), 0);
    ck_assert_ptr_eq(fw_snapshot_find(first, "alpha", "b"), fw_snapshot_at(first, 0));
    ck_assert_ptr_null(fw_snapshot_find(first, "alpha", "aa"));
    ck_assert_ptr_null(fw_snapshot_at(first, 2));
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, read_snapshot, (void *)first), 0);
    fw_registrar_close(registrar, on_closed, NULL);
    registrar = NULL;
    fwt_run_count(&removed, 2, 5000);
    void *length;
    pthread_join(thread, &length);
    ck_assert_uint_eq((uintptr_t)length, 3);
    ck_assert_uint_eq(again->count, 2); /* as it was */
    fw_snapshot_release(again);
    FWT_OK(fw_watcher_snapshot(watcher, &again));
    ck_assert_uint_eq(again->count, 0);
    fw_snapshot_release(again);
    fwt_run_count(&closed, 1, 5000);
    closed = 0;
    teardown();
}
END_TEST

START_TEST(closing_at_once_leaves_nothing_behind)
{
    setup();
    fw_instance a = instance_of("a", "127.0.0.1:1");
    FWT_OK(fw_registrar_set(registrar, &a));
    fw_registrar_close(registrar, on_closed, NULL);
    FWT_ERR(fw_registrar_set(registrar, &a), FW_ECLOSED);
    fw_registrar_close(registrar, NULL, NULL);
    registrar = NULL;
    fwt_run_count(&closed, 1, 5000);
    closed = 0;
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("discovery");
    TCase *tcase = fwt_tcase(suite, "discovery", 30);
    tcase_add_test(tcase, an_instance_comes_changes_and_goes);
    tcase_add_test(tcase, it_stays_for_longer_than_its_lease);
    tcase_add_test(tcase, a_deleted_key_is_put_again);
    tcase_add_test(tcase, what_the_store_lost_is_held_while_it_answers);
    tcase_add_test(tcase, one_of_many_goes_at_once);
    tcase_add_test(tcase, one_instance_may_leave_and_come_back);
    tcase_add_test(tcase, a_filter_chooses_and_follows);
    tcase_add_test(tcase, bad_instances_are_refused);
    tcase_add_test(tcase, unreadable_nodes_are_passed_over);
    tcase_add_test(tcase, a_snapshot_is_immutable_and_read_on_any_thread);
    tcase_add_test(tcase, closing_at_once_leaves_nothing_behind);
    return fwt_main(suite);
}
