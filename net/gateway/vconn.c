/* Virtual connections of an endpoint; endpoint.h has the states. */
#include "gateway/endpoint.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef enum vconn_state { WAITING, ASKED, OPEN, FINISHED } vconn_state;

struct fw_vconn {
    fw_endpoint *endpoint;
    fwi_list node; /* in the list of its state */
    vconn_state state;
    bool dialled, open_told;
    uint32_t wire_id; /* while open */
    uint32_t remote_id;
    uint64_t id;
    int reason, open_status; /* when finished */
    fwi_dial *dial;          /* while asked */
    fwi_timer deadline;      /* of dialling */
    fw_vconn_events events;
    void *arg;
};

static fw_vconn *vconn_of(fwi_list *node)
{
    return fwi_container_of(node, fw_vconn, node);
}

static void put_in(fw_vconn *vconn, vconn_state state, fwi_list *list)
{
    fwi_list_remove(&vconn->node);
    fwi_list_push_back(list, &vconn->node);
    vconn->state = state;
}

static void finish(fw_vconn *vconn, int open_status, int reason)
{
    fw_endpoint *endpoint = vconn->endpoint;
    if (vconn->state == OPEN)
        fwi_id_map_remove(&endpoint->by_wire_id, vconn->wire_id);
    if (vconn->state == ASKED)
        vconn->dial->vconn = NULL;
    fwi_loop_timer_stop(endpoint->loop, &vconn->deadline);
    vconn->open_status = open_status;
    vconn->reason = reason;
    put_in(vconn, FINISHED, &endpoint->finished);
    endpoint->vconn_count--;
    fwi_loop_defer(endpoint->loop, &endpoint->deliver);
}

static void deliver(fwi_task *task, void *arg)
{
    (void)task;
    fw_endpoint *endpoint = arg;
    for (fwi_list *node; (node = fwi_list_pop(&endpoint->finished));) {
        fw_vconn *vconn = vconn_of(node);
        if (vconn->dialled && !vconn->open_told && vconn->events.on_open)
            vconn->events.on_open(vconn, vconn->open_status, vconn->arg);
        if (vconn->events.on_closed)
            vconn->events.on_closed(vconn, vconn->reason, vconn->arg);
        free(vconn);
    }
    fwi_endpoint_finish_if_empty(endpoint);
}

/* ---- dialling ---- */

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    finish(arg, FW_EDEADLINE, FW_EDEADLINE);
}

static fw_vconn *vconn_create(fw_endpoint *endpoint, uint32_t remote_id)
{
    fw_vconn *vconn = calloc(1, sizeof *vconn);
    if (!vconn)
        return NULL;
    vconn->endpoint = endpoint;
    vconn->id = ++endpoint->last_vconn_id;
    vconn->remote_id = remote_id;
    vconn->deadline = (fwi_timer){.fn = on_deadline, .arg = vconn};
    fwi_list_init(&vconn->node);
    endpoint->vconn_count++;
    return vconn;
}

static int send_dial(fw_vconn *vconn)
{
    fw_endpoint *endpoint = vconn->endpoint;
    fwi_dial *dial = malloc(sizeof *dial);
    if (!dial)
        return UV_ENOMEM;
    dial->vconn = vconn;
    dial->remote_id = vconn->remote_id;
    fwi_list_push_back(&endpoint->dials, &dial->node);
    endpoint->dial_count++;
    vconn->dial = dial;
    put_in(vconn, ASKED, &endpoint->asked);
    fwi_endpoint_command(endpoint, FWI_GW_DIAL, 0, vconn->remote_id);
    return FW_OK;
}

int fw_vconn_dial(fw_endpoint *endpoint, uint32_t remote_id, uint32_t timeout_ms,
                  const fw_vconn_events *events, void *arg, fw_vconn **ret_vconn)
{
    if (endpoint->closing ||
        (!endpoint->options.reconnect && endpoint->state == FWI_LINK_CLOSING) ||
        (!endpoint->options.reconnect && endpoint->state == FWI_LINK_DOWN))
        return FW_ECLOSED;
    /* Given up dials whose answers are still out count, too: a gateway that never answers must not
     * make us collect them. */
    if (endpoint->vconn_count >= endpoint->options.max_vconns ||
        endpoint->dial_count >= endpoint->options.max_vconns)
        return FW_ELIMIT;
    fw_vconn *vconn = vconn_create(endpoint, remote_id);
    if (!vconn)
        return UV_ENOMEM;
    vconn->dialled = true;
    vconn->events = *events;
    vconn->arg = arg;
    put_in(vconn, WAITING, &endpoint->waiting);
    int err = endpoint->state == FWI_LINK_USABLE ? send_dial(vconn) : FW_OK;
    if (err) {
        fwi_list_remove(&vconn->node);
        endpoint->vconn_count--;
        free(vconn);
        return err;
    }
    fwi_loop_timer_start(endpoint->loop, &vconn->deadline,
                         timeout_ms ? timeout_ms : endpoint->options.dial_timeout_ms);
    *ret_vconn = vconn;
    return FW_OK;
}

void fwi_vconns_link_usable(fw_endpoint *endpoint)
{
    while (!fwi_list_empty(&endpoint->waiting) && endpoint->state == FWI_LINK_USABLE) {
        fw_vconn *vconn = vconn_of(endpoint->waiting.next);
        int err = send_dial(vconn);
        if (err)
            finish(vconn, err, err);
    }
}

/* Takes the oldest Dial of that remote id out of those on the wire. */
static bool take_dial(fw_endpoint *endpoint, uint32_t remote_id, fw_vconn **ret_vconn)
{
    fwi_list_for_each (node, &endpoint->dials) {
        fwi_dial *dial = fwi_container_of(node, fwi_dial, node);
        if (dial->remote_id != remote_id)
            continue;
        *ret_vconn = dial->vconn;
        fwi_list_remove(node);
        endpoint->dial_count--;
        free(dial);
        return true;
    }
    return false;
}

static int make_open(fw_vconn *vconn, uint32_t wire_id)
{
    fw_endpoint *endpoint = vconn->endpoint;
    int err = fwi_id_map_put(&endpoint->by_wire_id, wire_id, vconn);
    if (err)
        return err;
    vconn->wire_id = wire_id;
    put_in(vconn, OPEN, &endpoint->open);
    return FW_OK;
}

/* ---- what the gateway says ---- */

static int take_accept(fw_endpoint *endpoint, const fwi_gw_command *command)
{
    fw_vconn *vconn;
    if (!command->conn_id || fwi_id_map_get(&endpoint->by_wire_id, command->conn_id) ||
        !take_dial(endpoint, command->remote_id, &vconn))
        return FW_EPROTOCOL;
    if (!vconn) {
        fwi_endpoint_command(endpoint, FWI_GW_CLOSE, command->conn_id, 0);
        return FW_OK;
    }
    fwi_loop_timer_stop(endpoint->loop, &vconn->deadline);
    vconn->dial = NULL;
    vconn->state = WAITING; /* no Dial of it is out any more */
    int err = make_open(vconn, command->conn_id);
    if (err) {
        finish(vconn, err, err);
        fwi_endpoint_command(endpoint, FWI_GW_CLOSE, command->conn_id, 0);
        return FW_OK;
    }
    vconn->open_told = true;
    if (vconn->events.on_open)
        vconn->events.on_open(vconn, FW_OK, vconn->arg);
    return FW_OK;
}

static int take_refuse(fw_endpoint *endpoint, const fwi_gw_command *command)
{
    fw_vconn *vconn;
    if (!take_dial(endpoint, command->remote_id, &vconn))
        return FW_EPROTOCOL;
    if (vconn) {
        vconn->dial = NULL;
        vconn->state = WAITING;
        finish(vconn, FW_EREFUSED, FW_EREFUSED);
    }
    return FW_OK;
}

static int take_connect(fw_endpoint *endpoint, const fwi_gw_command *command)
{
    if (!command->conn_id || fwi_id_map_get(&endpoint->by_wire_id, command->conn_id))
        return FW_EPROTOCOL;
    fw_vconn *vconn = NULL;
    if (endpoint->options.events.on_connect && endpoint->vconn_count < endpoint->options.max_vconns)
        vconn = vconn_create(endpoint, command->remote_id);
    if (!vconn) {
        fwi_endpoint_command(endpoint, FWI_GW_CLOSE, command->conn_id, 0);
        return FW_OK;
    }
    int err = make_open(vconn, command->conn_id);
    if (err) {
        endpoint->vconn_count--;
        free(vconn);
        return err;
    }
    endpoint->options.events.on_connect(endpoint, vconn, endpoint->options.arg);
    return FW_OK;
}

int fwi_vconns_frame(fw_endpoint *endpoint, const uint8_t *frame, size_t len)
{
    uint32_t wire_id = fwi_gw_frame_id(frame);
    if (wire_id) {
        fw_vconn *vconn = fwi_id_map_get(&endpoint->by_wire_id, wire_id);
        if (vconn && vconn->events.on_message) /* unknown: it was under way when we closed */
            vconn->events.on_message(vconn, frame + FWI_GW_HEADER_BYTES, len - FWI_GW_HEADER_BYTES,
                                     vconn->arg);
        return FW_OK;
    }
    fwi_gw_command command;
    int err = fwi_gw_command_decode(frame, len, &command);
    if (err)
        return err;
    fw_vconn *vconn;
    switch (command.type) {
    case FWI_GW_ACCEPT:
        return take_accept(endpoint, &command);
    case FWI_GW_REFUSE:
        return take_refuse(endpoint, &command);
    case FWI_GW_CONNECT:
        return take_connect(endpoint, &command);
    case FWI_GW_CLOSE:
        vconn = fwi_id_map_get(&endpoint->by_wire_id, command.conn_id);
        if (vconn) /* unknown: the echo of our own Close */
            finish(vconn, FW_OK, UV_EOF);
        return FW_OK;
    default:
        return FW_EPROTOCOL;
    }
}

/* ---- the set of them ---- */

void fwi_vconns_init(fw_endpoint *endpoint)
{
    fwi_list_init(&endpoint->waiting);
    fwi_list_init(&endpoint->asked);
    fwi_list_init(&endpoint->open);
    fwi_list_init(&endpoint->finished);
    fwi_list_init(&endpoint->dials);
    endpoint->deliver = (fwi_task){.fn = deliver, .arg = endpoint};
}

static void free_dials(fw_endpoint *endpoint)
{
    for (fwi_list *node; (node = fwi_list_pop(&endpoint->dials));)
        free(fwi_container_of(node, fwi_dial, node));
    endpoint->dial_count = 0;
}

void fwi_vconns_fini(fw_endpoint *endpoint)
{
    free_dials(endpoint);
    fwi_id_map_fini(&endpoint->by_wire_id);
}

void fwi_vconns_end(fw_endpoint *endpoint, int reason, bool waiting_too)
{
    while (!fwi_list_empty(&endpoint->open))
        finish(vconn_of(endpoint->open.next), reason, reason);
    while (!fwi_list_empty(&endpoint->asked))
        finish(vconn_of(endpoint->asked.next), reason, reason);
    while (waiting_too && !fwi_list_empty(&endpoint->waiting))
        finish(vconn_of(endpoint->waiting.next), reason, reason);
    free_dials(endpoint);
}

/* ---- the object ---- */

int fw_vconn_send(fw_vconn *vconn, const void *data, size_t len)
{
    fw_endpoint *endpoint = vconn->endpoint;
    if (vconn->state == FINISHED || (vconn->state == OPEN && endpoint->state != FWI_LINK_USABLE))
        return FW_ECLOSED;
    if (vconn->state != OPEN)
        return UV_ENOTCONN;
    if (len > endpoint->options.max_packet_bytes - FWI_GW_ID_BYTES)
        return FW_EFRAMESIZE;
    if (fw_conn_congested(endpoint->conn))
        return FW_ELIMIT;
    uint8_t *room = fw_conn_reserve(endpoint->conn, FWI_GW_HEADER_BYTES + len);
    if (!room) {
        int err = fw_conn_write(endpoint->conn, NULL, 0);
        return err ? err : UV_ENOMEM;
    }
    fwi_gw_put_header(room, vconn->wire_id, (uint32_t)len);
    if (len)
        memcpy(room + FWI_GW_HEADER_BYTES, data, len);
    return FW_OK;
}

void fw_vconn_close(fw_vconn *vconn, int reason)
{
    if (vconn->state == FINISHED)
        return;
    if (vconn->state == OPEN)
        fwi_endpoint_command(vconn->endpoint, FWI_GW_CLOSE, vconn->wire_id, 0);
    finish(vconn, FW_ECANCELED, reason);
}

void fw_vconn_set_events(fw_vconn *vconn, const fw_vconn_events *events, void *arg)
{
    vconn->events = *events;
    vconn->arg = arg;
}

void *fw_vconn_arg(const fw_vconn *vconn)
{
    return vconn->arg;
}

uint32_t fw_vconn_remote_id(const fw_vconn *vconn)
{
    return vconn->remote_id;
}

uint64_t fw_vconn_id(const fw_vconn *vconn)
{
    return vconn->id;
}

fw_endpoint *fw_vconn_endpoint(const fw_vconn *vconn)
{
    return vconn->endpoint;
}
