#include "transport/ws/deflate.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>
#include <zlib.h>

#define OUTPUT_BYTES 8192
#define WORTH_BYTES  64 /* shorter messages are sent as they are */
#define MEMORY_LEVEL 8

/* What a sync flush ends with, and the sender leaves out (RFC 7692 section 7.2.1). */
static const uint8_t tail[] = {0x00, 0x00, 0xff, 0xff};

/* ---- negotiation ---- */
static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* Takes a token up to one of the stops; its length without blanks at the end. */
static size_t take_token(const char **p, const char *stops)
{
    *p = skip_blanks(*p);
    size_t len = strcspn(*p, stops);
    while (len && ((*p)[len - 1] == ' ' || (*p)[len - 1] == '\t'))
        len--;
    return len;
}

static bool token_is(const char *token, size_t len, const char *text)
{
    return len == strlen(text) && !strncasecmp(token, text, len);
}

/* 8 to 15 in decimal without a leading zero, in quotes or not. */
static bool parse_bits(const char *value, size_t len, unsigned *ret_bits)
{
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value++;
        len -= 2;
    }
    if (len == 1 && (*value == '8' || *value == '9'))
        *ret_bits = (unsigned)(*value - '0');
    else if (len == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5')
        *ret_bits = 10u + (unsigned)(value[1] - '0');
    else
        return false;
    return true;
}

typedef struct parameters {
    bool seen[4]; /* in the order of `names` */
    unsigned bits[4];
} parameters;

enum { SERVER_NO_TAKEOVER, CLIENT_NO_TAKEOVER, SERVER_BITS, CLIENT_BITS };
static const char *const names[] = {"server_no_context_takeover", "client_no_context_takeover",
                                    "server_max_window_bits", "client_max_window_bits"};

static bool parse_parameter(parameters *found, const char **p)
{
    const char *name = skip_blanks(*p);
    size_t name_len = take_token(&name, "=;,");
    int which = 0;
    while (which < 4 && !token_is(name, name_len, names[which]))
        which++;
    *p = name + strcspn(name, "=;,");
    const char *value = NULL;
    size_t value_len = 0;
    if (**p == '=') {
        value = *p + 1;
        value_len = take_token(&value, ";,");
        *p = value + strcspn(value, ";,");
    }
    if (which == 4 || found->seen[which])
        return false;
    found->seen[which] = true;
    if (which == SERVER_NO_TAKEOVER || which == CLIENT_NO_TAKEOVER)
        return !value;
    return value ? parse_bits(value, value_len, &found->bits[which]) : which == CLIENT_BITS;
}

/* Takes one extension of the list; true: it is ours, and well formed. */
static bool parse_extension(const char **p, parameters *ret_parameters)
{
    *ret_parameters = (parameters){.seen = {false}};
    const char *name = skip_blanks(*p);
    size_t len = take_token(&name, ";,");
    bool good = token_is(name, len, "permessage-deflate");
    *p = name + strcspn(name, ";,");
    while (**p == ';') {
        ++*p;
        if (!parse_parameter(ret_parameters, p))
            good = false;
    }
    if (**p == ',')
        ++*p;
    return good;
}

bool fwi_ws_deflate_accept(const char *offers, uint8_t *ret_bits, bool *ret_said)
{
    while (*(offers = skip_blanks(offers))) {
        parameters offer;
        if (!parse_extension(&offers, &offer))
            continue;
        if (offer.seen[SERVER_BITS] && offer.bits[SERVER_BITS] < FWI_WS_DEFLATE_MIN_BITS)
            continue;
        *ret_said = offer.seen[SERVER_BITS];
        *ret_bits = *ret_said ? (uint8_t)offer.bits[SERVER_BITS] : FWI_WS_DEFLATE_MAX_BITS;
        return true;
    }
    return false;
}

bool fwi_ws_deflate_check(const char *answer)
{
    parameters given;
    return parse_extension(&answer, &given) && !*skip_blanks(answer) &&
           given.seen[SERVER_NO_TAKEOVER] && !given.seen[CLIENT_BITS];
}

/* ---- inflating ---- */
struct fwi_ws_inflater {
    z_stream stream;
    bool more; /* there may be output left for what was pushed */
    int error; /* behind what was handed out last */
    uint8_t output[OUTPUT_BYTES];
};

fwi_ws_inflater *fwi_ws_inflater_create(void)
{
    fwi_ws_inflater *inflater = calloc(1, sizeof *inflater);
    if (inflater && inflateInit2(&inflater->stream, -FWI_WS_DEFLATE_MAX_BITS) != Z_OK) {
        free(inflater);
        return NULL;
    }
    return inflater;
}

void fwi_ws_inflater_destroy(fwi_ws_inflater *inflater)
{
    if (!inflater)
        return;
    inflateEnd(&inflater->stream);
    free(inflater);
}

void fwi_ws_inflater_push(fwi_ws_inflater *inflater, const uint8_t *data, size_t len)
{
    inflater->stream.next_in = (Bytef *)(uintptr_t)data;
    inflater->stream.avail_in = (uInt)len;
    inflater->more = len > 0;
}

void fwi_ws_inflater_end(fwi_ws_inflater *inflater)
{
    fwi_ws_inflater_push(inflater, tail, sizeof tail);
}

int fwi_ws_inflater_next(fwi_ws_inflater *inflater, const uint8_t **ret_data, size_t *ret_len)
{
    z_stream *stream = &inflater->stream;
    while (inflater->more) {
        stream->next_out = inflater->output;
        stream->avail_out = sizeof inflater->output;
        int rc = inflate(stream, Z_SYNC_FLUSH);
        if (rc == Z_STREAM_END)
            rc = inflateReset(stream); /* a last block inside a message: it goes on after it */
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            inflater->error = rc == Z_MEM_ERROR ? UV_ENOMEM : FW_EPROTOCOL;
        inflater->more = !inflater->error && (stream->avail_in || !stream->avail_out);
        if (stream->avail_out < sizeof inflater->output) {
            *ret_data = inflater->output;
            *ret_len = sizeof inflater->output - stream->avail_out;
            return 1;
        }
    }
    return inflater->error;
}

bool fwi_ws_inflater_is_whole(const fwi_ws_inflater *inflater)
{
    return inflater->stream.data_type & 128; /* zlib stands between two blocks */
}

/* ---- deflating ---- */
struct fwi_ws_deflater {
    z_stream stream;
    uint8_t bits; /* 0: not begun */
};

fwi_ws_deflater *fwi_ws_deflater_create(void)
{
    return calloc(1, sizeof(fwi_ws_deflater));
}

void fwi_ws_deflater_destroy(fwi_ws_deflater *deflater)
{
    if (!deflater)
        return;
    if (deflater->bits)
        deflateEnd(&deflater->stream);
    free(deflater);
}

static bool prepare(fwi_ws_deflater *deflater, uint8_t bits)
{
    if (deflater->bits == bits)
        return deflateReset(&deflater->stream) == Z_OK;
    if (deflater->bits)
        deflateEnd(&deflater->stream);
    deflater->stream = (z_stream){.next_in = NULL};
    deflater->bits = 0;
    if (deflateInit2(&deflater->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -bits, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    deflater->bits = bits;
    return true;
}

int fwi_ws_deflater_run(fwi_ws_deflater *deflater, uint8_t bits, const fw_slice *parts,
                        size_t count, uint8_t **ret_data, size_t *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    if (len < WORTH_BYTES || len > UINT32_MAX || !prepare(deflater, bits))
        return 0;
    /* Room for as much as it has, and no more: longer is not worth it. */
    uint8_t *output = malloc(len);
    if (!output)
        return 0;
    z_stream *stream = &deflater->stream;
    stream->next_out = output;
    stream->avail_out = (uInt)len;
    for (size_t i = 0; i < count && stream->avail_out; i++) {
        stream->next_in = (Bytef *)(uintptr_t)parts[i].data;
        stream->avail_in = (uInt)parts[i].len;
        deflate(stream, i + 1 < count ? Z_NO_FLUSH : Z_SYNC_FLUSH);
    }
    if (!stream->avail_out) {
        free(output);
        return 0;
    }
    *ret_data = output;
    *ret_len = len - stream->avail_out - sizeof tail;
    return 1;
}
