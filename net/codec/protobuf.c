/*
 * Codec "protobuf", on protobuf-c. Its unpacker goes as deep as the message says and takes memory
 * as it goes, so the message is looked over before, with the reader of proto_wire.h.
 */
#include "codec/protobuf.h"

#include "codec/json_value.h"
#include "codec/proto_wire.h"

#include <ctype.h>
#include <fairway/error.h>
#include <string.h>
#include <uv.h>

static int look_over(fwi_codec_run *run, const ProtobufCMessageDescriptor *type, fw_slice data);

/* How many values are in a packed field. */
static size_t count_packed(const ProtobufCFieldDescriptor *field, fw_slice bytes)
{
    const uint8_t *p = bytes.data;
    size_t count = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return bytes.len / 4;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return bytes.len / 8;
    default:
        for (size_t i = 0; i < bytes.len; i++)
            count += p[i] < 0x80; /* the last byte of a number */
        return count;
    }
}

static int look_at_bytes(fwi_codec_run *run, const ProtobufCFieldDescriptor *field, fw_slice bytes)
{
    int err = FW_OK;
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return look_over(run, field->descriptor, bytes);
    case PROTOBUF_C_TYPE_STRING:
        if (!fwi_json_is_text(bytes))
            err = fwi_codec_fail(run, FW_EMESSAGE, "a text that is no UTF-8, or has a NUL");
        break;
    case PROTOBUF_C_TYPE_BYTES:
        break;
    default:
        err = fwi_codec_count(run, count_packed(field, bytes));
        break;
    }
    return err;
}

/* Depth, number of values, and texts that a C string can hold. */
static int look_over(fwi_codec_run *run, const ProtobufCMessageDescriptor *type, fw_slice data)
{
    fwi_wire_reader reader = {data.data, (const uint8_t *)data.data + data.len};
    fwi_wire_field wire;
    fwi_place place = {.up = run->place};
    int rc = 0, err = fwi_codec_enter(run);
    while (!err && (rc = fwi_wire_next(&reader, &wire)) > 0) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, wire.number);
        err = fwi_codec_count(run, 1);
        if (err || !field || wire.type != FWI_WIRE_BYTES)
            continue;
        place.name = field->name;
        run->place = &place;
        err = look_at_bytes(run, field, wire.bytes);
        if (!err)
            run->place = place.up;
    }
    if (err)
        return err;
    if (rc)
        return fwi_codec_fail(run, rc == FW_EPACKET ? FW_EMESSAGE : rc,
                              "malformed or cut short, %zu bytes before its end",
                              (size_t)(reader.end - reader.at));
    fwi_codec_leave(run);
    return FW_OK;
}

static int decode(fwi_codec_run *run, const void *type, fw_slice data, void **ret_message)
{
    int err = look_over(run, type, data);
    if (err)
        return err;
    static const uint8_t none[1];
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, NULL, data.len, data.len ? data.data : none);
    if (!message)
        return fwi_codec_fail(run, FW_EMESSAGE,
                              "malformed, a required field is missing, or no memory");
    *ret_message = message;
    return FW_OK;
}

static int encode(fwi_codec_run *run, const void *type, const void *message, fwi_buffer *out)
{
    const ProtobufCMessage *own = message;
    uint8_t *room;
    if (own->descriptor != type)
        return fwi_codec_fail(run, UV_EINVAL, "the message is a %s", own->descriptor->name);
    int err = fwi_buffer_grow(out, protobuf_c_message_get_packed_size(own), &room);
    if (err)
        return err;
    if (out->len)
        protobuf_c_message_pack(own, room);
    return FW_OK;
}

static void free_message(const void *type, void *message)
{
    (void)type;
    protobuf_c_message_free_unpacked(message, NULL);
}

static int encode_json(fwi_codec_run *run, const void *type, const cJSON *json, fwi_buffer *out)
{
    ProtobufCMessage *message;
    int err = fwi_protobuf_from_json(run, type, json, &message);
    if (err)
        return err;
    err = encode(run, type, message, out);
    protobuf_c_message_free_unpacked(message, NULL);
    return err;
}

static int decode_json(fwi_codec_run *run, const void *type, fw_slice data, cJSON **ret_json)
{
    void *message;
    int err = decode(run, type, data, &message);
    if (err)
        return err;
    err = fwi_protobuf_to_json(run, message, ret_json);
    protobuf_c_message_free_unpacked(message, NULL);
    return err;
}

bool fwi_protobuf_is_map(const ProtobufCFieldDescriptor *field)
{
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (entry->n_fields != 2 || strcmp(entry->fields[0].name, "key") != 0 ||
        strcmp(entry->fields[1].name, "value") != 0)
        return false;
    for (int i = 0; i < 2; i++) /* as no compiler makes them, but a schema may say */
        if (entry->fields[i].label == PROTOBUF_C_LABEL_REPEATED ||
            entry->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
            return false;
    /* my_field has entries MyFieldEntry. */
    const char *at = entry->short_name;
    bool is_start = true;
    for (const char *p = field->name; *p; p++) {
        if (*p == '_') {
            is_start = true;
            continue;
        }
        if (*at++ != (is_start ? toupper((unsigned char)*p) : *p))
            return false;
        is_start = false;
    }
    return !strcmp(at, "Entry");
}

void fwi_protobuf_json_name(const char *name, char *ret_name, size_t size)
{
    bool is_start = false;
    size_t n = 0;
    for (; *name && n + 1 < size; name++) {
        if (*name == '_') {
            is_start = true;
            continue;
        }
        ret_name[n++] = (char)(is_start ? toupper((unsigned char)*name) : *name);
        is_start = false;
    }
    ret_name[n] = 0;
}

size_t fwi_protobuf_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

const fw_codec fwi_codec_protobuf = {
    .name = "protobuf",
    .is_typed = true,
    .encode = encode,
    .decode = decode,
    .free_message = free_message,
    .encode_json = encode_json,
    .decode_json = decode_json,
};
