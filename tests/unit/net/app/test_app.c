/* The order of start and stop, in this process and, with real signals, in others. */
#include "app_parts.h"
#include "fwt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PATIENCE_MS 30000

/* ---- in this process ---- */

static char record[600];
static bool is_ended, is_running, was_forced;

static void say(const char *what, const char *who)
{
    size_t len = strlen(record);
    snprintf(record + len, sizeof record - len, "%s %s, ", what, who);
}

static void on_running(fw_app *app, void *arg)
{
    (void)arg;
    say("running", "");
    is_running = true;
    if (strstr(record, "start stopper"))
        fw_app_stop(app, UV_EPIPE, "enough");
}

static void on_ending(fw_app *app, int number, void *arg)
{
    (void)arg;
    say("ending", number ? "signal" : "");
    fw_app_stop(app, UV_EIO, "too late to be told");
}

static void on_ended(fw_app *app, const fw_app_end *end, void *arg)
{
    (void)app;
    (void)arg;
    char text[300];
    snprintf(text, sizeof text, "%s %s %s%s", end->status ? fw_error_name(end->status) : "OK",
             end->component ? end->component : "-", end->detail, end->is_forced ? " forced" : "");
    say("ended", text);
    is_ended = true;
    was_forced = end->is_forced;
}

/* With the components, NULL-terminated. */
static fw_app *make(uint32_t stop_ms, const char *const *parts)
{
    fw_app *app;
    record[0] = 0;
    is_ended = is_running = false;
    app_hanging = NULL;
    app_say = say;
    fw_app_options options = {.drain_timeout_ms = stop_ms,
                              .stop_timeout_ms = stop_ms,
                              .no_signals = true,
                              .on_running = on_running,
                              .on_ending = on_ending,
                              .on_ended = on_ended};
    FWT_OK(fw_app_new(fwt_loop, &options, &app));
    for (; *parts; parts++)
        FWT_OK(app_add_part(app, fwt_loop, *parts));
    return app;
}
#define MAKE(stop_ms, ...) make((stop_ms), (const char *const[]){__VA_ARGS__, NULL})

static fw_app *run(fw_app *app)
{
    FWT_OK(fw_app_start(app));
    ck_assert_str_eq(record, ""); /* nothing inside the call */
    fwt_run_until(&is_running, PATIENCE_MS);
    return app;
}

static void expect(const char *wanted)
{
    fwt_run_until(&is_ended, PATIENCE_MS);
    ck_assert_str_eq(record, wanted);
}

START_TEST(components_start_in_order_and_stop_in_reverse)
{
    fw_app *app = run(MAKE(0, "a", "b:start-late:stop-late", "c:drain-late"));
    FWT_ERR(fw_app_start(app), UV_EINVAL);
    FWT_ERR(app_add_part(app, fwt_loop, "d"), UV_EINVAL);
    fw_app_stop(app, 0, NULL);
    fw_app_stop(app, UV_EIO, NULL); /* it has begun */
    ck_assert_str_eq(record, "start a, start b, start c, running , ");
    expect("start a, start b, start c, running , ending , drain c, drain b, drain a, "
           "stop c, stop b, stop a, ended OK - , ");
}
END_TEST

START_TEST(a_start_that_fails_stops_those_before_it)
{
    fw_app *app = MAKE(0, "a", "b:stop-late", "c:start-fail", "d");
    FWT_OK(fw_app_start(app));
    expect("start a, start b, start c, ending , stop b, stop a, ended EIO c no luck, ");
    app = MAKE(0, "a:start-fail", "b");
    FWT_OK(fw_app_start(app));
    expect("start a, ending , ended EIO a no luck, ");
}
END_TEST

START_TEST(an_app_without_components_runs)
{
    fw_app *app = run(make(0, (const char *const[]){NULL}));
    fw_app_signal(app, SIGTERM);
    expect("running , ending signal, ended OK - , ");
}
END_TEST

START_TEST(what_cannot_go_on_says_why)
{
    run(MAKE(0, "a", "stopper"));
    expect("start a, start stopper, running , ending , drain stopper, drain a, stop stopper, "
           "stop a, ended EPIPE - enough, ");
}
END_TEST

START_TEST(a_stop_that_fails_keeps_nobody)
{
    fw_app *app = run(MAKE(0, "a:stop-fail", "b:drain-fail", "c:stop-fail"));
    fw_app_stop(app, 0, NULL);
    expect("start a, start b, start c, running , ending , drain c, drain b, drain a, stop c, "
           "stop b, stop a, ended EIO c no luck, ");
}
END_TEST

START_TEST(it_ends_while_it_starts)
{
    fw_app *app = MAKE(0, "a", "b:start-hang", "c");
    FWT_OK(fw_app_start(app));
    while (!app_hanging)
        fwt_run_for(1);
    fw_app_stop(app, 0, NULL);
    fwt_run_for(20);
    ck_assert_str_eq(record, "start a, start b, ending , "); /* b is waited for */
    fw_app_done(app_hanging, 0, NULL);
    expect("start a, start b, ending , stop b, stop a, ended OK - , ");
}
END_TEST

START_TEST(a_drain_has_its_time)
{
    fw_app *app = run(MAKE(50, "a", "b:drain-hang"));
    fw_app_stop(app, 0, NULL);
    expect("start a, start b, running , ending , drain b, stop b, stop a, ended OK - , ");
}
END_TEST

START_TEST(a_stop_has_its_time)
{
    fw_app *app = run(MAKE(50, "a", "b:stop-hang"));
    fw_app_stop(app, 0, NULL);
    expect("start a, start b, running , ending , drain b, drain a, stop b, "
           "ended EDEADLINE b stop has not ended forced, ");
    fw_app_done(app_hanging, 0, NULL); /* late, and nothing is left */
    fwt_run_for(1);
}
END_TEST

START_TEST(a_start_has_the_same_when_it_is_to_end)
{
    fw_app *app = MAKE(50, "a", "b:start-hang");
    FWT_OK(fw_app_start(app));
    fw_app_stop(app, 0, NULL);
    expect("ending , ended OK - , ");
    app = MAKE(50, "a", "b:start-hang");
    FWT_OK(fw_app_start(app));
    while (!app_hanging)
        fwt_run_for(1);
    fw_app_stop(app, 0, NULL);
    expect("start a, start b, ending , ended EDEADLINE b start has not ended forced, ");
    fw_app_done(app_hanging, 0, NULL);
    fwt_run_for(1);
}
END_TEST

START_TEST(what_is_not_started_is_discarded)
{
    fw_app *app;
    FWT_ERR(fw_app_new(fwt_loop, &(fw_app_options){.no_signals = true}, &app), UV_EINVAL);
    app = MAKE(0, "a");
    FWT_ERR(fw_app_add(app, &(fw_app_component){.name = NULL}), UV_EINVAL);
    fw_app_signal(app, SIGTERM);
    fw_app_stop(app, 0, NULL);
    fw_app_discard(app);
    fw_app_discard(NULL);
    fwt_run_for(1);
    ck_assert_str_eq(record, "");
}
END_TEST

START_TEST(steps_may_be_left_out)
{
    fw_app *app = MAKE(0, "a");
    FWT_OK(fw_app_add(app, &(fw_app_component){.name = "none"}));
    fw_app_signal(run(app), SIGINT);
    expect("start a, running , ending signal, drain a, stop a, ended OK - , ");
}
END_TEST

/* ---- in others ---- */

static fwt_proc *child(const char *drain_ms, const char *stop_ms, const char *a, const char *b,
                       const char *c)
{
    return fwt_proc_start((const char *const[]){APP_CHILD, drain_ms, stop_ms, a, b, c, NULL});
}

/* The lines come one right after the other. */
static void expect_lines(fwt_proc *proc, const char *const *lines)
{
    for (; *lines; lines++)
        ck_assert_str_eq(fwt_proc_expect(proc, "", PATIENCE_MS), *lines);
}
#define EXPECT(proc, ...) expect_lines((proc), (const char *const[]){__VA_ARGS__, NULL})

static void expect_exit(fwt_proc *proc, int code)
{
    ck_assert_int_eq(fwt_proc_wait(proc, PATIENCE_MS), code);
    fwt_proc_end(proc);
}

START_TEST(a_signal_drains_and_stops)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    static const char *const ends[][2] = {{"ending by 15", "ended: OK, (none): , signal 15"},
                                          {"ending by 2", "ended: OK, (none): , signal 2"}};
    fwt_proc *proc = child("0", "0", "a", "b:start-late:drain-late:stop-late", "c");
    EXPECT(proc, "start a", "start b", "start c", "running now");
    fwt_proc_signal(proc, numbers[_i]);
    EXPECT(proc, ends[_i][0], "drain c", "drain b", "drain a", "stop c", "stop b", "stop a",
           ends[_i][1]);
    expect_exit(proc, 0);
}
END_TEST

START_TEST(a_failing_start_is_told_by_the_program)
{
    fwt_proc *proc = child("0", "0", "a", "b:stop-late", "c:start-fail");
    EXPECT(proc, "start a", "start b", "start c", "ending by 0", "stop b", "stop a",
           "ended: EIO, c: no luck, signal 0");
    expect_exit(proc, 1);
}
END_TEST

START_TEST(a_second_signal_ends_the_drain)
{
    fwt_proc *proc = child("600000", "0", "a", "b:drain-hang", "c");
    EXPECT(proc, "start a", "start b", "start c", "running now");
    fwt_proc_signal(proc, SIGTERM);
    EXPECT(proc, "ending by 15", "drain c", "drain b");
    fwt_proc_signal(proc, SIGTERM);
    EXPECT(proc, "stop c", "stop b", "stop a", "ended: OK, (none): , signal 15");
    expect_exit(proc, 0);
}
END_TEST

START_TEST(a_second_signal_does_not_wait_for_a_stop)
{
    fwt_proc *proc = child("0", "600000", "a", "b:stop-hang", "c");
    EXPECT(proc, "start a", "start b", "start c", "running now");
    fwt_proc_signal(proc, SIGTERM);
    EXPECT(proc, "ending by 15", "drain c", "drain b", "drain a", "stop c", "stop b");
    fwt_proc_signal(proc, SIGINT);
    EXPECT(proc, "ended: ECANCELED, b: stop has not ended, signal 2, forced");
    expect_exit(proc, 9);
}
END_TEST

START_TEST(a_hanging_stop_ends_with_its_deadline)
{
    fwt_proc *proc = child("50", "50", "a", "b:stop-hang", "c:drain-hang");
    EXPECT(proc, "start a", "start b", "start c", "running now");
    fwt_proc_signal(proc, SIGTERM);
    EXPECT(proc, "ending by 15", "drain c", "stop c", "stop b",
           "ended: EDEADLINE, b: stop has not ended, signal 15, forced");
    expect_exit(proc, 9);
}
END_TEST

START_TEST(a_hanging_start_ends_with_signals)
{
    fwt_proc *proc = child("0", "600000", "a", "b:start-hang", "c");
    EXPECT(proc, "start a", "start b");
    fwt_proc_signal(proc, SIGINT);
    EXPECT(proc, "ending by 2");
    fwt_proc_signal(proc, SIGTERM);
    EXPECT(proc, "ended: ECANCELED, b: start has not ended, signal 15, forced");
    expect_exit(proc, 9);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("app");
    TCase *tcase = fwt_tcase(suite, "order", 60), *signals = tcase_create("signals");
    tcase_add_test(tcase, components_start_in_order_and_stop_in_reverse);
    tcase_add_test(tcase, a_start_that_fails_stops_those_before_it);
    tcase_add_test(tcase, an_app_without_components_runs);
    tcase_add_test(tcase, what_cannot_go_on_says_why);
    tcase_add_test(tcase, a_stop_that_fails_keeps_nobody);
    tcase_add_test(tcase, it_ends_while_it_starts);
    tcase_add_test(tcase, a_drain_has_its_time);
    tcase_add_test(tcase, a_stop_has_its_time);
    tcase_add_test(tcase, a_start_has_the_same_when_it_is_to_end);
    tcase_add_test(tcase, what_is_not_started_is_discarded);
    tcase_add_test(tcase, steps_may_be_left_out);
    tcase_set_timeout(signals, 60);
    suite_add_tcase(suite, signals);
    tcase_add_loop_test(signals, a_signal_drains_and_stops, 0, 2);
    tcase_add_test(signals, a_failing_start_is_told_by_the_program);
    tcase_add_test(signals, a_second_signal_ends_the_drain);
    tcase_add_test(signals, a_second_signal_does_not_wait_for_a_stop);
    tcase_add_test(signals, a_hanging_stop_ends_with_its_deadline);
    tcase_add_test(signals, a_hanging_start_ends_with_signals);
    return fwt_main(suite);
}
