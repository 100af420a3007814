/*
 * redis://[user@]host[:port][/db[/prefix]]: the object, its life, and the time of leases.
 *
 * Two links: `ops` for everything that is asked, pipelined; `bell`, while there are watches, to
 * wait on. Whoever is alive deletes what has expired: every answer tells when the next lease is
 * due, and each handle then calls the script, a little later than the others by chance, so that
 * mostly one does.
 *
 * Closing. By then the front has stopped all watches and leases. What is still asked is answered;
 * when libuv has let go of the last socket and look-up, fwi_kv_closed. Nothing waits for the server
 * (a look-up of a name that has begun cannot be called off).
 */
#include "redis.h"

#include <fairway/error.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"

#define DEFAULT_PORT    6379
#define MAX_DB_DIGITS   9
#define OPS_PATIENCE_MS 4000
/* Beside the second for which the server holds back its answer. */
#define BELL_PATIENCE_MS 4000
#define EXPIRY_SPREAD_MS 50
#define EXPIRY_RETRY_MS  1000

static const char *const names[FWI_REDIS_KEYS] = {"state",  "meta", "values", "index",
                                                  "leases", "held", "log",    "bell"};

/* ---- expiry ---- */

void fwi_redis_heard_due(fwi_redis_client *client, int64_t due_ms)
{
    if (client->closing)
        return;
    if (due_ms < 0) {
        fwi_loop_timer_stop(client->loop, &client->expiry);
        return;
    }
    /* Not anew with each answer that says the same: many reads would put it off for ever. */
    uint64_t at_ms = fw_loop_now_ms(client->loop) + (uint64_t)due_ms;
    if (fwi_timer_armed(&client->expiry) && at_ms >= client->due_ms &&
        at_ms <= client->due_ms + EXPIRY_SPREAD_MS)
        return;
    client->due_ms = at_ms;
    fwi_loop_timer_start(client->loop, &client->expiry,
                         (uint64_t)due_ms + 1 + fwi_random_below(EXPIRY_SPREAD_MS));
}

static void on_expired(const fwi_redis_reply *reply, void *arg)
{
    fwi_redis_client *client = arg;
    client->expire = NULL;
    if (reply->status)
        fwi_redis_heard_due(client, EXPIRY_RETRY_MS);
}

static void on_due(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_redis_client *client = arg;
    if (client->expire)
        return;
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_script(&args, client, "expire");
    uint64_t deadline_ms = fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv);
    if (fwi_redis_ask(&client->ops, FWI_REDIS_REPEAT, deadline_ms, &args, on_expired, client,
                      &client->expire)) {
        client->expire = NULL;
        fwi_redis_heard_due(client, EXPIRY_RETRY_MS);
    }
}

/* ---- opening ---- */

static void client_free(fwi_redis_client *client)
{
    free(client->host);
    free(client->db);
    free(client->user);
    if (client->password)
        explicit_bzero(client->password, strlen(client->password));
    free(client->password);
    for (size_t i = 0; i < FWI_REDIS_KEYS; i++)
        free(client->names[i]);
    free(client);
}

/* "/db/prefix" into its parts. */
static int parse_path(fw_kv *kv, const char *path, char **ret_db, char **ret_prefix)
{
    path += strspn(path, "/");
    size_t len = strcspn(path, "/"), digits = strspn(path, "0123456789");
    if (digits != len || len > MAX_DB_DIGITS)
        return fwi_kv_open_failed(kv, FW_EURL, "redis: the path begins with a database's number");
    *ret_db = len ? strndup(path, len) : strdup("0");
    if (!*ret_db)
        return UV_ENOMEM;
    int err = fwi_kv_key_normalise(path + len, true, ret_prefix);
    if (err)
        free(*ret_db);
    return err;
}

/* All under one hash tag, so that they lie on one node of a cluster. */
static int make_names(fwi_redis_client *client, const char *prefix)
{
    for (size_t i = 0; i < FWI_REDIS_KEYS; i++) {
        size_t size = sizeof "{fairway/}:" + strlen(prefix) + strlen(names[i]);
        client->names[i] = malloc(size);
        if (!client->names[i])
            return UV_ENOMEM;
        (void)snprintf(client->names[i], size, "{fairway/%s}:%s", prefix, names[i]);
    }
    return FW_OK;
}

static int copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text ? strdup(text) : NULL;
    return text && !*ret_copy ? UV_ENOMEM : FW_OK;
}

static int client_init(fwi_redis_client *client, const fw_url *url, const fwi_kv_access *access)
{
    char *prefix;
    int err = parse_path(client->kv, url->path, &client->db, &prefix);
    if (err)
        return err;
    err = make_names(client, prefix);
    free(prefix);
    if (!err)
        err = copy_text(url->hosts[0].name, &client->host);
    if (!err)
        err = copy_text(access->user, &client->user);
    if (!err)
        err = copy_text(access->password, &client->password);
    return err;
}

static int open_redis(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    if (url->host_count != 1 || !*url->hosts[0].name)
        return fwi_kv_open_failed(kv, FW_EURL, "redis: takes one host");
    fwi_redis_client *client = calloc(1, sizeof *client);
    if (!client)
        return UV_ENOMEM;
    client->kv = kv;
    client->loop = fw_kv_loop(kv);
    client->port = url->hosts[0].port ? url->hosts[0].port : DEFAULT_PORT;
    client->expiry = (fwi_timer){.fn = on_due, .arg = client};
    int err = client_init(client, url, access);
    if (err) {
        client_free(client);
        return err;
    }
    fwi_redis_link_init(&client->ops, client, OPS_PATIENCE_MS);
    fwi_redis_link_init(&client->bell, client, BELL_PATIENCE_MS);
    fwi_redis_watches_init(client);
    fwi_redis_link_start(&client->ops);
    *ret_store = client;
    return FW_OK;
}

/* ---- closing ---- */

void fwi_redis_handle_gone(fwi_redis_client *client)
{
    if (--client->handles || !client->closing)
        return;
    fw_kv *kv = client->kv;
    client_free(client);
    fwi_kv_closed(kv);
}

static void close_redis(void *store)
{
    fwi_redis_client *client = store;
    client->closing = true;
    client->handles++; /* until this is through */
    fwi_redis_watches_fini(client);
    if (client->expire)
        fwi_redis_forget(client->expire);
    client->expire = NULL;
    fwi_loop_timer_stop(client->loop, &client->expiry);
    fwi_redis_link_stop(&client->ops);
    fwi_redis_link *const links[] = {&client->ops, &client->bell};
    for (size_t i = 0; i < 2; i++) {
        fwi_redis_fail_queue(links[i], FW_ECANCELED, NULL, true);
        fwi_loop_defer_cancel(client->loop, &links[i]->flush);
    }
    fwi_redis_handle_gone(client);
}

static const fwi_kv_driver driver = {
    .scheme = "redis",
    .capabilities = FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES | FW_KV_CAN_PERSIST |
                    FW_KV_CAN_TXN | FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME,
    .takes = FWI_KV_TAKES_USER,
    .max_value_bytes = FWI_REDIS_MAX_VALUE_BYTES,
    .open = open_redis,
    .close = close_redis,
    .submit = fwi_redis_submit,
    .watch_start = fwi_redis_watch_start,
    .watch_stop = fwi_redis_watch_stop,
    .lease_grant = fwi_redis_lease_grant,
    .lease_revoke = fwi_redis_lease_revoke,
};

extern FW_API fwi_kv_module fwi_kv_module_drivers;
fwi_kv_module fwi_kv_module_drivers = {&driver, NULL};
