/* Operations against a real etcd, seen from both sides. */
#include "etcdt.h"

static fwt_etcd etcd; /* one for the whole program; each test has a prefix of its own */

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

START_TEST(put_get_delete)
{
    fw_kv *kv = etcdt_open(etcd.port, "//ops//a/", 0);
    FWT_ERR(storet_get(kv, "x")->status, FW_ENOTFOUND);
    const storet_answer *answer = storet_put(kv, "/x//y/", "one");
    FWT_OK(answer->status);
    int64_t revision = answer->revision;
    ck_assert_int_gt(revision, 0);
    answer = storet_get(kv, "x/y");
    FWT_OK(answer->status);
    ck_assert_str_eq(answer->text, "x/y=one;");
    ck_assert_int_eq(answer->pair_revision, revision);
    ck_assert_str_eq(etcdt_ctl(etcd.port, "get", "/ops/a/x/y", NULL), "/ops/a/x/y\none\n");
    FWT_OK(storet_put(kv, "x/y", "")->status);
    ck_assert_str_eq(storet_get(kv, "x/y")->text, "x/y=;");
    ck_assert_uint_eq(storet_exists(kv, "x/y")->count, 1);
    ck_assert_uint_eq(storet_exists(kv, "x")->count, 0);
    FWT_OK(storet_delete(kv, "x/y")->status);
    FWT_ERR(storet_delete(kv, "x/y")->status, FW_ENOTFOUND);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(no_prefix)
{
    fw_kv *kv = etcdt_open(etcd.port, "", 0);
    FWT_OK(storet_put(kv, "services/echo/a", "1")->status);
    ck_assert_str_eq(etcdt_ctl(etcd.port, "get", "/services/echo/a", NULL),
                     "/services/echo/a\n1\n");
    ck_assert_str_eq(storet_list(kv, "services")->text, "services/echo/a=1;");
    storet_close(kv, STORET_WAIT_MS);
    kv = etcdt_open(etcd.port, "/services", 0);
    ck_assert_str_eq(storet_list(kv, "")->text, "echo/a=1;");
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(boundaries)
{
    fw_kv *kv = etcdt_open(etcd.port, "/bound", 0);
    const char *keys[] = {"a", "a/b", "a/b/c", "a/bc", "a.b", "a0", "ab/c"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        FWT_OK(storet_put(kv, keys[i], "1")->status);
    etcdt_ctl(etcd.port, "put", "/bound0", "neighbour", NULL);
    etcdt_ctl(etcd.port, "put", "/bound/a//twisted", "not ours", NULL);
    ck_assert_str_eq(storet_list(kv, "a")->text, "a/b=1;a/b/c=1;a/bc=1;");
    ck_assert_str_eq(storet_list(kv, "a/b")->text, "a/b/c=1;");
    ck_assert_uint_eq(storet_list(kv, "")->count, 7);
    const storet_answer *answer = storet_list(kv, "nothing");
    FWT_OK(answer->status);
    ck_assert_uint_eq(answer->count, 0);
    FWT_OK(storet_delete_tree(kv, "nothing")->status);
    answer = storet_delete_tree(kv, "a/b");
    FWT_OK(answer->status);
    ck_assert_uint_eq(answer->count, 1);
    FWT_OK(storet_delete_tree(kv, "")->status);
    ck_assert_uint_eq(storet_list(kv, "")->count, 0);
    ck_assert_str_eq(etcdt_ctl(etcd.port, "get", "/bound0", NULL), "/bound0\nneighbour\n");
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(atomic)
{
    fw_kv *kv = etcdt_open(etcd.port, "/atomic", 0);
    FWT_ERR(storet_atomic_put(kv, "k", "x", 7, NULL)->status, FW_ENOTFOUND);
    FWT_ERR(storet_atomic_delete(kv, "k", 7)->status, FW_ENOTFOUND);
    FWT_ERR(storet_atomic_delete(kv, "k", 0)->status, FW_ENOTFOUND);
    const storet_answer *answer = storet_atomic_put(kv, "k", "1", 0, NULL);
    FWT_OK(answer->status);
    int64_t first = answer->revision;
    FWT_ERR(storet_atomic_put(kv, "k", "2", 0, NULL)->status, FW_EEXISTS);
    answer = storet_atomic_put(kv, "k", "2", first, NULL);
    FWT_OK(answer->status);
    int64_t second = answer->revision;
    ck_assert_int_gt(second, first);
    FWT_ERR(storet_atomic_put(kv, "k", "3", first, NULL)->status, FW_EMODIFIED);
    FWT_ERR(storet_atomic_delete(kv, "k", first)->status, FW_EMODIFIED);
    FWT_ERR(storet_atomic_delete(kv, "k", 0)->status, FW_EMODIFIED);
    ck_assert_str_eq(storet_get(kv, "k")->text, "k=2;");
    FWT_OK(storet_atomic_delete(kv, "k", second)->status);
    FWT_ERR(storet_get(kv, "k")->status, FW_ENOTFOUND);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

static size_t big_answers, big_failures;

static void on_big(const fw_kv_result *result, void *arg)
{
    (void)arg;
    big_answers++;
    if (result->status)
        big_failures++;
}

static void check_big(const fw_kv_result *result, void *arg)
{
    FWT_OK(result->status);
    ck_assert_uint_eq(result->count, 4500);
    char key[40];
    for (size_t i = 0; i < result->count; i++) {
        snprintf(key, sizeof key, "big/%06zu", i);
        ck_assert_str_eq(result->pairs[i].key, key);
        ck_assert_uint_eq(result->pairs[i].value.len, 1000);
        ck_assert_int_eq(((const char *)result->pairs[i].value.data)[999], (char)i);
    }
    *(bool *)arg = true;
}

START_TEST(list_over_4_mib)
{
    fw_kv *kv = etcdt_open(etcd.port, "/large", 60000);
    char value[1000], key[40];
    for (size_t i = 0; i < 4500; i++) {
        memset(value, (char)i, sizeof value);
        snprintf(key, sizeof key, "big/%06zu", i);
        FWT_OK(fw_kv_put(kv, key, (fw_slice){value, sizeof value}, NULL, on_big, NULL));
        if (i % 500 == 499)
            fwt_run_count(&big_answers, i + 1, 60000);
    }
    ck_assert_uint_eq(big_failures, 0);
    bool done = false;
    FWT_OK(fw_kv_list(kv, "big", check_big, &done));
    fwt_run_until(&done, 30000);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

#define LIST_KEYS 16448 /* more than a page */

static void put_many(fw_kv *kv)
{
    fw_kv_txn_op ops[FW_KV_TXN_MAX];
    char keys[FW_KV_TXN_MAX][20];
    for (size_t i = 0; i < LIST_KEYS; i += FW_KV_TXN_MAX) {
        for (size_t j = 0; j < FW_KV_TXN_MAX; j++) {
            snprintf(keys[j], sizeof keys[j], "k%06zu", i + j);
            ops[j] =
                (fw_kv_txn_op){.type = FW_KV_TXN_PUT, .key = keys[j], .value = storet_text("v")};
        }
        fw_kv_txn txn = {.then = ops, .then_count = FW_KV_TXN_MAX};
        FWT_OK(storet_txn(kv, &txn)->status);
    }
}

/* The later pages are of the revision of the first; when that is gone, there is a new first. */
START_TEST(a_list_that_a_compaction_interrupts_begins_again)
{
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *aside = etcdt_open(etcd.port, "/cut", 0);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/cut", 15000);
    put_many(aside);
    FWT_OK(storet_get(kv, "k000000")->status);
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
    unsigned long before = fwt_etcd_calls(etcd.port, "Range");
    storet_answer list = {.done = false};
    FWT_OK(fw_kv_list(kv, "", storet_on_done, &list));
    uint64_t start_ms = storet_now_ms();
    while (fwt_etcd_calls(etcd.port, "Range") == before) { /* the first page is on its way */
        fwt_run_for(20);
        ck_assert_uint_lt(storet_now_ms() - start_ms, 10000);
    }
    fwt_run_for(200);
    int64_t revision = storet_put(aside, "new", "v")->revision;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)revision);
    etcdt_ctl(etcd.port, "compact", text, NULL);
    fwt_proxy_pass(proxy);
    storet_await(&list);
    FWT_OK(list.status);
    ck_assert_uint_eq(list.count, LIST_KEYS + 1);
    ck_assert_int_ge(list.revision, revision);
    ck_assert_ptr_nonnull(strstr(list.text, ";new=v;"));
    ck_assert_uint_eq(fwt_etcd_calls(etcd.port, "Range") - before, 4); /* two pages, both twice */
    free(list.text);
    storet_close(kv, STORET_WAIT_MS);
    storet_close(aside, STORET_WAIT_MS);
    fwt_proxy_end(proxy);
}
END_TEST

START_TEST(the_server_s_own_limit_is_told)
{
    fwt_etcd small;
    setenv("ETCD_MAX_REQUEST_BYTES", "100000", 1);
    fwt_etcd_start(&small);
    unsetenv("ETCD_MAX_REQUEST_BYTES");
    fw_kv *kv = etcdt_open(small.port, "/limit", 0);
    char *value = malloc(200001);
    memset(value, 'v', 200000);
    value[200000] = 0;
    const storet_answer *answer = storet_put(kv, "k", value);
    FWT_ERR(answer->status, FW_EVALUESIZE);
    ck_assert_msg(strstr(answer->detail, "request is too large") != NULL, "%s", answer->detail);
    FWT_ERR(storet_atomic_put(kv, "k", value, 0, NULL)->status, FW_EVALUESIZE);
    FWT_ERR(fw_kv_put(kv, "/", storet_text("v"), NULL, storet_on_done, NULL), FW_EKEY);
    memset(value, 'k', FW_KV_MAX_KEY_BYTES + 1);
    value[FW_KV_MAX_KEY_BYTES + 1] = 0;
    FWT_ERR(fw_kv_put(kv, value, storet_text("v"), NULL, storet_on_done, NULL), FW_EKEY);
    ck_assert_uint_eq(storet_list(kv, "")->count, 0);
    free(value);
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&small);
}
END_TEST

START_TEST(sizes)
{
    fw_kv *kv = etcdt_open(etcd.port, "/sizes", 0);
    char *value = malloc(2 << 20);
    memset(value, 'v', 2 << 20);
    size_t largest = 1536 * 1024 - 4096;
    value[largest] = 0;
    char key[FW_KV_MAX_KEY_BYTES + 1];
    memset(key, 'k', sizeof key);
    key[FW_KV_MAX_KEY_BYTES] = 0;
    FWT_OK(storet_atomic_put(kv, key, value, 0, NULL)->status);
    ck_assert_uint_eq(strlen(storet_get(kv, key)->text), sizeof key - 1 + largest + 2);
    FWT_ERR(fw_kv_put(kv, "k", (fw_slice){value, largest + 1}, NULL, storet_on_done, NULL),
            FW_EVALUESIZE);
    free(value);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(time_to_live)
{
    fw_kv *kv = etcdt_open(etcd.port, "/ttl", 0);
    fw_kv_put_options options = {.ttl_ms = 1500};
    FWT_OK(storet_put_with(kv, "k", "1", &options)->status);
    ck_assert_int_ne(storet_get(kv, "k")->lease, 0);
    /* A put that fails leaves no lease behind. */
    ck_assert(strstr(etcdt_ctl(etcd.port, "lease", "list", NULL), "found 1 leases"));
    FWT_ERR(storet_atomic_put(kv, "k", "2", 0, &options)->status, FW_EEXISTS);
    fwt_run_for(200);
    ck_assert(strstr(etcdt_ctl(etcd.port, "lease", "list", NULL), "found 1 leases"));
    uint64_t start = storet_now_ms();
    while (storet_exists(kv, "k")->count) {
        ck_assert_uint_lt(storet_now_ms() - start, 20000);
        fwt_run_for(50);
    }
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(no_space)
{
    fwt_etcd small;
    setenv("ETCD_QUOTA_BACKEND_BYTES", "4194304", 1);
    fwt_etcd_start(&small);
    unsetenv("ETCD_QUOTA_BACKEND_BYTES");
    fw_kv *kv = etcdt_open(small.port, "/s", 0);
    char *value = malloc(1000001), key[20];
    memset(value, 'v', 1000000);
    value[1000000] = 0;
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
    storet_close(kv, STORET_WAIT_MS);
    fwt_etcd_kill(&small);
}
END_TEST

START_TEST(urls)
{
    fw_kv *kv;
    FWT_ERR(fw_kv_open(fwt_loop, "etcd://127.0.0.1:1/p?tls=yes", NULL, &kv), FW_EOPTION);
    FWT_ERR(fw_kv_open(fwt_loop, "etcd:/p", NULL, &kv), FW_EURL);
    char url[100];
    snprintf(url, sizeof url, "etcd://localhost:%d/named", etcd.port);
    for (int i = 0; i < 5; i++) {
        kv = etcdt_open_url(url, 0);
        FWT_OK(storet_put(kv, "k", "1")->status);
        storet_close(kv, STORET_WAIT_MS);
    }
    kv = etcdt_open_url(url, 0);
    ck_assert_uint_eq(fw_kv_capabilities(kv), FW_KV_CAN_SHARE_PROCESSES | FW_KV_CAN_SHARE_MACHINES |
                                                  FW_KV_CAN_PERSIST | FW_KV_CAN_TXN |
                                                  FW_KV_CAN_SEE_EVERY_CHANGE | FW_KV_CAN_RESUME);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd operations");
    TCase *tcase = fwt_tcase(suite, "ops", 240);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, put_get_delete);
    tcase_add_test(tcase, no_prefix);
    tcase_add_test(tcase, boundaries);
    tcase_add_test(tcase, atomic);
    tcase_add_test(tcase, list_over_4_mib);
    tcase_add_test(tcase, a_list_that_a_compaction_interrupts_begins_again);
    tcase_add_test(tcase, the_server_s_own_limit_is_told);
    tcase_add_test(tcase, sizes);
    tcase_add_test(tcase, time_to_live);
    tcase_add_test(tcase, no_space);
    tcase_add_test(tcase, urls);
    return fwt_main(suite);
}
