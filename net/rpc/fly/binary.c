/*
 * The dialects with numbers for methods, seed and v0:
 *
 *     flag u8 | method u16 | sequence u8 | length u16, of what follows | body      (big-endian)
 */
#include "rpc/fly/fly.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

enum { FLAG = 0, METHOD = 1, SEQUENCE = 3, LENGTH = 4, HEAD = 6 };
#define ERROR_BYTES 4

static const fwi_fly_bits seed_bits = {.response = 1, .error = 2};

/* ---- frames ---- */

static int parse_header(const uint8_t *data, size_t len, uint64_t *ret_payload, void *arg)
{
    (void)arg;
    if (len < HEAD)
        return 0;
    *ret_payload = fwi_get_u16be(data + LENGTH);
    return HEAD;
}

static const fw_framing_ops framing = {.max_header_bytes = HEAD, .parse = parse_header};

static int recognise(const uint8_t *data, size_t len, bool messages, uint32_t max_frame_bytes)
{
    (void)messages;
    (void)max_frame_bytes;
    return len ? fwi_fly_opens(data[FLAG]) ? 1 : -1 : 0;
}

/* ---- packets ---- */

static int decode_as(const fwi_fly_bits *bits, fwi_rpc_packet *ret_packet, const uint8_t *data,
                     size_t len)
{
    *ret_packet = (fwi_rpc_packet){.kind = FWI_RPC_KIND_IGNORED, .method = {"", 0}};
    if (len < HEAD || len - HEAD != fwi_get_u16be(data + LENGTH))
        return FW_EPACKET;
    fwi_fly_read_flag(bits, data[FLAG], ret_packet);
    ret_packet->number = fwi_get_u16be(data + METHOD);
    ret_packet->sequence = data[SEQUENCE];
    ret_packet->body = (fw_slice){data + HEAD, len - HEAD};
    if (ret_packet->kind == FWI_RPC_KIND_PING || ret_packet->kind == FWI_RPC_KIND_PONG)
        ret_packet->number = 0; /* a ping may have one, its answer has none */
    return FW_OK;
}

static int decode_seed(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data,
                       size_t len, bool messages)
{
    (void)room;
    (void)messages;
    return decode_as(&seed_bits, ret_packet, data, len);
}

static int decode_v0(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data,
                     size_t len, bool messages)
{
    (void)room;
    (void)messages;
    return decode_as(&fwi_fly_v0_bits, ret_packet, data, len);
}

static int size(const fwi_rpc_packet *packet, bool messages, uint32_t max_frame_bytes,
                size_t *ret_size)
{
    (void)messages;
    if (packet->number > UINT16_MAX || packet->sequence > UINT8_MAX || packet->metadata_count)
        return FW_EOPTION;
    if (packet->body.len > UINT16_MAX || packet->body.len > max_frame_bytes)
        return FW_EFRAMESIZE;
    *ret_size = HEAD + packet->body.len;
    return FW_OK;
}

static void encode_as(const fwi_fly_bits *bits, const fwi_rpc_packet *packet, uint8_t *out)
{
    out[FLAG] = fwi_fly_flag(bits, packet);
    fwi_put_u16be(out + METHOD, (uint16_t)packet->number);
    out[SEQUENCE] = (uint8_t)packet->sequence;
    fwi_put_u16be(out + LENGTH, (uint16_t)packet->body.len);
    out += HEAD;
    fwi_fly_put(&out, packet->body.data, packet->body.len);
}

static void encode_seed(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t len)
{
    (void)messages;
    (void)len;
    encode_as(&seed_bits, packet, out);
}

static void encode_v0(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t len)
{
    (void)messages;
    (void)len;
    encode_as(&fwi_fly_v0_bits, packet, out);
}

/* ---- errors ---- */

static int get_error(const fwi_rpc_packet *packet, fwi_rpc_error *ret_error)
{
    if (packet->body.len != ERROR_BYTES)
        return FW_EPACKET;
    const uint8_t *body = packet->body.data;
    fwi_fly_get_numbered((uint32_t)fwi_get_u16be(body) << 16 | fwi_get_u16be(body + 2), ret_error);
    return FW_OK;
}

static int put_error(fwi_rpc_packet *packet, const fwi_rpc_error *error, fw_rpc_error_format format,
                     void **ret_memory)
{
    (void)format;
    uint8_t *body = malloc(ERROR_BYTES);
    if (!body)
        return UV_ENOMEM;
    uint32_t number = fwi_fly_number_of(error);
    fwi_put_u16be(body, (uint16_t)(number >> 16));
    fwi_put_u16be(body + 2, (uint16_t)number);
    *ret_memory = body;
    packet->body = (fw_slice){body, ERROR_BYTES};
    return FW_OK;
}

static int no_error(fwi_rpc_packet *packet, const fwi_rpc_error *error, fw_rpc_error_format format,
                    void **ret_memory)
{
    (void)packet;
    (void)error;
    (void)format;
    (void)ret_memory;
    return FW_EUNSUPPORTED;
}

const fwi_rpc_protocol fwi_rpc_fly_seed = {
    .name = "fly-seed",
    .abilities = FWI_RPC_CAN_NUMBERS | FWI_RPC_CAN_PING | FWI_RPC_ANSWERS_NAME_NUMBER,
    .max_sequence = UINT8_MAX,
    .max_ping = UINT8_MAX,
    .framing = {.custom = &framing},
    .class = 1,
    .recognise = recognise,
    .decode = decode_seed,
    .size = size,
    .encode = encode_seed,
    .get_error = get_error,
    .put_error = no_error,
};

const fwi_rpc_protocol fwi_rpc_fly_v0 = {
    .name = "fly-v0",
    .abilities =
        FWI_RPC_CAN_NUMBERS | FWI_RPC_CAN_PING | FWI_RPC_CAN_ERRORS | FWI_RPC_ANSWERS_NAME_NUMBER,
    .max_sequence = UINT8_MAX,
    .max_ping = UINT8_MAX,
    .framing = {.custom = &framing},
    .class = 1,
    .recognise = recognise,
    .decode = decode_v0,
    .size = size,
    .encode = encode_v0,
    .get_error = get_error,
    .put_error = put_error,
};
