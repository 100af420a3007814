/* resolve, services and watch: filters, and the list on disk. */
#include "clit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAILED = 1, UNREACHABLE = 3 };

/* A store in which nobody answers. */
#define DEAD_STORE "etcd://127.0.0.1:1/demo"

static void use_lmdb(void)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1); /* for busy machines */
}

/* A port at which connections are taken until the descriptor is closed. */
static int open_port(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(*ret_fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(listen(*ret_fd, 128), 0);
    ck_assert_int_eq(getsockname(*ret_fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void put(const char *name, int port, const char *more)
{
    clit_out("kv", "put", clit_format("services/%s", name),
             clit_format("{\"net\":\"tcp\",\"addr\":\"127.0.0.1:%d\"%s}", port, more));
}

static void put_some(void)
{
    put("web/a", 1, ",\"zone\":\"eu\",\"version\":\"1\",\"md\":{\"rack\":\"7\"}");
    put("web/b", 2, ",\"zone\":\"eu\",\"version\":\"2\",\"md\":{\"rack\":\"8\"}");
    put("web/c", 3, ",\"zone\":\"us\",\"version\":\"2\"");
    put("api/a", 4, ",\"zone\":\"us\"");
}

/* The ids of the lines, one after the other. */
static const char *ids(const char *out)
{
    char text[200] = "";
    for (; *out; out = strchr(out, '\n') + 1)
        strcat(strcat(text, clit_field(out, "id")), " ");
    return clit_format("%s", text);
}

/* ---- filters ---- */

START_TEST(a_filter_shows_some)
{
    use_lmdb();
    put_some();
    setenv("FAIRWAY_JSON", "1", 1);
    ck_assert_str_eq(ids(clit_out("resolve", "web")), "a b c ");
    ck_assert_str_eq(ids(clit_out("resolve", "web", "--zone", "eu")), "a b ");
    ck_assert_str_eq(ids(clit_out("resolve", "web", "--version", "2")), "b c ");
    ck_assert_str_eq(ids(clit_out("resolve", "web", "--service-version", "2")), "b c ");
    ck_assert_str_eq(ids(clit_out("resolve", "web", "--zone=eu", "--version=2")), "b ");
    ck_assert_str_eq(ids(clit_out("resolve", "web", "--meta", "rack")), "a b ");
    ck_assert_str_eq(ids(clit_out("resolve", "web", "--meta", "rack=8")), "b ");
    clit_refused(clit_run("resolve", "web", "--meta", "rack=9", NULL), FAILED, "web: no instance");
    const char *out = clit_out("services", "--zone", "eu");
    ck_assert_uint_eq(clit_lines(out), 1);
    ck_assert_str_eq(clit_field(out, "service"), "web");
    ck_assert_str_eq(clit_field(out, "online"), "2");
}
END_TEST

START_TEST(a_watch_follows_what_passes_its_filter)
{
    use_lmdb();
    put_some();
    /* With a saved list it hears of all services; what is shown is the same. */
    const char *saved = clit_format("%s/list", fwt_tmpdir());
    fwt_proc *watch = _i ? clit_start("watch", "web", "--zone", "us", "--saved-list", saved, NULL)
                         : clit_start("watch", "web", "--zone", "us", NULL);
    fwt_proc_expect(watch, "+ c ", CLIT_PATIENCE_MS);
    fwt_proc_expect(watch, "= synced", CLIT_PATIENCE_MS);
    put("web/a", 1, ",\"zone\":\"us\""); /* moves in */
    fwt_proc_expect(watch, "+ a ", CLIT_PATIENCE_MS);
    put("web/a", 5, ",\"zone\":\"us\"");
    fwt_proc_expect(watch, "~ a ", CLIT_PATIENCE_MS);
    put("web/a", 5, ",\"zone\":\"eu\""); /* moves out */
    fwt_proc_expect(watch, "- a ", CLIT_PATIENCE_MS);
    put("api/z", 6, ",\"zone\":\"us\"");
    put("web/b", 7, ",\"zone\":\"eu\"");
    clit_out("kv", "del", "services/web/c");
    fwt_proc_expect(watch, "- c ", CLIT_PATIENCE_MS);
    ck_assert(!fwt_proc_printed(watch, " b ") && !fwt_proc_printed(watch, " z "));
    clit_end(watch, SIGTERM, 0);
}
END_TEST

/* ---- trouble with the store ---- */

START_TEST(a_watch_tells_what_is_held)
{
    use_lmdb();
    int fd, port = open_port(&fd);
    put("web/a", port, "");
    put("web/b", fwt_free_port(), ""); /* where nobody is */
    fwt_proc *text = clit_start("watch", "web", NULL);
    fwt_proc *json = clit_start("watch", "web", "--json", NULL);
    fwt_proc_expect(text, "= synced", CLIT_PATIENCE_MS);
    fwt_proc_expect(json, "\"synced\"", CLIT_PATIENCE_MS);
    clit_out("kv", "rmtree", "services");
    fwt_proc_expect(text, "? a ", CLIT_PATIENCE_MS);
    fwt_proc_expect(json, "\"event\":\"held\"", CLIT_PATIENCE_MS);
    clit_await(text, "- b ");
    put("web/a", port, "");
    const char *line = fwt_proc_expect(text, "= a ", CLIT_PATIENCE_MS);
    ck_assert_ptr_nonnull(strstr(line, "(relisted"));
    line = fwt_proc_expect(json, "\"event\":\"relisted\"", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "id"), "a");
    close(fd);
    clit_out("kv", "del", "services/web/a");
    fwt_proc_expect(text, "- a ", CLIT_PATIENCE_MS);
    clit_end(text, SIGTERM, 0);
    clit_end(json, SIGTERM, 0);
}
END_TEST

#ifdef CLIT_ETCD
START_TEST(a_saved_list_answers_for_a_dead_store)
{
    use_lmdb();
    const char *saved = clit_format("%s/list", fwt_tmpdir());
    put_some();
    clit_out("resolve", "web", "--saved-list", saved);
    /* One file is the list of all services. */
    clit_out("services", "--saved-list", saved);
    setenv("FAIRWAY_STORE", DEAD_STORE, 1);
    clit_refused(clit_run("resolve", "web", NULL), UNREACHABLE, DEAD_STORE);
    setenv("FAIRWAY_SAVED_LIST", saved, 1);
    const clit_result *result = clit_run("resolve", "web", "--json", NULL);
    ck_assert_int_eq(result->code, 0);
    ck_assert_str_eq(ids(result->out), "a b c ");
    ck_assert_str_ne(clit_field(result->out, "saved_ms"), "(none)");
    ck_assert_int_eq(strncmp(result->err, "fairway: " DEAD_STORE ": ", 10), 0);
    ck_assert_ptr_nonnull(strstr(result->err, clit_format("answered from %s, saved ", saved)));
    ck_assert_ptr_nonnull(strstr(result->err, " ago\n"));
    result = clit_run("resolve", "web", "--zone", "us", "--json", NULL);
    ck_assert_str_eq(ids(result->out), "c ");
    result = clit_run("services", "--json", NULL);
    ck_assert_int_eq(result->code, 0);
    ck_assert_uint_eq(clit_lines(result->out), 2);
    /* What it does not know may be in the store. */
    result = clit_run("resolve", "nobody", NULL);
    ck_assert_int_eq(result->code, UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(result->err, "not in the saved list"));
    fwt_proc *watch = clit_start("watch", "web", NULL);
    fwt_proc_expect(watch, "+ a ", CLIT_PATIENCE_MS);
    fwt_proc_expect(watch, "= restored: saved ", CLIT_PATIENCE_MS);
    clit_await(watch, "! stale: ");
    clit_end(watch, SIGTERM, 0);
}
END_TEST

START_TEST(a_watch_tells_of_a_store_that_dies_and_returns)
{
    use_lmdb();
    bool json = _i;
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    setenv("FAIRWAY_STORE", clit_format("etcd://127.0.0.1:%d/demo", etcd.port), 1);
    put("web/a", 1, "");
    fwt_proc *watch = clit_start("watch", "web", json ? "--json" : NULL, NULL);
    fwt_proc_expect(watch, json ? "\"synced\"" : "= synced", CLIT_PATIENCE_MS);
    fwt_etcd_kill(&etcd);
    fwt_proc_expect(watch, json ? "\"event\":\"stale\"" : "! stale: ", CLIT_PATIENCE_MS);
    fwt_etcd_restart(&etcd);
    fwt_proc_expect(watch, json ? "\"event\":\"live\"" : "= live", CLIT_PATIENCE_MS);
    put("web/b", 1, "");
    fwt_proc_expect(watch, json ? "\"event\":\"added\"" : "+ b ", CLIT_PATIENCE_MS);
    clit_end(watch, SIGTERM, 0);
    fwt_etcd_kill(&etcd);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("discovery lists");
    TCase *tcase = clit_tcase(suite, "filters", 60);
    tcase_add_test(tcase, a_filter_shows_some);
    tcase_add_loop_test(tcase, a_watch_follows_what_passes_its_filter, 0, 2);
    tcase = clit_tcase(suite, "trouble", 60);
    tcase_add_test(tcase, a_watch_tells_what_is_held);
#ifdef CLIT_ETCD
    tcase_add_test(tcase, a_saved_list_answers_for_a_dead_store);
    tcase_add_loop_test(tcase, a_watch_tells_of_a_store_that_dies_and_returns, 0, 2);
#endif
    return fwt_main(suite);
}
