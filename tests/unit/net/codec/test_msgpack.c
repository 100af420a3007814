/* Codec msgpack: bytes of the specification, what JSON has no form for, and hostile messages. */
#include "fwt.h"

#include <cjson/cJSON.h>
#include <fairway/codec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fw_codec *codec;

static void setup(void)
{
    FWT_OK(fw_codec_get("msgpack", &codec));
}

static int decode(const char *hex, const fw_codec_limits *limits, char **ret_text,
                  fw_codec_error *ret_error)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    cJSON *json;
    int err = fw_codec_decode_json(codec, NULL, bytes, len, limits, &json, ret_error);
    free(bytes);
    if (err)
        return err;
    *ret_text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return FW_OK;
}

/* (https://github.com/msgpack/msgpack/blob/master/spec.md) */
static const struct {
    const char *json, *hex;
} pairs[] = {
    {"null", "c0"},
    {"false", "c2"},
    {"true", "c3"},
    {"0", "00"},
    {"127", "7f"},
    {"128", "cc80"},
    {"256", "cd0100"},
    {"65536", "ce00010000"},
    {"4294967296", "cf0000000100000000"},
    {"-1", "ff"},
    {"-32", "e0"},
    {"-33", "d0df"},
    {"-129", "d1ff7f"},
    {"-32769", "d2ffff7fff"},
    {"-2147483649", "d3ffffffff7fffffff"},
    {"1.5", "cb3ff8000000000000"},
    {"-0", "cb8000000000000000"},
    {"\"\"", "a0"},
    {"\"abc\"", "a3616263"},
    {"[]", "90"},
    {"[1,[2,\"x\"]]", "92019202a178"},
    {"{}", "80"},
    {"{\"compact\":true,\"schema\":0}", "82a7636f6d70616374c3a6736368656d6100"},
    {"{\"$bin\":\"AP8=\"}", "c40200ff"},
    {"{\"$str\":\"/w==\"}", "a1ff"},
    {"{\"$int\":\"18446744073709551615\"}", "cfffffffffffffffff"},
    {"{\"$int\":\"-9223372036854775808\"}", "d38000000000000000"},
    {"{\"$float\":\"NaN\"}", "cb7ff8000000000000"},
    {"{\"$float\":\"-Infinity\"}", "cbfff0000000000000"},
    {"{\"$ext\":[5,\"AQ==\"]}", "d40501"},
    {"{\"$ext\":[-1,\"AAAAAQ==\"]}", "d6ff00000001"},
    {"{\"$ext\":[7,\"AQID\"]}", "c70307010203"},
    {"{\"$map\":[[1,\"a\"],[[2],null]]}", "8201a16191"
                                          "02c0"},
    {"{\"$map\":[[\"$bin\",1]]}", "81a42462696e01"},
    {"{\"a\":1,\"$bin\":2}", "82a16101a42462696e02"},
};

START_TEST(test_pairs)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        cJSON *json = cJSON_Parse(pairs[i].json);
        uint8_t *out;
        size_t len, wanted_len;
        uint8_t *wanted = fwt_unhex(pairs[i].hex, &wanted_len);
        fw_codec_error error;
        char *text;
        int err = fw_codec_encode_json(codec, NULL, json, NULL, &out, &len, &error);
        ck_assert_msg(!err, "%s: %s", pairs[i].json, error.text);
        fwt_assert_bytes(out, len, wanted, wanted_len, pairs[i].json);
        FWT_OK(decode(pairs[i].hex, NULL, &text, &error));
        ck_assert_str_eq(text, pairs[i].json);
        cJSON_free(text);
        free(out);
        free(wanted);
        cJSON_Delete(json);
    }
}
END_TEST

START_TEST(test_other_forms)
{
    static const struct {
        const char *hex, *json;
    } forms[] = {{"ca3fc00000", "1.5"},
                 {"cd0001", "1"},
                 {"d90161", "\"a\""},
                 {"da000161", "\"a\""},
                 {"db0000000161", "\"a\""},
                 {"dc000101", "[1]"},
                 {"dd0000000101", "[1]"},
                 {"de0001a16101", "{\"a\":1}"},
                 {"df00000001a16101", "{\"a\":1}"},
                 {"c500020001", "{\"$bin\":\"AAE=\"}"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char *text;
        FWT_OK(decode(forms[i].hex, NULL, &text, NULL));
        ck_assert_str_eq(text, forms[i].json);
        cJSON_free(text);
    }
}
END_TEST

START_TEST(test_refused)
{
    static const struct {
        const char *hex;
        int err;
        const char *part;
    } cases[] = {{"", FW_EMESSAGE, "byte 0 of 0"},
                 {"c1", FW_EMESSAGE, "byte 0 of 1"},
                 {"0001", FW_EMESSAGE, "more than one value, from byte 1"},
                 {"92", FW_EMESSAGE, "cut short"},
                 {"a3ff", FW_EMESSAGE, "byte 0 of 2"},
                 {"9201cd01", FW_EMESSAGE, "byte 2 of 4"},
                 {"ddffffffff", FW_ELIMIT, "more than 100000 values"},
                 {"dfffffffff", FW_ELIMIT, "more than 100000 values"},
                 {"dd0001000001", FW_EMESSAGE, "cut short"},
                 {"dbffffffff61", FW_EMESSAGE, "byte 0 of 6"},
                 {"c9ffffffff01", FW_EMESSAGE, "byte 0 of 6"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fw_codec_error error;
        char *text;
        FWT_ERR(decode(cases[i].hex, NULL, &text, &error), cases[i].err);
        ck_assert_msg(strstr(error.text, cases[i].part) != NULL, "%s: %s", cases[i].hex,
                      error.text);
    }
}
END_TEST

START_TEST(test_depth)
{
    char hex[200], *text;
    fw_codec_error error;
    for (size_t i = 0; i < 33; i++)
        memcpy(hex + 2 * i, "91", 3);
    memcpy(hex + 66, "c0", 3);
    FWT_ERR(decode(hex, NULL, &text, &error), FW_ELIMIT);
    ck_assert_str_eq(error.text, "deeper than 32 levels at byte 32");
    FWT_OK(decode(hex + 2, NULL, &text, &error));
    cJSON_free(text);
    memcpy(hex + 66, "90", 3); /* an empty array is a level, too */
    FWT_ERR(decode(hex + 2, NULL, &text, &error), FW_ELIMIT);
    fw_codec_limits limits = {.max_depth = 3};
    FWT_ERR(decode("9191919100", &limits, &text, &error), FW_ELIMIT);
    FWT_OK(decode("91919100", &limits, &text, &error));
    cJSON_free(text);
    limits = (fw_codec_limits){.max_elements = 3};
    FWT_OK(decode("920102", &limits, &text, &error));
    cJSON_free(text);
    FWT_ERR(decode("93010203", &limits, &text, &error), FW_ELIMIT);
}
END_TEST

START_TEST(test_malformed_forms)
{
    static const char *const wrong[] = {
        "{\"$int\":\"x\"}",     "{\"$bin\":1}",  "{\"$ext\":[300,\"\"]}", "{\"$ext\":[1]}",
        "{\"$map\":[[1,2,3]]}", "{\"$map\":{}}", "{\"$float\":\"x\"}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cJSON *json = cJSON_Parse(wrong[i]);
        uint8_t *out;
        size_t len;
        fw_codec_error error;
        FWT_ERR(fw_codec_encode_json(codec, NULL, json, NULL, &out, &len, &error), FW_EMESSAGE);
        ck_assert(error.text[0]);
        cJSON_Delete(json);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("msgpack");
    TCase *tc = tcase_create("msgpack");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_test(tc, test_pairs);
    tcase_add_test(tc, test_other_forms);
    tcase_add_test(tc, test_refused);
    tcase_add_test(tc, test_depth);
    tcase_add_test(tc, test_malformed_forms);
    return fwt_main(suite);
}
