/*
 * A direct link that breaks under full load loses no more than the ring has, however much its user
 * writes: the kernel's buffer and the queue are kept below it.
 */
#include "transport/snet/session.h"

#include <fairway/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/random.h"
#include "snett.h"
#include "transport/uv_stream.h"

#define BULK_BYTES  (6u << 20)
#define PIECE_BYTES 30000

struct flow {
    fw_conn *conn;
    bool open, closed;
    int reason;
    size_t sent, received;
};

static struct flow client, server;
static size_t most_bytes = BULK_BYTES; /* to be sent each way */

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at + (at >> 8) * 7 + (at >> 16) * 31);
}

static void send_more(struct flow *flow)
{
    while (flow->conn && flow->sent < most_bytes && !fw_conn_congested(flow->conn)) {
        uint8_t *room = fw_conn_reserve(flow->conn, PIECE_BYTES);
        ck_assert_ptr_nonnull(room);
        for (size_t i = 0; i < PIECE_BYTES; i++)
            room[i] = byte_at(flow->sent + i);
        flow->sent += PIECE_BYTES;
    }
}

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((struct flow *)arg)->open = true;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    struct flow *flow = arg;
    size_t right = 0;
    while (right < len && data[right] == byte_at(flow->received + right))
        right++;
    flow->received += right;
    ck_assert_uint_eq(right, len);
}

static void on_drain(fw_conn *conn, void *arg)
{
    (void)conn;
    send_more(arg);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    struct flow *flow = arg;
    flow->closed = true;
    flow->reason = reason;
    flow->conn = NULL;
}

static const fw_conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_closed = on_closed};

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    (void)arg;
    server.conn = conn;
    server.open = true;
    fw_conn_set_events(conn, &events, &server);
}

static bool listener_closed;

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    (void)arg;
    listener_closed = true;
}

/* Ends a link as the network does: what has arrived can still be read, what has not is lost. */
static void break_link(struct flow *flow)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    fwi_snet_session *session = fwi_container_of(flow->conn, fwi_snet_session, base);
    uv_os_fd_t fd;
    if (!session->link)
        return;
    FWT_OK(uv_fileno(&fwi_container_of(session->link, fwi_stream_conn, base)->uv.handle, &fd));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* when it is closed */
    ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
}

static const char *const params[] = {"", "flavour=uniway", "encrypt=1", "buffer_bytes=16384",
                                     "buffer_bytes=1048576"};

static fw_listener *listener;

static void start(const char *all)
{
    char url[200];
    const char *own = strstr(all, "flavour") ? "" : all;
    fw_listener_options listening = {.on_accept = on_accept, .on_closed = on_listener_closed};
    snprintf(url, sizeof url, "snet://127.0.0.1:0%s%s", *own ? "?" : "", own);
    FWT_OK(fw_listener_new(fwt_loop, url, &listening, &listener));
    snprintf(url, sizeof url, "%s?retry_max_ms=5%s%s", fw_listener_url(listener), *all ? "&" : "",
             all);
    fw_conn_options dialling = {.events = events, .arg = &client, .high_water_bytes = 100000};
    FWT_OK(fw_conn_dial(fwt_loop, url, &dialling, &client.conn));
    fwt_run_until(&client.open, SNETT_MS);
    fwt_run_until(&server.open, SNETT_MS);
}

static void end(void)
{
    fw_conn_close(client.conn, FW_ECANCELED);
    fw_conn_close(server.conn, FW_ECANCELED);
    fw_listener_close(listener);
    fwt_run_until(&client.closed, SNETT_MS);
    fwt_run_until(&server.closed, SNETT_MS);
    fwt_run_until(&listener_closed, SNETT_MS);
}

static void check_open(void)
{
    ck_assert_msg(!client.closed, "client: %s", fw_strerror(client.reason));
    ck_assert_msg(!server.closed, "server: %s", fw_strerror(server.reason));
}

START_TEST(test_bulk)
{
    start(params[_i]);
    send_more(&client);
    send_more(&server);
    size_t breaks = 0;
    for (; client.received < BULK_BYTES || server.received < BULK_BYTES; breaks++) {
        fwt_run_for(1 + fwi_random_below(20));
        check_open();
        break_link(breaks % 2 ? &client : &server);
    }
    printf("%s: %zu breaks\n", params[_i], breaks);
    end();
}
END_TEST

/* The same when the server's user has stopped reading, so that all that the kernel may hold is
 * under way. */
START_TEST(test_reader_stopped)
{
    start(params[_i]);
    for (int round = 0; round < 3; round++) {
        fw_conn_read_stop(server.conn);
        most_bytes = SIZE_MAX;
        size_t sent;
        do {
            sent = client.sent;
            send_more(&client);
            fwt_run_for(20);
        } while (sent != client.sent);
        ck_assert(fw_conn_congested(client.conn)); /* it is stuck */
        most_bytes = client.sent;
        size_t before = server.received;
        break_link(&client);
        fwt_run_for(50);
        check_open();
        ck_assert_uint_eq(server.received, before);
        fw_conn_read_start(server.conn);
        while (server.received < client.sent) {
            fwt_run_for(1);
            check_open();
        }
    }
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snet bulk");
    TCase *tcase = fwt_tcase(suite, "bulk", 60);
    tcase_add_loop_test(tcase, test_bulk, 0, (int)(sizeof params / sizeof *params));
    tcase_add_loop_test(tcase, test_reader_stopped, 0, (int)(sizeof params / sizeof *params));
    return fwt_main(suite);
}
