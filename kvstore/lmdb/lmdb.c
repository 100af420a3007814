/*
 * lmdb:/dir, the embedded store: durable, shared by all processes of a machine.
 *
 *     loop                              worker (one per environment and process)
 *     ----                              ------
 *     put, delete, lease ... --queue--> one transaction for all that waits, fsync
 *     done  <------------- kick ------- answers; rings the bell for other processes
 *     get, exists, list: read here
 *     watches: read the log here <kick- somebody committed (here, or the bell rang)
 *
 * schema.c, read.c  the tables; env.c, worker.c  the environment; bell.c  the bell between
 * processes; lease.c  the leases of a handle; this file: the driver, its operations and watches.
 *
 * Order: a read sees everything that was acknowledged before it was submitted, for an
 * acknowledgement follows the commit. Writes of one handle are done in the order of submission.
 *
 * Closing: what is queued is taken back; what the worker has begun is waited for; then the handle
 * leaves, and the last one waits for the environment to close. A worker that does not come back
 * (a stopped process holds LMDB's lock) is waited for no longer than the operation timeout.
 *
 * fork: a child must not use what its parent has opened; open anew in the child, and only if the
 * parent had it not open at the fork (LMDB's rule).
 */
#include "lmdb/handle.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RETRY_MS          250
#define DEFAULT_MAP_BYTES ((size_t)64 * 1024 * 1024)
#define LEAST_MAP_BYTES   ((size_t)64 * 1024)
#define MOST_MAP_BYTES    ((size_t)1 << 40)

static void continue_close(fwi_lmdb_handle *handle);

fwi_lmdb_request *fwi_lmdb_handle_request(fwi_lmdb_handle *handle, fwi_lmdb_kind kind, void *owner)
{
    fwi_lmdb_request *request = calloc(1, sizeof *request);
    if (request)
        *request = (fwi_lmdb_request){.client = &handle->client, .kind = kind, .owner = owner};
    return request;
}

/* ---- reading ---- */

/* Begins a reading; if the map has to be moved first, the worker is asked to, and kicks. */
static int read_begin(fwi_lmdb_handle *handle)
{
    int rc = fwi_lmdb_env_read_begin(handle->env, &handle->reader);
    if (rc != MDB_MAP_RESIZED || handle->refreshing)
        return rc;
    fwi_lmdb_request *request = fwi_lmdb_handle_request(handle, FWI_LMDB_REFRESH, NULL);
    if (!request)
        return ENOMEM;
    handle->refreshing = true;
    fwi_lmdb_env_submit(handle->env, request);
    return rc;
}

static void finish_rc(fwi_kv_op *op, int rc)
{
    const char *detail;
    int status = fwi_lmdb_status(rc, &detail);
    fwi_kv_op_finish(op, status, detail);
}

static void read_op(fwi_lmdb_handle *handle, fwi_kv_op *op)
{
    if (handle->phase == FWI_LMDB_FAILED) {
        fwi_kv_op_finish(op, handle->status, handle->detail);
        return;
    }
    int rc = handle->phase == FWI_LMDB_OPENING ? MDB_MAP_RESIZED : read_begin(handle);
    if (rc == MDB_MAP_RESIZED) {
        fwi_list_push_back(&handle->waiting, &op->node);
        return;
    }
    int status = FW_OK;
    if (!rc) {
        rc = fwi_lmdb_read_op(fwi_lmdb_env_schema(handle->env), handle->reader, op, &status);
        fwi_lmdb_env_read_end(handle->env, handle->reader);
    }
    if (rc)
        finish_rc(op, rc);
    else
        fwi_kv_op_finish(op, status, NULL);
}

static void retry_waiting(fwi_lmdb_handle *handle)
{
    if (handle->phase == FWI_LMDB_OPENING || handle->refreshing)
        return;
    fwi_list unserved;
    fwi_list_init(&unserved);
    fwi_list_splice(&unserved, &handle->waiting);
    for (fwi_list *node; (node = fwi_list_pop(&unserved));)
        read_op(handle, fwi_container_of(node, fwi_kv_op, node));
}

/* ---- operations ---- */

static void submit(void *arg, fwi_kv_op *op)
{
    fwi_lmdb_handle *handle = arg;
    if (!fwi_kv_op_is_write(op) && op->type != FWI_KV_TXN) {
        read_op(handle, op);
        return;
    }
    fwi_lmdb_request *request = fwi_lmdb_handle_request(handle, FWI_LMDB_OP, op);
    if (!request) {
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    request->op_type = op->type;
    request->previous = op->previous;
    request->lease = op->lease;
    request->ttl_ms = op->ttl_ms;
    request->deadline_ms = op->deadline_ms;
    request->key = op->key;
    request->value = op->value;
    request->txn = op->txn;
    op->key = NULL;
    op->value = (fw_slice){NULL, 0};
    op->txn = NULL;
    fwi_lmdb_env_submit(handle->env, request);
}

/* Answers whoever asked, and frees the request. */
static void answer(fwi_lmdb_handle *handle, fwi_lmdb_request *request, int status)
{
    if (request->kind == FWI_LMDB_OP) {
        fwi_kv_op *op = request->owner;
        op->revision = request->revision;
        op->count = op->type == FWI_KV_DELETE_TREE ? request->count : 0;
        op->succeeded = request->succeeded;
        op->pairs = request->pairs;
        request->pairs = (fwi_kv_pairs){.count = 0};
        fwi_kv_op_finish(op, status, request->detail);
    } else if (request->kind == FWI_LMDB_REFRESH) {
        handle->refreshing = false;
    } else {
        fwi_lmdb_lease_answered(handle, request, status);
    }
    fwi_lmdb_request_free(request);
}

/* ---- watches ---- */

/* Gives a watch what it has not seen. True if there is more to give. */
static bool catch_up(fwi_lmdb_handle *handle, fw_kv_watch *watch)
{
    const fwi_lmdb_schema *schema = fwi_lmdb_env_schema(handle->env);
    struct fwi_lmdb_state state = {.revision = 0};
    bool has_history = watch->revision != 0;
    int64_t revision = 0;
    int rc = read_begin(handle);
    if (rc == MDB_MAP_RESIZED)
        return false; /* kicked again when that is done */
    if (!rc) {
        rc = fwi_lmdb_read_state(schema, handle->reader, &state);
        revision = state.revision;
        if (!rc && has_history && watch->revision != state.revision)
            rc = fwi_lmdb_read_changes(schema, handle->reader, watch, &has_history, &revision);
        if (!rc && !has_history) {
            revision = state.revision;
            fwi_kv_watch_list_begin(watch);
            rc = fwi_lmdb_read_snapshot(schema, handle->reader, watch);
        }
        fwi_lmdb_env_read_end(handle->env, handle->reader);
    }
    if (rc) {
        const char *detail;
        int status = fwi_lmdb_status(rc, &detail);
        fwi_loop_timer_start(handle->loop, &handle->retry_timer, RETRY_MS);
        fwi_kv_watch_stale(watch, status, detail);
        return false;
    }
    bool open = has_history ? fwi_kv_watch_commit(watch, revision) && fwi_kv_watch_live(watch)
                            : fwi_kv_watch_list_end(watch, revision);
    return open && revision < state.revision;
}

static void on_retry(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_lmdb_handle *handle = arg;
    fwi_lmdb_env_kick(handle->env, &handle->client);
}

static void catch_up_all(fwi_lmdb_handle *handle)
{
    /* A callback may stop any watch: each is back in its list before it is served. */
    fwi_list unserved;
    fwi_list_init(&unserved);
    fwi_list_splice(&unserved, &handle->watches);
    bool more = false;
    for (fwi_list *node; (node = fwi_list_pop(&unserved));) {
        fwi_list_push_back(&handle->watches, node);
        fw_kv_watch *watch = fwi_container_of(node, fw_kv_watch, node);
        if (handle->phase == FWI_LMDB_READY)
            more |= catch_up(handle, watch);
        else if (handle->phase == FWI_LMDB_FAILED)
            fwi_kv_watch_stale(watch, handle->status, handle->detail);
    }
    if (more && !handle->closing)
        fwi_lmdb_env_kick(handle->env, &handle->client);
}

static void watch_start(void *arg, fw_kv_watch *watch)
{
    fwi_lmdb_handle *handle = arg;
    fwi_list_push_back(&handle->watches, &watch->node);
    fwi_lmdb_env_set_watches(handle->env, &handle->client, ++handle->watch_count);
    fwi_lmdb_env_kick(handle->env, &handle->client);
}

static void watch_stop(void *arg, fw_kv_watch *watch)
{
    fwi_lmdb_handle *handle = arg;
    fwi_list_remove(&watch->node);
    fwi_lmdb_env_set_watches(handle->env, &handle->client, --handle->watch_count);
    fwi_kv_watch_stopped(watch);
}

/* ---- life ---- */

static void on_kick(fwi_task *task, void *arg)
{
    (void)task;
    fwi_lmdb_handle *handle = arg;
    fwi_list done;
    fwi_list_init(&done);
    handle->phase =
        fwi_lmdb_env_collect(handle->env, &handle->client, &done, &handle->status, &handle->detail);
    for (fwi_list *node; (node = fwi_list_pop(&done));) {
        fwi_lmdb_request *request = fwi_container_of(node, fwi_lmdb_request, node);
        answer(handle, request, request->status);
    }
    if (handle->closing) {
        continue_close(handle);
        return;
    }
    retry_waiting(handle);
    catch_up_all(handle);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fwi_lmdb_handle *handle = arg;
    fw_kv *kv = handle->kv;
    fwi_loop_timer_stop(handle->loop, &handle->close_timer);
    free(handle);
    fwi_kv_closed(kv);
}

/* Takes the next step of closing; called in close, after a kick, and when the wait is over. */
static void continue_close(fwi_lmdb_handle *handle)
{
    fwi_list queued;
    fwi_list_init(&queued);
    size_t working = fwi_lmdb_env_cancel(handle->env, &handle->client, &queued);
    for (fwi_list *node; (node = fwi_list_pop(&queued));)
        answer(handle, fwi_container_of(node, fwi_lmdb_request, node), FW_ECANCELED);
    if (working)
        return; /* a kick brings them */
    if (!handle->left) {
        handle->left = true;
        fwi_lmdb_env_read_fini(handle->env, handle->reader);
        if (fwi_lmdb_env_leave(handle->env, &handle->client))
            return; /* the last kick is on its way */
    }
    if (handle->released)
        return;
    handle->released = true;
    fwi_lmdb_lease_drop_all(handle);
    fwi_loop_timer_stop(handle->loop, &handle->lease_timer);
    if (fwi_lmdb_env_release(handle->env, &handle->client))
        on_gone(&handle->client.gone, handle);
}

/* The worker has not come back. */
static void on_close_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_lmdb_handle *handle = arg;
    if (handle->released) {
        if (fwi_lmdb_env_abandon(&handle->client))
            on_gone(&handle->client.gone, handle);
        return;
    }
    fwi_list lost;
    fwi_list_init(&lost);
    fwi_lmdb_env_detach(handle->env, &handle->client, &lost);
    for (fwi_list *node; (node = fwi_list_pop(&lost));)
        fwi_kv_op_finish(fwi_container_of(node, fwi_kv_op, node), FW_ECANCELED, NULL);
    fwi_loop_timer_start(handle->loop, &handle->close_timer, 1);
    continue_close(handle);
}

static int read_options(const fw_url *url, fwi_lmdb_env_options *ret_options)
{
    if (url->host_count || !*url->path)
        return FW_EURL;
    *ret_options = (fwi_lmdb_env_options){.map_bytes = DEFAULT_MAP_BYTES};
    const char *sync = fw_url_get(url, "sync"), *map_size = fw_url_get(url, "map_size");
    if (sync && !strcmp(sync, "none"))
        ret_options->sync_flags = MDB_NOSYNC;
    else if (sync && !strcmp(sync, "meta"))
        ret_options->sync_flags = MDB_NOMETASYNC;
    else if (sync && strcmp(sync, "full"))
        return FW_EOPTION;
    if (map_size) {
        char *end;
        unsigned long long bytes = strtoull(map_size, &end, 10);
        if (*end || end == map_size || bytes < LEAST_MAP_BYTES || bytes > MOST_MAP_BYTES)
            return FW_EOPTION;
        ret_options->map_bytes = (size_t)(bytes & ~(unsigned long long)0xffff);
    }
    return FW_OK;
}

static int open_lmdb(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    (void)access;
    fwi_lmdb_env_options env_options;
    int err = read_options(url, &env_options);
    if (err)
        return err;
    fwi_lmdb_handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        return UV_ENOMEM;
    err = fwi_lmdb_env_acquire(url->path, &env_options, &handle->env);
    if (err) {
        free(handle);
        return err;
    }
    handle->kv = kv;
    handle->loop = fw_kv_loop(kv);
    handle->client.loop = handle->loop;
    handle->client.kick = (fwi_task){.fn = on_kick, .arg = handle};
    handle->client.gone = (fwi_task){.fn = on_gone, .arg = handle};
    handle->lease_timer = (fwi_timer){.fn = fwi_lmdb_lease_on_timer, .arg = handle};
    handle->retry_timer = (fwi_timer){.fn = on_retry, .arg = handle};
    handle->close_timer = (fwi_timer){.fn = on_close_timer, .arg = handle};
    fwi_list_init(&handle->waiting);
    fwi_list_init(&handle->watches);
    fwi_list_init(&handle->leases);
    fwi_lmdb_env_join(handle->env, &handle->client);
    *ret_store = handle;
    return FW_OK;
}

static void close_lmdb(void *arg)
{
    fwi_lmdb_handle *handle = arg;
    handle->closing = true;
    fwi_loop_timer_stop(handle->loop, &handle->retry_timer);
    for (fwi_list *node; (node = fwi_list_pop(&handle->waiting));)
        fwi_kv_op_finish(fwi_container_of(node, fwi_kv_op, node), FW_ECANCELED, NULL);
    fwi_loop_timer_start(handle->loop, &handle->close_timer, fwi_kv_timeout_ms(handle->kv));
    continue_close(handle);
}

static const char *const params[] = {"sync", "map_size", NULL};

const fwi_kv_driver fwi_kv_driver_lmdb = {
    .scheme = "lmdb",
    .capabilities = FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_PERSIST | FW_KV_CAN_TXN |
                    FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME,
    .params = params,
    .max_value_bytes = FWI_LMDB_MAX_VALUE_BYTES,
    .open = open_lmdb,
    .close = close_lmdb,
    .submit = submit,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .lease_grant = fwi_lmdb_lease_grant,
    .lease_revoke = fwi_lmdb_lease_revoke,
};
