/*
 * One instance that the proxy may call, and its connection.
 *
 *     IDLE --used--> CONNECTING --open--> READY
 *      ^                 | failed           | lost
 *      |____ BACKOFF <___|__________________|       (backoff over: IDLE)
 *
 * Removed from the registry it leaves the list at once and is freed when its calls have ended.
 *
 * Its circuit breaker, its latency and its warming up are kept here; who may be ejected, and what
 * that means for calls, is for members.c and call.c.
 */
#ifndef FWI_ENDPOINT_H
#define FWI_ENDPOINT_H

#include <fairway/backoff.h>
#include <fairway/clientproxy.h>

#include "base/list.h"
#include "base/loop.h"
#include "ewma.h"
#include "policy/breaker.h"

typedef enum fwi_endpoint_state {
    FWI_ENDPOINT_IDLE,
    FWI_ENDPOINT_CONNECTING,
    FWI_ENDPOINT_READY,
    FWI_ENDPOINT_BACKOFF
} fwi_endpoint_state;

typedef struct fwi_endpoint fwi_endpoint;

/* What the proxy wants to hear of. */
typedef struct fwi_endpoint_events {
    void (*on_connected)(fwi_endpoint *endpoint);
    /* The connection is over, or could not be opened. */
    void (*on_disconnected)(fwi_endpoint *endpoint, int reason);
    /* The backoff is over, or the time of its ejection. */
    void (*on_usable)(fwi_endpoint *endpoint);
    /* A removed endpoint is gone; it is freed after this. */
    void (*on_gone)(fwi_endpoint *endpoint);
} fwi_endpoint_events;

struct fwi_endpoint {
    fwi_list node; /* in the proxy's list of removed ones */
    fw_proxy *proxy;
    fw_loop *loop;
    const fwi_endpoint_events *events;
    const fw_instance *instance;
    size_t slot;  /* among all of the proxy's */
    size_t index; /* among those that balancers see; SIZE_MAX: not one of them */
    fwi_endpoint_state state;
    fw_rpc *rpc; /* CONNECTING, READY, and while closing */
    fw_rpc_options rpc_options;
    fw_backoff backoff;
    fwi_timer timer; /* BACKOFF, or the end of patience after removal */
    fwi_task gone;
    size_t in_flight;
    fwi_list waiters; /* the proxy's: calls that wait for the connection to open */
    bool removed, closing;
    bool unhealthy;  /* a health check says so */
    bool is_well;    /* as it was counted last */
    bool has_lost;   /* its connection ended with calls in flight, and the breaker knows */
    int ejected_for; /* why the breaker is open */
    fwi_breaker breaker;
    fwi_timer ejection; /* while the breaker is open */
    fwi_ewma latency;
    uint64_t warm_since_ms; /* 0: it was here when the proxy began */
};

/* Makes an endpoint; acquires the instance. NULL: no memory. */
fwi_endpoint *fwi_endpoint_new(fw_proxy *proxy, fw_loop *loop, const fw_instance *instance,
                               const fw_proxy_options *options, const fwi_endpoint_events *events);
/* The registry shows another version of the instance, at the same address. */
void fwi_endpoint_set_instance(fwi_endpoint *endpoint, const fw_instance *instance);
/* Makes sure of a connection, open or being opened. An error is of the address. */
int fwi_endpoint_connect(fwi_endpoint *endpoint);
/* A call began or ended on it. */
void fwi_endpoint_begin(fwi_endpoint *endpoint);
void fwi_endpoint_end(fwi_endpoint *endpoint);
/* No new calls; closes and frees itself when those in flight have ended, at the latest after
 * timeout_ms (0: now). */
void fwi_endpoint_remove(fwi_endpoint *endpoint, uint32_t timeout_ms);
/* The breaker opens, for a time; on_usable is the end of it. */
void fwi_endpoint_eject(fwi_endpoint *endpoint, uint32_t base_ms, uint32_t max_ms);
/* Nothing is known against it. */
bool fwi_endpoint_is_well(const fwi_endpoint *endpoint);
/* A balancer may pick it; in a panic also while it is ejected. */
bool fwi_endpoint_usable(const fwi_endpoint *endpoint, bool is_panic);

#endif
