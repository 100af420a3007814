/* Messages of protobuf-c as JSON, by their descriptors
 * (the mapping: https://protobuf.dev/programming-guides/json/). */
#include "codec/json_value.h"
#include "codec/protobuf.h"

#include <fairway/error.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_NAME_BYTES 256

static int message_to_json(fwi_codec_run *run, const ProtobufCMessage *message, cJSON **ret_json);

static cJSON *make_text64(int64_t value, bool is_signed)
{
    char text[24];
    if (is_signed)
        snprintf(text, sizeof text, "%" PRId64, value);
    else
        snprintf(text, sizeof text, "%" PRIu64, (uint64_t)value);
    return cJSON_CreateString(text);
}

/* With as few digits as bring the same float back. */
static cJSON *make_float(float value)
{
    char text[32];
    if (!isfinite(value))
        return fwi_json_make_double((double)value);
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return cJSON_CreateNumber(strtod(text, NULL));
}

static int compare_values(const void *key, const void *value)
{
    int number = *(const int *)key, other = ((const ProtobufCEnumValue *)value)->value;
    return number < other ? -1 : number > other;
}

/* Not with protobuf-c's own look-up, whose bounds overflow at INT_MAX. */
static cJSON *make_enum(const ProtobufCEnumDescriptor *type, int number)
{
    const ProtobufCEnumValue *value =
        bsearch(&number, type->values, type->n_values, sizeof *value, compare_values);
    return value ? cJSON_CreateString(value->name) : cJSON_CreateNumber(number);
}

/* One value, which lies at p. */
static int value_to_json(fwi_codec_run *run, const ProtobufCFieldDescriptor *field, const void *p,
                         cJSON **ret_json)
{
    const ProtobufCBinaryData *bytes = p;
    const char *text;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        *ret_json = cJSON_CreateNumber(*(const int32_t *)p);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *ret_json = cJSON_CreateNumber(*(const uint32_t *)p);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        *ret_json = make_text64(*(const int64_t *)p, true);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *ret_json = make_text64(*(const int64_t *)p, false);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        *ret_json = make_float(*(const float *)p);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        *ret_json = fwi_json_make_double(*(const double *)p);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *ret_json = cJSON_CreateBool(*(const protobuf_c_boolean *)p);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        *ret_json = make_enum(field->descriptor, *(const int *)p);
        break;
    case PROTOBUF_C_TYPE_STRING:
        text = *(char *const *)p;
        *ret_json = cJSON_CreateString(text ? text : "");
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *ret_json = fwi_json_make_base64((fw_slice){bytes->data, bytes->len});
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_to_json(run, *(ProtobufCMessage *const *)p, ret_json);
    }
    return *ret_json ? FW_OK : UV_ENOMEM;
}

/* Whether a value is what a field without presence has when it is not there. */
static bool is_zero(const ProtobufCFieldDescriptor *field, const void *p)
{
    static const uint8_t zeros[8];
    const char *text;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        text = *(char *const *)p;
        return !text || !*text;
    case PROTOBUF_C_TYPE_BYTES:
        return !((const ProtobufCBinaryData *)p)->len;
    case PROTOBUF_C_TYPE_MESSAGE:
        return !*(void *const *)p;
    default:
        return !memcmp(p, zeros, fwi_protobuf_size(field->type));
    }
}

static bool is_there(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message, *p = base + field->offset;
    bool is_pointer =
        field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(base + field->quantifier_offset) == field->id;
    switch (field->label) {
    case PROTOBUF_C_LABEL_REPEATED:
        return *(const size_t *)(base + field->quantifier_offset) > 0;
    case PROTOBUF_C_LABEL_OPTIONAL:
        if (is_pointer)
            return *(void *const *)p && *(void *const *)p != field->default_value;
        return *(const protobuf_c_boolean *)(base + field->quantifier_offset);
    case PROTOBUF_C_LABEL_REQUIRED:
        return field->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)p;
    case PROTOBUF_C_LABEL_NONE:
        break;
    }
    return !is_zero(field, p);
}

/* Adds an entry of a map under the text of its key; of two with one key the last counts. */
static int add_entry(fwi_codec_run *run, const ProtobufCMessage *entry, cJSON *object)
{
    const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
    const uint8_t *base = (const uint8_t *)entry;
    cJSON *key, *value;
    char room[32];
    const char *text;
    if (fields[1].type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)(base + fields[1].offset))
        return fwi_codec_fail(run, FW_EMESSAGE, "an entry without its value");
    int err = value_to_json(run, &fields[0], base + fields[0].offset, &key);
    if (err)
        return err;
    if (cJSON_IsString(key)) {
        text = key->valuestring;
    } else if (cJSON_IsBool(key)) {
        text = cJSON_IsTrue(key) ? "true" : "false";
    } else {
        snprintf(room, sizeof room, "%.0f", key->valuedouble);
        text = room;
    }
    err = value_to_json(run, &fields[1], base + fields[1].offset, &value);
    if (!err)
        err = fwi_json_add(object, (fw_slice){text, strlen(text)}, value);
    cJSON_Delete(key);
    return err;
}

static int repeated_to_json(fwi_codec_run *run, const ProtobufCMessage *message,
                            const ProtobufCFieldDescriptor *field, cJSON **ret_json)
{
    const uint8_t *base = (const uint8_t *)message;
    size_t count = *(const size_t *)(base + field->quantifier_offset);
    const uint8_t *values = *(uint8_t *const *)(base + field->offset);
    bool is_map = fwi_protobuf_is_map(field);
    cJSON *json = is_map ? cJSON_CreateObject() : cJSON_CreateArray();
    int err = json ? FW_OK : UV_ENOMEM;
    for (size_t i = 0; i < count && !err; i++) {
        const void *p = values + i * fwi_protobuf_size(field->type);
        cJSON *item;
        if (is_map) {
            err = add_entry(run, *(ProtobufCMessage *const *)p, json);
            continue;
        }
        err = value_to_json(run, field, p, &item);
        if (!err)
            err = fwi_json_append(json, item);
    }
    if (err) {
        cJSON_Delete(json);
        return err;
    }
    *ret_json = json;
    return FW_OK;
}

static int fields_to_json(fwi_codec_run *run, const ProtobufCMessage *message, cJSON *object)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char name[MAX_NAME_BYTES];
        cJSON *item;
        if (!is_there(message, field))
            continue;
        int err = field->label == PROTOBUF_C_LABEL_REPEATED
                      ? repeated_to_json(run, message, field, &item)
                      : value_to_json(run, field, (const uint8_t *)message + field->offset, &item);
        fwi_protobuf_json_name(field->name, name, sizeof name);
        if (!err)
            err = fwi_json_add(object, (fw_slice){name, strlen(name)}, item);
        if (err)
            return err;
    }
    return FW_OK;
}

static int message_to_json(fwi_codec_run *run, const ProtobufCMessage *message, cJSON **ret_json)
{
    cJSON *object = cJSON_CreateObject();
    int err = object ? fwi_codec_enter(run) : UV_ENOMEM;
    if (!err) {
        err = fields_to_json(run, message, object);
        fwi_codec_leave(run);
    }
    if (err) {
        cJSON_Delete(object);
        return err;
    }
    *ret_json = object;
    return FW_OK;
}

int fwi_protobuf_to_json(fwi_codec_run *run, const ProtobufCMessage *message, cJSON **ret_json)
{
    return message_to_json(run, message, ret_json);
}
