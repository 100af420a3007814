/*
 * A drain.
 *
 *     read the node --> put the request --ASKED--> watch the node and the consumers
 *       --the node is offline at revision R--> MARKED
 *       --every consumer has told R or more--> look once more --still so--> SEEN
 *       --the node is gone--> LEFT
 *
 * The look once more is a list: the watch of the consumers may be behind that of the node, and not
 * show yet who was announced before R. Who is announced after it has asked for its list after that,
 * so its list has the mark.
 *
 * Invariants: `done` is set once, by finish; nothing but the report of it happens from then on. The
 * drain is freed when it was closed, its report was made, and nothing of it is under way (`parts`).
 */
#include "drain.h"

#include "base/list.h"
#include "base/loop.h"
#include "base/map.h"
#include "consumer.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MARK_MS  5000
#define RETRY_MS         500
#define MAX_ASKS         5 /* of a request whose answers are lost */
#define MAX_DETAIL_BYTES 400

enum { OF_SERVICE, OF_ALL, WATCHES }; /* consumers */

struct consumers {
    fw_drain *drain;
    fw_kv_watch *watch;
    fwi_map by_name; /* name -> struct consumer */
    bool is_complete;
};

struct consumer {
    int64_t revision;
    char name[];
};

struct fw_drain {
    fw_kv *kv;
    fw_loop *loop;
    fw_drain_options options;
    char service[FWI_MAX_NAME_BYTES + 1];
    char node_key[FWI_DRAIN_KEY_BYTES], request_key[FWI_DRAIN_KEY_BYTES];
    fw_drain_progress progress;
    unsigned asks;
    fw_kv_watch *watch; /* of the node */
    bool has_node;      /* it shows one */
    bool is_leased, is_gone;
    struct consumers consumers[WATCHES];
    bool is_looking, has_changed; /* a list is under way; consumers have changed since it began */
    fwi_timer mark, retry, deadline;
    fwi_task report, end;
    bool done, closing;
    int status;
    char detail[MAX_DETAIL_BYTES];
    size_t parts; /* watches, operations and the report */
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

static void advance(fw_drain *drain);

static const char not_marked[] = "its registrar has not marked it offline";

/* ---- the end ---- */

static void consumers_fini(struct consumers *consumers)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&consumers->by_name, &position));)
        free(entry->value);
    fwi_map_fini(&consumers->by_name);
}

static void end_part(fw_drain *drain)
{
    if (--drain->parts || !drain->closing)
        return;
    if (drain->on_closed)
        drain->on_closed(drain->closed_arg);
    for (size_t i = 0; i < WATCHES; i++)
        consumers_fini(&drain->consumers[i]);
    free((void *)drain->options.by);
    free(drain);
}

static void on_part_closed(void *arg)
{
    end_part(arg);
}

static void on_report(fwi_task *task, void *arg)
{
    (void)task;
    fw_drain *drain = arg;
    drain->options.on_done(drain, drain->status, drain->detail, drain->options.arg);
    end_part(drain);
}

static void on_end(fwi_task *task, void *arg)
{
    (void)task;
    end_part(arg);
}

static void finish(fw_drain *drain, int status, const char *detail)
{
    if (drain->done)
        return;
    drain->done = true;
    drain->status = status;
    snprintf(drain->detail, sizeof drain->detail, "%s", detail ? detail : "");
    fwi_loop_timer_stop(drain->loop, &drain->mark);
    fwi_loop_timer_stop(drain->loop, &drain->retry);
    fwi_loop_timer_stop(drain->loop, &drain->deadline);
    /* What was opened is counted as a part; it ends when it is closed. */
    if (drain->watch)
        fw_kv_watch_close(drain->watch, on_part_closed, drain);
    for (size_t i = 0; i < WATCHES; i++)
        if (drain->consumers[i].watch)
            fw_kv_watch_close(drain->consumers[i].watch, on_part_closed, drain);
    drain->parts++;
    fwi_loop_defer(drain->loop, &drain->report);
}

void fw_drain_close(fw_drain *drain, fw_kv_closed_fn on_closed, void *arg)
{
    if (drain->closing)
        return;
    drain->closing = true;
    drain->on_closed = on_closed;
    drain->closed_arg = arg;
    finish(drain, FW_ECANCELED, "");
    /* One more for this call itself, given back in a later turn. */
    drain->parts++;
    fwi_loop_defer(drain->loop, &drain->end);
}

/* ---- consumers ---- */

void fw_drain_each_awaited(const fw_drain *drain,
                           void (*fn)(const fw_consumer *consumer, void *arg), void *arg)
{
    for (size_t i = 0; drain->progress.revision && i < WATCHES; i++) {
        size_t position = 0;
        const fwi_map *all = &drain->consumers[i].by_name;
        for (fwi_map_entry *entry; (entry = fwi_map_next(all, &position));) {
            const struct consumer *consumer = entry->value;
            fw_consumer lent = {.service = i == OF_ALL ? FWI_ALL_SERVICES : drain->service,
                                .name = consumer->name,
                                .revision = consumer->revision};
            if (consumer->revision < drain->progress.revision)
                fn(&lent, arg);
        }
    }
}

static void count_one(const fw_consumer *consumer, void *arg)
{
    (void)consumer;
    ++*(size_t *)arg;
}

static int note_consumer(struct consumers *consumers, const fw_kv_pair *pair)
{
    const char *name = strrchr(pair->key, '/') + 1;
    size_t len = strlen(name);
    struct consumer *consumer = fwi_map_get(&consumers->by_name, name, len);
    if (!consumer) {
        consumer = malloc(sizeof *consumer + len + 1);
        if (!consumer || fwi_map_put(&consumers->by_name, name, len, consumer, NULL)) {
            free(consumer);
            return UV_ENOMEM;
        }
        memcpy(consumer->name, name, len + 1);
    }
    consumer->revision = fwi_consumer_claim(pair);
    return FW_OK;
}

static void on_consumers(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    struct consumers *consumers = arg;
    fw_drain *drain = consumers->drain;
    for (size_t i = 0; i < count && !drain->done; i++) {
        const fw_kv_event *event = &events[i];
        if (event->type == FW_KV_PUT) {
            if (note_consumer(consumers, &event->pair))
                finish(drain, UV_ENOMEM, "");
        } else if (event->type == FW_KV_DELETE) {
            const char *name = strrchr(event->pair.key, '/') + 1;
            free(fwi_map_remove(&consumers->by_name, name, strlen(name)));
        } else if (event->type == FW_KV_END_OF_SNAPSHOT) {
            consumers->is_complete = true;
        } else if (event->type == FW_KV_FATAL) {
            finish(drain, event->reason, event->detail);
        }
    }
    drain->has_changed = true;
    advance(drain);
}

/* ---- the mark ---- */

static void on_marked(int status, const char *detail, void *arg)
{
    fw_drain *drain = arg;
    if (!drain->done && !drain->progress.revision) {
        if (status == FW_ELEASE)
            finish(drain, FW_EDEADLINE, not_marked);
        else if (status == FW_EUNKNOWN)
            fwi_loop_timer_start(drain->loop, &drain->mark, RETRY_MS);
        else if (status && status != FW_ENOTFOUND) /* of that the watch tells */
            finish(drain, status, detail);
    }
    end_part(drain);
}

static void on_request_marked(const fw_kv_result *result, void *arg)
{
    fw_drain *drain = arg;
    int status = result->status;
    if (drain->done || drain->progress.revision) {
        end_part(drain);
        return;
    }
    if (status == FW_EUNKNOWN) {
        fwi_loop_timer_start(drain->loop, &drain->mark, RETRY_MS);
        end_part(drain);
        return;
    }
    if (!status)
        status = fwi_mark(drain->kv, drain->node_key, FW_INSTANCE_OFFLINE, on_marked, drain);
    if (status) {
        finish(drain, status, result->detail);
        end_part(drain);
    }
}

static int put_request(fw_drain *drain, bool is_marked, fw_kv_done_fn done)
{
    char *json;
    int err = fwi_drain_request_encode(drain->options.by, is_marked, &json);
    if (err)
        return err;
    fw_slice value = {json, strlen(json)};
    if (is_marked)
        err = fw_kv_put(drain->kv, drain->request_key, value, NULL, done, drain);
    else
        err = fw_kv_atomic_put(drain->kv, drain->request_key, value, 0, NULL, done, drain);
    free(json);
    drain->parts += !err;
    return err;
}

/* Nobody has put the mark in time. The request says that we do before we do. */
static void on_mark_due(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_drain *drain = arg;
    if (drain->is_leased) {
        finish(drain, FW_EDEADLINE, not_marked);
        return;
    }
    drain->progress.by_us = true;
    int err = put_request(drain, true, on_request_marked);
    if (err)
        finish(drain, err, "");
}

/* ---- phases ---- */

static void reach(fw_drain *drain, fw_drain_phase phase)
{
    drain->progress.phase = phase;
    if (drain->options.on_phase)
        drain->options.on_phase(drain, &drain->progress, drain->options.arg);
}

static void on_looked(int status, const char *detail, const fw_consumer *consumers, size_t count,
                      void *arg)
{
    fw_drain *drain = arg;
    bool is_seen = !status;
    drain->is_looking = false;
    for (size_t i = 0; i < count; i++)
        is_seen = is_seen && consumers[i].revision >= drain->progress.revision;
    if (drain->done) {
        end_part(drain);
        return;
    }
    if (is_seen) {
        drain->progress.consumers = count;
        reach(drain, FW_DRAIN_SEEN);
        advance(drain);
    } else if (status == FW_EUNREACHABLE || status == FW_EDEADLINE) {
        fwi_loop_timer_start(drain->loop, &drain->retry, RETRY_MS);
    } else if (status) {
        finish(drain, status, detail);
    } else if (drain->has_changed) {
        advance(drain); /* else the watch tells later what the list has shown */
    }
    end_part(drain);
}

static void look(fw_drain *drain)
{
    if (drain->is_looking || fwi_timer_armed(&drain->retry))
        return;
    drain->has_changed = false;
    int err = fw_consumers_list(drain->kv, drain->service, on_looked, drain);
    if (err) {
        finish(drain, err, "");
        return;
    }
    drain->is_looking = true;
    drain->parts++;
}

static void on_look_again(fwi_timer *timer, void *arg)
{
    (void)timer;
    advance(arg);
}

/* Waits for the consumers. */
static void await_consumers(fw_drain *drain)
{
    fw_drain_progress before = drain->progress;
    drain->progress.consumers =
        drain->consumers[OF_SERVICE].by_name.count + drain->consumers[OF_ALL].by_name.count;
    drain->progress.awaited = 0;
    fw_drain_each_awaited(drain, count_one, &drain->progress.awaited);
    bool is_complete =
        drain->consumers[OF_SERVICE].is_complete && drain->consumers[OF_ALL].is_complete;
    if (!is_complete)
        return;
    if (before.phase == FW_DRAIN_ASKED && !drain->is_gone)
        reach(drain, FW_DRAIN_MARKED);
    else if (before.phase == FW_DRAIN_MARKED && (before.consumers != drain->progress.consumers ||
                                                 before.awaited != drain->progress.awaited))
        reach(drain, FW_DRAIN_MARKED);
    if (!drain->done && !drain->progress.awaited)
        look(drain);
}

static void advance(fw_drain *drain)
{
    if (drain->done || !drain->progress.revision)
        return;
    fwi_loop_timer_stop(drain->loop, &drain->mark);
    if (drain->progress.phase < FW_DRAIN_SEEN) {
        await_consumers(drain);
        return;
    }
    if (drain->options.wait_left && !drain->is_gone)
        return;
    if (drain->is_gone)
        reach(drain, FW_DRAIN_LEFT);
    finish(drain, FW_OK, "");
}

/* ---- the node ---- */

static void on_node_put(fw_drain *drain, const fw_kv_pair *pair)
{
    const fw_instance *instance;
    int err = fw_instance_decode(drain->service, "id", pair->value, &instance);
    if (err) {
        finish(drain, err, "its node cannot be read");
        return;
    }
    bool is_offline = instance->state == FW_INSTANCE_OFFLINE;
    fw_instance_release(instance);
    drain->is_leased = pair->lease != 0;
    drain->is_gone = false;
    if (is_offline && !drain->progress.revision)
        drain->progress.revision = pair->revision;
    else if (!is_offline && drain->progress.revision)
        finish(drain, FW_EMODIFIED, "it is online again");
}

static void on_node(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    fw_drain *drain = arg;
    for (size_t i = 0; i < count && !drain->done; i++) {
        const fw_kv_event *event = &events[i];
        bool is_away = event->type == FW_KV_DELETE ||
                       (event->type == FW_KV_END_OF_SNAPSHOT && !drain->has_node);
        if (event->type == FW_KV_FATAL)
            finish(drain, event->reason, event->detail);
        if (event->type == FW_KV_PUT)
            on_node_put(drain, &event->pair);
        drain->has_node = event->type == FW_KV_PUT || (drain->has_node && !is_away);
        drain->is_gone = drain->is_gone || is_away;
        if (is_away && !drain->progress.revision)
            drain->progress.revision = event->pair.revision;
    }
    advance(drain);
}

/* ---- the beginning ---- */

static int open_watches(fw_drain *drain)
{
    char prefix[sizeof FWI_CONSUMERS_PREFIX + FWI_MAX_NAME_BYTES + 2];
    const char *const names[WATCHES] = {[OF_SERVICE] = drain->service, [OF_ALL] = FWI_ALL_SERVICES};
    int err = fw_kv_watch_key(drain->kv, drain->node_key, on_node, drain, &drain->watch);
    drain->parts += !err;
    for (size_t i = 0; !err && i < WATCHES; i++) {
        struct consumers *consumers = &drain->consumers[i];
        snprintf(prefix, sizeof prefix, FWI_CONSUMERS_PREFIX "/%s", names[i]);
        err = fw_kv_watch_tree(drain->kv, prefix, on_consumers, consumers, &consumers->watch);
        drain->parts += !err;
    }
    return err;
}

static void on_asked(const fw_kv_result *result, void *arg)
{
    fw_drain *drain = arg;
    /* Somebody has asked before: that is as good. */
    int err = result->status == FW_EEXISTS ? FW_OK : result->status;
    if (drain->done) {
        end_part(drain);
        return;
    }
    if (err == FW_EUNKNOWN && ++drain->asks < MAX_ASKS) {
        err = put_request(drain, false, on_asked);
    } else if (!err) {
        fwi_loop_timer_start(drain->loop, &drain->mark, drain->options.mark_ms);
        reach(drain, FW_DRAIN_ASKED);
        if (!drain->done)
            err = open_watches(drain);
    }
    if (err)
        finish(drain, err, result->detail);
    end_part(drain);
}

static void on_read(const fw_kv_result *result, void *arg)
{
    fw_drain *drain = arg;
    int err = result->status;
    if (!err && !drain->done)
        err = put_request(drain, false, on_asked);
    if (err)
        finish(drain, err, result->detail);
    end_part(drain);
}

struct words {
    char *text;
    size_t size;
};

static void add_name(const fw_consumer *consumer, void *arg)
{
    struct words *words = arg;
    size_t len = strlen(words->text);
    snprintf(words->text + len, words->size - len, "%s%s", len ? ", " : "", consumer->name);
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_drain *drain = arg;
    char names[MAX_DETAIL_BYTES / 2] = "", detail[MAX_DETAIL_BYTES];
    fw_drain_each_awaited(drain, add_name, &(struct words){names, sizeof names});
    if (!drain->progress.revision)
        snprintf(detail, sizeof detail, "%s", not_marked);
    else if (drain->progress.phase >= FW_DRAIN_SEEN)
        snprintf(detail, sizeof detail, "it has not left");
    else
        snprintf(detail, sizeof detail, "%zu of %zu consumers have not seen it: %s",
                 drain->progress.awaited, drain->progress.consumers, names);
    finish(drain, FW_EDEADLINE, detail);
}

static int copy_by(fw_drain *drain, const char *by)
{
    char own[100], host[64] = "";
    size_t size = sizeof host;
    if (uv_os_gethostname(host, &size))
        snprintf(host, sizeof host, "?");
    snprintf(own, sizeof own, "%s:%d", host, (int)uv_os_getpid());
    drain->options.by = strdup(by ? by : own);
    return drain->options.by ? FW_OK : UV_ENOMEM;
}

int fw_drain_new(fw_kv *kv, const char *service, const char *id, const fw_drain_options *options,
                 fw_drain **ret_drain)
{
    if (!options || !options->on_done)
        return FW_EOPTION;
    if (!fwi_name_valid(service))
        return FW_ESERVICE;
    if (!fwi_name_valid(id))
        return FW_EINSTANCE;
    fw_drain *drain = calloc(1, sizeof *drain);
    if (!drain)
        return UV_ENOMEM;
    drain->kv = kv;
    drain->loop = fw_kv_loop(kv);
    drain->options = *options;
    if (!options->mark_ms)
        drain->options.mark_ms = DEFAULT_MARK_MS;
    snprintf(drain->service, sizeof drain->service, "%s", service);
    snprintf(drain->node_key, sizeof drain->node_key, FWI_SERVICES_PREFIX "/%s/%s", service, id);
    snprintf(drain->request_key, sizeof drain->request_key, FWI_DRAINS_PREFIX "/%s/%s", service,
             id);
    for (size_t i = 0; i < WATCHES; i++)
        drain->consumers[i].drain = drain;
    drain->mark = (fwi_timer){.fn = on_mark_due, .arg = drain};
    drain->retry = (fwi_timer){.fn = on_look_again, .arg = drain};
    drain->deadline = (fwi_timer){.fn = on_deadline, .arg = drain};
    drain->report = (fwi_task){.fn = on_report, .arg = drain};
    drain->end = (fwi_task){.fn = on_end, .arg = drain};
    int err = copy_by(drain, options->by);
    if (!err)
        err = fw_kv_get(kv, drain->node_key, on_read, drain);
    if (err) {
        free((void *)drain->options.by);
        free(drain);
        return err;
    }
    drain->parts++;
    if (options->deadline_ms)
        fwi_loop_timer_start(drain->loop, &drain->deadline, options->deadline_ms);
    *ret_drain = drain;
    return FW_OK;
}
