/*
 * A request on its way: limit, message, steps, answer.
 *
 * It stands on the stack of the read until a step keeps it. The copy belongs to who kept it, and to
 * who it is given by fw_process_next after that; the one that answers it frees it. A request counts
 * as in flight from its limit to its end, whatever that is.
 */
#include "pipeline/pipeline.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- the end ---- */

static void resume_reading(fw_process *process)
{
    if (!process->waits || process->in_flight > process->pipeline->options.max_in_flight / 2)
        return;
    process->waits = false;
    fw_session_read_start(process->session);
}

static void free_message(fw_process_request *request)
{
    if (request->message)
        fw_codec_message_free(request->pipeline->messages, request->route->request_type,
                              request->message);
    request->message = NULL;
}

/* It is answered; a copy is freed. */
static void request_end(fw_process_request *request)
{
    fw_process *process = request->process;
    request->is_done = true;
    free_message(request);
    request->pipeline->stats.in_flight--;
    if (process) {
        process->in_flight--;
        resume_reading(process);
    }
    if (!request->is_copy)
        return;
    fwi_list_remove(&request->node);
    if (!request->is_running)
        free(request);
}

/* The request's packet turned around; its metadata is not copied, as with walle. */
static void turn_around(const fw_process_request *request, fw_packet *ret_answer)
{
    const fw_packet *from = &request->packet;
    *ret_answer = (fw_packet){.kind = FW_PACKET_RESPONSE,
                              .flags = from->flags,
                              .sequence = from->sequence,
                              .method = from->method,
                              .number = from->number,
                              .body = {"", 0},
                              .metadata = request->answer_metadata,
                              .metadata_count = request->answer_metadata_count};
}

static int send_answer(fw_process_request *request, const fw_packet *answer)
{
    return request->process ? fw_process_send(request->process, answer) : FW_ECLOSED;
}

static int send_error(fw_process_request *request, int64_t code, bool logic, const char *text)
{
    if (request->packet.kind == FW_PACKET_ONEWAY)
        return FW_OK;
    fw_packet answer;
    turn_around(request, &answer);
    answer.is_error = true;
    answer.error.code = code;
    answer.error.logic = logic;
    snprintf(answer.error.text, sizeof answer.error.text, "%s", text);
    request->pipeline->stats.failures++;
    return send_answer(request, &answer);
}

int fw_process_reply(fw_process_request *request, fw_slice body)
{
    int err = FW_OK;
    if (request->is_done)
        return FW_ECLOSED;
    if (request->packet.kind != FW_PACKET_ONEWAY) {
        fw_packet answer;
        turn_around(request, &answer);
        answer.body = body;
        err = send_answer(request, &answer);
        if (err && err != FW_ECLOSED && err != FW_ECANCELED)
            (void)send_error(request, FW_PROCESS_CODE_INTERNAL, false, fw_strerror(err));
    }
    request_end(request);
    return err;
}

int fw_process_fail(fw_process_request *request, int64_t code, const char *text)
{
    if (request->is_done)
        return FW_ECLOSED;
    int err = send_error(request, code, true, text);
    request_end(request);
    return err;
}

int fw_process_reply_message(fw_process_request *request, const void *message)
{
    const fw_pipeline *pipeline = request->pipeline;
    if (request->is_done)
        return FW_ECLOSED;
    uint8_t *data = NULL;
    size_t len = 0;
    fw_codec_error why = {.text = "no message codec"};
    int err = pipeline->messages
                  ? fw_codec_encode(pipeline->messages, request->route->response_type, message,
                                    &pipeline->options.message_limits, &data, &len, &why)
                  : FW_EOPTION;
    if (err) {
        (void)send_error(request, FW_PROCESS_CODE_ENCODE, false, why.text);
        request_end(request);
        return err;
    }
    err = fw_process_reply(request, (fw_slice){data, len});
    free(data);
    return err;
}

/* ---- the steps ---- */

/* A machinery's answer to what no step has answered. */
static void end_with(fw_process_request *request, int64_t code, const char *text)
{
    (void)send_error(request, code, false, text);
    request_end(request);
}

static void run_next(fw_process_request *request)
{
    if (request->is_done || request->next_step >= request->route->step_count)
        return;
    const fw_process_step *step = &request->route->steps[request->next_step++];
    step->fn(request, step->arg);
}

void fw_process_next(fw_process_request *request)
{
    if (!request->is_copy || request->is_running) { /* somebody below looks after its end */
        run_next(request);
        return;
    }
    request->is_held = false;
    request->is_running = true; /* its steps may look at it after it was answered */
    run_next(request);
    request->is_running = false;
    if (request->is_done)
        free(request);
    else if (!request->is_held)
        end_with(request, FW_PROCESS_CODE_INTERNAL, "the handler gave no answer");
}

static bool decode_message(fw_process_request *request)
{
    const fw_pipeline *pipeline = request->pipeline;
    fw_slice body = request->packet.body;
    if (!pipeline->messages || request->route->raw ||
        (!body.len && !fw_codec_is_typed(pipeline->messages)))
        return true;
    fw_codec_error why = {.text = ""};
    int err = fw_codec_decode(pipeline->messages, request->route->request_type, body.data, body.len,
                              &pipeline->options.message_limits, &request->message, &why);
    if (!err)
        return true;
    request->message = NULL;
    end_with(request, FW_PROCESS_CODE_DECODE, *why.text ? why.text : fw_strerror(err));
    return false;
}

/* False: it is over a limit, and that was dealt with. */
static bool admit(fw_process_request *request)
{
    fw_process *process = request->process;
    fw_pipeline *pipeline = request->pipeline;
    const fw_pipeline_options *options = &pipeline->options;
    bool is_waiting = options->overload == FW_OVERLOAD_WAIT;
    bool is_over = process->in_flight >= options->max_in_flight && !is_waiting;
    is_over |=
        options->max_in_flight_total && pipeline->stats.in_flight >= options->max_in_flight_total;
    if (!is_over) {
        process->in_flight++;
        pipeline->stats.in_flight++;
        if (is_waiting && process->in_flight >= options->max_in_flight && !process->waits) {
            process->waits = true;
            fw_session_read_stop(process->session);
        }
        return true;
    }
    pipeline->stats.overloads++;
    if (options->overload == FW_OVERLOAD_CLOSE)
        fw_session_close(process->session, FW_ELIMIT);
    else if (options->overload != FW_OVERLOAD_DROP)
        (void)send_error(request, FW_PROCESS_CODE_BUSY, false, "too many requests");
    return false;
}

void fwi_request_serve(fw_process *process, const fw_packet *packet)
{
    fw_pipeline *pipeline = process->pipeline;
    const fwi_pipeline_route *route =
        fwi_routes_find(&pipeline->routes, packet->number, packet->method);
    if (route)
        pipeline->stats.requests++;
    else
        pipeline->stats.unrouted++;
    fw_process_request request = {.process = process,
                                  .pipeline = pipeline,
                                  .route = route ? route : pipeline->fallback,
                                  .packet = *packet};
    if (!request.route) {
        fw_process_log(process, FW_LOG_DEBUG, "no such method", NULL);
        (void)send_error(&request, FW_PROCESS_CODE_NO_METHOD, false, "no such method");
        return;
    }
    if (!admit(&request) || !decode_message(&request))
        return;
    run_next(&request);
    if (!request.is_done)
        end_with(&request, FW_PROCESS_CODE_INTERNAL, "the handler gave no answer");
}

/* ---- keeping ---- */

static fw_slice copy_slice(uint8_t **room, fw_slice from)
{
    fw_slice to = {*room, from.len};
    if (from.len)
        memcpy(*room, from.data, from.len);
    *room += from.len;
    return to;
}

static size_t packet_bytes(const fw_packet *packet)
{
    size_t size =
        packet->metadata_count * sizeof(fw_rpc_field) + packet->method.len + packet->body.len;
    for (size_t i = 0; i < packet->metadata_count; i++)
        size += packet->metadata[i].name.len + packet->metadata[i].value.len;
    return size;
}

fw_process_request *fw_process_keep(fw_process_request *request)
{
    if (request->is_copy) {
        request->is_held = true;
        return request;
    }
    const fw_packet *from = &request->packet;
    fw_process_request *copy = malloc(sizeof *copy + packet_bytes(from));
    if (!copy)
        return NULL;
    *copy = *request;
    fw_rpc_field *metadata = (fw_rpc_field *)(copy + 1);
    uint8_t *room = (uint8_t *)(metadata + from->metadata_count);
    for (size_t i = 0; i < from->metadata_count; i++) {
        metadata[i].name = copy_slice(&room, from->metadata[i].name);
        metadata[i].value = copy_slice(&room, from->metadata[i].value);
    }
    copy->packet.metadata = metadata;
    copy->packet.method = copy_slice(&room, from->method);
    copy->packet.body = copy_slice(&room, from->body);
    copy->is_copy = copy->is_held = true;
    fwi_list_push_back(&request->process->kept, &copy->node);
    request->is_done = true;
    request->message = NULL; /* it went with the copy */
    return copy;
}

/* ---- what is asked of it ---- */

fw_process *fw_process_request_process(const fw_process_request *request)
{
    return request->process;
}

const fw_packet *fw_process_request_packet(const fw_process_request *request)
{
    return &request->packet;
}

void *fw_process_request_message(const fw_process_request *request)
{
    return request->message;
}

fw_slice fw_process_request_metadata(const fw_process_request *request, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < request->packet.metadata_count; i++) {
        const fw_rpc_field *field = &request->packet.metadata[i];
        if (field->name.len == len && !memcmp(field->name.data, name, len))
            return field->value;
    }
    return (fw_slice){NULL, 0};
}

bool fw_process_request_is_done(const fw_process_request *request)
{
    return request->is_done || request->is_held;
}

void fw_process_set_answer_metadata(fw_process_request *request, const fw_rpc_field *metadata,
                                    size_t count)
{
    request->answer_metadata = metadata;
    request->answer_metadata_count = count;
}
