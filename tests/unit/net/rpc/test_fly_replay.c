/*
 * The call engine in place of one end of flyrpc's recordings: it must write what the original
 * wrote. What a handler or a caller does is read from the recording itself.
 */
#include "fly_vectors.h"
#include "fwt.h"
#include "rpc/request.h"

#include <fairway/error.h>
#include <fairway/rpc.h>
#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 20000

/* Where we do otherwise, on purpose; the README of the protocol says why. */
static const char *const left_out[] = {
    "go_v1_empty_code",                    /* methods have names here */
    "go_v0_json_message_not_found",        /* one-way messages are not answered */
    "go_v0_msgpack_message_not_found",     /* the same */
    "probe_v0_bad_json",                   /* we answer what cannot be read */
    "probe_v0_buffer_bit",                 /* a bit that we do not send back */
    "probe_v0_flag_0xf1",                  /* the same */
    "probe_v0_greeting",                   /* an event of the server's own */
    "probe_v0_half_close",                 /* an end, no frames */
    "probe_v0_message_error",              /* one-way messages are not answered */
    "probe_v0_message_not_found",          /* the same */
    "probe_v0_message_with_reply_handler", /* the same */
    "probe_v0_multiplex_server",           /* frames broken by the original */
    "probe_v0_pipelined",                  /* the same */
    "probe_v0_plain_error",                /* we answer */
    "probe_v0_readme_rpc_0xc0",            /* is a message to us */
    "probe_v0_readme_rpc_0xc1",            /* is a request to us */
    "probe_v1_bad_json",                   /* we answer */
    "probe_v1_len_2e63",                   /* ends the connection */
    "probe_v1_message_no_wait_error",      /* one-way messages are not answered */
    "probe_v1_message_no_wait_not_found",  /* the same */
    "probe_v1_multiplex_server",           /* frames broken by the original */
    "probe_v1_pipelined",                  /* the same */
};

static bool is_left_out(const char *name)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (!strcmp(left_out[i], name))
            return true;
    return false;
}

static struct play {
    const fly_recording *recording;
    size_t at; /* in the recording */
    fw_rpc *rpc;
    fw_rpc_router *router;
    struct {
        fw_rpc_request *request;
        uint64_t sequence;
    } kept[16];
    size_t kept_count;
    size_t server_gone, rpc_gone;
    fw_conn *conn;
    uint8_t *bytes; /* what the engine has written */
    size_t len, checked;
    bool closed, accepted;
} play;

static size_t replayed;

static bool read_record(size_t i, fwi_rpc_packet *ret_packet)
{
    const fly_record *record = &play.recording->records[i];
    uint64_t payload = 0;
    const fw_framing_ops *ops = play.recording->protocol->framing.custom;
    size_t seen = record->len < ops->max_header_bytes ? record->len : ops->max_header_bytes;
    int head = ops->parse(record->bytes, seen, &payload, NULL);
    return head > 0 && head + payload == record->len &&
           !play.recording->protocol->decode(ret_packet, NULL, record->bytes, record->len, false);
}

/* What the recorded end answered to a request. */
static bool find_answer(bool from_client, uint64_t sequence, fwi_rpc_packet *ret_packet)
{
    for (size_t i = play.at; i < play.recording->count; i++)
        if (play.recording->records[i].from_client == from_client && read_record(i, ret_packet) &&
            ret_packet->kind == FWI_RPC_KIND_RESPONSE && ret_packet->sequence == sequence)
            return true;
    return false;
}

static bool engine_is_client;

static void on_any(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fwi_rpc_packet answer;
    fwi_rpc_error error;
    if (fw_rpc_request_is_oneway(request))
        return;
    bool is_answered = find_answer(engine_is_client, request->packet.sequence, &answer);
    if (is_answered && answer.is_error) {
        FWT_OK(play.recording->protocol->get_error(&answer, &error));
        if (!error.logic)
            return; /* no answer of the handler: the engine says that it has failed */
    }
    ck_assert_uint_lt(play.kept_count, 16);
    play.kept[play.kept_count].sequence = request->packet.sequence;
    play.kept[play.kept_count++].request = fw_rpc_request_keep(request);
}

/* The recorded end answered now. */
static void answer_kept(const fwi_rpc_packet *answer)
{
    fwi_rpc_error error;
    for (size_t i = 0; i < play.kept_count; i++) {
        fw_rpc_request *request = play.kept[i].request;
        if (play.kept[i].sequence != answer->sequence)
            continue;
        play.kept[i] = play.kept[--play.kept_count];
        if (answer->is_error) {
            FWT_OK(play.recording->protocol->get_error(answer, &error));
            FWT_OK(fw_rpc_fail(request, error.code, error.text));
        } else {
            FWT_OK(fw_rpc_reply(request, answer->body));
        }
        return;
    }
}

static void add_route(const fwi_rpc_packet *packet, bool from_client)
{
    fwi_rpc_packet answer;
    fwi_rpc_error error;
    char name[FWI_RPC_MAX_HEAD_BYTES];
    if (find_answer(!from_client, packet->sequence, &answer) && answer.is_error) {
        FWT_OK(play.recording->protocol->get_error(&answer, &error));
        if (error.code == FW_RPC_CODE_NO_METHOD)
            return;
    }
    snprintf(name, sizeof name, "%.*s", (int)packet->method.len, (const char *)packet->method.data);
    int err = packet->number ? fw_rpc_router_add_number(play.router, packet->number, on_any, NULL)
              : *name        ? fw_rpc_router_add(play.router, name, on_any, NULL)
                             : FW_OK;
    ck_assert(!err || err == FW_EEXISTS);
}

static void on_raw_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    (void)arg;
    play.bytes = realloc(play.bytes, play.len + len);
    memcpy(play.bytes + play.len, data, len);
    play.len += len;
}

static void on_raw_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    (void)arg;
    play.closed = true;
}

static const fw_conn_events raw_events = {.on_data = on_raw_data, .on_closed = on_raw_closed};

static void on_call_done(const fw_rpc_result *result, void *arg)
{
    (void)result;
    (void)arg;
}

/* The engine does what the recorded end has done. */
static void originate(const fwi_rpc_packet *packet)
{
    char name[FWI_RPC_MAX_HEAD_BYTES];
    snprintf(name, sizeof name, "%.*s", (int)packet->method.len, (const char *)packet->method.data);
    fw_rpc_message message = {.method = name, .number = packet->number, .body = packet->body};
    switch (packet->kind) {
    case FWI_RPC_KIND_REQUEST:
        FWT_OK(fw_rpc_call(play.rpc, &message, on_call_done, NULL, NULL));
        break;
    case FWI_RPC_KIND_ONEWAY:
        FWT_OK(fw_rpc_notify(play.rpc, &message));
        break;
    case FWI_RPC_KIND_PING:
        FWT_OK(fw_rpc_ping(play.rpc, packet->body, 0, on_call_done, NULL));
        break;
    case FWI_RPC_KIND_RESPONSE:
        answer_kept(packet);
        break;
    default:
        break;
    }
}

static void expect(const fly_record *record)
{
    for (unsigned ms = 0; play.len < play.checked + record->len && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    ck_assert_msg(play.len >= play.checked + record->len, "%s: record %zu does not come",
                  play.recording->name, play.at);
    fwt_assert_bytes(play.bytes + play.checked, record->len, record->bytes, record->len,
                     play.recording->name);
    play.checked += record->len;
}

static void play_records(void)
{
    for (play.at = 0; play.at < play.recording->count; play.at++) {
        const fly_record *record = &play.recording->records[play.at];
        fwi_rpc_packet packet;
        if (record->from_client != engine_is_client) {
            FWT_OK(fw_conn_write(play.conn, record->bytes, record->len));
            fwt_run_for(2); /* the recorded order of both ends is kept */
        } else {
            if (read_record(play.at, &packet))
                originate(&packet);
            expect(record);
        }
    }
    ck_assert_msg(play.len == play.checked, "%s: more was written", play.recording->name);
}

static void prepare(const fly_recording *recording)
{
    fwi_framer framer = {.framing = recording->protocol->framing};
    framer.framing.max_frame_bytes = FWI_RPC_DEFAULT_FRAME;
    fw_slice frame;
    play = (struct play){.recording = recording};
    FWT_OK(fw_rpc_router_create(&play.router));
    for (size_t i = 0; i < recording->count; i++) {
        const fly_record *record = &recording->records[i];
        if (record->from_client == engine_is_client)
            continue;
        fwi_framer_push(&framer, record->bytes, record->len);
        while (fwi_framer_next(&framer, &frame) > 0) {
            fwi_rpc_packet packet;
            FWT_OK(recording->protocol->decode(&packet, NULL, frame.data, frame.len, false));
            if (packet.kind == FWI_RPC_KIND_REQUEST || packet.kind == FWI_RPC_KIND_ONEWAY)
                add_route(&packet, record->from_client);
        }
    }
    fwi_framer_fini(&framer);
}

static void finish(void)
{
    fw_conn_close(play.conn, FW_ECANCELED);
    fwt_run_until(&play.closed, PATIENCE_MS);
    fwt_run_count(&play.rpc_gone, 1, PATIENCE_MS);
    for (size_t i = 0; i < play.kept_count; i++)
        FWT_ERR(fw_rpc_reply(play.kept[i].request, (fw_slice){"", 0}), FW_ECLOSED);
    fw_rpc_router_destroy(play.router);
    free(play.bytes);
    replayed++;
}

static void on_rpc_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)rpc;
    (void)reason;
    (void)arg;
    play.rpc_gone++;
}

/* ---- the engine as the server ---- */

static void on_connection(fw_rpc_server *server, fw_rpc *rpc, void *arg)
{
    (void)server;
    (void)arg;
    play.rpc = rpc;
}

static void on_server_closed(fw_rpc_server *server, void *arg)
{
    (void)server;
    (void)arg;
    play.server_gone++;
}

static void serve_recording(fly_recording *recording)
{
    if (is_left_out(recording->name) || recording->is_random)
        return;
    fw_rpc_server *server;
    engine_is_client = false;
    prepare(recording);
    fw_rpc_server_options options = {.connection = {.protocol = recording->protocol->name,
                                                    .router = play.router,
                                                    .on_closed = on_rpc_closed},
                                     .on_connection = on_connection,
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, "mem:fly", &options, &server));
    fw_conn_options conn_options = {.events = raw_events};
    FWT_OK(fw_conn_dial(fwt_loop, "mem:fly", &conn_options, &play.conn));
    while (!play.rpc)
        fwt_run_for(1);
    play_records();
    finish();
    fw_rpc_server_close(server);
    fwt_run_count(&play.server_gone, 1, PATIENCE_MS);
}

START_TEST(servers_of_the_original_are_replaced)
{
    fly_each_recording(serve_recording);
    ck_assert_uint_ge(replayed, 120);
}
END_TEST

/* ---- the engine as the client ---- */

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    fw_conn_set_events(conn, &raw_events, NULL);
    play.conn = conn;
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    (void)arg;
    play.server_gone++;
}

/* Clients that count as we do; C# begins at 0, Go comes round to it, Node's messages have none, and
 * the probes are no clients. */
static bool counts_as_we(const char *name)
{
    if (strstr(name, "seq_wrap"))
        return false;
    return !strncmp(name, "go_", 3) || (!strncmp(name, "node_", 5) && !strstr(name, "push"));
}

static void call_recording(fly_recording *recording)
{
    if (is_left_out(recording->name) || recording->is_random || !counts_as_we(recording->name))
        return;
    fw_listener *listener;
    engine_is_client = true;
    prepare(recording);
    fw_listener_options listener_options = {.on_accept = on_accept,
                                            .on_closed = on_listener_closed};
    FWT_OK(fw_listener_new(fwt_loop, "mem:fly", &listener_options, &listener));
    fw_rpc_options options = {
        .protocol = recording->protocol->name, .router = play.router, .on_closed = on_rpc_closed};
    FWT_OK(fw_rpc_dial(fwt_loop, "mem:fly", &options, &play.rpc));
    while (!play.conn)
        fwt_run_for(1);
    play_records();
    finish();
    fw_listener_close(listener);
    fwt_run_count(&play.server_gone, 1, PATIENCE_MS);
}

START_TEST(clients_of_the_original_are_replaced)
{
    fly_each_recording(call_recording);
    ck_assert_uint_ge(replayed, 90);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fly_replay");
    TCase *tcase = fwt_tcase(suite, "replay", 120);
    tcase_add_test(tcase, servers_of_the_original_are_replaced);
    tcase_add_test(tcase, clients_of_the_original_are_replaced);
    return fwt_main(suite);
}
