/* Datagrams that go out. */
#include <stdlib.h>

#include "transport/kcp/segment.h"

#define SSTHRESH_MIN       2
#define PROBE_WAIT_MS      5000
#define PROBE_WAIT_MOST_MS 120000

/* The datagram that is being filled. */
struct filler {
    fwi_kcp *kcp;
    size_t len;
    uint8_t bytes[FWI_KCP_MTU_MAX];
};

static void emit(struct filler *filler)
{
    if (filler->len)
        filler->kcp->output(filler->bytes, filler->len, filler->kcp->output_arg);
    filler->len = 0;
}

/* Room for one segment, in this datagram or the next. */
static uint8_t *room(struct filler *filler, size_t len)
{
    if (filler->len + len > filler->kcp->config.mtu)
        emit(filler);
    uint8_t *at = filler->bytes + filler->len;
    filler->len += len;
    return at;
}

static void put_control(struct filler *filler, const fwi_kcp_header *header)
{
    fwi_kcp_header_put(room(filler, FWI_KCP_HEADER_BYTES), header);
}

static uint16_t window_left(const fwi_kcp *kcp)
{
    return kcp->rcv_queue_len < kcp->config.receive_window
               ? (uint16_t)(kcp->config.receive_window - kcp->rcv_queue_len)
               : 0;
}

/* While the peer has no room it is asked from time to time: its word that it has may get lost. */
static void schedule_probe(fwi_kcp *kcp, uint32_t now)
{
    if (kcp->rmt_wnd) {
        kcp->probe_wait_ms = 0;
    } else if (!kcp->probe_wait_ms) {
        kcp->probe_wait_ms = PROBE_WAIT_MS;
        kcp->probe_at = now + kcp->probe_wait_ms;
    } else if (fwi_kcp_diff(now, kcp->probe_at) >= 0) {
        kcp->probe_wait_ms += kcp->probe_wait_ms / 2;
        if (kcp->probe_wait_ms > PROBE_WAIT_MOST_MS)
            kcp->probe_wait_ms = PROBE_WAIT_MOST_MS;
        kcp->probe_at = now + kcp->probe_wait_ms;
        kcp->probe |= FWI_KCP_ASK;
    }
}

/* Acks, and the questions and answers about windows. One header serves them all: after acks it
 * still has the sn and ts of the last one, as the original has it. */
static void put_controls(struct filler *filler, uint32_t now)
{
    fwi_kcp *kcp = filler->kcp;
    fwi_kcp_header header = {
        .conv = kcp->conv, .cmd = FWI_KCP_ACK, .wnd = window_left(kcp), .una = kcp->rcv_nxt};
    for (uint32_t i = 0; i < kcp->ack_count; i++) {
        header.sn = kcp->acks[i].sn;
        header.ts = kcp->acks[i].ts;
        put_control(filler, &header);
    }
    kcp->ack_count = kcp->ack_capacity = 0;
    free(kcp->acks); /* an idle conversation owns no buffer */
    kcp->acks = NULL;
    schedule_probe(kcp, now);
    if (kcp->probe & FWI_KCP_ASK) {
        header.cmd = FWI_KCP_WASK;
        put_control(filler, &header);
    }
    if (kcp->probe & FWI_KCP_TELL) {
        header.cmd = FWI_KCP_WINS;
        put_control(filler, &header);
    }
    kcp->probe = 0;
}

/* Gives numbers to as many queued segments as the windows allow. */
static void fill_window(fwi_kcp *kcp)
{
    uint32_t window =
        kcp->config.send_window < kcp->rmt_wnd ? kcp->config.send_window : kcp->rmt_wnd;
    if (!kcp->config.no_congestion && kcp->cwnd < window)
        window = kcp->cwnd;
    while (fwi_kcp_diff(kcp->snd_nxt, kcp->snd_una + window) < 0) {
        fwi_list *node = fwi_list_pop(&kcp->snd_queue);
        if (!node)
            break;
        kcp->snd_queue_len--;
        fwi_kcp_segment_of(node)->sn = kcp->snd_nxt++;
        fwi_list_push_back(&kcp->snd_buf, node);
        kcp->snd_buf_len++;
    }
}

enum sending { NOT_NOW, FIRST_TIME, TIMED_OUT, PASSED_BY };

/* Whether a segment is to be sent now, and why; sets its next time if so. */
static enum sending decide(fwi_kcp *kcp, fwi_kcp_segment *segment, uint32_t now)
{
    const fwi_kcp_config *config = &kcp->config;
    if (!segment->transmissions) {
        segment->rto_ms = kcp->rx_rto;
        /* The patient mode gives the first try an eighth more. */
        segment->resend_at = now + kcp->rx_rto + (config->nodelay ? 0 : kcp->rx_rto >> 3);
        return FIRST_TIME;
    }
    if (fwi_kcp_diff(now, segment->resend_at) >= 0) {
        if (!config->nodelay)
            segment->rto_ms += segment->rto_ms > kcp->rx_rto ? segment->rto_ms : kcp->rx_rto;
        else
            segment->rto_ms += (config->nodelay == 1 ? segment->rto_ms : kcp->rx_rto) / 2;
        if (segment->rto_ms > FWI_KCP_RTO_MAX_MS)
            segment->rto_ms = FWI_KCP_RTO_MAX_MS;
        segment->resend_at = now + segment->rto_ms;
        kcp->timeouts++;
        return TIMED_OUT;
    }
    if (config->resend && segment->fast_acks >= config->resend &&
        (!config->fast_limit || segment->transmissions <= config->fast_limit)) {
        segment->fast_acks = 0;
        segment->resend_at = now + segment->rto_ms;
        return PASSED_BY;
    }
    return NOT_NOW;
}

static void put_segment(struct filler *filler, fwi_kcp_segment *segment, uint32_t now,
                        uint16_t window)
{
    fwi_kcp *kcp = filler->kcp;
    segment->transmissions++;
    segment->ts = now;
    fwi_kcp_header header = {
        .conv = kcp->conv,
        .cmd = FWI_KCP_PUSH,
        .frg = segment->frg,
        .wnd = window,
        .ts = now,
        .sn = segment->sn,
        .una = kcp->rcv_nxt,
        .len = segment->len,
    };
    uint8_t *at = room(filler, FWI_KCP_HEADER_BYTES + segment->len);
    fwi_kcp_header_put(at, &header);
    memcpy(at + FWI_KCP_HEADER_BYTES, segment->data, segment->len);
    if (segment->transmissions >= kcp->config.dead_link)
        kcp->dead = true;
}

/* Loss closes the congestion window, more so if nobody but the clock has told it. */
static void shrink_window(fwi_kcp *kcp, bool passed_by, bool timed_out, uint32_t cwnd_before)
{
    if (passed_by) {
        uint32_t half = (kcp->snd_nxt - kcp->snd_una) / 2;
        kcp->ssthresh = half < SSTHRESH_MIN ? SSTHRESH_MIN : half;
        kcp->cwnd = kcp->ssthresh + kcp->config.resend;
        kcp->incr = kcp->cwnd * kcp->mss;
    }
    if (timed_out) {
        uint32_t half = cwnd_before / 2;
        kcp->ssthresh = half < SSTHRESH_MIN ? SSTHRESH_MIN : half;
        kcp->cwnd = 1;
        kcp->incr = kcp->mss;
    }
    if (!kcp->cwnd) {
        kcp->cwnd = 1;
        kcp->incr = kcp->mss;
    }
}

void fwi_kcp_flush(fwi_kcp *kcp, uint32_t now)
{
    if (!kcp->updated)
        return;
    struct filler filler;
    filler.kcp = kcp;
    filler.len = 0;
    uint32_t cwnd_before = kcp->cwnd;
    bool passed_by = false, timed_out = false;
    uint16_t window = window_left(kcp);
    put_controls(&filler, now);
    fill_window(kcp);
    fwi_list_for_each (node, &kcp->snd_buf) {
        fwi_kcp_segment *segment = fwi_kcp_segment_of(node);
        enum sending why = decide(kcp, segment, now);
        if (why == NOT_NOW)
            continue;
        passed_by |= why == PASSED_BY;
        timed_out |= why == TIMED_OUT;
        put_segment(&filler, segment, now, window);
    }
    emit(&filler);
    kcp->fast_resend = false;
    shrink_window(kcp, passed_by, timed_out, cwnd_before);
}
