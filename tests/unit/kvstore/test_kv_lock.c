/*
 * Locks on a store that loses answers: mem, with a driver before it that does what an operation
 * asks and then says something else, or does not do it.
 */
#include "kv.h"
#include "fwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* What becomes of the next operations of a type: done but told otherwise, or not done at all. */
struct fault {
    fwi_kv_op_type type;
    unsigned skip, count;
    int status;
    bool not_done;
};

static struct {
    struct fault faults[2];
    fw_kv_lease *lease; /* the last that was asked for */
    fw_kv_watch *watch; /* the last that was started */
} test;

static void submit(void *store, fwi_kv_op *op)
{
    struct fault *hit = NULL;
    for (size_t i = 0; i < 2 && !hit; i++) {
        struct fault *fault = &test.faults[i];
        if (!fault->count || fault->type != op->type)
            continue;
        if (fault->skip)
            fault->skip--;
        else
            hit = fault;
    }
    if (hit)
        hit->count--;
    if (hit && hit->not_done) {
        fwi_kv_op_finish(op, hit->status, "by the test");
        return;
    }
    fwi_kv_driver_mem.submit(store, op);
    if (hit) /* it is told in a later turn */
        op->status = hit->status;
}

static void lease_grant(void *store, fw_kv_lease *lease)
{
    test.lease = lease;
    fwi_kv_driver_mem.lease_grant(store, lease);
}

static void watch_start(void *store, fw_kv_watch *watch)
{
    test.watch = watch;
    fwi_kv_driver_mem.watch_start(store, watch);
}

static fwi_kv_driver faulty;

static fw_kv *open_faulty(void)
{
    fw_kv *kv;
    faulty = fwi_kv_driver_mem;
    faulty.submit = submit;
    faulty.lease_grant = lease_grant;
    faulty.watch_start = watch_start;
    memset(&test, 0, sizeof test);
    FWT_OK(fw_kv_open(fwt_loop, "mem:lock", NULL, &kv));
    kv->driver = &faulty;
    return kv;
}

static void on_closed(void *flag)
{
    ck_assert(!*(bool *)flag);
    *(bool *)flag = true;
}

static void close_kv(fw_kv *kv)
{
    bool closed = false;
    fw_kv_close(kv, on_closed, &closed);
    fwt_run_until(&closed, 5000);
}

struct outcome {
    fw_kv_lock *lock;
    bool answered, lost, closed;
    int status, reason;
    char detail[64];
};

static void on_acquired(fw_kv_lock *lock, int status, const char *detail, void *arg)
{
    struct outcome *outcome = arg;
    (void)lock;
    ck_assert(!outcome->answered);
    outcome->answered = true;
    outcome->status = status;
    snprintf(outcome->detail, sizeof outcome->detail, "%s", detail);
}

static void on_lost(fw_kv_lock *lock, int reason, const char *detail, void *arg)
{
    struct outcome *outcome = arg;
    (void)lock;
    ck_assert(outcome->answered && !outcome->lost);
    outcome->lost = true;
    outcome->reason = reason;
    snprintf(outcome->detail, sizeof outcome->detail, "%s", detail);
}

static void ask(fw_kv *kv, uint32_t wait_ms, struct outcome *outcome)
{
    *outcome = (struct outcome){.lock = NULL};
    fw_kv_lock_options options = {
        .wait_ms = wait_ms, .on_acquired = on_acquired, .on_lost = on_lost, .arg = outcome};
    FWT_OK(fw_kv_lock_new(kv, "dir/lock", &options, &outcome->lock));
}

static int await(struct outcome *outcome)
{
    fwt_run_until(&outcome->answered, 5000);
    return outcome->status;
}

static void close_lock(struct outcome *outcome)
{
    fw_kv_lock_close(outcome->lock, on_closed, &outcome->closed);
    fwt_run_until(&outcome->closed, 5000);
}

/* Nothing of the lock is in the store. */
static void count_keys(const fw_kv_result *result, void *arg)
{
    ck_assert_int_eq(result->status, FW_OK);
    *(size_t *)arg = result->count + 1;
}

static void assert_nothing_left(fw_kv *kv)
{
    size_t count = 0;
    test.faults[0].count = 0;
    FWT_OK(fwi_kv_submit(kv, FWI_KV_LIST, "", &(fwi_kv_op){.with_side_keys = true}, count_keys,
                         &count));
    fwt_run_count(&count, 1, 5000);
    ck_assert_uint_eq(count, 1);
}

static const struct fault passing[][2] = {
    /* The place in the queue: made, but not told; not made; told late. */
    {{FWI_KV_ATOMIC_PUT, 0, 1, FW_EUNKNOWN, false}},
    {{FWI_KV_ATOMIC_PUT, 0, 1, FW_EUNKNOWN, true}},
    {{FWI_KV_ATOMIC_PUT, 0, 1, FW_EUNREACHABLE, true}},
    /* That, and then the lock's key. */
    {{FWI_KV_ATOMIC_PUT, 0, 2, FW_EUNKNOWN, false}},
    {{FWI_KV_ATOMIC_PUT, 0, 3, FW_EUNKNOWN, true}},
    /* The lock's key, and then the question whose it is. */
    {{FWI_KV_ATOMIC_PUT, 1, 1, FW_EUNKNOWN, false}, {FWI_KV_GET, 0, 2, FW_EUNREACHABLE, true}},
    {{FWI_KV_ATOMIC_PUT, 1, 1, FW_EUNKNOWN, true}, {FWI_KV_GET, 0, 1, FW_EDEADLINE, true}},
    /* The queue cannot be read for a while, also when an answer was lost. */
    {{FWI_KV_LIST, 0, 2, FW_EUNREACHABLE, true}},
    {{FWI_KV_ATOMIC_PUT, 0, 1, FW_EUNKNOWN, false}, {FWI_KV_LIST, 0, 3, FW_EDEADLINE, true}},
};

START_TEST(lost_answers_are_made_up_for)
{
    fw_kv *kv = open_faulty();
    struct outcome outcome;
    memcpy(test.faults, passing[_i], sizeof test.faults);
    ask(kv, 0, &outcome);
    ck_assert_int_eq(await(&outcome), FW_OK);
    ck_assert_uint_eq(test.faults[0].count + test.faults[1].count, 0); /* all of them happened */
    ck_assert_int_gt(fw_kv_lock_token(outcome.lock), 0);
    close_lock(&outcome);
    assert_nothing_left(kv);
    close_kv(kv);
}
END_TEST

START_TEST(a_refusal_of_the_store_ends_it)
{
    static const fwi_kv_op_type types[] = {FWI_KV_ATOMIC_PUT, FWI_KV_LIST};
    for (size_t i = 0; i < 2; i++) {
        fw_kv *kv = open_faulty();
        struct outcome outcome;
        test.faults[0] = (struct fault){types[i], 0, 1, FW_EDENIED, true};
        ask(kv, 0, &outcome);
        ck_assert_int_eq(await(&outcome), FW_EDENIED);
        ck_assert_str_eq(outcome.detail, "by the test");
        ck_assert_int_eq(fw_kv_lock_token(outcome.lock), 0);
        close_lock(&outcome);
        assert_nothing_left(kv);
        close_kv(kv);
    }
}
END_TEST

START_TEST(a_store_that_does_not_answer_is_not_said_to_be_locked)
{
    fw_kv *kv = open_faulty();
    struct outcome outcome, second;
    test.faults[0] = (struct fault){FWI_KV_LIST, 0, 1000, FW_EUNREACHABLE, true};
    ask(kv, 300, &outcome);
    ck_assert_int_eq(await(&outcome), FW_EDEADLINE);
    ck_assert_str_eq(outcome.detail, "the store did not answer in time");
    close_lock(&outcome);
    test.faults[0].count = 0;
    ask(kv, 0, &outcome);
    ck_assert_int_eq(await(&outcome), FW_OK);
    ask(kv, 300, &second);
    ck_assert_int_eq(await(&second), FW_EDEADLINE);
    ck_assert_str_eq(second.detail, "somebody else has the lock");
    close_lock(&second);
    close_lock(&outcome);
    assert_nothing_left(kv);
    close_kv(kv);
}
END_TEST

START_TEST(a_lock_whose_lease_is_lost_is_lost)
{
    fw_kv *kv = open_faulty();
    struct outcome outcome, waiting;
    ask(kv, 0, &outcome);
    ck_assert_int_eq(await(&outcome), FW_OK);
    fw_kv_lease *lease = test.lease;
    ask(kv, 0, &waiting);
    fwt_run_for(50);
    fwi_kv_lease_lost(test.lease, FW_ELEASE, "expired");
    ck_assert_int_eq(await(&waiting), FW_ELEASE);
    ck_assert(!outcome.lost);
    fwi_kv_lease_lost(lease, FW_ELEASE, "expired, too");
    fwt_run_until(&outcome.lost, 5000);
    ck_assert_int_eq(outcome.reason, FW_ELEASE);
    ck_assert_str_eq(outcome.detail, "expired, too");
    close_lock(&outcome);
    close_lock(&waiting);
    assert_nothing_left(kv);
    close_kv(kv);
}
END_TEST

START_TEST(a_lock_whose_watch_ends_is_lost)
{
    fw_kv *kv = open_faulty();
    struct outcome outcome;
    ask(kv, 0, &outcome);
    ck_assert_int_eq(await(&outcome), FW_OK);
    fwt_run_for(20);
    fwi_kv_watch_fatal(test.watch, FW_EDENIED, "no longer allowed");
    fwt_run_until(&outcome.lost, 5000);
    ck_assert_int_eq(outcome.reason, FW_EDENIED);
    close_lock(&outcome);
    assert_nothing_left(kv);
    close_kv(kv);
}
END_TEST

START_TEST(a_second_place_of_ours_does_not_bar_us)
{
    /* As a queue that names its places itself may leave it, when an answer was lost. */
    fw_kv *kv = open_faulty();
    struct outcome outcome;
    ask(kv, 0, &outcome);
    while (!test.lease->id)
        fwt_run_for(1);
    char key[80];
    snprintf(key, sizeof key, "dir/lock/%llx__lock__0", (unsigned long long)test.lease->id);
    size_t count = 0;
    FWT_OK(fwi_kv_submit(kv, FWI_KV_PUT, key, &(fwi_kv_op){.lease = test.lease->id}, count_keys,
                         &count));
    ck_assert_int_eq(await(&outcome), FW_OK);
    fwt_run_count(&count, 1, 5000);
    close_lock(&outcome);
    assert_nothing_left(kv);
    close_kv(kv);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock");
    TCase *tcase = fwt_tcase(suite, "faults", 60);
    tcase_add_loop_test(tcase, lost_answers_are_made_up_for, 0, sizeof passing / sizeof *passing);
    tcase_add_test(tcase, a_refusal_of_the_store_ends_it);
    tcase_add_test(tcase, a_store_that_does_not_answer_is_not_said_to_be_locked);
    tcase_add_test(tcase, a_lock_whose_lease_is_lost_is_lost);
    tcase_add_test(tcase, a_lock_whose_watch_ends_is_lost);
    tcase_add_test(tcase, a_second_place_of_ours_does_not_bar_us);
    return fwt_main(suite);
}
