/* Framing alone, and sessions over real tcp and unix sockets. */
#include "base/random.h"
#include "fwt.h"
#include "session/framer.h"

#include <fairway/session.h>
#include <fairway/transport.h>
#include <fairway/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- framing ---- */

static void check_framing(fw_framing framing)
{
    fwi_framer framer;
    FWT_OK(fwi_framer_init(&framer, &framing));
    uint8_t stream[4000];
    size_t sizes[40], len = 0, count = 0;
    uint8_t byte = 0;
    while (count < 40) {
        size_t size = fwi_random_below(count % 7 ? 40 : 250);
        if (len + 8 + size > sizeof stream)
            break;
        fwi_framing_put_header(&framer.framing, stream + len, size);
        len += framer.framing.length_bytes;
        for (size_t i = 0; i < size; i++)
            stream[len++] = byte++;
        sizes[count++] = size;
    }
    size_t frames = 0;
    byte = 0;
    for (size_t at = 0; at < len;) {
        size_t n = fwi_random_below(60) + 1;
        if (n > len - at)
            n = len - at;
        uint8_t *piece = malloc(n); /* a copy, so that reading beyond it is seen */
        memcpy(piece, stream + at, n);
        fwi_framer_push(&framer, piece, n);
        fw_slice frame;
        int rc;
        while ((rc = fwi_framer_next(&framer, &frame)) > 0) {
            const uint8_t *payload = (const uint8_t *)frame.data + framer.framing.length_bytes;
            ck_assert_uint_eq(frame.len - framer.framing.length_bytes, sizes[frames]);
            for (size_t i = 0; i < sizes[frames]; i++)
                ck_assert_uint_eq(payload[i], byte++);
            frames++;
        }
        ck_assert_int_eq(rc, 0);
        free(piece);
        at += n;
    }
    ck_assert_uint_eq(frames, count);
    ck_assert_uint_eq(framer.partial_len, 0);
    ck_assert_ptr_null(framer.partial);
    fwi_framer_fini(&framer);
}

START_TEST(frames_survive_any_segmentation)
{
    static const uint8_t widths[] = {1, 2, 4, 8};
    for (int round = 0; round < 50; round++)
        for (int i = 0; i < 4; i++)
            for (int big = 0; big < 2; big++)
                check_framing((fw_framing){.length_bytes = widths[i], .big_endian = big});
}
END_TEST

START_TEST(a_frame_over_the_limit_is_refused_by_its_header_alone)
{
    fwi_framer framer;
    fw_slice frame;
    FWT_OK(fwi_framer_init(&framer, &(fw_framing){.max_frame_bytes = 100}));
    fwi_framer_push(&framer, (const uint8_t *)"\x65\0\0\0", 4);
    FWT_ERR(fwi_framer_next(&framer, &frame), FW_EFRAMESIZE);
    fwi_framer_fini(&framer);
    FWT_OK(fwi_framer_init(&framer, &(fw_framing){.length_bytes = 8}));
    fwi_framer_push(&framer, (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    FWT_ERR(fwi_framer_next(&framer, &frame), FW_EFRAMESIZE);
    fwi_framer_fini(&framer);
    FWT_ERR(fwi_framer_init(&framer, &(fw_framing){.length_bytes = 3}), FW_EOPTION);
}
END_TEST

START_TEST(a_long_length_costs_only_what_has_come)
{
    fwi_framer framer;
    fw_slice frame;
    FWT_OK(fwi_framer_init(&framer, &(fw_framing){.max_frame_bytes = 1 << 30}));
    fwi_framer_push(&framer, (const uint8_t *)"\0\0\0\x20xyz", 7);
    ck_assert_int_eq(fwi_framer_next(&framer, &frame), 0);
    ck_assert_uint_le(framer.partial_capacity, 1024);
    fwi_framer_fini(&framer);
}
END_TEST

/* ---- sessions ---- */

struct end {
    fw_session *session;
    size_t opened, frames, closed, drained;
    size_t bytes;
    int reason;
    bool echo, close_on_frame;
};

static fw_server *server;
static struct end server_end, client_end;
static size_t accepted, server_gone;

static void on_open(fw_session *session, void *arg)
{
    (void)session;
    ((struct end *)arg)->opened++;
}

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    struct end *end = arg;
    end->frames++;
    end->bytes += len;
    if (end->echo)
        FWT_OK(fw_session_send(session, data, len));
    if (end->close_on_frame)
        fw_session_close(session, FW_EPROTOCOL);
}

static void on_drain(fw_session *session, void *arg)
{
    (void)session;
    ((struct end *)arg)->drained++;
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    struct end *end = arg;
    end->closed++;
    end->reason = reason;
    end->session = NULL;
}

static const fw_session_events events = {
    .on_open = on_open, .on_frame = on_frame, .on_drain = on_drain, .on_closed = on_closed};

static void on_session(fw_server *from, fw_session *session, void *arg)
{
    (void)from;
    (void)arg;
    accepted++;
    server_end.session = session;
    fw_session_set_events(session, &events, &server_end);
}

static void on_server_closed(fw_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone++;
}

static void start_server(const char *url, size_t max_sessions)
{
    fw_server_options options = {
        .framing = {.max_frame_bytes = 1 << 20},
        .max_sessions = max_sessions,
        .on_session = on_session,
        .on_closed = on_server_closed,
    };
    FWT_OK(fw_server_new(fwt_loop, url, &options, &server));
}

static void dial(const char *url)
{
    fw_session_options options = {.framing = {.max_frame_bytes = 1 << 20},
                                  .events = events,
                                  .arg = &client_end,
                                  .max_queue_bytes = 1 << 16};
    FWT_OK(fw_session_dial(fwt_loop, url, &options, &client_end.session));
}

static void stop_all(void)
{
    if (client_end.session)
        fw_session_close(client_end.session, FW_ECANCELED);
    fw_server_close(server);
    fwt_run_count(&server_gone, 1, 5000);
    if (client_end.session)
        fwt_run_count(&client_end.closed, 1, 5000);
}

static void check_echo(const char *url)
{
    server_end.echo = true;
    start_server(url, 0);
    dial(fw_server_url(server));
    /* Before the connection is open, too. */
    FWT_OK(fw_session_send(client_end.session, "early", 5));
    fwt_run_count(&client_end.frames, 1, 5000);
    ck_assert_uint_eq(client_end.opened, 1);
    for (int i = 0; i < 1000; i++)
        FWT_OK(fw_session_send(client_end.session, "hello", 5));
    FWT_OK(fw_session_send(client_end.session, NULL, 0));
    fwt_run_count(&client_end.frames, 1002, 5000);
    ck_assert_uint_eq(client_end.bytes, 5 * 1001);
    stop_all();
    ck_assert_int_eq(client_end.reason, FW_ECANCELED);
}

START_TEST(tcp_sessions_echo)
{
    check_echo("tcp://127.0.0.1:0");
}
END_TEST

START_TEST(unix_sessions_echo)
{
    char url[400];
    snprintf(url, sizeof url, "unix:%s/s.sock", fwt_tmpdir());
    check_echo(url);
}
END_TEST

START_TEST(names_are_dialled)
{
    server_end.echo = true;
    start_server("tcp://127.0.0.1:0", 0);
    char url[64];
    snprintf(url, sizeof url, "tcp://localhost:%s", strrchr(fw_server_url(server), ':') + 1);
    dial(url);
    FWT_OK(fw_session_send(client_end.session, "x", 1));
    /* A name may give ::1 first, where nobody listens: then the dial says so. */
    while (!client_end.frames && !client_end.closed)
        fwt_run_for(5);
    ck_assert(client_end.frames == 1 || client_end.reason == UV_ECONNREFUSED);
    stop_all();
}
END_TEST

START_TEST(a_stale_unix_socket_is_taken_over_and_a_live_one_is_not)
{
    char url[400];
    snprintf(url, sizeof url, "unix:%s/s.sock", fwt_tmpdir());
    start_server(url, 0);
    fw_server *second;
    fw_server_options options = {.on_session = on_session};
    FWT_ERR(fw_server_new(fwt_loop, url, &options, &second), UV_EADDRINUSE);
    fwt_run_for(1);
    fw_server_close(server);
    fwt_run_count(&server_gone, 1, 5000);
    uv_pipe_t dead; /* leaves its socket file behind, as a killed process does */
    uv_pipe_init(fw_loop_uv(fwt_loop), &dead, 0);
    FWT_OK(uv_pipe_bind(&dead, url + strlen("unix:")));
    uv_os_fd_t fd;
    FWT_OK(uv_fileno((uv_handle_t *)&dead, &fd));
    fw_listener *listener;
    fw_listener_options listener_options = {.on_accept = NULL};
    FWT_OK(fw_listener_new(fwt_loop, url, &listener_options, &listener));
    fw_listener_close(listener);
    uv_close((uv_handle_t *)&dead, NULL);
    fwt_run_for(5);
}
END_TEST

START_TEST(refused_and_malformed_dials_are_told_apart)
{
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", fwt_free_port());
    dial(url);
    fwt_run_count(&client_end.closed, 1, 5000);
    ck_assert_int_eq(client_end.reason, UV_ECONNREFUSED);
    ck_assert_uint_eq(client_end.opened, 0);
    fw_session *session;
    fw_session_options options = {.dial_timeout_ms = 1};
    FWT_ERR(fw_session_dial(fwt_loop, "nope://x:1", &options, &session), FW_ESCHEME);
    FWT_ERR(fw_session_dial(fwt_loop, "tcp://x", &options, &session), FW_EURL);
    FWT_ERR(fw_session_dial(fwt_loop, "unix:", &options, &session), FW_EURL);
}
END_TEST

START_TEST(a_dial_can_be_given_up)
{
    start_server("tcp://127.0.0.1:0", 0);
    dial(fw_server_url(server));
    fw_session_close(client_end.session, FW_ECANCELED);
    fw_session_close(client_end.session, FW_EPROTOCOL); /* the first reason stands */
    ck_assert_uint_eq(client_end.closed, 0);
    fwt_run_count(&client_end.closed, 1, 5000);
    ck_assert_int_eq(client_end.reason, FW_ECANCELED);
    stop_all();
}
END_TEST

START_TEST(an_oversized_frame_closes_that_session_alone)
{
    start_server("tcp://127.0.0.1:0", 0);
    fw_session_options wide = {
        .framing = {.max_frame_bytes = 2 << 20}, .events = events, .arg = &client_end};
    FWT_OK(fw_session_dial(fwt_loop, fw_server_url(server), &wide, &client_end.session));
    char *big = calloc(1, (1 << 20) + 1);
    FWT_OK(fw_session_send(client_end.session, big, (1 << 20) + 1));
    FWT_ERR(fw_session_send(client_end.session, big, (2 << 20) + 1), FW_EFRAMESIZE);
    free(big);
    fwt_run_count(&server_end.closed, 1, 5000);
    ck_assert_int_eq(server_end.reason, FW_EFRAMESIZE);
    fwt_run_count(&client_end.closed, 1, 5000);
    dial(fw_server_url(server));
    fwt_run_count(&accepted, 2, 5000);
    stop_all();
}
END_TEST

START_TEST(a_full_queue_answers_limit_and_drains)
{
    start_server("tcp://127.0.0.1:0", 0);
    dial(fw_server_url(server));
    fwt_run_count(&accepted, 1, 5000);
    char block[4096] = {0};
    int err = FW_OK;
    size_t sent = 0;
    while (!(err = fw_session_send(client_end.session, block, sizeof block)))
        sent++;
    ck_assert_int_eq(err, FW_ELIMIT);
    ck_assert_uint_le(sent, 17);
    fwt_run_count(&client_end.drained, 1, 5000);
    FWT_OK(fw_session_send(client_end.session, block, sizeof block));
    fwt_run_count(&server_end.frames, sent + 1, 5000);
    stop_all();
}
END_TEST

START_TEST(too_many_sessions_are_refused)
{
    start_server("tcp://127.0.0.1:0", 1);
    dial(fw_server_url(server));
    fwt_run_count(&accepted, 1, 5000);
    struct end second = {.frames = 0};
    fw_session_options options = {.events = events, .arg = &second};
    FWT_OK(fw_session_dial(fwt_loop, fw_server_url(server), &options, &second.session));
    fwt_run_count(&second.closed, 1, 5000);
    ck_assert_uint_eq(accepted, 1);
    stop_all();
}
END_TEST

START_TEST(closing_inside_a_frame_stops_the_frames)
{
    server_end.close_on_frame = true;
    start_server("tcp://127.0.0.1:0", 0);
    dial(fw_server_url(server));
    for (int i = 0; i < 10; i++)
        FWT_OK(fw_session_send(client_end.session, "x", 1));
    fwt_run_count(&server_end.closed, 1, 5000);
    ck_assert_uint_eq(server_end.frames, 1);
    ck_assert_int_eq(server_end.reason, FW_EPROTOCOL);
    fwt_run_count(&client_end.closed, 1, 5000);
    stop_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *framing = tcase_create("framing");
    tcase_set_timeout(framing, 30);
    suite_add_tcase(suite, framing);
    tcase_add_test(framing, frames_survive_any_segmentation);
    tcase_add_test(framing, a_frame_over_the_limit_is_refused_by_its_header_alone);
    tcase_add_test(framing, a_long_length_costs_only_what_has_come);
    TCase *tcase = fwt_tcase(suite, "session", 30);
    tcase_add_test(tcase, tcp_sessions_echo);
    tcase_add_test(tcase, unix_sessions_echo);
    tcase_add_test(tcase, names_are_dialled);
    tcase_add_test(tcase, a_stale_unix_socket_is_taken_over_and_a_live_one_is_not);
    tcase_add_test(tcase, refused_and_malformed_dials_are_told_apart);
    tcase_add_test(tcase, a_dial_can_be_given_up);
    tcase_add_test(tcase, an_oversized_frame_closes_that_session_alone);
    tcase_add_test(tcase, a_full_queue_answers_limit_and_drains);
    tcase_add_test(tcase, too_many_sessions_are_refused);
    tcase_add_test(tcase, closing_inside_a_frame_stops_the_frames);
    return fwt_main(suite);
}
