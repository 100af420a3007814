/*
 * What a transport implements. The core (conn.c, listener.c) owns queues, states, limits and
 * events; a transport moves bytes. Core calls down through the tables; a transport reports up only
 * through fwi_conn_opened, _received, _written, _failed, _gone and fwi_listener_accepted, _gone.
 */
#ifndef FWI_TRANSPORT_H
#define FWI_TRANSPORT_H

#include <fairway/transport.h>
#include <fairway/url.h>
#include <uv.h>

#include "base/loop.h"

typedef enum fwi_conn_state { FWI_CONN_OPENING, FWI_CONN_OPEN, FWI_CONN_CLOSING } fwi_conn_state;

typedef struct fwi_conn_ops {
    /* Takes what it can of the buffers at once: bytes taken, or UV_EAGAIN, or an error. */
    int (*try_write)(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
    /* Takes all of the buffers, which stay valid until fwi_conn_written. At most one at a time. */
    int (*write)(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
    int (*read_start)(fw_conn *conn);
    void (*read_stop)(fw_conn *conn);
    /* Begins to close; fwi_conn_gone follows, after fwi_conn_written of a write in flight. */
    void (*close)(fw_conn *conn);
    /* Writes the peer's URL. */
    void (*peer)(fw_conn *conn, char *ret_text, size_t size);
} fwi_conn_ops;

struct fw_conn {
    fw_loop *loop;
    const fwi_conn_ops *ops;
    fw_conn_events events;
    void *arg;
    fwi_conn_state state;
    int reason; /* of the closing */
    bool congested, read_stopped, writing;
    size_t high_water_bytes;
    fwi_out_queue out;       /* not yet given to the transport */
    fwi_out_queue in_flight; /* given to ops->write */
    fwi_task flush;
    fwi_timer *dial_timer; /* while dialling */
    char *peer_text;       /* made when first asked for */
};

typedef struct fwi_listener_ops {
    void (*close)(fw_listener *listener); /* fwi_listener_gone follows */
} fwi_listener_ops;

struct fw_listener {
    fw_loop *loop;
    const fwi_listener_ops *ops;
    fw_listener_options options;
    char *url;
    bool closing;
};

typedef struct fwi_transport {
    const char *scheme;
    /* Both allocate the object, with the base part first, zeroed; the core fills the base part
     * after. */
    int (*dial)(fw_loop *loop, const fw_url *url, fw_conn **ret_conn);
    int (*listen)(fw_loop *loop, const fw_url *url, int backlog, fw_listener **ret_listener);
} fwi_transport;

/* The transport of a scheme, or NULL. */
const fwi_transport *fwi_transport_find(const char *scheme);
extern const fwi_transport fwi_transport_tcp;
extern const fwi_transport fwi_transport_unix;

void fwi_conn_opened(fw_conn *conn);
void fwi_conn_received(fw_conn *conn, const uint8_t *data, size_t len);
void fwi_conn_written(fw_conn *conn, int status);
/* An error of reading or connecting, UV_EOF included: the connection closes. */
void fwi_conn_failed(fw_conn *conn, int error);
/* The transport has let go of everything: on_closed runs, and the object is freed. */
void fwi_conn_gone(fw_conn *conn);
void fwi_listener_accepted(fw_listener *listener, fw_conn *conn);
void fwi_listener_gone(fw_listener *listener);

#endif
