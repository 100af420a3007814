#include "tlst.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *dir;

const char *tlst_file(const char *name)
{
    static char paths[32][320];
    static unsigned next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

void tlst_make_certificates(void)
{
    dir = strdup(fwt_tmpdir());
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "other-ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1,DNS:localhost", 30);
    fwt_certificate(dir, "elsewhere", "ca", "DNS:elsewhere.example", 30);
    fwt_certificate(dir, "client", "ca", "DNS:client", 30);
    fwt_certificate(dir, "stranger", "other-ca", "DNS:client", 30);
}

void tlst_forget_certificates(void)
{
    free(dir);
}

void tlst_copy(const char *from, const char *to)
{
    char *text = fwt_read_file(tlst_file(from)), fresh[320];
    snprintf(fresh, sizeof fresh, "%s.new", tlst_file(to));
    FILE *out = fopen(fresh, "we");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
    free(text);
    ck_assert_int_eq(rename(fresh, tlst_file(to)), 0);
}

/* ---- ends ---- */

static void on_open(fw_conn *conn, void *arg)
{
    tlst_end *end = arg;
    end->opened++;
    if (fw_conn_tls_info(conn, &end->info))
        end->info = (fw_tls_info){.version = "none"};
    (void)fw_conn_peer(conn);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    tlst_end *end = arg;
    size_t room = end->len < sizeof end->text - 1 ? sizeof end->text - 1 - end->len : 0;
    memcpy(end->text + (end->len < sizeof end->text ? end->len : 0), data, len < room ? len : room);
    end->len += len;
    if (end->echo)
        FWT_OK(fw_conn_write(conn, data, len));
}

static void on_end(fw_conn *conn, void *arg)
{
    tlst_end *end = arg;
    end->ended++;
    if (end->end_when_ended)
        FWT_OK(fw_conn_shutdown(conn));
}

static void on_shutdown(fw_conn *conn, void *arg)
{
    (void)conn;
    ((tlst_end *)arg)->shut++;
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    tlst_end *end = arg;
    end->closed++;
    end->reason = reason;
    end->conn = NULL;
    snprintf(end->errmsg, sizeof end->errmsg, "%s", fw_conn_errmsg(conn));
}

const fw_conn_events tlst_events = {.on_open = on_open,
                                    .on_data = on_data,
                                    .on_end = on_end,
                                    .on_shutdown = on_shutdown,
                                    .on_closed = on_closed};

static void format_url(char *ret_url, size_t size, const char *format, va_list args)
{
    int len = vsnprintf(ret_url, size, format, args);
    ck_assert_int_lt(len, (int)size);
}

void tlst_dial(tlst_end *end, const fw_conn_options *options, const char *format, ...)
{
    char url[2000];
    va_list args;
    va_start(args, format);
    format_url(url, sizeof url, format, args);
    va_end(args);
    fw_conn_options filled = options ? *options : (fw_conn_options){.arg = NULL};
    *end = (tlst_end){.end_when_ended = true};
    filled.events = tlst_events;
    filled.arg = end;
    if (!filled.dial_timeout_ms)
        filled.dial_timeout_ms = TLST_WAIT_MS;
    FWT_OK(fw_conn_dial(fwt_loop, url, &filled, &end->conn));
}

void tlst_close(tlst_end *end)
{
    if (end->conn)
        fw_conn_close(end->conn, FW_ECANCELED);
    fwt_run_count(&end->closed, 1, TLST_WAIT_MS);
}

void tlst_say(tlst_end *end, const char *text)
{
    FWT_OK(fw_conn_write(end->conn, text, strlen(text)));
}

void tlst_expect(tlst_end *end, const char *text)
{
    fwt_run_count(&end->len, strlen(text), TLST_WAIT_MS);
    ck_assert_str_eq(end->text, text);
}

void tlst_expect_closed(tlst_end *end, int reason, const char *errmsg)
{
    fwt_run_count(&end->closed, 1, TLST_WAIT_MS);
    FWT_ERR(end->reason, reason);
    ck_assert_msg(strstr(end->errmsg, errmsg) != NULL, "wanted \"%s\": %s", errmsg, end->errmsg);
}

/* ---- the server ---- */

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    tlst_server *server = arg;
    ck_assert_uint_lt(server->accepted, TLST_MOST_ACCEPTED);
    tlst_end *end = &server->ends[server->accepted++];
    *end = (tlst_end){.conn = conn, .echo = true, .end_when_ended = true};
    fw_conn_set_events(conn, &tlst_events, end);
    on_open(conn, end);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    ((tlst_server *)arg)->closed++;
}

void tlst_listen(tlst_server *server, const fw_listener_options *options, const char *format, ...)
{
    char url[2000];
    va_list args;
    va_start(args, format);
    format_url(url, sizeof url, format, args);
    va_end(args);
    fw_listener_options filled = options ? *options : (fw_listener_options){.arg = NULL};
    *server = (tlst_server){.port = 0};
    filled.on_accept = on_accept;
    filled.on_closed = on_listener_closed;
    filled.arg = server;
    if (!filled.handshake_timeout_ms)
        filled.handshake_timeout_ms = TLST_WAIT_MS;
    FWT_OK(fw_listener_new(fwt_loop, url, &filled, &server->listener));
    const char *colon = strrchr(fw_listener_url(server->listener), ':');
    server->port = colon ? atoi(colon + 1) : 0;
}

void tlst_serve(tlst_server *server, const char *more)
{
    tlst_listen(server, NULL, "tls://127.0.0.1:0?cert=%s&key=%s%s", tlst_file("server.pem"),
                tlst_file("server.key"), more);
}

void tlst_stop(tlst_server *server)
{
    if (!server->closed)
        fw_listener_close(server->listener);
    fwt_run_count(&server->closed, 1, TLST_WAIT_MS);
    for (size_t i = 0; i < server->accepted; i++)
        tlst_close(&server->ends[i]);
}
