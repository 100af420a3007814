/* Leases and times to live. Stores round a time up, so only "not before" and "some time" are asked.
 */
#include "kvt.h"

static const kvt_answer *put_leased(fw_kv *kv, const char *key, const char *value,
                                    const kvt_lease *lease)
{
    fw_kv_put_options options = {.lease = lease->lease};
    return kvt_put_with(kv, key, kvt_text(value), &options);
}

START_TEST(a_pair_with_a_time_to_live_goes_by_itself)
{
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "ttl", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    fw_kv_put_options options = {.ttl_ms = 1000};
    uint64_t start = fw_loop_now_ms(fwt_loop);
    kvt_assert_status(kvt_put_with(kv, "ttl/goes", kvt_text("1"), &options), FW_OK);
    kvt_must_put(kv, "ttl/stays", "2");
    kvt_assert_value(kv, "ttl/goes", "1");
    kvt_expect(&watch, FW_KV_PUT, "ttl/goes", "1");
    kvt_expect(&watch, FW_KV_PUT, "ttl/stays", "2");
    kvt_expect(&watch, FW_KV_DELETE, "ttl/goes", "");
    ck_assert_uint_ge(fw_loop_now_ms(fwt_loop) - start, 900);
    kvt_assert_value(kv, "ttl/goes", NULL);
    kvt_assert_value(kv, "ttl/stays", "2");
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(pairs_with_a_time_to_live_survive_their_writer_and_then_go)
{
    /* libkv's PutTTL: two keys, gone some time after. */
    fw_kv *kv = kvt_open(), *writer = kvt_open();
    fw_kv_put_options options = {.ttl_ms = 2000};
    kvt_assert_status(kvt_put_with(writer, "ttl/1", kvt_text("foo"), &options), FW_OK);
    kvt_assert_status(kvt_put_with(writer, "ttl/2", kvt_text("bar"), &options), FW_OK);
    kvt_close(writer);
    ck_assert_str_eq(kvt_listing(kv, "ttl"), "ttl/1=foo ttl/2=bar");
    kvt_await_gone(kv, "ttl/1");
    kvt_await_gone(kv, "ttl/2");
    ck_assert_str_eq(kvt_listing(kv, "ttl"), "");
    kvt_close(kv);
}
END_TEST

START_TEST(a_put_without_time_to_live_makes_the_pair_stay)
{
    fw_kv *kv = kvt_open();
    fw_kv_put_options options = {.ttl_ms = 1000};
    kvt_assert_status(kvt_put_with(kv, "k", kvt_text("1"), &options), FW_OK);
    kvt_assert_status(kvt_put_with(kv, "witness", kvt_text("1"), &options), FW_OK);
    kvt_must_put(kv, "k", "2");
    kvt_await_gone(kv, "witness");
    kvt_assert_value(kv, "k", "2");
    kvt_close(kv);
}
END_TEST

START_TEST(a_lease_keeps_its_pairs_and_takes_them_along)
{
    fw_kv *kv = kvt_open();
    kvt_lease lease = {.lease = NULL};
    kvt_lease_ask(kv, 1000, &lease);
    ck_assert(!lease.answered); /* not before the call returned */
    ck_assert_int_eq(fw_kv_lease_id(lease.lease), 0);
    fwt_run_until(&lease.answered, KVT_WAIT_MS);
    ck_assert_int_eq(lease.status, FW_OK);
    kvt_assert_status(put_leased(kv, "l/a", "1", &lease), FW_OK);
    kvt_assert_status(put_leased(kv, "l/b", "2", &lease), FW_OK);
    kvt_must_put(kv, "l/free", "3");
    ck_assert_int_eq(kvt_get(kv, "l/a")->pairs[0].lease, fw_kv_lease_id(lease.lease));
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "l", &watch);
    for (int i = 0; i < 3; i++)
        kvt_expect(&watch, FW_KV_PUT, NULL, NULL);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    /* More than twice the time: it was renewed. */
    fwt_run_for(fw_kv_lease_ttl_ms(lease.lease) * 5 / 2);
    ck_assert(!lease.lost);
    ck_assert_str_eq(kvt_listing(kv, "l"), "l/a=1 l/b=2 l/free=3");
    ck_assert_uint_eq(watch.seen, watch.count);
    kvt_lease_close(&lease);
    /* Both at once, in one revision and one batch. */
    const kvt_event *event = kvt_expect(&watch, FW_KV_DELETE, NULL, "");
    int64_t revision = event->pair.revision;
    size_t batch = event->batch;
    event = kvt_expect(&watch, FW_KV_DELETE, NULL, "");
    ck_assert_int_eq(event->pair.revision, revision);
    ck_assert_uint_eq(event->batch, batch);
    ck_assert_str_eq(kvt_listing(kv, "l"), "l/free=3");
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(closing_a_lease_deletes_before_on_closed)
{
    fw_kv *kv = kvt_open();
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(kv, 60000, &lease);
    kvt_assert_status(put_leased(kv, "k", "1", &lease), FW_OK);
    fw_kv_lease_close(lease.lease, kvt_on_closed, &lease.closed);
    fw_kv_lease_close(lease.lease, kvt_on_closed, &lease.closed); /* nothing happens */
    ck_assert(!lease.closed);
    fwt_run_until(&lease.closed, KVT_WAIT_MS);
    kvt_assert_value(kv, "k", NULL);
    kvt_close(kv);
}
END_TEST

START_TEST(a_pair_may_change_its_lease)
{
    fw_kv *kv = kvt_open();
    kvt_lease one = {.lease = NULL}, two = {.lease = NULL};
    kvt_lease_grant(kv, 30000, &one);
    kvt_lease_grant(kv, 30000, &two);
    ck_assert_int_ne(fw_kv_lease_id(one.lease), fw_kv_lease_id(two.lease));
    kvt_assert_status(put_leased(kv, "moved", "1", &one), FW_OK);
    kvt_assert_status(put_leased(kv, "moved", "2", &two), FW_OK);
    kvt_assert_status(put_leased(kv, "freed", "1", &one), FW_OK);
    kvt_must_put(kv, "freed", "2");
    kvt_assert_status(put_leased(kv, "again", "1", &one), FW_OK);
    kvt_assert_status(put_leased(kv, "again", "2", &one), FW_OK);
    kvt_assert_status(put_leased(kv, "deleted", "1", &one), FW_OK);
    kvt_assert_status(kvt_delete(kv, "deleted"), FW_OK);
    kvt_must_put(kv, "deleted", "2");
    kvt_lease_close(&one);
    ck_assert_str_eq(kvt_listing(kv, ""), "deleted=2 freed=2 moved=2");
    kvt_lease_close(&two);
    ck_assert_str_eq(kvt_listing(kv, ""), "deleted=2 freed=2");
    kvt_close(kv);
}
END_TEST

START_TEST(atomic_put_takes_a_lease)
{
    fw_kv *kv = kvt_open();
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(kv, 30000, &lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_answer answer = {.done = false};
    FWT_OK(fw_kv_atomic_put(kv, "once", kvt_text("1"), 0, &options, kvt_on_done, &answer));
    kvt_await(&answer);
    kvt_assert_status(&answer, FW_OK);
    kvt_answer_fini(&answer);
    FWT_OK(fw_kv_atomic_put(kv, "once", kvt_text("2"), 0, &options, kvt_on_done, &answer));
    kvt_await(&answer);
    kvt_assert_status(&answer, FW_EEXISTS);
    kvt_answer_fini(&answer);
    ck_assert_int_eq(kvt_get(kv, "once")->pairs[0].lease, fw_kv_lease_id(lease.lease));
    kvt_lease_close(&lease);
    kvt_assert_value(kv, "once", NULL);
    kvt_close(kv);
}
END_TEST

START_TEST(a_put_needs_a_lease_that_is_granted)
{
    fw_kv *kv = kvt_open();
    kvt_lease lease = {.lease = NULL};
    kvt_lease_ask(kv, 5000, &lease);
    kvt_assert_status(put_leased(kv, "k", "early", &lease), FW_ELEASE);
    fwt_run_until(&lease.answered, KVT_WAIT_MS);
    kvt_assert_status(put_leased(kv, "k", "now", &lease), FW_OK);
    kvt_lease_close(&lease);
    kvt_close(kv);
}
END_TEST

START_TEST(lease_options_are_checked)
{
    fw_kv *kv = kvt_open();
    fw_kv_lease *lease;
    fw_kv_lease_options none = {.ttl_ms = 5000};
    FWT_ERR(fw_kv_lease_new(kv, &none, &lease), FW_EOPTION);
    kvt_close(kv);
}
END_TEST

START_TEST(a_lease_may_be_closed_while_it_is_asked_for)
{
    fw_kv *kv = kvt_open();
    for (int i = 0; i < 10; i++) {
        kvt_lease lease = {.lease = NULL};
        kvt_lease_ask(kv, 5000, &lease);
        kvt_lease_close(&lease);
        ck_assert_uint_eq(lease.losses, 0);
    }
    kvt_close(kv);
}
END_TEST

START_TEST(many_leases_live_side_by_side)
{
    enum { COUNT = 30 };
    fw_kv *kv = kvt_open();
    kvt_lease leases[COUNT] = {{.lease = NULL}};
    for (size_t i = 0; i < COUNT; i++)
        kvt_lease_ask(kv, 1000, &leases[i]);
    uint32_t ttl_ms = 0;
    for (size_t i = 0; i < COUNT; i++) {
        fwt_run_until(&leases[i].answered, KVT_WAIT_MS);
        ck_assert_int_eq(leases[i].status, FW_OK);
        ttl_ms = fw_kv_lease_ttl_ms(leases[i].lease);
        char key[32];
        snprintf(key, sizeof key, "many/%02zu", i);
        kvt_assert_status(put_leased(kv, key, "v", &leases[i]), FW_OK);
    }
    fwt_run_for(ttl_ms * 3 / 2);
    ck_assert_uint_eq(kvt_list(kv, "many")->count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(!leases[i].lost);
        kvt_lease_close(&leases[i]);
        ck_assert_uint_eq(kvt_list(kv, "many")->count, COUNT - 1 - i);
    }
    kvt_close(kv);
}
END_TEST

void kvt_add_lease(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "lease");
    kvt_add(&group, "C23", a_pair_with_a_time_to_live_goes_by_itself);
    kvt_add(&group, "C23", pairs_with_a_time_to_live_survive_their_writer_and_then_go);
    kvt_add(&group, "C22", a_put_without_time_to_live_makes_the_pair_stay);
    kvt_add(&group, "C15 C21", a_lease_keeps_its_pairs_and_takes_them_along);
    kvt_add(&group, "C21", closing_a_lease_deletes_before_on_closed);
    kvt_add(&group, "C22", a_pair_may_change_its_lease);
    kvt_add(&group, "C22", atomic_put_takes_a_lease);
    kvt_add(&group, "C24", a_put_needs_a_lease_that_is_granted);
    kvt_add(&group, "C24", lease_options_are_checked);
    kvt_add(&group, "C24", a_lease_may_be_closed_while_it_is_asked_for);
    kvt_add(&group, "C21", many_leases_live_side_by_side);
}
