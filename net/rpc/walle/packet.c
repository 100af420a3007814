#include "rpc/walle/packet.h"

#include "codec/proto_wire.h"

#include <fairway/error.h>

/* Field numbers of the message. */
enum { CMD = 1, FLAG = 2, SEQUENCE = 3, METADATA = 4, URI = 5, RESERVED_RQ = 6, BODY = 7 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };

static const fw_slice empty = {"", 0};

static bool same(fw_slice a, fw_slice b)
{
    return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

static int decode_entry(fw_slice bytes, fw_rpc_field *ret_field)
{
    fwi_wire_reader reader = {bytes.data, (const uint8_t *)bytes.data + bytes.len};
    fwi_wire_field field;
    int rc;
    *ret_field = (fw_rpc_field){empty, empty};
    while ((rc = fwi_wire_next(&reader, &field)) > 0) {
        if (field.type != FWI_WIRE_BYTES)
            continue;
        if (field.number == ENTRY_KEY)
            ret_field->name = field.bytes;
        else if (field.number == ENTRY_VALUE)
            ret_field->value = field.bytes;
    }
    if (!rc && (!fwi_utf8_valid(ret_field->name) || !fwi_utf8_valid(ret_field->value)))
        rc = FW_EPACKET;
    return rc;
}

/* Adds an entry; of two with one name the last counts, as in a protobuf map. */
static int add_metadata(fwi_walle_packet *packet, fw_rpc_field *room, fw_slice bytes)
{
    fw_rpc_field entry;
    int err = decode_entry(bytes, &entry);
    if (err)
        return err;
    for (size_t i = 0; i < packet->metadata_count; i++)
        if (same(room[i].name, entry.name)) {
            room[i] = entry;
            return FW_OK;
        }
    if (packet->metadata_count == FWI_RPC_MAX_METADATA)
        return FW_EPACKET;
    room[packet->metadata_count++] = entry;
    return FW_OK;
}

static int take_bytes(fwi_walle_packet *packet, fw_rpc_field *room, const fwi_wire_field *field)
{
    switch (field->number) {
    case METADATA:
        return add_metadata(packet, room, field->bytes);
    case URI:
        packet->method = field->bytes;
        return fwi_utf8_valid(field->bytes) ? FW_OK : FW_EPACKET;
    case BODY:
        packet->body = field->bytes;
        return FW_OK;
    default:
        return FW_OK; /* unknown, or not of its type: passed over as protobuf does */
    }
}

static void take_varint(fwi_walle_packet *packet, const fwi_wire_field *field)
{
    switch (field->number) {
    case CMD:
        packet->cmd = (int32_t)(uint32_t)field->varint;
        break;
    case FLAG:
        packet->flag = (uint32_t)field->varint;
        break;
    case SEQUENCE:
        packet->sequence = field->varint;
        break;
    case RESERVED_RQ:
        packet->number = (uint32_t)field->varint;
        break;
    default:
        break;
    }
}

int fwi_walle_decode(fwi_walle_packet *ret_packet, fw_rpc_field *metadata_room, const uint8_t *data,
                     size_t len)
{
    fwi_walle_packet packet = {.method = empty, .body = empty, .metadata = metadata_room};
    fwi_wire_reader reader = {data, data + len};
    fwi_wire_field field;
    int rc;
    while ((rc = fwi_wire_next(&reader, &field)) > 0) {
        if (field.type == FWI_WIRE_VARINT)
            take_varint(&packet, &field);
        else if (field.type == FWI_WIRE_BYTES && (rc = take_bytes(&packet, metadata_room, &field)))
            break;
    }
    *ret_packet = packet;
    return rc;
}

static size_t entry_size(const fw_rpc_field *entry)
{
    return fwi_bytes_field_size(entry->name.len) + fwi_bytes_field_size(entry->value.len);
}

size_t fwi_walle_size(const fwi_walle_packet *packet)
{
    size_t size = fwi_varint_field_size((uint64_t)(int64_t)packet->cmd) +
                  fwi_varint_field_size(packet->flag) + fwi_varint_field_size(packet->sequence) +
                  fwi_varint_field_size(packet->number);
    for (size_t i = 0; i < packet->metadata_count; i++)
        size += fwi_bytes_field_size(entry_size(&packet->metadata[i]));
    if (packet->method.len)
        size += fwi_bytes_field_size(packet->method.len);
    if (packet->body.len)
        size += fwi_bytes_field_size(packet->body.len);
    return size;
}

void fwi_walle_encode(const fwi_walle_packet *packet, uint8_t *out)
{
    out = fwi_put_varint_field(out, CMD, (uint64_t)(int64_t)packet->cmd);
    out = fwi_put_varint_field(out, FLAG, packet->flag);
    out = fwi_put_varint_field(out, SEQUENCE, packet->sequence);
    for (size_t i = 0; i < packet->metadata_count; i++) {
        const fw_rpc_field *entry = &packet->metadata[i];
        *out++ = METADATA << 3 | FWI_WIRE_BYTES;
        out = fwi_put_varint(out, entry_size(entry));
        out = fwi_put_bytes_field(out, ENTRY_KEY, entry->name);
        out = fwi_put_bytes_field(out, ENTRY_VALUE, entry->value);
    }
    if (packet->method.len)
        out = fwi_put_bytes_field(out, URI, packet->method);
    out = fwi_put_varint_field(out, RESERVED_RQ, packet->number);
    if (packet->body.len)
        (void)fwi_put_bytes_field(out, BODY, packet->body);
}
