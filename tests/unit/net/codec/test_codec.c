/* The codecs' interface, and json and raw behind it. */
#include "codec/base64.h"
#include "fwt.h"

#include <cjson/cJSON.h>
#include <fairway/codec.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const fw_codec *codec_of(const char *name)
{
    const fw_codec *codec;
    FWT_OK(fw_codec_get(name, &codec));
    return codec;
}

START_TEST(test_names)
{
    const fw_codec *codec;
    size_t count = 0;
    for (const char *const *name = fw_codec_names(); *name; name++, count++) {
        FWT_OK(fw_codec_get(*name, &codec));
        ck_assert_str_eq(fw_codec_name(codec), *name);
    }
    ck_assert_uint_ge(count, 3);
    FWT_ERR(fw_codec_get("xml", &codec), FW_EOPTION);
    ck_assert(fw_codec_is_typed(codec_of("sproto")));
    ck_assert(!fw_codec_is_typed(codec_of("json")));
    fw_codec_error error;
    void *message;
    FWT_ERR(fw_codec_decode(codec_of("sproto"), NULL, "", 0, NULL, &message, &error), UV_EINVAL);
    ck_assert(error.text[0]);
}
END_TEST

/* Decodes a text, and gives it as it is encoded again. */
static int through_json(const char *text, size_t len, const fw_codec_limits *limits,
                        char **ret_text, fw_codec_error *ret_error)
{
    void *message;
    uint8_t *out;
    size_t out_len;
    int err = fw_codec_decode(codec_of("json"), NULL, text, len, limits, &message, ret_error);
    if (err)
        return err;
    FWT_OK(fw_codec_encode(codec_of("json"), NULL, message, limits, &out, &out_len, ret_error));
    fw_codec_message_free(codec_of("json"), NULL, message);
    *ret_text = strndup((char *)out, out_len);
    free(out);
    return FW_OK;
}

START_TEST(test_json)
{
    static const char text[] = " {\"a\":[1,-2.5,\"\\u20ac\",true,null,{}],\"b\":{\"\":0}} \n";
    char *out;
    FWT_OK(through_json(text, sizeof text - 1, NULL, &out, NULL));
    ck_assert_str_eq(out, "{\"a\":[1,-2.5,\"\u20ac\",true,null,{}],\"b\":{\"\":0}}");
    free(out);
}
END_TEST

static void check_refused(const char *text, size_t len, int err, const char *part)
{
    fw_codec_error error;
    char *out;
    char *copy = malloc(len + 1); /* of its exact size for the address sanitizer */
    memcpy(copy, text, len);
    copy = realloc(copy, len ? len : 1);
    int got = through_json(copy, len, NULL, &out, &error);
    ck_assert_msg(got == err, "%s: %s", text, fw_error_name(got));
    ck_assert_msg(strstr(error.text, part) != NULL, "%s: %s", text, error.text);
    free(copy);
}

START_TEST(test_json_refused)
{
    check_refused("", 0, FW_EMESSAGE, "no JSON at byte 0");
    check_refused("[1,", 3, FW_EMESSAGE, "no JSON");
    check_refused("[1] [2]", 7, FW_EMESSAGE, "more than one value, from byte 4");
    check_refused("\"\\u0000\"", 8, FW_EMESSAGE, "NUL");
    check_refused("\"a\0b\"", 5, FW_EMESSAGE, "NUL");
    check_refused("[1]\0", 4, FW_EMESSAGE, "NUL");
    check_refused("\"\xff\"", 3, FW_EMESSAGE, "UTF-8");
    check_refused("\"abc", 4, FW_EMESSAGE, "no JSON");
    check_refused("\"abc\\", 5, FW_EMESSAGE, "no JSON");
}
END_TEST

START_TEST(test_json_limits)
{
    char text[4000], *out;
    fw_codec_error error;
    memset(text, '[', sizeof text);
    check_refused(text, sizeof text, FW_ELIMIT, "deeper than 64 levels");
    memset(text, ',', sizeof text);
    text[0] = '[';
    fw_codec_limits limits = {.max_elements = 3};
    FWT_ERR(through_json(text, sizeof text, &limits, &out, &error), FW_ELIMIT);
    ck_assert_str_eq(error.text, "more than 3 values");
    FWT_ERR(through_json("[1,2,3]", 7, &limits, &out, &error), FW_ELIMIT);
    FWT_OK(through_json("[1,2]", 5, &(fw_codec_limits){.max_elements = 4}, &out, &error));
    free(out);
    limits = (fw_codec_limits){.max_bytes = 4};
    FWT_ERR(through_json("[1,2]", 5, &limits, &out, &error), FW_ELIMIT);
    cJSON *json = cJSON_Parse("[1,2]");
    uint8_t *bytes;
    size_t len;
    FWT_ERR(fw_codec_encode(codec_of("json"), NULL, json, &limits, &bytes, &len, &error),
            FW_ELIMIT);
    ck_assert(error.text[0]);
    cJSON_SetNumberValue(json->child->next, INFINITY);
    FWT_ERR(fw_codec_encode(codec_of("json"), NULL, json, NULL, &bytes, &len, &error), FW_EMESSAGE);
    ck_assert_str_eq(error.text, "[1]: JSON has no such number");
    cJSON_Delete(json);
}
END_TEST

START_TEST(test_raw)
{
    const fw_codec *raw = codec_of("raw");
    fw_slice bytes = {"a\0\xff", 3};
    uint8_t *out;
    size_t len;
    void *message;
    cJSON *json;
    FWT_OK(fw_codec_encode(raw, NULL, &bytes, NULL, &out, &len, NULL));
    fwt_assert_bytes(out, len, "a\0\xff", 3, "raw");
    FWT_OK(fw_codec_decode(raw, NULL, out, len, NULL, &message, NULL));
    fwt_assert_bytes(((fw_slice *)message)->data, ((fw_slice *)message)->len, out, len, "raw");
    fw_codec_message_free(raw, NULL, message);
    FWT_OK(fw_codec_decode_json(raw, NULL, out, len, NULL, &json, NULL));
    ck_assert_str_eq(cJSON_GetObjectItem(json, "$bin")->valuestring, "YQD/");
    free(out);
    FWT_OK(fw_codec_encode_json(raw, NULL, json, NULL, &out, &len, NULL));
    fwt_assert_bytes(out, len, "a\0\xff", 3, "raw");
    free(out);
    cJSON_Delete(json);
    FWT_OK(fw_codec_decode_json(raw, NULL, "h\u00e9", 3, NULL, &json, NULL));
    ck_assert_str_eq(json->valuestring, "h\u00e9");
    cJSON_Delete(json);
    FWT_OK(fw_codec_encode(raw, NULL, &(fw_slice){NULL, 0}, NULL, &out, &len, NULL));
    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(len, 0);
    free(out);
}
END_TEST

/* RFC 4648, section 10. */
START_TEST(test_base64)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    uint8_t *bytes;
    size_t len;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *text = fwi_base64_encode((fw_slice){pairs[i][0], strlen(pairs[i][0])});
        ck_assert_str_eq(text, pairs[i][1]);
        FWT_OK(fwi_base64_decode(text, &bytes, &len));
        fwt_assert_bytes(bytes, len, pairs[i][0], strlen(pairs[i][0]), text);
        free(bytes);
        free(text);
    }
    FWT_OK(fwi_base64_decode("-_8", &bytes, &len));
    fwt_assert_bytes(bytes, len, "\xfb\xff", 2, "letters for URLs, no padding");
    free(bytes);
    static const char *const wrong[] = {"A", "=", "A===", "Zg=", "Z g=", "Zg==\n", "Z\x80=="};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        FWT_ERR(fwi_base64_decode(wrong[i], &bytes, &len), FW_EMESSAGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec");
    TCase *tc = tcase_create("codec");
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_test(tc, test_names);
    tcase_add_test(tc, test_json);
    tcase_add_test(tc, test_json_refused);
    tcase_add_test(tc, test_json_limits);
    tcase_add_test(tc, test_raw);
    tcase_add_test(tc, test_base64);
    return fwt_main(suite);
}
