/* Operations against a real etcd: what the conformance suite does not show. */
#include "ehttpt.h"

static fwt_etcd etcd; /* one for most tests; each has a prefix of its own */

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

START_TEST(keys_lie_in_etcd_below_the_prefix)
{
    fw_kv *kv = etcdt_open(etcd.port, "//ops//a/", 0);
    FWT_OK(storet_put(kv, "/x//y/", "one")->status);
    ck_assert_str_eq(etcdt_ctl(etcd.port, "get", "/ops/a/x/y", NULL), "/ops/a/x/y\none\n");
    storet_close(kv, 2000);
    kv = etcdt_open(etcd.port, "", 0);
    ck_assert_str_eq(storet_get(kv, "ops/a/x/y")->text, "ops/a/x/y=one;");
    FWT_OK(storet_delete_tree(kv, "ops")->status);
    storet_close(kv, 2000);
}
END_TEST

static char *filled(size_t len)
{
    char *value = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        value[i] = (char)('a' + i % 23);
    value[len] = 0;
    return value;
}

static void start_generous(fwt_etcd *generous)
{
    setenv("ETCD_MAX_REQUEST_BYTES", "8000000", 1);
    fwt_etcd_start(generous);
    unsetenv("ETCD_MAX_REQUEST_BYTES");
}

/* A list over 8 MB, of values of 3 MB, from a server that takes such. */
START_TEST(values_of_3_mb_are_put_listed_and_watched)
{
    fwt_etcd generous;
    start_generous(&generous);
    fw_kv *kv = etcdt_open(generous.port, "/p", 20000);
    storet_watcher watcher;
    storet_watch(&watcher, kv, "", true);
    storet_expect(&watcher, "| ");
    char *value = filled(3000000), key[20];
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FWT_OK(storet_put(kv, key, value)->status);
    }
    const storet_answer *answer = storet_list(kv, "");
    FWT_OK(answer->status);
    ck_assert_uint_eq(answer->count, 4);
    ck_assert_uint_eq(strlen(answer->text), 4 * (3000000 + strlen("k0=;")));
    ck_assert_int_eq(strncmp(answer->text + 3, value, 3000000), 0);
    fwt_run_count(&watcher.puts, 4, 20000);
    free(value);
    storet_close(kv, 2000);
    storet_watcher_fini(&watcher);
    fwt_etcd_kill(&generous);
}
END_TEST

START_TEST(a_value_that_the_server_does_not_take_is_told)
{
    fw_kv *kv = etcdt_open(etcd.port, "/large", 10000);
    char *value = filled(2400000);
    const storet_answer *answer = storet_put(kv, "k", value);
    FWT_ERR(answer->status, FW_EVALUESIZE);
    ck_assert_str_ne(answer->detail, "");
    FWT_ERR(storet_get(kv, "k")->status, FW_ENOTFOUND);
    free(value);
    storet_close(kv, 2000);
}
END_TEST

#define MANY 6000

static size_t answers, failures;

static void on_written(const fw_kv_result *result, void *arg)
{
    (void)arg;
    answers++;
    if (result->status)
        failures++;
}

static void write_many(fw_kv *kv, size_t count, size_t value_len)
{
    char *value = filled(value_len), key[40];
    answers = failures = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "big/%06zu", i);
        FWT_OK(fw_kv_put(kv, key, (fw_slice){value, value_len}, NULL, on_written, NULL));
    }
    fwt_run_count(&answers, count, 60000);
    ck_assert_uint_eq(failures, 0);
    free(value);
}

struct listing {
    bool done;
    size_t count;
};

static void on_listed(const fw_kv_result *result, void *arg)
{
    struct listing *listing = arg;
    char key[40];
    FWT_OK(result->status);
    for (size_t i = 0; i < result->count; i++) {
        snprintf(key, sizeof key, "big/%06zu", i);
        ck_assert_str_eq(result->pairs[i].key, key);
    }
    listing->count = result->count;
    listing->done = true;
}

/* More in flight than there are connections, and a list of many pages while history is taken away
 * between them. */
START_TEST(a_list_survives_compaction_between_its_pages)
{
    fw_kv *kv = etcdt_open(etcd.port, "/pages", 60000);
    write_many(kv, MANY, 1000);
    size_t compactions = 0;
    for (int round = 0; round < 10; round++) {
        struct listing listing = {.done = false};
        FWT_OK(fw_kv_list(kv, "big", on_listed, &listing));
        fwt_run_for(5 + 3 * (unsigned)round);
        if (!listing.done) {
            compactions++;
            etcdt_compact(etcd.port);
        }
        fwt_run_until(&listing.done, 30000);
        ck_assert_uint_eq(listing.count, MANY);
    }
    ck_assert_uint_gt(compactions, 0);
    const storet_answer *answer = storet_delete_tree(kv, "big");
    FWT_OK(answer->status);
    ck_assert_uint_eq(answer->count, MANY);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_put_with_a_time_to_live_that_fails_leaves_no_lease)
{
    fw_kv *kv = etcdt_open(etcd.port, "/ttl", 0);
    fw_kv_put_options options = {.ttl_ms = 1500};
    FWT_OK(storet_put_with(kv, "k", "1", &options)->status);
    ck_assert_int_ne(storet_get(kv, "k")->lease, 0);
    ck_assert(strstr(etcdt_ctl(etcd.port, "lease", "list", NULL), "found 1 leases"));
    FWT_ERR(storet_atomic_put(kv, "k", "2", 0, &options)->status, FW_EEXISTS);
    uint64_t start = storet_now_ms();
    while (!strstr(etcdt_ctl(etcd.port, "lease", "list", NULL), "found 1 leases")) {
        ck_assert_uint_lt(storet_now_ms() - start, 1000);
        fwt_run_for(20);
    }
    while (storet_exists(kv, "k")->count) {
        ck_assert_uint_lt(storet_now_ms() - start, 8000);
        fwt_run_for(50);
    }
    storet_close(kv, 2000);
}
END_TEST

START_TEST(a_full_store_is_told_and_still_reads_and_deletes)
{
    fwt_etcd small;
    setenv("ETCD_QUOTA_BACKEND_BYTES", "4194304", 1);
    fwt_etcd_start(&small);
    unsetenv("ETCD_QUOTA_BACKEND_BYTES");
    fw_kv *kv = etcdt_open(small.port, "/s", 0);
    char *value = filled(1000000), key[20];
    int status = FW_OK;
    for (int i = 0; !status && i < 30; i++) {
        snprintf(key, sizeof key, "k%d", i);
        status = storet_put(kv, key, value)->status;
        fwt_run_for(100); /* etcd counts what it has committed */
    }
    FWT_ERR(status, FW_ENOSPACE);
    ck_assert_ptr_nonnull(strstr(storet_put(kv, "k", "v")->detail, "space exceeded"));
    FWT_OK(storet_get(kv, "k0")->status);
    FWT_OK(storet_delete(kv, "k0")->status);
    free(value);
    storet_close(kv, 2000);
    fwt_etcd_kill(&small);
}
END_TEST

static void on_txn(const fw_kv_result *result, void *arg)
{
    FWT_OK(result->status);
    ck_assert(result->succeeded);
    ck_assert_uint_eq(result->count, 2);
    ck_assert_str_eq(result->pairs[0].key, "a");
    ck_assert_int_eq(((const char *)result->pairs[0].value.data)[0], '1');
    ck_assert_str_eq(result->pairs[1].key, "none");
    ck_assert_int_eq(result->pairs[1].revision, 0);
    *(bool *)arg = true;
}

START_TEST(a_transaction_reads_what_was_there_before_its_writes)
{
    fw_kv *kv = etcdt_open(etcd.port, "/txn", 0);
    FWT_OK(storet_put(kv, "a", "1")->status);
    fw_kv_compare compares[] = {
        {.key = "a", .by_value = true, .relation = FW_KV_LESS, .value = storet_text("2")},
        {.key = "none", .relation = FW_KV_EQUAL}};
    fw_kv_txn_op then[] = {{.type = FW_KV_TXN_PUT, .key = "a", .value = storet_text("2")},
                           {.type = FW_KV_TXN_GET, .key = "a"},
                           {.type = FW_KV_TXN_PUT, .key = "none", .value = storet_text("3")},
                           {.type = FW_KV_TXN_GET, .key = "none"}};
    fw_kv_txn txn = {.compares = compares, .compare_count = 2, .then = then, .then_count = 4};
    bool done = false;
    FWT_OK(fw_kv_do_txn(kv, &txn, on_txn, &done));
    fwt_run_until(&done, 5000);
    ck_assert_str_eq(storet_list(kv, "")->text, "a=2;none=3;");
    storet_close(kv, 2000);
}
END_TEST

START_TEST(urls_are_checked_and_the_environment_names_no_proxy)
{
    fw_kv *kv;
    FWT_ERR(fw_kv_open(fwt_loop, "etcd+http://127.0.0.1:1/p?tls=yes", NULL, &kv), FW_EOPTION);
    FWT_ERR(fw_kv_open(fwt_loop, "etcd+http:/p", NULL, &kv), FW_EURL);
    FWT_ERR(fw_kv_open(fwt_loop, "etcd+http://127.0.0.1%2f:1/p", NULL, &kv), FW_EURL);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    char url[100];
    snprintf(url, sizeof url, "etcd+http://localhost:%d/named", etcd.port);
    kv = etcdt_open_url(url, 0);
    FWT_OK(storet_put(kv, "k", "1")->status);
    ck_assert_uint_eq(fw_kv_capabilities(kv), FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES |
                                                  FW_KV_CAN_PERSIST | FW_KV_CAN_TXN |
                                                  FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME);
    storet_close(kv, 2000);
}
END_TEST

START_TEST(what_is_no_etcd_is_told)
{
    fw_kv *kv = etcdt_open(etcd.peer_port, "/p", 2000);
    const storet_answer *answer = storet_get(kv, "k");
    FWT_ERR(answer->status, FW_ESTORE);
    ck_assert_msg(strstr(answer->detail, "404"), "detail: %s", answer->detail);
    FWT_ERR(storet_put(kv, "k", "v")->status, FW_ESTORE);
    storet_close(kv, 2000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd http operations");
    TCase *tcase = fwt_tcase(suite, "ops", 120);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, keys_lie_in_etcd_below_the_prefix);
    tcase_add_test(tcase, values_of_3_mb_are_put_listed_and_watched);
    tcase_add_test(tcase, a_value_that_the_server_does_not_take_is_told);
    tcase_add_test(tcase, a_list_survives_compaction_between_its_pages);
    tcase_add_test(tcase, a_put_with_a_time_to_live_that_fails_leaves_no_lease);
    tcase_add_test(tcase, a_full_store_is_told_and_still_reads_and_deletes);
    tcase_add_test(tcase, a_transaction_reads_what_was_there_before_its_writes);
    tcase_add_test(tcase, urls_are_checked_and_the_environment_names_no_proxy);
    tcase_add_test(tcase, what_is_no_etcd_is_told);
    return fwt_main(suite);
}
