/*
 * Sessions: what a broadcast costs, and what an idle session holds.
 *   bench_session broadcast SESSIONS ROUNDS SIZE
 *     SIZE bytes to each of SESSIONS tcp sessions, ROUNDS times, in messages per CPU second of the
 *     sending process; against one write(2) for each socket in the same run, in turns.
 *   bench_session idle SESSIONS
 *     memory of the process for each accepted session that does nothing.
 * The other ends are plain sockets in a child process. JSON lines.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fairway/error.h>
#include <fairway/session.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define TURNS       3   /* each of ours and of the plain ones */
#define WARM_UP     200 /* sessions that come before memory is first looked at */
#define SPARE_FILES 100

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench_session: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void must_fw(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench_session: %s: %s\n", what, fw_strerror(err));
    exit(2);
}

static size_t raise_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    struct rlimit more = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &more)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

/* ---- the other ends ---- */

/* Connects, then reads and forgets until its parent kills it. */
static void run_peers(uint16_t port, size_t count)
{
    int epoll = epoll_create1(0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        must(fd >= 0, "socket");
        must(!connect(fd, (struct sockaddr *)&to, sizeof to), "connect");
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        must(!epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll");
    }
    static char buffer[1 << 16];
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++)
            if (read(events[i].data.fd, buffer, sizeof buffer) <= 0)
                epoll_ctl(epoll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
    }
}

static pid_t start_peers(uint16_t port, size_t count)
{
    pid_t child = fork();
    must(child >= 0, "fork");
    if (!child)
        run_peers(port, count);
    return child;
}

static void end_peers(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* ---- ours ---- */

static fw_loop *loop;
static fw_server *server;
static size_t accepted, at_warm_up;

static void on_session(fw_server *from, fw_session *session, void *arg)
{
    (void)from;
    (void)session;
    (void)arg;
    accepted++;
}

static void start_server(void)
{
    accepted = at_warm_up = 0;
    fw_server_options options = {.framing = {.big_endian = true}, .on_session = on_session};
    must_fw(fw_loop_new(&loop), "loop");
    must_fw(fw_server_new(loop, "tcp://127.0.0.1:0", &options, &server), "server");
}

static uint16_t server_port(void)
{
    return (uint16_t)atoi(strrchr(fw_server_url(server), ':') + 1);
}

static void accept_until(size_t count)
{
    while (accepted < count)
        uv_run(fw_loop_uv(loop), UV_RUN_ONCE);
}

static void stop_server(void)
{
    fw_server_close(server);
    fw_loop_run(loop);
    must_fw(fw_loop_close(loop), "loop");
}

static double broadcast_ours(size_t count, size_t rounds, size_t size)
{
    static char data[1 << 16];
    start_server();
    pid_t child = start_peers(server_port(), count);
    accept_until(count);
    fw_broadcast broadcast = {.data = data, .len = size};
    double from = cpu_seconds();
    for (size_t i = 0; i < rounds; i++) {
        size_t meant;
        must_fw(fw_server_broadcast(server, &broadcast, &meant), "broadcast");
        if (meant != count)
            exit(2);
        uv_run(fw_loop_uv(loop), UV_RUN_NOWAIT); /* a turn, at whose end all is flushed */
    }
    double cpu = cpu_seconds() - from;
    end_peers(child);
    stop_server();
    return (double)(count * rounds) / cpu;
}

/* ---- plain sockets ---- */

static int plain_listener(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0 && !bind(fd, (struct sockaddr *)&at, len) && !listen(fd, 1024), "listen");
    getsockname(fd, (struct sockaddr *)&at, &len);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static double broadcast_plain(size_t count, size_t rounds, size_t size)
{
    static char frame[4 + (1 << 16)];
    uint16_t port;
    int listener = plain_listener(&port), one = 1;
    int *fds = malloc(count * sizeof *fds);
    must(fds != NULL, "memory");
    pid_t child = start_peers(port, count);
    for (size_t i = 0; i < count; i++) {
        must((fds[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0, "accept");
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    uint32_t head = htonl((uint32_t)size);
    memcpy(frame, &head, sizeof head);
    double from = cpu_seconds();
    for (size_t i = 0; i < rounds; i++)
        for (size_t j = 0; j < count; j++)
            must(write(fds[j], frame, 4 + size) == (ssize_t)(4 + size), "write");
    double cpu = cpu_seconds() - from;
    end_peers(child);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    close(listener);
    free(fds);
    return (double)(count * rounds) / cpu;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int bench_broadcast(size_t count, size_t rounds, size_t size)
{
    double ours[TURNS], plain[TURNS];
    for (int i = 0; i < TURNS; i++) {
        plain[i] = broadcast_plain(count, rounds, size);
        ours[i] = broadcast_ours(count, rounds, size);
    }
    qsort(ours, TURNS, sizeof *ours, by_value);
    qsort(plain, TURNS, sizeof *plain, by_value);
    printf("{\"bench\":\"session_broadcast\",\"sessions\":%zu,\"rounds\":%zu,\"size\":%zu,"
           "\"fairway_messages_per_cpu_s\":%.0f,\"plain_write_messages_per_cpu_s\":%.0f,"
           "\"ratio\":%.3f}\n",
           count, rounds, size, ours[TURNS / 2], plain[TURNS / 2],
           ours[TURNS / 2] / plain[TURNS / 2]);
    return 0;
}

/* ---- idle ---- */

static size_t resident_bytes(void)
{
    size_t pages = 0, total;
    FILE *file = fopen("/proc/self/statm", "r");
    must(file && fscanf(file, "%zu %zu", &total, &pages) == 2, "/proc/self/statm");
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static int bench_idle(size_t count, size_t files)
{
    if (count + SPARE_FILES > files)
        count = files - SPARE_FILES; /* the limit of the system, which is said */
    start_server();
    pid_t first = start_peers(server_port(), WARM_UP);
    accept_until(WARM_UP);
    size_t resident = resident_bytes(), heap = mallinfo2().uordblks;
    size_t more = count - WARM_UP;
    pid_t child = start_peers(server_port(), more);
    accept_until(count);
    double resident_each = (double)(resident_bytes() - resident) / (double)more;
    double heap_each = (double)(mallinfo2().uordblks - heap) / (double)more;
    printf("{\"bench\":\"session_idle\",\"sessions\":%zu,\"resident_bytes_each\":%.0f,"
           "\"heap_bytes_each\":%.0f}\n",
           count, resident_each, heap_each);
    end_peers(child);
    end_peers(first);
    stop_server();
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    size_t files = raise_files();
    size_t count = argc > 2 ? (size_t)atol(argv[2]) : 0;
    if (argc == 5 && !strcmp(argv[1], "broadcast") && count && count + SPARE_FILES <= files &&
        atol(argv[3]) > 0 && atol(argv[4]) > 0 && atol(argv[4]) <= 1 << 16)
        return bench_broadcast(count, (size_t)atol(argv[3]), (size_t)atol(argv[4]));
    if (argc == 3 && !strcmp(argv[1], "idle") && count > WARM_UP)
        return bench_idle(count, files);
    fprintf(stderr, "usage: bench_session broadcast SESSIONS ROUNDS SIZE | idle SESSIONS\n");
    return 2;
}
