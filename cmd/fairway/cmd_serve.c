/*
 * fairway serve echo: a small service to try things with. It answers calls, registers itself, and
 * can stand behind a gateway, too, where it sends every message back.
 */
#include "cli.h"

#include <fairway/rpc.h>
#include <fairway/vconn.h>
#include <stdlib.h>
#include <string.h>

struct service {
    cli_context *cli;
    const char *name;
    fw_rpc_router *router;
    fw_rpc_server *server;
    fw_registrar *registrar;
    fw_endpoint *endpoint;
    const fw_instance *instance;
    unsigned parts; /* server, registrar, endpoint: those that live */
    bool leaving;
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
    cJSON *json = cli_json_instance(service->instance);
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
    if (service->cli->json) {
        cJSON *json = cli_json_instance(service->instance);
        cJSON_AddStringToObject(json, "event", event);
        if (why)
            cJSON_AddStringToObject(json, "reason", why);
        cli_print_json(json);
        return;
    }
    printf("%s/%s: %s%s%s\n", service->name, service->instance->id, event, why ? ": " : "",
           why ? why : "");
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
        char *url = NULL;
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

/* ---- the end: leave first, so that nobody is sent here any more, then stop serving ---- */

static void part_closed(struct service *service)
{
    if (--service->parts == 0)
        cli_stop(service->cli, service->cli->exit_code);
}

static void on_server_closed(fw_rpc_server *server, void *arg)
{
    (void)server;
    part_closed(arg);
}

static void on_endpoint_closed(void *arg)
{
    part_closed(arg);
}

static void on_left(void *arg)
{
    struct service *service = arg;
    if (service->instance && service->leaving)
        print_event(service, "left", NULL);
    if (service->server)
        fw_rpc_server_close(service->server);
    if (service->endpoint)
        fw_endpoint_close(service->endpoint, on_endpoint_closed, service);
    part_closed(service);
}

static void leave(struct service *service)
{
    if (service->registrar) {
        fw_registrar_close(service->registrar, on_left, service);
    } else {
        service->parts++;
        on_left(service);
    }
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    (void)signal;
    struct service *service = arg;
    service->leaving = true;
    leave(service);
}

/* ---- the start ---- */

struct serve_options {
    const char *name, *listen, *addr, *gateway, *gateway_key;
    uint32_t gateway_id;
    cli_instance_options instance;
};

static bool is_wildcard(const char *url)
{
    return !strncmp(url, "tcp://0.0.0.0:", 14) || !strncmp(url, "tcp://[::]:", 11);
}

static int start_server(struct service *service, const struct serve_options *options)
{
    int err = make_router(service);
    if (err)
        return cli_fail_error("serve", err, NULL);
    fw_rpc_server_options server = {
        .connection = {.router = service->router}, .on_closed = on_server_closed, .arg = service};
    err = fw_rpc_server_new(service->cli->loop, options->listen, &server, &service->server);
    if (err)
        return cli_fail_error(options->listen, err, NULL);
    service->parts++;
    const char *url = options->addr ? options->addr : fw_rpc_server_url(service->server);
    if (!options->addr && is_wildcard(url))
        return cli_fail(EXIT_USAGE, "--addr",
                        "needed when listening on all addresses: where the instance is called");
    return cli_instance_new(&options->instance, options->name, url, "walle", &service->instance);
}

static int attach_gateway(struct service *service, const struct serve_options *options)
{
    fw_endpoint_options endpoint;
    fw_endpoint_options_init(&endpoint, FW_ENDPOINT_SERVER);
    endpoint.server_id = options->gateway_id;
    endpoint.auth_key = options->gateway_key;
    endpoint.events = (fw_endpoint_events){
        .on_ready = on_gateway_ready, .on_lost = on_gateway_lost, .on_connect = on_vconn};
    endpoint.arg = service;
    int err = fw_endpoint_dial(service->cli->loop, options->gateway, &endpoint, &service->endpoint);
    if (err)
        return cli_fail_error(options->gateway, err, NULL);
    service->parts++;
    return -1;
}

static int start(struct service *service, const struct serve_options *options)
{
    int code = start_server(service, options);
    if (code < 0 && options->gateway)
        code = attach_gateway(service, options);
    if (code >= 0)
        return code;
    fw_registrar_options registrar = {
        .ttl_ms = options->instance.ttl_ms, .on_status = on_status, .arg = service};
    int err = fw_registrar_new(service->cli->kv, &registrar, &service->registrar);
    if (!err) {
        service->parts++;
        err = fw_registrar_set(service->registrar, service->instance);
    }
    return err ? cli_fail_error("register", err, NULL) : -1;
}

int cmd_serve(cli_context *cli, int argc, char **argv)
{
    struct service service = {.cli = cli};
    struct serve_options serve = {.name = "echo",
                                  .listen = "tcp://127.0.0.1:0",
                                  .gateway_key = "",
                                  .instance = {.weight = 1, .ttl_ms = 10000}};
    const cli_option options[] = {
        {"name", NULL, CLI_TEXT, &serve.name, "NAME", "register as this service (default echo)"},
        {"listen", NULL, CLI_TEXT, &serve.listen, "URL",
         "tcp://host:port or unix:/path (default tcp://127.0.0.1:0)"},
        {"addr", NULL, CLI_TEXT, &serve.addr, "URL",
         "where it is called, if that is not where it listens"},
        {"gateway", NULL, CLI_TEXT, &serve.gateway, "URL",
         "a gateway's address for servers: also stand behind it"},
        {"gateway-id", NULL, CLI_UINT, &serve.gateway_id, "N", "server id there"},
        {"gateway-key", NULL, CLI_TEXT, &serve.gateway_key, "KEY",
         "the gateway's secret; better in FAIRWAY_GATEWAY_KEY"},
        CLI_INSTANCE_OPTIONS(&serve.instance),
        CLI_END,
    };
    cli->log_level = "info";
    int count,
        rc = cli_parse(
            cli, options, "echo",
            "Runs a small service that registers itself. Its methods: echo sends the body back,\n"
            "who tells the instance, fail answers with an error.",
            argc, argv, 1, 1, &count);
    if (rc >= 0)
        return rc;
    if (strcmp(argv[0], "echo"))
        return cli_fail(EXIT_USAGE, argv[0], "no such service to serve (there is: echo)");
    if (serve.instance.ttl_ms < 1000)
        return cli_fail(EXIT_USAGE, "--ttl", "at least 1s");
    service.name = serve.name;
    rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    cli->on_signal = on_signal;
    cli->signal_arg = &service;
    rc = start(&service, &serve);
    if (rc >= 0) {
        cli->exit_code = rc;
        leave(&service);
    }
    rc = cli_run(cli);
    fw_instance_release(service.instance);
    fw_rpc_router_destroy(service.router);
    return rc;
}
