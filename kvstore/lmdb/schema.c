/*
 * Writing to the tables: what one operation does within a transaction.
 *
 * Invariants, at the end of every transaction:
 *   - state.revision is that of the newest entry of the log, if the log is not empty;
 *   - every revision since the log's first has its entries in the log, without a gap;
 *   - expiry has one entry for each lease; lease_keys one for each pair that has a lease.
 * A revision is taken by next_revision, once per operation that changes pairs; the log entries of a
 * revision are numbered from 0.
 */
#include "lmdb/schema.h"
#include "lmdb/records.h"

#include <errno.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#define FORMAT 1

static MDB_val state_key(void)
{
    static char name[] = "s";
    return (MDB_val){1, name};
}

static MDB_val text_val(const char *text)
{
    return (MDB_val){strlen(text), (void *)text};
}

uint64_t fwi_lmdb_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void fwi_lmdb_request_free(fwi_lmdb_request *request)
{
    free(request->key);
    free((void *)request->value.data);
    fwi_kv_txn_free(request->txn);
    fwi_kv_pairs_fini(&request->pairs);
    free(request);
}

/* ---- the log ---- */

static void next_revision(fwi_lmdb_write *write)
{
    write->state.revision++;
    write->log_index = 0;
    write->dirty = write->audible = true;
}

/* Adds an entry to the log. head NULL: a deletion. */
static int log_change(fwi_lmdb_write *write, const char *key, size_t key_len,
                      const struct fwi_lmdb_pair_head *head, fw_slice value)
{
    struct fwi_lmdb_change_head change = {
        .lease = head ? head->lease : 0, .key_len = (uint32_t)key_len, .is_delete = !head};
    fwi_lmdb_key at = {.len = 0};
    fwi_lmdb_key_number(&at, (uint64_t)write->state.revision);
    fwi_lmdb_key_number(&at, write->log_index++);
    MDB_val id = fwi_lmdb_key_val(&at), data = {sizeof change + key_len + value.len, NULL};
    int rc = mdb_put(write->txn, write->schema->log, &id, &data, MDB_RESERVE | MDB_APPEND);
    if (rc)
        return rc;
    uint8_t *out = data.mv_data;
    memcpy(out, &change, sizeof change);
    memcpy(out + sizeof change, key, key_len);
    if (value.len)
        memcpy(out + sizeof change + key_len, value.data, value.len);
    write->state.log_entries++;
    write->state.log_bytes += data.mv_size;
    return 0;
}

/* Deletes the oldest revisions, each whole, until the log is within seven eighths of its bounds. */
static int trim_log(fwi_lmdb_write *write)
{
    struct fwi_lmdb_state *state = &write->state;
    if (state->log_entries <= FWI_LMDB_LOG_ENTRIES && state->log_bytes <= FWI_LMDB_LOG_BYTES)
        return 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(write->txn, write->schema->log, &cursor);
    if (rc)
        return rc;
    MDB_val id, data;
    uint64_t last = 0;
    while (!(rc = mdb_cursor_get(cursor, &id, &data, MDB_FIRST))) {
        uint64_t revision = fwi_lmdb_number(id.mv_data);
        bool enough = state->log_entries <= FWI_LMDB_LOG_ENTRIES / 8 * 7 &&
                      state->log_bytes <= FWI_LMDB_LOG_BYTES / 8 * 7;
        if (enough && revision != last)
            break;
        last = revision;
        state->log_entries--;
        state->log_bytes -= data.mv_size;
        rc = mdb_cursor_del(cursor, 0);
        if (rc)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- pairs ---- */

static int lease_key(fwi_lmdb_write *write, int64_t lease, const char *key, size_t key_len,
                     bool add)
{
    fwi_lmdb_key both = {.len = 0};
    fwi_lmdb_key_number(&both, (uint64_t)lease);
    fwi_lmdb_key_text(&both, key, key_len);
    MDB_val id = fwi_lmdb_key_val(&both), nothing = {0, NULL};
    return add ? mdb_put(write->txn, write->schema->lease_keys, &id, &nothing, 0)
               : mdb_del(write->txn, write->schema->lease_keys, &id, NULL);
}

/* The pair's head; MDB_NOTFOUND. */
static int find_pair(fwi_lmdb_write *write, const char *key, struct fwi_lmdb_pair_head *ret_head)
{
    MDB_val id = text_val(key), data;
    int rc = mdb_get(write->txn, write->schema->pairs, &id, &data);
    if (!rc && !fwi_lmdb_take_head(data, ret_head, sizeof *ret_head, NULL))
        rc = MDB_CORRUPTED;
    return rc;
}

/* Puts a pair in the current revision. */
static int put_pair(fwi_lmdb_write *write, const char *key, fw_slice value, int64_t lease)
{
    struct fwi_lmdb_pair_head old = {.lease = 0}, head = {.lease = lease};
    size_t key_len = strlen(key);
    int rc = find_pair(write, key, &old);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    rc = 0;
    if (old.lease && old.lease != lease)
        rc = lease_key(write, old.lease, key, key_len, false);
    if (!rc && lease && old.lease != lease)
        rc = lease_key(write, lease, key, key_len, true);
    if (rc)
        return rc;
    head.revision = write->state.revision;
    MDB_val id = text_val(key), data = {sizeof head + value.len, NULL};
    rc = mdb_put(write->txn, write->schema->pairs, &id, &data, MDB_RESERVE);
    if (rc)
        return rc;
    memcpy(data.mv_data, &head, sizeof head);
    if (value.len)
        memcpy((uint8_t *)data.mv_data + sizeof head, value.data, value.len);
    return log_change(write, key, key_len, &head, value);
}

/* Deletes one pair in the current revision. */
static int delete_pair(fwi_lmdb_write *write, const char *key, size_t key_len)
{
    struct fwi_lmdb_pair_head head;
    MDB_val id = {key_len, (void *)key}, data;
    int rc = mdb_get(write->txn, write->schema->pairs, &id, &data);
    if (!rc && !fwi_lmdb_take_head(data, &head, sizeof head, NULL))
        rc = MDB_CORRUPTED;
    if (!rc && head.lease)
        rc = lease_key(write, head.lease, key, key_len, false);
    if (!rc)
        rc = mdb_del(write->txn, write->schema->pairs, &id, NULL);
    return rc ? rc : log_change(write, key, key_len, NULL, (fw_slice){NULL, 0});
}

/* Deletes, in one revision, the pairs that `cursor_table` lists under the prefix; a key there
 * begins after `skip` bytes. Each deletion takes the entry out of that table, so the search begins
 * anew. */
static int delete_range(fwi_lmdb_write *write, MDB_dbi table, const void *prefix, size_t prefix_len,
                        size_t skip, size_t *ret_count)
{
    *ret_count = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(write->txn, table, &cursor);
    if (rc)
        return rc;
    while (!rc) {
        MDB_val id = {prefix_len, (void *)prefix};
        rc = mdb_cursor_get(cursor, &id, NULL, prefix_len ? MDB_SET_RANGE : MDB_FIRST);
        if (rc || id.mv_size < prefix_len || memcmp(id.mv_data, prefix, prefix_len))
            break;
        /* The deletion moves the page that the key is on. */
        char key[FW_KV_MAX_KEY_BYTES];
        size_t key_len = id.mv_size - skip;
        if (key_len > sizeof key) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(key, (const char *)id.mv_data + skip, key_len);
        if (!(*ret_count)++)
            next_revision(write);
        rc = delete_pair(write, key, key_len);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- leases ---- */

static int lease_get(fwi_lmdb_write *write, int64_t id, struct fwi_lmdb_lease *ret_lease)
{
    fwi_lmdb_key at = {.len = 0};
    fwi_lmdb_key_number(&at, (uint64_t)id);
    MDB_val key = fwi_lmdb_key_val(&at), data;
    int rc = mdb_get(write->txn, write->schema->leases, &key, &data);
    if (!rc && !fwi_lmdb_take_head(data, ret_lease, sizeof *ret_lease, NULL))
        rc = MDB_CORRUPTED;
    return rc;
}

static int lease_index(fwi_lmdb_write *write, int64_t id, uint64_t expires_ms, bool add)
{
    fwi_lmdb_key at = {.len = 0};
    fwi_lmdb_key_number(&at, expires_ms);
    fwi_lmdb_key_number(&at, (uint64_t)id);
    MDB_val key = fwi_lmdb_key_val(&at), nothing = {0, NULL};
    return add ? mdb_put(write->txn, write->schema->expiry, &key, &nothing, 0)
               : mdb_del(write->txn, write->schema->expiry, &key, NULL);
}

/* Writes a lease that expires a ttl from now. */
static int lease_set(fwi_lmdb_write *write, int64_t id, uint64_t ttl_ms)
{
    struct fwi_lmdb_lease lease = {.expires_ms = write->now_ms + ttl_ms, .ttl_ms = ttl_ms};
    memcpy(lease.boot, write->schema->boot, sizeof lease.boot);
    fwi_lmdb_key at = {.len = 0};
    fwi_lmdb_key_number(&at, (uint64_t)id);
    MDB_val key = fwi_lmdb_key_val(&at), data = {sizeof lease, &lease};
    int rc = mdb_put(write->txn, write->schema->leases, &key, &data, 0);
    write->dirty = true;
    return rc ? rc : lease_index(write, id, lease.expires_ms, true);
}

static int lease_new(fwi_lmdb_write *write, uint64_t ttl_ms, int64_t *ret_id)
{
    if (write->state.last_lease < FWI_KV_LEAST_LEASE)
        write->state.last_lease = FWI_KV_LEAST_LEASE;
    *ret_id = ++write->state.last_lease;
    write->audible = true; /* the others' timers shall know of it */
    return lease_set(write, *ret_id, ttl_ms);
}

static int lease_end(fwi_lmdb_write *write, int64_t id, uint64_t expires_ms)
{
    fwi_lmdb_key at = {.len = 0};
    fwi_lmdb_key_number(&at, (uint64_t)id);
    size_t count;
    int rc = delete_range(write, write->schema->lease_keys, at.bytes, at.len, at.len, &count);
    if (!rc)
        rc = lease_index(write, id, expires_ms, false);
    MDB_val key = fwi_lmdb_key_val(&at);
    write->dirty = true;
    return rc ? rc : mdb_del(write->txn, write->schema->leases, &key, NULL);
}

/* Ends the leases whose time has come. */
static int expire(fwi_lmdb_write *write)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(write->txn, write->schema->expiry, &cursor);
    if (rc)
        return rc;
    MDB_val key;
    while (!rc && !(rc = mdb_cursor_get(cursor, &key, NULL, MDB_FIRST))) {
        uint64_t expires_ms = fwi_lmdb_number(key.mv_data);
        int64_t id = (int64_t)fwi_lmdb_number((const uint8_t *)key.mv_data + 8);
        if (expires_ms > write->now_ms)
            break;
        rc = lease_end(write, id, expires_ms);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Leases of an earlier boot are over, whatever their time says. */
static int expire_other_boots(fwi_lmdb_write *write)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(write->txn, write->schema->leases, &cursor);
    if (rc)
        return rc;
    MDB_val key, data;
    MDB_cursor_op next = MDB_FIRST;
    while (!rc && !(rc = mdb_cursor_get(cursor, &key, &data, next))) {
        struct fwi_lmdb_lease lease;
        if (!fwi_lmdb_take_head(data, &lease, sizeof lease, NULL)) {
            rc = MDB_CORRUPTED;
            break;
        }
        next = MDB_NEXT;
        if (memcmp(lease.boot, write->schema->boot, sizeof lease.boot)) {
            rc = lease_end(write, (int64_t)fwi_lmdb_number(key.mv_data), lease.expires_ms);
            next = MDB_FIRST;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- operations ---- */

static int execute_put(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    int64_t id = request->lease;
    int rc = 0;
    if (id) {
        struct fwi_lmdb_lease lease;
        rc = lease_get(write, id, &lease);
        if (rc == MDB_NOTFOUND) {
            request->status = FW_ELEASE;
            return 0;
        }
    } else if (request->ttl_ms) {
        rc = lease_new(write, request->ttl_ms, &id);
    }
    if (rc)
        return rc;
    next_revision(write);
    return put_pair(write, request->key, request->value, id);
}

static int execute_delete(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    next_revision(write);
    request->count = 1;
    return delete_pair(write, request->key, strlen(request->key));
}

static int execute_delete_tree(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    char prefix[FW_KV_MAX_KEY_BYTES + 2];
    int len = snprintf(prefix, sizeof prefix, "%s%s", request->key, *request->key ? "/" : "");
    return delete_range(write, write->schema->pairs, prefix, (size_t)len, 0, &request->count);
}

/* The pair of a key, revision 0 if there is none. */
static int look_up(fwi_lmdb_write *write, const char *key, struct fwi_lmdb_pair_head *ret_head,
                   fw_slice *ret_value)
{
    MDB_val id = text_val(key), data;
    *ret_head = (struct fwi_lmdb_pair_head){.revision = 0};
    *ret_value = (fw_slice){NULL, 0};
    int rc = mdb_get(write->txn, write->schema->pairs, &id, &data);
    if (!rc && !fwi_lmdb_take_head(data, ret_head, sizeof *ret_head, ret_value))
        rc = MDB_CORRUPTED;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int compare(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    const fwi_kv_txn *txn = request->txn;
    request->succeeded = true;
    for (size_t i = 0; request->succeeded && i < txn->compare_count; i++) {
        struct fwi_lmdb_pair_head head;
        fw_slice value;
        int rc = look_up(write, txn->compares[i].key, &head, &value);
        if (rc)
            return rc;
        request->succeeded = fwi_kv_compare_holds(&txn->compares[i], head.revision, value);
    }
    return 0;
}

/* What a branch reads is what was there before it; and once it writes, nothing may stop it. */
static int read_branch(fwi_lmdb_write *write, fwi_lmdb_request *request,
                       const fwi_kv_branch *branch, bool *ret_writes)
{
    *ret_writes = false;
    for (size_t i = 0; i < branch->count; i++) {
        const fwi_kv_txn_op *op = &branch->ops[i];
        struct fwi_lmdb_pair_head head;
        struct fwi_lmdb_lease lease;
        fw_slice value;
        int rc = look_up(write, op->key, &head, &value);
        if (rc)
            return rc;
        if (op->type == FW_KV_TXN_GET) {
            if (fwi_kv_pairs_add(&request->pairs, op->key, strlen(op->key), value, head.revision,
                                 head.lease))
                return ENOMEM;
            continue;
        }
        *ret_writes |= op->type == FW_KV_TXN_PUT || head.revision;
        rc = op->lease ? lease_get(write, op->lease, &lease) : 0;
        if (rc == MDB_NOTFOUND)
            request->status = FW_ELEASE;
        else if (rc)
            return rc;
    }
    return 0;
}

static int execute_txn(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    int rc = compare(write, request);
    if (rc)
        return rc;
    const fwi_kv_branch *branch =
        request->succeeded ? &request->txn->then : &request->txn->otherwise;
    bool writes;
    rc = read_branch(write, request, branch, &writes);
    if (rc || request->status || !writes)
        return rc;
    next_revision(write);
    for (size_t i = 0; !rc && i < branch->count; i++) {
        const fwi_kv_txn_op *op = &branch->ops[i];
        struct fwi_lmdb_pair_head head;
        if (op->type == FW_KV_TXN_PUT)
            rc = put_pair(write, op->key, op->value, op->lease);
        else if (op->type == FW_KV_TXN_DELETE && !(rc = find_pair(write, op->key, &head)))
            rc = delete_pair(write, op->key, strlen(op->key));
        else if (rc == MDB_NOTFOUND)
            rc = 0;
    }
    return rc;
}

static int execute_op(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    if (request->op_type == FWI_KV_DELETE_TREE)
        return execute_delete_tree(write, request);
    if (request->op_type == FWI_KV_TXN)
        return execute_txn(write, request);
    struct fwi_lmdb_pair_head head = {.revision = 0};
    int rc = find_pair(write, request->key, &head);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    bool exists = !rc;
    switch (request->op_type) {
    case FWI_KV_PUT:
        return execute_put(write, request);
    case FWI_KV_ATOMIC_PUT:
        if (!request->previous)
            request->status = exists ? FW_EEXISTS : FW_OK;
        else
            request->status = !exists                              ? FW_ENOTFOUND
                              : head.revision != request->previous ? FW_EMODIFIED
                                                                   : FW_OK;
        return request->status ? 0 : execute_put(write, request);
    case FWI_KV_DELETE:
        request->status = exists ? FW_OK : FW_ENOTFOUND;
        return exists ? execute_delete(write, request) : 0;
    case FWI_KV_ATOMIC_DELETE:
        request->status = !exists                              ? FW_ENOTFOUND
                          : head.revision != request->previous ? FW_EMODIFIED
                                                               : FW_OK;
        return request->status ? 0 : execute_delete(write, request);
    default:
        request->status = FW_EUNSUPPORTED;
        return 0;
    }
}

static int execute_lease(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    if (request->kind == FWI_LMDB_GRANT)
        return lease_new(write, request->ttl_ms, &request->lease);
    struct fwi_lmdb_lease lease;
    int rc = lease_get(write, request->lease, &lease);
    if (rc == MDB_NOTFOUND) {
        request->status = FW_ELEASE;
        return 0;
    }
    if (!rc && request->kind == FWI_LMDB_REVOKE)
        return lease_end(write, request->lease, lease.expires_ms);
    if (!rc)
        rc = lease_index(write, request->lease, lease.expires_ms, false);
    return rc ? rc : lease_set(write, request->lease, lease.ttl_ms);
}

int fwi_lmdb_write_execute(fwi_lmdb_write *write, fwi_lmdb_request *request)
{
    request->status = FW_OK;
    request->count = 0;
    fwi_kv_pairs_fini(&request->pairs); /* of an execution whose transaction was aborted */
    int rc = 0;
    if (request->deadline_ms && uv_hrtime() / 1000000 > request->deadline_ms) {
        request->status = FW_EDEADLINE;
        request->detail = "not done: another writer held the store for too long";
    } else if (request->kind == FWI_LMDB_OP) {
        rc = execute_op(write, request);
    } else if (request->kind != FWI_LMDB_REFRESH) {
        rc = execute_lease(write, request);
    }
    request->revision = write->state.revision;
    return rc;
}

int fwi_lmdb_write_begin(fwi_lmdb_write *write, const fwi_lmdb_schema *schema, MDB_txn *txn)
{
    *write = (fwi_lmdb_write){.schema = schema, .txn = txn, .now_ms = fwi_lmdb_clock_ms()};
    int rc = fwi_lmdb_read_state(schema, txn, &write->state);
    return rc ? rc : expire(write);
}

int fwi_lmdb_write_end(fwi_lmdb_write *write)
{
    if (!write->dirty)
        return 0;
    int rc = trim_log(write);
    MDB_val key = state_key(), data = {sizeof write->state, &write->state};
    return rc ? rc : mdb_put(write->txn, write->schema->state, &key, &data, 0);
}

/* ---- opening ---- */

static void read_boot_id(uint8_t *ret_boot)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file)
        return; /* all zero: then the clock alone tells */
    size_t nibbles = 0;
    for (int c; nibbles < 32 && (c = fgetc(file)) != EOF;) {
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            continue;
        ret_boot[nibbles / 2] = (uint8_t)(ret_boot[nibbles / 2] << 4 | digit);
        nibbles++;
    }
    fclose(file);
}

int fwi_lmdb_read_state(const fwi_lmdb_schema *schema, MDB_txn *txn,
                        struct fwi_lmdb_state *ret_state)
{
    MDB_val key = state_key(), data;
    int rc = mdb_get(txn, schema->state, &key, &data);
    if (rc)
        return rc;
    if (!fwi_lmdb_take_head(data, ret_state, sizeof *ret_state, NULL))
        return MDB_CORRUPTED;
    return ret_state->format == FORMAT ? 0 : MDB_VERSION_MISMATCH;
}

int fwi_lmdb_schema_open(fwi_lmdb_schema *schema, MDB_txn *txn)
{
    *schema = (fwi_lmdb_schema){.state = 0};
    read_boot_id(schema->boot);
    const struct {
        const char *name;
        MDB_dbi *table;
    } tables[] = {{"state", &schema->state},   {"pairs", &schema->pairs},
                  {"log", &schema->log},       {"leases", &schema->leases},
                  {"expiry", &schema->expiry}, {"lease_keys", &schema->lease_keys}};
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof tables / sizeof *tables; i++)
        rc = mdb_dbi_open(txn, tables[i].name, MDB_CREATE, tables[i].table);
    struct fwi_lmdb_state state = {.format = 0};
    if (!rc)
        rc = fwi_lmdb_read_state(schema, txn, &state);
    if (rc == MDB_NOTFOUND) {
        /* A list of the empty store has a revision, too. */
        state = (struct fwi_lmdb_state){.format = FORMAT, .revision = 1};
        MDB_val key = state_key(), data = {sizeof state, &state};
        rc = mdb_put(txn, schema->state, &key, &data, 0);
    }
    fwi_lmdb_write write = {
        .schema = schema, .txn = txn, .state = state, .now_ms = fwi_lmdb_clock_ms()};
    if (!rc)
        rc = expire_other_boots(&write);
    return rc ? rc : fwi_lmdb_write_end(&write);
}
