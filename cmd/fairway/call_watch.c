/*
 * fairway call --every: calls at a steady pace, whatever becomes of the earlier ones, and one line
 * for each thing that happens: instances that come, go, connect, disconnect and answer again, calls
 * that fail, and every few seconds the counts.
 */
#include "call_watch.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SUMMARY_EVERY_MS 5000
#define PEERS            32 /* instances with a count of their own */
#define REASONS          16 /* of failed calls, likewise */

struct peer {
    char *id; /* NULL: free */
    uint64_t answered;
    bool answers; /* and this was told */
    bool removed;
    bool down; /* its disconnection was told; that further attempts fail is not news */
};

struct watch {
    cli_context *cli;
    const call_watch_options *options;
    fw_proxy *proxy;
    uv_timer_t timer;
    uint64_t made, ended, answered, failed;
    uint64_t summed, summary_ms; /* ended calls at the last summary, and when that was */
    struct peer peers[PEERS];
    uint64_t answered_by_others; /* by instances that have no place in peers */
    struct {
        int status;
        uint64_t count;
    } reasons[REASONS]; /* in the order of their first time */
    int nobody;         /* why nobody could be called, while that goes on; told once */
    bool ending;
};

/* ---- telling ---- */

/* The beginning of a line or an object. In text this is the local time of day. */
static cJSON *begin(struct watch *watch, const char *event)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (watch->cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", event);
        cJSON_AddNumberToObject(json, "time",
                                (double)now.tv_sec + (double)(now.tv_nsec / 1000000) / 1e3);
        return json;
    }
    struct tm tm;
    char text[16] = "";
    if (localtime_r(&now.tv_sec, &tm))
        strftime(text, sizeof text, "%H:%M:%S", &tm);
    printf("%s.%03ld  ", text, now.tv_nsec / 1000000);
    return NULL;
}

static void finish(cJSON *json)
{
    if (json) {
        cli_print_json(json);
        return;
    }
    putchar('\n');
    fflush(stdout);
}

/* One thing that happened to an instance (may be NULL) or to the list. */
static void tell(struct watch *watch, const char *event, const fw_instance *instance,
                 const char *why)
{
    char *url = NULL;
    bool with_url = instance && !strcmp(event, "added") && !fw_instance_url(instance, &url);
    cJSON *json = begin(watch, event);
    if (!json) {
        printf("%s: %s%s%s%s%s", instance ? instance->id : watch->options->service, event,
               with_url ? " " : "", with_url ? url : "", why ? ": " : "", why ? why : "");
    } else {
        if (instance)
            cJSON_AddStringToObject(json, "instance", instance->id);
        if (with_url)
            cJSON_AddStringToObject(json, "url", url);
        if (why)
            cJSON_AddStringToObject(json, "reason", why);
    }
    finish(json);
    free(url);
}

/* "calls 1234 answered (echo-1 411, echo-2 823), 3 failed (connection lost 3)" */
static void print_counts(const struct watch *watch)
{
    const char *mark = " (";
    printf("calls %llu answered", (unsigned long long)watch->answered);
    for (size_t i = 0; i < PEERS; i++) {
        if (!watch->peers[i].answered)
            continue;
        printf("%s%s %llu", mark, watch->peers[i].id, (unsigned long long)watch->peers[i].answered);
        mark = ", ";
    }
    if (watch->answered_by_others)
        printf("%sothers %llu", mark, (unsigned long long)watch->answered_by_others);
    printf("%s, %llu failed", watch->answered ? ")" : "", (unsigned long long)watch->failed);
    for (size_t i = 0; i < REASONS && watch->reasons[i].count; i++)
        printf("%s%s: %llu", i ? ", " : " (", fw_strerror(watch->reasons[i].status),
               (unsigned long long)watch->reasons[i].count);
    printf("%s", watch->failed ? ")" : "");
}

static void add_counts(const struct watch *watch, cJSON *json)
{
    cJSON_AddNumberToObject(json, "answered", (double)watch->answered);
    cJSON *by = cJSON_AddObjectToObject(json, "answered_by");
    for (size_t i = 0; i < PEERS; i++)
        if (watch->peers[i].answered)
            cJSON_AddNumberToObject(by, watch->peers[i].id, (double)watch->peers[i].answered);
    cJSON_AddNumberToObject(json, "answered_by_others", (double)watch->answered_by_others);
    cJSON_AddNumberToObject(json, "failed", (double)watch->failed);
    cJSON *reasons = cJSON_AddObjectToObject(json, "reasons");
    for (size_t i = 0; i < REASONS && watch->reasons[i].count; i++)
        cJSON_AddNumberToObject(reasons, fw_error_name(watch->reasons[i].status),
                                (double)watch->reasons[i].count);
}

static void print_summary(struct watch *watch, const char *event)
{
    cJSON *json = begin(watch, event);
    if (json) {
        add_counts(watch, json);
    } else {
        if (strcmp(event, "calls") != 0)
            printf("%s: ", event);
        print_counts(watch);
    }
    finish(json);
    watch->summed = watch->ended;
    watch->summary_ms = fw_loop_now_ms(watch->cli->loop);
}

/* ---- instances ---- */

/* The instance's place, made if there is none; NULL if all are taken by others that live. */
static struct peer *peer_of(struct watch *watch, const char *id)
{
    struct peer *place = NULL;
    for (size_t i = 0; i < PEERS; i++) {
        struct peer *peer = &watch->peers[i];
        if (peer->id && !strcmp(peer->id, id))
            return peer;
        if (!peer->id ? !place || place->id : peer->removed && !place)
            place = peer;
    }
    if (!place)
        return NULL;
    watch->answered_by_others += place->answered;
    free(place->id);
    *place = (struct peer){.id = strdup(id)};
    return place->id ? place : NULL;
}

static void on_event(fw_proxy *proxy, const fw_proxy_event *event, void *arg)
{
    static const char *const names[] = {
        [FW_PROXY_ADDED] = "added",         [FW_PROXY_REMOVED] = "removed",
        [FW_PROXY_CONNECTED] = "connected", [FW_PROXY_DISCONNECTED] = "disconnected",
        [FW_PROXY_SYNCED] = "synced",       [FW_PROXY_STALE] = "stale",
        [FW_PROXY_LIVE] = "live",           [FW_PROXY_UNHEALTHY] = "unhealthy",
        [FW_PROXY_HEALTHY] = "healthy"};
    struct watch *watch = arg;
    char why[600];
    const char *text = fw_strerror(event->reason);
    bool more = *event->detail && strcmp(event->detail, text) != 0;
    snprintf(why, sizeof why, "%s%s%s", text, more ? ": " : "", more ? event->detail : "");
    if (event->type == FW_PROXY_SYNCED)
        snprintf(why, sizeof why, "%zu instances", fw_proxy_instance_count(proxy));
    bool has_why = event->reason || event->type == FW_PROXY_SYNCED;
    struct peer *peer = event->instance ? peer_of(watch, event->instance->id) : NULL;
    if (!peer || !peer->down || event->type != FW_PROXY_DISCONNECTED)
        tell(watch, names[event->type], event->instance, has_why ? why : NULL);
    if (!peer)
        return;
    peer->down = event->type == FW_PROXY_DISCONNECTED;
    peer->answers &= event->type != FW_PROXY_DISCONNECTED && event->type != FW_PROXY_REMOVED;
    peer->removed = event->type == FW_PROXY_REMOVED;
}

/* ---- calls ---- */

static void end(struct watch *watch, int exit_code);

static void count_failure(struct watch *watch, int status)
{
    watch->failed++;
    size_t i = 0;
    while (i < REASONS - 1 && watch->reasons[i].count && watch->reasons[i].status != status)
        i++;
    if (!watch->reasons[i].count)
        watch->reasons[i].status = status;
    watch->reasons[i].count++;
}

static void on_failed(struct watch *watch, const fw_rpc_result *result, const fw_instance *instance)
{
    char why[600];
    if (result->status == FW_EREMOTE)
        snprintf(why, sizeof why, "error %lld: %s", (long long)result->code, result->text);
    else
        snprintf(why, sizeof why, "%s", fw_strerror(result->status));
    count_failure(watch, result->status);
    if (instance || watch->nobody != result->status)
        tell(watch, "call failed", instance, why);
    watch->nobody = instance ? 0 : result->status;
}

static void on_answered(struct watch *watch, const fw_instance *instance)
{
    watch->answered++;
    watch->nobody = 0;
    struct peer *peer = peer_of(watch, instance->id);
    if (!peer) {
        watch->answered_by_others++;
        return;
    }
    peer->answered++;
    if (!peer->answers)
        tell(watch, "answers", instance, NULL);
    peer->answers = true;
}

static void call_ended(struct watch *watch)
{
    watch->ended++;
    if (watch->options->count && watch->ended == watch->options->count)
        end(watch, watch->failed ? EXIT_FAILED : EXIT_DONE);
}

static void on_done(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    struct watch *watch = arg;
    if (watch->ending)
        return; /* cut off by the end: neither answered nor failed */
    if (result->status)
        on_failed(watch, result, instance);
    else
        on_answered(watch, instance);
    call_ended(watch);
}

static void on_tick(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    uint64_t now = fw_loop_now_ms(watch->cli->loop);
    if (watch->ended != watch->summed && now - watch->summary_ms >= SUMMARY_EVERY_MS)
        print_summary(watch, "calls");
    if (watch->options->count && watch->made == watch->options->count)
        return; /* the last ones are under way */
    watch->made++;
    int err = fw_proxy_call(watch->proxy, &watch->options->message, on_done, watch);
    if (!err)
        return;
    on_failed(watch, &(fw_rpc_result){.status = err}, NULL);
    call_ended(watch);
}

/* ---- the end ---- */

static void end(struct watch *watch, int exit_code)
{
    watch->ending = true;
    uv_close((uv_handle_t *)&watch->timer, NULL);
    fw_proxy_close(watch->proxy, NULL, NULL);
    print_summary(watch, "ended");
    cli_stop(watch->cli, exit_code);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    (void)signal;
    end(arg, EXIT_DONE);
}

int call_watch(cli_context *cli, const call_watch_options *options)
{
    struct watch watch = {.cli = cli, .options = options};
    fw_proxy_options proxy = {.balancer = options->balancer,
                              .consumer = options->consumer,
                              .on_event = on_event,
                              .arg = &watch};
    int err = fw_proxy_new(cli->kv, options->service, &proxy, &watch.proxy);
    if (err) {
        cli_stop(cli, cli_fail_error(options->service, err, NULL));
        return cli_run(cli);
    }
    uv_timer_init(fw_loop_uv(cli->loop), &watch.timer);
    watch.timer.data = &watch;
    uv_timer_start(&watch.timer, on_tick, 0, options->every_ms);
    watch.summary_ms = fw_loop_now_ms(cli->loop);
    cli->on_signal = on_signal;
    cli->signal_arg = &watch;
    int code = cli_run(cli);
    for (size_t i = 0; i < PEERS; i++)
        free(watch.peers[i].id);
    return code;
}
