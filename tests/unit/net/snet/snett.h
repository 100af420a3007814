/* Users of snet connections, for its tests. */
#ifndef SNETT_H
#define SNETT_H

#include <fairway/transport.h>

#include "fwt.h"

#define SNETT_MS 30000 /* for whatever must happen */

typedef struct snett_user {
    fw_conn *conn; /* NULL before and after its life */
    bool open, closed, drained;
    int reason;
    char errmsg[80];
    char *in; /* what it was given, NUL-terminated */
    size_t in_len;
} snett_user;

#define SNETT_MAX_USERS 16

/* A listener at snet://127.0.0.1:0?PARAMS and those who came. */
typedef struct snett_server {
    fw_listener *listener;
    int port;
    bool closed;
    bool stop_reading; /* what comes is not read from the start */
    snett_user users[SNETT_MAX_USERS];
    size_t count;
} snett_server;

void snett_listen(snett_server *server, const char *params);
void snett_server_end(snett_server *server);
/* Dials snet://127.0.0.1:PORT?PARAMS and waits until it is open. */
void snett_dial(snett_user *user, int port, const char *params);
/* The same, without waiting. */
void snett_dial_begin(snett_user *user, const char *scheme, int port, const char *params);
void snett_say(snett_user *user, const char *text);
/* Until that is all that came. */
void snett_wait_in(snett_user *user, const char *text);
void snett_wait_closed(snett_user *user, int reason);
/* Closes it, if it is there, and frees what it was given. */
void snett_user_end(snett_user *user);

#endif
