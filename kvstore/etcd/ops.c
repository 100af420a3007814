/*
 * Operations: each is one request (a transaction: txn.c), but for a list (pages) and a put with a
 * time to live, which is a grant and the put. If the put does not happen the fresh lease is
 * revoked; if nobody knows whether it happened, the lease is left to run out, and the pair with it,
 * if there is one.
 *
 * The else-branch of a transaction reads the key, so that the reason of a refusal is of the same
 * revision as the refusal.
 */
#include "etcd.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct job {
    fwi_etcd_client *client;
    fwi_kv_op *op;
    fwi_etcd_keys keys;
    int64_t fresh_lease; /* granted for this put's time to live; 0: none */
};

static void job_finish(struct job *job, int status, const char *detail)
{
    fwi_kv_op *op = job->op;
    fwi_etcd_keys_fini(&job->keys);
    free(job);
    fwi_kv_op_finish(op, status, detail);
}

static int ask(struct job *job, fwi_etcd_method method, const ProtobufCMessage *message,
               bool repeatable, fwi_etcd_answer_fn fn)
{
    fwi_etcd_request *request; /* ends by itself, or with the client */
    fwi_etcd_request_options options = {.method = method,
                                        .message = message,
                                        .deadline_ms = job->op->deadline_ms,
                                        .repeatable = repeatable,
                                        .fn = fn,
                                        .arg = job};
    return fwi_etcd_request_start(job->client, &options, &request);
}

/* ---- the fresh lease of a put that failed ---- */

static void on_revoked(const fwi_etcd_answer *answer, void *arg)
{
    (void)answer; /* if it did not work the lease runs out by itself */
    (void)arg;
}

static void revoke_fresh(const struct job *job)
{
    Epb__LeaseRequest lease = EPB__LEASE_REQUEST__INIT;
    lease.id = job->fresh_lease;
    fwi_etcd_request *request;
    fwi_etcd_request_options options = {.method = FWI_ETCD_REVOKE,
                                        .message = &lease.base,
                                        .deadline_ms = fw_loop_now_ms(job->client->loop) +
                                                       fwi_kv_timeout_ms(job->client->kv),
                                        .repeatable = true,
                                        .fn = on_revoked};
    if (fwi_etcd_request_start(job->client, &options, &request))
        return; /* closing, or no memory: as above */
}

static void write_finish(struct job *job, int status, const char *detail)
{
    if (job->fresh_lease && status && status != FW_EUNKNOWN)
        revoke_fresh(job);
    job_finish(job, status, detail);
}

/* ---- answers ---- */

static void take_revision(struct job *job, const Epb__Header *header)
{
    job->op->revision = header ? header->revision : 0;
}

static const char *const malformed = "malformed reply";

static void on_put(const fwi_etcd_answer *answer, void *arg)
{
    struct job *job = arg;
    if (answer->status) {
        write_finish(job, answer->status, answer->detail);
        return;
    }
    Epb__PutReply *reply = epb__put_reply__unpack(NULL, answer->message.len, answer->message.data);
    if (reply)
        take_revision(job, reply->header);
    job_finish(job, reply ? FW_OK : FW_EUNKNOWN, reply ? NULL : malformed);
    epb__put_reply__free_unpacked(reply, NULL);
}

static void on_delete(const fwi_etcd_answer *answer, void *arg)
{
    struct job *job = arg;
    if (answer->status) {
        job_finish(job, answer->status, answer->detail);
        return;
    }
    Epb__DeleteReply *reply =
        epb__delete_reply__unpack(NULL, answer->message.len, answer->message.data);
    int status = FW_EUNKNOWN;
    if (reply) {
        take_revision(job, reply->header);
        bool tree = job->op->type == FWI_KV_DELETE_TREE;
        job->op->count = tree ? (size_t)reply->deleted : 0;
        status = tree || reply->deleted ? FW_OK : FW_ENOTFOUND;
    }
    job_finish(job, status, reply ? NULL : malformed);
    epb__delete_reply__free_unpacked(reply, NULL);
}

/* What a transaction's reply means for the operation. */
static int txn_status(const fwi_kv_op *op, const Epb__TxnReply *reply)
{
    const Epb__ReplyOp *first = reply->n_replies ? reply->replies[0] : NULL;
    if (reply->succeeded) {
        /* A delete with previous 0 succeeds on a key that does not exist. */
        bool nothing = first && first->reply_case == EPB__REPLY_OP__REPLY_DELETE_RANGE &&
                       !first->delete_range->deleted;
        return nothing ? FW_ENOTFOUND : FW_OK;
    }
    if (!first || first->reply_case != EPB__REPLY_OP__REPLY_RANGE)
        return FW_ESTORE;
    if (!first->range->n_kvs)
        return FW_ENOTFOUND;
    return op->type == FWI_KV_ATOMIC_PUT && !op->previous ? FW_EEXISTS : FW_EMODIFIED;
}

static void on_txn(const fwi_etcd_answer *answer, void *arg)
{
    struct job *job = arg;
    if (answer->status) {
        write_finish(job, answer->status, answer->detail);
        return;
    }
    Epb__TxnReply *reply = epb__txn_reply__unpack(NULL, answer->message.len, answer->message.data);
    int status = FW_EUNKNOWN;
    if (reply) {
        take_revision(job, reply->header);
        status = txn_status(job->op, reply);
    }
    write_finish(job, status, reply ? NULL : malformed);
    epb__txn_reply__free_unpacked(reply, NULL);
}

static int take_range(struct job *job, fw_slice message)
{
    fwi_kv_op *op = job->op;
    fwi_etcd_range range;
    fwi_etcd_pair pair;
    if (!fwi_etcd_range_init(&range, message))
        return FW_ESTORE;
    op->revision = range.revision;
    if (op->type == FWI_KV_EXISTS) {
        op->count = range.count ? 1 : 0;
        return FW_OK;
    }
    if (!fwi_etcd_range_next(&range, &pair))
        return range.pairs.bad ? FW_ESTORE : FW_ENOTFOUND;
    return fwi_kv_pairs_add(&op->pairs, op->key, strlen(op->key), pair.value, pair.revision,
                            pair.lease);
}

static void on_range(const fwi_etcd_answer *answer, void *arg)
{
    struct job *job = arg;
    int status = answer->status;
    if (!status)
        status = take_range(job, answer->message);
    job_finish(job, status, answer->detail);
}

static void on_list(const fwi_etcd_listing *listing, void *arg)
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

static void fill_put(const struct job *job, Epb__PutRequest *put)
{
    put->key = job->keys.key;
    put->value = (ProtobufCBinaryData){job->op->value.len, (uint8_t *)job->op->value.data};
    put->lease = job->fresh_lease ? job->fresh_lease : job->op->lease;
}

/* Compares, then does what `success` says, else reads the key. */
static int ask_txn(struct job *job, Epb__RequestOp *success)
{
    Epb__Compare compare = EPB__COMPARE__INIT;
    compare.key = job->keys.key;
    if (job->op->previous || job->op->type == FWI_KV_ATOMIC_DELETE) {
        compare.target = EPB__COMPARE__TARGET__MOD;
        compare.operand_case = EPB__COMPARE__OPERAND_MOD_REVISION;
        compare.mod_revision = job->op->previous;
    } else {
        compare.target = EPB__COMPARE__TARGET__CREATE;
        compare.operand_case = EPB__COMPARE__OPERAND_CREATE_REVISION;
    }
    Epb__RangeRequest range = EPB__RANGE_REQUEST__INIT;
    range.key = job->keys.key;
    range.keys_only = true;
    Epb__RequestOp failure = EPB__REQUEST_OP__INIT;
    failure.request_case = EPB__REQUEST_OP__REQUEST_RANGE;
    failure.range = &range;
    Epb__Compare *compares[] = {&compare};
    Epb__RequestOp *successes[] = {success}, *failures[] = {&failure};
    Epb__TxnRequest txn = EPB__TXN_REQUEST__INIT;
    txn.n_compare = txn.n_success = txn.n_failure = 1;
    txn.compare = compares;
    txn.success = successes;
    txn.failure = failures;
    return ask(job, FWI_ETCD_TXN, &txn.base, false, on_txn);
}

static int ask_put(struct job *job)
{
    Epb__PutRequest put = EPB__PUT_REQUEST__INIT;
    fill_put(job, &put);
    if (job->op->type == FWI_KV_PUT)
        return ask(job, FWI_ETCD_PUT, &put.base, false, on_put);
    Epb__RequestOp success = EPB__REQUEST_OP__INIT;
    success.request_case = EPB__REQUEST_OP__REQUEST_PUT;
    success.put = &put;
    return ask_txn(job, &success);
}

static int ask_delete(struct job *job)
{
    Epb__DeleteRequest deletion = EPB__DELETE_REQUEST__INIT;
    deletion.key = job->keys.key;
    deletion.range_end = job->keys.end;
    if (job->op->type != FWI_KV_ATOMIC_DELETE)
        return ask(job, FWI_ETCD_DELETE, &deletion.base, false, on_delete);
    Epb__RequestOp success = EPB__REQUEST_OP__INIT;
    success.request_case = EPB__REQUEST_OP__REQUEST_DELETE_RANGE;
    success.delete_range = &deletion;
    return ask_txn(job, &success);
}

static int ask_range(struct job *job)
{
    Epb__RangeRequest range = EPB__RANGE_REQUEST__INIT;
    range.key = job->keys.key;
    range.count_only = job->op->type == FWI_KV_EXISTS;
    return ask(job, FWI_ETCD_RANGE, &range.base, true, on_range);
}

static void on_granted(const fwi_etcd_answer *answer, void *arg)
{
    struct job *job = arg;
    int status = answer->status;
    if (status) {
        job_finish(job, status, answer->detail);
        return;
    }
    Epb__LeaseGrantReply *reply =
        epb__lease_grant_reply__unpack(NULL, answer->message.len, answer->message.data);
    job->fresh_lease = reply ? reply->id : 0;
    epb__lease_grant_reply__free_unpacked(reply, NULL);
    status = job->fresh_lease ? ask_put(job) : FW_ESTORE;
    if (status)
        write_finish(job, status, NULL);
}

/* Granting twice leaves a lease without keys, which runs out: so it may be retried. */
static int ask_grant(struct job *job)
{
    Epb__LeaseGrantRequest grant = EPB__LEASE_GRANT_REQUEST__INIT;
    grant.ttl = fwi_etcd_ttl_s(job->op->ttl_ms);
    return ask(job, FWI_ETCD_GRANT, &grant.base, true, on_granted);
}

static int begin(struct job *job)
{
    fwi_kv_op *op = job->op;
    fwi_etcd_list *list;
    switch (op->type) {
    case FWI_KV_PUT:
    case FWI_KV_ATOMIC_PUT:
        return op->ttl_ms ? ask_grant(job) : ask_put(job);
    case FWI_KV_GET:
    case FWI_KV_EXISTS:
        return ask_range(job);
    case FWI_KV_DELETE:
    case FWI_KV_DELETE_TREE:
    case FWI_KV_ATOMIC_DELETE:
        return ask_delete(job);
    case FWI_KV_LIST:
        return fwi_etcd_list_start(job->client, op->key, true, op->deadline_ms, false, on_list, job,
                                   &list);
    case FWI_KV_TXN:     /* see fwi_etcd_submit */
    case FWI_KV_ENQUEUE: /* the front does it */
        break;
    }
    return FW_EUNSUPPORTED;
}

void fwi_etcd_submit(void *store, fwi_kv_op *op)
{
    fwi_etcd_client *client = store;
    if (op->type == FWI_KV_TXN) {
        fwi_etcd_txn(client, op);
        return;
    }
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    *job = (struct job){.client = client, .op = op};
    bool tree = op->type == FWI_KV_DELETE_TREE;
    int err = fwi_etcd_keys_init(&job->keys, client, op->key, tree) ? begin(job) : UV_ENOMEM;
    if (err)
        job_finish(job, err, NULL);
}
