/* How keys and values stand in ZooKeeper, and what others put there. */
#include "zkt.h"

static fw_kv *kv;
static zhandle_t *zh;

static void setup(void)
{
    kv = zkt_open(zkt_server.port, "top/store", 10000);
    zh = zkt_connect(zkt_server.port, NULL);
    kvt_assert_status(kvt_delete_tree(kv, ""), FW_OK);
}

static void teardown(void)
{
    zkt_close(kv, 10000);
    ZKT_IS(zookeeper_close(zh), ZOK);
}

START_TEST(a_pair_is_a_znode_and_a_directory_a_mark)
{
    kvt_must_put(kv, "a/b", "value");
    ck_assert_int_eq(zkt_expect_data(zh, "/top/store/a/b", "value", 5), 0);
    zkt_expect_data(zh, "/top/store/a", "\1", 1);
    zkt_expect_data(zh, "/top", "\1", 1);
    kvt_must_put(kv, "a", "");
    zkt_expect_data(zh, "/top/store/a", "", 0);
    kvt_assert_status(kvt_delete(kv, "a"), FW_OK); /* it has a child */
    zkt_expect_data(zh, "/top/store/a", "\1", 1);
    kvt_assert_value(kv, "a", NULL);
    kvt_assert_value(kv, "a/b", "value");
}
END_TEST

START_TEST(a_value_like_a_mark_is_kept_apart)
{
    static const char *const values[] = {"\1", "\1\1", "\1x", "\1\1\1x"};
    for (size_t i = 0; i < KVT_COUNT(values); i++) {
        kvt_must_put(kv, "v", values[i]);
        kvt_assert_value(kv, "v", values[i]);
        ck_assert_uint_eq(kvt_list(kv, "")->pair_count, 1);
    }
    zkt_expect_data(zh, "/top/store/v", "\1\1\1\1x", 5);
}
END_TEST

START_TEST(bytes_that_zookeeper_refuses_are_escaped)
{
    static const struct {
        const char *key, *path;
    } cases[] = {
        {"./..", "/top/store/%2E/%2E."},
        {"...", "/top/store/..."},
        {"50%", "/top/store/50%25"},
        {"\x01\x1f\x7f", "/top/store/%01%1F%7F"},
        {"gr\xc3\xbcn", "/top/store/gr\xc3\xbcn"},
        {"\xc2\x85", "/top/store/%C2%85"},
        {"\xff\xc3", "/top/store/%FF%C3"},
        {"\xf0\x9f\x98\x80", "/top/store/%F0%9F%98%80"},
        {"\xee\x80\x80", "/top/store/%EE%80%80"},
        {"\xed\xa0\x80", "/top/store/%ED%A0%80"},
        {"\xc0\x80", "/top/store/%C0%80"},
        {"zookeeper", "/top/store/zookeeper"},
    };
    for (size_t i = 0; i < KVT_COUNT(cases); i++) {
        kvt_must_put(kv, cases[i].key, "v");
        zkt_expect_data(zh, cases[i].path, "v", 1);
        kvt_assert_value(kv, cases[i].key, "v");
        const kvt_answer *list = kvt_list(kv, "");
        ck_assert_uint_eq(list->pair_count, 1);
        ck_assert_str_eq(list->pairs[0].key, cases[i].key);
        ck_assert_uint_eq(kvt_delete_tree(kv, "")->count, 1);
    }
}
END_TEST

START_TEST(every_byte_may_be_in_a_key)
{
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "all", &watch);
    zkt_until(&watch, FW_KV_END_OF_SNAPSHOT);
    for (int byte = 1; byte < 256; byte++) {
        if (byte == '/')
            continue;
        char key[16];
        snprintf(key, sizeof key, "all/%c/%cx", byte, byte);
        kvt_must_put(kv, key, "v");
        kvt_expect(&watch, FW_KV_PUT, key, "v");
    }
    ck_assert_uint_eq(kvt_list(kv, "all")->pair_count, 254);
    kvt_watch_close(&watch);
}
END_TEST

START_TEST(at_the_top_the_servers_own_nodes_are_left_alone)
{
    fw_kv *top = zkt_open(zkt_server.port, "", 10000);
    kvt_must_put(top, "zookeeper/quota", "mine");
    zkt_expect_data(zh, "/%7Aookeeper/quota", "mine", 4);
    ck_assert_str_eq(kvt_listing(top, "zookeeper"), "zookeeper/quota=mine");
    ck_assert_str_eq(kvt_listing(top, ""), "zookeeper/quota=mine");
    ck_assert_uint_eq(kvt_delete_tree(top, "")->count, 1);
    zkt_close(top, 10000);
}
END_TEST

START_TEST(a_pair_under_a_lease_is_an_ephemeral_beside)
{
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(kv, 20000, &lease);
    int64_t id = fw_kv_lease_id(lease.lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "", &watch);
    kvt_must_put(kv, "s/i", "plain");
    kvt_assert_status(kvt_put_with(kv, "s/i", kvt_text("leased"), &options), FW_OK);
    ck_assert_int_eq(zkt_expect_data(zh, "/top/store/s/i%", "leased", 6), id);
    ZKT_IS(zoo_exists(zh, "/top/store/s/i", 0, &(struct Stat){.mzxid = 0}), ZNONODE);
    kvt_assert_value(kv, "s/i", "leased");
    /* Something may live below it all the same, and is there when it is gone. */
    kvt_must_put(kv, "s/i/below", "x");
    ck_assert_str_eq(kvt_listing(kv, "s"), "s/i=leased s/i/below=x");
    kvt_assert_status(kvt_put_with(kv, "s/i/below", kvt_text("y"), &options), FW_OK);
    ck_assert_str_eq(kvt_listing(kv, ""), "s/i=leased s/i/below=y");
    kvt_must_put(kv, "s/i/below", "z");
    kvt_lease_close(&lease);
    ck_assert_str_eq(kvt_listing(kv, ""), "s/i/below=z");
    kvt_must_put(kv, "end", "");
    while (strcmp(zkt_until(&watch, FW_KV_PUT)->pair.key, "end"))
        ;
    size_t deletions = 0;
    for (size_t i = 0; i < watch.count; i++)
        deletions += watch.events[i].type == FW_KV_DELETE;
    ck_assert_uint_eq(deletions, 1);
    kvt_watch_close(&watch);
}
END_TEST

START_TEST(what_others_wrote_is_read)
{
    kvt_must_put(kv, "x", "ours");
    zkt_create(zh, "/top/store/null", NULL, -1, ZOO_PERSISTENT);
    zkt_create(zh, "/top/store/null/child", "theirs", 6, ZOO_PERSISTENT);
    zkt_create(zh, "/top/store/live", "here", 4, ZOO_EPHEMERAL);
    zkt_create(zh, "/top/store/no%name", "?", 1, ZOO_PERSISTENT); /* not as we would write it */
    ck_assert_str_eq(kvt_listing(kv, ""), "live=here null/child=theirs x=ours");
    ck_assert_int_eq(kvt_get(kv, "live")->pairs[0].lease, zoo_client_id(zh)->client_id);
    kvt_assert_value(kv, "null", NULL);
    kvt_assert_status(kvt_put(kv, "live/below", "x"), FW_ESTORE);
    /* Written over it, it stays when its session ends. */
    kvt_must_put(kv, "live", "kept");
    ck_assert_int_eq(zkt_expect_data(zh, "/top/store/live", "kept", 4), 0);
    kvt_must_put(kv, "live/below", "x");
}
END_TEST

START_TEST(a_contender_of_kazoo_stands_in_the_same_queue)
{
    static const char first[] = "/top/store/lock/5f0c4e7ab1d84a0c9d7be1b8a3a1d0aa__lock__";
    kvt_must_put(kv, "lock/x", "");
    kvt_assert_status(kvt_delete(kv, "lock/x"), FW_OK);
    char path[128];
    ZKT_IS(zoo_create(zh, first, "kazoo", 5, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, path,
                      sizeof path),
           ZOK);
    kvt_lock lock = {.lock = NULL};
    kvt_lock_ask(kv, "lock", NULL, &lock);
    fwt_run_for(300);
    ck_assert(!lock.answered);
    /* kazoo sees ours behind it: the name, and the number of ten digits at its end. */
    struct String_vector names;
    ZKT_IS(zoo_get_children(zh, "/top/store/lock", 0, &names), ZOK);
    ck_assert_int_eq(names.count, 2);
    for (int i = 0; i < 2; i++) {
        const char *mark = strstr(names.data[i], "__lock__");
        ck_assert_ptr_nonnull(mark);
        ck_assert_uint_eq(strlen(mark), 18);
        if (!strstr(path, names.data[i]))
            ck_assert_str_gt(mark, strstr(path, "__lock__"));
    }
    deallocate_String_vector(&names);
    ZKT_IS(zoo_delete(zh, path, -1), ZOK);
    ck_assert_int_eq(kvt_lock_await(&lock), FW_OK);
    kvt_lock_close(&lock);
}
END_TEST

START_TEST(a_time_to_live_beyond_the_servers_sessions_is_refused)
{
    fw_kv_put_options options = {.ttl_ms = FWT_ZOOKEEPER_MAX_SESSION_MS + 1};
    kvt_assert_status(kvt_put_with(kv, "k", kvt_text("v"), &options), FW_EUNSUPPORTED);
    kvt_assert_value(kv, "k", NULL);
    options.ttl_ms = FWT_ZOOKEEPER_MAX_SESSION_MS;
    kvt_assert_status(kvt_put_with(kv, "k", kvt_text("v"), &options), FW_OK);
    kvt_assert_value(kv, "k", "v");
    kvt_assert_status(kvt_delete(kv, "k"), FW_OK);
}
END_TEST

START_TEST(what_no_packet_takes_is_refused_before_it_is_sent)
{
    char url[200];
    snprintf(url, sizeof url, "zk://127.0.0.1:%d/top/store?jute_maxbuffer=20000", zkt_server.port);
    fw_kv *narrow = kvt_open_url(url);
    char value[20000];
    memset(value, 'v', sizeof value);
    fw_slice large = {value, sizeof value}, small = {value, 19000};
    kvt_assert_status(kvt_put_with(narrow, "k", large, NULL), FW_EVALUESIZE);
    kvt_assert_status(kvt_put_with(narrow, "k", small, NULL), FW_OK);
    kvt_answer answer = {.done = false};
    FWT_OK(fw_kv_atomic_put(narrow, "l", large, 0, NULL, kvt_on_done, &answer));
    kvt_await(&answer);
    kvt_assert_status(&answer, FW_EVALUESIZE);
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof key, "many/%d", i);
        kvt_must_put(narrow, key, "");
    }
    kvt_assert_status(kvt_delete_tree(narrow, "many"), FW_ELIMIT);
    ck_assert_uint_eq(kvt_list(narrow, "many")->count, 200);
    ck_assert_uint_eq(kvt_delete_tree(kv, "many")->count, 200);
    zkt_close(narrow, 10000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("zk_layout");
    TCase *tcase = zkt_tcase(suite, "layout", 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_pair_is_a_znode_and_a_directory_a_mark);
    tcase_add_test(tcase, a_value_like_a_mark_is_kept_apart);
    tcase_add_test(tcase, bytes_that_zookeeper_refuses_are_escaped);
    tcase_add_test(tcase, every_byte_may_be_in_a_key);
    tcase_add_test(tcase, at_the_top_the_servers_own_nodes_are_left_alone);
    tcase_add_test(tcase, a_pair_under_a_lease_is_an_ephemeral_beside);
    tcase_add_test(tcase, what_others_wrote_is_read);
    tcase_add_test(tcase, a_contender_of_kazoo_stands_in_the_same_queue);
    tcase_add_test(tcase, a_time_to_live_beyond_the_servers_sessions_is_refused);
    tcase_add_test(tcase, what_no_packet_takes_is_refused_before_it_is_sent);
    return fwt_main(suite);
}
