/*
 * Balancers: which endpoint gets the next call. A balancer is four functions over a list of
 * endpoints; it holds no connection and no clock, so it can be tested with made-up lists and run in
 * simulations. Your own is given in fw_proxy_options.
 */
#ifndef FAIRWAY_BALANCER_H
#define FAIRWAY_BALANCER_H

#include <fairway/discovery.h>

FW_BEGIN_DECLS

/* An endpoint as a balancer sees it. */
typedef struct fw_balancer_endpoint {
    const fw_instance *instance;
    bool usable;             /* may get a call now */
    size_t in_flight;        /* calls that wait for its answer */
    double weight;           /* of its registration, less while it warms up; 0: as 1 */
    double latency_ms;       /* how slow it was at latency_at_ms, peaks count; 0: not known yet */
    uint64_t latency_at_ms;  /* on the clock of fw_balancer_call.now_ms */
    uint32_t latency_tau_ms; /* what is known of it fades by 1/e in this time; 0: 10,000 */
} fw_balancer_endpoint;

/* The call that an endpoint is picked for. */
typedef struct fw_balancer_call {
    uint64_t now_ms;
    bool has_key;     /* calls of one key belong together */
    uint64_t key;     /* a hash of it */
    size_t in_flight; /* calls on all endpoints of the list */
} fw_balancer_call;

typedef struct fw_balancer {
    const char *name;
    /* Makes the state of one proxy; NULL: no memory. */
    void *(*create)(void);
    /* The list has other members than before, or is elsewhere in memory. It stays there until the
     * next update or destroy; the proxy keeps its fields current. Runs before the next pick, not at
     * each change. UV_ENOMEM: it is given the list again before it is asked to pick. */
    int (*update)(void *state, const fw_balancer_endpoint *endpoints, size_t count);
    /* Index of the endpoint for the next call, or -1 if none is usable. No allocation, no blocking.
     */
    int (*pick)(void *state, const fw_balancer_call *call);
    void (*destroy)(void *state);
} fw_balancer;

/* Each usable endpoint in its turn; one that is not usable is left out without giving its turn to
 * its neighbour alone. */
FW_API extern const fw_balancer fw_balancer_round_robin;
/* Turns in proportion to the weights, those of one endpoint spread evenly over the round. */
FW_API extern const fw_balancer fw_balancer_weighted;
/* Any usable endpoint, all equally likely. */
FW_API extern const fw_balancer fw_balancer_random;
/* The one with the fewest calls in flight for its weight: of all if there are few, else of a random
 * sample. */
FW_API extern const fw_balancer fw_balancer_least_loaded;
/* Of two random ones the one where a call is expected to take less time. The proxy's default. */
FW_API extern const fw_balancer fw_balancer_p2c_ewma;
/* The same endpoint for the same key, on a ring of hashes; one that carries a quarter more than its
 * share passes calls on to the next. Without a key: a random place on the ring. */
FW_API extern const fw_balancer fw_balancer_hash;
/* The same endpoint for the same key, by a table in which all have equal shares for their weights.
 */
FW_API extern const fw_balancer fw_balancer_maglev;
/* The endpoint that this proxy gave the key's last call to, as long as it is usable. New keys go
 * where it is quiet. Remembers the 16,384 keys used last or so. */
FW_API extern const fw_balancer fw_balancer_sticky;

/* The balancer of a name ("round_robin", or walle's "rr"), NULL if there is none. */
FW_API const fw_balancer *fw_balancer_find(const char *name);
/* Names of the balancers; NULL after the last. */
FW_API const char *fw_balancer_name(size_t index);

FW_END_DECLS

#endif
