/* Datagrams that come in. */
#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#include "transport/kcp/segment.h"

#define ACKS_MAX 4096 /* that wait for a flush; with the window, whichever is more */

void fwi_kcp_order(fwi_kcp *kcp)
{
    fwi_list_for_each_safe (node, &kcp->rcv_buf) {
        if (fwi_kcp_segment_of(node)->sn != kcp->rcv_nxt ||
            kcp->rcv_queue_len >= kcp->config.receive_window)
            return;
        fwi_list_remove(node);
        kcp->rcv_buf_len--;
        fwi_list_push_back(&kcp->rcv_queue, node);
        kcp->rcv_queue_len++;
        kcp->rcv_nxt++;
    }
}

static void drop_sent(fwi_kcp *kcp, fwi_kcp_segment *segment)
{
    fwi_list_remove(&segment->node);
    kcp->snd_buf_len--;
    free(segment);
}

static void update_una(fwi_kcp *kcp)
{
    kcp->snd_una =
        fwi_list_empty(&kcp->snd_buf) ? kcp->snd_nxt : fwi_kcp_segment_of(kcp->snd_buf.next)->sn;
}

/* The peer has everything below una. */
static void take_una(fwi_kcp *kcp, uint32_t una)
{
    if (fwi_kcp_diff(una, kcp->snd_nxt) > 0)
        return; /* that was never sent */
    fwi_list_for_each_safe (node, &kcp->snd_buf) {
        fwi_kcp_segment *segment = fwi_kcp_segment_of(node);
        if (fwi_kcp_diff(una, segment->sn) <= 0)
            break;
        drop_sent(kcp, segment);
    }
    update_una(kcp);
}

static void take_rtt(fwi_kcp *kcp, int32_t rtt)
{
    if (!kcp->rx_srtt) {
        kcp->rx_srtt = rtt;
        kcp->rx_rttval = rtt / 2;
    } else {
        /* A forged time stamp may be anything: 64 bits hold the sums. */
        int64_t delta = (int64_t)rtt - kcp->rx_srtt;
        kcp->rx_rttval =
            (int32_t)((3 * (int64_t)kcp->rx_rttval + (delta < 0 ? -delta : delta)) / 4);
        kcp->rx_srtt = (int32_t)((7 * (int64_t)kcp->rx_srtt + rtt) / 8);
        if (kcp->rx_srtt < 1)
            kcp->rx_srtt = 1;
    }
    int64_t spread = 4 * (int64_t)kcp->rx_rttval;
    if (spread < kcp->config.interval_ms)
        spread = kcp->config.interval_ms;
    int64_t rto = kcp->rx_srtt + spread;
    kcp->rx_rto = rto < kcp->min_rto_ms      ? kcp->min_rto_ms
                  : rto > FWI_KCP_RTO_MAX_MS ? FWI_KCP_RTO_MAX_MS
                                             : (uint32_t)rto;
}

static void take_ack(fwi_kcp *kcp, uint32_t now, const fwi_kcp_header *header)
{
    if (fwi_kcp_diff(now, header->ts) >= 0)
        take_rtt(kcp, fwi_kcp_diff(now, header->ts));
    if (fwi_kcp_diff(header->sn, kcp->snd_una) < 0 || fwi_kcp_diff(header->sn, kcp->snd_nxt) >= 0)
        return;
    fwi_list_for_each (node, &kcp->snd_buf) {
        fwi_kcp_segment *segment = fwi_kcp_segment_of(node);
        if (fwi_kcp_diff(header->sn, segment->sn) < 0)
            break;
        if (header->sn == segment->sn) {
            kcp->echoed |= header->ts == segment->ts;
            drop_sent(kcp, segment);
            break;
        }
    }
    update_una(kcp);
}

/* Segments older than the newest that this datagram has acknowledged were passed by. */
static void count_passed(fwi_kcp *kcp, uint32_t sn, uint32_t ts)
{
    if (fwi_kcp_diff(sn, kcp->snd_una) < 0 || fwi_kcp_diff(sn, kcp->snd_nxt) >= 0)
        return;
    fwi_list_for_each (node, &kcp->snd_buf) {
        fwi_kcp_segment *segment = fwi_kcp_segment_of(node);
        if (fwi_kcp_diff(sn, segment->sn) < 0)
            break;
        if (sn == segment->sn || fwi_kcp_diff(ts, segment->ts) < 0)
            continue;
        segment->fast_acks++;
        kcp->fast_resend |= kcp->config.resend && segment->fast_acks >= kcp->config.resend;
    }
}

static int queue_ack(fwi_kcp *kcp, uint32_t sn, uint32_t ts)
{
    uint32_t most = kcp->config.receive_window > ACKS_MAX ? kcp->config.receive_window : ACKS_MAX;
    if (kcp->ack_count >= most)
        return FW_OK;
    if (kcp->ack_count == kcp->ack_capacity) {
        uint32_t capacity = kcp->ack_capacity ? kcp->ack_capacity * 2 : 8;
        fwi_kcp_ack *acks = realloc(kcp->acks, capacity * sizeof *acks);
        if (!acks)
            return UV_ENOMEM;
        kcp->acks = acks;
        kcp->ack_capacity = capacity;
    }
    kcp->acks[kcp->ack_count++] = (fwi_kcp_ack){.sn = sn, .ts = ts};
    return FW_OK;
}

/* Puts a segment of the window at its place in rcv_buf, unless it is there. */
static int store(fwi_kcp *kcp, const fwi_kcp_header *header, const uint8_t *data)
{
    fwi_list *after = kcp->rcv_buf.prev; /* what comes last is mostly the newest */
    for (; after != &kcp->rcv_buf; after = after->prev) {
        int32_t ahead = fwi_kcp_diff(header->sn, fwi_kcp_segment_of(after)->sn);
        if (!ahead)
            return FW_OK;
        if (ahead > 0)
            break;
    }
    fwi_kcp_segment *segment = malloc(sizeof *segment + header->len);
    if (!segment)
        return UV_ENOMEM;
    *segment = (fwi_kcp_segment){
        .sn = header->sn, .ts = header->ts, .frg = header->frg, .len = header->len};
    memcpy(segment->data, data, header->len);
    fwi_list_push_back(after->next, &segment->node); /* before the one after it */
    kcp->rcv_buf_len++;
    return FW_OK;
}

static int take_push(fwi_kcp *kcp, const fwi_kcp_header *header, const uint8_t *data)
{
    if (fwi_kcp_diff(header->sn, kcp->rcv_nxt + kcp->config.receive_window) >= 0)
        return FW_OK; /* beyond the window, so it was not asked for */
    /* What is there already is acknowledged again: the first ack may have been lost. */
    int err = FW_OK;
    if (fwi_kcp_diff(header->sn, kcp->rcv_nxt) >= 0)
        err = store(kcp, header, data);
    if (!err)
        err = queue_ack(kcp, header->sn, header->ts);
    fwi_kcp_order(kcp);
    return err;
}

/* The window opens with what was acknowledged: slow start, then linear. */
static void grow_window(fwi_kcp *kcp)
{
    if (kcp->cwnd >= kcp->rmt_wnd)
        return;
    if (kcp->cwnd < kcp->ssthresh) {
        kcp->cwnd++;
        kcp->incr += kcp->mss;
    } else {
        if (kcp->incr < kcp->mss)
            kcp->incr = kcp->mss;
        kcp->incr += kcp->mss * kcp->mss / kcp->incr + kcp->mss / 16;
        if ((kcp->cwnd + 1) * kcp->mss <= kcp->incr)
            kcp->cwnd = (kcp->incr + kcp->mss - 1) / kcp->mss;
    }
    if (kcp->cwnd > kcp->rmt_wnd) {
        kcp->cwnd = kcp->rmt_wnd;
        kcp->incr = kcp->rmt_wnd * kcp->mss;
    }
}

/* What one datagram has acknowledged. */
struct acked {
    bool any;
    uint32_t sn, ts; /* the greatest of which ts was the newest as well */
};

static void note_acked(struct acked *acked, const fwi_kcp_header *header)
{
    if (acked->any &&
        (fwi_kcp_diff(header->sn, acked->sn) <= 0 || fwi_kcp_diff(header->ts, acked->ts) <= 0))
        return;
    *acked = (struct acked){.any = true, .sn = header->sn, .ts = header->ts};
}

static int take_segment(fwi_kcp *kcp, uint32_t now, const fwi_kcp_header *header,
                        const uint8_t *data, struct acked *acked)
{
    kcp->rmt_wnd = header->wnd;
    take_una(kcp, header->una);
    switch (header->cmd) {
    case FWI_KCP_ACK:
        take_ack(kcp, now, header);
        note_acked(acked, header);
        return FW_OK;
    case FWI_KCP_PUSH:
        return take_push(kcp, header, data);
    case FWI_KCP_WASK:
        kcp->probe |= FWI_KCP_TELL;
        return FW_OK;
    default: /* WINS: its window was all */
        return FW_OK;
    }
}

/* Checks one header against what is left of the datagram. */
static bool is_sound(const fwi_kcp *kcp, const fwi_kcp_header *header, size_t left)
{
    return header->conv == kcp->conv && header->len <= left - FWI_KCP_HEADER_BYTES &&
           header->cmd >= FWI_KCP_PUSH && header->cmd <= FWI_KCP_WINS;
}

int fwi_kcp_input(fwi_kcp *kcp, uint32_t now, const uint8_t *data, size_t len)
{
    if (len < FWI_KCP_HEADER_BYTES)
        return FW_EPROTOCOL;
    uint32_t una_before = kcp->snd_una;
    struct acked acked = {.any = false};
    int err = FW_OK;
    while (len >= FWI_KCP_HEADER_BYTES) {
        fwi_kcp_header header;
        fwi_kcp_header_get(data, &header);
        if (!is_sound(kcp, &header, len))
            return FW_EPROTOCOL;
        int failed = take_segment(kcp, now, &header, data + FWI_KCP_HEADER_BYTES, &acked);
        if (failed)
            err = failed;
        data += FWI_KCP_HEADER_BYTES + header.len;
        len -= FWI_KCP_HEADER_BYTES + header.len;
    }
    if (acked.any)
        count_passed(kcp, acked.sn, acked.ts);
    if (fwi_kcp_diff(kcp->snd_una, una_before) > 0)
        grow_window(kcp);
    return err;
}
