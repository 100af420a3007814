/*
 * The keeper: desired state, reconciled for ever.
 *
 *     GRANT --granted--> PUT all --each read back--> REGISTERED
 *       ^                  |                           | lease lost, key gone
 *       |___ wait _________|___________________________|
 *
 * A round is one lease. Answers of the store carry their round's number; those of an older round
 * are dropped. Within a round every key goes put -> get (the read-back): what counts is what the
 * store shows, so an answer that was lost on its way does not matter. A watch on each own key sees
 * when somebody deletes it; it is put again.
 *
 * Coming back. When a store that was away is there again, everybody who had something in it comes
 * at once. So after an outage each tries at moments of its own, once in every spread_ms; and who
 * was asking at that very time, which shows in how long the answer took, waits so before it puts.
 */
#include "keeper.h"

#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/random.h"
#include "faults.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_TTL_MS  10000
#define BACKOFF_BASE_MS 200
#define SPREAD_MAX_MS   5000
#define LEAVE_RETRY_MS  500
#define CAUGHT_MS       1000 /* an answer that took longer was asked for while the store was away */

struct fwi_kept {
    fwi_list node;
    fwi_keeper *keeper;
    void *user;
    char *key, *value; /* value NULL: not known yet */
    fw_kv_watch *watch;
    int64_t revision; /* of the last read-back; what the watch says of older ones does not count */
    bool present;     /* the watch has seen the key since the last read-back */
    bool registered;  /* in this round, read back */
    bool busy;        /* a put or its read-back is under way */
    bool dirty;       /* changed or deleted meanwhile: once more */
    bool withheld;    /* not put for the time being */
    bool leaving;     /* not wanted any more: deleted, then forgotten */
    fwi_timer again;  /* while leaving: the next try to delete it */
    size_t requests;  /* of this key, under way */
};

struct fwi_keeper {
    fw_kv *kv;
    fw_loop *loop;
    fwi_keeper_options options;
    fwi_list all, leaving;
    fw_kv_lease *lease; /* of this round */
    uint64_t asked_ms;  /* when the lease was asked for */
    bool granted;       /* and its keys may be put */
    uint32_t round;
    size_t pending; /* store operations and closings whose callback has not come */
    fw_backoff backoff;
    bool was_registered; /* since the last outage */
    bool recovering;     /* from one */
    uint64_t turn_ms;    /* while recovering: when our turn is to try */
    fwi_timer retry;
    fwi_task begin;
    fw_registrar_status status;
    char detail[256];
    uint64_t retry_at_ms;
    bool closing;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

/* A store operation under way: which key, which round. */
struct request {
    fwi_kept *kept;
    uint32_t round;
};

static void begin_round(fwi_keeper *keeper);
static void put_kept(fwi_kept *kept);
static void put_unless_withheld(fwi_kept *kept);

static void set_status(fwi_keeper *keeper, fw_registrar_state state, int reason, const char *detail)
{
    fw_registrar_status *status = &keeper->status;
    bool changed = status->state != state || status->reason != reason;
    if (status->state != state)
        status->since_ms = fw_loop_now_ms(keeper->loop);
    status->state = state;
    status->reason = reason;
    snprintf(keeper->detail, sizeof keeper->detail, "%s", detail);
    if (!changed || keeper->closing)
        return;
    fwi_log(state == FW_REGISTRAR_LOST ? FW_LOG_WARN : FW_LOG_INFO, keeper->options.component,
            state == FW_REGISTRAR_LOST ? "registration lost" : "registered",
            FWI_TEXT("reason", reason ? fw_strerror(reason) : ""), FWI_TEXT("detail", detail));
    if (keeper->options.on_status) {
        fw_registrar_status lent;
        fwi_keeper_get_status(keeper, &lent);
        keeper->options.on_status(&lent, keeper->options.arg);
    }
}

void fwi_keeper_get_status(const fwi_keeper *keeper, fw_registrar_status *ret_status)
{
    *ret_status = keeper->status;
    ret_status->detail = keeper->detail;
    uint64_t now = fw_loop_now_ms(keeper->loop);
    ret_status->next_try_ms = keeper->status.state == FW_REGISTRAR_LOST &&
                                      fwi_timer_armed(&keeper->retry) && keeper->retry_at_ms > now
                                  ? (uint32_t)(keeper->retry_at_ms - now)
                                  : 0;
}

/* ---- the end ---- */

static void kept_free(fwi_kept *kept)
{
    fwi_loop_timer_stop(kept->keeper->loop, &kept->again);
    fwi_list_remove(&kept->node);
    free(kept->key);
    free(kept->value);
    free(kept);
}

static void finish_if_done(fwi_keeper *keeper)
{
    if (!keeper->closing || keeper->pending)
        return;
    fwi_list_splice(&keeper->all, &keeper->leaving);
    while (!fwi_list_empty(&keeper->all))
        kept_free(fwi_container_of(keeper->all.next, fwi_kept, node));
    if (keeper->on_closed)
        keeper->on_closed(keeper->closed_arg);
    free(keeper);
}

static void on_part_closed(void *arg)
{
    fwi_keeper *keeper = arg;
    keeper->pending--;
    finish_if_done(keeper);
}

static void drop_lease(fwi_keeper *keeper)
{
    if (!keeper->lease)
        return;
    keeper->pending++;
    fw_kv_lease_close(keeper->lease, on_part_closed, keeper);
    keeper->lease = NULL;
    keeper->granted = false;
}

void fwi_keeper_close(fwi_keeper *keeper, fw_kv_closed_fn on_closed, void *arg)
{
    if (keeper->closing)
        return;
    keeper->closing = true;
    keeper->on_closed = on_closed;
    keeper->closed_arg = arg;
    keeper->round++;
    fwi_loop_timer_stop(keeper->loop, &keeper->retry);
    drop_lease(keeper);
    fwi_list_for_each (node, &keeper->all) {
        fwi_kept *kept = fwi_container_of(node, fwi_kept, node);
        if (kept->watch) {
            keeper->pending++;
            fw_kv_watch_close(kept->watch, on_part_closed, keeper);
        }
    }
    /* One more reference for this call itself, given back in a later turn. */
    keeper->pending++;
    fwi_loop_defer(keeper->loop, &keeper->begin);
}

/* ---- a round ---- */

/* Until the next try. After an outage that is at a moment of its own within the window, and then
 * once each window: so whenever the store returns, the tries are spread evenly over the next one.
 */
static uint32_t wait_ms(fwi_keeper *keeper, int reason)
{
    uint64_t now = fw_loop_now_ms(keeper->loop);
    uint32_t spread = keeper->options.spread_ms;
    if (reason == FW_EMODIFIED || !(keeper->was_registered || keeper->recovering))
        return fw_backoff_next_ms(&keeper->backoff);
    if (!keeper->recovering)
        keeper->turn_ms = now + 1 + fwi_random_below(spread);
    else if (keeper->turn_ms <= now)
        keeper->turn_ms += ((now - keeper->turn_ms) / spread + 1) * spread;
    keeper->recovering = true;
    keeper->was_registered = false;
    return (uint32_t)(keeper->turn_ms - now);
}

static void start_retry(fwi_keeper *keeper, uint32_t wait)
{
    keeper->retry_at_ms = fw_loop_now_ms(keeper->loop) + wait;
    fwi_loop_timer_start(keeper->loop, &keeper->retry, wait);
}

/* Ends the round, to begin another after a wait. */
static void fail_round(fwi_keeper *keeper, int reason, const char *detail)
{
    if (keeper->closing)
        return;
    keeper->round++;
    drop_lease(keeper);
    fwi_list_for_each (node, &keeper->all) {
        fwi_kept *kept = fwi_container_of(node, fwi_kept, node);
        kept->registered = kept->busy = kept->dirty = false;
    }
    start_retry(keeper, wait_ms(keeper, reason));
    set_status(keeper, FW_REGISTRAR_LOST, reason, detail);
}

static void check_registered(fwi_keeper *keeper)
{
    if (!keeper->granted)
        return;
    fwi_list_for_each (node, &keeper->all)
        if (!fwi_container_of(node, fwi_kept, node)->registered)
            return;
    keeper->was_registered = true;
    keeper->recovering = false;
    fw_backoff_reset(&keeper->backoff);
    set_status(keeper, FW_REGISTRAR_REGISTERED, FW_OK, "");
}

/* Counts a store operation in; *ret_kept is its kept if it is of this round, else NULL. */
static struct request *request_new(fwi_kept *kept)
{
    struct request *request = malloc(sizeof *request);
    if (request) {
        *request = (struct request){kept, kept->keeper->round};
        kept->keeper->pending++;
        kept->requests++;
    }
    return request;
}

static void go_on_leaving(fwi_kept *kept, bool current);

/* Counts an answer out; its kept, or NULL if it belongs to a round that has ended. */
static fwi_kept *request_end(struct request *request)
{
    fwi_kept *kept = request->kept;
    fwi_keeper *keeper = kept->keeper;
    bool current = !keeper->closing && request->round == keeper->round;
    free(request);
    keeper->pending--;
    kept->requests--;
    if (keeper->closing)
        finish_if_done(keeper);
    else if (kept->leaving)
        go_on_leaving(kept, current);
    else if (current)
        return kept;
    return NULL;
}

/* The store shows something else than what was put: the key is gone, or somebody else's. */
static void on_watch(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    fwi_kept *kept = arg;
    bool gone = false, foreign = false;
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        if (event->type == FW_KV_RESYNC)
            kept->revision = 0; /* it may be another store, which counts anew */
        bool is_old = event->pair.revision < kept->revision;
        if (event->type == FW_KV_PUT) {
            kept->present = true;
            foreign = !is_old && kept->keeper->granted &&
                      event->pair.lease != fw_kv_lease_id(kept->keeper->lease);
            gone = false;
        } else if (event->type == FW_KV_DELETE) {
            kept->present = false;
            gone = !is_old;
        } else if (event->type == FW_KV_END_OF_SNAPSHOT) {
            gone = gone || (!kept->present && !is_old);
        }
    }
    if (!kept->keeper->granted || kept->leaving || !(gone || foreign))
        return;
    if (kept->busy || (kept->withheld && gone))
        kept->dirty = true;
    else if (foreign)
        fail_round(kept->keeper, FW_EMODIFIED, "somebody else has written the key");
    else
        put_kept(kept);
}

static void on_read_back(const fw_kv_result *result, void *arg)
{
    fwi_kept *kept = request_end(arg);
    if (!kept)
        return;
    fwi_keeper *keeper = kept->keeper;
    kept->busy = false;
    bool ours = !result->status && result->pairs->lease == fw_kv_lease_id(keeper->lease) &&
                result->pairs->value.len == strlen(kept->value) &&
                !memcmp(result->pairs->value.data, kept->value, result->pairs->value.len);
    if (result->status && result->status != FW_ENOTFOUND) {
        fail_round(keeper, result->status, result->detail);
    } else if (!ours && !kept->dirty) {
        fail_round(keeper, FW_EMODIFIED, "the store shows something else than was put");
    } else if (kept->dirty) {
        put_unless_withheld(kept);
    } else {
        kept->registered = true;
        kept->revision = result->pairs->revision;
        if (!kept->watch && !FWI_FAULT(FWI_SKIP_OWN_WATCH) &&
            fw_kv_watch_key(keeper->kv, kept->key, on_watch, kept, &kept->watch))
            kept->watch = NULL; /* without memory for it: the lease still holds */
        if (keeper->options.on_kept)
            keeper->options.on_kept(kept->user, kept->revision, keeper->options.arg);
        check_registered(keeper); /* the key may have been removed */
    }
}

static void on_put(const fw_kv_result *result, void *arg)
{
    fwi_kept *kept = request_end(arg);
    if (!kept)
        return;
    fwi_keeper *keeper = kept->keeper;
    if (result->status && result->status != FW_EUNKNOWN) {
        fail_round(keeper, result->status, result->detail);
        return;
    }
    if (FWI_FAULT(FWI_SKIP_READ_BACK)) {
        kept->busy = false;
        kept->registered = true;
        check_registered(keeper);
        return;
    }
    struct request *request = request_new(kept);
    int err = request ? fw_kv_get(keeper->kv, kept->key, on_read_back, request) : UV_ENOMEM;
    if (!err)
        return;
    if (request)
        (void)request_end(request);
    fail_round(keeper, err, "");
}

static void put_kept(fwi_kept *kept)
{
    fwi_keeper *keeper = kept->keeper;
    kept->busy = true;
    kept->dirty = kept->registered = false;
    kept->revision = 0; /* until the read-back everything counts: better a put too many */
    fw_kv_put_options options = {.lease = keeper->lease};
    struct request *request = request_new(kept);
    int err = request
                  ? fw_kv_put(keeper->kv, kept->key, (fw_slice){kept->value, strlen(kept->value)},
                              &options, on_put, request)
                  : UV_ENOMEM;
    if (!err)
        return;
    if (request)
        (void)request_end(request);
    fail_round(keeper, err, "");
}

static void put_unless_withheld(fwi_kept *kept)
{
    if (!kept->withheld)
        put_kept(kept);
}

/* The lease is granted. */
static void put_all(fwi_keeper *keeper)
{
    keeper->granted = true;
    uint32_t round = keeper->round;
    fwi_list_for_each (node, &keeper->all) {
        fwi_kept *kept = fwi_container_of(node, fwi_kept, node);
        if (kept->value)
            put_unless_withheld(kept);
        if (keeper->round != round)
            return; /* failed at once */
    }
}

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    fwi_keeper *keeper = arg;
    if (status) {
        fail_round(keeper, status, detail);
        return;
    }
    bool was_caught = fw_loop_now_ms(keeper->loop) - keeper->asked_ms > CAUGHT_MS;
    if (keeper->recovering && was_caught)
        start_retry(keeper, 1 + fwi_random_below(keeper->options.spread_ms));
    else
        put_all(keeper);
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    fail_round(arg, reason, detail);
}

static void begin_round(fwi_keeper *keeper)
{
    if (keeper->lease || fwi_list_empty(&keeper->all))
        return;
    fw_kv_lease_options options = {.ttl_ms = keeper->options.ttl_ms,
                                   .on_granted = on_granted,
                                   .on_lost = on_lost,
                                   .arg = keeper};
    keeper->asked_ms = fw_loop_now_ms(keeper->loop);
    int err = fw_kv_lease_new(keeper->kv, &options, &keeper->lease);
    if (err)
        fail_round(keeper, err, "");
}

static void on_begin(fwi_task *task, void *arg)
{
    (void)task;
    fwi_keeper *keeper = arg;
    if (keeper->closing)
        on_part_closed(keeper);
    else
        begin_round(keeper);
}

static void on_retry(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_keeper *keeper = arg;
    if (keeper->lease)
        put_all(keeper);
    else if (!FWI_FAULT(FWI_SKIP_REGRANT))
        begin_round(keeper);
}

/* ---- leaving ---- */

static void on_left(const fw_kv_result *result, void *arg)
{
    struct request *request = arg;
    fwi_kept *kept = request->kept;
    /* What the store refuses goes with the lease. */
    bool is_lost = result->status == FW_EUNKNOWN || result->status == FW_EUNREACHABLE;
    kept->busy = false;
    if (is_lost && !kept->keeper->closing)
        fwi_loop_timer_start(kept->keeper->loop, &kept->again, LEAVE_RETRY_MS);
    (void)request_end(request);
}

static void on_leave_again(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_kept *kept = arg;
    kept->busy = true;
    go_on_leaving(kept, true);
}

/* After an answer, or at the beginning. A put that is under way ends first, else it could come
 * after the deletion. What an ended round had put goes with its lease. */
static void go_on_leaving(fwi_kept *kept, bool current)
{
    fwi_keeper *keeper = kept->keeper;
    if (kept->requests)
        return;
    if (current && keeper->granted && kept->busy) {
        struct request *request = request_new(kept);
        if (request && !fw_kv_delete(keeper->kv, kept->key, on_left, request))
            return;
        if (request) {
            kept->requests--;
            keeper->pending--;
            free(request);
        }
    }
    if (kept->watch || fwi_timer_armed(&kept->again))
        return;
    void *user = kept->user;
    kept_free(kept);
    if (keeper->options.on_removed)
        keeper->options.on_removed(user, keeper->options.arg);
}

static void on_leaving_watch_closed(void *arg)
{
    fwi_kept *kept = arg;
    fwi_keeper *keeper = kept->keeper;
    kept->watch = NULL;
    keeper->pending--;
    if (keeper->closing)
        finish_if_done(keeper);
    else
        go_on_leaving(kept, false);
}

void fwi_kept_remove(fwi_kept *kept)
{
    fwi_keeper *keeper = kept->keeper;
    kept->leaving = true;
    kept->busy = true; /* there may be something to delete */
    fwi_list_remove(&kept->node);
    fwi_list_push_back(&keeper->leaving, &kept->node);
    if (kept->watch) {
        keeper->pending++;
        fw_kv_watch_close(kept->watch, on_leaving_watch_closed, kept);
    }
    go_on_leaving(kept, true);
    if (fwi_list_empty(&keeper->all))
        set_status(keeper, FW_REGISTRAR_PENDING, FW_OK, "");
    else
        check_registered(keeper);
}

/* ---- making ---- */

int fwi_keeper_new(fw_kv *kv, const fwi_keeper_options *options, fwi_keeper **ret_keeper)
{
    uint32_t ttl_ms = options->ttl_ms ? options->ttl_ms : DEFAULT_TTL_MS;
    if (ttl_ms < 1000)
        return FW_EOPTION;
    fwi_keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return UV_ENOMEM;
    keeper->options = *options;
    keeper->options.ttl_ms = ttl_ms;
    /* A store that is back shall not wait for us longer than half a lease. */
    if (!options->spread_ms)
        keeper->options.spread_ms = ttl_ms / 2 < SPREAD_MAX_MS ? ttl_ms / 2 : SPREAD_MAX_MS;
    keeper->kv = kv;
    keeper->loop = fw_kv_loop(kv);
    fwi_list_init(&keeper->all);
    fwi_list_init(&keeper->leaving);
    fw_backoff_init(&keeper->backoff, BACKOFF_BASE_MS, keeper->options.spread_ms);
    keeper->retry = (fwi_timer){.fn = on_retry, .arg = keeper};
    keeper->begin = (fwi_task){.fn = on_begin, .arg = keeper};
    keeper->status.since_ms = fw_loop_now_ms(keeper->loop);
    *ret_keeper = keeper;
    return FW_OK;
}

int fwi_kept_new(fwi_keeper *keeper, const char *key, void *user, fwi_kept **ret_kept)
{
    fwi_kept *kept = calloc(1, sizeof *kept);
    if (!kept || !(kept->key = strdup(key))) {
        free(kept);
        return UV_ENOMEM;
    }
    kept->keeper = keeper;
    kept->user = user;
    kept->again = (fwi_timer){.fn = on_leave_again, .arg = kept};
    fwi_list_push_back(&keeper->all, &kept->node);
    if (keeper->status.state == FW_REGISTRAR_REGISTERED) {
        /* No longer all; told when it is so again. */
        keeper->status.state = FW_REGISTRAR_PENDING;
        keeper->status.since_ms = fw_loop_now_ms(keeper->loop);
    }
    if (!keeper->lease && !fwi_timer_armed(&keeper->retry))
        fwi_loop_defer(keeper->loop, &keeper->begin);
    *ret_kept = kept;
    return FW_OK;
}

void fwi_kept_set(fwi_kept *kept, char *value)
{
    free(kept->value);
    kept->value = value;
    if (!kept->keeper->granted)
        return; /* the round does it */
    if (kept->busy || kept->withheld)
        kept->dirty = true;
    else
        put_kept(kept);
}

void fwi_kept_withhold(fwi_kept *kept, bool is_withheld)
{
    kept->withheld = is_withheld;
    bool is_due = kept->keeper->granted && kept->value && (kept->dirty || !kept->registered);
    if (is_due && !is_withheld && !kept->busy)
        put_kept(kept);
}

int64_t fwi_kept_revision(const fwi_kept *kept)
{
    return kept->registered ? kept->revision : 0;
}
