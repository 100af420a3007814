/* Channels, and broadcasts to many. */
#include "ends.h"

#include <fairway/channel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#define FEW  6
#define MANY 2000

static fw_server *server;
static bool server_gone;
static fw_session *sessions[MANY];
static end at_server[MANY];
static end *clients;
static size_t accepted, opened_all;
static fw_channel *channel;

static void on_session(fw_server *from, fw_session *session, void *arg)
{
    (void)from;
    (void)arg;
    sessions[accepted] = session;
    at_server[accepted].session = session;
    fw_session_set_events(session, &end_events, &at_server[accepted]);
    accepted++;
}

static void on_server_closed(fw_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone = true;
}

static void start(const char *url, size_t count, size_t max_queue_bytes)
{
    fw_server_options options = {.on_session = on_session,
                                 .on_closed = on_server_closed,
                                 .max_queue_bytes = max_queue_bytes};
    clients = calloc(count, sizeof *clients);
    FWT_OK(fw_server_new(fwt_loop, url, &options, &server));
    FWT_OK(fw_channel_create(&channel));
    for (size_t i = 0; i < count; i++) {
        end_dial(&clients[i], fw_server_url(server),
                 (fw_session_options){.dial_timeout_ms = 20000});
        fwt_run_count(&accepted, i + 1, ENDS_WAIT_MS); /* so that the i-th is the i-th */
    }
    opened_all = count;
}

static void stop(void)
{
    fw_server_close(server);
    fwt_run_until(&server_gone, ENDS_WAIT_MS);
    for (size_t i = 0; i < opened_all; i++)
        if (!clients[i].closed)
            end_close(&clients[i]);
    free(clients);
    fw_channel_destroy(channel);
}

static size_t kicked;

static void on_kick(fw_channel *from, fw_session *session, void *arg)
{
    (void)arg;
    ck_assert(!fw_channel_has(from, session));
    kicked++;
}

static void join_all(size_t count)
{
    for (size_t i = 0; i < count; i++)
        FWT_OK(fw_channel_join(channel, sessions[i], on_kick, NULL));
}

static struct {
    size_t count, ok, closed, limit;
    fw_session *order[MANY];
} told;

static void on_sent(fw_session *session, int status, void *arg)
{
    (void)arg;
    told.order[told.count++ % MANY] = session;
    told.ok += status == FW_OK;
    told.closed += status == FW_ECLOSED;
    told.limit += status == FW_ELIMIT;
}

START_TEST(members_join_leave_and_are_kicked)
{
    start("mem:channel", FEW, 0);
    ck_assert_uint_eq(fw_channel_len(channel), 0);
    join_all(FEW);
    join_all(FEW); /* again: nothing changes */
    ck_assert_uint_eq(fw_channel_len(channel), FEW);
    FWT_OK(fw_channel_exit(channel, sessions[0]));
    FWT_ERR(fw_channel_exit(channel, sessions[0]), FW_ENOTFOUND);
    FWT_OK(fw_channel_kick(channel, sessions[1]));
    FWT_ERR(fw_channel_kick(channel, sessions[1]), FW_ENOTFOUND);
    ck_assert_uint_eq(kicked, 1);
    FWT_OK(fw_channel_join(channel, sessions[2], NULL, NULL)); /* replaces on_kick */
    FWT_OK(fw_channel_kick(channel, sessions[2]));
    ck_assert_uint_eq(kicked, 1);
    ck_assert_uint_eq(fw_channel_len(channel), FEW - 3);
    fw_session_close(sessions[3], FW_ECANCELED);
    ck_assert_uint_eq(fw_channel_len(channel), FEW - 4);
    FWT_ERR(fw_channel_join(channel, sessions[3], NULL, NULL), FW_ECLOSED);
    end_close(&clients[4]);
    fwt_run_count(&at_server[4].closed, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(fw_channel_len(channel), FEW - 5);
    ck_assert_uint_eq(kicked, 1);
    ck_assert(fw_session_is_open(sessions[0]));
    stop();
}
END_TEST

START_TEST(a_session_is_in_many_channels)
{
    fw_channel *others[100];
    start("mem:channel", 2, 0);
    for (int i = 0; i < 100; i++) {
        FWT_OK(fw_channel_create(&others[i]));
        FWT_OK(fw_channel_join(others[i], sessions[0], NULL, NULL));
        FWT_OK(fw_channel_join(others[i], sessions[1], NULL, NULL));
    }
    fw_channel_destroy(others[50]);
    fw_session_close(sessions[0], FW_ECANCELED);
    for (int i = 0; i < 100; i++)
        if (i != 50)
            ck_assert_uint_eq(fw_channel_len(others[i]), 1);
    fwt_run_count(&at_server[0].closed, 1, ENDS_WAIT_MS);
    for (int i = 0; i < 100; i++)
        if (i != 50)
            fw_channel_destroy(others[i]);
    stop();
}
END_TEST

START_TEST(a_broadcast_reaches_all_but_its_sender)
{
    start("tcp://127.0.0.1:0", FEW, 0);
    join_all(FEW);
    size_t count;
    fw_broadcast broadcast = {
        .data = "hello", .len = 5, .except = sessions[2], .sent = on_sent, .timeout_ms = 60000};
    FWT_OK(fw_channel_broadcast(channel, &broadcast, &count));
    ck_assert_uint_eq(count, FEW - 1);
    ck_assert_uint_eq(told.count, 0); /* not before the call returns */
    fwt_run_count(&told.ok, FEW - 1, ENDS_WAIT_MS);
    for (size_t i = 0; i < FEW; i++)
        if (i != 2)
            fwt_run_count(&clients[i].frames, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(clients[2].frames, 0);
    fw_session_close(sessions[0], FW_ECANCELED);
    FWT_OK(fw_channel_broadcast(channel, &broadcast, &count));
    ck_assert_uint_eq(count, FEW - 2);
    fw_broadcast big = {.data = calloc(1, 2 << 20), .len = 2 << 20};
    FWT_ERR(fw_channel_broadcast(channel, &big, &count), FW_EFRAMESIZE);
    ck_assert_uint_eq(count, 0);
    free((void *)big.data);
    fwt_run_count(&told.count, 2 * FEW - 3, ENDS_WAIT_MS);
    stop();
}
END_TEST

/* ---- changes in callbacks ---- */

static size_t visited;

static void change(fw_channel *from, fw_session *session, void *arg)
{
    (void)arg;
    if (!visited++) {
        FWT_OK(fw_channel_exit(from, session));     /* itself */
        FWT_OK(fw_channel_exit(from, sessions[1])); /* the next */
        fw_session_close(sessions[2], FW_ECANCELED);
        FWT_OK(fw_channel_join(from, session, NULL, NULL)); /* at the end: not visited */
    }
}

static void destroy(fw_channel *from, fw_session *session, void *arg)
{
    (void)session;
    (void)arg;
    visited++;
    fw_channel_destroy(from);
    channel = NULL;
}

static void kick_all(fw_channel *from, fw_session *session, void *arg)
{
    (void)arg;
    visited++;
    FWT_OK(fw_channel_kick(from, session));
    size_t before = visited;
    fw_channel_each(from, kick_all, NULL); /* a walk in a walk */
    (void)before;
}

START_TEST(a_walk_survives_changes)
{
    start("mem:channel", FEW, 0);
    join_all(FEW);
    fw_channel_each(channel, change, NULL);
    ck_assert_uint_eq(visited, FEW - 2);
    ck_assert_uint_eq(fw_channel_len(channel), FEW - 2);
    visited = 0;
    fw_channel_each(channel, kick_all, NULL);
    ck_assert_uint_eq(visited, FEW - 2);
    ck_assert_uint_eq(fw_channel_len(channel), 0);
    join_all(2);
    visited = 0;
    fw_channel_each(channel, destroy, NULL);
    ck_assert_uint_eq(visited, 1);
    stop();
}
END_TEST

/* Random changes while walks and broadcasts go on, against a simple model. */
static bool model[FEW];
static size_t wanted_visits;

static void shuffle(fw_channel *from, fw_session *session, void *arg)
{
    (void)arg;
    visited++;
    size_t self = 0, other = (size_t)rand() % FEW;
    while (sessions[self] != session)
        self++;
    ck_assert(model[self]); /* who has left is not visited */
    if (rand() % 2 && model[other]) {
        FWT_OK(rand() % 2 ? fw_channel_exit(from, sessions[other])
                          : fw_channel_kick(from, sessions[other]));
        model[other] = false;
    } else {
        FWT_OK(fw_channel_join(from, sessions[other], on_kick, NULL));
        model[other] = true;
    }
}

START_TEST(random_changes_agree_with_a_model)
{
    srand(4711);
    start("mem:channel", FEW, 0);
    for (int round = 0; round < 500; round++) {
        visited = 0;
        wanted_visits = fw_channel_len(channel);
        fw_channel_each(channel, shuffle, NULL);
        ck_assert_uint_le(visited, wanted_visits);
        size_t len = 0;
        for (size_t i = 0; i < FEW; i++) {
            ck_assert_int_eq(model[i], fw_channel_has(channel, sessions[i]));
            len += model[i];
        }
        ck_assert_uint_eq(fw_channel_len(channel), len);
        if (len < 2) {
            join_all(FEW);
            memset(model, true, sizeof model);
        }
    }
    stop();
}
END_TEST

/* ---- many ---- */

/* As many as the descriptors allow; both ends are here. */
static size_t many(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    size_t possible = limit.rlim_cur > 200 ? (limit.rlim_cur - 100) / 2 : 50;
    return possible < MANY ? possible : MANY;
}

/* One of them does not read. The others get everything, the slow one is passed over when its queue
 * is full, or closed. */
START_TEST(a_slow_consumer_holds_nobody_up)
{
    static char block[32768];
    size_t count = many(), slow = count / 2, rounds = 0, got, wanted_ok = 0;
    start("tcp://127.0.0.1:0", count, 256 * 1024);
    join_all(count);
    fw_session_read_stop(clients[slow].session);
    fw_broadcast broadcast = {.data = block, .len = 64, .sent = on_sent, .close_slow = _i == 1};
    /* The kernel's buffers of that one are filled first. */
    while (!fw_session_send(sessions[slow], block, sizeof block) || rounds < 3) {
        fwt_run_for(1);
        rounds++;
    }
    ck_assert_uint_gt(fw_session_queued_bytes(sessions[slow]), 0);
    for (int i = 0; i < 5; i++) {
        FWT_OK(fw_channel_broadcast(channel, &broadcast, &got));
        wanted_ok += count - 1;
        fwt_run_count(&told.ok, wanted_ok, ENDS_WAIT_MS);
    }
    for (size_t i = 0; i < count; i++)
        if (i != slow)
            fwt_run_count(&clients[i].frames, 5, ENDS_WAIT_MS);
    fwt_run_count(&told.limit, _i == 1 ? 1 : 5, ENDS_WAIT_MS);
    if (_i == 1) {
        ck_assert_uint_eq(fw_channel_len(channel), count - 1);
        fwt_run_count(&at_server[slow].closed, 1, ENDS_WAIT_MS);
        ck_assert_int_eq(at_server[slow].reason, FW_ESLOW);
    } else {
        ck_assert_uint_eq(fw_channel_len(channel), count);
        ck_assert_uint_eq(at_server[slow].closed, 0);
    }
    stop();
}
END_TEST

/* A large frame is held once, not two thousand times, while it waits. */
START_TEST(a_frame_is_shared_by_all_queues)
{
    static char block[1 << 20];
    size_t count = many() < 500 ? many() : 500, got;
    start("mem:channel", count, 64 << 20);
    join_all(count);
    for (size_t i = 0; i < count; i++)
        fw_session_read_stop(clients[i].session);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    fw_broadcast broadcast = {.data = block, .len = sizeof block - 64, .sent = on_sent};
    FWT_OK(fw_channel_broadcast(channel, &broadcast, &got));
    getrusage(RUSAGE_SELF, &after);
    ck_assert_uint_eq(got, count);
    /* Copies would be 500 MiB; the first flush has not begun. */
    ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 50 * 1024);
    for (size_t i = 0; i < count; i += 2)
        fw_session_close(sessions[i], FW_ECANCELED);
    for (size_t i = 1; i < count; i += 2)
        fw_session_read_start(clients[i].session);
    fwt_run_count(&told.count, count, ENDS_WAIT_MS);
    ck_assert_uint_eq(told.closed, (count + 1) / 2);
    ck_assert_uint_eq(told.ok, count / 2);
    for (size_t i = 1; i < count; i += 2)
        fwt_run_count(&clients[i].frames, 1, ENDS_WAIT_MS);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *tcase = fwt_tcase(suite, "channel", 60);
    tcase_add_test(tcase, members_join_leave_and_are_kicked);
    tcase_add_test(tcase, a_session_is_in_many_channels);
    tcase_add_test(tcase, a_broadcast_reaches_all_but_its_sender);
    tcase_add_test(tcase, a_walk_survives_changes);
    tcase_add_test(tcase, random_changes_agree_with_a_model);
    tcase_add_loop_test(tcase, a_slow_consumer_holds_nobody_up, 0, 2);
    tcase_add_test(tcase, a_frame_is_shared_by_all_queues);
    return fwt_main(suite);
}
