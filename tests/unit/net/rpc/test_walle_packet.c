/* The packet codec against what the original wrote and read. */
#include "fwt.h"
#include "rpc/walle/packet.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *load(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "vectors/walle/%s", name);
    char *text = fwt_read_file(fwt_source_path(path));
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

static void check_fields(const char *name, const cJSON *fields, const fwi_walle_packet *packet)
{
    ck_assert_msg(packet->cmd == cJSON_GetObjectItem(fields, "cmd")->valueint, "%s: cmd", name);
    ck_assert_msg(packet->flag == (uint32_t)cJSON_GetObjectItem(fields, "flag")->valuedouble,
                  "%s: flag", name);
    ck_assert_msg(packet->sequence == strtoull(text_of(fields, "sequence"), NULL, 10),
                  "%s: sequence", name);
    ck_assert_msg(packet->number ==
                      (uint32_t)cJSON_GetObjectItem(fields, "reserved_rq")->valuedouble,
                  "%s: number", name);
    const char *uri = text_of(fields, "uri");
    /* cJSON ends texts at a NUL; one vector has one inside. */
    ck_assert_msg(packet->method.len >= strlen(uri) &&
                      !memcmp(packet->method.data, uri, strlen(uri)),
                  "%s: uri", name);
    size_t len;
    uint8_t *body = fwt_unhex(text_of(fields, "body_hex"), &len);
    fwt_assert_bytes(packet->body.data, packet->body.len, body, len, name);
    free(body);
    const cJSON *metadata = cJSON_GetObjectItem(fields, "metadata");
    ck_assert_msg(packet->metadata_count == (size_t)cJSON_GetArraySize(metadata), "%s: metadata",
                  name);
    for (size_t i = 0; i < packet->metadata_count; i++) {
        const fw_rpc_field *field = &packet->metadata[i];
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)field->name.len, (const char *)field->name.data);
        const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, key));
        ck_assert_msg(value && strlen(value) == field->value.len &&
                          !memcmp(value, field->value.data, field->value.len),
                      "%s: metadata %s", name, key);
    }
}

static void check_encoding(const char *name, const fwi_walle_packet *packet, const char *hex)
{
    size_t wanted_len, len = fwi_walle_size(packet);
    uint8_t *wanted = fwt_unhex(hex, &wanted_len), *bytes = malloc(len ? len : 1);
    fwi_walle_encode(packet, bytes);
    fwt_assert_bytes(bytes, len, wanted, wanted_len, name);
    free(bytes);
    free(wanted);
}

START_TEST(packets_of_the_original_are_read_and_written_byte_for_byte)
{
    cJSON *json = load("packets.json");
    const cJSON *vector;
    size_t count = 0;
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(json, "vectors"))
    {
        const char *name = text_of(vector, "name");
        size_t len;
        uint8_t *bytes = fwt_unhex(text_of(vector, "packet_hex"), &len);
        fwi_walle_packet packet;
        fw_rpc_field metadata[FWI_RPC_MAX_METADATA];
        FWT_OK(fwi_walle_decode(&packet, metadata, bytes, len));
        /* "all_fields" also has the reserved fields 10 to 13, which nobody sets: read, not written.
         */
        if (strcmp(name, "all_fields")) {
            check_fields(name, cJSON_GetObjectItem(vector, "fields"), &packet);
            check_encoding(name, &packet, text_of(vector, "packet_hex"));
        }
        free(bytes);
        count++;
    }
    ck_assert_uint_ge(count, 50);
    cJSON_Delete(json);
}
END_TEST

START_TEST(odd_input_is_read_as_the_original_reads_it)
{
    cJSON *json = load("decode.json");
    const cJSON *vector;
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(json, "vectors"))
    {
        const char *name = text_of(vector, "name");
        size_t len;
        uint8_t *bytes = fwt_unhex(text_of(vector, "packet_hex"), &len);
        fwi_walle_packet packet;
        fw_rpc_field metadata[FWI_RPC_MAX_METADATA];
        int err = fwi_walle_decode(&packet, metadata, bytes, len);
        if (cJSON_GetObjectItem(vector, "decode_error")) {
            ck_assert_msg(err == FW_EPACKET, "%s was accepted", name);
        } else {
            ck_assert_msg(err == FW_OK, "%s: %s", name, fw_strerror(err));
            const cJSON *fields = cJSON_GetObjectItem(vector, "fields");
            check_fields(name, fields, &packet);
            if (!cJSON_GetObjectItem(fields, "unknown_hex")) /* unknown fields are not kept */
                check_encoding(name, &packet, text_of(vector, "reencoded_hex"));
        }
        free(bytes);
    }
    cJSON_Delete(json);
}
END_TEST

START_TEST(errors_of_the_original_are_read_and_written)
{
    cJSON *json = load("packets.json");
    const cJSON *vector;
    size_t count = 0;
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(json, "vectors"))
    {
        const cJSON *code = cJSON_GetObjectItem(vector, "err_code");
        if (!code)
            continue;
        const char *name = text_of(vector, "name"), *codec = text_of(vector, "body_codec");
        const char *hex = text_of(cJSON_GetObjectItem(vector, "fields"), "body_hex");
        size_t len;
        uint8_t *bytes = fwt_unhex(hex, &len);
        fwi_rpc_error error;
        FWT_OK(fwi_walle_error_decode(&error, (fw_slice){bytes, len}));
        ck_assert_msg(error.code == (int64_t)code->valuedouble, "%s: code", name);
        ck_assert_msg(error.logic == cJSON_IsTrue(cJSON_GetObjectItem(vector, "err_logic")), "%s",
                      name);
        ck_assert_str_eq(error.text, text_of(vector, "err_desc"));
        fw_slice body;
        FWT_OK(fwi_walle_error_encode(
            &error, strcmp(codec, "json") ? FW_RPC_ERRORS_PROTOBUF : FW_RPC_ERRORS_JSON, &body));
        fwt_assert_bytes(body.data, body.len, bytes, len, name);
        free((void *)body.data);
        free(bytes);
        count++;
    }
    ck_assert_uint_ge(count, 10);
    cJSON_Delete(json);
}
END_TEST

START_TEST(too_much_metadata_and_bad_errors_are_refused)
{
    uint8_t bytes[(FWI_RPC_MAX_METADATA + 1) * 5];
    for (uint8_t i = 0; i <= FWI_RPC_MAX_METADATA; i++)
        memcpy(bytes + i * 5, (uint8_t[]){0x22, 3, 0x0a, 1, (uint8_t)(33 + i)}, 5);
    fwi_walle_packet packet;
    fw_rpc_field metadata[FWI_RPC_MAX_METADATA];
    FWT_OK(fwi_walle_decode(&packet, metadata, bytes, sizeof bytes - 5));
    FWT_ERR(fwi_walle_decode(&packet, metadata, bytes, sizeof bytes), FW_EPACKET);
    fwi_rpc_error error;
    FWT_ERR(fwi_walle_error_decode(&error, (fw_slice){"{\"Code\":", 8}), FW_EPACKET);
    FWT_OK(fwi_walle_error_decode(&error, (fw_slice){"{\"Code\":1e300}", 14}));
    char text[600];
    memset(text, 'x', sizeof text);
    memcpy(text, "{\"Desc\":\"", 9);
    memcpy(text + sizeof text - 2, "\"}", 2);
    FWT_OK(fwi_walle_error_decode(&error, (fw_slice){text, sizeof text}));
    ck_assert_uint_eq(strlen(error.text), sizeof error.text - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("walle_packet");
    TCase *tcase = tcase_create("packet");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, packets_of_the_original_are_read_and_written_byte_for_byte);
    tcase_add_test(tcase, odd_input_is_read_as_the_original_reads_it);
    tcase_add_test(tcase, errors_of_the_original_are_read_and_written);
    tcase_add_test(tcase, too_much_metadata_and_bad_errors_are_refused);
    return fwt_main(suite);
}
