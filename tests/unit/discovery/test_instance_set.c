/* The persistent set of instances: against a plain array, and that old versions stay as they were.
 */
#include "fwt.h"
#include "instance_set.h"

#include <fairway/error.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES 2000
#define STEPS 40000

static const fw_instance *make(unsigned number, unsigned weight)
{
    char service[16], id[16];
    snprintf(service, sizeof service, "s%u", number % 7);
    snprintf(id, sizeof id, "i%03u", number);
    fw_instance from = {
        .service = service, .id = id, .net = "tcp", .addr = "h:1", .weight = weight};
    const fw_instance *instance;
    FWT_OK(fw_instance_create(&from, &instance));
    return instance;
}

/* The weights of all names; 0: not there. */
struct model {
    unsigned weights[NAMES];
    size_t count;
};

static void names_of(unsigned number, char service[16], char id[16])
{
    snprintf(service, 16, "s%u", number % 7);
    snprintf(id, 16, "i%03u", number);
}

static void check(const fwi_set_node *set, const struct model *model)
{
    char service[16], id[16];
    ck_assert_uint_eq(fwi_set_count(set), model->count);
    const fw_instance *before = NULL;
    for (size_t i = 0; i < model->count; i++) {
        const fw_instance *instance = fwi_set_at(set, i);
        fwt_check(instance);
        fwt_check(fwi_set_rank(set, instance->service, instance->id) == i);
        fwt_check(instance->weight == model->weights[atoi(instance->id + 1)]);
        if (before) {
            int order = strcmp(before->service, instance->service);
            fwt_check(order < 0 || (!order && strcmp(before->id, instance->id) < 0));
        }
        before = instance;
    }
    ck_assert_ptr_null(fwi_set_at(set, model->count));
    for (unsigned number = 0; number < NAMES; number++) {
        names_of(number, service, id);
        fwt_check((fwi_set_find(set, service, id) != NULL) == (model->weights[number] != 0));
    }
}

static void step(fwi_set_node **set, struct model *model)
{
    unsigned number = (unsigned)rand() % NAMES, weight = 1 + (unsigned)rand() % 1000;
    const fw_instance *old;
    bool was_there = model->weights[number] != 0;
    if (rand() % 2) {
        FWT_OK(fwi_set_put(set, make(number, weight), &old));
        model->weights[number] = weight;
        model->count += !was_there;
    } else {
        char service[16], id[16];
        names_of(number, service, id);
        FWT_OK(fwi_set_remove(set, service, id, &old));
        model->weights[number] = 0;
        model->count -= was_there;
    }
    fwt_check((old != NULL) == was_there);
    fw_instance_release(old);
}

START_TEST(it_does_what_an_array_does)
{
    fwi_set_node *set = NULL;
    struct model model = {.count = 0};
    srand(7);
    for (int i = 0; i < STEPS; i++) {
        step(&set, &model);
        if (i % 2000 == 0)
            check(set, &model);
    }
    check(set, &model);
    fwi_set_release(set);
}
END_TEST

START_TEST(a_version_that_is_held_stays_as_it_was)
{
    enum { VERSIONS = 40 };
    static struct {
        fwi_set_node *set;
        struct model model;
    } held[VERSIONS];
    fwi_set_node *set = NULL;
    struct model model = {.count = 0};
    srand(8);
    for (int i = 0; i < VERSIONS; i++) {
        for (int j = 0; j < 100; j++)
            step(&set, &model);
        held[i].set = fwi_set_acquire(set);
        held[i].model = model;
    }
    fwi_set_release(set);
    for (int i = VERSIONS - 1; i >= 0; i--) {
        check(held[i].set, &held[i].model);
        fwi_set_release(held[i].set);
    }
}
END_TEST

static bool collect(const fw_instance *instance, void *arg)
{
    const fw_instance ***at = arg;
    *(*at)++ = instance;
    return true;
}

START_TEST(one_is_built_in_order_as_by_putting)
{
    fwi_set_node *set = NULL, *built;
    const fw_instance *all[NAMES], **at = all;
    struct model model = {.count = 0};
    srand(9);
    for (int i = 0; i < 2000; i++)
        step(&set, &model);
    fwi_set_each(set, collect, &at);
    ck_assert_uint_eq((size_t)(at - all), model.count);
    for (size_t i = 0; i < model.count; i++)
        fw_instance_acquire(all[i]);
    FWT_OK(fwi_set_build(all, model.count, &built));
    fwi_set_release(set);
    check(built, &model);
    for (int i = 0; i < 2000; i++)
        step(&built, &model);
    check(built, &model);
    fwi_set_release(built);

    all[0] = make(2, 1);
    all[1] = make(1, 1);
    all[2] = make(3, 1);
    FWT_ERR(fwi_set_build(all, 3, &built), FW_EINSTANCE);
    FWT_OK(fwi_set_build(all, 0, &built));
    ck_assert_ptr_null(built);
}
END_TEST

/* Puts all names in an order that begins at `first`, then takes them out again in it. */
static void fill_and_drain(unsigned first, unsigned stride)
{
    fwi_set_node *set = NULL, *full;
    struct model model = {.count = NAMES}, left;
    const fw_instance *old;
    for (unsigned i = 0; i < NAMES; i++) {
        unsigned number = (first + i * stride) % NAMES;
        model.weights[number] = number + 1;
        FWT_OK(fwi_set_put(&set, make(number, number + 1), &old));
        ck_assert_ptr_null(old);
    }
    check(set, &model);
    full = fwi_set_acquire(set);
    left = model;
    for (unsigned i = 0; i < NAMES; i++) {
        char service[16], id[16];
        unsigned number = (first + i * stride) % NAMES;
        names_of(number, service, id);
        FWT_OK(fwi_set_remove(&set, service, id, &old));
        ck_assert_uint_eq(old->weight, number + 1);
        fw_instance_release(old);
        left.weights[number] = 0;
        left.count--;
        if (i % 500 == 499)
            check(set, &left);
    }
    ck_assert_ptr_null(set);
    check(full, &model);
    fwi_set_release(full);
}

START_TEST(it_grows_and_shrinks_in_any_order)
{
    fill_and_drain(0, 7);         /* each service in order */
    fill_and_drain(0, NAMES - 1); /* backwards */
    fill_and_drain(5, 1);
    fill_and_drain(0, 997);
}
END_TEST

START_TEST(the_empty_set_has_nothing)
{
    const fw_instance *old;
    fwi_set_node *set = NULL;
    ck_assert_uint_eq(fwi_set_count(set), 0);
    ck_assert_ptr_null(fwi_set_at(set, 0));
    ck_assert_ptr_null(fwi_set_find(set, "a", "b"));
    ck_assert_uint_eq(fwi_set_rank(set, "a", "b"), 0);
    FWT_OK(fwi_set_remove(&set, "a", "b", &old));
    ck_assert_ptr_null(old);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("instance set");
    TCase *tcase = fwt_tcase(suite, "set", 60);
    tcase_add_test(tcase, it_does_what_an_array_does);
    tcase_add_test(tcase, a_version_that_is_held_stays_as_it_was);
    tcase_add_test(tcase, it_grows_and_shrinks_in_any_order);
    tcase_add_test(tcase, one_is_built_in_order_as_by_putting);
    tcase_add_test(tcase, the_empty_set_has_nothing);
    return fwt_main(suite);
}
