/*
 * Framing, sans-IO: bytes in, frames out. Give it what was read (push), take frames until there is
 * none (next), and do so before the bytes go away. Whole frames are handed out where they lie; only
 * a partial frame is copied, into memory that grows with what has really come, so that a length
 * alone costs nothing.
 *
 *     while ((rc = fwi_framer_next(f, &frame)) > 0) use(frame);
 */
#ifndef FWI_FRAMER_H
#define FWI_FRAMER_H

#include <fairway/session.h>

typedef struct fwi_framer {
    fw_framing framing;
    const uint8_t *input; /* what was pushed and not yet taken */
    size_t input_len;
    uint8_t *partial;
    size_t partial_len, partial_capacity;
    uint16_t header_bytes; /* of the frame that next has given */
    bool partial_used;     /* the partial frame was handed out by the last next */
} fwi_framer;

/* Checks the framing and fills in defaults. FW_EOPTION. */
FWI_API FW_MUST_CHECK int fwi_framing_check(fw_framing *framing);
/* The same, and readies a framer. Messages are frames already and need none: FW_EOPTION. */
FWI_API FW_MUST_CHECK int fwi_framer_init(fwi_framer *framer, const fw_framing *framing);
FWI_API void fwi_framer_fini(fwi_framer *framer);
FWI_API void fwi_framer_push(fwi_framer *framer, const uint8_t *data, size_t len);
/* 1: *ret_frame is a frame with its header (of framer->header_bytes), valid until the next call;
 * 0: more bytes are needed, and everything pushed has been kept; FW_EFRAMESIZE, FW_EPROTOCOL (or
 * another error of a custom framing), UV_ENOMEM. */
FWI_API int fwi_framer_next(fwi_framer *framer, fw_slice *ret_frame);
/* True when no partial frame is kept (asked after next has answered 0). */
static inline bool fwi_framer_is_empty(const fwi_framer *framer)
{
    return !framer->partial_len;
}

/* Writes the header of a frame with len bytes of payload into FW_MAX_HEADER_BYTES of room. Its
 * length (0 with messages), or FW_EFRAMESIZE. The framing is one that was checked. */
FWI_API int fwi_framing_write_header(const fw_framing *framing, uint8_t *header, uint64_t len);
/* The same for a length that is known to fit a length of 1, 2, 4 or 8 bytes. */
FWI_API void fwi_framing_put_header(const fw_framing *framing, uint8_t *header, uint64_t len);
/* True if a frame for one is a frame for the other. */
FWI_API bool fwi_framing_same(const fw_framing *a, const fw_framing *b);

#endif
