/*
 * Probes. A watch that is created again is LIVE only when it is known that nothing was missed. A
 * read, one for all watches of the stream that need it, tells
 *
 *     BEHIND: created at a revision after ours. Whether the history in between is still there. etcd
 *     says so, too, by canceling the watch, but later, and not at all if its queue of the stream is
 *     full just then: such a watch would be silent for ever. The read is at the least of the
 *     watches' revisions; if that is compacted, further ones find out by bisection for which of
 *     them it is. Those list again.
 *
 *     UNSURE: created at a revision before ours. Whether this member lags, or the store was
 *     restored from a backup and our revision lies in its future, where nothing ever happens. In
 *     the latter case the watches list again.
 */
#include "watch_stream.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

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

static void on_probed(const fwi_ec_answer *answer, void *arg)
{
    fwi_etcd_watch_stream *stream = arg;
    fwi_etcd_range range = {.revision = 0};
    int status = answer->status;
    bool is_history_gone = status == FW_ECOMPACTED && stream->probe_revision;
    stream->probe = NULL;
    if (!status && !fwi_etcd_range_init(&range, ((const fwi_etcd_reply *)answer->reply)->message)) {
        fwi_etcd_watch_stream_fail(stream, FW_EPROTOCOL, "malformed reply");
        return;
    }
    if (status && !is_history_gone) {
        fwi_etcd_watch_stream_fail(stream, status, answer->detail);
        return;
    }
    if (is_history_gone) {
        stream->bisecting = true;
        stream->compacted = stream->probe_revision;
    }
    fwi_etcd_watch_stream_begin(stream);
    for (size_t i = 0; i < FWI_ETCD_RIDERS; i++)
        if (stream->riders[i] && stream->riders[i]->ride == FWI_ETCD_PROBED)
            judge(stream, stream->riders[i], status, &range);
    fwi_etcd_watch_probe(stream);
    fwi_etcd_watch_stream_finish(stream);
}

/* Reads at a revision (0: now); of a key that its watch may read. */
static int read_at(fwi_etcd_watch_stream *stream, const fwi_etcd_watch *watch, int64_t revision)
{
    fwi_ec_store *core = &stream->client->core;
    fwi_ec_keys keys;
    if (!fwi_ec_keys_init(&keys, core, watch->front->key, watch->front->tree))
        return UV_ENOMEM;
    int err = fwi_ec_ask_revision(core, keys.key, revision, on_probed, stream, &stream->probe);
    fwi_ec_keys_fini(&keys);
    return err;
}

/* Collects the watches in this state; those that lie in compacted history list again at once. */
static size_t collect(fwi_etcd_watch_stream *stream, fwi_etcd_ride ride, fwi_etcd_watch **found)
{
    size_t count = 0;
    for (size_t i = 0; i < FWI_ETCD_RIDERS; i++) {
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

void fwi_etcd_watch_probe(fwi_etcd_watch_stream *stream)
{
    fwi_etcd_watch *found[FWI_ETCD_RIDERS];
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
