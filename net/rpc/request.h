/* A request of the peer, from its arrival to its answer. */
#ifndef FWI_RPC_REQUEST_H
#define FWI_RPC_REQUEST_H

#include "rpc/engine.h"

struct fw_rpc_request {
    fwi_list node; /* kept: in rpc->kept */
    fw_rpc *rpc;   /* NULL: the connection is gone */
    fw_loop *loop;
    const fwi_rpc_route *route;
    size_t step; /* in the router's middleware */
    fwi_rpc_packet packet;
    uint64_t deadline_ms; /* 0: none */
    bool answered, kept;
    bool canceled;        /* read from any thread */
    fw_rpc_request *copy; /* of a request on the stack: what keep made */
    /* Of a kept one. */
    fwi_timer timer;
    fw_rpc_cancel_fn on_cancel;
    void *cancel_arg;
};

#endif
