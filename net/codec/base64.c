#include "codec/base64.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *fwi_base64_encode(fw_slice data)
{
    const uint8_t *p = data.data;
    char *text = malloc((data.len + 2) / 3 * 4 + 1), *out = text;
    if (!text)
        return NULL;
    for (size_t i = 0; i < data.len; i += 3) {
        size_t n = data.len - i;
        uint32_t bits = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                        (n > 2 ? (uint32_t)p[i + 2] : 0);
        *out++ = letters[bits >> 18];
        *out++ = letters[bits >> 12 & 63];
        *out++ = n > 1 ? letters[bits >> 6 & 63] : '=';
        *out++ = n > 2 ? letters[bits & 63] : '=';
    }
    *out = 0;
    return text;
}

static int value_of(char c)
{
    if (c == '-')
        c = '+';
    if (c == '_')
        c = '/';
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

int fwi_base64_decode(const char *text, uint8_t **ret_data, size_t *ret_len)
{
    size_t len = strlen(text), padding = 0;
    while (padding < 2 && len && text[len - 1] == '=') {
        len--;
        padding++;
    }
    if (len % 4 == 1 || (padding && (len + padding) % 4))
        return FW_EMESSAGE;
    uint8_t *data = malloc(len / 4 * 3 + 3), *out = data;
    if (!data)
        return UV_ENOMEM;
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        int value = value_of(text[i]);
        if (value < 0) {
            free(data);
            return FW_EMESSAGE;
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4)
            *out++ = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    *ret_data = data;
    *ret_len = (size_t)(out - data);
    return FW_OK;
}
