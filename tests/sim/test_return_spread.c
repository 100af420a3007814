/*
 * A thousand registrars come back after an outage: not in the same second, and none too late. In a
 * simulated world, so the times are exact and the same in every run.
 */
#include "fwt.h"
#include "sim_impl.h"

#include "base/random.h"

#include <fairway/discovery.h>
#include <stdio.h>
#include <stdlib.h>

#define PROCESSES  20
#define EACH       50
#define REGISTRARS (PROCESSES * EACH)
#define TTL_MS     10000
#define WINDOW_MS  (TTL_MS / 2)
#define SECONDS    (WINDOW_MS / 1000 + 2)

static sim_world *world;
static struct process {
    sim_process *process;
    fw_kv *kv;
} processes[PROCESSES];
static struct member {
    fw_registrar *registrar;
    bool is_registered;
    uint64_t since_ms; /* when it was registered last */
} members[REGISTRARS];

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    struct member *member = arg;
    member->is_registered = status->state == FW_REGISTRAR_REGISTERED;
    member->since_ms = world->now_ms;
}

static void begin(void)
{
    FWT_OK(fwi_kv_driver_add(&sim_driver));
    fwi_random_seed(1);
    world = sim_world_new(1);
    for (size_t i = 0; i < PROCESSES; i++) {
        struct process *process = &processes[i];
        process->process = sim_process_new(world);
        FWT_OK(fw_kv_open(process->process->loop, sim_url(process->process), NULL, &process->kv));
    }
    for (size_t i = 0; i < REGISTRARS; i++) {
        fw_registrar_options options = {
            .ttl_ms = TTL_MS, .on_status = on_status, .arg = &members[i]};
        FWT_OK(fw_registrar_new(processes[i % PROCESSES].kv, &options, &members[i].registrar));
        char id[16];
        snprintf(id, sizeof id, "i%zu", i);
        fw_instance instance = {.service = "echo", .id = id, .net = "tcp", .addr = "127.0.0.1:1"};
        FWT_OK(fw_registrar_set(members[i].registrar, &instance));
    }
    /* The first time nobody waits for anything. */
    sim_run_until(world, world->now_ms + 1000);
    for (size_t i = 0; i < REGISTRARS; i++)
        ck_assert(members[i].is_registered);
}

static void on_closed(void *arg)
{
    ++*(size_t *)arg;
}

static void end(void)
{
    size_t closed = 0;
    for (size_t i = 0; i < REGISTRARS; i++)
        fw_registrar_close(members[i].registrar, on_closed, &closed);
    sim_run_until(world, world->now_ms + 10000);
    ck_assert_uint_eq(closed, REGISTRARS);
    for (size_t i = 0; i < PROCESSES; i++)
        fw_kv_close(processes[i].kv, on_closed, &closed);
    sim_run_until(world, world->now_ms + 1000);
    ck_assert_uint_eq(closed, REGISTRARS + PROCESSES);
    for (size_t i = 0; i < PROCESSES; i++)
        sim_process_free(processes[i].process);
    sim_world_free(world);
}

/* How many came back in each second after a moment; prints it. The last has who came later. */
static void count_returns(uint64_t from_ms, size_t *ret_counts, size_t seconds)
{
    for (size_t i = 0; i < seconds; i++)
        ret_counts[i] = 0;
    for (size_t i = 0; i < REGISTRARS; i++) {
        ck_assert(members[i].is_registered);
        ck_assert_uint_gt(members[i].since_ms, from_ms);
        uint64_t second = (members[i].since_ms - from_ms) / 1000;
        ret_counts[second < seconds ? second : seconds - 1]++;
    }
    for (size_t i = 0; i < seconds; i++)
        printf("%s%zu", i ? " " : "", ret_counts[i]);
    printf(" came back in these seconds\n");
}

START_TEST(after_an_outage_they_come_back_spread_over_the_window)
{
    begin();
    sim_store_set_down(world, true);
    sim_run_until(world, world->now_ms + 3 * TTL_MS);
    for (size_t i = 0; i < REGISTRARS; i++)
        ck_assert(!members[i].is_registered);
    sim_store_set_down(world, false);
    uint64_t up_ms = world->now_ms;
    sim_run_until(world, up_ms + WINDOW_MS + 2000);
    size_t counts[SECONDS + 1];
    count_returns(up_ms, counts, SECONDS + 1);
    /* A window has five seconds: a fifth in each would be even. */
    for (size_t i = 0; i < SECONDS; i++)
        ck_assert_uint_le(counts[i], REGISTRARS * 3 / 10);
    for (size_t i = 0; i < WINDOW_MS / 1000; i++)
        ck_assert_uint_ge(counts[i], REGISTRARS / 10);
    ck_assert_uint_eq(counts[SECONDS], 0);
    end();
}
END_TEST

START_TEST(after_a_wipe_they_come_back_spread_over_the_window)
{
    begin();
    sim_store_wipe(world);
    uint64_t wiped_ms = world->now_ms;
    /* Each learns of it when it renews its lease, at a third of its time. */
    enum { MOST = TTL_MS / 3 / 1000 + SECONDS + 1 };
    sim_run_until(world, wiped_ms + MOST * 1000);
    size_t counts[MOST + 1];
    count_returns(wiped_ms, counts, MOST + 1);
    for (size_t i = 0; i < MOST; i++)
        ck_assert_uint_le(counts[i], REGISTRARS * 3 / 10);
    ck_assert_uint_eq(counts[MOST], 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("return spread");
    TCase *tcase = fwt_tcase(suite, "spread", 300);
    tcase_add_test(tcase, after_an_outage_they_come_back_spread_over_the_window);
    tcase_add_test(tcase, after_a_wipe_they_come_back_spread_over_the_window);
    return fwt_main(suite);
}
