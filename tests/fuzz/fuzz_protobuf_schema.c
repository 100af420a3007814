/* A descriptor set, and a message of its type M: length u16 of the set | set | message. */
#include "base/bytes.h"
#include "fuzz.h"

#include <cjson/cJSON.h>
#include <fairway/protobuf.h>
#include <string.h>

static void check_message(const void *type, const uint8_t *data, size_t len)
{
    const fw_codec *codec;
    fw_codec_limits limits = {.max_elements = 1000};
    cJSON *json, *again;
    uint8_t *out;
    size_t out_len;
    FUZZ_CHECK(!fw_codec_get("protobuf", &codec));
    if (fw_codec_decode_json(codec, type, data, len, &limits, &json, NULL))
        return;
    /* Members whose names differ in underscores only are one in JSON. */
    if (!fw_codec_encode_json(codec, type, json, NULL, &out, &out_len, NULL)) {
        if (!fw_codec_decode_json(codec, type, out, out_len, NULL, &again, NULL))
            cJSON_Delete(again);
        free(out);
    }
    cJSON_Delete(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fw_protobuf *schema;
    fw_codec_error error;
    if (len < 2 || fwi_get_u16le(data) > len - 2)
        return 0;
    size_t set_len = fwi_get_u16le(data);
    if (fw_protobuf_load(data + 2, set_len, &schema, &error)) {
        FUZZ_CHECK(*error.text && memchr(error.text, 0, sizeof error.text));
        return 0;
    }
    const void *type = fw_protobuf_get_type(schema, "M");
    if (type)
        check_message(type, data + 2 + set_len, len - 2 - set_len);
    fw_protobuf_destroy(schema);
    return 0;
}
