/*
 * Endpoints: the members of the cluster.
 *
 * Each has its channel, with its own connection, so that each has its own name (for the
 * certificate) and its own health; gRPC's balancing is not used, because it stays with a member
 * that accepts connections but hangs. There is one current endpoint for all that is asked; a
 * failure of a call that was made on it moves on to the next. Which is the first is left to chance,
 * so that many clients with one URL do not all sit on one member.
 *
 * What a failure means is in gRPC's text alone. A server that closes the connection before a word
 * was said may want a certificate of ours (in TLS 1.3 that shows only after the handshake), may
 * speak no TLS, or may be going down: when it has done so for CLOSING_MS it is held for the first.
 */
#include "etcd.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fairway/error.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_PORT      2379
#define MAX_TARGET_BYTES  600
#define KEEPALIVE_MS      10000 /* etcd closes connections that are pinged more than every 5 s */
#define KEEPALIVE_WAIT_MS 3000
/* While nobody waits for a driven store, gRPC looks at its connections every 5 s only. */
#define DRIVEN_WAIT_MS 8000
#define CONNECT_MS     2000 /* what gRPC calls the least backoff is the time for connecting */
#define BACKOFF_MS     100
#define MAX_BACKOFF_MS 1000
#define CLOSING_MS     1000
#define LOOK_MS        1000 /* between two looks at the files of certificates */

static const char *const method_paths[FWI_ETCD_METHODS] = {
    [FWI_ETCD_RANGE] = "/etcdserverpb.KV/Range",
    [FWI_ETCD_PUT] = "/etcdserverpb.KV/Put",
    [FWI_ETCD_DELETE] = "/etcdserverpb.KV/DeleteRange",
    [FWI_ETCD_TXN] = "/etcdserverpb.KV/Txn",
    [FWI_ETCD_GRANT] = "/etcdserverpb.Lease/LeaseGrant",
    [FWI_ETCD_REVOKE] = "/etcdserverpb.Lease/LeaseRevoke",
    [FWI_ETCD_KEEP_ALIVE] = "/etcdserverpb.Lease/LeaseKeepAlive",
    [FWI_ETCD_WATCH] = "/etcdserverpb.Watch/Watch",
    [FWI_ETCD_AUTHENTICATE] = "/etcdserverpb.Auth/Authenticate",
};

static const struct {
    const char *key;
    int value;
} channel_options[] = {
    /* Two clients with equal arguments would share a connection, its backoff and its fate. */
    {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},
    {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
    {GRPC_ARG_ENABLE_RETRIES, 0},
    /* Without the filters that nobody here needs; but deadlines are needed. */
    {GRPC_ARG_MINIMAL_STACK, 1},
    {GRPC_ARG_ENABLE_DEADLINE_CHECKS, 1},
    {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1},
    {GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS},
    /* By default the pings stop on a watch where nothing happens. */
    {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
    {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS},
    {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, BACKOFF_MS},
    {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, MAX_BACKOFF_MS},
};

/* The name is copied by gRPC, and never written to. */
static grpc_arg integer(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

static grpc_channel *channel_new(const fwi_etcd_client *client, const char *target)
{
    size_t count = sizeof channel_options / sizeof *channel_options;
    grpc_arg args[sizeof channel_options / sizeof *channel_options + 1];
    grpc_channel_args all = {.num_args = count + 1, .args = args};
    for (size_t i = 0; i < count; i++)
        args[i] = integer(channel_options[i].key, channel_options[i].value);
    args[count] = integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                          fwi_kv_is_driven(client->core.kv) ? DRIVEN_WAIT_MS : KEEPALIVE_WAIT_MS);
    grpc_channel_credentials *credentials = fwi_etcd_tls_credentials(&client->tls);
    if (!credentials)
        return NULL;
    grpc_channel *channel = grpc_channel_create(target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    return channel;
}

/* Gives it a new channel. False: no memory, and it keeps what it has. */
static bool endpoint_connect(const fwi_etcd_client *client, fwi_etcd_endpoint *endpoint)
{
    grpc_channel *channel = channel_new(client, endpoint->target);
    if (!channel)
        return false;
    fwi_etcd_endpoint_disconnect(endpoint);
    endpoint->channel = channel;
    endpoint->tls_generation = client->tls.generation;
    for (int i = 0; i < FWI_ETCD_METHODS; i++)
        endpoint->methods[i] = grpc_channel_register_call(channel, method_paths[i], NULL, NULL);
    return true;
}

int fwi_etcd_endpoint_init(fwi_etcd_client *client, fwi_etcd_endpoint *endpoint,
                           const fw_url_host *host)
{
    char target[MAX_TARGET_BYTES], name[MAX_TARGET_BYTES];
    struct in6_addr address;
    int port = host->port ? host->port : DEFAULT_PORT;
    bool is_v4 = inet_pton(AF_INET, host->name, &address) == 1;
    bool is_v6 = inet_pton(AF_INET6, host->name, &address) == 1;
    int len = snprintf(name, sizeof name, is_v6 ? "[%s]:%d" : "%s:%d", host->name, port);
    if (!host->name[0] || len < 0 || (size_t)len > sizeof target - sizeof "dns:///")
        return FW_EURL;
    const char *scheme = is_v4 ? "ipv4:" : is_v6 ? "ipv6:" : "dns:///";
    (void)snprintf(target, sizeof target, "%s%.*s", scheme, MAX_TARGET_BYTES - 16, name);
    endpoint->name = strdup(name);
    endpoint->target = strdup(target);
    bool is_made = endpoint->name && endpoint->target && endpoint_connect(client, endpoint);
    return is_made ? FW_OK : UV_ENOMEM;
}

void fwi_etcd_endpoint_disconnect(fwi_etcd_endpoint *endpoint)
{
    if (endpoint->channel)
        grpc_channel_destroy(endpoint->channel);
    endpoint->channel = NULL;
}

void fwi_etcd_endpoint_fini(fwi_etcd_endpoint *endpoint)
{
    fwi_etcd_endpoint_disconnect(endpoint);
    free(endpoint->name);
    free(endpoint->target);
}

void fwi_etcd_endpoint_failed(fwi_etcd_client *client, size_t index)
{
    fwi_etcd_endpoint *endpoint = &client->endpoints[index];
    fwi_etcd_tls *tls = &client->tls;
    uint64_t now = fw_loop_now_ms(client->core.loop);
    if (client->current == index)
        client->current = (index + 1) % client->endpoint_count;
    if (!tls->wanted || client->closing)
        return;
    if (!tls->looked_ms || now - tls->looked_ms >= LOOK_MS) {
        tls->looked_ms = now;
        fwi_etcd_tls_refresh(tls);
    }
    /* Calls of others that are under way on the old channel go on. */
    if (endpoint->tls_generation != tls->generation)
        (void)endpoint_connect(client, endpoint);
}

void fwi_etcd_endpoint_served(fwi_etcd_client *client, size_t index)
{
    client->endpoints[index].closed_since_ms = 0;
}

/* ---- what gRPC's texts say ---- */

static bool says(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

static bool is_not_verified(const char *text)
{
    return says(text, "certificate verify failed");
}

/* True if the connection was made and then closed, before the server had said anything. */
static bool is_closed_early(const char *text)
{
    return says(text, "failed to connect") &&
           (says(text, "Socket closed") || says(text, "Endpoint read failed") ||
            says(text, "Connection reset by peer"));
}

int fwi_etcd_endpoint_status(fwi_etcd_client *client, size_t index, const char *text)
{
    fwi_etcd_endpoint *endpoint = &client->endpoints[index];
    uint64_t now = fw_loop_now_ms(client->core.loop);
    if (!client->tls.wanted)
        return FW_EUNREACHABLE;
    if (says(text, "SSL_ERROR_SSL") || says(text, "is not in peer certificate"))
        return FW_ETLS;
    if (!is_closed_early(text))
        endpoint->closed_since_ms = 0;
    else if (!endpoint->closed_since_ms)
        endpoint->closed_since_ms = now ? now : 1;
    else if (now - endpoint->closed_since_ms >= CLOSING_MS)
        return FW_ETLS;
    return FW_EUNREACHABLE;
}

/* Goes behind the text that begins so; stays where it is not there. */
static const char *behind(const char *text, const char *wrapping)
{
    const char *at = strstr(text, wrapping);
    return at ? at + strlen(wrapping) : text;
}

/* Takes off "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to
 * connect to remote host: " and the like. */
static const char *unwrap(const char *text)
{
    const char *inner = behind(text, "last error: ");
    if (inner != text) {
        inner += strspn(inner, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        if (!strncmp(inner, ": ", 2))
            inner += 2;
        if (!strncmp(inner, "ipv4:", 5) || !strncmp(inner, "ipv6:", 5))
            inner = behind(inner, ": ");
    }
    inner = behind(inner, "Failed to connect to remote host: ");
    return behind(inner, "SSL routines::");
}

void fwi_etcd_describe(const fwi_etcd_client *client, size_t index, const char *text,
                       char *ret_detail, size_t size)
{
    const fwi_etcd_tls *tls = &client->tls;
    const char *inner = unwrap(text), *open = "", *more = "", *close = "";
    if (is_not_verified(text)) {
        open = ": not valid now, or not signed by ";
        more = tls->cacert.path ? tls->cacert.path : "an authority that the system trusts";
    } else if (is_closed_early(text)) {
        open = " (the server ends the connection at once: ";
        more = tls->wanted ? "it speaks no TLS, or wants a certificate that it trusts"
                           : "it may want TLS, which is " FWI_ETCD_TLS_SCHEME "://";
        close = ")";
    }
    char first = inner[0];
    if (first && islower((unsigned char)inner[1]))
        first = (char)tolower((unsigned char)first);
    int end = snprintf(ret_detail, size, "%s: ", client->endpoints[index].name);
    if (first && end > 0 && (size_t)end < size)
        (void)snprintf(ret_detail + end, size - (size_t)end, "%c%s%s%s%s", first, inner + 1, open,
                       more, close);
}
