/*
 * Echo calls through the client proxy, one instance, one connection, a number of calls always in
 * flight: the same work as tools/raw_echo.c does without any of it.
 *   bench_rpc server PORT
 *   bench_rpc client PORT SIZE CONCURRENCY SECONDS
 */
#include <fairway/clientproxy.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

#define MAX_SAMPLES (1 << 24)
#define WARM_UP_NS  UINT64_C(1000000000)

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
    fprintf(stderr, "bench_rpc: %s: %s\n", what, fw_strerror(err));
    exit(2);
}

/* ---- server ---- */

static fw_rpc_server *server;

static void on_echo(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_reply(request, fw_rpc_request_body(request));
}

static void on_term(uv_signal_t *handle, int signal)
{
    (void)signal;
    fw_rpc_server_close(server);
    uv_close((uv_handle_t *)handle, NULL);
}

static int run_server(fw_loop *loop, const char *url)
{
    fw_rpc_router *router;
    uv_signal_t term;
    must(fw_rpc_router_create(&router), "router");
    must(fw_rpc_router_add(router, "echo", on_echo, NULL), "router");
    fw_rpc_server_options options = {.connection = {.router = router}};
    must(fw_rpc_server_new(loop, url, &options, &server), url);
    uv_signal_init(fw_loop_uv(loop), &term);
    uv_signal_start(&term, on_term, SIGTERM);
    printf("{\"server\":\"ready\"}\n");
    fflush(stdout);
    fw_loop_run(loop);
    printf("{\"server_cpu_s\":%.2f}\n", cpu_seconds());
    fw_rpc_router_destroy(router);
    return fw_loop_close(loop);
}

/* ---- client ---- */

static struct client {
    fw_kv *kv;
    fw_registrar *registrar;
    fw_proxy *proxy;
    fw_rpc_message message;
    int size, concurrency;
    double seconds, cpu_from;
    uint64_t begin_ns, from_ns, calls;
    uint64_t *samples;
    size_t sample_count;
    bool measuring, done;
} client;

struct slot {
    uint64_t sent_ns;
};

static void call(struct slot *slot);

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void on_registrar_closed(void *arg)
{
    (void)arg;
    fw_kv_close(client.kv, NULL, NULL);
}

static void on_proxy_closed(void *arg)
{
    (void)arg;
    fw_registrar_close(client.registrar, on_registrar_closed, NULL);
}

static void finish(uint64_t now)
{
    double took = (double)(now - client.from_ns) / 1e9, cpu = cpu_seconds() - client.cpu_from;
    client.done = true;
    qsort(client.samples, client.sample_count, sizeof *client.samples, by_value);
    printf("{\"peer\":\"fairway-rpc\",\"size\":%d,\"concurrency\":%d,\"calls_per_s\":%.0f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"client_cpu_us_per_call\":%.3f}\n",
           client.size, client.concurrency, (double)client.calls / took,
           (double)client.samples[client.sample_count / 2] / 1e3,
           (double)client.samples[client.sample_count * 99 / 100] / 1e3,
           cpu * 1e6 / (double)client.calls);
    fw_proxy_close(client.proxy, on_proxy_closed, NULL);
}

static void on_done(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    (void)instance;
    if (client.done)
        return;
    must(result->status, "call");
    if (result->body.len != client.message.body.len) {
        fprintf(stderr, "bench_rpc: wrong answer\n");
        exit(2);
    }
    struct slot *slot = arg;
    uint64_t now = uv_hrtime();
    if (client.measuring) {
        client.calls++;
        if (client.sample_count < MAX_SAMPLES)
            client.samples[client.sample_count++] = now - slot->sent_ns;
        if ((double)(now - client.from_ns) / 1e9 > client.seconds) {
            finish(now);
            return;
        }
    } else if (now - client.begin_ns > WARM_UP_NS) {
        client.measuring = true;
        client.from_ns = now;
        client.cpu_from = cpu_seconds();
    }
    call(slot);
}

static void call(struct slot *slot)
{
    slot->sent_ns = uv_hrtime();
    must(fw_proxy_call(client.proxy, &client.message, on_done, slot), "call");
}

static int run_client(fw_loop *loop, const char *addr, char **argv)
{
    client.size = atoi(argv[0]);
    client.concurrency = atoi(argv[1]);
    client.seconds = atof(argv[2]);
    char *body = calloc(1, (size_t)client.size + 1);
    struct slot *slots = calloc((size_t)client.concurrency, sizeof *slots);
    client.samples = malloc(sizeof *client.samples * MAX_SAMPLES);
    if (!body || !slots || !client.samples)
        return 2;
    memset(body, 'x', (size_t)client.size);
    client.message = (fw_rpc_message){.method = "echo", .body = {body, (size_t)client.size}};
    fw_instance instance = {.service = "echo", .id = "one", .net = "tcp", .addr = addr};
    must(fw_kv_open(loop, "mem:bench", NULL, &client.kv), "store");
    must(fw_registrar_new(client.kv, NULL, &client.registrar), "registrar");
    must(fw_registrar_set(client.registrar, &instance), "registrar");
    /* The watcher lists what is there when it starts: let the registration come first. */
    while (true) {
        fw_registrar_status status;
        fw_registrar_get_status(client.registrar, &status);
        if (status.state == FW_REGISTRAR_REGISTERED)
            break;
        uv_run(fw_loop_uv(loop), UV_RUN_ONCE);
    }
    must(fw_proxy_new(client.kv, "echo", NULL, &client.proxy), "proxy");
    client.begin_ns = uv_hrtime();
    for (int i = 0; i < client.concurrency; i++)
        call(&slots[i]);
    fw_loop_run(loop);
    free(body);
    free(slots);
    free(client.samples);
    return fw_loop_close(loop);
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    char addr[64], url[80];
    bool is_server = argc == 3 && !strcmp(argv[1], "server");
    if (!is_server && (argc != 6 || strcmp(argv[1], "client"))) {
        fprintf(stderr, "usage: bench_rpc server PORT | client PORT SIZE CONCURRENCY SECONDS\n");
        return 2;
    }
    snprintf(addr, sizeof addr, "127.0.0.1:%s", argv[2]);
    snprintf(url, sizeof url, "tcp://%s", addr);
    must(fw_loop_new(&loop), "loop");
    return is_server ? run_server(loop, url) : run_client(loop, addr, argv + 3);
}
