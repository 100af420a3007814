/*
 * One TLS connection as a machine without a socket: what came from the wire goes in, what is to be
 * sent and the plaintext come out through the sink. No clock, no buffer of its own: OpenSSL reads
 * where the bytes lie, keeps a partial record only (16 KiB at most), and writes into the sink.
 */
#ifndef FWI_TLS_ENGINE_H
#define FWI_TLS_ENGINE_H

#include "transport/tls/tls.h"

#include <sys/types.h>

/* What is taken before the handshake is over. */
#define FWI_TLS_MOST_HANDSHAKE_BYTES (128 * 1024)
/* The plaintext of a record, and so of a call of on_data. */
#define FWI_TLS_RECORD_BYTES 16384

typedef struct fwi_tls_engine fwi_tls_engine;

/* The engine must not be ended in these; everything else may be called but input. */
typedef struct fwi_tls_sink {
    /* For the wire; lent. An error ends the call that caused it. */
    int (*send)(void *arg, const uint8_t *data, size_t len);
    /* The handshake is over. */
    void (*on_open)(void *arg);
    void (*on_data)(void *arg, const uint8_t *data, size_t len);
    /* The peer's close_notify: nothing comes after it. */
    void (*on_end)(void *arg);
    /* Asked before each record: false stops the input there. */
    bool (*wants_data)(void *arg);
} fwi_tls_sink;

struct fwi_tls_engine {
    SSL *ssl;
    fw_tls *tls;
    const fwi_tls_sink *sink;
    void *arg;
    const uint8_t *in; /* during an input: what OpenSSL has not yet read */
    size_t in_len;
    size_t handshake_bytes;
    char *peer_key; /* a client: whose sessions these are */
    char *errmsg;   /* after a failure, or NULL */
    int sink_error;
    bool open, peer_ended, ended, failed;
};

/* A client's: the peer is host (a name or an IP address) at port; server_name, if not NULL, is the
 * name to ask for and to verify instead. A server's: both NULL. Keeps a reference on tls. now_ms is
 * any monotonic clock. UV_ENOMEM, FW_EOPTION (a name that cannot be one). */
int fwi_tls_engine_init(fwi_tls_engine *engine, fw_tls *tls, const char *host, int port,
                        const char *server_name, uint64_t now_ms, const fwi_tls_sink *sink,
                        void *arg);
void fwi_tls_engine_fini(fwi_tls_engine *engine);

/* A client's first words. */
int fwi_tls_engine_start(fwi_tls_engine *engine);
/* Bytes from the wire: how many were taken, fewer than len only if wants_data said no. FW_ETLS (one
 * of us does not accept the other's certificate), FW_EPROTOCOL, or an error of send; errmsg says
 * more, and the alert for the peer was sent. */
ssize_t fwi_tls_engine_input(fwi_tls_engine *engine, const uint8_t *data, size_t len);
/* Plaintext to be sent, all of it; once open. */
int fwi_tls_engine_output(fwi_tls_engine *engine, const uint8_t *data, size_t len);
/* Sends close_notify, once; nothing is sent after it. */
int fwi_tls_engine_end(fwi_tls_engine *engine);
/* The wire has ended: FW_OK after the peer's close_notify, else FW_EPROTOCOL: somebody may have cut
 * it off. */
int fwi_tls_engine_wire_ended(fwi_tls_engine *engine);

void fwi_tls_engine_info(const fwi_tls_engine *engine, fw_tls_info *ret_info);

#endif
