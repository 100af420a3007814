/* Framings of one's own: whatever comes byte by byte comes out as the same frames in one piece. The
 * first byte says how the header is read, its bytes as a varint of at most so many. */
#include "fuzz.h"
#include "session/framer.h"

#include <fairway/error.h>
#include <string.h>

#define MAX_FRAME_BYTES 300u

typedef struct outcome {
    uint64_t bytes, hash;
    size_t frames;
    int rc;
} outcome;

static int parse(const uint8_t *data, size_t len, uint64_t *ret_payload_bytes, void *arg)
{
    uint64_t value = 0;
    FUZZ_CHECK(len && len <= *(const uint8_t *)arg);
    for (size_t i = 0; i < len; i++) {
        value |= (uint64_t)(data[i] & 127) << (7 * i);
        if (data[i] < 128) {
            *ret_payload_bytes = value;
            return (int)i + 1;
        }
    }
    return 0;
}

static int write_header(uint8_t *ret_header, uint64_t payload_bytes, void *arg)
{
    uint8_t n = 0, most = *(const uint8_t *)arg;
    for (; payload_bytes > 127 && n < most; payload_bytes >>= 7)
        ret_header[n++] = (uint8_t)(payload_bytes | 128);
    if (n == most)
        return FW_EFRAMESIZE;
    ret_header[n++] = (uint8_t)payload_bytes;
    return n;
}

/* Each header is what is written for its payload, unless it was written with needless bytes. */
static void check_frame(const fwi_framer *framer, fw_slice frame)
{
    uint8_t header[FW_MAX_HEADER_BYTES];
    size_t payload = frame.len - framer->header_bytes;
    FUZZ_CHECK(framer->header_bytes && frame.len >= framer->header_bytes);
    FUZZ_CHECK(payload <= MAX_FRAME_BYTES);
    int n = fwi_framing_write_header(&framer->framing, header, payload);
    FUZZ_CHECK(n > 0 && n <= framer->header_bytes);
    if (n == framer->header_bytes)
        FUZZ_CHECK(!memcmp(header, frame.data, (size_t)n));
}

static outcome run(const fw_framing *framing, const uint8_t *data, size_t len, size_t piece)
{
    fwi_framer framer;
    outcome seen = {.rc = fwi_framer_init(&framer, framing)};
    for (size_t at = 0, n; !seen.rc && at < len; at += n) {
        n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        fwi_framer_push(&framer, copy, n);
        fw_slice frame;
        while ((seen.rc = fwi_framer_next(&framer, &frame)) > 0) {
            check_frame(&framer, frame);
            seen.frames++;
            seen.bytes += frame.len;
            for (size_t i = 0; i < frame.len; i++)
                seen.hash = (seen.hash ^ ((const uint8_t *)frame.data)[i]) * 1099511628211u;
        }
        free(copy);
    }
    fwi_framer_fini(&framer);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    uint8_t most = (uint8_t)((data[0] & 7) + 1);
    fw_framing_ops ops = {
        .max_header_bytes = most, .parse = parse, .write = write_header, .arg = &most};
    fw_framing framing = {.custom = &ops, .max_frame_bytes = MAX_FRAME_BYTES};
    outcome whole = run(&framing, data + 1, len - 1, len),
            parts = run(&framing, data + 1, len - 1, (size_t)(data[0] >> 3) + 1);
    FUZZ_CHECK(whole.rc == parts.rc && whole.frames == parts.frames && whole.bytes == parts.bytes &&
               whole.hash == parts.hash);
    return 0;
}
