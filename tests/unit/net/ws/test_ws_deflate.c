/*
 * permessage-deflate: a sample of Autobahn's groups 12 and 13 (sizes, kinds of data, fragments,
 * windows), and what a hostile peer may send. zlib itself makes and reads the other end's bytes.
 */
#include "wst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* One message's bytes, without the tail that is not sent. */
static wst_bytes compress_with(const void *data, size_t len, int bits, int flush)
{
    z_stream stream = {.next_in = NULL};
    wst_bytes out = {.data = NULL};
    uint8_t piece[4096];
    ck_assert_int_eq(deflateInit2(&stream, 6, Z_DEFLATED, -bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)len;
    do {
        stream.next_out = piece;
        stream.avail_out = sizeof piece;
        deflate(&stream, flush);
        wst_append(&out, piece, sizeof piece - stream.avail_out);
    } while (!stream.avail_out);
    deflateEnd(&stream);
    if (flush == Z_SYNC_FLUSH)
        out.len -= 4;
    return out;
}

static wst_bytes inflate_all(const uint8_t *data, size_t len, int bits)
{
    z_stream stream = {.next_in = NULL};
    wst_bytes in = {.data = NULL}, out = {.data = NULL};
    uint8_t piece[4096];
    wst_append(&in, data, len);
    wst_append(&in, "\x00\x00\xff\xff", 4);
    ck_assert_int_eq(inflateInit2(&stream, -bits), Z_OK);
    stream.next_in = in.data;
    stream.avail_in = (uInt)in.len;
    do {
        stream.next_out = piece;
        stream.avail_out = sizeof piece;
        int rc = inflate(&stream, Z_SYNC_FLUSH);
        ck_assert_msg(rc == Z_OK || rc == Z_BUF_ERROR, "%d", rc);
        wst_append(&out, piece, sizeof piece - stream.avail_out);
    } while (!stream.avail_out);
    inflateEnd(&stream);
    wst_free(&in);
    return out;
}

static void put_frame(wst_bytes *out, uint8_t first, const uint8_t *data, size_t len)
{
    char script[40];
    wst_bytes frame = {.data = NULL};
    snprintf(script, sizeof script, "#2*%zu", len);
    wst_frames(&frame, script, false);
    frame.data[0] = first;
    if (len)
        memcpy(frame.data + frame.len - len, data, len);
    /* Masked with zeros. */
    frame.data[1] |= 0x80;
    size_t head = frame.len - len;
    wst_append(out, frame.data, head);
    wst_append(out, "\0\0\0\0", 4);
    wst_append(out, frame.data + head, len);
    wst_free(&frame);
}

/* Frames of piece bytes; rsv1 on the first one. */
static void put_message(wst_bytes *out, uint8_t opcode, const wst_bytes *data, size_t piece)
{
    size_t at = 0;
    do {
        size_t n = data->len - at < piece ? data->len - at : piece;
        uint8_t first = (uint8_t)(at ? 0 : 0x40 | opcode);
        if (at + n == data->len)
            first |= 0x80;
        put_frame(out, first, data->data + at, n);
        at += n;
    } while (at < data->len);
}

static void open_server(wst_end *end, const char *params, bool messages, uint32_t max)
{
    char request[400];
    wst_init(end, "ws://h/?deflate=1", true, messages, max);
    snprintf(request, sizeof request,
             "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Extensions: permessage-deflate%s\r\n\r\n",
             params);
    wst_feed(end, request, strlen(request));
    ck_assert_uint_eq(end->opened, 1);
    ck_assert_uint_gt(end->ws.deflate_bits, 0);
    end->out.len = 0;
}

/* Compressible to some degree: 0 text, 1 zeros, 2 noise. */
static uint8_t *make_data(int kind, size_t len)
{
    static const char words[] = "service discovery and client-proxy middleware of many words ";
    uint8_t *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = kind == 0   ? (uint8_t)words[(i * 7 + i / 61) % (sizeof words - 1)]
                  : kind == 1 ? 0
                              : (uint8_t)rand();
    return data;
}

/* Reads the echoes, each in one frame, compressed or not. */
static void check_echo(wst_end *end, const uint8_t *data, size_t len, int bits, size_t count)
{
    uint8_t *at = end->out.data, *stop = at + end->out.len;
    for (size_t i = 0; i < count; i++) {
        size_t n = wst_unmask(at, (size_t)(stop - at), false), len7 = at[1];
        size_t head = len7 < 126 ? 2 : len7 == 126 ? 4 : 10;
        wst_bytes plain = {.data = NULL};
        if (at[0] & 0x40)
            plain = inflate_all(at + head, n - head, bits);
        else
            wst_append(&plain, at + head, n - head);
        ck_assert_uint_eq(plain.len, len);
        ck_assert(!len || !memcmp(plain.data, data, len));
        wst_free(&plain);
        at += n;
    }
    ck_assert_ptr_eq(at, stop);
}

static void echo(size_t size, size_t piece, int kind, const char *params, int bits)
{
    uint8_t *data = make_data(kind, size);
    wst_bytes packed = compress_with(data, size, 15, Z_SYNC_FLUSH), in = {.data = NULL};
    for (int i = 0; i < 3; i++)
        put_message(&in, kind ? 2 : 1, &packed, piece ? piece : SIZE_MAX);
    for (int chop = 0; chop < 2; chop++) {
        wst_end end;
        open_server(&end, params, true, 0);
        wst_feed_chopped(&end, &in, chop ? 0 : SIZE_MAX);
        ck_assert_int_eq(end.error, 0);
        ck_assert_uint_eq(end.messages, 3);
        check_echo(&end, data, size, bits, 3);
        ck_assert_ptr_null(end.ws.message);
        if (kind != 2 && size >= 1024)
            ck_assert_uint_lt(end.out.len, 3 * size / 2);
        wst_fini(&end);
    }
    wst_free(&packed);
    wst_free(&in);
    free(data);
}

START_TEST(sizes_and_fragments)
{
    static const struct {
        size_t size, piece;
    } cases[] = {
        /* 12.1.1 to 12.1.18: Autobahn's sizes, and the fragments that it sends them in. */
        {16, 0},      {64, 0},      {256, 0},      {1024, 0},      {4096, 0},      {8192, 0},
        {16384, 0},   {32768, 0},   {65536, 0},    {131072, 0},    {8192, 256},    {16384, 256},
        {32768, 256}, {65536, 256}, {131072, 256}, {131072, 1024}, {131072, 4096}, {131072, 32768},
    };
    size_t count = 0;
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++, count++) {
            srand((unsigned)i);
            echo(cases[i].size, cases[i].piece, kind, "", 15);
        }
    echo(0, 0, 0, "", 15);
    printf("%zu cases of 12\n", count);
}
END_TEST

START_TEST(windows)
{
    static const struct {
        const char *params;
        int bits;
    } cases[] = {
        {"; server_no_context_takeover", 15},
        {"; client_max_window_bits", 15},
        {"; server_max_window_bits=9", 9},
        {"; server_max_window_bits=15", 15},
        {"; server_no_context_takeover; server_max_window_bits=9", 9},
        {"; client_no_context_takeover; client_max_window_bits=9", 15},
        {"; server_no_context_takeover; client_max_window_bits; server_max_window_bits=12", 12},
    };
    /* 13.1 to 13.7 */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        echo(16, 0, 0, cases[i].params, cases[i].bits);
        echo(65536, 0, 0, cases[i].params, cases[i].bits);
        echo(131072, 1024, 1, cases[i].params, cases[i].bits);
    }
}
END_TEST

START_TEST(our_own_ends_agree)
{
    wst_end client, server;
    wst_init(&client, "ws://h?deflate=1", false, true, 0);
    wst_init(&server, "ws://h?deflate=1", true, true, 0);
    wst_shake(&client, &server);
    for (size_t size = 0; size <= 500000; size = size * 5 + 1) {
        uint8_t *data = make_data(0, size);
        fw_slice parts[] = {{data, size / 3}, {data + size / 3, size - size / 3}};
        FWT_OK(fwi_ws_send(&client.ws, parts, 2));
        client.echo = false;
        wst_pump(&client, &server);
        ck_assert_uint_eq(client.got.len, size);
        ck_assert(!size || !memcmp(client.got.data, data, size));
        client.got.len = 0;
        free(data);
    }
    ck_assert_ptr_null(client.ws.message);
    ck_assert_ptr_null(client.config->deflater);
    wst_fini(&client);
    wst_fini(&server);
}
END_TEST

static void expect_close(bool messages, uint32_t max, const wst_bytes *in, const char *out,
                         int error)
{
    wst_end end;
    open_server(&end, "", messages, max);
    end.echo = false;
    wst_feed(&end, in->data, in->len);
    wst_expect(&end, out, "hostile");
    ck_assert_int_eq(end.error, error);
    wst_fini(&end);
}

START_TEST(a_bomb_is_cut_short)
{
    uint8_t *data = make_data(1, 50 << 20);
    wst_bytes packed = compress_with(data, 50 << 20, 15, Z_SYNC_FLUSH), in = {.data = NULL};
    ck_assert_uint_lt(packed.len, 100000);
    put_message(&in, 2, &packed, SIZE_MAX);
    expect_close(true, 100000, &in, "X1009", FW_EFRAMESIZE);
    wst_free(&packed);
    wst_free(&in);
    free(data);
}
END_TEST

/* A stream gives it out in pieces, and stops where its reader does. */
START_TEST(a_stream_inflates_in_pieces)
{
    uint8_t *data = make_data(1, 1 << 20);
    wst_bytes packed = compress_with(data, 1 << 20, 15, Z_SYNC_FLUSH), in = {.data = NULL};
    put_message(&in, 2, &packed, SIZE_MAX);
    wst_end end;
    fwi_ws_event event;
    open_server(&end, "", false, 1000);
    fwi_ws_push(&end.ws, in.data, in.len);
    size_t got = 0, events = 0;
    while (fwi_ws_next(&end.ws, &event) > 0) {
        got += event.len;
        events++;
        ck_assert_uint_le(event.len, 8192);
        ck_assert(got == 1 << 20 || fwi_ws_has_more(&end.ws));
    }
    ck_assert_uint_eq(got, 1 << 20);
    ck_assert_uint_ge(events, 128);
    ck_assert_ptr_null(end.ws.message);
    wst_free(&packed);
    wst_free(&in);
    wst_fini(&end);
    free(data);
}
END_TEST

START_TEST(what_is_no_deflate_is_refused)
{
    static const char *const bad[] = {"07", "fffefdfcfbfaf9", "f248cdc9c9", "00050000ff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wst_bytes packed = {.data = NULL}, in = {.data = NULL};
        packed.data = fwt_unhex(bad[i], &packed.len);
        put_message(&in, 2, &packed, SIZE_MAX);
        expect_close(true, 0, &in, "X1007", FW_EPROTOCOL);
        wst_free(&packed);
        wst_free(&in);
    }
}
END_TEST

/* RFC 7692 section 7.2.3: its examples, among them a last block and several blocks. */
START_TEST(examples_of_the_standard)
{
    static const char *const hello[] = {"f248cdc9c90700", "000500faff48656c6c6f00",
                                        "f348cdc9c90700"
                                        "00",
                                        "f2480500"
                                        "0000ffff"
                                        "cac9c90700"};
    for (size_t i = 0; i < sizeof hello / sizeof *hello; i++) {
        wst_bytes packed = {.data = NULL}, in = {.data = NULL};
        wst_end end;
        packed.data = fwt_unhex(hello[i], &packed.len);
        put_message(&in, 1, &packed, SIZE_MAX);
        open_server(&end, "", true, 0);
        wst_feed_chopped(&end, &in, 1);
        wst_expect(&end, "T:Hello", hello[i]);
        wst_free(&packed);
        wst_free(&in);
        wst_fini(&end);
    }
}
END_TEST

START_TEST(the_bit_stands_on_the_first_frame_only)
{
    wst_bytes packed = compress_with("Hello", 5, 15, Z_SYNC_FLUSH), in = {.data = NULL};
    put_frame(&in, 0x42, packed.data, 2);
    put_frame(&in, 0xc0, packed.data + 2, packed.len - 2);
    expect_close(true, 0, &in, "X1002", FW_EPROTOCOL);
    in.len = 0;
    put_frame(&in, 0xc9, (const uint8_t *)"x", 1); /* a ping */
    expect_close(true, 0, &in, "X1002", FW_EPROTOCOL);
    in.len = 0;
    put_frame(&in, 0xe2, packed.data, packed.len); /* another bit besides */
    expect_close(true, 0, &in, "X1002", FW_EPROTOCOL);
    wst_free(&packed);
    wst_free(&in);
}
END_TEST

START_TEST(inflated_text_is_checked)
{
    wst_bytes packed = compress_with("bad \xed\xa0\x80", 7, 15, Z_SYNC_FLUSH), in = {.data = NULL};
    put_message(&in, 1, &packed, 3);
    expect_close(true, 0, &in, "X1007", FW_EPROTOCOL);
    wst_free(&packed);
    wst_free(&in);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws deflate");
    TCase *tcase = tcase_create("deflate");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, sizes_and_fragments);
    tcase_add_test(tcase, windows);
    tcase_add_test(tcase, our_own_ends_agree);
    tcase_add_test(tcase, a_bomb_is_cut_short);
    tcase_add_test(tcase, a_stream_inflates_in_pieces);
    tcase_add_test(tcase, what_is_no_deflate_is_refused);
    tcase_add_test(tcase, examples_of_the_standard);
    tcase_add_test(tcase, the_bit_stands_on_the_first_frame_only);
    tcase_add_test(tcase, inflated_text_is_checked);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
