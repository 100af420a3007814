/* The checker of histories of discovery: a good one passes, and each rule is broken once. */
#include "fwt.h"

#include "disc_history.h"

#include <stdlib.h>
#include <string.h>

#define INSTANCES 3
#define WATCHERS  2
#define RECORDS   64
#define MS        UINT64_C(1000000)

static disc_record registrar_records[INSTANCES][RECORDS], watcher_records[WATCHERS][RECORDS];
static disc_log registrars[INSTANCES], watchers[WATCHERS];
static disc_instance instances[INSTANCES];
static disc_fault faults[2];
static disc_process processes[2];
static uint32_t final[INSTANCES + 1];
static disc_histories histories;
static uint32_t count[WATCHERS], held[WATCHERS];

static void add(disc_log *log, disc_record record)
{
    ck_assert_uint_lt(log->count, RECORDS);
    ((disc_record *)log->records)[log->count++] = record;
}

/* Times are milliseconds. */
static void status(uint32_t instance, uint64_t ms, fw_registrar_state state)
{
    add(&registrars[instance],
        (disc_record){
            .time_ns = ms * MS, .what = DISC_STATUS, .type = (uint8_t)state, .instance = instance});
}

static void event(size_t watcher, uint64_t ms, fw_watcher_event_type type, uint32_t instance)
{
    count[watcher] += type == FW_WATCHER_ADDED;
    count[watcher] -= type == FW_WATCHER_REMOVED;
    add(&watchers[watcher], (disc_record){.time_ns = ms * MS,
                                          .what = DISC_EVENT,
                                          .type = (uint8_t)type,
                                          .instance = instance,
                                          .count = count[watcher],
                                          .held = held[watcher]});
}

static void sample(size_t watcher, uint64_t ms, uint32_t holds)
{
    held[watcher] = holds;
    add(&watchers[watcher], (disc_record){.time_ns = ms * MS,
                                          .what = DISC_SAMPLE,
                                          .instance = DISC_NO_INSTANCE,
                                          .count = count[watcher],
                                          .held = holds});
}

/* Three instances, known to two watchers by 1000; a fault from 2000 to 4000; the end is at 20000.
 * Bounds: listed again within 3000, unlisted within 5000. */
static void setup(void)
{
    memset(count, 0, sizeof count);
    memset(held, 0, sizeof held);
    memset(instances, 0, sizeof instances);
    memset(processes, 0, sizeof processes);
    faults[0] = (disc_fault){.name = "the fault", .from_ns = 2000 * MS, .until_ns = 4000 * MS};
    histories = (disc_histories){.registrars = registrars,
                                 .registrar_count = INSTANCES,
                                 .watchers = watchers,
                                 .watcher_count = WATCHERS,
                                 .instances = instances,
                                 .instance_count = INSTANCES,
                                 .faults = faults,
                                 .fault_count = 1,
                                 .processes = processes,
                                 .process_count = 2,
                                 .final = final,
                                 .final_count = INSTANCES,
                                 .end_ns = 20000 * MS,
                                 .relist_ms = 3000,
                                 .unlist_ms = 5000};
    for (uint32_t i = 0; i < INSTANCES; i++) {
        registrars[i] = (disc_log){.records = registrar_records[i]};
        instances[i].log = i;
        final[i] = i;
        status(i, 500, FW_REGISTRAR_REGISTERED);
    }
    for (size_t w = 0; w < WATCHERS; w++) {
        watchers[w] = (disc_log){.records = watcher_records[w]};
        for (uint32_t i = 0; i < INSTANCES; i++)
            event(w, 600 + i, FW_WATCHER_ADDED, i);
        event(w, 700, FW_WATCHER_SYNCED, DISC_NO_INSTANCE);
    }
}

/* What the first line of breaches is ("": there is none), and how many there are. */
static size_t check(char *ret_line, size_t size)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    size_t breaches = disc_check(&histories, out);
    fclose(out);
    snprintf(ret_line, size, "%s", text);
    ret_line[strcspn(ret_line, "\n")] = 0;
    free(text);
    return breaches;
}

static void holds(void)
{
    char line[200];
    size_t breaches = check(line, sizeof line);
    ck_assert_msg(breaches == 0, "%s", line);
}

static void is_broken(const char *wanted, size_t times)
{
    char line[200];
    size_t breaches = check(line, sizeof line);
    ck_assert_str_eq(line, wanted);
    ck_assert_uint_eq(breaches, times);
}

START_TEST(a_good_history_passes)
{
    holds();
    /* The store loses two and has them back in time; the watchers hold them meanwhile. */
    for (size_t w = 0; w < WATCHERS; w++) {
        event(w, 2100, FW_WATCHER_STALE, DISC_NO_INSTANCE);
        event(w, 4100, FW_WATCHER_SYNCED, DISC_NO_INSTANCE);
        sample(w, 4120, 2);
        event(w, 4300, FW_WATCHER_HELD, 0);
        event(w, 4310, FW_WATCHER_HELD, 1);
        held[w] = 1;
        event(w, 5000, FW_WATCHER_RELISTED, 0);
        held[w] = 0;
        event(w, 5100, FW_WATCHER_RELISTED, 1);
    }
    for (uint32_t i = 0; i < INSTANCES; i++) {
        status(i, 3000, FW_REGISTRAR_LOST);
        status(i, 5200, FW_REGISTRAR_REGISTERED);
    }
    holds();
    ck_assert_uint_eq(disc_recovery_ns(&histories, 0), 1200 * MS);
    /* One dies, and is gone in time. */
    instances[2].killed_ns = 10000 * MS;
    processes[1] = (disc_process){.name = "registrars 1", .killed = true, .code = 137};
    for (size_t w = 0; w < WATCHERS; w++)
        event(w, 14000, FW_WATCHER_REMOVED, 2);
    histories.final_count = 2;
    holds();
    ck_assert_uint_eq(disc_unlisting_ns(&histories), 4000 * MS);
}
END_TEST

START_TEST(an_instance_that_comes_back_late_is_noticed)
{
    event(1, 2500, FW_WATCHER_REMOVED, 1);
    event(1, 7001, FW_WATCHER_ADDED, 1);
    is_broken("relisted: watcher 1: i1 was not listed 3000 ms after the fault", 1);
    ck_assert_uint_eq(disc_recovery_ns(&histories, 0), 3001 * MS);
}
END_TEST

START_TEST(an_instance_that_is_only_held_is_noticed)
{
    event(0, 2500, FW_WATCHER_HELD, 2);
    event(0, 8000, FW_WATCHER_RELISTED, 2);
    is_broken("relisted: watcher 0: i2 was not listed 3000 ms after the fault, but held", 1);
}
END_TEST

START_TEST(what_is_being_asked_still_is_noticed)
{
    sample(0, 4500, 2);
    sample(0, 7500, 0);
    is_broken("relisted: watcher 0: 2 were held 3000 ms after the fault", 1);
}
END_TEST

START_TEST(a_watcher_without_contact_is_noticed)
{
    event(0, 2500, FW_WATCHER_STALE, DISC_NO_INSTANCE);
    event(0, 9000, FW_WATCHER_LIVE, DISC_NO_INSTANCE);
    is_broken("relisted: watcher 0: had no contact 3000 ms after the fault", 1);
    ck_assert_uint_eq(disc_recovery_ns(&histories, 0), 5000 * MS);
}
END_TEST

START_TEST(contact_that_is_lost_later_is_no_breach)
{
    event(0, 6500, FW_WATCHER_STALE, DISC_NO_INSTANCE);
    event(0, 7500, FW_WATCHER_LIVE, DISC_NO_INSTANCE);
    holds();
}
END_TEST

START_TEST(a_registrar_that_knows_nothing_of_it_is_noticed)
{
    status(0, 3000, FW_REGISTRAR_LOST);
    status(0, 7100, FW_REGISTRAR_REGISTERED);
    is_broken("registered: i0 was not registered by its own word 3000 ms after the fault", 1);
}
END_TEST

START_TEST(an_instance_that_goes_again_is_noticed)
{
    event(0, 8000, FW_WATCHER_REMOVED, 1);
    event(0, 8100, FW_WATCHER_ADDED, 1);
    is_broken("stays_listed: watcher 0: i1 was taken out 4000 ms after the fault", 1);
}
END_TEST

START_TEST(an_instance_that_is_held_again_is_noticed)
{
    sample(1, 8000, 1);
    event(1, 8200, FW_WATCHER_HELD, 1);
    held[1] = 0;
    event(1, 8300, FW_WATCHER_RELISTED, 1);
    is_broken("stays_listed: watcher 1: 1 were held 4000 ms after the fault", 2);
}
END_TEST

START_TEST(a_registration_that_is_lost_again_is_noticed)
{
    status(2, 8000, FW_REGISTRAR_LOST);
    status(2, 8500, FW_REGISTRAR_REGISTERED);
    is_broken("stays_listed: i2: its registration was lost 4000 ms after the fault", 1);
}
END_TEST

START_TEST(what_is_settled_early_must_stay_from_then_on)
{
    event(0, 5000, FW_WATCHER_REMOVED, 1);
    event(0, 5100, FW_WATCHER_ADDED, 1);
    holds();
    faults[0].settled_ns = 4500 * MS;
    is_broken("stays_listed: watcher 0: i1 was taken out 1000 ms after the fault", 1);
}
END_TEST

START_TEST(the_next_fault_may_take_away_again)
{
    faults[1] = (disc_fault){.name = "another", .from_ns = 8000 * MS, .until_ns = 9000 * MS};
    event(0, 8500, FW_WATCHER_REMOVED, 1);
    event(0, 8600, FW_WATCHER_ADDED, 1);
    ck_assert_uint_eq(histories.fault_count, 1);
    is_broken("stays_listed: watcher 0: i1 was taken out 4500 ms after the fault", 1);
    histories.fault_count = 2;
    holds();
}
END_TEST

START_TEST(a_dead_instance_that_stays_is_noticed)
{
    instances[0].killed_ns = 9000 * MS;
    final[0] = 1;
    final[1] = 2;
    histories.final_count = 2;
    event(0, 14001, FW_WATCHER_REMOVED, 0);
    event(1, 13999, FW_WATCHER_REMOVED, 0);
    is_broken("unlisted: watcher 0: i0 was in the list 5001 ms after its death", 1);
    watchers[1].count--;
    is_broken("unlisted: watcher 0: i0 was in the list 5001 ms after its death", 2);
}
END_TEST

START_TEST(who_dies_with_the_store_away_has_the_time_from_its_return)
{
    instances[0].killed_ns = 2500 * MS;
    final[0] = 1;
    final[1] = 2;
    histories.final_count = 2;
    event(0, 8900, FW_WATCHER_REMOVED, 0);
    event(1, 8900, FW_WATCHER_REMOVED, 0);
    holds();
}
END_TEST

START_TEST(an_empty_list_is_noticed)
{
    for (uint32_t i = 0; i < INSTANCES; i++)
        event(0, 2500 + i, FW_WATCHER_REMOVED, i);
    for (uint32_t i = 0; i < INSTANCES; i++)
        event(0, 2600 + i, FW_WATCHER_ADDED, i);
    is_broken("never_empty: watcher 0: the list was empty at 2502 ms, but i0 lived", 1);
}
END_TEST

START_TEST(a_list_is_empty_when_all_are_dead)
{
    for (uint32_t i = 0; i < INSTANCES; i++) {
        instances[i].killed_ns = 10000 * MS;
        for (size_t w = 0; w < WATCHERS; w++)
            event(w, 12000 + i, FW_WATCHER_REMOVED, i);
    }
    histories.final_count = 0;
    holds();
    instances[1].killed_ns = 0;
    char line[200];
    check(line, sizeof line);
    ck_assert_msg(strstr(line, "stays_listed: watcher 0: i1"), "%s", line);
}
END_TEST

START_TEST(events_that_lie_are_noticed)
{
    event(0, 2500, FW_WATCHER_CHANGED, 1);
    holds();
    event(0, 2600, FW_WATCHER_ADDED, 1);
    is_broken("true_events: watcher 0: added though it was in the list (event 0, i1, count 4 after "
              "3)",
              1);
    watchers[0].count--;
    event(0, 2600, FW_WATCHER_RELISTED, 1);
    char line[200];
    check(line, sizeof line);
    ck_assert_msg(strstr(line, "relisted though it was not held"), "%s", line);
}
END_TEST

START_TEST(a_count_that_does_not_fit_is_noticed)
{
    count[1] = 2;
    sample(1, 2500, 0);
    count[1] = 3;
    sample(1, 2600, 0);
    char line[200];
    ck_assert_uint_eq(check(line, sizeof line), 2);
    ck_assert_msg(strstr(line, "the count is not what the events make"), "%s", line);
}
END_TEST

START_TEST(an_instance_that_there_never_was_is_noticed)
{
    event(0, 2500, FW_WATCHER_CHANGED, 77);
    char line[200];
    check(line, sizeof line);
    ck_assert_msg(strstr(line, "an instance that there never was"), "%s", line);
    watchers[0].count--;
    final[INSTANCES] = 77;
    histories.final_count++;
    is_broken("final: the store has an instance that there never was", 1);
}
END_TEST

START_TEST(the_end_is_compared)
{
    histories.final_count = 2;
    is_broken("final: the store does not have i2", 1);
    histories.final_count = 3;
    instances[2].killed_ns = 10000 * MS;
    for (size_t w = 0; w < WATCHERS; w++)
        event(w, 12000, FW_WATCHER_REMOVED, 2);
    is_broken("final: the store still has i2", 1);
}
END_TEST

START_TEST(a_process_that_ended_is_noticed)
{
    processes[1] = (disc_process){.name = "watchers 1", .code = 139};
    is_broken("no_exit: watchers 1 ended with 139", 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checker of discovery");
    TCase *tcase = tcase_create("rules");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, a_good_history_passes);
    tcase_add_test(tcase, an_instance_that_comes_back_late_is_noticed);
    tcase_add_test(tcase, an_instance_that_is_only_held_is_noticed);
    tcase_add_test(tcase, what_is_being_asked_still_is_noticed);
    tcase_add_test(tcase, a_watcher_without_contact_is_noticed);
    tcase_add_test(tcase, contact_that_is_lost_later_is_no_breach);
    tcase_add_test(tcase, a_registrar_that_knows_nothing_of_it_is_noticed);
    tcase_add_test(tcase, an_instance_that_goes_again_is_noticed);
    tcase_add_test(tcase, an_instance_that_is_held_again_is_noticed);
    tcase_add_test(tcase, a_registration_that_is_lost_again_is_noticed);
    tcase_add_test(tcase, what_is_settled_early_must_stay_from_then_on);
    tcase_add_test(tcase, the_next_fault_may_take_away_again);
    tcase_add_test(tcase, a_dead_instance_that_stays_is_noticed);
    tcase_add_test(tcase, who_dies_with_the_store_away_has_the_time_from_its_return);
    tcase_add_test(tcase, an_empty_list_is_noticed);
    tcase_add_test(tcase, a_list_is_empty_when_all_are_dead);
    tcase_add_test(tcase, events_that_lie_are_noticed);
    tcase_add_test(tcase, a_count_that_does_not_fit_is_noticed);
    tcase_add_test(tcase, an_instance_that_there_never_was_is_noticed);
    tcase_add_test(tcase, the_end_is_compared);
    tcase_add_test(tcase, a_process_that_ended_is_noticed);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
