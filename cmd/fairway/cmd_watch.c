/*
 * fairway watch: instances as they come and go.
 *
 * The watcher tells of all; what the filter leaves out is left out here. `before` is the list as of
 * the event before, which tells whether an instance that changed was shown.
 */
#include "cli.h"

#include <string.h>

struct watch {
    cli_watcher list;
    cli_filter filter;
    const fw_snapshot *before; /* or NULL */
};

static const struct {
    const char *name, *mark;
} events[] = {
    [FW_WATCHER_ADDED] = {"added", "+ "},     [FW_WATCHER_CHANGED] = {"changed", "~ "},
    [FW_WATCHER_REMOVED] = {"removed", "- "}, [FW_WATCHER_SYNCED] = {"synced", "= "},
    [FW_WATCHER_STALE] = {"stale", "! "},     [FW_WATCHER_LIVE] = {"live", "= "},
    [FW_WATCHER_FATAL] = {"fatal", "! "},     [FW_WATCHER_RESTORED] = {"restored", "= "},
    [FW_WATCHER_HELD] = {"held", "? "},       [FW_WATCHER_RELISTED] = {"relisted", "= "},
};

static bool is_shown(const struct watch *watch, const fw_instance *instance)
{
    return !strcmp(instance->service, watch->list.service) &&
           fw_instance_matches(instance, &watch->filter.filter);
}

/* The event as it looks through the filter; false if there is nothing to see. */
static bool look(struct watch *watch, const fw_watcher_event *event,
                 fw_watcher_event_type *ret_type)
{
    *ret_type = event->type;
    if (!event->instance)
        return true;
    bool now = is_shown(watch, event->instance);
    if (event->type != FW_WATCHER_CHANGED)
        return now;
    const fw_instance *old =
        watch->before
            ? fw_snapshot_find(watch->before, event->instance->service, event->instance->id)
            : NULL;
    bool before = old && is_shown(watch, old);
    if (now != before)
        *ret_type = now ? FW_WATCHER_ADDED : FW_WATCHER_REMOVED;
    return now || before;
}

static void print_json(const fw_watcher_event *event, fw_watcher_event_type type, int64_t saved_ms)
{
    cJSON *json = event->instance ? cli_json_instance(event->instance) : cJSON_CreateObject();
    cJSON_AddStringToObject(json, "event", events[type].name);
    if (event->revision)
        cli_json_add_int64(json, "revision", event->revision);
    if (type == FW_WATCHER_RESTORED)
        cli_json_add_int64(json, "saved_ms", saved_ms);
    if (event->reason) {
        cJSON_AddStringToObject(json, "reason", fw_strerror(event->reason));
        cJSON_AddStringToObject(json, "detail", event->detail);
    }
    cli_print_json(json);
}

static void print_text(const fw_watcher_event *event, fw_watcher_event_type type, int64_t saved_ms)
{
    if (event->instance) {
        cli_print_instance(events[type].mark, event->instance,
                           type == FW_WATCHER_HELD ? "(held: not in the store, but it answers)"
                           : type == FW_WATCHER_RELISTED ? "(relisted: in the store again)"
                                                         : "");
        return;
    }
    char age[32] = "";
    int64_t age_ms = cli_unix_ms() - saved_ms;
    if (type == FW_WATCHER_RESTORED)
        cli_duration_text(age_ms > 0 ? (uint64_t)age_ms : 0, age, sizeof age);
    printf("%s%s%s%s%s%s%s%s%s\n", events[type].mark, events[type].name, event->reason ? ": " : "",
           event->reason ? fw_strerror(event->reason) : "", *event->detail ? ": " : "",
           event->detail, *age ? ": saved " : "", age, *age ? " ago" : "");
    fflush(stdout);
}

static void on_watch_event(const fw_watcher_event *event, void *arg)
{
    struct watch *watch = arg;
    const fw_snapshot *now = NULL;
    fw_watcher_event_type type;
    int err = fw_watcher_snapshot(watch->list.watcher, &now);
    if (err) {
        cli_watcher_end(&watch->list, cli_fail_error("watch", err, NULL));
        return;
    }
    if (look(watch, event, &type)) {
        if (watch->list.cli->json)
            print_json(event, type, now->saved_ms);
        else
            print_text(event, type, now->saved_ms);
    }
    fw_snapshot_release(watch->before);
    watch->before = now;
}

int cmd_watch(cli_context *cli, int argc, char **argv)
{
    struct watch watch = {.list = {.is_endless = true, .on_event = on_watch_event}};
    watch.list.arg = &watch;
    cli_filter_options filter = {.zone = NULL};
    const cli_option options[] = {
        CLI_FILTER_OPTIONS(&filter),
        CLI_SAVED_LIST_OPTION(&watch.list.saved_list),
        {"consumer", NULL, CLI_TEXT, &watch.list.consumer, "ID",
         "announces it as a consumer: a drain waits until it has seen the instance offline"},
        CLI_END,
    };
    int count,
        rc = cli_parse(
            cli, options, "NAME",
            "Prints the instances of a service, and then every change, until it is stopped:\n"
            "  + added   - removed   ~ changed   = synced: the list is complete\n"
            "  ? held: the store has lost it, but it answers; relisted: the store has it again\n"
            "  ! stale: the store is out of reach, the list may be old; live: it is back",
            argc, argv, 1, 1, &count);
    if (rc < 0)
        rc = cli_check_service(argv[0]);
    if (rc < 0)
        rc = cli_check_consumer(watch.list.consumer);
    if (rc < 0)
        rc = cli_filter_init(&filter, &watch.filter);
    watch.list.service = argv[0];
    if (rc < 0)
        rc = cli_run_watcher(cli, &watch.list);
    fw_snapshot_release(watch.before);
    cli_filter_fini(&watch.filter);
    return rc;
}
