/* A user who may use no other keys than those of instances registers and watches all the same. */
#include "fwt.h"

#include <fairway/discovery.h>
#include <stdio.h>
#include <stdlib.h>

#define PASSWORD   "secret"
#define TIMEOUT_MS 30000

static fwt_etcd etcd;
static size_t closed, registered, synced, added, finished;
static int drain_status;

#define CTL(...) free(fwt_etcdctl(etcd.port, (const char *const[]){__VA_ARGS__, NULL}))

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
    CTL("role", "add", "instances");
    CTL("role", "grant-permission", "instances", "--prefix=true", "readwrite", "/p/services/");
    CTL("user", "add", "app:" PASSWORD);
    CTL("user", "grant-role", "app", "instances");
    fwt_etcd_enable_users(&etcd, PASSWORD);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

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

static void on_event(fw_watcher *from, const fw_watcher_event *event, void *arg)
{
    (void)from;
    (void)arg;
    synced += event->type == FW_WATCHER_SYNCED;
    added += event->type == FW_WATCHER_ADDED;
}

static void on_drain_done(fw_drain *from, int status, const char *detail, void *arg)
{
    (void)from;
    (void)detail;
    (void)arg;
    drain_status = status;
    finished++;
}

START_TEST(instances_are_registered_and_seen_without_the_other_keys)
{
    char url[100];
    fw_kv *kv;
    fw_kv_options kv_options = {.user = "app", .password = PASSWORD};
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/p", etcd.port);
    FWT_OK(fw_kv_open(fwt_loop, url, &kv_options, &kv));
    fw_registrar *registrar;
    fw_registrar_options options = {.on_status = on_status};
    FWT_OK(fw_registrar_new(kv, &options, &registrar));
    fw_instance instance = {.service = "echo", .id = "a", .net = "tcp", .addr = "127.0.0.1:1"};
    FWT_OK(fw_registrar_set(registrar, &instance));
    fwt_run_count(&registered, 1, TIMEOUT_MS);

    /* It is not announced, but it has its list. */
    fw_watcher *watcher;
    fw_watcher_options watcher_options = {.consumer = "me", .on_event = on_event};
    FWT_OK(fw_watcher_new(kv, "echo", &watcher_options, &watcher));
    fwt_run_count(&synced, 1, TIMEOUT_MS);
    ck_assert_uint_eq(added, 1);

    /* Who may not ask is told so. */
    fw_drain *drain;
    FWT_OK(fw_drain_new(kv, "echo", "a", &(fw_drain_options){.on_done = on_drain_done}, &drain));
    fwt_run_count(&finished, 1, TIMEOUT_MS);
    FWT_ERR(drain_status, FW_EDENIED);

    fw_drain_close(drain, on_closed, NULL);
    fw_watcher_close(watcher, on_closed, NULL);
    fw_registrar_close(registrar, on_closed, NULL);
    fwt_run_count(&closed, 3, TIMEOUT_MS);
    fw_kv_close(kv, on_closed, NULL);
    fwt_run_count(&closed, 4, TIMEOUT_MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("drain denied");
    TCase *tcase = fwt_tcase(suite, "denied", 120);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, instances_are_registered_and_seen_without_the_other_keys);
    return fwt_main(suite);
}
