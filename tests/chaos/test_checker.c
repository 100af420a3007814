/* The checker of histories: a good one passes, and each rule is broken once. */
#include "fwt.h"

#include "history.h"

#include <stdlib.h>
#include <string.h>

#define CLIENTS 3
#define RECORDS 64
#define SECOND  UINT64_C(1000000000)

static chaos_record records[CLIENTS][RECORDS];
static chaos_client_history clients[CLIENTS];
static chaos_pair final[16];
static chaos_histories histories;
static uint32_t seqs[CLIENTS];
static uint64_t now;

static void setup(void)
{
    memset(records, 0, sizeof records);
    memset(clients, 0, sizeof clients);
    memset(seqs, 0, sizeof seqs);
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i].records = records[i];
    histories = (chaos_histories){.clients = clients,
                                  .client_count = CLIENTS,
                                  .final = final,
                                  .sees_every_change = true,
                                  .answer_ms = 5000};
    now = SECOND;
}

static chaos_record *add(size_t client, chaos_what what, const char *key)
{
    ck_assert_uint_lt(clients[client].count, RECORDS);
    chaos_record *record = &records[client][clients[client].count++];
    *record = (chaos_record){.time_ns = now += 1000000, .what = (uint8_t)what};
    snprintf(record->key, sizeof record->key, "%s", key);
    return record;
}

static uint64_t invoke(size_t client, chaos_kind kind, const char *key, int64_t previous)
{
    chaos_record *record = add(client, CHAOS_INVOKE, key);
    record->kind = (uint8_t)kind;
    record->previous = previous;
    record->op = chaos_op_id(client, ++seqs[client]);
    return record->op;
}

static void answer(size_t client, uint64_t op, int status, int64_t revision)
{
    chaos_record *record = add(client, CHAOS_RETURN, "");
    record->op = op;
    record->status = status;
    record->succeeded = !status;
    record->revision = revision;
}

static uint64_t done(size_t client, chaos_kind kind, const char *key, int64_t previous,
                     int64_t revision)
{
    uint64_t op = invoke(client, kind, key, previous);
    answer(client, op, FW_OK, revision);
    return op;
}

static void event(size_t client, fw_kv_event_type type, uint32_t batch, const char *key,
                  int64_t revision, uint64_t op)
{
    chaos_record *record = add(client, CHAOS_EVENT, key);
    record->event = (uint8_t)type;
    record->batch = batch;
    record->revision = revision;
    record->op = op;
}

static void hold(size_t client, chaos_what what, int64_t token)
{
    add(client, what, "lock")->token = token;
}

static void left(const char *key, uint64_t op, int64_t revision)
{
    chaos_pair *pair = &final[histories.final_count++];
    *pair = (chaos_pair){.op = op, .revision = revision};
    snprintf(pair->key, sizeof pair->key, "%s", key);
}

/* The watcher has seen the director's last word. */
static void end(size_t client, int64_t revision)
{
    event(client, FW_KV_PUT, 1000, CHAOS_END_KEY, revision, 1);
}

static char *check(size_t *ret_breaches)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    histories.final_ns = now += 1000000;
    *ret_breaches = chaos_check(&histories, out);
    fclose(out);
    return text;
}

static void passes(void)
{
    size_t breaches;
    char *text = check(&breaches);
    ck_assert_msg(!breaches, "%s", text);
    free(text);
}

/* One rule is broken, and no other. */
static void breaks(const char *rule)
{
    size_t breaches;
    char *text = check(&breaches), *line = text;
    ck_assert_msg(breaches > 0, "\"%s\" was not noticed", rule);
    while (*line) {
        ck_assert_msg(!strncmp(line, rule, strlen(rule)) && line[strlen(rule)] == ':',
                      "\"%s\" was wanted, and not: %s", rule, line);
        line = strchr(line, '\n') + 1;
    }
    free(text);
}

START_TEST(a_good_history_passes)
{
    uint64_t a = done(0, CHAOS_PUT, "k", 0, 5);
    event(2, FW_KV_PUT, 1, "k", 5, a);
    event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 5, 0);
    event(2, FW_KV_STALE, 2, "", 0, 0);
    event(2, FW_KV_LIVE, 3, "", 5, 0);
    uint64_t lost = invoke(1, CHAOS_PUT, "k", 0);
    answer(1, lost, FW_EUNKNOWN, 0);
    uint64_t b = done(0, CHAOS_CAS, "k", 6, 7);
    uint64_t never = invoke(1, CHAOS_PUT, "l", 0);
    answer(1, never, FW_EUNREACHABLE, 0);
    uint64_t pair = done(1, CHAOS_PAIR, "p", 0, 8);
    done(1, CHAOS_DELETE, "k", 0, 9);
    uint64_t get = invoke(0, CHAOS_GET, "k", 0);
    answer(0, get, FW_ENOTFOUND, 0);
    uint64_t c = done(0, CHAOS_CAS, "k", 0, 10);
    event(2, FW_KV_PUT, 4, "k", 6, lost);
    event(2, FW_KV_PUT, 5, "k", 7, b);
    event(2, FW_KV_PUT, 6, "p/b", 8, pair);
    event(2, FW_KV_PUT, 6, "p/a", 8, pair);
    event(2, FW_KV_DELETE, 6, "k", 9, 0);
    event(2, FW_KV_PUT, 7, "k", 10, c);
    end(2, 11);
    left("end", 1, 11);
    left("k", c, 10);
    left("p/a", pair, 8);
    left("p/b", pair, 8);
    passes();
}
END_TEST

START_TEST(an_operation_is_answered_once)
{
    uint64_t op = done(0, CHAOS_PUT, "k", 0, 5);
    answer(0, op, FW_OK, 5);
    left("k", op, 5);
    breaks("answered");
}
END_TEST

START_TEST(an_operation_is_answered_at_all)
{
    (void)invoke(0, CHAOS_PUT, "k", 0);
    breaks("answered");
}
END_TEST

START_TEST(a_client_that_was_killed_owes_no_answer)
{
    (void)invoke(0, CHAOS_PUT, "k", 0);
    clients[0].killed_ns = now;
    passes();
}
END_TEST

START_TEST(an_operation_is_answered_in_time)
{
    uint64_t op = invoke(0, CHAOS_GET, "k", 0);
    now += 6 * SECOND;
    answer(0, op, FW_EDEADLINE, 0);
    breaks("answered");
}
END_TEST

START_TEST(revisions_grow_with_time)
{
    left("k", done(0, CHAOS_PUT, "k", 0, 6), 6);
    left("l", done(1, CHAOS_PUT, "l", 0, 5), 5);
    breaks("order");
}
END_TEST

START_TEST(writes_at_the_same_time_have_any_order)
{
    uint64_t a = invoke(0, CHAOS_PUT, "k", 0), b = invoke(1, CHAOS_PUT, "l", 0);
    answer(0, a, FW_OK, 6);
    answer(1, b, FW_OK, 5);
    left("k", a, 6);
    left("l", b, 5);
    passes();
}
END_TEST

START_TEST(revisions_are_unique)
{
    uint64_t a = invoke(0, CHAOS_PUT, "k", 0), b = invoke(1, CHAOS_PUT, "l", 0);
    answer(0, a, FW_OK, 5);
    answer(1, b, FW_OK, 5);
    left("k", a, 5);
    left("l", b, 5);
    breaks("order");
}
END_TEST

START_TEST(a_read_is_not_stale)
{
    done(0, CHAOS_PUT, "k", 0, 5);
    uint64_t b = done(0, CHAOS_PUT, "k", 0, 6);
    uint64_t get = invoke(1, CHAOS_GET, "k", 0);
    answer(1, get, FW_OK, 5);
    left("k", b, 6);
    breaks("read");
}
END_TEST

START_TEST(an_acknowledged_write_is_there)
{
    done(0, CHAOS_PUT, "k", 0, 5);
    breaks("durable");
}
END_TEST

START_TEST(an_acknowledged_write_is_not_undone)
{
    uint64_t a = done(0, CHAOS_PUT, "k", 0, 5);
    done(0, CHAOS_PUT, "k", 0, 6);
    left("k", a, 5);
    breaks("durable");
}
END_TEST

START_TEST(what_is_left_was_written)
{
    left("k", chaos_op_id(0, 7), 5);
    breaks("unwritten");
}
END_TEST

START_TEST(what_was_not_done_is_not_left)
{
    uint64_t op = invoke(0, CHAOS_PUT, "k", 0);
    answer(0, op, FW_EUNREACHABLE, 0);
    left("k", op, 5);
    breaks("not-done");
}
END_TEST

START_TEST(a_comparison_that_fails_does_nothing)
{
    event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    uint64_t op = invoke(0, CHAOS_GUARDED, "k", 0);
    answer(0, op, FW_OK, 5);
    records[0][1].succeeded = false;
    event(2, FW_KV_PUT, 2, "k", 5, op);
    event(2, FW_KV_DELETE, 3, "k", 6, 0);
    end(2, 7);
    size_t breaches;
    char *text = check(&breaches);
    ck_assert_ptr_nonnull(strstr(text, "not-done:"));
    free(text);
}
END_TEST

START_TEST(of_two_swaps_one_wins)
{
    done(0, CHAOS_PUT, "k", 0, 5);
    done(0, CHAOS_CAS, "k", 5, 6);
    left("k", done(1, CHAOS_CAS, "k", 5, 7), 7);
    breaks("compare");
}
END_TEST

START_TEST(a_key_is_created_once)
{
    done(0, CHAOS_CAS, "k", 0, 5);
    left("k", done(1, CHAOS_CAS, "k", 0, 6), 6);
    breaks("compare");
}
END_TEST

/* ---- watches ---- */

static uint64_t three[3];

/* A snapshot and three writes, of which the watcher saw some. */
static void writes(bool first, bool second, bool third)
{
    bool seen[3] = {first, second, third};
    event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    for (size_t i = 0; i < 3; i++)
        three[i] = done(0, CHAOS_PUT, i == 2 ? "l" : "k", 0, 5 + (int64_t)i);
    for (size_t i = 0; i < 3; i++)
        if (seen[i])
            event(2, FW_KV_PUT, 2 + (uint32_t)i, i == 2 ? "l" : "k", 5 + (int64_t)i, three[i]);
    left("k", three[1], 6);
    left("l", three[2], 7);
}

START_TEST(a_watch_sees_all)
{
    writes(true, true, true);
    end(2, 9);
    passes();
}
END_TEST

START_TEST(a_watch_has_no_gap)
{
    writes(false, true, true);
    end(2, 9);
    breaks("gap");
}
END_TEST

START_TEST(a_store_that_merges_may_leave_out_what_was_overwritten)
{
    histories.sees_every_change = false;
    writes(false, true, true);
    end(2, 9);
    passes();
}
END_TEST

START_TEST(a_store_that_merges_keeps_the_last)
{
    histories.sees_every_change = false;
    writes(true, true, false);
    end(2, 9);
    size_t breaches;
    char *text = check(&breaches);
    ck_assert(strstr(text, "gap:") && strstr(text, "state:"));
    free(text);
}
END_TEST

START_TEST(an_event_comes_once)
{
    writes(true, true, true);
    event(2, FW_KV_PUT, 8, "l", 7, three[2]);
    end(2, 9);
    breaks("sequence");
}
END_TEST

START_TEST(events_come_in_order)
{
    writes(false, true, false);
    event(2, FW_KV_PUT, 8, "l", 7, three[2]);
    event(2, FW_KV_PUT, 9, "k", 5, three[0]);
    event(2, FW_KV_PUT, 10, "k", 6, three[1]);
    end(2, 9);
    breaks("sequence");
}
END_TEST

START_TEST(a_revision_is_not_split)
{
    event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    uint64_t op = done(0, CHAOS_PAIR, "p", 0, 5);
    event(2, FW_KV_PUT, 2, "p/a", 5, op);
    event(2, FW_KV_PUT, 3, "p/b", 5, op);
    end(2, 9);
    left("p/a", op, 5);
    left("p/b", op, 5);
    size_t breaches;
    char *text = check(&breaches);
    ck_assert(strstr(text, "together:") && strstr(text, "sequence:"));
    free(text);
}
END_TEST

START_TEST(a_deletion_has_somebody_who_did_it)
{
    event(2, FW_KV_END_OF_SNAPSHOT, 1, "", 4, 0);
    uint64_t op = done(0, CHAOS_PUT, "k", 0, 5);
    event(2, FW_KV_PUT, 2, "k", 5, op);
    event(2, FW_KV_DELETE, 3, "k", 6, 0);
    event(2, FW_KV_PUT, 4, "k", 7, op);
    end(2, 9);
    left("k", op, 5);
    size_t breaches;
    char *text = check(&breaches);
    ck_assert_ptr_nonnull(strstr(text, "k was deleted at 6 by nobody"));
    free(text);
}
END_TEST

START_TEST(what_a_watch_sees_was_written)
{
    writes(true, true, true);
    event(2, FW_KV_PUT, 8, "m", 8, chaos_op_id(1, 3));
    event(2, FW_KV_DELETE, 9, "m", 9, 0);
    end(2, 10);
    breaks("unwritten");
}
END_TEST

START_TEST(a_resync_covers_what_happened_meanwhile)
{
    writes(false, false, false);
    event(2, FW_KV_STALE, 2, "", 0, 0);
    event(2, FW_KV_RESYNC, 3, "", 0, 0);
    event(2, FW_KV_PUT, 3, "k", 6, three[1]);
    event(2, FW_KV_PUT, 3, "l", 7, three[2]);
    event(2, FW_KV_END_OF_SNAPSHOT, 3, "", 8, 0);
    event(2, FW_KV_LIVE, 3, "", 8, 0);
    end(2, 9);
    passes();
}
END_TEST

START_TEST(a_resync_leaves_nothing_out)
{
    writes(false, false, false);
    event(2, FW_KV_RESYNC, 3, "", 0, 0);
    event(2, FW_KV_PUT, 3, "k", 6, three[1]);
    event(2, FW_KV_END_OF_SNAPSHOT, 3, "", 8, 0);
    end(2, 9);
    breaks("state");
}
END_TEST

START_TEST(a_resync_has_an_end)
{
    writes(true, true, true);
    event(2, FW_KV_RESYNC, 8, "", 0, 0);
    event(2, FW_KV_RESYNC, 9, "", 0, 0);
    event(2, FW_KV_END_OF_SNAPSHOT, 9, "", 8, 0);
    end(2, 9);
    breaks("form");
}
END_TEST

START_TEST(stale_and_live_alternate)
{
    writes(true, true, true);
    event(2, FW_KV_LIVE, 8, "", 7, 0);
    end(2, 9);
    breaks("form");
}
END_TEST

START_TEST(a_watch_does_not_end)
{
    writes(true, true, true);
    event(2, FW_KV_FATAL, 8, "", 0, 0);
    end(2, 9);
    breaks("form");
}
END_TEST

START_TEST(a_watch_does_not_stand_still)
{
    writes(true, true, true);
    breaks("state");
}
END_TEST

START_TEST(a_wipe_is_noticed)
{
    writes(true, true, true);
    histories.wiped_from_ns = histories.wiped_ns = now += SECOND;
    event(2, FW_KV_STALE, 8, "", 0, 0);
    event(2, FW_KV_RESYNC, 9, "", 0, 0);
    event(2, FW_KV_DELETE, 9, "k", 2, 0);
    event(2, FW_KV_DELETE, 9, "l", 2, 0);
    event(2, FW_KV_END_OF_SNAPSHOT, 9, "", 2, 0);
    event(2, FW_KV_LIVE, 9, "", 2, 0);
    uint64_t op = done(0, CHAOS_PUT, "k", 0, 3);
    event(2, FW_KV_PUT, 10, "k", 3, op);
    event(2, FW_KV_PUT, 11, CHAOS_END_KEY, 4, 1);
    histories.final_count = 0;
    left("k", op, 3);
    passes();
}
END_TEST

START_TEST(a_wipe_that_nobody_notices_is_a_breach)
{
    writes(true, true, true);
    histories.wiped_from_ns = histories.wiped_ns = now += SECOND;
    end(2, 9);
    breaks("wipe");
}
END_TEST

/* ---- locks and leases ---- */

static void lock(size_t client, int64_t token)
{
    hold(client, CHAOS_LOCK_ASKED, 0);
    hold(client, CHAOS_LOCK_ACQUIRED, token);
}

static uint64_t guarded(size_t client, int64_t token, int64_t revision)
{
    uint64_t op = invoke(client, CHAOS_GUARDED, "g", 0);
    records[client][clients[client].count - 1].token = token;
    answer(client, op, FW_OK, revision);
    return op;
}

START_TEST(locks_that_follow_one_another_pass)
{
    lock(0, 10);
    guarded(0, 10, 11);
    hold(0, CHAOS_LOCK_RELEASED, 10);
    lock(1, 13);
    left("g", guarded(1, 13, 14), 14);
    hold(1, CHAOS_LOCK_LOST, 13);
    lock(0, 15);
    passes();
}
END_TEST

START_TEST(tokens_grow)
{
    lock(0, 10);
    hold(0, CHAOS_LOCK_RELEASED, 10);
    lock(1, 9);
    breaks("token");
}
END_TEST

START_TEST(tokens_are_unique)
{
    hold(1, CHAOS_LOCK_ASKED, 0);
    lock(0, 10);
    hold(0, CHAOS_LOCK_RELEASED, 10);
    hold(1, CHAOS_LOCK_ACQUIRED, 10);
    breaks("token");
}
END_TEST

START_TEST(two_do_not_hold_a_lock)
{
    lock(0, 10);
    lock(1, 12);
    now += 3 * SECOND;
    hold(0, CHAOS_LOCK_RELEASED, 10);
    breaks("exclusion");
}
END_TEST

START_TEST(a_holder_that_slept_may_be_told_late)
{
    clients[0].paused = true;
    lock(0, 10);
    lock(1, 12);
    now += 3 * SECOND;
    hold(0, CHAOS_LOCK_LOST, 10);
    passes();
}
END_TEST

START_TEST(a_holder_that_slept_is_told)
{
    clients[0].paused = true;
    lock(0, 10);
    lock(1, 12);
    breaks("told");
}
END_TEST

START_TEST(an_old_token_is_fenced)
{
    clients[0].paused = true;
    lock(0, 10);
    lock(1, 12);
    left("g", guarded(0, 10, 13), 13);
    hold(0, CHAOS_LOCK_LOST, 10);
    breaks("fence");
}
END_TEST

START_TEST(guarded_writes_have_the_order_of_their_tokens)
{
    clients[0].paused = true;
    lock(0, 10);
    uint64_t late = invoke(0, CHAOS_GUARDED, "g", 0);
    records[0][clients[0].count - 1].token = 10;
    lock(1, 12);
    guarded(1, 12, 13);
    answer(0, late, FW_OK, 14);
    hold(0, CHAOS_LOCK_LOST, 10);
    left("g", late, 14);
    breaks("fence");
}
END_TEST

static uint64_t leased(int64_t lease, int64_t revision)
{
    hold(0, CHAOS_LEASE_GRANTED, lease);
    uint64_t op = invoke(0, CHAOS_LEASED, "lease/0", 0);
    records[0][clients[0].count - 1].token = lease;
    answer(0, op, FW_OK, revision);
    return op;
}

START_TEST(what_is_held_is_there)
{
    left("lease/0", leased(77, 5), 5);
    passes();
}
END_TEST

START_TEST(a_loss_is_told)
{
    leased(77, 5);
    breaks("lease");
}
END_TEST

START_TEST(what_is_lost_goes)
{
    left("lease/0", leased(77, 5), 5);
    hold(0, CHAOS_LEASE_LOST, 77);
    breaks("lease");
}
END_TEST

START_TEST(what_a_killed_client_held_goes)
{
    left("lease/0", leased(77, 5), 5);
    clients[0].killed_ns = now;
    breaks("lease");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_good_history_passes,
                                  an_operation_is_answered_once,
                                  an_operation_is_answered_at_all,
                                  a_client_that_was_killed_owes_no_answer,
                                  an_operation_is_answered_in_time,
                                  revisions_grow_with_time,
                                  writes_at_the_same_time_have_any_order,
                                  revisions_are_unique,
                                  a_read_is_not_stale,
                                  an_acknowledged_write_is_there,
                                  an_acknowledged_write_is_not_undone,
                                  what_is_left_was_written,
                                  what_was_not_done_is_not_left,
                                  a_comparison_that_fails_does_nothing,
                                  of_two_swaps_one_wins,
                                  a_key_is_created_once,
                                  a_watch_sees_all,
                                  a_watch_has_no_gap,
                                  a_store_that_merges_may_leave_out_what_was_overwritten,
                                  a_store_that_merges_keeps_the_last,
                                  an_event_comes_once,
                                  events_come_in_order,
                                  a_revision_is_not_split,
                                  a_deletion_has_somebody_who_did_it,
                                  what_a_watch_sees_was_written,
                                  a_resync_covers_what_happened_meanwhile,
                                  a_resync_leaves_nothing_out,
                                  a_resync_has_an_end,
                                  stale_and_live_alternate,
                                  a_watch_does_not_end,
                                  a_watch_does_not_stand_still,
                                  a_wipe_is_noticed,
                                  a_wipe_that_nobody_notices_is_a_breach,
                                  locks_that_follow_one_another_pass,
                                  tokens_grow,
                                  tokens_are_unique,
                                  two_do_not_hold_a_lock,
                                  a_holder_that_slept_may_be_told_late,
                                  a_holder_that_slept_is_told,
                                  an_old_token_is_fenced,
                                  guarded_writes_have_the_order_of_their_tokens,
                                  what_is_held_is_there,
                                  a_loss_is_told,
                                  what_is_lost_goes,
                                  what_a_killed_client_held_goes};
    Suite *suite = suite_create("checker");
    TCase *tcase = tcase_create("rules");
    tcase_add_checked_fixture(tcase, setup, NULL);
    suite_add_tcase(suite, tcase);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    return fwt_main(suite);
}
