/* What sessions do beyond frames: completions, the clock, coming back, and their server's limits.
 */
#include "ends.h"

#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static ends_server ends;
static end client;

/* The last one is a layer, which may not be built. */
static const char *urls[] = {"tcp://127.0.0.1:0", "unix", "mem:session-life", "ws://127.0.0.1:0/"};
static int url_count;
#define PLAIN_COUNT 3 /* a layer waits for the peer before it closes, which takes long here */

static const char *url_of(int i)
{
    static char url[400];
    if (strcmp(urls[i], "unix") != 0)
        return urls[i];
    snprintf(url, sizeof url, "unix:%s/s.sock", fwt_tmpdir());
    return url;
}

static void start(int i, fw_server_options server_options, fw_session_options options)
{
    ends_listen(&ends, url_of(i), server_options);
    end_dial(&client, fw_server_url(ends.server), options);
    fwt_run_count(&client.opened, 1, ENDS_WAIT_MS);
    fwt_run_count(&ends.accepted, 1, ENDS_WAIT_MS);
}

static void stop(void)
{
    end_close(&client);
    ends_close(&ends);
}

/* Frames of 1 MiB: more than the kernel takes for a peer that does not read. */
#define MANY 60

/* ---- completions ---- */

static struct outcome {
    size_t count, ok, closed, late;
    bool inside; /* in a send: nothing may be told */
} outcome;

static void on_sent(fw_session *session, int status, void *arg)
{
    (void)session;
    struct outcome *to = arg;
    ck_assert(!to->inside);
    to->count++;
    to->ok += status == FW_OK;
    to->closed += status == FW_ECLOSED;
    to->late += status == FW_EDEADLINE;
}

static int send_async(fw_session *session, const void *data, size_t len, uint32_t timeout_ms)
{
    outcome.inside = true;
    int err = fw_session_send_async(session, data, len, timeout_ms, on_sent, &outcome);
    outcome.inside = false;
    return err;
}

START_TEST(what_the_kernel_took_is_told)
{
    start(_i, (fw_server_options){0}, (fw_session_options){0});
    for (int i = 0; i < 100; i++)
        FWT_OK(send_async(client.session, "hello", 5, i % 2 ? 60000 : 0));
    ck_assert_uint_eq(outcome.count, 0);
    fwt_run_count(&outcome.count, 100, ENDS_WAIT_MS);
    ck_assert_uint_eq(outcome.ok, 100);
    fwt_run_count(&ends.at_server.frames, 100, ENDS_WAIT_MS);
    ck_assert_uint_eq(fw_session_queued_bytes(client.session), 0);
    stop();
    ck_assert_uint_eq(outcome.count, 100);
}
END_TEST

/* The peer does not read: some frames leave, the rest end with the session. */
START_TEST(what_waits_at_the_end_is_told_as_closed)
{
    start(_i, (fw_server_options){0}, (fw_session_options){.max_queue_bytes = 128 << 20});
    fw_session_read_stop(ends.at_server.session);
    char *block = calloc(1, 1 << 20);
    for (int i = 0; i < MANY; i++)
        FWT_OK(send_async(client.session, block, 1 << 20, 0));
    fwt_run_for(50);
    ck_assert_uint_lt(outcome.count, MANY);
    ck_assert_uint_gt(fw_session_queued_bytes(client.session), 0);
    end_close(&client);
    ck_assert_uint_eq(outcome.count, MANY);
    ck_assert_uint_ge(outcome.closed, 1);
    ck_assert_uint_eq(outcome.closed + outcome.ok, MANY);
    free(block);
    ends_close(&ends);
}
END_TEST

START_TEST(what_waits_too_long_is_told_as_late_and_goes_on)
{
    start(_i, (fw_server_options){0}, (fw_session_options){.max_queue_bytes = 128 << 20});
    fw_session_read_stop(ends.at_server.session);
    char *block = calloc(1, 1 << 20);
    for (int i = 0; i < MANY; i++)
        FWT_OK(send_async(client.session, block, 1 << 20, 20));
    fwt_run_count(&outcome.count, MANY, ENDS_WAIT_MS);
    ck_assert_uint_ge(outcome.late, 1);
    ck_assert_uint_eq(outcome.late + outcome.ok, MANY);
    fw_session_read_start(ends.at_server.session);
    fwt_run_count(&ends.at_server.frames, MANY, ENDS_WAIT_MS);
    ck_assert_uint_eq(outcome.count, MANY);
    free(block);
    stop();
}
END_TEST

/* Every completion ends once, whenever and from wherever the session is closed. */
START_TEST(completions_are_exact_under_close_at_any_point)
{
    srand((unsigned)_i * 7919 + 1);
    start(_i % url_count, (fw_server_options){0},
          (fw_session_options){.max_queue_bytes = 1 << 20,
                               .max_queue_frames = rand() % 2 ? 50 : 0,
                               .reconnect = {.enabled = rand() % 2, .base_ms = 1, .max_ms = 5}});
    static char block[200000];
    size_t sent = 0;
    if (rand() % 3 == 0)
        fw_session_read_stop(ends.at_server.session);
    int steps = rand() % 60 + 1, cut = rand() % 60;
    for (int step = 0; step < steps; step++) {
        size_t len = rand() % 4 ? (size_t)rand() % 300 : (size_t)rand() % sizeof block;
        sent += !send_async(client.session, block, len, (uint32_t)(rand() % 3 ? 0 : rand() % 10));
        if (rand() % 4 == 0)
            fwt_run_for((unsigned)rand() % 3);
        if (step == cut && ends.at_server.session)
            fw_session_close(ends.at_server.session, FW_ECANCELED);
        if (!client.session)
            break;
    }
    end_close(&client);
    ck_assert_uint_eq(outcome.count, sent);
    ck_assert_uint_eq(outcome.ok + outcome.late + outcome.closed, sent);
    ends_close(&ends);
}
END_TEST

START_TEST(frames_are_limited_by_number)
{
    start(_i, (fw_server_options){0}, (fw_session_options){.max_queue_frames = 10});
    for (int round = 0; round < 3; round++) {
        int sent = 0, err;
        while (!(err = fw_session_send(client.session, "x", 1)))
            sent++;
        ck_assert_int_eq(err, FW_ELIMIT);
        ck_assert_int_eq(sent, 10);
        fwt_run_count(&client.drained, (size_t)round + 1, ENDS_WAIT_MS);
    }
    fwt_run_count(&ends.at_server.frames, 30, ENDS_WAIT_MS);
    stop();
}
END_TEST

/* ---- the clock ---- */

START_TEST(a_heartbeat_can_be_set_changed_and_stopped)
{
    start(0, (fw_server_options){0}, (fw_session_options){0});
    FWT_OK(fw_session_set_heartbeat(client.session, 10, "beat", 4, 0));
    fwt_run_count(&ends.at_server.frames, 3, ENDS_WAIT_MS);
    fwt_assert_bytes(ends.at_server.last, ends.at_server.last_len, "beat", 4, "heartbeat");
    FWT_OK(fw_session_set_heartbeat(client.session, 10, "other", 5, 0));
    while (ends.at_server.last_len != 5)
        fwt_run_for(5);
    FWT_OK(fw_session_set_heartbeat(client.session, 1, NULL, 0, 0));
    while (ends.at_server.last_len)
        fwt_run_for(5);
    FWT_OK(fw_session_set_heartbeat(client.session, 0, NULL, 0, 0));
    fwt_run_for(30);
    size_t frames = ends.at_server.frames;
    fwt_run_for(30);
    ck_assert_uint_eq(ends.at_server.frames, frames);
    FWT_ERR(fw_session_set_heartbeat(client.session, 10, "x", 2 << 20, 0), FW_EFRAMESIZE);
    fw_session_close(client.session, FW_ECANCELED);
    FWT_ERR(fw_session_set_heartbeat(client.session, 10, "x", 1, 0), FW_ECLOSED);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    stop();
}
END_TEST

START_TEST(missed_heartbeats_end_a_session)
{
    start(0, (fw_server_options){0}, (fw_session_options){0});
    FWT_OK(fw_session_set_heartbeat(client.session, 10, "beat", 4, 3));
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    ck_assert_int_eq(client.reason, FW_EIDLE);
    ck_assert_uint_ge(ends.at_server.frames, 1);
    /* With an answer to each, it lives. */
    ends.at_server.echo = true;
    end_dial(&client, fw_server_url(ends.server), (fw_session_options){0});
    fwt_run_count(&client.opened, 2, ENDS_WAIT_MS);
    FWT_OK(fw_session_set_heartbeat(client.session, 50, "beat", 4, 200));
    fwt_run_count(&client.frames, 5, ENDS_WAIT_MS);
    ck_assert_ptr_nonnull(client.session);
    stop();
}
END_TEST

START_TEST(quiet_sessions_end)
{
    start(_i, (fw_server_options){.timeouts = {.read_ms = 30}}, (fw_session_options){0});
    fwt_run_count(&ends.at_server.closed, 1, ENDS_WAIT_MS);
    ck_assert_int_eq(ends.at_server.reason, FW_EIDLE);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    ends_close(&ends);
    ends_listen(&ends, url_of(_i), (fw_server_options){0});
    end_dial(&client, fw_server_url(ends.server),
             (fw_session_options){.timeouts = {.idle_ms = 30}});
    fwt_run_count(&client.closed, 2, ENDS_WAIT_MS);
    ck_assert_int_eq(client.reason, FW_EIDLE);
    stop();
}
END_TEST

START_TEST(a_peer_that_takes_nothing_is_slow)
{
    start(_i, (fw_server_options){0}, (fw_session_options){0});
    fw_session_read_stop(ends.at_server.session);
    FWT_OK(fw_session_set_timeouts(client.session, &(fw_session_timeouts){.write_ms = 30}));
    fwt_run_for(60);
    ck_assert_ptr_nonnull(client.session); /* nothing waits */
    char *block = calloc(1, 1 << 20);
    for (int turns = 0; !client.closed; turns++) { /* until the kernel takes no more, and then */
        ck_assert_int_lt(turns, 4000);
        while (client.session && !fw_session_send(client.session, block, 1 << 20))
            ;
        fwt_run_for(5);
    }
    ck_assert_int_eq(client.reason, FW_ESLOW);
    free(block);
    stop();
}
END_TEST

START_TEST(finishing_sends_what_waits)
{
    start(_i, (fw_server_options){0}, (fw_session_options){.max_queue_bytes = 64 << 20});
    char *block = calloc(1, 1 << 20);
    for (int i = 0; i < 20; i++)
        FWT_OK(fw_session_send(client.session, block, 1 << 20));
    free(block);
    fw_session_finish(client.session, ENDS_WAIT_MS);
    FWT_ERR(fw_session_send(client.session, "x", 1), FW_ECLOSED);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    ck_assert_int_eq(client.reason, FW_ECANCELED);
    fwt_run_count(&ends.at_server.closed, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(ends.at_server.frames, 20);
    stop();
}
END_TEST

START_TEST(finishing_has_a_deadline)
{
    start(_i, (fw_server_options){0}, (fw_session_options){.max_queue_bytes = 128 << 20});
    fw_session_read_stop(ends.at_server.session);
    char *block = calloc(1, 1 << 20);
    for (int i = 0; i < MANY; i++)
        FWT_OK(fw_session_send(client.session, block, 1 << 20));
    free(block);
    fw_session_finish(client.session, 20);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    ck_assert_int_eq(client.reason, FW_EDEADLINE);
    stop();
}
END_TEST

/* ---- coming back ---- */

static const fw_session_reconnect soon = {.enabled = true, .base_ms = 5, .max_ms = 20};

START_TEST(a_session_comes_back_with_what_was_kept)
{
    start(_i, (fw_server_options){0}, (fw_session_options){.reconnect = soon});
    uint64_t id = fw_session_id(client.session);
    char url[400];
    snprintf(url, sizeof url, "%s", fw_server_url(ends.server));
    ends_close(&ends);
    fwt_run_count(&client.lost, 1, ENDS_WAIT_MS);
    ck_assert_str_eq(fw_session_peer(client.session), "");
    FWT_OK(send_async(client.session, "kept", 4, 0));
    FWT_OK(fw_session_send(client.session, "too", 3));
    ck_assert_uint_gt(fw_session_queued_bytes(client.session), 7);
    fwt_run_count(&client.lost, 3, ENDS_WAIT_MS); /* nobody listens */
    ck_assert_uint_eq(outcome.count, 0);
    ends_listen(&ends, url, (fw_server_options){0});
    fwt_run_count(&client.opened, 2, ENDS_WAIT_MS);
    fwt_run_count(&ends.at_server.frames, 2, ENDS_WAIT_MS);
    fwt_assert_bytes(ends.at_server.last, ends.at_server.last_len, "too", 3, "the last kept");
    fwt_run_count(&outcome.ok, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(fw_session_id(client.session), id);
    /* A broken frame is the connection's fault, not the session's end. */
    FWT_OK(fw_session_send(ends.at_server.session, "hello", 5));
    fwt_run_count(&client.frames, 1, ENDS_WAIT_MS);
    fw_session_close(ends.at_server.session, FW_ECANCELED);
    fwt_run_count(&client.opened, 3, ENDS_WAIT_MS);
    ck_assert_uint_eq(client.closed, 0);
    stop();
}
END_TEST

START_TEST(what_was_stopped_stays_stopped)
{
    start(0, (fw_server_options){0}, (fw_session_options){.reconnect = soon});
    fw_session_read_stop(client.session);
    fw_session_close(ends.at_server.session, FW_ECANCELED);
    /* It does not see the end of its connection, for it does not read. */
    FWT_OK(fw_session_set_heartbeat(client.session, 5, "x", 1, 3));
    fwt_run_count(&client.opened, 2, ENDS_WAIT_MS);
    FWT_OK(fw_session_set_heartbeat(client.session, 0, NULL, 0, 0));
    fwt_run_count(&ends.accepted, 2, ENDS_WAIT_MS);
    FWT_OK(fw_session_send(ends.at_server.session, "hello", 5));
    fwt_run_for(20);
    ck_assert_uint_eq(client.frames, 0);
    fw_session_read_start(client.session);
    fwt_run_count(&client.frames, 1, ENDS_WAIT_MS);
    stop();
}
END_TEST

START_TEST(attempts_may_be_limited_and_sends_refused)
{
    fw_session_reconnect twice = soon;
    twice.max_attempts = 2;
    twice.refuse_while_down = true;
    start(_i, (fw_server_options){0}, (fw_session_options){.reconnect = twice});
    ends_close(&ends);
    fwt_run_count(&client.lost, 1, ENDS_WAIT_MS);
    FWT_ERR(fw_session_send(client.session, "x", 1), FW_ECLOSED);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(client.lost, 2);
    ck_assert_int_ne(client.reason, FW_OK);
}
END_TEST

START_TEST(what_is_kept_is_limited_and_ends_with_the_session)
{
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", fwt_free_port());
    end_dial(
        &client, url,
        (fw_session_options){.reconnect = soon, .max_queue_bytes = 1000, .max_queue_frames = 5});
    for (int i = 0; i < 5; i++)
        FWT_OK(send_async(client.session, "kept", 4, i == 2 ? 10 : 0));
    FWT_ERR(send_async(client.session, "kept", 4, 0), FW_ELIMIT);
    fwt_run_count(&client.lost, 2, ENDS_WAIT_MS);
    fwt_run_count(&outcome.late, 1, ENDS_WAIT_MS);
    end_close(&client);
    ck_assert_uint_eq(outcome.closed, 4);
    ck_assert_uint_eq(outcome.count, 5);
}
END_TEST

/* ---- servers ---- */

START_TEST(a_server_has_many_listeners)
{
    ends_listen(&ends, "tcp://127.0.0.1:0", (fw_server_options){0});
    const char *second, *third;
    FWT_OK(fw_server_listen(ends.server, url_of(1), &second));
    FWT_OK(fw_server_listen(ends.server, url_of(2), &third));
    FWT_ERR(fw_server_listen(ends.server, "nope://x:1", NULL), FW_ESCHEME);
    FWT_ERR(fw_server_listen(ends.server, fw_server_url(ends.server), NULL), UV_EADDRINUSE);
    const char *all[] = {fw_server_url(ends.server), second, third};
    end clients[3] = {{0}};
    for (int i = 0; i < 3; i++)
        end_dial(&clients[i], all[i], (fw_session_options){0});
    fwt_run_count(&ends.accepted, 3, ENDS_WAIT_MS);
    ck_assert_uint_eq(fw_server_session_count(ends.server), 3);
    fw_broadcast all_of_them = {.data = "all", .len = 3};
    size_t count;
    FWT_OK(fw_server_broadcast(ends.server, &all_of_them, &count));
    ck_assert_uint_eq(count, 3);
    for (int i = 0; i < 3; i++)
        fwt_run_count(&clients[i].frames, 1, ENDS_WAIT_MS);
    fw_server_close(ends.server);
    FWT_ERR(fw_server_broadcast(ends.server, &all_of_them, &count), FW_ECLOSED);
    fwt_run_count(&ends.gone, 1, ENDS_WAIT_MS);
    for (int i = 0; i < 3; i++)
        fwt_run_count(&clients[i].closed, 1, ENDS_WAIT_MS);
}
END_TEST

START_TEST(a_finishing_server_lets_sessions_go_on)
{
    start(_i, (fw_server_options){0}, (fw_session_options){0});
    char url[400];
    snprintf(url, sizeof url, "%s", fw_server_url(ends.server));
    fw_server_finish(ends.server, ENDS_WAIT_MS);
    FWT_ERR(fw_server_listen(ends.server, "tcp://127.0.0.1:0", NULL), FW_ECLOSED);
    fwt_run_for(10);
    end refused = {0};
    end_dial(&refused, url, (fw_session_options){0});
    fwt_run_count(&refused.closed, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(refused.opened, 0);
    ends.at_server.echo = true;
    FWT_OK(fw_session_send(client.session, "still", 5));
    fwt_run_count(&client.frames, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(ends.gone, 0);
    end_close(&client);
    fwt_run_count(&ends.gone, 1, ENDS_WAIT_MS);
}
END_TEST

START_TEST(a_finishing_server_has_a_deadline)
{
    start(_i, (fw_server_options){0}, (fw_session_options){0});
    fw_server_finish(ends.server, 20);
    fwt_run_count(&ends.gone, 1, ENDS_WAIT_MS);
    ck_assert_int_eq(ends.at_server.reason, FW_EDEADLINE);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
}
END_TEST

START_TEST(accepts_are_limited_by_the_second)
{
    ends_listen(&ends, url_of(_i), (fw_server_options){.max_accepts_per_second = 1});
    end clients[20] = {{0}};
    for (int i = 0; i < 20; i++)
        end_dial(&clients[i], fw_server_url(ends.server), (fw_session_options){0});
    size_t closed = 0;
    for (int turns = 0; closed < 5; turns++) { /* they may have come in several seconds */
        ck_assert_int_lt(turns, 4000);
        fwt_run_for(5);
        closed = 0;
        for (int i = 0; i < 20; i++)
            closed += clients[i].closed;
    }
    ck_assert_uint_ge(ends.accepted, 1);
    for (int i = 0; i < 20; i++)
        end_close(&clients[i]);
    ends_close(&ends);
}
END_TEST

static void destroy(void *data)
{
    ++*(int *)data;
}

START_TEST(bound_data_is_destroyed_once)
{
    int first = 0, second = 0;
    start(0, (fw_server_options){0}, (fw_session_options){0});
    ck_assert_ptr_null(fw_session_get_data(client.session));
    FWT_OK(fw_session_set_data(client.session, &first, destroy));
    ck_assert_ptr_eq(fw_session_get_data(client.session), &first);
    FWT_OK(fw_session_set_data(client.session, &second, destroy));
    ck_assert_int_eq(first, 1);
    stop();
    ck_assert_int_eq(first, 1);
    ck_assert_int_eq(second, 1);
}
END_TEST

int main(void)
{
    url_count = fw_transport_can("ws") ? 4 : 3;
    Suite *suite = suite_create("session life");
    TCase *tcase = fwt_tcase(suite, "session life", 60);
    tcase_add_loop_test(tcase, what_the_kernel_took_is_told, 0, url_count);
    tcase_add_loop_test(tcase, what_waits_at_the_end_is_told_as_closed, 0, url_count);
    tcase_add_loop_test(tcase, what_waits_too_long_is_told_as_late_and_goes_on, 0, url_count);
    tcase_add_loop_test(tcase, completions_are_exact_under_close_at_any_point, 0, 32);
    tcase_add_loop_test(tcase, frames_are_limited_by_number, 0, url_count);
    tcase_add_test(tcase, a_heartbeat_can_be_set_changed_and_stopped);
    tcase_add_test(tcase, missed_heartbeats_end_a_session);
    tcase_add_loop_test(tcase, quiet_sessions_end, 0, url_count);
    tcase_add_loop_test(tcase, a_peer_that_takes_nothing_is_slow, 0, PLAIN_COUNT);
    tcase_add_loop_test(tcase, finishing_sends_what_waits, 0, url_count);
    tcase_add_loop_test(tcase, finishing_has_a_deadline, 0, PLAIN_COUNT);
    tcase_add_loop_test(tcase, a_session_comes_back_with_what_was_kept, 0, url_count);
    tcase_add_test(tcase, what_was_stopped_stays_stopped);
    tcase_add_loop_test(tcase, attempts_may_be_limited_and_sends_refused, 0, url_count);
    tcase_add_test(tcase, what_is_kept_is_limited_and_ends_with_the_session);
    tcase_add_test(tcase, a_server_has_many_listeners);
    tcase_add_loop_test(tcase, a_finishing_server_lets_sessions_go_on, 0, url_count);
    tcase_add_loop_test(tcase, a_finishing_server_has_a_deadline, 0, url_count);
    tcase_add_loop_test(tcase, accepts_are_limited_by_the_second, 0, url_count);
    tcase_add_test(tcase, bound_data_is_destroyed_once);
    return fwt_main(suite);
}
