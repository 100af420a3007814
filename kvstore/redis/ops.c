/* Operations: each is one call of the script, but lists, which are list.c's. */
#include "redis.h"

#include <fairway/error.h>
#include <string.h>

/* ---- asking ---- */

static void add_put(fwi_redis_args *args, const fwi_kv_op *op)
{
    fwi_redis_args_text(args, op->key);
    fwi_redis_args_bytes(args, op->value.data, op->value.len);
    fwi_redis_args_number(args, op->lease);
    fwi_redis_args_number(args, op->ttl_ms);
}

static void add_branch(fwi_redis_args *args, const fwi_kv_branch *branch)
{
    static const char *const types[] = {
        [FW_KV_TXN_PUT] = "put", [FW_KV_TXN_GET] = "get", [FW_KV_TXN_DELETE] = "delete"};
    fwi_redis_args_number(args, (int64_t)branch->count);
    for (size_t i = 0; i < branch->count; i++) {
        const fwi_kv_txn_op *step = &branch->ops[i];
        fwi_redis_args_text(args, types[step->type]);
        fwi_redis_args_text(args, step->key);
        fwi_redis_args_bytes(args, step->value.data, step->value.len);
        fwi_redis_args_number(args, step->lease);
    }
}

static void add_txn(fwi_redis_args *args, const fwi_kv_txn *txn)
{
    static const char *const relations[] = {
        [FW_KV_EQUAL] = "=", [FW_KV_NOT_EQUAL] = "!", [FW_KV_LESS] = "<", [FW_KV_GREATER] = ">"};
    fwi_redis_args_number(args, (int64_t)txn->compare_count);
    for (size_t i = 0; i < txn->compare_count; i++) {
        const fw_kv_compare *compare = &txn->compares[i];
        fwi_redis_args_text(args, compare->key);
        fwi_redis_args_text(args, compare->by_value ? "value" : "revision");
        fwi_redis_args_text(args, relations[compare->relation]);
        if (compare->by_value)
            fwi_redis_args_bytes(args, compare->value.data, compare->value.len);
        else
            fwi_redis_args_number(args, compare->revision);
    }
    add_branch(args, &txn->then);
    add_branch(args, &txn->otherwise);
}

static void add_op(fwi_redis_args *args, const fwi_redis_client *client, const fwi_kv_op *op)
{
    static const char *const commands[] = {[FWI_KV_PUT] = "put",
                                           [FWI_KV_GET] = "get",
                                           [FWI_KV_EXISTS] = "exists",
                                           [FWI_KV_DELETE] = "delete",
                                           [FWI_KV_DELETE_TREE] = "deletetree",
                                           [FWI_KV_ATOMIC_PUT] = "putif",
                                           [FWI_KV_ATOMIC_DELETE] = "delete",
                                           [FWI_KV_TXN] = "txn"};
    fwi_redis_args_script(args, client, commands[op->type]);
    switch (op->type) {
    case FWI_KV_PUT:
        add_put(args, op);
        break;
    case FWI_KV_ATOMIC_PUT:
        add_put(args, op);
        fwi_redis_args_number(args, op->previous);
        break;
    case FWI_KV_DELETE:
        fwi_redis_args_text(args, op->key);
        fwi_redis_args_text(args, "");
        break;
    case FWI_KV_ATOMIC_DELETE:
        fwi_redis_args_text(args, op->key);
        fwi_redis_args_number(args, op->previous);
        break;
    case FWI_KV_TXN:
        add_txn(args, op->txn);
        break;
    default:
        fwi_redis_args_text(args, op->key);
        break;
    }
}

/* ---- answering ---- */

static int take_pairs(fwi_kv_op *op, const redisReply *reply, size_t from)
{
    if ((reply->elements - from) % FWI_REDIS_PAIR)
        return FW_ESTORE;
    int err = FW_OK;
    for (size_t at = from; !err && at < reply->elements; at += FWI_REDIS_PAIR) {
        fwi_redis_pair pair;
        if (!fwi_redis_pair_at(reply, at, &pair) || pair.lease < 0)
            return FW_ESTORE;
        err = fwi_kv_pairs_add(&op->pairs, pair.key.data, pair.key.len, pair.value, pair.revision,
                               pair.lease);
    }
    return err;
}

/* Fills the operation from an answer "ok". */
static int take_answer(fwi_kv_op *op, const redisReply *reply)
{
    int64_t number = 0;
    switch (op->type) {
    case FWI_KV_GET:
        return reply->elements == FWI_REDIS_HEAD + FWI_REDIS_PAIR
                   ? take_pairs(op, reply, FWI_REDIS_HEAD)
                   : FW_ESTORE;
    case FWI_KV_EXISTS:
    case FWI_KV_DELETE_TREE:
        if (!fwi_redis_integer_at(reply, FWI_REDIS_HEAD, &number) || number < 0)
            return FW_ESTORE;
        op->count = (size_t)number;
        return FW_OK;
    case FWI_KV_TXN: {
        if (!fwi_redis_integer_at(reply, FWI_REDIS_HEAD, &number))
            return FW_ESTORE;
        op->succeeded = number != 0;
        return take_pairs(op, reply, FWI_REDIS_HEAD + 1);
    }
    default:
        return FW_OK;
    }
}

static void on_answered(const fwi_redis_reply *reply, void *arg)
{
    fwi_kv_op *op = arg;
    int status = reply->status;
    const char *detail = reply->detail;
    op->revision = reply->revision;
    if (!status) {
        status = take_answer(op, reply->reply);
        detail = status ? "malformed reply" : "";
    }
    fwi_kv_op_finish(op, status, detail);
}

static void on_listed(fwi_redis_client *client, fwi_redis_listing *listing, int status,
                      const char *detail, void *arg)
{
    (void)client;
    fwi_kv_op *op = arg;
    if (!status)
        op->pairs = fwi_redis_listing_take(listing, &op->revision);
    fwi_kv_op_finish(op, status, detail);
    fwi_redis_listing_free(listing);
}

void fwi_redis_submit(void *store, fwi_kv_op *op)
{
    fwi_redis_client *client = store;
    int err;
    if (op->type == FWI_KV_LIST) {
        fwi_redis_listing *listing;
        err = fwi_redis_list(client, op->key, true, op->deadline_ms, on_listed, op, &listing);
    } else if (op->type == FWI_KV_ENQUEUE) {
        err = FW_EUNSUPPORTED; /* the front makes the queue of a lock itself */
    } else {
        fwi_redis_args args = {.count = 0};
        add_op(&args, client, op);
        err =
            fwi_redis_ask(&client->ops, fwi_kv_op_is_write(op) ? FWI_REDIS_ONCE : FWI_REDIS_REPEAT,
                          op->deadline_ms, &args, on_answered, op, NULL);
    }
    if (err)
        fwi_kv_op_finish(op, err, err == FW_ELIMIT ? "too much waits for the store" : NULL);
}
