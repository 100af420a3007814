/* fairway kv txn: JSON in, JSON out. */
#include "clit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED = 1, USAGE = 2, UNREACHABLE = 3, CONFLICT = 4 };

static const clit_result *txn(const char *input)
{
    return clit_run_input(input, "kv", "txn", "--json", NULL);
}

/* What the pair at an index of the last answer says. */
static const char *pair(const char *text, int index, const char *name)
{
    cJSON *json = clit_json(text);
    const cJSON *pairs = cJSON_GetObjectItem(json, "pairs");
    const char *value = clit_member(cJSON_GetArrayItem(pairs, index), name);
    cJSON_Delete(json);
    return value;
}

START_TEST(a_transaction_is_done_whole)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    clit_out("kv", "put", "a", "1");
    const char *revision = clit_field(clit_out("kv", "get", "a", "--json"), "revision");
    const char *input =
        clit_format("{\"compare\": [{\"key\": \"a\", \"revision\": %s}, {\"key\": \"a\", "
                    "\"value\": \"1\"},\n {\"key\": \"z\", \"revision\": 0}, {\"key\": \"a\", "
                    "\"is\": \"<\", \"value\": \"2\"}],\n \"then\": [{\"put\": \"b\", \"value\": "
                    "\"2\"}, {\"get\": \"a\"}, {\"delete\": \"a\"}, {\"get\": \"z\"},\n {\"put\": "
                    "\"bytes\", \"value_base64\": \"/wAB\"}],\n \"else\": [{\"get\": \"b\"}]}\n",
                    revision);
    const clit_result *result = txn(input);
    ck_assert_msg(result->code == 0, "%s", result->err);
    ck_assert_uint_eq(clit_lines(result->out), 1);
    ck_assert_str_eq(clit_field(result->out, "succeeded"), "true");
    ck_assert_int_gt(atol(clit_field(result->out, "revision")), atol(revision));
    ck_assert_str_eq(pair(result->out, 0, "key"), "a");
    ck_assert_str_eq(pair(result->out, 0, "value"), "1");
    ck_assert_str_eq(pair(result->out, 1, "key"), "z");
    ck_assert_str_eq(pair(result->out, 1, "revision"), "0");
    ck_assert_str_eq(pair(result->out, 1, "value"), "(none)");
    ck_assert_str_eq(clit_field(clit_out("kv", "get", "bytes", "--json"), "value_base64"), "/wAB");
    clit_refused(clit_run("kv", "get", "a", NULL), FAILED, "not found");
    /* Once more: now it is the other branch. */
    result = txn(input);
    ck_assert_int_eq(result->code, CONFLICT);
    ck_assert_str_eq(clit_field(result->out, "succeeded"), "false");
    ck_assert_str_eq(pair(result->out, 0, "value"), "2");
    /* As text. */
    result = clit_run_input("{\"then\":[{\"get\":\"b\"},{\"get\":\"z\"}]}", "kv", "txn", NULL);
    ck_assert_int_eq(result->code, 0);
    ck_assert_msg(!strncmp(result->out, "then\trevision ", 14) && strstr(result->out, "\nb\t2\n") &&
                      !strstr(result->out, "z"),
                  "%s", result->out);
}
END_TEST

START_TEST(revisions_beyond_a_double_are_text)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    const clit_result *result =
        txn("{\"compare\":[{\"key\":\"a\",\"is\":\"<\",\"revision\":\"9223372036854775807\"}]}");
    ck_assert_int_eq(result->code, 0);
    clit_refused(txn("{\"compare\":[{\"key\":\"a\",\"revision\":9223372036854775807}]}"), USAGE,
                 "not a revision");
    clit_refused(txn("{\"compare\":[{\"key\":\"a\",\"revision\":\"9223372036854775808\"}]}"), USAGE,
                 "not a revision");
}
END_TEST

static const struct {
    const char *input, *text;
} mistakes[] = {
    {"", "not JSON"},
    {"[]", "not an object"},
    {"{} {}", "not JSON"},
    {"{\"compare\":{}}", "not a list"},
    {"{\"otherwise\":[]}", "not known"},
    {"{\"compare\":[{\"revision\":1}]}", "a comparison has a key"},
    {"{\"compare\":[{\"key\":\"a\"}]}", "a revision or a value"},
    {"{\"compare\":[{\"key\":\"a\",\"revision\":1,\"value\":\"x\"}]}", "a revision or a value"},
    {"{\"compare\":[{\"key\":\"a\",\"is\":\"==\",\"value\":\"x\"}]}", "one of = != < >"},
    {"{\"compare\":[{\"key\":\"a\",\"revision\":-1}]}", "not a revision"},
    {"{\"compare\":[{\"key\":\"a\",\"revision\":1.5}]}", "not a revision"},
    {"{\"compare\":[{\"key\":\"\",\"revision\":1}]}", "key is empty"},
    {"{\"then\":[{\"put\":\"a\"}]}", "put has a value"},
    {"{\"then\":[{\"get\":\"a\",\"value\":\"x\"}]}", "the others have none"},
    {"{\"then\":[{\"get\":\"a\",\"put\":\"b\"}]}", "one of put, get, delete"},
    {"{\"then\":[{\"value\":\"a\"}]}", "one of put, get, delete"},
    {"{\"then\":[{\"put\":\"a\",\"value\":1}]}", "text, or base64"},
    {"{\"then\":[{\"put\":\"a\",\"value_base64\":\"a\"}]}", "not base64"},
    {"{\"then\":[{\"put\":\"a\",\"value_base64\":\"====\"}]}", "not base64"},
    {"{\"then\":[{\"put\":\"a\",\"value\":\"x\\u0000y\"}]}", "value_base64"},
    {"{\"then\":[{\"put\":\"a\",\"value\":\"x\",\"value\":\"y\"}]}", "twice"},
    {"{\"then\":[{\"put\":\"a\",\"value\":\"x\"},{\"delete\":\"/a\"}]}", "unknown option"},
};

START_TEST(mistakes_are_told_and_nothing_is_done)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    clit_refused(txn(mistakes[_i].input), USAGE, mistakes[_i].text);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

START_TEST(too_many_operations_are_refused)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    static char input[8192];
    for (int count = 64; count <= 65; count++) {
        size_t len = (size_t)snprintf(input, sizeof input, "{\"then\":[");
        for (int i = 0; i < count; i++)
            len += (size_t)snprintf(input + len, sizeof input - len,
                                    "%s{\"put\":\"k/%d\",\"value\":\"v\"}", i ? "," : "", i);
        snprintf(input + len, sizeof input - len, "]}");
        const clit_result *result = txn(input);
        if (count == 64)
            ck_assert_int_eq(result->code, 0);
        else
            clit_refused(result, FAILED, "then: limit reached");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv txn");
    TCase *tcase = clit_tcase(suite, "lmdb", 60);
    tcase_add_test(tcase, a_transaction_is_done_whole);
    tcase_add_test(tcase, revisions_beyond_a_double_are_text);
    tcase_add_loop_test(tcase, mistakes_are_told_and_nothing_is_done, 0,
                        sizeof mistakes / sizeof *mistakes);
    tcase_add_test(tcase, too_many_operations_are_refused);
    return fwt_main(suite);
}
