#include "session/framer.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_FRAME_BYTES (1024 * 1024)
#define FIRST_PARTIAL_BYTES     256

int fwi_framer_init(fwi_framer *framer, const fw_framing *framing)
{
    *framer = (fwi_framer){.framing = *framing};
    fw_framing *own = &framer->framing;
    if (!own->length_bytes)
        own->length_bytes = 4;
    if (!own->max_frame_bytes)
        own->max_frame_bytes = DEFAULT_MAX_FRAME_BYTES;
    switch (own->length_bytes) {
    case 1:
    case 2:
    case 4:
    case 8:
        return FW_OK;
    default:
        return FW_EOPTION;
    }
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

/* Size of the frame whose header this is, or 0 if it is over the limit. */
static size_t frame_size(const fwi_framer *framer, const uint8_t *header)
{
    uint64_t length = get_length(&framer->framing, header);
    return length > framer->framing.max_frame_bytes ? 0
                                                    : framer->framing.length_bytes + (size_t)length;
}

static int next_from_partial(fwi_framer *framer, fw_slice *ret_frame)
{
    size_t header = framer->framing.length_bytes;
    int err = framer->partial_len < header ? fill_partial(framer, header) : FW_OK;
    if (err || framer->partial_len < header)
        return err;
    size_t size = frame_size(framer, framer->partial);
    if (!size)
        return FW_EFRAMESIZE;
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
    size_t header = framer->framing.length_bytes;
    if (framer->partial_len)
        return next_from_partial(framer, ret_frame);
    if (framer->input_len >= header) {
        size_t size = frame_size(framer, framer->input);
        if (!size)
            return FW_EFRAMESIZE;
        if (framer->input_len >= size) {
            *ret_frame = (fw_slice){framer->input, size};
            framer->input += size;
            framer->input_len -= size;
            return 1;
        }
    }
    return framer->input_len ? fill_partial(framer, framer->input_len) : 0;
}
