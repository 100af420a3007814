/* Health checks that need no library: TCP and fairway's ping; and what the watcher has to do with
 * them. */
#include "healtht.h"

#include <fairway/rpc.h>
#include <fairway/transport.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static bool listener_closed, server_closed;

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)conn;
    (void)arg;
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    (void)arg;
    listener_closed = true;
}

static fw_listener *listen_at(const char *url)
{
    fw_listener_options options = {.on_accept = on_accept, .on_closed = on_listener_closed};
    fw_listener *listener;
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &listener));
    listener_closed = false;
    return listener;
}

static void end_listener(fw_listener *listener)
{
    fw_listener_close(listener);
    fwt_run_until(&listener_closed, 5000);
}

START_TEST(tcp_is_well_where_somebody_listens)
{
    fw_listener *listener = listen_at("tcp://127.0.0.1:0");
    char url[64];
    snprintf(url, sizeof url, "%s", fw_listener_url(listener));
    healtht_begin(&(fw_health_options){.check = {.type = FW_HEALTH_TCP}});
    healtht_add("a", "tcp", url + strlen("tcp://"), NULL);
    healtht_wait("a", FW_HEALTH_HEALTHY);
    ck_assert_uint_gt(healtht_get("a").round_trip_us, 0);
    end_listener(listener);
    healtht_wait("a", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("a").reason, UV_ECONNREFUSED);
    listener = listen_at(url);
    healtht_wait("a", FW_HEALTH_HEALTHY);
    ck_assert_uint_eq(healtht_changes, 3);
    ck_assert(!healtht_is_mapped("libgrpc"));
    ck_assert(!healtht_is_mapped("libcurl"));
    healtht_end();
    end_listener(listener);
}
END_TEST

START_TEST(tcp_asks_a_unix_socket_too)
{
    char url[300];
    snprintf(url, sizeof url, "unix:%s/s", fwt_tmpdir());
    fw_listener *listener = listen_at(url);
    healtht_begin(&(fw_health_options){0});
    healtht_add("a", "unix", url + strlen("unix:"), "tcp");
    healtht_add("b", "unix", "/nowhere/s", "tcp");
    healtht_add("c", "no", "where", "tcp");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    healtht_wait("b", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("b").reason, UV_ENOENT);
    healtht_wait_reason("c", FW_ESCHEME);
    ck_assert_int_eq(healtht_get("c").state, FW_HEALTH_UNKNOWN);
    healtht_end();
    end_listener(listener);
}
END_TEST

/* ---- ping ---- */

static void on_ping(fw_rpc_request *request, void *arg)
{
    const bool *is_well = arg;
    if (*is_well)
        fw_rpc_reply(request, (fw_slice){"", 0});
    else
        fw_rpc_fail(request, 7, "out of tables");
}

static void on_server_closed(fw_rpc_server *server, void *arg)
{
    (void)server;
    (void)arg;
    server_closed = true;
}

START_TEST(ping_is_answered_by_any_fairway_service)
{
    static bool is_well = true;
    fw_rpc_router *router;
    fw_rpc_server *server;
    FWT_OK(fw_rpc_router_create(&router));
    FWT_OK(fw_rpc_router_add(router, "are.you.well", on_ping, &is_well));
    fw_rpc_server_options options = {.connection = {.router = router},
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, "tcp://127.0.0.1:0", &options, &server));
    const char *addr = fw_rpc_server_url(server) + strlen("tcp://");
    healtht_begin(&(fw_health_options){.check = {.type = FW_HEALTH_PING}});
    healtht_add("any", "tcp", addr, NULL);
    healtht_add("own", "tcp", addr, "ping:are.you.well");
    healtht_wait("any", FW_HEALTH_HEALTHY);
    healtht_wait("own", FW_HEALTH_HEALTHY);
    is_well = false;
    healtht_wait("own", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("own").reason, FW_EREMOTE);
    ck_assert_str_eq(healtht_get("own").detail, "error 7: out of tables");
    is_well = true;
    healtht_wait("own", FW_HEALTH_HEALTHY);
    ck_assert_int_eq(healtht_get("any").state, FW_HEALTH_HEALTHY);
    healtht_end();
    fw_rpc_server_close(server);
    fwt_run_until(&server_closed, 5000);
    fw_rpc_router_destroy(router);
}
END_TEST

static fwt_proc *serve_echo(int *ret_port)
{
    const char *argv[] = {FWT_PROGRAM, "--store", "mem:", "--json", "serve", "echo", NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    const char *line = fwt_proc_expect(proc, "\"registered\"", 30000);
    const char *at = strstr(line, "tcp://127.0.0.1:");
    ck_assert_msg(at != NULL, "%s", line);
    *ret_port = atoi(at + strlen("tcp://127.0.0.1:"));
    return proc;
}

START_TEST(ping_notices_a_service_that_is_stopped_tcp_does_not)
{
    int port;
    fwt_proc *proc = serve_echo(&port);
    healtht_begin(&(fw_health_options){.timeout_ms = 1000});
    healtht_add_port("ping", port, "ping");
    healtht_add_port("tcp", port, "tcp");
    healtht_wait("ping", FW_HEALTH_HEALTHY);
    healtht_wait("tcp", FW_HEALTH_HEALTHY);
    fwt_proc_signal(proc, SIGSTOP);
    healtht_wait("ping", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("ping").reason, FW_EDEADLINE);
    ck_assert_int_eq(healtht_get("tcp").state, FW_HEALTH_HEALTHY);
    fwt_proc_signal(proc, SIGCONT);
    healtht_wait("ping", FW_HEALTH_HEALTHY);
    fwt_proc_signal(proc, SIGKILL);
    healtht_wait("ping", FW_HEALTH_UNHEALTHY);
    healtht_wait("tcp", FW_HEALTH_UNHEALTHY);
    fwt_proc_end(proc);
    healtht_end();
}
END_TEST

START_TEST(without_descriptors_nothing_is_said_of_the_instance)
{
    static const char *const types[] = {"tcp", "ping"};
    int port;
    fwt_proc *proc = serve_echo(&port);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        healtht_begin(&(fw_health_options){0});
        healtht_add_port("a", port, types[i]);
        healtht_wait("a", FW_HEALTH_HEALTHY);
        healtht_starve("a");
        healtht_end();
    }
    fwt_proc_end(proc);
}
END_TEST

/* ---- with a watcher ---- */

static size_t closed;

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    (void)arg;
    FWT_OK(fw_health_follow(healtht, event));
}

START_TEST(it_follows_the_store)
{
    fw_listener *listener = listen_at("tcp://127.0.0.1:0");
    fw_kv *kv;
    fw_registrar *registrar;
    fw_watcher *watcher;
    FWT_OK(fw_kv_open(fwt_loop, "mem:", NULL, &kv));
    FWT_OK(fw_registrar_new(kv, &(fw_registrar_options){0}, &registrar));
    fw_instance a = {.service = "svc",
                     .id = "a",
                     .net = "tcp",
                     .addr = fw_listener_url(listener) + strlen("tcp://")};
    FWT_OK(fw_registrar_set(registrar, &a));
    healtht_begin(&(fw_health_options){.check = {.type = FW_HEALTH_TCP}});
    fw_watcher_options options = {.on_event = on_event, .no_hold = true};
    FWT_OK(fw_watcher_new(kv, NULL, &options, &watcher));
    fw_health_status status;
    while (fw_health_get(healtht, "svc", "a", &status))
        fwt_run_for(2);
    healtht_wait("a", FW_HEALTH_HEALTHY);
    FWT_OK(fw_registrar_remove(registrar, "svc", "a"));
    while (!fw_health_get(healtht, "svc", "a", &status))
        fwt_run_for(2);
    fw_watcher_close(watcher, on_closed, NULL);
    fw_registrar_close(registrar, on_closed, NULL);
    fwt_run_count(&closed, 2, 5000);
    fw_kv_close(kv, on_closed, NULL);
    fwt_run_count(&closed, 3, 5000);
    healtht_end();
    end_listener(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("health: tcp and ping");
    TCase *tcase = fwt_tcase(suite, "health", 60);
    tcase_add_test(tcase, tcp_is_well_where_somebody_listens);
    tcase_add_test(tcase, tcp_asks_a_unix_socket_too);
    tcase_add_test(tcase, ping_is_answered_by_any_fairway_service);
    tcase_add_test(tcase, ping_notices_a_service_that_is_stopped_tcp_does_not);
    tcase_add_test(tcase, without_descriptors_nothing_is_said_of_the_instance);
    tcase_add_test(tcase, it_follows_the_store);
    return fwt_main(suite);
}
