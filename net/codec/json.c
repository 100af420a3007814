/*
 * Codec "json". cJSON reads and writes; what it leaves open is checked here: a look over the text
 * bounds depth and number of values before cJSON takes memory for them, and refuses what would be
 * lost without a word in a tree of C strings (NUL, bytes that are no UTF-8).
 */
#include "codec/codec.h"
#include "codec/json_value.h"
#include "codec/proto_wire.h"

#include <fairway/error.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Passes over a string whose first quote is at p[at]; returns where its last one is, or len. */
static size_t skip_string(const char *p, size_t len, size_t at, bool *ret_has_nul)
{
    for (at++; at < len && p[at] != '"'; at++) {
        if (p[at] != '\\')
            continue;
        if (len - at >= 6 && !memcmp(p + at, "\\u0000", 6))
            *ret_has_nul = true;
        at++;
    }
    return at;
}

/* Depth and number of values: an array or object starts with one, a comma brings another. */
static int look_over(fwi_codec_run *run, const char *p, size_t len)
{
    bool has_nul = false;
    int err = fwi_codec_count(run, 1);
    for (size_t at = 0; at < len && !err; at++) {
        switch (p[at]) {
        case '"':
            at = skip_string(p, len, at, &has_nul);
            if (has_nul)
                err = fwi_codec_fail(run, FW_EMESSAGE, "a NUL in the text before byte %zu", at);
            break;
        case '[':
        case '{':
            err = fwi_codec_enter(run);
            if (!err)
                err = fwi_codec_count(run, 1);
            break;
        case ']':
        case '}':
            if (run->depth)
                fwi_codec_leave(run);
            break;
        case ',':
            err = fwi_codec_count(run, 1);
            break;
        case 0:
            err = fwi_codec_fail(run, FW_EMESSAGE, "a NUL at byte %zu", at);
            break;
        default:
            break;
        }
    }
    return err;
}

static int decode(fwi_codec_run *run, const void *type, fw_slice data, void **ret_message)
{
    (void)type;
    const char *text = data.data, *end = NULL;
    int err = look_over(run, text, data.len);
    if (err)
        return err;
    if (data.len && memchr(text, 0, data.len))
        return fwi_codec_fail(run, FW_EMESSAGE, "a NUL inside a text");
    if (!fwi_utf8_valid(data))
        return fwi_codec_fail(run, FW_EMESSAGE, "bytes that are no UTF-8");
    cJSON *json = cJSON_ParseWithLengthOpts(data.len ? text : "", data.len, &end, false);
    size_t at = end && data.len ? (size_t)(end - text) : 0;
    if (!json)
        return fwi_codec_fail(run, FW_EMESSAGE, "no JSON at byte %zu of %zu", at, data.len);
    while (at < data.len && strchr(" \t\r\n", text[at]))
        at++;
    if (at < data.len) {
        cJSON_Delete(json);
        return fwi_codec_fail(run, FW_EMESSAGE, "more than one value, from byte %zu of %zu", at,
                              data.len);
    }
    *ret_message = json;
    return FW_OK;
}

static void free_message(const void *type, void *message)
{
    (void)type;
    cJSON_Delete(message);
}

/* cJSON prints to any depth, and infinities as null. */
static int check(fwi_codec_run *run, const cJSON *item)
{
    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return fwi_codec_fail(run, FW_EMESSAGE, "JSON has no such number");
    if (!cJSON_IsArray(item) && !cJSON_IsObject(item))
        return FW_OK;
    int err = fwi_codec_enter(run);
    fwi_place place = {.up = run->place};
    run->place = &place;
    for (const cJSON *child = item->child; child && !err; child = child->next, place.index++) {
        place.name = child->string;
        err = check(run, child);
    }
    if (!err)
        run->place = place.up;
    fwi_codec_leave(run);
    return err;
}

static int encode(fwi_codec_run *run, const void *type, const void *message, fwi_buffer *out)
{
    (void)type;
    int err = check(run, message);
    if (err)
        return err;
    char *text = cJSON_PrintUnformatted(message);
    if (!text)
        return UV_ENOMEM;
    err = fwi_buffer_put(out, text, strlen(text));
    cJSON_free(text);
    return err;
}

const fw_codec fwi_codec_json = {
    .name = "json",
    .encode = encode,
    .decode = decode,
    .free_message = free_message,
};
