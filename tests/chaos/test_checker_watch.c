/* The checker of histories: what watches are told. */
#include "made_history.h"

#include <stdlib.h>
#include <string.h>

static uint64_t three[3];

/* A snapshot and three writes, of which the watcher saw some. */
static void writes(bool first, bool second, bool third)
{
    bool seen[3] = {first, second, third};
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    for (size_t i = 0; i < 3; i++)
        three[i] = hist_done(0, CHAOS_PUT, i == 2 ? "l" : "k", 0, 5 + (int64_t)i);
    for (size_t i = 0; i < 3; i++)
        if (seen[i])
            hist_event(2, FW_KV_PUT, 2 + (uint32_t)i, i == 2 ? "l" : "k", 5 + (int64_t)i, three[i]);
    hist_left("k", three[1], 6);
    hist_left("l", three[2], 7);
}

START_TEST(a_watch_sees_all)
{
    writes(true, true, true);
    hist_end(2, 9);
    hist_passes();
}
END_TEST

START_TEST(a_watch_has_no_gap)
{
    writes(false, true, true);
    hist_end(2, 9);
    hist_breaks("gap");
}
END_TEST

START_TEST(a_store_that_merges_may_leave_out_what_was_overwritten)
{
    hist_all.sees_every_change = false;
    writes(false, true, true);
    hist_end(2, 9);
    hist_passes();
}
END_TEST

START_TEST(a_store_that_merges_keeps_the_last)
{
    hist_all.sees_every_change = false;
    writes(true, true, false);
    hist_end(2, 9);
    size_t breaches;
    char *text = hist_check(&breaches);
    ck_assert(strstr(text, "gap:") && strstr(text, "state:"));
    free(text);
}
END_TEST

START_TEST(an_event_comes_once)
{
    writes(true, true, true);
    hist_event(2, FW_KV_PUT, 8, "l", 7, three[2]);
    hist_end(2, 9);
    hist_breaks("sequence");
}
END_TEST

START_TEST(events_come_in_order)
{
    writes(false, true, false);
    hist_event(2, FW_KV_PUT, 8, "l", 7, three[2]);
    hist_event(2, FW_KV_PUT, 9, "k", 5, three[0]);
    hist_event(2, FW_KV_PUT, 10, "k", 6, three[1]);
    hist_end(2, 9);
    hist_breaks("sequence");
}
END_TEST

START_TEST(a_revision_is_not_split)
{
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    uint64_t op = hist_done(0, CHAOS_PAIR, "p", 0, 5);
    hist_event(2, FW_KV_PUT, 2, "p/a", 5, op);
    hist_event(2, FW_KV_PUT, 3, "p/b", 5, op);
    hist_end(2, 9);
    hist_left("p/a", op, 5);
    hist_left("p/b", op, 5);
    size_t breaches;
    char *text = hist_check(&breaches);
    ck_assert(strstr(text, "together:") && strstr(text, "sequence:"));
    free(text);
}
END_TEST

START_TEST(a_deletion_has_somebody_who_did_it)
{
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    uint64_t op = hist_done(0, CHAOS_PUT, "k", 0, 5);
    hist_event(2, FW_KV_PUT, 2, "k", 5, op);
    hist_event(2, FW_KV_DELETE, 3, "k", 6, 0);
    hist_event(2, FW_KV_PUT, 4, "k", 7, op);
    hist_end(2, 9);
    hist_left("k", op, 5);
    size_t breaches;
    char *text = hist_check(&breaches);
    ck_assert_ptr_nonnull(strstr(text, "k was deleted at 6 by nobody"));
    free(text);
}
END_TEST

START_TEST(what_a_watch_sees_was_written)
{
    writes(true, true, true);
    hist_event(2, FW_KV_PUT, 8, "m", 8, chaos_op_id(1, 3));
    hist_event(2, FW_KV_DELETE, 9, "m", 9, 0);
    hist_end(2, 10);
    hist_breaks("unwritten");
}
END_TEST

START_TEST(a_resync_covers_what_happened_meanwhile)
{
    writes(false, false, false);
    hist_event(2, FW_KV_STALE, 2, "", 0, 0);
    hist_event(2, FW_KV_RESYNC, 3, "", 0, 0);
    hist_event(2, FW_KV_PUT, 3, "k", 6, three[1]);
    hist_event(2, FW_KV_PUT, 3, "l", 7, three[2]);
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 3, "", 8, 0);
    hist_event(2, FW_KV_LIVE, 3, "", 8, 0);
    hist_end(2, 9);
    hist_passes();
}
END_TEST

START_TEST(a_resync_leaves_nothing_out)
{
    writes(false, false, false);
    hist_event(2, FW_KV_RESYNC, 3, "", 0, 0);
    hist_event(2, FW_KV_PUT, 3, "k", 6, three[1]);
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 3, "", 8, 0);
    hist_end(2, 9);
    hist_breaks("state");
}
END_TEST

START_TEST(a_resync_has_an_end)
{
    writes(true, true, true);
    hist_event(2, FW_KV_RESYNC, 8, "", 0, 0);
    hist_event(2, FW_KV_RESYNC, 9, "", 0, 0);
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 9, "", 8, 0);
    hist_end(2, 9);
    hist_breaks("form");
}
END_TEST

START_TEST(stale_and_live_alternate)
{
    writes(true, true, true);
    hist_event(2, FW_KV_LIVE, 8, "", 7, 0);
    hist_end(2, 9);
    hist_breaks("form");
}
END_TEST

START_TEST(a_watch_does_not_end)
{
    writes(true, true, true);
    hist_event(2, FW_KV_FATAL, 8, "", 0, 0);
    hist_end(2, 9);
    hist_breaks("form");
}
END_TEST

START_TEST(a_watch_does_not_stand_still)
{
    writes(true, true, true);
    hist_breaks("state");
}
END_TEST

START_TEST(a_wipe_is_noticed)
{
    writes(true, true, true);
    hist_all.wiped_from_ns = hist_all.wiped_ns = hist_now += HIST_SECOND;
    hist_event(2, FW_KV_STALE, 8, "", 0, 0);
    hist_event(2, FW_KV_RESYNC, 9, "", 0, 0);
    hist_event(2, FW_KV_DELETE, 9, "k", 2, 0);
    hist_event(2, FW_KV_DELETE, 9, "l", 2, 0);
    hist_event(2, FW_KV_END_OF_SNAPSHOT, 9, "", 2, 0);
    hist_event(2, FW_KV_LIVE, 9, "", 2, 0);
    uint64_t op = hist_done(0, CHAOS_PUT, "k", 0, 3);
    hist_event(2, FW_KV_PUT, 10, "k", 3, op);
    hist_event(2, FW_KV_PUT, 11, CHAOS_END_KEY, 4, 1);
    hist_all.final_count = 0;
    hist_left("k", op, 3);
    hist_passes();
}
END_TEST

START_TEST(a_wipe_that_nobody_notices_is_a_breach)
{
    writes(true, true, true);
    hist_all.wiped_from_ns = hist_all.wiped_ns = hist_now += HIST_SECOND;
    hist_end(2, 9);
    hist_breaks("wipe");
}
END_TEST

void add_watch_tests(TCase *tcase)
{
    tcase_add_test(tcase, a_watch_sees_all);
    tcase_add_test(tcase, a_watch_has_no_gap);
    tcase_add_test(tcase, a_store_that_merges_may_leave_out_what_was_overwritten);
    tcase_add_test(tcase, a_store_that_merges_keeps_the_last);
    tcase_add_test(tcase, an_event_comes_once);
    tcase_add_test(tcase, events_come_in_order);
    tcase_add_test(tcase, a_revision_is_not_split);
    tcase_add_test(tcase, a_deletion_has_somebody_who_did_it);
    tcase_add_test(tcase, what_a_watch_sees_was_written);
    tcase_add_test(tcase, a_resync_covers_what_happened_meanwhile);
    tcase_add_test(tcase, a_resync_leaves_nothing_out);
    tcase_add_test(tcase, a_resync_has_an_end);
    tcase_add_test(tcase, stale_and_live_alternate);
    tcase_add_test(tcase, a_watch_does_not_end);
    tcase_add_test(tcase, a_watch_does_not_stand_still);
    tcase_add_test(tcase, a_wipe_is_noticed);
    tcase_add_test(tcase, a_wipe_that_nobody_notices_is_a_breach);
}
