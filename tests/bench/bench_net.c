/*
 * Connections against plain sockets that do the same work, in the same run and in turns.
 *   bench_net echo [SCHEME...]       echoes of 64 B and 4 KiB, 1 and 64 in flight, by each
 * transport bench_net idle SCHEME COUNT      what an accepted connection that does nothing holds in
 * memory ROUNDS (5) of SECONDS_A_ROUND (1) each; medians count. One JSON object a case.
 *
 * The floor is a blocking read and write at both ends: of a tcp or unix socket, or of OpenSSL's
 * SSL_read and SSL_write. Client and server are processes of their own; cpu_us is what both use
 * together for a message there and back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fairway/error.h>
#include <fairway/loop.h>
#include <fairway/transport.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define BUFFER_BYTES (256 * 1024)
#define MOST_ROUNDS  50

#define KCP          "nodelay=1&interval=10&resend=2&nc=1&sndwnd=1024&rcvwnd=1024"

/* Of certificates and sockets, whose paths must be short. */
static char dir[] = "/tmp/bench_net-XXXXXX";

typedef enum floor_kind { FLOOR_TCP, FLOOR_UNIX, FLOOR_TLS } floor_kind;
static const char *const floor_names[] = {"tcp", "unix", "tls"};

static const struct scheme {
    const char *name, *listen, *dial_more; /* what follows the listener's address */
    floor_kind floor;
    bool one_process;
} schemes[] = {
    {"tcp", "tcp://127.0.0.1:0", "", FLOOR_TCP, false},
    {"unix", "unix:%s/ours", "", FLOOR_UNIX, false},
    {"tls", "tls://127.0.0.1:0?cert=%s/cert.pem&key=%1$s/key.pem", "?ca=%s/cert.pem", FLOOR_TLS,
     false},
    {"ws", "ws://127.0.0.1:0/", "", FLOOR_TCP, false},
    {"wss", "wss://127.0.0.1:0/?cert=%s/cert.pem&key=%1$s/key.pem", "?ca=%s/cert.pem", FLOOR_TLS,
     false},
    {"snet", "snet://127.0.0.1:0", "", FLOOR_TCP, false},
    {"kcp", "kcp://127.0.0.1:0?rate=0&" KCP, "?" KCP, FLOOR_TCP, false},
    {"kcps", "kcps://127.0.0.1:0?rate=0&" KCP, "?" KCP, FLOOR_TCP, false},
    {"mem", "mem:bench", "", FLOOR_UNIX, true},
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench_net: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void must_fw(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench_net: %s: %s\n", what, fw_strerror(err));
    exit(2);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- a measurement ---- */

static size_t size, in_flight;
static double seconds;

/* What a client tells its parent. */
typedef struct result {
    double messages, took_s;
    char url[256]; /* a server's */
} result;

typedef struct round {
    double per_s, cpu_us;
} round;

static void tell(int pipe, const result *what)
{
    must(write(pipe, what, sizeof *what) == (ssize_t)sizeof *what, "pipe");
}

typedef void (*role)(int pipe, const void *what, const char *url);

static pid_t start(role fn, const void *what, const char *url, int *ret_pipe)
{
    int fds[2];
    must(!pipe(fds), "pipe");
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        fn(fds[1], what, url);
        exit(0);
    }
    close(fds[1]);
    *ret_pipe = fds[0];
    return pid;
}

static double cpu_of(pid_t pid)
{
    struct rusage used;
    int status;
    must(wait4(pid, &status, 0, &used) == pid, "wait4");
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void hear(int pipe, result *ret_what)
{
    must(read(pipe, ret_what, sizeof *ret_what) == (ssize_t)sizeof *ret_what, "a child failed");
    close(pipe);
}

/* server NULL: the client is both. */
static round measure(role server, role client, const void *what)
{
    int pipe;
    result said = {.url = ""}, done;
    pid_t server_pid = 0;
    if (server) {
        server_pid = start(server, what, "", &pipe);
        hear(pipe, &said);
    }
    pid_t client_pid = start(client, what, said.url, &pipe);
    hear(pipe, &done);
    double cpu = cpu_of(client_pid);
    if (server_pid) {
        kill(server_pid, SIGKILL);
        cpu += cpu_of(server_pid);
    }
    return (round){.per_s = done.messages / done.took_s, .cpu_us = cpu * 1e6 / done.messages};
}

/* ---- the floor ---- */

typedef struct raw_end {
    int fd;
    SSL *ssl; /* or NULL */
} raw_end;

static ssize_t wire_read(raw_end *wire, void *data, size_t len)
{
    return wire->ssl ? SSL_read(wire->ssl, data, (int)len) : read(wire->fd, data, len);
}

static void wire_write(raw_end *wire, const char *data, size_t len)
{
    while (len) {
        ssize_t n = wire->ssl ? SSL_write(wire->ssl, data, (int)len) : write(wire->fd, data, len);
        if (n <= 0)
            exit(0); /* the other one has ended */
        data += n;
        len -= (size_t)n;
    }
}

static SSL *secure(int fd, bool server)
{
    char cert[100], key[100];
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (server)
        must(SSL_CTX_use_certificate_file(context, cert, SSL_FILETYPE_PEM) == 1 &&
                 SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1,
             "certificate");
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    must((server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1, "handshake");
    return ssl;
}

static void no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static socklen_t address_of(floor_kind kind, struct sockaddr_storage *ret_address)
{
    memset(ret_address, 0, sizeof *ret_address);
    if (kind == FLOOR_UNIX) {
        struct sockaddr_un *un = (struct sockaddr_un *)ret_address;
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof un->sun_path, "%s/floor", dir);
        return sizeof *un;
    }
    struct sockaddr_in *in4 = (struct sockaddr_in *)ret_address;
    in4->sin_family = AF_INET;
    in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *in4;
}

static void floor_server(int pipe, const void *what, const char *url)
{
    (void)url;
    static char data[BUFFER_BYTES];
    floor_kind kind = *(const floor_kind *)what;
    struct sockaddr_storage address;
    socklen_t len = address_of(kind, &address);
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (kind == FLOOR_UNIX)
        unlink(((struct sockaddr_un *)&address)->sun_path);
    must(!bind(fd, (struct sockaddr *)&address, len) && !listen(fd, 1), "listen");
    getsockname(fd, (struct sockaddr *)&address, &len);
    result ready = {.messages = 0};
    snprintf(ready.url, sizeof ready.url, "%d", ntohs(((struct sockaddr_in *)&address)->sin_port));
    tell(pipe, &ready);
    raw_end wire = {.fd = accept(fd, NULL, NULL)};
    no_delay(wire.fd);
    if (kind == FLOOR_TLS)
        wire.ssl = secure(wire.fd, true);
    for (ssize_t n; (n = wire_read(&wire, data, sizeof data)) > 0;)
        wire_write(&wire, data, (size_t)n);
    for (;;)
        pause();
}

static void floor_client(int pipe, const void *what, const char *port)
{
    static char data[BUFFER_BYTES];
    floor_kind kind = *(const floor_kind *)what;
    struct sockaddr_storage address;
    socklen_t len = address_of(kind, &address);
    if (kind != FLOOR_UNIX)
        ((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)atoi(port));
    raw_end wire = {.fd = socket(address.ss_family, SOCK_STREAM, 0)};
    must(!connect(wire.fd, (struct sockaddr *)&address, len), "connect");
    no_delay(wire.fd);
    if (kind == FLOOR_TLS)
        wire.ssl = secure(wire.fd, false);
    char *out = malloc(in_flight * size);
    must(out != NULL, "memory");
    memset(out, 'x', in_flight * size); /* or it would all be one page of zeros */
    double begin_s = now_s(), end_s = begin_s;
    size_t received = 0, messages = 0;
    wire_write(&wire, out, in_flight * size);
    while (end_s - begin_s < seconds) {
        ssize_t n = wire_read(&wire, data, sizeof data);
        must(n > 0, "read");
        received += (size_t)n;
        size_t whole = received / size - messages;
        messages += whole;
        wire_write(&wire, out, whole * size);
        end_s = now_s();
    }
    tell(pipe, &(result){.messages = (double)messages, .took_s = end_s - begin_s});
}

/* ---- ours ---- */

static fw_loop *loop;
static fw_listener *listener;
static fw_conn *client_conn;
static size_t received, messages, accepted_count, opened_count;
static double begin_s;
static char *message;
static int report_pipe;

static void on_echo(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    must_fw(fw_conn_write(conn, data, len), "echo");
}

static void on_failed(fw_conn *conn, int reason, void *arg)
{
    (void)arg;
    if (reason == UV_EOF || reason == FW_ECANCELED)
        return;
    fprintf(stderr, "bench_net: closed: %s %s\n", fw_strerror(reason), fw_conn_errmsg(conn));
    exit(2);
}

static const fw_conn_events server_events = {.on_data = on_echo};

static void on_accept(fw_listener *from, fw_conn *conn, void *arg)
{
    (void)from;
    (void)arg;
    accepted_count++;
    fw_conn_set_events(conn, &server_events, NULL);
}

static void listen_here(const struct scheme *scheme, const char *instead, char *ret_url, size_t len)
{
    char url[300], more[150];
    snprintf(url, sizeof url, instead ? instead : scheme->listen, dir);
    snprintf(more, sizeof more, scheme->dial_more, dir);
    fw_listener_options options = {.on_accept = on_accept, .backlog = 4096};
    must_fw(fw_listener_new(loop, url, &options, &listener), url);
    snprintf(ret_url, len, "%s%s", fw_listener_url(listener), more);
}

static void our_server(int pipe, const void *what, const char *url)
{
    (void)url;
    result ready = {.messages = 0};
    must_fw(fw_loop_new(&loop), "loop");
    listen_here(what, NULL, ready.url, sizeof ready.url);
    tell(pipe, &ready);
    fw_loop_run(loop);
}

static void on_client_open(fw_conn *conn, void *arg)
{
    (void)arg;
    begin_s = now_s();
    for (size_t i = 0; i < in_flight; i++)
        must_fw(fw_conn_write(conn, message, size), "write");
}

static void on_client_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)arg;
    received += len;
    for (; messages < received / size; messages++)
        must_fw(fw_conn_write(conn, message, size), "write");
    double took_s = now_s() - begin_s;
    if (took_s < seconds)
        return;
    tell(report_pipe, &(result){.messages = (double)messages, .took_s = took_s});
    exit(0);
}

static void our_client(int pipe, const void *what, const char *url)
{
    const struct scheme *scheme = what;
    char here[256];
    must_fw(fw_loop_new(&loop), "loop");
    if (scheme->one_process)
        listen_here(scheme, NULL, here, sizeof here);
    report_pipe = pipe;
    message = calloc(1, size);
    fw_conn_options options = {
        .events = {.on_open = on_client_open, .on_data = on_client_data, .on_closed = on_failed}};
    must_fw(fw_conn_dial(loop, scheme->one_process ? here : url, &options, &client_conn), url);
    fw_loop_run(loop);
}

/* ---- the cases ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static void echo_case(const struct scheme *scheme, size_t rounds)
{
    double per_s[2][MOST_ROUNDS], cpu_us[2][MOST_ROUNDS], ratios[MOST_ROUNDS], cpu[MOST_ROUNDS];
    for (size_t i = 0; i < rounds; i++) {
        round ours = measure(scheme->one_process ? NULL : our_server, our_client, scheme);
        round floor = measure(floor_server, floor_client, &scheme->floor);
        per_s[0][i] = ours.per_s;
        per_s[1][i] = floor.per_s;
        cpu_us[0][i] = ours.cpu_us;
        cpu_us[1][i] = floor.cpu_us;
        ratios[i] = ours.per_s / floor.per_s;
        cpu[i] = ours.cpu_us / floor.cpu_us;
    }
    printf("{\"case\":\"net_%s_%zux%zu\",\"floor_is\":\"%s\",\"rounds\":%zu,\"per_s\":%.0f,"
           "\"floor_per_s\":%.0f,\"ratio\":%.3f,\"cpu_us\":%.3f,\"floor_cpu_us\":%.3f,"
           "\"cpu_ratio\":%.3f}\n",
           scheme->name, size, in_flight, floor_names[scheme->floor], rounds,
           median(per_s[0], rounds), median(per_s[1], rounds), median(ratios, rounds),
           median(cpu_us[0], rounds), median(cpu_us[1], rounds), median(cpu, rounds));
    fflush(stdout);
}

static void echo_cases(const struct scheme *scheme)
{
    static const size_t cases[][2] = {{64, 1}, {64, 64}, {4096, 1}, {4096, 64}};
    const char *rounds = getenv("ROUNDS"), *each = getenv("SECONDS_A_ROUND");
    size_t count = rounds ? (size_t)atoi(rounds) : 5;
    seconds = each ? atof(each) : 1;
    must(count > 0 && count <= MOST_ROUNDS, "ROUNDS");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size = cases[i][0];
        in_flight = cases[i][1];
        echo_case(scheme, count);
    }
}

/* ---- idle connections ---- */

#define DIALS_AT_ONCE 64
#define PER_ADDRESS   20000 /* connections to one address of 127.0.0.0/8: each has its ports */

static size_t wanted_count, dialled_count;
static const char *idle_address; /* ":port..." */
static const struct scheme *idle_scheme;

static void dial_more(void);

static void on_idle_open(fw_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    if (++opened_count == wanted_count) {
        tell(report_pipe, &(result){.messages = (double)opened_count});
        return;
    }
    dial_more();
}

static void dial_more(void)
{
    static const fw_conn_events events = {.on_open = on_idle_open, .on_closed = on_failed};
    while (dialled_count < wanted_count && dialled_count - opened_count < DIALS_AT_ONCE) {
        char url[300], more[150];
        snprintf(more, sizeof more, idle_scheme->dial_more, dir);
        snprintf(url, sizeof url, "%s://127.0.0.%zu%s%s", idle_scheme->name,
                 dialled_count / PER_ADDRESS + 1, idle_address,
                 *more ? "?verify=0" : ""); /* one certificate for all addresses */
        fw_conn_options options = {.events = events, .dial_timeout_ms = 60000};
        fw_conn *conn;
        must_fw(fw_conn_dial(loop, url, &options, &conn), url);
        dialled_count++;
    }
}

static void idle_client(int pipe, const void *what, const char *url)
{
    idle_scheme = what;
    idle_address = url;
    report_pipe = pipe;
    must_fw(fw_loop_new(&loop), "loop");
    dial_more();
    fw_loop_run(loop);
}

static double resident_bytes(void)
{
    malloc_trim(0);
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    must(file && fscanf(file, "%lu %lu", &pages, &resident) == 2, "/proc/self/statm");
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void run_until_accepted(size_t count)
{
    while (accepted_count < count)
        uv_run(fw_loop_uv(loop), UV_RUN_ONCE);
    for (int i = 0; i < 200; i++) { /* what is deferred, and the peers' tickets */
        uv_run(fw_loop_uv(loop), UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void use_files(size_t count)
{
    struct rlimit limit = {.rlim_cur = count + 100, .rlim_max = count + 100};
    if (!setrlimit(RLIMIT_NOFILE, &limit))
        return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < count + 100)
        wanted_count = limit.rlim_max - 100;
}

static void bench_idle(const struct scheme *scheme, size_t count)
{
    enum { WARM_UP = 500 };
    char any[200], url[300];
    const char *colon = strstr(scheme->listen, "127.0.0.1");
    wanted_count = count;
    use_files(count);
    must(colon != NULL && wanted_count > WARM_UP, "an idle scheme is one on tcp");
    count = wanted_count;
    snprintf(any, sizeof any, "%.*s0.0.0.0%s", (int)(colon - scheme->listen), scheme->listen,
             colon + strlen("127.0.0.1"));
    must_fw(fw_loop_new(&loop), "loop");
    listen_here(scheme, any, url, sizeof url);
    url[strcspn(url, "?")] = 0;
    const char *address = strchr(url + strlen(scheme->name) + 3, ':');
    int first, second;
    wanted_count = WARM_UP;
    pid_t pids[2] = {start(idle_client, scheme, address, &first)};
    run_until_accepted(WARM_UP);
    double before = resident_bytes(), used = (double)mallinfo2().uordblks;
    wanted_count = count - WARM_UP;
    pids[1] = start(idle_client, scheme, address, &second);
    run_until_accepted(count);
    printf("{\"case\":\"net_idle_%s\",\"connections\":%zu,\"resident_bytes_each\":%.0f,"
           "\"allocated_bytes_each\":%.0f}\n",
           scheme->name, count, (resident_bytes() - before) / (double)wanted_count,
           ((double)mallinfo2().uordblks - used) / (double)wanted_count);
    kill(pids[0], SIGKILL);
    kill(pids[1], SIGKILL);
}

/* ---- the program ---- */

static void remove_dir(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    must(!system(command), command);
}

static void make_dir(void)
{
    char command[400];
    must(mkdtemp(dir) != NULL, dir);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=bench -addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem "
             "-out %s/cert.pem 2>/dev/null",
             dir, dir);
    must(!system(command), command);
}

static const struct scheme *find(const char *name)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (!strcmp(schemes[i].name, name) && fw_transport_can(name))
            return &schemes[i];
    fprintf(stderr, "bench_net: %s: no such scheme here\n", name);
    return NULL;
}

int main(int argc, char **argv)
{
    bool is_echo = argc >= 2 && !strcmp(argv[1], "echo");
    if (!is_echo && (argc != 4 || strcmp(argv[1], "idle") != 0)) {
        fprintf(stderr, "usage: bench_net echo [SCHEME...] | idle SCHEME COUNT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 2; i < (is_echo ? argc : 3); i++)
        if (!find(argv[i]))
            return 2;
    make_dir();
    if (argc == 2) /* all there are */
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
            if (fw_transport_can(schemes[i].name))
                echo_cases(&schemes[i]);
        }
    else if (is_echo)
        for (int i = 2; i < argc; i++)
            echo_cases(find(argv[i]));
    else
        bench_idle(find(argv[2]), (size_t)atoi(argv[3]));
    remove_dir();
    return 0;
}
