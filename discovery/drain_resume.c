/* The request is read; if a drain has put the mark, that is removed first; then the request goes.
 */
#include "drain.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct resume {
    fw_kv *kv;
    char request[FWI_DRAIN_KEY_BYTES], node[FWI_DRAIN_KEY_BYTES];
    fw_drain_resumed_fn done;
    void *arg;
};

static void end(struct resume *resume, int status, const char *detail)
{
    resume->done(status, detail, resume->arg);
    free(resume);
}

static void on_deleted(const fw_kv_result *result, void *arg)
{
    /* Gone in the meantime is gone. */
    end(arg, result->status == FW_ENOTFOUND ? FW_OK : result->status, result->detail);
}

static void on_unmarked(int status, const char *detail, void *arg)
{
    struct resume *resume = arg;
    /* It has left, or a registrar keeps it now. */
    if (status == FW_ENOTFOUND || status == FW_ELEASE)
        status = FW_OK;
    if (!status)
        status = fw_kv_delete(resume->kv, resume->request, on_deleted, resume);
    if (status)
        end(resume, status, detail);
}

static void on_request(const fw_kv_result *result, void *arg)
{
    struct resume *resume = arg;
    if (result->status)
        end(resume, result->status, result->detail);
    else if (!fwi_drain_request_is_marked(result->pairs->value))
        on_unmarked(FW_OK, "", resume);
    else {
        int err = fwi_mark(resume->kv, resume->node, FW_INSTANCE_ONLINE, on_unmarked, resume);
        if (err)
            end(resume, err, "");
    }
}

int fw_drain_resume(fw_kv *kv, const char *service, const char *id, fw_drain_resumed_fn done,
                    void *arg)
{
    if (!fwi_name_valid(service))
        return FW_ESERVICE;
    if (!fwi_name_valid(id))
        return FW_EINSTANCE;
    struct resume *resume = malloc(sizeof *resume);
    if (!resume)
        return UV_ENOMEM;
    *resume = (struct resume){.kv = kv, .done = done, .arg = arg};
    snprintf(resume->request, sizeof resume->request, FWI_DRAINS_PREFIX "/%s/%s", service, id);
    snprintf(resume->node, sizeof resume->node, FWI_SERVICES_PREFIX "/%s/%s", service, id);
    int err = fw_kv_get(kv, resume->request, on_request, resume);
    if (err)
        free(resume);
    return err;
}
