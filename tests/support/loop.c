#include "fwt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

fw_loop *fwt_loop;
static uv_timer_t *watchdog;
static bool watchdog_fired;

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    watchdog_fired = true;
}

void fwt_loop_setup(void)
{
    signal(SIGPIPE,
           SIG_IGN); /* the tests turn the loop by hand, without fw_loop_run's protection */
    FWT_OK(fw_loop_new(&fwt_loop));
    watchdog = malloc(sizeof *watchdog);
    uv_timer_init(fw_loop_uv(fwt_loop), watchdog);
}

static void free_watchdog(uv_handle_t *handle)
{
    free(handle);
}

static void print_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle) && uv_has_ref(handle))
        fprintf(stderr, "left on the loop: %s handle\n", uv_handle_type_name(handle->type));
}

void fwt_loop_teardown(void)
{
    uv_close((uv_handle_t *)watchdog, free_watchdog);
    watchdog = NULL;
    uv_run(fw_loop_uv(fwt_loop), UV_RUN_NOWAIT);
    int err = fw_loop_close(fwt_loop);
    if (err)
        uv_walk(fw_loop_uv(fwt_loop), print_handle, NULL);
    ck_assert_msg(err == 0, "the test left something on its loop");
    fwt_loop = NULL;
}

/* One turn that lasts at most until the deadline. False when that has passed. */
static bool turn_until(uint64_t deadline)
{
    uint64_t now = uv_hrtime() / 1000000;
    if (now >= deadline)
        return false;
    uv_update_time(fw_loop_uv(fwt_loop));
    watchdog_fired = false;
    /* Again and again: if it is due before the loop sleeps, it would sleep without it. */
    uv_timer_start(watchdog, on_watchdog, deadline - now, 1);
    uv_run(fw_loop_uv(fwt_loop), UV_RUN_ONCE);
    uv_timer_stop(watchdog);
    return true;
}

void fwt_run_until_at(const volatile bool *flag, unsigned timeout_ms, const char *file, int line)
{
    uint64_t deadline = uv_hrtime() / 1000000 + timeout_ms;
    while (!*flag)
        if (!turn_until(deadline))
            ck_abort_msg("%s:%d: nothing came within %u ms", file, line, timeout_ms);
}

void fwt_run_count_at(const volatile size_t *count, size_t wanted, unsigned timeout_ms,
                      const char *file, int line)
{
    uint64_t deadline = uv_hrtime() / 1000000 + timeout_ms;
    while (*count < wanted)
        if (!turn_until(deadline))
            ck_abort_msg("%s:%d: %zu of %zu came within %u ms", file, line, *count, wanted,
                         timeout_ms);
}

void fwt_run_for(unsigned ms)
{
    uint64_t deadline = uv_hrtime() / 1000000 + ms;
    while (turn_until(deadline))
        ;
}

TCase *fwt_tcase(Suite *suite, const char *name, double timeout_s)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, fwt_loop_setup, fwt_loop_teardown);
    tcase_set_timeout(tcase, timeout_s);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int fwt_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
