/*
 * Messages of protobuf-c from JSON, by their descriptors. A message under construction is at each
 * step one that protobuf_c_message_free_unpacked can free: counts grow after their elements.
 */
#include "codec/json_value.h"
#include "codec/protobuf.h"

#include <fairway/error.h>
#include <math.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_NAME_BYTES 256

static int fill_message(fwi_codec_run *run, ProtobufCMessage *message, const cJSON *json);

/* A message with nothing set, in memory that protobuf-c frees. */
static ProtobufCMessage *make_message(const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = calloc(1, type->sizeof_message);
    if (message && type->message_init)
        protobuf_c_message_init(type, message);
    else if (message)
        message->descriptor = type; /* of a descriptor set, which has no other beginnings than 0 */
    return message;
}

static int get_signed(fwi_codec_run *run, const cJSON *json, int64_t least, int64_t most,
                      int64_t *ret_value)
{
    if (fwi_json_get_int64(json, ret_value) || *ret_value < least || *ret_value > most)
        return fwi_codec_fail(run, FW_EMESSAGE, "wants a whole number of %d bits",
                              most == INT32_MAX ? 32 : 64);
    return FW_OK;
}

static int get_unsigned(fwi_codec_run *run, const cJSON *json, uint64_t most, uint64_t *ret_value)
{
    if (fwi_json_get_uint64(json, ret_value) || *ret_value > most)
        return fwi_codec_fail(run, FW_EMESSAGE, "wants a whole number of %d bits, not negative",
                              most == UINT32_MAX ? 32 : 64);
    return FW_OK;
}

static int fill_float(fwi_codec_run *run, const ProtobufCFieldDescriptor *field, const cJSON *json,
                      void *p)
{
    double value;
    bool is_float = field->type == PROTOBUF_C_TYPE_FLOAT;
    if (fwi_json_get_double(json, &value) ||
        (is_float && isfinite(value) && fabs(value) > (double)FLT_MAX))
        return fwi_codec_fail(run, FW_EMESSAGE, "wants a number%s", is_float ? " of 32 bits" : "");
    if (is_float)
        *(float *)p = (float)value;
    else
        *(double *)p = value;
    return FW_OK;
}

static int fill_enum(fwi_codec_run *run, const ProtobufCEnumDescriptor *type, const cJSON *json,
                     void *p)
{
    int64_t number;
    if (cJSON_IsString(json)) {
        const ProtobufCEnumValue *value =
            protobuf_c_enum_descriptor_get_value_by_name(type, json->valuestring);
        if (!value)
            return fwi_codec_fail(run, FW_EMESSAGE, "%s has no value %s", type->name,
                                  json->valuestring);
        number = value->value;
    } else {
        int err = get_signed(run, json, INT32_MIN, INT32_MAX, &number);
        if (err)
            return err;
    }
    *(int *)p = (int)number;
    return FW_OK;
}

static int fill_bytes(fwi_codec_run *run, const cJSON *json, ProtobufCBinaryData *p)
{
    fwi_json_bytes bytes;
    int err = fwi_json_get_base64(json, &bytes);
    if (err)
        return fwi_codec_fail(run, err, "wants bytes, written in base64");
    *p = (ProtobufCBinaryData){.data = bytes.own, .len = bytes.bytes.len};
    return FW_OK;
}

static int fill_text(fwi_codec_run *run, const cJSON *json, char **p)
{
    if (!cJSON_IsString(json))
        return fwi_codec_fail(run, FW_EMESSAGE, "wants a text");
    char *text = strdup(json->valuestring);
    if (!text)
        return UV_ENOMEM;
    *p = text;
    return FW_OK;
}

static int fill_nested(fwi_codec_run *run, const ProtobufCMessageDescriptor *type,
                       const cJSON *json, ProtobufCMessage **p)
{
    ProtobufCMessage *message = make_message(type);
    if (!message)
        return UV_ENOMEM;
    *p = message; /* freed with the outer one */
    return fill_message(run, message, json);
}

/* Keys of maps are texts whatever their type. */
static int fill_bool(fwi_codec_run *run, const cJSON *json, protobuf_c_boolean *p)
{
    bool is_true = cJSON_IsTrue(json), is_false = cJSON_IsFalse(json);
    if (cJSON_IsString(json)) {
        is_true = !strcmp(json->valuestring, "true");
        is_false = !strcmp(json->valuestring, "false");
    }
    if (!is_true && !is_false)
        return fwi_codec_fail(run, FW_EMESSAGE, "wants true or false");
    *p = is_true;
    return FW_OK;
}

/* One value, to be put at p. */
static int fill_value(fwi_codec_run *run, const ProtobufCFieldDescriptor *field, const cJSON *json,
                      void *p)
{
    int64_t number = 0;
    uint64_t large = 0;
    int err = fwi_codec_count(run, 1);
    if (err)
        return err;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        err = get_signed(run, json, INT32_MIN, INT32_MAX, &number);
        *(int32_t *)p = (int32_t)number;
        return err;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        err = get_unsigned(run, json, UINT32_MAX, &large);
        *(uint32_t *)p = (uint32_t)large;
        return err;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return get_signed(run, json, INT64_MIN, INT64_MAX, p);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return get_unsigned(run, json, UINT64_MAX, p);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return fill_float(run, field, json, p);
    case PROTOBUF_C_TYPE_BOOL:
        return fill_bool(run, json, p);
    case PROTOBUF_C_TYPE_ENUM:
        return fill_enum(run, field->descriptor, json, p);
    case PROTOBUF_C_TYPE_STRING:
        return fill_text(run, json, p);
    case PROTOBUF_C_TYPE_BYTES:
        return fill_bytes(run, json, p);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return fill_nested(run, field->descriptor, json, p);
}

/* An entry of a map: a message of key and value. */
static int fill_entry(fwi_codec_run *run, const ProtobufCFieldDescriptor *field, const cJSON *json,
                      ProtobufCMessage **p)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    ProtobufCMessage *entry = make_message(type);
    if (!entry)
        return UV_ENOMEM;
    *p = entry;
    uint8_t *base = (uint8_t *)entry;
    cJSON key = {.type = cJSON_String, .valuestring = json->string};
    int err = fill_value(run, &type->fields[0], &key, base + type->fields[0].offset);
    if (!err)
        err = fill_value(run, &type->fields[1], json, base + type->fields[1].offset);
    for (unsigned i = 0; i < 2; i++) /* proto2 has presence for both */
        if (type->fields[i].label == PROTOBUF_C_LABEL_OPTIONAL && type->fields[i].quantifier_offset)
            *(protobuf_c_boolean *)(base + type->fields[i].quantifier_offset) = true;
    return err;
}

static int fill_repeated(fwi_codec_run *run, ProtobufCMessage *message,
                         const ProtobufCFieldDescriptor *field, const cJSON *json)
{
    bool is_map = fwi_protobuf_is_map(field);
    if (is_map ? !cJSON_IsObject(json) : !cJSON_IsArray(json))
        return fwi_codec_fail(run, FW_EMESSAGE, is_map ? "wants an object" : "wants an array");
    size_t count = (size_t)cJSON_GetArraySize(json), size = fwi_protobuf_size(field->type);
    if (!count)
        return FW_OK;
    uint8_t *base = (uint8_t *)message, *values = calloc(count, size);
    if (!values)
        return UV_ENOMEM;
    *(void **)(base + field->offset) = values;
    size_t *done = (size_t *)(base + field->quantifier_offset);
    fwi_place place = {.up = run->place};
    run->place = &place;
    int err = FW_OK;
    for (const cJSON *at = json->child; at && !err; at = at->next, place.index++) {
        void *p = values + place.index * size;
        place.name = at->string;
        err = is_map ? fill_entry(run, field, at, p) : fill_value(run, field, at, p);
        ++*done; /* what is half filled is freed, too */
    }
    run->place = place.up;
    return err;
}

static int fill_field(fwi_codec_run *run, ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, const cJSON *json)
{
    uint8_t *base = (uint8_t *)message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return fill_repeated(run, message, field, json);
    bool is_oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (is_oneof) {
        uint32_t *chosen = (uint32_t *)(base + field->quantifier_offset);
        if (*chosen)
            return fwi_codec_fail(run, FW_EMESSAGE, "another of the same oneof is there, too");
        *chosen = field->id;
    } else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset) {
        *(protobuf_c_boolean *)(base + field->quantifier_offset) = true;
    }
    return fill_value(run, field, json, base + field->offset);
}

/* By the name in the schema or by that in JSON. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                  const char *name)
{
    const ProtobufCFieldDescriptor *found =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    for (unsigned i = 0; !found && i < type->n_fields; i++) {
        char json_name[MAX_NAME_BYTES];
        fwi_protobuf_json_name(type->fields[i].name, json_name, sizeof json_name);
        if (!strcmp(json_name, name))
            found = &type->fields[i];
    }
    return found;
}

static int check_required(fwi_codec_run *run, const ProtobufCMessageDescriptor *type,
                          const bool *is_set)
{
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !is_set[i])
            return fwi_codec_fail(run, FW_EMESSAGE, "the required field %s is missing",
                                  type->fields[i].name);
    return FW_OK;
}

static int fill_fields(fwi_codec_run *run, ProtobufCMessage *message, const cJSON *json,
                       bool *is_set)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    fwi_place place = {.up = run->place};
    for (const cJSON *at = json->child; at; at = at->next) {
        const ProtobufCFieldDescriptor *field = find_field(type, at->string);
        if (!field)
            return fwi_codec_fail(run, FW_EMESSAGE, "%s has no field %s", type->name, at->string);
        if (cJSON_IsNull(at))
            continue;
        place.name = field->name;
        run->place = &place;
        bool *seen = &is_set[field - type->fields];
        int err = *seen ? fwi_codec_fail(run, FW_EMESSAGE, "is there twice")
                        : fill_field(run, message, field, at);
        *seen = true;
        run->place = place.up;
        if (err)
            return err;
    }
    return check_required(run, type, is_set);
}

static int fill_message(fwi_codec_run *run, ProtobufCMessage *message, const cJSON *json)
{
    if (!cJSON_IsObject(json))
        return fwi_codec_fail(run, FW_EMESSAGE, "wants an object, a %s", message->descriptor->name);
    int err = fwi_codec_enter(run);
    if (err)
        return err;
    bool *is_set = calloc(message->descriptor->n_fields + 1, sizeof *is_set);
    err = is_set ? fill_fields(run, message, json, is_set) : UV_ENOMEM;
    free(is_set);
    fwi_codec_leave(run);
    return err;
}

int fwi_protobuf_from_json(fwi_codec_run *run, const ProtobufCMessageDescriptor *type,
                           const cJSON *json, ProtobufCMessage **ret_message)
{
    ProtobufCMessage *message = make_message(type);
    if (!message)
        return UV_ENOMEM;
    int err = fill_message(run, message, json);
    if (err) {
        protobuf_c_message_free_unpacked(message, NULL);
        return err;
    }
    *ret_message = message;
    return FW_OK;
}
