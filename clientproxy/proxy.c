/*
 * The proxy: a watcher's instances as endpoints, and the calls on their way to one.
 *
 * A call is in one of three places: in `waiting` until the first list of instances is complete; in
 * an endpoint's `waiters` until its connection is open; or with the endpoint's connection, sent.
 * Only on an open connection is anything sent, so a call that waits can go elsewhere when a
 * connection cannot be opened, and one that was sent never does. A waiting call owns a copy of its
 * message and has a timer of its own.
 *
 * `endpoints` and `views` run in parallel: the views are what the balancer looks at.
 */
#include "endpoint.h"

#include "base/log.h"
#include "base/map.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_CALL_TIMEOUT_MS    5000
#define DEFAULT_REMOVAL_TIMEOUT_MS 30000
#define DEFAULT_MAX_WAITING        10000

struct call {
    fwi_list node;
    fw_proxy *proxy;
    fwi_endpoint *endpoint;      /* whose connection it waits for or uses */
    const fw_instance *instance; /* acquired while endpoint is set */
    fw_proxy_done_fn done;
    void *arg;
    bool oneway;
    size_t attempts; /* endpoints that it waited for */
    uint64_t deadline_ms;
    int last_error; /* of a connection that could not be opened */
    void *copy;     /* of the message, while waiting; freed with it */
    fw_rpc_message message;
    fwi_timer timer;
    fwi_task report; /* of a notification that was sent */
};

struct fw_proxy {
    fw_kv *kv;
    fw_loop *loop;
    fw_proxy_options options;
    const fw_balancer *balancer;
    void *balancer_state;
    fw_watcher *watcher;
    fw_health *health; /* or NULL */
    fwi_map by_id;     /* instance id -> fwi_endpoint */
    fwi_endpoint **endpoints;
    fw_balancer_endpoint *views;
    size_t count, capacity;
    bool list_changed; /* the balancer has not seen it yet */
    fwi_list removed;  /* fwi_endpoint.node */
    fwi_list waiting;  /* struct call.node */
    fwi_list free_calls;
    size_t waiting_count; /* in waiting and in waiters */
    int stale_reason;     /* why the first list has not come */
    bool has_list;        /* of the store, or of the disk */
    bool closing;
    size_t open_parts; /* the watcher and the health checks */
    fwi_task end;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

static const fw_slice nothing = {"", 0};

static void emit(fw_proxy *proxy, fw_proxy_event_type type, const fw_instance *instance, int reason,
                 const char *detail)
{
    fw_proxy_event event = {
        .type = type, .instance = instance, .reason = reason, .detail = detail ? detail : ""};
    if (proxy->options.on_event && !proxy->closing)
        proxy->options.on_event(proxy, &event, proxy->options.arg);
}

static void refresh_view(fwi_endpoint *endpoint)
{
    if (endpoint->removed)
        return;
    endpoint->proxy->views[endpoint->index] =
        (fw_balancer_endpoint){.instance = endpoint->instance,
                               .usable = fwi_endpoint_usable(endpoint),
                               .weight = endpoint->instance->weight,
                               .in_flight = endpoint->in_flight};
}

/* ---- calls ---- */

static void leave_endpoint(struct call *call)
{
    fwi_endpoint *endpoint = call->endpoint;
    if (!endpoint)
        return;
    call->endpoint = NULL;
    fw_instance_release(call->instance);
    call->instance = NULL;
    fwi_endpoint_end(endpoint);
    refresh_view(endpoint);
}

static void join_endpoint(struct call *call, fwi_endpoint *endpoint)
{
    call->endpoint = endpoint;
    call->instance = fw_instance_acquire(endpoint->instance);
    fwi_endpoint_begin(endpoint);
    refresh_view(endpoint);
}

static void stop_waiting(struct call *call)
{
    if (!fwi_list_empty(&call->node)) {
        fwi_list_remove(&call->node);
        call->proxy->waiting_count--;
    }
    fwi_loop_timer_stop(call->proxy->loop, &call->timer);
}

static void call_free(struct call *call)
{
    free(call->copy);
    fwi_list_push_back(&call->proxy->free_calls, &call->node);
}

/* Ends a call: out of everything, then its callback. */
static void call_end(struct call *call, const fw_rpc_result *result)
{
    fw_proxy_done_fn done = call->done;
    void *arg = call->arg;
    stop_waiting(call);
    const fw_instance *instance = call->instance ? fw_instance_acquire(call->instance) : NULL;
    leave_endpoint(call);
    call_free(call);
    if (done)
        done(result, instance, arg);
    fw_instance_release(instance);
}

static void call_end_with(struct call *call, int status)
{
    fw_rpc_result result = {.status = status, .body = nothing, .text = ""};
    call_end(call, &result);
}

static void on_rpc_done(const fw_rpc_result *result, void *arg)
{
    call_end(arg, result);
}

static void on_report(fwi_task *task, void *arg)
{
    (void)task;
    call_end_with(arg, FW_OK);
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    struct call *call = arg;
    call_end_with(call, call->last_error ? call->last_error : FW_EDEADLINE);
}

/* Sends the call on its endpoint's open connection. On an error it is where it was. */
static int send_call(struct call *call, const fw_rpc_message *message)
{
    fwi_loop_timer_stop(call->proxy->loop,
                        &call->timer); /* from here on the connection keeps time */
    if (call->oneway) {
        int err = fw_rpc_notify(call->endpoint->rpc, message);
        if (!err)
            fwi_loop_defer(call->proxy->loop, &call->report);
        return err;
    }
    fw_rpc_message sent = *message;
    uint64_t now = fw_loop_now_ms(call->proxy->loop);
    sent.timeout_ms = call->deadline_ms > now ? (uint32_t)(call->deadline_ms - now) : 1;
    return fw_rpc_call(call->endpoint->rpc, &sent, on_rpc_done, call, NULL);
}

/* Gives a call memory of its own for its message, and a place in a list to wait in. */
static int wait_in(struct call *call, fwi_list *list, const fw_rpc_message *message)
{
    fw_proxy *proxy = call->proxy;
    if (proxy->waiting_count >= proxy->options.max_waiting)
        return FW_ELIMIT;
    if (!call->copy) {
        size_t method = message->method ? strlen(message->method) + 1 : 0;
        size_t size =
            message->metadata_count * sizeof *message->metadata + method + message->body.len;
        for (size_t i = 0; i < message->metadata_count; i++)
            size += message->metadata[i].name.len + message->metadata[i].value.len;
        fw_rpc_field *fields = call->copy = malloc(size ? size : 1);
        if (!fields)
            return UV_ENOMEM;
        char *room = (char *)(fields + message->metadata_count);
        call->message = *message;
        call->message.metadata = fields;
        for (size_t i = 0; i < message->metadata_count; i++) {
            const fw_rpc_field *from = &message->metadata[i];
            fields[i].name =
                (fw_slice){memcpy(room, from->name.data, from->name.len), from->name.len};
            room += from->name.len;
            fields[i].value =
                (fw_slice){memcpy(room, from->value.data, from->value.len), from->value.len};
            room += from->value.len;
        }
        if (method)
            call->message.method = memcpy(room, message->method, method);
        room += method;
        if (message->body.len)
            call->message.body.data = memcpy(room, message->body.data, message->body.len);
    }
    uint64_t now = fw_loop_now_ms(proxy->loop);
    if (!fwi_timer_armed(&call->timer))
        fwi_loop_timer_start(proxy->loop, &call->timer,
                             call->deadline_ms > now ? call->deadline_ms - now : 0);
    fwi_list_push_back(list, &call->node);
    proxy->waiting_count++;
    return FW_OK;
}

/* An endpoint for the next try; NULL if there is none that is online. */
static fwi_endpoint *choose(fw_proxy *proxy)
{
    if (proxy->list_changed)
        proxy->list_changed =
            proxy->balancer->update(proxy->balancer_state, proxy->views, proxy->count) != FW_OK;
    fw_balancer_call call = {.now_ms = fw_loop_now_ms(proxy->loop)};
    int index = proxy->list_changed ? -1 : proxy->balancer->pick(proxy->balancer_state, &call);
    if (index >= 0 && (size_t)index < proxy->count)
        return proxy->endpoints[index];
    /* Nobody is known to work: better the one that has failed least often than nobody. */
    fwi_endpoint *best = NULL;
    for (size_t i = 0; i < proxy->count; i++) {
        fwi_endpoint *endpoint = proxy->endpoints[i];
        if (endpoint->instance->state == FW_INSTANCE_ONLINE &&
            (!best || endpoint->backoff.attempts < best->backoff.attempts))
            best = endpoint;
    }
    return best;
}

/* Sends the call, or lets it wait where it must. An error means that it has ended nowhere: the
 * caller reports it. */
static int dispatch(struct call *call, const fw_rpc_message *message)
{
    fw_proxy *proxy = call->proxy;
    if (!proxy->has_list) {
        call->last_error = proxy->stale_reason;
        return wait_in(call, &proxy->waiting, message);
    }
    int err = call->last_error ? call->last_error : FW_ENOINSTANCE;
    for (; call->attempts <= proxy->count; call->attempts++) {
        fwi_endpoint *endpoint = choose(proxy);
        if (!endpoint)
            break;
        if (endpoint->state == FWI_ENDPOINT_IDLE && (err = fwi_endpoint_connect(endpoint)))
            continue; /* an address that makes no sense */
        join_endpoint(call, endpoint);
        if (endpoint->state == FWI_ENDPOINT_READY) {
            err = send_call(call, message);
            if (!err)
                return FW_OK;
            leave_endpoint(call);
            if (err != FW_ECLOSED)
                return err;
            /* Its connection is about to report its end: another one, and that costs no attempt. */
            endpoint->state = FWI_ENDPOINT_BACKOFF;
            refresh_view(endpoint);
            call->attempts--;
            continue;
        }
        call->attempts++;
        err = wait_in(call, &endpoint->waiters, message);
        if (err)
            leave_endpoint(call);
        return err;
    }
    return err;
}

/* Dispatches a call that has waited; it ends with its callback if nothing can be done. */
static void dispatch_again(struct call *call)
{
    int err = dispatch(call, &call->message);
    if (err)
        call_end_with(call, err);
}

static int call_new(fw_proxy *proxy, const fw_rpc_message *message, bool oneway,
                    fw_proxy_done_fn done, void *arg)
{
    if (proxy->closing)
        return FW_ECLOSED;
    fwi_list *node = fwi_list_pop(&proxy->free_calls);
    struct call *call = node ? fwi_container_of(node, struct call, node) : malloc(sizeof *call);
    if (!call)
        return UV_ENOMEM;
    uint32_t timeout = message->timeout_ms ? message->timeout_ms : proxy->options.call_timeout_ms;
    *call = (struct call){.proxy = proxy,
                          .done = done,
                          .arg = arg,
                          .oneway = oneway,
                          .deadline_ms = fw_loop_now_ms(proxy->loop) + timeout};
    fwi_list_init(&call->node);
    call->timer = (fwi_timer){.fn = on_deadline, .arg = call};
    call->report = (fwi_task){.fn = on_report, .arg = call};
    int err = dispatch(call, message);
    if (err)
        call_free(call);
    return err;
}

int fw_proxy_call(fw_proxy *proxy, const fw_rpc_message *message, fw_proxy_done_fn done, void *arg)
{
    return call_new(proxy, message, false, done, arg);
}

int fw_proxy_notify(fw_proxy *proxy, const fw_rpc_message *message, fw_proxy_done_fn on_sent,
                    void *arg)
{
    return call_new(proxy, message, true, on_sent, arg);
}

/* Takes the waiting calls of a list, one after the other; a callback may add and remove others. */
static void for_all_waiting(fw_proxy *proxy, fwi_list *list, void (*act)(struct call *call))
{
    fwi_list now;
    fwi_list_init(&now);
    fwi_list_splice(&now, list);
    for (fwi_list *node; (node = fwi_list_pop(&now));) {
        proxy->waiting_count--;
        act(fwi_container_of(node, struct call, node));
    }
}

/* ---- endpoints' events ---- */

static void send_waiting(struct call *call)
{
    fwi_loop_timer_stop(call->proxy->loop, &call->timer);
    int err =
        call->endpoint->state == FWI_ENDPOINT_READY ? send_call(call, &call->message) : FW_ELOST;
    if (err)
        call_end_with(call, err);
}

static void on_connected(fwi_endpoint *endpoint)
{
    fw_proxy *proxy = endpoint->proxy;
    refresh_view(endpoint);
    for_all_waiting(proxy, &endpoint->waiters, send_waiting);
    emit(proxy, FW_PROXY_CONNECTED, endpoint->instance, FW_OK, "");
}

static void try_elsewhere(struct call *call)
{
    leave_endpoint(call);
    dispatch_again(call);
}

static void cancel_call(struct call *call)
{
    call_end_with(call, FW_ECANCELED);
}

static void on_disconnected(fwi_endpoint *endpoint, int reason)
{
    fw_proxy *proxy = endpoint->proxy;
    refresh_view(endpoint);
    fwi_log(FW_LOG_DEBUG, "proxy", "connection over", FWI_TEXT("instance", endpoint->instance->id),
            FWI_TEXT("reason", fw_strerror(reason)));
    fwi_list_for_each (node, &endpoint->waiters)
        fwi_container_of(node, struct call, node)->last_error = reason;
    const fw_instance *instance = fw_instance_acquire(endpoint->instance);
    for_all_waiting(proxy, &endpoint->waiters, proxy->closing ? cancel_call : try_elsewhere);
    emit(proxy, FW_PROXY_DISCONNECTED, instance, reason, fw_strerror(reason));
    fw_instance_release(instance);
}

/* The backoff is over; calls that found nobody better have waited for it. */
static void on_usable(fwi_endpoint *endpoint)
{
    if (!fwi_list_empty(&endpoint->waiters) && fwi_endpoint_connect(endpoint))
        for_all_waiting(endpoint->proxy, &endpoint->waiters, try_elsewhere);
    refresh_view(endpoint);
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
    if (proxy->count == proxy->capacity) {
        size_t capacity = proxy->capacity ? proxy->capacity * 2 : 8;
        fwi_endpoint **endpoints = realloc(proxy->endpoints, capacity * sizeof *endpoints);
        if (!endpoints)
            return UV_ENOMEM;
        proxy->endpoints = endpoints;
        fw_balancer_endpoint *views = realloc(proxy->views, capacity * sizeof *views);
        if (!views)
            return UV_ENOMEM;
        proxy->views = views;
        proxy->capacity = capacity;
    }
    fwi_endpoint *endpoint =
        fwi_endpoint_new(proxy, proxy->loop, instance, &proxy->options, &endpoint_events);
    if (!endpoint)
        return UV_ENOMEM;
    int err = fwi_map_put(&proxy->by_id, instance->id, strlen(instance->id), endpoint, NULL);
    if (err) {
        fwi_endpoint_remove(endpoint, 0);
        fwi_list_push_back(&proxy->removed, &endpoint->node);
        return err;
    }
    endpoint->index = proxy->count;
    proxy->endpoints[proxy->count++] = endpoint;
    refresh_view(endpoint);
    proxy->list_changed = true;
    return FW_OK;
}

static void remove_endpoint(fw_proxy *proxy, fwi_endpoint *endpoint, uint32_t timeout_ms)
{
    fwi_map_remove(&proxy->by_id, endpoint->instance->id, strlen(endpoint->instance->id));
    size_t index = endpoint->index, last = --proxy->count;
    proxy->endpoints[index] = proxy->endpoints[last];
    proxy->views[index] = proxy->views[last];
    proxy->endpoints[index]->index = index;
    endpoint->index = SIZE_MAX;
    proxy->list_changed = true;
    fwi_list_push_back(&proxy->removed, &endpoint->node);
    fwi_endpoint_remove(endpoint, timeout_ms);
    /* Calls that wait for its connection were not sent: others can have them. */
    for_all_waiting(proxy, &endpoint->waiters, proxy->closing ? cancel_call : try_elsewhere);
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
    const char *id = status->instance->id;
    fwi_endpoint *endpoint = fwi_map_get(&proxy->by_id, id, strlen(id));
    bool unhealthy = status->state == FW_HEALTH_UNHEALTHY;
    if (!endpoint || endpoint->unhealthy == unhealthy)
        return;
    endpoint->unhealthy = unhealthy;
    refresh_view(endpoint);
    emit(proxy, unhealthy ? FW_PROXY_UNHEALTHY : FW_PROXY_HEALTHY, status->instance, status->reason,
         status->detail);
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
    fwi_endpoint *endpoint = fwi_map_get(&proxy->by_id, instance->id, strlen(instance->id));
    bool moved = endpoint && (strcmp(endpoint->instance->net, instance->net) ||
                              strcmp(endpoint->instance->addr, instance->addr));
    if (endpoint && !moved) {
        fwi_endpoint_set_instance(endpoint, instance);
        endpoint->unhealthy = is_unhealthy(proxy, instance); /* what is asked may have changed */
        refresh_view(endpoint);
        return;
    }
    if (moved) /* the same id elsewhere: the old place ends its calls, the new one gets the next */
        remove_endpoint(proxy, endpoint, proxy->options.removal_timeout_ms);
    if (add_endpoint(proxy, instance)) {
        fwi_log(FW_LOG_ERROR, "proxy", "no memory for an instance",
                FWI_TEXT("instance", instance->id));
        return;
    }
    emit(proxy, FW_PROXY_ADDED, instance, FW_OK, "");
}

static void drop_instance(fw_proxy *proxy, const fw_instance *instance)
{
    fwi_endpoint *endpoint = fwi_map_get(&proxy->by_id, instance->id, strlen(instance->id));
    if (!endpoint)
        return;
    remove_endpoint(proxy, endpoint, proxy->options.removal_timeout_ms);
    emit(proxy, FW_PROXY_REMOVED, instance, FW_OK, "");
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
        for_all_waiting(proxy, &proxy->waiting, proxy->closing ? cancel_call : dispatch_again);
        break;
    case FW_WATCHER_SYNCED:
        proxy->has_list = true;
        emit(proxy, FW_PROXY_SYNCED, NULL, FW_OK, "");
        for_all_waiting(proxy, &proxy->waiting, proxy->closing ? cancel_call : dispatch_again);
        break;
    case FW_WATCHER_STALE:
    case FW_WATCHER_FATAL:
        proxy->stale_reason = event->reason;
        fwi_list_for_each (node, &proxy->waiting)
            fwi_container_of(node, struct call, node)->last_error = event->reason;
        emit(proxy, FW_PROXY_STALE, NULL, event->reason, event->detail);
        break;
    case FW_WATCHER_LIVE:
        emit(proxy, FW_PROXY_LIVE, NULL, FW_OK, "");
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

int fw_proxy_new(fw_kv *kv, const char *service, const fw_proxy_options *options,
                 fw_proxy **ret_proxy)
{
    fw_proxy *proxy = calloc(1, sizeof *proxy);
    if (!proxy)
        return UV_ENOMEM;
    if (options)
        proxy->options = *options;
    fw_proxy_options *own = &proxy->options;
    own->call_timeout_ms = own->call_timeout_ms ? own->call_timeout_ms : DEFAULT_CALL_TIMEOUT_MS;
    own->max_waiting = own->max_waiting ? own->max_waiting : DEFAULT_MAX_WAITING;
    own->removal_timeout_ms =
        own->removal_timeout_ms ? own->removal_timeout_ms : DEFAULT_REMOVAL_TIMEOUT_MS;
    proxy->kv = kv;
    proxy->loop = fw_kv_loop(kv);
    proxy->balancer = own->balancer ? own->balancer : &fw_balancer_round_robin;
    fwi_list_init(&proxy->removed);
    fwi_list_init(&proxy->waiting);
    fwi_list_init(&proxy->free_calls);
    proxy->end = (fwi_task){.fn = on_end, .arg = proxy};
    proxy->balancer_state = proxy->balancer->create();
    int err = proxy->balancer_state ? FW_OK : UV_ENOMEM;
    if (!err && own->health)
        err = open_health(proxy);
    if (!err) {
        fw_watcher_options watcher_options = {.consumer = own->consumer,
                                              .saved_list = own->saved_list,
                                              .on_event = on_watcher_event,
                                              .arg = proxy};
        err = fw_watcher_new(kv, service, &watcher_options, &proxy->watcher);
    }
    if (!err)
        own->consumer = own->saved_list = NULL; /* only lent */
    if (err) {
        if (proxy->health)
            fw_health_close(proxy->health, NULL, NULL);
        if (proxy->balancer_state)
            proxy->balancer->destroy(proxy->balancer_state);
        free(proxy);
        return err;
    }
    proxy->open_parts = proxy->health ? 2 : 1;
    *ret_proxy = proxy;
    return FW_OK;
}

static void finish_if_done(fw_proxy *proxy)
{
    if (proxy->open_parts || proxy->count || !fwi_list_empty(&proxy->removed))
        return;
    if (proxy->on_closed)
        proxy->on_closed(proxy->closed_arg);
    for (fwi_list *node; (node = fwi_list_pop(&proxy->free_calls));)
        free(fwi_container_of(node, struct call, node));
    proxy->balancer->destroy(proxy->balancer_state);
    fwi_map_fini(&proxy->by_id);
    free(proxy->endpoints);
    free(proxy->views);
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
    for_all_waiting(proxy, &proxy->waiting, cancel_call);
    while (proxy->count)
        remove_endpoint(proxy, proxy->endpoints[proxy->count - 1], 0);
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
    return proxy->count;
}

size_t fw_proxy_connection_count(const fw_proxy *proxy)
{
    size_t ready = 0;
    for (size_t i = 0; i < proxy->count; i++)
        ready += proxy->endpoints[i]->state == FWI_ENDPOINT_READY;
    return ready;
}
