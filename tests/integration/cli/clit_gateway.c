#include "clit_gateway.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void take_addresses(gateway_run *gateway)
{
    cJSON *json = clit_json(fwt_proc_expect(gateway->proc, "client_url", CLIT_PATIENCE_MS));
    ck_assert_str_eq(clit_member(json, "event"), "ready");
    const char *clients = clit_member(json, "client_url");
    const char *servers = clit_member(json, "server_url");
    cJSON_Delete(json);
    ck_assert_int_eq(strncmp(clients, "tcp://127.0.0.1:", 16), 0);
    ck_assert_int_eq(strncmp(servers, "tcp://127.0.0.1:", 16), 0);
    snprintf(gateway->client_addr, sizeof gateway->client_addr, "%s", clients + 6);
    snprintf(gateway->server_addr, sizeof gateway->server_addr, "%s", servers + 6);
}

gateway_run start_gateway(const char *more)
{
    gateway_run gateway;
    setenv("FAIRWAY_SERVER_AUTH_KEY", "k", 1);
    gateway.proc = clit_start("gateway", "--client-addr", "127.0.0.1:0", "--server-addr",
                              "127.0.0.1:0", "--json", more, NULL);
    take_addresses(&gateway);
    return gateway;
}

fwt_proc *start_service(const gateway_run *gateway, const char *key)
{
    setenv("FAIRWAY_GATEWAY_KEY", key, 1);
    return clit_start("--store", "mem:", "serve", "echo", "--drain-timeout=0", "--id", "behind",
                      "--gateway", clit_format("tcp://%s", gateway->server_addr), "--gateway-id",
                      "7", NULL);
}

int raw_dial(const char *addr)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(strchr(addr, ':') + 1)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void raw_send(int fd, const char *hex)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
    free(bytes);
}

size_t raw_read(int fd, uint8_t *data, size_t len)
{
    size_t got = 0;
    while (got < len) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ck_assert_msg(poll(&waiting, 1, CLIT_PATIENCE_MS) == 1, "nothing came");
        ssize_t n = read(fd, data + got, len - got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

uint32_t raw_open(int fd)
{
    uint8_t reply[17];
    raw_send(fd, "09000000000000000007000000");
    ck_assert_uint_eq(raw_read(fd, reply, sizeof reply), sizeof reply);
    ck_assert_uint_eq(reply[8], 1); /* accept */
    uint32_t id;
    memcpy(&id, reply + 9, sizeof id);
    ck_assert_uint_ne(id, 0);
    return id;
}

void raw_echo(int fd, uint32_t id)
{
    uint8_t message[13] = {9, 0, 0, 0, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'}, reply[13];
    memcpy(message + 4, &id, sizeof id);
    ck_assert_int_eq(write(fd, message, sizeof message), sizeof message);
    ck_assert_uint_eq(raw_read(fd, reply, sizeof reply), sizeof reply);
    fwt_assert_bytes(reply, sizeof reply, message, sizeof message, "echo");
}
