/*
 * The head that opens a WebSocket connection, at a server and at a client: in pieces it is judged
 * as in one piece. The first byte says: server, compression and other options, size of the pieces.
 */
#include "fuzz.h"
#include "transport/ws/engine.h"

#include <fairway/error.h>
#include <string.h>

typedef struct seen {
    char answer[2048];
    size_t len;
    bool opened;
    int rc;
} seen;

static int on_write(void *arg, const uint8_t *data, size_t len)
{
    seen *saw = arg;
    FUZZ_CHECK(saw->len + len <= sizeof saw->answer);
    memcpy(saw->answer + saw->len, data, len);
    saw->len += len;
    return FW_OK;
}

static seen run(uint8_t mode, const uint8_t *data, size_t len, size_t piece)
{
    static const char *const urls[] = {"ws://h/chat",
                                       "ws://h/?deflate=1&protocol=a,b&origin=http%3A%2F%2Fo"};
    seen saw = {.rc = 0};
    fw_url url;
    fwi_ws_config *config;
    fwi_ws ws;
    fwi_ws_event event;
    fwi_ws_mode how = {.server = mode & 1, .messages = true, .max_message_bytes = 1000};
    FUZZ_CHECK(!fw_url_init(&url, urls[mode >> 1 & 1]) && !fwi_ws_config_new(&url, &how, &config));
    fw_url_fini(&url);
    fwi_ws_init(&ws, config, on_write, &saw);
    fwi_ws_config_release(config);
    FUZZ_CHECK(!fwi_ws_start(&ws));
    saw.len = 0; /* the request has a random key */
    for (size_t at = 0; !saw.rc && at < len;) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        fwi_ws_push(&ws, copy, n);
        saw.rc = fwi_ws_next(&ws, &event);
        free(copy);
        at += n;
    }
    saw.opened = saw.rc > 0;
    FUZZ_CHECK(!saw.opened || event.kind == FWI_WS_OPENED);
    FUZZ_CHECK(saw.rc >= 0 || ws.detail);
    fwi_ws_fini(&ws);
    return saw;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    seen whole = run(data[0], data + 1, len - 1, len),
         parts = run(data[0], data + 1, len - 1, (size_t)(data[0] >> 2) + 1);
    FUZZ_CHECK(whole.opened == parts.opened && (whole.rc < 0) == (parts.rc < 0));
    if (whole.rc >= 0) /* of two things that are wrong, either may be noticed first */
        FUZZ_CHECK(whole.len == parts.len && !memcmp(whole.answer, parts.answer, whole.len));
    return 0;
}
