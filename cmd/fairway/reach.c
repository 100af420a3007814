#include "reach.h"

#include <fairway/transport.h>
#include <stdlib.h>

struct cli_reach {
    fw_conn *conn;
    bool is_open;
    cli_reach_fn fn; /* NULL: canceled */
    void *arg;
};

static void on_open(fw_conn *conn, void *arg)
{
    cli_reach *reach = arg;
    reach->is_open = true;
    fw_conn_close(conn, FW_OK);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    cli_reach *reach = arg;
    cli_reach_fn fn = reach->fn;
    void *fn_arg = reach->arg;
    int result = reach->is_open ? FW_OK : reason;
    free(reach);
    if (fn)
        fn(result, fn_arg);
}

int cli_reach_start(fw_loop *loop, const char *url, uint32_t timeout_ms, cli_reach_fn fn, void *arg,
                    cli_reach **ret_reach)
{
    cli_reach *made = malloc(sizeof *made);
    if (!made)
        return UV_ENOMEM;
    *made = (cli_reach){.fn = fn, .arg = arg};
    fw_conn_options options = {.dial_timeout_ms = timeout_ms,
                               .events = {.on_open = on_open, .on_closed = on_closed},
                               .arg = made};
    int err = fw_conn_dial(loop, url, &options, &made->conn);
    if (err) {
        free(made);
        return err;
    }
    *ret_reach = made;
    return FW_OK;
}

void cli_reach_cancel(cli_reach *reach)
{
    reach->fn = NULL;
    fw_conn_close(reach->conn, FW_ECANCELED);
}
