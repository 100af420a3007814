/*
 * Descriptors for protobuf-c as its compiler would have written them. The fields of a message lie
 * behind its head, 8 bytes or more each; the members of a oneof share their place, which protobuf-c
 * relies on.
 */
#include "codec/protobuf.h"
#include "codec/protobuf_schema.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define ALIGNMENT 8

static int compare_ids(const void *a, const void *b)
{
    uint32_t left = ((const fwi_protobuf_field *)a)->field.id;
    uint32_t right = ((const fwi_protobuf_field *)b)->field.id;
    return left < right ? -1 : left > right;
}

/* The next place in memory. */
static unsigned take(size_t *size, size_t bytes)
{
    size_t at = *size;
    *size += (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    return (unsigned)at;
}

/* Where the case and the value of a oneof lie; 0: not yet anywhere. */
typedef struct oneof_place {
    unsigned which, value;
} oneof_place;

static void place_field(ProtobufCFieldDescriptor *field, oneof_place *oneof, size_t *size)
{
    bool is_pointer =
        field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (oneof) {
        if (!oneof->which) {
            oneof->which = take(size, sizeof(uint32_t));
            oneof->value = take(size, sizeof(ProtobufCBinaryData)); /* the largest */
        }
        field->flags |= PROTOBUF_C_FIELD_FLAG_ONEOF;
        field->quantifier_offset = oneof->which;
        field->offset = oneof->value;
    } else if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        field->quantifier_offset = take(size, sizeof(size_t));
        field->offset = take(size, sizeof(void *));
    } else {
        if (field->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer)
            field->quantifier_offset = take(size, sizeof(protobuf_c_boolean));
        field->offset = take(size, fwi_protobuf_size(field->type));
    }
}

typedef struct named {
    const char *name;
    unsigned index;
} named;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* Sorts by name; no name may be there twice. */
static int sort_names(named *names, size_t count, fwi_codec_run *run, const char *inside)
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1].name, names[i].name))
            return fwi_codec_fail(run, FW_ESCHEMA, "%s has %s twice", inside, names[i].name);
    return FW_OK;
}

/* Runs of numbers that follow each other, and behind them the end. number(i) grows with i. */
static ProtobufCIntRange *make_ranges(fw_protobuf *schema, const int *numbers, size_t count,
                                      unsigned *ret_count)
{
    ProtobufCIntRange *ranges = fwi_arena_take(&schema->arena, (count + 1) * sizeof *ranges);
    if (!ranges)
        return NULL;
    unsigned n = 0;
    for (size_t i = 0; i < count; i++)
        if (!i || (int64_t)numbers[i - 1] + 1 != numbers[i])
            ranges[n++] = (ProtobufCIntRange){numbers[i], (unsigned)i};
    ranges[n] = (ProtobufCIntRange){0, (unsigned)count};
    *ret_count = n;
    return ranges;
}

static int index_fields(fw_protobuf *schema, ProtobufCMessageDescriptor *type, fwi_codec_run *run)
{
    size_t count = type->n_fields;
    named *names = fwi_arena_take(&schema->arena, (count + 1) * sizeof *names);
    unsigned *by_name = fwi_arena_take(&schema->arena, (count + 1) * sizeof *by_name);
    int *ids = fwi_arena_take(&schema->arena, (count + 1) * sizeof *ids);
    if (!names || !by_name || !ids)
        return UV_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        names[i] = (named){type->fields[i].name, (unsigned)i};
        ids[i] = (int)type->fields[i].id;
    }
    int err = sort_names(names, count, run, type->name);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        by_name[i] = names[i].index;
    type->fields_sorted_by_name = by_name;
    type->field_ranges = make_ranges(schema, ids, count, &type->n_field_ranges);
    return type->field_ranges ? FW_OK : UV_ENOMEM;
}

int fwi_protobuf_lay_out(fw_protobuf *schema, fwi_protobuf_type *type, fwi_protobuf_field *fields,
                         size_t count, size_t oneofs, fwi_codec_run *run)
{
    ProtobufCFieldDescriptor *list = fwi_arena_take(&schema->arena, (count + 1) * sizeof *list);
    oneof_place *places = fwi_arena_take(&schema->arena, (oneofs + 1) * sizeof *places);
    if (!list || !places)
        return UV_ENOMEM;
    size_t size = sizeof(ProtobufCMessage);
    qsort(fields, count, sizeof *fields, compare_ids);
    for (size_t i = 0; i < count; i++) {
        if (i && fields[i - 1].field.id == fields[i].field.id)
            return fwi_codec_fail(run, FW_ESCHEMA, "%s has the number %u twice", type->type.name,
                                  fields[i].field.id);
        list[i] = fields[i].field;
        place_field(&list[i], fields[i].oneof < 0 ? NULL : &places[fields[i].oneof], &size);
    }
    type->type.sizeof_message = size;
    type->type.n_fields = (unsigned)count;
    type->type.fields = list;
    return index_fields(schema, &type->type, run);
}

static int compare_values(const void *a, const void *b)
{
    int left = ((const ProtobufCEnumValue *)a)->value;
    int right = ((const ProtobufCEnumValue *)b)->value;
    return left < right ? -1 : left > right;
}

int fwi_protobuf_lay_out_enum(fw_protobuf *schema, ProtobufCEnumDescriptor *type,
                              ProtobufCEnumValue *values, size_t count, fwi_codec_run *run)
{
    ProtobufCEnumValueIndex *by_name =
        fwi_arena_take(&schema->arena, (count + 1) * sizeof *by_name);
    named *names = fwi_arena_take(&schema->arena, (count + 1) * sizeof *names);
    int *numbers = fwi_arena_take(&schema->arena, (count + 1) * sizeof *numbers);
    if (!by_name || !names || !numbers)
        return UV_ENOMEM;
    qsort(values, count, sizeof *values, compare_values);
    size_t n = 0; /* of two names for one number the values keep one */
    for (size_t i = 0; i < count; i++) {
        if (!n || values[n - 1].value != values[i].value) {
            const char *name = values[i].name;
            values[n] = values[i];
            values[n].name = name;
            numbers[n++] = values[i].value;
            names[i] = (named){name, (unsigned)n - 1};
        } else {
            names[i] = (named){values[i].name, (unsigned)n - 1};
        }
    }
    int err = sort_names(names, count, run, type->name);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        by_name[i] = (ProtobufCEnumValueIndex){names[i].name, names[i].index};
    type->n_values = (unsigned)n;
    type->values = values;
    type->n_value_names = (unsigned)count;
    type->values_by_name = by_name;
    type->value_ranges = make_ranges(schema, numbers, n, &type->n_value_ranges);
    return type->value_ranges ? FW_OK : UV_ENOMEM;
}
