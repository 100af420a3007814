/* kcp and kcps through a bad network. */
#include "stage.h"

START_TEST(bulk_both_ways_in_bad_weather)
{
    struct stage stage;
    fwt_weather weather = {
        .loss = 10, .duplicate = 5, .delay_ms = 5, .jitter_ms = 20, .seed = (unsigned)_i + 1};
    stage_setup(&stage, (size_t)_i, &weather, "");
    stage_wait(&stage);
    stage_fini(&stage);
}
END_TEST

START_TEST(what_was_written_before_the_close_arrives)
{
    struct stage stage;
    fwt_weather weather = {.loss = 10, .delay_ms = 5, .jitter_ms = 10, .seed = 9};
    stage_setup(&stage, (size_t)_i, &weather, "");
    fwt_run_until(&stage.end.open, PAIR_WAIT_MS);
    stage_wait(&stage);
    FWT_OK(fw_conn_write(stage.end.conn, "the last words", 14));
    fw_conn_close(stage.end.conn, FW_ECANCELED);
    size_t wanted = stage.end.total + 14;
    fwt_run_count(&stage.listener.last->received, wanted, PAIR_WAIT_MS);
    stage_fini(&stage);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp weather");
    TCase *tcase = fwt_tcase(suite, "weather", 120);
    tcase_add_loop_test(tcase, bulk_both_ways_in_bad_weather, 0, STAGE_KINDS);
    tcase_add_loop_test(tcase, what_was_written_before_the_close_arrives, STAGE_WALLE, STAGE_KINDS);
    return fwt_main(suite);
}
