#include "probe.h"

#include <fairway/error.h>
#include <fairway/transport.h>
#include <stdlib.h>
#include <uv.h>

struct fwi_probe {
    fw_conn *conn;
    bool is_open;
    fwi_probe_fn fn; /* NULL: canceled */
    void *arg;
    void (*on_gone)(void *arg); /* or NULL */
    void *gone_arg;
};

static void on_open(fw_conn *conn, void *arg)
{
    fwi_probe *probe = arg;
    probe->is_open = true;
    fw_conn_close(conn, FW_OK);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    fwi_probe *probe = arg;
    if (probe->fn)
        probe->fn(probe->is_open ? FW_OK : reason, probe->arg);
    if (probe->on_gone)
        probe->on_gone(probe->gone_arg);
    free(probe);
}

static int start(fw_loop *loop, const fw_instance *instance, uint32_t timeout_ms, fwi_probe_fn fn,
                 void *arg, fwi_probe **ret_probe)
{
    fwi_probe *probe = calloc(1, sizeof *probe);
    char *url = NULL;
    int err = probe ? fw_instance_url(instance, &url) : UV_ENOMEM;
    if (!err) {
        *probe = (fwi_probe){.fn = fn, .arg = arg};
        fw_conn_options options = {.dial_timeout_ms = timeout_ms,
                                   .events = {.on_open = on_open, .on_closed = on_closed},
                                   .arg = probe};
        err = fw_conn_dial(loop, url, &options, &probe->conn);
    }
    free(url);
    if (err) {
        free(probe);
        return err;
    }
    *ret_probe = probe;
    return FW_OK;
}

static void cancel(fwi_probe *probe)
{
    probe->fn = NULL;
    fw_conn_close(probe->conn, FW_ECANCELED);
}

void fwi_probe_on_gone(fwi_probe *probe, void (*on_gone)(void *arg), void *arg)
{
    probe->on_gone = on_gone;
    probe->gone_arg = arg;
}

const fwi_prober fwi_prober_connect = {.start = start, .cancel = cancel};
