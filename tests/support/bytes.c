#include "fwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t *fwt_unhex(const char *hex, size_t *ret_len)
{
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = malloc(len ? len : 1);
    for (size_t i = 0; i < len; i++) {
        unsigned value;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &value), 1);
        bytes[i] = (uint8_t)value;
    }
    *ret_len = len;
    return bytes;
}

void fwt_assert_bytes(const void *got, size_t got_len, const void *wanted, size_t wanted_len,
                      const char *what)
{
    if (got_len == wanted_len && (!got_len || !memcmp(got, wanted, got_len)))
        return;
    fprintf(stderr, "%s\n  wanted ", what);
    for (size_t i = 0; i < wanted_len; i++)
        fprintf(stderr, "%02x", ((const uint8_t *)wanted)[i]);
    fprintf(stderr, "\n  got    ");
    for (size_t i = 0; i < got_len; i++)
        fprintf(stderr, "%02x", ((const uint8_t *)got)[i]);
    fprintf(stderr, "\n");
    ck_abort_msg("%s: bytes differ", what);
}
