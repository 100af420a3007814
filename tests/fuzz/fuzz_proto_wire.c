/* The reader of protobuf's wire format. */
#include "codec/proto_wire.h"
#include "fuzz.h"

#include <fairway/error.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fwi_wire_reader reader = {data, data + len};
    fwi_wire_field field;
    int rc;
    size_t text = 0;
    while ((rc = fwi_wire_next(&reader, &field)) > 0) {
        FUZZ_CHECK(reader.at <= reader.end && field.number);
        if (field.type == FWI_WIRE_BYTES) {
            const uint8_t *bytes = field.bytes.data;
            FUZZ_CHECK(bytes >= data && bytes + field.bytes.len <= data + len);
            text += fwi_utf8_valid(field.bytes);
        }
    }
    FUZZ_CHECK(text <= len && (rc == 0 || rc == FW_EPACKET));
    return 0;
}
