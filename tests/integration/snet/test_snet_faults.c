/*
 * Bulk both ways over links that are cut again and again, at any byte of handshake and payload:
 * nothing is lost, doubled or changed. A byte's place tells its value.
 */
#include <fairway/transport.h>
#include <fairway/url.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cutter.h"

#define WAIT_MS      120000
#define WINDOW_BYTES (128u * 1024) /* that may be under way: less than the ring has */
#define PIECE_BYTES  5000

static const char *const combinations[] = {
    "flavour=uniway",
    "flavour=fastway",
    "flavour=uniway&encrypt=1",
    "flavour=fastway&encrypt=1",
};
#define COMBINATIONS ((int)(sizeof combinations / sizeof *combinations))

/* ---- random numbers, with a seed that a failure tells ---- */

static uint64_t state;

static uint32_t below(uint32_t bound)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % bound);
}

static void seed(int test)
{
    const char *given = getenv("SNET_SEED");
    state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 31 + (uint64_t)test;
    printf("SNET_SEED=%" PRIu64 "\n", state);
}

/* ---- two ends ---- */

struct end {
    fw_conn *conn;
    bool open, closed;
    int reason;
    size_t sent, received;
    uint8_t salt;
    struct end *other;
};

static struct end client, server;
static size_t bulk_bytes; /* each way */
static fw_listener *listener;
static bool listener_closed;

static uint8_t byte_at(size_t at, uint8_t salt)
{
    return (uint8_t)(salt + at + (at >> 8) * 7 + (at >> 16) * 31);
}

static void send_more(struct end *end)
{
    while (end->conn && end->sent < bulk_bytes &&
           end->sent - end->other->received + PIECE_BYTES <= WINDOW_BYTES) {
        uint8_t data[PIECE_BYTES];
        size_t len = 1 + below(PIECE_BYTES);
        if (len > bulk_bytes - end->sent)
            len = bulk_bytes - end->sent;
        for (size_t i = 0; i < len; i++)
            data[i] = byte_at(end->sent + i, end->salt);
        FWT_OK(fw_conn_write(end->conn, data, len));
        end->sent += len;
    }
}

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((struct end *)arg)->open = true;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    struct end *end = arg;
    size_t right = 0; /* an assertion for each byte would take minutes */
    while (right < len && data[right] == byte_at(end->received + right, end->other->salt))
        right++;
    end->received += right;
    ck_assert_msg(right == len, "byte %zu is not what was sent", end->received);
    send_more(end->other);
    if (below(20) == 0) { /* and now and then it pauses */
        fw_conn_read_stop(end->conn);
        fw_conn_read_start(end->conn);
    }
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    struct end *end = arg;
    end->closed = true;
    end->reason = reason;
    end->conn = NULL;
}

static const fw_conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_closed = on_closed};

static void on_accept(fw_listener *from, fw_conn *conn, void *arg)
{
    (void)from;
    (void)arg;
    ck_assert(!server.open);
    server.open = true;
    server.conn = conn;
    fw_conn_set_events(conn, &events, &server);
}

static void on_listener_closed(fw_listener *from, void *arg)
{
    (void)from;
    (void)arg;
    listener_closed = true;
}

static int listen_here(const char *params)
{
    char url[200];
    fw_listener_options options = {.on_accept = on_accept, .on_closed = on_listener_closed};
    snprintf(url, sizeof url, "snet://127.0.0.1:0?buffer_bytes=262144%s",
             strstr(params, "encrypt") ? "&encrypt=1" : "");
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &listener));
    return atoi(strrchr(fw_listener_url(listener), ':') + 1);
}

static void dial(int port, const char *params)
{
    char url[200];
    fw_conn_options options = {.events = events, .arg = &client};
    snprintf(url, sizeof url,
             "snet://127.0.0.1:%d?buffer_bytes=262144&retry_max_ms=3&handshake_timeout_ms=5000&%s",
             port, params);
    client.other = &server;
    server.other = &client;
    client.salt = 17;
    server.salt = 170;
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &client.conn));
    fwt_run_until(&client.open, WAIT_MS);
    while (!server.open)
        fwt_run_for(1);
    send_more(&client);
    send_more(&server);
}

static bool is_done(void)
{
    if (client.closed || server.closed)
        ck_abort_msg("closed: %s, %s", fw_strerror(client.reason), fw_strerror(server.reason));
    return client.received == bulk_bytes && server.received == bulk_bytes;
}

static void end(void)
{
    fw_conn_close(client.conn, FW_ECANCELED);
    fw_conn_close(server.conn, FW_ECANCELED);
    fw_listener_close(listener);
    fwt_run_until(&client.closed, WAIT_MS);
    fwt_run_until(&server.closed, WAIT_MS);
    fwt_run_until(&listener_closed, WAIT_MS);
}

/* ---- cut at any byte ---- */

static void budget(size_t *ret_up, size_t *ret_down, void *arg)
{
    size_t *links = arg;
    /* Every third link does not get beyond its handshake. The first one does: it is the dial. */
    uint32_t bound = (*links)++ % 3 == 2 ? 100 : 150000;
    size_t least = *links == 1 ? 100 : 1;
    *ret_up = least + below(bound);
    *ret_down = least + below(bound);
}

START_TEST(cut_at_any_byte)
{
    size_t links = 0;
    bulk_bytes = 3u << 20;
    cutter relay = {.budget = budget, .arg = &links};
    seed(_i);
    cutter_start(&relay, listen_here(combinations[_i]));
    dial(relay.port, combinations[_i]);
    while (!is_done())
        fwt_run_for(1);
    printf("%s: %zu links, %zu cut in the middle\n", combinations[_i], links, relay.cuts);
    ck_assert_uint_gt(links, 10);
    end();
    cutter_end(&relay);
}
END_TEST

/* ---- cut, reset and frozen by time, by a relay that has megabytes in hand ---- */

START_TEST(cut_at_any_time)
{
    bulk_bytes = 40u << 20;
    seed(_i);
    fwt_proxy *proxy = fwt_proxy_start(listen_here(combinations[_i]));
    dial(fwt_proxy_port(proxy), combinations[_i]);
    size_t faults = 0;
    for (; !is_done(); faults++) {
        fwt_run_for(1 + below(20));
        if (below(3) == 0)
            fwt_proxy_freeze(proxy, 1 + below(3));
        fwt_run_for(below(10));
        fwt_proxy_cut(proxy, below(2));
        fwt_proxy_pass(proxy);
        if (below(4) == 0) {
            fwt_proxy_refuse(proxy);
            fwt_run_for(below(20));
            fwt_proxy_pass(proxy);
        }
    }
    printf("%s: %zu faults\n", combinations[_i], faults);
    end();
    fwt_proxy_end(proxy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snet faults");
    TCase *tcase = fwt_tcase(suite, "faults", 150);
    tcase_add_loop_test(tcase, cut_at_any_byte, 0, COMBINATIONS);
    tcase_add_loop_test(tcase, cut_at_any_time, 0, COMBINATIONS);
    return fwt_main(suite);
}
