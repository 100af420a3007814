/* protobuf to JSON and back, of a message with every kind of field. */
#include "fuzz.h"
#include "sample.pb-c.h"
#include "transcode.h"

#include <cjson/cJSON.h>
#include <fairway/codec.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const fw_codec *codec;
    const ProtobufCMessageDescriptor *type = &sample__all__descriptor;
    if (!codec)
        FUZZ_CHECK(!fw_codec_get("protobuf", &codec));
    fw_codec_limits limits = {.max_elements = 1000};
    fw_codec_error error;
    cJSON *json, *again;
    uint8_t *out;
    size_t out_len;
    if (fw_codec_decode_json(codec, type, data, len, &limits, &json, &error)) {
        FUZZ_CHECK(*error.text && memchr(error.text, 0, sizeof error.text));
        return 0;
    }
    if (!fw_codec_encode_json(codec, type, json, NULL, &out, &out_len, &error)) {
        FUZZ_CHECK(!fw_codec_decode_json(codec, type, out, out_len, NULL, &again, &error));
        char *a = cJSON_PrintUnformatted(json), *b = cJSON_PrintUnformatted(again);
        FUZZ_CHECK(a && b && !strcmp(a, b));
        check_through_msgpack(json, a);
        cJSON_free(a);
        cJSON_free(b);
        cJSON_Delete(again);
        free(out);
    }
    cJSON_Delete(json);
    return 0;
}
