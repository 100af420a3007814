/* One method of compression; compress.c has the format around it. */
#ifndef FWI_COMPRESS_METHOD_H
#define FWI_COMPRESS_METHOD_H

#include <fairway/base.h>

typedef struct fwi_compress_method {
    const char *name;
    uint8_t flag; /* first byte of its messages */
    int max_level;
    /* A message cannot stand for more than so many times its own bytes (and some slack, see
     * compress.c); one that claims to is refused before memory is taken. */
    uint32_t max_ratio;
    /* Makes the contexts; NULL: no memory. */
    void *(*create)(void);
    void (*destroy)(void *context);
    /* Bytes written, 0 if out_len is too small for them, UV_ENOMEM. */
    int64_t (*pack)(void *context, int level, fw_slice data, uint8_t *out, size_t out_len);
    /* FW_OK if exactly out_len bytes came out; FW_EPROTOCOL, UV_ENOMEM. */
    int (*unpack)(void *context, fw_slice packed, uint8_t *out, size_t out_len);
} fwi_compress_method;

extern const fwi_compress_method fwi_compress_zstd, fwi_compress_lz4;

#endif
