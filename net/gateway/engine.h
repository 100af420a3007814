/*
 * The gateway's inner side, shared by its parts:
 *
 *     gateway.c  the object: options, statistics, draining, closing
 *     doors.c    its listeners
 *     peer.c     one physical connection: authentication, frames in, idleness, its end
 *     switch.c   virtual connections: dialling, forwarding, closing
 *
 * Everything lives on one loop. A peer is freed only when its fw_conn reports on_closed, which
 * never happens inside a call; so any peer may be ended at any point, and what it leaves (virtual
 * connections, its id) is cleared up in that one place.
 */
#ifndef FWI_GATEWAY_ENGINE_H
#define FWI_GATEWAY_ENGINE_H

#include <fairway/gateway.h>
#include <fairway/transport.h>

#include "base/id_table.h"
#include "base/list.h"
#include "base/loop.h"
#include "gateway/codec.h"
#include "gateway/id_map.h"
#include "gateway/sources.h"

/* Commands may go beyond the queue's bound by this much; a peer that has not even room for them is
 * closed. */
#define FWI_GW_COMMAND_RESERVE_BYTES (256 * 1024)

typedef fw_gateway_side fwi_gw_side;
#define FWI_GW_CLIENT FW_GATEWAY_CLIENTS
#define FWI_GW_SERVER FW_GATEWAY_SERVERS

/* What awaits a server's answer to its challenge; gone when it is authenticated. */
typedef struct fwi_gw_handshake {
    uint8_t challenge[FWI_GW_CHALLENGE_BYTES];
    uint8_t answer[FWI_GW_ANSWER_BYTES];
    size_t answer_len;
} fwi_gw_handshake;

typedef struct fwi_gw_peer fwi_gw_peer;

/* What a server has more than a client. */
typedef struct fwi_gw_server {
    fwi_gw_handshake *handshake; /* until it is authenticated */
    fwi_gw_peer *shadowed;       /* who had our id before us and is still connected */
    fwi_gw_peer *shadow;         /* who took our id over */
} fwi_gw_server;

/* Kept small, for there may be a hundred thousand, nearly all idle. */
struct fwi_gw_peer {
    fw_gateway *gateway;
    fw_conn *conn;
    fwi_list node;         /* in a queue of the gateway, or in gateway->leaving */
    fwi_list vconns;       /* of fwi_gw_vconn.node[side] */
    uint64_t heard_ms;     /* when the last whole frame came */
    fwi_gw_server *server; /* NULL: a client */
    fwi_framer *partial;   /* while a frame has come in part */
    uint32_t id;
    uint32_t vconn_count;
    uint32_t dial_time; /* when the dials so far would be over at client_dials_per_s, 1/64 ms */
    uint8_t side;       /* fwi_gw_side */
    bool registered;    /* has an id, and can be dialled */
    bool ended;         /* closing */
    bool counted;       /* in gateway->sources */
};

/* Peers that wait under the same timeout, longest silent first: so the first one's time is the
 * queue's, and one timer serves them all. A peer that was heard goes to the end, once a read. */
typedef struct fwi_gw_queue {
    fw_gateway *gateway;
    fwi_list peers;
    fwi_timer timer;
    uint32_t timeout_ms; /* 0: none */
    int reason;          /* for ending who is late */
} fwi_gw_queue;

/* Queues: registered ones by fwi_gw_side, and servers that have not answered yet. */
enum { FWI_GW_UNAUTHENTICATED = 2, FWI_GW_QUEUES };

typedef struct fwi_gw_vconn {
    uint32_t id;
    fwi_gw_peer *end[2]; /* by side */
    fwi_list node[2];    /* in end[side]->vconns */
} fwi_gw_vconn;

typedef struct fwi_gw_door {
    fwi_list node; /* in gateway->doors */
    fw_gateway *gateway;
    fw_listener *listener; /* NULL: gone */
    char *url;
    fwi_gw_side side;
} fwi_gw_door;

struct fw_gateway {
    fw_loop *loop;
    fw_gateway_options options;
    char *auth_key, *hmac_key; /* NULL: such answers are wrong */
    fwi_list doors;
    size_t open_doors;         /* whose listener is there */
    fwi_gw_sources sources[2]; /* by side */
    fwi_gw_queue queues[FWI_GW_QUEUES];
    fwi_list leaving; /* peers that have ended, until their connections are gone */
    size_t peer_count;
    size_t queue_bytes[2]; /* bound of a connection's outgoing queue, by side */
    fwi_framer framer;     /* for reads that contain whole frames only */
    fwi_id_table clients;  /* of fwi_gw_peer */
    fwi_id_map servers;    /* of fwi_gw_peer, the newest of each id */
    fwi_id_table vconns;   /* of fwi_gw_vconn */
    fw_gateway_stats stats;
    bool closing, draining;
    void (*on_drained)(void *arg);
    void *on_drained_arg;
    fwi_task drained;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* ---- gateway.c ---- */
/* Frees the gateway if it is closing and nothing of it is left. */
void fwi_gateway_finish_if_empty(fw_gateway *gateway);
/* To be called when a virtual connection has gone. */
void fwi_gateway_check_drained(fw_gateway *gateway);

/* ---- doors.c ---- */
/* Stops listening. */
void fwi_gw_doors_close(fw_gateway *gateway);
void fwi_gw_doors_free(fw_gateway *gateway);

/* ---- peer.c ---- */
void fwi_gw_queues_init(fw_gateway *gateway);
/* Ends all peers (FW_ECANCELED) and the timers. */
void fwi_gw_queues_end(fw_gateway *gateway);
/* Takes an accepted connection over, or closes it. */
void fwi_gw_peer_accept(fw_gateway *gateway, fw_conn *conn, fwi_gw_side side);
/* Ends it: nothing more is read from it; on_closed does the rest in a later turn. The first reason
 * stands. */
void fwi_gw_peer_end(fwi_gw_peer *peer, int reason);
/* Queues a command. Ends the peer if there is no room. */
void fwi_gw_peer_command(fwi_gw_peer *peer, fwi_gw_type type, uint32_t conn_id, uint32_t remote_id);

/* ---- switch.c ---- */
/* One whole frame of an authenticated peer. May end any peer, this one included. */
void fwi_gw_switch_frame(fwi_gw_peer *from, const uint8_t *frame, size_t len);
/* Closes all virtual connections of a peer that has ended, telling the other sides. */
void fwi_gw_switch_forget(fwi_gw_peer *peer);

#endif
