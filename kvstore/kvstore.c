/*
 * The front of the store: operations and the object's life.
 *
 * Closing: operations are answered with FW_ECANCELED, watches stopped, leases revoked; when the
 * last watch and lease are gone the driver closes; when it has and no operation is with it,
 * on_closed.
 *
 * Deadline: a driver answers in time by itself. If it does not (a writer of another process holds
 * the lock, say), the caller gets FW_EDEADLINE or FW_EUNKNOWN GRACE_MS after the deadline, and the
 * operation is freed when the driver comes back with it.
 */
#include "kv.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_TIMEOUT_MS 5000
#define GRACE_MS           250

int fwi_kv_open_failed(fw_kv *kv, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (kv->detail_size)
        vsnprintf(kv->detail, kv->detail_size, format, args);
    va_end(args);
    return error;
}

static fw_kv *kv_new(fw_loop *loop, const char *text, const fw_kv_options *options, bool driven)
{
    fw_kv *kv = calloc(1, sizeof *kv);
    if (!kv || !(kv->url = strdup(text))) {
        free(kv);
        return NULL;
    }
    kv->loop = loop;
    kv->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    kv->detail = options->detail;
    kv->detail_size = options->detail ? options->detail_size : 0;
    if (kv->detail_size)
        *kv->detail = 0;
    kv->driven = driven;
    fwi_list_init(&kv->ops);
    fwi_list_init(&kv->watches);
    fwi_list_init(&kv->leases);
    fwi_list_init(&kv->locks);
    return kv;
}

static int open_driver(fw_kv *kv, const fw_url *url, const fw_kv_options *options)
{
    int err = fwi_kv_driver_find(url->scheme, &kv->driver);
    if (err == FW_ESCHEME)
        return fwi_kv_open_failed(kv, err, "no store has the scheme \"%s\"", url->scheme);
    if (err)
        return err;
    fwi_kv_access access;
    err = fwi_kv_access_init(kv, url, options, &access);
    if (err)
        return err;
    err = kv->driver->open(kv, url, &access, &kv->store);
    fwi_kv_access_fini(&access);
    return err;
}

int fwi_kv_open(fw_loop *loop, const char *text, const fw_kv_options *options, bool driven,
                fw_kv **ret_kv)
{
    static const fw_kv_options no_options = {.timeout_ms = 0};
    options = options ? options : &no_options;
    fw_kv *kv = kv_new(loop, text, options, driven);
    if (!kv)
        return UV_ENOMEM;
    fw_url url;
    int err = fw_url_init(&url, text);
    if (!err) {
        err = open_driver(kv, &url, options);
        fw_url_fini(&url);
    }
    kv->detail_size = 0; /* the user's memory is lent for the opening only */
    if (err) {
        free(kv->url);
        free(kv);
        return err;
    }
    fwi_loop_hold(loop);
    *ret_kv = kv;
    return FW_OK;
}

int fw_kv_open(fw_loop *loop, const char *url, const fw_kv_options *options, fw_kv **ret_kv)
{
    return fwi_kv_open(loop, url, options, false, ret_kv);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fw_kv *kv = arg;
    fwi_loop_release(kv->loop);
    if (kv->on_closed)
        kv->on_closed(kv->closed_arg);
    free(kv->url);
    free(kv);
}

void fwi_kv_continue_close(fw_kv *kv)
{
    if (!kv->closing || !fwi_list_empty(&kv->locks) || !fwi_list_empty(&kv->watches) ||
        !fwi_list_empty(&kv->leases))
        return;
    if (!kv->driver_closing) {
        kv->driver_closing = true;
        kv->driver->close(kv->store);
    }
    if (kv->driver_closed && !kv->ops_count && !kv->gone.fn) {
        kv->gone = (fwi_task){.fn = on_gone, .arg = kv};
        fwi_loop_defer(kv->loop, &kv->gone);
    }
}

void fwi_kv_closed(fw_kv *kv)
{
    kv->driver_closed = true;
    fwi_kv_continue_close(kv);
}

/* Takes the side keys of locks out of a list. */
static void drop_side_keys(fwi_kv_pairs *pairs)
{
    size_t kept = 0;
    for (size_t i = 0; i < pairs->count; i++) {
        const fw_kv_pair *pair = &pairs->items[i];
        if (!fwi_kv_is_side_key(pair->key, strlen(pair->key), pair->lease))
            pairs->items[kept++] = *pair;
    }
    pairs->count = kept;
}

static void answer(fwi_kv_op *op)
{
    fw_kv_done_fn done = op->done;
    if (!done)
        return;
    op->done = NULL;
    fwi_list_remove(&op->pending);
    fwi_loop_timer_stop(op->kv->loop, &op->timer);
    if (op->type == FWI_KV_LIST && !op->with_side_keys)
        drop_side_keys(&op->pairs);
    fw_kv_result result = {.status = op->status,
                           .detail = op->detail ? op->detail : "",
                           .revision = op->revision,
                           .pairs = op->pairs.items,
                           .count = op->pairs.items ? op->pairs.count : op->count,
                           .succeeded = op->succeeded};
    if (op->status)
        result.pairs = NULL, result.count = 0, result.succeeded = false;
    op->kv->answering = op;
    done(&result, op->arg);
    op->kv->answering = NULL;
}

void fwi_kv_take_pairs(fw_kv *kv, fwi_kv_pairs *ret_pairs)
{
    *ret_pairs = (fwi_kv_pairs){.count = 0};
    if (!kv->answering)
        return;
    *ret_pairs = kv->answering->pairs;
    kv->answering->pairs = (fwi_kv_pairs){.count = 0};
}

static void end_everything(fwi_task *task, void *arg)
{
    (void)task;
    fw_kv *kv = arg;
    while (!fwi_list_empty(&kv->ops)) {
        fwi_kv_op *op = fwi_container_of(kv->ops.next, fwi_kv_op, pending);
        /* The driver may still be writing to the answer in its thread: give our own. */
        fw_kv_done_fn done = op->done;
        op->done = NULL;
        fwi_list_remove(&op->pending);
        fwi_loop_timer_stop(kv->loop, &op->timer);
        fw_kv_result result = {.status = FW_ECANCELED, .detail = ""};
        done(&result, op->arg);
    }
    fwi_kv_locks_close(kv);
    fwi_list_for_each_safe (watch, &kv->watches)
        fw_kv_watch_close(fwi_container_of(watch, fw_kv_watch, all), NULL, NULL);
    fwi_list_for_each_safe (lease, &kv->leases)
        fw_kv_lease_close(fwi_container_of(lease, fw_kv_lease, all), NULL, NULL);
    kv->gone = (fwi_task){.fn = NULL};
    fwi_kv_continue_close(kv);
}

void fw_kv_close(fw_kv *kv, fw_kv_closed_fn on_closed, void *arg)
{
    if (kv->closing)
        return;
    kv->closing = true;
    kv->on_closed = on_closed;
    kv->closed_arg = arg;
    /* Callbacks run in a later turn. */
    kv->gone = (fwi_task){.fn = end_everything, .arg = kv};
    fwi_loop_defer(kv->loop, &kv->gone);
}

unsigned fw_kv_capabilities(const fw_kv *kv)
{
    return kv->driver->capabilities;
}

const char *fw_kv_url(const fw_kv *kv)
{
    return kv->url;
}

fw_loop *fw_kv_loop(const fw_kv *kv)
{
    return kv->loop;
}

bool fwi_kv_is_driven(const fw_kv *kv)
{
    return kv->driven;
}

uint32_t fwi_kv_timeout_ms(const fw_kv *kv)
{
    return kv->timeout_ms;
}

static void op_free(fwi_kv_op *op)
{
    fwi_kv_pairs_fini(&op->pairs);
    free(op->key);
    free((void *)op->value.data);
    fwi_kv_txn_free(op->txn);
    free(op->detail);
    free(op);
}

static void on_finish(fwi_task *task, void *arg)
{
    (void)task;
    fwi_kv_op *op = arg;
    fw_kv *kv = op->kv;
    answer(op);
    op_free(op);
    kv->ops_count--;
    fwi_kv_continue_close(kv);
}

void fwi_kv_op_finish(fwi_kv_op *op, int status, const char *detail)
{
    op->status = status;
    if (detail && *detail)
        op->detail = strdup(detail); /* without memory the text is missing, the status is not */
    fwi_loop_post_task(op->kv->loop, &op->finish);
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_kv_op *op = arg;
    fw_kv_done_fn done = op->done;
    op->done = NULL;
    fwi_list_remove(&op->pending);
    fw_kv_result result = {.status = fwi_kv_op_is_write(op) ? FW_EUNKNOWN : FW_EDEADLINE,
                           .detail = "the store did not answer in time"};
    done(&result, op->arg);
}

static bool branch_writes(const fwi_kv_branch *branch)
{
    for (size_t i = 0; i < branch->count; i++)
        if (branch->ops[i].type != FW_KV_TXN_GET)
            return true;
    return false;
}

static bool is_write(fwi_kv_op_type type, const fwi_kv_txn *txn)
{
    switch (type) {
    case FWI_KV_GET:
    case FWI_KV_EXISTS:
    case FWI_KV_LIST:
        return false;
    case FWI_KV_TXN:
        return branch_writes(&txn->then) || branch_writes(&txn->otherwise);
    default:
        return true;
    }
}

int fwi_kv_submit(fw_kv *kv, fwi_kv_op_type type, const char *key, const fwi_kv_op *request,
                  fw_kv_done_fn done, void *arg)
{
    assert(fwi_loop_is_current(kv->loop));
    if (kv->closing)
        return FW_ECLOSED;
    if (request->value.len > kv->driver->max_value_bytes)
        return FW_EVALUESIZE;
    fwi_kv_op *op = calloc(1, sizeof *op);
    if (!op)
        return UV_ENOMEM;
    *op = *request;
    op->value = (fw_slice){NULL, 0};
    bool is_tree = type == FWI_KV_LIST || type == FWI_KV_DELETE_TREE || type == FWI_KV_TXN;
    int err = fwi_kv_key_normalise(key, is_tree, &op->key);
    if (!err && request->value.len) {
        void *copy = malloc(request->value.len);
        err = copy ? FW_OK : UV_ENOMEM;
        if (copy)
            op->value = (fw_slice){memcpy(copy, request->value.data, request->value.len),
                                   request->value.len};
    }
    if (err) {
        op->txn = NULL; /* stays the caller's */
        op_free(op);
        return err;
    }
    op->kv = kv;
    op->type = type;
    op->is_write = is_write(type, op->txn);
    if (kv->driven)
        fwi_loop_update_now(kv->loop);
    op->deadline_ms = fw_loop_now_ms(kv->loop) + kv->timeout_ms;
    op->done = done;
    op->arg = arg;
    op->finish = (fwi_task){.fn = on_finish, .arg = op};
    op->timer = (fwi_timer){.fn = on_deadline, .arg = op};
    fwi_loop_timer_start(kv->loop, &op->timer, (uint64_t)kv->timeout_ms + GRACE_MS);
    fwi_list_push_back(&kv->ops, &op->pending);
    kv->ops_count++;
    kv->driver->submit(kv->store, op);
    return FW_OK;
}

static int submit_put(fw_kv *kv, fwi_kv_op_type type, const char *key, fw_slice value,
                      int64_t previous, const fw_kv_put_options *options, fw_kv_done_fn done,
                      void *arg)
{
    fwi_kv_op request = {.value = value, .previous = previous};
    if (options) {
        request.ttl_ms = options->lease ? 0 : options->ttl_ms;
        if (options->lease) {
            request.lease = options->lease->lost ? 0 : fw_kv_lease_id(options->lease);
            if (!request.lease)
                return FW_ELEASE;
        }
    }
    return fwi_kv_submit(kv, type, key, &request, done, arg);
}

int fw_kv_put(fw_kv *kv, const char *key, fw_slice value, const fw_kv_put_options *options,
              fw_kv_done_fn done, void *arg)
{
    return submit_put(kv, FWI_KV_PUT, key, value, 0, options, done, arg);
}

int fw_kv_atomic_put(fw_kv *kv, const char *key, fw_slice value, int64_t previous,
                     const fw_kv_put_options *options, fw_kv_done_fn done, void *arg)
{
    return submit_put(kv, FWI_KV_ATOMIC_PUT, key, value, previous, options, done, arg);
}

int fw_kv_get(fw_kv *kv, const char *key, fw_kv_done_fn done, void *arg)
{
    return fwi_kv_submit(kv, FWI_KV_GET, key, &(fwi_kv_op){.status = 0}, done, arg);
}

int fw_kv_exists(fw_kv *kv, const char *key, fw_kv_done_fn done, void *arg)
{
    return fwi_kv_submit(kv, FWI_KV_EXISTS, key, &(fwi_kv_op){.status = 0}, done, arg);
}

int fw_kv_delete(fw_kv *kv, const char *key, fw_kv_done_fn done, void *arg)
{
    return fwi_kv_submit(kv, FWI_KV_DELETE, key, &(fwi_kv_op){.status = 0}, done, arg);
}

int fw_kv_list(fw_kv *kv, const char *prefix, fw_kv_done_fn done, void *arg)
{
    return fwi_kv_submit(kv, FWI_KV_LIST, prefix, &(fwi_kv_op){.status = 0}, done, arg);
}

int fw_kv_delete_tree(fw_kv *kv, const char *prefix, fw_kv_done_fn done, void *arg)
{
    return fwi_kv_submit(kv, FWI_KV_DELETE_TREE, prefix, &(fwi_kv_op){.status = 0}, done, arg);
}

int fw_kv_atomic_delete(fw_kv *kv, const char *key, int64_t previous, fw_kv_done_fn done, void *arg)
{
    return fwi_kv_submit(kv, FWI_KV_ATOMIC_DELETE, key, &(fwi_kv_op){.previous = previous}, done,
                         arg);
}
