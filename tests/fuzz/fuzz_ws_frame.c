/*
 * Frames at an open WebSocket end: in pieces they mean what they mean in one piece. The first byte
 * says: server, messages, compression, size of the pieces.
 */
#include "fuzz.h"
#include "transport/ws/engine.h"

#include <fairway/error.h>
#include <string.h>

#define MAX_MESSAGE_BYTES 3000

typedef struct seen {
    uint64_t hash, written_hash;
    size_t bytes, messages, written;
    unsigned code;
    int rc;
} seen;

static uint64_t hash_on(uint64_t hash, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 1099511628211u;
    return hash;
}

static int on_write(void *arg, const uint8_t *data, size_t len)
{
    seen *saw = arg;
    saw->written += len;
    saw->written_hash = hash_on(saw->written_hash, data, len);
    return FW_OK;
}

static void note(fwi_ws *ws, const fwi_ws_event *event, seen *saw)
{
    if (event->kind == FWI_WS_DATA) {
        FUZZ_CHECK(!ws->config->messages || event->len <= MAX_MESSAGE_BYTES);
        FUZZ_CHECK(ws->config->messages || event->len);
        saw->messages++;
        saw->bytes += event->len;
        saw->hash = hash_on(saw->hash, event->data, event->len);
    } else if (event->kind == FWI_WS_CLOSED) {
        FUZZ_CHECK(event->code == FWI_WS_NO_CODE || fwi_ws_code_is_valid(event->code));
        saw->code = event->code;
        (void)fwi_ws_close(ws, event->code);
    }
}

static seen run(uint8_t mode, const uint8_t *data, size_t len, size_t piece)
{
    seen saw = {.rc = 0};
    fw_url url;
    fwi_ws_config *config;
    fwi_ws ws;
    fwi_ws_event event;
    fwi_ws_mode how = {
        .server = mode & 1, .messages = mode & 2, .max_message_bytes = MAX_MESSAGE_BYTES};
    FUZZ_CHECK(!fw_url_init(&url, "ws://h") && !fwi_ws_config_new(&url, &how, &config));
    fw_url_fini(&url);
    fwi_ws_init(&ws, config, on_write, &saw);
    fwi_ws_config_release(config);
    ws.state = FWI_WS_OPEN;
    ws.deflate_bits = mode & 4 ? FWI_WS_DEFLATE_MAX_BITS : 0;
    for (size_t at = 0; saw.rc >= 0 && at < len;) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        fwi_ws_push(&ws, copy, n);
        while ((saw.rc = fwi_ws_next(&ws, &event)) > 0)
            note(&ws, &event, &saw);
        FUZZ_CHECK(!ws.input_len);
        free(copy);
        at += n;
    }
    FUZZ_CHECK(saw.rc >= 0 || ws.close_sent);
    fwi_ws_fini(&ws);
    return saw;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    seen whole = run(data[0], data + 1, len - 1, len),
         parts = run(data[0], data + 1, len - 1, (size_t)(data[0] >> 3) + 1);
    FUZZ_CHECK(whole.rc == parts.rc && whole.code == parts.code && whole.written == parts.written);
    if (data[0] & 1) /* a client's masks are random */
        FUZZ_CHECK(whole.written_hash == parts.written_hash);
    if (data[0] & 2)
        FUZZ_CHECK(whole.messages == parts.messages);
    if (data[0] & 2 || !whole.rc) /* a stream may have given out a little more before an error */
        FUZZ_CHECK(whole.bytes == parts.bytes && whole.hash == parts.hash);
    return 0;
}
