/* Connections and listeners: what fails below them, and what is closed in the midst of it. */
#include "fwt.h"
#include "transport/over.h"
#include "transport/uv_stream.h"

#include <fairway/error.h>
#include <fairway/transport.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WAIT_MS 20000

typedef struct side {
    fw_conn *conn; /* NULL after on_closed */
    size_t opened, closed, ended, shut, len;
    int reason;
    uint8_t bytes[4096];
} side;

static side client, server;
static fw_listener *listener;
static size_t listener_closed;
static void (*in_accept)(fw_conn *conn);

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((side *)arg)->opened++;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    side *one = arg;
    ck_assert_uint_le(one->len + len, sizeof one->bytes);
    memcpy(one->bytes + one->len, data, len);
    one->len += len;
}

static void on_end(fw_conn *conn, void *arg)
{
    (void)conn;
    ((side *)arg)->ended++;
}

static void on_shutdown(fw_conn *conn, void *arg)
{
    (void)conn;
    ((side *)arg)->shut++;
}

static void on_conn_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    side *one = arg;
    one->conn = NULL;
    one->reason = reason;
    one->closed++;
}

static const fw_conn_events events = {.on_open = on_open,
                                      .on_data = on_data,
                                      .on_end = on_end,
                                      .on_shutdown = on_shutdown,
                                      .on_closed = on_conn_closed};

static void on_accept(fw_listener *from, fw_conn *conn, void *arg)
{
    (void)from;
    (void)arg;
    server = (side){.conn = conn, .opened = 1};
    fw_conn_set_events(conn, &events, &server);
    if (in_accept)
        in_accept(conn);
}

static void on_listener_closed(fw_listener *from, void *arg)
{
    (void)from;
    (void)arg;
    listener_closed++;
}

static void listen_at(const char *url)
{
    fw_listener_options options = {.on_accept = on_accept, .on_closed = on_listener_closed};
    in_accept = NULL;
    listener_closed = 0;
    client = server = (side){.conn = NULL};
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &listener));
}

static void dial(const char *params)
{
    char url[800];
    snprintf(url, sizeof url, "%s%s", fw_listener_url(listener), params);
    fw_conn_options options = {.dial_timeout_ms = WAIT_MS, .events = events, .arg = &client};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &client.conn));
}

static void connect_ends(const char *params)
{
    dial(params);
    fwt_run_count(&client.opened, 1, WAIT_MS);
    fwt_run_count(&server.opened, 1, WAIT_MS);
}

static void end(side *one)
{
    if (one->conn)
        fw_conn_close(one->conn, FW_ECANCELED);
    fwt_run_count(&one->closed, 1, WAIT_MS);
}

static void stop(void)
{
    fw_listener_close(listener);
    fwt_run_count(&listener_closed, 1, WAIT_MS);
}

/* ---- closing ---- */

START_TEST(a_close_is_the_last_that_happens)
{
    listen_at("mem:x");
    connect_ends("");
    FWT_OK(fw_conn_shutdown(server.conn));
    fwt_run_count(&client.ended, 1, WAIT_MS);
    FWT_OK(fw_conn_shutdown(client.conn));
    fw_conn_close(client.conn, FW_ELIMIT);
    ck_assert_uint_eq(client.shut, 0); /* no event inside the call, nor after it */
    fwt_run_count(&client.closed, 1, WAIT_MS);
    ck_assert_uint_eq(client.shut, 0);
    ck_assert_int_eq(client.reason, FW_ELIMIT);
    fwt_run_count(&server.closed, 1, WAIT_MS); /* our end has reached it all the same */
    ck_assert_int_eq(server.reason, UV_EOF);
    stop();
}
END_TEST

static void stop_and_start(fw_conn *conn)
{
    fw_conn_read_stop(conn);
    fw_conn_read_start(conn);
    fw_conn_read_start(conn);
}

START_TEST(reading_is_stopped_and_started_in_on_accept)
{
    listen_at("tcp://127.0.0.1:0");
    in_accept = stop_and_start;
    connect_ends("");
    FWT_OK(fw_conn_write(client.conn, "abc", 3));
    fwt_run_count(&server.len, 3, WAIT_MS);
    end(&client);
    end(&server);
    stop();
}
END_TEST

/* ---- writes that fail ---- */

static const fwi_conn_ops *real_ops;
static fwi_conn_ops faulty_ops;

static int take_and_fail(fw_conn *conn, const uv_buf_t *bufs, unsigned count)
{
    ck_assert_int_eq(real_ops->try_write(conn, bufs, count), 3);
    return UV_ENOMEM;
}

START_TEST(what_may_have_left_is_not_sent_again)
{
    listen_at("mem:x");
    connect_ends("");
    real_ops = client.conn->ops;
    faulty_ops = *real_ops;
    faulty_ops.try_write = take_and_fail;
    client.conn->ops = &faulty_ops;
    FWT_OK(fw_conn_write(client.conn, "abc", 3));
    fwt_run_count(&client.closed, 1, WAIT_MS);
    ck_assert_int_eq(client.reason, UV_ENOMEM);
    fwt_run_count(&server.ended, 1, WAIT_MS);
    ck_assert_uint_eq(server.len, 3);
    end(&server);
    stop();
}
END_TEST

static size_t writes;

static int take_nothing(fw_conn *conn, const uv_buf_t *bufs, unsigned count)
{
    return writes ? real_ops->try_write(conn, bufs, count) : UV_EAGAIN;
}

static int count_write(fw_conn *conn, const uv_buf_t *bufs, unsigned count)
{
    (void)conn;
    (void)bufs;
    (void)count;
    writes++;
    return FW_OK;
}

START_TEST(nothing_is_sent_behind_a_gap)
{
    listen_at("mem:x");
    connect_ends("");
    writes = 0;
    real_ops = client.conn->ops;
    faulty_ops = *real_ops;
    faulty_ops.try_write = take_nothing;
    faulty_ops.write = count_write;
    client.conn->ops = &faulty_ops;
    FWT_OK(fw_conn_write(client.conn, "lost", 4));
    fwt_run_count(&writes, 1, WAIT_MS);
    FWT_OK(fw_conn_write(client.conn, "behind", 6));
    FWT_OK(fw_conn_shutdown(client.conn));
    fwi_conn_written(client.conn, UV_ENOBUFS);
    fwt_run_count(&client.closed, 1, WAIT_MS);
    ck_assert_int_eq(client.reason, UV_ENOBUFS);
    ck_assert_uint_eq(client.shut, 0);
    fwt_run_count(&server.ended, 1, WAIT_MS);
    ck_assert_uint_eq(server.len, 0);
    end(&server);
    stop();
}
END_TEST

/* A writer that waits for room learns that its peer has left, though it wants to go on after the
 * peer's end. */
START_TEST(a_blocked_writer_hears_of_a_close)
{
    static uint8_t much[1024 * 1024];
    listen_at("mem:x");
    connect_ends("");
    fw_conn_read_stop(server.conn);
    FWT_OK(fw_conn_write(client.conn, much, sizeof much));
    fwt_run_for(5);
    ck_assert_uint_gt(fw_conn_queued_bytes(client.conn), 0);
    fw_conn_close(server.conn, FW_ECANCELED);
    fwt_run_count(&client.closed, 1, WAIT_MS);
    ck_assert_int_eq(client.reason, UV_EPIPE);
    stop();
}
END_TEST

/* ---- layers ---- */

/* _i: 0: nothing happens above; 1: it writes; 2: it ends its side. */
START_TEST(a_layer_tells_why_the_lower_one_failed)
{
    char dir[200], url[800], params[300];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
    snprintf(url, sizeof url, "tls://127.0.0.1:0?cert=%s/server.pem&key=%s/server.key", dir, dir);
    snprintf(params, sizeof params, "?ca=%s/ca.pem", dir);
    listen_at(url);
    connect_ends(params);
    fwi_conn_failed(fwi_container_of(client.conn, fwi_over_conn, base)->lower, UV_ECONNRESET);
    if (_i == 1)
        FWT_OK(fw_conn_write(client.conn, "x", 1));
    if (_i == 2)
        FWT_OK(fw_conn_shutdown(client.conn));
    fwt_run_count(&client.closed, 1, WAIT_MS);
    ck_assert_int_eq(client.reason, UV_ECONNRESET);
    ck_assert_uint_eq(client.shut, 0);
    end(&server);
    stop();
}
END_TEST

/* ---- listeners ---- */

static int (*real_conn_new)(fw_loop *loop, bool dialled, fwi_stream_conn **ret_conn);
static size_t failures;

static int fail_twice(fw_loop *loop, bool dialled, fwi_stream_conn **ret_conn)
{
    return failures < 2 ? (failures++, UV_ENOMEM) : real_conn_new(loop, dialled, ret_conn);
}

static void lack_memory(void)
{
    fwi_stream_listener *stream = fwi_container_of(listener, fwi_stream_listener, base);
    failures = 0;
    real_conn_new = stream->conn_new;
    stream->conn_new = fail_twice;
}

START_TEST(a_listener_outlives_a_lack_of_memory)
{
    listen_at("tcp://127.0.0.1:0");
    lack_memory();
    connect_ends("");
    ck_assert_uint_eq(failures, 2);
    end(&client);
    end(&server);
    connect_ends("");
    end(&client);
    end(&server);
    stop();
}
END_TEST

START_TEST(a_listener_closes_while_it_lacks_memory)
{
    listen_at("tcp://127.0.0.1:0");
    lack_memory();
    dial("");
    fwt_run_count(&failures, 1, WAIT_MS);
    stop();
    fwt_run_count(&client.ended, 1, WAIT_MS);
    ck_assert_uint_eq(server.opened, 0);
    end(&client);
}
END_TEST

START_TEST(a_file_is_not_taken_for_a_stale_socket)
{
    char path[300], url[320];
    struct stat info;
    fw_listener *none;
    fw_listener_options options = {.on_accept = on_accept};
    snprintf(path, sizeof path, "%s/precious", fwt_tmpdir());
    snprintf(url, sizeof url, "unix:%s", path);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    FWT_ERR(fw_listener_new(fwt_loop, url, &options, &none), UV_EADDRINUSE);
    ck_assert_int_eq(stat(path, &info), 0);
}
END_TEST

START_TEST(a_socket_is_removed_with_its_listener)
{
    char path[300], url[320];
    struct stat info;
    snprintf(path, sizeof path, "%s/socket", fwt_tmpdir());
    snprintf(url, sizeof url, "unix:%s", path);
    listen_at(url);
    ck_assert_int_eq(stat(path, &info), 0);
    fw_listener_close(listener);
    ck_assert_int_ne(stat(path, &info), 0); /* at once: the next one may come */
    fwt_run_count(&listener_closed, 1, WAIT_MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn");
    TCase *tcase = fwt_tcase(suite, "conn", 60);
    tcase_add_test(tcase, a_close_is_the_last_that_happens);
    tcase_add_test(tcase, reading_is_stopped_and_started_in_on_accept);
    tcase_add_test(tcase, what_may_have_left_is_not_sent_again);
    tcase_add_test(tcase, nothing_is_sent_behind_a_gap);
    tcase_add_test(tcase, a_blocked_writer_hears_of_a_close);
    tcase_add_loop_test(tcase, a_layer_tells_why_the_lower_one_failed, 0, 3);
    tcase_add_test(tcase, a_listener_outlives_a_lack_of_memory);
    tcase_add_test(tcase, a_listener_closes_while_it_lacks_memory);
    tcase_add_test(tcase, a_file_is_not_taken_for_a_stale_socket);
    tcase_add_test(tcase, a_socket_is_removed_with_its_listener);
    return fwt_main(suite);
}
