/* Transactions: what etcd makes of the contract's words. */
#include "etcdt.h"

static fwt_etcd etcd;

static void start_etcd(void)
{
    fwt_etcd_start(&etcd);
}

static void stop_etcd(void)
{
    fwt_etcd_kill(&etcd);
}

static fw_kv_compare revision_is(const char *key, fw_kv_relation relation, int64_t revision)
{
    return (fw_kv_compare){.key = key, .relation = relation, .revision = revision};
}

static fw_kv_compare value_is(const char *key, fw_kv_relation relation, const char *value)
{
    return (fw_kv_compare){
        .key = key, .by_value = true, .relation = relation, .value = storet_text(value)};
}

static fw_kv_txn_op put(const char *key, const char *value)
{
    return (fw_kv_txn_op){.type = FW_KV_TXN_PUT, .key = key, .value = storet_text(value)};
}

static fw_kv_txn_op get(const char *key)
{
    return (fw_kv_txn_op){.type = FW_KV_TXN_GET, .key = key};
}

static fw_kv_txn_op delete_of(const char *key)
{
    return (fw_kv_txn_op){.type = FW_KV_TXN_DELETE, .key = key};
}

/* True if one comparison holds. */
static bool holds(fw_kv *kv, fw_kv_compare compare)
{
    fw_kv_txn txn = {.compares = &compare, .compare_count = 1};
    const storet_answer *answer = storet_txn(kv, &txn);
    FWT_OK(answer->status);
    ck_assert_uint_eq(answer->count, 0);
    return answer->succeeded;
}

START_TEST(a_missing_key_has_revision_zero_and_no_value)
{
    fw_kv *kv = etcdt_open(etcd.port, "/missing", 0);
    ck_assert(holds(kv, revision_is("k", FW_KV_EQUAL, 0)));
    ck_assert(!holds(kv, revision_is("k", FW_KV_NOT_EQUAL, 0)));
    ck_assert(holds(kv, revision_is("k", FW_KV_NOT_EQUAL, 7)));
    ck_assert(holds(kv, revision_is("k", FW_KV_LESS, 1)));
    ck_assert(!holds(kv, revision_is("k", FW_KV_LESS, 0)));
    ck_assert(!holds(kv, revision_is("k", FW_KV_GREATER, 0)));
    ck_assert(!holds(kv, value_is("k", FW_KV_EQUAL, "")));
    ck_assert(!holds(kv, value_is("k", FW_KV_NOT_EQUAL, "x")));
    ck_assert(!holds(kv, value_is("k", FW_KV_LESS, "x")));
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(revisions_and_values_compare)
{
    fw_kv *kv = etcdt_open(etcd.port, "/compare", 0);
    int64_t revision = storet_put(kv, "k", "mm")->revision;
    ck_assert(holds(kv, revision_is("k", FW_KV_EQUAL, revision)));
    ck_assert(!holds(kv, revision_is("k", FW_KV_EQUAL, 0)));
    ck_assert(holds(kv, revision_is("k", FW_KV_NOT_EQUAL, revision - 1)));
    ck_assert(holds(kv, revision_is("k", FW_KV_GREATER, revision - 1)));
    ck_assert(holds(kv, revision_is("k", FW_KV_LESS, revision + 1)));
    ck_assert(!holds(kv, revision_is("k", FW_KV_LESS, revision)));
    ck_assert(holds(kv, value_is("k", FW_KV_EQUAL, "mm")));
    ck_assert(!holds(kv, value_is("k", FW_KV_EQUAL, "m")));
    ck_assert(holds(kv, value_is("k", FW_KV_GREATER, "m")));
    ck_assert(holds(kv, value_is("k", FW_KV_LESS, "n")));
    ck_assert(holds(kv, value_is("k", FW_KV_LESS, "\xff")));
    ck_assert(holds(kv, value_is("k", FW_KV_NOT_EQUAL, "")));
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(a_branch_is_done_in_one_revision)
{
    fw_kv *kv = etcdt_open(etcd.port, "/branch", 0);
    int64_t before = storet_put(kv, "a", "old")->revision;
    FWT_OK(storet_put(kv, "gone", "x")->status);
    fw_kv_compare compare = revision_is("a", FW_KV_EQUAL, before);
    fw_kv_txn_op then[] = {put("a", "new"), get("a"),     delete_of("gone"),   get("gone"),
                           get("nothing"),  put("b", ""), delete_of("nothing")};
    fw_kv_txn_op otherwise[] = {get("b"), get("a")};
    fw_kv_txn txn = {.compares = &compare,
                     .compare_count = 1,
                     .then = then,
                     .then_count = 7,
                     .otherwise = otherwise,
                     .otherwise_count = 2};
    const storet_answer *answer = storet_txn(kv, &txn);
    FWT_OK(answer->status);
    ck_assert(answer->succeeded);
    ck_assert_str_eq(answer->text, "a=old;gone=x;nothing!;");
    int64_t revision = answer->revision;
    ck_assert_int_gt(revision, before);
    ck_assert_int_eq(storet_get(kv, "a")->pair_revision, revision);
    ck_assert_int_eq(storet_get(kv, "b")->pair_revision, revision);
    FWT_ERR(storet_get(kv, "gone")->status, FW_ENOTFOUND);
    answer = storet_txn(kv, &txn);
    FWT_OK(answer->status);
    ck_assert(!answer->succeeded);
    ck_assert_str_eq(answer->text, "b=;a=new;");
    ck_assert_int_eq(answer->revision, revision);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(an_empty_transaction_succeeds)
{
    fw_kv *kv = etcdt_open(etcd.port, "/empty", 0);
    fw_kv_txn txn = {.compares = NULL};
    const storet_answer *answer = storet_txn(kv, &txn);
    FWT_OK(answer->status);
    ck_assert(answer->succeeded);
    ck_assert_int_gt(answer->revision, 0);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(as_many_operations_as_are_allowed)
{
    fw_kv *kv = etcdt_open(etcd.port, "/many", 0);
    fw_kv_compare compares[FW_KV_TXN_MAX];
    fw_kv_txn_op then[FW_KV_TXN_MAX], otherwise[FW_KV_TXN_MAX];
    char keys[FW_KV_TXN_MAX][16];
    for (size_t i = 0; i < FW_KV_TXN_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], "k%02zu", i);
        compares[i] = revision_is(keys[i], FW_KV_EQUAL, 0);
        then[i] = put(keys[i], keys[i]);
        otherwise[i] = get(keys[i]);
    }
    fw_kv_txn txn = {compares, FW_KV_TXN_MAX, then, FW_KV_TXN_MAX, otherwise, FW_KV_TXN_MAX};
    ck_assert(storet_txn(kv, &txn)->succeeded);
    const storet_answer *answer = storet_txn(kv, &txn);
    ck_assert(!answer->succeeded);
    ck_assert_uint_eq(answer->count, FW_KV_TXN_MAX);
    ck_assert_ptr_eq(strstr(answer->text, "k00=k00;k01=k01;"), answer->text);
    txn.compare_count++;
    FWT_ERR(fw_kv_do_txn(kv, &txn, storet_on_done, NULL), FW_ELIMIT);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(pairs_may_go_with_a_lease)
{
    fw_kv *kv = etcdt_open(etcd.port, "/lease", 0);
    storet_lease lease;
    storet_lease_new(&lease, kv, 5000);
    FWT_OK(lease.status);
    fw_kv_txn_op then = put("k", "v");
    then.lease = lease.lease;
    fw_kv_txn txn = {.then = &then, .then_count = 1};
    FWT_OK(storet_txn(kv, &txn)->status);
    ck_assert_int_eq(storet_get(kv, "k")->lease, fw_kv_lease_id(lease.lease));
    char id[32];
    snprintf(id, sizeof id, "%llx", (unsigned long long)fw_kv_lease_id(lease.lease));
    etcdt_ctl(etcd.port, "lease", "revoke", id, NULL);
    storet_answer answer = {.done = false};
    int err = fw_kv_do_txn(kv, &txn, storet_on_done, &answer);
    if (!err) { /* nobody here knows yet that the lease is gone */
        storet_await(&answer);
        err = answer.status;
        free(answer.text);
    }
    FWT_ERR(err, FW_ELEASE);
    FWT_ERR(storet_get(kv, "k")->status, FW_ENOTFOUND);
    storet_lease_close(&lease);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(what_the_server_refuses_is_not_unknown)
{
    fw_kv *kv = etcdt_open(etcd.port, "/refused", 0);
    char *value = malloc(900001);
    memset(value, 'v', 900000);
    value[900000] = 0;
    fw_kv_txn_op then[] = {put("a", value), put("b", value), put("c", value)};
    fw_kv_txn txn = {.then = then, .then_count = 2};
    const storet_answer *answer = storet_txn(kv, &txn);
    FWT_ERR(answer->status, FW_EVALUESIZE); /* over etcd's limit for requests */
    ck_assert_msg(strstr(answer->detail, "too large") != NULL, "%s", answer->detail);
    txn.then_count = 3;
    answer = storet_txn(kv, &txn);
    FWT_ERR(answer->status, FW_EVALUESIZE); /* over gRPC's */
    ck_assert_msg(strstr(answer->detail, "larger than max") != NULL, "%s", answer->detail);
    ck_assert_uint_eq(storet_list(kv, "")->count, 0);
    free(value);
    storet_close(kv, STORET_WAIT_MS);
}
END_TEST

START_TEST(a_lost_answer_is_unknown_unless_it_only_reads)
{
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/lost", 1000);
    FWT_OK(storet_put(kv, "k", "1")->status);
    fwt_proxy_swallow(proxy, 0);
    fw_kv_txn_op then[] = {put("k", "2"), get("k")};
    fw_kv_txn txn = {.then = then, .then_count = 2};
    const storet_answer *answer = storet_txn(kv, &txn);
    FWT_ERR(answer->status, FW_EUNKNOWN);
    ck_assert(!answer->succeeded);
    txn = (fw_kv_txn){.then = &then[1], .then_count = 1};
    FWT_ERR(storet_txn(kv, &txn)->status, FW_EDEADLINE);
    fwt_proxy_pass(proxy);
    uint64_t start = storet_now_ms();
    while ((answer = storet_txn(kv, &txn))->status)
        ck_assert_uint_lt(storet_now_ms() - start, 15000);
    ck_assert_str_eq(answer->text, "k=2;");
    storet_close(kv, STORET_WAIT_MS);
    fwt_proxy_end(proxy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd transactions");
    TCase *tcase = fwt_tcase(suite, "txn", 120);
    tcase_add_unchecked_fixture(tcase, start_etcd, stop_etcd);
    tcase_add_test(tcase, a_missing_key_has_revision_zero_and_no_value);
    tcase_add_test(tcase, revisions_and_values_compare);
    tcase_add_test(tcase, a_branch_is_done_in_one_revision);
    tcase_add_test(tcase, an_empty_transaction_succeeds);
    tcase_add_test(tcase, as_many_operations_as_are_allowed);
    tcase_add_test(tcase, pairs_may_go_with_a_lease);
    tcase_add_test(tcase, what_the_server_refuses_is_not_unknown);
    tcase_add_test(tcase, a_lost_answer_is_unknown_unless_it_only_reads);
    return fwt_main(suite);
}
