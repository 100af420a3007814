/*
 * Where peers come in: any number of listeners on either side, each with a transport of its own. A
 * door stays in the gateway's list, with its URL, when its listener has gone.
 */
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gateway/engine.h"

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    const fwi_gw_door *door = arg;
    fwi_gw_peer_accept(door->gateway, conn, door->side);
}

static void on_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    fwi_gw_door *door = arg;
    door->listener = NULL;
    door->gateway->open_doors--;
    fwi_gateway_finish_if_empty(door->gateway);
}

/* Frames need a reliable stream below them: mem: and ws: have one, udp: has not. Unknown schemes
 * are left to the listener. */
static int check_transport(const char *url)
{
    char scheme[32];
    size_t len = strcspn(url, ":");
    if (len >= sizeof scheme)
        return FW_ESCHEME;
    memcpy(scheme, url, len);
    scheme[len] = 0;
    unsigned can = fw_transport_can(scheme), needs = FW_TRANSPORT_STREAM | FW_TRANSPORT_RELIABLE;
    return !can || (can & needs) == needs ? FW_OK : FW_EOPTION;
}

int fw_gateway_listen(fw_gateway *gateway, fw_gateway_side side, const char *url)
{
    if (gateway->closing || gateway->draining)
        return FW_ECLOSED;
    int err = check_transport(url);
    if (err)
        return err;
    fwi_gw_door *door = calloc(1, sizeof *door);
    if (!door)
        return UV_ENOMEM;
    door->gateway = gateway;
    door->side = side;
    fw_listener_options options = {.backlog = gateway->options.backlog,
                                   .on_accept = on_accept,
                                   .on_closed = on_closed,
                                   .arg = door};
    err = fw_listener_new(gateway->loop, url, &options, &door->listener);
    if (err) {
        free(door);
        return err;
    }
    gateway->open_doors++;
    fwi_list_push_back(&gateway->doors, &door->node);
    door->url = strdup(fw_listener_url(door->listener));
    if (door->url)
        return FW_OK;
    fw_listener_close(door->listener);
    return UV_ENOMEM;
}

const char *fw_gateway_url(const fw_gateway *gateway, fw_gateway_side side, size_t index)
{
    fwi_list_for_each (node, &gateway->doors) {
        const fwi_gw_door *door = fwi_container_of(node, fwi_gw_door, node);
        if (door->side == side && door->url && !index--)
            return door->url;
    }
    return NULL;
}

void fwi_gw_doors_close(fw_gateway *gateway)
{
    fwi_list_for_each (node, &gateway->doors) {
        fwi_gw_door *door = fwi_container_of(node, fwi_gw_door, node);
        if (door->listener)
            fw_listener_close(door->listener);
    }
}

void fwi_gw_doors_free(fw_gateway *gateway)
{
    for (fwi_list *node; (node = fwi_list_pop(&gateway->doors));) {
        fwi_gw_door *door = fwi_container_of(node, fwi_gw_door, node);
        free(door->url);
        free(door);
    }
}
