/* Frames and commands of the gateway. */
#include "fuzz.h"
#include "gateway/codec.h"

#include <fairway/error.h>
#include <string.h>

static void check_command(const uint8_t *frame, size_t len)
{
    fwi_gw_command command, again;
    if (fwi_gw_command_decode(frame, len, &command))
        return;
    uint8_t out[64];
    size_t size = fwi_gw_command_bytes(command.type);
    FUZZ_CHECK(size <= sizeof out && size <= len);
    fwi_gw_command_encode(&command, out);
    FUZZ_CHECK(!fwi_gw_command_decode(out, size, &again));
    FUZZ_CHECK(command.type == again.type && command.conn_id == again.conn_id &&
               command.remote_id == again.remote_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fwi_framer framer;
    FUZZ_CHECK(!fwi_gw_framer_init(&framer, 4096));
    fwi_framer_push(&framer, data, len);
    fw_slice frame;
    while (fwi_framer_next(&framer, &frame) > 0)
        if (frame.len >= FWI_GW_HEADER_BYTES && !fwi_gw_frame_id(frame.data))
            check_command(frame.data, frame.len);
    fwi_framer_fini(&framer);
    return 0;
}
