/*
 * walle's packet, a proto3 message, written by hand. It stands in a frame with a 4-byte
 * little-endian length (see README.md in this folder for the table).
 */
#ifndef FWI_WALLE_PACKET_H
#define FWI_WALLE_PACKET_H

#include "rpc/protocol.h"

enum { FWI_WALLE_REQUEST = 1, FWI_WALLE_RESPONSE = 2, FWI_WALLE_ONEWAY = 3 };
enum { FWI_WALLE_FLAG_EXCEPTION = 1, FWI_WALLE_FLAG_ASYNC = 2 };

typedef struct fwi_walle_packet {
    int32_t cmd;
    uint32_t flag;
    uint64_t sequence;
    fw_slice method;
    uint32_t number;
    fw_slice body;
    const fw_rpc_field *metadata;
    size_t metadata_count;
} fwi_walle_packet;

/* Decodes; slices point into data, metadata into metadata_room (FWI_RPC_MAX_METADATA entries).
 * FW_EPACKET: not a packet, a string that is not UTF-8, or more metadata than there is room; then
 * *ret_packet has what stood before. */
FWI_API int fwi_walle_decode(fwi_walle_packet *ret_packet, fw_rpc_field *metadata_room,
                             const uint8_t *data, size_t len);
FWI_API size_t fwi_walle_size(const fwi_walle_packet *packet);
/* Writes exactly fwi_walle_size bytes; metadata in the order given. */
FWI_API void fwi_walle_encode(const fwi_walle_packet *packet, uint8_t *out);

/* ErrorResponse, the body of an answer with FLAG_EXCEPTION. Reads either form: JSON starts with
 * '{', which cannot start the protobuf form. FW_EPACKET. */
FWI_API int fwi_walle_error_decode(fwi_rpc_error *ret_error, fw_slice body);
/* Writes the body into memory to be freed. UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_walle_error_encode(const fwi_rpc_error *error,
                                                 fw_rpc_error_format format, fw_slice *ret_body);

#endif
