/* What the parts of the driver for etcd's JSON gateway share. See client.c for the design. */
#ifndef FWI_ETCD_HTTP_H
#define FWI_ETCD_HTTP_H

#include "curl_loop.h"
#include "etcd_core.h"
#include "json.h"

#include <uv.h>

#define FWI_EH_DETAIL_BYTES 320
/* A reply, or a message of a stream, that is longer is not taken. */
#define FWI_EH_MAX_REPLY_BYTES ((size_t)64 << 20)

typedef struct fwi_eh_client fwi_eh_client;

typedef struct fwi_eh_endpoint {
    fwi_eh_client *client;
    char *name; /* host:port, for error texts */
    char *url;  /* http://host:port */
    /* health.c */
    bool answers; /* it has answered since it last failed */
    uint64_t heard_ms;
    unsigned hangups; /* in a row, right after a handshake: see call.c */
    fwi_list guards;
    struct fwi_eh_call *check;
    fwi_timer timer;
} fwi_eh_endpoint;

/* The headers of requests, with a token or without; shared by the calls that use them. */
typedef struct fwi_eh_headers {
    unsigned references;
    struct curl_slist *list;
} fwi_eh_headers;

/* The calls on curl's multi handle: see multi.c. */
typedef struct fwi_eh_multi {
    fwi_curl_loop curl;
    fwi_list ready;   /* calls that have something to say */
    fwi_list waiting; /* calls that wait for a connection */
    size_t active;    /* calls that count against the bound */
    size_t streams;   /* open ones */
    CURL *idle[64];   /* easy handles to be used again */
    size_t idle_count;
} fwi_eh_multi;

typedef struct fwi_eh_auth {
    char *user, *password; /* NULL: none */
    fwi_eh_headers *plain; /* without a token */
    fwi_eh_headers *signed_in;
    bool not_needed; /* the store has no users */
    unsigned generation;
    fwi_list waiters;
    struct fwi_eh_request *request;
    fwi_task tell;
    uint64_t refused_until_ms;
    int refusal; /* FW_OK, or why the last authentication failed at once or is not tried now */
    char detail[FWI_EH_DETAIL_BYTES]; /* of the last authentication that failed */
} fwi_eh_auth;

struct fwi_eh_client {
    fwi_ec_store core; /* first: what the front hands to the core's functions is the client */
    fwi_eh_endpoint *endpoints;
    size_t endpoint_count, current;
    bool is_tls;
    char *cacert, *cert, *key;
    fwi_eh_multi multi;
    fwi_eh_auth auth;
    fwi_list requests; /* fwi_eh_request.node */
    bool closing;
};

/* ---- client.c ---- */

int fwi_eh_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store);
void fwi_eh_close(void *store);
/* An endpoint did not serve: what follows goes to the next one. */
void fwi_eh_endpoint_failed(fwi_eh_client *client, size_t endpoint);
/* Goes on with closing: called when one of libuv's handles is gone. */
void fwi_eh_continue_close(fwi_eh_client *client);

/* ---- multi.c: curl on the loop ---- */

FW_MUST_CHECK int fwi_eh_multi_init(fwi_eh_client *client);
/* No call may be under way. fwi_eh_continue_close is called when the last poll is closed. */
void fwi_eh_multi_end(fwi_eh_client *client);
/* An easy handle with the options that all calls share. NULL: no memory. */
CURL *fwi_eh_easy_take(fwi_eh_client *client);
void fwi_eh_easy_give_back(fwi_eh_client *client, CURL *easy);
/* The number of streams has changed: curl keeps room for the connections of the others. */
void fwi_eh_multi_resize(fwi_eh_client *client);

/* ---- call.c: one exchange over HTTP ---- */

typedef struct fwi_eh_call fwi_eh_call;

typedef enum fwi_eh_outcome {
    FWI_EH_ANSWERED, /* by etcd: code, text, json */
    FWI_EH_NOT_SENT, /* the request certainly never left */
    FWI_EH_LOST,     /* it may have been carried out */
    FWI_EH_NO_TLS,   /* a certificate was not accepted, by us or by the server; nothing was done */
    FWI_EH_TOO_LONG  /* a reply, or a message of a stream, over FWI_EH_MAX_REPLY_BYTES */
} fwi_eh_outcome;

typedef struct fwi_eh_end {
    fwi_eh_outcome outcome;
    int code; /* gRPC's; 0: done */
    const char *text;
    cJSON *json; /* the reply; NULL if there is none */
    size_t bytes;
} fwi_eh_end;

typedef struct fwi_eh_call_handler {
    /* Streams only: one message. The call may be dropped inside. */
    void (*on_message)(fwi_eh_call *call, fw_slice message, void *arg);
    /* Last; the call is freed on return. */
    void (*on_end)(fwi_eh_call *call, const fwi_eh_end *end, void *arg);
    void *arg;
} fwi_eh_call_handler;

typedef struct fwi_eh_call_options {
    size_t endpoint;
    const char *path;
    fw_slice body;           /* lent until the end */
    fwi_eh_headers *headers; /* a reference is taken */
    bool once; /* must not be sent twice: curl would do so by itself on a connection that it had */
    bool urgent; /* does not wait for one of the connections that calls share */
} fwi_eh_call_options;

/* Starts a call; it is a stream if its handler has on_message. It does not end by itself while the
 * server says nothing. Callbacks come on the loop, after this has returned. NULL: no memory. */
FW_MUST_CHECK fwi_eh_call *fwi_eh_call_start(fwi_eh_client *client,
                                             const fwi_eh_call_options *options,
                                             const fwi_eh_call_handler *handler);
void fwi_eh_headers_release(fwi_eh_headers *headers);
/* Ends it; no callback comes any more. */
void fwi_eh_call_drop(fwi_eh_call *call);
bool fwi_eh_call_was_sent(const fwi_eh_call *call);
/* For multi.c: says what a call in the list `ready` has to say. */
void fwi_eh_call_speak(fwi_eh_call *call);
/* For multi.c: curl is through with it. */
void fwi_eh_call_finished(fwi_eh_call *call, CURLcode result);
fwi_eh_call *fwi_eh_call_of_ready(fwi_list *node);

/* ---- health.c: which endpoints are alive ---- */

/* Something on an endpoint that wants to know when it falls silent. */
typedef struct fwi_eh_guard {
    fwi_list node;
    void (*on_silence)(void *arg);
    void *arg;
} fwi_eh_guard;

void fwi_eh_health_init(fwi_eh_endpoint *endpoint, fwi_eh_client *client);
void fwi_eh_health_end(fwi_eh_endpoint *endpoint);
void fwi_eh_health_heard(fwi_eh_endpoint *endpoint);
void fwi_eh_guard_add(fwi_eh_endpoint *endpoint, fwi_eh_guard *guard);
void fwi_eh_guard_remove(fwi_eh_guard *guard);
/* A cheap question that every server answers, whatever it thinks of us. */
FW_MUST_CHECK fwi_eh_call *fwi_eh_health_ask(fwi_eh_client *client, size_t endpoint,
                                             const fwi_eh_call_handler *handler);

/* ---- auth.c: the token ---- */

typedef struct fwi_eh_token_waiter {
    fwi_list node;
    void (*fn)(int status, const char *detail, void *arg);
    void *arg;
} fwi_eh_token_waiter;

FW_MUST_CHECK int fwi_eh_auth_init(fwi_eh_client *client, const fwi_kv_access *access);
void fwi_eh_auth_fini(fwi_eh_client *client);
/* The headers for a call, or NULL if a token has to be waited for. */
fwi_eh_headers *fwi_eh_auth_headers(fwi_eh_client *client);
/* Waits for a token; authenticates if nobody does already. fn comes once, after this has returned,
 * unless the waiter is removed from its list before. */
void fwi_eh_auth_wait(fwi_eh_client *client, fwi_eh_token_waiter *waiter);
/* A call was refused for its token (see fwi_eh_is_auth_refusal), which was of this generation. */
void fwi_eh_auth_refused(fwi_eh_client *client, unsigned generation);
/* True if etcd has refused, without doing anything, because of the token. */
bool fwi_eh_is_auth_refusal(int code, const char *text);
/* What keeps the authentication that is under way from ending; "" if nothing is known. */
const char *fwi_eh_auth_trouble(const fwi_eh_client *client);

/* ---- request.c: unary calls with failover ---- */

/* What is behind an answer's `reply`. */
typedef struct fwi_eh_reply {
    int code; /* etcd's; there also if it is an error */
    cJSON *json;
    size_t bytes; /* that it had on the wire */
} fwi_eh_reply;

typedef struct fwi_eh_request fwi_eh_request;

typedef struct fwi_eh_request_options {
    const char *path;
    fwi_eh_text *body;    /* taken over, whatever is returned */
    uint64_t deadline_ms; /* on the loop's clock */
    bool repeatable; /* doing it twice is as good as once: it may be retried after it was sent */
    bool impatient;  /* every endpoint gets one chance, then it fails */
    bool urgent;     /* see fwi_eh_call_options */
    bool is_secret;  /* the credentials: goes without a token, and no copy is left behind */
    fwi_ec_answer_fn fn;
    void *arg;
} fwi_eh_request_options;

/* Starts a request; fn comes once, on the loop, after this has returned. */
FW_MUST_CHECK int fwi_eh_request_start(fwi_eh_client *client, const fwi_eh_request_options *options,
                                       fwi_eh_request **ret_request);
/* No answer comes any more. */
void fwi_eh_request_drop(fwi_eh_request *request);
/* Answers every request with FW_ECANCELED. */
void fwi_eh_requests_end(fwi_eh_client *client);
/* Why the last attempt failed; "" if none did. */
const char *fwi_eh_request_trouble(const fwi_eh_request *request);
/* Writes "host:port: text". */
void fwi_eh_describe(const fwi_eh_client *client, size_t endpoint, const char *text,
                     char *ret_detail, size_t size);

/* ---- transport.c: what the core asks, as JSON ---- */

extern const fwi_ec_transport fwi_eh_transport;

/* Writes `"key":...`, and `,"range_end":...` if there is one. */
void fwi_eh_keys_write(fw_slice key, fw_slice end, fwi_eh_text *text);

/* ---- watch.c: functions of the driver; the others are the core's ---- */

void fwi_eh_watch_start(void *store, fw_kv_watch *watch);
void fwi_eh_watch_stop(void *store, fw_kv_watch *watch);

#endif
