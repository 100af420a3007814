/*
 * The dialect of Go's v1, Node and Objective-C (big-endian):
 *
 *     flag u8 | sequence u16 | code, NUL | length of 1, 2, 4 or 8 bytes, by the flag | payload
 *
 * The code is the method's name in a request, and in a response the error's, empty if there is
 * none.
 */
#include "rpc/fly/fly.h"

#include <fairway/error.h>

enum { FLAG = 0, SEQUENCE = 1, CODE = 3 };
enum { RESPONSE = 0x80, WAITS = 0x40, WIDTH = 0x03 };
#define MAX_LENGTH_BYTES 8
#define MAX_HEAD         (CODE + FWI_FLY_MAX_METHOD + 1 + MAX_LENGTH_BYTES)

/* ---- frames ---- */

static int parse_header(const uint8_t *data, size_t len, uint64_t *ret_payload, void *arg)
{
    (void)arg;
    if (len <= CODE)
        return 0;
    const uint8_t *end = memchr(data + CODE, 0, len - CODE);
    if (!end)
        return len - CODE > FWI_FLY_MAX_METHOD ? FW_EPROTOCOL : 0;
    size_t width = (size_t)1 << (data[FLAG] & WIDTH), head = (size_t)(end + 1 - data) + width;
    if (head > len)
        return 0;
    uint64_t payload = 0;
    for (size_t i = 1; i <= width; i++)
        payload = payload << 8 | end[i];
    *ret_payload = payload;
    return (int)head;
}

static const fw_framing_ops framing = {.max_header_bytes = MAX_HEAD, .parse = parse_header};

/* The first packet of a peer is no response, and has neither reserved bits nor those of the zip
 * that was never built; its name is not empty, and begins with no control character. */
static int recognise(const uint8_t *data, size_t len, bool messages, uint32_t max_frame_bytes)
{
    (void)messages;
    (void)max_frame_bytes;
    if (len && data[FLAG] & ~(WAITS | WIDTH))
        return -1;
    if (len <= CODE)
        return 0;
    return data[CODE] >= ' ' ? 1 : -1;
}

/* ---- packets ---- */

static int decode(fwi_rpc_packet *ret_packet, fw_rpc_field *room, const uint8_t *data, size_t len,
                  bool messages)
{
    (void)room;
    (void)messages;
    uint64_t payload = 0;
    *ret_packet = (fwi_rpc_packet){.kind = FWI_RPC_KIND_IGNORED};
    int head = parse_header(data, len < MAX_HEAD ? len : MAX_HEAD, &payload, NULL);
    if (head <= 0 || payload != len - (size_t)head)
        return FW_EPACKET;
    uint8_t flag = data[FLAG];
    size_t width = (size_t)1 << (flag & WIDTH);
    fw_slice code = {data + CODE, (size_t)head - width - 1 - CODE};
    *ret_packet = (fwi_rpc_packet){.kind = flag & RESPONSE ? FWI_RPC_KIND_RESPONSE
                                           : flag & WAITS  ? FWI_RPC_KIND_REQUEST
                                                           : FWI_RPC_KIND_ONEWAY,
                                   .is_error = flag & RESPONSE && code.len,
                                   .sequence = fwi_get_u16be(data + SEQUENCE),
                                   .method = code,
                                   .body = {data + head, (size_t)payload}};
    return FW_OK;
}

/* Which width a length needs: 0, 1, 2 or 3. */
static uint8_t width_of(size_t len)
{
    return len <= UINT8_MAX ? 0 : len <= UINT16_MAX ? 1 : len <= UINT32_MAX ? 2 : 3;
}

/* A response has the code of its error alone. */
static fw_slice code_of(const fwi_rpc_packet *packet)
{
    bool has_code = packet->kind != FWI_RPC_KIND_RESPONSE || packet->is_error;
    return has_code ? packet->method : (fw_slice){"", 0};
}

static int size(const fwi_rpc_packet *packet, bool messages, uint32_t max_frame_bytes,
                size_t *ret_size)
{
    (void)messages;
    fw_slice code = code_of(packet);
    bool has_nul = code.len && memchr(code.data, 0, code.len);
    if (packet->sequence > UINT16_MAX || packet->metadata_count || code.len > FWI_FLY_MAX_METHOD ||
        has_nul || packet->kind == FWI_RPC_KIND_PING || packet->kind == FWI_RPC_KIND_PONG)
        return FW_EOPTION;
    if (packet->body.len > max_frame_bytes)
        return FW_EFRAMESIZE;
    *ret_size = CODE + code.len + 1 + ((size_t)1 << width_of(packet->body.len)) + packet->body.len;
    return FW_OK;
}

static void encode(const fwi_rpc_packet *packet, bool messages, uint8_t *out, size_t len)
{
    (void)messages;
    (void)len;
    fw_slice code = code_of(packet);
    uint8_t width = width_of(packet->body.len);
    uint8_t kind = packet->kind == FWI_RPC_KIND_RESPONSE  ? RESPONSE
                   : packet->kind == FWI_RPC_KIND_REQUEST ? WAITS
                                                          : 0;
    out[FLAG] = kind | width;
    fwi_put_u16be(out + SEQUENCE, (uint16_t)packet->sequence);
    out += CODE;
    fwi_fly_put(&out, code.data, code.len);
    *out++ = 0;
    for (int i = (1 << width) - 1; i >= 0; i--)
        *out++ = (uint8_t)((uint64_t)packet->body.len >> 8 * i);
    fwi_fly_put(&out, packet->body.data, packet->body.len);
}

/* ---- errors ---- */

static int get_error(const fwi_rpc_packet *packet, fwi_rpc_error *ret_error)
{
    return fwi_fly_get_named(packet->method, ret_error);
}

static int put_error(fwi_rpc_packet *packet, const fwi_rpc_error *error, fw_rpc_error_format format,
                     void **ret_memory)
{
    (void)format;
    (void)ret_memory;
    packet->method = fwi_fly_name_of(error);
    packet->body = (fw_slice){"", 0};
    return FW_OK;
}

const fwi_rpc_protocol fwi_rpc_fly_v1 = {
    .name = "fly-v1",
    .abilities = FWI_RPC_CAN_NAMES | FWI_RPC_CAN_ERRORS | FWI_RPC_ONEWAY_IS_UNNUMBERED,
    .max_sequence = UINT16_MAX,
    .framing = {.custom = &framing},
    .recognise = recognise,
    .decode = decode,
    .size = size,
    .encode = encode,
    .get_error = get_error,
    .put_error = put_error,
};
