/*
 * The conformance suite of transports: the same cases stamped on each scheme, as a stream and with
 * messages where the transport is able to. A scheme's program is main.c and one scheme_NAME.c,
 * which defines trant_scheme.
 */
#ifndef TRANT_H
#define TRANT_H

#include "fwt.h"

#include <fairway/transport.h>
#include <stdint.h>

#define TRANT_WAIT_MS 30000

typedef struct trant_scheme {
    const char *name;
    /* Writes a URL that nobody listens on yet, another one each time. */
    void (*listen_url)(char *ret_url, size_t size);
    /* Follows the listener's URL when it is dialled: "?ca=..."; NULL: nothing. May differ from call
     * to call. */
    const char *(*dial_params)(void);
    bool connectionless; /* a dial opens though nobody is there */
    bool one_process;    /* both ends are in one program */
    size_t peers;        /* 0: 1,000 */
    size_t most_message; /* what a message may have here; 0: 1 MiB */
    size_t bulk_bytes;   /* 0: 32 MiB */
} trant_scheme;

extern const trant_scheme trant_scheme_under_test;
unsigned trant_abilities(void);

/* ---- an end of a connection, which remembers what happens to it ---- */
typedef struct trant_end trant_end;
struct trant_end {
    fw_conn *conn; /* NULL after on_closed */
    bool opened, ended, shut, closed;
    int reason;
    char errmsg[200];
    size_t events_after_close;
    size_t drains, received; /* bytes */
    size_t messages;         /* calls of on_data */
    uint8_t *bytes;          /* all that came, if keep */
    size_t capacity;
    bool keep, echo;
    /* Called in the event, after it was recorded; or NULL. */
    void (*on_open)(trant_end *end);
    void (*on_data)(trant_end *end, const uint8_t *data, size_t len);
    void (*on_drain)(trant_end *end);
    void (*on_end)(trant_end *end);
    bool wants_end; /* events.on_end is set */
    void *arg;
    fw_conn_events events; /* of an accepted one */
};

/* Dials; the end is the caller's memory, zeroed but for its wishes. */
void trant_dial(const char *url, bool messages, size_t max_message_bytes, trant_end *end);
/* Closes if it is open, waits for on_closed, checks it, and frees what was kept. */
void trant_end_fini(trant_end *end);

/* ---- a listener, whose connections are ends ---- */
typedef struct trant_listener {
    fw_listener *listener;
    char url[600]; /* to dial */
    trant_end **ends;
    size_t accepted, closed_ends, received;
    bool closed;
    trant_end wishes;   /* of accepted ends */
    bool close_at_once; /* in on_accept */
} trant_listener;

void trant_listen(trant_listener *listener, bool messages);
void trant_listen_at(trant_listener *listener, const char *url, bool messages,
                     size_t max_message_bytes, size_t high_water_bytes);
/* Closes it and all its ends. */
void trant_listener_fini(trant_listener *listener);
/* Waits for the next connection: the index-th since it listens. */
trant_end *trant_accept(trant_listener *listener, size_t index);

/* ---- bytes whose place tells their value ---- */
uint8_t trant_byte(size_t at);
void trant_fill(uint8_t *data, size_t len, size_t at);
/* Fails the test if data are not the bytes from `at` on. */
void trant_check(const uint8_t *data, size_t len, size_t at);
void trant_write(trant_end *end, size_t len, size_t at);
size_t trant_most_message(void);

/* A folder with ca.pem, server.pem and server.key of 127.0.0.1, for schemes that are secure. */
const char *trant_pki(void);

void trant_add_dial_tests(Suite *suite);
void trant_add_data_tests(Suite *suite);
void trant_add_flow_tests(Suite *suite);
void trant_add_peer_tests(Suite *suite);
/* The part of a program that is started to be killed: returns if it is not one. */
void trant_child(int argc, char **argv);

#endif
