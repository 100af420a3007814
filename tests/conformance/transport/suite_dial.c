/* Dialling and listening. */
#include "trant.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

START_TEST(nobody_listens)
{
    trant_listener listener = {.listener = NULL};
    trant_listen(&listener, false);
    fw_listener_close(listener.listener);
    fwt_run_until(&listener.closed, TRANT_WAIT_MS);
    trant_end end = {.conn = NULL};
    trant_dial(listener.url, false, 0, &end);
    fwt_run_until(&end.closed, TRANT_WAIT_MS);
    ck_assert(!end.opened);
    bool is_file = !strncmp(listener.url, "unix:", 5);
    ck_assert_int_eq(end.reason, is_file ? UV_ENOENT : UV_ECONNREFUSED);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(a_dial_is_cancelled)
{
    trant_listener listener = {.listener = NULL};
    trant_listen(&listener, _i);
    for (int turns = 0; turns < 6; turns++) {
        trant_end end = {.conn = NULL};
        trant_dial(listener.url, _i, 0, &end);
        if (turns)
            fwt_run_for((unsigned)turns - 1);
        bool opened = end.opened;
        if (end.conn)
            fw_conn_close(end.conn, FW_ELIMIT);
        fwt_run_until(&end.closed, TRANT_WAIT_MS);
        ck_assert(end.opened == opened); /* not after the close */
        ck_assert_int_eq(end.reason, FW_ELIMIT);
        trant_end_fini(&end);
    }
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(an_address_is_taken)
{
    char url[600];
    trant_scheme_under_test.listen_url(url, sizeof url);
    trant_listener first = {.listener = NULL};
    trant_listen_at(&first, url, false, 0, 0);
    /* The real port, where there is one, with the parameters of the first. */
    const char *params = strchr(url, '?');
    char taken[600];
    snprintf(taken, sizeof taken, "%s%s", fw_listener_url(first.listener), params ? params : "");
    fw_listener *second;
    FWT_ERR(fw_listener_new(fwt_loop, taken, &(fw_listener_options){.backlog = 1}, &second),
            UV_EADDRINUSE);
    trant_listener_fini(&first);
    trant_listener again = {.listener = NULL}; /* free again after the close */
    trant_listen_at(&again, url, false, 0, 0);
    trant_listener_fini(&again);
}
END_TEST

START_TEST(an_unknown_parameter_is_refused)
{
    char url[700];
    trant_scheme_under_test.listen_url(url, 600);
    strcat(url, strchr(url, '?') ? "&no_such=1" : "?no_such=1");
    fw_listener *listener;
    FWT_ERR(fw_listener_new(fwt_loop, url, &(fw_listener_options){.backlog = 1}, &listener),
            FW_EOPTION);
    trant_listener real = {.listener = NULL};
    trant_listen(&real, false);
    snprintf(url, sizeof url, "%s%cno_such=1", real.url, strchr(real.url, '?') ? '&' : '?');
    fw_conn *conn;
    FWT_ERR(fw_conn_dial(fwt_loop, url, &(fw_conn_options){.arg = NULL}, &conn), FW_EOPTION);
    trant_listener_fini(&real);
}
END_TEST

START_TEST(messages_are_refused_where_there_are_none)
{
    if (trant_abilities() & FW_TRANSPORT_MESSAGES)
        return;
    char url[600];
    trant_scheme_under_test.listen_url(url, sizeof url);
    fw_listener *listener;
    FWT_ERR(fw_listener_new(fwt_loop, url, &(fw_listener_options){.messages = true}, &listener),
            FW_EOPTION);
}
END_TEST

START_TEST(a_listener_closes_and_its_connections_go_on)
{
    trant_listener listener = {.wishes = {.echo = true}};
    trant_listen(&listener, _i);
    trant_end end = {.keep = true};
    trant_dial(listener.url, _i, 0, &end);
    fwt_run_until(&end.opened, TRANT_WAIT_MS);
    trant_write(&end, 10, 0);
    fwt_run_count(&end.received, 10, TRANT_WAIT_MS);
    fw_listener_close(listener.listener);
    fw_listener_close(listener.listener); /* idempotent */
    trant_write(&end, 90, 10);
    fwt_run_count(&end.received, 100, TRANT_WAIT_MS);
    trant_check(end.bytes, 100, 0);
    ck_assert_ptr_eq(strstr(fw_conn_peer(end.conn), trant_scheme_under_test.name),
                     fw_conn_peer(end.conn));
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(written_before_it_is_open)
{
    trant_listener listener = {.wishes = {.echo = true}};
    trant_listen(&listener, _i);
    trant_end end = {.keep = true};
    trant_dial(listener.url, _i, 0, &end);
    trant_write(&end, 1000, 0);
    ck_assert_uint_ge(fw_conn_queued_bytes(end.conn), 1000);
    fwt_run_count(&end.received, 1000, TRANT_WAIT_MS);
    trant_check(end.bytes, 1000, 0);
    trant_end_fini(&end);
    trant_listener_fini(&listener);
}
END_TEST

void trant_add_dial_tests(Suite *suite)
{
    TCase *tcase = fwt_tcase(suite, "dial", 120);
    unsigned can = trant_abilities();
    int from = can & FW_TRANSPORT_STREAM ? 0 : 1, to = can & FW_TRANSPORT_MESSAGES ? 2 : 1;
    if (!trant_scheme_under_test.connectionless)
        tcase_add_test(tcase, nobody_listens);
    tcase_add_loop_test(tcase, a_dial_is_cancelled, from, to);
    tcase_add_test(tcase, an_address_is_taken);
    tcase_add_test(tcase, an_unknown_parameter_is_refused);
    tcase_add_test(tcase, messages_are_refused_where_there_are_none);
    tcase_add_loop_test(tcase, a_listener_closes_and_its_connections_go_on, from, to);
    tcase_add_loop_test(tcase, written_before_it_is_open, from, to);
}
