/* Both ends of remote calls over sproto messages; which transport carries them is not its matter.
 */
#include "base/map.h"
#include "codec/sproto/schema.h"
#include "codec/sproto/value.h"

#include <cjson/cJSON.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_CALLS 65536

struct fw_sproto_host {
    fw_sproto_host_options options;
    fwi_map calls; /* session -> protocol */
};

int fw_sproto_host_create(const fw_sproto_host_options *options, fw_sproto_host **ret_host)
{
    if (!options->local)
        return UV_EINVAL;
    fw_sproto_host *host = calloc(1, sizeof *host);
    if (!host)
        return UV_ENOMEM;
    host->options = *options;
    if (!host->options.max_calls)
        host->options.max_calls = DEFAULT_MAX_CALLS;
    *ret_host = host;
    return FW_OK;
}

void fw_sproto_host_destroy(fw_sproto_host *host)
{
    if (!host)
        return;
    fwi_map_fini(&host->calls);
    free(host);
}

bool fw_sproto_host_forget(fw_sproto_host *host, uint64_t session)
{
    return fwi_map_remove(&host->calls, &session, sizeof session) != NULL;
}

/* Package and body, where the protocol has one; an absent value is an empty struct. */
static int encode(fw_sproto_host *host, fw_sproto_package *package, const fw_slice *user_data,
                  const fw_sproto_type *type, const cJSON *value, uint8_t **ret_data,
                  size_t *ret_len, fw_codec_error *ret_error)
{
    uint8_t *body = NULL;
    size_t len = 0;
    if (user_data)
        package->user_data = (fw_slice){user_data->data ? user_data->data : "", user_data->len};
    if (type) {
        cJSON empty = {.type = cJSON_Object};
        int err = fw_sproto_encode(type, value && !cJSON_IsNull(value) ? value : &empty,
                                   &host->options.limits, &body, &len, ret_error);
        if (err)
            return err;
    }
    int err = fw_sproto_package_encode(package, &(fw_slice){body, len}, ret_data, ret_len);
    free(body);
    return err;
}

int fw_sproto_host_request(fw_sproto_host *host, const char *protocol, const cJSON *args,
                           const uint64_t *session, const fw_slice *user_data, uint8_t **ret_data,
                           size_t *ret_len, fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, NULL, ret_error);
    const fw_sproto_protocol *call =
        host->options.remote ? fw_sproto_get_protocol(host->options.remote, protocol) : NULL;
    if (!call)
        return fwi_codec_fail(&run, FW_ENOTFOUND, "there is no protocol %s", protocol);
    fw_sproto_package package = {.has_type = true, .type = call->tag};
    if (session) {
        package.has_session = true;
        package.session = *session;
        if (fwi_map_get(&host->calls, session, sizeof *session))
            return fwi_codec_fail(&run, FW_EEXISTS, "a call with this session is outstanding");
        if (host->calls.count >= host->options.max_calls)
            return fwi_codec_fail(&run, FW_ELIMIT, "too many calls are outstanding");
    }
    int err = encode(host, &package, user_data, call->request, args, ret_data, ret_len, ret_error);
    if (err || !session)
        return err;
    err = fwi_map_put(&host->calls, session, sizeof *session, (void *)call, NULL);
    if (err)
        free(*ret_data);
    return err;
}

int fw_sproto_host_respond(fw_sproto_host *host, const fw_sproto_protocol *protocol,
                           uint64_t session, const cJSON *result, const fw_slice *user_data,
                           uint8_t **ret_data, size_t *ret_len, fw_codec_error *ret_error)
{
    fw_sproto_package package = {.has_session = true, .session = session};
    return encode(host, &package, user_data, protocol->response, result, ret_data, ret_len,
                  ret_error);
}

/* What the package is about: a protocol of ours, or the call that it answers. */
static int find_protocol(fw_sproto_host *host, const fw_sproto_package *package, fwi_codec_run *run,
                         fw_sproto_event *event)
{
    event->has_session = package->has_session;
    event->session = package->session;
    if (package->has_type) {
        event->kind = FW_SPROTO_REQUEST;
        event->protocol = fw_sproto_get_protocol_by_tag(host->options.local, package->type);
        return event->protocol
                   ? FW_OK
                   : fwi_codec_fail(run, FW_ENOTFOUND, "there is no protocol %u", package->type);
    }
    event->kind = FW_SPROTO_RESPONSE;
    if (!package->has_session)
        return fwi_codec_fail(run, FW_EMESSAGE, "neither a protocol nor a session");
    event->protocol = fwi_map_remove(&host->calls, &package->session, sizeof package->session);
    return event->protocol ? FW_OK
                           : fwi_codec_fail(run, FW_ENOTFOUND, "no call with session %llu",
                                            (unsigned long long)package->session);
}

static int copy_user_data(fw_sproto_event *event, fw_slice user_data)
{
    if (!user_data.data)
        return FW_OK;
    event->user_data = malloc(user_data.len + 1);
    if (!event->user_data)
        return UV_ENOMEM;
    if (user_data.len)
        memcpy(event->user_data, user_data.data, user_data.len);
    event->user_data[user_data.len] = 0;
    event->user_data_len = user_data.len;
    return FW_OK;
}

int fw_sproto_host_dispatch(fw_sproto_host *host, const void *data, size_t len,
                            fw_sproto_event *ret_event, fw_codec_error *ret_error)
{
    fwi_codec_run run;
    fwi_codec_run_init(&run, &host->options.limits, ret_error);
    fw_sproto_package package;
    fw_sproto_event event = {.body = NULL};
    uint8_t *plain;
    fw_slice body;
    size_t used;
    int err = fw_sproto_package_decode(data, len, run.limits.max_bytes, &package, &plain, &body);
    if (err)
        return fwi_codec_fail(&run, err, "the package: %s", fw_strerror(err));
    err = find_protocol(host, &package, &run, &event);
    if (!err)
        err = copy_user_data(&event, package.user_data);
    if (!err) {
        const fw_sproto_type *type =
            event.kind == FW_SPROTO_REQUEST ? event.protocol->request : event.protocol->response;
        if (type)
            err = fwi_sproto_decode(&run, type, body, &event.body, &used);
    }
    free(plain);
    if (err) {
        fw_sproto_event_fini(&event);
        return err;
    }
    *ret_event = event;
    return FW_OK;
}

void fw_sproto_event_fini(fw_sproto_event *event)
{
    cJSON_Delete(event->body);
    free(event->user_data);
}
