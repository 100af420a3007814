/*
 * What the test suites of libkv (testutils, on which walle's store is built) and valkeyrie
 * (testsuite) check, each of their tests as one of ours, so that a user of theirs knows what to
 * expect. Where the two differ, or leave open, what ours promises is written beside.
 */
#include "kvt.h"

static fw_kv_lock_options locking_as(const char *value, uint32_t ttl_ms)
{
    return (fw_kv_lock_options){.value = kvt_text(value), .ttl_ms = ttl_ms};
}

/* libkv and valkeyrie, RunTestCommon: testPutGetDeleteExists. */
START_TEST(compat_put_get_delete_exists)
{
    static const char *const keys[] = {"testPutGetDeleteExists", "testPutGetDeleteExists/",
                                       "testPutGetDeleteExists/testbar/",
                                       "testPutGetDeleteExists/testbar/testfoobar"};
    fw_kv *kv = kvt_open();
    kvt_assert_status(kvt_get(kv, "testPutGetDeleteExists/unknown"), FW_ENOTFOUND);
    for (size_t i = 0; i < KVT_COUNT(keys); i++) {
        kvt_assert_status(kvt_put(kv, keys[i], "bar"), FW_OK);
        const kvt_answer *answer = kvt_assert_status(kvt_get(kv, keys[i]), FW_OK);
        ck_assert_str_eq(answer->pairs[0].value, "bar");
        ck_assert_int_ne(answer->pairs[0].revision, 0);
        ck_assert_uint_eq(kvt_exists(kv, keys[i])->count, 1);
        kvt_assert_status(kvt_delete(kv, keys[i]), FW_OK);
        kvt_assert_status(kvt_get(kv, keys[i]), FW_ENOTFOUND);
        ck_assert_uint_eq(kvt_exists(kv, keys[i])->count, 0);
    }
    kvt_close(kv);
}
END_TEST

/* testList. An unknown directory is an error there, an empty list here. */
START_TEST(compat_list)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testList/first", "first");
    kvt_must_put(kv, "testList/second", "second");
    for (int i = 0; i < 2; i++)
        ck_assert_str_eq(kvt_listing(kv, i ? "testList/" : "testList"),
                         "testList/first=first testList/second=second");
    ck_assert_uint_eq(kvt_assert_status(kvt_list(kv, "idontexist"), FW_OK)->count, 0);
    kvt_close(kv);
}
END_TEST

/* valkeyrie's testList: a parent, a child, a sub-folder and three keys in it. */
START_TEST(compat_list_of_levels)
{
    fw_kv *kv = kvt_open();
    static const char *const keys[] = {"testList",
                                       "testList/child",
                                       "testList/subfolder",
                                       "testList/subfolder/key1",
                                       "testList/subfolder/key2",
                                       "testList/subfolder/key3"};
    for (size_t i = 0; i < KVT_COUNT(keys); i++)
        kvt_must_put(kv, keys[i], i ? "value" : "");
    ck_assert_uint_eq(kvt_list(kv, "testList")->count, 5);
    ck_assert_uint_eq(kvt_list(kv, "testList/")->count, 5);
    ck_assert_uint_eq(kvt_assert_status(kvt_list(kv, "testList/child"), FW_OK)->count, 0);
    ck_assert_uint_eq(kvt_list(kv, "testList/subfolder")->count, 3);
    kvt_close(kv);
}
END_TEST

/* testDeleteTree. */
START_TEST(compat_delete_tree)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testDeleteTree/first", "first");
    kvt_must_put(kv, "testDeleteTree/second", "second");
    kvt_assert_value(kv, "testDeleteTree/first", "first");
    kvt_assert_value(kv, "testDeleteTree/second", "second");
    kvt_assert_status(kvt_delete_tree(kv, "testDeleteTree"), FW_OK);
    kvt_assert_status(kvt_get(kv, "testDeleteTree/first"), FW_ENOTFOUND);
    kvt_assert_status(kvt_get(kv, "testDeleteTree/second"), FW_ENOTFOUND);
    kvt_close(kv);
}
END_TEST

/* RunTestAtomic: testAtomicPut. Its "previous" is nil, the pair of a get, and index 6744. */
START_TEST(compat_atomic_put)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testAtomicPut", "world");
    const kvt_answer *answer = kvt_assert_status(kvt_get(kv, "testAtomicPut"), FW_OK);
    int64_t index = answer->pairs[0].revision;
    ck_assert_str_eq(answer->pairs[0].value, "world");
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPut", "WORLD", 0), FW_EEXISTS);
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPut", "WORLD", index), FW_OK);
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPut", "WORLDWORLD", index + 6744),
                      FW_EMODIFIED);
    kvt_assert_value(kv, "testAtomicPut", "WORLD");
    kvt_close(kv);
}
END_TEST

/* testAtomicPutCreate, with the error that theirs is said to be. */
START_TEST(compat_atomic_put_create)
{
    fw_kv *kv = kvt_open();
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPutCreate/create", "putcreate", 0), FW_OK);
    kvt_assert_value(kv, "testAtomicPutCreate/create", "putcreate");
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPutCreate/create", "putcreate", 0), FW_EEXISTS);
    int64_t index = kvt_get(kv, "testAtomicPutCreate/create")->pairs[0].revision;
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPutCreate/create", "putupdate", index), FW_OK);
    kvt_close(kv);
}
END_TEST

/* libkv's testAtomicPutWithSlashSuffixKey. */
START_TEST(compat_atomic_put_with_a_slash_behind)
{
    fw_kv *kv = kvt_open();
    kvt_assert_status(kvt_atomic_put(kv, "testAtomicPutWithSlashSuffixKey/key/", "", 0), FW_OK);
    kvt_close(kv);
}
END_TEST

/* testAtomicDelete. */
START_TEST(compat_atomic_delete)
{
    fw_kv *kv = kvt_open();
    int64_t index = kvt_must_put(kv, "testAtomicDelete", "world");
    kvt_assert_status(kvt_atomic_delete(kv, "testAtomicDelete", index + 6744), FW_EMODIFIED);
    kvt_assert_status(kvt_atomic_delete(kv, "testAtomicDelete", index), FW_OK);
    kvt_assert_status(kvt_atomic_delete(kv, "testAtomicDelete", index), FW_ENOTFOUND);
    kvt_close(kv);
}
END_TEST

/* RunTestWatch: testWatch. The key comes without the slashes that theirs gives back. */
START_TEST(compat_watch)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testWatch", "world");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_key(kv, "testWatch", &watch);
    kvt_expect(&watch, FW_KV_PUT, "testWatch", "world");
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        kvt_must_put(kv, "testWatch", i % 2 ? "world!" : "world!!");
        kvt_expect(&watch, FW_KV_PUT, "testWatch", i % 2 ? "world!" : "world!!");
    }
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

/* testWatchTree: the list, then what becomes of it. */
START_TEST(compat_watch_tree)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testWatchTree/node1", "node1");
    kvt_must_put(kv, "testWatchTree/node2", "node2");
    kvt_must_put(kv, "testWatchTree/node3", "node3");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "testWatchTree", &watch);
    for (int i = 0; i < 3; i++)
        kvt_expect(&watch, FW_KV_PUT, NULL, NULL);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_assert_status(kvt_delete(kv, "testWatchTree/node3"), FW_OK);
    kvt_expect(&watch, FW_KV_DELETE, "testWatchTree/node3", "");
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

/* RunTestLock: testLockUnlock. */
START_TEST(compat_lock_unlock)
{
    fw_kv *kv = kvt_open();
    for (int i = 0; i < 2; i++) {
        kvt_lock lock = {.lock = NULL};
        fw_kv_lock_options options = locking_as("bar", 2000);
        kvt_lock_ask(kv, "testLockUnlock", &options, &lock);
        ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
        kvt_assert_value(kv, "testLockUnlock", "bar");
        ck_assert_int_ne(kvt_get(kv, "testLockUnlock")->pairs[0].revision, 0);
        kvt_lock_close(&lock);
    }
    kvt_close(kv);
}
END_TEST

/* RunTestLockTTL: who renews keeps the other out for four seconds; when the holder is closed, the
 * other gets it within moments, and its value stands there. */
START_TEST(compat_lock_ttl)
{
    fw_kv *kv = kvt_open(), *backup = kvt_open();
    kvt_lock lock = {.lock = NULL}, other = {.lock = NULL}, stopped = {.lock = NULL};
    fw_kv_lock_options options = locking_as("bar", 2000);
    kvt_lock_ask(kv, "testLockTTL", &options, &lock);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    options = locking_as("foobar", 2000);
    options.wait_ms = 4000;
    kvt_lock_ask(backup, "testLockTTL", &options, &stopped);
    ck_assert_int_eq(kvt_lock_await(&stopped), FW_EDEADLINE);
    kvt_lock_close(&stopped);
    kvt_assert_value(backup, "testLockTTL", "bar");
    kvt_close(kv); /* with the lock in hand */
    kvt_lock_ask(backup, "testLockTTL", &options, &other);
    ck_assert_int_eq(kvt_lock_await(&other), FW_OK);
    kvt_assert_value(backup, "testLockTTL", "foobar");
    kvt_lock_close(&other);
    kvt_close(backup);
}
END_TEST

/* libkv's testLockWait: the second waits, and gets it after the unlock. */
START_TEST(compat_lock_wait)
{
    fw_kv *kv = kvt_open(), *backup = kvt_open();
    kvt_lock lock = {.lock = NULL}, other = {.lock = NULL};
    kvt_lock_take(kv, "testLockWait", "bar", &lock);
    fw_kv_lock_options options = locking_as("foobar", 2000);
    kvt_lock_ask(backup, "testLockWait", &options, &other);
    fwt_run_for(1000);
    ck_assert(!other.answered);
    kvt_lock_close(&lock);
    ck_assert_int_eq(kvt_lock_await(&other), FW_OK);
    kvt_lock_close(&other);
    kvt_close(backup);
    kvt_close(kv);
}
END_TEST

/* valkeyrie's testListLock: a parent and three locked children; no side key is listed. */
START_TEST(compat_list_of_locks)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testListLock/other", "v");
    kvt_lock locks[3] = {{.lock = NULL}};
    static const char *const keys[] = {"testListLock/child1", "testListLock/child2",
                                       "testListLock/child3"};
    for (size_t i = 0; i < 3; i++)
        kvt_lock_take(kv, keys[i], "value", &locks[i]);
    const kvt_answer *list = kvt_assert_status(kvt_list(kv, "testListLock"), FW_OK);
    ck_assert_uint_eq(list->count, 4);
    for (size_t i = 0; i < list->pair_count; i++)
        ck_assert_ptr_null(strstr(list->pairs[i].key, "___lock"));
    for (size_t i = 0; i < 3; i++)
        kvt_lock_close(&locks[i]);
    kvt_close(kv);
}
END_TEST

/* RunTestTTL: testPutTTL, after the writer is closed. */
START_TEST(compat_put_ttl)
{
    fw_kv *kv = kvt_open(), *backup = kvt_open();
    fw_kv_put_options options = {.ttl_ms = 2000};
    kvt_assert_status(kvt_put_with(backup, "testPutTTL/1", kvt_text("foo"), &options), FW_OK);
    kvt_assert_status(kvt_put_with(backup, "testPutTTL/2", kvt_text("bar"), &options), FW_OK);
    kvt_assert_value(kv, "testPutTTL/1", "foo");
    kvt_assert_value(kv, "testPutTTL/2", "bar");
    kvt_close(backup);
    kvt_await_gone(kv, "testPutTTL/1");
    kvt_await_gone(kv, "testPutTTL/2");
    kvt_close(kv);
}
END_TEST

/* RunCleanup: the tree of each test is deleted, then its key; it may be missing. */
START_TEST(compat_cleanup)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "testPutTTL", "x");
    kvt_must_put(kv, "testPutTTL/1/2", "x");
    for (int i = 0; i < 2; i++) {
        kvt_assert_status(kvt_delete_tree(kv, "testPutTTL"), FW_OK);
        kvt_assert_status(kvt_delete(kv, "testPutTTL"), i ? FW_ENOTFOUND : FW_OK);
    }
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    kvt_close(kv);
}
END_TEST

void kvt_add_compat(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "compatibility");
    kvt_add(&group, "C5 C49", compat_put_get_delete_exists);
    kvt_add(&group, "C7 C49", compat_list);
    kvt_add(&group, "C7 C49", compat_list_of_levels);
    kvt_add(&group, "C8 C49", compat_delete_tree);
    kvt_add(&group, "C9 C49", compat_atomic_put);
    kvt_add(&group, "C9 C49", compat_atomic_put_create);
    kvt_add(&group, "C9 C49", compat_atomic_put_with_a_slash_behind);
    kvt_add(&group, "C9 C49", compat_atomic_delete);
    kvt_add(&group, "C13 C49", compat_watch);
    kvt_add(&group, "C13 C49", compat_watch_tree);
    kvt_add(&group, "C34 C49", compat_lock_unlock);
    kvt_add(&group, "C36 C49", compat_lock_ttl);
    kvt_add(&group, "C34 C49", compat_lock_wait);
    kvt_add(&group, "C42 C49", compat_list_of_locks);
    kvt_add(&group, "C23 C49", compat_put_ttl);
    kvt_add(&group, "C8 C49", compat_cleanup);
}
