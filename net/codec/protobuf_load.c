/*
 * Reads descriptor sets (google/protobuf/descriptor.proto), with the reader of proto_wire.h. First
 * all messages and enums by their names, then the fields, whose types are among them.
 */
#include "codec/json_value.h"
#include "codec/proto_wire.h"
#include "codec/protobuf_schema.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_SET_BYTES    (16 * 1024 * 1024)
#define MAX_NAME_BYTES   255
#define MAX_TYPE_DEPTH   32
#define MAX_MEMBERS      65536 /* of a message or an enum */
#define MAX_FIELD_NUMBER ((1 << 29) - 1)

/* Field numbers of descriptor.proto. */
enum { SET_FILE = 1 };
enum { FILE_PACKAGE = 2, FILE_MESSAGE = 4, FILE_ENUM = 5, FILE_SYNTAX = 12, FILE_EDITION = 14 };
enum { TYPE_NAME = 1, TYPE_FIELD = 2, TYPE_NESTED = 3, TYPE_ENUM = 4, TYPE_ONEOF = 8 };
enum {
    FIELD_NAME = 1,
    FIELD_NUMBER = 3,
    FIELD_LABEL = 4,
    FIELD_TYPE = 5,
    FIELD_TYPE_NAME = 6,
    FIELD_OPTIONS = 8,
    FIELD_ONEOF = 9,
    FIELD_PROTO3_OPTIONAL = 17
};
enum { OPTION_PACKED = 2 };
enum { ENUM_NAME = 1, ENUM_VALUE = 2, VALUE_NAME = 1, VALUE_NUMBER = 2 };

static fwi_wire_reader read_slice(fw_slice bytes)
{
    return (fwi_wire_reader){bytes.data, (const uint8_t *)bytes.data + bytes.len};
}

static bool equals(fw_slice bytes, const char *text)
{
    return bytes.len == strlen(text) && (!bytes.len || !memcmp(bytes.data, text, bytes.len));
}

static int fail(fwi_codec_run *run)
{
    return fwi_codec_fail(run, FW_ESCHEMA, "malformed descriptor set");
}

/* The last value of a field of bytes; empty if it is not there. */
static int find_bytes(fwi_codec_run *run, fw_slice source, uint32_t number, fw_slice *ret_bytes)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    int rc;
    *ret_bytes = (fw_slice){"", 0};
    while ((rc = fwi_wire_next(&reader, &field)) > 0)
        if (field.number == number && field.type == FWI_WIRE_BYTES)
            *ret_bytes = field.bytes;
    return rc ? fail(run) : FW_OK;
}

/* outer.name, or name if outer is empty, in the schema's memory. */
static int join_name(fw_protobuf *schema, fwi_codec_run *run, const char *outer, fw_slice name,
                     char **ret_name)
{
    size_t outer_len = strlen(outer), dot = outer_len > 0;
    if (!name.len || !fwi_json_is_text(name))
        return fwi_codec_fail(run, FW_ESCHEMA, "a name is missing or no text");
    if (outer_len + dot + name.len > MAX_NAME_BYTES)
        return fwi_codec_fail(run, FW_ELIMIT, "a name is longer than %d bytes", MAX_NAME_BYTES);
    char *full = fwi_arena_take(&schema->arena, outer_len + dot + name.len + 1);
    if (!full)
        return UV_ENOMEM;
    memcpy(full, outer, outer_len);
    if (dot)
        full[outer_len] = '.';
    memcpy(full + outer_len + dot, name.data, name.len);
    *ret_name = full;
    return FW_OK;
}

/* Puts a type under its name into the map. */
static int add_named(fwi_codec_run *run, fwi_map *map, const char *name, void *value)
{
    if (fwi_map_get(map, name, strlen(name)))
        return fwi_codec_fail(run, FW_ESCHEMA, "%s is there twice", name);
    return fwi_map_put(map, name, strlen(name), value, NULL);
}

/* How often a field is there, which is how much memory is taken. */
static int count_fields(fwi_codec_run *run, fw_slice source, uint32_t number, size_t *ret_count)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    size_t count = 0;
    int rc;
    while ((rc = fwi_wire_next(&reader, &field)) > 0)
        count += field.number == number && field.type == FWI_WIRE_BYTES;
    if (rc)
        return fail(run);
    if (count > MAX_MEMBERS)
        return fwi_codec_fail(run, FW_ELIMIT, "a type has more than %d members", MAX_MEMBERS);
    *ret_count = count;
    return FW_OK;
}

/* ---- enums ---- */

static int read_value(fw_protobuf *schema, fwi_codec_run *run, fw_slice source,
                      ProtobufCEnumValue *value)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    fw_slice name;
    char *text;
    int rc = find_bytes(run, source, VALUE_NAME, &name);
    if (!rc)
        rc = join_name(schema, run, "", name, &text);
    if (rc)
        return rc;
    value->name = value->c_name = text;
    while ((rc = fwi_wire_next(&reader, &field)) > 0)
        if (field.number == VALUE_NUMBER && field.type == FWI_WIRE_VARINT)
            value->value = (int)(uint32_t)field.varint;
    return rc ? fail(run) : FW_OK;
}

static int read_enum(fw_protobuf *schema, fwi_codec_run *run, const char *outer, fw_slice source)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    fw_slice short_name;
    char *name;
    size_t most, count = 0;
    int rc = find_bytes(run, source, ENUM_NAME, &short_name);
    if (!rc)
        rc = join_name(schema, run, outer, short_name, &name);
    if (!rc)
        rc = count_fields(run, source, ENUM_VALUE, &most);
    if (rc)
        return rc;
    ProtobufCEnumDescriptor *type = fwi_arena_take(&schema->arena, sizeof *type);
    ProtobufCEnumValue *values = fwi_arena_take(&schema->arena, (most + 1) * sizeof *values);
    if (!type || !values)
        return UV_ENOMEM;
    type->magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC;
    type->name = type->short_name = type->c_name = name;
    type->package_name = "";
    while ((rc = fwi_wire_next(&reader, &field)) > 0)
        if (field.number == ENUM_VALUE && field.type == FWI_WIRE_BYTES) {
            rc = read_value(schema, run, field.bytes, &values[count++]);
            if (rc)
                return rc;
        }
    if (rc)
        return fail(run);
    rc = fwi_protobuf_lay_out_enum(schema, type, values, count, run);
    return rc ? rc : add_named(run, &schema->enums, name, type);
}

/* ---- messages ---- */

static int read_type(fw_protobuf *schema, fwi_codec_run *run, const char *outer, fw_slice source,
                     bool is_proto3, unsigned depth)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    fw_slice short_name;
    char *name;
    if (depth > MAX_TYPE_DEPTH)
        return fwi_codec_fail(run, FW_ELIMIT, "types in more than %d types", MAX_TYPE_DEPTH);
    int rc = find_bytes(run, source, TYPE_NAME, &short_name);
    if (!rc)
        rc = join_name(schema, run, outer, short_name, &name);
    if (rc)
        return rc;
    fwi_protobuf_type *type = fwi_arena_take(&schema->arena, sizeof *type);
    if (!type)
        return UV_ENOMEM;
    type->type.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC;
    type->type.name = type->type.c_name = name;
    type->type.short_name = name + strlen(name) - short_name.len;
    type->type.package_name = "";
    type->source = source;
    type->is_proto3 = is_proto3;
    type->next = schema->first;
    schema->first = type;
    rc = add_named(run, &schema->types, name, type);
    while (!rc && (rc = fwi_wire_next(&reader, &field)) > 0) {
        rc = FW_OK;
        if (field.type == FWI_WIRE_BYTES && field.number == TYPE_NESTED)
            rc = read_type(schema, run, name, field.bytes, is_proto3, depth + 1);
        else if (field.type == FWI_WIRE_BYTES && field.number == TYPE_ENUM)
            rc = read_enum(schema, run, name, field.bytes);
    }
    return rc == FW_EPACKET ? fail(run) : rc;
}

static int read_file(fw_protobuf *schema, fwi_codec_run *run, fw_slice source)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    fw_slice package, syntax;
    char *outer = NULL;
    int rc = find_bytes(run, source, FILE_PACKAGE, &package);
    if (!rc)
        rc = find_bytes(run, source, FILE_SYNTAX, &syntax);
    if (!rc && package.len)
        rc = join_name(schema, run, "", package, &outer);
    while (!rc && (rc = fwi_wire_next(&reader, &field)) > 0) {
        rc = FW_OK;
        if (field.number == FILE_EDITION)
            rc = fwi_codec_fail(run, FW_ESCHEMA, "editions are not supported");
        else if (field.type == FWI_WIRE_BYTES && field.number == FILE_MESSAGE)
            rc = read_type(schema, run, outer ? outer : "", field.bytes, equals(syntax, "proto3"),
                           0);
        else if (field.type == FWI_WIRE_BYTES && field.number == FILE_ENUM)
            rc = read_enum(schema, run, outer ? outer : "", field.bytes);
    }
    return rc == FW_EPACKET ? fail(run) : rc;
}

/* ---- fields ---- */

/* descriptor.proto's numbers of types; -1: not supported. */
static int type_of(uint64_t number)
{
    static const int8_t types[] = {
        -1,
        PROTOBUF_C_TYPE_DOUBLE,
        PROTOBUF_C_TYPE_FLOAT,
        PROTOBUF_C_TYPE_INT64,
        PROTOBUF_C_TYPE_UINT64,
        PROTOBUF_C_TYPE_INT32,
        PROTOBUF_C_TYPE_FIXED64,
        PROTOBUF_C_TYPE_FIXED32,
        PROTOBUF_C_TYPE_BOOL,
        PROTOBUF_C_TYPE_STRING,
        -1 /* group */,
        PROTOBUF_C_TYPE_MESSAGE,
        PROTOBUF_C_TYPE_BYTES,
        PROTOBUF_C_TYPE_UINT32,
        PROTOBUF_C_TYPE_ENUM,
        PROTOBUF_C_TYPE_SFIXED32,
        PROTOBUF_C_TYPE_SFIXED64,
        PROTOBUF_C_TYPE_SINT32,
        PROTOBUF_C_TYPE_SINT64,
    };
    return number < sizeof types ? types[number] : -1;
}

static bool can_be_packed(ProtobufCType type)
{
    return type != PROTOBUF_C_TYPE_STRING && type != PROTOBUF_C_TYPE_BYTES &&
           type != PROTOBUF_C_TYPE_MESSAGE;
}

/* A FieldDescriptorProto. */
typedef struct field_source {
    uint64_t number, label, type, oneof;
    bool has_oneof, is_proto3_optional, has_packed, is_packed;
    fw_slice name, type_name;
} field_source;

static int read_options(fwi_codec_run *run, fw_slice source, field_source *ret_field)
{
    fwi_wire_reader reader = read_slice(source);
    fwi_wire_field field;
    int rc;
    while ((rc = fwi_wire_next(&reader, &field)) > 0)
        if (field.number == OPTION_PACKED && field.type == FWI_WIRE_VARINT) {
            ret_field->has_packed = true;
            ret_field->is_packed = field.varint != 0;
        }
    return rc ? fail(run) : FW_OK;
}

static void take_number(const fwi_wire_field *field, field_source *source)
{
    switch (field->number) {
    case FIELD_NUMBER:
        source->number = field->varint;
        break;
    case FIELD_LABEL:
        source->label = field->varint;
        break;
    case FIELD_TYPE:
        source->type = field->varint;
        break;
    case FIELD_ONEOF:
        source->has_oneof = true;
        source->oneof = field->varint;
        break;
    case FIELD_PROTO3_OPTIONAL:
        source->is_proto3_optional = field->varint != 0;
        break;
    default:
        break;
    }
}

static int read_field(fwi_codec_run *run, fw_slice bytes, field_source *ret_source)
{
    fwi_wire_reader reader = read_slice(bytes);
    fwi_wire_field field;
    field_source source = {.name = {"", 0}, .type_name = {"", 0}};
    int rc, err = FW_OK;
    while (!err && (rc = fwi_wire_next(&reader, &field)) != 0) {
        if (rc < 0)
            err = fail(run);
        else if (field.type == FWI_WIRE_VARINT)
            take_number(&field, &source);
        else if (field.type == FWI_WIRE_BYTES && field.number == FIELD_NAME)
            source.name = field.bytes;
        else if (field.type == FWI_WIRE_BYTES && field.number == FIELD_TYPE_NAME)
            source.type_name = field.bytes;
        else if (field.type == FWI_WIRE_BYTES && field.number == FIELD_OPTIONS)
            err = read_options(run, field.bytes, &source);
    }
    if (!err)
        *ret_source = source;
    return err;
}

static int set_label(fwi_codec_run *run, const field_source *source, bool is_proto3,
                     ProtobufCFieldDescriptor *field)
{
    enum { OPTIONAL = 1, REQUIRED = 2, REPEATED = 3 };
    if (source->label == REPEATED) {
        field->label = PROTOBUF_C_LABEL_REPEATED;
        bool is_packed = source->has_packed ? source->is_packed : is_proto3;
        if (is_packed && can_be_packed(field->type))
            field->flags |= PROTOBUF_C_FIELD_FLAG_PACKED;
    } else if (source->label == REQUIRED) {
        field->label = PROTOBUF_C_LABEL_REQUIRED;
    } else if (source->label != OPTIONAL) {
        return fail(run);
    } else if (is_proto3 && !source->is_proto3_optional) {
        field->label = PROTOBUF_C_LABEL_NONE;
    } else {
        field->label = PROTOBUF_C_LABEL_OPTIONAL;
    }
    return FW_OK;
}

static int make_field(fw_protobuf *schema, fwi_codec_run *run, const fwi_protobuf_type *type,
                      const field_source *source, size_t oneofs, fwi_protobuf_field *ret_field)
{
    ProtobufCFieldDescriptor *field = &ret_field->field;
    char *name;
    int kind = type_of(source->type), err = join_name(schema, run, "", source->name, &name);
    if (err)
        return err;
    if (kind < 0)
        return fwi_codec_fail(run, FW_ESCHEMA, "%s.%s: type %llu is not supported", type->type.name,
                              name, (unsigned long long)source->type);
    if (!source->number || source->number > MAX_FIELD_NUMBER)
        return fwi_codec_fail(run, FW_ESCHEMA, "%s.%s: its number is out of range", type->type.name,
                              name);
    field->name = name;
    field->id = (uint32_t)source->number;
    field->type = (ProtobufCType)kind;
    err = set_label(run, source, type->is_proto3, field);
    if (err)
        return err;
    if (kind == PROTOBUF_C_TYPE_MESSAGE || kind == PROTOBUF_C_TYPE_ENUM) {
        fw_slice full = source->type_name;
        if (full.len && *(const char *)full.data == '.')
            full = (fw_slice){(const char *)full.data + 1, full.len - 1};
        field->descriptor = fwi_map_get(
            kind == PROTOBUF_C_TYPE_ENUM ? &schema->enums : &schema->types, full.data, full.len);
        if (!field->descriptor)
            return fwi_codec_fail(run, FW_ESCHEMA, "%s.%s: its type is not in the set",
                                  type->type.name, name);
    }
    /* A proto3 `optional` has a oneof of its own, which is none. */
    bool is_member = source->has_oneof && !source->is_proto3_optional;
    if (is_member && (source->oneof >= oneofs || source->label != 1))
        return fail(run);
    ret_field->oneof = is_member ? (int)source->oneof : -1;
    return FW_OK;
}

static int read_fields(fw_protobuf *schema, fwi_codec_run *run, fwi_protobuf_type *type)
{
    size_t most, oneofs, count = 0;
    int err = count_fields(run, type->source, TYPE_FIELD, &most);
    if (!err)
        err = count_fields(run, type->source, TYPE_ONEOF, &oneofs);
    if (err)
        return err;
    fwi_protobuf_field *fields = calloc(most + 1, sizeof *fields);
    if (!fields)
        return UV_ENOMEM;
    fwi_wire_reader reader = read_slice(type->source);
    fwi_wire_field field;
    while (!err && count < most && fwi_wire_next(&reader, &field) > 0) {
        field_source source;
        if (field.number != TYPE_FIELD || field.type != FWI_WIRE_BYTES)
            continue;
        err = read_field(run, field.bytes, &source);
        if (!err)
            err = make_field(schema, run, type, &source, oneofs, &fields[count++]);
    }
    if (!err)
        err = fwi_protobuf_lay_out(schema, type, fields, count, oneofs, run);
    free(fields);
    return err;
}

/* ---- the set ---- */

static int read_set(fw_protobuf *schema, fwi_codec_run *run, fw_slice set)
{
    fwi_wire_reader reader = read_slice(set);
    fwi_wire_field field;
    int rc = FW_OK;
    while (!rc && (rc = fwi_wire_next(&reader, &field)) > 0)
        rc = field.number == SET_FILE && field.type == FWI_WIRE_BYTES
                 ? read_file(schema, run, field.bytes)
                 : FW_OK;
    if (rc)
        return rc == FW_EPACKET ? fail(run) : rc;
    if (!schema->first)
        return fwi_codec_fail(run, FW_ESCHEMA, "a descriptor set without a message");
    for (fwi_protobuf_type *type = schema->first; type && !rc; type = type->next)
        rc = read_fields(schema, run, type);
    return rc;
}

int fw_protobuf_load(const void *set, size_t len, fw_protobuf **ret_schema,
                     fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, NULL, ret_error);
    if (len > MAX_SET_BYTES)
        return fwi_codec_fail(&run, FW_ELIMIT, "longer than %d bytes", MAX_SET_BYTES);
    fw_protobuf *schema = calloc(1, sizeof *schema);
    if (!schema)
        return UV_ENOMEM;
    int err = read_set(schema, &run, (fw_slice){set, len});
    if (err) {
        fw_protobuf_destroy(schema);
        return err;
    }
    *ret_schema = schema;
    return FW_OK;
}

void fw_protobuf_destroy(fw_protobuf *schema)
{
    if (!schema)
        return;
    fwi_map_fini(&schema->types);
    fwi_map_fini(&schema->enums);
    fwi_arena_fini(&schema->arena);
    free(schema);
}

const ProtobufCMessageDescriptor *fw_protobuf_get_type(const fw_protobuf *schema, const char *name)
{
    const fwi_protobuf_type *type = fwi_map_get(&schema->types, name, strlen(name));
    return type ? &type->type : NULL;
}
