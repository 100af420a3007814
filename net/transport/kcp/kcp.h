/*
 * KCP, the reliable protocol over datagrams of skywind3000, as an engine without socket and clock:
 * datagrams go in through fwi_kcp_input, come out through the output function, and every function
 * that needs to know the time is told it (milliseconds, any origin, wraps at 2^32).
 *
 * Protocol and algorithm: https://github.com/skywind3000/kcp (protocol.txt, ikcp.c). What differs
 * from the original, none of it visible to an honest peer:
 *   - an una that acknowledges what was never sent is ignored;
 *   - acknowledgements that wait for a flush are bounded (ACKS_MAX), what is beyond is dropped, and
 *     the peer sends again;
 *   - the send queue has a bound.
 */
#ifndef FWI_KCP_H
#define FWI_KCP_H

#include <fairway/base.h>

#include "base/list.h"

#define FWI_KCP_HEADER_BYTES  24
#define FWI_KCP_MTU_MIN       50
#define FWI_KCP_MTU_MAX       9000
#define FWI_KCP_FRAGMENTS_MAX 127 /* of one message */
#define FWI_KCP_WINDOW_MAX    32768

enum { FWI_KCP_PUSH = 81, FWI_KCP_ACK = 82, FWI_KCP_WASK = 83, FWI_KCP_WINS = 84 };

typedef struct fwi_kcp_config {
    uint32_t mtu;            /* of a datagram of ours, header included */
    uint32_t nodelay;        /* 0: patient; 1, 2: smaller timeouts that grow slower */
    uint32_t interval_ms;    /* between flushes, 10 to 5000 */
    uint32_t resend;         /* acks that pass a segment before it is sent again; 0: never */
    bool no_congestion;      /* no congestion window */
    bool stream;             /* bytes, not messages: segments are filled up */
    uint32_t send_window;    /* segments in flight */
    uint32_t receive_window; /* segments held for the reader, and beyond a gap */
    uint32_t dead_link;      /* transmissions of one segment until the link counts as dead */
    uint32_t fast_limit;     /* fast retransmissions of one segment; 0: any number */
    uint32_t send_queue_max; /* segments waiting for the window; 0: any number */
} fwi_kcp_config;

/* One datagram goes out; the bytes are lent until the return. Called within flush and update. */
typedef void (*fwi_kcp_output_fn)(const uint8_t *data, size_t len, void *arg);

typedef struct fwi_kcp_ack {
    uint32_t sn, ts;
} fwi_kcp_ack;

/* Fields are for the engine and its tests. */
typedef struct fwi_kcp {
    fwi_kcp_config config;
    fwi_kcp_output_fn output;
    void *output_arg;
    uint32_t conv;
    uint32_t mss;
    uint32_t min_rto_ms;
    /* sending */
    uint32_t snd_una, snd_nxt;
    fwi_list snd_queue, snd_buf; /* not yet sent; sent and not acknowledged, by sn */
    uint32_t snd_queue_len, snd_buf_len;
    uint32_t rmt_wnd;
    uint32_t cwnd, incr, ssthresh;
    int32_t rx_srtt, rx_rttval;
    uint32_t rx_rto;
    uint32_t timeouts; /* segments sent again because their time was over */
    bool dead;         /* one was sent dead_link times */
    bool echoed;       /* the peer has acknowledged something that we sent to it */
    bool fast_resend;  /* an ack may have made a segment due for fast retransmission */
    /* receiving */
    uint32_t rcv_nxt;
    fwi_list rcv_buf, rcv_queue; /* beyond a gap, by sn; in order, for the reader */
    uint32_t rcv_buf_len, rcv_queue_len;
    fwi_kcp_ack *acks;
    uint32_t ack_count, ack_capacity;
    /* window probes */
    uint32_t probe; /* FWI_KCP_ASK, FWI_KCP_TELL */
    uint32_t probe_wait_ms, probe_at;
    /* the schedule */
    bool updated;
    uint32_t flush_at;
} fwi_kcp;

enum { FWI_KCP_ASK = 1, FWI_KCP_TELL = 2 };

/* The settings of the original: mtu 1400, windows 32 and 128, interval 100 ms, dead link 20. */
FWI_API void fwi_kcp_config_init(fwi_kcp_config *ret_config);
/* FW_EOPTION: a value is out of its range. */
FWI_API FW_MUST_CHECK int fwi_kcp_config_check(const fwi_kcp_config *config);

/* Allocates nothing. The config must be a checked one. */
FWI_API void fwi_kcp_init(fwi_kcp *kcp, uint32_t conv, const fwi_kcp_config *config,
                          fwi_kcp_output_fn output, void *output_arg);
FWI_API void fwi_kcp_fini(fwi_kcp *kcp);

/* Queues one message, or bytes in stream mode. Returns how many bytes were taken: all of a message,
 * fewer in stream mode if the queue is full. UV_EAGAIN (queue full), FW_EFRAMESIZE (needs too many
 * fragments), UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_kcp_send(fwi_kcp *kcp, const void *data, size_t len);

/* Queues an empty segment, whatever the queue's bound. A stream never has one otherwise. */
FWI_API FW_MUST_CHECK int fwi_kcp_send_empty(fwi_kcp *kcp);

/* Bytes of the next message; UV_EAGAIN: none is complete. */
FWI_API int fwi_kcp_next_size(const fwi_kcp *kcp);
/* Takes (or looks at) the next message: its length, UV_EAGAIN, or FW_EFRAMESIZE (size is less than
 * it needs). */
FWI_API int fwi_kcp_recv(fwi_kcp *kcp, void *ret_data, size_t size, bool peek);
/* The next message has more fragments than the window holds: it will never be complete. */
FWI_API bool fwi_kcp_is_stuck(const fwi_kcp *kcp);

/* A datagram came. FW_EPROTOCOL: too short, of another conversation, or malformed; segments before
 * the bad one have been taken. UV_ENOMEM: as if a part of it had been lost. */
FWI_API FW_MUST_CHECK int fwi_kcp_input(fwi_kcp *kcp, uint32_t now, const uint8_t *data,
                                        size_t len);
/* Flushes if the schedule says so. The first call starts the schedule. */
FWI_API void fwi_kcp_update(fwi_kcp *kcp, uint32_t now);
/* Sends now what may be sent. Nothing before the first update. */
FWI_API void fwi_kcp_flush(fwi_kcp *kcp, uint32_t now);
/* When the original wants to be updated again: at most an interval ahead. */
FWI_API uint32_t fwi_kcp_check(const fwi_kcp *kcp, uint32_t now);
/* How long nothing can happen without input: ms until the next update that does something;
 * UINT32_MAX: never. */
FWI_API uint32_t fwi_kcp_wait_ms(const fwi_kcp *kcp, uint32_t now);

/* Asks for the peer's window with the next flush. Every KCP answers, so it is a ping, too. */
FWI_API void fwi_kcp_ask(fwi_kcp *kcp);
/* Segments not yet acknowledged, the queue included. */
static inline uint32_t fwi_kcp_unsent(const fwi_kcp *kcp)
{
    return kcp->snd_queue_len + kcp->snd_buf_len;
}

#endif
