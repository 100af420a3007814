/*
 * Protocol buffers' wire format by hand, for the packets that are read and written by the million:
 * a checked reader and an unchecked writer whose size is computed first. Sans-IO.
 * (Encoding: https://protobuf.dev/programming-guides/encoding/)
 */
#ifndef FWI_PROTO_WIRE_H
#define FWI_PROTO_WIRE_H

#include <fairway/base.h>
#include <string.h>

enum {
    FWI_WIRE_VARINT = 0,
    FWI_WIRE_FIXED64 = 1,
    FWI_WIRE_BYTES = 2,
    FWI_WIRE_GROUP = 3,
    FWI_WIRE_GROUP_END = 4,
    FWI_WIRE_FIXED32 = 5
};

typedef struct fwi_wire_reader {
    const uint8_t *at, *end;
} fwi_wire_reader;

typedef struct fwi_wire_field {
    uint32_t number;
    uint8_t type;
    uint64_t varint; /* of VARINT; the raw bits of FIXED32 and FIXED64 */
    fw_slice bytes;  /* of BYTES */
} fwi_wire_field;

/* Reads the next field. 1: *ret_field is it; 0: the end; FW_EPACKET: the bytes are no message.
 * Groups are skipped. */
FWI_API int fwi_wire_next(fwi_wire_reader *reader, fwi_wire_field *ret_field);

/* True if the bytes are UTF-8 as proto3 wants it of strings: no surrogates, no overlong forms. */
FWI_API bool fwi_utf8_valid(fw_slice text);

static inline size_t fwi_varint_size(uint64_t value)
{
    /* Bits in use, rounded up to groups of seven. */
    return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

static inline uint8_t *fwi_put_varint(uint8_t *p, uint64_t value)
{
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

/* A varint field with a number below 16; nothing is written for 0. */
static inline size_t fwi_varint_field_size(uint64_t value)
{
    return value ? 1 + fwi_varint_size(value) : 0;
}

static inline uint8_t *fwi_put_varint_field(uint8_t *p, unsigned number, uint64_t value)
{
    if (!value)
        return p;
    *p++ = (uint8_t)(number << 3 | FWI_WIRE_VARINT);
    return fwi_put_varint(p, value);
}

/* A length-delimited field with a number below 16, written also when empty. */
static inline size_t fwi_bytes_field_size(size_t len)
{
    return 1 + fwi_varint_size(len) + len;
}

static inline uint8_t *fwi_put_bytes_field(uint8_t *p, unsigned number, fw_slice bytes)
{
    *p++ = (uint8_t)(number << 3 | FWI_WIRE_BYTES);
    p = fwi_put_varint(p, bytes.len);
    if (bytes.len)
        memcpy(p, bytes.data, bytes.len);
    return p + bytes.len;
}

#endif
