#include <fairway/gateway.h>

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
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

static void gateway_free(fw_gateway *gateway)
{
    fwi_id_table_fini(&gateway->clients);
    fwi_id_table_fini(&gateway->vconns);
    fwi_id_map_fini(&gateway->servers);
    free(gateway->auth_key);
    free(gateway->hmac_key);
    for (int side = 0; side < 2; side++)
        fwi_gw_sources_fini(&gateway->sources[side]);
    fwi_gw_doors_free(gateway);
    free(gateway);
}

static void report_drained(fwi_task *task, void *arg)
{
    (void)task;
    fw_gateway *gateway = arg;
    if (gateway->on_drained)
        gateway->on_drained(gateway->on_drained_arg);
}

static int take_keys(fw_gateway *gateway, const fw_gateway_options *options)
{
    const char *auth_key = options->auth_key;
    if (!auth_key && !options->hmac_key)
        auth_key = "";
    if (auth_key && !(gateway->auth_key = strdup(auth_key)))
        return UV_ENOMEM;
    if (options->hmac_key && !(gateway->hmac_key = strdup(options->hmac_key)))
        return UV_ENOMEM;
    return FW_OK;
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
    gateway->options.client_url = gateway->options.server_url = NULL;
    gateway->options.auth_key = gateway->options.hmac_key = NULL;
    gateway->queue_bytes[FWI_GW_CLIENT] = gateway->options.client_queue_bytes;
    gateway->queue_bytes[FWI_GW_SERVER] = gateway->options.server_queue_bytes;
    gateway->drained = (fwi_task){.fn = report_drained, .arg = gateway};
    fwi_list_init(&gateway->doors);
    for (int side = 0; side < 2; side++)
        fwi_gw_sources_init(&gateway->sources[side]);
    fwi_gw_queues_init(gateway);
    fwi_id_table_init(&gateway->clients, UINT32_MAX);
    fwi_id_table_init(&gateway->vconns, UINT32_MAX);
    int err = fwi_gw_framer_init(&gateway->framer, gateway->options.max_packet_bytes);
    if (!err)
        err = take_keys(gateway, options);
    if (!err)
        err = fw_gateway_listen(gateway, FWI_GW_SERVER, options->server_url);
    if (!err)
        err = fw_gateway_listen(gateway, FWI_GW_CLIENT, options->client_url);
    if (err) {
        fw_gateway_close(gateway, NULL, NULL); /* a listener may have to go first */
        return err;
    }
    if (gateway->auth_key && !*gateway->auth_key)
        fwi_log(FW_LOG_WARN, "gateway", "the key is empty: anybody may register as a server",
                FWI_TEXT("url", fw_gateway_server_url(gateway)));
    *ret_gateway = gateway;
    return FW_OK;
}

const char *fw_gateway_client_url(const fw_gateway *gateway)
{
    return fw_gateway_url(gateway, FWI_GW_CLIENT, 0);
}

const char *fw_gateway_server_url(const fw_gateway *gateway)
{
    return fw_gateway_url(gateway, FWI_GW_SERVER, 0);
}

void fw_gateway_stats_get(const fw_gateway *gateway, fw_gateway_stats *ret_stats)
{
    *ret_stats = gateway->stats;
}

void fwi_gateway_finish_if_empty(fw_gateway *gateway)
{
    if (!gateway->closing || gateway->peer_count || gateway->open_doors)
        return;
    void (*on_closed)(void *arg) = gateway->on_closed;
    void *arg = gateway->on_closed_arg;
    gateway_free(gateway);
    if (on_closed)
        on_closed(arg);
}

void fwi_gateway_check_drained(fw_gateway *gateway)
{
    if (gateway->draining && !gateway->closing && !gateway->stats.vconns)
        fwi_loop_defer(gateway->loop, &gateway->drained);
}

void fw_gateway_drain(fw_gateway *gateway, void (*on_drained)(void *arg), void *arg)
{
    if (gateway->draining || gateway->closing)
        return;
    gateway->draining = true;
    gateway->on_drained = on_drained;
    gateway->on_drained_arg = arg;
    fwi_gw_doors_close(gateway);
    fwi_gateway_check_drained(gateway);
}

static void show(const fwi_gw_peer *peer, void (*visit)(const fw_gateway_peer *peer, void *arg),
                 void *arg)
{
    fw_gateway_peer shown = {
        .side = peer->side,
        .authenticated = peer->registered,
        .id = peer->id,
        .url = fw_conn_peer(peer->conn),
        .vconns = peer->vconn_count,
        .queued_bytes = fw_conn_queued_bytes(peer->conn),
        .silent_ms = fw_loop_now_ms(peer->gateway->loop) - peer->heard_ms,
    };
    visit(&shown, arg);
}

void fw_gateway_each_peer(const fw_gateway *gateway,
                          void (*visit)(const fw_gateway_peer *peer, void *arg), void *arg)
{
    for (int i = 0; i < FWI_GW_QUEUES; i++) {
        fwi_list_for_each (node, &gateway->queues[i].peers) {
            show(fwi_container_of(node, fwi_gw_peer, node), visit, arg);
        }
    }
}

void fw_gateway_close(fw_gateway *gateway, void (*on_closed)(void *arg), void *arg)
{
    if (gateway->closing)
        return;
    gateway->closing = true;
    gateway->on_closed = on_closed;
    gateway->on_closed_arg = arg;
    fwi_loop_defer_cancel(gateway->loop, &gateway->drained);
    fwi_gw_doors_close(gateway);
    fwi_gw_queues_end(gateway);
    /* Only a gateway that was never open has nothing to wait for. */
    fwi_gateway_finish_if_empty(gateway);
}
