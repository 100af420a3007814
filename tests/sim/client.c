/*
 * The driver "sim:": how a process reaches the simulated store.
 *
 * A call is a request that travels, is executed, and whose answer travels back; each way may be
 * cut. The driver answers at the operation's deadline, or at once when the store refuses
 * connections. A watch is a stream: it breaks when the store or the way to it is gone, is found
 * broken by the next look, and is opened again from the revision after the last that was told.
 */
#include "sim_impl.h"

#include "faults.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_MS     20 /* at most, each way */
#define OTHER_WAY_MS   100
#define LOOK_MS        500
#define RENEW_RETRY_MS 150

struct handle {
    fw_kv *kv;
    sim_process *process;
    fwi_list calls; /* struct call.node */
};

/* The client's end of a request; message->call goes to NULL when nobody waits any more. */
struct call {
    fwi_list node;
    struct handle *handle;
    struct message *message; /* NULL: lost on the way */
    fwi_timer timer;
    fwi_kv_op *op;
    struct lease *lease;
    sim_kind kind;
    uint64_t asked_ms;
};

struct message {
    sim_process *process;
    struct call *call;
    sim_request request;
    fwi_task task;
};

static uint32_t latency(sim_world *world)
{
    return 1 + sim_random(world, LATENCY_MS);
}

/* True if nothing passes between the process and the store. */
static bool is_cut(const sim_process *process)
{
    return process->is_cut || process->is_dead || process->world->is_down;
}

/* ---- calls ---- */

static void message_free(struct message *message)
{
    if (message->call)
        message->call->message = NULL;
    free(message->request.key);
    free((void *)message->request.value.data);
    fwi_kv_pairs_fini(&message->request.pairs);
    free(message);
}

static void call_end(struct call *call)
{
    fwi_loop_timer_stop(call->handle->process->loop, &call->timer);
    if (call->message)
        call->message->call = NULL;
    fwi_list_remove(&call->node);
    free(call);
}

static void lease_answered(struct lease *lease, struct call *call, int status, int64_t id);

/* Ends a call with its answer, or with an error of our own (request NULL). */
static void finish(struct call *call, int status, sim_request *request)
{
    if (call->op) {
        fwi_kv_op *op = call->op;
        if (request) {
            op->revision = request->revision;
            op->count = request->count;
            op->pairs = request->pairs;
            request->pairs = (fwi_kv_pairs){.count = 0};
        }
        call_end(call);
        fwi_kv_op_finish(op, status, NULL);
        return;
    }
    lease_answered(call->lease, call, status, request ? request->lease : 0);
}

static void on_answer(fwi_task *task, void *arg)
{
    (void)task;
    struct message *message = arg;
    if (message->call) {
        struct call *call = message->call;
        call->message = NULL;
        message->call = NULL;
        finish(call, message->request.status, &message->request);
    }
    message_free(message);
}

static void on_return(void *arg)
{
    struct message *message = arg;
    sim_process *process = message->process;
    bool is_lost =
        is_cut(process) || !process->loop || sim_random(process->world, 1000) < process->lost_share;
    if (is_lost || !message->call) {
        message_free(message);
        return;
    }
    message->task = (fwi_task){.fn = on_answer, .arg = message};
    fwi_loop_post_task(process->loop, &message->task);
}

static void on_arrival(void *arg)
{
    struct message *message = arg;
    sim_world *world = message->process->world;
    if (world->is_down || message->process->is_cut) {
        message_free(message);
        return;
    }
    sim_store_execute(world, &message->request);
    sim_after(world, latency(world), on_return, message);
}

static void on_late(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct call *call = arg;
    bool may_be_done = call->op && fwi_kv_op_is_write(call->op);
    finish(call, may_be_done ? FW_EUNKNOWN : FW_EUNREACHABLE, NULL);
}

static void on_refused(fwi_timer *timer, void *arg)
{
    (void)timer;
    finish(arg, FW_EUNREACHABLE, NULL);
}

static struct call *call_new(struct handle *handle, sim_kind kind, const sim_request *request,
                             uint64_t timeout_ms)
{
    sim_world *world = handle->process->world;
    struct call *call = sim_alloc(sizeof *call);
    *call = (struct call){.handle = handle, .kind = kind};
    call->asked_ms = fw_loop_now_ms(handle->process->loop);
    fwi_list_push_back(&handle->calls, &call->node);
    bool is_refused = world->is_down || handle->process->is_dead;
    call->timer = (fwi_timer){.fn = is_refused ? on_refused : on_late, .arg = call};
    fwi_loop_timer_start(handle->process->loop, &call->timer,
                         is_refused ? 1 + latency(world) : timeout_ms);
    if (is_refused)
        return call;
    struct message *message = sim_alloc(sizeof *message);
    message->process = handle->process;
    message->call = call;
    message->request = *request;
    message->request.kind = kind;
    message->request.key = request->key ? strdup(request->key) : NULL;
    void *copy = sim_alloc(request->value.len + 1);
    if (request->value.len)
        memcpy(copy, request->value.data, request->value.len);
    message->request.value.data = copy;
    call->message = message;
    sim_after(world, latency(world), on_arrival, message);
    return call;
}

static void submit(void *arg, fwi_kv_op *op)
{
    struct handle *handle = arg;
    sim_request request = {.type = op->type,
                           .key = op->key,
                           .value = op->value,
                           .previous = op->previous,
                           .lease = op->lease,
                           .ttl_ms = op->ttl_ms};
    struct call *call = call_new(handle, SIM_OP, &request, fwi_kv_timeout_ms(handle->kv));
    call->op = op;
}

/* ---- leases ---- */

struct lease {
    fw_kv_lease *lease;
    struct handle *handle;
    fwi_timer renew, lose;
    struct call *call; /* a renewal, a grant or the revocation under way */
    bool granted, over;
};

static void lease_ask(struct lease *lease, sim_kind kind, uint64_t timeout_ms)
{
    sim_request request = {.lease = lease->lease->id, .ttl_ms = lease->lease->ttl_ms};
    lease->call = call_new(lease->handle, kind, &request, timeout_ms);
    lease->call->lease = lease;
}

static void lease_over(struct lease *lease, int reason)
{
    fw_loop *loop = lease->handle->process->loop;
    fwi_loop_timer_stop(loop, &lease->renew);
    fwi_loop_timer_stop(loop, &lease->lose);
    if (!lease->over)
        fwi_kv_lease_lost(lease->lease, reason, "");
    lease->over = true;
}

static void on_lose(fwi_timer *timer, void *arg)
{
    (void)timer;
    lease_over(arg, FW_EUNREACHABLE);
}

static void on_renew(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct lease *lease = arg;
    if (!lease->call)
        lease_ask(lease, SIM_RENEW, lease->lease->ttl_ms / 3);
}

/* The lease lives until a ttl after it was asked for. */
static void lease_lives(struct lease *lease, uint64_t asked_ms)
{
    fw_loop *loop = lease->handle->process->loop;
    uint64_t ends_ms = asked_ms + lease->lease->ttl_ms, now_ms = fw_loop_now_ms(loop);
    if (ends_ms <= now_ms) {
        lease_over(lease, FW_EUNREACHABLE);
        return;
    }
    fwi_loop_timer_start(loop, &lease->renew, lease->lease->ttl_ms / 3);
    fwi_loop_timer_start(loop, &lease->lose, ends_ms - now_ms);
}

static void lease_gone(struct lease *lease)
{
    fw_loop *loop = lease->handle->process->loop;
    fwi_loop_timer_stop(loop, &lease->renew);
    fwi_loop_timer_stop(loop, &lease->lose);
    fwi_kv_lease_gone(lease->lease);
    free(lease);
}

static void lease_answered(struct lease *lease, struct call *call, int status, int64_t id)
{
    sim_kind kind = call->kind;
    uint64_t asked_ms = call->asked_ms;
    call_end(call);
    lease->call = NULL;
    if (kind == SIM_REVOKE) {
        lease_gone(lease);
    } else if (kind == SIM_GRANT) {
        lease->granted = !status;
        fwi_kv_lease_granted(lease->lease, status, NULL, id, lease->lease->ttl_ms);
        if (!status)
            lease_lives(lease, asked_ms);
    } else if (status == FW_ELEASE) {
        lease_over(lease, FW_ELEASE);
    } else if (status) {
        fwi_loop_timer_start(lease->handle->process->loop, &lease->renew, RENEW_RETRY_MS);
    } else if (!lease->over) {
        lease_lives(lease, asked_ms);
    }
}

static void lease_grant(void *arg, fw_kv_lease *kv_lease)
{
    struct lease *lease = sim_alloc(sizeof *lease);
    lease->lease = kv_lease;
    lease->handle = arg;
    lease->renew = (fwi_timer){.fn = on_renew, .arg = lease};
    lease->lose = (fwi_timer){.fn = on_lose, .arg = lease};
    kv_lease->driver_data = lease;
    lease_ask(lease, SIM_GRANT, fwi_kv_timeout_ms(lease->handle->kv));
}

static void lease_revoke(void *arg, fw_kv_lease *kv_lease)
{
    struct handle *handle = arg;
    struct lease *lease = kv_lease->driver_data;
    if (lease->call)
        call_end(lease->call);
    lease->call = NULL;
    if (lease->granted && !handle->process->is_dead)
        lease_ask(lease, SIM_REVOKE, fwi_kv_timeout_ms(handle->kv));
    else
        lease_gone(lease);
}

/* ---- watches ---- */

/* A watch, with the state of both its ends; what is on its way holds a reference. */
struct sub {
    sim_subscription stream; /* in the world's list while is_open */
    size_t references;
    fw_kv_watch *watch; /* NULL: stopped */
    sim_process *process;
    fwi_timer look;
    bool is_open, is_opening;
    uint32_t epoch;              /* of the stream: what was sent on an older one does not count */
    uint32_t incarnation;        /* of the store that told us last */
    uint32_t stream_incarnation; /* of the store that sent last */
    uint64_t last_due_ms;        /* when the newest message arrives; none overtakes it */
};

/* What is told to a watch in one message. */
struct news {
    struct sub *sub;
    uint32_t epoch, incarnation;
    bool is_list;
    int64_t revision;
    fwi_list changes;
    fwi_task task;
};

static void sub_release(struct sub *sub)
{
    if (!--sub->references)
        free(sub);
}

static void stream_break(struct sub *sub)
{
    if (!sub->is_open)
        return;
    fwi_list_remove(&sub->stream.node);
    sub->is_open = false;
    sub->epoch++;
}

static void news_free(struct news *news)
{
    for (fwi_list *node; (node = fwi_list_pop(&news->changes));)
        sim_change_free(fwi_container_of(node, sim_change, node));
    sub_release(news->sub);
    free(news);
}

/* On the client. The watch may be stopped by what it is told. */
static void tell_watch(struct news *news)
{
    struct sub *sub = news->sub;
    sub->incarnation = news->incarnation;
    if (news->is_list)
        fwi_kv_watch_list_begin(sub->watch);
    fwi_list_for_each (node, &news->changes) {
        const sim_change *change = fwi_container_of(node, sim_change, node);
        size_t len = strlen(change->key);
        if (news->is_list)
            fwi_kv_watch_list_pair(sub->watch, change->key, len, change->value, change->revision,
                                   change->lease);
        else if (change->is_delete)
            fwi_kv_watch_delete(sub->watch, change->key, len, change->revision);
        else
            fwi_kv_watch_put(sub->watch, change->key, len, change->value, change->revision,
                             change->lease);
    }
    bool goes_on = news->is_list ? fwi_kv_watch_list_end(sub->watch, news->revision)
                                 : fwi_kv_watch_commit(sub->watch, news->revision);
    if (goes_on)
        fwi_kv_watch_live(sub->watch);
}

static void on_news(fwi_task *task, void *arg)
{
    (void)task;
    struct news *news = arg;
    if (news->sub->watch && news->epoch == news->sub->epoch)
        tell_watch(news);
    news_free(news);
}

static void on_news_arrival(void *arg)
{
    struct news *news = arg;
    struct sub *sub = news->sub;
    bool is_lost = !sub->watch || is_cut(sub->process);
    if (is_lost || news->epoch != sub->epoch) {
        if (is_lost)
            stream_break(sub);
        news_free(news);
        return;
    }
    news->task = (fwi_task){.fn = on_news, .arg = news};
    fwi_loop_post_task(sub->process->loop, &news->task);
}

/* The store sends what is new since its last message. */
static void send_news(struct sub *sub)
{
    sim_world *world = sub->process->world;
    struct news *news = sim_alloc(sizeof *news);
    fwi_list_init(&news->changes);
    news->sub = sub;
    sub->references++;
    news->epoch = sub->epoch;
    news->incarnation = world->incarnation;
    news->is_list = sim_store_read(world, sub->watch, sub->stream.revision, sub->stream_incarnation,
                                   &news->changes);
    news->revision = sub->stream.revision = world->revision;
    sub->stream_incarnation = world->incarnation;
    uint64_t due_ms = world->now_ms + latency(world);
    if (due_ms < sub->last_due_ms)
        due_ms = sub->last_due_ms;
    if (FWI_FAULT(FWI_LIST_AFTER_WATCH) && news->is_list)
        due_ms += OTHER_WAY_MS; /* what the stream sends meanwhile overtakes it */
    else
        sub->last_due_ms = due_ms;
    sim_after(world, due_ms - world->now_ms, on_news_arrival, news);
}

static void on_change(sim_subscription *stream)
{
    struct sub *sub = fwi_container_of(stream, struct sub, stream);
    if (sub->watch)
        send_news(sub);
}

static void on_break(sim_subscription *stream)
{
    stream_break(fwi_container_of(stream, struct sub, stream));
}

/* The request for a stream has reached the store. */
static void on_opening(void *arg)
{
    struct sub *sub = arg;
    sub->is_opening = false;
    if (sub->watch && !is_cut(sub->process)) {
        sub->is_open = true;
        sub->stream.revision = sub->watch->revision;
        sub->stream_incarnation = sub->incarnation;
        if (FWI_FAULT(FWI_WATCH_FROM_NOW) && sub->stream.revision) {
            sub->stream.revision = sub->process->world->revision;
            sub->stream_incarnation = sub->process->world->incarnation;
        }
        fwi_list_push_back(&sub->process->world->subscriptions, &sub->stream.node);
        send_news(sub);
    }
    sub_release(sub);
}

/* Keep-alive and reconnecting. */
static void on_look(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct sub *sub = arg;
    sim_world *world = sub->process->world;
    fwi_loop_timer_start(sub->process->loop, &sub->look, LOOK_MS / 2 + sim_random(world, LOOK_MS));
    if (is_cut(sub->process))
        stream_break(sub);
    if (sub->is_open || sub->is_opening || !fwi_kv_watch_stale(sub->watch, FW_EUNREACHABLE, ""))
        return;
    sub->is_opening = true;
    sub->references++;
    sim_after(world, latency(world), on_opening, sub);
}

static void watch_start(void *arg, fw_kv_watch *watch)
{
    struct handle *handle = arg;
    struct sub *sub = sim_alloc(sizeof *sub);
    sub->stream.on_change = on_change;
    sub->stream.on_break = on_break;
    sub->references = 1;
    sub->watch = watch;
    sub->process = handle->process;
    sub->look = (fwi_timer){.fn = on_look, .arg = sub};
    watch->driver_data = sub;
    fwi_loop_timer_start(handle->process->loop, &sub->look, 1);
}

static void watch_stop(void *arg, fw_kv_watch *watch)
{
    (void)arg;
    struct sub *sub = watch->driver_data;
    stream_break(sub);
    fwi_loop_timer_stop(sub->process->loop, &sub->look);
    sub->watch = NULL;
    sub_release(sub);
    fwi_kv_watch_stopped(watch);
}

/* ---- life ---- */

const char *sim_url(const sim_process *process)
{
    static char url[32];
    snprintf(url, sizeof url, "sim:%llx", (unsigned long long)(uintptr_t)process);
    return url;
}

static int open_sim(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    (void)access;
    struct handle *handle = sim_alloc(sizeof *handle);
    handle->kv = kv;
    handle->process = (sim_process *)(uintptr_t)strtoull(url->path, NULL, 16);
    fwi_list_init(&handle->calls);
    *ret_store = handle;
    return FW_OK;
}

static void close_sim(void *arg)
{
    struct handle *handle = arg;
    while (!fwi_list_empty(&handle->calls))
        finish(fwi_container_of(handle->calls.next, struct call, node), FW_ECANCELED, NULL);
    fw_kv *kv = handle->kv;
    free(handle);
    fwi_kv_closed(kv);
}

const fwi_kv_driver sim_driver = {
    .scheme = "sim",
    .capabilities = FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES | FW_KV_CAN_PERSIST |
                    FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME,
    .max_value_bytes = 1 << 20,
    .open = open_sim,
    .close = close_sim,
    .submit = submit,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .lease_grant = lease_grant,
    .lease_revoke = lease_revoke,
};
