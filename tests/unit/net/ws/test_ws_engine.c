/* What the engine does beyond the cases of the standard: limits, streams, pongs, both ends. */
#include "wst.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static void feed(wst_end *end, const char *script)
{
    wst_bytes bytes = {.data = NULL};
    wst_frames(&bytes, script, end->config->server);
    wst_feed(end, bytes.data, bytes.len);
    wst_free(&bytes);
}

/* ---- limits ---- */
START_TEST(a_message_is_at_most_so_long)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"B*1000", "B*1000"},     {"B*1001", "X1009"},        {"b*500 C*500", "B*1000"},
        {"b*500 C*501", "X1009"}, {"b*1000 c c C", "B*1000"}, {"T*5000", "X1009"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wst_end end;
        wst_open(&end, "ws://h", true, true, 1000);
        feed(&end, cases[i].in);
        wst_expect(&end, cases[i].out, cases[i].in);
        ck_assert_int_eq(end.error, cases[i].out[0] == 'X' ? FW_EFRAMESIZE : 0);
        wst_fini(&end);
    }
}
END_TEST

/* The header alone is enough, whatever it announces. */
START_TEST(a_length_costs_nothing)
{
    static const char *const heads[] = {"82fe03e901020304aa", "82ff000000000001000001020304aa",
                                        "82ff7fffffffffffffff01020304aa"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        wst_end end;
        size_t len;
        uint8_t *bytes = fwt_unhex(heads[i], &len);
        wst_open(&end, "ws://h", true, true, 1000);
        wst_feed(&end, bytes, len);
        wst_expect(&end, "X1009", heads[i]);
        ck_assert_ptr_null(end.ws.message);
        free(bytes);
        wst_fini(&end);
    }
}
END_TEST

START_TEST(lengths_are_in_their_shortest_form)
{
    static const char *const heads[] = {"82fe007d01020304", "82ff000000000000007d01020304",
                                        "82ff000000000000ffff01020304",
                                        "82ff800000000000000001020304"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        wst_end end;
        size_t len;
        uint8_t *bytes = fwt_unhex(heads[i], &len);
        wst_open(&end, "ws://h", true, false, 0);
        wst_feed(&end, bytes, len);
        wst_expect(&end, "X1002", heads[i]);
        free(bytes);
        wst_fini(&end);
    }
}
END_TEST

START_TEST(fragments_are_counted)
{
    for (unsigned too_many = 0; too_many < 2; too_many++) {
        wst_end end;
        wst_open(&end, "ws://h", true, true, 0);
        feed(&end, "b:x");
        for (unsigned i = 2; i < FWI_WS_MAX_FRAGMENTS + too_many; i++)
            feed(&end, i % 3 ? "c" : "c I");
        ck_assert_int_eq(end.error, 0);
        end.out.len = 0;
        feed(&end, "C:y");
        wst_expect(&end, too_many ? "X1008" : "B:xy", "fragments");
        ck_assert_int_eq(end.error, too_many ? FW_ELIMIT : 0);
        wst_fini(&end);
    }
}
END_TEST

START_TEST(masks_are_the_clients_duty)
{
    for (int server = 0; server < 2; server++) {
        wst_end end;
        wst_bytes bytes = {.data = NULL};
        wst_open(&end, "ws://h", server, true, 0);
        wst_frames(&bytes, "B:x", !server);
        wst_feed(&end, bytes.data, bytes.len);
        wst_expect(&end, "X1002", "a mask");
        wst_free(&bytes);
        wst_fini(&end);
    }
}
END_TEST

/* 6.4.3: the rest of the frame never comes. */
START_TEST(bad_text_fails_at_once)
{
    wst_end end;
    wst_bytes bytes = {.data = NULL};
    wst_open(&end, "ws://h", true, true, 0);
    wst_frames(&bytes, "T$cebae1bdb9cf83f4908080656469746564", true);
    wst_feed(&end, bytes.data, 6 + 8);
    ck_assert_uint_eq(end.out.len, 0);
    wst_feed(&end, bytes.data + 6 + 8, 1);
    wst_expect(&end, "X1007", "the fail");
    wst_free(&bytes);
    wst_fini(&end);
}
END_TEST

/* Not with what happens to lie behind it. */
START_TEST(half_a_code_is_none)
{
    static const uint8_t bytes[] = {0x88, 0x01, 0x03, 0xe8, 0x00};
    wst_end end;
    wst_open(&end, "ws://h", false, true, 0);
    wst_feed(&end, bytes, sizeof bytes);
    wst_expect(&end, "X1002", "half a code");
    wst_fini(&end);
}
END_TEST

START_TEST(nothing_is_kept_when_idle)
{
    wst_end end;
    wst_open(&end, "ws://h", false, true, 0);
    feed(&end, "t:a I C*100000 B:x");
    ck_assert_ptr_null(end.ws.reader);
    ck_assert_ptr_null(end.ws.message);
    ck_assert_ptr_null(end.ws.pong);
    ck_assert_ptr_null(end.config->reader);
    ck_assert_ptr_null(end.config->writer);
    ck_assert_ptr_null(end.config->target);
    ck_assert_uint_le(sizeof end.ws, 128);
    wst_fini(&end);
}
END_TEST

/* ---- streams ---- */
START_TEST(a_stream_has_no_messages)
{
    wst_end end;
    wst_open(&end, "ws://h", true, false, 1000);
    end.echo = false;
    feed(&end, "b:Hel C:lo B B:_world t:! C b*3000 C*3000");
    ck_assert_int_eq(end.error, 0);
    ck_assert_uint_eq(end.got.len, 12 + 6000);
    ck_assert_mem_eq(end.got.data, "Hello world!", 12);
    ck_assert_ptr_null(end.ws.message);
    feed(&end, "T$cf"); /* text is text */
    wst_expect(&end, "X1007", "text in a stream");
    wst_fini(&end);
}
END_TEST

/* Bytes come as they come, from a frame without an end. */
START_TEST(a_stream_keeps_nothing)
{
    wst_end end;
    wst_open(&end, "ws://h", true, false, 1000);
    end.echo = false;
    size_t len;
    uint8_t *head = fwt_unhex("02ff000000ffffffffff00000000", &len);
    wst_feed(&end, head, len);
    free(head);
    static const uint8_t zeros[10000];
    for (size_t i = 0; i < 100; i++) {
        wst_feed(&end, zeros, sizeof zeros);
        ck_assert_uint_eq(end.got.len, sizeof zeros);
        end.got.len = 0;
    }
    wst_fini(&end);
}
END_TEST

START_TEST(empty_fragments_of_a_stream_end)
{
    wst_end end;
    wst_open(&end, "ws://h", true, false, 0);
    end.echo = false;
    feed(&end, "b");
    for (int i = 0; i < 5000; i++)
        feed(&end, i % 1000 ? "c" : "c:x");
    ck_assert_int_eq(end.error, 0);
    for (int i = 0; i < FWI_WS_MAX_FRAGMENTS && !end.error; i++)
        feed(&end, "c");
    ck_assert_int_eq(end.error, FW_ELIMIT);
    wst_expect(&end, "X1008", "empty fragments");
    wst_fini(&end);
}
END_TEST

/* ---- pongs and pings ---- */
START_TEST(only_the_latest_pong_waits)
{
    wst_end end;
    wst_open(&end, "ws://h", true, true, 0);
    FWT_OK(fwi_ws_set_blocked(&end.ws, true));
    for (int i = 0; i < 1000; i++)
        feed(&end, "I*125 I:first I:second I:last");
    ck_assert_uint_eq(end.out.len, 0);
    FWT_OK(fwi_ws_set_blocked(&end.ws, false));
    wst_expect(&end, "O:last", "pongs");
    ck_assert_ptr_null(end.ws.pong);
    FWT_OK(fwi_ws_set_blocked(&end.ws, true));
    feed(&end, "I:late X1000");
    FWT_OK(fwi_ws_set_blocked(&end.ws, false));
    wst_expect(&end, "O:last X1000", "none after a Close");
    wst_fini(&end);
}
END_TEST

START_TEST(a_pong_answers_a_ping)
{
    wst_end client, server;
    wst_init(&client, "ws://h", false, true, 0);
    wst_init(&server, "ws://h", true, true, 0);
    wst_shake(&client, &server);
    for (unsigned i = 1; i <= 3; i++) {
        FWT_OK(fwi_ws_ping(&server.ws));
        wst_pump(&client, &server);
        ck_assert_uint_eq(server.ponged, i);
    }
    feed(&server, "O O$03000000 O$02000000 O:unasked_for");
    ck_assert_uint_eq(server.ponged, 4); /* of these, the one of the last ping */
    wst_fini(&client);
    wst_fini(&server);
}
END_TEST

/* ---- both ends ---- */
START_TEST(either_side_closes)
{
    static const unsigned codes[] = {1000, 1001, 1009, 4321, 1005};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        for (int from_client = 0; from_client < 2; from_client++) {
            wst_end client, server;
            wst_init(&client, "ws://h", false, true, 0);
            wst_init(&server, "ws://h", true, true, 0);
            wst_shake(&client, &server);
            wst_end *from = from_client ? &client : &server, *to = from_client ? &server : &client;
            FWT_OK(fwi_ws_close(&from->ws, codes[i]));
            FWT_OK(fwi_ws_close(&from->ws, 1000)); /* once */
            fw_slice part = {"x", 1};
            FWT_ERR(fwi_ws_send(&from->ws, &part, 1), FW_ECLOSED);
            wst_pump(from, to);
            ck_assert_uint_eq(to->closed, codes[i]);
            ck_assert_uint_eq(from->closed, codes[i]);
            wst_fini(&client);
            wst_fini(&server);
        }
}
END_TEST

/* Both at once: each takes the other's for the answer. */
START_TEST(both_sides_close)
{
    wst_end client, server;
    wst_init(&client, "ws://h", false, true, 0);
    wst_init(&server, "ws://h", true, true, 0);
    wst_shake(&client, &server);
    FWT_OK(fwi_ws_close(&client.ws, 4001));
    FWT_OK(fwi_ws_close(&server.ws, 4002));
    wst_pump(&client, &server);
    ck_assert_uint_eq(client.closed, 4002);
    ck_assert_uint_eq(server.closed, 4001);
    wst_fini(&client);
    wst_fini(&server);
}
END_TEST

START_TEST(text_is_sent_as_text)
{
    wst_end client, server;
    wst_init(&client, "ws://h/?text=1", false, true, 0);
    wst_init(&server, "ws://h", true, true, 0);
    wst_shake(&client, &server);
    server.echo = false;
    fw_slice parts[] = {{"gr\xc3", 3}, {"\xbc\xc3\x9f", 3}, {"e", 1}};
    FWT_OK(fwi_ws_send(&client.ws, parts, 3));
    FWT_ERR(fwi_ws_send(&client.ws, parts, 1), UV_EILSEQ);
    wst_pump(&client, &server);
    ck_assert_uint_eq(server.messages, 1);
    ck_assert(server.text);
    ck_assert_uint_eq(server.got.len, 7);
    wst_fini(&client);
    wst_fini(&server);
}
END_TEST

START_TEST(codes_and_reasons)
{
    for (unsigned code = 0; code <= 65535; code++) {
        bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                     (code >= 3000 && code <= 4999);
        ck_assert(fwi_ws_code_is_valid(code) == valid);
        ck_assert_int_lt(fwi_ws_reason_of(code), 0);
    }
    static const int reasons[] = {0,        UV_EOF,    FW_ECANCELED,  FW_EPROTOCOL, FW_ELIMIT,
                                  FW_EAUTH, UV_ENOMEM, FW_EFRAMESIZE, UV_ECONNRESET};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        ck_assert(fwi_ws_code_is_valid(fwi_ws_code_of(reasons[i])));
    ck_assert_int_eq(fwi_ws_reason_of(fwi_ws_code_of(FW_EFRAMESIZE)), FW_EFRAMESIZE);
    ck_assert_int_eq(fwi_ws_reason_of(fwi_ws_code_of(FW_EPROTOCOL)), FW_EPROTOCOL);
    ck_assert_int_eq(fwi_ws_reason_of(fwi_ws_code_of(FW_OK)), UV_EOF);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws engine");
    TCase *tcase = tcase_create("engine");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_message_is_at_most_so_long);
    tcase_add_test(tcase, a_length_costs_nothing);
    tcase_add_test(tcase, lengths_are_in_their_shortest_form);
    tcase_add_test(tcase, fragments_are_counted);
    tcase_add_test(tcase, masks_are_the_clients_duty);
    tcase_add_test(tcase, bad_text_fails_at_once);
    tcase_add_test(tcase, half_a_code_is_none);
    tcase_add_test(tcase, nothing_is_kept_when_idle);
    tcase_add_test(tcase, a_stream_has_no_messages);
    tcase_add_test(tcase, a_stream_keeps_nothing);
    tcase_add_test(tcase, empty_fragments_of_a_stream_end);
    tcase_add_test(tcase, only_the_latest_pong_waits);
    tcase_add_test(tcase, a_pong_answers_a_ping);
    tcase_add_test(tcase, either_side_closes);
    tcase_add_test(tcase, both_sides_close);
    tcase_add_test(tcase, text_is_sent_as_text);
    tcase_add_test(tcase, codes_and_reasons);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
