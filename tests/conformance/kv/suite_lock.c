/* Locks: one holder, in the order of asking, with a token that grows; how long it holds. Giving up,
 * losing and closing are in suite_lock_end.c, what a lock is good for in suite_lock_use.c. */
#include "suite_lock.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

const fw_kv_lock_options kvt_lock_no_wait = {.no_wait = true};

void kvt_lock_assert_free(fw_kv *kv, const char *key)
{
    kvt_lock lock = {.lock = NULL};
    kvt_lock_ask(kv, key, &kvt_lock_no_wait, &lock);
    ck_assert_msg(kvt_lock_await(&lock) == FW_OK, "%s is not free: %s", key,
                  fw_error_name(lock.status));
    kvt_lock_close(&lock);
    kvt_assert_value(kv, key, NULL);
}

void kvt_lock_let_it_queue(fw_kv *kv, kvt_lock *lock)
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
    kvt_lock_assert_free(kv, "locks/one");
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
    kvt_lock_assert_free(contest.handles[0], "race");
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
        kvt_lock_let_it_queue(one, &contest.locks[i]);
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
    kvt_lock_let_it_queue(kv, &lock);
    kvt_assert_value(kv, "held", "child");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    kvt_lock_close(&lock);
    kvt_close(kv);
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
    kvt_add_lock_ends(&group);
    kvt_add_lock_uses(&group);
}
