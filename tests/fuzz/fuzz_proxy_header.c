/* Headers of the PROXY protocol: the same in one piece and byte by byte, never a byte too many, and
 * what was understood is understood again after it was written. */
#include "fuzz.h"
#include "transport/proxy_header.h"

#include <fairway/error.h>
#include <string.h>

static int run(fwi_proxy_parser *parser, const uint8_t *data, size_t len, size_t piece,
               size_t *ret_taken)
{
    fwi_proxy_parser_init(parser);
    *ret_taken = 0;
    for (size_t at = 0; at < len && fwi_proxy_parser_wanted(parser);) {
        size_t n = len - at < piece ? len - at : piece, taken;
        uint8_t *copy = malloc(n);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        int err = fwi_proxy_parser_input(parser, copy, n, &taken);
        free(copy);
        FUZZ_CHECK(taken <= n && (err || taken == n || !fwi_proxy_parser_wanted(parser)));
        if (err)
            return err;
        at += n;
        *ret_taken += taken;
    }
    return FW_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static fwi_proxy_parser whole, bytewise, again;
    static fwi_proxy_addresses addresses, read_again;
    size_t taken, taken_bytewise, written;
    int err = run(&whole, data, len, len ? len : 1, &taken);
    FUZZ_CHECK(err == run(&bytewise, data, len, 1, &taken_bytewise));
    if (err || fwi_proxy_parser_addresses(&whole, &addresses))
        return 0;
    FUZZ_CHECK(taken == taken_bytewise);
    char text[200], text_again[200];
    fwi_proxy_source_url(&addresses, text, sizeof text);
    uint8_t bytes[FWI_PROXY_WRITE_BYTES];
    FUZZ_CHECK(!fwi_proxy_header_write(2, &addresses, bytes, &written));
    FUZZ_CHECK(!run(&again, bytes, written, written, &taken) && taken == written);
    FUZZ_CHECK(!fwi_proxy_parser_addresses(&again, &read_again));
    fwi_proxy_source_url(&read_again, text_again, sizeof text_again);
    FUZZ_CHECK(!strcmp(text, text_again));
    return 0;
}
