/* fairway kv: the store from the shell, by one process and by several. */
#include "clit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2, UNREACHABLE = 3, CONFLICT = 4 };

/* What `kv get` says; fails the test if there is no such key. */
static const char *get(const char *key)
{
    return clit_format("%s", clit_out("kv", "get", key));
}

static const char *revision_of(const char *key)
{
    return clit_field(clit_out("kv", "get", key, "--json"), "revision");
}

static const char *plus_one(const char *revision)
{
    return clit_format("%lld", atoll(revision) + 1);
}

/* A new lmdb store for all that the test runs. */
static const char *new_store(void)
{
    const char *url = clit_lmdb_url();
    setenv("FAIRWAY_STORE", url, 1);
    return url;
}

START_TEST(keys_are_put_read_and_deleted)
{
    new_store();
    clit_refused(clit_run("kv", "get", "a/b", NULL), FAILED, "a/b: not found");
    ck_assert_int_eq(strncmp(clit_out("kv", "put", "a/b", "one"), "revision ", 9), 0);
    ck_assert_str_eq(get("a/b"), "one");
    ck_assert_str_eq(get("/a//b/"), "one");
    const char *first = revision_of("a/b");
    const char *out = clit_out("--json", "kv", "put", "a/b", "two");
    ck_assert_uint_eq(clit_lines(out), 1);
    ck_assert_str_eq(clit_field(out, "key"), "a/b");
    ck_assert_str_eq(clit_field(out, "revision"), plus_one(first));
    ck_assert_str_eq(get("a/b"), "two");
    out = clit_out("--json", "kv", "get", "a/b");
    ck_assert_uint_eq(clit_lines(out), 1);
    ck_assert_str_eq(clit_field(out, "key"), "a/b");
    ck_assert_str_eq(clit_field(out, "value"), "two");
    ck_assert_str_eq(clit_field(out, "revision"), plus_one(first));
    ck_assert_str_eq(clit_field(out, "lease"), "(none)");
    ck_assert_str_eq(clit_out("kv", "del", "a/b"), "");
    clit_out("kv", "put", "a/b", "three");
    out = clit_out("kv", "del", "a/b", "--json");
    ck_assert_uint_eq(clit_lines(out), 1);
    ck_assert_str_eq(clit_field(out, "key"), "a/b");
    ck_assert_str_eq(clit_field(out, "deleted"), "true");
    ck_assert_str_eq(clit_field(out, "revision"), clit_format("%lld", atoll(first) + 4));
    clit_refused(clit_run("kv", "get", "a/b", NULL), FAILED, "a/b: not found");
    clit_refused(clit_run("kv", "del", "a/b", NULL), FAILED, "a/b: not found");
}
END_TEST

START_TEST(options_stand_anywhere)
{
    const char *url = clit_lmdb_url();
    unsetenv("FAIRWAY_STORE");
    clit_out("kv", "--store", url, "put", "a", "1");
    clit_out("--json", "kv", "--store", url, "put", "b", "2");
    ck_assert_str_eq(clit_out("kv", "--timeout=3s", "--store", url, "get", "a"), "1");
    ck_assert_str_eq(clit_field(clit_out("kv", "--json", "get", "b", "--store", url), "value"),
                     "2");
    ck_assert_str_eq(clit_out("--store", url, "kv", "get", "--", "a"), "1");
    setenv("FAIRWAY_STORE", url, 1);
    clit_out("kv", "put", "--", "--store", "a key like an option");
    ck_assert_str_eq(clit_out("kv", "get", "--", "--store"), "a key like an option");
    clit_out("kv", "put", "-", "a key like standard input");
    ck_assert_str_eq(clit_out("kv", "get", "-"), "a key like standard input");
    clit_refused(clit_run("kv", "--tree", "watch", "a", NULL), USAGE, "--tree: unknown option");
    clit_refused(clit_run("kv", "--store", url, NULL), USAGE, "kv: unknown command");
    clit_refused(clit_run("kv", "--store", url, "nothing", NULL), USAGE,
                 "kv nothing: unknown command");
    clit_refused(clit_run("kv", "get", "a", "--store", NULL), USAGE, "--store: needs a value");
    ck_assert_ptr_nonnull(strstr(clit_out("kv", "--help"), "kv lock KEY"));
    ck_assert_ptr_nonnull(strstr(clit_out("kv", "--store", url, "lock", "--help"), "--no-wait"));
}
END_TEST

START_TEST(why_a_store_cannot_be_opened_is_told)
{
    clit_refused(clit_run("--store", "lmdb:/tmp/x?nosuch=1", "kv", "get", "a", NULL), USAGE,
                 "lmdb: takes no parameter \"nosuch\"");
    clit_refused(clit_run("--store", "nosuch://x", "kv", "get", "a", NULL), USAGE,
                 "no store has the scheme \"nosuch\"");
}
END_TEST

START_TEST(exists_answers_by_its_exit_code)
{
    new_store();
    clit_out("kv", "put", "a/b", "1");
    ck_assert_str_eq(clit_out("kv", "exists", "a/b"), "yes\n");
    ck_assert_str_eq(clit_field(clit_out("--json", "kv", "exists", "a/b"), "exists"), "true");
    const clit_result *result = clit_run("kv", "exists", "a", NULL);
    ck_assert_int_eq(result->code, FAILED);
    ck_assert_str_eq(result->out, "no\n");
    ck_assert_str_eq(result->err, "");
    result = clit_run("kv", "exists", "a", "--json", NULL);
    ck_assert_int_eq(result->code, FAILED);
    ck_assert_str_eq(clit_field(result->out, "exists"), "false");
}
END_TEST

START_TEST(lists_and_trees)
{
    new_store();
    clit_out("kv", "put", "t/b/c", "2");
    clit_out("kv", "put", "t/a", "1");
    clit_out("kv", "put", "tt", "3");
    ck_assert_str_eq(clit_out("kv", "ls", "t"), "t/a\t1\nt/b/c\t2\n");
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "t/a\t1\nt/b/c\t2\ntt\t3\n");
    ck_assert_str_eq(clit_out("kv", "ls", "nothing"), "");
    const char *out = clit_out("kv", "ls", "t", "--json");
    ck_assert_uint_eq(clit_lines(out), 2);
    ck_assert_str_eq(clit_field(out, "key"), "t/a");
    ck_assert_str_eq(clit_field(strchr(out, '\n') + 1, "value"), "2");
    ck_assert_str_eq(clit_out("kv", "rmtree", "nothing"), "0 deleted\n");
    out = clit_out("kv", "rmtree", "t", "--json");
    ck_assert_str_eq(clit_field(out, "deleted"), "2");
    ck_assert_str_eq(clit_field(out, "prefix"), "t");
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "tt\t3\n");
    ck_assert_str_eq(clit_out("kv", "rmtree", "/"), "1 deleted\n");
}
END_TEST

START_TEST(revisions_guard_against_conflicts)
{
    new_store();
    clit_out("kv", "cas", "k", "0", "new");
    clit_refused(clit_run("kv", "cas", "k", "0", "again", NULL), CONFLICT, "fairway: k: ");
    const char *revision = revision_of("k");
    clit_refused(clit_run("kv", "cas", "k", plus_one(revision), "x", NULL), CONFLICT,
                 "fairway: k: ");
    ck_assert_str_eq(get("k"), "new");
    const char *out = clit_out("--json", "kv", "cas", "k", revision, "newer");
    ck_assert_str_eq(clit_field(out, "revision"), plus_one(revision));
    ck_assert_str_eq(get("k"), "newer");
    clit_refused(clit_run("kv", "cad", "k", revision, NULL), CONFLICT, "fairway: k: ");
    ck_assert_str_eq(get("k"), "newer");
    out = clit_out("kv", "cad", "k", plus_one(revision), "--json");
    ck_assert_str_eq(clit_field(out, "deleted"), "true");
    ck_assert_str_eq(clit_field(out, "key"), "k");
    clit_refused(clit_run("kv", "get", "k", NULL), FAILED, "not found");
    clit_refused(clit_run("kv", "cad", "k", revision, NULL), FAILED, "k: not found");
    clit_refused(clit_run("kv", "cas", "k", revision, "x", NULL), FAILED, "k: not found");
}
END_TEST

START_TEST(values_are_bytes)
{
    new_store();
    const clit_result *result =
        clit_shell("printf '\\000\\377a\\012' | \"$FAIRWAY\" kv put bytes - && "
                   "\"$FAIRWAY\" kv get bytes | od -An -tx1");
    ck_assert_str_eq(result->err, "");
    ck_assert_msg(strstr(result->out, " 00 ff 61 0a\n") != NULL, "%s", result->out);
    const char *out = clit_out("kv", "get", "bytes", "--json");
    ck_assert_str_eq(clit_field(out, "value_base64"), "AP9hCg==");
    ck_assert_str_eq(clit_field(out, "value"), "(none)");
    /* Text that JSON can hold stays text. */
    clit_done(clit_run_input("gr\xc3\xbc\xc3\x9f dich\n\"\\\t", "kv", "put", "text", "-", NULL),
              __FILE__, __LINE__);
    out = clit_out("kv", "get", "text", "--json");
    ck_assert_str_eq(clit_field(out, "value"), "gr\xc3\xbc\xc3\x9f dich\n\"\\\t");
    clit_out("kv", "put", "empty", "");
    ck_assert_str_eq(get("empty"), "");
    ck_assert_str_eq(clit_field(clit_out("kv", "get", "empty", "--json"), "value"), "");
    clit_done(clit_run_input("", "kv", "cas", "empty2", "0", "-", NULL), __FILE__, __LINE__);
    ck_assert_str_eq(get("empty2"), "");
}
END_TEST

START_TEST(text_that_is_not_utf8_is_given_in_base64)
{
    static const char *const texts[][2] = {
        {"\\355\\240\\200", "7aCA"},          /* a surrogate */
        {"\\340\\200\\200", "4ICA"},          /* longer than needed */
        {"\\364\\220\\200\\200", "9JCAgA=="}, /* beyond the last code point */
        {"a\\303", "YcM="},                   /* cut short */
    };
    new_store();
    const clit_result *result = clit_shell(clit_format(
        "printf '%s' | \"$FAIRWAY\" kv put k - && \"$FAIRWAY\" kv get k --json", texts[_i][0]));
    ck_assert_int_eq(result->code, 0);
    ck_assert_str_eq(clit_field(strchr(result->out, '\n') + 1, "value_base64"), texts[_i][1]);
}
END_TEST

START_TEST(large_values_pass_and_too_large_ones_are_refused)
{
    new_store();
    const clit_result *result =
        clit_shell("head -c 300000 /dev/zero | \"$FAIRWAY\" kv put big - && "
                   "\"$FAIRWAY\" kv get big | wc -c");
    ck_assert_msg(strstr(result->out, "\n300000\n") != NULL, "%s%s", result->out, result->err);
    clit_refused(clit_shell("head -c 16777217 /dev/zero | \"$FAIRWAY\" kv put big -"), USAGE,
                 "big: ");
}
END_TEST

START_TEST(a_ttl_deletes_the_key)
{
    new_store();
    clit_out("kv", "put", "stays", "1");
    uint64_t start = clit_now_ms();
    clit_out("kv", "put", "goes", "1", "--ttl", "2s");
    /* From another process than the one that put it, which has ended. */
    if (clit_run("kv", "exists", "goes", NULL)->code)
        ck_assert_uint_ge(clit_now_ms() - start, 2000);
    while (!clit_run("kv", "exists", "goes", NULL)->code)
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
    ck_assert_uint_ge(clit_now_ms() - start, 1900);
    clit_refused(clit_run("kv", "get", "goes", NULL), FAILED, "goes: not found");
    ck_assert_str_eq(get("stays"), "1");
}
END_TEST

START_TEST(a_watch_sees_what_other_processes_do)
{
    new_store();
    clit_out("kv", "put", "w/a", "1");
    fwt_proc *one = clit_start("kv", "watch", "w/a", NULL);
    fwt_proc *tree = clit_start("kv", "watch", "w", "--tree", "--json", NULL);
    fwt_proc_expect(one, "put\tw/a\t1", CLIT_PATIENCE_MS);
    fwt_proc_expect(one, "synced", CLIT_PATIENCE_MS);
    fwt_proc_expect(tree, "\"event\":\"synced\"", CLIT_PATIENCE_MS);
    ck_assert(fwt_proc_printed(tree, "\"key\":\"w/a\""));
    clit_out("kv", "put", "w/b", "2");
    clit_shell("printf '\\377' | \"$FAIRWAY\" kv put w/a -");
    const char *revision = revision_of("w/a");
    clit_out("kv", "del", "w/a");
    clit_out("kv", "put", "elsewhere", "3");
    fwt_proc_expect(one, "put\tw/a\t\377", CLIT_PATIENCE_MS);
    fwt_proc_expect(one, "delete\tw/a", CLIT_PATIENCE_MS);
    const char *line = fwt_proc_expect(tree, "w/b", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "event"), "put");
    ck_assert_str_eq(clit_field(line, "value"), "2");
    line = fwt_proc_expect(tree, "w/a", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "event"), "put");
    ck_assert_str_eq(clit_field(line, "value_base64"), "/w==");
    ck_assert_str_eq(clit_field(line, "revision"), revision);
    line = fwt_proc_expect(tree, "w/a", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "event"), "delete");
    ck_assert_str_eq(clit_field(line, "revision"), plus_one(revision));
    ck_assert(!fwt_proc_printed(one, "w/b") && !fwt_proc_printed(tree, "elsewhere"));
    clit_end(one, SIGTERM, 0);
    clit_end(tree, SIGINT, 0);
}
END_TEST

START_TEST(processes_share_a_store)
{
    enum { PROCESSES = 6 };
    new_store();
    fwt_proc *puts[PROCESSES], *races[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        puts[i] = clit_start("kv", "put", clit_format("share/%d", i), "x", "--json", NULL);
        races[i] = clit_start("kv", "cas", "race", "0", clit_format("%d", i), NULL);
    }
    int won = 0, winner = -1;
    for (int i = 0; i < PROCESSES; i++) {
        clit_end(puts[i], 0, 0);
        int code = fwt_proc_wait(races[i], CLIT_PATIENCE_MS);
        ck_assert_msg(code == 0 || code == CONFLICT, "exit code %d", code);
        fwt_proc_end(races[i]);
        if (!code) {
            won++;
            winner = i;
        }
    }
    ck_assert_int_eq(won, 1);
    ck_assert_str_eq(get("race"), clit_format("%d", winner));
    /* Every change had a revision of its own. */
    const char *out = clit_out("kv", "ls", "/", "--json");
    ck_assert_uint_eq(clit_lines(out), PROCESSES + 1);
    long long seen[PROCESSES + 1];
    for (int i = 0; i < PROCESSES + 1; i++, out = strchr(out, '\n') + 1) {
        seen[i] = atoll(clit_field(out, "revision"));
        for (int k = 0; k < i; k++)
            ck_assert_int_ne(seen[k], seen[i]);
    }
}
END_TEST

START_TEST(a_store_in_memory_lives_in_one_process)
{
    setenv("FAIRWAY_STORE", "mem:", 1);
    clit_out("kv", "put", "a", "1");
    clit_refused(clit_run("kv", "get", "a", NULL), FAILED, "a: not found");
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
    fwt_proc *watch = clit_start("kv", "watch", "a", NULL);
    fwt_proc_expect(watch, "synced", CLIT_PATIENCE_MS);
    clit_end(watch, SIGTERM, 0);
}
END_TEST

START_TEST(a_store_that_cannot_be_made_is_named)
{
    char path[400];
    snprintf(path, sizeof path, "%s/file", fwt_tmpdir());
    FILE *file = fopen(path, "w");
    fclose(file);
    const char *url = clit_format("lmdb:%s", path), *below = clit_format("%s/deeper", url);
    const char *named = clit_format("fairway: %s: ", url);
    clit_refused(clit_run("--store", url, "kv", "get", "a", NULL), FAILED, named);
    clit_refused(clit_run("--store", below, "kv", "put", "a", "1", NULL), FAILED,
                 clit_format("fairway: %s: ", below));
    clit_refused(clit_run("--store", url, "kv", "watch", "a", NULL), FAILED, named);
    clit_refused(clit_run("--store", url, "resolve", "a", NULL), FAILED, named);
    clit_refused(clit_run("--store", url, "services", NULL), FAILED, named);
    clit_refused(clit_run("--store", url, "watch", "a", NULL), FAILED, named);
    clit_refused(clit_run("--store", url, "call", "a", "echo", NULL), FAILED, named);
    clit_refused(clit_run("--store", url, "serve", "echo", NULL), FAILED, named);
    clit_refused(clit_run("--store", url, "register", "a", "--addr", "tcp://127.0.0.1:1", NULL),
                 FAILED, named);
}
END_TEST

START_TEST(the_default_store_is_in_the_place_for_state)
{
    const char *home = clit_format("%s", fwt_tmpdir());
    unsetenv("FAIRWAY_STORE");
    setenv("XDG_STATE_HOME", home, 1);
    clit_out("kv", "put", "a", "1");
    ck_assert_str_eq(clit_out("--store", clit_format("lmdb:%s/fairway", home), "kv", "get", "a"),
                     "1");
}
END_TEST

#ifdef CLIT_ETCD
static const char *const unreachable[][4] = {
    {"kv", "get", "a"},      {"kv", "put", "a", "1"}, {"kv", "ls", "/"},
    {"kv", "cas", "a", "0"}, {"resolve", "a"},        {"services"},
    {"call", "a", "echo"},
};

START_TEST(an_etcd_that_is_not_there_is_named_in_time)
{
    int port = fwt_free_port();
    const char *const *w = unreachable[_i];
    const char *more = w[1] && !strcmp(w[1], "cas") ? "1" : NULL;
    const clit_result *result = clit_run(
        "--store", clit_format("etcd://127.0.0.1:%d/x", port), "--timeout=1s", w[0],
        w[1] ? w[1] : "--json", w[2] ? w[2] : "--json", w[3] ? w[3] : "--json", more, NULL);
    clit_refused(result, UNREACHABLE, clit_format("127.0.0.1:%d", port));
    ck_assert_msg(result->took_ms < 15000, "took %llu ms", (unsigned long long)result->took_ms);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("kv");
    TCase *tcase = clit_tcase(suite, "lmdb", 60);
    tcase_add_test(tcase, keys_are_put_read_and_deleted);
    tcase_add_test(tcase, options_stand_anywhere);
    tcase_add_test(tcase, why_a_store_cannot_be_opened_is_told);
    tcase_add_test(tcase, exists_answers_by_its_exit_code);
    tcase_add_test(tcase, lists_and_trees);
    tcase_add_test(tcase, revisions_guard_against_conflicts);
    tcase_add_test(tcase, values_are_bytes);
    tcase_add_loop_test(tcase, text_that_is_not_utf8_is_given_in_base64, 0, 4);
    tcase_add_test(tcase, large_values_pass_and_too_large_ones_are_refused);
    tcase_add_test(tcase, a_ttl_deletes_the_key);
    tcase_add_test(tcase, a_watch_sees_what_other_processes_do);
    tcase_add_test(tcase, processes_share_a_store);
    tcase_add_test(tcase, a_store_that_cannot_be_made_is_named);
    if (geteuid()) /* root's is the machine's own, which is not for tests */
        tcase_add_test(tcase, the_default_store_is_in_the_place_for_state);
    tcase = clit_tcase(suite, "mem", 60);
    tcase_add_test(tcase, a_store_in_memory_lives_in_one_process);
#ifdef CLIT_ETCD
    tcase = clit_tcase(suite, "etcd", 60);
    tcase_add_loop_test(tcase, an_etcd_that_is_not_there_is_named_in_time, 0,
                        sizeof unreachable / sizeof *unreachable);
#endif
    return fwt_main(suite);
}
