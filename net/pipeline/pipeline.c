/* What all sessions share: filters, routes, middlewares, counts. */
#include "pipeline/pipeline.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_MAX_IN_FLIGHT 1024

/* ---- routes ---- */

static fwi_pipeline_route *route_new(fw_pipeline *pipeline, const fw_route *from)
{
    size_t common = pipeline->middleware_count; /* none yet for what has no route */
    size_t count = common + from->middleware_count + 1;
    fwi_pipeline_route *route = calloc(1, sizeof *route + count * sizeof *route->steps);
    if (!route)
        return NULL;
    route->raw = from->raw;
    route->request_type = from->request_type;
    route->response_type = from->response_type;
    route->step_count = count;
    fw_process_step *to = route->steps;
    if (common)
        memcpy(to, pipeline->middlewares, common * sizeof *to);
    if (from->middleware_count)
        memcpy(to + common, from->middlewares, from->middleware_count * sizeof *to);
    route->steps[count - 1] = (fw_process_step){from->handler, from->arg};
    return route;
}

static int check_route(const fw_pipeline *pipeline, const fw_route *route)
{
    if (!route->handler || (!route->method && !route->number))
        return FW_EOPTION;
    bool needs_type = pipeline->messages && fw_codec_is_typed(pipeline->messages) && !route->raw;
    return needs_type && !route->request_type ? FW_EOPTION : FW_OK;
}

int fw_pipeline_add_route(fw_pipeline *pipeline, const fw_route *from)
{
    int err = check_route(pipeline, from);
    if (err)
        return err;
    fwi_pipeline_route *route = route_new(pipeline, from);
    if (!route)
        return UV_ENOMEM;
    if (from->method)
        err = fwi_routes_add_name(&pipeline->routes, from->method, route);
    if (!err && from->number) {
        err = fwi_routes_add_number(&pipeline->routes, from->number, route);
        if (err && from->method)
            fwi_routes_remove_name(&pipeline->routes, from->method);
    }
    if (err)
        free(route);
    else
        fwi_list_push_back(&pipeline->all_routes, &route->node);
    return err;
}

/* ---- life ---- */

int fw_pipeline_create(const fw_pipeline_options *options, fw_pipeline **ret_pipeline)
{
    const fw_codec *messages = NULL;
    int err = options->messages ? fw_codec_get(options->messages, &messages) : FW_OK;
    if (err)
        return err;
    fw_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        return UV_ENOMEM;
    fwi_list_init(&pipeline->all_routes);
    pipeline->options = *options;
    pipeline->options.messages = NULL; /* it was the caller's */
    pipeline->messages = messages;
    pipeline->packets =
        options->packets ? options->packets : fw_packet_codec_walle(FW_RPC_ERRORS_JSON);
    if (!pipeline->options.max_in_flight)
        pipeline->options.max_in_flight = DEFAULT_MAX_IN_FLIGHT;
    if (options->no_route) {
        fw_route fallback = {.handler = options->no_route, .arg = options->arg, .raw = true};
        pipeline->fallback = route_new(pipeline, &fallback);
        if (!pipeline->fallback) {
            free(pipeline);
            return UV_ENOMEM;
        }
    }
    *ret_pipeline = pipeline;
    return FW_OK;
}

void fw_pipeline_destroy(fw_pipeline *pipeline)
{
    if (!pipeline)
        return;
    for (fwi_list *node; (node = fwi_list_pop(&pipeline->all_routes));)
        free(fwi_container_of(node, fwi_pipeline_route, node));
    fwi_routes_fini(&pipeline->routes);
    free(pipeline->fallback);
    free(pipeline->middlewares);
    free(pipeline->filters);
    free(pipeline);
}

int fw_pipeline_add_filter(fw_pipeline *pipeline, const fw_filter *filter)
{
    fw_filter *more =
        realloc(pipeline->filters, (pipeline->filter_count + 1) * sizeof *pipeline->filters);
    if (!more)
        return UV_ENOMEM;
    more[pipeline->filter_count++] = *filter;
    pipeline->filters = more;
    return FW_OK;
}

int fw_pipeline_add_middleware(fw_pipeline *pipeline, fw_process_fn fn, void *arg)
{
    fw_process_step *more = realloc(pipeline->middlewares, (pipeline->middleware_count + 1) *
                                                               sizeof *pipeline->middlewares);
    if (!more)
        return UV_ENOMEM;
    more[pipeline->middleware_count++] = (fw_process_step){fn, arg};
    pipeline->middlewares = more;
    return FW_OK;
}

void fw_pipeline_stats_get(const fw_pipeline *pipeline, fw_pipeline_stats *ret_stats)
{
    *ret_stats = pipeline->stats;
}
