/*
 * Compiled schemas. A bundle is itself an sproto message, so its schema is one in text, and both
 * directions go through the codec.
 */
#include "codec/json_value.h"
#include "codec/sproto/schema.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char meta_text[] = ".field {\n"
                                "    name 0 : string\n"
                                "    buildin 1 : integer\n"
                                "    type 2 : integer\n"
                                "    tag 3 : integer\n"
                                "    array 4 : boolean\n"
                                "    key 5 : integer\n"
                                "    map 6 : boolean\n"
                                "}\n"
                                ".type {\n"
                                "    name 0 : string\n"
                                "    fields 1 : *field\n"
                                "}\n"
                                ".protocol {\n"
                                "    name 0 : string\n"
                                "    tag 1 : integer\n"
                                "    request 2 : integer\n"
                                "    response 3 : integer\n"
                                "    confirm 4 : boolean\n"
                                "}\n"
                                ".group {\n"
                                "    type 0 : *type\n"
                                "    protocol 1 : *protocol\n"
                                "}\n";

/* The schema of bundles. sproto's own compiler writes protocols by hand, and there passes over two
 * tags with two words; so do we, and our bundles are the same bytes. */
static int make_meta(fw_sproto **ret_meta)
{
    int err = fw_sproto_parse(meta_text, sizeof meta_text - 1, ret_meta, NULL);
    if (err)
        return err;
    for (fw_sproto_type *type = (*ret_meta)->first_type; type; type = type->next)
        for (fwi_sproto_field *field = type->first_field; field; field = field->next)
            field->splits_gap = !strcmp(field->name, "confirm");
    return FW_OK;
}

/* Numbers of the kinds in a bundle; binary is a string with type 1. */
enum { BUILTIN_INTEGER, BUILTIN_BOOLEAN, BUILTIN_STRING, BUILTIN_DOUBLE };

/* ---- writing ---- */

static bool add_number(cJSON *object, const char *name, double number)
{
    return cJSON_AddNumberToObject(object, name, number) != NULL;
}

static bool write_kind(cJSON *object, const fwi_sproto_field *field)
{
    switch ((fwi_sproto_kind)field->kind) {
    case FWI_SPROTO_INTEGER:
        return add_number(object, "buildin", BUILTIN_INTEGER) &&
               (!field->is_decimal || add_number(object, "type", field->digits));
    case FWI_SPROTO_BOOLEAN:
        return add_number(object, "buildin", BUILTIN_BOOLEAN);
    case FWI_SPROTO_STRING:
        return add_number(object, "buildin", BUILTIN_STRING);
    case FWI_SPROTO_BINARY:
        return add_number(object, "buildin", BUILTIN_STRING) && add_number(object, "type", 1);
    case FWI_SPROTO_DOUBLE:
        return add_number(object, "buildin", BUILTIN_DOUBLE);
    case FWI_SPROTO_STRUCT:
        break;
    }
    return add_number(object, "type", field->type->index);
}

static bool write_field(cJSON *fields, const fwi_sproto_field *field)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || !cJSON_AddItemToArray(fields, object)) {
        cJSON_Delete(object);
        return false;
    }
    return cJSON_AddStringToObject(object, "name", field->name) && write_kind(object, field) &&
           add_number(object, "tag", field->tag) &&
           (!field->is_array || cJSON_AddTrueToObject(object, "array")) &&
           (!field->key || add_number(object, "key", field->key->tag)) &&
           (!field->is_pairs || cJSON_AddTrueToObject(object, "map"));
}

static bool write_type(cJSON *types, const fw_sproto_type *type)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || !cJSON_AddItemToArray(types, object)) {
        cJSON_Delete(object);
        return false;
    }
    if (!cJSON_AddStringToObject(object, "name", type->name))
        return false;
    cJSON *fields = type->field_count ? cJSON_AddArrayToObject(object, "fields") : NULL;
    for (size_t i = 0; i < type->field_count; i++)
        if (!fields || !write_field(fields, type->fields[i]))
            return false;
    return true;
}

static bool write_call(cJSON *calls, const fw_sproto_protocol *protocol)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || !cJSON_AddItemToArray(calls, object)) {
        cJSON_Delete(object);
        return false;
    }
    return cJSON_AddStringToObject(object, "name", protocol->name) &&
           add_number(object, "tag", protocol->tag) &&
           (!protocol->request || add_number(object, "request", protocol->request->index)) &&
           (!protocol->response || add_number(object, "response", protocol->response->index)) &&
           (!protocol->is_confirmed || cJSON_AddTrueToObject(object, "confirm"));
}

static cJSON *write_group(const fw_sproto *schema)
{
    cJSON *group = cJSON_CreateObject(), *list = NULL;
    bool is_written = group != NULL;
    if (is_written && schema->type_count)
        is_written = (list = cJSON_AddArrayToObject(group, "type")) != NULL;
    for (size_t i = 0; is_written && i < schema->type_count; i++)
        is_written = write_type(list, schema->types[i]);
    if (is_written && schema->call_count)
        is_written = (list = cJSON_AddArrayToObject(group, "protocol")) != NULL;
    for (size_t i = 0; is_written && i < schema->call_count; i++)
        is_written = write_call(list, &schema->calls[i]->protocol);
    if (is_written)
        return group;
    cJSON_Delete(group);
    return NULL;
}

static const fw_codec_limits bundle_limits = {.max_bytes = FWI_SPROTO_MAX_SCHEMA_BYTES,
                                              .max_elements = 1000000};

int fw_sproto_bundle(const fw_sproto *schema, uint8_t **ret_data, size_t *ret_len)
{
    fw_sproto *meta;
    int err = make_meta(&meta);
    if (err)
        return err;
    cJSON *group = write_group(schema);
    err = group ? fw_sproto_encode(fw_sproto_get_type(meta, "group"), group, &bundle_limits,
                                   ret_data, ret_len, NULL)
                : UV_ENOMEM;
    cJSON_Delete(group);
    fw_sproto_destroy(meta);
    return err;
}

/* ---- reading ---- */

/* A whole number of a member from 0 to most; -1: it is not there; -2: it is another. */
static int64_t get_number(const cJSON *object, const char *name, int64_t most)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    int64_t number;
    if (!item)
        return -1;
    return fwi_json_get_int64(item, &number) || number < 0 || number > most ? -2 : number;
}

static bool get_flag(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* Name of a member in the schema's memory. */
static int read_name(fw_sproto *schema, const cJSON *object, fwi_codec_run *run, char **ret_name)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "name"));
    size_t len = name ? strlen(name) : 0;
    if (!len || len > FWI_SPROTO_MAX_NAME_BYTES)
        return fwi_codec_fail(run, FW_ESCHEMA, "a name is missing or too long");
    *ret_name = fwi_arena_text(&schema->arena, name, len);
    return *ret_name ? FW_OK : UV_ENOMEM;
}

static int read_kind(fwi_sproto_field *field, int64_t builtin, int64_t type, fwi_codec_run *run)
{
    bool is_valid = true;
    switch (builtin) {
    case BUILTIN_INTEGER:
        field->kind = FWI_SPROTO_INTEGER;
        field->is_decimal = type >= 0;
        is_valid = type <= FWI_SPROTO_MAX_DIGITS;
        field->digits = (uint8_t)(field->is_decimal ? type : 0);
        break;
    case BUILTIN_BOOLEAN:
        field->kind = FWI_SPROTO_BOOLEAN;
        break;
    case BUILTIN_STRING:
        field->kind = type == 1 ? FWI_SPROTO_BINARY : FWI_SPROTO_STRING;
        break;
    case BUILTIN_DOUBLE:
        field->kind = FWI_SPROTO_DOUBLE;
        break;
    default:
        field->kind = FWI_SPROTO_STRUCT;
        is_valid = builtin == -1 && type >= 0;
        field->type_index = (uint32_t)type;
        break;
    }
    return is_valid ? FW_OK : fwi_codec_fail(run, FW_ESCHEMA, "%s: unknown type", field->name);
}

static int read_field(fw_sproto *schema, fw_sproto_type *type, const cJSON *object,
                      fwi_codec_run *run)
{
    char *name;
    int err = read_name(schema, object, run, &name);
    if (err)
        return err;
    fwi_sproto_field *field = fwi_sproto_add_field(schema, type, name);
    if (!field)
        return UV_ENOMEM;
    int64_t tag = get_number(object, "tag", FWI_SPROTO_MAX_TAG);
    int64_t key = get_number(object, "key", FWI_SPROTO_MAX_TAG);
    if (tag < 0 || key < -1)
        return fwi_codec_fail(run, FW_ESCHEMA, "%s: no tag, or one out of range", name);
    field->tag = (uint16_t)tag;
    field->is_array = get_flag(object, "array");
    field->key_tag = (int32_t)key;
    field->is_pairs = get_flag(object, "map");
    return read_kind(field, get_number(object, "buildin", INT32_MAX),
                     get_number(object, "type", INT32_MAX), run);
}

static int read_types(fw_sproto *schema, const cJSON *list, fw_sproto_type **indexed,
                      fwi_codec_run *run)
{
    size_t n = 0;
    const cJSON *object, *item;
    cJSON_ArrayForEach(object, list)
    {
        char *name;
        int err = read_name(schema, object, run, &name);
        if (err)
            return err;
        fw_sproto_type *type = fwi_sproto_add_type(schema, name);
        if (!type)
            return UV_ENOMEM;
        indexed[n++] = type;
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(object, "fields"))
        {
            err = read_field(schema, type, item, run);
            if (err)
                return err;
        }
    }
    return FW_OK;
}

static int read_calls(fw_sproto *schema, const cJSON *list, fwi_codec_run *run)
{
    const cJSON *object;
    cJSON_ArrayForEach(object, list)
    {
        char *name;
        int err = read_name(schema, object, run, &name);
        if (err)
            return err;
        fwi_sproto_call *call = fwi_sproto_add_call(schema, name);
        if (!call)
            return UV_ENOMEM;
        int64_t tag = get_number(object, "tag", FWI_SPROTO_MAX_TAG);
        int64_t request = get_number(object, "request", INT32_MAX);
        int64_t response = get_number(object, "response", INT32_MAX);
        if (tag < 0 || request < -1 || response < -1)
            return fwi_codec_fail(run, FW_ESCHEMA, "%s: a number out of range", name);
        call->protocol.tag = (uint16_t)tag;
        call->protocol.is_confirmed = get_flag(object, "confirm");
        call->request_index = (int32_t)request;
        call->response_index = (int32_t)response;
    }
    return FW_OK;
}

static int read_group(fw_sproto *schema, const cJSON *group, fwi_codec_run *run)
{
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(group, "type");
    size_t count = (size_t)cJSON_GetArraySize(types);
    fw_sproto_type **indexed = calloc(count + 1, sizeof *indexed);
    if (!indexed)
        return UV_ENOMEM;
    int err = read_types(schema, types, indexed, run);
    if (!err)
        err = read_calls(schema, cJSON_GetObjectItemCaseSensitive(group, "protocol"), run);
    if (!err)
        err = fwi_sproto_link(schema, indexed, run);
    free(indexed);
    return err;
}

int fw_sproto_load(const void *bundle, size_t len, fw_sproto **ret_schema,
                   fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, &bundle_limits, ret_error);
    fw_sproto *meta, *schema = NULL;
    void *group = NULL;
    int err = make_meta(&meta);
    if (err)
        return err;
    err = fw_codec_decode(&fwi_codec_sproto, fw_sproto_get_type(meta, "group"), bundle, len,
                          &bundle_limits, &group, ret_error);
    if (err == FW_EMESSAGE)
        err = FW_ESCHEMA;
    if (!err && !(schema = fwi_sproto_new()))
        err = UV_ENOMEM;
    if (!err)
        err = read_group(schema, group, &run);
    cJSON_Delete(group);
    fw_sproto_destroy(meta);
    if (err) {
        fw_sproto_destroy(schema);
        return err;
    }
    *ret_schema = schema;
    return FW_OK;
}
