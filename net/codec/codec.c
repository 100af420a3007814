#include "codec/codec.h"

#include "codec/json_value.h"

#include <cjson/cJSON.h>
#include <fairway/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_BYTES    (16u * 1024 * 1024)
#define DEFAULT_MAX_DEPTH    64
#define DEFAULT_MAX_ELEMENTS 100000
#define FIRST_BUFFER_BYTES   128
#define MAX_PLACE_BYTES      128

static const fw_codec *const codecs[] = {&fwi_codec_raw, &fwi_codec_json,
#ifdef FWI_CODEC_MSGPACK
                                         &fwi_codec_msgpack,
#endif
#ifdef FWI_CODEC_PROTOBUF
                                         &fwi_codec_protobuf,
#endif
                                         &fwi_codec_sproto};
static const char *const optional[] = {"msgpack", "protobuf"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

int fw_codec_get(const char *name, const fw_codec **ret_codec)
{
    for (size_t i = 0; i < COUNT(codecs); i++)
        if (!strcmp(codecs[i]->name, name)) {
            *ret_codec = codecs[i];
            return FW_OK;
        }
    for (size_t i = 0; i < COUNT(optional); i++)
        if (!strcmp(optional[i], name))
            return FW_EUNSUPPORTED;
    return FW_EOPTION;
}

const char *const *fw_codec_names(void)
{
    static const char *const names[] = {"raw",      "json",
#ifdef FWI_CODEC_MSGPACK
                                        "msgpack",
#endif
#ifdef FWI_CODEC_PROTOBUF
                                        "protobuf",
#endif
                                        "sproto",   NULL};
    return names;
}

const char *fw_codec_name(const fw_codec *codec)
{
    return codec->name;
}

bool fw_codec_is_typed(const fw_codec *codec)
{
    return codec->is_typed;
}

/* ---- one run ---- */

void fwi_codec_run_init(fwi_codec_run *run, const fw_codec_limits *limits, fw_codec_error *error)
{
    *run = (fwi_codec_run){.error = error};
    if (limits)
        run->limits = *limits;
    if (!run->limits.max_bytes)
        run->limits.max_bytes = DEFAULT_MAX_BYTES;
    if (!run->limits.max_depth)
        run->limits.max_depth = DEFAULT_MAX_DEPTH;
    if (run->limits.max_depth > FWI_CODEC_MAX_DEPTH)
        run->limits.max_depth = FWI_CODEC_MAX_DEPTH;
    if (!run->limits.max_elements)
        run->limits.max_elements = DEFAULT_MAX_ELEMENTS;
    if (error)
        error->text[0] = 0;
}

/* Appends to the text what fits. */
static void append(fw_codec_error *error, const char *text)
{
    size_t len = strlen(error->text), n = strlen(text);
    if (n > sizeof error->text - 1 - len)
        n = sizeof error->text - 1 - len;
    memcpy(error->text + len, text, n);
    error->text[len + n] = 0;
}

static void append_place(fw_codec_error *error, const fwi_place *place)
{
    if (!place)
        return;
    append_place(error, place->up);
    if (place->name) {
        append(error, place->up ? "." : "");
        append(error, place->name);
    } else {
        char index[32];
        snprintf(index, sizeof index, "[%zu]", place->index);
        append(error, index);
    }
}

int fwi_codec_fail(fwi_codec_run *run, int err, const char *format, ...)
{
    fw_codec_error *error = run->error;
    if (!error)
        return err;
    error->text[0] = 0;
    append_place(error, run->place);
    if (strlen(error->text) > MAX_PLACE_BYTES) /* the reason needs room, too */
        memcpy(error->text + MAX_PLACE_BYTES - 3, "...", 4);
    if (run->place)
        append(error, ": ");
    size_t len = strlen(error->text);
    va_list args;
    va_start(args, format);
    vsnprintf(error->text + len, sizeof error->text - len, format, args);
    va_end(args);
    return err;
}

int fwi_codec_count(fwi_codec_run *run, size_t elements)
{
    if (elements > run->limits.max_elements - run->elements)
        return fwi_codec_fail(run, FW_ELIMIT, "more than %u values", run->limits.max_elements);
    run->elements += (uint32_t)elements;
    return FW_OK;
}

int fwi_codec_enter(fwi_codec_run *run)
{
    if (run->depth >= run->limits.max_depth)
        return fwi_codec_fail(run, FW_ELIMIT, "deeper than %u levels", run->limits.max_depth);
    run->depth++;
    return FW_OK;
}

/* ---- output ---- */

int fwi_buffer_grow(fwi_buffer *buffer, size_t len, uint8_t **ret_room)
{
    if (len > buffer->max_len - buffer->len)
        return FW_ELIMIT;
    size_t need = buffer->len + len;
    if (need > buffer->capacity || !buffer->data) {
        size_t capacity = buffer->capacity ? buffer->capacity : FIRST_BUFFER_BYTES;
        while (capacity < need)
            capacity *= 2;
        uint8_t *bigger = realloc(buffer->data, capacity);
        if (!bigger)
            return UV_ENOMEM;
        buffer->data = bigger;
        buffer->capacity = capacity;
    }
    *ret_room = buffer->data + buffer->len;
    buffer->len = need;
    return FW_OK;
}

int fwi_buffer_put(fwi_buffer *buffer, const void *data, size_t len)
{
    uint8_t *room;
    int err = fwi_buffer_grow(buffer, len, &room);
    if (!err && len)
        memcpy(room, data, len);
    return err;
}

/* ---- the interface ---- */

/* Hands the output over, or frees it. */
static int end_output(fwi_codec_run *run, int err, fwi_buffer *out, uint8_t **ret_data,
                      size_t *ret_len)
{
    if (!err && !out->data && !(out->data = malloc(1)))
        err = UV_ENOMEM;
    run->place = NULL; /* its frames have returned */
    if (err) {
        free(out->data);
        if (run->error && !run->error->text[0])
            fwi_codec_fail(run, err, "%s", fw_strerror(err));
        return err;
    }
    *ret_data = out->data;
    *ret_len = out->len;
    return FW_OK;
}

int fw_codec_encode(const fw_codec *codec, const void *type, const void *message,
                    const fw_codec_limits *limits, uint8_t **ret_data, size_t *ret_len,
                    fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, limits, ret_error);
    fwi_buffer out = {.max_len = run.limits.max_bytes};
    int err = codec->is_typed && !type ? fwi_codec_fail(&run, UV_EINVAL, "no type was given")
                                       : codec->encode(&run, type, message, &out);
    return end_output(&run, err, &out, ret_data, ret_len);
}

int fw_codec_encode_json(const fw_codec *codec, const void *type, const struct cJSON *json,
                         const fw_codec_limits *limits, uint8_t **ret_data, size_t *ret_len,
                         fw_codec_error *ret_error)
{
    if (!codec->encode_json)
        return fw_codec_encode(codec, type, json, limits, ret_data, ret_len, ret_error);
    fwi_codec_run run;
    fwi_codec_run_init(&run, limits, ret_error);
    fwi_buffer out = {.max_len = run.limits.max_bytes};
    int err = codec->is_typed && !type ? fwi_codec_fail(&run, UV_EINVAL, "no type was given")
                                       : codec->encode_json(&run, type, json, &out);
    return end_output(&run, err, &out, ret_data, ret_len);
}

static int begin_decoding(const fw_codec *codec, const void *type, size_t len,
                          const fw_codec_limits *limits, fw_codec_error *error, fwi_codec_run *run)
{
    fwi_codec_run_init(run, limits, error);
    if (codec->is_typed && !type)
        return fwi_codec_fail(run, UV_EINVAL, "no type was given");
    if (len > run->limits.max_bytes)
        return fwi_codec_fail(run, FW_ELIMIT, "longer than %u bytes", run->limits.max_bytes);
    return FW_OK;
}

int fw_codec_decode(const fw_codec *codec, const void *type, const void *data, size_t len,
                    const fw_codec_limits *limits, void **ret_message, fw_codec_error *ret_error)
{
    fwi_codec_run run;
    int err = begin_decoding(codec, type, len, limits, ret_error, &run);
    return err ? err : codec->decode(&run, type, (fw_slice){data, len}, ret_message);
}

int fw_codec_decode_json(const fw_codec *codec, const void *type, const void *data, size_t len,
                         const fw_codec_limits *limits, struct cJSON **ret_json,
                         fw_codec_error *ret_error)
{
    fwi_codec_run run;
    int err = begin_decoding(codec, type, len, limits, ret_error, &run);
    if (err)
        return err;
    if (codec->decode_json)
        return codec->decode_json(&run, type, (fw_slice){data, len}, ret_json);
    void *message;
    err = codec->decode(&run, type, (fw_slice){data, len}, &message);
    if (!err)
        *ret_json = message;
    return err;
}

void fw_codec_message_free(const fw_codec *codec, const void *type, void *message)
{
    if (message)
        codec->free_message(type, message);
}
