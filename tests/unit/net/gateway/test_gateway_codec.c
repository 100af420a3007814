#include "fwt.h"
#include "gateway/codec.h"
#include "gateway/id_map.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    fwi_gw_command command;
    const char *hex;
} known[] = {
    {{FWI_GW_PING, 0, 0}, "050000000000000005"},
    {{FWI_GW_DIAL, 0, 10086}, "09000000000000000066270000"},
    {{FWI_GW_ACCEPT, 1, 10086}, "0d00000000000000010100000066270000"},
    {{FWI_GW_CONNECT, 1, 1}, "0d00000000000000020100000001000000"},
    {{FWI_GW_REFUSE, 0, 4242}, "09000000000000000392100000"},
    {{FWI_GW_CLOSE, 1, 0}, "09000000000000000401000000"},
};

START_TEST(commands_have_the_bytes_of_the_original)
{
    size_t len;
    uint8_t *wanted = fwt_unhex(known[_i].hex, &len), got[FWI_GW_MAX_COMMAND_BYTES];
    ck_assert_uint_eq(fwi_gw_command_bytes(known[_i].command.type), len);
    fwi_gw_command_encode(&known[_i].command, got);
    fwt_assert_bytes(got, len, wanted, len, "command");
    fwi_gw_command back;
    FWT_OK(fwi_gw_command_decode(wanted, len, &back));
    ck_assert_int_eq(back.type, known[_i].command.type);
    ck_assert_uint_eq(back.conn_id, known[_i].command.conn_id);
    ck_assert_uint_eq(back.remote_id, known[_i].command.remote_id);
    /* Every shorter one is refused; nothing beyond its length is read (memory of exact size). */
    for (size_t n = FWI_GW_HEADER_BYTES; n < len; n++) {
        uint8_t *part = malloc(n);
        memcpy(part, wanted, n);
        FWT_ERR(fwi_gw_command_decode(part, n, &back), FW_EPROTOCOL);
        free(part);
    }
    free(wanted);
}
END_TEST

START_TEST(bytes_after_the_arguments_are_ignored)
{
    uint8_t frame[FWI_GW_MAX_COMMAND_BYTES + 3] = {0};
    fwi_gw_command command;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fwi_gw_command_encode(&known[i].command, frame);
        FWT_OK(fwi_gw_command_decode(frame, sizeof frame, &command));
        ck_assert_uint_eq(command.conn_id, known[i].command.conn_id);
        ck_assert_uint_eq(command.remote_id, known[i].command.remote_id);
    }
}
END_TEST

START_TEST(unknown_types_are_refused)
{
    uint8_t frame[FWI_GW_MAX_COMMAND_BYTES] = {0};
    fwi_gw_command command;
    for (int type = FWI_GW_PING + 1; type < 256; type++) {
        frame[FWI_GW_HEADER_BYTES] = (uint8_t)type;
        FWT_ERR(fwi_gw_command_decode(frame, sizeof frame, &command), FW_EPROTOCOL);
    }
}
END_TEST

START_TEST(the_limit_is_compared_with_the_length_field)
{
    fwi_framer framer;
    fw_slice frame;
    uint8_t bytes[4 + 65] = {64};
    FWT_ERR(fwi_gw_framer_init(&framer, 3), FW_EOPTION);
    FWT_OK(fwi_gw_framer_init(&framer, 64));
    fwi_framer_push(&framer, bytes, 68);
    ck_assert_int_eq(fwi_framer_next(&framer, &frame), 1);
    ck_assert_uint_eq(frame.len, 68);
    bytes[0] = 65;
    fwi_framer_push(&framer, bytes, 4); /* seen as soon as the length is there */
    FWT_ERR(fwi_framer_next(&framer, &frame), FW_EFRAMESIZE);
    fwi_framer_fini(&framer);
}
END_TEST

START_TEST(the_answer_is_md5_of_challenge_and_key)
{
    /* From the captures server_auth_ok and server_auth_empty_key. */
    static const struct {
        const char *challenge, *key, *digest;
    } cases[] = {
        {"2c0bdf6c8bc0d46e", "secret", "c59c91e758ce7036bd8527bb895abf4d"},
        {"7274a45826046899", "", "47147f2cfe789f39c51f1e6485785279"},
    };
    for (size_t i = 0; i < 2; i++) {
        size_t len;
        uint8_t *challenge = fwt_unhex(cases[i].challenge, &len), got[FWI_GW_DIGEST_BYTES];
        uint8_t *wanted = fwt_unhex(cases[i].digest, &len);
        FWT_OK(fwi_gw_digest(challenge, cases[i].key, got));
        fwt_assert_bytes(got, sizeof got, wanted, len, "digest");
        free(challenge);
        free(wanted);
    }
}
END_TEST

START_TEST(the_stronger_answer_is_hmac_over_challenge_and_id)
{
    /* From Python's hmac module. */
    static const struct {
        const char *challenge, *key;
        uint32_t id;
        const char *digest;
    } cases[] = {
        {"0102030405060708", "secret", 7, "131256e8e764d4a53b75dd575d6371de"},
        {"0000000000000000", "", UINT32_MAX, "982a2fe68e112aaf7b3460ddd2ef4b89"},
    };
    for (size_t i = 0; i < 2; i++) {
        size_t len;
        uint8_t *challenge = fwt_unhex(cases[i].challenge, &len), got[FWI_GW_DIGEST_BYTES];
        uint8_t *wanted = fwt_unhex(cases[i].digest, &len);
        FWT_OK(fwi_gw_hmac(challenge, cases[i].key, cases[i].id, got));
        fwt_assert_bytes(got, sizeof got, wanted, len, "digest");
        free(challenge);
        free(wanted);
    }
}
END_TEST

START_TEST(the_id_map_agrees_with_a_plain_array)
{
    enum { IDS = 3000, STEPS = 60000 };
    /* Runs of consecutive ids and ids that share their low bits. */
    static uint32_t ids[IDS];
    static char objects[IDS];
    static bool present[IDS];
    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = i < IDS / 2 ? i : (i - IDS / 2) * 65536 + 4096 * 8;
    fwi_id_map map = {.count = 0};
    uint32_t count = 0;
    srand(1);
    for (int step = 0; step < STEPS; step++) {
        int i = rand() % IDS;
        if (rand() % 2) {
            FWT_OK(fwi_id_map_put(&map, ids[i], &objects[i]));
            count += !present[i];
            present[i] = true;
        } else {
            ck_assert_ptr_eq(fwi_id_map_remove(&map, ids[i]), present[i] ? &objects[i] : NULL);
            count -= present[i];
            present[i] = false;
        }
        i = rand() % IDS;
        ck_assert_ptr_eq(fwi_id_map_get(&map, ids[i]), present[i] ? &objects[i] : NULL);
        ck_assert_uint_eq(map.count, count);
    }
    fwi_id_map_fini(&map);
    ck_assert_ptr_null(fwi_id_map_get(&map, 1));
    ck_assert_ptr_null(fwi_id_map_remove(&map, 1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway codec");
    TCase *tcase = tcase_create("codec");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, commands_have_the_bytes_of_the_original, 0,
                        sizeof known / sizeof *known);
    tcase_add_test(tcase, bytes_after_the_arguments_are_ignored);
    tcase_add_test(tcase, unknown_types_are_refused);
    tcase_add_test(tcase, the_limit_is_compared_with_the_length_field);
    tcase_add_test(tcase, the_answer_is_md5_of_challenge_and_key);
    tcase_add_test(tcase, the_stronger_answer_is_hmac_over_challenge_and_id);
    tcase_add_test(tcase, the_id_map_agrees_with_a_plain_array);
    return fwt_main(suite);
}
