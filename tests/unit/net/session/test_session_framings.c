/* Framings of one's own, messages of the transport, and compression; and what hostile peers make
 * of them. */
#include "base/random.h"
#include "ends.h"
#include "session/framer.h"

#include <fairway/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static ends_server ends;
static end client;

/* A header as protobuf writes a length: seven bits a byte, the lowest first. */
static int parse_varint(const uint8_t *data, size_t len, uint64_t *ret_payload_bytes, void *arg)
{
    (void)arg;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        value |= (uint64_t)(data[i] & 127) << (7 * i);
        if (data[i] < 128) {
            *ret_payload_bytes = value;
            return (int)i + 1;
        }
    }
    return 0;
}

static int write_varint(uint8_t *ret_header, uint64_t payload_bytes, void *arg)
{
    (void)arg;
    int n = 0;
    for (; payload_bytes > 127; payload_bytes >>= 7)
        ret_header[n++] = (uint8_t)(payload_bytes | 128);
    ret_header[n++] = (uint8_t)payload_bytes;
    return n;
}

static const fw_framing_ops varint = {
    .max_header_bytes = 5, .parse = parse_varint, .write = write_varint};

/* ---- sans-IO ---- */

START_TEST(a_custom_framing_survives_any_segmentation)
{
    fwi_framer framer;
    FWT_OK(fwi_framer_init(&framer, &(fw_framing){.custom = &varint}));
    uint8_t stream[8000], header[FW_MAX_HEADER_BYTES], byte = 0;
    size_t sizes[40], len = 0, count = 0;
    for (; count < 40; count++) {
        sizes[count] = fwi_random_below(count % 5 ? 100 : 500);
        int n = fwi_framing_write_header(&framer.framing, header, sizes[count]);
        ck_assert_int_gt(n, 0);
        memcpy(stream + len, header, (size_t)n);
        len += (size_t)n;
        for (size_t i = 0; i < sizes[count]; i++)
            stream[len++] = byte++;
    }
    size_t frames = 0;
    byte = 0;
    for (size_t at = 0, n; at < len; at += n) {
        n = fwi_random_below(_i ? 60 : 2) + 1;
        n = n < len - at ? n : len - at;
        uint8_t *piece = malloc(n); /* a copy, so that reading beyond it is seen */
        memcpy(piece, stream + at, n);
        fwi_framer_push(&framer, piece, n);
        fw_slice frame;
        int rc;
        for (; (rc = fwi_framer_next(&framer, &frame)) > 0; frames++) {
            const uint8_t *payload = (const uint8_t *)frame.data + framer.header_bytes;
            ck_assert_uint_eq(frame.len - framer.header_bytes, sizes[frames]);
            for (size_t i = 0; i < sizes[frames]; i++)
                ck_assert_uint_eq(payload[i], byte++);
        }
        ck_assert_int_eq(rc, 0);
        free(piece);
    }
    ck_assert_uint_eq(frames, count);
    ck_assert_ptr_null(framer.partial);
}
END_TEST

static int parse_liar(const uint8_t *data, size_t len, uint64_t *ret_payload_bytes, void *arg)
{
    (void)data;
    *ret_payload_bytes = len > 3 ? 0 : 100; /* changes its mind */
    return *(const int *)arg ? *(const int *)arg : (int)len;
}

static void expect_broken(const fw_framing_ops *ops, const char *bytes, size_t len, int error)
{
    fwi_framer framer;
    fw_slice frame;
    FWT_OK(fwi_framer_init(&framer, &(fw_framing){.custom = ops, .max_frame_bytes = 1000}));
    int rc = 0;
    for (size_t i = 0; i < len && !rc; i++) { /* byte by byte, and after that at once */
        fwi_framer_push(&framer, (const uint8_t *)bytes + i, 1);
        rc = fwi_framer_next(&framer, &frame);
    }
    FWT_ERR(rc, error);
    fwi_framer_fini(&framer);
    FWT_OK(fwi_framer_init(&framer, &(fw_framing){.custom = ops, .max_frame_bytes = 1000}));
    fwi_framer_push(&framer, (const uint8_t *)bytes, len);
    while ((rc = fwi_framer_next(&framer, &frame)) > 0)
        ;
    FWT_ERR(rc, error);
    fwi_framer_fini(&framer);
}

START_TEST(custom_framings_are_not_trusted)
{
    expect_broken(&varint, "\xff\xff\xff\xff\xff\xff", 6, FW_EPROTOCOL); /* no end of the header */
    expect_broken(&varint, "\xe9\x07", 2, FW_EFRAMESIZE);                /* 1001 */
    int too_long = 9;
    fw_framing_ops liar = {
        .max_header_bytes = 8, .parse = parse_liar, .write = write_varint, .arg = &too_long};
    expect_broken(&liar, "abcd", 4, FW_EPROTOCOL); /* a header longer than what it has seen */
    fwi_framer framer;
    fw_framing_ops no_parse = {.max_header_bytes = 8, .write = write_varint};
    FWT_ERR(fwi_framer_init(&framer, &(fw_framing){.custom = &no_parse}), FW_EOPTION);
    fw_framing_ops wide = varint;
    wide.max_header_bytes = FW_MAX_HEADER_BYTES + 1;
    FWT_ERR(fwi_framer_init(&framer, &(fw_framing){.custom = &wide}), FW_EOPTION);
    FWT_ERR(fwi_framer_init(&framer, &(fw_framing){.custom = &varint, .length_bytes = 4}),
            FW_EOPTION);
    FWT_ERR(fwi_framer_init(&framer, &(fw_framing){.messages = true}), FW_EOPTION);
}
END_TEST

/* ---- over connections ---- */

static void echo(const char *url, fw_framing framing, fw_compression compression, size_t most)
{
    static uint8_t data[300000];
    static const size_t sizes[] = {1, 0, 127, 128, 255, 256, 1000, 5000, 300000};
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i / 7 % 251);
    ends.at_server.echo = true;
    ends_listen(&ends, url, (fw_server_options){.framing = framing, .compression = compression});
    end_dial(&client, fw_server_url(ends.server),
             (fw_session_options){.framing = framing, .compression = compression});
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && sizes[i] <= most; i++) {
        size_t bytes = client.bytes;
        FWT_OK(fw_session_send(client.session, data, sizes[i]));
        fwt_run_count(&client.frames, i + 1, ENDS_WAIT_MS);
        ck_assert_uint_eq(client.bytes - bytes, sizes[i]);
        fwt_assert_bytes(client.last, client.last_len, data, client.last_len, "echo");
    }
    end_close(&client);
    ends_close(&ends);
}

static void echo_all(const char *url, fw_framing framing, fw_compression compression)
{
    echo(url, framing, compression, SIZE_MAX);
}

START_TEST(custom_frames_echo)
{
    echo_all("tcp://127.0.0.1:0", (fw_framing){.custom = &varint}, (fw_compression){0});
}
END_TEST

START_TEST(messages_echo)
{
    echo_all("mem:messages", (fw_framing){.messages = true}, (fw_compression){0});
}
END_TEST

START_TEST(sessions_stand_on_other_transports)
{
    static const struct {
        const char *scheme, *url;
        bool messages;
        size_t most;
    } cases[] = {{"ws", "ws://127.0.0.1:0/", false, SIZE_MAX},
                 {"ws", "ws://127.0.0.1:0/", true, SIZE_MAX},
                 {"kcp", "kcp://127.0.0.1:0", false, SIZE_MAX},
                 {"udp", "udp://127.0.0.1:0", true, 1000}};
    if (fw_transport_can(cases[_i].scheme)) /* it may not be in this build */
        echo(cases[_i].url, (fw_framing){.messages = cases[_i].messages}, (fw_compression){0},
             cases[_i].most);
}
END_TEST

static size_t told_ok, told;

static void on_sent(fw_session *session, int status, void *arg)
{
    (void)session;
    (void)arg;
    told++;
    told_ok += status == FW_OK;
}

START_TEST(completions_are_told_above_layers)
{
    if (!fw_transport_can("ws"))
        return;
    fw_framing framing = {.messages = _i};
    static char block[100000];
    ends_listen(&ends, "ws://127.0.0.1:0/", (fw_server_options){.framing = framing});
    end_dial(&client, fw_server_url(ends.server), (fw_session_options){.framing = framing});
    for (size_t i = 0; i < 100; i++)
        FWT_OK(fw_session_send_async(client.session, block, i * 1000, 0, on_sent, NULL));
    fwt_run_count(&told, 100, ENDS_WAIT_MS);
    ck_assert_uint_eq(told_ok, 100);
    fwt_run_count(&ends.at_server.frames, 100, ENDS_WAIT_MS);
    fw_session_read_stop(ends.at_server.session);
    size_t sent = 100;
    while (!fw_session_send_async(client.session, block, sizeof block, 0, on_sent, NULL))
        sent++;
    fwt_run_for(20);
    ck_assert_uint_lt(told, sent);
    end_close(&client);
    ck_assert_uint_eq(told, sent);
    ck_assert_uint_lt(told_ok, sent);
    ends_close(&ends);
}
END_TEST

/* What the layer has packed to nearly nothing still waits behind what the peer does not take. */
START_TEST(packing_layers_are_not_early)
{
    if (!fw_transport_can("ws"))
        return;
    static uint8_t noise[30000], zeros[60000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)fwi_random_below(256);
    ends_listen(&ends, "ws://127.0.0.1:0/?deflate=1", (fw_server_options){0});
    char url[100];
    snprintf(url, sizeof url, "%s?deflate=1", fw_server_url(ends.server));
    end_dial(&client, url, (fw_session_options){0});
    fwt_run_count(&ends.accepted, 1, ENDS_WAIT_MS);
    fwt_run_count(&client.opened, 1, ENDS_WAIT_MS);
    fw_session_read_stop(ends.at_server.session);
    size_t turns = 0;
    while (turns < 5) { /* the kernel takes no more */
        bool waits = fw_session_queued_bytes(client.session) > 0;
        turns = waits ? turns + 1 : 0;
        if (!waits)
            FWT_OK(fw_session_send(client.session, noise, sizeof noise));
        fwt_run_for(2);
    }
    for (int i = 0; i < 20; i++) {
        FWT_OK(fw_session_send_async(client.session, zeros, sizeof zeros, 0, on_sent, NULL));
        fwt_run_for(2);
    }
    ck_assert_uint_eq(told, 0);
    fw_session_read_start(ends.at_server.session);
    fwt_run_count(&told_ok, 20, ENDS_WAIT_MS);
    end_close(&client);
    ends_close(&ends);
}
END_TEST

START_TEST(messages_need_a_transport_that_has_them)
{
    fw_server_options options = {.framing = {.messages = true}};
    FWT_ERR(fw_server_new(fwt_loop, "tcp://127.0.0.1:0", &options, &ends.server), FW_EOPTION);
    fw_session_options dial = {.framing = {.messages = true}};
    FWT_ERR(fw_session_dial(fwt_loop, "tcp://127.0.0.1:1", &dial, &client.session), FW_EOPTION);
}
END_TEST

static const char *methods[] = {"zstd", "lz4", "none"};

START_TEST(packed_frames_echo)
{
    fw_compression compression = {.method = methods[_i]};
    if (fw_compression_check(&compression) == FW_EUNSUPPORTED)
        return;
    echo_all("tcp://127.0.0.1:0", (fw_framing){.length_bytes = 4}, compression);
}
END_TEST

START_TEST(packed_frames_are_shorter_on_the_wire)
{
    fw_compression compression = {.method = methods[_i], .threshold_bytes = 100};
    if (fw_compression_check(&compression) == FW_EUNSUPPORTED)
        return;
    ends_listen(&ends, "tcp://127.0.0.1:0", (fw_server_options){0});
    end_dial(&client, fw_server_url(ends.server), (fw_session_options){.compression = compression});
    static const char zeros[100000];
    FWT_OK(fw_session_send(client.session, zeros, 99));
    fwt_run_count(&ends.at_server.frames, 1, ENDS_WAIT_MS);
    ck_assert_uint_eq(ends.at_server.bytes, 100);
    FWT_OK(fw_session_send(client.session, zeros, sizeof zeros));
    fwt_run_count(&ends.at_server.frames, 2, ENDS_WAIT_MS);
    ck_assert_uint_lt(ends.at_server.bytes, 2000);
    end_close(&client);
    ends_close(&ends);
}
END_TEST

/* A frame that claims to become longer than the limit. */
START_TEST(a_bomb_closes_the_session)
{
    fw_compression compression = {.method = methods[_i]};
    if (fw_compression_check(&compression) == FW_EUNSUPPORTED)
        return;
    ends_listen(
        &ends, "tcp://127.0.0.1:0",
        (fw_server_options){.framing = {.max_frame_bytes = 10000}, .compression = compression});
    end_dial(&client, fw_server_url(ends.server), (fw_session_options){.compression = compression});
    static const char zeros[100000];
    FWT_OK(fw_session_send(client.session, zeros, sizeof zeros));
    fwt_run_count(&ends.at_server.closed, 1, ENDS_WAIT_MS);
    ck_assert_int_eq(ends.at_server.reason, FW_EFRAMESIZE);
    ck_assert_uint_eq(ends.at_server.frames, 0);
    fwt_run_count(&client.closed, 1, ENDS_WAIT_MS);
    ends_close(&ends);
}
END_TEST

START_TEST(a_method_that_is_not_known_is_refused)
{
    fw_server_options options = {.compression = {.method = "zip"}};
    FWT_ERR(fw_server_new(fwt_loop, "tcp://127.0.0.1:0", &options, &ends.server), FW_EOPTION);
}
END_TEST

/* Random bytes into every framing: sessions close or go on, and nothing else happens. */
START_TEST(noise_does_no_harm)
{
    fw_framing framings[] = {{.length_bytes = 1},
                             {.length_bytes = 2, .big_endian = true},
                             {.length_bytes = 8},
                             {.custom = &varint}};
    fw_compression compression = {.method = _i % 2 ? "none" : NULL};
    ends_listen(&ends, "mem:noise",
                (fw_server_options){.framing = framings[_i / 2], .compression = compression});
    for (int round = 0; round < 30; round++) {
        /* A length of one byte, which is written here by hand as part of the noise. */
        end_dial(&client, fw_server_url(ends.server),
                 (fw_session_options){.framing = {.length_bytes = 1}});
        uint8_t noise[200];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)fwi_random_below(round % 2 ? 256 : 6);
        for (int i = 0; i < 5; i++)
            FWT_OK(fw_session_send(client.session, noise, sizeof noise));
        fwt_run_for(1);
        end_close(&client);
    }
    ends_close(&ends);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session framings");
    TCase *tcase = fwt_tcase(suite, "session framings", 60);
    tcase_add_loop_test(tcase, a_custom_framing_survives_any_segmentation, 0, 10);
    tcase_add_test(tcase, custom_framings_are_not_trusted);
    tcase_add_test(tcase, custom_frames_echo);
    tcase_add_test(tcase, messages_echo);
    tcase_add_loop_test(tcase, sessions_stand_on_other_transports, 0, 4);
    tcase_add_loop_test(tcase, completions_are_told_above_layers, 0, 2);
    tcase_add_test(tcase, packing_layers_are_not_early);
    tcase_add_test(tcase, messages_need_a_transport_that_has_them);
    tcase_add_loop_test(tcase, packed_frames_echo, 0, 3);
    tcase_add_loop_test(tcase, packed_frames_are_shorter_on_the_wire, 0, 2);
    tcase_add_loop_test(tcase, a_bomb_closes_the_session, 0, 2);
    tcase_add_test(tcase, a_method_that_is_not_known_is_refused);
    tcase_add_loop_test(tcase, noise_does_no_harm, 0, 8);
    return fwt_main(suite);
}
