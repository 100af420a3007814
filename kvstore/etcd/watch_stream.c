/*
 * A stream of etcd's, and the watches that ride on it.
 *
 *                    open                      the call ended, or was given up
 *     no call ----------------------> call ------------------------------------> no call
 *     (timer: backoff;                (timer: how long the answer to a           (all its watches
 *      or waiting for a token)         create may take)                           are STALE)
 *
 * One stream has room for RIDERS watches, so that a watch with a huge backlog delays at most so
 * many others, and ten thousand watches cost eighty streams. It is also what etcd's queue of a
 * stream has room for. A stream without watches ends.
 *
 * Ids. We choose them (etcd 3.4 and later does as we say): a number that is never used again, and
 * the place of the watch in `riders`, so an event finds its watch without a search, and one that
 * comes after a cancel finds nobody. A server that chooses ids itself is noticed by its first
 * answer: it gets one create at a time, and its ids are searched for. etcd answers creates in their
 * order, and refuses them with the id -1.
 *
 * Sending. One message at a time: cancels first, then creates, of which CREATES at most are
 * unanswered. Both wait where they are (cancels in an array, which cannot be longer than there are
 * watches while the server takes what we send), so nothing is queued twice.
 *
 * Liveness. A server that hangs is noticed by HTTP/2's pings, a member that has lost its leader by
 * "hasleader", a server that takes a create and does not answer by the timer.
 *
 * Probes. A watch that is created again is LIVE only when it is known that nothing was missed. A
 * read, one for all watches of the stream that need it, tells
 *
 *     BEHIND, created at a revision after ours: whether the history in between is still there. etcd
 *         says so, too, by canceling the watch, but later, and not at all if its queue of the
 * stream is full just then: such a watch would be silent for ever. The read is at the least of the
 *         watches' revisions; if that is compacted, further ones find out by bisection for which of
 *         them it is. Those list again.
 *     UNSURE, created at a revision before ours: whether this member lags, or the store was
 * restored from a backup and our revision lies in its future, where nothing ever happens. In the
 *         latter case the watches list again.
 *
 * Tokens. A stream keeps the token that it was opened with. When that one is refused, the stream
 * takes no new watches (the old ones are served on), and the refused watch goes to another.
 */
#include "streams.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SLOT_BITS      7
#define RIDERS         (1 << SLOT_BITS)
#define CREATES        64
#define NO_ID          (-1)
#define BACKOFF_MS     200
#define MAX_BACKOFF_MS 2000

struct fwi_etcd_watch_stream {
    fwi_list node; /* in watches->streams */
    fwi_etcd_client *client;
    fwi_etcd_call *call;
    size_t endpoint;     /* of the call */
    unsigned generation; /* of its token */
    bool sealed;         /* its token is refused */
    bool busy;           /* must not be freed now, nor send */
    enum { UNKNOWN, OURS, THEIRS } ids;
    fwi_etcd_watch *riders[RIDERS];
    size_t count, next_slot;
    int64_t sequence;
    fwi_list to_create;        /* fwi_etcd_watch.node */
    int64_t creating[CREATES]; /* ids, in the order they were sent; a ring */
    size_t creating_first, creating_count;
    int64_t cancels[RIDERS];
    size_t cancel_count;
    fwi_etcd_request *probe;
    int64_t probe_revision; /* of a probe for those BEHIND; 0: for those UNSURE */
    int64_t compacted;      /* the last of our revisions that the history does not follow */
    bool bisecting;         /* there is one, and not all others are known not to be */
    fw_backoff backoff;
    fwi_timer timer;
    fwi_etcd_auth_wait auth_wait;
};

static void stream_free(fwi_etcd_watch_stream *stream)
{
    fwi_list_remove(&stream->node);
    fwi_loop_timer_stop(stream->client->loop, &stream->timer);
    fwi_etcd_auth_wait_cancel(&stream->auth_wait);
    if (stream->probe)
        fwi_etcd_request_drop(stream->probe);
    if (stream->call)
        fwi_etcd_call_drop(stream->call);
    free(stream);
}

static void pump(fwi_etcd_watch_stream *stream);

/* Around everything in which watches may leave. */
static void begin(fwi_etcd_watch_stream *stream)
{
    stream->busy = true;
}

static void finish(fwi_etcd_watch_stream *stream)
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
    fwi_etcd_watch *watch = stream->riders[(uint64_t)id % RIDERS];
    if (watch && watch->id == id)
        return watch;
    for (size_t i = 0; stream->ids == THEIRS && i < RIDERS; i++)
        if (stream->riders[i] && stream->riders[i]->id == id)
            return stream->riders[i];
    return NULL;
}

/* ---- failure ---- */

static void drop_call(fwi_etcd_watch_stream *stream)
{
    fwi_loop_timer_stop(stream->client->loop, &stream->timer);
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
    for (size_t i = 0; i < RIDERS; i++) {
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
    fwi_loop_timer_start(stream->client->loop, &stream->timer,
                         fw_backoff_next_ms(&stream->backoff));
}

/* Contact is lost, and tried to get back later. */
static void fail(fwi_etcd_watch_stream *stream, int reason, const char *detail)
{
    begin(stream);
    drop_call(stream);
    set_backoff(stream);
    for (size_t i = 0; i < RIDERS; i++)
        if (stream->riders[i])
            (void)fwi_etcd_watch_stale(stream->riders[i], reason, detail);
    finish(stream);
}

/* The endpoint is to blame. */
static void fail_at(fwi_etcd_watch_stream *stream, int reason, const char *text)
{
    char detail[FWI_ETCD_DETAIL_BYTES];
    fwi_etcd_endpoint_failed(stream->client, stream->endpoint);
    fwi_etcd_describe(stream->client, stream->endpoint, text, detail, sizeof detail);
    fail(stream, reason, detail);
}

static void end_all(fwi_etcd_watch_stream *stream, int reason, const char *detail)
{
    begin(stream);
    drop_call(stream);
    for (size_t i = 0; i < RIDERS; i++)
        if (stream->riders[i])
            fwi_etcd_watch_end(stream->riders[i], reason, detail);
    finish(stream);
}

/* ---- probes ---- */

static void probe(fwi_etcd_watch_stream *stream);

/* What an answer at a revision (0: none in particular) says about a watch that has waited for it.
 */
static void judge(fwi_etcd_watch_stream *stream, fwi_etcd_watch *watch, int status,
                  const fwi_etcd_range *range)
{
    int64_t asked = stream->probe_revision, ours = watch->front->revision;
    bool is_verified = !status && ours >= (asked ? asked : INT64_MIN);
    bool has_gone_back = !asked && range->revision < ours;
    if ((!status && range->cluster != watch->cluster) || has_gone_back ||
        (status == FW_ECOMPACTED && ours <= asked)) {
        fwi_etcd_watch_list_again(watch);
    } else if (is_verified) {
        watch->ride = FWI_ETCD_CREATED;
        (void)fwi_etcd_watch_live(watch);
    } else {
        watch->ride = FWI_ETCD_BEHIND; /* a further probe will tell */
    }
}

static void on_probed(const fwi_etcd_answer *answer, void *arg)
{
    fwi_etcd_watch_stream *stream = arg;
    fwi_etcd_range range = {.revision = 0};
    int status = answer->status;
    bool is_history_gone = status == FW_ECOMPACTED && stream->probe_revision;
    stream->probe = NULL;
    if (!status && !fwi_etcd_range_init(&range, answer->message)) {
        fail(stream, FW_EPROTOCOL, "malformed reply");
        return;
    }
    if (status && !is_history_gone) {
        fail(stream, status, answer->detail);
        return;
    }
    if (is_history_gone) {
        stream->bisecting = true;
        stream->compacted = stream->probe_revision;
    }
    begin(stream);
    for (size_t i = 0; i < RIDERS; i++)
        if (stream->riders[i] && stream->riders[i]->ride == FWI_ETCD_PROBED)
            judge(stream, stream->riders[i], status, &range);
    probe(stream);
    finish(stream);
}

/* Reads at a revision (0: now); of a key that its watch may read. */
static int read_at(fwi_etcd_watch_stream *stream, const fwi_etcd_watch *watch, int64_t revision)
{
    fwi_etcd_client *client = stream->client;
    fwi_etcd_keys keys;
    if (!fwi_etcd_keys_init(&keys, client, watch->front->key, watch->front->tree))
        return UV_ENOMEM;
    Epb__RangeRequest range = EPB__RANGE_REQUEST__INIT;
    range.key = keys.key;
    range.count_only = true;
    range.revision = revision;
    fwi_etcd_request_options options = {.method = FWI_ETCD_RANGE,
                                        .message = &range.base,
                                        .deadline_ms = fw_loop_now_ms(client->loop) +
                                                       fwi_kv_timeout_ms(client->kv),
                                        .repeatable = true,
                                        .impatient = true,
                                        .fn = on_probed,
                                        .arg = stream};
    int err = fwi_etcd_request_start(client, &options, &stream->probe);
    fwi_etcd_keys_fini(&keys);
    return err;
}

/* Collects the watches in this state; those that lie in compacted history list again at once. */
static size_t collect(fwi_etcd_watch_stream *stream, fwi_etcd_ride ride, fwi_etcd_watch **found)
{
    size_t count = 0;
    for (size_t i = 0; i < RIDERS; i++) {
        fwi_etcd_watch *watch = stream->riders[i];
        if (!watch || watch->ride != ride)
            continue;
        if (ride == FWI_ETCD_BEHIND && watch->front->revision <= stream->compacted)
            fwi_etcd_watch_list_again(watch);
        else
            found[count++] = watch;
    }
    return count;
}

static int by_revision(const void *a, const void *b)
{
    int64_t left = (*(fwi_etcd_watch *const *)a)->front->revision;
    int64_t right = (*(fwi_etcd_watch *const *)b)->front->revision;
    return (left > right) - (left < right);
}

/* Begins a probe, if a watch needs one and none is under way. For a watch that comes meanwhile it
 * would be too old. Between begin and finish. */
static void probe(fwi_etcd_watch_stream *stream)
{
    fwi_etcd_watch *found[RIDERS];
    if (stream->probe)
        return;
    stream->probe_revision = 0;
    size_t count = collect(stream, FWI_ETCD_UNSURE, found), chosen = 0;
    if (!count) {
        count = collect(stream, FWI_ETCD_BEHIND, found);
        stream->bisecting = stream->bisecting && count;
        if (!count)
            return;
        qsort(found, count, sizeof *found, by_revision);
        chosen = stream->bisecting ? count / 2 : 0;
        stream->probe_revision = found[chosen]->front->revision;
    }
    for (size_t i = 0; i < count; i++)
        found[i]->ride = FWI_ETCD_PROBED;
    if (read_at(stream, found[chosen], stream->probe_revision ? stream->probe_revision + 1 : 0)) {
        stream->probe = NULL;
        fwi_etcd_call_cancel(stream->call); /* its end makes all of it anew */
    }
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
        fwi_etcd_watch_retry(watch, fwi_etcd_status(GRPC_STATUS_INVALID_ARGUMENT, reason), reason);
    }
}

static void push_cancel(fwi_etcd_watch_stream *stream, int64_t id)
{
    if (stream->cancel_count < RIDERS)
        stream->cancels[stream->cancel_count++] = id;
    else
        fwi_etcd_call_cancel(stream->call); /* the server has not read for long */
}

static void on_created(fwi_etcd_watch_stream *stream, const fwi_etcd_notice *notice)
{
    fwi_loop_timer_stop(stream->client->loop, &stream->timer);
    int64_t asked = stream->creating[stream->creating_first];
    stream->creating_first = (stream->creating_first + 1) % CREATES;
    if (--stream->creating_count)
        fwi_loop_timer_start(stream->client->loop, &stream->timer,
                             fwi_kv_timeout_ms(stream->client->kv));
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
        probe(stream);
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
    begin(stream);
    if (notice.created) /* it may be canceled at once */
        on_created(stream, &notice);
    else if (notice.canceled)
        on_canceled(stream, &notice);
    else
        on_changes(stream, &notice, message);
    finish(stream);
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
        begin(stream);
        drop_call(stream);
        fwi_etcd_auth_renew(client, generation, &stream->auth_wait);
        finish(stream);
        return;
    }
    int reason = fwi_etcd_status(end->code, end->text);
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
    fwi_etcd_keys keys;
    if (!fwi_etcd_keys_init(&keys, stream->client, watch->front->key, watch->front->tree))
        return false;
    watch->id = (int64_t)(((uint64_t)++stream->sequence << SLOT_BITS) | watch->slot);
    watch->ride = FWI_ETCD_CREATING;
    fwi_list_remove(&watch->node);
    stream->creating[(stream->creating_first + stream->creating_count++) % CREATES] = watch->id;
    Epb__WatchCreate create = EPB__WATCH_CREATE__INIT;
    create.key = keys.key;
    create.range_end = keys.end;
    create.start_revision = watch->front->revision + 1;
    create.progress_notify = true;
    create.fragment = true;
    create.watch_id = watch->id;
    *ret_message = pack(&create, NULL);
    fwi_etcd_keys_fini(&keys);
    if (stream->creating_count == 1)
        fwi_loop_timer_start(stream->client->loop, &stream->timer,
                             fwi_kv_timeout_ms(stream->client->kv));
    return true;
}

static void pump(fwi_etcd_watch_stream *stream)
{
    if (stream->busy || !stream->call || fwi_etcd_call_is_sending(stream->call))
        return;
    grpc_slice message;
    size_t window = stream->ids == OURS ? CREATES : 1;
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
        fail(stream, UV_ENOMEM, NULL);
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
        fail(stream, status, detail);
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
        if (!stream->sealed && is_current && stream->count < RIDERS)
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
    fwi_loop_timer_start(client->loop, &stream->timer, 0); /* opens it */
    return stream;
}

bool fwi_etcd_watch_stream_join(fwi_etcd_watch *watch)
{
    fwi_etcd_watch_stream *stream = stream_with_room(watch->client);
    if (!stream)
        return false;
    while (stream->riders[stream->next_slot])
        stream->next_slot = (stream->next_slot + 1) % RIDERS;
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
