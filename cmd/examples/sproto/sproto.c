/*
 * sproto over a session, in skynet's framing: a call, and its answer.
 *   example_sproto tcp://127.0.0.1:7000           answers
 *   example_sproto tcp://127.0.0.1:7000 world     calls
 * See README.md beside this file.
 */
#include <cjson/cJSON.h>
#include <fairway/error.h>
#include <fairway/session.h>
#include <fairway/sproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char schema_text[] = "greet 1 {\n"
                                  "    request { name 0 : string }\n"
                                  "    response { text 0 : string }\n"
                                  "}\n";

static bool failed; /* the call */

/* Two bytes of length, big-endian, in front of each message. */
static const fw_framing skynets = {.length_bytes = 2, .big_endian = true, .max_frame_bytes = 65535};

/* The answer to greet, to be freed. */
static int answer(fw_sproto_host *host, const fw_sproto_event *event, uint8_t **ret_data,
                  size_t *ret_len)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(event->body, "name"));
    char text[300];
    snprintf(text, sizeof text, "hello, %.280s", name ? name : "you");
    cJSON *result = cJSON_CreateObject();
    cJSON_AddStringToObject(result, "text", text);
    int err = fw_sproto_host_respond(host, event->protocol, event->session, result, NULL, ret_data,
                                     ret_len, NULL);
    cJSON_Delete(result);
    return err;
}

/* Both ends: the host tells requests from answers. */
static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    fw_sproto_event event;
    fw_codec_error error;
    int err = fw_sproto_host_dispatch(arg, data, len, &event, &error);
    if (err) {
        fprintf(stderr, "%s: %s\n", fw_session_peer(session), error.text);
        fw_session_close(session, err);
        return;
    }
    if (event.kind == FW_SPROTO_RESPONSE) {
        char *json = cJSON_PrintUnformatted(event.body);
        printf("%s\n", json ? json : "");
        free(json);
        fw_session_close(session, FW_OK);
    } else if (event.has_session) { /* an answer is wanted */
        uint8_t *message = NULL;
        err = answer(arg, &event, &message, &len);
        if (!err)
            err = fw_session_send(session, message, len);
        free(message);
        if (err)
            fw_session_close(session, err);
    }
    fw_sproto_event_fini(&event);
}

static void on_session(fw_server *server, fw_session *session, void *arg)
{
    static const fw_session_events events = {.on_frame = on_frame};
    (void)server;
    fw_session_set_events(session, &events, arg);
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    (void)session, (void)arg;
    if (reason)
        fprintf(stderr, "no answer: %s\n", fw_strerror(reason));
    failed = reason != FW_OK;
}

static int serve(fw_loop *loop, fw_sproto_host *host, const char *url)
{
    fw_server_options options = {.framing = skynets, .on_session = on_session, .arg = host};
    fw_server *server;
    int err = fw_server_new(loop, url, &options, &server);
    if (!err)
        printf("listening on %s\n", fw_server_url(server));
    fflush(stdout);
    return err;
}

static int call(fw_loop *loop, fw_sproto_host *host, const char *url, const char *name)
{
    fw_session_options options = {.framing = skynets, .arg = host};
    options.events = (fw_session_events){.on_frame = on_frame, .on_closed = on_closed};
    fw_session *session;
    uint8_t *message;
    size_t len;
    uint64_t number = 1; /* its answer has it, too */
    cJSON *args = cJSON_CreateObject();
    cJSON_AddStringToObject(args, "name", name);
    int err = fw_sproto_host_request(host, "greet", args, &number, NULL, &message, &len, NULL);
    cJSON_Delete(args);
    if (err)
        return err;
    err = fw_session_dial(loop, url, &options, &session);
    if (!err)
        err = fw_session_send(session, message, len); /* it leaves when the session opens */
    free(message);
    return err;
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    fw_sproto *schema;
    fw_sproto_host *host;
    const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000";
    int err = fw_loop_new(&loop);
    if (!err)
        err = fw_sproto_parse(schema_text, strlen(schema_text), &schema, NULL);
    fw_sproto_host_options offers = {0};
    if (!err) {
        offers.local = offers.remote = schema; /* either end may call the other */
        err = fw_sproto_host_create(&offers, &host);
    }
    if (!err)
        err = argc > 2 ? call(loop, host, url, argv[2]) : serve(loop, host, url);
    if (err) {
        fprintf(stderr, "%s: %s\n", url, fw_strerror(err));
        return 1;
    }
    fw_loop_run(loop); /* a caller's, until its session is gone */
    fw_sproto_host_destroy(host);
    fw_sproto_destroy(schema);
    return fw_loop_close(loop) || failed;
}
