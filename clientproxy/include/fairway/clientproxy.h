/*
 * The client proxy: call a service by its name. The proxy watches the service's instances, connects
 * to each when it is first picked, balances calls over them, and shares the connections among all
 * callers on its loop.
 */
#ifndef FAIRWAY_CLIENTPROXY_H
#define FAIRWAY_CLIENTPROXY_H

#include <fairway/balancer.h>
#include <fairway/discovery.h>
#include <fairway/health.h>
#include <fairway/rpc.h>

FW_BEGIN_DECLS

typedef struct fw_proxy fw_proxy;

typedef enum fw_proxy_event_type {
    FW_PROXY_ADDED,        /* an instance joined */
    FW_PROXY_REMOVED,      /* it left the registry: no new calls; those in flight end */
    FW_PROXY_CONNECTED,    /* first use, or again after a failure */
    FW_PROXY_DISCONNECTED, /* reason; it is left alone for a jittered time, then tried again */
    FW_PROXY_SYNCED,       /* the list of instances is complete */
    FW_PROXY_STALE,        /* the registry is out of reach; the proxy goes on with what it knows */
    FW_PROXY_LIVE,
    FW_PROXY_UNHEALTHY, /* a health check failed, reason says how: no new calls while others work */
    FW_PROXY_HEALTHY
} fw_proxy_event_type;

typedef struct fw_proxy_event {
    fw_proxy_event_type type;
    const fw_instance *instance; /* of the first four and the last two; borrowed */
    int reason;
    const char *detail;
} fw_proxy_event;

typedef struct fw_proxy_options {
    const fw_balancer *balancer; /* NULL: round robin */
    uint32_t call_timeout_ms;    /* default of calls; 0: 5000 */
    uint32_t dial_timeout_ms;    /* 0: 2000 */
    uint32_t max_frame_bytes;    /* 0: 1 MiB */
    size_t max_waiting;          /* calls that wait for the first list or a connection; 0: 10,000 */
    uint32_t backoff_base_ms;    /* wait after a failed connection; 0: 100 */
    uint32_t backoff_max_ms;     /* 0: 5000 */
    uint32_t removal_timeout_ms; /* for calls in flight on an instance that left; 0: 30000 */
    /* Announces the proxy to those who drain, under this name; "": one is made up; NULL: not. A
     * drain then waits until the proxy gives the instance no more calls. See fw_watcher_options. */
    const char *consumer;
    /* A file with the list of instances, so that calls are made with the store dead, too; NULL:
     * none. See fw_watcher_options. */
    const char *saved_list;
    /* How the instances are asked whether they are well (its on_change and arg are not used); NULL:
     * they are not. One that is unhealthy gets no calls as long as there is another. */
    const fw_health_options *health;
    void (*on_event)(fw_proxy *proxy, const fw_proxy_event *event, void *arg); /* may be NULL */
    void *arg;
} fw_proxy_options;

/* Makes a proxy for the service on the store's loop; the store must outlive it. It may start before
 * any instance exists. FW_ESERVICE, FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_proxy_new(fw_kv *kv, const char *service,
                                      const fw_proxy_options *options, fw_proxy **ret_proxy);
/* Ends calls with FW_ECANCELED and closes all connections; then on_closed (may be NULL).
 * Idempotent. */
FW_API void fw_proxy_close(fw_proxy *proxy, fw_kv_closed_fn on_closed, void *arg);

/* result as fw_rpc_done_fn's, with one status more: FW_ENOINSTANCE (there was nobody to call;
 * nothing was sent). instance: who was called, NULL if nobody was; borrowed. */
typedef void (*fw_proxy_done_fn)(const fw_rpc_result *result, const fw_instance *instance,
                                 void *arg);

/* Calls one instance. Until the first list of instances has come the call waits for it. A call
 * whose connection cannot be opened goes to another instance, since it was not sent; one that was
 * sent is never repeated. Errors as fw_rpc_call. */
FW_API FW_MUST_CHECK int fw_proxy_call(fw_proxy *proxy, const fw_rpc_message *message,
                                       fw_proxy_done_fn done, void *arg);
/* Sends a notification to one instance. It waits as a call does; on_sent (may be NULL) tells FW_OK
 * when it was handed to an open connection, or why it was not. Errors as fw_rpc_call. */
FW_API FW_MUST_CHECK int fw_proxy_notify(fw_proxy *proxy, const fw_rpc_message *message,
                                         fw_proxy_done_fn on_sent, void *arg);

/* Instances in the list, and those with an open connection. */
FW_API size_t fw_proxy_instance_count(const fw_proxy *proxy);
FW_API size_t fw_proxy_connection_count(const fw_proxy *proxy);

FW_END_DECLS

#endif
