/* Codec protobuf: JSON against bytes that protoc has written, and hostile messages. */
#include "fwt.h"
#include "sample.pb-c.h"
#include "strict.pb-c.h"

#include <cjson/cJSON.h>
#include <fairway/protobuf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const fw_codec *codec;
static const ProtobufCMessageDescriptor *all, *inner, *strict;

static fw_protobuf *schemas[3];

static fw_protobuf *load(const char *path)
{
    char *set = NULL;
    fw_protobuf *schema;
    fw_codec_error error;
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    set = malloc(64 * 1024);
    size_t len = fread(set, 1, 64 * 1024, file);
    fclose(file);
    int err = fw_protobuf_load(set, len, &schema, &error);
    free(set); /* nothing of it is kept */
    ck_assert_msg(!err, "%s: %s", path, error.text);
    return schema;
}

static void setup(void)
{
    FWT_OK(fw_codec_get("protobuf", &codec));
    schemas[0] = load(SAMPLE_DIR "/sample.desc");
    schemas[1] = load(SAMPLE_DIR "/strict.desc");
    schemas[2] = load(SAMPLE_DIR "/modern.desc");
}

static void teardown(void)
{
    fw_protobuf_destroy(schemas[0]);
    fw_protobuf_destroy(schemas[1]);
    fw_protobuf_destroy(schemas[2]);
}

/* The types as compiled in, or as loaded at run time. */
static void choose(bool is_loaded)
{
    all = is_loaded ? fw_protobuf_get_type(schemas[0], "sample.All") : &sample__all__descriptor;
    inner =
        is_loaded ? fw_protobuf_get_type(schemas[0], "sample.Inner") : &sample__inner__descriptor;
    strict =
        is_loaded ? fw_protobuf_get_type(schemas[1], "strict.Strict") : &strict__strict__descriptor;
    ck_assert(all && inner && strict);
}

static int decode(const ProtobufCMessageDescriptor *type, const char *hex,
                  const fw_codec_limits *limits, char **ret_text, fw_codec_error *ret_error)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    cJSON *json;
    int err = fw_codec_decode_json(codec, type, bytes, len, limits, &json, ret_error);
    free(bytes);
    if (err)
        return err;
    *ret_text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return FW_OK;
}

static int encode(const ProtobufCMessageDescriptor *type, const char *text, uint8_t **ret_data,
                  size_t *ret_len, fw_codec_error *ret_error)
{
    cJSON *json = cJSON_Parse(text);
    ck_assert_msg(json != NULL, "%s", text);
    int err = fw_codec_encode_json(codec, type, json, NULL, ret_data, ret_len, ret_error);
    cJSON_Delete(json);
    return err;
}

/* Bytes by protoc --encode. */
static const char scalars_hex[] = "08ffffffffffffffffff0110031dfdffffff20fcffffffffffffffff0128ffff"
                                  "ffffffffffffff0131ffffffffffffff7f38ffffffff0f"
                                  "450800000048ffffffffffffffffff01510a000000000000005dcdcccc3d619a"
                                  "9999999999b9bf680170fbffffffffffffffff01"
                                  "7a0368c3a982010200ff8a0107080112031a0178";
static const char scalars_json[] =
    "{\"anInt32\":-1,\"aSint32\":-2,\"aSfixed32\":-3,\"anInt64\":\"-4\",\"aSint64\":\"-"
    "9223372036854775808\","
    "\"aSfixed64\":\"9223372036854775807\",\"aUint32\":4294967295,\"aFixed32\":8,"
    "\"aUint64\":\"18446744073709551615\",\"aFixed64\":\"10\",\"aFloat\":0.1,\"aDouble\":-0.1,"
    "\"aBool\":true,"
    "\"aColor\":\"COLOR_NEGATIVE\",\"aText\":\"h\u00e9\",\"someBytes\":\"AP8=\","
    "\"inner\":{\"number\":1,\"next\":{\"text\":\"x\"}}}";
static const char lists_hex[] =
    "92010d01ffffffffffffffffff01ac029a0101619a0100a2010100a20100aa0100aa01020805b201020100"
    "ba0110000000000000f83f000000000000f07fc201020100ca011001000000000000000200000000000000"
    "da0100ea01050a01621002f2010f08f9ffffffffffffffff0112020803f80101f80102";
static const char lists_json[] = "{\"numbers\":[1,-1,300],\"texts\":[\"a\",\"\"],\"blobs\":[\"AA=="
                                 "\",\"\"],\"inners\":[{},{\"number\":5}],"
                                 "\"colors\":[\"COLOR_RED\",\"COLOR_NONE\"],\"doubles\":[1.5,"
                                 "\"Infinity\"],\"bools\":[true,false],"
                                 "\"fixed\":[\"1\",\"2\"],\"choiceText\":\"\",\"counts\":{\"b\":2},"
                                 "\"innerById\":{\"-7\":{\"number\":3}},"
                                 "\"loose\":[\"-1\",\"1\"]}";

START_TEST(test_pairs)
{
    choose(_i);
    const struct {
        const ProtobufCMessageDescriptor *type;
        const char *hex, *json;
    } pairs[] = {{all, scalars_hex, scalars_json},
                 {all, lists_hex, lists_json},
                 {all, "e201020809", "{\"choiceInner\":{\"number\":9}}"},
                 {all, "", "{}"},
                 {strict, "080010001a0022002a00",
                  "{\"id\":0,\"count\":0,\"name\":\"\",\"data\":\"\",\"part\":{}}"},
                 {strict, "08012a020800", "{\"id\":1,\"part\":{\"on\":false}}"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        uint8_t *out;
        size_t len, wanted_len;
        uint8_t *wanted = fwt_unhex(pairs[i].hex, &wanted_len);
        fw_codec_error error;
        char *text;
        int err = encode(pairs[i].type, pairs[i].json, &out, &len, &error);
        ck_assert_msg(!err, "%s: %s", pairs[i].json, error.text);
        fwt_assert_bytes(out, len, wanted, wanted_len, pairs[i].json);
        err = decode(pairs[i].type, pairs[i].hex, NULL, &text, &error);
        ck_assert_msg(!err, "%s: %s", pairs[i].hex, error.text);
        ck_assert_str_eq(text, pairs[i].json);
        cJSON_free(text);
        free(out);
        free(wanted);
    }
}
END_TEST

START_TEST(test_structs)
{
    choose(false);
    Sample__Inner message = SAMPLE__INNER__INIT;
    message.number = 5;
    message.text = (char *)"x";
    uint8_t *out;
    size_t len;
    void *read;
    FWT_OK(fw_codec_encode(codec, inner, &message, NULL, &out, &len, NULL));
    fwt_assert_bytes(out, len, "\x08\x05\x1a\x01x", 5, "inner");
    FWT_OK(fw_codec_decode(codec, inner, out, len, NULL, &read, NULL));
    ck_assert_int_eq(((Sample__Inner *)read)->number, 5);
    ck_assert_str_eq(((Sample__Inner *)read)->text, "x");
    fw_codec_message_free(codec, inner, read);
    free(out);
    FWT_ERR(fw_codec_encode(codec, all, &message, NULL, &out, &len, NULL), UV_EINVAL);
    fw_codec_limits limits = {.max_bytes = 4};
    FWT_ERR(fw_codec_encode(codec, inner, &message, &limits, &out, &len, NULL), FW_ELIMIT);
    FWT_OK(fw_codec_decode(codec, inner, "", 0, NULL, &read, NULL));
    fw_codec_message_free(codec, inner, read);
}
END_TEST

START_TEST(test_other_json)
{
    choose(_i);
    uint8_t *out;
    size_t len;
    char *text;
    /* Names as in the schema, numbers as texts, enums as numbers, null. */
    FWT_OK(encode(
        all,
        "{\"an_int32\":\"7\",\"an_int64\":8,\"a_color\":1,\"a_text\":null,\"a_double\":\"NaN\","
        "\"colors\":[99],\"counts\":{}}",
        &out, &len, NULL));
    cJSON *json;
    FWT_OK(fw_codec_decode_json(codec, all, out, len, NULL, &json, NULL));
    text = cJSON_PrintUnformatted(json);
    ck_assert_str_eq(
        text, "{\"anInt32\":7,\"anInt64\":\"8\",\"aDouble\":\"NaN\",\"aColor\":\"COLOR_RED\","
              "\"colors\":[99]}");
    cJSON_free(text);
    cJSON_Delete(json);
    free(out);
}
END_TEST

START_TEST(test_json_refused)
{
    choose(_i);
    const struct {
        const ProtobufCMessageDescriptor *type;
        const char *json, *part;
    } cases[] = {
        {all, "[]", "wants an object"},
        {all, "{\"nothing\":1}", "sample.All has no field nothing"},
        {all, "{\"inner\":{\"next\":{\"number\":1.5}}}",
         "inner.next.number: wants a whole number of 32 bits"},
        {all, "{\"anInt32\":2147483648}", "32 bits"},
        {all, "{\"aUint32\":-1}", "not negative"},
        {all, "{\"aUint64\":\"18446744073709551616\"}", "64 bits"},
        {all, "{\"texts\":[\"a\",1]}", "texts[1]: wants a text"},
        {all, "{\"inners\":[{},{\"number\":true}]}", "inners[1].number"},
        {all, "{\"someBytes\":\"*\"}", "base64"},
        {all, "{\"blobs\":[\"\",\"*\"]}", "blobs[1]"},
        {all, "{\"aColor\":\"BLUE\"}", "sample.Color has no value BLUE"},
        {all, "{\"aBool\":1}", "true or false"},
        {all, "{\"aFloat\":1e300}", "32 bits"},
        {all, "{\"numbers\":{}}", "wants an array"},
        {all, "{\"counts\":[]}", "wants an object"},
        {all, "{\"counts\":{\"a\":\"x\"}}", "counts.a"},
        {all, "{\"innerById\":{\"x\":{}}}", "inner_by_id.x"},
        {all, "{\"choiceText\":\"a\",\"choiceNumber\":1}", "oneof"},
        {all, "{\"aText\":\"a\",\"a_text\":\"b\"}", "twice"},
        {strict, "{\"part\":{}}", "the required field id is missing"},
        {strict, "{\"id\":1}", "the required field part is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *out;
        size_t len;
        fw_codec_error error;
        int err = encode(cases[i].type, cases[i].json, &out, &len, &error);
        ck_assert_msg(err == FW_EMESSAGE, "%s: %s", cases[i].json, fw_error_name(err));
        ck_assert_msg(strstr(error.text, cases[i].part) != NULL, "%s: %s", cases[i].json,
                      error.text);
    }
}
END_TEST

START_TEST(test_bytes_refused)
{
    choose(_i);
    const struct {
        const ProtobufCMessageDescriptor *type;
        const char *hex, *part;
    } cases[] = {{all, "08", "malformed"},          {all, "7a0561", "malformed"},
                 {all, "7a01ff", "a_text: a text"}, {all, "7a0100", "a_text: a text"},
                 {all, "0f", "malformed"},          {all, "9201018f", "malformed"},
                 {strict, "0801", "required"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text;
        fw_codec_error error;
        int err = decode(cases[i].type, cases[i].hex, NULL, &text, &error);
        ck_assert_msg(err == FW_EMESSAGE, "%s: %s", cases[i].hex, fw_error_name(err));
        ck_assert_msg(strstr(error.text, cases[i].part) != NULL, "%s: %s", cases[i].hex,
                      error.text);
    }
}
END_TEST

/* Inner.next in Inner.next: each level costs its sender a few bytes. */
START_TEST(test_depth)
{
    choose(_i);
    enum { LEVELS = 20000 };
    uint8_t *bytes = malloc(LEVELS * 5), *at = bytes + LEVELS * 5, *end = at;
    for (size_t i = 0; i < LEVELS; i++) {
        size_t len = (size_t)(end - at);
        uint8_t head[6], *p = head;
        *p++ = 0x12;
        for (; len > 127; len >>= 7)
            *p++ = (uint8_t)(len | 0x80);
        *p++ = (uint8_t)len;
        at -= p - head;
        memcpy(at, head, (size_t)(p - head));
    }
    void *message;
    fw_codec_error error;
    FWT_ERR(fw_codec_decode(codec, inner, at, (size_t)(end - at), NULL, &message, &error),
            FW_ELIMIT);
    ck_assert_msg(strstr(error.text, "deeper than 64 levels") != NULL, "%s", error.text);
    free(bytes);
}
END_TEST

START_TEST(test_count)
{
    choose(_i);
    fw_codec_limits limits = {.max_elements = 3};
    char *text;
    fw_codec_error error;
    FWT_ERR(decode(all, "920103010203", &limits, &text, &error), FW_ELIMIT);
    FWT_OK(decode(all, "9201020102", &limits, &text, &error));
    cJSON_free(text);
    FWT_ERR(decode(all, "aa0100aa0100aa0100aa0100", &limits, &text, &error), FW_ELIMIT);
    ck_assert_str_eq(error.text, "more than 3 values");
}
END_TEST

/* With presence, imports, aliases, and the largest number. */
START_TEST(test_modern)
{
    static const char *const pairs[][2] = {
        {"8002008a0200", "{\"maybe\":0,\"maybeText\":\"\"}"},
        {"9a02031a0178", "{\"inner\":{\"text\":\"x\"}}"},
        {"faffffff0f1000ffffffff07"
         "80808080f8ffffffff01",
         "{\"aliases\":[\"ZERO\",\"MOST\",\"LEAST\"]}"},
    };
    const ProtobufCMessageDescriptor *type = fw_protobuf_get_type(schemas[2], "modern.Modern");
    ck_assert_ptr_nonnull(type);
    ck_assert_ptr_nonnull(fw_protobuf_get_type(schemas[2], "sample.All"));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t len, out_len;
        uint8_t *wanted = fwt_unhex(pairs[i][0], &len), *out;
        char *text;
        fw_codec_error error;
        int err = decode(type, pairs[i][0], NULL, &text, &error);
        ck_assert_msg(!err, "%s: %s", pairs[i][0], error.text);
        char *zero = strstr(text, "NULL"); /* either name of 0 will do */
        if (zero)
            memcpy(zero, "ZERO", 4);
        ck_assert_str_eq(text, pairs[i][1]);
        FWT_OK(encode(type, pairs[i][1], &out, &out_len, NULL));
        fwt_assert_bytes(out, out_len, wanted, len, text);
        cJSON_free(text);
        free(out);
        free(wanted);
    }
}
END_TEST

/* What a descriptor set may get wrong: each case is one file with the package p. */
START_TEST(test_sets_refused)
{
    static const struct {
        const char *hex, *part;
    } cases[] = {
        {"", "without a message"},
        {"0a", "malformed"},
        {"0a05"
         "2201"
         "00"
         "1200",
         "malformed"},
        {"0a02"
         "2200",
         "a name is missing"},
        /* message A { field number 1, optional, group x } */
        {"0a10"
         "220e"
         "0a0141"
         "1209"
         "0a0178"
         "1801"
         "2001"
         "280a",
         "A.x: type 10 is not supported"},
        {"0a10"
         "220e"
         "0a0141"
         "1209"
         "0a0178"
         "1800"
         "2001"
         "2805",
         "A.x: its number is out of range"},
        {"0a10"
         "220e"
         "0a0141"
         "1209"
         "0a0178"
         "1801"
         "2001"
         "280b",
         "A.x: its type is not in the set"},
        {"0a1b"
         "2219"
         "0a0141"
         "1209"
         "0a0178"
         "1801"
         "2001"
         "2805"
         "1209"
         "0a0179"
         "1801"
         "2001"
         "2805",
         "A has the number 1 twice"},
        {"0a1b"
         "2219"
         "0a0141"
         "1209"
         "0a0178"
         "1801"
         "2001"
         "2805"
         "1209"
         "0a0178"
         "1802"
         "2001"
         "2805",
         "A has x twice"},
        {"0a0a"
         "22030a0141"
         "22030a0141",
         "A is there twice"},
        {"0a08"
         "22030a0141"
         "70e807",
         "editions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len;
        uint8_t *set = fwt_unhex(cases[i].hex, &len);
        fw_protobuf *schema;
        fw_codec_error error;
        int err = fw_protobuf_load(set, len, &schema, &error);
        ck_assert_msg(err == FW_ESCHEMA, "%s: %s", cases[i].hex, fw_error_name(err));
        ck_assert_msg(strstr(error.text, cases[i].part) != NULL, "%s: %s", cases[i].hex,
                      error.text);
        free(set);
    }
    ck_assert_ptr_null(fw_protobuf_get_type(schemas[0], "sample.None"));
    ck_assert_ptr_nonnull(fw_protobuf_get_type(schemas[1], "strict.Strict.Part"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("protobuf");
    TCase *tc = tcase_create("protobuf");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, test_pairs, 0, 2);
    tcase_add_test(tc, test_structs);
    tcase_add_loop_test(tc, test_other_json, 0, 2);
    tcase_add_loop_test(tc, test_json_refused, 0, 2);
    tcase_add_loop_test(tc, test_bytes_refused, 0, 2);
    tcase_add_loop_test(tc, test_depth, 0, 2);
    tcase_add_loop_test(tc, test_count, 0, 2);
    tcase_add_test(tc, test_modern);
    tcase_add_test(tc, test_sets_refused);
    return fwt_main(suite);
}
