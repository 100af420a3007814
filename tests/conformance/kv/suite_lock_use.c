/* Locks: what they guard, what others see of them, and what cannot be one. */
#include "suite_lock.h"

/* ---- guarding ---- */

static int guarded_put(fw_kv *kv, fw_kv_compare guard, const char *value)
{
    fw_kv_txn_op put = {.type = FW_KV_TXN_PUT, .key = "guarded", .value = kvt_text(value)};
    fw_kv_txn txn = {.compares = &guard, .compare_count = 1, .then = &put, .then_count = 1};
    const kvt_answer *answer = kvt_txn(kv, &txn);
    return answer->status ? answer->status : answer->succeeded ? FW_OK : FW_EMODIFIED;
}

START_TEST(a_lock_guards_transactions_while_it_is_held)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock first = {.lock = NULL}, second = {.lock = NULL};
    kvt_lock_take(kv, "guard", "first", &first);
    fw_kv_compare compare = fw_kv_lock_compare(first.lock);
    if (!kvt_can(kv, FW_KV_CAN_TXN)) {
        ck_assert_int_eq(guarded_put(kv, compare, "x"), FW_EUNSUPPORTED);
        kvt_lock_close(&first);
        kvt_close(other);
        kvt_close(kv);
        return;
    }
    char key[FW_KV_MAX_KEY_BYTES + 1];
    snprintf(key, sizeof key, "%s", compare.key);
    ck_assert_int_eq(guarded_put(kv, compare, "by first"), FW_OK);
    kvt_lock_ask(other, "guard", NULL, &second);
    kvt_lock_let_it_queue(kv, &second);
    /* Who waits has no right yet... */
    ck_assert_int_eq(guarded_put(kv, fw_kv_lock_compare(second.lock), "early"), FW_EMODIFIED);
    ck_assert_int_eq(guarded_put(kv, compare, "by first"), FW_OK);
    kvt_lock_close(&first);
    ck_assert_int_eq(kvt_lock_await(&second), FW_OK);
    /* ... and who had it has none any more, even with the old comparison. */
    compare.key = key;
    ck_assert_int_eq(guarded_put(kv, compare, "too late"), FW_EMODIFIED);
    ck_assert_int_eq(guarded_put(kv, fw_kv_lock_compare(second.lock), "by second"), FW_OK);
    kvt_assert_value(kv, "guarded", "by second");
    kvt_assert_status(kvt_delete(kv, "guard"), FW_OK);
    fwt_run_until(&second.lost, KVT_WAIT_MS);
    kvt_lock_close(&second);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* ---- what others see ---- */

START_TEST(the_queue_is_neither_listed_nor_watched)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_watch tree = {.watch = NULL}, late = {.watch = NULL}, key = {.watch = NULL};
    kvt_watch_tree(other, "", &tree);
    kvt_watch_key(other, "dir/lock", &key);
    kvt_expect(&tree, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_expect(&key, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "dir/other", "x");
    kvt_lock first = {.lock = NULL}, second = {.lock = NULL};
    kvt_lock_take(kv, "dir/lock", "first", &first);
    fw_kv_lock_options options = {.value = kvt_text("second")};
    kvt_lock_ask(other, "dir/lock", &options, &second);
    kvt_lock_let_it_queue(kv, &second);
    ck_assert_str_eq(kvt_listing(kv, "dir"), "dir/lock=first dir/other=x");
    ck_assert_str_eq(kvt_listing(kv, "dir/lock"), "");
    ck_assert_str_eq(kvt_listing(kv, ""), "dir/lock=first dir/other=x");
    kvt_watch_tree(other, "dir", &late);
    for (int i = 0; i < 2; i++)
        ck_assert(strncmp(kvt_expect(&late, FW_KV_PUT, NULL, NULL)->pair.key, "dir/lock/", 9));
    kvt_expect(&late, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_lock_close(&first);
    ck_assert_int_eq(kvt_lock_await(&second), FW_OK);
    kvt_lock_close(&second);
    kvt_must_put(kv, "dir/z", "end");
    kvt_watch *const trees[] = {&tree, &late};
    for (size_t i = 0; i < 2; i++) {
        if (trees[i] == &tree)
            kvt_expect_changes(&tree, {FW_KV_PUT, "dir/other", "x"},
                               {FW_KV_PUT, "dir/lock", "first"});
        kvt_expect_changes(trees[i], {FW_KV_DELETE, "dir/lock", ""},
                           {FW_KV_PUT, "dir/lock", "second"}, {FW_KV_DELETE, "dir/lock", ""},
                           {FW_KV_PUT, "dir/z", "end"});
    }
    kvt_expect_changes(&key, {FW_KV_PUT, "dir/lock", "first"});
    kvt_watch_close(&tree);
    kvt_watch_close(&late);
    kvt_watch_close(&key);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(locks_side_by_side_do_not_meet)
{
    enum { COUNT = 10 };
    fw_kv *kv = kvt_open();
    kvt_lock locks[COUNT] = {{.lock = NULL}};
    static const char *const keys[COUNT] = {"a", "aa", "b/c", "b/cc", "b/d",
                                            "0", "00", "x-",  "x.",   "x_"};
    for (size_t i = 0; i < COUNT; i++)
        kvt_lock_ask(kv, keys[i], &kvt_lock_no_wait, &locks[i]);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(kvt_lock_await(&locks[i]), FW_OK);
    ck_assert_uint_eq(kvt_list(kv, "")->count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        kvt_lock_close(&locks[i]);
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    kvt_close(kv);
}
END_TEST

START_TEST(bad_keys_and_options_of_locks_are_refused)
{
    fw_kv *kv = kvt_open();
    fw_kv_lock *lock;
    char key[FW_KV_MAX_KEY_BYTES + 1];
    memset(key, 'k', sizeof key);
    key[FW_KV_MAX_KEY_BYTES] = 0; /* good for a pair, too long with what a lock adds */
    kvt_lock unused = {.lock = NULL};
    fw_kv_lock_options options = {.ttl_ms = 5000};
    FWT_ERR(fw_kv_lock_new(kv, "k", &options, &lock), FW_EOPTION); /* no on_acquired */
    kvt_lock_take(kv, "k", "", &unused);
    kvt_lock_close(&unused);
    static const char *const bad[] = {"", "/", "//", NULL};
    for (size_t i = 0; i < KVT_COUNT(bad); i++) {
        fw_kv_lock_options good = {
            .on_acquired = (void (*)(fw_kv_lock *, int, const char *, void *))(uintptr_t)1};
        FWT_ERR(fw_kv_lock_new(kv, bad[i] ? bad[i] : key, &good, &lock), FW_EKEY);
        good.ttl_ms = 999;
        FWT_ERR(fw_kv_lock_new(kv, "k", &good, &lock), FW_EOPTION);
    }
    /* The longest that can be locked. */
    key[FW_KV_MAX_KEY_BYTES - 40] = 0;
    unused = (kvt_lock){.lock = NULL};
    kvt_lock_take(kv, key, "long", &unused);
    kvt_assert_value(kv, key, "long");
    kvt_lock_close(&unused);
    kvt_close(kv);
}
END_TEST

void kvt_add_lock_uses(const kvt_group *group)
{
    kvt_add(group, "C41", a_lock_guards_transactions_while_it_is_held);
    kvt_add(group, "C42", the_queue_is_neither_listed_nor_watched);
    kvt_add(group, "C34", locks_side_by_side_do_not_meet);
    kvt_add(group, "C43", bad_keys_and_options_of_locks_are_refused);
}
