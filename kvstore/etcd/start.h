/*
 * gRPC itself. It is started once and never shut down: its threads cost 2 ms to start, and an
 * orderly shutdown is not worth the risk of waiting in it. In the child of a process where it runs
 * it does not work any more.
 */
#ifndef FWI_GRPC_START_H
#define FWI_GRPC_START_H

#include <fairway/base.h>

/* Starts gRPC, if that was not done before. FW_EUNSUPPORTED in a child that was forked after it.
 * Any thread. */
FW_MUST_CHECK int fwi_grpc_start(void);
/* FW_EUNSUPPORTED in a child that was forked after the start. Any thread. */
FW_MUST_CHECK int fwi_grpc_check(void);

#endif
