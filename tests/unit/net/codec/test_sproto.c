/* sproto against what the original wrote and read: every file of vectors/sproto. */
#include "codec/base64.h"
#include "fwt.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <fairway/sproto.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VECTORS 200

static cJSON *vectors[MAX_VECTORS];
static size_t vector_count;

static void setup(void)
{
    const char *dir_path = fwt_source_path("vectors/sproto");
    char path[4096];
    DIR *dir = opendir(dir_path);
    ck_assert_ptr_nonnull(dir);
    char folder[2048];
    snprintf(folder, sizeof folder, "%s", dir_path);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *text = fwt_read_file(path);
        ck_assert_uint_lt(vector_count, MAX_VECTORS);
        vectors[vector_count] = cJSON_Parse(text);
        ck_assert_msg(vectors[vector_count] != NULL, "%s", path);
        vector_count++;
        free(text);
    }
    closedir(dir);
    ck_assert_uint_gt(vector_count, 100);
}

static void teardown(void)
{
    while (vector_count)
        cJSON_Delete(vectors[--vector_count]);
}

static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(get(object, name));
}

/* Whether a vector is of a kind; NULL: none is said, which is a round trip. */
static bool is_kind(const cJSON *vector, const char *kind)
{
    const char *own = text_of(vector, "kind");
    return kind ? own && !strcmp(own, kind) : !own;
}

static fw_sproto *parse(const cJSON *vector, const char *name)
{
    fw_sproto *schema;
    fw_codec_error error;
    const char *text = text_of(vector, name);
    int err = fw_sproto_parse(text, strlen(text), &schema, &error);
    ck_assert_msg(!err, "%s: %s", text_of(vector, "name"), error.text);
    return schema;
}

/* ---- the vectors' notation of values, and ours ---- */

static cJSON *bin_of_hex(const char *hex)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    char *text = fwi_base64_encode((fw_slice){bytes, len});
    cJSON *bin = cJSON_CreateObject();
    cJSON_AddStringToObject(bin, "$bin", text);
    free(text);
    free(bytes);
    return bin;
}

static double number_of(const char *text)
{
    return !strcmp(text, "inf")    ? INFINITY
           : !strcmp(text, "-inf") ? -INFINITY
           : !strcmp(text, "nan")  ? NAN
                                   : -0.0;
}

static void key_text(const cJSON *key, char *ret_text, size_t size)
{
    if (cJSON_IsString(key))
        snprintf(ret_text, size, "%s", key->valuestring);
    else if (cJSON_IsBool(key))
        snprintf(ret_text, size, "%s", cJSON_IsTrue(key) ? "true" : "false");
    else
        snprintf(ret_text, size, "%.0f", key->valuedouble);
}

static cJSON *to_ours(const cJSON *theirs)
{
    const cJSON *at;
    if (text_of(theirs, "$hex"))
        return bin_of_hex(text_of(theirs, "$hex"));
    if (text_of(theirs, "$int"))
        return cJSON_CreateString(text_of(theirs, "$int"));
    if (text_of(theirs, "$num"))
        return cJSON_CreateNumber(number_of(text_of(theirs, "$num")));
    if (get(theirs, "$map")) {
        cJSON *object = cJSON_CreateObject();
        cJSON_ArrayForEach(at, get(theirs, "$map"))
        {
            char key[64];
            key_text(at->child, key, sizeof key);
            cJSON_AddItemToObject(object, key, to_ours(at->child->next));
        }
        return object;
    }
    if (cJSON_IsArray(theirs)) {
        cJSON *array = cJSON_CreateArray();
        cJSON_ArrayForEach(at, theirs) cJSON_AddItemToArray(array, to_ours(at));
        return array;
    }
    if (cJSON_IsObject(theirs)) {
        cJSON *object = cJSON_CreateObject();
        cJSON_ArrayForEach(at, theirs) cJSON_AddItemToObject(object, at->string, to_ours(at));
        return object;
    }
    return cJSON_Duplicate(theirs, true);
}

static bool same_bytes(const cJSON *ours, const void *bytes, size_t len)
{
    const char *text = cJSON_GetStringValue(get(ours, "$bin") ? get(ours, "$bin") : ours);
    uint8_t *own;
    size_t own_len;
    if (!text || fwi_base64_decode(text, &own, &own_len))
        return false;
    bool is_same = own_len == len && !memcmp(own, bytes, len);
    free(own);
    return is_same;
}

static bool same_number(const cJSON *ours, double number)
{
    if (cJSON_IsString(ours)) /* Infinity */
        return isinf(number) && !strcmp(ours->valuestring, number > 0 ? "Infinity" : "-Infinity");
    return cJSON_IsNumber(ours) && ours->valuedouble == number &&
           signbit(ours->valuedouble) == signbit(number);
}

static bool same(const cJSON *ours, const cJSON *theirs);

/* An indexed container: Lua shows one with the keys 1, 2, ... as an array. */
static bool same_map(const cJSON *ours, const cJSON *theirs)
{
    const cJSON *map = get(theirs, "$map"), *at;
    int i = 0;
    if (cJSON_GetArraySize(ours) != cJSON_GetArraySize(map ? map : theirs))
        return false;
    const cJSON *all = map ? map : theirs;
    cJSON_ArrayForEach(at, all)
    {
        char key[64];
        if (map)
            key_text(at->child, key, sizeof key);
        else
            snprintf(key, sizeof key, "%d", ++i);
        if (!same(get(ours, key), map ? at->child->next : at))
            return false;
    }
    return true;
}

static bool same(const cJSON *ours, const cJSON *theirs)
{
    if (!ours || !theirs)
        return ours == theirs;
    if (text_of(theirs, "$hex")) {
        size_t len;
        uint8_t *bytes = fwt_unhex(text_of(theirs, "$hex"), &len);
        bool is_same = same_bytes(ours, bytes, len);
        free(bytes);
        return is_same;
    }
    if (text_of(theirs, "$int"))
        return cJSON_IsString(ours) && !strcmp(ours->valuestring, text_of(theirs, "$int"));
    if (text_of(theirs, "$num"))
        return same_number(ours, number_of(text_of(theirs, "$num")));
    if (get(theirs, "$map") || (cJSON_IsArray(theirs) && cJSON_IsObject(ours)))
        return same_map(ours, theirs);
    if (cJSON_IsObject(theirs) && !theirs->child)
        return !ours->child;
    if (cJSON_GetArraySize(ours) != cJSON_GetArraySize(theirs))
        return false;
    if (cJSON_IsObject(theirs) || cJSON_IsArray(theirs)) {
        const cJSON *at, *own = ours->child;
        cJSON_ArrayForEach(at, theirs)
        {
            if (!same(cJSON_IsObject(theirs) ? get(ours, at->string) : own, at))
                return false;
            own = own->next;
        }
        return true;
    }
    if (cJSON_IsString(theirs))
        return (cJSON_IsString(ours) && !strcmp(ours->valuestring, theirs->valuestring)) ||
               same_bytes(ours, theirs->valuestring, strlen(theirs->valuestring));
    if (cJSON_IsNumber(theirs))
        return same_number(ours, theirs->valuedouble);
    return cJSON_Compare(ours, theirs, true);
}

static void check_same(const cJSON *ours, const cJSON *theirs, const char *name)
{
    char *own = cJSON_PrintUnformatted(ours), *other = cJSON_PrintUnformatted(theirs);
    ck_assert_msg(same(ours, theirs), "%s: got %s, wanted %s", name, own ? own : "nothing",
                  other ? other : "nothing");
    cJSON_free(own);
    cJSON_free(other);
}

/* ---- messages ---- */

static void check_packing(const char *name, const uint8_t *raw, size_t raw_len, const cJSON *vector)
{
    size_t len, out_len, unpacked_len = (size_t)get(vector, "unpacked_len")->valuedouble;
    uint8_t *packed = fwt_unhex(text_of(vector, "packed_hex"), &len), *back;
    uint8_t *out = malloc(fw_sproto_pack_bound(raw_len));
    out_len = fw_sproto_pack(raw, raw_len, out);
    fwt_assert_bytes(out, out_len, packed, len, name);
    FWT_OK(fw_sproto_unpack(packed, len, unpacked_len, &back, &out_len));
    ck_assert_uint_eq(out_len, unpacked_len);
    ck_assert(!memcmp(back, raw, raw_len));
    for (size_t i = raw_len; i < out_len; i++)
        ck_assert_uint_eq(back[i], 0);
    free(back);
    if (unpacked_len)
        FWT_ERR(fw_sproto_unpack(packed, len, unpacked_len - 1, &back, &out_len), FW_ELIMIT);
    free(packed);
    free(out);
}

START_TEST(test_round_trips)
{
    size_t done = 0;
    for (size_t i = 0; i < vector_count; i++) {
        const cJSON *vector = vectors[i];
        const char *name = text_of(vector, "name");
        if (!is_kind(vector, NULL))
            continue;
        fw_sproto *schema = parse(vector, "schema");
        const fw_sproto_type *type = fw_sproto_get_type(schema, text_of(vector, "type"));
        ck_assert_ptr_nonnull(type);
        size_t wanted_len, len, used;
        uint8_t *wanted = fwt_unhex(text_of(vector, "encoded_hex"), &wanted_len), *out;
        cJSON *value = to_ours(get(vector, "value")), *decoded;
        fw_codec_error error;
        int err = fw_sproto_encode(type, value, NULL, &out, &len, &error);
        ck_assert_msg(!err, "%s: %s", name, error.text);
        fwt_assert_bytes(out, len, wanted, wanted_len, name);
        check_packing(name, out, len, vector);
        free(out);
        err = fw_sproto_decode(type, wanted, wanted_len, NULL, &decoded, &used, &error);
        ck_assert_msg(!err, "%s: %s", name, error.text);
        ck_assert_uint_eq(used, wanted_len);
        check_same(decoded, get(vector, "decoded"), name);
        FWT_OK(fw_sproto_encode(type, decoded, NULL, &out, &len, &error));
        fwt_assert_bytes(out, len, wanted, wanted_len, name);
        free(out);
        free(wanted);
        cJSON_Delete(value);
        cJSON_Delete(decoded);
        fw_sproto_destroy(schema);
        done++;
    }
    ck_assert_uint_gt(done, 40);
}
END_TEST

START_TEST(test_decoding)
{
    size_t done = 0;
    for (size_t i = 0; i < vector_count; i++) {
        const cJSON *vector = vectors[i];
        const char *name = text_of(vector, "name");
        if (!is_kind(vector, "decode"))
            continue;
        fw_sproto *schema = parse(vector, "schema");
        const fw_sproto_type *type = fw_sproto_get_type(schema, text_of(vector, "type"));
        size_t len, used;
        uint8_t *bytes = fwt_unhex(text_of(vector, "encoded_hex"), &len);
        cJSON *decoded;
        fw_codec_error error;
        int err = fw_sproto_decode(type, bytes, len, NULL, &decoded, &used, &error);
        /* The original takes the bits of a whole number for a double; we refuse it. */
        bool is_refused = text_of(vector, "error") || !strcmp(name, "dec_double_4_bytes");
        ck_assert_msg(err == (is_refused ? FW_EMESSAGE : FW_OK), "%s: %s", name, fw_strerror(err));
        if (is_refused) {
            ck_assert_msg(error.text[0] != 0, "%s", name);
        } else {
            check_same(decoded, get(vector, "decoded"), name);
            ck_assert_uint_eq(used, (size_t)get(vector, "consumed")->valuedouble);
            cJSON_Delete(decoded);
        }
        free(bytes);
        fw_sproto_destroy(schema);
        done++;
    }
    ck_assert_uint_gt(done, 20);
}
END_TEST

START_TEST(test_encoding_errors)
{
    for (size_t i = 0; i < vector_count; i++) {
        const cJSON *vector = vectors[i];
        if (!is_kind(vector, "encode_error"))
            continue;
        fw_sproto *schema = parse(vector, "schema");
        cJSON *value =
            get(vector, "nesting") ? cJSON_CreateObject() : to_ours(get(vector, "value"));
        for (int n = get(vector, "nesting") ? get(vector, "nesting")->valueint : 0; n > 1; n--) {
            cJSON *outer = cJSON_CreateObject();
            cJSON_AddItemToObject(outer, "a", value);
            value = outer;
        }
        uint8_t *out;
        size_t len;
        fw_codec_error error;
        int err = fw_sproto_encode(fw_sproto_get_type(schema, text_of(vector, "type")), value, NULL,
                                   &out, &len, &error);
        ck_assert_msg(err == (get(vector, "nesting") ? FW_ELIMIT : FW_EMESSAGE), "%s: %s",
                      text_of(vector, "name"), fw_strerror(err));
        ck_assert(error.text[0]);
        cJSON_Delete(value);
        fw_sproto_destroy(schema);
    }
}
END_TEST

START_TEST(test_packing)
{
    size_t done = 0;
    for (size_t i = 0; i < vector_count; i++) {
        const cJSON *vector = vectors[i];
        const char *name = text_of(vector, "name");
        size_t len, out_len;
        uint8_t *out;
        if (is_kind(vector, "pack")) {
            uint8_t *raw = fwt_unhex(text_of(vector, "raw_hex"), &len);
            check_packing(name, raw, len, vector);
            free(raw);
            done++;
        } else if (is_kind(vector, "unpack")) {
            uint8_t *packed = fwt_unhex(text_of(vector, "packed_hex"), &len);
            int err = fw_sproto_unpack(packed, len, 1 << 20, &out, &out_len);
            ck_assert_msg(err == (text_of(vector, "error") ? FW_EMESSAGE : FW_OK), "%s", name);
            if (!err) {
                size_t raw_len;
                uint8_t *raw = fwt_unhex(text_of(vector, "raw_hex"), &raw_len);
                fwt_assert_bytes(out, out_len, raw, raw_len, name);
                free(raw);
                free(out);
            }
            free(packed);
            done++;
        }
    }
    ck_assert_uint_gt(done, 10);
}
END_TEST

/* ---- schemas ---- */

START_TEST(test_schemas)
{
    size_t done = 0;
    for (size_t i = 0; i < vector_count; i++) {
        const cJSON *vector = vectors[i];
        const char *name = text_of(vector, "name"), *text = text_of(vector, "schema");
        if (!is_kind(vector, "schema"))
            continue;
        done++;
        fw_sproto *schema, *loaded;
        fw_codec_error error;
        int err = fw_sproto_parse(text, strlen(text), &schema, &error);
        if (text_of(vector, "error")) {
            ck_assert_msg(err == FW_ESCHEMA, "%s: %s", name, fw_strerror(err));
            ck_assert_msg(!strncmp(error.text, "line ", 5), "%s: %s", name, error.text);
            const char *line = strstr(text_of(vector, "error"), "line (");
            if (line)
                ck_assert_msg(atoi(error.text + 5) == atoi(line + 6), "%s: %s", name, error.text);
            continue;
        }
        ck_assert_msg(!err, "%s: %s", name, error.text);
        size_t len, wanted_len;
        uint8_t *wanted = fwt_unhex(text_of(vector, "bundle_hex"), &wanted_len), *bundle;
        FWT_OK(fw_sproto_bundle(schema, &bundle, &len));
        fwt_assert_bytes(bundle, len, wanted, wanted_len, name);
        free(bundle);
        err = fw_sproto_load(wanted, wanted_len, &loaded, &error);
        ck_assert_msg(!err, "%s: %s", name, error.text);
        FWT_OK(fw_sproto_bundle(loaded, &bundle, &len));
        fwt_assert_bytes(bundle, len, wanted, wanted_len, name);
        free(bundle);
        free(wanted);
        fw_sproto_destroy(loaded);
        fw_sproto_destroy(schema);
    }
    ck_assert_uint_gt(done, 15);
}
END_TEST

/* ---- remote calls ---- */

typedef struct end {
    fw_sproto_host *host;
    const fw_sproto_protocol *asked[16]; /* requests to it, by session */
    uint64_t sessions[16];
    size_t asked_count;
} end;

static const fw_sproto_protocol *asked_by(const end *asked, uint64_t session)
{
    for (size_t i = asked->asked_count; i; i--)
        if (asked->sessions[i - 1] == session)
            return asked->asked[i - 1];
    ck_abort_msg("no request with this session");
    return NULL;
}

/* The message that the frame says is sent. */
static void make_message(end *from, const cJSON *frame, uint8_t **ret_data, size_t *ret_len)
{
    const char *user_data = text_of(frame, "ud");
    fw_slice ud = {user_data, user_data ? strlen(user_data) : 0};
    const cJSON *session = get(frame, "session");
    uint64_t number = cJSON_IsNumber(session) ? (uint64_t)session->valuedouble : 0;
    cJSON *args = to_ours(get(frame, "args"));
    const cJSON *body = cJSON_IsNull(args) ? NULL : args;
    if (!strcmp(text_of(frame, "op"), "request"))
        FWT_OK(fw_sproto_host_request(from->host, text_of(frame, "protocol"), body,
                                      cJSON_IsNumber(session) ? &number : NULL,
                                      user_data ? &ud : NULL, ret_data, ret_len, NULL));
    else
        FWT_OK(fw_sproto_host_respond(from->host, asked_by(from, number), number, body,
                                      user_data ? &ud : NULL, ret_data, ret_len, NULL));
    cJSON_Delete(args);
}

static void check_event(end *to, const fw_sproto_event *event, const cJSON *dispatched,
                        const char *name)
{
    bool is_request = !strcmp(text_of(dispatched, "kind"), "REQUEST");
    ck_assert_msg(event->kind == (is_request ? FW_SPROTO_REQUEST : FW_SPROTO_RESPONSE), "%s", name);
    if (is_request) {
        ck_assert_str_eq(event->protocol->name, text_of(dispatched, "name"));
        ck_assert_int_eq(event->has_session, cJSON_IsTrue(get(dispatched, "has_response")));
        to->sessions[to->asked_count] = event->session;
        to->asked[to->asked_count++] = event->protocol;
    } else {
        ck_assert_uint_eq(event->session, (uint64_t)get(dispatched, "session")->valuedouble);
    }
    const cJSON *args = get(dispatched, "args");
    check_same(event->body, cJSON_IsNull(args) ? NULL : args, name);
    const char *ud = text_of(dispatched, "ud");
    ck_assert_int_eq(ud != NULL, event->user_data != NULL);
    if (ud)
        ck_assert_str_eq(event->user_data, ud);
}

static void check_frame(end *from, end *to, const cJSON *frame, const char *name)
{
    size_t len, made_len;
    uint8_t *bytes = fwt_unhex(text_of(frame, "hex"), &len), *made;
    fw_sproto_event event;
    fw_codec_error error;
    if (strcmp(text_of(frame, "op"), "raw") != 0) {
        make_message(from, frame, &made, &made_len);
        fwt_assert_bytes(made, made_len, bytes, len, name);
        free(made);
    }
    int err = fw_sproto_host_dispatch(to->host, bytes, len, &event, &error);
    free(bytes);
    if (text_of(frame, "error")) {
        ck_assert_msg(err == FW_ENOTFOUND || err == FW_EMESSAGE, "%s: %s", name, fw_strerror(err));
        ck_assert(error.text[0]);
        return;
    }
    ck_assert_msg(!err, "%s: %s", name, error.text);
    check_event(to, &event, get(frame, "dispatched"), name);
    fw_sproto_event_fini(&event);
}

START_TEST(test_calls)
{
    size_t done = 0;
    for (size_t i = 0; i < vector_count; i++) {
        const cJSON *vector = vectors[i], *frame;
        if (!is_kind(vector, "rpc"))
            continue;
        fw_sproto *server_schema = parse(vector, "server_schema"),
                  *client_schema = parse(vector, "client_schema");
        fw_sproto_host_options of_server = {.local = server_schema, .remote = client_schema};
        fw_sproto_host_options of_client = {.local = client_schema, .remote = server_schema};
        end server = {.host = NULL}, client = {.host = NULL};
        FWT_OK(fw_sproto_host_create(&of_server, &server.host));
        FWT_OK(fw_sproto_host_create(&of_client, &client.host));
        cJSON_ArrayForEach(frame, get(vector, "frames"))
        {
            bool to_server = !strcmp(text_of(frame, "dir"), "c2s");
            check_frame(to_server ? &client : &server, to_server ? &server : &client, frame,
                        text_of(vector, "name"));
        }
        fw_sproto_host_destroy(server.host);
        fw_sproto_host_destroy(client.host);
        fw_sproto_destroy(server_schema);
        fw_sproto_destroy(client_schema);
        done++;
    }
    ck_assert_uint_gt(done, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sproto");
    TCase *tc = tcase_create("vectors");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_test(tc, test_round_trips);
    tcase_add_test(tc, test_decoding);
    tcase_add_test(tc, test_encoding_errors);
    tcase_add_test(tc, test_packing);
    tcase_add_test(tc, test_schemas);
    tcase_add_test(tc, test_calls);
    return fwt_main(suite);
}
