#include "stand.h"

#include <stdio.h>
#include <string.h>

fw_pipeline *pipeline;
fw_server *server;
fw_process *process;
size_t server_gone, process_gone, responses;
static size_t client_gone, client_open;
fw_rpc *client;
fw_process_request *kept[16];
size_t kept_count;
char trace[256];
stand_answer last;

void note(const char *word)
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

void on_session(fw_server *from, fw_session *session, void *arg)
{
    (void)from;
    (void)arg;
    fw_process_options options = {.on_response = on_response, .on_closed = on_process_closed};
    FWT_OK(fw_process_new(pipeline, session, &options, &process));
}

void on_server_closed(fw_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone++;
}

void on_echo(fw_process_request *request, void *arg)
{
    (void)arg;
    note("handler");
    FWT_OK(fw_process_reply(request, fw_process_request_packet(request)->body));
}

void on_forget(fw_process_request *request, void *arg)
{
    (void)request;
    (void)arg;
}

void on_fail(fw_process_request *request, void *arg)
{
    (void)arg;
    FWT_OK(fw_process_fail(request, 1000, "custom error"));
}

void on_later(fw_process_request *request, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(kept_count, 16);
    kept[kept_count] = fw_process_keep(request);
    ck_assert_ptr_nonnull(kept[kept_count++]);
    ck_assert(fw_process_request_is_done(request));
}

void add(const char *method, fw_process_fn handler)
{
    FWT_OK(fw_pipeline_add_route(pipeline, &(fw_route){.method = method, .handler = handler}));
}

void create(fw_pipeline_options options)
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

void start(void)
{
    fw_server_options options = {.on_session = on_session, .on_closed = on_server_closed};
    FWT_OK(fw_server_new(fwt_loop, "mem:pipeline", &options, &server));
    fw_rpc_options client_options = {.on_open = on_client_open, .on_closed = on_client_closed};
    FWT_OK(fw_rpc_dial(fwt_loop, fw_server_url(server), &client_options, &client));
    fwt_run_count(&client_open, 1, WAIT_MS);
    while (!process)
        fwt_run_for(1);
}

void stop(void)
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

void on_answer(const fw_rpc_result *result, void *arg)
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

void call_async(const char *method, const char *body)
{
    fw_rpc_message message = {
        .method = method, .body = {body, strlen(body)}, .timeout_ms = WAIT_MS};
    FWT_OK(fw_rpc_call(client, &message, on_answer, NULL, NULL));
}

void call(const char *method, const char *body)
{
    size_t count = last.count;
    call_async(method, body);
    fwt_run_count(&last.count, count + 1, WAIT_MS);
}

void expect_error(int64_t code, const char *text)
{
    FWT_ERR(last.status, FW_EREMOTE);
    ck_assert_int_eq(last.code, code);
    ck_assert_str_eq(last.text, text);
}
