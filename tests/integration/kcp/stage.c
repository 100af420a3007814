#include "stage.h"

#include <stdio.h>

static const struct {
    const char *scheme, *params;
    size_t bytes;
} kinds[STAGE_KINDS] = {
    {"kcp", PAIR_QUICK, 1 << 20},
    {"kcp", PAIR_QUICK "&stream=1", 1 << 20},
    {"kcp", "nodelay=0", 40000}, /* walle's settings are patient */
    {"kcps", PAIR_QUICK "&stream=1", 1 << 20},
};

void stage_setup(struct stage *stage, size_t kind, const fwt_weather *weather, const char *more)
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

void stage_fini(struct stage *stage)
{
    pair_end_fini(&stage->end);
    pair_listener_fini(&stage->listener);
    fwt_udp_relay_end(stage->relay);
}

void stage_wait(struct stage *stage)
{
    fwt_run_until(&stage->end.complete, PAIR_WAIT_MS);
    fwt_run_until(&stage->listener.last->complete, PAIR_WAIT_MS);
    ck_assert_uint_eq(stage->end.bad + stage->listener.last->bad, 0);
    ck_assert_uint_eq(stage->end.received, stage->end.total);
    ck_assert_uint_eq(stage->listener.last->received, stage->end.total);
    ck_assert_uint_eq(stage->listener.accepted, 1);
}
