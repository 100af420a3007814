#include "ping_packet.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LENGTH_BYTES PING_LENGTH_BYTES
#define MORE_BYTES   4096 /* of an answer: an error's text, metadata */

enum { CMD = 1, FLAG = 2, SEQUENCE = 3, URI = 5, BODY = 7 };
enum { REQUEST = 1, EXCEPTION = 1 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static uint8_t pattern(size_t i)
{
    return (uint8_t)i;
}

/* ---- writing ---- */

static uint8_t *write_varint(uint8_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *write_key(uint8_t *out, unsigned field, unsigned type)
{
    return write_varint(out, field << 3 | type);
}

size_t ping_write(uint8_t *out, uint64_t number, uint32_t size)
{
    static const char method[] = "echo";
    uint8_t *p = out + LENGTH_BYTES;
    p = write_varint(write_key(p, CMD, VARINT), REQUEST);
    p = write_varint(write_key(p, SEQUENCE, VARINT), number);
    p = write_varint(write_key(p, URI, BYTES), sizeof method - 1);
    memcpy(p, method, sizeof method - 1);
    p += sizeof method - 1;
    if (size)
        p = write_varint(write_key(p, BODY, BYTES), size);
    for (size_t i = 0; i < size; i++)
        *p++ = pattern(i);
    size_t len = (size_t)(p - out);
    for (int i = 0; i < LENGTH_BYTES; i++)
        out[i] = (uint8_t)((len - LENGTH_BYTES) >> 8 * i);
    return len;
}

/* ---- reading ---- */

static bool read_varint(fw_slice *in, uint64_t *ret_value)
{
    const uint8_t *p = in->data;
    *ret_value = 0;
    for (size_t i = 0; i < in->len && i < 10; i++) {
        *ret_value |= (uint64_t)(p[i] & 0x7f) << 7 * i;
        if (p[i] < 0x80) {
            *in = (fw_slice){p + i + 1, in->len - i - 1};
            return true;
        }
    }
    return false;
}

static bool read_bytes(fw_slice *in, uint64_t len, fw_slice *ret_bytes)
{
    if (len > in->len)
        return false;
    *ret_bytes = (fw_slice){in->data, (size_t)len};
    *in = (fw_slice){(const uint8_t *)in->data + len, in->len - (size_t)len};
    return true;
}

/* One field: the number of those that have one, the bytes of the others. */
static bool read_field(fw_slice *in, uint64_t *ret_key, uint64_t *ret_number, fw_slice *ret_bytes)
{
    *ret_number = 0;
    *ret_bytes = (fw_slice){NULL, 0};
    if (!read_varint(in, ret_key))
        return false;
    switch (*ret_key & 7) {
    case VARINT:
        return read_varint(in, ret_number);
    case FIXED64:
        return read_bytes(in, 8, ret_bytes);
    case BYTES:
        return read_varint(in, ret_number) && read_bytes(in, *ret_number, ret_bytes);
    case FIXED32:
        return read_bytes(in, 4, ret_bytes);
    default:
        return false;
    }
}

static bool is_pattern(fw_slice bytes, uint32_t size)
{
    const uint8_t *p = bytes.data;
    bool same = bytes.len == size;
    for (size_t i = 0; same && i < size; i++)
        same = p[i] == pattern(i);
    return same;
}

static int parse(fw_slice in, uint32_t size, ping_answer *ret_answer)
{
    uint64_t key, number, flags = 0;
    fw_slice bytes, body = {NULL, 0};
    *ret_answer = (ping_answer){.number = 0};
    while (in.len) {
        if (!read_field(&in, &key, &number, &bytes))
            return FW_EPROTOCOL;
        if (key == (FLAG << 3 | VARINT))
            flags = number;
        else if (key == (SEQUENCE << 3 | VARINT))
            ret_answer->number = number;
        else if (key == (BODY << 3 | BYTES))
            body = bytes;
    }
    ret_answer->is_error = flags & EXCEPTION;
    ret_answer->is_damaged = !ret_answer->is_error && !is_pattern(body, size);
    return FW_OK;
}

int ping_reader_init(ping_reader *reader, uint32_t size)
{
    *reader = (ping_reader){.size = size};
    reader->buffer = malloc(LENGTH_BYTES + size + MORE_BYTES);
    return reader->buffer ? FW_OK : UV_ENOMEM;
}

void ping_reader_fini(ping_reader *reader)
{
    free(reader->buffer);
}

/* How many bytes are missing of the length, or of the packet; 0: it is whole. */
static int count_missing(const ping_reader *reader, size_t *ret_missing)
{
    uint32_t length = 0;
    *ret_missing = LENGTH_BYTES - reader->len;
    if (reader->len < LENGTH_BYTES)
        return FW_OK;
    for (int i = 0; i < LENGTH_BYTES; i++)
        length |= (uint32_t)reader->buffer[i] << 8 * i;
    if (length > reader->size + MORE_BYTES)
        return FW_EPROTOCOL;
    *ret_missing = LENGTH_BYTES + length - reader->len;
    return FW_OK;
}

int ping_reader_push(ping_reader *reader, const uint8_t *data, size_t len, size_t *ret_taken,
                     bool *ret_has_answer, ping_answer *ret_answer)
{
    size_t missing = 0;
    *ret_taken = 0;
    *ret_has_answer = false;
    int err = count_missing(reader, &missing);
    while (!err && missing && *ret_taken < len) {
        size_t n = missing < len - *ret_taken ? missing : len - *ret_taken;
        memcpy(reader->buffer + reader->len, data + *ret_taken, n);
        reader->len += n;
        *ret_taken += n;
        err = count_missing(reader, &missing);
    }
    if (err || missing)
        return err;
    *ret_has_answer = true;
    fw_slice packet = {reader->buffer + LENGTH_BYTES, reader->len - LENGTH_BYTES};
    reader->len = 0;
    return parse(packet, reader->size, ret_answer);
}

int ping_read_message(const ping_reader *reader, const uint8_t *data, size_t len,
                      ping_answer *ret_answer)
{
    return parse((fw_slice){data, len}, reader->size, ret_answer);
}
