/* fairway resolve and services: who is there, from the shell. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

struct view {
    cli_watcher list;
    bool all; /* offline ones, too */
    cli_filter filter;
};

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
    fw_watcher_each_held(view->list.watcher, on_held, &search);
    return search.found;
}

static void print_instance(struct view *view, const fw_snapshot *snapshot,
                           const fw_instance *instance)
{
    bool held = snapshot->held && is_held(view, instance);
    if (!view->list.cli->json) {
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
    size_t printed = 0, first, count = fw_snapshot_service(snapshot, view->list.service, &first);
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
    if (!view->list.cli->json) {
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
             fw_strerror(view->list.reason ? view->list.reason : FW_EDEADLINE),
             *view->list.detail ? ": " : "", view->list.detail, view->list.saved_list,
             cli_duration_text(age_ms > 0 ? (uint64_t)age_ms : 0, age, sizeof age));
    cli_fail(EXIT_DONE, view->list.cli->store, why);
}

static void answer(void *arg)
{
    struct view *view = arg;
    const fw_snapshot *snapshot;
    int code = EXIT_DONE, err = fw_watcher_snapshot(view->list.watcher, &snapshot);
    if (err) {
        cli_watcher_end(&view->list, cli_fail_error("list", err, NULL));
        return;
    }
    if (snapshot->restored)
        print_age(view, snapshot);
    size_t printed =
        view->list.service ? print_list(view, snapshot) : print_services(view, snapshot);
    if (!printed && snapshot->restored)
        code = cli_fail(EXIT_UNREACHABLE, view->list.service ? view->list.service : "services",
                        "not in the saved list");
    else if (!printed && view->list.service)
        code = cli_fail(EXIT_FAILED, view->list.service, "no instance is registered");
    fw_snapshot_release(snapshot);
    cli_watcher_end(&view->list, code);
}

static void count_undecided(const fw_watcher_held *held, void *arg)
{
    *(size_t *)arg += !held->answers;
}

/* After each event: is there enough to answer with? */
static void on_list_event(const fw_watcher_event *event, void *arg)
{
    (void)event;
    struct view *view = arg;
    size_t undecided = 0;
    /* What was saved and is not in the store any more may be alive: it is being asked. */
    if (view->list.synced)
        fw_watcher_each_held(view->list.watcher, count_undecided, &undecided);
    if (view->list.synced ? !undecided : view->list.restored && view->list.reason)
        answer(view);
}

static int run_list(cli_context *cli, struct view *view)
{
    view->list.on_event = on_list_event;
    view->list.on_time = answer;
    view->list.arg = view;
    return cli_run_watcher(cli, &view->list);
}

int cmd_resolve(cli_context *cli, int argc, char **argv)
{
    struct view view = {.all = false};
    cli_filter_options filter = {.zone = NULL};
    const cli_option options[] = {
        {"all", NULL, CLI_FLAG, &view.all, NULL, "also instances that are offline (draining)"},
        CLI_FILTER_OPTIONS(&filter),
        CLI_SAVED_LIST_OPTION(&view.list.saved_list),
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
    view.list.service = argv[0];
    if (rc < 0)
        rc = run_list(cli, &view);
    cli_filter_fini(&view.filter);
    return rc;
}

int cmd_services(cli_context *cli, int argc, char **argv)
{
    struct view view = {.all = false};
    cli_filter_options filter = {.zone = NULL};
    const cli_option options[] = {
        CLI_FILTER_OPTIONS(&filter),
        CLI_SAVED_LIST_OPTION(&view.list.saved_list),
        CLI_END,
    };
    int count, rc = cli_parse(cli, options, "",
                              "Lists the services that have instances, and how many of each are "
                              "online and offline.",
                              argc, argv, 0, 0, &count);
    if (rc < 0)
        rc = cli_filter_init(&filter, &view.filter);
    if (rc < 0)
        rc = run_list(cli, &view);
    cli_filter_fini(&view.filter);
    return rc;
}
