/*
 *     WAITING for a free probe --> PROBING --answers--> RESTING --> WAITING
 *                                     |
 *                                     '--refused, or silent twice--> let go
 */
#include "holds.h"

#include "keys.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_NAME_BYTES   (2 * FWI_MAX_NAME_BYTES + 2)
#define MAX_PROBES       32   /* at the same time */
#define PROBE_TIMEOUT_MS 1000 /* then it is silent */
#define SILENCES         2    /* in a row, and it is gone */
#define FIRST_REST_MS    250  /* after the first answer; doubled each time */
#define LONGEST_REST_MS  2000

struct hold {
    fwi_holds *holds;
    const fw_instance *instance;
    int64_t revision;
    fw_hold_reason reason;
    uint64_t since_ms;
    fwi_list waiting; /* in holds->waiting */
    fwi_probe *probe;
    fwi_timer rest;
    uint32_t rest_ms;
    unsigned answers, silences;
};

struct fwi_holds {
    fw_loop *loop;
    fwi_holds_options options;
    fwi_map by_name; /* "service/id" -> struct hold */
    fwi_list waiting;
    size_t probes;
    fwi_task serve;
};

static size_t name_of(const char *service, const char *id, char *ret_name, size_t size)
{
    return (size_t)snprintf(ret_name, size, "%s/%s", service, id);
}

static void hold_free(struct hold *hold)
{
    fwi_holds *holds = hold->holds;
    if (hold->probe) {
        holds->options.prober->cancel(hold->probe);
        holds->probes--;
    }
    fwi_loop_timer_stop(holds->loop, &hold->rest);
    fwi_list_remove(&hold->waiting);
    fw_instance_release(hold->instance);
    free(hold);
}

static struct hold *take(fwi_holds *holds, const char *service, const char *id)
{
    char name[MAX_NAME_BYTES];
    return fwi_map_remove(&holds->by_name, name, name_of(service, id, name, sizeof name));
}

static void let_go(struct hold *hold, int reason)
{
    fwi_holds *holds = hold->holds;
    const fw_instance *instance = fw_instance_acquire(hold->instance);
    int64_t revision = hold->revision;
    take(holds, instance->service, instance->id);
    hold_free(hold);
    holds->options.on_let_go(instance, revision, reason, holds->options.arg);
    fw_instance_release(instance);
}

/* Queues it for a probe. */
static void wait_for_probe(struct hold *hold)
{
    fwi_list_remove(&hold->waiting);
    fwi_list_push_back(&hold->holds->waiting, &hold->waiting);
    fwi_loop_defer(hold->holds->loop, &hold->holds->serve);
}

static void on_rested(fwi_timer *timer, void *arg)
{
    (void)timer;
    wait_for_probe(arg);
}

static void on_result(int result, void *arg)
{
    struct hold *hold = arg;
    fwi_holds *holds = hold->holds;
    hold->probe = NULL;
    holds->probes--;
    if (!fwi_list_empty(&holds->waiting))
        fwi_loop_defer(holds->loop, &holds->serve);
    bool is_nobody = result == UV_ECONNREFUSED || result == UV_ENOENT;
    if (!result) {
        hold->silences = 0;
        fwi_loop_timer_start(holds->loop, &hold->rest, hold->rest_ms);
        hold->rest_ms = hold->rest_ms * 2 > LONGEST_REST_MS ? LONGEST_REST_MS : hold->rest_ms * 2;
        if (!hold->answers++)
            holds->options.on_held(hold->instance, hold->revision, holds->options.arg);
    } else if (is_nobody || ++hold->silences == SILENCES) {
        let_go(hold, result);
    } else {
        wait_for_probe(hold);
    }
}

static void on_serve(fwi_task *task, void *arg)
{
    (void)task;
    fwi_holds *holds = arg;
    while (holds->probes < MAX_PROBES && !fwi_list_empty(&holds->waiting)) {
        struct hold *hold = fwi_container_of(holds->waiting.next, struct hold, waiting);
        fwi_list_remove(&hold->waiting);
        int err = holds->options.prober->start(holds->loop, hold->instance, PROBE_TIMEOUT_MS,
                                               on_result, hold, &hold->probe);
        if (err) { /* whoever hears of it may end us: the others come in the next turn */
            fwi_loop_defer(holds->loop, &holds->serve);
            let_go(hold, err);
            return;
        }
        holds->probes++;
    }
}

int fwi_holds_add(fwi_holds *holds, const fw_instance *instance, int64_t revision,
                  fw_hold_reason reason)
{
    char name[MAX_NAME_BYTES];
    size_t len = name_of(instance->service, instance->id, name, sizeof name);
    struct hold *hold = fwi_map_get(&holds->by_name, name, len);
    if (hold)
        return FW_OK;
    hold = calloc(1, sizeof *hold);
    if (!hold || fwi_map_put(&holds->by_name, name, len, hold, NULL)) {
        free(hold);
        return UV_ENOMEM;
    }
    *hold = (struct hold){.holds = holds,
                          .instance = fw_instance_acquire(instance),
                          .revision = revision,
                          .reason = reason,
                          .since_ms = fw_loop_now_ms(holds->loop),
                          .rest = {.fn = on_rested, .arg = hold},
                          .rest_ms = FIRST_REST_MS};
    fwi_list_init(&hold->waiting);
    wait_for_probe(hold);
    return FW_OK;
}

bool fwi_holds_drop(fwi_holds *holds, const char *service, const char *id, bool *ret_answered)
{
    struct hold *hold = take(holds, service, id);
    *ret_answered = hold && hold->answers;
    if (hold)
        hold_free(hold);
    return hold != NULL;
}

size_t fwi_holds_count(const fwi_holds *holds)
{
    return holds->by_name.count;
}

void fwi_holds_each(const fwi_holds *holds, fw_watcher_held_fn fn, void *arg)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&holds->by_name, &position));) {
        const struct hold *hold = entry->value;
        fw_watcher_held held = {.instance = hold->instance,
                                .revision = hold->revision,
                                .since_ms = hold->since_ms,
                                .answers = hold->answers,
                                .reason = hold->reason};
        fn(&held, arg);
    }
}

int fwi_holds_create(fw_loop *loop, const fwi_holds_options *options, fwi_holds **ret_holds)
{
    fwi_holds *holds = calloc(1, sizeof *holds);
    if (!holds)
        return UV_ENOMEM;
    holds->loop = loop;
    holds->options = *options;
    holds->serve = (fwi_task){.fn = on_serve, .arg = holds};
    fwi_list_init(&holds->waiting);
    *ret_holds = holds;
    return FW_OK;
}

void fwi_holds_destroy(fwi_holds *holds)
{
    if (!holds)
        return;
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&holds->by_name, &position));)
        hold_free(entry->value);
    fwi_map_fini(&holds->by_name);
    fwi_loop_defer_cancel(holds->loop, &holds->serve);
    free(holds);
}
