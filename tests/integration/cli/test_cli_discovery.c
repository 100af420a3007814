/* register, resolve, watch, services, serve and call: once on lmdb, once on a real etcd. */
#include "clit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { FAILED = 1 };

static fwt_proc *register_a(void)
{
    fwt_proc *proc = clit_start("register", "echo", "--addr", "tcp://127.0.0.1:7001", "--id", "a",
                                "--ttl", "3s", "--zone", "north", "--weight", "3", "--meta",
                                "rack=7", "--meta", "a=b=c", "--service-version", "1.2", NULL);
    fwt_proc_expect(proc, "registered echo/a", CLIT_PATIENCE_MS);
    return proc;
}

/* Asks until `resolve NAME` exits with the code. */
static void await_resolve(const char *name, int wanted, unsigned within_ms)
{
    uint64_t start = clit_now_ms();
    for (;;) {
        const clit_result *result = clit_run("resolve", name, NULL);
        if (result->code == wanted)
            return;
        ck_assert_msg(clit_now_ms() - start < within_ms, "still %d after %u ms: %s%s", result->code,
                      within_ms, result->out, result->err);
    }
}

static void expect_nobody(const char *name)
{
    clit_refused(clit_run("resolve", name, NULL), FAILED,
                 clit_format("fairway: %s: no instance", name));
}

/* ---- register and resolve ---- */

START_TEST(an_instance_is_there_as_long_as_its_process)
{
    clit_use_store(_i);
    expect_nobody("echo");
    fwt_proc *a = register_a();
    const char *out = clit_out("resolve", "echo", "--json");
    ck_assert_uint_eq(clit_lines(out), 1);
    cJSON *json = clit_json(out);
    ck_assert_str_eq(clit_member(json, "service"), "echo");
    ck_assert_str_eq(clit_member(json, "id"), "a");
    ck_assert_str_eq(clit_member(json, "url"), "tcp://127.0.0.1:7001");
    ck_assert_str_eq(clit_member(json, "state"), "online");
    ck_assert_str_eq(clit_member(json, "node.zone"), "north");
    ck_assert_str_eq(clit_member(json, "node.weight"), "3");
    ck_assert_str_eq(clit_member(json, "node.version"), "1.2");
    ck_assert_str_eq(clit_member(json, "node.md.rack"), "7");
    ck_assert_str_eq(clit_member(json, "node.md.a"), "b=c");
    cJSON_Delete(json);
    out = clit_out("resolve", "echo");
    static const char *const parts[] = {"a ", "tcp://127.0.0.1:7001", "online", "weight 3",
                                        "  zone north  version 1.2  a=b=c  rack=7\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ck_assert_msg(strstr(out, parts[i]) != NULL, "no \"%s\" in %s", parts[i], out);
    clit_end(a, SIGTERM, 0);
    expect_nobody("echo"); /* at once */
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

START_TEST(the_store_holds_one_json_node)
{
    clit_use_store(_i);
    fwt_proc *a = register_a();
    const char *out = clit_out("kv", "ls", "services/echo", "--json");
    ck_assert_uint_eq(clit_lines(out), 1);
    ck_assert_str_eq(clit_field(out, "key"), "services/echo/a");
    ck_assert_str_ne(clit_field(out, "lease"), "(none)");
    cJSON *node = clit_json(clit_field(out, "value"));
    ck_assert_str_eq(clit_member(node, "net"), "tcp");
    ck_assert_str_eq(clit_member(node, "addr"), "127.0.0.1:7001");
    ck_assert_str_eq(clit_member(node, "md.rack"), "7");
    cJSON_Delete(node);
    clit_end(a, SIGINT, 0);
    ck_assert_str_eq(clit_out("kv", "ls", "services/echo", "--json"), "");
}
END_TEST

START_TEST(a_killed_instance_goes_with_its_lease)
{
    clit_use_store(_i);
    fwt_proc *a = register_a();
    clit_end(a, SIGKILL, 128 + SIGKILL);
    uint64_t start = clit_now_ms();
    clit_out("resolve", "echo"); /* its lease still holds */
    await_resolve("echo", FAILED, 5000);
    ck_assert_uint_ge(clit_now_ms() - start, 1000);
}
END_TEST

START_TEST(an_instance_outlives_its_ttl_while_its_process_runs)
{
    clit_use_store(_i);
    fwt_proc *a = clit_start("register", "echo", "--addr", "tcp://127.0.0.1:7001", "--ttl", "1s",
                             "--id", "a", NULL);
    fwt_proc_expect(a, "registered", CLIT_PATIENCE_MS);
    fwt_proc *watch = clit_start("watch", "echo", NULL);
    fwt_proc_expect(watch, "+ a ", CLIT_PATIENCE_MS);
    uint64_t start = clit_now_ms();
    while (clit_now_ms() - start < 3500)
        clit_out("resolve", "echo");
    ck_assert(!fwt_proc_printed(watch, "- a "));
    clit_end(watch, SIGTERM, 0);
    clit_end(a, SIGTERM, 0);
}
END_TEST

START_TEST(a_watch_tells_who_comes_and_goes)
{
    clit_use_store(_i);
    fwt_proc *text = clit_start("watch", "echo", NULL);
    fwt_proc *json = clit_start("watch", "echo", "--json", NULL);
    fwt_proc_expect(text, "synced", CLIT_PATIENCE_MS);
    fwt_proc_expect(json, "\"event\":\"synced\"", CLIT_PATIENCE_MS);
    fwt_proc *a = register_a();
    fwt_proc_expect(text, "+ a ", CLIT_PATIENCE_MS);
    const char *line = fwt_proc_expect(json, "added", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "event"), "added");
    ck_assert_str_eq(clit_field(line, "id"), "a");
    ck_assert_str_eq(clit_field(line, "node.zone"), "north");
    /* Somebody else of the service, and one of another. */
    clit_out("kv", "put", "services/echo/b", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\"}");
    clit_out("kv", "put", "services/other/c", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\"}");
    fwt_proc_expect(text, "+ b ", CLIT_PATIENCE_MS);
    clit_out("kv", "put", "services/echo/b", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:2\"}");
    fwt_proc_expect(text, "~ b ", CLIT_PATIENCE_MS);
    line = fwt_proc_expect(json, "changed", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "url"), "tcp://127.0.0.1:2");
    clit_end(a, SIGTERM, 0);
    fwt_proc_expect(text, "- a ", CLIT_PATIENCE_MS);
    line = fwt_proc_expect(json, "removed", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "event"), "removed");
    ck_assert_str_eq(clit_field(line, "id"), "a");
    ck_assert(!fwt_proc_printed(json, "other"));
    clit_end(text, SIGTERM, 0);
    clit_end(json, SIGINT, 0);
}
END_TEST

START_TEST(services_are_counted)
{
    clit_use_store(_i);
    ck_assert_str_eq(clit_out("services"), "");
    static const char *const nodes[][2] = {
        {"services/one/a", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\"}"},
        {"services/two/a", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:1\"}"},
        {"services/two/b", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:2\",\"state\":1}"},
        {"services/two/c", "{\"net\":\"tcp\",\"addr\":\"127.0.0.1:3\"}"},
    };
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        clit_out("kv", "put", nodes[i][0], nodes[i][1]);
    const char *out = clit_out("services", "--json");
    ck_assert_uint_eq(clit_lines(out), 2);
    ck_assert_str_eq(clit_field(out, "service"), "one");
    ck_assert_str_eq(clit_field(out, "online"), "1");
    ck_assert_str_eq(clit_field(out, "offline"), "0");
    out = strchr(out, '\n') + 1;
    ck_assert_str_eq(clit_field(out, "service"), "two");
    ck_assert_str_eq(clit_field(out, "online"), "2");
    ck_assert_str_eq(clit_field(out, "offline"), "1");
    out = clit_out("services");
    ck_assert_ptr_nonnull(strstr(out, "2 online, 1 offline\n"));
    ck_assert_uint_eq(clit_lines(clit_out("resolve", "two", "--json")), 2);
    out = clit_out("resolve", "two", "--json", "--all");
    ck_assert_uint_eq(clit_lines(out), 3);
    ck_assert_ptr_nonnull(strstr(out, "\"state\":\"offline\""));
}
END_TEST

/* ---- register with a command ---- */

static const char *const with[] = {"register", "job", "--addr",   "tcp://127.0.0.1:7002",
                                   "--id",     "j",   "--no-wait"};
#define WITH with[0], with[1], with[2], with[3], with[4], with[5], with[6]

START_TEST(a_command_gives_its_exit_code)
{
    clit_use_store(_i);
    const clit_result *result = clit_run(WITH, "--", "/bin/sh", "-c", "exit 7", NULL);
    ck_assert_int_eq(result->code, 7);
    ck_assert_str_eq(result->err, "");
    ck_assert_ptr_nonnull(strstr(result->out, "left job/j\n"));
    expect_nobody("job");
    result = clit_run(WITH, "--json", "--", "/bin/sh", "-c", "echo \"--json: $0 $1\"; kill -9 $$",
                      "--ttl", "x", NULL);
    ck_assert_int_eq(result->code, 128 + SIGKILL);
    ck_assert_ptr_nonnull(strstr(result->out, "--json: --ttl x\n"));
    clit_refused(clit_run(WITH, "--", "/no/such/program", NULL), FAILED, "/no/such/program");
    expect_nobody("job");
}
END_TEST

START_TEST(a_signal_reaches_the_command)
{
    clit_use_store(_i);
    fwt_proc *job = clit_start(WITH, "--", "/bin/sh", "-c",
                               "trap 'kill $!; echo told; exit 3' TERM; sleep 60 & "
                               "echo ready; wait",
                               NULL);
    clit_await(job, "ready\n");
    clit_await(job, "registered job/j\n");
    ck_assert_str_eq(clit_field(clit_out("resolve", "job", "--json"), "id"), "j");
    fwt_proc_signal(job, SIGTERM);
    ck_assert_int_eq(fwt_proc_wait(job, CLIT_PATIENCE_MS), 3);
    ck_assert(fwt_proc_printed(job, "told\n") && fwt_proc_printed(job, "left job/j\n"));
    fwt_proc_end(job);
    expect_nobody("job");
}
END_TEST

/* ---- serve and call ---- */

static fwt_proc *serve(const char *id, const char *listen)
{
    fwt_proc *proc = clit_start("serve", "echo", "--id", id, "--listen", listen, "--log-level",
                                "warn", "--zone", "south", "--meta", "color=blue", NULL);
    fwt_proc_expect(proc, "registered", CLIT_PATIENCE_MS);
    return proc;
}

START_TEST(calls_reach_every_instance)
{
    clit_use_store(_i);
    fwt_proc *one = serve("one", "tcp://127.0.0.1:0");
    fwt_proc *two = serve("two", clit_format("unix:%s/socket", fwt_tmpdir()));
    for (int i = 0; i < 10; i++)
        ck_assert_str_eq(clit_out("call", "echo", "echo", "\"hi\""), "\"hi\"\n");
    const char *out = clit_out("call", "echo", "echo", "\"hi\"", "--json", "--count", "10");
    ck_assert_uint_eq(clit_lines(out), 10);
    int counts[2] = {0, 0};
    for (int i = 0; i < 10; i++, out = strchr(out, '\n') + 1) {
        ck_assert_str_eq(clit_field(out, "reply"), "hi");
        ck_assert_str_ne(clit_field(out, "ms"), "(none)");
        counts[!strcmp(clit_field(out, "instance"), "two")]++;
    }
    ck_assert_msg(counts[0] && counts[1], "one %d, two %d", counts[0], counts[1]);
    out = clit_out("call", "echo", "who", "--count", "2");
    ck_assert_uint_eq(clit_lines(out), 2);
    ck_assert_str_eq(clit_field(out, "node.zone"), "south");
    ck_assert_str_eq(clit_field(out, "node.md.color"), "blue");
    ck_assert_ptr_nonnull(strstr(out, "\"id\":\"one\""));
    ck_assert_ptr_nonnull(strstr(out, "\"id\":\"two\""));
    /* One that leaves is not called any more. */
    clit_end(one, SIGTERM, 0);
    out = clit_out("call", "echo", "echo", "[1,2]", "--json", "--count", "4");
    for (int i = 0; i < 4; i++, out = strchr(out, '\n') + 1) {
        ck_assert_str_eq(clit_field(out, "instance"), "two");
        ck_assert_str_eq(clit_field(out, "reply"), "[1,2]");
    }
    clit_end(two, SIGINT, 0);
    expect_nobody("echo");
}
END_TEST

START_TEST(failed_calls_say_why_at_once)
{
    clit_use_store(_i);
    fwt_proc *one = serve("one", "tcp://127.0.0.1:0");
    setenv("FAIRWAY_TIMEOUT", "1m", 1); /* which none of them waits for */
    clit_refused(clit_run("call", "echo", "fail", NULL), FAILED,
                 "fairway: echo/one: error 1000: you asked for it");
    clit_refused(clit_run("call", "echo", "fail", "--count", "3", "--json", NULL), FAILED,
                 "error 1000: you asked for it");
    clit_refused(clit_run("call", "echo", "nosuch", "{}", NULL), FAILED,
                 "fairway: echo/one: error 9: no such method");
    const clit_result *result = clit_run("call", "nobody", "echo", NULL);
    clit_refused(result, FAILED, "fairway: nobody: ");
    ck_assert_uint_lt(result->took_ms, 10000);
    /* An instance that is listed, but not there. */
    clit_end(one, SIGKILL, 128 + SIGKILL);
    result = clit_run("call", "echo", "echo", "--timeout", "2s", NULL);
    ck_assert_int_ne(result->code, 0);
    ck_assert_msg(!strncmp(result->err, "fairway: echo", 13), "%s", result->err);
    ck_assert_uint_lt(result->took_ms, 10000);
}
END_TEST

START_TEST(an_address_that_is_taken_is_named)
{
    clit_use_store(_i);
    fwt_proc *one = serve("one", "tcp://127.0.0.1:0");
    const char *url = clit_field(clit_out("resolve", "echo", "--json"), "url");
    clit_refused(clit_run("serve", "echo", "--id", "two", "--listen", url, NULL), FAILED, url);
    ck_assert_uint_eq(clit_lines(clit_out("resolve", "echo", "--json")), 1);
    clit_end(one, SIGTERM, 0);
}
END_TEST

/* ---- etcd only ---- */

#ifdef CLIT_ETCD
static const char *etcdctl(int port, const char *verb, const char *option, const char *key)
{
    static char *out;
    char *err;
    free(out);
    const char *argv[] = {
        "env", "ETCDCTL_API=3", "etcdctl", clit_format("--endpoints=127.0.0.1:%d", port),
        verb,  option,          key,       NULL};
    int code = fwt_run(argv, NULL, &out, &err, CLIT_PATIENCE_MS);
    ck_assert_msg(code == 0, "etcdctl: %s", err);
    free(err);
    return out;
}

START_TEST(others_read_the_node_in_etcd)
{
    setenv("FAIRWAY_STORE", clit_format("etcd://127.0.0.1:%d/demo", clit_etcd.port), 1);
    fwt_proc *a = register_a();
    const char *out = etcdctl(clit_etcd.port, "get", "--prefix", "/demo/services/echo/");
    static const char key[] = "/demo/services/echo/a\n";
    ck_assert_msg(!strncmp(out, key, sizeof key - 1), "%s", out);
    cJSON *node = clit_json(out + sizeof key - 1);
    ck_assert_str_eq(clit_member(node, "net"), "tcp");
    ck_assert_str_eq(clit_member(node, "addr"), "127.0.0.1:7001");
    ck_assert_str_eq(clit_member(node, "bn"), "rr");
    ck_assert_str_eq(clit_member(node, "md.rack"), "7");
    ck_assert_str_eq(clit_member(node, "weight"), "3");
    ck_assert_str_eq(clit_member(node, "zone"), "north");
    cJSON_Delete(node);
    /* Deleted by somebody else, it comes back. */
    fwt_proc *watch = clit_start("kv", "watch", "services/echo/a", NULL);
    fwt_proc_expect(watch, "synced", CLIT_PATIENCE_MS);
    etcdctl(clit_etcd.port, "del", "--prefix", "/demo/services/echo/");
    fwt_proc_expect(watch, "delete\tservices/echo/a", CLIT_PATIENCE_MS);
    fwt_proc_expect(watch, "put\tservices/echo/a", CLIT_PATIENCE_MS);
    clit_end(watch, SIGTERM, 0);
    clit_end(a, SIGTERM, 0);
    ck_assert_str_eq(etcdctl(clit_etcd.port, "get", "--prefix", "/demo/services/echo/"), "");
}
END_TEST

START_TEST(an_instance_returns_with_its_registry)
{
    bool wiped = _i;
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    setenv("FAIRWAY_STORE", clit_format("etcd://127.0.0.1:%d/demo", etcd.port), 1);
    fwt_proc *a = register_a();
    fwt_proc *watch = clit_start("watch", "echo", NULL);
    fwt_proc_expect(watch, "+ a ", CLIT_PATIENCE_MS);
    fwt_etcd_kill(&etcd);
    const char *line = fwt_proc_expect(a, "lost echo/a: ", CLIT_PATIENCE_MS);
    ck_assert_ptr_nonnull(strstr(line, "next try in"));
    fwt_proc_expect(watch, "! stale", CLIT_PATIENCE_MS);
    if (wiped) {
        const char *argv[] = {"rm", "-rf", etcd.data_dir, NULL};
        ck_assert_int_eq(fwt_run(argv, NULL, NULL, NULL, CLIT_PATIENCE_MS), 0);
    }
    fwt_etcd_restart(&etcd);
    fwt_proc_expect(a, "registered echo/a", CLIT_PATIENCE_MS);
    await_resolve("echo", 0, CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(clit_out("resolve", "echo", "--json"), "id"), "a");
    clit_end(watch, SIGTERM, 0);
    clit_end(a, SIGTERM, 0); /* it did not exit */
    expect_nobody("echo");
    fwt_etcd_kill(&etcd);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("discovery");
    TCase *tcase = clit_tcase(suite, "registration", 60);
    TCase *command = clit_tcase(suite, "command", 60), *calls = clit_tcase(suite, "calls", 60);
    clit_share_etcd(tcase);
    clit_share_etcd(command);
    clit_share_etcd(calls);
    tcase_add_loop_test(tcase, an_instance_is_there_as_long_as_its_process, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, the_store_holds_one_json_node, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, a_killed_instance_goes_with_its_lease, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, an_instance_outlives_its_ttl_while_its_process_runs, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, a_watch_tells_who_comes_and_goes, 0, CLIT_STORES);
    tcase_add_loop_test(tcase, services_are_counted, 0, CLIT_STORES);
    tcase_add_loop_test(command, a_command_gives_its_exit_code, 0, CLIT_STORES);
    tcase_add_loop_test(command, a_signal_reaches_the_command, 0, CLIT_STORES);
    tcase_add_loop_test(calls, calls_reach_every_instance, 0, CLIT_STORES);
    tcase_add_loop_test(calls, failed_calls_say_why_at_once, 0, CLIT_STORES);
    tcase_add_loop_test(calls, an_address_that_is_taken_is_named, 0, CLIT_STORES);
#ifdef CLIT_ETCD
    TCase *etcd = clit_tcase(suite, "etcd", 60);
    clit_share_etcd(etcd);
    tcase_add_test(etcd, others_read_the_node_in_etcd);
    tcase_add_loop_test(etcd, an_instance_returns_with_its_registry, 0, 2);
#endif
    return fwt_main(suite);
}
