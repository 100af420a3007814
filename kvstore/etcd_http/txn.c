/*
 * Transactions as etcd wants them. etcd does the operations of a branch one after the other, and a
 * read would see the writes before it; so all reads come first. A key that is missing has
 * mod_revision 0 in comparisons, and holds no comparison by value.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <string.h>

static const char *const relations[] = {[FW_KV_EQUAL] = "EQUAL",
                                        [FW_KV_NOT_EQUAL] = "NOT_EQUAL",
                                        [FW_KV_LESS] = "LESS",
                                        [FW_KV_GREATER] = "GREATER"};

static bool add_key(const fwi_eh_client *client, const char *key, fwi_eh_text *text)
{
    fwi_eh_keys keys;
    if (!fwi_eh_keys_init(&keys, client, key, false))
        return false;
    fwi_eh_text_add(text, "\"key\":");
    fwi_eh_text_add_bytes(text, keys.key);
    fwi_eh_keys_fini(&keys);
    return true;
}

static bool write_compare(const fwi_eh_client *client, const fw_kv_compare *compare,
                          fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{");
    if (!add_key(client, compare->key, text))
        return false;
    fwi_eh_text_add(text, ",\"result\":\"");
    fwi_eh_text_add(text, relations[compare->relation]);
    if (compare->by_value) {
        fwi_eh_text_add(text, "\",\"target\":\"VALUE\",\"value\":");
        fwi_eh_text_add_bytes(text, compare->value);
    } else {
        fwi_eh_text_add(text, "\",\"target\":\"MOD\",\"mod_revision\":");
        fwi_eh_text_add_int64(text, compare->revision);
    }
    fwi_eh_text_add(text, "}");
    return true;
}

static bool write_op(const fwi_eh_client *client, const fwi_kv_txn_op *op, fwi_eh_text *text)
{
    static const char *const names[] = {[FW_KV_TXN_PUT] = "{\"request_put\":{",
                                        [FW_KV_TXN_GET] = "{\"request_range\":{",
                                        [FW_KV_TXN_DELETE] = "{\"request_delete_range\":{"};
    fwi_eh_text_add(text, names[op->type]);
    if (!add_key(client, op->key, text))
        return false;
    if (op->type == FW_KV_TXN_PUT) {
        fwi_eh_text_add(text, ",\"value\":");
        fwi_eh_text_add_bytes(text, op->value);
        fwi_eh_text_add(text, ",\"lease\":");
        fwi_eh_text_add_int64(text, op->lease);
    }
    fwi_eh_text_add(text, "}}");
    return true;
}

static bool write_branch(const fwi_eh_client *client, const fwi_kv_branch *branch,
                         fwi_eh_text *text)
{
    const char *comma = "";
    for (int reads = 1; reads >= 0; reads--)
        for (size_t i = 0; i < branch->count; i++) {
            if ((branch->ops[i].type == FW_KV_TXN_GET) != reads)
                continue;
            fwi_eh_text_add(text, comma);
            if (!write_op(client, &branch->ops[i], text))
                return false;
            comma = ",";
        }
    return true;
}

bool fwi_eh_txn_write(const fwi_eh_client *client, const fwi_kv_txn *txn, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{\"compare\":[");
    for (size_t i = 0; i < txn->compare_count; i++) {
        fwi_eh_text_add(text, i ? "," : "");
        if (!write_compare(client, &txn->compares[i], text))
            return false;
    }
    fwi_eh_text_add(text, "],\"success\":[");
    if (!write_branch(client, &txn->then, text))
        return false;
    fwi_eh_text_add(text, "],\"failure\":[");
    if (!write_branch(client, &txn->otherwise, text))
        return false;
    fwi_eh_text_add(text, "]}");
    return !text->failed;
}

int fwi_eh_txn_read(cJSON *reply, fwi_kv_op *op)
{
    op->succeeded = fwi_eh_json_true(reply, "succeeded");
    const fwi_kv_branch *branch = op->succeeded ? &op->txn->then : &op->txn->otherwise;
    const cJSON *response = fwi_eh_json_get(reply, "responses");
    response = response ? response->child : NULL;
    for (size_t i = 0; i < branch->count; i++) {
        if (branch->ops[i].type != FW_KV_TXN_GET)
            continue;
        const char *key = branch->ops[i].key;
        const cJSON *range = fwi_eh_json_get(response, "response_range");
        if (!range)
            return FW_ESTORE;
        const cJSON *kvs = fwi_eh_json_get(range, "kvs");
        fwi_eh_pair pair = {.value = {NULL, 0}, .revision = 0};
        if (kvs && kvs->child && !fwi_eh_json_pair(kvs->child, &pair))
            return FW_ESTORE;
        if (fwi_kv_pairs_add(&op->pairs, key, strlen(key), pair.value, pair.revision, pair.lease))
            return UV_ENOMEM;
        response = response->next;
    }
    return FW_OK;
}
