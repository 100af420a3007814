/*
 * A peer that does not read what it gets back is not read from: so little waits for it that a
 * connection needs no bound of its own.
 */
#include "echo.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_PEERS        10000
#define HIGH_WATER_BYTES (256u * 1024)

struct peer {
    struct peer *next, *before;
    cli_echo *echo;
    fw_conn *conn;
};

struct cli_echo {
    fw_listener *listener;
    bool listener_gone;
    struct peer *peers;
    size_t count;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static void free_if_over(cli_echo *echo)
{
    if (!echo->listener_gone || echo->count)
        return;
    if (echo->on_closed)
        echo->on_closed(echo->closed_arg);
    free(echo);
}

/* ---- peers ---- */

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    int err = fw_conn_write(conn, data, len);
    if (err)
        fw_conn_close(conn, err);
    else if (fw_conn_congested(conn))
        fw_conn_read_stop(conn);
}

static void on_drain(fw_conn *conn, void *arg)
{
    (void)arg;
    fw_conn_read_start(conn);
}

static void on_end(fw_conn *conn, void *arg)
{
    (void)arg;
    if (fw_conn_shutdown(conn)) /* after what is still to be sent back */
        fw_conn_close(conn, UV_EOF);
}

static void on_peer_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    struct peer *peer = arg;
    cli_echo *echo = peer->echo;
    if (peer->before)
        peer->before->next = peer->next;
    else
        echo->peers = peer->next;
    if (peer->next)
        peer->next->before = peer->before;
    free(peer);
    echo->count--;
    free_if_over(echo);
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    static const fw_conn_events events = {
        .on_data = on_data, .on_drain = on_drain, .on_end = on_end, .on_closed = on_peer_closed};
    (void)listener;
    cli_echo *echo = arg;
    struct peer *peer = echo->count < MAX_PEERS ? malloc(sizeof *peer) : NULL;
    if (!peer) {
        fw_conn_close(conn, FW_ELIMIT);
        return;
    }
    *peer = (struct peer){.next = echo->peers, .echo = echo, .conn = conn};
    if (peer->next)
        peer->next->before = peer;
    echo->peers = peer;
    echo->count++;
    fw_conn_set_events(conn, &events, peer);
}

/* ---- the listener ---- */

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    cli_echo *echo = arg;
    echo->listener_gone = true;
    free_if_over(echo);
}

bool cli_echo_wants_messages(const char *url)
{
    return !strncmp(url, "ws:", 3) || !strncmp(url, "wss:", 4);
}

int cli_echo_new(fw_loop *loop, const char *url, cli_echo **ret_echo)
{
    cli_echo *echo = calloc(1, sizeof *echo);
    if (!echo)
        return UV_ENOMEM;
    fw_listener_options options = {.high_water_bytes = HIGH_WATER_BYTES,
                                   .messages = cli_echo_wants_messages(url),
                                   .on_accept = on_accept,
                                   .on_closed = on_listener_closed,
                                   .arg = echo};
    int err = fw_listener_new(loop, url, &options, &echo->listener);
    if (err)
        free(echo);
    else
        *ret_echo = echo;
    return err;
}

const char *cli_echo_url(const cli_echo *echo)
{
    return fw_listener_url(echo->listener);
}

void cli_echo_close(cli_echo *echo, void (*on_closed)(void *arg), void *arg)
{
    echo->on_closed = on_closed;
    echo->closed_arg = arg;
    fw_listener_close(echo->listener);
    for (struct peer *peer = echo->peers, *next; peer; peer = next) {
        next = peer->next;
        fw_conn_close(peer->conn, FW_ECANCELED);
    }
}
