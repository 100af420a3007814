/* What is written arrives: bytes, messages, ends. */
#include "trant.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

START_TEST(everything_comes_back_in_order)
{
    enum { TOTAL = 300000 };
    trant_listener listener = {.wishes = {.echo = true}};
    trant_listen(&listener, _i);
    trant_end end = {.keep = true};
    trant_dial(listener.url, _i, 0, &end);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    size_t at = 0, round = 0;
    while (at < TOTAL) {
        size_t len = 1 + (round * 7919) % 5000, most = trant_most_message();
        len = len < most ? len : most;
        len = len < TOTAL - at ? len : TOTAL - at;
        trant_write(&end, len, at);
        at += len;
        if (++round % 8 == 0)
            fwt_run_count(&end.received, at, TRANT_WAIT_MS);
    }
    fwt_run_count(&end.received, TOTAL, TRANT_WAIT_MS);
    trant_check(end.bytes, TOTAL, 0);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

static void check_place(trant_end *end, const uint8_t *data, size_t len)
{
    trant_check(data, len, end->received - len);
}

/* Much more than any queue, both ways at once. */
START_TEST(bulk_goes_both_ways)
{
    size_t total =
        trant_scheme_under_test.bulk_bytes ? trant_scheme_under_test.bulk_bytes : 32u * 1024 * 1024;
    size_t piece = 60000 < trant_most_message() ? 60000 : trant_most_message();
    trant_listener listener = {.wishes = {.on_data = check_place}};
    trant_listen(&listener, _i);
    trant_end end = {.on_data = check_place};
    trant_dial(listener.url, _i, 0, &end);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    trant_end *ends[] = {&end, other};
    size_t sent[] = {0, 0};
    uint64_t start_ms = uv_hrtime() / 1000000;
    while (end.received < total || other->received < total) {
        for (int i = 0; i < 2; i++) {
            while (sent[i] < total && !fw_conn_congested(ends[i]->conn)) {
                size_t len = total - sent[i] < piece ? total - sent[i] : piece;
                trant_write(ends[i], len, sent[i]);
                sent[i] += len;
            }
        }
        fwt_run_for(1);
        ck_assert(!end.closed && !other->closed);
        ck_assert_uint_lt(uv_hrtime() / 1000000 - start_ms, 100000);
    }
    ck_assert_uint_eq(end.received, total);
    ck_assert_uint_eq(other->received, total);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

static size_t size_of(size_t number)
{
    size_t most = trant_most_message();
    return number % 10 == 9   ? most
           : number % 10 == 3 ? 0
                              : (number * 997) % (most < 4000 ? most : 4000);
}

static void check_message(trant_end *end, const uint8_t *data, size_t len)
{
    size_t number = end->messages - 1;
    ck_assert_uint_eq(len, size_of(number));
    trant_check(data, len, number);
}

START_TEST(messages_keep_their_bounds)
{
    enum { COUNT = 100 };
    trant_listener listener = {.wishes = {.echo = true, .on_data = check_message}};
    trant_listen(&listener, true);
    trant_end end = {.on_data = check_message};
    trant_dial(listener.url, true, 0, &end);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    for (size_t i = 0; i < COUNT; i++) {
        trant_write(&end, size_of(i), i);
        fwt_run_count(&end.messages, i + 1 > 4 ? i + 1 - 4 : 0, TRANT_WAIT_MS);
    }
    fwt_run_count(&end.messages, COUNT, TRANT_WAIT_MS);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(a_message_over_the_limit)
{
    char url[600];
    trant_scheme_under_test.listen_url(url, sizeof url);
    trant_listener listener = {.listener = NULL};
    trant_listen_at(&listener, url, true, 500, 0);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, true, 600, &end);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    uint8_t data[601] = {1};
    FWT_ERR(fw_conn_write(end.conn, data, 601), FW_EFRAMESIZE);
    ck_assert_ptr_null(fw_conn_reserve(end.conn, 601));
    FWT_OK(fw_conn_write(end.conn, data, 500));
    fwt_run_count(&other->messages, 1, TRANT_WAIT_MS);
    FWT_OK(fw_conn_write(end.conn, data, 501));
    fwt_run_until(&other->closed, TRANT_WAIT_MS);
    ck_assert_int_eq(other->reason, FW_EFRAMESIZE);
    ck_assert_uint_eq(other->messages, 1);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

static void answer_and_end(trant_end *end)
{
    trant_write(end, 100000, 7);
    FWT_OK(fw_conn_shutdown(end->conn));
    FWT_ERR(fw_conn_write(end->conn, "x", 1), FW_ECLOSED);
    FWT_ERR(fw_conn_shutdown(end->conn), FW_ECLOSED);
}

START_TEST(each_side_ends_by_itself)
{
    trant_listener listener = {
        .wishes = {.wants_end = true, .on_end = answer_and_end, .keep = true}};
    trant_listen(&listener, false);
    trant_end end = {.wants_end = true, .keep = true};
    trant_dial(listener.url, false, 0, &end);
    trant_write(&end, 100000, 0);
    FWT_OK(fw_conn_shutdown(end.conn)); /* before it is open */
    FWT_ERR(fw_conn_write(end.conn, "x", 1), FW_ECLOSED);
    fwt_run_until(&end.closed, TRANT_WAIT_MS);
    trant_end *other = listener.ends[0];
    fwt_run_until(&other->closed, TRANT_WAIT_MS);
    ck_assert(end.shut && other->shut && other->ended);
    ck_assert_int_eq(end.reason, UV_EOF);
    ck_assert_int_eq(other->reason, UV_EOF);
    ck_assert_uint_eq(other->received, 100000);
    trant_check(other->bytes, 100000, 0);
    ck_assert_uint_eq(end.received, 100000);
    trant_check(end.bytes, 100000, 7);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(an_end_closes_who_does_not_ask_for_it)
{
    trant_listener listener = {.wishes = {.keep = true}};
    trant_listen(&listener, false);
    trant_end end = {.wants_end = true};
    trant_dial(listener.url, false, 0, &end);
    trant_write(&end, 5000, 0);
    FWT_OK(fw_conn_shutdown(end.conn));
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_until(&other->closed, TRANT_WAIT_MS);
    ck_assert_int_eq(other->reason, UV_EOF);
    ck_assert_uint_eq(other->received, 5000);
    fwt_run_until(&end.closed, TRANT_WAIT_MS); /* both sides have ended */
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(half_close_is_refused_where_there_is_none)
{
    if (trant_abilities() & FW_TRANSPORT_HALF_CLOSE)
        return;
    trant_listener listener = {.listener = NULL};
    trant_listen(&listener, false);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, false, 0, &end);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    FWT_ERR(fw_conn_shutdown(end.conn), FW_EUNSUPPORTED);
    FWT_OK(fw_conn_write(end.conn, "x", 1));
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

void trant_add_data_tests(Suite *suite)
{
    TCase *tcase = fwt_tcase(suite, "data", 240);
    unsigned can = trant_abilities();
    int from = can & FW_TRANSPORT_STREAM ? 0 : 1, to = can & FW_TRANSPORT_MESSAGES ? 2 : 1;
    tcase_add_loop_test(tcase, everything_comes_back_in_order, from, to);
    /* Who learns of a dial by its first data only cannot be waited for before. */
    bool meets = !trant_scheme_under_test.connectionless;
    if (can & FW_TRANSPORT_RELIABLE && meets)
        tcase_add_loop_test(tcase, bulk_goes_both_ways, from, to);
    if (can & FW_TRANSPORT_MESSAGES) {
        tcase_add_test(tcase, messages_keep_their_bounds);
        if (meets)
            tcase_add_test(tcase, a_message_over_the_limit);
    }
    if (can & FW_TRANSPORT_HALF_CLOSE) {
        tcase_add_test(tcase, each_side_ends_by_itself);
        tcase_add_test(tcase, an_end_closes_who_does_not_ask_for_it);
    }
    tcase_add_test(tcase, half_close_is_refused_where_there_is_none);
}
