#include "transport/ws/utf8.h"

#include <string.h>

#define NOT_ASCII UINT64_C(0x8080808080808080)

/* What must follow a first byte; false: none may begin a character with it. */
static bool begin_character(fwi_utf8 *utf8, uint8_t first)
{
    utf8->low = 0x80;
    utf8->high = 0xbf;
    if (first < 0xc2 || first > 0xf4)
        return false;
    utf8->missing = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first == 0xe0)
        utf8->low = 0xa0; /* shorter forms exist below */
    else if (first == 0xed)
        utf8->high = 0x9f; /* surrogates above */
    else if (first == 0xf0)
        utf8->low = 0x90;
    else if (first == 0xf4)
        utf8->high = 0x8f; /* the end of Unicode */
    return true;
}

static size_t skip_ascii(const uint8_t *data, size_t len)
{
    size_t at = 0;
    uint64_t eight;
    for (; at + sizeof eight <= len; at += sizeof eight) {
        memcpy(&eight, data + at, sizeof eight);
        if (eight & NOT_ASCII)
            break;
    }
    while (at < len && data[at] < 0x80)
        at++;
    return at;
}

bool fwi_utf8_check(fwi_utf8 *utf8, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at++) {
        if (!utf8->missing) {
            at += skip_ascii(data + at, len - at);
            if (at == len)
                break;
            if (!begin_character(utf8, data[at]))
                return false;
            continue;
        }
        if (data[at] < utf8->low || data[at] > utf8->high)
            return false;
        utf8->missing--;
        utf8->low = 0x80;
        utf8->high = 0xbf;
    }
    return true;
}
