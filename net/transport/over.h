/*
 * Connections that stand on another connection: TLS on tcp, WebSocket on tcp or TLS. A layer brings
 * its protocol as functions that turn bytes into bytes; this file dials and accepts the lower
 * connection, keeps the handshake's deadline, pauses, closes in order, and passes the lower queue's
 * pressure upwards.
 *
 *     dial:    lower opens   -> start -> ... input ... -> fwi_over_opened -> on_open
 *     accept:  lower accepted -> start -> ... input ... -> fwi_over_opened -> on_accept
 *     close:   end (last bytes; it may linger for the peer's) -> lower closes -> fini -> gone
 *
 * What a layer sends goes to `lower` with fw_conn_write or fw_conn_reserve.
 */
#ifndef FWI_OVER_H
#define FWI_OVER_H

#include "base/list.h"
#include "transport/transport.h"

#include <sys/types.h>

typedef struct fwi_over_conn fwi_over_conn;
typedef struct fwi_over_listener fwi_over_listener;

typedef struct fwi_layer {
    const char *scheme;
    size_t conn_bytes;     /* of the layer's connection, which begins with fwi_over_conn */
    size_t listener_bytes; /* of its listener, which begins with fwi_over_listener */
    fwi_conn_ops ops;      /* made with FWI_OVER_OPS, and send if there are messages */

    /* The lower connection is open. conn->listener is NULL if it was dialled. */
    int (*start)(fwi_over_conn *conn);
    /* Bytes came. Returns how many it took: all, or, as soon as fwi_conn_wants_data is false on an
     * open connection, fewer (the rest is kept and given again); or an error, which closes. After a
     * close in one of its own calls it returns what it likes. */
    ssize_t (*input)(fwi_over_conn *conn, const uint8_t *data, size_t len);
    /* Stream: sends all of the buffers. */
    int (*output)(fwi_over_conn *conn, const uv_buf_t *bufs, unsigned count);
    /* The lower peer has sent its end. FW_OK: so has ours (fwi_conn_ended follows); else the reason
     * to close with. NULL: UV_EOF. */
    int (*lower_ended)(fwi_over_conn *conn);
    /* Sends the end of our side, before the lower connection does; NULL: no half-close. */
    int (*shutdown)(fwi_over_conn *conn);
    /* The connection closes, after it was open: last bytes. True: it lingers until
     * fwi_over_release, or LINGER_MS. NULL: nothing to say. */
    bool (*end)(fwi_over_conn *conn, int reason);
    void (*fini)(fwi_over_conn *conn);
    void (*listener_fini)(fwi_over_listener *listener); /* may be NULL */
} fwi_layer;

struct fwi_over_conn {
    fw_conn base;
    const fwi_layer *layer;
    fw_conn *lower;              /* NULL when it is gone */
    fwi_over_listener *listener; /* while an accepted one shakes hands */
    fwi_list node;               /* in the listener */
    fwi_timer *timer;            /* handshake's deadline, or the lingering; NULL when idle */
    uint8_t *held;               /* came in while reading was stopped: bytes [held_at, held_len) */
    size_t held_at, held_len;
    /* Of base.taken: what is known to be with the kernel; what will be when so many bytes of the
     * lower one are. */
    uint64_t left, mark, mark_lower;
    fwi_task feed;
    bool lingers;
};

struct fwi_over_listener {
    fw_listener base;
    const fwi_layer *layer;
    fw_listener *lower;  /* NULL when it is gone */
    fwi_list handshakes; /* of fwi_over_conn */
    size_t handshake_count;
};

/* The operations that every layer has; layers with a half-close add .shutdown = fwi_over_shutdown.
 */
#define FWI_OVER_OPS                                                                               \
    .try_write = fwi_over_try_write, .read_start = fwi_over_read_start,                            \
    .read_stop = fwi_over_read_stop, .close = fwi_over_close, .peer = fwi_over_peer,               \
    .queued_bytes = fwi_over_queued_bytes

/*
 * Dials `lower_scheme` at the URL's host; parameters that are not in `own` (ends with NULL) are the
 * lower transport's. prepare_ fills the layer's part before anything else happens; an error
 * there is the caller's, and leaves nothing for fini.
 */
typedef struct fwi_over_request {
    const fwi_layer *layer;
    const char *lower_scheme;
    const char *const *own;
    int (*prepare_conn)(fwi_over_conn *conn, const fw_url *url, const fw_conn_options *options);
    int (*prepare_listener)(fwi_over_listener *listener, const fw_url *url,
                            const fw_listener_options *options);
    const char *url_path; /* shown behind the listener's address; NULL: nothing */
} fwi_over_request;

int fwi_over_dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                  const fwi_over_request *request, fw_conn **ret_conn);
int fwi_over_listen(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                    const fwi_over_request *request, fw_listener **ret_listener);

/* The handshake is over; an accepted connection is handed to the user within this call. */
void fwi_over_opened(fwi_over_conn *conn);
/* Ends the lingering. */
void fwi_over_release(fwi_over_conn *conn);
/* True while a lower write would only pile up. */
bool fwi_over_congested(const fwi_over_conn *conn);

int fwi_over_try_write(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
int fwi_over_shutdown(fw_conn *conn);
int fwi_over_read_start(fw_conn *conn);
void fwi_over_read_stop(fw_conn *conn);
void fwi_over_close(fw_conn *conn);
void fwi_over_peer(fw_conn *conn, char *ret_text, size_t size);
size_t fwi_over_queued_bytes(const fw_conn *conn);

#endif
