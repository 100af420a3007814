/* The pipeline with walle's packets and JSON: frames, each with a length of one byte in front, come
 * over a connection in memory. Every request ends, and the counts come out even. */
#include "base/loop.h"
#include "fuzz.h"

#include <fairway/error.h>
#include <fairway/pipeline.h>

#define MAX_KEPT 8

static fw_loop *loop;
static fw_pipeline *pipeline;
static fw_session *client;
static fw_process_request *kept[MAX_KEPT];
static size_t kept_count;
static uint64_t now_ms;

static void on_echo(fw_process_request *request, void *arg)
{
    (void)arg;
    fw_slice body = fw_process_request_packet(request)->body;
    if (fw_process_request_message(request))
        (void)fw_process_reply_message(request, fw_process_request_message(request));
    else
        (void)fw_process_reply(request, body);
}

static void on_later(fw_process_request *request, void *arg)
{
    (void)arg;
    fw_process_request *copy = kept_count < MAX_KEPT ? fw_process_keep(request) : NULL;
    if (copy)
        kept[kept_count++] = copy;
}

static void on_around(fw_process_request *request, void *arg)
{
    (void)arg;
    fw_process_next(request);
    (void)fw_process_request_is_done(request);
}

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    (void)server;
    (void)arg;
    fw_process *process;
    FUZZ_CHECK(!fw_process_new(pipeline, session, &(fw_process_options){0}, &process));
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    (void)reason;
    (void)arg;
    client = NULL;
}

static void run_loop(void)
{
    for (int i = 0; i < 8; i++)
        fwi_loop_set_time(loop, ++now_ms);
}

static void add(const char *method, uint32_t number, fw_process_fn handler)
{
    fw_route route = {.method = method, .number = number, .handler = handler};
    FUZZ_CHECK(!fw_pipeline_add_route(pipeline, &route));
}

static void set_up(void)
{
    fw_pipeline_options options = {.messages = "json", .max_in_flight = 4, .no_route = on_echo};
    fw_server_options server_options = {.on_session = on_session};
    fw_server *server;
    FUZZ_CHECK(!fwi_loop_new_virtual(&loop, 0));
    FUZZ_CHECK(!fw_pipeline_create(&options, &pipeline));
    FUZZ_CHECK(!fw_pipeline_add_middleware(pipeline, on_around, NULL));
    add("echo", 1, on_echo);
    add("later", 2, on_later);
    FUZZ_CHECK(!fw_server_new(loop, "mem:fuzz", &server_options, &server));
}

static void dial(void)
{
    fw_session_options options = {.events = {.on_closed = on_closed}};
    FUZZ_CHECK(!fw_session_dial(loop, "mem:fuzz", &options, &client));
    run_loop();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!loop)
        set_up();
    if (!client)
        dial();
    for (size_t at = 0; at < len && client;) {
        size_t n = data[at++];
        n = n < len - at ? n : len - at;
        if (fw_session_send(client, data + at, n))
            break;
        at += n;
        run_loop();
    }
    while (kept_count)
        (void)fw_process_reply(kept[--kept_count], (fw_slice){"{}", 2});
    run_loop();
    fw_pipeline_stats stats;
    fw_pipeline_stats_get(pipeline, &stats);
    FUZZ_CHECK(!stats.in_flight);
    return 0;
}
