/*
 * Each instance that is to be asked is a target:
 *
 *     RESTING (timer) --> WAITING for its turn --> PROBING (timer: the end of patience)
 *        ^                                            |
 *        '------ answered, failed, or timed out ------'
 *
 * Turns are given by `serve`, a deferred task: at most most_at_once probes are under way. A driver
 * that has to be loaded first is loaded beside the loop; meanwhile those who need it wait with it.
 *
 * The first probe of a target comes at once, but FIRST_MS after that of the one before, and every
 * rest is a tenth shorter or longer: so a thousand targets that were added in one turn are asked
 * over a whole interval, and do not fall into step later.
 *
 * on_change is the last thing that happens in a turn of ours, since it may remove the target, or
 * close everything.
 */
#include "health_check.h"
#include "health_driver.h"
#include "keys.h"
#include "module.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/random.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_KEY_BYTES           (2 * FWI_MAX_NAME_BYTES + 2)
#define DEFAULT_INTERVAL_MS     5000
#define DEFAULT_TIMEOUT_MS      1000
#define DEFAULT_UNHEALTHY_AFTER 3
#define DEFAULT_HEALTHY_AFTER   2
#define DEFAULT_MOST_AT_ONCE    32
#define FIRST_MS                5 /* between the first probes of two targets */
/* Begun in one turn: the others of the loop come in between, since beginning may cost a good part
 * of a millisecond (gRPC). */
#define STARTS_A_TURN 4
/* A loop that comes so late to a timer looks at its sockets once more before it believes in it. */
#define LATE_MS  20
#define GRACE_MS 1

struct target {
    fw_health *health;
    const fw_instance *instance;
    fw_health_check check;
    fw_health_status status;
    fwi_list waiting; /* in health->waiting, or in its slot's */
    fwi_timer timer;
    const fwi_health_driver *driver; /* of the probe */
    void *probe;
    uint64_t started_ns;
    bool was_late;
    char detail[FWI_HEALTH_DETAIL_BYTES]; /* of the last probe */
    char coming[FWI_HEALTH_DETAIL_BYTES]; /* of the one under way */
};

/* One driver, and what its probes share. */
struct slot {
    fw_health *health;
    enum { UNUSED, LOADING, OPEN, FAILED } phase; /* FAILED: it will never work */
    const char *file;                             /* of its module; NULL: it is there */
    const fwi_health_driver *driver;
    void *shared;
    int error; /* unless it is OPEN */
    fwi_list waiting;
    uv_work_t work;
};

struct fw_health {
    fw_loop *loop;
    fw_health_options options; /* without what is in rules */
    fwi_health_rules rules;
    fwi_map targets; /* "service/id" -> struct target */
    fwi_list waiting;
    size_t probes; /* under way */
    uint64_t next_first_ms;
    struct slot slots[FWI_HEALTH_TYPES];
    fwi_task serve;
    size_t parts; /* that still have to close */
    bool closing;
    void (*on_closed)(void *arg);
    void *closed_arg;
    fwi_task gone;
};

const char *fw_health_state_name(fw_health_state state)
{
    static const char *const names[] = {"unknown", "healthy", "unhealthy"};
    return (size_t)state < sizeof names / sizeof *names ? names[state] : "";
}

/* ---- targets ---- */

static size_t key_of(const char *service, const char *id, char *ret_key)
{
    int len = snprintf(ret_key, MAX_KEY_BYTES, "%s/%s", service, id);
    return len < MAX_KEY_BYTES ? (size_t)len : MAX_KEY_BYTES - 1;
}

static struct target *find(const fw_health *health, const char *service, const char *id)
{
    char key[MAX_KEY_BYTES];
    size_t len = key_of(service, id, key);
    return fwi_map_get(&health->targets, key, len);
}

static void wait_for_turn(struct target *target)
{
    fw_health *health = target->health;
    fwi_list_remove(&target->waiting);
    fwi_list_push_back(&health->waiting, &target->waiting);
    fwi_loop_defer(health->loop, &health->serve);
}

/* Ends the probe that is under way, whether it was told or not. */
static void end_probe(struct target *target)
{
    fw_health *health = target->health;
    target->probe = NULL;
    health->probes--;
    fwi_loop_timer_stop(health->loop, &target->timer);
    if (!fwi_list_empty(&health->waiting))
        fwi_loop_defer(health->loop, &health->serve);
}

/* Takes a target out of whatever it is in. */
static void stop(struct target *target)
{
    if (target->probe) {
        target->driver->cancel(target->probe);
        end_probe(target);
    }
    fwi_loop_timer_stop(target->health->loop, &target->timer);
    fwi_list_remove(&target->waiting);
}

static void target_free(struct target *target)
{
    stop(target);
    fw_instance_release(target->instance);
    free(target);
}

static void rest(struct target *target)
{
    fw_health *health = target->health;
    uint32_t tenth = health->options.interval_ms / 10;
    fwi_loop_timer_start(health->loop, &target->timer,
                         health->options.interval_ms - tenth + fwi_random_below(2 * tenth + 1));
}

/* ---- what a probe has brought ---- */

/* True if a failure says nothing about the instance. */
static bool is_ours(int reason)
{
    return reason == FW_EMODULE || reason == FW_EUNSUPPORTED || reason == FW_ESCHEME ||
           reason == FW_EURL || reason == UV_ENOMEM || reason == UV_EMFILE || reason == UV_ENFILE ||
           reason == UV_EAGAIN;
}

static void set_reason(struct target *target, int reason, const char *detail)
{
    if (is_ours(reason) && target->status.reason != reason)
        fwi_log(FW_LOG_WARN, "health", "cannot be asked",
                FWI_TEXT("service", target->instance->service),
                FWI_TEXT("id", target->instance->id), FWI_TEXT("reason", fw_strerror(reason)));
    target->status.reason = reason;
    (void)snprintf(target->detail, sizeof target->detail, "%s", detail);
}

static fw_health_state judge(const struct target *target)
{
    const fw_health_options *options = &target->health->options;
    const fw_health_status *status = &target->status;
    uint32_t needed = status->state == FW_HEALTH_UNHEALTHY ? options->healthy_after : 1;
    if (status->failures >= options->unhealthy_after)
        return FW_HEALTH_UNHEALTHY;
    return status->successes >= needed ? FW_HEALTH_HEALTHY : status->state;
}

/* Keeps a result; the user may hear of it, so nothing may follow. */
static void conclude(struct target *target, int result, const char *detail)
{
    fw_health *health = target->health;
    fw_health_status *status = &target->status;
    set_reason(target, result, result ? detail : "");
    rest(target);
    if (is_ours(result))
        return;
    status->probed_ms = fw_loop_now_ms(health->loop);
    status->successes = result ? 0 : status->successes + (status->successes < UINT32_MAX);
    status->failures = result ? status->failures + (status->failures < UINT32_MAX) : 0;
    fw_health_state state = judge(target);
    if (state == status->state)
        return;
    status->state = state;
    status->since_ms = status->probed_ms;
    if (health->options.on_change)
        health->options.on_change(health, status, health->options.arg);
}

static void on_result(int result, void *arg)
{
    struct target *target = arg;
    if (!result)
        target->status.round_trip_us = (uint32_t)((uv_hrtime() - target->started_ns) / 1000) + 1;
    end_probe(target);
    conclude(target, result, target->coming);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    struct target *target = arg;
    fw_loop *loop = target->health->loop;
    if (!target->probe) {
        wait_for_turn(target);
        return;
    }
    if (!target->was_late && fw_loop_now_ms(loop) > timer->due_ms + LATE_MS) {
        target->was_late = true;
        fwi_loop_timer_start(loop, timer, GRACE_MS);
        return;
    }
    target->driver->cancel(target->probe);
    end_probe(target);
    conclude(target, FW_EDEADLINE, "");
}

/* ---- drivers ---- */

static void part_closed(void *arg)
{
    fw_health *health = arg;
    if (--health->parts == 0)
        fwi_loop_defer(health->loop, &health->gone);
}

static void open_slot(struct slot *slot)
{
    slot->error = slot->driver->open(slot->health->loop, &slot->shared);
    if (!slot->error)
        slot->phase = OPEN;
    else if (slot->error == FW_EUNSUPPORTED)
        slot->phase = FAILED;
}

static void do_load(uv_work_t *work)
{
    struct slot *slot = work->data;
    void *symbol;
    slot->error = fwi_module_load(slot->file, FWI_HEALTH_SYMBOL, &symbol);
    if (!slot->error)
        slot->driver = symbol;
}

static void on_loaded(uv_work_t *work, int status)
{
    struct slot *slot = work->data;
    fw_health *health = slot->health;
    if (status)
        slot->error = status;
    if (!slot->error)
        slot->file = NULL;
    slot->phase = slot->error ? FAILED : UNUSED;
    fwi_list_splice(&health->waiting, &slot->waiting);
    if (health->closing)
        part_closed(health);
    else
        fwi_loop_defer(health->loop, &health->serve);
}

static void load_slot(struct slot *slot)
{
    slot->work.data = slot;
    slot->phase = LOADING;
    /* Once it is queued, the error is the worker's to set. */
    int err = uv_queue_work(fw_loop_uv(slot->health->loop), &slot->work, do_load, on_loaded);
    if (err) {
        slot->error = err;
        slot->phase = UNUSED;
    }
}

static int start_probe(struct target *target, struct slot *slot)
{
    fwi_health_question question = {.instance = target->instance,
                                    .check = &target->check,
                                    .timeout_ms = target->health->options.timeout_ms,
                                    .fn = on_result,
                                    .arg = target,
                                    .detail = target->coming};
    target->coming[0] = 0;
    target->was_late = false;
    target->driver = slot->driver;
    target->started_ns = uv_hrtime();
    int err = slot->driver->start(slot->shared, &question, &target->probe);
    if (err)
        return err;
    target->health->probes++;
    fwi_loop_timer_start(target->health->loop, &target->timer, question.timeout_ms);
    return FW_OK;
}

static void on_serve(fwi_task *task, void *arg)
{
    (void)task;
    fw_health *health = arg;
    unsigned starts = 0;
    while (health->probes < health->options.most_at_once && !fwi_list_empty(&health->waiting)) {
        if (starts++ == STARTS_A_TURN) {
            fwi_loop_defer(health->loop, &health->serve);
            return;
        }
        struct target *target = fwi_container_of(health->waiting.next, struct target, waiting);
        struct slot *slot = &health->slots[target->check.type];
        fwi_list_remove(&target->waiting);
        if (slot->phase == UNUSED && slot->file)
            load_slot(slot);
        else if (slot->phase == UNUSED)
            open_slot(slot);
        if (slot->phase == LOADING) {
            fwi_list_push_back(&slot->waiting, &target->waiting);
            continue;
        }
        int err = slot->phase == OPEN ? start_probe(target, slot) : slot->error;
        if (err) { /* whoever hears of it may end us: the others come in the next turn */
            fwi_loop_defer(health->loop, &health->serve);
            conclude(target, err, "");
            return;
        }
    }
}

/* ---- the list ---- */

/* How long until the first probe of a target. */
static uint64_t first_delay(fw_health *health)
{
    uint64_t now = fw_loop_now_ms(health->loop);
    uint32_t interval = health->options.interval_ms;
    if (health->next_first_ms < now)
        health->next_first_ms = now;
    uint64_t delay = health->next_first_ms - now;
    if (delay >= interval)
        return fwi_random_below(interval);
    health->next_first_ms += FIRST_MS;
    return delay;
}

/* Begins to ask what is asked of the instance now, from nothing. */
static void begin(struct target *target, const fw_health_check *check, int err)
{
    fw_health *health = target->health;
    stop(target);
    target->check = *check;
    target->status =
        (fw_health_status){.type = check->type, .since_ms = fw_loop_now_ms(health->loop)};
    set_reason(target, err, err ? "its metadata \"" FWI_HEALTH_METADATA "\" cannot be read" : "");
    if (check->type == FW_HEALTH_OFF)
        return;
    fwi_loop_timer_start(health->loop, &target->timer, first_delay(health));
}

static struct target *target_new(fw_health *health, const char *service, const char *id)
{
    char key[MAX_KEY_BYTES];
    size_t len = key_of(service, id, key);
    struct target *target = calloc(1, sizeof *target);
    if (!target || fwi_map_put(&health->targets, key, len, target, NULL)) {
        free(target);
        return NULL;
    }
    target->health = health;
    target->timer = (fwi_timer){.fn = on_timer, .arg = target};
    fwi_list_init(&target->waiting);
    return target;
}

int fw_health_add(fw_health *health, const fw_instance *instance)
{
    if (health->closing)
        return FW_ECLOSED;
    fw_health_check check;
    int err = fwi_health_rules_find(&health->rules, instance, &check);
    struct target *target = find(health, instance->service, instance->id);
    const fw_instance *old = target ? target->instance : NULL;
    bool goes_on = target && !strcmp(old->net, instance->net) &&
                   !strcmp(old->addr, instance->addr) &&
                   (target->status.reason == FW_EOPTION) == (err == FW_EOPTION) &&
                   fwi_health_check_same(&target->check, &check);
    if (!target && !(target = target_new(health, instance->service, instance->id)))
        return UV_ENOMEM;
    target->instance = fw_instance_acquire(instance);
    if (goes_on)
        target->check = check; /* its text is the new instance's */
    else
        begin(target, &check, err);
    target->status.instance = target->instance;
    target->status.detail = target->detail;
    fw_instance_release(old);
    return FW_OK;
}

void fw_health_remove(fw_health *health, const char *service, const char *id)
{
    char key[MAX_KEY_BYTES];
    size_t len = key_of(service, id, key);
    struct target *target = fwi_map_remove(&health->targets, key, len);
    if (target)
        target_free(target);
}

int fw_health_follow(fw_health *health, const fw_watcher_event *event)
{
    switch (event->type) {
    case FW_WATCHER_ADDED:
    case FW_WATCHER_CHANGED:
        return fw_health_add(health, event->instance);
    case FW_WATCHER_REMOVED:
        fw_health_remove(health, event->instance->service, event->instance->id);
        return FW_OK;
    default:
        return FW_OK;
    }
}

int fw_health_get(const fw_health *health, const char *service, const char *id,
                  fw_health_status *ret_status)
{
    const struct target *target = find(health, service, id);
    if (!target)
        return FW_ENOTFOUND;
    *ret_status = target->status;
    return FW_OK;
}

void fw_health_each(const fw_health *health, fw_health_status_fn fn, void *arg)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&health->targets, &position));) {
        const struct target *target = entry->value;
        fn(&target->status, arg);
    }
}

/* ---- life ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static void health_free(fw_health *health)
{
    fwi_health_rules_fini(&health->rules);
    fwi_map_fini(&health->targets);
    free(health);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fw_health *health = arg;
    void (*on_closed)(void *arg) = health->on_closed;
    void *closed_arg = health->closed_arg;
    fwi_loop_release(health->loop);
    health_free(health);
    if (on_closed)
        on_closed(closed_arg);
}

static const char *const module_files[FWI_HEALTH_TYPES] = {
    [FW_HEALTH_HTTP] = "health_http.so", [FW_HEALTH_GRPC] = "health_grpc.so"};
static const fwi_health_driver *const builtin[FWI_HEALTH_TYPES] = {
    [FW_HEALTH_TCP] = &fwi_health_tcp, [FW_HEALTH_PING] = &fwi_health_ping};

int fwi_health_new(fw_loop *loop, const fw_health_options *options,
                   const fwi_health_driver *const *drivers, fw_health **ret_health)
{
    fw_health *health = calloc(1, sizeof *health);
    if (!health)
        return UV_ENOMEM;
    int err = fwi_health_rules_init(&health->rules, options);
    if (err) {
        free(health);
        return err;
    }
    health->loop = loop;
    health->options = (fw_health_options){
        .interval_ms = or_default(options->interval_ms, DEFAULT_INTERVAL_MS),
        .timeout_ms = or_default(options->timeout_ms, DEFAULT_TIMEOUT_MS),
        .unhealthy_after = or_default(options->unhealthy_after, DEFAULT_UNHEALTHY_AFTER),
        .healthy_after = or_default(options->healthy_after, DEFAULT_HEALTHY_AFTER),
        .most_at_once = or_default(options->most_at_once, DEFAULT_MOST_AT_ONCE),
        .on_change = options->on_change,
        .arg = options->arg};
    health->serve = (fwi_task){.fn = on_serve, .arg = health};
    health->gone = (fwi_task){.fn = on_gone, .arg = health};
    fwi_list_init(&health->waiting);
    for (size_t i = 0; i < FWI_HEALTH_TYPES; i++) {
        struct slot *slot = &health->slots[i];
        *slot = (struct slot){.health = health, .driver = drivers ? drivers[i] : builtin[i]};
        slot->file = slot->driver ? NULL : module_files[i];
        fwi_list_init(&slot->waiting);
    }
    *ret_health = health;
    return FW_OK;
}

int fw_health_new(fw_loop *loop, const fw_health_options *options, fw_health **ret_health)
{
    return fwi_health_new(loop, options, NULL, ret_health);
}

void fw_health_close(fw_health *health, void (*on_closed)(void *arg), void *arg)
{
    if (health->closing)
        return;
    health->closing = true;
    health->on_closed = on_closed;
    health->closed_arg = arg;
    fwi_loop_hold(health->loop);
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&health->targets, &position));)
        target_free(entry->value);
    fwi_map_fini(&health->targets);
    health->targets = (fwi_map){0};
    fwi_loop_defer_cancel(health->loop, &health->serve);
    health->parts = 1;
    for (size_t i = 0; i < FWI_HEALTH_TYPES; i++) {
        struct slot *slot = &health->slots[i];
        if (slot->phase == OPEN || slot->phase == LOADING)
            health->parts++;
        if (slot->phase == OPEN)
            slot->driver->close(slot->shared, part_closed, health);
    }
    part_closed(health);
}
