/*
 * Reads encoded structs in place, without memory. A struct is
 *
 *     count u16 | count words u16 | data, for each word that is 0: size u32 | bytes
 *
 * A word is 0 (the value is the next data), odd (skip tags) or even (value word / 2 - 1). All
 * integers are little-endian. Sans-IO.
 */
#ifndef FWI_SPROTO_READER_H
#define FWI_SPROTO_READER_H

#include "codec/sproto/schema.h"

typedef struct fwi_sproto_reader {
    const fw_sproto_type *type;
    const uint8_t *start, *word, *words_end, *data, *end;
    uint32_t next_tag;
} fwi_sproto_reader;

/* A field that the type knows. */
typedef struct fwi_sproto_value {
    const fwi_sproto_field *field;
    bool is_inline;
    uint16_t number; /* if it is inline */
    fw_slice bytes;  /* else */
} fwi_sproto_value;

/* Starts on the struct at the start of data. FW_EMESSAGE: cut short. */
FWI_API int fwi_sproto_reader_init(fwi_sproto_reader *reader, const fw_sproto_type *type,
                                   fw_slice data);
/* 1: *ret_value is the next field; 0: the end; FW_EMESSAGE. Unknown tags are passed over. */
FWI_API int fwi_sproto_next(fwi_sproto_reader *reader, fwi_sproto_value *ret_value);
/* Bytes that the struct took, after the end. */
static inline size_t fwi_sproto_used(const fwi_sproto_reader *reader)
{
    return (size_t)(reader->data - reader->start);
}

/* A whole number of a field that is no array. FW_EMESSAGE: it has another form. */
FWI_API int fwi_sproto_get_integer(const fwi_sproto_value *value, int64_t *ret_integer);
FWI_API int64_t fwi_sproto_integer_at(const uint8_t *p, size_t width);
/* The next of an array's elements `size u32 | bytes`: 1, 0 at the end, FW_EMESSAGE. */
FWI_API int fwi_sproto_next_element(fw_slice *array, fw_slice *ret_element);

#endif
