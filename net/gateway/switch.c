/*
 * Virtual connections: who is joined with whom. Data frames go from one end to the other as they
 * are, header included; the way of one is an index into the table of ids, a check of the sender,
 * and a copy to the end of the other side's outgoing queue, which the loop flushes when the turn is
 * over.
 *
 * Order: everything for one peer passes through its one queue, and both ends of a new virtual
 * connection are told in the turn of the dial, before a byte of either side's next read is looked
 * at. So Connect comes before any data, and Accept too, whoever dialled.
 */
#include "gateway/engine.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"

static fwi_gw_side other(fwi_gw_side side)
{
    return side == FWI_GW_CLIENT ? FWI_GW_SERVER : FWI_GW_CLIENT;
}

static void unlink_vconn(fwi_gw_vconn *vconn)
{
    fw_gateway *gateway = vconn->end[0]->gateway;
    fwi_id_table_remove(&gateway->vconns, vconn->id);
    gateway->stats.vconns--;
    for (int side = 0; side < 2; side++) {
        fwi_list_remove(&vconn->node[side]);
        vconn->end[side]->vconn_count--;
    }
    fwi_gateway_check_drained(gateway);
}

/* Takes it away and tells both ends, client first, the one who closed included: endpoints of the
 * original wait for that. */
static void close_vconn(fwi_gw_vconn *vconn)
{
    unlink_vconn(vconn);
    fwi_gw_peer_command(vconn->end[FWI_GW_CLIENT], FWI_GW_CLOSE, vconn->id, 0);
    fwi_gw_peer_command(vconn->end[FWI_GW_SERVER], FWI_GW_CLOSE, vconn->id, 0);
    free(vconn);
}

void fwi_gw_switch_forget(fwi_gw_peer *peer)
{
    fwi_gw_side side = peer->side;
    for (fwi_list *node; (node = peer->vconns.next) != &peer->vconns;) {
        fwi_gw_vconn *vconn =
            (fwi_gw_vconn *)((char *)node - offsetof(fwi_gw_vconn, node) - side * sizeof *node);
        unlink_vconn(vconn);
        fwi_gw_peer_command(vconn->end[other(side)], FWI_GW_CLOSE, vconn->id, 0);
        free(vconn);
    }
}

static fwi_gw_peer *find_remote(fwi_gw_peer *from, uint32_t remote_id)
{
    fw_gateway *gateway = from->gateway;
    fwi_gw_peer *found = from->side == FWI_GW_CLIENT
                             ? fwi_id_map_get(&gateway->servers, remote_id)
                             : fwi_id_table_find(&gateway->clients, remote_id);
    while (found && found->ended) /* its end is under way; who had the id before takes over now */
        found = found->server ? found->server->shadowed : NULL;
    return found;
}

static int join(fwi_gw_peer *from, fwi_gw_peer *to, fwi_gw_vconn **ret_vconn)
{
    fw_gateway *gateway = from->gateway;
    fwi_gw_vconn *vconn = malloc(sizeof *vconn);
    if (!vconn)
        return UV_ENOMEM;
    uint64_t id;
    int err = fwi_id_table_add(&gateway->vconns, vconn, &id);
    uint32_t limit = gateway->options.client_max_conn;
    if (!err && from->side == FWI_GW_CLIENT && limit && from->vconn_count >= limit) {
        /* The number is spent even so, as with the original. */
        fwi_id_table_remove(&gateway->vconns, id);
        err = FW_ELIMIT;
    }
    if (err) {
        free(vconn);
        return err;
    }
    vconn->id = (uint32_t)id;
    vconn->end[from->side] = from;
    vconn->end[to->side] = to;
    for (int side = 0; side < 2; side++) {
        fwi_list_push_back(&vconn->end[side]->vconns, &vconn->node[side]);
        vconn->end[side]->vconn_count++;
    }
    gateway->stats.vconns++;
    gateway->stats.vconns_total++;
    *ret_vconn = vconn;
    return FW_OK;
}

/* A dial takes its share of a second; who is more than a second ahead dials too fast. Times wrap
 * after 18 hours, so one that lies further off than that second is an old one. */
static bool is_hasty(fwi_gw_peer *from)
{
    enum { TICKS_PER_MS = 64, SECOND = 1000 * TICKS_PER_MS };
    uint32_t most = from->gateway->options.client_dials_per_s;
    if (from->side != FWI_GW_CLIENT || !most || most > SECOND)
        return false;
    uint32_t now = (uint32_t)(fw_loop_now_ms(from->gateway->loop) * TICKS_PER_MS);
    uint32_t ahead = from->dial_time - now;
    if (ahead > SECOND)
        ahead = 0;
    ahead += SECOND / most;
    if (ahead > SECOND)
        return true;
    from->dial_time = now + ahead;
    return false;
}

static void dial(fwi_gw_peer *from, uint32_t remote_id)
{
    fwi_gw_vconn *vconn;
    bool hasty = is_hasty(from);
    from->gateway->stats.hasty_dials += hasty;
    fwi_gw_peer *to = hasty || from->gateway->draining ? NULL : find_remote(from, remote_id);
    if (!to || join(from, to, &vconn)) {
        from->gateway->stats.refused_dials++;
        fwi_gw_peer_command(from, FWI_GW_REFUSE, 0, remote_id);
        return;
    }
    fwi_gw_peer_command(to, FWI_GW_CONNECT, vconn->id, from->id);
    fwi_gw_peer_command(from, FWI_GW_ACCEPT, vconn->id, to->id);
}

/* Closes only what is one's own. Others' are left alone without a word: ids are easy to guess, and
 * an honest endpoint may be late with the Close of one that is gone. */
static void close_by(fwi_gw_peer *from, uint32_t id)
{
    fwi_gw_vconn *vconn = fwi_id_table_find(&from->gateway->vconns, id);
    if (!vconn)
        return;
    if (vconn->end[from->side] == from)
        close_vconn(vconn);
    else
        from->gateway->stats.foreign_closes++;
}

static void run_command(fwi_gw_peer *from, const uint8_t *frame, size_t len)
{
    fwi_gw_command command;
    int err = fwi_gw_command_decode(frame, len, &command);
    if (err) {
        fwi_gw_peer_end(from, err);
        return;
    }
    switch (command.type) {
    case FWI_GW_DIAL:
        dial(from, command.remote_id);
        break;
    case FWI_GW_CLOSE:
        close_by(from, command.conn_id);
        break;
    case FWI_GW_PING:
        from->gateway->stats.pings++;
        fwi_gw_peer_command(from, FWI_GW_PING, 0, 0);
        break;
    default: /* what only a gateway says */
        fwi_gw_peer_end(from, FW_EPROTOCOL);
    }
}

static void drop_slow(fwi_gw_vconn *vconn, fwi_gw_peer *to, size_t queued)
{
    to->gateway->stats.slow_vconns++;
    fwi_log(FW_LOG_WARN, "gateway", "virtual connection closed: consumer too slow",
            FWI_TEXT("peer", fw_conn_peer(to->conn)),
            FWI_TEXT("side", to->side == FWI_GW_CLIENT ? "client" : "server"),
            FWI_NUMBER("id", to->id), FWI_NUMBER("vconn", vconn->id),
            FWI_NUMBER("queued_bytes", queued));
    close_vconn(vconn);
}

static void forward(fwi_gw_peer *from, uint32_t id, const uint8_t *frame, size_t len)
{
    fw_gateway *gateway = from->gateway;
    fwi_gw_vconn *vconn = fwi_id_table_find(&gateway->vconns, id);
    if (!vconn) {
        gateway->stats.unknown_vconns++;
        fwi_gw_peer_command(from, FWI_GW_CLOSE, id, 0);
        return;
    }
    if (vconn->end[from->side] != from) {
        fwi_gw_peer_end(from, FW_EPROTOCOL);
        return;
    }
    fwi_gw_peer *to = vconn->end[other(from->side)];
    size_t queued = fw_conn_queued_bytes(to->conn);
    if (queued + len > gateway->queue_bytes[to->side]) {
        drop_slow(vconn, to, queued);
        return;
    }
    uint8_t *room = fw_conn_reserve(to->conn, len);
    if (!room) {
        fwi_gw_peer_end(to, UV_ENOMEM); /* or it is closing already, and we shall hear of it */
        return;
    }
    memcpy(room, frame, len);
    if (from->side == FWI_GW_CLIENT) {
        gateway->stats.frames_from_clients++;
        gateway->stats.bytes_from_clients += len;
    } else {
        gateway->stats.frames_from_servers++;
        gateway->stats.bytes_from_servers += len;
    }
}

void fwi_gw_switch_frame(fwi_gw_peer *from, const uint8_t *frame, size_t len)
{
    if (len < FWI_GW_HEADER_BYTES) {
        fwi_gw_peer_end(from, FW_EPROTOCOL);
        return;
    }
    uint32_t id = fwi_gw_frame_id(frame);
    if (id)
        forward(from, id, frame, len);
    else
        run_command(from, frame, len);
}
