/*
 * Remote calls over a session: request and response, and one-way notifications, in both directions
 * on one connection. The protocol is walle's packet (net/rpc/walle/README.md has the table).
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

/* A metadata entry; names and values are UTF-8. */
typedef struct fw_rpc_field {
    fw_slice name, value;
} fw_rpc_field;

/* Error codes on the wire that are not of an application (which has LogicError set and its own
 * codes). */
enum {
    FW_RPC_CODE_INTERNAL = 1, /* walle's "unkown error" */
    FW_RPC_CODE_NO_METHOD = 9 /* ours: walle leaves the caller to its timeout */
};

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
/* Copies the request, to be answered after the handler has returned, on the loop. The copy must be
 * answered; that frees it, also when the connection is gone. NULL: no memory. */
FW_API fw_rpc_request *fw_rpc_request_keep(fw_rpc_request *request);

/* Answer a request, once. FW_ECLOSED (connection gone), FW_EFRAMESIZE and FW_ELIMIT (the caller
 * gets an error instead), UV_ENOMEM. */
FW_API int fw_rpc_reply(fw_rpc_request *request, fw_slice body);
/* code: the application's own, not 0. text: UTF-8. */
FW_API int fw_rpc_fail(fw_rpc_request *request, int64_t code, const char *text);

/* ---- connections ---- */

typedef struct fw_rpc_options {
    fw_rpc_router *router; /* what this end offers; NULL: nothing. Must outlive the connection. */
    uint32_t call_timeout_ms; /* default of calls; 0: 5000 */
    uint32_t dial_timeout_ms; /* 0: 5000 */
    uint32_t max_frame_bytes; /* 0: 1 MiB */
    size_t max_queue_bytes;   /* outgoing; 0: 16 MiB */
    uint32_t max_in_flight;   /* calls; 0: 65536 */
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

/* Calls. *ret_call (may be NULL) gets a number for fw_rpc_cancel. FW_ECLOSED, FW_EFRAMESIZE,
 * FW_ELIMIT (too many calls in flight, or the queue is full), FW_EOPTION (neither method nor
 * number), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_rpc_call(fw_rpc *rpc, const fw_rpc_message *message,
                                     fw_rpc_done_fn done, void *arg, uint64_t *ret_call);
/* Ends a call with FW_ECANCELED in a later turn; its answer is dropped. FW_ENOTFOUND: it has ended.
 */
FW_API int fw_rpc_cancel(fw_rpc *rpc, uint64_t call);
/* Sends without an answer. Errors as fw_rpc_call. */
FW_API FW_MUST_CHECK int fw_rpc_notify(fw_rpc *rpc, const fw_rpc_message *message);

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

FW_END_DECLS

#endif
