/*
 * A checked reader of the protobuf wire format. For the replies with many pairs (range, watch),
 * where views into the received bytes are an order of magnitude cheaper than protobuf-c's objects;
 * and for those of operations.
 */
#ifndef FWI_ETCD_WIRE_H
#define FWI_ETCD_WIRE_H

#include "etcd_core.h"

typedef struct fwi_wire {
    const uint8_t *next, *end;
    bool bad; /* the bytes are malformed; reading has ended */
} fwi_wire;

static inline fwi_wire fwi_wire_of(fw_slice bytes)
{
    const uint8_t *start = bytes.data;
    return (fwi_wire){.next = start, .end = start ? start + bytes.len : NULL};
}

typedef struct fwi_etcd_range {
    uint64_t cluster;
    int64_t revision, count;
    bool more;
    fw_slice message;
    fwi_wire pairs; /* where fwi_etcd_range_next reads */
} fwi_etcd_range;

/* Reads all but the pairs of a range's reply, checking the whole outer message. False: malformed.
 */
bool fwi_etcd_range_init(fwi_etcd_range *ret_range, fw_slice message);
/* The next pair; false at the end or when it is malformed (range->pairs.bad). */
bool fwi_etcd_range_next(fwi_etcd_range *range, fwi_ec_pair *ret_pair);

/* Replies without pairs, or with few. False: malformed. */
bool fwi_etcd_read_change(fw_slice message, int64_t *ret_revision, int64_t *ret_deleted);
bool fwi_etcd_read_lease(fw_slice message, int64_t *ret_id, int64_t *ret_ttl_s);
bool fwi_etcd_read_range(fw_slice message, fwi_ec_range *ret_range);
bool fwi_etcd_read_txn(fw_slice message, fwi_ec_txn_reply *ret_reply);

typedef struct fwi_etcd_notice {
    uint64_t cluster;
    int64_t revision, watch_id, compact_revision;
    bool created, canceled, fragment;
    fw_slice cancel_reason;
    bool has_events;
    fwi_wire events; /* where fwi_etcd_notice_next reads */
} fwi_etcd_notice;

/* Reads all but the events of a watch's reply. False: malformed. */
bool fwi_etcd_notice_init(fwi_etcd_notice *ret_notice, fw_slice message);
/* The next event; false at the end or when it is malformed (notice->events.bad). */
bool fwi_etcd_notice_next(fwi_etcd_notice *notice, bool *ret_is_delete, fwi_ec_pair *ret_pair);

#endif
