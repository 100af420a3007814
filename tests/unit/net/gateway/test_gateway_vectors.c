/*
 * Replays what the original gateway was recorded to do (tests/vectors/fastway) against ours.
 * Entries are taken in the order of the recording: what a peer sent is sent; what the gateway sent
 * must come, byte for byte; closes likewise. Challenges are random, so the answers to them are
 * computed anew.
 */
#include "raw_peer.h"

#include <cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where we decided to do better than the recording: instead of `theirs`, `ours` is to come; `late`
 * is to come afterwards, before the peer closes. net/gateway/README.md has the same list. */
static const struct difference {
    const char *vector, *conn, *theirs, *ours, *late, *reason;
} differences[] = {
    {"close_foreign_conn", "c1", "09000000000000000401000000", "", "",
     "a Close of somebody else's virtual connection is ignored"},
    {"close_foreign_conn", "s1", "09000000000000000401000000", "", "09000000000000000401000000",
     "so it ends only when its own client goes"},
    {"duplicate_server_id_second_leaves", "c1", "09000000000000000366270000",
     "0d00000000000000010100000066270000", "",
     "the first server is still there, and has its id back"},
    {"duplicate_server_id_second_leaves", "s1", "050000000000000005",
     "0d00000000000000020100000001000000050000000000000005", "09000000000000000401000000",
     "and so it is dialled"},
};

#define MAX_VECTORS    200
#define MAX_PEERS      8
#define SHORT_IDLE_MS  200 /* for the recordings' 1 s */
#define SHORT_SHAKE_MS 200 /* for the recordings' 5 s */

static char names[MAX_VECTORS][FWT_VECTOR_NAME_BYTES];
static int name_count;

struct player {
    const char *vector, *key;
    fw_gateway *gateway;
    struct named_peer {
        const char *name;
        bool server, challenged, answered, left;
        uint8_t challenge[FWI_GW_CHALLENGE_BYTES];
        uint8_t recorded_challenge[FWI_GW_CHALLENGE_BYTES];
        raw_peer raw;
    } peers[MAX_PEERS];
    int count;
    uint64_t clients, unauthenticated, servers; /* that should be connected now */
};

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static const struct difference *find_difference(const struct player *player, const char *conn,
                                                const char *theirs)
{
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++)
        if (!strcmp(differences[i].vector, player->vector) && !strcmp(differences[i].conn, conn) &&
            (!theirs || !strcmp(differences[i].theirs, theirs)))
            return &differences[i];
    return NULL;
}

static struct named_peer *find_peer(struct player *player, const char *name)
{
    for (int i = 0; i < player->count; i++)
        if (!strcmp(player->peers[i].name, name))
            return &player->peers[i];
    ck_assert_int_lt(player->count, MAX_PEERS);
    struct named_peer *peer = &player->peers[player->count++];
    peer->name = name;
    peer->server = *name == 's';
    return peer;
}

static uint32_t milliseconds(const char *text)
{
    ck_assert_str_eq(text, "1s");
    return SHORT_IDLE_MS;
}

static void start_gateway(struct player *player, const cJSON *vector)
{
    fw_gateway_options options;
    fw_gateway_options_init(&options);
    options.client_url = options.server_url = "tcp://127.0.0.1:0";
    options.auth_key = player->key;
    if (!strcmp(player->vector, "server_auth_timeout"))
        options.handshake_timeout_ms = SHORT_SHAKE_MS;
    const cJSON *flags = cJSON_GetObjectItem(vector, "gateway_flags");
    for (const cJSON *flag = flags->child; flag; flag = flag->next->next) {
        const char *name = flag->valuestring, *value = flag->next->valuestring;
        if (!strcmp(name, "-MaxPacket"))
            options.max_packet_bytes = (uint32_t)atoi(value);
        else if (!strcmp(name, "-ClientMaxConn"))
            options.client_max_conn = (uint32_t)atoi(value);
        else if (!strcmp(name, "-ClientIdleTimeout"))
            options.client_idle_timeout_ms = milliseconds(value);
        else if (!strcmp(name, "-ServerIdleTimeout"))
            options.server_idle_timeout_ms = milliseconds(value);
        else
            ck_assert_str_eq(name, "-ServerAuthKey");
    }
    FWT_OK(fw_gateway_new(fwt_loop, &options, &player->gateway));
}

/* Until the gateway knows of everybody who came and went: the recordings left it 60 ms for that. */
static void settle(struct player *player)
{
    stats_wait(player->gateway, clients, player->clients);
    stats_wait(player->gateway, servers, player->servers);
    stats_wait(player->gateway, unauthenticated_servers, player->unauthenticated);
}

static void forget(struct player *player, struct named_peer *peer)
{
    peer->left = true;
    if (!peer->server)
        player->clients--;
    else if (peer->answered)
        player->servers--;
    else
        player->unauthenticated--;
}

static void send_answer(struct player *player, struct named_peer *peer, const uint8_t *recorded)
{
    uint8_t answer[FWI_GW_ANSWER_BYTES], of_recording[FWI_GW_DIGEST_BYTES];
    FWT_OK(fwi_gw_digest(peer->recorded_challenge, player->key, of_recording));
    bool right = !memcmp(of_recording, recorded, sizeof of_recording);
    FWT_OK(fwi_gw_digest(peer->challenge, right ? player->key : "not the key", answer));
    memcpy(answer + FWI_GW_DIGEST_BYTES, recorded + FWI_GW_DIGEST_BYTES, 4);
    raw_peer_send(&peer->raw, answer, sizeof answer);
    peer->answered = right;
    if (!right)
        return;
    player->unauthenticated--;
    player->servers++;
    settle(player);
}

static void play_to_gateway(struct player *player, struct named_peer *peer, const char *event,
                            const char *hex)
{
    if (!strcmp(event, "open")) {
        raw_peer_dial(&peer->raw, peer->server ? fw_gateway_server_url(player->gateway)
                                               : fw_gateway_client_url(player->gateway));
        if (peer->server)
            player->unauthenticated++;
        else
            player->clients++;
        settle(player);
        return;
    }
    if (peer->left)
        return; /* the recorded peer hung up after the gateway had */
    if (*event) {
        fwt_run_for(10); /* what should not come has time to come */
        const struct difference *difference = find_difference(player, peer->name, NULL);
        if (difference)
            raw_peer_expect_hex(&peer->raw, difference->late, difference->reason);
        raw_peer_expect_quiet(&peer->raw);
        raw_peer_end(&peer->raw);
        forget(player, peer);
        settle(player);
        return;
    }
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    if (peer->server && !peer->answered)
        send_answer(player, peer, bytes);
    else
        raw_peer_send(&peer->raw, bytes, len);
    free(bytes);
}

static void play_from_gateway(struct player *player, struct named_peer *peer, const char *event,
                              const char *hex, const char *note)
{
    if (peer->left)
        return;
    if (*event) {
        raw_peer_expect_closed(&peer->raw);
        forget(player, peer);
    } else if (peer->server && !peer->challenged) {
        size_t len;
        uint8_t *recorded = fwt_unhex(hex, &len);
        ck_assert_uint_eq(len, FWI_GW_CHALLENGE_BYTES);
        memcpy(peer->recorded_challenge, recorded, len);
        memcpy(peer->challenge, raw_peer_take(&peer->raw, len), len);
        free(recorded);
        peer->challenged = true;
    } else {
        const struct difference *difference = find_difference(player, peer->name, hex);
        raw_peer_expect_hex(&peer->raw, difference ? difference->ours : hex, note);
    }
}

/* A frame that was never completed stands at the end of the recording, without a time; it was sent
 * before the gateway closed. */
static const cJSON *find_incomplete(const cJSON *messages, const char *conn)
{
    for (const cJSON *message = messages->child; message; message = message->next)
        if (!strcmp(text_of(message, "conn"), conn) &&
            cJSON_GetObjectItem(message, "t_us")->valuedouble == 0)
            return message;
    return NULL;
}

static void on_gateway_closed(void *arg)
{
    *(bool *)arg = true;
}

static void play(struct player *player, const cJSON *vector)
{
    const cJSON *messages = cJSON_GetObjectItem(vector, "messages");
    for (const cJSON *message = messages->child; message; message = message->next) {
        struct named_peer *peer = find_peer(player, text_of(message, "conn"));
        const char *event = text_of(message, "event"), *hex = text_of(message, "hex");
        if (strncmp(text_of(message, "dir"), "gateway->", 9)) {
            play_to_gateway(player, peer, event, hex);
            continue;
        }
        const cJSON *incomplete = *event ? find_incomplete(messages, peer->name) : NULL;
        if (incomplete)
            raw_peer_send_hex(&peer->raw, text_of(incomplete, "hex"));
        play_from_gateway(player, peer, event, hex, text_of(message, "note"));
    }
    fwt_run_for(10);
    for (int i = 0; i < player->count; i++) {
        if (!player->peers[i].left)
            raw_peer_expect_quiet(&player->peers[i].raw);
        raw_peer_end(&player->peers[i].raw);
    }
}

START_TEST(the_gateway_does_what_was_recorded)
{
    char path[128];
    snprintf(path, sizeof path, "vectors/fastway/%s.json", names[_i]);
    char *text = fwt_read_file(fwt_source_path(path));
    cJSON *vector = cJSON_Parse(text);
    ck_assert_msg(vector != NULL, "%s is not JSON", path);
    struct player player = {
        .vector = names[_i],
        .key = text_of(cJSON_GetObjectItem(vector, "params"), "auth_key"),
    };
    ck_assert_str_eq(text_of(vector, "name"), player.vector);
    start_gateway(&player, vector);
    play(&player, vector);
    bool closed = false;
    fw_gateway_close(player.gateway, on_gateway_closed, &closed);
    fwt_run_until(&closed, PEER_WAIT_MS);
    cJSON_Delete(vector);
    free(text);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    name_count = fwt_vector_names("fastway", "", names, MAX_VECTORS);
    Suite *suite = suite_create("gateway vectors");
    TCase *tcase = fwt_tcase(suite, "vectors", 20);
    tcase_add_loop_test(tcase, the_gateway_does_what_was_recorded, 0, name_count);
    return fwt_main(suite);
}
