/*
 * etcd://host:port[,host:port...]/prefix: the client object and its life. The whole driver, from
 * below:
 *
 *     start.c     gRPC itself;  message.c  the bytes of its messages
 *     queue.c     a gRPC completion queue, who polls it, the hand-over to the loop
 *     call.c      one gRPC call: unary, or a stream of replies
 *     endpoint.c  the members of the cluster, each with a channel;  tls.c  certificates
 *     request.c   a unary call with failover and a deadline;  auth.c  the token it carries
 *     watch.c  watch_stream.c  watch_probe.c  watch_events.c    watches, many on one stream
 *     lease.c  keep_alive.c     the renewals of all leases, on one stream (both: streams.h)
 *     transport.c  wire.c       what the core asks, and what it reads of the replies
 *     ../etcd_core              operations, lists, transactions, leases, keys, PEM files
 *
 * Threads. Everything runs on the loop's thread but one function: the poller (queue.c), which takes
 * completed batches from gRPC and puts them on a list. A store that is driven by the thread that
 * waits for it (<fairway/wait.h>) has no poller: that thread itself sleeps in gRPC's queue. gRPC's
 * own threads never call us, except to log.
 *
 * Closing. By then the front has stopped all watches and leases. Requests are answered, calls
 * cancelled; when the last has ended (calls == 0) channels and queue go; when the poller has ended,
 * fwi_kv_closed. Nothing of it waits for a server.
 */
#include "etcd.h"
#include "start.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/random.h"

int fwi_etcd_client_check(const fwi_etcd_client *client)
{
    if (client->closing)
        return FW_ECANCELED;
    return fwi_grpc_check();
}

static void client_free(fwi_etcd_client *client)
{
    fwi_etcd_watches_fini(client);
    fwi_etcd_keep_alive_fini(client);
    fwi_etcd_auth_fini(client);
    fwi_etcd_tls_fini(&client->tls);
    for (size_t i = 0; i < client->endpoint_count; i++)
        fwi_etcd_endpoint_fini(&client->endpoints[i]);
    free(client->endpoints);
    fwi_ec_store_fini(&client->core);
    free(client);
}

int fwi_etcd_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    if (!url->host_count)
        return FW_EURL;
    int err = fwi_grpc_start();
    if (err)
        return err;
    fwi_etcd_client *client = calloc(1, sizeof *client);
    if (!client)
        return UV_ENOMEM;
    fwi_list_init(&client->requests);
    err = fwi_ec_store_init(&client->core, &fwi_etcd_transport, kv, url);
    if (err)
        goto fail;
    err = fwi_etcd_watches_init(client);
    if (!err)
        err = fwi_etcd_keep_alive_init(client);
    if (!err)
        err = fwi_etcd_auth_init(client, access);
    if (!err && !strcmp(url->scheme, FWI_ETCD_TLS_SCHEME))
        err = fwi_etcd_tls_init(client, access);
    if (err)
        goto fail;
    err = UV_ENOMEM;
    client->endpoints = calloc(url->host_count, sizeof *client->endpoints);
    if (!client->endpoints)
        goto fail;
    client->endpoint_count = url->host_count;
    client->current = fwi_random_below((uint32_t)url->host_count);
    for (size_t i = 0; i < url->host_count; i++) {
        err = fwi_etcd_endpoint_init(client, &client->endpoints[i], &url->hosts[i]);
        if (err)
            goto fail;
    }
    err = fwi_etcd_queue_init(&client->queue, client->core.loop, fwi_kv_is_driven(kv));
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
    fw_kv *kv = client->core.kv;
    client_free(client);
    fwi_kv_closed(kv);
}

static void continue_close(fwi_etcd_client *client)
{
    if (!client->closing || client->draining || client->calls)
        return;
    client->draining = true;
    for (size_t i = 0; i < client->endpoint_count; i++)
        fwi_etcd_endpoint_disconnect(&client->endpoints[i]);
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
