/* kvstore/README.md, the suites and their rules name each other: every rule has a test, every test
 * of the suites a rule, and both say the same. */
#include "kvt.h"

static void no_url(char *url, size_t size)
{
    snprintf(url, size, "mem:");
}

static const kvt_driver no_driver = {"rules", no_url, NULL, NULL};

/* The text of a rule in the README, to the next rule or the end of its section; to be freed. NULL:
 * it is not there. */
static char *text_of(const char *readme, const char *rule)
{
    char mark[16];
    snprintf(mark, sizeof mark, "- **%s** ", rule);
    const char *start = strstr(readme, mark);
    if (!start)
        return NULL;
    const char *next = strstr(start + 1, "\n- **"), *end = strstr(start, "\n\n");
    if (!next || (end && end < next))
        next = end;
    return next ? strndup(start, (size_t)(next - start)) : strdup(start);
}

static bool has_name(const char *text, const char *name)
{
    char quoted[200];
    snprintf(quoted, sizeof quoted, "`%s`", name);
    return strstr(text, quoted) != NULL;
}

static bool is_rule_of(const kvt_test *test, const char *rule)
{
    for (const char *at = test->rules; *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        if (len == strlen(rule) && !strncmp(at, rule, len))
            return true;
        at += len;
    }
    return false;
}

static char *readme;

static void read_readme(void)
{
    if (!kvt_tests_count)
        srunner_free(srunner_create(kvt_suite(&no_driver, NULL)));
    readme = fwt_read_file(fwt_source_path("../kvstore/README.md"));
}

static void free_readme(void)
{
    free(readme);
}

START_TEST(every_rule_is_written_and_has_a_test)
{
    for (size_t i = 0; i < kvt_rules_count; i++) {
        char *text = text_of(readme, kvt_rules[i].name);
        ck_assert_msg(text != NULL, "%s is not in the README", kvt_rules[i].name);
        ck_assert_msg(strchr(text, '`') != NULL, "%s names no test", kvt_rules[i].name);
        free(text);
    }
    char beyond[16];
    snprintf(beyond, sizeof beyond, "C%zu", kvt_rules_count + 1);
    ck_assert_msg(!text_of(readme, beyond), "%s is in the README only", beyond);
}
END_TEST

START_TEST(every_test_is_named_by_its_rules_and_by_no_other)
{
    ck_assert_uint_gt(kvt_tests_count, 100);
    for (size_t i = 0; i < kvt_tests_count; i++) {
        const kvt_test *test = &kvt_tests[i];
        for (size_t k = 0; k < kvt_rules_count; k++) {
            char *text = text_of(readme, kvt_rules[k].name);
            bool wanted = is_rule_of(test, kvt_rules[k].name), named = has_name(text, test->name);
            ck_assert_msg(named == wanted, "%s: %s it in the README, %s in the suite", test->name,
                          kvt_rules[k].name, wanted ? "not named, but" : "named, not");
            free(text);
        }
        size_t rules = 0;
        for (const char *at = test->rules; *at; rules++) {
            size_t len = strcspn(at, " ");
            ck_assert_msg(kvt_rule_find(at, len) != NULL, "%s: unknown rule in \"%s\"", test->name,
                          test->rules);
            at += len + strspn(at + len, " ");
        }
        ck_assert_msg(rules > 0, "%s has no rule", test->name);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(kvt_tests[k].name, test->name);
    }
}
END_TEST

/* The tests that rules name besides those of the suites. */
static const char *const elsewhere[] = {
    "conformance/kv/test_lmdb_processes.c",
    "unit/kvstore/test_kv_front.c",
    "unit/kvstore/test_kv_lock.c",
};

static bool is_elsewhere(const char *name)
{
    char start[240];
    snprintf(start, sizeof start, "START_TEST(%s)", name);
    for (size_t i = 0; i < KVT_COUNT(elsewhere); i++) {
        char *source = fwt_read_file(fwt_source_path(elsewhere[i]));
        bool found = strstr(source, start) != NULL;
        free(source);
        if (found)
            return true;
    }
    return false;
}

static bool is_of_suite(const char *name)
{
    for (size_t i = 0; i < kvt_tests_count; i++)
        if (!strcmp(kvt_tests[i].name, name))
            return true;
    return false;
}

START_TEST(every_test_that_a_rule_names_exists)
{
    for (size_t i = 0; i < kvt_rules_count; i++) {
        char *text = text_of(readme, kvt_rules[i].name);
        /* After the last bracket that opens stand the names of files and tests. */
        for (char *at = strrchr(text, '('); at && (at = strchr(at, '`'));) {
            char name[200];
            size_t len = strcspn(++at, "`");
            snprintf(name, sizeof name, "%.*s", (int)len, at);
            at += len + 1;
            if (strncmp(name, "test_", 5) && strncmp(name, "KVT_", 4))
                ck_assert_msg(is_of_suite(name) || is_elsewhere(name), "%s names %s",
                              kvt_rules[i].name, name);
        }
        free(text);
    }
}
END_TEST

START_TEST(tests_are_chosen_by_group_name_or_rule)
{
    static const struct {
        const char *only;
        size_t chosen; /* 0: some */
    } cases[] = {{"C4", 2}, {"nothing of the kind", SIZE_MAX}, {"compat_watch", 2}, {"lock", 0}};
    for (size_t i = 0; i < KVT_COUNT(cases); i++) {
        kvt_tests_count = 0;
        srunner_free(srunner_create(kvt_suite(&no_driver, cases[i].only)));
        size_t chosen = 0;
        for (size_t k = 0; k < kvt_tests_count; k++)
            chosen += kvt_tests[k].chosen;
        if (cases[i].chosen == SIZE_MAX)
            ck_assert_uint_eq(chosen, 0);
        else if (cases[i].chosen)
            ck_assert_uint_eq(chosen, cases[i].chosen);
        else
            ck_assert(chosen > 20 && chosen < kvt_tests_count);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rules");
    TCase *tcase = tcase_create("rules");
    tcase_add_checked_fixture(tcase, read_readme, free_readme);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, every_rule_is_written_and_has_a_test);
    tcase_add_test(tcase, every_test_is_named_by_its_rules_and_by_no_other);
    tcase_add_test(tcase, every_test_that_a_rule_names_exists);
    tcase_add_test(tcase, tests_are_chosen_by_group_name_or_rule);
    return fwt_main(suite);
}
