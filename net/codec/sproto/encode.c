/* JSON values to sproto (the layout is in reader.h; the JSON rules in ../README.md). */
#include "base/bytes.h"
#include "codec/json_value.h"
#include "codec/sproto/schema.h"
#include "codec/sproto/value.h"

#include <fairway/error.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_INLINE 32766

static int encode_struct(fwi_codec_run *run, const fw_sproto_type *type, const cJSON *json,
                         fwi_buffer *out);

static const cJSON *member(const cJSON *object, const fwi_sproto_field *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field->name);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

/* Reserves a length; end_sized writes what came to stand behind it. */
static int begin_sized(fwi_buffer *out, size_t *ret_at)
{
    uint8_t *room;
    *ret_at = out->len;
    return fwi_buffer_grow(out, 4, &room);
}

static void end_sized(fwi_buffer *out, size_t at)
{
    fwi_put_u32le(out->data + at, (uint32_t)(out->len - at - 4));
}

double fwi_sproto_scale(const fwi_sproto_field *field)
{
    double scale = 1;
    for (unsigned i = 0; i < field->digits; i++)
        scale *= 10;
    return scale;
}

static int get_integer(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                       int64_t *ret_value)
{
    if (!field->is_decimal)
        return fwi_json_get_int64(json, ret_value)
                   ? fwi_codec_fail(run, FW_EMESSAGE, "wants a whole number of 64 bits")
                   : FW_OK;
    double value = cJSON_IsNumber(json) ? round(json->valuedouble * fwi_sproto_scale(field)) : NAN;
    if (!(value >= -0x1p63 && value < 0x1p63))
        return fwi_codec_fail(run, FW_EMESSAGE, "wants a number of %u digits behind the point",
                              field->digits);
    *ret_value = (int64_t)value;
    return FW_OK;
}

static bool is_narrow(int64_t value)
{
    return value >= INT32_MIN && value <= INT32_MAX;
}

static int put_integer(fwi_buffer *out, int64_t value, size_t width)
{
    uint8_t *room;
    int err = fwi_buffer_grow(out, width, &room);
    if (err)
        return err;
    if (width == 4)
        fwi_put_u32le(room, (uint32_t)value);
    else
        fwi_put_u64le(room, (uint64_t)value);
    return FW_OK;
}

static int put_double(fwi_codec_run *run, const cJSON *json, fwi_buffer *out)
{
    double value;
    uint64_t bits;
    if (fwi_json_get_double(json, &value))
        return fwi_codec_fail(run, FW_EMESSAGE, "wants a number");
    memcpy(&bits, &value, sizeof bits);
    return put_integer(out, (int64_t)bits, 8);
}

static int put_bytes(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                     fwi_buffer *out)
{
    fwi_json_bytes bytes;
    bool is_text = field->kind == FWI_SPROTO_STRING;
    int err = is_text ? fwi_json_get_text(json, &bytes) : fwi_json_get_base64(json, &bytes);
    if (err)
        return fwi_codec_fail(run, err,
                              is_text ? "wants a text" : "wants bytes, written in base64");
    err = fwi_buffer_put(out, bytes.bytes.data, bytes.bytes.len);
    fwi_json_bytes_fini(&bytes);
    return err;
}

/* The content of a value's data, without its size. */
static int put_content(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                       fwi_buffer *out)
{
    int64_t value;
    int err;
    switch ((fwi_sproto_kind)field->kind) {
    case FWI_SPROTO_INTEGER:
        err = get_integer(run, field, json, &value);
        return err ? err : put_integer(out, value, is_narrow(value) ? 4 : 8);
    case FWI_SPROTO_DOUBLE:
        return put_double(run, json, out);
    case FWI_SPROTO_STRING:
    case FWI_SPROTO_BINARY:
        return put_bytes(run, field, json, out);
    case FWI_SPROTO_STRUCT:
        return encode_struct(run, field->type, json, out);
    case FWI_SPROTO_BOOLEAN: /* always in the word */
        break;
    }
    return FW_OK;
}

/* ---- arrays ---- */

/* A map's member `key: value` as the struct that it is on the wire, its key in front. The object is
 * put together on the stack, of parts that are lent: it is only read. */
static int put_entry(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *entry,
                     fwi_buffer *out)
{
    cJSON value = *entry;
    cJSON key = {.type = cJSON_String,
                 .string = (char *)field->key->name,
                 .valuestring = entry->string,
                 .next = entry->child};
    if (field->key->kind == FWI_SPROTO_BOOLEAN && !strcmp(entry->string, "true"))
        key.type = cJSON_True;
    else if (field->key->kind == FWI_SPROTO_BOOLEAN && !strcmp(entry->string, "false"))
        key.type = cJSON_False;
    if (field->is_pairs) {
        value.string = (char *)field->type->fields[1]->name;
        value.next = NULL;
        key.next = &value;
    }
    return encode_struct(run, field->type, &(cJSON){.type = cJSON_Object, .child = &key}, out);
}

/* A struct of an array; of a map that is a JSON object, it may lack its key. */
static int put_struct_element(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                              fwi_buffer *out)
{
    bool is_entry = field->key && json->string &&
                    (field->is_pairs || (cJSON_IsObject(json) && !member(json, field->key)));
    return is_entry ? put_entry(run, field, json, out) : encode_struct(run, field->type, json, out);
}

static int put_element(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                       size_t width, fwi_buffer *out)
{
    int64_t value;
    uint8_t byte;
    size_t at;
    int err;
    switch ((fwi_sproto_kind)field->kind) {
    case FWI_SPROTO_INTEGER:
        err = get_integer(run, field, json, &value);
        return err ? err : put_integer(out, value, width);
    case FWI_SPROTO_DOUBLE:
        return put_double(run, json, out);
    case FWI_SPROTO_BOOLEAN:
        if (!cJSON_IsBool(json))
            return fwi_codec_fail(run, FW_EMESSAGE, "wants true or false");
        byte = (uint8_t)cJSON_IsTrue(json);
        return fwi_buffer_put(out, &byte, 1);
    case FWI_SPROTO_STRING:
    case FWI_SPROTO_BINARY:
    case FWI_SPROTO_STRUCT:
        break;
    }
    err = begin_sized(out, &at);
    if (!err)
        err = field->kind == FWI_SPROTO_STRUCT ? put_struct_element(run, field, json, out)
                                               : put_content(run, field, json, out);
    if (!err)
        end_sized(out, at);
    return err;
}

/* Width of an array's elements, 0: they have their own sizes. */
static int get_width(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                     size_t *ret_width)
{
    *ret_width = field->kind == FWI_SPROTO_DOUBLE ? 8 : field->kind == FWI_SPROTO_INTEGER ? 4 : 0;
    if (field->kind != FWI_SPROTO_INTEGER)
        return FW_OK;
    fwi_place place = {.up = run->place};
    run->place = &place;
    int err = FW_OK;
    for (const cJSON *at = json->child; at && !err; at = at->next, place.index++) {
        int64_t value = 0;
        err = get_integer(run, field, at, &value);
        if (!is_narrow(value))
            *ret_width = 8;
    }
    run->place = place.up;
    return err;
}

static int put_array(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                     fwi_buffer *out)
{
    if (!cJSON_IsArray(json) && !(field->key && cJSON_IsObject(json)))
        return fwi_codec_fail(run, FW_EMESSAGE,
                              field->key ? "wants an array or an object" : "wants an array");
    size_t width;
    int err = get_width(run, field, json, &width);
    if (!err && width && json->child)
        err = fwi_buffer_put(out, &(uint8_t){(uint8_t)width}, 1);
    fwi_place place = {.up = run->place};
    run->place = &place;
    for (const cJSON *at = json->child; at && !err; at = at->next, place.index++) {
        place.name = at->string;
        err = fwi_codec_count(run, 1);
        if (!err)
            err = put_element(run, field, at, width, out);
    }
    run->place = place.up;
    return err;
}

/* ---- structs ---- */

/* The word of a field that is there: its value, or 0 if that goes to the data. */
static int get_word(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *json,
                    uint16_t *ret_word)
{
    *ret_word = 0;
    if (field->is_array)
        return FW_OK;
    if (field->kind == FWI_SPROTO_BOOLEAN) {
        if (!cJSON_IsBool(json))
            return fwi_codec_fail(run, FW_EMESSAGE, "wants true or false");
        *ret_word = cJSON_IsTrue(json) ? 4 : 2;
    } else if (field->kind == FWI_SPROTO_INTEGER) {
        int64_t value;
        int err = get_integer(run, field, json, &value);
        if (err)
            return err;
        if (value >= 0 && value <= MAX_INLINE)
            *ret_word = (uint16_t)((value + 1) * 2);
    }
    return FW_OK;
}

/* Says which member the type does not have. */
static int fail_unknown(fwi_codec_run *run, const fw_sproto_type *type, const cJSON *json)
{
    for (const cJSON *at = json->child; at; at = at->next) {
        size_t i = 0;
        while (i < type->field_count && strcmp(type->fields[i]->name, at->string) != 0)
            i++;
        if (i == type->field_count)
            return fwi_codec_fail(run, FW_EMESSAGE, "%s has no field %s", type->name, at->string);
    }
    return fwi_codec_fail(run, FW_EMESSAGE, "a member is there twice");
}

static int put_word(fwi_buffer *out, unsigned word)
{
    uint8_t *room;
    int err = fwi_buffer_grow(out, 2, &room);
    if (!err)
        fwi_put_u16le(room, (uint16_t)word);
    return err;
}

/* Passes over the tags in front of a field. */
static int put_gap(const fwi_sproto_field *field, unsigned gap, fwi_buffer *out)
{
    if (!gap)
        return FW_OK;
    if (!field->splits_gap)
        return put_word(out, (gap - 1) * 2 + 1);
    int err = FW_OK;
    while (gap-- && !err)
        err = put_word(out, 1);
    return err;
}

/* The words of all fields, and their number in front. */
static int put_words(fwi_codec_run *run, const fw_sproto_type *type, const cJSON *json,
                     fwi_buffer *out)
{
    size_t start = out->len, used = 0, members = 0;
    unsigned next_tag = 0;
    int err = put_word(out, 0);
    fwi_place place = {.up = run->place};
    run->place = &place;
    for (size_t i = 0; i < type->field_count && !err; i++) {
        const fwi_sproto_field *field = type->fields[i];
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field->name);
        used += item != NULL;
        if (!item || cJSON_IsNull(item))
            continue;
        uint16_t word = 0;
        place.name = field->name;
        err = fwi_codec_count(run, 1);
        if (!err)
            err = get_word(run, field, item, &word);
        if (!err)
            err = put_gap(field, field->tag - next_tag, out);
        if (!err)
            err = put_word(out, word);
        next_tag = field->tag + 1u;
    }
    run->place = place.up;
    if (err)
        return err;
    for (const cJSON *at = json->child; at; at = at->next)
        members++;
    if (members != used)
        return fail_unknown(run, type, json);
    fwi_put_u16le(out->data + start, (uint16_t)((out->len - start) / 2 - 1));
    return FW_OK;
}

/* The data of the fields that are not in their words. */
static int put_data(fwi_codec_run *run, const fw_sproto_type *type, const cJSON *json,
                    fwi_buffer *out)
{
    fwi_place place = {.up = run->place};
    run->place = &place;
    int err = FW_OK;
    for (size_t i = 0; i < type->field_count && !err; i++) {
        const fwi_sproto_field *field = type->fields[i];
        const cJSON *item = member(json, field);
        uint16_t word;
        size_t at;
        if (!item)
            continue;
        place.name = field->name;
        err = get_word(run, field, item, &word);
        if (!err && word)
            continue;
        if (!err)
            err = begin_sized(out, &at);
        if (!err)
            err = field->is_array ? put_array(run, field, item, out)
                                  : put_content(run, field, item, out);
        if (!err)
            end_sized(out, at);
    }
    run->place = place.up;
    return err;
}

static int encode_struct(fwi_codec_run *run, const fw_sproto_type *type, const cJSON *json,
                         fwi_buffer *out)
{
    if (!cJSON_IsObject(json))
        return fwi_codec_fail(run, FW_EMESSAGE, "wants an object, a %s", type->name);
    int err = fwi_codec_enter(run);
    if (!err)
        err = put_words(run, type, json, out);
    if (!err)
        err = put_data(run, type, json, out);
    if (!err)
        fwi_codec_leave(run);
    return err;
}

int fwi_sproto_encode(fwi_codec_run *run, const void *type, const void *json, fwi_buffer *out)
{
    return encode_struct(run, type, json, out);
}

int fw_sproto_encode(const fw_sproto_type *type, const cJSON *value, const fw_codec_limits *limits,
                     uint8_t **ret_data, size_t *ret_len, fw_codec_error *ret_error)
{
    return fw_codec_encode(&fwi_codec_sproto, type, value, limits, ret_data, ret_len, ret_error);
}
