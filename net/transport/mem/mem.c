/*
 * mem:name, for tests and simulations: both ends are in one program and on one loop, which may be a
 * virtual one. What is written stands in the peer's queue (WINDOW_BYTES at most) until a later
 * turn, so that nothing is ever delivered inside a write.
 *
 * A listener's name is known on its loop only.
 */
#include "base/list.h"
#include "transport/transport.h"

#include <fairway/error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (256 * 1024)

typedef struct mem_listener {
    fw_listener base; /* url is "mem:name" */
    fwi_list node;
    fwi_task gone;
} mem_listener;

typedef struct mem_conn {
    fw_conn base;
    struct mem_conn *peer; /* NULL: not yet, or it is closed */
    char *url;
    fwi_out_queue in;         /* from the peer; messages with their length in front */
    fwi_task deliver, settle; /* settle: the dial's outcome, or the end of closing */
    bool ended;               /* nothing comes after what is in `in` */
} mem_conn;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of the list */
static fwi_list listeners = {&listeners, &listeners};

static mem_conn *mem_of(fw_conn *conn)
{
    return fwi_container_of(conn, mem_conn, base);
}

static mem_listener *find(fw_loop *loop, const char *name)
{
    mem_listener *found = NULL;
    pthread_mutex_lock(&mutex);
    fwi_list_for_each (node, &listeners) {
        mem_listener *listener = fwi_container_of(node, mem_listener, node);
        if (listener->base.loop == loop && !strcmp(strchr(listener->base.url, ':') + 1, name))
            found = listener;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

/* ---- moving bytes ---- */

static void wake(mem_conn *conn)
{
    fwi_loop_defer(conn->base.loop, &conn->deliver);
}

static int try_write(fw_conn *base, const uv_buf_t *bufs, unsigned count)
{
    mem_conn *peer = mem_of(base)->peer;
    if (!peer)
        return UV_EPIPE;
    size_t room = peer->in.bytes < WINDOW_BYTES ? WINDOW_BYTES - peer->in.bytes : 0, took = 0;
    for (unsigned i = 0; i < count && took < room; i++) {
        size_t len = bufs[i].len < room - took ? bufs[i].len : room - took;
        uint8_t *to = fwi_out_queue_reserve(&peer->in, fwi_loop_chunks(base->loop), len);
        if (!to)
            return UV_ENOMEM;
        memcpy(to, bufs[i].base, len);
        took += len;
    }
    wake(peer);
    return took ? (int)took : UV_EAGAIN;
}

static int send_message(fw_conn *base, const uint8_t *data, size_t len)
{
    mem_conn *peer = mem_of(base)->peer;
    uint32_t head = (uint32_t)len;
    if (!peer)
        return UV_EPIPE;
    if (peer->in.bytes >= WINDOW_BYTES)
        return UV_EAGAIN;
    uint8_t *to = fwi_out_queue_reserve(&peer->in, fwi_loop_chunks(base->loop), sizeof head + len);
    if (!to)
        return UV_ENOMEM;
    memcpy(to, &head, sizeof head);
    if (len)
        memcpy(to + sizeof head, data, len);
    wake(peer);
    return FW_OK;
}

/* The first message, or all of the first chunk. */
static size_t first_part(const mem_conn *conn, const uint8_t **ret_data, size_t *ret_len)
{
    const fwi_chunk *chunk = conn->in.head;
    const uint8_t *start = chunk->data + chunk->start;
    uint32_t head = 0;
    if (!conn->base.messages) {
        *ret_data = start;
        return *ret_len = chunk->end - chunk->start;
    }
    memcpy(&head, start, sizeof head);
    *ret_data = start + sizeof head;
    *ret_len = head;
    return sizeof head + head;
}

static void on_deliver(fwi_task *task, void *arg)
{
    (void)task;
    mem_conn *conn = arg;
    fw_conn *base = &conn->base;
    for (size_t due = conn->in.bytes, taken = 0; taken < due && fwi_conn_wants_data(base);) {
        const uint8_t *data;
        size_t len, part = first_part(conn, &data, &len);
        if (len > base->max_message_bytes && base->messages) {
            fwi_conn_failed(base, FW_EFRAMESIZE);
            return;
        }
        fwi_conn_received(base, data, len);
        fwi_out_queue_consume(&conn->in, fwi_loop_chunks(base->loop), part);
        taken += part;
    }
    if (!fwi_conn_wants_data(base))
        return;
    if (conn->in.bytes)
        wake(conn);
    else if (conn->ended)
        fwi_conn_ended(base);
    if (!conn->peer && base->blocked) /* it will find out that nobody takes it */
        fwi_conn_writable(base);
    if (conn->peer && conn->peer->base.blocked && conn->in.bytes < WINDOW_BYTES)
        fwi_conn_writable(&conn->peer->base);
}

static int read_start(fw_conn *base)
{
    wake(mem_of(base));
    return FW_OK;
}

static void read_stop(fw_conn *base)
{
    fwi_loop_defer_cancel(base->loop, &mem_of(base)->deliver);
}

/* ---- ends ---- */

static void end_peer(mem_conn *conn)
{
    if (!conn->peer)
        return;
    conn->peer->ended = true;
    wake(conn->peer);
}

static int shutdown_mem(fw_conn *base)
{
    end_peer(mem_of(base));
    fwi_conn_shut(base, FW_OK);
    return FW_OK;
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    mem_conn *conn = arg;
    fw_loop *loop = conn->base.loop;
    fwi_out_queue_clear(&conn->in, fwi_loop_chunks(loop));
    free(conn->url);
    fwi_conn_gone(&conn->base);
    fwi_loop_release(loop);
}

static void close_mem(fw_conn *base)
{
    mem_conn *conn = mem_of(base);
    end_peer(conn);
    if (conn->peer)
        conn->peer->peer = NULL;
    conn->peer = NULL;
    fwi_loop_defer_cancel(base->loop, &conn->deliver);
    fwi_loop_defer_cancel(base->loop, &conn->settle);
    conn->settle.fn = on_gone;
    fwi_loop_defer(base->loop, &conn->settle);
}

static void peer_text(fw_conn *base, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "%s", mem_of(base)->url);
}

static const fwi_conn_ops mem_ops = {
    .try_write = try_write,
    .send = send_message,
    .shutdown = shutdown_mem,
    .read_start = read_start,
    .read_stop = read_stop,
    .close = close_mem,
    .peer = peer_text,
};

/* ---- dialling and listening ---- */

static mem_conn *mem_conn_new(fw_loop *loop, const char *name)
{
    mem_conn *conn = calloc(1, sizeof *conn);
    size_t size = strlen(name) + sizeof "mem:";
    if (!conn || !(conn->url = malloc(size))) {
        free(conn);
        return NULL;
    }
    snprintf(conn->url, size, "mem:%s", name);
    conn->base.loop = loop;
    conn->base.ops = &mem_ops;
    conn->deliver = (fwi_task){.fn = on_deliver, .arg = conn};
    conn->settle = (fwi_task){.arg = conn};
    fwi_loop_hold(loop);
    return conn;
}

/* Finds out whether anybody listens, and connects the two. */
static void on_dial(fwi_task *task, void *arg)
{
    (void)task;
    mem_conn *conn = arg;
    const char *name = strchr(conn->url, ':') + 1;
    mem_listener *listener = find(conn->base.loop, name);
    if (!listener || listener->base.options.messages != conn->base.messages) {
        fwi_conn_failed(&conn->base, listener ? UV_EPROTOTYPE : UV_ECONNREFUSED);
        return;
    }
    mem_conn *peer = mem_conn_new(conn->base.loop, name);
    if (!peer) {
        fwi_conn_failed(&conn->base, UV_ENOMEM);
        return;
    }
    conn->peer = peer;
    peer->peer = conn;
    fwi_listener_accepted(&listener->base, &peer->base);
    fwi_conn_opened(&conn->base);
}

static int check_url(const fw_url *url)
{
    if (url->host_count || !*url->path)
        return FW_EURL;
    return fwi_transport_check_params(url, (const char *const[]){NULL});
}

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                fw_conn **ret_conn)
{
    (void)options;
    int err = check_url(url);
    if (err)
        return err;
    mem_conn *conn = mem_conn_new(loop, url->path);
    if (!conn)
        return UV_ENOMEM;
    conn->settle.fn = on_dial;
    fwi_loop_defer(loop, &conn->settle);
    *ret_conn = &conn->base;
    return FW_OK;
}

static void on_listener_gone(fwi_task *task, void *arg)
{
    (void)task;
    mem_listener *listener = arg;
    fw_loop *loop = listener->base.loop;
    fwi_listener_gone(&listener->base);
    fwi_loop_release(loop);
}

static void close_listener(fw_listener *base)
{
    mem_listener *listener = fwi_container_of(base, mem_listener, base);
    pthread_mutex_lock(&mutex);
    fwi_list_remove(&listener->node);
    pthread_mutex_unlock(&mutex);
    fwi_loop_defer(base->loop, &listener->gone);
}

static const fwi_listener_ops listener_ops = {.close = close_listener};

static int listen_mem(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                      fw_listener **ret_listener)
{
    (void)options;
    int err = check_url(url);
    if (err)
        return err;
    if (find(loop, url->path))
        return UV_EADDRINUSE;
    mem_listener *listener = calloc(1, sizeof *listener);
    size_t size = strlen(url->path) + sizeof "mem:";
    if (!listener || !(listener->base.url = malloc(size))) {
        free(listener);
        return UV_ENOMEM;
    }
    snprintf(listener->base.url, size, "mem:%s", url->path);
    listener->base.loop = loop;
    listener->base.ops = &listener_ops;
    listener->gone = (fwi_task){.fn = on_listener_gone, .arg = listener};
    pthread_mutex_lock(&mutex);
    fwi_list_push_back(&listeners, &listener->node);
    pthread_mutex_unlock(&mutex);
    fwi_loop_hold(loop);
    *ret_listener = &listener->base;
    return FW_OK;
}

const fwi_transport fwi_transport_mem = {
    .scheme = "mem",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_MESSAGES | FW_TRANSPORT_RELIABLE |
                 FW_TRANSPORT_HALF_CLOSE,
    .dial = dial,
    .listen = listen_mem,
};
