/*
 * The blocking facade's thread for leases and locks: a loop and a store of its own, so that they
 * are kept alive whatever the program does meanwhile. Calls are posted to it and waited for.
 */
#include "wait.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fwi_wait_keeper {
    pthread_t thread;
    fw_loop *loop;
    fw_kv *kv;
    pthread_mutex_t mutex;
    pthread_cond_t cond; /* a call is answered */
};

/* A call from another thread, on its stack. */
struct call {
    fwi_wait_keeper *keeper;
    void (*fn)(struct call *call); /* on the keeper's loop; answer() follows, then or later */
    bool answered;                 /* guarded by the keeper's mutex */
    fwi_task task;
    int status;
};

static void answer(struct call *call, int status)
{
    pthread_mutex_lock(&call->keeper->mutex);
    call->status = status;
    call->answered = true;
    pthread_cond_broadcast(&call->keeper->cond);
    pthread_mutex_unlock(&call->keeper->mutex);
}

static void on_call(fwi_task *task, void *arg)
{
    (void)task;
    struct call *call = arg;
    call->fn(call);
}

static int call_and_wait(struct call *call, fwi_wait_keeper *keeper, void (*fn)(struct call *call))
{
    call->keeper = keeper;
    call->fn = fn;
    call->answered = false;
    call->task = (fwi_task){.fn = on_call, .arg = call};
    fwi_loop_post_task(keeper->loop, &call->task);
    pthread_mutex_lock(&keeper->mutex);
    while (!call->answered)
        pthread_cond_wait(&keeper->cond, &keeper->mutex);
    pthread_mutex_unlock(&keeper->mutex);
    return call->status;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    fwi_wait_keeper *keeper = arg;
    fw_loop_run(keeper->loop);
    return NULL;
}

static void keeper_free(fwi_wait_keeper *keeper)
{
    fw_loop_close(keeper->loop);
    pthread_mutex_destroy(&keeper->mutex);
    pthread_cond_destroy(&keeper->cond);
    free(keeper);
}

static void on_kv_closed(void *arg)
{
    answer(arg, FW_OK);
}

static void close_kv(struct call *call)
{
    fw_kv_close(call->keeper->kv, on_kv_closed, call);
}

int fwi_wait_keeper_get(fw_wait_kv *kv, fwi_wait_keeper **ret_keeper)
{
    *ret_keeper = kv->keeper;
    if (kv->keeper)
        return FW_OK;
    fwi_wait_keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return UV_ENOMEM;
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_cond_init(&keeper->cond, NULL);
    int err = fw_loop_new(&keeper->loop);
    /* The store keeps the loop alive until it is closed. */
    if (!err)
        err = fw_kv_open(keeper->loop, kv->url, &kv->options, &keeper->kv);
    if (err) {
        keeper_free(keeper);
        return err;
    }
    err = -pthread_create(&keeper->thread, NULL, run, keeper);
    if (err) {
        fw_kv_close(keeper->kv, NULL, NULL);
        fw_loop_run(keeper->loop);
        keeper_free(keeper);
        return err;
    }
    kv->keeper = *ret_keeper = keeper;
    return FW_OK;
}

void fwi_wait_keeper_end(fwi_wait_keeper *keeper)
{
    if (!keeper)
        return;
    struct call call;
    call_and_wait(&call, keeper, close_kv);
    pthread_join(keeper->thread, NULL);
    keeper_free(keeper);
}

/* ---- leases ---- */

struct fw_wait_lease {
    fwi_wait_keeper *keeper;
    fw_kv_lease *lease;
    atomic_int state;
    struct call *call; /* waits for the grant */
};

struct lease_call {
    struct call base;
    fw_wait_lease *lease;
    uint32_t ttl_ms;
};

static void on_granted(fw_kv_lease *kv_lease, int status, const char *detail, void *arg)
{
    (void)kv_lease;
    (void)detail;
    fw_wait_lease *lease = arg;
    answer(lease->call, status);
}

static void on_lease_lost(fw_kv_lease *kv_lease, int reason, const char *detail, void *arg)
{
    (void)kv_lease;
    (void)detail;
    fw_wait_lease *lease = arg;
    atomic_store(&lease->state, reason);
}

static void ask_lease(struct call *base)
{
    struct lease_call *call = (struct lease_call *)base;
    fw_wait_lease *lease = call->lease;
    fw_kv_lease_options options = {
        .ttl_ms = call->ttl_ms, .on_granted = on_granted, .on_lost = on_lease_lost, .arg = lease};
    lease->call = base;
    int err = fw_kv_lease_new(base->keeper->kv, &options, &lease->lease);
    if (err)
        answer(base, err);
}

static void on_part_closed(void *arg)
{
    answer(arg, FW_OK);
}

static void close_lease(struct call *base)
{
    struct lease_call *call = (struct lease_call *)base;
    fw_kv_lease_close(call->lease->lease, on_part_closed, base);
}

int fw_wait_lease_new(fw_wait_kv *kv, uint32_t ttl_ms, fw_wait_lease **ret_lease)
{
    fwi_wait_keeper *keeper;
    int err = fwi_wait_keeper_get(kv, &keeper);
    if (err)
        return err;
    fw_wait_lease *lease = calloc(1, sizeof *lease);
    if (!lease)
        return UV_ENOMEM;
    lease->keeper = keeper;
    struct lease_call call = {.lease = lease, .ttl_ms = ttl_ms};
    err = call_and_wait(&call.base, keeper, ask_lease);
    if (err) {
        fw_wait_lease_close(lease);
        return err;
    }
    *ret_lease = lease;
    return FW_OK;
}

int fw_wait_lease_state(fw_wait_lease *lease)
{
    return atomic_load(&lease->state);
}

void fw_wait_lease_close(fw_wait_lease *lease)
{
    struct lease_call call = {.lease = lease};
    if (lease->lease)
        call_and_wait(&call.base, lease->keeper, close_lease);
    free(lease);
}

/* ---- puts under a lease ---- */

struct put_call {
    struct call base;
    fw_wait_kv *kv; /* whose result is filled */
    const char *key;
    fw_slice value;
    int64_t previous;
    bool atomic;
    fw_wait_lease *lease;
};

static void on_put(const fw_kv_result *result, void *arg)
{
    struct put_call *call = arg;
    fw_wait_kv *kv = call->kv;
    kv->result.revision = result->revision;
    snprintf(kv->detail, sizeof kv->detail, "%s", result->detail);
    answer(&call->base, result->status);
}

static void ask_put(struct call *base)
{
    struct put_call *call = (struct put_call *)base;
    fw_kv *kv = base->keeper->kv;
    fw_kv_put_options options = {.lease = call->lease->lease};
    int err = call->atomic ? fw_kv_atomic_put(kv, call->key, call->value, call->previous, &options,
                                              on_put, call)
                           : fw_kv_put(kv, call->key, call->value, &options, on_put, call);
    if (err)
        answer(base, err);
}

void fwi_wait_keeper_put(fw_wait_kv *kv, const char *key, fw_slice value, int64_t previous,
                         bool atomic, fw_wait_lease *lease)
{
    struct put_call call = {.kv = kv,
                            .key = key,
                            .value = value,
                            .previous = previous,
                            .atomic = atomic,
                            .lease = lease};
    kv->result.status = call_and_wait(&call.base, lease->keeper, ask_put);
}

/* ---- locks ---- */

struct fw_wait_lock {
    fwi_wait_keeper *keeper;
    fw_kv_lock *lock;
    fw_kv_compare compare;
    atomic_int state;
    struct call *call; /* waits for it */
};

struct lock_call {
    struct call base;
    fw_wait_lock *lock;
    const char *key;
    fw_kv_lock_options options;
};

static void on_acquired(fw_kv_lock *kv_lock, int status, const char *detail, void *arg)
{
    (void)detail;
    fw_wait_lock *lock = arg;
    lock->compare = fw_kv_lock_compare(kv_lock);
    answer(lock->call, status);
}

static void on_lock_lost(fw_kv_lock *kv_lock, int reason, const char *detail, void *arg)
{
    (void)kv_lock;
    (void)detail;
    fw_wait_lock *lock = arg;
    atomic_store(&lock->state, reason);
}

static void ask_lock(struct call *base)
{
    struct lock_call *call = (struct lock_call *)base;
    fw_wait_lock *lock = call->lock;
    lock->call = base;
    call->options.on_acquired = on_acquired;
    call->options.on_lost = on_lock_lost;
    call->options.arg = lock;
    int err = fw_kv_lock_new(base->keeper->kv, call->key, &call->options, &lock->lock);
    if (err)
        answer(base, err);
}

static void close_lock(struct call *base)
{
    struct lock_call *call = (struct lock_call *)base;
    fw_kv_lock_close(call->lock->lock, on_part_closed, base);
}

int fw_wait_lock_new(fw_wait_kv *kv, const char *key, const fw_kv_lock_options *options,
                     fw_wait_lock **ret_lock)
{
    fwi_wait_keeper *keeper;
    int err = fwi_wait_keeper_get(kv, &keeper);
    if (err)
        return err;
    fw_wait_lock *lock = calloc(1, sizeof *lock);
    if (!lock)
        return UV_ENOMEM;
    lock->keeper = keeper;
    struct lock_call call = {.lock = lock, .key = key};
    if (options)
        call.options = *options;
    err = call_and_wait(&call.base, keeper, ask_lock);
    if (err) {
        fw_wait_lock_close(lock);
        return err;
    }
    *ret_lock = lock;
    return FW_OK;
}

int64_t fw_wait_lock_token(fw_wait_lock *lock)
{
    return lock->compare.revision;
}

int fw_wait_lock_state(fw_wait_lock *lock)
{
    return atomic_load(&lock->state);
}

fw_kv_compare fw_wait_lock_compare(fw_wait_lock *lock)
{
    return lock->compare;
}

void fw_wait_lock_close(fw_wait_lock *lock)
{
    struct lock_call call = {.lock = lock};
    if (lock->lock)
        call_and_wait(&call.base, lock->keeper, close_lock);
    free(lock);
}
