/*
 * How a link of snet begins, in both flavours, for both sides. Sans-IO: bytes in, bytes out;
 * nothing but the handshake is consumed. README.md has the wire tables.
 *
 *     client  start|resume -> bytes to send; input ... -> done
 *     server  input ... -> FWI_SNET_NEW: a session is to be made of id and secret
 *                        | FWI_SNET_RESUMED: the link belongs to the session of that id
 */
#ifndef FWI_SNET_HANDSHAKE_H
#define FWI_SNET_HANDSHAKE_H

#include "transport/snet/stream.h"

typedef enum fwi_snet_flavour {
    FWI_SNET_AUTO, /* the server sees it from the first bytes */
    FWI_SNET_UNIWAY,
    FWI_SNET_FASTWAY
} fwi_snet_flavour;

/* Secret random bytes: fwi_random_secret, or a script of a test. 0 or an error. */
typedef int (*fwi_snet_random_fn)(void *ret_bytes, size_t len);

#define FWI_SNET_MOST_BYTES 41 /* that any step of either side has */

typedef struct fwi_snet_bytes {
    uint8_t data[FWI_SNET_MOST_BYTES];
    size_t len;
} fwi_snet_bytes;

typedef struct fwi_snet_client {
    fwi_snet_flavour flavour;
    const fwi_snet_stream *stream; /* that is resumed; NULL: a new one */
    uint64_t private_key;
    fwi_snet_bytes in;
    bool done;
    uint64_t id, secret;              /* of a new one, when done */
    uint64_t peer_written, peer_read; /* of a resumed one, when done */
} fwi_snet_client;

/* flavour: not FWI_SNET_AUTO. random's errors, UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_snet_client_start(fwi_snet_client *client, fwi_snet_flavour flavour,
                                                fwi_snet_random_fn random, fwi_snet_bytes *ret_out);
/* The stream stays as it is until the handshake is done or dropped. */
FWI_API FW_MUST_CHECK int fwi_snet_client_resume(fwi_snet_client *client, fwi_snet_flavour flavour,
                                                 const fwi_snet_stream *stream,
                                                 fwi_snet_bytes *ret_out);
/* Takes bytes from the server: *ret_used of them, all unless client->done. *ret_out is what to
 * send, maybe nothing. FW_EPROTOCOL, FW_EREFUSED (the server does not resume it), FW_ELIMIT (what
 * the server lacks is no longer in the ring), UV_ENOMEM: the handshake is over, and but for
 * UV_ENOMEM there is no sense in trying to resume again. */
FWI_API FW_MUST_CHECK int fwi_snet_client_input(fwi_snet_client *client, const uint8_t *data,
                                                size_t len, size_t *ret_used,
                                                fwi_snet_bytes *ret_out);

typedef struct fwi_snet_server_config {
    fwi_snet_flavour flavour;
    fwi_snet_random_fn random;
    /* The session of an id, or NULL. */
    const fwi_snet_stream *(*find)(uint64_t id, void *arg);
    /* The same of one that is being resumed by who knows its key: now its counts hold all that has
     * arrived. NULL if that ended it. */
    const fwi_snet_stream *(*settle)(uint64_t id, void *arg);
    void *arg;
} fwi_snet_server_config;

typedef enum fwi_snet_verdict { FWI_SNET_MORE, FWI_SNET_NEW, FWI_SNET_RESUMED } fwi_snet_verdict;

typedef struct fwi_snet_server {
    const fwi_snet_server_config *config;
    fwi_snet_flavour flavour; /* FWI_SNET_AUTO: not known yet */
    fwi_snet_bytes in;
    size_t wanted; /* bytes that make the next step */
    bool resuming, proving;
    uint8_t challenge[8];
    uint64_t id, secret;
    uint64_t peer_read; /* of the session that is resumed */
    uint64_t told_read; /* and what the client was told that we have read */
} fwi_snet_server;

FWI_API void fwi_snet_server_init(fwi_snet_server *server, const fwi_snet_server_config *config);
/* Takes bytes from the client: *ret_used of them; after FWI_SNET_MORE the rest is to be given in
 * another call. *ret_out is to be sent, also when an error comes back (a refusal). Returns the
 * verdict or an error:
 * FW_EPROTOCOL, FW_EAUTH (a wrong proof), FW_EREFUSED (no such session, or it cannot go on from
 * there), UV_ENOMEM or random's; the link is to be closed then, the session is as it was. */
FWI_API FW_MUST_CHECK int fwi_snet_server_input(fwi_snet_server *server, const uint8_t *data,
                                                size_t len, size_t *ret_used,
                                                fwi_snet_bytes *ret_out);

#endif
