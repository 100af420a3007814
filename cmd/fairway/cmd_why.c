/*
 * fairway why: what is known of a service, and why.
 *
 *     WATCHING -> STAYING -> ASKING -> (printed)
 *
 *     WATCHING  until the list is complete, or the store is known to be away
 *     STAYING   for the time of --for
 *     ASKING    nodes, requests to drain and consumers, one after the other
 */
#include "why.h"

#include <stdlib.h>
#include <string.h>

enum state { WATCHING, STAYING, ASKING };

struct job {
    struct why why;
    cli_watcher list;
    enum state state;
    uint32_t for_ms;
};

/* ---- the end ---- */

static void finish(struct job *job)
{
    struct why *why = &job->why;
    why->watcher = job->list.watcher;
    int err = fw_watcher_snapshot(why->watcher, &why->snapshot);
    if (err) {
        cli_watcher_end(&job->list, cli_fail_error(why->service, err, NULL));
        return;
    }
    why->now_ms = fw_loop_now_ms(job->list.cli->loop);
    if (job->list.cli->json)
        why_print_json(why);
    else
        why_print_text(why);
    size_t count = fw_snapshot_service(why->snapshot, why->service, NULL);
    fw_snapshot_release(why->snapshot);
    cli_watcher_end(&job->list, count || why->unreadable_count ? EXIT_DONE : EXIT_FAILED);
}

/* ---- asking ---- */

static cJSON *ejected_json(const fw_consumer *consumer)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < consumer->ejected_count; i++) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "id", consumer->ejected[i].id);
        cJSON_AddStringToObject(one, "reason", consumer->ejected[i].reason);
        cJSON_AddItemToArray(array, one);
    }
    return array;
}

static void on_consumers(int status, const char *detail, const fw_consumer *consumers, size_t count,
                         void *arg)
{
    struct job *job = arg;
    struct why *why = &job->why;
    if (job->list.is_ended)
        return;
    why_note_answer(why, status, detail);
    why->consumers = status ? NULL : calloc(count + 1, sizeof *why->consumers);
    for (size_t i = 0; why->consumers && i < count; i++) {
        struct why_consumer *consumer = &why->consumers[why->consumer_count++];
        snprintf(consumer->service, sizeof consumer->service, "%s", consumers[i].service);
        snprintf(consumer->name, sizeof consumer->name, "%s", consumers[i].name);
        consumer->revision = consumers[i].revision;
        consumer->ejected = ejected_json(&consumers[i]);
    }
    finish(job);
}

static void on_drains(const fw_kv_result *result, void *arg)
{
    struct job *job = arg;
    if (job->list.is_ended)
        return;
    why_note_answer(&job->why, result->status, result->detail);
    if (!result->status)
        why_take_drains(&job->why, result);
    int err = fw_consumers_list(job->list.cli->kv, job->why.service, on_consumers, job);
    if (err)
        on_consumers(err, "", NULL, 0, job);
}

static void on_nodes(const fw_kv_result *result, void *arg)
{
    struct job *job = arg;
    if (job->list.is_ended)
        return;
    why_note_answer(&job->why, result->status, result->detail);
    if (!result->status)
        why_take_nodes(&job->why, result);
    char prefix[200];
    snprintf(prefix, sizeof prefix, "drains/%s", job->why.service);
    int err = fw_kv_list(job->list.cli->kv, prefix, on_drains, job);
    if (err)
        cli_watcher_end(&job->list, cli_fail_error(job->why.service, err, NULL));
}

static void ask(struct job *job)
{
    char prefix[200];
    job->state = ASKING;
    snprintf(prefix, sizeof prefix, "services/%s", job->why.service);
    int err = fw_kv_list(job->list.cli->kv, prefix, on_nodes, job);
    if (err)
        cli_watcher_end(&job->list, cli_fail_error(job->why.service, err, NULL));
}

/* ---- watching ---- */

static void stay(struct job *job)
{
    job->state = STAYING;
    if (job->for_ms) /* a word, for who waits */
        fprintf(stderr, "fairway: %s: watching\n", job->why.service);
    cli_watcher_wait(&job->list, job->for_ms);
}

static void on_time(void *arg)
{
    struct job *job = arg;
    if (job->state == WATCHING)
        stay(job);
    else
        ask(job);
}

static void on_event(const fw_watcher_event *event, void *arg)
{
    struct job *job = arg;
    if (event->type == FW_WATCHER_STALE)
        snprintf(job->why.stale_detail, sizeof job->why.stale_detail, "%s", event->detail);
    if (job->state == WATCHING &&
        (event->type == FW_WATCHER_SYNCED || (job->list.restored && job->list.reason)))
        stay(job);
}

/* It ends --for early. */
static bool on_signal(void *arg)
{
    struct job *job = arg;
    if (job->state != STAYING)
        return false;
    uv_timer_stop(&job->list.timer);
    ask(job);
    return true;
}

int cmd_why(cli_context *cli, int argc, char **argv)
{
    struct job job = {.list = {.on_event = on_event, .on_time = on_time, .on_signal = on_signal}};
    job.list.arg = &job;
    const cli_option options[] = {
        {"for", NULL, CLI_DURATION, &job.for_ms, "DUR",
         "watch that long before, to see what changes (default 0)"},
        CLI_SAVED_LIST_OPTION(&job.why.saved_list),
        CLI_END,
    };
    int count,
        rc = cli_parse(
            cli, options, "NAME [--for DUR]",
            "Tells what is known of a service, and why: how old the list is and where it comes "
            "from, its\n"
            "instances with what is held or drained, nodes that cannot be read, the consumers that "
            "are announced\n"
            "with what they have seen and ejected, the last changes. A signal ends --for early. "
            "Exits with 1 if\n"
            "there is nothing.",
            argc, argv, 1, 1, &count);
    if (rc < 0)
        rc = cli_check_service(argv[0]);
    if (rc >= 0)
        return rc;
    job.why.service = job.list.service = argv[0];
    job.list.saved_list = job.why.saved_list;
    rc = cli_run_watcher(cli, &job.list);
    why_fini(&job.why);
    return rc;
}
