/* drain: an instance taken out of use, and back. Once on lmdb, once on a real etcd. */
#include "clit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED = 1, USAGE = 2, UNREACHABLE = 3 };

static fwt_proc *register_a(void)
{
    fwt_proc *proc =
        clit_start("register", "web", "--id", "a", "--addr", "tcp://127.0.0.1:1", NULL);
    fwt_proc_expect(proc, "registered web/a", CLIT_PATIENCE_MS);
    return proc;
}

static const char *state_of_a(void)
{
    return clit_field(clit_out("resolve", "web", "--all", "--json"), "state");
}

/* Waits until the consumers of the service are as many. */
static void await_consumers(size_t count)
{
    uint64_t start = clit_now_ms();
    while (clit_lines(clit_out("kv", "ls", "consumers/web", "--json")) != count)
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
}

static fwt_proc *consume(const char *name)
{
    fwt_proc *proc = clit_start("watch", "web", "--consumer", name, NULL);
    fwt_proc_expect(proc, "= synced", CLIT_PATIENCE_MS);
    return proc;
}

/* The events of a drain's JSON, one after the other. */
static const char *events_of(const char *out)
{
    char text[300] = "";
    for (; *out; out = strchr(out, '\n') + 1)
        strcat(strcat(text, clit_field(out, "event")), " ");
    return clit_format("%s", text);
}

START_TEST(it_is_offline_until_resumed)
{
    clit_use_store(_i);
    fwt_proc *a = register_a();
    const char *out = clit_out("drain", "web/a", "--json");
    ck_assert_str_eq(events_of(out), "asked offline ");
    ck_assert_str_eq(clit_field(out, "id"), "a");
    ck_assert_str_eq(state_of_a(), "offline");
    fwt_proc_expect(a, "draining web/a", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_out("drain", "web/a", "--resume"), "resumed web/a\n");
    fwt_proc_expect(a, "resumed web/a", CLIT_PATIENCE_MS);
    uint64_t start = clit_now_ms();
    while (strcmp(state_of_a(), "online") != 0)
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
    clit_refused(clit_run("drain", "web/a", "--resume", NULL), FAILED, "no request to drain it");
    clit_end(a, SIGTERM, 0);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

START_TEST(it_waits_for_every_consumer)
{
    clit_use_store(_i);
    fwt_proc *a = register_a(), *one = consume("one"), *two = consume("two");
    await_consumers(2);
    const char *out = clit_out("drain", "web/a", "--wait");
    ck_assert_ptr_nonnull(strstr(out, "\nseen web/a: by 2 consumers: none will pick it again\n"));
    /* They have been told when it returns. */
    ck_assert(fwt_proc_printed(one, "~ a ") && fwt_proc_printed(two, "~ a "));
    clit_out("drain", "web/a", "--resume");
    /* One that is stopped has not seen it. */
    fwt_proc_expect(one, "~ a ", CLIT_PATIENCE_MS);
    fwt_proc_expect(one, "~ a ", CLIT_PATIENCE_MS);
    fwt_proc_signal(two, SIGSTOP);
    const clit_result *result = clit_run("drain", "web/a", "--wait", "--timeout", "5s", NULL);
    ck_assert_int_eq(result->code, UNREACHABLE);
    ck_assert_msg(strstr(result->err, "web/two has not seen it") != NULL, "%s", result->err);
    ck_assert_ptr_null(strstr(result->err, "web/one"));
    fwt_proc_signal(two, SIGCONT);
    ck_assert_ptr_nonnull(strstr(clit_out("drain", "web/a", "--wait"), "seen web/a: by 2 "));
    clit_end(one, SIGTERM, 0);
    clit_end(two, SIGTERM, 0);
    clit_end(a, SIGTERM, 0);
}
END_TEST

START_TEST(it_waits_until_the_instance_has_left)
{
    clit_use_store(_i);
    fwt_proc *a = register_a();
    fwt_proc *drain = clit_start("drain", "web/a", "--wait-left", NULL);
    fwt_proc_expect(drain, "seen web/a: no consumer is announced", CLIT_PATIENCE_MS);
    clit_end(a, SIGTERM, 0);
    fwt_proc_expect(drain, "left web/a", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(drain, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(drain);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

START_TEST(a_node_that_nobody_keeps_is_marked)
{
    clit_use_store(_i);
    clit_out("kv", "put", "services/web/a",
             "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\",\"own\":[1,2]}");
    const char *out = clit_out("drain", "web/a", "--json");
    ck_assert_str_eq(events_of(out), "asked offline ");
    ck_assert_str_eq(clit_field(strchr(out, '\n') + 1, "by_us"), "true");
    ck_assert_str_eq(state_of_a(), "offline");
    ck_assert_ptr_nonnull(strstr(clit_out("kv", "get", "services/web/a"), "\"own\":[1,2]"));
    clit_out("drain", "web/a", "--resume");
    ck_assert_str_eq(state_of_a(), "online");
}
END_TEST

static fwt_proc *serve(const char *id)
{
    fwt_proc *proc = clit_start("serve", "echo", "--id", id, NULL);
    fwt_proc_expect(proc, "registered", CLIT_PATIENCE_MS);
    return proc;
}

START_TEST(no_call_fails_when_an_instance_is_drained_and_killed)
{
    clit_use_store(_i);
    fwt_proc *one = serve("one"), *two = serve("two");
    fwt_proc *calls = clit_start("call", "echo", "echo", "\"hi\"", "--every", "20ms", "--consumer",
                                 "caller", NULL);
    clit_await(calls, "one: answers");
    clit_await(calls, "two: answers");
    uint64_t start = clit_now_ms();
    while (!*clit_out("kv", "ls", "consumers/echo"))
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
    ck_assert_ptr_nonnull(strstr(clit_out("drain", "echo/one", "--wait"), "seen echo/one: by 1 "));
    /* What was under way ends before the next summary. */
    fwt_proc_expect(calls, "calls ", CLIT_PATIENCE_MS);
    clit_end(one, SIGKILL, 128 + SIGKILL);
    fwt_proc_expect(calls, "calls ", CLIT_PATIENCE_MS);
    fwt_proc_signal(calls, SIGTERM);
    const char *line = fwt_proc_expect(calls, "ended: ", CLIT_PATIENCE_MS);
    ck_assert_msg(strstr(line, ", 0 failed") != NULL, "%s", line);
    ck_assert_int_eq(fwt_proc_wait(calls, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(calls);
    clit_end(two, SIGTERM, 0);
}
END_TEST

START_TEST(what_cannot_be_drained_is_named)
{
    clit_use_store(_i);
    clit_refused(clit_run("drain", "web/nobody", NULL), FAILED, "web/nobody: not found");
    clit_refused(clit_run("drain", "web", NULL), USAGE, "web: an instance is named as NAME/ID");
    clit_refused(clit_run("drain", "web/", NULL), USAGE, "NAME/ID");
    clit_refused(clit_run("drain", "/a", NULL), USAGE, "NAME/ID");
    clit_refused(clit_run("drain", "web/a b", NULL), USAGE, "web/a b");
    clit_refused(clit_run("drain", "web/a", "--resume", "--wait", NULL), USAGE, "--resume");
    clit_refused(clit_run("drain", "web/a", "--timeout", "0", NULL), USAGE, "--timeout 0");
    ck_assert_str_eq(clit_out("kv", "ls", "/"), ""); /* no request is left */
}
END_TEST

START_TEST(a_dead_store_is_said)
{
    setenv("FAIRWAY_STORE", "etcd://127.0.0.1:1", 1);
    clit_refused(clit_run("drain", "web/a", "--timeout", "3s", NULL), UNREACHABLE, "web/a: ");
    clit_refused(clit_run("drain", "web/a", "--resume", NULL), UNREACHABLE, "web/a: ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("drain");
    TCase *tcase = clit_tcase(suite, "drain", 60);
    clit_share_etcd(tcase);
#ifdef CLIT_ETCD
    tcase_add_test(tcase, a_dead_store_is_said);
#endif
    tcase_add_loop_test(tcase, it_is_offline_until_resumed, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, it_waits_for_every_consumer, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, it_waits_until_the_instance_has_left, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, a_node_that_nobody_keeps_is_marked, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, no_call_fails_when_an_instance_is_drained_and_killed, 0,
                        CLIT_STORES);
    tcase_add_loop_test(tcase, what_cannot_be_drained_is_named, 0, CLIT_STORES);
    return fwt_main(suite);
}
