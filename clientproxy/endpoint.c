#include "endpoint.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define DEFAULT_DIAL_TIMEOUT_MS 2000
#define DEFAULT_BACKOFF_BASE_MS 100
#define DEFAULT_BACKOFF_MAX_MS  5000

static void start_closing(fwi_endpoint *endpoint);

static void on_open(fw_rpc *rpc, void *arg)
{
    (void)rpc;
    fwi_endpoint *endpoint = arg;
    endpoint->state = FWI_ENDPOINT_READY;
    endpoint->has_lost = false;
    fw_backoff_reset(&endpoint->backoff);
    endpoint->events->on_connected(endpoint);
}

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    fwi_endpoint *endpoint = arg;
    endpoint->events->on_gone(endpoint);
    fw_instance_release(endpoint->instance);
    free(endpoint);
}

static void on_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)rpc;
    fwi_endpoint *endpoint = arg;
    endpoint->rpc = NULL;
    if (endpoint->closing) {
        fwi_loop_defer(endpoint->loop, &endpoint->gone);
        return;
    }
    if (endpoint->removed) {
        endpoint->state = FWI_ENDPOINT_IDLE;
        start_closing(endpoint);
        return;
    }
    endpoint->state = FWI_ENDPOINT_BACKOFF;
    fwi_loop_timer_start(endpoint->loop, &endpoint->timer, fw_backoff_next_ms(&endpoint->backoff));
    endpoint->events->on_disconnected(endpoint, reason);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_endpoint *endpoint = arg;
    if (endpoint->removed) {
        start_closing(endpoint);
        return;
    }
    endpoint->state = FWI_ENDPOINT_IDLE;
    endpoint->events->on_usable(endpoint);
}

static void on_ejection_over(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_endpoint *endpoint = arg;
    fwi_breaker_half_open(&endpoint->breaker);
    endpoint->events->on_usable(endpoint);
}

fwi_endpoint *fwi_endpoint_new(fw_proxy *proxy, fw_loop *loop, const fw_instance *instance,
                               const fw_proxy_options *options, const fwi_endpoint_events *events)
{
    fwi_endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (!endpoint)
        return NULL;
    endpoint->proxy = proxy;
    endpoint->loop = loop;
    endpoint->events = events;
    endpoint->instance = fw_instance_acquire(instance);
    endpoint->index = SIZE_MAX;
    endpoint->timer = (fwi_timer){.fn = on_timer, .arg = endpoint};
    endpoint->ejection = (fwi_timer){.fn = on_ejection_over, .arg = endpoint};
    endpoint->gone = (fwi_task){.fn = on_gone, .arg = endpoint};
    fwi_list_init(&endpoint->node);
    fwi_list_init(&endpoint->waiters);
    fw_backoff_init(&endpoint->backoff,
                    options->backoff_base_ms ? options->backoff_base_ms : DEFAULT_BACKOFF_BASE_MS,
                    options->backoff_max_ms ? options->backoff_max_ms : DEFAULT_BACKOFF_MAX_MS);
    endpoint->rpc_options =
        (fw_rpc_options){.call_timeout_ms = options->call_timeout_ms,
                         .dial_timeout_ms = options->dial_timeout_ms ? options->dial_timeout_ms
                                                                     : DEFAULT_DIAL_TIMEOUT_MS,
                         .max_frame_bytes = options->max_frame_bytes,
                         .on_open = on_open,
                         .on_closed = on_closed,
                         .arg = endpoint};
    return endpoint;
}

void fwi_endpoint_set_instance(fwi_endpoint *endpoint, const fw_instance *instance)
{
    const fw_instance *old = endpoint->instance;
    endpoint->instance = fw_instance_acquire(instance);
    fw_instance_release(old);
}

int fwi_endpoint_connect(fwi_endpoint *endpoint)
{
    if (endpoint->rpc)
        return FW_OK;
    char *url;
    int err = fw_instance_url(endpoint->instance, &url);
    if (err)
        return err;
    err = fw_rpc_dial(endpoint->loop, url, &endpoint->rpc_options, &endpoint->rpc);
    free(url);
    if (err)
        return err;
    fwi_loop_timer_stop(endpoint->loop, &endpoint->timer);
    endpoint->state = FWI_ENDPOINT_CONNECTING;
    return FW_OK;
}

void fwi_endpoint_eject(fwi_endpoint *endpoint, uint32_t base_ms, uint32_t max_ms)
{
    uint32_t time =
        fwi_breaker_open(&endpoint->breaker, base_ms, max_ms, fw_loop_now_ms(endpoint->loop));
    fwi_loop_timer_start(endpoint->loop, &endpoint->ejection, time);
}

static bool works(const fwi_endpoint *endpoint)
{
    return endpoint->state != FWI_ENDPOINT_BACKOFF && !endpoint->unhealthy &&
           endpoint->instance->state == FW_INSTANCE_ONLINE;
}

bool fwi_endpoint_is_well(const fwi_endpoint *endpoint)
{
    return works(endpoint) && endpoint->breaker.state == FWI_BREAKER_CLOSED;
}

bool fwi_endpoint_usable(const fwi_endpoint *endpoint, bool is_panic)
{
    return works(endpoint) &&
           (is_panic || fwi_breaker_allows(&endpoint->breaker, endpoint->in_flight));
}

void fwi_endpoint_begin(fwi_endpoint *endpoint)
{
    endpoint->in_flight++;
}

void fwi_endpoint_end(fwi_endpoint *endpoint)
{
    if (--endpoint->in_flight == 0 && endpoint->removed)
        start_closing(endpoint);
}

static void start_closing(fwi_endpoint *endpoint)
{
    if (endpoint->closing)
        return;
    endpoint->closing = true;
    fwi_loop_timer_stop(endpoint->loop, &endpoint->timer);
    if (endpoint->rpc)
        fw_rpc_close(endpoint->rpc);
    else
        fwi_loop_defer(endpoint->loop, &endpoint->gone);
}

void fwi_endpoint_remove(fwi_endpoint *endpoint, uint32_t timeout_ms)
{
    endpoint->removed = true;
    fwi_loop_timer_stop(endpoint->loop, &endpoint->timer);
    fwi_loop_timer_stop(endpoint->loop, &endpoint->ejection);
    if (!endpoint->in_flight || !timeout_ms)
        start_closing(endpoint);
    else
        fwi_loop_timer_start(endpoint->loop, &endpoint->timer, timeout_ms);
}
