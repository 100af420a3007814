#include "driver.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BLOCK_BYTES (16 * 1024)

static uint8_t *take(fwi_kv_pairs *pairs, size_t len)
{
    fwi_kv_block *block = pairs->blocks;
    if (!block || block->capacity - block->used < len) {
        size_t capacity = len > BLOCK_BYTES ? len : pairs->blocks ? BLOCK_BYTES : len + 64;
        block = malloc(sizeof *block + capacity);
        if (!block)
            return NULL;
        *block = (fwi_kv_block){.next = pairs->blocks, .capacity = capacity};
        pairs->blocks = block;
    }
    uint8_t *p = block->data + block->used;
    block->used += len;
    return p;
}

int fwi_kv_pairs_add(fwi_kv_pairs *pairs, const char *key, size_t key_len, fw_slice value,
                     int64_t revision, int64_t lease)
{
    if (pairs->count == pairs->capacity) {
        size_t capacity = pairs->capacity ? pairs->capacity * 2 : 1;
        fw_kv_pair *items = realloc(pairs->items, capacity * sizeof *items);
        if (!items)
            return UV_ENOMEM;
        pairs->items = items;
        pairs->capacity = capacity;
    }
    uint8_t *memory = take(pairs, key_len + 1 + value.len);
    if (!memory)
        return UV_ENOMEM;
    memcpy(memory, key, key_len);
    memory[key_len] = 0;
    if (value.len)
        memcpy(memory + key_len + 1, value.data, value.len);
    pairs->items[pairs->count++] = (fw_kv_pair){.key = (const char *)memory,
                                                .value = {memory + key_len + 1, value.len},
                                                .revision = revision,
                                                .lease = lease};
    return FW_OK;
}

void fwi_kv_pairs_fini(fwi_kv_pairs *pairs)
{
    while (pairs->blocks) {
        fwi_kv_block *block = pairs->blocks;
        pairs->blocks = block->next;
        free(block);
    }
    free(pairs->items);
    *pairs = (fwi_kv_pairs){.count = 0};
}
