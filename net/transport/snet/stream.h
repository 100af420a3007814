/*
 * What of an snet session outlives its links: the key, how far both directions have come, the
 * cipher states, and the ring of what was sent last. Sans-IO.
 *
 * The protocol has no acknowledgements. A side learns what the other has read when a new link is
 * made, and sends again from there, out of the ring, the same ciphertext. So the ring is the bound
 * of what may be under way when a link breaks. It grows with what is sent, up to that bound: a
 * session that sent little owns little.
 */
#ifndef FWI_SNET_STREAM_H
#define FWI_SNET_STREAM_H

#include "transport/snet/crypto.h"

typedef struct fwi_snet_stream {
    uint64_t id;
    uint64_t written, read; /* payload bytes since the session began */
    uint8_t key[FWI_SNET_KEY_BYTES];
    fwi_rc4 *ciphers; /* outgoing, incoming; NULL: plain */
    uint8_t *ring;
    size_t ring_bytes, ring_max_bytes;
    size_t head, held; /* where the next byte goes; how many before it are there */
} fwi_snet_stream;

typedef struct fwi_snet_span {
    const uint8_t *data;
    size_t len;
} fwi_snet_span;

/* ring_max_bytes > 0. UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_snet_stream_init(fwi_snet_stream *stream, uint64_t id,
                                               uint64_t secret, bool is_server, bool encrypt,
                                               size_t ring_max_bytes);
/* Of a zeroed stream, too. */
FWI_API void fwi_snet_stream_fini(fwi_snet_stream *stream);

/* Puts the bytes, enciphered, at ret_wire (of the same length, may be the same memory) and into the
 * ring. UV_ENOMEM: nothing was sent. */
FWI_API FW_MUST_CHECK int fwi_snet_stream_send(fwi_snet_stream *stream, const uint8_t *data,
                                               size_t len, uint8_t *ret_wire);
/* Deciphers what came over the link, in place. */
FWI_API void fwi_snet_stream_receive(fwi_snet_stream *stream, uint8_t *data, size_t len);

/* Whether the session can go on with a peer who has come that far. FW_EPROTOCOL: it says to have
 * read more than was written, or to have written less than was read. FW_ELIMIT: what it lacks is no
 * longer in the ring. */
FWI_API FW_MUST_CHECK int fwi_snet_stream_check(const fwi_snet_stream *stream,
                                                uint64_t peer_written, uint64_t peer_read);
/* What is to be sent again to a peer who was checked: two spans, either may be empty, valid until
 * something is sent. */
FWI_API void fwi_snet_stream_replay(const fwi_snet_stream *stream, uint64_t peer_read,
                                    fwi_snet_span ret_spans[2]);

#endif
