/*
 * A stream of etcd's, and the watches that ride on it.
 *
 *                    open                      the call ended, or was given up
 *     no call ----------------------> call ------------------------------------> no call
 *     (timer: backoff;                (timer: how long the answer to a           (all its watches
 *      or waiting for a token)         create may take)                           are STALE)
 *
 * One stream has room for FWI_ETCD_RIDERS watches, so that a watch with a huge backlog delays at
 * most so many others, and ten thousand watches cost eighty streams. It is also what etcd's queue
 * of a stream has room for. A stream without watches ends.
 *
 * Ids. We choose them (etcd 3.4 and later does as we say): a number that is never used again, and
 * the place of the watch in `riders`, so an event finds its watch without a search, and one that
 * comes after a cancel finds nobody. A server that chooses ids itself is noticed by its first
 * answer: it gets one create at a time, and its ids are searched for. etcd answers creates in their
 * order, and refuses them with the id -1.
 *
 * Sending. One message at a time: cancels first, then creates, of which FWI_ETCD_CREATES at most
 * are unanswered. Both wait where they are (cancels in an array, which cannot be longer than there
 * are watches while the server takes what we send), so nothing is queued twice.
 *
 * Liveness. A server that hangs is noticed by HTTP/2's pings, a member that has lost its leader by
 * "hasleader", a server that takes a create and does not answer by the timer.
 *
 * Tokens. A stream keeps the token that it was opened with. When that one is refused, the stream
 * takes no new watches (the old ones are served on), and the refused watch goes to another.
 */
#include "watch_stream.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define NO_ID          (-1)
#define BACKOFF_MS     200
#define MAX_BACKOFF_MS 2000

static void stream_free(fwi_etcd_watch_stream *stream)
{
    fwi_list_remove(&stream->node);
    fwi_loop_timer_stop(stream->client->core.loop, &stream->timer);
    fwi_etcd_auth_wait_cancel(&stream->auth_wait);
    if (stream->probe)
        fwi_etcd_request_drop(stream->probe);
    if (stream->call)
        fwi_etcd_call_drop(stream->call);
    free(stream);
}

static void pump(fwi_etcd_watch_stream *stream);

void fwi_etcd_watch_stream_begin(fwi_etcd_watch_stream *stream)
{
    stream->busy = true;
}

void fwi_etcd_watch_stream_finish(fwi_etcd_watch_stream *stream)
{
    stream->busy = false;
    if (!stream->count)
        stream_free(stream);
    else
        pump(stream);
}

static fwi_etcd_watch *find(const fwi_etcd_watch_stream *stream, int64_t id)
{
    if (id == NO_ID)
        return NULL;
    fwi_etcd_watch *watch = stream->riders[(uint64_t)id % FWI_ETCD_RIDERS];
    if (watch && watch->id == id)
        return watch;
    for (size_t i = 0; stream->ids == THEIRS && i < FWI_ETCD_RIDERS; i++)
        if (stream->riders[i] && stream->riders[i]->id == id)
            return stream->riders[i];
    return NULL;
}

/* ---- failure ---- */

static void drop_call(fwi_etcd_watch_stream *stream)
{
    fwi_loop_timer_stop(stream->client->core.loop, &stream->timer);
    if (stream->call)
        fwi_etcd_call_drop(stream->call);
    if (stream->probe)
        fwi_etcd_request_drop(stream->probe);
    stream->call = NULL;
    stream->probe = NULL;
    stream->sealed = false;
    stream->bisecting = false;
    stream->compacted = 0;
    stream->ids = UNKNOWN;
    stream->creating_first = stream->creating_count = stream->cancel_count = 0;
    for (size_t i = 0; i < FWI_ETCD_RIDERS; i++) {
        fwi_etcd_watch *watch = stream->riders[i];
        if (!watch || watch->ride == FWI_ETCD_TO_CREATE)
            continue;
        watch->ride = FWI_ETCD_TO_CREATE;
        watch->id = NO_ID;
        fwi_etcd_events_forget(watch);
        fwi_list_push_back(&stream->to_create, &watch->node);
    }
}

static void set_backoff(fwi_etcd_watch_stream *stream)
{
    fwi_loop_timer_start(stream->client->core.loop, &stream->timer,
                         fw_backoff_next_ms(&stream->backoff));
}

void fwi_etcd_watch_stream_fail(fwi_etcd_watch_stream *stream, int reason, const char *detail)
{
    fwi_etcd_watch_stream_begin(stream);
    drop_call(stream);
    set_backoff(stream);
    for (size_t i = 0; i < FWI_ETCD_RIDERS; i++)
        if (stream->riders[i])
            (void)fwi_etcd_watch_stale(stream->riders[i], reason, detail);
    fwi_etcd_watch_stream_finish(stream);
}

/* The endpoint is to blame. */
static void fail_at(fwi_etcd_watch_stream *stream, int reason, const char *text)
{
    char detail[FWI_ETCD_DETAIL_BYTES];
    fwi_etcd_endpoint_failed(stream->client, stream->endpoint);
    fwi_etcd_describe(stream->client, stream->endpoint, text, detail, sizeof detail);
    fwi_etcd_watch_stream_fail(stream, reason, detail);
}

static void end_all(fwi_etcd_watch_stream *stream, int reason, const char *detail)
{
    fwi_etcd_watch_stream_begin(stream);
    drop_call(stream);
    for (size_t i = 0; i < FWI_ETCD_RIDERS; i++)
        if (stream->riders[i])
            fwi_etcd_watch_end(stream->riders[i], reason, detail);
    fwi_etcd_watch_stream_finish(stream);
}

/* ---- what the server says ---- */

/* The server has refused the watch, or ended it. */
static void refuse(fwi_etcd_watch_stream *stream, fwi_etcd_watch *watch, fw_slice why)
{
    char reason[FWI_ETCD_DETAIL_BYTES];
    size_t len = why.len < sizeof reason ? why.len : sizeof reason - 1;
    memcpy(reason, why.data, len);
    reason[len] = 0;
    bool is_denied = strstr(reason, "permission denied") != NULL;
    bool is_refusal = fwi_etcd_is_auth_refusal(stream->client, GRPC_STATUS_OK, reason);
    /* Some versions say "denied" also to a token that is no longer good. */
    bool may_be_token = is_denied && stream->client->auth.user && !watch->refusals;
    if (is_refusal || may_be_token) {
        stream->sealed = true;
        fwi_etcd_watch_refused(watch, stream->generation);
    } else if (is_denied) {
        fwi_etcd_watch_end(watch, FW_EDENIED, reason);
    } else {
        fwi_etcd_watch_retry(watch, fwi_ec_status(FWI_EC_INVALID_ARGUMENT, reason), reason);
    }
}

static void push_cancel(fwi_etcd_watch_stream *stream, int64_t id)
{
    if (stream->cancel_count < FWI_ETCD_RIDERS)
        stream->cancels[stream->cancel_count++] = id;
    else
        fwi_etcd_call_cancel(stream->call); /* the server has not read for long */
}

static void on_created(fwi_etcd_watch_stream *stream, const fwi_etcd_notice *notice)
{
    fwi_loop_timer_stop(stream->client->core.loop, &stream->timer);
    int64_t asked = stream->creating[stream->creating_first];
    stream->creating_first = (stream->creating_first + 1) % FWI_ETCD_CREATES;
    if (--stream->creating_count)
        fwi_loop_timer_start(stream->client->core.loop, &stream->timer,
                             fwi_kv_timeout_ms(stream->client->core.kv));
    fwi_etcd_watch *watch = find(stream, asked);
    fwi_etcd_endpoint_served(stream->client, stream->endpoint);
    if (!notice->canceled)
        stream->ids = notice->watch_id == asked ? OURS : THEIRS;
    if (!watch) { /* it has left since */
        if (!notice->canceled)
            push_cancel(stream, notice->watch_id);
        return;
    }
    watch->id = notice->watch_id;
    watch->ride = FWI_ETCD_CREATED;
    if (notice->canceled) {
        watch->ride = FWI_ETCD_CREATING; /* there is nothing to cancel */
        refuse(stream, watch, notice->cancel_reason);
        return;
    }
    fw_backoff_reset(&stream->backoff);
    watch->refusals = 0;
    if (notice->cluster != watch->cluster) {
        fwi_etcd_watch_list_again(watch);
    } else if (notice->revision != watch->front->revision) {
        watch->ride = notice->revision < watch->front->revision ? FWI_ETCD_UNSURE : FWI_ETCD_BEHIND;
        fwi_etcd_watch_probe(stream);
    } else {
        (void)fwi_etcd_watch_live(watch);
    }
}

static void on_canceled(fwi_etcd_watch_stream *stream, const fwi_etcd_notice *notice)
{
    fwi_etcd_watch *watch = find(stream, notice->watch_id);
    if (!watch)
        return;                      /* we have canceled it */
    watch->ride = FWI_ETCD_CREATING; /* there is nothing to cancel any more */
    if (notice->compact_revision)
        fwi_etcd_watch_list_again(watch);
    else
        refuse(stream, watch, notice->cancel_reason);
}

static void on_changes(fwi_etcd_watch_stream *stream, const fwi_etcd_notice *notice,
                       fw_slice message)
{
    fwi_etcd_watch *watch = find(stream, notice->watch_id);
    if (!watch)
        return; /* it has left, or this is for nobody (id -1) */
    if (notice->has_events || notice->fragment || watch->fragments)
        fwi_etcd_events_take(watch, notice, message);
    else if (watch->ride == FWI_ETCD_CREATED)
        (void)fwi_etcd_watch_commit(watch, notice->revision);
}

/* True if an answer to a create makes sense. */
static bool is_expected(const fwi_etcd_watch_stream *stream, const fwi_etcd_notice *notice)
{
    if (!stream->creating_count)
        return false;
    return notice->canceled || stream->ids != OURS ||
           notice->watch_id == stream->creating[stream->creating_first];
}

static void on_message(fwi_etcd_call *call, fw_slice message, void *arg)
{
    (void)call;
    fwi_etcd_watch_stream *stream = arg;
    fwi_etcd_notice notice;
    if (!fwi_etcd_notice_init(&notice, message) || !fwi_etcd_events_check(&notice)) {
        fail_at(stream, FW_EPROTOCOL, "malformed reply");
        return;
    }
    if (notice.created && !is_expected(stream, &notice)) {
        fail_at(stream, FW_EPROTOCOL, "answer to a watch that nobody asked for");
        return;
    }
    fwi_etcd_watch_stream_begin(stream);
    if (notice.created) /* it may be canceled at once */
        on_created(stream, &notice);
    else if (notice.canceled)
        on_canceled(stream, &notice);
    else
        on_changes(stream, &notice, message);
    fwi_etcd_watch_stream_finish(stream);
}

static void on_sent(fwi_etcd_call *call, void *arg)
{
    (void)call;
    pump(arg);
}

static void on_call_end(fwi_etcd_call *call, const fwi_etcd_end *end, void *arg)
{
    (void)call;
    fwi_etcd_watch_stream *stream = arg;
    fwi_etcd_client *client = stream->client;
    unsigned generation = stream->generation;
    stream->call = NULL;
    if (fwi_etcd_is_auth_refusal(client, end->code, end->text)) {
        fwi_etcd_watch_stream_begin(stream);
        drop_call(stream);
        fwi_etcd_auth_renew(client, generation, &stream->auth_wait);
        fwi_etcd_watch_stream_finish(stream);
        return;
    }
    int reason = fwi_ec_status((int)end->code, end->text);
    if (reason == FW_EDENIED || reason == FW_EAUTH)
        end_all(stream, reason, end->text);
    else
        fail_at(stream, fwi_etcd_endpoint_status(client, stream->endpoint, end->text),
                end->text[0] ? end->text : "the server ended the stream");
}

/* ---- opening and sending ---- */

static grpc_slice pack(Epb__WatchCreate *create, Epb__WatchCancel *cancel)
{
    Epb__WatchRequest request = EPB__WATCH_REQUEST__INIT;
    if (create) {
        request.request_case = EPB__WATCH_REQUEST__REQUEST_CREATE;
        request.create = create;
    } else {
        request.request_case = EPB__WATCH_REQUEST__REQUEST_CANCEL;
        request.cancel = cancel;
    }
    return fwi_etcd_pack(&request.base);
}

/* Takes the next watch that is to be created. False: no memory. */
static bool pack_create(fwi_etcd_watch_stream *stream, grpc_slice *ret_message)
{
    fwi_etcd_watch *watch = fwi_container_of(stream->to_create.next, fwi_etcd_watch, node);
    fwi_ec_keys keys;
    if (!fwi_ec_keys_init(&keys, &stream->client->core, watch->front->key, watch->front->tree))
        return false;
    watch->id = (int64_t)(((uint64_t)++stream->sequence << FWI_ETCD_SLOT_BITS) | watch->slot);
    watch->ride = FWI_ETCD_CREATING;
    fwi_list_remove(&watch->node);
    stream->creating[(stream->creating_first + stream->creating_count++) % FWI_ETCD_CREATES] =
        watch->id;
    Epb__WatchCreate create = EPB__WATCH_CREATE__INIT;
    create.key = fwi_etcd_bytes(keys.key);
    create.range_end = fwi_etcd_bytes(keys.end);
    create.start_revision = watch->front->revision + 1;
    create.progress_notify = true;
    create.fragment = true;
    create.watch_id = watch->id;
    *ret_message = pack(&create, NULL);
    fwi_ec_keys_fini(&keys);
    if (stream->creating_count == 1)
        fwi_loop_timer_start(stream->client->core.loop, &stream->timer,
                             fwi_kv_timeout_ms(stream->client->core.kv));
    return true;
}

static void pump(fwi_etcd_watch_stream *stream)
{
    if (stream->busy || !stream->call || fwi_etcd_call_is_sending(stream->call))
        return;
    grpc_slice message;
    size_t window = stream->ids == OURS ? FWI_ETCD_CREATES : 1;
    if (stream->cancel_count) {
        Epb__WatchCancel cancel = EPB__WATCH_CANCEL__INIT;
        cancel.watch_id = stream->cancels[--stream->cancel_count];
        message = pack(NULL, &cancel);
    } else if (fwi_list_empty(&stream->to_create) || stream->creating_count >= window) {
        return;
    } else if (!pack_create(stream, &message)) {
        fwi_etcd_call_cancel(stream->call); /* its end makes all of it anew */
        return;
    }
    fwi_etcd_call_send(stream->call, message);
    grpc_slice_unref(message);
}

static void open_call(fwi_etcd_watch_stream *stream)
{
    fwi_etcd_client *client = stream->client;
    int err = fwi_etcd_client_check(client);
    if (err) {
        end_all(stream, err, NULL);
        return;
    }
    if (!fwi_etcd_auth_ready(client)) {
        fwi_etcd_auth_renew(client, 0, &stream->auth_wait);
        return;
    }
    fwi_etcd_call_handler handler = {
        .on_message = on_message, .on_sent = on_sent, .on_end = on_call_end, .arg = stream};
    grpc_slice message;
    stream->endpoint = client->current;
    stream->generation = fwi_etcd_auth_generation(client);
    if (pack_create(stream, &message)) {
        stream->call = fwi_etcd_call_start(client, stream->endpoint, FWI_ETCD_WATCH, message, 0,
                                           false, &handler);
        grpc_slice_unref(message);
    }
    if (!stream->call)
        fwi_etcd_watch_stream_fail(stream, UV_ENOMEM, NULL);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_etcd_watch_stream *stream = arg;
    if (stream->call)
        fail_at(stream, FW_EUNREACHABLE, "no answer in time");
    else
        open_call(stream);
}

static void on_token(fwi_etcd_auth_wait *wait, int status, const char *detail, void *arg)
{
    (void)wait;
    fwi_etcd_watch_stream *stream = arg;
    if (status == FW_EAUTH || status == FW_EDENIED)
        end_all(stream, status, detail);
    else if (status)
        fwi_etcd_watch_stream_fail(stream, status, detail);
    else
        set_backoff(stream); /* the new one may be refused, too */
}

/* ---- joining and leaving ---- */

/* One whose token is as good as any. */
static fwi_etcd_watch_stream *stream_with_room(fwi_etcd_client *client)
{
    fwi_list_for_each (node, &client->watches->streams) {
        fwi_etcd_watch_stream *stream = fwi_container_of(node, fwi_etcd_watch_stream, node);
        bool is_current = !stream->call || stream->generation == fwi_etcd_auth_generation(client);
        if (!stream->sealed && is_current && stream->count < FWI_ETCD_RIDERS)
            return stream;
    }
    fwi_etcd_watch_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->client = client;
    stream->timer = (fwi_timer){.fn = on_timer, .arg = stream};
    stream->auth_wait = (fwi_etcd_auth_wait){.fn = on_token, .arg = stream};
    fwi_list_init(&stream->to_create);
    fw_backoff_init(&stream->backoff, BACKOFF_MS, MAX_BACKOFF_MS);
    fwi_list_push_back(&client->watches->streams, &stream->node);
    fwi_loop_timer_start(client->core.loop, &stream->timer, 0); /* opens it */
    return stream;
}

bool fwi_etcd_watch_stream_join(fwi_etcd_watch *watch)
{
    fwi_etcd_watch_stream *stream = stream_with_room(watch->client);
    if (!stream)
        return false;
    while (stream->riders[stream->next_slot])
        stream->next_slot = (stream->next_slot + 1) % FWI_ETCD_RIDERS;
    watch->slot = (uint16_t)stream->next_slot;
    stream->riders[watch->slot] = watch;
    stream->count++;
    watch->stream = stream;
    watch->ride = FWI_ETCD_TO_CREATE;
    watch->id = NO_ID;
    fwi_list_push_back(&stream->to_create, &watch->node);
    pump(stream);
    return true;
}

void fwi_etcd_watch_stream_leave(fwi_etcd_watch *watch)
{
    fwi_etcd_watch_stream *stream = watch->stream;
    if (!stream)
        return;
    stream->riders[watch->slot] = NULL;
    stream->count--;
    watch->stream = NULL;
    fwi_etcd_events_forget(watch);
    if (watch->ride == FWI_ETCD_TO_CREATE)
        fwi_list_remove(&watch->node);
    else if (watch->ride != FWI_ETCD_CREATING) /* else its answer brings the cancel */
        push_cancel(stream, watch->id);
    if (stream->busy)
        return;
    if (stream->count)
        pump(stream);
    else
        stream_free(stream);
}
