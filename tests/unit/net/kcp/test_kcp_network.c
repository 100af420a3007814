/* Two engines with a bad network between them, under a virtual clock, repeatable by seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/random.h"
#include "fwt.h"
#include "transport/kcp/kcp.h"

#define BULK_BYTES    (1024 * 1024)
#define FLYING_MAX    4096
#define DEADLINE_MS   (30 * 60 * 1000) /* virtual */
#define RECEIVE_BYTES (FWI_KCP_FRAGMENTS_MAX * FWI_KCP_MTU_MAX)

struct flying {
    uint32_t due;
    int to;
    size_t len;
    uint8_t *bytes;
};

struct weather {
    uint32_t loss, duplicate;  /* per cent */
    uint32_t delay_ms, jitter; /* jitter reorders */
};

struct end {
    fwi_kcp kcp;
    size_t sent, received;
    uint64_t sent_sum, received_sum; /* order counts */
    bool message_mode;
};

static struct world {
    struct end ends[2];
    struct flying flying[FLYING_MAX];
    size_t flying_count, dropped, delivered;
    struct weather weather;
    uint32_t now;
} world;

static uint8_t receive_buffer[RECEIVE_BYTES];

static uint64_t add(uint64_t sum, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

static void fly(const uint8_t *data, size_t len, int to)
{
    ck_assert_uint_lt(world.flying_count, FLYING_MAX);
    uint32_t late = world.weather.jitter ? fwi_random_below(world.weather.jitter) : 0;
    struct flying *flying = &world.flying[world.flying_count++];
    *flying = (struct flying){.due = world.now + world.weather.delay_ms + late,
                              .to = to,
                              .len = len,
                              .bytes = malloc(len)};
    memcpy(flying->bytes, data, len);
}

static void on_output(const uint8_t *data, size_t len, void *arg)
{
    int to = arg == &world.ends[0] ? 1 : 0;
    ck_assert_uint_le(len, world.ends[1 - to].kcp.config.mtu);
    if (fwi_random_below(100) < world.weather.loss) {
        world.dropped++;
        return;
    }
    fly(data, len, to);
    if (fwi_random_below(100) < world.weather.duplicate)
        fly(data, len, to);
}

static void deliver_due(void)
{
    for (size_t i = 0; i < world.flying_count;) {
        struct flying flying = world.flying[i];
        if ((int32_t)(flying.due - world.now) > 0) {
            i++;
            continue;
        }
        world.flying[i] = world.flying[--world.flying_count];
        FWT_OK(fwi_kcp_input(&world.ends[flying.to].kcp, world.now, flying.bytes, flying.len));
        free(flying.bytes);
        world.delivered++;
    }
}

static void feed(struct end *end)
{
    uint8_t bytes[9000];
    while (end->sent < BULK_BYTES) {
        size_t len = 1 + fwi_random_below(end->message_mode ? sizeof bytes : 3000);
        if (len > BULK_BYTES - end->sent)
            len = BULK_BYTES - end->sent;
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)fwi_random_u64();
        int taken = fwi_kcp_send(&end->kcp, bytes, len);
        if (taken == UV_EAGAIN)
            return;
        ck_assert_int_ge(taken, 0);
        if (end->message_mode)
            ck_assert_int_eq(taken, (int)len);
        end->sent_sum = add(end->sent_sum, bytes, (size_t)taken);
        end->sent += (size_t)taken;
    }
}

static void drink(struct end *end)
{
    for (int len; (len = fwi_kcp_recv(&end->kcp, receive_buffer, RECEIVE_BYTES, false)) >= 0;) {
        end->received_sum = add(end->received_sum, receive_buffer, (size_t)len);
        end->received += (size_t)len;
    }
}

static bool is_done(void)
{
    for (int i = 0; i < 2; i++)
        if (world.ends[i].received < BULK_BYTES || fwi_kcp_unsent(&world.ends[i].kcp))
            return false;
    return true;
}

static void world_setup(const fwi_kcp_config *config, const struct weather *weather, uint32_t start,
                        uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.weather = *weather;
    world.now = start;
    fwi_random_seed(seed);
    for (int i = 0; i < 2; i++) {
        fwi_kcp_init(&world.ends[i].kcp, 77, config, on_output, &world.ends[i]);
        world.ends[i].message_mode = !config->stream;
    }
}

static void world_teardown(void)
{
    for (int i = 0; i < 2; i++)
        fwi_kcp_fini(&world.ends[i].kcp);
    while (world.flying_count)
        free(world.flying[--world.flying_count].bytes);
}

/* 1 MiB each way. Steps by what the engine says it needs, so this also shows that
 * fwi_kcp_wait_ms never sleeps through anything. */
static void exchange(const fwi_kcp_config *config, const struct weather *weather, uint64_t seed)
{
    uint32_t start = (uint32_t)0 - 3000; /* the clock wraps on the way */
    world_setup(config, weather, start, seed);
    while (!is_done()) {
        ck_assert_msg(world.now - start < DEADLINE_MS, "seed %llu: not done in time",
                      (unsigned long long)seed);
        deliver_due();
        uint32_t wait = 1000;
        for (int i = 0; i < 2; i++) {
            drink(&world.ends[i]);
            feed(&world.ends[i]);
            if (!fwi_kcp_wait_ms(&world.ends[i].kcp, world.now))
                fwi_kcp_update(&world.ends[i].kcp, world.now);
            ck_assert(!world.ends[i].kcp.dead);
            uint32_t left = fwi_kcp_wait_ms(&world.ends[i].kcp, world.now);
            wait = left < wait ? left : wait;
        }
        for (size_t i = 0; i < world.flying_count; i++) {
            int32_t left = (int32_t)(world.flying[i].due - world.now);
            wait = left < 1 ? 1 : (uint32_t)left < wait ? (uint32_t)left : wait;
        }
        world.now += wait ? wait : 1;
    }
    for (int i = 0; i < 2; i++)
        ck_assert(world.ends[i].sent_sum == world.ends[1 - i].received_sum);
    world_teardown();
}

static const struct weather weathers[] = {
    {.delay_ms = 10},
    {.loss = 10, .delay_ms = 20},
    {.loss = 10, .duplicate = 10, .delay_ms = 20, .jitter = 60},
    {.loss = 30, .duplicate = 5, .delay_ms = 5, .jitter = 30},
    {.delay_ms = 50, .jitter = 100},
};

static void config_of(int kind, fwi_kcp_config *ret_config)
{
    fwi_kcp_config_init(ret_config);
    ret_config->send_queue_max = 256;
    ret_config->dead_link = 200; /* 30 % loss each way would end a link of 20 now and then */
    if (kind == 0)
        return;
    ret_config->nodelay = 1;
    ret_config->interval_ms = 10;
    ret_config->resend = 2;
    ret_config->no_congestion = true;
    ret_config->send_window = ret_config->receive_window = kind == 1 ? 256 : 32;
    ret_config->stream = kind == 2;
    ret_config->mtu = kind == 2 ? 576 : 1400;
}

START_TEST(a_megabyte_each_way_arrives_whatever_the_weather)
{
    fwi_kcp_config config;
    config_of(_i % 3, &config);
    FWT_OK(fwi_kcp_config_check(&config));
    for (uint64_t seed = 1; seed <= 2; seed++)
        exchange(&config, &weathers[_i / 3], seed * 1000 + (uint64_t)_i);
}
END_TEST

START_TEST(an_idle_conversation_wants_no_update_and_owns_no_buffer)
{
    fwi_kcp_config config;
    config_of(1, &config);
    world_setup(&config, &weathers[0], 5, 1);
    fwi_kcp *a = &world.ends[0].kcp, *b = &world.ends[1].kcp;
    fwi_kcp_update(a, world.now);
    fwi_kcp_update(b, world.now);
    ck_assert_uint_eq(fwi_kcp_wait_ms(a, world.now), UINT32_MAX);
    ck_assert_int_eq(fwi_kcp_send(a, "x", 1), 1);
    for (; world.now < 300; world.now++) {
        deliver_due();
        fwi_kcp_update(a, world.now);
        fwi_kcp_update(b, world.now);
        drink(&world.ends[1]);
    }
    ck_assert_uint_eq(world.ends[1].received, 1);
    ck_assert_uint_eq(fwi_kcp_wait_ms(a, world.now), UINT32_MAX);
    ck_assert_uint_eq(fwi_kcp_wait_ms(b, world.now), UINT32_MAX);
    ck_assert_ptr_null(b->acks);
    world_teardown();
}
END_TEST

START_TEST(a_link_without_answers_is_dead)
{
    fwi_kcp_config config;
    config_of(1, &config);
    config.dead_link = 5;
    world_setup(&config, &(struct weather){.loss = 100}, 5, 1);
    fwi_kcp *a = &world.ends[0].kcp;
    ck_assert_int_eq(fwi_kcp_send(a, "x", 1), 1);
    for (; !a->dead && world.now < 100000; world.now += 10)
        fwi_kcp_update(a, world.now);
    ck_assert(a->dead);
    world_teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp network");
    TCase *tcase = tcase_create("network");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_megabyte_each_way_arrives_whatever_the_weather, 0,
                        3 * (int)(sizeof weathers / sizeof *weathers));
    tcase_add_test(tcase, an_idle_conversation_wants_no_update_and_owns_no_buffer);
    tcase_add_test(tcase, a_link_without_answers_is_dead);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
