/* The tables of the LMDB store, without threads: revisions, leases, the bounds of the log. */
#include "lmdb/schema.h"
#include "fwt.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static MDB_env *env;
static fwi_lmdb_schema schema;

static void open_schema(MDB_txn **ret_txn)
{
    FWT_OK(mdb_txn_begin(env, NULL, 0, ret_txn));
    FWT_OK(fwi_lmdb_schema_open(&schema, *ret_txn));
}

static void setup(void)
{
    FWT_OK(mdb_env_create(&env));
    FWT_OK(mdb_env_set_maxdbs(env, 8));
    FWT_OK(mdb_env_set_mapsize(env, (size_t)1 << 30));
    FWT_OK(mdb_env_open(env, fwt_tmpdir(), MDB_NOSYNC | MDB_NOTLS, 0600));
    MDB_txn *txn;
    open_schema(&txn);
    FWT_OK(mdb_txn_commit(txn));
}

static void teardown(void)
{
    mdb_env_close(env);
}

static fwi_lmdb_request op(fwi_kv_op_type type, const char *key, const char *value)
{
    return (fwi_lmdb_request){.kind = FWI_LMDB_OP,
                              .op_type = type,
                              .key = (char *)key,
                              .value = {value, value ? strlen(value) : 0}};
}

/* Does one request in a transaction of its own; returns its status. */
static int run(fwi_lmdb_request *request)
{
    MDB_txn *txn;
    fwi_lmdb_write write;
    FWT_OK(mdb_txn_begin(env, NULL, 0, &txn));
    FWT_OK(fwi_lmdb_write_begin(&write, &schema, txn));
    FWT_OK(fwi_lmdb_write_execute(&write, request));
    FWT_OK(fwi_lmdb_write_end(&write));
    FWT_OK(mdb_txn_commit(txn));
    return request->status;
}

static struct fwi_lmdb_state state_now(void)
{
    MDB_txn *txn;
    struct fwi_lmdb_state state;
    FWT_OK(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    FWT_OK(fwi_lmdb_read_state(&schema, txn, &state));
    mdb_txn_abort(txn);
    return state;
}

static size_t entries_of(MDB_dbi table)
{
    MDB_txn *txn;
    MDB_stat stat;
    FWT_OK(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    FWT_OK(mdb_stat(txn, table, &stat));
    mdb_txn_abort(txn);
    return stat.ms_entries;
}

START_TEST(each_change_takes_one_revision)
{
    ck_assert_int_eq(state_now().revision, 1);
    static const char *const keys[] = {"a/1", "a/2", "a/3", "ab"};
    for (size_t i = 0; i < 4; i++) {
        fwi_lmdb_request put = op(FWI_KV_PUT, keys[i], "v");
        FWT_OK(run(&put));
        ck_assert_int_eq(put.revision, (int64_t)i + 2);
    }
    fwi_lmdb_request tree = op(FWI_KV_DELETE_TREE, "a", NULL);
    FWT_OK(run(&tree));
    ck_assert_uint_eq(tree.count, 3);
    ck_assert_int_eq(tree.revision, 6);
    FWT_OK(run(&tree));
    ck_assert_uint_eq(tree.count, 0);
    ck_assert_int_eq(tree.revision, 6); /* nothing done, no revision taken */
    fwi_lmdb_request missing = op(FWI_KV_DELETE, "a/1", NULL);
    FWT_ERR(run(&missing), FW_ENOTFOUND);
    ck_assert_int_eq(state_now().revision, 6);
    ck_assert_uint_eq(state_now().log_entries, 7);
    ck_assert_uint_eq(entries_of(schema.log), 7);
}
END_TEST

START_TEST(a_lease_ends_in_one_revision_and_leaves_nothing)
{
    fwi_lmdb_request grant = {.kind = FWI_LMDB_GRANT, .ttl_ms = 60000};
    FWT_OK(run(&grant));
    ck_assert_int_ne(grant.lease, 0);
    static const char *const keys[] = {"x", "y", "z"};
    for (size_t i = 0; i < 3; i++) {
        fwi_lmdb_request put = op(FWI_KV_PUT, keys[i], "v");
        put.lease = grant.lease;
        FWT_OK(run(&put));
        FWT_OK(run(&put));
    }
    fwi_lmdb_request leave = op(FWI_KV_PUT, "z", "free");
    FWT_OK(run(&leave));
    ck_assert_uint_eq(entries_of(schema.lease_keys), 2);
    fwi_lmdb_request renew = {.kind = FWI_LMDB_RENEW, .lease = grant.lease};
    FWT_OK(run(&renew));
    ck_assert_uint_eq(entries_of(schema.expiry), 1);
    int64_t before = state_now().revision;
    fwi_lmdb_request revoke = {.kind = FWI_LMDB_REVOKE, .lease = grant.lease};
    FWT_OK(run(&revoke));
    ck_assert_int_eq(state_now().revision, before + 1);
    ck_assert_uint_eq(entries_of(schema.pairs), 1);
    ck_assert_uint_eq(entries_of(schema.lease_keys), 0);
    ck_assert_uint_eq(entries_of(schema.leases), 0);
    ck_assert_uint_eq(entries_of(schema.expiry), 0);
    FWT_ERR(run(&revoke), FW_ELEASE);
    FWT_ERR(run(&renew), FW_ELEASE);
    fwi_lmdb_request late = op(FWI_KV_PUT, "late", "v");
    late.lease = grant.lease;
    FWT_ERR(run(&late), FW_ELEASE);
    ck_assert_uint_eq(entries_of(schema.pairs), 1);
}
END_TEST

START_TEST(an_expired_lease_is_invisible_and_then_gone)
{
    fwi_lmdb_request put = op(FWI_KV_PUT, "brief", "v");
    put.ttl_ms = 1;
    FWT_OK(run(&put));
    uint64_t until = fwi_lmdb_clock_ms() + 3;
    while (fwi_lmdb_clock_ms() < until)
        ;
    MDB_txn *txn;
    FWT_OK(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    fwi_kv_op get = {.type = FWI_KV_GET, .key = (char *)"brief"},
              list = {.type = FWI_KV_LIST, .key = (char *)""};
    int status;
    FWT_OK(fwi_lmdb_read_op(&schema, txn, &get, &status));
    ck_assert_int_eq(status, FW_ENOTFOUND);
    FWT_OK(fwi_lmdb_read_op(&schema, txn, &list, &status));
    ck_assert_uint_eq(list.pairs.count, 0);
    mdb_txn_abort(txn);
    ck_assert_uint_eq(entries_of(schema.pairs), 1);
    fwi_lmdb_request create = op(FWI_KV_ATOMIC_PUT, "brief", "again");
    FWT_OK(run(&create)); /* every transaction first ends what is over */
    ck_assert_uint_eq(entries_of(schema.pairs), 1);
    ck_assert_uint_eq(entries_of(schema.leases), 0);
}
END_TEST

START_TEST(leases_of_another_boot_are_over)
{
    fwi_lmdb_request put = op(FWI_KV_PUT, "k", "v");
    put.ttl_ms = 3600000;
    schema.boot[0] ^= 0xff; /* written before the machine was started anew */
    FWT_OK(run(&put));
    FWT_OK(run(&put));
    ck_assert_uint_eq(entries_of(schema.leases), 2);
    MDB_txn *txn;
    open_schema(&txn);
    FWT_OK(mdb_txn_commit(txn));
    ck_assert_uint_eq(entries_of(schema.leases), 0);
    ck_assert_uint_eq(entries_of(schema.pairs), 0);
    FWT_OK(run(&put));
    open_schema(&txn);
    FWT_OK(mdb_txn_commit(txn));
    ck_assert_uint_eq(entries_of(schema.leases), 1);
}
END_TEST

static bool log_has_whole_revisions(void)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val id, data;
    FWT_OK(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    FWT_OK(mdb_cursor_open(txn, schema.log, &cursor));
    FWT_OK(mdb_cursor_get(cursor, &id, &data, MDB_FIRST));
    static const uint8_t zeros[8];
    bool first_is_begin = !memcmp((const uint8_t *)id.mv_data + 8, zeros, 8);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return first_is_begin;
}

START_TEST(the_log_is_bounded_by_entries)
{
    MDB_txn *txn;
    fwi_lmdb_write write;
    fwi_lmdb_request put = op(FWI_KV_PUT, "k/x", "v"), other = op(FWI_KV_PUT, "k/y", "v"),
                     tree = op(FWI_KV_DELETE_TREE, "k", NULL);
    FWT_OK(mdb_txn_begin(env, NULL, 0, &txn));
    FWT_OK(fwi_lmdb_write_begin(&write, &schema, txn));
    for (int i = 0; i < FWI_LMDB_LOG_ENTRIES / 4 + 1; i++) {
        FWT_OK(fwi_lmdb_write_execute(&write, &put));
        FWT_OK(fwi_lmdb_write_execute(&write, &other));
        FWT_OK(fwi_lmdb_write_execute(&write, &tree)); /* a revision of two entries */
    }
    FWT_OK(fwi_lmdb_write_end(&write));
    FWT_OK(mdb_txn_commit(txn));
    struct fwi_lmdb_state state = state_now();
    ck_assert_uint_le(state.log_entries, FWI_LMDB_LOG_ENTRIES / 8 * 7);
    ck_assert_uint_ge(state.log_entries, FWI_LMDB_LOG_ENTRIES / 8 * 7 - 2);
    ck_assert_uint_eq(entries_of(schema.log), state.log_entries);
    ck_assert(log_has_whole_revisions());
}
END_TEST

START_TEST(the_log_is_bounded_by_bytes)
{
    size_t len = 3 * 1024 * 1024;
    char *value = calloc(1, len);
    fwi_lmdb_request put = op(FWI_KV_PUT, "big", "");
    put.value = (fw_slice){value, len};
    for (int i = 0; i < 30; i++)
        FWT_OK(run(&put));
    free(value);
    struct fwi_lmdb_state state = state_now();
    ck_assert_uint_le(state.log_bytes, FWI_LMDB_LOG_BYTES);
    ck_assert_uint_eq(entries_of(schema.log), state.log_entries);
    ck_assert_uint_ge(state.log_entries, 15);
}
END_TEST

START_TEST(a_request_past_its_time_is_not_done)
{
    fwi_lmdb_request put = op(FWI_KV_PUT, "k", "v");
    put.deadline_ms = 1;
    FWT_ERR(run(&put), FW_EDEADLINE);
    ck_assert_uint_eq(entries_of(schema.pairs), 0);
}
END_TEST

START_TEST(a_foreign_format_is_refused)
{
    MDB_txn *txn;
    struct fwi_lmdb_state state = state_now();
    state.format++;
    MDB_val key = {1, (char *)"s"}, data = {sizeof state, &state};
    FWT_OK(mdb_txn_begin(env, NULL, 0, &txn));
    FWT_OK(mdb_put(txn, schema.state, &key, &data, 0));
    FWT_OK(mdb_txn_commit(txn));
    FWT_OK(mdb_txn_begin(env, NULL, 0, &txn));
    ck_assert_int_eq(fwi_lmdb_schema_open(&schema, txn), MDB_VERSION_MISMATCH);
    mdb_txn_abort(txn);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lmdb schema");
    TCase *tcase = tcase_create("schema");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, each_change_takes_one_revision);
    tcase_add_test(tcase, a_lease_ends_in_one_revision_and_leaves_nothing);
    tcase_add_test(tcase, an_expired_lease_is_invisible_and_then_gone);
    tcase_add_test(tcase, leases_of_another_boot_are_over);
    tcase_add_test(tcase, the_log_is_bounded_by_entries);
    tcase_add_test(tcase, the_log_is_bounded_by_bytes);
    tcase_add_test(tcase, a_request_past_its_time_is_not_done);
    tcase_add_test(tcase, a_foreign_format_is_refused);
    return fwt_main(suite);
}
