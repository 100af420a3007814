/*
 * fairway serve echo: a small service to try things with. It answers calls, registers itself, and
 * can stand behind a gateway, too, where it sends every message back.
 */
#include "cli_drain.h"
#include "echo.h"

#include <fairway/rpc.h>
#include <fairway/vconn.h>
#include <stdlib.h>
#include <string.h>

struct listener {
    struct service *service;
    const char *given; /* on the command line: the component's name */
    char *url;         /* the same with the options of TLS */
    /* One of the two: calls in walle's protocol, or everything comes back as it is. */
    fw_rpc_server *server;
    cli_echo *echo;
    bool is_raw;
    fw_app_step *stopping;
};

struct service {
    cli_context *cli;
    const char *name; /* NULL: not registered */
    const char *addr;
    struct listener listeners[CLI_LIST_MAX];
    size_t listener_count;
    fw_rpc_router *router;
    const cli_instance_options *instance_options;
    const fw_instance *instance; /* what is registered, or NULL */
    fw_registrar *registrar;
    bool was_registered;
    cli_drain drain;
    const char *gateway, *gateway_key;
    uint32_t gateway_id;
    fw_endpoint *endpoint;
    fw_app_step *step; /* what the registration or the endpoint is to answer */
};

/* ---- methods ---- */

static void on_echo(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_reply(request, fw_rpc_request_body(request));
}

static void on_who(fw_rpc_request *request, void *arg)
{
    struct service *service = arg;
    cJSON *json = service->instance ? cli_json_instance(service->instance) : cJSON_CreateObject();
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text)
        fw_rpc_reply(request, (fw_slice){text, strlen(text)});
    else
        fw_rpc_fail(request, FW_RPC_CODE_INTERNAL, "no memory");
    free(text);
}

static void on_fail(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_fail(request, 1000, "you asked for it");
}

static int make_router(struct service *service)
{
    int err = fw_rpc_router_create(&service->router);
    if (!err)
        err = fw_rpc_router_add(service->router, "echo", on_echo, service);
    if (!err)
        err = fw_rpc_router_add(service->router, "who", on_who, service);
    if (!err)
        err = fw_rpc_router_add(service->router, "fail", on_fail, service);
    return err;
}

/* ---- events ---- */

static void print_event(struct service *service, const char *event, const char *why)
{
    const fw_instance *instance = service->instance;
    if (service->cli->json) {
        cJSON *json = instance ? cli_json_instance(instance) : cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", event);
        if (why)
            cJSON_AddStringToObject(json, "reason", why);
        cli_print_json(json);
        return;
    }
    printf("%s%s%s: %s%s%s\n", instance ? instance->service : "echo", instance ? "/" : "",
           instance ? instance->id : "", event, why ? ": " : "", why ? why : "");
    fflush(stdout);
}

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    struct service *service = arg;
    if (status->state == FW_REGISTRAR_LOST) {
        char why[600];
        snprintf(why, sizeof why, "%s%s%s, next try in %u ms", fw_strerror(status->reason),
                 *status->detail ? ": " : "", status->detail, status->next_try_ms);
        print_event(service, "lost", why);
    } else {
        if (service->drain.is_waiting)
            return; /* the mark of the drain */
        char *url = NULL;
        service->was_registered = true;
        /* As JSON the instance has its URL already. */
        if (!fw_instance_url(service->instance, &url))
            print_event(service, "registered", service->cli->json ? NULL : url);
        free(url);
    }
}

static void on_vconn_message(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    int err = fw_vconn_send(vconn, data, len);
    if (err)
        fw_vconn_close(vconn, err); /* a lost message must not look like an answer */
}

static void on_vconn(fw_endpoint *endpoint, fw_vconn *vconn, void *arg)
{
    (void)endpoint;
    static const fw_vconn_events events = {.on_message = on_vconn_message};
    fw_vconn_set_events(vconn, &events, arg);
}

static void on_gateway_ready(fw_endpoint *endpoint, void *arg)
{
    (void)endpoint;
    print_event(arg, "attached to the gateway", NULL);
}

static void on_gateway_lost(fw_endpoint *endpoint, int reason, uint32_t retry_ms, void *arg)
{
    (void)endpoint;
    (void)retry_ms;
    print_event(arg, "gateway lost", fw_strerror(reason));
}

/* ---- listeners ---- */

static void answer(fw_app_step **step)
{
    fw_app_step *answered = *step;
    *step = NULL;
    if (answered)
        fw_app_done(answered, FW_OK, NULL);
}

static void on_server_closed(fw_rpc_server *server, void *arg)
{
    (void)server;
    struct listener *listener = arg;
    answer(&listener->stopping);
}

static void on_echo_closed(void *arg)
{
    struct listener *listener = arg;
    answer(&listener->stopping);
}

static void start_listener(fw_app_step *step, void *arg)
{
    struct listener *listener = arg;
    struct service *service = listener->service;
    fw_loop *loop = service->cli->loop;
    fw_rpc_server_options options = {
        .connection = {.router = service->router}, .on_closed = on_server_closed, .arg = listener};
    fw_app_done(step,
                listener->is_raw
                    ? cli_echo_new(loop, listener->url, &listener->echo)
                    : fw_rpc_server_new(loop, listener->url, &options, &listener->server),
                NULL);
}

static void stop_listener(fw_app_step *step, void *arg)
{
    struct listener *listener = arg;
    listener->stopping = step;
    if (listener->is_raw)
        cli_echo_close(listener->echo, on_echo_closed, listener);
    else
        fw_rpc_server_close(listener->server);
}

static const char *listener_url(const struct listener *listener)
{
    return listener->is_raw ? cli_echo_url(listener->echo) : fw_rpc_server_url(listener->server);
}

static const char *protocol(const struct listener *listener)
{
    return listener->is_raw ? "raw" : "walle";
}

/* The URL for others: what is behind "?" is our own business. To be freed. */
static char *public_url(const struct listener *listener)
{
    const char *url = listener_url(listener);
    return strndup(url, strcspn(url, "?"));
}

static void on_running(void *arg)
{
    const struct service *service = arg;
    for (size_t i = 0; i < service->listener_count; i++) {
        const struct listener *listener = &service->listeners[i];
        char *url = public_url(listener);
        if (service->cli->json) {
            cJSON *json = cJSON_CreateObject();
            cJSON_AddStringToObject(json, "event", "listening");
            cJSON_AddStringToObject(json, "url", url ? url : "");
            cJSON_AddStringToObject(json, "protocol", protocol(listener));
            cli_print_json(json);
        } else {
            printf("listening at %s (%s)\n", url ? url : "", protocol(listener));
            fflush(stdout);
        }
        free(url);
    }
}

/* ---- the gateway ---- */

static void on_endpoint_closed(void *arg)
{
    struct service *service = arg;
    answer(&service->step);
}

static void start_endpoint(fw_app_step *step, void *arg)
{
    struct service *service = arg;
    fw_endpoint_options endpoint;
    fw_endpoint_options_init(&endpoint, FW_ENDPOINT_SERVER);
    endpoint.server_id = service->gateway_id;
    endpoint.auth_key = service->gateway_key;
    endpoint.events = (fw_endpoint_events){
        .on_ready = on_gateway_ready, .on_lost = on_gateway_lost, .on_connect = on_vconn};
    endpoint.arg = service;
    fw_app_done(
        step, fw_endpoint_dial(service->cli->loop, service->gateway, &endpoint, &service->endpoint),
        NULL);
}

static void stop_endpoint(fw_app_step *step, void *arg)
{
    struct service *service = arg;
    service->step = step;
    fw_endpoint_close(service->endpoint, on_endpoint_closed, service);
}

/* ---- the registration: the last to come, the first to leave ---- */

static bool is_wildcard(const char *url)
{
    const char *host = strstr(url, "://");
    return host && (!strncmp(host + 3, "0.0.0.0:", 8) || !strncmp(host + 3, "[::]:", 5));
}

/* The first listener that can be called; if there is none, the first. */
static const struct listener *find_callable(const struct service *service)
{
    for (size_t i = 0; i < service->listener_count; i++)
        if (!service->listeners[i].is_raw)
            return &service->listeners[i];
    return &service->listeners[0];
}

/* Exit code or -1. */
static int make_instance(struct service *service)
{
    const struct listener *listener = find_callable(service);
    char *own = public_url(listener);
    const char *url = service->addr ? service->addr : own;
    int code =
        !url ? cli_fail_error("serve", UV_ENOMEM, NULL)
        : !service->addr && is_wildcard(url)
            ? cli_fail(EXIT_USAGE, "--addr",
                       "needed when listening on all addresses: where the instance is called")
            : cli_instance_new(service->instance_options, service->name, url, protocol(listener),
                               &service->instance);
    free(own);
    return code;
}

static void start_instance(fw_app_step *step, void *arg)
{
    struct service *service = arg;
    int code = make_instance(service);
    if (code < 0)
        fw_app_done(step, FW_OK, NULL);
    else
        cli_component_fail(service->cli, step, code);
}

static void start_registration(fw_app_step *step, void *arg)
{
    struct service *service = arg;
    fw_registrar_options options = {
        .ttl_ms = service->instance_options->ttl_ms, .on_status = on_status, .arg = service};
    int err = fw_registrar_new(service->cli->kv, &options, &service->registrar);
    if (!err)
        err = fw_registrar_set(service->registrar, service->instance);
    if (err && service->registrar)
        fw_registrar_close(service->registrar, NULL, NULL);
    if (!err)
        cli_drain_init(&service->drain, service->cli->loop);
    fw_app_done(step, err, NULL);
}

static void on_drained(size_t consumers, void *arg)
{
    (void)consumers;
    struct service *service = arg;
    answer(&service->step);
}

static void drain_registration(fw_app_step *step, void *arg)
{
    struct service *service = arg;
    cli_drain *drain = &service->drain;
    drain->kv = service->cli->kv;
    drain->registrar = service->registrar;
    drain->instance = service->instance;
    drain->on_done = on_drained;
    drain->arg = service;
    service->step = step;
    /* Nobody has seen what never was in the store. */
    if (!service->was_registered || !drain->within_ms || cli_drain_start(drain))
        answer(&service->step);
    else
        print_event(service, "draining", NULL);
}

static void on_left(void *arg)
{
    struct service *service = arg;
    print_event(service, "left", NULL);
    cli_drain_fini(&service->drain);
    answer(&service->step);
}

static void stop_registration(fw_app_step *step, void *arg)
{
    struct service *service = arg;
    cli_drain_stop(&service->drain);
    service->step = step;
    fw_registrar_close(service->registrar, on_left, service);
}

/* ---- the command ---- */

struct serve_options {
    const char *name, *protocol;
    bool no_register;
    cli_list listen;
    cli_tls_options tls;
    cli_instance_options instance;
};

/* Exit code or -1. */
static int add_listeners(struct service *service, const struct serve_options *options)
{
    static const char *const any[] = {"tcp://127.0.0.1:0"};
    const char *const *urls = options->listen.count ? options->listen.items : any;
    bool is_raw = !strcmp(options->protocol, "raw"), has_tls = false;
    if (!is_raw && strcmp(options->protocol, "walle"))
        return cli_fail(EXIT_USAGE, options->protocol, "no such protocol (there are: walle, raw)");
    service->listener_count = options->listen.count ? options->listen.count : 1;
    for (size_t i = 0; i < service->listener_count; i++) {
        struct listener *listener = &service->listeners[i];
        char scheme[16];
        *listener = (struct listener){.service = service, .given = urls[i]};
        int err = cli_tls_url(&options->tls, urls[i], &listener->url);
        if (err)
            return cli_fail_error(urls[i], err, NULL);
        snprintf(scheme, sizeof scheme, "%.*s", (int)strcspn(urls[i], ":"), urls[i]);
        unsigned can = fw_transport_can(scheme);
        listener->is_raw = is_raw || (can && !(can & FW_TRANSPORT_STREAM));
        has_tls |= cli_tls_applies(urls[i]);
    }
    if (cli_tls_is_given(&options->tls) && !has_tls)
        return cli_fail(EXIT_USAGE, "--tls-cert, --tls-key, --tls-ca",
                        "for tls: and wss: URLs, and there is none");
    return -1;
}

static int run(struct service *service)
{
    fw_app_component components[CLI_LIST_MAX + 3];
    cli_app app = {.list = components,
                   .drain_ms = service->drain.within_ms,
                   .on_running = on_running,
                   .arg = service};
    for (size_t i = 0; i < service->listener_count; i++)
        components[app.count++] = (fw_app_component){.name = service->listeners[i].given,
                                                     .start = start_listener,
                                                     .stop = stop_listener,
                                                     .arg = &service->listeners[i]};
    if (service->name)
        components[app.count++] =
            (fw_app_component){.name = "instance", .start = start_instance, .arg = service};
    if (service->gateway)
        components[app.count++] = (fw_app_component){.name = service->gateway,
                                                     .start = start_endpoint,
                                                     .stop = stop_endpoint,
                                                     .arg = service};
    if (service->name)
        components[app.count++] = (fw_app_component){.name = "register",
                                                     .start = start_registration,
                                                     .drain = drain_registration,
                                                     .stop = stop_registration,
                                                     .arg = service};
    cli_context *cli = service->cli;
    int rc = cli_open(cli);
    if (rc < 0 && service->name)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    return cli_run_app(cli, &app);
}

int cmd_serve(cli_context *cli, int argc, char **argv)
{
    struct service service = {.cli = cli, .gateway_key = "", .drain = {.within_ms = CLI_DRAIN_MS}};
    struct serve_options serve = {.protocol = "walle", .instance = {.weight = 1, .ttl_ms = 10000}};
    const cli_option options[] = {
        {"listen", NULL, CLI_LIST, &serve.listen, "URL",
         "tcp, tls, ws, wss, kcp, kcps, snet, udp ://host:port, unix:/path; may be repeated "
         "(default "
         "tcp://127.0.0.1:0)"},
        CLI_TLS_OPTIONS(&serve.tls),
        {"protocol", NULL, CLI_TEXT, &serve.protocol, "NAME",
         "walle: answers calls (default); raw: every byte comes back. Where a transport has no "
         "stream: raw"},
        {"register", "name", CLI_TEXT, &serve.name, "NAME",
         "as this service (default echo; with raw alone: not)"},
        {"no-register", NULL, CLI_FLAG, &serve.no_register, NULL, "needs no store"},
        {"addr", NULL, CLI_TEXT, &service.addr, "URL",
         "where it is called, if that is not where it listens (first)"},
        {"drain-timeout", NULL, CLI_DURATION, &service.drain.within_ms, "DUR",
         "how long it is marked offline before it leaves (default 2s)"},
        {"gateway", NULL, CLI_TEXT, &service.gateway, "URL",
         "a gateway's address for servers: also stand behind it"},
        {"gateway-id", NULL, CLI_UINT, &service.gateway_id, "N", "server id there"},
        {"gateway-key", NULL, CLI_TEXT, &service.gateway_key, "KEY",
         "the gateway's secret; better in FAIRWAY_GATEWAY_KEY"},
        CLI_INSTANCE_OPTIONS(&serve.instance),
        CLI_END,
    };
    cli->log_level = "info";
    int count,
        rc = cli_parse(
            cli, options, "echo",
            "Runs a small service that registers itself. Its methods: echo sends the body back,\n"
            "who tells the instance, fail answers with an error. fairway ping measures it on any\n"
            "transport. On SIGTERM or SIGINT it is marked offline, so that no new work comes; then "
            "it leaves,\n"
            "and ends. A second signal ends the waiting.",
            argc, argv, 1, 1, &count);
    if (rc >= 0)
        return rc;
    if (strcmp(argv[0], "echo"))
        return cli_fail(EXIT_USAGE, argv[0], "no such service to serve (there is: echo)");
    if (serve.instance.ttl_ms < 1000)
        return cli_fail(EXIT_USAGE, "--ttl", "at least 1s");
    if (serve.no_register && serve.name)
        return cli_fail(EXIT_USAGE, "--no-register", "and --register exclude each other");
    rc = add_listeners(&service, &serve);
    if (!serve.no_register && (serve.name || !find_callable(&service)->is_raw))
        service.name = serve.name ? serve.name : "echo";
    service.instance_options = &serve.instance;
    int err = rc < 0 ? make_router(&service) : FW_OK;
    if (err)
        rc = cli_fail_error("serve", err, NULL);
    if (rc < 0)
        rc = run(&service);
    for (size_t i = 0; i < service.listener_count; i++)
        free(service.listeners[i].url);
    fw_instance_release(service.instance);
    fw_rpc_router_destroy(service.router);
    return rc;
}
