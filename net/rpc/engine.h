/* The call engine's inner side, for the server. */
#ifndef FWI_RPC_ENGINE_H
#define FWI_RPC_ENGINE_H

#include <fairway/rpc.h>

/* Makes an end of an accepted session and takes its events over. UV_ENOMEM. */
int fwi_rpc_accept(fw_session *session, const fw_rpc_options *options, fw_rpc **ret_rpc);

#endif
