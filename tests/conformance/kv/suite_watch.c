/* Watches: the state, then every change, in order, each once. */
#include "kvt.h"

START_TEST(a_watch_begins_with_the_state)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "dir/a", "1");
    int64_t revision = kvt_must_put(kv, "dir/b", "2");
    kvt_watch watch = {.watch = NULL}, empty = {.watch = NULL};
    kvt_watch_tree(kv, "/dir/", &watch);
    kvt_watch_tree(kv, "nothing", &empty);
    /* The snapshot comes in any order. */
    const char *first = kvt_expect(&watch, FW_KV_PUT, NULL, NULL)->pair.key;
    bool a_first = !strcmp(first, "dir/a");
    kvt_expect(&watch, FW_KV_PUT, a_first ? "dir/b" : "dir/a", a_first ? "2" : "1");
    const kvt_event *end = kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    ck_assert_int_ge(end->pair.revision, revision);
    end = kvt_expect(&empty, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    ck_assert_int_gt(end->pair.revision, 0);
    kvt_watch_close(&empty);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(changes_come_in_order_each_once)
{
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "t", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    int64_t last = 0;
    for (int i = 0; i < 50; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "t/%d", i % 3);
        snprintf(value, sizeof value, "%d", i);
        int64_t revision = kvt_must_put(kv, key, value);
        const kvt_event *event = kvt_expect(&watch, FW_KV_PUT, key, value);
        ck_assert_int_eq(event->pair.revision, revision);
        ck_assert_int_gt(revision, last);
        last = revision;
        if (i % 5 == 4) {
            int64_t deleted = kvt_assert_status(kvt_delete(kv, key), FW_OK)->revision;
            event = kvt_expect(&watch, FW_KV_DELETE, key, "");
            ck_assert_int_eq(event->pair.revision, deleted);
            last = deleted;
        }
    }
    fwt_run_for(100);
    ck_assert_uint_eq(watch.seen, watch.count); /* nothing more */
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(a_watch_of_a_key_sees_that_key_only)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "w/key", "0");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_key(kv, "w/key/", &watch);
    kvt_expect(&watch, FW_KV_PUT, "w/key", "0");
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "w/key/below", "x");
    kvt_must_put(kv, "w/key2", "x");
    kvt_must_put(kv, "w", "x");
    kvt_must_put(kv, "w/key", "1");
    kvt_assert_status(kvt_delete_tree(kv, "w/key"), FW_OK);
    kvt_assert_status(kvt_delete(kv, "w/key"), FW_OK);
    kvt_must_put(kv, "w/key", "2");
    kvt_expect_changes(&watch, {FW_KV_PUT, "w/key", "1"}, {FW_KV_DELETE, "w/key", ""},
                       {FW_KV_PUT, "w/key", "2"});
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(what_is_missing_may_be_watched)
{
    fw_kv *kv = kvt_open();
    kvt_watch key = {.watch = NULL}, tree = {.watch = NULL};
    kvt_watch_key(kv, "later/key", &key);
    kvt_watch_tree(kv, "later", &tree);
    kvt_expect(&key, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_expect(&tree, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "later/key", "born");
    kvt_expect(&key, FW_KV_PUT, "later/key", "born");
    kvt_expect(&tree, FW_KV_PUT, "later/key", "born");
    kvt_watch_close(&key);
    kvt_watch_close(&tree);
    kvt_close(kv);
}
END_TEST

START_TEST(a_deletion_is_not_an_empty_value)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "k", "x");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_key(kv, "k", &watch);
    kvt_expect(&watch, FW_KV_PUT, "k", "x");
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "k", "");
    kvt_expect(&watch, FW_KV_PUT, "k", "");
    kvt_assert_status(kvt_delete(kv, "k"), FW_OK);
    kvt_expect(&watch, FW_KV_DELETE, "k", "");
    kvt_must_put(kv, "k", "");
    kvt_expect(&watch, FW_KV_PUT, "k", "");
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(a_watched_tree_ends_at_a_path_boundary)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "a", "x");
    kvt_must_put(kv, "ab", "x");
    kvt_watch watch = {.watch = NULL}, all = {.watch = NULL};
    kvt_watch_tree(kv, "a", &watch);
    kvt_watch_tree(kv, "", &all);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    while (kvt_next(&all)->type != FW_KV_END_OF_SNAPSHOT)
        ;
    static const char *const keys[] = {"a", "ab", "ab/c", "a-b", "a/b", "b/a/b"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_must_put(kv, keys[i], "y");
    kvt_expect(&watch, FW_KV_PUT, "a/b", "y");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_expect(&all, FW_KV_PUT, keys[i], "y");
    kvt_assert_status(kvt_delete_tree(kv, ""), FW_OK);
    kvt_expect(&watch, FW_KV_DELETE, "a/b", "");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_expect(&all, FW_KV_DELETE, NULL, "");
    kvt_watch_close(&watch);
    kvt_watch_close(&all);
    kvt_close(kv);
}
END_TEST

START_TEST(a_transaction_comes_in_one_batch)
{
    fw_kv *kv = kvt_open();
    static const char *const keys[] = {"t/a", "t/b", "t/c/d", "t/e", "other"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        kvt_must_put(kv, keys[i], "v");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "t", &watch);
    while (kvt_next(&watch)->type != FW_KV_END_OF_SNAPSHOT)
        ;
    int64_t revision = kvt_assert_status(kvt_delete_tree(kv, "t"), FW_OK)->revision;
    size_t batch = 0;
    for (int i = 0; i < 4; i++) {
        const kvt_event *event = kvt_expect(&watch, FW_KV_DELETE, NULL, "");
        ck_assert_int_eq(event->pair.revision, revision);
        ck_assert(i == 0 || event->batch == batch);
        batch = event->batch;
    }
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(two_watches_see_the_same)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_watch one = {.watch = NULL}, two = {.watch = NULL}, far = {.watch = NULL};
    kvt_watch_tree(kv, "s", &one);
    kvt_watch_tree(kv, "s", &two);
    kvt_watch_tree(other, "s", &far);
    kvt_watch *const all[] = {&one, &two, &far};
    for (size_t i = 0; i < 3; i++)
        kvt_expect(all[i], FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "s/a", "1");
    kvt_must_put(other, "s/a", "2");
    kvt_assert_status(kvt_delete(kv, "s/a"), FW_OK);
    kvt_must_put(kv, "s/z", "end");
    for (size_t i = 0; i < 3; i++)
        kvt_expect_changes(all[i], {FW_KV_PUT, "s/a", "1"}, {FW_KV_PUT, "s/a", "2"},
                           {FW_KV_DELETE, "s/a", ""}, {FW_KV_PUT, "s/z", "end"});
    /* One of them gone, the others go on. */
    kvt_watch_close(&one);
    kvt_must_put(kv, "s/b", "3");
    kvt_expect(&two, FW_KV_PUT, "s/b", "3");
    kvt_expect(&far, FW_KV_PUT, "s/b", "3");
    kvt_watch_close(&two);
    kvt_watch_close(&far);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

static void close_inside(kvt_watch *watch, void *arg)
{
    (void)arg;
    fw_kv_watch_close(watch->watch, kvt_on_closed, &watch->closed);
    fw_kv_watch_close(watch->watch, kvt_on_closed, &watch->closed); /* nothing happens */
    ck_assert(!watch->closed);
}

START_TEST(a_watch_may_be_closed_in_its_callback)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "c/a", "1");
    kvt_watch closing = {.hook = close_inside}, open = {.watch = NULL};
    kvt_watch_tree(kv, "c", &closing);
    kvt_watch_tree(kv, "c", &open);
    fwt_run_until(&closing.closed, KVT_WAIT_MS);
    size_t count = closing.count;
    kvt_expect(&open, FW_KV_PUT, "c/a", "1");
    kvt_expect(&open, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "c/a", "2");
    kvt_expect(&open, FW_KV_PUT, "c/a", "2");
    ck_assert_uint_eq(closing.count, count);
    ck_assert_uint_eq(closing.batches, 1);
    kvt_watch_fini(&closing);
    kvt_watch_close(&open);
    kvt_close(kv);
}
END_TEST

START_TEST(a_watch_closed_at_once_says_nothing)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "c/a", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "c", &watch);
    fw_kv_watch_close(watch.watch, kvt_on_closed, &watch.closed);
    ck_assert(!watch.closed);
    kvt_must_put(kv, "c/a", "2");
    fwt_run_until(&watch.closed, KVT_WAIT_MS);
    ck_assert_uint_eq(watch.count, 0);
    kvt_close(kv);
}
END_TEST

struct echo {
    fw_kv *kv;
    kvt_answer answers[5];
    size_t sent;
};

static void put_inside(kvt_watch *watch, void *arg)
{
    (void)watch;
    struct echo *echo = arg;
    if (echo->sent == 5)
        return;
    char value[16];
    kvt_answer *answer = &echo->answers[echo->sent++];
    snprintf(value, sizeof value, "%zu", echo->sent);
    FWT_OK(fw_kv_put(echo->kv, "echo", kvt_text(value), NULL, kvt_on_done, answer));
    answer->submitted = true;
}

START_TEST(a_put_in_the_callback_comes_back)
{
    fw_kv *kv = kvt_open();
    struct echo echo = {.kv = kv};
    kvt_watch watch = {.hook = put_inside, .hook_arg = &echo};
    kvt_watch_key(kv, "echo", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (int i = 1; i <= 5; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        kvt_expect(&watch, FW_KV_PUT, "echo", value);
    }
    for (size_t i = 0; i < 5; i++) {
        kvt_await(&echo.answers[i]);
        kvt_assert_status(&echo.answers[i], FW_OK);
    }
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

/* A watch of the only key that anybody writes: after the snapshot every revision that `all` has
 * seen, once, up to the last; where the store merges changes, none twice or out of order. (What is
 * written at the same time has no order but that of revisions, and these may leave numbers out.) */
static void follow(kvt_watch *watch, const kvt_watch *all, int64_t last)
{
    int64_t revision = 0;
    bool snapshot = false;
    size_t at = 0; /* in all */
    while (!snapshot || revision < last) {
        const kvt_event *event = kvt_next(watch);
        ck_assert_msg(event->type != FW_KV_RESYNC, "history was lost");
        if (event->type == FW_KV_END_OF_SNAPSHOT) {
            snapshot = true;
            continue;
        }
        ck_assert_int_eq(event->type, FW_KV_PUT);
        ck_assert_int_gt(event->pair.revision, revision);
        while (at < all->count && all->events[at].pair.revision <= revision)
            at++;
        ck_assert_msg(!revision || !watch->sees_all ||
                          all->events[at].pair.revision == event->pair.revision,
                      "%lld after %lld", (long long)event->pair.revision, (long long)revision);
        revision = event->pair.revision;
    }
    ck_assert_int_eq(revision, last);
    ck_assert_uint_eq(watch->seen, watch->count);
}

START_TEST(no_gap_while_a_writer_hammers)
{
    enum { WATCHES = 12, PUTS = 3000 };
    fw_kv *kv = kvt_open();
    kvt_watch all = {.watch = NULL}, watches[WATCHES] = {{.watch = NULL}};
    kvt_watch_key(kv, "hammer/n", &all);
    kvt_expect(&all, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_writer *writer = kvt_writer_start("hammer/n", PUTS, 8);
    for (size_t i = 0; i < WATCHES; i++) {
        /* Started all through the time of writing. */
        while (kvt_writer_progress(writer) < i * PUTS / WATCHES && !kvt_writer_failed(writer))
            fwt_run_for(1);
        if (i % 2)
            kvt_watch_key(kv, "hammer/n", &watches[i]);
        else
            kvt_watch_tree(kv, "hammer", &watches[i]);
    }
    while (kvt_writer_progress(writer) < PUTS && !kvt_writer_failed(writer))
        fwt_run_for(1);
    kvt_writer_join(writer);
    int64_t last_revision = kvt_get(kv, "hammer/n")->pairs[0].revision;
    while (kvt_next(&all)->pair.revision < last_revision)
        ;
    if (all.sees_all)
        ck_assert_uint_eq(all.count, PUTS + 1);
    for (size_t i = 0; i < WATCHES; i++)
        follow(&watches[i], &all, last_revision);
    for (size_t i = 0; i < WATCHES; i++)
        kvt_watch_close(&watches[i]);
    kvt_watch_close(&all);
    kvt_close(kv);
}
END_TEST

START_TEST(watches_come_and_go_while_a_writer_hammers)
{
    enum { PUTS = 1500 };
    fw_kv *kv = kvt_open();
    kvt_writer *writer = kvt_writer_start("hammer/n", PUTS, 8);
    while (kvt_writer_progress(writer) < PUTS && !kvt_writer_failed(writer)) {
        kvt_watch watch = {.watch = NULL};
        kvt_watch_tree(kv, "hammer", &watch);
        while (kvt_next(&watch)->type != FW_KV_END_OF_SNAPSHOT)
            ;
        kvt_watch_close(&watch);
    }
    kvt_writer_join(writer);
    kvt_close(kv);
}
END_TEST

void kvt_add_watch(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "watch");
    kvt_add(&group, "C13", a_watch_begins_with_the_state);
    kvt_add(&group, "C14", changes_come_in_order_each_once);
    kvt_add(&group, "C17", a_watch_of_a_key_sees_that_key_only);
    kvt_add(&group, "C13", what_is_missing_may_be_watched);
    kvt_add(&group, "C16", a_deletion_is_not_an_empty_value);
    kvt_add(&group, "C17", a_watched_tree_ends_at_a_path_boundary);
    kvt_add(&group, "C8 C15", a_transaction_comes_in_one_batch);
    kvt_add(&group, "C20", two_watches_see_the_same);
    kvt_add(&group, "C20", a_watch_may_be_closed_in_its_callback);
    kvt_add(&group, "C20", a_watch_closed_at_once_says_nothing);
    kvt_add(&group, "C20", a_put_in_the_callback_comes_back);
    kvt_add(&group, "C14", no_gap_while_a_writer_hammers);
    kvt_add(&group, "C14", watches_come_and_go_while_a_writer_hammers);
}
