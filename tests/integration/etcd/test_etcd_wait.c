/* The store that is driven by the thread that waits: no thread of ours, and nothing hangs. */
#include "etcdt.h"

#include <dirent.h>
#include <fairway/wait.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#define IN_FLIGHT 64
#define WRITES    2000

static fw_wait_kv *open_at(int port, uint32_t timeout_ms)
{
    fw_wait_kv *kv;
    char url[100];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/p", port);
    fw_kv_options options = {.timeout_ms = timeout_ms ? timeout_ms : ETCDT_PATIENT_MS};
    FWT_OK(fw_wait_kv_open(url, &options, &kv));
    return kv;
}

static size_t threads(void)
{
    size_t count = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (readdir(tasks))
        count++;
    closedir(tasks);
    return count;
}

START_TEST(calls_return_what_was_done)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *kv = open_at(etcd.port, 0);
    const fw_kv_result *result = fw_wait_kv_put(kv, "a/b", storet_text("1"), NULL);
    FWT_OK(result->status);
    int64_t revision = result->revision;
    result = fw_wait_kv_get(kv, "a/b");
    FWT_OK(result->status);
    ck_assert_uint_eq(result->count, 1);
    ck_assert_int_eq(result->pairs[0].revision, revision);
    FWT_ERR(fw_wait_kv_get(kv, "nothing")->status, FW_ENOTFOUND);
    FWT_ERR(fw_wait_kv_put(kv, "", storet_text("1"), NULL)->status, FW_EKEY);
    FWT_OK(fw_wait_kv_atomic_put(kv, "a/b", storet_text("2"), revision, NULL)->status);
    FWT_ERR(fw_wait_kv_atomic_put(kv, "a/b", storet_text("3"), revision, NULL)->status,
            FW_EMODIFIED);
    fw_kv_txn_op get = {.type = FW_KV_TXN_GET, .key = "a/b"};
    result = fw_wait_kv_txn(kv, &(fw_kv_txn){.then = &get, .then_count = 1});
    FWT_OK(result->status);
    ck_assert_uint_eq(result->count, 1);
    ck_assert_uint_eq(fw_wait_kv_list(kv, "a")->count, 1);
    ck_assert_uint_eq(fw_wait_kv_delete_tree(kv, "a")->count, 1);
    fw_wait_kv_close(kv);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(no_thread_is_started_for_a_handle)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *first = open_at(etcd.port, 0); /* gRPC's own threads come with it */
    FWT_OK(fw_wait_kv_put(first, "k", storet_text("1"), NULL)->status);
    size_t before = threads();
    fw_wait_kv *more[8];
    for (size_t i = 0; i < 8; i++) {
        more[i] = open_at(etcd.port, 0);
        FWT_OK(fw_wait_kv_put(more[i], "k", storet_text("1"), NULL)->status);
    }
    ck_assert_uint_lt(threads(), before + 8);
    for (size_t i = 0; i < 8; i++)
        fw_wait_kv_close(more[i]);
    fw_wait_kv_close(first);
    fwt_etcd_kill(&etcd);
}
END_TEST

static struct {
    fw_kv *kv;
    size_t begun, ended;
    bool done;
} many;

static void on_written(const fw_kv_result *result, void *arg);

static void write_one(void)
{
    char key[20];
    snprintf(key, sizeof key, "k%zu", many.begun++);
    FWT_OK(fw_kv_put(many.kv, key, storet_text("v"), NULL, on_written, NULL));
}

static void on_written(const fw_kv_result *result, void *arg)
{
    (void)arg;
    FWT_OK(result->status);
    if (++many.ended == WRITES)
        many.done = true;
    else if (many.begun < WRITES)
        write_one();
}

START_TEST(many_may_be_in_flight)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *kv = open_at(etcd.port, 20000);
    many.kv = fw_wait_kv_async(kv);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        write_one();
    FWT_OK(fw_wait_kv_until(kv, &many.done, 20000));
    ck_assert_uint_eq(fw_wait_kv_list(kv, "")->count, WRITES);
    fw_wait_kv_close(kv);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_said_in_time)
{
    int port = fwt_free_port();
    fw_wait_kv *kv = open_at(port, 1000);
    uint64_t start_ms = storet_now_ms();
    const fw_kv_result *result = fw_wait_kv_put(kv, "k", storet_text("v"), NULL);
    FWT_ERR(result->status, FW_EUNREACHABLE);
    ck_assert_msg(strstr(result->detail, "onnection refused") != NULL, "%s", result->detail);
    ck_assert_uint_lt(storet_now_ms() - start_ms, 15000);
    fw_wait_kv_close(kv);
    ck_assert_uint_lt(storet_now_ms() - start_ms, 15000);
}
END_TEST

START_TEST(a_server_that_hangs_is_said_in_time)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *kv = open_at(etcd.port, 1000);
    FWT_OK(fw_wait_kv_put(kv, "k", storet_text("1"), NULL)->status);
    fw_wait_watch *watch;
    FWT_OK(fw_wait_watch_key(kv, "k", &watch));
    ck_assert_int_eq(fw_wait_watch_next(watch, 5000)->type, FW_KV_PUT);
    fwt_proc_signal(etcd.proc, SIGSTOP);
    uint64_t start_ms = storet_now_ms();
    FWT_ERR(fw_wait_kv_put(kv, "k", storet_text("2"), NULL)->status, FW_EUNKNOWN);
    FWT_ERR(fw_wait_kv_get(kv, "k")->status, FW_EDEADLINE);
    fw_wait_kv_close(kv); /* with the watch open */
    ck_assert_uint_lt(storet_now_ms() - start_ms, 15000);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(closing_does_not_wait_for_anything)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    int ports[] = {etcd.port, fwt_free_port()};
    for (int i = 0; i < 20; i++) {
        fw_wait_kv *kv = open_at(ports[i % 2], 0);
        storet_answer answer = {.done = false};
        FWT_OK(
            fw_kv_put(fw_wait_kv_async(kv), "k", storet_text("v"), NULL, storet_on_done, &answer));
        fw_wait_kv_close(kv);
        ck_assert(answer.done);
        free(answer.text);
    }
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_watch_is_read_when_asked)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *kv = open_at(etcd.port, 0), *writer = open_at(etcd.port, 0);
    fw_wait_watch *watch;
    FWT_OK(fw_wait_watch_tree(kv, "", &watch));
    ck_assert_int_eq(fw_wait_watch_next(watch, 5000)->type, FW_KV_END_OF_SNAPSHOT);
    ck_assert_ptr_null(fw_wait_watch_next(watch, 50));
    char key[20];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FWT_OK(fw_wait_kv_put(writer, key, storet_text("v"), NULL)->status);
    }
    for (int i = 0; i < 100; i++) {
        const fw_kv_event *event = fw_wait_watch_next(watch, 5000);
        snprintf(key, sizeof key, "k%d", i);
        ck_assert_ptr_nonnull(event);
        ck_assert_int_eq(event->type, FW_KV_PUT);
        ck_assert_str_eq(event->pair.key, key);
    }
    fw_wait_watch_close(watch);
    fw_wait_kv_close(writer);
    fw_wait_kv_close(kv);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_restarted_server_is_found_again)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *kv = open_at(etcd.port, 5000);
    FWT_OK(fw_wait_kv_put(kv, "k", storet_text("1"), NULL)->status);
    fwt_etcd_kill(&etcd);
    fwt_etcd_restart(&etcd);
    /* Nobody has looked at the connection since. */
    uint64_t start_ms = storet_now_ms();
    while (fw_wait_kv_put(kv, "k", storet_text("2"), NULL)->status)
        ck_assert_uint_lt(storet_now_ms() - start_ms, 20000);
    fw_wait_kv_close(kv);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* Timeouts count from the call, though the loop's clock stood still since the last one. */
START_TEST(a_pause_of_the_program_does_not_count)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_wait_kv *kv = open_at(etcd.port, 1000);
    fw_wait_watch *watch;
    FWT_OK(fw_wait_kv_put(kv, "k", storet_text("1"), NULL)->status);
    poll(NULL, 0, 2000);
    FWT_OK(fw_wait_kv_put(kv, "k", storet_text("2"), NULL)->status);
    poll(NULL, 0, 2000);
    FWT_OK(fw_wait_watch_key(kv, "k", &watch));
    ck_assert_int_eq(fw_wait_watch_next(watch, 5000)->type, FW_KV_PUT);
    fw_wait_kv_close(kv);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* Each thread has its handle. */
static void *put_many(void *arg)
{
    fw_wait_kv *kv = open_at(*(int *)arg, 20000);
    for (int i = 0; i < 200; i++)
        FWT_OK(fw_wait_kv_put(kv, "shared", storet_text("v"), NULL)->status);
    fw_wait_kv_close(kv);
    return NULL;
}

START_TEST(threads_with_their_own_handles_do_not_meet)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    pthread_t others[4];
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&others[i], NULL, put_many, &etcd.port), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(others[i], NULL);
    fwt_etcd_kill(&etcd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd for programs that wait");
    TCase *tcase = fwt_tcase(suite, "wait", 120);
    tcase_add_test(tcase, calls_return_what_was_done);
    tcase_add_test(tcase, no_thread_is_started_for_a_handle);
    tcase_add_test(tcase, many_may_be_in_flight);
    tcase_add_test(tcase, a_server_that_is_not_there_is_said_in_time);
    tcase_add_test(tcase, a_server_that_hangs_is_said_in_time);
    tcase_add_test(tcase, closing_does_not_wait_for_anything);
    tcase_add_test(tcase, a_watch_is_read_when_asked);
    tcase_add_test(tcase, a_restarted_server_is_found_again);
    tcase_add_test(tcase, a_pause_of_the_program_does_not_count);
    tcase_add_test(tcase, threads_with_their_own_handles_do_not_meet);
    return fwt_main(suite);
}
