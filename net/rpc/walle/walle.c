/* walle's protocol for the call engine. */
#include "rpc/walle/packet.h"

#include "base/bytes.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>

#define LENGTH_BYTES 4

/* A cancellation is a one-way packet that other peers do not know and pass over. */
#define CANCEL_METHOD "fw.cancel"
#define CANCEL_FIELD  "fw-cancel"

static const fw_slice nothing = {"", 0};

static size_t head_bytes(bool messages)
{
    return messages ? 0 : LENGTH_BYTES;
}

/* ---- reading ---- */

static bool get_decimal(fw_slice text, uint64_t *ret_number)
{
    const char *digits = text.data;
    uint64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (digits[i] < '0' || digits[i] > '9' || number > (UINT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(digits[i] - '0');
    }
    *ret_number = number;
    return text.len > 0;
}

/* A one-way packet with the reserved name: the request that is meant. */
static void read_cancel(fwi_rpc_packet *packet)
{
    packet->kind = FWI_RPC_KIND_IGNORED;
    for (size_t i = 0; i < packet->metadata_count; i++)
        if (fwi_slice_is(packet->metadata[i].name, CANCEL_FIELD, sizeof CANCEL_FIELD - 1) &&
            get_decimal(packet->metadata[i].value, &packet->sequence))
            packet->kind = FWI_RPC_KIND_CANCEL;
}

static fwi_rpc_kind kind_of(int32_t cmd)
{
    switch (cmd) {
    case FWI_WALLE_RESPONSE:
        return FWI_RPC_KIND_RESPONSE;
    case FWI_WALLE_ONEWAY:
        return FWI_RPC_KIND_ONEWAY;
    default: /* as the original routes it */
        return FWI_RPC_KIND_REQUEST;
    }
}

static int decode(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data, size_t len,
                  bool messages)
{
    fwi_walle_packet packet;
    size_t head = head_bytes(messages);
    int err = fwi_walle_decode(&packet, room, data + head, len - head);
    *ret_packet = (fwi_rpc_packet){.kind = kind_of(packet.cmd),
                                   .is_error = packet.flag & FWI_WALLE_FLAG_EXCEPTION,
                                   .flags = packet.flag,
                                   .sequence = packet.sequence,
                                   .number = packet.number,
                                   .method = packet.method,
                                   .body = packet.body,
                                   .metadata = packet.metadata,
                                   .metadata_count = packet.metadata_count};
    if (err && (!packet.cmd || !packet.sequence))
        ret_packet->kind = FWI_RPC_KIND_IGNORED;
    if (!err && ret_packet->kind == FWI_RPC_KIND_ONEWAY && ret_packet->metadata_count &&
        fwi_slice_is(ret_packet->method, CANCEL_METHOD, sizeof CANCEL_METHOD - 1))
        read_cancel(ret_packet);
    return err;
}

static int get_error(const fwi_rpc_packet *packet, fwi_rpc_error *ret_error)
{
    return fwi_walle_error_decode(ret_error, packet->body);
}

/* A length that is within the limit, and a packet that begins with its Cmd, as all encoders have
 * it: 1, 2 or 3. */
static int recognise(const uint8_t *data, size_t len, bool messages, uint32_t max_frame_bytes)
{
    static const uint8_t cmd_tag = 1 << 3;
    size_t head = head_bytes(messages);
    if (head && len >= head && fwi_get_u32le(data) > max_frame_bytes)
        return -1;
    if (len > head && data[head] != cmd_tag)
        return -1;
    if (len < head + 2)
        return 0;
    return data[head + 1] >= FWI_WALLE_REQUEST && data[head + 1] <= FWI_WALLE_ONEWAY ? 1 : -1;
}

/* ---- writing ---- */

static const int32_t cmds[] = {[FWI_RPC_KIND_REQUEST] = FWI_WALLE_REQUEST,
                               [FWI_RPC_KIND_RESPONSE] = FWI_WALLE_RESPONSE,
                               [FWI_RPC_KIND_ONEWAY] = FWI_WALLE_ONEWAY,
                               [FWI_RPC_KIND_CANCEL] = FWI_WALLE_ONEWAY};

/* What a cancellation says lies in scratch, which its metadata points to. */
struct cancel_scratch {
    char digits[24];
    fw_rpc_field field;
};

static fwi_walle_packet to_wire(const fwi_rpc_packet *packet, struct cancel_scratch *scratch)
{
    fwi_walle_packet wire = {.cmd = cmds[packet->kind],
                             .flag = packet->flags,
                             .sequence = packet->sequence,
                             .method = packet->method,
                             .number = packet->number,
                             .body = packet->body,
                             .metadata = packet->metadata,
                             .metadata_count = packet->metadata_count};
    if (packet->is_error)
        wire.flag |= FWI_WALLE_FLAG_EXCEPTION;
    if (packet->kind == FWI_RPC_KIND_CANCEL) {
        int n = snprintf(scratch->digits, sizeof scratch->digits, "%llu",
                         (unsigned long long)packet->sequence);
        scratch->field =
            (fw_rpc_field){{CANCEL_FIELD, sizeof CANCEL_FIELD - 1}, {scratch->digits, (size_t)n}};
        wire.method = (fw_slice){CANCEL_METHOD, sizeof CANCEL_METHOD - 1};
        wire.body = nothing;
        wire.metadata = &scratch->field;
        wire.metadata_count = 1;
    }
    return wire;
}

static int size(const fwi_rpc_packet *packet, bool messages, uint32_t max_frame_bytes,
                size_t *ret_size)
{
    struct cancel_scratch scratch;
    fwi_walle_packet wire = to_wire(packet, &scratch);
    if (packet->kind == FWI_RPC_KIND_PING || packet->kind == FWI_RPC_KIND_PONG ||
        packet->metadata_count > FWI_RPC_MAX_METADATA)
        return FW_EOPTION;
    size_t payload = fwi_walle_size(&wire);
    if (payload > max_frame_bytes)
        return FW_EFRAMESIZE;
    *ret_size = head_bytes(messages) + payload;
    return FW_OK;
}

static void encode(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t size)
{
    struct cancel_scratch scratch;
    fwi_walle_packet wire = to_wire(packet, &scratch);
    if (!messages)
        fwi_put_u32le(out, (uint32_t)(size - LENGTH_BYTES));
    fwi_walle_encode(&wire, out + head_bytes(messages));
}

static int put_error(fwi_rpc_packet *packet, const fwi_rpc_error *error, fw_rpc_error_format format,
                     void **ret_memory)
{
    int err = fwi_walle_error_encode(error, format, &packet->body);
    if (!err)
        *ret_memory = (void *)packet->body.data;
    return err;
}

const fwi_rpc_protocol fwi_rpc_walle = {
    .name = "walle",
    .abilities = FWI_RPC_CAN_NAMES | FWI_RPC_CAN_NUMBERS | FWI_RPC_CAN_METADATA |
                 FWI_RPC_CAN_CANCEL | FWI_RPC_CAN_ERRORS,
    .max_sequence = UINT64_MAX,
    .framing = {.length_bytes = LENGTH_BYTES},
    .recognise = recognise,
    .decode = decode,
    .size = size,
    .encode = encode,
    .get_error = get_error,
    .put_error = put_error,
};
