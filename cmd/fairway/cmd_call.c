/* fairway call: through the client proxy, once or several times. */
#include "call_watch.h"

#include <fairway/clientproxy.h>
#include <stdlib.h>
#include <string.h>

#define NOT_GIVEN UINT32_MAX

struct caller {
    cli_context *cli;
    fw_proxy *proxy;
    fw_rpc_message message;
    const char *service;
    uint32_t count, done;
    uint64_t started_ns;
    int reason; /* what the proxy last said of the registry */
    char detail[512];
};

static void print_answer(struct caller *caller, const fw_rpc_result *result,
                         const fw_instance *instance, double ms)
{
    if (!caller->cli->json) {
        fwrite(result->body.data, 1, result->body.len, stdout);
        putchar('\n');
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON *body = cJSON_ParseWithLength(result->body.data, result->body.len);
    cJSON_AddStringToObject(json, "instance", instance ? instance->id : "");
    cJSON_AddNumberToObject(json, "ms", ms);
    if (body)
        cJSON_AddItemToObject(json, "reply", body);
    else
        cli_json_add_bytes(json, "body", result->body);
    cli_print_json(json);
}

static int print_failure(struct caller *caller, const fw_rpc_result *result,
                         const fw_instance *instance)
{
    char what[400], why[400];
    snprintf(what, sizeof what, "%s%s%s", caller->service, instance ? "/" : "",
             instance ? instance->id : "");
    if (result->status == FW_EREMOTE) {
        snprintf(why, sizeof why, "error %lld: %s", (long long)result->code, result->text);
        return cli_fail(EXIT_FAILED, what, why);
    }
    if (result->status == FW_EUNREACHABLE || (result->status == FW_EDEADLINE && caller->reason))
        return cli_fail_error(caller->cli->store, caller->reason ? caller->reason : result->status,
                              caller->detail);
    return cli_fail_error(what, result->status, NULL);
}

static void call_next(struct caller *caller);

static void on_done(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    struct caller *caller = arg;
    if (caller->cli->stopped)
        return;
    if (result->status) {
        int code = print_failure(caller, result, instance);
        fw_proxy_close(caller->proxy, NULL, NULL);
        cli_stop(caller->cli, code);
        return;
    }
    print_answer(caller, result, instance, (double)(uv_hrtime() - caller->started_ns) / 1e6);
    if (++caller->done < caller->count) {
        call_next(caller);
        return;
    }
    fw_proxy_close(caller->proxy, NULL, NULL);
    cli_stop(caller->cli, EXIT_DONE);
}

static void call_next(struct caller *caller)
{
    caller->started_ns = uv_hrtime();
    int err = fw_proxy_call(caller->proxy, &caller->message, on_done, caller);
    if (!err)
        return;
    int code = cli_fail_error(caller->service, err, NULL);
    fw_proxy_close(caller->proxy, NULL, NULL);
    cli_stop(caller->cli, code);
}

static void on_event(fw_proxy *proxy, const fw_proxy_event *event, void *arg)
{
    (void)proxy;
    struct caller *caller = arg;
    if (event->type != FW_PROXY_STALE)
        return;
    caller->reason = event->reason;
    snprintf(caller->detail, sizeof caller->detail, "%s", event->detail);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    struct caller *caller = arg;
    fw_proxy_close(caller->proxy, NULL, NULL);
    cli->exit_code = 128 + signal;
    fw_loop_stop(cli->loop);
}

int cmd_call(cli_context *cli, int argc, char **argv)
{
    struct caller caller = {.cli = cli, .count = NOT_GIVEN};
    uint32_t every_ms = 0;
    const char *balancer_name = "round_robin", *consumer = NULL;
    const cli_option options[] = {
        {"count", NULL, CLI_UINT, &caller.count, "N",
         "call so often, one after the other (default 1; with --every: no end)"},
        {"every", NULL, CLI_DURATION, &every_ms, "DUR",
         "keep calling at this interval, and tell what happens instead of the replies"},
        {"balancer", NULL, CLI_TEXT, &balancer_name, "NAME", "round_robin"},
        {"consumer", NULL, CLI_TEXT, &consumer, "ID",
         "announces it as a consumer: a drain waits until it calls the instance no more"},
        CLI_END,
    };
    int count,
        rc = cli_parse(cli, options, "NAME METHOD [DATA] [--count N] [--every DUR]",
                       "Calls METHOD of a service and prints the reply. DATA is JSON.\n"
                       "With --json the line also tells which instance answered, and how fast.\n"
                       "With --every a failed call is counted, and the next one is made.",
                       argc, argv, 2, 3, &count);
    if (rc >= 0)
        return rc;
    const char *data = count > 2 ? argv[2] : "";
    cJSON *json = *data ? cJSON_ParseWithOpts(data, NULL, true) : NULL;
    if (*data && !json)
        return cli_fail(EXIT_USAGE, data, "not JSON (text needs quotes: '\"text\"')");
    cJSON_Delete(json);
    const fw_balancer *balancer = fw_balancer_find(balancer_name);
    if (!balancer)
        return cli_fail(EXIT_USAGE, balancer_name, "no balancer of this name");
    if (!caller.count)
        return cli_fail(EXIT_USAGE, "--count 0", "value cannot be used");
    rc = cli_check_consumer(consumer);
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    caller.service = argv[0];
    caller.message = (fw_rpc_message){
        .method = argv[1], .body = {data, strlen(data)}, .timeout_ms = cli->timeout_ms};
    if (every_ms)
        return call_watch(
            cli, &(call_watch_options){.service = argv[0],
                                       .consumer = consumer,
                                       .balancer = balancer,
                                       .message = caller.message,
                                       .every_ms = every_ms,
                                       .count = caller.count == NOT_GIVEN ? 0 : caller.count});
    if (caller.count == NOT_GIVEN)
        caller.count = 1;
    fw_proxy_options proxy = {
        .balancer = balancer, .consumer = consumer, .on_event = on_event, .arg = &caller};
    int err = fw_proxy_new(cli->kv, argv[0], &proxy, &caller.proxy);
    if (err) {
        cli_stop(cli, cli_fail_error(argv[0], err, NULL));
        return cli_run(cli);
    }
    cli->on_signal = on_signal;
    cli->signal_arg = &caller;
    call_next(&caller);
    return cli_run(cli);
}
