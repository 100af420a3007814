/* What the tests of TLS connections share: certificates, a server that answers, and ends that count
 * what happens to them. */
#ifndef TLST_H
#define TLST_H

#include "fwt.h"

#include <fairway/tls.h>
#include <fairway/transport.h>

#define TLST_WAIT_MS 20000

/* ca, other-ca; server (127.0.0.1, localhost), elsewhere, client, stranger (of other-ca). */
void tlst_make_certificates(void);
void tlst_forget_certificates(void);
/* The path of a file among them; good for some calls. */
const char *tlst_file(const char *name);
/* Replaces a file by a copy of another, at once. */
void tlst_copy(const char *from, const char *to);

/* One end of a connection. */
typedef struct tlst_end {
    fw_conn *conn; /* NULL when closed */
    size_t opened, ended, shut, closed, len;
    char text[8192]; /* the first bytes that came */
    int reason;
    char errmsg[300];
    fw_tls_info info; /* when it was opened */
    bool echo, end_when_ended;
} tlst_end;

extern const fw_conn_events tlst_events;

/* Dials; printf's format for the URL. */
void tlst_dial(tlst_end *end, const fw_conn_options *options, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void tlst_close(tlst_end *end);
void tlst_say(tlst_end *end, const char *text);
/* Runs the loop until this text is all that has come. */
void tlst_expect(tlst_end *end, const char *text);
/* Runs the loop until it is closed, for this reason and with this text in its errmsg. */
void tlst_expect_closed(tlst_end *end, int reason, const char *errmsg);

/* A server on a free port whose connections echo. */
#define TLST_MOST_ACCEPTED 128
typedef struct tlst_server {
    fw_listener *listener;
    int port;
    size_t accepted, closed;
    tlst_end ends[TLST_MOST_ACCEPTED];
} tlst_server;

void tlst_listen(tlst_server *server, const fw_listener_options *options, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The usual one: tls://127.0.0.1:0 with server.pem; more: "" or "&x=y". */
void tlst_serve(tlst_server *server, const char *more);
/* Closes it and its connections, and waits for that. */
void tlst_stop(tlst_server *server);

#endif
