/* tls://host:port: the engine between a tcp connection and its user. */
#include "transport/over.h"
#include "transport/tls/engine.h"

#include <fairway/error.h>
#include <string.h>

#include "base/log.h"

/* Much more than over.h lets us queue of plaintext. Only a peer that asks for answers of the
 * protocol (new keys) without end and reads none of them gets there. */
#define MOST_QUEUED_BYTES (512 * 1024)

typedef struct tls_conn {
    fwi_over_conn over;
    fwi_tls_engine engine;
} tls_conn;

typedef struct tls_listener {
    fwi_over_listener over;
    fw_tls *tls;
} tls_listener;

static tls_conn *tls_of(fwi_over_conn *over)
{
    return fwi_container_of(over, tls_conn, over);
}

/* ---- from the engine ---- */

static int on_send(void *arg, const uint8_t *data, size_t len)
{
    fw_conn *lower = ((tls_conn *)arg)->over.lower;
    if (!lower)
        return FW_ECLOSED;
    return fw_conn_queued_bytes(lower) > MOST_QUEUED_BYTES ? FW_ELIMIT
                                                           : fw_conn_write(lower, data, len);
}

static void on_open(void *arg)
{
    tls_conn *conn = arg;
    fwi_over_opened(&conn->over);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    tls_conn *conn = arg;
    fwi_conn_received(&conn->over.base, data, len);
}

static void on_end(void *arg)
{
    tls_conn *conn = arg;
    fwi_conn_ended(&conn->over.base);
}

static bool wants_data(void *arg)
{
    const tls_conn *conn = arg;
    return fwi_conn_wants_data(&conn->over.base);
}

static const fwi_tls_sink sink = {.send = on_send,
                                  .on_open = on_open,
                                  .on_data = on_data,
                                  .on_end = on_end,
                                  .wants_data = wants_data};

/* ---- the layer ---- */

/* Tells the connection why, in words; and the log, if nobody has accepted it yet. */
static int explained(tls_conn *conn, int err)
{
    if (!err || !conn->engine.errmsg)
        return err;
    fwi_conn_explain(&conn->over.base, conn->engine.errmsg);
    if (conn->over.listener)
        fwi_log(FW_LOG_INFO, "tls", "handshake failed",
                FWI_TEXT("peer", fw_conn_peer(conn->over.lower)),
                FWI_TEXT("why", conn->engine.errmsg));
    return err;
}

static int start(fwi_over_conn *over)
{
    tls_conn *conn = tls_of(over);
    if (over->listener) {
        const tls_listener *listener = fwi_container_of(over->listener, tls_listener, over);
        return fwi_tls_engine_init(&conn->engine, listener->tls, NULL, 0, NULL,
                                   fw_loop_now_ms(over->base.loop), &sink, conn);
    }
    return explained(conn, fwi_tls_engine_start(&conn->engine));
}

static ssize_t input(fwi_over_conn *over, const uint8_t *data, size_t len)
{
    tls_conn *conn = tls_of(over);
    ssize_t took = fwi_tls_engine_input(&conn->engine, data, len);
    return took < 0 ? explained(conn, (int)took) : took;
}

/* Small buffers go into one record, large ones are not copied. */
static int output(fwi_over_conn *over, const uv_buf_t *bufs, unsigned count)
{
    tls_conn *conn = tls_of(over);
    uint8_t gathered[FWI_TLS_RECORD_BYTES];
    int err = FW_OK;
    for (unsigned i = 0; i < count && !err;) {
        size_t len = 0;
        unsigned first = i;
        for (; i < count && bufs[i].len <= sizeof gathered - len; i++)
            len += bufs[i].len;
        if (i <= first + 1) {
            i = first + 1;
            err =
                fwi_tls_engine_output(&conn->engine, (uint8_t *)bufs[first].base, bufs[first].len);
            continue;
        }
        len = 0;
        for (unsigned from = first; from < i; from++) {
            memcpy(gathered + len, bufs[from].base, bufs[from].len);
            len += bufs[from].len;
        }
        err = fwi_tls_engine_output(&conn->engine, gathered, len);
    }
    return explained(conn, err);
}

static int lower_ended(fwi_over_conn *over)
{
    tls_conn *conn = tls_of(over);
    return explained(conn, fwi_tls_engine_wire_ended(&conn->engine));
}

static int shut_down(fwi_over_conn *over)
{
    return fwi_tls_engine_end(&tls_of(over)->engine);
}

static bool end(fwi_over_conn *over, int reason)
{
    (void)reason;
    if (tls_of(over)->engine.ssl)
        (void)fwi_tls_engine_end(&tls_of(over)->engine);
    return false;
}

static void fini(fwi_over_conn *over)
{
    fwi_tls_engine_fini(&tls_of(over)->engine);
}

static void listener_fini(fwi_over_listener *over)
{
    fw_tls_release(fwi_container_of(over, tls_listener, over)->tls);
}

static const fwi_layer layer = {.scheme = "tls",
                                .conn_bytes = sizeof(tls_conn),
                                .listener_bytes = sizeof(tls_listener),
                                .ops = {FWI_OVER_OPS, .shutdown = fwi_over_shutdown},
                                .start = start,
                                .input = input,
                                .output = output,
                                .lower_ended = lower_ended,
                                .shutdown = shut_down,
                                .end = end,
                                .fini = fini,
                                .listener_fini = listener_fini};

/* ---- dialling and listening ---- */

static int prepare_conn(fwi_over_conn *over, const fw_url *url, const fw_conn_options *options)
{
    tls_conn *conn = tls_of(over);
    fw_tls *tls;
    const char *server_name;
    if (url->host_count != 1)
        return FW_EURL;
    int err = fwi_tls_of_url(url, options->tls, false, &tls, &server_name);
    if (err)
        return err;
    err = fwi_tls_engine_init(&conn->engine, tls, url->hosts[0].name, url->hosts[0].port,
                              server_name, fw_loop_now_ms(over->base.loop), &sink, conn);
    fw_tls_release(tls); /* the engine has its own reference */
    return err;
}

static int prepare_listener(fwi_over_listener *over, const fw_url *url,
                            const fw_listener_options *options)
{
    const char *server_name;
    return fwi_tls_of_url(url, options->tls, true, &fwi_container_of(over, tls_listener, over)->tls,
                          &server_name);
}

static const fwi_over_request request = {.layer = &layer,
                                         .lower_scheme = "tcp",
                                         .own = fwi_tls_params,
                                         .prepare_conn = prepare_conn,
                                         .prepare_listener = prepare_listener};

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                fw_conn **ret_conn)
{
    return *url->path ? FW_EURL : fwi_over_dial(loop, url, options, &request, ret_conn);
}

static int listen_tls(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                      fw_listener **ret_listener)
{
    return *url->path ? FW_EURL : fwi_over_listen(loop, url, options, &request, ret_listener);
}

const fwi_transport fwi_transport_tls = {
    .scheme = "tls",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_RELIABLE | FW_TRANSPORT_HALF_CLOSE |
                 FW_TRANSPORT_SECURE | FW_TRANSPORT_TLS,
    .dial = dial,
    .listen = listen_tls,
};

/* ---- what was agreed on ---- */

/* The TLS connection that this one is, or stands on; or NULL. */
static const tls_conn *tls_below(const fw_conn *conn)
{
    while (conn && conn->ops->close == fwi_over_close) {
        const fwi_over_conn *over = fwi_container_of(conn, fwi_over_conn, base);
        if (over->layer == &layer)
            return fwi_container_of(over, tls_conn, over);
        conn = over->lower;
    }
    return NULL;
}

int fw_conn_tls_info(const fw_conn *conn, fw_tls_info *ret_info)
{
    const tls_conn *tls = tls_below(conn);
    if (!tls || !tls->engine.open)
        return UV_ENOTSUP;
    fwi_tls_engine_info(&tls->engine, ret_info);
    return FW_OK;
}

bool fw_tls_resumed(const fw_conn *conn)
{
    const tls_conn *tls = tls_below(conn);
    return tls && tls->engine.open && SSL_session_reused(tls->engine.ssl) == 1;
}
