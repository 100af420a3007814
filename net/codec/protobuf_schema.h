/* What protobuf_load.c (which reads descriptor sets) and protobuf_layout.c (which makes
 * protobuf-c's descriptors of them) share. Everything lies in the schema's arena. */
#ifndef FWI_PROTOBUF_SCHEMA_H
#define FWI_PROTOBUF_SCHEMA_H

#include "base/map.h"
#include "codec/arena.h"
#include "codec/codec.h"

#include <fairway/protobuf.h>
#include <protobuf-c/protobuf-c.h>

/* A field as its descriptor says it. */
typedef struct fwi_protobuf_field {
    ProtobufCFieldDescriptor field; /* all but the offsets */
    int oneof;                      /* -1: of none */
} fwi_protobuf_field;

typedef struct fwi_protobuf_type {
    ProtobufCMessageDescriptor type; /* first: what is handed out */
    struct fwi_protobuf_type *next;
    fw_slice source; /* its DescriptorProto; lent while the set is read */
    bool is_proto3;
} fwi_protobuf_type;

struct fw_protobuf {
    fwi_arena arena;
    fwi_map types, enums; /* by full name */
    fwi_protobuf_type *first;
};

/* Sorts the fields, gives each its place in memory, and fills the rest of the descriptor in.
 * FW_ESCHEMA: a number or name twice; UV_ENOMEM. */
int fwi_protobuf_lay_out(fw_protobuf *schema, fwi_protobuf_type *type, fwi_protobuf_field *fields,
                         size_t count, size_t oneofs, fwi_codec_run *run);
/* The same for an enum, whose values are given in any order. */
int fwi_protobuf_lay_out_enum(fw_protobuf *schema, ProtobufCEnumDescriptor *type,
                              ProtobufCEnumValue *values, size_t count, fwi_codec_run *run);

#endif
