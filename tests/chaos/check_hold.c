/*
 * The checker: locks and leases.
 *
 *     token       tokens are unique, and grow: who asks after somebody has acquired gets a greater
 *     fence       guarded writes happen in the order of their tokens; none with an older token is
 *                 acknowledged that was asked for after a newer one had been given
 *     exclusion   two clients that were awake never believed at the same time to hold the lock
 *     told        a holder whose lock was given to another has been told
 *     lease       under a lease that is held, the pair is there; under one that ended, none is
 */
#include "checker.h"

#include <inttypes.h>

/* Loops and threads of a busy machine come late, so that what was seen may be told later. */
#define LATE_NS UINT64_C(1500000000)

struct holding {
    size_t client;
    uint64_t asked_ns, acquired_ns, end_ns; /* end: UINT64_MAX: none was told, none was asked for */
    int64_t token;
};

struct holdings {
    struct holding *items;
    size_t count;
};

static void collect(struct holdings *holdings, const chaos_client_history *history, size_t client)
{
    struct holding *current = NULL;
    uint64_t asked_ns = 0;
    for (size_t i = 0; i < history->count; i++) {
        const chaos_record *record = &history->records[i];
        switch (record->what) {
        case CHAOS_LOCK_ASKED:
            asked_ns = record->time_ns;
            current = NULL;
            break;
        case CHAOS_LOCK_ACQUIRED:
            holdings->items =
                realloc(holdings->items, (holdings->count + 1) * sizeof *holdings->items);
            current = &holdings->items[holdings->count++];
            *current = (struct holding){.client = client,
                                        .asked_ns = asked_ns,
                                        .acquired_ns = record->time_ns,
                                        .end_ns = UINT64_MAX,
                                        .token = record->token};
            break;
        case CHAOS_LOCK_LOST:
        case CHAOS_LOCK_RELEASED:
            if (current && current->end_ns == UINT64_MAX)
                current->end_ns = record->time_ns;
            break;
        default:
            break;
        }
    }
    if (current && current->end_ns == UINT64_MAX && history->killed_ns)
        current->end_ns = history->killed_ns;
}

static void check_two(struct check *check, const struct holding *a, const struct holding *b)
{
    const chaos_client_history *clients = check->in->clients;
    bool wiped = check_epoch(check, a->acquired_ns, a->acquired_ns) !=
                 check_epoch(check, b->asked_ns, b->acquired_ns);
    if (a->token == b->token && !wiped)
        check_breach(check, "token", "clients %zu and %zu both have %" PRId64, a->client, b->client,
                     a->token);
    if (a->acquired_ns < b->asked_ns && a->token > b->token && !wiped)
        check_breach(check, "token", "client %zu got %" PRId64 " after client %zu had got %" PRId64,
                     b->client, b->token, a->client, a->token);
    if (a->client == b->client || b->acquired_ns < a->acquired_ns)
        return;
    if (a->end_ns == UINT64_MAX)
        check_breach(check, "told",
                     "client %zu has %" PRId64 ", client %zu got %" PRId64
                     ", and the former was never told",
                     a->client, a->token, b->client, b->token);
    else if (a->end_ns > b->acquired_ns + LATE_NS && !clients[a->client].paused)
        check_breach(check, "exclusion",
                     "client %zu held %" PRId64 " for %" PRIu64 " ms after client %zu got %" PRId64,
                     a->client, a->token, (a->end_ns - b->acquired_ns) / 1000000, b->client,
                     b->token);
}

static int by_revision(const void *a, const void *b)
{
    const struct op *x = *(struct op *const *)a, *y = *(struct op *const *)b;
    return (x->revision > y->revision) - (x->revision < y->revision);
}

static void check_order(struct check *check, enum epoch epoch)
{
    struct op **ops = calloc(check->op_count + 1, sizeof *ops);
    size_t count = 0;
    for (size_t i = 0; i < check->op_count; i++) {
        struct op *op = &check->ops[i];
        if (op->kind == CHAOS_GUARDED && op->revision > 0 && op->epoch == epoch)
            ops[count++] = op;
    }
    qsort(ops, count, sizeof(struct op *), by_revision);
    for (size_t i = 1; i < count; i++)
        if (ops[i]->token < ops[i - 1]->token)
            check_breach(check, "fence",
                         "operation %" PRIx64 " with token %" PRId64 " happened after %" PRIx64
                         " with token %" PRId64,
                         ops[i]->id, ops[i]->token, ops[i - 1]->id, ops[i - 1]->token);
    free(ops);
}

static void check_fence(struct check *check, const struct holdings *holdings)
{
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *op = &check->ops[i];
        if (op->kind != CHAOS_GUARDED || op->outcome != DONE)
            continue;
        for (size_t k = 0; k < holdings->count; k++) {
            const struct holding *holding = &holdings->items[k];
            if (holding->token > op->token && holding->acquired_ns < op->invoked_ns &&
                op->epoch == check_epoch(check, holding->asked_ns, holding->acquired_ns)) {
                check_breach(check, "fence",
                             "operation %" PRIx64 " with token %" PRId64
                             " was done, although client %zu had got %" PRId64 " before",
                             op->id, op->token, holding->client, holding->token);
                break;
            }
        }
    }
}

void check_locks(struct check *check)
{
    struct holdings holdings = {.count = 0};
    for (size_t client = 0; client < check->in->client_count; client++)
        collect(&holdings, &check->in->clients[client], client);
    for (size_t i = 0; i < holdings.count; i++) {
        if (holdings.items[i].token <= 0)
            check_breach(check, "token", "client %zu got %" PRId64, holdings.items[i].client,
                         holdings.items[i].token);
        for (size_t k = 0; k < holdings.count; k++)
            if (i != k)
                check_two(check, &holdings.items[i], &holdings.items[k]);
    }
    check_order(check, BEFORE_WIPE);
    check_order(check, AFTER_WIPE);
    check_fence(check, &holdings);
    free(holdings.items);
}

/* ---- leases ---- */

/* True if by the records of its owner the lease is held at the end. */
static bool is_held(const struct check *check, size_t client, int64_t lease)
{
    const chaos_client_history *history = &check->in->clients[client];
    bool held = false;
    for (size_t i = 0; i < history->count; i++) {
        const chaos_record *record = &history->records[i];
        if (record->token != lease || record->time_ns > check->in->final_ns)
            continue;
        held |= record->what == CHAOS_LEASE_GRANTED;
        if (record->what == CHAOS_LEASE_LOST || record->what == CHAOS_LEASE_RELEASED)
            return false;
    }
    return held && !history->killed_ns;
}

void check_leases(struct check *check)
{
    const chaos_histories *in = check->in;
    for (size_t i = 0; i < check->op_count; i++) {
        const struct op *op = &check->ops[i];
        if (op->kind != CHAOS_LEASED)
            continue;
        const chaos_pair *pair = NULL;
        for (size_t k = 0; k < in->final_count; k++)
            if (!strcmp(in->final[k].key, op->keys[0]))
                pair = &in->final[k];
        bool held = is_held(check, op->client, op->token);
        if (held && op->outcome == DONE && (!pair || pair->revision < op->revision))
            check_breach(check, "lease",
                         "client %zu holds lease %" PRIx64 ", but %s of operation %" PRIx64
                         " is gone",
                         op->client, op->token, op->keys[0], op->id);
        if (!held && pair && pair->op == op->id)
            check_breach(check, "lease", "lease %" PRIx64 " of client %zu has ended, %s is there",
                         op->token, op->client, op->keys[0]);
    }
}
