#include "stage.h"

fw_gateway *gateway;
fw_gateway_options options;
bool gateway_closed;

void on_gateway_closed(void *arg)
{
    (void)arg;
    ck_assert(!gateway_closed);
    gateway_closed = true;
}

void stage_setup(void)
{
    fwt_loop_setup();
    fw_gateway_options_init(&options);
    options.client_url = options.server_url = "tcp://127.0.0.1:0";
    options.auth_key = KEY;
    gateway = NULL;
    gateway_closed = false;
}

void stage_teardown(void)
{
    if (gateway) {
        fw_gateway_close(gateway, on_gateway_closed, NULL);
        if (!gateway_closed)
            fwt_run_until(&gateway_closed, PEER_WAIT_MS);
    }
    fwt_loop_teardown();
}

void start(void)
{
    FWT_OK(fw_gateway_new(fwt_loop, &options, &gateway));
}

void add_client(raw_peer *peer)
{
    fw_gateway_stats stats;
    fw_gateway_stats_get(gateway, &stats);
    raw_peer_dial(peer, fw_gateway_client_url(gateway));
    stats_wait(gateway, clients, stats.clients + 1);
}

void add_server(raw_peer *peer, uint32_t id)
{
    raw_peer_dial(peer, fw_gateway_server_url(gateway));
    raw_peer_authenticate(peer, KEY, id);
}

/* Client and server with virtual connection number `id` between them. */
void join(raw_peer *client, uint32_t client_id, raw_peer *server, uint32_t server_id, uint32_t id)
{
    raw_peer_command(client, FWI_GW_DIAL, 0, server_id);
    raw_peer_expect_command(client, FWI_GW_ACCEPT, id, server_id);
    raw_peer_expect_command(server, FWI_GW_CONNECT, id, client_id);
}
