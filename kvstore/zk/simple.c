/* Operations of a few requests: get, exists, and the place in a lock's queue. */
#include "store.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- get, exists ---- */

struct get {
    fwi_zk_job job;
    fwi_zk_look look;
};

static void get_fini(fwi_zk_job *job)
{
    struct get *get = fwi_container_of(job, struct get, job);
    fwi_zk_look_fini(&get->look);
    free(get);
}

static void get_answer(struct get *get)
{
    fwi_kv_op *op = get->job.op;
    fw_slice value;
    const fwi_zk_seen_node *pair = fwi_zk_look_pair(&get->look, &value);
    int status = FW_OK;
    if (op->type == FWI_KV_EXISTS)
        op->count = pair != NULL;
    else if (!pair)
        status = FW_ENOTFOUND;
    else
        status = fwi_kv_pairs_add(&op->pairs, op->key, strlen(op->key), value, pair->stat.mzxid,
                                  fwi_zk_owner(&pair->stat));
    fwi_zk_job_finish(&get->job, status, NULL);
}

static void on_get(fwi_zk_job *job, fwi_zk_request *request)
{
    struct get *get = fwi_container_of(job, struct get, job);
    if (request->index < 2)
        fwi_zk_look_take(request->index ? &get->look.leased : &get->look.plain, request);
    fwi_zk_job_note(job, request);
    if (fwi_zk_job_gathered(job))
        get_answer(get);
}

static void get_run(fwi_zk_job *job)
{
    struct get *get = fwi_container_of(job, struct get, job);
    fwi_zk_job_hold(job);
    if (fwi_zk_job_sync(job, on_get))
        (void)fwi_zk_look_ask(&get->look, job, on_get, 0);
    fwi_zk_job_release(job);
}

void fwi_zk_get_start(fwi_zk_store *store, fwi_kv_op *op)
{
    struct get *get = calloc(1, sizeof *get);
    if (!get || fwi_zk_look_init(&get->look, store->root, op->key)) {
        free(get);
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    get->job.run = get_run;
    get->job.fini = get_fini;
    fwi_zk_job_start(&get->job, store, op);
}

/* ---- enqueue ---- */

/* "<lease>__lock__" and ZooKeeper's number of ten digits: kazoo's names, so that its locks and ours
 * stand in one queue. */
struct enqueue {
    fwi_zk_job job;
    char *path;
};

static void enqueue_fini(fwi_zk_job *job)
{
    struct enqueue *enqueue = fwi_container_of(job, struct enqueue, job);
    free(enqueue->path);
    free(enqueue);
}

static void on_enqueued(fwi_zk_job *job, fwi_zk_request *request)
{
    struct enqueue *enqueue = fwi_container_of(job, struct enqueue, job);
    fwi_kv_op *op = job->op;
    if (request->rc == ZNONODE) {
        job->wrote = false;
        fwi_zk_job_make_parents(job, enqueue->path);
        return;
    }
    if (request->rc) {
        job->wrote = fwi_zk_is_lost(request->rc);
        fwi_zk_job_fail(job, request->rc);
        return;
    }
    const char *name = strrchr(request->data, '/') + 1;
    char key[FW_KV_MAX_KEY_BYTES + 64];
    int len = snprintf(key, sizeof key, "%s/%s", op->key, name);
    op->revision = request->stat.czxid;
    int err = fwi_kv_pairs_add(&op->pairs, key, (size_t)len, (fw_slice){NULL, 0},
                               request->stat.czxid, op->lease);
    fwi_zk_job_finish(job, err, NULL);
}

static void enqueue_run(fwi_zk_job *job)
{
    struct enqueue *enqueue = fwi_container_of(job, struct enqueue, job);
    fwi_zk_job_hold(job);
    fwi_zk_request *request = fwi_zk_job_request(job, on_enqueued, 0);
    if (request) {
        job->wrote = true;
        fwi_zk_send_create(request, enqueue->path, "", 0, ZOO_EPHEMERAL_SEQUENTIAL);
    }
    fwi_zk_job_release(job);
}

void fwi_zk_enqueue_start(fwi_zk_store *store, fwi_kv_op *op)
{
    fwi_zk_lease *lease = fwi_zk_lease_find(store, op->lease);
    if (!lease) {
        fwi_kv_op_finish(op, FW_ELEASE, NULL);
        return;
    }
    struct enqueue *enqueue = calloc(1, sizeof *enqueue);
    char *directory = enqueue ? fwi_zk_path(store->root, op->key) : NULL;
    char name[48];
    snprintf(name, sizeof name, "%llx__lock__", (unsigned long long)op->lease);
    if (directory)
        enqueue->path = fwi_zk_child(directory, name);
    free(directory);
    if (!enqueue || !enqueue->path) {
        free(enqueue);
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    enqueue->job.lease = lease;
    enqueue->job.run = enqueue_run;
    enqueue->job.fini = enqueue_fini;
    fwi_zk_job_start(&enqueue->job, store, op);
}
