/*
 * Transactions: the contract's in etcd's words. Two things differ. etcd does the operations of a
 * branch one after the other, so that a read behind a write sees it: reads are put first, and
 * answered in the order they were asked in. And a comparison of values is false for a key that is
 * missing, of revisions is with 0: that is the same in both.
 */
#include "etcd.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct compare {
    Epb__Compare message;
    fwi_etcd_keys keys;
};

struct operation {
    Epb__RequestOp message;
    union {
        Epb__RangeRequest range;
        Epb__PutRequest put;
        Epb__DeleteRequest deletion;
    } request;
    fwi_etcd_keys keys;
};

/* A transaction as etcd's message, with all that the message points to. */
struct txn {
    const fwi_etcd_client *client;
    Epb__TxnRequest message;
    struct compare *compares;
    struct operation *then, *otherwise;
    size_t compare_count, then_count, otherwise_count; /* made so far */
};

struct job {
    fwi_etcd_client *client;
    fwi_kv_op *op;
};

/* ---- the request ---- */

static void txn_fini(struct txn *txn)
{
    for (size_t i = 0; i < txn->compare_count; i++)
        fwi_etcd_keys_fini(&txn->compares[i].keys);
    for (size_t i = 0; i < txn->then_count; i++)
        fwi_etcd_keys_fini(&txn->then[i].keys);
    for (size_t i = 0; i < txn->otherwise_count; i++)
        fwi_etcd_keys_fini(&txn->otherwise[i].keys);
    free(txn->compares);
    free(txn->then);
    free(txn->otherwise);
    free(txn->message.compare);
    free(txn->message.success);
    free(txn->message.failure);
}

static ProtobufCBinaryData bytes_of(fw_slice slice)
{
    return (ProtobufCBinaryData){slice.len, (uint8_t *)slice.data};
}

static bool add_compare(struct txn *txn, const fw_kv_compare *from)
{
    static const Epb__Compare__Result results[] = {
        [FW_KV_EQUAL] = EPB__COMPARE__RESULT__EQUAL,
        [FW_KV_NOT_EQUAL] = EPB__COMPARE__RESULT__NOT_EQUAL,
        [FW_KV_LESS] = EPB__COMPARE__RESULT__LESS,
        [FW_KV_GREATER] = EPB__COMPARE__RESULT__GREATER,
    };
    struct compare *compare = &txn->compares[txn->compare_count];
    if (!fwi_etcd_keys_init(&compare->keys, txn->client, from->key, false))
        return false;
    epb__compare__init(&compare->message);
    compare->message.key = compare->keys.key;
    compare->message.result = results[from->relation];
    if (from->by_value) {
        compare->message.target = EPB__COMPARE__TARGET__VALUE;
        compare->message.operand_case = EPB__COMPARE__OPERAND_VALUE;
        compare->message.value = bytes_of(from->value);
    } else {
        compare->message.target = EPB__COMPARE__TARGET__MOD;
        compare->message.operand_case = EPB__COMPARE__OPERAND_MOD_REVISION;
        compare->message.mod_revision = from->revision;
    }
    txn->message.compare[txn->compare_count++] = &compare->message;
    return true;
}

static bool fill_operation(const struct txn *txn, const fwi_kv_txn_op *from,
                           struct operation *operation)
{
    if (!fwi_etcd_keys_init(&operation->keys, txn->client, from->key, false))
        return false;
    Epb__RequestOp *message = &operation->message;
    epb__request_op__init(message);
    switch (from->type) {
    case FW_KV_TXN_GET:
        epb__range_request__init(&operation->request.range);
        operation->request.range.key = operation->keys.key;
        message->request_case = EPB__REQUEST_OP__REQUEST_RANGE;
        message->range = &operation->request.range;
        break;
    case FW_KV_TXN_PUT:
        epb__put_request__init(&operation->request.put);
        operation->request.put.key = operation->keys.key;
        operation->request.put.value = bytes_of(from->value);
        operation->request.put.lease = from->lease;
        message->request_case = EPB__REQUEST_OP__REQUEST_PUT;
        message->put = &operation->request.put;
        break;
    case FW_KV_TXN_DELETE:
        epb__delete_request__init(&operation->request.deletion);
        operation->request.deletion.key = operation->keys.key;
        message->request_case = EPB__REQUEST_OP__REQUEST_DELETE_RANGE;
        message->delete_range = &operation->request.deletion;
        break;
    }
    return true;
}

/* Adds the reads of a branch, or its writes. */
static bool add_operations(const struct txn *txn, const fwi_kv_branch *from, bool reads,
                           struct operation *operations, Epb__RequestOp **list, size_t *count)
{
    for (size_t i = 0; i < from->count; i++) {
        if ((from->ops[i].type == FW_KV_TXN_GET) != reads)
            continue;
        if (!fill_operation(txn, &from->ops[i], &operations[*count]))
            return false;
        list[*count] = &operations[*count].message;
        ++*count;
    }
    return true;
}

static bool add_branch(const struct txn *txn, const fwi_kv_branch *from,
                       struct operation *operations, Epb__RequestOp **list, size_t *count)
{
    return add_operations(txn, from, true, operations, list, count) &&
           add_operations(txn, from, false, operations, list, count);
}

/* False: no memory; to be ended with txn_fini in any case. */
static bool txn_init(struct txn *txn, const fwi_etcd_client *client, const fwi_kv_txn *from)
{
    *txn = (struct txn){.client = client, .message = EPB__TXN_REQUEST__INIT};
    Epb__TxnRequest *message = &txn->message;
    txn->compares = calloc(from->compare_count + 1, sizeof *txn->compares);
    txn->then = calloc(from->then.count + 1, sizeof *txn->then);
    txn->otherwise = calloc(from->otherwise.count + 1, sizeof *txn->otherwise);
    message->compare = calloc(from->compare_count + 1, sizeof(Epb__Compare *));
    message->success = calloc(from->then.count + 1, sizeof(Epb__RequestOp *));
    message->failure = calloc(from->otherwise.count + 1, sizeof(Epb__RequestOp *));
    if (!txn->compares || !txn->then || !txn->otherwise || !message->compare || !message->success ||
        !message->failure)
        return false;
    for (size_t i = 0; i < from->compare_count; i++)
        if (!add_compare(txn, &from->compares[i]))
            return false;
    bool added =
        add_branch(txn, &from->then, txn->then, message->success, &txn->then_count) &&
        add_branch(txn, &from->otherwise, txn->otherwise, message->failure, &txn->otherwise_count);
    message->n_compare = txn->compare_count;
    message->n_success = txn->then_count;
    message->n_failure = txn->otherwise_count;
    return added;
}

/* ---- the answer ---- */

/* Adds the pair that a GET asked for. */
static int add_pair(fwi_kv_op *op, const char *key, const Epb__ReplyOp *reply)
{
    if (reply->reply_case != EPB__REPLY_OP__REPLY_RANGE)
        return FW_ESTORE;
    if (!reply->range->n_kvs)
        return fwi_kv_pairs_add(&op->pairs, key, strlen(key), (fw_slice){"", 0}, 0, 0);
    const Epb__Pair *pair = reply->range->kvs[0];
    return fwi_kv_pairs_add(&op->pairs, key, strlen(key),
                            (fw_slice){pair->value.data, pair->value.len}, pair->mod_revision,
                            pair->lease);
}

static int take_reply(fwi_kv_op *op, const Epb__TxnReply *reply)
{
    const fwi_kv_branch *branch = reply->succeeded ? &op->txn->then : &op->txn->otherwise;
    size_t answered = 0;
    op->revision = reply->header ? reply->header->revision : 0;
    op->succeeded = reply->succeeded;
    for (size_t i = 0; i < branch->count; i++) {
        if (branch->ops[i].type != FW_KV_TXN_GET)
            continue;
        int err = answered < reply->n_replies
                      ? add_pair(op, branch->ops[i].key, reply->replies[answered++])
                      : FW_ESTORE;
        if (err)
            return err;
    }
    return FW_OK;
}

static void on_answer(const fwi_etcd_answer *answer, void *arg)
{
    struct job *job = arg;
    fwi_kv_op *op = job->op;
    free(job);
    if (answer->status) {
        fwi_kv_op_finish(op, answer->status, answer->detail);
        return;
    }
    Epb__TxnReply *reply = epb__txn_reply__unpack(NULL, answer->message.len, answer->message.data);
    int status = reply ? take_reply(op, reply) : FW_ESTORE;
    epb__txn_reply__free_unpacked(reply, NULL);
    /* What was written is written, whatever became of its answer. */
    if (status && fwi_kv_op_is_write(op))
        status = FW_EUNKNOWN;
    fwi_kv_op_finish(op, status, status ? "malformed reply, or no memory for it" : NULL);
}

void fwi_etcd_txn(fwi_etcd_client *client, fwi_kv_op *op)
{
    struct txn txn;
    fwi_etcd_request *request;
    struct job *job = malloc(sizeof *job);
    int err = UV_ENOMEM;
    if (txn_init(&txn, client, op->txn) && job) {
        *job = (struct job){client, op};
        fwi_etcd_request_options options = {.method = FWI_ETCD_TXN,
                                            .message = &txn.message.base,
                                            .deadline_ms = op->deadline_ms,
                                            .repeatable = !fwi_kv_op_is_write(op),
                                            .fn = on_answer,
                                            .arg = job};
        err = fwi_etcd_request_start(client, &options, &request);
    }
    txn_fini(&txn);
    if (!err)
        return;
    free(job);
    fwi_kv_op_finish(op, err, NULL);
}
