/* The proxy with real servers and the reference store. */
#include "proxy_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- the proxy ---- */

START_TEST(calls_are_spread_over_the_instances)
{
    bed_setup(3, &(fw_proxy_options){.balancer = &fw_balancer_round_robin});
    for (int i = 0; i < 30; i++)
        FWT_OK(bed_call("echo", 0)); /* before the list has come */
    ck_assert_uint_eq(ended, 0);
    fwt_run_count(&ended, 30, 10000);
    ck_assert_uint_eq(ok, 30);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(nodes[i].calls, 10);
    ck_assert_uint_eq(fw_proxy_instance_count(proxy), 3);
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 3);
    ck_assert_uint_eq(connected, 3);
    bed_teardown();
}
END_TEST

START_TEST(connections_are_made_on_first_use)
{
    bed_setup(2, NULL);
    fwt_run_count(&added, 2, 5000);
    fwt_run_for(20);
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 0);
    bed_call_until_ended("echo");
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 1);
    bed_teardown();
}
END_TEST

START_TEST(a_dead_instance_is_left_out_and_taken_back)
{
    fw_proxy_options options = {.backoff_base_ms = 10, .backoff_max_ms = 50};
    bed_setup(3, &options);
    for (int i = 0; i < 9; i++)
        bed_call_until_ended("echo");
    bed_stop_server(&nodes[1]); /* still registered */
    fwt_run_count(&disconnected, 1, 5000);
    for (int i = 0; i < 100; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(failed, 0); /* none was on its way, and unsent ones went elsewhere */
    size_t before = nodes[1].calls;
    bed_start_server(&nodes[1]);
    for (int i = 0; i < 1000 && nodes[1].calls == before; i++) {
        bed_call_until_ended("echo");
        fwt_run_for(1);
    }
    ck_assert_uint_gt(nodes[1].calls, before);
    ck_assert_uint_eq(failed, 0);
    bed_teardown();
}
END_TEST

START_TEST(a_call_in_flight_on_a_dying_instance_fails_once_and_alone)
{
    bed_setup(1, NULL);
    FWT_OK(bed_call("keep", 0));
    while (!nodes[0].kept)
        fwt_run_for(1);
    bed_stop_server(&nodes[0]);
    fwt_run_count(&ended, 1, 5000);
    FWT_ERR(last_status, FW_ELOST);
    ck_assert_str_eq(last_instance, "n0");
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    bed_teardown();
}
END_TEST

static void on_done_call_again(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    bed_on_done(result, instance, arg);
    if (result->status == FW_ELOST)
        FWT_OK(bed_call("echo", 0)); /* as a caller that may call again does */
}

START_TEST(a_callback_may_call_again_while_the_connection_ends)
{
    fw_proxy_options options = {.backoff_base_ms = 10, .backoff_max_ms = 50};
    bed_setup(2, &options);
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
    bed_teardown();
}
END_TEST

START_TEST(an_instance_that_leaves_ends_its_calls_first)
{
    bed_setup(2, NULL);
    FWT_OK(bed_call("keep", 0));
    while (!nodes[0].kept && !nodes[1].kept)
        fwt_run_for(1);
    struct node *node = nodes[0].kept ? &nodes[0] : &nodes[1];
    bed_leave(node);
    fwt_run_count(&removed, 1, 5000);
    size_t before = node->calls;
    for (int i = 0; i < 10; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(node->calls, before);
    FWT_OK(fw_rpc_reply(node->kept, (fw_slice){"x", 1}));
    fwt_run_count(&ended, 11, 5000);
    ck_assert_uint_eq(failed, 0);
    bed_teardown();
}
END_TEST

START_TEST(without_instances_a_call_says_so)
{
    bed_setup(0, NULL);
    FWT_OK(bed_call("echo", 0));
    fwt_run_count(&ended, 1, 5000);
    FWT_ERR(last_status, FW_ENOINSTANCE);
    FWT_ERR(bed_call("echo", 0), FW_ENOINSTANCE);
    bed_teardown();
}
END_TEST

START_TEST(with_every_instance_dead_a_call_ends_with_the_reason)
{
    fw_proxy_options options = {.backoff_base_ms = 10, .backoff_max_ms = 20};
    bed_setup(2, &options);
    bed_stop_server(&nodes[0]);
    bed_stop_server(&nodes[1]);
    bed_call_until_ended("echo");
    FWT_ERR(last_status, UV_ECONNREFUSED);
    bed_start_server(&nodes[0]);
    bed_call_until_ended("echo");
    FWT_OK(last_status);
    bed_teardown();
}
END_TEST

START_TEST(a_call_keeps_its_deadline)
{
    bed_setup(1, NULL);
    FWT_OK(bed_call("keep", 40));
    fwt_run_count(&ended, 1, 5000);
    FWT_ERR(last_status, FW_EDEADLINE);
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    bed_teardown();
}
END_TEST

START_TEST(notifications_arrive)
{
    bed_setup(1, NULL);
    fw_rpc_message message = {.method = "note"};
    FWT_OK(fw_proxy_notify(proxy, &message, bed_on_done, NULL));
    fwt_run_count(&ended, 1, 5000);
    FWT_OK(last_status);
    FWT_OK(fw_proxy_notify(proxy, &message, NULL, NULL));
    fwt_run_count(&nodes[0].notes, 2, 5000);
    bed_teardown();
}
END_TEST

START_TEST(the_proxy_may_start_first)
{
    bed_setup(0, NULL);
    struct node *node = &nodes[0];
    fwt_run_for(5);
    snprintf(node->id, sizeof node->id, "n0");
    FWT_OK(fw_rpc_router_create(&node->router));
    FWT_OK(fw_rpc_router_add(node->router, "echo", bed_on_echo, node));
    bed_start_server(node);
    bed_register(node);
    fwt_run_count(&added, 1, 5000);
    bed_call_until_ended("echo");
    FWT_OK(last_status);
    bed_teardown();
}
END_TEST

START_TEST(an_instance_that_moves_is_called_at_its_new_place)
{
    bed_setup(1, NULL);
    bed_call_until_ended("echo");
    struct node *node = &nodes[1];
    snprintf(node->id, sizeof node->id, "n1");
    FWT_OK(fw_rpc_router_create(&node->router));
    FWT_OK(fw_rpc_router_add(node->router, "echo", bed_on_echo, node));
    bed_start_server(node);
    fw_instance moved = {
        .service = "echo", .id = "n0", .net = "tcp", .addr = node->url + strlen("tcp://")};
    FWT_OK(fw_registrar_set(nodes[0].registrar, &moved));
    fwt_run_count(&added, 2, 5000);
    bed_call_until_ended("echo");
    FWT_OK(last_status);
    ck_assert_uint_eq(node->calls, 1);
    ck_assert_uint_eq(fw_proxy_instance_count(proxy), 1);
    bed_teardown();
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
    bed_setup(2, &options);
    nodes[0].unwell = true;
    fwt_run_count(&unhealthy, 1, 10000);
    for (int i = 0; i < 10; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(nodes[0].calls, 0);
    ck_assert_uint_eq(nodes[1].calls, 10);
    nodes[1].unwell = true; /* better they than nobody */
    fwt_run_count(&unhealthy, 2, 10000);
    bed_call_until_ended("echo");
    ck_assert_uint_eq(ok, 11);
    nodes[1].unwell = false;
    fwt_run_count(&healthy, 1, 10000);
    size_t before = nodes[0].calls;
    for (int i = 0; i < 10; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(nodes[0].calls, before);
    ck_assert_uint_eq(failed, 0);
    bed_teardown();
}
END_TEST

START_TEST(a_proxy_starts_from_its_saved_list)
{
    char path[512];
    snprintf(path, sizeof path, "%s/list", fwt_tmpdir());
    fw_proxy_options options = {.saved_list = path};
    bed_setup(1, &options);
    bed_call_until_ended("echo");
    size_t before = closed;
    fw_proxy_close(proxy, bed_on_closed, NULL);
    fwt_run_count(&closed, before + 1, 5000);

    /* The next process's, and the store was emptied. */
    fw_kv *empty;
    FWT_OK(fw_kv_open(fwt_loop, "mem:empty", NULL, &empty));
    FWT_OK(fw_proxy_new(empty, "echo", &options, &proxy));
    bed_call_until_ended("echo");
    ck_assert_uint_eq(ok, 2);
    before = closed;
    fw_proxy_close(proxy, bed_on_closed, NULL);
    fw_kv_close(empty, bed_on_closed, NULL);
    fwt_run_count(&closed, before + 2, 10000);
    proxy = NULL;
    bed_teardown();
}
END_TEST

START_TEST(waiting_calls_are_bounded_and_closing_ends_them)
{
    fw_proxy_options options = {.max_waiting = 3};
    bed_setup(1, &options);
    for (int i = 0; i < 3; i++)
        FWT_OK(bed_call("echo", 0));
    FWT_ERR(bed_call("echo", 0), FW_ELIMIT);
    fw_proxy_close(proxy, bed_on_closed, NULL);
    FWT_ERR(bed_call("echo", 0), FW_ECLOSED);
    ck_assert_uint_eq(ended, 0);
    fwt_run_count(&closed, 1, 5000);
    ck_assert_uint_eq(ended, 3);
    FWT_ERR(last_status, FW_ECANCELED);
    proxy = NULL;
    bed_teardown();
}
END_TEST

START_TEST(closing_with_calls_in_flight_ends_them)
{
    bed_setup(1, NULL);
    FWT_OK(bed_call("keep", 0));
    while (!nodes[0].kept)
        fwt_run_for(1);
    fw_proxy_close(proxy, bed_on_closed, NULL);
    fwt_run_count(&closed, 1, 5000);
    ck_assert_uint_eq(ended, 1);
    FWT_ERR(last_status, FW_ECANCELED);
    proxy = NULL;
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    bed_teardown();
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
