/*
 * The bed at work, and what it is worth: with mistakes built in, it must notice each.
 *
 * A failure prints its seed; BED_SEED=n runs that one alone. The first BED_SEEDS are tried (2000),
 * or as many as fit in BED_SECONDS (real); the number is printed.
 */
#include "bed.h"
#include "fwt.h"

#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEEDS 2000

START_TEST(a_seed_replays_bit_by_bit)
{
    bed_set_up();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t digest = bed_run_seed(seed, BED_CLOCKS_WRONG);
        ck_assert_uint_eq(bed_run_seed(seed, BED_CLOCKS_WRONG), digest);
        ck_assert_uint_ne(bed_run_seed(seed + 1, BED_CLOCKS_WRONG), digest);
    }
}
END_TEST

START_TEST(nothing_is_lost_whatever_the_seed)
{
    bed_set_up();
    const char *one = getenv("BED_SEED"), *seconds = getenv("BED_SECONDS");
    const char *seeds = getenv("BED_SEEDS");
    size_t wanted = seeds ? strtoul(seeds, NULL, 10) : SEEDS;
    double limit = seconds ? strtod(seconds, NULL) : 0;
    uint64_t seed = one ? strtoull(one, NULL, 10) : 1;
    time_t began = time(NULL);
    size_t count = 0;
    do {
        bed_run_seed(seed, BED_CLOCKS_WRONG);
        if (*bed_failure())
            ck_abort_msg("BED_SEED=%llu: %s", (unsigned long long)seed, bed_failure());
        seed++;
        count++;
    } while (!one && (seconds ? difftime(time(NULL), began) < limit : count < wanted));
    printf("%zu seeds\n", count);
}
END_TEST

/* With a mistake built in, one of a few hundred seeds must fail, and by this rule. */
static void must_be_caught(fwi_fault_kind fault, const char *rule)
{
    bed_set_up();
    fwi_fault = fault;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        bed_run_seed(seed, BED_CLOCKS_WRONG);
        if (!*bed_failure())
            continue;
        printf("caught by seed %llu: %s\n", (unsigned long long)seed, bed_failure());
        if (!strncmp(bed_failure(), rule, strlen(rule)))
            return;
    }
    ck_abort_msg("not caught as \"%s\"", rule);
}

START_TEST(a_lease_that_is_not_granted_again_is_caught)
{
    must_be_caught(FWI_SKIP_REGRANT, "listed");
}
END_TEST

START_TEST(a_put_that_is_not_read_back_is_caught)
{
    must_be_caught(FWI_SKIP_READ_BACK, "listed");
}
END_TEST

START_TEST(a_deleted_key_that_nobody_notices_is_caught)
{
    must_be_caught(FWI_SKIP_OWN_WATCH, "listed");
}
END_TEST

START_TEST(a_list_that_only_grows_is_caught)
{
    must_be_caught(FWI_IGNORE_REMOVALS, "history: a list");
}
END_TEST

START_TEST(a_list_that_a_wiped_store_empties_is_caught)
{
    must_be_caught(FWI_SKIP_HOLD, "empty");
}
END_TEST

START_TEST(a_change_that_is_not_shown_is_caught)
{
    must_be_caught(FWI_IGNORE_CHANGES, "history: a list");
}
END_TEST

START_TEST(a_watch_that_begins_after_the_list_is_caught)
{
    must_be_caught(FWI_WATCH_FROM_NOW, "history: services/");
}
END_TEST

START_TEST(a_list_that_is_read_after_the_watch_began_is_caught)
{
    must_be_caught(FWI_LIST_AFTER_WATCH, "history: services/");
}
END_TEST

START_TEST(a_consumer_that_tells_more_than_it_knows_is_caught)
{
    must_be_caught(FWI_IGNORE_CHANGES, "seen");
}
END_TEST

START_TEST(an_instance_that_comes_back_in_spite_of_its_drain_is_caught)
{
    must_be_caught(FWI_PUT_BEFORE_KNOWN, "drained");
}
END_TEST

/* Whatever time the machines think it is, the same happens; with one rule that goes by their clocks
 * it does not. */
static unsigned differences(unsigned seeds)
{
    unsigned count = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        count += bed_run_seed(seed, BED_CLOCKS_WRONG) != bed_run_seed(seed, BED_CLOCKS_RIGHT);
    return count;
}

START_TEST(no_rule_depends_on_the_machines_clocks)
{
    bed_set_up();
    ck_assert_uint_eq(differences(300), 0);
    fwi_fault = FWI_COUNT_BY_WALL_CLOCK;
    unsigned count = differences(300);
    printf("told apart by %u seeds\n", count);
    ck_assert_uint_gt(count, 0);
}
END_TEST

/* The failure of a seed is the same each time, and so is all that led to it. */
START_TEST(a_failure_replays_bit_by_bit)
{
    bed_set_up();
    fwi_fault = FWI_SKIP_READ_BACK;
    unsigned failures = 0;
    for (uint64_t seed = 1; seed <= 500 && failures < 3; seed++) {
        uint64_t digest = bed_run_seed(seed, BED_CLOCKS_WRONG);
        char failure[BED_FAILURE_BYTES];
        snprintf(failure, sizeof failure, "%s", bed_failure());
        if (!*failure)
            continue;
        failures++;
        bed_run_seed(seed + 1000, BED_CLOCKS_WRONG);
        ck_assert_uint_eq(bed_run_seed(seed, BED_CLOCKS_WRONG), digest);
        ck_assert_str_eq(bed_failure(), failure);
    }
    ck_assert_uint_eq(failures, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("discovery bed");
    TCase *tcase = fwt_tcase(suite, "bed", 900);
    tcase_add_test(tcase, a_seed_replays_bit_by_bit);
    tcase_add_test(tcase, nothing_is_lost_whatever_the_seed);
    tcase_add_test(tcase, a_lease_that_is_not_granted_again_is_caught);
    tcase_add_test(tcase, a_put_that_is_not_read_back_is_caught);
    tcase_add_test(tcase, a_deleted_key_that_nobody_notices_is_caught);
    tcase_add_test(tcase, a_list_that_only_grows_is_caught);
    tcase_add_test(tcase, a_list_that_a_wiped_store_empties_is_caught);
    tcase_add_test(tcase, a_change_that_is_not_shown_is_caught);
    tcase_add_test(tcase, a_watch_that_begins_after_the_list_is_caught);
    tcase_add_test(tcase, a_list_that_is_read_after_the_watch_began_is_caught);
    tcase_add_test(tcase, a_consumer_that_tells_more_than_it_knows_is_caught);
    tcase_add_test(tcase, an_instance_that_comes_back_in_spite_of_its_drain_is_caught);
    tcase_add_test(tcase, no_rule_depends_on_the_machines_clocks);
    tcase_add_test(tcase, a_failure_replays_bit_by_bit);
    return fwt_main(suite);
}
