/* A node's text with another state. */
#include "drain.h"
#include "fwt.h"

#include <stdlib.h>
#include <string.h>

static void check(const char *json, fw_instance_state state, const char *wanted)
{
    char *changed;
    FWT_OK(fwi_node_with_state((fw_slice){json, strlen(json)}, state, &changed));
    ck_assert_str_eq(changed, wanted);
    free(changed);
}

static void check_refused(const char *json, size_t len)
{
    char *changed;
    FWT_ERR(fwi_node_with_state((fw_slice){json, len}, FW_INSTANCE_OFFLINE, &changed),
            FW_EINSTANCE);
}

START_TEST(only_the_state_changes)
{
    check("{\"net\":\"tcp\",\"addr\":\"a:1\",\"bn\":\"\"}", FW_INSTANCE_OFFLINE,
          "{\"net\":\"tcp\",\"addr\":\"a:1\",\"bn\":\"\",\"state\":1}");
    check("{\"net\":\"tcp\",\"state\":1,\"md\":{\"state\":\"x\"}}", FW_INSTANCE_ONLINE,
          "{\"net\":\"tcp\",\"state\":0,\"md\":{\"state\":\"x\"}}");
    check(" { \"State\" : null , \"own\": [1, {\"a\": \"}\\\"]\"}] } ", FW_INSTANCE_OFFLINE,
          " { \"State\" : 1, \"own\": [1, {\"a\": \"}\\\"]\"}] } ");
    check("{}", FW_INSTANCE_OFFLINE, "{\"state\":1}");
    check("{ }", FW_INSTANCE_OFFLINE, "{ \"state\":1}");
    check("{\"state\":1,\"STATE\":1}", FW_INSTANCE_ONLINE, "{\"state\":0,\"STATE\":0}");
    check("{\"addr\":\"\\u003cx>\"}", FW_INSTANCE_OFFLINE, "{\"addr\":\"\\u003cx>\",\"state\":1}");
}
END_TEST

START_TEST(what_cannot_be_read_is_refused)
{
    static const char *const texts[] = {
        "",  "null",          "[]",          "{",          "{\"",           "{\"a\\",
        "1", "{\"a\":1",      "{\"state\":", "{\"state\"", "{\"state\":,}", "{\"net\":1}",
        "x", "{\"a\":\"\\\"", "{a:1}",       "{\"a\":1 2}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_refused(texts[i], strlen(texts[i]));
    check_refused("{\"a\":\"\0\"}", 9);
}
END_TEST

/* However a text is cut, nothing is read or written beside it. */
START_TEST(any_prefix_is_refused_or_whole)
{
    static const char whole[] = "{\"net\":\"t\\\"cp\",\"state\" : 1 ,\"md\":{\"k\":\"v}\"}}";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        char *cut = malloc(len ? len : 1);
        memcpy(cut, whole, len);
        check_refused(cut, len);
        free(cut);
    }
    check(whole, FW_INSTANCE_ONLINE, "{\"net\":\"t\\\"cp\",\"state\" : 0,\"md\":{\"k\":\"v}\"}}");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node state");
    TCase *tcase = fwt_tcase(suite, "state", 10);
    tcase_add_test(tcase, only_the_state_changes);
    tcase_add_test(tcase, what_cannot_be_read_is_refused);
    tcase_add_test(tcase, any_prefix_is_refused_or_whole);
    return fwt_main(suite);
}
