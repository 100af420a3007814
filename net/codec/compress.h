/*
 * Packs and unpacks single messages. The contexts of the libraries are large (zstd's take hundreds
 * of KiB), so a loop has one set, shared by all its sessions and made when first needed; nothing
 * carries over from one message to the next.
 *
 *     message = 0 u8 | the bytes as they are
 *             | 1 u8 | size u32 LE of what comes out | a zstd frame
 *             | 2 u8 | size u32 LE of what comes out | an lz4 block
 */
#ifndef FWI_COMPRESS_H
#define FWI_COMPRESS_H

#include <fairway/compress.h>
#include <fairway/loop.h>

typedef struct fwi_compressor fwi_compressor;

#define FWI_COMPRESS_MAX_HEAD_BYTES 5

/* The head and the body of a message: on the wire, one directly behind the other. */
typedef struct fwi_packed {
    uint8_t head[FWI_COMPRESS_MAX_HEAD_BYTES];
    uint8_t head_len;
    fw_slice body;
} fwi_packed;

/* The loop's compressor; one reference. UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_compressor_acquire(fw_loop *loop, fwi_compressor **ret_compressor);
/* Drops a reference; with the last one the contexts are freed. NULL is fine. */
FWI_API void fwi_compressor_release(fwi_compressor *compressor);

/* Packs a message as the options (which were checked) say. The body is the data itself if it is
 * below the threshold or does not shrink; otherwise it is the compressor's, until its next call.
 * UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_compress(fwi_compressor *compressor, const fw_compression *options,
                                       const void *data, size_t len, fwi_packed *ret_message);

/* Unpacks a message of any method that this build has. *ret_data points into the message, or is the
 * compressor's until its next call. FW_EFRAMESIZE: it says that it is longer than max_bytes, and no
 * memory was touched for it; FW_EPROTOCOL: malformed, or its real size is not what it says;
 * FW_EUNSUPPORTED: built without the method; UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_decompress(fwi_compressor *compressor, const void *message,
                                         size_t len, size_t max_bytes, fw_slice *ret_data);

#endif
