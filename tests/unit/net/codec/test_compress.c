/* Compression of messages: what goes in comes out, and lies about sizes cost nothing. */
#include "base/bytes.h"
#include "base/random.h"
#include "codec/compress.h"
#include "fwt.h"

#include <stdlib.h>
#include <string.h>

static const char *const methods[] = {"zstd", "lz4"};
static fwi_compressor *compressor;

static void setup(void)
{
    fwt_loop_setup();
    FWT_OK(fwi_compressor_acquire(fwt_loop, &compressor));
}

static void teardown(void)
{
    fwi_compressor_release(compressor);
    fwt_loop_teardown();
}

/* The message as on the wire, in memory of its exact size. */
static uint8_t *packed(const fw_compression *options, const void *data, size_t len, size_t *ret_len)
{
    fwi_packed message;
    FWT_OK(fwi_compress(compressor, options, data, len, &message));
    *ret_len = message.head_len + message.body.len;
    uint8_t *wire = malloc(*ret_len);
    memcpy(wire, message.head, message.head_len);
    if (message.body.len)
        memcpy(wire + message.head_len, message.body.data, message.body.len);
    return wire;
}

static bool have(const char *method)
{
    return fw_compression_check(&(fw_compression){.method = method}) == FW_OK;
}

/* Text that compresses well, of any length. */
static uint8_t *make_text(size_t len)
{
    uint8_t *text = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = (uint8_t) "the quick brown fox "[(i + i / 97) % 20];
    return text;
}

START_TEST(test_round_trip)
{
    static const size_t sizes[] = {0, 1, 255, 256, 4096, 100000, 1000000};
    for (size_t m = 0; m < 2; m++)
        for (int level = 0; have(methods[m]) && level <= 12; level += 3)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                fw_compression options = {.method = methods[m], .level = level};
                FWT_OK(fw_compression_check(&options));
                uint8_t *text = make_text(sizes[i]);
                size_t len;
                uint8_t *wire = packed(&options, text, sizes[i], &len);
                if (sizes[i] < 256)
                    ck_assert_uint_eq(len, sizes[i] + 1);
                else
                    ck_assert_uint_lt(len, sizes[i]);
                fw_slice out;
                FWT_OK(fwi_decompress(compressor, wire, len, 1000000, &out));
                fwt_assert_bytes(out.data, out.len, text, sizes[i], methods[m]);
                free(wire);
                free(text);
            }
}
END_TEST

START_TEST(test_noise_is_sent_as_it_is)
{
    uint8_t noise[5000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)fwi_random_below(256);
    for (size_t m = 0; m < 2; m++) {
        if (!have(methods[m]))
            continue;
        fwi_packed message;
        fw_compression options = {.method = methods[m], .threshold_bytes = 1};
        FWT_OK(fwi_compress(compressor, &options, noise, sizeof noise, &message));
        ck_assert_uint_eq(message.head_len, 1);
        ck_assert_uint_eq(message.head[0], 0);
        ck_assert_ptr_eq(message.body.data, noise);
        ck_assert_uint_eq(message.body.len, sizeof noise);
    }
}
END_TEST

START_TEST(test_threshold)
{
    if (!have("lz4"))
        return;
    uint8_t *text = make_text(1000);
    size_t len;
    fw_compression options = {.method = "lz4", .threshold_bytes = 1001};
    free(packed(&options, text, 1000, &len));
    ck_assert_uint_eq(len, 1001);
    options.threshold_bytes = 1000;
    free(packed(&options, text, 1000, &len));
    ck_assert_uint_lt(len, 1000);
    options.method = "none";
    free(packed(&options, text, 1000, &len));
    ck_assert_uint_eq(len, 1001);
    free(text);
}
END_TEST

START_TEST(test_lies_about_the_size)
{
    for (size_t m = 0; m < 2; m++) {
        if (!have(methods[m]))
            continue;
        fw_compression options = {.method = methods[m]};
        uint8_t *text = make_text(10000);
        size_t len;
        uint8_t *wire = packed(&options, text, 10000, &len);
        fw_slice out;
        FWT_ERR(fwi_decompress(compressor, wire, len, 9999, &out), FW_EFRAMESIZE);
        FWT_OK(fwi_decompress(compressor, wire, len, 10000, &out));
        static const uint32_t claims[] = {0, 1, 9999, 10001, 100000};
        for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
            fwi_put_u32le(wire + 1, claims[i]);
            FWT_ERR(fwi_decompress(compressor, wire, len, 1000000, &out), FW_EPROTOCOL);
        }
        fwi_put_u32le(wire + 1, UINT32_MAX);
        FWT_ERR(fwi_decompress(compressor, wire, len, 1000000, &out), FW_EFRAMESIZE);
        /* Within the limit, but no such message can stand for as much. */
        FWT_ERR(fwi_decompress(compressor, wire, 9, UINT32_MAX, &out), FW_EPROTOCOL);
        free(wire);
        free(text);
    }
}
END_TEST

START_TEST(test_malformed)
{
    fw_slice out;
    FWT_ERR(fwi_decompress(compressor, "", 0, 100, &out), FW_EPROTOCOL);
    FWT_ERR(fwi_decompress(compressor, "\3abcdefgh", 9, 100, &out), FW_EPROTOCOL);
    FWT_ERR(fwi_decompress(compressor, "\0abc", 4, 2, &out), FW_EFRAMESIZE);
    FWT_OK(fwi_decompress(compressor, "\0abc", 4, 3, &out));
    for (size_t m = 0; m < 2; m++) {
        if (!have(methods[m]))
            continue;
        fw_compression options = {.method = methods[m]};
        uint8_t *text = make_text(2000);
        size_t len;
        uint8_t *wire = packed(&options, text, 2000, &len);
        for (size_t n = 1; n < len; n++) { /* every message cut short */
            uint8_t *cut = malloc(n);
            memcpy(cut, wire, n);
            FWT_ERR(fwi_decompress(compressor, cut, n, 2000, &out), FW_EPROTOCOL);
            free(cut);
        }
        free(wire);
        free(text);
    }
}
END_TEST

START_TEST(test_options)
{
    FWT_OK(fw_compression_check(&(fw_compression){.method = NULL}));
    FWT_OK(fw_compression_check(&(fw_compression){.method = "none"}));
    FWT_ERR(fw_compression_check(&(fw_compression){.method = "gzip"}), FW_EOPTION);
    FWT_ERR(fw_compression_check(&(fw_compression){.method = "none", .level = 1}), FW_EOPTION);
    if (have("zstd"))
        FWT_ERR(fw_compression_check(&(fw_compression){.method = "zstd", .level = 20}), FW_EOPTION);
    if (have("lz4"))
        FWT_ERR(fw_compression_check(&(fw_compression){.method = "lz4", .level = -1}), FW_EOPTION);
}
END_TEST

START_TEST(test_shared_by_the_loop)
{
    fwi_compressor *other;
    FWT_OK(fwi_compressor_acquire(fwt_loop, &other));
    ck_assert_ptr_eq(other, compressor);
    fwi_compressor_release(other);
    fwi_compressor_release(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compress");
    TCase *tc = tcase_create("compress");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    tcase_add_test(tc, test_round_trip);
    tcase_add_test(tc, test_noise_is_sent_as_it_is);
    tcase_add_test(tc, test_threshold);
    tcase_add_test(tc, test_lies_about_the_size);
    tcase_add_test(tc, test_malformed);
    tcase_add_test(tc, test_options);
    tcase_add_test(tc, test_shared_by_the_loop);
    return fwt_main(suite);
}
