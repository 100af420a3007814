/*
 * Types for the codec "protobuf" that are not compiled in: from a descriptor set, as
 *
 *     protoc --include_imports --descriptor_set_out=FILE x.proto
 *
 * writes it. For tools that learn at run time what they speak; programs use protoc-c's descriptors.
 */
#ifndef FAIRWAY_PROTOBUF_H
#define FAIRWAY_PROTOBUF_H

#include <fairway/codec.h>

FW_BEGIN_DECLS

struct ProtobufCMessageDescriptor;
typedef struct fw_protobuf fw_protobuf;

/* Reads a descriptor set of at most 16 MiB. FW_ESCHEMA: malformed, a type is missing, or it has
 * what is not supported (groups, editions); *ret_error (may be NULL) says it. FW_ELIMIT,
 * FW_EUNSUPPORTED (this build is without the codec), UV_ENOMEM. What was read does not change and
 * may be used on any thread. */
FW_API FW_MUST_CHECK int fw_protobuf_load(const void *set, size_t len, fw_protobuf **ret_schema,
                                          fw_codec_error *ret_error);
/* After the last message of its types. NULL is fine. */
FW_API void fw_protobuf_destroy(fw_protobuf *schema);
/* A message type by its full name ("game.LoginReq"), the codec's type; NULL: there is none. */
FW_API const struct ProtobufCMessageDescriptor *fw_protobuf_get_type(const fw_protobuf *schema,
                                                                     const char *name);

FW_END_DECLS

#endif
