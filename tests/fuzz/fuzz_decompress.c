/* Packed messages. */
#include "codec/compress.h"
#include "fuzz.h"

#include <fairway/error.h>

#define MAX_BYTES (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static fw_loop *loop;
    static fwi_compressor *compressor;
    if (!compressor)
        FUZZ_CHECK(!fw_loop_new(&loop) && !fwi_compressor_acquire(loop, &compressor));
    fw_slice out;
    if (!fwi_decompress(compressor, data, len, MAX_BYTES, &out)) {
        FUZZ_CHECK(out.len <= MAX_BYTES);
        const uint8_t *p = out.data;
        unsigned sum = 0;
        for (size_t i = 0; i < out.len; i += 1024)
            sum += p[i];
        FUZZ_CHECK(sum <= out.len * 255);
    }
    return 0;
}
