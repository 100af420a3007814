/* Locks: one holder, in the order of asking, with a token that grows; and nothing is left behind.
 */
#include "kvt.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

static const fw_kv_lock_options no_wait = {.no_wait = true};

/* What is in the store below a key, side keys of locks as well, cannot be listed; but a lock that
 * is free can be had without waiting. */
static void assert_free(fw_kv *kv, const char *key)
{
    kvt_lock lock = {.lock = NULL};
    kvt_lock_ask(kv, key, &no_wait, &lock);
    ck_assert_msg(kvt_lock_await(&lock) == FW_OK, "%s is not free: %s", key,
                  fw_error_name(lock.status));
    kvt_lock_close(&lock);
    kvt_assert_value(kv, key, NULL);
}

/* Waits until the lock has its place in the queue: that is where its comparison points to then. */
static void let_it_queue(fw_kv *kv, kvt_lock *lock)
{
    uint64_t deadline = fw_loop_now_ms(fwt_loop) + KVT_WAIT_MS;
    for (bool queued = false; !queued;) {
        ck_assert_msg(fw_loop_now_ms(fwt_loop) < deadline, "it does not queue");
        ck_assert_msg(!lock->answered, "it does not wait: %s", fw_error_name(lock->status));
        fwt_run_for(5);
        const char *slash = strrchr(fw_kv_lock_compare(lock->lock).key, '/');
        queued = slash && strlen(slash) > 9 && /* the hex of a lease */
                 kvt_exists(kv, fw_kv_lock_compare(lock->lock).key)->count;
    }
}

START_TEST(a_lock_is_taken_told_and_released)
{
    fw_kv *kv = kvt_open();
    kvt_lock lock = {.lock = NULL};
    kvt_assert_value(kv, "locks/one", NULL);
    kvt_lock_take(kv, "/locks//one/", "me", &lock);
    kvt_assert_value(kv, "locks/one", "me");
    ck_assert_int_ne(kvt_get(kv, "locks/one")->pairs[0].lease, 0);
    ck_assert_str_eq(kvt_listing(kv, ""), "locks/one=me");
    kvt_lock_close(&lock);
    ck_assert_uint_eq(lock.losses, 0);
    kvt_assert_value(kv, "locks/one", NULL);
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    assert_free(kv, "locks/one");
    kvt_close(kv);
}
END_TEST

START_TEST(the_value_of_a_lock_is_any_bytes)
{
    static const uint8_t bytes[] = {0, 0xff, 'x', 0};
    fw_kv *kv = kvt_open();
    kvt_lock lock = {.lock = NULL}, empty = {.lock = NULL};
    uint8_t copy[sizeof bytes];
    memcpy(copy, bytes, sizeof copy);
    fw_kv_lock_options options = {.value = {copy, sizeof copy}};
    kvt_lock_ask(kv, "l", &options, &lock);
    memset(copy, 'z', sizeof copy); /* the value was copied */
    kvt_lock_take(kv, "empty", "", &empty);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    const kvt_answer *answer = kvt_assert_status(kvt_get(kv, "l"), FW_OK);
    fwt_assert_bytes(answer->pairs[0].value, answer->pairs[0].len, bytes, sizeof bytes, "value");
    kvt_assert_value(kv, "empty", "");
    kvt_lock_close(&lock);
    kvt_lock_close(&empty);
    kvt_close(kv);
}
END_TEST

/* ---- many contenders ---- */

enum { CONTENDERS = 12, HANDLES = 3 };

struct contest {
    fw_kv *handles[HANDLES];
    kvt_lock locks[CONTENDERS];
    size_t order[CONTENDERS], had; /* who had it, in time */
    int64_t tokens[CONTENDERS];
    size_t holders, closed;
};

static void on_released(void *arg)
{
    ((struct contest *)arg)->closed++;
}

static void hold_and_release(kvt_lock *lock, void *arg)
{
    struct contest *contest = arg;
    ck_assert_int_eq(lock->status, FW_OK);
    ck_assert_uint_eq(++contest->holders, 1);
    contest->order[contest->had] = (size_t)(lock - contest->locks);
    contest->tokens[contest->had++] = fw_kv_lock_token(lock->lock);
    contest->holders--;
    fw_kv_lock_close(lock->lock, on_released, contest);
}

START_TEST(one_of_many_has_the_lock_and_each_gets_it_once)
{
    struct contest contest = {.had = 0};
    for (size_t i = 0; i < HANDLES; i++)
        contest.handles[i] = kvt_open();
    for (size_t i = 0; i < CONTENDERS; i++) {
        contest.locks[i] = (kvt_lock){.hook = hold_and_release, .hook_arg = &contest};
        kvt_lock_ask(contest.handles[i % HANDLES], "race", NULL, &contest.locks[i]);
    }
    fwt_run_count(&contest.closed, CONTENDERS, KVT_WAIT_MS);
    for (size_t i = 0; i < CONTENDERS; i++) {
        ck_assert_uint_eq(contest.locks[i].answers, 1);
        ck_assert_uint_eq(contest.locks[i].losses, 0);
        if (i)
            ck_assert_int_gt(contest.tokens[i], contest.tokens[i - 1]);
    }
    assert_free(contest.handles[0], "race");
    for (size_t i = 0; i < HANDLES; i++)
        kvt_close(contest.handles[i]);
}
END_TEST

START_TEST(first_come_first_served)
{
    enum { WAITING = 4 };
    fw_kv *one = kvt_open(), *two = kvt_open();
    struct contest contest = {.had = 0};
    kvt_lock holder = {.lock = NULL};
    kvt_lock_take(one, "queue", "first", &holder);
    for (size_t i = 0; i < WAITING; i++) {
        contest.locks[i] = (kvt_lock){.hook = hold_and_release, .hook_arg = &contest};
        kvt_lock_ask(i % 2 ? one : two, "queue", NULL, &contest.locks[i]);
        let_it_queue(one, &contest.locks[i]);
    }
    int64_t token = fw_kv_lock_token(holder.lock);
    kvt_lock_close(&holder);
    fwt_run_count(&contest.closed, WAITING, KVT_WAIT_MS);
    for (size_t i = 0; i < WAITING; i++) {
        ck_assert_uint_eq(contest.order[i], i);
        ck_assert_int_gt(contest.tokens[i], token);
        token = contest.tokens[i];
    }
    kvt_close(two);
    kvt_close(one);
}
END_TEST

/* Two threads, each with a loop and a handle, that add one to a counter under the lock, by a get
 * and a put. */
struct adder {
    uv_thread_t thread;
    fw_loop *loop;
    fw_kv *kv;
    fw_kv_lock *lock;
    int left, err;
    int64_t token;
    char value[24];
};

static void add_more(struct adder *adder);

static void on_adder_released(void *arg)
{
    struct adder *adder = arg;
    adder->lock = NULL;
    if (--adder->left && !adder->err)
        add_more(adder);
    else
        fw_kv_close(adder->kv, NULL, NULL);
}

static void on_added(const fw_kv_result *result, void *arg)
{
    struct adder *adder = arg;
    if (result->status)
        adder->err = result->status;
    fw_kv_lock_close(adder->lock, on_adder_released, adder);
}

static void on_number(const fw_kv_result *result, void *arg)
{
    struct adder *adder = arg;
    long number = 0;
    if (!result->status)
        number = strtol(result->pairs[0].value.data, NULL, 10);
    else if (result->status != FW_ENOTFOUND)
        adder->err = result->status;
    /* With a character behind, so that the slice is a string for strtol. */
    int n = snprintf(adder->value, sizeof adder->value, "%ld.", number + 1);
    if (fw_kv_put(adder->kv, "counter", (fw_slice){adder->value, (size_t)n}, NULL, on_added, adder))
        adder->err = FW_ECLOSED;
}

static void on_adder_locked(fw_kv_lock *lock, int status, const char *detail, void *arg)
{
    (void)detail;
    struct adder *adder = arg;
    if (!status && fw_kv_lock_token(lock) <= adder->token)
        status = FW_EMODIFIED;
    adder->token = fw_kv_lock_token(lock);
    if (!status)
        status = fw_kv_get(adder->kv, "counter", on_number, adder);
    if (status) {
        adder->err = status;
        fw_kv_lock_close(lock, on_adder_released, adder);
    }
}

static void add_more(struct adder *adder)
{
    fw_kv_lock_options options = {.on_acquired = on_adder_locked, .arg = adder};
    int err = fw_kv_lock_new(adder->kv, "counter-lock", &options, &adder->lock);
    if (err) {
        adder->err = err;
        fw_kv_close(adder->kv, NULL, NULL);
    }
}

static void run_adder(void *arg)
{
    struct adder *adder = arg;
    fw_kv_options options = {.timeout_ms = 15000};
    adder->err = fw_loop_new(&adder->loop);
    if (!adder->err)
        adder->err = fw_kv_open(adder->loop, kvt_url, &options, &adder->kv);
    if (!adder->err) {
        add_more(adder);
        fw_loop_run(adder->loop);
    }
    int err = fw_loop_close(adder->loop);
    if (!adder->err)
        adder->err = err;
}

START_TEST(threads_that_add_under_the_lock_lose_nothing)
{
    enum { THREADS = 3, TIMES = 8 };
    struct adder adders[THREADS] = {{.left = 0}};
    fw_kv *kv = kvt_open();
    for (size_t i = 0; i < THREADS; i++) {
        adders[i].left = TIMES;
        ck_assert_int_eq(uv_thread_create(&adders[i].thread, run_adder, &adders[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        uv_thread_join(&adders[i].thread);
        ck_assert_msg(!adders[i].err, "thread %zu: %s", i, fw_error_name(adders[i].err));
    }
    char wanted[16];
    snprintf(wanted, sizeof wanted, "%d.", THREADS * TIMES);
    /* A store that does not persist was kept by our own handle. */
    kvt_assert_value(kv, "counter", wanted);
    kvt_close(kv);
}
END_TEST

/* ---- how long it is held ---- */

START_TEST(a_holder_keeps_others_out_beyond_its_time)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL}, second = {.lock = NULL};
    fw_kv_lock_options options = {.ttl_ms = 3000, .value = kvt_text("holder")};
    kvt_lock_ask(kv, "held", &options, &holder);
    ck_assert_int_eq(kvt_lock_await(&holder), FW_OK);
    options.value = kvt_text("second");
    kvt_lock_ask(other, "held", &options, &second);
    fwt_run_for(5000);
    ck_assert(!second.answered && !holder.lost);
    kvt_assert_value(other, "held", "holder");
    kvt_lock_close(&holder);
    uint64_t released = fw_loop_now_ms(fwt_loop);
    ck_assert_int_eq(kvt_lock_await(&second), FW_OK);
    /* By the release, not by the end of a time. */
    ck_assert_uint_lt(fw_loop_now_ms(fwt_loop) - released, 5000);
    kvt_assert_value(kv, "held", "second");
    kvt_lock_close(&second);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* Holds a lock until it is killed; says so through a pipe. */
static void hold_in_child(int said)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fwt_loop_setup(); /* a loop does not live across fork, either */
    kvt_lock lock = {.lock = NULL};
    fw_kv_lock_options options = {.ttl_ms = 2000, .value = kvt_text("child")};
    kvt_lock_ask(kvt_open(), "held", &options, &lock);
    bool got = kvt_lock_await(&lock) == FW_OK && write(said, "y", 1) == 1;
    bool never = !got;
    if (got)
        fwt_run_until(&never, 60000);
    _exit(1);
}

START_TEST(the_lock_of_a_killed_process_ends_with_its_time)
{
    /* Before this process opens the store, since a store does not live across fork. */
    int said[2];
    char byte = 0;
    if (!strncmp(kvt_url, "mem:", 4)) { /* lives in one process: there is nobody to kill */
        fw_kv *mem = kvt_open();
        ck_assert(!kvt_can(mem, FW_KV_CAN_SHARE_PROCESSES));
        kvt_close(mem);
        return;
    }
    ck_assert_int_eq(pipe(said), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child)
        hold_in_child(said[1]);
    close(said[1]);
    ck_assert_msg(read(said[0], &byte, 1) == 1, "the child did not get the lock");
    close(said[0]);
    fw_kv *kv = kvt_open();
    ck_assert(kvt_can(kv, FW_KV_CAN_SHARE_PROCESSES));
    kvt_lock lock = {.lock = NULL};
    kvt_lock_ask(kv, "held", NULL, &lock);
    let_it_queue(kv, &lock);
    kvt_assert_value(kv, "held", "child");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    kvt_lock_close(&lock);
    kvt_close(kv);
}
END_TEST

/* ---- giving up ---- */

START_TEST(who_does_not_wait_is_refused_at_once)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    for (int i = 0; i < 4; i++) {
        kvt_lock hasty = {.lock = NULL};
        kvt_lock_ask(i % 2 ? kv : other, "busy", &no_wait, &hasty);
        ck_assert_int_eq(kvt_lock_await(&hasty), FW_ELOCKED);
        ck_assert_int_eq(fw_kv_lock_token(hasty.lock), 0);
        kvt_lock_close(&hasty);
    }
    kvt_assert_value(other, "busy", "holder");
    ck_assert(!holder.lost);
    kvt_lock_close(&holder);
    assert_free(other, "busy");
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(who_has_waited_long_enough_leaves_the_queue)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL}, patient = {.lock = NULL}, limited = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    fw_kv_lock_options options = {.wait_ms = 2000};
    uint64_t start = fw_loop_now_ms(fwt_loop);
    kvt_lock_ask(other, "busy", &options, &limited);
    let_it_queue(kv, &limited);
    kvt_lock_ask(other, "busy", NULL, &patient); /* behind it */
    ck_assert_int_eq(kvt_lock_await(&limited), FW_EDEADLINE);
    ck_assert_uint_ge(fw_loop_now_ms(fwt_loop) - start, 1900);
    ck_assert_int_eq(fw_kv_lock_token(limited.lock), 0);
    fwt_run_for(100);
    ck_assert(!patient.answered); /* the one before it has gone, the holder has not */
    kvt_lock_close(&holder);
    ck_assert_int_eq(kvt_lock_await(&patient), FW_OK);
    kvt_lock_close(&patient);
    kvt_lock_close(&limited);
    assert_free(kv, "busy");
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(closing_while_waiting_leaves_the_queue)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL}, leaving = {.lock = NULL}, next = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    kvt_lock_ask(other, "busy", NULL, &leaving);
    let_it_queue(kv, &leaving);
    kvt_lock_ask(kv, "busy", NULL, &next);
    let_it_queue(kv, &next);
    kvt_lock_close(&leaving);
    ck_assert_int_eq(leaving.status, FW_ECANCELED);
    /* At every stage of asking. */
    for (unsigned i = 0; i < 12; i++) {
        kvt_lock early = {.lock = NULL};
        kvt_lock_ask(i % 2 ? kv : other, "busy", NULL, &early);
        for (unsigned turns = 0; turns < i; turns++)
            uv_run(fw_loop_uv(fwt_loop), UV_RUN_NOWAIT);
        kvt_lock_close(&early);
        ck_assert_int_eq(early.status, FW_ECANCELED);
    }
    kvt_lock_close(&holder);
    ck_assert_int_eq(kvt_lock_await(&next), FW_OK);
    kvt_lock_close(&next);
    assert_free(kv, "busy");
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* ---- losing it ---- */

START_TEST(a_lock_whose_key_is_deleted_or_overwritten_is_lost)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    for (int i = 0; i < 4; i++) {
        kvt_lock lock = {.lock = NULL};
        kvt_lock_take(kv, "dir/taken", "v", &lock);
        if (i == 0)
            kvt_assert_status(kvt_delete(other, "dir/taken"), FW_OK);
        else if (i == 1)
            kvt_must_put(other, "dir/taken", "mine now");
        else if (i == 2) /* its place in the queue */
            kvt_assert_status(kvt_delete(other, fw_kv_lock_compare(lock.lock).key), FW_OK);
        else
            kvt_assert_status(kvt_delete_tree(other, "dir"), FW_OK);
        fwt_run_until(&lock.lost, KVT_WAIT_MS);
        ck_assert_int_ne(lock.reason, FW_OK);
        fwt_run_for(50);
        ck_assert_uint_eq(lock.losses, 1);
        kvt_lock_close(&lock);
        if (i == 1) /* what is somebody else's stays */
            kvt_assert_status(kvt_delete(other, "dir/taken"), FW_OK);
        assert_free(other, "dir/taken");
    }
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(a_place_in_the_queue_that_is_deleted_ends_the_waiting)
{
    fw_kv *kv = kvt_open();
    kvt_lock holder = {.lock = NULL}, waiting = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    kvt_lock_ask(kv, "busy", NULL, &waiting);
    let_it_queue(kv, &waiting);
    kvt_assert_status(kvt_delete(kv, fw_kv_lock_compare(waiting.lock).key), FW_OK);
    kvt_lock_close(&holder);
    ck_assert_int_ne(kvt_lock_await(&waiting), FW_OK);
    kvt_lock_close(&waiting);
    assert_free(kv, "busy");
    kvt_close(kv);
}
END_TEST

START_TEST(a_foreign_key_bars_the_lock_until_it_goes)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_must_put(other, "barred", "a client whose lock is the key alone");
    kvt_lock lock = {.lock = NULL}, hasty = {.lock = NULL}, limited = {.lock = NULL};
    kvt_lock_ask(kv, "barred", &no_wait, &hasty);
    ck_assert_int_eq(kvt_lock_await(&hasty), FW_ELOCKED);
    kvt_lock_close(&hasty);
    fw_kv_lock_options options = {.wait_ms = 400};
    kvt_lock_ask(kv, "barred", &options, &limited);
    ck_assert_int_eq(kvt_lock_await(&limited), FW_EDEADLINE);
    kvt_lock_close(&limited);
    options = (fw_kv_lock_options){.value = kvt_text("ours")};
    kvt_lock_ask(kv, "barred", &options, &lock);
    let_it_queue(kv, &lock);
    kvt_must_put(other, "barred", "still there");
    fwt_run_for(100);
    ck_assert(!lock.answered);
    kvt_assert_status(kvt_delete(other, "barred"), FW_OK);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    kvt_assert_value(other, "barred", "ours");
    /* Such a client in turn is kept out by ours. */
    kvt_assert_status(kvt_atomic_put(other, "barred", "theirs", 0), FW_EEXISTS);
    kvt_lock_close(&lock);
    kvt_assert_status(kvt_atomic_put(other, "barred", "theirs", 0), FW_OK);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* ---- guarding ---- */

static int guarded_put(fw_kv *kv, fw_kv_compare guard, const char *value)
{
    fw_kv_txn_op put = {.type = FW_KV_TXN_PUT, .key = "guarded", .value = kvt_text(value)};
    fw_kv_txn txn = {.compares = &guard, .compare_count = 1, .then = &put, .then_count = 1};
    const kvt_answer *answer = kvt_txn(kv, &txn);
    return answer->status ? answer->status : answer->succeeded ? FW_OK : FW_EMODIFIED;
}

START_TEST(a_lock_guards_transactions_while_it_is_held)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock first = {.lock = NULL}, second = {.lock = NULL};
    kvt_lock_take(kv, "guard", "first", &first);
    fw_kv_compare compare = fw_kv_lock_compare(first.lock);
    if (!kvt_can(kv, FW_KV_CAN_TXN)) {
        ck_assert_int_eq(guarded_put(kv, compare, "x"), FW_EUNSUPPORTED);
        kvt_lock_close(&first);
        kvt_close(other);
        kvt_close(kv);
        return;
    }
    char key[FW_KV_MAX_KEY_BYTES + 1];
    snprintf(key, sizeof key, "%s", compare.key);
    ck_assert_int_eq(guarded_put(kv, compare, "by first"), FW_OK);
    kvt_lock_ask(other, "guard", NULL, &second);
    let_it_queue(kv, &second);
    /* Who waits has no right yet... */
    ck_assert_int_eq(guarded_put(kv, fw_kv_lock_compare(second.lock), "early"), FW_EMODIFIED);
    ck_assert_int_eq(guarded_put(kv, compare, "by first"), FW_OK);
    kvt_lock_close(&first);
    ck_assert_int_eq(kvt_lock_await(&second), FW_OK);
    /* ... and who had it has none any more, even with the old comparison. */
    compare.key = key;
    ck_assert_int_eq(guarded_put(kv, compare, "too late"), FW_EMODIFIED);
    ck_assert_int_eq(guarded_put(kv, fw_kv_lock_compare(second.lock), "by second"), FW_OK);
    kvt_assert_value(kv, "guarded", "by second");
    kvt_assert_status(kvt_delete(kv, "guard"), FW_OK);
    fwt_run_until(&second.lost, KVT_WAIT_MS);
    kvt_lock_close(&second);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* ---- what others see ---- */

START_TEST(the_queue_is_neither_listed_nor_watched)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_watch tree = {.watch = NULL}, late = {.watch = NULL}, key = {.watch = NULL};
    kvt_watch_tree(other, "", &tree);
    kvt_watch_key(other, "dir/lock", &key);
    kvt_expect(&tree, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_expect(&key, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "dir/other", "x");
    kvt_lock first = {.lock = NULL}, second = {.lock = NULL};
    kvt_lock_take(kv, "dir/lock", "first", &first);
    fw_kv_lock_options options = {.value = kvt_text("second")};
    kvt_lock_ask(other, "dir/lock", &options, &second);
    let_it_queue(kv, &second);
    ck_assert_str_eq(kvt_listing(kv, "dir"), "dir/lock=first dir/other=x");
    ck_assert_str_eq(kvt_listing(kv, "dir/lock"), "");
    ck_assert_str_eq(kvt_listing(kv, ""), "dir/lock=first dir/other=x");
    kvt_watch_tree(other, "dir", &late);
    for (int i = 0; i < 2; i++)
        ck_assert(strncmp(kvt_expect(&late, FW_KV_PUT, NULL, NULL)->pair.key, "dir/lock/", 9));
    kvt_expect(&late, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_lock_close(&first);
    ck_assert_int_eq(kvt_lock_await(&second), FW_OK);
    kvt_lock_close(&second);
    kvt_must_put(kv, "dir/z", "end");
    kvt_watch *const trees[] = {&tree, &late};
    for (size_t i = 0; i < 2; i++) {
        if (trees[i] == &tree)
            kvt_expect_changes(&tree, {FW_KV_PUT, "dir/other", "x"},
                               {FW_KV_PUT, "dir/lock", "first"});
        kvt_expect_changes(trees[i], {FW_KV_DELETE, "dir/lock", ""},
                           {FW_KV_PUT, "dir/lock", "second"}, {FW_KV_DELETE, "dir/lock", ""},
                           {FW_KV_PUT, "dir/z", "end"});
    }
    kvt_expect_changes(&key, {FW_KV_PUT, "dir/lock", "first"});
    kvt_watch_close(&tree);
    kvt_watch_close(&late);
    kvt_watch_close(&key);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(locks_side_by_side_do_not_meet)
{
    enum { COUNT = 10 };
    fw_kv *kv = kvt_open();
    kvt_lock locks[COUNT] = {{.lock = NULL}};
    static const char *const keys[COUNT] = {"a", "aa", "b/c", "b/cc", "b/d",
                                            "0", "00", "x-",  "x.",   "x_"};
    for (size_t i = 0; i < COUNT; i++)
        kvt_lock_ask(kv, keys[i], &no_wait, &locks[i]);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(kvt_lock_await(&locks[i]), FW_OK);
    ck_assert_uint_eq(kvt_list(kv, "")->count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        kvt_lock_close(&locks[i]);
    ck_assert_str_eq(kvt_listing(kv, ""), "");
    kvt_close(kv);
}
END_TEST

START_TEST(bad_keys_and_options_of_locks_are_refused)
{
    fw_kv *kv = kvt_open();
    fw_kv_lock *lock;
    char key[FW_KV_MAX_KEY_BYTES + 1];
    memset(key, 'k', sizeof key);
    key[FW_KV_MAX_KEY_BYTES] = 0; /* good for a pair, too long with what a lock adds */
    kvt_lock unused = {.lock = NULL};
    fw_kv_lock_options options = {.ttl_ms = 5000};
    FWT_ERR(fw_kv_lock_new(kv, "k", &options, &lock), FW_EOPTION); /* no on_acquired */
    kvt_lock_take(kv, "k", "", &unused);
    kvt_lock_close(&unused);
    static const char *const bad[] = {"", "/", "//", NULL};
    for (size_t i = 0; i < KVT_COUNT(bad); i++) {
        fw_kv_lock_options good = {
            .on_acquired = (void (*)(fw_kv_lock *, int, const char *, void *))(uintptr_t)1};
        FWT_ERR(fw_kv_lock_new(kv, bad[i] ? bad[i] : key, &good, &lock), FW_EKEY);
        good.ttl_ms = 999;
        FWT_ERR(fw_kv_lock_new(kv, "k", &good, &lock), FW_EOPTION);
    }
    /* The longest that can be locked. */
    key[FW_KV_MAX_KEY_BYTES - 40] = 0;
    unused = (kvt_lock){.lock = NULL};
    kvt_lock_take(kv, key, "long", &unused);
    kvt_assert_value(kv, key, "long");
    kvt_lock_close(&unused);
    kvt_close(kv);
}
END_TEST

/* ---- closing, and callbacks ---- */

START_TEST(closing_the_store_releases_and_gives_up)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock held = {.lock = NULL}, waiting = {.lock = NULL}, asked = {.lock = NULL};
    kvt_lock next = {.lock = NULL};
    kvt_lock_take(kv, "one", "v", &held);
    kvt_lock_ask(kv, "one", NULL, &waiting);
    let_it_queue(kv, &waiting);
    kvt_lock_ask(other, "one", NULL, &next);
    let_it_queue(other, &next);
    kvt_lock_ask(kv, "two", NULL, &asked);
    kvt_close(kv);
    ck_assert_uint_eq(held.losses, 0);
    ck_assert_uint_eq(waiting.answers, 1);
    ck_assert_int_eq(waiting.status, FW_ECANCELED);
    ck_assert_uint_eq(asked.answers, 1);
    ck_assert_int_eq(asked.status, FW_ECANCELED);
    ck_assert_int_eq(kvt_lock_await(&next), FW_OK);
    kvt_lock_close(&next);
    assert_free(other, "one");
    assert_free(other, "two");
    kvt_close(other);
}
END_TEST

START_TEST(nothing_is_locked_after_close)
{
    fw_kv *kv = kvt_open();
    bool closed = false;
    fw_kv_lock *lock;
    fw_kv_lock_options options = {.ttl_ms = 5000};
    fw_kv_close(kv, kvt_on_closed, &closed);
    FWT_ERR(fw_kv_lock_new(kv, "k", &options, &lock), FW_ECLOSED);
    fwt_run_until(&closed, KVT_WAIT_MS);
}
END_TEST

struct chain {
    fw_kv *kv;
    kvt_lock locks[4];
    size_t asked, closed;
};

static void on_chain_closed(void *arg)
{
    ((struct chain *)arg)->closed++;
}

/* Takes the next lock while this one is held; the last one releases all, itself last. */
static void lock_the_next(kvt_lock *lock, void *arg)
{
    struct chain *chain = arg;
    char key[16];
    ck_assert_int_eq(lock->status, FW_OK);
    if (chain->asked == KVT_COUNT(chain->locks)) {
        for (size_t i = 0; i < chain->asked; i++) {
            fw_kv_lock_close(chain->locks[i].lock, on_chain_closed, chain);
            fw_kv_lock_close(chain->locks[i].lock, on_chain_closed, chain); /* nothing happens */
        }
        return;
    }
    kvt_lock *next = &chain->locks[chain->asked++];
    *next = (kvt_lock){.hook = lock_the_next, .hook_arg = chain};
    snprintf(key, sizeof key, "chain-%zu", chain->asked);
    kvt_lock_ask(chain->kv, key, NULL, next);
}

START_TEST(a_lock_may_be_asked_for_and_closed_in_the_callback_of_another)
{
    struct chain chain = {.kv = kvt_open()};
    kvt_lock start = {.status = FW_OK};
    lock_the_next(&start, &chain);
    fwt_run_count(&chain.closed, KVT_COUNT(chain.locks), KVT_WAIT_MS);
    fwt_run_for(20);
    ck_assert_uint_eq(chain.closed, KVT_COUNT(chain.locks));
    ck_assert_str_eq(kvt_listing(chain.kv, ""), "");
    kvt_close(chain.kv);
}
END_TEST

static void close_the_store(kvt_lock *lock, void *arg)
{
    (void)lock;
    struct chain *chain = arg;
    fw_kv_close(chain->kv, on_chain_closed, chain);
    ck_assert_uint_eq(chain->closed, 0);
}

START_TEST(the_store_may_be_closed_in_the_callback_of_a_lock)
{
    struct chain chain = {.kv = kvt_open()};
    kvt_lock *lock = &chain.locks[0];
    *lock = (kvt_lock){.hook = close_the_store, .hook_arg = &chain};
    kvt_lock_ask(chain.kv, "k", NULL, lock);
    fwt_run_count(&chain.closed, 1, KVT_WAIT_MS);
    ck_assert_uint_eq(lock->answers, 1);
    ck_assert_uint_eq(lock->losses, 0);
}
END_TEST

void kvt_add_lock(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "lock");
    kvt_add(&group, "C34 C38", a_lock_is_taken_told_and_released);
    kvt_add(&group, "C38", the_value_of_a_lock_is_any_bytes);
    kvt_add(&group, "C34 C35", one_of_many_has_the_lock_and_each_gets_it_once);
    kvt_add(&group, "C34 C35", first_come_first_served);
    kvt_add(&group, "C34", threads_that_add_under_the_lock_lose_nothing);
    kvt_add(&group, "C36", a_holder_keeps_others_out_beyond_its_time);
    kvt_add(&group, "C36", the_lock_of_a_killed_process_ends_with_its_time);
    kvt_add(&group, "C37", who_does_not_wait_is_refused_at_once);
    kvt_add(&group, "C37", who_has_waited_long_enough_leaves_the_queue);
    kvt_add(&group, "C37", closing_while_waiting_leaves_the_queue);
    kvt_add(&group, "C39", a_lock_whose_key_is_deleted_or_overwritten_is_lost);
    kvt_add(&group, "C39", a_place_in_the_queue_that_is_deleted_ends_the_waiting);
    kvt_add(&group, "C40", a_foreign_key_bars_the_lock_until_it_goes);
    kvt_add(&group, "C41", a_lock_guards_transactions_while_it_is_held);
    kvt_add(&group, "C42", the_queue_is_neither_listed_nor_watched);
    kvt_add(&group, "C34", locks_side_by_side_do_not_meet);
    kvt_add(&group, "C43", bad_keys_and_options_of_locks_are_refused);
    kvt_add(&group, "C44", closing_the_store_releases_and_gives_up);
    kvt_add(&group, "C44", nothing_is_locked_after_close);
    kvt_add(&group, "C44", a_lock_may_be_asked_for_and_closed_in_the_callback_of_another);
    kvt_add(&group, "C44", the_store_may_be_closed_in_the_callback_of_a_lock);
}
