/* In a build without the codec "protobuf" there are no types for it either. */
#include <fairway/error.h>
#include <fairway/protobuf.h>
#include <stdio.h>

int fw_protobuf_load(const void *set, size_t len, fw_protobuf **ret_schema,
                     fw_codec_error *ret_error)
{
    (void)set, (void)len, (void)ret_schema;
    if (ret_error)
        snprintf(ret_error->text, sizeof ret_error->text, "fairway was built without protobuf");
    return FW_EUNSUPPORTED;
}

void fw_protobuf_destroy(fw_protobuf *schema)
{
    (void)schema;
}

const struct ProtobufCMessageDescriptor *fw_protobuf_get_type(const fw_protobuf *schema,
                                                              const char *name)
{
    (void)schema, (void)name;
    return NULL;
}
