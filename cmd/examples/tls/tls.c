/*
 * A TLS server whose certificate is renewed while it runs.
 *   example_tls tls://127.0.0.1:7443 server.pem server.key
 * See README.md beside this file.
 */
#include <fairway/error.h>
#include <fairway/session.h>
#include <fairway/tls.h>
#include <signal.h>
#include <stdio.h>
#include <uv.h>

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    int err = fw_session_send(session, data, len);
    if (err)
        fw_session_close(session, err);
}

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    static const fw_session_events events = {.on_frame = on_frame};
    (void)server;
    fw_session_set_events(session, &events, arg);
}

/* Connections that are there go on with the certificate that they began with. */
static void on_hangup(uv_signal_t *handle, int signal)
{
    char detail[200];
    (void)signal;
    int err = fw_tls_reload(handle->data, detail, sizeof detail);
    if (err)
        fprintf(stderr, "the old certificate stays: %s\n", *detail ? detail : fw_strerror(err));
    else
        printf("reloaded\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    fw_tls *tls;
    fw_server *server;
    uv_signal_t hangup;
    char detail[200] = "";
    if (argc != 4) {
        fprintf(stderr, "usage: example_tls URL CERTIFICATE KEY\n");
        return 2;
    }

    fw_tls_options files = {.server = true,
                            .cert = argv[2],
                            .key = argv[3],
                            .detail = detail,
                            .detail_size = sizeof detail};
    int err = fw_loop_new(&loop);
    if (!err)
        err = fw_tls_new(&files, &tls);
    fw_server_options options = {.on_session = on_session};
    if (!err) {
        options.tls = tls;
        err = fw_server_new(loop, argv[1], &options, &server);
    }
    if (err) {
        fprintf(stderr, "%s: %s\n", argv[1], *detail ? detail : fw_strerror(err));
        return 1;
    }

    /* A handle of the program's own on the loop's libuv loop. */
    uv_signal_init(fw_loop_uv(loop), &hangup);
    hangup.data = tls;
    err = uv_signal_start(&hangup, on_hangup, SIGHUP);
    if (err) {
        fprintf(stderr, "SIGHUP: %s\n", fw_strerror(err));
        return 1;
    }
    printf("listening on %s\n", fw_server_url(server));
    fflush(stdout);
    return fw_loop_run(loop);
}
