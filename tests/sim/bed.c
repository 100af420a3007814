/*
 * The bed: registrars and watchers in a simulated world that goes wrong in every way, from a seed.
 *
 * Some providers register instances, some consumers watch. For a minute of virtual time faults come
 * at random: the store goes down, is wiped or compacted, keys are deleted or overwritten, leases
 * revoked; processes are cut off, lose answers, are stopped, killed and replaced. What must hold:
 *
 *   listed     an instance whose process runs and has reached the store for SETTLE_MS is in it
 *   unlisted   what a killed process registered is out of it after its TTL and SETTLE_MS
 *   told       a consumer that has reached the store for SETTLE_MS shows what is in it
 *   empty      a consumer's list is not without one to use while an instance that it knew runs and
 *              answers, unless that one went, on the store's word alone, as one of several. (That
 *              it then runs and answers says nothing: so does one that leaves in order and keeps
 *              its port. If the others then die, or are drained, the list is empty.)
 *   history    what a consumer's watch hears is a beginning of what happened in the store, and its
 *              list is at any time what the store had at the list's revision, and what is held
 *
 * and for drains what is said in bed_drains.c. No rule depends on the machines' clocks: each
 * process has a wrong one, which jumps, and all goes as it goes with right ones.
 */
#include "bed_impl.h"

#include "faults.h"
#include "fwt.h"
#include "keys.h"
#include "sim_impl.h"
#include "watcher.h"

#include "base/random.h"

#include <fairway/discovery.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define TROUBLE_MS    60000
#define FAULT_EVERY   2500
#define FAULT_MOST_MS 8000
#define CHECK_MS      500
#define SKEW_DAYS     10000
#define CLOCK_JUMP_MS 7000 /* so often they jump */

fwi_fault_kind fwi_fault;

int64_t fwi_skew_ms;

struct bed bed;
static bed_clocks clocks;

void bed_violated(const char *what, const char *whose)
{
    if (!*bed.failure)
        snprintf(bed.failure, sizeof bed.failure, "%s: %s at %llu ms", what, whose,
                 (unsigned long long)bed.world->now_ms);
}

bool bed_is_settled(uint64_t troubled_ms, bool is_faulty)
{
    uint64_t since = troubled_ms > bed.store_troubled_ms ? troubled_ms : bed.store_troubled_ms;
    return !is_faulty && !bed.is_store_faulty && bed.world->now_ms > since + SETTLE_MS;
}

/* The wrong time that a process has now: chance, but not that of the world, which is the same with
 * right clocks. */
static void set_clock(const sim_process *process)
{
    uint64_t dice = (process->number + 1) * UINT64_C(0x9e3779b97f4a7c15) ^
                    (bed.world->now_ms / CLOCK_JUMP_MS + 1) * UINT64_C(0x94d049bb133111eb);
    dice ^= dice >> 31;
    fwi_skew_ms = clocks == BED_CLOCKS_RIGHT
                      ? 0
                      : ((int64_t)(dice % (2 * SKEW_DAYS)) - SKEW_DAYS) * 24 * 3600 * 1000;
}

/* ---- providers and consumers ---- */

static void on_drain(fw_registrar *registrar, const fw_instance *instance, bool is_draining,
                     void *arg)
{
    (void)registrar;
    (void)instance;
    bed_drains_asked(arg, is_draining);
}

static void provider_start(struct provider *provider, unsigned number)
{
    *provider = (struct provider){.process = sim_process_new(bed.world)};
    snprintf(provider->id, sizeof provider->id, "i%u", number);
    provider->troubled_ms = bed.world->now_ms;
    fw_kv_options kv_options = {.timeout_ms = TIMEOUT_MS};
    FWT_OK(fw_kv_open(provider->process->loop, sim_url(provider->process), &kv_options,
                      &provider->kv));
    fw_registrar_options options = {.ttl_ms = TTL_MS, .on_drain = on_drain, .arg = provider};
    FWT_OK(fw_registrar_new(provider->kv, &options, &provider->registrar));
    fw_instance instance = {
        .service = SERVICE, .id = provider->id, .net = "tcp", .addr = PROVIDER_AT};
    FWT_OK(fw_registrar_set(provider->registrar, &instance));
}

/* ---- probes: whoever runs answers ---- */

struct fwi_probe {
    fw_loop *loop;
    fwi_timer timer;
    fwi_probe_fn fn;
    void *arg;
    char id[16];
};

static void on_probed(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_probe *probe = arg;
    int result = UV_ECONNREFUSED;
    for (size_t i = 0; i < PROVIDERS; i++)
        if (!strcmp(bed.providers[i].id, probe->id))
            result = FW_OK;
    fwi_probe_fn fn = probe->fn;
    void *fn_arg = probe->arg;
    free(probe);
    fn(result, fn_arg);
}

static int probe_start(fw_loop *loop, const fw_instance *instance, uint32_t timeout_ms,
                       fwi_probe_fn fn, void *arg, fwi_probe **ret_probe)
{
    (void)timeout_ms;
    fwi_probe *probe = sim_alloc(sizeof *probe);
    *probe = (fwi_probe){.loop = loop, .fn = fn, .arg = arg};
    snprintf(probe->id, sizeof probe->id, "%s", instance->id);
    probe->timer = (fwi_timer){.fn = on_probed, .arg = probe};
    fwi_loop_timer_start(loop, &probe->timer, 1 + sim_random(bed.world, 50));
    *ret_probe = probe;
    return FW_OK;
}

static void probe_cancel(fwi_probe *probe)
{
    fwi_loop_timer_stop(probe->loop, &probe->timer);
    free(probe);
}

static const fwi_prober prober = {.start = probe_start, .cancel = probe_cancel};

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    struct consumer *consumer = arg;
    if (event->type == FW_WATCHER_FATAL)
        consumer->is_fatal = true;
    if (event->type == FW_WATCHER_REMOVED)
        bed_forget_removed(consumer, event->instance);
    bed_drains_hear(consumer, event);
    sim_note(bed.world, (uint64_t)event->type ^ (uint64_t)event->revision << 8);
}

static void on_kv_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    struct consumer *consumer = arg;
    for (size_t i = 0; i < count; i++)
        if (!listener_hears(&consumer->heard, &bed.world->history, &events[i]))
            bed_violated("history", events[i].pair.key);
}

static void consumer_start(struct consumer *consumer)
{
    *consumer = (struct consumer){.process = sim_process_new(bed.world)};
    listener_init(&consumer->heard);
    fw_kv_options kv_options = {.timeout_ms = TIMEOUT_MS};
    FWT_OK(fw_kv_open(consumer->process->loop, sim_url(consumer->process), &kv_options,
                      &consumer->kv));
    const char *service = sim_random(bed.world, 2) ? SERVICE : NULL;
    snprintf(consumer->name, sizeof consumer->name, "%s/c%u", service ? service : FWI_ALL_SERVICES,
             bed.next_name++);
    consumer->troubled_ms = bed.world->now_ms;
    fw_watcher_options options = {.consumer = strchr(consumer->name, '/') + 1,
                                  .consumer_ttl_ms = TTL_MS,
                                  .on_event = on_event,
                                  .arg = consumer};
    FWT_OK(fwi_watcher_new(consumer->kv, service, &options, &prober, &consumer->watcher));
    FWT_OK(fw_kv_watch_tree(consumer->kv, "services", on_kv_events, consumer, &consumer->watch));
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

void bed_process_end(sim_process *process, fw_registrar *registrar, fw_watcher *watcher, fw_kv *kv)
{
    bool closed = false;
    process->is_paused = false;
    sim_process_wake(process);
    if (registrar)
        fw_registrar_close(registrar, NULL, NULL);
    if (watcher)
        fw_watcher_close(watcher, NULL, NULL);
    /* The store closes after what lives on it. */
    for (int i = 0; i < 3; i++)
        fwi_loop_set_time(process->loop, bed.world->now_ms);
    fw_kv_close(kv, on_closed, &closed);
    while (!closed)
        sim_run_until(bed.world, bed.world->now_ms + 100);
    sim_process_free(process);
}

/* ---- faults; each ends after a while ---- */

struct fault {
    void (*end)(struct fault *fault);
    struct provider *provider;
    struct consumer *consumer;
    sim_process *process;
};

static void on_fault_end(void *arg)
{
    struct fault *fault = arg;
    if (!bed.is_over)
        fault->end(fault);
    free(fault);
}

static void store_returns(struct fault *fault)
{
    (void)fault;
    sim_store_set_down(bed.world, false);
    bed.is_store_faulty = false;
    bed.store_troubled_ms = bed.world->now_ms;
}

static void process_returns(struct fault *fault)
{
    sim_process *process = fault->process;
    if (fault->provider && fault->provider->process == process) {
        fault->provider->is_faulty = false;
        fault->provider->troubled_ms = bed.world->now_ms;
    }
    if (fault->consumer && fault->consumer->process == process) {
        fault->consumer->is_faulty = false;
        fault->consumer->troubled_ms = bed.world->now_ms;
    }
    if (!process->loop)
        return; /* it was killed meanwhile */
    process->is_cut = false;
    process->lost_share = 0;
    sim_process_pause(process, false);
}

static void last(void (*end)(struct fault *fault), struct provider *provider,
                 struct consumer *consumer)
{
    struct fault *fault = calloc(1, sizeof *fault);
    *fault = (struct fault){end, provider, consumer,
                            provider   ? provider->process
                            : consumer ? consumer->process
                                       : NULL};
    sim_after(bed.world, 1 + sim_random(bed.world, FAULT_MOST_MS), on_fault_end, fault);
}

static void trouble_process(struct provider *provider, struct consumer *consumer)
{
    sim_process *process = provider ? provider->process : consumer->process;
    bool *is_faulty = provider ? &provider->is_faulty : &consumer->is_faulty;
    if (*is_faulty)
        return;
    *is_faulty = true;
    switch (sim_random(bed.world, 3)) {
    case 0:
        process->is_cut = true;
        break;
    case 1:
        process->lost_share = 300 + sim_random(bed.world, 700);
        break;
    default:
        sim_process_pause(process, true);
        break;
    }
    last(process_returns, provider, consumer);
}

/* Its id changes at once, and whoever probes the old one is refused; or it is another process with
 * the same id. */
static void kill_and_replace(struct provider *provider, bool is_same)
{
    unsigned number = is_same ? (unsigned)strtoul(provider->id + 1, NULL, 10) : bed.next_id++;
    if (!is_same && bed.dead_count < MAX_DEAD) {
        memcpy(bed.dead[bed.dead_count].id, provider->id, sizeof provider->id);
        bed.dead[bed.dead_count++].died_ms = bed.world->now_ms;
    }
    bed_drains_provider_gone(provider);
    sim_process_kill(provider->process);
    bed_process_end(provider->process, provider->registrar, NULL, provider->kv);
    provider_start(provider, number);
    for (size_t i = 0; i < CONSUMERS; i++)
        bed.consumers[i].knew[provider - bed.providers] = false;
}

static void consumer_end(struct consumer *consumer)
{
    fw_snapshot_release(consumer->snapshot);
    bed_process_end(consumer->process, NULL, consumer->watcher, consumer->kv);
    listener_fini(&consumer->heard);
}

/* Another process takes its place; it itself is killed, or leaves in order. */
static void replace_consumer(struct consumer *consumer)
{
    struct consumer old = *consumer;
    /* It tells nothing from now on. */
    fw_kv_watch_close(old.watch, NULL, NULL);
    fw_watcher_close(old.watcher, NULL, NULL);
    old.watcher = NULL;
    if (sim_random(bed.world, 2))
        sim_process_kill(old.process);
    bed_drains_consumer_gone(consumer);
    consumer_start(consumer);
    consumer_end(&old);
}

static void wipe(void)
{
    sim_store_wipe(bed.world);
    bed_drains_wiped();
}

static void trouble_store(unsigned kind)
{
    char key[40];
    struct provider *provider = &bed.providers[sim_random(bed.world, PROVIDERS)];
    snprintf(key, sizeof key, FWI_SERVICES_PREFIX "/" SERVICE "/%s", provider->id);
    bed.store_troubled_ms = bed.world->now_ms;
    switch (kind) {
    case 0:
    case 1:
        if (bed.is_store_faulty)
            return;
        bed.is_store_faulty = true;
        sim_store_set_down(bed.world, true);
        if (kind)
            wipe();
        last(store_returns, NULL, NULL);
        return;
    case 2:
        wipe();
        return;
    case 3:
        sim_store_delete(bed.world, key);
        return;
    case 4:
        sim_store_put(bed.world, key, FOREIGN);
        return;
    case 5:
        sim_store_revoke_any(bed.world);
        return;
    default:
        sim_store_compact(bed.world);
        return;
    }
}

static void on_fault_time(void *arg)
{
    (void)arg;
    if (bed.is_over)
        return;
    uint32_t kind = sim_random(bed.world, 21);
    if (kind < 7)
        trouble_store(kind);
    else if (kind < 10)
        trouble_process(&bed.providers[sim_random(bed.world, PROVIDERS)], NULL);
    else if (kind < 12)
        trouble_process(NULL, &bed.consumers[sim_random(bed.world, CONSUMERS)]);
    else if (kind < 15)
        kill_and_replace(&bed.providers[sim_random(bed.world, PROVIDERS)], kind == 14);
    else if (kind < 16)
        replace_consumer(&bed.consumers[sim_random(bed.world, CONSUMERS)]);
    else
        bed_drains_act();
    sim_after(bed.world, sim_random(bed.world, 2 * FAULT_EVERY), on_fault_time, NULL);
}

static void on_check_time(void *arg)
{
    (void)arg;
    if (bed.is_over)
        return;
    bed_check();
    sim_after(bed.world, CHECK_MS, on_check_time, NULL);
}

/* ---- one seed ---- */

/* Ends what is wrong, so that the last check sees a quiet world. */
static void calm_down(void)
{
    sim_store_set_down(bed.world, false);
    bed.is_store_faulty = false;
    bed.store_troubled_ms = bed.world->now_ms;
    for (size_t i = 0; i < PROVIDERS; i++) {
        process_returns(
            &(struct fault){.provider = &bed.providers[i], .process = bed.providers[i].process});
        if (bed.providers[i].has_left)
            bed_provider_returns(&bed.providers[i]);
    }
    for (size_t i = 0; i < CONSUMERS; i++)
        process_returns(
            &(struct fault){.consumer = &bed.consumers[i], .process = bed.consumers[i].process});
}

const char *bed_failure(void)
{
    return bed.failure;
}

uint64_t bed_run_seed(uint64_t seed, bed_clocks wanted)
{
    memset(&bed, 0, sizeof bed);
    clocks = wanted;
    fwi_random_seed(seed);
    bed.world = sim_world_new(seed);
    bed.world->on_turn = set_clock;
    for (size_t i = 0; i < PROVIDERS; i++)
        provider_start(&bed.providers[i], bed.next_id++);
    for (size_t i = 0; i < CONSUMERS; i++)
        consumer_start(&bed.consumers[i]);
    bed_drains_start();
    sim_after(bed.world, FAULT_EVERY, on_fault_time, NULL);
    sim_after(bed.world, CHECK_MS, on_check_time, NULL);
    uint64_t end = bed.world->now_ms + TROUBLE_MS;
    sim_run_until(bed.world, end);
    calm_down();
    bed.is_over = true; /* no more faults, and their ends do nothing */
    sim_run_until(bed.world, end + SETTLE_MS + TTL_MS + 1000);
    bed_check();
    bed_drains_end();
    for (size_t i = 0; i < PROVIDERS; i++)
        bed_process_end(bed.providers[i].process, bed.providers[i].registrar, NULL,
                        bed.providers[i].kv);
    for (size_t i = 0; i < CONSUMERS; i++)
        consumer_end(&bed.consumers[i]);
    uint64_t digest = bed.world->digest;
    sim_world_free(bed.world);
    return digest;
}

/* Maps are seeded once a process: here with the same seed each time. */
void bed_set_up(void)
{
    fwi_random_seed(1);
    fwi_map map = {.count = 0};
    (void)fwi_map_get(&map, "", 0);
    FWT_OK(fwi_map_put(&map, "", 0, NULL, NULL));
    fwi_map_fini(&map);
    FWT_OK(fwi_kv_driver_add(&sim_driver));
}
