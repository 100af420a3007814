/* doctor: what it finds, and what its exit code says. */
#include "clit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FAILED = 1, UNREACHABLE = 3 };

static void use_lmdb(void)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1); /* for busy machines */
}

/* A port at which connections are taken, as long as the test runs. */
static int open_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(listen(fd, 128), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void put_node(const char *name, int port, const char *more)
{
    clit_out("kv", "put", clit_format("services/%s", name),
             clit_format("{\"net\":\"tcp\",\"addr\":\"127.0.0.1:%d\"%s}", port, more), "--ttl",
             "10m");
}

/* The report on one check, or NULL. */
static const char *report(const char *out, const char *check)
{
    const char *wanted = clit_format("{\"check\":\"%s\",", check);
    return strstr(out, wanted);
}

static void expect_level(const char *out, const char *check, const char *level)
{
    const char *line = report(out, check);
    ck_assert_msg(line != NULL, "no %s in %s", check, out);
    ck_assert_msg(!strcmp(clit_field(line, "level"), level), "wanted %s: %s", level, line);
}

/* Runs it, and wants an exit code and one check that is not ok. */
static const char *diagnose(int code, const char *check, const char *level)
{
    const clit_result *result = clit_run("doctor", "--json", NULL);
    ck_assert_msg(result->code == code, "%d: %s%s", result->code, result->out, result->err);
    ck_assert_str_eq(result->err, "");
    clit_lines(result->out);
    expect_level(result->out, check, level);
    for (const char *line = result->out; *line; line = strchr(line, '\n') + 1)
        ck_assert_msg(!strcmp(clit_field(line, "check"), check) ||
                          !strcmp(clit_field(line, "level"), "ok"),
                      "%s", line);
    ck_assert_str_ne(clit_field(report(result->out, check), "remedy"), "(none)");
    return report(result->out, check);
}

/* ---- all is well ---- */

static void expect_all_well(void)
{
    static const char *const checks[] = {"store",  "write",     "read",    "watch",
                                         "delete", "lease",     "orphans", "clock",
                                         "drains", "addresses", "nodes"};
    const char *out = clit_out("doctor", "--json");
    ck_assert_uint_eq(clit_lines(out), sizeof checks / sizeof *checks);
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        expect_level(out, checks[i], "ok");
    ck_assert_str_eq(clit_out("kv", "ls", "doctor"), ""); /* it leaves nothing */
    out = clit_out("doctor");
    ck_assert_ptr_null(strstr(out, "FAIL"));
    ck_assert_ptr_null(strstr(out, "warn"));
    ck_assert_int_eq(strncmp(out, "ok    store ", 12), 0);
}

START_TEST(a_store_that_is_well)
{
    use_lmdb();
    expect_all_well();
    put_node("web/a", open_port(), "");
    expect_all_well();
    ck_assert_ptr_nonnull(strstr(clit_out("doctor"), "addresses 1 asked, 1 answer"));
}
END_TEST

START_TEST(many_addresses_are_asked)
{
    use_lmdb();
    int port = open_port();
    for (int i = 0; i < 70; i++) /* more than at a time */
        put_node(clit_format("web/i%d", i), port, "");
    ck_assert_ptr_nonnull(strstr(clit_out("doctor"), "addresses 70 asked, 70 answer"));
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(an_address_that_does_not_answer)
{
    use_lmdb();
    put_node("web/a", open_port(), "");
    put_node("web/b", fwt_free_port(), "");
    const char *line = diagnose(FAILED, "addresses", "fail");
    ck_assert_str_eq(clit_field(line, "count"), "1");
    ck_assert_ptr_nonnull(strstr(clit_field(line, "found"), "web/b at tcp://127.0.0.1:"));
    const clit_result *result = clit_run("doctor", NULL);
    ck_assert_int_eq(result->code, FAILED);
    ck_assert_ptr_nonnull(strstr(result->out, "\nFAIL  addresses 1 of 2 do not answer: web/b"));
    /* One that is offline may be gone already. */
    put_node("web/b", fwt_free_port(), ",\"state\":1");
    expect_all_well();
}
END_TEST

START_TEST(nodes_that_cannot_be_read)
{
    use_lmdb();
    static const char *const keys[] = {"services/web/a", "services/web/b c", "services/web/d/e",
                                       "services/lone"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        clit_out("kv", "put", keys[i], i ? "{\"net\":\"tcp\",\"addr\":\"x:1\"}" : "{bad", "--ttl",
                 "10m");
    const char *line = diagnose(FAILED, "nodes", "fail");
    ck_assert_str_eq(clit_field(line, "count"), "4");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ck_assert_ptr_nonnull(strstr(clit_field(line, "found"), keys[i]));
}
END_TEST

START_TEST(a_node_without_a_lease)
{
    use_lmdb();
    clit_out("kv", "put", "services/web/a",
             clit_format("{\"net\":\"tcp\",\"addr\":\"127.0.0.1:%d\"}", open_port()));
    const char *line = diagnose(0, "orphans", "warn");
    ck_assert_str_eq(clit_field(line, "found"), "[\"web/a\"]");
}
END_TEST

START_TEST(a_clock_that_is_ahead)
{
    use_lmdb();
    put_node("web/a", open_port(), clit_format(",\"started\":%lld", (long long)time(NULL) - 100));
    expect_all_well();
    put_node("web/a", open_port(), clit_format(",\"started\":%lld", (long long)time(NULL) + 1000));
    ck_assert_ptr_nonnull(strstr(clit_field(diagnose(0, "clock", "warn"), "found"), "web/a by "));
}
END_TEST

START_TEST(a_request_to_drain_nobody)
{
    use_lmdb();
    put_node("web/a", open_port(), "");
    clit_out("kv", "put", "drains/web/a", "{}");
    expect_all_well();
    clit_out("kv", "put", "drains/web/b", "{}");
    ck_assert_str_eq(clit_field(diagnose(0, "drains", "warn"), "found"), "[\"web/b\"]");
}
END_TEST

START_TEST(a_store_of_this_process_alone)
{
    setenv("FAIRWAY_STORE", "mem:", 1);
    diagnose(0, "store", "warn");
}
END_TEST

/* ---- etcd ---- */

#ifdef CLIT_ETCD
START_TEST(etcd_is_well_or_out_of_reach)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    setenv("FAIRWAY_STORE", clit_format("etcd://127.0.0.1:%d/demo", etcd.port), 1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1);
    expect_all_well();
    /* Its machines share it: an address of this machine alone is of no use to the others. */
    put_node("web/a", open_port(), "");
    diagnose(0, "loopback", "warn");
    fwt_etcd_kill(&etcd);
    setenv("FAIRWAY_TIMEOUT", "2s", 1);
    const clit_result *result = clit_run("doctor", "--json", NULL);
    ck_assert_int_eq(result->code, UNREACHABLE);
    ck_assert_uint_eq(clit_lines(result->out), 1); /* nothing else can be said */
    expect_level(result->out, "store", "fail");
    ck_assert_str_ne(clit_field(result->out, "remedy"), "(none)");
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("doctor");
    TCase *tcase = clit_tcase(suite, "doctor", 60);
    tcase_add_test(tcase, a_store_that_is_well);
    tcase_add_test(tcase, many_addresses_are_asked);
    tcase_add_test(tcase, an_address_that_does_not_answer);
    tcase_add_test(tcase, nodes_that_cannot_be_read);
    tcase_add_test(tcase, a_node_without_a_lease);
    tcase_add_test(tcase, a_clock_that_is_ahead);
    tcase_add_test(tcase, a_request_to_drain_nobody);
    tcase_add_test(tcase, a_store_of_this_process_alone);
#ifdef CLIT_ETCD
    tcase_add_test(tcase, etcd_is_well_or_out_of_reach);
#endif
    return fwt_main(suite);
}
