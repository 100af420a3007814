/*
 * register with a command: when it is listed, how it is ended, and what is left when somebody is
 * killed.
 */
#include "clit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILED = 1 };

static void use_lmdb(void)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1); /* for busy machines */
    setenv("FAIRWAY", FWT_PROGRAM, 1);   /* for the commands */
}

/* An HTTP server, in a shell that tells its process id first. */
static const char *http_server(int port)
{
    return clit_format("echo pid $$.; exec python3 -u -m http.server --bind 127.0.0.1 %d", port);
}

static const char *url_of(int port)
{
    return clit_format("tcp://127.0.0.1:%d", port);
}

/* The process id that the command has told. */
static pid_t told_pid(fwt_proc *proc)
{
    const char *line = fwt_proc_expect(proc, "pid ", CLIT_PATIENCE_MS);
    return (pid_t)atoi(strstr(line, "pid ") + 4);
}

/* Somebody who sees everything, from now on. */
static fwt_proc *watch(const char *name)
{
    fwt_proc *proc = clit_start("watch", name, NULL);
    fwt_proc_expect(proc, "= synced", CLIT_PATIENCE_MS);
    return proc;
}

/* ---- the beginning ---- */

START_TEST(it_is_listed_when_its_address_answers)
{
    use_lmdb();
    int port = fwt_free_port();
    const char *flag = clit_format("%s/go", fwt_tmpdir());
    fwt_proc *watcher = watch("web");
    fwt_proc *web = clit_start(
        "register", "web", "--id", "a", "--addr", url_of(port), "--", "/bin/sh", "-c",
        clit_format("while ! test -e %s; do sleep 0.05; done; %s", flag, http_server(port)), NULL);
    const char *line = fwt_proc_expect(web, "waiting web/a: ", CLIT_PATIENCE_MS);
    ck_assert_ptr_nonnull(strstr(line, url_of(port)));
    ck_assert_ptr_nonnull(strstr(line, "--no-wait"));
    ck_assert_int_eq(clit_run("resolve", "web", NULL)->code, FAILED);
    fclose(fopen(flag, "w"));
    fwt_proc_expect(web, "registered web/a", CLIT_PATIENCE_MS);
    fwt_proc_expect(watcher, "+ a ", CLIT_PATIENCE_MS);
    clit_out("resolve", "web");
    clit_end(web, SIGTERM, 128 + SIGTERM);
    fwt_proc_expect(watcher, "~ a ", CLIT_PATIENCE_MS);
    fwt_proc_expect(watcher, "- a ", CLIT_PATIENCE_MS);
    clit_end(watcher, SIGTERM, 0);
}
END_TEST

START_TEST(not_to_wait_can_be_asked_for)
{
    use_lmdb();
    fwt_proc *web =
        clit_start("register", "web", "--id", "a", "--addr", url_of(fwt_free_port()), "--no-wait",
                   "--", "/bin/sh", "-c", "while :; do sleep 0.1; done", NULL);
    fwt_proc_expect(web, "registered web/a", CLIT_PATIENCE_MS);
    ck_assert(!fwt_proc_printed(web, "waiting"));
    clit_end(web, SIGTERM, 128 + SIGTERM);
}
END_TEST

START_TEST(a_signal_while_it_waits_ends_it)
{
    use_lmdb();
    fwt_proc *web =
        clit_start("register", "web", "--addr", url_of(fwt_free_port()), "--", "/bin/sh", "-c",
                   "trap 'exit 4' TERM; while :; do sleep 0.1; done", NULL);
    fwt_proc_expect(web, "waiting web/", CLIT_PATIENCE_MS);
    clit_end(web, SIGTERM, 4);
}
END_TEST

START_TEST(an_open_address_is_advertised)
{
    use_lmdb();
    int port = fwt_free_port();
    fwt_proc *web =
        clit_start("register", "web", "--json", "--addr", clit_format("tcp://0.0.0.0:%d", port),
                   "--advertise", "web.example", "--", "/bin/sh", "-c", http_server(port), NULL);
    fwt_proc_expect(web, "\"registered\"", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(clit_out("resolve", "web", "--json"), "url"),
                     clit_format("tcp://web.example:%d", port));
    clit_end(web, SIGTERM, 128 + SIGTERM);
    setenv("FAIRWAY_ADVERTISE", "other.example", 1);
    web = clit_start("register", "web", "--addr", clit_format("tcp://[::]:%d", port), "--protocol",
                     "raw", "--version", "7", NULL);
    fwt_proc_expect(web, "registered", CLIT_PATIENCE_MS);
    const char *out = clit_out("resolve", "web", "--json");
    ck_assert_str_eq(clit_field(out, "url"), clit_format("tcp://other.example:%d", port));
    ck_assert_str_eq(clit_field(out, "node.protocol"), "raw");
    ck_assert_str_eq(clit_field(out, "node.version"), "7");
    clit_end(web, SIGTERM, 0);
}
END_TEST

/* ---- the end ---- */

START_TEST(it_is_offline_before_its_command_hears_of_it)
{
    use_lmdb();
    fwt_proc *job =
        clit_start("register", "job", "--id", "a", "--addr", "tcp://127.0.0.1:1", "--no-wait",
                   "--drain-timeout", "2s", "--", "/bin/sh", "-c",
                   "trap '\"$FAIRWAY\" resolve job --all --json; exit 3' TERM; echo ready; "
                   "while :; do sleep 0.1; done",
                   NULL);
    clit_await(job, "ready\n");
    fwt_proc_expect(job, "registered job/a", CLIT_PATIENCE_MS);
    fwt_proc_signal(job, SIGTERM);
    fwt_proc_expect(job, "draining job/a", CLIT_PATIENCE_MS);
    const char *line = fwt_proc_expect(job, "\"service\":\"job\"", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "state"), "offline"); /* there, and nobody is sent to it */
    fwt_proc_expect(job, "left job/a", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(job, CLIT_PATIENCE_MS), 3);
    fwt_proc_end(job);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

/* What Ctrl-C sends goes to the whole group. */
START_TEST(a_signal_for_the_whole_group_drains_first)
{
    use_lmdb();
    const char *argv[] = {"setsid",
                          FWT_PROGRAM,
                          "register",
                          "job",
                          "--id",
                          "a",
                          "--addr",
                          "tcp://127.0.0.1:1",
                          "--no-wait",
                          "--drain-timeout",
                          "2s",
                          "--",
                          "/bin/sh",
                          "-c",
                          "trap '\"$FAIRWAY\" resolve job --all --json; exit 3' INT; echo ready; "
                          "while :; do sleep 0.1; done",
                          NULL};
    fwt_proc *job = fwt_proc_start(argv);
    clit_await(job, "ready\n");
    fwt_proc_expect(job, "registered job/a", CLIT_PATIENCE_MS);
    ck_assert_int_eq(kill(-fwt_proc_pid(job), SIGINT), 0);
    const char *line = fwt_proc_expect(job, "\"service\":\"job\"", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "state"), "offline");
    ck_assert_int_eq(fwt_proc_wait(job, CLIT_PATIENCE_MS), 3);
    fwt_proc_end(job);
}
END_TEST

START_TEST(a_second_signal_waits_for_nothing)
{
    use_lmdb();
    fwt_proc *job = clit_start("register", "job", "--id", "a", "--addr", "tcp://127.0.0.1:1",
                               "--no-wait", "--drain-timeout", "10m", "--", "/bin/sh", "-c",
                               "trap '' TERM; echo ready; while :; do sleep 0.1; done", NULL);
    clit_await(job, "ready\n");
    fwt_proc_expect(job, "registered job/a", CLIT_PATIENCE_MS);
    fwt_proc_signal(job, SIGTERM);
    fwt_proc_expect(job, "draining job/a", CLIT_PATIENCE_MS);
    fwt_proc_signal(job, SIGTERM);
    fwt_proc_expect(job, "left job/a", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(job, CLIT_PATIENCE_MS), 128 + SIGKILL);
    fwt_proc_end(job);
    /* Without a command there is nobody to kill. */
    job = clit_start("register", "job", "--id", "a", "--addr", "tcp://127.0.0.1:1",
                     "--drain-timeout", "10m", NULL);
    fwt_proc_expect(job, "registered job/a", CLIT_PATIENCE_MS);
    fwt_proc_signal(job, SIGTERM);
    fwt_proc_expect(job, "draining job/a", CLIT_PATIENCE_MS);
    clit_end(job, SIGTERM, 0);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

START_TEST(consumers_that_have_seen_it_need_no_more_time)
{
    use_lmdb();
    fwt_proc *job = clit_start("register", "job", "--id", "a", "--addr", "tcp://127.0.0.1:1",
                               "--drain-timeout", "10m", NULL);
    fwt_proc_expect(job, "registered job/a", CLIT_PATIENCE_MS);
    fwt_proc *consumer = clit_start("watch", "job", "--consumer", "c1", NULL);
    fwt_proc_expect(consumer, "= synced", CLIT_PATIENCE_MS);
    uint64_t start = clit_now_ms();
    while (!*clit_out("kv", "ls", "consumers/job"))
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
    fwt_proc_signal(job, SIGTERM);
    fwt_proc_expect(consumer, "~ a ", CLIT_PATIENCE_MS);
    fwt_proc_expect(job, "seen job/a: by all 1 consumers", CLIT_PATIENCE_MS);
    fwt_proc_expect(job, "left job/a", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(job, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(job);
    clit_end(consumer, SIGTERM, 0);
}
END_TEST

START_TEST(other_signals_are_passed_on)
{
    use_lmdb();
    fwt_proc *job = clit_start("register", "job", "--addr", "tcp://127.0.0.1:1", "--no-wait", "--",
                               "/bin/sh", "-c",
                               "trap 'echo told' USR1; trap 'exit 5' HUP; echo ready; "
                               "while :; do sleep 0.1; done",
                               NULL);
    clit_await(job, "ready\n");
    fwt_proc_signal(job, SIGUSR1);
    clit_await(job, "told\n");
    clit_end(job, SIGHUP, 5);
}
END_TEST

/* ---- somebody is killed ---- */

START_TEST(it_leaves_at_once_when_its_command_is_killed)
{
    use_lmdb();
    int port = fwt_free_port();
    fwt_proc *watcher = watch("web");
    fwt_proc *web = clit_start("register", "web", "--id", "a", "--addr", url_of(port), "--ttl",
                               "10m", "--", "/bin/sh", "-c", http_server(port), NULL);
    pid_t pid = told_pid(web);
    fwt_proc_expect(watcher, "+ a ", CLIT_PATIENCE_MS);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    fwt_proc_expect(web, "left web/a", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(web, CLIT_PATIENCE_MS), 128 + SIGKILL);
    fwt_proc_end(web);
    fwt_proc_expect(watcher, "- a ", CLIT_PATIENCE_MS); /* its lease is far from its end */
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
    /* Started again, it is there again. */
    web = clit_start("register", "web", "--id", "a", "--addr", url_of(port), "--", "/bin/sh", "-c",
                     http_server(port), NULL);
    fwt_proc_expect(watcher, "+ a ", CLIT_PATIENCE_MS);
    clit_end(web, SIGTERM, 128 + SIGTERM);
    clit_end(watcher, SIGTERM, 0);
}
END_TEST

START_TEST(a_command_that_outlives_its_registration_is_held)
{
    use_lmdb();
    int port = fwt_free_port();
    fwt_proc *watcher = watch("web");
    fwt_proc *web = clit_start("register", "web", "--id", "a", "--addr", url_of(port), "--ttl",
                               "1s", "--", "/bin/sh", "-c", http_server(port), NULL);
    pid_t pid = told_pid(web);
    fwt_proc_expect(watcher, "+ a ", CLIT_PATIENCE_MS);
    clit_end(web, SIGKILL, 128 + SIGKILL);
    /* The lease has ended, the server answers: consumers keep it. */
    const char *line = fwt_proc_expect(watcher, "? a ", CLIT_PATIENCE_MS);
    ck_assert_ptr_nonnull(strstr(line, "held"));
    ck_assert_int_eq(clit_run("resolve", "web", NULL)->code, FAILED);
    /* Registered again, without a word of its having been away. */
    web = clit_start("register", "web", "--id", "a", "--addr", url_of(port), NULL);
    fwt_proc_expect(web, "registered web/a", CLIT_PATIENCE_MS);
    fwt_proc_expect(watcher, " a ", CLIT_PATIENCE_MS); /* relisted, or changed: started later */
    clit_end(web, SIGTERM, 0);
    fwt_proc_expect(watcher, "- a ", CLIT_PATIENCE_MS); /* it was offline */
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    clit_end(watcher, SIGTERM, 0);
}
END_TEST

/* ---- the store is dead ---- */

#ifdef CLIT_ETCD
START_TEST(a_dead_store_does_not_keep_a_command_from_running)
{
    use_lmdb();
    int port = fwt_free_port();
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    setenv("FAIRWAY_STORE", clit_format("etcd://127.0.0.1:%d/demo", etcd.port), 1);
    setenv("FAIRWAY_TIMEOUT", "1s", 1);
    fwt_etcd_kill(&etcd);
    fwt_proc *web = clit_start("register", "web", "--id", "a", "--addr", url_of(port), "--ttl",
                               "3s", "--json", "--", "/bin/sh", "-c", http_server(port), NULL);
    const char *line = fwt_proc_expect(web, "\"not registered\"", CLIT_PATIENCE_MS);
    ck_assert_str_ne(clit_field(line, "reason"), "(none)");
    ck_assert_str_ne(clit_field(line, "next_try_ms"), "(none)");
    fwt_etcd_restart(&etcd);
    fwt_proc_expect(web, "\"event\":\"registered\"", CLIT_PATIENCE_MS);
    clit_out("resolve", "web");
    fwt_etcd_kill(&etcd);
    fwt_proc_expect(web, "\"event\":\"lost\"", CLIT_PATIENCE_MS);
    /* It ends in time all the same. */
    clit_end(web, SIGTERM, 128 + SIGTERM);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("register");
    TCase *tcase = clit_tcase(suite, "beginning", 60);
    tcase_add_test(tcase, it_is_listed_when_its_address_answers);
    tcase_add_test(tcase, not_to_wait_can_be_asked_for);
    tcase_add_test(tcase, a_signal_while_it_waits_ends_it);
    tcase_add_test(tcase, an_open_address_is_advertised);
    tcase = clit_tcase(suite, "end", 60);
    tcase_add_test(tcase, it_is_offline_before_its_command_hears_of_it);
    tcase_add_test(tcase, a_signal_for_the_whole_group_drains_first);
    tcase_add_test(tcase, a_second_signal_waits_for_nothing);
    tcase_add_test(tcase, consumers_that_have_seen_it_need_no_more_time);
    tcase_add_test(tcase, other_signals_are_passed_on);
    tcase = clit_tcase(suite, "killed", 60);
    tcase_add_test(tcase, it_leaves_at_once_when_its_command_is_killed);
    tcase_add_test(tcase, a_command_that_outlives_its_registration_is_held);
#ifdef CLIT_ETCD
    tcase_add_test(tcase, a_dead_store_does_not_keep_a_command_from_running);
#endif
    return fwt_main(suite);
}
