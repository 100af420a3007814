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

enum state { WATCHING, STAYING, ASKING, DONE };

struct job {
    struct why why;
    cli_context *cli;
    enum state state;
    uint32_t for_ms;
    uv_timer_t timer;
    bool restored;
    int reason;
    char detail[512];
};

/* ---- the end ---- */

static void end(struct job *job, int exit_code)
{
    if (job->state == DONE)
        return;
    job->state = DONE;
    uv_close((uv_handle_t *)&job->timer, NULL);
    fw_watcher_close(job->why.watcher, NULL, NULL);
    cli_stop(job->cli, exit_code);
}

static void finish(struct job *job)
{
    struct why *why = &job->why;
    int err = fw_watcher_snapshot(why->watcher, &why->snapshot);
    if (err) {
        end(job, cli_fail_error(why->service, err, NULL));
        return;
    }
    why->now_ms = fw_loop_now_ms(job->cli->loop);
    if (job->cli->json)
        why_print_json(why);
    else
        why_print_text(why);
    size_t count = fw_snapshot_service(why->snapshot, why->service, NULL);
    fw_snapshot_release(why->snapshot);
    end(job, count || why->unreadable_count ? EXIT_DONE : EXIT_FAILED);
}

/* ---- asking ---- */

static void on_consumers(int status, const char *detail, const fw_consumer *consumers, size_t count,
                         void *arg)
{
    struct job *job = arg;
    struct why *why = &job->why;
    if (job->state != ASKING)
        return;
    why_note_answer(why, status, detail);
    why->consumers = status ? NULL : calloc(count + 1, sizeof *why->consumers);
    for (size_t i = 0; why->consumers && i < count; i++) {
        struct why_consumer *consumer = &why->consumers[why->consumer_count++];
        snprintf(consumer->service, sizeof consumer->service, "%s", consumers[i].service);
        snprintf(consumer->name, sizeof consumer->name, "%s", consumers[i].name);
        consumer->revision = consumers[i].revision;
    }
    finish(job);
}

static void on_drains(const fw_kv_result *result, void *arg)
{
    struct job *job = arg;
    if (job->state != ASKING)
        return;
    why_note_answer(&job->why, result->status, result->detail);
    if (!result->status)
        why_take_drains(&job->why, result);
    int err = fw_consumers_list(job->cli->kv, job->why.service, on_consumers, job);
    if (err)
        on_consumers(err, "", NULL, 0, job);
}

static void on_nodes(const fw_kv_result *result, void *arg)
{
    struct job *job = arg;
    if (job->state != ASKING)
        return;
    why_note_answer(&job->why, result->status, result->detail);
    if (!result->status)
        why_take_nodes(&job->why, result);
    char prefix[200];
    snprintf(prefix, sizeof prefix, "drains/%s", job->why.service);
    int err = fw_kv_list(job->cli->kv, prefix, on_drains, job);
    if (err)
        end(job, cli_fail_error(job->why.service, err, NULL));
}

static void ask(uv_timer_t *timer)
{
    struct job *job = timer->data;
    char prefix[200];
    job->state = ASKING;
    snprintf(prefix, sizeof prefix, "services/%s", job->why.service);
    int err = fw_kv_list(job->cli->kv, prefix, on_nodes, job);
    if (err)
        end(job, cli_fail_error(job->why.service, err, NULL));
}

/* ---- watching ---- */

static void stay(struct job *job)
{
    job->state = STAYING;
    if (job->for_ms) /* a word, for who waits */
        fprintf(stderr, "fairway: %s: watching\n", job->why.service);
    uv_timer_start(&job->timer, ask, job->for_ms, 0);
}

static void on_timeout(uv_timer_t *timer)
{
    struct job *job = timer->data;
    if (job->restored)
        stay(job);
    else
        end(job,
            cli_fail_error(job->cli->store, job->reason ? job->reason : FW_EDEADLINE, job->detail));
}

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    struct job *job = arg;
    if (event->type == FW_WATCHER_FATAL) {
        end(job, cli_fail_error(job->cli->store, event->reason, event->detail));
        return;
    }
    if (event->type == FW_WATCHER_STALE) {
        job->reason = event->reason;
        snprintf(job->detail, sizeof job->detail, "%s", event->detail);
        snprintf(job->why.stale_detail, sizeof job->why.stale_detail, "%s", event->detail);
    }
    job->restored = job->restored || event->type == FW_WATCHER_RESTORED;
    if (job->state == WATCHING &&
        (event->type == FW_WATCHER_SYNCED || (job->restored && job->reason)))
        stay(job);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    struct job *job = arg;
    if (job->state != STAYING) {
        end(job, 128 + signal);
        return;
    }
    cli->stopped = false;
    uv_timer_stop(&job->timer);
    ask(&job->timer);
}

static int run(struct job *job)
{
    cli_context *cli = job->cli;
    int rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    fw_watcher_options options = {
        .saved_list = job->why.saved_list, .on_event = on_event, .arg = job};
    int err = fw_watcher_new(cli->kv, job->why.saved_list ? NULL : job->why.service, &options,
                             &job->why.watcher);
    if (err) {
        cli_stop(cli, cli_fail_error(job->why.service, err, NULL));
        return cli_run(cli);
    }
    cli->on_signal = on_signal;
    cli->signal_arg = job;
    uv_timer_init(fw_loop_uv(cli->loop), &job->timer);
    job->timer.data = job;
    uv_timer_start(&job->timer, on_timeout, cli->timeout_ms, 0);
    return cli_run(cli);
}

int cmd_why(cli_context *cli, int argc, char **argv)
{
    struct job job = {.cli = cli};
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
            "and what they have seen, the last changes. A signal ends --for early. Exits with 1 if "
            "there is nothing.",
            argc, argv, 1, 1, &count);
    if (rc < 0)
        rc = cli_check_service(argv[0]);
    if (rc >= 0)
        return rc;
    job.why.service = argv[0];
    rc = run(&job);
    why_fini(&job.why);
    return rc;
}
