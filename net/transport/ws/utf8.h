/*
 * UTF-8, checked as it comes (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
 */
#ifndef FWI_WS_UTF8_H
#define FWI_WS_UTF8_H

#include <fairway/base.h>

/* Zero-initialised is the beginning of a text. */
typedef struct fwi_utf8 {
    uint8_t missing;   /* continuation bytes that the character under way still needs */
    uint8_t low, high; /* bounds of the next one */
} fwi_utf8;

/* False as soon as the text so far cannot be the beginning of a valid one. */
FWI_API bool fwi_utf8_check(fwi_utf8 *utf8, const uint8_t *data, size_t len);
/* True if the text may end here. */
static inline bool fwi_utf8_is_whole(const fwi_utf8 *utf8)
{
    return !utf8->missing;
}

#endif
