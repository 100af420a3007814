#include <fairway/gateway.h>

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gateway/engine.h"

#define DEFAULT_CLIENT_MAX_CONN      16
#define DEFAULT_IDLE_TIMEOUT_MS      30000
#define DEFAULT_HANDSHAKE_TIMEOUT_MS 5000
#define DEFAULT_MAX_CLIENTS          100000
#define DEFAULT_MAX_SERVERS          10000
#define DEFAULT_MAX_UNAUTHENTICATED  256
#define DEFAULT_CLIENT_QUEUE_BYTES   ((size_t)4 * 1024 * 1024)
#define DEFAULT_SERVER_QUEUE_BYTES   ((size_t)64 * 1024 * 1024)

void fw_gateway_options_init(fw_gateway_options *options)
{
    *options = (fw_gateway_options){.client_max_conn = DEFAULT_CLIENT_MAX_CONN,
                                    .client_idle_timeout_ms = DEFAULT_IDLE_TIMEOUT_MS,
                                    .server_idle_timeout_ms = DEFAULT_IDLE_TIMEOUT_MS};
}

static size_t or_default(size_t value, size_t fallback)
{
    return value ? value : fallback;
}

static void fill_defaults(fw_gateway_options *options)
{
    if (!options->max_packet_bytes)
        options->max_packet_bytes = FWI_GW_DEFAULT_PACKET_BYTES;
    if (!options->handshake_timeout_ms)
        options->handshake_timeout_ms = DEFAULT_HANDSHAKE_TIMEOUT_MS;
    options->max_clients = or_default(options->max_clients, DEFAULT_MAX_CLIENTS);
    options->max_servers = or_default(options->max_servers, DEFAULT_MAX_SERVERS);
    options->max_unauthenticated_servers =
        or_default(options->max_unauthenticated_servers, DEFAULT_MAX_UNAUTHENTICATED);
    options->client_queue_bytes =
        or_default(options->client_queue_bytes, DEFAULT_CLIENT_QUEUE_BYTES);
    options->server_queue_bytes =
        or_default(options->server_queue_bytes, DEFAULT_SERVER_QUEUE_BYTES);
    /* An empty queue must take any legal frame, else that frame could never be sent. */
    size_t largest = FWI_GW_LENGTH_BYTES + (size_t)options->max_packet_bytes;
    if (options->client_queue_bytes < largest)
        options->client_queue_bytes = largest;
    if (options->server_queue_bytes < largest)
        options->server_queue_bytes = largest;
}

static void on_accept_client(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    fwi_gw_peer_accept(arg, conn, FWI_GW_CLIENT);
}

static void on_accept_server(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    fwi_gw_peer_accept(arg, conn, FWI_GW_SERVER);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    fw_gateway *gateway = arg;
    gateway
        ->listener[gateway->listener[FWI_GW_CLIENT] == listener ? FWI_GW_CLIENT : FWI_GW_SERVER] =
        NULL;
    fwi_gateway_finish_if_empty(gateway);
}

static int start_listening(fw_gateway *gateway, fwi_gw_side side, const char *url)
{
    fw_listener_options options = {.backlog = gateway->options.backlog,
                                   .on_accept =
                                       side == FWI_GW_CLIENT ? on_accept_client : on_accept_server,
                                   .on_closed = on_listener_closed,
                                   .arg = gateway};
    int err = fw_listener_new(gateway->loop, url, &options, &gateway->listener[side]);
    if (err)
        return err;
    gateway->url[side] = strdup(fw_listener_url(gateway->listener[side]));
    return gateway->url[side] ? FW_OK : UV_ENOMEM;
}

static void gateway_free(fw_gateway *gateway)
{
    fwi_id_table_fini(&gateway->clients);
    fwi_id_table_fini(&gateway->vconns);
    fwi_id_map_fini(&gateway->servers);
    free(gateway->auth_key);
    free(gateway->url[FWI_GW_CLIENT]);
    free(gateway->url[FWI_GW_SERVER]);
    free(gateway);
}

int fw_gateway_new(fw_loop *loop, const fw_gateway_options *options, fw_gateway **ret_gateway)
{
    if (!options->client_url || !options->server_url ||
        (options->max_packet_bytes && options->max_packet_bytes < FWI_GW_ID_BYTES))
        return FW_EOPTION;
    fw_gateway *gateway = calloc(1, sizeof *gateway);
    if (!gateway)
        return UV_ENOMEM;
    gateway->loop = loop;
    gateway->options = *options;
    fill_defaults(&gateway->options);
    gateway->options.client_url = gateway->options.server_url = gateway->options.auth_key = NULL;
    gateway->queue_bytes[FWI_GW_CLIENT] = gateway->options.client_queue_bytes;
    gateway->queue_bytes[FWI_GW_SERVER] = gateway->options.server_queue_bytes;
    fwi_gw_queues_init(gateway);
    fwi_id_table_init(&gateway->clients, UINT32_MAX);
    fwi_id_table_init(&gateway->vconns, UINT32_MAX);
    gateway->auth_key = strdup(options->auth_key ? options->auth_key : "");
    int err = fwi_gw_framer_init(&gateway->framer, gateway->options.max_packet_bytes);
    if (!err && !gateway->auth_key)
        err = UV_ENOMEM;
    if (!err)
        err = start_listening(gateway, FWI_GW_SERVER, options->server_url);
    if (!err)
        err = start_listening(gateway, FWI_GW_CLIENT, options->client_url);
    if (err) {
        fw_gateway_close(gateway, NULL, NULL); /* a listener may have to go first */
        return err;
    }
    *ret_gateway = gateway;
    return FW_OK;
}

const char *fw_gateway_client_url(const fw_gateway *gateway)
{
    return gateway->url[FWI_GW_CLIENT];
}

const char *fw_gateway_server_url(const fw_gateway *gateway)
{
    return gateway->url[FWI_GW_SERVER];
}

void fw_gateway_stats_get(const fw_gateway *gateway, fw_gateway_stats *ret_stats)
{
    *ret_stats = gateway->stats;
}

void fwi_gateway_finish_if_empty(fw_gateway *gateway)
{
    if (!gateway->closing || gateway->peer_count || gateway->listener[FWI_GW_CLIENT] ||
        gateway->listener[FWI_GW_SERVER])
        return;
    void (*on_closed)(void *arg) = gateway->on_closed;
    void *arg = gateway->on_closed_arg;
    gateway_free(gateway);
    if (on_closed)
        on_closed(arg);
}

void fw_gateway_close(fw_gateway *gateway, void (*on_closed)(void *arg), void *arg)
{
    if (gateway->closing)
        return;
    gateway->closing = true;
    gateway->on_closed = on_closed;
    gateway->on_closed_arg = arg;
    for (int side = 0; side < 2; side++)
        if (gateway->listener[side])
            fw_listener_close(gateway->listener[side]);
    fwi_gw_queues_end(gateway);
    /* Only a gateway that was never open has nothing to wait for. */
    fwi_gateway_finish_if_empty(gateway);
}
