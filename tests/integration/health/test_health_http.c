/* Health checks over HTTP, against a real server and against one that behaves as it is told. */
#include "healtht.h"

#include <fairway/transport.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- a server that behaves as it is told ---- */

static enum { ANSWERS, IS_SILENT, HANGS_UP, SENDS_FOR_EVER, DRIVELS } manner;
static const char *status_line;
static char request[2048];
static size_t requests;
static fw_listener *listener;
static bool listener_closed;

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    char text[300];
    snprintf(request, sizeof request, "%.*s", (int)len, (const char *)data);
    requests++;
    if (manner == IS_SILENT)
        return;
    if (manner == HANGS_UP) {
        fw_conn_close(conn, FW_OK);
        return;
    }
    snprintf(text, sizeof text,
             "HTTP/1.1 %s\r\nLocation: /elsewhere\r\nConnection: close\r\n%s\r\n", status_line,
             manner == SENDS_FOR_EVER ? "" : "Content-Length: 2\r\n");
    if (manner == DRIVELS)
        snprintf(text, sizeof text, "220 mail.example ESMTP\r\n");
    FWT_OK(fw_conn_write(conn, text, strlen(text)));
    for (int i = 0; manner == SENDS_FOR_EVER && i < 200; i++) {
        static const char more[1024];
        FWT_OK(fw_conn_write(conn, more, sizeof more));
    }
    if (manner == ANSWERS)
        FWT_OK(fw_conn_write(conn, "ok", 2));
    if (manner == DRIVELS)
        fw_conn_close(conn, FW_OK);
}

static void on_accept(fw_listener *from, fw_conn *conn, void *arg)
{
    (void)from;
    (void)arg;
    static const fw_conn_events events = {.on_data = on_data};
    fw_conn_set_events(conn, &events, NULL);
}

static void on_listener_closed(fw_listener *from, void *arg)
{
    (void)from;
    (void)arg;
    listener_closed = true;
}

static const char *serve(const char *url)
{
    fw_listener_options options = {.on_accept = on_accept, .on_closed = on_listener_closed};
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &listener));
    manner = ANSWERS;
    status_line = "200 OK";
    return strchr(fw_listener_url(listener), ':') + (url[0] == 't' ? strlen("://") : 1);
}

static void end_server(void)
{
    healtht_end();
    fw_listener_close(listener);
    fwt_run_until(&listener_closed, 5000);
}

/* ---- tests ---- */

START_TEST(the_status_decides)
{
    static const struct {
        const char *line;
        int reason;
        const char *detail;
    } cases[] = {{"503 Service Unavailable", FW_EREMOTE, "HTTP status 503"},
                 {"204 No Content", FW_OK, ""},
                 {"404 Not Found", FW_EREMOTE, "HTTP status 404"},
                 {"299 Odd", FW_OK, ""},
                 {"302 Found", FW_EREMOTE, "HTTP status 302"}};
    ck_assert(!healtht_is_mapped("libcurl"));
    const char *addr = serve("tcp://127.0.0.1:0");
    healtht_begin(
        &(fw_health_options){.check = {.type = FW_HEALTH_HTTP, .path = "/healthz?deep=1"}});
    healtht_add("a", "tcp", addr, NULL);
    healtht_wait("a", FW_HEALTH_HEALTHY);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        status_line = cases[i].line;
        healtht_wait_reason("a", cases[i].reason);
        ck_assert_str_eq(healtht_get("a").detail, cases[i].detail);
    }
    char wanted[200];
    snprintf(wanted, sizeof wanted, "GET /healthz?deep=1 HTTP/1.1\r\nHost: %s\r\n", addr);
    ck_assert_msg(!strncmp(request, wanted, strlen(wanted)), "%s", request);
    ck_assert(healtht_is_mapped("libcurl"));
    ck_assert(!healtht_is_mapped("libgrpc"));
    end_server();
}
END_TEST

START_TEST(host_and_range_are_the_rules)
{
    fw_health_rule rule = {.service = "svc",
                           .check = {.type = FW_HEALTH_HTTP,
                                     .host = "web.example",
                                     .least_status = 300,
                                     .most_status = 399}};
    const char *addr = serve("tcp://127.0.0.1:0");
    status_line = "302 Found";
    healtht_begin(&(fw_health_options){.rules = &rule, .rule_count = 1});
    healtht_add("a", "tcp", addr, "http:/x");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    static const char wanted[] = "GET /x HTTP/1.1\r\nHost: web.example\r\n";
    ck_assert_msg(!strncmp(request, wanted, strlen(wanted)), "%s", request);
    status_line = "200 OK";
    healtht_wait("a", FW_HEALTH_UNHEALTHY);
    end_server();
}
END_TEST

START_TEST(bad_manners_are_no_answer)
{
    static const struct {
        int how, reason;
    } cases[] = {{HANGS_UP, UV_EOF}, {DRIVELS, FW_EPROTOCOL}};
    const char *addr = serve("tcp://127.0.0.1:0");
    healtht_begin(&(fw_health_options){.check = {.type = FW_HEALTH_HTTP}});
    healtht_add("a", "tcp", addr, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        manner = ANSWERS;
        healtht_wait("a", FW_HEALTH_HEALTHY);
        manner = cases[i].how;
        healtht_wait_reason("a", cases[i].reason);
        ck_assert_str_ne(healtht_get("a").detail, "");
    }
    manner = SENDS_FOR_EVER; /* the status was good, and the rest is not read */
    healtht_wait("a", FW_HEALTH_HEALTHY);
    end_server();
}
END_TEST

START_TEST(silence_ends_and_closing_does_not_wait_for_it)
{
    const char *addr = serve("tcp://127.0.0.1:0");
    healtht_begin(&(fw_health_options){.check = {.type = FW_HEALTH_HTTP}, .timeout_ms = 200});
    manner = IS_SILENT;
    healtht_add("a", "tcp", addr, NULL);
    healtht_wait("a", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("a").reason, FW_EDEADLINE);
    size_t before = requests;
    fwt_run_count(&requests, before + 1, 10000);
    end_server(); /* with a probe under way */
}
END_TEST

START_TEST(it_asks_a_unix_socket_too)
{
    char url[300];
    snprintf(url, sizeof url, "unix:%s/s", fwt_tmpdir());
    serve(url);
    healtht_begin(&(fw_health_options){0});
    healtht_add("a", "unix", url + strlen("unix:"), "http:/x");
    healtht_add("b", "unix", "/nowhere/s", "http");
    healtht_add("c", "tcp", "no port", "http");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    healtht_wait("b", FW_HEALTH_UNHEALTHY);
    healtht_wait_reason("c", FW_EURL);
    ck_assert_int_eq(healtht_get("c").state, FW_HEALTH_UNKNOWN);
    end_server();
}
END_TEST

static fwt_proc *serve_files(int *ret_port)
{
    const char *argv[] = {"python3", "-u",        "-m",          "http.server", "0",
                          "--bind",  "127.0.0.1", "--directory", fwt_tmpdir(),  NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    const char *line = fwt_proc_expect(proc, "Serving HTTP", 30000);
    *ret_port = atoi(strstr(line, "port ") + 5);
    return proc;
}

START_TEST(a_real_server_stops_and_goes_on)
{
    int port;
    fwt_proc *proc = serve_files(&port);
    healtht_begin(&(fw_health_options){.timeout_ms = 1000});
    healtht_add_port("a", port, "http");
    healtht_add_port("b", port, "http:/not-there");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    healtht_wait("b", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("b").reason, FW_EREMOTE);
    fwt_proc_signal(proc, SIGSTOP);
    healtht_wait("a", FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(healtht_get("a").reason, FW_EDEADLINE);
    fwt_proc_signal(proc, SIGCONT);
    healtht_wait("a", FW_HEALTH_HEALTHY);
    fwt_proc_signal(proc, SIGKILL);
    healtht_wait_reason("a", UV_ECONNREFUSED);
    fwt_proc_end(proc);
    healtht_end();
}
END_TEST

START_TEST(without_descriptors_nothing_is_said_of_the_instance)
{
    int port;
    fwt_proc *proc = serve_files(&port);
    healtht_begin(&(fw_health_options){0});
    healtht_add_port("a", port, "http");
    healtht_wait("a", FW_HEALTH_HEALTHY);
    healtht_starve("a");
    healtht_end();
    fwt_proc_end(proc);
}
END_TEST

START_TEST(without_the_module_nothing_is_said_of_the_instance)
{
    setenv("FAIRWAY_MODULE_DIR", fwt_tmpdir(), 1);
    healtht_begin(&(fw_health_options){0});
    healtht_add_port("a", 1, "http");
    healtht_add_port("b", 1, "tcp");
    healtht_wait_reason("a", FW_EMODULE);
    ck_assert_int_eq(healtht_get("a").state, FW_HEALTH_UNKNOWN);
    healtht_wait("b", FW_HEALTH_UNHEALTHY);
    healtht_end();
}
END_TEST

START_TEST(it_closes_while_the_module_is_loaded)
{
    healtht_begin(&(fw_health_options){0});
    healtht_add_port("a", 1, "http");
    uv_run(fw_loop_uv(fwt_loop), UV_RUN_NOWAIT);
    healtht_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("health: http");
    TCase *tcase = fwt_tcase(suite, "health", 60);
    tcase_add_test(tcase, the_status_decides);
    tcase_add_test(tcase, host_and_range_are_the_rules);
    tcase_add_test(tcase, bad_manners_are_no_answer);
    tcase_add_test(tcase, silence_ends_and_closing_does_not_wait_for_it);
    tcase_add_test(tcase, it_asks_a_unix_socket_too);
    tcase_add_test(tcase, a_real_server_stops_and_goes_on);
    tcase_add_test(tcase, without_descriptors_nothing_is_said_of_the_instance);
    tcase_add_test(tcase, without_the_module_nothing_is_said_of_the_instance);
    tcase_add_test(tcase, it_closes_while_the_module_is_loaded);
    return fwt_main(suite);
}
