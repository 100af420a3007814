/* The proxy: its life, a watcher's instances as endpoints, and what is known of these. */
#include "proxy.h"

#include "base/log.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "call.h"
#include "policy/outlier.h"

#define DEFAULT_CALL_TIMEOUT_MS    5000
#define DEFAULT_REMOVAL_TIMEOUT_MS 30000
#define DEFAULT_MAX_WAITING        10000
#define DEFAULT_EJECT_AFTER        5
#define DEFAULT_EJECT_MS           5000
#define MAX_EJECT_TIMES            10
#define DEFAULT_RETRIES            2
#define DEFAULT_RETRY_PERCENT      20
#define DEFAULT_RETRIES_PER_S      10

static bool tells_of_ejection(fw_proxy_event_type type)
{
    return type == FW_PROXY_EJECTED || type == FW_PROXY_READMITTED || type == FW_PROXY_UNHEALTHY ||
           type == FW_PROXY_HEALTHY || type == FW_PROXY_REMOVED;
}

void fwi_proxy_emit(fw_proxy *proxy, fw_proxy_event_type type, const fw_instance *instance,
                    int reason, const char *detail)
{
    fw_proxy_event event = {
        .type = type, .instance = instance, .reason = reason, .detail = detail ? detail : ""};
    if (tells_of_ejection(type) && proxy->watcher && !proxy->closing)
        fwi_loop_defer(proxy->loop, &proxy->tell_ejected);
    if (proxy->options.on_event && !proxy->closing)
        proxy->options.on_event(proxy, &event, proxy->options.arg);
}

int fw_proxy_call(fw_proxy *proxy, const fw_rpc_message *message, fw_proxy_done_fn done, void *arg)
{
    return fwi_call_new(proxy, message, NULL, false, done, arg);
}

int fw_proxy_call_with(fw_proxy *proxy, const fw_rpc_message *message,
                       const fw_proxy_call_options *options, fw_proxy_done_fn done, void *arg)
{
    return fwi_call_new(proxy, message, options, false, done, arg);
}

int fw_proxy_notify(fw_proxy *proxy, const fw_rpc_message *message, fw_proxy_done_fn on_sent,
                    void *arg)
{
    return fwi_call_new(proxy, message, NULL, true, on_sent, arg);
}

/* ---- ejection ---- */

static void eject(fw_proxy *proxy, fwi_endpoint *endpoint, int reason)
{
    uint32_t base = proxy->options.eject_ms;
    uint64_t most = (uint64_t)base * MAX_EJECT_TIMES;
    endpoint->ejected_for = reason;
    fwi_endpoint_eject(endpoint, base, most > UINT32_MAX ? UINT32_MAX : (uint32_t)most);
    fwi_members_refresh(&proxy->members, endpoint);
    fwi_proxy_emit(proxy, FW_PROXY_EJECTED, endpoint->instance, reason, fw_strerror(reason));
}

void fwi_proxy_judge(fw_proxy *proxy, fwi_endpoint *endpoint, bool success, int reason)
{
    if (endpoint->removed || proxy->closing || proxy->options.eject_after == FW_PROXY_NEVER)
        return;
    /* However many calls a connection took with it, it is one failure, and has its backoff. */
    if (reason == FW_ELOST && endpoint->has_lost)
        return;
    endpoint->has_lost |= reason == FW_ELOST;
    bool was_closed = endpoint->breaker.state == FWI_BREAKER_CLOSED;
    if (!fwi_timer_armed(&proxy->outliers))
        fwi_loop_timer_start(proxy->loop, &proxy->outliers, FWI_OUTLIER_INTERVAL_MS);
    switch (fwi_breaker_result(&endpoint->breaker, success, proxy->options.eject_after)) {
    case FWI_BREAKER_NONE:
        break;
    case FWI_BREAKER_SHOULD_OPEN:
        /* One that fails its trial was not counted as well. */
        if (!was_closed || fwi_members_may_eject(&proxy->members))
            eject(proxy, endpoint, reason);
        break;
    case FWI_BREAKER_HAS_CLOSED:
        endpoint->warm_since_ms = fw_loop_now_ms(proxy->loop);
        fwi_members_refresh(&proxy->members, endpoint);
        fwi_proxy_emit(proxy, FW_PROXY_READMITTED, endpoint->instance, FW_OK, "");
        break;
    }
}

static void on_tell_ejected(fwi_task *task, void *arg)
{
    (void)task;
    fw_proxy *proxy = arg;
    fw_ejected ejected[FW_MAX_EJECTED];
    size_t count = 0;
    for (size_t i = 0; i < proxy->members.count && count < FW_MAX_EJECTED; i++) {
        const fwi_endpoint *endpoint = proxy->members.all[i];
        bool is_open = endpoint->breaker.state != FWI_BREAKER_CLOSED;
        if (is_open || endpoint->unhealthy)
            ejected[count++] = (fw_ejected){
                endpoint->instance->id, is_open ? fw_strerror(endpoint->ejected_for) : "unhealthy"};
    }
    if (fw_watcher_set_ejected(proxy->watcher, ejected, count))
        fwi_log(FW_LOG_WARN, "proxy", "no memory to tell what is ejected",
                FWI_NUMBER("count", count));
}

/* Once an interval those are ejected that failed much more often than the others. */
static void on_outliers(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_proxy *proxy = arg;
    fwi_members *members = &proxy->members;
    fwi_outlier outlier = {.endpoints = 0};
    for (size_t i = 0; i < members->count; i++)
        fwi_outlier_add(&outlier, members->all[i]->breaker.successes,
                        members->all[i]->breaker.requests);
    double threshold = fwi_outlier_threshold(&outlier);
    for (size_t i = 0; i < members->count; i++) {
        fwi_endpoint *endpoint = members->all[i];
        fwi_breaker *breaker = &endpoint->breaker;
        bool is_outlier = breaker->requests >= FWI_OUTLIER_REQUESTS &&
                          breaker->successes < threshold * breaker->requests;
        breaker->requests = breaker->successes = 0;
        if (is_outlier && breaker->state == FWI_BREAKER_CLOSED && fwi_members_may_eject(members))
            eject(proxy, endpoint, FW_EREMOTE);
    }
}

static void on_panic_changed(fwi_task *task, void *arg)
{
    (void)task;
    fw_proxy *proxy = arg;
    fwi_proxy_emit(proxy, proxy->members.is_panic ? FW_PROXY_PANIC : FW_PROXY_CALM, NULL, FW_OK,
                   "");
}

/* ---- endpoints' events ---- */

static void on_connected(fwi_endpoint *endpoint)
{
    fw_proxy *proxy = endpoint->proxy;
    fwi_members_refresh(&proxy->members, endpoint);
    fwi_calls_send(proxy, &endpoint->waiters);
    fwi_proxy_emit(proxy, FW_PROXY_CONNECTED, endpoint->instance, FW_OK, "");
}

static void on_disconnected(fwi_endpoint *endpoint, int reason)
{
    fw_proxy *proxy = endpoint->proxy;
    fwi_members_refresh(&proxy->members, endpoint);
    fwi_log(FW_LOG_DEBUG, "proxy", "connection over", FWI_TEXT("instance", endpoint->instance->id),
            FWI_TEXT("reason", fw_strerror(reason)));
    fwi_calls_note_error(&endpoint->waiters, reason);
    const fw_instance *instance = fw_instance_acquire(endpoint->instance);
    fwi_calls_dispatch(proxy, &endpoint->waiters);
    fwi_proxy_emit(proxy, FW_PROXY_DISCONNECTED, instance, reason, fw_strerror(reason));
    fw_instance_release(instance);
}

/* The backoff is over, or the ejection; calls that found nobody better have waited for it. */
static void on_usable(fwi_endpoint *endpoint)
{
    fw_proxy *proxy = endpoint->proxy;
    if (!fwi_list_empty(&endpoint->waiters) && endpoint->state == FWI_ENDPOINT_IDLE &&
        fwi_endpoint_connect(endpoint))
        fwi_calls_dispatch(proxy, &endpoint->waiters);
    fwi_members_refresh(&proxy->members, endpoint);
}

static void finish_if_done(fw_proxy *proxy);

static void on_gone(fwi_endpoint *endpoint)
{
    fwi_list_remove(&endpoint->node);
    finish_if_done(endpoint->proxy);
}

static const fwi_endpoint_events endpoint_events = {.on_connected = on_connected,
                                                    .on_disconnected = on_disconnected,
                                                    .on_usable = on_usable,
                                                    .on_gone = on_gone};

/* ---- the list of endpoints ---- */

static int add_endpoint(fw_proxy *proxy, const fw_instance *instance)
{
    fwi_endpoint *endpoint =
        fwi_endpoint_new(proxy, proxy->loop, instance, &proxy->options, &endpoint_events);
    if (!endpoint)
        return UV_ENOMEM;
    int err = fwi_members_add(&proxy->members, endpoint);
    if (err) {
        fwi_list_push_back(&proxy->removed, &endpoint->node);
        fwi_endpoint_remove(endpoint, 0);
        return err;
    }
    if (proxy->has_list)
        endpoint->warm_since_ms = fw_loop_now_ms(proxy->loop);
    return FW_OK;
}

static void remove_endpoint(fw_proxy *proxy, fwi_endpoint *endpoint, uint32_t timeout_ms)
{
    fwi_members_remove(&proxy->members, endpoint);
    fwi_list_push_back(&proxy->removed, &endpoint->node);
    fwi_endpoint_remove(endpoint, timeout_ms);
    /* Calls that wait for its connection were not sent: others can have them. */
    fwi_calls_dispatch(proxy, &endpoint->waiters);
}

/* ---- health ---- */

static bool is_unhealthy(const fw_proxy *proxy, const fw_instance *instance)
{
    fw_health_status status;
    return proxy->health &&
           !fw_health_get(proxy->health, instance->service, instance->id, &status) &&
           status.state == FW_HEALTH_UNHEALTHY;
}

static void on_health_change(fw_health *health, const fw_health_status *status, void *arg)
{
    (void)health;
    fw_proxy *proxy = arg;
    fwi_endpoint *endpoint = fwi_members_find(&proxy->members, status->instance->id);
    bool unhealthy = status->state == FW_HEALTH_UNHEALTHY;
    if (!endpoint || endpoint->unhealthy == unhealthy)
        return;
    endpoint->unhealthy = unhealthy;
    fwi_members_refresh(&proxy->members, endpoint);
    fwi_proxy_emit(proxy, unhealthy ? FW_PROXY_UNHEALTHY : FW_PROXY_HEALTHY, status->instance,
                   status->reason, status->detail);
}

static void follow_health(fw_proxy *proxy, const fw_watcher_event *event)
{
    int err = proxy->health ? fw_health_follow(proxy->health, event) : FW_OK;
    if (err)
        fwi_log(FW_LOG_WARN, "proxy", "an instance is not asked for its health",
                FWI_TEXT("instance", event->instance->id), FWI_TEXT("reason", fw_strerror(err)));
}

/* ---- the watcher's events ---- */

/* A member joined or changed. */
static void take_instance(fw_proxy *proxy, const fw_instance *instance)
{
    fwi_endpoint *endpoint = fwi_members_find(&proxy->members, instance->id);
    bool moved = endpoint && (strcmp(endpoint->instance->net, instance->net) ||
                              strcmp(endpoint->instance->addr, instance->addr));
    if (endpoint && !moved) {
        fwi_endpoint_set_instance(endpoint, instance);
        endpoint->unhealthy = is_unhealthy(proxy, instance); /* what is asked may have changed */
        fwi_members_changed(&proxy->members);
        return;
    }
    if (moved) /* the same id elsewhere: the old place ends its calls, the new one gets the next */
        remove_endpoint(proxy, endpoint, proxy->options.removal_timeout_ms);
    if (add_endpoint(proxy, instance)) {
        fwi_log(FW_LOG_ERROR, "proxy", "no memory for an instance",
                FWI_TEXT("instance", instance->id));
        return;
    }
    fwi_proxy_emit(proxy, FW_PROXY_ADDED, instance, FW_OK, "");
}

static void drop_instance(fw_proxy *proxy, const fw_instance *instance)
{
    fwi_endpoint *endpoint = fwi_members_find(&proxy->members, instance->id);
    if (!endpoint)
        return;
    remove_endpoint(proxy, endpoint, proxy->options.removal_timeout_ms);
    fwi_proxy_emit(proxy, FW_PROXY_REMOVED, instance, FW_OK, "");
}

static void on_watcher_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    fw_proxy *proxy = arg;
    follow_health(proxy, event);
    switch (event->type) {
    case FW_WATCHER_ADDED:
    case FW_WATCHER_CHANGED:
        take_instance(proxy, event->instance);
        break;
    case FW_WATCHER_REMOVED:
        drop_instance(proxy, event->instance);
        break;
    case FW_WATCHER_HELD:
    case FW_WATCHER_RELISTED:
        break; /* it is in the list, before and after */
    case FW_WATCHER_RESTORED:
        proxy->has_list = true;
        fwi_calls_dispatch(proxy, &proxy->waiting);
        break;
    case FW_WATCHER_SYNCED:
        proxy->has_list = true;
        fwi_proxy_emit(proxy, FW_PROXY_SYNCED, NULL, FW_OK, "");
        fwi_calls_dispatch(proxy, &proxy->waiting);
        break;
    case FW_WATCHER_STALE:
    case FW_WATCHER_FATAL:
        proxy->stale_reason = event->reason;
        fwi_calls_note_error(&proxy->waiting, event->reason);
        fwi_proxy_emit(proxy, FW_PROXY_STALE, NULL, event->reason, event->detail);
        break;
    case FW_WATCHER_LIVE:
        fwi_proxy_emit(proxy, FW_PROXY_LIVE, NULL, FW_OK, "");
        break;
    }
}

/* ---- life ---- */

static void on_end(fwi_task *task, void *arg);

static int open_health(fw_proxy *proxy)
{
    fw_health_options options = *proxy->options.health;
    proxy->options.health = NULL; /* only lent */
    options.on_change = on_health_change;
    options.arg = proxy;
    return fw_health_new(proxy->loop, &options, &proxy->health);
}

/* Zero means default. */
static void set_defaults(fw_proxy_options *options)
{
#define DEFAULT(field, value) options->field = options->field ? options->field : (value)
    DEFAULT(call_timeout_ms, DEFAULT_CALL_TIMEOUT_MS);
    DEFAULT(max_waiting, DEFAULT_MAX_WAITING);
    DEFAULT(removal_timeout_ms, DEFAULT_REMOVAL_TIMEOUT_MS);
    DEFAULT(eject_after, DEFAULT_EJECT_AFTER);
    DEFAULT(eject_ms, DEFAULT_EJECT_MS);
    DEFAULT(max_retries, DEFAULT_RETRIES);
    DEFAULT(retry_percent, DEFAULT_RETRY_PERCENT);
    DEFAULT(retries_per_s, DEFAULT_RETRIES_PER_S);
#undef DEFAULT
    if (options->max_retries == FW_PROXY_NEVER)
        options->max_retries = 0;
}

int fw_proxy_new(fw_kv *kv, const char *service, const fw_proxy_options *options,
                 fw_proxy **ret_proxy)
{
    fw_proxy *proxy = calloc(1, sizeof *proxy);
    if (!proxy)
        return UV_ENOMEM;
    if (options)
        proxy->options = *options;
    fw_proxy_options *own = &proxy->options;
    set_defaults(own);
    proxy->kv = kv;
    proxy->loop = fw_kv_loop(kv);
    fwi_list_init(&proxy->removed);
    fwi_list_init(&proxy->waiting);
    fwi_list_init(&proxy->free_calls);
    fwi_retry_budget_init(&proxy->budget, own->retry_percent, own->retries_per_s);
    fwi_limit_init(&proxy->limit, own->max_calls, own->adaptive_limit);
    proxy->outliers = (fwi_timer){.fn = on_outliers, .arg = proxy};
    proxy->panic_changed = (fwi_task){.fn = on_panic_changed, .arg = proxy};
    proxy->tell_ejected = (fwi_task){.fn = on_tell_ejected, .arg = proxy};
    proxy->end = (fwi_task){.fn = on_end, .arg = proxy};
    int err = fwi_members_init(&proxy->members, proxy->loop, own, &proxy->panic_changed);
    if (err) {
        free(proxy);
        return err;
    }
    if (own->health)
        err = open_health(proxy);
    if (!err) {
        fw_watcher_options watcher_options = {.consumer = own->consumer,
                                              .saved_list = own->saved_list,
                                              .on_event = on_watcher_event,
                                              .arg = proxy};
        err = fw_watcher_new(kv, service, &watcher_options, &proxy->watcher);
    }
    own->consumer = own->saved_list = own->zone = NULL; /* only lent */
    if (err) {
        if (proxy->health)
            fw_health_close(proxy->health, NULL, NULL);
        fwi_members_fini(&proxy->members);
        free(proxy);
        return err;
    }
    proxy->open_parts = proxy->health ? 2 : 1;
    *ret_proxy = proxy;
    return FW_OK;
}

static void finish_if_done(fw_proxy *proxy)
{
    if (proxy->open_parts || proxy->members.count || !fwi_list_empty(&proxy->removed))
        return;
    if (proxy->on_closed)
        proxy->on_closed(proxy->closed_arg);
    fwi_calls_fini(proxy);
    fwi_loop_defer_cancel(proxy->loop, &proxy->panic_changed);
    fwi_members_fini(&proxy->members);
    free(proxy);
}

static void on_part_closed(void *arg)
{
    fw_proxy *proxy = arg;
    proxy->open_parts--;
    finish_if_done(proxy);
}

static void on_end(fwi_task *task, void *arg)
{
    (void)task;
    fw_proxy *proxy = arg;
    fwi_loop_timer_stop(proxy->loop, &proxy->outliers);
    fwi_loop_defer_cancel(proxy->loop, &proxy->tell_ejected);
    fwi_calls_cancel(proxy, &proxy->waiting);
    while (proxy->members.count)
        remove_endpoint(proxy, proxy->members.all[proxy->members.count - 1], 0);
    fwi_list_for_each (node, &proxy->removed)
        fwi_endpoint_remove(fwi_container_of(node, fwi_endpoint, node), 0);
    fw_watcher_close(proxy->watcher, on_part_closed, proxy);
    if (proxy->health)
        fw_health_close(proxy->health, on_part_closed, proxy);
}

void fw_proxy_close(fw_proxy *proxy, fw_kv_closed_fn on_closed, void *arg)
{
    if (proxy->closing)
        return;
    proxy->closing = true;
    proxy->on_closed = on_closed;
    proxy->closed_arg = arg;
    fwi_loop_defer(proxy->loop, &proxy->end);
}

size_t fw_proxy_instance_count(const fw_proxy *proxy)
{
    return proxy->members.count;
}

size_t fw_proxy_connection_count(const fw_proxy *proxy)
{
    size_t ready = 0;
    for (size_t i = 0; i < proxy->members.count; i++)
        ready += proxy->members.all[i]->state == FWI_ENDPOINT_READY;
    return ready;
}
