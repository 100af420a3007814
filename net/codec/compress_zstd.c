#include "codec/compress_method.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>
#include <zstd.h>
#include <zstd_errors.h>

#define DEFAULT_LEVEL 3

typedef struct contexts {
    ZSTD_CCtx *pack; /* either is made when first needed */
    ZSTD_DCtx *unpack;
} contexts;

static void *create(void)
{
    return calloc(1, sizeof(contexts));
}

static void destroy(void *context)
{
    contexts *own = context;
    ZSTD_freeCCtx(own->pack);
    ZSTD_freeDCtx(own->unpack);
    free(own);
}

static int64_t pack(void *context, int level, fw_slice data, uint8_t *out, size_t out_len)
{
    contexts *own = context;
    if (!own->pack && !(own->pack = ZSTD_createCCtx()))
        return UV_ENOMEM;
    size_t n = ZSTD_compressCCtx(own->pack, out, out_len, data.data, data.len,
                                 level ? level : DEFAULT_LEVEL);
    if (!ZSTD_isError(n))
        return (int64_t)n;
    return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? UV_ENOMEM : 0;
}

static int unpack(void *context, fw_slice packed, uint8_t *out, size_t out_len)
{
    contexts *own = context;
    if (!own->unpack && !(own->unpack = ZSTD_createDCtx()))
        return UV_ENOMEM;
    size_t n = ZSTD_decompressDCtx(own->unpack, out, out_len, packed.data, packed.len);
    return n == out_len ? FW_OK : FW_EPROTOCOL;
}

const fwi_compress_method fwi_compress_zstd = {
    .name = "zstd",
    .flag = 1,
    .max_level = 19, /* beyond it a context takes hundreds of MiB */
    /* A block of 128 KiB that repeats one byte takes four bytes; the frame's header comes first. */
    .max_ratio = 32 * 1024,
    .create = create,
    .destroy = destroy,
    .pack = pack,
    .unpack = unpack,
};
