/* Servers that die, hang, forget, or are not there; networks that do; and closing in the middle. */
#include "zkt.h"

#include <signal.h>
#include <stdlib.h>

#define TIMEOUT_MS 5000  /* of operations; some must succeed on a slow machine */
#define WITHIN_MS  15000 /* one of them, or an end */

static fwt_proxy *proxy;

static void setup(void)
{
    proxy = fwt_proxy_start(zkt_server.port);
}

static void teardown(void)
{
    fwt_proxy_end(proxy);
}

/* Not done: which of the two it is, is a matter of a moment when the machine is busy. */
static void assert_not_reached(const kvt_answer *answer)
{
    ck_assert_msg(answer->status == FW_EUNREACHABLE || answer->status == FW_EDEADLINE, "%s",
                  fw_error_name(answer->status));
}

static fw_kv *open_direct(const char *path)
{
    return zkt_open(zkt_server.port, path, 15000);
}

static fw_kv *open_through_proxy(const char *path)
{
    return zkt_open(fwt_proxy_port(proxy), path, TIMEOUT_MS);
}

START_TEST(watches_and_leases_live_through_a_restart)
{
    fwt_zookeeper server;
    fwt_zookeeper_start(&server);
    fw_kv *kv = zkt_open(server.port, "restart", 15000);
    fw_kv *hasty = zkt_open(server.port, "restart", 1000);
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(kv, 30000, &lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_assert_status(kvt_put_with(kv, "d/leased", kvt_text("1"), &options), FW_OK);
    kvt_must_put(kv, "d/plain", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "d", &watch);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    fwt_zookeeper_kill(&server);
    zkt_until(&watch, FW_KV_STALE);
    uint64_t start = zkt_now_ms();
    assert_not_reached(kvt_get(hasty, "d/plain"));
    kvt_assert_status(kvt_put(hasty, "d/plain", "2"), FW_EUNREACHABLE);
    ck_assert_uint_lt(zkt_now_ms() - start, WITHIN_MS);
    fwt_zookeeper_restart(&server);
    zkt_until(&watch, FW_KV_LIVE);
    kvt_must_put(kv, "d/plain", "3");
    kvt_expect(&watch, FW_KV_PUT, "d/plain", "3"); /* and no RESYNC before it */
    ck_assert(!lease.lost);
    ck_assert_str_eq(kvt_listing(kv, "d"), "d/leased=1 d/plain=3");
    /* The lease's session is back, too. */
    kvt_assert_status(kvt_put_with(kv, "d/leased", kvt_text("2"), &options), FW_OK);
    kvt_expect(&watch, FW_KV_PUT, "d/leased", "2");
    kvt_lease_close(&lease);
    kvt_expect(&watch, FW_KV_DELETE, "d/leased", NULL);
    kvt_watch_close(&watch);
    zkt_close(hasty, WITHIN_MS);
    zkt_close(kv, WITHIN_MS);
    fwt_zookeeper_kill(&server);
}
END_TEST

START_TEST(what_changed_while_it_was_cut_off_a_watch_is_told)
{
    fw_kv *near = open_direct("cut"), *far = open_through_proxy("cut");
    for (int i = 0; i < 5; i++) {
        char key[16];
        snprintf(key, sizeof key, "k/%d", i);
        kvt_must_put(near, key, "old");
    }
    kvt_watch tree = {.watch = NULL}, one = {.watch = NULL}, later = {.watch = NULL};
    kvt_watch_tree(far, "k", &tree);
    kvt_watch_key(far, "k/1", &one);
    kvt_watch_key(far, "not/yet", &later);
    zkt_until(&tree, FW_KV_END_OF_SNAPSHOT);
    zkt_until(&one, FW_KV_END_OF_SNAPSHOT);
    zkt_until(&later, FW_KV_END_OF_SNAPSHOT);
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, true);
    zkt_until(&tree, FW_KV_STALE);
    kvt_must_put(near, "k/0", "new");
    kvt_assert_status(kvt_delete(near, "k/1"), FW_OK);
    kvt_must_put(near, "k/5/deep", "made");
    kvt_must_put(near, "not/yet", "made");
    fwt_proxy_pass(proxy);
    kvt_expect(&tree, FW_KV_PUT, "k/0", "new");
    kvt_expect(&tree, FW_KV_DELETE, "k/1", NULL);
    kvt_expect(&tree, FW_KV_PUT, "k/5/deep", "made");
    kvt_expect(&one, FW_KV_DELETE, "k/1", NULL);
    kvt_expect(&later, FW_KV_PUT, "not/yet", "made");
    kvt_watch *const all[] = {&tree, &one, &later};
    for (size_t i = 0; i < 3; i++) {
        while (all[i]->events[all[i]->count - 1].type != FW_KV_LIVE)
            fwt_run_count(&all[i]->count, all[i]->count + 1, KVT_WAIT_MS);
        kvt_watch_close(all[i]);
    }
    zkt_close(far, WITHIN_MS);
    zkt_close(near, WITHIN_MS);
}
END_TEST

START_TEST(a_watch_whose_session_expired_is_resynced)
{
    fw_kv *near = open_direct("expired"), *far = open_through_proxy("expired");
    kvt_must_put(near, "k/stays", "1");
    kvt_must_put(near, "k/goes", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(far, "k", &watch);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    zkt_until(&watch, FW_KV_STALE);
    kvt_assert_status(kvt_delete(near, "k/goes"), FW_OK);
    kvt_must_put(near, "k/comes", "1");
    fwt_run_for(12000); /* longer than the session lives */
    fwt_proxy_pass(proxy);
    zkt_until(&watch, FW_KV_RESYNC);
    /* The difference, in any order. */
    const kvt_event *first = kvt_next(&watch), *second = kvt_next(&watch);
    bool put_first = first->type == FW_KV_PUT;
    ck_assert_str_eq((put_first ? first : second)->pair.key, "k/comes");
    ck_assert_str_eq((put_first ? second : first)->pair.key, "k/goes");
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    zkt_until(&watch, FW_KV_LIVE);
    kvt_must_put(near, "k/stays", "2");
    kvt_expect(&watch, FW_KV_PUT, "k/stays", "2");
    kvt_watch_close(&watch);
    zkt_close(far, WITHIN_MS);
    zkt_close(near, WITHIN_MS);
}
END_TEST

START_TEST(a_lease_that_was_cut_off_is_lost_by_our_own_clock)
{
    fw_kv *near = open_direct("lost"), *far = open_through_proxy("lost");
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(far, 4000, &lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_assert_status(kvt_put_with(far, "k", kvt_text("v"), &options), FW_OK);
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
    fwt_run_until(&lease.lost, KVT_WAIT_MS);
    ck_assert_int_eq(lease.reason, FW_ELEASE);
    kvt_assert_status(kvt_put_with(far, "k", kvt_text("w"), &options), FW_ELEASE);
    kvt_await_gone(near, "k");
    fwt_proxy_pass(proxy);
    kvt_lease_close(&lease);
    ck_assert_uint_eq(lease.losses, 1);
    /* Another one is granted. */
    kvt_lease again = {.lease = NULL};
    kvt_lease_grant(far, 4000, &again);
    kvt_lease_close(&again);
    zkt_close(far, WITHIN_MS);
    zkt_close(near, WITHIN_MS);
}
END_TEST

START_TEST(operations_on_a_server_that_hangs_end_in_time)
{
    fw_kv *kv = zkt_open(zkt_server.port, "hangs", TIMEOUT_MS);
    kvt_must_put(kv, "k", "1");
    fwt_proc_signal(zkt_server.proc, SIGSTOP);
    uint64_t start = zkt_now_ms();
    kvt_answer put = {.done = false}, get = {.done = false}, list = {.done = false},
               cas = {.done = false};
    FWT_OK(fw_kv_put(kv, "k", kvt_text("2"), NULL, kvt_on_done, &put));
    FWT_OK(fw_kv_get(kv, "k", kvt_on_done, &get));
    FWT_OK(fw_kv_list(kv, "", kvt_on_done, &list));
    FWT_OK(fw_kv_atomic_put(kv, "new", kvt_text("1"), 0, NULL, kvt_on_done, &cas));
    kvt_answer *const all[] = {&put, &get, &list, &cas};
    for (size_t i = 0; i < 4; i++)
        all[i]->submitted = true;
    for (size_t i = 0; i < 4; i++)
        kvt_await(all[i]);
    ck_assert_uint_lt(zkt_now_ms() - start, WITHIN_MS);
    kvt_assert_status(&put, FW_EUNKNOWN);
    kvt_assert_status(&get, FW_EDEADLINE);
    kvt_assert_status(&list, FW_EDEADLINE);
    kvt_assert_status(&cas, FW_EUNREACHABLE); /* it was reading: nothing was written */
    fwt_proc_signal(zkt_server.proc, SIGCONT);
    kvt_assert_value(kv, "new", NULL);
    kvt_must_put(kv, "k", "3");
    kvt_assert_value(kv, "k", "3");
    zkt_close(kv, WITHIN_MS);
}
END_TEST

START_TEST(a_write_whose_answer_is_lost_has_an_unknown_outcome)
{
    fw_kv *near = open_direct("unknown"), *far = open_through_proxy("unknown");
    kvt_must_put(far, "k", "1");
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
    kvt_answer answer = {.done = false};
    FWT_OK(fw_kv_put(far, "k", kvt_text("2"), NULL, kvt_on_done, &answer));
    answer.submitted = true;
    fwt_run_for(300);
    fwt_proxy_cut(proxy, true);
    kvt_await(&answer);
    kvt_assert_status(&answer, FW_EUNKNOWN);
    kvt_assert_value(near, "k", "2"); /* it did happen */
    fwt_proxy_pass(proxy);
    kvt_assert_value(far, "k", "2");
    zkt_close(far, WITHIN_MS);
    zkt_close(near, WITHIN_MS);
}
END_TEST

START_TEST(a_store_that_is_not_there_yet_is_waited_for)
{
    fwt_proxy_refuse(proxy);
    fw_kv *kv = open_through_proxy("later");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "k", &watch);
    ck_assert_int_eq(zkt_until(&watch, FW_KV_STALE)->reason, FW_EUNREACHABLE);
    assert_not_reached(kvt_get(kv, "k"));
    kvt_lease lease = {.lease = NULL};
    kvt_lease_ask(kv, 5000, &lease);
    fwt_run_until(&lease.answered, KVT_WAIT_MS);
    ck_assert_int_eq(lease.status, FW_EUNREACHABLE);
    kvt_lease_close(&lease);
    fwt_proxy_pass(proxy);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    zkt_until(&watch, FW_KV_LIVE);
    kvt_must_put(kv, "k/a", "1");
    kvt_expect(&watch, FW_KV_PUT, "k/a", "1");
    kvt_watch_close(&watch);
    zkt_close(kv, WITHIN_MS);
}
END_TEST

START_TEST(a_name_without_an_address_is_a_store_that_is_not_there)
{
    fw_kv *kv;
    fw_kv_options options = {.timeout_ms = 1000};
    FWT_OK(fw_kv_open(fwt_loop, "zk://no-such-host.invalid:2181/x", &options, &kv));
    assert_not_reached(kvt_get(kv, "k"));
    zkt_close(kv, WITHIN_MS);
}
END_TEST

START_TEST(a_server_that_was_set_back_is_found_and_listed_again)
{
    fwt_zookeeper server;
    fwt_zookeeper_start(&server);
    fw_kv *kv = zkt_open(server.port, "set-back", 15000);
    kvt_must_put(kv, "k/a", "1");
    kvt_must_put(kv, "k/b", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "k", &watch);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    fwt_zookeeper_kill(&server);
    char command[400];
    snprintf(command, sizeof command, "rm -r '%s/version-2'", server.data_dir);
    ck_assert_int_eq(system(command), 0);
    fwt_zookeeper_restart(&server);
    zkt_until(&watch, FW_KV_RESYNC);
    kvt_expect(&watch, FW_KV_DELETE, NULL, NULL);
    kvt_expect(&watch, FW_KV_DELETE, NULL, NULL);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "k/c", "1");
    kvt_expect(&watch, FW_KV_PUT, "k/c", "1");
    kvt_watch_close(&watch);
    zkt_close(kv, WITHIN_MS);
    fwt_zookeeper_kill(&server);
}
END_TEST

enum { HOT = 8 };

static void ignore_void(int rc, const void *data)
{
    (void)rc;
    (void)data;
}

static void ignore_stat(int rc, const struct Stat *stat, const void *data)
{
    (void)rc;
    (void)stat;
    (void)data;
}

enum { SLOW_MS = 100 }; /* one way between the watch and the server */

/* Deletes half of the keys while the others change without a pause. At the end the watch has seen
 * that some are gone, but not told of it: it is reading what has changed since. */
static zhandle_t *delete_half(int port)
{
    zhandle_t *zh = zkt_connect(port, NULL);
    uint64_t start_ms = zkt_now_ms(), age_ms;
    bool deleted = false;
    while ((age_ms = zkt_now_ms() - start_ms) < 10 * SLOW_MS) {
        bool due = age_ms > 6 * SLOW_MS && !deleted;
        for (size_t key = 0; key < HOT; key++) {
            char path[32];
            snprintf(path, sizeof path, "/set-back/k/%zu", key);
            if (key % 2)
                ZKT_IS(zoo_aset(zh, path, "1", 1, -1, ignore_stat, NULL), ZOK);
            else if (due)
                ZKT_IS(zoo_adelete(zh, path, -1, ignore_void, NULL), ZOK);
        }
        deleted |= due;
        fwt_run_for(2);
    }
    return zh;
}

static void put_hot(fw_kv *kv, const char *value)
{
    char key[16];
    for (size_t i = 0; i < HOT; i++) {
        snprintf(key, sizeof key, "k/%zu", i);
        kvt_must_put(kv, key, value);
    }
}

/* What a watch remembers of the old revisions must not count among the new, smaller ones. */
START_TEST(a_watch_goes_on_after_the_server_was_set_back)
{
    fwt_zookeeper server;
    fwt_zookeeper_start(&server);
    fwt_proxy *slow = fwt_proxy_start(server.port);
    fw_kv *kv = zkt_open(fwt_proxy_port(slow), "set-back", 15000);
    put_hot(kv, "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "k", &watch);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    fwt_proxy_delay(slow, SLOW_MS);
    zhandle_t *zh = delete_half(server.port);
    fwt_zookeeper_kill(&server);
    fwt_proxy_pass(slow);
    zookeeper_close(zh);
    char command[400];
    snprintf(command, sizeof command, "rm -r '%s/version-2'", server.data_dir);
    ck_assert_int_eq(system(command), 0);
    fwt_zookeeper_restart(&server);
    fw_kv *other = zkt_open(server.port, "set-back", 15000);
    put_hot(other, "2"); /* before the watch is back */
    zkt_until(&watch, FW_KV_RESYNC);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    for (size_t i = 0; i < HOT; i++) {
        char key[16];
        snprintf(key, sizeof key, "k/%zu", i);
        kvt_assert_status(kvt_delete(other, key), FW_OK);
        kvt_expect(&watch, FW_KV_DELETE, key, NULL);
        kvt_must_put(other, "k/next", key);
        kvt_expect(&watch, FW_KV_PUT, "k/next", key);
    }
    kvt_watch_close(&watch);
    zkt_close(other, WITHIN_MS);
    zkt_close(kv, WITHIN_MS);
    fwt_proxy_end(slow);
    fwt_zookeeper_kill(&server);
}
END_TEST

/* ---- closing ---- */

enum { OPERATIONS = 40 };
struct flight {
    kvt_answer answers[OPERATIONS];
    kvt_watch watches[2];
    kvt_lease leases[2];
    kvt_lock lock;
};

/* One of everything, and none of it awaited. */
static void start_everything(fw_kv *kv, struct flight *flight, kvt_lease *held)
{
    *flight = (struct flight){.lock = {.lock = NULL}};
    fw_kv_put_options leased = {.lease = held->lease}, short_lived = {.ttl_ms = 5000};
    for (size_t i = 0; i < OPERATIONS; i++) {
        char key[16];
        snprintf(key, sizeof key, "f/%zu", i / 8);
        kvt_answer *answer = &flight->answers[i];
        fw_slice value = kvt_text("v");
        int err = i % 8 == 0   ? fw_kv_put(kv, key, value, NULL, kvt_on_done, answer)
                  : i % 8 == 1 ? fw_kv_get(kv, key, kvt_on_done, answer)
                  : i % 8 == 2 ? fw_kv_list(kv, "", kvt_on_done, answer)
                  : i % 8 == 3 ? fw_kv_atomic_put(kv, key, value, 0, NULL, kvt_on_done, answer)
                  : i % 8 == 4 ? fw_kv_delete_tree(kv, "f", kvt_on_done, answer)
                  : i % 8 == 5 ? fw_kv_put(kv, key, value, &leased, kvt_on_done, answer)
                  : i % 8 == 6 ? fw_kv_delete(kv, key, kvt_on_done, answer)
                               : fw_kv_put(kv, key, value, &short_lived, kvt_on_done, answer);
        FWT_OK(err);
        answer->submitted = true;
    }
    kvt_watch_tree(kv, "", &flight->watches[0]);
    kvt_watch_key(kv, "f/0", &flight->watches[1]);
    kvt_lease_ask(kv, 5000, &flight->leases[0]);
    kvt_lease_ask(kv, 1000, &flight->leases[1]);
    kvt_lock_ask(kv, "lock", NULL, &flight->lock);
}

static void assert_ended(struct flight *flight)
{
    for (size_t i = 0; i < OPERATIONS; i++) {
        ck_assert_uint_eq(flight->answers[i].calls, 1);
        kvt_answer_fini(&flight->answers[i]);
    }
    for (size_t i = 0; i < 2; i++)
        kvt_watch_fini(&flight->watches[i]);
    ck_assert_uint_eq(flight->lock.answers, 1);
}

static void close_after(unsigned ms, void (*fault)(void), unsigned within_ms)
{
    fw_kv *kv = zkt_open(fwt_proxy_port(proxy), "flight", 3000);
    kvt_lease held = {.lease = NULL};
    kvt_lease_grant(kv, 20000, &held);
    kvt_must_put(kv, "warm", "");
    fault();
    struct flight *flight = calloc(1, sizeof *flight);
    start_everything(kv, flight, &held);
    fwt_run_for(ms);
    zkt_close(kv, within_ms);
    assert_ended(flight);
    free(flight);
}

static void no_fault(void)
{
}

static void freeze(void)
{
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
}

static void cut(void)
{
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, true);
}

static void lose_answers(void)
{
    fwt_proxy_freeze(proxy, FWT_PROXY_REPLIES);
}

static const unsigned delays_ms[] = {0, 5, 100};

START_TEST(a_store_is_closed_with_everything_in_flight)
{
    close_after(delays_ms[_i], no_fault, 20000);
}
END_TEST

START_TEST(a_store_is_closed_while_the_network_is_frozen)
{
    close_after(delays_ms[_i], freeze, 20000);
}
END_TEST

START_TEST(a_store_is_closed_while_the_server_is_not_there)
{
    close_after(delays_ms[_i], cut, 20000);
}
END_TEST

START_TEST(a_store_is_closed_while_answers_are_lost)
{
    close_after(delays_ms[_i], lose_answers, 20000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("zk_failure");
    TCase *tcase = zkt_tcase(suite, "failure", 90);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_changed_while_it_was_cut_off_a_watch_is_told);
    tcase_add_test(tcase, a_watch_whose_session_expired_is_resynced);
    tcase_add_test(tcase, a_lease_that_was_cut_off_is_lost_by_our_own_clock);
    tcase_add_test(tcase, operations_on_a_server_that_hangs_end_in_time);
    tcase_add_test(tcase, a_write_whose_answer_is_lost_has_an_unknown_outcome);
    tcase_add_test(tcase, a_server_that_was_set_back_is_found_and_listed_again);
    tcase_add_test(tcase, a_watch_goes_on_after_the_server_was_set_back);
    TCase *reaching = zkt_tcase(suite, "reaching", 90);
    tcase_add_checked_fixture(reaching, setup, teardown);
    tcase_add_test(reaching, a_store_that_is_not_there_yet_is_waited_for);
    tcase_add_test(reaching, a_name_without_an_address_is_a_store_that_is_not_there);
    TCase *closing = zkt_tcase(suite, "closing", 90);
    tcase_add_checked_fixture(closing, setup, teardown);
    int runs = (int)KVT_COUNT(delays_ms);
    tcase_add_loop_test(closing, a_store_is_closed_with_everything_in_flight, 0, runs);
    tcase_add_loop_test(closing, a_store_is_closed_while_the_network_is_frozen, 0, runs);
    tcase_add_loop_test(closing, a_store_is_closed_while_the_server_is_not_there, 0, runs);
    tcase_add_loop_test(closing, a_store_is_closed_while_answers_are_lost, 0, runs);
    TCase *restart = fwt_tcase(suite, "restart", 90);
    tcase_add_test(restart, watches_and_leases_live_through_a_restart);
    return fwt_main(suite);
}
