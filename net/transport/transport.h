/*
 * What a transport implements. The core (conn.c, listener.c) owns queues, states, limits and
 * events; a transport moves bytes. Core calls down through the tables; a transport reports up only
 * through the fwi_conn_ and fwi_listener_ functions at the end of this file. Transports that stand
 * on another one (TLS on tcp) have most of it done by over.h.
 */
#ifndef FWI_TRANSPORT_H
#define FWI_TRANSPORT_H

#include <fairway/transport.h>
#include <fairway/url.h>
#include <uv.h>

#include "base/loop.h"

typedef enum fwi_conn_state { FWI_CONN_OPENING, FWI_CONN_OPEN, FWI_CONN_CLOSING } fwi_conn_state;

typedef struct fwi_conn_ops {
    /* Stream: takes what it can of the buffers at once: bytes taken, or UV_EAGAIN, or an error. */
    int (*try_write)(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
    /* Stream: takes all of the buffers, which stay valid until fwi_conn_written (in a later turn).
     * At most one at a time. NULL: what try_write did not take is offered again after
     * fwi_conn_writable. */
    int (*write)(fw_conn *conn, const uv_buf_t *bufs, unsigned count);
    /* Messages: takes one message, or UV_EAGAIN (it is offered again after fwi_conn_writable), or
     * an error. */
    int (*send)(fw_conn *conn, const uint8_t *data, size_t len);
    /* Sends the end; fwi_conn_shut follows, maybe at once. Nothing is under way when it is called,
     * and nothing is written after. NULL without FW_TRANSPORT_HALF_CLOSE. */
    int (*shutdown)(fw_conn *conn);
    int (*read_start)(fw_conn *conn); /* maybe while it reads */
    void (*read_stop)(fw_conn *conn);
    /* Begins to close; fwi_conn_gone follows, after fwi_conn_written of a write in flight. */
    void (*close)(fw_conn *conn);
    /* Writes the peer's URL. */
    void (*peer)(fw_conn *conn, char *ret_text, size_t size);
    /* Of the bytes taken, those which are not yet with the kernel; NULL: none. */
    size_t (*queued_bytes)(const fw_conn *conn);
} fwi_conn_ops;

/* What a dialled connection has besides, as long as it lives. */
typedef struct fwi_conn_dialled {
    fwi_timer timer; /* while dialling */
    fw_conn_events events;
} fwi_conn_dialled;

/* Made when the first of them is there. */
typedef struct fwi_conn_texts {
    char *peer, *errmsg; /* or NULL */
} fwi_conn_texts;

/* Kept small: a server holds a hundred thousand of them, nearly all idle. */
struct fw_conn {
    fw_loop *loop;
    const fwi_conn_ops *ops;
    const fw_conn_events *events;
    void *arg;
    int reason;    /* of the closing */
    uint8_t state; /* fwi_conn_state */
    bool messages : 1;
    bool congested : 1;
    bool read_stopped : 1;
    bool writing : 1;  /* a write is in flight */
    bool blocked : 1;  /* until fwi_conn_writable */
    bool ending : 1;   /* fw_conn_shutdown was called */
    bool shutting : 1; /* the end is under way */
    bool shut : 1;     /* it is sent */
    bool ended : 1;    /* by the peer */
    uint32_t max_message_bytes;
    uint32_t high_water_bytes;
    fwi_out_queue out; /* not yet given to the transport */
    struct {
        fwi_chunk *head;
        size_t bytes;
    } in_flight;    /* given to ops->write */
    uint64_t taken; /* bytes of `out` that the transport has had, altogether */
    fwi_task flush;
    fwi_conn_dialled *dialled; /* NULL: accepted */
    fwi_conn_texts *texts;     /* or NULL */
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
    unsigned abilities; /* fw_transport_ability */
    /* Both allocate the object, with the base part first, zeroed but for loop, ops, and the most
     * that a message can have (max_message_bytes) if there is less room than for any; the core
     * fills in the rest of the base part after. Parameters of the URL that they do not know are
     * FW_EOPTION (fwi_transport_check_params). */
    int (*dial)(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                fw_conn **ret_conn);
    int (*listen)(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                  fw_listener **ret_listener);
} fwi_transport;

#define FWI_TRANSPORT_DEFAULT_BACKLOG       1024
#define FWI_TRANSPORT_DEFAULT_HANDSHAKE_MS  10000
#define FWI_TRANSPORT_DEFAULT_HANDSHAKES    4096
#define FWI_TRANSPORT_DEFAULT_MESSAGE_BYTES (1024 * 1024)

/* The transport of a scheme, or NULL. */
const fwi_transport *fwi_transport_find(const char *scheme);
extern const fwi_transport fwi_transport_kcp;
extern const fwi_transport fwi_transport_kcps;
extern const fwi_transport fwi_transport_mem;
extern const fwi_transport fwi_transport_snet;
extern const fwi_transport fwi_transport_tcp;
extern const fwi_transport fwi_transport_tls;
extern const fwi_transport fwi_transport_udp;
extern const fwi_transport fwi_transport_unix;
extern const fwi_transport fwi_transport_ws;
extern const fwi_transport fwi_transport_wss;

/* FW_EOPTION if the URL has a parameter that is not in the list, which ends with NULL. */
int fwi_transport_check_params(const fw_url *url, const char *const *known);

/* FW_EOPTION if a parameter stands there twice: one of the two would be ignored. */
int fwi_transport_check_repeats(const fw_url *url);

/* A parameter that is 0 or 1; false without it. FW_EOPTION. */
int fwi_transport_flag(const fw_url *url, const char *name, bool *ret_flag);

/* Messages or a stream, and the limit, as the transport can it. FW_EOPTION. */
int fwi_transport_mode(const fwi_transport *transport, const fw_tls *tls, bool messages,
                       size_t max_message_bytes, bool *ret_messages, size_t *ret_max_message_bytes);

/* As the public functions, of a URL that is parsed already. */
int fwi_conn_dial_url(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                      fw_conn **ret_conn);
int fwi_listener_new_url(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                         fw_listener **ret_listener);

void fwi_conn_opened(fw_conn *conn);
/* Bytes, or one whole message. */
void fwi_conn_received(fw_conn *conn, const uint8_t *data, size_t len);
void fwi_conn_written(fw_conn *conn, int status);
/* queued_bytes has become less. */
void fwi_conn_sent(fw_conn *conn);
/* Bytes that were written to the connection, and those of them that are with the kernel,
 * altogether.
 */
static inline uint64_t fwi_conn_given(const fw_conn *conn)
{
    return conn->taken + conn->out.bytes + conn->in_flight.bytes;
}
static inline uint64_t fwi_conn_left(const fw_conn *conn)
{
    size_t below = conn->ops->queued_bytes ? conn->ops->queued_bytes(conn) : 0;
    return below < conn->taken ? conn->taken - below : 0;
}
/* After UV_EAGAIN: there is room again; or queued_bytes has become less. */
void fwi_conn_writable(fw_conn *conn);
/* After ops->shutdown: the end was sent, or could not be. */
void fwi_conn_shut(fw_conn *conn, int status);
/* The peer has sent its end; it may still read. */
void fwi_conn_ended(fw_conn *conn);
/* An error of reading or connecting, or the connection is over (UV_EOF): it closes. */
void fwi_conn_failed(fw_conn *conn, int error);
/* Says more about the reason of the closing; before fwi_conn_failed. The first text stays. */
void fwi_conn_explain(fw_conn *conn, const char *text);
/* Says who the peer is, if that is not what the socket says; once, before anybody asks.
 * UV_ENOMEM. */
FW_MUST_CHECK int fwi_conn_set_peer(fw_conn *conn, const char *url);
/* False while the user does not want to be given anything (reading is stopped, or it closes). */
static inline bool fwi_conn_wants_data(const fw_conn *conn)
{
    return conn->state == FWI_CONN_OPEN && !conn->read_stopped;
}
/* The transport has let go of everything: on_closed runs, and the object is freed. */
void fwi_conn_gone(fw_conn *conn);
void fwi_listener_accepted(fw_listener *listener, fw_conn *conn);
void fwi_listener_gone(fw_listener *listener);

#endif
