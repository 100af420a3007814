/* What anybody may throw at a port: floods, stale and malformed datagrams; and the limits of udp.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "pair.h"

#define HEADER 24

static int raw_socket(int port)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put_u32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

struct segment {
    uint32_t conv, ts, sn, una, len;
    uint8_t cmd;
};

static void send_segment(int fd, const struct segment *segment, size_t real_len)
{
    uint8_t bytes[HEADER + 64] = {0};
    put_u32(bytes, segment->conv);
    bytes[4] = segment->cmd;
    bytes[6] = 32;
    put_u32(bytes + 8, segment->ts);
    put_u32(bytes + 12, segment->sn);
    put_u32(bytes + 16, segment->una);
    put_u32(bytes + 20, segment->len);
    memset(bytes + HEADER, 'x', real_len);
    ck_assert_int_eq(send(fd, bytes, HEADER + real_len, 0), (ssize_t)(HEADER + real_len));
}

static void push(int fd, uint32_t conv, uint32_t sn, uint32_t una)
{
    send_segment(fd, &(struct segment){.conv = conv, .cmd = 81, .sn = sn, .una = una, .len = 4}, 4);
}

START_TEST(only_a_plausible_first_datagram_opens_a_session)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "kcp://127.0.0.1:0", false);
    int fd = raw_socket(listener.port);
    push(fd, 1, 32, 0);         /* beyond the first window */
    push(fd, 1, UINT32_MAX, 0); /* before it */
    push(fd, 1, 0, 1);          /* has heard from us: of a former life */
    for (uint8_t cmd = 82; cmd < 90; cmd++)
        send_segment(fd, &(struct segment){.conv = 1, .cmd = cmd}, 0);
    send_segment(fd, &(struct segment){.conv = 1, .cmd = 81, .len = 40},
                 4); /* shorter than it says */
    send_segment(fd, &(struct segment){.conv = 1, .cmd = 81, .len = 2},
                 4); /* something behind it */
    ck_assert_int_eq(send(fd, "short", 5, 0), 5);
    ck_assert_int_eq(send(fd, "", 0, 0), 0);
    fwt_run_for(100);
    ck_assert_uint_eq(listener.accepted, 0);
    push(fd, 1, 0, 0);
    fwt_run_count(&listener.accepted, 1, PAIR_WAIT_MS);
    fwt_run_count(&listener.last->received, 4, PAIR_WAIT_MS);
    /* Closed, and a late copy comes. */
    fw_conn_close(listener.last->conn, FW_ECANCELED);
    fwt_run_until(&listener.last->closed, PAIR_WAIT_MS);
    push(fd, 1, 0, 0);
    push(fd, 1, 1, 0);
    fwt_run_for(100);
    ck_assert_uint_eq(listener.accepted, 1);
    push(fd, 2, 0, 0); /* another conversation */
    fwt_run_count(&listener.accepted, 2, PAIR_WAIT_MS);
    close(fd);
    pair_listener_fini(&listener);
}
END_TEST

static size_t open_ends(const pair_listener *listener)
{
    size_t count = 0;
    for (size_t i = 0; i < listener->accepted; i++)
        count += !listener->ends[i]->closed;
    return count;
}

START_TEST(a_flood_of_conversations_is_bounded)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "kcp://127.0.0.1:0?rate=20&half_open=8", false);
    int fd = raw_socket(listener.port);
    for (uint32_t i = 0; i < 2000; i++) {
        push(fd, 1000 + i, 0, 0);
        if (i % 100 == 99)
            fwt_run_for(1);
    }
    fwt_run_for(100);
    ck_assert_uint_ge(listener.accepted, 8);
    ck_assert_uint_le(listener.accepted, 1000); /* rate's burst, and what time gives */
    ck_assert_uint_le(open_ends(&listener), 8);
    for (size_t i = 0; i < listener.accepted; i++)
        if (listener.ends[i]->closed)
            ck_assert_int_eq(listener.ends[i]->reason, FW_ELIMIT);
    close(fd);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(the_number_of_sessions_is_bounded)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener,
                _i ? "udp://127.0.0.1:0?rate=0&sessions=5" : "kcp://127.0.0.1:0?rate=0&sessions=5",
                _i);
    for (uint32_t i = 0; i < 20; i++) {
        int fd = raw_socket(listener.port);
        push(fd, 1000 + i, 0, 0);
        close(fd);
    }
    fwt_run_count(&listener.accepted, 5, PAIR_WAIT_MS);
    fwt_run_for(100);
    ck_assert_uint_eq(listener.accepted, 5);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(one_host_opens_so_many_udp_sessions_a_second)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "udp://127.0.0.1:0?rate=5", true);
    for (int i = 0; i < 200; i++) {
        int fd = raw_socket(listener.port);
        ck_assert_int_eq(send(fd, "x", 1, 0), 1);
        close(fd);
    }
    fwt_run_for(100);
    ck_assert_uint_ge(listener.accepted, 5);
    ck_assert_uint_le(listener.accepted, 150);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(one_udp_session_gets_so_many_datagrams_a_second)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "udp://127.0.0.1:0?packet_rate=50", true);
    int fd = raw_socket(listener.port);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(send(fd, "x", 1, 0), 1);
        if (i % 100 == 99)
            fwt_run_for(1);
    }
    fwt_run_for(50);
    ck_assert_uint_eq(listener.accepted, 1);
    ck_assert_uint_ge(listener.last->received, 50);
    ck_assert_uint_lt(listener.last->received, 1000);
    close(fd);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(a_silent_udp_session_ends_and_may_come_again)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "udp://127.0.0.1:0?idle=100", true);
    int fd = raw_socket(listener.port);
    for (size_t i = 1; i <= 2; i++) {
        ck_assert_int_eq(send(fd, "x", 1, 0), 1);
        fwt_run_count(&listener.accepted, i, PAIR_WAIT_MS);
        fwt_run_until(&listener.last->closed, PAIR_WAIT_MS);
        ck_assert_int_eq(listener.last->reason, FW_EIDLE);
    }
    close(fd);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(a_datagram_over_the_limit_is_refused)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "udp://127.0.0.1:0", true);
    char url[64];
    snprintf(url, sizeof url, "udp://127.0.0.1:%d", listener.port);
    pair_end end = {.total = 0};
    pair_dial(&end, url, true);
    uint8_t *bytes = calloc(1, 65508);
    FWT_ERR(fw_conn_write(end.conn, bytes, 65508), FW_EFRAMESIZE);
    FWT_OK(fw_conn_write(end.conn, bytes, 65507));
    fwt_run_count(&listener.accepted, 1, PAIR_WAIT_MS);
    fwt_run_count(&listener.last->received, 65507, PAIR_WAIT_MS);
    free(bytes);
    pair_end_fini(&end);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(a_message_fits_into_the_window_or_is_refused)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "kcp://127.0.0.1:0", true);
    char url[64];
    snprintf(url, sizeof url, "kcp://127.0.0.1:%d", listener.port);
    pair_end end = {.total = 0};
    pair_dial(&end, url, true);
    enum { MOST = 32 * (1400 - 24) };
    uint8_t *bytes = calloc(1, MOST + 1);
    FWT_ERR(fw_conn_write(end.conn, bytes, MOST + 1), FW_EFRAMESIZE);
    FWT_OK(fw_conn_write(end.conn, bytes, MOST));
    fwt_run_count(&listener.accepted, 1, PAIR_WAIT_MS);
    fwt_run_count(&listener.last->received, MOST, PAIR_WAIT_MS);
    free(bytes);
    pair_end_fini(&end);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(a_dial_to_nobody_is_refused_when_it_writes)
{
    char url[64];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d", _i ? "udp" : "kcp", fwt_free_port());
    pair_end end = {.total = 1};
    pair_dial(&end, url, _i);
    fwt_run_until(&end.closed, PAIR_WAIT_MS);
    ck_assert(end.open);
    ck_assert_int_eq(end.reason, UV_ECONNREFUSED);
    pair_end_fini(&end);
}
END_TEST

START_TEST(noise_at_an_authenticated_port_opens_nothing)
{
    pair_listener listener = {.accepted = 0};
    pair_listen(&listener, "kcps://127.0.0.1:0?half_open=4", false);
    int fd = raw_socket(listener.port);
    unsigned seed = 1;
    uint8_t bytes[200];
    size_t answers = 0;
    for (int i = 0; i < 2000; i++) {
        size_t len = (size_t)rand_r(&seed) % sizeof bytes;
        for (size_t k = 0; k < len; k++)
            bytes[k] = (uint8_t)rand_r(&seed);
        if (len)
            bytes[0] = (uint8_t)(i % 5);
        (void)!send(fd, bytes, len, 0);
        if (i % 100 == 99)
            fwt_run_for(1);
        while (recv(fd, bytes, sizeof bytes, 0) >= 0)
            answers++;
    }
    fwt_run_for(50);
    ck_assert_uint_eq(listener.accepted, 0);
    ck_assert_uint_eq(answers, 0);
    char url[64];
    snprintf(url, sizeof url, "kcps://127.0.0.1:%d", listener.port);
    pair_end end = {.total = 0};
    pair_dial(&end, url, false); /* who knows how still gets in */
    fwt_run_until(&end.open, PAIR_WAIT_MS);
    pair_end_fini(&end);
    close(fd);
    pair_listener_fini(&listener);
}
END_TEST

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

/* Makes a key for the server; returns its public half in hex. */
static void make_key(const char *path, char ret_hex[65])
{
    const char *make[] = {"openssl", "genpkey", "-algorithm", "X25519", "-out", path, NULL};
    ck_assert_int_eq(fwt_run(make, NULL, NULL, NULL, PAIR_WAIT_MS), 0);
    const char *show[] = {"openssl", "pkey", "-in", path, "-noout", "-text_pub", NULL};
    char *out, *at;
    ck_assert_int_eq(fwt_run(show, NULL, &out, NULL, PAIR_WAIT_MS), 0);
    size_t len = 0;
    for (at = strstr(out, "pub:") + 4; *at && len < 64; at++)
        if (strchr("0123456789abcdef", *at))
            ret_hex[len++] = *at;
    ret_hex[len] = 0;
    ck_assert_uint_eq(len, 64);
    free(out);
}

START_TEST(files_and_keys_by_url)
{
    char dir[200], url[700], hex[65], psk[300], other[300], key[300];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    snprintf(psk, sizeof psk, "%s/psk", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    write_file(psk, "0123456789abcdef0123456789abcdef\n");
    write_file(other, "another 0123456789abcdef01234567\n");
    make_key(key, hex);
    pair_listener listener = {.wishes = {.echo = true}};
    snprintf(url, sizeof url, "kcp://127.0.0.1:0?secure=1&psk=%s&key=%s", psk, key);
    pair_listen(&listener, url, false);
    pair_end good = {.total = 5000, .seed = 1, .seed_of_peer = 1}, bad = {.total = 1};
    snprintf(url, sizeof url, "kcps://127.0.0.1:%d?psk=%s&server_key=%s", listener.port, psk, hex);
    pair_dial(&good, url, false);
    fwt_run_until(&good.complete, PAIR_WAIT_MS);
    ck_assert_uint_eq(good.bad, 0);
    snprintf(url, sizeof url, "kcps://127.0.0.1:%d?psk=%s", listener.port, other);
    pair_dial(&bad, url, false);
    fwt_run_for(600);
    ck_assert(!bad.open);
    ck_assert_uint_eq(listener.accepted, 1);
    pair_end_fini(&bad);
    pair_end_fini(&good);
    pair_listener_fini(&listener);
}
END_TEST

START_TEST(parameters_that_make_no_sense_are_refused)
{
    const char *dials[] = {
        "nodelay=3",  "interval=9",    "mtu=20",           "stream=2",
        "sndwnd=0",   "idle=5",        "conv=0",           "psk=/dev/null",
        "sessions=1", "server_key=00", "secure=1&conv=5",  "secure=1&server_key=zz",
        "resend=-1",  "dead_link=",    "secure=1&mtu=100", "key=/x"};
    fw_conn *conn;
    for (size_t i = 0; i < sizeof dials / sizeof *dials; i++) {
        char url[100];
        snprintf(url, sizeof url, "kcp://127.0.0.1:9?%s", dials[i]);
        FWT_ERR(fw_conn_dial(fwt_loop, url, &(fw_conn_options){.arg = NULL}, &conn), FW_EOPTION);
    }
    FWT_ERR(fw_conn_dial(fwt_loop, "kcp://127.0.0.1:9?stream=1",
                         &(fw_conn_options){.messages = true}, &conn),
            FW_EOPTION);
    FWT_ERR(fw_conn_dial(fwt_loop, "kcps://127.0.0.1:9?psk=/no/such/file",
                         &(fw_conn_options){.arg = NULL}, &conn),
            UV_ENOENT);
    FWT_ERR(fw_conn_dial(fwt_loop, "kcp://127.0.0.1", &(fw_conn_options){.arg = NULL}, &conn),
            FW_EURL);
    FWT_ERR(
        fw_conn_dial(fwt_loop, "udp://127.0.0.1:9/path", &(fw_conn_options){.arg = NULL}, &conn),
        FW_EURL);
}
END_TEST

START_TEST(a_name_is_looked_up)
{
    pair_listener listener = {.wishes = {.echo = true}};
    const char *schemes[] = {"kcp", "kcps", "udp"};
    char url[100];
    snprintf(url, sizeof url, "%s://127.0.0.1:0", schemes[_i]);
    pair_listen(&listener, url, _i == 2);
    pair_end end = {.total = 100, .seed = 4, .seed_of_peer = 4}, gone = {.total = 1};
    snprintf(url, sizeof url, "%s://localhost:%d", schemes[_i], listener.port);
    pair_dial(&gone, url, _i == 2);
    fw_conn_close(gone.conn, FW_ELIMIT); /* while it is looked up */
    fwt_run_until(&gone.closed, PAIR_WAIT_MS);
    pair_dial(&end, url, _i == 2);
    fwt_run_until(&end.complete, PAIR_WAIT_MS);
    ck_assert_uint_eq(end.bad, 0);
    pair_end_fini(&end);
    pair_listener_fini(&listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp ports");
    TCase *tcase = fwt_tcase(suite, "ports", 60);
    tcase_add_test(tcase, only_a_plausible_first_datagram_opens_a_session);
    tcase_add_test(tcase, a_flood_of_conversations_is_bounded);
    tcase_add_loop_test(tcase, the_number_of_sessions_is_bounded, 0, 2);
    tcase_add_test(tcase, one_host_opens_so_many_udp_sessions_a_second);
    tcase_add_test(tcase, one_udp_session_gets_so_many_datagrams_a_second);
    tcase_add_test(tcase, a_silent_udp_session_ends_and_may_come_again);
    tcase_add_test(tcase, a_datagram_over_the_limit_is_refused);
    tcase_add_test(tcase, a_message_fits_into_the_window_or_is_refused);
    tcase_add_loop_test(tcase, a_dial_to_nobody_is_refused_when_it_writes, 0, 2);
    tcase_add_test(tcase, noise_at_an_authenticated_port_opens_nothing);
    tcase_add_test(tcase, files_and_keys_by_url);
    tcase_add_test(tcase, parameters_that_make_no_sense_are_refused);
    tcase_add_loop_test(tcase, a_name_is_looked_up, 0, 3);
    return fwt_main(suite);
}
