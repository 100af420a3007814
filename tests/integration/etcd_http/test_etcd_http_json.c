/* The driver's reading and writing of JSON, and messages of a stream that are not as they should
 * be. */
#include "fwt.h"

#include "notice.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static bool decodes(const char *base64, const char *wanted)
{
    cJSON *object = cJSON_CreateObject();
    fw_slice bytes;
    cJSON_AddStringToObject(object, "b", base64);
    bool ok = fwi_eh_json_bytes(object, "b", &bytes);
    if (ok)
        fwt_assert_bytes(bytes.data, bytes.len, wanted, strlen(wanted), base64);
    cJSON_Delete(object);
    return ok;
}

START_TEST(right_base64_is_decoded_and_nothing_else)
{
    ck_assert(decodes("", "") && decodes("YQ==", "a") && decodes("YWI=", "ab"));
    ck_assert(decodes("YWJj", "abc") && decodes("+/+/", "\xfb\xff\xbf"));
    static const char *const bad[] = {"Y",        "YQ",   "YQ=",   "=",    "====",
                                      "Y===",     "YR==", "YWJ=",  "YQ= ", " YQ=",
                                      "YQ==YQ==", "_-_-", "YQ=\n", "Y=Q=", "\xff\xff\xff\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!decodes(bad[i], ""), "%s", bad[i]);
}
END_TEST

START_TEST(what_is_encoded_is_decoded_to_the_same)
{
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len < sizeof bytes; len++) {
        fwi_eh_text text = {.data = NULL};
        fwi_eh_text_add(&text, "{\"b\":");
        fwi_eh_text_add_bytes(&text, (fw_slice){bytes, len});
        fwi_eh_text_add(&text, "}");
        ck_assert(!text.failed);
        ck_assert_uint_eq(strlen(text.data), text.len);
        cJSON *object = cJSON_Parse(text.data);
        fw_slice back;
        ck_assert(fwi_eh_json_bytes(object, "b", &back));
        fwt_assert_bytes(back.data, back.len, bytes, len, "bytes");
        cJSON_Delete(object);
        fwi_eh_text_fini(&text);
    }
}
END_TEST

START_TEST(numbers_are_whole_strings_of_64_bits)
{
    cJSON *object =
        cJSON_Parse("{\"a\":\"9223372036854775807\",\"b\":\"-9223372036854775808\","
                    "\"c\":\"9223372036854775808\",\"d\":\"12x\",\"e\":12,\"f\":\"\",\"g\":\" 1\","
                    "\"h\":\"18446744073709551615\",\"i\":\"-1\",\"j\":null}");
    int64_t number;
    uint64_t unsigned_number;
    ck_assert(fwi_eh_json_int64(object, "a", &number) && number == INT64_MAX);
    ck_assert(fwi_eh_json_int64(object, "b", &number) && number == INT64_MIN);
    ck_assert(fwi_eh_json_int64(object, "missing", &number) && number == 0);
    ck_assert(fwi_eh_json_int64(NULL, "a", &number) && number == 0);
    static const char *const bad[] = {"c", "d", "e", "f", "g", "j"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!fwi_eh_json_int64(object, bad[i], &number), "%s", bad[i]);
    ck_assert(fwi_eh_json_uint64(object, "h", &unsigned_number) && unsigned_number == UINT64_MAX);
    ck_assert(!fwi_eh_json_uint64(object, "i", &unsigned_number));
    cJSON_Delete(object);
}
END_TEST

START_TEST(strings_are_escaped)
{
    static const char hard[] = "a\"b\\c\n\x01/\xc3\xa9";
    fwi_eh_text text = {.data = NULL};
    ck_assert(fwi_eh_text_reserve(&text, 200));
    const char *before = text.data;
    fwi_eh_text_add_string(&text, hard);
    ck_assert_ptr_eq(text.data, before);
    cJSON *string = cJSON_Parse(text.data);
    ck_assert_str_eq(string->valuestring, hard);
    cJSON_Delete(string);
    fwi_eh_text_fini(&text);
}
END_TEST

static int read_notice(const char *text, fwi_eh_notice *notice)
{
    return fwi_eh_notice_init(notice, (fw_slice){text, strlen(text)});
}

START_TEST(a_message_of_events_is_read)
{
    fwi_eh_notice notice;
    FWT_OK(
        read_notice("{\"result\":{\"header\":{\"cluster_id\":\"18446744073709551615\",\"revision\":"
                    "\"9\"},\"events\":[{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"7\",\"value\":"
                    "\"Yg==\",\"lease\":\"2324035512026978461\"}},{\"type\":\"DELETE\",\"kv\":{"
                    "\"key\":\"Yg==\",\"mod_revision\":\"8\"}}]}}",
                    &notice));
    ck_assert(notice.cluster == UINT64_MAX && notice.revision == 9 && notice.event_count == 2);
    ck_assert(!notice.events[0].is_delete && notice.events[1].is_delete);
    ck_assert_int_eq(notice.events[0].pair.lease, INT64_C(2324035512026978461));
    ck_assert_uint_eq(notice.events[1].pair.value.len, 0);
    fwi_eh_notice_fini(&notice);
    FWT_OK(read_notice("{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}",
                       &notice));
    ck_assert(notice.error_code == 14 && !strcmp(notice.error, "etcdserver: no leader"));
    fwi_eh_notice_fini(&notice);
}
END_TEST

START_TEST(errors_are_read_as_gateways_of_all_versions_tell_them)
{
    static const char *const replies[] = {
        "{\"error\":\"no\",\"message\":\"no\",\"code\":7}",
        "{\"error\":\"no\",\"code\":7}",
        "{\"code\":7,\"message\":\"no\",\"details\":[]}",
        "{\"error\":{\"grpc_code\":7,\"http_code\":403,\"message\":\"no\"}}",
        "{\"error\":{\"code\":7,\"message\":\"no\",\"details\":[]}}",
    };
    int code = 0;
    const char *text = "";
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        cJSON *reply = cJSON_Parse(replies[i]);
        ck_assert_msg(fwi_eh_json_error(reply, &code, &text), "%s", replies[i]);
        ck_assert_int_eq(code, 7);
        ck_assert_str_eq(text, "no");
        cJSON_Delete(reply);
    }
    cJSON *reply = cJSON_Parse("{\"header\":{\"revision\":\"1\"}}");
    ck_assert(!fwi_eh_json_error(reply, &code, &text) && !fwi_eh_json_error(NULL, &code, &text));
    cJSON_Delete(reply);
}
END_TEST

START_TEST(a_malformed_message_is_refused)
{
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"result\":1}",
        "{\"result\":{\"header\":{\"revision\":7}}}",
        "{\"result\":{\"events\":{}}}",
        "{\"result\":{\"events\":[1]}}",
        "{\"result\":{\"events\":[{}]}}",
        "{\"result\":{\"events\":[{\"kv\":{\"key\":\"YQ==\"}}]}}",
        "{\"result\":{\"events\":[{\"kv\":{\"key\":\"Y\",\"mod_revision\":\"1\"}}]}}",
        ("{\"result\":{\"events\":[{\"type\":\"X\",\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"1\"}"
         "}"
         "]}}"),
        "{\"result\":{\"events\":[{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"-1\"}}]}}",
        "{\"result\":{\"watch_id\":\"a\"}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fwi_eh_notice notice;
        int err = read_notice(bad[i], &notice);
        fwi_eh_notice_fini(&notice);
        ck_assert_msg(err == FW_EPROTOCOL, "%s: %s", bad[i], fw_error_name(err));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http json");
    TCase *tcase = fwt_tcase(suite, "json", 30);
    tcase_add_test(tcase, right_base64_is_decoded_and_nothing_else);
    tcase_add_test(tcase, what_is_encoded_is_decoded_to_the_same);
    tcase_add_test(tcase, numbers_are_whole_strings_of_64_bits);
    tcase_add_test(tcase, strings_are_escaped);
    tcase_add_test(tcase, a_message_of_events_is_read);
    tcase_add_test(tcase, errors_are_read_as_gateways_of_all_versions_tell_them);
    tcase_add_test(tcase, a_malformed_message_is_refused);
    return fwt_main(suite);
}
