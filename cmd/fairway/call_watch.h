/* fairway call --every: a client that keeps calling and tells what happens. */
#ifndef CALL_WATCH_H
#define CALL_WATCH_H

#include "cli.h"

#include <fairway/clientproxy.h>

typedef struct call_watch_options {
    const char *service;
    const char *consumer; /* its name, if it is announced; or NULL */
    const fw_balancer *balancer;
    fw_rpc_message message; /* borrowed */
    uint32_t every_ms;      /* at least 1 */
    uint64_t count;         /* calls; 0: until stopped */
} call_watch_options;

/* Runs on the context's open loop and store until it is stopped or has made its calls; closes both.
 * Exit code: EXIT_FAILED if it has made its calls and one of them failed. */
int call_watch(cli_context *cli, const call_watch_options *options);

#endif
