/*
 * A command that runs under one of ours, with its standard input and outputs.
 */
#ifndef CHILD_H
#define CHILD_H

#include "cli.h"

#define CHILD_SIGNALS 4

typedef struct cli_child {
    uv_process_t process;
    uv_signal_t signals[CHILD_SIGNALS];
    bool running;
    bool apart; /* in a session of its own: Ctrl-C comes to us alone; set before the start */
    /* It has ended: its exit code, or 128 + the signal that killed it. */
    void (*on_exit)(int code, void *arg);
    void *arg;
} cli_child;

/* Starts a command (which ends with NULL); on_exit and arg are set before. SIGHUP, SIGQUIT, SIGUSR1
 * and SIGUSR2 are passed on to it while it runs; SIGINT and SIGTERM are the caller's. The child
 * must live until on_exit. Errors are printed; exit code or -1. */
int cli_child_start(cli_child *child, cli_context *cli, char **command);
/* Sends a signal, if it still runs. */
void cli_child_signal(cli_child *child, int signal);

#endif
