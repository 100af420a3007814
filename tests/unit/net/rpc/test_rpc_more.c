/* What the call engine does beyond a call and its answer, and what it makes of odd peers. */
#include "base/loop.h"
#include "fwt.h"

#include <fairway/rpc.h>
#include <fairway/transport.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PATIENCE_MS 20000

static fw_rpc_router *router;
static fw_rpc_server *server;
static fw_rpc_topics *topics;
static fw_rpc *clients[4], *served[4];
static size_t client_count, served_count, gone, server_gone, answers, canceled, runs;
static fw_rpc_request *kept;
static fw_rpc_result last;
static char last_body[256], last_text[256], trace[256];

static void on_answer(const fw_rpc_result *result, void *arg)
{
    answers++;
    last = *result;
    snprintf(last_body, sizeof last_body, "%.*s", (int)result->body.len,
             (const char *)result->body.data);
    snprintf(last_text, sizeof last_text, "%s", result->text);
    if (arg)
        ++*(size_t *)arg;
}

static void on_echo(fw_rpc_request *request, void *arg)
{
    (void)arg;
    runs++;
    fw_rpc_reply(request, fw_rpc_request_body(request));
}

static void on_cancel(fw_rpc_request *request, void *arg)
{
    (void)arg;
    canceled++;
    ck_assert(fw_rpc_request_is_canceled(request));
}

static void on_later(fw_rpc_request *request, void *arg)
{
    (void)arg;
    FWT_ERR(fw_rpc_request_on_cancel(request, on_cancel, NULL), UV_EINVAL);
    kept = fw_rpc_request_keep(request);
    FWT_OK(fw_rpc_request_on_cancel(kept, on_cancel, NULL));
}

static void on_remaining(fw_rpc_request *request, void *arg)
{
    (void)arg;
    uint64_t ms = fw_rpc_request_remaining_ms(request);
    bool is_told = ms > 0 && ms <= 12345;
    fw_rpc_reply(request, (fw_slice){is_told ? "told" : ms == UINT64_MAX ? "none" : "?", 4});
}

static void on_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)reason;
    (void)arg;
    gone++;
    for (size_t i = 0; i < 4; i++) {
        clients[i] = clients[i] == rpc ? NULL : clients[i];
        served[i] = served[i] == rpc ? NULL : served[i];
    }
}

static void on_connection(fw_rpc_server *from, fw_rpc *rpc, void *arg)
{
    (void)from;
    (void)arg;
    served[served_count++] = rpc;
}

static void on_server_closed(fw_rpc_server *from, void *arg)
{
    (void)from;
    (void)arg;
    server_gone++;
}

static fw_rpc_options client_options = {.on_closed = on_closed};
static fw_rpc_options server_options = {.on_closed = on_closed};

static fw_rpc *add_client(void)
{
    fw_rpc *rpc;
    FWT_OK(fw_rpc_dial(fwt_loop, fw_rpc_server_url(server), &client_options, &rpc));
    clients[client_count++] = rpc;
    return rpc;
}

static void start_on(const char *url)
{
    FWT_OK(fw_rpc_router_create(&router));
    FWT_OK(fw_rpc_topics_create(&topics));
    FWT_OK(fw_rpc_router_add(router, "echo", on_echo, NULL));
    FWT_OK(fw_rpc_router_add(router, "later", on_later, NULL));
    FWT_OK(fw_rpc_router_add(router, "remaining", on_remaining, NULL));
    FWT_OK(fw_rpc_router_add_number(router, 7, on_echo, NULL));
    FWT_OK(fw_rpc_router_add_number(router, 8, on_later, NULL));
    server_options.router = router;
    server_options.topics = topics;
    fw_rpc_server_options options = {.connection = server_options,
                                     .on_connection = on_connection,
                                     .on_closed = on_server_closed};
    FWT_OK(fw_rpc_server_new(fwt_loop, url, &options, &server));
}

static void start(void)
{
    start_on("tcp://127.0.0.1:0");
    add_client();
}

static void stop(void)
{
    for (size_t i = 0; i < client_count; i++)
        if (clients[i])
            fw_rpc_close(clients[i]);
    fw_rpc_server_close(server);
    fwt_run_count(&server_gone, 1, PATIENCE_MS);
    for (unsigned ms = 0; (clients[0] || clients[1] || clients[2] || clients[3]) && ms < 5000; ms++)
        fwt_run_for(1);
    fw_rpc_router_destroy(router);
    fw_rpc_topics_destroy(topics);
}

static void wait_kept(void)
{
    for (unsigned ms = 0; !kept && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    ck_assert_ptr_nonnull(kept);
}

static void call(const char *method, const char *body)
{
    fw_rpc_message message = {.method = method, .body = {body, strlen(body)}};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, answers + 1, PATIENCE_MS);
}

/* ---- cancellation and deadlines ---- */

START_TEST(a_cancellation_reaches_the_handler)
{
    start();
    uint64_t number;
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, &number));
    wait_kept();
    ck_assert(!fw_rpc_request_is_canceled(kept));
    FWT_OK(fw_rpc_cancel(clients[0], number));
    fwt_run_count(&canceled, 1, PATIENCE_MS);
    FWT_ERR(fw_rpc_reply(kept, (fw_slice){"x", 1}), FW_ECANCELED);
    ck_assert_uint_eq(answers, 1);
    call("echo", "goes on");
    stop();
    ck_assert_uint_eq(canceled, 1);
}
END_TEST

START_TEST(a_lost_connection_cancels_its_requests)
{
    start();
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    wait_kept();
    fw_rpc_close(clients[0]);
    fwt_run_count(&canceled, 1, PATIENCE_MS);
    ck_assert_ptr_null(fw_rpc_request_peer(kept));
    FWT_ERR(fw_rpc_fail(kept, 1, "x"), FW_ECLOSED);
    stop();
}
END_TEST

START_TEST(deadlines_travel_when_they_are_asked_to)
{
    start();
    fw_rpc_message message = {.method = "remaining", .timeout_ms = 12345};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, 1, PATIENCE_MS);
    ck_assert_str_eq(last_body, "none");
    client_options.tell_deadlines = true;
    fw_rpc *teller = add_client();
    FWT_OK(fw_rpc_call(teller, &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, 2, PATIENCE_MS);
    ck_assert_str_eq(last_body, "told");
    /* A request that nobody waits for any more is not run; one in work is canceled. */
    fw_rpc_field field = {{FW_RPC_TIMEOUT_FIELD, sizeof FW_RPC_TIMEOUT_FIELD - 1}, {"0", 1}};
    message = (fw_rpc_message){.method = "echo", .metadata = &field, .metadata_count = 1};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    fwt_run_count(&answers, 3, PATIENCE_MS);
    FWT_ERR(last.status, FW_EREMOTE);
    ck_assert_int_eq(last.code, FW_RPC_CODE_TIMEOUT);
    ck_assert_uint_eq(runs, 0);
    message = (fw_rpc_message){.method = "later", .timeout_ms = 50};
    FWT_OK(fw_rpc_call(teller, &message, on_answer, NULL, NULL));
    wait_kept();
    fwt_run_count(&canceled, 1, PATIENCE_MS);
    FWT_ERR(fw_rpc_reply(kept, (fw_slice){"x", 1}), FW_ECANCELED);
    fwt_run_count(&answers, 4, PATIENCE_MS);
    FWT_ERR(last.status, FW_EDEADLINE);
    stop();
}
END_TEST

START_TEST(too_many_kept_requests_are_refused)
{
    server_options.max_requests = 1;
    start();
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    wait_kept();
    call("later", "");
    FWT_ERR(last.status, FW_EREMOTE);
    ck_assert_int_eq(last.code, FW_RPC_CODE_BUSY);
    FWT_OK(fw_rpc_reply(kept, (fw_slice){"", 0}));
    fwt_run_count(&answers, 2, PATIENCE_MS);
    stop();
}
END_TEST

/* ---- steps and interceptors ---- */

static char step_a[] = "(a", step_b[] = "(b", letter_a[] = "a", letter_b[] = "b";

static void on_step(fw_rpc_request *request, void *arg)
{
    strcat(trace, arg);
    if (fw_rpc_request_body(request).len == 6)
        fw_rpc_fail(request, 403, "not you");
    else
        fw_rpc_request_next(request);
    strcat(trace, ")");
}

static fw_rpc_request *held;

static void on_slow_step(fw_rpc_request *request, void *arg)
{
    (void)arg;
    strcat(trace, "slow");
    held = fw_rpc_request_keep(request);
}

START_TEST(steps_run_before_handlers_and_may_answer)
{
    start();
    FWT_OK(fw_rpc_router_use(router, on_step, step_a));
    FWT_OK(fw_rpc_router_use(router, on_step, step_b));
    call("echo", "hi");
    FWT_OK(last.status);
    ck_assert_str_eq(trace, "(a(b))");
    call("echo", "secret");
    ck_assert_int_eq(last.code, 403);
    ck_assert_str_eq(last_text, "not you");
    ck_assert_str_eq(trace, "(a(b))(a)");
    ck_assert_uint_eq(runs, 1);
    *trace = 0;
    FWT_OK(fw_rpc_router_use(router, on_slow_step, NULL));
    fw_rpc_message message = {.method = "echo", .body = {"late", 4}};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    for (unsigned ms = 0; !held && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    ck_assert_uint_eq(runs, 1);
    fw_rpc_request_next(held);
    fwt_run_count(&answers, 3, PATIENCE_MS);
    ck_assert_str_eq(last_body, "late");
    int err = FW_OK;
    for (int i = 0; i <= FW_RPC_MAX_INTERCEPTORS && !err; i++)
        err = fw_rpc_router_use(router, on_step, step_a);
    FWT_ERR(err, FW_ELIMIT);
    stop();
}
END_TEST

static fw_rpc_field token = {{"key", 3}, {"token", 5}};

static int before(fw_rpc *rpc, fw_rpc_message *message, void **ret_state, void *arg)
{
    (void)rpc;
    strcat(trace, arg);
    *ret_state = arg;
    if (message->body.len == 6)
        return FW_EDENIED;
    message->metadata = &token;
    message->metadata_count = 1;
    return FW_OK;
}

static void after(fw_rpc *rpc, const fw_rpc_result *result, void *state, void *arg)
{
    (void)rpc;
    ck_assert_ptr_eq(state, arg);
    strcat(trace, result->status ? "!" : state);
}

static void on_key(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_rpc_reply(request, fw_rpc_request_metadata(request, "key"));
}

START_TEST(interceptors_stand_around_calls)
{
    static const fw_rpc_interceptor interceptors[] = {
        {.before = before, .after = after, .arg = letter_a},
        {.before = before, .after = after, .arg = letter_b}};
    client_options.interceptors = interceptors;
    client_options.interceptor_count = 2;
    start();
    FWT_OK(fw_rpc_router_add(router, "key", on_key, NULL));
    call("key", "");
    ck_assert_str_eq(last_body, "token");
    ck_assert_str_eq(trace, "abba");
    fw_rpc_message message = {.method = "key", .body = {"secret", 6}};
    FWT_ERR(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL), FW_EDENIED);
    ck_assert_uint_eq(fw_rpc_in_flight(clients[0]), 0);
    message.body.len = 0;
    FWT_OK(fw_rpc_notify(clients[0], &message));
    ck_assert_str_eq(trace, "abbaaabba");
    stop();
}
END_TEST

/* ---- pings ---- */

START_TEST(pings_come_back)
{
    static const char *const protocols[] = {"walle",   "fly-v1", "fly-0.4",
                                            "fly-0.3", "fly-v0", "fly-seed"};
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        client_options.protocol = server_options.protocol = protocols[i];
        client_count = served_count = answers = server_gone = 0;
        start();
        FWT_OK(
            fw_rpc_ping(clients[0], (fw_slice){"are you there", 13}, PATIENCE_MS, on_answer, NULL));
        ck_assert_uint_eq(fw_rpc_in_flight(clients[0]), 1);
        fwt_run_count(&answers, 1, PATIENCE_MS);
        FWT_OK(last.status);
        ck_assert_str_eq(last_body, "are you there");
        ck_assert_str_eq(fw_rpc_protocol_name(clients[0]), protocols[i]);
        stop();
    }
}
END_TEST

/* ---- other threads ---- */

static void *answer_there(void *arg)
{
    (void)arg;
    ck_assert(!fw_rpc_request_is_canceled(kept));
    FWT_OK(fw_rpc_post_reply(kept, (fw_slice){"from there", 10}));
    return NULL;
}

static void *fail_there(void *arg)
{
    (void)arg;
    FWT_OK(fw_rpc_post_fail(kept, 77, "there"));
    return NULL;
}

START_TEST(other_threads_answer)
{
    start();
    fw_rpc_message message = {.method = "later"};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        kept = NULL;
        FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
        wait_kept();
        ck_assert_int_eq(pthread_create(&thread, NULL, i ? fail_there : answer_there, NULL), 0);
        fwt_run_count(&answers, (size_t)i + 1, PATIENCE_MS);
        pthread_join(thread, NULL);
    }
    ck_assert_int_eq(last.code, 77);
    ck_assert_str_eq(last_text, "there");
    stop();
}
END_TEST

START_TEST(an_answer_from_a_thread_survives_its_connection)
{
    start();
    pthread_t thread;
    fw_rpc_message message = {.method = "later"};
    FWT_OK(fw_rpc_call(clients[0], &message, on_answer, NULL, NULL));
    wait_kept();
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_there, NULL), 0);
    pthread_join(thread, NULL);
    fw_rpc_close(clients[0]);
    stop(); /* the answer was posted before; the loop fixture sees if it is left behind */
}
END_TEST

/* ---- topics ---- */

static size_t received[4];

static void on_message(fw_rpc *rpc, fw_slice topic, fw_slice body, void *arg)
{
    (void)rpc;
    ck_assert_uint_eq(topic.len, 4);
    ck_assert_mem_eq(topic.data, "news", 4);
    ck_assert_mem_eq(body.data, "hello", 5);
    ++*(size_t *)arg;
}

static void subscribe(size_t i, const char *group)
{
    fw_rpc_subscription wanted = {
        .topic = "news", .group = group, .on_message = on_message, .arg = &received[i]};
    FWT_OK(fw_rpc_subscribe(clients[i], &wanted, on_answer, NULL));
    FWT_ERR(fw_rpc_subscribe(clients[i], &wanted, on_answer, NULL), FW_EEXISTS);
    fwt_run_count(&answers, answers + 1, PATIENCE_MS);
    FWT_OK(last.status);
}

static size_t publish(fw_rpc_audience audience)
{
    size_t count;
    FWT_OK(fw_rpc_topics_publish(topics, "news", (fw_slice){"hello", 5}, audience, &count));
    return count;
}

START_TEST(publications_go_to_groups_or_to_all)
{
    start();
    for (int i = 1; i < 4; i++)
        add_client();
    ck_assert_uint_eq(publish(FW_RPC_ALL), 0);
    subscribe(0, NULL);
    subscribe(1, "workers");
    subscribe(2, "workers");
    subscribe(3, "others");
    ck_assert_uint_eq(publish(FW_RPC_ALL), 4);
    for (int i = 0; i < 10; i++)
        ck_assert_uint_eq(publish(FW_RPC_ONE_OF_EACH_GROUP), 3);
    fwt_run_count(&received[0], 11, PATIENCE_MS);
    fwt_run_count(&received[3], 11, PATIENCE_MS);
    fwt_run_count(&received[1], 6, PATIENCE_MS); /* in turn */
    fwt_run_count(&received[2], 6, PATIENCE_MS);
    FWT_OK(fw_rpc_unsubscribe(clients[0], "news"));
    FWT_ERR(fw_rpc_unsubscribe(clients[0], "news"), FW_ENOTFOUND);
    fw_rpc_close(clients[1]);
    for (unsigned ms = 0; publish(FW_RPC_ONE_OF_EACH_GROUP) != 2 && ms < PATIENCE_MS; ms++)
        fwt_run_for(1);
    size_t before_all = received[0];
    ck_assert_uint_eq(publish(FW_RPC_ALL), 2);
    ck_assert_uint_eq(received[0], before_all);
    FWT_ERR(fw_rpc_topics_publish(topics, "a\nb", (fw_slice){"", 0}, FW_RPC_ALL, NULL), FW_EOPTION);
    FWT_ERR(fw_rpc_topics_publish(topics, "", (fw_slice){"", 0}, FW_RPC_ALL, NULL), FW_EOPTION);
    stop();
}
END_TEST

START_TEST(a_subscription_that_is_refused_is_none)
{
    start();
    fw_rpc_subscription wanted = {.topic = "news", .on_message = on_message, .arg = &received[0]};
    while (!served_count)
        fwt_run_for(1);
    /* The client has no topics. */
    FWT_OK(fw_rpc_subscribe(served[0], &wanted, on_answer, NULL));
    fwt_run_count(&answers, 1, PATIENCE_MS);
    ck_assert_int_eq(last.code, FW_RPC_CODE_NO_METHOD);
    FWT_ERR(fw_rpc_unsubscribe(served[0], "news"), FW_ENOTFOUND);
    /* One that goes away before the answer. */
    FWT_OK(fw_rpc_subscribe(clients[0], &wanted, on_answer, NULL));
    FWT_OK(fw_rpc_unsubscribe(clients[0], "news"));
    fwt_run_count(&answers, 2, PATIENCE_MS);
    FWT_OK(fw_rpc_subscribe(clients[0], &wanted, NULL, NULL));
    stop();
}
END_TEST

START_TEST(steps_stand_before_subscriptions)
{
    start();
    FWT_OK(fw_rpc_router_use(router, on_step, step_a)); /* refuses what has six bytes */
    fw_rpc_subscription wanted = {.topic = "secret", .on_message = on_message, .arg = &received[0]};
    FWT_OK(fw_rpc_subscribe(clients[0], &wanted, on_answer, NULL));
    fwt_run_count(&answers, 1, PATIENCE_MS);
    ck_assert_int_eq(last.code, 403);
    size_t count;
    FWT_OK(fw_rpc_topics_publish(topics, "secret", (fw_slice){"", 0}, FW_RPC_ALL, &count));
    ck_assert_uint_eq(count, 0);
    subscribe(0, NULL);
    ck_assert_uint_eq(publish(FW_RPC_ALL), 1);
    fwt_run_count(&received[0], 1, PATIENCE_MS);
    stop();
}
END_TEST

/* ---- sequences ---- */

START_TEST(short_sequences_come_round_past_calls_in_flight)
{
    client_options.protocol = server_options.protocol = "fly-v0";
    client_options.call_timeout_ms = 60000;
    start();
    static size_t ended[255];
    uint64_t first;
    fw_rpc_message later = {.number = 8}, echo = {.number = 7};
    FWT_OK(fw_rpc_call(clients[0], &later, on_answer, &ended[0], &first));
    wait_kept();
    for (size_t i = 1; i <= 600; i++) {
        FWT_OK(fw_rpc_call(clients[0], &echo, on_answer, NULL, NULL));
        fwt_run_count(&answers, i, PATIENCE_MS);
    }
    ck_assert_uint_eq(ended[0], 0);
    FWT_OK(fw_rpc_reply(kept, (fw_slice){"", 0}));
    fwt_run_count(&ended[0], 1, PATIENCE_MS);
    FWT_ERR(fw_rpc_cancel(clients[0], first), FW_ENOTFOUND);
    /* All numbers in use: the next call is refused, and all of them end. */
    for (size_t i = 0; i < 255; i++)
        FWT_OK(fw_rpc_call(clients[0], &echo, on_answer, &ended[i], NULL));
    FWT_ERR(fw_rpc_call(clients[0], &echo, on_answer, NULL, NULL), FW_ELIMIT);
    FWT_ERR(fw_rpc_cancel(clients[0], first), FW_ENOTFOUND);
    fwt_run_count(&answers, 601 + 255, PATIENCE_MS);
    for (size_t i = 0; i < 255; i++)
        ck_assert_uint_eq(ended[i], 1 + !i);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rpc_more");
    TCase *tcase = fwt_tcase(suite, "rpc", 60);
    tcase_add_test(tcase, a_cancellation_reaches_the_handler);
    tcase_add_test(tcase, a_lost_connection_cancels_its_requests);
    tcase_add_test(tcase, deadlines_travel_when_they_are_asked_to);
    tcase_add_test(tcase, too_many_kept_requests_are_refused);
    tcase_add_test(tcase, steps_run_before_handlers_and_may_answer);
    tcase_add_test(tcase, interceptors_stand_around_calls);
    tcase_add_test(tcase, pings_come_back);
    tcase_add_test(tcase, other_threads_answer);
    tcase_add_test(tcase, an_answer_from_a_thread_survives_its_connection);
    tcase_add_test(tcase, publications_go_to_groups_or_to_all);
    tcase_add_test(tcase, a_subscription_that_is_refused_is_none);
    tcase_add_test(tcase, steps_stand_before_subscriptions);
    tcase_add_test(tcase, short_sequences_come_round_past_calls_in_flight);
    return fwt_main(suite);
}
