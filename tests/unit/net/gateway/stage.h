/* A gateway under test, and raw peers on both of its sides. */
#ifndef STAGE_H
#define STAGE_H

#include "raw_peer.h"

#define SERVER_ID 7
#define KEY       "secret"

extern fw_gateway *gateway;
extern fw_gateway_options options; /* set them before start */
extern bool gateway_closed;

void stage_setup(void);
void stage_teardown(void); /* closes the gateway if the test has not set it to NULL */
void start(void);
void on_gateway_closed(void *arg);
void add_client(raw_peer *peer);
void add_server(raw_peer *peer, uint32_t id);
/* Has the client dial: virtual connection number `id` is between the two afterwards. */
void join(raw_peer *client, uint32_t client_id, raw_peer *server, uint32_t server_id, uint32_t id);

#endif
