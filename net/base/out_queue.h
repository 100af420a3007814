/*
 * Outgoing bytes of a connection: a queue of chunks that is empty (and owns nothing) when idle.
 * Chunks come from the loop's pool; under AddressSanitizer every chunk is an allocation of its own,
 * so that the pool never hides a bug.
 */
#ifndef FWI_OUT_QUEUE_H
#define FWI_OUT_QUEUE_H

#include <fairway/buf.h>
#include <string.h>

#define FWI_CHUNK_SMALL_BYTES 4096
#define FWI_CHUNK_LARGE_BYTES 32768
#define FWI_SHARE_LEAST_BYTES 512 /* fewer are copied if a chunk with room is there */

typedef struct fwi_chunk {
    struct fwi_chunk *next;
    uint32_t capacity;   /* 0: shared, then data is the address of an fw_buf, whose bytes count */
    uint32_t start, end; /* bytes [start, end) wait to be sent */
    uint8_t data[];
} fwi_chunk;

typedef struct fwi_chunk_pool {
    fwi_chunk *free[2]; /* small, large */
    size_t free_bytes;
} fwi_chunk_pool;

typedef struct fwi_out_queue {
    fwi_chunk *head, *tail;
    size_t bytes;
} fwi_out_queue;

FWI_API void fwi_chunk_pool_init(fwi_chunk_pool *pool);
FWI_API void fwi_chunk_pool_fini(fwi_chunk_pool *pool);
FWI_API void fwi_chunk_free(fwi_chunk_pool *pool, fwi_chunk *chunk);

static inline fw_buf *fwi_chunk_buf(const fwi_chunk *chunk)
{
    fw_buf *buf;
    memcpy(&buf, chunk->data, sizeof buf);
    return buf;
}

/* What waits of a chunk: chunk->end - chunk->start bytes. */
static inline const uint8_t *fwi_chunk_bytes(const fwi_chunk *chunk)
{
    const uint8_t *data = chunk->data;
    if (!chunk->capacity)
        data = fw_buf_bytes(fwi_chunk_buf(chunk)).data;
    return data + chunk->start;
}

/* Room for len contiguous bytes at the end of the queue, NULL if there is no memory. They count as
 * queued at once: the caller fills them before it returns to the loop. */
FWI_API uint8_t *fwi_out_queue_reserve(fwi_out_queue *queue, fwi_chunk_pool *pool, size_t len);
/* Appends a buffer's bytes without copying them. UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_out_queue_share(fwi_out_queue *queue, fw_buf *buf);
/* Bytes that could be copied into the last chunk, at most most. */
FWI_API size_t fwi_out_queue_room(const fwi_out_queue *queue, size_t most);
/* Takes back the last len bytes of what was just reserved. */
FWI_API void fwi_out_queue_unreserve(fwi_out_queue *queue, size_t len);
/* Drops len bytes from the front. */
FWI_API void fwi_out_queue_consume(fwi_out_queue *queue, fwi_chunk_pool *pool, size_t len);
FWI_API void fwi_out_queue_clear(fwi_out_queue *queue, fwi_chunk_pool *pool);

#endif
