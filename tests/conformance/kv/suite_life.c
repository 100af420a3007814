/* Opening and closing. */
#include "kvt.h"

START_TEST(a_store_knows_what_it_is)
{
    fw_kv *kv = kvt_open();
    ck_assert_str_eq(fw_kv_url(kv), kvt_url);
    ck_assert_ptr_eq(fw_kv_loop(kv), fwt_loop);
    kvt_close(kv);
}
END_TEST

START_TEST(bad_urls_are_refused)
{
    fw_kv *kv;
    char url[1100];
    FWT_ERR(fw_kv_open(fwt_loop, "no url", NULL, &kv), FW_EURL);
    FWT_ERR(fw_kv_open(fwt_loop, "nosuch:thing", NULL, &kv), FW_ESCHEME);
    snprintf(url, sizeof url, "%s%snosuch=1", kvt_url, strchr(kvt_url, '?') ? "&" : "?");
    FWT_ERR(fw_kv_open(fwt_loop, url, NULL, &kv), FW_EOPTION);
}
END_TEST

START_TEST(an_unused_store_closes)
{
    kvt_close(kvt_open());
    for (int i = 0; i < 20; i++)
        kvt_close(kvt_open());
}
END_TEST

START_TEST(nothing_is_taken_after_close)
{
    fw_kv *kv = kvt_open();
    bool closed = false, again = false;
    fw_kv_close(kv, kvt_on_closed, &closed);
    fw_kv_close(kv, kvt_on_closed, &again); /* nothing happens */
    ck_assert(!closed);
    kvt_assert_status(kvt_put(kv, "k", "v"), FW_ECLOSED);
    kvt_assert_status(kvt_get(kv, "k"), FW_ECLOSED);
    kvt_assert_status(kvt_list(kv, ""), FW_ECLOSED);
    kvt_assert_status(kvt_delete_tree(kv, ""), FW_ECLOSED);
    kvt_assert_status(kvt_atomic_put(kv, "k", "v", 0), FW_ECLOSED);
    kvt_lease lease = {.lease = NULL};
    kvt_watch watch = {.watch = NULL};
    FWT_ERR(fw_kv_watch_tree(kv, "", NULL, &watch, &watch.watch), FW_ECLOSED);
    fw_kv_lease_options options = {.ttl_ms = 5000};
    FWT_ERR(fw_kv_lease_new(kv, &options, &lease.lease), FW_ECLOSED);
    fwt_run_until(&closed, KVT_WAIT_MS);
    fwt_run_for(20);
    ck_assert(!again);
}
END_TEST

START_TEST(close_ends_what_is_pending)
{
    enum { COUNT = 60 };
    fw_kv *kv = kvt_open();
    static kvt_answer answers[COUNT];
    bool closed = false;
    for (size_t i = 0; i < COUNT; i++) {
        char key[32];
        snprintf(key, sizeof key, "p/%zu", i);
        int err = i % 3 == 0   ? fw_kv_put(kv, key, kvt_text("v"), NULL, kvt_on_done, &answers[i])
                  : i % 3 == 1 ? fw_kv_get(kv, key, kvt_on_done, &answers[i])
                               : fw_kv_list(kv, "", kvt_on_done, &answers[i]);
        FWT_OK(err);
    }
    fw_kv_close(kv, kvt_on_closed, &closed);
    for (size_t i = 0; i < COUNT; i++)
        answers[i].submitted = true;
    fwt_run_until(&closed, KVT_WAIT_MS);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(answers[i].calls, 1); /* before on_closed */
        kvt_assert_status(&answers[i], FW_ECANCELED);
        kvt_answer_fini(&answers[i]);
    }
}
END_TEST

START_TEST(close_ends_watches_and_leases)
{
    fw_kv *kv = kvt_open(), *other = kvt_open();
    kvt_watch watch = {.watch = NULL}, fresh = {.watch = NULL}, far = {.watch = NULL};
    kvt_lease lease = {.lease = NULL}, asked = {.lease = NULL};
    kvt_watch_tree(other, "", &far);
    kvt_expect(&far, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_watch_tree(kv, "", &watch);
    kvt_lease_grant(kv, 60000, &lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_assert_status(kvt_put_with(kv, "k", kvt_text("v"), &options), FW_OK);
    kvt_expect(&far, FW_KV_PUT, "k", "v");
    kvt_watch_tree(kv, "", &fresh);
    kvt_lease_ask(kv, 5000, &asked);
    kvt_close(kv);
    size_t count = watch.count;
    /* The lease was revoked, not left to expire. */
    kvt_expect(&far, FW_KV_DELETE, "k", "");
    ck_assert_uint_eq(watch.count, count);
    ck_assert_uint_eq(lease.losses, 0);
    kvt_watch_fini(&watch);
    kvt_watch_fini(&fresh);
    kvt_watch_close(&far);
    kvt_close(other);
}
END_TEST

struct closer {
    fw_kv *kv;
    bool called, closed;
};

static void close_in_done(const fw_kv_result *result, void *arg)
{
    (void)result;
    struct closer *closer = arg;
    closer->called = true;
    fw_kv_close(closer->kv, kvt_on_closed, &closer->closed);
    ck_assert(!closer->closed);
}

START_TEST(a_store_may_be_closed_in_a_callback)
{
    struct closer closer = {.kv = kvt_open()};
    FWT_OK(fw_kv_put(closer.kv, "k", kvt_text("v"), NULL, close_in_done, &closer));
    ck_assert(!closer.called);
    fwt_run_until(&closer.closed, KVT_WAIT_MS);
    ck_assert(closer.called);
}
END_TEST

static void close_store_inside(kvt_watch *watch, void *arg)
{
    (void)watch;
    struct closer *closer = arg;
    if (!closer->called)
        fw_kv_close(closer->kv, kvt_on_closed, &closer->closed);
    closer->called = true;
}

START_TEST(a_store_may_be_closed_in_a_watch)
{
    struct closer closer = {.kv = kvt_open()};
    kvt_watch watch = {.hook = close_store_inside, .hook_arg = &closer}, second = {.watch = NULL};
    kvt_watch_tree(closer.kv, "", &watch);
    kvt_watch_tree(closer.kv, "x", &second);
    fwt_run_until(&closer.closed, KVT_WAIT_MS);
    kvt_watch_fini(&watch);
    kvt_watch_fini(&second);
}
END_TEST

START_TEST(a_store_that_persists_is_found_again)
{
    fw_kv *kv = kvt_open();
    unsigned capabilities = fw_kv_capabilities(kv);
    int64_t revision = kvt_must_put(kv, "kept/a", "1");
    kvt_must_put(kv, "kept/b", "2");
    kvt_close(kv);
    kv = kvt_open();
    if (capabilities & FW_KV_CAN_PERSIST) {
        ck_assert_str_eq(kvt_listing(kv, ""), "kept/a=1 kept/b=2");
        ck_assert_int_eq(kvt_get(kv, "kept/a")->pairs[0].revision, revision);
        ck_assert_int_gt(kvt_must_put(kv, "kept/c", "3"), revision + 1);
    } else {
        ck_assert_str_eq(kvt_listing(kv, ""), "");
    }
    kvt_close(kv);
}
END_TEST

void kvt_add_life(Suite *suite)
{
    kvt_group group = kvt_group_add(suite, "life");
    kvt_add(&group, "C27", a_store_knows_what_it_is);
    kvt_add(&group, "C27", bad_urls_are_refused);
    kvt_add(&group, "C26", an_unused_store_closes);
    kvt_add(&group, "C26", nothing_is_taken_after_close);
    kvt_add(&group, "C26", close_ends_what_is_pending);
    kvt_add(&group, "C26", close_ends_watches_and_leases);
    kvt_add(&group, "C26", a_store_may_be_closed_in_a_callback);
    kvt_add(&group, "C26", a_store_may_be_closed_in_a_watch);
    kvt_add(&group, "C6", a_store_that_persists_is_found_again);
}
