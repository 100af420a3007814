/*
 * flyrpc's dialects, and the first bytes of any peer. The first byte chooses the dialect, the
 * second how the rest is cut in pieces. What was read is written and read again as the same.
 */
#include "fuzz.h"
#include "rpc/protocol.h"
#include "session/framer.h"

#include <fairway/error.h>
#include <string.h>

#define MAX_FRAME 70000u

static const fwi_rpc_protocol *const dialects[] = {
    &fwi_rpc_fly_seed, &fwi_rpc_fly_v0, &fwi_rpc_fly_03, &fwi_rpc_fly_04, &fwi_rpc_fly_v1};

static int same(fw_slice a, fw_slice b)
{
    return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

static void check_frame(const fwi_rpc_protocol *protocol, fw_slice frame)
{
    fwi_rpc_packet packet, again;
    fwi_rpc_error error;
    uint8_t *copy = malloc(frame.len), *out = NULL;
    size_t len;
    FUZZ_CHECK(copy);
    memcpy(copy, frame.data, frame.len);
    if (!protocol->decode(&packet, NULL, copy, frame.len, false)) {
        if (packet.is_error && !protocol->get_error(&packet, &error))
            FUZZ_CHECK(memchr(error.text, 0, sizeof error.text));
        if (packet.kind != FWI_RPC_KIND_IGNORED &&
            !protocol->size(&packet, false, MAX_FRAME, &len)) {
            out = malloc(len);
            FUZZ_CHECK(out);
            protocol->encode(&packet, false, out, len);
            FUZZ_CHECK(!protocol->decode(&again, NULL, out, len, false));
            FUZZ_CHECK(packet.kind == again.kind && packet.is_error == again.is_error &&
                       packet.sequence == again.sequence && packet.number == again.number &&
                       same(packet.method, again.method) && same(packet.body, again.body));
        }
    }
    free(out);
    free(copy);
}

static void check_stream(const fwi_rpc_protocol *protocol, const uint8_t *data, size_t len,
                         size_t piece)
{
    fwi_framer framer = {.framing = protocol->framing};
    framer.framing.max_frame_bytes = MAX_FRAME;
    fw_slice frame;
    int rc = 0;
    for (size_t at = 0; at < len && rc >= 0; at += piece) {
        fwi_framer_push(&framer, data + at, len - at < piece ? len - at : piece);
        while ((rc = fwi_framer_next(&framer, &frame)) > 0)
            check_frame(protocol, frame);
    }
    fwi_framer_fini(&framer);
}

static void check_recognition(const uint8_t *data, size_t len)
{
    fwi_rpc_protocols protocols;
    const fwi_rpc_protocol *protocol;
    FUZZ_CHECK(!fwi_rpc_protocols_parse(&protocols, "walle,fly-v0,fly-0.4,fly-v1"));
    for (size_t i = 0; i <= len && i <= 16; i++)
        for (int messages = 0; messages < 2; messages++)
            (void)fwi_rpc_protocols_recognise(&protocols, data, i, messages, MAX_FRAME, &protocol);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    check_stream(dialects[data[0] % (sizeof dialects / sizeof *dialects)], data + 2, len - 2,
                 data[1] + 1u);
    check_recognition(data + 2, len - 2);
    return 0;
}
