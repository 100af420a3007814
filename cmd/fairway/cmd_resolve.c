/* fairway resolve and services: who is there, from the shell. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

struct view {
    cli_context *cli;
    const char *service; /* NULL: all */
    const char *saved_list;
    bool all; /* offline ones, too */
    cli_filter filter;
    fw_watcher *watcher;
    uv_timer_t timer;
    bool restored, synced, is_closed;
    int reason; /* why the list has not come */
    char detail[512];
};

static void close_view(struct view *view, int exit_code)
{
    view->is_closed = true;
    uv_close((uv_handle_t *)&view->timer, NULL);
    fw_watcher_close(view->watcher, NULL, NULL);
    cli_stop(view->cli, exit_code);
}

/* ---- one list ---- */

/* Looks for an instance among those that are held. */
struct search {
    const fw_instance *instance;
    bool found;
};

static void on_held(const fw_watcher_held *held, void *arg)
{
    struct search *search = arg;
    search->found = search->found || held->instance == search->instance;
}

static bool is_held(const struct view *view, const fw_instance *instance)
{
    struct search search = {.instance = instance};
    fw_watcher_each_held(view->watcher, on_held, &search);
    return search.found;
}

static void print_instance(struct view *view, const fw_snapshot *snapshot,
                           const fw_instance *instance)
{
    bool held = snapshot->held && is_held(view, instance);
    if (!view->cli->json) {
        cli_print_instance("", instance, held ? "(held: not in the store, but it answers)" : "");
        return;
    }
    cJSON *json = cli_json_instance(instance);
    if (held)
        cJSON_AddBoolToObject(json, "held", true);
    if (snapshot->restored)
        cli_json_add_int64(json, "saved_ms", snapshot->saved_ms);
    cli_print_json(json);
}

static bool is_shown(const struct view *view, const fw_instance *instance)
{
    return fw_instance_matches(instance, &view->filter.filter);
}

static size_t print_list(struct view *view, const fw_snapshot *snapshot)
{
    size_t printed = 0, first, count = fw_snapshot_service(snapshot, view->service, &first);
    for (size_t i = first; i < first + count; i++) {
        const fw_instance *instance = fw_snapshot_at(snapshot, i);
        if (!is_shown(view, instance) || (instance->state != FW_INSTANCE_ONLINE && !view->all))
            continue;
        printed++;
        print_instance(view, snapshot, instance);
    }
    return printed;
}

static void print_service(struct view *view, const fw_snapshot *snapshot, const char *name,
                          size_t online, size_t offline)
{
    if (!view->cli->json) {
        printf("%-24s %zu online, %zu offline\n", name, online, offline);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "service", name);
    cJSON_AddNumberToObject(json, "online", (double)online);
    cJSON_AddNumberToObject(json, "offline", (double)offline);
    if (snapshot->restored)
        cli_json_add_int64(json, "saved_ms", snapshot->saved_ms);
    cli_print_json(json);
}

static size_t print_services(struct view *view, const fw_snapshot *snapshot)
{
    size_t printed = 0;
    for (size_t i = 0; i < snapshot->count;) {
        const char *name = fw_snapshot_at(snapshot, i)->service;
        size_t counts[2] = {0, 0}, end = i + fw_snapshot_service(snapshot, name, NULL);
        for (; i < end; i++)
            if (is_shown(view, fw_snapshot_at(snapshot, i)))
                counts[fw_snapshot_at(snapshot, i)->state != FW_INSTANCE_ONLINE]++;
        if (counts[0] + counts[1]) {
            print_service(view, snapshot, name, counts[0], counts[1]);
            printed++;
        }
    }
    return printed;
}

/* Says that the list is an old one. */
static void print_age(struct view *view, const fw_snapshot *snapshot)
{
    char why[1200], age[32];
    int64_t age_ms = cli_unix_ms() - snapshot->saved_ms;
    snprintf(why, sizeof why, "%s%s%s; answered from %s, saved %s ago",
             fw_strerror(view->reason ? view->reason : FW_EDEADLINE), *view->detail ? ": " : "",
             view->detail, view->saved_list,
             cli_duration_text(age_ms > 0 ? (uint64_t)age_ms : 0, age, sizeof age));
    cli_fail(EXIT_DONE, view->cli->store, why);
}

static void answer(struct view *view)
{
    const fw_snapshot *snapshot;
    int code = EXIT_DONE, err = fw_watcher_snapshot(view->watcher, &snapshot);
    if (err) {
        close_view(view, cli_fail_error("list", err, NULL));
        return;
    }
    if (snapshot->restored)
        print_age(view, snapshot);
    size_t printed = view->service ? print_list(view, snapshot) : print_services(view, snapshot);
    if (!printed && snapshot->restored)
        code = cli_fail(EXIT_UNREACHABLE, view->service ? view->service : "services",
                        "not in the saved list");
    else if (!printed && view->service)
        code = cli_fail(EXIT_FAILED, view->service, "no instance is registered");
    fw_snapshot_release(snapshot);
    close_view(view, code);
}

static void count_undecided(const fw_watcher_held *held, void *arg)
{
    *(size_t *)arg += !held->answers;
}

/* After each event: is there enough to answer with? */
static void on_list_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    struct view *view = arg;
    size_t undecided = 0;
    if (view->is_closed)
        return;
    view->restored = view->restored || event->type == FW_WATCHER_RESTORED;
    view->synced = view->synced || event->type == FW_WATCHER_SYNCED;
    if (event->type == FW_WATCHER_FATAL) {
        close_view(view, cli_fail_error(view->cli->store, event->reason, event->detail));
        return;
    }
    if (event->type == FW_WATCHER_STALE) {
        view->reason = event->reason;
        snprintf(view->detail, sizeof view->detail, "%s", event->detail);
    }
    /* What was saved and is not in the store any more may be alive: it is being asked. */
    if (view->synced)
        fw_watcher_each_held(watcher, count_undecided, &undecided);
    if (view->synced ? !undecided : view->restored && view->reason)
        answer(view);
}

static void on_timeout(uv_timer_t *timer)
{
    struct view *view = timer->data;
    if (view->synced || view->restored)
        answer(view);
    else
        close_view(view, cli_fail_error(view->cli->store,
                                        view->reason ? view->reason : FW_EDEADLINE, view->detail));
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
    /* A saved list is that of all services, so that one file serves every command. */
    fw_watcher_options options = {
        .saved_list = view->saved_list, .on_event = on_list_event, .arg = view};
    int err =
        fw_watcher_new(cli->kv, view->saved_list ? NULL : view->service, &options, &view->watcher);
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
    cli_filter_options filter = {.zone = NULL};
    const cli_option options[] = {
        {"all", NULL, CLI_FLAG, &view.all, NULL, "also instances that are offline (draining)"},
        CLI_FILTER_OPTIONS(&filter),
        CLI_SAVED_LIST_OPTION(&view.saved_list),
        CLI_END,
    };
    int count, rc = cli_parse(cli, options, "NAME [--all]",
                              "Lists the instances of a service; exits with 1 if there is none.\n"
                              "With --saved-list it answers, too, when the store does not, and "
                              "says how old the list is.",
                              argc, argv, 1, 1, &count);
    if (rc < 0)
        rc = cli_check_service(argv[0]);
    if (rc < 0)
        rc = cli_filter_init(&filter, &view.filter);
    view.service = argv[0];
    if (rc < 0)
        rc = run_list(&view);
    cli_filter_fini(&view.filter);
    return rc;
}

int cmd_services(cli_context *cli, int argc, char **argv)
{
    struct view view = {.cli = cli};
    cli_filter_options filter = {.zone = NULL};
    const cli_option options[] = {
        CLI_FILTER_OPTIONS(&filter),
        CLI_SAVED_LIST_OPTION(&view.saved_list),
        CLI_END,
    };
    int count, rc = cli_parse(cli, options, "",
                              "Lists the services that have instances, and how many of each are "
                              "online and offline.",
                              argc, argv, 0, 0, &count);
    if (rc < 0)
        rc = cli_filter_init(&filter, &view.filter);
    if (rc < 0)
        rc = run_list(&view);
    cli_filter_fini(&view.filter);
    return rc;
}
