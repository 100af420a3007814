/* The front of the store on a driver that does what the test says. */
#include "kv.h"
#include "fwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- the fake driver: keeps what it is given ---- */

static struct {
    fwi_kv_op *op;
    fw_kv_watch *watch;
    fw_kv_lease *lease;
    size_t watches_stopped, revokes;
    bool keep_watch, keep_lease; /* do not answer stop, revoke at once */
} fake;

static void fake_close(void *store)
{
    fwi_kv_closed(store);
}

static void fake_submit(void *store, fwi_kv_op *op)
{
    (void)store;
    fake.op = op;
}

static void fake_watch_start(void *store, fw_kv_watch *watch)
{
    (void)store;
    fake.watch = watch;
}

static void fake_watch_stop(void *store, fw_kv_watch *watch)
{
    (void)store;
    fake.watches_stopped++;
    if (!fake.keep_watch)
        fwi_kv_watch_stopped(watch);
}

static void fake_lease_grant(void *store, fw_kv_lease *lease)
{
    (void)store;
    fake.lease = lease;
}

static void fake_lease_revoke(void *store, fw_kv_lease *lease)
{
    (void)store;
    fake.revokes++;
    if (!fake.keep_lease)
        fwi_kv_lease_gone(lease);
}

static const fwi_kv_driver driver = {
    .scheme = "fake",
    .max_value_bytes = 10,
    .close = fake_close,
    .submit = fake_submit,
    .watch_start = fake_watch_start,
    .watch_stop = fake_watch_stop,
    .lease_grant = fake_lease_grant,
    .lease_revoke = fake_lease_revoke,
};

/* A store on the fake driver. There is no scheme for it in the registry, so a store of mem's is
 * opened, and its driver exchanged; mem's own handle is kept aside. */
static void *mem_handle;

static fw_kv *open_fake(uint32_t timeout_ms)
{
    fw_kv *kv;
    fw_kv_options options = {.timeout_ms = timeout_ms};
    FWT_OK(fw_kv_open(fwt_loop, "mem:front", &options, &kv));
    mem_handle = kv->store;
    kv->driver = &driver;
    kv->store = kv;
    return kv;
}

static void on_closed(void *flag)
{
    ck_assert(!*(bool *)flag);
    *(bool *)flag = true;
}

static void close_fake(fw_kv *kv)
{
    bool closed = false;
    kv->driver = &fwi_kv_driver_mem;
    kv->store = mem_handle;
    fw_kv_close(kv, on_closed, &closed);
    fwt_run_until(&closed, 5000);
}

/* ---- operations ---- */

struct outcome {
    bool done;
    size_t calls, count;
    int status;
    int64_t revision;
    char detail[64], value[64];
};

static void on_done(const fw_kv_result *result, void *arg)
{
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->done = true;
    outcome->status = result->status;
    outcome->count = result->count;
    outcome->revision = result->revision;
    snprintf(outcome->detail, sizeof outcome->detail, "%s", result->detail);
    if (result->pairs)
        snprintf(outcome->value, sizeof outcome->value, "%.*s", (int)result->pairs[0].value.len,
                 (const char *)result->pairs[0].value.data);
}

START_TEST(an_operation_reaches_the_driver_normalised)
{
    fw_kv *kv = open_fake(5000);
    struct outcome outcome = {.calls = 0};
    FWT_ERR(fw_kv_put(kv, "k", (fw_slice){"01234567890", 11}, NULL, on_done, &outcome),
            FW_EVALUESIZE);
    FWT_ERR(fw_kv_put(kv, "/", (fw_slice){"v", 1}, NULL, on_done, &outcome), FW_EKEY);
    ck_assert_ptr_null(fake.op);
    fw_kv_put_options options = {.ttl_ms = 77};
    FWT_OK(fw_kv_put(kv, "//a//b/", (fw_slice){"value", 5}, &options, on_done, &outcome));
    ck_assert_str_eq(fake.op->key, "a/b");
    ck_assert_int_eq(fake.op->type, FWI_KV_PUT);
    ck_assert_uint_eq(fake.op->value.len, 5);
    ck_assert_uint_eq(fake.op->ttl_ms, 77);
    ck_assert(fwi_kv_op_is_write(fake.op));
    fake.op->revision = 42;
    fwi_kv_op_finish(fake.op, FW_ESTORE, "said no");
    ck_assert(!outcome.done); /* not inside the driver's call */
    fwt_run_until(&outcome.done, 5000);
    ck_assert_int_eq(outcome.status, FW_ESTORE);
    ck_assert_int_eq(outcome.revision, 42);
    ck_assert_str_eq(outcome.detail, "said no");
    close_fake(kv);
}
END_TEST

START_TEST(pairs_of_a_failure_are_not_shown)
{
    fw_kv *kv = open_fake(5000);
    struct outcome good = {.calls = 0}, bad = {.calls = 0};
    FWT_OK(fw_kv_get(kv, "k", on_done, &good));
    ck_assert(!fwi_kv_op_is_write(fake.op));
    FWT_OK(fwi_kv_pairs_add(&fake.op->pairs, "k", 1, (fw_slice){"shown", 5}, 7, 0));
    fwi_kv_op_finish(fake.op, FW_OK, NULL);
    FWT_OK(fw_kv_get(kv, "k", on_done, &bad));
    FWT_OK(fwi_kv_pairs_add(&fake.op->pairs, "k", 1, (fw_slice){"hidden", 6}, 7, 0));
    fwi_kv_op_finish(fake.op, FW_EUNREACHABLE, NULL);
    fwt_run_until(&bad.done, 5000);
    ck_assert_str_eq(good.value, "shown");
    ck_assert_uint_eq(good.count, 1);
    ck_assert_str_eq(bad.value, "");
    ck_assert_uint_eq(bad.count, 0);
    close_fake(kv);
}
END_TEST

START_TEST(a_silent_driver_is_answered_for)
{
    fw_kv *kv = open_fake(50);
    struct outcome write = {.calls = 0}, read = {.calls = 0};
    FWT_OK(fw_kv_delete(kv, "k", on_done, &write));
    fwi_kv_op *write_op = fake.op;
    FWT_OK(fw_kv_list(kv, "", on_done, &read));
    fwi_kv_op *read_op = fake.op;
    fwt_run_until(&write.done, 5000);
    fwt_run_until(&read.done, 5000);
    ck_assert_int_eq(write.status, FW_EUNKNOWN); /* it may have happened */
    ck_assert_int_eq(read.status, FW_EDEADLINE);
    /* The driver comes back with them: nobody is told twice. */
    fwi_kv_op_finish(write_op, FW_OK, NULL);
    fwi_kv_op_finish(read_op, FW_OK, NULL);
    close_fake(kv);
    ck_assert_uint_eq(write.calls, 1);
    ck_assert_uint_eq(read.calls, 1);
}
END_TEST

START_TEST(close_answers_and_waits_for_the_driver)
{
    fw_kv *kv = open_fake(5000);
    struct outcome outcome = {.calls = 0};
    bool closed = false;
    FWT_OK(fw_kv_get(kv, "k", on_done, &outcome));
    kv->driver = &fwi_kv_driver_mem;
    kv->store = mem_handle;
    fw_kv_close(kv, on_closed, &closed);
    ck_assert(!outcome.done);
    fwt_run_until(&outcome.done, 5000);
    ck_assert_int_eq(outcome.status, FW_ECANCELED);
    fwt_run_for(30);
    ck_assert(!closed); /* the driver still has the operation */
    fwi_kv_op_finish(fake.op, FW_OK, NULL);
    fwt_run_until(&closed, 5000);
    ck_assert_uint_eq(outcome.calls, 1);
}
END_TEST

/* ---- watches ---- */

static char seen[4096];
static size_t batches;

/* Events as text: "+k=v@r" "-k@r" ".@r" (end) "R" "S" "L" "F". */
static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    static const char marks[] = "+-.RSLF";
    size_t len = strlen(seen);
    batches++;
    for (size_t i = 0; i < count; i++) {
        const fw_kv_pair *pair = &events[i].pair;
        len += (size_t)snprintf(seen + len, sizeof seen - len, "%s%c%s", len ? " " : "",
                                marks[events[i].type], pair->key);
        if (events[i].type == FW_KV_PUT)
            len += (size_t)snprintf(seen + len, sizeof seen - len, "=%.*s", (int)pair->value.len,
                                    (const char *)pair->value.data);
        if (events[i].type <= FW_KV_END_OF_SNAPSHOT)
            len +=
                (size_t)snprintf(seen + len, sizeof seen - len, "@%lld", (long long)pair->revision);
        if (events[i].reason && events[i].type != FW_KV_RESYNC)
            len += (size_t)snprintf(seen + len, sizeof seen - len, "(%s)%s",
                                    fw_error_name(events[i].reason), events[i].detail);
    }
    if (arg)
        fw_kv_watch_close(watch, on_closed, arg);
}

#define expect_seen(text)                                                                          \
    do {                                                                                           \
        ck_assert_str_eq(seen, text);                                                              \
        seen[0] = 0;                                                                               \
    } while (0)

static fw_slice text(const char *value)
{
    return (fw_slice){value, strlen(value)};
}

static void list_pair(const char *key, const char *value, int64_t revision)
{
    fwi_kv_watch_list_pair(fake.watch, key, strlen(key), text(value), revision, 0);
}

static void put(const char *key, const char *value, int64_t revision)
{
    fwi_kv_watch_put(fake.watch, key, strlen(key), text(value), revision, 0);
}

static void del(const char *key, int64_t revision)
{
    fwi_kv_watch_delete(fake.watch, key, strlen(key), revision);
}

static fw_kv *watch_fake(void)
{
    fw_kv *kv = open_fake(5000);
    fw_kv_watch *watch;
    FWT_OK(fw_kv_watch_tree(kv, "/t/", on_events, NULL, &watch));
    ck_assert_str_eq(fake.watch->key, "t");
    return kv;
}

static void end_watch(fw_kv *kv)
{
    bool closed = false;
    fw_kv_watch_close(fake.watch, on_closed, &closed);
    fwt_run_until(&closed, 5000);
    close_fake(kv);
}

START_TEST(a_watch_delivers_state_then_changes)
{
    fw_kv *kv = watch_fake();
    ck_assert(fwi_kv_watch_matches(fake.watch, "t/x"));
    ck_assert(!fwi_kv_watch_matches(fake.watch, "t"));
    ck_assert(!fwi_kv_watch_matches(fake.watch, "tx"));
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/a", "1", 5);
    list_pair("t/b", "2", 6);
    expect_seen(""); /* nothing before the whole is there */
    ck_assert(fwi_kv_watch_list_end(fake.watch, 7));
    expect_seen("+t/a=1@5 +t/b=2@6 .@7");
    ck_assert_uint_eq(batches, 1);
    ck_assert_int_eq(fake.watch->revision, 7);
    put("t/a", "3", 8);
    del("t/b", 8);
    expect_seen("");
    ck_assert(fwi_kv_watch_commit(fake.watch, 8));
    expect_seen("+t/a=3@8 -t/b@8");
    ck_assert_uint_eq(batches, 2);
    ck_assert(fwi_kv_watch_commit(fake.watch, 20)); /* progress without changes says nothing */
    ck_assert_uint_eq(batches, 2);
    ck_assert_int_eq(fake.watch->revision, 20);
    end_watch(kv);
}
END_TEST

START_TEST(what_was_delivered_is_not_delivered_again)
{
    fw_kv *kv = watch_fake();
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/a", "1", 5);
    fwi_kv_watch_list_end(fake.watch, 7);
    expect_seen("+t/a=1@5 .@7");
    put("t/a", "old", 5); /* a source that repeats itself */
    put("t/b", "old", 7);
    del("t/a", 6);
    put("t/c", "new", 8);
    fwi_kv_watch_commit(fake.watch, 8);
    expect_seen("+t/c=new@8");
    del("t/never", 9); /* nobody heard of it */
    put("t/brief", "x", 10);
    del("t/brief", 11);
    fwi_kv_watch_commit(fake.watch, 11);
    expect_seen("+t/brief=x@10 -t/brief@11");
    end_watch(kv);
}
END_TEST

START_TEST(a_put_is_known_to_whatever_comes_next)
{
    fw_kv *kv = watch_fake();
    fwi_kv_watch_list_begin(fake.watch);
    fwi_kv_watch_list_end(fake.watch, 7);
    expect_seen(".@7");
    put("t/a", "1", 8);
    put("t/a", "1", 8); /* of a half revision that is told again */
    fwi_kv_watch_commit(fake.watch, 8);
    expect_seen("+t/a=1@8");
    del("t/a", 9);
    fwi_kv_watch_commit(fake.watch, 9);
    expect_seen("-t/a@9");
    put("t/b", "2", 10);
    fwi_kv_watch_commit(fake.watch, 10);
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/b", "2", 10);
    fwi_kv_watch_list_end(fake.watch, 10);
    expect_seen("+t/b=2@10 R .@10");
    put("t/b", "3", 11);
    fwi_kv_watch_commit(fake.watch, 11);
    fwi_kv_watch_list_begin(fake.watch);
    fwi_kv_watch_list_end(fake.watch, 12);
    expect_seen("+t/b=3@11 R -t/b@12 .@12");
    put("t/c", "4", 13);
    fwi_kv_watch_commit(fake.watch, 13);
    expect_seen("+t/c=4@13");
    end_watch(kv);
}
END_TEST

START_TEST(a_second_list_delivers_the_difference)
{
    fw_kv *kv = watch_fake();
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/same", "1", 2);
    list_pair("t/changed", "1", 3);
    list_pair("t/gone", "1", 4);
    fwi_kv_watch_list_end(fake.watch, 4);
    expect_seen("+t/same=1@2 +t/changed=1@3 +t/gone=1@4 .@4");
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/same", "1", 2);
    list_pair("t/changed", "2", 30);
    list_pair("t/new", "1", 31);
    fwi_kv_watch_list_end(fake.watch, 40);
    expect_seen("R +t/changed=2@30 +t/new=1@31 -t/gone@40 .@40");
    /* And what came by changes counts as known. */
    put("t/late", "1", 41);
    fwi_kv_watch_commit(fake.watch, 41);
    expect_seen("+t/late=1@41");
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/late", "1", 41);
    fwi_kv_watch_list_end(fake.watch, 50);
    ck_assert_ptr_nonnull(strstr(seen, "-t/same@50"));
    ck_assert_ptr_nonnull(strstr(seen, "-t/changed@50"));
    ck_assert_ptr_nonnull(strstr(seen, "-t/new@50"));
    ck_assert_ptr_null(strstr(seen, "t/late"));
    end_watch(kv);
}
END_TEST

START_TEST(another_store_may_use_the_same_revisions)
{
    fw_kv *kv = watch_fake();
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/same", "1", 2);
    list_pair("t/other", "old", 3);
    fwi_kv_watch_list_end(fake.watch, 3);
    expect_seen("+t/same=1@2 +t/other=old@3 .@3");
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/same", "1", 2);
    list_pair("t/other", "new", 3);
    fwi_kv_watch_list_end(fake.watch, 3);
    expect_seen("R +t/other=new@3 .@3");
    end_watch(kv);
}
END_TEST

START_TEST(a_list_broken_off_loses_and_doubles_nothing)
{
    fw_kv *kv = watch_fake();
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/a", "1", 5);
    fwi_kv_watch_list_begin(fake.watch); /* the connection broke; once more */
    list_pair("t/a", "1", 5);
    list_pair("t/b", "1", 6);
    fwi_kv_watch_list_end(fake.watch, 7);
    expect_seen("+t/a=1@5 +t/b=1@6 .@7");
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/b", "2", 8);
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/b", "2", 8);
    fwi_kv_watch_list_end(fake.watch, 9);
    expect_seen("R +t/b=2@8 -t/a@9 .@9");
    end_watch(kv);
}
END_TEST

START_TEST(a_list_broken_off_by_lost_contact_is_complete_later)
{
    fw_kv *kv = watch_fake();
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/a", "1", 5);
    fwi_kv_watch_stale(fake.watch, FW_EUNREACHABLE, "cut");
    ck_assert_ptr_nonnull(strstr(seen, "S(EUNREACHABLE)cut"));
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("t/a", "1", 5);
    fwi_kv_watch_list_end(fake.watch, 7);
    /* However it was cut, t/a came exactly once. */
    const char *first = strstr(seen, "+t/a=1@5");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(first + 1, "+t/a"));
    ck_assert_ptr_nonnull(strstr(seen, ".@7"));
    end_watch(kv);
}
END_TEST

START_TEST(stale_and_live_are_said_once)
{
    fw_kv *kv = watch_fake();
    ck_assert(fwi_kv_watch_live(fake.watch)); /* it was never stale */
    expect_seen("");
    ck_assert(fwi_kv_watch_stale(fake.watch, FW_EUNREACHABLE, "one"));
    ck_assert(fwi_kv_watch_stale(fake.watch, FW_EUNREACHABLE, "two"));
    expect_seen("S(EUNREACHABLE)one");
    fwi_kv_watch_list_begin(fake.watch);
    fwi_kv_watch_list_end(fake.watch, 3);
    expect_seen(".@3 L"); /* a list that arrives is contact */
    fwi_kv_watch_stale(fake.watch, FW_EUNREACHABLE, "three");
    expect_seen("S(EUNREACHABLE)three");
    fwi_kv_watch_live(fake.watch);
    fwi_kv_watch_live(fake.watch);
    expect_seen("L");
    ck_assert(!fwi_kv_watch_fatal(fake.watch, FW_EDENIED, "no"));
    expect_seen("F(EDENIED)no");
    end_watch(kv);
}
END_TEST

START_TEST(a_watch_closed_inside_says_no_more)
{
    fw_kv *kv = open_fake(5000);
    fw_kv_watch *watch;
    bool closed = false;
    FWT_OK(fw_kv_watch_key(kv, "k", on_events, &closed, &watch));
    fwi_kv_watch_list_begin(fake.watch);
    list_pair("k", "1", 2);
    ck_assert(!fwi_kv_watch_list_end(fake.watch, 2)); /* the driver is told to let go */
    expect_seen("+k=1@2 .@2");
    ck_assert_uint_eq(fake.watches_stopped, 1);
    ck_assert(!closed);
    fwt_run_until(&closed, 5000);
    close_fake(kv);
}
END_TEST

START_TEST(a_driver_may_take_its_time_to_let_go)
{
    fw_kv *kv = open_fake(5000);
    fw_kv_watch *watch;
    bool closed = false;
    fake.keep_watch = true;
    FWT_OK(fw_kv_watch_key(kv, "k", on_events, NULL, &watch));
    fw_kv_watch_close(watch, on_closed, &closed);
    fwi_kv_watch_list_begin(watch); /* still under way in the driver */
    list_pair("k", "1", 2);
    ck_assert(!fwi_kv_watch_list_end(watch, 2));
    fwt_run_for(20);
    expect_seen("");
    ck_assert(!closed);
    fwi_kv_watch_stopped(watch);
    fwt_run_until(&closed, 5000);
    close_fake(kv);
}
END_TEST

/* ---- leases ---- */

struct lease_log {
    fw_kv_lease *lease;
    size_t grants, losses;
    int status;
    int64_t id;
    char detail[64];
    bool close_inside, closed;
};

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    struct lease_log *log = arg;
    log->grants++;
    log->status = status;
    log->id = fw_kv_lease_id(lease);
    snprintf(log->detail, sizeof log->detail, "%s", detail);
    if (log->close_inside)
        fw_kv_lease_close(lease, on_closed, &log->closed);
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    struct lease_log *log = arg;
    log->losses++;
    log->status = reason;
    snprintf(log->detail, sizeof log->detail, "%s", detail);
}

static void ask(fw_kv *kv, struct lease_log *log)
{
    fw_kv_lease_options options = {
        .ttl_ms = 3000, .on_granted = on_granted, .on_lost = on_lost, .arg = log};
    FWT_OK(fw_kv_lease_new(kv, &options, &log->lease));
}

static void end_lease(struct lease_log *log)
{
    fw_kv_lease_close(log->lease, on_closed, &log->closed);
    fwt_run_until(&log->closed, 5000);
}

START_TEST(a_lease_is_granted_once_and_lost_once)
{
    fw_kv *kv = open_fake(5000);
    struct lease_log log = {.grants = 0};
    struct outcome unused = {.calls = 0};
    ask(kv, &log);
    fw_kv_put_options with = {.lease = log.lease};
    FWT_ERR(fw_kv_put(kv, "k", (fw_slice){"v", 1}, &with, on_done, &unused), FW_ELEASE);
    fwi_kv_lease_granted(fake.lease, FW_OK, NULL, 99, 4000);
    ck_assert_uint_eq(log.grants, 0); /* in a later turn */
    ck_assert_int_eq(fw_kv_lease_id(log.lease), 0);
    FWT_ERR(fw_kv_put(kv, "k", (fw_slice){"v", 1}, &with, on_done, &unused), FW_ELEASE);
    fwt_run_count(&log.grants, 1, 5000);
    ck_assert_int_eq(log.status, FW_OK);
    ck_assert_int_eq(log.id, 99);
    ck_assert_uint_eq(fw_kv_lease_ttl_ms(log.lease), 4000);
    struct outcome outcome = {.calls = 0};
    FWT_OK(fw_kv_put(kv, "k", (fw_slice){"v", 1}, &with, on_done, &outcome));
    ck_assert_int_eq(fake.op->lease, 99);
    fwi_kv_op_finish(fake.op, FW_OK, NULL);
    fwt_run_until(&outcome.done, 5000);
    fwi_kv_lease_lost(fake.lease, FW_ELEASE, "gone");
    fwi_kv_lease_lost(fake.lease, FW_ELEASE, "gone again");
    FWT_ERR(fw_kv_put(kv, "k", (fw_slice){"v", 1}, &with, on_done, &unused), FW_ELEASE);
    fwt_run_count(&log.losses, 1, 5000);
    ck_assert_str_eq(log.detail, "gone");
    fwt_run_for(20);
    ck_assert_uint_eq(log.grants, 1);
    ck_assert_uint_eq(log.losses, 1);
    end_lease(&log);
    ck_assert_uint_eq(fake.revokes, 1);
    close_fake(kv);
}
END_TEST

START_TEST(a_lease_lost_before_it_was_told_is_told_in_order)
{
    fw_kv *kv = open_fake(5000);
    struct lease_log log = {.grants = 0};
    ask(kv, &log);
    fwi_kv_lease_granted(fake.lease, FW_OK, NULL, 5, 3000);
    fwi_kv_lease_lost(fake.lease, FW_ELEASE, "at once");
    fwt_run_count(&log.losses, 1, 5000);
    ck_assert_uint_eq(log.grants, 1);
    ck_assert_int_eq(log.id, 5);
    end_lease(&log);
    close_fake(kv);
}
END_TEST

START_TEST(a_lease_refused_is_not_lost)
{
    fw_kv *kv = open_fake(5000);
    struct lease_log log = {.grants = 0};
    ask(kv, &log);
    fwi_kv_lease_granted(fake.lease, FW_EDENIED, "no", 0, 0);
    fwt_run_count(&log.grants, 1, 5000);
    ck_assert_int_eq(log.status, FW_EDENIED);
    ck_assert_str_eq(log.detail, "no");
    ck_assert_int_eq(log.id, 0);
    end_lease(&log);
    ck_assert_uint_eq(log.losses, 0);
    close_fake(kv);
}
END_TEST

START_TEST(a_lease_closed_says_no_more)
{
    fw_kv *kv = open_fake(5000);
    struct lease_log log = {.grants = 0}, inside = {.close_inside = true};
    ask(kv, &log);
    fwi_kv_lease_granted(fake.lease, FW_OK, NULL, 5, 3000);
    fake.keep_lease = true;
    fw_kv_lease_close(log.lease, on_closed, &log.closed); /* before it was told */
    fwt_run_for(20);
    ck_assert_uint_eq(log.grants, 0);
    ck_assert(!log.closed); /* the driver is still revoking */
    fwi_kv_lease_gone(log.lease);
    fwt_run_until(&log.closed, 5000);
    fake.keep_lease = false;
    ask(kv, &inside);
    fwi_kv_lease_granted(fake.lease, FW_OK, NULL, 6, 3000);
    fwi_kv_lease_lost(fake.lease, FW_ELEASE, "");
    fwt_run_until(&inside.closed, 5000);
    ck_assert_uint_eq(inside.grants, 1);
    ck_assert_uint_eq(inside.losses, 0);
    close_fake(kv);
}
END_TEST

START_TEST(lease_options_are_checked)
{
    fw_kv *kv = open_fake(5000);
    fw_kv_lease *lease;
    fw_kv_lease_options options = {.ttl_ms = 999, .on_granted = on_granted};
    FWT_ERR(fw_kv_lease_new(kv, &options, &lease), FW_EOPTION);
    options = (fw_kv_lease_options){.ttl_ms = 1000};
    FWT_ERR(fw_kv_lease_new(kv, &options, &lease), FW_EOPTION);
    close_fake(kv);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store front");
    TCase *tcase = fwt_tcase(suite, "operations", 30);
    tcase_add_test(tcase, an_operation_reaches_the_driver_normalised);
    tcase_add_test(tcase, pairs_of_a_failure_are_not_shown);
    tcase_add_test(tcase, a_silent_driver_is_answered_for);
    tcase_add_test(tcase, close_answers_and_waits_for_the_driver);
    tcase = fwt_tcase(suite, "watch", 30);
    tcase_add_test(tcase, a_watch_delivers_state_then_changes);
    tcase_add_test(tcase, what_was_delivered_is_not_delivered_again);
    tcase_add_test(tcase, a_put_is_known_to_whatever_comes_next);
    tcase_add_test(tcase, a_second_list_delivers_the_difference);
    tcase_add_test(tcase, another_store_may_use_the_same_revisions);
    tcase_add_test(tcase, a_list_broken_off_loses_and_doubles_nothing);
    tcase_add_test(tcase, a_list_broken_off_by_lost_contact_is_complete_later);
    tcase_add_test(tcase, stale_and_live_are_said_once);
    tcase_add_test(tcase, a_watch_closed_inside_says_no_more);
    tcase_add_test(tcase, a_driver_may_take_its_time_to_let_go);
    tcase = fwt_tcase(suite, "lease", 30);
    tcase_add_test(tcase, a_lease_is_granted_once_and_lost_once);
    tcase_add_test(tcase, a_lease_lost_before_it_was_told_is_told_in_order);
    tcase_add_test(tcase, a_lease_refused_is_not_lost);
    tcase_add_test(tcase, a_lease_closed_says_no_more);
    tcase_add_test(tcase, lease_options_are_checked);
    return fwt_main(suite);
}
