/*
 * Our kcp and kcp-go (Debian's package of its source) in both roles, clean and through a bad
 * network. The other end is interop/peer.go, which is built here:
 *
 *     PEER server PORT walle|quick           echoes whatever comes, says "listening"
 *     PEER client PORT walle|quick BYTES     sends bytes of pair.c's order (seed 3), wants them
 *                                            back in that order, and says "ok"
 *
 * walle: default settings of kcp-go; quick: nodelay 1, interval 10, resend 2, no congestion window,
 * windows of 128.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pair.h"
#include "udp_relay.h"

static const struct kind {
    const char *name, *params;
    size_t bytes;
    fwt_weather weather;
} kinds[] = {
    {"quick", PAIR_QUICK, 1 << 20, {.seed = 1}},
    {"quick", PAIR_QUICK "&stream=1", 1 << 20, {.seed = 2}},
    {"walle", "nodelay=0", 200000, {.seed = 3}},
    {"quick", PAIR_QUICK, 1 << 20, {.loss = 10, .delay_ms = 5, .jitter_ms = 15, .seed = 4}},
    {"walle", "nodelay=0", 20000, {.loss = 10, .delay_ms = 5, .jitter_ms = 15, .seed = 5}},
};

#define BUILD_MS 120000
#define KINDS    (int)(sizeof kinds / sizeof *kinds)

static char program[300];

START_TEST(we_dial)
{
    const struct kind *kind = &kinds[_i];
    int port = fwt_free_port();
    char port_text[8], url[300];
    snprintf(port_text, sizeof port_text, "%d", port);
    const char *argv[] = {program, "server", port_text, kind->name, NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    fwt_proc_expect(proc, "listening", PAIR_WAIT_MS);
    fwt_udp_relay *relay = fwt_udp_relay_start(port, &kind->weather);
    snprintf(url, sizeof url, "kcp://127.0.0.1:%d?%s", fwt_udp_relay_port(relay), kind->params);
    pair_end end = {.total = kind->bytes, .seed = 3, .seed_of_peer = 3};
    pair_dial(&end, url, false);
    fwt_run_until(&end.complete, PAIR_WAIT_MS);
    ck_assert_uint_eq(end.bad, 0);
    ck_assert_uint_eq(end.received, kind->bytes);
    pair_end_fini(&end);
    fwt_udp_relay_end(relay);
    fwt_proc_end(proc);
}
END_TEST

START_TEST(we_listen)
{
    const struct kind *kind = &kinds[_i];
    char port_text[8], bytes_text[16], url[300];
    pair_listener listener = {.wishes = {.echo = true}};
    snprintf(url, sizeof url, "kcp://127.0.0.1:0?%s", kind->params);
    pair_listen(&listener, url, false);
    fwt_udp_relay *relay = fwt_udp_relay_start(listener.port, &kind->weather);
    snprintf(port_text, sizeof port_text, "%d", fwt_udp_relay_port(relay));
    snprintf(bytes_text, sizeof bytes_text, "%zu", kind->bytes);
    const char *argv[] = {program, "client", port_text, kind->name, bytes_text, NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    for (int i = 0; i < PAIR_WAIT_MS / 10 && !fwt_proc_printed(proc, "\n"); i++)
        fwt_run_for(10);
    printf("%s: %s\n", kind->params, fwt_proc_expect(proc, "ok", 10));
    ck_assert_uint_eq(listener.accepted, 1);
    ck_assert_uint_eq(listener.last->received, kind->bytes);
    pair_listener_fini(&listener);
    fwt_udp_relay_end(relay);
    fwt_proc_end(proc);
}
END_TEST

static void build_peer(void)
{
    const char *dir = fwt_tmpdir();
    char cache[300];
    snprintf(program, sizeof program, "%s/peer", dir);
    snprintf(cache, sizeof cache, "GOCACHE=%s/cache", dir);
    const char *source = fwt_source_path("integration/kcp/interop/peer.go");
    const char *argv[] = {"env",
                          "GO111MODULE=off",
                          "GOPATH=/usr/share/gocode",
                          "GOFLAGS=",
                          cache,
                          "go",
                          "build",
                          "-o",
                          program,
                          source,
                          NULL};
    char *out, *err;
    int rc = fwt_run(argv, NULL, &out, &err, BUILD_MS);
    ck_assert_msg(rc == 0, "the peer (golang-go, golang-github-xtaci-kcp-dev): %s%s", out, err);
    free(out);
    free(err);
}

int main(void)
{
    Suite *suite = suite_create("kcp interop");
    TCase *tcase = fwt_tcase(suite, "interop", 120);
    tcase_add_unchecked_fixture(tcase, build_peer, NULL); /* once, for all */
    tcase_add_loop_test(tcase, we_dial, 0, KINDS);
    tcase_add_loop_test(tcase, we_listen, 0, KINDS);
    return fwt_main(suite);
}
