/* When a peer of kcp or kcps moves, is silent, or is gone. */
#include <uv.h>

#include "stage.h"

START_TEST(a_peer_moves_and_the_session_goes_with_it)
{
    struct stage stage;
    stage_setup(&stage, STAGE_SECURE, &(fwt_weather){.delay_ms = 5, .seed = 1}, "");
    for (int moves = 1; moves <= 3; moves++) {
        size_t part = stage.end.total / 4 * (size_t)moves;
        for (int i = 0; i < PAIR_WAIT_MS && stage.end.received < part; i++)
            fwt_run_for(1);
        ck_assert(!stage.end.closed && !stage.listener.last->closed);
        fwt_udp_relay_move(stage.relay);
    }
    stage_wait(&stage);
    stage_fini(&stage);
}
END_TEST

/* The dialled end's own address is of no use any more. */
START_TEST(a_dialled_end_takes_another_way)
{
    struct stage stage;
    stage_setup(&stage, STAGE_SECURE, &(fwt_weather){.delay_ms = 5, .seed = 1},
                _i ? "&idle=3000" : "");
    for (int i = 0; i < PAIR_WAIT_MS && stage.end.received < stage.end.total / 2; i++)
        fwt_run_for(1);
    if (_i) { /* without data under way, by the questions to the silent peer */
        stage_wait(&stage);
        fwt_udp_relay_strand(stage.relay);
        fwt_run_for(4500);
        FWT_OK(fw_conn_write(stage.listener.last->conn, "still there", 11));
        fwt_run_count(&stage.end.received, stage.end.total + 11, PAIR_WAIT_MS);
    } else {
        fwt_udp_relay_strand(stage.relay);
        stage_wait(&stage);
    }
    ck_assert(!stage.end.closed && !stage.listener.last->closed);
    stage_fini(&stage);
}
END_TEST

START_TEST(who_is_silent_is_noticed_by_both)
{
    struct stage stage;
    stage_setup(&stage, (size_t)_i, &(fwt_weather){.seed = 1}, "&idle=2000");
    stage_wait(&stage);
    fwt_run_for(3500); /* silent, but there: the questions are answered */
    ck_assert(!stage.end.closed && !stage.listener.last->closed);
    fwt_udp_relay_cut(stage.relay);
    fwt_run_until(&stage.end.closed, PAIR_WAIT_MS);
    fwt_run_until(&stage.listener.last->closed, PAIR_WAIT_MS);
    ck_assert_int_eq(stage.end.reason, FW_EIDLE);
    ck_assert_int_eq(stage.listener.last->reason, FW_EIDLE);
    stage_fini(&stage);
}
END_TEST

START_TEST(a_link_that_loses_everything_is_dead)
{
    struct stage stage;
    stage_setup(&stage, STAGE_QUICK, &(fwt_weather){.seed = 1}, "&dead_link=4");
    stage_wait(&stage);
    fwt_udp_relay_cut(stage.relay);
    FWT_OK(fw_conn_write(stage.end.conn, "x", 1));
    fwt_run_until(&stage.end.closed, PAIR_WAIT_MS);
    ck_assert_int_eq(stage.end.reason, UV_ETIMEDOUT);
    stage_fini(&stage);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp life");
    TCase *tcase = fwt_tcase(suite, "life", 120);
    tcase_add_test(tcase, a_peer_moves_and_the_session_goes_with_it);
    tcase_add_loop_test(tcase, a_dialled_end_takes_another_way, 0, 2);
    tcase_add_loop_test(tcase, who_is_silent_is_noticed_by_both, STAGE_WALLE, STAGE_KINDS);
    tcase_add_test(tcase, a_link_that_loses_everything_is_dead);
    return fwt_main(suite);
}
