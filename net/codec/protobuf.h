/* What the parts of codec "protobuf" share: bytes <-> struct in protobuf.c, struct <-> JSON in
 * protobuf_to_json.c and protobuf_from_json.c. */
#ifndef FWI_CODEC_PROTOBUF_H
#define FWI_CODEC_PROTOBUF_H

#include "codec/codec.h"

#include <protobuf-c/protobuf-c.h>

/* Whether a repeated message field is a map; protobuf-c's descriptors do not say so, but the name
 * that the compiler gives to the entries does. */
bool fwi_protobuf_is_map(const ProtobufCFieldDescriptor *field);
/* The field's name in JSON, lowerCamelCase, cut to size. */
void fwi_protobuf_json_name(const char *name, char *ret_name, size_t size);

/* Bytes of one value in memory. */
size_t fwi_protobuf_size(ProtobufCType type);

/* Messages of JSON. The result is to be freed with protobuf_c_message_free_unpacked. */
int fwi_protobuf_from_json(fwi_codec_run *run, const ProtobufCMessageDescriptor *type,
                           const struct cJSON *json, ProtobufCMessage **ret_message);
int fwi_protobuf_to_json(fwi_codec_run *run, const ProtobufCMessage *message,
                         struct cJSON **ret_json);

#endif
