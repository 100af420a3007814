/* sproto beyond the vectors: errors of schemas, limits, messages that lie, hosts. */
#include "fwt.h"

#include <cjson/cJSON.h>
#include <fairway/sproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fw_sproto *parse(const char *text)
{
    fw_sproto *schema;
    fw_codec_error error;
    int err = fw_sproto_parse(text, strlen(text), &schema, &error);
    ck_assert_msg(!err, "%s", error.text);
    return schema;
}

START_TEST(test_errors)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {".T {\n  a 0 : integer\n", "line 3: the text ends, but a name is missing"},
        {".T {\n  a 0 integer }", "line 2: wants ':', not 'i'"},
        {".T { a 32767 : integer }", "line 1: a number over 32766"},
        {".T { a 99999999999999999999 : integer }", "line 1: a number over 32766"},
        {".T { a 0 : integer(10) }", "line 1: a number over 9"},
        {".T { a 0 : integer(2 }", "line 1: wants ')', not ' '"},
        {".T { a 0 : *string(x) }", "line 1: a: only an array of structs has a key"},
        {".T { a 0 : Nope }", "line 1: a: its type is not declared"},
        {".T { a 0 : A.B }\n.A {}", "line 1: a: its type is not declared"},
        {".T { a 0 : integer\n a 1 : integer }", "line 2: a: a second field of this name"},
        {".T { a 1 : integer\n b 1 : integer }", "its tag is another field's"},
        {".E { d 0 : double x 1 : integer }\n.T { a 0 : *E(d) }",
         "line 2: a: its key is no integer, boolean, string or binary"},
        {"p 1 { request A }", "line 1: p: its request or response is not declared"},
        {"p 1 { request nil }", "line 1: a request cannot be nil"},
        {"p 1 { request { } request { } }", "line 1: a second request or response"},
        {"p 1 { response nil response nil }", "line 1: a second request or response"},
        {"p 1 { reply { } }", "line 1: wants request or response"},
        {"p 1 {} \n\n p 2 {}", "line 3: p: a second protocol of this name"},
        {"\x01", "line 1: a name is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fw_sproto *schema;
        fw_codec_error error;
        FWT_ERR(fw_sproto_parse(cases[i].text, strlen(cases[i].text), &schema, &error), FW_ESCHEMA);
        ck_assert_msg(strstr(error.text, cases[i].error) != NULL, "%s: %s", cases[i].text,
                      error.text);
    }
}
END_TEST

START_TEST(test_schema_limits)
{
    fw_sproto *schema;
    fw_codec_error error;
    char text[5000];
    memset(text, 'a', sizeof text);
    FWT_ERR(fw_sproto_parse(text, sizeof text, &schema, &error), FW_ELIMIT);
    for (size_t i = 0; i + 3 <= sizeof text; i += 3)
        memcpy(text + i, ".A{", 3);
    FWT_ERR(fw_sproto_parse(text, sizeof text - sizeof text % 3, &schema, &error), FW_ELIMIT);
    ck_assert_str_eq(error.text, "line 1: types in more than 32 types");
    char *large = calloc(1, 1024 * 1024 + 1);
    FWT_ERR(fw_sproto_parse(large, 1024 * 1024 + 1, &schema, &error), FW_ELIMIT);
    free(large);
}
END_TEST

/* A name means the innermost type of that name. */
START_TEST(test_names)
{
    fw_sproto *schema =
        parse(".B { outer 0 : integer }\n"
              ".A { .B { inner 0 : integer } .C { b 0 : B c 1 : A.C top 2 : A } b 0 : B }\n"
              "call 7 { request { b 0 : A.B } response B }");
    ck_assert_ptr_nonnull(fw_sproto_get_type(schema, "A.B"));
    ck_assert_ptr_null(fw_sproto_get_type(schema, "A.D"));
    const fw_sproto_type *type = fw_sproto_get_type(schema, "A.C");
    cJSON *json =
              cJSON_Parse("{\"b\":{\"inner\":1},\"c\":{\"b\":{}},\"top\":{\"b\":{\"inner\":2}}}"),
          *back;
    uint8_t *out;
    size_t len, used;
    FWT_OK(fw_sproto_encode(type, json, NULL, &out, &len, NULL));
    FWT_OK(fw_sproto_decode(type, out, len, NULL, &back, &used, NULL));
    ck_assert(cJSON_Compare(json, back, true));
    const fw_sproto_protocol *protocol = fw_sproto_get_protocol(schema, "call");
    ck_assert_ptr_eq(protocol, fw_sproto_get_protocol_by_tag(schema, 7));
    ck_assert_str_eq(fw_sproto_type_name(protocol->request), "call.request");
    ck_assert_ptr_eq(protocol->response, fw_sproto_get_type(schema, "B"));
    ck_assert_ptr_null(fw_sproto_get_protocol(schema, "other"));
    ck_assert_ptr_null(fw_sproto_get_protocol_by_tag(schema, 8));
    cJSON_Delete(json);
    cJSON_Delete(back);
    free(out);
    fw_sproto_destroy(schema);
}
END_TEST

static void check_encode_error(const fw_sproto_type *type, const char *text, const char *wanted)
{
    cJSON *json = cJSON_Parse(text);
    uint8_t *out;
    size_t len;
    fw_codec_error error;
    FWT_ERR(fw_sproto_encode(type, json, NULL, &out, &len, &error), FW_EMESSAGE);
    ck_assert_str_eq(error.text, wanted);
    cJSON_Delete(json);
}

START_TEST(test_places)
{
    fw_sproto *schema = parse(
        ".E { id 0 : integer name 1 : string }\n"
        ".T { i 0 : integer b 1 : binary t 2 : *T m 3 : *E(id) kv 4 : *E() d 5 : integer(2) }");
    const fw_sproto_type *type = fw_sproto_get_type(schema, "T");
    check_encode_error(type, "[]", "wants an object, a T");
    check_encode_error(type, "{\"x\":1}", "T has no field x");
    check_encode_error(type, "{\"i\":1.5}", "i: wants a whole number of 64 bits");
    check_encode_error(type, "{\"i\":\"9223372036854775808\"}",
                       "i: wants a whole number of 64 bits");
    check_encode_error(type, "{\"t\":[{},{\"t\":[{\"i\":true}]}]}",
                       "t[1].t[0].i: wants a whole number of 64 bits");
    check_encode_error(type, "{\"b\":\"?\"}", "b: wants bytes, written in base64");
    check_encode_error(type, "{\"m\":{\"x\":{}}}", "m.x.id: wants a whole number of 64 bits");
    check_encode_error(type, "{\"kv\":{\"1\":2}}", "kv.1.name: wants a text");
    check_encode_error(type, "{\"d\":\"1\"}", "d: wants a number of 2 digits behind the point");
    check_encode_error(type, "{\"i\":1,\"i\":2}", "a member is there twice");
    fw_sproto_destroy(schema);
}
END_TEST

/* An object stands for a map; where the elements lack their key, it is taken from the name. */
START_TEST(test_maps)
{
    fw_sproto *schema =
        parse(".E { id 0 : integer name 1 : string }\n.F { on 0 : boolean v 1 : integer }\n"
              ".T { m 0 : *E(id) kv 1 : *E() by 2 : *E(name) f 3 : *F() }");
    const fw_sproto_type *type = fw_sproto_get_type(schema, "T");
    cJSON *json = cJSON_Parse(
        "{\"m\":{\"5\":{\"name\":\"x\"}},\"kv\":{\"-2\":\"y\"},\"by\":[{\"id\":1,\"name\":\"z\"}],"
        "\"f\":{\"true\":1,\"false\":2}}");
    cJSON *back;
    uint8_t *out;
    size_t len, used;
    fw_codec_error error;
    int err = fw_sproto_encode(type, json, NULL, &out, &len, &error);
    ck_assert_msg(!err, "%s", error.text);
    FWT_OK(fw_sproto_decode(type, out, len, NULL, &back, &used, NULL));
    char *text = cJSON_PrintUnformatted(back);
    ck_assert_str_eq(text,
                     "{\"m\":{\"5\":{\"id\":5,\"name\":\"x\"}},\"kv\":{\"-2\":\"y\"},"
                     "\"by\":{\"z\":{\"id\":1,\"name\":\"z\"}},\"f\":{\"true\":1,\"false\":2}}");
    cJSON_free(text);
    free(out);
    cJSON_Delete(back);
    cJSON_Delete(json);
    fw_sproto_destroy(schema);
}
END_TEST

static int decode_hex(const fw_sproto_type *type, const char *hex, const fw_codec_limits *limits,
                      fw_codec_error *ret_error)
{
    size_t len, used;
    uint8_t *bytes = fwt_unhex(hex, &len);
    cJSON *json;
    int err = fw_sproto_decode(type, bytes, len, limits, &json, &used, ret_error);
    free(bytes);
    if (!err)
        cJSON_Delete(json);
    return err;
}

START_TEST(test_message_limits)
{
    fw_sproto *schema = parse(".T { t 0 : T b 1 : *boolean i 2 : *integer }");
    const fw_sproto_type *type = fw_sproto_get_type(schema, "T");
    fw_codec_error error;
    /* Three levels. */
    const char *nested = "01000000"
                         "0a000000"
                         "01000000"
                         "02000000"
                         "0000";
    fw_codec_limits limits = {.max_depth = 2};
    FWT_ERR(decode_hex(type, nested, &limits, &error), FW_ELIMIT);
    ck_assert_str_eq(error.text, "t.t: deeper than 2 levels");
    limits.max_depth = 3;
    FWT_OK(decode_hex(type, nested, &limits, &error));
    limits = (fw_codec_limits){.max_elements = 3};
    FWT_ERR(decode_hex(type,
                       "02000100"
                       "0000"
                       "03000000"
                       "000101",
                       &limits, &error),
            FW_ELIMIT);
    FWT_OK(decode_hex(type,
                      "02000100"
                      "0000"
                      "02000000"
                      "0001",
                      &limits, &error));
    FWT_ERR(decode_hex(type,
                       "02000300"
                       "0000"
                       "0d000000"
                       "04000000000000000000000000",
                       &limits, &error),
            FW_ELIMIT);
    limits = (fw_codec_limits){.max_bytes = 3};
    FWT_ERR(decode_hex(type, "00000000", &limits, &error), FW_ELIMIT);
    /* Words that are not there, a length over everything. */
    FWT_ERR(decode_hex(type, "ffff", NULL, &error), FW_EMESSAGE);
    FWT_ERR(decode_hex(type,
                       "02000100"
                       "0000"
                       "ffffffff"
                       "01",
                       NULL, &error),
            FW_EMESSAGE);
    FWT_ERR(decode_hex(type, "", NULL, &error), FW_EMESSAGE);
    fw_sproto_destroy(schema);
}
END_TEST

/* A byte may stand for eight: what comes out is bounded before it is made. */
START_TEST(test_unpack_limit)
{
    uint8_t zeros[1000] = {0}, *out;
    size_t len;
    FWT_ERR(fw_sproto_unpack(zeros, sizeof zeros, 7999, &out, &len), FW_ELIMIT);
    FWT_OK(fw_sproto_unpack(zeros, sizeof zeros, 8000, &out, &len));
    ck_assert_uint_eq(len, 8000);
    free(out);
    FWT_OK(fw_sproto_unpack("", 0, 0, &out, &len));
    ck_assert_uint_eq(len, 0);
    free(out);
    ck_assert_uint_eq(fw_sproto_pack("", 0, zeros), 0);
}
END_TEST

static void check_bundle_error(const char *hex)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    fw_sproto *schema;
    fw_codec_error error;
    FWT_ERR(fw_sproto_load(bytes, len, &schema, &error), FW_ESCHEMA);
    ck_assert(error.text[0]);
    free(bytes);
}

START_TEST(test_bundles)
{
    check_bundle_error("01");
    check_bundle_error("01000000"
                       "04000000"
                       "00000000"); /* a type of no bytes */
    check_bundle_error("01000000"
                       "06000000"
                       "02000000"
                       "0000"); /* without a name */
    /* T { i: type 9 }, of which there is none */
    check_bundle_error("01000000"
                       "26000000"
                       "22000000"
                       "02000000"
                       "0000"
                       "01000000"
                       "54"
                       "13000000"
                       "0f000000"
                       "04000000"
                       "0100"
                       "1400"
                       "0200"
                       "01000000"
                       "69");
}
END_TEST

START_TEST(test_host)
{
    fw_sproto *schema = parse(
        "call 1 { request { n 0 : integer } response { n 0 : integer } }\nping 2 { response nil }");
    fw_sproto_host_options options = {.local = schema, .remote = schema, .max_calls = 2};
    fw_sproto_host *host;
    FWT_OK(fw_sproto_host_create(&options, &host));
    uint8_t *data;
    size_t len;
    uint64_t session = UINT64_MAX;
    fw_codec_error error;
    FWT_ERR(fw_sproto_host_request(host, "none", NULL, NULL, NULL, &data, &len, &error),
            FW_ENOTFOUND);
    FWT_OK(fw_sproto_host_request(host, "ping", NULL, &session, NULL, &data, &len, &error));
    fw_sproto_event event;
    FWT_OK(fw_sproto_host_dispatch(host, data, len, &event, &error)); /* it talks to itself */
    ck_assert_int_eq(event.kind, FW_SPROTO_REQUEST);
    ck_assert_uint_eq(event.session, UINT64_MAX);
    ck_assert(event.protocol->is_confirmed && !event.body);
    fw_sproto_event_fini(&event);
    free(data);
    FWT_ERR(fw_sproto_host_request(host, "ping", NULL, &session, NULL, &data, &len, &error),
            FW_EEXISTS);
    session = 1;
    cJSON *args = cJSON_Parse("{\"n\":\"x\"}");
    FWT_ERR(fw_sproto_host_request(host, "call", args, &session, NULL, &data, &len, &error),
            FW_EMESSAGE);
    cJSON_Delete(args);
    FWT_OK(fw_sproto_host_request(host, "call", NULL, &session, NULL, &data, &len, &error));
    free(data);
    session = 2;
    FWT_ERR(fw_sproto_host_request(host, "call", NULL, &session, NULL, &data, &len, &error),
            FW_ELIMIT);
    ck_assert(fw_sproto_host_forget(host, 1));
    ck_assert(!fw_sproto_host_forget(host, 1));
    FWT_OK(fw_sproto_host_respond(host, fw_sproto_get_protocol(schema, "call"), 1, NULL, NULL,
                                  &data, &len, &error));
    FWT_ERR(fw_sproto_host_dispatch(host, data, len, &event, &error), FW_ENOTFOUND);
    ck_assert_str_eq(error.text, "no call with session 1");
    free(data);
    fw_sproto_host_destroy(host);
    fw_sproto_destroy(schema);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sproto schema");
    TCase *tc = tcase_create("sproto");
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_test(tc, test_errors);
    tcase_add_test(tc, test_schema_limits);
    tcase_add_test(tc, test_names);
    tcase_add_test(tc, test_places);
    tcase_add_test(tc, test_maps);
    tcase_add_test(tc, test_message_limits);
    tcase_add_test(tc, test_unpack_limit);
    tcase_add_test(tc, test_bundles);
    tcase_add_test(tc, test_host);
    return fwt_main(suite);
}
