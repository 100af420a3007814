/*
 * What the core (kvstore/etcd_core) asks, as messages for gRPC, and what it reads of the replies.
 */
#include "streams.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

/* ---- requests ---- */

/* A range, a put or a deletion, by itself or in a transaction. */
union action {
    Epb__RangeRequest range;
    Epb__PutRequest put;
    Epb__DeleteRequest deletion;
};

static void fill_action(const fwi_ec_action *from, union action *ret_to)
{
    if (from->method == FWI_EC_PUT) {
        epb__put_request__init(&ret_to->put);
        ret_to->put.key = fwi_etcd_bytes(from->key);
        ret_to->put.value = fwi_etcd_bytes(from->value);
        ret_to->put.lease = from->lease;
    } else if (from->method == FWI_EC_DELETE) {
        epb__delete_request__init(&ret_to->deletion);
        ret_to->deletion.key = fwi_etcd_bytes(from->key);
        ret_to->deletion.range_end = fwi_etcd_bytes(from->end);
    } else {
        epb__range_request__init(&ret_to->range);
        ret_to->range.key = fwi_etcd_bytes(from->key);
        ret_to->range.range_end = fwi_etcd_bytes(from->end);
        ret_to->range.limit = from->limit;
        ret_to->range.revision = from->revision;
        ret_to->range.keys_only = from->keys_only;
        ret_to->range.count_only = from->count_only;
    }
}

static void fill_operation(const fwi_ec_action *from, union action *action,
                           Epb__RequestOp *ret_message)
{
    fill_action(from, action);
    epb__request_op__init(ret_message);
    if (from->method == FWI_EC_PUT) {
        ret_message->request_case = EPB__REQUEST_OP__REQUEST_PUT;
        ret_message->put = &action->put;
    } else if (from->method == FWI_EC_DELETE) {
        ret_message->request_case = EPB__REQUEST_OP__REQUEST_DELETE_RANGE;
        ret_message->delete_range = &action->deletion;
    } else {
        ret_message->request_case = EPB__REQUEST_OP__REQUEST_RANGE;
        ret_message->range = &action->range;
    }
}

static void fill_compare(const fwi_ec_compare *from, Epb__Compare *ret_message)
{
    static const Epb__Compare__Result results[] = {
        [FW_KV_EQUAL] = EPB__COMPARE__RESULT__EQUAL,
        [FW_KV_NOT_EQUAL] = EPB__COMPARE__RESULT__NOT_EQUAL,
        [FW_KV_LESS] = EPB__COMPARE__RESULT__LESS,
        [FW_KV_GREATER] = EPB__COMPARE__RESULT__GREATER,
    };
    epb__compare__init(ret_message);
    ret_message->key = fwi_etcd_bytes(from->key);
    ret_message->result = results[from->relation];
    if (from->by_value) {
        ret_message->target = EPB__COMPARE__TARGET__VALUE;
        ret_message->operand_case = EPB__COMPARE__OPERAND_VALUE;
        ret_message->value = fwi_etcd_bytes(from->value);
    } else {
        ret_message->target = EPB__COMPARE__TARGET__MOD;
        ret_message->operand_case = EPB__COMPARE__OPERAND_MOD_REVISION;
        ret_message->mod_revision = from->revision;
    }
}

/* A transaction as messages, with all that they point to, in one block of memory. */
struct txn {
    Epb__TxnRequest message;
    Epb__Compare *compare_list[FW_KV_TXN_MAX], compares[FW_KV_TXN_MAX];
    struct branch {
        Epb__RequestOp *list[FW_KV_TXN_MAX], messages[FW_KV_TXN_MAX];
        union action actions[FW_KV_TXN_MAX];
    } then, otherwise;
};

static void fill_branch(const fwi_ec_action *from, size_t count, struct branch *branch)
{
    for (size_t i = 0; i < count; i++) {
        fill_operation(&from[i], &branch->actions[i], &branch->messages[i]);
        branch->list[i] = &branch->messages[i];
    }
}

static void fill_txn(const fwi_ec_txn *from, struct txn *txn)
{
    epb__txn_request__init(&txn->message);
    for (size_t i = 0; i < from->compare_count; i++) {
        fill_compare(&from->compares[i], &txn->compares[i]);
        txn->compare_list[i] = &txn->compares[i];
    }
    fill_branch(from->then, from->then_count, &txn->then);
    fill_branch(from->otherwise, from->otherwise_count, &txn->otherwise);
    txn->message.compare = txn->compare_list;
    txn->message.n_compare = from->compare_count;
    txn->message.success = txn->then.list;
    txn->message.n_success = from->then_count;
    txn->message.failure = txn->otherwise.list;
    txn->message.n_failure = from->otherwise_count;
}

static int start(fwi_ec_store *store, const fwi_ec_question *question,
                 const ProtobufCMessage *message, void **ret_request)
{
    fwi_etcd_request *request;
    fwi_etcd_request_options options = {.method = (fwi_etcd_method)question->method,
                                        .message = message,
                                        .deadline_ms = question->deadline_ms,
                                        .repeatable = question->repeatable,
                                        .impatient = question->impatient,
                                        .fn = question->fn,
                                        .arg = question->arg};
    int err = fwi_etcd_request_start((fwi_etcd_client *)store, &options, &request);
    if (!err)
        *ret_request = request;
    return err;
}

static int ask_txn(fwi_ec_store *store, const fwi_ec_question *question, void **ret_request)
{
    struct txn *txn = malloc(sizeof *txn);
    if (!txn)
        return UV_ENOMEM;
    fill_txn(question->txn, txn);
    int err = start(store, question, &txn->message.base, ret_request);
    free(txn);
    return err;
}

/* question->urgent says nothing here: no call waits for another one. */
static int ask(fwi_ec_store *store, const fwi_ec_question *question, void **ret_request)
{
    union action action;
    Epb__LeaseGrantRequest grant = EPB__LEASE_GRANT_REQUEST__INIT;
    Epb__LeaseRequest lease = EPB__LEASE_REQUEST__INIT;
    switch (question->method) {
    case FWI_EC_TXN:
        return ask_txn(store, question, ret_request);
    case FWI_EC_GRANT:
        grant.ttl = question->ttl_s;
        return start(store, question, &grant.base, ret_request);
    case FWI_EC_REVOKE:
    case FWI_EC_KEEP_ALIVE:
        lease.id = question->lease;
        return start(store, question, &lease.base, ret_request);
    case FWI_EC_RANGE:
    case FWI_EC_PUT:
    case FWI_EC_DELETE:
        fill_action(question->action, &action);
        return start(store, question, (ProtobufCMessage *)&action, ret_request);
    case FWI_EC_METHODS:
        break;
    }
    return FW_EUNSUPPORTED;
}

static void drop(void *request)
{
    fwi_etcd_request_drop(request);
}

/* ---- replies ---- */

static fw_slice message_of(const void *reply)
{
    return ((const fwi_etcd_reply *)reply)->message;
}

static bool read_change(const void *reply, int64_t *ret_revision, int64_t *ret_deleted)
{
    return fwi_etcd_read_change(message_of(reply), ret_revision, ret_deleted);
}

static bool read_lease(const void *reply, int64_t *ret_id, int64_t *ret_ttl_s)
{
    return fwi_etcd_read_lease(message_of(reply), ret_id, ret_ttl_s);
}

static bool read_range(const void *reply, fwi_ec_range *ret_range)
{
    return fwi_etcd_read_range(message_of(reply), ret_range);
}

static bool read_txn(const void *reply, fwi_ec_txn_reply *ret_reply)
{
    return fwi_etcd_read_txn(message_of(reply), ret_reply);
}

/* A reply that stays with the pairs, for their values are in it: copying megabytes, and having the
 * pages for them mapped, is what a big list costs most. */
struct kept_reply {
    fwi_kv_keep keep;
    grpc_slice slice;
};

static void release_reply(fwi_kv_keep *keep)
{
    struct kept_reply *kept = fwi_container_of(keep, struct kept_reply, keep);
    grpc_slice_unref(kept->slice);
    free(kept);
}

static int keep_reply(fwi_kv_pairs *pairs, const grpc_slice *slice)
{
    struct kept_reply *kept = malloc(sizeof *kept);
    if (!kept)
        return UV_ENOMEM;
    *kept =
        (struct kept_reply){.keep = {.release = release_reply}, .slice = grpc_slice_ref(*slice)};
    fwi_kv_pairs_keep(pairs, &kept->keep);
    return FW_OK;
}

static int take_page(const fwi_ec_store *store, const void *reply, fwi_kv_pairs *pairs,
                     fwi_ec_page *ret_page)
{
    const grpc_slice *slice = ((const fwi_etcd_reply *)reply)->slice;
    fwi_etcd_range range;
    fwi_ec_pair pair = {.key = {NULL, 0}};
    size_t count = 0;
    if (!fwi_etcd_range_init(&range, message_of(reply)))
        return FW_ESTORE;
    /* A small one has its bytes in the slice itself, which is gone soon. */
    bool is_kept = slice->refcount != NULL;
    if (is_kept && keep_reply(pairs, slice))
        return UV_ENOMEM;
    int (*add)(fwi_kv_pairs *, const char *, size_t, fw_slice, int64_t, int64_t) =
        is_kept ? fwi_kv_pairs_add_view : fwi_kv_pairs_add;
    for (; fwi_etcd_range_next(&range, &pair); count++) {
        fw_slice key;
        if (fwi_ec_key_strip(store, pair.key, &key) &&
            add(pairs, key.data, key.len, pair.value, pair.revision, pair.lease))
            return UV_ENOMEM;
    }
    if (range.pairs.bad)
        return FW_ESTORE;
    *ret_page = (fwi_ec_page){.cluster = range.cluster,
                              .revision = range.revision,
                              .count = count,
                              .bytes = message_of(reply).len,
                              .last = pair.key,
                              .more = range.more};
    return FW_OK;
}

const fwi_ec_transport fwi_etcd_transport = {
    .ask = ask,
    .drop = drop,
    .read_change = read_change,
    .read_range = read_range,
    .read_txn = read_txn,
    .read_lease = read_lease,
    .take_page = take_page,
    /* Pages are large because etcd counts the whole range for each. */
    .paging = {.first_keys = 16384, .too_long = FW_EVALUESIZE, .shrink = 16},
    .renewer = {.lease_bytes = sizeof(fwi_etcd_lease),
                .begin = fwi_etcd_lease_begin,
                .end = fwi_etcd_lease_end,
                .confirmed = fwi_etcd_lease_confirmed,
                .due = fwi_etcd_lease_due,
                .trouble = fwi_etcd_lease_trouble},
};
