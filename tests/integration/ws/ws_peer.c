/*
 * Our end beside other implementations, for interop/run.
 *   ws_peer listen URL         prints the URL, then echoes
 *   ws_peer dial URL           sends messages of many sizes, compares the echoes, prints "ok
 * SIZES", closes; "closed: REASON TEXT" when it is over
 */
#include <fairway/error.h>
#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 4096, 65535, 65536, 300000, 1048576};
#define COUNT (sizeof sizes / sizeof *sizes)

static uint8_t bytes[1048576];
static size_t echoed;

static void on_echo(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    if (fw_conn_write(conn, data, len))
        exit(1);
}

static void on_gone(fw_conn *conn, int reason, void *arg)
{
    (void)arg;
    printf("gone: %s %s\n", fw_error_name(reason), fw_conn_errmsg(conn));
    fflush(stdout);
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    static const fw_conn_events events = {.on_data = on_echo, .on_closed = on_gone};
    fw_conn_set_events(conn, &events, arg);
}

static void send_next(fw_conn *conn)
{
    if (fw_conn_write(conn, bytes, sizes[echoed]))
        exit(1);
}

static void on_open(fw_conn *conn, void *arg)
{
    (void)arg;
    send_next(conn);
}

static void on_answer(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    if (len != sizes[echoed] || (len && memcmp(data, bytes, len))) {
        printf("FAILED at %zu bytes\n", sizes[echoed]);
        exit(1);
    }
    if (++echoed < COUNT) {
        send_next(conn);
        return;
    }
    printf("ok %zu\n", echoed);
    fw_conn_close(conn, FW_ECANCELED);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    printf("closed: %s %s\n", fw_error_name(reason), fw_conn_errmsg(conn));
    fw_loop_stop(arg);
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    fw_conn *conn;
    fw_listener *listener;
    if (argc != 3 || fw_loop_new(&loop))
        return 2;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)('a' + i % 23 + i / 5000 % 3);
    int err;
    if (!strcmp(argv[1], "listen")) {
        fw_listener_options options = {.messages = true, .on_accept = on_accept};
        err = fw_listener_new(loop, argv[2], &options, &listener);
        if (!err)
            printf("%s\n", fw_listener_url(listener));
    } else {
        fw_conn_options options = {
            .messages = true,
            .events = {.on_open = on_open, .on_data = on_answer, .on_closed = on_closed},
            .arg = loop};
        err = fw_conn_dial(loop, argv[2], &options, &conn);
    }
    if (err) {
        printf("%s\n", fw_strerror(err));
        return 1;
    }
    fflush(stdout);
    fw_loop_run(loop);
    return echoed == COUNT ? 0 : 1;
}
