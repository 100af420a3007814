/* Instances: a port that answers, and registrars. */
#include "disc_role.h"

#include <arpa/inet.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define BACKLOG 511

struct registrars;

struct one {
    struct registrars *all;
    fw_registrar *registrar;
    uint32_t number;
};

struct registrars {
    disc_life *life;
    disc_sheet *sheet;
    uv_tcp_t listener;
    int port;
    struct one *ones;
    size_t count, open;
    uint32_t ttl_ms;
};

/* ---- the port ---- */

static void on_end(uv_handle_t *handle)
{
    free(handle);
}

/* Who only wants to know whether somebody is there has learned it by now. */
static void on_connection(uv_stream_t *listener, int status)
{
    if (status)
        return;
    uv_tcp_t *connection = malloc(sizeof *connection);
    uv_tcp_init(listener->loop, connection);
    uv_accept(listener, (uv_stream_t *)connection);
    uv_close((uv_handle_t *)connection, on_end);
}

static int listen_on_any(struct registrars *all)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int len = sizeof address;
    uv_tcp_init(fw_loop_uv(fw_kv_loop(disc_life_kv(all->life))), &all->listener);
    int err = uv_tcp_bind(&all->listener, (struct sockaddr *)&address, 0);
    if (!err)
        err = uv_listen((uv_stream_t *)&all->listener, BACKLOG, on_connection);
    if (!err)
        err = uv_tcp_getsockname(&all->listener, (struct sockaddr *)&address, &len);
    all->port = ntohs(address.sin_port);
    return err;
}

/* ---- the registrars ---- */

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    const struct one *one = arg;
    disc_sheet_add(one->all->sheet, (disc_record){.what = DISC_STATUS,
                                                  .type = (uint8_t)status->state,
                                                  .instance = one->number});
}

static void on_registrar_closed(void *arg)
{
    struct registrars *all = arg;
    if (!--all->open)
        disc_life_close(all->life);
}

static void on_finish(void *arg)
{
    struct registrars *all = arg;
    uv_close((uv_handle_t *)&all->listener, NULL);
    for (size_t i = 0; i < all->count; i++)
        fw_registrar_close(all->ones[i].registrar, on_registrar_closed, all);
}

static int start_one(struct registrars *all, struct one *one, uint32_t number)
{
    char id[16], addr[32];
    *one = (struct one){.all = all, .number = number};
    snprintf(id, sizeof id, "i%u", number);
    snprintf(addr, sizeof addr, "127.0.0.1:%d", all->port);
    fw_registrar_options options = {.ttl_ms = all->ttl_ms, .on_status = on_status, .arg = one};
    int err = fw_registrar_new(disc_life_kv(all->life), &options, &one->registrar);
    if (err)
        return err;
    all->open++;
    fw_instance instance = {.service = DISC_SERVICE,
                            .id = id,
                            .net = "tcp",
                            .addr = addr,
                            .balance = "",
                            .zone = "",
                            .protocol = "",
                            .version = ""};
    return fw_registrar_set(one->registrar, &instance);
}

int disc_registrars_run(const char *url, disc_sheet *sheet, uint32_t ttl_ms, uint32_t first,
                        uint32_t count)
{
    struct registrars all = {.sheet = sheet, .count = count, .ttl_ms = ttl_ms};
    all.life = disc_life_new(url, sheet, NULL, on_finish, &all);
    if (!all.life)
        return 1;
    all.ones = calloc(count, sizeof *all.ones);
    int err = listen_on_any(&all);
    for (uint32_t i = 0; i < count && !err; i++)
        err = start_one(&all, &all.ones[i], first + i);
    if (err) {
        fprintf(stderr, "cannot begin to register: %s\n", fw_strerror(err));
        exit(1);
    }
    int rc = disc_life_run(all.life);
    free(all.ones);
    return rc;
}
