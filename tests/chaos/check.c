/*
 * The checker: operations, their order, and what became of them.
 *
 *     answered    each operation has one answer, in time
 *     order       revisions of acknowledged writes are unique, and grow with time
 *     read        a read sees what was acknowledged before it was asked for
 *     not-done    what was answered as not done is seen nowhere
 *     unwritten   what is in the store was written by somebody, there, at that revision
 *     durable     an acknowledged write is there, or something later is
 *     compare     a compare-and-swap came directly upon what it compared with
 */
#include "checker.h"

#include <fairway/error.h>
#include <inttypes.h>
#include <stdarg.h>

#define MAX_PRINTED 40

void check_breach(struct check *check, const char *rule, const char *format, ...)
{
    if (++check->breaches > MAX_PRINTED)
        return;
    va_list args;
    va_start(args, format);
    fprintf(check->out, "%s: ", rule);
    vfprintf(check->out, format, args);
    fputc('\n', check->out);
    va_end(args);
}

struct op *check_find(const struct check *check, uint64_t id)
{
    uint64_t client = (id >> 32) - 1, seq = id & UINT32_MAX;
    if (!(id >> 32) || client >= check->in->client_count || !seq ||
        seq > check->first[client + 1] - check->first[client])
        return NULL;
    return &check->ops[check->first[client] + seq - 1];
}

bool check_writes(const struct op *op)
{
    return op->kind != CHAOS_GET;
}

bool check_has_key(const struct op *op, const char *key)
{
    for (size_t i = 0; i < op->key_count; i++)
        if (!strcmp(op->keys[i], key))
            return true;
    return false;
}

enum epoch check_epoch(const struct check *check, uint64_t from_ns, uint64_t to_ns)
{
    const chaos_histories *in = check->in;
    if (from_ns > in->wiped_ns || (from_ns == to_ns && from_ns > in->wiped_from_ns))
        return AFTER_WIPE;
    return to_ns && to_ns < in->wiped_from_ns ? BEFORE_WIPE : ACROSS_WIPE;
}

/* ---- reading the records ---- */

static enum outcome outcome_of(const struct op *op, const chaos_record *record)
{
    bool conditional = op->kind == CHAOS_PAIR || op->kind == CHAOS_GUARDED;
    switch (record->status) {
    case FW_OK:
        return conditional && !record->succeeded ? NOT_DONE : DONE;
    case FW_EUNKNOWN:
    case FW_ECANCELED:
        return UNKNOWN;
    default:
        return NOT_DONE;
    }
}

static void set_keys(struct op *op, const chaos_record *record)
{
    op->key_count = 1;
    memcpy(op->keys[0], record->key, CHAOS_KEY_BYTES);
    if (op->kind != CHAOS_PAIR)
        return;
    op->key_count = 2;
    for (size_t i = 0; i < 2; i++)
        snprintf(op->keys[i], CHAOS_KEY_BYTES, "%.20s/%c", record->key, i ? 'b' : 'a');
}

static void read_return(struct check *check, size_t client, const chaos_record *record)
{
    struct op *op = check_find(check, record->op);
    if (!op || op->client != client || !op->invoked_ns) {
        check_breach(check, "answered", "client %zu: an answer to nothing", client);
        return;
    }
    if (op->returned_ns) {
        check_breach(check, "answered", "client %zu: operation %" PRIx64 " was answered twice",
                     client, op->id);
        return;
    }
    op->returned_ns = record->time_ns;
    op->status = record->status;
    op->answered = record->revision;
    op->outcome = outcome_of(op, record);
    if (op->outcome == DONE && check_writes(op)) {
        op->revision = record->revision;
        if (record->revision <= 0)
            check_breach(check, "order", "operation %" PRIx64 " has revision %" PRId64, op->id,
                         record->revision);
    }
}

static void read_client(struct check *check, size_t client)
{
    const chaos_client_history *history = &check->in->clients[client];
    uint32_t seq = 0;
    for (size_t i = 0; i < history->count; i++) {
        const chaos_record *record = &history->records[i];
        if (record->what == CHAOS_INVOKE) {
            struct op *op = &check->ops[check->first[client] + seq++];
            *op = (struct op){.id = record->op,
                              .client = client,
                              .kind = record->kind,
                              .previous = record->previous,
                              .token = record->token,
                              .invoked_ns = record->time_ns,
                              .outcome = UNKNOWN};
            set_keys(op, record);
            if (record->op != chaos_op_id(client, seq))
                check_breach(check, "answered", "client %zu: operations are numbered wrongly",
                             client);
        } else if (record->what == CHAOS_RETURN) {
            read_return(check, client, record);
        }
    }
    for (size_t i = check->first[client]; i < check->first[client + 1]; i++) {
        struct op *op = &check->ops[i];
        op->epoch = check_epoch(check, op->invoked_ns, op->returned_ns);
        uint64_t limit_ns = (uint64_t)check->in->answer_ms * 1000000;
        if (!op->returned_ns && !history->killed_ns)
            check_breach(check, "answered", "operation %" PRIx64 " was never answered", op->id);
        else if (op->returned_ns && limit_ns && !history->paused &&
                 op->returned_ns - op->invoked_ns > limit_ns)
            check_breach(check, "answered", "operation %" PRIx64 " took %" PRIu64 " ms", op->id,
                         (op->returned_ns - op->invoked_ns) / 1000000);
    }
}

static void read_all(struct check *check)
{
    const chaos_histories *in = check->in;
    check->first = calloc(in->client_count + 1, sizeof *check->first);
    for (size_t c = 0; c < in->client_count; c++) {
        check->first[c] = check->op_count;
        for (size_t i = 0; i < in->clients[c].count; i++)
            check->op_count += in->clients[c].records[i].what == CHAOS_INVOKE;
    }
    check->first[in->client_count] = check->op_count;
    check->ops = calloc(check->op_count + 1, sizeof *check->ops);
    for (size_t c = 0; c < in->client_count; c++)
        read_client(check, c);
}

/* ---- order and reads: one pass over all invocations and answers in time ---- */

struct moment {
    uint64_t time_ns;
    struct op *op;
    bool is_return;
    int64_t floor, key_floor; /* at the invocation: what was acknowledged already */
};

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return x->is_return - y->is_return; /* at the same time: as if together */
}

/* The greatest revision of an acknowledged write of each key so far. */
struct key_floor {
    char key[CHAOS_KEY_BYTES];
    int64_t revision;
    bool deletable; /* somebody tried to delete it */
};

struct floors {
    struct key_floor *items;
    size_t count;
    int64_t all;
};

static struct key_floor *floor_of(struct floors *floors, const char *key)
{
    for (size_t i = 0; i < floors->count; i++)
        if (!strcmp(floors->items[i].key, key))
            return &floors->items[i];
    floors->items = realloc(floors->items, (floors->count + 1) * sizeof *floors->items);
    struct key_floor *item = &floors->items[floors->count++];
    *item = (struct key_floor){.revision = 0};
    memcpy(item->key, key, CHAOS_KEY_BYTES);
    return item;
}

static void note_return(struct check *check, struct floors *floors, const struct moment *invoked,
                        const struct op *op)
{
    struct key_floor *key = floor_of(floors, op->keys[0]);
    if (op->kind == CHAOS_GET) {
        bool missing = op->status == FW_ENOTFOUND;
        bool known = !op->status || (missing && !key->deletable);
        if (known && op->answered < invoked->key_floor)
            check_breach(check, "read",
                         "operation %" PRIx64 " read %s at %" PRId64 ", but %" PRId64
                         " was acknowledged before",
                         op->id, op->keys[0], op->answered, invoked->key_floor);
        return;
    }
    if (op->outcome != DONE)
        return;
    if (op->revision <= invoked->floor)
        check_breach(check, "order",
                     "operation %" PRIx64 " has revision %" PRId64 ", but %" PRId64
                     " was acknowledged before it was asked for",
                     op->id, op->revision, invoked->floor);
    if (op->revision > floors->all)
        floors->all = op->revision;
    for (size_t i = 0; i < op->key_count; i++) {
        struct key_floor *floor = floor_of(floors, op->keys[i]);
        if (op->revision > floor->revision)
            floor->revision = op->revision;
    }
}

static void check_real_time(struct check *check, enum epoch epoch)
{
    struct moment *moments = calloc(2 * check->op_count + 1, sizeof *moments);
    struct moment **invoked = calloc(check->op_count + 1, sizeof *invoked);
    struct floors floors = {.count = 0};
    size_t count = 0;
    for (size_t i = 0; i < check->op_count; i++) {
        struct op *op = &check->ops[i];
        if (op->kind == CHAOS_DELETE || op->kind == CHAOS_LEASED)
            floor_of(&floors, op->keys[0])->deletable = true;
        if (op->epoch != epoch)
            continue;
        moments[count++] = (struct moment){.time_ns = op->invoked_ns, .op = op};
        if (op->returned_ns)
            moments[count++] =
                (struct moment){.time_ns = op->returned_ns, .op = op, .is_return = true};
    }
    qsort(moments, count, sizeof *moments, by_time);
    for (size_t i = 0; i < count; i++) {
        struct op *op = moments[i].op;
        size_t index = (size_t)(op - check->ops);
        if (moments[i].is_return) {
            note_return(check, &floors, invoked[index], op);
        } else {
            moments[i].floor = floors.all;
            moments[i].key_floor = floor_of(&floors, op->keys[0])->revision;
            invoked[index] = &moments[i];
        }
    }
    free(floors.items);
    free(invoked);
    free(moments);
}

static int by_revision(const void *a, const void *b)
{
    const struct op *x = *(struct op *const *)a, *y = *(struct op *const *)b;
    return (x->revision > y->revision) - (x->revision < y->revision);
}

/* What is known to have happened in an epoch, in the order of revisions; to be freed. */
static struct op **happened(const struct check *check, enum epoch epoch, size_t *ret_count)
{
    struct op **ops = calloc(check->op_count + 1, sizeof *ops);
    *ret_count = 0;
    for (size_t i = 0; i < check->op_count; i++)
        if (check->ops[i].epoch == epoch && check->ops[i].revision > 0)
            ops[(*ret_count)++] = &check->ops[i];
    qsort(ops, *ret_count, sizeof(struct op *), by_revision);
    return ops;
}

/* ---- compare-and-swap ---- */

/* The last before ops[at] that wrote its key. */
static const struct op *before(struct op *const *ops, size_t at)
{
    for (size_t i = at; i-- > 0;)
        if (check_has_key(ops[i], ops[at]->keys[0]))
            return ops[i];
    return NULL;
}

static bool may_be_deleted(const struct check *check, const char *key)
{
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *op = &check->ops[i];
        if (check_has_key(op, key) && op->outcome == UNKNOWN && !op->revision &&
            op->kind == CHAOS_DELETE)
            return true;
    }
    return false;
}

static void check_order_of(struct check *check, enum epoch epoch)
{
    size_t count;
    struct op **ops = happened(check, epoch, &count);
    for (size_t i = 0; i < count; i++) {
        const struct op *op = ops[i];
        if (i && ops[i - 1]->revision == op->revision)
            check_breach(check, "order",
                         "operations %" PRIx64 " and %" PRIx64 " have the same revision %" PRId64,
                         ops[i - 1]->id, op->id, op->revision);
        const struct op *last = op->kind == CHAOS_CAS ? before(ops, i) : NULL;
        if (!last)
            continue;
        bool there = last->kind != CHAOS_DELETE && !may_be_deleted(check, op->keys[0]);
        if (op->previous ? last->revision > op->previous : there)
            check_breach(check, "compare",
                         "operation %" PRIx64 " replaced %s at %" PRId64 " (its revision %" PRId64
                         "), but %" PRIx64 " had changed it at %" PRId64,
                         op->id, op->keys[0], op->previous, op->revision, last->id, last->revision);
    }
    free(ops);
}

/* ---- what is left in the store ---- */

static const chaos_pair *final_of(const struct check *check, const char *key)
{
    for (size_t i = 0; i < check->in->final_count; i++)
        if (!strcmp(check->in->final[i].key, key))
            return &check->in->final[i];
    return NULL;
}

static bool was_deleted_after(const struct check *check, const char *key, int64_t revision)
{
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *op = &check->ops[i];
        if (op->kind == CHAOS_DELETE && check_has_key(op, key) && op->outcome != NOT_DONE &&
            (!op->revision || op->revision > revision))
            return true;
    }
    return false;
}

static void check_durable(struct check *check)
{
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *op = &check->ops[i];
        if (op->outcome != DONE || op->epoch != AFTER_WIPE || !check_writes(op) ||
            op->kind == CHAOS_DELETE)
            continue;
        for (size_t k = 0; k < op->key_count; k++) {
            const chaos_pair *pair = final_of(check, op->keys[k]);
            bool lost = pair ? pair->revision < op->revision
                             : op->kind != CHAOS_LEASED &&
                                   !was_deleted_after(check, op->keys[k], op->revision);
            if (lost || (pair && pair->revision == op->revision && pair->op != op->id))
                check_breach(check, "durable",
                             "operation %" PRIx64 " wrote %s at %" PRId64
                             " and was acknowledged, but the store has %" PRIx64 " of %" PRId64,
                             op->id, op->keys[k], op->revision, pair ? pair->op : 0,
                             pair ? pair->revision : 0);
        }
    }
}

static void check_final(struct check *check)
{
    for (size_t i = 0; i < check->in->final_count; i++) {
        const chaos_pair *pair = &check->in->final[i];
        if (!check_is_data(pair->key))
            continue;
        struct op *op = check_find(check, pair->op);
        if (!op || !check_has_key(op, pair->key) || !check_writes(op) ||
            (op->outcome == DONE && op->revision != pair->revision))
            check_breach(check, "unwritten",
                         "the store has %s=%" PRIx64 " of %" PRId64
                         ", which nobody has written there",
                         pair->key, pair->op, pair->revision);
        else if (op->outcome == NOT_DONE)
            check_breach(check, "not-done", "the store has %s of operation %" PRIx64 ", which %s",
                         pair->key, op->id, "was answered as not done");
        else if (!op->revision)
            op->revision = pair->revision;
    }
}

size_t chaos_check(const chaos_histories *histories, FILE *out)
{
    struct check check = {.in = histories, .out = out};
    read_all(&check);
    check_final(&check);
    check_watches(&check);
    check_durable(&check);
    for (enum epoch epoch = BEFORE_WIPE; epoch <= AFTER_WIPE; epoch++) {
        check_real_time(&check, epoch);
        check_order_of(&check, epoch);
    }
    check_locks(&check);
    check_leases(&check);
    if (check.breaches > MAX_PRINTED)
        fprintf(out, "... and %zu more\n", check.breaches - MAX_PRINTED);
    free(check.first);
    free(check.ops);
    return check.breaches;
}
