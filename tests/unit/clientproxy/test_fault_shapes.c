/*
 * Six ways in which a service goes wrong, on a virtual clock and from a seed: what the balancers
 * with the proxy's list, its ejection and its retry budget make of each. Servers, network and calls
 * are made up; who is picked, ejected and retried is decided by the code of the proxy. Prints a
 * table.
 *
 * Ten servers in two zones, two workers each, 10 ms a call on average, calls at random times at 60
 * percent of what all can do together. Everything happens between the 4th and the 8th second of
 * twelve. Calls have a deadline of one second and may be done twice.
 */
#include "fwt.h"

#include "base/loop.h"
#include "base/random.h"
#include "proxy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS     10
#define WORKERS     2
#define MEAN_MS     10.0
#define CAPACITY    (SERVERS * WORKERS / MEAN_MS) /* calls a ms */
#define DEADLINE_MS 1000
#define BEGIN_MS    4000
#define END_MS      8000
#define TOTAL_MS    12000
#define MOST_CALLS  40000
#define WAITING     4096 /* at a server */
#define KEYS        1000

enum shape { SLOW, FAILING, DEAD, ROLLING, ZONE, SURGE, SHAPES };
static const char *const shape_names[] = {
    "one slow",        "one failing fast", "one dead without RST",
    "rolling restart", "zone lost",        "surge to 3x capacity"};

struct server {
    fwi_endpoint *endpoint;
    double slowness;
    bool failing, dead, down;
    size_t busy;
    size_t queue[WAITING]; /* attempts, a ring */
    size_t first, waiting;
    uint32_t life; /* what it did before it was restarted is void */
};

struct attempt {
    size_t call, server;
    double began_ms;
    uint32_t life;
    bool over;
};

struct call {
    double began_ms, took_ms;
    uint64_t key;
    unsigned retries, ends;
    bool failed;
};

enum kind { ARRIVAL, ANSWER, REFUSAL, DEADLINE, CHANGE };
struct event {
    double at;
    uint64_t number;
    enum kind kind;
    size_t subject;
};

static struct {
    fw_proxy proxy;
    struct server servers[SERVERS];
    struct attempt *attempts;
    size_t attempt_count;
    struct call *calls;
    size_t call_count;
    struct event *events;
    size_t event_count;
    uint64_t next_number;
    double now;
    enum shape shape;
} world;

static double random_unit(void)
{
    return ((double)(fwi_random_u64() >> 11) + 0.5) * 0x1p-53;
}

static double random_time(double mean)
{
    return -mean * log(random_unit());
}

/* ---- events, a heap by time ---- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at <= b->at && a->number < b->number);
}

static void plan(double at, enum kind kind, size_t subject)
{
    struct event event = {at, world.next_number++, kind, subject};
    size_t place = world.event_count++;
    ck_assert_uint_lt(place, 4 * MOST_CALLS);
    for (; place && is_before(&event, &world.events[(place - 1) / 2]); place = (place - 1) / 2)
        world.events[place] = world.events[(place - 1) / 2];
    world.events[place] = event;
}

static struct event next_event(void)
{
    struct event first = world.events[0], moved = world.events[--world.event_count];
    size_t place = 0;
    for (size_t child; (child = 2 * place + 1) < world.event_count; place = child) {
        if (child + 1 < world.event_count &&
            is_before(&world.events[child + 1], &world.events[child]))
            child++;
        if (!is_before(&world.events[child], &moved))
            break;
        world.events[place] = world.events[child];
    }
    world.events[place] = moved;
    return first;
}

/* ---- calls ---- */

static void try_call(size_t index, const fwi_endpoint *avoid);

static void end_call(struct call *call, bool failed)
{
    call->ends++;
    call->failed = failed;
    call->took_ms = world.now - call->began_ms;
    world.proxy.call_count--;
}

/* As call.c does it with an answer. */
static void end_attempt(size_t index, int status)
{
    struct attempt *attempt = &world.attempts[index];
    struct call *call = &world.calls[attempt->call];
    fwi_endpoint *endpoint = world.servers[attempt->server].endpoint;
    double took = world.now - attempt->began_ms;
    bool failed = status != FW_OK, timed_out = status == FW_EDEADLINE;
    attempt->over = true;
    if (!failed || took > endpoint->latency.value)
        fwi_ewma_add(&endpoint->latency, took, (uint64_t)world.now, 0);
    if (!failed || timed_out)
        fwi_limit_sample(&world.proxy.limit, took, timed_out, world.proxy.call_count);
    fwi_proxy_judge(&world.proxy, endpoint, !failed, status);
    fwi_members_end(&world.proxy.members, endpoint);
    if (failed && !timed_out && call->retries < 2 &&
        fwi_retry_budget_withdraw(&world.proxy.budget, (uint64_t)world.now)) {
        call->retries++;
        try_call(attempt->call, endpoint);
    } else
        end_call(call, failed);
}

static void start_work(struct server *server, size_t index)
{
    server->busy++;
    if (server->failing)
        plan(world.now + 0.5, REFUSAL, index);
    else
        plan(world.now + random_time(MEAN_MS * server->slowness), ANSWER, index);
}

static void serve_next(struct server *server)
{
    while (server->waiting && server->busy < WORKERS && !server->dead) {
        size_t index = server->queue[server->first];
        server->first = (server->first + 1) % WAITING;
        server->waiting--;
        if (!world.attempts[index].over) /* the deadline travels with the call */
            start_work(server, index);
    }
}

static void try_call(size_t index, const fwi_endpoint *avoid)
{
    struct call *call = &world.calls[index];
    fw_balancer_call wanted = {.has_key = true, .key = call->key};
    fwi_endpoint *endpoint = fwi_members_pick(&world.proxy.members, &wanted, avoid);
    ck_assert_ptr_nonnull(endpoint);
    size_t at = 0;
    while (world.servers[at].endpoint != endpoint)
        at++;
    struct server *server = &world.servers[at];
    size_t number = world.attempt_count++;
    ck_assert_uint_lt(number, 4 * MOST_CALLS);
    world.attempts[number] = (struct attempt){index, at, world.now, server->life, false};
    fwi_members_begin(&world.proxy.members, endpoint);
    if (server->down || server->waiting == WAITING) {
        plan(world.now + 0.1, DEADLINE, number); /* nobody is there: it waits in vain */
        return;
    }
    plan(call->began_ms + DEADLINE_MS, DEADLINE, number);
    server->queue[(server->first + server->waiting++) % WAITING] = number;
    serve_next(server);
}

static double load_now(void)
{
    bool is_surge = world.shape == SURGE && world.now >= BEGIN_MS && world.now < END_MS;
    return CAPACITY * (is_surge ? 3 : 0.6);
}

static void arrive(void)
{
    if (world.now < TOTAL_MS)
        plan(world.now + random_time(1 / load_now()), ARRIVAL, 0);
    size_t index = world.call_count++;
    ck_assert_uint_lt(index, MOST_CALLS);
    world.calls[index] = (struct call){.began_ms = world.now, .key = fwi_random_below(KEYS)};
    bool is_refused = !fwi_limit_allows(&world.proxy.limit, world.proxy.call_count);
    world.proxy.call_count++;
    fwi_retry_budget_deposit(&world.proxy.budget, (uint64_t)world.now);
    if (is_refused)
        end_call(&world.calls[index], true);
    else
        try_call(index, NULL);
}

/* ---- what goes wrong ---- */

static void set_down(struct server *server, bool down)
{
    server->down = down;
    server->endpoint->state = down ? FWI_ENDPOINT_BACKOFF : FWI_ENDPOINT_READY;
    server->endpoint->has_lost = false;
    fwi_members_refresh(&world.proxy.members, server->endpoint);
    if (!down)
        return;
    server->life++;
    server->busy = server->waiting = 0;
    size_t count = world.attempt_count;
    for (size_t i = 0; i < count; i++) {
        const struct attempt *attempt = &world.attempts[i];
        if (!attempt->over && &world.servers[attempt->server] == server)
            end_attempt(i, FW_ELOST);
    }
}

static void change(size_t step)
{
    struct server *first = &world.servers[0];
    bool begins = step == 0;
    switch (world.shape) {
    case SLOW:
        first->slowness = begins ? 10 : 1;
        break;
    case FAILING:
        first->failing = begins;
        break;
    case DEAD:
        first->dead = begins;
        serve_next(first);
        break;
    case ROLLING: /* each is away for 300 ms, one after the other */
        set_down(&world.servers[step / 2], step % 2 == 0);
        break;
    case ZONE:
        for (size_t i = 0; i < SERVERS; i += 2)
            set_down(&world.servers[i], begins);
        break;
    case SURGE:
    case SHAPES:
        break;
    }
}

static void plan_changes(void)
{
    if (world.shape != ROLLING) {
        plan(BEGIN_MS, CHANGE, 0);
        plan(END_MS, CHANGE, 1);
        return;
    }
    for (size_t i = 0; i < SERVERS; i++) {
        plan(BEGIN_MS + (double)i * 400, CHANGE, 2 * i);
        plan(BEGIN_MS + (double)i * 400 + 300, CHANGE, 2 * i + 1);
    }
}

/* ---- a run ---- */

static void on_usable(fwi_endpoint *endpoint)
{
    fwi_members_refresh(&world.proxy.members, endpoint);
}

static void on_gone(fwi_endpoint *endpoint)
{
    (void)endpoint;
}

static void ignore(fwi_task *task, void *arg)
{
    (void)task;
    (void)arg;
}

static void ignore_time(fwi_timer *timer, void *arg)
{
    (void)timer;
    (void)arg;
}

static void begin_world(const fw_balancer *balancer, enum shape shape, uint64_t seed)
{
    static const fwi_endpoint_events events = {.on_usable = on_usable, .on_gone = on_gone};
    memset(&world, 0, sizeof world);
    world.shape = shape;
    world.attempts = calloc(4 * MOST_CALLS, sizeof *world.attempts);
    world.calls = calloc(MOST_CALLS, sizeof *world.calls);
    world.events = calloc(4 * MOST_CALLS, sizeof *world.events);
    fw_proxy *proxy = &world.proxy;
    proxy->options = (fw_proxy_options){.balancer = balancer, .eject_after = 5, .eject_ms = 1000};
    FWT_OK(fwi_loop_new_virtual(&proxy->loop, 0));
    proxy->panic_changed = (fwi_task){.fn = ignore};
    proxy->outliers = (fwi_timer){.fn = ignore_time};
    fwi_retry_budget_init(&proxy->budget, 20, 10);
    fwi_limit_init(&proxy->limit, 0, shape == SURGE);
    FWT_OK(fwi_members_init(&proxy->members, proxy->loop, &proxy->options, &proxy->panic_changed));
    for (size_t i = 0; i < SERVERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "n%zu", i);
        fw_instance made = {.service = "s", .id = id, .net = "tcp", .addr = "127.0.0.1:1"};
        const fw_instance *instance;
        FWT_OK(fw_instance_create(&made, &instance));
        world.servers[i].slowness = 1;
        world.servers[i].endpoint =
            fwi_endpoint_new(proxy, proxy->loop, instance, &proxy->options, &events);
        world.servers[i].endpoint->state = FWI_ENDPOINT_READY;
        fw_instance_release(instance);
        FWT_OK(fwi_members_add(&proxy->members, world.servers[i].endpoint));
    }
    fwi_random_seed(seed); /* here: a program's first map draws a number for itself */
    plan(0, ARRIVAL, 0);
    plan_changes();
}

static void handle(const struct event *event)
{
    struct attempt *attempt = &world.attempts[event->subject];
    struct server *server = &world.servers[attempt->server];
    switch (event->kind) {
    case ARRIVAL:
        arrive();
        break;
    case ANSWER:
    case REFUSAL:
        if (attempt->life != server->life)
            break;
        server->busy--;
        if (!attempt->over && !server->dead)
            end_attempt(event->subject, event->kind == ANSWER ? FW_OK : FW_EREMOTE);
        serve_next(server);
        break;
    case DEADLINE:
        if (!attempt->over)
            end_attempt(event->subject, server->down ? FW_ELOST : FW_EDEADLINE);
        break;
    case CHANGE:
        change(event->subject);
        break;
    }
}

struct outcome {
    size_t calls, failed;
    double p50_ms, p99_ms; /* of those that succeeded while it went wrong, */
    double after_p99_ms;   /* and in the last two seconds */
    uint64_t digest;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double from, double to, double part)
{
    static double took[MOST_CALLS];
    size_t count = 0;
    for (size_t i = 0; i < world.call_count; i++) {
        const struct call *call = &world.calls[i];
        if (!call->failed && call->began_ms >= from && call->began_ms < to)
            took[count++] = call->took_ms;
    }
    qsort(took, count, sizeof *took, by_value);
    return count ? took[(size_t)(part * (double)(count - 1))] : 0;
}

static void end_world(void)
{
    for (size_t i = 0; i < SERVERS; i++) {
        fwi_members_remove(&world.proxy.members, world.servers[i].endpoint);
        fwi_endpoint_remove(world.servers[i].endpoint, 0);
    }
    fwi_loop_timer_stop(world.proxy.loop, &world.proxy.outliers);
    fwi_loop_set_time(world.proxy.loop, (uint64_t)world.now + 1);
    fwi_members_fini(&world.proxy.members);
    FWT_OK(fw_loop_close(world.proxy.loop));
    free(world.attempts);
    free(world.calls);
    free(world.events);
}

static struct outcome run(const fw_balancer *balancer, enum shape shape, uint64_t seed)
{
    begin_world(balancer, shape, seed);
    while (world.event_count) {
        struct event event = next_event();
        world.now = event.at;
        fwi_loop_set_time(world.proxy.loop, (uint64_t)world.now);
        handle(&event);
    }
    struct outcome outcome = {.calls = world.call_count};
    for (size_t i = 0; i < world.call_count; i++) {
        const struct call *call = &world.calls[i];
        ck_assert_uint_eq(call->ends, 1); /* every call ends exactly once */
        outcome.failed += call->failed;
        uint64_t bits;
        memcpy(&bits, &call->took_ms, sizeof bits);
        outcome.digest = (outcome.digest ^ bits ^ call->failed) * 0x100000001b3u;
    }
    ck_assert_uint_eq(world.proxy.members.in_flight, 0);
    outcome.p50_ms = percentile(BEGIN_MS, END_MS, 0.5);
    outcome.p99_ms = percentile(BEGIN_MS, END_MS, 0.99);
    outcome.after_p99_ms = percentile(TOTAL_MS - 2000, TOTAL_MS, 0.99);
    end_world();
    return outcome;
}

START_TEST(what_each_balancer_makes_of_it)
{
    const enum shape shape = (enum shape)_i;
    struct outcome first = run(fw_balancer_find(fw_balancer_name(0)), shape, 1);
    struct outcome of_turns = {0}, of_two = {0};
    printf("%-21s %-12s %7s %8s %8s %9s %9s\n", shape_names[shape], "balancer", "calls", "failed",
           "p50 ms", "p99 ms", "p99 after");
    for (size_t i = 0; fw_balancer_name(i); i++) {
        const fw_balancer *balancer = fw_balancer_find(fw_balancer_name(i));
        struct outcome outcome = run(balancer, shape, 1);
        if (i == 0)
            ck_assert_uint_eq(outcome.digest, first.digest);
        if (balancer == &fw_balancer_p2c_ewma)
            of_two = outcome;
        if (balancer == &fw_balancer_round_robin)
            of_turns = outcome;
        printf("%-21s %-12s %7zu %8zu %8.1f %9.1f %9.1f\n", "", balancer->name, outcome.calls,
               outcome.failed, outcome.p50_ms, outcome.p99_ms, outcome.after_p99_ms);
        fflush(stdout);
        if (shape != SURGE) /* then most are refused */
            ck_assert_msg(outcome.failed * 20 < outcome.calls, "%s: %zu of %zu failed",
                          balancer->name, outcome.failed, outcome.calls);
        else
            ck_assert_uint_gt(outcome.calls - outcome.failed, 12000);
    }
    if (shape == SLOW)
        ck_assert(of_two.p99_ms * 2 < of_turns.p99_ms);
    if (shape == ROLLING)
        ck_assert_uint_eq(of_two.failed, 0);
    ck_assert(of_two.after_p99_ms < 100); /* when it is over it is over */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fault shapes");
    TCase *tcase = tcase_create("fault shapes");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, what_each_balancer_makes_of_it, 0, SHAPES);
    return fwt_main(suite);
}
