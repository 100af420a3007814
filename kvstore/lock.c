/*
 * Locks: a queue of keys under leases, served in the order of their revisions.
 *
 *     LEASING -> JOINING -> LOOKING -> MARKING -> HELD
 *                  |  ^       |  ^        |  ^
 *                  v  |       v  |        v  |
 *                 FINDING   WAITING     BARRED            any -> ENDED
 *
 * LEASING   a lease of our own is asked for; its end ends everything below
 * JOINING   our place in the queue is made: KEY/<lease>, created once, so its revision says where
 *           we stand; it is the fencing token
 * FINDING   the answer to that was lost: is the key there? Its name and lease tell that it is ours
 * LOOKING   who stands before us? nobody: MARKING
 * WAITING   the one directly before us is watched until it is gone, then LOOKING (it may have given
 *           up); so a release wakes one contender, not all
 * MARKING   KEY itself is created under our lease, with the user's value: it tells who holds the
 *           lock, and excludes clients whose lock is that key alone
 * BARRED    such a client has it: KEY is watched until it is gone
 * HELD      our two keys are watched: somebody may delete them
 * ENDED     not acquired, or lost
 *
 * Reads that fail are repeated, for as long as the lease lives.
 *
 * The layout of the queue and its order are those of Go's concurrency.Mutex
 * (go.etcd.io/etcd/clientv3/concurrency), so that its users and ours exclude each other.
 */
#include "kv.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_TTL_MS    15000
#define LEAST_TTL_MS      1000
#define RETRY_MS          200
#define SIDE_KEY_RESERVED 40 /* for what a side key adds to the lock's key */

enum state { LEASING, JOINING, FINDING, LOOKING, WAITING, MARKING, BARRED, HELD, ENDED };

struct fw_kv_lock {
    fw_kv *kv;
    fwi_list all;
    char *key;
    char *value;
    fw_kv_lock_options options;
    enum state state;
    fw_kv_lease *lease;
    char *place; /* our key in the queue */
    int64_t token;
    fw_kv_watch *watches[2]; /* waiting: [0]; held: our place and the lock's key */
    bool watch_saw[2];       /* the key was there */
    fwi_timer retry, limit;
    size_t pending; /* an operation, watches, the lease: what may still call us */
    bool answered, acquired, reported_loss, closing;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
    fwi_task gone;
};

static void join(fw_kv_lock *lock);
static void look(fw_kv_lock *lock);
static void mark(fw_kv_lock *lock);
static void find(fw_kv_lock *lock);

/* ---- the end ---- */

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fw_kv_lock *lock = arg;
    fw_kv *kv = lock->kv;
    fwi_list_remove(&lock->all);
    if (!lock->answered)
        lock->options.on_acquired(lock, FW_ECANCELED, "", lock->options.arg);
    if (lock->on_closed)
        lock->on_closed(lock->closed_arg);
    free(lock->key);
    free(lock->value);
    free(lock->place);
    free(lock);
    fwi_kv_continue_close(kv);
}

static void released(fw_kv_lock *lock)
{
    assert(lock->pending);
    if (--lock->pending || !lock->closing)
        return;
    lock->gone = (fwi_task){.fn = on_gone, .arg = lock};
    fwi_loop_defer(lock->kv->loop, &lock->gone);
}

static void on_part_closed(void *arg)
{
    released(arg);
}

static void close_watches(fw_kv_lock *lock)
{
    for (size_t i = 0; i < 2; i++) {
        fw_kv_watch *watch = lock->watches[i];
        lock->watches[i] = NULL;
        if (watch)
            fw_kv_watch_close(watch, on_part_closed, lock);
    }
}

static void let_go(fw_kv_lock *lock)
{
    lock->state = ENDED;
    fwi_loop_timer_stop(lock->kv->loop, &lock->retry);
    fwi_loop_timer_stop(lock->kv->loop, &lock->limit);
    close_watches(lock);
    fw_kv_lease *lease = lock->lease;
    lock->lease = NULL;
    if (lease)
        fw_kv_lease_close(lease, on_part_closed, lock);
}

/* It was not acquired, or is lost. The user may close the lock inside. */
static void end(fw_kv_lock *lock, int reason, const char *detail)
{
    if (lock->state == ENDED)
        return;
    /* The detail may live in what is let go. */
    char text[256];
    snprintf(text, sizeof text, "%s", detail);
    let_go(lock);
    if (!lock->answered) {
        lock->answered = true;
        lock->options.on_acquired(lock, reason, text, lock->options.arg);
    } else if (!lock->reported_loss) {
        lock->reported_loss = true;
        if (lock->options.on_lost)
            lock->options.on_lost(lock, reason, text, lock->options.arg);
    }
}

/* ---- steps ---- */

static void on_retry(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_kv_lock *lock = arg;
    switch (lock->state) {
    case JOINING:
        join(lock);
        break;
    case FINDING:
        find(lock);
        break;
    case LOOKING:
        look(lock);
        break;
    case MARKING:
        mark(lock);
        break;
    default:
        break;
    }
}

static void again_soon(fw_kv_lock *lock)
{
    fwi_loop_timer_start(lock->kv->loop, &lock->retry, RETRY_MS);
}

/* True if an operation may be tried once more, since it certainly did not end as it says. */
static bool is_passing(int status)
{
    return status == FW_EUNREACHABLE || status == FW_EDEADLINE || status == FW_EUNKNOWN;
}

/* After an operation was submitted with the error err. */
static void submitted(fw_kv_lock *lock, int err)
{
    if (err) /* a store that is closing is the user's doing */
        end(lock, err == FW_ECLOSED ? FW_ECANCELED : err, "");
    else
        lock->pending++;
}

/* At the start of every answer: false if nobody wants it any more. */
static bool is_wanted(fw_kv_lock *lock, enum state state)
{
    return !lock->closing && lock->state == state;
}

static void on_joined(const fw_kv_result *result, void *arg)
{
    fw_kv_lock *lock = arg;
    if (is_wanted(lock, JOINING)) {
        if (!result->status && result->count) { /* the store chose the name */
            free(lock->place);
            lock->place = strdup(result->pairs[0].key);
        }
        if (!result->status && lock->place) {
            lock->token = result->count ? result->pairs[0].revision : result->revision;
            look(lock);
        } else if (!result->status) {
            end(lock, UV_ENOMEM, "");
        } else if (result->status == FW_EEXISTS || is_passing(result->status)) {
            find(lock);
        } else {
            end(lock, result->status, result->detail);
        }
    }
    released(lock);
}

static void join(fw_kv_lock *lock)
{
    lock->state = JOINING;
    int64_t lease = fw_kv_lease_id(lock->lease);
    if (lock->kv->driver->has_queue) {
        fwi_kv_op request = {.lease = lease};
        submitted(lock,
                  fwi_kv_submit(lock->kv, FWI_KV_ENQUEUE, lock->key, &request, on_joined, lock));
        return;
    }
    size_t size = strlen(lock->key) + 18;
    free(lock->place);
    lock->place = malloc(size);
    if (!lock->place) {
        end(lock, UV_ENOMEM, "");
        return;
    }
    snprintf(lock->place, size, "%s/%llx", lock->key, (unsigned long long)lease);
    fw_kv_put_options options = {.lease = lock->lease};
    submitted(lock, fw_kv_atomic_put(lock->kv, lock->place, (fw_slice){NULL, 0}, 0, &options,
                                     on_joined, lock));
}

/* Our place in a list of the queue. */
static const fw_kv_pair *own_place(const fw_kv_lock *lock, const fw_kv_result *list)
{
    int64_t lease = fw_kv_lease_id(lock->lease);
    for (size_t i = 0; i < list->count; i++) {
        const fw_kv_pair *pair = &list->pairs[i];
        if (pair->lease == lease && fwi_kv_is_side_key(pair->key, strlen(pair->key), lease))
            return pair;
    }
    return NULL;
}

static int list_queue(fw_kv_lock *lock, fw_kv_done_fn done)
{
    return fwi_kv_submit(lock->kv, FWI_KV_LIST, lock->key, &(fwi_kv_op){.with_side_keys = true},
                         done, lock);
}

static void on_found(const fw_kv_result *result, void *arg)
{
    fw_kv_lock *lock = arg;
    if (is_wanted(lock, FINDING)) {
        const fw_kv_pair *own = result->status ? NULL : own_place(lock, result);
        char *place = own ? strdup(own->key) : NULL;
        if (own && place) {
            free(lock->place);
            lock->place = place;
            lock->token = own->revision;
            look(lock);
        } else if (own) {
            end(lock, UV_ENOMEM, "");
        } else if (!result->status) {
            lock->state = JOINING;
            again_soon(lock);
        } else if (is_passing(result->status)) {
            again_soon(lock);
        } else {
            end(lock, result->status, result->detail);
        }
    }
    released(lock);
}

static void find(fw_kv_lock *lock)
{
    lock->state = FINDING;
    submitted(lock, list_queue(lock, on_found));
}

/* ---- waiting for a key to go ---- */

static void after_waiting(fw_kv_lock *lock)
{
    close_watches(lock);
    if (lock->state == WAITING)
        look(lock);
    else
        mark(lock);
}

static void on_awaited(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    fw_kv_lock *lock = arg;
    if (watch != lock->watches[0])
        return;
    bool gone = false;
    for (size_t i = 0; i < count; i++) {
        if (events[i].type == FW_KV_FATAL) {
            end(lock, events[i].reason, events[i].detail);
            return;
        }
        if (events[i].type == FW_KV_PUT)
            lock->watch_saw[0] = true;
        gone |= events[i].type == FW_KV_DELETE ||
                (events[i].type == FW_KV_END_OF_SNAPSHOT && !lock->watch_saw[0]);
    }
    if (gone)
        after_waiting(lock);
}

static void await_end_of(fw_kv_lock *lock, const char *key, enum state state)
{
    if (lock->options.no_wait) {
        end(lock, FW_ELOCKED, "");
        return;
    }
    lock->state = state;
    lock->watch_saw[0] = false;
    submitted(lock, fw_kv_watch_key(lock->kv, key, on_awaited, lock, &lock->watches[0]));
}

/* ---- our turn ---- */

static void on_looked(const fw_kv_result *result, void *arg)
{
    fw_kv_lock *lock = arg;
    if (is_wanted(lock, LOOKING)) {
        const fw_kv_pair *before = NULL;
        bool present = false;
        int64_t lease = fw_kv_lease_id(lock->lease);
        for (size_t i = 0; i < result->count; i++) {
            const fw_kv_pair *pair = &result->pairs[i];
            present |= pair->revision == lock->token;
            if (pair->lease == lease) /* ours; one more if the answer to JOINING came too late */
                continue;
            if (pair->revision < lock->token && (!before || pair->revision > before->revision))
                before = pair;
        }
        if (is_passing(result->status))
            again_soon(lock);
        else if (result->status)
            end(lock, result->status, result->detail);
        else if (!present)
            end(lock, FW_ELEASE, "its place in the queue was deleted");
        else if (before)
            await_end_of(lock, before->key, WAITING);
        else
            mark(lock);
    }
    released(lock);
}

static void look(fw_kv_lock *lock)
{
    lock->state = LOOKING;
    submitted(lock, list_queue(lock, on_looked));
}

/* ---- holding ---- */

static void on_own_key(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    fw_kv_lock *lock = arg;
    size_t which = watch == lock->watches[0] ? 0 : 1;
    if (watch != lock->watches[which] || lock->state != HELD)
        return;
    int64_t lease = fw_kv_lease_id(lock->lease);
    bool gone = false;
    for (size_t i = 0; i < count; i++) {
        if (events[i].type == FW_KV_FATAL) {
            end(lock, events[i].reason, events[i].detail);
            return;
        }
        if (events[i].type == FW_KV_PUT) {
            lock->watch_saw[which] = true;
            gone |= events[i].pair.lease != lease;
        }
        gone |= events[i].type == FW_KV_DELETE ||
                (events[i].type == FW_KV_END_OF_SNAPSHOT && !lock->watch_saw[which]);
    }
    if (gone)
        end(lock, FW_EMODIFIED, "a key of the lock was deleted or overwritten");
}

static void hold(fw_kv_lock *lock)
{
    lock->state = HELD;
    fwi_loop_timer_stop(lock->kv->loop, &lock->limit);
    const char *const keys[2] = {lock->place, lock->key};
    for (size_t i = 0; i < 2 && lock->state == HELD; i++) {
        lock->watch_saw[i] = false;
        submitted(lock, fw_kv_watch_key(lock->kv, keys[i], on_own_key, lock, &lock->watches[i]));
    }
    if (lock->state != HELD)
        return;
    lock->answered = lock->acquired = true;
    lock->options.on_acquired(lock, FW_OK, "", lock->options.arg);
}

/* The answer to MARKING was lost: whose is the key? */
static void on_marked_by(const fw_kv_result *result, void *arg)
{
    fw_kv_lock *lock = arg;
    if (is_wanted(lock, MARKING)) {
        if (!result->status && result->pairs[0].lease == fw_kv_lease_id(lock->lease))
            hold(lock);
        else if (!result->status)
            await_end_of(lock, lock->key, BARRED);
        else if (result->status == FW_ENOTFOUND || is_passing(result->status))
            again_soon(lock);
        else
            end(lock, result->status, result->detail);
    }
    released(lock);
}

static void on_marked(const fw_kv_result *result, void *arg)
{
    fw_kv_lock *lock = arg;
    if (is_wanted(lock, MARKING)) {
        if (!result->status)
            hold(lock);
        else if (result->status == FW_EEXISTS || is_passing(result->status))
            submitted(lock, fw_kv_get(lock->kv, lock->key, on_marked_by, lock));
        else
            end(lock, result->status, result->detail);
    }
    released(lock);
}

static void mark(fw_kv_lock *lock)
{
    lock->state = MARKING;
    fw_kv_put_options options = {.lease = lock->lease};
    submitted(lock, fw_kv_atomic_put(lock->kv, lock->key, lock->options.value, 0, &options,
                                     on_marked, lock));
}

/* ---- the lease ---- */

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    fw_kv_lock *lock = arg;
    if (!is_wanted(lock, LEASING))
        return;
    if (status)
        end(lock, status, detail);
    else
        join(lock);
}

static void on_lease_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    fw_kv_lock *lock = arg;
    if (!lock->closing)
        end(lock, reason, detail);
}

static void on_limit(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_kv_lock *lock = arg;
    bool is_held = lock->state == WAITING || lock->state == BARRED;
    end(lock, FW_EDEADLINE,
        is_held ? "somebody else has the lock" : "the store did not answer in time");
}

/* ---- life ---- */

static int lock_init(fw_kv_lock *lock, fw_kv *kv, const char *key,
                     const fw_kv_lock_options *options)
{
    int err = fwi_kv_key_normalise(key, false, &lock->key);
    if (err)
        return err;
    if (strlen(lock->key) + SIDE_KEY_RESERVED > FW_KV_MAX_KEY_BYTES)
        return FW_EKEY;
    if (options->value.len > kv->driver->max_value_bytes)
        return FW_EVALUESIZE;
    lock->value = malloc(options->value.len + 1);
    if (!lock->value)
        return UV_ENOMEM;
    if (options->value.len)
        memcpy(lock->value, options->value.data, options->value.len);
    lock->kv = kv;
    lock->options = *options;
    lock->options.value = (fw_slice){lock->value, options->value.len};
    lock->retry = (fwi_timer){.fn = on_retry, .arg = lock};
    lock->limit = (fwi_timer){.fn = on_limit, .arg = lock};
    fw_kv_lease_options lease = {.ttl_ms = options->ttl_ms ? options->ttl_ms : DEFAULT_TTL_MS,
                                 .on_granted = on_granted,
                                 .on_lost = on_lease_lost,
                                 .arg = lock};
    return fw_kv_lease_new(kv, &lease, &lock->lease);
}

int fw_kv_lock_new(fw_kv *kv, const char *key, const fw_kv_lock_options *options,
                   fw_kv_lock **ret_lock)
{
    if (kv->closing)
        return FW_ECLOSED;
    if (!options->on_acquired || (options->ttl_ms && options->ttl_ms < LEAST_TTL_MS))
        return FW_EOPTION;
    fw_kv_lock *lock = calloc(1, sizeof *lock);
    if (!lock)
        return UV_ENOMEM;
    int err = lock_init(lock, kv, key, options);
    if (err) {
        free(lock->key);
        free(lock->value);
        free(lock);
        return err;
    }
    lock->pending = 1; /* the lease */
    if (options->wait_ms)
        fwi_loop_timer_start(kv->loop, &lock->limit, options->wait_ms);
    fwi_list_push_back(&kv->locks, &lock->all);
    *ret_lock = lock;
    return FW_OK;
}

int64_t fw_kv_lock_token(const fw_kv_lock *lock)
{
    return lock->acquired ? lock->token : 0;
}

fw_kv_compare fw_kv_lock_compare(const fw_kv_lock *lock)
{
    return (fw_kv_compare){.key = lock->place ? lock->place : lock->key,
                           .relation = FW_KV_EQUAL,
                           .revision = lock->acquired ? lock->token : -1};
}

void fw_kv_lock_close(fw_kv_lock *lock, fw_kv_closed_fn on_closed, void *arg)
{
    if (lock->closing)
        return;
    lock->closing = true;
    lock->on_closed = on_closed;
    lock->closed_arg = arg;
    lock->pending++; /* so that it is not gone before let_go is through */
    if (lock->state != ENDED)
        let_go(lock);
    released(lock);
}

void fwi_kv_locks_close(fw_kv *kv)
{
    fwi_list_for_each_safe (node, &kv->locks)
        fw_kv_lock_close(fwi_container_of(node, fw_kv_lock, all), NULL, NULL);
}
