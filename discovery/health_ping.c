/*
 * A health check in fairway's own protocol: a call of a method that need not exist. Whatever the
 * answer is, it has gone through the service's loop, so a process that is stopped does not give it.
 */
#include "health_driver.h"
#include "health_shared.h"

#include <fairway/error.h>
#include <fairway/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct ping {
    fwi_health_shared *shared;
    fw_rpc *rpc;
    fwi_probe_fn fn; /* NULL: told, or canceled */
    void *arg;
    char *detail;
};

static bool is_answer(const fw_rpc_result *result)
{
    return !result->status || (result->status == FW_EREMOTE && !result->logic &&
                               result->code == FW_RPC_CODE_NO_METHOD);
}

static void on_done(const fw_rpc_result *result, void *arg)
{
    struct ping *ping = arg;
    fwi_probe_fn fn = ping->fn;
    if (fn && result->status == FW_EREMOTE)
        (void)snprintf(ping->detail, FWI_HEALTH_DETAIL_BYTES, "error %lld: %s",
                       (long long)result->code, result->text ? result->text : "");
    ping->fn = NULL;
    fw_rpc_close(ping->rpc);
    if (fn)
        fn(is_answer(result) ? FW_OK : result->status, ping->arg);
}

static void on_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)rpc;
    (void)reason;
    struct ping *ping = arg;
    fwi_health_shared_leave(ping->shared);
    free(ping);
}

static int start(void *arg, const fwi_health_question *question, void **ret_probe)
{
    struct ping *ping = calloc(1, sizeof *ping);
    char *url = NULL;
    int err = ping ? fw_instance_url(question->instance, &url) : UV_ENOMEM;
    if (!err) {
        *ping = (struct ping){
            .shared = arg, .fn = question->fn, .arg = question->arg, .detail = question->detail};
        fw_rpc_options options = {.dial_timeout_ms = question->timeout_ms,
                                  .call_timeout_ms = question->timeout_ms,
                                  .on_closed = on_closed,
                                  .arg = ping};
        err = fw_rpc_dial(ping->shared->loop, url, &options, &ping->rpc);
    }
    free(url);
    if (err) {
        free(ping);
        return err;
    }
    ping->shared->probes++;
    fw_rpc_message message = {.method = question->check->name};
    err = fw_rpc_call(ping->rpc, &message, on_done, ping, NULL);
    if (err) {
        ping->fn = NULL;
        fw_rpc_close(ping->rpc); /* frees it */
        return err;
    }
    *ret_probe = ping;
    return FW_OK;
}

static void cancel(void *probe)
{
    struct ping *ping = probe;
    ping->fn = NULL;
    fw_rpc_close(ping->rpc);
}

const fwi_health_driver fwi_health_ping = {.open = fwi_health_shared_open,
                                           .close = fwi_health_shared_close,
                                           .start = start,
                                           .cancel = cancel};
