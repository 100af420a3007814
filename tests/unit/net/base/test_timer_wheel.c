#include "base/random.h"
#include "base/timer_wheel.h"
#include "fwt.h"

#include <stdlib.h>

#define TIMERS 300

struct alarm {
    fwi_timer timer;
    uint64_t due, fired_at;
    int fired;
};

static fwi_wheel wheel;
static struct alarm alarms[TIMERS];

static void on_alarm(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct alarm *alarm = arg;
    alarm->fired++;
    alarm->fired_at = wheel.now_ms;
}

static void arm(struct alarm *alarm, uint64_t due)
{
    alarm->timer.fn = on_alarm;
    alarm->timer.arg = alarm;
    alarm->due = due > wheel.now_ms ? due : wheel.now_ms + 1;
    alarm->fired = 0;
    fwi_wheel_arm(&wheel, &alarm->timer, due);
}

/* Random arms, disarms and steps: every timer fires once, at the first step at or after its time.
 */
START_TEST(a_wheel_agrees_with_a_clock)
{
    fwi_wheel_init(&wheel, 1000000);
    for (int step = 0; step < 4000; step++) {
        struct alarm *alarm = &alarms[fwi_random_below(TIMERS)];
        static const uint32_t ranges[] = {3, 70, 5000, 300000, 20000000};
        if (fwi_random_below(4))
            arm(alarm, wheel.now_ms + fwi_random_below(ranges[fwi_random_below(5)]));
        else
            fwi_wheel_disarm(&wheel, &alarm->timer);
        uint64_t before = wheel.now_ms, next = fwi_wheel_next_ms(&wheel);
        uint64_t now = fwi_random_below(3) || next == UINT64_MAX
                           ? before + fwi_random_below(ranges[fwi_random_below(4)])
                           : next;
        fwi_wheel_advance(&wheel, now);
        size_t armed = 0;
        for (int i = 0; i < TIMERS; i++) {
            struct alarm *one = &alarms[i];
            armed += fwi_timer_armed(&one->timer);
            if (fwi_timer_armed(&one->timer)) {
                fwt_check(one->due > wheel.now_ms);
                fwt_check(one->fired == 0);
            } else if (one->fired) {
                fwt_check(one->fired == 1);
                fwt_check(one->fired_at >= one->due);
            }
        }
        fwt_check(wheel.armed == armed);
        /* Nothing is due before the wheel says that it has work. */
        next = fwi_wheel_next_ms(&wheel);
        for (int i = 0; i < TIMERS; i++)
            if (fwi_timer_armed(&alarms[i].timer))
                fwt_check(next <= alarms[i].due);
    }
}
END_TEST

static void on_chain(fwi_timer *timer, void *arg)
{
    int *left = arg;
    --*left;
    if (*left)
        fwi_wheel_arm(&wheel, timer, wheel.now_ms + 1);
}

START_TEST(a_callback_may_arm_its_timer_again)
{
    int left = 5;
    fwi_timer timer = {.fn = on_chain, .arg = &left};
    fwi_wheel_init(&wheel, 5);
    fwi_wheel_arm(&wheel, &timer, 6);
    for (uint64_t now = 6; now < 20; now++)
        fwi_wheel_advance(&wheel, now);
    ck_assert_int_eq(left, 0);
    ck_assert_uint_eq(wheel.armed, 0);
    ck_assert_uint_eq(fwi_wheel_next_ms(&wheel), UINT64_MAX);
}
END_TEST

static void on_killer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_wheel_disarm(&wheel, arg);
}

START_TEST(a_callback_may_disarm_one_that_is_due_with_it)
{
    struct alarm victim = {.fired = 0};
    fwi_timer killer = {.fn = on_killer, .arg = &victim.timer};
    fwi_wheel_init(&wheel, 5);
    fwi_wheel_arm(&wheel, &killer, 6);
    arm(&victim, 6);
    fwi_wheel_advance(&wheel, 10);
    ck_assert_int_eq(victim.fired, 0);
    ck_assert_uint_eq(wheel.armed, 0);
}
END_TEST

START_TEST(a_timer_beyond_the_last_wheel_still_fires_in_time)
{
    struct alarm far = {.fired = 0};
    fwi_wheel_init(&wheel, 0);
    uint64_t due = UINT64_C(40) * 24 * 3600 * 1000;
    arm(&far, due);
    for (uint64_t next; !far.fired; fwi_wheel_advance(&wheel, next)) {
        next = fwi_wheel_next_ms(&wheel);
        ck_assert_uint_le(next, due);
    }
    ck_assert_uint_eq(far.fired_at, due);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timer_wheel");
    TCase *tcase = tcase_create("wheel");
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_wheel_agrees_with_a_clock);
    tcase_add_test(tcase, a_callback_may_arm_its_timer_again);
    tcase_add_test(tcase, a_callback_may_disarm_one_that_is_due_with_it);
    tcase_add_test(tcase, a_timer_beyond_the_last_wheel_still_fires_in_time);
    return fwt_main(suite);
}
