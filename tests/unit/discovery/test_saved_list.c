/* The list on disk: it comes back as it was, or not at all. */
#include "fwt.h"
#include "saved_list.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static void add(fwi_set_node **set, unsigned number)
{
    char id[16];
    snprintf(id, sizeof id, "i%u", number);
    const fw_instance_field fields[] = {{"rack", "7"}, {"text", "\xc3\xa9 \" \\"}};
    fw_instance from = {.service = number % 2 ? "odd" : "even",
                        .id = id,
                        .net = "tcp",
                        .addr = "10.0.0.1:80",
                        .zone = "eu",
                        .version = "1.2",
                        .weight = number + 1,
                        .started = 1234567890123,
                        .state = number % 3 ? FW_INSTANCE_ONLINE : FW_INSTANCE_OFFLINE,
                        .metadata = fields,
                        .metadata_count = number % 3};
    const fw_instance *instance, *old;
    FWT_OK(fw_instance_create(&from, &instance));
    FWT_OK(fwi_set_put(set, instance, &old));
}

static fwi_saved_list make(unsigned count)
{
    fwi_saved_list list = {.revision = 77, .saved_ms = 1700000000123};
    for (unsigned i = 0; i < count; i++)
        add(&list.instances, i);
    return list;
}

static void assert_same(const fwi_saved_list *a, const fwi_saved_list *b)
{
    ck_assert_int_eq(a->revision, b->revision);
    ck_assert_int_eq(a->saved_ms, b->saved_ms);
    ck_assert_uint_eq(fwi_set_count(a->instances), fwi_set_count(b->instances));
    for (size_t i = 0; i < fwi_set_count(a->instances); i++) {
        const fw_instance *x = fwi_set_at(a->instances, i), *y = fwi_set_at(b->instances, i);
        char *left, *right;
        ck_assert_str_eq(x->service, y->service);
        ck_assert_str_eq(x->id, y->id);
        FWT_OK(fw_instance_encode(x, &left));
        FWT_OK(fw_instance_encode(y, &right));
        ck_assert_str_eq(left, right);
        free(left);
        free(right);
    }
}

START_TEST(a_list_comes_back_as_it_was)
{
    static const unsigned counts[] = {0, 1, 1000};
    char path[512];
    snprintf(path, sizeof path, "%s/list", fwt_tmpdir());
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        fwi_saved_list list = make(counts[i]), again;
        FWT_OK(fwi_saved_list_write(path, &list));
        FWT_OK(fwi_saved_list_read(path, &again));
        assert_same(&list, &again);
        fwi_set_release(list.instances);
        fwi_set_release(again.instances);
    }
}
END_TEST

START_TEST(a_file_that_was_touched_is_not_used)
{
    fwi_saved_list list = make(5), again;
    uint8_t *bytes;
    size_t len;
    FWT_OK(fwi_saved_list_encode(&list, &bytes, &len));
    for (size_t cut = 0; cut < len; cut++)
        FWT_ERR(fwi_saved_list_decode((fw_slice){bytes, cut}, &again), FW_EINSTANCE);
    for (size_t i = 0; i < len; i++) {
        bytes[i] ^= 0x10;
        FWT_ERR(fwi_saved_list_decode((fw_slice){bytes, len}, &again), FW_EINSTANCE);
        bytes[i] ^= 0x10;
    }
    FWT_OK(fwi_saved_list_decode((fw_slice){bytes, len}, &again));
    fwi_set_release(again.instances);
    fwi_set_release(list.instances);
    free(bytes);
}
END_TEST

START_TEST(files_that_cannot_be_had_say_why)
{
    fwi_saved_list list = make(1), again;
    char path[512];
    FWT_ERR(fwi_saved_list_read("/nonexistent/list", &again), UV_ENOENT);
    FWT_ERR(fwi_saved_list_write("/nonexistent/list", &list), UV_ENOENT);
    snprintf(path, sizeof path, "%s", fwt_tmpdir());
    FWT_ERR(fwi_saved_list_read(path, &again), FW_EINSTANCE);
    fwi_set_release(list.instances);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("saved list");
    TCase *tcase = fwt_tcase(suite, "saved list", 60);
    tcase_add_test(tcase, a_list_comes_back_as_it_was);
    tcase_add_test(tcase, a_file_that_was_touched_is_not_used);
    tcase_add_test(tcase, files_that_cannot_be_had_say_why);
    return fwt_main(suite);
}
