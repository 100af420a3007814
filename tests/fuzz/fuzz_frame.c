/* The framer: whatever comes in pieces comes out as the same frames in one piece. */
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

static void note(outcome *seen, fw_slice frame)
{
    const uint8_t *p = frame.data;
    seen->frames++;
    seen->bytes += frame.len;
    for (size_t i = 0; i < frame.len; i++)
        seen->hash = (seen->hash ^ p[i]) * 1099511628211u;
}

static outcome run(const fw_framing *framing, const uint8_t *data, size_t len, size_t piece)
{
    fwi_framer framer;
    outcome seen = {.rc = fwi_framer_init(&framer, framing)};
    for (size_t at = 0; !seen.rc && at < len;) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        fwi_framer_push(&framer, copy, n);
        fw_slice frame;
        while ((seen.rc = fwi_framer_next(&framer, &frame)) > 0) {
            FUZZ_CHECK(frame.len >= framing->length_bytes &&
                       frame.len <= framing->length_bytes + MAX_FRAME_BYTES);
            note(&seen, frame);
        }
        free(copy);
        at += n;
    }
    fwi_framer_fini(&framer);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    fw_framing framing = {.length_bytes = (uint8_t)(1u << (data[0] & 3)),
                          .big_endian = data[0] & 4,
                          .max_frame_bytes = MAX_FRAME_BYTES};
    size_t piece = (size_t)(data[0] >> 3) + 1;
    outcome whole = run(&framing, data + 1, len - 1, len),
            parts = run(&framing, data + 1, len - 1, piece);
    FUZZ_CHECK(whole.rc == parts.rc && whole.frames == parts.frames && whole.bytes == parts.bytes &&
               whole.hash == parts.hash);
    return 0;
}
