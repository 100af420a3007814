/*
 * Watches, each a stream of its own.
 *
 *              watch_start
 *                  |            the history is gone, or it is another store
 *                  v         .---------------------------------------------.
 *     .-------> LISTING -> OPENING -------> OPEN --------------------------'
 *     |            |          |               |
 *     |            v          v               v
 *     `--------- WAITING (backoff; STALE was reported) --> OPENING, if there was a list
 *
 * Resuming. The list is one revision R; the stream begins at R + 1, and after every break at the
 * last delivered revision + 1. That is the revision of the last event, or of a progress reply to
 * this watch, and never the header of a reply with events, which is ahead of them while the store
 * catches up. Progress that nobody asked this stream for (watch id -1) is not in step with it
 * either.
 *
 * Fragments. A revision may come in several messages. They are kept until the last one, and
 * delivered together; if the stream breaks between them they are forgotten, and come again.
 *
 * A store that went back. If a stream opens at a revision before ours, either this member lags, or
 * the store was restored from a backup and our revision lies in its future, where nothing ever
 * happens. A linearizable read (the probe) tells which; then the watch lists again.
 */
#include "etcd.h"

#include "etcd.pb-c.h"

#include <assert.h>
#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACKOFF_MS     200
#define MAX_BACKOFF_MS 2000
#define DETAIL_BYTES   320

enum state { LISTING, OPENING, OPEN, WAITING, ENDED };

struct fragment {
    struct fragment *next;
    size_t len;
    uint8_t bytes[];
};

struct watch {
    fwi_etcd_client *client;
    fw_kv_watch *front;
    enum state state;
    fwi_etcd_keys keys;
    uint64_t cluster; /* of the last list */
    bool list_wanted; /* resuming is not possible */
    fwi_etcd_list *list;
    fwi_etcd_call *stream;
    size_t endpoint; /* of the stream */
    fwi_etcd_request *probe;
    struct fragment *fragments, **last_fragment;
    fw_backoff backoff;
    fwi_timer timer; /* WAITING: the backoff; OPENING: the time for it */
    bool delivering, stopped;
};

static void drop_fragments(struct watch *watch)
{
    while (watch->fragments) {
        struct fragment *fragment = watch->fragments;
        watch->fragments = fragment->next;
        free(fragment);
    }
    watch->last_fragment = &watch->fragments;
}

/* Lets go of everything that is under way. */
static void quiesce(struct watch *watch)
{
    fwi_loop_timer_stop(watch->client->loop, &watch->timer);
    if (watch->list)
        fwi_etcd_list_drop(watch->list);
    if (watch->stream)
        fwi_etcd_call_drop(watch->stream);
    if (watch->probe)
        fwi_etcd_request_drop(watch->probe);
    watch->list = NULL;
    watch->stream = NULL;
    watch->probe = NULL;
    drop_fragments(watch);
}

static void watch_free(struct watch *watch)
{
    quiesce(watch);
    fwi_etcd_keys_fini(&watch->keys);
    free(watch);
}

/* Around every report that delivers: the watch may be stopped inside. False: leave it alone. */
static void before_report(struct watch *watch)
{
    watch->delivering = true;
}

static bool after_report(struct watch *watch, bool goes_on)
{
    watch->delivering = false;
    if (watch->stopped) {
        watch_free(watch);
        return false;
    }
    if (!goes_on) {
        quiesce(watch);
        watch->state = ENDED;
    }
    return goes_on;
}

/* Reports the end, for a reason that trying again does not change. */
static void end_watch(struct watch *watch, int reason, const char *detail)
{
    quiesce(watch);
    watch->state = ENDED;
    before_report(watch);
    bool goes_on = fwi_kv_watch_fatal(watch->front, reason, detail);
    (void)after_report(watch, goes_on);
}

/* Contact is lost: tries again later. */
static void wait_and_retry(struct watch *watch, int reason, const char *detail)
{
    if (reason == FW_EDENIED || reason == FW_EUNSUPPORTED) {
        end_watch(watch, reason, detail);
        return;
    }
    quiesce(watch);
    watch->state = WAITING;
    fwi_loop_timer_start(watch->client->loop, &watch->timer, fw_backoff_next_ms(&watch->backoff));
    before_report(watch);
    bool goes_on = fwi_kv_watch_stale(watch->front, reason, detail);
    (void)after_report(watch, goes_on);
}

static void stream_failed(struct watch *watch, int reason, const char *text)
{
    char detail[DETAIL_BYTES];
    fwi_etcd_endpoint_failed(watch->client, watch->endpoint);
    fwi_etcd_describe(watch->client, watch->endpoint, text, detail, sizeof detail);
    wait_and_retry(watch, reason, detail);
}

static void list_again(struct watch *watch);

/* ---- the probe ---- */

static void go_live(struct watch *watch)
{
    before_report(watch);
    bool goes_on = fwi_kv_watch_live(watch->front);
    (void)after_report(watch, goes_on);
}

static void on_probed(const fwi_etcd_answer *answer, void *arg)
{
    struct watch *watch = arg;
    fwi_etcd_range range;
    watch->probe = NULL;
    if (answer->status || !fwi_etcd_range_init(&range, answer->message))
        wait_and_retry(watch, answer->status ? answer->status : FW_ESTORE, answer->detail);
    else if (range.cluster != watch->cluster || range.revision < watch->front->revision)
        list_again(watch);
    else
        go_live(watch);
}

static void probe(struct watch *watch)
{
    fwi_etcd_client *client = watch->client;
    Epb__RangeRequest range = EPB__RANGE_REQUEST__INIT;
    range.key = watch->keys.key;
    range.count_only = true;
    fwi_etcd_request_options options = {.method = FWI_ETCD_RANGE,
                                        .message = &range.base,
                                        .deadline_ms = fw_loop_now_ms(client->loop) +
                                                       fwi_kv_timeout_ms(client->kv),
                                        .repeatable = true,
                                        .impatient = true,
                                        .fn = on_probed,
                                        .arg = watch};
    int err = fwi_etcd_request_start(client, &options, &watch->probe);
    if (err)
        wait_and_retry(watch, err, NULL);
}

/* ---- the stream ---- */

/* Nothing of a message is given to the front before all of it is known to be well-formed. */
static bool is_well_formed(fwi_etcd_notice notice)
{
    fwi_etcd_pair pair;
    bool is_delete;
    while (fwi_etcd_notice_next(&notice, &is_delete, &pair))
        ;
    return !notice.events.bad;
}

/* Gives the front the changes of one message. */
static void feed(struct watch *watch, fw_slice message, int64_t *ret_revision)
{
    fwi_etcd_notice notice;
    fwi_etcd_pair pair;
    bool is_delete;
    (void)fwi_etcd_notice_init(&notice, message);
    while (fwi_etcd_notice_next(&notice, &is_delete, &pair)) {
        fw_slice key;
        *ret_revision = pair.revision;
        if (!fwi_etcd_key_strip(watch->client, pair.key, &key))
            continue;
        if (is_delete)
            fwi_kv_watch_delete(watch->front, key.data, key.len, pair.revision);
        else
            fwi_kv_watch_put(watch->front, key.data, key.len, pair.value, pair.revision,
                             pair.lease);
    }
}

static void commit(struct watch *watch, int64_t revision)
{
    before_report(watch);
    bool goes_on = fwi_kv_watch_commit(watch->front, revision);
    (void)after_report(watch, goes_on);
}

static void on_events(struct watch *watch, fw_slice message, bool more_follows)
{
    if (more_follows || watch->fragments) {
        struct fragment *fragment = malloc(sizeof *fragment + message.len);
        if (!fragment) {
            stream_failed(watch, UV_ENOMEM, "no memory");
            return;
        }
        fragment->next = NULL;
        fragment->len = message.len;
        memcpy(fragment->bytes, message.data, message.len);
        *watch->last_fragment = fragment;
        watch->last_fragment = &fragment->next;
        if (more_follows)
            return;
    }
    int64_t revision = 0;
    if (watch->fragments) {
        for (struct fragment *part = watch->fragments; part; part = part->next)
            feed(watch, (fw_slice){part->bytes, part->len}, &revision);
        drop_fragments(watch);
    } else {
        feed(watch, message, &revision);
    }
    commit(watch, revision);
}

static void on_created(struct watch *watch, const fwi_etcd_notice *notice)
{
    watch->state = OPEN;
    fwi_loop_timer_stop(watch->client->loop, &watch->timer);
    fw_backoff_reset(&watch->backoff);
    if (notice->cluster != watch->cluster)
        list_again(watch);
    else if (notice->revision < watch->front->revision)
        probe(watch);
    else
        go_live(watch);
}

static void on_canceled(struct watch *watch, const fwi_etcd_notice *notice)
{
    char reason[DETAIL_BYTES];
    size_t len =
        notice->cancel_reason.len < sizeof reason ? notice->cancel_reason.len : sizeof reason - 1;
    memcpy(reason, notice->cancel_reason.data, len);
    reason[len] = 0;
    bool denied = strstr(reason, "permission denied") || strstr(reason, "auth token") ||
                  strstr(reason, "user name is empty");
    if (notice->compact_revision)
        list_again(watch);
    else if (denied)
        end_watch(watch, FW_EDENIED, reason);
    else
        stream_failed(watch, FW_ESTORE, reason);
}

static void on_message(fwi_etcd_call *call, fw_slice message, void *arg)
{
    (void)call;
    struct watch *watch = arg;
    fwi_etcd_notice notice;
    if (!fwi_etcd_notice_init(&notice, message) || !is_well_formed(notice))
        stream_failed(watch, FW_EPROTOCOL, "malformed reply");
    else if (notice.canceled) /* it may be created and canceled in one */
        on_canceled(watch, &notice);
    else if (notice.created)
        on_created(watch, &notice);
    else if (notice.watch_id < 0 || watch->state != OPEN)
        return;
    else if (notice.has_events || notice.fragment || watch->fragments)
        on_events(watch, message, notice.fragment);
    else if (!watch->probe)
        commit(watch, notice.revision);
}

static void on_stream_end(fwi_etcd_call *call, const fwi_etcd_end *end, void *arg)
{
    (void)call;
    struct watch *watch = arg;
    watch->stream = NULL;
    int reason = fwi_etcd_status(end->code, end->text);
    if (reason != FW_EDENIED)
        reason = FW_EUNREACHABLE;
    stream_failed(watch, reason, end->text[0] ? end->text : "the server ended the stream");
}

static void open_stream(struct watch *watch)
{
    fwi_etcd_call_handler handler = {
        .on_message = on_message, .on_end = on_stream_end, .arg = watch};
    fwi_etcd_client *client = watch->client;
    Epb__WatchCreate create = EPB__WATCH_CREATE__INIT;
    create.key = watch->keys.key;
    create.range_end = watch->keys.end;
    create.start_revision = watch->front->revision + 1;
    create.progress_notify = true;
    create.fragment = true;
    Epb__WatchRequest request = EPB__WATCH_REQUEST__INIT;
    request.request_case = EPB__WATCH_REQUEST__REQUEST_CREATE;
    request.create = &create;
    watch->state = OPENING;
    watch->endpoint = client->current;
    int err = fwi_etcd_client_check(client);
    if (!err) {
        grpc_slice message = fwi_etcd_pack(&request.base);
        watch->stream = fwi_etcd_call_start(client, watch->endpoint, FWI_ETCD_WATCH, message, 0,
                                            false, &handler);
        grpc_slice_unref(message);
        err = watch->stream ? FW_OK : UV_ENOMEM;
    }
    if (err)
        wait_and_retry(watch, err, NULL);
    else
        fwi_loop_timer_start(client->loop, &watch->timer, fwi_kv_timeout_ms(client->kv));
}

/* ---- the list ---- */

static void on_list(const fwi_etcd_listing *listing, void *arg)
{
    struct watch *watch = arg;
    watch->list = NULL;
    if (listing->status) {
        wait_and_retry(watch, listing->status, listing->detail);
        return;
    }
    watch->cluster = listing->cluster;
    watch->list_wanted = false;
    fw_kv_watch *front = watch->front;
    fwi_kv_watch_list_begin(front);
    for (size_t i = 0; i < listing->pairs->count; i++) {
        const fw_kv_pair *pair = &listing->pairs->items[i];
        fwi_kv_watch_list_pair(front, pair->key, strlen(pair->key), pair->value, pair->revision,
                               pair->lease);
    }
    before_report(watch);
    if (after_report(watch, fwi_kv_watch_list_end(front, listing->revision)))
        open_stream(watch);
}

static void list_again(struct watch *watch)
{
    fwi_etcd_client *client = watch->client;
    quiesce(watch);
    watch->state = LISTING;
    watch->list_wanted = true;
    uint64_t deadline_ms = fw_loop_now_ms(client->loop) + fwi_kv_timeout_ms(client->kv);
    int err = fwi_etcd_list_start(client, watch->front->key, watch->front->tree, deadline_ms, true,
                                  on_list, watch, &watch->list);
    if (err)
        wait_and_retry(watch, err, NULL);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct watch *watch = arg;
    if (watch->state == OPENING)
        stream_failed(watch, FW_EUNREACHABLE, "no answer in time");
    else if (watch->list_wanted)
        list_again(watch);
    else
        open_stream(watch);
}

/* ---- from the front ---- */

static void on_no_memory(fwi_timer *timer, void *arg)
{
    (void)timer;
    end_watch(arg, UV_ENOMEM, NULL);
}

void fwi_etcd_watch_start(void *store, fw_kv_watch *front)
{
    fwi_etcd_client *client = store;
    struct watch *watch = calloc(1, sizeof *watch);
    front->driver_data = watch;
    if (!watch)
        return; /* see README.md: such a watch stays silent */
    *watch = (struct watch){.client = client,
                            .front = front,
                            .list_wanted = true,
                            .state = WAITING,
                            .timer = {.fn = on_timer, .arg = watch}};
    watch->last_fragment = &watch->fragments;
    fw_backoff_init(&watch->backoff, BACKOFF_MS, MAX_BACKOFF_MS);
    bool has_keys = fwi_etcd_keys_init(&watch->keys, client, front->key, front->tree);
    if (!has_keys)
        watch->timer.fn = on_no_memory;
    /* In a later turn: nothing is reported before the front has returned. */
    fwi_loop_timer_start(client->loop, &watch->timer, 0);
}

void fwi_etcd_watch_stop(void *store, fw_kv_watch *front)
{
    (void)store;
    struct watch *watch = front->driver_data;
    if (watch && watch->delivering)
        watch->stopped = true;
    else if (watch)
        watch_free(watch);
    fwi_kv_watch_stopped(front);
}
