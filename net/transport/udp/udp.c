/*
 * udp://host:port: datagrams as they are, each one a message; lost, doubled and out of order as the
 * network has it. README.md has the parameters.
 *
 * A listener has one socket; whoever sends to it from a new address opens a session, and so many
 * milliseconds of silence (idle) end it: there is no other sign. A dialled connection has a socket
 * of its own, connected.
 */
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "transport/transport.h"
#include "transport/udp/guard.h"
#include "transport/udp/port.h"

#define IDLE_MS        60000
#define SESSIONS       10000
#define RATE           500 /* new sessions a second from one host */
#define DATAGRAM_BYTES FWI_UDP_PAYLOAD_MAX
#define RATE_MAX       1000000
#define SESSIONS_MAX   10000000
#define DAY_MS         86400000

typedef struct udp_options {
    uint32_t idle_ms, sessions, rate, packet_rate;
} udp_options;

typedef struct udp_conn udp_conn;

/* A socket and what stands on it: the sessions of a listener, or one dialled connection. */
typedef struct udp_hub {
    fw_loop *loop;
    fwi_udp_port *port;
    struct udp_listener *listener; /* NULL: dialled, or it is closed */
    udp_conn *dialled;
    udp_options options;
    fwi_udp_guard guard;
    fwi_map sessions; /* by address */
} udp_hub;

typedef struct udp_listener {
    fw_listener base;
    udp_hub *hub;
    fwi_task gone;
} udp_listener;

struct udp_conn {
    fw_conn base;
    udp_hub *hub; /* NULL: dialled, and its name is being looked up */
    fwi_udp_address address;
    fwi_udp_lookup *lookup;
    udp_options options;
    uint64_t heard_ms;
    uint32_t allowance, allowance_ms; /* of packet_rate: thousandths of a datagram used, when */
    fwi_timer idle;
    fwi_task settle; /* the dial's outcome, or the end of closing */
    int early_error;
    bool last_look; /* the idle time is over, but what has come is still to be read */
};

static udp_conn *udp_of(fw_conn *conn)
{
    return fwi_container_of(conn, udp_conn, base);
}

/* ---- a session ---- */

static void on_idle(fwi_timer *timer, void *arg)
{
    (void)timer;
    udp_conn *conn = arg;
    uint64_t silent = fw_loop_now_ms(conn->base.loop) - conn->heard_ms;
    if (silent >= conn->options.idle_ms && conn->last_look) {
        fwi_conn_failed(&conn->base, FW_EIDLE);
        return;
    }
    /* After a pause of this program its datagrams wait to be read: they have one more turn. */
    conn->last_look = silent >= conn->options.idle_ms;
    fwi_loop_timer_start(conn->base.loop, &conn->idle,
                         conn->last_look ? 1 : conn->options.idle_ms - silent);
}

static udp_conn *conn_new(fw_loop *loop, const udp_options *options);

static void start_idle(udp_conn *conn)
{
    conn->heard_ms = fw_loop_now_ms(conn->base.loop);
    if (conn->options.idle_ms)
        fwi_loop_timer_start(conn->base.loop, &conn->idle, conn->options.idle_ms);
}

/* Whether packet_rate lets this datagram in. */
static bool within_rate(udp_conn *conn, uint64_t now_ms)
{
    uint32_t rate = conn->options.packet_rate;
    if (!rate)
        return true;
    uint64_t passed = (uint64_t)((uint32_t)now_ms - conn->allowance_ms) * rate;
    uint64_t used = conn->allowance > passed ? conn->allowance - passed : 0;
    if (used + 1000 > (uint64_t)rate * 1000) /* a burst of one second's worth */
        return false;
    conn->allowance = (uint32_t)used + 1000;
    conn->allowance_ms = (uint32_t)now_ms;
    return true;
}

static void take(udp_conn *conn, const uint8_t *data, size_t len)
{
    uint64_t now_ms = fw_loop_now_ms(conn->base.loop);
    conn->heard_ms = now_ms;
    /* While reading is stopped they are lost, as everything may be here. */
    if (!fwi_conn_wants_data(&conn->base) || !within_rate(conn, now_ms))
        return;
    if (len > conn->base.max_message_bytes)
        fwi_conn_failed(&conn->base, FW_EFRAMESIZE);
    else
        fwi_conn_received(&conn->base, data, len);
}

static udp_conn *accept_session(udp_hub *hub, const fwi_udp_address *from,
                                const uint8_t key[FWI_UDP_KEY_BYTES])
{
    if (!hub->listener || hub->sessions.count >= hub->options.sessions ||
        !fwi_udp_guard_admit(&hub->guard, from, fw_loop_now_ms(hub->loop)))
        return NULL;
    udp_conn *conn = conn_new(hub->loop, &hub->options);
    if (!conn)
        return NULL;
    if (fwi_map_put(&hub->sessions, key, FWI_UDP_KEY_BYTES, conn, NULL)) {
        free(conn);
        fwi_loop_release(hub->loop);
        return NULL;
    }
    conn->hub = hub;
    conn->address = *from;
    fwi_udp_port_acquire(hub->port);
    start_idle(conn);
    fwi_listener_accepted(&hub->listener->base, &conn->base);
    return conn;
}

static void on_received(void *arg, const fwi_udp_address *from, uint8_t *data, size_t len)
{
    udp_hub *hub = arg;
    if (hub->dialled) {
        take(hub->dialled, data, len);
        return;
    }
    uint8_t key[FWI_UDP_KEY_BYTES];
    fwi_udp_address_key(from, key);
    udp_conn *conn = fwi_map_get(&hub->sessions, key, sizeof key);
    if (!conn)
        conn = accept_session(hub, from, key);
    if (conn)
        take(conn, data, len);
}

static void on_writable(void *arg)
{
    udp_hub *hub = arg;
    if (hub->dialled) {
        fwi_conn_writable(&hub->dialled->base);
        return;
    }
    /* A flush may close sessions, so those that wait are looked for again each time. */
    bool found = true;
    while (found) {
        found = false;
        size_t position = 0;
        for (fwi_map_entry *entry; (entry = fwi_map_next(&hub->sessions, &position));) {
            udp_conn *conn = entry->value;
            if (!conn->base.blocked)
                continue;
            fwi_conn_writable(&conn->base);
            found = !conn->base.blocked;
            break;
        }
    }
}

static void on_failed(void *arg, int error)
{
    udp_hub *hub = arg;
    if (hub->dialled)
        fwi_conn_failed(&hub->dialled->base, error);
}

static void on_hub_gone(void *arg)
{
    udp_hub *hub = arg;
    fwi_map_fini(&hub->sessions);
    fwi_udp_guard_fini(&hub->guard);
    free(hub);
}

static const fwi_udp_port_events port_events = {
    .received = on_received,
    .writable = on_writable,
    .failed = on_failed,
    .gone = on_hub_gone,
};

static int hub_new(fw_loop *loop, const fwi_udp_address *address, bool connected,
                   const udp_options *options, udp_hub **ret_hub)
{
    udp_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return UV_ENOMEM;
    hub->loop = loop;
    hub->options = *options;
    fwi_udp_guard_init(&hub->guard, options->rate);
    int err =
        fwi_udp_port_new(loop, address, connected, DATAGRAM_BYTES, &port_events, hub, &hub->port);
    if (err)
        free(hub);
    else
        *ret_hub = hub;
    return err;
}

/* ---- operations ---- */

static int send_datagram(fw_conn *base, const uint8_t *data, size_t len)
{
    udp_conn *conn = udp_of(base);
    uint8_t *room = fwi_udp_port_reserve(conn->hub->port, &conn->address, len);
    if (!room)
        return fwi_udp_port_is_blocked(conn->hub->port) ? UV_EAGAIN : UV_ENOMEM;
    memcpy(room, data, len);
    fwi_udp_port_commit(conn->hub->port, len);
    return FW_OK;
}

static int read_start(fw_conn *base)
{
    udp_conn *conn = udp_of(base);
    if (conn->hub->dialled)
        fwi_udp_port_read(conn->hub->port, true);
    return FW_OK;
}

static void read_stop(fw_conn *base)
{
    udp_conn *conn = udp_of(base);
    if (conn->hub->dialled)
        fwi_udp_port_read(conn->hub->port, false);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    udp_conn *conn = arg;
    fw_loop *loop = conn->base.loop;
    fwi_conn_gone(&conn->base);
    fwi_loop_release(loop);
}

static void close_udp(fw_conn *base)
{
    udp_conn *conn = udp_of(base);
    udp_hub *hub = conn->hub;
    fwi_loop_timer_stop(base->loop, &conn->idle);
    fwi_loop_defer_cancel(base->loop, &conn->settle);
    if (conn->lookup)
        fwi_udp_lookup_abandon(conn->lookup);
    conn->settle.fn = on_gone;
    if (!hub) {
        fwi_loop_defer(base->loop, &conn->settle);
        return;
    }
    uint8_t key[FWI_UDP_KEY_BYTES];
    fwi_udp_address_key(&conn->address, key);
    if (hub->dialled)
        hub->dialled = NULL;
    else
        fwi_map_remove(&hub->sessions, key, sizeof key);
    fwi_udp_port_release(hub->port, &conn->settle);
}

static void peer(fw_conn *base, char *ret_text, size_t size)
{
    fwi_udp_address_text(&udp_of(base)->address, "udp", ret_text, size);
}

static const fwi_conn_ops udp_ops = {
    .send = send_datagram,
    .read_start = read_start,
    .read_stop = read_stop,
    .close = close_udp,
    .peer = peer,
};

static udp_conn *conn_new(fw_loop *loop, const udp_options *options)
{
    udp_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->base.loop = loop;
    conn->base.ops = &udp_ops;
    conn->base.max_message_bytes = DATAGRAM_BYTES;
    conn->options = *options;
    conn->idle = (fwi_timer){.fn = on_idle, .arg = conn};
    conn->settle = (fwi_task){.arg = conn};
    fwi_loop_hold(loop);
    return conn;
}

/* ---- dialling ---- */

static void on_settle(fwi_task *task, void *arg)
{
    (void)task;
    udp_conn *conn = arg;
    if (conn->early_error) {
        fwi_conn_failed(&conn->base, conn->early_error);
        return;
    }
    start_idle(conn);
    fwi_conn_opened(&conn->base);
}

static void connect_to(udp_conn *conn, const fwi_udp_address *address)
{
    conn->address = *address;
    conn->early_error = hub_new(conn->base.loop, address, true, &conn->options, &conn->hub);
    if (!conn->early_error)
        conn->hub->dialled = conn;
    fwi_loop_defer(conn->base.loop, &conn->settle);
}

static void on_resolved(int status, const fwi_udp_address *address, void *arg)
{
    udp_conn *conn = arg;
    conn->lookup = NULL;
    if (status)
        fwi_conn_failed(&conn->base, status);
    else
        connect_to(conn, address);
}

static int dial(fw_loop *loop, const fw_url *url, const fw_conn_options *unused, fw_conn **ret_conn)
{
    (void)unused;
    udp_options options = {.sessions = 1};
    fwi_udp_address address;
    int err = fwi_udp_url_check_dial(url);
    if (!err)
        err = fwi_transport_check_params(url, (const char *const[]){"idle", NULL});
    if (!err)
        err = fwi_udp_param(url, "idle", 0, DAY_MS, 0, &options.idle_ms);
    if (err)
        return err;
    udp_conn *conn = conn_new(loop, &options);
    if (!conn)
        return UV_ENOMEM;
    conn->settle.fn = on_settle;
    if (fwi_udp_address_parse(&url->hosts[0], &address))
        connect_to(conn, &address);
    else
        err = fwi_udp_lookup_start(fw_loop_uv(loop), &url->hosts[0], on_resolved, conn,
                                   &conn->lookup);
    if (err) {
        conn->early_error = err;
        fwi_loop_defer(loop, &conn->settle);
    }
    *ret_conn = &conn->base;
    return FW_OK;
}

/* ---- listening ---- */

static void on_listener_gone(fwi_task *task, void *arg)
{
    (void)task;
    udp_listener *listener = arg;
    fw_loop *loop = listener->base.loop;
    fwi_listener_gone(&listener->base);
    fwi_loop_release(loop);
}

static void close_listener(fw_listener *base)
{
    udp_listener *listener = fwi_container_of(base, udp_listener, base);
    listener->hub->listener = NULL;
    fwi_udp_port_release(listener->hub->port, &listener->gone);
}

static const fwi_listener_ops listener_ops = {.close = close_listener};

static int read_params(const fw_url *url, udp_options *ret_options)
{
    static const char *const known[] = {"idle", "sessions", "rate", "packet_rate", NULL};
    int err = fwi_transport_check_params(url, known);
    if (!err)
        err = fwi_udp_param(url, "idle", 1, DAY_MS, IDLE_MS, &ret_options->idle_ms);
    if (!err)
        err = fwi_udp_param(url, "sessions", 1, SESSIONS_MAX, SESSIONS, &ret_options->sessions);
    if (!err)
        err = fwi_udp_param(url, "rate", 0, RATE_MAX, RATE, &ret_options->rate);
    if (!err)
        err = fwi_udp_param(url, "packet_rate", 0, RATE_MAX, 0, &ret_options->packet_rate);
    return err;
}

static int listen_udp(fw_loop *loop, const fw_url *url, const fw_listener_options *unused,
                      fw_listener **ret_listener)
{
    (void)unused;
    fwi_udp_address address;
    udp_options options = {.sessions = 0};
    int err = fwi_udp_address_local(url, &address);
    if (!err)
        err = read_params(url, &options);
    if (err)
        return err;
    enum { URL_BYTES = 80 };
    udp_listener *listener = calloc(1, sizeof *listener);
    char *text = calloc(1, URL_BYTES);
    err = listener && text ? hub_new(loop, &address, false, &options, &listener->hub) : UV_ENOMEM;
    if (err) {
        free(text);
        free(listener);
        return err;
    }
    listener->base.loop = loop;
    listener->base.ops = &listener_ops;
    listener->gone = (fwi_task){.fn = on_listener_gone, .arg = listener};
    listener->hub->listener = listener;
    fwi_loop_hold(loop);
    listener->base.url = text;
    if (!fwi_udp_port_local(listener->hub->port, &address))
        fwi_udp_address_text(&address, "udp", text, URL_BYTES);
    fwi_udp_port_read(listener->hub->port, true);
    *ret_listener = &listener->base;
    return FW_OK;
}

const fwi_transport fwi_transport_udp = {
    .scheme = "udp",
    .abilities = FW_TRANSPORT_MESSAGES,
    .dial = dial,
    .listen = listen_udp,
};
