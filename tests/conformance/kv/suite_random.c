/*
 * The driver under test against the reference, mem: the same random operations, transactions and
 * locks give the same statuses, counts, values, events and final state. Revisions differ in number,
 * not in order. The seed is printed; KVT_SEED repeats a run.
 */
#include "kvt.h"

#include <uv.h>

#define STEPS 400

static const char *const keys[] = {"a",     "a/b",     "a/b/c", "a/b/d", "a/bc",
                                   "a/b-c", "a/b/c/d", "b",     "b/x",   "b/y"};
#define KEYS (sizeof keys / sizeof *keys)
static const char *const trees[] = {"", "a", "a/b", "a/b/c", "b", "nothing"};
#define TREES (sizeof trees / sizeof *trees)

static uint64_t random_state;

static size_t pick(size_t bound)
{
    /* xorshift64*, S. Vigna 2016 */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * 0x2545f4914f6cdd1dull >> 33) % bound);
}

struct side {
    fw_kv *kv;
    int64_t known[KEYS]; /* a revision that the key has or had */
    kvt_watch watch;
};

enum { KIND_TXN = 10, KIND_LOCK = 11, KINDS = 12 };

/* A transaction: comparisons of the key and of another, two operations in each branch. */
struct plan {
    size_t other;
    fw_kv_relation relations[2];
    bool by_value;
    fw_kv_txn_op_type types[4];
    size_t keys[4];
};

struct step {
    int kind;
    size_t key, tree;
    char value[24];
    bool create;
    struct plan plan;
};

static struct plan make_plan(void)
{
    struct plan plan = {.other = pick(KEYS), .by_value = pick(2)};
    for (size_t i = 0; i < 2; i++)
        plan.relations[i] = (fw_kv_relation)pick(4);
    for (size_t i = 0; i < 4; i++) {
        plan.types[i] = (fw_kv_txn_op_type)pick(3);
        plan.keys[i] = pick(KEYS); /* a branch that writes a key twice is refused by both */
    }
    return plan;
}

static const kvt_answer *run_txn(struct side *side, const struct step *step)
{
    const struct plan *plan = &step->plan;
    fw_kv_compare compares[2] = {
        {.key = keys[step->key],
         .relation = plan->relations[0],
         .revision = step->create ? 0 : side->known[step->key]},
        {.key = keys[plan->other],
         .relation = plan->relations[1],
         .by_value = plan->by_value,
         .revision = side->known[plan->other],
         .value = kvt_text(step->value)},
    };
    fw_kv_txn_op ops[4];
    for (size_t i = 0; i < 4; i++)
        ops[i] = (fw_kv_txn_op){
            .type = plan->types[i], .key = keys[plan->keys[i]], .value = kvt_text(step->value)};
    fw_kv_txn txn = {.compares = compares,
                     .compare_count = 2,
                     .then = ops,
                     .then_count = 2,
                     .otherwise = ops + 2,
                     .otherwise_count = 2};
    return kvt_txn(side->kv, &txn);
}

/* Takes a lock and gives it back: what remains of it are a put and a deletion of its key. */
static const kvt_answer *run_lock(struct side *side, const struct step *step)
{
    kvt_lock lock = {.lock = NULL};
    kvt_lock_take(side->kv, "lock/key", step->value, &lock);
    kvt_lock_close(&lock);
    return kvt_list(side->kv, "lock");
}

static const kvt_answer *apply(struct side *side, const struct step *step)
{
    const char *key = keys[step->key];
    int64_t previous = step->create ? 0 : side->known[step->key];
    switch (step->kind) {
    case 0:
    case 1:
        return kvt_put(side->kv, key, step->value);
    case 2:
        return kvt_get(side->kv, key);
    case 3:
        return kvt_exists(side->kv, key);
    case 4:
        return kvt_delete(side->kv, key);
    case 5:
        return kvt_list(side->kv, trees[step->tree]);
    case 6:
        return kvt_delete_tree(side->kv, trees[step->tree]);
    case 7:
    case 8:
        return kvt_atomic_put(side->kv, key, step->value, previous);
    case KIND_TXN:
        return run_txn(side, step);
    case KIND_LOCK:
        return run_lock(side, step);
    default:
        /* 0 is no revision to delete at. */
        return kvt_atomic_delete(side->kv, key,
                                 side->known[step->key] ? side->known[step->key] : 1);
    }
}

/* What an answer says, without the numbers of revisions. */
static char *describe(const kvt_answer *answer)
{
    static char texts[2][4096];
    static int turn;
    char *text = texts[turn ^= 1];
    int n = snprintf(text, sizeof texts[0], "%s%s count %zu:", fw_error_name(answer->status),
                     answer->succeeded ? " succeeded" : "", answer->count);
    for (size_t i = 0; i < answer->pair_count; i++)
        n += snprintf(text + n, sizeof texts[0] - (size_t)n, " %s%s%s", answer->pairs[i].key,
                      answer->pairs[i].revision ? "=" : " missing", answer->pairs[i].value);
    return text;
}

static char *run_step(struct side *side, const struct step *step)
{
    const kvt_answer *answer = apply(side, step);
    char *text = describe(answer);
    if (answer->status)
        return text;
    /* Learn the new revision most of the time; what is not learnt is stale later. */
    if (step->kind == 2 && strlen(step->value) % 2)
        side->known[step->key] = answer->pairs[0].revision;
    if (step->kind == 0 || step->kind == 7)
        side->known[step->key] = answer->revision;
    return text;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const kvt_event *)a)->pair.key, ((const kvt_event *)b)->pair.key);
}

/* The pairs of one revision have no order among themselves. */
static void sort_revisions(kvt_watch *watch)
{
    for (size_t from = 0, to; from < watch->count; from = to) {
        for (to = from + 1; to < watch->count &&
                            watch->events[to].pair.revision == watch->events[from].pair.revision;)
            to++;
        qsort(&watch->events[from], to - from, sizeof *watch->events, by_key);
    }
}

static void compare_events(const kvt_watch *one, const kvt_watch *two)
{
    ck_assert_uint_eq(one->count, two->count);
    for (size_t i = 0; i < one->count; i++) {
        const kvt_event *a = &one->events[i], *b = &two->events[i];
        ck_assert_msg(a->type == b->type && !strcmp(a->pair.key, b->pair.key) &&
                          !strcmp(a->pair.value, b->pair.value),
                      "event %zu: %d %s=%s, mem: %d %s=%s", i, (int)b->type, b->pair.key,
                      b->pair.value, (int)a->type, a->pair.key, a->pair.value);
    }
}

/* Where changes are merged: revisions never go back, nothing is deleted that was not there, and
 * what remains is the store's state. */
static void check_merged(struct side *side)
{
    const kvt_watch *watch = &side->watch;
    int64_t revision = 0;
    for (size_t i = 0; i < watch->count; i++) {
        const kvt_event *event = &watch->events[i];
        if (event->type != FW_KV_PUT && event->type != FW_KV_DELETE)
            continue;
        ck_assert_int_ge(event->pair.revision, revision);
        revision = event->pair.revision;
        bool known = false;
        for (size_t k = i; k-- > 0 && !known;) {
            const kvt_event *before = &watch->events[k];
            if (strcmp(before->pair.key, event->pair.key))
                continue;
            ck_assert_int_ne(before->pair.revision, event->pair.revision);
            known = before->type == FW_KV_PUT;
            break;
        }
        ck_assert(known || event->type == FW_KV_PUT);
    }
    const kvt_answer *state = kvt_assert_status(kvt_list(side->kv, ""), FW_OK);
    size_t living = 0;
    for (size_t i = 0; i < watch->count; i++) {
        const kvt_event *event = &watch->events[i];
        bool last = event->type == FW_KV_PUT;
        for (size_t k = i + 1; k < watch->count && last; k++)
            last = strcmp(watch->events[k].pair.key, event->pair.key) != 0;
        living += last;
        for (size_t k = 0; k < state->pair_count && last; k++)
            if (!strcmp(state->pairs[k].key, event->pair.key))
                ck_assert_str_eq(state->pairs[k].value, event->pair.value);
    }
    ck_assert_msg(living == state->pair_count, "%zu keys, %zu in the store", living,
                  state->pair_count);
}

static void compare_watches(struct side *mem, struct side *tested)
{
    /* The last event of both is this one. */
    kvt_must_put(mem->kv, "zz-last", "");
    kvt_must_put(tested->kv, "zz-last", "");
    struct side *const sides[] = {mem, tested};
    for (size_t i = 0; i < 2; i++) {
        while (strcmp(kvt_next(&sides[i]->watch)->pair.key, "zz-last"))
            ;
        sort_revisions(&sides[i]->watch);
    }
    if (tested->watch.sees_all)
        compare_events(&mem->watch, &tested->watch);
    else
        check_merged(tested);
}

static struct step make_step(bool with_txn)
{
    struct step step = {
        .kind = (int)pick(KINDS), .key = pick(KEYS), .tree = pick(TREES), .create = pick(3) == 0};
    if (step.kind == KIND_LOCK && pick(5))
        step.kind = KIND_TXN;
    if (step.kind == KIND_TXN && !with_txn)
        step.kind = 7;
    if (step.kind == 6 && !step.tree && pick(4))
        step.tree = 2; /* everything is deleted less often */
    step.plan = make_plan();
    snprintf(step.value, sizeof step.value, "%.*s", (int)pick(8), "abcdefgh");
    return step;
}

START_TEST(it_does_what_mem_does)
{
    const char *given = getenv("KVT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : uv_hrtime();
    random_state = seed | 1;
    printf("%s: KVT_SEED=0x%llx\n", kvt_driver_under_test->name, (unsigned long long)seed);
    fflush(stdout);
    struct side mem = {.kv = kvt_open_url("mem:reference")}, tested = {.kv = kvt_open()};
    kvt_watch_tree(mem.kv, "", &mem.watch);
    kvt_watch_tree(tested.kv, "", &tested.watch);
    kvt_expect(&mem.watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_expect(&tested.watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (size_t i = 0; i < STEPS; i++) {
        struct step step = make_step(kvt_can(tested.kv, FW_KV_CAN_TXN));
        const char *wanted = run_step(&mem, &step), *got = run_step(&tested, &step);
        ck_assert_msg(!strcmp(wanted, got), "step %zu, kind %d, key %s: got %s, mem says %s", i,
                      step.kind, keys[step.key], got, wanted);
    }
    compare_watches(&mem, &tested);
    char *wanted = strdup(kvt_listing(mem.kv, ""));
    ck_assert_str_eq(kvt_listing(tested.kv, ""), wanted);
    free(wanted);
    kvt_watch_close(&mem.watch);
    kvt_watch_close(&tested.watch);
    kvt_close(mem.kv);
    kvt_close(tested.kv);
}
END_TEST

void kvt_add_random(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "random");
    kvt_add_runs(&group, "C28", it_does_what_mem_does, 5);
}
