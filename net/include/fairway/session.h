/*
 * Sessions: connections that carry whole frames, each with a length in front.
 */
#ifndef FAIRWAY_SESSION_H
#define FAIRWAY_SESSION_H

#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_session fw_session;
typedef struct fw_server fw_server;

/* How frames are told apart. The length counts the payload only. Zero-initialised: 4 bytes,
 * little-endian, frames up to 1 MiB (what walle speaks). */
typedef struct fw_framing {
    uint8_t length_bytes; /* 1, 2, 4 or 8; 0: 4 */
    bool big_endian;
    uint32_t max_frame_bytes; /* longer frames end the session with FW_EFRAMESIZE; 0: 1 MiB */
} fw_framing;

/* Events, on the loop; on_closed is the last, the session is freed after it. Any may be NULL. */
typedef struct fw_session_events {
    void (*on_open)(fw_session *session, void *arg); /* dialled sessions only */
    /* A whole frame; lent until the return. */
    void (*on_frame)(fw_session *session, const uint8_t *data, size_t len, void *arg);
    /* The outgoing queue has room again after a send answered FW_ELIMIT. */
    void (*on_drain)(fw_session *session, void *arg);
    void (*on_closed)(fw_session *session, int reason, void *arg);
} fw_session_events;

typedef struct fw_session_options {
    fw_framing framing;
    uint32_t dial_timeout_ms; /* 0: 5000 */
    size_t max_queue_bytes;   /* outgoing, 0: 16 MiB; a send beyond answers FW_ELIMIT */
    fw_session_events events;
    void *arg;
} fw_session_options;

/* Connects to `tcp://host:port` or `unix:/path`; then on_open or on_closed. FW_EURL, FW_ESCHEME,
 * FW_EOPTION, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_dial(fw_loop *loop, const char *url,
                                         const fw_session_options *options,
                                         fw_session **ret_session);
/* Queues a copy of a frame; sent with everything else of this turn. May be called before on_open.
 * FW_ECLOSED, FW_EFRAMESIZE, FW_ELIMIT (queue full; on_drain tells when to go on), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_session_send(fw_session *session, const void *data, size_t len);
/* Ends the session; on_closed(reason) follows. Idempotent, callable in any event. */
FW_API void fw_session_close(fw_session *session, int reason);
/* Replaces events and argument, for layers that take a session over. */
FW_API void fw_session_set_events(fw_session *session, const fw_session_events *events, void *arg);
/* Unique in the process, never used again. */
FW_API uint64_t fw_session_id(const fw_session *session);
/* URL of the other end. Lives as long as the session. */
FW_API const char *fw_session_peer(fw_session *session);
FW_API fw_loop *fw_session_loop(const fw_session *session);

typedef struct fw_server_options {
    fw_framing framing;
    size_t max_sessions;    /* 0: 100,000; more are closed at once with a logged reason */
    size_t max_queue_bytes; /* each session's, 0: 16 MiB */
    /* A session came. The callee sets its events before it returns. */
    void (*on_session)(fw_server *server, fw_session *session, void *arg);
    void (*on_closed)(fw_server *server,
                      void *arg); /* last, after the last session's; may be NULL */
    void *arg;
} fw_server_options;

/* Listens on the URL and makes a session of every connection. Errors as fw_listener_new,
 * FW_EOPTION. */
FW_API FW_MUST_CHECK int fw_server_new(fw_loop *loop, const char *url,
                                       const fw_server_options *options, fw_server **ret_server);
/* The URL with the real port. Lives as long as the server. */
FW_API const char *fw_server_url(const fw_server *server);
FW_API size_t fw_server_session_count(const fw_server *server);
/* Stops listening and closes all sessions (FW_ECANCELED); on_closed follows. Idempotent. */
FW_API void fw_server_close(fw_server *server);

FW_END_DECLS

#endif
