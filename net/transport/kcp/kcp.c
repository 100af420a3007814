/* Setting up, the two ends towards the application, and the schedule. */
#include "transport/kcp/kcp.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "transport/kcp/segment.h"

#define RTO_START_MS      200
#define RTO_MIN_MS        100
#define RTO_MIN_QUICK_MS  30 /* with nodelay */
#define PEER_WINDOW_START 128
#define SSTHRESH_START    2
#define CLOCK_JUMP_MS     10000

void fwi_kcp_config_init(fwi_kcp_config *ret_config)
{
    *ret_config = (fwi_kcp_config){
        .mtu = 1400,
        .interval_ms = 100,
        .send_window = 32,
        .receive_window = 128,
        .dead_link = 20,
        .fast_limit = 5,
    };
}

int fwi_kcp_config_check(const fwi_kcp_config *config)
{
    if (config->mtu < FWI_KCP_MTU_MIN || config->mtu > FWI_KCP_MTU_MAX || config->nodelay > 2 ||
        config->interval_ms < 10 || config->interval_ms > 5000 || !config->send_window ||
        config->send_window > FWI_KCP_WINDOW_MAX || !config->receive_window ||
        config->receive_window > FWI_KCP_WINDOW_MAX || !config->dead_link)
        return FW_EOPTION;
    return FW_OK;
}

void fwi_kcp_init(fwi_kcp *kcp, uint32_t conv, const fwi_kcp_config *config,
                  fwi_kcp_output_fn output, void *output_arg)
{
    *kcp = (fwi_kcp){
        .config = *config,
        .output = output,
        .output_arg = output_arg,
        .conv = conv,
        .mss = config->mtu - FWI_KCP_HEADER_BYTES,
        .min_rto_ms = config->nodelay ? RTO_MIN_QUICK_MS : RTO_MIN_MS,
        .rmt_wnd = PEER_WINDOW_START,
        .ssthresh = SSTHRESH_START,
        .rx_rto = RTO_START_MS,
    };
    fwi_list_init(&kcp->snd_queue);
    fwi_list_init(&kcp->snd_buf);
    fwi_list_init(&kcp->rcv_buf);
    fwi_list_init(&kcp->rcv_queue);
}

static void free_segments(fwi_list *list)
{
    for (fwi_list *node; (node = fwi_list_pop(list));)
        free(fwi_kcp_segment_of(node));
}

void fwi_kcp_fini(fwi_kcp *kcp)
{
    free_segments(&kcp->snd_queue);
    free_segments(&kcp->snd_buf);
    free_segments(&kcp->rcv_buf);
    free_segments(&kcp->rcv_queue);
    free(kcp->acks);
}

/* ---- sending ---- */

static bool queue_has_room(const fwi_kcp *kcp, size_t segments)
{
    return !kcp->config.send_queue_max ||
           kcp->snd_queue_len + segments <= kcp->config.send_queue_max;
}

static int queue_segment(fwi_kcp *kcp, const uint8_t *data, size_t len, uint8_t frg)
{
    fwi_kcp_segment *segment = malloc(sizeof *segment + len);
    if (!segment)
        return UV_ENOMEM;
    *segment = (fwi_kcp_segment){.len = (uint32_t)len, .frg = frg};
    if (len)
        memcpy(segment->data, data, len);
    fwi_list_push_back(&kcp->snd_queue, &segment->node);
    kcp->snd_queue_len++;
    return FW_OK;
}

/* Stream mode: fills up the last queued segment. Returns the bytes taken, or UV_ENOMEM. */
static int fill_last(fwi_kcp *kcp, const uint8_t *data, size_t len)
{
    if (fwi_list_empty(&kcp->snd_queue))
        return 0;
    fwi_kcp_segment *last = fwi_kcp_segment_of(kcp->snd_queue.prev);
    size_t room = last->len < kcp->mss ? kcp->mss - last->len : 0;
    size_t taken = len < room ? len : room;
    if (!taken)
        return 0;
    fwi_list_remove(&last->node);
    fwi_kcp_segment *larger = realloc(last, sizeof *last + last->len + taken);
    if (larger) {
        memcpy(larger->data + larger->len, data, taken);
        larger->len += (uint32_t)taken;
    }
    fwi_list_push_back(&kcp->snd_queue, larger ? &larger->node : &last->node);
    return larger ? (int)taken : UV_ENOMEM;
}

static int send_stream(fwi_kcp *kcp, const uint8_t *data, size_t len)
{
    int filled = fill_last(kcp, data, len);
    if (filled < 0)
        return filled;
    size_t taken = (size_t)filled;
    if (len - taken > (size_t)FWI_KCP_FRAGMENTS_MAX * kcp->mss)
        return taken ? (int)taken : FW_EFRAMESIZE;
    while (taken < len) {
        size_t part = len - taken < kcp->mss ? len - taken : kcp->mss;
        int err = queue_has_room(kcp, 1) ? queue_segment(kcp, data + taken, part, 0) : UV_EAGAIN;
        if (err)
            return taken ? (int)taken : err;
        taken += part;
    }
    return (int)taken;
}

int fwi_kcp_send_empty(fwi_kcp *kcp)
{
    return queue_segment(kcp, NULL, 0, 0);
}

int fwi_kcp_send(fwi_kcp *kcp, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    if (kcp->config.stream)
        return send_stream(kcp, bytes, len);
    size_t count = len > kcp->mss ? (len + kcp->mss - 1) / kcp->mss : 1;
    if (count > FWI_KCP_FRAGMENTS_MAX)
        return FW_EFRAMESIZE;
    if (!queue_has_room(kcp, count))
        return UV_EAGAIN;
    fwi_list *before = kcp->snd_queue.prev;
    for (size_t i = 0; i < count; i++) {
        size_t at = i * kcp->mss, part = len - at < kcp->mss ? len - at : kcp->mss;
        int err = queue_segment(kcp, bytes + at, part, (uint8_t)(count - i - 1));
        if (err) { /* a message is queued as a whole or not at all */
            while (kcp->snd_queue.prev != before) {
                fwi_kcp_segment *last = fwi_kcp_segment_of(kcp->snd_queue.prev);
                fwi_list_remove(&last->node);
                kcp->snd_queue_len--;
                free(last);
            }
            return err;
        }
    }
    return (int)len;
}

/* ---- receiving ---- */

int fwi_kcp_next_size(const fwi_kcp *kcp)
{
    if (fwi_list_empty(&kcp->rcv_queue))
        return UV_EAGAIN;
    const fwi_kcp_segment *first = fwi_kcp_segment_of(kcp->rcv_queue.next);
    if (kcp->rcv_queue_len < first->frg + 1u)
        return UV_EAGAIN;
    size_t size = 0;
    fwi_list_for_each (node, &kcp->rcv_queue) {
        const fwi_kcp_segment *segment = fwi_kcp_segment_of(node);
        size += segment->len;
        if (!segment->frg)
            break;
    }
    return (int)size;
}

bool fwi_kcp_is_stuck(const fwi_kcp *kcp)
{
    return kcp->rcv_queue_len >= kcp->config.receive_window && fwi_kcp_next_size(kcp) == UV_EAGAIN;
}

int fwi_kcp_recv(fwi_kcp *kcp, void *ret_data, size_t size, bool peek)
{
    int len = fwi_kcp_next_size(kcp);
    if (len < 0)
        return len;
    if ((size_t)len > size)
        return FW_EFRAMESIZE;
    bool was_full = kcp->rcv_queue_len >= kcp->config.receive_window;
    uint8_t *out = ret_data;
    fwi_list_for_each_safe (node, &kcp->rcv_queue) {
        fwi_kcp_segment *segment = fwi_kcp_segment_of(node);
        bool is_last = !segment->frg;
        memcpy(out, segment->data, segment->len);
        out += segment->len;
        if (!peek) {
            fwi_list_remove(node);
            free(segment);
            kcp->rcv_queue_len--;
        }
        if (is_last)
            break;
    }
    fwi_kcp_order(kcp);
    if (was_full && kcp->rcv_queue_len < kcp->config.receive_window)
        kcp->probe |= FWI_KCP_TELL;
    return len;
}

/* ---- the schedule ---- */

void fwi_kcp_update(fwi_kcp *kcp, uint32_t now)
{
    if (!kcp->updated) {
        kcp->updated = true;
        kcp->flush_at = now;
    }
    int32_t late = fwi_kcp_diff(now, kcp->flush_at);
    if (late >= CLOCK_JUMP_MS || late < -CLOCK_JUMP_MS) {
        kcp->flush_at = now;
        late = 0;
    }
    if (late < 0)
        return;
    kcp->flush_at += kcp->config.interval_ms;
    if (fwi_kcp_diff(now, kcp->flush_at) >= 0)
        kcp->flush_at = now + kcp->config.interval_ms;
    fwi_kcp_flush(kcp, now);
}

/* Time until the first resend, negative if it is over; INT32_MAX if nothing is in flight. */
static int32_t until_resend(const fwi_kcp *kcp, uint32_t now)
{
    int32_t least = INT32_MAX;
    fwi_list_for_each (node, &kcp->snd_buf) {
        int32_t left = fwi_kcp_diff(fwi_kcp_segment_of(node)->resend_at, now);
        if (left < least)
            least = left;
    }
    return least;
}

/* Time until the next flush, after the rule for clocks that jump. */
static int32_t until_flush(const fwi_kcp *kcp, uint32_t now)
{
    int32_t left = fwi_kcp_diff(kcp->flush_at, now);
    return left <= -CLOCK_JUMP_MS || left > CLOCK_JUMP_MS || left < 0 ? 0 : left;
}

uint32_t fwi_kcp_check(const fwi_kcp *kcp, uint32_t now)
{
    if (!kcp->updated)
        return now;
    int32_t left = until_flush(kcp, now), resend = until_resend(kcp, now);
    if (left <= 0 || resend <= 0)
        return now;
    if (resend < left)
        left = resend;
    if ((uint32_t)left > kcp->config.interval_ms)
        left = (int32_t)kcp->config.interval_ms;
    return now + (uint32_t)left;
}

static bool may_send_new(const fwi_kcp *kcp)
{
    uint32_t window =
        kcp->config.send_window < kcp->rmt_wnd ? kcp->config.send_window : kcp->rmt_wnd;
    if (!kcp->config.no_congestion && kcp->cwnd < window)
        window = kcp->cwnd;
    return kcp->snd_queue_len && fwi_kcp_diff(kcp->snd_nxt, kcp->snd_una + window) < 0;
}

uint32_t fwi_kcp_wait_ms(const fwi_kcp *kcp, uint32_t now)
{
    int32_t flush = kcp->updated ? until_flush(kcp, now) : 0;
    if (!kcp->updated || kcp->ack_count || kcp->probe || kcp->fast_resend || may_send_new(kcp))
        return (uint32_t)flush;
    int32_t event = until_resend(kcp, now);
    if (!kcp->rmt_wnd) {
        int32_t left = kcp->probe_wait_ms ? fwi_kcp_diff(kcp->probe_at, now) : 0;
        if (left < event)
            event = left;
    }
    if (event == INT32_MAX)
        return UINT32_MAX;
    return (uint32_t)(event > flush ? event : flush);
}

void fwi_kcp_ask(fwi_kcp *kcp)
{
    kcp->probe |= FWI_KCP_ASK;
}
