/* The pipeline's inner side. */
#ifndef FWI_PIPELINE_H
#define FWI_PIPELINE_H

#include <fairway/pipeline.h>

#include "base/list.h"
#include "rpc/router.h"

typedef struct fwi_pipeline_route {
    fwi_list node; /* in pipeline->all_routes */
    bool raw;
    const void *request_type, *response_type;
    size_t step_count;
    fw_process_step steps[]; /* middlewares, then the handler */
} fwi_pipeline_route;

struct fw_pipeline {
    fw_pipeline_options options;
    const fw_packet_codec *packets;
    const fw_codec *messages; /* NULL: bodies are bytes */
    fwi_routes routes;        /* -> fwi_pipeline_route, maybe under two keys */
    fwi_list all_routes;
    fwi_pipeline_route *fallback; /* for what has no route; or NULL */
    fw_process_step *middlewares;
    size_t middleware_count;
    fw_filter *filters;
    size_t filter_count;
    fw_pipeline_stats stats;
};

struct fw_process {
    fw_pipeline *pipeline;
    fw_session *session;
    fw_process_options options;
    fwi_list kept; /* fw_process_request.node */
    uint32_t in_flight;
    bool waits;    /* does not read, for FW_OVERLOAD_WAIT */
    fwi_map names; /* metadata, to texts */
    struct fwi_pass *pass;
    fw_log_fn log_sink; /* NULL: the program's */
    void *log_arg;
    fw_log_level log_lowest;
};

struct fw_process_request {
    fwi_list node; /* kept: in process->kept, while there is one */
    fw_process *process;
    fw_pipeline *pipeline;
    const fwi_pipeline_route *route;
    size_t next_step;
    fw_packet packet;
    void *message;
    const fw_rpc_field *answer_metadata;
    size_t answer_metadata_count;
    bool is_copy;    /* made by keep */
    bool is_held;    /* of a copy: a step has it, to answer it later */
    bool is_running; /* of a copy: its steps are; it is freed after them */
    bool is_done;    /* answered, or kept */
};

/* A frame on its way through the filters, and the memory that they took for it. */
typedef struct fwi_pass {
    struct fwi_pass *outer;
    struct fwi_scratch *scratches;
} fwi_pass;

/* Runs a request that has come. */
void fwi_request_serve(fw_process *process, const fw_packet *packet);

#endif
