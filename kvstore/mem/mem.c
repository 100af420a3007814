/*
 * mem:NAME, the reference: a store in this process, shared by all who open the same name on any
 * loop.
 *
 * A store is a map, a revision, and the log of its last changes, under one mutex. Operations run
 * where they are submitted. Every handle (one fw_kv) has its watches; a change kicks the handles,
 * and each watch then takes from the log, on its own loop, what it has not seen. A watch that has
 * fallen behind the log lists again. Leases carry a time; whichever handle's timer comes first
 * deletes what has expired.
 */
#include "mem/store.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define MAX_VALUE_BYTES (16u * 1024 * 1024)

static void submit(void *arg, fwi_kv_op *op)
{
    struct fwi_mem_handle *handle = arg;
    struct fwi_mem_store *store = handle->store;
    pthread_mutex_lock(&store->mutex);
    fwi_mem_expire_locked(store);
    int status = fwi_mem_run_locked(store, op);
    op->revision = store->revision;
    pthread_mutex_unlock(&store->mutex);
    fwi_kv_op_finish(op, status, NULL);
}

/* ---- watches ---- */

static void catch_up_all(struct fwi_mem_handle *handle)
{
    /* A callback may stop any watch: each is back in its list before it is served. */
    fwi_list unserved;
    fwi_list_init(&unserved);
    fwi_list_splice(&unserved, &handle->watches);
    for (fwi_list *node; (node = fwi_list_pop(&unserved));) {
        fwi_list_push_back(&handle->watches, node);
        fwi_mem_catch_up(handle->store, fwi_container_of(node, fw_kv_watch, node));
    }
}

static void kick(struct fwi_mem_handle *handle)
{
    pthread_mutex_lock(&handle->store->mutex);
    if (!handle->kicked) {
        handle->kicked = true;
        fwi_loop_post_task(handle->loop, &handle->kick);
    }
    pthread_mutex_unlock(&handle->store->mutex);
}

static void watch_start(void *arg, fw_kv_watch *watch)
{
    struct fwi_mem_handle *handle = arg;
    fwi_list_push_back(&handle->watches, &watch->node);
    kick(handle);
}

static void watch_stop(void *arg, fw_kv_watch *watch)
{
    (void)arg;
    fwi_list_remove(&watch->node);
    fwi_kv_watch_stopped(watch);
}

/* ---- leases ---- */

static void lease_grant(void *arg, fw_kv_lease *lease)
{
    struct fwi_mem_handle *handle = arg;
    pthread_mutex_lock(&handle->store->mutex);
    struct fwi_mem_lease *granted = fwi_mem_lease_add_locked(handle->store, lease->ttl_ms);
    int64_t id = granted ? granted->id : 0;
    pthread_mutex_unlock(&handle->store->mutex);
    fwi_kv_lease_granted(lease, id ? FW_OK : UV_ENOMEM, NULL, id, lease->ttl_ms);
    if (id)
        fwi_list_push_back(&handle->leases, &lease->node);
}

static void lease_revoke(void *arg, fw_kv_lease *lease)
{
    struct fwi_mem_handle *handle = arg;
    fwi_list_remove(&lease->node);
    pthread_mutex_lock(&handle->store->mutex);
    struct fwi_mem_lease *granted = fwi_mem_lease_find_locked(handle->store, lease->id);
    if (granted)
        fwi_mem_lease_end_locked(handle->store, granted);
    pthread_mutex_unlock(&handle->store->mutex);
    fwi_kv_lease_gone(lease);
}

/* Renews this handle's leases that have passed a third of their time; reports the lost ones. */
static void renew(struct fwi_mem_handle *handle)
{
    uint64_t now = fwi_mem_clock_ms();
    fwi_list_for_each_safe (node, &handle->leases) {
        fw_kv_lease *lease = fwi_container_of(node, fw_kv_lease, node);
        struct fwi_mem_lease *granted = fwi_mem_lease_find_locked(handle->store, lease->id);
        if (!granted) {
            fwi_list_remove(node);
            fwi_kv_lease_lost(lease, FW_ELEASE, "expired");
        } else if (granted->expires_ms - now <= granted->ttl_ms - granted->ttl_ms / 3) {
            granted->expires_ms = now + granted->ttl_ms;
        }
    }
}

/* Sets the timer to the next renewal of ours or the next expiry of anybody's. */
static void set_timer(struct fwi_mem_handle *handle)
{
    uint64_t next = UINT64_MAX;
    fwi_list_for_each (node, &handle->store->leases) {
        struct fwi_mem_lease *lease = fwi_container_of(node, struct fwi_mem_lease, node);
        if (lease->expires_ms < next)
            next = lease->expires_ms;
    }
    fwi_list_for_each (node, &handle->leases) {
        const fw_kv_lease *own = fwi_container_of(node, fw_kv_lease, node);
        struct fwi_mem_lease *lease = fwi_mem_lease_find_locked(handle->store, own->id);
        uint64_t renewal = lease ? lease->expires_ms - (lease->ttl_ms - lease->ttl_ms / 3) : 0;
        if (renewal < next)
            next = renewal;
    }
    fwi_loop_timer_stop(handle->loop, &handle->timer);
    uint64_t now = fwi_mem_clock_ms();
    if (next != UINT64_MAX)
        fwi_loop_timer_start(handle->loop, &handle->timer, next > now ? next - now : 0);
}

static void handle_free(struct fwi_mem_handle *handle);

static void keep_time(struct fwi_mem_handle *handle)
{
    pthread_mutex_lock(&handle->store->mutex);
    renew(handle);
    fwi_mem_expire_locked(handle->store);
    set_timer(handle);
    pthread_mutex_unlock(&handle->store->mutex);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    keep_time(arg);
}

static void on_kick(fwi_task *task, void *arg)
{
    (void)task;
    struct fwi_mem_handle *handle = arg;
    pthread_mutex_lock(&handle->store->mutex);
    handle->kicked = false;
    pthread_mutex_unlock(&handle->store->mutex);
    if (handle->closing) {
        handle_free(handle);
        return;
    }
    keep_time(handle);
    catch_up_all(handle);
}

/* ---- life ---- */

static int open_mem(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    (void)access;
    if (url->host_count)
        return FW_EURL;
    struct fwi_mem_handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        return UV_ENOMEM;
    handle->store = fwi_mem_store_acquire(url->path);
    if (!handle->store) {
        free(handle);
        return UV_ENOMEM;
    }
    handle->kv = kv;
    handle->loop = fw_kv_loop(kv);
    fwi_list_init(&handle->watches);
    fwi_list_init(&handle->leases);
    handle->timer = (fwi_timer){.fn = on_timer, .arg = handle};
    handle->kick = (fwi_task){.fn = on_kick, .arg = handle};
    pthread_mutex_lock(&handle->store->mutex);
    fwi_list_push_back(&handle->store->handles, &handle->node);
    pthread_mutex_unlock(&handle->store->mutex);
    *ret_store = handle;
    return FW_OK;
}

static void handle_free(struct fwi_mem_handle *handle)
{
    fw_kv *kv = handle->kv;
    fwi_mem_store_release(handle->store);
    free(handle);
    fwi_kv_closed(kv);
}

static void close_mem(void *arg)
{
    struct fwi_mem_handle *handle = arg;
    fwi_loop_timer_stop(handle->loop, &handle->timer);
    pthread_mutex_lock(&handle->store->mutex);
    fwi_list_remove(&handle->node); /* nobody kicks it any more */
    bool kicked = handle->kicked;
    pthread_mutex_unlock(&handle->store->mutex);
    handle->closing = true;
    if (!kicked)
        handle_free(handle);
}

const fwi_kv_driver fwi_kv_driver_mem = {
    .scheme = "mem",
    .capabilities = FW_KV_CAN_TXN | FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME,
    .max_value_bytes = MAX_VALUE_BYTES,
    .open = open_mem,
    .close = close_mem,
    .submit = submit,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .lease_grant = lease_grant,
    .lease_revoke = lease_revoke,
};
