/* The call engine over real sockets. */
#include "base/loop.h"
#include "fwt.h"

#include <cjson/cJSON.h>
#include <fairway/rpc.h>
#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static fw_rpc_router *router;
static fw_rpc_server *server;
static fw_rpc *client;
static fw_rpc_request *kept;
static size_t server_gone, client_gone, notified, answers;
static int client_reason, last_status;
static int64_t last_code;
static char last_body[256], last_text[256];
static size_t last_body_len;

static void on_echo(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_reply(request, fw_rpc_request_body(request));
}

static void on_fail(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_fail(request, 1000, "custom error");
}

static void on_forget(fw_rpc_request *request, void *arg)
{
    (void)request;
    (void)arg;
}

static void on_later(fw_rpc_request *request, void *arg)
{
    (void)arg;
    kept = fw_rpc_request_keep(request);
    ck_assert_ptr_nonnull(kept);
}

static void on_note(fw_rpc_request *request, void *arg)
{
    (void)arg;
    ck_assert(fw_rpc_request_is_oneway(request));
    notified++;
}

static void on_metadata(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_reply(request, fw_rpc_request_metadata(request, "key"));
}

static void on_big(fw_rpc_request *request, void *arg)
{
    (void)arg;
    char *big = calloc(1, 2 << 20);
    FWT_ERR(fw_rpc_reply(request, (fw_slice){big, 2 << 20}), FW_EFRAMESIZE);
    free(big);
}

static void on_server_closed(fw_rpc_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone++;
}

static void on_client_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)rpc;
    (void)arg;
    client_gone++;
    client_reason = reason;
    client = NULL;
}

static void on_answer(const fw_rpc_result *result, void *arg)
{
    answers++;
    last_status = result->status;
    last_code = result->code;
    snprintf(last_text, sizeof last_text, "%s", result->text);
    last_body_len = result->body.len;
    if (result->body.len < sizeof last_body && result->body.len)
        memcpy(last_body, result->body.data, result->body.len);
    if (arg)
        ++*(size_t *)arg;
}

static const fw_rpc_options client_options = {.on_closed = on_client_closed};

static void start_on(const char *url)
{
    FWT_OK(fw_rpc_router_create(&router));
    FWT_OK(fw_rpc_router_add(router, "echo", on_echo, NULL));
    FWT_OK(fw_rpc_router_add(router, "fail", on_fail, NULL));
    FWT_OK(fw_rpc_router_add(router, "forget", on_forget, NULL));
    FWT_OK(fw_rpc_router_add(router, "later", on_later, NULL));
    FWT_OK(fw_rpc_router_add(router, "note", on_note, NULL));
    FWT_OK(fw_rpc_router_add(router, "metadata", on_metadata, NULL));
    FWT_OK(fw_rpc_router_add(router, "big", on_big, NULL));
    FWT_OK(fw_rpc_router_add_number(router, 1001, on_echo, NULL));
    FWT_ERR(fw_rpc_router_add(router, "echo", on_echo, NULL), FW_EEXISTS);
    FWT_ERR(fw_rpc_router_add_number(router, 0, on_echo, NULL), FW_EOPTION);
    fw_rpc_server_options options = {.connection = {.router = router},
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, url, &options, &server));
    FWT_OK(fw_rpc_dial(fwt_loop, fw_rpc_server_url(server), &client_options, &client));
}

static void start(void)
{
    start_on("tcp://127.0.0.1:0");
}

static void stop(void)
{
    if (client) {
        fw_rpc_close(client);
        fwt_run_count(&client_gone, client_gone + 1, 5000);
    }
    fw_rpc_server_close(server);
    fwt_run_count(&server_gone, 1, 5000);
    fw_rpc_router_destroy(router);
}

static void call(const char *method, const char *body)
{
    fw_rpc_message message = {.method = method, .body = {body, strlen(body)}};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, answers + 1, 5000);
}

START_TEST(calls_are_answered)
{
    start();
    call("echo", "hello");
    FWT_OK(last_status);
    ck_assert_uint_eq(last_body_len, 5);
    ck_assert_mem_eq(last_body, "hello", 5);
    call("echo", "");
    FWT_OK(last_status);
    ck_assert_uint_eq(last_body_len, 0);
    fw_rpc_message by_number = {.number = 1001, .body = {"n", 1}};
    FWT_OK(fw_rpc_call(client, &by_number, on_answer, NULL, NULL));
    fwt_run_count(&answers, 3, 5000);
    ck_assert_mem_eq(last_body, "n", 1);
    fw_rpc_field field = {{"key", 3}, {"value", 5}};
    fw_rpc_message with = {.method = "metadata", .metadata = &field, .metadata_count = 1};
    FWT_OK(fw_rpc_call(client, &with, on_answer, NULL, NULL));
    fwt_run_count(&answers, 4, 5000);
    ck_assert_mem_eq(last_body, "value", 5);
    stop();
}
END_TEST

START_TEST(errors_come_back_typed)
{
    start();
    call("fail", "");
    FWT_ERR(last_status, FW_EREMOTE);
    ck_assert_int_eq(last_code, 1000);
    ck_assert_str_eq(last_text, "custom error");
    call("nobody", "");
    FWT_ERR(last_status, FW_EREMOTE);
    ck_assert_int_eq(last_code, FW_RPC_CODE_NO_METHOD);
    call("forget", "");
    ck_assert_int_eq(last_code, FW_RPC_CODE_INTERNAL);
    call("big", "");
    FWT_ERR(last_status, FW_EREMOTE);
    ck_assert_int_eq(last_code, FW_RPC_CODE_INTERNAL);
    call("echo", "still there");
    FWT_OK(last_status);
    stop();
}
END_TEST

START_TEST(bad_calls_are_refused_at_once)
{
    start();
    fw_rpc_message nothing = {.body = {"x", 1}};
    FWT_ERR(fw_rpc_call(client, &nothing, on_answer, NULL, NULL), FW_EOPTION);
    char *big = calloc(1, 2 << 20);
    fw_rpc_message too_big = {.method = "echo", .body = {big, 2 << 20}};
    FWT_ERR(fw_rpc_call(client, &too_big, on_answer, NULL, NULL), FW_EFRAMESIZE);
    free(big);
    ck_assert_uint_eq(fw_rpc_in_flight(client), 0);
    ck_assert_uint_eq(answers, 0);
    stop();
}
END_TEST

START_TEST(many_calls_in_flight_all_end_once)
{
    start();
    static size_t ended[5000];
    fw_rpc_message message = {.method = "echo", .body = {"0123456789", 10}};
    for (int i = 0; i < 5000; i++)
        FWT_OK(fw_rpc_call(client, &message, on_answer, &ended[i], NULL));
    ck_assert_uint_eq(answers, 0); /* never before the call has returned */
    fwt_run_count(&answers, 5000, 20000);
    for (int i = 0; i < 5000; i++)
        ck_assert_uint_eq(ended[i], 1);
    stop();
}
END_TEST

START_TEST(notifications_have_no_answer)
{
    start();
    fw_rpc_message message = {.method = "note"};
    FWT_OK(fw_rpc_notify(client, &message));
    message.method = "nobody";
    FWT_OK(fw_rpc_notify(client, &message));
    call("echo", "after");
    ck_assert_uint_eq(notified, 1);
    ck_assert_uint_eq(answers, 1);
    stop();
}
END_TEST

START_TEST(a_call_ends_at_its_deadline_and_a_late_answer_is_dropped)
{
    start();
    fw_rpc_message message = {.method = "later", .timeout_ms = 30};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, 1, 5000);
    FWT_ERR(last_status, FW_EDEADLINE);
    ck_assert_ptr_nonnull(kept);
    FWT_OK(fw_rpc_reply(kept, (fw_slice){"late", 4}));
    call("echo", "x");
    ck_assert_uint_eq(answers, 2);
    stop();
}
END_TEST

START_TEST(a_kept_request_is_answered_later)
{
    start();
    fw_rpc_message message = {.method = "later", .body = {"kept body", 9}};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    while (!kept)
        fwt_run_for(1);
    ck_assert_mem_eq(fw_rpc_request_body(kept).data, "kept body", 9);
    ck_assert_mem_eq(fw_rpc_request_method(kept).data, "later", 5);
    FWT_OK(fw_rpc_reply(kept, (fw_slice){"done", 4}));
    fwt_run_count(&answers, 1, 5000);
    ck_assert_mem_eq(last_body, "done", 4);
    stop();
}
END_TEST

START_TEST(a_canceled_call_ends_in_a_later_turn)
{
    start();
    uint64_t number;
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, &number));
    FWT_OK(fw_rpc_cancel(client, number));
    FWT_ERR(fw_rpc_cancel(client, number), FW_ENOTFOUND);
    ck_assert_uint_eq(answers, 0);
    fwt_run_count(&answers, 1, 5000);
    FWT_ERR(last_status, FW_ECANCELED);
    while (!kept)
        fwt_run_for(1);
    fw_rpc_reply(kept, (fw_slice){"x", 1});
    call("echo", "y");
    ck_assert_uint_eq(answers, 2);
    stop();
}
END_TEST

START_TEST(closing_ends_what_is_in_flight)
{
    start();
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    while (!kept)
        fwt_run_for(1);
    fw_rpc_close(client);
    FWT_ERR(fw_rpc_call(client, &message, on_answer, NULL, NULL), FW_ECLOSED);
    fwt_run_count(&client_gone, 1, 5000);
    ck_assert_uint_eq(answers, 1);
    FWT_ERR(last_status, FW_ECANCELED);
    fwt_run_for(20); /* the server hears of it */
    ck_assert_ptr_null(fw_rpc_request_peer(kept));
    FWT_ERR(fw_rpc_reply(kept, (fw_slice){"x", 1}), FW_ECLOSED);
    stop();
}
END_TEST

START_TEST(a_lost_connection_and_one_that_never_was_are_told_apart)
{
    start();
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    while (!kept)
        fwt_run_for(1);
    fw_rpc_server_close(server);
    fwt_run_count(&client_gone, 1, 5000);
    FWT_ERR(last_status, FW_ELOST);
    fw_rpc_reply(kept, (fw_slice){"x", 1});
    fwt_run_count(&server_gone, 1, 5000);

    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", fwt_free_port());
    FWT_OK(fw_rpc_dial(fwt_loop, url, &client_options, &client));
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
    fwt_run_count(&client_gone, 2, 5000);
    FWT_ERR(last_status, UV_ECONNREFUSED);
    fw_rpc_router_destroy(router);
}
END_TEST

static void on_server_connection(fw_rpc_server *from, fw_rpc *rpc, void *arg)
{
    (void)from;
    (void)arg;
    static const fw_rpc_message message = {.method = "echo", .body = {"from the server", 15}};
    FWT_OK(fw_rpc_call(rpc, &message, on_answer, NULL, NULL));
}

START_TEST(the_server_calls_the_client)
{
    FWT_OK(fw_rpc_router_create(&router));
    FWT_OK(fw_rpc_router_add(router, "echo", on_echo, NULL));
    fw_rpc_server_options options = {.on_connection = on_server_connection,
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, "tcp://127.0.0.1:0", &options, &server));
    fw_rpc_options with_router = client_options;
    with_router.router = router;
    FWT_OK(fw_rpc_dial(fwt_loop, fw_rpc_server_url(server), &with_router, &client));
    fwt_run_count(&answers, 1, 5000);
    ck_assert_mem_eq(last_body, "from the server", 15);
    stop();
}
END_TEST

/* ---- bytes of the original ---- */

struct raw {
    uint8_t bytes[65536];
    size_t len;
    bool closed;
};

static void on_raw_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    struct raw *raw = arg;
    memcpy(raw->bytes + raw->len, data, len);
    raw->len += len;
}

static void on_raw_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    ((struct raw *)arg)->closed = true;
}

static void on_numeric_error(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_fail(request, 1002, "numeric error");
}

static void on_negative(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_fail(request, -5, "negative code");
}

/* The end of the HTTP answer that comes before the frames of ws; ours has other headers. */
static size_t skip_http(struct raw *raw)
{
    for (unsigned ms = 0; ms < 20000; ms++) {
        const char *end = raw->len > 3 ? memmem(raw->bytes, raw->len, "\r\n\r\n", 4) : NULL;
        if (end)
            return (size_t)(end + 4 - (const char *)raw->bytes);
        fwt_run_for(1);
    }
    ck_abort_msg("no answer to the upgrade");
}

static bool is_written(const cJSON *record)
{
    return record && !strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(record, "dir")), "w");
}

static void write_record(fw_conn *conn, const cJSON *record)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(cJSON_GetStringValue(cJSON_GetObjectItem(record, "hex")), &len);
    FWT_OK(fw_conn_write(conn, bytes, len));
    free(bytes);
}

/* Plays what the original's client sent against our server, until our answers differ in kind: the
 * session's first calls are echo by name, echo by number, and three errors. */
static void play_session(const char *listen, const char *capture)
{
    bool is_ws = !strncmp(listen, "ws:", 3);
    start_on(listen);
    FWT_OK(fw_rpc_router_add_number(router, 1002, on_numeric_error, NULL));
    FWT_OK(fw_rpc_router_add(router, "f3", on_fail, NULL));
    FWT_OK(fw_rpc_router_add(router, "neg", on_negative, NULL));
    char *text = fwt_read_file(fwt_source_path(capture));
    cJSON *json = cJSON_Parse(text);
    free(text);
    struct raw raw = {.len = 0};
    char url[64];
    const char *address = strstr(fw_rpc_server_url(server), "//") + 2;
    snprintf(url, sizeof url, "tcp://%.*s", (int)strcspn(address, "/"), address);
    fw_conn *conn;
    fw_conn_options options = {.events = {.on_data = on_raw_data, .on_closed = on_raw_closed},
                               .arg = &raw};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &conn));
    const cJSON *record, *ahead = NULL;
    size_t checked = 0, replies = 0;
    cJSON_ArrayForEach(record, cJSON_GetObjectItem(json, "records"))
    {
        size_t len;
        uint8_t *bytes = fwt_unhex(cJSON_GetStringValue(cJSON_GetObjectItem(record, "hex")), &len);
        if (is_written(record)) {
            if (record != ahead)
                write_record(conn, record);
        } else if (is_ws && !checked) {
            checked = skip_http(&raw);
        } else {
            /* A request may have been recorded after its answer, when its writer came back. */
            if (is_written(record->next) && record->next != ahead)
                write_record(conn, ahead = record->next);
            while (raw.len < checked + len && !raw.closed)
                fwt_run_for(1);
            fwt_assert_bytes(raw.bytes + checked, len, bytes, len, "answer");
            checked += len;
            replies++;
        }
        free(bytes);
        if (replies == 5)
            break;
    }
    ck_assert_uint_eq(replies, 5);
    fw_conn_close(conn, FW_ECANCELED);
    while (!raw.closed)
        fwt_run_for(1);
    cJSON_Delete(json);
    stop();
}

START_TEST(a_session_of_the_original_is_answered_byte_for_byte)
{
    play_session("tcp://127.0.0.1:0", "vectors/walle/capture_gotcp_json.json");
}
END_TEST

START_TEST(a_session_of_the_original_over_ws_is_answered_byte_for_byte)
{
    if (fw_transport_can("ws"))
        play_session("ws://127.0.0.1:0/ws", "vectors/walle/capture_ws_json.json");
}
END_TEST

START_TEST(garbage_closes_that_connection_alone)
{
    start();
    struct raw raw = {.len = 0};
    fw_conn *conn;
    fw_conn_options options = {.events = {.on_data = on_raw_data, .on_closed = on_raw_closed},
                               .arg = &raw};
    FWT_OK(fw_conn_dial(fwt_loop, fw_rpc_server_url(server), &options, &conn));
    FWT_OK(fw_conn_write(conn, "\x02\0\0\0\x00\x01", 6));
    fwt_run_until(&raw.closed, 5000);
    call("echo", "others go on");
    FWT_OK(last_status);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rpc");
    TCase *tcase = fwt_tcase(suite, "rpc", 30);
    tcase_add_test(tcase, calls_are_answered);
    tcase_add_test(tcase, errors_come_back_typed);
    tcase_add_test(tcase, bad_calls_are_refused_at_once);
    tcase_add_test(tcase, many_calls_in_flight_all_end_once);
    tcase_add_test(tcase, notifications_have_no_answer);
    tcase_add_test(tcase, a_call_ends_at_its_deadline_and_a_late_answer_is_dropped);
    tcase_add_test(tcase, a_kept_request_is_answered_later);
    tcase_add_test(tcase, a_canceled_call_ends_in_a_later_turn);
    tcase_add_test(tcase, closing_ends_what_is_in_flight);
    tcase_add_test(tcase, a_lost_connection_and_one_that_never_was_are_told_apart);
    tcase_add_test(tcase, the_server_calls_the_client);
    tcase_add_test(tcase, a_session_of_the_original_is_answered_byte_for_byte);
    tcase_add_test(tcase, a_session_of_the_original_over_ws_is_answered_byte_for_byte);
    tcase_add_test(tcase, garbage_closes_that_connection_alone);
    return fwt_main(suite);
}
