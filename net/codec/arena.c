#include "codec/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 4096

typedef struct fwi_arena_chunk {
    struct fwi_arena_chunk *next;
    size_t used, capacity;
    alignas(max_align_t) uint8_t bytes[];
} chunk;

void *fwi_arena_take(fwi_arena *arena, size_t len)
{
    len = (len + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    chunk *top = arena->chunks;
    if (!top || top->capacity - top->used < len) {
        size_t capacity = len > CHUNK_BYTES ? len : CHUNK_BYTES;
        top = calloc(1, sizeof *top + capacity);
        if (!top)
            return NULL;
        top->capacity = capacity;
        top->next = arena->chunks;
        arena->chunks = top;
    }
    void *piece = top->bytes + top->used;
    top->used += len;
    return piece;
}

char *fwi_arena_text(fwi_arena *arena, const char *text, size_t len)
{
    char *copy = fwi_arena_take(arena, len + 1);
    if (copy && len)
        memcpy(copy, text, len);
    return copy;
}

void fwi_arena_fini(fwi_arena *arena)
{
    for (chunk *at = arena->chunks, *next; at; at = next) {
        next = at->next;
        free(at);
    }
    arena->chunks = NULL;
}
