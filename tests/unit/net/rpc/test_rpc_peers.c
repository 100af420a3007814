/* The call engine with peers of all kinds: every transport, several protocols on one port, peers
 * that speak badly, and ends at random moments. */
#include "base/loop.h"
#include "fwt.h"

#include <fairway/rpc.h>
#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PATIENCE_MS 20000

static fw_rpc_router *router;
static fw_rpc_server *server;
static size_t server_gone, client_gone, answers;
static fw_rpc_result last;
static char last_body[256];
static size_t last_len;
static int client_reason;

static void on_answer(const fw_rpc_result *result, void *arg)
{
    (void)arg;
    answers++;
    last = *result;
    last_len = result->body.len;
    snprintf(last_body, sizeof last_body, "%.*s", (int)result->body.len,
             (const char *)result->body.data);
}

static void on_echo(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_reply(request, fw_rpc_request_body(request));
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
}

static void start(const char *url, const char *protocols)
{
    FWT_OK(fw_rpc_router_create(&router));
    FWT_OK(fw_rpc_router_add(router, "echo", on_echo, NULL));
    FWT_OK(fw_rpc_router_add_number(router, 7, on_echo, NULL));
    fw_rpc_server_options options = {
        .connection = {.router = router, .protocol = protocols, .max_frame_bytes = 200000},
        .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, url, &options, &server));
    server_gone = 0;
}

static void stop(void)
{
    fw_rpc_server_close(server);
    fwt_run_count(&server_gone, 1, PATIENCE_MS);
    fw_rpc_router_destroy(router);
}

static fw_rpc *dial(const char *url, const char *protocol)
{
    fw_rpc *rpc;
    fw_rpc_options options = {
        .protocol = protocol, .max_frame_bytes = 200000, .on_closed = on_client_closed};
    FWT_OK(fw_rpc_dial(fwt_loop, url, &options, &rpc));
    return rpc;
}

static void close_client(fw_rpc *rpc)
{
    size_t before = client_gone;
    fw_rpc_close(rpc);
    fwt_run_count(&client_gone, before + 1, PATIENCE_MS);
}

static void call(fw_rpc *rpc, const void *body, size_t len)
{
    fw_rpc_message message = {
        .method = "echo", .number = 7, .body = {body, len}, .timeout_ms = PATIENCE_MS};
    FWT_OK(fw_rpc_call(rpc, &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, answers + 1, PATIENCE_MS);
    FWT_OK(last.status);
    ck_assert_uint_eq(last_len, len);
}

/* ---- raw peers ---- */

static struct raw {
    fw_conn *conn;
    uint8_t bytes[4096];
    size_t len;
    int reason;
    bool open, closed;
} raw;

static void on_raw_open(fw_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    raw.open = true;
}

static void on_raw_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    (void)arg;
    ck_assert_uint_le(raw.len + len, sizeof raw.bytes);
    memcpy(raw.bytes + raw.len, data, len);
    raw.len += len;
}

static void on_raw_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)arg;
    raw.closed = true;
    raw.reason = reason;
}

static const fw_conn_events raw_events = {
    .on_open = on_raw_open, .on_data = on_raw_data, .on_closed = on_raw_closed};

static void raw_dial(const char *url, bool messages)
{
    raw = (struct raw){.len = 0};
    fw_conn_options options = {.events = raw_events, .messages = messages};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &raw.conn));
    fwt_run_until(&raw.open, PATIENCE_MS);
}

static void raw_send(const char *hex, size_t piece)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    for (size_t at = 0; at < len; at += piece) {
        FWT_OK(fw_conn_write(raw.conn, bytes + at, len - at < piece ? len - at : piece));
        if (piece < len)
            fwt_run_for(1);
    }
    free(bytes);
}

static void raw_expect(const char *hex)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    for (unsigned ms = 0; raw.len < len && !raw.closed && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    fwt_assert_bytes(raw.bytes, raw.len, bytes, len, "answer");
    free(bytes);
    raw.len = 0;
}

static void raw_close(void)
{
    fw_conn_close(raw.conn, FW_ECANCELED);
    fwt_run_until(&raw.closed, PATIENCE_MS);
}

/* ---- transports ---- */

START_TEST(calls_go_over_every_transport)
{
    static char big[100000];
    char unix_url[300];
    snprintf(unix_url, sizeof unix_url, "unix:%s/socket", fwt_tmpdir());
    const char *urls[] = {"tcp://127.0.0.1:0", unix_url,           "mem:rpc", "kcp://127.0.0.1:0",
                          "ws://127.0.0.1:0/", "udp://127.0.0.1:0"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char scheme[8] = "";
        memcpy(scheme, urls[i], strcspn(urls[i], ":"));
        if (!fw_transport_can(scheme))
            continue; /* not built */
        start(urls[i], NULL);
        fw_rpc *rpc = dial(fw_rpc_server_url(server), NULL);
        call(rpc, "hello", 5);
        ck_assert_str_eq(last_body, "hello");
        call(rpc, big, strcmp(scheme, "udp") != 0 ? sizeof big : 1000);
        close_client(rpc);
        stop();
    }
}
END_TEST

START_TEST(over_ws_a_packet_is_a_message_without_length)
{
    if (!fw_transport_can("ws"))
        return;
    start("ws://127.0.0.1:0/", "fly-v1,walle");
    raw_dial(fw_rpc_server_url(server), true);
    raw_send("080118012a046563686f3a0568656c6c6f", 100); /* as the original's client sends it */
    raw_expect("080218012a046563686f3a0568656c6c6f");
    raw_close();
    raw_dial(fw_rpc_server_url(server), true);
    raw_send("4000016563686f0003616263", 100);
    raw_expect("8000010003616263");
    raw_close();
    stop();
}
END_TEST

/* ---- several protocols ---- */

START_TEST(one_port_serves_several_protocols)
{
    static const char *const protocols[] = {"walle", "fly-v1", "fly-v0", "fly-0.4"};
    start("tcp://127.0.0.1:0", "walle,fly-v1,fly-v0,fly-0.4");
    for (size_t i = 0; i < 4; i++) {
        fw_rpc *rpc = dial(fw_rpc_server_url(server), protocols[i]);
        call(rpc, "hello", 5);
        call(rpc, "", 0);
        close_client(rpc);
    }
    raw_dial(fw_rpc_server_url(server), false);
    raw_send("0f000000"
             "0801"
             "1801"
             "2a046563686f"
             "3a03616263",
             1); /* in pieces */
    raw_expect("0f000000"
               "0802"
               "1801"
               "2a046563686f"
               "3a03616263");
    raw_close();
    raw_dial(fw_rpc_server_url(server), false);
    FWT_OK(fw_conn_write(raw.conn, "GET / HTTP/1.1\r\n\r\n", 18));
    fwt_run_until(&raw.closed, PATIENCE_MS);
    fw_rpc_options options = {.protocol = "walle,fly-v1"};
    fw_rpc *rpc;
    FWT_ERR(fw_rpc_dial(fwt_loop, fw_rpc_server_url(server), &options, &rpc), FW_EOPTION);
    options.protocol = "grpc";
    FWT_ERR(fw_rpc_dial(fwt_loop, fw_rpc_server_url(server), &options, &rpc), FW_EOPTION);
    stop();
}
END_TEST

/* ---- peers that speak badly ---- */

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    raw = (struct raw){.conn = conn, .open = true};
    fw_conn_set_events(conn, &raw_events, NULL);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    *(bool *)arg = true;
}

START_TEST(bad_answers_end_their_call_alone)
{
    fw_listener *listener;
    bool listener_gone = false;
    fw_listener_options options = {
        .on_accept = on_accept, .on_closed = on_listener_closed, .arg = &listener_gone};
    raw = (struct raw){.len = 0};
    FWT_OK(fw_listener_new(fwt_loop, "mem:bad", &options, &listener));
    fw_rpc *rpc = dial("mem:bad", NULL);
    fw_rpc_message message = {.method = "m", .timeout_ms = 60000};
    for (int i = 0; i < 4; i++)
        FWT_OK(fw_rpc_call(rpc, &message, on_answer, NULL, NULL));
    fwt_run_until(&raw.open, PATIENCE_MS);
    raw_send("05000000"
             "0802"
             "18e707",
             100); /* an answer to nobody */
    raw_send("07000000"
             "0802"
             "1801"
             "2a01ff",
             100); /* its uri is not UTF-8 */
    fwt_run_count(&answers, 1, PATIENCE_MS);
    FWT_ERR(last.status, FW_EPACKET);
    raw_send("09000000"
             "0802"
             "1001"
             "1802"
             "3a017b",
             100); /* its error cannot be read */
    fwt_run_count(&answers, 2, PATIENCE_MS);
    FWT_ERR(last.status, FW_EPACKET);
    raw_send("07000000"
             "0802"
             "1803"
             "3a0161",
             100);
    fwt_run_count(&answers, 3, PATIENCE_MS);
    FWT_OK(last.status);
    ck_assert_str_eq(last_body, "a");
    raw_send("ffffff7f", 100); /* a length over the limit */
    fwt_run_count(&client_gone, 1, PATIENCE_MS);
    FWT_ERR(client_reason, FW_EFRAMESIZE);
    FWT_ERR(last.status, FW_ELOST);
    ck_assert_uint_eq(answers, 4);
    fwt_run_until(&raw.closed, PATIENCE_MS);
    fw_listener_close(listener);
    fwt_run_until(&listener_gone, PATIENCE_MS);
}
END_TEST

START_TEST(bad_requests_are_answered_and_the_connection_goes_on)
{
    start("mem:bad", NULL);
    raw_dial("mem:bad", false);
    raw_send("07000000"
             "0801"
             "1801"
             "2a01ff",
             100); /* a uri that is not UTF-8 */
    for (unsigned ms = 0; raw.len < 20 && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    ck_assert_uint_gt(raw.len, 20);
    ck_assert_mem_eq(raw.bytes + 4, "\x08\x02\x10\x01\x18\x01", 6); /* an error, to that call */
    raw.len = 0;
    raw_send("0a000000"
             "0801"
             "1802"
             "2a046563686f",
             100);
    raw_expect("0a000000"
               "0802"
               "1802"
               "2a046563686f");
    raw_send("01000000"
             "ff",
             100); /* no packet at all */
    fwt_run_until(&raw.closed, PATIENCE_MS);
    /* Each protocol hears another. */
    static const char *const protocols[] = {"walle", "fly-v1", "fly-v0", "fly-0.3", "fly-0.4"};
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 5; k++) {
            if (i == k)
                continue;
            stop();
            start("mem:bad", protocols[i]);
            fw_rpc *rpc = dial("mem:bad", protocols[k]);
            fw_rpc_message message = {
                .method = k == 2 ? NULL : "echo", .number = k == 2 ? 7 : 0, .timeout_ms = 50};
            size_t before = answers, gone = client_gone;
            FWT_OK(fw_rpc_call(rpc, &message, on_answer, NULL, NULL));
            fwt_run_count(&answers, before + 1, PATIENCE_MS);
            ck_assert_int_ne(last.status, FW_OK);
            if (client_gone == gone) /* the server may have closed it */
                fw_rpc_close(rpc);
            fwt_run_count(&client_gone, gone + 1, PATIENCE_MS);
        }
    stop();
}
END_TEST

static void on_slow(fw_rpc_request *request, void *arg)
{
    (void)arg;
    uv_sleep(50);
    fw_rpc_reply(request, (fw_slice){"", 0});
}

/* Two requests in one piece: while the first is worked on, the second one's 10 ms pass. */
START_TEST(a_request_whose_time_passed_in_the_line_is_not_run)
{
    start("mem:slow", NULL);
    FWT_OK(fw_rpc_router_add(router, "slow", on_slow, NULL));
    raw_dial("mem:slow", false);
    raw_send("0a000000"
             "0801"
             "1801"
             "2a04736c6f77"
             "1f000000"
             "0801"
             "1802"
             "2213"
             "0a0d66772d74696d656f75742d6d73"
             "12023130"
             "2a046563686f",
             100);
    for (unsigned ms = 0; raw.len < 30 && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    ck_assert_mem_eq(raw.bytes, "\x0a\0\0\0\x08\x02\x18\x01", 8);
    ck_assert_mem_eq(raw.bytes + 14 + 4, "\x08\x02\x10\x01\x18\x02", 6);
    raw_close();
    stop();
}
END_TEST

/* ---- ends at random moments ---- */

#define ENDS     8
#define MAX_MADE 4000

static struct chaos {
    uint64_t state;
    fw_rpc *ends[ENDS]; /* of both sides */
    fw_rpc_request *kept[64];
    size_t kept_count, made, ended;
    uint64_t handles[MAX_MADE];
    fw_rpc *makers[MAX_MADE];
    uint8_t seen[MAX_MADE];
} chaos;

static uint32_t roll(uint32_t sides)
{
    chaos.state = chaos.state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(chaos.state >> 33) % sides;
}

static void on_chaos_done(const fw_rpc_result *result, void *arg)
{
    (void)result;
    size_t i = (size_t)((uint8_t *)arg - chaos.seen);
    ck_assert_uint_eq(chaos.seen[i], 0); /* exactly once */
    chaos.seen[i] = 1;
    chaos.makers[i] = NULL;
    chaos.ended++;
}

static void on_chaos_request(fw_rpc_request *request, void *arg)
{
    (void)arg;
    uint32_t what = roll(10);
    if (what < 5)
        fw_rpc_reply(request, fw_rpc_request_body(request));
    else if (what < 6)
        fw_rpc_fail(request, 5, "chaos");
    else if (what < 9 && chaos.kept_count < 64)
        chaos.kept[chaos.kept_count++] = fw_rpc_request_keep(request);
    if (roll(60) == 0 && fw_rpc_request_peer(request))
        fw_rpc_close(fw_rpc_request_peer(request));
}

static void add_end(fw_rpc *rpc)
{
    for (size_t i = 0; i < ENDS; i++)
        if (!chaos.ends[i]) {
            chaos.ends[i] = rpc;
            return;
        }
}

static void on_chaos_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)reason;
    (void)arg;
    for (size_t i = 0; i < ENDS; i++)
        if (chaos.ends[i] == rpc)
            chaos.ends[i] = NULL;
    for (size_t i = 0; i < chaos.made; i++)
        ck_assert_ptr_ne(chaos.makers[i], rpc); /* all its calls have ended before */
    client_gone++;
}

static void on_chaos_connection(fw_rpc_server *from, fw_rpc *rpc, void *arg)
{
    (void)from;
    (void)arg;
    add_end(rpc);
}

static void chaos_call(fw_rpc *rpc)
{
    fw_rpc_message message = {
        .method = "m", .number = 9, .body = {"body", 4}, .timeout_ms = 1 + roll(40)};
    size_t i = chaos.made;
    if (i == MAX_MADE ||
        fw_rpc_call(rpc, &message, on_chaos_done, &chaos.seen[i], &chaos.handles[i]))
        return;
    chaos.makers[i] = rpc;
    chaos.made++;
}

static void chaos_step(const fw_rpc_options *options)
{
    fw_rpc *rpc = chaos.ends[roll(ENDS)];
    uint32_t what = roll(100);
    if (!rpc) {
        size_t free_ends = 0;
        for (size_t i = 0; i < ENDS; i++)
            free_ends += !chaos.ends[i];
        fw_rpc *dialled;
        if (free_ends >= 4 && !fw_rpc_dial(fwt_loop, "mem:chaos", options, &dialled))
            add_end(dialled);
    } else if (what < 60) {
        chaos_call(rpc);
    } else if (what < 75 && chaos.made) {
        size_t i = roll((uint32_t)chaos.made);
        if (chaos.makers[i])
            FWT_OK(fw_rpc_cancel(chaos.makers[i], chaos.handles[i]));
        chaos.makers[i] = NULL; /* it ends later, and is not canceled again */
    } else if (what < 95 && chaos.kept_count) {
        size_t i = roll((uint32_t)chaos.kept_count);
        fw_rpc_request *request = chaos.kept[i];
        chaos.kept[i] = chaos.kept[--chaos.kept_count];
        fw_rpc_reply(request, (fw_slice){"late", 4});
    } else if (what >= 98) {
        fw_rpc_close(rpc);
    } else {
        fwt_run_for(roll(3));
    }
}

static void chaos_run(uint64_t seed, const char *protocol)
{
    chaos = (struct chaos){.state = seed};
    FWT_OK(fw_rpc_router_create(&router));
    FWT_OK(fw_rpc_router_add(router, "m", on_chaos_request, NULL));
    FWT_OK(fw_rpc_router_add_number(router, 9, on_chaos_request, NULL));
    fw_rpc_options options = {.router = router,
                              .protocol = protocol,
                              .tell_deadlines = seed % 2,
                              .on_closed = on_chaos_closed};
    fw_rpc_server_options server_options = {
        .connection = options, .on_connection = on_chaos_connection, .on_closed = on_server_closed};
    server_gone = 0;
    FWT_OK(fw_rpc_server_new(fwt_loop, "mem:chaos", &server_options, &server));
    for (int i = 0; i < 4000; i++) {
        chaos_step(&options);
        if (roll(4) == 0)
            fwt_run_for(0);
    }
    for (size_t i = 0; i < ENDS; i++)
        if (chaos.ends[i])
            fw_rpc_close(chaos.ends[i]);
    fw_rpc_server_close(server);
    fwt_run_count(&server_gone, 1, PATIENCE_MS);
    fwt_run_count(&chaos.ended, chaos.made, PATIENCE_MS);
    while (chaos.kept_count)
        fw_rpc_reply(chaos.kept[--chaos.kept_count], (fw_slice){"", 0});
    ck_assert_uint_gt(chaos.made, 200);
    ck_assert_uint_eq(chaos.made, chaos.ended);
    fw_rpc_router_destroy(router);
}

START_TEST(every_call_ends_once_whatever_happens)
{
    chaos_run(1, "walle");
    chaos_run(2, "walle");
    chaos_run(3, "walle");
    chaos_run(4, "fly-v1");
    chaos_run(5, "fly-v0");
    chaos_run(6, "fly-0.4");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rpc_peers");
    TCase *tcase = fwt_tcase(suite, "rpc", 60);
    tcase_add_test(tcase, calls_go_over_every_transport);
    tcase_add_test(tcase, over_ws_a_packet_is_a_message_without_length);
    tcase_add_test(tcase, one_port_serves_several_protocols);
    tcase_add_test(tcase, bad_answers_end_their_call_alone);
    tcase_add_test(tcase, bad_requests_are_answered_and_the_connection_goes_on);
    tcase_add_test(tcase, a_request_whose_time_passed_in_the_line_is_not_run);
    tcase_add_test(tcase, every_call_ends_once_whatever_happens);
    return fwt_main(suite);
}
