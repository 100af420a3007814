/* Routes, answers, middlewares and filters, with the call engine at the other end. */
#include "stand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- routes and answers ---- */

START_TEST(requests_are_routed_and_answered)
{
    create((fw_pipeline_options){0});
    add("echo", on_echo);
    add("forget", on_forget);
    add("fail", on_fail);
    fw_route numbered = {.method = "both", .number = 7, .handler = on_echo};
    FWT_OK(fw_pipeline_add_route(pipeline, &numbered));
    FWT_ERR(fw_pipeline_add_route(pipeline, &(fw_route){.method = "echo", .handler = on_echo}),
            FW_EEXISTS);
    fw_route half = {.method = "fresh", .number = 7, .handler = on_echo};
    FWT_ERR(fw_pipeline_add_route(pipeline, &half), FW_EEXISTS);
    half.number = 8; /* nothing was left of it */
    FWT_OK(fw_pipeline_add_route(pipeline, &half));
    FWT_ERR(fw_pipeline_add_route(pipeline, &(fw_route){.handler = on_echo}), FW_EOPTION);
    FWT_ERR(fw_pipeline_add_route(pipeline, &(fw_route){.method = "x"}), FW_EOPTION);
    start();
    call("echo", "hello");
    FWT_OK(last.status);
    ck_assert_str_eq(last.body, "hello");
    call("both", "named");
    ck_assert_str_eq(last.body, "named");
    size_t count = last.count;
    fw_rpc_message by_number = {.number = 7, .body = {"numbered", 8}, .timeout_ms = WAIT_MS};
    FWT_OK(fw_rpc_call(client, &by_number, on_answer, NULL, NULL));
    fwt_run_count(&last.count, count + 1, WAIT_MS);
    ck_assert_str_eq(last.body, "numbered");
    call("nope", "");
    expect_error(FW_PROCESS_CODE_NO_METHOD, "no such method");
    ck_assert(!last.logic);
    call("forget", "");
    expect_error(FW_PROCESS_CODE_INTERNAL, "the handler gave no answer");
    call("fail", "");
    expect_error(1000, "custom error");
    ck_assert(last.logic);
    fw_pipeline_stats stats;
    fw_pipeline_stats_get(pipeline, &stats);
    ck_assert_uint_eq(stats.requests, 5);
    ck_assert_uint_eq(stats.unrouted, 1);
    ck_assert_uint_eq(stats.failures, 3);
    stop();
}
END_TEST

static void on_anything(fw_process_request *request, void *arg)
{
    (void)arg;
    FWT_OK(fw_process_reply(request, fw_process_request_packet(request)->method));
}

START_TEST(what_has_no_route_may_be_handled)
{
    create((fw_pipeline_options){.no_route = on_anything});
    start();
    call("whatever", "");
    FWT_OK(last.status);
    ck_assert_str_eq(last.body, "whatever");
    stop();
}
END_TEST

START_TEST(notifications_are_not_answered)
{
    create((fw_pipeline_options){0});
    add("echo", on_echo);
    add("forget", on_forget);
    add("fail", on_fail);
    start();
    static const char *const methods[] = {"echo", "forget", "fail", "nope"};
    for (int i = 0; i < 4; i++)
        FWT_OK(fw_rpc_notify(client, &(fw_rpc_message){.method = methods[i]}));
    call("echo", "after");
    ck_assert_str_eq(last.body, "after");
    stop();
}
END_TEST

START_TEST(handlers_may_answer_later)
{
    create((fw_pipeline_options){0});
    add("later", on_later);
    start();
    fw_rpc_field metadata = {{"key", 3}, {"value", 5}};
    fw_rpc_message message = {.method = "later",
                              .body = {"body", 4},
                              .metadata = &metadata,
                              .metadata_count = 1,
                              .timeout_ms = WAIT_MS};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    call_async("later", "second");
    call_async("later", "never");
    fwt_run_count(&kept_count, 3, WAIT_MS);
    ck_assert_uint_eq(fw_process_in_flight(process), 3);
    fw_slice value = fw_process_request_metadata(kept[0], "key");
    fwt_assert_bytes(value.data, value.len, "value", 5, "metadata");
    FWT_OK(fw_process_reply(kept[1], fw_process_request_packet(kept[1])->body));
    fwt_run_count(&last.count, 1, WAIT_MS);
    ck_assert_str_eq(last.body, "second");
    fw_process_set_answer_metadata(kept[0], &metadata, 1);
    FWT_OK(fw_process_reply(kept[0], fw_process_request_packet(kept[0])->body));
    fwt_run_count(&last.count, 2, WAIT_MS);
    ck_assert_str_eq(last.body, "body");
    ck_assert_str_eq(last.metadata, "value");
    ck_assert_uint_eq(fw_process_in_flight(process), 1);
    kept[0] = kept[2]; /* that one outlives its session: stop answers it */
    kept_count = 1;
    stop();
}
END_TEST

/* ---- middlewares ---- */

static void around(fw_process_request *request, void *arg)
{
    note(arg);
    fw_process_next(request);
    note(arg);
    ck_assert(fw_process_request_is_done(request));
}

static void deny(fw_process_request *request, void *arg)
{
    (void)arg;
    note("deny");
    FWT_OK(fw_process_fail(request, 403, "denied"));
}

START_TEST(middlewares_stand_around_handlers)
{
    create((fw_pipeline_options){0});
    add("plain", on_echo); /* before there are any */
    FWT_OK(fw_pipeline_add_middleware(pipeline, around, (void *)"a"));
    FWT_OK(fw_pipeline_add_middleware(pipeline, around, (void *)"b"));
    add("both", on_echo);
    fw_process_step own = {deny, NULL};
    FWT_OK(fw_pipeline_add_route(pipeline, &(fw_route){.method = "own",
                                                       .handler = on_echo,
                                                       .middlewares = &own,
                                                       .middleware_count = 1}));
    start();
    call("plain", "");
    ck_assert_str_eq(trace, "handler ");
    *trace = '\0';
    call("both", "");
    ck_assert_str_eq(trace, "a b handler b a ");
    *trace = '\0';
    call("own", "");
    ck_assert_str_eq(trace, "a b deny b a ");
    expect_error(403, "denied");
    stop();
}
END_TEST

START_TEST(a_middleware_may_go_on_later)
{
    create((fw_pipeline_options){0});
    FWT_OK(fw_pipeline_add_middleware(pipeline, on_later, NULL));
    add("echo", on_echo);
    add("forget", on_forget);
    add("later", on_later);
    start();
    call_async("echo", "slow");
    fwt_run_count(&kept_count, 1, WAIT_MS);
    fw_process_next(kept[0]);
    fwt_run_count(&last.count, 1, WAIT_MS);
    ck_assert_str_eq(last.body, "slow");
    call_async("forget", "");
    fwt_run_count(&kept_count, 2, WAIT_MS);
    fw_process_next(kept[1]); /* its handler answers nothing */
    fwt_run_count(&last.count, 2, WAIT_MS);
    expect_error(FW_PROCESS_CODE_INTERNAL, "the handler gave no answer");
    call_async("later", "twice");
    fwt_run_count(&kept_count, 3, WAIT_MS);
    fw_process_next(kept[2]); /* kept again, by the handler */
    ck_assert_uint_eq(kept_count, 4);
    ck_assert_ptr_eq(kept[2], kept[3]);
    FWT_OK(fw_process_reply(kept[3], (fw_slice){"done", 4}));
    fwt_run_count(&last.count, 3, WAIT_MS);
    ck_assert_str_eq(last.body, "done");
    kept_count = 0;
    stop();
}
END_TEST

/* ---- filters ---- */

static int mask(fw_process *from, fw_slice *frame, void *arg)
{
    uint8_t *room = fw_process_scratch(from, frame->len);
    ck_assert_ptr_nonnull(room);
    for (size_t i = 0; i < frame->len; i++)
        room[i] = (uint8_t)(((const uint8_t *)frame->data)[i] ^ *(const uint8_t *)arg);
    frame->data = room;
    return FW_OK;
}

static int note_in(fw_process *from, fw_slice *frame, void *arg)
{
    (void)from;
    (void)frame;
    note(arg);
    return FW_OK;
}

static int refuse_long(fw_process *from, fw_slice *frame, void *arg)
{
    (void)from;
    (void)arg;
    return frame->len > 1000 ? FW_EPROTOCOL : frame->len > 200 ? FW_FILTER_DROP : FW_OK;
}

START_TEST(filters_see_frames_in_order)
{
    uint8_t key = 0x5a;
    create((fw_pipeline_options){0});
    /* In: a, unmask, mask, b; out: b, mask, unmask, a. The client sees neither. */
    FWT_OK(fw_pipeline_add_filter(pipeline,
                                  &(fw_filter){.in = note_in, .out = note_in, .arg = (void *)"a"}));
    FWT_OK(fw_pipeline_add_filter(pipeline, &(fw_filter){.in = mask, .out = mask, .arg = &key}));
    FWT_OK(fw_pipeline_add_filter(pipeline, &(fw_filter){.in = mask, .out = mask, .arg = &key}));
    FWT_OK(fw_pipeline_add_filter(pipeline,
                                  &(fw_filter){.in = note_in, .out = note_in, .arg = (void *)"b"}));
    FWT_OK(fw_pipeline_add_filter(pipeline, &(fw_filter){.in = refuse_long}));
    add("echo", on_echo);
    start();
    call("echo", "hello");
    ck_assert_str_eq(last.body, "hello");
    ck_assert_str_eq(trace, "a b handler b a ");
    char text[1200];
    memset(text, 'x', sizeof text);
    text[300] = '\0';
    fw_rpc_message dropped = {.method = "echo", .body = {text, 300}, .timeout_ms = 20};
    FWT_OK(fw_rpc_call(client, &dropped, on_answer, NULL, NULL));
    fwt_run_count(&last.count, 2, WAIT_MS);
    FWT_ERR(last.status, FW_EDEADLINE);
    fw_pipeline_stats stats;
    fw_pipeline_stats_get(pipeline, &stats);
    ck_assert_uint_eq(stats.filtered, 1);
    text[300] = 'x';
    text[1100] = '\0';
    call("echo", text);
    FWT_ERR(last.status, FW_ELOST);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pipeline");
    TCase *tcase = fwt_tcase(suite, "pipeline", 60);
    tcase_add_test(tcase, requests_are_routed_and_answered);
    tcase_add_test(tcase, what_has_no_route_may_be_handled);
    tcase_add_test(tcase, notifications_are_not_answered);
    tcase_add_test(tcase, handlers_may_answer_later);
    tcase_add_test(tcase, middlewares_stand_around_handlers);
    tcase_add_test(tcase, a_middleware_may_go_on_later);
    tcase_add_test(tcase, filters_see_frames_in_order);
    return fwt_main(suite);
}
