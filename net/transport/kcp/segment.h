/* Segments: on the wire and in the queues of the engine. Used by the engine's files only. */
#ifndef FWI_KCP_SEGMENT_H
#define FWI_KCP_SEGMENT_H

#include "base/bytes.h"
#include "transport/kcp/kcp.h"

#define FWI_KCP_RTO_MAX_MS 60000

typedef struct fwi_kcp_header {
    uint32_t conv;
    uint8_t cmd, frg; /* frg: fragments of the message that follow this one */
    uint16_t wnd;     /* room at the sender of this header */
    uint32_t ts, sn, una, len;
} fwi_kcp_header;

typedef struct fwi_kcp_segment {
    fwi_list node;
    uint32_t sn, ts, resend_at, rto_ms, fast_acks, transmissions;
    uint32_t len;
    uint8_t frg;
    uint8_t data[];
} fwi_kcp_segment;

static inline fwi_kcp_segment *fwi_kcp_segment_of(fwi_list *node)
{
    return fwi_container_of(node, fwi_kcp_segment, node);
}

/* How far a is ahead of b; numbers and times wrap. */
static inline int32_t fwi_kcp_diff(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b);
}

/*
 *  0      4   5   6     8      12     16     20     24
 *  | conv |cmd|frg| wnd |  ts  |  sn  | una  | len  | data ...      all little-endian
 */
static inline void fwi_kcp_header_put(uint8_t *out, const fwi_kcp_header *header)
{
    fwi_put_u32le(out, header->conv);
    out[4] = header->cmd;
    out[5] = header->frg;
    fwi_put_u16le(out + 6, header->wnd);
    fwi_put_u32le(out + 8, header->ts);
    fwi_put_u32le(out + 12, header->sn);
    fwi_put_u32le(out + 16, header->una);
    fwi_put_u32le(out + 20, header->len);
}

static inline void fwi_kcp_header_get(const uint8_t *in, fwi_kcp_header *ret_header)
{
    *ret_header = (fwi_kcp_header){
        .conv = fwi_get_u32le(in),
        .cmd = in[4],
        .frg = in[5],
        .wnd = fwi_get_u16le(in + 6),
        .ts = fwi_get_u32le(in + 8),
        .sn = fwi_get_u32le(in + 12),
        .una = fwi_get_u32le(in + 16),
        .len = fwi_get_u32le(in + 20),
    };
}

/* Moves what has come into order from rcv_buf to rcv_queue. */
void fwi_kcp_order(fwi_kcp *kcp);

#endif
