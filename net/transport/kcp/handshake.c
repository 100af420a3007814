/* The authenticated mode on the hub: who shakes hands with whom, and what is sent again. */
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"
#include "transport/kcp/session.h"

#define RETRY_FIRST_MS 250
#define RETRY_MOST_MS  2000
#define ROAM_MS        2000 /* without an answer to data */
#define HALF_OPEN_MS   5000
#define REFUSED_MOST   3 /* answers without the secrets, until a dial gives up */

int fwi_kcp_guard_new(fwi_kcp_conn *conn)
{
    conn->guarded = calloc(1, sizeof *conn->guarded);
    return conn->guarded ? FW_OK : UV_ENOMEM;
}

void fwi_kcp_guarded_fini(fwi_kcp_conn *conn)
{
    if (!conn->guarded)
        return;
    fwi_kcps_wipe(conn->guarded, sizeof *conn->guarded);
    free(conn->guarded);
    conn->guarded = NULL;
}

/* A datagram of the handshake, as it is. */
static void send_plain(fwi_kcp_hub *hub, const fwi_udp_address *to, const uint8_t *data, size_t len)
{
    uint8_t *room = fwi_udp_port_reserve(hub->port, to, len);
    if (!room)
        return;
    memcpy(room, data, len);
    fwi_udp_port_commit(hub->port, len);
}

/* ---- what is sealed ---- */

static void take_sealed(fwi_kcp_conn *conn, uint8_t kind, const uint8_t *data, size_t len)
{
    conn->heard_ms = fw_loop_now_ms(conn->base.loop);
    conn->guarded->confirmed = true;
    switch (kind) {
    case FWI_KCPS_KCP:
        fwi_kcp_conn_input(conn, data, len);
        break;
    case FWI_KCPS_CONFIRM:
        if (!conn->hub->dialled)
            fwi_kcp_conn_emit(conn, FWI_KCPS_CONFIRMED, NULL, 0);
        break;
    case FWI_KCPS_CLOSE:
        conn->peer_closed = true;
        if (conn->lingering) /* nobody is there for what is left */
            fwi_kcp_conn_break(conn, UV_EOF);
        else
            fwi_kcp_conn_touch(conn);
        break;
    default: /* CONFIRMED, and what a later version may have: its coming was all */
        break;
    }
}

/* ---- dialled ---- */

static void back_off(fwi_kcp_guarded *guarded, uint64_t now_ms)
{
    guarded->retry_ms = guarded->retry_ms ? guarded->retry_ms * 2 : RETRY_FIRST_MS;
    if (guarded->retry_ms > RETRY_MOST_MS)
        guarded->retry_ms = RETRY_MOST_MS;
    guarded->retry_at = now_ms + guarded->retry_ms;
}

static void send_hello(fwi_kcp_conn *conn, uint64_t now_ms)
{
    fwi_kcp_guarded *guarded = conn->guarded;
    send_plain(conn->hub, &conn->address, guarded->client.hello, sizeof guarded->client.hello);
    back_off(guarded, now_ms);
}

static void take_accept(fwi_kcp_conn *conn, const uint8_t *data, size_t len)
{
    fwi_kcp_guarded *guarded = conn->guarded;
    int err = fwi_kcps_client_accept(&guarded->client, data, len, &guarded->keys);
    if (err == FW_EAUTH && ++guarded->refused >= REFUSED_MOST)
        fwi_kcp_conn_break(conn, FW_EAUTH); /* not by the first, which anybody may have sent */
    if (err)
        return;
    fwi_kcps_wipe(&guarded->client, sizeof guarded->client);
    guarded->has_keys = true;
    guarded->retry_ms = 0;
    guarded->retry_at = 0;
    fwi_kcp_conn_start(conn, (uint32_t)guarded->keys.id);
    conn->is_known = true;
    fwi_conn_opened(&conn->base);
}

void fwi_kcp_guarded_dialled_input(fwi_kcp_conn *conn, uint8_t *data, size_t len)
{
    fwi_kcp_guarded *guarded = conn->guarded;
    uint8_t kind, *inner;
    size_t inner_len;
    bool newest;
    if (guarded->has_keys) {
        if (!fwi_kcps_open(&guarded->keys, data, len, &kind, &inner, &inner_len, &newest))
            take_sealed(conn, kind, inner, inner_len);
    } else if (fwi_kcps_client_retry(&guarded->client, data, len)) {
        guarded->retry_ms = 0;
        send_hello(conn, fw_loop_now_ms(conn->base.loop));
        fwi_kcp_conn_touch(conn);
    } else {
        take_accept(conn, data, len);
    }
}

uint64_t fwi_kcp_guarded_retry(fwi_kcp_conn *conn, uint64_t now_ms)
{
    fwi_kcp_guarded *guarded = conn->guarded;
    if (!conn->hub->dialled) {
        if (conn->is_known)
            return UINT64_MAX;
        if (now_ms >= conn->born_ms + HALF_OPEN_MS) {
            fwi_kcp_conn_break(conn, FW_EDEADLINE);
            return UINT64_MAX;
        }
        return conn->born_ms + HALF_OPEN_MS - now_ms;
    }
    if (guarded->confirmed)
        return UINT64_MAX;
    if (now_ms < guarded->retry_at)
        return guarded->retry_at - now_ms;
    if (!guarded->has_keys) {
        send_hello(conn, now_ms);
    } else {
        fwi_kcp_conn_emit(conn, FWI_KCPS_CONFIRM, NULL, 0);
        back_off(guarded, now_ms);
    }
    return guarded->retry_ms;
}

/* ---- roaming ---- */

void fwi_kcp_guarded_roam(fwi_kcp_conn *conn)
{
    conn->guarded->roamed_ms = fw_loop_now_ms(conn->base.loop);
    /* Without a way it is tried again, until the session is idle for too long. */
    if (!fwi_udp_port_reconnect(conn->hub->port, &conn->address))
        fwi_kcp_ask(&conn->engine);
}

uint64_t fwi_kcp_guarded_watch_way(fwi_kcp_conn *conn, uint64_t now_ms)
{
    fwi_kcp_guarded *guarded = conn->guarded;
    if (!conn->hub->dialled || !conn->engine.snd_buf_len) {
        guarded->waits_ms = 0;
        return UINT64_MAX;
    }
    if (!guarded->waits_ms)
        guarded->waits_ms = now_ms;
    uint64_t since = guarded->waits_ms;
    if (conn->heard_ms > since)
        since = conn->heard_ms;
    if (guarded->roamed_ms > since)
        since = guarded->roamed_ms;
    if (now_ms >= since + ROAM_MS) {
        fwi_kcp_guarded_roam(conn);
        return ROAM_MS;
    }
    return since + ROAM_MS - now_ms;
}

/* ---- accepted ---- */

static void key_of_id(uint64_t id, fwi_kcp_key *ret_key)
{
    fwi_put_u64le(ret_key->bytes, id);
    ret_key->len = sizeof id;
}

static bool make_id(const fwi_kcp_hub *hub, uint64_t *ret_id, fwi_kcp_key *ret_key)
{
    do {
        if (fwi_random_secret(ret_id, sizeof *ret_id))
            return false;
        key_of_id(*ret_id, ret_key);
    } while (fwi_map_get(&hub->sessions, ret_key->bytes, ret_key->len));
    return true;
}

/* A HELLO with a cookie: its sender is where it says it is. */
static void welcome(fwi_kcp_hub *hub, const fwi_udp_address *from, const uint8_t *hello)
{
    const uint8_t *name = hello + FWI_KCPS_HELLO_NAME;
    fwi_kcp_conn *conn = fwi_map_get(&hub->attempts, name, FWI_KCPS_HELLO_NAME_BYTES);
    if (conn) {
        if (!conn->is_known) /* our ACCEPT was lost */
            send_plain(hub, from, conn->guarded->accept, FWI_KCPS_ACCEPT_BYTES);
        return;
    }
    uint64_t id;
    fwi_kcp_key key;
    if (!fwi_udp_guard_admit(&hub->guard, from, fw_loop_now_ms(hub->loop)) ||
        !make_id(hub, &id, &key))
        return;
    conn = fwi_kcp_hub_add(hub, from, &key);
    if (!conn)
        return;
    fwi_kcp_guarded *guarded = conn->guarded;
    memcpy(guarded->name, name, sizeof guarded->name);
    if (fwi_map_put(&hub->attempts, name, sizeof guarded->name, conn, NULL) ||
        fwi_kcps_server_accept(&hub->server, hello, id, &guarded->keys, guarded->accept)) {
        fwi_kcp_conn_break(conn, FW_EAUTH);
        return;
    }
    guarded->has_keys = true;
    fwi_kcp_conn_start(conn, (uint32_t)id);
    send_plain(hub, from, guarded->accept, sizeof guarded->accept);
}

static void take_hello(fwi_kcp_hub *hub, const fwi_udp_address *from, const uint8_t *data,
                       size_t len)
{
    uint8_t address[FWI_UDP_KEY_BYTES], reply[FWI_KCPS_RETRY_BYTES];
    fwi_udp_address_key(from, address);
    switch (fwi_kcps_server_hello(&hub->server, fw_loop_now_ms(hub->loop), address, sizeof address,
                                  data, len, reply)) {
    case FWI_KCPS_SEND:
        send_plain(hub, from, reply, sizeof reply);
        break;
    case FWI_KCPS_WELCOME:
        welcome(hub, from, data);
        break;
    case FWI_KCPS_DROP:
        break;
    }
}

void fwi_kcp_guarded_listener_input(fwi_kcp_hub *hub, const fwi_udp_address *from, uint8_t *data,
                                    size_t len)
{
    uint64_t id;
    if (!fwi_kcps_id(data, len, &id)) {
        if (hub->listener && len)
            take_hello(hub, from, data, len);
        return;
    }
    fwi_kcp_key key;
    key_of_id(id, &key);
    fwi_kcp_conn *conn = fwi_map_get(&hub->sessions, key.bytes, key.len);
    uint8_t kind, *inner;
    size_t inner_len;
    bool newest;
    if (!conn || fwi_kcps_open(&conn->guarded->keys, data, len, &kind, &inner, &inner_len, &newest))
        return;
    /* The peer has moved: what it sends comes from there now, and nothing newer from elsewhere. */
    if (newest && memcmp(&conn->address, from, fwi_udp_address_len(from)) != 0)
        conn->address = *from;
    if (!conn->is_known) {
        if (!hub->listener) {
            fwi_kcp_conn_break(conn, FW_ECANCELED);
            return;
        }
        fwi_kcp_hub_confirm(hub, conn);
        conn->is_known = true;
        fwi_listener_accepted(&hub->listener->base, &conn->base);
    }
    if (!conn->leaving)
        take_sealed(conn, kind, inner, inner_len);
}
