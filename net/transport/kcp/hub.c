/* A socket with its sessions. */
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/kcp/segment.h"
#include "transport/kcp/session.h"

static void run_turn(fwi_kcp_hub *hub)
{
    fwi_list now;
    fwi_list_init(&now);
    fwi_list_splice(&now, &hub->touched);
    for (fwi_list *node; (node = fwi_list_pop(&now));) {
        fwi_kcp_conn *conn = fwi_container_of(node, fwi_kcp_conn, node);
        fwi_kcp_conn_deliver(conn); /* reading may have been started again */
        if (!conn->leaving)
            fwi_kcp_conn_run(conn);
    }
}

static void on_turn(fwi_task *task, void *arg)
{
    (void)task;
    fwi_kcp_hub *hub = arg;
    run_turn(hub);
    fwi_udp_port_flush(hub->port); /* it may be closing, but is not gone before a later turn */
}

/* ---- plain sessions ---- */

static void plain_key(const fwi_udp_address *from, uint32_t conv, fwi_kcp_key *ret_key)
{
    fwi_udp_address_key(from, ret_key->bytes);
    fwi_put_u32le(ret_key->bytes + FWI_UDP_KEY_BYTES, conv);
    ret_key->len = FWI_UDP_KEY_BYTES + 4;
}

static uint64_t hash_of(const fwi_kcp_key *key)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key->len; i++)
        hash = (hash ^ key->bytes[i]) * 1099511628211u;
    return hash;
}

/* A late datagram must not begin a conversation anew that is over. */
static bool is_over(const fwi_kcp_hub *hub, const fwi_kcp_key *key)
{
    uint64_t hash = hash_of(key);
    for (size_t i = 0; i < FWI_KCP_CLOSED_KEYS; i++)
        if (hub->closed[i] == hash)
            return true;
    return false;
}

/* What the first datagram of a peer may be that has heard nothing from us: data of the first
 * window, all of it sound. */
static bool may_begin(const fwi_kcp_hub *hub, uint32_t conv, const uint8_t *data, size_t len)
{
    while (len >= FWI_KCP_HEADER_BYTES) {
        fwi_kcp_header header;
        fwi_kcp_header_get(data, &header);
        if (header.conv != conv || header.cmd != FWI_KCP_PUSH || header.una ||
            header.sn >= hub->options.engine.receive_window ||
            header.len > len - FWI_KCP_HEADER_BYTES)
            return false;
        data += FWI_KCP_HEADER_BYTES + header.len;
        len -= FWI_KCP_HEADER_BYTES + header.len;
    }
    return !len;
}

static void plain_input(fwi_kcp_hub *hub, const fwi_udp_address *from, const uint8_t *data,
                        size_t len)
{
    if (len < FWI_KCP_HEADER_BYTES)
        return;
    uint32_t conv = fwi_get_u32le(data);
    fwi_kcp_key key;
    plain_key(from, conv, &key);
    fwi_kcp_conn *conn = fwi_map_get(&hub->sessions, key.bytes, key.len);
    if (!conn) {
        if (!may_begin(hub, conv, data, len) || is_over(hub, &key) ||
            !fwi_udp_guard_admit(&hub->guard, from, fw_loop_now_ms(hub->loop)))
            return;
        conn = fwi_kcp_hub_add(hub, from, &key);
        if (!conn)
            return;
        fwi_kcp_conn_start(conn, conv);
        conn->is_known = true;
        fwi_listener_accepted(&hub->listener->base, &conn->base);
    }
    if (!conn->leaving)
        fwi_kcp_conn_input(conn, data, len);
}

/* ---- events of the port ---- */

static void on_received(void *arg, const fwi_udp_address *from, uint8_t *data, size_t len)
{
    fwi_kcp_hub *hub = arg;
    if (hub->dialled && hub->options.secure)
        fwi_kcp_guarded_dialled_input(hub->dialled, data, len);
    else if (hub->dialled)
        fwi_kcp_conn_input(hub->dialled, data, len);
    else if (hub->options.secure)
        fwi_kcp_guarded_listener_input(hub, from, data, len);
    else
        plain_input(hub, from, data, len);
}

/* The application gets its data when the whole batch is in the engines, since the buffer that the
 * batch stands in serves for that, too. The turn is deferred again, so that it comes after the
 * flushes of what the application answers: acks and answers then share datagrams. */
static void on_round(void *arg)
{
    fwi_kcp_hub *hub = arg;
    fwi_list now;
    fwi_list_init(&now);
    fwi_list_splice(&now, &hub->touched);
    for (fwi_list *node; (node = fwi_list_pop(&now));) {
        fwi_kcp_conn *conn = fwi_container_of(node, fwi_kcp_conn, node);
        fwi_kcp_conn_deliver(conn);
        fwi_kcp_conn_touch(conn);
    }
    if (!fwi_list_empty(&hub->touched)) {
        fwi_loop_defer_cancel(hub->loop, &hub->turn);
        fwi_loop_defer(hub->loop, &hub->turn);
    }
}

static void on_failed(void *arg, int error)
{
    fwi_kcp_hub *hub = arg;
    fwi_kcp_conn *conn = hub->dialled;
    if (!conn)
        return;
    /* Who may move to another socket outlives the way of this one. */
    bool may_roam = conn->guarded && conn->guarded->has_keys && error != UV_ECONNREFUSED;
    if (!may_roam)
        fwi_kcp_conn_break(conn, error);
}

static void on_gone(void *arg)
{
    fwi_kcp_hub_free(arg);
}

static const fwi_udp_port_events port_events = {
    .received = on_received,
    .round = on_round,
    .failed = on_failed,
    .gone = on_gone,
};

/* ---- sessions come and go ---- */

fwi_kcp_conn *fwi_kcp_hub_add(fwi_kcp_hub *hub, const fwi_udp_address *from, const fwi_kcp_key *key)
{
    if (!hub->listener || hub->sessions.count >= hub->options.sessions)
        return NULL;
    if (hub->half_open_count >= hub->options.half_open) {
        /* An authenticated one has shown its address, and comes again: those before it go on. A
         * plain one may be forged: the oldest has had the most time to show that it is real. */
        if (hub->options.secure)
            return NULL;
        fwi_kcp_conn_break(fwi_container_of(hub->half_open.next, fwi_kcp_conn, half_node),
                           FW_ELIMIT);
    }
    fwi_kcp_conn *conn = fwi_kcp_conn_new(hub, hub->listener->base.options.messages);
    if (!conn)
        return NULL;
    if (fwi_map_put(&hub->sessions, key->bytes, key->len, conn, NULL)) {
        fwi_kcp_conn_discard(conn);
        return NULL;
    }
    conn->key = *key;
    conn->address = *from;
    conn->is_half_open = true;
    fwi_list_push_back(&hub->half_open, &conn->half_node);
    hub->half_open_count++;
    fwi_udp_port_acquire(hub->port);
    return conn;
}

void fwi_kcp_hub_confirm(fwi_kcp_hub *hub, fwi_kcp_conn *conn)
{
    if (!conn->is_half_open)
        return;
    conn->is_half_open = false;
    fwi_list_remove(&conn->half_node);
    hub->half_open_count--;
}

void fwi_kcp_hub_remove(fwi_kcp_hub *hub, fwi_kcp_conn *conn)
{
    fwi_list_remove(&conn->node);
    fwi_kcp_hub_confirm(hub, conn);
    if (hub->dialled) {
        hub->dialled = NULL;
        return;
    }
    fwi_map_remove(&hub->sessions, conn->key.bytes, conn->key.len);
    if (conn->guarded) {
        fwi_map_remove(&hub->attempts, conn->guarded->name, sizeof conn->guarded->name);
        return;
    }
    hub->closed[hub->closed_next] = hash_of(&conn->key);
    hub->closed_next = (hub->closed_next + 1) % FWI_KCP_CLOSED_KEYS;
}

void fwi_kcp_hub_close_strangers(fwi_kcp_hub *hub)
{
    fwi_list_for_each_safe (node, &hub->half_open) {
        fwi_kcp_conn *conn = fwi_container_of(node, fwi_kcp_conn, half_node);
        if (!conn->is_known)
            fwi_kcp_conn_break(conn, FW_ECANCELED);
    }
}

int fwi_kcp_hub_new(fw_loop *loop, const fwi_kcp_options *options, fwi_kcp_hub **ret_hub)
{
    fwi_kcp_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return UV_ENOMEM;
    hub->loop = loop;
    hub->options = *options;
    hub->turn = (fwi_task){.fn = on_turn, .arg = hub};
    fwi_list_init(&hub->half_open);
    fwi_list_init(&hub->touched);
    fwi_udp_guard_init(&hub->guard, options->rate);
    *ret_hub = hub;
    return FW_OK;
}

int fwi_kcp_hub_open(fwi_kcp_hub *hub, const fwi_udp_address *address, bool connected)
{
    return fwi_udp_port_new(hub->loop, address, connected, FWI_KCP_MTU_MAX, &port_events, hub,
                            &hub->port);
}

void fwi_kcp_hub_free(fwi_kcp_hub *hub)
{
    fwi_loop_defer_cancel(hub->loop, &hub->turn);
    fwi_map_fini(&hub->sessions);
    fwi_map_fini(&hub->attempts);
    fwi_udp_guard_fini(&hub->guard);
    fwi_kcps_wipe(&hub->options.secrets, sizeof hub->options.secrets);
    free(hub);
}
