/* Back-pressure, and closing inside events. */
#include "trant.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PIECE 8000

static size_t piece(void)
{
    return PIECE < trant_most_message() ? PIECE : trant_most_message();
}

/* Writes until the queue is over its high-water mark, and stays so. */
static size_t fill(trant_end *end)
{
    size_t sent = 0;
    for (int quiet = 0; quiet < 20; quiet++) {
        while (!fw_conn_congested(end->conn)) {
            trant_write(end, piece(), sent);
            sent += piece();
            quiet = 0;
            ck_assert_uint_lt(sent, 1u << 30);
        }
        fwt_run_for(5);
    }
    return sent;
}

START_TEST(a_reader_that_stops_slows_the_writer)
{
    trant_listener listener = {.wishes = {.keep = true}};
    trant_listen(&listener, _i);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, _i, 0, &end);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    fw_conn_read_stop(other->conn);
    size_t sent = fill(&end), stood = other->received, drained = end.drains;
    fwt_run_for(100);
    ck_assert_uint_eq(other->received, stood);
    ck_assert(fw_conn_congested(end.conn));
    ck_assert_uint_gt(fw_conn_queued_bytes(end.conn), 512 * 1024);
    fw_conn_read_start(other->conn);
    fwt_run_count(&other->received, sent, TRANT_WAIT_MS);
    ck_assert_uint_gt(end.drains, drained);
    ck_assert(!fw_conn_congested(end.conn));
    trant_check(other->bytes, sent, 0);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

static void stop_reading(trant_end *end, const uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    fw_conn_read_stop(end->conn);
}

/* One event for each start, though more has come. */
START_TEST(reading_stops_inside_the_event)
{
    trant_listener listener = {.wishes = {.keep = true, .on_data = stop_reading}};
    trant_listen(&listener, _i);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, _i, 0, &end);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    size_t total = 0;
    for (int i = 0; i < 50; i++) {
        trant_write(&end, 700, total);
        total += 700;
        fwt_run_for(1);
    }
    for (size_t events = 1; other->received < total; events++) {
        fwt_run_count(&other->messages, events, TRANT_WAIT_MS);
        fwt_run_for(5);
        ck_assert_uint_eq(other->messages, events);
        fw_conn_read_start(other->conn);
    }
    trant_check(other->bytes, total, 0);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

static void close_it(trant_end *end)
{
    fw_conn_close(end->conn, FW_ELIMIT);
    fw_conn_close(end->conn, FW_EDEADLINE); /* the first reason stands */
    FWT_ERR(fw_conn_write(end->conn, "x", 1), FW_ECLOSED);
}

static void close_on_data(trant_end *end, const uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    close_it(end);
}

START_TEST(closed_inside_on_open)
{
    trant_listener listener = {.listener = NULL};
    trant_listen(&listener, _i);
    trant_end end = {.on_open = close_it};
    trant_dial(listener.url, _i, 0, &end);
    trant_write(&end, 100, 0);
    fwt_run_until(&end.closed, TRANT_WAIT_MS);
    ck_assert_int_eq(end.reason, FW_ELIMIT);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(closed_inside_on_accept)
{
    trant_listener listener = {.close_at_once = true};
    trant_listen(&listener, _i);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, _i, 0, &end);
    trant_write(&end, 1, 0); /* where only the first datagram tells that somebody is there */
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&other->closed, TRANT_WAIT_MS);
    if (!trant_scheme_under_test.connectionless)
        fwt_run_until(&end.closed, TRANT_WAIT_MS);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(closed_inside_on_data)
{
    trant_listener listener = {.wishes = {.on_data = close_on_data}};
    trant_listen(&listener, _i);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, _i, 0, &end);
    for (int i = 0; i < 20; i++)
        trant_write(&end, piece(), 0);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&other->closed, TRANT_WAIT_MS);
    ck_assert_int_eq(other->reason, FW_ELIMIT);
    ck_assert_uint_eq(other->messages, 1);
    if (!trant_scheme_under_test.connectionless)
        fwt_run_until(&end.closed, TRANT_WAIT_MS);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(closed_inside_on_drain)
{
    trant_listener listener = {.listener = NULL};
    trant_listen(&listener, _i);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, _i, 0, &end);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    fw_conn_read_stop(other->conn);
    fill(&end);
    end.on_drain = close_it;
    fw_conn_read_start(other->conn);
    fwt_run_until(&end.closed, TRANT_WAIT_MS);
    ck_assert_int_eq(end.reason, FW_ELIMIT);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

void trant_add_flow_tests(Suite *suite)
{
    TCase *tcase = fwt_tcase(suite, "flow", 120);
    unsigned can = trant_abilities();
    int from = can & FW_TRANSPORT_STREAM ? 0 : 1, to = can & FW_TRANSPORT_MESSAGES ? 2 : 1;
    if (can & FW_TRANSPORT_RELIABLE && !trant_scheme_under_test.connectionless) {
        tcase_add_loop_test(tcase, a_reader_that_stops_slows_the_writer, from, to);
        tcase_add_loop_test(tcase, reading_stops_inside_the_event, from, to);
        tcase_add_loop_test(tcase, closed_inside_on_drain, from, to);
    }
    tcase_add_loop_test(tcase, closed_inside_on_open, from, to);
    tcase_add_loop_test(tcase, closed_inside_on_accept, from, to);
    tcase_add_loop_test(tcase, closed_inside_on_data, from, to);
}
