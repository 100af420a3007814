/*
 * Compression of messages, an option of a session. Both ends must have it on: every message then
 * starts with a byte that says how it was packed (net/codec/README.md has the table), so each may
 * choose another method and threshold.
 */
#ifndef FAIRWAY_COMPRESS_H
#define FAIRWAY_COMPRESS_H

#include <fairway/base.h>

FW_BEGIN_DECLS

typedef struct fw_compression {
    const char *method; /* "zstd", "lz4" or "none" (packs nothing, understands all); NULL: off, the
                           leading byte is not there either */
    int level; /* zstd 1..19; lz4 1, 2 (fast) and 3..12 (slower, smaller); 0: zstd's 3, lz4's 1 */
    uint32_t threshold_bytes; /* shorter messages are sent as they are; 0: 256 */
} fw_compression;

/* FW_OK if the options can be used. FW_EOPTION: unknown method or level out of range;
 * FW_EUNSUPPORTED: this build of fairway is without the method. Any thread. */
FW_API FW_MUST_CHECK int fw_compression_check(const fw_compression *options);

FW_END_DECLS

#endif
