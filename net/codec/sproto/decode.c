/* sproto to JSON values, on the reader that needs no memory. */
#include "base/bytes.h"
#include "base/map.h"
#include "codec/json_value.h"
#include "codec/sproto/reader.h"
#include "codec/sproto/value.h"

#include <fairway/error.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static int decode_whole(fwi_codec_run *run, const fw_sproto_type *type, fw_slice data,
                        cJSON **ret_json);

static int cut(fwi_codec_run *run)
{
    return fwi_codec_fail(run, FW_EMESSAGE, "cut short, or a length is wrong");
}

static cJSON *make_integer(const fwi_sproto_field *field, int64_t value)
{
    return field->is_decimal ? fwi_json_make_double((double)value / fwi_sproto_scale(field))
                             : fwi_json_make_int64(value);
}

static cJSON *make_double(const uint8_t *p)
{
    uint64_t bits = fwi_get_u64le(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return fwi_json_make_double(value);
}

static int decode_bytes(fwi_codec_run *run, const fwi_sproto_field *field, fw_slice bytes,
                        cJSON **ret_json)
{
    if (field->kind == FWI_SPROTO_STRUCT)
        return decode_whole(run, field->type, bytes, ret_json);
    *ret_json =
        field->kind == FWI_SPROTO_STRING ? fwi_json_make_text(bytes) : fwi_json_make_base64(bytes);
    return *ret_json ? FW_OK : UV_ENOMEM;
}

static int decode_scalar(fwi_codec_run *run, const fwi_sproto_value *value, cJSON **ret_json)
{
    const fwi_sproto_field *field = value->field;
    int64_t integer;
    switch ((fwi_sproto_kind)field->kind) {
    case FWI_SPROTO_INTEGER:
        if (fwi_sproto_get_integer(value, &integer))
            return fwi_codec_fail(run, FW_EMESSAGE, "a number of %zu bytes", value->bytes.len);
        *ret_json = make_integer(field, integer);
        return *ret_json ? FW_OK : UV_ENOMEM;
    case FWI_SPROTO_BOOLEAN:
        if (!value->is_inline)
            return fwi_codec_fail(run, FW_EMESSAGE, "a boolean outside its word");
        *ret_json = cJSON_CreateBool(value->number != 0);
        return *ret_json ? FW_OK : UV_ENOMEM;
    case FWI_SPROTO_DOUBLE:
        if (value->is_inline || value->bytes.len != 8)
            return fwi_codec_fail(run, FW_EMESSAGE, "a double that is not of 8 bytes");
        *ret_json = make_double(value->bytes.data);
        return *ret_json ? FW_OK : UV_ENOMEM;
    case FWI_SPROTO_STRING:
    case FWI_SPROTO_BINARY:
    case FWI_SPROTO_STRUCT:
        break;
    }
    if (value->is_inline)
        return fwi_codec_fail(run, FW_EMESSAGE, "a number where bytes belong");
    return decode_bytes(run, field, value->bytes, ret_json);
}

/* ---- arrays ---- */

/* Elements of one width: integers and doubles behind a byte that says it, booleans. */
static int decode_fixed(fwi_codec_run *run, const fwi_sproto_field *field, fw_slice bytes,
                        cJSON *array)
{
    const uint8_t *p = bytes.data;
    size_t width = 1;
    if (field->kind != FWI_SPROTO_BOOLEAN) {
        if (!bytes.len)
            return FW_OK;
        width = *p++;
        bytes.len--;
        if (width != 8 && (width != 4 || field->kind == FWI_SPROTO_DOUBLE))
            return fwi_codec_fail(run, FW_EMESSAGE, "elements of %zu bytes", width);
        if (bytes.len % width)
            return cut(run);
    }
    int err = fwi_codec_count(run, bytes.len / width);
    for (const uint8_t *end = p + bytes.len; p < end && !err; p += width) {
        if (field->kind == FWI_SPROTO_BOOLEAN)
            err = fwi_json_append(array, cJSON_CreateBool(*p != 0));
        else if (field->kind == FWI_SPROTO_DOUBLE)
            err = fwi_json_append(array, make_double(p));
        else
            err = fwi_json_append(array, make_integer(field, fwi_sproto_integer_at(p, width)));
    }
    return err;
}

static int decode_sized(fwi_codec_run *run, const fwi_sproto_field *field, fw_slice bytes,
                        cJSON *array)
{
    fwi_place place = {.up = run->place};
    fw_slice element;
    int rc, err = FW_OK;
    run->place = &place;
    for (; !err && (rc = fwi_sproto_next_element(&bytes, &element)) != 0; place.index++) {
        cJSON *item;
        err = rc < 0 ? cut(run) : fwi_codec_count(run, 1);
        if (!err)
            err = decode_bytes(run, field, element, &item);
        if (!err)
            err = fwi_json_append(array, item);
    }
    run->place = place.up;
    return err;
}

/* The text under which an element stands in a JSON object. room is for numbers. */
static int get_key(fwi_codec_run *run, const fwi_sproto_field *field, const cJSON *element,
                   char room[32], const char **ret_key)
{
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(element, field->key->name);
    if (!key)
        return fwi_codec_fail(run, FW_EMESSAGE, "without its key %s", field->key->name);
    if (cJSON_IsNumber(key)) {
        snprintf(room, 32, "%lld", (long long)key->valuedouble);
        *ret_key = room;
    } else if (cJSON_IsBool(key)) {
        *ret_key = cJSON_IsTrue(key) ? "true" : "false";
    } else if (cJSON_IsString(key)) {
        *ret_key = key->valuestring;
    } else {
        return fwi_codec_fail(run, FW_EMESSAGE, "its key is no text");
    }
    return FW_OK;
}

/* Puts an element, which it takes, into the object; of two with one key the last counts. */
static int add_entry(fwi_codec_run *run, const fwi_sproto_field *field, cJSON *object,
                     fwi_map *seen, cJSON *element)
{
    char room[32];
    const char *text = NULL;
    void *old;
    int err = get_key(run, field, element, room, &text);
    fw_slice key = {text, err ? 0 : strlen(text)};
    cJSON *value = element;
    if (!err && field->is_pairs) {
        value = cJSON_DetachItemFromObjectCaseSensitive(element, field->type->fields[1]->name);
        if (!value && !(value = cJSON_CreateNull()))
            err = UV_ENOMEM;
    }
    if (!err)
        err = fwi_map_put(seen, key.data, key.len, value, &old);
    if (err) {
        if (value != element)
            cJSON_Delete(value);
        cJSON_Delete(element);
        return err;
    }
    if (old)
        cJSON_Delete(cJSON_DetachItemViaPointer(object, old));
    err = fwi_json_add(object, key, value);
    if (value != element)
        cJSON_Delete(element); /* the key's text lay in it */
    return err;
}

static int decode_map(fwi_codec_run *run, const fwi_sproto_field *field, fw_slice bytes,
                      cJSON *object)
{
    fwi_map seen = {.count = 0};
    fwi_place place = {.up = run->place};
    fw_slice element;
    int rc, err = FW_OK;
    run->place = &place;
    for (; !err && (rc = fwi_sproto_next_element(&bytes, &element)) != 0; place.index++) {
        cJSON *item;
        err = rc < 0 ? cut(run) : fwi_codec_count(run, 1);
        if (!err)
            err = decode_whole(run, field->type, element, &item);
        if (!err)
            err = add_entry(run, field, object, &seen, item);
    }
    fwi_map_fini(&seen);
    run->place = place.up;
    return err;
}

static int decode_array(fwi_codec_run *run, const fwi_sproto_value *value, cJSON **ret_json)
{
    const fwi_sproto_field *field = value->field;
    if (value->is_inline)
        return fwi_codec_fail(run, FW_EMESSAGE, "a number where an array belongs");
    cJSON *json = field->key ? cJSON_CreateObject() : cJSON_CreateArray();
    if (!json)
        return UV_ENOMEM;
    int err;
    if (field->key)
        err = decode_map(run, field, value->bytes, json);
    else if (field->kind >= FWI_SPROTO_STRING && field->kind != FWI_SPROTO_DOUBLE)
        err = decode_sized(run, field, value->bytes, json);
    else
        err = decode_fixed(run, field, value->bytes, json);
    if (err) {
        cJSON_Delete(json);
        return err;
    }
    *ret_json = json;
    return FW_OK;
}

/* ---- structs ---- */

static int decode_fields(fwi_codec_run *run, fwi_sproto_reader *reader, cJSON *object)
{
    fwi_place place = {.up = run->place};
    fwi_sproto_value value;
    int rc;
    while ((rc = fwi_sproto_next(reader, &value)) > 0) {
        cJSON *item;
        const char *name = value.field->name;
        place.name = name;
        run->place = &place;
        int err = fwi_codec_count(run, 1);
        if (!err)
            err = value.field->is_array ? decode_array(run, &value, &item)
                                        : decode_scalar(run, &value, &item);
        if (!err)
            err = fwi_json_add(object, (fw_slice){name, strlen(name)}, item);
        run->place = place.up;
        if (err)
            return err;
    }
    return rc ? cut(run) : FW_OK;
}

int fwi_sproto_decode(fwi_codec_run *run, const fw_sproto_type *type, fw_slice data,
                      cJSON **ret_json, size_t *ret_used)
{
    fwi_sproto_reader reader;
    if (fwi_sproto_reader_init(&reader, type, data))
        return cut(run);
    int err = fwi_codec_enter(run);
    if (err)
        return err;
    cJSON *object = cJSON_CreateObject();
    err = object ? decode_fields(run, &reader, object) : UV_ENOMEM;
    if (err) {
        cJSON_Delete(object);
        return err;
    }
    fwi_codec_leave(run);
    *ret_json = object;
    *ret_used = fwi_sproto_used(&reader);
    return FW_OK;
}

/* A struct that must take all of the bytes. */
static int decode_whole(fwi_codec_run *run, const fw_sproto_type *type, fw_slice data,
                        cJSON **ret_json)
{
    size_t used;
    cJSON *json;
    int err = fwi_sproto_decode(run, type, data, &json, &used);
    if (err)
        return err;
    if (used != data.len) {
        cJSON_Delete(json);
        return fwi_codec_fail(run, FW_EMESSAGE, "%zu bytes are left behind a %s", data.len - used,
                              type->name);
    }
    *ret_json = json;
    return FW_OK;
}

int fw_sproto_decode(const fw_sproto_type *type, const void *data, size_t len,
                     const fw_codec_limits *limits, cJSON **ret_value, size_t *ret_used,
                     fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, limits, ret_error);
    if (len > run.limits.max_bytes)
        return fwi_codec_fail(&run, FW_ELIMIT, "longer than %u bytes", run.limits.max_bytes);
    return fwi_sproto_decode(&run, type, (fw_slice){data, len}, ret_value, ret_used);
}

/* ---- the codec ---- */

static int codec_decode(fwi_codec_run *run, const void *type, fw_slice data, void **ret_message)
{
    cJSON *json = NULL;
    int err = decode_whole(run, type, data, &json);
    if (!err)
        *ret_message = json;
    return err;
}

static void free_message(const void *type, void *message)
{
    (void)type;
    cJSON_Delete(message);
}

const fw_codec fwi_codec_sproto = {
    .name = "sproto",
    .is_typed = true,
    .encode = fwi_sproto_encode,
    .decode = codec_decode,
    .free_message = free_message,
};
