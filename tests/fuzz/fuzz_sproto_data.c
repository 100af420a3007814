/* sproto's messages of a type with every kind of field, plain and packed, and packages. */
#include "fuzz.h"
#include "transcode.h"

#include <cjson/cJSON.h>
#include <fairway/sproto.h>
#include <string.h>

static const char schema_text[] =
    ".package { type 0 : integer session 1 : integer ud 2 : string }\n"
    ".E { id 1 : integer name 2 : string }\n"
    ".T {\n"
    "  i 0 : integer b 1 : boolean s 2 : string n 3 : binary d 4 : double f 5 : integer(2) t 6 : "
    "T\n"
    "  ai 7 : *integer ab 8 : *boolean as 9 : *string an 10 : *binary ad 11 : *double\n"
    "  af 13 : *integer(3) at 15 : *T byid 20 : *E(id) byname 21 : *E(name) kv 22 : *E()\n"
    "}\n"
    "call 0 { request T response T }\n";

static fw_sproto *schema;
static fw_sproto_host *host;

static void start(void)
{
    FUZZ_CHECK(!fw_sproto_parse(schema_text, sizeof schema_text - 1, &schema, NULL));
    fw_sproto_host_options options = {.local = schema, .remote = schema};
    FUZZ_CHECK(!fw_sproto_host_create(&options, &host));
}

/* What was read can be written, and that is read as the same. */
static void check_message(const uint8_t *data, size_t len)
{
    const fw_sproto_type *type = fw_sproto_get_type(schema, "T");
    cJSON *json, *again;
    size_t used, out_len;
    uint8_t *out;
    fw_codec_error error;
    if (fw_sproto_decode(type, data, len, NULL, &json, &used, &error))
        return;
    FUZZ_CHECK(used <= len);
    int err = fw_sproto_encode(type, json, NULL, &out, &out_len, &error);
    if (!err) {
        FUZZ_CHECK(!fw_sproto_decode(type, out, out_len, NULL, &again, &used, &error));
        FUZZ_CHECK(used == out_len);
        char *a = cJSON_PrintUnformatted(json), *b = cJSON_PrintUnformatted(again);
        FUZZ_CHECK(a && b && !strcmp(a, b));
        check_through_msgpack(json, a);
        cJSON_free(a);
        cJSON_free(b);
        cJSON_Delete(again);
        free(out);
    } else {
        /* A decimal may have more digits than a double. */
        FUZZ_CHECK(strstr(error.text, "digits"));
    }
    cJSON_Delete(json);
}

static void check_packed(const uint8_t *data, size_t len)
{
    uint8_t *plain, *back, *packed;
    size_t plain_len, back_len;
    if (fw_sproto_unpack(data, len, 1 << 20, &plain, &plain_len))
        return;
    packed = malloc(fw_sproto_pack_bound(plain_len));
    FUZZ_CHECK(packed);
    size_t packed_len = fw_sproto_pack(plain, plain_len, packed);
    FUZZ_CHECK(packed_len <= fw_sproto_pack_bound(plain_len));
    FUZZ_CHECK(!fw_sproto_unpack(packed, packed_len, plain_len, &back, &back_len));
    FUZZ_CHECK(back_len == plain_len && !memcmp(back, plain, plain_len));
    free(back);
    free(packed);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fw_sproto_event event;
    if (!host)
        start();
    check_message(data, len);
    check_packed(data, len);
    if (!fw_sproto_host_dispatch(host, data, len, &event, NULL))
        fw_sproto_event_fini(&event);
    return 0;
}
