/*
 * A schema in memory. parse.c and bundle.c fill it with names and indices as they find them;
 * link.c sorts, resolves and checks. Everything lies in the schema's arena.
 */
#ifndef FWI_SPROTO_SCHEMA_H
#define FWI_SPROTO_SCHEMA_H

#include <fairway/sproto.h>

#include "codec/arena.h"
#include "codec/codec.h"

#define FWI_SPROTO_MAX_TAG          32766
#define FWI_SPROTO_MAX_NAME_BYTES   255
#define FWI_SPROTO_MAX_DIGITS       9 /* of integer(n); sproto's own loader has the powers in 32 bits */
#define FWI_SPROTO_MAX_SCHEMA_BYTES (1024 * 1024)

typedef enum fwi_sproto_kind {
    FWI_SPROTO_INTEGER,
    FWI_SPROTO_BOOLEAN,
    FWI_SPROTO_STRING,
    FWI_SPROTO_BINARY,
    FWI_SPROTO_DOUBLE,
    FWI_SPROTO_STRUCT
} fwi_sproto_kind;

typedef struct fwi_sproto_field {
    const char *name;
    uint16_t tag;
    uint8_t kind;   /* fwi_sproto_kind */
    uint8_t digits; /* of a decimal */
    bool is_decimal, is_array;
    bool splits_gap; /* one word for each tag that is passed over in front of it */
    bool is_pairs;   /* *T(): elements of two fields, key and value */
    const fw_sproto_type *type;
    const struct fwi_sproto_field *key; /* of *T(name) and *T(): the field of T that is the key */

    /* Until it is linked. */
    struct fwi_sproto_field *next;
    const char *type_name; /* from text: looked up from the inside out */
    uint32_t type_index;   /* from a bundle, if type_name is NULL */
    const char *key_name;  /* "" of *T() */
    int32_t key_tag;       /* from a bundle; -1: none */
    int line;
} fwi_sproto_field;

struct fw_sproto_type {
    const char *name;
    const fwi_sproto_field **fields; /* by tag */
    size_t field_count;

    fw_sproto_type *next;
    fwi_sproto_field *first_field;
    uint32_t index; /* in the order of the schema's types */
    int line;
};

typedef struct fwi_sproto_call {
    fw_sproto_protocol protocol;

    struct fwi_sproto_call *next;
    const char *request_name, *response_name; /* from text */
    int32_t request_index, response_index;    /* from a bundle; -1: none */
    int line;
} fwi_sproto_call;

struct fw_sproto {
    fwi_arena arena;
    fw_sproto_type **types; /* by name */
    size_t type_count;
    fwi_sproto_call **calls; /* by tag */
    size_t call_count;

    fw_sproto_type *first_type; /* until linked, newest first */
    fwi_sproto_call *first_call;
};

/* An empty schema. */
fw_sproto *fwi_sproto_new(void);
fw_sproto_type *fwi_sproto_add_type(fw_sproto *schema, const char *name);
fwi_sproto_field *fwi_sproto_add_field(fw_sproto *schema, fw_sproto_type *type, const char *name);
fwi_sproto_call *fwi_sproto_add_call(fw_sproto *schema, const char *name);
/* Readies a filled schema. indexed: the types as the bundle's indices count them, NULL from text.
 */
int fwi_sproto_link(fw_sproto *schema, fw_sproto_type *const *indexed, fwi_codec_run *run);

const fwi_sproto_field *fwi_sproto_field_by_tag(const fw_sproto_type *type, uint32_t tag);

#endif
