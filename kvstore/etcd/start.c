#include "start.h"

#include <fairway/error.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"

static pthread_once_t started = PTHREAD_ONCE_INIT;
static atomic_bool forked; /* this process is a child of one in which gRPC ran */

/* gRPC prints by itself; a library does not. */
static void on_grpc_log(gpr_log_func_args *args)
{
    fwi_log(FW_LOG_DEBUG, "grpc", "grpc", FWI_TEXT("text", args->message));
}

static void on_forked(void)
{
    atomic_store(&forked, true);
}

static void start_grpc(void)
{
    gpr_set_log_function(on_grpc_log);
    pthread_atfork(NULL, NULL, on_forked);
    grpc_init();
}

int fwi_grpc_start(void)
{
    pthread_once(&started, start_grpc);
    return fwi_grpc_check();
}

int fwi_grpc_check(void)
{
    return atomic_load(&forked) ? FW_EUNSUPPORTED : FW_OK;
}
