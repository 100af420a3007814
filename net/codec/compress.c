#include "codec/compress.h"

#include "base/bytes.h"
#include "base/loop.h"
#include "codec/compress_method.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_THRESHOLD_BYTES 256
#define KEPT_BYTES              (256 * 1024) /* a larger output buffer goes with the next call */
#define RATIO_SLACK_BYTES       (128 * 1024) /* what any method may claim whatever its ratio */

enum { FLAG_PLAIN = 0 };

static const fwi_compress_method *const methods[] = {
#ifdef FWI_COMPRESS_ZSTD
    &fwi_compress_zstd,
#endif
#ifdef FWI_COMPRESS_LZ4
    &fwi_compress_lz4,
#endif
    NULL};
#define METHOD_COUNT (sizeof methods / sizeof *methods)

/* Every method that the format knows, built or not. */
static const struct {
    const char *name;
    uint8_t flag;
} known[] = {{"zstd", 1}, {"lz4", 2}};
#define KNOWN_COUNT (sizeof known / sizeof *known)

struct fwi_compressor {
    fw_loop *loop;
    size_t references;
    void *contexts[METHOD_COUNT]; /* made when first needed */
    uint8_t *out;
    size_t capacity;
};

int fw_compression_check(const fw_compression *options)
{
    if (!options->method || !strcmp(options->method, "none"))
        return options->level ? FW_EOPTION : FW_OK;
    for (size_t i = 0; methods[i]; i++)
        if (!strcmp(methods[i]->name, options->method))
            return options->level < 0 || options->level > methods[i]->max_level ? FW_EOPTION
                                                                                : FW_OK;
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (!strcmp(known[i].name, options->method))
            return FW_EUNSUPPORTED;
    return FW_EOPTION;
}

int fwi_compressor_acquire(fw_loop *loop, fwi_compressor **ret_compressor)
{
    void **place = fwi_loop_compressor(loop);
    fwi_compressor *compressor = *place;
    if (!compressor) {
        compressor = calloc(1, sizeof *compressor);
        if (!compressor)
            return UV_ENOMEM;
        compressor->loop = loop;
        *place = compressor;
    }
    compressor->references++;
    *ret_compressor = compressor;
    return FW_OK;
}

void fwi_compressor_release(fwi_compressor *compressor)
{
    if (!compressor || --compressor->references)
        return;
    *fwi_loop_compressor(compressor->loop) = NULL;
    for (size_t i = 0; methods[i]; i++)
        if (compressor->contexts[i])
            methods[i]->destroy(compressor->contexts[i]);
    free(compressor->out);
    free(compressor);
}

static int reserve(fwi_compressor *compressor, size_t len)
{
    bool is_waste = compressor->capacity > KEPT_BYTES && len <= KEPT_BYTES;
    if (compressor->capacity >= len && !is_waste)
        return FW_OK;
    free(compressor->out);
    compressor->out = malloc(len);
    compressor->capacity = compressor->out ? len : 0;
    return compressor->out ? FW_OK : UV_ENOMEM;
}

static int get_context(fwi_compressor *compressor, size_t method, void **ret_context)
{
    void **context = &compressor->contexts[method];
    if (!*context && !(*context = methods[method]->create()))
        return UV_ENOMEM;
    *ret_context = *context;
    return FW_OK;
}

/* Packs with one method; leaves the message as it is when that does not make it shorter. */
static int pack(fwi_compressor *compressor, size_t method, int level, fwi_packed *message)
{
    size_t len = message->body.len, extra = FWI_COMPRESS_MAX_HEAD_BYTES - 1;
    if (len <= extra || len > UINT32_MAX)
        return FW_OK;
    void *context;
    int err = reserve(compressor, len - extra);
    if (!err)
        err = get_context(compressor, method, &context);
    if (err)
        return err;
    int64_t n = methods[method]->pack(context, level, message->body, compressor->out, len - extra);
    if (n <= 0)
        return (int)n;
    message->head[0] = methods[method]->flag;
    fwi_put_u32le(message->head + 1, (uint32_t)len);
    message->head_len = FWI_COMPRESS_MAX_HEAD_BYTES;
    message->body = (fw_slice){compressor->out, (size_t)n};
    return FW_OK;
}

int fwi_compress(fwi_compressor *compressor, const fw_compression *options, const void *data,
                 size_t len, fwi_packed *ret_message)
{
    fwi_packed message = {.head = {FLAG_PLAIN}, .head_len = 1, .body = {data, len}};
    size_t threshold =
        options->threshold_bytes ? options->threshold_bytes : DEFAULT_THRESHOLD_BYTES;
    int err = FW_OK;
    for (size_t i = 0; len >= threshold && methods[i]; i++)
        if (!strcmp(methods[i]->name, options->method)) {
            err = pack(compressor, i, options->level, &message);
            break;
        }
    if (!err)
        *ret_message = message;
    return err;
}

static int unpack(fwi_compressor *compressor, size_t method, fw_slice packed, size_t size,
                  fw_slice *ret_data)
{
    if (!size || size > (uint64_t)packed.len * methods[method]->max_ratio + RATIO_SLACK_BYTES)
        return FW_EPROTOCOL;
    void *context;
    int err = reserve(compressor, size);
    if (!err)
        err = get_context(compressor, method, &context);
    if (err)
        return err;
    err = methods[method]->unpack(context, packed, compressor->out, size);
    if (err)
        return err;
    *ret_data = (fw_slice){compressor->out, size};
    return FW_OK;
}

int fwi_decompress(fwi_compressor *compressor, const void *message, size_t len, size_t max_bytes,
                   fw_slice *ret_data)
{
    const uint8_t *p = message;
    if (!len)
        return FW_EPROTOCOL;
    if (p[0] == FLAG_PLAIN) {
        if (len - 1 > max_bytes)
            return FW_EFRAMESIZE;
        *ret_data = (fw_slice){p + 1, len - 1};
        return FW_OK;
    }
    if (len <= FWI_COMPRESS_MAX_HEAD_BYTES)
        return FW_EPROTOCOL;
    uint32_t size = fwi_get_u32le(p + 1);
    fw_slice packed = {p + FWI_COMPRESS_MAX_HEAD_BYTES, len - FWI_COMPRESS_MAX_HEAD_BYTES};
    for (size_t i = 0; methods[i]; i++)
        if (methods[i]->flag == p[0])
            return size > max_bytes ? FW_EFRAMESIZE : unpack(compressor, i, packed, size, ret_data);
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (known[i].flag == p[0])
            return FW_EUNSUPPORTED;
    return FW_EPROTOCOL;
}
