/* walle's packet behind the pipeline's interface. */
#include "rpc/walle/packet.h"

#include <fairway/error.h>
#include <fairway/pipeline.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int decode(const uint8_t *data, size_t len, fw_rpc_field *metadata_room,
                  fw_packet *ret_packet, void *arg)
{
    (void)arg;
    fwi_walle_packet packet;
    int err = fwi_walle_decode(&packet, metadata_room, data, len);
    if (err)
        return err;
    ret_packet->kind = packet.cmd == FWI_WALLE_RESPONSE ? FW_PACKET_RESPONSE
                       : packet.cmd == FWI_WALLE_ONEWAY ? FW_PACKET_ONEWAY
                                                        : FW_PACKET_REQUEST;
    ret_packet->flags = packet.flag;
    ret_packet->sequence = packet.sequence;
    ret_packet->method = packet.method;
    ret_packet->number = packet.number;
    ret_packet->body = packet.body;
    ret_packet->metadata = packet.metadata;
    ret_packet->metadata_count = packet.metadata_count;
    if (ret_packet->kind != FW_PACKET_RESPONSE || !(packet.flag & FWI_WALLE_FLAG_EXCEPTION))
        return FW_OK;
    fwi_rpc_error error = {.code = 0};
    err = fwi_walle_error_decode(&error, packet.body);
    ret_packet->is_error = true;
    ret_packet->error.code = error.code;
    ret_packet->error.logic = error.logic;
    memcpy(ret_packet->error.text, error.text, sizeof error.text);
    return err;
}

static int encode_error(const fw_packet *packet, fw_rpc_error_format format, fw_slice *ret_body)
{
    fwi_rpc_error error = {.code = packet->error.code, .logic = packet->error.logic};
    memcpy(error.text, packet->error.text, sizeof error.text);
    return fwi_walle_error_encode(&error, format, ret_body);
}

static int encode(const fw_packet *from, uint8_t **ret_data, size_t *ret_len, void *arg)
{
    static const int32_t commands[] = {[FW_PACKET_REQUEST] = FWI_WALLE_REQUEST,
                                       [FW_PACKET_RESPONSE] = FWI_WALLE_RESPONSE,
                                       [FW_PACKET_ONEWAY] = FWI_WALLE_ONEWAY};
    if (from->metadata_count > FWI_RPC_MAX_METADATA)
        return FW_EOPTION;
    fwi_walle_packet packet = {.cmd = commands[from->kind],
                               .flag = from->flags,
                               .sequence = from->sequence,
                               .method = from->method,
                               .number = from->number,
                               .body = from->body,
                               .metadata = from->metadata,
                               .metadata_count = from->metadata_count};
    fw_slice error = {NULL, 0};
    if (from->is_error) {
        int err = encode_error(from, *(const fw_rpc_error_format *)arg, &error);
        if (err)
            return err;
        packet.flag |= FWI_WALLE_FLAG_EXCEPTION;
        packet.body = error;
    }
    *ret_len = fwi_walle_size(&packet);
    *ret_data = malloc(*ret_len ? *ret_len : 1);
    if (*ret_data)
        fwi_walle_encode(&packet, *ret_data);
    free((void *)error.data);
    return *ret_data ? FW_OK : UV_ENOMEM;
}

const fw_packet_codec *fw_packet_codec_walle(fw_rpc_error_format errors)
{
    static fw_rpc_error_format formats[] = {FW_RPC_ERRORS_JSON, FW_RPC_ERRORS_PROTOBUF};
    static const fw_packet_codec codecs[] = {
        {.name = "walle", .decode = decode, .encode = encode, .arg = &formats[0]},
        {.name = "walle", .decode = decode, .encode = encode, .arg = &formats[1]},
    };
    return &codecs[errors == FW_RPC_ERRORS_PROTOBUF];
}
