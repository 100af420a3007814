/*
 * The driver under test against the reference, mem: the same random operations give the same
 * statuses, counts, values, events and final state. Revisions differ in number, not in order. The
 * seed is printed; KVT_SEED repeats a run.
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

struct step {
    int kind;
    size_t key, tree;
    char value[24];
    bool create;
};

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
    int n = snprintf(text, sizeof texts[0], "%s count %zu:", fw_error_name(answer->status),
                     answer->count);
    for (size_t i = 0; i < answer->pair_count; i++)
        n += snprintf(text + n, sizeof texts[0] - (size_t)n, " %s=%s", answer->pairs[i].key,
                      answer->pairs[i].value);
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

static void compare_watches(struct side *one, struct side *two)
{
    /* The last event of both is this one. */
    kvt_must_put(one->kv, "zz-last", "");
    kvt_must_put(two->kv, "zz-last", "");
    struct side *const sides[] = {one, two};
    for (size_t i = 0; i < 2; i++) {
        while (strcmp(kvt_next(&sides[i]->watch)->pair.key, "zz-last"))
            ;
        sort_revisions(&sides[i]->watch);
    }
    ck_assert_uint_eq(one->watch.count, two->watch.count);
    for (size_t i = 0; i < one->watch.count; i++) {
        const kvt_event *a = &one->watch.events[i], *b = &two->watch.events[i];
        ck_assert_msg(a->type == b->type && !strcmp(a->pair.key, b->pair.key) &&
                          !strcmp(a->pair.value, b->pair.value),
                      "event %zu: %d %s=%s, mem: %d %s=%s", i, (int)b->type, b->pair.key,
                      b->pair.value, (int)a->type, a->pair.key, a->pair.value);
    }
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
        struct step step = {
            .kind = (int)pick(10), .key = pick(KEYS), .tree = pick(TREES), .create = pick(3) == 0};
        if (step.kind == 6 && !step.tree && pick(4))
            step.tree = 2; /* everything is deleted less often */
        snprintf(step.value, sizeof step.value, "%.*s", (int)pick(8), "abcdefgh");
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
    TCase *tcase = kvt_tcase(suite, "random");
    tcase_add_loop_test(tcase, it_does_what_mem_does, 0, 5);
}
