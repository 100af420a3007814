/* Sorts, resolves and checks a schema that was read. */
#include "codec/sproto/schema.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

fw_sproto *fwi_sproto_new(void)
{
    return calloc(1, sizeof(fw_sproto));
}

void fw_sproto_destroy(fw_sproto *schema)
{
    if (!schema)
        return;
    fwi_arena_fini(&schema->arena);
    free(schema);
}

fw_sproto_type *fwi_sproto_add_type(fw_sproto *schema, const char *name)
{
    fw_sproto_type *type = fwi_arena_take(&schema->arena, sizeof *type);
    if (!type)
        return NULL;
    type->name = name;
    type->next = schema->first_type;
    schema->first_type = type;
    schema->type_count++;
    return type;
}

fwi_sproto_field *fwi_sproto_add_field(fw_sproto *schema, fw_sproto_type *type, const char *name)
{
    fwi_sproto_field *field = fwi_arena_take(&schema->arena, sizeof *field);
    if (!field)
        return NULL;
    field->name = name;
    field->key_tag = -1;
    field->next = type->first_field;
    type->first_field = field;
    type->field_count++;
    return field;
}

fwi_sproto_call *fwi_sproto_add_call(fw_sproto *schema, const char *name)
{
    fwi_sproto_call *call = fwi_arena_take(&schema->arena, sizeof *call);
    if (!call)
        return NULL;
    call->protocol.name = name;
    call->request_index = call->response_index = -1;
    call->next = schema->first_call;
    schema->first_call = call;
    schema->call_count++;
    return call;
}

static int fail(fwi_codec_run *run, int line, const char *what, const char *name)
{
    if (line)
        return fwi_codec_fail(run, FW_ESCHEMA, "line %d: %s: %s", line, name, what);
    return fwi_codec_fail(run, FW_ESCHEMA, "%s: %s", name, what);
}

static int compare_types(const void *a, const void *b)
{
    return strcmp((*(fw_sproto_type *const *)a)->name, (*(fw_sproto_type *const *)b)->name);
}

static int compare_calls(const void *a, const void *b)
{
    return (int)(*(fwi_sproto_call *const *)a)->protocol.tag -
           (int)(*(fwi_sproto_call *const *)b)->protocol.tag;
}

static int compare_call_names(const void *a, const void *b)
{
    return strcmp((*(fwi_sproto_call *const *)a)->protocol.name,
                  (*(fwi_sproto_call *const *)b)->protocol.name);
}

static int compare_tags(const void *a, const void *b)
{
    return (int)(*(fwi_sproto_field *const *)a)->tag - (int)(*(fwi_sproto_field *const *)b)->tag;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(fwi_sproto_field *const *)a)->name, (*(fwi_sproto_field *const *)b)->name);
}

static int later(int a, int b)
{
    return a > b ? a : b;
}

/* The fields by tag; no tag and no name twice. */
static int sort_fields(fw_sproto *schema, fw_sproto_type *type, fwi_codec_run *run)
{
    size_t count = type->field_count;
    fwi_sproto_field **fields = fwi_arena_take(&schema->arena, count * sizeof *fields + 1);
    if (!fields)
        return UV_ENOMEM;
    size_t n = 0;
    for (fwi_sproto_field *field = type->first_field; field; field = field->next)
        fields[n++] = field;
    qsort(fields, n, sizeof *fields, compare_names);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(fields[i - 1]->name, fields[i]->name))
            return fail(run, later(fields[i - 1]->line, fields[i]->line),
                        "a second field of this name", fields[i]->name);
    qsort(fields, n, sizeof *fields, compare_tags);
    for (size_t i = 1; i < n; i++)
        if (fields[i - 1]->tag == fields[i]->tag)
            return fail(run, later(fields[i - 1]->line, fields[i]->line),
                        "its tag is another field's", fields[i]->name);
    type->fields = (const fwi_sproto_field **)fields;
    return FW_OK;
}

static int sort_types(fw_sproto *schema, fwi_codec_run *run)
{
    schema->types = fwi_arena_take(&schema->arena, schema->type_count * sizeof(void *) + 1);
    if (!schema->types)
        return UV_ENOMEM;
    size_t n = 0;
    for (fw_sproto_type *type = schema->first_type; type; type = type->next)
        schema->types[n++] = type;
    qsort(schema->types, n, sizeof *schema->types, compare_types);
    for (size_t i = 0; i < n; i++) {
        fw_sproto_type *type = schema->types[i];
        type->index = (uint32_t)i;
        if (i && !strcmp(schema->types[i - 1]->name, type->name))
            return fail(run, later(schema->types[i - 1]->line, type->line),
                        "a second type of this name", type->name);
        int err = sort_fields(schema, type, run);
        if (err)
            return err;
    }
    return FW_OK;
}

static const fw_sproto_type *find_type(const fw_sproto *schema, const char *name)
{
    fw_sproto_type wanted = {.name = name}, *key = &wanted;
    fw_sproto_type **found =
        bsearch(&key, schema->types, schema->type_count, sizeof key, compare_types);
    return found ? *found : NULL;
}

/* A name as it is meant inside a type: A.B.name, then A.name, then name. */
static const fw_sproto_type *look_up(const fw_sproto *schema, const char *inside, const char *name)
{
    char full[2 * FWI_SPROTO_MAX_NAME_BYTES + 2];
    for (size_t len = strlen(inside); len;) {
        snprintf(full, sizeof full, "%.*s.%s", (int)len, inside, name);
        const fw_sproto_type *type = find_type(schema, full);
        if (type)
            return type;
        while (len && inside[len - 1] != '.')
            len--;
        if (len)
            len--;
    }
    return find_type(schema, name);
}

/* What is the key of *T(name) or *T(). */
static int link_key(fwi_sproto_field *field, fwi_codec_run *run)
{
    const fw_sproto_type *type = field->type;
    bool from_bundle = field->key_tag >= 0;
    field->is_pairs |= field->key_name && !*field->key_name;
    if (field->is_pairs && type->field_count != 2)
        return fail(run, field->line, "*T() wants a T with two fields", field->name);
    if (field->is_pairs)
        field->key = type->fields[0];
    for (size_t i = 0; !field->is_pairs && i < type->field_count; i++)
        if (from_bundle ? type->fields[i]->tag == field->key_tag
                        : !strcmp(type->fields[i]->name, field->key_name))
            field->key = type->fields[i];
    if (!field->key)
        return fail(run, field->line, "its key is no field of its type", field->name);
    if (field->key->is_array || field->key->kind == FWI_SPROTO_STRUCT ||
        field->key->kind == FWI_SPROTO_DOUBLE || field->key->is_decimal)
        return fail(run, field->line, "its key is no integer, boolean, string or binary",
                    field->name);
    return FW_OK;
}

static int link_field(fw_sproto *schema, const fw_sproto_type *type, fwi_sproto_field *field,
                      fw_sproto_type *const *indexed, fwi_codec_run *run)
{
    bool has_key = field->key_name || field->key_tag >= 0 || field->is_pairs;
    if (field->kind != FWI_SPROTO_STRUCT)
        return has_key ? fail(run, field->line, "only an array of structs has a key", field->name)
                       : FW_OK;
    if (field->type_name)
        field->type = look_up(schema, type->name, field->type_name);
    else if (field->type_index < schema->type_count)
        field->type = indexed[field->type_index];
    if (!field->type)
        return fail(run, field->line, "its type is not declared", field->name);
    /* A key without an array means nothing, in the original either. */
    return has_key && field->is_array ? link_key(field, run) : FW_OK;
}

static int link_body(const fw_sproto *schema, const fwi_sproto_call *call, const char *name,
                     int32_t index, fw_sproto_type *const *indexed, fwi_codec_run *run,
                     const fw_sproto_type **ret_type)
{
    if (name)
        *ret_type = find_type(schema, name);
    else if (index >= 0 && (size_t)index < schema->type_count)
        *ret_type = indexed[index];
    if ((name || index >= 0) && !*ret_type)
        return fail(run, call->line, "its request or response is not declared",
                    call->protocol.name);
    return FW_OK;
}

static int link_calls(fw_sproto *schema, fw_sproto_type *const *indexed, fwi_codec_run *run)
{
    schema->calls = fwi_arena_take(&schema->arena, schema->call_count * sizeof(void *) + 1);
    if (!schema->calls)
        return UV_ENOMEM;
    size_t n = 0;
    int err = FW_OK;
    for (fwi_sproto_call *call = schema->first_call; call && !err; call = call->next) {
        schema->calls[n++] = call;
        err = link_body(schema, call, call->request_name, call->request_index, indexed, run,
                        &call->protocol.request);
        if (!err)
            err = link_body(schema, call, call->response_name, call->response_index, indexed, run,
                            &call->protocol.response);
    }
    if (err)
        return err;
    qsort(schema->calls, n, sizeof *schema->calls, compare_call_names);
    for (size_t i = 1; i < n; i++)
        if (!compare_call_names(&schema->calls[i - 1], &schema->calls[i]))
            return fail(run, later(schema->calls[i - 1]->line, schema->calls[i]->line),
                        "a second protocol of this name", schema->calls[i]->protocol.name);
    qsort(schema->calls, n, sizeof *schema->calls, compare_calls);
    for (size_t i = 1; i < n; i++)
        if (!compare_calls(&schema->calls[i - 1], &schema->calls[i]))
            return fail(run, later(schema->calls[i - 1]->line, schema->calls[i]->line),
                        "its tag is another protocol's", schema->calls[i]->protocol.name);
    return FW_OK;
}

int fwi_sproto_link(fw_sproto *schema, fw_sproto_type *const *indexed, fwi_codec_run *run)
{
    int err = sort_types(schema, run);
    for (size_t i = 0; !err && i < schema->type_count; i++)
        for (fwi_sproto_field *field = schema->types[i]->first_field; field && !err;
             field = field->next)
            err = link_field(schema, schema->types[i], field, indexed, run);
    return err ? err : link_calls(schema, indexed, run);
}

const fwi_sproto_field *fwi_sproto_field_by_tag(const fw_sproto_type *type, uint32_t tag)
{
    size_t low = 0, high = type->field_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (type->fields[middle]->tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low < type->field_count && type->fields[low]->tag == tag ? type->fields[low] : NULL;
}

const fw_sproto_type *fw_sproto_get_type(const fw_sproto *schema, const char *name)
{
    return find_type(schema, name);
}

const char *fw_sproto_type_name(const fw_sproto_type *type)
{
    return type->name;
}

const fw_sproto_protocol *fw_sproto_get_protocol(const fw_sproto *schema, const char *name)
{
    for (size_t i = 0; i < schema->call_count; i++)
        if (!strcmp(schema->calls[i]->protocol.name, name))
            return &schema->calls[i]->protocol;
    return NULL;
}

const fw_sproto_protocol *fw_sproto_get_protocol_by_tag(const fw_sproto *schema, uint32_t tag)
{
    size_t low = 0, high = schema->call_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (schema->calls[middle]->protocol.tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low < schema->call_count && schema->calls[low]->protocol.tag == tag
               ? &schema->calls[low]->protocol
               : NULL;
}
