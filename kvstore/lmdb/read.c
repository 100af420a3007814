/* Reading from the tables: operations, and what watches have to be told. */
#include "lmdb/records.h"
#include "lmdb/schema.h"

#include <errno.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>

/* One call of fwi_lmdb_read_changes takes no new revision when it has given so much. */
#define BATCH_ENTRIES 2048
#define BATCH_BYTES   (4u * 1024 * 1024)

/* A reading of pairs; remembers the last lease, for pairs of one lease often stand together. */
struct reading {
    const fwi_lmdb_schema *schema;
    MDB_txn *txn;
    uint64_t now_ms;
    int64_t lease;
    bool lease_is_over;
};

static struct reading reading_of(const fwi_lmdb_schema *schema, MDB_txn *txn)
{
    return (struct reading){.schema = schema, .txn = txn, .now_ms = fwi_lmdb_clock_ms()};
}

/* True if the lease has expired, though nobody has deleted its pairs yet. */
static bool is_over(struct reading *reading, int64_t id)
{
    if (!id)
        return false;
    if (id != reading->lease) {
        fwi_lmdb_key at = {.len = 0};
        fwi_lmdb_key_number(&at, (uint64_t)id);
        MDB_val key = fwi_lmdb_key_val(&at), data;
        struct fwi_lmdb_lease lease;
        reading->lease = id;
        reading->lease_is_over = mdb_get(reading->txn, reading->schema->leases, &key, &data) ||
                                 !fwi_lmdb_take_head(data, &lease, sizeof lease, NULL) ||
                                 lease.expires_ms <= reading->now_ms;
    }
    return reading->lease_is_over;
}

struct pair {
    struct fwi_lmdb_pair_head head;
    fw_slice value;
};

/* The pair of a key; MDB_NOTFOUND also if its lease is over. */
static int read_pair(struct reading *reading, const char *key, struct pair *ret_pair)
{
    MDB_val id = {strlen(key), (void *)key}, data;
    int rc = mdb_get(reading->txn, reading->schema->pairs, &id, &data);
    if (rc)
        return rc;
    if (!fwi_lmdb_take_head(data, &ret_pair->head, sizeof ret_pair->head, &ret_pair->value))
        return MDB_CORRUPTED;
    return is_over(reading, ret_pair->head.lease) ? MDB_NOTFOUND : 0;
}

typedef int (*each_fn)(void *arg, const char *key, size_t key_len, const struct pair *pair);

/* Calls for every pair below the prefix, in the order of keys. */
static int for_each_below(struct reading *reading, const char *prefix, each_fn each, void *arg)
{
    char start[FW_KV_MAX_KEY_BYTES + 2];
    size_t len = (size_t)snprintf(start, sizeof start, "%s%s", prefix, *prefix ? "/" : "");
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(reading->txn, reading->schema->pairs, &cursor);
    if (rc)
        return rc;
    MDB_val id = {len, start}, data;
    MDB_cursor_op where = len ? MDB_SET_RANGE : MDB_FIRST;
    while (!rc && !(rc = mdb_cursor_get(cursor, &id, &data, where))) {
        where = MDB_NEXT;
        if (id.mv_size < len || memcmp(id.mv_data, start, len))
            break;
        struct pair pair;
        if (!fwi_lmdb_take_head(data, &pair.head, sizeof pair.head, &pair.value))
            rc = MDB_CORRUPTED;
        else if (!is_over(reading, pair.head.lease))
            rc = each(arg, id.mv_data, id.mv_size, &pair);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int add_pair(void *arg, const char *key, size_t key_len, const struct pair *pair)
{
    fwi_kv_op *op = arg;
    return fwi_kv_pairs_add(&op->pairs, key, key_len, pair->value, pair->head.revision,
                            pair->head.lease)
               ? ENOMEM
               : 0;
}

int fwi_lmdb_read_op(const fwi_lmdb_schema *schema, MDB_txn *txn, fwi_kv_op *op, int *ret_status)
{
    struct reading reading = reading_of(schema, txn);
    struct fwi_lmdb_state state;
    int rc = fwi_lmdb_read_state(schema, txn, &state);
    if (rc)
        return rc;
    op->revision = state.revision;
    *ret_status = FW_OK;
    if (op->type == FWI_KV_LIST)
        return for_each_below(&reading, op->key, add_pair, op);
    struct pair pair;
    rc = read_pair(&reading, op->key, &pair);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    if (op->type == FWI_KV_EXISTS) {
        op->count = rc ? 0 : 1;
        return 0;
    }
    *ret_status = rc ? FW_ENOTFOUND : FW_OK;
    return rc ? 0 : add_pair(op, op->key, strlen(op->key), &pair);
}

static int add_to_watch(void *arg, const char *key, size_t key_len, const struct pair *pair)
{
    fwi_kv_watch_list_pair(arg, key, key_len, pair->value, pair->head.revision, pair->head.lease);
    return 0;
}

int fwi_lmdb_read_snapshot(const fwi_lmdb_schema *schema, MDB_txn *txn, fw_kv_watch *watch)
{
    struct reading reading = reading_of(schema, txn);
    if (watch->tree)
        return for_each_below(&reading, watch->key, add_to_watch, watch);
    struct pair pair;
    int rc = read_pair(&reading, watch->key, &pair);
    if (!rc)
        return add_to_watch(watch, watch->key, strlen(watch->key), &pair);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static bool concerns(const fw_kv_watch *watch, const char *key, size_t key_len)
{
    size_t len = strlen(watch->key);
    if (watch->tree)
        return fwi_kv_key_below(key, key_len, watch->key, len);
    return key_len == len && !memcmp(key, watch->key, len);
}

/* Gives a watch one entry of the log if it concerns it; *bytes grows by what was given. */
static int give_change(fw_kv_watch *watch, int64_t revision, MDB_val data, size_t *bytes)
{
    struct fwi_lmdb_change_head head;
    fw_slice rest;
    if (!fwi_lmdb_take_head(data, &head, sizeof head, &rest) || rest.len < head.key_len)
        return MDB_CORRUPTED;
    const char *key = rest.data;
    if (!concerns(watch, key, head.key_len))
        return 0;
    fw_slice value = {key + head.key_len, rest.len - head.key_len};
    if (head.is_delete)
        fwi_kv_watch_delete(watch, key, head.key_len, revision);
    else
        fwi_kv_watch_put(watch, key, head.key_len, value, revision, head.lease);
    *bytes += rest.len;
    return 0;
}

int fwi_lmdb_read_changes(const fwi_lmdb_schema *schema, MDB_txn *txn, fw_kv_watch *watch,
                          bool *ret_has_history, int64_t *ret_revision)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, schema->log, &cursor);
    if (rc)
        return rc;
    fwi_lmdb_key from = {.len = 0};
    fwi_lmdb_key_number(&from, (uint64_t)watch->revision + 1);
    fwi_lmdb_key_number(&from, 0);
    MDB_val id = fwi_lmdb_key_val(&from), data;
    /* Revisions have no gaps, so the next one is there, or history does not reach back to it. */
    rc = mdb_cursor_get(cursor, &id, &data, MDB_SET_RANGE);
    *ret_has_history = !rc && fwi_lmdb_number(id.mv_data) == (uint64_t)watch->revision + 1;
    *ret_revision = watch->revision;
    size_t entries = 0, bytes = 0;
    while (!rc && *ret_has_history) {
        int64_t revision = (int64_t)fwi_lmdb_number(id.mv_data);
        if (revision != *ret_revision && (entries > BATCH_ENTRIES || bytes > BATCH_BYTES))
            break;
        *ret_revision = revision;
        entries++;
        rc = give_change(watch, revision, data, &bytes);
        if (!rc)
            rc = mdb_cursor_get(cursor, &id, &data, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int fwi_lmdb_read_next_expiry(const fwi_lmdb_schema *schema, MDB_txn *txn, uint64_t *ret_ms)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, schema->expiry, &cursor);
    if (rc)
        return rc;
    MDB_val id;
    rc = mdb_cursor_get(cursor, &id, NULL, MDB_FIRST);
    *ret_ms = rc ? UINT64_MAX : fwi_lmdb_number(id.mv_data);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}
