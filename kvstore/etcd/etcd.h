/* What the parts of the etcd driver share. See client.c for the design. */
#ifndef FWI_ETCD_H
#define FWI_ETCD_H

#include "etcd_core.h"
#include "queue.h"
#include "wire.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>
#include <sys/types.h>
#include <time.h>

#define FWI_ETCD_TLS_SCHEME "etcds"

typedef enum fwi_etcd_method {
    FWI_ETCD_RANGE = FWI_EC_RANGE,
    FWI_ETCD_PUT = FWI_EC_PUT,
    FWI_ETCD_DELETE = FWI_EC_DELETE,
    FWI_ETCD_TXN = FWI_EC_TXN,
    FWI_ETCD_GRANT = FWI_EC_GRANT,
    FWI_ETCD_REVOKE = FWI_EC_REVOKE,
    FWI_ETCD_KEEP_ALIVE = FWI_EC_KEEP_ALIVE,
    FWI_ETCD_WATCH = FWI_EC_METHODS,
    FWI_ETCD_AUTHENTICATE,
    FWI_ETCD_METHODS
} fwi_etcd_method;

typedef struct fwi_etcd_endpoint {
    char *name;   /* host:port, for error texts */
    char *target; /* the same in gRPC's words */
    grpc_channel *channel;
    unsigned tls_generation; /* of the channel's certificates */
    /* Since when each connection was closed before a word was said; 0: the last one was not. */
    uint64_t closed_since_ms;
    void *methods[FWI_ETCD_METHODS];
} fwi_etcd_endpoint;

/* Which version of a file was read. */
typedef struct fwi_etcd_file_id {
    ino_t inode;
    off_t size;
    struct timespec modified;
} fwi_etcd_file_id;

typedef struct fwi_etcd_file {
    char *path; /* NULL: none */
    fwi_etcd_file_id id;
} fwi_etcd_file;

typedef struct fwi_etcd_tls {
    bool wanted;
    fwi_etcd_file cacert, cert, key;
    fwi_ec_pems texts;
    unsigned generation; /* of the texts */
    uint64_t looked_ms;  /* when the files were last looked at */
} fwi_etcd_tls;

/* The user and the token that stands for it: see auth.c. */
typedef struct fwi_etcd_auth {
    char *user, *password;            /* user is NULL: none */
    grpc_slice token;                 /* empty: none */
    unsigned generation;              /* of the token; 0: none was asked for yet */
    struct fwi_etcd_request *request; /* the authentication that is under way */
    fwi_list waiting;                 /* fwi_etcd_auth_wait.node */
    fwi_task answer;
    int error; /* for `answer` to tell */
} fwi_etcd_auth;

typedef struct fwi_etcd_client {
    fwi_ec_store core; /* first: what the front hands to the core's functions is the client */
    fwi_etcd_endpoint *endpoints;
    size_t endpoint_count, current;
    fwi_etcd_queue queue;
    fwi_list requests; /* fwi_etcd_request.node */
    size_t calls;      /* gRPC calls that have not ended */
    fwi_etcd_auth auth;
    fwi_etcd_tls tls;
    struct fwi_etcd_watches *watches;       /* see streams.h */
    struct fwi_etcd_keep_alive *keep_alive; /* the same */
    bool closing, draining;
} fwi_etcd_client;

/* FW_OK, FW_ECANCELED if the client closes, FW_EUNSUPPORTED in a child that was forked after open.
 */
int fwi_etcd_client_check(const fwi_etcd_client *client);
/* To be called when a call has ended. */
void fwi_etcd_client_call_ended(fwi_etcd_client *client);
/* ---- endpoint.c: the members of the cluster ---- */

FW_MUST_CHECK int fwi_etcd_endpoint_init(fwi_etcd_client *client, fwi_etcd_endpoint *endpoint,
                                         const fw_url_host *host);
/* Gives the channel up. */
void fwi_etcd_endpoint_disconnect(fwi_etcd_endpoint *endpoint);
void fwi_etcd_endpoint_fini(fwi_etcd_endpoint *endpoint);
/* An endpoint did not serve: what follows goes to the next one. */
void fwi_etcd_endpoint_failed(fwi_etcd_client *client, size_t endpoint);
/* What the text of a failed call says about an endpoint without a usable connection: FW_ETLS if
 * certificates are the reason, else FW_EUNREACHABLE. */
int fwi_etcd_endpoint_status(fwi_etcd_client *client, size_t endpoint, const char *text);
/* An endpoint has answered. */
void fwi_etcd_endpoint_served(fwi_etcd_client *client, size_t endpoint);
/* Writes "host:port: text", with gRPC's wrapping taken off the text, and what it leaves out said.
 */
void fwi_etcd_describe(const fwi_etcd_client *client, size_t endpoint, const char *text,
                       char *ret_detail, size_t size);

/* ---- call.c: one gRPC call ---- */

typedef struct fwi_etcd_call fwi_etcd_call;

typedef struct fwi_etcd_end {
    grpc_status_code code;
    const char *text;
    bool was_sent;           /* false: the request certainly never left */
    fw_slice message;        /* of a unary call */
    const grpc_slice *slice; /* the same, to take a reference */
} fwi_etcd_end;

typedef struct fwi_etcd_call_handler {
    /* Streams only. The call may be dropped inside. */
    void (*on_message)(fwi_etcd_call *call, fw_slice message, void *arg);
    /* Streams only, may be NULL: the next message may be sent. */
    void (*on_sent)(fwi_etcd_call *call, void *arg);
    /* Last; the call is freed on return. */
    void (*on_end)(fwi_etcd_call *call, const fwi_etcd_end *end, void *arg);
    void *arg;
} fwi_etcd_call_handler;

/* Starts a call that ends by itself after timeout_ms (0: never). It is a stream of replies if its
 * handler has on_message. with_proof: was_sent will tell (otherwise it is true). Callbacks come on
 * the loop, after this has returned. NULL: no memory. */
FW_MUST_CHECK fwi_etcd_call *fwi_etcd_call_start(fwi_etcd_client *client, size_t endpoint,
                                                 fwi_etcd_method method, grpc_slice message,
                                                 uint64_t timeout_ms, bool with_proof,
                                                 const fwi_etcd_call_handler *handler);
/* True while the first message of a stream, or one of fwi_etcd_call_send, has not left. */
bool fwi_etcd_call_is_sending(const fwi_etcd_call *call);
/* Sends a further message of a stream, which must not be sending; on_sent follows, or on_end. */
void fwi_etcd_call_send(fwi_etcd_call *call, grpc_slice message);
/* Ends it soon; on_end comes with what was known. */
void fwi_etcd_call_cancel(fwi_etcd_call *call);
/* Ends it; no callback comes any more. */
void fwi_etcd_call_drop(fwi_etcd_call *call);
/* False if the request has certainly not left; only a call with proof knows. */
bool fwi_etcd_call_was_sent(fwi_etcd_call *call);

/* Bytes as protobuf-c wants them, which does not write to them. */
static inline ProtobufCBinaryData fwi_etcd_bytes(fw_slice slice)
{
    return (ProtobufCBinaryData){slice.len, (uint8_t *)slice.data};
}

/* The bytes of a message, to be unreferenced; empty if there is no memory (no message of ours is).
 */
grpc_slice fwi_etcd_pack(const ProtobufCMessage *message);

/* ---- request.c: unary calls with failover ---- */

/* What is behind an answer's `reply`. */
typedef struct fwi_etcd_reply {
    fw_slice message;
    const grpc_slice *slice; /* the same, to take a reference */
} fwi_etcd_reply;

typedef struct fwi_etcd_request fwi_etcd_request;

typedef struct fwi_etcd_request_options {
    fwi_etcd_method method;
    const ProtobufCMessage *message;
    uint64_t deadline_ms; /* on the loop's clock */
    bool repeatable; /* doing it twice is as good as once: it may be retried after it was sent */
    bool impatient;  /* every endpoint gets one chance, then it fails */
    fwi_ec_answer_fn fn;
    void *arg;
} fwi_etcd_request_options;

/* Starts a request; fn comes once, on the loop, after this has returned. */
FW_MUST_CHECK int fwi_etcd_request_start(fwi_etcd_client *client,
                                         const fwi_etcd_request_options *options,
                                         fwi_etcd_request **ret_request);
/* No answer comes any more. */
void fwi_etcd_request_drop(fwi_etcd_request *request);
/* Answers every request with FW_ECANCELED. */
void fwi_etcd_requests_end(fwi_etcd_client *client);

/* ---- auth.c: users ----
 *
 * If the store was opened with a user, every call and stream carries the token of the moment it was
 * started (call.c adds it). Requests (request.c) get and renew it by themselves. A stream does it
 * like this:
 *
 *     before it is opened    if !fwi_etcd_auth_ready, then fwi_etcd_auth_renew(generation 0), and
 * it is opened in the callback when it is opened      remembers fwi_etcd_auth_generation when it is
 * refused     (its status, or the reason of a canceled watch, is an auth refusal)
 *                            fwi_etcd_auth_renew with what it remembered, then a new stream: the
 * old one keeps the old token
 *
 * etcd 3.4 says "permission denied" also to a watch whose stream has a token that is no longer
 * good. So with a user a watch's denial counts as a refusal unless the stream's token was got for
 * this attempt. */

typedef struct fwi_etcd_auth_wait fwi_etcd_auth_wait;
/* FW_OK: there is a token. FW_EAUTH: wrong user or password, trying again changes nothing. Else the
 * store could not be asked. */
typedef void (*fwi_etcd_auth_fn)(fwi_etcd_auth_wait *wait, int status, const char *detail,
                                 void *arg);
/* In the memory of its owner, with fn and arg set, else zero. */
struct fwi_etcd_auth_wait {
    fwi_list node; /* next == NULL or itself: not waiting */
    fwi_etcd_auth_fn fn;
    void *arg;
};

/* FW_EOPTION: a password without a user. UV_ENOMEM. */
FW_MUST_CHECK int fwi_etcd_auth_init(fwi_etcd_client *client, const fwi_kv_access *access);
void fwi_etcd_auth_fini(fwi_etcd_client *client);
/* True if a call may start: there is a token, or none is needed. */
bool fwi_etcd_auth_ready(const fwi_etcd_client *client);
/* Of the token that a call started now carries. Grows with every new token; 0: none yet. */
unsigned fwi_etcd_auth_generation(const fwi_etcd_client *client);
/* True if etcd has refused because of the token, not of what was asked; so nothing was done, and
 * with a new token it may go. The text alone decides where there is no code (GRPC_STATUS_OK). False
 * if there is no user. */
bool fwi_etcd_is_auth_refusal(const fwi_etcd_client *client, grpc_status_code code,
                              const char *text);
/* Gets a token that is newer than that of this generation: asks the store, once for all who wait,
 * or finds it there. wait->fn comes once, on the loop, in a later turn, within the operation
 * timeout; when the client closes with FW_ECANCELED. */
void fwi_etcd_auth_renew(fwi_etcd_client *client, unsigned generation, fwi_etcd_auth_wait *wait);
/* wait->fn does not come any more. Nothing if it is not waiting. */
void fwi_etcd_auth_wait_cancel(fwi_etcd_auth_wait *wait);

/* ---- tls.c: certificates ---- */

/* Reads and checks the files. FW_ETLS, UV_ENOMEM, the system's error for a file that cannot be
 * read; explained with fwi_kv_open_failed. */
FW_MUST_CHECK int fwi_etcd_tls_init(fwi_etcd_client *client, const fwi_kv_access *access);
void fwi_etcd_tls_fini(fwi_etcd_tls *tls);
/* Reads the files again if they have changed; then the generation grows. */
void fwi_etcd_tls_refresh(fwi_etcd_tls *tls);
/* Without TLS: the ones that encrypt nothing. */
grpc_channel_credentials *fwi_etcd_tls_credentials(const fwi_etcd_tls *tls);

/* ---- transport.c: what the core asks, over gRPC ---- */

extern const fwi_ec_transport fwi_etcd_transport;

/* ---- watch.c, keep_alive.c: what all watches, and all leases, share ---- */

typedef struct fwi_etcd_watches fwi_etcd_watches;
typedef struct fwi_etcd_keep_alive fwi_etcd_keep_alive;

FW_MUST_CHECK int fwi_etcd_watches_init(fwi_etcd_client *client);
FW_MUST_CHECK int fwi_etcd_keep_alive_init(fwi_etcd_client *client);
/* When there are no watches and leases any more, or never were. */
void fwi_etcd_watches_fini(fwi_etcd_client *client);
void fwi_etcd_keep_alive_fini(fwi_etcd_client *client);

/* ---- watch.c, client.c: the driver's functions; the others are the core's ---- */

void fwi_etcd_watch_start(void *store, fw_kv_watch *watch);
void fwi_etcd_watch_stop(void *store, fw_kv_watch *watch);
int fwi_etcd_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store);
void fwi_etcd_close(void *store);
void fwi_etcd_wait(void *store, uint32_t timeout_ms);

#endif
