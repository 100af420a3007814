/* Checksummed bulk over connections, for the tests of kcp. */
#ifndef KCP_PAIR_H
#define KCP_PAIR_H

#include <fairway/transport.h>
#include <stddef.h>
#include <stdint.h>

#include "fwt.h"

#define PAIR_WAIT_MS 60000
#define PAIR_QUICK   "nodelay=1&interval=10&resend=2&nc=1&sndwnd=128&rcvwnd=128"

/* One end: sends `total` bytes of a known order and checks that as many come. */
typedef struct pair_end {
    fw_conn *conn;
    size_t total, sent, received, bad;
    uint32_t seed;
    bool open, complete, closed;
    bool echo; /* sends back what comes instead */
    int reason;
    size_t seed_of_peer;
} pair_end;

typedef struct pair_listener {
    fw_listener *listener;
    int port;
    size_t accepted, closed_count;
    bool closed;
    pair_end wishes; /* of accepted ends */
    pair_end *last;  /* the newest that was accepted */
    pair_end *ends[1024];
} pair_listener;

void pair_listen(pair_listener *listener, const char *url, bool messages);
void pair_listener_fini(pair_listener *listener);
void pair_dial(pair_end *end, const char *url, bool messages);
void pair_end_fini(pair_end *end);
/* Writes what is still to be sent, as far as the queue is not congested. */
void pair_feed(pair_end *end);

#endif
