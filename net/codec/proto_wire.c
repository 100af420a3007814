#include "codec/proto_wire.h"

#include <fairway/error.h>

#define MAX_GROUP_DEPTH  32
#define MAX_FIELD_NUMBER ((1u << 29) - 1)

static int get_varint(fwi_wire_reader *reader, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end)
            return FW_EPACKET;
        uint8_t byte = *reader->at++;
        if (shift == 63 && byte > 1)
            return FW_EPACKET; /* more than 64 bits */
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return FW_OK;
        }
    }
    return FW_EPACKET;
}

static int get_fixed(fwi_wire_reader *reader, unsigned bytes, uint64_t *ret_value)
{
    if ((size_t)(reader->end - reader->at) < bytes)
        return FW_EPACKET;
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += bytes;
    *ret_value = value;
    return FW_OK;
}

/* Reads one field of any kind but a group's content. */
static int get_field(fwi_wire_reader *reader, fwi_wire_field *field)
{
    uint64_t tag, len;
    int err = get_varint(reader, &tag);
    if (err)
        return err;
    if (tag >> 3 == 0 || tag >> 3 > MAX_FIELD_NUMBER)
        return FW_EPACKET;
    field->number = (uint32_t)(tag >> 3);
    field->type = (uint8_t)(tag & 7);
    switch (field->type) {
    case FWI_WIRE_VARINT:
        return get_varint(reader, &field->varint);
    case FWI_WIRE_FIXED64:
        return get_fixed(reader, 8, &field->varint);
    case FWI_WIRE_FIXED32:
        return get_fixed(reader, 4, &field->varint);
    case FWI_WIRE_BYTES:
        err = get_varint(reader, &len);
        if (err)
            return err;
        if (len > (size_t)(reader->end - reader->at))
            return FW_EPACKET;
        field->bytes = (fw_slice){reader->at, (size_t)len};
        reader->at += len;
        return FW_OK;
    case FWI_WIRE_GROUP:
    case FWI_WIRE_GROUP_END:
        return FW_OK;
    default:
        return FW_EPACKET;
    }
}

/* Passes over a group whose start was read, with all groups inside. */
static int skip_group(fwi_wire_reader *reader, uint32_t number)
{
    uint32_t open[MAX_GROUP_DEPTH];
    unsigned depth = 0;
    open[depth++] = number;
    while (depth) {
        fwi_wire_field field;
        int err = get_field(reader, &field);
        if (err)
            return err;
        if (field.type == FWI_WIRE_GROUP) {
            if (depth == MAX_GROUP_DEPTH)
                return FW_EPACKET;
            open[depth++] = field.number;
        } else if (field.type == FWI_WIRE_GROUP_END && open[--depth] != field.number) {
            return FW_EPACKET;
        }
    }
    return FW_OK;
}

int fwi_wire_next(fwi_wire_reader *reader, fwi_wire_field *ret_field)
{
    while (reader->at < reader->end) {
        int err = get_field(reader, ret_field);
        if (err)
            return err;
        if (ret_field->type == FWI_WIRE_GROUP_END)
            return FW_EPACKET;
        if (ret_field->type != FWI_WIRE_GROUP)
            return 1;
        err = skip_group(reader, ret_field->number);
        if (err)
            return err;
    }
    return 0;
}

/* Length of the sequence that starts here (at most left bytes), 0 if it is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t first = p[0], low = 0x80, high = 0xbf; /* bounds of the second byte */
    size_t len;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf) {
        len = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        len = 3;
        if (first == 0xe0)
            low = 0xa0;
        if (first == 0xed)
            high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
        len = 4;
        if (first == 0xf0)
            low = 0x90;
        if (first == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (left < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool fwi_utf8_valid(fw_slice text)
{
    const uint8_t *p = text.data;
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_sequence(p + i, text.len - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}
