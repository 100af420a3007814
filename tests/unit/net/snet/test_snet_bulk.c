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

#define BULK_BYTES  (12u << 20)
#define PIECE_BYTES 30000

struct flow {
    fw_conn *conn;
    bool open, closed;
    int reason;
    size_t sent, received;
};

static struct flow client, server;

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at + (at >> 8) * 7 + (at >> 16) * 31);
}

static void send_more(struct flow *flow)
{
    while (flow->conn && flow->sent < BULK_BYTES && !fw_conn_congested(flow->conn)) {
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

/* Ends a link as the network does: what has arrived can still be read. */
static void break_link(struct flow *flow)
{
    fwi_snet_session *session = fwi_container_of(flow->conn, fwi_snet_session, base);
    uv_os_fd_t fd;
    if (!session->link)
        return;
    FWT_OK(uv_fileno(&fwi_container_of(session->link, fwi_stream_conn, base)->uv.handle, &fd));
    ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
}

static const char *const params[] = {"", "flavour=uniway", "encrypt=1", "buffer_bytes=16384",
                                     "buffer_bytes=1048576"};

START_TEST(test_bulk)
{
    char url[200];
    const char *own = strstr(params[_i], "flavour") ? "" : params[_i];
    fw_listener *listener;
    fw_listener_options listening = {.on_accept = on_accept, .on_closed = on_listener_closed};
    snprintf(url, sizeof url, "snet://127.0.0.1:0%s%s", *own ? "?" : "", own);
    FWT_OK(fw_listener_new(fwt_loop, url, &listening, &listener));
    snprintf(url, sizeof url, "%s?retry_max_ms=5%s%s", fw_listener_url(listener),
             *params[_i] ? "&" : "", params[_i]);
    fw_conn_options dialling = {.events = events, .arg = &client, .high_water_bytes = 100000};
    FWT_OK(fw_conn_dial(fwt_loop, url, &dialling, &client.conn));
    fwt_run_until(&client.open, SNETT_MS);
    fwt_run_until(&server.open, SNETT_MS);
    send_more(&client);
    send_more(&server);
    size_t breaks = 0;
    for (; client.received < BULK_BYTES || server.received < BULK_BYTES; breaks++) {
        fwt_run_for(1 + fwi_random_below(20));
        ck_assert_msg(!client.closed, "client: %s", fw_strerror(client.reason));
        ck_assert_msg(!server.closed, "server: %s", fw_strerror(server.reason));
        break_link(breaks % 2 ? &client : &server);
    }
    printf("%s: %zu breaks\n", params[_i], breaks);
    fw_conn_close(client.conn, FW_ECANCELED);
    fw_conn_close(server.conn, FW_ECANCELED);
    fw_listener_close(listener);
    fwt_run_until(&client.closed, SNETT_MS);
    fwt_run_until(&server.closed, SNETT_MS);
    fwt_run_until(&listener_closed, SNETT_MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snet bulk");
    TCase *tcase = fwt_tcase(suite, "bulk", 60);
    tcase_add_loop_test(tcase, test_bulk, 0, (int)(sizeof params / sizeof *params));
    return fwt_main(suite);
}
