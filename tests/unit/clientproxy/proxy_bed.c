#include "proxy_bed.h"

#include <stdio.h>
#include <string.h>

fw_kv *kv;
fw_proxy *proxy;
struct node nodes[SERVERS];
size_t closed, ok, failed, ended, connected, disconnected, added, removed, unhealthy, healthy,
    ejected, readmitted, panics, calms;
int last_status;
char last_instance[16];

void bed_on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_server_closed(fw_rpc_server *server, void *arg)
{
    (void)server;
    (void)arg;
    closed++;
}

void bed_on_echo(fw_rpc_request *request, void *arg)
{
    struct node *node = arg;
    node->calls++;
    if (!node->broken) /* else the machinery answers for it */
        fw_rpc_reply(request, fw_rpc_request_body(request));
}

static void on_note(fw_rpc_request *request, void *arg)
{
    (void)request;
    ((struct node *)arg)->notes++;
}

static void on_keep(fw_rpc_request *request, void *arg)
{
    ((struct node *)arg)->kept = fw_rpc_request_keep(request);
}

static void on_ask(fw_rpc_request *request, void *arg)
{
    if (((struct node *)arg)->unwell)
        fw_rpc_fail(request, 1, "unwell");
    else
        fw_rpc_reply(request, (fw_slice){"", 0});
}

void bed_start_server(struct node *node)
{
    fw_rpc_server_options options = {.connection = {.router = node->router},
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, *node->url ? node->url : "tcp://127.0.0.1:0", &options,
                             &node->server));
    snprintf(node->url, sizeof node->url, "%s", fw_rpc_server_url(node->server));
}

void bed_stop_server(struct node *node)
{
    size_t before = closed;
    fw_rpc_server_close(node->server);
    node->server = NULL;
    fwt_run_count(&closed, before + 1, 5000);
}

static size_t registered;

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    (void)arg;
    registered += status->state == FW_REGISTRAR_REGISTERED;
}

void bed_register(struct node *node)
{
    fw_registrar_options options = {.on_status = on_status};
    fw_instance instance = {.service = "echo",
                            .id = node->id,
                            .net = "tcp",
                            .addr = node->url + strlen("tcp://"),
                            .zone = node->zone ? node->zone : ""};
    FWT_OK(fw_registrar_new(kv, &options, &node->registrar));
    FWT_OK(fw_registrar_set(node->registrar, &instance));
}

void bed_leave(struct node *node)
{
    size_t before = closed;
    fw_registrar_close(node->registrar, bed_on_closed, NULL);
    node->registrar = NULL;
    fwt_run_count(&closed, before + 1, 5000);
}

static void on_event(fw_proxy *from, const fw_proxy_event *event, void *arg)
{
    (void)from;
    (void)arg;
    connected += event->type == FW_PROXY_CONNECTED;
    disconnected += event->type == FW_PROXY_DISCONNECTED;
    added += event->type == FW_PROXY_ADDED;
    removed += event->type == FW_PROXY_REMOVED;
    unhealthy += event->type == FW_PROXY_UNHEALTHY;
    healthy += event->type == FW_PROXY_HEALTHY;
    ejected += event->type == FW_PROXY_EJECTED;
    readmitted += event->type == FW_PROXY_READMITTED;
    panics += event->type == FW_PROXY_PANIC;
    calms += event->type == FW_PROXY_CALM;
}

void bed_setup(int count, const fw_proxy_options *wanted)
{
    FWT_OK(fw_kv_open(fwt_loop, "mem:proxy", NULL, &kv));
    for (int i = 0; i < count; i++) {
        struct node *node = &nodes[i];
        snprintf(node->id, sizeof node->id, "n%d", i);
        FWT_OK(fw_rpc_router_create(&node->router));
        FWT_OK(fw_rpc_router_add(node->router, "echo", bed_on_echo, node));
        FWT_OK(fw_rpc_router_add(node->router, "note", on_note, node));
        FWT_OK(fw_rpc_router_add(node->router, "keep", on_keep, node));
        FWT_OK(fw_rpc_router_add(node->router, "fairway.ping", on_ask, node));
        bed_start_server(node);
        bed_register(node);
    }
    fwt_run_count(&registered, (size_t)count, 5000);
    fw_proxy_options options = wanted ? *wanted : (fw_proxy_options){.balancer = NULL};
    options.on_event = on_event;
    FWT_OK(fw_proxy_new(kv, "echo", &options, &proxy));
}

void bed_teardown(void)
{
    if (proxy) {
        size_t before = closed;
        fw_proxy_close(proxy, bed_on_closed, NULL);
        fwt_run_count(&closed, before + 1, 5000);
    }
    for (int i = 0; i < SERVERS; i++) {
        if (nodes[i].registrar)
            bed_leave(&nodes[i]);
        if (nodes[i].server)
            bed_stop_server(&nodes[i]);
        fw_rpc_router_destroy(nodes[i].router);
    }
    size_t before = closed;
    fw_kv_close(kv, bed_on_closed, NULL);
    fwt_run_count(&closed, before + 1, 5000);
}

void bed_on_done(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    (void)arg;
    ended++;
    ok += result->status == FW_OK;
    failed += result->status != FW_OK;
    last_status = result->status;
    snprintf(last_instance, sizeof last_instance, "%s", instance ? instance->id : "");
}

int bed_call(const char *method, uint32_t timeout_ms)
{
    fw_rpc_message message = {.method = method, .body = {"hi", 2}, .timeout_ms = timeout_ms};
    return fw_proxy_call(proxy, &message, bed_on_done, NULL);
}

int bed_call_with(const char *method, const fw_proxy_call_options *options)
{
    fw_rpc_message message = {.method = method, .body = {"hi", 2}};
    return fw_proxy_call_with(proxy, &message, options, bed_on_done, NULL);
}

void bed_call_until_ended(const char *method)
{
    size_t before = ended;
    FWT_OK(bed_call(method, 0));
    fwt_run_count(&ended, before + 1, 10000);
}
