/*
 * The endpoint's side of the gateway: one physical link (fw_endpoint), and virtual connections
 * (fw_vconn) over it. An endpoint is a client, which is given an id by the gateway and dials
 * servers, or a server, which registers under an id that it chooses and is dialled by clients; a
 * server can dial clients too. The link is kept alive with pings and, if wanted, made again when it
 * is lost.
 *
 * All functions: on the loop's thread.
 */
#ifndef FAIRWAY_VCONN_H
#define FAIRWAY_VCONN_H

#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_endpoint fw_endpoint;
typedef struct fw_vconn fw_vconn;

typedef enum fw_endpoint_role { FW_ENDPOINT_CLIENT, FW_ENDPOINT_SERVER } fw_endpoint_role;

/* Events of an endpoint; any may be NULL, any may close anything. */
typedef struct fw_endpoint_events {
    /* The gateway has answered a ping: the link works, and a server is registered. Comes again
     * after every reconnect. Dialling need not wait for it. */
    void (*on_ready)(fw_endpoint *endpoint, void *arg);
    /* The link could not be made or is lost, and its virtual connections end with FW_ELOST. reason:
     * FW_EAUTH (the gateway hung up on our answer: the key is wrong, or the gateway is full),
     * FW_EDEADLINE (no connection, challenge or ping in time), FW_EPROTOCOL, FW_EFRAMESIZE, UV_EOF
     * or an error of the system. retry_ms: when the next attempt is made; UINT32_MAX: none will be,
     * and only fw_endpoint_close is left to do. */
    void (*on_lost)(fw_endpoint *endpoint, int reason, uint32_t retry_ms, void *arg);
    /* The other side has dialled us. The callee sets the virtual connection's events
     * (fw_vconn_set_events) before it returns, or closes it. */
    void (*on_connect)(fw_endpoint *endpoint, fw_vconn *vconn, void *arg);
    /* The link's outgoing queue has room again after a send answered FW_ELIMIT. */
    void (*on_drain)(fw_endpoint *endpoint, void *arg);
} fw_endpoint_events;

/* Fill it with fw_endpoint_options_init first. Zero means default; strings are copied. */
typedef struct fw_endpoint_options {
    fw_endpoint_role role;
    uint32_t server_id;   /* servers only; any value, 0 included */
    const char *auth_key; /* servers only; NULL: empty */
    const char *hmac_key; /* instead of auth_key, if the gateway has one; NULL: it has not */

    uint32_t
        dial_timeout_ms; /* to connect and to be challenged; and for each virtual dial; 0: 5000 */
    uint32_t ping_interval_ms; /* 0: 10000. Below the gateway's idle timeout, which knows only what
                                * it receives. */
    uint32_t
        ping_timeout_ms; /* the link is lost if nothing comes for so long after a ping; 0: 5000 */
    uint32_t max_packet_bytes; /* the gateway's; a message may have 4 bytes less; 0: 524288 */
    size_t max_queue_bytes;    /* outgoing; a send beyond answers FW_ELIMIT; 0: 16 MiB */
    size_t
        max_vconns; /* open and dialling; more are closed at once, or not dialled; 0: 1,000,000 */
    bool reconnect; /* make the link again when it is lost; initially true for servers */
    uint32_t reconnect_base_ms; /* bounds of the wait, which doubles with jitter; 0: 100 */
    uint32_t reconnect_max_ms;  /* 0: 5000 */

    fw_endpoint_events events;
    void *arg; /* given to every event */
} fw_endpoint_options;

FW_API void fw_endpoint_options_init(fw_endpoint_options *options, fw_endpoint_role role);

/* Begins to make the link to the gateway's client or server URL; then on_ready or on_lost. FW_EURL,
 * FW_ESCHEME, FW_EOPTION, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_endpoint_dial(fw_loop *loop, const char *url,
                                          const fw_endpoint_options *options,
                                          fw_endpoint **ret_endpoint);
/* True from on_ready to on_lost. */
FW_API bool fw_endpoint_is_ready(const fw_endpoint *endpoint);
/* Virtual connections that are open or being dialled. */
FW_API size_t fw_endpoint_vconn_count(const fw_endpoint *endpoint);
FW_API fw_loop *fw_endpoint_loop(const fw_endpoint *endpoint);
/* Ends every virtual connection (FW_ECANCELED) and the link. on_closed (may be NULL) runs last,
 * after this call has returned; the endpoint is freed with it. Idempotent: the first on_closed is
 * the one. */
FW_API void fw_endpoint_close(fw_endpoint *endpoint, void (*on_closed)(void *arg), void *arg);

/* Events of a virtual connection; any may be NULL. */
typedef struct fw_vconn_events {
    /* Dialled ones only, exactly once: FW_OK; or FW_EREFUSED (nobody has that id, or the gateway's
     * limit is reached), FW_EDEADLINE, FW_ELOST (the link went), FW_ECANCELED (closed while
     * dialling), and then on_closed follows. */
    void (*on_open)(fw_vconn *vconn, int status, void *arg);
    /* A message, possibly empty; lent until the return. */
    void (*on_message)(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg);
    /* Over; always the last event, exactly once; the object is freed after it. reason: what
     * fw_vconn_close was given, UV_EOF (the other side closed, or is gone, or was too slow),
     * FW_ELOST, FW_ECANCELED (the endpoint was closed), or on_open's status. */
    void (*on_closed)(fw_vconn *vconn, int reason, void *arg);
} fw_vconn_events;

/* Dials a remote id: a server's, if we are a client; a client's, if we are a server. Any number may
 * be under way, to the same id too. While the link is not there the dial waits for it, as long as
 * its deadline (dial_timeout_ms of the endpoint, if timeout_ms is 0). FW_ECLOSED (the endpoint is
 * closed, or lost and does not reconnect), FW_ELIMIT, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_vconn_dial(fw_endpoint *endpoint, uint32_t remote_id,
                                       uint32_t timeout_ms, const fw_vconn_events *events,
                                       void *arg, fw_vconn **ret_vconn);
/* Queues a copy of a message; it leaves with everything else of this turn. FW_ECLOSED, UV_ENOTCONN
 * (before on_open), FW_EFRAMESIZE, FW_ELIMIT (the link's queue is full, see on_drain), UV_ENOMEM.
 */
FW_API FW_MUST_CHECK int fw_vconn_send(fw_vconn *vconn, const void *data, size_t len);
/* Ends it and tells the other side, after what was sent before; on_closed(reason) follows.
 * Idempotent (the first reason stands), callable in any event. */
FW_API void fw_vconn_close(fw_vconn *vconn, int reason);
/* Replaces events and argument. */
FW_API void fw_vconn_set_events(fw_vconn *vconn, const fw_vconn_events *events, void *arg);
FW_API void *fw_vconn_arg(const fw_vconn *vconn);
/* Id of the other side: the dialled one, or that of the dialler. */
FW_API uint32_t fw_vconn_remote_id(const fw_vconn *vconn);
/* Unique among all virtual connections of the endpoint's life, never used again: for logs and
 * tables. */
FW_API uint64_t fw_vconn_id(const fw_vconn *vconn);
FW_API fw_endpoint *fw_vconn_endpoint(const fw_vconn *vconn);

FW_END_DECLS

#endif
