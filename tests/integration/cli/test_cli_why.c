/* why: what is known of a service, and where it comes from. */
#include "clit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2, UNREACHABLE = 3 };

static void use_lmdb(void)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1); /* for busy machines */
}

static void put(const char *id, int port, const char *more)
{
    clit_out("kv", "put", clit_format("services/web/%s", id),
             clit_format("{\"net\":\"tcp\",\"addr\":\"127.0.0.1:%d\"%s}", port, more));
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

/* An item of an array that is a member. */
static const cJSON *item(const cJSON *json, const char *name, int index)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(json, name);
    ck_assert_msg(cJSON_IsArray(array), "no %s", name);
    const cJSON *found = cJSON_GetArrayItem(array, index);
    ck_assert_msg(found != NULL, "%s has no item %d", name, index);
    return found;
}

static int length(const cJSON *json, const char *name)
{
    return cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, name));
}

START_TEST(it_tells_instances_and_what_cannot_be_read)
{
    use_lmdb();
    clit_refused(clit_run("why", "bad name", NULL), USAGE, "bad name");
    const clit_result *nothing = clit_run("why", "web", NULL);
    ck_assert_int_eq(nothing->code, FAILED);
    ck_assert_int_eq(strncmp(nothing->out, "web: 0 instances\n", 17), 0);
    setenv("FAIRWAY_LOG_LEVEL", "error", 1); /* the watcher says that it passes over a node */
    put("a", 1, "");
    put("b", 2, ",\"state\":1");
    clit_out("kv", "put", "services/web/x", "{bad");
    clit_out("kv", "put", "drains/web/b", "{\"by\":\"me\",\"at_ms\":1}");
    cJSON *json = clit_json(clit_out("why", "web", "--json"));
    ck_assert_str_eq(clit_member(json, "source"), "store");
    ck_assert_str_eq(clit_member(json, "stale"), "false");
    ck_assert_str_eq(clit_member(json, "age_ms"), "0");
    ck_assert_int_ge(atoll(clit_member(json, "revision")), 3);
    ck_assert_int_eq(length(json, "instances"), 2);
    ck_assert_str_eq(clit_member(item(json, "instances", 0), "id"), "a");
    ck_assert_str_eq(clit_member(item(json, "instances", 0), "drain"), "(none)");
    ck_assert_str_eq(clit_member(item(json, "instances", 1), "state"), "offline");
    ck_assert_str_eq(clit_member(item(json, "instances", 1), "drain.by"), "me");
    ck_assert_int_eq(length(json, "unreadable"), 1);
    ck_assert_str_eq(clit_member(item(json, "unreadable", 0), "key"), "services/web/x");
    ck_assert_int_eq(length(json, "consumers"), 0);
    ck_assert_str_eq(clit_member(item(json, "changes", 0), "event"), "added");
    cJSON_Delete(json);
    const char *text = clit_out("why", "web");
    static const char *const parts[] = {"web: 2 instances\n",  "  source    store\n",
                                        "the store is heard",  "(to be drained, asked ",
                                        " ago by me)",         "cannot be read\n  services/web/x: ",
                                        "none is announced\n", "  added a  revision "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "no \"%s\" in %s", parts[i], text);
}
END_TEST

START_TEST(it_tells_consumers_and_what_they_have_seen)
{
    use_lmdb();
    put("a", 1, "");
    fwt_proc *consumer = clit_start("watch", "web", "--consumer", "c1", NULL);
    fwt_proc_expect(consumer, "= synced", CLIT_PATIENCE_MS);
    uint64_t start = clit_now_ms();
    while (!*clit_out("kv", "ls", "consumers/web"))
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
    cJSON *json = clit_json(clit_out("why", "web", "--json"));
    ck_assert_int_eq(length(json, "consumers"), 1);
    ck_assert_str_eq(clit_member(item(json, "consumers", 0), "name"), "c1");
    ck_assert_int_ge(atoll(clit_member(item(json, "consumers", 0), "revision")), 1);
    ck_assert_int_eq(length(item(json, "consumers", 0), "ejected"), 0);
    cJSON_Delete(json);
    ck_assert_ptr_nonnull(strstr(clit_out("why", "web"), "\n  c1  "));
    clit_end(consumer, SIGTERM, 0);
    clit_out("kv", "put", "consumers/web/c2",
             "{\"revision\":1,\"ejected\":[{\"id\":\"a\",\"reason\":\"too slow\"},{\"id\":5}]}");
    json = clit_json(clit_out("why", "web", "--json"));
    const cJSON *c2 = item(json, "consumers", 0);
    ck_assert_int_eq(length(c2, "ejected"), 1);
    ck_assert_str_eq(clit_member(item(c2, "ejected", 0), "id"), "a");
    ck_assert_str_eq(clit_member(item(c2, "ejected", 0), "reason"), "too slow");
    cJSON_Delete(json);
    ck_assert_ptr_nonnull(strstr(clit_out("why", "web"), "\n    has ejected a: too slow\n"));
}
END_TEST

/* Watches for a time while the store loses all; true if it has seen what came of it. */
static bool sees_a_hold(const int ports[2], unsigned for_ms)
{
    put("a", ports[0], "");
    put("b", ports[1], "");
    fwt_proc *why = clit_start("why", "web", "--for", clit_format("%ums", for_ms), "--json", NULL);
    fwt_proc_expect(why, "web: watching", CLIT_PATIENCE_MS);
    clit_out("kv", "rmtree", "services");
    cJSON *json = clit_json(fwt_proc_expect(why, "\"service\":\"web\"", CLIT_PATIENCE_MS));
    bool seen = length(json, "instances") == 2 &&
                strcmp(clit_member(item(json, "instances", 1), "held.answers"), "(none)") != 0 &&
                strcmp(clit_member(item(json, "instances", 1), "held.answers"), "0") != 0;
    if (seen) {
        ck_assert_str_eq(clit_member(item(json, "instances", 1), "held.reason"), "many");
        int last = length(json, "changes") - 1;
        ck_assert_str_eq(clit_member(item(json, "changes", last), "event"), "held");
        ck_assert_str_ne(clit_member(item(json, "changes", last), "revision"), "(none)");
    }
    cJSON_Delete(json);
    ck_assert_int_eq(fwt_proc_wait(why, CLIT_PATIENCE_MS), seen ? 0 : FAILED);
    fwt_proc_end(why);
    return seen;
}

START_TEST(it_watches_for_a_while)
{
    use_lmdb();
    const int ports[] = {open_port(), open_port()};
    unsigned for_ms = 500; /* enough, or on a busy machine more */
    while (!sees_a_hold(ports, for_ms)) {
        for_ms *= 2;
        ck_assert_uint_lt(for_ms, CLIT_PATIENCE_MS);
    }
    /* A signal ends the time early. */
    put("a", ports[0], "");
    fwt_proc *why = clit_start("why", "web", "--for", "10m", NULL);
    fwt_proc_expect(why, "web: watching", CLIT_PATIENCE_MS);
    fwt_proc_signal(why, SIGINT);
    fwt_proc_expect(why, "web: 1 instances", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(why, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(why);
}
END_TEST

#ifdef CLIT_ETCD
START_TEST(it_tells_of_a_dead_store)
{
    use_lmdb();
    const char *saved = clit_format("%s/list", fwt_tmpdir());
    put("a", 1, "");
    clit_out("resolve", "web", "--saved-list", saved);
    setenv("FAIRWAY_STORE", "etcd://127.0.0.1:1", 1);
    clit_refused(clit_run("why", "web", NULL), UNREACHABLE, "etcd://127.0.0.1:1: ");
    setenv("FAIRWAY_TIMEOUT", "1s", 1);
    cJSON *json = clit_json(clit_out("why", "web", "--json", "--saved-list", saved));
    ck_assert_str_eq(clit_member(json, "source"), "disk");
    ck_assert_str_eq(clit_member(json, "stale"), "true");
    ck_assert_str_ne(clit_member(json, "stale_reason"), "(none)");
    ck_assert_str_ne(clit_member(json, "saved_ms"), "(none)");
    ck_assert_str_ne(clit_member(json, "not_asked"), "(none)");
    ck_assert_int_ge(atoll(clit_member(json, "age_ms")), 1);
    ck_assert_int_eq(length(json, "instances"), 1);
    cJSON_Delete(json);
    const char *out = clit_out("why", "web", "--saved-list", saved);
    ck_assert_ptr_nonnull(strstr(out, clit_format("  source    disk: %s\n", saved)));
    ck_assert_ptr_nonnull(strstr(out, "\n  stale     since "));
    ck_assert_ptr_nonnull(strstr(out, "not everything could be asked"));
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("why");
    TCase *tcase = clit_tcase(suite, "why", 60);
    tcase_add_test(tcase, it_tells_instances_and_what_cannot_be_read);
    tcase_add_test(tcase, it_tells_consumers_and_what_they_have_seen);
    tcase_add_test(tcase, it_watches_for_a_while);
#ifdef CLIT_ETCD
    tcase_add_test(tcase, it_tells_of_a_dead_store);
#endif
    return fwt_main(suite);
}
