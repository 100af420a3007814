/*
 * The endpoints of a proxy, and which of them gets a call.
 *
 * Balancers see those that are online, in two groups with a balancer's state each: the caller's own
 * zone and the others (without a zone everything is in the first), of each group the subset that
 * this client uses. `views` are what the balancers look at, `order` the endpoints to them. Both are
 * made anew before the next pick after the list has changed, so that a list of many is made once.
 */
#ifndef FWI_MEMBERS_H
#define FWI_MEMBERS_H

#include "base/map.h"
#include "endpoint.h"

typedef struct fwi_group {
    void *state; /* the balancer's */
    size_t first, count;
    size_t well;
} fwi_group;

typedef struct fwi_members {
    const fw_balancer *balancer;
    const char *zone; /* owned; NULL: none */
    size_t subset_size;
    uint32_t subset_client, slow_start_ms, panic_percent;
    fw_loop *loop;
    fwi_map by_id;
    fwi_endpoint **all;
    size_t count, capacity;
    fwi_endpoint **order;
    fw_balancer_endpoint *views;
    size_t view_capacity;
    fwi_group groups[2];
    size_t in_flight; /* on all */
    bool has_changed, is_panic;
    fwi_task *panic_changed; /* the proxy's, deferred when is_panic changes */
} fwi_members;

/* UV_ENOMEM. */
int fwi_members_init(fwi_members *members, fw_loop *loop, const fw_proxy_options *options,
                     fwi_task *panic_changed);
void fwi_members_fini(fwi_members *members);
/* UV_ENOMEM; then the endpoint is not a member. */
int fwi_members_add(fwi_members *members, fwi_endpoint *endpoint);
void fwi_members_remove(fwi_members *members, fwi_endpoint *endpoint);
fwi_endpoint *fwi_members_find(const fwi_members *members, const char *id);
/* Another version of the instance: its weight, zone or state may be new. */
void fwi_members_changed(fwi_members *members);
/* Shows the balancers how an endpoint is now. */
void fwi_members_refresh(fwi_members *members, fwi_endpoint *endpoint);
/* A call began or ended on an endpoint, which need not be a member any more. */
void fwi_members_begin(fwi_members *members, fwi_endpoint *endpoint);
void fwi_members_end(fwi_members *members, fwi_endpoint *endpoint);
/* For the next call, if possible not avoid (may be NULL). If nobody is usable: the least bad of
 * those that are online. NULL: nobody is. */
fwi_endpoint *fwi_members_pick(fwi_members *members, fw_balancer_call *call,
                               const fwi_endpoint *avoid);
/* True if so many others are well that the endpoint may be ejected. */
bool fwi_members_may_eject(const fwi_members *members);

#endif
