#include "transport/snet/stream.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/bytes.h"

#define RING_FIRST_BYTES 1024

enum { OUTGOING, INCOMING };

int fwi_snet_stream_init(fwi_snet_stream *stream, uint64_t id, uint64_t secret, bool is_server,
                         bool encrypt, size_t ring_max_bytes)
{
    assert(ring_max_bytes);
    *stream = (fwi_snet_stream){.id = id, .ring_max_bytes = ring_max_bytes};
    fwi_put_u64le(stream->key, secret);
    if (!encrypt)
        return FW_OK;
    stream->ciphers = malloc(2 * sizeof *stream->ciphers);
    if (!stream->ciphers)
        return UV_ENOMEM;
    fwi_rc4_init(&stream->ciphers[OUTGOING], stream->key, FWI_SNET_KEY_BYTES);
    stream->ciphers[INCOMING] = stream->ciphers[OUTGOING];
    /* The first bytes from the server have enciphered the session's id in the handshake. */
    uint8_t id_bytes[8] = {0};
    fwi_rc4_apply(&stream->ciphers[is_server ? OUTGOING : INCOMING], id_bytes, sizeof id_bytes,
                  id_bytes);
    return FW_OK;
}

void fwi_snet_stream_fini(fwi_snet_stream *stream)
{
    if (stream->ciphers)
        fwi_snet_cleanse(stream->ciphers, 2 * sizeof *stream->ciphers);
    free(stream->ciphers);
    free(stream->ring);
    fwi_snet_cleanse(stream, sizeof *stream);
}

/* Makes room for len bytes more while the ring may still grow. */
static int ring_grow(fwi_snet_stream *stream, size_t len)
{
    size_t wanted = stream->held + len;
    if (wanted > stream->ring_max_bytes || wanted < len)
        wanted = stream->ring_max_bytes;
    if (wanted <= stream->ring_bytes)
        return FW_OK;
    size_t size = stream->ring_bytes ? stream->ring_bytes : RING_FIRST_BYTES;
    while (size < wanted)
        size *= 2;
    if (size > stream->ring_max_bytes)
        size = stream->ring_max_bytes;
    uint8_t *ring = malloc(size);
    if (!ring)
        return UV_ENOMEM;
    fwi_snet_span spans[2];
    fwi_snet_stream_replay(stream, stream->written - stream->held, spans);
    size_t copied = 0;
    for (int i = 0; i < 2; i++) {
        if (spans[i].len)
            memcpy(ring + copied, spans[i].data, spans[i].len);
        copied += spans[i].len;
    }
    free(stream->ring);
    stream->ring = ring;
    stream->ring_bytes = size;
    stream->head = stream->held; /* less than size: it grew */
    return FW_OK;
}

static void ring_push(fwi_snet_stream *stream, const uint8_t *data, size_t len)
{
    if (len > stream->ring_bytes) {
        data += len - stream->ring_bytes;
        len = stream->ring_bytes;
    }
    size_t first = stream->ring_bytes - stream->head;
    if (first > len)
        first = len;
    memcpy(stream->ring + stream->head, data, first);
    memcpy(stream->ring, data + first, len - first);
    stream->head = (stream->head + len) % stream->ring_bytes;
    stream->held += len;
    if (stream->held > stream->ring_bytes)
        stream->held = stream->ring_bytes;
}

int fwi_snet_stream_send(fwi_snet_stream *stream, const uint8_t *data, size_t len,
                         uint8_t *ret_wire)
{
    if (!len)
        return FW_OK;
    int err = ring_grow(stream, len);
    if (err)
        return err;
    if (stream->ciphers)
        fwi_rc4_apply(&stream->ciphers[OUTGOING], data, len, ret_wire);
    else
        memmove(ret_wire, data, len);
    ring_push(stream, ret_wire, len);
    stream->written += len;
    return FW_OK;
}

void fwi_snet_stream_receive(fwi_snet_stream *stream, uint8_t *data, size_t len)
{
    if (stream->ciphers)
        fwi_rc4_apply(&stream->ciphers[INCOMING], data, len, data);
    stream->read += len;
}

int fwi_snet_stream_check(const fwi_snet_stream *stream, uint64_t peer_written, uint64_t peer_read)
{
    if (peer_written < stream->read || peer_read > stream->written)
        return FW_EPROTOCOL;
    return stream->written - peer_read > stream->held ? FW_ELIMIT : FW_OK;
}

void fwi_snet_stream_replay(const fwi_snet_stream *stream, uint64_t peer_read,
                            fwi_snet_span ret_spans[2])
{
    size_t missing = (size_t)(stream->written - peer_read);
    assert(missing <= stream->held);
    ret_spans[0] = ret_spans[1] = (fwi_snet_span){.len = 0};
    if (missing > stream->head) {
        size_t wrapped = missing - stream->head;
        ret_spans[0] = (fwi_snet_span){stream->ring + stream->ring_bytes - wrapped, wrapped};
        missing = stream->head;
    }
    if (missing)
        ret_spans[1] = (fwi_snet_span){stream->ring + stream->head - missing, missing};
}
