/*
 * Codecs: message bodies to bytes and back, behind one interface and chosen by name.
 *
 *     name      a message is                     its type is
 *     raw       fw_slice                         NULL
 *     json      struct cJSON                     NULL
 *     msgpack   struct cJSON                     NULL
 *     protobuf  struct ProtobufCMessage          const struct ProtobufCMessageDescriptor
 *     sproto    struct cJSON                     const struct fw_sproto_type (fairway/sproto.h)
 *
 * Tools that know nothing of types in C translate with fw_codec_encode_json and
 * fw_codec_decode_json, which every codec has; net/codec/README.md has the rules for what JSON
 * cannot say (bytes, 64-bit integers, infinities).
 *
 * Everything here is synchronous, keeps no state and may be called on any thread.
 */
#ifndef FAIRWAY_CODEC_H
#define FAIRWAY_CODEC_H

#include <fairway/base.h>

FW_BEGIN_DECLS

struct cJSON;
typedef struct fw_codec fw_codec;

/* What a message may be at most. Decoders check before they take memory, so what a message costs is
 * bounded by these. Zero means the default. */
typedef struct fw_codec_limits {
    uint32_t max_bytes;    /* of the encoded message; 0: 16 MiB */
    uint32_t max_depth;    /* of values in values; 0: 64, at most 512 */
    uint32_t max_elements; /* values altogether; 0: 100,000 */
} fw_codec_limits;

/* Why, in words, with the place in the message; always ended with NUL. */
typedef struct fw_codec_error {
    char text[256];
} fw_codec_error;

/* The codec of a name. FW_EOPTION: there is none; FW_EUNSUPPORTED: this build is without it. The
 * codec lives for ever. */
FW_API FW_MUST_CHECK int fw_codec_get(const char *name, const fw_codec **ret_codec);
/* Names of the codecs of this build, ended with NULL; for lists of choices. */
FW_API const char *const *fw_codec_names(void);
FW_API const char *fw_codec_name(const fw_codec *codec);
/* True if the codec needs a type. */
FW_API bool fw_codec_is_typed(const fw_codec *codec);

/* Encodes a message of the codec's kind (see above). *ret_data is to be freed with free, and not
 * NULL for an empty message either. limits and ret_error may be NULL.
 * FW_EMESSAGE: the message does not fit its type or cannot be said in this encoding; FW_ELIMIT;
 * UV_EINVAL: the codec needs a type; UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_codec_encode(const fw_codec *codec, const void *type,
                                         const void *message, const fw_codec_limits *limits,
                                         uint8_t **ret_data, size_t *ret_len,
                                         fw_codec_error *ret_error);
/* Decodes exactly one message, to be freed with fw_codec_message_free. Errors as of
 * fw_codec_encode; FW_EMESSAGE also for bytes left over. */
FW_API FW_MUST_CHECK int fw_codec_decode(const fw_codec *codec, const void *type, const void *data,
                                         size_t len, const fw_codec_limits *limits,
                                         void **ret_message, fw_codec_error *ret_error);
/* NULL is fine. */
FW_API void fw_codec_message_free(const fw_codec *codec, const void *type, void *message);

/* The same from and to JSON; *ret_json is to be freed with cJSON_Delete. */
FW_API FW_MUST_CHECK int fw_codec_encode_json(const fw_codec *codec, const void *type,
                                              const struct cJSON *json,
                                              const fw_codec_limits *limits, uint8_t **ret_data,
                                              size_t *ret_len, fw_codec_error *ret_error);
FW_API FW_MUST_CHECK int fw_codec_decode_json(const fw_codec *codec, const void *type,
                                              const void *data, size_t len,
                                              const fw_codec_limits *limits,
                                              struct cJSON **ret_json, fw_codec_error *ret_error);

FW_END_DECLS

#endif
