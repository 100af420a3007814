#include "udp_relay.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS        32
#define FLYING         8192
#define DATAGRAM_BYTES 9216

struct flying {
    uint64_t due_ms;
    int fd;                /* goes out here */
    struct sockaddr_in to; /* of port 0: fd is connected */
    size_t len;
    uint8_t *bytes;
};

struct client {
    struct sockaddr_in address;
    int fd; /* towards the target */
    bool stranded;
};

struct fwt_udp_relay {
    pthread_t thread;
    int fd, port;
    struct sockaddr_in target;
    fwt_weather weather;
    struct client clients[CLIENTS];
    size_t client_count;
    struct flying flying[FLYING];
    size_t flying_count;
    atomic_bool stop, move, strand, cut;
    atomic_size_t passed;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int open_upstream(const fwt_udp_relay *relay)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&relay->target, sizeof relay->target))
        abort();
    return fd;
}

static struct client *client_of(fwt_udp_relay *relay, const struct sockaddr_in *from)
{
    for (size_t i = 0; i < relay->client_count; i++)
        if (relay->clients[i].address.sin_port == from->sin_port)
            return &relay->clients[i];
    if (relay->client_count == CLIENTS)
        return NULL;
    struct client *client = &relay->clients[relay->client_count++];
    *client = (struct client){.address = *from, .fd = open_upstream(relay)};
    return client;
}

static bool happens(fwt_udp_relay *relay, unsigned percent)
{
    return (unsigned)rand_r(&relay->weather.seed) % 100 < percent;
}

static void launch(fwt_udp_relay *relay, int fd, const struct sockaddr_in *to, const uint8_t *bytes,
                   size_t len)
{
    if (relay->flying_count == FLYING)
        return;
    unsigned jitter = relay->weather.jitter_ms;
    unsigned late = jitter ? (unsigned)rand_r(&relay->weather.seed) % jitter : 0;
    struct flying *flying = &relay->flying[relay->flying_count++];
    *flying = (struct flying){.due_ms = now_ms() + relay->weather.delay_ms + late,
                              .fd = fd,
                              .to = to ? *to : (struct sockaddr_in){.sin_port = 0},
                              .len = len,
                              .bytes = malloc(len + 1)};
    memcpy(flying->bytes, bytes, len);
}

static void pass(fwt_udp_relay *relay, int fd, const struct sockaddr_in *to, const uint8_t *bytes,
                 size_t len)
{
    if (relay->cut || happens(relay, relay->weather.loss))
        return;
    launch(relay, fd, to, bytes, len);
    if (happens(relay, relay->weather.duplicate))
        launch(relay, fd, to, bytes, len);
}

static void read_clients(fwt_udp_relay *relay)
{
    uint8_t bytes[DATAGRAM_BYTES];
    struct sockaddr_in from;
    for (int i = 0; i < 256; i++) {
        socklen_t from_len = sizeof from;
        ssize_t n = recvfrom(relay->fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from,
                             &from_len);
        struct client *client = n < 0 ? NULL : client_of(relay, &from);
        if (n < 0)
            return;
        if (client && !client->stranded)
            pass(relay, client->fd, NULL, bytes, (size_t)n);
    }
}

static void read_target(fwt_udp_relay *relay, struct client *client)
{
    uint8_t bytes[DATAGRAM_BYTES];
    for (int i = 0; i < 256; i++) {
        ssize_t n = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0)
            return;
        if (!client->stranded)
            pass(relay, relay->fd, &client->address, bytes, (size_t)n);
    }
}

static void land(fwt_udp_relay *relay)
{
    uint64_t now = now_ms();
    size_t kept = 0;
    for (size_t i = 0; i < relay->flying_count; i++) {
        struct flying flying = relay->flying[i];
        if (flying.due_ms > now) {
            relay->flying[kept++] = flying;
            continue;
        }
        ssize_t n = flying.to.sin_port
                        ? sendto(flying.fd, flying.bytes, flying.len, 0,
                                 (const struct sockaddr *)&flying.to, sizeof flying.to)
                        : send(flying.fd, flying.bytes, flying.len, MSG_NOSIGNAL);
        relay->passed += n >= 0;
        free(flying.bytes);
    }
    relay->flying_count = kept;
}

static void do_move(fwt_udp_relay *relay)
{
    for (size_t i = 0; i < relay->client_count; i++) {
        int old = relay->clients[i].fd;
        relay->clients[i].fd = open_upstream(relay);
        for (size_t k = 0; k < relay->flying_count; k++)
            if (relay->flying[k].fd == old)
                relay->flying[k].fd = relay->clients[i].fd;
        close(old);
    }
}

static void *run(void *arg)
{
    fwt_udp_relay *relay = arg;
    while (!relay->stop) {
        if (atomic_exchange(&relay->move, false))
            do_move(relay);
        bool strand = atomic_exchange(&relay->strand, false);
        for (size_t i = 0; strand && i < relay->client_count; i++)
            relay->clients[i].stranded = true;
        struct pollfd polls[CLIENTS + 1] = {{.fd = relay->fd, .events = POLLIN}};
        size_t count = relay->client_count;
        for (size_t i = 0; i < count; i++)
            polls[i + 1] = (struct pollfd){.fd = relay->clients[i].fd, .events = POLLIN};
        poll(polls, count + 1, relay->flying_count ? 1 : 10);
        if (polls[0].revents)
            read_clients(relay);
        for (size_t i = 0; i < count; i++)
            if (polls[i + 1].revents)
                read_target(relay, &relay->clients[i]);
        land(relay);
    }
    return NULL;
}

fwt_udp_relay *fwt_udp_relay_start(int target_port, const fwt_weather *weather)
{
    fwt_udp_relay *relay = calloc(1, sizeof *relay);
    relay->weather = *weather;
    relay->target = (struct sockaddr_in){.sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)target_port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof local;
    relay->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (relay->fd < 0 || bind(relay->fd, (struct sockaddr *)&local, sizeof local) ||
        getsockname(relay->fd, (struct sockaddr *)&local, &len))
        abort(); /* a measuring program has no test to fail */
    relay->port = ntohs(local.sin_port);
    if (pthread_create(&relay->thread, NULL, run, relay))
        abort();
    return relay;
}

int fwt_udp_relay_port(const fwt_udp_relay *relay)
{
    return relay->port;
}

void fwt_udp_relay_move(fwt_udp_relay *relay)
{
    relay->move = true;
    while (relay->move)
        usleep(1000);
}

void fwt_udp_relay_strand(fwt_udp_relay *relay)
{
    relay->strand = true;
    while (relay->strand)
        usleep(1000);
}

void fwt_udp_relay_cut(fwt_udp_relay *relay)
{
    relay->cut = true;
}

size_t fwt_udp_relay_passed(fwt_udp_relay *relay)
{
    return relay->passed;
}

void fwt_udp_relay_end(fwt_udp_relay *relay)
{
    relay->stop = true;
    pthread_join(relay->thread, NULL);
    while (relay->flying_count)
        free(relay->flying[--relay->flying_count].bytes);
    for (size_t i = 0; i < relay->client_count; i++)
        close(relay->clients[i].fd);
    close(relay->fd);
    free(relay);
}
