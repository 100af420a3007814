/*
 * Drains in the bed: somebody asks for instances to be drained, and takes that back, while all else
 * goes wrong. What must hold, as long as the request was not taken back or wiped with the store:
 *
 *   awaited    when a drain says SEEN, every consumer that stood in the store has told that
 *              revision, or came while the drain took its last look
 *   seen       who has told that revision does not have the instance in use
 *   drained    nor gets it again; nor does a consumer that starts later
 *   marked     when all is quiet, the instance is offline, or away
 *   ended      when all is quiet, the drain has come to SEEN, or to an end
 *
 * Not held to it: a consumer that was away for longer than its lease (it does not stand in the
 * store), an instance that is held, what a stranger wrote over a node, and a node that the drain
 * has marked itself though there is a registrar, because a stranger wrote it. The asker is never
 * stopped, so that it is known how old an answer is at most.
 */
#include "bed_impl.h"

#include "consumer.h"
#include "fwt.h"
#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DRAINS   24
#define LAST_LOOK_MS 70 /* two lists, each there and back */
#define WORK_MOST_MS 3000
#define AWAY_MOST_MS 4000
#define CUT_MOST_MS  4000
#define OFFLINE      "\"state\":1"

struct record {
    char id[16];
    fw_drain *drain;
    fw_drain_progress progress;
    uint64_t begun_ms;
    bool is_seen, is_done;
    bool is_void; /* its request may not stand any more */
    bool is_bound[CONSUMERS];
};

static struct asker {
    sim_process *process;
    fw_kv *kv;
    struct record records[MAX_DRAINS];
    size_t count, closed;
    uint64_t troubled_ms;
} asker;

static struct record *find_record(const char *id)
{
    for (size_t i = 0; i < asker.count; i++)
        if (!asker.records[i].is_void && !strcmp(asker.records[i].id, id))
            return &asker.records[i];
    return NULL;
}

static void void_record(const char *id)
{
    struct record *record = find_record(id);
    if (record)
        record->is_void = true;
}

/* ---- what a consumer has ---- */

static bool is_in_use(const fw_instance *instance)
{
    return instance && instance->state == FW_INSTANCE_ONLINE &&
           !strcmp(instance->addr, PROVIDER_AT);
}

struct held {
    const char *id;
    bool is_held;
};

static void look_at_held(const fw_watcher_held *held, void *arg)
{
    struct held *search = arg;
    search->is_held |= !strcmp(held->instance->id, search->id);
}

static bool uses(struct consumer *consumer, const char *id)
{
    const fw_snapshot *snapshot;
    struct held held = {.id = id};
    FWT_OK(fw_watcher_snapshot(consumer->watcher, &snapshot));
    bool is_used = is_in_use(fw_snapshot_find(snapshot, SERVICE, id));
    fw_snapshot_release(snapshot);
    fw_watcher_each_held(consumer->watcher, look_at_held, &held);
    return is_used && !held.is_held;
}

void bed_drains_hear(struct consumer *consumer, const fw_watcher_event *event)
{
    bool is_news = event->type == FW_WATCHER_ADDED || event->type == FW_WATCHER_CHANGED ||
                   event->type == FW_WATCHER_RELISTED;
    if (!is_news || !is_in_use(event->instance))
        return;
    const struct record *record = find_record(event->instance->id);
    if (record && record->is_seen && record->is_bound[consumer - bed.consumers])
        bed_violated("drained", record->id);
}

void bed_drains_provider_gone(const struct provider *provider)
{
    if (provider->has_left) /* with its request */
        void_record(provider->id);
}

void bed_drains_consumer_gone(struct consumer *consumer)
{
    /* The next one begins without a list. */
    for (size_t i = 0; i < asker.count; i++)
        asker.records[i].is_bound[consumer - bed.consumers] = true;
}

/* ---- what a drain says ---- */

static void bind(struct record *record, struct consumer *consumer)
{
    char key[60];
    fw_kv_pair pair;
    uint64_t at_ms;
    bool *is_bound = &record->is_bound[consumer - bed.consumers];
    snprintf(key, sizeof key, FWI_CONSUMERS_PREFIX "/%s", consumer->name);
    *is_bound = false;
    if (!sim_store_find(bed.world, key, &pair, &at_ms))
        return;
    *is_bound = fwi_consumer_claim(&pair) >= record->progress.revision;
    if (*is_bound && uses(consumer, record->id))
        bed_violated("seen", record->id);
    if (!*is_bound && at_ms + LAST_LOOK_MS < bed.world->now_ms)
        bed_violated("awaited", record->id);
}

static void on_phase(fw_drain *drain, const fw_drain_progress *progress, void *arg)
{
    (void)drain;
    struct record *record = arg;
    record->progress = *progress;
    if (progress->phase != FW_DRAIN_SEEN)
        return;
    record->is_seen = true;
    record->is_void |= progress->by_us;
    for (size_t i = 0; i < CONSUMERS && !record->is_void; i++)
        bind(record, &bed.consumers[i]);
}

static void on_done(fw_drain *drain, int status, const char *detail, void *arg)
{
    (void)drain;
    (void)detail;
    struct record *record = arg;
    record->is_done = true;
    if (!status && !record->is_seen)
        bed_violated("awaited: it was not waited at all", record->id);
    sim_note(bed.world, (uint64_t)status);
}

/* ---- what is asked for ---- */

static void begin(struct provider *provider)
{
    /* The old request may still be on its way out: who asks anew then asks for nothing. */
    bool is_back =
        provider->returned_ms && bed.world->now_ms < provider->returned_ms + 2 * TIMEOUT_MS;
    if (asker.count == MAX_DRAINS || find_record(provider->id) || is_back)
        return;
    struct record *record = &asker.records[asker.count++];
    *record = (struct record){.begun_ms = bed.world->now_ms};
    memcpy(record->id, provider->id, sizeof record->id);
    fw_drain_options options = {.wait_left = sim_random(bed.world, 2),
                                .by = "bed",
                                .on_phase = on_phase,
                                .on_done = on_done,
                                .arg = record};
    sim_process_wake(asker.process);
    FWT_OK(fw_drain_new(asker.kv, SERVICE, record->id, &options, &record->drain));
}

static void on_resumed(int status, const char *detail, void *arg)
{
    (void)detail;
    (void)arg;
    sim_note(bed.world, (uint64_t)status);
}

static void take_back(struct record *record)
{
    if (record->is_void)
        return;
    record->is_void = true;
    sim_process_wake(asker.process);
    FWT_OK(fw_drain_resume(asker.kv, SERVICE, record->id, on_resumed, NULL));
}

static void on_way_free(void *arg)
{
    (void)arg;
    if (!asker.process)
        return;
    asker.process->is_cut = false;
    asker.process->lost_share = 0;
    asker.troubled_ms = bed.world->now_ms;
}

static void trouble(void)
{
    uint32_t for_ms = 1 + sim_random(bed.world, CUT_MOST_MS);
    asker.process->is_cut = sim_random(bed.world, 2);
    asker.process->lost_share = 500;
    asker.troubled_ms = bed.world->now_ms + for_ms;
    sim_after(bed.world, for_ms, on_way_free, NULL);
}

void bed_drains_act(void)
{
    uint32_t kind = sim_random(bed.world, 8);
    uint32_t which = sim_random(bed.world, MAX_DRAINS);
    if (kind < 5)
        begin(&bed.providers[which % PROVIDERS]);
    else if (kind < 7 && asker.count)
        take_back(&asker.records[which % asker.count]);
    else
        trouble();
}

/* ---- what a provider does when it is drained ---- */

struct leaving {
    struct provider *provider;
    sim_process *process;
};

static void leave_later(struct provider *provider, sim_fn fn, uint32_t most_ms)
{
    struct leaving *leaving = calloc(1, sizeof *leaving);
    *leaving = (struct leaving){provider, provider->process};
    sim_after(bed.world, 1 + sim_random(bed.world, most_ms), fn, leaving);
}

/* It can do something now: it is still the same, and runs. */
static struct provider *who_acts(struct leaving *leaving, sim_fn fn)
{
    struct provider *provider = leaving->provider;
    bool is_same =
        provider->process == leaving->process && !provider->process->is_dead && !bed.is_over;
    free(leaving);
    if (is_same && provider->process->is_paused)
        leave_later(provider, fn, 500);
    else if (is_same)
        return provider;
    return NULL;
}

void bed_provider_returns(struct provider *provider)
{
    void_record(provider->id);
    provider->has_left = false;
    provider->returned_ms = bed.world->now_ms;
    provider->troubled_ms = bed.world->now_ms;
    fw_instance instance = {
        .service = SERVICE, .id = provider->id, .net = "tcp", .addr = PROVIDER_AT};
    sim_process_wake(provider->process);
    FWT_OK(fw_registrar_set(provider->registrar, &instance));
}

static void on_return(void *arg)
{
    struct provider *provider = who_acts(arg, on_return);
    if (provider && provider->has_left)
        bed_provider_returns(provider);
}

static void on_leave(void *arg)
{
    struct provider *provider = who_acts(arg, on_leave);
    if (!provider || provider->has_left)
        return;
    sim_process_wake(provider->process);
    FWT_OK(fw_registrar_remove(provider->registrar, SERVICE, provider->id));
    provider->has_left = true;
    for (size_t i = 0; i < CONSUMERS; i++)
        bed.consumers[i].knew[provider - bed.providers] = false;
    leave_later(provider, on_return, AWAY_MOST_MS);
}

void bed_drains_asked(struct provider *provider, bool is_draining)
{
    if (is_draining && sim_random(bed.world, 2))
        leave_later(provider, on_leave, WORK_MOST_MS);
}

/* ---- the whole ---- */

void bed_drains_wiped(void)
{
    for (size_t i = 0; i < asker.count; i++)
        asker.records[i].is_void = true;
}

void bed_drains_check_quiet(void)
{
    char key[60];
    fw_kv_pair pair;
    uint64_t at_ms;
    if (!bed_is_settled(asker.troubled_ms, false))
        return;
    for (size_t i = 0; i < asker.count; i++) {
        const struct record *record = &asker.records[i];
        if (record->is_void || record->begun_ms + SETTLE_MS > bed.world->now_ms)
            continue;
        snprintf(key, sizeof key, FWI_SERVICES_PREFIX "/" SERVICE "/%s", record->id);
        if (!record->is_seen && !record->is_done)
            bed_violated("ended", record->id);
        if (record->is_seen && sim_store_find(bed.world, key, &pair, &at_ms) &&
            !memmem(pair.value.data, pair.value.len, OFFLINE, strlen(OFFLINE)) &&
            strncmp(pair.value.data, FOREIGN_BEGIN, strlen(FOREIGN_BEGIN)) != 0)
            bed_violated("marked", record->id);
    }
}

void bed_drains_start(void)
{
    asker = (struct asker){.process = sim_process_new(bed.world)};
    fw_kv_options options = {.timeout_ms = TIMEOUT_MS};
    FWT_OK(fw_kv_open(asker.process->loop, sim_url(asker.process), &options, &asker.kv));
}

static void on_closed(void *arg)
{
    (void)arg;
    asker.closed++;
}

void bed_drains_end(void)
{
    for (size_t i = 0; i < asker.count; i++)
        fw_drain_close(asker.records[i].drain, on_closed, NULL);
    while (asker.closed < asker.count)
        sim_run_until(bed.world, bed.world->now_ms + 100);
    bed_process_end(asker.process, NULL, NULL, asker.kv);
    asker.process = NULL;
}
