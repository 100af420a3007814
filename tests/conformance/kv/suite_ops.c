/* Operations: the lists of libkv and valkeyrie, and what they leave open. */
#include "kvt.h"

START_TEST(put_get_exists_delete)
{
    static const char *const keys[] = {"test", "slash/", "nested/dir/slash/", "nested/dir/key"};
    fw_kv *kv = kvt_open();
    kvt_assert_status(kvt_get(kv, "unknown"), FW_ENOTFOUND);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        kvt_must_put(kv, keys[i], "bar");
        const kvt_answer *answer = kvt_assert_status(kvt_get(kv, keys[i]), FW_OK);
        ck_assert_uint_eq(answer->count, 1);
        ck_assert_str_eq(answer->pairs[0].value, "bar");
        ck_assert_int_gt(answer->pairs[0].revision, 0);
        ck_assert_int_eq(answer->pairs[0].lease, 0);
        ck_assert_uint_eq(kvt_assert_status(kvt_exists(kv, keys[i]), FW_OK)->count, 1);
        kvt_assert_status(kvt_delete(kv, keys[i]), FW_OK);
        answer = kvt_assert_status(kvt_get(kv, keys[i]), FW_ENOTFOUND);
        ck_assert_uint_eq(answer->count, 0);
        ck_assert_uint_eq(kvt_assert_status(kvt_exists(kv, keys[i]), FW_OK)->count, 0);
    }
    kvt_close(kv);
}
END_TEST

START_TEST(a_missing_key_is_not_found)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "a/b", "child");
    kvt_assert_status(kvt_get(kv, "a"), FW_ENOTFOUND); /* a parent is not a key */
    kvt_assert_status(kvt_get(kv, "a/b/c"), FW_ENOTFOUND);
    kvt_assert_status(kvt_delete(kv, "a"), FW_ENOTFOUND);
    kvt_assert_status(kvt_atomic_delete(kv, "a", 6744), FW_ENOTFOUND);
    kvt_assert_status(kvt_atomic_put(kv, "a", "x", 6744), FW_ENOTFOUND);
    kvt_assert_value(kv, "a/b", "child");
    kvt_close(kv);
}
END_TEST

START_TEST(keys_are_normalised)
{
    static const char *const same[] = {"a/b/c", "/a/b/c", "a/b/c/", "a//b///c", "///a/b//c//"};
    fw_kv *kv = kvt_open();
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char value[8];
        snprintf(value, sizeof value, "%zu", i);
        kvt_must_put(kv, same[i], value);
        for (size_t j = 0; j < sizeof same / sizeof *same; j++) {
            const kvt_answer *answer = kvt_assert_status(kvt_get(kv, same[j]), FW_OK);
            ck_assert_str_eq(answer->pairs[0].key, "a/b/c");
            ck_assert_str_eq(answer->pairs[0].value, value);
        }
    }
    ck_assert_str_eq(kvt_listing(kv, "//a//"), "a/b/c=4");
    ck_assert_str_eq(kvt_listing(kv, "/"), "a/b/c=4");
    kvt_must_put(kv, "dot/./..", "names like others");
    ck_assert_str_eq(kvt_listing(kv, "dot"), "dot/./..=names like others");
    kvt_close(kv);
}
END_TEST

START_TEST(bad_keys_are_refused)
{
    fw_kv *kv = kvt_open();
    char key[FW_KV_MAX_KEY_BYTES + 2];
    memset(key, 'k', sizeof key);
    key[FW_KV_MAX_KEY_BYTES + 1] = 0;
    const char *const bad[] = {"", "/", "//", key};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kvt_assert_status(kvt_put(kv, bad[i], "x"), FW_EKEY);
        kvt_assert_status(kvt_get(kv, bad[i]), FW_EKEY);
        kvt_assert_status(kvt_exists(kv, bad[i]), FW_EKEY);
        kvt_assert_status(kvt_delete(kv, bad[i]), FW_EKEY);
        kvt_assert_status(kvt_atomic_put(kv, bad[i], "x", 0), FW_EKEY);
        kvt_assert_status(kvt_atomic_delete(kv, bad[i], 1), FW_EKEY);
    }
    kvt_assert_status(kvt_list(kv, key), FW_EKEY);
    kvt_assert_status(kvt_delete_tree(kv, key), FW_EKEY);
    kvt_watch watch = {.watch = NULL};
    FWT_ERR(fw_kv_watch_key(kv, "/", NULL, NULL, &watch.watch), FW_EKEY);
    FWT_ERR(fw_kv_watch_tree(kv, key, NULL, NULL, &watch.watch), FW_EKEY);
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    kvt_close(kv);
}
END_TEST

START_TEST(the_longest_key_works)
{
    fw_kv *kv = kvt_open();
    char key[FW_KV_MAX_KEY_BYTES + 3] = "/";
    for (size_t i = 0; i < FW_KV_MAX_KEY_BYTES; i++)
        key[i + 1] = (i % 7) == 3 ? '/' : 'k';
    key[FW_KV_MAX_KEY_BYTES] = 'k';
    key[FW_KV_MAX_KEY_BYTES + 1] = '/'; /* slashes at the ends do not count */
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(kv, 30000, &lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_assert_status(kvt_put_with(kv, key, kvt_text("long"), &options), FW_OK);
    kvt_assert_value(kv, key, "long");
    const kvt_answer *answer = kvt_assert_status(kvt_list(kv, "kkk"), FW_OK);
    ck_assert_uint_eq(answer->pair_count, 1);
    ck_assert_uint_eq(strlen(answer->pairs[0].key), FW_KV_MAX_KEY_BYTES);
    ck_assert_uint_eq(kvt_assert_status(kvt_delete_tree(kv, "kkk"), FW_OK)->count, 1);
    kvt_lease_close(&lease);
    kvt_close(kv);
}
END_TEST

START_TEST(a_value_over_the_limit_is_refused)
{
    fw_kv *kv = kvt_open();
    size_t len = (size_t)64 * 1024 * 1024;
    void *zeros = calloc(1, len);
    kvt_assert_status(kvt_put_with(kv, "k", (fw_slice){zeros, len}, NULL), FW_EVALUESIZE);
    kvt_answer unused = {.done = false};
    FWT_ERR(fw_kv_atomic_put(kv, "k", (fw_slice){zeros, len}, 0, NULL, kvt_on_done, &unused),
            FW_EVALUESIZE);
    free(zeros);
    kvt_assert_value(kv, "k", NULL);
    kvt_close(kv);
}
END_TEST

START_TEST(values_are_bytes)
{
    static const uint8_t bytes[] = {0, 1, 0, 0xff, '\n', 0x80, 0};
    fw_kv *kv = kvt_open();
    kvt_assert_status(kvt_put_with(kv, "binary", (fw_slice){bytes, sizeof bytes}, NULL), FW_OK);
    const kvt_answer *answer = kvt_assert_status(kvt_get(kv, "binary"), FW_OK);
    fwt_assert_bytes(answer->pairs[0].value, answer->pairs[0].len, bytes, sizeof bytes, "value");
    kvt_assert_status(kvt_put_with(kv, "empty", (fw_slice){NULL, 0}, NULL), FW_OK);
    answer = kvt_assert_status(kvt_get(kv, "empty"), FW_OK);
    ck_assert_uint_eq(answer->pair_count, 1);
    ck_assert_uint_eq(answer->pairs[0].len, 0);
    ck_assert_uint_eq(kvt_exists(kv, "empty")->count, 1);
    ck_assert_uint_eq(kvt_list(kv, "")->count, 2);
    kvt_close(kv);
}
END_TEST

START_TEST(a_value_of_a_mebibyte_works)
{
    fw_kv *kv = kvt_open();
    size_t len = 1024 * 1024;
    uint8_t *value = malloc(len);
    for (size_t i = 0; i < len; i++)
        value[i] = (uint8_t)(i * 31 >> 3);
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "big", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (int round = 0; round < 3; round++) {
        value[0] = (uint8_t)round;
        kvt_assert_status(kvt_put_with(kv, "big/value", (fw_slice){value, len}, NULL), FW_OK);
        const kvt_answer *answer = kvt_assert_status(kvt_get(kv, "big/value"), FW_OK);
        ck_assert_uint_eq(answer->pairs[0].len, len);
        ck_assert_int_eq(memcmp(answer->pairs[0].value, value, len), 0);
        const kvt_event *event = kvt_expect(&watch, FW_KV_PUT, "big/value", NULL);
        ck_assert_uint_eq(event->pair.len, len);
        ck_assert_int_eq(memcmp(event->pair.value, value, len), 0);
    }
    free(value);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(arguments_are_copied)
{
    fw_kv *kv = kvt_open();
    char key[] = "copied/key", value[] = "copied value";
    kvt_answer answer = {.submitted = false};
    FWT_OK(fw_kv_put(kv, key, kvt_text(value), NULL, kvt_on_done, &answer));
    memset(key, 'x', sizeof key - 1);
    memset(value, 'x', sizeof value - 1);
    kvt_await(&answer);
    kvt_assert_status(&answer, FW_OK);
    kvt_answer_fini(&answer);
    kvt_assert_value(kv, "copied/key", "copied value");
    kvt_close(kv);
}
END_TEST

START_TEST(revisions_grow)
{
    fw_kv *kv = kvt_open();
    int64_t first = kvt_must_put(kv, "a", "1"), second = kvt_must_put(kv, "b", "1");
    ck_assert_int_gt(second, first);
    const kvt_answer *answer = kvt_get(kv, "a");
    ck_assert_int_eq(answer->pairs[0].revision, first); /* the pair's, not the store's */
    ck_assert_int_ge(answer->revision, second);
    int64_t third = kvt_must_put(kv, "a", "1"); /* the same value is a change, too */
    ck_assert_int_gt(third, second);
    ck_assert_int_eq(kvt_get(kv, "a")->pairs[0].revision, third);
    answer = kvt_assert_status(kvt_delete(kv, "b"), FW_OK);
    ck_assert_int_gt(answer->revision, third);
    int64_t deleted = answer->revision;
    ck_assert_int_gt(kvt_must_put(kv, "b", "1"),
                     deleted); /* a key born again does not start over */
    answer = kvt_list(kv, "");
    ck_assert_int_eq(answer->pairs[0].revision, third);
    ck_assert_int_gt(answer->pairs[1].revision, deleted);
    kvt_close(kv);
}
END_TEST

START_TEST(a_list_is_sorted_and_ends_at_a_path_boundary)
{
    fw_kv *kv = kvt_open();
    static const char *const keys[] = {"a/b/c", "a/bc",    "a/b",  "a/b/a", "a/b-c/d", "a/b.d",
                                       "a",     "a/b/b/b", "ab/c", "a/b0",  "b"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_must_put(kv, keys[i], "v");
    ck_assert_str_eq(kvt_listing(kv, "a/b"), "a/b/a=v a/b/b/b=v a/b/c=v");
    ck_assert_str_eq(kvt_listing(kv, "a/b/"), "a/b/a=v a/b/b/b=v a/b/c=v");
    ck_assert_str_eq(kvt_listing(kv, "a"),
                     "a/b=v a/b-c/d=v a/b.d=v a/b/a=v a/b/b/b=v a/b/c=v a/b0=v a/bc=v");
    ck_assert_str_eq(kvt_listing(kv, ""), "a=v a/b=v a/b-c/d=v a/b.d=v a/b/a=v a/b/b/b=v a/b/c=v "
                                          "a/b0=v a/bc=v ab/c=v b=v");
    ck_assert_str_eq(kvt_listing(kv, "a/b/c"), ""); /* nothing below */
    ck_assert_str_eq(kvt_listing(kv, "unknown"), "");
    kvt_close(kv);
}
END_TEST

START_TEST(an_empty_directory_is_empty)
{
    fw_kv *kv = kvt_open();
    ck_assert_uint_eq(kvt_assert_status(kvt_list(kv, ""), FW_OK)->count, 0);
    ck_assert_uint_eq(kvt_assert_status(kvt_list(kv, "dir"), FW_OK)->count, 0);
    kvt_must_put(kv, "dir/key", "1");
    ck_assert_uint_eq(kvt_assert_status(kvt_list(kv, "dir"), FW_OK)->count, 1);
    kvt_assert_status(kvt_delete(kv, "dir/key"), FW_OK);
    ck_assert_uint_eq(kvt_assert_status(kvt_list(kv, "dir"), FW_OK)->count, 0);
    ck_assert_uint_eq(kvt_assert_status(kvt_delete_tree(kv, "dir"), FW_OK)->count, 0);
    kvt_close(kv);
}
END_TEST

START_TEST(a_tree_of_many_levels_lists_whole)
{
    /* valkeyrie: a parent with a value, a child, a sub-folder with a value, and three keys in it.
     */
    fw_kv *kv = kvt_open();
    static const char *const keys[] = {"parent",          "parent/child",    "parent/sub",
                                       "parent/sub/key1", "parent/sub/key2", "parent/sub/key3"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_must_put(kv, keys[i], "v");
    ck_assert_uint_eq(kvt_list(kv, "parent")->count, 5);
    ck_assert_uint_eq(kvt_list(kv, "parent/")->count, 5);
    ck_assert_uint_eq(kvt_list(kv, "parent/child")->count, 0);
    ck_assert_uint_eq(kvt_list(kv, "parent/sub")->count, 3);
    kvt_close(kv);
}
END_TEST

START_TEST(delete_tree_is_one_revision)
{
    fw_kv *kv = kvt_open();
    static const char *const keys[] = {"d/a", "d/b", "d/c/d", "d", "dd/x", "e"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_must_put(kv, keys[i], "v");
    int64_t before = kvt_must_put(kv, "d/e", "v");
    const kvt_answer *answer = kvt_assert_status(kvt_delete_tree(kv, "/d/"), FW_OK);
    ck_assert_uint_eq(answer->count, 4);
    ck_assert_int_gt(answer->revision, before);
    int64_t deleted = answer->revision;
    ck_assert_str_eq(kvt_listing(kv, ""), "d=v dd/x=v e=v");
    ck_assert_int_gt(kvt_must_put(kv, "f", "v"), deleted);
    ck_assert_uint_eq(kvt_assert_status(kvt_delete_tree(kv, "d"), FW_OK)->count, 0);
    ck_assert_uint_eq(kvt_assert_status(kvt_delete_tree(kv, ""), FW_OK)->count, 4);
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    kvt_close(kv);
}
END_TEST

START_TEST(delete_tree_of_hundreds)
{
    fw_kv *kv = kvt_open();
    enum { COUNT = 300 };
    static kvt_answer answers[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        char key[64];
        snprintf(key, sizeof key, "many/%03zu", i);
        FWT_OK(fw_kv_put(kv, key, kvt_text("v"), NULL, kvt_on_done, &answers[i]));
        answers[i].submitted = true;
    }
    for (size_t i = 0; i < COUNT; i++) {
        kvt_await(&answers[i]);
        kvt_assert_status(&answers[i], FW_OK);
    }
    ck_assert_uint_eq(kvt_assert_status(kvt_delete_tree(kv, "many"), FW_OK)->count, COUNT);
    ck_assert_uint_eq(kvt_list(kv, "")->count, 0);
    kvt_close(kv);
}
END_TEST

START_TEST(atomic_put_compares)
{
    fw_kv *kv = kvt_open();
    int64_t first = kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "1", 0), FW_OK)->revision;
    ck_assert_int_gt(first, 0);
    kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "2", 0), FW_EEXISTS);
    kvt_assert_value(kv, "new/dir/key", "1");
    ck_assert_int_eq(kvt_get(kv, "new/dir/key")->pairs[0].revision, first);
    int64_t second =
        kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "2", first), FW_OK)->revision;
    ck_assert_int_gt(second, first);
    kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "3", first), FW_EMODIFIED);
    kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "3", second + 6744), FW_EMODIFIED);
    kvt_assert_value(kv, "new/dir/key", "2");
    /* The revision that get and list tell is the one to compare with. */
    int64_t listed = kvt_list(kv, "new")->pairs[0].revision;
    kvt_assert_status(kvt_atomic_put(kv, "/new//dir/key/", "3", listed), FW_OK);
    kvt_assert_status(kvt_delete(kv, "new/dir/key"), FW_OK);
    kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "4", listed), FW_ENOTFOUND);
    kvt_assert_status(kvt_atomic_put(kv, "new/dir/key", "4", 0), FW_OK);
    /* Created with a slash at the end and no value (libkv's AtomicPutWithSlashSuffix). */
    kvt_assert_status(kvt_atomic_put(kv, "atomic/slash/", "", 0), FW_OK);
    kvt_assert_status(kvt_atomic_put(kv, "atomic/slash", "", 0), FW_EEXISTS);
    kvt_close(kv);
}
END_TEST

START_TEST(atomic_delete_compares)
{
    fw_kv *kv = kvt_open();
    int64_t first = kvt_must_put(kv, "key", "1"), second = kvt_must_put(kv, "key", "2");
    kvt_assert_status(kvt_atomic_delete(kv, "key", first), FW_EMODIFIED);
    kvt_assert_status(kvt_atomic_delete(kv, "key", second + 6744), FW_EMODIFIED);
    kvt_assert_value(kv, "key", "2");
    kvt_assert_status(kvt_atomic_delete(kv, "key", second), FW_OK);
    kvt_assert_status(kvt_atomic_delete(kv, "key", second), FW_ENOTFOUND);
    kvt_assert_value(kv, "key", NULL);
    kvt_close(kv);
}
END_TEST

START_TEST(one_of_many_atomic_puts_wins)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    enum { COUNT = 20 };
    kvt_answer answers[COUNT] = {{.done = false}};
    for (size_t i = 0; i < COUNT; i++) {
        FWT_OK(fw_kv_atomic_put(i % 2 ? other : kv, "race", kvt_text("v"), 0, NULL, kvt_on_done,
                                &answers[i]));
        answers[i].submitted = true;
    }
    size_t won = 0;
    for (size_t i = 0; i < COUNT; i++) {
        kvt_await(&answers[i]);
        ck_assert(answers[i].status == FW_OK || answers[i].status == FW_EEXISTS);
        won += answers[i].status == FW_OK;
    }
    ck_assert_uint_eq(won, 1);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(many_operations_at_once_are_answered_once)
{
    fw_kv *kv = kvt_open();
    enum { COUNT = 500 };
    static kvt_answer answers[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        char key[64];
        snprintf(key, sizeof key, "p/%03zu", i);
        FWT_OK(fw_kv_put(kv, key, kvt_text(key), NULL, kvt_on_done, &answers[i]));
        answers[i].submitted = true;
    }
    for (size_t i = 0; i < COUNT; i++)
        kvt_await(&answers[i]);
    const kvt_answer *list = kvt_assert_status(kvt_list(kv, "p"), FW_OK);
    ck_assert_uint_eq(list->pair_count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        kvt_assert_status(&answers[i], FW_OK);
        ck_assert_uint_eq(answers[i].calls, 1);
        /* Each has its own revision, told in its answer. */
        ck_assert_int_eq(list->pairs[i].revision, answers[i].revision);
        ck_assert_str_eq(list->pairs[i].key, list->pairs[i].value);
    }
    kvt_close(kv);
}
END_TEST

START_TEST(a_list_of_many_megabytes_works)
{
    fw_kv *kv = kvt_open();
    enum { COUNT = 3000, BYTES = 2500 };
    static kvt_answer answers[COUNT];
    static char value[BYTES];
    memset(value, 'v', sizeof value);
    for (size_t i = 0; i < COUNT; i++) {
        char key[64];
        snprintf(key, sizeof key, "large/%05zu", i);
        FWT_OK(fw_kv_put(kv, key, (fw_slice){value, BYTES}, NULL, kvt_on_done, &answers[i]));
        answers[i].submitted = true;
        if (i % 200 == 199) /* a store may bound what is under way */
            kvt_await(&answers[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        kvt_await(&answers[i]);
        kvt_assert_status(&answers[i], FW_OK);
    }
    const kvt_answer *list = kvt_assert_status(kvt_list(kv, "large"), FW_OK);
    ck_assert_uint_eq(list->pair_count, COUNT);
    for (size_t i = 1; i < COUNT; i++) {
        ck_assert_int_lt(strcmp(list->pairs[i - 1].key, list->pairs[i].key), 0);
        ck_assert_uint_eq(list->pairs[i].len, BYTES);
    }
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "large", &watch);
    for (size_t i = 0; i < COUNT; i++)
        kvt_expect(&watch, FW_KV_PUT, NULL, NULL);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(two_handles_see_one_store)
{
    fw_kv *one = kvt_open(), *two = kvt_open();
    for (int i = 0; i < 20; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        fw_kv *from = i % 2 ? one : two, *to = i % 2 ? two : one;
        int64_t revision = kvt_must_put(from, "shared", value);
        const kvt_answer *answer = kvt_assert_status(kvt_get(to, "shared"), FW_OK);
        ck_assert_str_eq(answer->pairs[0].value, value);
        ck_assert_int_eq(answer->pairs[0].revision, revision);
    }
    kvt_assert_status(kvt_delete(one, "shared"), FW_OK);
    kvt_assert_value(two, "shared", NULL);
    kvt_close(one);
    kvt_must_put(two, "still", "there");
    kvt_assert_value(two, "still", "there");
    kvt_close(two);
}
END_TEST

void kvt_add_ops(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "operations");
    kvt_add(&group, "C5", put_get_exists_delete);
    kvt_add(&group, "C5", a_missing_key_is_not_found);
    kvt_add(&group, "C1", keys_are_normalised);
    kvt_add(&group, "C2", bad_keys_are_refused);
    kvt_add(&group, "C2", the_longest_key_works);
    kvt_add(&group, "C3", a_value_over_the_limit_is_refused);
    kvt_add(&group, "C3", values_are_bytes);
    kvt_add(&group, "C3", a_value_of_a_mebibyte_works);
    kvt_add(&group, "C4", arguments_are_copied);
    kvt_add(&group, "C6", revisions_grow);
    kvt_add(&group, "C7", a_list_is_sorted_and_ends_at_a_path_boundary);
    kvt_add(&group, "C7", an_empty_directory_is_empty);
    kvt_add(&group, "C7", a_tree_of_many_levels_lists_whole);
    kvt_add(&group, "C8", delete_tree_is_one_revision);
    kvt_add(&group, "C8", delete_tree_of_hundreds);
    kvt_add(&group, "C9", atomic_put_compares);
    kvt_add(&group, "C9", atomic_delete_compares);
    kvt_add(&group, "C9", one_of_many_atomic_puts_wins);
    kvt_add(&group, "C11", many_operations_at_once_are_answered_once);
    kvt_add(&group, "C7", a_list_of_many_megabytes_works);
    kvt_add(&group, "C10", two_handles_see_one_store);
}
