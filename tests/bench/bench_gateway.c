/*
 * The gateway alone, for measuring: bench_gateway CLIENT_PORT SERVER_PORT, on loopback, empty key.
 * Runs until SIGTERM or SIGINT.
 */
#include <fairway/error.h>
#include <fairway/gateway.h>
#include <fairway/loop.h>
#include <signal.h>
#include <stdio.h>
#include <uv.h>

static fw_gateway *gateway;
static uv_signal_t signals[2];

static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    (void)number;
    fw_gateway_close(gateway, NULL, NULL);
    for (int i = 0; i < 2; i++)
        if (!uv_is_closing((uv_handle_t *)&signals[i]))
            uv_close((uv_handle_t *)&signals[i], NULL);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_gateway CLIENT_PORT SERVER_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    char client_url[64], server_url[64];
    snprintf(client_url, sizeof client_url, "tcp://127.0.0.1:%s", argv[1]);
    snprintf(server_url, sizeof server_url, "tcp://127.0.0.1:%s", argv[2]);
    fw_gateway_options options;
    fw_gateway_options_init(&options);
    options.client_url = client_url;
    options.server_url = server_url;
    options.backlog = 4096;
    fw_loop *loop;
    int err = fw_loop_new(&loop);
    if (!err)
        err = fw_gateway_new(loop, &options, &gateway);
    if (err) {
        fprintf(stderr, "bench_gateway: %s\n", fw_strerror(err));
        return 1;
    }
    static const int numbers[2] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(fw_loop_uv(loop), &signals[i]);
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    fw_loop_run(loop);
    return fw_loop_close(loop) ? 1 : 0;
}
