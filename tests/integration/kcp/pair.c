#include "pair.h"

#include <fairway/transport.h>
#include <stdlib.h>
#include <string.h>

static uint8_t byte_at(uint32_t seed, size_t at)
{
    return (uint8_t)(((at + seed) * 2654435761u) >> 11);
}

void pair_feed(pair_end *end)
{
    uint8_t bytes[4000];
    while (end->conn && end->sent < end->total && !fw_conn_congested(end->conn)) {
        size_t len = end->total - end->sent < sizeof bytes ? end->total - end->sent : sizeof bytes;
        for (size_t i = 0; i < len; i++)
            bytes[i] = byte_at(end->seed, end->sent + i);
        FWT_OK(fw_conn_write(end->conn, bytes, len));
        end->sent += len;
    }
}

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    pair_end *end = arg;
    end->open = true;
    pair_feed(end);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    pair_end *end = arg;
    if (end->echo)
        FWT_OK(fw_conn_write(conn, data, len));
    else
        for (size_t i = 0; i < len; i++)
            end->bad += data[i] != byte_at((uint32_t)end->seed_of_peer, end->received + i);
    end->received += len;
    end->complete = end->received >= end->total;
}

static void on_drain(fw_conn *conn, void *arg)
{
    (void)conn;
    pair_feed(arg);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    pair_end *end = arg;
    end->conn = NULL;
    end->closed = true;
    end->reason = reason;
}

static const fw_conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_closed = on_closed};

void pair_dial(pair_end *end, const char *url, bool messages)
{
    fw_conn_options options = {.messages = messages,
                               .dial_timeout_ms = PAIR_WAIT_MS,
                               .high_water_bytes = 128 * 1024,
                               .events = events,
                               .arg = end};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &end->conn));
}

void pair_end_fini(pair_end *end)
{
    if (end->conn)
        fw_conn_close(end->conn, FW_ECANCELED);
    fwt_run_until(&end->closed, PAIR_WAIT_MS);
}

static void on_accept(fw_listener *base, fw_conn *conn, void *arg)
{
    (void)base;
    pair_listener *listener = arg;
    ck_assert_uint_lt(listener->accepted, sizeof listener->ends / sizeof *listener->ends);
    pair_end *end = malloc(sizeof *end);
    *end = listener->wishes;
    end->conn = conn;
    end->open = true;
    listener->ends[listener->accepted++] = end;
    listener->last = end;
    fw_conn_set_events(conn, &events, end);
    pair_feed(end);
}

static void on_listener_closed(fw_listener *base, void *arg)
{
    (void)base;
    ((pair_listener *)arg)->closed = true;
}

void pair_listen(pair_listener *listener, const char *url, bool messages)
{
    fw_listener_options options = {.messages = messages,
                                   .high_water_bytes = 128 * 1024,
                                   .on_accept = on_accept,
                                   .on_closed = on_listener_closed,
                                   .arg = listener};
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &listener->listener));
    listener->port = atoi(strrchr(fw_listener_url(listener->listener), ':') + 1);
}

void pair_listener_fini(pair_listener *listener)
{
    fw_listener_close(listener->listener);
    for (size_t i = 0; i < listener->accepted; i++) {
        pair_end_fini(listener->ends[i]);
        free(listener->ends[i]);
    }
    fwt_run_until(&listener->closed, PAIR_WAIT_MS);
}
