/* The checker of histories: locks and leases. */
#include "made_history.h"

static void lock(size_t client, int64_t token)
{
    hist_hold(client, CHAOS_LOCK_ASKED, 0);
    hist_hold(client, CHAOS_LOCK_ACQUIRED, token);
}

static uint64_t guarded(size_t client, int64_t token, int64_t revision)
{
    uint64_t op = hist_invoke(client, CHAOS_GUARDED, "g", 0);
    hist_records[client][hist_clients[client].count - 1].token = token;
    hist_answer(client, op, FW_OK, revision);
    return op;
}

START_TEST(locks_that_follow_one_another_pass)
{
    lock(0, 10);
    guarded(0, 10, 11);
    hist_hold(0, CHAOS_LOCK_RELEASED, 10);
    lock(1, 13);
    hist_left("g", guarded(1, 13, 14), 14);
    hist_hold(1, CHAOS_LOCK_LOST, 13);
    lock(0, 15);
    hist_passes();
}
END_TEST

START_TEST(tokens_grow)
{
    lock(0, 10);
    hist_hold(0, CHAOS_LOCK_RELEASED, 10);
    lock(1, 9);
    hist_breaks("token");
}
END_TEST

START_TEST(tokens_are_unique)
{
    hist_hold(1, CHAOS_LOCK_ASKED, 0);
    lock(0, 10);
    hist_hold(0, CHAOS_LOCK_RELEASED, 10);
    hist_hold(1, CHAOS_LOCK_ACQUIRED, 10);
    hist_breaks("token");
}
END_TEST

START_TEST(two_do_not_hold_a_lock)
{
    lock(0, 10);
    lock(1, 12);
    hist_now += 3 * HIST_SECOND;
    hist_hold(0, CHAOS_LOCK_RELEASED, 10);
    hist_breaks("exclusion");
}
END_TEST

START_TEST(a_holder_that_slept_may_be_told_late)
{
    hist_clients[0].paused = true;
    lock(0, 10);
    lock(1, 12);
    hist_now += 3 * HIST_SECOND;
    hist_hold(0, CHAOS_LOCK_LOST, 10);
    hist_passes();
}
END_TEST

START_TEST(a_holder_that_slept_is_told)
{
    hist_clients[0].paused = true;
    lock(0, 10);
    lock(1, 12);
    hist_breaks("told");
}
END_TEST

START_TEST(an_old_token_is_fenced)
{
    hist_clients[0].paused = true;
    lock(0, 10);
    lock(1, 12);
    hist_left("g", guarded(0, 10, 13), 13);
    hist_hold(0, CHAOS_LOCK_LOST, 10);
    hist_breaks("fence");
}
END_TEST

START_TEST(guarded_writes_have_the_order_of_their_tokens)
{
    hist_clients[0].paused = true;
    lock(0, 10);
    uint64_t late = hist_invoke(0, CHAOS_GUARDED, "g", 0);
    hist_records[0][hist_clients[0].count - 1].token = 10;
    lock(1, 12);
    guarded(1, 12, 13);
    hist_answer(0, late, FW_OK, 14);
    hist_hold(0, CHAOS_LOCK_LOST, 10);
    hist_left("g", late, 14);
    hist_breaks("fence");
}
END_TEST

static uint64_t leased(int64_t lease, int64_t revision)
{
    hist_hold(0, CHAOS_LEASE_GRANTED, lease);
    uint64_t op = hist_invoke(0, CHAOS_LEASED, "lease/0", 0);
    hist_records[0][hist_clients[0].count - 1].token = lease;
    hist_answer(0, op, FW_OK, revision);
    return op;
}

START_TEST(what_is_held_is_there)
{
    hist_left("lease/0", leased(77, 5), 5);
    hist_passes();
}
END_TEST

START_TEST(a_loss_is_told)
{
    leased(77, 5);
    hist_breaks("lease");
}
END_TEST

START_TEST(what_is_lost_goes)
{
    hist_left("lease/0", leased(77, 5), 5);
    hist_hold(0, CHAOS_LEASE_LOST, 77);
    hist_breaks("lease");
}
END_TEST

START_TEST(what_a_killed_client_held_goes)
{
    hist_left("lease/0", leased(77, 5), 5);
    hist_clients[0].killed_ns = hist_now;
    hist_breaks("lease");
}
END_TEST

void add_hold_tests(TCase *tcase)
{
    tcase_add_test(tcase, locks_that_follow_one_another_pass);
    tcase_add_test(tcase, tokens_grow);
    tcase_add_test(tcase, tokens_are_unique);
    tcase_add_test(tcase, two_do_not_hold_a_lock);
    tcase_add_test(tcase, a_holder_that_slept_may_be_told_late);
    tcase_add_test(tcase, a_holder_that_slept_is_told);
    tcase_add_test(tcase, an_old_token_is_fenced);
    tcase_add_test(tcase, guarded_writes_have_the_order_of_their_tokens);
    tcase_add_test(tcase, what_is_held_is_there);
    tcase_add_test(tcase, a_loss_is_told);
    tcase_add_test(tcase, what_is_lost_goes);
    tcase_add_test(tcase, what_a_killed_client_held_goes);
}
