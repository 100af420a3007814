/*
 * Does somebody answer at an address? A connection is opened and closed.
 */
#ifndef REACH_H
#define REACH_H

#include "cli.h"

typedef struct cli_reach cli_reach;
/* result: FW_OK, somebody answered; else why nobody did. */
typedef void (*cli_reach_fn)(int result, void *arg);

/* Asks; fn runs once, on the loop, in a later turn. FW_EURL, FW_ESCHEME (nothing that can be
 * connected to), UV_ENOMEM. */
int cli_reach_start(fw_loop *loop, const char *url, uint32_t timeout_ms, cli_reach_fn fn, void *arg,
                    cli_reach **ret_reach);
/* fn does not run any more. */
void cli_reach_cancel(cli_reach *reach);

#endif
