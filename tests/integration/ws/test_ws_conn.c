/* The transports ws and wss by the public interface: refusals, closing, pings, memory. */
#include <fairway/transport.h>
#include <fwt.h>

#include <arpa/inet.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define WAIT_MS 30000
#define REQUEST                                                                                    \
    "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"               \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/* ---- an end that remembers ---- */
typedef struct ws_end {
    fw_conn *conn;
    bool opened, closed;
    int reason;
    char errmsg[200];
    size_t received;
} ws_end;

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((ws_end *)arg)->opened = true;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    (void)data;
    ((ws_end *)arg)->received += len;
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    ws_end *end = arg;
    end->closed = true;
    end->reason = reason;
    end->conn = NULL;
    snprintf(end->errmsg, sizeof end->errmsg, "%s", fw_conn_errmsg(conn));
}

static const fw_conn_events end_events = {
    .on_open = on_open, .on_data = on_data, .on_closed = on_closed};

static void dial(ws_end *end, const char *url, bool messages)
{
    fw_conn_options options = {.messages = messages, .events = end_events, .arg = end};
    *end = (ws_end){.conn = NULL};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &end->conn));
}

/* ---- a listener whose last connection is an end ---- */
typedef struct ws_place {
    fw_listener *listener;
    ws_end end;
    size_t accepted, gone;
    bool closed, many;
} ws_place;

static void on_one_of_many_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    ((ws_place *)arg)->gone++;
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    static const fw_conn_events many = {.on_closed = on_one_of_many_closed};
    ws_place *place = arg;
    place->accepted++;
    if (place->many) {
        fw_conn_set_events(conn, &many, place);
        return;
    }
    place->end = (ws_end){.conn = conn, .opened = true};
    fw_conn_set_events(conn, &end_events, &place->end);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    ((ws_place *)arg)->closed = true;
}

static void listen_at(ws_place *place, const char *url)
{
    fw_listener_options options = {
        .messages = true, .on_accept = on_accept, .on_closed = on_listener_closed, .arg = place};
    *place = (ws_place){.listener = NULL};
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &place->listener));
}

static void end_place(ws_place *place)
{
    fw_listener_close(place->listener);
    fwt_run_until(&place->closed, WAIT_MS);
}

static int port_of(const ws_place *place)
{
    const char *url = fw_listener_url(place->listener);
    return atoi(strrchr(url, ':') + 1);
}

static void connect_both(ws_place *place, ws_end *client)
{
    listen_at(place, "ws://127.0.0.1:0/chat");
    dial(client, fw_listener_url(place->listener), true);
    fwt_run_until(&client->opened, WAIT_MS);
    fwt_run_count(&place->accepted, 1, WAIT_MS);
}

/* ---- */
START_TEST(a_refusal_is_told)
{
    ws_place place;
    ws_end end;
    char url[200];
    listen_at(&place, "ws://127.0.0.1:0/chat?origin=https%3A%2F%2Fa");
    ck_assert_ptr_nonnull(strstr(fw_listener_url(place.listener), "/chat"));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/other", port_of(&place));
    dial(&end, url, true);
    fwt_run_until(&end.closed, WAIT_MS);
    ck_assert_int_eq(end.reason, UV_ECONNREFUSED);
    ck_assert_str_eq(end.errmsg, "HTTP status 404 Not Found");
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/chat?origin=https%%3A%%2F%%2Fevil",
             port_of(&place));
    dial(&end, url, true);
    fwt_run_until(&end.closed, WAIT_MS);
    ck_assert_str_eq(end.errmsg, "HTTP status 403 Forbidden");
    ck_assert_uint_eq(place.accepted, 0);
    end_place(&place);
}
END_TEST

/* What one end closes with is what the other one is told. */
START_TEST(reasons_travel_as_codes)
{
    static const struct {
        int given, told;
        const char *text;
    } cases[] = {
        {FW_OK, UV_EOF, "closed by the peer with code 1000 "},
        {FW_ECANCELED, UV_EOF, "closed by the peer with code 1001 "},
        {FW_EPROTOCOL, FW_EPROTOCOL, "closed by the peer with code 1002 "},
        {FW_EAUTH, FW_EREFUSED, "closed by the peer with code 1008 "},
        {FW_EFRAMESIZE, FW_EFRAMESIZE, "closed by the peer with code 1009 "},
        {UV_ENOMEM, FW_EREMOTE, "closed by the peer with code 1011 "},
        {FW_ELIMIT, FW_ELIMIT, "closed by the peer with code 1013 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int from_client = 0; from_client < 2; from_client++) {
            ws_place place;
            ws_end client;
            connect_both(&place, &client);
            ws_end *from = from_client ? &client : &place.end,
                   *to = from_client ? &place.end : &client;
            FWT_OK(fw_conn_write(from->conn, "last words", 10));
            fw_conn_close(from->conn, cases[i].given);
            fwt_run_until(&client.closed, WAIT_MS);
            fwt_run_until(&place.end.closed, WAIT_MS);
            ck_assert_int_eq(from->reason, cases[i].given);
            ck_assert_int_eq(to->reason, cases[i].told);
            ck_assert_str_eq(to->errmsg, cases[i].text);
            ck_assert_uint_eq(to->received, 10);
            end_place(&place);
        }
}
END_TEST

START_TEST(both_close_at_once)
{
    ws_place place;
    ws_end client;
    connect_both(&place, &client);
    fw_conn_close(client.conn, FW_ECANCELED);
    fw_conn_close(place.end.conn, FW_ECANCELED);
    fwt_run_until(&client.closed, WAIT_MS);
    fwt_run_until(&place.end.closed, WAIT_MS);
    end_place(&place);
}
END_TEST

START_TEST(a_cut_is_no_close)
{
    ws_place place;
    ws_end end;
    char url[100];
    listen_at(&place, "ws://127.0.0.1:0/chat");
    fwt_proxy *proxy = fwt_proxy_start(port_of(&place));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/chat", fwt_proxy_port(proxy));
    dial(&end, url, true);
    fwt_run_until(&end.opened, WAIT_MS);
    fwt_proxy_cut(proxy, false);
    fwt_run_until(&end.closed, WAIT_MS);
    fwt_run_until(&place.end.closed, WAIT_MS);
    ck_assert_int_eq(end.reason, UV_ECONNRESET);
    ck_assert_str_eq(end.errmsg, "the connection was cut off (no Close)");
    fwt_proxy_end(proxy);
    end_place(&place);
}
END_TEST

/* ---- pings ---- */
START_TEST(a_missing_pong_ends_it)
{
    ws_place place;
    ws_end end;
    char url[100];
    listen_at(&place, "ws://127.0.0.1:0/chat?ping=1");
    fwt_proxy *proxy = fwt_proxy_start(port_of(&place));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/chat?ping=1", fwt_proxy_port(proxy));
    dial(&end, url, true);
    fwt_run_until(&end.opened, WAIT_MS);
    fwt_run_for(2500);
    ck_assert(!end.closed && !place.end.closed); /* the other side answers */
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    fwt_run_until(&end.closed, WAIT_MS);
    fwt_run_until(&place.end.closed, WAIT_MS);
    ck_assert_int_eq(end.reason, FW_EIDLE);
    ck_assert_int_eq(place.end.reason, FW_EIDLE);
    ck_assert_str_eq(end.errmsg, "no pong came");
    fwt_proxy_end(proxy);
    end_place(&place);
}
END_TEST

/* It is we who do not look for the pong. */
START_TEST(who_does_not_read_judges_nobody)
{
    ws_place place;
    ws_end end;
    char url[100];
    listen_at(&place, "ws://127.0.0.1:0/chat");
    snprintf(url, sizeof url, "%s?ping=1", fw_listener_url(place.listener));
    dial(&end, url, true);
    fwt_run_until(&end.opened, WAIT_MS);
    fw_conn_read_stop(end.conn);
    fwt_run_for(3500);
    fw_conn_read_start(end.conn);
    fwt_run_for(1500);
    ck_assert(!end.closed);
    fw_conn_close(end.conn, FW_OK);
    fwt_run_until(&end.closed, WAIT_MS);
    end_place(&place);
}
END_TEST

/* ---- peers that are plain sockets ---- */
static int plain_connect(const ws_place *place)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port_of(place))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void plain_write(int fd, const char *text)
{
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

START_TEST(a_silent_peer_is_not_waited_for)
{
    ws_place place;
    listen_at(&place, "ws://127.0.0.1:0/chat");
    int fd = plain_connect(&place);
    plain_write(fd, REQUEST);
    fwt_run_count(&place.accepted, 1, WAIT_MS);
    fw_conn_close(place.end.conn, FW_OK); /* it never answers the Close */
    fwt_run_until(&place.end.closed, WAIT_MS);
    end_place(&place);
    char answer[400];
    ssize_t n = read(fd, answer, sizeof answer);
    ck_assert_int_gt(n, 4);
    ck_assert_mem_eq(answer + n - 4, "\x88\x02\x03\xe8", 4);
    close(fd);
}
END_TEST

/* What is answered, and then the end, though the peer goes on sending. */
START_TEST(plain_http_has_its_answer)
{
    ws_place place;
    listen_at(&place, "ws://127.0.0.1:0/chat");
    int fd = plain_connect(&place);
    plain_write(fd, "GET /chat HTTP/1.1\r\nHost: h\r\n\r\nand more");
    fwt_run_for(200);
    char answer[400] = "";
    size_t len = 0;
    for (ssize_t n; (n = read(fd, answer + len, sizeof answer - 1 - len)) > 0;)
        len += (size_t)n;
    ck_assert_ptr_eq(strstr(answer, "HTTP/1.1 426 Upgrade Required\r\n"), answer);
    close(fd);
    end_place(&place);
    ck_assert_uint_eq(place.accepted, 0);
}
END_TEST

START_TEST(a_handshake_has_a_deadline)
{
    ws_place place = {.listener = NULL};
    fw_listener_options options = {.messages = true,
                                   .handshake_timeout_ms = 100,
                                   .on_accept = on_accept,
                                   .on_closed = on_listener_closed,
                                   .arg = &place};
    FWT_OK(fw_listener_new(fwt_loop, "ws://127.0.0.1:0", &options, &place.listener));
    int fd = plain_connect(&place);
    plain_write(fd, "GET / HT");
    char byte;
    for (int i = 0; recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && i < WAIT_MS / 10; i++)
        fwt_run_for(10);
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    close(fd);
    end_place(&place);
}
END_TEST

/* ---- memory ---- */
#ifdef FWI_ASAN
size_t __sanitizer_get_current_allocated_bytes(void);
static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t allocated(void)
{
    return mallinfo2().uordblks;
}
#endif

#define SESSIONS 200

START_TEST(an_idle_session_is_small)
{
    static int fds[SESSIONS + 1];
    ws_place place;
    listen_at(&place, "ws://127.0.0.1:0/chat");
    place.many = true;
    size_t before = 0;
    for (size_t i = 0; i <= SESSIONS; i++) {
        fds[i] = plain_connect(&place);
        plain_write(fds[i], REQUEST "\x82\x85\x01\x01\x01\x01"
                                    "idmmn");
        fwt_run_count(&place.accepted, i + 1, WAIT_MS);
        if (!i) {
            fwt_run_for(50);
            before = allocated(); /* the first one has warmed up */
        }
    }
    fwt_run_for(50);
    size_t each = (allocated() - before) / SESSIONS;
    printf("%zu bytes for an idle session\n", each);
    ck_assert_uint_le(each, 1024);
    for (size_t i = 0; i <= SESSIONS; i++)
        close(fds[i]);
    fwt_run_count(&place.gone, SESSIONS + 1, WAIT_MS);
    end_place(&place);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws connections");
    TCase *tcase = fwt_tcase(suite, "connections", 120);
    tcase_add_test(tcase, a_refusal_is_told);
    tcase_add_test(tcase, reasons_travel_as_codes);
    tcase_add_test(tcase, both_close_at_once);
    tcase_add_test(tcase, a_cut_is_no_close);
    tcase_add_test(tcase, a_missing_pong_ends_it);
    tcase_add_test(tcase, who_does_not_read_judges_nobody);
    tcase_add_test(tcase, a_silent_peer_is_not_waited_for);
    tcase_add_test(tcase, plain_http_has_its_answer);
    tcase_add_test(tcase, a_handshake_has_a_deadline);
    tcase_add_test(tcase, an_idle_session_is_small);
    return fwt_main(suite);
}
