/*
 * A bad network in front of a UDP port: a relay on a free loopback port with a thread of its own,
 * which loses, doubles and delays datagrams, repeatable by seed. Each client has a socket of its
 * own towards the target, so the target tells them apart by address.
 */
#ifndef FWT_UDP_RELAY_H
#define FWT_UDP_RELAY_H

#include <stddef.h>
#include <stdint.h>

typedef struct fwt_weather {
    unsigned loss, duplicate;     /* per cent, each way */
    unsigned delay_ms, jitter_ms; /* each way; jitter reorders */
    unsigned seed;
} fwt_weather;

typedef struct fwt_udp_relay fwt_udp_relay;

fwt_udp_relay *fwt_udp_relay_start(int target_port, const fwt_weather *weather);
int fwt_udp_relay_port(const fwt_udp_relay *relay);
/* From now on what clients send comes from other addresses, and what is sent to the old ones is
 * lost. */
void fwt_udp_relay_move(fwt_udp_relay *relay);
/* The clients that are known have lost their way: nothing passes to or from their addresses. Others
 * pass, the same programs from other ports among them. */
void fwt_udp_relay_strand(fwt_udp_relay *relay);
/* Nothing passes any more. */
void fwt_udp_relay_cut(fwt_udp_relay *relay);
/* Datagrams that were passed on, lost ones not counted. */
size_t fwt_udp_relay_passed(fwt_udp_relay *relay);
void fwt_udp_relay_end(fwt_udp_relay *relay);

#endif
