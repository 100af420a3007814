/* Health checks with drivers of ours, on a clock of ours: what is asked, when, and what follows. */
#include "fwt.h"

#include "health_check.h"
#include "health_driver.h"

#include "base/loop.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_PROBES 64

/* ---- a driver that answers when it is told to ---- */

struct fake_probe {
    fwi_health_question question;
    char id[32];
};

static fw_loop *loop;
static struct fake_probe *probes[MAX_PROBES]; /* under way */
static size_t probe_count, most_probes, started, canceled, opened, closed_shared;
static int start_error, open_error;
static fw_health_check last_check;
static bool answers_itself; /* in the turn after the start */
static fwi_task answer;

static size_t find_probe(const char *id)
{
    size_t i = 0;
    while (i < probe_count && strcmp(probes[i]->id, id))
        i++;
    ck_assert_msg(i < probe_count, "no probe of %s", id);
    return i;
}

static struct fake_probe *take_probe(size_t i)
{
    struct fake_probe *probe = probes[i];
    probes[i] = probes[--probe_count];
    return probe;
}

static void finish(size_t i, int result, const char *detail)
{
    struct fake_probe *probe = take_probe(i);
    fwi_health_question question = probe->question;
    free(probe);
    snprintf(question.detail, FWI_HEALTH_DETAIL_BYTES, "%s", detail);
    question.fn(result, question.arg);
}

static void on_answer(fwi_task *task, void *arg)
{
    (void)task;
    (void)arg;
    while (probe_count)
        finish(0, FW_OK, "");
}

static int fake_open(fw_loop *on, void **ret_shared)
{
    ck_assert_ptr_eq(on, loop);
    if (open_error)
        return open_error;
    opened++;
    *ret_shared = &opened;
    return FW_OK;
}

static void fake_close(void *shared, void (*on_closed)(void *arg), void *arg)
{
    ck_assert_ptr_eq(shared, &opened);
    ck_assert_uint_eq(probe_count, 0);
    closed_shared++;
    on_closed(arg);
}

static int fake_start(void *shared, const fwi_health_question *question, void **ret_probe)
{
    ck_assert_ptr_eq(shared, &opened);
    if (start_error)
        return start_error;
    struct fake_probe *probe = calloc(1, sizeof *probe);
    probe->question = *question;
    snprintf(probe->id, sizeof probe->id, "%s", question->instance->id);
    last_check = *question->check;
    ck_assert_uint_lt(probe_count, MAX_PROBES);
    probes[probe_count++] = probe;
    started++;
    if (probe_count > most_probes)
        most_probes = probe_count;
    if (answers_itself)
        fwi_loop_defer(loop, &answer);
    *ret_probe = probe;
    return FW_OK;
}

static void fake_cancel(void *arg)
{
    size_t i = 0;
    while (probes[i] != arg)
        i++;
    free(take_probe(i));
    canceled++;
}

static const fwi_health_driver fake = {
    .open = fake_open, .close = fake_close, .start = fake_start, .cancel = fake_cancel};
static const fwi_health_driver *const drivers[FWI_HEALTH_TYPES] = {[FW_HEALTH_TCP] = &fake,
                                                                   [FW_HEALTH_HTTP] = &fake,
                                                                   [FW_HEALTH_GRPC] = &fake,
                                                                   [FW_HEALTH_PING] = &fake};

/* ---- the fixture ---- */

static fw_health *health;
static uint64_t now;
static size_t changes, closed;
static fw_health_status last;
static char last_detail[100];
static enum { KEEP, REMOVE, CLOSE } in_change;

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_change(fw_health *from, const fw_health_status *status, void *arg)
{
    (void)arg;
    changes++;
    last = *status;
    snprintf(last_detail, sizeof last_detail, "%s", status->detail);
    if (in_change == REMOVE)
        fw_health_remove(from, "web", status->instance->id);
    if (in_change == CLOSE)
        fw_health_close(from, on_closed, NULL);
}

static void setup(void)
{
    fwi_random_seed(7);
    now = 1000;
    FWT_OK(fwi_loop_new_virtual(&loop, now));
    answer = (fwi_task){.fn = on_answer};
}

static void pass(uint64_t ms)
{
    for (uint64_t until = now + ms; now < until;)
        fwi_loop_set_time(loop, ++now);
}

static void begin(const fw_health_options *options)
{
    fw_health_options with = *options;
    with.on_change = on_change;
    FWT_OK(fwi_health_new(loop, &with, drivers, &health));
}

static void teardown(void)
{
    fw_health_close(health, on_closed, NULL);
    pass(2);
    ck_assert_uint_eq(closed, 1);
    ck_assert_uint_eq(opened, closed_shared);
    FWT_OK(fw_loop_close(loop));
}

static void add_with(const char *id, const char *addr, const char *metadata)
{
    fw_instance_field field = {"health", metadata};
    fw_instance from = {.service = "web",
                        .id = id,
                        .net = "tcp",
                        .addr = addr,
                        .metadata = &field,
                        .metadata_count = metadata ? 1 : 0};
    const fw_instance *instance;
    FWT_OK(fw_instance_create(&from, &instance));
    FWT_OK(fw_health_add(health, instance));
    fw_instance_release(instance);
}

static void add(const char *id)
{
    add_with(id, "127.0.0.1:1", NULL);
}

static fw_health_status status_of(const char *id)
{
    fw_health_status status;
    FWT_OK(fw_health_get(health, "web", id, &status));
    return status;
}

/* Lets the next probe begin, and end so. */
static void probe_ends(int result, const char *detail)
{
    for (unsigned i = 0; i < 6000 && !probe_count; i++)
        pass(1);
    ck_assert_uint_eq(probe_count, 1);
    finish(0, result, detail);
}

static const fw_health_options tcp = {.check = {.type = FW_HEALTH_TCP}};

/* ---- states ---- */

START_TEST(the_state_follows_the_answers)
{
    setup();
    begin(&tcp);
    add("a");
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_UNKNOWN);
    probe_ends(FW_OK, "");
    ck_assert_uint_eq(changes, 1);
    ck_assert_int_eq(last.state, FW_HEALTH_HEALTHY);
    ck_assert_uint_gt(last.round_trip_us, 0);
    probe_ends(UV_ECONNREFUSED, "");
    probe_ends(FW_EREMOTE, "HTTP status 503");
    ck_assert_uint_eq(changes, 1);
    ck_assert_int_eq(status_of("a").reason, FW_EREMOTE);
    probe_ends(FW_EREMOTE, "HTTP status 502");
    ck_assert_uint_eq(changes, 2);
    ck_assert_int_eq(last.state, FW_HEALTH_UNHEALTHY);
    ck_assert_uint_eq(last.failures, 3);
    ck_assert_str_eq(last_detail, "HTTP status 502");
    ck_assert_uint_eq(last.since_ms, now);
    probe_ends(FW_OK, "");
    probe_ends(FW_EREMOTE, "");
    probe_ends(FW_OK, "");
    ck_assert_uint_eq(changes, 2);
    probe_ends(FW_OK, "");
    ck_assert_uint_eq(changes, 3);
    ck_assert_int_eq(last.state, FW_HEALTH_HEALTHY);
    ck_assert_int_eq(last.reason, FW_OK);
    ck_assert_str_eq(last_detail, "");
    teardown();
}
END_TEST

START_TEST(silence_ends_at_the_timeout)
{
    setup();
    begin(&(fw_health_options){
        .check = {.type = FW_HEALTH_TCP}, .timeout_ms = 300, .unhealthy_after = 1});
    add("a");
    pass(6);
    ck_assert_uint_eq(probe_count, 1);
    pass(300);
    ck_assert_uint_eq(probe_count, 0);
    ck_assert_uint_eq(canceled, 1);
    ck_assert_int_eq(last.state, FW_HEALTH_UNHEALTHY);
    ck_assert_int_eq(last.reason, FW_EDEADLINE);
    teardown();
}
END_TEST

/* The process was held up: what came meanwhile counts, though the time is over. */
START_TEST(a_late_loop_looks_once_more)
{
    setup();
    begin(&tcp);
    add("a");
    pass(6);
    ck_assert_uint_eq(probe_count, 1);
    fwi_loop_set_time(loop, now += 3000);
    ck_assert_uint_eq(probe_count, 1);
    finish(0, FW_OK, "");
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_HEALTHY);
    probe_ends(FW_OK, "");
    for (unsigned i = 0; i < 6000 && !probe_count; i++)
        pass(1);
    fwi_loop_set_time(loop, now += 3000);
    pass(2);
    ck_assert_uint_eq(canceled, 1);
    ck_assert_int_eq(status_of("a").reason, FW_EDEADLINE);
    teardown();
}
END_TEST

START_TEST(what_cannot_be_asked_stays_as_it_was)
{
    setup();
    begin(&tcp);
    add("a");
    probe_ends(FW_OK, "");
    start_error = UV_EMFILE;
    pass(60000);
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_HEALTHY);
    ck_assert_int_eq(status_of("a").reason, UV_EMFILE);
    start_error = FW_OK;
    probe_ends(FW_OK, "");
    ck_assert_int_eq(status_of("a").reason, FW_OK);
    ck_assert_uint_eq(changes, 1);
    teardown();
}
END_TEST

START_TEST(a_driver_that_does_not_open_is_tried_again)
{
    setup();
    begin(&tcp);
    open_error = UV_ENOMEM;
    add("a");
    pass(20);
    ck_assert_int_eq(status_of("a").reason, UV_ENOMEM);
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_UNKNOWN);
    open_error = FW_OK;
    probe_ends(FW_OK, "");
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_HEALTHY);
    teardown();
}
END_TEST

/* ---- when ---- */

START_TEST(a_thousand_are_spread_over_the_interval)
{
    setup();
    begin(&(fw_health_options){.check = {.type = FW_HEALTH_TCP}, .interval_ms = 5000});
    answers_itself = true;
    for (int i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", i);
        add(id);
    }
    size_t most_a_tenth = 0;
    for (int interval = 0; interval < 3; interval++)
        for (int tenth = 0; tenth < 10; tenth++) {
            size_t before = started;
            pass(500);
            if (started - before > most_a_tenth)
                most_a_tenth = started - before;
        }
    ck_assert_uint_eq(changes, 1000);
    ck_assert_uint_gt(started, 2500);
    ck_assert_uint_lt(started, 3600);
    /* Evenly it would be a hundred. */
    ck_assert_uint_lt(most_a_tenth, 200);
    teardown();
}
END_TEST

START_TEST(only_so_many_are_under_way)
{
    setup();
    begin(&tcp);
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", i);
        add(id);
    }
    pass(600);
    ck_assert_uint_eq(probe_count, 32);
    for (unsigned i = 0; i < 68; i++) {
        finish(0, FW_OK, "");
        fwi_loop_set_time(loop, now); /* the next begins in the turn after */
    }
    ck_assert_uint_eq(started, 100);
    ck_assert_uint_eq(most_probes, 32);
    teardown();
    ck_assert_uint_eq(canceled, 32);
}
END_TEST

/* ---- who ---- */

START_TEST(another_address_begins_anew)
{
    setup();
    begin(&tcp);
    add("a");
    probe_ends(FW_OK, "");
    add("a"); /* as it was */
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_HEALTHY);
    add_with("a", "127.0.0.1:2", NULL);
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_UNKNOWN);
    ck_assert_uint_eq(status_of("a").successes, 0);
    ck_assert_uint_eq(changes, 1);
    probe_ends(FW_OK, "");
    ck_assert_uint_eq(changes, 2);
    add_with("a", "127.0.0.1:2", "off");
    ck_assert_int_eq(status_of("a").type, FW_HEALTH_OFF);
    pass(20000);
    ck_assert_uint_eq(started, 2);
    add_with("a", "127.0.0.1:2", "http:/x");
    probe_ends(FW_OK, "");
    ck_assert_int_eq(last.type, FW_HEALTH_HTTP);
    teardown();
}
END_TEST

START_TEST(the_removed_is_forgotten)
{
    setup();
    begin(&tcp);
    add("a");
    add("b");
    pass(20);
    ck_assert_uint_eq(probe_count, 2);
    (void)find_probe("b");
    fw_health_remove(health, "web", "a");
    ck_assert_uint_eq(canceled, 1);
    (void)find_probe("b");
    fw_health_status status;
    FWT_ERR(fw_health_get(health, "web", "a", &status), FW_ENOTFOUND);
    fw_health_remove(health, "web", "a");
    in_change = REMOVE;
    finish(0, FW_OK, "");
    ck_assert_uint_eq(changes, 1);
    FWT_ERR(fw_health_get(health, "web", "b", &status), FW_ENOTFOUND);
    pass(20000);
    ck_assert_uint_eq(started, 2);
    teardown();
}
END_TEST

START_TEST(it_is_closed_in_its_callback)
{
    setup();
    begin(&tcp);
    add("a");
    add("b");
    pass(20);
    in_change = CLOSE;
    finish(find_probe("a"), FW_OK, "");
    ck_assert_uint_eq(closed, 0);
    ck_assert_uint_eq(canceled, 1);
    fwi_loop_set_time(loop, ++now);
    ck_assert_uint_eq(closed, 1);
    ck_assert_uint_eq(closed_shared, 1);
    FWT_OK(fw_loop_close(loop));
}
END_TEST

static void count_status(const fw_health_status *status, void *arg)
{
    ck_assert_str_eq(status->instance->service, "web");
    (*(size_t *)arg)++;
}

START_TEST(it_follows_a_watcher)
{
    setup();
    begin(&tcp);
    const fw_instance *a;
    fw_instance from = {.service = "web", .id = "a", .net = "tcp", .addr = "127.0.0.1:1"};
    FWT_OK(fw_instance_create(&from, &a));
    fw_watcher_event event = {.type = FW_WATCHER_ADDED, .instance = a};
    FWT_OK(fw_health_follow(health, &event));
    FWT_OK(fw_health_follow(health, &(fw_watcher_event){.type = FW_WATCHER_SYNCED}));
    event.type = FW_WATCHER_HELD;
    FWT_OK(fw_health_follow(health, &event));
    size_t count = 0;
    fw_health_each(health, count_status, &count);
    ck_assert_uint_eq(count, 1);
    event.type = FW_WATCHER_REMOVED;
    FWT_OK(fw_health_follow(health, &event));
    fw_health_each(health, count_status, &count);
    ck_assert_uint_eq(count, 1);
    fw_health_close(health, on_closed, NULL);
    event.type = FW_WATCHER_ADDED;
    FWT_ERR(fw_health_follow(health, &event), FW_ECLOSED);
    fw_instance_release(a);
    teardown();
}
END_TEST

/* ---- what is asked ---- */

static const fw_health_rule web_rules[] = {
    {.service = "web",
     .check = {.type = FW_HEALTH_HTTP,
               .path = "/ready",
               .host = "web.example",
               .least_status = 200,
               .most_status = 399}},
    {.service = "game*", .check = {.type = FW_HEALTH_GRPC, .name = "game.Room"}},
};

static int ask(const fwi_health_rules *rules, const char *service, const char *metadata,
               fw_health_check *ret_check, const fw_instance **ret_instance)
{
    fw_instance_field field = {"health", metadata};
    fw_instance from = {.service = service,
                        .id = "a",
                        .net = "tcp",
                        .addr = "127.0.0.1:1",
                        .metadata = &field,
                        .metadata_count = metadata ? 1 : 0};
    FWT_OK(fw_instance_create(&from, ret_instance));
    return fwi_health_rules_find(rules, *ret_instance, ret_check);
}

START_TEST(rules_and_metadata_say_what_is_asked)
{
    static const struct {
        const char *service, *metadata;
        int err;
        fw_health_check wanted;
    } cases[] = {
        {"other", NULL, FW_OK, {.type = FW_HEALTH_TCP}},
        {"other", "off", FW_OK, {.type = FW_HEALTH_OFF}},
        {"other", "http", FW_OK, {FW_HEALTH_HTTP, "/", NULL, 200, 299, NULL}},
        {"other",
         "http:/healthz?x=1",
         FW_OK,
         {FW_HEALTH_HTTP, "/healthz?x=1", NULL, 200, 299, NULL}},
        {"other", "grpc", FW_OK, {.type = FW_HEALTH_GRPC, .name = ""}},
        {"other", "grpc:a.b", FW_OK, {.type = FW_HEALTH_GRPC, .name = "a.b"}},
        {"other", "ping", FW_OK, {.type = FW_HEALTH_PING, .name = "fairway.ping"}},
        {"other", "ping:are.you", FW_OK, {.type = FW_HEALTH_PING, .name = "are.you"}},
        {"web", NULL, FW_OK, {FW_HEALTH_HTTP, "/ready", "web.example", 200, 399, NULL}},
        {"web", "http", FW_OK, {FW_HEALTH_HTTP, "/ready", "web.example", 200, 399, NULL}},
        {"web", "http:/x", FW_OK, {FW_HEALTH_HTTP, "/x", "web.example", 200, 399, NULL}},
        {"web", "tcp", FW_OK, {.type = FW_HEALTH_TCP}},
        {"web2", NULL, FW_OK, {.type = FW_HEALTH_TCP}},
        {"game", NULL, FW_OK, {.type = FW_HEALTH_GRPC, .name = "game.Room"}},
        {"game7", "grpc", FW_OK, {.type = FW_HEALTH_GRPC, .name = "game.Room"}},
        {"other", "", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "https:/x", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "http:", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "http:x", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "http:/x y", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "http:/x\r\nHost: y", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "tcp:1", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "off:", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "grpc:", FW_EOPTION, {.type = FW_HEALTH_OFF}},
        {"other", "HTTP", FW_EOPTION, {.type = FW_HEALTH_OFF}},
    };
    fw_health_options options = {.check = {.type = FW_HEALTH_TCP},
                                 .rules = web_rules,
                                 .rule_count = sizeof web_rules / sizeof *web_rules};
    fwi_health_rules rules;
    FWT_OK(fwi_health_rules_init(&rules, &options));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fw_health_check check;
        const fw_instance *instance;
        int err = ask(&rules, cases[i].service, cases[i].metadata, &check, &instance);
        ck_assert_msg(err == cases[i].err && fwi_health_check_same(&check, &cases[i].wanted),
                      "%s with \"%s\": %s, %s %s", cases[i].service,
                      cases[i].metadata ? cases[i].metadata : "", fw_error_name(err),
                      fw_health_type_name(check.type), check.path ? check.path : "");
        fw_instance_release(instance);
    }
    rules.ignore_metadata = true;
    fw_health_check check;
    const fw_instance *instance;
    FWT_OK(ask(&rules, "other", "nonsense", &check, &instance));
    ck_assert_int_eq(check.type, FW_HEALTH_TCP);
    fw_instance_release(instance);
    fwi_health_rules_fini(&rules);
}
END_TEST

START_TEST(a_rule_that_cannot_be_is_refused)
{
    static const fw_health_check bad[] = {
        {.type = (fw_health_type)9},
        {.type = FW_HEALTH_TCP, .path = "/"},
        {.type = FW_HEALTH_TCP, .name = "x"},
        {.type = FW_HEALTH_HTTP, .name = "x"},
        {.type = FW_HEALTH_HTTP, .path = "x"},
        {.type = FW_HEALTH_HTTP, .host = "x\ny"},
        {.type = FW_HEALTH_HTTP, .most_status = 299},
        {.type = FW_HEALTH_HTTP, .least_status = 300, .most_status = 299},
        {.type = FW_HEALTH_HTTP, .least_status = 200, .most_status = 600},
        {.type = FW_HEALTH_PING, .least_status = 200, .most_status = 299},
    };
    setup();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fw_health *none = NULL;
        FWT_ERR(fw_health_new(loop, &(fw_health_options){.check = bad[i]}, &none), FW_EOPTION);
        fw_health_rule rule = {.service = "x", .check = bad[i]};
        fw_health_options options = {.rules = &rule, .rule_count = 1};
        FWT_ERR(fw_health_new(loop, &options, &none), FW_EOPTION);
    }
    fw_health_rule rule = {.service = NULL};
    fw_health *none = NULL;
    FWT_ERR(fw_health_new(loop, &(fw_health_options){.rules = &rule, .rule_count = 1}, &none),
            FW_EOPTION);
    FWT_OK(fw_loop_close(loop));
}
END_TEST

START_TEST(metadata_that_cannot_be_read_is_told)
{
    setup();
    begin(&tcp);
    add_with("a", "127.0.0.1:1", "htp:/x");
    ck_assert_int_eq(status_of("a").reason, FW_EOPTION);
    ck_assert_str_eq(status_of("a").detail, "its metadata \"health\" cannot be read");
    ck_assert_int_eq(status_of("a").state, FW_HEALTH_UNKNOWN);
    pass(20000);
    ck_assert_uint_eq(started, 0);
    add_with("a", "127.0.0.1:1", "off");
    ck_assert_int_eq(status_of("a").reason, FW_OK);
    add_with("a", "127.0.0.1:1", "grpc:x.Y");
    probe_ends(FW_OK, "");
    ck_assert_int_eq(last_check.type, FW_HEALTH_GRPC);
    ck_assert_str_eq(fw_health_type_name(last.type), "grpc");
    ck_assert_str_eq(fw_health_state_name(last.state), "healthy");
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("health");
    TCase *tcase = tcase_create("health");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, the_state_follows_the_answers);
    tcase_add_test(tcase, silence_ends_at_the_timeout);
    tcase_add_test(tcase, a_late_loop_looks_once_more);
    tcase_add_test(tcase, what_cannot_be_asked_stays_as_it_was);
    tcase_add_test(tcase, a_driver_that_does_not_open_is_tried_again);
    tcase_add_test(tcase, a_thousand_are_spread_over_the_interval);
    tcase_add_test(tcase, only_so_many_are_under_way);
    tcase_add_test(tcase, another_address_begins_anew);
    tcase_add_test(tcase, the_removed_is_forgotten);
    tcase_add_test(tcase, it_is_closed_in_its_callback);
    tcase_add_test(tcase, it_follows_a_watcher);
    tcase_add_test(tcase, rules_and_metadata_say_what_is_asked);
    tcase_add_test(tcase, a_rule_that_cannot_be_is_refused);
    tcase_add_test(tcase, metadata_that_cannot_be_read_is_told);
    return fwt_main(suite);
}
