/* walle's packet and its error body: what was read is written and read again as the same. */
#include "fuzz.h"
#include "rpc/walle/packet.h"

#include <fairway/error.h>
#include <string.h>

static int same(fw_slice a, fw_slice b)
{
    return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

static void check_packet(const uint8_t *data, size_t len)
{
    static fw_rpc_field room[FWI_RPC_MAX_METADATA], again_room[FWI_RPC_MAX_METADATA];
    fwi_walle_packet packet, again;
    if (fwi_walle_decode(&packet, room, data, len))
        return;
    size_t size = fwi_walle_size(&packet);
    uint8_t *out = malloc(size + 1);
    FUZZ_CHECK(out);
    fwi_walle_encode(&packet, out);
    FUZZ_CHECK(!fwi_walle_decode(&again, again_room, out, size));
    FUZZ_CHECK(packet.cmd == again.cmd && packet.flag == again.flag &&
               packet.sequence == again.sequence && packet.number == again.number &&
               same(packet.method, again.method) && same(packet.body, again.body) &&
               packet.metadata_count == again.metadata_count);
    free(out);
}

static void check_error(const uint8_t *data, size_t len)
{
    fwi_rpc_error error;
    if (!fwi_walle_error_decode(&error, (fw_slice){data, len}))
        FUZZ_CHECK(memchr(error.text, 0, sizeof error.text));
}

/* As the call engine sees it, cancellations with it; what cannot be read is no more than that. */
static void check_protocol(const uint8_t *data, size_t len)
{
    static fw_rpc_field room[FWI_RPC_MAX_METADATA], again_room[FWI_RPC_MAX_METADATA];
    fwi_rpc_packet packet, again;
    fwi_rpc_error error;
    size_t size;
    int err = fwi_rpc_walle.decode(&packet, room, data, len, true);
    if (err) {
        FUZZ_CHECK(packet.kind == FWI_RPC_KIND_IGNORED || packet.sequence);
        return;
    }
    if (packet.is_error && packet.kind == FWI_RPC_KIND_RESPONSE)
        (void)fwi_rpc_walle.get_error(&packet, &error);
    if (packet.kind == FWI_RPC_KIND_IGNORED ||
        fwi_rpc_walle.size(&packet, false, FWI_RPC_DEFAULT_FRAME, &size))
        return;
    uint8_t *out = malloc(size);
    FUZZ_CHECK(out);
    fwi_rpc_walle.encode(&packet, false, out, size);
    FUZZ_CHECK(!fwi_rpc_walle.decode(&again, again_room, out, size, false));
    FUZZ_CHECK(packet.kind == again.kind && packet.sequence == again.sequence);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    check_packet(data, len);
    check_error(data, len);
    check_protocol(data, len);
    return 0;
}
