#include "codec/sproto/reader.h"

#include "base/bytes.h"

#include <fairway/error.h>

int fwi_sproto_reader_init(fwi_sproto_reader *reader, const fw_sproto_type *type, fw_slice data)
{
    const uint8_t *p = data.data;
    if (data.len < 2)
        return FW_EMESSAGE;
    size_t words = fwi_get_u16le(p);
    if (data.len - 2 < words * 2)
        return FW_EMESSAGE;
    *reader = (fwi_sproto_reader){.type = type, .start = p, .word = p + 2, .end = p + data.len};
    reader->words_end = reader->data = reader->word + words * 2;
    return FW_OK;
}

/* size u32 | bytes at *p; the size is compared with what is left, never added to anything. */
static int get_sized(const uint8_t **p, const uint8_t *end, fw_slice *ret_bytes)
{
    if (end - *p < 4)
        return FW_EMESSAGE;
    uint32_t size = fwi_get_u32le(*p);
    if (size > (size_t)(end - *p) - 4)
        return FW_EMESSAGE;
    *ret_bytes = (fw_slice){*p + 4, size};
    *p += 4 + (size_t)size;
    return FW_OK;
}

int fwi_sproto_next(fwi_sproto_reader *reader, fwi_sproto_value *ret_value)
{
    while (reader->word < reader->words_end) {
        uint16_t word = fwi_get_u16le(reader->word);
        reader->word += 2;
        uint32_t tag = reader->next_tag++;
        if (word & 1) {
            reader->next_tag += (word - 1u) / 2;
            continue;
        }
        fwi_sproto_value value = {.is_inline = word != 0};
        if (word) {
            value.number = (uint16_t)(word / 2 - 1);
        } else {
            int err = get_sized(&reader->data, reader->end, &value.bytes);
            if (err)
                return err;
        }
        value.field = fwi_sproto_field_by_tag(reader->type, tag);
        if (value.field) {
            *ret_value = value;
            return 1;
        }
    }
    return 0;
}

int64_t fwi_sproto_integer_at(const uint8_t *p, size_t width)
{
    return width == 4 ? (int32_t)fwi_get_u32le(p) : (int64_t)fwi_get_u64le(p);
}

int fwi_sproto_get_integer(const fwi_sproto_value *value, int64_t *ret_integer)
{
    if (value->is_inline)
        *ret_integer = value->number;
    else if (value->bytes.len == 4 || value->bytes.len == 8)
        *ret_integer = fwi_sproto_integer_at(value->bytes.data, value->bytes.len);
    else
        return FW_EMESSAGE;
    return FW_OK;
}

int fwi_sproto_next_element(fw_slice *array, fw_slice *ret_element)
{
    const uint8_t *p = array->data, *end = p + array->len;
    if (!array->len)
        return 0;
    int err = get_sized(&p, end, ret_element);
    if (err)
        return err;
    *array = (fw_slice){p, (size_t)(end - p)};
    return 1;
}
