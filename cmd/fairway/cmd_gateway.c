/*
 * fairway gateway: the daemon. Every option has the original's spelling beside ours (-ClientAddr
 * and --client-addr), durations are written as Go writes them.
 */
#include "cli.h"

#include <fairway/gateway.h>
#include <stdlib.h>
#include <string.h>

struct daemon {
    cli_context *cli;
    fw_gateway_options options;
    fw_gateway *gateway;
    fw_app_step *stopping;
};

/* "host:port", ":port" or a URL, as a URL; to be freed. */
static char *address_url(const char *address)
{
    size_t size = strlen(address) + sizeof "tcp://";
    char *url = malloc(size);
    bool is_url = strstr(address, "://") || !strncmp(address, "unix:", 5);
    if (url)
        snprintf(url, size, "%s%s", is_url ? "" : "tcp://", address);
    return url;
}

static void start_gateway(fw_app_step *step, void *arg)
{
    struct daemon *daemon = arg;
    fw_app_done(step, fw_gateway_new(daemon->cli->loop, &daemon->options, &daemon->gateway), NULL);
}

static void on_closed(void *arg)
{
    const struct daemon *daemon = arg;
    fw_app_done(daemon->stopping, FW_OK, NULL);
}

static void stop_gateway(fw_app_step *step, void *arg)
{
    struct daemon *daemon = arg;
    daemon->stopping = step;
    fw_gateway_close(daemon->gateway, on_closed, daemon);
}

static void print_ready(void *arg)
{
    const struct daemon *daemon = arg;
    const char *client = fw_gateway_client_url(daemon->gateway),
               *server = fw_gateway_server_url(daemon->gateway);
    if (!daemon->cli->json) {
        printf("gateway: clients at %s, servers at %s\n", client, server);
        fflush(stdout);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "event", "ready");
    cJSON_AddStringToObject(json, "client_url", client);
    cJSON_AddStringToObject(json, "server_url", server);
    cli_print_json(json);
}

static int run(struct daemon *daemon, const char *client_addr, const char *server_addr)
{
    cli_context *cli = daemon->cli;
    int rc = cli_open(cli);
    if (rc >= 0)
        return rc;
    char name[600], *client_url = address_url(client_addr), *server_url = address_url(server_addr);
    snprintf(name, sizeof name, "gateway (clients at %s, servers at %s)", client_addr, server_addr);
    daemon->options.client_url = client_url;
    daemon->options.server_url = server_url;
    fw_app_component component = {
        .name = name, .start = start_gateway, .stop = stop_gateway, .arg = daemon};
    cli_app app = {.list = &component, .count = 1, .on_running = print_ready, .arg = daemon};
    if (client_url && server_url) {
        rc = cli_run_app(cli, &app);
    } else {
        cli_stop(cli, cli_fail_error(name, UV_ENOMEM, NULL));
        rc = cli_run(cli);
    }
    free(client_url);
    free(server_url);
    return rc;
}

int cmd_gateway(cli_context *cli, int argc, char **argv)
{
    struct daemon daemon = {.cli = cli};
    fw_gateway_options *gateway = &daemon.options;
    fw_gateway_options_init(gateway);
    const char *client_addr = ":0", *server_addr = ":0", *key = "";
    uint32_t max_packet = 524288, client_queue = 4 << 20, server_queue = 64 << 20;
    uint32_t max_clients = 100000, max_servers = 10000;
    gateway->handshake_timeout_ms = 5000;
    const cli_option options[] = {
        {"client-addr", "ClientAddr", CLI_TEXT, &client_addr, "ADDR",
         "where clients come in (default :0, any port)"},
        {"server-addr", "ServerAddr", CLI_TEXT, &server_addr, "ADDR",
         "where servers come in (default :0)"},
        {"server-auth-key", "ServerAuthKey", CLI_TEXT, &key, "KEY",
         "shared secret of the servers; better in FAIRWAY_SERVER_AUTH_KEY"},
        {"max-packet", "MaxPacket", CLI_UINT, &max_packet, "BYTES",
         "largest length field (default 524288)"},
        {"client-max-conn", "ClientMaxConn", CLI_UINT, &gateway->client_max_conn, "N",
         "virtual connections a client may dial (default 16; 0: no limit)"},
        {"client-idle-timeout", "ClientIdleTimeout", CLI_DURATION, &gateway->client_idle_timeout_ms,
         "DUR", "close a client that sends nothing (default 30s; 0: never)"},
        {"server-idle-timeout", "ServerIdleTimeout", CLI_DURATION, &gateway->server_idle_timeout_ms,
         "DUR", "the same for servers (default 30s)"},
        {"handshake-timeout", NULL, CLI_DURATION, &gateway->handshake_timeout_ms, "DUR",
         "for a server's answer to the challenge (default 5s)"},
        {"max-clients", NULL, CLI_UINT, &max_clients, "N", "physical connections (default 100000)"},
        {"max-servers", NULL, CLI_UINT, &max_servers, "N", "physical connections (default 10000)"},
        {"client-queue-bytes", NULL, CLI_UINT, &client_queue, "BYTES",
         "that may wait for a client (default 4 MiB)"},
        {"server-queue-bytes", NULL, CLI_UINT, &server_queue, "BYTES",
         "that may wait for a server (default 64 MiB)"},
        CLI_END,
    };
    cli->log_level = "info";
    int count,
        rc = cli_parse(
            cli, options, "--client-addr ADDR --server-addr ADDR",
            "Runs the gateway of virtual connections until it is stopped. Speaks the protocol of\n"
            "fastway and uniway, and takes their options in their spelling, too.",
            argc, argv, 0, 0, &count);
    if (rc >= 0)
        return rc;
    if (!max_packet || !max_clients || !max_servers || !client_queue || !server_queue ||
        !gateway->handshake_timeout_ms)
        return cli_fail(EXIT_USAGE, "gateway", "a limit of 0 lets nothing through");
    gateway->auth_key = key;
    gateway->max_packet_bytes = max_packet;
    gateway->max_clients = max_clients;
    gateway->max_servers = max_servers;
    gateway->client_queue_bytes = client_queue;
    gateway->server_queue_bytes = server_queue;
    return run(&daemon, client_addr, server_addr);
}
