/* The proxy's policies with real servers: who is left out, what is sent twice, what is refused. */
#include "proxy_bed.h"

#include <stdio.h>

static const fw_proxy_call_options idempotent = {.idempotent = true};

static void call_idempotent(void)
{
    size_t before = ended;
    FWT_OK(bed_call_with("echo", &idempotent));
    fwt_run_count(&ended, before + 1, 20000);
}

START_TEST(who_fails_is_ejected_tried_again_and_taken_back)
{
    fw_proxy_options options = {
        .balancer = &fw_balancer_round_robin, .eject_after = 3, .eject_ms = 50};
    bed_setup(3, &options);
    nodes[0].broken = true;
    while (!ejected)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(failed, 3);
    FWT_ERR(last_status, FW_EREMOTE);
    size_t before = nodes[0].calls;
    for (int i = 0; i < 300 && ejected < 3; i++) { /* it is tried now and then, and fails */
        bed_call_until_ended("echo");
        fwt_run_for(5);
    }
    ck_assert_uint_ge(ejected, 3);
    ck_assert_uint_le(nodes[0].calls - before, ejected - 1);
    nodes[0].broken = false;
    while (!readmitted) {
        bed_call_until_ended("echo");
        fwt_run_for(5);
    }
    before = nodes[0].calls;
    for (int i = 0; i < 30; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(nodes[0].calls - before, 10);
    bed_teardown();
}
END_TEST

struct told {
    bool done;
    size_t consumers, ejected;
    char id[16], reason[80];
};

static void on_consumers(int status, const char *detail, const fw_consumer *consumers, size_t count,
                         void *arg)
{
    (void)detail;
    struct told *told = arg;
    FWT_OK(status);
    told->done = true;
    told->consumers = count;
    told->ejected = count ? consumers[0].ejected_count : 0;
    if (!told->ejected)
        return;
    snprintf(told->id, sizeof told->id, "%s", consumers[0].ejected[0].id);
    snprintf(told->reason, sizeof told->reason, "%s", consumers[0].ejected[0].reason);
}

static struct told await_told(size_t wanted)
{
    for (;;) {
        struct told told = {.done = false};
        FWT_OK(fw_consumers_list(kv, "echo", on_consumers, &told));
        fwt_run_until(&told.done, 20000);
        ck_assert_uint_eq(told.consumers, 1);
        if (told.ejected == wanted)
            return told;
        fwt_run_for(5);
    }
}

START_TEST(who_asks_is_told_who_is_ejected_and_why)
{
    fw_proxy_options options = {
        .balancer = &fw_balancer_round_robin, .eject_after = 3, .eject_ms = 50, .consumer = "shop"};
    bed_setup(3, &options);
    nodes[1].broken = true;
    while (!ejected)
        bed_call_until_ended("echo");
    struct told told = await_told(1);
    ck_assert_str_eq(told.id, "n1");
    ck_assert_str_eq(told.reason, fw_strerror(FW_EREMOTE));
    nodes[1].broken = false;
    while (!readmitted) {
        bed_call_until_ended("echo");
        fwt_run_for(5);
    }
    await_told(0);
    bed_teardown();
}
END_TEST

START_TEST(half_of_the_instances_are_never_ejected)
{
    bed_setup(2, &(fw_proxy_options){.eject_after = 2, .eject_ms = 60000});
    nodes[0].broken = nodes[1].broken = true;
    for (int i = 0; i < 50; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(ejected, 1);
    ck_assert_uint_eq(failed, 50);
    bed_teardown();
}
END_TEST

START_TEST(in_a_panic_the_ejected_get_calls)
{
    fw_proxy_options options = {.balancer = &fw_balancer_round_robin,
                                .eject_after = 2,
                                .eject_ms = 60000,
                                .backoff_base_ms = 20,
                                .backoff_max_ms = 50};
    bed_setup(3, &options);
    nodes[0].broken = true;
    while (!ejected)
        bed_call_until_ended("echo");
    nodes[0].broken = false;
    size_t before = nodes[0].calls, failed_before = failed;
    bed_stop_server(&nodes[1]);
    fwt_run_count(&panics, 1, 20000);
    while (nodes[0].calls == before)
        bed_call_until_ended("echo");
    bed_start_server(&nodes[1]);
    while (!calms || fw_proxy_connection_count(proxy) < 3)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(failed, failed_before);
    bed_teardown();
}
END_TEST

START_TEST(idempotent_calls_are_sent_again)
{
    fw_proxy_options options = {.balancer = &fw_balancer_round_robin,
                                .eject_after = FW_PROXY_NEVER};
    bed_setup(2, &options);
    nodes[0].broken = true;
    for (int i = 0; i < 20; i++)
        call_idempotent();
    ck_assert_uint_eq(ok, 20);
    ck_assert_uint_ge(nodes[0].calls, 5); /* it was asked first, and then the other */
    ck_assert_uint_eq(nodes[1].calls, 20);
    for (int i = 0; i < 10; i++)
        bed_call_until_ended("echo"); /* others are not */
    ck_assert_uint_ge(failed, 4);
    bed_teardown();
}
END_TEST

START_TEST(a_lost_call_that_is_idempotent_goes_to_another)
{
    bed_setup(2, NULL);
    FWT_OK(bed_call_with("keep", &idempotent));
    while (!nodes[0].kept && !nodes[1].kept)
        fwt_run_for(1);
    struct node *first = nodes[0].kept ? &nodes[0] : &nodes[1];
    struct node *second = first == &nodes[0] ? &nodes[1] : &nodes[0];
    bed_stop_server(first);
    while (!second->kept)
        fwt_run_for(1);
    FWT_OK(fw_rpc_reply(second->kept, (fw_slice){"x", 1}));
    fwt_run_count(&ended, 1, 20000);
    FWT_OK(last_status);
    ck_assert_str_eq(last_instance, second->id);
    fw_rpc_reply(first->kept, (fw_slice){"x", 1});
    bed_teardown();
}
END_TEST

START_TEST(retries_have_a_budget)
{
    fw_proxy_options options = {
        .eject_after = FW_PROXY_NEVER, .retry_percent = 10, .retries_per_s = 1};
    bed_setup(2, &options);
    nodes[0].broken = nodes[1].broken = true;
    for (int i = 0; i < 200; i++)
        call_idempotent();
    ck_assert_uint_eq(failed, 200);
    size_t sent = nodes[0].calls + nodes[1].calls;
    ck_assert_uint_gt(sent, 205);
    ck_assert_uint_le(sent, 200 + 20 + 10 + 10); /* and ten more if it took over ten seconds */
    bed_teardown();
}
END_TEST

START_TEST(a_hedge_ends_the_call_once)
{
    bed_setup(2, &(fw_proxy_options){.balancer = &fw_balancer_round_robin, .hedge_after_ms = 10});
    for (int i = 0; i < 2; i++)
        bed_call_until_ended("echo"); /* both connections are open now */
    FWT_OK(bed_call_with("keep", &idempotent));
    while (!nodes[0].kept)
        fwt_run_for(1);
    while (!nodes[1].kept)
        fwt_run_for(1);
    ck_assert_uint_eq(ended, 2);
    FWT_OK(fw_rpc_reply(nodes[1].kept, (fw_slice){"x", 1}));
    fwt_run_count(&ended, 3, 20000);
    ck_assert_str_eq(last_instance, "n1");
    ck_assert_uint_eq(ok, 3);
    fw_rpc_reply(nodes[0].kept, (fw_slice){"x", 1});
    for (int i = 0; i < 2; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(ended, 5);
    bed_teardown();
}
END_TEST

START_TEST(closing_with_a_hedge_in_flight_ends_the_call_once)
{
    bed_setup(2, &(fw_proxy_options){.balancer = &fw_balancer_round_robin, .hedge_after_ms = 10});
    for (int i = 0; i < 2; i++)
        bed_call_until_ended("echo");
    FWT_OK(bed_call_with("keep", &idempotent));
    while (!nodes[0].kept || !nodes[1].kept)
        fwt_run_for(1);
    fw_proxy_close(proxy, bed_on_closed, NULL);
    fwt_run_count(&closed, 1, 20000);
    ck_assert_uint_eq(ended, 3);
    FWT_ERR(last_status, FW_ECANCELED);
    proxy = NULL;
    for (int i = 0; i < 2; i++)
        fw_rpc_reply(nodes[i].kept, (fw_slice){"x", 1});
    bed_teardown();
}
END_TEST

START_TEST(calls_of_a_key_go_to_one_instance)
{
    static const fw_balancer *const of_keys[] = {&fw_balancer_hash, &fw_balancer_maglev,
                                                 &fw_balancer_sticky};
    bed_setup(3, &(fw_proxy_options){.balancer = of_keys[_i]});
    for (int i = 0; i < 30; i++) {
        size_t before = ended;
        FWT_OK(bed_call_with("echo", &(fw_proxy_call_options){.key = {"player-7", 8}}));
        fwt_run_count(&ended, before + 1, 20000);
    }
    for (int i = 0; i < 3; i++)
        ck_assert(nodes[i].calls == 0 || nodes[i].calls == 30);
    bed_teardown();
}
END_TEST

START_TEST(calls_stay_in_their_zone_while_it_works)
{
    nodes[0].zone = "a";
    nodes[1].zone = nodes[2].zone = "b";
    bed_setup(3, &(fw_proxy_options){.zone = "a", .backoff_base_ms = 60000});
    for (int i = 0; i < 20; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(nodes[0].calls, 20);
    bed_stop_server(&nodes[0]);
    for (int i = 0; i < 20; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(failed, 0);
    ck_assert_uint_eq(nodes[1].calls + nodes[2].calls, 20);
    bed_teardown();
}
END_TEST

START_TEST(a_client_uses_its_subset)
{
    bed_setup(3, &(fw_proxy_options){.subset_size = 1, .subset_client = 1});
    for (int i = 0; i < 20; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(fw_proxy_connection_count(proxy), 1);
    ck_assert_uint_eq(fw_proxy_instance_count(proxy), 3);
    /* If all of it is out, somebody else is better than nobody. */
    for (int i = 0; i < 3; i++)
        if (nodes[i].calls)
            bed_stop_server(&nodes[i]);
    for (int i = 0; i < 20; i++)
        bed_call_until_ended("echo");
    ck_assert_uint_eq(failed, 0);
    bed_teardown();
}
END_TEST

START_TEST(calls_beyond_the_limit_are_refused)
{
    bed_setup(1, &(fw_proxy_options){.max_calls = 2});
    FWT_OK(bed_call("echo", 0));
    FWT_OK(bed_call("echo", 0));
    FWT_ERR(bed_call("echo", 0), FW_ELIMIT);
    fwt_run_count(&ended, 2, 20000);
    bed_call_until_ended("echo");
    ck_assert_uint_eq(ok, 3);
    bed_teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("overload");
    TCase *tcase = fwt_tcase(suite, "overload", 60);
    tcase_add_test(tcase, who_fails_is_ejected_tried_again_and_taken_back);
    tcase_add_test(tcase, who_asks_is_told_who_is_ejected_and_why);
    tcase_add_test(tcase, half_of_the_instances_are_never_ejected);
    tcase_add_test(tcase, in_a_panic_the_ejected_get_calls);
    tcase_add_test(tcase, idempotent_calls_are_sent_again);
    tcase_add_test(tcase, a_lost_call_that_is_idempotent_goes_to_another);
    tcase_add_test(tcase, retries_have_a_budget);
    tcase_add_test(tcase, a_hedge_ends_the_call_once);
    tcase_add_test(tcase, closing_with_a_hedge_in_flight_ends_the_call_once);
    tcase_add_loop_test(tcase, calls_of_a_key_go_to_one_instance, 0, 3);
    tcase_add_test(tcase, calls_stay_in_their_zone_while_it_works);
    tcase_add_test(tcase, a_client_uses_its_subset);
    tcase_add_test(tcase, calls_beyond_the_limit_are_refused);
    return fwt_main(suite);
}
