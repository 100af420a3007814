/* What tcp and unix share: a connection and a listener on a libuv stream. */
#ifndef FWI_UV_STREAM_H
#define FWI_UV_STREAM_H

#include "transport/transport.h"

typedef union fwi_uv_handle {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
} fwi_uv_handle;

/* What only a dialled connection needs. */
typedef struct fwi_stream_dial {
    uv_connect_t connect;
    uv_getaddrinfo_t *resolve; /* tcp, while a name is being looked up */
    int early_error;           /* found while dialling, reported in a later turn */
    fwi_task report;
} fwi_stream_dial;

/* Kept small: a gateway holds a hundred thousand of them, nearly all idle. */
typedef struct fwi_stream_conn {
    fw_conn base;
    fwi_uv_handle uv; /* last: an accepted connection has memory for its own kind only */
} fwi_stream_conn;

typedef struct fwi_stream_listener fwi_stream_listener;
struct fwi_stream_listener {
    fw_listener base;
    fwi_uv_handle uv;
    /* Makes a connection with an initialised handle for the next accept. */
    int (*conn_new)(fw_loop *loop, bool dialled, fwi_stream_conn **ret_conn);
    void (*on_socket)(fwi_stream_conn *conn); /* it is accepted; or NULL */
    fwi_timer again;                          /* to accept what could not be accepted */
    bool proxy;       /* connections begin with a header of the PROXY protocol */
    fwi_list waiting; /* connections whose header is not there yet */
    size_t waiting_count;
};

/* Allocates a connection with the given operations; its handle, of handle_bytes, is to be
 * initialised by the caller. */
int fwi_stream_conn_new(fw_loop *loop, const fwi_conn_ops *ops, size_t handle_bytes, bool dialled,
                        fwi_stream_conn **ret_conn);
/* Of a dialled connection. */
fwi_stream_dial *fwi_stream_dial_of(fwi_stream_conn *conn);
void fwi_stream_on_connect(uv_connect_t *request, int status);
/* Lets a dial fail in a later turn, as the contract wants it. */
void fwi_stream_fail_later(fwi_stream_conn *conn, int error);
int fwi_stream_listen(fwi_stream_listener *listener, int backlog);

/* Reads the header of the PROXY protocol, then hands the connection to its listener; closes it if
 * there is none in time. (proxy_accept.c) */
void fwi_proxy_accept(fwi_stream_listener *listener, fwi_stream_conn *conn);
/* Closes what still waits for its header. */
void fwi_proxy_accept_cancel(fwi_stream_listener *listener);

int fwi_stream_try_write(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
int fwi_stream_write(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
int fwi_stream_shutdown(fw_conn *conn);
int fwi_stream_read_start(fw_conn *conn);
void fwi_stream_read_stop(fw_conn *conn);
void fwi_stream_close(fw_conn *conn);
extern const fwi_listener_ops fwi_stream_listener_ops;

#endif
