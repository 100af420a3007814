/*
 * Two networks joined by a cable, for the present process: `outer`, where it and its servers are,
 * and `inner`, for processes that are to be cut off. Neither sees the machine's own network, so
 * nothing is left behind, and ports need not be shared with anybody. Needs root.
 */
#ifndef DISC_NET_H
#define DISC_NET_H

#include <stdbool.h>

#define DISC_NET_OUTER "10.77.0.1" /* the servers' side, as the inner network sees it */
#define DISC_NET_INNER "10.77.0.2"

typedef struct disc_net {
    int outer, inner; /* descriptors of the namespaces; 0: there is none */
} disc_net;

/* Moves the thread into a new network, with another one joined to it; fails the test, saying so, if
 * that is not allowed. Threads that are there already stay where they were. */
void disc_net_start(disc_net *net);
/* Whatever the thread starts from now on is in this one of the two. */
void disc_net_enter(const disc_net *net, bool inner);
/* Takes the cable out, or puts it in. */
void disc_net_plug(const disc_net *net, bool in);
void disc_net_end(disc_net *net);

#endif
