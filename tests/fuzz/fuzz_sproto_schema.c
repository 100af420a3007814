/* sproto's schemas, as text and compiled: what is read is written and read again as the same. */
#include "fuzz.h"

#include <fairway/sproto.h>
#include <string.h>

static void check(fw_sproto *schema)
{
    uint8_t *bundle, *again;
    size_t len, again_len;
    if (!fw_sproto_bundle(schema, &bundle, &len)) {
        fw_sproto *loaded;
        FUZZ_CHECK(!fw_sproto_load(bundle, len, &loaded, NULL));
        FUZZ_CHECK(!fw_sproto_bundle(loaded, &again, &again_len));
        FUZZ_CHECK(len == again_len && !memcmp(bundle, again, len));
        fw_sproto_destroy(loaded);
        free(again);
        free(bundle);
    }
    fw_sproto_destroy(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fw_sproto *schema;
    fw_codec_error error;
    if (fw_sproto_parse((const char *)data, len, &schema, &error))
        FUZZ_CHECK(memchr(error.text, 0, sizeof error.text));
    else
        check(schema);
    if (!fw_sproto_load(data, len, &schema, &error))
        check(schema);
    return 0;
}
