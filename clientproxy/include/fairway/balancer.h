/*
 * Balancers: which endpoint gets the next call. A balancer is four functions over a list of
 * endpoints; it holds no connection and no clock, so it can be tested with made-up lists. Your own
 * is given in fw_proxy_options.
 */
#ifndef FAIRWAY_BALANCER_H
#define FAIRWAY_BALANCER_H

#include <fairway/discovery.h>

FW_BEGIN_DECLS

/* An endpoint as a balancer sees it. */
typedef struct fw_balancer_endpoint {
    const fw_instance *instance;
    bool usable;      /* online, and not waiting out a failure */
    size_t in_flight; /* calls that wait for its answer */
} fw_balancer_endpoint;

typedef struct fw_balancer {
    const char *name;
    /* Makes the state of one proxy; NULL: no memory. */
    void *(*create)(void);
    /* The list has other members than before. The array lives until the next update or destroy; the
     * proxy keeps its fields current. */
    void (*update)(void *state, const fw_balancer_endpoint *endpoints, size_t count);
    /* Index of the endpoint for the next call, or -1 if none is usable. No allocation, no blocking.
     */
    int (*pick)(void *state);
    void (*destroy)(void *state);
} fw_balancer;

/* Each usable endpoint in its turn; one that is not usable is left out without giving its turn to
 * its neighbour alone. */
FW_API extern const fw_balancer fw_balancer_round_robin;

/* The balancer of a name ("round_robin", or walle's "rr"), NULL if there is none. */
FW_API const fw_balancer *fw_balancer_find(const char *name);

FW_END_DECLS

#endif
