/* serve echo on every transport, and ping there. */
#include "clit.h"

#include <arpa/inet.h>
#include <fairway/transport.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DONE, FAILED, USAGE, UNREACHABLE };

/* ---- transports ---- */

#define KCP "nodelay=1&interval=10&nc=1&sndwnd=256&rcvwnd=256"

/* One row a transport. "%s" in a URL is a temporary folder. */
static const struct transport {
    const char *name, *listen, *params; /* params: of the pings' URL */
    bool messages, secure;
    const char *most_bytes; /* that one ping has */
} transports[] = {
    {"tcp", "tcp://127.0.0.1:0", "", false, false, "1000000"},
    {"unix", "unix:%s/socket", "", false, false, "1000000"},
    {"tls", "tls://127.0.0.1:0", "", false, true, "1000000"},
    {"udp", "udp://127.0.0.1:0", "", true, false, "60000"},
    {"kcp", "kcp://127.0.0.1:0?" KCP, "?" KCP, false, false, "100000"},
    {"kcps", "kcps://127.0.0.1:0?" KCP, "?" KCP, false, false, "100000"},
#ifdef CLIT_WS
    {"ws", "ws://127.0.0.1:0/echo", "", false, false, "1000000"},
    {"wss", "wss://127.0.0.1:0/", "?deflate=1", false, true, "1000000"},
#endif
    {"snet", "snet://127.0.0.1:0?encrypt=1", "?encrypt=1", false, false, "1000000"},
};
#define TRANSPORTS (sizeof transports / sizeof *transports)

struct server {
    fwt_proc *proc;
    char url[400];
};

/* A file for transports that want certificates; NULL for others. */
static const char *tls_file(const struct transport *transport, const char *name)
{
    static char dir[256];
    if (!transport->secure)
        return NULL;
    if (!*dir) {
        snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
        fwt_certificate(dir, "ca", NULL, NULL, 30);
        fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
    }
    return clit_format("%s/%s", dir, name);
}

/* Takes the URL from the next line that tells one. */
static void take_url(struct server *server, const char *protocol)
{
    cJSON *json = clit_json(fwt_proc_expect(server->proc, "\"listening\"", CLIT_PATIENCE_MS));
    ck_assert_str_eq(clit_member(json, "protocol"), protocol);
    snprintf(server->url, sizeof server->url, "%s", clit_member(json, "url"));
    cJSON_Delete(json);
}

static struct server serve(const struct transport *transport, const char *protocol)
{
    struct server server;
    char listen[300];
    const char *cert = tls_file(transport, "server.pem"), *key = tls_file(transport, "server.key");
    const char *dir = strchr(transport->listen, '%') ? fwt_tmpdir() : "";
    size_t head = strcspn(transport->listen, "%");
    snprintf(listen, sizeof listen, "%.*s%s%s", (int)head, transport->listen, dir,
             transport->listen[head] ? transport->listen + head + 2 : "");
    server.proc =
        clit_start("serve", "echo", "--no-register", "--json", "--protocol", protocol, "--listen",
                   listen, cert ? "--tls-cert" : NULL, cert, "--tls-key", key, NULL);
    take_url(&server, transport->messages ? "raw" : protocol);
    ck_assert_int_eq(strncmp(server.url, transport->name, strlen(transport->name)), 0);
    return server;
}

/* `fairway ping URL --json --count N --size BYTES`. */
static const clit_result *ping(const struct transport *transport, const struct server *server,
                               const char *count, const char *size)
{
    const char *ca = tls_file(transport, "ca.pem");
    const char *url = clit_format("%s%s", server->url, transport->params);
    return clit_run("ping", url, "--json", "--interval", "5ms", "--timeout", "30s", "--count",
                    count, "--size", size, ca ? "--tls-ca" : NULL, ca, NULL);
}

/* The pings of a run were all answered, in order. */
static void expect_answers(const struct transport *transport, const clit_result *result,
                           size_t count)
{
    const char *line = clit_done(result, __FILE__, __LINE__);
    ck_assert_uint_eq(clit_lines(line), count + 2);
    ck_assert_str_eq(clit_field(line, "event"), "open");
    bool is_ws = !strncmp(transport->name, "ws", 2); /* one packet is one message */
    ck_assert_str_eq(clit_field(line, "messages"), transport->messages || is_ws ? "true" : "false");
    for (size_t i = 1; i <= count; i++) {
        line = strchr(line, '\n') + 1;
        ck_assert_str_eq(clit_field(line, "event"), "answer");
        ck_assert_str_eq(clit_field(line, "seq"), clit_format("%zu", i));
        ck_assert_str_ne(clit_field(line, "rtt_ms"), "(none)");
    }
    line = strchr(line, '\n') + 1;
    ck_assert_str_eq(clit_field(line, "event"), "summary");
    ck_assert_str_eq(clit_field(line, "sent"), clit_format("%zu", count));
    ck_assert_str_eq(clit_field(line, "answered"), clit_format("%zu", count));
    static const char *const none[] = {"late", "lost", "duplicates", "errors", "damaged"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_str_eq(clit_field(line, none[i]), "0");
    ck_assert_str_ne(clit_field(line, "rtt_ms.mdev"), "(none)");
}

START_TEST(every_transport_answers)
{
    static const char *const protocols[] = {"walle", "raw"};
    const struct transport *transport = &transports[_i];
    for (int i = 0; i < 2; i++) {
        struct server server = serve(transport, protocols[i]);
        expect_answers(transport, ping(transport, &server, "5", "56"), 5);
        expect_answers(transport, ping(transport, &server, "2", "0"), 2);
        expect_answers(transport, ping(transport, &server, "3", transport->most_bytes), 3);
        clit_end(server.proc, SIGTERM, 0);
    }
}
END_TEST

START_TEST(a_certificate_of_somebody_else_is_refused)
{
    const struct transport *tls = &transports[2];
    struct server server = serve(tls, "raw");
    const clit_result *result = clit_run("ping", server.url, "--count", "1", NULL);
    clit_refused(result, FAILED, server.url);
    ck_assert_msg(strstr(result->err, "certificate") != NULL, "%s", result->err);
    setenv("FAIRWAY_LOG_LEVEL", "error", 1);
    clit_refused(clit_run("ping", server.url, "--tls-ca", "/no/such/file", NULL), FAILED,
                 server.url);
    clit_end(server.proc, SIGTERM, 0);
}
END_TEST

/* ---- serve ---- */

static int dial_tcp(const char *url)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Reads what comes, until there are len bytes or the end. */
static size_t read_some(int fd, void *data, size_t len)
{
    size_t got = 0;
    for (ssize_t n = 1; n > 0 && got<len; got += n> 0 ? (size_t)n : 0) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&waiting, 1, CLIT_PATIENCE_MS), 1);
        n = read(fd, (char *)data + got, len - got);
    }
    return got;
}

START_TEST(raw_bytes_come_back_up_to_the_end)
{
    struct server server = serve(&transports[0], "raw");
    char text[16] = "";
    int fd = dial_tcp(server.url);
    ck_assert_int_eq(write(fd, "hello", 5), 5);
    ck_assert_uint_eq(read_some(fd, text, 5), 5);
    ck_assert_int_eq(write(fd, " world", 6), 6);
    shutdown(fd, SHUT_WR);
    ck_assert_uint_eq(read_some(fd, text + 5, 10), 6); /* and then the end */
    ck_assert_str_eq(text, "hello world");
    close(fd);
    /* It ends with somebody connected, too. */
    fd = dial_tcp(server.url);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    ck_assert_uint_eq(read_some(fd, text, 1), 1);
    clit_end(server.proc, SIGINT, 0);
    ck_assert_uint_eq(read_some(fd, text, 1), 0);
    close(fd);
}
END_TEST

/* Who does not read what comes back is not read from for ever; the others do not notice. */
START_TEST(who_does_not_read_is_held_up)
{
    struct server server = serve(&transports[0], "raw");
    static char block[65536];
    size_t sent = 0;
    int fd = dial_tcp(server.url);
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLOUT};
        if (poll(&waiting, 1, 1000) <= 0)
            break;
        ssize_t n = send(fd, block, sizeof block, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        ck_assert_uint_lt(sent, (size_t)256 << 20);
    }
    expect_answers(&transports[0], ping(&transports[0], &server, "3", "56"), 3);
    for (size_t got = 0; got < sent;) {
        size_t n = read_some(fd, block, sent - got < sizeof block ? sent - got : sizeof block);
        ck_assert_uint_gt(n, 0);
        got += n;
    }
    close(fd);
    clit_end(server.proc, SIGTERM, 0);
}
END_TEST

START_TEST(several_listeners_stand_side_by_side)
{
    const char *socket = clit_format("unix:%s/socket", fwt_tmpdir());
    struct server server = {.proc = clit_start("serve", "echo", "--json", "--no-register",
                                               "--listen", "tcp://127.0.0.1:0", "--listen", socket,
                                               "--listen", "tcp://127.0.0.1:0", NULL)};
    for (int i = 0; i < 3; i++) {
        take_url(&server, "walle");
        expect_answers(&transports[0], ping(&transports[0], &server, "1", "56"), 1);
    }
    ck_assert_str_ne(server.url, socket);
    clit_end(server.proc, SIGTERM, 0);
    /* One that cannot be had is named, and the others do not stay. */
    clit_refused(clit_run("serve", "echo", "--no-register", "--listen", "tcp://127.0.0.1:0",
                          "--listen", "unix:/no/such/folder/socket", NULL),
                 FAILED, "unix:/no/such/folder/socket: ");
}
END_TEST

START_TEST(given_listeners_replace_that_of_the_environment)
{
    setenv("FAIRWAY_LISTEN", "unix:/no/such/folder/socket", 1);
    clit_refused(clit_run("serve", "echo", "--no-register", NULL), FAILED, "/no/such/folder");
    struct server server = serve(&transports[0], "walle");
    clit_end(server.proc, SIGTERM, 0);
}
END_TEST

static const char *state_of(const char *service)
{
    return clit_field(clit_out("resolve", service, "--all", "--json"), "state");
}

START_TEST(it_is_marked_before_it_leaves)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1);
    fwt_proc *proc = clit_start("serve", "echo", "--register", "web", "--id", "a",
                                "--drain-timeout", "10m", NULL);
    fwt_proc_expect(proc, "web/a: registered", CLIT_PATIENCE_MS);
    fwt_proc *watch = clit_start("watch", "web", "--consumer", "c", NULL);
    fwt_proc_expect(watch, "= synced", CLIT_PATIENCE_MS);
    /* One that is stopped does not see it. */
    fwt_proc_signal(watch, SIGSTOP);
    fwt_proc_signal(proc, SIGTERM);
    fwt_proc_expect(proc, "web/a: draining", CLIT_PATIENCE_MS);
    uint64_t start = clit_now_ms();
    while (strcmp(state_of("web"), "offline") != 0)
        ck_assert_uint_lt(clit_now_ms() - start, CLIT_PATIENCE_MS);
    /* Whoever still comes is answered. */
    const char *url = clit_field(clit_out("resolve", "web", "--all", "--json"), "url");
    clit_out("ping", url, "--count", "1");
    ck_assert(!fwt_proc_printed(proc, "left"));
    /* All that are announced have seen it: it need not wait. */
    fwt_proc_signal(watch, SIGCONT);
    fwt_proc_expect(proc, "web/a: left", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(proc, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(proc);
    clit_end(watch, SIGTERM, 0);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), "");
}
END_TEST

START_TEST(a_second_signal_does_not_wait_for_the_drain)
{
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    fwt_proc *proc = clit_start("serve", "echo", "--id", "a", "--drain-timeout", "10m", NULL);
    fwt_proc_expect(proc, "registered", CLIT_PATIENCE_MS);
    fwt_proc_signal(proc, SIGTERM);
    fwt_proc_expect(proc, "draining", CLIT_PATIENCE_MS);
    clit_end(proc, SIGTERM, 0);
    ck_assert_str_eq(clit_out("kv", "ls", "/"), ""); /* it has left all the same */
}
END_TEST

/* ---- ping ---- */

START_TEST(nobody_there_is_unreachable)
{
    clit_refused(clit_run("ping", "tcp://127.0.0.1:1", NULL), UNREACHABLE,
                 "fairway: tcp://127.0.0.1:1: connection refused");
    clit_refused(clit_run("ping", "unix:/no/such/socket", NULL), UNREACHABLE,
                 "unix:/no/such/socket: ");
    clit_refused(clit_run("ping", "tcp://127.0.0.1:1", "--json", NULL), UNREACHABLE, "refused");
    /* A dial of datagrams asks nobody. */
    const clit_result *result = clit_run("ping", "udp://127.0.0.1:1", NULL);
    ck_assert_int_eq(result->code, UNREACHABLE);
    ck_assert_msg(strstr(result->err, "udp://127.0.0.1:1: connection refused\n") != NULL, "%s",
                  result->err);
    ck_assert_ptr_nonnull(strstr(result->out, "1 sent, 0 answered, 1 lost (100%)"));
}
END_TEST

START_TEST(a_signal_ends_it_with_the_summary)
{
    struct server server = serve(&transports[0], "walle");
    fwt_proc *proc = clit_start("ping", server.url, "--interval", "10ms", NULL);
    ck_assert_ptr_nonnull(strstr(fwt_proc_expect(proc, "PING ", CLIT_PATIENCE_MS), server.url));
    fwt_proc_expect(proc, "56 bytes from", CLIT_PATIENCE_MS);
    fwt_proc_expect(proc, "seq=3 time=", CLIT_PATIENCE_MS);
    fwt_proc_signal(proc, SIGINT);
    fwt_proc_expect(proc, " ping statistics ---", CLIT_PATIENCE_MS);
    const char *line = fwt_proc_expect(proc, " sent, ", CLIT_PATIENCE_MS);
    ck_assert_msg(strstr(line, " answered, 0 lost (0%), time ") != NULL, "%s", line);
    fwt_proc_expect(proc, "rtt min/avg/max/mdev = ", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(proc, CLIT_PATIENCE_MS), DONE);
    fwt_proc_end(proc);
    clit_end(server.proc, SIGTERM, 0);
}
END_TEST

START_TEST(a_connection_that_is_lost_fails)
{
    struct server server = serve(&transports[0], "raw");
    fwt_proc *proc = clit_start("ping", server.url, "--interval", "10ms", NULL);
    fwt_proc_expect(proc, "seq=1 ", CLIT_PATIENCE_MS);
    clit_end(server.proc, SIGKILL, 128 + SIGKILL);
    const char *line = fwt_proc_expect(proc, " sent, ", CLIT_PATIENCE_MS);
    unsigned sent, answered, lost;
    ck_assert_int_eq(sscanf(line, "%u sent, %u answered, %u lost", &sent, &answered, &lost), 3);
    ck_assert_uint_eq(sent, answered + lost);
    fwt_proc_expect(proc, "rtt min/avg/max/mdev = ", CLIT_PATIENCE_MS);
    ck_assert(fwt_proc_printed(proc, clit_format("fairway: %s: ", server.url)));
    ck_assert_int_eq(fwt_proc_wait(proc, CLIT_PATIENCE_MS), FAILED);
    fwt_proc_end(proc);
}
END_TEST

/* ---- ping, and a peer of our own ---- */

struct peer {
    int listener, fd;
    char url[60];
};

static struct peer listen_by_hand(void)
{
    struct peer peer;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    peer.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(peer.listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(peer.listener, 8), 0);
    getsockname(peer.listener, (struct sockaddr *)&address, &len);
    snprintf(peer.url, sizeof peer.url, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    peer.fd = -1;
    return peer;
}

static void accept_by_hand(struct peer *peer)
{
    struct pollfd waiting = {.fd = peer->listener, .events = POLLIN};
    ck_assert_int_eq(poll(&waiting, 1, CLIT_PATIENCE_MS), 1);
    peer->fd = accept(peer->listener, NULL, NULL);
    ck_assert_int_ge(peer->fd, 0);
}

static void end_by_hand(struct peer *peer)
{
    close(peer->fd);
    close(peer->listener);
}

/* One packet of `--size 4`, as it came. */
static size_t read_packet(const struct peer *peer, uint8_t *packet)
{
    ck_assert_uint_eq(read_some(peer->fd, packet, 4), 4);
    ck_assert_uint_lt(packet[0], 100);
    ck_assert_uint_eq(read_some(peer->fd, packet + 4, packet[0]), packet[0]);
    return 4 + (size_t)packet[0];
}

START_TEST(silence_is_a_deadline)
{
    struct peer peer = listen_by_hand();
    const clit_result *result = clit_run("ping", peer.url, "--json", "--count", "2", "--interval",
                                         "10ms", "--timeout", "200ms", NULL);
    ck_assert_int_eq(result->code, UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(result->err, "deadline"));
    ck_assert_uint_eq(clit_lines(result->out), 4);
    const char *line = strchr(result->out, '\n') + 1;
    ck_assert_str_eq(clit_field(line, "event"), "lost");
    line = strchr(strchr(line, '\n') + 1, '\n') + 1;
    ck_assert_str_eq(clit_field(line, "lost"), "2");
    ck_assert_str_eq(clit_field(line, "answered"), "0");
    end_by_hand(&peer);
}
END_TEST

/* What the summary of a ping says, after its end by a signal. */
static const char *summary_after(fwt_proc *proc, int code)
{
    fwt_proc_signal(proc, SIGTERM);
    const char *line = clit_format("%s\n", fwt_proc_expect(proc, "\"summary\"", CLIT_PATIENCE_MS));
    ck_assert_int_eq(fwt_proc_wait(proc, CLIT_PATIENCE_MS), code);
    fwt_proc_end(proc);
    return line;
}

START_TEST(late_ones_and_doubles_are_counted)
{
    struct peer peer = listen_by_hand();
    uint8_t packet[104];
    fwt_proc *proc = clit_start("ping", peer.url, "--json", "--size", "4", "--interval", "1m",
                                "--timeout", "300ms", NULL);
    accept_by_hand(&peer);
    size_t len = read_packet(&peer, packet);
    fwt_proc_expect(proc, "\"lost\"", CLIT_PATIENCE_MS);
    /* In pieces. */
    ck_assert_int_eq(send(peer.fd, packet, 3, 0), 3);
    poll(NULL, 0, 20);
    ck_assert_int_eq(send(peer.fd, packet + 3, len - 3, 0), (ssize_t)len - 3);
    fwt_proc_expect(proc, "\"late\"", CLIT_PATIENCE_MS);
    ck_assert_int_eq(send(peer.fd, packet, len, 0), (ssize_t)len);
    fwt_proc_expect(proc, "\"duplicate\"", CLIT_PATIENCE_MS);
    const char *line = summary_after(proc, DONE);
    ck_assert_str_eq(clit_field(line, "sent"), "1");
    ck_assert_str_eq(clit_field(line, "answered"), "1");
    ck_assert_str_eq(clit_field(line, "late"), "1");
    ck_assert_str_eq(clit_field(line, "lost"), "0");
    ck_assert_str_eq(clit_field(line, "duplicates"), "1");
    end_by_hand(&peer);
}
END_TEST

/* The first datagram is lost on its way, the second one comes back. */
START_TEST(datagrams_that_are_lost_are_counted)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    uint8_t packet[200];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    fwt_proc *proc =
        clit_start("ping", clit_format("udp://127.0.0.1:%d", ntohs(address.sin_port)), "--json",
                   "--count", "2", "--interval", "10ms", "--timeout", "3s", NULL);
    ssize_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&waiting, 1, CLIT_PATIENCE_MS), 1);
        n = recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&address, &len);
        ck_assert_int_gt(n, 56);
    }
    ck_assert_int_eq(sendto(fd, packet, (size_t)n, 0, (struct sockaddr *)&address, len), n);
    fwt_proc_expect(proc, "\"answer\",\"seq\":2,", CLIT_PATIENCE_MS);
    fwt_proc_expect(proc, "\"lost\",\"seq\":1}", CLIT_PATIENCE_MS);
    const char *line = fwt_proc_expect(proc, "\"summary\"", CLIT_PATIENCE_MS);
    ck_assert_msg(strstr(line, "\"sent\":2,\"answered\":1,\"late\":0,\"lost\":1,") != NULL, "%s",
                  line);
    ck_assert_int_eq(fwt_proc_wait(proc, CLIT_PATIENCE_MS), DONE);
    fwt_proc_end(proc);
    close(fd);
}
END_TEST

START_TEST(other_bytes_are_not_taken_for_an_answer)
{
    struct peer peer = listen_by_hand();
    uint8_t packet[104];
    fwt_proc *proc =
        clit_start("ping", peer.url, "--json", "--size", "4", "--interval", "1m", NULL);
    accept_by_hand(&peer);
    size_t len = read_packet(&peer, packet);
    packet[len - 1] ^= 1;
    ck_assert_int_eq(send(peer.fd, packet, len, 0), (ssize_t)len);
    fwt_proc_expect(proc, "\"note\":\"damaged\"", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(summary_after(proc, FAILED), "damaged"), "1");
    close(peer.fd);
    /* What is no packet ends it at once. */
    proc = clit_start("ping", peer.url, NULL);
    accept_by_hand(&peer);
    read_packet(&peer, packet);
    ck_assert_int_eq(send(peer.fd, "HTTP/1.1 400 Bad Request\r\n", 26, 0), 26);
    fwt_proc_expect(proc, "no answer of an echo service", CLIT_PATIENCE_MS);
    ck_assert_int_eq(fwt_proc_wait(proc, CLIT_PATIENCE_MS), FAILED);
    fwt_proc_end(proc);
    end_by_hand(&peer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ping");
    TCase *serving = clit_tcase(suite, "serve", 120), *pinging = clit_tcase(suite, "ping", 60);
    TCase *each = clit_tcase(suite, "transports", 120);
    tcase_add_loop_test(each, every_transport_answers, 0, TRANSPORTS);
    tcase_add_test(each, a_certificate_of_somebody_else_is_refused);
    tcase_add_test(serving, raw_bytes_come_back_up_to_the_end);
    tcase_add_test(serving, who_does_not_read_is_held_up);
    tcase_add_test(serving, several_listeners_stand_side_by_side);
    tcase_add_test(serving, given_listeners_replace_that_of_the_environment);
    tcase_add_test(serving, it_is_marked_before_it_leaves);
    tcase_add_test(serving, a_second_signal_does_not_wait_for_the_drain);
    tcase_add_test(pinging, nobody_there_is_unreachable);
    tcase_add_test(pinging, a_signal_ends_it_with_the_summary);
    tcase_add_test(pinging, a_connection_that_is_lost_fails);
    tcase_add_test(pinging, silence_is_a_deadline);
    tcase_add_test(pinging, late_ones_and_doubles_are_counted);
    tcase_add_test(pinging, datagrams_that_are_lost_are_counted);
    tcase_add_test(pinging, other_bytes_are_not_taken_for_an_answer);
    return fwt_main(suite);
}
