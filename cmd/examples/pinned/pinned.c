/*
 * An echo over kcps, whose client knows the server by its key.
 *   example_pinned listen 'kcps://127.0.0.1:7000?key=server.key'
 *   example_pinned dial 'kcps://127.0.0.1:7000?server_key=HEX' hello
 * See README.md beside this file.
 */
#include <fairway/error.h>
#include <fairway/session.h>
#include <stdio.h>
#include <string.h>

/* ---- the server ---- */

static void send_back(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    int err = fw_session_send(session, data, len);
    if (err)
        fw_session_close(session, err);
}

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    static const fw_session_events events = {.on_frame = send_back};
    (void)server;
    fw_session_set_events(session, &events, arg);
}

static int serve(fw_loop *loop, const char *url)
{
    fw_server *server;
    int err = fw_server_new(loop, url, &(fw_server_options){.on_session = on_session}, &server);
    if (err)
        return err;
    printf("listening on %s\n", fw_server_url(server));
    fflush(stdout);
    return fw_loop_run(loop);
}

/* ---- the client ---- */

struct client {
    bool answered;
    int reason;
};

static void on_answer(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    struct client *client = arg;
    client->answered = true;
    printf("%.*s\n", (int)len, (const char *)data);
    fw_session_close(session, FW_OK);
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    struct client *client = arg;
    (void)session;
    client->reason = reason;
}

static int ask(fw_loop *loop, const char *url, const char *text)
{
    struct client client = {false, FW_OK};
    fw_session_options options = {.events = {.on_frame = on_answer, .on_closed = on_closed},
                                  .arg = &client};
    fw_session *session;
    int err = fw_session_dial(loop, url, &options, &session);
    if (!err)
        err = fw_session_send(session, text, strlen(text)); /* it leaves when the session opens */
    if (err)
        return err;
    fw_loop_run(loop); /* until the session is gone */
    return client.answered ? FW_OK : client.reason;
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    bool listens = argc == 3 && !strcmp(argv[1], "listen");
    if (!listens && (argc != 4 || strcmp(argv[1], "dial"))) {
        fprintf(stderr, "usage: example_pinned listen URL | dial URL TEXT\n");
        return 2;
    }
    int err = fw_loop_new(&loop);
    if (!err)
        err = listens ? serve(loop, argv[2]) : ask(loop, argv[2], argv[3]);
    if (err) {
        fprintf(stderr, "%s: %s\n", argv[2], fw_strerror(err));
        return 1;
    }
    return fw_loop_close(loop) ? 1 : 0;
}
