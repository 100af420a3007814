/* Many peers, peers that come again, and peers that die. */
#include "trant.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

START_TEST(a_thousand_peers)
{
    size_t count = trant_scheme_under_test.peers ? trant_scheme_under_test.peers : 1000;
    trant_listener listener = {.wishes = {.echo = true}};
    trant_listen(&listener, _i);
    trant_end *ends = calloc(count, sizeof *ends);
    for (size_t i = 0; i < count; i++) {
        ends[i].keep = true;
        trant_dial(listener.url, _i, 0, &ends[i]);
        trant_write(&ends[i], 100, i);
    }
    for (size_t i = 0; i < count; i++) {
        fwt_run_count(&ends[i].received, 100, 2 * TRANT_WAIT_MS);
        trant_check(ends[i].bytes, 100, i);
    }
    ck_assert_uint_eq(listener.accepted, count);
    for (size_t i = 0; i < count; i++)
        fw_conn_close(ends[i].conn, FW_ECANCELED);
    for (size_t i = 0; i < count; i++)
        trant_end_fini(&ends[i]);
    if (!trant_scheme_under_test.connectionless)
        fwt_run_count(&listener.closed_ends, count, TRANT_WAIT_MS);
    free(ends);
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(a_peer_comes_again)
{
    trant_listener listener = {.wishes = {.echo = true}};
    trant_listen(&listener, _i);
    for (size_t i = 0; i < 30; i++) {
        trant_end end = {.keep = true};
        trant_dial(listener.url, _i, 0, &end);
        trant_write(&end, 50, i);
        fwt_run_count(&end.received, 50, TRANT_WAIT_MS);
        trant_check(end.bytes, 50, i);
        trant_end_fini(&end);
    }
    trant_listener_fini(&listener);
}
END_TEST

START_TEST(a_listener_comes_again_at_its_address)
{
    char url[600];
    trant_scheme_under_test.listen_url(url, sizeof url);
    for (size_t i = 0; i < 3; i++) {
        trant_listener listener = {.wishes = {.echo = true}};
        trant_listen_at(&listener, url, _i, 0, 0);
        const char *params = strchr(url, '?');
        char again[600];
        snprintf(again, sizeof again, "%s%s", fw_listener_url(listener.listener),
                 params ? params : "");
        memcpy(url, again, sizeof url);
        trant_end end = {.keep = true};
        trant_dial(listener.url, _i, 0, &end);
        trant_write(&end, 50, i);
        fwt_run_count(&end.received, 50, TRANT_WAIT_MS);
        trant_end_fini(&end);
        trant_listener_fini(&listener);
    }
}
END_TEST

static char self[4096];

START_TEST(a_peer_is_killed)
{
    trant_listener listener = {.wishes = {.echo = true}};
    trant_listen(&listener, _i);
    const char *argv[] = {self, "dial", listener.url, _i ? "messages" : "stream", NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    trant_end *other = trant_accept(&listener, 0);
    fwt_run_count(&other->received, 5, TRANT_WAIT_MS);
    /* A layer's answer leaves in a later turn than it was written in. */
    for (int i = 0; !fwt_proc_printed(proc, "echoed") && i < TRANT_WAIT_MS / 10; i++)
        fwt_run_for(10);
    fwt_proc_expect(proc, "echoed", TRANT_WAIT_MS);
    fwt_proc_end(proc); /* SIGKILL */
    fwt_run_until(&other->closed, TRANT_WAIT_MS);
    ck_assert_int_ne(other->reason, 0);
    trant_listener_fini(&listener);
}
END_TEST

static void child_on_open(fw_conn *conn, void *arg)
{
    (void)arg;
    if (fw_conn_write(conn, "hello", 5))
        exit(1);
}

static void child_on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    (void)data;
    (void)len;
    (void)arg;
    printf("echoed\n");
    fflush(stdout);
}

static void child_on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)arg;
    printf("closed: %s %s\n", fw_strerror(reason), fw_conn_errmsg(conn));
    exit(1);
}

void trant_child(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        exit(1);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc != 4 || strcmp(argv[1], "dial"))
        return;
    fw_loop *loop;
    fw_conn *conn;
    fw_conn_options options = {.messages = !strcmp(argv[3], "messages"),
                               .events = {.on_open = child_on_open,
                                          .on_data = child_on_data,
                                          .on_closed = child_on_closed}};
    if (fw_loop_new(&loop) || fw_conn_dial(loop, argv[2], &options, &conn))
        exit(1);
    fw_loop_run(loop);
    exit(1);
}

void trant_add_peer_tests(Suite *suite)
{
    TCase *tcase = fwt_tcase(suite, "peers", 240);
    unsigned can = trant_abilities();
    int from = can & FW_TRANSPORT_STREAM ? 0 : 1, to = can & FW_TRANSPORT_MESSAGES ? 2 : 1;
    tcase_add_loop_test(tcase, a_thousand_peers, from, to);
    tcase_add_loop_test(tcase, a_peer_comes_again, from, to);
    tcase_add_loop_test(tcase, a_listener_comes_again_at_its_address, from, to);
    if (!trant_scheme_under_test.one_process)
        tcase_add_loop_test(tcase, a_peer_is_killed, from, to);
}
