/* Look-up of methods, for the call engine. */
#ifndef FWI_RPC_ROUTER_H
#define FWI_RPC_ROUTER_H

#include <fairway/rpc.h>

typedef struct fwi_rpc_route {
    fw_rpc_handler_fn handler;
    void *arg;
} fwi_rpc_route;

/* By number if that is known, else by name; NULL if neither is. router may be NULL. */
const fwi_rpc_route *fwi_rpc_router_find(const fw_rpc_router *router, uint32_t number,
                                         fw_slice method);

#endif
