/* The JSON codec: what it reads it writes, and reads again as the same text. */
#include "fuzz.h"

#include <cjson/cJSON.h>
#include <fairway/codec.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const fw_codec *codec;
    if (!codec)
        FUZZ_CHECK(!fw_codec_get("json", &codec));
    fw_codec_limits limits = {.max_depth = 20, .max_elements = 500};
    fw_codec_error error;
    cJSON *json, *again;
    uint8_t *out, *out2;
    size_t out_len, out2_len;
    if (fw_codec_decode_json(codec, NULL, data, len, &limits, &json, &error)) {
        FUZZ_CHECK(*error.text && memchr(error.text, 0, sizeof error.text));
        return 0;
    }
    limits.max_depth = 0;
    if (!fw_codec_encode_json(codec, NULL, json, &limits, &out, &out_len, &error)) {
        FUZZ_CHECK(!fw_codec_decode_json(codec, NULL, out, out_len, &limits, &again, &error));
        FUZZ_CHECK(!fw_codec_encode_json(codec, NULL, again, &limits, &out2, &out2_len, &error));
        FUZZ_CHECK(out_len == out2_len && !memcmp(out, out2, out_len));
        cJSON_Delete(again);
        free(out2);
        free(out);
    }
    cJSON_Delete(json);
    return 0;
}
