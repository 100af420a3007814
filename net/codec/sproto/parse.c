/*
 * Schema text. A hand-written recursive descent over:
 *
 *     schema   = { type | protocol }
 *     type     = "." name "{" { field | type } "}"
 *     field    = name tag ":" ["*"] typename [ "(" ( digits | name | ) ")" ]
 *     protocol = name tag "{" { ( "request" | "response" ) ( typename | "{" ... "}" | "nil" ) } "}"
 *
 * with blanks and comments (# to the end of the line) between words, and none before "(".
 */
#include "codec/sproto/schema.h"

#include <ctype.h>
#include <fairway/error.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#define MAX_TYPE_DEPTH 32

typedef struct cursor {
    const char *at, *end;
    int line;
    unsigned depth;
    fw_sproto *schema;
    fwi_codec_run *run;
} cursor;

static int parse_members(cursor *parser, fw_sproto_type *type);

static int fail(cursor *parser, const char *wanted)
{
    if (parser->at == parser->end)
        return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: the text ends, but %s is missing",
                              parser->line, wanted);
    char c = *parser->at;
    if (!isprint((unsigned char)c))
        return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: %s is missing", parser->line,
                              wanted);
    return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: wants %s, not '%c'", parser->line,
                          wanted, c);
}

static char peek(const cursor *parser)
{
    return parser->at < parser->end ? *parser->at : 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Passes over blanks and comments. */
static void skip_blanks(cursor *parser)
{
    while (parser->at < parser->end) {
        if (*parser->at == '#') {
            while (parser->at < parser->end && *parser->at != '\n')
                parser->at++;
        } else if (is_blank(*parser->at)) {
            parser->line += *parser->at++ == '\n';
        } else {
            return;
        }
    }
}

static bool is_name_start(char c)
{
    return c == '_' || isalpha((unsigned char)c);
}

static bool is_name(char c)
{
    return c == '_' || isalnum((unsigned char)c);
}

/* Takes a character if it is the next one. */
static bool take(cursor *parser, char c)
{
    if (peek(parser) != c)
        return false;
    parser->at++;
    return true;
}

static int parse_name(cursor *parser, fw_slice *ret_name)
{
    const char *from = parser->at;
    if (!is_name_start(peek(parser)))
        return fail(parser, "a name");
    while (is_name(peek(parser)))
        parser->at++;
    if (parser->at - from > FWI_SPROTO_MAX_NAME_BYTES)
        return fwi_codec_fail(parser->run, FW_ELIMIT, "line %d: a name is longer than %d bytes",
                              parser->line, FWI_SPROTO_MAX_NAME_BYTES);
    *ret_name = (fw_slice){from, (size_t)(parser->at - from)};
    return FW_OK;
}

/* A dotted name, in the schema's memory. */
static int parse_type_name(cursor *parser, char **ret_name)
{
    const char *from = parser->at;
    fw_slice part;
    do {
        int err = parse_name(parser, &part);
        if (err)
            return err;
    } while (take(parser, '.'));
    if (parser->at - from > FWI_SPROTO_MAX_NAME_BYTES)
        return fwi_codec_fail(parser->run, FW_ELIMIT, "line %d: a name is longer than %d bytes",
                              parser->line, FWI_SPROTO_MAX_NAME_BYTES);
    *ret_name = fwi_arena_text(&parser->schema->arena, from, (size_t)(parser->at - from));
    return *ret_name ? FW_OK : UV_ENOMEM;
}

static int parse_number(cursor *parser, unsigned most, unsigned *ret_number)
{
    unsigned number = 0;
    if (!isdigit((unsigned char)peek(parser)))
        return fail(parser, "a number");
    for (; isdigit((unsigned char)peek(parser)); parser->at++) {
        number = number * 10 + (unsigned)(*parser->at - '0');
        if (number > most)
            return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: a number over %u",
                                  parser->line, most);
    }
    *ret_number = number;
    return FW_OK;
}

/* name blanks tag: the start of a field and of a protocol. */
static int parse_name_and_tag(cursor *parser, fw_slice *ret_name, uint16_t *ret_tag)
{
    unsigned tag;
    int err = parse_name(parser, ret_name);
    if (err)
        return err;
    skip_blanks(parser);
    err = parse_number(parser, FWI_SPROTO_MAX_TAG, &tag);
    if (err)
        return err;
    *ret_tag = (uint16_t)tag;
    skip_blanks(parser);
    return FW_OK;
}

/* outer.name in the schema's memory; outer NULL: name. */
static int join_name(cursor *parser, const char *outer, fw_slice name, char **ret_name)
{
    size_t outer_len = outer ? strlen(outer) + 1 : 0;
    if (outer_len + name.len > FWI_SPROTO_MAX_NAME_BYTES)
        return fwi_codec_fail(parser->run, FW_ELIMIT, "line %d: a name is longer than %d bytes",
                              parser->line, FWI_SPROTO_MAX_NAME_BYTES);
    char *full = fwi_arena_take(&parser->schema->arena, outer_len + name.len + 1);
    if (!full)
        return UV_ENOMEM;
    if (outer) {
        memcpy(full, outer, outer_len - 1);
        full[outer_len - 1] = '.';
    }
    memcpy(full + outer_len, name.data, name.len);
    *ret_name = full;
    return FW_OK;
}

/* "{" members "}" as a type of its own. */
static int parse_struct(cursor *parser, const char *outer, fw_slice name, char **ret_name)
{
    char *full = NULL;
    int err = join_name(parser, outer, name, &full);
    if (err)
        return err;
    fw_sproto_type *type = fwi_sproto_add_type(parser->schema, full);
    if (!type)
        return UV_ENOMEM;
    type->line = parser->line;
    if (ret_name)
        *ret_name = full;
    if (!take(parser, '{'))
        return fail(parser, "'{'");
    if (++parser->depth > MAX_TYPE_DEPTH)
        return fwi_codec_fail(parser->run, FW_ELIMIT, "line %d: types in more than %d types",
                              parser->line, MAX_TYPE_DEPTH);
    err = parse_members(parser, type);
    parser->depth--;
    return err;
}

/* ".name {...}", the dot taken. */
static int parse_type(cursor *parser, const char *outer)
{
    fw_slice name;
    int err = parse_name(parser, &name);
    if (err)
        return err;
    skip_blanks(parser);
    return parse_struct(parser, outer, name, NULL);
}

static void set_kind(fwi_sproto_field *field)
{
    static const char *const names[] = {
        [FWI_SPROTO_INTEGER] = "integer", [FWI_SPROTO_BOOLEAN] = "boolean",
        [FWI_SPROTO_STRING] = "string",   [FWI_SPROTO_BINARY] = "binary",
        [FWI_SPROTO_DOUBLE] = "double",
    };
    uint8_t kind = 0;
    while (kind < FWI_SPROTO_STRUCT && strcmp(names[kind], field->type_name) != 0)
        kind++;
    field->kind = kind;
}

/* What stands in parentheses behind the type. */
static int parse_parameter(cursor *parser, fwi_sproto_field *field)
{
    unsigned digits;
    fw_slice name = {"", 0};
    int err = FW_OK;
    if (field->kind == FWI_SPROTO_INTEGER) {
        err = parse_number(parser, FWI_SPROTO_MAX_DIGITS, &digits);
        if (!err) {
            field->is_decimal = true;
            field->digits = (uint8_t)digits;
        }
    } else if (peek(parser) != ')') {
        err = parse_name(parser, &name);
    }
    if (err)
        return err;
    if (!take(parser, ')'))
        return fail(parser, "')'");
    if (field->kind == FWI_SPROTO_INTEGER)
        return FW_OK;
    field->key_name = fwi_arena_text(&parser->schema->arena, name.data, name.len);
    return field->key_name ? FW_OK : UV_ENOMEM;
}

static int parse_field(cursor *parser, fw_sproto_type *type)
{
    fw_slice name;
    uint16_t tag;
    int line = parser->line;
    int err = parse_name_and_tag(parser, &name, &tag);
    if (err)
        return err;
    if (!take(parser, ':'))
        return fail(parser, "':'");
    skip_blanks(parser);
    char *field_name = fwi_arena_text(&parser->schema->arena, name.data, name.len);
    fwi_sproto_field *field =
        field_name ? fwi_sproto_add_field(parser->schema, type, field_name) : NULL;
    if (!field)
        return UV_ENOMEM;
    field->tag = tag;
    field->line = line;
    field->is_array = take(parser, '*');
    char *type_name;
    err = parse_type_name(parser, &type_name);
    if (err)
        return err;
    field->type_name = type_name;
    set_kind(field);
    return take(parser, '(') ? parse_parameter(parser, field) : FW_OK;
}

/* Everything up to the closing brace, which is taken. */
static int parse_members(cursor *parser, fw_sproto_type *type)
{
    for (;;) {
        skip_blanks(parser);
        if (take(parser, '}'))
            return FW_OK;
        int err = take(parser, '.') ? parse_type(parser, type->name) : parse_field(parser, type);
        if (err)
            return err;
    }
}

/* The type behind request or response: its name, or NULL for nil. */
static int parse_body_type(cursor *parser, const char *protocol, fw_slice which, char **ret_name)
{
    if (peek(parser) == '{')
        return parse_struct(parser, protocol, which, ret_name);
    int err = parse_type_name(parser, ret_name);
    if (!err && !strcmp(*ret_name, "nil"))
        *ret_name = NULL;
    return err;
}

static int parse_body(cursor *parser, fwi_sproto_call *call)
{
    fw_slice which;
    char *name;
    int err = parse_name(parser, &which);
    if (err)
        return err;
    bool is_request = which.len == 7 && !memcmp(which.data, "request", 7);
    if (!is_request && (which.len != 8 || memcmp(which.data, "response", 8) != 0))
        return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: wants request or response",
                              parser->line);
    const char **place = is_request ? &call->request_name : &call->response_name;
    if (*place || (!is_request && call->protocol.is_confirmed))
        return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: a second request or response",
                              parser->line);
    skip_blanks(parser);
    err = parse_body_type(parser, call->protocol.name, which, &name);
    if (err)
        return err;
    if (is_request && !name)
        return fwi_codec_fail(parser->run, FW_ESCHEMA, "line %d: a request cannot be nil",
                              parser->line);
    *place = name;
    call->protocol.is_confirmed |= !name;
    return FW_OK;
}

static int parse_protocol(cursor *parser)
{
    fw_slice name;
    uint16_t tag;
    int line = parser->line;
    int err = parse_name_and_tag(parser, &name, &tag);
    if (err)
        return err;
    if (!take(parser, '{'))
        return fail(parser, "'{'");
    char *text = fwi_arena_text(&parser->schema->arena, name.data, name.len);
    fwi_sproto_call *call = text ? fwi_sproto_add_call(parser->schema, text) : NULL;
    if (!call)
        return UV_ENOMEM;
    call->protocol.tag = tag;
    call->line = line;
    for (;;) {
        skip_blanks(parser);
        if (take(parser, '}'))
            return FW_OK;
        err = parse_body(parser, call);
        if (err)
            return err;
    }
}

int fw_sproto_parse(const char *text, size_t len, fw_sproto **ret_schema, fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, NULL, ret_error);
    if (len > FWI_SPROTO_MAX_SCHEMA_BYTES)
        return fwi_codec_fail(&run, FW_ELIMIT, "longer than %d bytes", FWI_SPROTO_MAX_SCHEMA_BYTES);
    fw_sproto *schema = fwi_sproto_new();
    if (!schema)
        return UV_ENOMEM;
    cursor parser = {.at = text, .end = text + len, .line = 1, .schema = schema, .run = &run};
    int err = FW_OK;
    for (skip_blanks(&parser); parser.at < parser.end && !err; skip_blanks(&parser))
        err = take(&parser, '.') ? parse_type(&parser, NULL) : parse_protocol(&parser);
    if (!err)
        err = fwi_sproto_link(schema, NULL, &run);
    if (err) {
        fw_sproto_destroy(schema);
        return err;
    }
    *ret_schema = schema;
    return FW_OK;
}
