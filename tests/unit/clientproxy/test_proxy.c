/* The proxy with real servers and the reference store. */
#include "fwt.h"

#include <fairway/clientproxy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- the proxy ---- */

#define SERVERS 3

struct node {
    char id[16];
    bool unwell;
    fw_rpc_router *router;
    fw_rpc_server *server;
    char url[64];
    fw_registrar *registrar;
    size_t calls, notes;
    fw_rpc_request *kept;
};

static fw_kv *kv;
static fw_proxy *proxy;
static struct node nodes[SERVERS];
static size_t closed, ok, failed, ended, connected, disconnected, added, removed, unhealthy,
    healthy;
static int last_status;
static char last_instance[16];

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_server_closed(fw_rpc_server *server, void *arg)
{
    (void)server;
    (void)arg;
    closed++;
}

static void on_echo(fw_rpc_request *request, void *arg)
{
    ((struct node *)arg)->calls++;
    fw_rpc_reply(request, fw_rpc_request_body(request));
}

static void on_note(fw_rpc_request *request, void *arg)
{
    (void)request;
    ((struct node *)arg)->notes++;
}

static void on_keep(fw_rpc_request *request, void *arg)
{
    ((struct node *)arg)->kept = fw_rpc_request_keep(request);
}

static void on_ask(fw_rpc_request *request, void *arg)
{
    if (((struct node *)arg)->unwell)
        fw_rpc_fail(request, 1, "unwell");
    else
        fw_rpc_reply(request, (fw_slice){"", 0});
}

static void start_server(struct node *node)
{
    fw_rpc_server_options options = {.connection = {.router = node->router},
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, *node->url ? node->url : "tcp://127.0.0.1:0", &options,
                             &node->server));
    snprintf(node->url, sizeof node->url, "%s", fw_rpc_server_url(node->server));
}

static void stop_server(struct node *node)
{
    size_t before = closed;
    fw_rpc_server_close(node->server);
    node->server = NULL;
    fwt_run_count(&closed, before + 1, 5000);
}

static size_t registered;

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    (void)arg;
    registered += status->state == FW_REGISTRAR_REGISTERED;
}

static void register_node(struct node *node)
{
    fw_registrar_options options = {.on_status = on_status};
    fw_instance instance = {
        .service = "echo", .id = node->id, .net = "tcp", .addr = node->url + strlen("tcp://")};
    FWT_OK(fw_registrar_new(kv, &options, &node->registrar));
    FWT_OK(fw_registrar_set(node->registrar, &instance));
}

static void leave_node(struct node *node)
{
    size_t before = closed;
    fw_registrar_close(node->registrar, on_closed, NULL);
    node->registrar = NULL;
    fwt_run_count(&closed, before + 1, 5000);
}

static void on_event(fw_proxy *from, const fw_proxy_event *event, void *arg)
{
    (void)from;
    (void)arg;
    connected += event->type == FW_PROXY_CONNECTED;
    disconnected += event->type == FW_PROXY_DISCONNECTED;
    added += event->type == FW_PROXY_ADDED;
    removed += event->type == FW_PROXY_REMOVED;
    unhealthy += event->type == FW_PROXY_UNHEALTHY;
    healthy += event->type == FW_PROXY_HEALTHY;
}

static void setup(int count, const fw_proxy_options *wanted)
{
    FWT_OK(fw_kv_open(fwt_loop, "mem:proxy", NULL, &kv));
    for (int i = 0; i < count; i++) {
        struct node *node = &nodes[i];
        snprintf(node->id, sizeof node->id, "n%d", i);
        FWT_OK(fw_rpc_router_create(&node->router));
        FWT_OK(fw_rpc_router_add(node->router, "echo", on_echo, node));
        FWT_OK(fw_rpc_router_add(node->router, "note", on_note, node));
        FWT_OK(fw_rpc_router_add(node->router, "keep", on_keep, node));
        FWT_OK(fw_rpc_router_add(node->router, "fairway.ping", on_ask, node));
        start_server(node);
        register_node(node);
    }
    fwt_run_count(&registered, (size_t)count, 5000);
    fw_proxy_options options = wanted ? *wanted : (fw_proxy_options){.balancer = NULL};
    options.on_event = on_event;
    FWT_OK(fw_proxy_new(kv, "echo", &options, &proxy));
}

static void teardown(void)
{
    if (proxy) {
        size_t before = closed;
        fw_proxy_close(proxy, on_closed, NULL);
        fwt_run_count(&closed, before + 1, 5000);
    }
    for (int i = 0; i < SERVERS; i++) {
        if (nodes[i].registrar)
            leave_node(&nodes[i]);
        if (nodes[i].server)
            stop_server(&nodes[i]);
        fw_rpc_router_destroy(nodes[i].router);
    }
    size_t before = closed;
    fw_kv_close(kv, on_closed, NULL);
    fwt_run_count(&closed, before + 1, 5000);
}

static void on_done(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    (void)arg;
    ended++;
    ok += result->status == FW_OK;
    failed += result->status != FW_OK;
    last_status = result->status;
    snprintf(last_instance, sizeof last_instance, "%s", instance ? instance->id : "");
}

static int call_method(const char *method, uint32_t timeout_ms)
{
    fw_rpc_message message = {.method = method, .body = {"hi", 2}, .timeout_ms = timeout_ms};
    return fw_proxy_call(proxy, &message, on_done, NULL);
}

static void call_until_ended(const char *method)
{
    size_t before = ended;
    FWT_OK(call_method(method, 0));
    fwt_run_count(&ended, before + 1, 10000);
}

START_TEST(calls_are_spread_over_the_instances)
{
    setup(3, NULL);
    for (int i = 0; i < 30; i++)
        FWT_OK(call_method("echo", 0)); /* before the list has come */
    ck_assert_uint_eq(ended, 0);
    fwt_run_count(&ended, 30, 10000);
    ck_assert_uint_eq(ok, 30);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(nodes[i].calls, 10);
    ck_assert_uint_eq(fw_proxy_instance_count(proxy), 3);
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 3);
    ck_assert_uint_eq(connected, 3);
    teardown();
}
END_TEST

START_TEST(connections_are_made_on_first_use)
{
    setup(2, NULL);
    fwt_run_count(&added, 2, 5000);
    fwt_run_for(20);
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 0);
    call_until_ended("echo");
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 1);
    teardown();
}
END_TEST

START_TEST(a_dead_instance_is_left_out_and_taken_back)
{
    fw_proxy_options options = {.backoff_base_ms = 10, .backoff_max_ms = 50};
    setup(3, &options);
    for (int i = 0; i < 9; i++)
        call_until_ended("echo");
    stop_server(&nodes[1]); /* still registered */
    fwt_run_count(&disconnected, 1, 5000);
    for (int i = 0; i < 100; i++)
        call_until_ended("echo");
    ck_assert_uint_eq(failed, 0); /* none was on its way, and unsent ones went elsewhere */
    size_t before = nodes[1].calls;
    start_server(&nodes[1]);
    for (int i = 0; i < 1000 && nodes[1].calls == before; i++) {
        call_until_ended("echo");
        fwt_run_for(1);
    }
    ck_assert_uint_gt(nodes[1].calls, before);
    ck_assert_uint_eq(failed, 0);
    teardown();
}
END_TEST

START_TEST(a_call_in_flight_on_a_dying_instance_fails_once_and_alone)
{
    setup(1, NULL);
    FWT_OK(call_method("keep", 0));
    while (!nodes[0].kept)
        fwt_run_for(1);
    stop_server(&nodes[0]);
    fwt_run_count(&ended, 1, 5000);
    FWT_ERR(last_status, FW_ELOST);
    ck_assert_str_eq(last_instance, "n0");
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    teardown();
}
END_TEST

static void on_done_call_again(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    on_done(result, instance, arg);
    if (result->status == FW_ELOST)
        FWT_OK(call_method("echo", 0)); /* as a caller that may call again does */
}

START_TEST(a_callback_may_call_again_while_the_connection_ends)
{
    fw_proxy_options options = {.backoff_base_ms = 10, .backoff_max_ms = 50};
    setup(2, &options);
    fw_rpc_message message = {.method = "keep"};
    FWT_OK(fw_proxy_call(proxy, &message, on_done_call_again, NULL));
    while (!nodes[0].kept && !nodes[1].kept)
        fwt_run_for(1);
    struct node *node = nodes[0].kept ? &nodes[0] : &nodes[1];
    fw_rpc_server_close(node->server);
    node->server = NULL;
    fwt_run_count(&ended, 2, 5000);
    ck_assert_uint_eq(ok, 1);
    fw_rpc_reply(node->kept, (fw_slice){"x", 1});
    teardown();
}
END_TEST

START_TEST(an_instance_that_leaves_ends_its_calls_first)
{
    setup(2, NULL);
    FWT_OK(call_method("keep", 0));
    while (!nodes[0].kept && !nodes[1].kept)
        fwt_run_for(1);
    struct node *node = nodes[0].kept ? &nodes[0] : &nodes[1];
    leave_node(node);
    fwt_run_count(&removed, 1, 5000);
    size_t before = node->calls;
    for (int i = 0; i < 10; i++)
        call_until_ended("echo");
    ck_assert_uint_eq(node->calls, before);
    FWT_OK(fw_rpc_reply(node->kept, (fw_slice){"x", 1}));
    fwt_run_count(&ended, 11, 5000);
    ck_assert_uint_eq(failed, 0);
    teardown();
}
END_TEST

START_TEST(without_instances_a_call_says_so)
{
    setup(0, NULL);
    FWT_OK(call_method("echo", 0));
    fwt_run_count(&ended, 1, 5000);
    FWT_ERR(last_status, FW_ENOINSTANCE);
    FWT_ERR(call_method("echo", 0), FW_ENOINSTANCE);
    teardown();
}
END_TEST

START_TEST(with_every_instance_dead_a_call_ends_with_the_reason)
{
    fw_proxy_options options = {.backoff_base_ms = 10, .backoff_max_ms = 20};
    setup(2, &options);
    stop_server(&nodes[0]);
    stop_server(&nodes[1]);
    call_until_ended("echo");
    FWT_ERR(last_status, UV_ECONNREFUSED);
    start_server(&nodes[0]);
    call_until_ended("echo");
    FWT_OK(last_status);
    teardown();
}
END_TEST

START_TEST(a_call_keeps_its_deadline)
{
    setup(1, NULL);
    FWT_OK(call_method("keep", 40));
    fwt_run_count(&ended, 1, 5000);
    FWT_ERR(last_status, FW_EDEADLINE);
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    teardown();
}
END_TEST

START_TEST(notifications_arrive)
{
    setup(1, NULL);
    fw_rpc_message message = {.method = "note"};
    FWT_OK(fw_proxy_notify(proxy, &message, on_done, NULL));
    fwt_run_count(&ended, 1, 5000);
    FWT_OK(last_status);
    FWT_OK(fw_proxy_notify(proxy, &message, NULL, NULL));
    fwt_run_count(&nodes[0].notes, 2, 5000);
    teardown();
}
END_TEST

START_TEST(the_proxy_may_start_first)
{
    setup(0, NULL);
    struct node *node = &nodes[0];
    fwt_run_for(5);
    snprintf(node->id, sizeof node->id, "n0");
    FWT_OK(fw_rpc_router_create(&node->router));
    FWT_OK(fw_rpc_router_add(node->router, "echo", on_echo, node));
    start_server(node);
    register_node(node);
    fwt_run_count(&added, 1, 5000);
    call_until_ended("echo");
    FWT_OK(last_status);
    teardown();
}
END_TEST

START_TEST(an_instance_that_moves_is_called_at_its_new_place)
{
    setup(1, NULL);
    call_until_ended("echo");
    struct node *node = &nodes[1];
    snprintf(node->id, sizeof node->id, "n1");
    FWT_OK(fw_rpc_router_create(&node->router));
    FWT_OK(fw_rpc_router_add(node->router, "echo", on_echo, node));
    start_server(node);
    fw_instance moved = {
        .service = "echo", .id = "n0", .net = "tcp", .addr = node->url + strlen("tcp://")};
    FWT_OK(fw_registrar_set(nodes[0].registrar, &moved));
    fwt_run_count(&added, 2, 5000);
    call_until_ended("echo");
    FWT_OK(last_status);
    ck_assert_uint_eq(node->calls, 1);
    ck_assert_uint_eq(fw_proxy_instance_count(proxy), 1);
    teardown();
}
END_TEST

START_TEST(who_is_unwell_gets_no_calls_while_there_is_another)
{
    fw_health_options health = {.check = {.type = FW_HEALTH_PING},
                                .interval_ms = 20,
                                .timeout_ms = 10000,
                                .unhealthy_after = 1,
                                .healthy_after = 1};
    fw_proxy_options options = {.health = &health};
    setup(2, &options);
    nodes[0].unwell = true;
    fwt_run_count(&unhealthy, 1, 10000);
    for (int i = 0; i < 10; i++)
        call_until_ended("echo");
    ck_assert_uint_eq(nodes[0].calls, 0);
    ck_assert_uint_eq(nodes[1].calls, 10);
    nodes[1].unwell = true; /* better they than nobody */
    fwt_run_count(&unhealthy, 2, 10000);
    call_until_ended("echo");
    ck_assert_uint_eq(ok, 11);
    nodes[1].unwell = false;
    fwt_run_count(&healthy, 1, 10000);
    size_t before = nodes[0].calls;
    for (int i = 0; i < 10; i++)
        call_until_ended("echo");
    ck_assert_uint_eq(nodes[0].calls, before);
    ck_assert_uint_eq(failed, 0);
    teardown();
}
END_TEST

START_TEST(a_proxy_starts_from_its_saved_list)
{
    char path[512];
    snprintf(path, sizeof path, "%s/list", fwt_tmpdir());
    fw_proxy_options options = {.saved_list = path};
    setup(1, &options);
    call_until_ended("echo");
    size_t before = closed;
    fw_proxy_close(proxy, on_closed, NULL);
    fwt_run_count(&closed, before + 1, 5000);

    /* The next process's, and the store was emptied. */
    fw_kv *empty;
    FWT_OK(fw_kv_open(fwt_loop, "mem:empty", NULL, &empty));
    FWT_OK(fw_proxy_new(empty, "echo", &options, &proxy));
    call_until_ended("echo");
    ck_assert_uint_eq(ok, 2);
    before = closed;
    fw_proxy_close(proxy, on_closed, NULL);
    fw_kv_close(empty, on_closed, NULL);
    fwt_run_count(&closed, before + 2, 10000);
    proxy = NULL;
    teardown();
}
END_TEST

START_TEST(waiting_calls_are_bounded_and_closing_ends_them)
{
    fw_proxy_options options = {.max_waiting = 3};
    setup(1, &options);
    for (int i = 0; i < 3; i++)
        FWT_OK(call_method("echo", 0));
    FWT_ERR(call_method("echo", 0), FW_ELIMIT);
    fw_proxy_close(proxy, on_closed, NULL);
    FWT_ERR(call_method("echo", 0), FW_ECLOSED);
    ck_assert_uint_eq(ended, 0);
    fwt_run_count(&closed, 1, 5000);
    ck_assert_uint_eq(ended, 3);
    FWT_ERR(last_status, FW_ECANCELED);
    proxy = NULL;
    teardown();
}
END_TEST

START_TEST(closing_with_calls_in_flight_ends_them)
{
    setup(1, NULL);
    FWT_OK(call_method("keep", 0));
    while (!nodes[0].kept)
        fwt_run_for(1);
    fw_proxy_close(proxy, on_closed, NULL);
    fwt_run_count(&closed, 1, 5000);
    ck_assert_uint_eq(ended, 1);
    FWT_ERR(last_status, FW_ECANCELED);
    proxy = NULL;
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clientproxy");
    TCase *tcase = fwt_tcase(suite, "proxy", 30);
    tcase_add_test(tcase, calls_are_spread_over_the_instances);
    tcase_add_test(tcase, connections_are_made_on_first_use);
    tcase_add_test(tcase, a_dead_instance_is_left_out_and_taken_back);
    tcase_add_test(tcase, a_call_in_flight_on_a_dying_instance_fails_once_and_alone);
    tcase_add_test(tcase, a_callback_may_call_again_while_the_connection_ends);
    tcase_add_test(tcase, an_instance_that_leaves_ends_its_calls_first);
    tcase_add_test(tcase, without_instances_a_call_says_so);
    tcase_add_test(tcase, with_every_instance_dead_a_call_ends_with_the_reason);
    tcase_add_test(tcase, a_call_keeps_its_deadline);
    tcase_add_test(tcase, notifications_arrive);
    tcase_add_test(tcase, the_proxy_may_start_first);
    tcase_add_test(tcase, an_instance_that_moves_is_called_at_its_new_place);
    tcase_add_test(tcase, who_is_unwell_gets_no_calls_while_there_is_another);
    tcase_add_test(tcase, a_proxy_starts_from_its_saved_list);
    tcase_add_test(tcase, waiting_calls_are_bounded_and_closing_ends_them);
    tcase_add_test(tcase, closing_with_calls_in_flight_ends_them);
    return fwt_main(suite);
}
