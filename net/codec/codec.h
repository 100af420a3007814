/* What the codecs share: the table behind fw_codec, limits, places in messages, output. */
#ifndef FWI_CODEC_H
#define FWI_CODEC_H

#include <fairway/codec.h>

#define FWI_CODEC_MAX_DEPTH 512

/* Where in a message we are; frames on the stack, innermost first. */
typedef struct fwi_place {
    const struct fwi_place *up;
    const char *name; /* NULL: an element */
    size_t index;
} fwi_place;

/* One encoding or decoding. */
typedef struct fwi_codec_run {
    fw_codec_limits limits; /* defaults filled in */
    fw_codec_error *error;  /* may be NULL */
    const fwi_place *place;
    uint32_t depth, elements;
} fwi_codec_run;

/* Output that grows up to a limit. */
typedef struct fwi_buffer {
    uint8_t *data;
    size_t len, capacity, max_len;
} fwi_buffer;

struct fw_codec {
    const char *name;
    bool is_typed;
    int (*encode)(fwi_codec_run *run, const void *type, const void *message, fwi_buffer *out);
    int (*decode)(fwi_codec_run *run, const void *type, fw_slice data, void **ret_message);
    void (*free_message)(const void *type, void *message);
    /* NULL: messages are JSON already. */
    int (*encode_json)(fwi_codec_run *run, const void *type, const struct cJSON *json,
                       fwi_buffer *out);
    int (*decode_json)(fwi_codec_run *run, const void *type, fw_slice data,
                       struct cJSON **ret_json);
};

FWI_API void fwi_codec_run_init(fwi_codec_run *run, const fw_codec_limits *limits,
                                fw_codec_error *error);
/* Notes why and where, and returns err. */
FWI_API int fwi_codec_fail(fwi_codec_run *run, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* One more value, or one more level of values, or FW_ELIMIT. */
FWI_API int fwi_codec_count(fwi_codec_run *run, size_t elements);
FWI_API int fwi_codec_enter(fwi_codec_run *run);
static inline void fwi_codec_leave(fwi_codec_run *run)
{
    run->depth--;
}

/* Makes room for len more bytes and returns it in *ret_room. FW_ELIMIT, UV_ENOMEM. */
FWI_API int fwi_buffer_grow(fwi_buffer *buffer, size_t len, uint8_t **ret_room);
FWI_API int fwi_buffer_put(fwi_buffer *buffer, const void *data, size_t len);

extern const fw_codec fwi_codec_raw, fwi_codec_json, fwi_codec_sproto;
extern const fw_codec fwi_codec_msgpack, fwi_codec_protobuf; /* if built */

#endif
