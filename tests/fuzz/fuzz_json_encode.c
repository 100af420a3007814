/* JSON into messages of every codec; what is written can be read. */
#include "fuzz.h"
#include "sample.pb-c.h"

#include <cjson/cJSON.h>
#include <fairway/sproto.h>
#include <string.h>

static const char schema_text[] =
    ".E { id 1 : integer name 2 : string }\n"
    ".T {\n"
    "  i 0 : integer b 1 : boolean s 2 : string n 3 : binary d 4 : double f 5 : integer(2) t 6 : "
    "T\n"
    "  ai 7 : *integer ab 8 : *boolean as 9 : *string an 10 : *binary ad 11 : *double\n"
    "  at 15 : *T byid 20 : *E(id) byname 21 : *E(name) kv 22 : *E()\n"
    "}\n";

static void check(const char *name, const void *type, const cJSON *json)
{
    const fw_codec *codec;
    fw_codec_limits limits = {.max_bytes = 1 << 20};
    fw_codec_error error;
    uint8_t *out;
    size_t len;
    cJSON *again;
    if (fw_codec_get(name, &codec))
        return;
    if (fw_codec_encode_json(codec, type, json, &limits, &out, &len, &error)) {
        FUZZ_CHECK(*error.text && memchr(error.text, 0, sizeof error.text));
        return;
    }
    /* It may not fit into JSON: a key that is no text, more levels than msgpack-c reads. */
    if (!fw_codec_decode_json(codec, type, out, len, NULL, &again, &error))
        cJSON_Delete(again);
    else
        FUZZ_CHECK(*error.text);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static fw_sproto *schema;
    const fw_codec *codec;
    cJSON *json;
    if (!schema)
        FUZZ_CHECK(!fw_sproto_parse(schema_text, sizeof schema_text - 1, &schema, NULL));
    FUZZ_CHECK(!fw_codec_get("json", &codec));
    if (fw_codec_decode_json(codec, NULL, data, len, NULL, &json, NULL))
        return 0;
    check("raw", NULL, json);
    check("msgpack", NULL, json);
    check("protobuf", &sample__all__descriptor, json);
    check("sproto", fw_sproto_get_type(schema, "T"), json);
    cJSON_Delete(json);
    return 0;
}
