#include "wst.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mask_key[4] = {0x37, 0xfa, 0x21, 0x3d};

void wst_append(wst_bytes *bytes, const void *data, size_t len)
{
    if (bytes->len + len > bytes->capacity) {
        bytes->capacity = (bytes->len + len) * 2;
        bytes->data = realloc(bytes->data, bytes->capacity);
        ck_assert_ptr_nonnull(bytes->data);
    }
    if (len)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

void wst_free(wst_bytes *bytes)
{
    free(bytes->data);
    *bytes = (wst_bytes){.data = NULL};
}

/* ---- an end ---- */
static int take_output(void *arg, const uint8_t *data, size_t len)
{
    wst_end *end = arg;
    wst_append(&end->out, data, len);
    return 0;
}

void wst_init(wst_end *end, const char *url, bool server, bool messages, uint32_t max)
{
    fw_url parsed;
    fwi_ws_mode mode = {
        .server = server, .messages = messages, .max_message_bytes = max ? max : 1024 * 1024};
    *end = (wst_end){.echo = true};
    FWT_OK(fw_url_init(&parsed, url));
    FWT_OK(fwi_ws_config_new(&parsed, &mode, &end->config));
    fw_url_fini(&parsed);
    fwi_ws_init(&end->ws, end->config, take_output, end);
    FWT_OK(fwi_ws_start(&end->ws));
}

void wst_fini(wst_end *end)
{
    fwi_ws_fini(&end->ws);
    fwi_ws_config_release(end->config);
    wst_free(&end->out);
    wst_free(&end->got);
}

static void on_data(wst_end *end, const fwi_ws_event *event)
{
    end->messages++;
    end->text = event->text;
    wst_append(&end->got, event->data, event->len);
    if (!end->echo || end->ws.close_sent)
        return;
    end->config->text = event->text;
    fw_slice part = {event->data, event->len};
    FWT_OK(fwi_ws_send(&end->ws, &part, 1));
}

void wst_feed(wst_end *end, const void *data, size_t len)
{
    fwi_ws_event event;
    int rc;
    fwi_ws_push(&end->ws, data, len);
    while ((rc = fwi_ws_next(&end->ws, &event)) > 0) {
        end->events++;
        switch (event.kind) {
        case FWI_WS_OPENED:
            end->opened++;
            break;
        case FWI_WS_DATA:
            on_data(end, &event);
            break;
        case FWI_WS_PONGED:
            end->ponged++;
            break;
        case FWI_WS_CLOSED:
            end->closed = event.code;
            FWT_OK(fwi_ws_close(&end->ws, event.code));
            break;
        }
    }
    end->error = rc;
}

void wst_feed_chopped(wst_end *end, const wst_bytes *bytes, size_t chop)
{
    for (size_t at = 0; at < bytes->len;) {
        size_t n = chop ? chop : (size_t)(rand() % (rand() % 8 ? 9 : 3000)) + 1;
        if (n > bytes->len - at)
            n = bytes->len - at;
        uint8_t *copy = malloc(n);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes->data + at, n);
        wst_feed(end, copy, n);
        free(copy);
        at += n;
    }
}

static bool move(wst_end *from, wst_end *to)
{
    wst_bytes bytes = from->out;
    from->out = (wst_bytes){.data = NULL};
    if (bytes.len)
        wst_feed(to, bytes.data, bytes.len);
    wst_free(&bytes);
    return to->out.len || from->out.len;
}

void wst_pump(wst_end *a, wst_end *b)
{
    bool more;
    do {
        more = move(a, b);
        more = move(b, a) || more;
    } while (more);
}

void wst_shake(wst_end *client, wst_end *server)
{
    wst_pump(client, server);
    ck_assert_msg(client->opened == 1 && server->opened == 1, "no handshake: %s",
                  client->ws.detail ? client->ws.detail : "?");
}

void wst_open(wst_end *end, const char *url, bool server, bool messages, uint32_t max)
{
    wst_end other;
    wst_init(end, url, server, messages, max);
    wst_init(&other, url, !server, messages, max);
    wst_shake(server ? &other : end, server ? end : &other);
    wst_fini(&other);
}

/* ---- frames ---- */
typedef struct ws_word {
    uint8_t first; /* byte of the header */
    wst_bytes payload;
} ws_word;

static const char *take_payload(ws_word *word, const char *p)
{
    size_t len = *p ? strcspn(p + 1, " ") : 0;
    switch (*p) {
    case ':':
        for (const char *c = p + 1; c <= p + len; c++)
            wst_append(&word->payload, *c == '_' ? " " : c, 1);
        return p + 1 + len;
    case '*':
        for (size_t n = strtoul(p + 1, NULL, 10); n; n--)
            wst_append(&word->payload, "*", 1);
        return p + 1 + len;
    case '$': {
        char *hex = strndup(p + 1, len);
        size_t n;
        uint8_t *bytes = fwt_unhex(hex, &n);
        wst_append(&word->payload, bytes, n);
        free(bytes);
        free(hex);
        return p + 1 + len;
    }
    default:
        return p;
    }
}

static const char *take_close(ws_word *word, const char *p)
{
    word->first |= FWI_WS_CLOSE;
    if (*p == '-')
        return p + 1;
    char *end;
    unsigned long code = strtoul(p, &end, 10);
    wst_append(&word->payload, (uint8_t[]){(uint8_t)(code >> 8), (uint8_t)code}, 2);
    return end;
}

static const char *take_word(ws_word *word, const char *p)
{
    static const char kinds[] = "TBCIO";
    static const uint8_t opcodes[] = {FWI_WS_TEXT, FWI_WS_BINARY, FWI_WS_CONTINUATION, FWI_WS_PING,
                                      FWI_WS_PONG};
    char kind = *p++;
    word->first = isupper((unsigned char)kind) || kind == '#' ? 0x80 : 0;
    const char *found = strchr(kinds, toupper((unsigned char)kind));
    if (kind == 'X') {
        p = take_close(word, p);
    } else if (kind == '#') {
        char *end;
        word->first |= (uint8_t)strtoul(p, &end, 10);
        p = end;
        if (*p == '~') {
            word->first &= 0x7f;
            p++;
        }
    } else {
        ck_assert_msg(found && *found, "a word begins with %c", kind);
        word->first |= opcodes[found - kinds];
    }
    if (*p == '/') {
        word->first |= (uint8_t)((p[1] - '0') << 4);
        p += 2;
    }
    return take_payload(word, p);
}

static void put_frame(wst_bytes *out, const ws_word *word, bool masked)
{
    uint8_t header[14] = {word->first};
    size_t len = word->payload.len, at = 2;
    uint8_t mask_bit = masked ? 0x80 : 0;
    if (len < 126) {
        header[1] = (uint8_t)(mask_bit | len);
    } else if (len < 65536) {
        header[1] = mask_bit | 126;
        header[at++] = (uint8_t)(len >> 8);
        header[at++] = (uint8_t)len;
    } else {
        header[1] = mask_bit | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            header[at++] = (uint8_t)((uint64_t)len >> shift);
    }
    if (masked) {
        memcpy(header + at, mask_key, sizeof mask_key);
        at += sizeof mask_key;
    }
    wst_append(out, header, at);
    wst_append(out, word->payload.data, len);
    for (size_t i = 0; masked && i < len; i++)
        out->data[out->len - len + i] ^= mask_key[i % 4];
}

void wst_frames(wst_bytes *out, const char *script, bool masked)
{
    for (const char *p = script; *p;) {
        ws_word word = {.first = 0};
        if (*p == '!') {
            size_t len = strcspn(p + 1, " "), n;
            char *hex = strndup(p + 1, len);
            uint8_t *bytes = fwt_unhex(hex, &n);
            wst_append(out, bytes, n);
            free(bytes);
            free(hex);
            p += 1 + len;
        } else {
            p = take_word(&word, p);
            put_frame(out, &word, masked);
        }
        wst_free(&word.payload);
        ck_assert_msg(!*p || *p == ' ', "a word ends with %s", p);
        p += strspn(p, " ");
    }
}

size_t wst_unmask(uint8_t *frame, size_t len, bool masked)
{
    ck_assert_uint_ge(len, 2);
    ck_assert_msg(!(frame[1] & 0x80) == !masked, "masked by the wrong side");
    uint64_t n = frame[1] & 0x7f;
    size_t at = 2;
    for (size_t more = n < 126 ? 0 : n == 126 ? 2 : 8; more; more--)
        n = at == 2 ? frame[at++] : n << 8 | frame[at++];
    frame[1] &= 0x7f;
    if (masked) {
        uint8_t key[4];
        memcpy(key, frame + at, sizeof key);
        for (size_t i = 0; i < n; i++)
            frame[at + sizeof key + i] ^= key[i % 4];
    }
    at += masked ? 4 : 0;
    ck_assert_uint_ge(len, at + n);
    return at + (size_t)n;
}

void wst_expect(const wst_end *end, const char *script, const char *what)
{
    wst_bytes wanted = {.data = NULL}, got = {.data = NULL}, copy = {.data = NULL};
    bool masked = !end->config->server;
    wst_frames(&wanted, script, false);
    wst_append(&copy, end->out.data, end->out.len);
    for (size_t at = 0; at < copy.len;) {
        size_t n = wst_unmask(copy.data + at, copy.len - at, masked);
        size_t len7 = copy.data[at + 1] & 0x7f, head = len7 < 126 ? 2 : len7 == 126 ? 4 : 10;
        size_t key = masked ? 4 : 0;
        wst_append(&got, copy.data + at, head);
        wst_append(&got, copy.data + at + head + key, n - head - key);
        at += n;
    }
    bool same = got.len == wanted.len && (!got.len || !memcmp(got.data, wanted.data, got.len));
    if (!same && (got.len > 400 || wanted.len > 400))
        ck_abort_msg("%s: %zu bytes instead of %zu", what, got.len, wanted.len);
    if (!same)
        fwt_assert_bytes(got.data, got.len, wanted.data, wanted.len, what);
    wst_free(&wanted);
    wst_free(&got);
    wst_free(&copy);
}
