/*
 * What go-libnet's programs said to each other, with fairway's server in place of theirs and then
 * with fairway's client.
 */
#include "../gateway/raw_peer.h"
#include "session/framer.h"

#include <cjson/cJSON.h>
#include <fairway/channel.h>
#include <fairway/session.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_VECTORS 100
#define MAX_PEERS   4
#define WAIT_MS     20000

static char names[MAX_VECTORS][FWT_VECTOR_NAME_BYTES];
static int name_count;

static fw_server *server;
static fw_channel *channel;
static bool server_gone;

/* ---- the server that was recorded ---- */

/* Works of a broadcast that are under way. */
struct works {
    fw_session *asker;
    size_t count, ended, ok;
};

static void send_text(fw_session *session, const char *text)
{
    FWT_OK(fw_session_send(session, text, strlen(text)));
}

static void tell_works(struct works *works)
{
    char text[64];
    snprintf(text, sizeof text, "works=%zu ok=%zu", works->count, works->ok);
    send_text(works->asker, text);
    free(works);
}

static void on_work(fw_session *session, int status, void *arg)
{
    (void)session;
    struct works *works = arg;
    works->ok += !status;
    if (++works->ended == works->count)
        tell_works(works);
}

static void cast(fw_session *session, const char *text, bool to_channel, bool others)
{
    struct works *works = calloc(1, sizeof *works);
    works->asker = session;
    fw_broadcast broadcast = {.data = text,
                              .len = strlen(text),
                              .except = others ? session : NULL,
                              .timeout_ms = WAIT_MS,
                              .sent = on_work,
                              .arg = works};
    FWT_OK(to_channel ? fw_channel_broadcast(channel, &broadcast, &works->count)
                      : fw_server_broadcast(server, &broadcast, &works->count));
    if (!works->count)
        tell_works(works);
}

static void on_kick(fw_channel *from, fw_session *session, void *arg)
{
    (void)arg;
    ck_assert(!fw_channel_has(from, session));
    send_text(session, "kicked");
}

static void tell_length(fw_session *session)
{
    char text[32];
    snprintf(text, sizeof text, "len %zu", fw_channel_len(channel));
    send_text(session, text);
}

static void on_async(fw_session *session, int status, void *arg)
{
    (void)session;
    (void)arg;
    FWT_OK(status);
}

/* One that ends with the connection; true if it was one. */
static bool command_to_end(fw_session *session, const char *command)
{
    if (!strcmp(command, "!close") || !strcmp(command, "!err")) {
        fw_session_close(session, FW_ECANCELED);
    } else if (!strcmp(command, "!hbclose")) {
        fw_session_close(session, FW_ECANCELED);
        FWT_ERR(fw_session_set_heartbeat(session, 100, "x", 1, 0), FW_ECLOSED);
    } else {
        return false;
    }
    return true;
}

static bool command_to_channel(fw_session *session, const char *command, const char *rest)
{
    if (!strcmp(command, "!join"))
        FWT_OK(fw_channel_join(channel, session, on_kick, NULL));
    else if (!strcmp(command, "!exit"))
        FWT_OK(fw_channel_exit(channel, session));
    else if (!strcmp(command, "!kick"))
        FWT_OK(fw_channel_kick(channel, session));
    else if (!strcmp(command, "!chan")) {
        cast(session, rest, true, false);
        return true;
    } else
        return false;
    tell_length(session);
    return true;
}

static void run_command(fw_session *session, const char *command, const char *rest)
{
    char text[400];
    if (command_to_end(session, command) || command_to_channel(session, command, rest))
        return;
    if (!strcmp(command, "!bcast")) {
        cast(session, rest, false, false);
    } else if (!strcmp(command, "!others")) {
        cast(session, rest, false, true);
    } else if (!strcmp(command, "!json")) {
        snprintf(text, sizeof text, "{\"Id\":7,\"Name\":\"%s\"}\n", rest);
        send_text(session, text);
    } else if (!strcmp(command, "!async")) {
        FWT_OK(fw_session_send_async(session, rest, strlen(rest), WAIT_MS, on_async, NULL));
    } else if (!strcmp(command, "!hb")) {
        FWT_OK(fw_session_set_heartbeat(session, (uint32_t)atoi(rest), "heartbeat", 9, 0));
    } else if (!strcmp(command, "!big")) {
        memset(text, 'z', sizeof text);
        FWT_ERR(fw_session_send(session, text, (size_t)atoi(rest)), FW_EFRAMESIZE);
    } else {
        ck_abort_msg("the recorded server had no %s", command);
    }
}

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    char command[64];
    if (!len || data[0] != '!' || len >= sizeof command) {
        FWT_OK(fw_session_send(session, data, len));
        return;
    }
    snprintf(command, sizeof command, "%.*s", (int)len, (const char *)data);
    char *space = strchr(command, ' ');
    if (space)
        *space = '\0';
    run_command(session, command, space ? space + 1 : "");
}

static const fw_session_events server_events = {.on_frame = on_frame};

static void on_session(fw_server *from, fw_session *session, void *arg)
{
    (void)from;
    (void)arg;
    fw_session_set_events(session, &server_events, NULL);
}

static void on_server_closed(fw_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone = true;
}

/* ---- reading a vector ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static cJSON *load(const char *name, fw_framing *ret_framing)
{
    char path[128];
    snprintf(path, sizeof path, "vectors/libnet/%s.json", name);
    char *text = fwt_read_file(fwt_source_path(path));
    cJSON *vector = cJSON_Parse(text);
    ck_assert_msg(vector != NULL, "%s is not JSON", path);
    free(text);
    const char *dialect = text_of(vector, "dialect"); /* ln4be */
    *ret_framing =
        (fw_framing){.length_bytes = (uint8_t)(dialect[2] - '0'), .big_endian = dialect[3] == 'b'};
    return vector;
}

static bool says(const cJSON *frame, const fw_framing *framing, const char *command)
{
    size_t len, at = framing->length_bytes;
    uint8_t *bytes = fwt_unhex(text_of(frame, "hex"), &len);
    bool same = len >= at + strlen(command) && !memcmp(bytes + at, command, strlen(command));
    free(bytes);
    return same;
}

static bool is_from_client(const cJSON *frame)
{
    return !strcmp(text_of(frame, "dir"), "c2s");
}

/* ---- with our server ---- */

struct player {
    raw_peer peers[MAX_PEERS];
    size_t open;
    bool either_order; /* the next two answers */
    bool beats;        /* more heartbeats may have come than were recorded */
};

static void settle(size_t open)
{
    while (fw_server_session_count(server) != open)
        fwt_run_for(2);
}

/* Two frames in the order that was recorded, or the other one. */
static void expect_pair(raw_peer *peer, const cJSON *first, const cJSON *second)
{
    size_t first_len, second_len;
    uint8_t *a = fwt_unhex(text_of(first, "hex"), &first_len);
    uint8_t *b = fwt_unhex(text_of(second, "hex"), &second_len);
    const uint8_t *got = raw_peer_take(peer, first_len + second_len);
    bool same = !memcmp(got, a, first_len) && !memcmp(got + first_len, b, second_len);
    bool swapped = !memcmp(got, b, second_len) && !memcmp(got + second_len, a, first_len);
    ck_assert(same || swapped);
    free(a);
    free(b);
}

static void play_to_server(struct player *player, raw_peer *peer, const cJSON *frame,
                           const fw_framing *framing)
{
    if (*text_of(frame, "event")) {
        if (peer->conn) {
            raw_peer_end(peer);
            settle(--player->open);
        }
        return;
    }
    raw_peer_send_hex(peer, text_of(frame, "hex"));
    player->either_order = says(frame, framing, "!kick");
    player->beats |= says(frame, framing, "!hb");
}

static void play(struct player *player, const cJSON *frames, const fw_framing *framing)
{
    for (const cJSON *frame = frames->child; frame; frame = frame->next) {
        const cJSON *conn = cJSON_GetObjectItem(frame, "conn");
        raw_peer *peer = &player->peers[conn ? conn->valueint : 0];
        if (is_from_client(frame)) {
            play_to_server(player, peer, frame, framing);
        } else if (*text_of(frame, "event")) {
            if (peer->conn) {
                raw_peer_expect_closed(peer);
                settle(--player->open);
            }
        } else if (player->either_order) {
            player->either_order = false;
            expect_pair(peer, frame, frame->next);
            frame = frame->next;
        } else {
            raw_peer_expect_hex(peer, text_of(frame, "hex"), "the server's frame");
        }
    }
}

static size_t count_peers(const cJSON *frames)
{
    size_t count = 1;
    for (const cJSON *frame = frames->child; frame; frame = frame->next) {
        const cJSON *conn = cJSON_GetObjectItem(frame, "conn");
        if (conn && (size_t)conn->valueint + 1 > count)
            count = (size_t)conn->valueint + 1;
    }
    return count;
}

/* What ours does instead of the recorded defects. */
static bool play_defect(struct player *player, const char *name, const cJSON *frames)
{
    raw_peer *peer = &player->peers[0];
    const char *first = text_of(frames->child, "hex");
    if (!strcmp(name, "probe_n1_overflow")) { /* theirs sends 300 bytes behind a length of 44 */
        raw_peer_send_hex(peer, first);
        raw_peer_send_hex(peer, "026f6b");
        raw_peer_expect_hex(peer, "026f6b", "the answer to what came after");
    } else if (!strcmp(name, "probe_handler_error")) { /* theirs stays open and deaf */
        raw_peer_send_hex(peer, first);
        raw_peer_expect_closed(peer);
    } else {
        return false;
    }
    return true;
}

START_TEST(the_server_does_what_was_recorded)
{
    fw_framing framing;
    cJSON *vector = load(names[_i], &framing);
    const cJSON *frames = cJSON_GetObjectItem(vector, "frames");
    server_gone = false;
    fw_server_options options = {
        .framing = framing, .on_session = on_session, .on_closed = on_server_closed};
    FWT_OK(fw_server_new(fwt_loop, "tcp://127.0.0.1:0", &options, &server));
    FWT_OK(fw_channel_create(&channel));
    struct player player = {.open = count_peers(frames)};
    for (size_t i = 0; i < player.open; i++)
        raw_peer_dial(&player.peers[i], fw_server_url(server));
    settle(player.open);
    if (!play_defect(&player, names[_i], frames))
        play(&player, frames, &framing);
    fwt_run_for(10); /* what should not come has time to come */
    for (size_t i = 0; i < MAX_PEERS; i++) {
        if (!player.beats)
            raw_peer_expect_quiet(&player.peers[i]);
        raw_peer_end(&player.peers[i]);
    }
    fw_server_close(server);
    fwt_run_until(&server_gone, WAIT_MS);
    ck_assert_uint_eq(fw_channel_len(channel), 0);
    fw_channel_destroy(channel);
    cJSON_Delete(vector);
}
END_TEST

/* ---- with our client ---- */

struct client {
    fw_session *session;
    size_t opened, closed;
    uint8_t *got; /* payloads, one after the other */
    size_t len;
};

static void on_client_open(fw_session *session, void *arg)
{
    (void)session;
    ((struct client *)arg)->opened++;
}

static void on_client_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    (void)session;
    struct client *client = arg;
    client->got = realloc(client->got, client->len + len + 1);
    if (len)
        memcpy(client->got + client->len, data, len);
    client->len += len;
}

static void on_client_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    (void)reason;
    ((struct client *)arg)->closed++;
}

static raw_peer accepted;

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    raw_peer_take_over(&accepted, conn);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    *(bool *)arg = true;
}

/* Sends the payloads of what was recorded and compares the bytes. */
static void send_recorded(struct client *client, const cJSON *frame, const fw_framing *framing,
                          bool by_heartbeat)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(text_of(frame, "hex"), &len);
    if (by_heartbeat) {
        FWT_OK(fw_session_set_heartbeat(client->session, 100, bytes + framing->length_bytes,
                                        len - framing->length_bytes, 0));
    } else {
        FWT_OK(fw_session_set_heartbeat(client->session, 0, NULL, 0, 0));
        fwi_framer framer;
        fw_slice whole;
        FWT_OK(fwi_framer_init(&framer, framing));
        fwi_framer_push(&framer, bytes, len);
        while (fwi_framer_next(&framer, &whole) == 1)
            FWT_OK(fw_session_send(client->session,
                                   (const uint8_t *)whole.data + framer.header_bytes,
                                   whole.len - framer.header_bytes));
        fwi_framer_fini(&framer);
    }
    raw_peer_expect(&accepted, bytes, len, "the client's frame");
    free(bytes);
}

static void receive_recorded(struct client *client, const cJSON *frame, const fw_framing *framing)
{
    size_t len, from = client->len, header = framing->length_bytes;
    uint8_t *bytes = fwt_unhex(text_of(frame, "hex"), &len);
    raw_peer_send(&accepted, bytes, len);
    while (client->len < from + len - header)
        fwt_run_for(1);
    fwt_assert_bytes(client->got + from, client->len - from, bytes + header, len - header,
                     "the client's event");
    free(bytes);
}

static void play_client(const char *name, const cJSON *frames, const fw_framing *framing)
{
    fw_listener *listener;
    bool listener_gone = false;
    fw_listener_options listener_options = {
        .on_accept = on_accept, .on_closed = on_listener_closed, .arg = &listener_gone};
    FWT_OK(fw_listener_new(fwt_loop, "tcp://127.0.0.1:0", &listener_options, &listener));
    struct client client = {.len = 0};
    fw_session_options options = {.framing = *framing,
                                  .events = {.on_open = on_client_open,
                                             .on_frame = on_client_frame,
                                             .on_closed = on_client_closed},
                                  .arg = &client};
    FWT_OK(fw_session_dial(fwt_loop, fw_listener_url(listener), &options, &client.session));
    fwt_run_count(&client.opened, 1, WAIT_MS);
    while (!accepted.conn)
        fwt_run_for(1);
    bool beats = !strcmp(name, "n4_big_client_heartbeat");
    for (const cJSON *frame = frames->child; frame && *text_of(frame, "hex"); frame = frame->next) {
        if (is_from_client(frame))
            send_recorded(&client, frame, framing, beats && says(frame, framing, "hb"));
        else
            receive_recorded(&client, frame, framing);
    }
    fw_session_close(client.session, FW_ECANCELED);
    fwt_run_count(&client.closed, 1, WAIT_MS);
    raw_peer_end(&accepted);
    fw_listener_close(listener);
    fwt_run_until(&listener_gone, WAIT_MS);
    free(client.got);
}

START_TEST(the_client_does_what_was_recorded)
{
    fw_framing framing;
    cJSON *vector = load(names[_i], &framing);
    /* Probes were sent by bytes-only clients, and partly are no frames. */
    if (strncmp(names[_i], "probe_", 6) && strncmp(names[_i], "multi_", 6))
        play_client(names[_i], cJSON_GetObjectItem(vector, "frames"), &framing);
    cJSON_Delete(vector);
}
END_TEST

int main(void)
{
    name_count = fwt_vector_names("libnet", "", names, MAX_VECTORS);
    Suite *suite = suite_create("libnet vectors");
    TCase *tcase = fwt_tcase(suite, "vectors", 30);
    tcase_add_loop_test(tcase, the_server_does_what_was_recorded, 0, name_count);
    tcase_add_loop_test(tcase, the_client_does_what_was_recorded, 0, name_count);
    return fwt_main(suite);
}
