/*
 * Vocabulary: a job is one piece of work. It is ready when a thread may take it. A lane holds the
 * jobs of one key: it exists as long as one of them is ready or runs, and that is the only one; the
 * others wait in the lane.
 *
 *     submit -> [ lane ->] ready -> runs -> posted -> done
 *                  \__________\______________/          (close: canceled)
 *
 * A job is posted to its loop before the next one of its lane is ready, so that they are done in
 * order, too. After its turn a lane stands at the end: one key cannot keep the others out.
 *
 * Lifetime: when the pool is closing, the last of the threads to end and of the jobs to be done
 * posts `closed`, which joins the threads.
 */
#include "base/list.h"
#include "base/loop.h"
#include "base/map.h"

#include <assert.h>
#include <fairway/error.h>
#include <fairway/pool.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#define DEFAULT_QUEUED 65536
#define MOST_THREADS   1024

struct lane {
    uint64_t key;
    fwi_list waiting;
};

struct job {
    fwi_list node; /* in ready, or in its lane */
    fwi_task task;
    fw_pool *pool;
    fw_loop *loop;
    fw_pool_work work;
    int status;
};

struct fw_pool {
    fw_loop *loop;
    size_t max_queued;
    pthread_t *threads;
    size_t thread_count;
    fwi_task closed;
    void (*on_closed)(void *arg);
    void *closed_arg;

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t work_came;
    fwi_list ready;
    fwi_map lanes; /* by key; struct lane is the map's own */
    size_t queued; /* ready or in a lane */
    size_t undone; /* jobs that were submitted, and not done */
    size_t running_threads;
    bool is_closing;
};

/* ---- the end of a job ---- */

/* With the mutex. */
static void look_for_end(fw_pool *pool)
{
    if (pool->is_closing && !pool->running_threads && !pool->undone)
        fwi_loop_post_task(pool->loop, &pool->closed);
}

static void on_done(fwi_task *task, void *arg)
{
    (void)task;
    struct job *job = arg;
    fw_pool *pool = job->pool;
    if (job->work.done)
        job->work.done(job->status, job->work.arg);
    fwi_loop_release(job->loop);
    free(job);
    pthread_mutex_lock(&pool->mutex);
    pool->undone--;
    look_for_end(pool);
    pthread_mutex_unlock(&pool->mutex);
}

static void post(struct job *job, int status)
{
    job->status = status;
    fwi_loop_post_task(job->loop, &job->task);
}

/* ---- lanes; with the mutex ---- */

static struct lane *find_lane(fw_pool *pool, uint64_t key)
{
    return fwi_map_get(&pool->lanes, &key, sizeof key);
}

/* Where the job is to wait: behind the others of its key, or *ret_list is ready. UV_ENOMEM. */
static int find_place(fw_pool *pool, const fw_pool_work *work, fwi_list **ret_list)
{
    struct lane *lane = work->is_ordered ? find_lane(pool, work->key) : NULL;
    *ret_list = lane ? &lane->waiting : &pool->ready;
    if (lane || !work->is_ordered)
        return FW_OK;
    void *value;
    int err = fwi_map_add(&pool->lanes, &work->key, sizeof work->key, &value);
    if (err)
        return err;
    lane = value;
    lane->key = work->key;
    fwi_list_init(&lane->waiting);
    return FW_OK;
}

static void cancel_all(fw_pool *pool, fwi_list *list)
{
    for (fwi_list *node; (node = fwi_list_pop(list)); pool->queued--)
        post(fwi_container_of(node, struct job, node), FW_ECANCELED);
}

/* The job of this key that was ready is over: it has run, or was canceled. */
static void turn_lane(fw_pool *pool, uint64_t key)
{
    struct lane *lane = find_lane(pool, key);
    if (pool->is_closing)
        cancel_all(pool, &lane->waiting);
    fwi_list *next = fwi_list_pop(&lane->waiting);
    if (next) {
        fwi_list_push_back(&pool->ready, next);
        pthread_cond_signal(&pool->work_came);
    } else {
        fwi_map_drop(&pool->lanes, &key, sizeof key);
    }
}

/* ---- threads ---- */

static void run_job(fw_pool *pool, struct job *job)
{
    bool is_ordered = job->work.is_ordered;
    uint64_t key = job->work.key;
    pool->queued--;
    pthread_mutex_unlock(&pool->mutex);
    job->work.run(job->work.arg);
    post(job, FW_OK);
    pthread_mutex_lock(&pool->mutex);
    if (is_ordered)
        turn_lane(pool, key);
}

static void *run_thread(void *arg)
{
    fw_pool *pool = arg;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        fwi_list *node = fwi_list_pop(&pool->ready);
        if (node)
            run_job(pool, fwi_container_of(node, struct job, node));
        else if (pool->is_closing)
            break;
        else
            pthread_cond_wait(&pool->work_came, &pool->mutex);
    }
    pool->running_threads--;
    look_for_end(pool);
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Signals are for the loops. */
static int start_threads(fw_pool *pool, uint32_t count)
{
    sigset_t all, before;
    int err = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&pool->mutex);
    while (!err && pool->thread_count < count) {
        err = pthread_create(&pool->threads[pool->thread_count], NULL, run_thread, pool);
        if (!err) {
            pool->thread_count++;
            pool->running_threads++;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return uv_translate_sys_error(err);
}

/* ---- the pool ---- */

/* The last: nobody is left who knows the pool. */
static void on_all_over(fwi_task *task, void *arg)
{
    (void)task;
    fw_pool *pool = arg;
    for (size_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    /* Whoever posted this has let go of the mutex when we have it. */
    pthread_mutex_lock(&pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->work_came);
    fwi_map_fini(&pool->lanes);
    free(pool->threads);
    fwi_loop_release(pool->loop);
    void (*on_closed)(void *) = pool->on_closed;
    void *closed_arg = pool->closed_arg;
    free(pool);
    if (on_closed)
        on_closed(closed_arg);
}

int fw_pool_new(fw_loop *loop, const fw_pool_options *options, fw_pool **ret_pool)
{
    uint32_t count = options ? options->threads : 0;
    if (count > MOST_THREADS)
        return FW_EOPTION;
    if (!count) {
        unsigned processors = uv_available_parallelism();
        count = processors < MOST_THREADS ? processors : MOST_THREADS;
    }
    fw_pool *pool = calloc(1, sizeof *pool);
    pthread_t *threads = calloc(count, sizeof *threads);
    if (!pool || !threads) {
        free(pool);
        free(threads);
        return UV_ENOMEM;
    }
    *pool = (fw_pool){.loop = loop,
                      .threads = threads,
                      .max_queued =
                          options && options->max_queued ? options->max_queued : DEFAULT_QUEUED,
                      .closed = {.fn = on_all_over, .arg = pool},
                      .lanes = {.value_bytes = sizeof(struct lane)}};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work_came, NULL);
    fwi_list_init(&pool->ready);
    fwi_loop_hold(loop);
    int err = start_threads(pool, count);
    if (err)
        fw_pool_close(pool, NULL, NULL); /* of those that there are */
    else
        *ret_pool = pool;
    return err;
}

int fw_pool_submit(fw_pool *pool, fw_loop *loop, const fw_pool_work *work)
{
    assert(fwi_loop_is_current(loop));
    struct job *job = malloc(sizeof *job);
    if (!job)
        return UV_ENOMEM;
    *job = (struct job){
        .pool = pool, .loop = loop, .work = *work, .task = {.fn = on_done, .arg = job}};
    fwi_list *place;
    pthread_mutex_lock(&pool->mutex);
    int err = pool->is_closing                   ? FW_ECLOSED
              : pool->queued >= pool->max_queued ? FW_ELIMIT
                                                 : find_place(pool, work, &place);
    if (!err) {
        fwi_list_push_back(place, &job->node);
        pool->queued++;
        pool->undone++;
        if (place == &pool->ready)
            pthread_cond_signal(&pool->work_came);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (err)
        free(job);
    else
        fwi_loop_hold(loop);
    return err;
}

size_t fw_pool_queued(fw_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    size_t queued = pool->queued;
    pthread_mutex_unlock(&pool->mutex);
    return queued;
}

/* The lanes whose job runs are left to its thread: what waits there is done after it. */
static void cancel_ready(fw_pool *pool)
{
    for (fwi_list *node; (node = fwi_list_pop(&pool->ready)); pool->queued--) {
        struct job *job = fwi_container_of(node, struct job, node);
        fw_pool_work work = job->work;
        post(job, FW_ECANCELED);
        if (work.is_ordered)
            turn_lane(pool, work.key);
    }
}

void fw_pool_close(fw_pool *pool, void (*on_closed)(void *arg), void *arg)
{
    assert(fwi_loop_is_current(pool->loop));
    pthread_mutex_lock(&pool->mutex);
    if (!pool->is_closing) {
        pool->is_closing = true;
        pool->on_closed = on_closed;
        pool->closed_arg = arg;
        cancel_ready(pool);
        pthread_cond_broadcast(&pool->work_came);
        look_for_end(pool); /* there are no threads if none could be started */
    }
    pthread_mutex_unlock(&pool->mutex);
}
