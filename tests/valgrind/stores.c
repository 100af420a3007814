/*
 * What valgrind looks at: every store is opened, does one of everything, has its server killed,
 * fails, and is closed. `valgrind_stores DRIVER`; see run.
 */
#include "fwt.h"

#include <fairway/kvstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Valgrind runs one thread at a time, many times slower. */
#define WAIT_MS    90000
#define TIMEOUT_MS 60000
#define SHORT_MS   1000

static const char *driver;
static fw_kv *kv;
static fwt_etcd etcd;
static fwt_redis redis;
static fwt_zookeeper zookeeper;

/* ---- one of everything ---- */

static bool done, watched, stale, granted, acquired, closed;
static int status;
static int64_t revision;

static void on_done(const fw_kv_result *result, void *arg)
{
    (void)arg;
    done = true;
    status = result->status;
    revision = result->revision;
}

/* Waits for what has been asked for; returns its status. */
static int await(int err)
{
    if (err)
        return err;
    done = false;
    fwt_run_until(&done, WAIT_MS);
    return status;
}

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    (void)arg;
    for (size_t i = 0; i < count; i++) {
        watched |= events[i].type == FW_KV_PUT && !strcmp(events[i].pair.key, "last");
        stale |= events[i].type == FW_KV_STALE;
    }
}

static void on_granted(fw_kv_lease *lease, int outcome, const char *detail, void *arg)
{
    (void)lease;
    (void)arg;
    ck_assert_msg(!outcome, "%s", detail);
    granted = true;
}

static void on_acquired(fw_kv_lock *lock, int outcome, const char *detail, void *arg)
{
    (void)lock;
    (void)arg;
    ck_assert_msg(!outcome, "%s", detail);
    acquired = true;
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static void do_operations(void)
{
    static char large[100000];
    memset(large, 'x', sizeof large);
    fw_slice value = {"value", 5}, megabyte = {large, sizeof large};
    FWT_OK(await(fw_kv_put(kv, "a/1", value, NULL, on_done, NULL)));
    int64_t previous = revision;
    FWT_OK(await(fw_kv_put(kv, "a/2", megabyte, NULL, on_done, NULL)));
    FWT_OK(await(fw_kv_get(kv, "a/2", on_done, NULL)));
    FWT_ERR(await(fw_kv_get(kv, "b", on_done, NULL)), FW_ENOTFOUND);
    FWT_OK(await(fw_kv_exists(kv, "a/1", on_done, NULL)));
    FWT_OK(await(fw_kv_list(kv, "a", on_done, NULL)));
    FWT_OK(await(fw_kv_atomic_put(kv, "a/1", value, previous, NULL, on_done, NULL)));
    FWT_ERR(await(fw_kv_atomic_put(kv, "a/1", value, previous, NULL, on_done, NULL)), FW_EMODIFIED);
    FWT_ERR(await(fw_kv_atomic_delete(kv, "a/1", previous, on_done, NULL)), FW_EMODIFIED);
    fw_kv_put_options mortal = {.ttl_ms = 60000};
    FWT_OK(await(fw_kv_put(kv, "a/3", value, &mortal, on_done, NULL)));
    FWT_OK(await(fw_kv_delete(kv, "a/3", on_done, NULL)));
    if (fw_kv_capabilities(kv) & FW_KV_CAN_TXN) {
        fw_kv_compare compare = {.key = "a/1", .relation = FW_KV_GREATER, .revision = 0};
        fw_kv_txn_op ops[] = {{.type = FW_KV_TXN_PUT, .key = "t/1", .value = value},
                              {.type = FW_KV_TXN_GET, .key = "a/2"},
                              {.type = FW_KV_TXN_DELETE, .key = "a/2"}};
        fw_kv_txn txn = {.compares = &compare, .compare_count = 1, .then = ops, .then_count = 3};
        FWT_OK(await(fw_kv_do_txn(kv, &txn, on_done, NULL)));
    }
    FWT_OK(await(fw_kv_delete_tree(kv, "a", on_done, NULL)));
}

static void open_store(const char *url)
{
    char detail[300] = "";
    fw_kv_options options = {
        .timeout_ms = TIMEOUT_MS, .detail = detail, .detail_size = sizeof detail};
    int err = fw_kv_open(fwt_loop, url, &options, &kv);
    ck_assert_msg(!err, "%s: %s %s", url, fw_error_name(err), detail);
}

static void close_store(void)
{
    closed = false;
    fw_kv_close(kv, on_closed, &closed);
    fwt_run_until(&closed, WAIT_MS);
}

/* kill_server NULL: there is none. */
static void use(const char *url, void (*kill_server)(void))
{
    fw_kv_watch *watch;
    fw_kv_lease *lease;
    fw_kv_lock *lock;
    fw_kv_lease_options lease_options = {.ttl_ms = 20000, .on_granted = on_granted};
    fw_kv_lock_options lock_options = {.ttl_ms = 20000, .on_acquired = on_acquired};
    open_store(url);
    FWT_OK(fw_kv_watch_tree(kv, "", on_events, NULL, &watch));
    do_operations();
    FWT_OK(fw_kv_lease_new(kv, &lease_options, &lease));
    fwt_run_until(&granted, WAIT_MS);
    fw_kv_put_options leased = {.lease = lease};
    FWT_OK(await(fw_kv_put(kv, "leased", (fw_slice){"v", 1}, &leased, on_done, NULL)));
    FWT_OK(fw_kv_lock_new(kv, "lock", &lock_options, &lock));
    fwt_run_until(&acquired, WAIT_MS);
    bool lock_closed = false;
    fw_kv_lock_close(lock, on_closed, &lock_closed);
    fwt_run_until(&lock_closed, WAIT_MS);
    FWT_OK(await(fw_kv_put(kv, "last", (fw_slice){"v", 1}, NULL, on_done, NULL)));
    fwt_run_until(&watched, WAIT_MS);
    if (kill_server) {
        kill_server();
        fwt_run_until(&stale, WAIT_MS);
    }
    close_store(); /* with the watch and the lease open */
    if (!kill_server)
        return;
    /* And one that never finds its server. */
    fw_kv_options options = {.timeout_ms = SHORT_MS};
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    ck_assert_int_ne(await(fw_kv_get(kv, "a", on_done, NULL)), FW_OK);
    close_store();
}

/* ---- drivers ---- */

static void kill_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

static void kill_redis(void)
{
    fwt_redis_kill(&redis);
}

static void kill_zookeeper(void)
{
    fwt_zookeeper_kill(&zookeeper);
}

START_TEST(nothing_is_lost)
{
    char url[400];
    if (!strcmp(driver, "mem")) {
        use("mem:valgrind", NULL);
    } else if (!strcmp(driver, "lmdb")) {
        snprintf(url, sizeof url, "lmdb:%s", fwt_tmpdir());
        use(url, NULL);
    } else if (!strcmp(driver, "etcd") || !strcmp(driver, "etcd+http")) {
        fwt_etcd_start(&etcd);
        snprintf(url, sizeof url, "%s://127.0.0.1:%d/v", driver, etcd.port);
        use(url, kill_etcd);
    } else if (!strcmp(driver, "redis")) {
        fwt_redis_start(&redis, NULL);
        snprintf(url, sizeof url, "redis://127.0.0.1:%d/0/v", redis.port);
        use(url, kill_redis);
    } else if (!strcmp(driver, "zk")) {
        fwt_zookeeper_start(&zookeeper);
        snprintf(url, sizeof url, "zk://127.0.0.1:%d/v", zookeeper.port);
        use(url, kill_zookeeper);
    } else {
        ck_abort_msg("there is no store \"%s\"", driver);
    }
}
END_TEST

int main(int argc, char **argv)
{
    driver = argc > 1 ? argv[1] : "";
    Suite *suite = suite_create(driver);
    tcase_add_test(fwt_tcase(suite, "memory", 0), nothing_is_lost);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
