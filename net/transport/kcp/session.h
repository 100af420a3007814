/*
 * Connections of kcp and the sockets under them. Used by the transport's files only:
 *   session.c    one connection: the engine, its timer, what it delivers and sends
 *   hub.c        a socket with its sessions, the turn, which datagram belongs to whom
 *   handshake.c  the handshakes of the authenticated mode, on the hub
 *   transport.c  dialling and listening
 */
#ifndef FWI_KCP_SESSION_H
#define FWI_KCP_SESSION_H

#include "base/map.h"
#include "transport/kcp/options.h"
#include "transport/transport.h"
#include "transport/udp/guard.h"
#include "transport/udp/port.h"

#define FWI_KCP_CLOSED_KEYS 256 /* conversations that are over and remembered */

typedef struct fwi_kcp_conn fwi_kcp_conn;
typedef struct fwi_kcp_listener fwi_kcp_listener;

/* How a session is found: plain by address and conv, authenticated by its id. */
typedef struct fwi_kcp_key {
    uint8_t bytes[FWI_UDP_KEY_BYTES + 4];
    size_t len;
} fwi_kcp_key;

/* A socket and what stands on it: the sessions of a listener, or one dialled connection. */
typedef struct fwi_kcp_hub {
    fw_loop *loop;
    fwi_udp_port *port;         /* NULL: dialled, and its name is being looked up */
    fwi_kcp_listener *listener; /* NULL: dialled, or it is closed */
    fwi_kcp_conn *dialled;
    fwi_kcp_options options;
    fwi_udp_guard guard;
    fwi_map sessions;
    fwi_list half_open; /* the oldest first */
    size_t half_open_count;
    fwi_list touched; /* sessions with something to do at the end of the turn */
    fwi_task turn;
    uint64_t closed[FWI_KCP_CLOSED_KEYS]; /* hashes of plain keys, a ring */
    size_t closed_next;
    /* authenticated mode, listening */
    fwi_kcps_server server;
    fwi_map attempts; /* by the HELLO's ephemeral key: sessions, half open or not */
} fwi_kcp_hub;

struct fwi_kcp_listener {
    fw_listener base;
    fwi_kcp_hub *hub;
    fwi_task gone;
};

/* What an authenticated session has besides. */
typedef struct fwi_kcp_guarded {
    fwi_kcps keys;
    fwi_kcps_client client; /* dialled, until the keys are there */
    bool has_keys;
    bool confirmed;     /* something authentic came from the peer */
    unsigned refused;   /* answers without the secrets */
    uint64_t roamed_ms; /* dialled: when the socket was last changed */
    uint64_t waits_ms;  /* dialled: since when data waits for an answer; 0: none does */
    uint32_t retry_ms;  /* until HELLO or CONFIRM is sent again */
    uint64_t retry_at;
    uint8_t name[FWI_KCPS_HELLO_NAME_BYTES]; /* accepted: of the attempt */
    uint8_t accept[FWI_KCPS_ACCEPT_BYTES];   /* accepted, until confirmed: sent again if asked */
} fwi_kcp_guarded;

struct fwi_kcp_conn {
    fw_conn base;
    fwi_kcp_hub *hub;
    fwi_kcp_key key;
    fwi_udp_address address;
    fwi_kcp engine;
    fwi_kcp_guarded *guarded; /* NULL: plain */
    fwi_udp_lookup *lookup;
    fwi_list node;      /* in the hub's touched */
    fwi_list half_node; /* in the hub's half_open */
    fwi_timer timer;    /* the next thing that time brings */
    fwi_task settle;    /* the dial's outcome, or the end of closing */
    uint64_t heard_ms, asked_ms, born_ms;
    uint64_t linger_until;
    int early_error;
    bool is_half_open;
    bool is_known;    /* the application was given it */
    bool wrote;       /* since the last flush */
    bool broken;      /* there is no use in sending any more */
    bool lingering;   /* closed by us, but not all is acknowledged */
    bool leaving;     /* closed for good */
    bool peer_closed; /* it said so */
    bool ended;       /* the peer's end was delivered */
};

/* ---- session.c ---- */
extern const fwi_conn_ops fwi_kcp_ops;
extern const fwi_conn_ops fwi_kcp_guarded_ops; /* with a half-close; of streams only */

fwi_kcp_conn *fwi_kcp_conn_new(fwi_kcp_hub *hub, bool messages);
/* Frees one that was never the application's. */
void fwi_kcp_conn_discard(fwi_kcp_conn *conn);
/* The engine begins; the peer's address is known. */
void fwi_kcp_conn_start(fwi_kcp_conn *conn, uint32_t conv);
/* A datagram of KCP came for it. */
void fwi_kcp_conn_input(fwi_kcp_conn *conn, const uint8_t *data, size_t len);
/* Has it looked after at the end of the turn. */
void fwi_kcp_conn_touch(fwi_kcp_conn *conn);
/* Gives what has come to the application. */
void fwi_kcp_conn_deliver(fwi_kcp_conn *conn);
/* Its turn: sends what is due and sets the timer. */
void fwi_kcp_conn_run(fwi_kcp_conn *conn);
/* Closes it; nothing more is sent. */
void fwi_kcp_conn_break(fwi_kcp_conn *conn, int error);
/* Seals (if authenticated) and queues one datagram. */
void fwi_kcp_conn_emit(fwi_kcp_conn *conn, uint8_t kind, const uint8_t *data, size_t len);

/* ---- hub.c ---- */
int fwi_kcp_hub_new(fw_loop *loop, const fwi_kcp_options *options, fwi_kcp_hub **ret_hub);
int fwi_kcp_hub_open(fwi_kcp_hub *hub, const fwi_udp_address *address, bool connected);
void fwi_kcp_hub_free(fwi_kcp_hub *hub);
/* A new session of a listener, not yet the application's; NULL if it is not let in. */
fwi_kcp_conn *fwi_kcp_hub_add(fwi_kcp_hub *hub, const fwi_udp_address *from,
                              const fwi_kcp_key *key);
/* The session leaves: nothing finds it any more. The port's reference is not given back. */
void fwi_kcp_hub_remove(fwi_kcp_hub *hub, fwi_kcp_conn *conn);
/* It is no longer half open. */
void fwi_kcp_hub_confirm(fwi_kcp_hub *hub, fwi_kcp_conn *conn);
/* The listener closes: who still shakes hands goes with it. */
void fwi_kcp_hub_close_strangers(fwi_kcp_hub *hub);

/* ---- handshake.c ---- */
int fwi_kcp_guard_new(fwi_kcp_conn *conn);
/* A datagram for a listener in authenticated mode, or for a dialled connection in it. */
void fwi_kcp_guarded_listener_input(fwi_kcp_hub *hub, const fwi_udp_address *from, uint8_t *data,
                                    size_t len);
void fwi_kcp_guarded_dialled_input(fwi_kcp_conn *conn, uint8_t *data, size_t len);
/* Dialled: nothing comes, so another socket is tried, by which the peer knows us as well. */
void fwi_kcp_guarded_roam(fwi_kcp_conn *conn);
/* The same if data waits for an answer; returns ms until the next look, UINT64_MAX: none waits. */
uint64_t fwi_kcp_guarded_watch_way(fwi_kcp_conn *conn, uint64_t now_ms);
/* Sends HELLO or CONFIRM again if it is time; returns ms until the next, UINT64_MAX: none. */
uint64_t fwi_kcp_guarded_retry(fwi_kcp_conn *conn, uint64_t now_ms);
void fwi_kcp_guarded_fini(fwi_kcp_conn *conn);

#endif
