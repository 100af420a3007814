/*
 * 0-packing. Each word of 8 bytes becomes a byte with a bit for every byte that is not 0, and those
 * bytes. A word without a 0 starts a run: FF, number of words - 1, the words as they are; words
 * with at most two zeros join it.
 */
#include <fairway/error.h>
#include <fairway/sproto.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WORD_BYTES    8
#define MAX_RUN_WORDS 256
#define RUN           0xff

size_t fw_sproto_pack_bound(size_t len)
{
    size_t words = len / WORD_BYTES + (len % WORD_BYTES != 0);
    /* The worst is 7 bytes of 8 all along, and a run's two bytes for each 256 words. */
    return words * (WORD_BYTES + 1) + 2;
}

/* One word, padded with zeros; returns how many bytes are not 0. */
static unsigned get_word(const uint8_t *data, size_t len, size_t at, uint8_t word[WORD_BYTES])
{
    size_t n = len - at < WORD_BYTES ? len - at : WORD_BYTES;
    unsigned used = 0;
    memset(word, 0, WORD_BYTES);
    memcpy(word, data + at, n);
    for (size_t i = 0; i < WORD_BYTES; i++)
        used += word[i] != 0;
    return used;
}

size_t fw_sproto_pack(const void *data, size_t len, uint8_t *out)
{
    const uint8_t *p = data;
    uint8_t *to = out, *run = NULL; /* the run that is open */
    for (size_t at = 0; at < len; at += WORD_BYTES) {
        uint8_t word[WORD_BYTES];
        unsigned used = get_word(p, len, at, word);
        if (run && used >= 6 && run[1] < MAX_RUN_WORDS - 1) {
            run[1]++;
        } else if (used == WORD_BYTES) {
            run = to;
            *to++ = RUN;
            *to++ = 0;
        } else {
            run = NULL;
            uint8_t *mask = to++;
            *mask = 0;
            for (unsigned i = 0; i < WORD_BYTES; i++)
                if (word[i]) {
                    *mask |= (uint8_t)(1u << i);
                    *to++ = word[i];
                }
            continue;
        }
        memcpy(to, word, WORD_BYTES);
        to += WORD_BYTES;
    }
    return (size_t)(to - out);
}

/* How much comes out, or FW_EMESSAGE. */
static int64_t unpacked_size(const uint8_t *p, size_t len)
{
    uint64_t size = 0;
    for (size_t at = 0; at < len;) {
        uint8_t mask = p[at++];
        size_t packed = (size_t)__builtin_popcount(mask), words = 1;
        if (mask == RUN) {
            if (at == len)
                return FW_EMESSAGE;
            words = (size_t)p[at++] + 1;
            packed = words * WORD_BYTES;
        }
        if (len - at < packed)
            return FW_EMESSAGE;
        at += packed;
        size += words * WORD_BYTES;
    }
    return (int64_t)size;
}

int fw_sproto_unpack(const void *data, size_t len, size_t max_bytes, uint8_t **ret_data,
                     size_t *ret_len)
{
    const uint8_t *p = data;
    int64_t size = unpacked_size(p, len);
    if (size < 0)
        return (int)size;
    if ((uint64_t)size > max_bytes)
        return FW_ELIMIT;
    uint8_t *out = malloc(size ? (size_t)size : 1), *to = out;
    if (!out)
        return UV_ENOMEM;
    for (size_t at = 0; at < len;) {
        uint8_t mask = p[at++];
        if (mask == RUN) {
            size_t n = ((size_t)p[at++] + 1) * WORD_BYTES;
            memcpy(to, p + at, n);
            to += n;
            at += n;
            continue;
        }
        for (unsigned i = 0; i < WORD_BYTES; i++)
            *to++ = mask >> i & 1 ? p[at++] : 0;
    }
    *ret_data = out;
    *ret_len = (size_t)size;
    return FW_OK;
}
