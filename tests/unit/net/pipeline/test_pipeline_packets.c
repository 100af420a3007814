/* Limits, messages, packets of all kinds, and what a session knows. */
#include "base/random.h"
#include "stand.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

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
    Suite *suite = suite_create("pipeline packets");
    TCase *tcase = fwt_tcase(suite, "pipeline packets", 60);
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
