/*
 * The checker: watches.
 *
 *     form       snapshot, END, changes; RESYNC, difference, END; STALE and LIVE in turn; no FATAL
 *     sequence   changes come in the order of revisions, each once, a revision never split
 *     unwritten, not-done   as for the store: what is seen was written
 *     together   both keys of a transaction come in one batch
 *     gap        what happened after the snapshot and before the end is seen, but for what a RESYNC
 *                covers, or, where the store may merge changes, a later one of the same key
 *     state      what the events add up to is what the store has
 *     wipe       a store that was emptied is noticed
 *
 * A segment is what lies between one END_OF_SNAPSHOT and the next RESYNC: in it nothing may be
 * missing.
 */
#include "checker.h"

#include <inttypes.h>

struct segment {
    int64_t from, to; /* seen is what is greater than from, up to to */
    enum epoch epoch;
};

/* What a watcher believes of a key. */
struct belief {
    char key[CHAOS_KEY_BYTES];
    uint64_t op;      /* 0: deleted */
    int64_t revision; /* of the last change that it saw */
};

struct watch {
    struct check *check;
    size_t client;
    struct belief *beliefs;
    size_t belief_count;
    struct segment *segments;
    size_t segment_count;
    uint8_t *seen; /* by index of the operation; bit 0, 1: its first, second key */
    bool in_list, stale, ended_well;
    int64_t position;
    uint32_t position_batch;
};

static struct belief *belief_of(struct watch *watch, const char *key)
{
    for (size_t i = 0; i < watch->belief_count; i++)
        if (!strcmp(watch->beliefs[i].key, key))
            return &watch->beliefs[i];
    watch->beliefs = realloc(watch->beliefs, (watch->belief_count + 1) * sizeof(struct belief));
    struct belief *belief = &watch->beliefs[watch->belief_count++];
    *belief = (struct belief){.op = 0};
    memcpy(belief->key, key, CHAOS_KEY_BYTES);
    return belief;
}

#define breach(watch, rule, format, ...)                                                           \
    check_breach((watch)->check, rule, "watch of client %zu: " format, (watch)->client, __VA_ARGS__)

/* ---- the sequence ---- */

static void take_position(struct watch *watch, const chaos_record *event)
{
    if (event->revision <= 0)
        breach(watch, "sequence", "%s has revision %" PRId64, event->key, event->revision);
    if (watch->in_list) {
        /* The difference to what was delivered before lies behind it. */
        if (event->revision <= watch->position && !watch->check->in->wiped_ns)
            breach(watch, "sequence", "a RESYNC brought %s of %" PRId64 " after %" PRId64,
                   event->key, event->revision, watch->position);
        return;
    }
    if (event->revision < watch->position)
        breach(watch, "sequence", "%s of %" PRId64 " came after %" PRId64, event->key,
               event->revision, watch->position);
    else if (event->revision == watch->position && event->batch != watch->position_batch)
        breach(watch, "sequence", "%s of %" PRId64 " came in a batch of its own, or again",
               event->key, event->revision);
    watch->position = event->revision;
    watch->position_batch = event->batch;
    watch->segments[watch->segment_count - 1].to = event->revision;
}

static void take_put(struct watch *watch, const chaos_record *event)
{
    struct belief *belief = belief_of(watch, event->key);
    uint64_t op_id = event->op ? event->op : UINT64_MAX;
    /* After a wipe another value may have the same revision by chance. */
    if (belief->op == op_id && belief->revision == event->revision)
        breach(watch, "sequence", "%s of %" PRId64 " came twice", event->key, event->revision);
    belief->op = op_id;
    belief->revision = event->revision;
    if (!check_is_data(event->key))
        return;
    struct op *op = check_find(watch->check, event->op);
    if (!op || !check_has_key(op, event->key) || !check_writes(op)) {
        breach(watch, "unwritten", "%s=%" PRIx64 " was written by nobody", event->key, event->op);
        return;
    }
    if (op->outcome == NOT_DONE) {
        breach(watch, "not-done", "%s of operation %" PRIx64 ", which was answered as not done",
               event->key, op->id);
        return;
    }
    if (!op->revision)
        op->revision = event->revision;
    else if (op->revision != event->revision)
        breach(watch, "unwritten",
               "%s of operation %" PRIx64 " came as %" PRId64 ", but happened at %" PRId64,
               event->key, op->id, event->revision, op->revision);
    uint8_t bit = (uint8_t)(strcmp(op->keys[0], event->key) ? 2 : 1);
    uint8_t *seen = &watch->seen[op - watch->check->ops];
    if (*seen & bit)
        breach(watch, "sequence", "%s of operation %" PRIx64 " came twice", event->key, op->id);
    *seen |= bit;
}

/* The delete that did it. With a list, and where changes may be merged, the event has the revision
 * at which the key was found to be gone, and of several deletes any may be meant. */
static struct op *find_delete(struct watch *watch, const chaos_record *event, int64_t believed)
{
    bool merges = !watch->check->in->sees_every_change;
    struct op *unknown = NULL;
    /* By the list that it follows: what comes late is still of the store of that time. */
    enum epoch epoch =
        watch->segment_count ? watch->segments[watch->segment_count - 1].epoch : AFTER_WIPE;
    for (size_t i = 0; i < watch->check->op_count; i++) {
        struct op *op = &watch->check->ops[i];
        if (op->kind != CHAOS_DELETE || op->outcome == NOT_DONE || !check_has_key(op, event->key) ||
            (!watch->in_list && op->epoch != epoch && op->epoch != ACROSS_WIPE))
            continue;
        if (op->revision == event->revision || (watch->in_list && op->revision) ||
            (merges && op->revision > believed && op->revision < event->revision))
            return op;
        if (op->outcome == UNKNOWN && !op->revision && op->invoked_ns < event->time_ns)
            unknown = op;
    }
    return unknown;
}

static bool was_leased(const struct check *check, const char *key)
{
    for (size_t i = 0; i < check->op_count; i++)
        if (check->ops[i].kind == CHAOS_LEASED && check_has_key(&check->ops[i], key))
            return true;
    return false;
}

static void take_delete(struct watch *watch, const chaos_record *event)
{
    struct belief *belief = belief_of(watch, event->key);
    if (!belief->op)
        breach(watch, "sequence", "%s was deleted, which did not exist", event->key);
    int64_t believed = belief->revision;
    belief->op = 0;
    belief->revision = event->revision;
    if (!check_is_data(event->key) || was_leased(watch->check, event->key))
        return;
    struct op *op = find_delete(watch, event, believed);
    bool wiped = watch->in_list && watch->check->in->wiped_ns;
    if (!op && !wiped)
        breach(watch, "unwritten", "%s was deleted at %" PRId64 " by nobody", event->key,
               event->revision);
    if (!op || watch->in_list || !watch->check->in->sees_every_change)
        return;
    if (!op->revision)
        op->revision = event->revision;
    watch->seen[op - watch->check->ops] |= 1;
}

static void take_end(struct watch *watch, const chaos_record *event)
{
    if (!watch->in_list)
        breach(watch, "form", "an END_OF_SNAPSHOT of no list, at %" PRId64, event->revision);
    watch->in_list = false;
    watch->segments = realloc(watch->segments, (watch->segment_count + 1) * sizeof(struct segment));
    watch->segments[watch->segment_count++] =
        (struct segment){.from = event->revision,
                         .to = event->revision,
                         .epoch = check_epoch(watch->check, event->time_ns, event->time_ns)};
    watch->position = event->revision;
    watch->position_batch = UINT32_MAX;
}

static void take_event(struct watch *watch, const chaos_record *event)
{
    switch ((fw_kv_event_type)event->event) {
    case FW_KV_PUT:
        take_position(watch, event);
        take_put(watch, event);
        if (!strcmp(event->key, CHAOS_END_KEY))
            watch->ended_well = true;
        break;
    case FW_KV_DELETE:
        take_position(watch, event);
        take_delete(watch, event);
        break;
    case FW_KV_END_OF_SNAPSHOT:
        take_end(watch, event);
        break;
    case FW_KV_RESYNC:
        if (watch->in_list)
            breach(watch, "form", "a RESYNC in a list, in batch %u", event->batch);
        watch->in_list = true;
        break;
    case FW_KV_STALE:
    case FW_KV_LIVE:
        if (watch->stale == (event->event == FW_KV_STALE))
            breach(watch, "form", "%s twice", watch->stale ? "STALE" : "LIVE");
        watch->stale = event->event == FW_KV_STALE;
        break;
    case FW_KV_FATAL:
        breach(watch, "form", "FATAL: %d", event->status);
        break;
    }
}

/* ---- whole batches ---- */

/* Both keys of a transaction are there, or none. */
static void check_batch(struct watch *watch, const chaos_record *const *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct op *op = check_find(watch->check, events[i]->op);
        if (events[i]->event != FW_KV_PUT || !op || op->kind != CHAOS_PAIR)
            continue;
        size_t parts = 0;
        for (size_t k = 0; k < count; k++)
            parts += events[k]->event == FW_KV_PUT && events[k]->op == op->id;
        if (parts != 2)
            breach(watch, "together", "%zu of the 2 keys of operation %" PRIx64 " came in a batch",
                   parts, op->id);
    }
}

/* ---- afterwards ---- */

static bool must_see(const struct watch *watch, const struct op *op)
{
    for (size_t i = 0; i < watch->segment_count; i++) {
        const struct segment *segment = &watch->segments[i];
        if (segment->epoch == op->epoch && op->revision > segment->from &&
            op->revision <= segment->to)
            return true;
    }
    return false;
}

/* Where changes of a key may be merged: true if something came, or may have come, after the
 * operation. The end is for check_state. */
static bool may_be_merged(struct watch *watch, const struct op *op, const char *key)
{
    const struct check *check = watch->check;
    if (op->kind == CHAOS_DELETE || op->epoch == BEFORE_WIPE ||
        belief_of(watch, key)->revision >= op->revision)
        return true;
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *other = &check->ops[i];
        if (other != op && check_writes(other) && check_has_key(other, key) &&
            other->epoch == op->epoch &&
            (other->revision > op->revision || (other->outcome == UNKNOWN && !other->revision)))
            return true;
    }
    return false;
}

static void check_gaps(struct watch *watch)
{
    const struct check *check = watch->check;
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *op = &check->ops[i];
        if (!op->revision || op->epoch == ACROSS_WIPE || !must_see(watch, op))
            continue;
        for (size_t k = 0; k < op->key_count; k++) {
            if (watch->seen[i] & 1u << k)
                continue;
            if (!check->in->sees_every_change && may_be_merged(watch, op, op->keys[k]))
                continue;
            breach(watch, "gap", "operation %" PRIx64 " on %s of %" PRId64 " was not seen", op->id,
                   op->keys[k], op->revision);
        }
    }
}

/* What came after the list was taken does not count: only leases do that, and they have rules of
 * their own. */
static void check_state(struct watch *watch)
{
    const chaos_histories *in = watch->check->in;
    if (!watch->ended_well)
        breach(watch, "state", "it never saw the last write, and stands at %" PRId64,
               watch->position);
    for (size_t i = 0; i < in->final_count; i++) {
        const chaos_pair *pair = &in->final[i];
        const struct belief *belief = belief_of(watch, pair->key);
        if (check_is_data(pair->key) &&
            (belief->op != pair->op || belief->revision != pair->revision))
            breach(watch, "state",
                   "%s is %" PRIx64 " of %" PRId64 ", in the store it is %" PRIx64 " of %" PRId64,
                   pair->key, belief->op, belief->revision, pair->op, pair->revision);
    }
    for (size_t i = 0; i < watch->belief_count; i++) {
        const struct belief *belief = &watch->beliefs[i];
        bool there = !belief->op || !check_is_data(belief->key);
        for (size_t k = 0; k < in->final_count; k++)
            there |= !strcmp(in->final[k].key, belief->key);
        if (!there)
            breach(watch, "state", "%s is %" PRIx64 " of %" PRId64 ", the store does not have it",
                   belief->key, belief->op, belief->revision);
    }
    if (in->wiped_ns && watch->segment_count &&
        watch->segments[watch->segment_count - 1].epoch != AFTER_WIPE)
        breach(watch, "wipe", "no RESYNC came after the store was emptied; it stands at %" PRId64,
               watch->position);
}

static void check_watch(struct check *check, size_t client)
{
    const chaos_client_history *history = &check->in->clients[client];
    struct watch watch = {.check = check, .client = client, .in_list = true};
    const chaos_record **batch = calloc(history->count + 1, sizeof *batch);
    size_t batch_count = 0, event_count = 0;
    watch.seen = calloc(check->op_count + 1, 1);
    for (size_t i = 0; i < history->count; i++) {
        const chaos_record *record = &history->records[i];
        if (record->what != CHAOS_EVENT || record->time_ns > check->in->final_ns)
            continue;
        event_count++;
        if (batch_count && batch[0]->batch != record->batch) {
            check_batch(&watch, batch, batch_count);
            batch_count = 0;
        }
        batch[batch_count++] = record;
        take_event(&watch, record);
    }
    /* Of a client that was killed the last batch may be cut off. */
    if (!history->killed_ns)
        check_batch(&watch, batch, batch_count);
    if (event_count) {
        check_gaps(&watch);
        if (!history->killed_ns)
            check_state(&watch);
    }
    free(watch.beliefs);
    free(watch.segments);
    free(watch.seen);
    free(batch);
}

void check_watches(struct check *check)
{
    for (size_t client = 0; client < check->in->client_count; client++)
        check_watch(check, client);
}
