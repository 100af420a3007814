/* What a hostile peer, or somebody who guesses, may send to the engine. */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/random.h"
#include "fwt.h"
#include "transport/kcp/kcp.h"
#include "transport/kcp/segment.h"

#define CONV 0xabcd

static fwi_kcp kcp;
static size_t datagrams;

static void on_output(const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)arg;
    ck_assert_uint_le(len, kcp.config.mtu);
    datagrams++;
}

static void setup(void)
{
    fwi_kcp_config config;
    fwi_kcp_config_init(&config);
    config.receive_window = 32;
    config.send_queue_max = 64;
    datagrams = 0;
    fwi_kcp_init(&kcp, CONV, &config, on_output, NULL);
    fwi_kcp_update(&kcp, 0);
}

static void teardown(void)
{
    fwi_kcp_fini(&kcp);
}

static int input(uint8_t cmd, uint32_t sn, uint32_t una, uint32_t len, size_t real_len)
{
    uint8_t *bytes = calloc(1, FWI_KCP_HEADER_BYTES + real_len);
    fwi_kcp_header header = {.conv = CONV, .cmd = cmd, .wnd = 32, .sn = sn, .una = una, .len = len};
    fwi_kcp_header_put(bytes, &header);
    int err = fwi_kcp_input(&kcp, 10, bytes, FWI_KCP_HEADER_BYTES + real_len);
    free(bytes);
    return err;
}

START_TEST(lengths_that_lie_are_refused)
{
    FWT_ERR(input(FWI_KCP_PUSH, 0, 0, 1, 0), FW_EPROTOCOL);
    FWT_ERR(input(FWI_KCP_PUSH, 0, 0, 0x80000000u, 8), FW_EPROTOCOL);
    FWT_ERR(input(FWI_KCP_PUSH, 0, 0, UINT32_MAX, 8), FW_EPROTOCOL);
    FWT_ERR(input(FWI_KCP_PUSH, 0, 0, UINT32_MAX - 23, 64), FW_EPROTOCOL);
    uint8_t none[FWI_KCP_HEADER_BYTES] = {0};
    for (size_t len = 0; len < sizeof none; len++)
        FWT_ERR(fwi_kcp_input(&kcp, 10, none, len), FW_EPROTOCOL);
    ck_assert_uint_eq(kcp.rcv_nxt, 0);
}
END_TEST

START_TEST(numbers_outside_the_window_store_nothing)
{
    const uint32_t far[] = {32, 33, 1000, 0x7fffffff, 0x80000001, UINT32_MAX};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        FWT_OK(input(FWI_KCP_PUSH, far[i], 0, 4, 4));
    ck_assert_uint_eq(kcp.rcv_buf_len, 0);
    ck_assert_uint_eq(kcp.rcv_queue_len, 0);
    FWT_OK(input(FWI_KCP_PUSH, 31, 0, 4, 4));
    ck_assert_uint_eq(kcp.rcv_buf_len, 1);
}
END_TEST

START_TEST(an_una_beyond_what_was_sent_acknowledges_nothing)
{
    ck_assert_int_eq(fwi_kcp_send(&kcp, "x", 1), 1);
    fwi_kcp_flush(&kcp, 5);
    ck_assert_uint_eq(kcp.snd_buf_len, 1);
    FWT_OK(input(FWI_KCP_WINS, 0, 2, 0, 0));
    FWT_OK(input(FWI_KCP_WINS, 0, 0x7fffffff, 0, 0));
    FWT_OK(input(FWI_KCP_ACK, 1, 0, 0, 0));
    ck_assert_uint_eq(kcp.snd_buf_len, 1);
    ck_assert_uint_eq(kcp.snd_una, 0);
    FWT_OK(input(FWI_KCP_WINS, 0, 1, 0, 0));
    ck_assert_uint_eq(kcp.snd_buf_len, 0);
}
END_TEST

START_TEST(memory_stays_bounded_under_a_flood)
{
    for (uint32_t i = 0; i < 50000; i++)
        FWT_OK(input(FWI_KCP_PUSH, i % 40, 0, 8, 8));
    ck_assert_uint_le(kcp.ack_count, 4096);
    ck_assert_uint_le(kcp.rcv_buf_len + kcp.rcv_queue_len, 64);
    int err = 0;
    for (int i = 0; i < 1000 && !err; i++) {
        int taken = fwi_kcp_send(&kcp, "y", 1);
        err = taken < 0 ? taken : 0;
    }
    FWT_ERR(err, UV_EAGAIN);
    ck_assert_uint_le(kcp.snd_queue_len, 64);
}
END_TEST

START_TEST(a_message_that_the_window_cannot_hold_is_noticed)
{
    uint8_t bytes[FWI_KCP_HEADER_BYTES + 1] = {0};
    for (uint32_t sn = 0; sn < 32; sn++) {
        ck_assert(!fwi_kcp_is_stuck(&kcp));
        fwi_kcp_header header = {
            .conv = CONV, .cmd = FWI_KCP_PUSH, .frg = (uint8_t)(40 - sn), .sn = sn, .len = 1};
        fwi_kcp_header_put(bytes, &header);
        FWT_OK(fwi_kcp_input(&kcp, 10, bytes, sizeof bytes));
    }
    ck_assert(fwi_kcp_is_stuck(&kcp));
}
END_TEST

START_TEST(too_long_a_message_is_refused_and_a_failed_one_leaves_nothing)
{
    static uint8_t large[(FWI_KCP_FRAGMENTS_MAX + 1) * 1376];
    FWT_ERR(fwi_kcp_send(&kcp, large, sizeof large), FW_EFRAMESIZE);
    FWT_ERR(fwi_kcp_send(&kcp, large, 65 * 1376), UV_EAGAIN);
    ck_assert_uint_eq(kcp.snd_queue_len, 0);
}
END_TEST

/* Sound datagrams with a few bytes changed, and the application using what comes. */
START_TEST(random_changes_break_nothing)
{
    fwi_random_seed((uint64_t)_i + 1);
    uint8_t bytes[4 * (FWI_KCP_HEADER_BYTES + 16)], out[8192];
    for (uint32_t round = 0; round < 20000; round++) {
        size_t len = 0;
        for (uint32_t n = 1 + fwi_random_below(3); n; n--) {
            fwi_kcp_header header = {.conv = CONV,
                                     .cmd = (uint8_t)(80 + fwi_random_below(6)),
                                     .frg = (uint8_t)fwi_random_below(3),
                                     .wnd = (uint16_t)fwi_random_below(64),
                                     .ts = round,
                                     .sn = kcp.rcv_nxt + fwi_random_below(40) - 4,
                                     .una = kcp.snd_una + fwi_random_below(4),
                                     .len = fwi_random_below(17)};
            fwi_kcp_header_put(bytes + len, &header);
            memset(bytes + len + FWI_KCP_HEADER_BYTES, 'z', header.len);
            len += FWI_KCP_HEADER_BYTES + header.len;
        }
        if (!fwi_random_below(4))
            bytes[fwi_random_below((uint32_t)len)] = (uint8_t)fwi_random_u64();
        (void)!fwi_kcp_input(&kcp, round, bytes, len - fwi_random_below(3));
        (void)!fwi_kcp_send(&kcp, bytes, fwi_random_below(100));
        fwi_kcp_update(&kcp, round);
        while (fwi_kcp_recv(&kcp, out, sizeof out, false) >= 0)
            ;
        ck_assert_uint_le(kcp.rcv_buf_len, 32);
        ck_assert_uint_le(kcp.rcv_queue_len, 32);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp hostile");
    TCase *tcase = tcase_create("hostile");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, lengths_that_lie_are_refused);
    tcase_add_test(tcase, numbers_outside_the_window_store_nothing);
    tcase_add_test(tcase, an_una_beyond_what_was_sent_acknowledges_nothing);
    tcase_add_test(tcase, memory_stays_bounded_under_a_flood);
    tcase_add_test(tcase, a_message_that_the_window_cannot_hold_is_noticed);
    tcase_add_test(tcase, too_long_a_message_is_refused_and_a_failed_one_leaves_nothing);
    tcase_add_loop_test(tcase, random_changes_break_nothing, 0, 4);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
