/*
 * A chat over WebSocket: what one says, everybody else in the room hears.
 *   example_chat 'ws://127.0.0.1:7000/chat?text=1'
 * See README.md beside this file.
 */
#include <fairway/channel.h>
#include <fairway/error.h>
#include <stdio.h>

/* To everybody but the one who said it. Who cannot keep up is closed, not waited for. */
static void tell(fw_channel *room, const fw_session *except, const void *text, size_t len)
{
    fw_broadcast broadcast = {.data = text, .len = len, .except = except, .close_slow = true};
    int err = fw_channel_broadcast(room, &broadcast, NULL);
    if (err)
        fprintf(stderr, "not told: %s\n", fw_strerror(err));
}

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    char line[600];
    int said = snprintf(line, sizeof line, "%llu: %.*s", (unsigned long long)fw_session_id(session),
                        (int)len, (const char *)data);
    tell(arg, session, line, (size_t)said);
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    char line[100];
    int said = snprintf(line, sizeof line, "* %llu has left (%s)",
                        (unsigned long long)fw_session_id(session), fw_strerror(reason));
    tell(arg, session, line, (size_t)said); /* it has left the room by itself */
}

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    static const fw_session_events events = {.on_frame = on_frame, .on_closed = on_closed};
    char line[100];
    (void)server;
    fw_session_set_events(session, &events, arg);
    int said = snprintf(line, sizeof line, "* %llu has come, from %s",
                        (unsigned long long)fw_session_id(session), fw_session_peer(session));
    int err = fw_channel_join(arg, session, NULL, NULL);
    if (err)
        fw_session_close(session, err);
    else
        tell(arg, session, line, (size_t)said);
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    fw_channel *room;
    fw_server *server;
    const char *url = argc > 1 ? argv[1] : "ws://127.0.0.1:7000/chat?text=1";

    int err = fw_loop_new(&loop);
    if (!err)
        err = fw_channel_create(&room);
    /* A message of the browser is a frame of the session; a line has at most 512 bytes. */
    fw_server_options options = {.framing = {.messages = true, .max_frame_bytes = 512},
                                 .max_queue_bytes = 64 * 1024, /* of each */
                                 .on_session = on_session};
    if (!err) {
        options.arg = room;
        err = fw_server_new(loop, url, &options, &server);
    }
    if (err) {
        fprintf(stderr, "%s: %s\n", url, fw_strerror(err));
        return 1;
    }
    printf("listening on %s\n", fw_server_url(server));
    fflush(stdout);
    return fw_loop_run(loop);
}
