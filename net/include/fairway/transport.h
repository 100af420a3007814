/*
 * Connections over any transport, named by URL: `tcp://host:port`, `unix:/path`, `mem:name` ...
 * (the README of net has the list). Sessions, RPC and the gateway stand on this; most programs want
 * <fairway/session.h> or <fairway/rpc.h>.
 *
 * A connection carries a stream of bytes, or messages: then each write is one message, which the
 * other end gets as a whole. What a transport can is told by fw_transport_can.
 */
#ifndef FAIRWAY_TRANSPORT_H
#define FAIRWAY_TRANSPORT_H

#include <fairway/buf.h>
#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_conn fw_conn;
typedef struct fw_listener fw_listener;
typedef struct fw_tls fw_tls; /* <fairway/tls.h> */

/* What a transport is able to do. */
typedef enum fw_transport_ability {
    FW_TRANSPORT_STREAM = 1,   /* a stream of bytes */
    FW_TRANSPORT_MESSAGES = 2, /* messages with their boundaries */
    FW_TRANSPORT_RELIABLE = 4, /* all that was written arrives, in order, or the connection ends */
    FW_TRANSPORT_HALF_CLOSE = 8, /* fw_conn_shutdown */
    FW_TRANSPORT_SECURE = 16,    /* encrypted, and the peer can be known */
    FW_TRANSPORT_TLS = 32        /* by TLS: takes an fw_tls */
} fw_transport_ability;

/* The abilities of a URL's scheme, 0 if it is unknown. Any thread. */
FW_API unsigned fw_transport_can(const char *scheme);

/* What a connection reports, always on its loop. on_closed is the last one; the connection is freed
 * after it returns. Any may be NULL. */
typedef struct fw_conn_events {
    /* A dialled connection is open. */
    void (*on_open)(fw_conn *conn, void *arg);
    /* Bytes came; lent until the return. */
    void (*on_data)(fw_conn *conn, const uint8_t *data, size_t len, void *arg);
    /* The outgoing queue went from over high_water_bytes to under half of it. */
    void (*on_drain)(fw_conn *conn, void *arg);
    /* What was queued has been worked on: fw_conn_queued_bytes tells how much is left. */
    void (*on_sent)(fw_conn *conn, void *arg);
    /* The peer has ended its side and still reads. Without this event the connection closes with
     * UV_EOF; with it, it goes on until it is closed, or shut down. */
    void (*on_end)(fw_conn *conn, void *arg);
    /* After fw_conn_shutdown: everything was handed to the kernel, the end as well. */
    void (*on_shutdown)(fw_conn *conn, void *arg);
    /* The connection is over. reason: what fw_conn_close was given, UV_EOF (the peer closed),
     * FW_EDEADLINE (the dial took too long), or the error of the system; fw_conn_errmsg may know
     * more. */
    void (*on_closed)(fw_conn *conn, int reason, void *arg);
} fw_conn_events;

typedef struct fw_conn_options {
    uint32_t dial_timeout_ms; /* 0: 5000 */
    size_t high_water_bytes;  /* 0: 1 MiB; see on_drain and fw_conn_congested */
    bool messages;            /* false: a stream, unless the transport only has messages */
    size_t max_message_bytes; /* 0: 1 MiB. A longer one is not sent (FW_EFRAMESIZE); a longer one
                                 that comes in ends the connection */
    fw_tls *tls; /* for those with FW_TRANSPORT_TLS, instead of their URL's parameters; with others
                    FW_EOPTION; or NULL */
    fw_conn_events events;
    void *arg; /* given to every event */
} fw_conn_options;

/* Begins to connect. Then exactly one of on_open or on_closed comes first, never inside the call.
 * FW_EURL, FW_ESCHEME, FW_EOPTION (a parameter of the URL, or messages that the transport does not
 * have), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_conn_dial(fw_loop *loop, const char *url,
                                      const fw_conn_options *options, fw_conn **ret_conn);

/* Queues a copy of the bytes; they leave together with everything else queued in this turn of the
 * loop, in order. With messages, it is one message. FW_ECLOSED (also after fw_conn_shutdown),
 * FW_EFRAMESIZE, UV_ENOMEM (nothing was queued). There is no limit of the queue here: the caller
 * looks at fw_conn_queued_bytes or fw_conn_congested and has the policy. */
FW_API FW_MUST_CHECK int fw_conn_write(fw_conn *conn, const void *data, size_t len);
/* The same for bytes that many connections share: the queue takes a reference instead of a copy,
 * unless they are few and there is room for them in what it has. */
FW_API FW_MUST_CHECK int fw_conn_write_buf(fw_conn *conn, fw_buf *buf);
/* Room for len bytes at the end of the queue, to be filled before the return to the loop (with
 * messages: for one message); NULL as fw_conn_write's errors. */
FW_API uint8_t *fw_conn_reserve(fw_conn *conn, size_t len);

/* Ends this side: everything queued is sent, then the end; on_shutdown follows. The peer's bytes
 * still come. FW_ECLOSED, FW_EUNSUPPORTED (the transport has no half-close). */
FW_API FW_MUST_CHECK int fw_conn_shutdown(fw_conn *conn);

/* Bytes that were written and are not yet with the kernel; in on_closed: those which were lost. */
FW_API size_t fw_conn_queued_bytes(const fw_conn *conn);
/* True from the moment when the queue passed high_water_bytes until on_drain. */
FW_API bool fw_conn_congested(const fw_conn *conn);

/* Stops and starts the reading: the kernel's window then slows the peer. */
FW_API void fw_conn_read_stop(fw_conn *conn);
FW_API void fw_conn_read_start(fw_conn *conn);

/* Ends the connection: nothing more is read, what the kernel takes at once of the queue is sent,
 * the rest dropped; on_closed(reason) follows. Idempotent (the first reason stands), callable in
 * any event. */
FW_API void fw_conn_close(fw_conn *conn, int reason);

/* Replaces events and argument, for layers that take a connection over. The table is not copied: it
 * must outlive the connection, as one that is static const does. */
FW_API void fw_conn_set_events(fw_conn *conn, const fw_conn_events *events, void *arg);

/* "tcp://127.0.0.1:41210" of the other end, "unix:" if it has no name; "" if it was not asked for
 * while the connection was open. Lives as long as the connection. */
FW_API const char *fw_conn_peer(fw_conn *conn);
FW_API fw_loop *fw_conn_loop(const fw_conn *conn);
/* True if it carries messages, not a stream. */
FW_API bool fw_conn_has_messages(const fw_conn *conn);
/* What is known of the reason of the closing beyond its code (the alert of TLS, the HTTP status of
 * a refusal); "" if nothing. Lives as long as the connection. */
FW_API const char *fw_conn_errmsg(const fw_conn *conn);

typedef struct fw_listener_options {
    int backlog;              /* 0: 1024 (the kernel caps it at net.core.somaxconn) */
    size_t high_water_bytes;  /* for accepted connections; 0: 1 MiB */
    bool messages;            /* as in fw_conn_options, like the next two */
    size_t max_message_bytes; /* 0: 1 MiB */
    fw_tls *tls;
    uint32_t handshake_timeout_ms; /* until an accepted connection is ready; 0: 10000 */
    size_t max_handshakes;         /* at a time; more are closed at once; 0: 4096 */
    /* A connection was accepted, and its handshake is over. The callee sets its events
     * (fw_conn_set_events) before it returns; the reading starts after that. */
    void (*on_accept)(fw_listener *listener, fw_conn *conn, void *arg);
    void (*on_closed)(fw_listener *listener, void *arg); /* last; may be NULL */
    void *arg;
} fw_listener_options;

/* Listens. `tcp://127.0.0.1:0` takes any free port, see fw_listener_url. A stale unix socket
 * (nobody listens) is replaced. FW_EURL, FW_ESCHEME, UV_EADDRINUSE, UV_EACCES, ... */
FW_API FW_MUST_CHECK int fw_listener_new(fw_loop *loop, const char *url,
                                         const fw_listener_options *options,
                                         fw_listener **ret_listener);
/* The URL that is listened on, with the real port. Lives as long as the listener. */
FW_API const char *fw_listener_url(const fw_listener *listener);
/* Stops listening; accepted connections go on. Idempotent; freed after on_closed. */
FW_API void fw_listener_close(fw_listener *listener);

FW_END_DECLS

#endif
