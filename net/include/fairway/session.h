/*
 * Sessions: connections that carry whole frames. A server makes one of every connection that it
 * accepts; fw_session_dial makes one that may come back by itself when its connection is lost.
 */
#ifndef FAIRWAY_SESSION_H
#define FAIRWAY_SESSION_H

#include <fairway/buf.h>
#include <fairway/compress.h>
#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_session fw_session;
typedef struct fw_server fw_server;
typedef struct fw_tls fw_tls; /* <fairway/tls.h> */

#define FW_MAX_HEADER_BYTES 32

/* A framing of one's own: a header that tells how long the payload after it is. Neither function
 * may remember anything from one call to the next. */
typedef struct fw_framing_ops {
    uint16_t max_header_bytes; /* 1 to FW_MAX_HEADER_BYTES */
    /* Reads a header out of the first len bytes of a frame (1 to max_header_bytes of them). Returns
     * the header's length and sets *ret_payload_bytes; 0: more bytes are needed; an error, as
     * FW_EPROTOCOL, ends the session. */
    int (*parse)(const uint8_t *data, size_t len, uint64_t *ret_payload_bytes, void *arg);
    /* Writes the header of a payload. Returns its length, or FW_EFRAMESIZE. */
    int (*write)(uint8_t *ret_header, uint64_t payload_bytes, void *arg);
    void *arg;
} fw_framing_ops;

/* How frames are told apart. Zero-initialised: a length of 4 bytes, little-endian, which counts the
 * payload only (what walle speaks). FW_EOPTION if more than one way is asked for. */
typedef struct fw_framing {
    uint8_t length_bytes; /* 1, 2, 4 or 8; 0: 4 */
    bool big_endian;
    bool messages;                /* each message of the transport is a frame (ws, udp) */
    uint32_t max_frame_bytes;     /* longer frames end the session with FW_EFRAMESIZE; 0: 1 MiB */
    const fw_framing_ops *custom; /* must outlive the session; NULL: as above */
} fw_framing;

/* Events, on the loop; on_closed is the last, the session is freed after it. Any may be NULL. */
typedef struct fw_session_events {
    /* Dialled sessions only: connected, also each time after on_lost. */
    void (*on_open)(fw_session *session, void *arg);
    /* A whole frame; lent until the return. */
    void (*on_frame)(fw_session *session, const uint8_t *data, size_t len, void *arg);
    /* The outgoing queue has room again after a send answered FW_ELIMIT. */
    void (*on_drain)(fw_session *session, void *arg);
    /* Sessions that reconnect: the connection is gone or could not be made, the next attempt comes
     * after a wait. What was given to the connection may or may not have arrived. */
    void (*on_lost)(fw_session *session, int reason, void *arg);
    void (*on_closed)(fw_session *session, int reason, void *arg);
} fw_session_events;

/* Ends of sessions that have gone quiet, in ms from the last such event; 0: never. */
typedef struct fw_session_timeouts {
    uint32_t read_ms;  /* nothing was received: FW_EIDLE */
    uint32_t idle_ms;  /* nothing was received and nothing sent: FW_EIDLE */
    uint32_t write_ms; /* bytes wait to be sent and the peer took none: FW_ESLOW */
} fw_session_timeouts;

/* Sessions that come back. */
typedef struct fw_session_reconnect {
    bool enabled;
    uint32_t base_ms;      /* of the first wait, which is jittered; 0: 100 */
    uint32_t max_ms;       /* of any wait; 0: 5000 */
    uint32_t max_attempts; /* in a row, then the session closes with the last reason; 0: for ever */
    /* Of frames sent while there is no connection. false: kept within the limits and sent when it
     * opens; true: refused with FW_ECLOSED. (What a connection had taken when it broke is not sent
     * again: it may have arrived.) */
    bool refuse_while_down;
} fw_session_reconnect;

typedef struct fw_session_options {
    fw_framing framing;
    uint32_t dial_timeout_ms;  /* 0: 5000 */
    size_t max_queue_bytes;    /* outgoing, 0: 16 MiB; a send beyond answers FW_ELIMIT */
    uint32_t max_queue_frames; /* 0: by bytes only */
    fw_session_timeouts timeouts;
    fw_compression compression; /* what comes out must fit max_frame_bytes, too */
    fw_session_reconnect reconnect;
    fw_tls *tls; /* as in fw_conn_options; must outlive the session */
    fw_session_events events;
    void *arg;
} fw_session_options;

/* Connects to a URL of any transport; then on_open or on_closed. FW_EURL, FW_ESCHEME, FW_EOPTION,
 * UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_dial(fw_loop *loop, const char *url,
                                         const fw_session_options *options,
                                         fw_session **ret_session);

/* ---- sending ---- */

/* Queues a copy of a frame; sent with everything else of this turn. May be called before on_open.
 * FW_ECLOSED, FW_EFRAMESIZE, FW_ELIMIT (queue full; on_drain tells when to go on), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_send(fw_session *session, const void *data, size_t len);

/* How a frame ended. FW_OK: handed to the kernel. FW_EDEADLINE: not yet, in time; it stays in the
 * queue and may still leave (close the session if it must not). FW_ECLOSED: the session ended, or
 * its connection was lost, with the frame in the queue; part of it may have left. FW_ELIMIT (of
 * broadcasts): it was not queued. */
typedef void (*fw_session_sent_fn)(fw_session *session, int status, void *arg);
/* The same, and tells once how it ended. timeout_ms 0: no deadline but the session's. Errors as
 * fw_session_send; then sent is not called. */
FW_API FW_MUST_CHECK int fw_session_send_async(fw_session *session, const void *data, size_t len,
                                               uint32_t timeout_ms, fw_session_sent_fn sent,
                                               void *arg);
/* Bytes that were sent and that the kernel has not taken. */
FW_API size_t fw_session_queued_bytes(const fw_session *session);

/* ---- a session's life ---- */

/* Ends the session: of what waits, the kernel gets what it takes at once; on_closed(reason)
 * follows. Idempotent, callable in any event. */
FW_API void fw_session_close(fw_session *session, int reason);
/* Takes no more frames to send, and closes with FW_ECANCELED when all that waits has been handed
 * to the kernel, or with FW_EDEADLINE after deadline_ms (0: 5000). UV_ENOMEM: closed at once. */
FW_API void fw_session_finish(fw_session *session, uint32_t deadline_ms);

/* Stops and starts the reading, also of connections to come, which slows the peer. Frames that came
 * with those which were already read still arrive. */
FW_API void fw_session_read_stop(fw_session *session);
FW_API void fw_session_read_start(fw_session *session);

/* Sends a frame every interval_ms, the first after one interval; interval_ms 0 stops it. With
 * misses, the connection ends with FW_EIDLE when that many beats in a row were sent and nothing has
 * come within an interval of the last (0: never). While it runs, the same interval with other data
 * keeps the rhythm, another interval begins anew. A beat that finds the queue full is left out.
 * FW_ECLOSED, FW_EFRAMESIZE, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_set_heartbeat(fw_session *session, uint32_t interval_ms,
                                                  const void *data, size_t len, uint32_t misses);
/* Counted from now. FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_set_timeouts(fw_session *session,
                                                 const fw_session_timeouts *timeouts);

/* Replaces events and argument, for layers that take a session over. The table is not copied: it
 * must outlive the session, as one that is static const does. */
FW_API void fw_session_set_events(fw_session *session, const fw_session_events *events, void *arg);
/* Binds something of the user's, which destroy (may be NULL) is given when the session ends, after
 * on_closed, or when it is replaced. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_set_data(fw_session *session, void *data,
                                             void (*destroy)(void *data));
FW_API void *fw_session_get_data(const fw_session *session);
/* Unique in the process, never used again. */
FW_API uint64_t fw_session_id(const fw_session *session);
/* URL of the other end; "" while there is no connection. Lives as long as the connection. */
FW_API const char *fw_session_peer(fw_session *session);
FW_API fw_loop *fw_session_loop(const fw_session *session);
/* Neither closing nor finishing. */
FW_API bool fw_session_is_open(const fw_session *session);

/* ---- broadcasts, to the sessions of a server or a channel ---- */

typedef struct fw_broadcast {
    const void *data; /* framed (and packed) once, and shared by all queues */
    size_t len;
    const fw_session *except; /* is left out, as its sender; may be NULL */
    bool close_slow; /* a session whose queue is full is closed with FW_ESLOW; false: it is passed
                        over, with FW_ELIMIT */
    uint32_t timeout_ms;     /* of each; 0: none */
    fw_session_sent_fn sent; /* once for each session that it was meant for; may be NULL */
    void *arg;
} fw_broadcast;

/* ---- servers ---- */

typedef struct fw_server_options {
    fw_framing framing;
    size_t max_sessions;             /* 0: 100,000; more are closed at once with a logged reason */
    uint32_t max_accepts_per_second; /* more are closed at once; 0: no limit */
    size_t max_queue_bytes;          /* each session's, 0: 16 MiB */
    uint32_t max_queue_frames;       /* each session's; 0: by bytes only */
    fw_session_timeouts timeouts;    /* each session's */
    fw_compression compression;
    fw_tls *tls; /* of those of its listeners that speak TLS */
    /* A session came. The callee sets its events before it returns. */
    void (*on_session)(fw_server *server, fw_session *session, void *arg);
    /* Last, after the last session's; may be NULL. */
    void (*on_closed)(fw_server *server, void *arg);
    void *arg;
} fw_server_options;

/* Listens on the URL and makes a session of every connection. Errors as fw_listener_new,
 * FW_EOPTION. */
FW_API FW_MUST_CHECK int fw_server_new(fw_loop *loop, const char *url,
                                       const fw_server_options *options, fw_server **ret_server);
/* Listens on one more URL, of any transport. *ret_url (may be NULL) is the URL with the real port,
 * which lives as long as the server. Errors as fw_server_new, FW_ECLOSED. */
FW_API FW_MUST_CHECK int fw_server_listen(fw_server *server, const char *url, const char **ret_url);
/* The first URL with the real port. Lives as long as the server. */
FW_API const char *fw_server_url(const fw_server *server);
FW_API size_t fw_server_session_count(const fw_server *server);
/* Calls fn for every open session. fn may close sessions. */
FW_API void fw_server_each(fw_server *server, void (*fn)(fw_session *session, void *arg),
                           void *arg);
/* Queues one frame to every open session. *ret_count (may be NULL): for how many it was meant, each
 * of which gets sent(). FW_EFRAMESIZE, FW_ECLOSED, UV_ENOMEM: nothing was queued. */
FW_API FW_MUST_CHECK int fw_server_broadcast(fw_server *server, const fw_broadcast *broadcast,
                                             size_t *ret_count);
/* Stops listening; sessions go on until they end by themselves, or are closed with FW_EDEADLINE
 * after deadline_ms (0: 5000). on_closed follows the last. Idempotent; fw_server_close makes it
 * short. */
FW_API void fw_server_finish(fw_server *server, uint32_t deadline_ms);
/* Stops listening and closes all sessions (FW_ECANCELED); on_closed follows. Idempotent. */
FW_API void fw_server_close(fw_server *server);

FW_END_DECLS

#endif
