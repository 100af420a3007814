/*
 * The dialects with texts for methods and a length in front, 0.3 and 0.4 (big-endian):
 *
 *     0.3: length u16, of what follows | flag u8 | transfer u8 | sequence u16 | method, LF | body
 *     0.4: length u16, of what follows | flag u8 | transfer u8 | sequence u16 | u8, method | body
 */
#include "rpc/fly/fly.h"

#include <fairway/error.h>
#include <uv.h>

enum { LENGTH_BYTES = 2, FLAG = 2, TRANSFER = 3, SEQUENCE = 4, METHOD = 6 };
enum { FIXED = METHOD - LENGTH_BYTES, LEAST = FIXED + 1 }; /* what the length counts of it */

/* ---- frames ---- */

static int parse_header(const uint8_t *data, size_t len, uint64_t *ret_payload, void *arg)
{
    (void)arg;
    if (len < LENGTH_BYTES)
        return 0;
    *ret_payload = fwi_get_u16be(data);
    return LENGTH_BYTES;
}

static const fw_framing_ops framing = {.max_header_bytes = LENGTH_BYTES, .parse = parse_header};

static int recognise(const uint8_t *data, size_t len, bool messages, uint32_t max_frame_bytes)
{
    (void)messages;
    (void)max_frame_bytes;
    if (len >= LENGTH_BYTES && fwi_get_u16be(data) < LEAST)
        return -1;
    if (len > FLAG && !fwi_fly_opens(data[FLAG]))
        return -1;
    if (len <= TRANSFER)
        return 0;
    return data[TRANSFER] ? -1 : 1;
}

/* ---- packets ---- */

/* The part that both have; *ret_rest is what stands from the method on. */
static int decode_common(fwi_rpc_packet *ret_packet, const uint8_t *data, size_t len,
                         fw_slice *ret_rest)
{
    *ret_packet =
        (fwi_rpc_packet){.kind = FWI_RPC_KIND_IGNORED, .method = {"", 0}, .body = {"", 0}};
    if (len < LENGTH_BYTES + LEAST || len - LENGTH_BYTES != fwi_get_u16be(data))
        return FW_EPACKET;
    fwi_fly_read_flag(&fwi_fly_v0_bits, data[FLAG], ret_packet);
    ret_packet->sequence = fwi_get_u16be(data + SEQUENCE);
    *ret_rest = (fw_slice){data + METHOD, len - METHOD};
    return FW_OK;
}

static int decode_03(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data,
                     size_t len, bool messages)
{
    (void)room;
    (void)messages;
    fw_slice rest;
    int err = decode_common(ret_packet, data, len, &rest);
    if (err)
        return err;
    const uint8_t *text = rest.data, *end = memchr(text, '\n', rest.len);
    if (!end)
        return FW_EPACKET; /* whose kind and sequence are known */
    ret_packet->method = (fw_slice){text, (size_t)(end - text)};
    ret_packet->body = (fw_slice){end + 1, rest.len - ret_packet->method.len - 1};
    return FW_OK;
}

static int decode_04(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data,
                     size_t len, bool messages)
{
    (void)room;
    (void)messages;
    fw_slice rest;
    int err = decode_common(ret_packet, data, len, &rest);
    if (err)
        return err;
    const uint8_t *text = rest.data;
    size_t method_len = text[0];
    if (method_len > rest.len - 1)
        return FW_EPACKET;
    ret_packet->method = (fw_slice){text + 1, method_len};
    ret_packet->body = (fw_slice){text + 1 + method_len, rest.len - 1 - method_len};
    return FW_OK;
}

static int size(const fwi_rpc_packet *packet, uint32_t max_frame_bytes, size_t *ret_size)
{
    size_t payload = LEAST + packet->method.len + packet->body.len;
    if (packet->sequence > UINT16_MAX || packet->metadata_count)
        return FW_EOPTION;
    if (packet->body.len > UINT16_MAX || payload > UINT16_MAX || payload > max_frame_bytes)
        return FW_EFRAMESIZE;
    *ret_size = LENGTH_BYTES + payload;
    return FW_OK;
}

static int size_03(const fwi_rpc_packet *packet, bool messages, uint32_t max_frame_bytes,
                   size_t *ret_size)
{
    (void)messages;
    bool fits = packet->method.len <= FWI_FLY_MAX_METHOD &&
                (!packet->method.len || !memchr(packet->method.data, '\n', packet->method.len));
    return fits ? size(packet, max_frame_bytes, ret_size) : FW_EOPTION;
}

static int size_04(const fwi_rpc_packet *packet, bool messages, uint32_t max_frame_bytes,
                   size_t *ret_size)
{
    (void)messages;
    return packet->method.len <= UINT8_MAX ? size(packet, max_frame_bytes, ret_size) : FW_EOPTION;
}

static uint8_t *encode_common(const fwi_rpc_packet *packet, uint8_t *out, size_t len)
{
    fwi_put_u16be(out, (uint16_t)(len - LENGTH_BYTES));
    out[FLAG] = fwi_fly_flag(&fwi_fly_v0_bits, packet);
    out[TRANSFER] = 0;
    fwi_put_u16be(out + SEQUENCE, (uint16_t)packet->sequence);
    return out + METHOD;
}

static void encode_03(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t len)
{
    (void)messages;
    out = encode_common(packet, out, len);
    fwi_fly_put(&out, packet->method.data, packet->method.len);
    *out++ = '\n';
    fwi_fly_put(&out, packet->body.data, packet->body.len);
}

static void encode_04(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t len)
{
    (void)messages;
    out = encode_common(packet, out, len);
    *out++ = (uint8_t)packet->method.len;
    fwi_fly_put(&out, packet->method.data, packet->method.len);
    fwi_fly_put(&out, packet->body.data, packet->body.len);
}

/* ---- errors ---- */

static int get_error(const fwi_rpc_packet *packet, fwi_rpc_error *ret_error)
{
    return fwi_fly_get_named(packet->body, ret_error);
}

static int put_error(fwi_rpc_packet *packet, const fwi_rpc_error *error, fw_rpc_error_format format,
                     void **ret_memory)
{
    (void)format;
    (void)ret_memory;
    packet->body = fwi_fly_name_of(error);
    return FW_OK;
}

const fwi_rpc_protocol fwi_rpc_fly_03 = {
    .name = "fly-0.3",
    .abilities = FWI_RPC_CAN_NAMES | FWI_RPC_CAN_PING | FWI_RPC_CAN_ERRORS,
    .max_sequence = UINT16_MAX,
    .max_ping = UINT16_MAX,
    .framing = {.custom = &framing},
    .class = 2,
    .recognise = recognise,
    .decode = decode_03,
    .size = size_03,
    .encode = encode_03,
    .get_error = get_error,
    .put_error = put_error,
};

const fwi_rpc_protocol fwi_rpc_fly_04 = {
    .name = "fly-0.4",
    .abilities = FWI_RPC_CAN_NAMES | FWI_RPC_CAN_PING | FWI_RPC_CAN_ERRORS,
    .max_sequence = UINT16_MAX,
    .max_ping = UINT16_MAX,
    .framing = {.custom = &framing},
    .class = 2,
    .recognise = recognise,
    .decode = decode_04,
    .size = size_04,
    .encode = encode_04,
    .get_error = get_error,
    .put_error = put_error,
};
