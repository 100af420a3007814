/* fairway resolve, services and watch: discovery from the shell. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

struct view {
    cli_context *cli;
    const char *service; /* NULL: all */
    bool all;            /* offline ones, too */
    fw_watcher *watcher;
    uv_timer_t timer;
    int reason; /* why the list has not come */
    char detail[512];
};

static void close_view(struct view *view, int exit_code)
{
    uv_close((uv_handle_t *)&view->timer, NULL);
    fw_watcher_close(view->watcher, NULL, NULL);
    cli_stop(view->cli, exit_code);
}

/* ---- one list ---- */

static void print_instance(const char *mark, const fw_instance *instance)
{
    char *url = NULL;
    if (fw_instance_url(instance, &url))
        return;
    printf("%s%-24s %-32s %-8s weight %u", mark, instance->id, url,
           instance->state ? "offline" : "online", instance->weight);
    if (*instance->zone)
        printf("  zone %s", instance->zone);
    if (*instance->version)
        printf("  version %s", instance->version);
    for (size_t i = 0; i < instance->metadata_count; i++)
        printf("  %s=%s", instance->metadata[i].name, instance->metadata[i].value);
    putchar('\n');
    fflush(stdout);
    free(url);
}

static size_t print_list(struct view *view, const fw_snapshot *snapshot)
{
    size_t printed = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        const fw_instance *instance = fw_snapshot_at(snapshot, i);
        if (instance->state != FW_INSTANCE_ONLINE && !view->all)
            continue;
        printed++;
        if (view->cli->json)
            cli_print_json(cli_json_instance(instance));
        else
            print_instance("", instance);
    }
    return printed;
}

static void print_service(cli_context *cli, const char *name, size_t online, size_t offline)
{
    if (!cli->json) {
        printf("%-24s %zu online, %zu offline\n", name, online, offline);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "service", name);
    cJSON_AddNumberToObject(json, "online", (double)online);
    cJSON_AddNumberToObject(json, "offline", (double)offline);
    cli_print_json(json);
}

static void print_services(struct view *view, const fw_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count;) {
        const char *name = fw_snapshot_at(snapshot, i)->service;
        size_t counts[2] = {0, 0};
        for (; i < snapshot->count && !strcmp(fw_snapshot_at(snapshot, i)->service, name); i++)
            counts[fw_snapshot_at(snapshot, i)->state != FW_INSTANCE_ONLINE]++;
        print_service(view->cli, name, counts[0], counts[1]);
    }
}

static void on_list_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    struct view *view = arg;
    if (event->type == FW_WATCHER_STALE) {
        view->reason = event->reason;
        snprintf(view->detail, sizeof view->detail, "%s", event->detail);
    } else if (event->type == FW_WATCHER_FATAL) {
        close_view(view, cli_fail_error(view->cli->store, event->reason, event->detail));
    } else if (event->type == FW_WATCHER_SYNCED) {
        const fw_snapshot *snapshot;
        int code = EXIT_DONE, err = fw_watcher_snapshot(watcher, &snapshot);
        if (err) {
            code = cli_fail_error("resolve", err, NULL);
        } else {
            if (!view->service)
                print_services(view, snapshot);
            else if (!print_list(view, snapshot))
                code = cli_fail(EXIT_FAILED, view->service, "no instance is registered");
            fw_snapshot_release(snapshot);
        }
        close_view(view, code);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    struct view *view = timer->data;
    close_view(view, cli_fail_error(view->cli->store, view->reason ? view->reason : FW_EDEADLINE,
                                    view->detail));
}

static void on_list_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    close_view(arg, 128 + signal);
}

static int run_list(struct view *view)
{
    cli_context *cli = view->cli;
    int rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    fw_watcher_options options = {.on_event = on_list_event, .arg = view};
    int err = fw_watcher_new(cli->kv, view->service, &options, &view->watcher);
    if (err) {
        cli_stop(cli, cli_fail_error(view->service ? view->service : "services", err, NULL));
        return cli_run(cli);
    }
    cli->on_signal = on_list_signal;
    cli->signal_arg = view;
    uv_timer_init(fw_loop_uv(cli->loop), &view->timer);
    view->timer.data = view;
    uv_timer_start(&view->timer, on_timeout, cli->timeout_ms, 0);
    return cli_run(cli);
}

int cmd_resolve(cli_context *cli, int argc, char **argv)
{
    struct view view = {.cli = cli};
    const cli_option options[] = {
        {"all", NULL, CLI_FLAG, &view.all, NULL, "also instances that are offline (draining)"},
        CLI_END,
    };
    int count, rc = cli_parse(cli, options, "NAME [--all]",
                              "Lists the instances of a service; exits with 1 if there is none.",
                              argc, argv, 1, 1, &count);
    if (rc >= 0)
        return rc;
    view.service = argv[0];
    return run_list(&view);
}

int cmd_services(cli_context *cli, int argc, char **argv)
{
    struct view view = {.cli = cli};
    const cli_option options[] = {CLI_END};
    int count, rc = cli_parse(cli, options, "", "Lists the services that have instances.", argc,
                              argv, 0, 0, &count);
    return rc >= 0 ? rc : run_list(&view);
}

/* ---- changes as they come ---- */

static const struct {
    const char *name, *mark;
} events[] = {
    [FW_WATCHER_ADDED] = {"added", "+ "},     [FW_WATCHER_CHANGED] = {"changed", "~ "},
    [FW_WATCHER_REMOVED] = {"removed", "- "}, [FW_WATCHER_SYNCED] = {"synced", "= "},
    [FW_WATCHER_STALE] = {"stale", "! "},     [FW_WATCHER_LIVE] = {"live", "= "},
    [FW_WATCHER_FATAL] = {"fatal", "! "},     [FW_WATCHER_RESTORED] = {"restored", "= "},
    [FW_WATCHER_HELD] = {"held", "? "},       [FW_WATCHER_RELISTED] = {"relisted", "= "},
};

static void on_watch_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    struct view *view = arg;
    const char *name = events[event->type].name;
    if (view->cli->json) {
        cJSON *json = event->instance ? cli_json_instance(event->instance) : cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", name);
        if (event->revision)
            cJSON_AddNumberToObject(json, "revision", (double)event->revision);
        if (event->reason) {
            cJSON_AddStringToObject(json, "reason", fw_strerror(event->reason));
            cJSON_AddStringToObject(json, "detail", event->detail);
        }
        cli_print_json(json);
    } else if (event->instance) {
        print_instance(events[event->type].mark, event->instance);
    } else {
        printf("%s%s%s%s%s%s\n", events[event->type].mark, name, event->reason ? ": " : "",
               event->reason ? fw_strerror(event->reason) : "", *event->detail ? ": " : "",
               event->detail);
        fflush(stdout);
    }
    if (event->type == FW_WATCHER_FATAL)
        cli_stop(view->cli, cli_exit_code(event->reason));
}

static void on_watch_signal(cli_context *cli, int signal, void *arg)
{
    (void)signal;
    struct view *view = arg;
    fw_watcher_close(view->watcher, NULL, NULL);
    cli_stop(cli, EXIT_DONE);
}

int cmd_watch(cli_context *cli, int argc, char **argv)
{
    struct view view = {.cli = cli};
    const cli_option options[] = {CLI_END};
    int count, rc = cli_parse(
                   cli, options, "NAME",
                   "Prints the instances of a service, and then every change, until it is stopped.",
                   argc, argv, 1, 1, &count);
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    fw_watcher_options watcher = {.on_event = on_watch_event, .arg = &view};
    int err = fw_watcher_new(cli->kv, argv[0], &watcher, &view.watcher);
    if (err) {
        cli_stop(cli, cli_fail_error(argv[0], err, NULL));
        return cli_run(cli);
    }
    cli->on_signal = on_watch_signal;
    cli->signal_arg = &view;
    return cli_run(cli);
}
