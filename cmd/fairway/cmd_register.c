/* fairway register: keeps an instance registered until it is stopped, or while a command runs. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

struct registration {
    cli_context *cli;
    fw_registrar *registrar;
    const fw_instance *instance;
    uv_process_t child;
    bool child_running, leaving;
};

static void print_event(struct registration *job, const char *event,
                        const fw_registrar_status *status)
{
    const fw_instance *instance = job->instance;
    if (job->cli->json) {
        cJSON *json = cli_json_instance(instance);
        cJSON_AddStringToObject(json, "event", event);
        if (status && status->reason) {
            cJSON_AddStringToObject(json, "reason", fw_strerror(status->reason));
            cJSON_AddStringToObject(json, "detail", status->detail);
            cJSON_AddNumberToObject(json, "next_try_ms", status->next_try_ms);
        }
        cli_print_json(json);
        return;
    }
    printf("%s %s/%s", event, instance->service, instance->id);
    if (status && status->reason)
        printf(": %s%s%s, next try in %u ms", fw_strerror(status->reason),
               *status->detail ? ": " : "", status->detail, status->next_try_ms);
    putchar('\n');
    fflush(stdout);
}

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    print_event(arg, status->state == FW_REGISTRAR_LOST ? "lost" : "registered", status);
}

/* ---- the end ---- */

static void on_left(void *arg)
{
    struct registration *job = arg;
    job->registrar = NULL;
    print_event(job, "left", NULL);
    if (!job->child_running)
        cli_stop(job->cli, job->cli->exit_code);
}

static void leave(struct registration *job)
{
    if (job->leaving)
        return;
    job->leaving = true;
    fw_registrar_close(job->registrar, on_left, job);
}

static void on_child_exit(uv_process_t *process, int64_t status, int signal)
{
    struct registration *job = process->data;
    job->child_running = false;
    job->cli->exit_code = signal ? 128 + signal : (int)status;
    uv_close((uv_handle_t *)process, NULL);
    if (job->registrar)
        leave(job);
    else
        cli_stop(job->cli, job->cli->exit_code);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    struct registration *job = arg;
    if (job->child_running)
        uv_process_kill(&job->child, signal);
    leave(job);
}

/* ---- the start ---- */

static int start_child(struct registration *job, char **command)
{
    uv_stdio_container_t stdio[3];
    for (int i = 0; i < 3; i++)
        stdio[i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i};
    uv_process_options_t options = {.file = command[0],
                                    .args = command,
                                    .stdio = stdio,
                                    .stdio_count = 3,
                                    .exit_cb = on_child_exit};
    job->child.data = job;
    int err = uv_spawn(fw_loop_uv(job->cli->loop), &job->child, &options);
    if (err) {
        uv_close((uv_handle_t *)&job->child, NULL);
        return cli_fail_error(command[0], err, NULL);
    }
    job->child_running = true;
    return -1;
}

static int start(struct registration *job, uint32_t ttl_ms, char **command)
{
    if (*command) {
        int code = start_child(job, command);
        if (code >= 0)
            return code;
    }
    fw_registrar_options options = {.ttl_ms = ttl_ms, .on_status = on_status, .arg = job};
    int err = fw_registrar_new(job->cli->kv, &options, &job->registrar);
    if (!err)
        err = fw_registrar_set(job->registrar, job->instance);
    return err ? cli_fail_error("register", err, NULL) : -1;
}

int cmd_register(cli_context *cli, int argc, char **argv)
{
    struct registration job = {.cli = cli};
    cli_instance_options instance = {.weight = 1, .ttl_ms = 10000};
    const char *addr = NULL, *protocol = "";
    const cli_option options[] = {
        {"addr", NULL, CLI_TEXT, &addr, "URL", "where it is called: tcp://host:port or unix:/path"},
        {"protocol", NULL, CLI_TEXT, &protocol, "NAME", "what it speaks (default: walle)"},
        CLI_INSTANCE_OPTIONS(&instance),
        CLI_END,
    };
    int own = 0; /* words before "--" */
    while (own < argc && strcmp(argv[own], "--"))
        own++;
    char **command = argv + (own < argc ? own + 1 : argc);
    int count,
        rc = cli_parse(
            cli, options, "NAME --addr URL [-- CMD...]",
            "Registers an instance and keeps it registered until it is stopped; then it leaves.\n"
            "With CMD: runs it, passes signals on to it, leaves when it ends and exits with its "
            "code.",
            own, argv, 1, 1, &count);
    if (rc >= 0)
        return rc;
    if (!addr)
        return cli_fail(EXIT_USAGE, "--addr", "needed: where the instance is called");
    if (instance.ttl_ms < 1000)
        return cli_fail(EXIT_USAGE, "--ttl", "at least 1s");
    rc = cli_instance_new(&instance, argv[0], addr, protocol, &job.instance);
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0) {
        fw_instance_release(job.instance);
        return rc;
    }
    cli->on_signal = on_signal;
    cli->signal_arg = &job;
    rc = start(&job, instance.ttl_ms, command);
    if (rc >= 0) {
        if (job.registrar)
            fw_registrar_close(job.registrar, NULL, NULL);
        cli_stop(cli, rc);
    }
    rc = cli_run(cli);
    fw_instance_release(job.instance);
    return rc;
}
