/* The JSON of one codec's message through msgpack and back: nothing is lost on the way. */
#ifndef FUZZ_TRANSCODE_H
#define FUZZ_TRANSCODE_H

#include "fuzz.h"

#include <cjson/cJSON.h>
#include <fairway/codec.h>
#include <string.h>

/* text: the JSON as printed. */
static inline void check_through_msgpack(const cJSON *json, const char *text)
{
    const fw_codec *codec;
    uint8_t *out;
    size_t len;
    cJSON *again;
    /* A map whose only key is "$bin" means bytes there, which its own type told apart. */
    if (fw_codec_get("msgpack", &codec) || strstr(text, "\"$"))
        return;
    FUZZ_CHECK(!fw_codec_encode_json(codec, NULL, json, NULL, &out, &len, NULL));
    fw_codec_error error;
    if (!fw_codec_decode_json(codec, NULL, out, len, NULL, &again, &error)) {
        char *back = cJSON_PrintUnformatted(again);
        FUZZ_CHECK(back && !strcmp(text, back));
        cJSON_free(back);
        cJSON_Delete(again);
    } else {
        FUZZ_CHECK(strstr(error.text, "deeper"));
    }
    free(out);
}

#endif
