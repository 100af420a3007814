/*
 * What clients of skynet's WebSocket servers were recorded to send (tests/vectors/skynetws), to an
 * end of ours: it accepts what they send, and what those servers sent is accepted by a client end.
 * What we do otherwise is in the list below.
 */
#include "wst.h"

#include <cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where we are stricter than what was recorded: who of us ends it, and how. */
static const struct difference {
    const char *vector;
    int status;    /* of the answer to the request; 0: it is accepted */
    unsigned code; /* of our Close; 0: none */
    const char *reason;
} differences[] = {
    {"handshake_garbage", 400, 0, "they close without an answer"},
    {"handshake_no_connection", 400, 0, "as they do"},
    {"handshake_no_key", 400, 0, "as they do"},
    {"handshake_plain_http", 426, 0, "they say 404"},
    {"handshake_post", 405, 0, "they accept any method"},
    {"handshake_version_8", 426, 0, "they say 400"},
    {"skynet_ws_handshake_bad_key", 400, 0, "as they do"},
    {"skynet_ws_handshake_http10", 505, 0, "as they do"},
    {"skynet_ws_handshake_no_connection", 400, 0, "as they do"},
    {"skynet_ws_handshake_no_host", 400, 0, "as they do"},
    {"skynet_ws_handshake_no_upgrade", 426, 0, "as they do"},
    {"skynet_ws_handshake_post", 405, 0, "they say 400"},
    {"skynet_ws_handshake_version_8", 426, 0, "they say 400"},
    {"skynet_ws_bad_opcode", 0, 1002, "they close without a word"},
    {"skynet_ws_unmasked", 0, 1002, "RFC 6455 section 5.1 forbids it"},
    {"sproto_rsv1", 0, 1002, "they close without a word"},
    {"sproto_unmasked_client", 0, 1002, "RFC 6455 section 5.1 forbids it"},
};

static const struct difference *find_difference(const char *vector)
{
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++)
        if (!strcmp(differences[i].vector, vector))
            return &differences[i];
    return NULL;
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

/* What their messages are, by the recording: payloads joined, fragments included. */
static size_t feed_direction(wst_end *end, const cJSON *frames, const char *dir, wst_bytes *wanted)
{
    size_t messages = 0;
    const cJSON *frame;
    cJSON_ArrayForEach(frame, frames)
    {
        if (strcmp(text_of(frame, "dir"), dir) || !*text_of(frame, "hex"))
            continue;
        size_t len;
        uint8_t *bytes = fwt_unhex(text_of(frame, "hex"), &len);
        wst_bytes sent = {.data = NULL};
        wst_append(&sent, bytes, len);
        wst_feed_chopped(end, &sent, messages % 2 ? 1 : SIZE_MAX);
        wst_free(&sent);
        free(bytes);
        const cJSON *opcode = cJSON_GetObjectItem(frame, "opcode");
        if (!opcode || opcode->valueint > 2)
            continue;
        bytes = fwt_unhex(text_of(frame, "payload_hex"), &len);
        wst_append(wanted, bytes, len);
        free(bytes);
        messages += cJSON_GetObjectItem(frame, "fin")->valueint == 1;
    }
    return messages;
}

static void check_got(const char *vector, const wst_end *end, const wst_bytes *wanted,
                      size_t messages, bool has_raw)
{
    if (has_raw) /* several frames in one entry */
        return;
    ck_assert_msg(end->messages == messages, "%s: %zu messages, not %zu", vector, end->messages,
                  messages);
    fwt_assert_bytes(end->got.data, end->got.len, wanted->data, wanted->len, vector);
}

static void play_client(const char *vector, const cJSON *frames, bool has_raw)
{
    const struct difference *ours = find_difference(vector);
    wst_end end;
    wst_bytes wanted = {.data = NULL};
    char status[40];
    wst_init(&end, "ws://h?protocol=chat", true, true, 0);
    end.echo = false;
    size_t messages = feed_direction(&end, frames, "c2s", &wanted);
    wst_append(&end.out, "", 1);
    snprintf(status, sizeof status, "HTTP/1.1 %d ", ours && ours->status ? ours->status : 101);
    ck_assert_msg(!strncmp((char *)end.out.data, status, strlen(status)), "%s: %s", vector,
                  (char *)end.out.data);
    if (!ours)
        check_got(vector, &end, &wanted, messages, has_raw);
    if (ours && ours->code) {
        ck_assert_int_eq(end.error, FW_EPROTOCOL);
        const uint8_t *close = end.out.data + end.out.len - 5; /* and the NUL */
        ck_assert_uint_eq((unsigned)(close[2] << 8 | close[3]), ours->code);
    }
    wst_free(&wanted);
    wst_fini(&end);
}

/* Their server's bytes, after a handshake of our own (its keys were others). */
static void play_server(const char *vector, const cJSON *frames, bool has_raw)
{
    wst_end end;
    wst_bytes wanted = {.data = NULL};
    const cJSON *frame;
    cJSON *rest = cJSON_CreateArray();
    cJSON_ArrayForEach(frame, frames) if (strcmp(text_of(frame, "layer"), "http"))
        cJSON_AddItemReferenceToArray(rest, (cJSON *)(uintptr_t)frame);
    wst_open(&end, "ws://h", false, true, 0);
    end.echo = false;
    size_t messages = feed_direction(&end, rest, "s2c", &wanted);
    ck_assert_msg(end.error == 0, "%s: %s", vector, fw_strerror(end.error));
    check_got(vector, &end, &wanted, messages, has_raw);
    wst_free(&wanted);
    wst_fini(&end);
    cJSON_Delete(rest);
}

static size_t play(const char *path, const char *name)
{
    char *text = fwt_read_file(path);
    cJSON *vector = cJSON_Parse(text);
    free(text);
    ck_assert_ptr_nonnull(vector);
    const cJSON *frames = cJSON_GetObjectItem(vector, "frames"), *frame;
    bool has_raw = false;
    cJSON_ArrayForEach(frame, frames) has_raw |= !strcmp(text_of(frame, "layer"), "raw");
    play_client(name, frames, has_raw);
    play_server(name, frames, has_raw);
    cJSON_Delete(vector);
    return 1;
}

START_TEST(recorded_clients_are_served)
{
    char dir[400], path[900];
    snprintf(dir, sizeof dir, "%s", fwt_source_path("vectors/skynetws"));
    DIR *list = opendir(dir);
    ck_assert_ptr_nonnull(list);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(list));) {
        char *dot = strstr(entry->d_name, ".json");
        if (!dot)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        *dot = 0;
        count += play(path, entry->d_name);
    }
    closedir(list);
    printf("%zu recordings\n", count);
    ck_assert_uint_ge(count, 60);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws vectors");
    TCase *tcase = tcase_create("vectors");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, recorded_clients_are_served);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
