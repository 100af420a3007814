/* The balancers with made-up lists: whom they pick, how evenly, and what a change moves. */
#include "fwt.h"

#include "base/random.h"

#include <fairway/balancer.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 1000

static fw_instance instances[MOST];
static char ids[MOST][16];
static fw_balancer_endpoint endpoints[MOST];
static size_t counts[MOST];

/* A list of usable endpoints "n<first>", ... of weight 1. */
static void make_list(size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(ids[i], sizeof ids[i], "n%zu", first + i);
        instances[i] = (fw_instance){.id = ids[i], .weight = 1};
        endpoints[i] =
            (fw_balancer_endpoint){.instance = &instances[i], .usable = true, .weight = 1};
    }
    memset(counts, 0, sizeof counts);
}

static void set_weight(size_t at, uint32_t weight)
{
    instances[at].weight = weight;
    endpoints[at].weight = weight;
}

static int pick_key(const fw_balancer *balancer, void *state, uint64_t key)
{
    return balancer->pick(state, &(fw_balancer_call){.has_key = true, .key = key});
}

static int pick_any(const fw_balancer *balancer, void *state)
{
    return balancer->pick(state, &(fw_balancer_call){.now_ms = 1});
}

static void pick_times(const fw_balancer *balancer, void *state, size_t times)
{
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < times; i++) {
        int at = pick_any(balancer, state);
        fwt_check(at >= 0);
        fwt_check(endpoints[at].usable);
        counts[at]++;
    }
}

static const fw_balancer *balancer_at(int index)
{
    const fw_balancer *balancer = fw_balancer_find(fw_balancer_name((size_t)index));
    ck_assert_ptr_nonnull(balancer);
    return balancer;
}
#define BALANCERS 8

/* ---- what holds for every one ---- */

START_TEST(balancers_have_names)
{
    ck_assert_str_eq(fw_balancer_name(0), "p2c_ewma");
    ck_assert_ptr_null(fw_balancer_name(BALANCERS));
    ck_assert_ptr_null(fw_balancer_find("nobody"));
    ck_assert_ptr_eq(fw_balancer_find("rr"), &fw_balancer_round_robin);
    for (int i = 0; i < BALANCERS; i++)
        ck_assert_str_eq(balancer_at(i)->name, fw_balancer_name((size_t)i));
}
END_TEST

START_TEST(only_usable_ones_are_picked)
{
    const fw_balancer *balancer = balancer_at(_i);
    void *state = balancer->create();
    ck_assert_int_eq(pick_any(balancer, state), -1);
    for (size_t count = 0; count <= 200; count = count < 4 ? count + 1 : count * 4) {
        make_list(0, count);
        FWT_OK(balancer->update(state, endpoints, count));
        pick_times(balancer, state, count ? 1000 : 0);
        for (size_t i = 0; i < count; i++)
            endpoints[i].usable = i == count / 2;
        pick_times(balancer, state, count ? 100 : 0); /* always the one */
        for (uint64_t key = 0; key < 100 && count; key++)
            fwt_check(pick_key(balancer, state, key) == (int)count / 2);
        if (count)
            endpoints[count / 2].usable = false;
        ck_assert_int_eq(pick_any(balancer, state), -1);
        ck_assert_int_eq(pick_key(balancer, state, 7), -1);
    }
    balancer->destroy(state);
}
END_TEST

/* Lists that grow, shrink and move, with endpoints that come and go: never one that is not there.
 */
START_TEST(any_list_is_served)
{
    fwi_random_seed(42);
    const fw_balancer *balancer = balancer_at(_i);
    void *state = balancer->create();
    for (int round = 0; round < 100; round++) {
        size_t count = fwi_random_below(40);
        make_list(fwi_random_below(100), count);
        for (size_t i = 0; i < count; i++) {
            set_weight(i, fwi_random_below(3) ? fwi_random_below(10) : fwi_random_below(1000000));
            endpoints[i].in_flight = fwi_random_below(20);
            endpoints[i].latency_ms = fwi_random_below(100);
        }
        FWT_OK(balancer->update(state, endpoints, count));
        for (int i = 0; i < 100; i++) {
            size_t usable = 0;
            for (size_t at = 0; at < count; at++)
                usable += endpoints[at].usable = fwi_random_below(4) != 0;
            fw_balancer_call call = {.now_ms = (uint64_t)i,
                                     .has_key = fwi_random_below(2),
                                     .key = fwi_random_below(50),
                                     .in_flight = fwi_random_below(100)};
            int at = balancer->pick(state, &call);
            fwt_check(at < (int)count);
            fwt_check((at < 0) == (usable == 0));
            if (at >= 0)
                fwt_check(endpoints[at].usable);
        }
    }
    balancer->destroy(state);
}
END_TEST

/* ---- turns ---- */

START_TEST(round_robin_gives_everyone_a_turn)
{
    const fw_balancer *balancer = &fw_balancer_round_robin;
    void *state = balancer->create();
    make_list(0, 5);
    FWT_OK(balancer->update(state, endpoints, 5));
    pick_times(balancer, state, 500);
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(counts[i], 100);
    /* The turn of one that is out is spread over the others. */
    endpoints[2].usable = false;
    pick_times(balancer, state, 5000);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            ck_assert_uint_lt(counts[i], 1500);
    balancer->destroy(state);
}
END_TEST

/* Many short-lived clients must not all call the same instance. */
START_TEST(turns_begin_anywhere)
{
    static const fw_balancer *const of_turns[] = {&fw_balancer_round_robin, &fw_balancer_weighted};
    const fw_balancer *balancer = of_turns[_i];
    size_t first[2] = {0};
    make_list(0, 2);
    for (int i = 0; i < 400; i++) {
        void *state = balancer->create();
        FWT_OK(balancer->update(state, endpoints, 1));
        FWT_OK(balancer->update(state, endpoints, 2));
        first[pick_any(balancer, state)]++;
        balancer->destroy(state);
    }
    ck_assert_uint_gt(first[0], 100);
    ck_assert_uint_gt(first[1], 100);
}
END_TEST

/* Fairness of every stretch: in any run of picks nobody is off its share by two turns or more, so
 * the exact counts of nginx hold over a whole round, too. */
START_TEST(weighted_turns_are_exact_and_smooth)
{
    fwi_random_seed(7);
    const fw_balancer *balancer = &fw_balancer_weighted;
    for (int round = 0; round < 50; round++) {
        size_t count = 1 + fwi_random_below(20);
        void *state = balancer->create();
        make_list(0, count);
        double total = 0;
        for (size_t i = 0; i < count; i++) {
            set_weight(i, 1 + fwi_random_below(round % 2 ? 10 : 100));
            total += endpoints[i].weight;
        }
        FWT_OK(balancer->update(state, endpoints, count));
        for (size_t picks = 1; picks <= 5000; picks++) {
            counts[pick_any(balancer, state)]++;
            for (size_t i = 0; i < count; i++) {
                double share = (double)picks * endpoints[i].weight / total;
                ck_assert_msg(fabs((double)counts[i] - share) < 2, "after %zu: %zu for %f", picks,
                              counts[i], share);
            }
        }
        balancer->destroy(state);
    }
}
END_TEST

START_TEST(a_weight_may_change)
{
    const fw_balancer *balancer = &fw_balancer_weighted;
    void *state = balancer->create();
    make_list(0, 3);
    endpoints[1].weight = 0.1;
    FWT_OK(balancer->update(state, endpoints, 3));
    pick_times(balancer, state, 2100);
    ck_assert_uint_ge(counts[1], 98);
    ck_assert_uint_le(counts[1], 102);
    endpoints[1].weight = 1;
    pick_times(balancer, state, 300);
    ck_assert_uint_ge(counts[1], 88); /* its next turn was still far away */
    balancer->destroy(state);
}
END_TEST

/* ---- loads ---- */

START_TEST(random_is_even)
{
    fwi_random_seed(3);
    void *state = fw_balancer_random.create();
    make_list(0, 10);
    FWT_OK(fw_balancer_random.update(state, endpoints, 10));
    pick_times(&fw_balancer_random, state, 100000);
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_gt(counts[i], 9500); /* five standard deviations */
        ck_assert_uint_lt(counts[i], 10500);
    }
    fw_balancer_random.destroy(state);
}
END_TEST

/* Calls are given and not answered: how far apart the loads get. */
static void fill_up(const fw_balancer *balancer, size_t count, size_t calls, size_t *ret_least,
                    size_t *ret_most)
{
    void *state = balancer->create();
    FWT_OK(balancer->update(state, endpoints, count));
    for (size_t i = 0; i < calls; i++)
        endpoints[pick_any(balancer, state)].in_flight++;
    *ret_least = SIZE_MAX, *ret_most = 0;
    for (size_t i = 0; i < count; i++) {
        size_t its = endpoints[i].in_flight;
        *ret_least = its < *ret_least ? its : *ret_least;
        *ret_most = its > *ret_most ? its : *ret_most;
    }
    balancer->destroy(state);
}

START_TEST(the_least_loaded_is_picked)
{
    fwi_random_seed(5);
    size_t least, most;
    make_list(0, 8);
    fill_up(&fw_balancer_least_loaded, 8, 800, &least, &most);
    ck_assert_uint_eq(least, 100);
    ck_assert_uint_eq(most, 100);
    make_list(0, 100);
    fill_up(&fw_balancer_least_loaded, 100, 10000, &least, &most);
    ck_assert_uint_ge(least, 90);
    ck_assert_uint_le(most, 103); /* of four choices: log log n / log 4 and a bit over */
    make_list(0, 4);
    set_weight(0, 5);
    fill_up(&fw_balancer_least_loaded, 4, 800, &least, &most);
    ck_assert_uint_eq(endpoints[0].in_flight, 500);
}
END_TEST

START_TEST(two_choices_leave_the_slow_alone)
{
    fwi_random_seed(11);
    const fw_balancer *balancer = &fw_balancer_p2c_ewma;
    void *state = balancer->create();
    make_list(0, 10);
    for (int i = 0; i < 10; i++)
        endpoints[i].latency_ms = i == 3 ? 100 : 1;
    FWT_OK(balancer->update(state, endpoints, 10));
    pick_times(balancer, state, 1000);
    ck_assert_uint_eq(counts[3], 0);
    /* With enough on the others its turn comes, */
    for (int i = 0; i < 10; i++)
        endpoints[i].in_flight = i == 3 ? 0 : 200;
    pick_times(balancer, state, 1000);
    ck_assert_uint_gt(counts[3], 100);
    /* what was known of it fades, */
    for (int i = 0; i < 10; i++) {
        endpoints[i].in_flight = 0;
        endpoints[i].latency_at_ms = i == 3 ? 0 : 1000000;
    }
    ck_assert_int_ge(balancer->pick(state, &(fw_balancer_call){.now_ms = 1000000}), 0);
    bool picked = false;
    for (int i = 0; i < 200; i++)
        picked |= balancer->pick(state, &(fw_balancer_call){.now_ms = 1000000}) == 3;
    ck_assert(picked);
    /* and one that nobody knows gets one call, and no other before that has ended. */
    endpoints[5].latency_ms = 0;
    for (int i = 0; i < 1000; i++)
        endpoints[pick_any(balancer, state)].in_flight++;
    ck_assert_uint_eq(endpoints[5].in_flight, 1);
    balancer->destroy(state);
}
END_TEST

/* ---- keys ---- */

#define KEYS 20000

static void owners(const fw_balancer *balancer, size_t first, size_t count, size_t *ret_owners)
{
    void *state = balancer->create();
    make_list(first, count);
    FWT_OK(balancer->update(state, endpoints, count));
    for (uint64_t key = 0; key < KEYS; key++)
        ret_owners[key] = first + (size_t)pick_key(balancer, state, key);
    balancer->destroy(state);
}

static size_t before[KEYS], after[KEYS];

/* One of 50 leaves: its keys move, and few others. */
static void check_disruption(const fw_balancer *balancer, double most_others)
{
    size_t moved = 0, others = 0;
    owners(balancer, 0, 50, before);
    owners(balancer, 1, 49, after);
    for (size_t key = 0; key < KEYS; key++) {
        moved += before[key] == 0;
        others += before[key] != 0 && before[key] != after[key];
    }
    ck_assert_uint_gt(moved, KEYS / 50 / 2);
    ck_assert_uint_lt(moved, KEYS / 50 * 2);
    ck_assert_msg((double)others <= most_others * KEYS, "%zu keys of others moved", others);
}

START_TEST(on_a_ring_only_the_keys_of_who_left_move)
{
    check_disruption(&fw_balancer_hash, 0);
}
END_TEST

START_TEST(maglev_moves_few_keys)
{
    check_disruption(&fw_balancer_maglev, 0.02);
}
END_TEST

START_TEST(clients_agree_whatever_the_order)
{
    static const fw_balancer *const of_keys[] = {&fw_balancer_hash, &fw_balancer_maglev};
    const fw_balancer *balancer = of_keys[_i];
    owners(balancer, 0, 20, before);
    void *state = balancer->create();
    make_list(0, 20);
    for (size_t i = 0; i < 10; i++) { /* the other way round */
        fw_balancer_endpoint swapped = endpoints[i];
        endpoints[i] = endpoints[19 - i];
        endpoints[19 - i] = swapped;
    }
    FWT_OK(balancer->update(state, endpoints, 20));
    for (uint64_t key = 0; key < KEYS; key++)
        ck_assert_uint_eq(19 - (size_t)pick_key(balancer, state, key), before[key]);
    balancer->destroy(state);
}
END_TEST

START_TEST(keys_are_spread_by_weight)
{
    static const struct {
        const fw_balancer *balancer;
        double off; /* of its share */
    } rows[] = {{&fw_balancer_hash, 0.4}, {&fw_balancer_maglev, 0.1}};
    const fw_balancer *balancer = rows[_i].balancer;
    void *state = balancer->create();
    make_list(0, 20);
    set_weight(4, 4);
    FWT_OK(balancer->update(state, endpoints, 20));
    for (uint64_t key = 0; key < 200000; key++)
        counts[pick_key(balancer, state, key)]++;
    for (size_t i = 0; i < 20; i++) {
        double share = 200000.0 * endpoints[i].weight / 23;
        ck_assert_msg(fabs((double)counts[i] - share) < rows[_i].off * share, "%zu: %zu for %f", i,
                      counts[i], share);
    }
    balancer->destroy(state);
}
END_TEST

/* However the keys are, nobody gets more than a quarter over the mean. */
START_TEST(a_hot_key_does_not_overload_its_endpoint)
{
    fwi_random_seed(9);
    const fw_balancer *balancer = &fw_balancer_hash;
    for (int round = 0; round < 20; round++) {
        size_t count = 2 + fwi_random_below(50), given = 0;
        uint32_t keys = 1 + fwi_random_below(10);
        void *state = balancer->create();
        make_list((size_t)round * 100, count);
        FWT_OK(balancer->update(state, endpoints, count));
        for (size_t i = 0; i < 3000; i++) {
            fw_balancer_call call = {
                .has_key = true, .key = fwi_random_below(keys), .in_flight = given};
            int at = balancer->pick(state, &call);
            double bound = ceil(1.25 * (double)(given + 1) / (double)count + 1e-9);
            endpoints[at].in_flight++;
            given++;
            ck_assert_uint_le(endpoints[at].in_flight, (size_t)bound);
        }
        balancer->destroy(state);
    }
}
END_TEST

START_TEST(the_keys_of_one_that_is_out_are_spread_and_come_back)
{
    static const fw_balancer *const of_keys[] = {&fw_balancer_hash, &fw_balancer_maglev};
    const fw_balancer *balancer = of_keys[_i];
    owners(balancer, 0, 10, before);
    void *state = balancer->create();
    make_list(0, 10);
    FWT_OK(balancer->update(state, endpoints, 10));
    endpoints[4].usable = false;
    for (uint64_t key = 0; key < KEYS; key++) {
        size_t at = (size_t)pick_key(balancer, state, key);
        if (before[key] == 4)
            counts[at]++;
        else
            ck_assert_uint_eq(at, before[key]);
    }
    for (size_t i = 0; i < 10; i++)
        if (i != 4)
            ck_assert_uint_gt(counts[i], 0);
    endpoints[4].usable = true;
    for (uint64_t key = 0; key < KEYS; key++)
        ck_assert_uint_eq((size_t)pick_key(balancer, state, key), before[key]);
    balancer->destroy(state);
}
END_TEST

START_TEST(sticky_keys_stay)
{
    const fw_balancer *balancer = &fw_balancer_sticky;
    static int first[1000];
    void *state = balancer->create();
    make_list(0, 10);
    FWT_OK(balancer->update(state, endpoints, 10));
    for (uint64_t key = 0; key < 1000; key++)
        first[key] = pick_key(balancer, state, key);
    /* Others join, and the list is in another order: nothing moves. */
    make_list(0, 20);
    fw_balancer_endpoint swapped = endpoints[0];
    endpoints[0] = endpoints[19];
    endpoints[19] = swapped;
    FWT_OK(balancer->update(state, endpoints, 20));
    for (uint64_t key = 0; key < 1000; key++)
        ck_assert_int_eq(pick_key(balancer, state, key), first[key] ? first[key] : 19);
    /* One is out: its keys move, and stay where they went. */
    endpoints[5].usable = false;
    static int second[1000];
    for (uint64_t key = 0; key < 1000; key++) {
        second[key] = pick_key(balancer, state, key);
        if (first[key] != 5 && first[key])
            ck_assert_int_eq(second[key], first[key]);
    }
    endpoints[5].usable = true;
    for (uint64_t key = 0; key < 1000; key++)
        ck_assert_int_eq(pick_key(balancer, state, key), second[key]);
    balancer->destroy(state);
}
END_TEST

START_TEST(sticky_forgets_the_oldest_keys)
{
    const fw_balancer *balancer = &fw_balancer_sticky;
    void *state = balancer->create();
    make_list(0, 2);
    FWT_OK(balancer->update(state, endpoints, 2));
    int at = pick_key(balancer, state, 1000000);
    for (uint64_t key = 0; key < 100000; key++) { /* many others, and it is used among them */
        pick_key(balancer, state, key);
        if (key % 100 == 0)
            ck_assert_int_eq(pick_key(balancer, state, 1000000), at);
    }
    balancer->destroy(state);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("balancer");
    TCase *every = tcase_create("every one");
    suite_add_tcase(suite, every);
    tcase_set_timeout(every, 120);
    tcase_add_test(every, balancers_have_names);
    tcase_add_loop_test(every, only_usable_ones_are_picked, 0, BALANCERS);
    tcase_add_loop_test(every, any_list_is_served, 0, BALANCERS);
    TCase *turns = tcase_create("turns");
    suite_add_tcase(suite, turns);
    tcase_set_timeout(turns, 120);
    tcase_add_test(turns, round_robin_gives_everyone_a_turn);
    tcase_add_loop_test(turns, turns_begin_anywhere, 0, 2);
    tcase_add_test(turns, weighted_turns_are_exact_and_smooth);
    tcase_add_test(turns, a_weight_may_change);
    TCase *loads = tcase_create("loads");
    suite_add_tcase(suite, loads);
    tcase_set_timeout(loads, 120);
    tcase_add_test(loads, random_is_even);
    tcase_add_test(loads, the_least_loaded_is_picked);
    tcase_add_test(loads, two_choices_leave_the_slow_alone);
    TCase *keys = tcase_create("keys");
    suite_add_tcase(suite, keys);
    tcase_set_timeout(keys, 120);
    tcase_add_test(keys, on_a_ring_only_the_keys_of_who_left_move);
    tcase_add_test(keys, maglev_moves_few_keys);
    tcase_add_loop_test(keys, clients_agree_whatever_the_order, 0, 2);
    tcase_add_loop_test(keys, keys_are_spread_by_weight, 0, 2);
    tcase_add_test(keys, a_hot_key_does_not_overload_its_endpoint);
    tcase_add_loop_test(keys, the_keys_of_one_that_is_out_are_spread_and_come_back, 0, 2);
    tcase_add_test(keys, sticky_keys_stay);
    tcase_add_test(keys, sticky_forgets_the_oldest_keys);
    return fwt_main(suite);
}
