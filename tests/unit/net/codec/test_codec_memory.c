/*
 * The codecs without memory: each allocation in turn is the one that fails. Every run must end with
 * UV_ENOMEM or succeed, and leave nothing behind (the address sanitizer looks). Linked so that
 * malloc and its kin of our code come here; cJSON is told of them.
 */
#include "fwt.h"
#ifdef FWI_CODEC_PROTOBUF
#include "sample.pb-c.h"
#endif

#include <cjson/cJSON.h>
#include <fairway/protobuf.h>
#include <fairway/sproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);

static size_t left = SIZE_MAX; /* allocations that still succeed; SIZE_MAX: all */
static bool has_failed;

static bool fails(void)
{
    if (left == SIZE_MAX)
        return false;
    if (left) {
        left--;
        return false;
    }
    has_failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

static void setup(void)
{
    left = SIZE_MAX;
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = __wrap_malloc, .free_fn = free});
}

/* Something that takes memory, and gives it all back. */
typedef int (*work_fn)(const void *arg);

static void starve(work_fn work, const void *arg, const char *name)
{
    size_t runs = 0;
    do {
        left = runs++;
        has_failed = false;
        int err = work(arg);
        left = SIZE_MAX;
        ck_assert_msg(has_failed ? err == UV_ENOMEM : !err, "%s: %s in run %zu", name,
                      fw_strerror(err), runs);
    } while (has_failed && runs < 10000);
    ck_assert_uint_gt(runs, 3);
    ck_assert_uint_lt(runs, 10000);
}

static const char schema_text[] =
    ".E { id 1 : integer name 2 : string }\n"
    ".T {\n"
    "  i 0 : integer b 1 : boolean s 2 : string n 3 : binary d 4 : double t 6 : T as 9 : *string\n"
    "  ai 7 : *integer ab 8 : *boolean ad 11 : *double at 15 : *T byid 20 : *E(id) kv 22 : *E()\n"
    "}\n"
    "call 1 { request T response { x 0 : integer } }\n"
    "ping 2 { response nil }\n";

static const char value_text[] =
    "{\"i\":\"-9007199254740993\",\"b\":true,\"s\":\"x\",\"n\":\"AA==\",\"d\":1.5,\"t\":{\"i\":1},"
    "\"as\":[\"\",{\"$bin\":\"/w==\"}],\"ai\":[1,-70000],\"ab\":[true],\"ad\":[1,2],\"at\":[{}],"
    "\"byid\":{\"1\":{\"name\":\"a\"},\"2\":{\"id\":2}},\"kv\":{\"2\":\"c\"}}";

static int schema_work(const void *arg)
{
    (void)arg;
    fw_sproto *schema = NULL, *loaded = NULL;
    uint8_t *bundle = NULL;
    size_t len;
    int err = fw_sproto_parse(schema_text, sizeof schema_text - 1, &schema, NULL);
    if (!err)
        err = fw_sproto_bundle(schema, &bundle, &len);
    if (!err)
        err = fw_sproto_load(bundle, len, &loaded, NULL);
    free(bundle);
    fw_sproto_destroy(loaded);
    fw_sproto_destroy(schema);
    return err;
}

START_TEST(test_schema)
{
    starve(schema_work, NULL, "schema");
}
END_TEST

#ifdef FWI_CODEC_PROTOBUF
static int load_work(const void *arg)
{
    fw_protobuf *schema;
    const fw_slice *set = arg;
    int err = fw_protobuf_load(set->data, set->len, &schema, NULL);
    if (!err)
        fw_protobuf_destroy(schema);
    return err;
}

START_TEST(test_descriptor_set)
{
    static uint8_t set[16 * 1024];
    FILE *file = fopen(SAMPLE_DIR "/sample.desc", "rb");
    ck_assert_ptr_nonnull(file);
    size_t len = fread(set, 1, sizeof set, file);
    fclose(file);
    starve(load_work, &(fw_slice){set, len}, "descriptor set");
}
END_TEST
#endif

typedef struct message {
    const fw_codec *codec;
    const void *type;
    const cJSON *json;
} message;

static int message_work(const void *arg)
{
    const message *own = arg;
    uint8_t *data;
    size_t len;
    cJSON *json;
    int err = fw_codec_encode_json(own->codec, own->type, own->json, NULL, &data, &len, NULL);
    if (err)
        return err;
    err = fw_codec_decode_json(own->codec, own->type, data, len, NULL, &json, NULL);
    free(data);
    if (!err)
        cJSON_Delete(json);
    return err;
}

static void check_codec(const char *name, const void *type, const char *text)
{
    message own = {.type = type};
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    own.json = json;
    if (!fw_codec_get(name, &own.codec)) /* not in every build */
        starve(message_work, &own, name);
    cJSON_Delete(json);
}

START_TEST(test_messages)
{
    fw_sproto *schema;
    FWT_OK(fw_sproto_parse(schema_text, sizeof schema_text - 1, &schema, NULL));
    check_codec("sproto", fw_sproto_get_type(schema, "T"), value_text);
    fw_sproto_destroy(schema);
    check_codec("raw", NULL, "{\"$bin\":\"/wA=\"}");
    check_codec("msgpack", NULL,
                "{\"a\":[1,\"x\",null,{\"$bin\":\"AA==\"},{\"$int\":\"18446744073709551615\"},"
                "{\"$map\":[[1,2]]},{\"$ext\":[1,\"AA==\"]},{\"$str\":\"/w==\"}]}");
#ifdef FWI_CODEC_PROTOBUF
    check_codec("protobuf", &sample__all__descriptor,
                "{\"inner\":{\"next\":{\"number\":1}},\"numbers\":[1,2],\"texts\":[\"\",\"b\"],"
                "\"blobs\":[\"AA==\",\"\"],\"inners\":[{},{}],\"choiceInner\":{},\"aText\":\"x\","
                "\"counts\":{\"a\":1,\"b\":2},\"innerById\":{\"1\":{}},\"someBytes\":\"AA==\"}");
#endif
}
END_TEST

typedef struct call {
    const fw_sproto *schema;
    const cJSON *args;
} call;

static int call_work(const void *arg)
{
    const call *own = arg;
    fw_sproto_host_options options = {.local = own->schema, .remote = own->schema};
    fw_sproto_host *host;
    fw_sproto_event event;
    uint64_t session = 7;
    uint8_t *data;
    size_t len;
    int err = fw_sproto_host_create(&options, &host);
    if (err)
        return err;
    err = fw_sproto_host_request(host, "call", own->args, &session, &(fw_slice){"ud", 2}, &data,
                                 &len, NULL);
    if (!err) {
        err = fw_sproto_host_dispatch(host, data, len, &event, NULL);
        free(data);
        if (!err)
            fw_sproto_event_fini(&event);
    }
    fw_sproto_host_destroy(host);
    return err;
}

START_TEST(test_calls)
{
    fw_sproto *schema;
    cJSON *args = cJSON_Parse(value_text);
    FWT_OK(fw_sproto_parse(schema_text, sizeof schema_text - 1, &schema, NULL));
    starve(call_work, &(call){schema, args}, "call");
    cJSON_Delete(args);
    fw_sproto_destroy(schema);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec without memory");
    TCase *tc = tcase_create("memory");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_test(tc, test_schema);
    tcase_add_test(tc, test_messages);
#ifdef FWI_CODEC_PROTOBUF
    tcase_add_test(tc, test_descriptor_set);
#endif
    tcase_add_test(tc, test_calls);
    return fwt_main(suite);
}
