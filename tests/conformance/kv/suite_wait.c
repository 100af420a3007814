/* The store for programs that wait. */
#include "kvt.h"

#include <fairway/wait.h>
#include <stdatomic.h>
#include <uv.h>

static fw_wait_kv *wait_open(void)
{
    fw_wait_kv *kv;
    fw_kv_options options = {.timeout_ms = 15000};
    FWT_OK(fw_wait_kv_open(kvt_url, &options, &kv));
    return kv;
}

static const fw_kv_result *expect_status(const fw_kv_result *result, int wanted)
{
    ck_assert_ptr_nonnull(result);
    ck_assert_ptr_nonnull(result->detail);
    ck_assert_msg(result->status == wanted, "wanted %s, got %s (%s)", fw_error_name(wanted),
                  fw_error_name(result->status), result->detail);
    return result;
}

static void expect_value(fw_wait_kv *kv, const char *key, const char *value)
{
    const fw_kv_result *result =
        expect_status(fw_wait_kv_get(kv, key), value ? FW_OK : FW_ENOTFOUND);
    if (value)
        fwt_assert_bytes(result->pairs[0].value.data, result->pairs[0].value.len, value,
                         strlen(value), key);
}

static int64_t wait_put(fw_wait_kv *kv, const char *key, const char *value)
{
    return expect_status(fw_wait_kv_put(kv, key, kvt_text(value), NULL), FW_OK)->revision;
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

START_TEST(waiting_operations_answer_as_the_others)
{
    fw_wait_kv *kv = wait_open();
    expect_status(fw_wait_kv_get(kv, "w/a"), FW_ENOTFOUND);
    int64_t first = wait_put(kv, "/w//a", "1");
    const fw_kv_result *result = expect_status(fw_wait_kv_get(kv, "w/a"), FW_OK);
    ck_assert_uint_eq(result->count, 1);
    ck_assert_str_eq(result->pairs[0].key, "w/a");
    ck_assert_int_eq(result->pairs[0].revision, first);
    ck_assert_uint_eq(expect_status(fw_wait_kv_exists(kv, "w/a"), FW_OK)->count, 1);
    ck_assert_uint_eq(expect_status(fw_wait_kv_exists(kv, "w"), FW_OK)->count, 0);
    expect_status(fw_wait_kv_atomic_put(kv, "w/a", kvt_text("x"), 0, NULL), FW_EEXISTS);
    int64_t second =
        expect_status(fw_wait_kv_atomic_put(kv, "w/a", kvt_text("2"), first, NULL), FW_OK)
            ->revision;
    ck_assert_int_gt(second, first);
    expect_status(fw_wait_kv_atomic_put(kv, "w/a", kvt_text("x"), first, NULL), FW_EMODIFIED);
    expect_value(kv, "w/a", "2");
    expect_status(fw_wait_kv_atomic_delete(kv, "w/a", first), FW_EMODIFIED);
    expect_status(fw_wait_kv_atomic_delete(kv, "w/none", first), FW_ENOTFOUND);
    wait_put(kv, "w/b/c", "3");
    result = expect_status(fw_wait_kv_list(kv, "w"), FW_OK);
    ck_assert_uint_eq(result->count, 2);
    ck_assert_str_eq(result->pairs[1].key, "w/b/c");
    ck_assert_uint_eq(expect_status(fw_wait_kv_list(kv, "none"), FW_OK)->count, 0);
    expect_status(fw_wait_kv_atomic_delete(kv, "w/a", second), FW_OK);
    expect_status(fw_wait_kv_delete(kv, "w/a"), FW_ENOTFOUND);
    expect_status(fw_wait_kv_delete(kv, "w/b/c"), FW_OK);
    wait_put(kv, "w/x", "1");
    wait_put(kv, "w/y", "1");
    ck_assert_uint_eq(expect_status(fw_wait_kv_delete_tree(kv, "w"), FW_OK)->count, 2);
    /* Mistakes are statuses. */
    expect_status(fw_wait_kv_put(kv, "/", kvt_text("x"), NULL), FW_EKEY);
    expect_status(fw_wait_kv_get(kv, ""), FW_EKEY);
    fw_wait_put_options ttl = {.ttl_ms = 1000};
    expect_status(fw_wait_kv_put(kv, "goes", kvt_text("1"), &ttl), FW_OK);
    expect_value(kv, "goes", "1");
    fw_wait_watch *watch;
    FWT_OK(fw_wait_watch_key(kv, "goes", &watch));
    const fw_kv_event *event;
    do
        event = fw_wait_watch_next(watch, KVT_WAIT_MS);
    while (event && event->type != FW_KV_DELETE);
    ck_assert_ptr_nonnull(event);
    fw_wait_watch_close(watch);
    fw_wait_kv_close(kv);
}
END_TEST

START_TEST(waiting_transactions_work)
{
    fw_wait_kv *kv = wait_open();
    fw_kv_txn_op ops[] = {
        {.type = FW_KV_TXN_PUT, .key = "a", .value = kvt_text("1")},
        {.type = FW_KV_TXN_GET, .key = "b"},
    };
    fw_kv_compare compare = {.key = "a", .relation = FW_KV_EQUAL};
    fw_kv_txn txn = {.compares = &compare,
                     .compare_count = 1,
                     .then = ops,
                     .then_count = 2,
                     .otherwise = ops + 1,
                     .otherwise_count = 1};
    if (!(fw_kv_capabilities(fw_wait_kv_async(kv)) & FW_KV_CAN_TXN)) {
        expect_status(fw_wait_kv_txn(kv, &txn), FW_EUNSUPPORTED);
        fw_wait_kv_close(kv);
        return;
    }
    wait_put(kv, "b", "2");
    for (int i = 0; i < 2; i++) {
        const fw_kv_result *result = expect_status(fw_wait_kv_txn(kv, &txn), FW_OK);
        ck_assert(result->succeeded == !i);
        ck_assert_uint_eq(result->count, 1);
        ck_assert_str_eq(result->pairs[0].key, "b");
    }
    fw_wait_lease *lease;
    FWT_OK(fw_wait_lease_new(kv, 5000, &lease));
    ops[0].lease = (fw_kv_lease *)lease; /* is not looked into */
    expect_status(fw_wait_kv_txn(kv, &txn), FW_EOPTION);
    fw_wait_lease_close(lease);
    fw_wait_kv_close(kv);
}
END_TEST

static const fw_kv_event *expect_event(fw_wait_watch *watch, fw_kv_event_type type, const char *key,
                                       const char *value)
{
    const fw_kv_event *event;
    do
        event = fw_wait_watch_next(watch, KVT_WAIT_MS);
    while (event && (event->type == FW_KV_STALE || event->type == FW_KV_LIVE));
    ck_assert_msg(event != NULL, "no event %d %s", (int)type, key);
    ck_assert_int_eq(event->type, type);
    ck_assert_ptr_nonnull(event->detail);
    if (key)
        ck_assert_str_eq(event->pair.key, key);
    if (value)
        fwt_assert_bytes(event->pair.value.data, event->pair.value.len, value, strlen(value), key);
    return event;
}

START_TEST(a_watch_is_read_event_by_event)
{
    fw_wait_kv *kv = wait_open(), *other = wait_open();
    wait_put(other, "w/a", "1");
    fw_wait_watch *watch, *key;
    FWT_ERR(fw_wait_watch_key(kv, "", &watch), FW_EKEY);
    FWT_OK(fw_wait_watch_tree(kv, "w", &watch));
    FWT_OK(fw_wait_watch_key(kv, "w/b", &key));
    expect_event(watch, FW_KV_PUT, "w/a", "1");
    expect_event(watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    expect_event(key, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (int i = 0; i < 20; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        int64_t revision = wait_put(other, "w/b", value);
        ck_assert_int_eq(expect_event(watch, FW_KV_PUT, "w/b", value)->pair.revision, revision);
        expect_event(key, FW_KV_PUT, "w/b", value);
    }
    expect_status(fw_wait_kv_delete_tree(other, "w"), FW_OK);
    expect_event(watch, FW_KV_DELETE, NULL, "");
    expect_event(watch, FW_KV_DELETE, NULL, "");
    expect_event(key, FW_KV_DELETE, "w/b", "");
    fw_wait_watch_close(key);
    fw_wait_watch_close(watch);
    fw_wait_kv_close(other);
    fw_wait_kv_close(kv);
}
END_TEST

START_TEST(a_quiet_watch_waits_as_long_as_it_is_told)
{
    fw_wait_kv *kv = wait_open();
    fw_wait_watch *watch;
    FWT_OK(fw_wait_watch_tree(kv, "quiet", &watch));
    expect_event(watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    uint64_t start = now_ms();
    ck_assert_ptr_null(fw_wait_watch_next(watch, 0));
    ck_assert_ptr_null(fw_wait_watch_next(watch, 300));
    uint64_t took = now_ms() - start;
    ck_assert_msg(took >= 290 && took < 10000, "took %llu ms", (unsigned long long)took);
    wait_put(kv, "quiet/not", "1");
    expect_event(watch, FW_KV_PUT, "quiet/not", "1");
    /* Without waiting it comes, too, after some calls. */
    wait_put(kv, "quiet/not", "2");
    const fw_kv_event *event = NULL;
    for (start = now_ms(); !event && now_ms() - start < KVT_WAIT_MS;)
        event = fw_wait_watch_next(watch, 0);
    ck_assert_ptr_nonnull(event);
    fw_wait_watch_close(watch);
    fw_wait_kv_close(kv);
}
END_TEST

START_TEST(an_event_is_lent_while_other_calls_run)
{
    enum { COUNT = 100 };
    fw_wait_kv *kv = wait_open();
    fw_wait_watch *watch;
    FWT_OK(fw_wait_watch_tree(kv, "many", &watch));
    expect_event(watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    wait_put(kv, "many/first", "the first");
    const fw_kv_event *event = expect_event(watch, FW_KV_PUT, "many/first", NULL);
    /* These come in while that one is held, and are kept for later. */
    for (int i = 0; i < COUNT; i++) {
        char key[24];
        snprintf(key, sizeof key, "many/%03d", i);
        wait_put(kv, key, "x");
    }
    ck_assert_int_eq(event->type, FW_KV_PUT);
    ck_assert_str_eq(event->pair.key, "many/first");
    fwt_assert_bytes(event->pair.value.data, event->pair.value.len, "the first", 9, "value");
    for (int i = 0; i < COUNT; i++) {
        char key[24];
        snprintf(key, sizeof key, "many/%03d", i);
        expect_event(watch, FW_KV_PUT, key, "x");
    }
    fw_wait_watch_close(watch);
    fw_wait_kv_close(kv);
}
END_TEST

START_TEST(a_lease_is_kept_while_the_program_sleeps)
{
    fw_wait_kv *kv = wait_open(), *other = wait_open();
    fw_wait_lease *lease, *second;
    FWT_ERR(fw_wait_lease_new(kv, 999, &lease), FW_EOPTION);
    FWT_OK(fw_wait_lease_new(kv, 3000, &lease));
    FWT_OK(fw_wait_lease_new(kv, 60000, &second));
    fw_wait_put_options options = {.lease = lease};
    int64_t revision =
        expect_status(fw_wait_kv_put(kv, "leased", kvt_text("1"), &options), FW_OK)->revision;
    ck_assert_int_gt(revision, 0);
    expect_status(fw_wait_kv_atomic_put(kv, "leased", kvt_text("2"), revision + 1000, &options),
                  FW_EMODIFIED);
    expect_status(fw_wait_kv_atomic_put(kv, "leased", kvt_text("2"), revision, &options), FW_OK);
    expect_status(fw_wait_kv_put(kv, "/", kvt_text("1"), &options), FW_EKEY);
    options.lease = second;
    expect_status(fw_wait_kv_put(kv, "second", kvt_text("1"), &options), FW_OK);
    uv_sleep(4500); /* beyond the time */
    expect_value(other, "leased", "2");
    ck_assert_int_eq(fw_wait_lease_state(lease), FW_OK);
    fw_wait_lease_close(lease);
    expect_value(other, "leased", NULL);
    expect_value(other, "second", "1");
    fw_wait_lease_close(second);
    expect_value(other, "second", NULL);
    fw_wait_kv_close(other);
    fw_wait_kv_close(kv);
}
END_TEST

START_TEST(a_lock_is_waited_for)
{
    fw_wait_kv *kv = wait_open(), *other = wait_open();
    fw_wait_lock *lock, *second;
    fw_kv_lock_options options = {.value = kvt_text("me"), .no_wait = true};
    FWT_ERR(fw_wait_lock_new(kv, "", &options, &lock), FW_EKEY);
    FWT_OK(fw_wait_lock_new(kv, "wl", &options, &lock));
    ck_assert_int_gt(fw_wait_lock_token(lock), 0);
    ck_assert_int_eq(fw_wait_lock_state(lock), FW_OK);
    expect_value(other, "wl", "me");
    FWT_ERR(fw_wait_lock_new(other, "wl", &options, &second), FW_ELOCKED);
    options = (fw_kv_lock_options){.wait_ms = 300};
    uint64_t start = now_ms();
    FWT_ERR(fw_wait_lock_new(other, "wl", &options, &second), FW_EDEADLINE);
    ck_assert_uint_ge(now_ms() - start, 250);
    fw_kv_compare compare = fw_wait_lock_compare(lock);
    fw_kv_txn txn = {.compares = &compare, .compare_count = 1};
    if (fw_kv_capabilities(fw_wait_kv_async(kv)) & FW_KV_CAN_TXN)
        ck_assert(expect_status(fw_wait_kv_txn(other, &txn), FW_OK)->succeeded);
    int64_t token = fw_wait_lock_token(lock);
    fw_wait_lock_close(lock);
    FWT_OK(fw_wait_lock_new(other, "wl", NULL, &second));
    ck_assert_int_gt(fw_wait_lock_token(second), token);
    /* Lost by somebody else's doing. */
    expect_status(fw_wait_kv_delete(kv, "wl"), FW_OK);
    for (start = now_ms(); !fw_wait_lock_state(second) && now_ms() - start < KVT_WAIT_MS;)
        uv_sleep(5);
    ck_assert_int_ne(fw_wait_lock_state(second), FW_OK);
    fw_wait_lock_close(second);
    expect_status(fw_wait_kv_get(kv, "wl"), FW_ENOTFOUND);
    fw_wait_kv_close(other);
    fw_wait_kv_close(kv);
}
END_TEST

struct locker {
    uv_thread_t thread;
    atomic_int *holders;
    int err;
    int64_t last_token;
};

static void lock_and_unlock(void *arg)
{
    struct locker *locker = arg;
    fw_wait_kv *kv;
    fw_kv_options options = {.timeout_ms = 15000};
    locker->err = fw_wait_kv_open(kvt_url, &options, &kv);
    if (locker->err)
        return;
    for (int i = 0; i < 5 && !locker->err; i++) {
        fw_wait_lock *lock;
        locker->err = fw_wait_lock_new(kv, "threads", NULL, &lock);
        if (locker->err)
            break;
        if (atomic_fetch_add(locker->holders, 1) || fw_wait_lock_token(lock) <= locker->last_token)
            locker->err = FW_ELOCKED; /* somebody else has it, too */
        locker->last_token = fw_wait_lock_token(lock);
        uv_sleep(1);
        atomic_fetch_sub(locker->holders, 1);
        fw_wait_lock_close(lock);
    }
    fw_wait_kv_close(kv);
}

START_TEST(threads_exclude_each_other)
{
    enum { THREADS = 4 };
    atomic_int holders = 0;
    fw_wait_kv *kv = wait_open(); /* keeps a store in memory alive */
    struct locker lockers[THREADS] = {{.holders = NULL}};
    for (size_t i = 0; i < THREADS; i++) {
        lockers[i].holders = &holders;
        ck_assert_int_eq(uv_thread_create(&lockers[i].thread, lock_and_unlock, &lockers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        uv_thread_join(&lockers[i].thread);
        ck_assert_msg(!lockers[i].err, "thread %zu: %s", i, fw_error_name(lockers[i].err));
    }
    expect_status(fw_wait_kv_get(kv, "threads"), FW_ENOTFOUND);
    fw_wait_kv_close(kv);
}
END_TEST

struct flight {
    size_t answered, wanted;
    bool all;
};

static void on_landed(const fw_kv_result *result, void *arg)
{
    struct flight *flight = arg;
    ck_assert_int_eq(result->status, FW_OK);
    flight->all = ++flight->answered == flight->wanted;
}

START_TEST(many_operations_are_in_flight_at_once)
{
    enum { COUNT = 400 };
    fw_wait_kv *kv = wait_open();
    struct flight flight = {.wanted = COUNT};
    bool never = false;
    ck_assert_int_eq(fw_wait_kv_until(kv, &never, 20), FW_EDEADLINE);
    for (int i = 0; i < COUNT; i++) {
        char key[24];
        snprintf(key, sizeof key, "flight/%03d", i);
        FWT_OK(fw_kv_put(fw_wait_kv_async(kv), key, kvt_text(key), NULL, on_landed, &flight));
    }
    ck_assert_uint_eq(flight.answered, 0);
    ck_assert_int_eq(fw_wait_kv_until(kv, &flight.all, KVT_WAIT_MS), FW_OK);
    ck_assert_uint_eq(flight.answered, COUNT);
    ck_assert_uint_eq(expect_status(fw_wait_kv_list(kv, "flight"), FW_OK)->count, COUNT);
    fw_wait_kv_close(kv);
}
END_TEST

static void on_ended(const fw_kv_result *result, void *arg)
{
    struct flight *flight = arg;
    /* Closing the watches first takes some turns. */
    ck_assert(result->status == FW_ECANCELED || result->status == FW_OK);
    flight->answered++;
}

START_TEST(closing_ends_what_is_open)
{
    fw_wait_kv *kv = wait_open(), *other = wait_open();
    struct flight flight = {.answered = 0};
    fw_wait_watch *watch, *unread;
    FWT_OK(fw_wait_watch_tree(kv, "", &watch));
    expect_event(watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    FWT_OK(fw_wait_watch_key(kv, "k", &unread));
    wait_put(other, "k", "v");
    for (int i = 0; i < 10; i++)
        FWT_OK(fw_kv_get(fw_wait_kv_async(kv), "k", on_ended, &flight));
    fw_wait_kv_close(kv);
    ck_assert_uint_eq(flight.answered, 10);
    expect_value(other, "k", "v");
    fw_wait_kv_close(other);
    FWT_ERR(fw_wait_kv_open("nosuch:thing", NULL, &kv), FW_ESCHEME);
}
END_TEST

void kvt_add_wait(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "waiting");
    kvt_add(&group, "C45", waiting_operations_answer_as_the_others);
    kvt_add(&group, "C45", waiting_transactions_work);
    kvt_add(&group, "C46", a_watch_is_read_event_by_event);
    kvt_add(&group, "C46", a_quiet_watch_waits_as_long_as_it_is_told);
    kvt_add(&group, "C46", an_event_is_lent_while_other_calls_run);
    kvt_add(&group, "C47", a_lease_is_kept_while_the_program_sleeps);
    kvt_add(&group, "C47", a_lock_is_waited_for);
    kvt_add(&group, "C47", threads_exclude_each_other);
    kvt_add(&group, "C48", many_operations_are_in_flight_at_once);
    kvt_add(&group, "C48", closing_ends_what_is_open);
}
