/*
 * kcp and kcps: many quiet sessions, and echoes.
 *   bench_kcp server URL                                echoes; a line a second while there is work
 *   bench_kcp sessions URL COUNT PER_SECOND SECONDS     so many sessions, each sends 64 bytes so
 * often bench_kcp echo URL BYTES IN_FLIGHT SECONDS          round trips of one session bench_kcp
 * relay TARGET_PORT LOSS_PERCENT DELAY_MS   a bad network, each way; says its port The URLs may be
 * of any transport that streams.
 */
#include <fairway/error.h>
#include <fairway/transport.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "udp_relay.h"

#define MAX_SAMPLES  (1 << 22)
#define PACKET_BYTES 64
#define TICK_MS      10
#define WARM_UP_MS   1000

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void must(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench_kcp: %s: %s\n", what, fw_strerror(err));
    exit(2);
}

static void start_timer(fw_loop *loop, uv_timer_t *timer, uv_timer_cb fn, uint64_t every_ms)
{
    must(uv_timer_init(fw_loop_uv(loop), timer), "timer");
    must(uv_timer_start(timer, fn, every_ms, every_ms), "timer");
}

/* ---- server ---- */

static struct {
    size_t sessions, packets, bytes;
    double cpu_s;
    uint64_t at_ns;
} served;

static void on_served(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    served.packets++;
    served.bytes += len;
    if (fw_conn_write(conn, data, len))
        fw_conn_close(conn, FW_ELIMIT);
}

static void on_served_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    (void)arg;
    served.sessions--;
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    static const fw_conn_events events = {.on_data = on_served, .on_closed = on_served_closed};
    fw_conn_set_events(conn, &events, NULL);
    served.sessions++;
}

static void on_second(uv_timer_t *timer)
{
    (void)timer;
    uint64_t now_ns = uv_hrtime();
    double cpu_s = cpu_seconds(), seconds = (double)(now_ns - served.at_ns) / 1e9;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (served.packets)
        printf("{\"bench\":\"kcp_server\",\"sessions\":%zu,\"in_per_s\":%.0f,\"bytes_per_s\":%.0f,"
               "\"core_percent\":%.1f,\"rss_kib\":%ld}\n",
               served.sessions, (double)served.packets / seconds, (double)served.bytes / seconds,
               100 * (cpu_s - served.cpu_s) / seconds, usage.ru_maxrss);
    fflush(stdout);
    served.packets = served.bytes = 0;
    served.cpu_s = cpu_s;
    served.at_ns = now_ns;
}

static int run_server(fw_loop *loop, const char *url)
{
    fw_listener *listener;
    uv_timer_t timer;
    fw_listener_options options = {.on_accept = on_accept};
    must(fw_listener_new(loop, url, &options, &listener), url);
    printf("{\"listening\":\"%s\"}\n", fw_listener_url(listener));
    start_timer(loop, &timer, on_second, 1000);
    on_second(&timer);
    return fw_loop_run(loop);
}

/* ---- many sessions ---- */

struct session {
    fw_conn *conn;
    bool open;
};

static struct {
    struct session *all;
    size_t count, next, open, closed;
    double per_ms, owed;
    uint64_t sent, echoed, begin_ns;
    double seconds, cpu_from;
    bool counting;
} many;

static void on_many_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((struct session *)arg)->open = true;
    many.open++;
}

static void on_many_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    (void)data;
    (void)arg;
    many.echoed += many.counting ? len : 0;
}

static void on_many_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    ((struct session *)arg)->conn = NULL;
    if (!many.closed++)
        fprintf(stderr, "bench_kcp: the first is closed: %s\n", fw_strerror(reason));
}

static void report_many(double seconds)
{
    printf("{\"bench\":\"kcp_sessions\",\"sessions\":%zu,\"closed\":%zu,\"sent_per_s\":%.0f,"
           "\"echoed_per_s\":%.0f,\"client_core_percent\":%.1f}\n",
           many.open, many.closed, (double)many.sent / seconds,
           (double)many.echoed / PACKET_BYTES / seconds,
           100 * (cpu_seconds() - many.cpu_from) / seconds);
    exit(many.closed != 0);
}

static void on_many_tick(uv_timer_t *timer)
{
    (void)timer;
    static const uint8_t packet[PACKET_BYTES] = {1};
    double passed = (double)(uv_hrtime() - many.begin_ns) / 1e9;
    if (!many.counting && passed * 1000 > WARM_UP_MS * 3) {
        many.counting = true;
        many.sent = 0;
        many.cpu_from = cpu_seconds();
        many.begin_ns = uv_hrtime();
        return;
    }
    if (many.counting && passed > many.seconds)
        report_many(passed);
    static uint64_t last_ns;
    uint64_t now_ns = uv_hrtime();
    many.owed += last_ns ? many.per_ms * (double)(now_ns - last_ns) / 1e6 : 0;
    last_ns = now_ns;
    for (; many.owed >= 1; many.owed--) {
        struct session *session = &many.all[many.next++ % many.count];
        if (!session->open || !session->conn)
            continue;
        must(fw_conn_write(session->conn, packet, sizeof packet), "write");
        many.sent++;
    }
}

static int run_sessions(fw_loop *loop, const char *url, char **argv)
{
    uv_timer_t timer;
    many.count = strtoul(argv[0], NULL, 10);
    many.per_ms = (double)many.count * strtod(argv[1], NULL) / 1000;
    many.seconds = strtod(argv[2], NULL);
    many.all = calloc(many.count, sizeof *many.all);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (size_t i = 0; i < many.count; i++) {
        fw_conn_options options = {.dial_timeout_ms = 30000,
                                   .events = {.on_open = on_many_open,
                                              .on_data = on_many_data,
                                              .on_closed = on_many_closed},
                                   .arg = &many.all[i]};
        must(fw_conn_dial(loop, url, &options, &many.all[i].conn), url);
    }
    many.begin_ns = uv_hrtime();
    start_timer(loop, &timer, on_many_tick, TICK_MS);
    return fw_loop_run(loop);
}

/* ---- echoes ---- */

static struct {
    size_t bytes, in_flight, sent, received;
    uint8_t *message;
    uint64_t *begins; /* ns, of those in flight, a ring */
    uint32_t *samples_us;
    size_t sample_count;
    uint64_t begin_ns, from_ns;
    double seconds, cpu_from;
} echo;

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report_echo(double seconds)
{
    size_t n = echo.sample_count;
    qsort(echo.samples_us, n, sizeof *echo.samples_us, compare);
    printf("{\"bench\":\"kcp_echo\",\"bytes\":%zu,\"in_flight\":%zu,\"per_s\":%.0f,"
           "\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"client_core_percent\":%.1f}\n",
           echo.bytes, echo.in_flight, (double)n / seconds, n ? echo.samples_us[n / 2] : 0,
           n ? echo.samples_us[n * 99 / 100] : 0, n ? echo.samples_us[n - 1] : 0,
           100 * (cpu_seconds() - echo.cpu_from) / seconds);
    exit(!n);
}

static void send_one(fw_conn *conn)
{
    echo.begins[echo.sent++ % echo.in_flight] = uv_hrtime();
    must(fw_conn_write(conn, echo.message, echo.bytes), "write");
}

static void on_echo_open(fw_conn *conn, void *arg)
{
    (void)arg;
    echo.begin_ns = uv_hrtime();
    for (size_t i = 0; i < echo.in_flight; i++)
        send_one(conn);
}

static void on_echo(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)arg;
    size_t before = echo.received / echo.bytes;
    uint64_t now_ns = uv_hrtime();
    if (!echo.from_ns && now_ns - echo.begin_ns > WARM_UP_MS * UINT64_C(1000000)) {
        echo.from_ns = now_ns;
        echo.cpu_from = cpu_seconds();
    }
    echo.received += len;
    for (size_t i = before; i < echo.received / echo.bytes; i++) {
        if (echo.from_ns && echo.sample_count < MAX_SAMPLES)
            echo.samples_us[echo.sample_count++] =
                (uint32_t)((now_ns - echo.begins[i % echo.in_flight]) / 1000);
        send_one(conn);
    }
    double seconds = (double)(now_ns - echo.from_ns) / 1e9;
    if (echo.from_ns && seconds > echo.seconds)
        report_echo(seconds);
}

static void on_echo_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)arg;
    must(reason, "closed");
}

static int run_echo(fw_loop *loop, const char *url, char **argv)
{
    echo.bytes = strtoul(argv[0], NULL, 10);
    echo.in_flight = strtoul(argv[1], NULL, 10);
    echo.seconds = strtod(argv[2], NULL);
    echo.message = calloc(1, echo.bytes);
    echo.begins = calloc(echo.in_flight, sizeof *echo.begins);
    echo.samples_us = calloc(MAX_SAMPLES, sizeof *echo.samples_us);
    fw_conn *conn;
    fw_conn_options options = {
        .events = {.on_open = on_echo_open, .on_data = on_echo, .on_closed = on_echo_closed}};
    must(fw_conn_dial(loop, url, &options, &conn), url);
    return fw_loop_run(loop);
}

/* ---- the bad network ---- */

static void run_relay(char **argv)
{
    unsigned delay_ms = (unsigned)atoi(argv[2]);
    fwt_weather weather = {.loss = (unsigned)atoi(argv[1]), .delay_ms = delay_ms, .seed = 1};
    fwt_udp_relay *relay = fwt_udp_relay_start(atoi(argv[0]), &weather);
    printf("{\"relay\":%d}\n", fwt_udp_relay_port(relay));
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    if (argc == 5 && !strcmp(argv[1], "relay"))
        run_relay(argv + 2);
    must(fw_loop_new(&loop), "loop");
    if (argc == 3 && !strcmp(argv[1], "server"))
        return run_server(loop, argv[2]);
    if (argc == 6 && !strcmp(argv[1], "sessions"))
        return run_sessions(loop, argv[2], argv + 3);
    if (argc == 6 && !strcmp(argv[1], "echo"))
        return run_echo(loop, argv[2], argv + 3);
    fprintf(stderr, "usage: bench_kcp server|sessions|echo|relay ... (see the source)\n");
    return 2;
}
