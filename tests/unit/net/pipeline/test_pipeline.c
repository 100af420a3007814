/* The pipeline at the end that answers, with the call engine at the other one. */
#include "base/random.h"
#include "fwt.h"

#include <cjson/cJSON.h>
#include <fairway/pipeline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WAIT_MS 20000

static fw_pipeline *pipeline;
static fw_server *server;
static fw_process *process;
static size_t server_gone, process_gone, client_gone, client_open, responses;
static fw_rpc *client;
static fw_process_request *kept[16];
static size_t kept_count;
static char trace[256];

static void note(const char *word)
{
    size_t len = strlen(trace);
    snprintf(trace + len, sizeof trace - len, "%s ", word);
}

/* ---- the server ---- */

static void on_response(fw_process *from, const fw_packet *packet, void *arg)
{
    (void)from;
    (void)arg;
    responses++;
    ck_assert_int_eq(packet->kind, FW_PACKET_RESPONSE);
}

static void on_process_closed(fw_process *from, int reason, void *arg)
{
    (void)from;
    (void)reason;
    (void)arg;
    process_gone++;
    process = NULL;
}

static void on_session(fw_server *from, fw_session *session, void *arg)
{
    (void)from;
    (void)arg;
    fw_process_options options = {.on_response = on_response, .on_closed = on_process_closed};
    FWT_OK(fw_process_new(pipeline, session, &options, &process));
}

static void on_server_closed(fw_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone++;
}

static void on_echo(fw_process_request *request, void *arg)
{
    (void)arg;
    note("handler");
    FWT_OK(fw_process_reply(request, fw_process_request_packet(request)->body));
}

static void on_forget(fw_process_request *request, void *arg)
{
    (void)request;
    (void)arg;
}

static void on_fail(fw_process_request *request, void *arg)
{
    (void)arg;
    FWT_OK(fw_process_fail(request, 1000, "custom error"));
}

static void on_later(fw_process_request *request, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(kept_count, 16);
    kept[kept_count] = fw_process_keep(request);
    ck_assert_ptr_nonnull(kept[kept_count++]);
    ck_assert(fw_process_request_is_done(request));
}

static void add(const char *method, fw_process_fn handler)
{
    FWT_OK(fw_pipeline_add_route(pipeline, &(fw_route){.method = method, .handler = handler}));
}

static void create(fw_pipeline_options options)
{
    FWT_OK(fw_pipeline_create(&options, &pipeline));
}

static void on_client_open(fw_rpc *rpc, void *arg)
{
    (void)rpc;
    (void)arg;
    client_open++;
}

static void on_client_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)rpc;
    (void)reason;
    (void)arg;
    client_gone++;
    client = NULL;
}

static void start(void)
{
    fw_server_options options = {.on_session = on_session, .on_closed = on_server_closed};
    FWT_OK(fw_server_new(fwt_loop, "mem:pipeline", &options, &server));
    fw_rpc_options client_options = {.on_open = on_client_open, .on_closed = on_client_closed};
    FWT_OK(fw_rpc_dial(fwt_loop, fw_server_url(server), &client_options, &client));
    fwt_run_count(&client_open, 1, WAIT_MS);
    while (!process)
        fwt_run_for(1);
}

static void stop(void)
{
    if (client)
        fw_rpc_close(client);
    fw_server_close(server);
    fwt_run_count(&server_gone, 1, WAIT_MS);
    fwt_run_count(&client_gone, 1, WAIT_MS);
    ck_assert_uint_eq(process_gone, 1);
    for (size_t i = 0; i < kept_count; i++)
        FWT_ERR(fw_process_reply(kept[i], (fw_slice){"", 0}), FW_ECLOSED);
    fw_pipeline_stats stats;
    fw_pipeline_stats_get(pipeline, &stats);
    ck_assert_uint_eq(stats.in_flight, 0);
    fw_pipeline_destroy(pipeline);
}

/* ---- the client ---- */

static struct answer {
    size_t count;
    int status;
    int64_t code;
    bool logic;
    char text[256], body[256], metadata[64];
} last;

static void on_answer(const fw_rpc_result *result, void *arg)
{
    (void)arg;
    last.count++;
    last.status = result->status;
    last.code = result->code;
    last.logic = result->logic;
    snprintf(last.text, sizeof last.text, "%s", result->text);
    snprintf(last.body, sizeof last.body, "%.*s", (int)result->body.len,
             (const char *)result->body.data);
    last.metadata[0] = '\0';
    if (result->metadata_count)
        snprintf(last.metadata, sizeof last.metadata, "%.*s", (int)result->metadata[0].value.len,
                 (const char *)result->metadata[0].value.data);
}

static void call_async(const char *method, const char *body)
{
    fw_rpc_message message = {
        .method = method, .body = {body, strlen(body)}, .timeout_ms = WAIT_MS};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
}

static void call(const char *method, const char *body)
{
    size_t count = last.count;
    call_async(method, body);
    fwt_run_count(&last.count, count + 1, WAIT_MS);
}

static void expect_error(int64_t code, const char *text)
{
    FWT_ERR(last.status, FW_EREMOTE);
    ck_assert_int_eq(last.code, code);
    ck_assert_str_eq(last.text, text);
}

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

/* ---- limits ---- */

START_TEST(too_many_requests_are_refused)
{
    create((fw_pipeline_options){.max_in_flight = 2});
    add("later", on_later);
    start();
    call_async("later", "1");
    call_async("later", "2");
    fwt_run_count(&kept_count, 2, WAIT_MS);
    call("later", "3");
    expect_error(FW_PROCESS_CODE_BUSY, "too many requests");
    FWT_OK(fw_process_reply(kept[--kept_count], (fw_slice){"", 0}));
    fwt_run_count(&last.count, 2, WAIT_MS);
    call_async("later", "4"); /* there is room again: the count does not leak */
    fwt_run_count(&kept_count, 2, WAIT_MS);
    stop();
}
END_TEST

START_TEST(too_many_in_all_are_refused)
{
    create((fw_pipeline_options){.max_in_flight_total = 1});
    add("later", on_later);
    start();
    call_async("later", "1");
    fwt_run_count(&kept_count, 1, WAIT_MS);
    call("later", "2");
    expect_error(FW_PROCESS_CODE_BUSY, "too many requests");
    stop();
}
END_TEST

START_TEST(too_many_requests_may_end_the_session)
{
    create((fw_pipeline_options){.max_in_flight = 1, .overload = FW_OVERLOAD_CLOSE});
    add("later", on_later);
    start();
    call_async("later", "1");
    call("later", "2");
    FWT_ERR(last.status, FW_ELOST);
    stop();
}
END_TEST

START_TEST(too_many_requests_may_wait)
{
    create((fw_pipeline_options){.max_in_flight = 2, .overload = FW_OVERLOAD_WAIT});
    add("later", on_later);
    start();
    for (size_t i = 0; i < 10; i++) {
        call_async("later", "");
        fwt_run_for(2);
    }
    ck_assert_uint_eq(kept_count, 2);
    for (size_t i = 0; i < 10; i++) {
        fwt_run_count(&kept_count, i + 1, WAIT_MS);
        FWT_OK(fw_process_reply(kept[i], (fw_slice){"", 0}));
    }
    fwt_run_count(&last.count, 10, WAIT_MS);
    FWT_OK(last.status);
    kept_count = 0;
    stop();
}
END_TEST

/* ---- messages, and packets of one's own ---- */

static void on_sum(fw_process_request *request, void *arg)
{
    (void)arg;
    const cJSON *message = fw_process_request_message(request);
    const cJSON *a = cJSON_GetObjectItem(message, "a"), *b = cJSON_GetObjectItem(message, "b");
    cJSON *answer = cJSON_CreateObject();
    cJSON_AddNumberToObject(answer, "sum", (a ? a->valuedouble : 0) + (b ? b->valuedouble : 0));
    FWT_OK(fw_process_reply_message(request, answer));
    cJSON_Delete(answer);
}

START_TEST(messages_are_decoded_by_name)
{
    fw_pipeline_options unknown = {.messages = "nonesuch"};
    FWT_ERR(fw_pipeline_create(&unknown, &pipeline), FW_EOPTION);
    create((fw_pipeline_options){.messages = "json"});
    add("sum", on_sum);
    add("later", on_later);
    FWT_OK(fw_pipeline_add_route(pipeline,
                                 &(fw_route){.method = "raw", .handler = on_echo, .raw = true}));
    start();
    call("sum", "{\"a\":1,\"b\":2}");
    FWT_OK(last.status);
    ck_assert_str_eq(last.body, "{\"sum\":3}");
    call("sum", ""); /* an empty body is no message */
    ck_assert_str_eq(last.body, "{\"sum\":0}");
    call("sum", "{\"a\":");
    FWT_ERR(last.status, FW_EREMOTE);
    ck_assert_int_eq(last.code, FW_PROCESS_CODE_DECODE);
    call("raw", "{\"a\":");
    ck_assert_str_eq(last.body, "{\"a\":");
    call_async("later", "{\"kept\":true}");
    fwt_run_count(&kept_count, 1, WAIT_MS);
    ck_assert(
        cJSON_IsTrue(cJSON_GetObjectItem((cJSON *)fw_process_request_message(kept[0]), "kept")));
    stop();
}
END_TEST

/* A packet of the test's own: kind, sequence, length of the method, method, body. */
static int own_decode(const uint8_t *data, size_t len, fw_rpc_field *metadata_room,
                      fw_packet *ret_packet, void *arg)
{
    (void)metadata_room;
    (void)arg;
    if (len < 3 || data[0] > FW_PACKET_ONEWAY || (size_t)data[2] + 3 > len)
        return FW_EPACKET;
    ret_packet->kind = (fw_packet_kind)data[0];
    ret_packet->sequence = data[1];
    ret_packet->method = (fw_slice){data + 3, data[2]};
    ret_packet->body = (fw_slice){data + 3 + data[2], len - 3 - data[2]};
    return FW_OK;
}

static int own_encode(const fw_packet *packet, uint8_t **ret_data, size_t *ret_len, void *arg)
{
    (void)arg;
    fw_slice body = packet->body;
    if (packet->is_error)
        body = (fw_slice){packet->error.text, strlen(packet->error.text)};
    *ret_len = 3 + packet->method.len + body.len;
    uint8_t *data = *ret_data = malloc(*ret_len);
    data[0] = (uint8_t)(packet->is_error ? 9 : packet->kind);
    data[1] = (uint8_t)packet->sequence;
    data[2] = (uint8_t)packet->method.len;
    memcpy(data + 3, packet->method.data, packet->method.len);
    memcpy(data + 3 + packet->method.len, body.data, body.len);
    return FW_OK;
}

static const fw_packet_codec own_packets = {
    .name = "own", .decode = own_decode, .encode = own_encode};

static struct {
    fw_session *session;
    size_t opened, frames, closed;
    uint8_t last[64];
    size_t last_len;
} plain;

static void on_plain_open(fw_session *session, void *arg)
{
    (void)session;
    (void)arg;
    plain.opened++;
}

static void on_plain_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    (void)session;
    (void)arg;
    plain.frames++;
    plain.last_len = len < sizeof plain.last ? len : sizeof plain.last;
    memcpy(plain.last, data, plain.last_len);
}

static void on_plain_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    (void)reason;
    (void)arg;
    plain.closed++;
}

static void start_plain(void)
{
    fw_server_options options = {.on_session = on_session, .on_closed = on_server_closed};
    FWT_OK(fw_server_new(fwt_loop, "mem:plain", &options, &server));
    fw_session_options dial = {.events = {.on_open = on_plain_open,
                                          .on_frame = on_plain_frame,
                                          .on_closed = on_plain_closed}};
    FWT_OK(fw_session_dial(fwt_loop, fw_server_url(server), &dial, &plain.session));
    fwt_run_count(&plain.opened, 1, WAIT_MS);
    while (!process)
        fwt_run_for(1);
}

START_TEST(packets_may_be_anything)
{
    create((fw_pipeline_options){.packets = &own_packets});
    add("echo", on_echo);
    start_plain();
    FWT_OK(fw_session_send(plain.session, "\0\5\4echohello", 12));
    fwt_run_count(&plain.frames, 1, WAIT_MS);
    fwt_assert_bytes(plain.last, plain.last_len, "\1\5\4echohello", 12, "answer");
    FWT_OK(fw_session_send(plain.session, "\0\6\4nope", 7));
    fwt_run_count(&plain.frames, 2, WAIT_MS);
    fwt_assert_bytes(plain.last, plain.last_len, "\11\6\4nopeno such method", 21, "error");
    fw_packet push = {.kind = FW_PACKET_ONEWAY, .method = {"push", 4}, .body = {"!", 1}};
    FWT_OK(fw_process_send(process, &push));
    fwt_run_count(&plain.frames, 3, WAIT_MS);
    fwt_assert_bytes(plain.last, plain.last_len, "\2\0\4push!", 8, "notification");
    FWT_OK(fw_session_send(plain.session, "\1\7\0answer", 9));
    fwt_run_count(&responses, 1, WAIT_MS);
    FWT_OK(fw_session_send(plain.session, "?", 1)); /* not a packet */
    fwt_run_count(&plain.closed, 1, WAIT_MS);
    fwt_run_count(&process_gone, 1, WAIT_MS);
    fw_server_close(server);
    fwt_run_count(&server_gone, 1, WAIT_MS);
    fw_pipeline_destroy(pipeline);
}
END_TEST

START_TEST(noise_does_no_harm)
{
    create((fw_pipeline_options){.packets = _i % 2 ? &own_packets : NULL, .messages = "json"});
    add("echo", on_echo);
    start_plain();
    for (int round = 0; round < 200; round++) {
        uint8_t noise[40];
        size_t len = fwi_random_below(sizeof noise);
        for (size_t i = 0; i < len; i++)
            noise[i] = (uint8_t)fwi_random_below(round % 3 ? 8 : 256);
        if (plain.closed) { /* the server did not like it */
            size_t opened = plain.opened;
            plain.closed = 0;
            fw_session_options dial = {.events = {.on_open = on_plain_open,
                                                  .on_frame = on_plain_frame,
                                                  .on_closed = on_plain_closed}};
            FWT_OK(fw_session_dial(fwt_loop, fw_server_url(server), &dial, &plain.session));
            fwt_run_count(&plain.opened, opened + 1, WAIT_MS);
        }
        FWT_OK(fw_session_send(plain.session, noise, len));
        fwt_run_for(1);
    }
    fw_server_close(server);
    fwt_run_count(&server_gone, 1, WAIT_MS);
    fwt_run_count(&plain.closed, 1, WAIT_MS);
    fw_pipeline_destroy(pipeline);
}
END_TEST

/* ---- what a session knows ---- */

static void on_log(fw_log_level level, const char *component, const char *message,
                   const fw_log_field *fields, void *arg)
{
    (void)level;
    (void)component;
    ck_assert_str_eq(fields[0].key, "session");
    ck_assert_str_eq(fields[1].key, "peer");
    ck_assert_str_eq(fields[2].key, "user");
    ck_assert_ptr_null(fields[3].key);
    snprintf(arg, 64, "%s %s", message, fields[2].text);
}

START_TEST(a_process_has_metadata_and_a_log)
{
    char logged[64] = "";
    create((fw_pipeline_options){0});
    start();
    ck_assert_ptr_null(fw_process_get(process, "user"));
    FWT_OK(fw_process_set(process, "user", "ann"));
    FWT_OK(fw_process_set(process, "user", "bob"));
    ck_assert_str_eq(fw_process_get(process, "user"), "bob");
    fw_process_set_log(process, FW_LOG_INFO, on_log, logged);
    fw_log_field fields[] = {{"user", FW_LOG_TEXT, "bob", 0}, {NULL, FW_LOG_TEXT, NULL, 0}};
    fw_process_log(process, FW_LOG_DEBUG, "hidden", fields);
    ck_assert_str_eq(logged, "");
    fw_process_log(process, FW_LOG_INFO, "seen", fields);
    ck_assert_str_eq(logged, "seen bob");
    fw_process_set_log(process, FW_LOG_INFO, NULL, NULL);
    FWT_OK(fw_process_set(process, "user", NULL));
    ck_assert_ptr_null(fw_process_get(process, "user"));
    FWT_OK(fw_process_set(process, "left", "behind"));
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
    tcase_add_test(tcase, too_many_requests_are_refused);
    tcase_add_test(tcase, too_many_in_all_are_refused);
    tcase_add_test(tcase, too_many_requests_may_end_the_session);
    tcase_add_test(tcase, too_many_requests_may_wait);
    tcase_add_test(tcase, messages_are_decoded_by_name);
    tcase_add_test(tcase, packets_may_be_anything);
    tcase_add_loop_test(tcase, noise_does_no_harm, 0, 2);
    tcase_add_test(tcase, a_process_has_metadata_and_a_log);
    return fwt_main(suite);
}
