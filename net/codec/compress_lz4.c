#include "codec/compress_method.h"

#include <fairway/error.h>
#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <uv.h>

typedef struct contexts {
    void *fast, *high; /* either is made when first needed */
} contexts;

static void *create(void)
{
    return calloc(1, sizeof(contexts));
}

static void destroy(void *context)
{
    contexts *own = context;
    free(own->fast);
    free(own->high);
    free(own);
}

static int64_t pack(void *context, int level, fw_slice data, uint8_t *out, size_t out_len)
{
    contexts *own = context;
    bool is_high = level >= LZ4HC_CLEVEL_MIN;
    void **state = is_high ? &own->high : &own->fast;
    if (!*state && !(*state = malloc((size_t)(is_high ? LZ4_sizeofStateHC() : LZ4_sizeofState()))))
        return UV_ENOMEM;
    if (data.len > LZ4_MAX_INPUT_SIZE)
        return 0; /* sent as it is */
    return is_high ? LZ4_compress_HC_extStateHC(*state, data.data, (char *)out, (int)data.len,
                                                (int)out_len, level)
                   : LZ4_compress_fast_extState(*state, data.data, (char *)out, (int)data.len,
                                                (int)out_len, 1);
}

static int unpack(void *context, fw_slice packed, uint8_t *out, size_t out_len)
{
    (void)context;
    if (packed.len > LZ4_MAX_INPUT_SIZE || out_len > LZ4_MAX_INPUT_SIZE)
        return FW_EPROTOCOL;
    int n = LZ4_decompress_safe(packed.data, (char *)out, (int)packed.len, (int)out_len);
    return n == (int)out_len ? FW_OK : FW_EPROTOCOL;
}

const fwi_compress_method fwi_compress_lz4 = {
    .name = "lz4",
    .flag = 2,
    .max_level = LZ4HC_CLEVEL_MAX,
    .max_ratio = 255, /* one more byte of a match's length is worth 255 */
    .create = create,
    .destroy = destroy,
    .pack = pack,
    .unpack = unpack,
};
