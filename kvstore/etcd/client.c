/*
 * etcd://host:port[,host:port...]/prefix: the client object, its life, its endpoints. The whole
 * driver, from below:
 *
 *     queue.c     a gRPC completion queue, the thread that polls it, the hand-over to the loop
 *     call.c      one gRPC call: unary, or a stream of replies
 *     request.c   a unary call with failover and a deadline
 *     list.c      a range of any size, in pages of one revision
 *     ops.c  watch.c  lease.c      the contract
 *     keyspace.c  wire.c           keys, and replies with many pairs
 *
 * Threads. Everything runs on the loop's thread but one function: the poller (queue.c), which takes
 * completed batches from gRPC and puts them on a list. gRPC's own threads never call us, except to
 * log.
 *
 * Endpoints. Each has its channel, with its own connection, so that each has its own name (for the
 * certificate, one day) and its own health; gRPC's balancing is not used, because it stays with a
 * member that accepts connections but hangs. There is one current endpoint for all that is asked; a
 * failure of a call that was made on it moves on to the next. Which is the first is left to chance,
 * so that many clients with one URL do not all sit on one member.
 *
 * Closing. By then the front has stopped all watches and leases. Requests are answered, calls
 * cancelled; when the last has ended (calls == 0) channels and queue go; when the poller has ended,
 * fwi_kv_closed. Nothing of it waits for a server.
 *
 * gRPC is started once and never shut down: its threads cost 2 ms to start, and an orderly shutdown
 * is not worth the risk of waiting in it. In the child of a process where it runs it does not work
 * any more: stores and operations are refused there (FW_EUNSUPPORTED).
 */
#include "etcd.h"

#include <fairway/error.h>
#include <arpa/inet.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/random.h"

#define DEFAULT_PORT      2379
#define MAX_TARGET_BYTES  600
#define KEEPALIVE_MS      10000 /* etcd closes connections that are pinged more than every 5 s */
#define KEEPALIVE_WAIT_MS 3000
#define CONNECT_MS        2000 /* what gRPC calls the least backoff is the time for connecting */
#define BACKOFF_MS        100
#define MAX_BACKOFF_MS    1000

static pthread_once_t grpc_once = PTHREAD_ONCE_INIT;
static atomic_bool forked; /* this process is a child of one in which gRPC ran */

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

/* gRPC prints by itself; a library does not. */
static void on_grpc_log(gpr_log_func_args *args)
{
    fwi_log(FW_LOG_DEBUG, "etcd", "grpc", FWI_TEXT("text", args->message));
}

static void on_forked(void)
{
    atomic_store(&forked, true);
}

static void start_grpc(void)
{
    gpr_set_log_function(on_grpc_log);
    pthread_atfork(NULL, NULL, on_forked);
    grpc_init();
}

int fwi_etcd_client_check(const fwi_etcd_client *client)
{
    if (client->closing)
        return FW_ECANCELED;
    return atomic_load(&forked) ? FW_EUNSUPPORTED : FW_OK;
}

void fwi_etcd_endpoint_failed(fwi_etcd_client *client, size_t endpoint)
{
    if (client->current == endpoint)
        client->current = (endpoint + 1) % client->endpoint_count;
}

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
    {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_WAIT_MS},
    /* By default the pings stop on a watch where nothing happens. */
    {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
    {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS},
    {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, BACKOFF_MS},
    {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, MAX_BACKOFF_MS},
};

static grpc_channel *channel_new(const char *target)
{
    grpc_arg args[sizeof channel_options / sizeof *channel_options];
    grpc_channel_args all = {.num_args = sizeof args / sizeof *args, .args = args};
    for (size_t i = 0; i < all.num_args; i++)
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER,
                             .key = (char *)channel_options[i].key, /* copied, never written to */
                             .value.integer = channel_options[i].value};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    return channel;
}

static int endpoint_init(fwi_etcd_endpoint *endpoint, const fw_url_host *host)
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
    if (!endpoint->name)
        return UV_ENOMEM;
    endpoint->channel = channel_new(target);
    if (!endpoint->channel)
        return UV_ENOMEM;
    for (int i = 0; i < FWI_ETCD_METHODS; i++)
        endpoint->methods[i] =
            grpc_channel_register_call(endpoint->channel, method_paths[i], NULL, NULL);
    return FW_OK;
}

static void channels_destroy(fwi_etcd_client *client)
{
    for (size_t i = 0; i < client->endpoint_count; i++) {
        if (client->endpoints[i].channel)
            grpc_channel_destroy(client->endpoints[i].channel);
        client->endpoints[i].channel = NULL;
    }
}

static void client_free(fwi_etcd_client *client)
{
    channels_destroy(client);
    fwi_etcd_auth_fini(client);
    for (size_t i = 0; i < client->endpoint_count; i++)
        free(client->endpoints[i].name);
    free(client->endpoints);
    free(client->prefix);
    free(client);
}

/* The path as what stands before every key: "" or "/demo". */
static int prefix_of(const fw_url *url, char **ret_prefix)
{
    char *path;
    int err = fwi_kv_key_normalise(url->path, true, &path);
    if (err)
        return err == FW_EKEY ? FW_EURL : err;
    size_t len = strlen(path);
    char *prefix = malloc(len + 2);
    if (prefix) {
        prefix[0] = len ? '/' : 0;
        memcpy(prefix + (len ? 1 : 0), path, len + 1);
    }
    free(path);
    *ret_prefix = prefix;
    return prefix ? FW_OK : UV_ENOMEM;
}

int fwi_etcd_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    if (!url->host_count)
        return FW_EURL;
    pthread_once(&grpc_once, start_grpc);
    if (atomic_load(&forked))
        return FW_EUNSUPPORTED;
    fwi_etcd_client *client = calloc(1, sizeof *client);
    if (!client)
        return UV_ENOMEM;
    client->kv = kv;
    client->loop = fw_kv_loop(kv);
    fwi_list_init(&client->requests);
    int err = prefix_of(url, &client->prefix);
    if (err)
        goto fail;
    client->prefix_len = strlen(client->prefix);
    err = fwi_etcd_auth_init(client, access);
    if (err)
        goto fail;
    err = UV_ENOMEM;
    client->endpoints = calloc(url->host_count, sizeof *client->endpoints);
    if (!client->endpoints)
        goto fail;
    client->endpoint_count = url->host_count;
    client->current = fwi_random_below((uint32_t)url->host_count);
    for (size_t i = 0; i < url->host_count; i++) {
        err = endpoint_init(&client->endpoints[i], &url->hosts[i]);
        if (err)
            goto fail;
    }
    err = fwi_etcd_queue_init(&client->queue, client->loop, fwi_kv_is_driven(kv));
    if (err)
        goto fail;
    /* Connecting begins now, not with the first operation. */
    grpc_channel_check_connectivity_state(client->endpoints[client->current].channel, 1);
    *ret_store = client;
    return FW_OK;
fail:
    client_free(client);
    return err;
}

static void on_queue_ended(void *arg)
{
    fwi_etcd_client *client = arg;
    fw_kv *kv = client->kv;
    client_free(client);
    fwi_kv_closed(kv);
}

static void continue_close(fwi_etcd_client *client)
{
    if (!client->closing || client->draining || client->calls)
        return;
    client->draining = true;
    channels_destroy(client);
    fwi_etcd_queue_close(&client->queue, on_queue_ended, client);
}

void fwi_etcd_client_call_ended(fwi_etcd_client *client)
{
    client->calls--;
    continue_close(client);
}

void fwi_etcd_close(void *store)
{
    fwi_etcd_client *client = store;
    client->closing = true;
    fwi_etcd_requests_end(client);
    continue_close(client);
}

void fwi_etcd_wait(void *store, uint32_t timeout_ms)
{
    fwi_etcd_client *client = store;
    fwi_etcd_queue_wait(&client->queue, timeout_ms);
}
