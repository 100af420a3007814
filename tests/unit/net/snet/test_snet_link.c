/* snet connections over real tcp, through a relay that breaks their links. */
#include "transport/snet/handshake.h"

#include <fairway/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/random.h"
#include "snett.h"

#define QUICK "&retry_max_ms=20"

/* client, server */
static const char *const pairs[][2] = {
    {"flavour=uniway" QUICK, "flavour=uniway"},
    {"flavour=fastway" QUICK, "flavour=fastway"},
    {"flavour=uniway&encrypt=1" QUICK, "flavour=auto&encrypt=1"},
    {"flavour=fastway&encrypt=1" QUICK, "encrypt=1"},
};
#define PAIRS ((int)(sizeof pairs / sizeof *pairs))

static snett_server server;
static snett_user client;
static fwt_proxy *proxy;

static void start(const char *client_params, const char *server_params)
{
    snett_listen(&server, server_params);
    proxy = fwt_proxy_start(server.port);
    snett_dial(&client, fwt_proxy_port(proxy), client_params);
    fwt_run_count(&server.count, 1, SNETT_MS);
}

static void end(void)
{
    snett_user_end(&client);
    snett_server_end(&server);
    fwt_proxy_end(proxy);
}

START_TEST(test_echo)
{
    start(pairs[_i][0], pairs[_i][1]);
    snett_say(&client, "hello");
    snett_wait_in(&server.users[0], "hello");
    snett_say(&server.users[0], "welcome");
    snett_wait_in(&client, "welcome");
    ck_assert(!strncmp(fw_conn_peer(server.users[0].conn), "snet://127.0.0.1:", 17));
    ck_assert_int_eq(fw_conn_shutdown(client.conn), FW_EUNSUPPORTED);
    end();
}
END_TEST

START_TEST(test_cut)
{
    start(pairs[_i][0], pairs[_i][1]);
    char wanted_up[100] = "", wanted_down[100] = "";
    for (int round = 0; round < 6; round++) {
        char text[16];
        snprintf(text, sizeof text, "%d,", round);
        snett_say(&client, text);
        snett_say(&server.users[0], text);
        strcat(wanted_up, text);
        strcat(wanted_down, text);
        if (round % 3 != 0) { /* or at once, with all that is under way */
            snett_wait_in(&server.users[0], wanted_up);
            snett_wait_in(&client, wanted_down);
        }
        fwt_proxy_cut(proxy, round % 2);
    }
    snett_say(&client, "end");
    strcat(wanted_up, "end");
    snett_wait_in(&server.users[0], wanted_up);
    snett_wait_in(&client, wanted_down);
    ck_assert_uint_eq(server.count, 1);
    ck_assert(!client.closed && !server.users[0].closed);
    end();
}
END_TEST

/* What both sides say into a dead link arrives after it was replaced. */
START_TEST(test_frozen)
{
    start(pairs[_i][0], pairs[_i][1]);
    snett_say(&client, "a");
    snett_wait_in(&server.users[0], "a");
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    snett_say(&client, "lost?");
    snett_say(&server.users[0], "lost, too?");
    fwt_run_for(30);
    fwt_proxy_cut(proxy, true);
    fwt_proxy_pass(proxy);
    snett_wait_in(&server.users[0], "alost?");
    snett_wait_in(&client, "lost, too?");
    end();
}
END_TEST

START_TEST(test_written_while_waiting)
{
    start(pairs[_i][0], pairs[_i][1]);
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, false);
    fwt_run_for(50);
    size_t size = 3 << 20;
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = 0;
    snett_say(&client, text);
    ck_assert(fw_conn_congested(client.conn));
    fwt_run_for(50);
    ck_assert(!client.drained);
    ck_assert_uint_eq(fw_conn_queued_bytes(client.conn), size);
    fwt_proxy_pass(proxy);
    snett_wait_in(&server.users[0], text);
    fwt_run_until(&client.drained, SNETT_MS);
    free(text);
    end();
}
END_TEST

START_TEST(test_reading_stopped)
{
    start(pairs[_i][0], pairs[_i][1]);
    fw_conn_read_stop(client.conn);
    fw_conn_read_stop(server.users[0].conn);
    snett_say(&client, "up");
    snett_say(&server.users[0], "down");
    fwt_run_for(30);
    fwt_proxy_cut(proxy, true);
    fwt_run_for(200);
    snett_say(&client, "up"); /* now it hears of the cut, if it has not */
    snett_say(&server.users[0], "down");
    fwt_run_for(200);
    ck_assert_uint_eq(client.in_len, 0);
    ck_assert_uint_eq(server.users[0].in_len, 0);
    fw_conn_read_start(client.conn);
    fw_conn_read_start(server.users[0].conn);
    snett_wait_in(&client, "downdown");
    snett_wait_in(&server.users[0], "upup");
    end();
}
END_TEST

START_TEST(test_client_gone)
{
    char params[100];
    snprintf(params, sizeof params, "%s&wait_timeout_ms=100", pairs[_i][1]);
    start(pairs[_i][0], params);
    snett_user_end(&client);
    snett_wait_closed(&server.users[0], UV_EOF);
    end();
}
END_TEST

/* fastway's client is told; uniway's only waits in vain. */
START_TEST(test_server_gone)
{
    char params[100];
    bool is_fastway = strstr(pairs[_i][0], "fastway");
    snprintf(params, sizeof params, "%s&wait_timeout_ms=%d", pairs[_i][0],
             is_fastway ? 10 * SNETT_MS : 200);
    start(params, pairs[_i][1]);
    snett_say(&client, "hello");
    snett_wait_in(&server.users[0], "hello");
    snett_user_end(&server.users[0]);
    snett_wait_closed(&client, UV_EOF);
    ck_assert_ptr_nonnull(strstr(client.errmsg, is_fastway ? "does not resume" : "in time"));
    end();
}
END_TEST

START_TEST(test_nobody_there)
{
    char params[100];
    snprintf(params, sizeof params, "%s&wait_timeout_ms=100", pairs[_i][0]);
    snett_dial_begin(&client, "snet", fwt_free_port(), params);
    snett_wait_closed(&client, UV_ECONNREFUSED);
    start(params, pairs[_i][1]);
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, false);
    fwt_run_until(&client.closed, SNETT_MS);
    ck_assert_str_eq(client.errmsg, "the link was lost, and no other came in time");
    end();
}
END_TEST

/* More was lost than the ring has: the session is over, and the client is told. */
START_TEST(test_beyond_buffer)
{
    start("flavour=fastway&buffer_bytes=64" QUICK, "");
    fwt_proxy_freeze(proxy, FWT_PROXY_REQUESTS);
    for (int i = 0; i < 10; i++) {
        snett_say(&client, "0123456789");
        fwt_run_for(5);
    }
    fwt_proxy_cut(proxy, true);
    fwt_proxy_pass(proxy);
    snett_wait_closed(&client, FW_ELIMIT);
    ck_assert_str_eq(client.errmsg, "the server lacks more than can be sent again");
    end();
    start("flavour=fastway" QUICK, "buffer_bytes=64");
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
    for (int i = 0; i < 10; i++) {
        snett_say(&server.users[0], "0123456789");
        fwt_run_for(5);
    }
    fwt_proxy_cut(proxy, true);
    fwt_proxy_pass(proxy);
    snett_wait_closed(&client, UV_EOF);
    ck_assert_str_eq(client.errmsg, "the server does not resume the session");
    end();
}
END_TEST

/* ---- a client made by hand ---- */

struct hand {
    snett_user link; /* tcp */
    fwi_snet_client handshake;
};

/* Opens a link and shakes hands; false if the server closes it. */
static bool hand_connect(struct hand *hand, fwi_snet_flavour flavour, const fwi_snet_stream *stream)
{
    fwi_snet_bytes out;
    size_t used;
    snett_dial_begin(&hand->link, "tcp", server.port, "");
    fwt_run_until(&hand->link.open, SNETT_MS);
    if (stream)
        FWT_OK(fwi_snet_client_resume(&hand->handshake, flavour, stream, &out));
    else
        FWT_OK(fwi_snet_client_start(&hand->handshake, flavour, fwi_random_secret, &out));
    FWT_OK(fw_conn_write(hand->link.conn, out.data, out.len));
    size_t wanted = flavour == FWI_SNET_UNIWAY ? 16 : 24;
    while (hand->link.in_len < wanted && !hand->link.closed)
        fwt_run_for(1);
    if (hand->link.in_len < wanted)
        return false;
    int err =
        fwi_snet_client_input(&hand->handshake, (uint8_t *)hand->link.in, wanted, &used, &out);
    hand->link.in_len -= wanted;
    memmove(hand->link.in, hand->link.in + wanted, hand->link.in_len + 1);
    if (err)
        return false;
    if (out.len)
        FWT_OK(fw_conn_write(hand->link.conn, out.data, out.len));
    return true;
}

static void hand_stream(const struct hand *hand, fwi_snet_stream *ret_stream)
{
    FWT_OK(fwi_snet_stream_init(ret_stream, hand->handshake.id, hand->handshake.secret, false,
                                false, 4096));
}

static const fwi_snet_flavour flavours[] = {FWI_SNET_UNIWAY, FWI_SNET_FASTWAY};

/* A session is resumed while its old link looks as good as ever. */
START_TEST(test_taken_over)
{
    struct hand old, new;
    fwi_snet_stream stream;
    snett_listen(&server, "");
    ck_assert(hand_connect(&old, flavours[_i], NULL));
    hand_stream(&old, &stream);
    uint8_t wire[8];
    FWT_OK(fwi_snet_stream_send(&stream, (const uint8_t *)"12345", 5, wire));
    snett_say(&old.link, "123");
    fwt_run_count(&server.count, 1, SNETT_MS);
    snett_user *user = &server.users[0];
    snett_wait_in(user, "123");
    snett_say(user, "abc"); /* goes into the old link; the client says it has not read it */
    fwt_run_for(20);
    ck_assert(hand_connect(&new, flavours[_i], &stream));
    fwt_run_until(&old.link.closed, SNETT_MS);
    ck_assert_uint_eq(new.handshake.peer_read, 3);
    snett_say(&new.link, "45");
    snett_wait_in(user, "12345");
    snett_wait_in(&new.link, "abc");
    ck_assert_uint_eq(server.count, 1);
    fwi_snet_stream_fini(&stream);
    snett_user_end(&old.link);
    snett_user_end(&new.link);
    snett_server_end(&server);
}
END_TEST

/* What came over the old link after the counts were told does not come twice. */
START_TEST(test_old_link_goes_on)
{
    struct hand old;
    snett_user new;
    fwi_snet_stream stream;
    fwi_snet_client handshake;
    fwi_snet_bytes out;
    uint8_t wire[8];
    size_t used;
    snett_listen(&server, "");
    ck_assert(hand_connect(&old, FWI_SNET_FASTWAY, NULL));
    hand_stream(&old, &stream);
    fwt_run_count(&server.count, 1, SNETT_MS);
    snett_dial_begin(&new, "tcp", server.port, "");
    FWT_OK(fwi_snet_stream_send(&stream, (const uint8_t *)"12345", 5, wire));
    FWT_OK(fwi_snet_client_resume(&handshake, FWI_SNET_FASTWAY, &stream, &out));
    FWT_OK(fw_conn_write(new.conn, out.data, out.len));
    fwt_run_count(&new.in_len, 24, SNETT_MS);
    snett_say(&old.link, "123"); /* after the server said that it has read nothing */
    snett_wait_in(&server.users[0], "123");
    FWT_OK(fwi_snet_client_input(&handshake, (uint8_t *)new.in, 24, &used, &out));
    ck_assert_uint_eq(handshake.peer_read, 0);
    FWT_OK(fw_conn_write(new.conn, out.data, out.len));
    snett_say(&new, "12");
    fwt_run_until(&old.link.closed, SNETT_MS);
    snett_say(&new, "345");
    snett_wait_in(&server.users[0], "12345");
    fwi_snet_stream_fini(&stream);
    snett_user_end(&old.link);
    snett_user_end(&new);
    snett_server_end(&server);
}
END_TEST

/* A bad reconnection does nothing to the session and its link. */
START_TEST(test_bad_reconnections)
{
    struct hand good, bad;
    fwi_snet_stream stream, wrong;
    uint8_t wire[8];
    snett_listen(&server, "");
    ck_assert(hand_connect(&good, flavours[_i], NULL));
    hand_stream(&good, &stream);
    FWT_OK(fwi_snet_stream_send(&stream, (const uint8_t *)"1", 1, wire));
    snett_say(&good.link, "1");
    fwt_run_count(&server.count, 1, SNETT_MS);
    snett_wait_in(&server.users[0], "1");
    for (int i = 0; i < 5; i++) {
        wrong = stream;
        wrong.id ^= i == 0;
        wrong.key[0] ^= i == 1;
        wrong.read = i == 2 ? 1000 : 0;
        wrong.written = i == 3 ? 0 : 1;
        if (i == 4)
            wrong.read = 1ull << 62;
        ck_assert(!hand_connect(&bad, flavours[_i], &wrong));
        fwt_run_until(&bad.link.closed, SNETT_MS);
        snett_user_end(&bad.link);
    }
    snett_say(&good.link, "2");
    snett_wait_in(&server.users[0], "12");
    ck_assert_uint_eq(server.count, 1);
    fwi_snet_stream_fini(&stream);
    snett_user_end(&good.link);
    snett_server_end(&server);
}
END_TEST

/* Behind a load balancer: each link begins with who the client really is. */
START_TEST(test_proxied)
{
    snett_user link;
    fwi_snet_client handshake;
    fwi_snet_bytes out;
    snett_listen(&server, "proxy=1");
    snett_dial_begin(&link, "tcp", server.port, "");
    snett_say(&link, "PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n");
    FWT_OK(fwi_snet_client_start(&handshake, FWI_SNET_UNIWAY, fwi_random_secret, &out));
    FWT_OK(fw_conn_write(link.conn, out.data, out.len));
    snett_say(&link, "hello");
    fwt_run_count(&server.count, 1, SNETT_MS);
    snett_wait_in(&server.users[0], "hello");
    ck_assert_str_eq(fw_conn_peer(server.users[0].conn), "snet://192.0.2.7:4711");
    snett_user_end(&link);
    snett_server_end(&server);
}
END_TEST

START_TEST(test_hostile)
{
    snett_listen(&server, "handshake_timeout_ms=1500");
    snett_user silent, talking;
    snett_dial_begin(&silent, "tcp", server.port, "");
    fwt_run_until(&silent.open, SNETT_MS);
    for (int round = 0; round < 200; round++) {
        char noise[64];
        snett_dial_begin(&talking, "tcp", server.port, "");
        fwi_random_secret(noise, sizeof noise);
        if (round % 3)
            noise[0] = round % 3 == 1 ? 0 : (char)0xff;
        if (round % 4 == 0)
            memset(noise, 0, 8);
        size_t len = fwi_random_below(sizeof noise);
        FWT_OK(fw_conn_write(talking.conn, noise, len + 1));
        if (round % 2) {
            fwt_run_until(&talking.open, SNETT_MS);
            fwt_run_for(1);
        } else if (len == sizeof noise - 1 && round % 4) {
            fwt_run_until(&talking.closed, SNETT_MS);
        }
        snett_user_end(&talking);
    }
    snett_wait_closed(&silent, UV_EOF); /* the deadline */
    ck_assert_uint_eq(silent.in_len, 0);
    snett_user_end(&silent);
    snett_dial(&client, server.port, "");
    snett_user_end(&client);
    size_t count = server.count; /* 8 zeros and a key is a session of uniway's, noise or not */
    ck_assert_uint_ge(count, 1);
    snett_server_end(&server);
}
END_TEST

START_TEST(test_limits)
{
    snett_user others[3];
    snett_listen(&server, "max_sessions=2&max_waiting=1");
    for (int i = 0; i < 2; i++)
        snett_dial(&others[i], server.port, "");
    snett_dial_begin(&others[2], "snet", server.port, "wait_timeout_ms=50&retry_max_ms=10");
    fwt_run_until(&others[2].closed, SNETT_MS);
    fwt_run_count(&server.count, 2, SNETT_MS);
    snett_user_end(&others[0]);
    fwt_run_for(50);
    snett_user_end(&others[1]);
    /* The one that waits longest makes room. */
    snett_user *first = server.users[0].closed ? &server.users[0] : &server.users[1];
    while (!server.users[0].closed && !server.users[1].closed)
        fwt_run_for(1);
    first = server.users[0].closed ? &server.users[0] : &server.users[1];
    ck_assert_int_eq(first->reason, FW_ELIMIT);
    snett_user_end(&others[2]);
    snett_dial(&client, server.port, "");
    snett_user_end(&client);
    snett_server_end(&server);
}
END_TEST

/* Without its listener a session lives as long as its link. */
START_TEST(test_listener_closed)
{
    snett_user other;
    start(pairs[_i][0], pairs[_i][1]);
    snett_dial(&other, server.port, pairs[_i][0]);
    fwt_run_count(&server.count, 2, SNETT_MS);
    snett_user_end(&other);
    fwt_run_for(30); /* so that it waits */
    fw_listener_close(server.listener);
    fwt_run_until(&server.closed, SNETT_MS);
    snett_wait_closed(&server.users[1], UV_EOF);
    snett_say(&client, "hello");
    snett_wait_in(&server.users[0], "hello");
    fwt_proxy_cut(proxy, false);
    snett_wait_closed(&server.users[0], UV_EOF);
    end();
}
END_TEST

START_TEST(test_options)
{
    static const char *const bad[] = {"x=1",
                                      "flavour=auto",
                                      "flavour=other",
                                      "encrypt=2",
                                      "encrypt=yes",
                                      "buffer_bytes=0",
                                      "buffer_bytes=-1",
                                      "buffer_bytes=64k",
                                      "buffer_bytes=",
                                      "handshake_timeout_ms=0",
                                      "wait_timeout_ms=99999999999",
                                      "max_sessions=5",
                                      "max_waiting=5",
                                      "proxy=2",
                                      "reuse_port=1"};
    fw_conn_options options = {.arg = NULL};
    fw_listener_options listening = {.arg = NULL};
    fw_conn *conn;
    fw_listener *listener;
    char url[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(url, sizeof url, "snet://127.0.0.1:1?%s", bad[i]);
        FWT_ERR(fw_conn_dial(fwt_loop, url, &options, &conn), FW_EOPTION);
        snprintf(url, sizeof url, "snet://127.0.0.1:0?%s", bad[i]);
        if (!strstr(bad[i], "max_") && !strstr(bad[i], "auto"))
            FWT_ERR(fw_listener_new(fwt_loop, url, &listening, &listener), FW_EOPTION);
    }
    FWT_ERR(fw_listener_new(fwt_loop, "snet://127.0.0.1:0?retry_max_ms=5", &listening, &listener),
            FW_EOPTION);
    FWT_ERR(fw_conn_dial(fwt_loop, "snet://127.0.0.1:1/path", &options, &conn), FW_EURL);
    FWT_ERR(fw_conn_dial(fwt_loop, "snet://127.0.0.1", &options, &conn), FW_EURL);
    FWT_ERR(fw_listener_new(fwt_loop, "snet://127.0.0.1:0/path", &listening, &listener), FW_EURL);
    options.messages = true;
    FWT_ERR(fw_conn_dial(fwt_loop, "snet://127.0.0.1:1", &options, &conn), FW_EOPTION);
    ck_assert(!(fw_transport_can("snet") & FW_TRANSPORT_SECURE));
}
END_TEST

/* Both ends must agree on the encryption: nothing tells them. Here they do not. */
START_TEST(test_disagreement)
{
    start("encrypt=1", "encrypt=0");
    snett_say(&client, "hello");
    fwt_run_count(&server.users[0].in_len, 5, SNETT_MS);
    ck_assert_str_ne(server.users[0].in, "hello");
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snet link");
    TCase *tcase = fwt_tcase(suite, "link", 60);
    tcase_add_loop_test(tcase, test_echo, 0, PAIRS);
    tcase_add_loop_test(tcase, test_cut, 0, PAIRS);
    tcase_add_loop_test(tcase, test_frozen, 0, PAIRS);
    tcase_add_loop_test(tcase, test_written_while_waiting, 0, PAIRS);
    tcase_add_loop_test(tcase, test_reading_stopped, 0, PAIRS);
    tcase_add_loop_test(tcase, test_client_gone, 0, PAIRS);
    tcase_add_loop_test(tcase, test_server_gone, 0, PAIRS);
    tcase_add_loop_test(tcase, test_nobody_there, 0, PAIRS);
    tcase_add_test(tcase, test_beyond_buffer);
    tcase_add_loop_test(tcase, test_taken_over, 0, 2);
    tcase_add_test(tcase, test_old_link_goes_on);
    tcase_add_loop_test(tcase, test_bad_reconnections, 0, 2);
    tcase_add_test(tcase, test_proxied);
    tcase_add_test(tcase, test_hostile);
    tcase_add_test(tcase, test_limits);
    tcase_add_loop_test(tcase, test_listener_closed, 0, PAIRS);
    tcase_add_test(tcase, test_options);
    tcase_add_test(tcase, test_disagreement);
    return fwt_main(suite);
}
