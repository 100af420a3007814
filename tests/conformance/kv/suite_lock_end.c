/* Locks: giving up, losing, closing, in every state; nothing is left behind. */
#include "suite_lock.h"

#include <uv.h>

/* ---- giving up ---- */

START_TEST(who_does_not_wait_is_refused_at_once)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    for (int i = 0; i < 4; i++) {
        kvt_lock hasty = {.lock = NULL};
        kvt_lock_ask(i % 2 ? kv : other, "busy", &kvt_lock_no_wait, &hasty);
        ck_assert_int_eq(kvt_lock_await(&hasty), FW_ELOCKED);
        ck_assert_int_eq(fw_kv_lock_token(hasty.lock), 0);
        kvt_lock_close(&hasty);
    }
    kvt_assert_value(other, "busy", "holder");
    ck_assert(!holder.lost);
    kvt_lock_close(&holder);
    kvt_lock_assert_free(other, "busy");
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(who_has_waited_long_enough_leaves_the_queue)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL}, patient = {.lock = NULL}, limited = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    fw_kv_lock_options options = {.wait_ms = 2000};
    uint64_t start = fw_loop_now_ms(fwt_loop);
    kvt_lock_ask(other, "busy", &options, &limited);
    kvt_lock_let_it_queue(kv, &limited);
    kvt_lock_ask(other, "busy", NULL, &patient); /* behind it */
    ck_assert_int_eq(kvt_lock_await(&limited), FW_EDEADLINE);
    ck_assert_uint_ge(fw_loop_now_ms(fwt_loop) - start, 1900);
    ck_assert_int_eq(fw_kv_lock_token(limited.lock), 0);
    fwt_run_for(100);
    ck_assert(!patient.answered); /* the one before it has gone, the holder has not */
    kvt_lock_close(&holder);
    ck_assert_int_eq(kvt_lock_await(&patient), FW_OK);
    kvt_lock_close(&patient);
    kvt_lock_close(&limited);
    kvt_lock_assert_free(kv, "busy");
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(closing_while_waiting_leaves_the_queue)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock holder = {.lock = NULL}, leaving = {.lock = NULL}, next = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    kvt_lock_ask(other, "busy", NULL, &leaving);
    kvt_lock_let_it_queue(kv, &leaving);
    kvt_lock_ask(kv, "busy", NULL, &next);
    kvt_lock_let_it_queue(kv, &next);
    kvt_lock_close(&leaving);
    ck_assert_int_eq(leaving.status, FW_ECANCELED);
    /* At every stage of asking. */
    for (unsigned i = 0; i < 12; i++) {
        kvt_lock early = {.lock = NULL};
        kvt_lock_ask(i % 2 ? kv : other, "busy", NULL, &early);
        for (unsigned turns = 0; turns < i; turns++)
            uv_run(fw_loop_uv(fwt_loop), UV_RUN_NOWAIT);
        kvt_lock_close(&early);
        ck_assert_int_eq(early.status, FW_ECANCELED);
    }
    kvt_lock_close(&holder);
    ck_assert_int_eq(kvt_lock_await(&next), FW_OK);
    kvt_lock_close(&next);
    kvt_lock_assert_free(kv, "busy");
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* ---- losing it ---- */

START_TEST(a_lock_whose_key_is_deleted_or_overwritten_is_lost)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    for (int i = 0; i < 4; i++) {
        kvt_lock lock = {.lock = NULL};
        kvt_lock_take(kv, "dir/taken", "v", &lock);
        if (i == 0)
            kvt_assert_status(kvt_delete(other, "dir/taken"), FW_OK);
        else if (i == 1)
            kvt_must_put(other, "dir/taken", "mine now");
        else if (i == 2) /* its place in the queue */
            kvt_assert_status(kvt_delete(other, fw_kv_lock_compare(lock.lock).key), FW_OK);
        else
            kvt_assert_status(kvt_delete_tree(other, "dir"), FW_OK);
        fwt_run_until(&lock.lost, KVT_WAIT_MS);
        ck_assert_int_ne(lock.reason, FW_OK);
        fwt_run_for(50);
        ck_assert_uint_eq(lock.losses, 1);
        kvt_lock_close(&lock);
        if (i == 1) /* what is somebody else's stays */
            kvt_assert_status(kvt_delete(other, "dir/taken"), FW_OK);
        kvt_lock_assert_free(other, "dir/taken");
    }
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

START_TEST(a_place_in_the_queue_that_is_deleted_ends_the_waiting)
{
    fw_kv *kv = kvt_open();
    kvt_lock holder = {.lock = NULL}, waiting = {.lock = NULL};
    kvt_lock_take(kv, "busy", "holder", &holder);
    kvt_lock_ask(kv, "busy", NULL, &waiting);
    kvt_lock_let_it_queue(kv, &waiting);
    kvt_assert_status(kvt_delete(kv, fw_kv_lock_compare(waiting.lock).key), FW_OK);
    kvt_lock_close(&holder);
    ck_assert_int_ne(kvt_lock_await(&waiting), FW_OK);
    kvt_lock_close(&waiting);
    kvt_lock_assert_free(kv, "busy");
    kvt_close(kv);
}
END_TEST

START_TEST(a_foreign_key_bars_the_lock_until_it_goes)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_must_put(other, "barred", "a client whose lock is the key alone");
    kvt_lock lock = {.lock = NULL}, hasty = {.lock = NULL}, limited = {.lock = NULL};
    kvt_lock_ask(kv, "barred", &kvt_lock_no_wait, &hasty);
    ck_assert_int_eq(kvt_lock_await(&hasty), FW_ELOCKED);
    kvt_lock_close(&hasty);
    fw_kv_lock_options options = {.wait_ms = 400};
    kvt_lock_ask(kv, "barred", &options, &limited);
    ck_assert_int_eq(kvt_lock_await(&limited), FW_EDEADLINE);
    kvt_lock_close(&limited);
    options = (fw_kv_lock_options){.value = kvt_text("ours")};
    kvt_lock_ask(kv, "barred", &options, &lock);
    kvt_lock_let_it_queue(kv, &lock);
    kvt_must_put(other, "barred", "still there");
    fwt_run_for(100);
    ck_assert(!lock.answered);
    kvt_assert_status(kvt_delete(other, "barred"), FW_OK);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    kvt_assert_value(other, "barred", "ours");
    /* Such a client in turn is kept out by ours. */
    kvt_assert_status(kvt_atomic_put(other, "barred", "theirs", 0), FW_EEXISTS);
    kvt_lock_close(&lock);
    kvt_assert_status(kvt_atomic_put(other, "barred", "theirs", 0), FW_OK);
    kvt_close(other);
    kvt_close(kv);
}
END_TEST

/* ---- closing, and callbacks ---- */

START_TEST(closing_the_store_releases_and_gives_up)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_lock held = {.lock = NULL}, waiting = {.lock = NULL}, asked = {.lock = NULL};
    kvt_lock next = {.lock = NULL};
    kvt_lock_take(kv, "one", "v", &held);
    kvt_lock_ask(kv, "one", NULL, &waiting);
    kvt_lock_let_it_queue(kv, &waiting);
    kvt_lock_ask(other, "one", NULL, &next);
    kvt_lock_let_it_queue(other, &next);
    kvt_lock_ask(kv, "two", NULL, &asked);
    kvt_close(kv);
    ck_assert_uint_eq(held.losses, 0);
    ck_assert_uint_eq(waiting.answers, 1);
    ck_assert_int_eq(waiting.status, FW_ECANCELED);
    ck_assert_uint_eq(asked.answers, 1);
    ck_assert_int_eq(asked.status, FW_ECANCELED);
    ck_assert_int_eq(kvt_lock_await(&next), FW_OK);
    kvt_lock_close(&next);
    kvt_lock_assert_free(other, "one");
    kvt_lock_assert_free(other, "two");
    kvt_close(other);
}
END_TEST

START_TEST(nothing_is_locked_after_close)
{
    fw_kv *kv = kvt_open();
    bool closed = false;
    fw_kv_lock *lock;
    fw_kv_lock_options options = {.ttl_ms = 5000};
    fw_kv_close(kv, kvt_on_closed, &closed);
    FWT_ERR(fw_kv_lock_new(kv, "k", &options, &lock), FW_ECLOSED);
    fwt_run_until(&closed, KVT_WAIT_MS);
}
END_TEST

struct chain {
    fw_kv *kv;
    kvt_lock locks[4];
    size_t asked, closed;
};

static void on_chain_closed(void *arg)
{
    ((struct chain *)arg)->closed++;
}

/* Takes the next lock while this one is held; the last one releases all, itself last. */
static void lock_the_next(kvt_lock *lock, void *arg)
{
    struct chain *chain = arg;
    char key[16];
    ck_assert_int_eq(lock->status, FW_OK);
    if (chain->asked == KVT_COUNT(chain->locks)) {
        for (size_t i = 0; i < chain->asked; i++) {
            fw_kv_lock_close(chain->locks[i].lock, on_chain_closed, chain);
            fw_kv_lock_close(chain->locks[i].lock, on_chain_closed, chain); /* nothing happens */
        }
        return;
    }
    kvt_lock *next = &chain->locks[chain->asked++];
    *next = (kvt_lock){.hook = lock_the_next, .hook_arg = chain};
    snprintf(key, sizeof key, "chain-%zu", chain->asked);
    kvt_lock_ask(chain->kv, key, NULL, next);
}

START_TEST(a_lock_may_be_asked_for_and_closed_in_the_callback_of_another)
{
    struct chain chain = {.kv = kvt_open()};
    kvt_lock start = {.status = FW_OK};
    lock_the_next(&start, &chain);
    fwt_run_count(&chain.closed, KVT_COUNT(chain.locks), KVT_WAIT_MS);
    fwt_run_for(20);
    ck_assert_uint_eq(chain.closed, KVT_COUNT(chain.locks));
    ck_assert_str_eq(kvt_listing(chain.kv, ""), "");
    kvt_close(chain.kv);
}
END_TEST

static void close_the_store(kvt_lock *lock, void *arg)
{
    (void)lock;
    struct chain *chain = arg;
    fw_kv_close(chain->kv, on_chain_closed, chain);
    ck_assert_uint_eq(chain->closed, 0);
}

START_TEST(the_store_may_be_closed_in_the_callback_of_a_lock)
{
    struct chain chain = {.kv = kvt_open()};
    kvt_lock *lock = &chain.locks[0];
    *lock = (kvt_lock){.hook = close_the_store, .hook_arg = &chain};
    kvt_lock_ask(chain.kv, "k", NULL, lock);
    fwt_run_count(&chain.closed, 1, KVT_WAIT_MS);
    ck_assert_uint_eq(lock->answers, 1);
    ck_assert_uint_eq(lock->losses, 0);
}
END_TEST

void kvt_add_lock_ends(const kvt_group *group)
{
    kvt_add(group, "C37", who_does_not_wait_is_refused_at_once);
    kvt_add(group, "C37", who_has_waited_long_enough_leaves_the_queue);
    kvt_add(group, "C37", closing_while_waiting_leaves_the_queue);
    kvt_add(group, "C39", a_lock_whose_key_is_deleted_or_overwritten_is_lost);
    kvt_add(group, "C39", a_place_in_the_queue_that_is_deleted_ends_the_waiting);
    kvt_add(group, "C40", a_foreign_key_bars_the_lock_until_it_goes);
    kvt_add(group, "C44", closing_the_store_releases_and_gives_up);
    kvt_add(group, "C44", nothing_is_locked_after_close);
    kvt_add(group, "C44", a_lock_may_be_asked_for_and_closed_in_the_callback_of_another);
    kvt_add(group, "C44", the_store_may_be_closed_in_the_callback_of_a_lock);
}
