#include "base/loop.h"
#include "fwt.h"

#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

#define POSTERS 4
#define POSTS   2000

static size_t posts_run;
static size_t next_of[POSTERS];
static bool in_order = true;

static void on_post(fw_loop *loop, void *arg)
{
    ck_assert_ptr_eq(loop, fwt_loop);
    size_t value = (size_t)(uintptr_t)arg, poster = value / POSTS;
    in_order &= next_of[poster]++ == value % POSTS;
    posts_run++;
}

static void *post_many(void *arg)
{
    size_t poster = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < POSTS; i++)
        if (fw_loop_post(fwt_loop, on_post, (void *)(uintptr_t)(poster * POSTS + i)))
            abort();
    return NULL;
}

START_TEST(posts_of_many_threads_all_run_in_order)
{
    pthread_t threads[POSTERS];
    fwi_loop_hold(fwt_loop);
    for (size_t i = 0; i < POSTERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, (void *)(uintptr_t)i), 0);
    fwt_run_count(&posts_run, (size_t)POSTERS * POSTS, 20000);
    for (size_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    fwi_loop_release(fwt_loop);
    ck_assert(in_order);
}
END_TEST

static void *stop_soon(void *arg)
{
    fw_loop_stop(arg);
    return NULL;
}

START_TEST(stop_from_another_thread_ends_the_run)
{
    pthread_t thread;
    fwi_loop_hold(fwt_loop);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, fwt_loop), 0);
    fw_loop_run(fwt_loop);
    pthread_join(thread, NULL);
    fwi_loop_release(fwt_loop);
}
END_TEST

struct step {
    fwi_task task;
    int runs;
    bool again;
};

static void on_step(fwi_task *task, void *arg)
{
    struct step *step = arg;
    step->runs++;
    if (step->again && step->runs < 3)
        fwi_loop_defer(fwt_loop, task);
}

START_TEST(deferred_tasks_run_once_a_turn_and_may_defer_again)
{
    struct step once = {.task = {.fn = on_step}}, thrice = {.task = {.fn = on_step}, .again = true},
                never = {.task = {.fn = on_step}};
    once.task.arg = &once;
    thrice.task.arg = &thrice;
    never.task.arg = &never;
    fwi_loop_defer(fwt_loop, &once.task);
    fwi_loop_defer(fwt_loop, &once.task);
    fwi_loop_defer(fwt_loop, &thrice.task);
    fwi_loop_defer(fwt_loop, &never.task);
    fwi_loop_defer_cancel(fwt_loop, &never.task);
    ck_assert_int_eq(once.runs, 0);
    fw_loop_run(fwt_loop); /* ends by itself when nothing is left */
    ck_assert_int_eq(once.runs, 1);
    ck_assert_int_eq(thrice.runs, 3);
    ck_assert_int_eq(never.runs, 0);
}
END_TEST

struct alarm {
    fwi_timer timer;
    uint64_t fired_at;
};

static void on_alarm(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct alarm *alarm = arg;
    alarm->fired_at = fw_loop_now_ms(fwt_loop);
}

START_TEST(timers_fire_not_early_and_keep_the_loop_alive)
{
    static const unsigned delays[] = {1, 5, 63, 64, 65, 130};
    struct alarm alarms[6] = {0}, stopped = {0};
    uint64_t start = fw_loop_now_ms(fwt_loop);
    for (int i = 0; i < 6; i++) {
        alarms[i].timer = (fwi_timer){.fn = on_alarm, .arg = &alarms[i]};
        fwi_loop_timer_start(fwt_loop, &alarms[i].timer, delays[i]);
    }
    stopped.timer = (fwi_timer){.fn = on_alarm, .arg = &stopped};
    fwi_loop_timer_start(fwt_loop, &stopped.timer, 100000);
    fwi_loop_timer_stop(fwt_loop, &stopped.timer);
    fw_loop_run(fwt_loop);
    for (int i = 0; i < 6; i++)
        ck_assert_uint_ge(alarms[i].fired_at, start + delays[i]);
    ck_assert_uint_eq(stopped.fired_at, 0);
}
END_TEST

/* libuv runs timers, and then sleeps all the same. */
START_TEST(a_step_does_not_sleep_after_what_was_due)
{
    struct alarm alarm = {.timer = {.fn = on_alarm, .arg = &alarm}};
    fwi_loop_hold(fwt_loop);
    fwi_loop_timer_start(fwt_loop, &alarm.timer, 1);
    uv_sleep(5);
    fwi_loop_step(fwt_loop, true);
    ck_assert_uint_ne(alarm.fired_at, 0);
    fwi_loop_release(fwt_loop);
}
END_TEST

START_TEST(a_loop_with_something_on_it_is_not_closed)
{
    struct alarm alarm = {.timer = {.fn = on_alarm, .arg = &alarm}};
    fwi_loop_timer_start(fwt_loop, &alarm.timer, 1000);
    FWT_ERR(fw_loop_close(fwt_loop), UV_EBUSY);
    fwi_loop_timer_stop(fwt_loop, &alarm.timer);
    fwi_loop_hold(fwt_loop);
    FWT_ERR(fw_loop_close(fwt_loop), UV_EBUSY);
    fwi_loop_release(fwt_loop);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = fwt_tcase(suite, "loop", 30);
    tcase_add_test(tcase, posts_of_many_threads_all_run_in_order);
    tcase_add_test(tcase, stop_from_another_thread_ends_the_run);
    tcase_add_test(tcase, deferred_tasks_run_once_a_turn_and_may_defer_again);
    tcase_add_test(tcase, timers_fire_not_early_and_keep_the_loop_alive);
    tcase_add_test(tcase, a_step_does_not_sleep_after_what_was_due);
    tcase_add_test(tcase, a_loop_with_something_on_it_is_not_closed);
    return fwt_main(suite);
}
