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
 * last delivered revision + 1. That is the revision of the last event, or of a progress report to
 * this watch, and never the header of a message with events, which is ahead of them while the store
 * catches up.
 *
 * The token. A stream outlives the token it was opened with. If a new one is refused for it, a new
 * token is had and the stream opened again, once.
 *
 * Silence. health.c asks the endpoint whether it is alive; a hung one is left.
 *
 * A store that went back. If a stream opens at a revision before ours, either this member lags, or
 * the store was restored from a backup and our revision lies in its future, where nothing ever
 * happens. A linearizable read (the probe) tells which; then the watch lists again.
 */
#include "etcd_http.h"

#include "notice.h"

#include <fairway/backoff.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MS     200
#define MAX_BACKOFF_MS 2000

enum state { LISTING, OPENING, OPEN, WAITING, ENDED };

struct watch {
    fwi_eh_client *client;
    fw_kv_watch *front;
    enum state state;
    fwi_ec_keys keys;
    uint64_t cluster; /* of the last list */
    bool list_wanted; /* resuming is not possible */
    fwi_ec_list *list;
    fwi_eh_call *stream;
    fwi_eh_text body; /* of the stream's request */
    fwi_eh_guard guard;
    size_t endpoint;     /* of the stream */
    unsigned generation; /* of its token */
    bool token_renewed;
    fwi_eh_token_waiter waiter; /* in a list: a token is waited for */
    void *probe;                /* a request */
    fw_backoff backoff;
    fwi_timer timer; /* WAITING: the backoff; OPENING: the time for it */
    bool delivering, stopped;
};

/* Lets go of everything that is under way. */
static void quiesce(struct watch *watch)
{
    fwi_loop_timer_stop(watch->client->core.loop, &watch->timer);
    fwi_eh_guard_remove(&watch->guard);
    fwi_list_remove(&watch->waiter.node);
    if (watch->list)
        fwi_ec_list_drop(watch->list);
    if (watch->stream)
        fwi_eh_call_drop(watch->stream);
    if (watch->probe)
        fwi_eh_request_drop(watch->probe);
    watch->list = NULL;
    watch->stream = NULL;
    watch->probe = NULL;
    fwi_eh_text_fini(&watch->body);
}

static void watch_free(struct watch *watch)
{
    quiesce(watch);
    fwi_ec_keys_fini(&watch->keys);
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
    if (reason == FW_EDENIED || reason == FW_EAUTH) {
        end_watch(watch, reason, detail);
        return;
    }
    quiesce(watch);
    watch->state = WAITING;
    fwi_loop_timer_start(watch->client->core.loop, &watch->timer,
                         fw_backoff_next_ms(&watch->backoff));
    before_report(watch);
    bool goes_on = fwi_kv_watch_stale(watch->front, reason, detail);
    (void)after_report(watch, goes_on);
}

static void stream_failed(struct watch *watch, int reason, const char *text)
{
    char detail[FWI_EH_DETAIL_BYTES];
    fwi_eh_endpoint_failed(watch->client, watch->endpoint);
    fwi_eh_describe(watch->client, watch->endpoint, text, detail, sizeof detail);
    wait_and_retry(watch, reason, detail);
}

static void list_again(struct watch *watch);
static void open_stream(struct watch *watch);

/* ---- the probe ---- */

static void go_live(struct watch *watch)
{
    before_report(watch);
    bool goes_on = fwi_kv_watch_live(watch->front);
    (void)after_report(watch, goes_on);
}

static void on_probed(const fwi_ec_answer *answer, void *arg)
{
    struct watch *watch = arg;
    uint64_t cluster;
    int64_t revision;
    watch->probe = NULL;
    if (answer->status)
        wait_and_retry(watch, answer->status, answer->detail);
    else if (!fwi_eh_json_header(((const fwi_eh_reply *)answer->reply)->json, &cluster, &revision))
        wait_and_retry(watch, FW_ESTORE, "malformed reply");
    else if (cluster != watch->cluster || revision < watch->front->revision)
        list_again(watch);
    else
        go_live(watch);
}

static void probe(struct watch *watch)
{
    int err = fwi_ec_ask_revision(&watch->client->core, watch->keys.key, 0, on_probed, watch,
                                  &watch->probe);
    if (err)
        wait_and_retry(watch, err, NULL);
}

/* ---- the stream ---- */

static void commit(struct watch *watch, int64_t revision)
{
    before_report(watch);
    bool goes_on = fwi_kv_watch_commit(watch->front, revision);
    (void)after_report(watch, goes_on);
}

static void on_events(struct watch *watch, const fwi_eh_notice *notice)
{
    int64_t revision = 0;
    for (size_t i = 0; i < notice->event_count; i++) {
        const fwi_eh_event *event = &notice->events[i];
        fw_slice key;
        revision = event->pair.revision;
        if (!fwi_ec_key_strip(&watch->client->core, event->pair.key, &key))
            continue;
        if (event->is_delete)
            fwi_kv_watch_delete(watch->front, key.data, key.len, revision);
        else
            fwi_kv_watch_put(watch->front, key.data, key.len, event->pair.value, revision,
                             event->pair.lease);
    }
    commit(watch, revision);
}

static void on_created(struct watch *watch, const fwi_eh_notice *notice)
{
    watch->state = OPEN;
    watch->token_renewed = false;
    fwi_loop_timer_stop(watch->client->core.loop, &watch->timer);
    fw_backoff_reset(&watch->backoff);
    if (notice->cluster != watch->cluster)
        list_again(watch);
    else if (notice->revision < watch->front->revision)
        probe(watch);
    else
        go_live(watch);
}

/* etcd refuses the stream, or ends it. */
static void on_refused(struct watch *watch, int code, const char *text)
{
    if (!fwi_eh_is_auth_refusal(code, text)) {
        int reason = code == FWI_EC_PERMISSION_DENIED ? FW_EDENIED
                     : code == FWI_EC_UNAVAILABLE     ? FW_EUNREACHABLE
                                                      : fwi_ec_status(code, text);
        stream_failed(watch, reason, text);
        return;
    }
    if (!watch->client->auth.user || watch->token_renewed) {
        end_watch(watch, FW_EAUTH, text);
        return;
    }
    fwi_eh_auth_refused(watch->client, watch->generation);
    quiesce(watch);
    watch->token_renewed = true;
    open_stream(watch);
}

static void on_canceled(struct watch *watch, const fwi_eh_notice *notice)
{
    if (notice->compact_revision) {
        list_again(watch);
        return;
    }
    /* Here etcd gives the reason as text only, without gRPC's code. */
    const char *reason = notice->cancel_reason;
    int code = FWI_EC_ABORTED;
    if (strstr(reason, "permission denied"))
        code = FWI_EC_PERMISSION_DENIED;
    else if (strstr(reason, "auth token"))
        code = FWI_EC_UNAUTHENTICATED;
    else if (strstr(reason, "user name is empty") || strstr(reason, "auth store is old"))
        code = FWI_EC_INVALID_ARGUMENT;
    else if (strstr(reason, "revision in header is old"))
        code = FWI_EC_UNKNOWN;
    else if (strstr(reason, "no leader"))
        code = FWI_EC_UNAVAILABLE;
    on_refused(watch, code, reason[0] ? reason : "the server canceled the watch");
}

static void on_message(fwi_eh_call *call, fw_slice message, void *arg)
{
    (void)call;
    struct watch *watch = arg;
    fwi_eh_notice notice;
    int err = fwi_eh_notice_init(&notice, message);
    if (err)
        stream_failed(watch, err, err == UV_ENOMEM ? "no memory" : "malformed message");
    else if (notice.error_code)
        on_refused(watch, notice.error_code, notice.error);
    else if (notice.canceled) /* it may be created and canceled in one */
        on_canceled(watch, &notice);
    else if (notice.created)
        on_created(watch, &notice);
    else if (watch->state != OPEN || notice.watch_id < 0)
        (void)0; /* nothing of ours */
    else if (notice.event_count)
        on_events(watch, &notice);
    else if (!watch->probe)
        commit(watch, notice.revision);
    fwi_eh_notice_fini(&notice);
}

static void on_stream_end(fwi_eh_call *call, const fwi_eh_end *end, void *arg)
{
    (void)call;
    struct watch *watch = arg;
    watch->stream = NULL;
    switch (end->outcome) {
    case FWI_EH_ANSWERED:
        on_refused(watch, end->code ? end->code : FWI_EC_UNAVAILABLE,
                   end->text[0] ? end->text : "the server ended the stream");
        break;
    case FWI_EH_NO_TLS:
        stream_failed(watch, FW_ETLS, end->text);
        break;
    case FWI_EH_TOO_LONG:
        /* Its changes are not to be had one by one: the state is. */
        list_again(watch);
        break;
    case FWI_EH_NOT_SENT:
    case FWI_EH_LOST:
        stream_failed(watch, FW_EUNREACHABLE, end->text);
        break;
    }
}

static void on_silence(void *arg)
{
    stream_failed(arg, FW_EUNREACHABLE, "the server has fallen silent");
}

static void write_body(struct watch *watch)
{
    fwi_eh_text *text = &watch->body;
    fwi_eh_text_fini(text);
    fwi_eh_text_add(text, "{\"create_request\":{\"progress_notify\":true,");
    fwi_eh_keys_write(watch->keys.key, watch->keys.end, text);
    fwi_eh_text_add(text, ",\"start_revision\":");
    fwi_eh_text_add_int64(text, watch->front->revision + 1);
    fwi_eh_text_add(text, "}}");
}

static int start_stream(struct watch *watch, fwi_eh_headers *headers)
{
    fwi_eh_client *client = watch->client;
    fwi_eh_call_handler handler = {.on_message = on_message, .on_end = on_stream_end, .arg = watch};
    write_body(watch);
    if (watch->body.failed)
        return UV_ENOMEM;
    fwi_eh_call_options options = {.endpoint = client->current,
                                   .path = "/v3/watch",
                                   .body = {watch->body.data, watch->body.len},
                                   .headers = headers};
    watch->endpoint = client->current;
    watch->generation = client->auth.generation;
    watch->stream = fwi_eh_call_start(client, &options, &handler);
    return watch->stream ? FW_OK : UV_ENOMEM;
}

static void open_stream(struct watch *watch)
{
    fwi_eh_client *client = watch->client;
    watch->state = OPENING;
    fwi_eh_headers *headers = fwi_eh_auth_headers(client);
    if (!headers) {
        fwi_eh_auth_wait(client, &watch->waiter);
        return;
    }
    int err = start_stream(watch, headers);
    if (err) {
        wait_and_retry(watch, err, NULL);
        return;
    }
    fwi_eh_guard_add(&client->endpoints[watch->endpoint], &watch->guard);
    fwi_loop_timer_start(client->core.loop, &watch->timer, fwi_kv_timeout_ms(client->core.kv));
}

static void on_token(int status, const char *detail, void *arg)
{
    struct watch *watch = arg;
    if (status)
        wait_and_retry(watch, status, detail);
    else
        open_stream(watch);
}

/* ---- the list ---- */

static void on_list(const fwi_ec_listing *listing, void *arg)
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
    fwi_ec_listing_tell(listing, front);
    before_report(watch);
    if (after_report(watch, fwi_kv_watch_list_end(front, listing->revision)))
        open_stream(watch);
}

static void list_again(struct watch *watch)
{
    fwi_eh_client *client = watch->client;
    quiesce(watch);
    watch->state = LISTING;
    watch->list_wanted = true;
    uint64_t deadline_ms = fw_loop_now_ms(client->core.loop) + fwi_kv_timeout_ms(client->core.kv);
    int err = fwi_ec_list_start(&client->core, watch->front->key, watch->front->tree, deadline_ms,
                                true, on_list, watch, &watch->list);
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

void fwi_eh_watch_start(void *store, fw_kv_watch *front)
{
    fwi_eh_client *client = store;
    struct watch *watch = calloc(1, sizeof *watch);
    front->driver_data = watch;
    if (!watch)
        return; /* see README.md: such a watch stays silent */
    *watch = (struct watch){.client = client,
                            .front = front,
                            .list_wanted = true,
                            .state = WAITING,
                            .guard = {.on_silence = on_silence, .arg = watch},
                            .waiter = {.fn = on_token, .arg = watch},
                            .timer = {.fn = on_timer, .arg = watch}};
    fwi_list_init(&watch->guard.node);
    fwi_list_init(&watch->waiter.node);
    fw_backoff_init(&watch->backoff, BACKOFF_MS, MAX_BACKOFF_MS);
    bool has_keys = fwi_ec_keys_init(&watch->keys, &client->core, front->key, front->tree);
    if (!has_keys)
        watch->timer.fn = on_no_memory;
    /* In a later turn: nothing is reported before the front has returned. */
    fwi_loop_timer_start(client->core.loop, &watch->timer, 0);
}

void fwi_eh_watch_stop(void *store, fw_kv_watch *front)
{
    (void)store;
    struct watch *watch = front->driver_data;
    if (watch && watch->delivering)
        watch->stopped = true;
    else if (watch)
        watch_free(watch);
    fwi_kv_watch_stopped(front);
}
