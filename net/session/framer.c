#include "session/framer.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_FRAME_BYTES (1024 * 1024)
#define FIRST_PARTIAL_BYTES     256

int fwi_framing_check(fw_framing *framing)
{
    if (!framing->max_frame_bytes)
        framing->max_frame_bytes = DEFAULT_MAX_FRAME_BYTES;
    const fw_framing_ops *custom = framing->custom;
    if (framing->messages || custom) {
        if (framing->length_bytes || framing->big_endian || (framing->messages && custom))
            return FW_EOPTION; /* two ways at once */
        bool is_usable = !custom || (custom->parse && custom->write && custom->max_header_bytes &&
                                     custom->max_header_bytes <= FW_MAX_HEADER_BYTES);
        return is_usable ? FW_OK : FW_EOPTION;
    }
    if (!framing->length_bytes)
        framing->length_bytes = 4;
    switch (framing->length_bytes) {
    case 1:
    case 2:
    case 4:
    case 8:
        return FW_OK;
    default:
        return FW_EOPTION;
    }
}

bool fwi_framing_same(const fw_framing *a, const fw_framing *b)
{
    return a->length_bytes == b->length_bytes && a->big_endian == b->big_endian &&
           a->messages == b->messages && a->custom == b->custom;
}

int fwi_framer_init(fwi_framer *framer, const fw_framing *framing)
{
    *framer = (fwi_framer){.framing = *framing};
    int err = fwi_framing_check(&framer->framing);
    return err || !framing->messages ? err : FW_EOPTION;
}

void fwi_framer_fini(fwi_framer *framer)
{
    free(framer->partial);
    framer->partial = NULL;
    framer->partial_len = framer->partial_capacity = 0;
}

void fwi_framer_push(fwi_framer *framer, const uint8_t *data, size_t len)
{
    framer->input = data;
    framer->input_len = len;
}

static uint64_t get_length(const fw_framing *framing, const uint8_t *header)
{
    uint64_t length = 0;
    for (int i = 0; i < framing->length_bytes; i++) {
        int at = framing->big_endian ? i : framing->length_bytes - 1 - i;
        length = length << 8 | header[at];
    }
    return length;
}

void fwi_framing_put_header(const fw_framing *framing, uint8_t *header, uint64_t len)
{
    for (int i = 0; i < framing->length_bytes; i++, len >>= 8)
        header[framing->big_endian ? framing->length_bytes - 1 - i : i] = (uint8_t)len;
}

/* Moves input into the partial frame until that holds want bytes. */
static int fill_partial(fwi_framer *framer, size_t want)
{
    size_t n = want - framer->partial_len;
    if (n > framer->input_len)
        n = framer->input_len;
    size_t need = framer->partial_len + n;
    if (need > framer->partial_capacity) {
        size_t capacity = framer->partial_capacity ? framer->partial_capacity : FIRST_PARTIAL_BYTES;
        while (capacity < need)
            capacity *= 2;
        uint8_t *bigger = realloc(framer->partial, capacity);
        if (!bigger)
            return UV_ENOMEM;
        framer->partial = bigger;
        framer->partial_capacity = capacity;
    }
    if (n)
        memcpy(framer->partial + framer->partial_len, framer->input, n);
    framer->partial_len += n;
    framer->input += n;
    framer->input_len -= n;
    return FW_OK;
}

int fwi_framing_write_header(const fw_framing *framing, uint8_t *header, uint64_t len)
{
    if (len > framing->max_frame_bytes)
        return FW_EFRAMESIZE;
    if (framing->messages)
        return 0;
    const fw_framing_ops *custom = framing->custom;
    if (custom) {
        int n = custom->write(header, len, custom->arg);
        return n <= custom->max_header_bytes ? n : FW_EFRAMESIZE;
    }
    if (framing->length_bytes < 4 && len >> (8 * framing->length_bytes))
        return FW_EFRAMESIZE;
    fwi_framing_put_header(framing, header, len);
    return framing->length_bytes;
}

/* Bytes of which a header is known to consist if they are not yet there; a custom one is looked at
 * from its first byte on. */
static size_t least_header(const fw_framing *framing)
{
    return framing->custom ? 1 : framing->length_bytes;
}

/* Looks at the beginning of a frame. Its size with the header in *ret_size, and the header's own in
 * framer->header_bytes; *ret_size is 0 if more bytes are needed to tell. */
static int measure(fwi_framer *framer, const uint8_t *data, size_t len, size_t *ret_size)
{
    const fw_framing *framing = &framer->framing;
    uint64_t payload;
    *ret_size = 0;
    if (len < least_header(framing))
        return FW_OK;
    if (framing->custom) {
        const fw_framing_ops *custom = framing->custom;
        size_t seen = len < custom->max_header_bytes ? len : custom->max_header_bytes;
        payload = 0;
        int n = custom->parse(data, seen, &payload, custom->arg);
        if (n < 0)
            return n;
        if (!n)
            return seen == custom->max_header_bytes ? FW_EPROTOCOL : FW_OK;
        if ((size_t)n > seen)
            return FW_EPROTOCOL;
        framer->header_bytes = (uint16_t)n;
    } else {
        payload = get_length(framing, data);
        framer->header_bytes = framing->length_bytes;
    }
    if (payload > framing->max_frame_bytes)
        return FW_EFRAMESIZE;
    *ret_size = framer->header_bytes + (size_t)payload;
    return FW_OK;
}

static int next_from_partial(fwi_framer *framer, fw_slice *ret_frame)
{
    size_t size = 0;
    int err = FW_OK;
    /* A header that grows byte by byte ends at the latest with max_header_bytes, or in an error. */
    for (size_t want = least_header(&framer->framing); !err && !size; want++) {
        if (framer->partial_len < want && (err = fill_partial(framer, want)))
            return err;
        if (framer->partial_len < want)
            return 0;
        err = measure(framer, framer->partial, framer->partial_len, &size);
    }
    if (!err && framer->partial_len > size)
        return FW_EPROTOCOL; /* a custom framing that has changed its mind */
    if (!err)
        err = fill_partial(framer, size);
    if (err || framer->partial_len < size)
        return err;
    framer->partial_used = true;
    *ret_frame = (fw_slice){framer->partial, size};
    return 1;
}

int fwi_framer_next(fwi_framer *framer, fw_slice *ret_frame)
{
    if (framer->partial_used) {
        fwi_framer_fini(framer); /* an idle connection owns no buffer */
        framer->partial_used = false;
    }
    if (framer->partial_len)
        return next_from_partial(framer, ret_frame);
    size_t size;
    int err = measure(framer, framer->input, framer->input_len, &size);
    if (err)
        return err;
    if (size && framer->input_len >= size) {
        *ret_frame = (fw_slice){framer->input, size};
        framer->input += size;
        framer->input_len -= size;
        return 1;
    }
    return framer->input_len ? fill_partial(framer, framer->input_len) : 0;
}
