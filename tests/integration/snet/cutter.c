#include "cutter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_QUEUED (64 * 1024)

struct end {
    struct link *link;
    fw_conn *conn; /* NULL when it is gone */
    size_t left;   /* bytes that it may still pass on */
};

struct link {
    cutter *cutter;
    struct end ends[2]; /* the client's, the target's */
    bool cut;
};

static void cut(struct link *link)
{
    if (link->cut)
        return;
    link->cut = true;
    for (int i = 0; i < 2; i++)
        if (link->ends[i].conn)
            fw_conn_close(link->ends[i].conn, FW_ECANCELED);
}

static struct end *other_of(struct end *end)
{
    return &end->link->ends[end == &end->link->ends[0]];
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    struct end *end = arg, *other = other_of(end);
    size_t passed = len < end->left ? len : end->left;
    end->left -= passed;
    if (end->link->cut || (passed && fw_conn_write(other->conn, data, passed)))
        return;
    if (!end->left) {
        end->link->cutter->cuts++;
        cut(end->link);
    } else if (fw_conn_queued_bytes(other->conn) > MOST_QUEUED) {
        fw_conn_read_stop(conn);
    }
}

static void on_sent(fw_conn *conn, void *arg)
{
    struct end *end = arg, *other = other_of(end);
    if (other->conn && fw_conn_queued_bytes(conn) <= MOST_QUEUED)
        fw_conn_read_start(other->conn);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    struct end *end = arg;
    struct link *link = end->link;
    end->conn = NULL;
    cut(link);
    if (link->ends[0].conn || link->ends[1].conn)
        return;
    link->cutter->links--;
    free(link);
}

static const fw_conn_events events = {
    .on_data = on_data, .on_sent = on_sent, .on_closed = on_closed};

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    cutter *self = arg;
    char url[100];
    struct link *link = calloc(1, sizeof *link);
    link->cutter = self;
    link->ends[0] = (struct end){.link = link, .conn = conn};
    link->ends[1] = (struct end){.link = link};
    self->budget(&link->ends[0].left, &link->ends[1].left, self->arg);
    self->links++;
    fw_conn_set_events(conn, &events, &link->ends[0]);
    fw_conn_options options = {.events = events, .arg = &link->ends[1]};
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", self->target);
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &link->ends[1].conn));
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    ((cutter *)arg)->closed = true;
}

void cutter_start(cutter *self, int target)
{
    fw_listener_options options = {
        .on_accept = on_accept, .on_closed = on_listener_closed, .arg = self};
    self->target = target;
    FWT_OK(fw_listener_new(fwt_loop, "tcp://127.0.0.1:0", &options, &self->listener));
    self->port = atoi(strrchr(fw_listener_url(self->listener), ':') + 1);
}

void cutter_end(cutter *self)
{
    fw_listener_close(self->listener);
    fwt_run_until(&self->closed, 30000);
    while (self->links)
        fwt_run_for(1);
}
