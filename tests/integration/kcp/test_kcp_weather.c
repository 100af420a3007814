/* kcp and kcps through a bad network, and when the peer moves or is gone. */
#include <stdio.h>
#include <uv.h>

#include "pair.h"
#include "udp_relay.h"

static const struct {
    const char *scheme, *params;
    size_t bytes;
} kinds[] = {
    {"kcp", PAIR_QUICK, 1 << 20},
    {"kcp", PAIR_QUICK "&stream=1", 1 << 20},
    {"kcp", "nodelay=0", 40000}, /* walle's settings are patient */
    {"kcps", PAIR_QUICK "&stream=1", 1 << 20},
};

#define KINDS (sizeof kinds / sizeof *kinds)

struct stage {
    pair_listener listener;
    fwt_udp_relay *relay;
    pair_end end;
};

static void stage_setup(struct stage *stage, size_t kind, const fwt_weather *weather,
                        const char *more)
{
    char url[300];
    *stage = (struct stage){
        .listener = {.wishes = {.total = kinds[kind].bytes, .seed = 5, .seed_of_peer = 3}},
        .end = {.total = kinds[kind].bytes, .seed = 3, .seed_of_peer = 5}};
    snprintf(url, sizeof url, "%s://127.0.0.1:0?%s%s", kinds[kind].scheme, kinds[kind].params,
             more);
    pair_listen(&stage->listener, url, false);
    stage->relay = fwt_udp_relay_start(stage->listener.port, weather);
    snprintf(url, sizeof url, "%s://127.0.0.1:%d?%s%s", kinds[kind].scheme,
             fwt_udp_relay_port(stage->relay), kinds[kind].params, more);
    pair_dial(&stage->end, url, false);
}

static void stage_fini(struct stage *stage)
{
    pair_end_fini(&stage->end);
    pair_listener_fini(&stage->listener);
    fwt_udp_relay_end(stage->relay);
}

static void wait_both(struct stage *stage)
{
    fwt_run_until(&stage->end.complete, PAIR_WAIT_MS);
    fwt_run_until(&stage->listener.last->complete, PAIR_WAIT_MS);
    ck_assert_uint_eq(stage->end.bad + stage->listener.last->bad, 0);
    ck_assert_uint_eq(stage->end.received, stage->end.total);
    ck_assert_uint_eq(stage->listener.last->received, stage->end.total);
    ck_assert_uint_eq(stage->listener.accepted, 1);
}

START_TEST(bulk_both_ways_in_bad_weather)
{
    struct stage stage;
    fwt_weather weather = {
        .loss = 10, .duplicate = 5, .delay_ms = 5, .jitter_ms = 20, .seed = (unsigned)_i + 1};
    stage_setup(&stage, (size_t)_i, &weather, "");
    wait_both(&stage);
    stage_fini(&stage);
}
END_TEST

START_TEST(a_peer_moves_and_the_session_goes_with_it)
{
    struct stage stage;
    stage_setup(&stage, 3, &(fwt_weather){.delay_ms = 5, .seed = 1}, "");
    for (int moves = 1; moves <= 3; moves++) {
        size_t part = stage.end.total / 4 * (size_t)moves;
        for (int i = 0; i < PAIR_WAIT_MS && stage.end.received < part; i++)
            fwt_run_for(1);
        ck_assert(!stage.end.closed && !stage.listener.last->closed);
        fwt_udp_relay_move(stage.relay);
    }
    wait_both(&stage);
    stage_fini(&stage);
}
END_TEST

/* The dialled end's own address is of no use any more. */
START_TEST(a_dialled_end_takes_another_way)
{
    struct stage stage;
    stage_setup(&stage, 3, &(fwt_weather){.delay_ms = 5, .seed = 1}, _i ? "&idle=3000" : "");
    for (int i = 0; i < PAIR_WAIT_MS && stage.end.received < stage.end.total / 2; i++)
        fwt_run_for(1);
    if (_i) { /* without data under way, by the questions to the silent peer */
        wait_both(&stage);
        fwt_udp_relay_strand(stage.relay);
        fwt_run_for(4500);
        FWT_OK(fw_conn_write(stage.listener.last->conn, "still there", 11));
        fwt_run_count(&stage.end.received, stage.end.total + 11, PAIR_WAIT_MS);
    } else {
        fwt_udp_relay_strand(stage.relay);
        wait_both(&stage);
    }
    ck_assert(!stage.end.closed && !stage.listener.last->closed);
    stage_fini(&stage);
}
END_TEST

START_TEST(who_is_silent_is_noticed_by_both)
{
    struct stage stage;
    stage_setup(&stage, (size_t)_i, &(fwt_weather){.seed = 1}, "&idle=1000");
    wait_both(&stage);
    fwt_run_for(2500); /* silent, but there: the questions are answered */
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
    stage_setup(&stage, 0, &(fwt_weather){.seed = 1}, "&dead_link=4");
    wait_both(&stage);
    fwt_udp_relay_cut(stage.relay);
    FWT_OK(fw_conn_write(stage.end.conn, "x", 1));
    fwt_run_until(&stage.end.closed, PAIR_WAIT_MS);
    ck_assert_int_eq(stage.end.reason, UV_ETIMEDOUT);
    stage_fini(&stage);
}
END_TEST

START_TEST(what_was_written_before_the_close_arrives)
{
    struct stage stage;
    fwt_weather weather = {.loss = 10, .delay_ms = 5, .jitter_ms = 10, .seed = 9};
    stage_setup(&stage, (size_t)_i, &weather, "");
    fwt_run_until(&stage.end.open, PAIR_WAIT_MS);
    wait_both(&stage);
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
    tcase_add_loop_test(tcase, bulk_both_ways_in_bad_weather, 0, KINDS);
    tcase_add_test(tcase, a_peer_moves_and_the_session_goes_with_it);
    tcase_add_loop_test(tcase, a_dialled_end_takes_another_way, 0, 2);
    tcase_add_loop_test(tcase, who_is_silent_is_noticed_by_both, 2, KINDS);
    tcase_add_test(tcase, a_link_that_loses_everything_is_dead);
    tcase_add_loop_test(tcase, what_was_written_before_the_close_arrives, 2, KINDS);
    return fwt_main(suite);
}
