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
 *   empty      a consumer's list is not empty while an instance that it knew runs and answers; of
 *              one that the store lost while others stayed, the store's word is enough
 *   history    what a consumer's watch hears is a beginning of what happened in the store, and its
 *              list is at any time what the store had at the list's revision, and what is held
 */
#include "bed.h"

#include "fwt.h"
#include "sim.h"
#include "sim_impl.h"
#include "watcher.h"

#include "base/random.h"
#include "faults.h"

#include <fairway/discovery.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PROVIDERS     4
#define CONSUMERS     2
#define TTL_MS        3000
#define TIMEOUT_MS    1000
#define TROUBLE_MS    60000
#define FAULT_EVERY   2500
#define FAULT_MOST_MS 8000
#define CHECK_MS      500
#define SETTLE_MS     7000
#define MAX_DEAD      64
#define FOREIGN       "{\"net\":\"\",\"addr\":\"\",\"bn\":\"\"}"

struct provider {
    sim_process *process;
    fw_kv *kv;
    fw_registrar *registrar;
    char id[16];
    uint64_t troubled_ms; /* until when something was in its way */
    bool is_faulty;       /* a fault of its own goes on */
};

struct consumer {
    sim_process *process;
    bool knew[PROVIDERS]; /* the provider that runs there now */
    fw_kv *kv;
    fw_watcher *watcher;
    uint64_t troubled_ms;
    bool is_faulty;
    bool is_fatal;
    fw_kv_watch *watch; /* the store's own events */
    listener heard;
    const fw_snapshot *snapshot; /* that was looked at last */
    uint32_t incarnation;        /* of the store that it shows */
};

fwi_fault_kind fwi_fault;

static struct bed {
    sim_world *world;
    struct provider providers[PROVIDERS];
    struct consumer consumers[CONSUMERS];
    struct {
        char id[16];
        uint64_t died_ms;
    } dead[MAX_DEAD];
    size_t dead_count;
    uint64_t store_troubled_ms;
    bool is_store_faulty, is_over;
    unsigned next_id;
    char failure[BED_FAILURE_BYTES];
} bed;

static void violated(const char *what, const char *whose)
{
    if (!*bed.failure)
        snprintf(bed.failure, sizeof bed.failure, "%s: %s at %llu ms", what, whose,
                 (unsigned long long)bed.world->now_ms);
}

/* ---- providers and consumers ---- */

static void provider_start(struct provider *provider)
{
    *provider = (struct provider){.process = sim_process_new(bed.world)};
    snprintf(provider->id, sizeof provider->id, "i%u", bed.next_id++);
    provider->troubled_ms = bed.world->now_ms;
    fw_kv_options kv_options = {.timeout_ms = TIMEOUT_MS};
    FWT_OK(fw_kv_open(provider->process->loop, sim_url(provider->process), &kv_options,
                      &provider->kv));
    fw_registrar_options options = {.ttl_ms = TTL_MS};
    FWT_OK(fw_registrar_new(provider->kv, &options, &provider->registrar));
    fw_instance instance = {
        .service = "echo", .id = provider->id, .net = "tcp", .addr = "127.0.0.1:1"};
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

static void forget_one_of_several(struct consumer *consumer, const char *id)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    for (size_t i = 0; snapshot->count && i < PROVIDERS; i++)
        if (!strcmp(bed.providers[i].id, id))
            consumer->knew[i] = false;
    fw_snapshot_release(snapshot);
}

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    struct consumer *consumer = arg;
    if (event->type == FW_WATCHER_FATAL)
        consumer->is_fatal = true;
    if (event->type == FW_WATCHER_REMOVED)
        forget_one_of_several(consumer, event->instance->id);
    sim_note(bed.world, (uint64_t)event->type ^ (uint64_t)event->revision << 8);
}

static void on_kv_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    struct consumer *consumer = arg;
    for (size_t i = 0; i < count; i++)
        if (!listener_hears(&consumer->heard, &bed.world->history, &events[i]))
            violated("history", events[i].pair.key);
}

static void consumer_start(struct consumer *consumer)
{
    *consumer = (struct consumer){.process = sim_process_new(bed.world)};
    listener_init(&consumer->heard);
    fw_kv_options kv_options = {.timeout_ms = TIMEOUT_MS};
    FWT_OK(fw_kv_open(consumer->process->loop, sim_url(consumer->process), &kv_options,
                      &consumer->kv));
    fw_watcher_options options = {.on_event = on_event, .arg = consumer};
    FWT_OK(fwi_watcher_new(consumer->kv, NULL, &options, &prober, &consumer->watcher));
    FWT_OK(fw_kv_watch_tree(consumer->kv, "services", on_kv_events, consumer, &consumer->watch));
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

/* Closes everything of a process, and frees it. */
static void process_end(sim_process *process, fw_registrar *registrar, fw_watcher *watcher,
                        fw_kv *kv)
{
    bool closed = false;
    process->is_paused = false;
    fwi_loop_set_time(process->loop, bed.world->now_ms);
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

/* Its id changes at once: whoever probes it is refused. */
static void kill_and_replace(struct provider *provider)
{
    if (bed.dead_count < MAX_DEAD) {
        memcpy(bed.dead[bed.dead_count].id, provider->id, sizeof provider->id);
        bed.dead[bed.dead_count++].died_ms = bed.world->now_ms;
    }
    sim_process_kill(provider->process);
    process_end(provider->process, provider->registrar, NULL, provider->kv);
    provider_start(provider);
    for (size_t i = 0; i < CONSUMERS; i++)
        bed.consumers[i].knew[provider - bed.providers] = false;
}

static void trouble_store(unsigned kind)
{
    char key[40];
    struct provider *provider = &bed.providers[sim_random(bed.world, PROVIDERS)];
    snprintf(key, sizeof key, "services/echo/%s", provider->id);
    bed.store_troubled_ms = bed.world->now_ms;
    switch (kind) {
    case 0:
    case 1:
        if (bed.is_store_faulty)
            return;
        bed.is_store_faulty = true;
        sim_store_set_down(bed.world, true);
        if (kind)
            sim_store_wipe(bed.world);
        last(store_returns, NULL, NULL);
        return;
    case 2:
        sim_store_wipe(bed.world);
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
    uint32_t kind = sim_random(bed.world, 14);
    if (kind < 7)
        trouble_store(kind);
    else if (kind < 10)
        trouble_process(&bed.providers[sim_random(bed.world, PROVIDERS)], NULL);
    else if (kind < 12)
        trouble_process(NULL, &bed.consumers[sim_random(bed.world, CONSUMERS)]);
    else
        kill_and_replace(&bed.providers[sim_random(bed.world, PROVIDERS)]);
    sim_after(bed.world, sim_random(bed.world, 2 * FAULT_EVERY), on_fault_time, NULL);
}

/* ---- what must hold ---- */

struct search {
    const char *id;
    bool is_there;
    size_t count;
    const fw_snapshot *snapshot;
    bool differs;
};

static void look_for(const char *key, fw_slice value, void *arg)
{
    struct search *search = arg;
    const char *id = strrchr(key, '/') + 1;
    search->count++;
    bool is_ours = value.len != strlen(FOREIGN); /* not what a fault wrote over it */
    if (search->id && !strcmp(id, search->id))
        search->is_there = is_ours;
    if (search->snapshot && is_ours && !fw_snapshot_find(search->snapshot, "echo", id))
        search->differs = true;
}

static bool is_listed(const char *id)
{
    struct search search = {.id = id};
    sim_store_each(bed.world, look_for, &search);
    return search.is_there;
}

static bool is_settled(uint64_t troubled_ms, bool is_faulty)
{
    uint64_t since = troubled_ms > bed.store_troubled_ms ? troubled_ms : bed.store_troubled_ms;
    return !is_faulty && !bed.is_store_faulty && bed.world->now_ms > since + SETTLE_MS;
}

static void check_not_empty(struct consumer *consumer)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    for (size_t i = 0; i < PROVIDERS; i++) {
        const char *id = bed.providers[i].id;
        if (fw_snapshot_find(snapshot, "echo", id))
            consumer->knew[i] = true;
        else if (consumer->knew[i] && !snapshot->count)
            violated("empty", id);
    }
    fw_snapshot_release(snapshot);
}

static uint64_t state_of(const fw_instance *instance)
{
    char key[40], *json;
    snprintf(key, sizeof key, "services/%s/%s", instance->service, instance->id);
    FWT_OK(fw_instance_encode(instance, &json));
    uint64_t state = history_pair(key, (fw_slice){json, strlen(json)});
    free(json);
    return state;
}

static void leave_out(const fw_watcher_held *held, void *arg)
{
    *(uint64_t *)arg -= state_of(held->instance);
}

static void check_history(struct consumer *consumer)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    bool is_known = snapshot == consumer->snapshot;
    fw_snapshot_release(consumer->snapshot);
    consumer->snapshot = snapshot;
    if (is_known || !snapshot->synced)
        return;
    uint64_t state = 0;
    for (size_t i = 0; i < snapshot->count; i++)
        state += state_of(fw_snapshot_at(snapshot, i));
    fw_watcher_each_held(consumer->watcher, leave_out, &state);
    if (!history_had(&bed.world->history, state, snapshot->revision, &consumer->incarnation))
        violated("history", "a list");
}

static void check_consumer(struct consumer *consumer)
{
    const fw_snapshot *snapshot;
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    struct search search = {.snapshot = snapshot};
    sim_store_each(bed.world, look_for, &search);
    if (search.differs || search.count != snapshot->count || !snapshot->synced || snapshot->stale ||
        consumer->is_fatal)
        violated("told", "a consumer");
    fw_snapshot_release(snapshot);
}

static void on_check(void *arg)
{
    (void)arg;
    if (bed.is_over)
        return;
    bool is_quiet = true;
    for (size_t i = 0; i < PROVIDERS; i++) {
        struct provider *provider = &bed.providers[i];
        bool settled = is_settled(provider->troubled_ms, provider->is_faulty);
        is_quiet &= settled;
        if (settled && !is_listed(provider->id))
            violated("listed", provider->id);
    }
    for (size_t i = 0; i < bed.dead_count; i++)
        if (is_settled(bed.dead[i].died_ms + TTL_MS, false) && is_listed(bed.dead[i].id))
            violated("unlisted", bed.dead[i].id);
    for (size_t i = 0; i < CONSUMERS; i++) {
        check_not_empty(&bed.consumers[i]);
        check_history(&bed.consumers[i]);
    }
    /* A provider's own news takes time to travel: consumers are looked at when all is quiet. */
    for (size_t i = 0; i < CONSUMERS; i++)
        if (is_quiet && is_settled(bed.consumers[i].troubled_ms, bed.consumers[i].is_faulty))
            check_consumer(&bed.consumers[i]);
    sim_after(bed.world, CHECK_MS, on_check, NULL);
}

/* ---- one seed ---- */

/* Ends what is wrong, so that the last check sees a quiet world. */
static void calm_down(void)
{
    sim_store_set_down(bed.world, false);
    bed.is_store_faulty = false;
    bed.store_troubled_ms = bed.world->now_ms;
    for (size_t i = 0; i < PROVIDERS; i++)
        process_returns(
            &(struct fault){.provider = &bed.providers[i], .process = bed.providers[i].process});
    for (size_t i = 0; i < CONSUMERS; i++)
        process_returns(
            &(struct fault){.consumer = &bed.consumers[i], .process = bed.consumers[i].process});
}

const char *bed_failure(void)
{
    return bed.failure;
}

uint64_t bed_run_seed(uint64_t seed)
{
    memset(&bed, 0, sizeof bed);
    fwi_random_seed(seed);
    bed.world = sim_world_new(seed);
    for (size_t i = 0; i < PROVIDERS; i++)
        provider_start(&bed.providers[i]);
    for (size_t i = 0; i < CONSUMERS; i++)
        consumer_start(&bed.consumers[i]);
    sim_after(bed.world, FAULT_EVERY, on_fault_time, NULL);
    sim_after(bed.world, CHECK_MS, on_check, NULL);
    uint64_t end = bed.world->now_ms + TROUBLE_MS;
    sim_run_until(bed.world, end);
    calm_down();
    bed.is_over = true; /* no more faults, and their ends do nothing */
    sim_run_until(bed.world, end + SETTLE_MS + TTL_MS + 1000);
    bed.is_over = false;
    on_check(NULL);
    bed.is_over = true;
    for (size_t i = 0; i < PROVIDERS; i++)
        process_end(bed.providers[i].process, bed.providers[i].registrar, NULL,
                    bed.providers[i].kv);
    for (size_t i = 0; i < CONSUMERS; i++) {
        fw_snapshot_release(bed.consumers[i].snapshot);
        process_end(bed.consumers[i].process, NULL, bed.consumers[i].watcher, bed.consumers[i].kv);
        listener_fini(&bed.consumers[i].heard);
    }
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
