/* Two engines that talk through buffers. */
#ifndef PAIR_H
#define PAIR_H

#include "fwt.h"
#include "transport/tls/engine.h"

typedef struct pair_end {
    fwi_tls_engine engine;
    fw_tls *tls;
    uint8_t *wire; /* what was sent and not yet given to the other */
    size_t wire_len, wire_size;
    uint8_t *plain; /* what has come */
    size_t plain_len, plain_size, records;
    size_t opened, ended, wanted; /* records that it still wants */
    int error;
} pair_end;

extern pair_end client, server;
extern uint64_t pair_now_ms;
extern size_t pair_most_wire; /* beyond it, sending fails with FW_ELIMIT */
extern const fwi_tls_sink pair_sink;
extern const char *pair_dir; /* of the certificates */

/* ca, other-ca; server (127.0.0.1, localhost, *.example.com), client, stranger (of other-ca). */
void pair_make_certificates(void);
void pair_forget_certificates(void);
/* The path of a file among them; good for some calls. */
const char *pair_file(const char *name);

fw_tls_options pair_usual_client(void);
fw_tls_options pair_usual_server(void);
/* The objects of both ends, and their end. */
void pair_make(const fw_tls_options *client_options, const fw_tls_options *server_options);
void pair_release(void);
/* Engines that have said nothing but the client's first words. */
void pair_begin(const char *host, const char *server_name);
void pair_fini(pair_end *one);
/* A handshake with localhost or the like: does an earlier session go on? */
bool pair_resumes(const char *host, int port);

int pair_send(void *arg, const uint8_t *data, size_t len);
/* Gives what `from` has sent to `to`, in pieces; as much of it as is taken. */
bool pair_carry(pair_end *from, pair_end *to, size_t piece);
/* Until both are silent. */
void pair_talk(size_t piece);
/* Sends bytes from one to the other, and compares. */
void pair_say(pair_end *from, pair_end *to, size_t len, size_t piece);
void pair_expect_open(void);
/* It has failed so, and says this. */
void pair_expect_failure(const pair_end *one, int error, const char *text);

#endif
