/*
 * The endpoint library's inner side: endpoint.c has the link, vconn.c the virtual connections.
 *
 * Virtual connections are in exactly one of the endpoint's lists:
 *
 *     waiting (Dial not sent) --> asked (Dial sent) --> open --> finished (on_closed to run, then
 * freed)
 *         \__________________________\_____________________________/
 *
 * Ending one only moves it to `finished`; the task `deliver` runs its last events, so that nobody's
 * memory goes away below a callback.
 */
#ifndef FWI_GATEWAY_ENDPOINT_H
#define FWI_GATEWAY_ENDPOINT_H

#include <fairway/backoff.h>
#include <fairway/transport.h>
#include <fairway/vconn.h>

#include "base/list.h"
#include "base/loop.h"
#include "gateway/codec.h"
#include "gateway/id_map.h"

typedef enum fwi_link_state {
    FWI_LINK_DOWN,      /* no connection; the timer may be set for the next attempt */
    FWI_LINK_OPENING,   /* connecting */
    FWI_LINK_CHALLENGE, /* servers: the gateway's challenge is awaited */
    FWI_LINK_USABLE,    /* frames may be sent */
    FWI_LINK_CLOSING    /* the connection's on_closed is awaited */
} fwi_link_state;

/* A Dial on the wire. Answers come in this order for each remote id, so the entry stays until its
 * answer has come, also when nobody waits for it any more. */
typedef struct fwi_dial {
    fwi_list node;   /* in endpoint->dials */
    fw_vconn *vconn; /* NULL: given up; an Accept is answered with Close */
    uint32_t remote_id;
} fwi_dial;

struct fw_endpoint {
    fw_loop *loop;
    fw_endpoint_options options;
    char *url, *auth_key, *hmac_key; /* hmac_key: NULL if auth_key is used */

    /* The link. */
    fw_conn *conn;
    fwi_link_state state;
    bool ready, closing, answered; /* answered: the challenge, on this connection */
    bool ping_waiting;
    uint64_t heard_ms, pinged_ms;
    fwi_timer timer; /* challenge, next ping, ping's answer, or next attempt, by state */
    fw_backoff backoff;
    uint8_t challenge[FWI_GW_CHALLENGE_BYTES];
    size_t challenge_len;
    fwi_framer framer;

    /* The virtual connections. */
    fwi_list waiting, asked, open, finished; /* of fw_vconn.node */
    fwi_list dials;                          /* of fwi_dial.node, in the order sent */
    size_t dial_count, vconn_count;
    fwi_id_map by_wire_id; /* the open ones */
    uint64_t last_vconn_id;
    fwi_task deliver;

    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* ---- endpoint.c ---- */
/* Queues a command on a usable link. */
void fwi_endpoint_command(fw_endpoint *endpoint, fwi_gw_type type, uint32_t conn_id,
                          uint32_t remote_id);
/* Breaks the link; what follows from that happens in its on_closed. */
void fwi_endpoint_break(fw_endpoint *endpoint, int reason);
/* Frees the endpoint if it is closing and nothing of it is left. Never called inside a user's call.
 */
void fwi_endpoint_finish_if_empty(fw_endpoint *endpoint);

/* ---- vconn.c ---- */
void fwi_vconns_init(fw_endpoint *endpoint);
void fwi_vconns_fini(fw_endpoint *endpoint);
/* The link has become usable: sends the dials that have waited for it. */
void fwi_vconns_link_usable(fw_endpoint *endpoint);
/* Ends those that the link carried; and those that wait for it, if it will not come again. */
void fwi_vconns_end(fw_endpoint *endpoint, int reason, bool waiting_too);
/* A whole frame other than a Ping. FW_EPROTOCOL, UV_ENOMEM: the link is to be broken. */
int fwi_vconns_frame(fw_endpoint *endpoint, const uint8_t *frame, size_t len);

#endif
