/* Both ends of sessions, for the tests: a server whose sessions and a client whose events are
 * counted. */
#ifndef ENDS_H
#define ENDS_H

#include "fwt.h"

#include <fairway/session.h>

#define ENDS_WAIT_MS 20000

typedef struct end {
    fw_session *session; /* NULL: gone */
    size_t opened, frames, bytes, drained, lost, closed;
    int reason, lost_reason;
    uint8_t last[64]; /* the last frame's beginning */
    size_t last_len;
    bool echo;
    void (*then)(struct end *end); /* after each frame; may be NULL */
} end;

extern const fw_session_events end_events; /* their argument is an end */

typedef struct ends_server {
    fw_server *server;
    end at_server; /* takes over each session that comes */
    size_t accepted, gone;
} ends_server;

/* Fills in the callbacks of the options, and listens. */
void ends_listen(ends_server *ends, const char *url, fw_server_options options);
/* Fills in events and argument. */
void end_dial(end *end, const char *url, fw_session_options options);
void end_close(end *end);
void ends_close(ends_server *ends);

#endif
