/* A TLS client that hears anything: it ends in an error or waits for more, in pieces of any size.
 */
#include "fuzz.h"
#include "transport/tls/engine.h"

#include <fairway/error.h>
#include <string.h>

static bool is_open;

static int on_send(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
    FUZZ_CHECK(len);
    return FW_OK;
}

static void on_open(void *arg)
{
    (void)arg;
    is_open = true;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
    FUZZ_CHECK(is_open && len <= FWI_TLS_RECORD_BYTES);
}

static void on_end(void *arg)
{
    (void)arg;
    FUZZ_CHECK(is_open);
}

static bool wants_data(void *arg)
{
    (void)arg;
    return true;
}

static const fwi_tls_sink sink = {on_send, on_open, on_data, on_end, wants_data};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static fw_tls *tls; /* for all runs: it is reachable at the end, and no leak */
    if (!tls)
        FUZZ_CHECK(!fw_tls_new(&(fw_tls_options){.skip_verify = true, .alpn = "a,b"}, &tls));
    if (!len)
        return 0;
    size_t piece = data[0] ? data[0] : SIZE_MAX;
    fwi_tls_engine engine;
    is_open = false;
    FUZZ_CHECK(!fwi_tls_engine_init(&engine, tls, "host.example", 1, NULL, 1, &sink, NULL));
    FUZZ_CHECK(!fwi_tls_engine_start(&engine));
    bool failed = false;
    for (size_t at = 1; at < len && !failed;) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        ssize_t took = fwi_tls_engine_input(&engine, copy, n);
        free(copy);
        failed = took < 0;
        FUZZ_CHECK(failed ? engine.errmsg != NULL : (size_t)took == n);
        at += n;
    }
    FUZZ_CHECK(fwi_tls_engine_wire_ended(&engine) == FW_EPROTOCOL || engine.peer_ended);
    fwi_tls_engine_fini(&engine);
    return 0;
}
