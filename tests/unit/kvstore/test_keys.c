/* Keys, prefixes, URL parameters and the list of pairs. */
#include "driver.h"
#include "fwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

START_TEST(keys_are_normalised)
{
    static const char *const table[][2] = {
        {"a", "a"},
        {"/a", "a"},
        {"a/", "a"},
        {"//a//", "a"},
        {"a/b", "a/b"},
        {"a//b", "a/b"},
        {"/a/b/", "a/b"},
        {"///a///b///", "a/b"},
        {" a / b ", " a / b "},
        {"a/./b", "a/./b"},
        {"..", ".."},
        {"\xff/\x01", "\xff/\x01"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *key;
        FWT_OK(fwi_kv_key_normalise(table[i][0], false, &key));
        ck_assert_str_eq(key, table[i][1]);
        char *again; /* normalising is idempotent */
        FWT_OK(fwi_kv_key_normalise(key, false, &again));
        ck_assert_str_eq(again, key);
        free(again);
        free(key);
    }
}
END_TEST

START_TEST(empty_keys_are_for_trees_only)
{
    static const char *const empty[] = {"", "/", "////"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        char *key = NULL;
        FWT_ERR(fwi_kv_key_normalise(empty[i], false, &key), FW_EKEY);
        ck_assert_ptr_null(key);
        FWT_OK(fwi_kv_key_normalise(empty[i], true, &key));
        ck_assert_str_eq(key, "");
        free(key);
    }
}
END_TEST

START_TEST(the_limit_counts_what_is_left)
{
    char text[2 * FW_KV_MAX_KEY_BYTES];
    memset(text, '/', sizeof text);
    memset(text + 100, 'k', FW_KV_MAX_KEY_BYTES);
    text[100 + FW_KV_MAX_KEY_BYTES + 50] = 0;
    char *key;
    FWT_OK(fwi_kv_key_normalise(text, false, &key));
    ck_assert_uint_eq(strlen(key), FW_KV_MAX_KEY_BYTES);
    free(key);
    text[99] = 'k';
    FWT_ERR(fwi_kv_key_normalise(text, true, &key), FW_EKEY);
}
END_TEST

static bool below(const char *key, const char *prefix)
{
    return fwi_kv_key_below(key, strlen(key), prefix, strlen(prefix));
}

START_TEST(a_prefix_ends_at_a_path_boundary)
{
    ck_assert(below("a/b", "a"));
    ck_assert(below("a/b/c", "a"));
    ck_assert(below("a/b/c", "a/b"));
    ck_assert(below("a", ""));
    ck_assert(!below("a", "a"));
    ck_assert(!below("ab", "a"));
    ck_assert(!below("ab/c", "a"));
    ck_assert(!below("a-b", "a"));
    ck_assert(!below("a", "a/b"));
    ck_assert(!below("b/a/c", "a"));
    /* The key need not end with NUL. */
    ck_assert(!fwi_kv_key_below("a/b", 1, "a", 1));
    ck_assert(fwi_kv_key_below("a/b", 2, "a", 1));
}
END_TEST

START_TEST(unknown_parameters_are_found)
{
    static const char *const names[] = {"one", "two", NULL};
    fw_url url;
    FWT_OK(fw_url_init(&url, "x:/p?two=2&one=1"));
    ck_assert_ptr_null(fwi_kv_unknown_param(&url, names, 0));
    ck_assert_str_eq(fwi_kv_unknown_param(&url, names + 1, 0), "one");
    ck_assert_str_eq(fwi_kv_unknown_param(&url, NULL, FWI_KV_TAKES_USER), "two");
    fw_url_fini(&url);
    FWT_OK(fw_url_init(&url, "x:/p"));
    ck_assert_ptr_null(fwi_kv_unknown_param(&url, names + 2, 0));
    fw_url_fini(&url);
    FWT_OK(fw_url_init(&url, "x:/p?user=u&password_file=f&cacert=c&cert=c&key=k"));
    ck_assert_ptr_null(fwi_kv_unknown_param(&url, NULL, FWI_KV_TAKES_USER | FWI_KV_TAKES_TLS));
    ck_assert_str_eq(fwi_kv_unknown_param(&url, NULL, FWI_KV_TAKES_USER), "cacert");
    fw_url_fini(&url);
}
END_TEST

START_TEST(pairs_keep_copies)
{
    enum { COUNT = 2000 };
    fwi_kv_pairs pairs = {.count = 0};
    char key[32], value[64];
    for (int i = 0; i < COUNT; i++) {
        int key_len = snprintf(key, sizeof key, "key/%d", i);
        int len = snprintf(value, sizeof value, "%*d", i % 50, i);
        FWT_OK(fwi_kv_pairs_add(&pairs, key, (size_t)key_len, (fw_slice){value, (size_t)len}, i + 1,
                                i % 3));
    }
    FWT_OK(fwi_kv_pairs_add(&pairs, "empty", 5, (fw_slice){NULL, 0}, 1, 0));
    size_t big_len = 1 << 20;
    char *big = calloc(1, big_len);
    FWT_OK(fwi_kv_pairs_add(&pairs, "big and more", 3, (fw_slice){big, big_len}, 1, 0));
    free(big);
    ck_assert_uint_eq(pairs.count, COUNT + 2);
    for (int i = 0; i < COUNT; i++) {
        const fw_kv_pair *pair = &pairs.items[i];
        snprintf(key, sizeof key, "key/%d", i);
        int len = snprintf(value, sizeof value, "%*d", i % 50, i);
        ck_assert_str_eq(pair->key, key);
        fwt_assert_bytes(pair->value.data, pair->value.len, value, (size_t)len, "value");
        ck_assert_int_eq(pair->revision, i + 1);
        ck_assert_int_eq(pair->lease, i % 3);
    }
    ck_assert_uint_eq(pairs.items[COUNT].value.len, 0);
    ck_assert_str_eq(pairs.items[COUNT + 1].key, "big");
    ck_assert_uint_eq(pairs.items[COUNT + 1].value.len, big_len);
    fwi_kv_pairs_fini(&pairs);
    ck_assert_uint_eq(pairs.count, 0);
    fwi_kv_pairs_fini(&pairs);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keys");
    TCase *tcase = tcase_create("keys");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, keys_are_normalised);
    tcase_add_test(tcase, empty_keys_are_for_trees_only);
    tcase_add_test(tcase, the_limit_counts_what_is_left);
    tcase_add_test(tcase, a_prefix_ends_at_a_path_boundary);
    tcase_add_test(tcase, unknown_parameters_are_found);
    tcase_add_test(tcase, pairs_keep_copies);
    return fwt_main(suite);
}
