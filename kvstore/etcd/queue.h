/*
 * A gRPC completion queue, and the hand-over of what it yields to the loop. Who sleeps in it:
 *
 *     a thread of its own (the poller)   which touches nothing but gRPC's queue and the list of
 *                                        arrived tags, and wakes the loop
 *     or, if the queue is driven,        the loop's own thread, in fwi_etcd_queue_wait: nothing is
 *                                        handed over between threads
 *
 * In both cases tags run on the loop, in batches. gRPC's own hand-over of a tag between its threads
 * is invisible to ThreadSanitizer, so each tag carries an atomic: stored before its batch starts,
 * loaded first thing when it arrives.
 */
#ifndef FWI_ETCD_QUEUE_H
#define FWI_ETCD_QUEUE_H

#include "base/loop.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct fwi_etcd_tag fwi_etcd_tag;
typedef void (*fwi_etcd_tag_fn)(fwi_etcd_tag *tag, void *arg);

/* One batch of a call. In the memory of its owner, which must live until fn has run. */
struct fwi_etcd_tag {
    fwi_etcd_tag_fn fn; /* on the loop */
    void *arg;
    fwi_list node;
    atomic_uint handed;
    bool ok;      /* gRPC's word about the batch */
    bool quiet;   /* need not wake the loop: another tag of the same call will; under the mutex */
    bool arrived; /* under the mutex */
};

typedef struct fwi_etcd_queue {
    grpc_completion_queue *grpc;
    fw_loop *loop;
    void (*on_ended)(void *arg);
    void *arg;
    bool driven;
    pthread_t thread; /* unless it is driven */
    fwi_task task;
    pthread_mutex_t mutex; /* guards what follows */
    fwi_list arrived;
    bool posted, ended;
} fwi_etcd_queue;

/* Makes the queue, and unless it is driven starts its thread. UV_ENOMEM, UV_EAGAIN. */
FW_MUST_CHECK int fwi_etcd_queue_init(fwi_etcd_queue *queue, fw_loop *loop, bool driven);
/* If the queue is driven: sleeps until a batch ends, at most timeout_ms, and has the loop run all
 * tags that have arrived in its next turn. */
void fwi_etcd_queue_wait(fwi_etcd_queue *queue, uint32_t timeout_ms);
/* Ends the thread and the queue when no batch is out any more; on_ended(arg) comes on the loop,
 * later. */
void fwi_etcd_queue_close(fwi_etcd_queue *queue, void (*on_ended)(void *arg), void *arg);

/* Starts a batch. False if gRPC refuses it; then the tag does not come. */
FW_MUST_CHECK bool fwi_etcd_tag_start(fwi_etcd_tag *tag, grpc_call *call, const grpc_op *ops,
                                      size_t count);
/* From now on the tag wakes the loop. */
void fwi_etcd_tag_hurry(fwi_etcd_queue *queue, fwi_etcd_tag *tag);
/* True if the batch has succeeded, though its fn may not have run yet. */
bool fwi_etcd_tag_succeeded(fwi_etcd_queue *queue, const fwi_etcd_tag *tag);

#endif
