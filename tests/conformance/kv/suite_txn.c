/* Transactions. A store without them says so, and nothing else. */
#include "kvt.h"

#include <limits.h>

#define COMPARE(k, r, n) ((fw_kv_compare){.key = (k), .relation = FW_KV_##r, .revision = (n)})
#define COMPARE_VALUE(k, r, v)                                                                     \
    ((fw_kv_compare){.key = (k), .by_value = true, .relation = FW_KV_##r, .value = kvt_text(v)})
#define PUT(k, v) ((fw_kv_txn_op){.type = FW_KV_TXN_PUT, .key = (k), .value = kvt_text(v)})
#define GET(k)    ((fw_kv_txn_op){.type = FW_KV_TXN_GET, .key = (k)})
#define DELETE(k) ((fw_kv_txn_op){.type = FW_KV_TXN_DELETE, .key = (k)})

/* Opens the store; without transactions: checks that it says so, and gives NULL. */
static fw_kv *open_with_txn(void)
{
    fw_kv *kv = kvt_open();
    if (kvt_can(kv, FW_KV_CAN_TXN))
        return kv;
    fw_kv_txn_op put = PUT("k", "v");
    fw_kv_txn txn = {.then = &put, .then_count = 1};
    kvt_assert_status(kvt_txn(kv, &txn), FW_EUNSUPPORTED);
    kvt_assert_value(kv, "k", NULL);
    kvt_close(kv);
    return NULL;
}

/* True if the comparison holds, by a transaction that changes nothing. */
static bool holds(fw_kv *kv, fw_kv_compare compare)
{
    fw_kv_txn txn = {.compares = &compare, .compare_count = 1};
    const kvt_answer *answer = kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
    ck_assert_uint_eq(answer->pair_count, 0);
    return answer->succeeded;
}

START_TEST(revisions_are_compared)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    kvt_must_put(kv, "before", "x");
    int64_t rev = kvt_must_put(kv, "dir/key", "v");
    const struct {
        fw_kv_compare compare;
        bool holds;
    } cases[] = {
        {COMPARE("dir/key", EQUAL, rev), true},
        {COMPARE("/dir//key/", EQUAL, rev), true},
        {COMPARE("dir/key", EQUAL, rev - 1), false},
        {COMPARE("dir/key", EQUAL, 0), false},
        {COMPARE("dir/key", NOT_EQUAL, rev), false},
        {COMPARE("dir/key", NOT_EQUAL, rev + 1), true},
        {COMPARE("dir/key", NOT_EQUAL, 0), true},
        {COMPARE("dir/key", LESS, rev), false},
        {COMPARE("dir/key", LESS, rev + 1), true},
        {COMPARE("dir/key", LESS, INT64_MAX), true},
        {COMPARE("dir/key", GREATER, rev), false},
        {COMPARE("dir/key", GREATER, rev - 1), true},
        {COMPARE("dir/key", GREATER, 0), true},
        /* A missing key has revision 0; a parent is not a key. */
        {COMPARE("dir", EQUAL, 0), true},
        {COMPARE("dir", NOT_EQUAL, 0), false},
        {COMPARE("dir", EQUAL, rev), false},
        {COMPARE("dir", LESS, 1), true},
        {COMPARE("dir", GREATER, 0), false},
        {COMPARE("dir", NOT_EQUAL, rev), true},
    };
    for (size_t i = 0; i < KVT_COUNT(cases); i++)
        ck_assert_msg(holds(kv, cases[i].compare) == cases[i].holds, "case %zu", i);
    kvt_close(kv);
}
END_TEST

START_TEST(values_are_compared_byte_by_byte)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    static const uint8_t bytes[] = {'a', 0, 0xff};
    kvt_must_put(kv, "k", "abc");
    kvt_must_put(kv, "empty", "");
    kvt_assert_status(kvt_put_with(kv, "bytes", (fw_slice){bytes, sizeof bytes}, NULL), FW_OK);
    fw_kv_compare binary = {
        .key = "bytes", .by_value = true, .relation = FW_KV_EQUAL, .value = {bytes, sizeof bytes}};
    fw_kv_compare shorter = binary;
    shorter.value.len = 2;
    fw_kv_compare above = shorter;
    above.relation = FW_KV_GREATER;
    fw_kv_compare sign = COMPARE_VALUE("bytes", GREATER, "a");
    const struct {
        fw_kv_compare compare;
        bool holds;
    } cases[] = {
        {COMPARE_VALUE("k", EQUAL, "abc"), true},
        {COMPARE_VALUE("k", EQUAL, "ab"), false},
        {COMPARE_VALUE("k", EQUAL, "abcd"), false},
        {COMPARE_VALUE("k", EQUAL, ""), false},
        {COMPARE_VALUE("k", NOT_EQUAL, "abd"), true},
        {COMPARE_VALUE("k", NOT_EQUAL, "abc"), false},
        {COMPARE_VALUE("k", LESS, "abd"), true},
        {COMPARE_VALUE("k", LESS, "abcd"), true},
        {COMPARE_VALUE("k", LESS, "abc"), false},
        {COMPARE_VALUE("k", LESS, "ab"), false},
        {COMPARE_VALUE("k", GREATER, "ab"), true},
        {COMPARE_VALUE("k", GREATER, "abb~"), true},
        {COMPARE_VALUE("k", GREATER, ""), true},
        {COMPARE_VALUE("k", GREATER, "abc"), false},
        {COMPARE_VALUE("empty", EQUAL, ""), true},
        {COMPARE_VALUE("empty", LESS, "a"), true},
        {COMPARE_VALUE("empty", GREATER, ""), false},
        {binary, true},
        {shorter, false},
        {above, true},
        {sign, true},
        /* Nothing holds for the value of a missing key. */
        {COMPARE_VALUE("missing", EQUAL, ""), false},
        {COMPARE_VALUE("missing", NOT_EQUAL, "x"), false},
        {COMPARE_VALUE("missing", LESS, "x"), false},
        {COMPARE_VALUE("missing", GREATER, ""), false},
    };
    for (size_t i = 0; i < KVT_COUNT(cases); i++)
        ck_assert_msg(holds(kv, cases[i].compare) == cases[i].holds, "case %zu", i);
    kvt_close(kv);
}
END_TEST

START_TEST(all_comparisons_must_hold)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    int64_t a = kvt_must_put(kv, "a", "1"), b = kvt_must_put(kv, "b", "2");
    const fw_kv_compare good[] = {COMPARE("a", EQUAL, a), COMPARE_VALUE("b", EQUAL, "2"),
                                  COMPARE("c", EQUAL, 0), COMPARE("a", LESS, b)};
    for (size_t bad = 0; bad <= KVT_COUNT(good); bad++) {
        fw_kv_compare compares[KVT_COUNT(good)];
        memcpy(compares, good, sizeof good);
        if (bad < KVT_COUNT(good))
            compares[bad] = COMPARE("a", EQUAL, b);
        fw_kv_txn txn = {.compares = compares, .compare_count = KVT_COUNT(compares)};
        const kvt_answer *answer = kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
        ck_assert(answer->succeeded == (bad == KVT_COUNT(good)));
    }
    /* None at all hold. */
    fw_kv_txn_op put = PUT("a", "always");
    fw_kv_txn txn = {.then = &put, .then_count = 1};
    ck_assert(kvt_assert_status(kvt_txn(kv, &txn), FW_OK)->succeeded);
    kvt_assert_value(kv, "a", "always");
    kvt_close(kv);
}
END_TEST

START_TEST(one_branch_is_done_in_one_revision)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    kvt_must_put(kv, "t/gone", "x");
    int64_t before = kvt_must_put(kv, "t/kept", "x");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "t", &watch);
    while (kvt_next(&watch)->type != FW_KV_END_OF_SNAPSHOT)
        ;
    fw_kv_txn_op then[] = {PUT("t/new", "1"), DELETE("t/gone"), PUT("/t//kept/", "2"),
                           DELETE("t/never")};
    fw_kv_txn_op otherwise[] = {PUT("t/wrong", "1"), DELETE("t/kept")};
    fw_kv_compare compare = COMPARE("t/kept", EQUAL, before);
    fw_kv_txn txn = {.compares = &compare,
                     .compare_count = 1,
                     .then = then,
                     .then_count = KVT_COUNT(then),
                     .otherwise = otherwise,
                     .otherwise_count = KVT_COUNT(otherwise)};
    const kvt_answer *answer = kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
    ck_assert(answer->succeeded);
    int64_t revision = answer->revision;
    ck_assert_int_gt(revision, before);
    ck_assert_str_eq(kvt_listing(kv, ""), "t/kept=2 t/new=1");
    answer = kvt_list(kv, "");
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(answer->pairs[i].revision, revision);
    size_t batch = 0;
    for (int i = 0; i < 3; i++) {
        const kvt_event *event = kvt_next(&watch);
        ck_assert_int_eq(event->pair.revision, revision);
        ck_assert(!i || event->batch == batch);
        batch = event->batch;
    }
    /* The same again: the comparison does not hold any more. */
    answer = kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
    ck_assert(!answer->succeeded);
    int64_t later = answer->revision;
    ck_assert_int_gt(later, revision);
    ck_assert_str_eq(kvt_listing(kv, ""), "t/new=1 t/wrong=1");
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(kvt_next(&watch)->pair.revision, later);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(reads_see_what_was_before)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    int64_t a = kvt_must_put(kv, "a", "old a"), b = kvt_must_put(kv, "b", "old b");
    fw_kv_txn_op then[] = {GET("missing"), PUT("a", "new a"), GET("/a/"),         DELETE("b"),
                           GET("b"),       GET("a"),          PUT("missing", "m")};
    fw_kv_txn txn = {.then = then, .then_count = KVT_COUNT(then)};
    const kvt_answer *answer = kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
    ck_assert(answer->succeeded);
    ck_assert_uint_eq(answer->pair_count, 4); /* one for each GET, in their order */
    ck_assert_str_eq(answer->pairs[0].key, "missing");
    ck_assert_int_eq(answer->pairs[0].revision, 0);
    ck_assert_uint_eq(answer->pairs[0].len, 0);
    for (size_t i = 1; i < 4; i += 2) {
        ck_assert_str_eq(answer->pairs[i].key, "a");
        ck_assert_str_eq(answer->pairs[i].value, "old a");
        ck_assert_int_eq(answer->pairs[i].revision, a);
    }
    ck_assert_str_eq(answer->pairs[2].value, "old b");
    ck_assert_int_eq(answer->pairs[2].revision, b);
    ck_assert_str_eq(kvt_listing(kv, ""), "a=new a missing=m");
    kvt_close(kv);
}
END_TEST

START_TEST(a_branch_without_writes_changes_nothing)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    int64_t a = kvt_must_put(kv, "a", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "", &watch);
    kvt_expect(&watch, FW_KV_PUT, "a", "1");
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    fw_kv_txn_op reads[] = {GET("a"), GET("b")}, nothing = DELETE("b"), write = PUT("a", "2");
    fw_kv_compare wrong = COMPARE("a", EQUAL, a + 1000);
    fw_kv_txn txns[] = {
        {.then = reads, .then_count = 2},
        {.then = &nothing, .then_count = 1},
        {.compares = &wrong, .compare_count = 1, .then = &write, .then_count = 1},
        {.compares = &wrong,
         .compare_count = 1,
         .then = &write,
         .then_count = 1,
         .otherwise = reads,
         .otherwise_count = 2},
        {.compares = NULL},
    };
    for (size_t i = 0; i < KVT_COUNT(txns); i++) {
        const kvt_answer *answer = kvt_assert_status(kvt_txn(kv, &txns[i]), FW_OK);
        ck_assert_int_ge(answer->revision, a);
        ck_assert_uint_eq(answer->pair_count, i == 0 || i == 3 ? 2 : 0);
    }
    ck_assert_int_eq(kvt_get(kv, "a")->pairs[0].revision, a);
    int64_t next = kvt_must_put(kv, "z", "end");
    ck_assert_int_eq(kvt_expect(&watch, FW_KV_PUT, "z", "end")->pair.revision, next);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(puts_of_a_transaction_take_leases)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    kvt_lease one = {.lease = NULL}, two = {.lease = NULL};
    kvt_lease_ask(kv, 30000, &two);
    fw_kv_txn_op early = {.type = FW_KV_TXN_PUT, .key = "k", .lease = two.lease};
    fw_kv_txn too_early = {.then = &early, .then_count = 1};
    kvt_assert_status(kvt_txn(kv, &too_early), FW_ELEASE); /* not granted yet */
    kvt_lease_grant(kv, 30000, &one);
    fwt_run_until(&two.answered, KVT_WAIT_MS);
    fw_kv_txn_op then[] = {
        PUT("one", "1"), PUT("two", "2"), PUT("free", "3"), PUT("moved", "4"), PUT("leaves", "5"),
    };
    then[0].lease = then[3].lease = then[4].lease = one.lease;
    then[1].lease = two.lease;
    fw_kv_txn txn = {.then = then, .then_count = KVT_COUNT(then)};
    if (kvt_txn(kv, &txn)->status == FW_EUNSUPPORTED) {
        /* ZooKeeper has transactions of one lease only. */
        ck_assert_str_eq(kvt_listing(kv, ""), "");
        fw_kv_txn_op second = then[1];
        then[1] = then[--txn.then_count];
        kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
        txn = (fw_kv_txn){.then = &second, .then_count = 1};
        kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
    }
    ck_assert_int_eq(kvt_get(kv, "one")->pairs[0].lease, fw_kv_lease_id(one.lease));
    ck_assert_int_eq(kvt_get(kv, "two")->pairs[0].lease, fw_kv_lease_id(two.lease));
    ck_assert_int_eq(kvt_get(kv, "free")->pairs[0].lease, 0);
    fw_kv_txn_op change[] = {PUT("moved", "6"), PUT("leaves", "7"), GET("one")};
    change[0].lease = two.lease;
    txn = (fw_kv_txn){.then = change, .then_count = KVT_COUNT(change)};
    const kvt_answer *answer = kvt_assert_status(kvt_txn(kv, &txn), FW_OK);
    ck_assert_int_eq(answer->pairs[0].lease, fw_kv_lease_id(one.lease));
    kvt_lease_close(&one);
    ck_assert_str_eq(kvt_listing(kv, ""), "free=3 leaves=7 moved=6 two=2");
    kvt_lease_close(&two);
    ck_assert_str_eq(kvt_listing(kv, ""), "free=3 leaves=7");
    kvt_close(kv);
}
END_TEST

START_TEST(bad_transactions_are_refused)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    enum { MANY = FW_KV_TXN_MAX + 1 };
    static char keys[MANY][16];
    fw_kv_compare compares[MANY];
    fw_kv_txn_op ops[MANY];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "many/%02zu", i);
        compares[i] = COMPARE(keys[i], EQUAL, 0);
        ops[i] = PUT(keys[i], "v");
    }
    fw_kv_txn_op twice[] = {PUT("a", "1"), PUT("/a", "2")}, both[] = {PUT("a", "1"), DELETE("a/")},
                 deletes[] = {DELETE("a"), GET("a"), DELETE("a")};
    fw_kv_txn_op no_key = GET("/"), no_type = {.type = (fw_kv_txn_op_type)9, .key = "a"};
    fw_kv_compare no_compare = COMPARE("", EQUAL, 0), no_relation = COMPARE("a", EQUAL, 0);
    no_relation.relation = (fw_kv_relation)9;
    size_t len = (size_t)64 * 1024 * 1024;
    void *zeros = calloc(1, len);
    fw_kv_txn_op too_long = {.type = FW_KV_TXN_PUT, .key = "a", .value = {zeros, len}};
    const struct {
        fw_kv_txn txn;
        int status;
    } cases[] = {
        {{.compares = compares, .compare_count = MANY}, FW_ELIMIT},
        {{.then = ops, .then_count = MANY}, FW_ELIMIT},
        {{.otherwise = ops, .otherwise_count = MANY}, FW_ELIMIT},
        {{.then = twice, .then_count = 2}, FW_EOPTION},
        {{.then = both, .then_count = 2}, FW_EOPTION},
        {{.otherwise = deletes, .otherwise_count = 3}, FW_EOPTION},
        {{.then = &no_key, .then_count = 1}, FW_EKEY},
        {{.otherwise = &no_type, .otherwise_count = 1}, FW_EOPTION},
        {{.compares = &no_compare, .compare_count = 1}, FW_EKEY},
        {{.compares = &no_relation, .compare_count = 1}, FW_EOPTION},
        {{.then = &too_long, .then_count = 1}, FW_EVALUESIZE},
    };
    for (size_t i = 0; i < KVT_COUNT(cases); i++) {
        const kvt_answer *answer = kvt_txn(kv, &cases[i].txn);
        ck_assert_msg(answer->status == cases[i].status, "case %zu: %s", i,
                      fw_error_name(answer->status));
        ck_assert(!answer->done); /* by the call itself */
    }
    free(zeros);
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    /* What is at the limit works: in both branches and in the comparisons. */
    fw_kv_txn most = {.compares = compares,
                      .compare_count = FW_KV_TXN_MAX,
                      .then = ops,
                      .then_count = FW_KV_TXN_MAX,
                      .otherwise = ops,
                      .otherwise_count = FW_KV_TXN_MAX};
    ck_assert(kvt_assert_status(kvt_txn(kv, &most), FW_OK)->succeeded);
    ck_assert_uint_eq(kvt_list(kv, "many")->count, FW_KV_TXN_MAX);
    ck_assert(!kvt_assert_status(kvt_txn(kv, &most), FW_OK)->succeeded);
    kvt_close(kv);
}
END_TEST

START_TEST(a_transaction_is_copied)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    kvt_must_put(kv, "key", "value");
    char key[] = "key", value[] = "value", other[] = "new", missing[] = "never";
    fw_kv_compare compares[] = {COMPARE_VALUE(key, EQUAL, value), COMPARE(missing, EQUAL, 0)};
    fw_kv_txn_op ops[] = {PUT(key, other), GET(key), PUT(other, value)};
    fw_kv_txn txn = {.compares = compares, .compare_count = 2, .then = ops, .then_count = 3};
    kvt_answer answer = {.done = false};
    FWT_OK(fw_kv_do_txn(kv, &txn, kvt_on_done, &answer));
    memset(key, 'x', sizeof key - 1);
    memset(value, 'x', sizeof value - 1);
    memset(other, 'x', sizeof other - 1);
    memset(missing, 'x', sizeof missing - 1);
    memset(compares, 0xff, sizeof compares);
    memset(ops, 0xff, sizeof ops);
    memset(&txn, 0xff, sizeof txn);
    kvt_await(&answer);
    kvt_assert_status(&answer, FW_OK);
    ck_assert(answer.succeeded);
    ck_assert_str_eq(answer.pairs[0].value, "value");
    kvt_answer_fini(&answer);
    ck_assert_str_eq(kvt_listing(kv, ""), "key=new new=value");
    kvt_close(kv);
}
END_TEST

/* ---- at the same time ---- */

/* A counter that is read and then written in a transaction, until it worked. */
struct counter {
    fw_kv *kv;
    size_t left, tries;
    bool done;
    char old[24];
    int64_t revision;
};

static void read_counter(struct counter *counter);

static void on_counted(const fw_kv_result *result, void *arg)
{
    struct counter *counter = arg;
    ck_assert_int_eq(result->status, FW_OK);
    counter->tries++;
    counter->left -= result->succeeded;
    if (counter->left)
        read_counter(counter);
    else
        counter->done = true;
}

static void on_counter(const fw_kv_result *result, void *arg)
{
    struct counter *counter = arg;
    char value[24] = "0", text[24];
    if (result->status != FW_ENOTFOUND) {
        ck_assert_int_eq(result->status, FW_OK);
        snprintf(value, sizeof value, "%.*s", (int)result->pairs[0].value.len,
                 (const char *)result->pairs[0].value.data);
        counter->revision = result->pairs[0].revision;
    }
    snprintf(text, sizeof text, "%ld", strtol(value, NULL, 10) + 1);
    /* Two keys that must always be the same. */
    fw_kv_compare compares[] = {COMPARE("n", EQUAL, counter->revision),
                                COMPARE("twin", EQUAL, counter->revision)};
    fw_kv_txn_op ops[] = {PUT("n", text), PUT("twin", text)};
    fw_kv_txn txn = {.compares = compares, .compare_count = 2, .then = ops, .then_count = 2};
    FWT_OK(fw_kv_do_txn(counter->kv, &txn, on_counted, counter));
}

static void read_counter(struct counter *counter)
{
    FWT_OK(fw_kv_get(counter->kv, "n", on_counter, counter));
}

START_TEST(counters_lose_no_step)
{
    enum { COUNTERS = 6, STEPS = 25 };
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    struct counter counters[COUNTERS] = {{.kv = NULL}};
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (size_t i = 0; i < COUNTERS; i++) {
        counters[i] = (struct counter){.kv = i < 2 ? kv : kvt_open(), .left = STEPS};
        read_counter(&counters[i]);
    }
    for (size_t i = 0; i < COUNTERS; i++)
        fwt_run_until(&counters[i].done, KVT_WAIT_MS);
    char wanted[16];
    snprintf(wanted, sizeof wanted, "%d", COUNTERS * STEPS);
    kvt_assert_value(kv, "n", wanted);
    kvt_assert_value(kv, "twin", wanted);
    /* The watch saw both in each revision. */
    for (bool end = false; !end;) {
        const kvt_event *one = kvt_next(&watch), first = *one;
        const kvt_event *two = kvt_next(&watch);
        ck_assert_int_eq(first.pair.revision, two->pair.revision);
        ck_assert_str_eq(first.pair.value, two->pair.value);
        ck_assert_uint_eq(first.batch, two->batch);
        end = !strcmp(two->pair.value, wanted);
    }
    kvt_watch_close(&watch);
    for (size_t i = 2; i < COUNTERS; i++)
        kvt_close(counters[i].kv);
    kvt_close(kv);
}
END_TEST

START_TEST(one_of_many_transactions_wins)
{
    enum { COUNT = 20 };
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    fw_kv *other = kvt_open();
    kvt_answer answers[COUNT] = {{.done = false}};
    for (size_t i = 0; i < COUNT; i++) {
        char value[8];
        snprintf(value, sizeof value, "%zu", i);
        fw_kv_compare compare = COMPARE("winner", EQUAL, 0);
        fw_kv_txn_op put = PUT("winner", value), get = GET("winner");
        fw_kv_txn txn = {.compares = &compare,
                         .compare_count = 1,
                         .then = &put,
                         .then_count = 1,
                         .otherwise = &get,
                         .otherwise_count = 1};
        FWT_OK(fw_kv_do_txn(i % 2 ? kv : other, &txn, kvt_on_done, &answers[i]));
        answers[i].submitted = true;
    }
    for (size_t i = 0; i < COUNT; i++)
        kvt_await(&answers[i]);
    size_t won = 0;
    char winner[8] = "";
    for (size_t i = 0; i < COUNT; i++) {
        kvt_assert_status(&answers[i], FW_OK);
        won += answers[i].succeeded;
        if (answers[i].succeeded)
            snprintf(winner, sizeof winner, "%zu", i);
    }
    ck_assert_uint_eq(won, 1);
    kvt_assert_value(kv, "winner", winner);
    for (size_t i = 0; i < COUNT; i++) { /* the others were told who it was */
        if (!answers[i].succeeded)
            ck_assert_str_eq(answers[i].pairs[0].value, winner);
        kvt_answer_fini(&answers[i]);
    }
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(close_ends_a_transaction_that_is_pending)
{
    fw_kv *kv = open_with_txn();
    if (!kv)
        return;
    fw_kv_txn_op put = PUT("k", "v");
    fw_kv_txn txn = {.then = &put, .then_count = 1};
    kvt_answer answer = {.done = false};
    bool closed = false;
    FWT_OK(fw_kv_do_txn(kv, &txn, kvt_on_done, &answer));
    answer.submitted = true;
    fw_kv_close(kv, kvt_on_closed, &closed);
    kvt_assert_status(kvt_txn(kv, &txn), FW_ECLOSED);
    fwt_run_until(&closed, KVT_WAIT_MS);
    kvt_assert_status(&answer, FW_ECANCELED);
    ck_assert(!answer.succeeded);
    kvt_answer_fini(&answer);
}
END_TEST

void kvt_add_txn(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "transactions");
    kvt_add(&group, "C29", revisions_are_compared);
    kvt_add(&group, "C29", values_are_compared_byte_by_byte);
    kvt_add(&group, "C29", all_comparisons_must_hold);
    kvt_add(&group, "C30 C15", one_branch_is_done_in_one_revision);
    kvt_add(&group, "C30", reads_see_what_was_before);
    kvt_add(&group, "C30", a_branch_without_writes_changes_nothing);
    kvt_add(&group, "C31", puts_of_a_transaction_take_leases);
    kvt_add(&group, "C32", bad_transactions_are_refused);
    kvt_add(&group, "C32 C4", a_transaction_is_copied);
    kvt_add(&group, "C33 C15", counters_lose_no_step);
    kvt_add(&group, "C33", one_of_many_transactions_wins);
    kvt_add(&group, "C26", close_ends_a_transaction_that_is_pending);
}
