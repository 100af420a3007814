/*
 * fairway gateway: the daemon. Its components are the gateway itself, the signal that has it run
 * the command file, and the file with its process id, which is there as long as all is.
 */
#include "cmd_gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the gateway ---- */

static void start_gateway(fw_app_step *step, void *arg)
{
    gateway_daemon *daemon = arg;
    gateway_config *config = &daemon->config;
    config->options.client_url = config->urls[FW_GATEWAY_CLIENTS][0];
    config->options.server_url = config->urls[FW_GATEWAY_SERVERS][0];
    int err = fw_gateway_new(daemon->cli->loop, &config->options, &daemon->gateway);
    if (err) {
        fw_app_done(step, err, NULL);
        return;
    }
    for (int side = 0; side < 2; side++)
        for (size_t i = 1; i < config->url_count[side]; i++) {
            err = fw_gateway_listen(daemon->gateway, side, config->urls[side][i]);
            if (err) {
                fw_gateway_close(daemon->gateway, NULL, NULL);
                fw_app_done(step, err, config->urls[side][i]);
                return;
            }
        }
    uv_timer_init(fw_loop_uv(daemon->cli->loop), &daemon->drain_timer);
    daemon->drain_timer.data = daemon;
    fw_app_done(step, FW_OK, NULL);
}

static void end_drain(gateway_daemon *daemon)
{
    fw_app_step *step = daemon->draining;
    daemon->draining = NULL;
    uv_timer_stop(&daemon->drain_timer);
    if (step)
        fw_app_done(step, FW_OK, NULL);
}

static void on_drain_time(uv_timer_t *timer)
{
    end_drain(timer->data);
}

static void on_drained(void *arg)
{
    end_drain(arg);
}

static void drain_gateway(fw_app_step *step, void *arg)
{
    gateway_daemon *daemon = arg;
    daemon->draining = step;
    uv_timer_start(&daemon->drain_timer, on_drain_time, daemon->config.drain_ms, 0);
    fw_gateway_drain(daemon->gateway, on_drained, daemon);
}

static void on_closed(void *arg)
{
    const gateway_daemon *daemon = arg;
    fw_app_done(daemon->stopping, FW_OK, NULL);
}

static void stop_gateway(fw_app_step *step, void *arg)
{
    gateway_daemon *daemon = arg;
    daemon->stopping = step;
    daemon->draining = NULL;
    uv_close((uv_handle_t *)&daemon->drain_timer, NULL);
    fw_gateway_close(daemon->gateway, on_closed, daemon);
}

/* ---- the command file ---- */

static void start_signal(fw_app_step *step, void *arg)
{
    fw_app_done(step, gateway_signal_start(arg), NULL);
}

static void stop_signal(fw_app_step *step, void *arg)
{
    gateway_signal_stop(arg);
    fw_app_done(step, FW_OK, NULL);
}

/* ---- the pid file ---- */

/* Made whole under another name first: who reads it never sees half of it. */
static int write_pid(const char *path)
{
    char part[4096], text[24];
    int size = snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
    if (size < 0 || (size_t)size >= sizeof part)
        return UV_ENAMETOOLONG;
    int len = snprintf(text, sizeof text, "%ld", (long)getpid());
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, (size_t)len);
    int err = written == len ? FW_OK : written < 0 ? -errno : UV_ENOSPC;
    close(fd);
    if (!err && rename(part, path))
        err = -errno;
    if (err)
        unlink(part);
    return err;
}

static void start_pid_file(fw_app_step *step, void *arg)
{
    const gateway_daemon *daemon = arg;
    fw_app_done(step, write_pid(daemon->config.pid_file), NULL);
}

/* Leaves it alone if it is another process's by now. */
static void stop_pid_file(fw_app_step *step, void *arg)
{
    const gateway_daemon *daemon = arg;
    char text[24] = "";
    FILE *file = fopen(daemon->config.pid_file, "re");
    bool is_ours = file && fgets(text, sizeof text, file) && atol(text) == (long)getpid();
    if (file)
        fclose(file);
    if (is_ours)
        unlink(daemon->config.pid_file);
    fw_app_done(step, FW_OK, NULL);
}

/* ---- all of it ---- */

static void print_urls(const gateway_daemon *daemon, fw_gateway_side side)
{
    const char *url;
    for (size_t i = 0; (url = fw_gateway_url(daemon->gateway, side, i)); i++)
        printf("%s%s", i ? " and " : "", url);
}

static void add_urls(const gateway_daemon *daemon, fw_gateway_side side, cJSON *json,
                     const char *name)
{
    cJSON *urls = cJSON_AddArrayToObject(json, name);
    const char *url;
    for (size_t i = 0; (url = fw_gateway_url(daemon->gateway, side, i)); i++)
        cJSON_AddItemToArray(urls, cJSON_CreateString(url));
}

static void print_ready(void *arg)
{
    const gateway_daemon *daemon = arg;
    if (!daemon->cli->json) {
        printf("gateway: clients at ");
        print_urls(daemon, FW_GATEWAY_CLIENTS);
        printf(", servers at ");
        print_urls(daemon, FW_GATEWAY_SERVERS);
        printf("\n");
        fflush(stdout);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "event", "ready");
    cJSON_AddStringToObject(json, "client_url", fw_gateway_client_url(daemon->gateway));
    cJSON_AddStringToObject(json, "server_url", fw_gateway_server_url(daemon->gateway));
    add_urls(daemon, FW_GATEWAY_CLIENTS, json, "client_urls");
    add_urls(daemon, FW_GATEWAY_SERVERS, json, "server_urls");
    cli_print_json(json);
}

static int run(gateway_daemon *daemon)
{
    gateway_config *config = &daemon->config;
    int rc = cli_open(daemon->cli);
    if (rc >= 0)
        return rc;
    char name[1200];
    snprintf(name, sizeof name, "gateway (clients at %.500s, servers at %.500s)",
             config->urls[FW_GATEWAY_CLIENTS][0], config->urls[FW_GATEWAY_SERVERS][0]);
    const fw_app_component components[] = {
        {.name = name,
         .start = start_gateway,
         .drain = config->drain_ms ? drain_gateway : NULL,
         .stop = stop_gateway,
         .arg = daemon},
        {.name = "command file", .start = start_signal, .stop = stop_signal, .arg = daemon},
        {.name = config->pid_file, .start = start_pid_file, .stop = stop_pid_file, .arg = daemon},
    };
    cli_app app = {.list = components,
                   .count = config->pid_file ? 3 : 2,
                   .drain_ms = config->drain_ms,
                   .on_running = print_ready,
                   .arg = daemon};
    return cli_run_app(daemon->cli, &app);
}

int cmd_gateway(cli_context *cli, int argc, char **argv)
{
    gateway_daemon daemon = {.cli = cli};
    cli->log_level = "info";
    int rc = gateway_config_parse(cli, argc, argv, &daemon.config);
    if (rc < 0)
        rc = run(&daemon);
    gateway_config_fini(&daemon.config);
    return rc;
}
