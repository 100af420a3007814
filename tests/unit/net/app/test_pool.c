/* The worker pool: everything is done once, in the order that was asked for, on its own loop. */
#include "fwt.h"

#include <fairway/pool.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000
#define MANY        100000
#define KEYS        64

static fw_pool *pool;
static size_t done_count, canceled_count;
static bool is_closed;

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static void open_pool(uint32_t threads, uint32_t max_queued)
{
    done_count = canceled_count = 0;
    is_closed = false;
    FWT_OK(fw_pool_new(fwt_loop, &(fw_pool_options){threads, max_queued}, &pool));
}

static void close_pool(void)
{
    fw_pool_close(pool, on_closed, &is_closed);
    fwt_run_until(&is_closed, PATIENCE_MS);
}

static void count_done(int status, void *arg)
{
    (void)arg;
    done_count++;
    canceled_count += status == FW_ECANCELED;
    ck_assert(!status || status == FW_ECANCELED);
}

/* ---- many ---- */

struct item {
    atomic_int runs;
    int dones;
};

static void run_item(void *arg)
{
    struct item *item = arg;
    atomic_fetch_add_explicit(&item->runs, 1, memory_order_relaxed);
}

static void on_item(int status, void *arg)
{
    struct item *item = arg;
    item->dones++;
    count_done(status, NULL);
}

/* What the queue refuses is tried again when something is done. */
START_TEST(each_of_many_runs_once_and_is_done_once)
{
    struct item *items = calloc(MANY, sizeof *items);
    open_pool(4, 1000);
    for (size_t i = 0; i < MANY;) {
        fw_pool_work work = {.run = run_item, .done = on_item, .arg = &items[i]};
        int err = fw_pool_submit(pool, fwt_loop, &work);
        if (!err) {
            i++;
            continue;
        }
        FWT_ERR(err, FW_ELIMIT);
        fwt_run_count(&done_count, done_count + 1, PATIENCE_MS);
    }
    fwt_run_count(&done_count, MANY, PATIENCE_MS);
    for (size_t i = 0; i < MANY; i++)
        ck_assert(atomic_load(&items[i].runs) == 1 && items[i].dones == 1);
    ck_assert_uint_eq(canceled_count, 0);
    ck_assert_uint_eq(fw_pool_queued(pool), 0);
    close_pool();
    free(items);
}
END_TEST

/* ---- order ---- */

struct session {
    atomic_bool is_busy;
    size_t next_run, next_done; /* next_run is only safe if one runs at a time: TSan sees it */
};

struct message {
    struct session *session;
    size_t number;
};

static atomic_size_t disorders;

static void run_message(void *arg)
{
    struct message *message = arg;
    if (atomic_exchange(&message->session->is_busy, true))
        atomic_fetch_add(&disorders, 1);
    if (message->session->next_run++ != message->number)
        atomic_fetch_add(&disorders, 1);
    atomic_store(&message->session->is_busy, false);
}

static void on_message(int status, void *arg)
{
    struct message *message = arg;
    if (message->session->next_done++ != message->number)
        atomic_fetch_add(&disorders, 1);
    count_done(status, NULL);
}

START_TEST(work_of_a_key_runs_in_order_and_alone)
{
    static struct session sessions[KEYS];
    struct message *messages = calloc(MANY, sizeof *messages);
    open_pool(8, MANY);
    for (size_t i = 0; i < MANY; i++) {
        messages[i] = (struct message){&sessions[i % KEYS], i / KEYS};
        fw_pool_work work = {.run = run_message,
                             .done = on_message,
                             .arg = &messages[i],
                             .is_ordered = true,
                             .key = i % KEYS * UINT64_C(0x100000001)};
        FWT_OK(fw_pool_submit(pool, fwt_loop, &work));
    }
    fwt_run_count(&done_count, MANY, PATIENCE_MS);
    ck_assert_uint_eq(atomic_load(&disorders), 0);
    for (size_t i = 0; i < KEYS; i++)
        ck_assert_uint_eq(sessions[i].next_run, sessions[i].next_done);
    close_pool();
    free(messages);
}
END_TEST

/* ---- held up ---- */

static sem_t begun, may_end;

static void run_held(void *arg)
{
    (void)arg;
    sem_post(&begun);
    sem_wait(&may_end);
}

static void run_nothing(void *arg)
{
    (void)arg;
}

static void never_run(void *arg)
{
    (void)arg;
    abort();
}

static int submit(void (*run)(void *), bool is_ordered, uint64_t key)
{
    fw_pool_work work = {.run = run, .done = count_done, .is_ordered = is_ordered, .key = key};
    return fw_pool_submit(pool, fwt_loop, &work);
}

static void hold_up(bool is_ordered, uint64_t key)
{
    sem_init(&begun, 0, 0);
    sem_init(&may_end, 0, 0);
    FWT_OK(submit(run_held, is_ordered, key));
    sem_wait(&begun);
}

START_TEST(a_full_queue_refuses_at_once)
{
    open_pool(1, 3);
    hold_up(true, 1);
    FWT_OK(submit(run_nothing, false, 0));
    FWT_OK(submit(run_nothing, true, 1)); /* those that wait for their key count, too */
    FWT_OK(submit(run_nothing, true, 2));
    ck_assert_uint_eq(fw_pool_queued(pool), 3);
    FWT_ERR(submit(never_run, false, 0), FW_ELIMIT);
    FWT_ERR(submit(never_run, true, 1), FW_ELIMIT);
    FWT_ERR(submit(never_run, true, 3), FW_ELIMIT);
    sem_post(&may_end);
    fwt_run_count(&done_count, 4, PATIENCE_MS);
    FWT_OK(submit(run_nothing, true, 3));
    close_pool();
    ck_assert_uint_eq(done_count, 5);
}
END_TEST

/* A key that is held up holds up nobody else. */
START_TEST(other_keys_go_on)
{
    open_pool(2, 0);
    hold_up(true, 1);
    FWT_OK(submit(run_nothing, true, 1));
    for (uint64_t key = 2; key < 100; key++)
        FWT_OK(submit(run_nothing, true, key));
    fwt_run_count(&done_count, 98, PATIENCE_MS);
    ck_assert_uint_eq(fw_pool_queued(pool), 1);
    sem_post(&may_end);
    fwt_run_count(&done_count, 100, PATIENCE_MS);
    close_pool();
}
END_TEST

/* ---- the end ---- */

static char record[100];

static void note_done(int status, void *arg)
{
    if (!strcmp(arg, "c")) /* after the one before it */
        ck_assert_uint_eq(done_count, 1);
    strcat(strcat(record, arg), status ? "! " : " ");
}

static void note_closed(void *arg)
{
    strcat(record, "closed");
    on_closed(arg);
}

START_TEST(close_waits_for_what_runs_and_cancels_the_rest)
{
    open_pool(1, 0);
    hold_up(true, 7);
    static char names[][2] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        fw_pool_work work = {.run = never_run,
                             .done = note_done,
                             .arg = names[i],
                             .is_ordered = i > 1,
                             .key = i == 2 ? 7 : 8};
        FWT_OK(fw_pool_submit(pool, fwt_loop, &work));
    }
    record[0] = 0;
    fw_pool_close(pool, note_closed, &is_closed);
    fw_pool_close(pool, NULL, NULL);
    ck_assert_str_eq(record, ""); /* nothing inside the call */
    FWT_ERR(submit(never_run, false, 0), FW_ECLOSED);
    FWT_ERR(submit(never_run, true, 7), FW_ECLOSED);
    fwt_run_for(50);
    ck_assert_str_eq(record, "a! b! d! "); /* c's key is running */
    ck_assert(!is_closed);
    sem_post(&may_end);
    fwt_run_until(&is_closed, PATIENCE_MS);
    ck_assert_str_eq(record, "a! b! d! c! closed");
    ck_assert_uint_eq(done_count, 1);
    ck_assert_uint_eq(canceled_count, 0);
}
END_TEST

static void close_in_done(int status, void *arg)
{
    FWT_OK(status);
    FWT_OK(submit(run_nothing, false, 0));
    FWT_OK(submit(run_nothing, true, 1));
    fw_pool_close(pool, on_closed, arg);
    FWT_ERR(submit(never_run, false, 0), FW_ECLOSED);
}

START_TEST(it_is_closed_in_a_callback)
{
    open_pool(3, 0);
    FWT_OK(fw_pool_submit(
        pool, fwt_loop,
        &(fw_pool_work){.run = run_nothing, .done = close_in_done, .arg = &is_closed}));
    fwt_run_until(&is_closed, PATIENCE_MS);
    ck_assert_uint_eq(done_count, 2); /* run or canceled, as it came */
}
END_TEST

START_TEST(an_idle_pool_ends)
{
    open_pool(0, 0);
    close_pool();
    FWT_OK(fw_pool_new(fwt_loop, NULL, &pool));
    FWT_OK(fw_pool_submit(pool, fwt_loop, &(fw_pool_work){.run = run_nothing}));
    is_closed = false;
    close_pool();
    FWT_ERR(fw_pool_new(fwt_loop, &(fw_pool_options){.threads = 1025}, &pool), FW_EOPTION);
}
END_TEST

/* ---- other loops ---- */

#define GUESTS      3
#define GUEST_WORKS 2000

struct guest {
    pthread_t thread, self; /* as the others know it, and as it does */
    fw_loop *loop;
    size_t submitted, done, wrong;
};

static void submit_some(struct guest *guest);

static void on_guest_done(int status, void *arg)
{
    struct guest *guest = arg;
    guest->wrong += status || !pthread_equal(pthread_self(), guest->self);
    if (++guest->done == guest->submitted)
        submit_some(guest);
}

static void submit_some(struct guest *guest)
{
    for (int i = 0; i < 100 && guest->submitted < GUEST_WORKS; i++, guest->submitted++) {
        fw_pool_work work = {.run = run_nothing,
                             .done = on_guest_done,
                             .arg = guest,
                             .is_ordered = i % 2,
                             .key = (uint64_t)i};
        if (fw_pool_submit(pool, guest->loop, &work))
            abort();
    }
}

static void *run_guest(void *arg)
{
    struct guest *guest = arg;
    guest->self = pthread_self();
    if (fw_loop_new(&guest->loop))
        abort();
    submit_some(guest);
    fw_loop_run(guest->loop); /* until all is done: the pool keeps it alive */
    if (fw_loop_close(guest->loop))
        abort();
    return NULL;
}

START_TEST(other_loops_get_their_own_back)
{
    struct guest guests[GUESTS] = {{.done = 0}};
    open_pool(4, 0);
    for (size_t i = 0; i < GUESTS; i++)
        ck_assert_int_eq(pthread_create(&guests[i].thread, NULL, run_guest, &guests[i]), 0);
    for (size_t i = 0; i < GUESTS; i++) {
        pthread_join(guests[i].thread, NULL);
        ck_assert_uint_eq(guests[i].done, GUEST_WORKS);
        ck_assert_uint_eq(guests[i].wrong, 0);
    }
    close_pool();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tcase = fwt_tcase(suite, "pool", 120);
    tcase_add_test(tcase, each_of_many_runs_once_and_is_done_once);
    tcase_add_test(tcase, work_of_a_key_runs_in_order_and_alone);
    tcase_add_test(tcase, a_full_queue_refuses_at_once);
    tcase_add_test(tcase, other_keys_go_on);
    tcase_add_test(tcase, close_waits_for_what_runs_and_cancels_the_rest);
    tcase_add_test(tcase, it_is_closed_in_a_callback);
    tcase_add_test(tcase, an_idle_pool_ends);
    tcase_add_test(tcase, other_loops_get_their_own_back);
    return fwt_main(suite);
}
