/* Health checks with gRPC, against a server made with its C core. */
#include "healtht.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static fwt_proc *serve(const char *argument, int *ret_port)
{
    const char *argv[] = {HEALTHT_GRPC_SERVER, argument, NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    *ret_port = atoi(fwt_proc_expect(proc, "port ", 30000) + strlen("port "));
    return proc;
}

START_TEST(serving_alone_is_healthy)
{
    ck_assert(!healtht_is_mapped("libgrpc"));
    int port;
    fwt_proc *proc = serve(NULL, &port);
    healtht_begin(&(fw_health_options){.check = {.type = FW_HEALTH_GRPC, .name = "down"}});
    healtht_add_port("server", port, "grpc:up");
    healtht_add_port("down", port, NULL);
    healtht_add_port("missing", port, "grpc:no.such.Service");
    healtht_add_port("turns", port, "grpc:turns");
    healtht_wait("server", FW_HEALTH_HEALTHY);
    ck_assert_uint_gt(healtht_get("server").round_trip_us, 0);
    healtht_wait("turns", FW_HEALTH_HEALTHY);
    healtht_wait("down", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("down").reason, FW_EREMOTE);
    ck_assert_str_eq(healtht_get("down").detail, "NOT_SERVING");
    healtht_wait("missing", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("missing").reason, FW_EREMOTE);
    ck_assert_str_eq(healtht_get("missing").detail, "unknown service");
    fwt_proc_signal(proc, SIGUSR1);
    healtht_wait("turns", FW_HEALTH_UNHEALTHY);
    fwt_proc_signal(proc, SIGUSR1);
    healtht_wait("turns", FW_HEALTH_HEALTHY);
    ck_assert(!healtht_is_mapped("libcurl"));
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

START_TEST(the_whole_server_is_asked_without_a_name)
{
    int port;
    fwt_proc *proc = serve(NULL, &port);
    char addr[40];
    snprintf(addr, sizeof addr, "localhost:%d", port);
    healtht_begin(&(fw_health_options){0});
    healtht_add("a", "tcp", addr, "grpc");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

START_TEST(a_server_without_health_is_not_healthy)
{
    int port;
    fwt_proc *proc = serve("none", &port);
    healtht_begin(&(fw_health_options){0});
    healtht_add_port("a", port, "grpc");
    healtht_add("b", "no", "where", "grpc");
    healtht_wait("a", FW_HEALTH_UNHEALTHY);
    ck_assert_str_eq(healtht_get("a").detail, "no grpc.health.v1.Health there");
    healtht_wait_reason("b", FW_ESCHEME);
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

START_TEST(it_stops_goes_on_and_dies)
{
    int port;
    fwt_proc *proc = serve(NULL, &port);
    healtht_begin(&(fw_health_options){.timeout_ms = 2000});
    healtht_add_port("a", port, "grpc");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    fwt_proc_signal(proc, SIGSTOP);
    healtht_wait("a", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("a").reason, FW_EDEADLINE);
    fwt_proc_signal(proc, SIGCONT);
    healtht_wait("a", FW_HEALTH_HEALTHY);
    fwt_proc_signal(proc, SIGKILL);
    healtht_wait_reason("a", UV_ECONNREFUSED);
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

START_TEST(without_descriptors_nothing_is_said_of_the_instance)
{
    int port;
    fwt_proc *proc = serve(NULL, &port);
    healtht_begin(&(fw_health_options){.interval_ms = 500});
    healtht_add_port("a", port, "grpc");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    healtht_starve("a");
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

START_TEST(many_are_asked_at_once_and_closed_under_way)
{
    int port;
    fwt_proc *proc = serve(NULL, &port);
    healtht_begin(&(fw_health_options){.interval_ms = 100, .most_at_once = 8});
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", i);
        healtht_add_port(id, port, i % 8 ? "grpc:up" : "grpc:silent");
    }
    for (int i = 1; i < 8; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", i);
        healtht_wait(id, FW_HEALTH_HEALTHY);
    }
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("health: grpc");
    TCase *tcase = fwt_tcase(suite, "health", 120);
    tcase_add_test(tcase, serving_alone_is_healthy);
    tcase_add_test(tcase, the_whole_server_is_asked_without_a_name);
    tcase_add_test(tcase, a_server_without_health_is_not_healthy);
    tcase_add_test(tcase, it_stops_goes_on_and_dies);
    tcase_add_test(tcase, without_descriptors_nothing_is_said_of_the_instance);
    tcase_add_test(tcase, many_are_asked_at_once_and_closed_under_way);
    return fwt_main(suite);
}
