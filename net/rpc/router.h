/* Look-up of methods by name and number, for the call engine and the pipeline. */
#ifndef FWI_RPC_ROUTER_H
#define FWI_RPC_ROUTER_H

#include <fairway/rpc.h>

#include "base/map.h"

/* Names and numbers, each to something of the user's. Zero-initialised is empty. */
typedef struct fwi_routes {
    fwi_map names, numbers;
} fwi_routes;

/* FW_EEXISTS, FW_EOPTION (an empty name, number 0), UV_ENOMEM. */
FW_MUST_CHECK int fwi_routes_add_name(fwi_routes *routes, const char *name, void *route);
FW_MUST_CHECK int fwi_routes_add_number(fwi_routes *routes, uint32_t number, void *route);
void fwi_routes_remove_name(fwi_routes *routes, const char *name);
/* By number if that is known, else by name; NULL if neither is. */
void *fwi_routes_find(const fwi_routes *routes, uint32_t number, fw_slice name);
void fwi_routes_fini(fwi_routes *routes);

typedef struct fwi_rpc_route {
    const fw_rpc_router *router; /* whose steps come before; NULL: none */
    fw_rpc_handler_fn handler;
    void *arg;
} fwi_rpc_route;

typedef struct fwi_rpc_step {
    fw_rpc_handler_fn fn;
    void *arg;
} fwi_rpc_step;

/* As fwi_routes_find. router may be NULL. */
const fwi_rpc_route *fwi_rpc_router_find(const fw_rpc_router *router, uint32_t number,
                                         fw_slice method);
/* The middleware that comes in this place before the route's handler; NULL: there is no more. */
const fwi_rpc_step *fwi_rpc_router_step(const fwi_rpc_route *route, size_t place);

#endif
