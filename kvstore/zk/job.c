/*
 * A job is an operation of the store from submit to finish. It waits for its session, runs, and
 * runs again when what it had read was changed meanwhile or a read was lost, until its deadline.
 *
 * Deadline: a job that waits for the session ends with FW_EUNREACHABLE, as nothing was sent; one
 * that has a write out with FW_EUNKNOWN; else FW_EDEADLINE. Requests that are still out then come
 * back to a job without an operation, which is freed with the last.
 */
#include "store.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

fwi_zk_session *fwi_zk_job_session(const fwi_zk_job *job)
{
    return job->lease ? job->lease->session : job->store->main;
}

static void free_if_done(fwi_zk_job *job)
{
    if (job->op || job->references)
        return;
    fwi_list_remove(&job->node);
    job->fini(job);
}

void fwi_zk_job_finish(fwi_zk_job *job, int status, const char *detail)
{
    fwi_kv_op *op = job->op;
    job->op = NULL;
    job->waiting = false;
    fwi_loop_timer_stop(job->store->loop, &job->deadline);
    fwi_zk_see(job->store, op->revision);
    if (!op->revision)
        op->revision = job->store->seen;
    fwi_kv_op_finish(op, status, detail);
    free_if_done(job);
}

void fwi_zk_job_hold(fwi_zk_job *job)
{
    job->references++;
}

void fwi_zk_job_release(fwi_zk_job *job)
{
    job->references--;
    free_if_done(job);
}

static bool is_write(const fwi_zk_job *job)
{
    return fwi_kv_op_is_write(job->op);
}

void fwi_zk_job_fail(fwi_zk_job *job, int rc)
{
    int status = fwi_zk_status(rc);
    if (fwi_zk_is_lost(rc))
        status = job->wrote ? FW_EUNKNOWN : FW_EUNREACHABLE;
    fwi_zk_job_finish(job, status, zerror(rc));
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_zk_job *job = arg;
    if (job->wrote)
        fwi_zk_job_finish(job, FW_EUNKNOWN, "the store did not answer in time");
    else if (job->waiting)
        fwi_zk_job_finish(job, FW_EUNREACHABLE, "no connection to ZooKeeper");
    else
        fwi_zk_job_finish(job, is_write(job) ? FW_EUNREACHABLE : FW_EDEADLINE,
                          "the store did not answer in time");
}

static void run(fwi_zk_job *job)
{
    job->waiting = !fwi_zk_is_up(fwi_zk_job_session(job));
    if (job->waiting)
        return;
    job->round++; /* reads that a session which is over still owes are not waited for */
    job->outstanding = 0;
    job->run(job);
}

void fwi_zk_job_start(fwi_zk_job *job, fwi_zk_store *store, fwi_kv_op *op)
{
    job->store = store;
    job->op = op;
    fwi_list_push_back(&store->jobs, &job->node);
    uint64_t now = fw_loop_now_ms(store->loop);
    job->deadline = (fwi_timer){.fn = on_deadline, .arg = job};
    fwi_loop_timer_start(store->loop, &job->deadline,
                         op->deadline_ms > now ? op->deadline_ms - now : 0);
    run(job);
}

void fwi_zk_job_again(fwi_zk_job *job)
{
    run(job);
}

static void on_answer(fwi_zk_request *request, void *arg)
{
    fwi_zk_job *job = arg;
    bool is_current = request->round == job->round;
    job->outstanding -= is_current;
    if (job->op && is_current)
        job->step(job, request);
    fwi_zk_job_release(job);
}

fwi_zk_request *fwi_zk_job_request(fwi_zk_job *job, fwi_zk_step_fn step, size_t index)
{
    fwi_zk_session *session = fwi_zk_job_session(job);
    if (!fwi_zk_is_up(session)) { /* since the last answer */
        job->waiting = job->lost = true;
        return NULL;
    }
    fwi_zk_request *request = fwi_zk_request_new(session, on_answer, job);
    if (!request) {
        fwi_zk_job_finish(job, UV_ENOMEM, NULL);
        return NULL;
    }
    /* All requests that are out at one time go to the same step. */
    if (!job->outstanding) {
        job->lost = false;
        job->error = ZOK;
    }
    job->step = step;
    job->outstanding++;
    job->references++;
    request->round = job->round;
    request->index = index;
    return request;
}

void fwi_zk_job_drop_request(fwi_zk_job *job, fwi_zk_request *request)
{
    job->outstanding--;
    fwi_zk_request_free(request);
    fwi_zk_job_release(job);
}

bool fwi_zk_job_sync(fwi_zk_job *job, fwi_zk_step_fn step)
{
    fwi_zk_request *request = fwi_zk_job_request(job, step, SIZE_MAX);
    if (request)
        fwi_zk_send_sync(request, *job->store->root ? job->store->root : "/");
    return request != NULL;
}

void fwi_zk_job_note(fwi_zk_job *job, const fwi_zk_request *request)
{
    if (fwi_zk_is_lost(request->rc))
        job->lost = true;
    else if (request->rc && request->rc != ZNONODE && !job->error)
        job->error = request->rc;
    fwi_zk_see_stat(job->store, &request->stat);
}

bool fwi_zk_job_gathered(fwi_zk_job *job)
{
    if (job->outstanding)
        return false;
    if (job->error)
        fwi_zk_job_fail(job, job->error);
    else if (job->lost)
        fwi_zk_job_again(job);
    else
        return true;
    return false;
}

/* ---- parents ---- */

static void on_parent(fwi_zk_job *job, fwi_zk_request *request)
{
    if (request->rc == ZNOAUTH) /* it may be there all the same; if not, the next write says so */
        job->parents_denied = true;
    else if (request->rc && request->rc != ZNODEEXISTS && !fwi_zk_is_lost(request->rc) &&
             request->rc != ZNONODE) {
        fwi_zk_job_fail(job, request->rc);
        return;
    }
    if (!job->outstanding)
        fwi_zk_job_again(job);
}

void fwi_zk_job_make_parents(fwi_zk_job *job, const char *path)
{
    if (job->parents_denied) {
        fwi_zk_job_finish(job, FW_EDENIED, "a directory above the key may not be made");
        return;
    }
    static const char marker = FWI_ZK_MARKER;
    char *copy = strdup(path);
    if (!copy) {
        fwi_zk_job_finish(job, UV_ENOMEM, NULL);
        return;
    }
    fwi_zk_job_hold(job);
    for (char *slash = copy; job->op && (slash = strchr(slash + 1, '/'));) {
        fwi_zk_request *request = fwi_zk_job_request(job, on_parent, 0);
        if (!request)
            break;
        *slash = 0;
        fwi_zk_send_create(request, copy, &marker, 1, ZOO_PERSISTENT);
        *slash = '/';
    }
    free(copy);
    if (job->op && !job->waiting && !job->outstanding)
        fwi_zk_job_finish(job, FW_ESTORE, zerror(ZNONODE)); /* "/" is always there */
    fwi_zk_job_release(job);
}

/* ---- sessions come and go ---- */

void fwi_zk_jobs_resume(fwi_zk_store *store, const fwi_zk_lease *lease)
{
    fwi_list_for_each_safe (node, &store->jobs) {
        fwi_zk_job *job = fwi_container_of(node, fwi_zk_job, node);
        if (job->waiting && job->lease == lease)
            run(job);
    }
}

void fwi_zk_jobs_lease_over(fwi_zk_store *store, fwi_zk_lease *lease, int status,
                            const char *detail)
{
    fwi_list_for_each_safe (node, &store->jobs) {
        fwi_zk_job *job = fwi_container_of(node, fwi_zk_job, node);
        if (job->lease != lease)
            continue;
        if (job->op)
            fwi_zk_job_finish(job, job->wrote ? FW_EUNKNOWN : status, detail);
    }
}
