/* Transactions: checked and copied here, done by the drivers. */
#include "kv.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

bool fwi_kv_compare_holds(const fw_kv_compare *compare, int64_t revision, fw_slice value)
{
    int order;
    if (compare->by_value) {
        if (!revision)
            return false;
        size_t common = value.len < compare->value.len ? value.len : compare->value.len;
        order = common ? memcmp(value.data, compare->value.data, common) : 0;
        if (!order)
            order = (value.len > compare->value.len) - (value.len < compare->value.len);
    } else {
        order = (revision > compare->revision) - (revision < compare->revision);
    }
    switch (compare->relation) {
    case FW_KV_EQUAL:
        return order == 0;
    case FW_KV_NOT_EQUAL:
        return order != 0;
    case FW_KV_LESS:
        return order < 0;
    case FW_KV_GREATER:
        return order > 0;
    }
    return false;
}

static int copy_value(fw_slice from, fw_slice *ret_copy)
{
    *ret_copy = (fw_slice){NULL, 0};
    if (!from.len)
        return FW_OK;
    void *copy = malloc(from.len);
    if (!copy)
        return UV_ENOMEM;
    *ret_copy = (fw_slice){memcpy(copy, from.data, from.len), from.len};
    return FW_OK;
}

static void branch_fini(fwi_kv_branch *branch)
{
    for (size_t i = 0; i < branch->count; i++) {
        free(branch->ops[i].key);
        free((void *)branch->ops[i].value.data);
    }
    free(branch->ops);
}

void fwi_kv_txn_free(fwi_kv_txn *txn)
{
    if (!txn)
        return;
    for (size_t i = 0; i < txn->compare_count; i++) {
        free((void *)txn->compares[i].key);
        free((void *)txn->compares[i].value.data);
    }
    free(txn->compares);
    branch_fini(&txn->then);
    branch_fini(&txn->otherwise);
    free(txn);
}

static int copy_compares(const fw_kv_txn *from, fwi_kv_txn *txn)
{
    txn->compares = calloc(from->compare_count + 1, sizeof *txn->compares);
    if (!txn->compares)
        return UV_ENOMEM;
    for (size_t i = 0; i < from->compare_count; i++) {
        fw_kv_compare *copy = &txn->compares[i];
        *copy = from->compares[i];
        if (copy->relation < FW_KV_EQUAL || copy->relation > FW_KV_GREATER)
            return FW_EOPTION;
        char *key;
        int err = fwi_kv_key_normalise(from->compares[i].key, false, &key);
        if (err)
            return err;
        copy->key = key;
        copy->value = (fw_slice){NULL, 0};
        txn->compare_count++;
        if (copy->by_value)
            err = copy_value(from->compares[i].value, &copy->value);
        if (err)
            return err;
    }
    return FW_OK;
}

static bool writes_key(const fwi_kv_branch *branch, const char *key)
{
    for (size_t i = 0; i < branch->count; i++)
        if (branch->ops[i].type != FW_KV_TXN_GET && !strcmp(branch->ops[i].key, key))
            return true;
    return false;
}

static int copy_op(const fw_kv *kv, const fw_kv_txn_op *from, fwi_kv_branch *branch)
{
    if (from->type < FW_KV_TXN_PUT || from->type > FW_KV_TXN_DELETE)
        return FW_EOPTION;
    fwi_kv_txn_op *copy = &branch->ops[branch->count];
    *copy = (fwi_kv_txn_op){.type = from->type};
    int err = fwi_kv_key_normalise(from->key, false, &copy->key);
    if (err)
        return err;
    bool repeated = from->type != FW_KV_TXN_GET && writes_key(branch, copy->key);
    branch->count++;
    if (repeated)
        return FW_EOPTION;
    if (from->type != FW_KV_TXN_PUT)
        return FW_OK;
    if (from->value.len > kv->driver->max_value_bytes)
        return FW_EVALUESIZE;
    if (from->lease) {
        copy->lease = from->lease->lost ? 0 : fw_kv_lease_id(from->lease);
        if (!copy->lease)
            return FW_ELEASE;
    }
    return copy_value(from->value, &copy->value);
}

static int copy_branch(const fw_kv *kv, const fw_kv_txn_op *ops, size_t count,
                       fwi_kv_branch *branch)
{
    branch->ops = calloc(count + 1, sizeof *branch->ops);
    int err = branch->ops ? FW_OK : UV_ENOMEM;
    for (size_t i = 0; !err && i < count; i++)
        err = copy_op(kv, &ops[i], branch);
    return err;
}

int fw_kv_do_txn(fw_kv *kv, const fw_kv_txn *txn, fw_kv_done_fn done, void *arg)
{
    if (!(kv->driver->capabilities & FW_KV_CAN_TXN))
        return FW_EUNSUPPORTED;
    if (txn->compare_count > FW_KV_TXN_MAX || txn->then_count > FW_KV_TXN_MAX ||
        txn->otherwise_count > FW_KV_TXN_MAX)
        return FW_ELIMIT;
    fwi_kv_txn *copy = calloc(1, sizeof *copy);
    if (!copy)
        return UV_ENOMEM;
    int err = copy_compares(txn, copy);
    if (!err)
        err = copy_branch(kv, txn->then, txn->then_count, &copy->then);
    if (!err)
        err = copy_branch(kv, txn->otherwise, txn->otherwise_count, &copy->otherwise);
    if (!err)
        err = fwi_kv_submit(kv, FWI_KV_TXN, "", &(fwi_kv_op){.txn = copy}, done, arg);
    if (err)
        fwi_kv_txn_free(copy);
    return err;
}
