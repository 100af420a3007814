/*
 * etcd+http://host:port[,host:port...]/prefix, and etcd+https: the client object, its life, its
 * endpoints. The whole driver, from below:
 *
 *     json.c  notice.c     requests and replies
 *     multi.c     the calls on curl's multi handle (../curl_loop.c has that on the loop)
 *     call.c      one exchange over HTTP, or a stream of messages
 *     health.c    which endpoints are alive
 *     auth.c      the token of a store with users
 *     request.c   a unary call with failover, token and deadline
 *     watch.c     a watch, on a stream of its own
 *     transport.c what the core asks, as JSON; when leases are renewed
 *     ../etcd_core    operations, lists, transactions, leases, keys, PEM files
 *
 * Everything runs on the loop's thread; curl's resolver has threads of its own for names.
 *
 * Endpoints. There is one current endpoint for all that is asked; a failure of a call that was made
 * on it moves on to the next. Which is the first is left to chance, so that many clients with one
 * URL do not all sit on one member.
 *
 * Closing. By then the front has stopped all watches and leases. Requests are answered, their calls
 * dropped, curl ended; when libuv has closed the polls, fwi_kv_closed. Nothing of it waits for a
 * server.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

#define DEFAULT_PORT   2379
#define MAX_NAME_BYTES 300

void fwi_eh_endpoint_failed(fwi_eh_client *client, size_t endpoint)
{
    client->endpoints[endpoint].answers = false;
    if (client->current == endpoint)
        client->current = (endpoint + 1) % client->endpoint_count;
}

/* True if a name can stand in a URL as it is. */
static bool is_host(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "-._:";
    return name[0] && !name[strspn(name, allowed)];
}

static int endpoint_init(fwi_eh_endpoint *endpoint, fwi_eh_client *client, const fw_url_host *host)
{
    char name[MAX_NAME_BYTES], url[MAX_NAME_BYTES + 16];
    int port = host->port ? host->port : DEFAULT_PORT;
    bool is_v6 = strchr(host->name, ':') != NULL;
    int len = snprintf(name, sizeof name, is_v6 ? "[%s]:%d" : "%s:%d", host->name, port);
    if (!is_host(host->name) || len < 0 || (size_t)len >= sizeof name)
        return FW_EURL;
    (void)snprintf(url, sizeof url, "%s://%s", client->is_tls ? "https" : "http", name);
    fwi_eh_health_init(endpoint, client);
    endpoint->name = strdup(name);
    endpoint->url = strdup(url);
    return endpoint->name && endpoint->url ? FW_OK : UV_ENOMEM;
}

static int copy(const char *text, char **ret_copy)
{
    *ret_copy = text ? strdup(text) : NULL;
    return text && !*ret_copy ? UV_ENOMEM : FW_OK;
}

/* The files that the user has named, looked at when the store is opened: curl would find out at the
 * first connection only, and then say less. curl reads them again for each connection, so those
 * that are renewed on disk are used. */
static int check_files(fw_kv *kv, const fwi_kv_access *access)
{
    char detail[FWI_EC_PEM_DETAIL_BYTES];
    fwi_ec_pems texts;
    int err = fwi_ec_pems_read(access->cacert, access->cert, access->key, &texts, detail);
    if (err)
        return fwi_kv_open_failed(kv, err, "%s", detail);
    fwi_ec_pems_fini(&texts);
    return FW_OK;
}

static int set_access(fwi_eh_client *client, const fwi_kv_access *access)
{
    if (!access->user != !access->password)
        return fwi_kv_open_failed(client->core.kv, FW_EOPTION, "a user and a password go together");
    int err = check_files(client->core.kv, access);
    if (err)
        return err;
    err = copy(access->cacert, &client->cacert);
    if (!err)
        err = copy(access->cert, &client->cert);
    if (!err)
        err = copy(access->key, &client->key);
    return err ? err : fwi_eh_auth_init(client, access);
}

static void client_free(fwi_eh_client *client)
{
    for (size_t i = 0; i < client->endpoint_count; i++) {
        free(client->endpoints[i].name);
        free(client->endpoints[i].url);
    }
    fwi_eh_auth_fini(client);
    free(client->endpoints);
    fwi_ec_store_fini(&client->core);
    free(client->cacert);
    free(client->cert);
    free(client->key);
    free(client);
}

static int client_init(fwi_eh_client *client, const fw_url *url, const fwi_kv_access *access)
{
    int err = FW_OK;
    client->endpoints = calloc(url->host_count, sizeof *client->endpoints);
    if (!client->endpoints)
        return UV_ENOMEM;
    client->endpoint_count = url->host_count;
    client->current = fwi_random_below((uint32_t)url->host_count);
    for (size_t i = 0; !err && i < url->host_count; i++)
        err = endpoint_init(&client->endpoints[i], client, &url->hosts[i]);
    if (!err)
        err = set_access(client, access);
    if (!err)
        err = fwi_eh_multi_init(client);
    return err;
}

int fwi_eh_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    if (!url->host_count)
        return FW_EURL;
    fwi_eh_client *client = calloc(1, sizeof *client);
    if (!client)
        return UV_ENOMEM;
    client->is_tls = !strcmp(url->scheme, "etcd+https");
    fwi_list_init(&client->requests);
    int err = fwi_ec_store_init(&client->core, &fwi_eh_transport, kv, url);
    if (!err)
        err = client_init(client, url, access);
    if (err)
        client_free(client);
    else
        *ret_store = client;
    return err;
}

void fwi_eh_continue_close(fwi_eh_client *client)
{
    if (!client->closing || client->multi.curl.multi || client->multi.curl.polls)
        return;
    fw_kv *kv = client->core.kv;
    client_free(client);
    fwi_kv_closed(kv);
}

void fwi_eh_close(void *store)
{
    fwi_eh_client *client = store;
    client->closing = true;
    fwi_eh_requests_end(client);
    for (size_t i = 0; i < client->endpoint_count; i++)
        fwi_eh_health_end(&client->endpoints[i]);
    fwi_eh_multi_end(client);
    fwi_eh_continue_close(client);
}
