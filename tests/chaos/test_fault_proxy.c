/* The fault proxy, between blocking sockets of the test and an echo server of its own. */
#include "fwt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

#define WAIT_S 10

/* An echo server: one thread, which says each byte back, after `greeting`. */
struct echo {
    pthread_t thread;
    int fd, port;
    size_t received; /* under lock */
    pthread_mutex_t lock;
    char mark;
};

static void *serve(void *arg)
{
    struct echo *echo = arg;
    struct pollfd fds[16] = {{.fd = echo->fd, .events = POLLIN}};
    nfds_t count = 1;
    for (;;) {
        poll(fds, count, -1);
        for (nfds_t i = count; i-- > 1;) {
            char bytes[4096];
            if (!fds[i].revents)
                continue;
            ssize_t n = read(fds[i].fd, bytes, sizeof bytes);
            if (n <= 0) {
                close(fds[i].fd);
                fds[i] = fds[--count];
                continue;
            }
            pthread_mutex_lock(&echo->lock);
            echo->received += (size_t)n;
            pthread_mutex_unlock(&echo->lock);
            for (ssize_t k = 0; echo->mark && k < n; k++)
                bytes[k] = echo->mark;
            if (send(fds[i].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
                continue;
        }
        if (!fds[0].revents)
            continue;
        int fd = accept(echo->fd, NULL, NULL);
        if (fd < 0)
            break; /* shut down by the test */
        ck_assert_uint_lt(count, 16);
        fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    while (count > 1)
        close(fds[--count].fd);
    return NULL;
}

static void echo_start(struct echo *echo, char mark)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *echo = (struct echo){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .mark = mark};
    pthread_mutex_init(&echo->lock, NULL);
    ck_assert_int_eq(bind(echo->fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(listen(echo->fd, 16), 0);
    getsockname(echo->fd, (struct sockaddr *)&address, &len);
    echo->port = ntohs(address.sin_port);
    ck_assert_int_eq(pthread_create(&echo->thread, NULL, serve, echo), 0);
}

static void echo_end(struct echo *echo)
{
    shutdown(echo->fd, SHUT_RDWR);
    pthread_join(echo->thread, NULL);
    close(echo->fd);
}

static size_t echo_received(struct echo *echo)
{
    pthread_mutex_lock(&echo->lock);
    size_t received = echo->received;
    pthread_mutex_unlock(&echo->lock);
    return received;
}

static int dial(int port, int *ret_error)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = WAIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    *ret_error = connect(fd, (struct sockaddr *)&address, sizeof address) ? errno : 0;
    return fd;
}

static int must_dial(int port)
{
    int error, fd = dial(port, &error);
    ck_assert_int_eq(error, 0);
    return fd;
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void hear(int fd, const char *text)
{
    char bytes[64];
    size_t len = 0, wanted = strlen(text);
    while (len < wanted) {
        ssize_t n = read(fd, bytes + len, wanted - len);
        ck_assert_msg(n > 0, "wanted \"%s\", and the connection ended after %zu bytes", text, len);
        len += (size_t)n;
    }
    ck_assert_mem_eq(bytes, text, wanted);
}

static void hear_nothing(int fd)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&waiting, 1, 150), 0);
}

static void await_received(struct echo *echo, size_t wanted)
{
    uint64_t deadline = uv_hrtime() + UINT64_C(1000000000) * WAIT_S;
    while (echo_received(echo) < wanted) {
        ck_assert_uint_lt(uv_hrtime(), deadline);
        poll(NULL, 0, 1);
    }
}

static struct echo echo;
static fwt_proxy *proxy;

static void setup(void)
{
    echo_start(&echo, 0);
    proxy = fwt_proxy_start(echo.port);
}

static void teardown(void)
{
    fwt_proxy_end(proxy);
    echo_end(&echo);
}

START_TEST(it_passes_both_ways)
{
    int a = must_dial(fwt_proxy_port(proxy)), b = must_dial(fwt_proxy_port(proxy));
    say(a, "one");
    say(b, "two");
    hear(a, "one");
    hear(b, "two");
    ck_assert_uint_eq(fwt_proxy_connections(proxy), 2);
    shutdown(a, SHUT_WR);
    char byte;
    ck_assert_int_eq(read(a, &byte, 1), 0); /* the end goes through, and comes back */
    close(a);
    close(b);
}
END_TEST

START_TEST(megabytes_pass_whole)
{
    static char out[3 << 20], in[3 << 20];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (char)(i * 31 >> 3);
    int fd = must_dial(fwt_proxy_port(proxy));
    size_t sent = 0, got = 0;
    while (got < sizeof in) {
        struct pollfd ready = {.fd = fd, .events = POLLIN | (sent < sizeof out ? POLLOUT : 0)};
        ck_assert_int_eq(poll(&ready, 1, WAIT_S * 1000), 1);
        if (ready.revents & POLLOUT) {
            size_t len = sizeof out - sent < 65536 ? sizeof out - sent : 65536;
            ssize_t n = send(fd, out + sent, len, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
        }
        if (ready.revents & POLLIN) {
            ssize_t n = read(fd, in + got, sizeof in - got);
            ck_assert_int_gt(n, 0);
            got += (size_t)n;
        }
    }
    ck_assert_int_eq(memcmp(in, out, sizeof in), 0);
    close(fd);
}
END_TEST

START_TEST(it_refuses_and_takes_up_its_port_again)
{
    int old = must_dial(fwt_proxy_port(proxy)), error;
    say(old, "x");
    hear(old, "x");
    fwt_proxy_refuse(proxy);
    int refused = dial(fwt_proxy_port(proxy), &error);
    ck_assert_int_eq(error, ECONNREFUSED);
    say(old, "y");
    hear(old, "y");
    fwt_proxy_pass(proxy);
    int fd = must_dial(fwt_proxy_port(proxy));
    say(fd, "z");
    hear(fd, "z");
    close(old);
    close(refused);
    close(fd);
}
END_TEST

START_TEST(it_cuts_with_a_reset_and_with_an_end)
{
    char byte;
    for (int reset = 0; reset < 2; reset++) {
        int fd = must_dial(fwt_proxy_port(proxy));
        say(fd, "x");
        hear(fd, "x");
        fwt_proxy_cut(proxy, reset);
        ck_assert_uint_eq(fwt_proxy_connections(proxy), 0);
        ssize_t n = read(fd, &byte, 1);
        if (reset)
            ck_assert(n < 0 && errno == ECONNRESET);
        else
            ck_assert_int_eq(n, 0);
        close(fd);
    }
    int fd = must_dial(fwt_proxy_port(proxy));
    say(fd, "x");
    hear(fd, "x");
    close(fd);
}
END_TEST

START_TEST(it_freezes_both_ways_and_loses_nothing)
{
    int old = must_dial(fwt_proxy_port(proxy));
    say(old, "a");
    hear(old, "a");
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    int new = must_dial(fwt_proxy_port(proxy)); /* accepted, and then nothing */
    say(old, "b");
    say(new, "c");
    hear_nothing(old);
    hear_nothing(new);
    ck_assert_uint_eq(echo_received(&echo), 1);
    fwt_proxy_pass(proxy);
    hear(old, "b");
    hear(new, "c");
    close(old);
    close(new);
}
END_TEST

START_TEST(it_freezes_one_way)
{
    int fd = must_dial(fwt_proxy_port(proxy));
    say(fd, "a");
    hear(fd, "a");
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
    say(fd, "b");
    await_received(&echo, 2);
    hear_nothing(fd);
    fwt_proxy_freeze(proxy, FWT_PROXY_REQUESTS);
    hear(fd, "b");
    say(fd, "c");
    hear_nothing(fd);
    ck_assert_uint_eq(echo_received(&echo), 2);
    fwt_proxy_freeze(proxy, 0);
    hear(fd, "c");
    close(fd);
}
END_TEST

START_TEST(it_swallows_replies_after_some_bytes)
{
    char byte;
    int fd = must_dial(fwt_proxy_port(proxy));
    say(fd, "a");
    hear(fd, "a");
    fwt_proxy_swallow(proxy, 3);
    say(fd, "12345");
    hear(fd, "123");
    await_received(&echo, 6); /* the request arrived, its reply is lost */
    say(fd, "6");
    await_received(&echo, 7);
    hear_nothing(fd);
    fwt_proxy_pass(proxy);
    ck_assert(read(fd, &byte, 1) < 0 && errno == ECONNRESET);
    close(fd);
    fd = must_dial(fwt_proxy_port(proxy));
    say(fd, "12345");
    hear(fd, "12345");
    close(fd);
}
END_TEST

START_TEST(it_delays)
{
    int fd = must_dial(fwt_proxy_port(proxy));
    fwt_proxy_delay(proxy, 100);
    uint64_t start = uv_hrtime();
    say(fd, "a");
    hear(fd, "a");
    ck_assert_uint_ge(uv_hrtime() - start, UINT64_C(195000000)); /* there and back */
    say(fd, "b");
    fwt_proxy_pass(proxy);
    hear(fd, "b");
    close(fd);
}
END_TEST

START_TEST(it_goes_to_another_target)
{
    struct echo other;
    echo_start(&other, '!');
    int old = must_dial(fwt_proxy_port(proxy));
    say(old, "a");
    hear(old, "a");
    fwt_proxy_target(proxy, other.port);
    int new = must_dial(fwt_proxy_port(proxy));
    say(new, "a");
    hear(new, "!");
    say(old, "b");
    hear(old, "b");
    close(old);
    close(new);
    fwt_proxy_target(proxy, fwt_free_port()); /* nobody there: accepted, and reset */
    char byte;
    new = must_dial(fwt_proxy_port(proxy));
    ck_assert_int_lt(read(new, &byte, 1), 0);
    close(new);
    fwt_proxy_cut(proxy, true);
    echo_end(&other);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("fault proxy");
    TCase *tcase = tcase_create("faults");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, it_passes_both_ways);
    tcase_add_test(tcase, megabytes_pass_whole);
    tcase_add_test(tcase, it_refuses_and_takes_up_its_port_again);
    tcase_add_test(tcase, it_cuts_with_a_reset_and_with_an_end);
    tcase_add_test(tcase, it_freezes_both_ways_and_loses_nothing);
    tcase_add_test(tcase, it_freezes_one_way);
    tcase_add_test(tcase, it_swallows_replies_after_some_bytes);
    tcase_add_test(tcase, it_delays);
    tcase_add_test(tcase, it_goes_to_another_target);
    return fwt_main(suite);
}
