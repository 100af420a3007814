/* A session's side: its frames in and out, its metadata and its log. */
#include "base/log.h"
#include "pipeline/pipeline.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_LOG_FIELDS 16 /* with ours and the end */

/* ---- a frame through the filters ---- */

typedef struct fwi_scratch {
    struct fwi_scratch *next;
    max_align_t data[];
} fwi_scratch;

static void pass_begin(fw_process *process, fwi_pass *pass)
{
    *pass = (fwi_pass){.outer = process->pass};
    process->pass = pass;
}

static void pass_end(fw_process *process)
{
    fwi_scratch *next;
    for (fwi_scratch *scratch = process->pass->scratches; scratch; scratch = next) {
        next = scratch->next;
        free(scratch);
    }
    process->pass = process->pass->outer;
}

uint8_t *fw_process_scratch(fw_process *process, size_t len)
{
    fwi_scratch *scratch = process->pass ? malloc(sizeof *scratch + len) : NULL;
    if (!scratch)
        return NULL;
    scratch->next = process->pass->scratches;
    process->pass->scratches = scratch;
    return (uint8_t *)scratch->data;
}

static int filter_in(fw_process *process, fw_slice *frame)
{
    const fw_pipeline *pipeline = process->pipeline;
    int rc = FW_OK;
    for (size_t i = 0; !rc && i < pipeline->filter_count; i++)
        if (pipeline->filters[i].in)
            rc = pipeline->filters[i].in(process, frame, pipeline->filters[i].arg);
    return rc;
}

static int filter_out(fw_process *process, fw_slice *frame)
{
    const fw_pipeline *pipeline = process->pipeline;
    int rc = FW_OK;
    for (size_t i = pipeline->filter_count; !rc && i-- > 0;)
        if (pipeline->filters[i].out)
            rc = pipeline->filters[i].out(process, frame, pipeline->filters[i].arg);
    return rc;
}

int fw_process_send(fw_process *process, const fw_packet *packet)
{
    const fw_packet_codec *packets = process->pipeline->packets;
    uint8_t *data;
    size_t len;
    int rc = packets->encode(packet, &data, &len, packets->arg);
    if (rc)
        return rc;
    fwi_pass pass;
    fw_slice frame = {data, len};
    pass_begin(process, &pass);
    rc = filter_out(process, &frame);
    if (!rc)
        rc = fw_session_send(process->session, frame.data, frame.len);
    else if (rc == FW_FILTER_DROP)
        rc = FW_ECANCELED;
    pass_end(process);
    free(data);
    return rc;
}

static int take_packet(fw_process *process, fw_slice frame)
{
    const fw_packet_codec *packets = process->pipeline->packets;
    fw_rpc_field metadata[FW_PACKET_MAX_METADATA];
    fw_packet packet = {.method = {"", 0}, .body = {"", 0}};
    int err = packets->decode(frame.data, frame.len, metadata, &packet, packets->arg);
    if (err)
        return err;
    if (packet.kind != FW_PACKET_RESPONSE)
        fwi_request_serve(process, &packet);
    else if (process->options.on_response)
        process->options.on_response(process, &packet, process->options.arg);
    return FW_OK;
}

static void on_frame(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    fw_process *process = arg;
    fw_slice frame = {data, len};
    fwi_pass pass;
    pass_begin(process, &pass);
    int rc = filter_in(process, &frame);
    if (!rc)
        rc = take_packet(process, frame);
    pass_end(process);
    if (rc == FW_FILTER_DROP) {
        process->pipeline->stats.filtered++;
    } else if (rc) {
        fw_process_log(
            process, FW_LOG_WARN, "session closed",
            (const fw_log_field[]){FWI_TEXT("reason", fw_strerror(rc)), FWI_TEXT(NULL, NULL)});
        fw_session_close(session, rc);
    }
}

/* ---- life ---- */

static void on_drain(fw_session *session, void *arg)
{
    (void)session;
    fw_process *process = arg;
    if (process->options.on_drain)
        process->options.on_drain(process, process->options.arg);
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    fw_process *process = arg;
    for (fwi_list *node; (node = fwi_list_pop(&process->kept));)
        fwi_container_of(node, fw_process_request, node)->process = NULL;
    if (process->options.on_closed)
        process->options.on_closed(process, reason, process->options.arg);
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&process->names, &position));)
        free(entry->value);
    fwi_map_fini(&process->names);
    free(process);
}

static const fw_session_events session_events = {
    .on_frame = on_frame, .on_drain = on_drain, .on_closed = on_closed};

int fw_process_new(fw_pipeline *pipeline, fw_session *session, const fw_process_options *options,
                   fw_process **ret_process)
{
    fw_process *process = calloc(1, sizeof *process);
    if (!process)
        return UV_ENOMEM;
    process->pipeline = pipeline;
    process->session = session;
    process->options = *options;
    fwi_list_init(&process->kept);
    fw_session_set_events(session, &session_events, process);
    *ret_process = process;
    return FW_OK;
}

fw_session *fw_process_session(const fw_process *process)
{
    return process->session;
}

uint32_t fw_process_in_flight(const fw_process *process)
{
    return process->in_flight;
}

/* ---- what a session knows ---- */

int fw_process_set(fw_process *process, const char *name, const char *value)
{
    void *old = NULL;
    if (!value) {
        free(fwi_map_remove(&process->names, name, strlen(name)));
        return FW_OK;
    }
    char *copy = strdup(value);
    int err = copy ? fwi_map_put(&process->names, name, strlen(name), copy, &old) : UV_ENOMEM;
    free(err ? copy : old);
    return err;
}

const char *fw_process_get(const fw_process *process, const char *name)
{
    return fwi_map_get(&process->names, name, strlen(name));
}

void fw_process_set_log(fw_process *process, fw_log_level lowest, fw_log_fn sink, void *arg)
{
    process->log_lowest = lowest;
    process->log_sink = sink;
    process->log_arg = arg;
}

void fw_process_log(fw_process *process, fw_log_level level, const char *message,
                    const fw_log_field *fields)
{
    bool is_own = process->log_sink != NULL;
    if (is_own ? level < process->log_lowest : !fwi_log_enabled(level))
        return;
    fw_log_field all[MAX_LOG_FIELDS] = {FWI_NUMBER("session", fw_session_id(process->session)),
                                        FWI_TEXT("peer", fw_session_peer(process->session))};
    size_t count = 2;
    for (; fields && fields->key && count < MAX_LOG_FIELDS - 1; fields++)
        all[count++] = *fields;
    if (is_own)
        process->log_sink(level, "process", message, all, process->log_arg);
    else
        fwi_log_write(level, "process", message, all);
}
