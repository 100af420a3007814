/*
 * The gateway: clients and servers each hold one physical connection to it, and over these any
 * number of virtual connections is carried. A client dials a server by the id under which that
 * server has registered, a server dials a client by the id that the gateway gave to it. Speaks the
 * protocol of fastway and uniway; see net/gateway/README.md for the wire and for what differs on
 * purpose.
 *
 * All functions: on the loop's thread.
 */
#ifndef FAIRWAY_GATEWAY_H
#define FAIRWAY_GATEWAY_H

#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_gateway fw_gateway;

typedef enum fw_gateway_side { FW_GATEWAY_CLIENTS, FW_GATEWAY_SERVERS } fw_gateway_side;

/* Fill it with fw_gateway_options_init first: in some fields zero has a meaning of its own. Strings
 * are copied. */
typedef struct fw_gateway_options {
    const char *client_url; /* where clients come in, "tcp://0.0.0.0:0"; required */
    const char *server_url; /* where servers come in; required */
    /* The servers' shared secrets. auth_key: for the original's answers, with MD5; NULL: they are
     * refused if there is an hmac_key, else the key is empty. hmac_key: for answers with
     * HMAC-SHA-256, as fw_endpoint gives them if it has one; NULL: refused. Different ones, or the
     * weaker answer gives the key of the stronger to who guesses. */
    const char *auth_key, *hmac_key;
    int backlog; /* of both listeners; 0: 1024 */

    uint32_t max_packet_bytes; /* largest value of a frame's length field, at least 4; 0: 524288 */
    uint32_t client_max_conn;  /* virtual connections of a client beyond which its dials are
                                * refused; initially 16; 0: no limit */
    uint32_t client_idle_timeout_ms; /* a client that sends no frame for so long is closed;
                                      * initially 30000; 0: never */
    uint32_t server_idle_timeout_ms; /* the same for servers; initially 30000; 0: never */
    uint32_t handshake_timeout_ms;   /* for a server to answer the challenge; 0: 5000 */

    size_t max_clients;                 /* physical connections; 0: 100,000 */
    size_t max_servers;                 /* authenticated; 0: 10,000 */
    size_t max_unauthenticated_servers; /* answers awaited at one time; 0: 256 */
    /* Physical connections of one address (of IPv6: of one /64) on the clients' side, and on the
     * servers'; 0: no limit. Those without an address (unix:) are not limited. */
    size_t max_clients_per_address, max_servers_per_address;
    uint32_t client_dials_per_s; /* dials that a client makes beyond are refused; so many may come
                                  * at once; 0, or more than 64,000: no limit */

    /* Outgoing bytes that may wait for one physical connection. A data frame that would go beyond
     * costs its virtual connection, not the physical one. Raised to one largest frame if lower. */
    size_t client_queue_bytes; /* 0: 4 MiB */
    size_t server_queue_bytes; /* 0: 64 MiB */
} fw_gateway_options;

FW_API void fw_gateway_options_init(fw_gateway_options *options);

/* Listens on both URLs and serves. FW_EOPTION (a URL is missing, its transport has no reliable
 * stream, max_packet_bytes under 4), UV_ENOMEM, and the errors of fw_listener_new. */
FW_API FW_MUST_CHECK int fw_gateway_new(fw_loop *loop, const fw_gateway_options *options,
                                        fw_gateway **ret_gateway);

/* Listens on one more URL for clients or for servers, of any transport that has a reliable stream.
 * FW_EOPTION (it has not), FW_ECLOSED (the gateway is closing, or drains), UV_ENOMEM, and the
 * errors of fw_listener_new. */
FW_API FW_MUST_CHECK int fw_gateway_listen(fw_gateway *gateway, fw_gateway_side side,
                                           const char *url);

/* The URLs that are listened on, with the real ports, in the order in which they were given; NULL
 * after the last. Live as long as the gateway. The other two give the first of each side. */
FW_API const char *fw_gateway_url(const fw_gateway *gateway, fw_gateway_side side, size_t index);
FW_API const char *fw_gateway_client_url(const fw_gateway *gateway);
FW_API const char *fw_gateway_server_url(const fw_gateway *gateway);

typedef struct fw_gateway_stats {
    /* Now. */
    uint64_t clients;
    uint64_t servers; /* authenticated */
    uint64_t unauthenticated_servers;
    uint64_t vconns;
    /* Since the start. */
    uint64_t clients_total, servers_total, vconns_total;
    uint64_t refused_connections; /* over a max_ limit */
    uint64_t refused_addresses;   /* of these, over a limit of one address */
    uint64_t refused_dials;
    uint64_t hasty_dials;                              /* of these, over client_dials_per_s */
    uint64_t frames_from_clients, frames_from_servers; /* data forwarded */
    uint64_t bytes_from_clients, bytes_from_servers;   /* of these, headers included */
    uint64_t pings;
    uint64_t unknown_vconns;  /* data frames for an id that is not open; answered with Close */
    uint64_t foreign_closes;  /* Close of somebody else's virtual connection; ignored */
    uint64_t slow_vconns;     /* closed because the destination's queue was full */
    uint64_t slow_closed;     /* physical connections closed because not even commands fit */
    uint64_t idle_closed;     /* physical connections */
    uint64_t protocol_errors; /* physical connections closed for what they sent */
    uint64_t auth_failures;   /* wrong answers; late ones are handshake_timeouts */
    uint64_t handshake_timeouts;
} fw_gateway_stats;

FW_API void fw_gateway_stats_get(const fw_gateway *gateway, fw_gateway_stats *ret_stats);

/* A physical connection, as it is shown. */
typedef struct fw_gateway_peer {
    fw_gateway_side side;
    bool authenticated; /* always, if it is a client; else id is not known yet */
    uint32_t id;
    const char *url; /* lent for the call */
    uint32_t vconns;
    size_t queued_bytes; /* that wait for it */
    uint64_t silent_ms;  /* since its last frame */
} fw_gateway_peer;

/* Gives every physical connection, clients first; visit must change nothing. */
FW_API void fw_gateway_each_peer(const fw_gateway *gateway,
                                 void (*visit)(const fw_gateway_peer *peer, void *arg), void *arg);

/* Listens no more and refuses dials; what is open goes on. on_drained runs once no virtual
 * connection is left, never inside the call, and not at all if fw_gateway_close comes first. Only
 * the first call counts. */
FW_API void fw_gateway_drain(fw_gateway *gateway, void (*on_drained)(void *arg), void *arg);

/* Stops listening and closes every connection. on_closed (may be NULL) runs last, after this call
 * has returned; the gateway is freed with it. Idempotent: the first call's on_closed is the one. */
FW_API void fw_gateway_close(fw_gateway *gateway, void (*on_closed)(void *arg), void *arg);

FW_END_DECLS

#endif
