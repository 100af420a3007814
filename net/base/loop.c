/*
 * Turn of a loop:
 *
 *     uv timers -> prepare -> poll (reads, accepts, posts) -> check -> closing handles
 *      (wheel)     [drain]                                   [drain]
 *
 * drain runs the deferred tasks: outgoing bytes gathered in this turn are flushed there,
 * completions that must not run inside the call that caused them run there. A task deferred while
 * draining runs in the next drain; as long as one waits, the idle handle keeps the poll from
 * blocking.
 */
#include "base/loop.h"

#include <assert.h>
#include <fairway/error.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

struct fw_loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    uv_async_t async;
    fwi_wheel wheel;
    uint64_t timer_at_ms; /* when the uv timer fires, UINT64_MAX if it does not */
    bool in_wheel;
    bool stepping, has_run; /* in fwi_loop_step; a timer or a deferred task has run in it */
    bool is_virtual;
    uint64_t virtual_ms;
    fwi_list deferred;
    size_t holds;
    fwi_chunk_pool chunks;
    uint8_t *scratch;
    void *compressor;
    bool has_thread;
    pthread_t thread;

    /* Shared with other threads. */
    pthread_mutex_t mutex;
    fwi_list posted; /* guarded by mutex */
    atomic_bool stop_wanted;
};

struct post {
    fwi_task task;
    fw_loop *loop;
    fw_loop_post_fn fn;
    void *arg;
};

static void run_tasks(fwi_list *tasks)
{
    for (fwi_list *node; (node = fwi_list_pop(tasks));) {
        fwi_task *task = fwi_container_of(node, fwi_task, node);
        node->next = NULL;
        task->fn(task, task->arg);
    }
}

static void drain(fw_loop *loop)
{
    fwi_list now;
    fwi_list_init(&now);
    fwi_list_splice(&now, &loop->deferred);
    loop->has_run |= !fwi_list_empty(&now);
    run_tasks(&now);
    if (fwi_list_empty(&loop->deferred))
        uv_idle_stop(&loop->idle);
}

static void on_prepare(uv_prepare_t *handle)
{
    fw_loop *loop = handle->data;
    drain(loop);
    /* What a step waits for may have happened before it has slept: libuv runs timers first. */
    if (loop->stepping && loop->has_run)
        uv_stop(&loop->uv);
}

static void on_check(uv_check_t *handle)
{
    drain(handle->data);
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void arm_uv_timer(fw_loop *loop);

static void on_timer(uv_timer_t *handle)
{
    fw_loop *loop = handle->data;
    loop->timer_at_ms = UINT64_MAX;
    loop->has_run = true;
    loop->in_wheel = true;
    fwi_wheel_advance(&loop->wheel, uv_now(&loop->uv));
    loop->in_wheel = false;
    arm_uv_timer(loop);
}

static void arm_uv_timer(fw_loop *loop)
{
    if (loop->is_virtual)
        return;
    uint64_t at = fwi_wheel_next_ms(&loop->wheel), now = uv_now(&loop->uv);
    if (at == UINT64_MAX) {
        if (loop->timer_at_ms != UINT64_MAX)
            uv_timer_stop(&loop->timer);
        loop->timer_at_ms = UINT64_MAX;
    } else if (at < loop->timer_at_ms) {
        loop->timer_at_ms = at;
        uv_timer_start(&loop->timer, on_timer, at > now ? at - now : 0, 0);
    }
}

static void run_posted(fw_loop *loop)
{
    fwi_list now;
    fwi_list_init(&now);
    pthread_mutex_lock(&loop->mutex);
    fwi_list_splice(&now, &loop->posted);
    pthread_mutex_unlock(&loop->mutex);
    run_tasks(&now);
}

static void on_async(uv_async_t *handle)
{
    fw_loop *loop = handle->data;
    if (atomic_exchange(&loop->stop_wanted, false))
        uv_stop(&loop->uv);
    run_posted(loop);
}

int fw_loop_new(fw_loop **ret_loop)
{
    fw_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return UV_ENOMEM;
    int err = UV_ENOMEM;
    loop->scratch = malloc(FWI_SCRATCH_BYTES);
    if (!loop->scratch)
        goto fail;
    err = uv_loop_init(&loop->uv);
    if (err)
        goto fail;
    err = uv_async_init(&loop->uv, &loop->async, on_async);
    if (err) {
        uv_loop_close(&loop->uv);
        goto fail;
    }
    loop->uv.data = loop;
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->timer);
    loop->prepare.data = loop->check.data = loop->idle.data = loop->timer.data = loop->async.data =
        loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->check);
    uv_unref((uv_handle_t *)&loop->async);
    fwi_wheel_init(&loop->wheel, uv_now(&loop->uv));
    loop->timer_at_ms = UINT64_MAX;
    fwi_list_init(&loop->deferred);
    fwi_list_init(&loop->posted);
    pthread_mutex_init(&loop->mutex, NULL);
    fwi_chunk_pool_init(&loop->chunks);
    *ret_loop = loop;
    return FW_OK;
fail:
    free(loop->scratch);
    free(loop);
    return err;
}

/* libuv writes without MSG_NOSIGNAL, so a peer that has left would end a program that does not
 * ignore SIGPIPE. It is blocked for this thread while the loop runs, and taken away before it is
 * let in again. */
static bool block_sigpipe(sigset_t *ret_set)
{
    sigset_t before;
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, ret_set, &before);
    return !sigismember(&before, SIGPIPE);
}

static void unblock_sigpipe(const sigset_t *set)
{
    static const struct timespec now = {0, 0};
    while (sigtimedwait(set, NULL, &now) == SIGPIPE)
        ;
    pthread_sigmask(SIG_UNBLOCK, set, NULL);
}

static void run(fw_loop *loop, uv_run_mode mode)
{
    sigset_t set;
    bool was_open = block_sigpipe(&set);
    loop->thread = pthread_self();
    loop->has_thread = true;
    uv_run(&loop->uv, mode);
    if (was_open)
        unblock_sigpipe(&set);
}

void fwi_loop_step(fw_loop *loop, bool block)
{
    loop->stepping = true;
    loop->has_run = false;
    run(loop, block ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    loop->stepping = false;
}

void fwi_loop_update_now(fw_loop *loop)
{
    uv_update_time(&loop->uv);
}

uint32_t fwi_loop_idle_ms(fw_loop *loop, uint32_t most_ms)
{
    pthread_mutex_lock(&loop->mutex);
    bool has_work = !fwi_list_empty(&loop->posted) || !fwi_list_empty(&loop->deferred);
    pthread_mutex_unlock(&loop->mutex);
    if (has_work)
        return 0;
    uv_update_time(&loop->uv);
    int timeout = uv_backend_timeout(&loop->uv);
    return timeout < 0 || (uint32_t)timeout > most_ms ? most_ms : (uint32_t)timeout;
}

int fw_loop_run(fw_loop *loop)
{
    run(loop, UV_RUN_DEFAULT);
    return FW_OK;
}

void fw_loop_stop(fw_loop *loop)
{
    atomic_store(&loop->stop_wanted, true);
    uv_async_send(&loop->async);
}

static void count_foreign(uv_handle_t *handle, void *arg)
{
    fw_loop *loop = handle->loop->data;
    const void *own[] = {&loop->prepare, &loop->check, &loop->idle, &loop->timer, &loop->async};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (handle == own[i])
            return;
    ++*(size_t *)arg;
}

int fw_loop_close(fw_loop *loop)
{
    if (!loop)
        return FW_OK;
    run_posted(loop);
    drain(loop);
    size_t foreign = 0;
    uv_walk(&loop->uv, count_foreign, &foreign);
    if (foreign || loop->holds || loop->wheel.armed || !fwi_list_empty(&loop->deferred))
        return UV_EBUSY;
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int err = uv_loop_close(&loop->uv);
    assert(!err);
    (void)err;
    pthread_mutex_destroy(&loop->mutex);
    fwi_chunk_pool_fini(&loop->chunks);
    free(loop->scratch);
    free(loop);
    return FW_OK;
}

static void run_post(fwi_task *task, void *arg)
{
    (void)task;
    struct post *post = arg;
    post->fn(post->loop, post->arg);
    free(post);
}

int fw_loop_post(fw_loop *loop, fw_loop_post_fn fn, void *arg)
{
    struct post *post = malloc(sizeof *post);
    if (!post)
        return UV_ENOMEM;
    *post =
        (struct post){.task = {.fn = run_post, .arg = post}, .loop = loop, .fn = fn, .arg = arg};
    fwi_loop_post_task(loop, &post->task);
    return FW_OK;
}

void fwi_loop_post_task(fw_loop *loop, fwi_task *task)
{
    pthread_mutex_lock(&loop->mutex);
    bool was_empty = fwi_list_empty(&loop->posted);
    fwi_list_push_back(&loop->posted, &task->node);
    /* The wake-up is sent under the mutex: the loop cannot take the task, finish its last work and
     * be closed by its owner between the two. */
    if (was_empty && !loop->is_virtual)
        uv_async_send(&loop->async);
    pthread_mutex_unlock(&loop->mutex);
}

void fwi_loop_defer(fw_loop *loop, fwi_task *task)
{
    assert(fwi_loop_is_current(loop));
    if (task->node.next)
        return;
    if (fwi_list_empty(&loop->deferred) && !loop->is_virtual)
        uv_idle_start(&loop->idle, on_idle);
    fwi_list_push_back(&loop->deferred, &task->node);
}

void fwi_loop_defer_cancel(fw_loop *loop, fwi_task *task)
{
    (void)loop;
    if (!task->node.next)
        return;
    fwi_list_remove(&task->node);
    task->node.next = NULL;
}

void fwi_loop_timer_start(fw_loop *loop, fwi_timer *timer, uint64_t delay_ms)
{
    assert(fwi_loop_is_current(loop));
    uint64_t now = fw_loop_now_ms(loop);
    if (!loop->wheel.armed && !loop->in_wheel)
        fwi_wheel_advance(&loop->wheel, now);
    fwi_wheel_arm(&loop->wheel, timer, now + delay_ms);
    if (!loop->in_wheel)
        arm_uv_timer(loop);
}

void fwi_loop_timer_stop(fw_loop *loop, fwi_timer *timer)
{
    if (!fwi_timer_armed(timer))
        return;
    fwi_wheel_disarm(&loop->wheel, timer);
    /* A wake-up for nothing is cheaper than finding the next one here; but an empty wheel must not
     * keep the loop alive. */
    if (!loop->wheel.armed && !loop->in_wheel)
        arm_uv_timer(loop);
}

void fwi_loop_hold(fw_loop *loop)
{
    if (loop->holds++ == 0)
        uv_ref((uv_handle_t *)&loop->async);
}

void fwi_loop_release(fw_loop *loop)
{
    assert(loop->holds);
    if (--loop->holds == 0)
        uv_unref((uv_handle_t *)&loop->async);
}

uint64_t fw_loop_now_ms(const fw_loop *loop)
{
    return loop->is_virtual ? loop->virtual_ms : uv_now(&loop->uv);
}

int fwi_loop_new_virtual(fw_loop **ret_loop, uint64_t now_ms)
{
    int err = fw_loop_new(ret_loop);
    if (err)
        return err;
    fw_loop *loop = *ret_loop;
    loop->is_virtual = true;
    loop->virtual_ms = now_ms;
    fwi_wheel_init(&loop->wheel, now_ms);
    return FW_OK;
}

void fwi_loop_set_time(fw_loop *loop, uint64_t now_ms)
{
    assert(loop->is_virtual && now_ms >= loop->virtual_ms);
    loop->virtual_ms = now_ms;
    while (fwi_loop_next_ms(loop) <= now_ms) {
        run_posted(loop);
        drain(loop);
        loop->in_wheel = true;
        fwi_wheel_advance(&loop->wheel, now_ms);
        loop->in_wheel = false;
    }
}

uint64_t fwi_loop_next_ms(fw_loop *loop)
{
    if (!fwi_list_empty(&loop->posted) || !fwi_list_empty(&loop->deferred))
        return loop->virtual_ms;
    return fwi_wheel_next_ms(&loop->wheel);
}

struct uv_loop_s *fw_loop_uv(fw_loop *loop)
{
    return &loop->uv;
}

void **fwi_loop_compressor(fw_loop *loop)
{
    return &loop->compressor;
}

uint8_t *fwi_loop_scratch(fw_loop *loop)
{
    return loop->scratch;
}

fwi_chunk_pool *fwi_loop_chunks(fw_loop *loop)
{
    return &loop->chunks;
}

bool fwi_loop_is_current(const fw_loop *loop)
{
    return !loop->has_thread || pthread_equal(loop->thread, pthread_self());
}
