#include "wire.h"

typedef struct wire_field {
    uint32_t number;
    uint64_t value; /* of a varint */
    fw_slice bytes; /* of a length-delimited field */
} wire_field;

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static bool fail(fwi_wire *wire)
{
    wire->bad = true;
    wire->next = wire->end;
    return false;
}

static bool read_long_varint(fwi_wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && wire->next < wire->end; shift += 7) {
        uint8_t byte = *wire->next++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return fail(wire);
}

/* Tags and most lengths are one byte. */
static inline bool read_varint(fwi_wire *wire, uint64_t *ret_value)
{
    if (wire->next == wire->end || *wire->next & 0x80)
        return read_long_varint(wire, ret_value);
    *ret_value = *wire->next++;
    return true;
}

static inline bool skip(fwi_wire *wire, size_t len)
{
    if ((size_t)(wire->end - wire->next) < len)
        return fail(wire);
    wire->next += len;
    return true;
}

/* Reads the next field. False at the end, or when the bytes are malformed. */
static inline bool next_field(fwi_wire *wire, wire_field *ret_field)
{
    uint64_t tag, len;
    if (wire->next == wire->end || !read_varint(wire, &tag))
        return false;
    *ret_field = (wire_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case VARINT:
        return read_varint(wire, &ret_field->value);
    case FIXED64:
        return skip(wire, 8);
    case FIXED32:
        return skip(wire, 4);
    case BYTES:
        if (!read_varint(wire, &len))
            return false;
        ret_field->bytes = (fw_slice){wire->next, (size_t)len};
        return skip(wire, (size_t)len);
    default:
        return fail(wire);
    }
}

static bool read_header(fw_slice bytes, uint64_t *ret_cluster, int64_t *ret_revision)
{
    fwi_wire wire = fwi_wire_of(bytes);
    for (wire_field field; next_field(&wire, &field);) {
        if (field.number == 1)
            *ret_cluster = field.value;
        else if (field.number == 3)
            *ret_revision = (int64_t)field.value;
    }
    return !wire.bad;
}

static bool read_pair(fw_slice bytes, fwi_ec_pair *ret_pair)
{
    fwi_wire wire = fwi_wire_of(bytes);
    *ret_pair = (fwi_ec_pair){.key = {"", 0}, .value = {"", 0}};
    for (wire_field field; next_field(&wire, &field);) {
        switch (field.number) {
        case 1:
            ret_pair->key = field.bytes;
            break;
        case 3:
            ret_pair->revision = (int64_t)field.value;
            break;
        case 5:
            ret_pair->value = field.bytes;
            break;
        case 6:
            ret_pair->lease = (int64_t)field.value;
            break;
        default:
            break;
        }
    }
    return !wire.bad;
}

bool fwi_etcd_range_init(fwi_etcd_range *ret_range, fw_slice message)
{
    fwi_wire wire = fwi_wire_of(message);
    *ret_range = (fwi_etcd_range){.message = message, .pairs = wire};
    for (wire_field field; next_field(&wire, &field);) {
        if (field.number == 1) {
            if (!read_header(field.bytes, &ret_range->cluster, &ret_range->revision))
                return false;
        } else if (field.number == 3) {
            ret_range->more = field.value != 0;
        } else if (field.number == 4) {
            ret_range->count = (int64_t)field.value;
        }
    }
    return !wire.bad;
}

bool fwi_etcd_range_next(fwi_etcd_range *range, fwi_ec_pair *ret_pair)
{
    for (wire_field field; next_field(&range->pairs, &field);)
        if (field.number == 2)
            return read_pair(field.bytes, ret_pair) || fail(&range->pairs);
    return false;
}

bool fwi_etcd_read_change(fw_slice message, int64_t *ret_revision, int64_t *ret_deleted)
{
    fwi_wire wire = fwi_wire_of(message);
    uint64_t cluster;
    *ret_revision = *ret_deleted = 0;
    for (wire_field field; next_field(&wire, &field);) {
        if (field.number == 1) {
            if (!read_header(field.bytes, &cluster, ret_revision))
                return false;
        } else if (field.number == 2) {
            *ret_deleted = (int64_t)field.value;
        }
    }
    return !wire.bad;
}

bool fwi_etcd_read_lease(fw_slice message, int64_t *ret_id, int64_t *ret_ttl_s)
{
    fwi_wire wire = fwi_wire_of(message);
    *ret_id = *ret_ttl_s = 0;
    for (wire_field field; next_field(&wire, &field);) {
        if (field.number == 2)
            *ret_id = (int64_t)field.value;
        else if (field.number == 3)
            *ret_ttl_s = (int64_t)field.value;
    }
    return !wire.bad;
}

bool fwi_etcd_read_range(fw_slice message, fwi_ec_range *ret_range)
{
    fwi_etcd_range range;
    if (!fwi_etcd_range_init(&range, message))
        return false;
    *ret_range = (fwi_ec_range){.revision = range.revision, .count = range.count};
    ret_range->has_pair = fwi_etcd_range_next(&range, &ret_range->pair);
    return !range.pairs.bad;
}

static bool read_response(fw_slice bytes, fwi_ec_response *ret_response)
{
    fwi_wire wire = fwi_wire_of(bytes);
    int64_t revision;
    *ret_response = (fwi_ec_response){.method = FWI_EC_METHODS};
    for (wire_field field; next_field(&wire, &field);) {
        if (field.number == 1) {
            ret_response->method = FWI_EC_RANGE;
            if (!fwi_etcd_read_range(field.bytes, &ret_response->range))
                return false;
        } else if (field.number == 2) {
            ret_response->method = FWI_EC_PUT;
        } else if (field.number == 3) {
            ret_response->method = FWI_EC_DELETE;
            if (!fwi_etcd_read_change(field.bytes, &revision, &ret_response->deleted))
                return false;
        }
    }
    return !wire.bad;
}

bool fwi_etcd_read_txn(fw_slice message, fwi_ec_txn_reply *ret_reply)
{
    fwi_wire wire = fwi_wire_of(message);
    uint64_t cluster;
    ret_reply->revision = 0;
    ret_reply->succeeded = false;
    ret_reply->count = 0;
    for (wire_field field; next_field(&wire, &field);) {
        if (field.number == 1) {
            if (!read_header(field.bytes, &cluster, &ret_reply->revision))
                return false;
        } else if (field.number == 2) {
            ret_reply->succeeded = field.value != 0;
        } else if (field.number == 3) {
            if (ret_reply->count == FW_KV_TXN_MAX ||
                !read_response(field.bytes, &ret_reply->responses[ret_reply->count++]))
                return false;
        }
    }
    return !wire.bad;
}

bool fwi_etcd_notice_init(fwi_etcd_notice *ret_notice, fw_slice message)
{
    fwi_wire wire = fwi_wire_of(message);
    *ret_notice = (fwi_etcd_notice){.events = wire, .cancel_reason = {"", 0}};
    for (wire_field field; next_field(&wire, &field);) {
        switch (field.number) {
        case 1:
            if (!read_header(field.bytes, &ret_notice->cluster, &ret_notice->revision))
                return false;
            break;
        case 2:
            ret_notice->watch_id = (int64_t)field.value;
            break;
        case 3:
            ret_notice->created = field.value != 0;
            break;
        case 4:
            ret_notice->canceled = field.value != 0;
            break;
        case 5:
            ret_notice->compact_revision = (int64_t)field.value;
            break;
        case 6:
            ret_notice->cancel_reason = field.bytes;
            break;
        case 7:
            ret_notice->fragment = field.value != 0;
            break;
        case 11:
            ret_notice->has_events = true;
            break;
        default:
            break;
        }
    }
    return !wire.bad;
}

bool fwi_etcd_notice_next(fwi_etcd_notice *notice, bool *ret_is_delete, fwi_ec_pair *ret_pair)
{
    for (wire_field field; next_field(&notice->events, &field);) {
        if (field.number != 11)
            continue;
        fwi_wire event = fwi_wire_of(field.bytes);
        *ret_is_delete = false;
        *ret_pair = (fwi_ec_pair){.key = {"", 0}, .value = {"", 0}};
        for (wire_field part; next_field(&event, &part);) {
            if (part.number == 1)
                *ret_is_delete = part.value == 1;
            else if (part.number == 2 && !read_pair(part.bytes, ret_pair))
                return fail(&notice->events);
        }
        return !event.bad || fail(&notice->events);
    }
    return false;
}
