/*
 * sproto, the encoding of skynet's world: schemas from text or from a compiled bundle, messages,
 * 0-packing, and the package in front of remote calls. Messages are JSON values here; the codec
 * "sproto" (fairway/codec.h) is the same.
 * (https://github.com/cloudwu/sproto; net/codec/README.md has the wire tables and the JSON rules.)
 *
 * A schema does not change once made and may be used on any thread.
 */
#ifndef FAIRWAY_SPROTO_H
#define FAIRWAY_SPROTO_H

#include <fairway/codec.h>

FW_BEGIN_DECLS

typedef struct fw_sproto fw_sproto;
typedef struct fw_sproto_type fw_sproto_type;

/* A remote call that a schema declares; lives as long as the schema. */
typedef struct fw_sproto_protocol {
    const char *name;
    uint16_t tag;
    const fw_sproto_type *request;  /* NULL: no arguments */
    const fw_sproto_type *response; /* NULL: an answer has no body, or there is none */
    bool is_confirmed;              /* `response nil`: answered, without a body */
} fw_sproto_protocol;

/* Reads a schema of at most 1 MiB. FW_ESCHEMA with the line in *ret_error (may be NULL), FW_ELIMIT,
 * UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_sproto_parse(const char *text, size_t len, fw_sproto **ret_schema,
                                         fw_codec_error *ret_error);
/* Reads a compiled bundle, as sproto's own compiler writes it. Errors as of fw_sproto_parse. */
FW_API FW_MUST_CHECK int fw_sproto_load(const void *bundle, size_t len, fw_sproto **ret_schema,
                                        fw_codec_error *ret_error);
/* Compiles; *ret_data is to be freed with free. UV_ENOMEM, FW_ELIMIT. */
FW_API FW_MUST_CHECK int fw_sproto_bundle(const fw_sproto *schema, uint8_t **ret_data,
                                          size_t *ret_len);
/* After everything that uses it. NULL is fine. */
FW_API void fw_sproto_destroy(fw_sproto *schema);

/* A type by its full name ("AddressBook", "Person.PhoneNumber", "login.request"), or NULL. */
FW_API const fw_sproto_type *fw_sproto_get_type(const fw_sproto *schema, const char *name);
FW_API const char *fw_sproto_type_name(const fw_sproto_type *type);
/* NULL: there is none. */
FW_API const fw_sproto_protocol *fw_sproto_get_protocol(const fw_sproto *schema, const char *name);
FW_API const fw_sproto_protocol *fw_sproto_get_protocol_by_tag(const fw_sproto *schema,
                                                               uint32_t tag);

/* Encodes one struct; as fw_codec_encode. */
FW_API FW_MUST_CHECK int fw_sproto_encode(const fw_sproto_type *type, const struct cJSON *value,
                                          const fw_codec_limits *limits, uint8_t **ret_data,
                                          size_t *ret_len, fw_codec_error *ret_error);
/* Decodes the struct at the start of data; as fw_codec_decode, but bytes behind it are left alone:
 * *ret_used says how many it took. */
FW_API FW_MUST_CHECK int fw_sproto_decode(const fw_sproto_type *type, const void *data, size_t len,
                                          const fw_codec_limits *limits, struct cJSON **ret_value,
                                          size_t *ret_used, fw_codec_error *ret_error);

/* ---- 0-packing ---- */

/* Bytes that packing len bytes takes at most. */
FW_API size_t fw_sproto_pack_bound(size_t len);
/* Packs into out, which has room for fw_sproto_pack_bound(len); returns how many bytes it took. */
FW_API size_t fw_sproto_pack(const void *data, size_t len, uint8_t *out);
/* Unpacks into memory to be freed with free; the length is a multiple of 8. FW_ELIMIT: more than
 * max_bytes would come out, and no memory was touched for it; FW_EMESSAGE: cut short; UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_sproto_unpack(const void *data, size_t len, size_t max_bytes,
                                          uint8_t **ret_data, size_t *ret_len);

/* ---- packages: what goes in front of the body of a remote call ---- */

typedef struct fw_sproto_package {
    bool has_type; /* true: a request or a push; false: an answer */
    uint16_t type; /* tag of the protocol */
    bool has_session;
    uint64_t session;
    fw_slice user_data; /* data == NULL: none */
} fw_sproto_package;

/* Encodes package and body (NULL: none; an encoded struct) and packs both. *ret_data is to be freed
 * with free. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_sproto_package_encode(const fw_sproto_package *package,
                                                  const fw_slice *body, uint8_t **ret_data,
                                                  size_t *ret_len);
/* Unpacks a message and reads its package. *ret_data is the unpacked message, to be freed with
 * free; *ret_body and the package's user data lie in it. The body ends somewhere in *ret_body, the
 * rest is padding. FW_EMESSAGE, FW_ELIMIT, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_sproto_package_decode(const void *data, size_t len, size_t max_bytes,
                                                  fw_sproto_package *ret_package,
                                                  uint8_t **ret_data, fw_slice *ret_body);

/* ---- the host: both ends of remote calls over messages, without a connection ---- */

typedef struct fw_sproto_host fw_sproto_host;

typedef enum fw_sproto_event_kind { FW_SPROTO_REQUEST, FW_SPROTO_RESPONSE } fw_sproto_event_kind;

/* What came; lent until fw_sproto_event_fini. */
typedef struct fw_sproto_event {
    fw_sproto_event_kind kind;
    const fw_sproto_protocol *protocol; /* of the request, or of the call that is answered */
    bool has_session;                   /* of a request: an answer is wanted */
    uint64_t session;
    struct cJSON *body; /* NULL: none */
    char *user_data;    /* NULL: none; ended with NUL besides */
    size_t user_data_len;
} fw_sproto_event;

typedef struct fw_sproto_host_options {
    const fw_sproto *local;  /* what this end offers */
    const fw_sproto *remote; /* what the other end offers; NULL: nothing is called */
    uint32_t max_calls;      /* outstanding; 0: 65,536 */
    fw_codec_limits limits;
} fw_sproto_host_options;

/* The schemas must outlive the host. UV_EINVAL, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_sproto_host_create(const fw_sproto_host_options *options,
                                               fw_sproto_host **ret_host);
FW_API void fw_sproto_host_destroy(fw_sproto_host *host);
/* The message of a call or (session NULL) of a push. args NULL: none. A call is outstanding until
 * its answer is dispatched or it is forgotten. FW_ENOTFOUND: no such protocol; FW_EEXISTS: a call
 * with this session is outstanding; FW_ELIMIT: too many are; else as fw_sproto_encode. */
FW_API FW_MUST_CHECK int fw_sproto_host_request(fw_sproto_host *host, const char *protocol,
                                                const struct cJSON *args, const uint64_t *session,
                                                const fw_slice *user_data, uint8_t **ret_data,
                                                size_t *ret_len, fw_codec_error *ret_error);
/* The message that answers a request. */
FW_API FW_MUST_CHECK int fw_sproto_host_respond(fw_sproto_host *host,
                                                const fw_sproto_protocol *protocol,
                                                uint64_t session, const struct cJSON *result,
                                                const fw_slice *user_data, uint8_t **ret_data,
                                                size_t *ret_len, fw_codec_error *ret_error);
/* Reads what the other end sent. FW_ENOTFOUND: a protocol or session that is not known;
 * FW_EMESSAGE, FW_ELIMIT, UV_ENOMEM; *ret_error (may be NULL) says it in words. */
FW_API FW_MUST_CHECK int fw_sproto_host_dispatch(fw_sproto_host *host, const void *data, size_t len,
                                                 fw_sproto_event *ret_event,
                                                 fw_codec_error *ret_error);
FW_API void fw_sproto_event_fini(fw_sproto_event *event);
/* Gives a call up, as after its deadline; its answer is then FW_ENOTFOUND. False: there is none. */
FW_API bool fw_sproto_host_forget(fw_sproto_host *host, uint64_t session);

FW_END_DECLS

#endif
