/* The KCP engine: datagrams of any content, and an application that reads and writes. The first
 * bytes choose the settings; then each datagram has its length in front. */
#include "fuzz.h"
#include "transport/kcp/kcp.h"

#include <fairway/error.h>
#include <string.h>
#include <uv.h>

#define CONV 1

static fwi_kcp kcp;

static void on_output(const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)arg;
    FUZZ_CHECK(len >= FWI_KCP_HEADER_BYTES && len <= kcp.config.mtu);
}

static void use(uint32_t now)
{
    static uint8_t message[FWI_KCP_FRAGMENTS_MAX * FWI_KCP_MTU_MAX];
    if (fwi_kcp_wait_ms(&kcp, now) == 0)
        fwi_kcp_update(&kcp, now);
    int size;
    while ((size = fwi_kcp_next_size(&kcp)) >= 0)
        FUZZ_CHECK(fwi_kcp_recv(&kcp, message, sizeof message, false) == size);
    int taken = fwi_kcp_send(&kcp, message, now % 3000);
    FUZZ_CHECK(taken >= 0 || taken == UV_EAGAIN);
    FUZZ_CHECK(kcp.rcv_buf_len <= kcp.config.receive_window);
    FUZZ_CHECK(kcp.rcv_queue_len <= kcp.config.receive_window);
    FUZZ_CHECK(kcp.snd_queue_len <= kcp.config.send_queue_max);
    FUZZ_CHECK(kcp.snd_buf_len <= kcp.config.send_window);
    FUZZ_CHECK(kcp.snd_nxt - kcp.snd_una >= kcp.snd_buf_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    fwi_kcp_config config;
    fwi_kcp_config_init(&config);
    config.nodelay = data[0] % 3;
    config.stream = data[0] & 4;
    config.no_congestion = data[0] & 8;
    config.resend = data[0] >> 6;
    config.receive_window = 1u + data[1] % 64;
    config.mtu = FWI_KCP_MTU_MIN + data[1];
    config.send_queue_max = 200;
    fwi_kcp_init(&kcp, CONV, &config, on_output, NULL);
    fwi_kcp_update(&kcp, 0);
    uint32_t now = 0;
    for (size_t at = 2; at < len;) {
        size_t size = data[at++];
        if (size > len - at)
            size = len - at;
        uint8_t *copy = malloc(size ? size : 1);
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, size);
        int err = fwi_kcp_input(&kcp, now, copy, size);
        FUZZ_CHECK(!err || err == FW_EPROTOCOL);
        free(copy);
        at += size;
        now += 1 + (uint32_t)size * 7;
        use(now);
    }
    fwi_kcp_fini(&kcp);
    return 0;
}
