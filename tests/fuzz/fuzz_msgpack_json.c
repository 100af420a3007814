/* msgpack to JSON and back: what is written is read as the same JSON. */
#include "fuzz.h"

#include <cjson/cJSON.h>
#include <fairway/codec.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const fw_codec *codec;
    if (!codec)
        FUZZ_CHECK(!fw_codec_get("msgpack", &codec));
    fw_codec_limits limits = {.max_elements = 1000}, wide = {.max_depth = 512};
    fw_codec_error error;
    cJSON *json, *again;
    uint8_t *out;
    size_t out_len;
    if (fw_codec_decode_json(codec, NULL, data, len, &limits, &json, &error)) {
        FUZZ_CHECK(*error.text && memchr(error.text, 0, sizeof error.text));
        return 0;
    }
    FUZZ_CHECK(!fw_codec_encode_json(codec, NULL, json, &wide, &out, &out_len, &error));
    FUZZ_CHECK(!fw_codec_decode_json(codec, NULL, out, out_len, NULL, &again, &error));
    char *a = cJSON_PrintUnformatted(json), *b = cJSON_PrintUnformatted(again);
    FUZZ_CHECK(a && b && !strcmp(a, b));
    cJSON_free(a);
    cJSON_free(b);
    cJSON_Delete(again);
    cJSON_Delete(json);
    free(out);
    return 0;
}
