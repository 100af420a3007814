/* The checker of histories: a good one passes, and each rule is broken once. Here those of
 * operations. */
#include "made_history.h"

#include <stdlib.h>
#include <string.h>

START_TEST(a_good_history_passes)
{
    uint64_t a = hist_done(0, CHAOS_PUT, "k", 0, 5);
    hist_event(2, FW_KV_PUT, 1, "k", 5, a);
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 5, 0);
    hist_event(2, FW_KV_STALE, 2, "", 0, 0);
    hist_event(2, FW_KV_LIVE, 3, "", 5, 0);
    uint64_t lost = hist_invoke(1, CHAOS_PUT, "k", 0);
    hist_answer(1, lost, FW_EUNKNOWN, 0);
    uint64_t b = hist_done(0, CHAOS_CAS, "k", 6, 7);
    uint64_t never = hist_invoke(1, CHAOS_PUT, "l", 0);
    hist_answer(1, never, FW_EUNREACHABLE, 0);
    uint64_t pair = hist_done(1, CHAOS_PAIR, "p", 0, 8);
    hist_done(1, CHAOS_DELETE, "k", 0, 9);
    uint64_t get = hist_invoke(0, CHAOS_GET, "k", 0);
    hist_answer(0, get, FW_ENOTFOUND, 0);
    uint64_t c = hist_done(0, CHAOS_CAS, "k", 0, 10);
    hist_event(2, FW_KV_PUT, 4, "k", 6, lost);
    hist_event(2, FW_KV_PUT, 5, "k", 7, b);
    hist_event(2, FW_KV_PUT, 6, "p/b", 8, pair);
    hist_event(2, FW_KV_PUT, 6, "p/a", 8, pair);
    hist_event(2, FW_KV_DELETE, 6, "k", 9, 0);
    hist_event(2, FW_KV_PUT, 7, "k", 10, c);
    hist_end(2, 11);
    hist_left("end", 1, 11);
    hist_left("k", c, 10);
    hist_left("p/a", pair, 8);
    hist_left("p/b", pair, 8);
    hist_passes();
}
END_TEST

START_TEST(an_operation_is_answered_once)
{
    uint64_t op = hist_done(0, CHAOS_PUT, "k", 0, 5);
    hist_answer(0, op, FW_OK, 5);
    hist_left("k", op, 5);
    hist_breaks("answered");
}
END_TEST

START_TEST(an_operation_is_answered_at_all)
{
    (void)hist_invoke(0, CHAOS_PUT, "k", 0);
    hist_breaks("answered");
}
END_TEST

START_TEST(a_client_that_was_killed_owes_no_answer)
{
    (void)hist_invoke(0, CHAOS_PUT, "k", 0);
    hist_clients[0].killed_ns = hist_now;
    hist_passes();
}
END_TEST

START_TEST(an_operation_is_answered_in_time)
{
    uint64_t op = hist_invoke(0, CHAOS_GET, "k", 0);
    hist_now += 6 * HIST_SECOND;
    hist_answer(0, op, FW_EDEADLINE, 0);
    hist_breaks("answered");
}
END_TEST

START_TEST(revisions_grow_with_time)
{
    hist_left("k", hist_done(0, CHAOS_PUT, "k", 0, 6), 6);
    hist_left("l", hist_done(1, CHAOS_PUT, "l", 0, 5), 5);
    hist_breaks("order");
}
END_TEST

START_TEST(writes_at_the_same_time_have_any_order)
{
    uint64_t a = hist_invoke(0, CHAOS_PUT, "k", 0), b = hist_invoke(1, CHAOS_PUT, "l", 0);
    hist_answer(0, a, FW_OK, 6);
    hist_answer(1, b, FW_OK, 5);
    hist_left("k", a, 6);
    hist_left("l", b, 5);
    hist_passes();
}
END_TEST

START_TEST(revisions_are_unique)
{
    uint64_t a = hist_invoke(0, CHAOS_PUT, "k", 0), b = hist_invoke(1, CHAOS_PUT, "l", 0);
    hist_answer(0, a, FW_OK, 5);
    hist_answer(1, b, FW_OK, 5);
    hist_left("k", a, 5);
    hist_left("l", b, 5);
    hist_breaks("order");
}
END_TEST

START_TEST(a_read_is_not_stale)
{
    hist_done(0, CHAOS_PUT, "k", 0, 5);
    uint64_t b = hist_done(0, CHAOS_PUT, "k", 0, 6);
    uint64_t get = hist_invoke(1, CHAOS_GET, "k", 0);
    hist_answer(1, get, FW_OK, 5);
    hist_left("k", b, 6);
    hist_breaks("read");
}
END_TEST

START_TEST(an_acknowledged_write_is_there)
{
    hist_done(0, CHAOS_PUT, "k", 0, 5);
    hist_breaks("durable");
}
END_TEST

START_TEST(an_acknowledged_write_is_not_undone)
{
    uint64_t a = hist_done(0, CHAOS_PUT, "k", 0, 5);
    hist_done(0, CHAOS_PUT, "k", 0, 6);
    hist_left("k", a, 5);
    hist_breaks("durable");
}
END_TEST

START_TEST(what_is_left_was_written)
{
    hist_left("k", chaos_op_id(0, 7), 5);
    hist_breaks("unwritten");
}
END_TEST

START_TEST(what_was_not_done_is_not_left)
{
    uint64_t op = hist_invoke(0, CHAOS_PUT, "k", 0);
    hist_answer(0, op, FW_EUNREACHABLE, 0);
    hist_left("k", op, 5);
    hist_breaks("not-done");
}
END_TEST

START_TEST(a_comparison_that_fails_does_nothing)
{
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    uint64_t op = hist_invoke(0, CHAOS_GUARDED, "k", 0);
    hist_answer(0, op, FW_OK, 5);
    hist_records[0][1].succeeded = false;
    hist_event(2, FW_KV_PUT, 2, "k", 5, op);
    hist_event(2, FW_KV_DELETE, 3, "k", 6, 0);
    hist_end(2, 7);
    size_t breaches;
    char *text = hist_check(&breaches);
    ck_assert_ptr_nonnull(strstr(text, "not-done:"));
    free(text);
}
END_TEST

START_TEST(of_two_swaps_one_wins)
{
    hist_done(0, CHAOS_PUT, "k", 0, 5);
    hist_done(0, CHAOS_CAS, "k", 5, 6);
    hist_left("k", hist_done(1, CHAOS_CAS, "k", 5, 7), 7);
    hist_breaks("compare");
}
END_TEST

START_TEST(a_key_is_created_once)
{
    hist_done(0, CHAOS_CAS, "k", 0, 5);
    hist_left("k", hist_done(1, CHAOS_CAS, "k", 0, 6), 6);
    hist_breaks("compare");
}
END_TEST

static void add_operation_tests(TCase *tcase)
{
    tcase_add_test(tcase, a_good_history_passes);
    tcase_add_test(tcase, an_operation_is_answered_once);
    tcase_add_test(tcase, an_operation_is_answered_at_all);
    tcase_add_test(tcase, a_client_that_was_killed_owes_no_answer);
    tcase_add_test(tcase, an_operation_is_answered_in_time);
    tcase_add_test(tcase, revisions_grow_with_time);
    tcase_add_test(tcase, writes_at_the_same_time_have_any_order);
    tcase_add_test(tcase, revisions_are_unique);
    tcase_add_test(tcase, a_read_is_not_stale);
    tcase_add_test(tcase, an_acknowledged_write_is_there);
    tcase_add_test(tcase, an_acknowledged_write_is_not_undone);
    tcase_add_test(tcase, what_is_left_was_written);
    tcase_add_test(tcase, what_was_not_done_is_not_left);
    tcase_add_test(tcase, a_comparison_that_fails_does_nothing);
    tcase_add_test(tcase, of_two_swaps_one_wins);
    tcase_add_test(tcase, a_key_is_created_once);
}

int main(void)
{
    Suite *suite = suite_create("checker");
    TCase *tcase = tcase_create("rules");
    tcase_add_checked_fixture(tcase, hist_setup, NULL);
    suite_add_tcase(suite, tcase);
    add_operation_tests(tcase);
    add_watch_tests(tcase);
    add_hold_tests(tcase);
    return fwt_main(suite);
}
