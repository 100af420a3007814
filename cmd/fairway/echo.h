/* A listener that sends everything back as it comes. */
#ifndef ECHO_H
#define ECHO_H

#include <fairway/transport.h>

typedef struct cli_echo cli_echo;

/* On any transport: a stream where it has one, else messages. Errors as fw_listener_new. */
FW_MUST_CHECK int cli_echo_new(fw_loop *loop, const char *url, cli_echo **ret_echo);
/* The URL with the real port. */
const char *cli_echo_url(const cli_echo *echo);
/* Stops listening and closes all connections; then on_closed, and it is freed. */
void cli_echo_close(cli_echo *echo, void (*on_closed)(void *arg), void *arg);

/* True where both a stream and messages are to be had, and the ends of messages are kept: with ws.
 */
bool cli_echo_wants_messages(const char *url);

#endif
