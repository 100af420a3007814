/*
 * The options of fairway gateway, the original's among them in their spelling (-ClientAddr beside
 * --client-addr) and with their defaults; and the URLs that they come to.
 */
#include "cmd_gateway.h"

#include <stdlib.h>
#include <string.h>

#define MOST_SNET_BUFFER (1u << 30)

/* Those of one side: low is "client", title is "Client", o its gateway_side_options. */
#define SIDE_OPTIONS(low, title, o)                                                                 \
    {low "-addr", title "Addr",                                                                     \
     CLI_TEXT,    &(o)->addr,                                                                       \
     "ADDR",      "where " low "s come in: HOST:PORT or a URL (default :0, any port)"},             \
        {low "-listen", NULL,  CLI_LIST,                                                            \
         &(o)->listen,  "URL", "where else: tcp, tls, ws, wss, snet, kcp, kcps, unix; repeatable"}, \
        {low "-snet-enable",                                                                        \
         title "SnetEnable",                                                                        \
         CLI_FLAG,                                                                                  \
         &(o)->snet_enable,                                                                         \
         NULL,                                                                                      \
         "snet below --" low "-addr: links may break and come again"},                              \
        {low "-snet-encrypt",           title "SnetEncrypt", CLI_FLAG, &(o)->snet_encrypt, NULL,    \
         "with RC4, which hides little"},                                                           \
        {low "-snet-buffer",                                                                        \
         title "SnetBuffer",                                                                        \
         CLI_UINT,                                                                                  \
         &(o)->snet_buffer,                                                                         \
         "BYTES",                                                                                   \
         "kept for sending again (default 65536)"},                                                 \
        {low "-snet-init-timeout",                                                                  \
         title "SnetInitTimeout",                                                                   \
         CLI_DURATION,                                                                              \
         &(o)->snet_init_timeout_ms,                                                                \
         "DUR",                                                                                     \
         "for snet's handshake (default 10s)"},                                                     \
        {low "-snet-wait-timeout",                                                                  \
         title "SnetWaitTimeout",                                                                   \
         CLI_DURATION,                                                                              \
         &(o)->snet_wait_timeout_ms,                                                                \
         "DUR",                                                                                     \
         "how long a session waits for a new link (default 1m)"},                                   \
        {low "-buffer-size",                                                                        \
         title "BufferSize",                                                                        \
         CLI_TEXT,                                                                                  \
         &(o)->read_buffer,                                                                         \
         "N",                                                                                       \
         "no meaning here: one read buffer serves all"},                                            \
    {                                                                                               \
        low "-send-chan-size", title "SendChanSize", CLI_TEXT, &(o)->send_queue, "N",               \
            "no meaning here: see --" low "-queue-bytes"                                            \
    }

#define POOL_OPTIONS(pool)                                                                         \
    {"mem-pool-type", "MemPoolType", CLI_TEXT, &(pool)[0], "TYPE", "no meaning here"},             \
        {"mem-pool-factor", "MemPoolFactor", CLI_TEXT, &(pool)[1], "N", "no meaning here"},        \
        {"mem-pool-min-chunk", "MemPoolMinChunk", CLI_TEXT, &(pool)[2], "N", "no meaning here"},   \
        {"mem-pool-max-chunk", "MemPoolMaxChunk", CLI_TEXT, &(pool)[3], "N", "no meaning here"},   \
    {                                                                                              \
        "mem-pool-page-size", "MemPoolPageSize", CLI_TEXT, &(pool)[4], "N", "no meaning here"      \
    }

/* Numbers that are given to size_t later. */
struct limits {
    uint32_t client_queue, server_queue, clients, servers, unauthenticated, clients_per_address,
        servers_per_address, backlog;
};

#define LIMIT_OPTIONS(o, limits)                                                                    \
    {"max-packet",           "MaxPacket", CLI_UINT,                                                 \
     &(o)->max_packet_bytes, "BYTES",     "largest length field (default 524288)"},                 \
        {"client-max-conn",                                                                         \
         "ClientMaxConn",                                                                           \
         CLI_UINT,                                                                                  \
         &(o)->client_max_conn,                                                                     \
         "N",                                                                                       \
         "virtual connections a client may dial (default 16; 0: no limit)"},                        \
        {"client-idle-timeout",                                                                     \
         "ClientIdleTimeout",                                                                       \
         CLI_DURATION,                                                                              \
         &(o)->client_idle_timeout_ms,                                                              \
         "DUR",                                                                                     \
         "close a client that sends nothing (default 30s; 0: never)"},                              \
        {"server-idle-timeout",                                                                     \
         "ServerIdleTimeout",                                                                       \
         CLI_DURATION,                                                                              \
         &(o)->server_idle_timeout_ms,                                                              \
         "DUR",                                                                                     \
         "the same for servers (default 30s)"},                                                     \
        {"handshake-timeout",        NULL,  CLI_DURATION,                                           \
         &(o)->handshake_timeout_ms, "DUR", "for a server's answer to the challenge (default 5s)"}, \
        {"client-dials-per-s",                                                                      \
         NULL,                                                                                      \
         CLI_UINT,                                                                                  \
         &(o)->client_dials_per_s,                                                                  \
         "N",                                                                                       \
         "dials of one client; more are refused (default 0: no limit)"},                            \
        {"max-clients",      NULL, CLI_UINT,                                                        \
         &(limits)->clients, "N",  "physical connections (default 100000)"},                        \
        {"max-servers",      NULL, CLI_UINT,                                                        \
         &(limits)->servers, "N",  "physical connections (default 10000)"},                         \
        {"max-unauthenticated",      NULL, CLI_UINT,                                                \
         &(limits)->unauthenticated, "N",  "servers whose answer is awaited (default 256)"},        \
        {"max-clients-per-address",                                                                 \
         NULL,                                                                                      \
         CLI_UINT,                                                                                  \
         &(limits)->clients_per_address,                                                            \
         "N",                                                                                       \
         "of one IPv4 address, of one IPv6 /64 (default 0: no limit)"},                             \
        {"max-servers-per-address",      NULL, CLI_UINT,                                            \
         &(limits)->servers_per_address, "N",  "the same for servers (default 0: no limit)"},       \
        {"client-queue-bytes",    NULL,    CLI_UINT,                                                \
         &(limits)->client_queue, "BYTES", "that may wait for a client (default 4 MiB)"},           \
        {"server-queue-bytes",    NULL,    CLI_UINT,                                                \
         &(limits)->server_queue, "BYTES", "that may wait for a server (default 64 MiB)"},          \
    {                                                                                               \
        "backlog", NULL, CLI_UINT, &(limits)->backlog, "N", "of the listeners (default 1024)"       \
    }

static bool is_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits && !text[digits];
}

/* The original's options for its allocator and its queues: their values are checked, and it is said
 * that they do nothing. Exit code or -1. */
static int check_meaningless(const gateway_config *config)
{
    const struct {
        const char *name, *value;
        bool is_number;
    } all[] = {
        {"-MemPoolType", config->pool[0], false},
        {"-MemPoolFactor", config->pool[1], true},
        {"-MemPoolMinChunk", config->pool[2], true},
        {"-MemPoolMaxChunk", config->pool[3], true},
        {"-MemPoolPageSize", config->pool[4], true},
        {"-ClientBufferSize", config->side[0].read_buffer, true},
        {"-ServerBufferSize", config->side[1].read_buffer, true},
        {"-ClientSendChanSize", config->side[0].send_queue, true},
        {"-ServerSendChanSize", config->side[1].send_queue, true},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *value = all[i].value;
        if (!value)
            continue;
        bool is_type = !strcmp(value, "sync") || !strcmp(value, "atom") || !strcmp(value, "chan");
        if (all[i].is_number ? !is_number(value) : !is_type)
            return cli_fail(EXIT_USAGE, all[i].name, "value cannot be used");
        cli_fail(0, all[i].name, "has no meaning for this gateway (its README says what has)");
    }
    return -1;
}

static bool is_url(const char *address)
{
    return strstr(address, "://") || !strncmp(address, "unix:", 5) || !strncmp(address, "mem:", 4);
}

/* Adds the URL of --client-addr or --server-addr. Exit code or -1. */
static int add_address(gateway_config *config, fw_gateway_side side)
{
    const gateway_side_options *given = &config->side[side];
    const char *address = given->addr ? given->addr : ":0";
    char *url = NULL;
    if (is_url(address)) {
        if (config->reuse_port || given->snet_enable)
            return cli_fail(EXIT_USAGE, address,
                            "--reuse-port and --...-snet-enable are for HOST:PORT; a URL says its "
                            "transport and its parameters itself");
        int err = cli_tls_url(&config->tls, address, &url);
        if (err)
            return cli_fail_error(address, err, NULL);
    } else {
        size_t size = strlen(address) + 200;
        url = malloc(size);
        if (!url)
            return cli_fail_error(address, UV_ENOMEM, NULL);
        if (given->snet_enable)
            snprintf(url, size,
                     "snet://%s?flavour=%s&encrypt=%d&buffer_bytes=%u&handshake_timeout_ms=%u"
                     "&wait_timeout_ms=%u",
                     address, config->snet_flavour, given->snet_encrypt, given->snet_buffer,
                     given->snet_init_timeout_ms, given->snet_wait_timeout_ms);
        else
            snprintf(url, size, "tcp://%s%s", address, config->reuse_port ? "?reuse_port=1" : "");
    }
    config->urls[side][config->url_count[side]++] = url;
    return -1;
}

static int add_urls(gateway_config *config, fw_gateway_side side)
{
    const cli_list *listen = &config->side[side].listen;
    int rc = config->side[side].addr || !listen->count ? add_address(config, side) : -1;
    for (size_t i = 0; rc < 0 && i < listen->count; i++) {
        char *url;
        int err =
            is_url(listen->items[i]) ? cli_tls_url(&config->tls, listen->items[i], &url) : FW_EURL;
        if (err)
            return cli_fail_error(listen->items[i], err, NULL);
        config->urls[side][config->url_count[side]++] = url;
    }
    return rc;
}

static int check_snet(const gateway_config *config)
{
    const char *flavour = config->snet_flavour;
    if (strcmp(flavour, "auto") && strcmp(flavour, "uniway") && strcmp(flavour, "fastway"))
        return cli_fail(EXIT_USAGE, flavour, "no flavour of snet: uniway, fastway, auto");
    for (int side = 0; side < 2; side++) {
        const gateway_side_options *given = &config->side[side];
        if (given->snet_enable && config->reuse_port)
            return cli_fail(EXIT_USAGE, "--reuse-port",
                            "not with snet: the kernel would lead a session's next link to "
                            "another process");
        if (!given->snet_buffer || given->snet_buffer > MOST_SNET_BUFFER)
            return cli_fail(EXIT_USAGE, side ? "--server-snet-buffer" : "--client-snet-buffer",
                            "1 to 2^30 bytes");
        if (!given->snet_init_timeout_ms)
            return cli_fail(EXIT_USAGE,
                            side ? "--server-snet-init-timeout" : "--client-snet-init-timeout",
                            "a limit of 0 lets nothing through");
    }
    return -1;
}

static int take_limits(gateway_config *config, const struct limits *limits)
{
    fw_gateway_options *options = &config->options;
    if (!options->max_packet_bytes || !limits->clients || !limits->servers ||
        !limits->unauthenticated || !limits->client_queue || !limits->server_queue ||
        !limits->backlog || !options->handshake_timeout_ms)
        return cli_fail(EXIT_USAGE, "gateway", "a limit of 0 lets nothing through");
    if (limits->backlog > INT32_MAX)
        return cli_fail(EXIT_USAGE, "--backlog", "value cannot be used");
    options->max_clients = limits->clients;
    options->max_servers = limits->servers;
    options->max_unauthenticated_servers = limits->unauthenticated;
    options->max_clients_per_address = limits->clients_per_address;
    options->max_servers_per_address = limits->servers_per_address;
    options->client_queue_bytes = limits->client_queue;
    options->server_queue_bytes = limits->server_queue;
    options->backlog = (int)limits->backlog;
    return -1;
}

int gateway_config_parse(cli_context *cli, int argc, char **argv, gateway_config *ret_config)
{
    gateway_config *config = ret_config;
    struct limits limits = {.client_queue = 4 << 20,
                            .server_queue = 64 << 20,
                            .clients = 100000,
                            .servers = 10000,
                            .unauthenticated = 256,
                            .backlog = 1024};
    gateway_side_options side = {
        .snet_buffer = 65536, .snet_init_timeout_ms = 10000, .snet_wait_timeout_ms = 60000};
    *config = (gateway_config){
        .side = {side, side}, .snet_flavour = "auto", .command_file = "fastway.cmd"};
    fw_gateway_options_init(&config->options);
    config->options.max_packet_bytes = 524288;
    config->options.handshake_timeout_ms = 5000;
    const cli_option options[] = {
        SIDE_OPTIONS("client", "Client", &config->side[FW_GATEWAY_CLIENTS]),
        SIDE_OPTIONS("server", "Server", &config->side[FW_GATEWAY_SERVERS]),
        {"server-auth-key", "ServerAuthKey", CLI_TEXT, &config->options.auth_key, "KEY",
         "shared secret of the servers; better in FAIRWAY_SERVER_AUTH_KEY"},
        {"server-hmac-key", NULL, CLI_TEXT, &config->options.hmac_key, "KEY",
         "for answers with HMAC-SHA-256; those with MD5 need --server-auth-key beside it"},
        {"snet-flavour", NULL, CLI_TEXT, &config->snet_flavour, "FLAVOUR",
         "which snet: uniway, fastway, auto (default auto: either, by its first bytes)"},
        {"reuse-port", "ReusePort", CLI_FLAG, &config->reuse_port, NULL,
         "several processes at one HOST:PORT; each knows its own servers only"},
        LIMIT_OPTIONS(&config->options, &limits),
        CLI_TLS_OPTIONS(&config->tls),
        {"pid-file", NULL, CLI_TEXT, &config->pid_file, "FILE", "where to write the process id"},
        {"command-file", NULL, CLI_TEXT, &config->command_file, "FILE",
         "read on SIGUSR1 (default fastway.cmd); `help` in it lists the commands"},
        {"drain-timeout", NULL, CLI_DURATION, &config->drain_ms, "DUR",
         "on SIGTERM, for virtual connections to end by themselves (default 0s)"},
        POOL_OPTIONS(config->pool),
        CLI_END,
    };
    int count,
        rc = cli_parse(
            cli, options, "--client-addr ADDR --server-addr ADDR",
            "Runs the gateway of virtual connections until it is stopped. Speaks the protocol of\n"
            "fastway and uniway, and takes their options in their spelling, too.",
            argc, argv, 0, 0, &count);
    if (rc < 0)
        rc = take_limits(config, &limits);
    if (rc < 0)
        rc = check_meaningless(config);
    if (rc < 0)
        rc = check_snet(config);
    if (rc < 0)
        rc = add_urls(config, FW_GATEWAY_CLIENTS);
    return rc < 0 ? add_urls(config, FW_GATEWAY_SERVERS) : rc;
}

void gateway_config_fini(gateway_config *config)
{
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < config->url_count[side]; i++)
            free(config->urls[side][i]);
}
