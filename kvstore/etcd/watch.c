/*
 * Watches: each lists, and then rides on a stream that it shares with others (watch_stream.c).
 *
 *        watch_start
 *            |            the history is gone, or it is another store
 *            v            .--------------------------------------------.
 *     .-> WAITING --> LISTING --> RIDING (created, canceled, created again by its stream) --> ENDED
 *     |      ^            |           |
 *     |      `------------'           |   the token was refused, or a failure of this watch alone
 *     `-------------------------------'
 *
 * Lists. At most MAX_LISTS are under way, so that thousands of watches neither flood the server nor
 * hold thousands of replies in memory; the others wait in order. When one fails, all that wait
 * would fail: they are told (STALE), and no list begins before a backoff.
 *
 * Resuming. The list is one revision R; the watch is created at R + 1, and after every break at the
 * last delivered revision + 1. That is the revision of the last event, or of a progress reply to
 * this watch. Progress that nobody asked for this watch (id -1) is not in step with it.
 *
 * The front may stop a watch inside of everything that delivers: it is freed after that.
 */
#include "streams.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_LISTS      16
#define BACKOFF_MS     200
#define MAX_BACKOFF_MS 2000
#define MAX_REFUSALS   3 /* of new tokens in a row; another member may not know one yet */

static void set_waiting(fwi_etcd_watch *watch)
{
    fwi_etcd_watches *all = watch->client->watches;
    watch->state = FWI_ETCD_WAITING;
    fwi_list_push_back(&all->waiting, &watch->node);
    fwi_loop_defer(watch->client->core.loop, &all->serve);
}

/* Lets go of everything that is under way; it is in no list then, and on no stream. */
static void quiesce(fwi_etcd_watch *watch)
{
    fwi_etcd_watches *all = watch->client->watches;
    fwi_etcd_watch_stream_leave(watch);
    fwi_list_remove(&watch->node);
    if (watch->list) {
        fwi_ec_list_drop(watch->list);
        watch->list = NULL;
        all->listing--;
        fwi_loop_defer(watch->client->core.loop, &all->serve);
    }
}

static void watch_free(fwi_etcd_watch *watch)
{
    fwi_etcd_client *client = watch->client;
    quiesce(watch);
    free(watch);
    if (fwi_list_empty(&client->watches->waiting))
        fwi_loop_timer_stop(client->core.loop, &client->watches->pause);
    if (fwi_list_empty(&client->watches->refused))
        fwi_etcd_auth_wait_cancel(&client->watches->auth_wait);
}

/* ---- reports ---- */

/* Around every report that delivers: the watch may be stopped inside. */
static void before_report(fwi_etcd_watch *watch)
{
    watch->delivering = true;
}

/* False: leave it alone. */
static bool after_report(fwi_etcd_watch *watch, bool goes_on)
{
    watch->delivering = false;
    if (watch->stopped) {
        watch_free(watch);
        return false;
    }
    if (!goes_on) {
        quiesce(watch);
        watch->state = FWI_ETCD_ENDED;
    }
    return goes_on;
}

bool fwi_etcd_watch_stale(fwi_etcd_watch *watch, int reason, const char *detail)
{
    before_report(watch);
    return after_report(watch, fwi_kv_watch_stale(watch->front, reason, detail));
}

bool fwi_etcd_watch_live(fwi_etcd_watch *watch)
{
    before_report(watch);
    return after_report(watch, fwi_kv_watch_live(watch->front));
}

bool fwi_etcd_watch_commit(fwi_etcd_watch *watch, int64_t revision)
{
    before_report(watch);
    return after_report(watch, fwi_kv_watch_commit(watch->front, revision));
}

void fwi_etcd_watch_end(fwi_etcd_watch *watch, int reason, const char *detail)
{
    quiesce(watch);
    watch->state = FWI_ETCD_ENDED;
    before_report(watch);
    (void)after_report(watch, fwi_kv_watch_fatal(watch->front, reason, detail));
}

/* True for what trying again does not change. A token that was refused is no wrong password: the
 * member may not have heard of it yet. */
static bool is_final(const fwi_etcd_client *client, int reason, const char *detail)
{
    if (reason == FW_EAUTH)
        return !fwi_etcd_is_auth_refusal(client, GRPC_STATUS_OK, detail);
    return reason == FW_EDENIED || reason == FW_EUNSUPPORTED;
}

/* No list begins for a while. */
static void set_pause(fwi_etcd_watches *all, fw_loop *loop)
{
    if (!fwi_timer_armed(&all->pause))
        fwi_loop_timer_start(loop, &all->pause, fw_backoff_next_ms(&all->backoff));
}

static void wait_and_retry(fwi_etcd_watch *watch, int reason, const char *detail)
{
    quiesce(watch);
    set_pause(watch->client->watches, watch->client->core.loop);
    set_waiting(watch);
    (void)fwi_etcd_watch_stale(watch, reason, detail);
}

void fwi_etcd_watch_retry(fwi_etcd_watch *watch, int reason, const char *detail)
{
    if (is_final(watch->client, reason, detail ? detail : ""))
        fwi_etcd_watch_end(watch, reason, detail);
    else
        wait_and_retry(watch, reason, detail);
}

void fwi_etcd_watch_list_again(fwi_etcd_watch *watch)
{
    quiesce(watch);
    watch->list_wanted = true;
    set_waiting(watch);
}

/* The store does not answer: tells all that wait for it. */
static void tell_waiting(fwi_etcd_watches *all, int reason, const char *detail)
{
    fwi_list to_tell;
    fwi_list_init(&to_tell);
    fwi_list_splice(&to_tell, &all->waiting);
    for (fwi_list *node; (node = fwi_list_pop(&to_tell));) {
        fwi_list_push_back(&all->waiting, node);
        (void)fwi_etcd_watch_stale(fwi_container_of(node, fwi_etcd_watch, node), reason, detail);
    }
}

/* ---- refused tokens ---- */

static void on_token(fwi_etcd_auth_wait *wait, int status, const char *detail, void *arg)
{
    (void)wait;
    fwi_etcd_client *client = arg;
    fwi_list refused;
    fwi_list_init(&refused);
    fwi_list_splice(&refused, &client->watches->refused);
    for (fwi_list *node; (node = fwi_list_pop(&refused));) {
        fwi_etcd_watch *watch = fwi_container_of(node, fwi_etcd_watch, node);
        if (status)
            fwi_etcd_watch_retry(watch, status, detail);
        else
            set_waiting(watch);
    }
}

void fwi_etcd_watch_refused(fwi_etcd_watch *watch, unsigned generation)
{
    fwi_etcd_watches *all = watch->client->watches;
    if (++watch->refusals > MAX_REFUSALS) {
        watch->refusals = 0;
        wait_and_retry(watch, FW_EAUTH, "the store refuses new tokens");
        return;
    }
    quiesce(watch);
    watch->state = FWI_ETCD_WAITING;
    bool is_first = fwi_list_empty(&all->refused);
    fwi_list_push_back(&all->refused, &watch->node);
    if (is_first)
        fwi_etcd_auth_renew(watch->client, generation, &all->auth_wait);
}

/* ---- lists ---- */

static void join_stream(fwi_etcd_watch *watch)
{
    watch->state = FWI_ETCD_RIDING;
    if (!fwi_etcd_watch_stream_join(watch))
        fwi_etcd_watch_retry(watch, UV_ENOMEM, NULL);
}

static void on_list_failed(fwi_etcd_watch *watch, int status, const char *detail)
{
    fwi_etcd_watches *all = watch->client->watches;
    fwi_etcd_watch_retry(watch, status, detail);
    if (status == FW_EUNREACHABLE || status == FW_EDEADLINE || status == FW_ETLS)
        tell_waiting(all, status, detail);
}

static void on_list(const fwi_ec_listing *listing, void *arg)
{
    fwi_etcd_watch *watch = arg;
    fwi_etcd_watches *all = watch->client->watches;
    watch->list = NULL;
    all->listing--;
    fwi_loop_defer(watch->client->core.loop, &all->serve);
    if (listing->status) {
        on_list_failed(watch, listing->status, listing->detail);
        return;
    }
    fw_backoff_reset(&all->backoff);
    watch->cluster = listing->cluster;
    watch->list_wanted = false;
    fw_kv_watch *front = watch->front;
    fwi_ec_listing_tell(listing, front);
    before_report(watch);
    if (after_report(watch, fwi_kv_watch_list_end(front, listing->revision)))
        join_stream(watch);
}

static void begin_list(fwi_etcd_watch *watch)
{
    fwi_etcd_client *client = watch->client;
    watch->state = FWI_ETCD_LISTING;
    uint64_t deadline_ms = fw_loop_now_ms(client->core.loop) + fwi_kv_timeout_ms(client->core.kv);
    int err = fwi_ec_list_start(&client->core, watch->front->key, watch->front->tree, deadline_ms,
                                true, on_list, watch, &watch->list);
    if (err)
        fwi_etcd_watch_retry(watch, err, NULL);
    else
        client->watches->listing++;
}

static void serve(fwi_etcd_client *client)
{
    fwi_etcd_watches *all = client->watches;
    for (fwi_list *node; (node = fwi_list_pop(&all->unserved));)
        (void)fwi_kv_watch_fatal(fwi_container_of(node, fw_kv_watch, node), UV_ENOMEM, NULL);
    while (!fwi_timer_armed(&all->pause) && all->listing < MAX_LISTS) {
        fwi_list *node = fwi_list_pop(&all->waiting);
        if (!node)
            return;
        fwi_etcd_watch *watch = fwi_container_of(node, fwi_etcd_watch, node);
        if (watch->list_wanted)
            begin_list(watch);
        else
            join_stream(watch);
    }
}

static void on_serve(fwi_task *task, void *arg)
{
    (void)task;
    serve(arg);
}

static void on_pause_over(fwi_timer *timer, void *arg)
{
    (void)timer;
    serve(arg);
}

/* ---- from the front ---- */

int fwi_etcd_watches_init(fwi_etcd_client *client)
{
    fwi_etcd_watches *all = calloc(1, sizeof *all);
    if (!all)
        return UV_ENOMEM;
    all->pause = (fwi_timer){.fn = on_pause_over, .arg = client};
    all->serve = (fwi_task){.fn = on_serve, .arg = client};
    all->auth_wait = (fwi_etcd_auth_wait){.fn = on_token, .arg = client};
    fwi_list_init(&all->streams);
    fwi_list_init(&all->waiting);
    fwi_list_init(&all->unserved);
    fwi_list_init(&all->refused);
    fw_backoff_init(&all->backoff, BACKOFF_MS, MAX_BACKOFF_MS);
    client->watches = all;
    return FW_OK;
}

void fwi_etcd_watches_fini(fwi_etcd_client *client)
{
    fwi_etcd_watches *all = client->watches;
    if (!all)
        return;
    fwi_loop_timer_stop(client->core.loop, &all->pause);
    fwi_loop_defer_cancel(client->core.loop, &all->serve);
    fwi_etcd_auth_wait_cancel(&all->auth_wait);
    free(all);
}

void fwi_etcd_watch_start(void *store, fw_kv_watch *front)
{
    fwi_etcd_client *client = store;
    fwi_etcd_watch *watch = calloc(1, sizeof *watch);
    front->driver_data = watch;
    if (!watch) {
        fwi_list_push_back(&client->watches->unserved, &front->node);
        fwi_loop_defer(client->core.loop, &client->watches->serve);
        return;
    }
    *watch = (fwi_etcd_watch){.client = client, .front = front, .list_wanted = true};
    fwi_list_init(&watch->node);
    watch->last_fragment = &watch->fragments;
    /* Served in a later turn: nothing is reported before the front has returned. */
    set_waiting(watch);
}

void fwi_etcd_watch_stop(void *store, fw_kv_watch *front)
{
    (void)store;
    fwi_etcd_watch *watch = front->driver_data;
    if (!watch)
        fwi_list_remove(&front->node);
    else if (watch->delivering)
        watch->stopped = true;
    else
        watch_free(watch);
    fwi_kv_watch_stopped(front);
}
