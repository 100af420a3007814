/* get -> put if it is still the same; begun again when it was not. */
#include "drain.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_TRIES 8

struct mark {
    fw_kv *kv;
    char key[FWI_DRAIN_KEY_BYTES];
    fw_instance_state state;
    unsigned tries;
    fwi_mark_fn done;
    void *arg;
};

static void end(struct mark *mark, int status, const char *detail)
{
    mark->done(status, detail, mark->arg);
    free(mark);
}

static void on_read(const fw_kv_result *result, void *arg);

static void on_put(const fw_kv_result *result, void *arg)
{
    struct mark *mark = arg;
    int status = result->status;
    if (status == FW_EMODIFIED && ++mark->tries < MAX_TRIES) {
        status = fw_kv_get(mark->kv, mark->key, on_read, mark);
        if (!status)
            return;
    }
    end(mark, status, result->detail);
}

/* False: there is nothing to wait for, *ret_status says why. */
static bool put_marked(struct mark *mark, const fw_kv_pair *pair, int *ret_status)
{
    const fw_instance *instance;
    *ret_status = fw_instance_decode("s", "i", pair->value, &instance);
    if (*ret_status)
        return false;
    bool is_so = instance->state == mark->state;
    fw_instance_release(instance);
    if (is_so)
        return false;
    char *json;
    *ret_status = fwi_node_with_state(pair->value, mark->state, &json);
    if (*ret_status)
        return false;
    *ret_status = fw_kv_atomic_put(mark->kv, mark->key, (fw_slice){json, strlen(json)},
                                   pair->revision, NULL, on_put, mark);
    free(json);
    return !*ret_status;
}

static void on_read(const fw_kv_result *result, void *arg)
{
    struct mark *mark = arg;
    int status = result->status;
    if (!status && result->pairs->lease)
        status = FW_ELEASE;
    if (!status && put_marked(mark, result->pairs, &status))
        return;
    end(mark, status, result->detail);
}

int fwi_mark(fw_kv *kv, const char *key, fw_instance_state state, fwi_mark_fn done, void *arg)
{
    struct mark *mark = malloc(sizeof *mark);
    if (!mark)
        return UV_ENOMEM;
    *mark = (struct mark){.kv = kv, .state = state, .done = done, .arg = arg};
    snprintf(mark->key, sizeof mark->key, "%s", key);
    int err = fw_kv_get(kv, mark->key, on_read, mark);
    if (err)
        free(mark);
    return err;
}
