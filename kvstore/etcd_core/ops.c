/*
 * Operations: each is one request, but for a list (pages) and a put with a time to live, which is a
 * grant and the put. If the put does not happen the fresh lease is revoked; if nobody knows whether
 * it happened, the lease is left to run out, and the pair with it, if there is one.
 *
 * The else-branch of an atomic operation reads the key, so that the reason of a refusal is of the
 * same revision as the refusal.
 */
#include "etcd_core.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct job {
    fwi_ec_store *store;
    fwi_kv_op *op;
    fwi_ec_keys keys;
    int64_t fresh_lease; /* granted for this put's time to live; 0: none */
};

static const char *const malformed = "malformed reply";

static void job_finish(struct job *job, int status, const char *detail)
{
    fwi_kv_op *op = job->op;
    fwi_ec_keys_fini(&job->keys);
    free(job);
    fwi_kv_op_finish(op, status, detail);
}

/* Asks, with the operation's deadline. */
static int ask(struct job *job, fwi_ec_question question, bool repeatable, fwi_ec_answer_fn fn)
{
    void *request; /* ends by itself, or with the client */
    question.deadline_ms = job->op->deadline_ms;
    question.repeatable = repeatable;
    question.fn = fn;
    question.arg = job;
    return job->store->transport->ask(job->store, &question, &request);
}

/* ---- the fresh lease of a put that failed ---- */

static void on_revoked(const fwi_ec_answer *answer, void *arg)
{
    (void)answer; /* if it did not work the lease runs out by itself */
    (void)arg;
}

static void revoke_fresh(const struct job *job)
{
    fwi_ec_store *store = job->store;
    void *request;
    fwi_ec_question question = {.method = FWI_EC_REVOKE,
                                .lease = job->fresh_lease,
                                .deadline_ms =
                                    fw_loop_now_ms(store->loop) + fwi_kv_timeout_ms(store->kv),
                                .repeatable = true,
                                .fn = on_revoked};
    if (store->transport->ask(store, &question, &request))
        return; /* closing, or no memory: as above */
}

static void write_finish(struct job *job, int status, const char *detail)
{
    if (job->fresh_lease && status && status != FW_EUNKNOWN)
        revoke_fresh(job);
    job_finish(job, status, detail);
}

/* ---- answers ---- */

/* Of a put, or a deletion. True: it was answered well; else the job is finished. */
static bool take_change(struct job *job, const fwi_ec_answer *answer, int64_t *ret_deleted)
{
    if (answer->status)
        write_finish(job, answer->status, answer->detail);
    else if (!job->store->transport->read_change(answer->reply, &job->op->revision, ret_deleted))
        write_finish(job, FW_EUNKNOWN, malformed);
    else
        return true;
    return false;
}

static void on_put(const fwi_ec_answer *answer, void *arg)
{
    int64_t deleted;
    if (take_change(arg, answer, &deleted))
        job_finish(arg, FW_OK, NULL);
}

static void on_delete(const fwi_ec_answer *answer, void *arg)
{
    struct job *job = arg;
    int64_t deleted;
    if (!take_change(job, answer, &deleted))
        return;
    bool tree = job->op->type == FWI_KV_DELETE_TREE;
    job->op->count = tree ? (size_t)deleted : 0;
    job_finish(job, tree || deleted ? FW_OK : FW_ENOTFOUND, NULL);
}

/* What the reply to an atomic operation means for it. */
static int atomic_status(const fwi_kv_op *op, const fwi_ec_txn_reply *reply)
{
    const fwi_ec_response *first = reply->count ? &reply->responses[0] : NULL;
    if (reply->succeeded) {
        /* A delete with previous 0 succeeds on a key that does not exist. */
        bool nothing = first && first->method == FWI_EC_DELETE && !first->deleted;
        return nothing ? FW_ENOTFOUND : FW_OK;
    }
    if (!first || first->method != FWI_EC_RANGE)
        return FW_ESTORE;
    if (!first->range.has_pair)
        return FW_ENOTFOUND;
    return op->type == FWI_KV_ATOMIC_PUT && !op->previous ? FW_EEXISTS : FW_EMODIFIED;
}

static void on_atomic(const fwi_ec_answer *answer, void *arg)
{
    struct job *job = arg;
    fwi_ec_txn_reply reply;
    if (answer->status) {
        write_finish(job, answer->status, answer->detail);
    } else if (!job->store->transport->read_txn(answer->reply, &reply)) {
        write_finish(job, FW_EUNKNOWN, malformed);
    } else {
        job->op->revision = reply.revision;
        write_finish(job, atomic_status(job->op, &reply), NULL);
    }
}

static void on_txn(const fwi_ec_answer *answer, void *arg)
{
    struct job *job = arg;
    fwi_ec_txn_reply reply;
    if (answer->status) {
        job_finish(job, answer->status, answer->detail);
        return;
    }
    int status = job->store->transport->read_txn(answer->reply, &reply)
                     ? fwi_ec_txn_take(job->op, &reply)
                     : FW_ESTORE;
    /* What was written is written, whatever became of its answer. */
    if (status && fwi_kv_op_is_write(job->op))
        status = FW_EUNKNOWN;
    job_finish(job, status, status ? "malformed reply, or no memory for it" : NULL);
}

static int take_range(struct job *job, const fwi_ec_answer *answer)
{
    fwi_kv_op *op = job->op;
    fwi_ec_range range;
    if (!job->store->transport->read_range(answer->reply, &range))
        return FW_ESTORE;
    op->revision = range.revision;
    if (op->type == FWI_KV_EXISTS) {
        op->count = range.count ? 1 : 0;
        return FW_OK;
    }
    if (!range.has_pair)
        return FW_ENOTFOUND;
    return fwi_kv_pairs_add(&op->pairs, op->key, strlen(op->key), range.pair.value,
                            range.pair.revision, range.pair.lease);
}

static void on_range(const fwi_ec_answer *answer, void *arg)
{
    struct job *job = arg;
    int status = answer->status ? answer->status : take_range(job, answer);
    job_finish(job, status, status == FW_ESTORE && !answer->status ? malformed : answer->detail);
}

static void on_list(const fwi_ec_listing *listing, void *arg)
{
    struct job *job = arg;
    if (!listing->status) {
        job->op->revision = listing->revision;
        job->op->pairs = *listing->pairs;
        *listing->pairs = (fwi_kv_pairs){.count = 0};
    }
    job_finish(job, listing->status, listing->detail);
}

/* ---- requests ---- */

static fwi_ec_action put_of(const struct job *job)
{
    return (fwi_ec_action){.method = FWI_EC_PUT,
                           .key = job->keys.key,
                           .value = job->op->value,
                           .lease = job->fresh_lease ? job->fresh_lease : job->op->lease};
}

static fwi_ec_action deletion_of(const struct job *job)
{
    return (fwi_ec_action){.method = FWI_EC_DELETE, .key = job->keys.key, .end = job->keys.end};
}

/* Compares, then puts or deletes, else reads the key. */
static int ask_atomic(struct job *job)
{
    fwi_ec_compare compare = {
        .key = job->keys.key, .relation = FW_KV_EQUAL, .revision = job->op->previous};
    fwi_ec_action then = job->op->type == FWI_KV_ATOMIC_PUT ? put_of(job) : deletion_of(job);
    fwi_ec_action otherwise = {.method = FWI_EC_RANGE, .key = job->keys.key, .keys_only = true};
    fwi_ec_txn txn = {.compares = &compare,
                      .then = &then,
                      .otherwise = &otherwise,
                      .compare_count = 1,
                      .then_count = 1,
                      .otherwise_count = 1};
    fwi_ec_question question = {.method = FWI_EC_TXN, .txn = &txn};
    return ask(job, question, false, on_atomic);
}

static int ask_put(struct job *job)
{
    if (job->op->type == FWI_KV_ATOMIC_PUT)
        return ask_atomic(job);
    fwi_ec_action put = put_of(job);
    fwi_ec_question question = {.method = FWI_EC_PUT, .action = &put};
    return ask(job, question, false, on_put);
}

static int ask_delete(struct job *job)
{
    fwi_ec_action deletion = deletion_of(job);
    fwi_ec_question question = {.method = FWI_EC_DELETE, .action = &deletion};
    return ask(job, question, false, on_delete);
}

static int ask_range(struct job *job)
{
    fwi_ec_action range = {
        .method = FWI_EC_RANGE, .key = job->keys.key, .count_only = job->op->type == FWI_KV_EXISTS};
    fwi_ec_question question = {.method = FWI_EC_RANGE, .action = &range};
    return ask(job, question, true, on_range);
}

static int ask_txn(struct job *job)
{
    fwi_ec_built_txn built;
    int err = UV_ENOMEM;
    if (fwi_ec_built_txn_init(&built, job->store, job->op->txn)) {
        fwi_ec_question question = {.method = FWI_EC_TXN, .txn = &built.txn};
        err = ask(job, question, !fwi_kv_op_is_write(job->op), on_txn);
    }
    fwi_ec_built_txn_fini(&built);
    return err;
}

static void on_granted(const fwi_ec_answer *answer, void *arg)
{
    struct job *job = arg;
    int status = answer->status;
    if (status) {
        job_finish(job, status, answer->detail);
        return;
    }
    int64_t ttl_s;
    bool is_good =
        job->store->transport->read_lease(answer->reply, &job->fresh_lease, &ttl_s) && ttl_s > 0;
    if (!is_good || !job->fresh_lease) {
        job->fresh_lease = 0;
        job_finish(job, FW_ESTORE, malformed);
        return;
    }
    status = ask_put(job);
    if (status)
        write_finish(job, status, NULL);
}

/* Granting twice leaves a lease without keys, which runs out: so it may be retried. */
static int ask_grant(struct job *job)
{
    fwi_ec_question question = {.method = FWI_EC_GRANT, .ttl_s = fwi_ec_ttl_s(job->op->ttl_ms)};
    return ask(job, question, true, on_granted);
}

static int begin(struct job *job)
{
    fwi_kv_op *op = job->op;
    fwi_ec_list *list;
    switch (op->type) {
    case FWI_KV_PUT:
    case FWI_KV_ATOMIC_PUT:
        return op->ttl_ms ? ask_grant(job) : ask_put(job);
    case FWI_KV_GET:
    case FWI_KV_EXISTS:
        return ask_range(job);
    case FWI_KV_DELETE:
    case FWI_KV_DELETE_TREE:
        return ask_delete(job);
    case FWI_KV_ATOMIC_DELETE:
        return ask_atomic(job);
    case FWI_KV_LIST:
        return fwi_ec_list_start(job->store, op->key, true, op->deadline_ms, false, on_list, job,
                                 &list);
    case FWI_KV_TXN:
        return ask_txn(job);
    case FWI_KV_ENQUEUE:
        break; /* the front does it: has_queue is not set */
    }
    return FW_EUNSUPPORTED;
}

void fwi_ec_submit(void *store, fwi_kv_op *op)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    *job = (struct job){.store = store, .op = op};
    bool tree = op->type == FWI_KV_DELETE_TREE;
    int err = FW_OK;
    if (op->type != FWI_KV_TXN && !fwi_ec_keys_init(&job->keys, store, op->key, tree))
        err = UV_ENOMEM;
    if (!err)
        err = begin(job);
    if (err)
        job_finish(job, err, NULL);
}
