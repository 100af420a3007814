/*
 * fairway demo: a whole cluster on this machine, in processes of its own, and a story that happens
 * to it.
 *
 *   GATEWAY   the gateway comes up
 *   SERVICES  three echo instances register and stand behind it
 *   CALLS     a client calls them through the proxy, an outside client through the gateway
 *   KILLED    one is killed with SIGKILL; wait until proxy, gateway and registry have noticed
 *   REPLACED  another takes its place; wait until it answers on both ways
 *   AFTER     calls go on a little, then the sum
 */
#include "cli.h"
#include "demo_children.h"

#include <fairway/clientproxy.h>
#include <fairway/vconn.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INSTANCES     4 /* three, and the replacement */
#define VICTIM        1 /* echo-2 */
#define CALL_EVERY_MS 5
#define PHASE_MS      2000  /* how long calls go on undisturbed */
#define PATIENCE_MS   20000 /* for one phase */
#define LEASE         "2s"

enum phase { GATEWAY, SERVICES, CALLS, KILLED, REPLACED, AFTER, KEPT, ENDING };

struct member {
    char id[24];
    demo_child *child;
    bool registered, attached;
    unsigned calls;
    fw_vconn *vconn;
    bool vconn_open;
    unsigned messages, unanswered;
};

struct demo {
    cli_context *cli;
    bool keep;
    char dir[1024], store[1032];
    demo_children children;
    enum phase phase;
    uint64_t started_ns, phase_ns, killed_ns;
    char client_url[128], server_url[128], key[24];
    struct member members[INSTANCES];
    fw_proxy *proxy;
    fw_endpoint *endpoint;
    uv_timer_t tick;
    unsigned instances_seen, answered, failed, failed_elsewhere;
    double slowest_ms;
    bool proxy_noticed, gateway_noticed, registry_noticed;
    unsigned open_parts; /* proxy and endpoint, while closing */
    bool color;
};

/* ---- telling ---- */

static double seconds_since(uint64_t ns)
{
    return (double)(uv_hrtime() - ns) / 1e9;
}

/* One line of the story: text for people, or an object with the same text. */
__attribute__((format(printf, 3, 4))) static void tell(struct demo *demo, const char *event,
                                                       const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    double at = seconds_since(demo->started_ns);
    if (demo->cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", event);
        cJSON_AddNumberToObject(json, "at_s", at);
        cJSON_AddStringToObject(json, "text", text);
        cli_print_json(json);
    } else {
        printf("%s%7.3f s%s  %s\n", demo->color ? "\x1b[2m" : "", at, demo->color ? "\x1b[0m" : "",
               text);
        fflush(stdout);
    }
}

static void set_phase(struct demo *demo, enum phase phase)
{
    demo->phase = phase;
    demo->phase_ns = uv_hrtime();
}

static void end(struct demo *demo, int exit_code);

__attribute__((format(printf, 2, 3))) static void give_up(struct demo *demo, const char *format,
                                                          ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (demo->phase != ENDING)
        end(demo, cli_fail(EXIT_FAILED, "demo", text));
}

static struct member *member_of(struct demo *demo, const char *id)
{
    for (int i = 0; i < INSTANCES; i++)
        if (!strcmp(demo->members[i].id, id))
            return &demo->members[i];
    return NULL;
}

/* ---- processes ---- */

static demo_child *start_child(struct demo *demo, const char *name, const char *const *args)
{
    int err;
    demo_child *child = demo_child_start(&demo->children, name, args, &err);
    if (!child)
        give_up(demo, "%s does not start: %s", name, fw_strerror(err));
    return child;
}

static void start_gateway(struct demo *demo)
{
    setenv("FAIRWAY_SERVER_AUTH_KEY", demo->key, 1); /* secrets travel in the environment */
    setenv("FAIRWAY_GATEWAY_KEY", demo->key, 1);
    const char *args[] = {"--json",      "gateway",       "--client-addr",
                          "127.0.0.1:0", "--server-addr", "127.0.0.1:0",
                          "--log-level", "off",           NULL};
    start_child(demo, "gateway", args);
}

static void start_member(struct demo *demo, int index)
{
    struct member *member = &demo->members[index];
    char gateway_id[16];
    snprintf(member->id, sizeof member->id, "echo-%d", index + 1);
    snprintf(gateway_id, sizeof gateway_id, "%d", index + 1);
    const char *args[] = {
        "--store",  demo->store,   "--json", "serve",     "echo",           "--id",
        member->id, "--ttl",       LEASE,    "--gateway", demo->server_url, "--gateway-id",
        gateway_id, "--log-level", "off",    NULL};
    member->child = start_child(demo, member->id, args);
}

/* ---- the outside client: virtual connections through the gateway ---- */

static void on_vconn_open(fw_vconn *vconn, int status, void *arg)
{
    (void)vconn;
    struct member *member = arg;
    member->vconn_open = status == FW_OK;
}

static void on_vconn_message(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg)
{
    (void)vconn;
    (void)data;
    (void)len;
    struct member *member = arg;
    member->messages++;
    member->unanswered--;
}

static void on_vconn_closed(fw_vconn *vconn, int reason, void *arg)
{
    (void)vconn;
    (void)reason;
    struct member *member = arg;
    member->vconn = NULL;
    member->vconn_open = false;
}

static const fw_vconn_events vconn_events = {
    .on_open = on_vconn_open, .on_message = on_vconn_message, .on_closed = on_vconn_closed};

static void dial_member(struct demo *demo, int index)
{
    struct member *member = &demo->members[index];
    int err = fw_vconn_dial(demo->endpoint, (uint32_t)index + 1, 0, &vconn_events, member,
                            &member->vconn);
    if (err)
        give_up(demo, "the outside client cannot dial: %s", fw_strerror(err));
}

static void send_messages(struct demo *demo)
{
    for (int i = 0; i < INSTANCES; i++) {
        struct member *member = &demo->members[i];
        if (member->vconn_open && !fw_vconn_send(member->vconn, "hello", 5))
            member->unanswered++;
    }
}

/* ---- the inside client: calls through the proxy ---- */

struct call {
    struct demo *demo;
    uint64_t started_ns;
};

static void on_call_done(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    struct call *call = arg;
    struct demo *demo = call->demo;
    double ms = (double)(uv_hrtime() - call->started_ns) / 1e6;
    free(call);
    if (demo->phase == ENDING)
        return;
    struct member *member = instance ? member_of(demo, instance->id) : NULL;
    if (result->status) {
        demo->failed++;
        if (member != &demo->members[VICTIM])
            demo->failed_elsewhere++;
        tell(demo, "call_failed", "  a call to %s failed: %s", instance ? instance->id : "nobody",
             fw_strerror(result->status));
        return;
    }
    demo->answered++;
    if (member)
        member->calls++;
    if (ms > demo->slowest_ms)
        demo->slowest_ms = ms;
}

static void call_once(struct demo *demo)
{
    struct call *call = malloc(sizeof *call);
    if (!call)
        return;
    *call = (struct call){demo, uv_hrtime()};
    fw_rpc_message message = {.method = "echo", .body = {"\"hello\"", 7}, .timeout_ms = 2000};
    if (fw_proxy_call(demo->proxy, &message, on_call_done, call)) {
        demo->failed++;
        demo->failed_elsewhere++;
        free(call);
    }
}

static void on_proxy_event(fw_proxy *proxy, const fw_proxy_event *event, void *arg)
{
    (void)proxy;
    struct demo *demo = arg;
    bool victim = event->instance && !strcmp(event->instance->id, demo->members[VICTIM].id);
    if (event->type == FW_PROXY_ADDED)
        demo->instances_seen++;
    if (!victim || demo->phase != KILLED)
        return;
    double ms = (double)(uv_hrtime() - demo->killed_ns) / 1e6;
    if (event->type == FW_PROXY_DISCONNECTED && !demo->proxy_noticed) {
        demo->proxy_noticed = true;
        tell(demo, "proxy_noticed", "  the proxy noticed after %.1f ms (%s) and calls the others",
             ms, event->detail);
    } else if (event->type == FW_PROXY_REMOVED) {
        demo->registry_noticed = true;
        tell(demo, "registry_noticed", "  the registry dropped it after %.2f s (its lease is %s)",
             ms / 1e3, LEASE);
    }
}

static void start_clients(struct demo *demo)
{
    fw_proxy_options proxy = {.on_event = on_proxy_event, .arg = demo};
    int err = fw_proxy_new(demo->cli->kv, "echo", &proxy, &demo->proxy);
    fw_endpoint_options endpoint;
    fw_endpoint_options_init(&endpoint, FW_ENDPOINT_CLIENT);
    if (!err)
        err = fw_endpoint_dial(demo->cli->loop, demo->client_url, &endpoint, &demo->endpoint);
    if (err) {
        give_up(demo, "the clients do not start: %s", fw_strerror(err));
        return;
    }
    for (int i = 0; i < INSTANCES - 1; i++)
        dial_member(demo, i);
    tell(demo, "clients", "a client resolves \"echo\" and calls through the proxy, every %d ms;",
         CALL_EVERY_MS);
    tell(demo, "clients", "an outside client dials the three through the gateway");
}

/* ---- the story ---- */

static void tell_counts(struct demo *demo)
{
    char who[128] = "", messages[128] = "";
    unsigned total = 0;
    for (int i = 0; i < INSTANCES; i++) {
        const struct member *member = &demo->members[i];
        if (!*member->id)
            continue;
        size_t n = strlen(who), m = strlen(messages);
        snprintf(who + n, sizeof who - n, "%s%s %u", n ? ", " : "", member->id, member->calls);
        snprintf(messages + m, sizeof messages - m, "%s%s %u", m ? ", " : "", member->id,
                 member->messages);
        total += member->messages;
    }
    tell(demo, "calls", "%u calls answered: %s (slowest %.1f ms)", demo->answered, who,
         demo->slowest_ms);
    tell(demo, "messages", "%u messages there and back through the gateway: %s", total, messages);
}

static void kill_victim(struct demo *demo)
{
    struct member *victim = &demo->members[VICTIM];
    tell_counts(demo);
    tell(demo, "killed", "SIGKILL to %s (pid %d)", victim->id, (int)victim->child->process.pid);
    demo->killed_ns = uv_hrtime();
    set_phase(demo, KILLED);
    uv_process_kill(&victim->child->process, SIGKILL);
}

static bool all_answered(const struct demo *demo, int from, int to)
{
    for (int i = from; i < to; i++)
        if (!demo->members[i].calls || !demo->members[i].messages)
            return false;
    return true;
}

static void tell_sum(struct demo *demo)
{
    tell_counts(demo);
    if (demo->failed == 0)
        tell(demo, "sum", "0 of %u calls failed", demo->answered);
    else
        tell(demo, "sum", "%u of %u calls failed, %s", demo->failed, demo->answered + demo->failed,
             demo->failed_elsewhere ? "NOT all of them on the killed instance"
                                    : "all of them on their way to the killed instance");
}

static void finish_story(struct demo *demo)
{
    tell_sum(demo);
    if (demo->failed_elsewhere) {
        give_up(demo, "%u calls failed that no killed instance explains", demo->failed_elsewhere);
    } else if (!demo->keep) {
        end(demo, EXIT_DONE);
    } else {
        set_phase(demo, KEPT);
        tell(demo, "kept", "it goes on until Ctrl-C. In another terminal:");
        tell(demo, "kept", "  fairway --store %s watch echo", demo->store);
        tell(demo, "kept", "  fairway --store %s --json call echo who --count 3", demo->store);
        tell(demo, "kept", "  gateway: clients at %s", demo->client_url);
    }
}

static void note_gateway(struct demo *demo)
{
    struct member *victim = &demo->members[VICTIM];
    if (demo->gateway_noticed || victim->vconn)
        return;
    demo->gateway_noticed = true;
    tell(demo, "gateway_noticed",
         "  the gateway closed its virtual connection after %.1f ms; the other two stay open",
         (double)(uv_hrtime() - demo->killed_ns) / 1e6);
}

static void on_tick(uv_timer_t *timer)
{
    struct demo *demo = timer->data;
    bool patient = seconds_since(demo->phase_ns) * 1000 < PATIENCE_MS;
    if (demo->phase >= CALLS && demo->phase != ENDING) {
        call_once(demo);
        send_messages(demo);
    }
    switch (demo->phase) {
    case CALLS:
        if (seconds_since(demo->phase_ns) * 1000 > PHASE_MS && all_answered(demo, 0, 3))
            kill_victim(demo);
        else if (!patient)
            give_up(demo, "not every instance answered on both ways");
        break;
    case KILLED:
        note_gateway(demo);
        if (demo->proxy_noticed && demo->gateway_noticed && demo->registry_noticed) {
            set_phase(demo, REPLACED);
            start_member(demo, INSTANCES - 1);
        } else if (!patient) {
            give_up(demo, "the death of %s was not noticed", demo->members[VICTIM].id);
        }
        break;
    case REPLACED:
        if (all_answered(demo, INSTANCES - 1, INSTANCES)) {
            tell(demo, "replaced", "%s answers in its place", demo->members[INSTANCES - 1].id);
            set_phase(demo, AFTER);
        } else if (!patient) {
            give_up(demo, "the replacement did not answer");
        }
        break;
    case AFTER:
        if (seconds_since(demo->phase_ns) * 1000 > PHASE_MS)
            finish_story(demo);
        break;
    case GATEWAY:
    case SERVICES:
        if (!patient)
            give_up(demo, "the cluster did not come up");
        break;
    case KEPT:
    case ENDING:
        break;
    }
}

static void check_services(struct demo *demo)
{
    for (int i = 0; i < INSTANCES - 1; i++)
        if (!demo->members[i].registered || !demo->members[i].attached)
            return;
    set_phase(demo, CALLS);
    start_clients(demo);
}

static void on_gateway_event(struct demo *demo, const cJSON *event)
{
    const char *client = cJSON_GetStringValue(cJSON_GetObjectItem(event, "client_url"));
    const char *server = cJSON_GetStringValue(cJSON_GetObjectItem(event, "server_url"));
    if (!client || !server || demo->phase != GATEWAY)
        return;
    snprintf(demo->client_url, sizeof demo->client_url, "%s", client);
    snprintf(demo->server_url, sizeof demo->server_url, "%s", server);
    tell(demo, "gateway", "the gateway is up: clients at %s, servers at %s", client, server);
    set_phase(demo, SERVICES);
    for (int i = 0; i < INSTANCES - 1; i++)
        start_member(demo, i);
}

static void on_child_event(demo_child *child, const cJSON *event, void *arg)
{
    struct demo *demo = arg;
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(event, "event"));
    struct member *member = member_of(demo, child->name);
    if (!name || demo->phase == ENDING)
        return;
    if (!member) {
        on_gateway_event(demo, event);
    } else if (!strcmp(name, "registered")) {
        const char *url = cJSON_GetStringValue(cJSON_GetObjectItem(event, "url"));
        member->registered = true;
        tell(demo, "registered", "%s registered at %s", member->id, url ? url : "?");
    } else if (!strcmp(name, "attached to the gateway")) {
        member->attached = true;
    }
    if (!member)
        return;
    if (demo->phase == SERVICES)
        check_services(demo);
    else if (demo->phase == REPLACED && member->attached && !member->vconn)
        dial_member(demo, INSTANCES - 1);
}

static void on_child_exit(demo_child *child, int code, int signal, void *arg)
{
    struct demo *demo = arg;
    if (demo->phase == ENDING || child == demo->members[VICTIM].child)
        return;
    give_up(demo, "%s ended by itself (code %d, signal %d)", child->name, code, signal);
}

/* ---- the end ---- */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void on_all_gone(void *arg)
{
    struct demo *demo = arg;
    cli_stop(demo->cli, demo->cli->exit_code);
}

static void on_part_closed(void *arg)
{
    struct demo *demo = arg;
    if (--demo->open_parts == 0)
        demo_children_end(&demo->children);
}

static void end(struct demo *demo, int exit_code)
{
    set_phase(demo, ENDING);
    demo->cli->exit_code = exit_code;
    uv_close((uv_handle_t *)&demo->tick, NULL);
    demo->open_parts = 1;
    if (demo->proxy) {
        demo->open_parts++;
        fw_proxy_close(demo->proxy, on_part_closed, demo);
    }
    if (demo->endpoint) {
        demo->open_parts++;
        fw_endpoint_close(demo->endpoint, on_part_closed, demo);
    }
    on_part_closed(demo);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    struct demo *demo = arg;
    if (demo->phase != ENDING)
        end(demo, demo->phase == KEPT ? EXIT_DONE : 128 + signal);
}

static void remove_dir(const struct demo *demo)
{
    nftw(demo->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int open_demo(struct demo *demo)
{
    const char *base = getenv("TMPDIR");
    snprintf(demo->dir, sizeof demo->dir, "%.1000s/fairway-demo-XXXXXX",
             base && *base ? base : "/tmp");
    if (!mkdtemp(demo->dir))
        return cli_fail(EXIT_FAILED, demo->dir, strerror(errno));
    snprintf(demo->store, sizeof demo->store, "lmdb:%s", demo->dir);
    uint64_t secret = 0;
    uv_random(NULL, NULL, &secret, sizeof secret, 0, NULL);
    snprintf(demo->key, sizeof demo->key, "%016llx", (unsigned long long)secret);
    demo->cli->store = demo->store;
    int rc = cli_open(demo->cli);
    if (rc < 0)
        rc = cli_open_store(demo->cli);
    if (rc >= 0)
        remove_dir(demo);
    return rc;
}

int cmd_demo(cli_context *cli, int argc, char **argv)
{
    struct demo demo = {.cli = cli, .color = isatty(1) && !getenv("NO_COLOR")};
    const cli_option options[] = {
        {"keep", NULL, CLI_FLAG, &demo.keep, NULL, "leave it running until Ctrl-C"},
        CLI_END,
    };
    int count,
        rc = cli_parse(
            cli, options, "[--keep]",
            "Runs a cluster on an embedded store in a temporary folder: a gateway, three echo\n"
            "services, clients on both ways in; kills one service, replaces it, and tells what\n"
            "happened. Exits with 0 if everything went as it should.",
            argc, argv, 0, 0, &count);
    if (rc < 0)
        rc = open_demo(&demo);
    if (rc >= 0)
        return rc;
    cli->on_signal = on_signal;
    cli->signal_arg = &demo;
    demo.started_ns = uv_hrtime();
    demo.children = (demo_children){.loop = fw_loop_uv(cli->loop),
                                    .on_event = on_child_event,
                                    .on_exit = on_child_exit,
                                    .on_all_gone = on_all_gone,
                                    .arg = &demo};
    uv_timer_init(demo.children.loop, &demo.tick);
    demo.tick.data = &demo;
    uv_timer_start(&demo.tick, on_tick, CALL_EVERY_MS, CALL_EVERY_MS);
    set_phase(&demo, GATEWAY);
    tell(&demo, "begin", "a cluster on this machine, its registry in %s", demo.store);
    start_gateway(&demo);
    rc = cli_run(cli);
    remove_dir(&demo);
    return rc;
}
