/* The instance's JSON against what walle wrote and read. */
#include "fwt.h"

#include <cjson/cJSON.h>
#include <fairway/discovery.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *load(void)
{
    char *text = fwt_read_file(fwt_source_path("vectors/walle/discovery.json"));
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    free(text);
    return json;
}

static const char *text_of(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(json, name));
    return text ? text : "";
}

static int number_of(const cJSON *json, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(json, name);
    return item ? item->valueint : 0;
}

START_TEST(nodes_are_written_as_walle_writes_them)
{
    cJSON *json = load();
    const cJSON *vector;
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(json, "entry_encode"))
    {
        fw_instance_field fields[8];
        fw_instance instance = {.service = "s",
                                .id = "i",
                                .net = text_of(vector, "net"),
                                .addr = text_of(vector, "addr"),
                                .balance = text_of(vector, "balance"),
                                .state = number_of(vector, "status") ? FW_INSTANCE_OFFLINE
                                                                     : FW_INSTANCE_ONLINE,
                                .metadata = fields};
        const cJSON *member;
        cJSON_ArrayForEach(member, cJSON_GetObjectItem(vector, "md"))
            fields[instance.metadata_count++] =
                (fw_instance_field){member->string, member->valuestring};
        const fw_instance *made;
        char *text;
        FWT_OK(fw_instance_create(&instance, &made));
        FWT_OK(fw_instance_encode(made, &text));
        ck_assert_str_eq(text, text_of(vector, "value"));
        free(text);
        fw_instance_release(made);
    }
    cJSON_Delete(json);
}
END_TEST

START_TEST(nodes_are_read_as_walle_reads_them)
{
    cJSON *json = load();
    const cJSON *vector;
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(json, "entry_decode"))
    {
        const char *value = text_of(vector, "value");
        const fw_instance *instance;
        int err = fw_instance_decode("s", "i", (fw_slice){value, strlen(value)}, &instance);
        if (!cJSON_IsTrue(cJSON_GetObjectItem(vector, "ok"))) {
            ck_assert_msg(err == FW_EINSTANCE, "%s was accepted", value);
            continue;
        }
        ck_assert_msg(!err, "%s: %s", value, fw_strerror(err));
        ck_assert_str_eq(instance->net, text_of(vector, "net"));
        ck_assert_str_eq(instance->addr, text_of(vector, "addr"));
        ck_assert_str_eq(instance->balance, text_of(vector, "balance"));
        ck_assert_int_eq(instance->state, number_of(vector, "state_int8") != 0);
        ck_assert_uint_eq(instance->metadata_count,
                          (size_t)cJSON_GetArraySize(cJSON_GetObjectItem(vector, "md")));
        fw_instance_release(instance);
    }
    cJSON_Delete(json);
}
END_TEST

START_TEST(additions_survive_the_round_trip)
{
    fw_instance_field fields[] = {{"z", "last"}, {"a", "first"}};
    fw_instance from = {.service = "echo",
                        .id = "a-1",
                        .net = "tcp",
                        .addr = "h:1",
                        .zone = "eu",
                        .protocol = "walle",
                        .version = "1.2",
                        .weight = 7,
                        .started = 1700000000,
                        .metadata = fields,
                        .metadata_count = 2};
    const fw_instance *made, *read;
    char *text;
    FWT_OK(fw_instance_create(&from, &made));
    FWT_OK(fw_instance_encode(made, &text));
    FWT_OK(fw_instance_decode("echo", "a-1", (fw_slice){text, strlen(text)}, &read));
    ck_assert_str_eq(read->zone, "eu");
    ck_assert_str_eq(read->version, "1.2");
    ck_assert_str_eq(read->protocol, "walle");
    ck_assert_uint_eq(read->weight, 7);
    ck_assert_int_eq(read->started, 1700000000);
    ck_assert_str_eq(read->metadata[0].name, "a");
    ck_assert_str_eq(read->metadata[1].value, "last");
    free(text);
    fw_instance_release(made);
    fw_instance_release(fw_instance_acquire(read));
    fw_instance_release(read);
}
END_TEST

START_TEST(bad_names_and_urls_are_refused)
{
    const fw_instance *made;
    fw_instance instance = {.service = "a/b", .id = "i", .net = "tcp", .addr = "x:1"};
    FWT_ERR(fw_instance_create(&instance, &made), FW_ESERVICE);
    instance.service = "";
    FWT_ERR(fw_instance_create(&instance, &made), FW_ESERVICE);
    instance.service = "ok";
    instance.id = "no space";
    FWT_ERR(fw_instance_create(&instance, &made), FW_EINSTANCE);
    char *net, *addr, *url;
    FWT_ERR(fw_instance_parse_url("tcp://host", &net, &addr), FW_EURL);
    FWT_ERR(fw_instance_parse_url("tcp://h:1/path", &net, &addr), FW_EURL);
    FWT_ERR(fw_instance_parse_url("unix:", &net, &addr), FW_EURL);
    FWT_OK(fw_instance_parse_url("unix:/run/x", &net, &addr));
    ck_assert_str_eq(addr, "/run/x");
    FWT_OK(fw_instance_url(&(fw_instance){.net = net, .addr = addr}, &url));
    ck_assert_str_eq(url, "unix:/run/x");
    free(net);
    free(addr);
    free(url);
    FWT_OK(fw_instance_parse_url("tcp://[::1]:80", &net, &addr));
    ck_assert_str_eq(net, "tcp");
    ck_assert_str_eq(addr, "[::1]:80");
    free(net);
    free(addr);
}
END_TEST

static void assert_advertised(const char *listened, const char *host, const char *wanted)
{
    char *url;
    FWT_OK(fw_instance_advertise_url(listened, host, &url));
    ck_assert_str_eq(url, wanted);
    free(url);
}

START_TEST(a_listener_on_everything_is_advertised_by_an_address)
{
    char *url;
    unsetenv("FAIRWAY_ADVERTISE");
    assert_advertised("tcp://10.0.0.7:80", NULL, "tcp://10.0.0.7:80");
    assert_advertised("tcp://10.0.0.7:80", "1.2.3.4", "tcp://10.0.0.7:80");
    assert_advertised("unix:/run/x.sock", NULL, "unix:/run/x.sock");
    assert_advertised("tcp://0.0.0.0:80", "1.2.3.4", "tcp://1.2.3.4:80");
    assert_advertised("tcp://[::]:80", "1.2.3.4", "tcp://1.2.3.4:80");
    assert_advertised("tcp://[::]:80", "2001:db8::7", "tcp://[2001:db8::7]:80");
    FWT_ERR(fw_instance_advertise_url("no url", NULL, &url), FW_EURL);

    /* By itself: something that can be listened on. */
    FWT_OK(fw_instance_advertise_url("tcp://0.0.0.0:80", NULL, &url));
    char host[64];
    ck_assert_int_eq(sscanf(url, "tcp://%63[0-9.]:80", host), 1);
    ck_assert_str_ne(host, "0.0.0.0");
    free(url);

    setenv("FAIRWAY_ADVERTISE", "web.example", 1);
    assert_advertised("tcp://0.0.0.0:80", NULL, "tcp://web.example:80");
    assert_advertised("tcp://0.0.0.0:80", "1.2.3.4", "tcp://1.2.3.4:80");
    unsetenv("FAIRWAY_ADVERTISE");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("instance");
    TCase *tcase = tcase_create("instance");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, nodes_are_written_as_walle_writes_them);
    tcase_add_test(tcase, nodes_are_read_as_walle_reads_them);
    tcase_add_test(tcase, additions_survive_the_round_trip);
    tcase_add_test(tcase, bad_names_and_urls_are_refused);
    tcase_add_test(tcase, a_listener_on_everything_is_advertised_by_an_address);
    return fwt_main(suite);
}
