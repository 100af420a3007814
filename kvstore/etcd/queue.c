#include "queue.h"

#include <fairway/error.h>
#include <signal.h>
#include <uv.h>

static void wake_loop(fwi_etcd_queue *queue)
{
    if (queue->driven)
        fwi_loop_defer(queue->loop, &queue->task);
    else
        fwi_loop_post_task(queue->loop, &queue->task);
}

/* Puts the tag (NULL: the end) where the loop finds it. */
static void hand_over(fwi_etcd_queue *queue, fwi_etcd_tag *tag, bool ok)
{
    bool wake = true;
    pthread_mutex_lock(&queue->mutex);
    if (tag) {
        tag->ok = ok;
        tag->arrived = true;
        wake = !tag->quiet;
        fwi_list_push_back(&queue->arrived, &tag->node);
    } else {
        queue->ended = true;
    }
    wake = wake && !queue->posted;
    if (wake)
        queue->posted = true;
    pthread_mutex_unlock(&queue->mutex);
    if (wake)
        wake_loop(queue);
}

/* Waits for the next event and hands it over. False if none came, or none will any more. */
static bool pass_next(fwi_etcd_queue *queue, gpr_timespec deadline)
{
    grpc_event event = grpc_completion_queue_next(queue->grpc, deadline, NULL);
    if (event.type == GRPC_QUEUE_SHUTDOWN)
        hand_over(queue, NULL, false);
    if (event.type != GRPC_OP_COMPLETE)
        return false;
    fwi_etcd_tag *tag = event.tag;
    (void)atomic_load_explicit(&tag->handed, memory_order_acquire);
    hand_over(queue, tag, event.success != 0);
    return true;
}

static void *poll_queue(void *arg)
{
    fwi_etcd_queue *queue = arg;
    while (pass_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC)))
        ;
    return NULL;
}

void fwi_etcd_queue_wait(fwi_etcd_queue *queue, uint32_t timeout_ms)
{
    gpr_timespec now = gpr_inf_past(GPR_CLOCK_MONOTONIC), deadline = now;
    if (timeout_ms)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_millis((int64_t)timeout_ms, GPR_TIMESPAN));
    while (pass_next(queue, deadline))
        deadline = now;
}

static void on_arrived(fwi_task *task, void *arg)
{
    (void)task;
    fwi_etcd_queue *queue = arg;
    fwi_list now;
    fwi_list_init(&now);
    pthread_mutex_lock(&queue->mutex);
    queue->posted = false;
    bool ended = queue->ended;
    fwi_list_splice(&now, &queue->arrived);
    pthread_mutex_unlock(&queue->mutex);
    for (fwi_list *node; (node = fwi_list_pop(&now));) {
        fwi_etcd_tag *tag = fwi_container_of(node, fwi_etcd_tag, node);
        tag->fn(tag, tag->arg);
    }
    if (!ended)
        return;
    if (!queue->driven)
        pthread_join(queue->thread, NULL);
    grpc_completion_queue_destroy(queue->grpc);
    pthread_mutex_destroy(&queue->mutex);
    queue->on_ended(queue->arg);
}

static int start_thread(fwi_etcd_queue *queue)
{
    /* Signals are the program's business, not this thread's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&queue->thread, NULL, poll_queue, queue);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err ? uv_translate_sys_error(err) : FW_OK;
}

int fwi_etcd_queue_init(fwi_etcd_queue *queue, fw_loop *loop, bool driven)
{
    *queue =
        (fwi_etcd_queue){.loop = loop, .driven = driven, .task = {.fn = on_arrived, .arg = queue}};
    fwi_list_init(&queue->arrived);
    queue->grpc = grpc_completion_queue_create_for_next(NULL);
    if (!queue->grpc)
        return UV_ENOMEM;
    pthread_mutex_init(&queue->mutex, NULL);
    int err = driven ? FW_OK : start_thread(queue);
    if (!err)
        return FW_OK;
    pthread_mutex_destroy(&queue->mutex);
    grpc_completion_queue_shutdown(queue->grpc);
    grpc_completion_queue_destroy(queue->grpc);
    return err;
}

void fwi_etcd_queue_close(fwi_etcd_queue *queue, void (*on_ended)(void *arg), void *arg)
{
    queue->on_ended = on_ended;
    queue->arg = arg;
    grpc_completion_queue_shutdown(queue->grpc);
}

bool fwi_etcd_tag_start(fwi_etcd_tag *tag, grpc_call *call, const grpc_op *ops, size_t count)
{
    tag->arrived = false;
    atomic_store_explicit(&tag->handed, 1, memory_order_release);
    return grpc_call_start_batch(call, ops, count, tag, NULL) == GRPC_CALL_OK;
}

void fwi_etcd_tag_hurry(fwi_etcd_queue *queue, fwi_etcd_tag *tag)
{
    pthread_mutex_lock(&queue->mutex);
    tag->quiet = false;
    /* It may have come silently before: then nothing else would run it. */
    bool wake = tag->arrived && !queue->posted;
    if (wake)
        queue->posted = true;
    pthread_mutex_unlock(&queue->mutex);
    if (wake)
        wake_loop(queue);
}

bool fwi_etcd_tag_succeeded(fwi_etcd_queue *queue, const fwi_etcd_tag *tag)
{
    pthread_mutex_lock(&queue->mutex);
    bool succeeded = tag->arrived && tag->ok;
    pthread_mutex_unlock(&queue->mutex);
    return succeeded;
}
