/*
 * The driver's parts, from below: reply.c (what Redis says), resolve.c (names), socket.c (one
 * connection's bytes), link.c (a connection for ever), request.c (one command with a deadline),
 * list.c, ops.c, watch.c, lease.c (the contract), client.c (the object). All on the loop's thread.
 */
#ifndef FWI_REDIS_H
#define FWI_REDIS_H

#include "driver.h"

#include <fairway/backoff.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <uv.h>

#define FWI_REDIS_MAX_VALUE_BYTES (16u * 1024 * 1024)
#define FWI_REDIS_TEXT_BYTES      256

/* store.lua, and the SHA1 of it; made by embed.cmake. */
extern const char fwi_redis_script[];
extern const size_t fwi_redis_script_len;
extern const char fwi_redis_script_sha[];

typedef struct fwi_redis_client fwi_redis_client;
typedef struct fwi_redis_link fwi_redis_link;

/* ---- reply.c ---- */

/* hiredis' reader, within limits. */
typedef struct fwi_redis_reader {
    redisReader *reader;
    redisReplyObjectFunctions functions;
} fwi_redis_reader;

int fwi_redis_reader_init(fwi_redis_reader *reader);
void fwi_redis_reader_fini(fwi_redis_reader *reader);
/* True if its unparsed rest is longer than any string of ours can be. */
bool fwi_redis_reader_is_full(const fwi_redis_reader *reader);

typedef enum fwi_redis_refusal {
    FWI_REDIS_FINAL,    /* that is the answer */
    FWI_REDIS_RELOAD,   /* not done: the script has to be loaded again */
    FWI_REDIS_RECONNECT /* not done: this server cannot, now */
} fwi_redis_refusal;

/* What an error reply means; *ret_status if it is final, else FW_EUNREACHABLE. */
fwi_redis_refusal fwi_redis_classify(const redisReply *error, int *ret_status);

/* Answers of the script. */
#define FWI_REDIS_HEAD 3 /* word, revision, due */
/* The status that the word stands for, FW_ESTORE if it is no answer of the script. *ret_due_ms is
 * -1 if nothing is due. */
int fwi_redis_answer(const redisReply *reply, int64_t *ret_revision, int64_t *ret_due_ms);
/* An element of an array; false if it is not there or of another type. */
bool fwi_redis_integer_at(const redisReply *reply, size_t at, int64_t *ret_value);
bool fwi_redis_text_at(const redisReply *reply, size_t at, fw_slice *ret_text);
/* Key, revision, lease (-1: a deletion), value from `at` on. */
#define FWI_REDIS_PAIR 4
typedef struct fwi_redis_pair {
    fw_slice key, value;
    int64_t revision, lease;
} fwi_redis_pair;
bool fwi_redis_pair_at(const redisReply *reply, size_t at, fwi_redis_pair *ret_pair);

/* ---- resolve.c ---- */

#define FWI_REDIS_MAX_ADDRESSES 8

typedef struct fwi_redis_lookup fwi_redis_lookup;
/* status 0: the addresses were written to link->addresses. */
typedef void (*fwi_redis_resolved_fn)(fwi_redis_link *link, int status);
/* Resolves the client's host into link->addresses; link->lookup until then. */
int fwi_redis_resolve(fwi_redis_link *link, fwi_redis_resolved_fn on_resolved);
/* on_resolved will not be called. */
void fwi_redis_lookup_drop(fwi_redis_lookup *lookup);

/* ---- socket.c ---- */

typedef struct fwi_redis_socket fwi_redis_socket;

/* A formatted command, shared by its request and by the write under way. */
typedef struct fwi_redis_command {
    size_t references, len;
    bool is_secret; /* is wiped before it is freed */
    char *data;
} fwi_redis_command;

void fwi_redis_command_release(fwi_redis_command *command);

/* Connects. on_* of link.c follow until it is dropped. */
int fwi_redis_socket_new(fwi_redis_link *link, const struct sockaddr *address,
                         fwi_redis_socket **ret_socket);
/* Takes references of its own. UV_ENOMEM or libuv's error: nothing was written. */
int fwi_redis_socket_write(fwi_redis_socket *socket, fwi_redis_command *const *commands,
                           size_t count);
/* Bytes given to write so far, and how many of them may have left this process. */
uint64_t fwi_redis_socket_given(const fwi_redis_socket *socket);
uint64_t fwi_redis_socket_handed_over(const fwi_redis_socket *socket);
/* How many bytes wait in this process. */
size_t fwi_redis_socket_backlog(const fwi_redis_socket *socket);
void fwi_redis_socket_drop(fwi_redis_socket *socket);

/* ---- link.c ---- */

typedef enum fwi_redis_link_state {
    FWI_REDIS_OFF,
    FWI_REDIS_RESOLVING,
    FWI_REDIS_CONNECTING,
    FWI_REDIS_GREETING,
    FWI_REDIS_UP,
    FWI_REDIS_BACKOFF
} fwi_redis_link_state;

struct fwi_redis_link {
    fwi_redis_client *client;
    fwi_redis_link_state state;
    fwi_redis_lookup *lookup;
    struct sockaddr_storage addresses[FWI_REDIS_MAX_ADDRESSES];
    size_t address_count, address;
    fwi_redis_socket *socket;
    size_t greetings; /* replies to AUTH, SELECT, SCRIPT LOAD that are to come */
    uint32_t patience_ms;
    unsigned strikes;  /* checks in a row that saw nothing move */
    uint64_t heard_ms; /* when something came last, on the loop's clock */
    bool heard;        /* since the last check something came */
    uint64_t uploaded; /* at the last check: bytes handed over, while some were waiting; else 0 */
    fwi_timer timer;   /* BACKOFF: the next try; else the next check */
    fw_backoff backoff;
    int reason; /* of the last failure, FW_OK while up */
    char detail[FWI_REDIS_TEXT_BYTES];
    /* May be NULL. down: also for each attempt that failed. */
    void (*on_up)(fwi_redis_client *client);
    void (*on_down)(fwi_redis_client *client, int reason, const char *detail);

    /* request.c's */
    fwi_list queue;  /* not yet sent */
    fwi_list flight; /* sent, in order */
    size_t queue_count, queue_bytes, flight_count;
    fwi_redis_refusal pause; /* not FINAL: nothing is sent; when the flight has ended, do that */
    fwi_task flush;
};

void fwi_redis_link_init(fwi_redis_link *link, fwi_redis_client *client, uint32_t patience_ms);
/* Connects and stays so. Nothing if it does already. */
void fwi_redis_link_start(fwi_redis_link *link);
/* Disconnects; requests stay queued. */
void fwi_redis_link_stop(fwi_redis_link *link);
/* Ends this connection (requests.c is told) and tries again later. */
void fwi_redis_link_fail(fwi_redis_link *link, int reason, const char *detail);
/* Loads the script once more, then goes on. */
void fwi_redis_link_reload(fwi_redis_link *link);
/* Ends this connection if an answer is due and nothing came since then. */
void fwi_redis_link_suspect(fwi_redis_link *link, uint64_t since_ms);
/* Something is expected of the server from now on. */
void fwi_redis_link_expect(fwi_redis_link *link);
/* From the socket. */
void fwi_redis_link_on_connected(fwi_redis_link *link, int status);
void fwi_redis_link_on_reply(fwi_redis_link *link, const redisReply *reply);
void fwi_redis_link_on_heard(fwi_redis_link *link);
void fwi_redis_link_on_written(fwi_redis_link *link);
void fwi_redis_link_on_broken(fwi_redis_link *link, const char *detail);

/* ---- request.c ---- */

typedef struct fwi_redis_request fwi_redis_request;

typedef struct fwi_redis_reply {
    int status; /* the script's, or why there is none */
    const char *detail;
    const redisReply *reply; /* NULL if status is not the script's own */
    int64_t revision;
    uint64_t sent_ms; /* on fwi_redis_clock_ms */
} fwi_redis_reply;

typedef void (*fwi_redis_answered_fn)(const fwi_redis_reply *reply, void *arg);

/* Arguments of a command, collected. Zero-initialised is empty. */
typedef struct fwi_redis_arg {
    const char *data; /* NULL: the number */
    size_t len;
    char number[24];
} fwi_redis_arg;

typedef struct fwi_redis_args {
    fwi_redis_arg *items;
    size_t count, capacity;
    bool out_of_memory;
} fwi_redis_args;

void fwi_redis_args_bytes(fwi_redis_args *args, const void *data, size_t len);
void fwi_redis_args_text(fwi_redis_args *args, const char *text);
void fwi_redis_args_number(fwi_redis_args *args, int64_t number);
/* The beginning of a call of the script. */
void fwi_redis_args_script(fwi_redis_args *args, const fwi_redis_client *client,
                           const char *command);
void fwi_redis_args_fini(fwi_redis_args *args);

typedef enum fwi_redis_kind {
    FWI_REDIS_ONCE,   /* of the script; not to be done twice */
    FWI_REDIS_REPEAT, /* of the script; done again when the connection breaks */
    FWI_REDIS_PLAIN   /* any other command; done again as well */
} fwi_redis_kind;

/* Asks, and ends args. on_answered follows exactly once, in a later turn, unless it is forgotten.
 * The deadline is on the loop's clock, UINT64_MAX for none. Errors: UV_ENOMEM, FW_ELIMIT. */
int fwi_redis_ask(fwi_redis_link *link, fwi_redis_kind kind, uint64_t deadline_ms,
                  fwi_redis_args *args, fwi_redis_answered_fn on_answered, void *arg,
                  fwi_redis_request **ret_request);
/* on_answered will not be called. */
void fwi_redis_forget(fwi_redis_request *request);
/* Answers everything with a status (those without a deadline only if all is true). */
void fwi_redis_fail_queue(fwi_redis_link *link, int status, const char *detail, bool all);
/* Milliseconds since boot, suspension included. */
uint64_t fwi_redis_clock_ms(void);
/* From the link. */
void fwi_redis_requests_init(fwi_redis_link *link);
void fwi_redis_requests_up(fwi_redis_link *link);
void fwi_redis_requests_reply(fwi_redis_link *link, const redisReply *reply);
/* The connection is gone; `handed_over` bytes may have arrived. */
void fwi_redis_requests_down(fwi_redis_link *link, uint64_t handed_over);
/* NULL: no memory. */
fwi_redis_command *fwi_redis_format(const fwi_redis_args *args);

/* ---- list.c ---- */

typedef struct fwi_redis_listing fwi_redis_listing;
typedef void (*fwi_redis_listed_fn)(fwi_redis_client *client, fwi_redis_listing *listing,
                                    int status, const char *detail, void *arg);
/* Lists a tree or one key, as it is at one revision. */
int fwi_redis_list(fwi_redis_client *client, const char *key, bool is_tree, uint64_t deadline_ms,
                   fwi_redis_listed_fn on_listed, void *arg, fwi_redis_listing **ret_listing);
/* In on_listed: the pairs, sorted; taken over by the caller. */
fwi_kv_pairs fwi_redis_listing_take(fwi_redis_listing *listing, int64_t *ret_revision);
int64_t fwi_redis_listing_revision(const fwi_redis_listing *listing);
/* In on_listed, instead of freeing: brings it up to date, then on_listed again. FW_ECOMPACTED: the
 * last time it came no further, so the store's revisions went back. */
int fwi_redis_listing_catch_up(fwi_redis_listing *listing);
/* At any time; on_listed will not be called. */
void fwi_redis_listing_free(fwi_redis_listing *listing);

/* ---- client.c ---- */

enum { FWI_REDIS_BELL = 7, FWI_REDIS_KEYS };

struct fwi_redis_client {
    fw_kv *kv;
    fw_loop *loop;
    char *host;
    int port;
    char *db, *user, *password;  /* NULL where there is none; db never is */
    char *names[FWI_REDIS_KEYS]; /* in the order of store.lua */
    fwi_redis_link ops, bell;    /* for operations; for waiting */
    size_t handles;              /* of libuv, still alive */
    bool closing;
    uint64_t due_ms;           /* what `expiry` was set for */
    fwi_timer expiry;          /* when the next lease is due, as far as we know */
    fwi_redis_request *expire; /* under way */

    /* watch.c's */
    fwi_list unlisted, live; /* fw_kv_watch.node */
    int64_t seen;            /* all live watches have everything up to here; 0: there are none */
    fwi_redis_request *look; /* under way: a look, or waiting for the bell */
    fwi_redis_request *birth;
    unsigned serving; /* watches are being told something, and in no list until it is their turn */
    bool must_look;
    bool is_troubled; /* a look was refused: none until `retry` */
    fwi_timer retry;
};

/* Every answer tells when the next lease is due. */
void fwi_redis_heard_due(fwi_redis_client *client, int64_t due_ms);
void fwi_redis_handle_gone(fwi_redis_client *client);

/* ---- ops.c, watch.c, lease.c ---- */

void fwi_redis_submit(void *store, fwi_kv_op *op);

void fwi_redis_watches_init(fwi_redis_client *client);
void fwi_redis_watches_fini(fwi_redis_client *client);
void fwi_redis_watch_start(void *store, fw_kv_watch *watch);
void fwi_redis_watch_stop(void *store, fw_kv_watch *watch);

void fwi_redis_lease_grant(void *store, fw_kv_lease *front);
void fwi_redis_lease_revoke(void *store, fw_kv_lease *front);

#endif
