#include "trant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned trant_abilities(void)
{
    return fw_transport_can(trant_scheme_under_test.name);
}

size_t trant_most_message(void)
{
    return trant_scheme_under_test.most_message ? trant_scheme_under_test.most_message
                                                : 1024 * 1024;
}

/* ---- bytes ---- */

uint8_t trant_byte(size_t at)
{
    return (uint8_t)((at * 2654435761u) >> 13);
}

void trant_fill(uint8_t *data, size_t len, size_t at)
{
    for (size_t i = 0; i < len; i++)
        data[i] = trant_byte(at + i);
}

void trant_check(const uint8_t *data, size_t len, size_t at)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != trant_byte(at + i))
            ck_abort_msg("byte %zu is %u, not %u", at + i, data[i], trant_byte(at + i));
}

void trant_write(trant_end *end, size_t len, size_t at)
{
    uint8_t *data = malloc(len + 1);
    trant_fill(data, len, at);
    FWT_OK(fw_conn_write(end->conn, data, len));
    free(data);
}

/* ---- ends ---- */

static void keep(trant_end *end, const uint8_t *data, size_t len)
{
    if (end->received + len > end->capacity) {
        end->capacity = (end->received + len) * 2;
        end->bytes = realloc(end->bytes, end->capacity);
    }
    if (len)
        memcpy(end->bytes + end->received, data, len);
}

static bool happens(trant_end *end)
{
    if (end->closed)
        end->events_after_close++;
    return !end->closed;
}

static void on_open(fw_conn *conn, void *arg)
{
    trant_end *end = arg;
    ck_assert(happens(end) && !end->opened);
    ck_assert_ptr_eq(end->conn, conn);
    end->opened = true;
    if (end->on_open)
        end->on_open(end);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    trant_end *end = arg;
    ck_assert(happens(end) && end->opened && !end->ended);
    if (end->keep)
        keep(end, data, len);
    end->received += len;
    end->messages++;
    if (end->echo)
        FWT_OK(fw_conn_write(conn, data, len));
    if (end->on_data)
        end->on_data(end, data, len);
}

static void on_drain(fw_conn *conn, void *arg)
{
    trant_end *end = arg;
    ck_assert(happens(end));
    ck_assert(!fw_conn_congested(conn));
    end->drains++;
    if (end->on_drain)
        end->on_drain(end);
}

static void on_end(fw_conn *conn, void *arg)
{
    (void)conn;
    trant_end *end = arg;
    ck_assert(happens(end) && !end->ended);
    end->ended = true;
    if (end->on_end)
        end->on_end(end);
}

static void on_shutdown(fw_conn *conn, void *arg)
{
    (void)conn;
    trant_end *end = arg;
    ck_assert(happens(end) && !end->shut);
    end->shut = true;
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    trant_end *end = arg;
    ck_assert(happens(end));
    end->closed = true;
    end->reason = reason;
    snprintf(end->errmsg, sizeof end->errmsg, "%s", fw_conn_errmsg(conn));
    end->conn = NULL;
}

static fw_conn_events events_of(const trant_end *end)
{
    return (fw_conn_events){.on_open = on_open,
                            .on_data = on_data,
                            .on_drain = on_drain,
                            .on_end = end->wants_end ? on_end : NULL,
                            .on_shutdown = on_shutdown,
                            .on_closed = on_closed};
}

void trant_dial(const char *url, bool messages, size_t max_message_bytes, trant_end *end)
{
    fw_conn_options options = {.dial_timeout_ms = TRANT_WAIT_MS,
                               .messages = messages,
                               .max_message_bytes = max_message_bytes,
                               .events = events_of(end),
                               .arg = end};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &end->conn));
    ck_assert(!end->opened && !end->closed);
}

void trant_end_fini(trant_end *end)
{
    if (end->conn)
        fw_conn_close(end->conn, FW_ECANCELED);
    fwt_run_until(&end->closed, TRANT_WAIT_MS);
    ck_assert_uint_eq(end->events_after_close, 0);
    free(end->bytes);
    end->bytes = NULL;
}

/* ---- listeners ---- */

static void on_accepted_data(trant_end *end, const uint8_t *data, size_t len)
{
    trant_listener *listener = end->arg;
    listener->received += len;
    if (listener->wishes.on_data)
        listener->wishes.on_data(end, data, len);
}

static void on_accepted_closed(fw_conn *conn, int reason, void *arg)
{
    trant_end *end = arg;
    on_closed(conn, reason, end);
    ((trant_listener *)end->arg)->closed_ends++;
}

static void on_accept(fw_listener *base, fw_conn *conn, void *arg)
{
    (void)base;
    trant_listener *listener = arg;
    trant_end *end = malloc(sizeof *end);
    *end = listener->wishes;
    end->conn = conn;
    end->opened = true;
    end->arg = listener;
    end->on_data = on_accepted_data;
    listener->ends = realloc(listener->ends, (listener->accepted + 1) * sizeof(trant_end *));
    listener->ends[listener->accepted++] = end;
    end->events = events_of(end);
    end->events.on_closed = on_accepted_closed;
    fw_conn_set_events(conn, &end->events, end);
    if (listener->close_at_once)
        fw_conn_close(conn, FW_ECANCELED);
}

static void on_listener_closed(fw_listener *base, void *arg)
{
    (void)base;
    trant_listener *listener = arg;
    listener->closed = true;
    listener->listener = NULL;
}

void trant_listen_at(trant_listener *listener, const char *url, bool messages,
                     size_t max_message_bytes, size_t high_water_bytes)
{
    fw_listener_options options = {.messages = messages,
                                   .max_message_bytes = max_message_bytes,
                                   .high_water_bytes = high_water_bytes,
                                   .on_accept = on_accept,
                                   .on_closed = on_listener_closed,
                                   .arg = listener};
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &listener->listener));
    const char *params =
        trant_scheme_under_test.dial_params ? trant_scheme_under_test.dial_params() : "";
    snprintf(listener->url, sizeof listener->url, "%s%s", fw_listener_url(listener->listener),
             params);
}

void trant_listen(trant_listener *listener, bool messages)
{
    char url[600];
    trant_scheme_under_test.listen_url(url, sizeof url);
    trant_listen_at(listener, url, messages, 0, 0);
}

trant_end *trant_accept(trant_listener *listener, size_t index)
{
    fwt_run_count(&listener->accepted, index + 1, TRANT_WAIT_MS);
    return listener->ends[index];
}

void trant_listener_fini(trant_listener *listener)
{
    if (listener->listener)
        fw_listener_close(listener->listener);
    for (size_t i = 0; i < listener->accepted; i++)
        trant_end_fini(listener->ends[i]);
    fwt_run_until(&listener->closed, TRANT_WAIT_MS);
    for (size_t i = 0; i < listener->accepted; i++)
        free(listener->ends[i]);
    free(listener->ends);
}
