/* A running gateway, a service behind it, and a client by hand. */
#ifndef CLIT_GATEWAY_H
#define CLIT_GATEWAY_H

#include "clit.h"

typedef struct gateway_run {
    fwt_proc *proc;
    char client_addr[80], server_addr[80]; /* host:port */
} gateway_run;

/* Takes the addresses from what a gateway has said with --json. */
void take_addresses(gateway_run *gateway);
/* With the key "k"; more is one option more, or NULL. */
gateway_run start_gateway(const char *more);
/* An echo service behind it, as server 7. */
fwt_proc *start_service(const gateway_run *gateway, const char *key);

int raw_dial(const char *addr);
void raw_send(int fd, const char *hex);
/* Reads len bytes, fewer if the connection ends. */
size_t raw_read(int fd, uint8_t *data, size_t len);
/* Dials server 7; gives the virtual connection's id. */
uint32_t raw_open(int fd);
/* A message there and back. */
void raw_echo(int fd, uint32_t id);

#endif
