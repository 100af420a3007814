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

/* Adds a pair whose key is copied; *ret_room are the bytes behind it, as many as asked for. */
static int add(fwi_kv_pairs *pairs, const char *key, size_t key_len, size_t room, fw_kv_pair pair,
               uint8_t **ret_room)
{
    if (pairs->count == pairs->capacity) {
        size_t capacity = pairs->capacity ? pairs->capacity * 2 : 1;
        fw_kv_pair *items = realloc(pairs->items, capacity * sizeof *items);
        if (!items)
            return UV_ENOMEM;
        pairs->items = items;
        pairs->capacity = capacity;
    }
    uint8_t *memory = take(pairs, key_len + 1 + room);
    if (!memory)
        return UV_ENOMEM;
    memcpy(memory, key, key_len);
    memory[key_len] = 0;
    *ret_room = memory + key_len + 1;
    pair.key = (const char *)memory;
    pairs->items[pairs->count++] = pair;
    return FW_OK;
}

int fwi_kv_pairs_add(fwi_kv_pairs *pairs, const char *key, size_t key_len, fw_slice value,
                     int64_t revision, int64_t lease)
{
    uint8_t *copy;
    fw_kv_pair pair = {.revision = revision, .lease = lease};
    int err = add(pairs, key, key_len, value.len, pair, &copy);
    if (err)
        return err;
    if (value.len)
        memcpy(copy, value.data, value.len);
    pairs->items[pairs->count - 1].value = (fw_slice){copy, value.len};
    return FW_OK;
}

int fwi_kv_pairs_add_view(fwi_kv_pairs *pairs, const char *key, size_t key_len, fw_slice value,
                          int64_t revision, int64_t lease)
{
    uint8_t *nothing;
    fw_kv_pair pair = {.value = value, .revision = revision, .lease = lease};
    return add(pairs, key, key_len, 0, pair, &nothing);
}

void fwi_kv_pairs_keep(fwi_kv_pairs *pairs, fwi_kv_keep *keep)
{
    keep->next = pairs->keeps;
    pairs->keeps = keep;
}

void fwi_kv_pairs_fini(fwi_kv_pairs *pairs)
{
    while (pairs->keeps) {
        fwi_kv_keep *keep = pairs->keeps;
        pairs->keeps = keep->next;
        keep->release(keep);
    }
    while (pairs->blocks) {
        fwi_kv_block *block = pairs->blocks;
        pairs->blocks = block->next;
        free(block);
    }
    free(pairs->items);
    *pairs = (fwi_kv_pairs){.count = 0};
}
