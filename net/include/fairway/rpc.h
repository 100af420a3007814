/*
 * Remote calls: request and response, one-way notifications, pings and subscriptions, in both
 * directions on one connection of any transport. The engine is one; what is on the wire is the
 * protocol's, chosen by its name (net/rpc/README.md has the list and what each is able to tell).
 *
 * Every call ends exactly once: with a reply, an error of the peer, its deadline, or the
 * connection.
 */
#ifndef FAIRWAY_RPC_H
#define FAIRWAY_RPC_H

#include <fairway/session.h>

FW_BEGIN_DECLS

typedef struct fw_rpc fw_rpc;                 /* one end of a connection */
typedef struct fw_rpc_router fw_rpc_router;   /* the methods that an end offers */
typedef struct fw_rpc_request fw_rpc_request; /* one request, at the end that answers */
typedef struct fw_rpc_server fw_rpc_server;
typedef struct fw_rpc_topics fw_rpc_topics; /* who has subscribed to what, at the serving end */

/* A metadata entry; names and values are UTF-8. */
typedef struct fw_rpc_field {
    fw_slice name, value;
} fw_rpc_field;

/* Error codes on the wire that are not of an application (which has LogicError set and its own
 * codes). */
enum {
    FW_RPC_CODE_INTERNAL = 1,  /* walle's "unkown error" */
    FW_RPC_CODE_MALFORMED = 3, /* the request cannot be read */
    FW_RPC_CODE_TIMEOUT = 5,   /* its deadline had come before it was run */
    FW_RPC_CODE_NO_METHOD = 9, /* ours, like the next: walle leaves the caller to its timeout */
    FW_RPC_CODE_BUSY = 10      /* too many requests in work (max_requests) */
};

/* Metadata of a request with the time that its caller waits, in ms, as decimal digits: see
 * tell_deadlines. */
#define FW_RPC_TIMEOUT_FIELD    "fw-timeout-ms"

#define FW_RPC_MAX_INTERCEPTORS 16

/* What is sent: a call or a notification. */
typedef struct fw_rpc_message {
    const char *method; /* by name; NULL: by number */
    uint32_t number;
    fw_slice body;
    const fw_rpc_field *metadata;
    size_t metadata_count; /* at most 64 */
    uint32_t timeout_ms;   /* of a call; 0: the connection's default */
} fw_rpc_message;

/* How a call ended; lent to the callback. */
typedef struct fw_rpc_result {
    /* FW_OK; FW_EREMOTE (the peer answered with an error: code, text); FW_EDEADLINE; FW_ECANCELED;
     * FW_ELOST (the connection ended while the call was in flight: the peer may have acted on it);
     * FW_EPACKET (the answer cannot be read); or why the connection never opened (UV_ECONNREFUSED,
     * ...): then the call was not sent. */
    int status;
    fw_slice body;
    int64_t code;
    bool logic; /* an error of the application, not of the machinery */
    const char *text;
    const fw_rpc_field *metadata;
    size_t metadata_count;
} fw_rpc_result;
typedef void (*fw_rpc_done_fn)(const fw_rpc_result *result, void *arg);

/* Encoding of error answers; both are understood. walle uses that of its messages. */
typedef enum fw_rpc_error_format { FW_RPC_ERRORS_JSON, FW_RPC_ERRORS_PROTOBUF } fw_rpc_error_format;

/* ---- methods ---- */

/* Answers a request: before it returns with fw_rpc_reply or fw_rpc_fail, or later after
 * fw_rpc_request_keep. A request that gets neither is answered with FW_RPC_CODE_INTERNAL. */
typedef void (*fw_rpc_handler_fn)(fw_rpc_request *request, void *arg);

FW_API FW_MUST_CHECK int fw_rpc_router_create(fw_rpc_router **ret_router);
/* After the last connection that uses it. NULL is fine. */
FW_API void fw_rpc_router_destroy(fw_rpc_router *router);
/* FW_EEXISTS, UV_ENOMEM, FW_EOPTION (empty name, number 0). A request with both is routed by its
 * number if that is known, else by its name. */
FW_API FW_MUST_CHECK int fw_rpc_router_add(fw_rpc_router *router, const char *method,
                                           fw_rpc_handler_fn handler, void *arg);
FW_API FW_MUST_CHECK int fw_rpc_router_add_number(fw_rpc_router *router, uint32_t number,
                                                  fw_rpc_handler_fn handler, void *arg);
/* Adds a step before every handler of the router, and before subscriptions and pings that are
 * calls; they run in the order of adding. A step goes on
 * with fw_rpc_request_next (at once, or later with a kept request), or answers by itself: then
 * neither the later steps nor the handler run. FW_ELIMIT: there are FW_RPC_MAX_INTERCEPTORS. */
FW_API FW_MUST_CHECK int fw_rpc_router_use(fw_rpc_router *router, fw_rpc_handler_fn middleware,
                                           void *arg);
/* Goes on to the next step, or to the handler; of a kept request that was canceled meanwhile,
 * ends it. A kept request may be gone when this returns; one that is run this way must be answered.
 */
FW_API void fw_rpc_request_next(fw_rpc_request *request);

/* What was asked; borrowed from the request. */
FW_API fw_slice fw_rpc_request_method(const fw_rpc_request *request);
FW_API uint32_t fw_rpc_request_number(const fw_rpc_request *request);
FW_API fw_slice fw_rpc_request_body(const fw_rpc_request *request);
/* Value of a metadata entry; data is NULL if there is none. */
FW_API fw_slice fw_rpc_request_metadata(const fw_rpc_request *request, const char *name);
/* True for a notification: an answer to it is dropped. */
FW_API bool fw_rpc_request_is_oneway(const fw_rpc_request *request);
/* The connection it came on, for calls back; NULL once that is closed. */
FW_API fw_rpc *fw_rpc_request_peer(const fw_rpc_request *request);
/* What is left of the time that the caller waits; UINT64_MAX if it has not told it. */
FW_API uint64_t fw_rpc_request_remaining_ms(const fw_rpc_request *request);
/* Copies the request, to be answered after the handler has returned. The copy must be answered;
 * that frees it, also when the connection is gone. It keeps the loop alive. NULL: no memory. */
FW_API fw_rpc_request *fw_rpc_request_keep(fw_rpc_request *request);

/* True when nobody waits for the answer any more: the caller has canceled it, its deadline has
 * come, or the connection is gone. Any thread, before the answer. */
FW_API bool fw_rpc_request_is_canceled(const fw_rpc_request *request);
/* Calls fn when that happens to a kept request, which must still be answered, there or later.
 * UV_EINVAL: it is not kept. */
typedef void (*fw_rpc_cancel_fn)(fw_rpc_request *request, void *arg);
FW_API FW_MUST_CHECK int fw_rpc_request_on_cancel(fw_rpc_request *request, fw_rpc_cancel_fn fn,
                                                  void *arg);

/* Answer a request, once. FW_ECLOSED (connection gone), FW_ECANCELED (nobody waits any more),
 * FW_EFRAMESIZE and FW_ELIMIT (the caller gets an error instead), FW_EUNSUPPORTED (the protocol has
 * no errors), UV_ENOMEM. */
FW_API int fw_rpc_reply(fw_rpc_request *request, fw_slice body);
/* code: the application's own, not 0. text: UTF-8. What of them the caller gets depends on the
 * protocol. */
FW_API int fw_rpc_fail(fw_rpc_request *request, int64_t code, const char *text);
/* The same for a kept request, of a copy of body or text, from any thread: the answer is sent on
 * the loop. UV_EINVAL (it is not kept) and UV_ENOMEM: it is still to be answered. */
FW_API FW_MUST_CHECK int fw_rpc_post_reply(fw_rpc_request *request, fw_slice body);
FW_API FW_MUST_CHECK int fw_rpc_post_fail(fw_rpc_request *request, int64_t code, const char *text);

/* ---- connections ---- */

/* Around the calls and notifications that an end makes. */
typedef struct fw_rpc_interceptor {
    /* Before one is sent. May change *message, which is a copy; what it is made to point to must
     * live until the call was made. *ret_state is NULL and is given to after. Not 0: that error is
     * the call's, and nothing is sent. May be NULL. */
    int (*before)(fw_rpc *rpc, fw_rpc_message *message, void **ret_state, void *arg);
    /* When a call has ended, before its callback; of a notification when it was given to the
     * connection; also when it could not be sent. May be NULL. */
    void (*after)(fw_rpc *rpc, const fw_rpc_result *result, void *state, void *arg);
    void *arg;
} fw_rpc_interceptor;

typedef struct fw_rpc_options {
    /* NULL: "walle". "fly-v1", "fly-0.4", "fly-0.3", "fly-v0", "fly-seed". At a server several,
     * with commas: which one a peer speaks is told by its first bytes, in this order. FW_EOPTION:
     * unknown, or they cannot be told apart (fly-0.3 and fly-0.4; fly-v0 and fly-seed). */
    const char *protocol;
    fw_rpc_router *router; /* what this end offers; NULL: nothing. Must outlive the connection. */
    fw_rpc_topics *topics; /* where peers may subscribe; NULL: nowhere. Must outlive it, too. */
    /* The first is the outermost. At most FW_RPC_MAX_INTERCEPTORS. Must outlive the connection. */
    const fw_rpc_interceptor *interceptors;
    size_t interceptor_count;
    bool tell_deadlines; /* with each call, as FW_RPC_TIMEOUT_FIELD, if the protocol has metadata */
    uint32_t call_timeout_ms; /* default of calls; 0: 5000 */
    uint32_t dial_timeout_ms; /* 0: 5000 */
    uint32_t max_frame_bytes; /* 0: 1 MiB */
    size_t max_queue_bytes;   /* outgoing; 0: 16 MiB */
    uint32_t max_in_flight;   /* calls; 0: 65536; also bounded by the protocol's sequences */
    uint32_t max_requests;    /* kept ones of the peer; 0: 65536; more are refused */
    fw_rpc_error_format error_format;
    void (*on_open)(fw_rpc *rpc, void *arg);               /* dialled connections; may be NULL */
    void (*on_closed)(fw_rpc *rpc, int reason, void *arg); /* last; may be NULL */
    void *arg;
} fw_rpc_options;

/* Connects. Calls may be made at once; they are sent when the connection opens. Errors as
 * fw_session_dial. */
FW_API FW_MUST_CHECK int fw_rpc_dial(fw_loop *loop, const char *url, const fw_rpc_options *options,
                                     fw_rpc **ret_rpc);
/* Ends the connection: calls in flight end with FW_ECANCELED, then on_closed. Idempotent. */
FW_API void fw_rpc_close(fw_rpc *rpc);
/* Stays the same for the life of the connection. */
FW_API const char *fw_rpc_peer(fw_rpc *rpc);
FW_API size_t fw_rpc_in_flight(const fw_rpc *rpc);
/* "walle" or another; static storage. */
FW_API const char *fw_rpc_protocol_name(const fw_rpc *rpc);

/* Calls. *ret_call (may be NULL) gets a number for fw_rpc_cancel. FW_ECLOSED, FW_EFRAMESIZE,
 * FW_ELIMIT (too many calls in flight, or the queue is full), FW_EOPTION (neither method nor
 * number, or the protocol has no such thing), UV_ENOMEM, an interceptor's. */
FW_API FW_MUST_CHECK int fw_rpc_call(fw_rpc *rpc, const fw_rpc_message *message,
                                     fw_rpc_done_fn done, void *arg, uint64_t *ret_call);
/* Ends a call with FW_ECANCELED in a later turn; its answer is dropped, and the peer is told if the
 * protocol can tell it. FW_ENOTFOUND: it has ended. */
FW_API int fw_rpc_cancel(fw_rpc *rpc, uint64_t call);
/* Sends without an answer. Errors as fw_rpc_call. */
FW_API FW_MUST_CHECK int fw_rpc_notify(fw_rpc *rpc, const fw_rpc_message *message);
/* Sends bytes that come back in the result. Where the protocol has no pings it is a call of the
 * method "fw.ping", which peers of another making answer with an error (FW_EREMOTE: alive), or not
 * at all. timeout_ms 0: the connection's. Errors as fw_rpc_call. */
FW_API FW_MUST_CHECK int fw_rpc_ping(fw_rpc *rpc, fw_slice payload, uint32_t timeout_ms,
                                     fw_rpc_done_fn done, void *arg);

typedef struct fw_rpc_server_options {
    fw_rpc_options connection; /* for each connection; on_open is not used */
    size_t max_connections;    /* 0: 100,000 */
    void (*on_connection)(fw_rpc_server *server, fw_rpc *rpc, void *arg); /* may be NULL */
    void (*on_closed)(fw_rpc_server *server, void *arg);                  /* last; may be NULL */
    void *arg;
} fw_rpc_server_options;

/* Listens and serves. Errors as fw_server_new. */
FW_API FW_MUST_CHECK int fw_rpc_server_new(fw_loop *loop, const char *url,
                                           const fw_rpc_server_options *options,
                                           fw_rpc_server **ret_server);
FW_API const char *fw_rpc_server_url(const fw_rpc_server *server);
/* Stops and closes all connections; on_closed follows. Idempotent. */
FW_API void fw_rpc_server_close(fw_rpc_server *server);

/* ---- topics ---- */

/* A message of a topic; lent until the return. */
typedef void (*fw_rpc_topic_fn)(fw_rpc *rpc, fw_slice topic, fw_slice body, void *arg);

typedef struct fw_rpc_subscription {
    const char *topic; /* 1 to 200 bytes, no line feed */
    const char *group; /* the same; NULL: in none */
    fw_rpc_topic_fn on_message;
    void *arg;
} fw_rpc_subscription;

/* Subscribes at the peer, for the life of the connection. done (may be NULL) as of fw_rpc_call: an
 * error of the peer means that there is no subscription. Errors as fw_rpc_call, FW_EEXISTS,
 * FW_EOPTION (a name, or the protocol has no names). */
FW_API FW_MUST_CHECK int fw_rpc_subscribe(fw_rpc *rpc, const fw_rpc_subscription *subscription,
                                          fw_rpc_done_fn done, void *arg);
/* No message comes after this, whatever it returns. FW_ENOTFOUND; others as fw_rpc_notify. */
FW_API int fw_rpc_unsubscribe(fw_rpc *rpc, const char *topic);

/* Who has subscribed at this end, on the connections which have it in their options; all on one
 * loop. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_rpc_topics_create(fw_rpc_topics **ret_topics);
/* After the last connection. NULL is fine. */
FW_API void fw_rpc_topics_destroy(fw_rpc_topics *topics);
/* To every subscriber, or to those in no group and to one of each group, in turn. */
typedef enum fw_rpc_audience { FW_RPC_ALL, FW_RPC_ONE_OF_EACH_GROUP } fw_rpc_audience;
/* Sends to those who have subscribed. One whose queue is full gets nothing; another of its group
 * is taken if there is one. *ret_count (may be NULL): to how many. FW_EOPTION: the name. */
FW_API FW_MUST_CHECK int fw_rpc_topics_publish(fw_rpc_topics *topics, const char *topic,
                                               fw_slice body, fw_rpc_audience audience,
                                               size_t *ret_count);

FW_END_DECLS

#endif
