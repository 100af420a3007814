/* fairway kv-conform on stores of a user's own: a table, an exit code, and nothing left behind. */
#include "clit.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2, UNREACHABLE = 3 };

#ifdef CLIT_CONFORM

/* A new directory, for the whole of a test. */
static char directory[300];

static void new_directory(void)
{
    snprintf(directory, sizeof directory, "%s", fwt_tmpdir());
}

/* Runs it to the end, however long that takes; the result is good until the next run. */
static const clit_result *conform(const char *store, const char *only, bool json)
{
    static clit_result result;
    const char *argv[] = {FWT_PROGRAM, "kv-conform",           "--store", store, "--only",
                          only,        json ? "--json" : NULL, NULL};
    free(result.out);
    free(result.err);
    result.code = fwt_run(argv, NULL, &result.out, &result.err, 240000);
    return &result;
}

static size_t entries(const char *path)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    if (dir)
        closedir(dir);
    return count;
}

/* Every row but the last is a test that passed; the last is the summary. Returns the rows. */
static size_t assert_all_passed(const clit_result *result)
{
    ck_assert_msg(result->code == 0 && !*result->err, "%d\n%s\n%s", result->code, result->out,
                  result->err);
    size_t lines = clit_lines(result->out);
    const char *line = result->out;
    for (size_t i = 0; i + 1 < lines; i++, line = strchr(line, '\n') + 1) {
        ck_assert_str_eq(clit_field(line, "result"), "passed");
        ck_assert_str_ne(clit_field(line, "promise"), "(none)");
        ck_assert_str_ne(clit_field(line, "rules"), "[]");
    }
    ck_assert_str_eq(clit_field(line, "conforms"), "true");
    ck_assert_str_eq(clit_field(line, "failed"), "0");
    ck_assert_str_eq(clit_field(line, "not_run"), "0");
    ck_assert_int_eq(atoi(clit_field(line, "passed")), (int)lines - 1);
    return lines - 1;
}

START_TEST(a_store_in_memory_conforms)
{
    const clit_result *result = conform("mem:own", "transactions", true);
    ck_assert_uint_gt(assert_all_passed(result), 10);
    result = conform("mem:", "C9", false);
    ck_assert_int_eq(result->code, 0);
    ck_assert_ptr_nonnull(strstr(result->out, "lives in one process"));
    ck_assert_ptr_nonnull(strstr(result->out, "has transactions"));
    ck_assert_ptr_nonnull(strstr(result->out, "one_of_many_atomic_puts_wins: "));
    ck_assert_ptr_nonnull(strstr(result->out, " passed, 0 failed, in "));
}
END_TEST

START_TEST(an_embedded_store_conforms_and_keeps_what_it_had)
{
    char url[400];
    new_directory();
    snprintf(url, sizeof url, "lmdb:%s/own?sync=none", directory);
    setenv("FAIRWAY_STORE", url, 1);
    clit_out("kv", "put", "mine", "1");
    size_t before = entries(clit_format("%s/own", directory));
    ck_assert_uint_gt(assert_all_passed(conform(url, "operations", true)), 15);
    ck_assert_uint_eq(entries(clit_format("%s/own", directory)), before);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "mine\t1\n");
    /* A place that was not there is not there afterwards. */
    assert_all_passed(conform(clit_format("lmdb:%s/new/deeper", directory), "C9", true));
    ck_assert_uint_eq(entries(directory), 1);
}
END_TEST

START_TEST(tests_are_listed_and_chosen)
{
    const char *out = clit_out("kv-conform", "--list", "--json");
    size_t all = clit_lines(out);
    ck_assert_uint_gt(all, 100);
    ck_assert_str_eq(clit_field(out, "group"), "operations");
    ck_assert_str_eq(clit_field(out, "test"), "put_get_exists_delete");
    ck_assert_str_eq(clit_field(out, "rules"), "[\"C5\"]");
    size_t some = clit_lines(clit_out("kv-conform", "--list", "--json", "--only", "lock"));
    ck_assert(some > 10 && some < all);
    ck_assert_ptr_nonnull(strstr(clit_out("kv-conform", "--list"), "put_get_exists_delete"));
    clit_refused(clit_run("kv-conform", "--only", "nothing of the kind", NULL), USAGE,
                 "no test has this in its name");
    clit_refused(clit_run("kv-conform", "surplus", NULL), USAGE, "one operand too many");
    clit_refused(clit_run("kv-conform", "--store", "nosuch:x", NULL), USAGE, "nosuch:x: ");
}
END_TEST

START_TEST(an_interrupted_run_cleans_up)
{
    new_directory();
    setenv("FAIRWAY_STORE", clit_format("lmdb:%s", directory), 1);
    fwt_proc *proc = clit_start("kv-conform", "--only", "a_holder_keeps_others_out", NULL);
    fwt_proc_expect(proc, "rule", CLIT_PATIENCE_MS);
    while (!entries(directory))
        usleep(5000);
    fwt_proc_signal(proc, SIGINT);
    fwt_proc_expect(proc, "1 not run", CLIT_PATIENCE_MS);
    clit_end(proc, 0, 128 + SIGINT);
    ck_assert_uint_eq(entries(directory), 0);
}
END_TEST

START_TEST(a_store_that_fails_is_told)
{
    new_directory();
    const char *path = clit_format("%s/file", directory); /* where a directory should be */
    fclose(fopen(path, "w"));
    const clit_result *result = conform(clit_format("lmdb:%s", path), "C9", false);
    ck_assert_int_eq(result->code, FAILED);
    ck_assert_ptr_nonnull(strstr(result->err, "fairway: lmdb:"));
}
END_TEST

#ifdef CLIT_ETCD
START_TEST(an_etcd_conforms_and_keeps_what_it_had)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    char url[64], all[64];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/own", etcd.port);
    snprintf(all, sizeof all, "etcd://127.0.0.1:%d", etcd.port);
    setenv("FAIRWAY_STORE", url, 1);
    clit_out("kv", "put", "mine", "1");
    ck_assert_uint_gt(assert_all_passed(conform(url, "operations", true)), 15);
    ck_assert_str_eq(clit_out("--store", all, "kv", "ls", "/"), "own/mine\t1\n");
    /* Interrupted, too. */
    fwt_proc *proc = clit_start("kv-conform", "--store", all, NULL);
    fwt_proc_expect(proc, "C9", CLIT_PATIENCE_MS);
    clit_end(proc, SIGTERM, 128 + SIGTERM);
    ck_assert_str_eq(clit_out("--store", all, "kv", "ls", "/"), "own/mine\t1\n");
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(an_etcd_that_is_not_there_is_named)
{
    const char *url = clit_format("etcd://127.0.0.1:%d/x", fwt_free_port());
    clit_refused(clit_run("--timeout", "1s", "kv-conform", "--store", url, NULL), UNREACHABLE, url);
}
END_TEST
#endif

#else

START_TEST(a_program_without_the_suite_says_so)
{
    clit_refused(clit_run("kv-conform", NULL), FAILED, "was built without it");
}
END_TEST

#endif

int main(void)
{
    Suite *suite = suite_create("kv-conform");
    TCase *tcase = clit_tcase(suite, "conform", 280);
#ifdef CLIT_CONFORM
    tcase_add_test(tcase, a_store_in_memory_conforms);
    tcase_add_test(tcase, an_embedded_store_conforms_and_keeps_what_it_had);
    tcase_add_test(tcase, tests_are_listed_and_chosen);
    tcase_add_test(tcase, an_interrupted_run_cleans_up);
    tcase_add_test(tcase, a_store_that_fails_is_told);
#ifdef CLIT_ETCD
    tcase_add_test(tcase, an_etcd_conforms_and_keeps_what_it_had);
    tcase_add_test(tcase, an_etcd_that_is_not_there_is_named);
#endif
#else
    tcase_add_test(tcase, a_program_without_the_suite_says_so);
#endif
    return fwt_main(suite);
}
