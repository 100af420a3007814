/*
 * Transactions: the contract's in etcd's words. etcd does the operations of a branch one after the
 * other, so that a read behind a write would see it: reads are put first, and answered in the order
 * they were asked in. A comparison of values is false for a key that is missing, one of revisions
 * is with 0: that is the same in both.
 */
#include "etcd_core.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

void fwi_ec_built_txn_fini(fwi_ec_built_txn *built)
{
    for (size_t i = 0; i < built->key_count; i++)
        fwi_ec_keys_fini(&built->keys[i]);
    free(built->keys);
    free(built->txn.compares);
    free(built->txn.then);
    free(built->txn.otherwise);
}

static bool add_key(fwi_ec_built_txn *built, const fwi_ec_store *store, const char *key,
                    fw_slice *ret_key)
{
    fwi_ec_keys *keys = &built->keys[built->key_count];
    if (!fwi_ec_keys_init(keys, store, key, false))
        return false;
    built->key_count++;
    *ret_key = keys->key;
    return true;
}

static bool add_compare(fwi_ec_built_txn *built, const fwi_ec_store *store,
                        const fw_kv_compare *from)
{
    fwi_ec_compare *compare = &built->txn.compares[built->txn.compare_count];
    *compare = (fwi_ec_compare){.relation = from->relation,
                                .by_value = from->by_value,
                                .value = from->value,
                                .revision = from->revision};
    if (!add_key(built, store, from->key, &compare->key))
        return false;
    built->txn.compare_count++;
    return true;
}

/* Adds the reads of a branch, or its writes. */
static bool add_actions(fwi_ec_built_txn *built, const fwi_ec_store *store,
                        const fwi_kv_branch *from, bool reads, fwi_ec_action *actions,
                        size_t *count)
{
    static const fwi_ec_method methods[] = {[FW_KV_TXN_PUT] = FWI_EC_PUT,
                                            [FW_KV_TXN_GET] = FWI_EC_RANGE,
                                            [FW_KV_TXN_DELETE] = FWI_EC_DELETE};
    for (size_t i = 0; i < from->count; i++) {
        const fwi_kv_txn_op *op = &from->ops[i];
        if ((op->type == FW_KV_TXN_GET) != reads)
            continue;
        fwi_ec_action *action = &actions[*count];
        *action = (fwi_ec_action){.method = methods[op->type]};
        if (op->type == FW_KV_TXN_PUT) {
            action->value = op->value;
            action->lease = op->lease;
        }
        if (!add_key(built, store, op->key, &action->key))
            return false;
        ++*count;
    }
    return true;
}

static bool add_branch(fwi_ec_built_txn *built, const fwi_ec_store *store,
                       const fwi_kv_branch *from, fwi_ec_action *actions, size_t *count)
{
    return add_actions(built, store, from, true, actions, count) &&
           add_actions(built, store, from, false, actions, count);
}

bool fwi_ec_built_txn_init(fwi_ec_built_txn *ret_built, const fwi_ec_store *store,
                           const fwi_kv_txn *from)
{
    fwi_ec_txn *txn = &ret_built->txn;
    size_t key_count = from->compare_count + from->then.count + from->otherwise.count;
    *ret_built = (fwi_ec_built_txn){.keys = calloc(key_count + 1, sizeof *ret_built->keys)};
    txn->compares = calloc(from->compare_count + 1, sizeof *txn->compares);
    txn->then = calloc(from->then.count + 1, sizeof *txn->then);
    txn->otherwise = calloc(from->otherwise.count + 1, sizeof *txn->otherwise);
    if (!ret_built->keys || !txn->compares || !txn->then || !txn->otherwise)
        return false;
    for (size_t i = 0; i < from->compare_count; i++)
        if (!add_compare(ret_built, store, &from->compares[i]))
            return false;
    return add_branch(ret_built, store, &from->then, txn->then, &txn->then_count) &&
           add_branch(ret_built, store, &from->otherwise, txn->otherwise, &txn->otherwise_count);
}

int fwi_ec_txn_take(fwi_kv_op *op, const fwi_ec_txn_reply *reply)
{
    const fwi_kv_branch *branch = reply->succeeded ? &op->txn->then : &op->txn->otherwise;
    size_t answered = 0;
    op->revision = reply->revision;
    op->succeeded = reply->succeeded;
    for (size_t i = 0; i < branch->count; i++) {
        if (branch->ops[i].type != FW_KV_TXN_GET)
            continue;
        if (answered == reply->count || reply->responses[answered].method != FWI_EC_RANGE)
            return FW_ESTORE;
        const fwi_ec_range *range = &reply->responses[answered++].range;
        fwi_ec_pair pair = range->has_pair ? range->pair : (fwi_ec_pair){.value = {"", 0}};
        const char *key = branch->ops[i].key;
        if (fwi_kv_pairs_add(&op->pairs, key, strlen(key), pair.value, pair.revision, pair.lease))
            return UV_ENOMEM;
    }
    return FW_OK;
}
