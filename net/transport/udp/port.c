#include "transport/udp/port.h"

#include <errno.h>
#include <fairway/error.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_MESSAGES   64 /* a system call */
#define BATCH_BYTES      (128 * 1024)
#define BATCH_FIRST      2048
#define ROUNDS           8                 /* of reading, before others have their turn */
#define OWN_BUF_BYTES    (1024 * 1024)     /* asked of the kernel for one session */
#define SHARED_BUF_BYTES (4 * 1024 * 1024) /* asked of the kernel for a port of many sessions */

struct outgoing {
    size_t start, len;
    fwi_udp_address to;
};

struct fwi_udp_port {
    fw_loop *loop;
    uv_poll_t poll;
    int fd;
    bool connected, reading, blocked, wanted, closing;
    int error; /* found while sending, not yet reported */
    size_t datagram_max;
    size_t refs;
    const fwi_udp_port_events *events;
    void *arg;
    fwi_task flush;
    fwi_task *last;
    /* the batch */
    uint8_t *bytes;
    size_t used, capacity;
    struct outgoing *items; /* BATCH_MESSAGES */
    unsigned count;
};

static void on_poll(uv_poll_t *handle, int status, int events);

static void watch(fwi_udp_port *port)
{
    int events = (port->reading ? UV_READABLE : 0) | (port->blocked ? UV_WRITABLE : 0);
    if (port->closing)
        return;
    if (events)
        uv_poll_start(&port->poll, events, on_poll);
    else
        uv_poll_stop(&port->poll);
}

/* ---- sending ---- */

static void drop_batch(fwi_udp_port *port)
{
    port->count = 0;
    port->used = 0;
    if (port->connected) { /* an idle connection owns no buffer */
        free(port->bytes);
        free(port->items);
        port->bytes = NULL;
        port->items = NULL;
        port->capacity = 0;
    }
}

/* The first n of the batch are dealt with. */
static void consume(fwi_udp_port *port, unsigned n)
{
    memmove(port->items, port->items + n, (port->count - n) * sizeof *port->items);
    port->count -= n;
    if (!port->count)
        drop_batch(port);
}

/* One call's worth; returns what sendmmsg does. */
static int send_some(fwi_udp_port *port)
{
    struct mmsghdr headers[BATCH_MESSAGES];
    struct iovec parts[BATCH_MESSAGES];
    memset(headers, 0, port->count * sizeof *headers);
    for (unsigned i = 0; i < port->count; i++) {
        struct outgoing *item = &port->items[i];
        parts[i] = (struct iovec){.iov_base = port->bytes + item->start, .iov_len = item->len};
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        if (!port->connected) {
            headers[i].msg_hdr.msg_name = &item->to;
            headers[i].msg_hdr.msg_namelen = fwi_udp_address_len(&item->to);
        }
    }
    int n;
    do {
        n = sendmmsg(port->fd, headers, port->count, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

void fwi_udp_port_flush(fwi_udp_port *port)
{
    fwi_loop_defer_cancel(port->loop, &port->flush);
    while (port->count && !port->blocked) {
        int n = send_some(port);
        if (n > 0) {
            consume(port, (unsigned)n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
            port->blocked = true;
            watch(port);
        } else {
            /* This one cannot be sent (no route, too long); it is as if it were lost. */
            if (port->connected && !port->error) {
                port->error = uv_translate_sys_error(errno);
                fwi_loop_defer(port->loop, &port->flush);
            }
            consume(port, 1);
        }
    }
}

static void on_flush(fwi_task *task, void *arg)
{
    (void)task;
    fwi_udp_port *port = arg;
    fwi_udp_port_flush(port);
    int error = port->error;
    port->error = 0;
    if (error) {
        fwi_loop_defer_cancel(port->loop, &port->flush);
        port->events->failed(port->arg, error);
    }
}

static bool grow(fwi_udp_port *port, size_t len)
{
    size_t capacity = port->capacity ? port->capacity : BATCH_FIRST;
    if (!port->items && !(port->items = malloc(BATCH_MESSAGES * sizeof *port->items)))
        return false;
    while (capacity < port->used + len)
        capacity *= 2;
    if (capacity == port->capacity)
        return true;
    uint8_t *bytes = realloc(port->bytes, capacity);
    if (!bytes)
        return false;
    port->bytes = bytes;
    port->capacity = capacity;
    return true;
}

uint8_t *fwi_udp_port_reserve(fwi_udp_port *port, const fwi_udp_address *to, size_t len)
{
    if (port->count == BATCH_MESSAGES || (port->count && port->used + len > BATCH_BYTES))
        fwi_udp_port_flush(port);
    if (port->count == BATCH_MESSAGES || (port->count && port->used + len > BATCH_BYTES)) {
        port->wanted = true;
        return NULL;
    }
    if (!grow(port, len ? len : 1)) {
        port->wanted = port->blocked;
        return NULL;
    }
    struct outgoing *item = &port->items[port->count];
    item->start = port->used;
    if (to)
        item->to = *to;
    return port->bytes + port->used;
}

bool fwi_udp_port_is_blocked(const fwi_udp_port *port)
{
    return port->blocked;
}

void fwi_udp_port_commit(fwi_udp_port *port, size_t len)
{
    port->items[port->count++].len = len;
    port->used += len;
    fwi_loop_defer(port->loop, &port->flush);
}

/* ---- reading ---- */

/* One batch: how many came, or an error. */
static int receive_some(fwi_udp_port *port)
{
    size_t slot = port->datagram_max + 1; /* a longer one is seen by that */
    unsigned most = (unsigned)(FWI_SCRATCH_BYTES / slot);
    most = most < BATCH_MESSAGES ? most : BATCH_MESSAGES;
    uint8_t *bytes = fwi_loop_scratch(port->loop);
    struct mmsghdr headers[BATCH_MESSAGES];
    struct iovec parts[BATCH_MESSAGES];
    fwi_udp_address from[BATCH_MESSAGES];
    memset(headers, 0, most * sizeof *headers);
    for (unsigned i = 0; i < most; i++) {
        parts[i] = (struct iovec){.iov_base = bytes + i * slot, .iov_len = slot};
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        headers[i].msg_hdr.msg_name = &from[i];
        headers[i].msg_hdr.msg_namelen = sizeof from[i];
    }
    int n = recvmmsg(port->fd, headers, most, MSG_DONTWAIT, NULL);
    if (n < 0)
        return uv_translate_sys_error(errno);
    for (int i = 0; i < n && port->reading && !port->closing; i++)
        if (headers[i].msg_len <= port->datagram_max)
            port->events->received(port->arg, &from[i], bytes + (size_t)i * slot,
                                   headers[i].msg_len);
    if (port->events->round && !port->closing)
        port->events->round(port->arg);
    return n < (int)most ? UV_EAGAIN : n;
}

static int socket_error(const fwi_udp_port *port)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(port->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return uv_translate_sys_error(error);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    fwi_udp_port *port = handle->data;
    if (events & UV_WRITABLE) {
        port->blocked = false;
        watch(port);
        fwi_udp_port_flush(port);
        if (port->wanted && !port->blocked) {
            port->wanted = false;
            if (port->events->writable)
                port->events->writable(port->arg);
        }
    }
    int n = 0;
    if (status) { /* an error waits at the socket, and libuv has stopped watching */
        n = socket_error(port);
        watch(port);
    } else if (!(events & UV_READABLE)) {
        return;
    }
    for (int round = 0; round < ROUNDS && n >= 0 && port->reading && !port->closing; round++)
        n = receive_some(port);
    if (n < 0 && n != UV_EAGAIN && n != UV_EINTR && port->connected && !port->closing)
        port->events->failed(port->arg, n);
}

void fwi_udp_port_read(fwi_udp_port *port, bool on)
{
    if (port->reading == on)
        return;
    port->reading = on;
    watch(port);
}

/* ---- the port's life ---- */

static int open_socket(const fwi_udp_address *address, bool connected, int *ret_fd)
{
    int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return uv_translate_sys_error(errno);
    /* As much as the system allows; what does not fit is lost, and that is bearable. */
    int bytes = connected ? OWN_BUF_BYTES : SHARED_BUF_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    int err = connected ? connect(fd, &address->any, fwi_udp_address_len(address))
                        : bind(fd, &address->any, fwi_udp_address_len(address));
    if (err) {
        err = uv_translate_sys_error(errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return FW_OK;
}

int fwi_udp_port_new(fw_loop *loop, const fwi_udp_address *address, bool connected,
                     size_t datagram_max, const fwi_udp_port_events *events, void *arg,
                     fwi_udp_port **ret_port)
{
    fwi_udp_port *port = calloc(1, sizeof *port);
    if (!port)
        return UV_ENOMEM;
    *port = (fwi_udp_port){.loop = loop,
                           .connected = connected,
                           .datagram_max = datagram_max,
                           .refs = 1,
                           .events = events,
                           .arg = arg};
    port->flush = (fwi_task){.fn = on_flush, .arg = port};
    int err = open_socket(address, connected, &port->fd);
    if (err) {
        free(port);
        return err;
    }
    err = uv_poll_init(fw_loop_uv(loop), &port->poll, port->fd);
    if (err) {
        close(port->fd);
        free(port);
        return err;
    }
    port->poll.data = port;
    *ret_port = port;
    return FW_OK;
}

void fwi_udp_port_acquire(fwi_udp_port *port)
{
    port->refs++;
}

static void on_closed(uv_handle_t *handle)
{
    fwi_udp_port *port = handle->data;
    fwi_task *last = port->last;
    port->events->gone(port->arg);
    free(port->bytes);
    free(port->items);
    free(port);
    last->fn(last, last->arg);
}

void fwi_udp_port_release(fwi_udp_port *port, fwi_task *then)
{
    if (--port->refs) {
        fwi_loop_defer(port->loop, then);
        return;
    }
    fwi_udp_port_flush(port);
    fwi_loop_defer_cancel(port->loop, &port->flush);
    port->closing = true;
    port->last = then;
    uv_poll_stop(&port->poll);
    uv_close((uv_handle_t *)&port->poll, on_closed);
    close(port->fd);
}

int fwi_udp_port_reconnect(fwi_udp_port *port, const fwi_udp_address *address)
{
    int fd, err = open_socket(address, true, &fd);
    if (err)
        return err;
    uv_poll_stop(&port->poll); /* the new one takes the old one's number, so the handle stays */
    if (dup3(fd, port->fd, O_CLOEXEC) < 0)
        err = uv_translate_sys_error(errno);
    close(fd);
    if (!err)
        port->blocked = false;
    watch(port);
    return err;
}

int fwi_udp_port_local(const fwi_udp_port *port, fwi_udp_address *ret_address)
{
    socklen_t len = sizeof *ret_address;
    return getsockname(port->fd, &ret_address->any, &len) ? uv_translate_sys_error(errno) : FW_OK;
}
