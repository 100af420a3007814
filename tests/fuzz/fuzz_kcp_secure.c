/* The handshake of kcps and its datagrams, at both ends: datagrams with their length in front.
 * What is random never gets in. */
#include "fuzz.h"
#include "transport/kcp/secure.h"
#include "transport/kcp/secure_keys.h"

#include <fairway/error.h>
#include <string.h>

static fwi_kcps_secrets secrets;
static fwi_kcps_client client;
static fwi_kcps_server server;
static fwi_kcps at_client, at_server;

/* One real exchange, so that there are sessions to be attacked. */
static void meet(void)
{
    uint8_t reply[FWI_KCPS_RETRY_BYTES], welcome[FWI_KCPS_ACCEPT_BYTES];
    FUZZ_CHECK(!fwi_kcps_client_init(&client, &secrets));
    FUZZ_CHECK(!fwi_kcps_server_init(&server, &secrets));
    FUZZ_CHECK(fwi_kcps_server_hello(&server, 1, "a", 1, client.hello, sizeof client.hello,
                                     reply) == FWI_KCPS_SEND);
    FUZZ_CHECK(fwi_kcps_client_retry(&client, reply, sizeof reply));
    FUZZ_CHECK(!fwi_kcps_server_accept(&server, client.hello, 1, &at_server, welcome));
    FUZZ_CHECK(!fwi_kcps_client_accept(&client, welcome, sizeof welcome, &at_client));
}

static void attack(const uint8_t *data, size_t len)
{
    uint8_t reply[FWI_KCPS_RETRY_BYTES], kind, *inner, *copy = malloc(len + 1);
    size_t inner_len;
    bool newest;
    fwi_kcps session;
    FUZZ_CHECK(copy);
    memcpy(copy, data, len);
    /* A cookie cannot be guessed, an ACCEPT and a datagram not be forged. */
    FUZZ_CHECK(fwi_kcps_server_hello(&server, 20000, "b", 1, copy, len, reply) != FWI_KCPS_WELCOME);
    FUZZ_CHECK(fwi_kcps_client_accept(&client, copy, len, &session));
    FUZZ_CHECK(fwi_kcps_open(&at_server, copy, len, &kind, &inner, &inner_len, &newest));
    memcpy(copy, data, len);
    FUZZ_CHECK(fwi_kcps_open(&at_client, copy, len, &kind, &inner, &inner_len, &newest));
    memcpy(copy, data, len);
    (void)fwi_kcps_client_retry(&client, copy, len);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    meet();
    for (size_t at = 0; at < len;) {
        size_t size = data[at++];
        if (size > len - at)
            size = len - at;
        attack(data + at, size);
        at += size;
    }
    /* Whatever came, the real ones still understand each other. */
    uint8_t bytes[64], kind, *inner;
    size_t inner_len,
        sealed = fwi_kcps_seal(&at_client, FWI_KCPS_KCP, (const uint8_t *)"x", 1, bytes);
    bool newest;
    FUZZ_CHECK(!fwi_kcps_open(&at_server, bytes, sealed, &kind, &inner, &inner_len, &newest));
    return 0;
}
