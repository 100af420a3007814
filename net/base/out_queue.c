#include "base/out_queue.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

/* Bytes of free chunks that a pool keeps; the rest goes back to the allocator. */
#define POOL_KEEP_BYTES (8u * 1024 * 1024)

void fwi_chunk_pool_init(fwi_chunk_pool *pool)
{
    *pool = (fwi_chunk_pool){.free_bytes = 0};
}

void fwi_chunk_pool_fini(fwi_chunk_pool *pool)
{
    for (int i = 0; i < 2; i++)
        while (pool->free[i]) {
            fwi_chunk *chunk = pool->free[i];
            pool->free[i] = chunk->next;
            free(chunk);
        }
}

#ifdef FWI_ASAN
static int pool_class(uint32_t capacity)
{
    (void)capacity;
    return -1;
}
#else
static int pool_class(uint32_t capacity)
{
    return capacity == FWI_CHUNK_SMALL_BYTES ? 0 : capacity == FWI_CHUNK_LARGE_BYTES ? 1 : -1;
}
#endif

static fwi_chunk *chunk_new(fwi_chunk_pool *pool, uint32_t capacity)
{
    int class = pool_class(capacity);
    fwi_chunk *chunk;
    if (class >= 0 && pool->free[class]) {
        chunk = pool->free[class];
        pool->free[class] = chunk->next;
        pool->free_bytes -= capacity;
    } else {
        chunk = malloc(sizeof *chunk + capacity);
        if (!chunk)
            return NULL;
        chunk->capacity = capacity;
    }
    chunk->next = NULL;
    chunk->start = chunk->end = 0;
    return chunk;
}

void fwi_chunk_free(fwi_chunk_pool *pool, fwi_chunk *chunk)
{
    if (!chunk->capacity)
        fw_buf_release(fwi_chunk_buf(chunk));
    int class = pool_class(chunk->capacity);
    if (class < 0 || pool->free_bytes + chunk->capacity > POOL_KEEP_BYTES) {
        free(chunk);
        return;
    }
    chunk->next = pool->free[class];
    pool->free[class] = chunk;
    pool->free_bytes += chunk->capacity;
}

static void append(fwi_out_queue *queue, fwi_chunk *chunk)
{
    if (queue->tail)
        queue->tail->next = chunk;
    else
        queue->head = chunk;
    queue->tail = chunk;
}

static size_t tail_room(const fwi_out_queue *queue)
{
    const fwi_chunk *tail = queue->tail;
    return tail && tail->capacity ? tail->capacity - tail->end : 0;
}

size_t fwi_out_queue_room(const fwi_out_queue *queue, size_t most)
{
    size_t room = tail_room(queue);
    return room < most ? room : most;
}

uint8_t *fwi_out_queue_reserve(fwi_out_queue *queue, fwi_chunk_pool *pool, size_t len)
{
    if (!queue->tail || !queue->tail->capacity || tail_room(queue) < len) {
        /* A busy connection gets large chunks, so that one write takes few of them. */
        size_t capacity = queue->tail ? FWI_CHUNK_LARGE_BYTES : FWI_CHUNK_SMALL_BYTES;
        if (len > FWI_CHUNK_LARGE_BYTES)
            capacity = len;
        else if (len > capacity)
            capacity = FWI_CHUNK_LARGE_BYTES;
        if (capacity > UINT32_MAX)
            return NULL;
        fwi_chunk *chunk = chunk_new(pool, (uint32_t)capacity);
        if (!chunk)
            return NULL;
        append(queue, chunk);
    }
    fwi_chunk *tail = queue->tail;
    uint8_t *room = tail->data + tail->end;
    tail->end += (uint32_t)len;
    queue->bytes += len;
    return room;
}

int fwi_out_queue_share(fwi_out_queue *queue, fw_buf *buf)
{
    size_t len = fw_buf_bytes(buf).len;
    if (!len)
        return FW_OK;
    fwi_chunk *chunk = len <= UINT32_MAX ? malloc(sizeof *chunk + sizeof buf) : NULL;
    if (!chunk)
        return UV_ENOMEM;
    *chunk = (fwi_chunk){.end = (uint32_t)len};
    memcpy(chunk->data, &buf, sizeof buf);
    fw_buf_acquire(buf);
    append(queue, chunk);
    queue->bytes += len;
    return FW_OK;
}

void fwi_out_queue_unreserve(fwi_out_queue *queue, size_t len)
{
    assert(queue->tail && queue->tail->end - queue->tail->start >= len);
    queue->tail->end -= (uint32_t)len;
    queue->bytes -= len;
}

void fwi_out_queue_consume(fwi_out_queue *queue, fwi_chunk_pool *pool, size_t len)
{
    assert(len <= queue->bytes);
    queue->bytes -= len;
    while (queue->head) {
        fwi_chunk *head = queue->head;
        size_t here = head->end - head->start;
        if (here > len) {
            head->start += (uint32_t)len;
            return;
        }
        len -= here;
        queue->head = head->next;
        fwi_chunk_free(pool, head);
    }
    queue->tail = NULL;
}

void fwi_out_queue_clear(fwi_out_queue *queue, fwi_chunk_pool *pool)
{
    fwi_out_queue_consume(queue, pool, queue->bytes);
}
