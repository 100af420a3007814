/* fairway kv lock: commands that exclude each other, signals, and a lock that is lost. */
#include "clit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2, UNREACHABLE = 3, CONFLICT = 4, LOST = 5 };

static const char *directory;

static void new_store(void)
{
    directory = clit_format("%s", fwt_tmpdir());
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    setenv("FAIRWAY", FWT_PROGRAM, 1);
    setenv("DIRECTORY", directory, 1);
}

/* A lock that can be had without waiting. */
static void assert_free(const char *key)
{
    ck_assert_str_eq(clit_out("kv", "lock", key, "--no-wait", "--", "echo", "free"), "free\n");
}

START_TEST(a_command_runs_while_the_lock_is_held)
{
    new_store();
    const clit_result *result =
        clit_run("kv", "lock", "/l//k/", "--value", "me", "--", "sh", "-c",
                 "echo \"$FAIRWAY_LOCK_KEY $FAIRWAY_LOCK_TOKEN\"; \"$FAIRWAY\" kv get l/k; "
                 "cat; exit 7",
                 NULL);
    ck_assert_int_eq(result->code, 7);
    long token = 0;
    char value[8];
    ck_assert_msg(sscanf(result->out, "/l//k/ %ld %2s", &token, value) == 2, "%s", result->out);
    ck_assert_int_gt(token, 0);
    ck_assert_str_eq(value, "me");
    ck_assert_str_eq(result->err, "");
    clit_refused(clit_run("kv", "get", "l/k", NULL), FAILED, "not found");
    const char *out = clit_out("kv", "lock", "l/k", "--", "sh", "-c", "echo $FAIRWAY_LOCK_TOKEN");
    ck_assert_int_gt(atol(out), token);
    /* Standard input is the command's, unless the value comes from there. */
    result = clit_run_input("from outside", "kv", "lock", "k", "--", "cat", NULL);
    ck_assert_str_eq(result->out, "from outside");
    result = clit_run_input("the value", "kv", "lock", "k", "--value", "-", "--", "sh", "-c",
                            "\"$FAIRWAY\" kv get k", NULL);
    ck_assert_str_eq(result->out, "the value");
    /* Who has it, if nothing else is said. */
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    out = clit_out("kv", "lock", "k", "--", "sh", "-c", "\"$FAIRWAY\" kv get k");
    ck_assert_msg(!strncmp(out, host, strlen(host)) && out[strlen(host)] == '/', "%s", out);
}
END_TEST

START_TEST(commands_exclude_each_other)
{
    enum { PROCESSES = 5 };
    new_store();
    /* Without the lock they would lose steps: read, wait, write. */
    static const char step[] =
        "n=$(cat \"$DIRECTORY/n\" 2>/dev/null || echo 0); sleep 0.05; "
        "echo $((n + 1)) > \"$DIRECTORY/n\"; echo $FAIRWAY_LOCK_TOKEN >> \"$DIRECTORY/tokens\"";
    fwt_proc *procs[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        procs[i] = clit_start("kv", "lock", "shared", "--", "sh", "-c", step, NULL);
    for (int i = 0; i < PROCESSES; i++)
        clit_end(procs[i], 0, 0);
    char *count = fwt_read_file(clit_format("%s/n", directory));
    ck_assert_int_eq(atoi(count), PROCESSES);
    free(count);
    char *tokens = fwt_read_file(clit_format("%s/tokens", directory));
    long last = 0;
    for (char *at = tokens; *at; at = strchr(at, '\n') + 1) {
        ck_assert_int_gt(atol(at), last);
        last = atol(at);
    }
    free(tokens);
    assert_free("shared");
}
END_TEST

START_TEST(without_a_command_it_is_held_until_a_signal)
{
    new_store();
    fwt_proc *holder = clit_start("kv", "lock", "k", "--value", "v", NULL);
    const char *line = fwt_proc_expect(holder, "locked k token ", CLIT_PATIENCE_MS);
    ck_assert_int_gt(atol(line + strlen("locked k token ")), 0);
    ck_assert_str_eq(clit_out("kv", "get", "k"), "v");
    clit_refused(clit_run("kv", "lock", "k", "--no-wait", "--", "echo", "x", NULL), CONFLICT,
                 "k: lock is held by somebody else");
    clit_refused(clit_run("kv", "lock", "k", "--wait", "300ms", "--", "echo", "x", NULL), CONFLICT,
                 "k: deadline exceeded: somebody else has the lock");
    fwt_proc_signal(holder, SIGTERM);
    fwt_proc_expect(holder, "released k", CLIT_PATIENCE_MS);
    clit_end(holder, 0, 0);
    assert_free("k");
    holder = clit_start("kv", "lock", "k", "--json", NULL);
    line = fwt_proc_expect(holder, "{", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "event"), "locked");
    ck_assert_str_eq(clit_field(line, "key"), "k");
    ck_assert_int_gt(atol(clit_field(line, "token")), 0);
    clit_end(holder, SIGINT, 0);
    assert_free("k");
}
END_TEST

START_TEST(a_signal_while_waiting_gives_up)
{
    new_store();
    fwt_proc *holder = clit_start("kv", "lock", "k", NULL);
    fwt_proc_expect(holder, "locked", CLIT_PATIENCE_MS);
    fwt_proc *waiting = clit_start("kv", "lock", "k", "--", "echo", "got it", NULL);
    usleep(200000); /* it may be anywhere on its way: the outcome is the same */
    fwt_proc_signal(waiting, SIGINT);
    ck_assert_int_eq(fwt_proc_wait(waiting, CLIT_PATIENCE_MS), 128 + SIGINT);
    ck_assert(!fwt_proc_printed(waiting, "got it"));
    fwt_proc_end(waiting);
    clit_end(holder, SIGTERM, 0);
    assert_free("k");
}
END_TEST

static const struct {
    int number;
    const char *name;
} signals[] = {{SIGTERM, "TERM"}, {SIGINT, "INT"}, {SIGUSR1, "USR1"}, {SIGHUP, "HUP"}};

START_TEST(signals_are_passed_on_to_the_command)
{
    new_store();
    fwt_proc *holder =
        clit_start("kv", "lock", "k", "--", "sh", "-c",
                   clit_format("trap 'echo was told' %s; echo ready; n=0; while [ $n -lt 400 ]; do "
                               "sleep 0.05; n=$((n+1)); [ -e \"$DIRECTORY/end\" ] && exit 9; done",
                               signals[_i].name),
                   NULL);
    fwt_proc_expect(holder, "ready", CLIT_PATIENCE_MS);
    fwt_proc_signal(holder, signals[_i].number);
    fwt_proc_expect(holder, "was told", CLIT_PATIENCE_MS);
    fwt_proc_signal(holder, signals[_i].number); /* and again: it is the command's business */
    fwt_proc_expect(holder, "was told", CLIT_PATIENCE_MS);
    clit_refused(clit_run("kv", "lock", "k", "--no-wait", "--", "true", NULL), CONFLICT, "k: ");
    fclose(fopen(clit_format("%s/end", directory), "w"));
    clit_end(holder, 0, 9);
    assert_free("k");
}
END_TEST

START_TEST(a_command_that_dies_of_a_signal_says_so)
{
    new_store();
    fwt_proc *holder = clit_start("kv", "lock", "k", "--", "sleep", "60", NULL);
    while (clit_run("kv", "exists", "k", NULL)->code)
        ;
    clit_end(holder, SIGTERM, 128 + SIGTERM);
    assert_free("k");
    clit_refused(clit_run("kv", "lock", "k", "--", "/no/such/program", NULL), FAILED,
                 "/no/such/program: no such file");
    assert_free("k");
}
END_TEST

START_TEST(a_lost_lock_ends_the_command)
{
    new_store();
    fwt_proc *holder = clit_start("kv", "lock", "k", "--", "sleep", "60", NULL);
    while (clit_run("kv", "exists", "k", NULL)->code)
        ;
    clit_out("kv", "del", "k");
    fwt_proc_expect(holder, "fairway: k: lock lost: ", CLIT_PATIENCE_MS);
    clit_end(holder, 0, LOST);
    assert_free("k");
    /* One that will not end on SIGTERM is killed, its code does not count. */
    holder = clit_start("kv", "lock", "k", "--grace", "300ms", "--json", "--", "sh", "-c",
                        "trap '' TERM; echo ready; while :; do sleep 0.05; done", NULL);
    fwt_proc_expect(holder, "\"locked\"", CLIT_PATIENCE_MS);
    fwt_proc_expect(holder, "ready", CLIT_PATIENCE_MS);
    clit_out("kv", "del", "k");
    fwt_proc_expect(holder, "\"lost\"", CLIT_PATIENCE_MS);
    clit_end(holder, 0, LOST);
    /* Without a command. */
    holder = clit_start("kv", "lock", "k", NULL);
    fwt_proc_expect(holder, "locked", CLIT_PATIENCE_MS);
    clit_out("kv", "put", "k", "mine");
    clit_end(holder, 0, LOST);
    clit_out("kv", "del", "k");
    assert_free("k");
}
END_TEST

START_TEST(a_killed_holder_frees_the_lock_after_its_time)
{
    new_store();
    fwt_proc *holder = clit_start("kv", "lock", "k", "--ttl", "1s", NULL);
    fwt_proc_expect(holder, "locked", CLIT_PATIENCE_MS);
    fwt_proc_signal(holder, SIGKILL);
    ck_assert_str_eq(clit_out("kv", "lock", "k", "--wait", "15s", "--", "echo", "mine"), "mine\n");
    fwt_proc_end(holder);
}
END_TEST

START_TEST(mistakes_are_told)
{
    new_store();
    clit_refused(clit_run("kv", "lock", NULL), USAGE, "operand missing");
    clit_refused(clit_run("kv", "lock", "a", "b", NULL), USAGE, "b: one operand too many");
    clit_refused(clit_run("kv", "lock", "a", "--", NULL), USAGE, "a command is missing");
    clit_refused(clit_run("kv", "lock", "/", "--", "true", NULL), USAGE, "/: key is empty");
    clit_refused(clit_run("kv", "lock", "a", "--ttl", "10ms", NULL), USAGE, "--ttl: at least 1s");
    clit_refused(clit_run("kv", "lock", "a", "--wait", "0", NULL), USAGE, "--wait 0: ");
    clit_refused(clit_run("kv", "lock", "a", "--wait", "1s", "--no-wait", NULL), USAGE,
                 "--wait: not together");
    clit_refused(clit_run("kv", "lock", "a", "--unknown", NULL), USAGE, "--unknown: ");
#ifdef CLIT_ETCD
    const char *url = clit_format("etcd://127.0.0.1:%d/x", fwt_free_port());
    clit_refused(clit_run("--store", url, "--timeout=1s", "kv", "lock", "a", "--", "true", NULL),
                 UNREACHABLE, "a: ");
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv lock");
    TCase *tcase = clit_tcase(suite, "lmdb", 90);
    tcase_add_test(tcase, a_command_runs_while_the_lock_is_held);
    tcase_add_test(tcase, commands_exclude_each_other);
    tcase_add_test(tcase, without_a_command_it_is_held_until_a_signal);
    tcase_add_test(tcase, a_signal_while_waiting_gives_up);
    tcase_add_loop_test(tcase, signals_are_passed_on_to_the_command, 0,
                        sizeof signals / sizeof *signals);
    tcase_add_test(tcase, a_command_that_dies_of_a_signal_says_so);
    tcase_add_test(tcase, a_lost_lock_ends_the_command);
    tcase_add_test(tcase, a_killed_holder_frees_the_lock_after_its_time);
    tcase_add_test(tcase, mistakes_are_told);
    return fwt_main(suite);
}
