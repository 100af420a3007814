#include "snett.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    ((snett_user *)arg)->open = true;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    snett_user *user = arg;
    user->in = realloc(user->in, user->in_len + len + 1);
    memcpy(user->in + user->in_len, data, len);
    user->in_len += len;
    user->in[user->in_len] = 0;
}

static void on_drain(fw_conn *conn, void *arg)
{
    (void)conn;
    ((snett_user *)arg)->drained = true;
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    snett_user *user = arg;
    user->closed = true;
    user->reason = reason;
    snprintf(user->errmsg, sizeof user->errmsg, "%s", fw_conn_errmsg(conn));
    user->conn = NULL;
}

static const fw_conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_closed = on_closed};

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    snett_server *server = arg;
    ck_assert_uint_lt(server->count, SNETT_MAX_USERS);
    snett_user *user = &server->users[server->count++];
    *user = (snett_user){.conn = conn, .open = true};
    fw_conn_set_events(conn, &events, user);
    if (server->stop_reading)
        fw_conn_read_stop(conn);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    ((snett_server *)arg)->closed = true;
}

void snett_listen(snett_server *server, const char *params)
{
    char url[300];
    *server = (snett_server){.port = 0};
    fw_listener_options options = {
        .on_accept = on_accept, .on_closed = on_listener_closed, .arg = server};
    snprintf(url, sizeof url, "snet://127.0.0.1:0?%s", params);
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &server->listener));
    const char *colon = strrchr(fw_listener_url(server->listener), ':');
    ck_assert(!strncmp(fw_listener_url(server->listener), "snet://127.0.0.1:", 17));
    server->port = atoi(colon + 1);
}

void snett_server_end(snett_server *server)
{
    if (!server->closed)
        fw_listener_close(server->listener);
    for (size_t i = 0; i < server->count; i++)
        snett_user_end(&server->users[i]);
    fwt_run_until(&server->closed, SNETT_MS);
}

void snett_dial_begin(snett_user *user, const char *scheme, int port, const char *params)
{
    char url[300];
    *user = (snett_user){.open = false};
    fw_conn_options options = {.events = events, .arg = user, .dial_timeout_ms = SNETT_MS};
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s%s", scheme, port, *params ? "?" : "", params);
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &user->conn));
}

void snett_dial(snett_user *user, int port, const char *params)
{
    snett_dial_begin(user, "snet", port, params);
    fwt_run_until(&user->open, SNETT_MS);
}

void snett_say(snett_user *user, const char *text)
{
    FWT_OK(fw_conn_write(user->conn, text, strlen(text)));
}

void snett_wait_in(snett_user *user, const char *text)
{
    fwt_run_count(&user->in_len, strlen(text), SNETT_MS);
    ck_assert_str_eq(user->in, text);
}

void snett_wait_closed(snett_user *user, int reason)
{
    fwt_run_until(&user->closed, SNETT_MS);
    ck_assert_msg(user->reason == reason, "closed with %s (%s), not %s",
                  fw_error_name(user->reason), user->errmsg, fw_error_name(reason));
}

void snett_user_end(snett_user *user)
{
    if (user->conn) {
        fw_conn_close(user->conn, FW_ECANCELED);
        fwt_run_until(&user->closed, SNETT_MS);
    }
    free(user->in);
    user->in = NULL;
    user->in_len = 0;
}
