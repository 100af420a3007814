/*
 * Replays the recordings of tests/vectors/snet against both sides of the engine: what the other
 * side sent is given to it, and what it makes of that must be what was recorded, byte for byte. The
 * random numbers are those of the recordings.
 */
#include "transport/snet/handshake.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fwt.h"

#define MAX_VECTORS  40
#define MAX_LINKS    16
#define MAX_EXPECTED 1024
#define RING_BYTES   65536

static char names[MAX_VECTORS][FWT_VECTOR_NAME_BYTES];
static int name_count;
static cJSON *keys;

/* ---- the random numbers of a recording ---- */

static uint64_t script[4];
static size_t script_len, script_at;

static int scripted(void *ret_bytes, size_t len)
{
    ck_assert_uint_eq(len, 8);
    ck_assert_uint_lt(script_at, script_len);
    memcpy(ret_bytes, &script[script_at++], 8);
    return 0;
}

static void add_to_script(uint64_t number)
{
    ck_assert_uint_lt(script_len, 4);
    script[script_len++] = number;
}

/* ---- playing ---- */

struct link {
    const char *name;
    const cJSON *first; /* its first message */
    bool open, attached, failed, left;
    fwi_snet_server server;
    fwi_snet_client client;
    uint8_t due[MAX_EXPECTED]; /* what ours sends, and the recording has not said yet */
    size_t due_len;
};

struct player {
    const cJSON *vector;
    fwi_snet_flavour flavour;
    bool is_server, encrypt, has_stream;
    size_t piece; /* bytes given at a time */
    uint32_t ring_bytes;
    fwi_snet_stream stream;
    fwi_snet_server_config config;
    struct link links[MAX_LINKS];
    size_t link_count;
};

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static bool is_from_gateway(const cJSON *message)
{
    return !strncmp(text_of(message, "dir"), "gateway->", 9);
}

static const fwi_snet_stream *find(uint64_t id, void *arg)
{
    struct player *player = arg;
    return player->has_stream && player->stream.id == id ? &player->stream : NULL;
}

static struct link *link_of(struct player *player, const cJSON *message)
{
    const char *name = text_of(message, "conn");
    for (size_t i = 0; i < player->link_count; i++)
        if (!strcmp(player->links[i].name, name))
            return &player->links[i];
    ck_assert_uint_lt(player->link_count, MAX_LINKS);
    struct link *link = &player->links[player->link_count++];
    *link = (struct link){.name = name, .first = message};
    return link;
}

static void expect_later(struct link *link, const uint8_t *data, size_t len)
{
    ck_assert_uint_le(link->due_len + len, sizeof link->due);
    if (len)
        memcpy(link->due + link->due_len, data, len);
    link->due_len += len;
}

static void take_expected(struct link *link, const uint8_t *data, size_t len, const char *what)
{
    ck_assert_uint_ge(link->due_len, len);
    fwt_assert_bytes(link->due, len, data, len, what);
    link->due_len -= len;
    memmove(link->due, link->due + len, link->due_len);
}

static void make_stream(struct player *player, uint64_t id, uint64_t secret)
{
    FWT_OK(fwi_snet_stream_init(&player->stream, id, secret, player->is_server, player->encrypt,
                                player->ring_bytes));
    player->has_stream = true;
    const char *key = text_of(cJSON_GetObjectItem(player->vector, "params"), "rc4_key_hex");
    if (!*key)
        return;
    size_t len;
    uint8_t *bytes = fwt_unhex(key, &len);
    fwt_assert_bytes(player->stream.key, sizeof player->stream.key, bytes, len, "session key");
    free(bytes);
}

static void attach(struct player *player, struct link *link, uint64_t peer_read)
{
    fwi_snet_span spans[2];
    fwi_snet_stream_replay(&player->stream, peer_read, spans);
    for (int i = 0; i < 2; i++)
        expect_later(link, spans[i].data, spans[i].len);
    link->attached = true;
}

static uint64_t number_at(const uint8_t *hex_bytes)
{
    return fwi_get_u64le(hex_bytes);
}

static uint64_t private_key(const char *of)
{
    return strtoull(of, NULL, 16);
}

/* The challenge that the recording's gateway sent over this link. */
static uint64_t recorded_challenge(struct link *link)
{
    for (const cJSON *message = link->first; message; message = message->next) {
        if (strcmp(text_of(message, "conn"), link->name) || !is_from_gateway(message))
            continue;
        size_t len;
        uint8_t *bytes = fwt_unhex(text_of(message, "hex"), &len);
        uint64_t challenge = len == 24 ? number_at(bytes + 16) : 0;
        free(bytes);
        return challenge ? challenge : 1; /* they refused: it is not used */
    }
    return 1;
}

static void open_link(struct player *player, struct link *link)
{
    link->open = true;
    script_len = script_at = 0;
    if (player->is_server) {
        if (!player->has_stream) {
            add_to_script(private_key(text_of(keys, "gateway")));
            add_to_script(1); /* the session's id */
        }
        add_to_script(recorded_challenge(link));
        fwi_snet_server_init(&link->server, &player->config);
        return;
    }
    fwi_snet_bytes out;
    if (player->has_stream) {
        FWT_OK(fwi_snet_client_resume(&link->client, player->flavour, &player->stream, &out));
    } else {
        const cJSON *clients = cJSON_GetObjectItem(keys, "clients");
        add_to_script(private_key(text_of(clients, text_of(player->vector, "name"))));
        FWT_OK(fwi_snet_client_start(&link->client, player->flavour, scripted, &out));
    }
    expect_later(link, out.data, out.len);
}

static void server_input(struct player *player, struct link *link, const uint8_t *data, size_t len,
                         size_t *ret_used)
{
    fwi_snet_bytes out;
    int result = fwi_snet_server_input(&link->server, data, len, ret_used, &out);
    expect_later(link, out.data, out.len);
    if (result == FWI_SNET_NEW) {
        make_stream(player, link->server.id, link->server.secret);
        attach(player, link, 0);
    } else if (result == FWI_SNET_RESUMED) {
        ck_assert_uint_eq(link->server.told_read, player->stream.read);
        attach(player, link, link->server.peer_read);
    }
    link->failed = result < 0;
}

static void client_input(struct player *player, struct link *link, const uint8_t *data, size_t len,
                         size_t *ret_used)
{
    fwi_snet_bytes out;
    int err = fwi_snet_client_input(&link->client, data, len, ret_used, &out);
    expect_later(link, out.data, out.len);
    link->failed = err != 0;
    if (!link->client.done)
        return;
    if (!link->client.stream)
        make_stream(player, link->client.id, link->client.secret);
    attach(player, link, link->client.stream ? link->client.peer_read : 0);
}

/* Bytes from the other side. */
static void receive(struct player *player, struct link *link, const cJSON *message)
{
    size_t len, plain_len;
    const char *hex = text_of(message, "hex"), *plain_hex = text_of(message, "plain");
    uint8_t *bytes = fwt_unhex(hex, &len);
    uint8_t *plain = fwt_unhex(*plain_hex ? plain_hex : hex, &plain_len);
    size_t at = 0;
    while (at < len && !link->attached && !link->failed) {
        size_t used, piece = len - at < player->piece ? len - at : player->piece;
        if (player->is_server)
            server_input(player, link, bytes + at, piece, &used);
        else
            client_input(player, link, bytes + at, piece, &used);
        at += used;
    }
    if (at < len && link->attached) {
        ck_assert_uint_eq(at, 0); /* recordings have one thing a message */
        fwi_snet_stream_receive(&player->stream, bytes, len);
        fwt_assert_bytes(bytes, len, plain, plain_len, text_of(message, "note"));
    }
    free(plain);
    free(bytes);
}

/* What the recording has our side send. */
static void expect(struct player *player, struct link *link, const cJSON *message)
{
    size_t len, plain_len;
    const char *hex = text_of(message, "hex"), *plain_hex = text_of(message, "plain");
    uint8_t *bytes = fwt_unhex(hex, &len);
    uint8_t *plain = fwt_unhex(*plain_hex ? plain_hex : hex, &plain_len);
    if (link->due_len) {
        take_expected(link, bytes, len, text_of(message, "note"));
    } else {
        ck_assert(link->attached);
        ck_assert_uint_eq(len, plain_len);
        FWT_OK(fwi_snet_stream_send(&player->stream, plain, len, plain));
        fwt_assert_bytes(plain, len, bytes, len, text_of(message, "note"));
    }
    free(plain);
    free(bytes);
}

static void play_event(struct player *player, struct link *link, const cJSON *message)
{
    const char *event = text_of(message, "event");
    if (!strcmp(event, "open"))
        open_link(player, link);
    else if (!is_from_gateway(message))
        link->left = true;
    else if (link->attached && !link->left) { /* the gateway ends the session */
        fwi_snet_stream_fini(&player->stream);
        player->has_stream = false;
    }
}

static void play_message(struct player *player, const cJSON *message)
{
    struct link *link = link_of(player, message);
    bool from_us = is_from_gateway(message) == player->is_server;
    if (*text_of(message, "event"))
        play_event(player, link, message);
    else if (from_us)
        expect(player, link, message);
    else if (!cJSON_IsTrue(cJSON_GetObjectItem(message, "lost")))
        receive(player, link, message);
}

static bool has_flag(const cJSON *vector, const char *name)
{
    const cJSON *flag;
    cJSON_ArrayForEach(flag, cJSON_GetObjectItem(vector, "gateway_flags"))
    {
        if (!strcmp(flag->valuestring, name))
            return true;
    }
    return false;
}

static void play(const cJSON *vector, bool is_server, size_t piece)
{
    const char *name = text_of(vector, "name");
    bool on_servers = has_flag(vector, "-ServerSnetEnable");
    struct player *player = calloc(1, sizeof *player);
    player->vector = vector;
    player->flavour = strstr(name, "funny") ? FWI_SNET_FASTWAY : FWI_SNET_UNIWAY;
    player->is_server = is_server;
    player->encrypt = has_flag(vector, on_servers ? "-ServerSnetEncrypt" : "-ClientSnetEncrypt");
    player->ring_bytes = has_flag(vector, "-ClientSnetBuffer") ? 64 : RING_BYTES;
    player->piece = piece;
    player->config =
        (fwi_snet_server_config){.flavour = piece == 1 ? FWI_SNET_AUTO : player->flavour,
                                 .random = scripted,
                                 .find = find,
                                 .settle = find};
    player->config.arg = player;
    const cJSON *message;
    cJSON_ArrayForEach(message, cJSON_GetObjectItem(vector, "messages"))
    {
        if (*text_of(message, "conn") == (on_servers ? 's' : 'c'))
            play_message(player, message);
    }
    for (size_t i = 0; i < player->link_count; i++)
        ck_assert_uint_eq(player->links[i].due_len, 0);
    if (player->has_stream)
        fwi_snet_stream_fini(&player->stream);
    free(player);
}

static cJSON *load(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "vectors/snet/%s.json", name);
    char *text = fwt_read_file(fwt_source_path(path));
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    free(text);
    return json;
}

static const size_t pieces[] = {1, 7, SIZE_MAX};

START_TEST(test_server)
{
    cJSON *vector = load(names[_i]);
    keys = load("private_keys");
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        play(vector, true, pieces[i]);
    cJSON_Delete(keys);
    cJSON_Delete(vector);
}
END_TEST

/* These were typed by hand: a client does not do that. */
static bool is_by_hand(const char *name)
{
    static const char *const by_hand[] = {"bad_reconnects", "beyond_buffer", "handshake_timeout",
                                          "server_side_encrypted"};
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++)
        if (strstr(name, by_hand[i]))
            return true;
    return false;
}

START_TEST(test_client)
{
    if (is_by_hand(names[_i]))
        return;
    cJSON *vector = load(names[_i]);
    keys = load("private_keys");
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        play(vector, false, pieces[i]);
    cJSON_Delete(keys);
    cJSON_Delete(vector);
}
END_TEST

int main(void)
{
    name_count = fwt_vector_names("snet", "snet_", names, MAX_VECTORS);
    Suite *suite = suite_create("snet vectors");
    TCase *tcase = tcase_create("replay");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, test_server, 0, name_count);
    tcase_add_loop_test(tcase, test_client, 0, name_count);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
