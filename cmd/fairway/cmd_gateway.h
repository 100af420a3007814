/*
 * fairway gateway, its parts: what was asked for (cmd_gateway_options.c), the daemon
 * (cmd_gateway.c), and what it answers to SIGUSR1 (cmd_gateway_signal.c).
 */
#ifndef CMD_GATEWAY_H
#define CMD_GATEWAY_H

#include "cli.h"

#include <fairway/gateway.h>

/* What one side was given. */
typedef struct gateway_side_options {
    const char *addr; /* NULL: not given */
    cli_list listen;
    bool snet_enable, snet_encrypt;
    uint32_t snet_buffer, snet_init_timeout_ms, snet_wait_timeout_ms;
    const char *read_buffer, *send_queue; /* the original's, without a meaning here */
} gateway_side_options;

typedef struct gateway_config {
    fw_gateway_options options; /* without the URLs */
    gateway_side_options side[2];
    const char *snet_flavour;
    bool reuse_port;
    const char *pool[5]; /* the original's, without a meaning here */
    cli_tls_options tls;
    const char *pid_file, *command_file;
    uint32_t drain_ms;

    /* What all that comes to: URLs to listen on, to be freed. */
    char *urls[2][CLI_LIST_MAX + 1];
    size_t url_count[2];
} gateway_config;

/* Parses the command line. Mistakes are printed. Exit code or -1; to be ended in either case. */
int gateway_config_parse(cli_context *cli, int argc, char **argv, gateway_config *ret_config);
void gateway_config_fini(gateway_config *config);

typedef struct gateway_daemon {
    cli_context *cli;
    gateway_config config;
    fw_gateway *gateway;
    fw_app_step *draining, *stopping;
    uv_timer_t drain_timer;
    uv_signal_t usr1;
} gateway_daemon;

/* On SIGUSR1 the command in the command file is run; until gateway_signal_stop, whose memory must
 * last until the loop has ended. */
int gateway_signal_start(gateway_daemon *daemon);
void gateway_signal_stop(gateway_daemon *daemon);

#endif
