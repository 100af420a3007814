/* Who is announced: two lists of the store, one after the other. */
#include "consumer.h"
#include "keys.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

int64_t fwi_consumer_claim(const fw_kv_pair *pair)
{
    int64_t revision = fwi_consumer_revision(pair->value);
    return revision <= pair->revision ? revision : 0;
}

struct listing {
    fw_kv *kv;
    char service[FWI_MAX_NAME_BYTES + 1];
    bool is_second; /* of all services */
    fw_consumer *consumers;
    size_t count;
    fw_consumers_fn done;
    void *arg;
};

static void end(struct listing *listing, int status, const char *detail)
{
    size_t count = status ? 0 : listing->count;
    listing->done(status, detail, listing->consumers, count, listing->arg);
    for (size_t i = 0; i < listing->count; i++) {
        free((void *)listing->consumers[i].name);
        free((void *)listing->consumers[i].ejected);
    }
    free(listing->consumers);
    free(listing);
}

static int add_all(struct listing *listing, const fw_kv_result *result, const char *service)
{
    size_t most = listing->count + result->count;
    fw_consumer *consumers = realloc(listing->consumers, (most ? most : 1) * sizeof *consumers);
    if (!consumers)
        return UV_ENOMEM;
    listing->consumers = consumers;
    for (size_t i = 0; i < result->count; i++) {
        char *name = strdup(strrchr(result->pairs[i].key, '/') + 1);
        if (!name)
            return UV_ENOMEM;
        fw_consumer *consumer = &consumers[listing->count++];
        *consumer = (fw_consumer){
            .service = service, .name = name, .revision = fwi_consumer_claim(&result->pairs[i])};
        consumer->ejected = fwi_consumer_ejected(result->pairs[i].value, &consumer->ejected_count);
    }
    return FW_OK;
}

static int list_next(struct listing *listing);

static void on_listed(const fw_kv_result *result, void *arg)
{
    struct listing *listing = arg;
    int err = result->status;
    if (!err)
        err = add_all(listing, result, listing->is_second ? FWI_ALL_SERVICES : listing->service);
    if (!err && !listing->is_second) {
        listing->is_second = true;
        err = list_next(listing);
        if (!err)
            return;
    }
    end(listing, err, result->detail);
}

static int list_next(struct listing *listing)
{
    char prefix[sizeof FWI_CONSUMERS_PREFIX + FWI_MAX_NAME_BYTES + 2];
    snprintf(prefix, sizeof prefix, FWI_CONSUMERS_PREFIX "/%s",
             listing->is_second ? FWI_ALL_SERVICES : listing->service);
    return fw_kv_list(listing->kv, prefix, on_listed, listing);
}

int fw_consumers_list(fw_kv *kv, const char *service, fw_consumers_fn done, void *arg)
{
    if (!fwi_name_valid(service))
        return FW_ESERVICE;
    struct listing *listing = calloc(1, sizeof *listing);
    if (!listing)
        return UV_ENOMEM;
    *listing = (struct listing){.kv = kv, .done = done, .arg = arg};
    snprintf(listing->service, sizeof listing->service, "%s", service);
    int err = list_next(listing);
    if (err)
        free(listing);
    return err;
}
