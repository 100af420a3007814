/* The proxy's policies with made-up lists, answers and clocks. */
#include "fwt.h"

#include "base/random.h"
#include "ewma.h"
#include "hash.h"
#include "policy/breaker.h"
#include "policy/hedge.h"
#include "policy/limit.h"
#include "policy/outlier.h"
#include "policy/retry_budget.h"
#include "policy/share.h"
#include "policy/subset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

START_TEST(a_peak_counts_at_once_and_fades)
{
    fwi_ewma ewma = {0};
    fwi_ewma_add(&ewma, 2, 1000, 0);
    ck_assert(ewma.value == 2);
    fwi_ewma_add(&ewma, 50, 1001, 0);
    ck_assert(ewma.value == 50);
    fwi_ewma_add(&ewma, 2, 1002, 0);
    ck_assert(ewma.value > 49);
    fwi_ewma_add(&ewma, 2, 60000, 0);
    ck_assert(ewma.value < 5);
    double last = 2;
    for (double x = 0; x < 20; x += 0.1) { /* falls, and is near to what it stands for */
        double fade = fwi_ewma_fade(x);
        ck_assert(fade < last);
        ck_assert(fabs(fade - exp(-x)) < 0.03);
        last = fade;
    }
    ck_assert(fwi_ewma_at(8, 1000, 500, 0) == 8); /* a clock that stands still or goes back */
}
END_TEST

START_TEST(a_breaker_opens_tries_and_closes)
{
    fwi_breaker breaker = {0};
    ck_assert(fwi_breaker_allows(&breaker, 100));
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fwi_breaker_result(&breaker, false, 5), FWI_BREAKER_NONE);
    ck_assert_int_eq(fwi_breaker_result(&breaker, true, 5), FWI_BREAKER_NONE);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fwi_breaker_result(&breaker, false, 5), FWI_BREAKER_NONE);
    ck_assert_int_eq(fwi_breaker_result(&breaker, false, 5), FWI_BREAKER_SHOULD_OPEN);
    ck_assert_uint_eq(fwi_breaker_open(&breaker, 1000, 10000, 0), 1000);
    ck_assert(!fwi_breaker_allows(&breaker, 0));
    ck_assert_int_eq(fwi_breaker_result(&breaker, true, 5), FWI_BREAKER_NONE);
    ck_assert(!fwi_breaker_allows(&breaker, 0)); /* that was a call from before */
    fwi_breaker_half_open(&breaker);
    ck_assert(fwi_breaker_allows(&breaker, 0));
    ck_assert(!fwi_breaker_allows(&breaker, 1));
    ck_assert_int_eq(fwi_breaker_result(&breaker, false, 5), FWI_BREAKER_SHOULD_OPEN);
    ck_assert_uint_eq(fwi_breaker_open(&breaker, 1000, 10000, 1000), 2000);
    fwi_breaker_half_open(&breaker);
    ck_assert_int_eq(fwi_breaker_result(&breaker, true, 5), FWI_BREAKER_HAS_CLOSED);
    ck_assert(fwi_breaker_allows(&breaker, 9));
    /* Soon again: longer. After a long good time: as the first time. */
    ck_assert_uint_eq(fwi_breaker_open(&breaker, 1000, 10000, 4000), 4000);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_le(fwi_breaker_open(&breaker, 1000, 10000, 4000), 10000);
    fwi_breaker_half_open(&breaker);
    fwi_breaker_result(&breaker, true, 5);
    ck_assert_uint_eq(fwi_breaker_open(&breaker, 1000, 10000, UINT64_MAX / 2), 1000);
}
END_TEST

START_TEST(outliers_are_those_far_below_the_others)
{
    fwi_outlier outlier = {0};
    for (int i = 0; i < 9; i++)
        fwi_outlier_add(&outlier, 990, 1000);
    fwi_outlier_add(&outlier, 500, 1000);
    fwi_outlier_add(&outlier, 0, 10); /* says nothing */
    ck_assert_uint_eq(outlier.endpoints, 10);
    double threshold = fwi_outlier_threshold(&outlier);
    ck_assert(threshold > 0.5 && threshold < 0.99);
    /* All the same: nobody. Too few: nobody. */
    outlier = (fwi_outlier){0};
    for (int i = 0; i < 10; i++)
        fwi_outlier_add(&outlier, 500, 1000);
    ck_assert(fwi_outlier_threshold(&outlier) <= 0.5);
    outlier = (fwi_outlier){0};
    for (int i = 0; i < 4; i++)
        fwi_outlier_add(&outlier, i == 0 ? 0 : 1000, 1000);
    ck_assert(fwi_outlier_threshold(&outlier) <= 0);
}
END_TEST

START_TEST(half_of_all_are_left)
{
    for (size_t count = 0; count < 100; count++) {
        size_t well = count;
        while (fwi_outlier_may_eject(well, count))
            well--;
        ck_assert_uint_eq(well, (count + 1) / 2); /* so one of one, one of two, two of three */
        ck_assert(!fwi_outlier_is_panic(well, count, 50));
        if (well)
            ck_assert(fwi_outlier_is_panic(well - 1, count, 50) || (count % 2 && count > 1));
    }
}
END_TEST

START_TEST(retries_are_a_share_of_calls)
{
    fwi_retry_budget budget;
    fwi_retry_budget_init(&budget, 20, 0);
    ck_assert(!fwi_retry_budget_withdraw(&budget, 5000000));
    uint64_t now = 5000000;
    size_t calls = 0, retries = 0;
    for (; calls < 100000; calls++, now += calls % 3) { /* everything fails and is tried again */
        fwi_retry_budget_deposit(&budget, now);
        while (fwi_retry_budget_withdraw(&budget, now))
            retries++;
    }
    ck_assert_uint_le(retries, calls / 5);
    ck_assert_uint_ge(retries, calls / 5 - 20); /* what was not a whole one is forgotten, too */
    /* What was saved is good for ten seconds. */
    for (int i = 0; i < 50; i++)
        fwi_retry_budget_deposit(&budget, now);
    ck_assert(fwi_retry_budget_withdraw(&budget, now + 9000));
    ck_assert(!fwi_retry_budget_withdraw(&budget, now + 11000));
    /* A quiet client has so many a second. */
    fwi_retry_budget_init(&budget, 20, 10);
    retries = 0;
    for (now = 0; now < 100000; now += 10)
        retries += fwi_retry_budget_withdraw(&budget, now);
    ck_assert_uint_ge(retries, 1000);
    ck_assert_uint_le(retries, 1100);
}
END_TEST

#define NODES 100
static fwi_subset_member nodes[NODES + 1];

static size_t subset(size_t count, size_t size, uint32_t client, bool *ret_chosen)
{
    static char ids[NODES + 1];
    for (size_t i = 0; i < count; i++)
        nodes[i] = (fwi_subset_member){fwi_hash_mix(i), &ids[i]};
    size_t chosen = fwi_subset_choose(nodes, count, size, client);
    memset(ret_chosen, 0, (NODES + 1) * sizeof *ret_chosen);
    for (size_t i = 0; i < chosen; i++)
        ret_chosen[(char *)nodes[i].endpoint - ids] = true;
    return chosen;
}

START_TEST(subsets_are_fair_and_stay)
{
    bool chosen[NODES + 1], after[NODES + 1];
    size_t clients[NODES + 1] = {0};
    for (uint32_t client = 0; client < 100; client++) {
        ck_assert_uint_eq(subset(NODES, 10, client, chosen), 10);
        for (size_t i = 0; i < NODES; i++)
            clients[i] += chosen[i];
    }
    for (size_t i = 0; i < NODES; i++)
        ck_assert_uint_eq(clients[i], 10); /* ten rounds of ten: exactly */
    /* One more: of each client's at most one is another. */
    for (uint32_t client = 0; client < 100; client++) {
        subset(NODES, 10, client, chosen);
        subset(NODES + 1, 10, client, after);
        size_t gone = 0;
        for (size_t i = 0; i < NODES; i++)
            gone += chosen[i] && !after[i];
        ck_assert_uint_le(gone, 1);
    }
    ck_assert_uint_eq(subset(5, 10, 3, chosen), 5);
    ck_assert_uint_eq(subset(5, 0, 3, chosen), 5);
    ck_assert_uint_eq(subset(0, 10, 3, chosen), 0);
    /* With some over nobody has more than one client a round. */
    memset(clients, 0, sizeof clients);
    for (uint32_t client = 0; client < 9; client++) {
        ck_assert_uint_eq(subset(95, 10, client, chosen), 10);
        for (size_t i = 0; i < 95; i++)
            clients[i] += chosen[i];
    }
    for (size_t i = 0; i < 95; i++)
        ck_assert_uint_le(clients[i], 1);
}
END_TEST

START_TEST(calls_stay_in_the_zone_until_too_few_are_left)
{
    ck_assert(fwi_zone_share(10, 10, 10) == 1);
    ck_assert(fwi_zone_share(8, 10, 10) == 1); /* 1.4 * 0.8 > 1 */
    ck_assert(fabs(fwi_zone_share(5, 10, 10) - 0.7) < 1e-9);
    ck_assert(fwi_zone_share(0, 10, 10) == 0);
    ck_assert(fwi_zone_share(0, 0, 10) == 0);
    ck_assert(fwi_zone_share(1, 10, 0) == 1);
    ck_assert(fwi_slow_start_part(1000, 1000, 10000) == 0.1);
    ck_assert(fabs(fwi_slow_start_part(1000, 6000, 10000) - 0.5) < 1e-9);
    ck_assert(fwi_slow_start_part(1000, 11000, 10000) == 1);
    ck_assert(fwi_slow_start_part(1000, 1000, 0) == 1);
}
END_TEST

/* A service that answers up to 200 calls at a time in 10 ms; more of them queue. */
static double latency_at(size_t in_flight, size_t capacity)
{
    return in_flight <= capacity ? 10 : 10 * (double)in_flight / (double)capacity;
}

static size_t settle(fwi_limit *limit, size_t capacity, size_t samples)
{
    for (size_t i = 0; i < samples; i++) {
        size_t in_flight = 0;
        while (in_flight < 2000 && fwi_limit_allows(limit, in_flight))
            in_flight++;
        fwi_limit_sample(limit, latency_at(in_flight, capacity), false, in_flight);
    }
    return (size_t)limit->limit;
}

START_TEST(the_limit_finds_what_a_service_can_do)
{
    fwi_limit limit;
    fwi_limit_init(&limit, 0, false);
    ck_assert(fwi_limit_allows(&limit, SIZE_MAX / 2));
    fwi_limit_init(&limit, 3, false);
    ck_assert(fwi_limit_allows(&limit, 2));
    ck_assert(!fwi_limit_allows(&limit, 3));

    fwi_limit_init(&limit, 0, true);
    size_t found = settle(&limit, 200, 500);
    ck_assert_uint_ge(found, 180);
    ck_assert_uint_le(found, 500); /* some queue, never all that would like to */
    /* Half of the service goes away, */
    size_t less = settle(&limit, 100, 50);
    ck_assert_uint_lt(less, found);
    /* and with nothing but deadlines there is next to nothing, */
    for (int i = 0; i < 100; i++)
        fwi_limit_sample(&limit, 1000, true, (size_t)limit.limit);
    ck_assert_uint_eq((size_t)limit.limit, 8);
    /* but it comes back, and a limit that nobody reaches does not grow. */
    ck_assert_uint_gt(settle(&limit, 200, 1000), 150);
    double before = limit.limit;
    for (int i = 0; i < 100; i++)
        fwi_limit_sample(&limit, 10, false, 1);
    ck_assert(limit.limit == before);
}
END_TEST

START_TEST(a_hedge_comes_after_most_have_answered)
{
    fwi_hedge hedge = {.count = 0};
    ck_assert_uint_eq(fwi_hedge_after_ms(&hedge), 0);
    fwi_random_seed(1);
    for (int i = 0; i < 20000; i++)
        fwi_hedge_sample(&hedge, fwi_random_below(100)); /* the 95th is 95 ms */
    ck_assert_uint_ge(fwi_hedge_after_ms(&hedge), 90);
    ck_assert_uint_le(fwi_hedge_after_ms(&hedge), 115);
    for (int i = 0; i < 100000; i++)
        fwi_hedge_sample(&hedge, 3);
    ck_assert_uint_le(fwi_hedge_after_ms(&hedge), 4);
    for (int i = 0; i < 100000; i++)
        fwi_hedge_sample(&hedge, 1e12); /* as large as can be: the last bucket */
    ck_assert_uint_gt(fwi_hedge_after_ms(&hedge), 60000);
    for (int i = 0; i < 100000; i++)
        fwi_hedge_sample(&hedge, 0);
    ck_assert_uint_eq(fwi_hedge_after_ms(&hedge), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policies");
    TCase *tcase = tcase_create("policies");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, a_peak_counts_at_once_and_fades);
    tcase_add_test(tcase, a_breaker_opens_tries_and_closes);
    tcase_add_test(tcase, outliers_are_those_far_below_the_others);
    tcase_add_test(tcase, half_of_all_are_left);
    tcase_add_test(tcase, retries_are_a_share_of_calls);
    tcase_add_test(tcase, subsets_are_fair_and_stay);
    tcase_add_test(tcase, calls_stay_in_the_zone_until_too_few_are_left);
    tcase_add_test(tcase, the_limit_finds_what_a_service_can_do);
    tcase_add_test(tcase, a_hedge_comes_after_most_have_answered);
    return fwt_main(suite);
}
