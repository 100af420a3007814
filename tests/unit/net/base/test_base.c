/* url, errors, backoff, ids, map, out queue. */
#include "base/id_table.h"
#include "base/map.h"
#include "base/out_queue.h"
#include "base/random.h"
#include "fwt.h"

#include <fairway/backoff.h>
#include <fairway/log.h>
#include <fairway/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

START_TEST(urls_are_taken_apart)
{
    fw_url url;
    FWT_OK(fw_url_init(&url, "etcd://me@h1:1,h2:22,[::1]:3/pre%20fix/x?a=b&cc=d%26e"));
    ck_assert_str_eq(url.scheme, "etcd");
    ck_assert_str_eq(url.user, "me");
    ck_assert_uint_eq(url.host_count, 3);
    ck_assert_str_eq(url.hosts[1].name, "h2");
    ck_assert_int_eq(url.hosts[1].port, 22);
    ck_assert_str_eq(url.hosts[2].name, "::1");
    ck_assert_int_eq(url.hosts[2].port, 3);
    ck_assert_str_eq(url.path, "/pre fix/x");
    ck_assert_str_eq(fw_url_get(&url, "cc"), "d&e");
    ck_assert_ptr_null(fw_url_get(&url, "c"));
    fw_url_fini(&url);
    FWT_OK(fw_url_init(&url, "mem:"));
    ck_assert_str_eq(url.path, "");
    ck_assert_uint_eq(url.host_count, 0);
    fw_url_fini(&url);
    FWT_OK(fw_url_init(&url, "unix:/run/x.sock"));
    ck_assert_str_eq(url.path, "/run/x.sock");
    fw_url_fini(&url);
    FWT_OK(fw_url_init(&url, "tcp://:80"));
    ck_assert_str_eq(url.hosts[0].name, "");
    fw_url_fini(&url);
}
END_TEST

START_TEST(bad_urls_are_refused)
{
    static const char *const bad[] = {"",           "tcp",
                                      ":x",         "t cp://h:1",
                                      "tcp://h:",   "tcp://h:65536",
                                      "tcp://h:1x", "tcp://a:b:1",
                                      "tcp://[::1", "tcp://[::1]x",
                                      "tcp://a,,b", "tcp://a,",
                                      "x:/%zz",     "x:/%4",
                                      "x:/%00",     "x:/?novalue",
                                      "x:/?=v",     "x://u:secret@h:1"};
    fw_url url;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int err = fw_url_init(&url, bad[i]);
        ck_assert_msg(err == FW_EURL, "%s: %s", bad[i], fw_strerror(err));
    }
}
END_TEST

START_TEST(errors_have_names_and_texts)
{
    ck_assert_str_eq(fw_strerror(FW_ENOTFOUND), "not found");
    ck_assert_str_eq(fw_error_name(FW_ENOTFOUND), "ENOTFOUND");
    ck_assert_str_eq(fw_error_name(UV_ECONNREFUSED), "ECONNREFUSED");
    ck_assert_str_eq(fw_strerror(-123456), "unknown error");
    ck_assert_str_eq(fw_strerror(FW_OK), "success");
    fw_log_level level;
    FWT_OK(fw_log_level_parse("warn", &level));
    ck_assert_int_eq(level, FW_LOG_WARN);
    FWT_ERR(fw_log_level_parse("loud", &level), FW_EOPTION);
}
END_TEST

START_TEST(backoff_doubles_within_its_bounds_and_is_never_zero)
{
    fw_backoff backoff;
    fw_backoff_init(&backoff, 100, 3000);
    for (unsigned n = 0; n < 100; n++) {
        unsigned bound = n < 5 ? 100u << n : 3000;
        if (bound > 3000)
            bound = 3000;
        unsigned wait = fw_backoff_next_ms(&backoff);
        ck_assert_uint_ge(wait, bound / 10);
        ck_assert_uint_gt(wait, 0);
        ck_assert_uint_le(wait, bound + 1);
    }
    fw_backoff_reset(&backoff);
    ck_assert_uint_le(fw_backoff_next_ms(&backoff), 101);
}
END_TEST

START_TEST(ids_count_up_and_are_never_found_again)
{
    fwi_id_table table;
    fwi_id_table_init(&table, UINT64_MAX);
    int objects[1000];
    uint64_t ids[1000], last = 0;
    for (int i = 0; i < 1000; i++) {
        FWT_OK(fwi_id_table_add(&table, &objects[i], &ids[i]));
        ck_assert_uint_gt(ids[i], last);
        last = ids[i];
    }
    ck_assert_uint_eq(ids[0], 1);
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_eq(fwi_id_table_find(&table, ids[i]), &objects[i]);
    for (int i = 0; i < 1000; i += 2)
        ck_assert_ptr_eq(fwi_id_table_remove(&table, ids[i]), &objects[i]);
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_eq(fwi_id_table_find(&table, ids[i]), i % 2 ? &objects[i] : NULL);
    ck_assert_ptr_null(fwi_id_table_remove(&table, ids[0]));
    ck_assert_ptr_null(fwi_id_table_find(&table, 0));
    ck_assert_uint_eq(table.count, 500);
    fwi_id_table_fini(&table);
}
END_TEST

START_TEST(ids_wrap_over_those_still_in_use)
{
    fwi_id_table table;
    fwi_id_table_init(&table, UINT32_MAX);
    int old, object;
    uint64_t old_id, id;
    FWT_OK(fwi_id_table_add(&table, &old, &old_id));
    table.last_id = UINT32_MAX - 2;
    for (int i = 0; i < 100; i++) {
        FWT_OK(fwi_id_table_add(&table, &object, &id));
        ck_assert_uint_le(id, UINT32_MAX);
        ck_assert_uint_ne(id, 0);
        ck_assert_uint_ne(id, old_id);
        ck_assert_ptr_eq(fwi_id_table_remove(&table, id), &object);
    }
    ck_assert_ptr_eq(fwi_id_table_find(&table, old_id), &old);
    fwi_id_table_fini(&table);
}
END_TEST

START_TEST(a_map_agrees_with_an_array)
{
    enum { KEYS = 500 };
    static void *model[KEYS];
    fwi_map map = {.count = 0};
    size_t count = 0;
    for (int step = 0; step < 20000; step++) {
        uint32_t k = fwi_random_below(KEYS);
        char key[16];
        int len = snprintf(key, sizeof key, "key%u", k);
        void *value = (void *)(uintptr_t)(step + 1), *old = NULL;
        if (fwi_random_below(3)) {
            FWT_OK(fwi_map_put(&map, key, (size_t)len, value, &old));
            ck_assert_ptr_eq(old, model[k]);
            count += !model[k];
            model[k] = value;
        } else {
            ck_assert_ptr_eq(fwi_map_remove(&map, key, (size_t)len), model[k]);
            count -= model[k] != NULL;
            model[k] = NULL;
        }
        ck_assert_uint_eq(map.count, count);
    }
    size_t position = 0, seen = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&map, &position)); seen++) {
        char key[16]; /* the map's keys do not end with NUL */
        snprintf(key, sizeof key, "%.*s", (int)entry->key_len, (const char *)entry->key);
        unsigned long k = strtoul(key + strlen("key"), NULL, 10);
        ck_assert_uint_lt(k, KEYS);
        ck_assert_ptr_eq(entry->value, model[k]);
    }
    ck_assert_uint_eq(seen, count);
    fwi_map_fini(&map);
}
END_TEST

START_TEST(a_map_keeps_values_of_its_own)
{
    enum { KEYS = 1000 };
    fwi_map map = {.value_bytes = sizeof(uint64_t)};
    uint64_t *values[KEYS];
    for (uint64_t k = 0; k < KEYS; k++) {
        void *value;
        FWT_OK(fwi_map_add(&map, &k, sizeof k, &value));
        values[k] = value;
        *values[k] = k;
    }
    for (uint64_t k = 0; k < KEYS; k += 2) {
        ck_assert(fwi_map_drop(&map, &k, sizeof k));
        ck_assert(!fwi_map_drop(&map, &k, sizeof k));
    }
    ck_assert_uint_eq(map.count, KEYS / 2);
    for (uint64_t k = 0; k < KEYS; k++) {
        ck_assert_ptr_eq(fwi_map_get(&map, &k, sizeof k), k % 2 ? values[k] : NULL);
        if (k % 2)
            ck_assert_uint_eq(*values[k], k);
    }
    fwi_map_fini(&map);
}
END_TEST

START_TEST(an_out_queue_gives_back_what_was_put_in)
{
    fwi_chunk_pool pool;
    fwi_out_queue queue = {.bytes = 0};
    fwi_chunk_pool_init(&pool);
    uint8_t next_in = 0, next_out = 0;
    size_t inside = 0;
    for (int step = 0; step < 3000; step++) {
        if (fwi_random_below(2) || !inside) {
            size_t len = fwi_random_below(step % 50 ? 900 : 70000) + 1;
            uint8_t *room = fwi_out_queue_reserve(&queue, &pool, len);
            ck_assert_ptr_nonnull(room);
            size_t back = fwi_random_below((uint32_t)len);
            fwi_out_queue_unreserve(&queue, back);
            for (size_t i = 0; i < len - back; i++)
                room[i] = next_in++;
            inside += len - back;
        } else {
            size_t len = fwi_random_below((uint32_t)inside) + 1, seen = 0, wrong = 0;
            for (fwi_chunk *chunk = queue.head; chunk && seen < len; chunk = chunk->next)
                for (uint32_t i = chunk->start; i < chunk->end && seen < len; i++, seen++)
                    wrong += chunk->data[i] != next_out++;
            ck_assert_uint_eq(wrong, 0);
            fwi_out_queue_consume(&queue, &pool, len);
            inside -= len;
        }
        ck_assert_uint_eq(queue.bytes, inside);
    }
    fwi_out_queue_clear(&queue, &pool);
    ck_assert_ptr_null(queue.head);
    fwi_chunk_pool_fini(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tcase = tcase_create("base");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, urls_are_taken_apart);
    tcase_add_test(tcase, bad_urls_are_refused);
    tcase_add_test(tcase, errors_have_names_and_texts);
    tcase_add_test(tcase, backoff_doubles_within_its_bounds_and_is_never_zero);
    tcase_add_test(tcase, ids_count_up_and_are_never_found_again);
    tcase_add_test(tcase, ids_wrap_over_those_still_in_use);
    tcase_add_test(tcase, a_map_agrees_with_an_array);
    tcase_add_test(tcase, a_map_keeps_values_of_its_own);
    tcase_add_test(tcase, an_out_queue_gives_back_what_was_put_in);
    return fwt_main(suite);
}
