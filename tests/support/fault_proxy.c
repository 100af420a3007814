/*
 * A TCP relay that misbehaves on order. It runs on a loop and a thread of its own; an order is run
 * there while the test's thread waits for it, so that it has taken effect when the call returns.
 *
 * A link is one connection of a client and its connection to the target:
 *
 *     ends[0] client --- ways[0]: requests ---> ends[1] target
 *     ends[0] client <-- ways[1]: replies  ---- ends[1] target
 *
 * A way holds what was read and not yet written, each chunk with the time from which it may go on.
 * A frozen way neither reads nor writes: what is under way stays in the kernel's buffers, as on a
 * path that loses every packet. A way that has more than WAY_LIMIT in hand stops reading.
 */
#include "fwt.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define WAY_LIMIT  (1u << 20)
#define READ_BYTES 65536
#define TICK_MS    2

struct chunk {
    struct chunk *next;
    uv_write_t request;
    struct way *way;
    uint64_t due_ms;
    bool is_end;
    size_t len;
    uint8_t data[];
};

struct way {
    struct link *link;
    struct chunk *first, **last;
    size_t pending_bytes;
    bool reading, ended; /* ended: its source has said its last word */
};

struct link {
    fwt_proxy *proxy;
    struct link *next, **slot;
    uv_tcp_t ends[2];
    struct way ways[2];
    uv_connect_t connect;
    uv_shutdown_t shutdowns[2];
    bool connecting, connected, closing, lost_bytes;
    size_t shut, closed;
    size_t allowance; /* bytes of replies that are still passed on while swallowing */
};

struct fwt_proxy {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t tick;
    uv_tcp_t *listener; /* NULL: refusing */
    uint32_t address;   /* where it listens, in network order */
    int port, target, reserve;
    struct link *links;
    size_t link_count;
    unsigned frozen; /* fwt_proxy_way */
    bool swallowing;
    size_t swallow_after;
    unsigned delay_ms;

    pthread_mutex_t mutex;
    pthread_cond_t done;
    void (*order)(fwt_proxy *proxy); /* NULL: none is waiting */
    unsigned argument;
    size_t size, answer;
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static struct sockaddr_in address_of(uint32_t address, int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = address};
}

static struct sockaddr_in loopback(int port)
{
    return address_of(htonl(INADDR_LOOPBACK), port);
}

static bool is_frozen(const struct way *way)
{
    const struct link *link = way->link;
    return link->proxy->frozen & (way == &link->ways[0] ? FWT_PROXY_REQUESTS : FWT_PROXY_REPLIES);
}

/* ---- links ---- */

static void on_link_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    if (++link->closed < 2)
        return;
    for (int i = 0; i < 2; i++) {
        for (struct chunk *chunk = link->ways[i].first, *next; chunk; chunk = next) {
            next = chunk->next;
            free(chunk);
        }
    }
    free(link);
}

static void link_close(struct link *link, bool reset)
{
    if (link->closing)
        return;
    link->closing = true;
    *link->slot = link->next;
    if (link->next)
        link->next->slot = link->slot;
    link->proxy->link_count--;
    for (int i = 0; i < 2; i++) {
        uv_handle_t *handle = (uv_handle_t *)&link->ends[i];
        /* A reset of a socket that was never made, or is shutting down, is refused. */
        if (!reset || uv_tcp_close_reset(&link->ends[i], on_link_closed))
            uv_close(handle, on_link_closed);
    }
}

static void way_update(struct way *way);

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct link *link = request->data;
    if (!link->closing && (status || ++link->shut == 2))
        link_close(link, false);
}

static void on_written(uv_write_t *request, int status)
{
    struct chunk *chunk = request->data;
    struct way *way = chunk->way;
    way->pending_bytes -= chunk->len;
    free(chunk);
    if (way->link->closing)
        return;
    if (status)
        link_close(way->link, true);
    else
        way_update(way);
}

/* Writes what is due. */
static void way_flush(struct way *way)
{
    struct link *link = way->link;
    size_t index = (size_t)(way - link->ways);
    while (way->first && !is_frozen(way) && link->connected && !link->closing &&
           way->first->due_ms <= now_ms()) {
        struct chunk *chunk = way->first;
        uv_stream_t *to = (uv_stream_t *)&link->ends[1 - index];
        way->first = chunk->next;
        if (!way->first)
            way->last = &way->first;
        if (chunk->is_end) {
            free(chunk);
            link->shutdowns[index].data = link;
            if (uv_shutdown(&link->shutdowns[index], to, on_shutdown))
                link_close(link, true);
            return;
        }
        uv_buf_t buffer = uv_buf_init((char *)chunk->data, (unsigned)chunk->len);
        chunk->request.data = chunk;
        if (uv_write(&chunk->request, to, &buffer, 1, on_written)) {
            way->pending_bytes -= chunk->len;
            free(chunk);
            link_close(link, true);
        }
    }
}

static void way_add(struct way *way, const void *data, size_t len, bool is_end)
{
    struct chunk *chunk = calloc(1, sizeof *chunk + len);
    chunk->way = way;
    chunk->due_ms = now_ms() + way->link->proxy->delay_ms;
    chunk->is_end = is_end;
    chunk->len = len;
    if (len)
        memcpy(chunk->data, data, len);
    way->pending_bytes += len;
    *way->last = chunk;
    way->last = &chunk->next;
    way_flush(way);
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle;
    (void)suggested;
    static _Thread_local char memory[READ_BYTES];
    *buffer = uv_buf_init(memory, sizeof memory);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct link *link = stream->data;
    struct way *way = &link->ways[(uv_tcp_t *)stream == &link->ends[0] ? 0 : 1];
    if (n < 0 && n != UV_EOF) {
        link_close(link, true);
        return;
    }
    if (n == UV_EOF) {
        way->ended = true;
        uv_read_stop(stream);
        way->reading = false;
        way_add(way, NULL, 0, true);
        return;
    }
    size_t len = (size_t)n;
    if (link->proxy->swallowing && way == &link->ways[1]) {
        if (len > link->allowance) {
            len = link->allowance;
            link->lost_bytes = true;
        }
        link->allowance -= len;
    }
    if (len)
        way_add(way, buffer->base, len, false);
    if (!link->closing)
        way_update(way);
}

/* Reads, or does not, as it now should; and writes what it may. */
static void way_update(struct way *way)
{
    struct link *link = way->link;
    uv_stream_t *from = (uv_stream_t *)&link->ends[way - link->ways];
    bool should =
        !is_frozen(way) && !way->ended && link->connected && way->pending_bytes < WAY_LIMIT;
    if (should != way->reading) {
        way->reading = should;
        if (should)
            uv_read_start(from, on_buffer, on_read);
        else
            uv_read_stop(from);
    }
    way_flush(way);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct link *link = request->data;
    if (link->closing)
        return;
    if (status) {
        link_close(link, true);
        return;
    }
    link->connected = true;
    for (int i = 0; i < 2 && !link->closing; i++)
        way_update(&link->ways[i]);
}

/* Connects to the target, unless the path is frozen in both directions. */
static void link_connect(struct link *link)
{
    if (link->connecting || (link->proxy->frozen & FWT_PROXY_BOTH) == FWT_PROXY_BOTH)
        return;
    link->connecting = true;
    link->connect.data = link;
    struct sockaddr_in address = loopback(link->proxy->target);
    if (uv_tcp_connect(&link->connect, &link->ends[1], (struct sockaddr *)&address, on_connected))
        link_close(link, true);
}

static void on_connection(uv_stream_t *listener, int status)
{
    fwt_proxy *proxy = listener->data;
    if (status)
        return;
    struct link *link = calloc(1, sizeof *link);
    link->proxy = proxy;
    link->allowance = proxy->swallow_after;
    for (int i = 0; i < 2; i++) {
        uv_tcp_init(&proxy->loop, &link->ends[i]);
        link->ends[i].data = link;
        link->ways[i].link = link;
        link->ways[i].last = &link->ways[i].first;
    }
    link->next = proxy->links;
    link->slot = &proxy->links;
    if (link->next)
        link->next->slot = &link->next;
    proxy->links = link;
    proxy->link_count++;
    if (uv_accept(listener, (uv_stream_t *)&link->ends[0]))
        link_close(link, true);
    else
        link_connect(link);
}

/* ---- orders; on the proxy's thread ---- */

static void on_tick(uv_timer_t *timer)
{
    fwt_proxy *proxy = timer->data;
    bool held = proxy->delay_ms > 0;
    for (struct link *link = proxy->links, *next; link; link = next) {
        next = link->next;
        for (int i = 0; i < 2 && !link->closing; i++) {
            way_flush(&link->ways[i]);
            held |= !link->closing && link->ways[i].first;
        }
    }
    if (!held)
        uv_timer_stop(timer);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void stop_listening(fwt_proxy *proxy)
{
    if (proxy->listener)
        uv_close((uv_handle_t *)proxy->listener, free_handle);
    proxy->listener = NULL;
}

static void listen_again(fwt_proxy *proxy)
{
    if (proxy->listener)
        return;
    struct sockaddr_in address = address_of(proxy->address, proxy->port);
    proxy->listener = calloc(1, sizeof *proxy->listener);
    uv_tcp_init(&proxy->loop, proxy->listener);
    proxy->listener->data = proxy;
    if (uv_tcp_bind(proxy->listener, (struct sockaddr *)&address, 0) ||
        uv_listen((uv_stream_t *)proxy->listener, 128, on_connection)) {
        fprintf(stderr, "the fault proxy cannot listen on port %d\n", proxy->port);
        abort();
    }
}

static void update_links(fwt_proxy *proxy)
{
    for (struct link *link = proxy->links, *next; link; link = next) {
        next = link->next;
        link_connect(link);
        for (int i = 0; i < 2 && !link->closing; i++)
            way_update(&link->ways[i]);
    }
}

static void order_pass(fwt_proxy *proxy)
{
    proxy->frozen = 0;
    proxy->swallowing = false;
    proxy->delay_ms = 0;
    listen_again(proxy);
    for (struct link *link = proxy->links, *next; link; link = next) {
        next = link->next;
        if (link->lost_bytes) /* a stream with a hole cannot go on */
            link_close(link, true);
    }
    update_links(proxy);
}

static void order_refuse(fwt_proxy *proxy)
{
    stop_listening(proxy);
}

static void order_cut(fwt_proxy *proxy)
{
    for (struct link *link = proxy->links, *next; link; link = next) {
        next = link->next;
        link_close(link, proxy->argument);
    }
}

static void order_freeze(fwt_proxy *proxy)
{
    proxy->frozen = proxy->argument;
    update_links(proxy);
}

static void order_swallow(fwt_proxy *proxy)
{
    proxy->swallowing = true;
    proxy->swallow_after = proxy->size;
    for (struct link *link = proxy->links; link; link = link->next)
        link->allowance = proxy->size;
}

static void order_delay(fwt_proxy *proxy)
{
    proxy->delay_ms = proxy->argument;
    uv_timer_start(&proxy->tick, on_tick, TICK_MS, TICK_MS);
}

static void order_target(fwt_proxy *proxy)
{
    proxy->target = (int)proxy->argument;
}

static void order_count(fwt_proxy *proxy)
{
    proxy->answer = proxy->link_count;
}

static void order_end(fwt_proxy *proxy)
{
    proxy->argument = false;
    order_cut(proxy);
    stop_listening(proxy);
    uv_close((uv_handle_t *)&proxy->tick, NULL);
    uv_close((uv_handle_t *)&proxy->wake, NULL);
}

static void on_wake(uv_async_t *async)
{
    fwt_proxy *proxy = async->data;
    pthread_mutex_lock(&proxy->mutex);
    if (proxy->order) {
        proxy->order(proxy);
        proxy->order = NULL;
        pthread_cond_broadcast(&proxy->done);
    }
    pthread_mutex_unlock(&proxy->mutex);
}

/* ---- the test's side ---- */

static size_t give(fwt_proxy *proxy, void (*order)(fwt_proxy *), unsigned argument, size_t size)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->argument = argument;
    proxy->size = size;
    proxy->order = order;
    uv_async_send(&proxy->wake);
    while (proxy->order)
        pthread_cond_wait(&proxy->done, &proxy->mutex);
    size_t answer = proxy->answer;
    pthread_mutex_unlock(&proxy->mutex);
    return answer;
}

static void *run(void *arg)
{
    fwt_proxy *proxy = arg;
    uv_run(&proxy->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Holds a port without listening on it: so it stays ours while connections are refused. */
static int reserve_port(uint32_t at, int *ret_port)
{
    struct sockaddr_in address = address_of(at, 0);
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

fwt_proxy *fwt_proxy_start(int target)
{
    return fwt_proxy_start_at("127.0.0.1", target);
}

fwt_proxy *fwt_proxy_start_at(const char *address, int target)
{
    fwt_proxy *proxy = calloc(1, sizeof *proxy);
    proxy->target = target;
    proxy->address = inet_addr(address);
    proxy->reserve = reserve_port(proxy->address, &proxy->port);
    uv_loop_init(&proxy->loop);
    uv_async_init(&proxy->loop, &proxy->wake, on_wake);
    uv_timer_init(&proxy->loop, &proxy->tick);
    proxy->wake.data = proxy->tick.data = proxy;
    pthread_mutex_init(&proxy->mutex, NULL);
    pthread_cond_init(&proxy->done, NULL);
    listen_again(proxy);
    ck_assert_int_eq(pthread_create(&proxy->thread, NULL, run, proxy), 0);
    return proxy;
}

int fwt_proxy_port(const fwt_proxy *proxy)
{
    return proxy->port;
}

void fwt_proxy_pass(fwt_proxy *proxy)
{
    give(proxy, order_pass, 0, 0);
}

void fwt_proxy_refuse(fwt_proxy *proxy)
{
    give(proxy, order_refuse, 0, 0);
}

void fwt_proxy_cut(fwt_proxy *proxy, bool reset)
{
    give(proxy, order_cut, reset, 0);
}

void fwt_proxy_freeze(fwt_proxy *proxy, unsigned ways)
{
    give(proxy, order_freeze, ways, 0);
}

void fwt_proxy_swallow(fwt_proxy *proxy, size_t after_bytes)
{
    give(proxy, order_swallow, 0, after_bytes);
}

void fwt_proxy_delay(fwt_proxy *proxy, unsigned ms)
{
    give(proxy, order_delay, ms, 0);
}

void fwt_proxy_target(fwt_proxy *proxy, int port)
{
    give(proxy, order_target, (unsigned)port, 0);
}

size_t fwt_proxy_connections(fwt_proxy *proxy)
{
    return give(proxy, order_count, 0, 0);
}

void fwt_proxy_end(fwt_proxy *proxy)
{
    if (!proxy)
        return;
    give(proxy, order_end, 0, 0);
    pthread_join(proxy->thread, NULL);
    uv_loop_close(&proxy->loop);
    pthread_mutex_destroy(&proxy->mutex);
    pthread_cond_destroy(&proxy->done);
    close(proxy->reserve);
    free(proxy);
}
