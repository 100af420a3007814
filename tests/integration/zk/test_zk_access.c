/* Users and what they may do. */
#include "zkt.h"

static fw_kv *open_as(const char *user, const char *password)
{
    char url[200];
    snprintf(url, sizeof url, "zk://127.0.0.1:%d/access", zkt_server.port);
    fw_kv_options options = {.timeout_ms = 10000, .user = user, .password = password};
    fw_kv *kv;
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    return kv;
}

START_TEST(what_a_user_writes_nobody_else_reads_or_writes)
{
    fw_kv *ann = open_as("ann", "secret"), *bob = open_as("bob", "secret"),
          *none = open_as(NULL, NULL), *wrong = open_as("ann", "guess");
    kvt_lease lease = {.lease = NULL};
    kvt_lease_grant(ann, 20000, &lease);
    fw_kv_put_options options = {.lease = lease.lease};
    kvt_must_put(ann, "d/mine", "1");
    kvt_assert_status(kvt_put_with(ann, "d/leased", kvt_text("2"), &options), FW_OK);
    options = (fw_kv_put_options){.ttl_ms = 1000};
    kvt_assert_status(kvt_put_with(ann, "d/short", kvt_text("3"), &options), FW_OK);
    fw_kv *const others[] = {bob, none, wrong};
    for (size_t i = 0; i < 3; i++) {
        kvt_assert_status(kvt_get(others[i], "d/mine"), FW_EDENIED);
        kvt_assert_status(kvt_get(others[i], "d/leased"), FW_EDENIED);
        kvt_assert_status(kvt_put(others[i], "d/mine", "x"), FW_EDENIED);
        kvt_assert_status(kvt_put(others[i], "d/new", "x"), FW_EDENIED);
        kvt_assert_status(kvt_delete(others[i], "d/mine"), FW_EDENIED);
        kvt_assert_status(kvt_list(others[i], ""), FW_EDENIED);
        kvt_assert_status(kvt_delete_tree(others[i], ""), FW_EDENIED);
        kvt_watch watch = {.watch = NULL};
        kvt_watch_tree(others[i], "d", &watch);
        ck_assert_int_eq(kvt_expect(&watch, FW_KV_FATAL, NULL, NULL)->reason, FW_EDENIED);
        kvt_watch_close(&watch);
    }
    kvt_await_gone(ann, "d/short");
    ck_assert_str_eq(kvt_listing(ann, ""), "d/leased=2 d/mine=1");
    fw_kv *again = open_as("ann", "secret");
    ck_assert_str_eq(kvt_listing(again, ""), "d/leased=2 d/mine=1");
    kvt_lease_close(&lease);
    ck_assert_uint_eq(kvt_delete_tree(again, "")->count, 1);
    fw_kv *const all[] = {ann, bob, none, wrong, again};
    for (size_t i = 0; i < 5; i++)
        zkt_close(all[i], 10000);
}
END_TEST

START_TEST(another_client_gets_in_with_the_same_credentials)
{
    fw_kv *ann = open_as("ann", "secret");
    kvt_must_put(ann, "shared", "1");
    zhandle_t *zh = zkt_connect(zkt_server.port, "ann:secret");
    zkt_expect_data(zh, "/access/shared", "1", 1);
    ZKT_IS(zookeeper_close(zh), ZOK);
    kvt_assert_status(kvt_delete(ann, "shared"), FW_OK);
    zkt_close(ann, 10000);
}
END_TEST

START_TEST(credentials_that_cannot_be_are_refused)
{
    static const struct {
        const char *user, *password;
    } cases[] = {{"ann", NULL}, {NULL, "secret"}, {"a:b", "secret"}};
    char url[200], detail[100];
    snprintf(url, sizeof url, "zk://127.0.0.1:%d/access", zkt_server.port);
    for (size_t i = 0; i < KVT_COUNT(cases); i++) {
        fw_kv_options options = {.user = cases[i].user,
                                 .password = cases[i].password,
                                 .detail = detail,
                                 .detail_size = sizeof detail};
        fw_kv *kv;
        FWT_ERR(fw_kv_open(fwt_loop, url, &options, &kv), FW_EOPTION);
        ck_assert_str_ne(detail, "");
    }
}
END_TEST

START_TEST(urls_that_cannot_be_are_refused)
{
    static const struct {
        const char *url;
        int error;
    } cases[] = {
        {"zk:/path", FW_EURL},
        {"zk:///path", FW_EURL},
        {"zk://127.0.0.1:1,:2/path", FW_EURL},
        {"zk://127.0.0.1/path?jute_maxbuffer=", FW_EOPTION},
        {"zk://127.0.0.1/path?jute_maxbuffer=100", FW_EOPTION},
        {"zk://127.0.0.1/path?jute_maxbuffer=-1", FW_EOPTION},
        {"zk://127.0.0.1/path?jute_maxbuffer=1000000000000", FW_EOPTION},
        {"zk://127.0.0.1/path?jute_maxbuffer=20000x", FW_EOPTION},
        {"zk://127.0.0.1/path?cacert=/dev/null", FW_EOPTION},
    };
    for (size_t i = 0; i < KVT_COUNT(cases); i++) {
        fw_kv *kv;
        int err = fw_kv_open(fwt_loop, cases[i].url, NULL, &kv);
        ck_assert_msg(err == cases[i].error, "%s: %s", cases[i].url, fw_error_name(err));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("zk_access");
    TCase *tcase = zkt_tcase(suite, "access", 60);
    tcase_add_test(tcase, what_a_user_writes_nobody_else_reads_or_writes);
    tcase_add_test(tcase, another_client_gets_in_with_the_same_credentials);
    tcase_add_test(tcase, credentials_that_cannot_be_are_refused);
    tcase_add_test(tcase, urls_that_cannot_be_are_refused);
    return fwt_main(suite);
}
