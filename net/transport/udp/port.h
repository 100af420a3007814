/*
 * A UDP socket of its own on the loop, for udp and kcp: reads in batches (recvmmsg) into the loop's
 * buffer, and gathers what is to be sent in a turn for one sendmmsg.
 *
 * Shared by the listener and the sessions behind it: each holds one reference; the port ends with
 * the last, and that one is only told when the socket is really gone.
 */
#ifndef FWI_UDP_PORT_H
#define FWI_UDP_PORT_H

#include "base/loop.h"
#include "transport/udp/address.h"

#define FWI_UDP_PAYLOAD_MAX 65507 /* of a datagram over IPv4 */

typedef struct fwi_udp_port fwi_udp_port;

typedef struct fwi_udp_port_events {
    /* A datagram came; the bytes may be changed, and are gone after the return. */
    void (*received)(void *arg, const fwi_udp_address *from, uint8_t *data, size_t len);
    /* All of a batch were given. May be NULL. */
    void (*round)(void *arg);
    /* After fwi_udp_port_reserve has failed: there is room again. May be NULL. */
    void (*writable)(void *arg);
    /* A connected socket: nobody is there (UV_ECONNREFUSED), or another error of the system. */
    void (*failed)(void *arg, int error);
    /* The socket is closed; the last call. */
    void (*gone)(void *arg);
} fwi_udp_port_events;

/* Binds to an address (connected: connects to it). One reference is the caller's. The datagrams
 * that are taken are at most datagram_max bytes long, longer ones are dropped. */
int fwi_udp_port_new(fw_loop *loop, const fwi_udp_address *address, bool connected,
                     size_t datagram_max, const fwi_udp_port_events *events, void *arg,
                     fwi_udp_port **ret_port);
void fwi_udp_port_acquire(fwi_udp_port *port);
/* Gives a reference back. The task runs in a later turn: of the last reference, after gone. */
void fwi_udp_port_release(fwi_udp_port *port, fwi_task *then);

/* A connected port: the same peer by a new socket, with the address and the way that the system
 * gives now. On an error the old one stays. */
int fwi_udp_port_reconnect(fwi_udp_port *port, const fwi_udp_address *address);

/* The bound address. */
int fwi_udp_port_local(const fwi_udp_port *port, fwi_udp_address *ret_address);

/* Room for a datagram of up to len bytes in this turn's batch; NULL: the kernel takes nothing at
 * the moment (see writable), or there is no memory. `to` of a connected port is not looked at. Sent
 * only if fwi_udp_port_commit follows at once. */
uint8_t *fwi_udp_port_reserve(fwi_udp_port *port, const fwi_udp_address *to, size_t len);
/* Which of the two it was. */
bool fwi_udp_port_is_blocked(const fwi_udp_port *port);
/* The datagram has that many bytes. */
void fwi_udp_port_commit(fwi_udp_port *port, size_t len);
/* Sends the batch now; it happens by itself at the end of the turn. */
void fwi_udp_port_flush(fwi_udp_port *port);

/* Stops and starts the reading of the socket. */
void fwi_udp_port_read(fwi_udp_port *port, bool on);

#endif
